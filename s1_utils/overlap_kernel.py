"""The optional fast path of overlap detection: which texts may share an n-gram of words, in compiled code.

Knows bytes and hashes; never decides: a text it nominates is compared word by word by `dedup`, and it nominates every
text that shares an n-gram (equal words have equal hashes; texts that aren't ASCII are always nominated). Needs numba.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import compress, islice
from typing import Any

import numpy as np

from s1_utils.errors import StudyError

BATCH = 4096  # texts at once
SLOTS = 256  # bits of the table for every n-gram, which sets two: one in 16,000 seems to be there by accident
LARGEST = 2**28  # bytes of the table
LOWER = np.array([ord(chr(c).lower()) if c < 128 else c for c in range(256)], dtype=np.uint8)
SPACE = np.array([c < 128 and chr(c).isspace() for c in range(256)])


def nominate(
    texts: Iterable[tuple[str, str]], items: Iterable[list[str]], n: int, *, others: bool = True
) -> Iterator[tuple[str, str, bool]]:
    """(id, text, whether it may share n words in a row with an item), in order; items are lists of lower-case words.

    `others`: whether those that can't are yielded at all.

    Raises StudyError without numba, ValueError for a text that is no string.
    """
    find = _compile()
    lines = [" ".join(words) for words in items]
    size = 2**20
    while size < min(SLOTS // 8 * sum(line.count(" ") + 1 for line in lines), LARGEST):
        size *= 2
    table = np.zeros(size, dtype=np.uint8)
    find(*_join(lines), table, n, LOWER, SPACE, np.zeros(len(lines), dtype=np.bool_), True)
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        maybe = np.zeros(len(batch), dtype=np.bool_)
        try:
            joined = _join([text for _, text in batch])
        except AttributeError:
            text_id, text = next(pair for pair in batch if not isinstance(pair[1], str))
            raise ValueError(f"Training text {text_id}: it is {text!r:.40}, not a string.") from None
        find(*joined, table, n, LOWER, SPACE, maybe, False)
        if others:
            yield from ((*pair, mark) for pair, mark in zip(batch, maybe.tolist(), strict=True))
        else:
            yield from ((*pair, True) for pair in compress(batch, maybe.tolist()))


def _join(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All texts in one, as UTF-8, and where each ends."""
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
    return np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8), ends


@cache
def _compile() -> Any:
    try:
        import numba
    except ImportError:
        raise StudyError("The fast scan needs numba: pip install 's1-study[fast]', or leave fast out.") from None

    @numba.njit(cache=True, nogil=True)
    def find(data, ends, table, n, lower, space, found, insert):  # type: ignore[no-untyped-def]
        """Hash every window of n words; put it in the table, or mark the texts that have one which is there."""
        prime, base, mask = np.uint64(1099511628211), np.uint64(0x9E3779B97F4A7C15), np.uint64(8 * len(table) - 1)
        last = np.uint64(1)  # base ** n, which the word that leaves the window has by then
        for _ in range(n):
            last *= base
        window = np.zeros(n, dtype=np.uint64)
        start = 0
        for t in range(len(ends)):
            count, rolling, word, inside = 0, np.uint64(0), np.uint64(14695981039346656037), False
            for i in range(start, ends[t] + 1):
                if i < ends[t] and not space[data[i]]:
                    if data[i] >= 128 and not insert:
                        found[t] = True  # lower case and spaces outside ASCII are left to the caller
                        break
                    word = (word ^ np.uint64(lower[data[i]])) * prime
                    inside = True
                elif inside:
                    leaving = window[count % n] if count >= n else np.uint64(0)
                    window[count % n] = word
                    rolling = rolling * base + word - leaving * last
                    count += 1
                    word, inside = np.uint64(14695981039346656037), False
                    if count >= n:
                        first = (rolling ^ (rolling >> np.uint64(29))) & mask
                        second = (rolling >> np.uint64(35)) * prime & mask
                        bit_1, bit_2 = np.uint8(1 << (first & 7)), np.uint8(1 << (second & 7))
                        first, second = first >> np.uint64(3), second >> np.uint64(3)
                        if insert:
                            table[first] |= bit_1
                            table[second] |= bit_2
                        elif table[first] & bit_1 and table[second] & bit_2:
                            found[t] = True
                            break
            start = ends[t]

    return find
