"""What to run for a profile, in order, with machines, hours and USD: the planner's lines put together into steps.

Knows which notebooks a profile runs and which can be shared by processes; computes no cost itself (plan). Hours are
arithmetic from params/<profile>/plan.yaml. Tests: tests/test_paper_scale.py.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from s1_utils import memory, params, plan, study
from s1_utils.benchmark_table import BENCHMARKS

SETS = ("math500", "aime24", "gpqa_diamond", "aime25")  # of the paper's tables
FEW_ROWS = 8  # long rows at a time below which a device's stated rate isn't to be expected


@dataclass(frozen=True)
class Step:
    """Commands that belong together and what they cost.

    `run`: where they write; `machines`: on what; `hours`: by the clock, there. `shards`: how many processes can share
    each notebook's groups, of `split` devices each. `extra_devices`: of one machine, for a command that the ledger asks
    for besides.
    """

    title: str
    notebooks: tuple[str, ...]
    run: str
    benchmark: str
    machines: str
    commands: tuple[str, ...]
    hours: float
    device_hours: float
    usd: float
    shards: tuple[int, ...] = ()
    split: int = 1
    extra_devices: int = 0


def list_steps(profile: str, *, shards: int = 0) -> list[Step]:
    """All that a profile has to run, in order. `shards`: at most; 0: as many as its devices make."""
    lines, stated = plan.plan_profile(profile), plan.read_plan(profile)
    lines["usd"] += lines["device_hours"] * stated.device_usd_per_hour
    costs = lines.groupby("stage")[["device_hours", "usd"]].sum()
    sft = params.load_profile(params.SftParams, profile)
    ablations = params.load_profile(params.AblationParams, profile)
    judged = ", with a network for the judge" if params.load_profile(params.FilterParams, profile).judge else ""
    node = f"{sft.processes} × {stated.device}"
    nodes, split = max(1, stated.devices // sft.processes), find_split(profile)
    trains = f"{nodes} × {node}" if nodes > 1 else node
    train = [write_command(profile, "03_sft")]
    if nodes * sft.processes > 1:
        train.insert(0, f"sbatch --nodes={nodes} --gpus-per-node={sft.processes} params/slurm/sft.sbatch "
                        f"params/{profile}/03_sft.yaml")  # fmt: skip

    def make(title: str, notebook: str, machines: str, devices: int, commands: Sequence[str] = ()) -> Step:
        hours = float(costs["device_hours"].get(notebook, 0.0))
        usd = float(costs["usd"].get(notebook, 0.0))
        done = tuple(commands) or (write_command(profile, notebook),)
        return Step(title, (notebook,), profile, "", machines, done, hours / devices, hours, usd)

    return [
        make("Collect", "01_collect", "any, with a network", 1),
        make("Filter and select", "02_filter", f"{split} × {stated.device}{judged}", split),
        make("Train", "03_sft", trains, nodes * sft.processes, train),
        *(
            plan_evaluation(profile, name, shards=shards or max(1, stated.devices // split))
            for name in list_sets(profile)
        ),
        make("Ablate", "06_ablations", f"{ablations.processes} × {stated.device}", ablations.processes),
        make("Draw", "07_figures", "any", 1),
    ]


def list_sets(profile: str) -> list[str]:
    """The profile's own benchmark first, then the paper's others; of a profile with its own questions these alone."""
    own = params.load_profile(params.SequentialParams, profile).benchmark
    return [own, *(name for name in SETS if name != own)] if own in BENCHMARKS else [own]


def plan_evaluation(profile: str, name: str, *, shards: int) -> Step:
    """Notebooks 4 and 5 on a benchmark: the planner's lines for as many questions as it has."""
    stated = plan.read_plan(profile)
    sequential = params.load_profile(params.SequentialParams, profile)
    parallel = params.load_profile(params.ParallelParams, profile)
    there = BENCHMARKS[name].source.expected if name in BENCHMARKS else sequential.questions
    first = sequential.model_copy(update={"questions": min(there, sequential.questions)})
    second = parallel.model_copy(update={"questions": min(there, sequential.questions, parallel.questions)})
    lines = [plan.plan_sequential(stated, first), plan.plan_parallel(stated, second)]
    groups = (first.questions / first.group_size, second.questions * second.samples / second.group_size)
    useful = tuple(min(shards, math.ceil(count)) for count in groups)
    benchmark = "" if name == sequential.benchmark else name
    split = find_split(profile)
    hours = sum(line.device_hours / count / split for line, count in zip(lines, useful, strict=True))
    total = sum(line.device_hours for line in lines)
    commands = [
        command
        for notebook, count in zip(study.ON_TESTS, useful, strict=True)
        for command in write_shared(profile, notebook, benchmark, count)
    ]
    each = f"{split} × {stated.device}" if split > 1 else stated.device
    machines = f"{' and '.join(map(str, useful))} × {each}"
    usd = total * stated.device_usd_per_hour
    title = f"Evaluate on {name}"
    run = f"{profile}-{benchmark}" if benchmark else profile
    return Step(
        title, tuple(study.ON_TESTS), run, benchmark, machines, tuple(commands), hours, total, usd, useful, split
    )


def find_split(profile: str) -> int:
    """How many devices a process needs, so that beside the model's weights FEW_ROWS of the longest thinking fit."""
    return next((size for size in (1, 2, 4, 8, 16) if count_rows(profile, size) > FEW_ROWS), 16)


def count_rows(profile: str, devices: int) -> float:
    """Rows of the longest thinking whose cache fits beside the weights, split over devices; without what vLLM needs.

    Infinite where the profile states no device, or its model isn't known.
    """
    from s1_utils.engines.vllm import make_args

    stated, model = plan.read_plan(profile), params.load_profile(params.CollectParams, profile).model
    known = model.rsplit("/", 1)[-1].lower().removesuffix("-instruct") in memory.PUBLISHED
    if not stated.device_gb or not known:
        return math.inf
    shape, sequential = memory.find_shape(model), params.load_profile(params.SequentialParams, profile)
    share = inspect.signature(make_args).parameters["gpu_memory_utilization"].default
    left = share * devices * stated.device_gb * memory.GB - plan.PRECISION_BYTES * shape.parameters
    tokens = left / (2 * plan.PRECISION_BYTES * shape.layers * shape.kv_heads * shape.head_dim)
    return max(0.0, tokens) / max(*sequential.budgets, sequential.max_thinking)


def write_command(profile: str, notebook: str, benchmark: str = "") -> str:
    return f"python -m s1_utils.study run {profile} --only {notebook}" + (benchmark and f" --benchmark {benchmark}")


def write_shared(profile: str, notebook: str, benchmark: str, shards: int) -> list[str]:
    """The commands of one notebook: alone, or in each of `shards` processes (I from 0) and then once."""
    alone = write_command(profile, notebook, benchmark)
    if shards == 1:
        return [alone]
    named = f"{profile} {notebook}" + (benchmark and f" --benchmark {benchmark}")
    each = f"python -m s1_utils.shards run {named} --shard I/{shards}"
    return [each, f"python -m s1_utils.shards merge {named}", alone]
