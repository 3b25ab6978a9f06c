"""A run whose stages are done, read for what is made of it afterwards: its tables, checked against its manifests.

Knows manifests, hashes, and which stage was made from which; knows nothing about what tables hold, and opens no stage
for work. A stage that was made from other inputs than the others hold is left out and named, or refused where it is
needed. Tests: tests/test_cards.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import paths
from s1_utils.errors import StudyError
from s1_utils.store import hash_json, hash_path

RANDOM = "random-"  # how the names of models with random weights begin


@dataclass(frozen=True)
class FinishedRun:
    """`manifests` of the finished stages, `folders` they lie in; `missing`: the other stages asked for, and why."""

    name: str
    profile: str
    folders: Mapping[str, Path]
    manifests: Mapping[str, dict[str, Any]]
    missing: Mapping[str, str]

    @property
    def is_smoke(self) -> bool:
        """Whether its model has random weights: no experiment."""
        return str(self.read_json("01_collect", "model").get("name", "")).startswith(RANDOM)

    def read(self, stage: str, table: str) -> pd.DataFrame:
        """A table of a finished stage. Raises StudyError if it isn't what the stage wrote."""
        return pd.read_parquet(self.locate(stage, f"{table}.parquet"))

    def read_json(self, stage: str, name: str) -> dict[str, Any]:
        return json.loads(self.locate(stage, f"{name}.json").read_text("utf-8"))

    def locate(self, stage: str, name: str) -> Path:
        """The path of an output, checked against its hash in the manifest."""
        recorded, path = self.manifests[stage]["outputs"].get(name), self.folders[stage] / name
        if recorded is None:
            raise StudyError(f"{stage} of {self.name} has no output {name}: run it again with this version.")
        if not path.exists() or hash_path(path) != recorded["sha256"]:
            raise StudyError(f"{name} of {stage} in {self.name} isn't what the stage wrote: {_say_rerun(self, stage)}.")
        return path


def _say_rerun(run: FinishedRun, stage: str) -> str:
    return f"run `python -m s1_utils.study run {run.profile} --only {stage} --force`"


def read_run(name: str, *, needed: Sequence[str], wanted: Sequence[str] = ()) -> FinishedRun:
    """The finished stages of a run: all of `needed`, and those of `wanted` that are finished and belong to them.

    Raises StudyError for no such run, and for a needed stage that is missing, unfinished, or made from other inputs.
    """
    folder = paths.find_runs() / name
    started = [path for stage in (*needed, *wanted) if (path := folder / stage / "started.json").exists()]
    if not started:
        raise StudyError(_say_no_run(name))
    profile = _find_profile(folder, name)
    folders, manifests, missing = {}, {}, {}
    for stage in (*needed, *wanted):
        place = next((p for p in (folder, folder.with_name(profile)) if (p / stage / "manifest.json").exists()), None)
        why = _say_unfinished(folder, stage, profile) if place is None else ""
        if place is not None:
            manifest = _read_manifest(place / stage / "manifest.json")
            why = _find_other_input(manifest, manifests)
        if why and stage in needed:
            raise StudyError(f"{stage} of {name} {why}.")
        if why:
            missing[stage] = why
        else:
            folders[stage], manifests[stage] = place / stage, manifest
    return FinishedRun(name, profile, folders, manifests, missing)


def _find_profile(folder: Path, name: str) -> str:
    """The profile that a run's manifests name; the run's own name where none is finished."""
    for path in sorted(folder.glob("*/manifest.json")):
        return str(_read_manifest(path).get("profile", name))
    return name


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text("utf-8"))
        manifest["outputs"], manifest["key"]["params"], manifest["key"]["code"], manifest["key"]["inputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} isn't a manifest: delete its folder and run the stage again.") from error
    return manifest


def _say_unfinished(folder: Path, stage: str, profile: str) -> str:
    command = f"`python -m s1_utils.study run {profile} --only {stage}`"
    if (folder / stage / "started.json").exists():
        return f"was started but didn't finish: run {command} again, it goes on"
    return f"was not run ({command} does)"


def _find_other_input(manifest: Mapping[str, Any], manifests: Mapping[str, dict[str, Any]]) -> str:
    """Why a stage doesn't belong to those read before: an input that isn't what they hold; "" if it does."""
    for name, sha256 in manifest["key"]["inputs"].items():
        stage, _, output = name.partition("/")
        there = manifests.get(stage, {}).get("outputs", {}).get(output, {}).get("sha256", sha256)
        if there != sha256:
            return f"was made from another {name} ({sha256[:8]}, the run has {there[:8]}): run it again with --force"
    return ""


def _say_no_run(name: str) -> str:
    runs = paths.find_runs()
    there = sorted({path.parent.parent.name for path in runs.glob("*/0*/started.json")})
    known = f"there are {', '.join(there)}" if there else "there is none"
    return f"No run {name!r} in {runs}: {known}. Make it with `make study PROFILE={name}`."


def describe_provenance(run: FinishedRun) -> dict[str, Any]:
    """stage → hashes of its parameters, code, inputs and every output, with the commit and the versions."""
    return {stage: _describe_stage(manifest) for stage, manifest in run.manifests.items()}


def _describe_stage(manifest: Mapping[str, Any]) -> dict[str, Any]:
    key = manifest["key"]
    return {
        "params": hash_json(key["params"]),
        "inputs": hash_json(key["inputs"]),
        "code": key["code"],
        "outputs": {name: output["sha256"] for name, output in manifest["outputs"].items()},
        "commit": manifest.get("commit", ""),
        "dirty": bool(manifest.get("dirty")),
        "versions": manifest.get("versions", {}),
    }
