"""What a profile will cost before anything is spent: requests, tokens, USD, device-hours and disk of every stage.

Knows the parameters of the notebooks and arithmetic; runs nothing and asks nobody. Prices, rates and mean lengths are
stated in params/<profile>/plan.yaml, because they change and can't be derived. Thinking is counted at its cap where a
cap is what is paid for, so the lines of generation are upper bounds.
Source of the defaults: s1 table 6 (lengths), section 3.1 (26 minutes on 16 H100: a utilisation of 0.31).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s1_utils import params, paths
from s1_utils.errors import StudyError

PRECISION_BYTES = 2  # of published weights


class PlanParams(BaseModel):
    """Prices, rates and mean lengths. Defaults: Qwen2.5-32B on H100s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "H100"
    devices: int = Field(default=16, ge=1)
    device_gb: float = Field(default=0, ge=0)  # memory of one device; 0: not planned
    device_flops: float = Field(default=989e12, gt=0)  # dense bf16 FLOP/s of one device
    utilisation: float = Field(default=0.31, gt=0, le=1)  # of them, in training
    device_usd_per_hour: float = Field(default=0.0, ge=0)
    parameters: float = Field(default=32.8e9, gt=0)
    layers: int = Field(default=64, ge=1)
    hidden: int = Field(default=5120, ge=1)
    recompute: bool = True  # activation checkpointing: a third more FLOPs
    decode_rate: float = Field(default=1500, gt=0)  # tokens/s of one device, batched
    questions: int = Field(default=0, ge=0)  # in the pool; 0: what the sources are expected to hold
    question_tokens: float = Field(default=150, gt=0)
    thinking_tokens: float = Field(default=3600, gt=0)
    selected_thinking_tokens: float = Field(default=4700, gt=0)
    attempt_tokens: float = Field(default=700, gt=0)
    verdict_tokens: float = Field(default=300, gt=0)  # what a judge or labeller writes
    rubric_tokens: float = Field(default=400, gt=0)
    classes_tokens: float = Field(default=2500, gt=0)  # the 61 classes of the labeller's prompt
    undecided: float = Field(default=0.5, ge=0, le=1)  # share of attempts that only a judge can grade
    solver_rates: list[float] = [6000, 1500]  # tokens/s of one device, a number for every solver model


@dataclass(frozen=True)
class Line:
    """One thing that costs something. Tokens in and out, USD, hours of one device, GB of disk."""

    stage: str
    what: str
    requests: float = 0
    tokens_in: float = 0
    tokens_out: float = 0
    usd: float = 0
    device_hours: float = 0
    disk_gb: float = 0


def read_plan(profile: str) -> PlanParams:
    """The stated prices and rates of a profile. Raises StudyError for none, an unknown name or a wrong type."""
    path = paths.PARAMS / profile / "plan.yaml"
    if not path.exists():
        raise StudyError(f"{profile} has no plan.yaml: copy one from another profile and state its prices and rates.")
    try:
        return PlanParams.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except (ValidationError, yaml.YAMLError) as error:
        raise StudyError(f"{path.name} of {profile}: {error}") from error


def plan_profile(profile: str) -> pd.DataFrame:
    """The lines of all stages, one row each, with a total below."""
    stated = read_plan(profile)
    models = [params.load_profile(model, profile) for model in params.MODELS]
    collect, filtered, sft, sequential, parallel, ablations, _ = models
    pool = stated.questions or count_questions(collect)
    lines = [
        *plan_collection(stated, collect, pool),
        *plan_filter(stated, collect, filtered, pool),
        plan_training(stated, "03_sft", "training", examples=filtered.subset_size, epochs=sft.epochs),
        plan_sequential(stated, sequential),
        plan_parallel(stated, parallel),
        *plan_ablations(stated, ablations),
    ]
    table = pd.DataFrame(lines)
    total = table.drop(columns=["stage", "what"]).sum()
    return pd.concat([table, pd.DataFrame([{"stage": "all", "what": "", **total}])], ignore_index=True)


def count_questions(collect: params.CollectParams) -> int:
    """How many questions the sources are expected to hold: the paper's counts, the puzzles asked for, CHAMP's 270."""
    from s1_utils.paper.table import SOURCES

    sizes = {source.name: source.expected for source in SOURCES}
    sizes |= {"puzzles": 4 * collect.questions_per_family, "champ": 270}
    unknown = [name for name in collect.sources if name not in sizes]
    if unknown:
        raise StudyError(f"Nobody knows how many questions {unknown[0]} has: set questions in plan.yaml.")
    return sum(sizes[name] for name in collect.sources)


# ------------------------------------------------------------------ stages


def plan_collection(stated: PlanParams, collect: params.CollectParams, pool: int) -> list[Line]:
    """The teacher's traces and their grading. The judge's price is that of batches, half of the list price."""
    stage, trace = "01_collect", stated.thinking_tokens + stated.attempt_tokens
    text_gb = pool * (stated.question_tokens + trace) * 4 / 1e9
    lines = [Line(stage, f"{pool:,} questions and their traces", disk_gb=2 * text_gb)]
    if collect.teacher:
        tokens = pool * stated.question_tokens, pool * trace
        lines.append(Line(stage, f"teacher {collect.teacher}", pool, *tokens, price(tokens, collect.teacher_usd)))
    if collect.judge:
        lines.append(_plan_judge(stated, collect, stage, "grades of the teacher's attempts", pool * stated.undecided))
    return lines


def plan_filter(
    stated: PlanParams, collect: params.CollectParams, filtered: params.FilterParams, pool: int
) -> list[Line]:
    """The solvers that measure difficulty, the grading of what they wrote, and labels for the pool's domains."""
    stage, rows = "02_filter", min(pool, filtered.pool_size)
    written = min(filtered.solver_tokens, stated.attempt_tokens)
    lines = []
    for name, rate in zip_longest(filtered.solvers, stated.solver_rates[: len(filtered.solvers)]):
        asked = rows * (filtered.askings if name in ("direct", "worked") else 1)
        hours = asked * written / (rate or stated.decode_rate) / 3600
        tokens = asked * stated.question_tokens, asked * written
        lines.append(Line(stage, f"solver {name}", asked, *tokens, device_hours=hours))
    if filtered.judge:
        attempts = rows * len(filtered.solvers) * stated.undecided
        lines.append(_plan_judge(stated, filtered, stage, "grades of the solvers' attempts", attempts))
    if filtered.domains == "judge":
        tokens = rows * (stated.classes_tokens + stated.question_tokens), rows * stated.verdict_tokens
        lines.append(Line(stage, "domain labels", rows, *tokens, price(tokens, filtered.judge_usd) / 2))
    return lines


def _plan_judge(
    stated: PlanParams, asking: params.CollectParams | params.FilterParams, stage: str, what: str, attempts: float
) -> Line:
    shown = stated.rubric_tokens + stated.question_tokens + 2 * stated.attempt_tokens  # the attempt and the solution
    tokens = attempts * shown, attempts * stated.verdict_tokens
    return Line(stage, what, attempts, *tokens, price(tokens, asking.judge_usd) / 2)


def plan_training(stated: PlanParams, stage: str, what: str, *, examples: float, epochs: int) -> Line:
    """One fine-tuning run: hours of one device, disk for the weights and a checkpoint in fp32 with its moments."""
    length = stated.question_tokens + stated.selected_thinking_tokens + stated.attempt_tokens
    tokens = examples * epochs * length
    hours = count_training_flops(stated, tokens, length) / (stated.device_flops * stated.utilisation) / 3600
    disk = stated.parameters * (PRECISION_BYTES + 12) / 1e9
    return Line(stage, what, tokens_in=tokens, device_hours=hours, disk_gb=disk)


def count_training_flops(stated: PlanParams, tokens: float, length: float) -> float:
    """6 FLOPs a parameter and token, 6 x layers x hidden x length for causal attention, a third more to recompute."""
    per_token = 6 * stated.parameters + 6 * stated.layers * stated.hidden * length
    return tokens * per_token * (4 / 3 if stated.recompute else 1)


def plan_sequential(stated: PlanParams, chosen: params.SequentialParams) -> Line:
    """One pass of all settings on the trained model, the base model's, and the other methods, all at their caps."""
    settings = 3 * len(chosen.budgets) + len(chosen.waits)
    cap = max(*chosen.budgets, chosen.max_thinking) + chosen.soft_extra
    tokens = chosen.questions * (cap + settings * chosen.max_answer_tokens)
    tokens += chosen.questions * (max(chosen.base_budgets) + len(chosen.base_budgets) * chosen.max_answer_tokens)
    runs = (
        len(chosen.strings) + 4 + 3 * len(chosen.method_budgets)
    )  # free, unopened, short, long; told, and the original's
    tries = chosen.max_tries * max(chosen.method_budgets)
    tokens += min(chosen.method_questions, chosen.questions) * (runs * (cap + chosen.max_answer_tokens) + tries)
    return _decode(stated, "04_sequential_scaling", "all settings, at most", chosen.questions, tokens)


def plan_parallel(stated: PlanParams, chosen: params.ParallelParams) -> Line:
    samples = chosen.questions * chosen.samples
    tokens = samples * (chosen.max_thinking + (1 + len(chosen.budgets)) * chosen.max_answer_tokens)
    return _decode(stated, "05_parallel_scaling", "samples, at most", samples, tokens)


def plan_ablations(stated: PlanParams, chosen: params.AblationParams) -> list[Line]:
    stage, seeds = "06_ablations", len(chosen.seeds)
    sizes = {name: chosen.subset_size * (chosen.full_factor if name == "full" else 1) for name in chosen.subsets}
    sizes |= {f"s1K cut at {length} tokens": chosen.subset_size for length in chosen.train_lengths}  # at most as much
    lines = [
        plan_training(stated, stage, f"training on {name}", examples=size * seeds, epochs=chosen.epochs)
        for name, size in sizes.items()
    ]
    asked = len(sizes) * seeds * chosen.questions
    thinking = max(chosen.budget, chosen.max_thinking)  # one pass: both settings are prefixes of the longest
    lines.append(_decode(stated, stage, "answers, at most", asked, asked * (thinking + 2 * chosen.max_answer_tokens)))
    for kind in chosen.kinds:
        what = f"training on s1K, asked for {kind}"
        lines.append(plan_training(stated, stage, what, examples=chosen.subset_size * seeds, epochs=chosen.epochs))
        lengths = {"tokens": chosen.ask_tokens, "steps": chosen.ask_steps}[kind]
        told = 2 * len(lengths) * seeds * chosen.questions  # the model, and plain s1K's
        each = chosen.max_thinking + 2 * chosen.max_answer_tokens  # by itself, and stopped: one pass
        lines.append(_decode(stated, stage, f"answers, asked for {kind}, at most", told, told * each))
    return lines


def _decode(stated: PlanParams, stage: str, what: str, requests: float, tokens: float) -> Line:
    read = requests * stated.question_tokens
    return Line(stage, what, requests, read, tokens, device_hours=tokens / stated.decode_rate / 3600)


def price(tokens: tuple[float, float], usd_per_million: list[float]) -> float:
    """USD of (tokens in, tokens out) at (in, out) prices a million."""
    return sum(n * usd / 1e6 for n, usd in zip(tokens, usd_per_million, strict=True))


# ------------------------------------------------------------------ for reading


def print_plan(profile: str) -> None:
    """The plan as text, with what it rests on and whether it exceeds the most that may be spent."""
    stated, table = read_plan(profile), plan_profile(profile)
    hours = float(table["device_hours"].iloc[-1]) / stated.devices
    usd = table["usd"].where(table["device_hours"] == 0, 0.0)  # what others charge
    table["usd"] += table["device_hours"] * stated.device_usd_per_hour
    columns = {"requests": 0, "tokens_in": 0, "tokens_out": 0, "usd": 2, "device_hours": 1, "disk_gb": 1}
    for name, digits in columns.items():
        table[name] = [f"{value:,.{digits}f}" if value else "" for value in table[name]]
    print(table.rename(columns={"device_hours": f"{stated.device}-hours"}).to_string(index=False))
    print(f"\n{hours:,.1f} hours on {stated.devices} x {stated.device}, as stated in params/{profile}/plan.yaml.")
    for model in (params.CollectParams, params.FilterParams):
        chosen = params.load_profile(model, profile)
        asked = usd[table["stage"] == chosen.notebook].sum()
        if asked > chosen.max_usd:
            capped = f"max_usd of {chosen.notebook} is {chosen.max_usd:,.2f}: it would stop."
            print(f"Teacher and judge of {chosen.notebook} cost {asked:,.2f} USD, {capped}")
