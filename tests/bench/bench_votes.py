"""Exact votes over all subsets of samples: speed and digits, beside a plain count and an enumeration. Not a test.

    python tests/bench/bench_votes.py [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. Times are wall seconds, the best of repeats; `--quick` times everything once.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from reporting import finish, report, say

from s1_utils import scaling, vote_counts, votes

QUESTIONS, SAMPLES, SEED, RESAMPLES = 500, 64, 0, 10_000
PLAIN, ENUMERATED, WEIGHED, GRID, DRAWS = 4, 20, 20, 20, 1_000


def measure(repeats: int, task: Callable[[], Any]) -> float:
    """Wall seconds, the best of repeats, each from empty caches."""
    seconds = []
    for _ in range(repeats):
        for cached in (vote_counts.find_majority, vote_counts.draw_equal, vote_counts.share_subsets):
            cached.cache_clear()
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def make_samples(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(answers, correct): `usual` has easy and hard questions, wrong answers as uneven as words, 5 % without one;
    `scattered` has 32 answers that are all as likely, the most work there is."""
    shape = (QUESTIONS, SAMPLES)
    if kind == "scattered":
        answers = rng.integers(0, 32, shape)
    else:
        right = rng.random(shape) < rng.beta(0.8, 0.8, (QUESTIONS, 1))
        answers = np.where(right, 0, rng.zipf(1.6, shape).clip(max=60))
        answers = np.where(rng.random(shape) < 0.05, -1, answers)
    return answers, answers == 0


def count_plainly(answer_S: np.ndarray) -> list[float]:
    """Every k of one question in whole numbers, one k after another."""
    counts = Counter(None if answer < 0 else str(answer) for answer in answer_S)
    return [votes.expect_majority(counts, "0", k) for k in range(1, len(answer_S) + 1)]


def enumerate_half(answer_S: np.ndarray) -> float:
    """Majority of half the samples of one question, by every subset."""
    won = total = 0.0
    for subset in itertools.combinations(answer_S.tolist(), len(answer_S) // 2):
        counts = Counter(answer for answer in subset if answer >= 0)
        most = max(counts.values(), default=0)
        won += counts[0] == most > 0 and 1 / sum(count == most for count in counts.values())
        total += 1
    return won / total


def measure_majorities(repeats: int) -> None:
    answers, correct = make_samples(np.random.default_rng(SEED), "usual")
    what = f"maj@k, k = 1 … {SAMPLES}, {QUESTIONS} questions x {SAMPLES} samples"
    ours = measure(repeats, lambda: votes.expect_majorities(answers, correct))
    report(what, ours, "<= 5", unit="s")
    scattered = make_samples(np.random.default_rng(SEED), "scattered")
    report(f"{what}: 32 answers as likely", measure(1, lambda: votes.expect_majorities(*scattered)), "<= 5", unit="s")
    say("the same in whole numbers")
    plain = measure(1, lambda: [count_plainly(row) for row in answers[:PLAIN]]) / PLAIN * QUESTIONS
    note = f"{plain:,.0f} s, from {PLAIN} questions"
    report("whole numbers, one k after another: times as long", plain / ours, ">= 10", note=note)
    found = votes.expect_majorities(answers[:PLAIN], correct[:PLAIN])
    apart = np.abs(found - np.array([count_plainly(row) for row in answers[:PLAIN]])).max()
    report("largest difference to whole numbers", float(apart / 1e-9), "<= 1", unit="1e-9", note=f"{apart:.1e}")
    few = answers[:2, :ENUMERATED]
    seconds = measure(1, lambda: [enumerate_half(row) for row in few]) / len(few)
    one = measure(repeats, lambda: votes.expect_majorities(few, few == 0)) / len(few)
    note = f"{seconds:.2f} s for k = {ENUMERATED // 2} alone; ours has every k"
    report(f"every subset of {ENUMERATED} samples, a question: times as long", seconds / one, ">= 10", note=note)


def measure_others(repeats: int) -> None:
    rng = np.random.default_rng(SEED)
    answers, correct = make_samples(rng, "usual")
    rewards = rng.beta(2, 2, answers.shape)
    every = f"{QUESTIONS} x {SAMPLES}, every k"
    report(f"pass@k of {every}", measure(repeats, lambda: votes.expect_passes(correct)), unit="s")
    report(f"best-of-k of {every}", measure(repeats, lambda: votes.expect_best(answers, correct, rewards)), unit="s")
    few = (answers[:WEIGHED], correct[:WEIGHED], rewards[:WEIGHED])
    seconds = measure(1, lambda: votes.expect_weighted(*few, grid=GRID))
    report(f"weighted vote, grid of {GRID}, {WEIGHED} x {SAMPLES}, every k", seconds, unit="s")
    seconds = measure(1, lambda: votes.estimate_weighted(*few, draws=DRAWS, seed=SEED))
    rounded = np.rint(few[2] * GRID) / GRID
    exact = votes.expect_weighted(*few, grid=GRID)
    found = votes.estimate_weighted(*few[:2], rounded, draws=DRAWS, seed=SEED)
    noisy = found.error_QK > 0
    z = np.abs(found.value_QK - exact)[noisy] / found.error_QK[noisy]
    note = f"{(z < scaling.Z95).mean():.3f} of estimates within 1.96 of their standard errors of the exact value"
    report(f"estimated from {DRAWS:,} orders", seconds, unit="s", note=note)


def measure_intervals(repeats: int) -> None:
    answers, correct = make_samples(np.random.default_rng(SEED), "usual")
    majority = votes.expect_majorities(answers, correct)

    def resample() -> None:
        np.percentile(scaling.resample(QUESTIONS, RESAMPLES, SEED) @ majority, [2.5, 97.5], axis=0)

    report(f"{RESAMPLES:,} resamples of {QUESTIONS} questions, {SAMPLES} k", measure(repeats, resample), unit="s")
    seconds = measure(1, lambda: votes.jackknife_samples(votes.expect_majorities, answers, correct))
    report(f"noise of the samples: {SAMPLES} times maj@k, one sample left out", seconds, unit="s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="time everything once")
    repeats = 1 if parser.parse_args().quick else 5
    say("majorities")
    measure_majorities(repeats)
    say("other choices")
    measure_others(repeats)
    say("intervals")
    measure_intervals(repeats)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
