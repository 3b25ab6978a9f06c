"""Which of the eligible questions a model is trained on: Algorithm 1, the released notebook's rule, every ablation.

Knows question ids, domains, lengths, and what was solved; knows nothing about where they come from.
Source: s1 Algorithm 1, section 5.1 (subsets) and data/filter.ipynb. Deviations: seeded; every pick records its step,
domain, rank and reason; a rule that runs dry says so instead of looping.
"""

from __future__ import annotations

import difflib
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pandas as pd

from s1_utils.errors import StudyError
from s1_utils.sources import derive_seed
from s1_utils.store import require_columns

COLUMNS = ["subset", "question_id", "step", "domain", "rank", "reason"]
RULES = ("algorithm_1", "notebook_700_300")
UNIFORM_SHARE = 0.7  # of the notebook's picks draw their domain uniformly: 700 of 1,000


@dataclass(frozen=True)
class Design:
    """What a subset asks of its questions. `length`: long traces first; `outright`: benchmark rows before any draw."""

    quality: bool = False
    difficulty: bool = False
    diversity: bool = False
    length: bool = False
    outright: bool = False


FACTORS = ("quality", "difficulty", "diversity", "length")
DESIGNS = {
    "s1K": Design(quality=True, difficulty=True, diversity=True, length=True, outright=True),
    "random": Design(),
    "diverse": Design(diversity=True),
    "longest": Design(length=True),
    "full": Design(),
}
SUBSETS = tuple(DESIGNS)
CORNERS = (  # with random, diverse and s1K: every combination of the paper's three criteria
    "quality",
    "difficulty",
    "quality+difficulty",
    "quality+diversity",
    "difficulty+diversity",
    "quality+difficulty+diversity",
)


def find_design(name: str) -> Design:
    """The design of a subset: one of the paper's, or factors joined by "+". Raises StudyError for another name."""
    parts = name.split("+")
    if name in DESIGNS:
        return DESIGNS[name]
    if len(set(parts)) == len(parts) and set(parts) <= set(FACTORS):
        return Design(**dict.fromkeys(parts, True))
    near = difflib.get_close_matches(name, [*SUBSETS, *FACTORS, *CORNERS], n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise StudyError(
        f"No subset {name!r}{guess}: choose from {', '.join(SUBSETS)}, or join {', '.join(FACTORS)} with +."
    )


def find_eligible(name: str, features: pd.DataFrame) -> pd.DataFrame:
    """The rows of `features` that the design of `name` allows, by question_id."""
    design = find_design(name)
    allowed = features["quality"].isna() if design.quality else pd.Series(True, index=features.index)
    if design.difficulty:
        allowed &= ~features["solved"].astype(bool)
    return features[allowed].sort_values("question_id").reset_index(drop=True)


def select_subset(
    name: str, features: pd.DataFrame, *, size: int, seed: int, rule: str = "algorithm_1"
) -> pd.DataFrame:
    """The `subsets` table of one subset: what was chosen at which step, its domain, its rank by length, and why.

    `features`: question_id, source, domain, thinking_tokens, solved (bool), quality (reason or null), outright (reason
    or null). "full" takes `size` rows too (the caller says how many). Equal lengths are ranked by question_id. Raises
    StudyError for an unknown subset or rule, missing or null features, and fewer eligible rows than `size`.
    """
    return next(select_seeds(name, features, size=size, seeds=[seed], rule=rule))


def select_subsets(
    features: pd.DataFrame, sizes: Mapping[str, int], *, seed: int, rule: str = "algorithm_1"
) -> pd.DataFrame:
    """The `subsets` table of every subset of `sizes` (name: questions), one after another."""
    tables = [select_subset(name, features, size=size, seed=seed, rule=rule) for name, size in sizes.items()]
    return pd.concat(tables, ignore_index=True)


def select_seeds(
    name: str, features: pd.DataFrame, *, size: int, seeds: Sequence[int], rule: str = "algorithm_1"
) -> Iterator[pd.DataFrame]:
    """`select_subset` for many seeds, one table each; what doesn't depend on the seed is worked out once."""
    design, ground = find_design(name), _prepare(name, features, rule)
    if len(ground.ids) < size:
        raise StudyError(
            f"Subset {name} needs {size} questions but only {len(ground.ids)} are eligible: lower its size, or collect "
            "more."
        )
    for seed in seeds:
        if design.diversity:
            draw = random.Random(f"{seed}/{name}").random
            picks = DRAWS[rule if design.outright else "algorithm_1"](ground, size, draw, design)
        elif design.length:
            picks = [_describe_longest(ground, i, rank) for rank, i in enumerate(ground.by_length[:size])]
        else:
            order = sorted(range(len(ground.ids)), key=lambda i: derive_seed(seed, name, ground.ids[i]))
            picks = [(i, None, "uniform") for i in order[:size]]
        yield _tabulate(name, ground, picks)


# ------------------------------------------------------------------ what is drawn from

Pick = tuple[int, int | None, str]  # row, rank by length among what was left of its domain, reason
Draw = Callable[[], float]  # uniform in [0, 1)


@dataclass(frozen=True)
class Ground:
    """The eligible rows by question_id, as lists: nothing here depends on a seed.

    `pools`: domain → its rows, longest first, without those taken `outright` (a row: its reason) in Algorithm 1.
    `benchmark`: domain → the notebook's weight in its last picks.
    """

    ids: list[str]
    domains: list[str]
    tokens: list[int]
    by_length: list[int]
    pools: dict[str, list[int]]
    outright: dict[int, str]
    benchmark: dict[str, int]


def _prepare(name: str, features: pd.DataFrame, rule: str) -> Ground:
    if rule not in RULES:
        raise StudyError(f"No rule {rule!r} of selection: choose {' or '.join(RULES)}.")
    needed = ["question_id", "domain", "thinking_tokens", "solved", "quality", "outright"]
    require_columns(features, needed, "The table of features")
    missing = {column: int(n) for column, n in features[needed[:4]].isna().sum().items() if n}
    if missing:
        told = ", ".join(f"{column} in {n}" for column, n in missing.items())
        raise StudyError(f"Features are missing ({told} rows): remove such rows first, with filters.drop_incomplete.")
    rows = find_eligible(name, features)
    outright = rows["outright"].dropna().to_dict() if find_design(name).outright else {}
    tokens = rows["thinking_tokens"].to_numpy(dtype=np.int64)
    by_length = np.argsort(-tokens, kind="stable").tolist()
    domains = rows["domain"].tolist()
    pools: dict[str, list[int]] = {domain: [] for domain in sorted(set(domains))}
    for i in by_length:
        if i not in outright or rule == "notebook_700_300":  # the notebook leaves them in: drawing one is a wasted draw
            pools[domains[i]].append(i)
    weights = weigh_benchmarks(rows) if rule == "notebook_700_300" and "source" in rows else {}
    return Ground(rows["question_id"].tolist(), domains, tokens.tolist(), by_length,
                  {domain: pool for domain, pool in pools.items() if pool}, outright, weights)  # fmt: skip


def weigh_benchmarks(rows: pd.DataFrame) -> dict[str, int]:
    """domain → AIME rows + int(GPQA rows · ½ ΣAIME / ΣGPQA), as in the notebook; domains without either left out."""
    aime, gpqa = (
        rows.loc[rows["source"] == source, "domain"].value_counts().to_dict() for source in ("AIME (1983-2021)", "GPQA")
    )
    factor = 0.5 * sum(aime.values()) / sum(gpqa.values()) if gpqa else 0.0
    weights = {domain: aime.get(domain, 0) + int(gpqa.get(domain, 0) * factor) for domain in sorted({*aime, *gpqa})}
    return {domain: weight for domain, weight in weights.items() if weight}


# ------------------------------------------------------------------ the two rules


def draw_algorithm_1(ground: Ground, size: int, draw: Draw, design: Design) -> list[Pick]:
    """s1 Algorithm 1: the rows taken outright, then a domain uniformly among those left, then one of its questions.

    With `design.length` the question of rank r (longest: 0) has weight 2^-r, else all weigh the same. Two draws a pick.
    """
    picks: list[Pick] = _take_outright(ground, size)
    pools = {domain: list(pool) for domain, pool in ground.pools.items()}
    domains = list(pools)
    while len(picks) < size:
        domain = domains[int(draw() * len(domains))]
        picks.append(_draw_question(pools[domain], domain, draw, design))
        if not pools[domain]:
            domains.remove(domain)
    return picks


def draw_notebook_700_300(ground: Ground, size: int, draw: Draw, design: Design) -> list[Pick]:
    """The released notebook: as Algorithm 1 up to 70 % of `size`, then domains as often as AIME and GPQA have them.

    Rows taken outright stay in their domain's pool, so drawing one uses it up and adds nothing. Raises StudyError if
    the benchmarks' domains run dry, or there are none.
    """
    picks = _take_outright(ground, size)
    pools = {domain: list(pool) for domain, pool in ground.pools.items()}
    uniform = list(pools)
    while len(picks) < size:
        if len(picks) < int(UNIFORM_SHARE * size):
            domain = uniform[int(draw() * len(uniform))]
        else:
            left = {domain: weight for domain, weight in ground.benchmark.items() if pools[domain]}
            if not left:
                raise StudyError(
                    f"The rule notebook_700_300 found {len(picks)} of {size} questions: no AIME or GPQA domain has any "
                    "left. Lower the size, add such sources, or choose algorithm_1."
                )
            domain = list(left)[choose(list(left.values()), draw())]
        pick = _draw_question(pools[domain], domain, draw, design)
        if pick[0] not in ground.outright:
            picks.append(pick)
        if not pools[domain] and domain in uniform:
            uniform.remove(domain)
    return picks


DRAWS = {"algorithm_1": draw_algorithm_1, "notebook_700_300": draw_notebook_700_300}
_HALVES = list(accumulate(2.0**-rank for rank in range(60)))  # the weights of ranks, summed up


def _take_outright(ground: Ground, size: int) -> list[Pick]:
    if len(ground.outright) > size:
        raise StudyError(
            f"{len(ground.outright)} questions are included outright, more than the {size} asked for: raise the size, "
            f"or choose {'+'.join(FACTORS)}, which includes none."
        )
    return [(i, None, f"included outright: {reason}") for i, reason in ground.outright.items()]


def _draw_question(pool: list[int], domain: str, draw: Draw, design: Design) -> Pick:
    """Take one question out of a domain's pool."""
    u, n = draw(), len(pool)
    if design.length:
        ranks = min(n, len(_HALVES))
        rank = bisect_right(_HALVES, u * _HALVES[ranks - 1], hi=ranks - 1)
    else:
        rank = int(u * n)
    return pool.pop(rank), rank, f"{domain}: rank {rank} of {n}"


def choose(weights: Sequence[float], u: float) -> int:
    """The index that a uniform number `u` in [0, 1) falls on, with probability proportional to its weight."""
    cumulative = list(accumulate(weights))
    return bisect_right(cumulative, u * cumulative[-1], hi=len(cumulative) - 1)


def _describe_longest(ground: Ground, i: int, rank: int) -> Pick:
    return i, rank, f"thinking of {ground.tokens[i]} tokens"


def _tabulate(name: str, ground: Ground, picks: Sequence[Pick]) -> pd.DataFrame:
    rows = [
        (name, ground.ids[i], step, ground.domains[i], rank, reason) for step, (i, rank, reason) in enumerate(picks)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"rank": "Int64"})
