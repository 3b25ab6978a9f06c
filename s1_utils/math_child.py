"""The child that grades mathematics: math-verify on many pairs, each of them bounded in time and memory.

Knows math-verify and forks; knows nothing about spellings or what is decided without algebra (s1_utils.math_grader).
A fork costs more than most pairs, so that pairs are worked out in batches of one fork. What a batch doesn't settle soon
and in little memory is worked out again in a fork of its own, and only that counts: no verdict depends on other pairs,
as far as what sympy caches within a batch changes nothing but time. Only a time-out depends on the machine.
Invariants: tests/test_math_child.py.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MEMORY = 2**30  # bytes of address space of a fork
BATCH = 32  # pairs
SOON = 1 / 8  # of the seconds a pair may take
LITTLE = 2**17  # KiB, as Linux counts, by which a batch may grow

Task = tuple[int, tuple[str, str]]  # a pair's number, and (answer, gold)
Reply = list[Any]  # [number, correct, how]


def serve(seconds: float, workers: int) -> None:
    """Write a line [number, correct, how] to stdout for every line of stdin, a pair, in any order."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no reply
    pairs = [tuple(json.loads(line)) for line in sys.stdin]
    rehearse()
    for reply in work_out(pairs, seconds, workers):
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def rehearse() -> None:
    """Import and cache what forks then inherit."""
    for answer, gold in _REHEARSAL:
        ask_math_verify(answer, gold)
    gc.freeze()  # a collection in a fork would copy all of its memory


def is_readable(reader: int, seconds: float) -> bool:
    """Whether the descriptor has something to read, or ended, within `seconds`."""
    poll = select.poll()  # select.select fails where many files are open
    poll.register(reader, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


# ------------------------------------------------------------------ forks


def work_out(pairs: Sequence[tuple[str, str]], seconds: float, workers: int, *, batch: int = BATCH) -> Iterator[Reply]:
    """[number, correct, how] of each (answer, gold) as it is found, by at most `workers` forks at a time.

    `seconds`: wall time of a pair. The process may have no threads, as it forks.
    """
    tasks = list(enumerate(pairs))
    size = max(1, min(batch, -(-len(tasks) // workers)))
    waiting = deque(tasks[start : start + size] for start in range(0, len(tasks), size))
    running: dict[int, _Fork] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                fork = _start(waiting.popleft(), seconds)
                running[fork.reader] = fork
            for fork in _wait(running):
                yield from fork.read()
                if fork.is_over():
                    fork.end()
                    del running[fork.reader]
                    yield from fork.give_up(waiting)
    finally:
        for fork in running.values():
            fork.end()


def _wait(running: dict[int, _Fork]) -> list[_Fork]:
    """The forks that have something to read, ended, or took too long; waits until there is one."""
    poll = select.poll()
    for reader in running:
        poll.register(reader, select.POLLIN)
    left = min(fork.deadline for fork in running.values()) - time.monotonic()
    ready = {reader for reader, _ in poll.poll(1000 * max(0.0, left))}
    return [fork for fork in running.values() if fork.reader in ready or fork.deadline <= time.monotonic()]


@dataclass
class _Fork:
    """A process that works out `left`, in order, in at most `seconds` each."""

    process: int
    reader: int
    left: deque[Task]
    alone: bool
    seconds: float
    deadline: float
    unread: bytes = b""
    ended: bool = False

    def read(self) -> Iterator[Reply]:
        """What it replied, if anything; each reply gives it time for another."""
        if not is_readable(self.reader, 0):
            return
        data = os.read(self.reader, 2**16)
        self.ended = not data
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            number, _ = self.left.popleft()
            self.deadline = time.monotonic() + self.seconds
            yield [number, *json.loads(line)]

    def is_over(self) -> bool:
        return self.ended or not self.left or self.deadline <= time.monotonic()

    def end(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.reader)

    def give_up(self, waiting: deque[list[Task]]) -> Iterator[Reply]:
        """The verdict on the pair it didn't settle, had it no other; else that and the others are to be done again."""
        if self.left and self.alone:
            yield [self.left[0][0], False, "too large" if self.ended else "timeout"]
        elif self.left:
            first, *others = self.left
            waiting.extendleft(tasks for tasks in (others, [first]) if tasks)


def _start(tasks: list[Task], seconds: float) -> _Fork:
    alone = len(tasks) == 1
    each = seconds if alone else SOON * seconds
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _limit(each * len(tasks))
            _answer(tasks, writer, alone)
        finally:
            os._exit(0)  # nothing of the parent's is flushed or closed twice
    os.close(writer)
    return _Fork(process, reader, deque(tasks), alone, each, time.monotonic() + each)


def _answer(tasks: list[Task], writer: int, alone: bool) -> None:
    """Write a line [correct, how] for each pair. Among others it stops where memory may have played a part."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _, (answer, gold) in tasks:
        reply = ask_math_verify(answer, gold)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if not alone and (reply[1] == "too large" or grown > LITTLE):
            return
        os.write(writer, json.dumps(reply).encode() + b"\n")


def _limit(seconds: float) -> None:
    """Bound this process's memory, and its life should its parent be killed before it can kill it."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 60, int(seconds) + 60))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# ------------------------------------------------------------------ math-verify

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


def ask_math_verify(answer: str, gold: str) -> list[Any]:
    """[correct, how] by math-verify, without its time-outs, which need the main thread."""
    import sympy.core.random
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    random.seed(0)  # where an identity is tried at random points, it is at the same ones for every pair
    sympy.core.random.seed(0)
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
