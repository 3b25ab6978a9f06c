"""Shell and Slurm files for a profile at scale: an array task a shard, notebooks one after another, all resumable.

Knows Slurm and the study's commands; knows nothing about costs. Preempted or out of time, a job is queued again and its
command goes on from its journals, checkpoints and other shards' work. Account and partition are taken from the
environment or edited at the top of submit.sh. Tests: tests/test_paper_scale.py, with stand-ins for sbatch and scontrol;
no cluster has been tried.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from s1_utils import study

TOP = """#!/bin/bash
# {usage}
# Submit from the checkout, on a file system that all nodes share. Preempted: Slurm starts it again. Two minutes before
# its time is over it puts itself back into the queue, MOST times at most. It goes on where it was, on any node.
#SBATCH --job-name={name}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time={time}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output={name}-{log}.log
"""
GUARD = """set -emuo pipefail # m: the command is a group of processes, which are stopped together
cd "${SLURM_SUBMIT_DIR:-.}"
export HF_HUB_DISABLE_TELEMETRY=1
MOST=${MOST:-20}
child=

stop() { # the command ends as it would if killed: nothing that it has written is lost
    trap '' TERM USR1
    if [ -n "$child" ]; then
        kill -TERM -- "-$child" 2>/dev/null || true
        wait "$child" || true
    fi
}
again() {
    stop
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "$MOST" ]; then
        echo "Started $MOST times already: submit it again if it still moves." >&2
        exit 1
    fi
    echo "Its time is over: back into the queue."
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap again USR1
trap 'stop; exit 143' TERM

go() { # in the background, as bash minds no signal while it waits for a command
    "$@" &
    child=$!
    wait "$child"
    child=
}
"""
NOTEBOOK = """
PROFILE=$1 NOTEBOOK=$2 BENCHMARK=${3:-}
options=()
if [ -n "$BENCHMARK" ]; then options=(--benchmark "$BENCHMARK"); fi
STAGE=${S1_RUNS:-runs}/$PROFILE${BENCHMARK:+-$BENCHMARK}/$NOTEBOOK
"""
RUN = 'go .venv/bin/python -m s1_utils.study run "$PROFILE" --only "$NOTEBOOK" "${options[@]}"\n'
MERGE = """if [ ! -f "$STAGE/manifest.json" ]; then
    go .venv/bin/python -m s1_utils.shards merge "$PROFILE" "$NOTEBOOK" "${options[@]}"
fi
"""
SHARD = """SHARDS=$4
if [ -f "$STAGE/manifest.json" ]; then
    echo "$STAGE is done already."
    exit 0
fi
go .venv/bin/python -m s1_utils.shards run "$PROFILE" "$NOTEBOOK" "${options[@]}" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS"
"""
SUBMIT = """#!/bin/bash
# bash {folder}/submit.sh     the profile {profile} on Slurm, from notebook 2 on; run it in the checkout
# Nothing here has been run on a cluster. Edit these lines, or set the variables in the environment:
ACCOUNT=${{ACCOUNT:-}}
PARTITION=${{PARTITION:-}}
CPU_PARTITION=${{CPU_PARTITION:-$PARTITION}}

set -euo pipefail
HERE=$(dirname "$0")
if [ ! -f "${{S1_RUNS:-runs}}/{profile}/01_collect/manifest.json" ]; then
    echo "Run notebook 1 first, where there is a network: python -m s1_utils.study run {profile} --only 01_collect" >&2
    exit 1
fi
submit() {{ # PARTITION, then arguments of sbatch; prints the job's number
    local options=(--parsable --kill-on-invalid-dep=yes) id
    if [ -n "$ACCOUNT" ]; then options+=(--account="$ACCOUNT"); fi
    if [ -n "$1" ]; then options+=(--partition="$1"); fi
    id=$(sbatch "${{options[@]}}" "${{@:2}}") || return 1
    echo "${{id%%;*}}"
}}
"""


LINE = """
export PATH=".venv/bin:$PATH"
go bash -c "$1"
"""
ALONE = """#!/bin/bash
# bash {folder}/run.sh     the profile {profile} on one machine; killed, run it again: what was begun goes on
set -euo pipefail
export PATH=".venv/bin:$PATH"
"""


@dataclass(frozen=True)
class Evaluation:
    """A benchmark's notebooks 4 and 5; `benchmark` is empty for the profile's own.

    `shards` of each notebook, of `split` devices each.
    """

    benchmark: str
    shards: Sequence[int]
    split: int = 1


def write_scripts(
    profile: str,
    evaluations: Sequence[Evaluation],
    *,
    extra: Sequence[tuple[str, int]] = (),
    nodes: int,
    devices: int,
    split: int,
    time: str,
    folder: str,
) -> dict[str, str]:
    """File name → text. `nodes` of `devices` train, one runs notebook 6; `extra`: lines, and devices of each.

    `split`: devices of notebook 2, whose solvers generate.
    """
    kinds = {
        "notebook": ("PROFILE NOTEBOOK [BENCHMARK]", NOTEBOOK + RUN, "%j"),
        "evaluate": ("--array=0-15 … PROFILE NOTEBOOK BENCHMARK 16: sixteen shards", NOTEBOOK + SHARD, "%A_%a"),
        "merge": ("PROFILE NOTEBOOK [BENCHMARK], after its shards", NOTEBOOK + MERGE + RUN, "%j"),
        "line": ("'mkdir … && papermill …', a line of the page", LINE, "%j"),
    }
    scripts = {}
    for name, (usage, command, log) in kinds.items():
        values = {"usage": f"sbatch {folder}/{name}.sbatch {usage}", "name": f"s1-{name}", "time": time, "log": log}
        scripts[f"{name}.sbatch"] = TOP.format(**values) + GUARD + command
    lines = _submit_training(profile, nodes=nodes, devices=devices, split=split)
    for evaluation in evaluations:
        lines += _submit_evaluation(profile, evaluation)
    lines += _submit_rest(profile, devices=devices, extra=extra)
    alone = [_write_alone(profile, name) for name in study.NOTEBOOKS[:3]]
    alone += [_write_alone(profile, name, each.benchmark) for each in evaluations for name in study.ON_TESTS]
    alone += [_write_alone(profile, name) for name in study.NOTEBOOKS[5:]]
    return {
        **scripts,
        "submit.sh": SUBMIT.format(profile=profile, folder=folder) + "\n".join(lines) + "\n",
        "run.sh": ALONE.format(profile=profile, folder=folder)
        + "\n".join([*alone, *(each for each, _ in extra)])
        + "\n",
    }


def _write_alone(profile: str, notebook: str, benchmark: str = "") -> str:
    return f"python -m s1_utils.study run {profile} --only {notebook}" + (benchmark and f" --benchmark {benchmark}")


def _submit_training(profile: str, *, nodes: int, devices: int, split: int) -> list[str]:
    notebook = f'"$HERE/notebook.sbatch" {profile}'
    lines = ["", f'filtered=$(submit "$PARTITION" --gpus-per-node={split} {notebook} 02_filter)', "after=$filtered"]
    if nodes * devices > 1:
        where = f"--nodes={nodes} --gpus-per-node={devices}"
        launcher = f"params/slurm/sft.sbatch params/{profile}/03_sft.yaml"
        lines.append(f'after=$(submit "$PARTITION" --dependency="afterok:$after" {where} {launcher})')
    last = f"--gpus-per-node=1 {notebook} 03_sft"
    return [*lines, f'trained=$(submit "$PARTITION" --dependency="afterok:$after" {last})', "ends=()"]


def _submit_evaluation(profile: str, evaluation: Evaluation) -> list[str]:
    """An array of shards and what merges them, for each notebook; shards may fail, as the others do their work."""
    lines = ["", f"# {evaluation.benchmark or 'the benchmark of the profile'}", "before=$trained"]
    for notebook, shards in zip(study.ON_TESTS, evaluation.shards, strict=True):
        asked = f"{profile} {notebook} '{evaluation.benchmark}'"
        array = f'--dependency="afterok:$before" --array=0-{shards - 1} --gpus-per-node={evaluation.split}'
        lines += [
            f'array=$(submit "$PARTITION" {array} "$HERE/evaluate.sbatch" {asked} {shards})',
            f'before=$(submit "$CPU_PARTITION" --dependency="afterany:$array" "$HERE/merge.sbatch" {asked})',
        ]
    return [*lines, 'ends+=("$before")']


def _submit_rest(profile: str, *, devices: int, extra: Sequence[tuple[str, int]]) -> list[str]:
    """The ablations, the figures when all are done, and the ledger's further lines, which these don't wait for."""
    notebook = f'"$HERE/notebook.sbatch" {profile}'
    where = f'"$PARTITION" --dependency="afterok:$filtered" --gpus-per-node={devices}'
    lines = [
        "",
        f"ablated=$(submit {where} {notebook} 06_ablations)",
        'all=$(IFS=:; echo "${ends[*]}:$ablated")',
        f'drawn=$(submit "$CPU_PARTITION" --dependency="afterok:$all" {notebook} 07_figures)',
    ]
    for line, count in extra:
        after = f'"$PARTITION" --dependency="afterok:$trained" --gpus-per-node={count}'
        lines.append(f'submit {after} "$HERE/line.sbatch" {shlex.quote(line)} > /dev/null')
    return [*lines, 'echo "Submitted; the figures are job $drawn. Follow all with: squeue --me"']
