"""Votes and choices among k of n samples, against every subset, whole numbers and every outcome of sampling."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils import vote_counts, votes
from s1_utils.errors import StudyError
from s1_utils.scaling import Z95

GOLD = "g"
VOTES = st.dictionaries(st.sampled_from(["g", "a", "b", None]), st.integers(1, 4), min_size=1).filter(
    lambda votes: sum(votes.values()) <= 9
)
# answer (-1: none; 0 is the right one), reward in quarters
ROWS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 4)), min_size=1, max_size=8)


def spread(rows):
    """(answers, correct, rewards), each [1, S]."""
    answers = np.array([[answer for answer, _ in rows]])
    return answers, answers == 0, np.array([[reward / 4 for _, reward in rows]])


def enumerate_subsets(rows, worth):
    """Oracle: the mean worth of every subset of k rows, for k = 1 … n."""
    means = []
    for k in range(1, len(rows) + 1):
        found = [worth(subset) for subset in itertools.combinations(rows, k)]
        means.append(float(Fraction(sum(found), len(found))))
    return means


def vote(subset, weigh=lambda reward: reward):
    """What the winner of a vote is worth; a tie is worth a fair share; no answer (-1) never wins."""
    totals = Counter()
    for answer, reward in subset:
        if answer >= 0:
            totals[answer] += weigh(reward)
    winners = [answer for answer, total in totals.items() if total == max(totals.values())]
    return Fraction(int(0 in winners), max(1, len(winners)))


def choose(subset):
    """What the answered row of highest reward is worth; a tie is worth the mean of those tied."""
    rewards = [reward for answer, reward in subset if answer >= 0]
    best = [answer == 0 for answer, reward in subset if answer >= 0 and reward == max(rewards)]
    return Fraction(sum(best), max(1, len(best)))


# ------------------------------------------------------------------ one k, in whole numbers


def enumerate_majority(votes, k):
    """Oracle: every subset of k answers; a tie is worth a fair share; no answer (None) never wins."""
    answers = [answer for answer, count in votes.items() for _ in range(count)]
    worth = []
    for subset in itertools.combinations(answers, k):
        counts = Counter(answer for answer in subset if answer is not None)
        winners = [answer for answer, count in counts.items() if count == max(counts.values())]
        worth.append(Fraction(int(GOLD in winners), max(1, len(winners))))
    return sum(worth) / len(worth)


@given(VOTES, st.data())
def test_the_expected_majority_equals_an_enumeration_of_all_subsets(found, data):
    k = data.draw(st.integers(1, sum(found.values())))
    assert votes.expect_majority(found, GOLD, k) == pytest.approx(float(enumerate_majority(found, k)))


@given(VOTES)
def test_the_majority_of_one_is_the_share_of_right_answers(found):
    assert votes.expect_majority(found, GOLD, 1) == pytest.approx(found.get(GOLD, 0) / sum(found.values()))


@pytest.mark.parametrize("k", [0, -1, 6])
def test_a_majority_of_more_answers_than_there_are_is_refused(k):
    with pytest.raises(ValueError, match="between 1 and the 5"):
        votes.expect_majority({"g": 2, "a": 3}, GOLD, k)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_equals_an_enumeration_of_all_subsets(n, data):
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([True] * correct + [False] * (n - correct), k))
    assert votes.expect_pass(correct, n, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


# ------------------------------------------------------------------ every k


@given(ROWS)
def test_every_majority_equals_an_enumeration_of_all_subsets(rows):
    answers, correct, _ = spread(rows)
    oracle = enumerate_subsets(rows, lambda subset: vote(subset, lambda reward: 1))
    assert votes.expect_majorities(answers, correct)[0] == pytest.approx(oracle, abs=1e-12)


@given(ROWS)
def test_every_weighted_vote_equals_an_enumeration_of_all_subsets(rows):
    oracle = enumerate_subsets(rows, vote)
    assert votes.expect_weighted(*spread(rows), grid=4)[0] == pytest.approx(oracle, abs=1e-12)


@given(ROWS)
def test_every_best_by_reward_equals_an_enumeration_of_all_subsets(rows):
    assert votes.expect_best(*spread(rows))[0] == pytest.approx(enumerate_subsets(rows, choose), abs=1e-12)


@given(ROWS)
def test_every_pass_equals_an_enumeration_of_all_subsets(rows):
    oracle = enumerate_subsets(rows, lambda subset: int(any(answer == 0 for answer, _ in subset)))
    assert votes.expect_passes(spread(rows)[1])[0] == pytest.approx(oracle, abs=1e-12)


@settings(max_examples=15)
@given(st.integers(1, 64), st.integers(2, 40), st.integers(0, 2**32 - 1), st.floats(0.3, 2))
def test_every_majority_of_64_is_that_of_whole_numbers_to_nine_digits(n, names, seed, steep):
    rng = np.random.default_rng(seed)
    chance = np.arange(1, names + 1) ** -steep
    answers = rng.choice(names, (1, n), p=chance / chance.sum()) - 1
    counts = {None if answer < 0 else str(answer): int((answers == answer).sum()) for answer in set(answers[0])}
    found = votes.expect_majorities(answers, answers == 0)[0]
    ks = {1, 2, n // 3 + 1, n // 2 + 1, n}
    assert [found[k - 1] for k in ks if k <= n] == pytest.approx(
        [votes.expect_majority(counts, "0", k) for k in ks if k <= n], abs=1e-9
    )


@pytest.mark.parametrize("n", [512, 1000])
def test_a_thousand_samples_of_two_answers_are_counted_to_nine_digits(n):
    answers = (np.arange(n) >= n // 3).astype(int)[None]
    found = votes.expect_majorities(answers, answers == 0)[0]
    for k in (1, 2, 33, n // 2, n):
        ways = [math.comb(n // 3, x) * math.comb(n - n // 3, k - x) for x in range(k + 1)]
        wins = sum(Fraction(way, 1 if 2 * x > k else 2) for x, way in enumerate(ways) if 2 * x >= k)
        assert found[k - 1] == pytest.approx(float(wins / math.comb(n, k)), abs=1e-9)


@given(ROWS)
def test_equal_rewards_make_a_weighted_vote_a_majority_and_the_best_a_random_answer(rows):
    answers, correct, _ = spread(rows)
    same = np.full(answers.shape, 0.25)
    majority = votes.expect_majorities(answers, correct)
    assert votes.expect_weighted(answers, correct, same, grid=4) == pytest.approx(majority, abs=1e-12)
    answered = answers[0] >= 0
    expected = correct[0, answered].mean() if answered.any() else 0
    assert votes.expect_best(answers, correct, same)[0, -1] == pytest.approx(expected)


@given(ROWS, st.permutations(range(4)))
def test_the_order_of_samples_and_the_names_of_answers_do_not_matter(rows, names):
    answers, correct, rewards = spread(rows)
    renamed = np.where(answers < 0, -1, np.take(names, answers))[:, ::-1]
    for expect in (votes.expect_best, lambda *arrays: votes.expect_weighted(*arrays, grid=4)):
        assert expect(renamed, correct[:, ::-1], rewards[:, ::-1]) == pytest.approx(expect(answers, correct, rewards))
    assert votes.expect_majorities(renamed, correct[:, ::-1]) == pytest.approx(
        votes.expect_majorities(answers, correct)
    )


@given(ROWS)
def test_all_samples_at_once_have_the_only_subset_there_is(rows):
    answers, correct, _ = spread(rows)
    assert votes.expect_majorities(answers, correct)[0, -1] == pytest.approx(float(vote([(a, 1) for a, _ in rows])))


def test_questions_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    answers, rewards = rng.integers(-1, 4, (6, 7)), rng.integers(0, 5, (6, 7)) / 4
    for expect in (votes.expect_best, lambda *arrays: votes.expect_weighted(*arrays, grid=4)):
        alone = np.vstack([expect(answers[[q]], answers[[q]] == 0, rewards[[q]]) for q in range(6)])
        assert np.array_equal(expect(answers, answers == 0, rewards), alone)


def test_answers_that_all_tie_share_the_vote():
    answers = np.arange(8)[None]
    found = votes.expect_majorities(answers, answers == 0)[0]
    assert found == pytest.approx(np.full(8, 1 / 8))


def test_samples_without_answers_never_win():
    nothing = np.full((1, 5), -1)
    zeros = np.zeros((1, 5))
    assert not votes.expect_majorities(nothing, zeros).any()
    assert not votes.expect_weighted(nothing, zeros, zeros, grid=1).any()
    assert not votes.expect_best(nothing, np.ones((1, 5)), zeros).any()  # graded right all the same
    assert not votes.estimate_weighted(nothing, zeros, zeros, draws=2, seed=0).value_QK.any()


def test_an_answer_graded_both_ways_is_worth_its_share():
    answers = np.zeros((1, 4), int)
    assert votes.expect_majorities(answers, [[1, 0, 0, 0]])[0] == pytest.approx([0.25] * 4)


def test_weights_of_zero_still_vote_where_nothing_weighs_more():
    answers = np.array([[0, 1]])
    assert votes.expect_weighted(answers, answers == 0, np.zeros((1, 2)), grid=1)[0] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rewards_that_are_not_numbers_are_refused_with_their_place(bad):
    answers, rewards = np.zeros((2, 3), int), np.ones((2, 3))
    rewards[1, 2] = bad
    for expect in (
        votes.expect_best,
        lambda *arrays: votes.expect_weighted(*arrays, grid=1),
        lambda *arrays: votes.estimate_weighted(*arrays, draws=2, seed=0),
    ):
        with pytest.raises(StudyError, match=r"1 of 6 rewards.*question 1, sample 2"):
            expect(answers, answers == 0, rewards)
    answers[1, 2] = -1  # what has no answer needs no reward
    assert np.isfinite(votes.expect_best(answers, answers == 0, rewards)).all()


def test_negative_rewards_and_grids_they_do_not_fit_are_refused():
    answers = np.zeros((1, 2), int)
    with pytest.raises(StudyError, match="can't be negative"):
        votes.expect_weighted(answers, answers == 0, [[1.0, -0.5]], grid=1)
    for grid in (0, 2**62):
        with pytest.raises(StudyError, match="don't fit a grid"):
            votes.expect_weighted(answers, answers == 0, [[1.0, 0.5]], grid=grid)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0), (1, 1001), (4,)])
def test_no_samples_and_too_many_are_refused(shape):
    with pytest.raises(ValueError, match=r"two arrays|1 to 1,000"):
        votes.expect_majorities(np.zeros(shape, int), np.zeros(shape))


# ------------------------------------------------------------------ estimates


def test_too_many_sums_are_refused_and_can_be_estimated():
    rng = np.random.default_rng(0)
    answers, rewards = np.zeros((1, 24), int), rng.random((1, 24))
    answers[0, 20:] = 1
    with pytest.raises(StudyError, match=r"question 0 have too many different sums.*estimate_weighted"):
        votes.expect_weighted(answers, answers == 0, rewards, grid=10**9)
    assert votes.estimate_weighted(answers, answers == 0, rewards, draws=50, seed=0).value_QK[0, -1] == 1


def test_estimates_of_a_weighted_vote_lie_within_their_errors():
    rng = np.random.default_rng(1)
    answers, rewards = rng.integers(-1, 3, (40, 8)), rng.integers(0, 9, (40, 8)) / 8
    exact = votes.expect_weighted(answers, answers == 0, rewards, grid=8)
    found = votes.estimate_weighted(answers, answers == 0, rewards, draws=4000, seed=1)
    noisy = found.error_QK > 0
    z = (found.value_QK - exact)[noisy] / found.error_QK[noisy]
    assert np.abs(found.value_QK - exact).max() < 0.05
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.25)  # some 200 of them, by questions of 7
    assert found.value_QK[~noisy] == pytest.approx(exact[~noisy], abs=0.01)


def test_ties_of_decimal_rewards_are_ties_in_estimates():
    answers = np.array([[0, 0, 0, 1]])  # 0.1 + 0.2 + 0.3 isn't 0.6 in floats, whatever their order
    found = votes.estimate_weighted(answers, answers == 0, [[0.1, 0.2, 0.3, 0.6]], draws=20, seed=0)
    assert found.value_QK[0, -1] == 0.5


def test_estimates_are_those_of_their_seed():
    answers, rewards = np.array([[0, 1, 1, 0, 2]]), np.array([[0.9, 0.2, 0.3, 0.1, 0.7]])
    one, same, other = (
        votes.estimate_weighted(answers, answers == 0, rewards, draws=30, seed=seed).value_QK for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    with pytest.raises(ValueError, match="two draws"):
        votes.estimate_weighted(answers, answers == 0, rewards, draws=1, seed=1)


# ------------------------------------------------------------------ noise of the samples


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_jackknife_is_never_less_than_the_noise_of_all_outcomes(k):
    # every outcome of four samples of three answers with known chances: the true variance, and the mean estimated one
    chances, n = (0.5, 0.3, 0.2), 4
    outcomes = np.array(list(itertools.product(range(3), repeat=n)))
    weights = np.take(chances, outcomes).prod(1)
    values = votes.expect_majorities(outcomes, outcomes == 0)[:, k - 1]
    true = weights @ values**2 - (weights @ values) ** 2
    errors = votes.jackknife_samples(votes.expect_majorities, outcomes, outcomes == 0)
    assert errors.shape == (len(outcomes), n - 1)
    assert true - 1e-12 <= weights @ errors[:, k - 1] ** 2 <= 2.5 * true


def test_the_jackknife_of_the_mean_is_the_standard_error_of_the_textbooks():
    correct = np.array([[1, 0, 0, 1, 1, 0, 1, 1]])
    error = votes.jackknife_samples(votes.expect_passes, correct)[0, 0]
    assert error == pytest.approx(correct.std(ddof=1) / math.sqrt(8))


def test_the_noise_of_one_sample_cannot_be_told():
    with pytest.raises(ValueError, match="one sample"):
        votes.jackknife_samples(votes.expect_passes, np.ones((3, 1)))


def test_the_interval_of_the_same_questions_narrows_with_their_number():
    value, error = np.full((100, 3), 0.5), np.full((100, 2), 0.2)
    found = votes.bound_samples(value, error)
    assert found.high - found.value == pytest.approx([Z95 * 0.02] * 2)
    assert votes.bound_samples(value[:1] * 2, error[:1]).high.tolist() == [1, 1]


# ------------------------------------------------------------------ tables


def make_table(rows):
    columns = ["question_id", "sample", "vote", "correct", "thinking_tokens", "reward"]
    return pd.DataFrame(rows, columns=columns)


def test_a_table_becomes_arrays_in_the_order_of_questions_and_samples():
    rows = [("b", 1, "x", False, 4, 0.5), ("a", 0, "7", True, 1, 0.1), ("b", 0, "x", False, 3, 0.4)]
    found = votes.stack_samples(make_table([*rows, ("a", 1, None, False, 2, 0.2)]), reward="reward")
    assert found.question_ids == ("a", "b")
    assert found.tokens_QS.tolist() == [[1, 2], [3, 4]]
    assert found.correct_QS.tolist() == [[True, False], [False, False]]
    assert found.answer_QS[0, 1] == -1
    assert found.answer_QS[1, 0] == found.answer_QS[1, 1] >= 0
    assert found.reward_QS.tolist() == [[0.1, 0.2], [0.4, 0.5]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", 0, "x", True, 1, 0), ("a", 0, "x", True, 1, 0)], "there twice"),
        ([("a", 0, "x", True, 1, 0), ("a", 1, "x", True, 1, 0), ("b", 0, "x", True, 1, 0)], "1 to 2 samples"),
        ([], "0 to 0 samples"),
    ],
)
def test_tables_that_are_no_rectangle_of_samples_are_refused(rows, message):
    with pytest.raises(StudyError, match=message):
        votes.stack_samples(make_table(rows))


def test_counting_gives_up_on_too_many_sums_only():
    assert vote_counts.draw_unequal(2 ** np.arange(14)).ways.sum() == pytest.approx(1)
    assert vote_counts.draw_unequal(2 ** np.arange(17)) is None
