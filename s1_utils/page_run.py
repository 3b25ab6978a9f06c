"""What a report needs to know of a run: its stages and their states, its claims, its figures.

Knows manifests and the names of tables; knows nothing of HTML. A stage counts as finished when its manifest is there
and every output it was made from is still the one its upstream stage has; whatever else is said, never hidden.
Tests: tests/test_page.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import paths, study
from s1_utils.errors import StudyError
from s1_utils.page_captions import CAPTIONS
from s1_utils.store import require_columns

FINISHED, STALE, STARTED, MISSING = "finished", "finished, from other inputs", "not finished", "not run"
LEDGER = (
    "claim_id kind where system benchmark setting metric published published_low published_high how_known n tolerance "
    "profile status why value low high command statement test laptop_value laptop_low laptop_high laptop_verdict "
    "laptop_source laptop_command"
).split()


@dataclass(frozen=True)
class StageFacts:
    """One stage: its state, why it isn't simply finished, its folder and manifest."""

    name: str
    state: str
    why: str = ""
    folder: Path | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run by name, the profile it belongs to, and its stages in their order."""

    name: str
    profile: str
    folder: Path
    stages: tuple[StageFacts, ...]

    @property
    def unfinished(self) -> list[StageFacts]:
        return [stage for stage in self.stages if stage.state != FINISHED]

    @property
    def is_smoke(self) -> bool:
        return self.model.get("name", "").startswith("random-")

    @property
    def model(self) -> Mapping[str, Any]:
        """What the first stage recorded of the model, if it is finished."""
        folder = self.find("01_collect")
        return read_json(folder / "model.json") if folder and (folder / "model.json").exists() else {}

    def find(self, stage: str) -> Path | None:
        """The folder of a stage that has a manifest."""
        return next((facts.folder for facts in self.stages if facts.name == stage and facts.manifest), None)


def read_run(name: str) -> Run:
    """Raises StudyError for a name that isn't a run's, with those that are."""
    runs = paths.find_runs()
    folder = runs / name
    if not name or Path(name).name != name or not any((folder / stage).is_dir() for stage in study.NOTEBOOKS):
        found = sorted(path.parent.name for path in runs.glob("*/0*_*") if path.is_dir())
        there = ", ".join(dict.fromkeys(found)) or "none yet"
        raise StudyError(f"There is no run {name!r} (there: {there}): run `make study PROFILE={name}` first.")
    own = [read_json(path) for path in sorted(folder.glob("0*_*/manifest.json"))]
    profile = next((str(manifest["profile"]) for manifest in own if manifest.get("profile")), name)
    folders = {stage: _find_folder(stage, runs, name, profile) for stage in study.NOTEBOOKS}
    manifests = {
        stage: read_json(found / "manifest.json") if found and (found / "manifest.json").exists() else {}
        for stage, found in folders.items()
    }
    stages = (_judge_stage(stage, folders[stage], manifests) for stage in study.NOTEBOOKS)
    return Run(name, profile, folder, tuple(stages))


def _find_folder(stage: str, runs: Path, name: str, profile: str) -> Path | None:
    folders = [runs / run / stage for run in dict.fromkeys((name, profile))]
    for marker in ("manifest.json", "started.json"):
        if found := next((folder for folder in folders if (folder / marker).exists()), None):
            return found
    return None


def _judge_stage(name: str, folder: Path | None, manifests: Mapping[str, Mapping[str, Any]]) -> StageFacts:
    if folder is None:
        return StageFacts(name, MISSING)
    manifest = manifests[name]
    if not manifest:
        return StageFacts(name, STARTED, "it was started and has no manifest", folder)
    other = []
    for source, sha256 in manifest.get("key", {}).get("inputs", {}).items():
        stage, _, output = source.partition("/")
        now = manifests.get(stage, {}).get("outputs", {}).get(output, {}).get("sha256")
        if now != sha256:
            other.append(source)
    if other:
        return StageFacts(name, STALE, f"{other[0]} is another now; {len(other)} in all", folder, manifest)
    return StageFacts(name, FINISHED, "", folder, manifest)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises StudyError for anything else."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"{path} can't be read ({error}): run its stage again.") from error
    if not isinstance(value, dict):
        raise StudyError(f"{path} isn't a JSON object: run its stage again.")
    return value


# ------------------------------------------------------------------ claims


def read_ledger(run: Run) -> tuple[pd.DataFrame | None, str]:
    """(the ledger as text cells, which one it is): the run's own, else the published one; None if there is none."""
    for folder, words in (
        (run.folder / "figures" / "data", "this run's ledger"),
        (paths.FIGURES / "data", "published"),
    ):
        if (folder / "ledger.csv").exists():
            try:
                table = pd.read_csv(folder / "ledger.csv", dtype=str, keep_default_na=False)
            except (OSError, ValueError) as error:
                raise StudyError(f"{folder / 'ledger.csv'} can't be read ({error}): make it again.") from error
            return require_columns(table, LEDGER, str(folder / "ledger.csv")), words
    return None, ""


# ------------------------------------------------------------------ figures


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its SVG, what it shows, its tables (name → CSV), and what is wrong with these tables."""

    name: str
    svg: str
    title: str
    caption: str
    tables: Mapping[str, str]
    warnings: tuple[str, ...]


def list_figures(run: Run) -> tuple[list[Figure], str]:
    """(figures in the order of `plots.FIGURES`, where they come from).

    Those published from this run, if they were; else its own, which notebook 7 draws: none until that is finished.
    """
    from s1_utils import plots, provenance

    if run.find("07_figures") is None:
        return [], ""
    recorded = provenance.read(paths.FIGURES / "data")
    if any(source.startswith(f"{run.name}/") for entry in recorded.values() for source in entry.get("stages", {})):
        data, source = paths.FIGURES / "data", "figures/, as published"
        doubts = dict.fromkeys(provenance.find_broken(data, paths.find_runs()), "isn't made from the run as it is now")
        doubts |= dict.fromkeys(provenance.find_edited(data), "was edited by hand")
    else:
        data, source = run.folder / "figures" / "data", "the run's own figures/"
        doubts = _compare_tables(run, data)
    figures = []
    for name in plots.FIGURES:
        try:
            _, files = plots.read_table(name, data)
        except (OSError, ValueError, LookupError) as error:
            raise StudyError(f"The table of figure {name} in {data} can't be read ({error}): make it again.") from error
        path = data.parent / f"{name}.svg"
        if not path.exists() or not files:
            continue
        stems = [Path(file).stem for file in files if (data / file).exists()]
        warnings = [f"The table {stem}.csv {doubts[stem]}." for stem in stems if stem in doubts]
        svg = path.read_text("utf-8")
        tables = {stem: (data / f"{stem}.csv").read_text("utf-8") for stem in stems}
        title, caption = CAPTIONS.get(name, (name.replace("_", " ").capitalize(), ""))
        figures.append(Figure(name, svg, title, caption, tables, tuple(warnings)))
    return figures, source


def _compare_tables(run: Run, data: Path) -> dict[str, str]:
    """name → what is wrong with it, of the CSVs in `data` that aren't what the run's own tables give, byte for byte."""
    from s1_utils import figure_tables, provenance

    folders = {stage.name: stage.folder for stage in run.stages if stage.folder and stage.manifest}
    doubts = {}
    for path in sorted(data.glob("*.csv")):
        if path.stem not in figure_tables.TABLES:
            continue
        try:
            table = figure_tables.TABLES[path.stem](provenance.Recorder(folders))
        except Exception:  # tables of another version of the study can lack anything
            doubts[path.stem] = "can't be made from the run's tables again, which lack what it needs"
            continue
        if path.read_bytes() != table.to_csv(index=False, lineterminator="\n").encode("utf-8"):
            doubts[path.stem] = "isn't what the run's tables give: it was edited by hand, or a stage was run again"
    return doubts
