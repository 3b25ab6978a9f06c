"""The paper-scale page: what to run for a profile, in what order, on which machines, for how long, and what it settles.

Knows the order of the stages, the planners' tables and the ledger's columns; computes no cost itself (plan, memory) and
runs nothing. All hours and USD are arithmetic from params/<profile>/plan.yaml: no GPU was used to make or check them.
Tests: tests/test_paper_scale.py.

    python -m s1_utils.paper_scale s1-32b [--out FILE.md] [--scripts FOLDER] [--shards 4] [--time 24:00:00]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import memory_advice, params, paths, plan, slurm_scripts
from s1_utils.card_parts import write_table
from s1_utils.errors import StudyError
from s1_utils.scale_claims import IMPOSSIBLE, read_ledger, settle
from s1_utils.scale_steps import Step, count_rows, find_split, list_steps
from s1_utils.store import write_atomically

TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")
SHOWN = 12  # claims named in a cell


# ------------------------------------------------------------------ the page


def write_page(
    profile: str, steps: Sequence[Step], claims: dict[str, list[str]], ledger: pd.DataFrame | None = None
) -> str:
    """The page as Markdown. `claims`: of each step's title; `ledger`: where the others are looked up."""
    stated = plan.read_plan(profile)
    rows = [
        (i, step.title, step.machines, *map(_show, (step.hours, step.device_hours, step.usd)), _count(claims, step))
        for i, step in enumerate(steps, 1)
    ]
    total = ("", "**all**", "", "", *(_show(sum(getattr(s, name) for s in steps)) for name in ("device_hours", "usd")))
    header = ("", "step", "machines", "hours", f"{stated.device}-hours", "USD", "claims it settles")
    parts = [
        f"# The profile {profile}: what to run, on what, and what it settles",
        _describe_basis(profile, stated),
        write_table([*rows, (*total, sum(map(len, claims.values())) if claims else "")], header),
        *_warn(profile, steps),
        *(_write_step(i, step, claims.get(step.title, [])) for i, step in enumerate(steps, 1)),
        _write_others(profile, ledger),
    ]
    return "\n\n".join(parts) + "\n"


def _show(value: float) -> str:
    return f"{value:,.1f}" if value else ""


def _count(claims: dict[str, list[str]], step: Step) -> str:
    return str(len(claims[step.title])) if claims.get(step.title) else ""


def _describe_basis(profile: str, stated: plan.PlanParams) -> str:
    generates = f"{stated.decode_rate:,.0f} tokens a second of one {stated.device} that generates"
    trains = f"{stated.utilisation:.0%} of {stated.device_flops:.3g} FLOP/s of one that trains"
    price = f"{stated.device_usd_per_hour:g} USD an hour of each, and prices of providers"
    return (
        f"**No GPU run was made for this page.** Hours and USD are arithmetic: tokens at their caps over {generates}, "
        f"FLOPs over {trains}, {price}, all as stated in `params/{profile}/plan.yaml`. Measured is only that the same "
        "commands run on CPUs with small models, and that processes which share a journal are killed and go on. "
        f"`python -m s1_utils.study plan {profile}` prints what each line rests on, and whether training fits."
    )


def _warn(profile: str, steps: Sequence[Step]) -> list[str]:
    """What stands in the way of running it as it is."""
    found = []
    for model in (params.CollectParams, params.FilterParams):
        chosen = params.load_profile(model, profile)
        if (chosen.teacher if model is params.CollectParams else "") or chosen.judge:
            found.append(f"`max_usd` of {chosen.notebook} is {chosen.max_usd:,.2f}: set it to what may be spent.")
    for name, weights in memory_advice.find_oversized(profile):
        found.append(f"The solver {name} has {weights:,.1f} GB of weights: serve it elsewhere.")
    if room := describe_cache(profile):
        found.append(room)
    few = [step.title for step in steps if step.shards and min(step.shards) == 1]
    if few:
        found.append(
            f"{', '.join(few)}: with `group_size` as it is, a notebook there has one group only, which one process "
            "makes. A smaller `group_size` lets more share it; it is part of a result's key, so set it beforehand."
        )
    return ["Before anything is started:", "\n".join(f"- {each}" for each in found)] if found else []


def describe_cache(profile: str) -> str:
    """Why a process that generates gets several devices; "" where it needs one."""
    split = find_split(profile)
    if split == 1:
        return ""
    device = plan.read_plan(profile).device
    return (
        f"Beside the model's weights one {device} has room for {count_rows(profile, 1):.1f} rows of the longest "
        f"thinking, {split} have it for {count_rows(profile, split):.0f} (arithmetic, without what vLLM itself needs). "
        f"So a process that generates gets {split}, over which vLLM splits the model."
    )


def _write_step(number: int, step: Step, claims: Sequence[str]) -> str:
    shared = (
        "# I from 0; the processes share one runs folder\n" if any("--shard" in each for each in step.commands) else ""
    )
    lines = [f"## {number}. {step.title}", f"```bash\n{shared}" + "\n".join(step.commands) + "\n```"]
    if any("search_width" in each for each in step.commands):
        lines.append("What its tree search costs isn't planned.")
    if claims:
        more = f" and {len(claims) - SHOWN} more" if len(claims) > SHOWN else ""
        lines.append(f"Settles {len(claims)}: {', '.join(f'`{name}`' for name in claims[:SHOWN])}{more}.")
    return "\n\n".join(lines)


def _write_others(profile: str, ledger: pd.DataFrame | None) -> str:
    """The published numbers that other profiles settle, or nobody can, by profile and command."""
    if ledger is None:
        return "The ledger isn't there, so no claim is named: `python -m s1_utils.claims` writes it."
    numbers = ledger[ledger["kind"] == "number"]
    others = numbers[(numbers["profile"] != profile) & (numbers["status"] != IMPOSSIBLE)]
    counts = others.groupby(["profile", "command"], sort=True).size()
    rows = [(profile_, f"`{command}`" if command else "", n) for (profile_, command), n in counts.items()]
    impossible = (numbers["status"] == IMPOSSIBLE).sum()
    parts = [
        "## What this profile doesn't settle",
        write_table(rows, ("profile", "command", "numbers")) if rows else "",
        f"Numbers that nobody can run here: {impossible}; the ledger says why." if impossible else "",
    ]
    return "\n\n".join(filter(None, parts)) if rows or impossible else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.paper_scale", description=__doc__.splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("--out", type=Path, help="file for the page; default: print it")
    parser.add_argument("--scripts", type=Path, help="folder for the shell and Slurm files")
    parser.add_argument("--shards", type=int, default=0, help="processes that share a notebook; default: by devices")
    parser.add_argument("--time", default="24:00:00", help="of a Slurm job, before it goes back into the queue")
    parser.add_argument("--ledger", type=Path, help="default: figures/data/ledger.csv, if it is there")
    chosen = parser.parse_args(arguments)
    if chosen.shards < 0 or not TIME.fullmatch(chosen.time):
        parser.error("--shards is a number of processes, and --time is written as Slurm takes it, such as 24:00:00")
    try:
        _run_command(chosen)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run_command(chosen: argparse.Namespace) -> None:
    steps = list_steps(chosen.profile, shards=chosen.shards)
    committed = paths.FIGURES / "data" / "ledger.csv"
    path = chosen.ledger or (committed if committed.exists() else None)
    ledger = read_ledger(path) if path else None
    claims: dict[str, list[str]] = {}
    if ledger is not None:
        steps, claims = settle(chosen.profile, steps, ledger)
    text = write_page(chosen.profile, steps, claims, ledger)
    if chosen.out:
        with write_atomically(chosen.out) as path:
            path.write_text(text, "utf-8")
    else:
        print(text, end="")
    if chosen.scripts:
        for name, script in make_scripts(chosen.profile, steps, time=chosen.time, folder=chosen.scripts).items():
            with write_atomically(chosen.scripts / name) as path:
                path.write_text(script, "utf-8")


def make_scripts(profile: str, steps: Sequence[Step], *, time: str, folder: Path) -> dict[str, str]:
    """The Slurm files of `steps`."""
    stated, sft = plan.read_plan(profile), params.load_profile(params.SftParams, profile)
    options: dict[str, Any] = {"nodes": max(1, stated.devices // sft.processes), "devices": sft.processes}
    evaluations = [slurm_scripts.Evaluation(step.benchmark, step.shards, step.split) for step in steps if step.shards]
    options["split"] = find_split(profile)
    options["extra"] = [(step.commands[0], step.extra_devices) for step in steps if step.extra_devices]
    return slurm_scripts.write_scripts(profile, evaluations, **options, time=time, folder=folder.name)


if __name__ == "__main__":
    sys.exit(main())
