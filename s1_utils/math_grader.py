"""Deciding whether a mathematical answer equals gold, whatever a model wrote: bounded in time, memory and size.

Knows how to ask math-verify safely; knows nothing about spellings (s1_utils.math_text) or where answers come from.
What text and arithmetic decide is decided here. The rest goes to a child, `python -m s1_utils.math_grader`, that
works pairs out in forks (s1_utils.math_child), killed when their time is over: no verdict depends on order or on other
pairs, and it works from threads and in notebooks. Only a time-out depends on the machine.
Source: s1 section 4.1 (deviation: the original shows gold to gpt-4o-mini and asks which answers are equivalent).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from s1_utils import math_child, math_compare, math_text
from s1_utils.errors import StudyError
from s1_utils.progress import track

if TYPE_CHECKING:
    import pandas as pd

STARTING = 120.0  # seconds the child may take to import, on a busy machine

Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right (None: can't be decided here, ask a judge) and how that was found.

    `how`: same text, same number (these two also where it differs), same value, another value, math-verify, timeout,
    too long, too large (to be worked out in the memory allowed), unparsable (also: prose, or another unit than gold's),
    no gold, no answer.
    """

    correct: bool | None
    how: str


def grade_expressions(pairs: Sequence[Pair], *, workers: int = 2, seconds_each: float = 3.0) -> list[Grade]:
    """The grade of each (extracted answer, gold), in order; a null is any value that is no text.

    A pair that occurs twice is worked out once. `workers`: processes for what needs algebra; `seconds_each`: its wall
    time. Nothing here raises because of what is in a pair. Raises StudyError where children can't run.
    """
    cleaned = [tuple(side if isinstance(side, str) else None for side in pair) for pair in pairs]
    grades = {pair: decide_cheaply(*pair) for pair in dict.fromkeys(cleaned)}
    hard = [pair for pair, grade in grades.items() if grade is None]
    if hard:
        grades |= _work_out(hard, workers, seconds_each)
    return [grades[pair] for pair in cleaned]


def grade_table(table: pd.DataFrame, *, workers: int = 2, seconds_each: float = 3.0) -> pd.DataFrame:
    """`table` with the columns correct (boolean, nullable), grader and how set on its rows of answer_type "expression".

    Reads extracted, gold and answer_type. Other rows keep what they have in these columns, or null.
    """
    import pandas as pd

    from s1_utils.store import require_columns

    require_columns(table, ["extracted", "gold", "answer_type"], "The table to grade")
    mine = (table["answer_type"] == "expression").to_numpy(dtype=bool, na_value=False)
    rows = table.loc[mine, ["extracted", "gold"]]
    grades = grade_expressions(
        list(rows.itertuples(index=False, name=None)), workers=workers, seconds_each=seconds_each
    )
    graded = table.copy()
    found = {"correct": [g.correct for g in grades], "grader": ["math"] * len(grades), "how": [g.how for g in grades]}
    for name, dtype in (("correct", "boolean"), ("grader", "string"), ("how", "string")):
        column = pd.Series(graded.get(name, pd.NA), index=graded.index, dtype=dtype)
        column[mine] = pd.array(found[name], dtype=dtype)
        graded[name] = column
    return graded


# ------------------------------------------------------------------ without algebra


def decide_cheaply(answer: str | None, gold: str | None) -> Grade | None:
    """The grade of what text, exact arithmetic, and values of letters at points decide; None for what needs algebra."""
    if gold is None or not gold.strip():
        return Grade(None, "no gold")
    if answer is None or not answer.strip():
        return Grade(False, "no answer")
    if len(gold) > math_text.LONGEST:
        return Grade(None, "too long")
    if len(answer) > math_text.LONGEST:
        return Grade(False, "too long")
    said, right = _spell(answer, gold)
    if said.unit and right.unit and said.unit != right.unit:
        return Grade(None, "unparsable")
    return _compare_texts(said, right) or _refuse(said.text, right.text) or _compare_values(said, right)


def _spell(answer: str, gold: str) -> tuple[math_text.Answer, math_text.Answer]:
    """Both in the one spelling, without a name ("x=") that only one of them has."""
    said, right = math_text.read_answer(answer), math_text.read_answer(gold)
    texts = math_text.drop_name(said.text, right.text), math_text.drop_name(right.text, said.text)
    return math_text.Answer(texts[0], said.unit), math_text.Answer(texts[1], right.unit)


def _compare_texts(said: math_text.Answer, right: math_text.Answer) -> Grade | None:
    same_number = math_text.compare_numbers(said, right)
    if same_number is not None:
        return Grade(same_number, "same number")
    either_case = math_text.is_prose(right.text) and said.text.casefold() == right.text.casefold()
    if said.text and (said.text == right.text or either_case):
        return Grade(True, "same text")
    if bases := math_text.has_base(said.text) + math_text.has_base(right.text):
        return Grade(False, "same number") if bases == 2 else Grade(None, "unparsable")
    same_list = math_text.compare_lists(said.text, right.text)
    return None if same_list is None else Grade(same_list, "same number")


def _refuse(said: str, right: str) -> Grade | None:
    """The grade of what no algebra system should be asked: it is undecided if that is gold's doing."""
    if math_text.is_prose(right):
        return Grade(None, "unparsable")
    for text, verdict in ((right, None), (said, False)):
        if not text or not math_text.is_balanced(text):
            return Grade(verdict, "unparsable")
        if math_text.is_too_large(text):
            return Grade(verdict, "too large")
    return Grade(None, "unparsable") if math_text.is_prose(said) else None


def _compare_values(said: math_text.Answer, right: math_text.Answer) -> Grade | None:
    """What the formulas, or their items, say; but a percentage may be meant in two ways."""
    same = None if "%" in (said.unit, right.unit) else math_compare.compare(said.text, right.text)
    return None if same is None else Grade(same, "same value" if same else "another value")


# ------------------------------------------------------------------ with algebra


def _work_out(pairs: Sequence[Pair], workers: int, seconds: float) -> dict[Pair, Grade]:
    spelled = {pair: tuple(side.text for side in _spell(*pair)) for pair in pairs}
    questions = list(dict.fromkeys(spelled.values()))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.writelines(json.dumps(question) + "\n" for question in questions)
        file.seek(0)
        with _run_child(file, seconds, workers) as child:
            replies = _read_replies(child.stdout.fileno(), seconds)
            found = [next(replies) for _ in track(questions, "Grading mathematics")]
    grades = {questions[number]: Grade(correct, how) for number, correct, how in found}
    return {pair: grades[question] for pair, question in spelled.items()}


@contextlib.contextmanager
def _run_child(pairs: IO[str], seconds: float, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child that grades `pairs`, with none of our secrets in its environment; killed on leaving, with its forks."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    child = subprocess.Popen(
        [sys.executable, "-m", "s1_utils.math_grader", str(seconds), str(workers)],
        stdin=pairs,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parent.parent,
        env=kept | {"PYTHONHASHSEED": "0"},
        start_new_session=True,  # ^C is for the parent, which ends the child; its forks are of the same group
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def _read_replies(descriptor: int, seconds: float) -> Iterator[list[Any]]:
    """[number, correct, how] of each pair, in any order.

    Raises StudyError when the child is gone or silent: it ends its own forks in time, that is no pair's doing.
    """
    unread = b""
    while data := os.read(descriptor, 2**16) if math_child.is_readable(descriptor, STARTING + 2 * seconds) else b"":
        *lines, unread = (unread + data).split(b"\n")
        yield from map(json.loads, lines)
    raise StudyError(
        "A child that grades mathematics died or fell silent: see that math-verify is installed and that there is "
        "1 GiB of free memory for each worker, then run again."
    )


if __name__ == "__main__":
    math_child.serve(float(sys.argv[1]), int(sys.argv[2]))
