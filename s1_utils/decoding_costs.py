"""What a generation costs: FLOPs by the model's shape, seconds by steps that were timed.

Knows formulas, the columns of generations, and how a step is timed. What isn't known has no column, never a guess.
Training's costs are in `training_costs`. Invariants: tests/test_decoding_costs.py (a count by hand, and torch's own).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from s1_utils import chat
from s1_utils.budget_forcing import Setting, close_thinking, force_budget
from s1_utils.errors import StudyError

if TYPE_CHECKING:
    from s1_utils.generation import Task, Writer
    from s1_utils.memory import Shape


@dataclass(frozen=True)
class Speed:
    """Seconds of one decoding step of w rows of one question: step + w x row. Prompts are left out."""

    step: float
    row: float


def count_flops(shape: Shape, prompt: Any, written: Any) -> tuple[Any, Any]:
    """(FLOPs to read a prompt of so many tokens, FLOPs to write so many after it), numbers or arrays; 2 a multiply-add.

    A token costs 2 for each parameter it meets, and, for each token it sees (itself too), 2 x layers x heads x head_dim
    for the scores and as much for the weighted sum of values. The embedding is looked up and costs nothing; the head is
    met by the tokens whose successor is sampled: the prompt's last, which counts as writing, and all but the last one
    written. Left out: norms' and softmax's own arithmetic, below a percent in models of a useful size.
    """
    body, head = shape.layers * shape.layer, shape.vocabulary * shape.hidden
    seen = 4 * shape.layers * shape.heads * shape.head_dim
    read = 2 * body * (prompt - 1) + seen * (prompt - 1) * prompt / 2
    write = 2 * (body + head) * written + seen * (prompt * written + written * (written - 1) / 2)
    return read, write


def count_prompts(
    tokenizer: Any, questions: pd.DataFrame, *, system_prompt: str, fmt: chat.Format = chat.S1
) -> dict[str, int]:
    """question_id → tokens of its prompt, the start of thinking included."""
    texts = [chat.write_prompt(tokenizer, question, system_prompt) for question in questions["question"]]
    counts = [len(chat.encode(tokenizer, chat.open_thinking(text, fmt))) for text in texts]
    return dict(zip(questions["question_id"], counts, strict=True))


def count_closing(tokenizer: Any, generations: pd.DataFrame, fmt: chat.Format = chat.S1) -> pd.Series:
    """How many tokens each row was forced to write between its thinking and its answer."""
    markers = chat.encode_markers(tokenizer, fmt)
    rows = zip(generations["thinking_ids"], generations["finish"], strict=True)
    counts = [len(close_thinking(markers, list(ids), is_cut=finish.startswith("forced"))) for ids, finish in rows]
    return pd.Series(counts, generations.index)


def add_costs(
    graded: pd.DataFrame,
    prompts: Mapping[str, int] | None = None,
    shape: Shape | None = None,
    *,
    closing: int | pd.Series = 0,
    speed: Speed | None = None,
) -> pd.DataFrame:
    """`graded` with what each row costs: read_flops and write_flops with prompts and a shape, seconds with a speed.

    `closing`: tokens forced between the thinking and the answer. step_seconds: what samples side by side share,
    row_seconds: what each adds. Each row costs what a run of its setting alone would. Without a shape or a speed (an
    API tells neither), those columns aren't there. Raises StudyError for a question without a prompt.
    """
    written = graded["thinking_tokens"] + closing + graded["answer_tokens"]
    costed = graded.copy()
    if shape is not None and prompts is not None:
        lengths = graded["question_id"].map(dict(prompts))
        if lengths.isna().any():
            lacking = graded.loc[lengths.isna(), "question_id"].iloc[0]
            raise StudyError(f"Question {lacking} has no prompt length: count the prompts of the same questions.")
        costed["read_flops"], costed["write_flops"] = count_flops(shape, lengths.astype(float), written)
    if speed is not None:
        costed["step_seconds"], costed["row_seconds"] = speed.step * written, speed.row * written
    return costed


# ------------------------------------------------------------------ seconds


def time_model(folder: Path, question: str, p: Any, *, system_prompt: str, widths: Sequence[int]) -> pd.DataFrame:
    """`time_steps` of the model of `folder` on p.engine, between an eighth and half of p.max_thinking tokens."""
    from s1_utils.generation import load_writer

    short = max(1, p.max_thinking // 8)
    with load_writer(folder, system_prompt, engine=p.engine) as writer:
        return time_steps(writer, question, widths=widths, lengths=(short, max(short + 1, p.max_thinking // 2)))


def time_steps(
    writer: Writer, question: str, *, widths: Sequence[int], lengths: tuple[int, int], repeats: int = 3
) -> pd.DataFrame:
    """Decoding steps of one question's samples side by side, timed here and now: a row a width.

    Every row of w samples thinks to exactly lengths[0] and lengths[1] tokens; a step is the difference in seconds
    over the difference in tokens, so that loading, prompts and answers cancel. Columns: width, step_seconds (the
    median of `repeats`), fastest, slowest. Raises StudyError unless lengths ascend.
    """
    from s1_utils.generation import Task

    short, long = lengths
    if not 0 < short < long:
        raise StudyError(f"Steps are timed between two lengths, not {lengths}: give two, the longer last.")
    prompt, rows = writer.encode_prompt(question), []
    for width in widths:
        tasks = [Task("timed", prompt, i, i) for i in range(width)]
        taken = [_time(writer, tasks, length) for _ in range(repeats) for length in (short, long)]
        steps = [(b - a) / (long - short) for a, b in zip(taken[::2], taken[1::2], strict=True)]
        rows.append((width, median(steps), min(steps), max(steps)))
    return pd.DataFrame(rows, columns=["width", "step_seconds", "fastest", "slowest"])


def _time(writer: Writer, tasks: Sequence[Task], length: int) -> float:
    from s1_utils.engines import Row

    asked = {"settings": [Setting("budget", length, length)], "wait_ids": [()], "max_answer_tokens": 1}
    rows = [Row(task.prompt_ids, force_budget(writer.markers, **asked), task.seed, 1.0) for task in tasks]
    start = time.perf_counter()
    writer.engine.run(rows)
    return time.perf_counter() - start


def fit_speed(timed: pd.DataFrame) -> Speed | None:
    """The line through `time_steps`, each width's relative error weighed alike; neither part is negative.

    None where no step took any time that could be told.
    """
    kept = timed[timed["step_seconds"] > 0]
    if kept.empty:
        return None
    seconds = kept["step_seconds"].to_numpy(float)
    shares = np.stack([1 / seconds, kept["width"].to_numpy(float) / seconds], axis=1)  # of a measured step
    step, row = np.linalg.lstsq(shares, np.ones(len(kept)), rcond=None)[0]
    only_step, only_row = shares.sum(0) / (shares**2).sum(0)
    if min(step, row) >= 0:
        return Speed(float(step), float(row))
    return Speed(0.0, float(only_row)) if step < 0 else Speed(float(only_step), 0.0)
