"""Teachers: who writes the thinking that a model is trained on.

Knows how to ask for a trace and an attempt; knows nothing about filtering or training.
The laptop's teacher searches in the open: it tries options in a random order, writes every step down, gives a
verdict, goes on after "Wait". Its patience is limited on purpose: after a failed try it often stops and guesses,
which is what leaves room for budget forcing to help. Source: shared study notes; the paper used Gemini (section 2.1).
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import pandas as pd

from s1_utils.grading import extract_answer, grade_answer
from s1_utils.puzzles import Puzzle, read_options, read_puzzle
from s1_utils.sources import derive_seed

COLUMNS = "question_id teacher thinking attempt thinking_tokens attempt_correct grader".split()


@dataclass(frozen=True)
class Trace:
    """What a teacher returned for one question; `attempt` is the answer text shown to a grader."""

    thinking: str
    attempt: str


def search_aloud(puzzle: Puzzle, rng: random.Random, *, give_up: float, slip: float, check: float) -> Trace:
    """Search `puzzle` in the open.

    `give_up`: probability of guessing among the untried options after a failed try.
    `slip`: probability of misjudging a try (the verdict is turned round).
    `check`: probability of checking a "Yes" once more, which also mends a slip.
    """
    untried = rng.sample(puzzle.options, len(puzzle.options))
    lines: list[str] = []
    while untried:
        option = untried.pop()
        honest = puzzle.try_option(option)
        written = _turn_verdict(honest) if rng.random() < slip else honest
        lines.append(f"{'Wait, try' if lines else 'Try'} {option}: {written}")
        if written.endswith("Yes.") and rng.random() < check:
            lines.append(f"Wait, check {option}: {honest}")
            written = honest
        if written.endswith("Yes."):
            return Trace(" ".join(lines), option)
        if untried and rng.random() < give_up:
            break
    return Trace(" ".join(lines), rng.choice(untried or puzzle.options))


def _turn_verdict(text: str) -> str:
    return text.removesuffix("Yes.") + "No." if text.endswith("Yes.") else text.removesuffix("No.") + "Yes."


def ask_teacher(question_id: str, metadata: str, *, seed: int, **habits: float) -> tuple[str, Trace] | None:
    """(teacher, trace) for one question: its puzzle searched aloud, or the trace its source brought; None if none."""
    puzzle = read_puzzle(metadata)
    if puzzle is not None:
        rng = random.Random(derive_seed(seed, "teacher", question_id))
        return "search", search_aloud(puzzle, rng, **habits)
    fields = json.loads(metadata)
    if not fields.get("thinking") or not fields.get("attempt"):
        return None
    return fields["teacher"], Trace(fields["thinking"], fields["attempt"])


def collect_traces(questions: pd.DataFrame, tokenizer: Any, *, seed: int, **habits: float) -> pd.DataFrame:
    """The `traces` table: one graded trace for every question whose teacher answered.

    `attempt_correct` is null where the deterministic grader can't decide. `thinking_tokens` counts tokens of the
    study's own tokenizer, thinking part only.
    """
    rows = []
    for row in questions.itertuples():
        asked = ask_teacher(row.question_id, row.metadata, seed=seed, **habits)
        if asked is None:
            continue
        teacher, trace = asked
        extracted = extract_answer(trace.attempt, row.answer_type, read_options(row.metadata))
        rows.append(
            {
                "question_id": row.question_id,
                "teacher": teacher,
                "thinking": trace.thinking,
                "attempt": trace.attempt,
                "thinking_tokens": len(tokenizer(trace.thinking, add_special_tokens=False)["input_ids"]),
                "attempt_correct": grade_answer(extracted, row.answer, row.answer_type),
                "grader": "exact",
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"attempt_correct": "boolean"})
