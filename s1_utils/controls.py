"""Other ways to control thinking: no intervention, rejection sampling, and the original's budget forcing, quirks kept.

Policies like `budget_forcing.force_budget`: token ids only, any engine drives them.

Source: s1 sections 3.1, 4.2 and D; the original's evaluation harness and the snippet of its README.
Invariants: tests/test_controls.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from s1_utils.budget_forcing import (
    Answer,
    Decode,
    Force,
    Ids,
    Markers,
    Point,
    Policy,
    Restart,
    Setting,
    close_thinking,
    describe_end,
)

# How the prompt asks for a length (s1 section D and table 13); n is a number of tokens or steps.
BY_TOKENS = "\n\nThink for up to {n} tokens."
BY_STEPS = "\n\nThink for up to {n} steps."
SHORT = "\n\nAnswer after a short amount of thinking. Do not spend excessive time double-checking your work."
LONG = (
    "\n\nAnswer after a long amount of thinking. If you feel like you are finished early, spend the extra time trying "
    "to double-check your work until you are absolutely sure that you have the correct answer."
)


def think_freely(markers: Markers, *, max_tokens: int, is_opened: bool = True) -> Policy:
    """No intervention: one decode to the end of the turn, split afterwards where the model closed its thinking.

    `is_opened`: the prompt ends in the start of thinking; otherwise the model opens it, or answers without. What was
    never closed is thinking if it was opened, else the answer.
    """
    ran = yield Decode(max_tokens, markers.turn_ends[:1])
    ids, start, end = ran.ids, markers.thinking_start, markers.thinking_end
    is_open = is_opened or (bool(start) and ids[: len(start)] == start)
    if is_open and not is_opened:
        ids = ids[len(start) :]
    close = _find(ids, end) if is_open else -1
    thinking = ids[:close] if close >= 0 else ids if is_open else ()
    answer = ids[close + len(end) :] if close >= 0 else () if is_open else ids
    finish = "forced" if is_open and close < 0 and not ran.stop else "natural"
    events = ((f"{finish}_end", len(thinking)),)
    return (Point(Setting("free", max_tokens, 0), thinking, finish, events, answer, describe_end(ran)),)


def reject_longer(markers: Markers, settings: Sequence[Setting], *, max_tries: int, max_answer_tokens: int) -> Policy:
    """Rejection sampling: for every budget the first sample whose thinking ends by itself within it.

    All budgets look at the same samples, so each has its own marginal law. After `max_tries` what is left is given up:
    finish "rejected", nothing thought or answered. The original has no such cap, and counts the end marker as thinking.
    Raises ValueError for no settings, waits, a soft budget, or no tries.
    """
    if not settings or any(setting.waits or setting.extra for setting in settings):
        raise ValueError("reject_longer needs at least one setting, without waits or extra tokens.")
    if max_tries < 1:
        raise ValueError(f"max_tries must be 1 or more, not {max_tries}.")
    found: dict[Setting, Point] = {}
    for tries in range(1, max_tries + 1):
        left = [setting for setting in settings if setting not in found]
        ran = yield Decode(max(setting.budget for setting in left) + 1, markers.end_markers)
        at = len(ran.ids)
        fits = [setting for setting in left if ran.stop and at <= setting.budget]
        if fits:
            forced = close_thinking(markers, ran.ids, is_cut=False)
            answer = yield Answer(at, forced, max_answer_tokens, markers.turn_ends)
            end = (("natural_end", at),)
            for setting in fits:
                found[setting] = Point(setting, ran.ids, "natural", end, answer.ids, describe_end(answer), tries)
        if len(found) == len(set(settings)):
            break
        if tries < max_tries:
            yield Restart()
    return tuple(found.get(s, Point(s, (), "rejected", (), (), "length", max_tries)) for s in settings)


def count_down(markers: Markers, steps: int, *, max_tokens: int, max_answer_tokens: int) -> Policy:
    """Thinking in announced steps, twice from one trace: "steps" ends by itself, "steps, counted" after `steps` steps.

    By itself it ends where the model answers or ends its turn, whatever it announces. Counted, it ends where "0 steps
    left" would be announced, as in the paper, and in any case where a step more than `steps` would begin: a model that
    starts too high, skips or repeats a number would otherwise think on. Both are ends of a step, so "Final Answer:" is
    not forced; where `max_tokens` runs out it is. Raises ValueError for no steps.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, not {steps}.")
    own = tuple(marker for marker in markers.end_markers if marker in (markers.thinking_end, *markers.turn_ends))
    zeros = tuple(marker for marker in markers.end_markers if marker not in own)
    ran = yield Decode(max_tokens, own)
    free = (len(ran.ids), "natural" if ran.stop else "forced")
    used_up = _find_last_step(markers, zeros, ran.ids, steps)
    counted = free if used_up is None else (used_up, "counted")
    points: dict[tuple[int, str], tuple[Ids, str]] = {}
    for at, finish in dict.fromkeys((free, counted)):
        closing = close_thinking(markers, ran.ids[:at], is_cut=finish == "forced")
        answer = yield Answer(at, closing, max_answer_tokens, markers.turn_ends)
        points[at, finish] = answer.ids, describe_end(answer)
    return tuple(
        Point(Setting(control, steps, 0), ran.ids[:at], finish, ((f"{finish}_end", at),), *points[at, finish])
        for control, (at, finish) in (("steps", free), ("steps, counted", counted))
    )


def _find_last_step(markers: Markers, zeros: Sequence[Ids], ids: Ids, steps: int) -> int | None:
    """Where `steps` steps are used up: at the announcement of 0, or of one step more; None if they never are."""
    start, begun = markers.thinking_start, 1  # the prompt has begun the first
    for i in range(len(ids)):
        if any(ids[i : i + len(zero)] == zero for zero in zeros):
            return i
        begun += ids[i : i + len(start)] == start
        if begun > steps:
            return i
    return None


def force_as_harness(
    markers: Markers, setting: Setting, *, wait_ids: Ids, max_answer_tokens: int, stop_ids: Sequence[int]
) -> Policy:
    """The original's evaluation harness, quirk for quirk, for one setting.

    Every round may use the whole budget again; the sum is cut afterwards; a thinking whose last round ended by itself
    gets no "Final Answer:" even if it was cut; no newline is added after a natural end; after a cut it looks for one in
    the text, which is never cut. `stop_ids`: single ids, as its stop strings have to be.
    """
    stops = tuple((stop,) for stop in stop_ids)
    ids: Ids = ()
    events: list[tuple[str, int]] = []
    for w in range(setting.waits + 1):
        ran = yield Decode(setting.budget, stops, min(setting.budget, 1) if setting.waits else 0)
        ids += ran.ids
        if not ran.stop or w == setting.waits:
            break
        events.append(("suppressed_end", len(ids)))
        yield Force(wait_ids)
        ids += wait_ids
    finish = "natural" if ran.stop else "forced"
    at = min(len(ids), setting.budget)
    closing = markers.thinking_end if ran.stop else close_thinking(markers, ids, is_cut=True)
    answer = yield Answer(at, closing, max_answer_tokens, markers.turn_ends[:1])
    events = [event for event in events if event[1] < at] + [(f"{finish}_end", at)]
    return (Point(setting, ids[:at], finish, tuple(events), answer.ids, describe_end(answer)),)


def force_as_readme(
    markers: Markers, setting: Setting, *, wait_ids: Ids, max_answer_tokens: int, stop_ids: Sequence[int]
) -> Policy:
    """The snippet of the original's README, for one setting: no delimiter is ever appended.

    The rest of the budget is what the decoded ids and their stops left (the waits' own ids are free); then the model
    goes on to the end of the turn as it likes, thinking included, and what follows its own delimiter is the answer.
    """
    stops = tuple((stop,) for stop in stop_ids)
    ran = yield Decode(setting.budget, stops)
    ids, left = ran.ids, setting.budget - len(ran.ids + ran.stop)
    events: list[tuple[str, int]] = []
    for _ in range(setting.waits):
        if left <= 0:
            break
        events.append(("suppressed_end", len(ids)))
        yield Force(wait_ids)
        ran = yield Decode(left, stops, min(1, left))
        ids += wait_ids + ran.ids
        left -= len(ran.ids + ran.stop)
    rest = yield Answer(len(ids), (), max_answer_tokens, markers.turn_ends[:1])
    close = _find(rest.ids, markers.thinking_end)
    thinking = ids + (rest.ids if close < 0 else rest.ids[:close])
    answer = () if close < 0 else rest.ids[close + len(markers.thinking_end) :]
    finish = "natural" if close >= 0 or rest.stop else "forced"
    events.append((f"{finish}_end", len(thinking)))
    return (Point(setting, thinking, finish, tuple(events), answer, describe_end(rest)),)


def _find(ids: Ids, part: Ids) -> int:
    """Where `part` is first in `ids`, or -1."""
    return next((i for i in range(len(ids) - len(part) + 1) if ids[i : i + len(part)] == part), -1)
