"""Several finished runs in one figure, each curve named by its run.

Knows where a run's curve is and what made it (its manifest); knows nothing about how a figure looks. Runs whose stage
was made by different code are refused unless asked for, because their difference may be the code's; then each name
carries its code. Not known here: whether two runs are worth comparing. That their questions differ is said.
Tests: tests/test_plots.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from s1_utils import paths, plots, provenance
from s1_utils.errors import StudyError
from s1_utils.store import write_atomically

SHORT = 12  # characters of a hash in messages
FIGURES = {  # figure → its stage, and panel → the rows of that stage's curve
    "sequential": (
        "04_sequential_scaling",
        {
            "forced budget": {"model": "SFT", "control": "budget"},
            "natural end, then “Wait”": {"model": "SFT", "control": "wait"},
            "base model, forced budget": {"model": "base", "control": "budget"},
        },
    ),
    "parallel": (
        "05_parallel_scaling",
        {
            "majority of k": {"method": "majority"},
            "any of k": {"method": "pass"},
            "forced budget, on the same questions": {"method": "sequential"},
        },
    ),
}


def compare_runs(runs: Sequence[str], figure: str, *, mixed: bool = False) -> pd.DataFrame:
    """The curves of `figure` of all runs, with columns panel, run (its name), code, commit, chance.

    Raises StudyError for a run that isn't there or isn't finished, and, unless `mixed`, for runs of different code.
    """
    stage, panels = FIGURES[figure]
    if len(set(runs)) < 2:
        raise StudyError("One run is no comparison: name two or more runs.")
    folders = {run: find_stage(run, stage) for run in dict.fromkeys(runs)}
    links = {run: provenance.describe_source(folder, "curve.parquet") for run, folder in folders.items()}
    codes = {run: found["code"] for run, found in links.items()}
    if len(set(codes.values())) > 1 and not mixed:
        named = ", ".join(f"{run} ({code[:SHORT]})" for run, code in codes.items())
        raise StudyError(
            f"{stage} was made by different code in {named}: run the older again, or ask for --mixed to label each."
        )
    parts = []
    for run, folder in folders.items():
        code = f"code {codes[run][:SHORT]}" if mixed else ""
        name = "\n".join(filter(None, [run, code, "random weights" if _is_random(folder.parent) else ""]))
        curve = pd.read_parquet(folder / "curve.parquet")
        chance = provenance.read_manifest(folder.parent / "04_sequential_scaling").get("chance")
        about = {"run": name, "code": codes[run], "commit": links[run]["commit"], "chance": chance}
        parts += [_select(curve, wanted).assign(panel=panel, **about) for panel, wanted in panels.items()]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return _say_questions(table, folders)


def _is_random(run: Path) -> bool:
    """Whether the run's model has learned nothing: its curves show that the code runs, and nothing else."""
    path = run / "01_collect" / "model.json"
    return path.is_file() and str(json.loads(path.read_text("utf-8")).get("name", "")).startswith("random-")


def _select(curve: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    for column, value in wanted.items():
        curve = curve[curve[column] == value]
    return curve


def _say_questions(table: pd.DataFrame, folders: Mapping[str, Path]) -> pd.DataFrame:
    """The rows in the order of the panels; panels say so where runs answered different questions."""
    order = dict.fromkeys(table["panel"])
    table = pd.concat([table[table["panel"] == panel] for panel in order], ignore_index=True)
    manifests = [provenance.read_manifest(folder.parent / "04_sequential_scaling") for folder in folders.values()]
    questions = {str(manifest["outputs"].get("tests.parquet", {}).get("sha256")) for manifest in manifests}
    return table.assign(panel=table["panel"] + " (different questions)") if len(questions) > 1 else table


def find_stage(run: str, stage: str) -> Path:
    """The folder of a finished stage of a run; raises StudyError with the runs that there are."""
    root = paths.find_runs()
    there = sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    finished = [name for name in there if (root / name / stage / provenance.MANIFEST).is_file()]
    known = f"runs with a finished {stage}: {', '.join(finished) or 'none'}"
    if run not in there:
        raise StudyError(f"No run {run!r} in {root.name}/; {known}.")
    if run not in finished:
        raise StudyError(f"{run} is half-finished, its {stage} has no manifest: run it to the end first; {known}.")
    return root / run / stage


def draw_runs(runs: Sequence[str], figure: str, folder: Path, *, mixed: bool = False) -> list[Path]:
    """Write comparison_<figure>.csv, .svg and .png to `folder`; the files written."""
    table, name = compare_runs(runs, figure, mixed=mixed), f"comparison_{figure}"
    with write_atomically(folder / f"{name}.csv") as path:
        table.round(6).to_csv(path, index=False, lineterminator="\n")
    plots.save(plots.draw("comparison", table), folder, name)
    return [folder / f"{name}.{kind}" for kind in ("csv", *plots.KINDS)]
