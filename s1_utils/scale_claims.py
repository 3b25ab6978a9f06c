"""Which of the ledger's claims each step of a profile settles, and the further runs that the ledger's commands ask for.

Knows the ledger's columns and the two forms of command in it (`study run` and papermill); what a further run costs is
the planner's. A claim that can't be run is nobody's. Tests: tests/test_paper_scale.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from s1_utils import params, plan, study
from s1_utils.benchmark_table import BENCHMARKS
from s1_utils.errors import StudyError
from s1_utils.scale_steps import Step, find_split
from s1_utils.store import require_columns

LEDGER = ["claim_id", "kind", "profile", "command", "status"]
IMPOSSIBLE = "can't be run"


@dataclass(frozen=True)
class Call:
    """A command of the ledger: the notebooks it runs, the run that they write to, and what it changes."""

    profile: str
    notebooks: tuple[str, ...]
    run: str
    changes: dict[str, Any]


def read_ledger(path: Path) -> pd.DataFrame:
    """The ledger's rows with the columns that matter here. Raises StudyError if there is none."""
    if not path.exists():
        raise StudyError(f"{path} isn't there: write it with `python -m s1_utils.claims`.")
    table = pd.read_csv(path, dtype="string", keep_default_na=False)
    return require_columns(table, LEDGER, str(path))[LEDGER]


def read_call(command: str) -> Call | None:
    """What a command of the ledger runs; None if it is neither of the two forms."""
    try:
        words = shlex.split(command)
        if words[1:4] == ["-m", "s1_utils.study", "run"]:
            return _read_study(words[4:])
        if "papermill" in words:
            return _read_papermill(words[words.index("papermill") + 1 :])
    except (ValueError, IndexError, KeyError, yaml.YAMLError):
        return None
    return None


def _read_study(words: list[str]) -> Call:
    options = dict(zip(words[1::2], words[2::2], strict=True))
    benchmark = options.get("--benchmark", "")
    several = study.ON_TESTS if benchmark else study.NOTEBOOKS
    notebooks = (options["--only"],) if "--only" in options else tuple(several)
    run = f"{words[0]}-{Path(benchmark).stem}" if benchmark else words[0]
    return Call(words[0], notebooks, run, {"benchmark": benchmark} if benchmark else {})


def _read_papermill(words: list[str]) -> Call:
    notebook, given = Path(words[0]).stem, Path(words[words.index("-f") + 1])
    changes: dict[str, Any] = {}
    for i, word in enumerate(words):
        if word == "-p":
            changes[words[i + 1]] = yaml.safe_load(words[i + 2])
        elif word == "-y":
            changes |= dict(yaml.safe_load(words[i + 1]))
    run = str(changes.pop("run_name", given.parent.name))
    return Call(given.parent.name, (notebook,), run, changes)


def settle(profile: str, steps: Sequence[Step], ledger: pd.DataFrame) -> tuple[list[Step], dict[str, list[str]]]:
    """`steps` with those that the ledger asks for besides, and title of a step → claims, each at the last that fits."""
    own = ledger[(ledger["profile"] == profile) & (ledger["status"] != IMPOSSIBLE)]
    every, found = list(steps), {step.title: [] for step in steps}
    for command, rows in own.groupby("command", sort=False):
        call = read_call(str(command))
        if call is None:
            continue
        fits = [step for step in steps if step.run == call.run and set(call.notebooks) & set(step.notebooks)]
        fits = [] if call.changes.keys() - {"benchmark"} else fits
        if not fits:
            fits = [plan_call(call, str(command))]
            every.append(fits[0])
        found.setdefault(fits[-1].title, []).extend(rows["claim_id"])
    return every, found


def plan_call(call: Call, command: str) -> Step:
    """A step for one command; its costs are the planner's for the parameters as the command changes them."""
    stated = plan.read_plan(call.profile)
    lines, devices = [], find_split(call.profile)
    for notebook in call.notebooks:
        model = params.MODELS[study.NOTEBOOKS.index(notebook)]
        chosen: Any = change_params(params.load_profile(model, call.profile), call)
        if notebook == "04_sequential_scaling":
            lines.append(plan.plan_sequential(stated, chosen))
        elif notebook == "05_parallel_scaling":
            lines.append(plan.plan_parallel(stated, chosen))
        elif notebook == "06_ablations":
            lines += plan.plan_ablations(stated, chosen)
            devices = chosen.processes
    hours = sum(line.device_hours for line in lines)
    usd = sum(line.usd for line in lines) + hours * stated.device_usd_per_hour
    title = f"Also {', '.join(call.notebooks)} as {call.run}"
    costs = {"hours": hours / devices, "device_hours": hours, "usd": usd, "extra_devices": devices}
    machines = f"{devices} × {stated.device}"
    return Step(title, call.notebooks, call.run, "", machines, (command,), **costs)


def change_params(chosen: params.StageParams, call: Call) -> params.StageParams:
    """The parameters as a command changes them, checked, and no more questions than the run's benchmark has."""
    known = {name: value for name, value in call.changes.items() if name in type(chosen).model_fields}
    values = {**chosen.model_dump(exclude={"notebook"}), **known}
    changed = params.validate_params(type(chosen), values)
    there = BENCHMARKS.get(getattr(changed, "benchmark", call.run.removeprefix(f"{call.profile}-")))
    if there is None:
        return changed
    return changed.model_copy(update={"questions": min(there.source.expected, values["questions"])})
