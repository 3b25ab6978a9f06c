"""Slopes and changes of length with their 95 % intervals over questions: what the paper publishes without one.

Knows the columns of graded generations; knows no models and no plots. The point estimate of Scaling is that of
`scaling.measure_scaling`: it is linear in the accuracies, so each question has its own part in it, and questions are
resampled, the same for all settings. Mean lengths are taken as known.
Source: s1 section 3.2 (Scaling). Deviations: the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from s1_utils import scaling
from s1_utils.scaling import Interval

KEYS = ["model", "control"]


def bound_scaling(tokens_A: Sequence[float], correct_AQ: np.ndarray, weights_RQ: np.ndarray) -> Interval:
    """Scaling of runs with these mean thinking tokens, in points per doubling, with its interval over questions.

    nan where fewer than two runs differ in length.
    """
    parts = [scaling.measure_scaling(tokens_A, unit) for unit in np.eye(len(tokens_A))]
    if any(math.isnan(part) for part in parts):
        return Interval(math.nan, math.nan, math.nan)
    return scaling.bootstrap_mean(np.array(parts) @ np.asarray(correct_AQ, float), weights_RQ)


def list_slopes(graded: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """One row a model and control with two lengths or more: scaling, low, high (points per doubling), runs, n."""
    order = sorted(graded["question_id"].unique())
    weights_RQ = scaling.resample(len(order), resamples, seed)
    rows = []
    for key, group in graded.groupby(KEYS, sort=False):
        correct, tokens = (pivot_settings(group, name, order) for name in ("correct", "thinking_tokens"))
        found = bound_scaling(
            tokens.to_numpy().mean(1).round(3), correct.to_numpy(float), weights_RQ
        )  # as the curve rounds them
        if not math.isnan(found.value):
            rows.append((*key, found.value, found.low, found.high, len(correct), len(order)))
    return pd.DataFrame(rows, columns=[*KEYS, "scaling", "low", "high", "runs", "n"])


def pivot_settings(graded: pd.DataFrame, column: str, order: Sequence[str]) -> pd.DataFrame:
    """Means over samples, a row a setting in the order they come, a column a question."""
    table = graded.pivot_table(index="setting", columns="question_id", values=column, sort=False)
    return table.loc[graded["setting"].unique(), list(order)].astype(float)


def compare_lengths(
    generations: pd.DataFrame,
    pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]],
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """How many times longer thinking is in the second (model, setting) of each pair than in the first, by question.

    Columns before, after, ratio (geometric mean over questions), low, high, n. No thinking counts as one token.
    """
    order = sorted(generations["question_id"].unique())
    weights_RQ = scaling.resample(len(order), resamples, seed)
    logs = {
        key: np.log2(group.groupby("question_id")["thinking_tokens"].mean().reindex(order).clip(lower=1))
        for key, group in generations.groupby(["model", "setting"])
    }
    rows = []
    for before, after in pairs:
        found = scaling.bootstrap_mean((logs[after] - logs[before]).to_numpy(), weights_RQ)
        ratios = (2**found.value, 2**found.low, 2**found.high)
        rows.append((" ".join(before), " ".join(after), *ratios, len(order)))
    return pd.DataFrame(rows, columns=["before", "after", "ratio", "low", "high", "n"])
