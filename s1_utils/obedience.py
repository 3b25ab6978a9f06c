"""Whether models think as long as they are asked to: what they used of it, and what it bought.

Knows graded generations of `conditional` and the statistics of `scaling`; knows no models and no plots. A used length
is in the unit that was asked for; announcements of steps are not counted as thinking.
Source: s1 section D, tables 11 and 12. Deviations: intervals over questions, and a slope for "it takes no notice".
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from s1_utils import scaling

KEYS = {"model": "str", "trained": "str", "seed": "int64", "kind": "str", "asked": "int64", "enforced": "bool"}
MEASURES = {"thinking_tokens": "float64", "steps": "float64", "used": "float64", "over": "float64"}
ACCURACY = {"accuracy": "float64", "low": "float64", "high": "float64", "n": "int64"}
FOLLOWED = {"slope": "float64", "low": "float64", "high": "float64", "n": "int64"}


def make_empty() -> pd.DataFrame:
    """Graded generations of nobody."""
    names = [*KEYS, "question_id", "sample", "setting", "steps", "thinking_tokens", "marked_tokens", "correct"]
    return pd.DataFrame(columns=list(dict.fromkeys(names)))


def add_used(graded: pd.DataFrame) -> pd.DataFrame:
    """Graded generations with training seed, thinking tokens without announcements, and the used length."""
    tokens = graded["thinking_tokens"] - graded["marked_tokens"]
    used = graded["steps"].where(graded["kind"] == "steps", tokens)
    return graded.assign(seed=graded["model"].str.rpartition("/")[2], thinking_tokens=tokens, used=used)


def summarise_asks(graded: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """One row a model, kind, length asked for, and whether it was enforced.

    Columns model, trained, seed, kind, asked, enforced, thinking_tokens, steps, used (means), over (share of questions
    that used more than was asked for: 1 - Control), accuracy with its interval low, high (shares), n.
    """
    columns = KEYS | MEASURES | ACCURACY
    if graded.empty:
        return pd.DataFrame(columns=list(columns)).astype(columns)
    order = sorted(graded["question_id"].unique())
    weights_RQ = scaling.resample(len(order), resamples, seed)
    rows = []
    for key, group in add_used(graded).groupby(list(KEYS), sort=False):
        correct = group.set_index("question_id")["correct"].reindex(order).to_numpy(float)
        interval = scaling.bootstrap_mean(correct, weights_RQ)
        means = [float(group[name].mean()) for name in ("thinking_tokens", "steps", "used")]
        over = float((group["used"] > group["asked"]).mean())
        rows.append((*key, *means, over, interval.value, interval.low, interval.high, len(order)))
    return pd.DataFrame(rows, columns=list(columns)).astype(columns).round(6)


def measure_slopes(graded: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """One row a model and kind: how many times the used length doubles when the length asked for does.

    1: it follows in proportion, 0: it takes no notice. `slope`: least squares of log2 used on log2 asked within each
    question, averaged, with a bootstrap interval over questions; of thinking that ended by itself.
    """
    names = ["model", "trained", "seed", "kind"]
    columns = {name: KEYS[name] for name in names} | FOLLOWED
    if graded.empty:
        return pd.DataFrame(columns=list(columns)).astype(columns)
    natural = add_used(graded[~graded["enforced"].astype(bool)])
    rows = []
    for key, group in natural.groupby(names, sort=False):
        used_QA = group.pivot_table(index="question_id", columns="asked", values="used")
        x_A = np.log2(used_QA.columns.to_numpy(float))
        slopes_Q = np.log2(used_QA.clip(lower=1).to_numpy(float)) @ (x_A - x_A.mean()) / ((x_A - x_A.mean()) ** 2).sum()
        found = scaling.bootstrap_mean(slopes_Q, scaling.resample(len(slopes_Q), resamples, seed))
        rows.append((*key, found.value, found.low, found.high, len(slopes_Q)))
    return pd.DataFrame(rows, columns=list(columns)).astype(columns).round(6)


def list_points(conditional: pd.DataFrame) -> pd.DataFrame:
    """The table of `summarise_asks` as two panels of a figure: length used against asked, accuracy against tokens.

    Columns measure (panel), trained, seed, kind, enforced, x, y, low, high (null in the first panel).
    """
    line = ["trained", "seed", "kind", "enforced"]
    names = {"length": ["asked", "used"], "accuracy": ["thinking_tokens", "accuracy", "low", "high"]}
    panels = [
        conditional[line + columns]
        .rename(columns=dict(zip(columns, ("x", "y", "low", "high"), strict=False)))
        .assign(measure=measure)
        for measure, columns in names.items()
    ]
    return pd.concat(panels, ignore_index=True)[["measure", *line, "x", "y", "low", "high"]].round(6)
