"""Overlap between texts by n-grams of words, exactly and with evidence.

Knows texts and ids; knows nothing about questions or files. Policy `s1`: lower case, white-space words, any one
shared 8-gram. Source: s1 section 2.1 and its decontamination script. A text shorter than n words owns no n-gram, so
this rule can't see it: such reference texts are matched whole instead, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Overlap:
    """A text that shares `words` with a reference text; `method` is "ngram" or "whole"."""

    text_id: str
    reference_id: str
    method: str
    words: str


def split_words(text: str) -> list[str]:
    return text.lower().split()


def find_ngrams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every window of n words, in order. Raises ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}.")
    return zip(*(words[i:] for i in range(n)), strict=False)


def find_overlaps(texts: Mapping[str, str], references: Mapping[str, str], *, n: int = 8) -> list[Overlap]:
    """One overlap for every (text, reference) pair that shares an n-gram, the first shared one as evidence.

    `texts` and `references` map ids to texts. The result is in the order of `texts`, then of `references`.
    """
    index: dict[tuple[str, ...], list[str]] = {}
    for reference_id, text in references.items():
        words = split_words(text)
        for gram in dict.fromkeys(find_ngrams(words, n) if len(words) >= n else [tuple(words)]):
            index.setdefault(gram, []).append(reference_id)
    rank = {reference_id: i for i, reference_id in enumerate(references)}
    overlaps = []
    for text_id, text in texts.items():
        words = split_words(text)
        found: dict[str, Overlap] = {}
        for gram in find_ngrams(words, n) if len(words) >= n else [tuple(words)]:
            for reference_id in index.get(gram, ()):
                method = "ngram" if len(words) >= n else "whole"
                found.setdefault(reference_id, Overlap(text_id, reference_id, method, " ".join(gram)))
        overlaps += sorted(found.values(), key=lambda overlap: rank[overlap.reference_id])
    return overlaps


def find_duplicates(texts: Mapping[str, str]) -> dict[str, str]:
    """id → id of the text it repeats (same words, any case and spacing); the smallest id is kept."""
    first: dict[str, str] = {}
    for text_id in sorted(texts):
        first.setdefault(" ".join(split_words(texts[text_id])), text_id)
    kept = {" ".join(split_words(text)): first[" ".join(split_words(text))] for text in texts.values()}
    return {i: kept[" ".join(split_words(t))] for i, t in texts.items() if kept[" ".join(split_words(t))] != i}


def decontaminate(questions: pd.DataFrame, *, n: int) -> pd.DataFrame:
    """The `overlaps` table: training rows to remove because of held-out ones, and repeats to remove, with evidence.

    `questions`: question_id, question, split. One row a pair: question_id, against_set, against_id, method, words.
    """
    texts = {
        split: dict(zip(rows["question_id"], rows["question"], strict=True))
        for split, rows in questions.groupby("split")
    }
    train, test, dev = (texts.get(split, {}) for split in ("train", "test", "dev"))
    rows = [(o.text_id, "test", o.reference_id, o.method, o.words) for o in find_overlaps(train | dev, test, n=n)]
    rows += [(o.text_id, "dev", o.reference_id, o.method, o.words) for o in find_overlaps(train, dev, n=n)]
    rows += [(i, "train", kept, "repeat", train[kept]) for i, kept in find_duplicates(train).items()]
    return pd.DataFrame(rows, columns=["question_id", "against_set", "against_id", "method", "words"], dtype="string")
