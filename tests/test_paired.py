"""Paired differences, tests, power and runs, against enumeration and closed forms."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils import paired, scaling

COUNTS = st.integers(0, 25)
VALUES_5 = [0.0, 1.0, 0.3, -0.7, 0.45]


def list_resamples(n):
    """Oracle: the weights of all n^n resamples of n questions, each as likely as any other."""
    return np.array([np.bincount(drawn, minlength=n) for drawn in itertools.product(range(n), repeat=n)]) / n


# ------------------------------------------------------------------ many systems


def test_sampled_differences_are_distributed_as_all_resamples_are():
    # the greatest distance of 20,000 draws from their distribution exceeds 0.0115 once in 100
    exact = np.sort(list_resamples(5) @ VALUES_5)
    drawn = np.sort(scaling.resample(5, 20_000, 0) @ VALUES_5)
    points = np.unique(exact.round(9)) + 1e-6
    shares = [np.searchsorted(means, points) / len(means) for means in (exact, drawn)]
    assert np.abs(shares[0] - shares[1]).max() < 0.0115


def test_the_interval_of_all_resamples_is_the_one_of_their_sorted_means():
    correct = np.array([[0, 1, 1, 0, 0], [1, 1, 1, 0, 1]])
    found = paired.compare_systems(correct, list_resamples(5))
    means = sorted(np.mean(drawn) for drawn in itertools.product([1, 0, 0, 0, 1], repeat=5))
    places = [0.025 * (len(means) - 1), 0.975 * (len(means) - 1)]
    assert (found.value[1], found.low[1], found.high[1]) == pytest.approx((0.4, *(means[int(i)] for i in places)))


@given(st.integers(2, 40), st.integers(0, 9))
def test_resampled_differences_vary_by_their_variance_over_n(n, seed):
    values = np.random.default_rng(seed).normal(size=n)
    means = scaling.resample(n, 4000, seed) @ values
    assert means.var() == pytest.approx(values.var() / n, rel=0.15)  # 4,000 draws: 2.2 % standard error


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 9), st.data())
def test_every_system_gets_the_interval_it_would_get_alone(k, n, seed, data):
    reference = data.draw(st.integers(0, k - 1))
    correct = np.random.default_rng(seed).random((k, n)) < 0.5
    weights = scaling.resample(n, 200, seed)
    found = paired.compare_systems(correct, weights, reference=reference)
    alone = [scaling.bootstrap_mean(row.astype(float) - correct[reference], weights) for row in correct]
    rows = [(found.value[i], found.low[i], found.high[i]) for i in range(k)]
    assert np.allclose(rows, [(one.value, one.low, one.high) for one in alone])


def test_the_reference_never_differs_from_itself():
    found = paired.compare_systems(np.eye(3), scaling.resample(3, 50, 0), reference=2)
    assert (found.value[2], found.low[2], found.high[2]) == (0, 0, 0)


# ------------------------------------------------------------------ McNemar's test


def sum_two_sided(gained, lost):
    """Oracle: the probability of outcomes no likelier than the one seen, for a fair coin tossed gained + lost times."""
    n = gained + lost
    seen = math.comb(n, gained)
    return float(Fraction(sum(c for i in range(n + 1) if (c := math.comb(n, i)) <= seen), 2**n))


@given(COUNTS, COUNTS, st.integers(0, 5), st.integers(0, 5))
def test_the_paired_p_value_equals_the_exact_binomial_sum(gained, lost, both, neither):
    before = [False] * gained + [True] * lost + [True] * both + [False] * neither
    after = [True] * gained + [False] * lost + [True] * both + [False] * neither
    assert paired.compare_paired(before, after) == (gained, lost, pytest.approx(sum_two_sided(gained, lost)))


def test_a_paired_test_gives_the_p_value_of_the_textbooks():
    # 1 against 9: 2 (C(10,0) + C(10,1)) / 2^10
    assert paired.compare_paired([False] * 9 + [True], [True] * 9 + [False]) == (9, 1, pytest.approx(22 / 1024))


def test_systems_that_never_differ_have_a_p_value_of_one():
    assert paired.compare_paired([True, False], [True, False]) == (0, 0, 1.0)


def test_systems_on_different_numbers_of_questions_cannot_be_compared():
    with pytest.raises(ValueError, match="shorter"):
        paired.compare_paired([True, False], [True])


@given(st.lists(COUNTS, max_size=5), st.lists(COUNTS, max_size=5))
def test_p_values_of_arrays_are_those_of_their_pairs(gained, lost):
    found = paired.find_p_value(np.array(gained, int)[:, None], np.array(lost, int))
    each = [[sum_two_sided(g, l) for l in lost] for g in gained]
    assert found.shape == (len(gained), len(lost))
    assert np.allclose(found, np.reshape(each, found.shape), rtol=1e-9)


def test_a_p_value_of_thousands_of_questions_neither_over_nor_underflows():
    exact = Fraction(2 * sum(math.comb(3000, i) for i in range(1401)), 2**3000)
    assert float(paired.find_p_value(1600, 1400)) == pytest.approx(float(exact), rel=1e-9)


# ------------------------------------------------------------------ power


def enumerate_power(n, gained, lost):
    """Oracle: every one of the 3^n ways that n questions can move."""
    chances = {1: gained, -1: lost, 0: 1 - gained - lost}
    outcomes = itertools.product(chances, repeat=n)
    return sum(
        math.prod(chances[move] for move in moves)
        for moves in outcomes
        if sum_two_sided(moves.count(1), moves.count(-1)) <= 0.05
    )


@pytest.mark.parametrize("n", [5, 6, 9])
@pytest.mark.parametrize(("gained", "lost"), [(0.7, 0.1), (0.9, 0.0), (0.0, 1.0), (0.5, 0.5), (0.25, 0.4), (0.0, 0.0)])
def test_the_power_equals_an_enumeration_of_all_outcomes(n, gained, lost):
    assert paired.find_power(n, gained=gained, lost=lost) == pytest.approx(enumerate_power(n, gained, lost), abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 60), st.floats(0, 1), st.floats(0, 1))
def test_the_power_equals_the_sum_over_all_counts_of_both_ways(n, discordant, share):
    gained, lost = discordant * share, discordant * (1 - share)
    counts = [(g, l) for g in range(n + 1) for l in range(n + 1 - g)]
    rejected = paired.find_p_value(*np.array(counts).T) <= 0.05
    same = max(0.0, 1 - gained - lost)
    ways = [math.comb(n, g) * math.comb(n - g, l) * gained**g * lost**l * same ** (n - g - l) for g, l in counts]
    assert paired.find_power(n, gained=gained, lost=lost) == pytest.approx(float(rejected @ ways), abs=1e-9)


@given(st.integers(0, 400), st.floats(0, 1))
def test_systems_that_do_not_differ_are_told_apart_in_at_most_one_case_of_twenty(n, discordant):
    assert paired.find_power(n, gained=discordant / 2, lost=discordant / 2) <= 0.05


@pytest.mark.parametrize(("gained", "lost"), [(-0.1, 0.2), (0.6, 0.5)])
def test_shares_that_are_none_have_no_power(gained, lost):
    with pytest.raises(ValueError, match="together"):
        paired.find_power(10, gained=gained, lost=lost)


@settings(max_examples=25)
@given(st.integers(6, 400), st.floats(0, 1), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_detectable_effect_is_the_smallest_with_the_power_asked_for(n, discordant, power):
    effect = paired.find_detectable_effect(n, discordant, power=power)
    reached = [
        paired.find_power(n, gained=(max(discordant, e) + e) / 2, lost=(max(discordant, e) - e) / 2)
        for e in (effect, effect - 3e-6)
    ]
    assert reached[1] < power <= reached[0]


@pytest.mark.parametrize(("n", "discordant"), [(320, 1 / 3), (500, 0.2), (1000, 0.1)])
@pytest.mark.parametrize(("power", "z"), [(0.8, 2.801585), (0.9, 3.241516)])
def test_the_detectable_effect_is_near_the_normal_approximation_and_above_it(n, discordant, power, z):
    effect = paired.find_detectable_effect(n, discordant, power=power)
    assert 0 < effect - z * math.sqrt(discordant / n) < 0.015


def test_too_few_discordant_questions_are_raised_to_as_many_as_are_needed():
    # all one way, six or more of n have to move: P(Binomial(100, effect) >= 6) = 0.8
    effect = paired.find_detectable_effect(100, 0.01)
    missed = sum(math.comb(100, i) * effect**i * (1 - effect) ** (100 - i) for i in range(6))
    assert missed == pytest.approx(0.2, abs=1e-4)
    assert effect == paired.find_detectable_effect(100, 0.0)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_on_five_questions_nothing_can_be_detected(n):
    assert math.isnan(paired.find_detectable_effect(n, 0.5))


def test_variance_between_runs_is_added_in_quadrature():
    alone = paired.find_detectable_effect(320, 0.3)
    found = paired.find_detectable_effect(320, 0.3, runs=3, between=0.02)
    assert found == pytest.approx(math.sqrt(alone**2 + (1.959964 + 0.841621) ** 2 * 2 * 0.02**2 / 3))


@pytest.mark.parametrize(("discordant", "power"), [(-0.1, 0.8), (1.1, 0.8), (0.3, 1.0), (0.3, 0.0)])
def test_a_detectable_effect_needs_shares(discordant, power):
    with pytest.raises(ValueError, match="shares"):
        paired.find_detectable_effect(100, discordant, power=power)


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("low", "high", "detectable", "verdict"),
    [
        (0.01, 0.2, 0.3, "higher"),
        (-0.2, -0.01, 0.3, "lower"),
        (0.01, 0.02, 0.01, "higher"),
        (-0.04, 0.04, 0.05, "equivalent"),
        (0.0, 0.04, 0.03, "equivalent"),
        (-0.04, 0.06, 0.03, "underpowered"),
        (-0.05, 0.01, 0.03, "underpowered"),
        (0.0, 0.0, 0.58, "underpowered"),
        (0.0, 0.0, math.nan, "underpowered"),
    ],
)
def test_a_verdict_on_a_difference_is_the_one_its_interval_shows(low, high, detectable, verdict):
    interval = scaling.Interval((low + high) / 2, low, high)
    assert paired.judge_difference(interval, detectable=detectable) == verdict


# ------------------------------------------------------------------ training runs


def make_runs(n_runs, n_questions, *, between, noise, rng, questions=None):
    """[runs, Q]: what questions do to all runs, a run to all questions, and the noise of both."""
    of_runs = rng.normal(0, between, (n_runs, 1))
    of_questions = rng.normal(0, 0.3, n_questions) if questions is None else questions
    return of_questions + of_runs + rng.normal(0, noise, (n_runs, n_questions))


@given(st.integers(1, 30), st.integers(0, 9))
def test_a_single_run_has_the_interval_of_its_questions(n, seed):
    first, second = np.random.default_rng(seed).random((2, 1, n)) < 0.5
    weights = scaling.resample(n, 200, seed)
    found = paired.compare_recipes(first, second, weights_RQ=weights, seed=seed)
    alone = scaling.bootstrap_mean(second[0].astype(float) - first[0], weights)
    assert (found.value, found.low, found.high) == (alone.value, alone.low, alone.high)


@pytest.mark.parametrize(("s", "t"), [(1, 1), (1, 3), (2, 1)])
def test_variance_between_runs_is_unmeasured_if_a_recipe_has_one(s, t):
    weights = scaling.resample(4, 10, 0)
    assert math.isnan(paired.compare_recipes(np.eye(4)[:s], np.eye(4)[:t], weights_RQ=weights, seed=0).between)


def enumerate_runs(recipes):
    """Oracle: every resample of questions with every choice of one run less than there are of each recipe."""
    n = recipes[0].shape[1]
    by_question = sum(recipe.mean(0) for recipe in recipes)
    deviations = [
        [np.mean([recipe[i].mean() for i in chosen]) - recipe.mean() for chosen in choices]
        for recipe in recipes
        for choices in [list(itertools.product(range(len(recipe)), repeat=max(1, len(recipe) - 1)))]
    ]
    questions = [by_question[list(drawn)].mean() for drawn in itertools.product(range(n), repeat=n)]
    return np.sort([sum(parts) for parts in itertools.product(questions, *deviations)])


@pytest.mark.parametrize(("s", "t", "q"), [(2, 1, 3), (2, 2, 3), (3, 2, 2), (1, 3, 3)])
def test_the_interval_of_few_runs_is_that_of_all_resamples(s, t, q):
    # 40,000 draws place a probability of 0.025 to 0.0008
    rng = np.random.default_rng(s + t)
    first, second = rng.random((s, q)), rng.random((t, q))
    found = paired.compare_recipes(first, second, weights_RQ=scaling.resample(q, 40_000, 0), seed=0)
    exact = enumerate_runs([second, -first])
    low, high = (np.quantile(exact, [p - 0.003, p + 0.003], method="inverted_cdf") for p in (0.025, 0.975))
    assert low[0] - 1e-9 <= found.low <= low[1] + 1e-9
    assert high[0] - 1e-9 <= found.high <= high[1] + 1e-9


@given(st.integers(2, 4), st.integers(2, 3), st.integers(2, 3), st.integers(0, 9))
def test_all_resamples_of_runs_vary_by_the_closed_form(s, t, q, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random((s, q)), rng.random((t, q))
    variance = (second.mean(0) - first.mean(0)).var() / q
    variance += first.mean(1).var(ddof=1) / s + second.mean(1).var(ddof=1) / t
    assert enumerate_runs([second, -first]).var() == pytest.approx(variance)


def test_an_interval_over_runs_is_as_wide_as_its_closed_form():
    # variance of run means / S of each recipe, and of the differences of question means / Q; 8 runs are near normal
    rng = np.random.default_rng(0)
    first, second = (make_runs(8, 300, between=b, noise=0.4, rng=rng) for b in (0.05, 0.02))
    found = paired.compare_recipes(first, second, weights_RQ=scaling.resample(300, 20_000, 0), seed=0)
    variance = (second.mean(0) - first.mean(0)).var() / 300
    variance += sum(recipe.mean(1).var(ddof=1) / 8 for recipe in (first, second))
    assert found.high - found.low == pytest.approx(2 * scaling.Z95 * math.sqrt(variance), rel=0.03)


@pytest.mark.parametrize(
    ("s", "between", "noise", "at_least", "at_most"),
    [(2, 0.02, 0.25, 0.93, 0.96), (5, 0.02, 0.25, 0.945, 0.975), (3, 0.03, 0.1, 0.89, 0.93)],
)
def test_intervals_over_runs_contain_no_difference_where_there_is_none(s, between, noise, at_least, at_most):
    # 1,500 studies: 0.6 % standard error. Resampling S of S runs gives 0.92, 0.947, 0.87; questions alone 0.85 and 0.63
    rng, inside = np.random.default_rng(0), 0
    weights = scaling.resample(160, 500, 0)
    for seed in range(1500):
        shared = rng.normal(0, 0.3, 160)
        own = shared + rng.normal(0, 0.1, (2, 160))
        first, second = (make_runs(s, 160, between=between, noise=noise, rng=rng, questions=row) for row in own)
        found = paired.compare_recipes(first, second, weights_RQ=weights, seed=seed)
        inside += found.low <= 0 <= found.high
    assert at_least <= inside / 1500 <= at_most


def test_runs_compared_with_nothing_are_the_mean_of_a_recipe():
    runs = np.random.default_rng(0).random((4, 20))
    weights = scaling.resample(20, 300, 0)
    found = paired.bootstrap_runs(runs, weights, seed=5)
    against_zero = paired.compare_recipes(np.zeros((1, 20)), runs, weights_RQ=weights, seed=5)
    assert (found.value, found.low, found.high) == (against_zero.value, against_zero.low, against_zero.high)


def test_exchanged_recipes_differ_the_other_way():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 40)), rng.random((2, 40))
    weights = scaling.resample(40, 5000, 0)
    one = paired.compare_recipes(first, second, weights_RQ=weights, seed=0)
    other = paired.compare_recipes(second, first, weights_RQ=weights, seed=0)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=0.01)


def test_the_variance_between_runs_is_found_beside_that_of_questions():
    rng = np.random.default_rng(0)
    recipes = [make_runs(200, 50, between=0.05, noise=0.4, rng=rng) for _ in range(2)]
    found = paired.compare_recipes(*recipes, weights_RQ=scaling.resample(50, 10, 0), seed=0)
    assert found.between == pytest.approx(0.05, rel=0.15)  # without the noise taken out it would be 0.076


def test_runs_that_differ_by_less_than_chance_have_no_variance_of_their_own():
    assert paired.bootstrap_runs(np.eye(4), scaling.resample(4, 10, 0), seed=0).between == 0


def test_recipes_on_different_questions_cannot_be_compared():
    with pytest.raises(ValueError, match="not 3 and 1"):
        paired.compare_recipes(np.ones((2, 3)), np.ones((2, 1)), weights_RQ=scaling.resample(3, 5, 0), seed=0)
