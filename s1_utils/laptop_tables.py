"""This study's own experiment, the laptop's, in the form of the paper's tables: another model, other questions.

Knows the columns of figures/data; knows nothing about how a table is written (paper_tables). A table whose CSV isn't
there isn't made. Tests: tests/test_paper_tables.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.paper_points import find_profile
from s1_utils.paper_tables import Table

WAITS = {0: "natural end", 1: "Wait ×1", 2: "Wait ×2", 4: "Wait ×4"}
ACCURACY = ("accuracy % [95 %]", "thinking tokens", "questions")

NOTES = {"3": ("Between runs of almost the same length a slope is large whichever way it points.",)}

Rows = list[tuple[str, ...]]


def lay_out(number: str, data: Path) -> Table | None:
    """Our own table in the form of the paper's table `number`; None where there is none."""
    if number not in BUILDERS:
        return None
    names, build = BUILDERS[number]
    paths = [data / f"{name}.csv" for name in names]
    if not all(path.exists() for path in paths):
        return None
    head, rows = build(*(pd.read_csv(path) for path in paths))
    if not rows:
        return None
    profile = find_profile(data)
    whose = "laptop experiment, another model and other questions" if profile == "laptop" else f"profile {profile}"
    title = f"This study's {whose}, in the form of the paper's table {number}"
    return Table(f"{number} {profile}", title, head, tuple(rows), notes=NOTES.get(number, ()))


def write_share(value: float, low: float, high: float, scale: float = 100.0) -> str:
    return f"{scale * value:.1f} [{scale * low:.1f}, {scale * high:.1f}]"


def _list_settings(table: pd.DataFrame, name: Callable[[Any], str]) -> Rows:
    return [(name(row), write_share(row.accuracy, row.low, row.high), f"{row.thinking_tokens:.1f}", f"{row.n}")
            for row in table.itertuples()]  # fmt: skip


def build_models(sequential: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    """Base model and trained model, natural end and each number of Waits, and the longest forced budget."""
    ends = sequential[sequential["control"] == "wait"]
    forced = sequential[sequential["control"] == "budget"].groupby("model", sort=False).tail(1)
    names = {"SFT": "trained model", "base": "base model"}
    rows = _list_settings(ends, lambda row: f"{names[row.model]}, {WAITS.get(row.waits, f'Wait ×{row.waits}')}")
    rows += _list_settings(forced, lambda row: f"{names[row.model]}, forced to {row.budget} tokens")
    return ("model", *ACCURACY), rows


def build_subsets(points: pd.DataFrame, differences: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    found = {row.subset: row for row in differences.itertuples()}
    rows = []
    for row in points.itertuples():
        less = found.get(row.subset)
        rows.append((str(row.subset), f"{row.examples}", write_share(row.accuracy, row.low, row.high),
                     write_share(less.difference, less.low, less.high) if less else "",
                     less.verdict if less else "", f"{row.n}"))  # fmt: skip
    return ("trained on", "examples", "accuracy % [95 %]", "less s1K, points [95 %]", "verdict", "questions"), rows


def build_methods(measured: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    def write(value: float, scale: float, digits: int) -> str:
        return "" if pd.isna(value) else f"{scale * value:.{digits}f}"

    rows = [(str(row.method), write(row.control, 100, 0), write(row.scaling, 1, 1), write(row.performance, 100, 1),
             f"{row.runs}") for row in measured.itertuples()]  # fmt: skip
    return ("method", "control %", "scaling, points per doubling", "performance %", "runs"), rows


def build_strings(methods: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    """Two suppressed ends and what is appended; the natural end first."""
    trained = methods[methods["model"] == "SFT"]
    natural = trained[(trained["control"] == "wait") & (trained["waits"] == 0)]
    quoted = trained["control"].str.startswith("“") | (trained["control"] == "wait")
    twice = trained[(trained["waits"] == 2) & quoted]
    names = {"wait": "“Wait”", "“<none>”": "no string"}
    rows = _list_settings(natural, lambda row: "no extrapolation")
    return ("appended", *ACCURACY), rows + _list_settings(
        twice, lambda row: f"2× {names.get(row.control, row.control)}"
    )


def build_waits(sequential: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    ends = sequential[(sequential["control"] == "wait") & (sequential["model"] == "SFT")]
    return ("trained model", *ACCURACY), _list_settings(ends, lambda row: WAITS.get(row.waits, f"Wait ×{row.waits}"))


def build_lengths(lengths: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    return ("trained on", *ACCURACY), _list_settings(lengths, lambda row: str(row.label))


def build_asked(kind: str) -> Callable[[pd.DataFrame], tuple[tuple[str, ...], Rows]]:
    def build(asks: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
        rows = [(f"{row.asked}", "plain s1" if row.trained == "s1" else f"on {row.trained}",
                 "stopped" if row.enforced else "by itself", f"{row.used:.1f}", f"{row.thinking_tokens:.1f}",
                 write_share(row.accuracy, row.low, row.high), f"{row.n}")
                for row in asks[asks["kind"] == kind].itertuples()]  # fmt: skip
        head = (f"{kind} asked for", "trained", "ends", f"{kind} used", "thinking tokens")
        return (*head, "accuracy % [95 %]", "questions"), rows

    return build


def build_classes(methods: pd.DataFrame) -> tuple[tuple[str, ...], Rows]:
    chosen = methods[(methods["model"] == "SFT") & methods["control"].isin(["short", "long", "free"])]
    names = {"free": "no prompt"}
    return ("prompt", *ACCURACY), _list_settings(chosen, lambda row: names.get(row.control, row.control))


BUILDERS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[tuple[str, ...], Rows]]]] = {
    "1": (("sequential",), build_models),
    "2": (("ablations_large_points", "ablations_large"), build_subsets),
    "3": (("methods_measured",), build_methods),
    "4": (("methods",), build_strings),
    "5": (("sequential",), build_waits),
    "8": (("ablations_large_lengths",), build_lengths),
    "11": (("conditional_asks",), build_asked("tokens")),
    "12": (("conditional_asks",), build_asked("steps")),
    "13": (("methods",), build_classes),
}
