"""Resampling questions for paired differences. A benchmark, not a test.

    python tests/bench/bench_select.py [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. Times are wall seconds, the best of repeats; `--quick` times everything once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from reporting import finish, report, say

from s1_utils import paired, scaling

RESAMPLES, QUESTIONS, SYSTEMS, SEED = 10_000, 500, 5, 0


def measure(repeats: int, task: Callable[[], Any]) -> float:
    """Wall seconds, the best of repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure_resampling(repeats: int) -> None:
    """Differences of all systems to the first with their intervals, drawing the weights included."""
    correct_KQ = np.random.default_rng(SEED).random((SYSTEMS, QUESTIONS)) < 0.5
    drawing = measure(repeats, lambda: scaling.resample(QUESTIONS, RESAMPLES, SEED))
    seconds = measure(repeats, lambda: paired.compare_systems(correct_KQ, scaling.resample(QUESTIONS, RESAMPLES, SEED)))
    name = f"{RESAMPLES} paired resamples of {QUESTIONS} questions and {SYSTEMS} systems"
    report(name, seconds, "<= 2", unit="s", note=f"{drawing:.3f} s of them drawing the weights")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="time everything once")
    repeats = 1 if parser.parse_args().quick else 5
    say("resampling")
    measure_resampling(repeats)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
