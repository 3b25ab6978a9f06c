"""The traces of one question as few texts: each is the beginning of a longer one, with its events at characters.

Knows texts, token positions and a tokenizer's `decode`; knows nothing of pages. One pass gives every setting of a
question, so most traces are prefixes of the longest. Events are recorded at token positions: with the model's
tokenizer they are found exactly; without it by the lengths of the other traces and the texts of the waits, or not.
Tests: tests/test_explorer.py.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from s1_utils.errors import StudyError

NO_TEXT = "<none>"  # a wait without a text, as in `generation`
LONGEST_TEXT = 2_000_000  # characters of one trace: 100,000 tokens are some 400,000
MOST_DECODINGS = 100  # of one trace from its start on
LONGEST_TAIL = 8  # characters: a trace that was cut inside a letter ends otherwise than the one it begins

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Event:
    """What happened at `token`, before the character `at` (None: unknown); `forced` characters were appended there."""

    kind: str
    token: int
    at: int | None
    forced: int = 0


@dataclass(frozen=True)
class Trace:
    """The first `cut` characters of text number `base`, then `tail`; `missing` characters more were too many."""

    base: int
    cut: int
    tail: str
    events: tuple[Event, ...] = ()
    missing: int = 0


def mark_traces(rows: Sequence[Mapping[str, Any]], decode: Decode | None = None) -> tuple[list[str], list[Trace]]:
    """(texts, traces): one trace a row of `generations`, in order, each as a part of one of the texts.

    Raises StudyError for events that aren't a list of (name, position), and if a marked trace isn't the stored one.
    """
    stored = [str(row["thinking"]) if isinstance(row["thinking"], str) else "" for row in rows]
    kept = [text[:LONGEST_TEXT] for text in stored]
    bases, parts = share_prefixes(kept)
    events = [_read_events(row) for row in rows]
    anchors: list[dict[int, int]] = [{} for _ in bases]
    for row, (base, cut, tail) in zip(rows, parts, strict=True):
        if not tail and _is_count(row["thinking_tokens"]):
            anchors[base][int(row["thinking_tokens"])] = cut
    found = _decode_positions(rows, stored, parts, events, decode) if decode else [None] * len(rows)
    traces = []
    for i, (row, (base, cut, tail)) in enumerate(zip(rows, parts, strict=True)):
        places = found[i] or anchors[base]
        marked = _place_events(events[i], kept[i], places, read_waits(row.get("wait_text")), row["thinking_tokens"])
        traces.append(Trace(base, cut, tail, marked, len(stored[i]) - len(kept[i])))
        if bases[base][:cut] + tail != kept[i]:
            raise StudyError(f"The marked trace of {row['setting']} isn't the stored one: please report this.")
    return bases, traces


def share_prefixes(texts: Sequence[str]) -> tuple[list[str], list[tuple[int, int, str]]]:
    """(bases, parts): text i is bases[base][:cut] + tail, with (base, cut, tail) = parts[i]; tails are short."""
    bases: list[str] = []
    parts: list[tuple[int, int, str]] = [(0, 0, "")] * len(texts)
    for i in sorted(range(len(texts)), key=lambda i: -len(texts[i])):
        text = texts[i]
        shared = [measure_shared(text, base) for base in bases]
        best = max(range(len(bases)), key=shared.__getitem__, default=-1)
        if best < 0 or shared[best] < len(text) - LONGEST_TAIL:
            bases.append(text)
            best, shared = len(bases) - 1, [*shared, len(text)]
        parts[i] = (best, shared[best], text[shared[best] :])
    return bases, parts


def measure_shared(text: str, other: str) -> int:
    """How many characters both begin with."""
    if other.startswith(text):
        return len(text)
    return bisect.bisect_left(range(1, len(text) + 1), True, key=lambda n: not other.startswith(text[:n]))


def find_units(text: str, positions: Sequence[int]) -> list[int]:
    """Positions in characters as positions in UTF-16 units, which browsers count in."""
    if text.isascii():
        return list(positions)
    places = sorted({0, *positions})
    units = {0: 0}
    for low, high in pairwise(places):
        units[high] = units[low] + len(text[low:high].encode("utf-16-le", "surrogatepass")) // 2
    return [units[position] for position in positions]


def read_waits(wait_text: Any) -> tuple[str, ...]:
    """The texts of a row's `wait_text`, in turn; none if it has none."""
    if not isinstance(wait_text, str) or not wait_text:
        return ()
    return tuple("" if text == NO_TEXT else text for text in wait_text.split("|"))


def locate_tokens(ids: Sequence[int], text: str, tokens: Sequence[int], decode: Decode) -> dict[int, int] | None:
    """token position → characters before it; None if these ids don't decode to this text.

    A position inside a letter of several tokens stands before that letter.
    """
    found = {0: 0}
    token = character = 0
    wanted = sorted({t for t in tokens if 0 < t < len(ids)} | {len(ids)})
    for at in wanted:
        piece = decode(ids[token:at])
        if text.startswith(piece, character):
            token, character = at, character + len(piece)
            found[at] = character
        else:
            found[at] = character + measure_shared(piece, text[character : character + len(piece)])
    if token == len(ids) and character == len(text):
        return found
    if len(wanted) > MOST_DECODINGS or decode(ids) != text:
        return None
    return {0: 0} | {at: measure_shared(decode(ids[:at]), text) for at in wanted}  # parts decode otherwise than wholes


def _decode_positions(
    rows: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    parts: Sequence[tuple[int, int, str]],
    events: Sequence[Sequence[tuple[str, int]]],
    decode: Decode,
) -> list[dict[int, int] | None]:
    """For each row its token positions at characters; a text is decoded once for all rows that it begins with."""
    ids = [_read_ids(row.get("thinking_ids")) for row in rows]
    found: list[dict[int, int] | None] = [None] * len(rows)
    for base in {part[0] for part in parts}:
        members = [i for i, part in enumerate(parts) if part[0] == base and ids[i] is not None]
        while members:
            longest = max(members, key=lambda i: len(ids[i]))
            same = [i for i in members if ids[i] == ids[longest][: len(ids[i])]]
            tokens = [token for i in same for _, token in events[i]] + [len(ids[i]) for i in same]
            places = locate_tokens(ids[longest], texts[longest], tokens, decode)
            for i in same:
                found[i] = places
            members = [i for i in members if i not in same]
    return found


def _place_events(
    events: Sequence[tuple[str, int]],
    text: str,
    places: Mapping[int, int],
    waits: Sequence[str],
    thinking_tokens: Any,
) -> tuple[Event, ...]:
    marked: list[Event] = []
    number = last = 0
    for kind, token in events:
        is_end = kind != "suppressed_end"
        at = len(text) if is_end and _is_count(thinking_tokens) and token == thinking_tokens else places.get(token)
        wait = waits[number % len(waits)] if waits and not is_end else ""
        number += not is_end
        if at is None and wait:
            at = text.find(wait, last)
            at = None if at < 0 else at
        if at is None:
            marked.append(Event(kind, token, None))
            continue
        at = last = min(max(at, last), len(text))
        beginning = text[at : at + len(wait)]
        marked.append(Event(kind, token, at, len(beginning) if wait.startswith(beginning) else 0))
        last += marked[-1].forced
    return tuple(marked)


def _read_events(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    try:
        events = json.loads(row["events"]) if isinstance(row["events"], str) else []
        return [(str(kind), int(token)) for kind, token in events]
    except (ValueError, TypeError, RecursionError) as error:
        raise StudyError(
            f"The events of {row['setting']} aren't a list of names and positions ({error}): rerun the stage that "
            "wrote this table, with force."
        ) from error


def _read_ids(ids: Any) -> list[int] | None:
    if ids is None or isinstance(ids, float):
        return None
    return ids.tolist() if hasattr(ids, "tolist") else list(ids)


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and value == value
