"""From tables of generations and grades to tidy curves with intervals.

Knows the columns of the study's tables and the statistics of `scaling` and `paired`; knows no plots and no engines.
Every curve is a plain table: one row a point, accuracy as a share with its 95 % paired-bootstrap interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from s1_utils import paired, scaling
from s1_utils.puzzles import read_options

KEYS = ["model", "control", "budget", "waits"]
ASKED = ["budget", "cut", "soft", "tokens", "tokens, cut", "rejection", "harness", "readme"]  # controls of a length


def join_grades(generations: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
    """Generations with their grade; what has no extracted answer, or is undecided, counts as wrong.

    `undecided` says which those are: rules could not compare them, a judge or a reader might (`sensitivity`).
    """
    keys = ["model", "question_id", "sample", "setting"]
    joined = generations.merge(grades[[*keys, "extracted", "vote", "correct"]], on=keys, validate="one_to_one")
    undecided = joined["correct"].isna().astype(bool)
    return joined.assign(correct=joined["correct"].fillna(False).astype(bool), undecided=undecided)


def summarise_settings(graded: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """One row a model and setting: mean thinking tokens, accuracy, low, high, n.

    The same resampled questions are used for every row, so that differences between rows are paired.
    """
    rows = []
    order = sorted(graded["question_id"].unique())
    weights = scaling.resample(len(order), resamples, seed)
    for key, group in graded.groupby(KEYS, sort=False):
        by_question = group.groupby("question_id")[["correct", "thinking_tokens"]].mean().reindex(order)
        interval = scaling.bootstrap_mean(by_question["correct"], weights)
        tokens = round(float(by_question["thinking_tokens"].mean()), 3)
        values = [round(v, 6) for v in (interval.value, interval.low, interval.high)]
        rows.append((*key, tokens, *values, len(order)))
    return pd.DataFrame(rows, columns=[*KEYS, "thinking_tokens", "accuracy", "low", "high", "n"])


def compare_settings(
    graded: pd.DataFrame, pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]], *, resamples: int, seed: int
) -> pd.DataFrame:
    """Each pair ((model, setting), (model, setting)) as a difference in accuracy, second minus first, both ways tested.

    Columns: before, after, difference (share) with paired-bootstrap low and high, gained, lost, p (exact McNemar),
    detectable (smallest difference found with power 0.8) and n.
    """
    order = sorted(graded["question_id"].unique())
    weights = scaling.resample(len(order), resamples, seed)
    right = {
        key: group.set_index("question_id")["correct"].reindex(order).tolist()
        for key, group in graded[graded["sample"] == 0].groupby(["model", "setting"])
    }
    rows = []
    for before, after in pairs:
        x, y = right[before], right[after]
        interval = scaling.bootstrap_mean([int(b) - int(a) for a, b in zip(x, y, strict=True)], weights)
        gained, lost, p = paired.compare_paired(x, y)
        detectable = paired.find_detectable_effect(len(order), (gained + lost) / len(order))
        names = (" ".join(before), " ".join(after))
        rows.append((*names, interval.value, interval.low, interval.high, gained, lost, p, detectable, len(order)))
    columns = ["before", "after", "difference", "low", "high", "gained", "lost", "p", "detectable", "n"]
    return pd.DataFrame(rows, columns=columns)


def judge_difference(row: pd.Series) -> str:
    """The verdict on one comparison: higher, lower, equivalent, or underpowered and what could have been detected."""
    difference = scaling.Interval(row["difference"], row["low"], row["high"])
    verdict = paired.judge_difference(difference, detectable=row["detectable"])
    if verdict != "underpowered":
        return verdict
    size = "no difference" if math.isnan(row["detectable"]) else f"{100 * row['detectable']:.0f} points"
    return f"underpowered (could detect {size})"


def measure_curve(curve: pd.DataFrame) -> dict[str, float]:
    """Control, Scaling (points per doubling of thinking tokens) and Performance of the rows of one control."""
    return {
        "control": scaling.measure_control(curve["thinking_tokens"], curve["budget"]),
        "scaling": scaling.measure_scaling(curve["thinking_tokens"], curve["accuracy"]),
        "scaling_raw": scaling.measure_scaling(curve["thinking_tokens"], curve["accuracy"], raw=True),
        "performance": scaling.measure_performance(curve["accuracy"]),
        "runs": len(curve),
    }


def measure_methods(graded: pd.DataFrame, curve: pd.DataFrame) -> pd.DataFrame:
    """One row a model and control: the three measures, and how closely generations land on what was asked for.

    `within`: share of generations within their budget; `off`: their mean distance from it, as a share of it. Both null
    where a budget is no more than a cap.
    """
    asked = graded[(graded["budget"] > 0) & graded["control"].isin(ASKED)]
    off = (asked["thinking_tokens"] - asked["budget"]).abs() / asked["budget"]
    landing = asked.assign(off=off, within=asked["thinking_tokens"] <= asked["budget"])
    landing = landing.groupby(["model", "control"])[["within", "off"]].mean()
    rows = []
    for key, group in curve.groupby(["model", "control"], sort=False):
        near = landing.loc[key] if key in landing.index else {"within": None, "off": None}
        rows.append({"model": key[0], "method": key[1], **measure_curve(group), **dict(near)})
    return pd.DataFrame(rows)


def judge_controls(graded: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """One row a model and control with three lengths or more: its verdict, and the turning point in thinking tokens."""
    order = sorted(graded["question_id"].unique())
    weights = scaling.resample(len(order), resamples, seed)
    rows = []
    for (model, control), group in graded.groupby(["model", "control"], sort=False):
        correct = group.pivot_table(index="setting", columns="question_id", values="correct", sort=False)[order]
        tokens = group.groupby("setting", sort=False)["thinking_tokens"].mean()[correct.index]
        if len(correct) >= 3:
            judged = scaling.judge_curve(tokens, correct.to_numpy(float), weights)
            turn = judged.turning_point
            ends = [judged.rise.value, judged.rise.low, judged.rise.high, judged.fall.value, judged.fall.low]
            rows.append((model, control, judged.verdict, turn.value, turn.low, turn.high, *ends, judged.fall.high))
    names = ["turning_point", "turning_low", "turning_high"]
    names += ["rise", "rise_low", "rise_high", "fall", "fall_low", "fall_high"]
    return pd.DataFrame(rows, columns=["model", "control", "verdict", *names])


def compare_at_equal_tokens(
    graded: pd.DataFrame, first: str, second: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """Each point of the control `second` minus the curve of `first` at as many mean tokens, with paired intervals.

    The curve between two of its points is linear in log2 tokens; points outside it are left out.
    """
    order = sorted(graded["question_id"].unique())
    weights = scaling.resample(len(order), resamples, seed)
    points = {}
    for control in (first, second):
        rows = graded[(graded["control"] == control) & (graded["budget"] > 0)]
        means = rows.groupby(["budget", "waits"])["thinking_tokens"].mean().sort_values()
        right = rows.pivot_table(index=["budget", "waits"], columns="question_id", values="correct")[order]
        points[control] = [(key, math.log2(t), right.loc[key].to_numpy(float)) for key, t in means.items() if t > 0]
    out = []
    for (budget, waits), x, correct in points[second]:
        for (_, low, before), (_, high, after) in pairwise(points[first]):
            if low <= x <= high and high > low:
                share = (x - low) / (high - low)
                interval = scaling.bootstrap_mean(correct - (1 - share) * before - share * after, weights)
                row = (budget, waits, 2**x, float(correct.mean()), interval.value, interval.low, interval.high)
                out.append(row)
                break
    columns = ["budget", "waits", "thinking_tokens", "accuracy", "difference", "low", "high"]
    return pd.DataFrame(out, columns=columns)


def find_chance(questions: pd.DataFrame) -> float:
    """Mean of 1 / number of options; 0 for questions without options."""
    options = [read_options(metadata) for metadata in questions["metadata"]]
    return sum(1 / len(labels) if labels else 0.0 for labels in options) / len(options)
