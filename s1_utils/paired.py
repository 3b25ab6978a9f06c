"""Two systems on the same questions: differences, exact tests, power, and training runs beside questions.

Knows arrays of correctness; knows no models, no tables and no plots. Shapes: Q questions, K systems, R resamples, S and
T training runs of two recipes.
Source: McNemar 1947 for the test, Duffy 1984 for its power, Rao and Wu 1988 and Owen 2007 for runs beside questions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from s1_utils.scaling import Interval, Intervals


def compare_systems(correct_KQ: np.ndarray, weights_RQ: np.ndarray, *, reference: int = 0) -> Intervals:
    """Mean differences [K] of all systems to system `reference`, shares with 95 % paired percentile intervals.

    `weights_RQ` from `scaling.resample`: the same resampled questions for every system. The reference's own is 0.
    """
    values = np.asarray(correct_KQ, float)
    differences_KQ = values - values[reference]
    return Intervals(differences_KQ.mean(1), *np.percentile(weights_RQ @ differences_KQ.T, [2.5, 97.5], axis=0))


def compare_paired(before_Q: Sequence[bool], after_Q: Sequence[bool]) -> tuple[int, int, float]:
    """(wrong → right, right → wrong, exact two-sided p) of two systems on the same questions."""
    pairs = Counter(zip(map(bool, before_Q), map(bool, after_Q), strict=True))
    gained, lost = pairs[False, True], pairs[True, False]
    return gained, lost, float(find_p_value(gained, lost))


def find_p_value(gained: np.ndarray | int, lost: np.ndarray | int) -> np.ndarray:
    """Exact two-sided p of McNemar's test for counts of questions that moved either way, of their broadcast shape."""
    n, least = np.add(gained, lost), np.minimum(gained, lost)
    i = np.arange(np.max(least, initial=0) + 1)
    tail = np.where(i <= least[..., None], _weigh_binomial(i, n[..., None], 0.5), 0).sum(-1)
    return np.minimum(1.0, 2 * tail)


def judge_difference(difference: Interval, *, detectable: float, margin: float = 0.05) -> str:
    """`higher`, `lower`, `equivalent` or `underpowered`; all arguments are shares.

    Equivalent if the whole interval lies within ± margin, and a difference of margin could have been detected: systems
    that never differ on ten questions have an interval of no width, yet show nothing.
    """
    if difference.low > 0 or difference.high < 0:
        return "higher" if difference.low > 0 else "lower"
    is_within = -margin < difference.low and difference.high < margin
    return "equivalent" if is_within and detectable <= margin else "underpowered"


# ------------------------------------------------------------------ power


def find_power(n_questions: int, *, gained: float, lost: float) -> float:
    """P(the exact two-sided McNemar test rejects at 5 %) where questions move either way with these probabilities.

    Unconditional: summed over the number of discordant questions (unless less likely than 1e-18), and over how many of
    those are gained. Raises ValueError unless the shares are ≥ 0 and together ≤ 1.
    """
    discordant = gained + lost
    if min(gained, lost) < 0 or discordant > 1 + 1e-12:
        raise ValueError(f"Shares gained and lost must be ≥ 0 and together ≤ 1, not {gained} and {lost}.")
    if discordant == 0:
        return 0.0
    chance = _weigh_binomial(np.arange(n_questions + 1), np.array(n_questions), min(1.0, discordant))
    n = np.flatnonzero(chance > 1e-18)
    most = _list_critical(n_questions)[n]
    i = np.arange(most.max() + 1)[:, None]
    tails = sum(_weigh_binomial(i, n, side / discordant) for side in (gained, lost))
    return float(min(1.0, np.where(i <= most, tails, 0).sum(0) @ chance[n]))


def find_detectable_effect(
    n_questions: int, discordant: float, *, power: float = 0.8, runs: int = 1, between: float = 0.0
) -> float:
    """The smallest difference in accuracy (share) that the exact McNemar test detects with `power` at 5 %, two-sided.

    `discordant`: share of questions the two systems decide differently; where too small to detect anything, as many as
    needed are discordant, all one way. Bisection on `find_power`, to 1e-6. nan below 6 questions: p is never ≤ 0.05.
    `between`: standard deviation of accuracy (share) between training runs of one recipe, beyond what the questions
    explain (`RunInterval.between`); `runs`: runs of each recipe. Its part (z_0.975 + z_power) between √(2 / runs), the
    normal approximation, is added in quadrature; the questions' part stays that of one run of each, an upper bound.
    """
    if not 0 <= discordant <= 1 or not 0 < power < 1:
        raise ValueError(f"discordant and power are shares, not {discordant} and {power}.")
    if n_questions < 6:
        return math.nan
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        moved = max(discordant, middle)
        found = find_power(n_questions, gained=(moved + middle) / 2, lost=(moved - middle) / 2)
        low, high = (low, middle) if found >= power else (middle, high)
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(power)
    return math.hypot(high, z * between * math.sqrt(2 / runs))


@lru_cache(maxsize=8)
def _list_critical(n_questions: int) -> np.ndarray:
    """For each number n of discordant questions, the largest k with 2 P(Binomial(n, 1/2) ≤ k) ≤ 0.05, else -1.

    In whole numbers: the sum of C(n, 0…k) is twice that of n - 1, less C(n - 1, k); k grows by at most one with n.
    """
    critical, total, k = [], 0, -1
    for n in range(n_questions + 1):
        total = 2 * total - (math.comb(n - 1, k) if k >= 0 else 0)
        more = total + math.comb(n, k + 1)
        if 2 * 20 * more <= 2**n:
            total, k = more, k + 1
        critical.append(k)
    return np.array(critical)


def _weigh_binomial(k: np.ndarray, n: np.ndarray, p: float) -> np.ndarray:
    """P(Binomial(n, p) = k) of the broadcast shape, by logarithms; 0 where k > n."""
    logs = _list_log_factorials(int(np.max(n, initial=0)))
    rest = np.maximum(n - k, 0)
    ways = logs[n] - logs[np.minimum(k, n)] - logs[rest]
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 is 0
        each = np.where(k == 0, 0, k * np.log(p)) + np.where(rest == 0, 0, rest * np.log1p(-p))
    return np.where(k <= n, np.exp(ways + each), 0)


@lru_cache(maxsize=8)
def _list_log_factorials(n: int) -> np.ndarray:
    return np.array([math.lgamma(i + 1) for i in range(n + 1)])


# ------------------------------------------------------------------ training runs


@dataclass(frozen=True)
class RunInterval(Interval):
    """An estimate over questions and training runs.

    `between`: standard deviation of accuracy (share) between runs of one recipe, beyond what chance on these questions
    explains, pooled over recipes; nan if a recipe has one run: its variance is unmeasured, and not in the interval.
    """

    between: float


def bootstrap_runs(values_SQ: np.ndarray, weights_RQ: np.ndarray, *, seed: int) -> RunInterval:
    """The mean over runs and questions with its 95 % interval; of one run, that of `scaling.bootstrap_mean`.

    `values_SQ`: correctness, or differences of runs that belong together (the same seed, or order of data).
    """
    return _bound_runs([np.asarray(values_SQ, float)], weights_RQ, seed)


def compare_recipes(first_SQ: np.ndarray, second_TQ: np.ndarray, *, weights_RQ: np.ndarray, seed: int) -> RunInterval:
    """The second recipe's mean less the first's, over runs that are independent and questions that are the same.

    Each resample draws questions, the same for all runs, and S - 1 of S runs of each recipe (of S, its variance would
    come out too small by (S - 1) / S: Rao and Wu); the two deviations are added. The variance is then that of run means
    / S plus that of question means / Q, in which noise of a run on a question counts twice; drawing runs and questions
    of one resample together would count it three times (Owen). Too narrow where two or three runs differ by far more
    than questions do. Raises ValueError if the questions differ in number.
    """
    first, second = np.asarray(first_SQ, float), np.asarray(second_TQ, float)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"Both recipes need the same questions, not {first.shape[1]} and {second.shape[1]}.")
    return _bound_runs([second, -first], weights_RQ, seed)


def _bound_runs(recipes: Sequence[np.ndarray], weights_RQ: np.ndarray, seed: int) -> RunInterval:
    """The sum of the recipes' means, each [runs, Q]."""
    mean_Q = sum(recipe.mean(0) for recipe in recipes)
    rng = np.random.default_rng([seed, 1])  # another stream than that of the questions, whatever their seed
    drawn_R = weights_RQ @ mean_Q + sum(_resample_runs(recipe, len(weights_RQ), rng) for recipe in recipes)
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return RunInterval(float(mean_Q.mean()), float(low), float(high), _measure_between(recipes))


def _resample_runs(values_SQ: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Deviations [R] of the mean of S - 1 resampled runs from that of all; 0 for a single run."""
    runs_S = values_SQ.mean(1)
    n, drawn = len(runs_S), max(1, len(runs_S) - 1)
    return rng.multinomial(drawn, np.full(n, 1 / n), size=resamples) / drawn @ (runs_S - runs_S.mean())


def _measure_between(recipes: Sequence[np.ndarray]) -> float:
    """Pooled analysis of variance: the variance of run means, less that of a run on a question / Q."""
    if min(len(recipe) for recipe in recipes) < 2:
        return math.nan
    found = 0.0
    for recipe in recipes:
        deviations = recipe.mean(1, keepdims=True) - recipe.mean()
        noise = recipe - recipe.mean(0) - deviations
        n = recipe.shape[1]
        found += (deviations**2).sum() - (noise**2).sum() / max(1, n - 1) / n
    return math.sqrt(max(0.0, found / sum(len(recipe) - 1 for recipe in recipes)))
