"""Where every small table under figures/data comes from: parameters, code, inputs, samples, and its own bytes.

Knows manifests, hashes and one JSON file beside the tables; knows nothing of what the tables say. A link of the chain
is a hash that anybody with the run can compute again: the manifest's key has the parameters, the code and the hashes of
all that was read; its outputs have the samples (generations) and the table that a figure's CSV was made of. What no run
made (replies that others published, the paper's numbers) has a sha256 and no stages.
Not known here: whether a manifest is honest; it is as good as the run's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from s1_utils.errors import StudyError
from s1_utils.store import Stage, hash_file, hash_json, write_json

NAME = "provenance.json"
MANIFEST = "manifest.json"
NO_RUN = {"profile": "", "stages": {}, "commit": "", "dirty": False}

Source = tuple[Path, str]  # the folder of a stage, and the file of it that was read


# ------------------------------------------------------------------ what a table was made of


class Recorder(Stage):
    """Reads outputs of finished stages, checked against their manifests, and remembers which."""

    def __init__(self, upstream: Mapping[str, Path]) -> None:
        self.upstream = dict(upstream)
        self.sources: list[Source] = []

    def locate(self, stage: str, name: str) -> Path:
        self._require(stage)
        path = super().locate(stage, name)
        self._note(path)
        return path

    def read_manifest(self, stage: str) -> dict[str, Any]:
        """The manifest of a stage, noted as something that was read."""
        self._require(stage)
        self._note(self.upstream[stage] / MANIFEST)
        return read_manifest(self.upstream[stage])

    def _require(self, stage: str) -> None:
        if stage not in self.upstream:
            raise StudyError(f"{stage} has no finished run here: run it first, with `python -m s1_utils.study run`.")

    def _note(self, path: Path) -> None:
        if (source := (path.parent, path.name)) not in self.sources:
            self.sources.append(source)


def find_stages(runs: Path, run: str, profile: str, stages: Iterable[str]) -> dict[str, Path]:
    """stage → its folder in the run, or in that of the profile; stages that aren't finished are left out."""
    found = {}
    for stage in stages:
        folders = [runs / name / stage for name in dict.fromkeys((run, profile))]
        if folder := next((each for each in folders if (each / MANIFEST).exists()), None):
            found[stage] = folder
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """A finished stage's manifest; raises StudyError for none, or one that isn't JSON."""
    try:
        return json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{folder} has no {MANIFEST}: its stage isn't finished, run it again.") from None
    except ValueError:
        raise StudyError(f"{folder / MANIFEST} isn't valid JSON: delete the folder to rebuild the stage.") from None


def describe_source(folder: Path, table: str) -> dict[str, Any]:
    """The links of one table that was read: hashes of parameters, code, inputs, samples and its own bytes.

    `samples`: the stage's generations, by name. Raises StudyError where the table isn't what the manifest says.
    """
    manifest = read_manifest(folder)
    key, outputs = manifest["key"], manifest["outputs"]
    sha256 = hash_file(folder / table) if (folder / table).is_file() else ""
    if table != MANIFEST and outputs.get(table, {}).get("sha256") != sha256:
        raise StudyError(f"{folder / table} isn't what its stage wrote (changed, or gone): run the stage again.")
    return {
        "params": hash_json(key["params"]),
        "code": key["code"],
        "inputs": hash_json(key["inputs"]),
        "table": table,
        "sha256": sha256,
        "samples": {name: facts["sha256"] for name, facts in outputs.items() if name.startswith("generations")},
        "commit": manifest.get("commit", ""),
        "dirty": bool(manifest.get("dirty")),
    }


def describe_sources(sources: Sequence[Source], profile: str) -> dict[str, Any]:
    """The entry of a table made of `sources`, its own sha256 apart.

    `stages`: <run>/<stage>/<table> → its links. `commit` is empty if the stages were run at different ones.
    """
    stages = {name_source(folder, table): describe_source(folder, table) for folder, table in sources}
    commits = {links["commit"] for links in stages.values()}
    return {
        "profile": profile,
        "stages": stages,
        "commit": commits.pop() if len(commits) == 1 else "",
        "dirty": any(links["dirty"] for links in stages.values()),
    }


def name_source(folder: Path, table: str) -> str:
    return f"{folder.parent.name}/{folder.name}/{table.removesuffix('.parquet')}"


# ------------------------------------------------------------------ the file


def write(data: Path, entries: Mapping[str, dict[str, Any]]) -> None:
    """Record `entries` (name of a table, without .csv → what it was made of) beside the tables, with their sha256."""
    known = {name: {**entry, "sha256": hash_table(data, name)} for name, entry in entries.items()}
    write_json(data / NAME, known)


def read(data: Path) -> dict[str, dict[str, Any]]:
    """name → entry; nothing if none was recorded. Raises StudyError for a file that can't be read."""
    try:
        found = json.loads((data / NAME).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(entry, dict) and "sha256" in entry for entry in found.values()
    ):
        raise StudyError(f"{data / NAME} can't be read: run `make publish`, or take it back from git.")
    return found


def record(data: Path, entries: Mapping[str, dict[str, Any]]) -> None:
    """Note tables that were just written, beside those that are recorded already.

    Raises StudyError if one of the others was edited: writing anew would take its bytes for good.
    """
    known = read(data)
    require_unedited(data, [name for name in known if name not in entries])
    write(data, {**known, **entries})


def hash_table(data: Path, name: str) -> str:
    """sha256 of a table's CSV; raises StudyError if it is gone."""
    path = data / f"{name}.csv"
    if not path.is_file():
        raise StudyError(f"{path} is gone: run `make publish`, or take it back from git.")
    return hash_file(path)


def find_edited(data: Path) -> list[str]:
    """Names of the CSVs whose bytes aren't those recorded, that nobody recorded, or that were recorded and are gone."""
    known = read(data)
    there = {path.stem: hash_file(path) for path in data.glob("*.csv")}
    return sorted(name for name in known.keys() | there if known.get(name, {}).get("sha256") != there.get(name))


def require_unedited(data: Path, names: Iterable[str]) -> None:
    """Raises StudyError naming those of `names` that were edited by hand, are gone, or were never recorded."""
    if wrong := sorted(set(names) & set(find_edited(data))):
        files = ", ".join(f"{name}.csv" for name in wrong)
        raise StudyError(
            f"{data} has tables that no run wrote as they are ({files}): take them back with `git checkout`, "
            "or make them again with `make publish`."
        )


def find_broken(data: Path, runs: Path) -> list[str]:
    """Names of the tables whose chain can't be walked again from the runs in `runs`: a link differs, or is gone."""
    broken = {
        name
        for name, entry in read(data).items()
        if not all(_is_whole(runs / Path(source).parent, links) for source, links in entry["stages"].items())
    }
    return sorted({*broken, *find_edited(data)})


def _is_whole(folder: Path, links: dict[str, Any]) -> bool:
    """Whether the files of a table are those of its links; one without parameters is of no stage, but a baseline's."""
    try:
        files = {links["table"]: links["sha256"], **links["samples"]}
        if any(hash_file(folder / name) != sha256 for name, sha256 in files.items()):
            return False
        return not links["params"] or describe_source(folder, links["table"]) == links
    except (StudyError, OSError):
        return False
