"""Which questions may be trained on: quality and fit, each removal with its reason.

Knows rows of questions and traces; knows nothing about selection or training.
Source: s1 section 2.2 and the released notebook (rules on the question's text only).
"""

from __future__ import annotations

import re

import pandas as pd

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


def count_training_tokens(questions: pd.DataFrame, tokenizer: object, system_prompt: str) -> pd.Series:
    """Tokens of each row (question, thinking, attempt) as it would be trained on, prompt included."""
    from s1_utils.chat import encode, write_completion, write_prompt

    return pd.Series(
        [
            len(encode(tokenizer, write_prompt(tokenizer, q, system_prompt) + write_completion(t, a)))
            for q, t, a in zip(questions["question"], questions["thinking"], questions["attempt"], strict=True)
        ],
        index=questions.index,
        dtype="int64",
    )


def find_drop_reasons(rows: pd.DataFrame, *, max_train_tokens: int) -> pd.Series:
    """One reason a row, null where it is kept. Rows need question, thinking, attempt_correct, train_tokens."""
    reasons = rows["question"].map(find_quality_reason).astype("string")
    reasons = reasons.mask(rows["train_tokens"] > max_train_tokens, "longer than the training limit")
    reasons = reasons.mask(rows["attempt_correct"].isna(), "attempt can't be graded")
    return reasons.mask(rows["thinking"].isna(), "no trace")


def draw_pool(rows: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """`size` rows, the same number from each domain where there are enough, by each row's own seeded hash."""
    from s1_utils.sources import derive_seed

    order = rows.assign(_draw=[derive_seed(seed, "pool", q) for q in rows["question_id"]]).sort_values("_draw")
    turn = order.groupby("domain").cumcount()
    drawn = order.assign(_turn=turn).sort_values(["_turn", "_draw"], kind="stable").head(size)
    return drawn.drop(columns=["_draw", "_turn"]).sort_values(["domain", "question_id"]).reset_index(drop=True)
