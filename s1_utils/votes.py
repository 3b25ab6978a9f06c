"""What k of n samples are worth, for every k at once: pass@k, majority and weighted votes, the best by a reward.

Knows arrays, and how a table of graded samples becomes them; knows no models and no plots. Every expectation is over
all subsets of k of a question's samples, never the first k; ties are split fairly; a sample without an answer never
wins. Shapes: Q questions, S samples, K = S (column i is k = i + 1).
Sources: Chen et al. 2021 (arXiv 2107.03374) for pass@k; Li et al. 2023 (arXiv 2206.02336) for the weighted vote, also
called weighted best-of-k; Efron and Stein 1981 for the jackknife. Counting is in `vote_counts`.
Invariants: tests/test_votes.py (enumeration).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from s1_utils.errors import StudyError
from s1_utils.scaling import Z95, Intervals
from s1_utils.vote_counts import draw_unequal, find_majority, find_wins, share_subsets

MOST_SAMPLES = 1000  # of a question: 2**-1000 is a float
TIE = 1e-12  # totals of floats that differ by less, as a share of the larger, are tied

# ------------------------------------------------------------------ one k, in whole numbers


def expect_majority(votes: Mapping[str | None, int], gold: str, k: int) -> float:
    """P(the majority of k answers is `gold`) over all subsets of k of the n answers; ties are split fairly.

    `votes` counts each distinct answer; None counts samples without one, which never win. Exact, by dynamic
    programming over how many of each answer are drawn. Raises ValueError unless 1 ≤ k ≤ n.
    """
    n = sum(votes.values())
    if not 1 <= k <= n:
        raise ValueError(f"k must lie between 1 and the {n} samples there are, not {k}.")
    others = [count for answer, count in votes.items() if answer not in (gold, None)]
    wins = 0.0
    for mine in range(1, min(k, votes.get(gold, 0)) + 1):
        ways = _count_ways(others, votes.get(None, 0), k - mine, mine)
        wins += math.comb(votes[gold], mine) * sum(count / (1 + ties) for ties, count in ways.items())
    return wins / math.comb(n, k)


def _count_ways(others: Sequence[int], without: int, left: int, most: int) -> dict[int, int]:
    """Ways to draw `left` answers of which none occurs more than `most` times, by how many occur exactly so."""
    ways = {(drawn, 0): math.comb(without, drawn) for drawn in range(min(left, without) + 1)}
    for count in others:
        grown: Counter[tuple[int, int]] = Counter()
        for (drawn, ties), number in ways.items():
            for x in range(min(count, most, left - drawn) + 1):
                grown[drawn + x, ties + (x == most)] += number * math.comb(count, x)
        ways = dict(grown)
    result: Counter[int] = Counter()
    for (drawn, ties), number in ways.items():
        if drawn == left:
            result[ties] += number
    return dict(result)


def expect_pass(correct: int, n: int, k: int) -> float:
    """P(at least one of k answers is right) over all subsets of k of n answers, `correct` of them right."""
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


# ------------------------------------------------------------------ samples


@dataclass(frozen=True)
class Samples:
    """The samples of one model and setting, questions sorted by their id.

    `answer_QS`: the same code for equal answers, -1 for none. `tokens_QS`: thinking tokens. `reward_QS`: None without.
    """

    question_ids: tuple[str, ...]
    answer_QS: np.ndarray
    correct_QS: np.ndarray
    tokens_QS: np.ndarray
    reward_QS: np.ndarray | None = None


def stack_samples(graded: pd.DataFrame, *, reward: str = "") -> Samples:
    """Arrays of a table with question_id, sample, vote (null: no answer), correct, thinking_tokens, `reward`.

    Answers vote together if `vote` is the same text: equal answers are written alike there, without looking at gold.
    Raises StudyError where a sample is there twice, or questions differ in their number of samples.
    """
    rows = graded.sort_values(["question_id", "sample"])
    if rows.duplicated(["question_id", "sample"]).any():
        raise StudyError("A sample of a question is there twice: pass the rows of one model and one setting.")
    counts = rows.groupby("question_id").size()
    if counts.empty or counts.nunique() > 1:
        least, most = (counts.min(), counts.max()) if len(counts) else (0, 0)
        raise StudyError(f"Questions have {least} to {most} samples: keep those that have all of them.")
    shape = (len(counts), int(counts.iloc[0]))
    answers = pd.factorize(rows["vote"])[0].reshape(shape)
    columns = {name: rows[name].to_numpy().reshape(shape) for name in ("correct", "thinking_tokens")}
    rewards = rows[reward].to_numpy(float).reshape(shape) if reward else None
    return Samples(tuple(counts.index), answers, columns["correct"], columns["thinking_tokens"], rewards)


def choose_ks(n: int) -> list[int]:
    """Numbers of samples to show: the powers of two up to n, and n."""
    return sorted({*(2**i for i in range(n.bit_length())), n})


# ------------------------------------------------------------------ every k


def expect_passes(correct_QS: np.ndarray) -> np.ndarray:
    """P(at least one of k samples is right), [Q, K]."""
    correct = np.asarray(correct_QS, bool)
    n = correct.shape[1]
    return 1 - share_subsets(n)[n - correct.sum(1)]


def expect_majorities(answer_QS: np.ndarray, correct_QS: np.ndarray) -> np.ndarray:
    """P(the most frequent of k answers is right), [Q, K]; to 1e-12 of what whole numbers give.

    An answer that was graded both ways is worth the share of its samples that were graded right. Raises ValueError
    for arrays that differ in shape, or more than 1,000 samples.
    """
    answers, corrects = _check(answer_QS, correct_QS)
    wins_QK = np.zeros(answers.shape)
    for wins_K, answer_S, correct_S in zip(wins_QK, answers, corrects, strict=True):
        members, worths = _group(answer_S, correct_S)
        counts = [len(indices) for indices in members]
        for i in np.flatnonzero(worths):
            others = tuple(sorted(counts[:i] + counts[i + 1 :]))
            wins_K += worths[i] * find_majority(counts[i], others, len(answer_S) - sum(counts))
    return wins_QK


def expect_weighted(answer_QS: np.ndarray, correct_QS: np.ndarray, reward_QS: np.ndarray, *, grid: int) -> np.ndarray:
    """P(the answer whose rewards among k samples sum to most is right), [Q, K]: the weighted vote.

    Exact for rewards rounded to multiples of 1 / grid: what a subset weighs is then one of few totals, whose number
    grows with samples x grid. A fine grid (10**9: the rewards as they are) serves where samples are few, since c
    samples of an answer have at most 2**c totals. An answer of weight 0 beats those that weren't drawn. Raises
    StudyError where totals x samples of an answer exceed two millions (use `estimate_weighted`), and for rewards that
    are negative, infinite or not a number.
    """
    answers, corrects = _check(answer_QS, correct_QS)
    rewards = _check_rewards(reward_QS, answers)
    if rewards.min(initial=0) < 0:
        raise StudyError("Rewards that are summed can't be negative: map them to positive ones first, as by a sigmoid.")
    if grid < 1 or rewards.max(initial=0) * grid * answers.shape[1] >= 2**62:
        raise StudyError(f"Rewards up to {rewards.max():g} don't fit a grid of {grid}: lower the grid, from 1 up.")
    weights_QS = np.rint(rewards * grid).astype(np.int64)
    wins_QK = np.zeros(answers.shape)
    for q, wins_K in enumerate(wins_QK):
        members, worths = _group(answers[q], corrects[q])
        blocs = [draw_unequal(weights_QS[q, indices]) for indices in members] if worths.any() else []
        if None in blocs:
            raise StudyError(
                f"Rewards of question {q} have too many different sums to count: choose a grid below {grid}, or "
                "votes.estimate_weighted, which draws subsets and gives a standard error."
            )
        for i in np.flatnonzero(worths):
            without = int((answers[q] < 0).sum())
            wins_K += worths[i] * find_wins(blocs[i], blocs[:i] + blocs[i + 1 :], without)
    return wins_QK


def expect_best(answer_QS: np.ndarray, correct_QS: np.ndarray, reward_QS: np.ndarray) -> np.ndarray:
    """Expected correctness of the answered sample of highest reward among k, [Q, K]: best-of-k.

    Closed form: b samples lie below and m share a reward, so it is the highest in C(b + m, k) - C(b, k) of the subsets,
    and each of the m is chosen equally often. With no answer among the k nothing is right. Raises StudyError for
    rewards that are infinite or not a number.
    """
    answers, corrects = _check(answer_QS, correct_QS)
    is_answered = answers >= 0
    rewards = np.where(is_answered, _check_rewards(reward_QS, answers), -np.inf)
    shares = share_subsets(answers.shape[1])
    best_QK = np.empty(answers.shape)
    for q, reward_S in enumerate(rewards):
        ranked = np.sort(reward_S)
        below, upto = (np.searchsorted(ranked, reward_S, side) for side in ("left", "right"))
        best_QK[q] = (corrects[q] * is_answered[q] / (upto - below)) @ (shares[upto] - shares[below])
    return best_QK


@dataclass(frozen=True)
class Estimate:
    """Estimates [Q, K] and their standard errors; 0 where all draws agreed."""

    value_QK: np.ndarray
    error_QK: np.ndarray


def estimate_weighted(
    answer_QS: np.ndarray, correct_QS: np.ndarray, reward_QS: np.ndarray, *, draws: int, seed: int
) -> Estimate:
    """The weighted vote for rewards as they are, from `draws` random orders of each question's samples.

    The first k of an order are a random subset: unbiased for each k, the same orders for all. For what
    `expect_weighted` refuses as too many sums. Raises ValueError for fewer than two draws, else as it does.
    """
    answers, corrects = _check(answer_QS, correct_QS)
    rewards = _check_rewards(reward_QS, answers)
    if rewards.min(initial=0) < 0:
        raise StudyError("Rewards that are summed can't be negative: map them to positive ones first, as by a sigmoid.")
    if draws < 2:
        raise ValueError(f"A standard error needs two draws or more, not {draws}.")
    value_QK, error_QK = np.zeros(answers.shape), np.zeros(answers.shape)
    for q in range(len(answers)):
        members, worths = _group(answers[q], corrects[q])
        if worths.any():
            rng = np.random.default_rng([seed, q])
            right_DK = _draw_winners(members, worths, rewards[q], draws, rng)
            value_QK[q], error_QK[q] = right_DK.mean(0), right_DK.std(0, ddof=1) / math.sqrt(draws)
    return Estimate(value_QK, error_QK)


def _draw_winners(
    members: list[np.ndarray], worths: np.ndarray, reward_S: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """What wins among the first k of random orders is worth, [draws, K]."""
    n, rows = len(reward_S), np.arange(draws)
    codes = np.full(n, len(members))  # the last column is that of no answer
    for code, indices in enumerate(members):
        codes[indices] = code
    order = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    totals = np.full((draws, len(members) + 1), -np.inf)
    right = np.empty((draws, n))
    for k in range(n):
        drawn = codes[order[:, k]]
        totals[rows, drawn] = np.maximum(totals[rows, drawn], 0) + reward_S[order[:, k]]
        standing = totals[:, :-1]
        top = standing.max(1, keepdims=True)
        wins = (standing >= top - TIE * np.abs(top)) & (top >= 0)
        right[:, k] = (wins @ worths) / np.maximum(1, wins.sum(1))
    return right


# ------------------------------------------------------------------ noise of the samples


def jackknife_samples(expect: Callable[..., np.ndarray], *arrays_QS: np.ndarray) -> np.ndarray:
    """Standard errors [Q, S - 1] of `expect(*arrays_QS)` by question, for k up to S - 1: its samples drawn anew.

    From the S expectations that leave one sample out. Too large rather than too small: these are U-statistics, of which
    the jackknife's variance is, in the mean, at least the true one. At k = S there is one subset, and nothing to tell
    its noise from. Raises ValueError for a single sample.
    """
    S = np.shape(arrays_QS[0])[1]
    if S < 2:
        raise ValueError("The noise of samples can't be told from one sample a question.")
    left_SQK = np.stack([expect(*(np.delete(array, s, axis=1) for array in arrays_QS)) for s in range(S)])
    return np.sqrt((S - 1) / S * ((left_SQK - left_SQK.mean(0)) ** 2).sum(0))


def bound_samples(value_QK: np.ndarray, error_QK: np.ndarray) -> Intervals:
    """Means over questions [K] with 95 % normal intervals for the same questions asked again, shares within [0, 1].

    Narrower than those of resampled questions (`scaling.bootstrap_mean`), which cover other questions of this kind, and
    by that the noise of their samples too. Values beyond the K of the errors are left out.
    """
    K = error_QK.shape[1]
    mean_K = value_QK[:, :K].mean(0)
    reach_K = Z95 * np.sqrt((error_QK**2).sum(0)) / len(error_QK)
    return Intervals(mean_K, np.maximum(0, mean_K - reach_K), np.minimum(1, mean_K + reach_K))


# ------------------------------------------------------------------ checks


def _group(answer_S: np.ndarray, correct_S: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The samples of each answer, and what it is worth if it wins."""
    members = [np.flatnonzero(answer_S == code) for code in np.unique(answer_S[answer_S >= 0])]
    return members, np.array([correct_S[indices].mean() for indices in members])


def _check(answer_QS: np.ndarray, correct_QS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    answers, corrects = np.asarray(answer_QS), np.asarray(correct_QS, float)
    if answers.ndim != 2 or answers.shape != corrects.shape:
        raise ValueError(f"Answers and grades must be two arrays [Q, S], not {answers.shape} and {corrects.shape}.")
    if not 1 <= answers.shape[1] <= MOST_SAMPLES:
        raise ValueError(f"Questions need 1 to {MOST_SAMPLES:,} samples, not {answers.shape[1]:,}.")
    return answers, corrects


def _check_rewards(reward_QS: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Rewards of samples with an answer; those of the others don't count and become 0."""
    rewards = np.asarray(reward_QS, float)
    if rewards.shape != answers.shape:
        raise ValueError(f"Rewards must be {answers.shape}, as the answers are, not {rewards.shape}.")
    wrong = ~np.isfinite(rewards) & (answers >= 0)
    if wrong.any():
        q, s = np.argwhere(wrong)[0]
        raise StudyError(
            f"{wrong.sum()} of {wrong.size} rewards aren't finite numbers (first: {rewards[q, s]} of question {q}, "
            f"sample {s}): score them again, or leave their samples out of every method."
        )
    return np.where(answers < 0, 0, rewards)
