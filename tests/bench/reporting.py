"""What the benchmarks print: one JSON object a line to stdout, progress to stderr."""

from __future__ import annotations

import json
import operator
import sys
import time

OPERATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}
BEGUN = time.monotonic()

short: list[str] = []  # names of the lines whose goal fell short


def report(name: str, value: float | None, goal: str | None = None, **more: str) -> None:
    """Print one line; `goal` is a comparison, such as '<= 3'. No value, no verdict."""
    holds = True
    if goal is not None and value is not None:
        sign, bound = goal.split()
        holds = bool(OPERATORS[sign](value, float(bound)))
    if not holds:
        short.append(name)
    value = round(value, 3) if isinstance(value, float) else value
    print(json.dumps({"name": name, "value": value, "goal": goal, "holds": holds, **more}), flush=True)


def say(text: str) -> None:
    """Progress, with wall seconds since the start."""
    print(f"[{time.monotonic() - BEGUN:6.1f} s] {text}", file=sys.stderr, flush=True)


def finish() -> int:
    """Say what fell short; returns the exit code."""
    say(f"short of the goal: {', '.join(short) or 'nothing'}")
    return 1 if short else 0
