"""Training recipes compared: each subset's models against s1K's, over questions and training runs.

Knows graded generations whose model is named recipe/seed, and the statistics of `paired`; knows no training, no plots.
Source: s1 table 2 (paired bootstrap over questions, one run a recipe). Deviations: training runs are resampled as well,
and every comparison says what it could have detected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import paired, scaling

THIRD = 1 / 3  # of the questions decided differently by two models: the guess before any is trained

# s1 table 2, AIME24: difference to s1K in points, with its published 95 % interval (paired bootstrap, 30 questions).
PAPER = {
    "random": (-13.3, -26.7, -3.3),
    "diverse": (-23.3, -40.0, -10.0),
    "longest": (-16.7, -36.7, 0.0),
    "full": (3.3, -13.3, 20.0),
}
COLUMNS = {
    **dict.fromkeys(("control", "subset"), "str"), "runs": "int64",
    **dict.fromkeys(("difference", "low", "high", "between", "discordant"), "float64"),
    **dict.fromkeys(("gained", "lost"), "Int64"),
    **dict.fromkeys(("p", "detectable"), "float64"), "n": "int64", "verdict": "str",
}  # fmt: skip


def tabulate_power(
    questions: int, runs: Sequence[int], *, between: Sequence[float] = (0.0, 0.02, 0.04), discordant: float = THIRD
) -> pd.DataFrame:
    """The detectable difference in points: a row for each number of runs of a recipe, a column for each `between`.

    `between`: standard deviation of accuracy (share) between runs of one recipe, shown in points.
    """
    rows = {
        n: {
            f"± {100 * sd:g}": 100 * paired.find_detectable_effect(questions, discordant, runs=n, between=sd)
            for sd in between
        }
        for n in sorted(set(runs))
    }
    return pd.DataFrame(rows).T.rename_axis(index="runs", columns="between runs (points)").round(1)


def compare_recipes(
    graded: pd.DataFrame, recipes: Sequence[str], *, reference: str, resamples: int, seed: int
) -> pd.DataFrame:
    """One row a control and recipe but the `reference`: its accuracy less the reference's, both ways tested; or none.

    Columns control, subset (the recipe), runs, difference, low, high, between (share; null for one run), discordant
    (share of questions decided differently, runs paired in order of seeds), gained, lost and p (exact McNemar; null
    where there are several runs), detectable (share, power 0.8), n, verdict.
    """
    order = sorted(graded["question_id"].unique())
    weights_RQ = scaling.resample(len(order), resamples, seed)
    rows = []
    for control, points in graded.groupby("control", sort=False):
        correct = {recipe: _find_runs(points, recipe, order) for recipe in recipes}
        for recipe in recipes:
            if recipe != reference:
                row = _compare(correct[reference], correct[recipe], weights_RQ, seed)
                rows.append({"control": control, "subset": recipe, **row})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _find_runs(points: pd.DataFrame, recipe: str, order: Sequence[str]) -> np.ndarray:
    """correct [S, Q] of a recipe's runs, in order of their seeds."""
    own = points[points["model"].str.rpartition("/")[0] == recipe]
    table = own.assign(seed=own["model"].str.rpartition("/")[2].astype(int))
    return table.pivot_table(index="seed", columns="question_id", values="correct")[list(order)].to_numpy(float)


def _compare(first_SQ: np.ndarray, second_TQ: np.ndarray, weights_RQ: np.ndarray, seed: int) -> dict[str, Any]:
    found = paired.compare_recipes(first_SQ, second_TQ, weights_RQ=weights_RQ, seed=seed)
    runs = min(len(first_SQ), len(second_TQ))
    changes = second_TQ[:runs] - first_SQ[:runs]
    discordant, between = float(np.abs(changes).mean()), 0.0 if np.isnan(found.between) else found.between
    n = first_SQ.shape[1]
    detectable = paired.find_detectable_effect(n, discordant, runs=runs, between=between)
    gained, lost, p = paired.compare_paired(first_SQ[0] > 0, second_TQ[0] > 0) if runs == 1 else (None, None, np.nan)
    return {
        "runs": runs,
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "between": found.between,
        "discordant": discordant,
        "gained": gained,
        "lost": lost,
        "p": p,
        "detectable": detectable,
        "n": n,
        "verdict": paired.judge_difference(found, detectable=detectable),
    }


def add_paper(differences: pd.DataFrame, control: str) -> pd.DataFrame:
    """The rows of one control that differ in their subset only, with the paper's difference and interval in points."""
    rows = differences[(differences["control"] == control) & ~differences["subset"].str.contains("@")]
    published = pd.DataFrame.from_dict(PAPER, orient="index", columns=["paper", "paper_low", "paper_high"])
    return rows.merge(published, left_on="subset", right_index=True, how="left").reset_index(drop=True)


def list_points(curve: pd.DataFrame, subsets: pd.DataFrame, control: str) -> pd.DataFrame:
    """The points of one control, one a subset and training seed, with subset, seed and examples it was trained on.

    Runs on cut examples are left out: their table is that of lengths.
    """
    rows = curve[(curve["control"] == control) & ~curve["model"].str.contains("@")]
    names = rows["model"].str.rpartition("/")
    rows = rows.assign(subset=names[0], seed=names[2].astype(int))
    examples = subsets.groupby(["subset", "seed"]).size().rename("examples").reset_index()
    return rows.merge(examples, on=["subset", "seed"], how="left")
