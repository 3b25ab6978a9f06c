"""Filters and selection at the paper's size, many seeds, resampling for paired differences. A benchmark, not a test.

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
import pandas as pd
from reporting import finish, report, say

from s1_utils import filters, paired, scaling, selection, stability

RESAMPLES, QUESTIONS, SYSTEMS, SEED = 10_000, 500, 5, 0
ROWS, DOMAINS, SIZE, SEEDS = 59_029, 51, 1_000, 100
SHARES = {
    "NuminaMATH": 0.52,
    "MATH": 0.2,
    "OlympicArena": 0.16,
    "GPQA": 0.01,
    "AIME (1983-2021)": 0.015,
    "USACO": 0.095,
}
WORDS = "find all **real** values of $x$ such that the sum, \\frac{1}{2} + 12 is prime and n > 3 lies in a".split()


def measure(repeats: int, task: Callable[[], Any]) -> float:
    """Wall seconds, the best of repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def make_pool(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Rows like the paper's: questions of about 60 words, sources, domains and lengths as uneven as its own."""
    ids = [f"{i:016x}" for i in range(ROWS)]
    rare = np.where(rng.random(ROWS) < 0.04, rng.choice(["[asy]", "p1."], ROWS), "so")
    texts = [f"{first} {' '.join(words)}" for first, words in zip(rare, rng.choice(WORDS, (ROWS, 60)), strict=True)]
    sources = rng.choice(list(SHARES), ROWS, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    right = pd.array(rng.random(ROWS) < 0.54, dtype="boolean")
    right[rng.random(ROWS) < 0.08] = pd.NA
    rows = pd.DataFrame({"question_id": ids, "question": texts, "source": sources, "attempt_correct": right})
    tokens = rng.lognormal(7.9, 0.8, ROWS).astype(int)
    rows = rows.assign(thinking_tokens=tokens, train_tokens=tokens + 700, thinking="…", attempt="…", split="train")
    domains = [f"domain {i}" for i in np.minimum(rng.zipf(1.4, ROWS), DOMAINS)]
    solved = pd.DataFrame({"question_id": ids} | {f"solved_{k}": rng.random(ROWS) < 0.35 for k in ("7B", "32B")})
    return {"rows": rows, "domains": pd.DataFrame({"question_id": ids, "domain": domains}), "solved": solved}


def filter_pool(pool: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(features without gaps, funnel) of rows whose traces are counted already; both policies are applied."""
    rows = pool["rows"]
    quality = {f"quality_{policy}": filters.find_quality(rows, policy) for policy in filters.POLICIES}
    dropped = quality["quality_audited"].mask(rows["attempt_correct"].isna(), filters.NO_VERDICT)
    candidates = rows.assign(**quality, dropped=dropped)
    usable = candidates[filters.find_usable(candidates)]
    features = filters.build_features(usable, pool["domains"], pool["solved"], policy="audited")
    funnel = filters.count_funnel(rows, candidates, features, selected=SIZE)
    return filters.drop_incomplete(features), funnel


def measure_selection(repeats: int) -> None:
    pool = make_pool(np.random.default_rng(SEED))
    sizes = dict.fromkeys(("s1K", "random", "diverse", "longest", *selection.CORNERS), SIZE)
    found: dict[str, Any] = {}

    def select() -> None:
        features, found["funnel"] = filter_pool(pool)
        found["features"] = features
        selection.select_subsets(features, {**sizes, "full": len(features)}, seed=SEED)
        selection.select_subset("s1K", features, size=SIZE, seed=SEED, rule="notebook_700_300")

    seconds = measure(repeats, select)
    steps = ", ".join(f"{row.rows:,} {row.step}" for row in found["funnel"].itertuples())
    name = f"filters of {ROWS:,} rows by both policies, the funnel, {len(sizes) + 1} subsets and the notebook's rule"
    report(name, seconds, "<= 10", unit="s", note=steps)
    for subset in ("s1K", "diverse", "random"):
        drawn = measure(
            1, lambda name=subset: stability.draw_many([name], found["features"], size=SIZE, seeds=range(SEEDS))
        )
        report(f"{SEEDS} selections of {SIZE:,}: {subset}", drawn, "<= 30", unit="s")
    picks = stability.draw_many(["s1K", "diverse", "random"], found["features"], size=SIZE, seeds=range(SEEDS))
    summarised = measure(1, lambda: stability.summarise_stability(picks, found["features"]))
    report(f"stability of 3 subsets over {SEEDS} seeds", summarised, unit="s")


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
    say("filters and selection")
    measure_selection(repeats)
    say("resampling")
    measure_resampling(repeats)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
