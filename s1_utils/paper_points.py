"""The points of the paper's own figures: published, this study's of the same model, its own experiment beside them.

Knows published.csv, ledger.csv and the tables of a run in a folder; knows nothing about runs or axes. Ours are the
ledger's values for the very claims of a figure, which takes their model and benchmark. Published accuracies come
without intervals: theirs are Wilson's, computed here from the number of questions. Sources: s1 figures 1, 2, 4, 6, 7
and table 1. Tests: tests/test_paper_plots.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.errors import StudyError
from s1_utils.scaling import bound_share

QUESTIONS = {"AIME24": 30, "AIME25": 30, "MATH500": 500, "GPQA-Diamond": 198}
OWN = "own"  # panel and kind of what this study's tables hold
LAPTOP = "this study's laptop:\nanother model and questions"
COLUMNS = ["panel", "series", "kind", "x", "value", "low", "high", "label", "axis"]
KEYS = ["where", "system", "benchmark", "setting"]  # and the value: a claim of published.csv
TOKENS = "thinking tokens (mean)"


class Tables:
    """The tables of a folder by name, remembering which were read; one that isn't there has no rows."""

    def __init__(self, data: Path) -> None:
        self.data, self.read = data, []

    def __getitem__(self, name: str) -> pd.DataFrame:
        path = self.data / f"{name}.csv"
        if not path.exists():
            return pd.DataFrame()
        if path.name not in self.read:
            self.read.append(path.name)
        return pd.read_csv(path)


def find_profile(data: Path) -> str:
    """The profile whose tables are in the folder: as was recorded beside them, or by the run that it lies in.

    "unknown" if neither says.
    """
    from s1_utils import provenance

    manifest = data.parents[1] / "04_sequential_scaling" / provenance.MANIFEST
    recorded = provenance.read(data).get("sequential", {}).get("profile")
    if not recorded and manifest.is_file():
        recorded = provenance.read_manifest(manifest.parent).get("profile")
    return recorded or "unknown"


def name_own(data: Path) -> str:
    """The title of the panel of this study's own experiment."""
    profile = find_profile(data)
    return LAPTOP if profile == "laptop" else f"this study, profile {profile}:\nits own model and questions"


def list_published(tables: Tables, where: str, **chosen: str) -> pd.DataFrame:
    """Rows of published.csv of one figure or table, with Wilson's interval (value, low, high in %)."""
    published = tables["published"]
    rows = published[(published["where"] == where) & (published["metric"] == "accuracy")]
    for column, value in chosen.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise StudyError(f"published.csv has no accuracy of {where} {chosen}: restore the committed table.")
    n = rows["benchmark"].map(QUESTIONS)
    found = bound_share((rows["value"] / 100 * n).round(), n)
    rows = rows.assign(x=rows["thinking_tokens"], setting=rows["setting"].fillna(""))
    return rows.assign(low=100 * found.low, high=100 * found.high)


def list_ours(tables: Tables, published: pd.DataFrame, *, has_tokens: bool = True) -> pd.DataFrame:
    """The ledger's values of our own for these published rows: of the same claim, so of its model and benchmark.

    They stand at our own tokens; at the published place where the axis isn't one of tokens.
    """
    ledger = tables["ledger"]
    if ledger.empty or ledger["value"].isna().all():
        return published[:0]
    ledger = ledger[ledger["value"].notna()].assign(setting=ledger["setting"].fillna(""))
    wanted = published[[*KEYS, "value", "x"]].rename(columns={"value": "published"})
    found = wanted.merge(ledger[[*KEYS, "published", "published_tokens", "value", "low", "high", "tokens"]])
    if not has_tokens:
        return found
    scale = found["x"] / found["published_tokens"]  # figure 4b's axis counts the whole benchmark, the ledger a question
    return found.assign(x=scale * found["tokens"]).dropna(subset=["x"])


def make_points(
    rows: pd.DataFrame, panel: str, series: str, kind: str, *, axis: str = TOKENS, labels: Any = ""
) -> pd.DataFrame:
    """Rows with x, value, low and high as a part of a figure."""
    return rows.assign(panel=panel, series=series, kind=kind, axis=axis, label=labels)[COLUMNS]


def show_claims(tables: Tables, rows: pd.DataFrame, panel: str, series: str, **look: Any) -> list[pd.DataFrame]:
    """Published rows and, over them, ours."""
    ours = list_ours(tables, rows)
    return [make_points(rows, panel, series, "paper", **look),
            make_points(ours, panel, series, "ours", **{**look, "labels": ""})]  # fmt: skip


def show_own(
    rows: pd.DataFrame, series: str, *, x: str = "thinking_tokens", axis: str = TOKENS, labels: Any = ""
) -> pd.DataFrame:
    """Rows of this study's tables (shares) as a part of its own panel; no thinking has no place on a log axis."""
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    scaled = rows.assign(x=rows[x], value=100 * rows["accuracy"], low=100 * rows["low"], high=100 * rows["high"])
    return make_points(scaled.assign(label=labels)[scaled["x"] > 0], OWN, series, "own", axis=axis,
                       labels=scaled.assign(label=labels).loc[scaled["x"] > 0, "label"])  # fmt: skip


def _query(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    return table.query(condition) if len(table) else table


def build_figure1(tables: Tables) -> list[pd.DataFrame]:
    parts = []
    for benchmark in ("MATH500", "AIME24", "GPQA-Diamond"):
        parts += show_claims(
            tables, list_published(tables, "Figure 1", benchmark=benchmark), benchmark, "budget forcing"
        )
    here = _query(tables["sequential"], "model == 'SFT'")
    parts.append(show_own(_query(here, "control == 'budget'"), "budget forcing"))
    return [*parts, show_own(_query(here, "control == 'wait' and waits > 0"), "“Wait”")]


def build_figure2(tables: Tables) -> list[pd.DataFrame]:
    """MATH500 by the number of examples that Table 1 gives; systems without one can't be drawn."""
    rows = list_published(tables, "Table 1", benchmark="MATH500")
    count = rows["setting"].str.extract(r"([\d.]+)K")[0].astype(float) * 1000
    rows = rows.assign(x=count)[count.notna()]
    is_s1 = rows["system"] == "s1-32B"
    others = rows[~is_s1 & (rows["system"] != "s1 without budget forcing")]
    ours, look = list_ours(tables, rows[is_s1], has_tokens=False), {"axis": "training examples"}
    names = others["system"].str.replace("-Preview", "")
    parts = [make_points(others, "MATH500", "others", "paper", labels=names, **look),
             make_points(rows[is_s1], "MATH500", "s1", "paper", labels="s1-32B", **look),
             make_points(ours, "MATH500", "s1", "ours", **look)]  # fmt: skip
    here = tables["ablations_large_points"]
    here = here if len(here) else tables["ablations"]
    names = here["subset"] if len(here) else ""
    return [*parts, show_own(here, "trained", x="examples", labels=names, **look)]


def build_figure4a(tables: Tables) -> list[pd.DataFrame]:
    """Figure 1's points of AIME24 but the first, and six Waits. Ours: cut where it ends, then Waits."""
    rows = list_published(tables, "Figure 1", benchmark="AIME24")
    rows = pd.concat([rows[rows["x"] > 500], list_published(tables, "Figure 4a")], ignore_index=True)
    labels = rows["setting"].str.replace("Wait x", "Wait ×")
    parts = show_claims(tables, rows, "AIME24", "budget forcing", labels=labels)
    here = _query(tables["sequential"], "model == 'SFT'")
    cut = _query(here, "control == 'cut'")
    waits = _query(here, "control == 'wait'")
    names = waits["waits"].map(lambda count: f"×{count}" if count else "") if len(waits) else ""
    longest = cut.sort_values("accuracy").groupby("thinking_tokens", sort=False).tail(1) if len(cut) else cut
    return [*parts, show_own(longest, "budget forcing"), show_own(waits, "“Wait”", labels=names)]


def build_figure4b(tables: Tables) -> list[pd.DataFrame]:
    axis = "output tokens, whole benchmark"
    parts = []
    for system, series in (
        ("Qwen2.5-32B-Instruct majority voting", "majority"),
        ("s1-32B budget forcing", "budget forcing"),
    ):
        rows = list_published(tables, "Figure 4b", system=system)
        parts += show_claims(tables, rows, "GPQA-Diamond", series, axis=axis)
    return [*parts, *_show_parallel(tables)]


def _show_parallel(tables: Tables) -> list[pd.DataFrame]:
    here = tables["parallel"]
    majority = _query(here, "method == 'majority'")
    ends = (majority["k"].min(), majority["k"].max()) if len(majority) else ()
    names = majority["k"].map(lambda k: f"k = {k:.0f}" if k in ends else "") if len(majority) else ""
    axis = "thinking tokens a question"
    return [show_own(majority, "majority", axis=axis, labels=names),
            show_own(_query(here, "method == 'sequential'"), "budget forcing", axis=axis)]  # fmt: skip


def build_figure6(tables: Tables) -> list[pd.DataFrame]:
    rows = list_published(tables, "Figure 6")
    labels = rows["setting"].str.replace("cap ", "≤ ")
    here = _query(tables["rejection"], "reached > 0")
    names = [f"≤ {limit}" for limit in here["limit"]] if len(here) else ""
    return [
        *show_claims(tables, rows, "AIME24", "rejection", labels=labels),
        show_own(here, "rejection", labels=names),
    ]


def build_figure7(tables: Tables) -> list[pd.DataFrame]:
    systems = {"sequential (older step-conditional model)": "sequential", "majority voting of 16": "majority",
               "REBASE width 16": "REBASE"}  # fmt: skip
    parts = []
    for system, series in systems.items():
        rows = list_published(tables, "Figure 7", system=system)
        labels = "" if series != "sequential" else rows["setting"]
        parts += show_claims(tables, rows, "AIME24", series, labels=labels)
    return [*parts, *_show_parallel(tables)]
