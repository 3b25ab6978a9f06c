"""The statistics, against enumeration, exact sums and the numbers of the paper."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import scaling

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


# ------------------------------------------------------------------ intervals


@given(SHARES, st.integers(0, 5))
def test_an_interval_contains_its_mean(values, seed):
    interval = scaling.bootstrap_mean(values, scaling.resample(len(values), 400, seed))
    assert interval.low - 1e-9 <= interval.value <= interval.high + 1e-9
    assert interval.value == pytest.approx(np.mean(values))


@given(st.floats(0, 1), st.integers(1, 30))
def test_values_that_never_vary_give_an_interval_of_no_width(value, n):
    interval = scaling.bootstrap_mean([value] * n, scaling.resample(n, 50, 0))
    assert interval.high - interval.low == pytest.approx(0, abs=1e-12)


def test_an_interval_of_many_coins_is_as_wide_as_the_normal_one():
    # 400 coins: 2 x 1.96 x 0.5 / 20 = 0.098; 4,000 resamples place each end to about 0.003
    interval = scaling.bootstrap_mean([0, 1] * 200, scaling.resample(400, 4000, 0))
    assert interval.high - interval.low == pytest.approx(0.098, abs=0.012)


@given(st.integers(1, 20), st.integers(1, 20))
def test_bootstrap_weights_are_whole_questions_and_sum_to_one(n, resamples):
    weights = scaling.resample(n, resamples, 0)
    assert weights.shape == (resamples, n)
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(weights * n, np.round(weights * n))


def test_systems_are_paired_by_the_same_seed():
    assert np.array_equal(scaling.resample(9, 5, 7), scaling.resample(9, 5, 7))


def test_another_seed_draws_other_resamples():
    assert not np.array_equal(scaling.resample(9, 5, 7), scaling.resample(9, 5, 8))


def check_score(p, successes, n):
    """|share - p| in standard errors of p: 1.96 at both ends of Wilson's interval."""
    return abs(successes / n - p) / math.sqrt(p * (1 - p) / n)


@given(st.integers(1, 2000), st.data())
def test_the_ends_of_a_share_solve_the_score_equation(n, data):
    successes = data.draw(st.integers(0, n))
    found = scaling.bound_share(successes, n)
    ends = [end for end, edge in ((found.low, successes == 0), (found.high, successes == n)) if not edge]
    assert [check_score(end, successes, n) for end in ends] == pytest.approx([scaling.Z95] * len(ends), rel=1e-6)
    assert found.low <= found.value <= found.high


def test_a_share_has_the_interval_of_the_textbooks():
    # Newcombe 1998, table I, Wilson's method: 81/263, 15/148, 0/20, 1/29
    found = scaling.bound_share(np.array([81, 15, 0, 1]), np.array([263, 148, 20, 29]))
    assert found.low.round(4).tolist() == [0.2553, 0.0624, 0.0000, 0.0061]
    assert found.high.round(4).tolist() == [0.3662, 0.1605, 0.1611, 0.1718]


@pytest.mark.parametrize("n", [1, 7, 500])
def test_none_and_all_are_bounded_on_one_side_only(n):
    none, every = scaling.bound_share(0, n), scaling.bound_share(n, n)
    assert (none.low, every.high) == (0, 1)
    assert none.high == 1 - every.low == pytest.approx(scaling.Z95**2 / (n + scaling.Z95**2))


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0), ([1, 9], 5)])
def test_counts_that_are_no_share_are_refused(successes, n):
    with pytest.raises(ValueError, match="between 0 and n"):
        scaling.bound_share(successes, n)


# ------------------------------------------------------------------ the paper's measures

LINES = st.lists(st.integers(1, 2000), min_size=2, max_size=6, unique=True)


@given(LINES, st.floats(-0.1, 0.1), st.floats(0, 1))
def test_scaling_of_an_exact_line_in_log2_tokens_is_its_slope(tokens, slope, start):
    accuracy = [start + slope * math.log2(t) for t in tokens]
    assert scaling.measure_scaling(tokens, accuracy) == pytest.approx(100 * slope, abs=1e-6)


@given(LINES, st.data())
def test_scaling_does_not_depend_on_the_order_of_runs(tokens, data):
    accuracy = data.draw(st.lists(st.floats(0, 1), min_size=len(tokens), max_size=len(tokens)))
    order = data.draw(st.permutations(range(len(tokens))))
    shuffled = scaling.measure_scaling([tokens[i] for i in order], [accuracy[i] for i in order])
    assert shuffled == pytest.approx(scaling.measure_scaling(tokens, accuracy))


def test_runs_without_thinking_have_no_place_on_a_log_axis():
    assert scaling.measure_scaling([0, 8, 16], [0.9, 0.2, 0.3]) == pytest.approx(10)


@pytest.mark.parametrize("tokens", [[8], [0, 8], [8, 8]])
def test_scaling_of_fewer_than_two_lengths_is_undefined(tokens):
    assert math.isnan(scaling.measure_scaling(tokens, [0.5] * len(tokens)))


def test_scaling_of_class_conditional_control_is_the_published_one():
    # s1 Table 3, CCC: 25, from the two runs of the paper (25.3 before rounding)
    assert scaling.measure_scaling([8033, 9651], [0.30, 0.367]) == pytest.approx(25.3, abs=0.05)


def test_scaling_of_budget_forcing_on_math500_is_positive():
    # the points of the paper's Figure 1, left
    assert scaling.measure_scaling([500, 984, 1814, 2868, 3200], [0.64, 0.80, 0.856, 0.906, 0.932]) > 0


def test_scaling_of_budget_forcing_on_aime24_is_the_published_one():
    # s1 Table 3, BF: 15 from five of the seven points of Figure 1; the paper doesn't say which five
    points = [(500, 0), (1000, 0.133), (2000, 0.3), (3933, 0.433), (5300, 0.5), (6657, 0.533), (7320, 0.567)]
    slopes = [scaling.measure_scaling(*zip(*five, strict=True)) for five in itertools.combinations(points, 5)]
    assert "15" in {f"{slope:.0f}" for slope in slopes}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_control_is_the_share_of_runs_within_their_limits(runs):
    tokens, limits = zip(*runs, strict=True)
    expected = sum(used <= limit for used, limit in runs) / len(runs)
    assert scaling.measure_control(tokens, limits) == pytest.approx(expected)


def test_a_run_exactly_at_its_limit_is_controlled():
    assert scaling.measure_control([8, 9], [8, 8]) == 0.5


@given(SHARES)
def test_performance_is_the_best_accuracy_of_any_run(accuracy):
    best = scaling.measure_performance(accuracy)
    assert best in accuracy
    assert all(best >= value for value in accuracy)


def test_raw_scaling_is_per_token():
    assert scaling.measure_scaling([100, 300], [0.2, 0.6], raw=True) == pytest.approx(0.2)


# ------------------------------------------------------------------ verdicts


def judge(accuracies, n, seed=0):
    """The verdict on runs whose questions are right in nested shares: run i is right on the first part of them."""
    correct = [[q < round(a * n) for q in range(n)] for a in accuracies]
    tokens = [2**i for i in range(len(accuracies))]
    return scaling.judge_curve(tokens, np.array(correct), scaling.resample(n, 2000, seed))


@pytest.mark.parametrize(
    ("accuracies", "n", "verdict"),
    [
        ([0.2, 0.4, 0.7], 200, "scales"),
        ([0.2, 0.7, 0.4], 200, "falls"),
        ([0.5, 0.5, 0.505], 400, "flat"),
        ([0.5, 0.6, 0.55], 12, "underpowered"),
        ([0.7, 0.4, 0.2], 200, "falls"),
    ],
)
def test_a_verdict_is_the_one_its_differences_show(accuracies, n, verdict):
    assert judge(accuracies, n).verdict == verdict


def test_the_turning_point_is_the_length_of_the_best_run_whatever_the_order():
    found = judge([0.2, 0.9, 0.4], 200)
    assert (found.turning_point.value, found.turning_point.low, found.turning_point.high) == (2, 2, 2)
    correct = np.array([[q < share for q in range(10)] for share in (9, 2, 4)])
    assert scaling.judge_curve([8, 1, 64], correct, scaling.resample(10, 100, 0)).turning_point.value == 8


def test_a_turning_point_that_the_questions_leave_open_has_a_wide_interval():
    rng = np.random.default_rng(0)
    found = scaling.judge_curve([1, 2, 4, 8], rng.random((4, 40)) < 0.5, scaling.resample(40, 2000, 0))
    assert found.turning_point.low < found.turning_point.high
    assert found.verdict == "underpowered"
