"""Cards for what a run produces: its fine-tuned model and the questions and traces that it was trained on.

Knows which stages a card needs and where its files go; knows nothing about what cards say (model_card, dataset_card) or
how they are uploaded (publish_hub, never part of a run). Tests: tests/test_cards.py.

    python -m s1_utils.cards laptop [--out FOLDER]                   model_card.md, dataset_card.md, the rows as Parquet
    python -m s1_utils.cards laptop --push OWNER/NAME --what model   shows what would be uploaded; with --yes does it
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s1_utils import dataset_card, model_card, params, paths
from s1_utils.benchmark_table import BENCHMARKS
from s1_utils.card_parts import hide_places, write_code, write_table
from s1_utils.errors import StudyError
from s1_utils.finished_run import FinishedRun, read_run
from s1_utils.store import explain_os_errors, write_atomically


def read_finished(name: str) -> FinishedRun:
    """The run: notebooks 1 to 3 must be finished and of one another, 4 and 5 are taken where they are."""
    return read_run(name, needed=model_card.STAGES, wanted=model_card.TRIED)


def write_cards(run: FinishedRun, folder: Path, *, licence: str = "") -> list[Path]:
    """Write both cards and the data set's rows to `folder`; the paths written."""
    subset = dataset_card.find_subset(run)
    rows = dataset_card.collect_rows(run, subset)
    selected = write_commands(run, dataset_card.STAGES)
    texts = {
        "model_card.md": model_card.make_card(run, commands=write_commands(run), licence=licence),
        "dataset_card.md": dataset_card.make_card(run, rows, subset=subset, commands=selected),
    }
    written = [dataset_card.write_data(rows, folder)]
    for name, text in texts.items():
        with write_atomically(folder / name) as path:
            path.write_text(text, "utf-8")
        written.append(folder / name)
    return written


def write_commands(run: FinishedRun, stages: Sequence[str] = (*model_card.STAGES, *model_card.TRIED)) -> str:
    """How to make the run again: the commit, a command for each of `stages`, what the profile's files don't say."""
    lines, notes = [], []
    finished = [stage for stage in stages if stage in run.manifests]
    last = run.manifests[finished[-1]]
    if last.get("commit"):
        lines.append(f"git checkout {last['commit']}")
    for stage in finished:
        lines.append(f"python -m s1_utils.study run {run.profile} --only {stage}{_name_benchmark(run, stage)}")
        if changed := list_changes(run, stage):
            notes.append(f"`{stage}` had other parameters than its profile:\n\n{changed}")
    if any(run.manifests[stage].get("dirty") for stage in finished):
        notes.append("The working tree had changes that were not committed: the commit alone doesn't give this run.")
    return "\n\n".join(["```bash\n" + "\n".join(lines) + "\n```", *notes])


def _name_benchmark(run: FinishedRun, stage: str) -> str:
    """The option that makes a run <profile>-<benchmark>, if this is one on a published set."""
    name = run.name.removeprefix(f"{run.profile}-")
    return f" --benchmark {name}" if stage in model_card.TRIED and name in BENCHMARKS else ""


def list_changes(run: FinishedRun, stage: str) -> str:
    """The parameters of a stage that its profile's file doesn't give, as a table; "" if it gives them all."""
    model = next(each for each in params.MODELS if each.model_fields["notebook"].default == stage)
    try:
        given: dict[str, Any] = params.load_profile(model, run.profile).result_params()
    except StudyError:
        return f"(this checkout has no valid profile {write_code(run.profile)} to compare with)"
    had = run.manifests[stage]["key"]["params"]
    names = [n for n in sorted({*given, *had}) if given.get(n) != had.get(n) and n != "benchmark"]
    shown = [(write_code(n), *(write_code(hide_places(part.get(n))) for part in (given, had))) for n in names]
    return write_table(shown, ("parameter", "profile", "this run")) if shown else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.cards", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run, such as laptop")
    parser.add_argument("--out", type=Path, help="folder for the cards; default: runs/<run>/cards")
    parser.add_argument("--licence", default="", help="of a base model or of files of your own, where it isn't known")
    parser.add_argument("--push", default="", metavar="OWNER/NAME", help="repository of a hub to upload to")
    parser.add_argument("--what", choices=("model", "dataset"), help="what to upload")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--private", dest="private", action="store_true", default=True, help="the default")
    shown.add_argument("--public", dest="private", action="store_false")
    parser.add_argument("--yes", action="store_true", help="upload; without it, only show what would be")
    chosen = parser.parse_args(arguments)
    if bool(chosen.push) != bool(chosen.what) or (chosen.yes and not chosen.push):
        parser.error("--push, --what and --yes go together: name a repository, and model or dataset")
    try:
        _run_command(chosen)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run_command(chosen: argparse.Namespace) -> None:
    run = read_finished(chosen.run)
    if chosen.push:
        from s1_utils import publish_hub

        options = {"private": chosen.private, "licence": chosen.licence, "is_meant": chosen.yes}
        publish_hub.publish(run, chosen.push, chosen.what, **options)
        return
    folder = chosen.out or paths.find_runs() / run.name / "cards"
    with explain_os_errors(folder):
        for path in write_cards(run, folder, licence=chosen.licence):
            print(path)
    for stage, why in run.missing.items():
        print(f"{stage} is left out: it {why}.")


if __name__ == "__main__":
    sys.exit(main())
