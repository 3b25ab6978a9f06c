"""The ways in which one answer wins a vote among k of n samples, counted for every k at once.

Knows how many samples an answer has and what they weigh; knows no questions, grades or tables (`votes` does).
Invariants: tests/test_votes.py.

A vote is won by the answer whose samples weigh most together. Its ways to win sum, over its own totals, those in which
every other answer weighs less, or as much and takes a share of the tie. With t others tied that share is
1 / (1 + t) = ∫₀¹ uᵗ du, which Gauss and Legendre's quadrature gives exactly, so that ties need no bookkeeping. All
terms are positive, so that no digits cancel; counts are kept times 2 to the power of minus the samples, to fit a float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MOST_WAYS = 2**21  # numbers in `Bloc.ways`
BLOCK = 2**20  # numbers of an array held at a time


@dataclass(frozen=True)
class Bloc:
    """The samples of one answer: `ways[t, j]` to draw j of c with a total of totals[t] (ascending), times 2**-c."""

    totals: np.ndarray
    ways: np.ndarray

    @property
    def size(self) -> int:
        return self.ways.shape[1] - 1


@lru_cache(maxsize=2**14)
def find_majority(mine: int, others: tuple[int, ...], without: int) -> np.ndarray:
    """`find_wins` where every sample weighs the same, of answers given by their numbers of samples."""
    return find_wins(draw_equal(mine), [draw_equal(count) for count in others], without)


def find_wins(mine: Bloc, others: Sequence[Bloc], without: int) -> np.ndarray:
    """P(the answer `mine` wins) among k samples, [K]; `without`: samples that have no answer."""
    n = without + mine.size + sum(other.size for other in others)
    ways_K, start, step = np.zeros(n + 1), 0, 1
    while start < len(mine.totals):  # in growing blocks: few answers can reach the higher totals
        totals_T, ways_TJ = mine.totals[start : start + step], mine.ways[start : start + step]
        rivals = [other for other in others if other.totals[-1] >= totals_T[0]]
        nodes_U, weights_U = _list_nodes(len(rivals) // 2 + 1)
        drawn = n - mine.size - sum(rival.size for rival in rivals)  # none of these can win here
        state_TUD = np.zeros((len(totals_T), len(nodes_U), n + 1))
        state_TUD[..., : drawn + 1] = _list_binomials(drawn)
        for rival in rivals:
            state_TUD = _draw_below(rival, totals_T, nodes_U, state_TUD, drawn)
            drawn += rival.size
        rest_TD = np.einsum("u,tud->td", weights_U, state_TUD)
        for j in range(1, mine.size + 1):
            ways_K[j:] += ways_TJ[:, j] @ rest_TD[:, : n + 1 - j]
        start, step = start + step, min(2 * step, max(1, BLOCK // (len(nodes_U) * (n + 1))))
    return ways_K[1:] / _list_binomials(n)[1:]


def _draw_below(
    other: Bloc, totals_T: np.ndarray, nodes_U: np.ndarray, state_TUD: np.ndarray, drawn: int
) -> np.ndarray:
    """`state_TUD` (ways by samples drawn, up to `drawn`) with samples of `other` that weigh less, or as much (x u)."""
    at = np.searchsorted(other.totals, totals_T)
    below_TJ = np.vstack([np.zeros(other.size + 1), np.cumsum(other.ways, axis=0)])[at]
    is_tied = other.totals[np.minimum(at, len(other.totals) - 1)] == totals_T
    tied_TJ = np.where(is_tied[:, None], other.ways[np.minimum(at, len(other.totals) - 1)], 0)
    below_TJ[:, 0], tied_TJ[:, 0] = 0.5**other.size, 0  # what wasn't drawn doesn't stand
    kernel_TUJ = below_TJ[:, None] + nodes_U[:, None] * tied_TJ[:, None]
    grown = np.zeros_like(state_TUD)
    for j in range(other.size + 1):
        grown[..., j : j + drawn + 1] += kernel_TUJ[..., j, None] * state_TUD[..., : drawn + 1]
    return grown


@lru_cache(maxsize=2**10)
def draw_equal(count: int) -> Bloc:
    """The bloc of `count` samples of weight 1."""
    return Bloc(np.arange(count + 1), np.diag(_list_binomials(count)))


def draw_unequal(weights: np.ndarray) -> Bloc | None:
    """The bloc of samples with these whole weights; None if they have too many different sums."""
    totals, ways = np.zeros(1, np.int64), np.eye(1, len(weights) + 1)
    for weight in weights:
        grown = np.unique(np.concatenate([totals, totals + weight]))
        if len(grown) * (len(weights) + 1) > MOST_WAYS:
            return None
        added = np.zeros((len(grown), len(weights) + 1))
        added[np.searchsorted(grown, totals)] += ways / 2
        added[np.searchsorted(grown, totals + weight), 1:] += ways[:, :-1] / 2
        totals, ways = grown, added
    return Bloc(totals, ways)


@lru_cache(maxsize=2**10)
def _list_binomials(n: int) -> np.ndarray:
    """C(n, k) / 2**n for k = 0 … n."""
    return np.array([math.comb(n, k) / 2**n for k in range(n + 1)])


@lru_cache(maxsize=2**10)
def _list_nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1] that integrate polynomials up to degree 2 n - 1 exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


@lru_cache(maxsize=32)
def share_subsets(n: int) -> np.ndarray:
    """C(b, k) / C(n, k), [b = 0 … n, k = 1 … n]: the subsets of k of n that lie within b of them."""
    b, i = np.arange(n + 1)[:, None], np.arange(n)
    return np.cumprod(np.maximum(b - i, 0) / (n - i), axis=1)
