"""Print and run the papermill lines of a profile, in order; copy a profile; publish a run's figures.

Knows the order of the notebooks and the shell lines; knows nothing of what happens inside a stage.

  python -m s1_utils.study run laptop [--only 04_sequential_scaling] [--from 03_sft] [--force]
  python -m s1_utils.study run s1-32b --benchmark aime24   notebooks 4 and 5 on other questions, in s1-32b-aime24
  python -m s1_utils.study lines laptop      the papermill lines, to run by hand
  python -m s1_utils.study copy laptop mine  a profile of your own, ready to edit
  python -m s1_utils.study plan s1-32b       what a profile will cost, before anything is spent
  python -m s1_utils.study figures [--pdf]   redraw figures/ from figures/data
  python -m s1_utils.study compare laptop mine [--figure parallel] --out FOLDER   runs in one figure
  python -m s1_utils.study tables --out FOLDER   the paper's tables with ours, as LaTeX and Markdown
  python -m s1_utils.study publish laptop    replace figures/ and README's table by a run's
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from s1_utils import params, paths
from s1_utils.errors import StudyError

NOTEBOOKS = [model.model_fields["notebook"].default for model in params.MODELS]


ON_TESTS = ["04_sequential_scaling", "05_parallel_scaling"]


def write_line(
    profile: str, notebook: str, *, variant: str = "", benchmark: str = "", force: bool = False
) -> list[str]:
    """The papermill command of one notebook in one profile, paths relative to the checkout where they can be.

    `variant` takes <notebook>.<variant>.yaml, a second design that writes to the run its own run_name gives.
    `benchmark`: asks its questions (`benchmarks.load_benchmark`) instead, in a run <profile>-<benchmark>.
    """
    model = params.MODELS[NOTEBOOKS.index(notebook)]
    chosen = params.load_profile(model, profile, variant)
    run = f"{profile}-{Path(benchmark).stem}" if benchmark else chosen.run_name or profile
    folder = _shorten(paths.find_runs() / run / notebook)
    yaml = _shorten(params.find_yaml(model, profile, variant))
    line = ["papermill", f"notebooks/{notebook}.ipynb", f"{folder}/notebook.ipynb", "-f", str(yaml)]
    if benchmark:
        line += ["-p", "run_name", run]
    if benchmark and "benchmark" in model.model_fields:  # notebook 5 takes notebook 4's questions
        line += ["-p", "benchmark", str(Path(benchmark).resolve()) if Path(benchmark).suffix else benchmark]
    return [*line, "-p", "force", "True"] if force else line


def _shorten(path: Path) -> Path:
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path


def run_profile(profile: str, notebooks: list[str], **options: Any) -> None:
    """Run the notebooks one after another; raises StudyError naming the first that fails and why."""
    times: list[tuple[str, float]] = []
    for line in [write_line(profile, notebook, **options) for notebook in notebooks]:
        notebook = Path(line[1]).stem
        print(f"\n$ mkdir -p {Path(line[2]).parent} && {' '.join(line)}", flush=True)
        started = time.monotonic()
        _run_notebook(line, notebook, profile)
        times.append((notebook, time.monotonic() - started))
        print(f"  {notebook} took {times[-1][1]:.0f} s", flush=True)
    print("\nStage                    minutes")
    for notebook, seconds in [*times, ("all", sum(seconds for _, seconds in times))]:
        print(f"{notebook:<24} {seconds / 60:7.1f}")
    run = Path(line[2]).parent.parent
    print(f"\nExecuted notebooks: {run}/*/notebook.ipynb")
    if (paths.ROOT / run / "figures").exists():
        print(f"Figures: {run}/figures/*.png   their tables: {run}/figures/data/*.csv")


def _run_notebook(line: list[str], notebook: str, profile: str) -> None:
    output = paths.ROOT / line[2]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"Can't write {output.parent} ({error.strerror}): set S1_RUNS to a folder you can.") from error
    command = [sys.executable, "-m", *line, "--no-progress-bar", "--log-output"]
    log = output.with_name("papermill.log")
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert process.stdout is not None
        for text in process.stdout:
            file.write(text)
            if " s left" in text or "training: step" in text:
                print(f"  {text.strip()}", flush=True)
    if process.wait() != 0:
        raise StudyError(f"{notebook} failed: {_find_reason(output, log, process.returncode)}")
    if not (output.parent / "manifest.json").exists():
        raise StudyError(f"{notebook} ended without a manifest: see {log}.")


def _find_reason(output: Path, log: Path, returncode: int) -> str:
    """The error an executed notebook ended with, or how its process died."""
    if output.exists():
        for cell in json.loads(output.read_text("utf-8"))["cells"]:
            for out in cell.get("outputs", []):
                if out["output_type"] == "error":
                    return f"{out['ename']}: {out['evalue']}"
    if returncode < 0 or returncode >= 128:
        return f"its process was killed (exit {returncode}). Run the same command again: it continues. Log: {log}"
    lines = log.read_text("utf-8").strip().splitlines()
    return f"{lines[-1] if lines else 'no output'} (log: {log})"


def copy_profile(source: str, name: str) -> None:
    """params/<source> → params/<name>, with the profile's name changed in every file."""
    params.find_yaml(params.MODELS[0], source)
    target = paths.PARAMS / name
    if target.exists():
        raise StudyError(f"{_shorten(target)} exists already: choose another name, or delete it.")
    shutil.copytree(paths.PARAMS / source, target)
    for path in target.glob("*.yaml"):
        path.write_text(path.read_text("utf-8").replace(f"profile: {source}", f"profile: {name}"), "utf-8")
    print(f"Made {_shorten(target)}: edit model and sources in 01_collect.yaml, then `make study PROFILE={name}`.")


def publish(profile: str) -> None:
    """Put the tables of a run's finished stages, and the ledger, into figures/data; redraw figures/; write README's.

    With those of the runs <profile>-ablations (larger), <profile>-conditional (asked for a length), <profile>-six and
    <profile>-rebase, if there are any. Tables are made from the stages again, so that no edited one is published.
    """
    from s1_utils import claims, plots, report

    data = paths.FIGURES / "data"
    report.replace_tables(data, *report.collect_all(profile))
    claims.publish(data, paths.find_runs())
    plots.draw_all(data, paths.FIGURES)
    report.update_readme(data, paths.ROOT / "README.md")


def draw_figures(*, pdf: bool = False) -> None:
    """Redraw figures/ from figures/data, and say which tables are no longer what was published."""
    from s1_utils import plots

    data = paths.FIGURES / "data"
    names = plots.draw_all(data, paths.FIGURES, kinds=(*plots.KINDS, "pdf") if pdf else plots.KINDS)
    print(f"Drew {len(names)} figures in {_shorten(paths.FIGURES)}.")
    if edited := sorted(plots.find_edited(data)):
        print(f"Edited by hand, or never recorded: {', '.join(edited)}. Their figures say so: `make publish` mends it.")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.study", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "lines"):
        command = commands.add_parser(name)
        command.add_argument("profile")
        command.add_argument("--only", choices=NOTEBOOKS)
        command.add_argument("--from", dest="first", choices=NOTEBOOKS, default=NOTEBOOKS[0])
        command.add_argument("--variant", default="", help="take <notebook>.<variant>.yaml instead")
        command.add_argument("--benchmark", default="", help="ask the questions of aime24, math500, a file, …")
        command.add_argument("--force", action="store_true", help="rebuild stages made from another key")
    copy = commands.add_parser("copy")
    copy.add_argument("source")
    copy.add_argument("name")
    commands.add_parser("figures").add_argument("--pdf", action="store_true", help="PDF too")
    compare = commands.add_parser("compare")
    compare.add_argument("runs", nargs="+", metavar="RUN")
    compare.add_argument("--figure", choices=("sequential", "parallel"), default="sequential")
    compare.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    compare.add_argument("--mixed", action="store_true", help="runs made by different code, each named with its code")
    commands.add_parser("tables").add_argument("--out", type=Path, required=True, metavar="FOLDER")
    commands.add_parser("plan").add_argument("profile")
    commands.add_parser("publish").add_argument("profile")
    chosen = parser.parse_args(arguments)
    try:
        _run_command(chosen)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run_command(chosen: argparse.Namespace) -> None:
    if chosen.command == "copy":
        copy_profile(chosen.source, chosen.name)
    elif chosen.command == "publish":
        publish(chosen.profile)
    elif chosen.command == "plan":
        from s1_utils import memory_advice, plan

        plan.print_plan(chosen.profile)
        memory_advice.print_profile(chosen.profile)
    elif chosen.command == "figures":
        draw_figures(pdf=chosen.pdf)
    elif chosen.command == "compare":
        from s1_utils import comparison

        for path in comparison.draw_runs(chosen.runs, chosen.figure, chosen.out, mixed=chosen.mixed):
            print(path)
    elif chosen.command == "tables":
        from s1_utils import paper_tables

        for path in paper_tables.write_tables(paths.FIGURES / "data", chosen.out):
            print(path)
    else:
        several = ON_TESTS if chosen.benchmark else NOTEBOOKS[NOTEBOOKS.index(chosen.first) :]
        notebooks = [chosen.only] if chosen.only else several
        options = {"variant": chosen.variant, "benchmark": chosen.benchmark, "force": chosen.force}
        if chosen.command == "run":
            run_profile(chosen.profile, notebooks, **options)
        else:
            for notebook in notebooks:
                line = write_line(chosen.profile, notebook, **options)
                print(f"mkdir -p {os.path.dirname(line[2])} && {' '.join(line)}")


if __name__ == "__main__":
    sys.exit(main())
