"""The statistics of test-time scaling: the paper's three measures, verdicts and intervals.

Knows arrays of correctness; knows no models and no plots. Shapes: Q questions, S samples.
Paired tests and their power are in `paired`, votes in `votes`.
Source: s1 section 3.2 for Control, Scaling and Performance (Scaling is published per doubling of thinking tokens).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054  # 97.5 % of the standard normal distribution lie below


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Estimates with their 95 % intervals, arrays of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def resample(n_questions: int, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap weights over questions, [resamples, Q], each row summing to 1; the same for all paired systems."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_questions, np.full(n_questions, 1 / n_questions), size=resamples) / n_questions


def bootstrap_mean(values_Q: Sequence[float], weights_RQ: np.ndarray) -> Interval:
    """The mean over questions with its percentile bootstrap interval; differences of systems are paired this way."""
    values = np.asarray(values_Q, dtype=float)
    low, high = np.percentile(weights_RQ @ values, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def bound_share(successes: np.ndarray | int, n: np.ndarray | int) -> Intervals:
    """Wilson's 95 % score interval of a share, of the broadcast shape of counts `successes` of `n`.

    Its ends are the shares p at which |successes / n - p| = z √(p (1 - p) / n). Source: Wilson 1927. Raises ValueError
    unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    if not np.all((k >= 0) & (k <= n) & (n >= 1)):
        raise ValueError("Counts of successes must lie between 0 and n, and n must be 1 or more.")
    return Intervals(k / n, _bound_below(k, n), 1 - _bound_below(n - k, n))


def _bound_below(k: np.ndarray, n: np.ndarray) -> np.ndarray:
    return (2 * k + Z95**2 - Z95 * np.sqrt(Z95**2 + 4 * k * (n - k) / n)) / (2 * (n + Z95**2))


def measure_control(tokens_A: Sequence[float], limits_A: Sequence[float]) -> float:
    """Control: the share of runs whose mean thinking tokens stay within their budget."""
    return float(np.mean(np.asarray(tokens_A, float) <= np.asarray(limits_A, float)))


def measure_scaling(tokens_A: Sequence[float], accuracy_A: Sequence[float], *, raw: bool = False) -> float:
    """Scaling: mean slope over all pairs of runs, in points of accuracy per doubling of thinking tokens.

    `accuracy_A` as shares; runs without thinking are left out, since log2(0) is not a length. `raw`: the formula as the
    paper prints it, in points per thinking token; its published values are per doubling.
    """
    x = (lambda t: t) if raw else math.log2
    runs = sorted((x(t), 100 * a) for t, a in zip(tokens_A, accuracy_A, strict=True) if t > 0)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(runs) for b in runs[i + 1 :] if b[0] > a[0]]
    return float(np.mean(slopes)) if slopes else math.nan


def measure_performance(accuracy_A: Sequence[float]) -> float:
    """Performance: the best accuracy of any run."""
    return float(max(accuracy_A))


@dataclass(frozen=True)
class Verdict:
    """What a curve over growing lengths does, where it turns (thinking tokens), and the paired differences for it."""

    verdict: str  # scales | falls | flat | underpowered
    turning_point: Interval
    rise: Interval  # best run minus the shortest, shares
    fall: Interval  # longest run minus the best


def judge_curve(
    tokens_A: Sequence[float], correct_AQ: np.ndarray, weights_RQ: np.ndarray, *, flat: float = 0.05
) -> Verdict:
    """Judge runs by growing thinking tokens (A runs, Q questions): the same resampled questions for all.

    `falls` if the longest run lies below the best one with its whole interval; else `scales` if the best lies above the
    shortest; else `flat` if every difference from the shortest is surely smaller than `flat`; else `underpowered`. The
    best run is chosen anew in every resample for the turning point, and once, from all questions, for rise and fall.
    """
    order = np.argsort(tokens_A, kind="stable")
    tokens, correct = np.asarray(tokens_A, float)[order], np.asarray(correct_AQ, float)[order]
    best = int(correct.mean(1).argmax())
    turns = tokens[(weights_RQ @ correct.T).argmax(1)]
    turning = Interval(float(tokens[best]), *(float(x) for x in np.percentile(turns, [2.5, 97.5])))
    rise = bootstrap_mean(correct[best] - correct[0], weights_RQ)
    fall = bootstrap_mean(correct[-1] - correct[best], weights_RQ)
    others = [bootstrap_mean(row - correct[0], weights_RQ) for row in correct[1:]]
    if fall.high < 0:
        verdict = "falls"
    elif rise.low > 0:
        verdict = "scales"
    elif all(-flat < other.low and other.high < flat for other in others):
        verdict = "flat"
    else:
        verdict = "underpowered"
    return Verdict(verdict, turning, rise, fall)
