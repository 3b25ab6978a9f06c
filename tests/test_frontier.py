"""Sequential against parallel at equal compute, against loops, enumeration and curves with known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import frontier, scaling, votes
from s1_utils.errors import StudyError


def make_rows(control, budget, samples, *, seed, n=6, answers=3):
    """Costed generations of n questions; answer 0 is right."""
    rng = np.random.default_rng(seed)
    rows = []
    for q, s in itertools.product(range(n), range(samples)):
        answer, tokens = int(rng.integers(-1, answers)), int(rng.integers(1, 50))
        vote = None if answer < 0 else str(answer)
        costs = (tokens, 10.0 + q, 3.0 * tokens, 0.5 * tokens, 0.1 * tokens, rng.integers(0, 5) / 4)
        rows.append((f"q{q}", s, control, budget, 0, vote, answer == 0, *costs))
    columns = ["question_id", "sample", "control", "budget", "waits", "vote", "correct", "thinking_tokens"]
    return pd.DataFrame(rows, columns=[*columns, "read_flops", "write_flops", "step_seconds", "row_seconds", "reward"])


def make_points(settings, n=40, seed=0):
    """Points from (method, cost, accuracy): questions are right independently."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame([(m, m, i, 0, 1, cost) for i, (m, cost, _) in enumerate(settings)])
    table.columns = [*frontier.NAMES, "thinking_tokens"]
    correct = np.array([rng.permutation(n) < round(accuracy * n) for _, _, accuracy in settings])
    return frontier.Points(table, correct.astype(float), tuple(f"{q:03}" for q in range(n)))


# ------------------------------------------------------------------ points


def test_a_sequential_point_is_the_mean_over_samples_then_questions():
    rows = pd.concat(
        [make_rows("budget", 8, 2, seed=0), make_rows("wait", 9, 2, seed=1), make_rows("cut", 8, 2, seed=2)]
    )
    found = frontier.list_sequential(rows, {"budget": "sequential", "wait": "waited"})
    assert found.table[frontier.NAMES].values.tolist() == [
        ["sequential", "budget", 8, 0, 1],
        ["waited", "wait", 9, 0, 1],
    ]
    for i, control in enumerate(("budget", "wait")):
        group = rows[rows["control"] == control]
        assert found.correct_PQ[i].tolist() == group.groupby("question_id")["correct"].mean().tolist()
        means = group[["thinking_tokens", "thinking_tokens"]].mean().tolist()
        assert found.table.loc[i, ["thinking_tokens", "longest_tokens"]].tolist() == pytest.approx(means)
        seconds = (group["step_seconds"] + group["row_seconds"]).mean()
        assert found.table.loc[i, "seconds"] == pytest.approx(seconds)
        assert found.table.loc[i, "flops"] == pytest.approx((group["read_flops"] + group["write_flops"]).mean())


def test_votes_cost_their_samples_and_a_shared_prompt_once():
    rows = make_rows("natural", 50, 5, seed=3)
    ks = [1, 2, 5]
    found = frontier.list_parallel(rows, ks).table.query("method == 'majority'")
    alone = frontier.list_parallel(rows, ks, shared=False).table.query("method == 'majority'")
    read, write = rows["read_flops"].mean(), rows["write_flops"].mean()
    assert found["k"].tolist() == ks
    assert found["thinking_tokens"].tolist() == pytest.approx([k * rows["thinking_tokens"].mean() for k in ks])
    longest = rows.groupby("question_id")["step_seconds"].max().mean()
    assert found["seconds"].iloc[0] == pytest.approx((rows["step_seconds"] + rows["row_seconds"]).mean())
    assert found["seconds"].iloc[-1] == pytest.approx(longest + 5 * rows["row_seconds"].mean())
    assert found["flops"].tolist() == pytest.approx([read + k * write for k in ks])
    assert alone["flops"].tolist() == pytest.approx([k * (read + write) for k in ks])


def test_the_longest_of_k_samples_is_the_mean_of_all_subsets():
    rows = make_rows("natural", 50, 5, seed=4)
    found = frontier.list_parallel(rows, [3]).table["longest_tokens"].iloc[0]
    subsets = [
        np.mean([max(subset) for subset in itertools.combinations(group["thinking_tokens"], 3)])
        for _, group in rows.groupby("question_id")
    ]
    assert found == pytest.approx(np.mean(subsets))


def test_a_reward_adds_the_weighted_vote_and_the_best():
    rows = make_rows("natural", 50, 4, seed=5)
    found = frontier.list_parallel(rows, [1, 4], reward="reward", grid=4)
    assert found.table["method"].unique().tolist() == ["majority", "pass", "weighted", "best"]
    samples = votes.stack_samples(rows, reward="reward")
    best = votes.expect_best(samples.answer_QS, samples.correct_QS, samples.reward_QS)
    assert np.array_equal(found.correct_PQ[-1], best[:, 3])


@pytest.mark.parametrize("ks", [[], [0], [6], [1, 9]])
def test_more_samples_than_there_are_cannot_vote(ks):
    with pytest.raises(StudyError, match="between 1 and 5"):
        frontier.list_parallel(make_rows("natural", 50, 5, seed=0), ks)


def test_points_of_other_questions_cannot_be_joined_or_listed():
    few, many = make_rows("budget", 8, 1, seed=0, n=5), make_rows("budget", 9, 1, seed=0, n=6)
    with pytest.raises(StudyError, match="different questions"):
        frontier.join_points(*(frontier.list_sequential(rows, {"budget": "s"}) for rows in (few, many)))
    with pytest.raises(StudyError, match=r"lacks some of the 6 questions"):
        frontier.list_sequential(pd.concat([few, many]), {"budget": "s"})
    with pytest.raises(StudyError, match="No generations with control wait or cut"):
        frontier.list_sequential(few, {"wait": "w", "cut": "c"})


def test_an_axis_that_one_side_lacks_is_left_out():
    rows = make_rows("budget", 8, 2, seed=0)
    one = frontier.list_sequential(rows, {"budget": "s"})
    other = frontier.list_parallel(
        rows.drop(columns=["step_seconds", "row_seconds", "write_flops", "read_flops"]), [1, 2]
    )
    assert [axis for axis in frontier.AXES if axis in frontier.join_points(one, other).table] == [
        "thinking_tokens",
        "longest_tokens",
    ]


# ------------------------------------------------------------------ frontier

SETTINGS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.floats(0, 1)), min_size=1, max_size=7)


@given(SETTINGS)
def test_the_frontier_is_that_of_a_loop_over_limits_and_resamples(settings):
    points = make_points(settings, n=12)
    weights = scaling.resample(12, 30, 0)
    found = frontier.find_frontier(points, weights, axis="thinking_tokens")
    rows = []
    for method in dict.fromkeys(m for m, _, _ in settings):
        for limit in sorted({cost for m, cost, _ in settings if m == method}):
            within = [i for i, (m, cost, _) in enumerate(settings) if m == method and cost <= limit]
            shown = [max(weight @ points.correct_PQ[i] for i in within) for weight in weights]
            best = max(points.correct_PQ[i].mean() for i in within)
            rows.append((method, limit, best, *np.percentile(shown, [2.5, 97.5])))
    assert found[["method", "cost"]].values.tolist() == [list(row[:2]) for row in rows]
    assert found[["accuracy", "low", "high"]].to_numpy() == pytest.approx(np.array([row[2:] for row in rows]))


def test_choosing_the_best_of_many_equal_settings_is_known_to_overstate_it():
    lone, many = make_points([("a", 1, 0.5)]), make_points([("a", cost, 0.5) for cost in range(1, 9)])
    weights = scaling.resample(40, 4000, 0)
    one = frontier.find_frontier(lone, weights, axis="thinking_tokens").iloc[-1]
    eight = frontier.find_frontier(many, weights, axis="thinking_tokens").iloc[-1]
    assert one["optimism"] == pytest.approx(0, abs=0.005)
    assert one["agreed"] == 1
    assert eight["optimism"] > 0.05  # a standard error is 0.08; the best of eight lies 1.4 of them above
    assert eight["agreed"] < 0.4


def test_of_equal_settings_the_cheapest_is_chosen():
    points = make_points([("a", 9, 1), ("a", 3, 1), ("a", 5, 1)])
    found = frontier.find_frontier(points, scaling.resample(40, 10, 0), axis="thinking_tokens")
    assert found["budget"].tolist() == [1, 1, 1]
    assert found["agreed"].tolist() == [1, 1, 1]


# ------------------------------------------------------------------ differences


def make_lines(first, second, n=8):
    """Points whose accuracy is exactly linear in log2 of the cost: (costs, start, slope) of each method."""
    rows, correct = [], []
    for method, (costs, start, slope) in {"s": first, "p": second}.items():
        for i, cost in enumerate(costs):
            rows.append((method, method, i, 0, 1, cost))
            level = start + slope * math.log2(cost) if cost else 0.0
            correct.append(level + np.linspace(-0.1, 0.1, n))
    table = pd.DataFrame(rows, columns=[*frontier.NAMES, "flops"])
    return frontier.Points(table, np.array(correct), tuple(map(str, range(n))))


def compare(points, first="s", second="p"):
    weights = scaling.resample(len(points.question_ids), 200, 0)
    return frontier.compare_methods(points, weights, first, second, axis="flops")


def test_parallel_lines_differ_by_as_much_everywhere():
    found = compare(make_lines(([0, 1, 8, 64], 0.3, 0.05), ([2, 16, 256], 0.2, 0.05)))
    assert found["cost"].tolist()[:-1] == pytest.approx([2, 8, 16, 64])
    assert found["at"].tolist() == ["point"] * 4 + ["mean"]
    assert math.isnan(found["cost"].iloc[-1])
    for column in ("difference", "low", "high"):  # each question differs by 0.1: no interval has any width
        assert found[column].tolist() == pytest.approx([0.1] * 5)


def test_the_mean_of_crossing_lines_is_taken_on_the_log_axis():
    found = compare(make_lines(([1, 4, 16], 0.1, 0.1), ([1, 16], 0.3, 0.0)))  # -0.2, 0, 0.2: the mean is 0
    assert found["difference"].tolist() == pytest.approx([-0.2, 0, 0.2, 0], abs=1e-12)
    found = compare(make_lines(([1, 16], 0.1, 0.1), ([1, 2, 16], 0.3, 0.0)))  # the knots don't weigh on it
    assert found["difference"].iloc[-1] == pytest.approx(0, abs=1e-12)


def test_a_difference_turns_around_with_its_methods():
    points = make_lines(([1, 5, 9], 0.1, 0.1), ([2, 16], 0.3, 0.02))
    there, back = compare(points), compare(points, "p", "s")
    assert there["difference"].tolist() == pytest.approx((-back["difference"]).tolist())
    assert there["low"].tolist() == pytest.approx((-back["high"]).tolist())


def test_differences_are_paired_question_by_question():
    rng = np.random.default_rng(0)
    points = make_lines(([4, 8], 0.5, 0.0), ([4, 8], 0.5, 0.0), n=200)
    noise = rng.normal(size=200)  # the same on both sides: hard and easy questions
    noisy = frontier.Points(points.table, points.correct_PQ + noise, points.question_ids)
    assert compare(noisy)["high"].max() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [([1, 2], [4, 8]), ([0], [1, 2]), ([9], [1, 2])])
def test_curves_that_share_no_cost_are_not_compared(first, second):
    assert compare(make_lines((first, 0.1, 0.1), (second, 0.1, 0.1))).empty


def test_curves_that_share_one_cost_are_compared_there():
    found = compare(make_lines(([1, 4], 0.1, 0.1), ([4, 8], 0.2, 0.1)))
    assert found["at"].tolist() == ["point", "mean"]
    assert found["difference"].tolist() == pytest.approx([-0.1, -0.1])


def test_points_of_one_cost_are_averaged():
    found = compare(make_lines(([1, 4, 4], 0.1, 0.0), ([1, 4], 0.1, 0.0)))
    assert found["difference"].tolist() == pytest.approx([0, 0, 0])


def test_turning_points_are_those_of_the_curve_by_its_cost():
    points = make_points([("a", 8, 0.4), ("a", 1, 0.2), ("a", 4, 0.9), ("b", 1, 0.5), ("b", 2, 0.5)], n=200)
    weights = scaling.resample(200, 500, 0)
    (row,) = frontier.judge_methods(points, weights, axis="thinking_tokens").to_dict("records")
    judged = scaling.judge_curve([8, 1, 4], points.correct_PQ[:3], weights)
    assert (row["method"], row["verdict"], row["turning_point"]) == ("a", "falls", 4) == ("a", judged.verdict, 4)
    assert (row["fall_low"], row["fall_high"]) == (judged.fall.low, judged.fall.high)


# ------------------------------------------------------------------ tables


def make_samples(tokens, correct):
    tokens, correct = np.array(tokens), np.array(correct)
    ids = tuple(str(q) for q in range(len(tokens)))
    return votes.Samples(ids, np.zeros_like(tokens), correct, tokens)


def test_rejection_keeps_each_sample_that_fits_equally_often():
    samples = make_samples([[4, 8, 9, 2], [16, 5, 32, 3]], [[1, 0, 1, 0], [0, 1, 1, 1]])
    found = frontier.summarise_rejection(samples, [4, 8, 40], scaling.resample(2, 20, 0))
    assert found["accuracy"].tolist() == pytest.approx([(1 / 2 + 1) / 2, (1 / 3 + 1) / 2, (2 / 4 + 3 / 4) / 2])
    assert found["thinking_tokens"].tolist() == pytest.approx([3, (14 / 3 + 4) / 2, (23 / 4 + 14) / 2])
    assert found["tries"].tolist() == pytest.approx([(2 + 4) / 2, (4 / 3 + 2) / 2, 1])
    assert found["reached"].tolist() == [1, 1, 1]


def test_questions_that_no_sample_reaches_are_wrong_and_the_same_ones_are_followed():
    samples = make_samples([[4, 8], [16, 32], [2, 3]], [[1, 1], [1, 1], [0, 1]])
    found = frontier.summarise_rejection(samples, [32, 1, 8], scaling.resample(3, 50, 0))
    assert found["limit"].tolist() == [1, 8, 32]
    assert found["reached"].tolist() == pytest.approx([0, 2 / 3, 1])
    assert found["accuracy"].tolist() == pytest.approx([0, 0.5, 2.5 / 3])
    assert found["thinking_tokens"].isna().tolist() == [True, False, False]
    assert found["n_same"].tolist() == [2, 2, 2]
    assert found["same"].tolist() == pytest.approx([math.nan, 0.75, 0.75], nan_ok=True)


def test_limits_that_nothing_fits_have_no_same_questions():
    found = frontier.summarise_rejection(make_samples([[4, 8]], [[1, 1]]), [1, 2], scaling.resample(1, 20, 0))
    assert found["n_same"].tolist() == [0, 0]
    assert found[["same", "tries"]].isna().all(axis=None)


def test_inverse_scaling_shows_where_short_samples_are_the_right_ones():
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 100, (200, 16))
    samples = make_samples(tokens, rng.random((200, 16)) < 0.9 - tokens / 200)
    found = frontier.summarise_rejection(samples, [25, 50, 100], scaling.resample(200, 500, 0))
    assert found["same"].is_monotonic_decreasing
    assert found["same_low"].iloc[0] > found["same_high"].iloc[-1]


def test_noise_is_told_for_fewer_samples_than_there_are():
    samples = votes.stack_samples(make_rows("natural", 50, 5, seed=6))
    found = frontier.summarise_noise(samples, [1, 2, 5])
    assert found[["method", "k"]].values.tolist() == [["majority", 1], ["majority", 2], ["pass", 1], ["pass", 2]]
    majority = votes.expect_majorities(samples.answer_QS, samples.correct_QS).mean(0)
    assert found["accuracy"].tolist()[:2] == pytest.approx(majority[:2].tolist())
    assert (found["low"] <= found["accuracy"]).all()
    assert (found["accuracy"] <= found["high"]).all()


def test_a_cell_is_best_if_all_that_are_as_cheap_are_worse():
    rows = pd.concat([make_rows("cut", budget, 4, seed=budget) for budget in (8, 16, 32)])
    points = frontier.list_parallel(rows, [1, 2, 4])
    found = frontier.list_combination(points, scaling.resample(6, 50, 0))
    assert len(found) == 9
    for cell in found.itertuples():
        rivals = found[(found["thinking_tokens"] <= cell.thinking_tokens) & (found.index != cell.Index)]
        beaten = (rivals["accuracy"] >= cell.accuracy).any()
        assert cell.best == (not beaten)


def test_the_figures_table_has_points_and_frontiers_for_every_known_axis():
    rows = make_rows("budget", 8, 2, seed=0)
    points = frontier.join_points(
        frontier.list_sequential(rows, {"budget": "sequential"}), frontier.list_parallel(rows, [1, 2])
    )
    found = frontier.list_frontiers(points, scaling.resample(6, 50, 0))
    assert list(found) == ["measure", "method", "kind", "cost", "accuracy", "low", "high"]
    assert list(dict.fromkeys(found["measure"])) == list(frontier.AXES)
    assert found.groupby(["measure", "kind"]).size().tolist() == [5] * 8
    names = points.rename({"pass": "any"}).table["method"]
    assert sorted(set(names)) == ["any", "majority", "sequential"]
    assert points.select(names == "any").correct_PQ.shape == (2, 6)
