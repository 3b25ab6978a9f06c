"""Near-duplicates: every pair of texts whose word k-grams have a Jaccard similarity of at least t, exactly.

Knows texts and ids. A prefix filter (Chaudhuri et al. 2006; Bayardo et al. 2007) nominates, then each pair is
counted out: k-grams are numbered, never hashed, so nothing is approximate. Words are letters and digits, without
accents, case, width and punctuation. A text of fewer than k words has no k-gram, and can only repeat another exactly.
Invariants: tests/test_near_duplicates.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import combining

import numpy as np
import pandas as pd

from s1_utils.dedup import check_texts
from s1_utils.text_forms import LETTERS

SPACED = bytes(ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else 32 for c in range(256))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, by id, and the Jaccard similarity of their k-grams."""

    first: str
    second: str
    similarity: float


def split_letters(text: str) -> list[str]:
    """The runs of letters and digits, without case, accents and width."""
    if text.isascii():
        return text.encode().translate(SPACED).decode().split()
    return "".join(LETTERS[ord(c)] or ("" if combining(c) else " ") for c in text).split()


def find_pairs(texts: Mapping[str, str], *, threshold: float = 0.7, k: int = 5) -> list[Pair]:
    """Every pair (first < second by id) with similarity ≥ threshold, sorted. Raises ValueError for silly bounds."""
    if not 0 < threshold <= 1 or k < 1:
        raise ValueError(f"threshold must be in (0, 1] and k 1 or more, not {threshold} and {k}.")
    check_texts(texts)
    ids = sorted(texts)
    grams, bounds = _number_grams([texts[text_id] for text_id in ids], k)
    return [
        Pair(ids[a], ids[b], shared / (bounds[a + 1] - bounds[a] + bounds[b + 1] - bounds[b] - shared))
        for a, candidates in _nominate(grams, bounds, threshold)
        for b, shared in _verify(a, candidates, grams, bounds, threshold)
    ]


def find_near_duplicates(
    texts: Mapping[str, str], *, threshold: float = 0.7, k: int = 5
) -> dict[str, tuple[str, float]]:
    """removed id → (kept id, similarity). Ids are taken in order; one stays unless it is near one that stayed.

    So every removed text has a kept one that justifies it, and neither chains of likeness nor the order of `texts`
    remove more.
    """
    near: dict[str, list[Pair]] = {}
    for pair in find_pairs(texts, threshold=threshold, k=k):
        near.setdefault(pair.second, []).append(pair)
    removed: dict[str, tuple[str, float]] = {}
    for text_id in sorted(near):
        kept = [pair for pair in near[text_id] if pair.first not in removed]
        if kept:
            best = min(kept, key=lambda pair: pair.first)
            removed[text_id] = (best.first, best.similarity)
    return removed


def _number_grams(texts: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every text's distinct k-grams as numbers, rare ones first (text i owns [bounds[i], bounds[i + 1]))."""
    numbers: dict[str, int] = {}
    words = [[numbers.setdefault(word, len(numbers)) for word in split_letters(text)] for text in texts]
    sizes = np.array([len(row) for row in words], dtype=np.int64)
    stream = np.fromiter((number for row in words for number in row), dtype=np.int64, count=int(sizes.sum()))
    del words
    owner = np.repeat(np.arange(len(texts)), sizes)
    gram = stream
    for step in range(1, k):  # pairs of (k-gram so far, next word), numbered anew: exact, and never overflows
        gram = pd.factorize(gram[:-1] * len(numbers) + stream[step:])[0] if len(gram) > 1 else gram[:0]
    owner = owner[: len(gram)]
    whole = owner == np.repeat(np.arange(len(texts)), sizes)[k - 1 :]  # not across two texts
    gram, owner = gram[whole], owner[whole]
    gram, owner = _drop_repeats(gram, owner)
    frequency = np.bincount(gram) if len(gram) else np.zeros(0, dtype=np.int64)
    rank = np.empty(len(frequency), dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency))
    order = np.lexsort((rank[gram], owner))
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(texts)))])
    return rank[gram][order], bounds


def _drop_repeats(gram: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = ~pd.Series(owner * (gram.max(initial=0) + 1) + gram).duplicated().to_numpy()
    return gram[keep], owner[keep]


def _nominate(grams: np.ndarray, bounds: np.ndarray, threshold: float) -> Iterator[tuple[int, np.ndarray]]:
    """(text, later texts whose prefix shares a k-gram with its own, and whose size allows the similarity)."""
    sizes = np.diff(bounds)
    prefix = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + (sizes > 0)
    starts = np.repeat(bounds[:-1], prefix)
    owner = np.repeat(np.arange(len(sizes)), prefix)
    at = starts + np.arange(len(owner)) - np.repeat(np.cumsum(prefix) - prefix, prefix)
    gram = grams[at]
    order = np.lexsort((owner, gram))
    gram, owner = gram[order], owner[order]
    edges = np.flatnonzero(np.diff(gram)) + 1
    groups = np.split(owner, edges) if len(owner) else []
    members: dict[int, list[np.ndarray]] = {}
    for group in groups:
        for i, text in enumerate(group[:-1].tolist() if len(group) > 1 else []):
            members.setdefault(text, []).append(group[i + 1 :])
    for text in sorted(members):
        candidates = np.unique(np.concatenate(members.pop(text)))
        small = np.minimum(sizes[candidates], sizes[text])
        fits = small >= threshold * np.maximum(sizes[candidates], sizes[text]) - 1e-9
        yield text, candidates[fits]


def _verify(
    text: int, candidates: np.ndarray, grams: np.ndarray, bounds: np.ndarray, threshold: float
) -> Iterator[tuple[int, int]]:
    """(candidate, k-grams shared) of the candidates that are similar enough."""
    if not len(candidates):
        return
    own = np.sort(grams[bounds[text] : bounds[text + 1]])
    sizes = bounds[candidates + 1] - bounds[candidates]
    ends = np.cumsum(sizes)
    at = np.repeat(bounds[candidates] - (ends - sizes), sizes) + np.arange(ends[-1])
    other = grams[at]
    place = np.minimum(np.searchsorted(own, other), len(own) - 1)
    shared = np.add.reduceat((own[place] == other).astype(np.int64), ends - sizes)
    near = shared >= threshold * (len(own) + sizes - shared) - 1e-9
    yield from zip(candidates[near].tolist(), shared[near].tolist(), strict=True)
