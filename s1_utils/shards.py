"""One notebook's generations shared by many processes, on machines that share a file system: a Slurm array, say.

    python -m s1_utils.shards run s1-32b 04_sequential_scaling --benchmark gpqa_diamond --shard 3/7   in each task
    python -m s1_utils.shards merge s1-32b 04_sequential_scaling --benchmark gpqa_diamond    once, when one ended

Every process runs the whole notebook, in a folder of its own, <stage>/shards/<I>. It makes the groups of questions that
nobody else has taken and sees the others' as they come (`peers`), so that all have all generations in the cells that
analyse them, whatever a later sweep takes from an earlier one. Processes may be killed, start again, come late, or
never come. `merge` puts one's tables in the stage's place and all journals into one. Knows folders and commands; knows
nothing about what is generated. Source: ours (the paper ran 8 GPUs of one machine).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from s1_utils import paths, peers, store, study
from s1_utils.errors import StudyError

SHARED = ("04_sequential_scaling", "05_parallel_scaling")  # the others train or pay, which each shard would do again


def run_shard(profile: str, notebook: str, shard: str, **options: Any) -> None:
    """Run the notebook as shard I/N; options: benchmark, variant. Raises StudyError as `study.run_profile` does."""
    number, _ = peers.read_shard(shard)
    stage = find_stage(profile, notebook, **options)
    if (stage / "manifest.json").exists():
        raise StudyError(f"{stage} is done already: delete that folder to make it again.")
    runs = paths.find_runs()
    tree = stage / "shards" / str(number)
    _mirror(runs, stage, tree)
    earlier = {name: os.environ.get(name) for name in ("S1_RUNS", peers.SHARD)}
    os.environ |= {"S1_RUNS": str(tree), peers.SHARD: shard}
    try:
        study.run_profile(profile, [notebook], **options)
    finally:
        for name, value in earlier.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def find_stage(profile: str, notebook: str, **options: Any) -> Path:
    """The folder in which the notebook would leave its tables. Raises StudyError for one that can't be shared."""
    if notebook not in SHARED:
        raise StudyError(f"{notebook} can't be shared: it trains or asks a provider, which every shard would repeat.")
    return (paths.ROOT / study.write_line(profile, notebook, **options)[2]).parent


def _mirror(runs: Path, stage: Path, tree: Path) -> None:
    """Make `tree` look like `runs`, by links, but for an empty place where the stage's own folder is."""
    place = stage.relative_to(runs)
    (tree / place).mkdir(parents=True, exist_ok=True)
    (runs / place.parent).mkdir(parents=True, exist_ok=True)
    for folder, skipped in ((Path(), place.parts[0]), (place.parent, place.name)):
        for path in (runs / folder).iterdir():
            link = tree / folder / path.name
            if path.is_dir() and path.name != skipped and not link.is_symlink():
                link.symlink_to(path, target_is_directory=True)


def merge(profile: str, notebook: str, **options: Any) -> Path:
    """Make the finished shards' stage the profile's; its folder. Everything is in place when its manifest is.

    Raises StudyError if no shard has finished or the shards aren't of one key.
    """
    stage = find_stage(profile, notebook, **options)
    place = stage.relative_to(paths.find_runs())
    folders = sorted(stage.glob(f"shards/[0-9]*/{place}"), key=lambda path: int(path.relative_to(stage).parts[1]))
    if not folders:
        raise StudyError(f"{stage} has no shards: run some, with `python -m s1_utils.shards run`.")
    keys = {folder: json.loads(path.read_text("utf-8"))["key"] for folder in folders
            if (path := folder / "started.json").exists()}  # fmt: skip
    if len({store.hash_json(key) for key in keys.values()}) > 1:
        raise StudyError(f"The shards in {stage / 'shards'} were made from different parameters, inputs or code.")
    done = [folder for folder in folders if (folder / "manifest.json").exists()]
    if not done:
        raise StudyError(
            f"None of {len(folders)} shards in {stage / 'shards'} has finished: run them again, they go on."
        )
    manifest = json.loads((done[0] / "manifest.json").read_text("utf-8"))
    _warn_of_differences(done, manifest)
    _copy(
        done[0],
        stage,
        [done[0], *(folder for folder in folders if folder != done[0])],
        store.hash_json(manifest["key"]),
    )
    return stage


def _warn_of_differences(done: list[Path], manifest: dict[str, Any]) -> None:
    for folder in done[1:]:
        outputs = json.loads((folder / "manifest.json").read_text("utf-8"))["outputs"]
        if names := [name for name, output in manifest["outputs"].items() if outputs.get(name) != output]:
            print(f"{folder} differs in {', '.join(names)}: a group was made twice, and not alike. Took {done[0]}.")


def _copy(source: Path, stage: Path, folders: list[Path], key: str) -> None:
    """Copy the tables of `source` and the records of all `folders`, the manifest last."""
    for name in sorted({path.name for folder in folders for path in folder.glob("*.jsonl")}):
        with store.Journal(stage / name, key) as journal:
            for folder in folders:
                if (folder / name).exists():
                    with store.Journal(folder / name, key) as part:
                        for record, payload in part.records.items():
                            journal.add(record, payload)
    ends = ("started.json", "manifest.json")
    files = [path for path in source.iterdir() if path.is_file() and path.suffix != ".jsonl" and path.name != "lock"]
    for path in sorted(files, key=lambda path: (path.name in ends, path.name == ends[1])):
        with store.write_atomically(stage / path.name) as temporary:
            shutil.copyfile(path, temporary)


def main(arguments: list[str] | None = None) -> int:
    lines = __doc__.splitlines()
    parser = argparse.ArgumentParser(prog="python -m s1_utils.shards", description=lines[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "merge"):
        command = commands.add_parser(name)
        command.add_argument("profile")
        command.add_argument("notebook", choices=study.NOTEBOOKS)
        command.add_argument("--variant", default="", help="take <notebook>.<variant>.yaml instead")
        command.add_argument("--benchmark", default="", help="ask the questions of aime24, math500, a file, …")
    commands.choices["run"].add_argument("--shard", required=True, metavar="I/N", help="I from 0 to N − 1")
    chosen = parser.parse_args(arguments)
    options = {"variant": chosen.variant, "benchmark": chosen.benchmark}
    try:
        if chosen.command == "run":
            run_shard(chosen.profile, chosen.notebook, chosen.shard, **options)
        else:
            print(f"Merged into {merge(chosen.profile, chosen.notebook, **options)}.")
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
