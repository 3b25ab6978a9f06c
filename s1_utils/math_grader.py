"""Deciding whether a mathematical answer equals gold, whatever a model wrote: bounded in time, memory and size.

Knows how to ask math-verify safely; knows nothing about spellings (s1_utils.math_text) or where answers come from.
What text and plain numbers decide is decided here. The rest goes to children, `python -m s1_utils.math_grader`, which
speak JSON lines and work each pair out in a fork of its own, killed when its time is over: no pair sees another, so
that results don't depend on order, and it works from threads and in notebooks. Only a time-out depends on the machine.
Source: s1 section 4.1 (deviation: the original shows gold to gpt-4o-mini and asks which answers are equivalent).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1_utils import math_text, math_value
from s1_utils.errors import StudyError
from s1_utils.progress import track

if TYPE_CHECKING:
    import pandas as pd

MEMORY = 2**30  # bytes of address space of a child
STARTING = 120.0  # seconds a child may take to import, on a busy machine

Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right (None: can't be decided here, ask a judge) and how that was found.

    `how`: same text, same number (these two also where it differs), another value, math-verify, timeout, too long, too
    large (to be worked out in the memory allowed), unparsable (also: prose, or another unit than gold's), no gold, no
    answer.
    """

    correct: bool | None
    how: str


def grade_expressions(pairs: Sequence[Pair], *, workers: int = 2, seconds_each: float = 3.0) -> list[Grade]:
    """The grade of each (extracted answer, gold), in order; a null is any value that is no text.

    A pair that occurs twice is worked out once. `seconds_each`: wall time of what needs algebra. Nothing here raises
    because of what is in a pair. Raises StudyError where children can't run.
    """
    cleaned = [tuple(side if isinstance(side, str) else None for side in pair) for pair in pairs]
    grades = {pair: decide_cheaply(*pair) for pair in dict.fromkeys(cleaned)}
    hard = [pair for pair, grade in grades.items() if grade is None]
    if hard:
        grades |= _work_out(hard, min(workers, len(hard)), seconds_each)
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
    """The grade of what text, plain numbers and lists of them decide; None for what needs algebra."""
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
    """Wrong, if both are formulas with other values; a percentage may be meant in two ways."""
    differs = "%" not in (said.unit, right.unit) and math_value.is_another_value(said.text, right.text)
    return Grade(False, "another value") if differs else None


# ------------------------------------------------------------------ the parent's side


def _work_out(pairs: Sequence[Pair], workers: int, seconds: float) -> dict[Pair, Grade]:
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(_run_child(seconds)))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        def ask(pair: Pair) -> Grade:
            child = idle.get()
            try:
                return _ask_child(child, pair, seconds)
            finally:
                idle.put(child)

        futures = [pool.submit(ask, pair) for pair in pairs]
        return {pair: futures[i].result() for i, pair in track(list(enumerate(pairs)), "Grading mathematics")}


@contextlib.contextmanager
def _run_child(seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A child that grades, with none of our secrets in its environment; killed on leaving."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    child = subprocess.Popen(
        [sys.executable, "-m", "s1_utils.math_grader", str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        cwd=Path(__file__).resolve().parent.parent,
        env=kept | {"PYTHONHASHSEED": "0"},
        start_new_session=True,  # ^C is for the parent, which ends the child
    )
    try:
        yield child
    finally:
        child.kill()
        with contextlib.suppress(BrokenPipeError):
            child.communicate()


def _ask_child(child: subprocess.Popen[str], pair: Pair, seconds: float) -> Grade:
    """Raises StudyError when the child is gone or silent: it kills its own forks in time, that is no pair's doing."""
    try:
        child.stdin.write(json.dumps([side.text for side in _spell(*pair)]) + "\n")
        child.stdin.flush()
        correct, how = json.loads(child.stdout.readline() if _wait_for(child.stdout, STARTING + seconds) else "")
    except (OSError, ValueError) as error:
        raise StudyError(
            "A child that grades mathematics died or fell silent: see that math-verify is installed and that there is "
            "1 GiB of free memory, then run again."
        ) from error
    return Grade(correct, how)


def _wait_for(file: Any, seconds: float) -> bool:
    """Whether `file` (or a descriptor) has something to read, or ended, within `seconds`."""
    poll = select.poll()  # select.select fails where many files are open
    poll.register(file, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


# ------------------------------------------------------------------ the child's side


def _serve(seconds: float) -> None:
    """Answer each line of stdin, a pair, with a line [correct, how] on stdout, until stdin is closed."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no reply
    for answer, gold in _REHEARSAL:  # what is imported and cached here, forks inherit
        _ask_math_verify(answer, gold)
    gc.freeze()  # a collection in a fork would copy all of its memory
    for line in sys.stdin:
        replies.write(json.dumps(_grade_in_fork(*json.loads(line), seconds)) + "\n")
        replies.flush()


def _grade_in_fork(answer: str, gold: str, seconds: float) -> list[Any]:
    """[correct, how], from a fork that is killed after `seconds`."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _limit(seconds)
            os.write(writer, json.dumps(_ask_math_verify(answer, gold)).encode())
        finally:
            os._exit(0)  # nothing of the parent's is flushed or closed twice
    os.close(writer)
    try:
        ready = _wait_for(reader, seconds)
        reply = os.read(reader, 1000) if ready else b""
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(reader)
    return json.loads(reply) if reply else [False, "too large" if ready else "timeout"]


def _limit(seconds: float) -> None:
    """Bound this process's memory, and its life should its parent be killed before it can kill it."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 60, int(seconds) + 60))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


_REHEARSAL = [  # different pairs, as equal ones are found to be equal before anything is simplified or solved
    (r"\frac{\pi}{6}", r"\sqrt{2}"),
    ("x^2+1", r"(x-1)(x+\sqrt{3})"),
    (r"\cot x+\log 3", r"\frac{\sin x}{2^x}"),
    (r"\begin{pmatrix}1/2\\x\end{pmatrix}", r"\begin{pmatrix}1/3\\\pi\end{pmatrix}"),
    (r"\{1\pm\sqrt{2}\}", "2,3"),
    (r"(-\infty,2)\cup[3,\infty)", r"(1,\frac{\pi}{2}]"),
    ("y=2x+3", "3x-y=2"),
    (r"2\le x<5", "(3,7)"),
    ("3+4i", "2-i"),
    ("n!", "2^{n-1}"),
    ("0.25", r"\pi"),
]


def _ask_math_verify(answer: str, gold: str) -> list[Any]:
    """[correct, how] by math-verify, without its time-outs, which need the main thread."""
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    spelling = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
    settings = [LatexExtractionConfig(normalization_config=spelling, boxed_match_priority=-1)]
    try:
        right, said = (
            parse(f"${text}$", settings, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
            for text in (gold, answer)
        )
        if not right or not said:
            return [False if right else None, "unparsable"]
        same = verify(right, said, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
        return [same, "math-verify"]
    except (MemoryError, RecursionError):
        return [False, "too large"]
    except Exception:
        return [None, "unparsable"]


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
