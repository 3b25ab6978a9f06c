"""Our values of the paper's numbers, from finished runs of the very models that the numbers are about.

Knows the folders of runs and baselines; knows no tolerances. A run counts for a claim only if what it recorded of its
model is the claim's model, whatever its profile is called: the base model by name (01_collect/model.json, bound to the
stage by its hash), the size and subset of the training (03_sft), and the teacher of the traces. A folder of one's own
is no name: take the model by that of the hub (its cache serves offline). Weights are not compared with the hub's.
Intervals: what a table has covers other questions of the same kind. The paper's questions are the same as ours, so
where a question has several samples (baselines that sample), the interval is that of the same questions asked again
(`votes.bound_samples`), which is the right one and much narrower.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import claim_places, curves, provenance, scaling, slopes, votes
from s1_utils.claim_places import SEQUENTIAL, Place
from s1_utils.claim_rows import Claim
from s1_utils.claim_rules import Found
from s1_utils.errors import StudyError
from s1_utils.store import hash_file

COLLECT, SFT, MODEL = "01_collect", "03_sft", "03_sft/model"
PARAMETERS = 32_763_876_352  # of Qwen2.5-32B
NEAR = 0.01  # share by which a count of them may differ: embeddings may be counted or not
OTHERS, AGAIN, COUNT = "other questions of this kind", "these questions asked again", "a count"


@dataclass(frozen=True)
class Recipe:
    """What a run must have recorded to be a model of the paper's: traces of the `teacher`, or the `published` ones."""

    base: str
    parameters: int
    teacher: str
    published: str


RECIPES = {
    "s1-32b": Recipe("Qwen/Qwen2.5-32B-Instruct", PARAMETERS, "gemini", "s1K"),
    "s1.1-32b": Recipe("Qwen/Qwen2.5-32B-Instruct", PARAMETERS, "deepseek-r1", "s1K-1.1"),
}


@dataclass(frozen=True)
class Outcome:
    """A value with the links of the table it is from (`provenance.describe_source`), or why there is none."""

    found: Found | None = None
    why: str = ""
    source: str = ""
    links: dict[str, Any] = field(default_factory=dict)


class NoValueError(StudyError):
    """Why a run has no value for a claim."""


def find_value(claim: Claim, runs: Path) -> Outcome:
    """Our value of a claim from the folder of all runs, or why there is none; never from another model than its own.

    Files that aren't what a run writes are a reason, too: the rest of the ledger is made without them.
    """
    if claim.place is None:
        return Outcome(why="not in this study")
    try:
        if claim.place.stage:
            return _find_in_stage(claim, claim.place, runs)
        return _find_in_baseline(claim, claim.place, runs)
    except StudyError as error:
        return Outcome(why=str(error))
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        return Outcome(why=f"{claim.place.run} can't be read ({type(error).__name__}): run it again")


# ------------------------------------------------------------------ stages


def _find_in_stage(claim: Claim, place: Place, runs: Path) -> Outcome:
    folder = runs / place.run / place.stage
    if not (folder / provenance.MANIFEST).exists():
        if (folder / "started.json").exists():
            raise NoValueError(f"unfinished: {place.run}/{place.stage} was started and has no manifest, run it again")
        raise NoValueError(f"no finished run {place.run}/{place.stage}")
    manifest = provenance.read_manifest(folder)
    require_model(claim.model, manifest, runs, run=place.run, profile=claim.profile)
    if claim.n:
        require_benchmark(claim.benchmark, manifest, runs, run=place.run, profile=claim.profile)
    links = provenance.describe_source(folder, f"{place.table}.parquet")
    table = pd.read_parquet(folder / f"{place.table}.parquet")
    rows = select_rows(table, place)
    if place.measure in ("cell", "count") and len(rows) > 1:
        raise NoValueError(f"{place.run}/{place.stage}/{place.table} has {len(rows)} such rows, not one")
    if claim.n and "n" in rows and not (rows["n"] == claim.n).all():
        raise NoValueError(f"{place.run}/{place.stage} asked {rows['n'].iloc[0]} of {claim.n} questions")
    found = MEASURES[place.measure](rows, place, folder, manifest)
    if place.measure == "cell" and claim.published_tokens is not None and "thinking_tokens" in rows:
        found = Found(found.value, found.low, found.high, found.basis, float(rows["thinking_tokens"].iloc[0]))
    return Outcome(found, source=provenance.name_source(folder, links["table"]), links=links)


def select_rows(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    """The rows that meet one of a place's conditions. Raises StudyError for none."""
    keep = pd.Series(not place.rows, index=table.index)
    for each in place.rows:
        met = pd.Series(True, index=table.index)
        for name, values in each.items():
            if name not in table:
                raise StudyError(f"{place.run}/{place.stage}/{place.table} has no column {name}: run the stage again")
            met &= table[name].isin(values)
        keep |= met
    if not keep.any():
        raise StudyError(f"{place.run}/{place.stage}/{place.table} has no row with {_describe_rows(place)}")
    return table[keep]


def _describe_rows(place: Place) -> str:
    return " or ".join(", ".join(f"{name} {values}" for name, values in each.items()) for each in place.rows)


# ------------------------------------------------------------------ whose run it is


def require_model(model: str, manifest: dict[str, Any], runs: Path, *, run: str, profile: str) -> None:
    """Raises an error that says whose run a stage's manifest is of, unless it recorded the model `model` of RECIPES."""
    recipe, inputs = RECIPES[model], manifest["key"]["inputs"]
    collected = _find_upstream(runs, run, profile, COLLECT, "model.json", inputs)
    name = json.loads((collected / "model.json").read_text("utf-8"))["name"]
    if name != recipe.base:
        raise NoValueError(f"another model: {run} is a run of {name}, not of {recipe.base}")
    params = provenance.read_manifest(collected)["key"]["params"]
    if recipe.teacher != params["teacher"] and recipe.published not in params["sources"]:
        who = params["teacher"] or "no teacher"
        raise NoValueError(f"another model: its traces are of {who}, not of {recipe.teacher} or {recipe.published}")
    if MODEL in inputs:
        _require_training(provenance.read_manifest(_find_upstream(runs, run, profile, SFT, "model", inputs)), recipe)


def require_benchmark(benchmark: str, manifest: dict[str, Any], runs: Path, *, run: str, profile: str) -> None:
    """Raises an error unless a stage asked this benchmark's questions; notebook 5 asks those of notebook 4."""
    key = manifest["key"]
    if f"{SEQUENTIAL}/tests.parquet" in key["inputs"]:
        asking = _find_upstream(runs, run, profile, SEQUENTIAL, "tests.parquet", key["inputs"])
        key = provenance.read_manifest(asking)["key"]
    asked = key["params"].get("benchmark", "nothing")
    if asked != claim_places.BENCHMARKS[benchmark]:
        raise NoValueError(f"{run}/{manifest['key']['stage']} asked the questions of {asked}")


def _require_training(manifest: dict[str, Any], recipe: Recipe) -> None:
    chosen = {name: manifest["key"]["params"].get(name) for name in ("subset", "kind")}
    if chosen != {"subset": "s1K", "kind": "s1"}:
        raise NoValueError(f"another model: trained on {chosen['subset']} in the format {chosen['kind']}")
    count = manifest.get("training", {}).get("parameters", 0)
    if abs(count - recipe.parameters) > NEAR * recipe.parameters:
        raise NoValueError(f"another model: {count:,} parameters were trained, not {recipe.parameters:,}")


def _find_upstream(runs: Path, run: str, profile: str, stage: str, name: str, inputs: dict[str, str]) -> Path:
    """The folder of the upstream stage whose output `name` the run was made from, by its hash."""
    for candidate in dict.fromkeys((run, profile)):
        folder = runs / candidate / stage
        if not (folder / provenance.MANIFEST).exists():
            continue
        recorded = provenance.read_manifest(folder)["outputs"].get(name, {}).get("sha256")
        is_there = name == "model" or ((folder / name).is_file() and hash_file(folder / name) == recorded)
        if recorded == inputs.get(f"{stage}/{name}") and is_there:
            return folder
    raise NoValueError(f"where it comes from can't be told: the {stage}/{name} that {run} was made from is gone")


# ------------------------------------------------------------------ measures


def _read_cell(rows: pd.DataFrame, place: Place, folder: Path, manifest: dict[str, Any]) -> Found:
    row = rows.iloc[0]
    return Found(*(100 * float(row[name]) for name in (place.column, "low", "high")), OTHERS)


def _count(rows: pd.DataFrame, place: Place, folder: Path, manifest: dict[str, Any]) -> Found:
    return _make_count(float(rows[place.column].iloc[0]))


def _count_runs(rows: pd.DataFrame, place: Place, folder: Path, manifest: dict[str, Any]) -> Found:
    return _make_count(float(len(rows)))


def _make_count(value: float) -> Found:
    return Found(value, value, value, COUNT)


def _measure_control(rows: pd.DataFrame, place: Place, folder: Path, manifest: dict[str, Any]) -> Found:
    if place.column == "class":  # shorter than at its natural end if asked for short, and longer if for long
        provenance.describe_source(folder, "curve.parquet")
        curve = pd.read_parquet(folder / "curve.parquet")
        natural = Place(place.run, place.stage, "curve", (claim_places.choose_wait(0),))
        usual = float(select_rows(curve, natural)["thinking_tokens"].iloc[0])
        tokens = rows.set_index("control")["thinking_tokens"]
        kept = [tokens[name] < usual if name == "short" else tokens[name] > usual for name in tokens.index]
        return _make_count(100 * float(np.mean(kept)))
    return _make_count(100 * scaling.measure_control(rows[place.column], place.per * rows[place.limit]))


def _measure_performance(rows: pd.DataFrame, place: Place, folder: Path, manifest: dict[str, Any]) -> Found:
    """The best accuracy with its own interval: chosen as the best, it flatters."""
    return _read_cell(rows.sort_values("accuracy").tail(1), place, folder, manifest)


def _measure_scaling(rows: pd.DataFrame, place: Place, folder: Path, manifest: dict[str, Any]) -> Found:
    tables = [f"{name}.parquet" for name in claim_places.GRADED[place.table]]
    for name in tables:
        provenance.describe_source(folder, name)
    graded = curves.join_grades(*(pd.read_parquet(folder / name) for name in tables))
    order = sorted(graded["question_id"].unique())
    kept = select_rows(graded, place)
    correct = slopes.pivot_settings(kept, "correct", order)
    tokens = _order_tokens(kept, rows)
    params = manifest["key"]["params"]
    weights = scaling.resample(len(order), params["resamples"], params["seed"])
    found = slopes.bound_scaling(tokens, correct.to_numpy(float), weights)
    if math.isnan(found.value):
        raise NoValueError("its runs don't differ in length: no slope")
    return Found(found.value, found.low, found.high, OTHERS)


def _order_tokens(kept: pd.DataFrame, rows: pd.DataFrame) -> list[float]:
    """Mean thinking tokens of the rows of a summary, in the order of the settings of graded generations."""
    keys = ["asked"] if "asked" in rows else ["control", "budget", "waits"]
    known = rows.set_index(keys)["thinking_tokens"]
    firsts = kept.drop_duplicates("setting")[keys]
    return [float(known.loc[tuple(key) if len(keys) > 1 else key[0]]) for key in firsts.itertuples(index=False)]


Measure = Callable[[pd.DataFrame, Place, Path, dict[str, Any]], Found]
MEASURES: dict[str, Measure] = {
    "cell": _read_cell,
    "count": _count,
    "runs": _count_runs,
    "control": _measure_control,
    "performance": _measure_performance,
    "scaling": _measure_scaling,
}


# ------------------------------------------------------------------ baselines


def _find_in_baseline(claim: Claim, place: Place, runs: Path) -> Outcome:
    """From the folder that `baselines` wrote. What no rule could decide counts as wrong, as what has no answer does."""
    folder = runs / place.run
    path = folder / f"{place.table}.parquet"
    if not path.exists():
        started = any(folder.glob("*.jsonl")) or (folder / "generations.parquet").exists()
        raise NoValueError(f"unfinished: {place.run} has no {path.name}" if started else f"no finished run {place.run}")
    graded = select_rows(pd.read_parquet(path), place)
    _require_served(claim, folder)
    counts = graded.groupby("question_id").size()
    if len(counts) != claim.n or counts.nunique() != 1:
        raise NoValueError(f"{place.run} has {len(counts)} of {claim.n} questions, {counts.min()} samples or more each")
    right = graded["correct"].fillna(False).astype(bool)
    correct_QS = graded.assign(correct=right).pivot(index="question_id", columns="sample", values="correct")
    links = {"params": "", "code": "", "inputs": "", "table": path.name, "sha256": hash_file(path), "samples": {}}
    return Outcome(bound_accuracy(correct_QS.to_numpy(bool)), source=f"{place.run}/{place.table}", links=links)


def bound_accuracy(correct_QS: np.ndarray) -> Found:
    """Accuracy in %: with several samples a question, its interval for these questions asked again; else Wilson's."""
    if correct_QS.shape[1] > 1:
        passes = votes.expect_passes(correct_QS)
        again = votes.bound_samples(passes, votes.jackknife_samples(votes.expect_passes, correct_QS))
        return Found(100 * float(again.value[0]), 100 * float(again.low[0]), 100 * float(again.high[0]), AGAIN)
    share = scaling.bound_share(int(correct_QS.sum()), correct_QS.size)
    return Found(100 * float(share.value), 100 * float(share.low), 100 * float(share.high), OTHERS)


def _require_served(claim: Claim, folder: Path) -> None:
    """Raises an error unless the replies themselves say that the claim's model, and no other, gave them."""
    if not claim.model:
        raise NoValueError(f"which model {claim.system} is, claim_locators doesn't say")
    replies = pd.read_parquet(folder / "generations.parquet", columns=["served", "answer"])
    served, unsigned = sorted(replies["served"].dropna().unique()), replies["answer"].notna() & replies["served"].isna()
    if unsigned.any() or not served:
        raise NoValueError(f"whose replies {folder.name} has can't be told: {int(unsigned.sum())} name no model")
    if served != [claim.model]:
        raise NoValueError(f"another model: {folder.name} was answered by {', '.join(served)}, not by {claim.model}")
