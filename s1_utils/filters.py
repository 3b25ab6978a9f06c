"""Which questions may be trained on: quality and fit, each removal with its reason.

Knows rows of questions and traces; knows nothing about selection or training.
Source: s1 section 2.2 and the released notebook (rules on the question's text only).
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from s1_utils.chat import encode, write_completion, write_prompt
from s1_utils.sources import derive_seed

_NUMBERED = re.compile(r"p\d{1,3}\.")
_BOLD = re.compile(r"\*\*(?=.*\d)[^\s\]]*\*\*")


def find_quality_reason(question: str) -> str | None:
    """Why the paper's quality filter drops a question, or None if it keeps it."""
    if "[asy]" in question:
        return "ascii-art diagram"
    if "![Image]" in question:
        return "image that isn't there"
    if _NUMBERED.search(question) or _BOLD.search(question):
        return "inconsistent numbering"
    return None


def judge_rows(rows: pd.DataFrame, tokenizer: Any, *, system_prompt: str, max_train_tokens: int) -> pd.DataFrame:
    """question_id, train_tokens, dropped (one reason a row, null where it is kept).

    `rows`: question_id, question, thinking, attempt, attempt_correct. `train_tokens` counts the row as it would be
    trained on, prompt included.
    """
    texts = [
        write_prompt(tokenizer, q, system_prompt) + write_completion(t, a)
        for q, t, a in zip(rows["question"], rows["thinking"], rows["attempt"], strict=True)
    ]
    tokens = pd.Series([len(encode(tokenizer, text)) for text in texts], index=rows.index, dtype="int64")
    dropped = rows["question"].map(find_quality_reason).astype("string")
    dropped = dropped.mask(tokens > max_train_tokens, "longer than the training limit")
    dropped = dropped.mask(rows["attempt_correct"].isna(), "attempt can't be graded")
    return pd.DataFrame({"question_id": rows["question_id"], "train_tokens": tokens, "dropped": dropped})


def draw_pool(rows: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """`size` rows, the same number from each domain where there are enough, by each row's own seeded hash."""
    order = rows.assign(_draw=[derive_seed(seed, "pool", q) for q in rows["question_id"]]).sort_values("_draw")
    turn = order.groupby("domain").cumcount()
    drawn = order.assign(_turn=turn).sort_values(["_turn", "_draw"], kind="stable").head(size)
    return drawn.drop(columns=["_draw", "_turn"]).sort_values(["domain", "question_id"]).reset_index(drop=True)
