"""A run's small tables with where they come from, and the tables of the README.

Knows the folders of a profile's run, and Markdown; how each table is made is `figure_tables`', how figures look is not
known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import params, paths, plots, provenance
from s1_utils.claim_rules import STATUSES
from s1_utils.errors import StudyError
from s1_utils.figure_tables import OPTIONAL, TABLES, VARIANTS, Builder
from s1_utils.provenance import Recorder
from s1_utils.store import Stage, write_atomically

NOT_OURS = "champ_"  # tables of replies that others published
FLOW = {  # notebook: (reads, writes)
    "01_collect": (
        "nothing",
        "`questions`, `sources`, `benchmarks`, `overlaps`, `planted`, `flaws`, `traces`, `teachers`, `trace_grades`, "
        "`model.json`",
    ),
    "02_filter": (
        "01",
        "`candidates`, `domains`, `askings`, `features`, `subsets`, `stability`, `inclusion`, `funnel`, `browse.html`",
    ),
    "03_sft": ("01, 02", "`training`, `label_mask`, `model/`"),
    "04_sequential_scaling": (
        "01, 03",
        "`tests`, `generations_*`, `grades*`, `graders`, `curve`, `waits`, `measures`, `methods`, `verdicts`",
    ),
    "05_parallel_scaling": (
        "01, 03, 04",
        "`generations`, `grades`, `steps`, `votes`, `curve`, `frontier`, `differences`, `rejection`, `combination`, "
        "`judged`",
    ),
    "06_ablations": (
        "01, 02",
        "`subsets`, `generations`, `grades`, `curve`, `differences`, `lengths`, `conditional`, `obedience`",
    ),
}


# ------------------------------------------------------------------ tables


def collect_tables(stage: Stage) -> dict[str, pd.DataFrame]:
    """figure → its tidy table, from the finished stages that `stage` reads; nothing for what was not run."""
    run = Recorder(stage.upstream)
    tables = {name: build(run) for name, build in TABLES.items()}
    return {name: table for name, table in tables.items() if len(table) or name not in OPTIONAL}


def collect_sourced(
    builders: Mapping[str, Builder], folders: Mapping[str, Path], profile: str
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    """(tables, their provenance) of `builders` from the finished stages in `folders` (stage → folder)."""
    tables, entries = {}, {}
    for name, build in builders.items():
        run = Recorder(folders)
        table = build(run)
        if len(table) or name not in OPTIONAL:
            tables[name], entries[name] = table, provenance.describe_sources(run.sources, profile)
    return tables, entries


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    for name, table in tables.items():
        with write_atomically(folder / f"{name}.csv") as path:
            table.to_csv(path, index=False, lineterminator="\n")


def replace_tables(data: Path, tables: Mapping[str, pd.DataFrame], entries: Mapping[str, dict[str, Any]]) -> None:
    """Put a run's tables, with their provenance, in the place of all those in `data` that a run made before.

    Tables that no run made (champ_*, by `published_samples`) stay; raises StudyError if one of them was edited.
    """
    kept = sorted(path.stem for path in data.glob(f"{NOT_OURS}*.csv"))
    known = provenance.read(data)
    provenance.require_unedited(data, [name for name in kept if name in known])
    for old in data.glob("*.csv"):
        if old.stem not in kept:
            old.unlink()
    write_tables(tables, data)
    provenance.write(data, {**dict.fromkeys(kept, provenance.NO_RUN), **entries})


def collect_all(profile: str) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    """(tables, their provenance) of a profile's finished run, and of those of its VARIANTS that are finished.

    Raises StudyError for a profile that doesn't exist, and where its run isn't finished, naming what is missing.
    """
    runs = paths.find_runs()
    if not (runs / profile).is_dir():
        params.find_yaml(params.CollectParams, profile)
    folders = provenance.find_stages(runs, profile, profile, FLOW)
    if missing := [name for name in FLOW if name not in folders]:
        raise StudyError(
            f"{runs / profile} isn't finished ({', '.join(missing)}): run `make study PROFILE={profile}`, "
            "it goes on from there."
        )
    tables, entries = collect_sourced(TABLES, folders, profile)
    for variant, (stage, builders) in VARIANTS.items():
        run = f"{profile}-{variant}"
        if (runs / run / stage / provenance.MANIFEST).exists():
            found = collect_sourced(builders, provenance.find_stages(runs, run, profile, FLOW), profile)
            tables, entries = tables | found[0], entries | found[1]
    return tables, entries


# ------------------------------------------------------------------ the README


def find_stamp(stage: Stage) -> str:
    """What to write across the figures of a run that is no experiment."""
    name = stage.read_json("01_collect", "model")["name"]
    return "SMOKE RUN: random weights" if name.startswith("random-") else ""


def write_results(tables: Mapping[str, pd.DataFrame]) -> str:
    """The results table: accuracy in % with its 95 % interval, and the notebook each row comes from."""
    lines = [
        "| result | accuracy % [95 %] | thinking tokens | n | notebook |",
        "|---|--:|--:|--:|---|",
        f"| guessing | {100 * tables['sequential']['chance'].iloc[0]:.1f} | 0 | | |",
    ]
    for row in tables["sequential"].query("control in ['budget', 'wait']").itertuples():
        name = "SFT" if row.model == "SFT" else "base model"
        ends = "natural end" if row.waits == 0 else f"“Wait” ×{row.waits}"
        setting = f"forced budget {row.budget}" if row.control == "budget" else ends
        lines.append(_write_row(f"{name}, {setting}", row, "04"))
    for row in tables["parallel"].query("method == 'majority'").itertuples():
        lines.append(_write_row(f"SFT, majority of {row.k:.0f}", row, "05"))
    for row in tables["ablations"].itertuples():
        label = f"trained on {row.examples} {plots.name_run(row, tables['ablations'])}, forced budget {row.budget}"
        lines.append(_write_row(label, row, "06"))
    return "\n".join(lines)


def write_ablations(tables: Mapping[str, pd.DataFrame]) -> str:
    """The larger ablations: each subset's accuracy and difference to s1K, beside the paper's; then the cut examples."""
    if "ablations_large" not in tables:
        return "Not run: `make ablations`, then `make publish`."
    lines = [
        "| trained on | its thinking tokens | accuracy % [95 %] | less s1K, points [95 %] | verdict | paper, AIME24 |",
        "|---|--:|--:|--:|---|--:|",
    ]
    differences = tables["ablations_large"].set_index("subset")
    for row in tables["ablations_large_points"].itertuples():
        accuracy = _write_interval(100 * row.accuracy, 100 * row.low, 100 * row.high)
        label = f"{row.examples} {plots.name_run(row, tables['ablations_large_points'])}"
        found = differences.loc[row.subset] if row.subset in differences.index else None
        less, verdict, paper = "", "", ""
        if found is not None:
            less = _write_interval(*(100 * found[name] for name in ("difference", "low", "high")), signed=True)
            verdict = found["verdict"]
            if pd.notna(found["paper"]):
                paper = _write_interval(found["paper"], found["paper_low"], found["paper_high"], signed=True)
        lines.append(f"| {label} | {row.tokens:,.0f} | {accuracy} | {less} | {verdict} | {paper} |")
    for row in tables["ablations_large_lengths"].itertuples():
        accuracy = _write_interval(100 * row.accuracy, 100 * row.low, 100 * row.high)
        ends = f"natural end at {row.thinking_tokens:.0f} tokens"
        lines.append(f"| s1K cut at {row.label}; {ends} | | {accuracy} | | | |")
    return "\n".join(lines)


def _write_interval(value: float, low: float, high: float, *, signed: bool = False, digits: int = 1) -> str:
    text = f"{value:{'+' if signed else ''}.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return text.replace("-", "−")


def write_claims(tables: Mapping[str, pd.DataFrame]) -> str:
    """The qualitative claims with the laptop's verdicts, and how many published numbers have which status."""
    if "ledger" not in tables:
        return "Not made: `make publish`."
    ledger = tables["ledger"]
    lines = [
        "| the paper's claim | there | here, on the laptop's own experiment | value [95 % or wider] |",
        "|---|---|---|--:|",
    ]
    for row in ledger[ledger["kind"] == "statement"].itertuples():
        value = ""
        if pd.notna(row.laptop_value):
            how = {"signed": row.metric == "points", "digits": 2 if row.metric.startswith("doublings") else 1}
            value = f"{_write_interval(row.laptop_value, row.laptop_low, row.laptop_high, **how)} {row.metric}"
        lines.append(f"| {row.statement} | {row.where} | {row.laptop_verdict} | {value} |")
    statuses = ledger.loc[ledger["kind"] == "number", "status"].value_counts()
    counted = ", ".join(f"{statuses.get(status, 0)} {status}" for status in STATUSES)
    return "\n".join([*lines, "", f"{statuses.sum()} published numbers: {counted}."])


def write_stages(tables: Mapping[str, pd.DataFrame]) -> str:
    """The table of stages: what each reads and writes, and the minutes it took."""
    lines = ["| notebook | in | out | minutes |", "|---|---|---|--:|"]
    for row in tables["stages"].itertuples():
        reads, writes = FLOW[row.notebook]
        lines.append(f"| `{row.notebook}` | {reads} | {writes} | {row.minutes} |")
    return "\n".join(lines)


def _write_row(label: str, row: object, notebook: str) -> str:
    accuracy, low, high = (100 * getattr(row, name) for name in ("accuracy", "low", "high"))
    tokens, n = row.thinking_tokens, row.n  # type: ignore[attr-defined]
    return f"| {label} | {accuracy:.1f} [{low:.1f}, {high:.1f}] | {tokens:.0f} | {n} | {notebook} |"


def update_readme(data: Path, readme: Path) -> None:
    """Put the tables made from the CSV files in `data` between the README's markers."""
    tables = {path.stem: pd.read_csv(path) for path in sorted(data.glob("*.csv"))}
    text = readme.read_text("utf-8")
    written = {
        "claims": write_claims(tables),
        "results": write_results(tables),
        "ablations": write_ablations(tables),
        "stages": write_stages(tables),
    }
    for name, table in written.items():
        markers = (f"<!-- {name} -->", f"<!-- /{name} -->")
        if not all(marker in text for marker in markers):
            raise StudyError(f"{readme} lacks the markers {' '.join(markers)}: put them where the table belongs.")
        before, rest = text.split(markers[0])
        text = f"{before}{markers[0]}\n{table}\n{markers[1]}{rest.split(markers[1])[1]}"
    with write_atomically(readme) as path:
        path.write_text(text, "utf-8")
