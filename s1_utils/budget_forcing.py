"""Budget forcing: bound and extend a model's thinking.

Works on token ids; knows nothing about tokenizers, engines or files. A policy is a generator of segments: it yields
what should happen next (`Decode`, `Force`, `Answer`) and is sent what happened (`Ran`). Any engine that can run
segments can drive it.

Source: s1 section 3.1. Deviations: the end marker, its leading newline included, is dropped when an end is suppressed
(the original leaves the newline); the budget counts every thinking token, forced ones too, over all rounds.
Invariants: tests/test_budget_forcing.py.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Markers:
    """A thinking format as token ids (see `chat.encode_markers`)."""

    end_markers: tuple[Ids, ...]  # any of these ends the thinking: the delimiter, or the end of the turn
    thinking_end: Ids  # appended before the answer
    answer_prefix: Ids  # appended after a cut ("Final Answer:")
    newline: Ids
    ends_in_newline: frozenset[int]  # ids whose text ends in a newline
    turn_ends: tuple[Ids, ...]  # what ends the answer


@dataclass(frozen=True)
class Decode:
    """Let the model continue the trace until one of `stops`, or until `max_tokens` more ids are kept."""

    max_tokens: int
    stops: tuple[Ids, ...]
    banned_first: frozenset[int] = frozenset()


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
class Ran:
    """What an engine did: the ids it kept, and the stop it dropped (empty when the length ran out)."""

    ids: Ids
    stop: Ids = ()


Segment = Decode | Force | Answer
Policy = Generator[Segment, Ran, "Generation"]


@dataclass(frozen=True)
class Setting:
    """One point of a curve: at most `budget` thinking tokens, at most `waits` suppressed ends."""

    control: str
    budget: int
    waits: int

    def __post_init__(self) -> None:
        if self.budget < 0 or self.waits < 0:
            raise ValueError(f"budget and waits must be 0 or more, not {self.budget} and {self.waits}.")


@dataclass(frozen=True)
class Point:
    """How one setting ended: `thinking_tokens` ids of the shared trace, then `answer_ids`."""

    setting: Setting
    thinking_tokens: int
    finish: str  # "natural" | "forced"
    events: tuple[tuple[str, int], ...]  # (suppressed_end | natural_end | forced_end, position in the trace)
    answer_ids: Ids
    answer_finish: str  # "stop" | "length"


@dataclass(frozen=True)
class Generation:
    """One trace and the points branched off it; `decoded_tokens` counts what the model had to produce for them."""

    thinking_ids: Ids
    points: tuple[Point, ...]
    decoded_tokens: int


def force_budget(markers: Markers, settings: Sequence[Setting], *, wait_ids: Ids, max_answer_tokens: int) -> Policy:
    """Decode the longest setting once and branch an answer for every setting (one pass, the whole curve).

    Under greedy decoding each point equals a separate run of its setting, token for token: the cap at B is a prefix of
    the cap at 2B, and w waits are a prefix of w + 1. Raises ValueError for no settings or waits without a text.
    """
    if not settings:
        raise ValueError("force_budget needs at least one setting.")
    if not wait_ids and any(setting.waits for setting in settings):
        raise ValueError("Waits need a text to append: pass the ids of 'Wait'.")
    trace, ends = yield from _decode_longest(markers, settings, wait_ids)
    answers: dict[tuple[int, bool], Ran] = {}
    points = []
    for setting in settings:
        at, natural = find_end(ends, len(trace), setting, len(wait_ids))
        if (at, natural) not in answers:
            forced = _close_thinking(markers, trace[:at], natural)
            answers[at, natural] = yield Answer(at, forced, max_answer_tokens, markers.turn_ends)
        ran = answers[at, natural]
        events = tuple(("suppressed_end", end) for end in ends if end < at)
        events += (("natural_end" if natural else "forced_end", at),)
        finish = "natural" if natural else "forced"
        points.append(Point(setting, at, finish, events, ran.ids, "stop" if ran.stop else "length"))
    n_decoded = len(trace) + sum(len(ran.ids) for ran in answers.values())
    return Generation(tuple(trace), tuple(points), n_decoded)


def find_end(ends: Sequence[int], trace_length: int, setting: Setting, wait_length: int) -> tuple[int, bool]:
    """Where `setting` ends in a trace whose natural ends lie at `ends`, and whether it ends naturally.

    The end number w (from 0) is suppressed if w < waits and there is room for the wait text and one more token.
    """
    for w, end in enumerate(ends):
        if end >= setting.budget:
            break
        if w >= setting.waits or not _has_room(end, setting.budget, wait_length):
            return end, True
    return min(setting.budget, trace_length), False


def _has_room(end: int, budget: int, wait_length: int) -> bool:
    return budget - end >= wait_length + 1


def _decode_longest(
    markers: Markers, settings: Sequence[Setting], wait_ids: Ids
) -> Generator[Segment, Ran, tuple[list[int], list[int]]]:
    """The trace of the longest setting, and the positions of its natural ends."""
    trace: list[int] = []
    ends: list[int] = []
    banned: frozenset[int] = frozenset()
    budget = max(setting.budget for setting in settings)
    while len(trace) < budget:
        ran = yield Decode(budget - len(trace), markers.end_markers, banned)
        trace += ran.ids
        if not ran.stop:
            break
        ends.append(len(trace))
        if not any(_is_suppressed(len(ends) - 1, ends, setting, len(wait_ids)) for setting in settings):
            break
        yield Force(wait_ids)
        trace += wait_ids
        banned = frozenset(marker[0] for marker in markers.end_markers)
    return trace, ends


def _is_suppressed(w: int, ends: Sequence[int], setting: Setting, wait_length: int) -> bool:
    """Whether `setting` goes on after end number w (all earlier ends were suppressed for it too)."""
    return w < setting.waits and all(_has_room(end, setting.budget, wait_length) for end in ends)


def _close_thinking(markers: Markers, thinking: Sequence[int], natural: bool) -> Ids:
    has_newline = not thinking or thinking[-1] in markers.ends_in_newline
    closing = (() if has_newline else markers.newline) + markers.thinking_end
    return closing if natural else closing + markers.answer_prefix
