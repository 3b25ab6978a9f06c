"""Thinking longer against thinking more often, at equal compute: frontiers, differences, turning points, combinations.

Knows the columns of graded generations with their costs (`decoding_costs`); knows no engines and no plots. Sequential
settings and votes of k samples are points: what each question is worth there, and what it costs in the mean, in
`thinking_tokens` (of all samples), `longest_tokens` (of the longest of k samples: what can't be done side by side),
`flops`, and `seconds` of wall time where that was measured. Costs are taken as known; only questions are resampled.
Sources: s1 figures 4b, 6 and 7. Deviations: all subsets of k samples instead of the first; one model on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from s1_utils import scaling, votes
from s1_utils.errors import StudyError

AXES = ("thinking_tokens", "longest_tokens", "flops", "seconds")
COSTS = ("read_flops", "write_flops", "step_seconds", "row_seconds")  # columns of `decoding_costs.add_costs`
KEYS = ["control", "budget", "waits"]
NAMES = ["method", *KEYS, "k"]

# ------------------------------------------------------------------ points


@dataclass(frozen=True)
class Points:
    """Settings measured on the same questions: `correct_PQ` is the expected correctness of point p on question q.

    `table`, a row a point: method, control, budget, waits, k (samples), and the mean cost of a question on those of
    AXES that are known.
    """

    table: pd.DataFrame
    correct_PQ: np.ndarray
    question_ids: tuple[str, ...]

    def select(self, keep: Sequence[bool] | pd.Series) -> Points:
        """The points where `keep` is true."""
        kept = np.asarray(keep, bool)
        return Points(self.table[kept].reset_index(drop=True), self.correct_PQ[kept], self.question_ids)

    def rename(self, methods: Mapping[str, str]) -> Points:
        """The same points with other names of methods."""
        return replace(self, table=self.table.replace({"method": dict(methods)}))


def list_sequential(costed: pd.DataFrame, methods: Mapping[str, str]) -> Points:
    """A point for every setting of the controls in `methods` (control → name of the method); samples are averaged.

    Raises StudyError unless there are any, and all settings have the same questions.
    """
    order = tuple(sorted(costed["question_id"].unique()))
    known = [name for name in COSTS if name in costed]
    rows, correct = [], []
    for key, group in costed[costed["control"].isin(list(methods))].groupby(KEYS, sort=False):
        means = group.groupby("question_id")[["correct", "thinking_tokens", *known]].mean().reindex(order)
        if means.isna().any(axis=None):
            raise StudyError(f"Setting {key} lacks some of the {len(order)} questions: compare settings that have all.")
        tokens = float(means["thinking_tokens"].mean())
        row = dict(zip(NAMES, (methods[key[0]], *key, 1), strict=True))
        row |= {"thinking_tokens": tokens, "longest_tokens": tokens}
        if "read_flops" in means:
            row["flops"] = float((means["read_flops"] + means["write_flops"]).mean())
        if "step_seconds" in means:
            row["seconds"] = float((means["step_seconds"] + means["row_seconds"]).mean())
        rows.append(row)
        correct.append(means["correct"].to_numpy(float))
    if not rows:
        raise StudyError(f"No generations with control {' or '.join(methods)}: name controls that were run.")
    return Points(pd.DataFrame(rows), np.array(correct), order)


def list_parallel(
    costed: pd.DataFrame, ks: Sequence[int], *, reward: str = "", grid: int = 100, shared: bool = True
) -> Points:
    """Points of k samples of every setting: method `majority` and `pass`; with a reward `weighted` and `best` too.

    `ks`: numbers of samples, up to all. `reward`: the column of rewards; the weighted vote is exact for multiples of
    1 / grid. `shared`: the prompt is read once for all samples of a question, as the engines do. Raises StudyError for
    a k that isn't there, and for settings with other questions.
    """
    found: list[Points] = []
    for key, group in costed.groupby(KEYS, sort=False):
        samples = votes.stack_samples(group, reward=reward)
        n = samples.tokens_QS.shape[1]
        if not ks or not all(1 <= k <= n for k in ks):
            raise StudyError(f"Numbers of samples must lie between 1 and {n}, not {list(ks)}: ask for fewer.")
        at = np.array(ks) - 1
        costs = _cost_samples(group, samples, n, shared).iloc[at].reset_index(drop=True)
        for method, worth_QK in _list_worths(samples, grid).items():
            names = pd.DataFrame([(method, *key, k) for k in ks], columns=NAMES)
            found.append(Points(pd.concat([names, costs], axis=1), worth_QK.T[at], samples.question_ids))
    return join_points(*found)


def _list_worths(samples: votes.Samples, grid: int) -> dict[str, np.ndarray]:
    """method → expected correctness [Q, K]."""
    answers, correct, reward = samples.answer_QS, samples.correct_QS, samples.reward_QS
    worths = {"majority": votes.expect_majorities(answers, correct), "pass": votes.expect_passes(correct)}
    if reward is not None:
        worths["weighted"] = votes.expect_weighted(answers, correct, reward, grid=grid)
        worths["best"] = votes.expect_best(answers, correct, reward)
    return worths


def _cost_samples(group: pd.DataFrame, samples: votes.Samples, n: int, shared: bool) -> pd.DataFrame:
    """Mean costs of a question's k samples, a row for k = 1 … n."""
    k, tokens = np.arange(1, n + 1), samples.tokens_QS
    longest_QK = votes.expect_best(np.zeros_like(tokens), tokens, tokens)
    costs = {"thinking_tokens": k * tokens.mean(), "longest_tokens": longest_QK.mean(0)}
    if "write_flops" in group:
        costs["flops"] = (1 if shared else k) * group["read_flops"].mean() + k * group["write_flops"].mean()
    if "step_seconds" in group:  # samples side by side share each step, which lasts as long as the longest does
        seconds_QS = group.pivot(index="question_id", columns="sample", values="step_seconds").to_numpy(float)
        shared_QK = votes.expect_best(np.zeros_like(tokens), seconds_QS, seconds_QS)
        costs["seconds"] = shared_QK.mean(0) + k * group["row_seconds"].mean()
    return pd.DataFrame(costs)


def join_points(*parts: Points) -> Points:
    """All points in one; an axis that one of them lacks is left out. Raises StudyError for other questions."""
    if len({part.question_ids for part in parts}) != 1:
        raise StudyError("Points belong to different questions: restrict all to the questions that they share.")
    known = [axis for axis in AXES if all(axis in part.table for part in parts)]
    table = pd.concat([part.table[[*NAMES, *known]] for part in parts], ignore_index=True)
    return Points(table, np.concatenate([part.correct_PQ for part in parts]), parts[0].question_ids)


# ------------------------------------------------------------------ comparisons


def summarise_points(points: Points, weights_RQ: np.ndarray) -> pd.DataFrame:
    """The points' table with accuracy (share), its 95 % interval over questions low and high, and n questions."""
    low, high = np.percentile(weights_RQ @ points.correct_PQ.T, [2.5, 97.5], axis=0)
    found = {"accuracy": points.correct_PQ.mean(1), "low": low, "high": high, "n": len(points.question_ids)}
    return points.table.assign(**found)


def find_frontier(points: Points, weights_RQ: np.ndarray, *, axis: str) -> pd.DataFrame:
    """The best accuracy within every limit of cost, a row a method and a limit at which it gains a setting.

    Columns: method, cost (the limit), accuracy with low and high, the best setting's control, budget, waits and k;
    `optimism`: by how much choosing the best overstates it (share; the mean, over resamples, of what the best one there
    shows above what it is worth on all questions); `agreed`: the share of resamples that choose this setting. The
    setting is chosen anew in every resample, of equal ones the cheapest.
    """
    drawn_RP, mean_P, rows = weights_RQ @ points.correct_PQ.T, points.correct_PQ.mean(1), []
    for method, group in points.table.groupby("method", sort=False):
        ranked = group.sort_values(axis, kind="stable")
        for cost in sorted(set(ranked[axis])):
            within = ranked.index[ranked[axis] <= cost].to_numpy()
            best = within[mean_P[within].argmax()]
            chosen_R = within[drawn_RP[:, within].argmax(1)]
            shown_R = drawn_RP[np.arange(len(drawn_RP)), chosen_R]
            low, high = np.percentile(shown_R, [2.5, 97.5])
            optimism, agreed = (shown_R - mean_P[chosen_R]).mean(), (chosen_R == best).mean()
            setting = points.table.loc[best, [*KEYS, "k"]].tolist()
            rows.append((method, cost, mean_P[best], low, high, *setting, optimism, agreed))
    columns = ["method", "cost", "accuracy", "low", "high", *KEYS, "k", "optimism", "agreed"]
    return pd.DataFrame(rows, columns=columns)


def compare_methods(points: Points, weights_RQ: np.ndarray, first: str, second: str, *, axis: str) -> pd.DataFrame:
    """Accuracy of method `first` less that of `second` at equal cost, with paired 95 % intervals.

    Each method is a curve through its points, linear in log2 of the cost; compared at every point's cost that both
    curves reach, and (`at` = "mean", no cost) in the mean over that range, on the log axis. Columns: at, cost, the two
    methods, difference, low, high; no rows if the ranges are apart. Points that cost nothing have no place there.
    """
    (x, y), (u, v) = _read_curve(points, first, axis), _read_curve(points, second, axis)
    low, high = (max(x[0], u[0]), min(x[-1], u[-1])) if len(x) and len(u) else (1.0, 0.0)
    columns = ["at", "cost", first, second, "difference", "low", "high"]
    if low > high:
        return pd.DataFrame(columns=columns)
    at = np.unique(np.concatenate([x, u]))
    at = at[(at >= low) & (at <= high)]
    first_XQ, second_XQ = _interpolate(at, x) @ y, _interpolate(at, u) @ v
    means = np.ones((1, len(at))) if len(at) == 1 else _weigh_trapezoids(at)
    first_XQ, second_XQ = (np.vstack([values, means @ values]) for values in (first_XQ, second_XQ))
    difference_XQ = first_XQ - second_XQ
    bounds = np.percentile(weights_RQ @ difference_XQ.T, [2.5, 97.5], axis=0)
    values = [first_XQ.mean(1), second_XQ.mean(1), difference_XQ.mean(1), *bounds]
    kinds, costs = ["point"] * len(at) + ["mean"], [*(2**at), math.nan]
    return pd.DataFrame(dict(zip(columns, [kinds, costs, *values], strict=True)))


def _read_curve(points: Points, method: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """(log2 of the costs, ascending; correctness of each, [X, Q]); points of one cost are averaged."""
    costs = points.table[axis].to_numpy(float)
    kept = np.flatnonzero((points.table["method"] == method) & (costs > 0))
    logs, index = np.unique(np.log2(costs[kept]), return_inverse=True)
    return logs, np.array([points.correct_PQ[kept[index == i]].mean(0) for i in range(len(logs))])


def _interpolate(at: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The matrix [at, x] that takes values at x to those at `at`, linearly."""
    return np.stack([np.interp(at, x, one) for one in np.eye(len(x))], axis=1)


def _weigh_trapezoids(x: np.ndarray) -> np.ndarray:
    """Weights [1, x] of a piecewise linear function's mean over its range."""
    gaps = np.diff(x)
    return (np.r_[gaps, 0] + np.r_[0, gaps])[None] / (2 * gaps.sum())


def judge_methods(points: Points, weights_RQ: np.ndarray, *, axis: str) -> pd.DataFrame:
    """One row a method of three points or more: `scaling.judge_curve` over its costs; the turning point is one of them.

    Columns: method, verdict, then turning_point, rise and fall with their low and high.
    """
    rows = []
    for method, group in points.table.groupby("method", sort=False):
        if len(group) >= 3:
            judged = scaling.judge_curve(group[axis].to_numpy(), points.correct_PQ[group.index], weights_RQ)
            ends = {"turning_point": judged.turning_point, "rise": judged.rise, "fall": judged.fall}
            found = {"method": method, "verdict": judged.verdict}
            for name, interval in ends.items():
                found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            rows.append(found)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ tables


def summarise_noise(samples: votes.Samples, ks: Sequence[int]) -> pd.DataFrame:
    """Majority and pass with 95 % intervals for the same questions sampled again: method, k, accuracy, low, high.

    For k below the number of samples; what they cover is in `votes.bound_samples`.
    """
    answers, correct, rows = samples.answer_QS, samples.correct_QS, []
    runs = {"majority": (votes.expect_majorities, answers, correct), "pass": (votes.expect_passes, correct)}
    for method, (expect, *arrays) in runs.items():
        found = votes.bound_samples(expect(*arrays), votes.jackknife_samples(expect, *arrays))
        at = [k - 1 for k in ks if k < answers.shape[1]]
        rows += [(method, i + 1, found.value[i], found.low[i], found.high[i]) for i in at]
    return pd.DataFrame(rows, columns=["method", "k", "accuracy", "low", "high"])


def summarise_rejection(samples: votes.Samples, limits: Sequence[int], weights_RQ: np.ndarray) -> pd.DataFrame:
    """Sampling until a thinking fits a limit (s1 figure 6): what is kept then, exactly, from the samples there are.

    A kept sample is any of those of at most `limit` thinking tokens, equally often. Columns: limit (ascending),
    thinking_tokens (kept), tries (samples a kept one takes), reached (share of questions with a sample that fits);
    accuracy, low, high: a question that isn't reached counts as wrong; same, same_low, same_high: of those n_same
    questions only that the first limit to reach half of them reaches, so that the curve can't fall or rise by a change
    of questions. Null where nothing is reached, and `same` below that limit.
    """
    limits, S = sorted(limits), samples.tokens_QS.shape[1]
    fits_LQS = samples.tokens_QS <= np.array(limits)[:, None, None]
    count_LQ = fits_LQS.sum(2)
    correct_LQ = (fits_LQS * samples.correct_QS).sum(2) / np.maximum(1, count_LQ)
    tokens_LQ = (fits_LQS * samples.tokens_QS).sum(2) / np.maximum(1, count_LQ)
    reached_LQ = count_LQ > 0
    first = next((i for i, reached in enumerate(reached_LQ) if reached.mean() >= 0.5), len(limits))
    same_Q = reached_LQ[first] if first < len(limits) else np.zeros(len(samples.question_ids), bool)
    rows = []
    for i, limit in enumerate(limits):
        reached, correct = reached_LQ[i], correct_LQ[i]
        kept = (tokens_LQ[i, reached].mean(), (S / count_LQ[i, reached]).mean()) if reached.any() else (math.nan,) * 2
        every = scaling.bootstrap_mean(correct, weights_RQ)
        same = _bound_part(correct, same_Q, weights_RQ) if i >= first else (math.nan,) * 3
        rows.append((limit, *kept, reached.mean(), every.value, every.low, every.high, *same, int(same_Q.sum())))
    columns = ["limit", "thinking_tokens", "tries", "reached", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "same", "same_low", "same_high", "n_same"])


def _bound_part(values_Q: np.ndarray, part_Q: np.ndarray, weights_RQ: np.ndarray) -> tuple[float, float, float]:
    """The mean over some questions with its interval: a ratio, as resamples have more or fewer of them."""
    shares_R = weights_RQ @ part_Q
    drawn_R = (weights_RQ @ (values_Q * part_Q))[shares_R > 0] / shares_R[shares_R > 0]
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return float(values_Q[part_Q].mean()), float(low), float(high)


def list_combination(points: Points, weights_RQ: np.ndarray, *, axis: str = "thinking_tokens") -> pd.DataFrame:
    """The table of a heat map: majority of k at every budget, a row a cell.

    Columns: those of `summarise_points`, and `best`: all cells that cost as much or less on `axis` are worse.
    """
    cells = summarise_points(points.select(points.table["method"] == "majority"), weights_RQ)
    ranked = cells.sort_values([axis, "accuracy"], ascending=[True, False])
    before = ranked["accuracy"].cummax().shift(fill_value=-1.0)
    return cells.assign(best=(ranked["accuracy"] > before).reindex(cells.index))


def list_frontiers(points: Points, weights_RQ: np.ndarray) -> pd.DataFrame:
    """The table of the figure: for every known axis (`measure`) the points of each method and its frontier.

    Columns: measure, method, kind (point | frontier), cost, accuracy, low, high.
    """
    columns, tables = ["measure", "method", "kind", "cost", "accuracy", "low", "high"], []
    summary = summarise_points(points, weights_RQ)
    for axis in [axis for axis in AXES if axis in points.table]:
        best = find_frontier(points, weights_RQ, axis=axis).assign(measure=axis, kind="frontier")
        tables += [summary.assign(measure=axis, kind="point", cost=summary[axis])[columns], best[columns]]
    return pd.concat(tables, ignore_index=True)
