"""Budget forcing: bound and extend a model's thinking.

Works on token ids; knows nothing about tokenizers, engines or files. A policy is a generator of segments: it yields
what should happen next (`Decode`, `Force`, `Answer`, `Restart`) and is sent what happened (`Ran`). Any engine that can
run segments can drive it. Other ways to control thinking, the original's included, are in `controls`.

Source: s1 section 3.1. When an end is suppressed its marker is dropped and nothing else: a newline before it stays, so
that "Wait" opens a line, as in the original. Deviation: the budget counts every thinking token, forced ones too, over
all rounds.
Invariants: tests/test_budget_forcing.py.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

Ids = tuple[int, ...]

AUTO = 2**31  # a budget that stands for all the room a model's window leaves (see `fit_settings`)


@dataclass(frozen=True)
class Markers:
    """A thinking format as token ids (see `chat.encode_markers`)."""

    end_markers: tuple[Ids, ...]  # any of these ends the thinking: the delimiter, or the end of the turn
    thinking_end: Ids  # appended before the answer
    answer_prefix: Ids  # appended after a cut ("Final Answer:")
    newline: Ids
    ends_in_newline: frozenset[int]  # ids whose text ends in a newline
    turn_ends: tuple[Ids, ...]  # what ends the answer; the first one is the format's own end of a turn
    thinking_start: Ids = ()

    @property
    def openings(self) -> Ids:
        """The ids that open an end marker, those left out that only precede another one (a newline before it)."""
        markers = self.end_markers
        inner = [m for m in markers if not any(m != other and m[-len(other) :] == other for other in markers)]
        return tuple(dict.fromkeys(marker[0] for marker in inner))


@dataclass(frozen=True)
class Decode:
    """Let the model continue the trace until one of `stops`, or until `max_tokens` more ids are kept.

    No stop is completed that would leave fewer than `min_tokens` ids: its last id is not sampled there. With `watch`,
    `Ran.ranks` tells how likely the best of these ids was at every position, down to rank `top`.
    """

    max_tokens: int
    stops: tuple[Ids, ...]
    min_tokens: int = 0
    watch: Ids = ()
    top: int = 0


@dataclass(frozen=True)
class Force:
    """Append `ids` to the trace."""

    ids: Ids


@dataclass(frozen=True)
class Answer:
    """Branch off after the first `at` trace ids, append `forced`, decode an answer; the trace stays as it was."""

    at: int
    forced: Ids
    max_tokens: int
    stops: tuple[Ids, ...]


@dataclass(frozen=True)
class Restart:
    """Forget the trace; what is decoded next is another sample."""


@dataclass(frozen=True)
class Ran:
    """What an engine did: the ids it kept, and the stop it dropped (empty when the length ran out).

    `ranks[i]`: how many ids were more likely than the best watched one where ids[i] was decoded; `top` if as many or
    more, or where a stop was not allowed.
    """

    ids: Ids
    stop: Ids = ()
    ranks: Ids = ()


Segment = Decode | Force | Answer | Restart


@dataclass(frozen=True)
class Setting:
    """One point of a curve: at most `budget` thinking tokens, at most `waits` suppressed ends.

    Soft if `extra` and `rank` are given: past the budget the thinking ends at the first position where an end marker
    is among the `rank` most likely ids and none is forbidden (as right after a wait), and after `extra` more tokens in
    any case.
    """

    control: str
    budget: int
    waits: int
    extra: int = 0
    rank: int = 0

    def __post_init__(self) -> None:
        if self.budget < 0 or self.waits < 0:
            raise ValueError(f"budget and waits must be 0 or more, not {self.budget} and {self.waits}.")
        if self.extra < 0 or self.rank < 0 or (self.extra > 0) != (self.rank > 0):
            raise ValueError(f"A soft budget needs extra and rank of 1 or more, not {self.extra} and {self.rank}.")

    @property
    def cap(self) -> int:
        return self.budget + self.extra


@dataclass(frozen=True)
class Point:
    """How one setting ended: its thinking, then its answer."""

    setting: Setting
    thinking_ids: Ids
    finish: str  # natural | soft | forced; of `controls` also rejected, counted
    events: tuple[tuple[str, int], ...]  # (suppressed_end | natural_end | soft_end | forced_end, position in the trace)
    answer_ids: Ids
    answer_finish: str  # "stop" | "length"
    tries: int = 1

    @property
    def thinking_tokens(self) -> int:
        return len(self.thinking_ids)


Policy = Generator[Segment, Ran, tuple[Point, ...]]


@dataclass
class Trace:
    """The thinking of the longest setting: its ids, where it would have ended, and how near an end each position was.

    `ranks[i]` is that of `Ran.ranks`; None where nobody watched or the id was forced. `least`: no end before so many.
    """

    ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    ranks: list[int | None] = field(default_factory=list)
    least: int = 0


def force_budget(
    markers: Markers,
    settings: Sequence[Setting],
    *,
    max_answer_tokens: int,
    wait_ids: Sequence[Ids] = (),
    min_thinking: int = 0,
) -> Policy:
    """Decode the longest setting once and branch an answer for every setting (one pass, the whole curve).

    `wait_ids`: the texts appended at suppressed ends, in turn; an empty one suppresses without a text (s1 table 4).
    `min_thinking`: no end is allowed before so many tokens, or before the budget.

    Under greedy decoding each point equals a separate run of its setting, token for token: the cap at B is a prefix of
    the cap at 2B, and w waits are a prefix of w + 1. Raises ValueError for no settings or waits without a text.
    """
    if not settings:
        raise ValueError("force_budget needs at least one setting.")
    if not wait_ids and any(setting.waits for setting in settings):
        raise ValueError("Waits need a text to append: pass the ids of 'Wait', or of nothing, ((),).")
    if min_thinking < 0:
        raise ValueError(f"min_thinking must be 0 or more, not {min_thinking}.")
    trace = yield from _decode_longest(markers, settings, wait_ids, min_thinking)
    found = [find_end(trace, setting, wait_ids) for setting in settings]
    answers: dict[tuple[int, bool], Ran] = {}
    for at, is_cut in sorted({(at, finish == "forced") for at, finish in found}, reverse=True):  # the least to undo
        forced = close_thinking(markers, trace.ids[:at], is_cut=is_cut)
        answers[at, is_cut] = yield Answer(at, forced, max_answer_tokens, markers.turn_ends)
    points = []
    for setting, (at, finish) in zip(settings, found, strict=True):
        ran = answers[at, finish == "forced"]
        events = tuple(("suppressed_end", end) for end in trace.ends if end < at)
        events += ((f"{finish}_end", at),)
        points.append(Point(setting, tuple(trace.ids[:at]), finish, events, ran.ids, describe_end(ran)))
    return tuple(points)


def describe_end(ran: Ran) -> str:
    return "stop" if ran.stop else "length"


def find_end(trace: Trace, setting: Setting, wait_ids: Sequence[Ids]) -> tuple[int, str]:
    """Where `setting` ends in the trace, and how: natural, soft or forced.

    The end number w (from 0) is suppressed if w < waits and there is room for the wait text and one more token.
    """
    late = len(trace.ids) + 1
    for w, end in enumerate(trace.ends):
        if end >= setting.budget:
            late = end
            break
        if w >= setting.waits or not _has_room(end, setting.budget, wait_ids[w % len(wait_ids)]):
            return end, "natural"
    cap = min(setting.cap, len(trace.ids))
    for at in range(max(setting.budget, trace.least), min(cap, late)):
        rank = trace.ranks[at]
        if rank is not None and rank < setting.rank:
            return at, "soft"
    return (late, "natural") if late < setting.cap else (cap, "forced")


def close_thinking(markers: Markers, thinking: Sequence[int], *, is_cut: bool) -> Ids:
    """What is forced between the thinking and its answer."""
    has_newline = not thinking or thinking[-1] in markers.ends_in_newline
    closing = (() if has_newline else markers.newline) + markers.thinking_end
    return closing + markers.answer_prefix if is_cut else closing


def fit_settings(settings: Sequence[Setting], room: int) -> list[Setting]:
    """The settings with budgets of AUTO replaced by the room there is for thinking, in tokens.

    Raises ValueError if a setting needs more.
    """
    fitted = [replace(s, budget=room - s.extra) if s.budget == AUTO and room >= s.extra else s for s in settings]
    longest = max(setting.cap for setting in fitted)
    if longest > room:
        raise ValueError(f"{longest} thinking tokens are asked for, and there is room for {room}.")
    return fitted


def _has_room(end: int, budget: int, wait: Ids) -> bool:
    return budget - end >= len(wait) + 1


def _decode_longest(
    markers: Markers, settings: Sequence[Setting], wait_ids: Sequence[Ids], min_thinking: int
) -> Generator[Segment, Ran, Trace]:
    trace = Trace(least=min_thinking)
    cap = max(setting.cap for setting in settings)
    top = max(setting.rank for setting in settings)
    watch = markers.openings if top else ()
    least = 0
    while (room := cap - len(trace.ids)) > 0:
        least = min(room, max(least, min_thinking - len(trace.ids)))
        ran = yield Decode(room, markers.end_markers, least, watch, top)
        trace.ids += ran.ids
        trace.ranks += ran.ranks or [None] * len(ran.ids)
        if not ran.stop:
            break
        trace.ends.append(len(trace.ids))
        if not any(_is_suppressed(trace.ends, setting, wait_ids) for setting in settings):
            break
        wait = wait_ids[(len(trace.ends) - 1) % len(wait_ids)]
        if wait:
            yield Force(wait)
        trace.ids += wait
        trace.ranks += [None] * len(wait)
        least = 1  # the end just suppressed may not follow at once
    return trace


def _is_suppressed(ends: Sequence[int], setting: Setting, wait_ids: Sequence[Ids]) -> bool:
    """Whether `setting` goes on after the last of these ends, and did so after all others."""
    return len(ends) <= setting.waits and all(
        _has_room(end, setting.budget, wait_ids[w % len(wait_ids)]) for w, end in enumerate(ends)
    )
