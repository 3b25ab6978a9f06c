"""What a generation costs: FLOPs by the model's shape, seconds by a measured rate.

Knows formulas and the columns of generations; measures nothing. What isn't known has no column, never a guess.
Training's costs are in `training_costs`. Invariants: tests/test_decoding_costs.py (a count by hand, and torch's own).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from s1_utils import chat
from s1_utils.budget_forcing import close_thinking
from s1_utils.errors import StudyError

if TYPE_CHECKING:
    from s1_utils.memory import Shape


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
    rate: float | None = None,
) -> pd.DataFrame:
    """`graded` with what each row costs: read_flops and write_flops with prompts and a shape, seconds with a rate.

    `closing`: tokens forced between the thinking and the answer. `rate`: measured seconds of a run / tokens that it
    wrote, answers included, at its own batch. Each row costs what a run of its setting alone would. Without a shape or
    a rate (an API tells neither), that column isn't there. Raises StudyError for a question without a prompt.
    """
    written = graded["thinking_tokens"] + closing + graded["answer_tokens"]
    costed = graded.copy()
    if shape is not None and prompts is not None:
        lengths = graded["question_id"].map(dict(prompts))
        if lengths.isna().any():
            lacking = graded.loc[lengths.isna(), "question_id"].iloc[0]
            raise StudyError(f"Question {lacking} has no prompt length: count the prompts of the same questions.")
        costed["read_flops"], costed["write_flops"] = count_flops(shape, lengths.astype(float), written)
    if rate is not None:
        costed["seconds"] = rate * written
    return costed


def find_rate(manifest: Mapping[str, Any], label: str) -> float | None:
    """Seconds a written token that the manifest of a stage has measured for the runs `label`; None if it hasn't.

    Its "decoding" maps labels to seconds and tokens; the wall time of a stage has statistics in it too, and won't do.
    """
    found = manifest.get("decoding", {}).get(label)
    return found["seconds"] / found["tokens"] if found and found["tokens"] else None
