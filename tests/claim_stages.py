"""Finished stages for the tests of the ledger: tables and manifests as `store` writes them, without a notebook."""

from __future__ import annotations

import json

import pandas as pd

from s1_utils import claim_places, claim_runs, provenance, store

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_stage(folder, tables, *, params=None, inputs=None, code="c0de", documents=None, more=None, manifest=None):
    """A finished stage: its tables and JSON documents, and a manifest with their hashes. The manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        store.write_table(folder / f"{name}.parquet", table)
    for name, value in (documents or {}).items():
        store.write_json(folder / f"{name}.json", value)
    paths = [path for path in folder.iterdir() if path.suffix in (".parquet", ".json") and path.name != "manifest.json"]
    outputs = {path.name: {"sha256": store.hash_file(path)} for path in paths} | (more or {})
    key = {"stage": folder.name, "params": params or {}, "inputs": inputs or {}, "code": code}
    written = {"key": key, "outputs": outputs, "commit": COMMIT, "dirty": False, "wall_seconds": 6.0, "chance": 0.0} | (
        manifest or {}
    )
    store.write_json(folder / "manifest.json", written)
    return written


def write_model(runs, run, *, profile="s1-32b", base="", teacher="", parameters=0, subset="s1K"):
    """01_collect and 03_sft of a run, as its recipe has them unless something else is said; what later stages read."""
    recipe = claim_runs.RECIPES[profile]
    collected = write_stage(
        runs / run / "01_collect", {}, documents={"model": {"name": base or recipe.base, "sha256": "f00d"}},
        params={"teacher": teacher or recipe.teacher, "sources": ["MATH"]},
    )  # fmt: skip
    trained = write_stage(
        runs / run / "03_sft", {}, more={"model": {"sha256": "beef"}}, params={"subset": subset, "kind": "s1"},
        manifest={"training": {"parameters": parameters or recipe.parameters}},
    )  # fmt: skip
    return {
        "01_collect/model.json": collected["outputs"]["model.json"]["sha256"],
        "03_sft/model": trained["outputs"]["model"]["sha256"],
    }


def write_claimed(runs, claim, tables, **model):
    """The finished stage of a claim's place, with these tables, of the claim's model unless `model` says otherwise."""
    place = claim.place
    inputs = write_model(runs, place.run, profile=claim.profile, **model)
    if place.stage != "04_sequential_scaling":
        inputs.pop("03_sft/model")
    params = {"benchmark": claim_places.BENCHMARKS[claim.benchmark]} if claim.benchmark else {}
    params |= {"resamples": 1000, "seed": 1}
    return write_stage(runs / place.run / place.stage, tables, params=params, inputs=inputs)


def write_data(data, tables, *, profile="laptop"):
    """CSVs with a provenance as `publish` would record it."""
    data.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, table in tables.items():
        table.to_csv(data / f"{name}.csv", index=False)
        links = {
            "params": "aa", "code": "bb", "inputs": "cc", "table": f"{name}.parquet", "sha256": "dd",
            "samples": {"generations.parquet": "ee"}, "commit": COMMIT, "dirty": False,
        }  # fmt: skip
        entries[name] = {"profile": profile, "stages": {f"{profile}/stage/{name}": links}, "commit": "", "dirty": False}
    provenance.write(data, entries)


def edit_json(path, change):
    """Rewrite a JSON file after `change` of its value."""
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")


DIFFERENCE = {"difference": 0.2, "low": 0.1, "high": 0.3, "detectable": 0.1, "n": 320}
POINT = {"model": "SFT", "control": "wait", "budget": 144, "waits": 0, "accuracy": 0.7, "low": 0.6, "high": 0.8}


def make_tables():
    """A small table of each kind that the statements read, in which every statement but REBASE's holds."""
    worse = {**DIFFERENCE, "difference": -0.2, "low": -0.3, "high": -0.1}
    equal = {**DIFFERENCE, "difference": 0.0, "low": -0.02, "high": 0.02, "detectable": 0.03}
    wait = "SFT wait:144:"
    subsets = [("random", worse), ("diverse", worse), ("longest", worse), ("full", equal)]
    differences = pd.DataFrame([{"control": "budget", "subset": name, **row} for name, row in subsets])
    cut = pd.DataFrame([{"control": "wait", "subset": "s1K@115", **worse}])
    waits = [
        {"before": "SFT budget:0:0", "after": "SFT budget:96:96", **DIFFERENCE},
        {"before": f"{wait}0", "after": f"{wait}2", **DIFFERENCE},
        {"before": f"{wait}0", "after": f"{wait}4", **DIFFERENCE, "low": 0.19, "high": 0.21},
    ]
    return {
        "waits": pd.DataFrame(waits),
        "waits_six": pd.DataFrame([*waits, {**waits[-1], "after": f"{wait}6"}]),
        "slopes": pd.DataFrame([{"model": "SFT", "control": "budget", "scaling": 15.0, "low": 14.0, "high": 16.0}]),
        "methods_measured": pd.DataFrame([{"model": "SFT", "method": "budget", "control": 1.0, "within": 1.0}]),
        "verdicts": pd.DataFrame([
            {"model": "SFT", "control": control, "rise": 0.2, "rise_low": 0.1, "rise_high": 0.3, "fall": 0.0,
             "fall_low": 0.0, "fall_high": 0.0} for control in ("cut", "wait")
        ]),
        "quirks": pd.DataFrame([
            {"before": f"{wait}0", "after": f"{wait}2", **DIFFERENCE},
            {"before": f"{wait}0", "after": "SFT “Hmm,”:144:2", **worse},
            {"before": f"{wait}0", "after": "SFT “<none>”:144:2", **worse},
        ]),
        "methods": pd.DataFrame([
            {**POINT, "accuracy": 0.9, "low": 0.85, "high": 0.95},
            {**POINT, "control": "tokens", "accuracy": 0.4, "low": 0.3, "high": 0.5},
        ]),
        "conditional_slopes": pd.DataFrame([
            {"model": f"s1K-{kind}/0", "trained": kind, "kind": kind, "slope": 0.0, "low": -0.01, "high": 0.01}
            for kind in ("tokens", "steps")
        ]),
        "length_changes": pd.DataFrame([
            {"before": "SFT short:144:0", "after": "SFT long:144:0", "ratio": 2.0, "low": 1.8, "high": 2.2, "n": 96}
        ]),
        "rejection": pd.DataFrame([
            {"limit": 16, "same": None, "same_low": None, "same_high": None},
            {"limit": 32, "same": 0.8, "same_low": 0.75, "same_high": 0.85},
            {"limit": 64, "same": 0.4, "same_low": 0.35, "same_high": 0.45},
        ]),
        "parallel_differences": pd.DataFrame([
            {"at": "mean", "axis": axis, "difference": 0.1, "low": 0.05, "high": 0.15}
            for axis in ("thinking_tokens", "flops")
        ]),
        "sequential": pd.DataFrame([
            POINT, {**POINT, "model": "base", "control": "budget", "accuracy": 0.2, "low": 0.1, "high": 0.3}
        ]),
        "subset_differences": differences,
        "ablations_large": differences,
        "ablation_differences": cut,
        "ablations_large_differences": cut,
        "ablations_large_tokens": pd.DataFrame([
            {"before": "s1K/0 wait:144:0", "after": "s1K@115/0 wait:144:0", "ratio": 2.0, "low": 1.8, "high": 2.2}
        ]),
    }  # fmt: skip
