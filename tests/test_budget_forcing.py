"""Budget forcing over scripted engines: what is true whatever the model writes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise

import hypothesis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s1_utils.budget_forcing import Answer, Decode, Force, Markers, Setting, force_budget
from s1_utils.engines import Row, check_decode, count_pending, match_stop
from s1_utils.engines.scripted import ScriptedEngine

MARKERS = Markers(
    end_markers=((11, 1), (1,), (11, 2), (2,)),  # 1: start of a turn, 2: end of a turn, 11: newline
    thinking_end=(1, 20),
    answer_prefix=(21, 22),
    newline=(11,),
    ends_in_newline=frozenset({11}),
    turn_ends=((2,), (1,)),
)
PROMPT = (90, 91)
WAIT = (30, 31)
ENOUGH = 99


def run(next_token, settings, *, markers=MARKERS, wait_ids=(WAIT,), max_answer_tokens=3, rank=None, min_thinking=0):
    """The points of the settings."""
    options = {"wait_ids": wait_ids, "min_thinking": min_thinking, "max_answer_tokens": max_answer_tokens}
    policy = force_budget(markers, settings, **options)
    return ScriptedEngine(next_token, rank=rank).run([Row(PROMPT, policy)])[0]


def run_one(next_token, budget, waits=0, **options):
    """(thinking ids, point) of one setting run alone."""
    (point,) = run(next_token, [Setting("budget", budget, waits)], **options)
    return point.thinking_ids, point


def replay(*ids, then=50):
    """A script that writes `ids` one after another from the prompt on, then `then` for ever."""
    return lambda prefix: dict(enumerate(ids, len(PROMPT))).get(len(prefix), then)


def list_segments(next_token, settings, *, markers=MARKERS, wait_ids=(WAIT,)):
    """The segments a policy asks for, in order."""
    asked = []

    def listen(policy):
        sent = None
        while True:
            try:
                asked.append(policy.send(sent))
            except StopIteration as stop:
                return stop.value
            sent = yield asked[-1]

    policy = force_budget(markers, settings, wait_ids=wait_ids, max_answer_tokens=3)
    ScriptedEngine(next_token).run([Row(PROMPT, listen(policy))])
    return asked


# ------------------------------------------------------------------ random worlds


@dataclass(frozen=True)
class World:
    """A vocabulary of ids 0…size-1, a format over it, and a model whose next id is a hash of all ids so far."""

    seed: int
    size: int
    markers: Markers
    wait_ids: tuple[tuple[int, ...], ...]  # in turn

    def next_token(self, prefix):
        digest = hashlib.blake2b(repr((self.seed, tuple(prefix))).encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") % self.size

    def rank(self, prefix, watch):
        """How many ids are more likely than the watched: none if one of them comes next, else another hash."""
        return 0 if self.next_token(prefix) in watch else 1 + (self.seed + 7 * sum(prefix)) % 5

    def run(self, settings, max_answer_tokens=3, min_thinking=0):
        options = {"markers": self.markers, "wait_ids": self.wait_ids, "max_answer_tokens": max_answer_tokens}
        return run(self.next_token, settings, rank=self.rank, min_thinking=min_thinking, **options)

    def run_one(self, budget, waits, min_thinking=0):
        (point,) = self.run([Setting("budget", budget, waits)], min_thinking=min_thinking)
        return point.thinking_ids, point


@st.composite
def worlds(draw, foreign_wait=False):
    """`foreign_wait`: the wait text is made of ids the model never writes itself."""
    size = draw(st.integers(3, 6))
    ids = st.integers(0, size - 1)
    words = st.lists(ids, min_size=1, max_size=3).map(tuple)
    markers = Markers(
        end_markers=tuple(draw(st.lists(words, min_size=1, max_size=3, unique=True))),
        thinking_end=draw(words),
        answer_prefix=draw(words),
        newline=draw(words),
        ends_in_newline=draw(st.frozensets(ids)),
        turn_ends=tuple(draw(st.lists(words, max_size=2, unique=True))),
    )
    wait = st.lists(st.integers(100, 102) if foreign_wait else ids, max_size=3).map(tuple)
    return World(draw(st.integers(0, 2**32)), size, markers, tuple(draw(st.lists(wait, min_size=1, max_size=3))))


BUDGETS = st.integers(0, 24)
WAITS = st.integers(0, 4)
HARD = st.builds(Setting, st.just("budget"), BUDGETS, WAITS)
SOFT = st.builds(Setting, st.just("soft"), BUDGETS, WAITS, st.integers(1, 9), st.integers(1, 4))
SETTINGS = st.lists(st.one_of(HARD, SOFT), min_size=1, max_size=6)


def find_ended(ids, stops):
    """The longest stop that the ids end with, or None."""
    return max(
        (stop for stop in stops if len(stop) <= len(ids) and tuple(ids[-len(stop) :]) == stop), key=len, default=None
    )


def continue_plainly(world, prefix, stops, limit, least=0):
    """Oracle: ids written after `prefix` until the first stop is complete: (ids before it, whether it came).

    Knows no cap but `limit`, far beyond what is asked about, and none of the engine's helpers. A stop that would leave
    fewer than `least` ids is avoided by the smallest id that completes none.
    """
    ids = []
    while len(ids) < limit:
        choices = [world.next_token(prefix + tuple(ids)), *range(200)]
        for token in choices:
            ended = find_ended([*ids, token], stops)
            if ended is None or len(ids) + 1 - len(ended) >= least:
                break
        ids.append(token)
        if ended:
            return tuple(ids[: len(ids) - len(ended)]), True
    return tuple(ids), False


def think_plainly(world, budget, waits, min_thinking=0):
    """Oracle: (thinking ids, finish, positions of suppressed ends) by the words of the paper, for one setting."""
    thinking, suppressed, least = (), [], 0
    while len(thinking) < budget:
        least = max(least, min(min_thinking, budget) - len(thinking))
        ids, ended = continue_plainly(world, PROMPT + thinking, world.markers.end_markers, budget + 9, least)
        thinking += ids
        if not ended or len(thinking) >= budget:
            break
        wait = world.wait_ids[len(suppressed) % len(world.wait_ids)]
        if len(suppressed) == waits or len(thinking) + len(wait) + 1 > budget:
            return thinking, "natural", suppressed
        suppressed.append(len(thinking))
        thinking += wait
        least = 1
    return thinking[:budget], "forced", suppressed


# ------------------------------------------------------------------ one pass, whole curve


@hypothesis.settings(max_examples=500)
@given(worlds(), SETTINGS)
def test_one_pass_over_many_settings_equals_a_run_of_each_alone(world, settings):
    for setting, point in zip(settings, world.run(settings), strict=True):
        assert (point,) == world.run([setting])


@hypothesis.settings(max_examples=500)
@given(worlds(), BUDGETS, WAITS, st.sampled_from([0, 0, 1, 5, 30]))
def test_a_run_equals_a_plain_loop_over_tokens(world, budget, waits, min_thinking):
    thinking, point = world.run_one(budget, waits, min_thinking)
    expected, finish, suppressed = think_plainly(world, budget, waits, min_thinking)
    assert (thinking, point.finish) == (expected, finish)
    assert [at for event, at in point.events if event == "suppressed_end"] == suppressed


@given(worlds(), BUDGETS, WAITS, st.integers(0, 5))
def test_the_answer_continues_its_own_closed_thinking(world, budget, waits, max_answer_tokens):
    (point,) = world.run([Setting("budget", budget, waits)], max_answer_tokens)
    thinking, marks = point.thinking_ids, world.markers
    newline = () if not thinking or thinking[-1] in marks.ends_in_newline else marks.newline
    closed = thinking + newline + marks.thinking_end + (marks.answer_prefix if point.finish == "forced" else ())
    answer, ended = continue_plainly(world, PROMPT + closed, marks.turn_ends, max_answer_tokens + 9)
    ended = ended and len(answer) < max_answer_tokens
    assert point.answer_ids == answer[:max_answer_tokens]
    assert point.answer_finish == ("stop" if ended else "length")


@given(worlds(), SETTINGS)
def test_the_order_of_settings_never_changes_a_point(world, settings):
    assert world.run(settings[::-1]) == world.run(settings)[::-1]


@given(worlds(), SETTINGS)
def test_settings_that_end_alike_share_one_answer(world, settings):
    asked = list_segments(world.next_token, settings, markers=world.markers, wait_ids=world.wait_ids)
    answers = [segment for segment in asked if isinstance(segment, Answer)]
    assert len(answers) == len(set(answers))


# ------------------------------------------------------------------ invariants


@given(worlds(), BUDGETS, WAITS)
def test_the_cap_is_never_exceeded_by_one_token_forced_ones_included(world, budget, waits):
    thinking, _ = world.run_one(budget, waits)
    assert len(thinking) <= budget


@given(worlds(), BUDGETS, WAITS)
def test_a_forced_end_uses_the_whole_budget(world, budget, waits):
    thinking, point = world.run_one(budget, waits)
    assert len(thinking) == budget or point.finish == "natural"


@given(worlds(), BUDGETS, WAITS)
def test_no_more_ends_are_suppressed_than_waits_are_allowed(world, budget, waits):
    setting = Setting("budget", budget, waits)
    asked = list_segments(world.next_token, [setting], markers=world.markers, wait_ids=world.wait_ids)
    assert sum(isinstance(segment, Force) for segment in asked) <= waits


@given(worlds(), BUDGETS, BUDGETS, WAITS)
def test_a_larger_budget_only_appends_to_the_thinking_of_a_smaller_one(world, one, other, waits):
    short, _ = world.run_one(min(one, other), waits)
    long, _ = world.run_one(max(one, other), waits)
    assert long[: len(short)] == short


@given(worlds(), BUDGETS, WAITS, WAITS)
def test_more_waits_only_append_to_the_thinking_of_fewer(world, budget, one, other):
    short, _ = world.run_one(budget, min(one, other))
    long, _ = world.run_one(budget, max(one, other))
    assert long[: len(short)] == short


@given(worlds(foreign_wait=True), BUDGETS, WAITS)
def test_a_suppressed_end_never_stays_in_the_trace(world, budget, waits):
    thinking, _ = world.run_one(budget, waits)
    for marker in world.markers.end_markers:
        windows = [thinking[i : i + len(marker)] for i in range(len(thinking) - len(marker) + 1)]
        assert marker not in windows


@given(worlds(), BUDGETS, WAITS)
def test_every_suppressed_end_is_followed_by_the_wait_text(world, budget, waits):
    thinking, point = world.run_one(budget, waits)
    ends = [at for event, at in point.events if event == "suppressed_end"]
    for w, at in enumerate(ends):
        wait = world.wait_ids[w % len(world.wait_ids)]
        assert thinking[at : at + len(wait)] == wait


@given(worlds(), BUDGETS, WAITS)
def test_after_a_wait_at_least_one_token_is_thought(world, budget, waits):
    _, point = world.run_one(budget, waits)
    for w, (at, following) in enumerate(pairwise(at for _, at in point.events)):
        assert following > at + len(world.wait_ids[w % len(world.wait_ids)])


@given(worlds(), BUDGETS, WAITS, st.integers(0, 30))
def test_no_thinking_ends_before_its_minimum_or_its_budget(world, budget, waits, min_thinking):
    thinking, _ = world.run_one(budget, waits, min_thinking)
    assert len(thinking) >= min(min_thinking, budget)


@given(worlds())
def test_a_large_budget_without_waits_equals_plain_decoding(world):
    expected, ended = continue_plainly(world, PROMPT, world.markers.end_markers, 50)
    thinking, point = world.run_one(40, 0)
    assert thinking == expected[:40]
    assert point.finish == ("natural" if ended and len(expected) < 40 else "forced")


@given(worlds(), SETTINGS)
def test_every_point_ends_with_exactly_one_end_event_at_its_length(world, settings):
    for point in world.run(settings):
        *before, (last, at) = point.events
        assert (last, at) == (f"{point.finish}_end", point.thinking_tokens)
        assert all(event == "suppressed_end" for event, _ in before)


# ------------------------------------------------------------------ single cases


def test_an_end_at_once_leaves_an_empty_thinking():
    assert run_one(replay(2), ENOUGH)[0] == ()


def test_an_end_at_once_is_a_natural_end():
    assert run_one(replay(2), ENOUGH)[1].events == (("natural_end", 0),)


def test_an_end_at_once_can_be_suppressed():
    thinking, _ = run_one(replay(2, 30, 31, 5, 2, then=2), ENOUGH, 1)
    assert thinking[: len(WAIT)] == WAIT


def test_a_thinking_that_never_ends_is_cut_at_the_budget():
    thinking, point = run_one(replay(then=5), 7, 3)
    assert (thinking, point.events) == ((5,) * 7, (("forced_end", 7),))


@pytest.mark.parametrize("budget", range(8))
@pytest.mark.parametrize("written", range(4))
def test_a_marker_of_several_tokens_is_an_end_if_it_begins_within_the_budget(written, budget):
    markers = replace(MARKERS, end_markers=((6, 7, 8),))
    _, point = run_one(replay(*[5] * written, 6, 7, 8), budget, markers=markers)
    assert point.finish == ("natural" if written < budget else "forced")


@pytest.mark.parametrize("budget", range(1, 6))
def test_a_marker_that_is_never_completed_is_thinking(budget):
    markers = replace(MARKERS, end_markers=((6, 7, 8),))
    thinking, _ = run_one(replay(5, 6, 7, 9), budget, markers=markers)
    assert thinking == (5, 6, 7, 9, 50)[:budget]


def test_of_two_markers_that_end_together_the_longer_one_is_dropped():
    thinking, _ = run_one(replay(5, 11, 1), ENOUGH)
    assert thinking == (5,)


def test_a_marker_completed_beyond_the_budget_hides_any_longer_one_around_it():
    markers = replace(MARKERS, end_markers=((6, 7, 8, 9), (8,)))  # 8 completes first, at 3, however long the budget
    thinking, point = run_one(replay(5, 6, 7, 8, 9), 2, markers=markers)
    assert (thinking, point.finish) == ((5, 6), "forced")


def test_the_end_of_the_turn_inside_the_thinking_is_an_end():
    assert run_one(replay(5, 6, 2), ENOUGH)[1].events == (("natural_end", 2),)


def test_an_end_right_at_the_budget_is_a_forced_end():
    assert run_one(replay(5, 6, 2), 2)[1].events == (("forced_end", 2),)


def test_budget_zero_asks_for_no_thinking_at_all():
    asked = list_segments(replay(then=5), [Setting("budget", 0, 2)])
    assert asked == [Answer(0, MARKERS.thinking_end + MARKERS.answer_prefix, 3, MARKERS.turn_ends)]


def test_budget_one_keeps_one_token():
    assert run_one(replay(5, 6), 1)[0] == (5,)


def test_a_natural_end_forces_the_end_of_thinking_but_no_answer_prefix():
    *_, answer = list_segments(replay(5, 2), [Setting("budget", ENOUGH, 0)])
    assert answer.forced == MARKERS.newline + MARKERS.thinking_end


def test_a_cut_forces_the_answer_prefix_too():
    *_, answer = list_segments(replay(then=5), [Setting("budget", 4, 0)])
    assert answer.forced == MARKERS.newline + MARKERS.thinking_end + MARKERS.answer_prefix


def test_no_second_newline_is_forced_after_a_text_that_ends_in_one():
    *_, answer = list_segments(replay(5, 11), [Setting("budget", 2, 0)])
    assert answer.forced == MARKERS.thinking_end + MARKERS.answer_prefix


@pytest.mark.parametrize(("budget", "suppressed"), [(4, 0), (5, 1)])
def test_an_end_is_suppressed_only_if_the_wait_text_and_one_more_token_fit(budget, suppressed):
    _, point = run_one(replay(5, 6, 2, then=7), budget, 1)  # the end lies at 2, the wait text has 2 ids
    assert len(point.events) - 1 == suppressed


def test_only_the_first_token_after_a_wait_is_kept_from_being_an_end():
    asked = list_segments(replay(5, 2), [Setting("budget", 9, 1)])
    assert [segment.min_tokens for segment in asked if isinstance(segment, Decode)] == [0, 1]


@pytest.mark.parametrize(("budget", "waits"), [(-1, 0), (0, -1)])
def test_a_negative_budget_or_number_of_waits_is_refused(budget, waits):
    with pytest.raises(ValueError, match="0 or more"):
        Setting("budget", budget, waits)


def test_waits_without_a_text_are_refused():
    with pytest.raises(ValueError, match="Waits need a text"):
        run_one(replay(2), 9, 1, wait_ids=())


def test_no_text_is_needed_where_no_waits_are_asked_for():
    assert run_one(replay(5, 2), 9, 0, wait_ids=())[0] == (5,)


def test_an_empty_list_of_settings_is_refused():
    with pytest.raises(ValueError, match="at least one setting"):
        run(replay(2), [])


# ------------------------------------------------------------------ how a decode ends

SHORT = st.lists(st.integers(0, 2), max_size=8)
STOPS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), max_size=4)


@given(SHORT, STOPS)
def test_the_stop_matched_is_the_longest_the_ids_end_with(ids, stops):
    ending = {tuple(ids[i:]) for i in range(len(ids))}
    assert len(match_stop(ids, stops)) == max((len(stop) for stop in stops if stop in ending), default=0)


@given(SHORT, STOPS)
def test_as_many_ids_are_pending_as_may_begin_a_stop(ids, stops):
    beginnings = {stop[:n] for stop in stops for n in range(1, len(stop))}
    lengths = [n for n in range(1, len(ids) + 1) if tuple(ids[-n:]) in beginnings]
    assert count_pending(ids, stops) == max(lengths, default=0)


@hypothesis.settings(max_examples=500)
@given(SHORT.filter(bool), STOPS, st.integers(0, 6))
@example([0, 1, 2], [(0, 1, 2, 0), (2,)], 1)
def test_a_decode_that_goes_on_could_still_end_within_its_limit(ids, stops, max_tokens):
    if check_decode(ids, max_tokens, stops) is None:
        assert len(ids) - count_pending(ids, stops) < max_tokens
        assert not match_stop(ids, stops)


@hypothesis.settings(max_examples=500)
@given(SHORT.filter(bool), STOPS, st.integers(0, 6))
@example([0, 0], [(0,)], 0)
def test_a_decode_never_keeps_more_than_its_limit(ids, stops, max_tokens):
    kept, _ = check_decode(ids, max_tokens, stops) or (0, ())
    assert kept <= max_tokens
