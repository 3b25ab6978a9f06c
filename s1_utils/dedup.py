"""Overlap between texts, exactly and with evidence: who shares what with which evaluation item.

Knows texts and ids; knows nothing about questions or stages (`python -m s1_utils.dedup` is in overlap_files). Source:
s1 section 2.1 and its decontamination script. Policy `s1` is that script's rule: lower case, white-space words, any
one shared 8-gram. Policy `audited` adds two rules and ignores boilerplate. The three rules:

- `words`: n white-space words in a row, lower case (the paper's).
- `letters`: n words of the item in a row, read as letters and digits only: case, accents, width, punctuation, spacing
  and LaTeX spacing commands don't count. The run must hold at least `letters` letters and digits.
- `short`: an item that owns no run of the rule `letters` is found as a whole, with its operators; one of fewer than 10
  letters and digits only as a sentence of its own.

Invariants: tests/test_dedup.py (against loops over all pairs). Speed and memory: tests/bench/bench_overlap.py.
"""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, compress, count, islice

import numpy as np

from s1_utils.text_forms import (
    blank_typesetting,
    find_ngrams,
    is_sentence,
    keep_letters,
    map_letters,
    read_closely,
    read_edges,
    split_words,
    trim_signs,
)

SEED = 8  # letters compared at once; a run of 3 * SEED - 1 always holds two of them at multiples of SEED
BITS = 18  # of the slots in which items are counted by seed, roughly; the scan's table has at least as many
ROOM = 32  # slots of the scan's table for each key
BATCH, BATCH_SIZE = 512, 2**20  # texts scanned at once, or so many characters
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
TINY = 2 * SEED - 1  # items with fewer letters hold no sure seed: they are looked for one by one
SENTENCE = 10  # an item with fewer letters is found only as a sentence of its own
WORK = 10**6  # letters compared for one text, and 16 more for each of its own: a bound that only stuck keys reach
TRIES = 10_000  # at places of a tiny item in one text: the same bound
OCCURRENCES = 16  # of one gram in one item; more are the work of a stuck key, and would make scanning quadratic


@dataclass(frozen=True)
class Policy:
    """What counts as overlap. Raises ValueError for values that make no rule."""

    n: int = 8  # words in a row
    normalised: bool = True  # the rules `letters` and `short` as well
    letters: int = 24  # that a run of the rule `letters` holds at least
    common: int = 10  # texts, of either side, that make an n-gram boilerplate; 0: nothing is
    covering: float = 0.8  # share of an item from which on a match is never boilerplate

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be 1 or more words, not {self.n}.")
        if self.letters < 3 * SEED - 1:
            raise ValueError(f"letters must be {3 * SEED - 1} or more, not {self.letters}.")
        if self.common < 0 or not 0 <= self.covering <= 1:
            raise ValueError("common must be 0 or more texts, covering a share from 0 to 1.")


POLICIES = {"s1": Policy(normalised=False, common=0), "audited": Policy()}


@dataclass(frozen=True, slots=True)
class Match:
    """One run of words that a training text shares with an evaluation item, as long as it gets on both sides."""

    train_id: str
    eval_set: str
    eval_id: str
    rule: str  # words, letters or short
    text: str  # the training text from train_start to train_end
    train_start: int  # in characters of the text as it was given
    train_end: int
    eval_start: int
    eval_end: int
    words: int  # of the item
    coverage: float  # share of the item's words (rule `words`) or letters
    common_train: int = 0  # different training texts that hold its rarest n-gram
    common_eval: int = 0  # different evaluation items that hold it
    boilerplate: bool = False
    grams: tuple[int, ...] = field(default=(), repr=False)  # its n-grams, as numbered by the index
    digest: int = field(default=0, repr=False)  # of the training text's words: equal texts count once


# ------------------------------------------------------------------ the index


def _digest(words: Sequence[str]) -> int:
    joined = "\0".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little", signed=True)


_Numbers = partial(array, "I")
Places = int | list[int]  # item << 32 | place; one of them, or several


@dataclass(slots=True)
class _Item:
    """An evaluation item, with its word grams and its letter windows."""

    eval_set: str
    eval_id: str
    text: str
    words: list[str]
    grams: array[int]  # numbers of its n-grams of words
    letters: bytes = b""
    starts: array[int] = field(default_factory=_Numbers)  # of every word that has letters, in `letters`
    ends: array[int] = field(default_factory=_Numbers)
    windows: array[int] = field(default_factory=_Numbers)  # number of the shortest run from word i on
    closes: array[int] = field(default_factory=_Numbers)  # the word before which that run ends
    reading: str = ""  # of a short item
    offsets: array[int] = field(default_factory=_Numbers)  # of `letters` in `text`, filled when first matched

    def holds_window(self, start: int, end: int) -> bool:
        """Whether one of its windows lies in letters[start:end]."""
        first = bisect_left(self.starts, start)
        return first < len(self.windows) and self.closes[first] <= bisect_right(self.ends, end)


class Index:
    """Evaluation items by what they could share. Grows with `add`; `scan` finds every match of training texts.

    Raises ValueError for texts that are not strings and for an id that is in its set twice.
    """

    def __init__(self, policy: Policy = POLICIES["audited"]) -> None:
        self.policy = policy
        self.items: list[_Item] = []
        self.common_eval: list[int] = []  # by gram: different items that hold it
        n = policy.n
        k = max(1, n // 2)  # every window of n words holds one k-gram that starts at a multiple of n - k + 1
        self._strided = [slice(i, None, n - k + 1) for i in range(k)]
        self._k = k
        self._probe: set[tuple[str, ...]] = set()
        self._grams: dict[tuple[str, ...], int] = {}
        self._places: list[Places | None] = []  # by gram of words: item, word
        self._windows: dict[bytes, int] = {}
        self._keys = array("Q")  # of two seeds in a row, or of one in a short item
        self._seeds = array("Q")  # where each is: item << 32 | byte
        self._tiny: list[tuple[int, bytes]] = []  # items too short for a seed
        self._often = np.zeros(2**BITS, dtype=np.uint16)  # by key of seeds: the items that hold them, about
        self._ids: set[tuple[str, str]] = set()
        self._texts: set[int] = set()
        self._letter_texts: set[bytes] = set()

    def add(self, eval_set: str, items: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """Add the items of one evaluation set, id → text."""
        first = len(self.items)
        for eval_id, text in items.items() if isinstance(items, Mapping) else items:
            if not isinstance(text, str):
                raise ValueError(f"{eval_set}, item {eval_id}: its text is {text!r:.40}, not a string.")
            if (eval_set, eval_id) in self._ids:
                raise ValueError(f"{eval_set} has two items with the id {eval_id!r}: give each its own.")
            self._ids.add((eval_set, eval_id))
            self._add_words(eval_set, eval_id, text)
            if self.policy.normalised:
                self._add_letters(self.items[-1])
        if self.policy.normalised:
            for item in self.items[first:]:
                slots = np.unique(_key_seeds(item) >> np.uint64(64 - BITS))
                self._often[slots] = np.minimum(self._often[slots], 65534) + 1
            for number in range(first, len(self.items)):
                self._add_seeds(number, self.items[number])

    def _number(self, table: dict, gram: object, seen: set[int], is_new: bool) -> int:
        number = table.setdefault(gram, len(self.common_eval))
        if number == len(self.common_eval):
            self.common_eval.append(0)
            self._places.append(None)
        if is_new and number not in seen:
            self.common_eval[number] += 1
        seen.add(number)
        return number

    def _add_words(self, eval_set: str, eval_id: str, text: str) -> None:
        words = [sys.intern(word) for word in split_words(text)]  # most are in many items
        is_new = _digest(words) not in self._texts
        self._texts.add(_digest(words))
        seen: set[int] = set()
        grams = _Numbers(self._number(self._grams, gram, seen, is_new) for gram in find_ngrams(words, self.policy.n))
        uses: dict[int, int] = defaultdict(int)
        for place, gram in enumerate(grams):
            uses[gram] += 1
            if uses[gram] <= OCCURRENCES:
                _put(self._places, gram, len(self.items), place)
        self.items.append(_Item(eval_set, eval_id, text, words, grams))
        if len(words) >= self.policy.n:
            self._probe.update(find_ngrams(words, self._k))

    def _add_letters(self, item: _Item) -> None:
        policy = self.policy
        pieces = [keep_letters(word) for word in blank_typesetting(item.text).split()]
        item.letters = b"".join(pieces)
        pieces = [piece for piece in pieces if piece]
        item.ends = _Numbers(accumulate(map(len, pieces)))
        item.starts = _Numbers([0, *item.ends[:-1]] if item.ends else [])
        sizes = [0, *accumulate(len(piece.decode()) for piece in pieces)]
        seen: set[int] = set()
        is_new = item.letters not in self._letter_texts
        self._letter_texts.add(item.letters)
        for i, start in enumerate(item.starts):
            close = max(i + policy.n, bisect_left(sizes, sizes[i] + policy.letters))
            if close > len(item.ends):
                break
            window = item.letters[start : item.ends[close - 1]]
            item.windows.append(self._number(self._windows, window, seen, is_new))
            item.closes.append(close)
        if not item.windows:
            item.reading = trim_signs(read_closely(item.text))
            item.windows = _Numbers([self._number(self._windows, item.letters, seen, is_new)])
            item.closes = _Numbers([len(item.ends)])

    def _add_seeds(self, number: int, item: _Item) -> None:
        """Of the seeds in each window of the item, one for each alignment is enough: that of the fewest items."""
        if len(item.letters) < TINY:
            if item.reading:
                self._tiny.append((number, item.letters))
            return
        found = _key_seeds(item)
        often, keys = self._often[found >> np.uint64(64 - BITS)].tolist(), found.tolist()
        width = len(item.letters) - len(keys) + 1
        spans = [(0, len(item.letters))]
        if not item.reading:
            closes = [item.ends[close - 1] for close in item.closes]
            spans = list(zip(item.starts, closes, strict=False))
        chosen: set[int] = set()
        for alignment in range(SEED):
            last = -1  # the place chosen last
            for start, end in spans:
                if last >= start and last + width <= end:
                    continue
                first = start + (alignment - start) % SEED
                places = range(first, end - width + 1, SEED)
                last = min(places, key=lambda place: (often[place], -place))
                chosen.add(last)
        uses: Counter = Counter()
        for place in sorted(chosen):
            uses[keys[place]] += 1
            if uses[keys[place]] <= OCCURRENCES:
                self._keys.append(keys[place])
                self._seeds.append(number << 32 | place)

    # -------------------------------------------------------------- scanning

    def scan(self, texts: Mapping[str, str] | Iterable[tuple[str, str]], *, fast: bool = False) -> Iterator[Match]:
        """Every match of every training text (id, text), text by text, not yet labelled (see `label`).

        `fast` leaves out texts that share no n-gram of words in compiled code; the matches are the same. Raises
        ValueError for a text that is no string, StudyError for `fast` without numba.
        """
        rows = self._nominate(texts, fast)
        if not self.policy.normalised:
            for train_id, text, maybe in rows:
                if maybe and (words := self._share_words(text)):
                    yield from self._match_words(train_id, text, words)
            return
        seeds = _Seeds(self._keys, self._seeds)
        for batch in _cut_batches(rows):
            letters = [keep_letters(text) for _, text, _ in batch]
            seeded, tiny = seeds.find(letters), self._find_tiny(letters)
            for number, (train_id, text, maybe) in enumerate(batch):
                if maybe and (words := self._share_words(text)):
                    yield from self._match_words(train_id, text, words)
                if number in seeded:
                    yield from self._match_letters(train_id, text, letters[number], seeded[number])
                if number in tiny:
                    yield from self._match_tiny(train_id, text, letters[number])

    def _share_words(self, text: str) -> list[str] | None:
        """The words of a text that shares k in a row with an item, at one of the places where it would have to."""
        words = text.lower().split()
        strides = zip(*map(words.__getitem__, self._strided), strict=False)
        return None if self._probe.isdisjoint(strides) else words

    def _find_tiny(self, letters: list[bytes]) -> set[int]:
        """Numbers of the texts that hold the letters of a tiny item."""
        if not self._tiny:
            return set()
        ends = list(accumulate(len(own) + 1 for own in letters))
        hits = re.finditer(b"|".join(re.escape(own) for _, own in self._tiny), b"\0".join(letters))
        return {bisect_right(ends, hit.start()) for hit in hits}

    def _nominate(
        self, texts: Mapping[str, str] | Iterable[tuple[str, str]], fast: bool
    ) -> Iterator[tuple[str, str, bool]]:
        pairs = texts.items() if isinstance(texts, Mapping) else texts
        if fast:
            from s1_utils.overlap_kernel import nominate

            words = (item.words for item in self.items)
            yield from nominate(pairs, words, self.policy.n, others=self.policy.normalised)
            return
        for train_id, text in pairs:
            if not isinstance(text, str):
                raise ValueError(f"Training text {train_id}: it is {text!r:.40}, not a string.")
            yield train_id, text, True

    def _match_words(self, train_id: str, text: str, words: list[str]) -> Iterator[Match]:
        n, k, grams = self.policy.n, self._k, self._grams
        strides = zip(*map(words.__getitem__, self._strided), strict=False)
        near = [place * (n - k + 1) for place in _find_members(strides, self._probe)]
        windows = ((i, tuple(words[i : i + n])) for at in near for i in range(max(0, at - n + k), at + 1))
        done: dict[int, int] = {}
        runs = []  # item, its first word, the text's first word, words
        for i, gram in windows:
            if gram not in grams:
                continue
            for number, places in _group(self._places[grams[gram]]):
                if i >= done.get(number, 0):
                    found = (_extend(words, self.items[number].words, i, place, n) for place in places)
                    start, place, length = max(found, key=lambda run: run[2])
                    done[number] = start + length - n + 1
                    runs.append((number, place, start, length))
        if not runs:
            return
        digest = _digest(words)
        spans = _find_words(text, {i for _, _, start, length in runs for i in (start, start + length - 1)})
        for number, place, start, length in runs:
            item, end = self.items[number], place + length - 1
            own = _find_words(item.text, {place, end})
            first, last = spans[start][0], spans[start + length - 1][1]
            grams_in_run = tuple(dict.fromkeys(item.grams[place : end - n + 2]))
            yield Match(
                train_id, item.eval_set, item.eval_id, "words", text[first:last], first, last,
                own[place][0], own[end][1], length, length / len(item.words), grams=grams_in_run, digest=digest,
            )  # fmt: skip

    def _match_letters(
        self, train_id: str, text: str, letters: bytes, hits: list[tuple[int, list[int]]]
    ) -> Iterator[Match]:
        offsets = _Numbers()
        digest = 0
        work = WORK + 16 * len(letters)
        ends: dict[tuple[int, int], int] = {}  # by item and shift: where the run that was tried there ends
        found: dict[int, list[Match]] = {}  # by item
        for at, places in hits:
            for number, starts in _group(places):
                item = self.items[number]
                for place in starts:
                    is_known = at < ends.get((number, at - place), 0)
                    if is_known or work < 0 or not _may_go_on(letters, item.letters, at, place):
                        continue
                    run = _extend(letters, item.letters, at, place, SEED)
                    work -= run[2]
                    if item.holds_window(run[1], run[1] + run[2]):
                        ends[number, run[0] - run[1]] = run[0] + run[2]
                        offsets, digest = offsets or map_letters(text), digest or _digest(split_words(text))
                        if match := self._cut_to_words(train_id, text, digest, item, run, offsets):
                            found.setdefault(number, []).append(match)
        for matches in found.values():
            yield from _drop_inner(matches)

    def _cut_to_words(
        self, train_id: str, text: str, digest: int, item: _Item, run: tuple[int, int, int], offsets: array[int]
    ) -> Match | None:
        """The run cut to whole words of the item that are whole words of the text, if enough of it is left."""
        start, place, length = run
        shift = start - place
        first, last = bisect_left(item.starts, place), bisect_right(item.ends, place + length)
        while first < last and not _is_border(offsets, item.starts[first] + shift):
            first += 1
        while first < last and not _is_border(offsets, item.ends[last - 1] + shift):
            last -= 1
        grams = [item.windows[i] for i in range(first, min(last, len(item.windows))) if item.closes[i] <= last]
        if not grams or first == last:
            return None
        a, b = item.starts[first], item.ends[last - 1]
        train = offsets[a + shift], offsets[b + shift - 1] + 1
        own = item.offsets = item.offsets or _Numbers(map_letters(item.text))
        if item.reading and not _is_same_formula(item, text, *train):
            return None
        return Match(
            train_id, item.eval_set, item.eval_id, "short" if item.reading else "letters", text[slice(*train)], *train,
            own[a], own[b - 1] + 1, last - first, (b - a) / len(item.letters),
            grams=tuple(dict.fromkeys(grams)), digest=digest,
        )  # fmt: skip

    def _match_tiny(self, train_id: str, text: str, letters: bytes) -> Iterator[Match]:
        offsets, digest = map_letters(text), _digest(split_words(text))
        for number, own in self._tiny:
            start = letters.find(own)
            for _ in range(TRIES):
                if start < 0:
                    break
                run = (start, 0, len(own))
                if match := self._cut_to_words(train_id, text, digest, self.items[number], run, offsets):
                    yield match
                    break
                start = letters.find(own, start + 1)

    def find_invisible(self, rule: str) -> list[tuple[str, str]]:
        """(set, id) of the items that the rule `words` or `letters`, or the whole policy (`any`), can never find."""
        hidden = {
            "words": lambda item: not item.grams,
            "letters": lambda item: bool(item.reading) or not item.letters,
            "any": lambda item: not item.grams and not item.letters,
        }[rule]
        return [(item.eval_set, item.eval_id) for item in self.items if hidden(item)]


def _is_same_formula(item: _Item, text: str, start: int, end: int) -> bool:
    """Whether a short item's letters were found with its operators as well, and a tiny one as a sentence."""
    first = max(0, start - 60)
    shown, span = blank_typesetting(text[first : end + 60]), (start - first, end - first)
    edges = read_edges(blank_typesetting(item.text), item.offsets[0], item.offsets[-1] + 1)
    return (
        trim_signs(read_closely(shown[slice(*span)])) == item.reading
        and read_edges(shown, *span) == edges
        and (len(item.letters.decode()) >= SENTENCE or is_sentence(shown, *span))
    )


class _Seeds:
    """Where the items have their seeds, by key; made for a scan."""

    def __init__(self, keys: array[int], places: array[int]) -> None:
        order = np.argsort(np.frombuffer(keys, dtype=np.uint64), kind="stable") if keys else []
        self.keys, self.places = np.array(keys, dtype=np.uint64)[order], np.array(places, dtype=np.uint64)[order]
        bits = max(BITS, (ROOM * len(keys)).bit_length())
        self.shift = np.uint64(64 - bits)
        self.table = np.zeros(2**bits, dtype=np.bool_)  # its slots: the highest bits of a key
        self.table[self.keys >> self.shift] = True

    def find(self, letters: list[bytes]) -> dict[int, list[tuple[int, list[int]]]]:
        """By number of the text: at which multiples of SEED its letters have a seed of an item, and whose.

        Compared by key only, and on over the end of a text: `_match_letters` looks at the letters themselves.
        """
        seeds = np.frombuffer(b"".join([own[: len(own) // SEED * SEED] for own in letters]), dtype=np.uint64)
        ends = np.cumsum([len(own) // SEED for own in letters])
        found: dict[int, list[tuple[int, list[int]]]] = {}
        shared: dict[int, list[int]] = {}
        for keys in (_key_pairs(seeds, 1), seeds * MIX[2]):
            at = np.flatnonzero(self.table[keys >> self.shift])
            first, last = (np.searchsorted(self.keys, keys[at], side) for side in ("left", "right"))
            at, first, last = at[first < last], first[first < last], last[first < last]
            owners = np.searchsorted(ends, at, side="right")
            starts = (at - ends[owners]) * SEED  # counted from the end of the text
            for owner, start, i, j in zip(*(column.tolist() for column in (owners, starts, first, last)), strict=True):
                place = len(letters[owner]) // SEED * SEED + start
                shared[i] = shared.get(i) or self.places[i:j].tolist()
                found.setdefault(owner, []).append((place, shared[i]))
        return found


def _cut_batches(rows: Iterable[tuple[str, str, bool]]) -> Iterator[list[tuple[str, str, bool]]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row[1])
        if len(batch) == BATCH or size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _key_pairs(seeds: np.ndarray, gap: int) -> np.ndarray:
    """One key for every two seeds that lie `gap` places apart."""
    return seeds[:-gap] * MIX[0] + seeds[gap:] * MIX[1]


def _key_seeds(item: _Item) -> np.ndarray:
    """The key at every position of an item: of two seeds in a row, or of one alone if it is too short for two."""
    letters = np.frombuffer(item.letters, dtype=np.uint8)
    if len(letters) < SEED:
        return np.zeros(0, dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(letters, SEED)
    seeds = np.ascontiguousarray(windows).view(np.uint64)[:, 0]
    return seeds * MIX[2] if len(letters) < 3 * SEED - 1 else _key_pairs(seeds, SEED)


def _find_words(text: str, wanted: set[int]) -> dict[int, tuple[int, int]]:
    """Start and end of the wanted white-space words, in characters of `text` (lower case may change lengths)."""
    words = islice(re.finditer(r"\S+", text), max(wanted) + 1)
    return {i: word.span() for i, word in enumerate(words) if i in wanted}


def _put(table: list[Places | None], gram: int, number: int, place: int) -> None:
    """Add a place to those of a gram; most grams have one, which takes the least memory as a plain integer."""
    packed, known = number << 32 | place, table[gram]
    if known is None:
        table[gram] = packed
    elif isinstance(known, int):
        table[gram] = [known, packed]
    else:
        known.append(packed)


def _group(places: Places) -> Iterable[tuple[int, list[int]]]:
    """(item, its places), of places as the index stores them."""
    if isinstance(places, int):
        return [(places >> 32, [places & 0xFFFFFFFF])]
    groups: dict[int, list[int]] = {}
    for packed in places:
        groups.setdefault(packed >> 32, []).append(packed & 0xFFFFFFFF)
    return groups.items()


def _drop_inner(matches: list[Match]) -> Iterator[Match]:
    """The matches of one text and item that don't lie within another, in order."""
    furthest = -1
    for match in sorted(matches, key=lambda match: (match.train_start, -match.train_end, match.eval_start)):
        if match.train_end > furthest:
            furthest = match.train_end
            yield match


def _find_members(items: Iterable, members: Container) -> Iterator[int]:
    """Positions of the items that are members, without a step of Python for those that aren't."""
    return compress(count(), map(members.__contains__, items))


def _may_go_on(a: bytes, b: bytes, i: int, j: int) -> bool:
    """False if a[i:] and b[j:] don't share their seeds, or these can't lie in an equal run of 3 * SEED - 1 letters.

    Such a run goes on by half a seed or more; an item too short for it has only one seed in a row.
    """
    half = SEED // 2
    if len(b) < 3 * SEED - 1:
        return a[i : i + SEED] == b[j : j + SEED]
    return a[i : i + 2 * SEED] == b[j : j + 2 * SEED] and (
        a[i + 2 * SEED : i + 5 * half] == b[j + 2 * SEED : j + 5 * half]
        or a[max(0, i - half) : i] == b[max(0, j - half) : j]
    )


def _extend(a: Sequence, b: Sequence, i: int, j: int, length: int) -> tuple[int, int, int]:
    """The longest equal run of a and b that holds a[i : i + length] == b[j : j + length]: its starts and length."""
    start = 0
    while start < min(i, j) and a[i - start - 1] == b[j - start - 1]:
        start += 1
    end, room = length, min(len(a) - i, len(b) - j)
    while end < room and a[i + end] == b[j + end]:
        end += 1
    return i - start, j - start, start + end


def _is_border(offsets: Sequence[int], byte: int) -> bool:
    """Whether something that is no letter stands before this byte of the letters (or it is an end of the text)."""
    return byte in (0, len(offsets)) or offsets[byte] > offsets[byte - 1] + 1


def build_index(references: Mapping[str, Mapping[str, str]], policy: Policy) -> Index:
    """The index of evaluation sets, name → id → text."""
    index = Index(policy)
    for eval_set, items in references.items():
        index.add(eval_set, items)
    return index


# ------------------------------------------------------------------ what is boilerplate


def label(matches: Iterable[Match], index: Index) -> list[Match]:
    """The matches with how common each is, and whether it is boilerplate.

    A match is boilerplate if every n-gram of it is in `policy.common` evaluation items, or in as many different
    training texts of those that stay, unless it covers most of its item. Texts that go for another match don't make
    an n-gram common: so removing what is found and looking again finds nothing new, in whatever order.
    """
    matches, policy = list(matches), index.policy
    holders: dict[int, set[int]] = defaultdict(set)
    for match in matches:
        for gram in match.grams:
            holders[gram].add(match.digest)
    total = {gram: len(texts) for gram, texts in holders.items()}

    def is_boilerplate(match: Match) -> bool:
        return policy.common > 0 and match.coverage < policy.covering and all(
            max(index.common_eval[gram], len(holders[gram])) >= policy.common for gram in match.grams
        )  # fmt: skip

    removed: set[int] = set()
    while new := {m.digest for m in matches if m.digest not in removed and not is_boilerplate(m)}:
        removed |= new
        for texts in holders.values():
            texts -= new
    return [
        replace(
            match,
            common_train=min(total[gram] for gram in match.grams),
            common_eval=min(index.common_eval[gram] for gram in match.grams),
            boilerplate=is_boilerplate(match),
        )
        for match in matches
    ]


def find_overlaps(
    texts: Mapping[str, str], references: Mapping[str, Mapping[str, str]], policy: Policy = POLICIES["audited"]
) -> list[Match]:
    """Every match of training texts (id → text) with evaluation sets (name → id → text), boilerplate labelled."""
    index = build_index(references, policy)
    return label(index.scan(texts), index)


# ------------------------------------------------------------------ repeats


def check_texts(texts: Mapping[str, str]) -> None:
    """Raises ValueError for a text that is no string, with its id."""
    for text_id, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"Text {text_id}: it is {text!r:.40}, not a string.")


def find_duplicates(texts: Mapping[str, str]) -> dict[str, str]:
    """id → id of the text it repeats (same letters, digits and operators, read closely); the smallest id is kept."""
    check_texts(texts)
    first: dict[str, str] = {}
    keys = {text_id: read_closely(text) or text for text_id, text in texts.items()}
    for text_id in sorted(texts):
        first.setdefault(keys[text_id], text_id)
    return {text_id: first[key] for text_id, key in keys.items() if first[key] != text_id}


if __name__ == "__main__":
    from s1_utils.overlap_files import main

    sys.exit(main())
