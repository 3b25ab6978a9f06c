"""Which of the eligible questions a model is trained on: Algorithm 1 of the paper and the ablation subsets.

Knows question ids, domains, lengths and what was solved; knows nothing about where they come from.
Source: s1 Algorithm 1, section 5.1 (subsets). Deviations: seeded; every pick records its step and reason.
"""

from __future__ import annotations

import random

import pandas as pd

from s1_utils.errors import StudyError

SUBSETS = ("s1K", "random", "diverse", "longest", "full")
COLUMNS = ["subset", "question_id", "step", "reason"]


def select_subset(name: str, features: pd.DataFrame, *, size: int, seed: int) -> pd.DataFrame:
    """The `subsets` table of one subset: question_id, step at which it was chosen, and why.

    `features`: question_id, domain, thinking_tokens, solved (bool). "full" takes `size` rows too (the caller says
    how many), uniformly. Raises StudyError for an unknown subset or fewer eligible rows than `size`.
    """
    if name not in SUBSETS:
        raise StudyError(f"No subset {name!r}: choose from {', '.join(SUBSETS)}.")
    eligible = features[~features["solved"]] if name == "s1K" else features
    if len(eligible) < size:
        raise StudyError(f"Subset {name} needs {size} questions but only {len(eligible)} are eligible: lower its size.")
    eligible = eligible.sort_values("question_id").reset_index(drop=True)
    rng = random.Random(f"{seed}/{name}")
    if name in ("s1K", "diverse"):
        picks = draw_by_domain(eligible, size, rng, prefer_long=name == "s1K")
    elif name == "longest":
        longest = eligible.sort_values("thinking_tokens", ascending=False, kind="stable").head(size)
        picks = [(row.question_id, f"thinking of {row.thinking_tokens} tokens") for row in longest.itertuples()]
    else:
        picks = [(question_id, "uniform") for question_id in rng.sample(eligible["question_id"].tolist(), size)]
    rows = [(name, question_id, step, reason) for step, (question_id, reason) in enumerate(picks)]
    return pd.DataFrame(rows, columns=COLUMNS)


def draw_by_domain(
    eligible: pd.DataFrame, size: int, rng: random.Random, *, prefer_long: bool
) -> list[tuple[str, str]]:
    """Algorithm 1, part (b): a domain uniformly among those left, then one of its questions.

    With `prefer_long` the question of rank r by thinking length (longest first) has weight 2^-r, else all are equal.
    """
    pools = {
        domain: rows.sort_values("thinking_tokens", ascending=False, kind="stable")["question_id"].tolist()
        for domain, rows in eligible.groupby("domain")
    }
    picks = []
    while len(picks) < size:
        domain = rng.choice(sorted(domain for domain, pool in pools.items() if pool))
        rank = _draw_rank(len(pools[domain]), rng) if prefer_long else rng.randrange(len(pools[domain]))
        picks.append((pools[domain].pop(rank), f"domain {domain}, rank {rank}"))
    return picks


def _draw_rank(n: int, rng: random.Random) -> int:
    """A rank below n, with probability proportional to 2^-rank."""
    weights = [2.0**-rank for rank in range(min(n, 60))]
    return rng.choices(range(len(weights)), weights)[0]
