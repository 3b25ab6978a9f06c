"""Soft budgets over scripted engines: past the budget, thinking ends where the model would nearly end it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.budget_forcing import AUTO, Answer, Decode, Markers, Setting, Trace, find_end, fit_settings, force_budget
from s1_utils.engines import Row, find_banned
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


def run(next_token, rank, settings, *, markers=MARKERS, wait_ids=(WAIT,), min_thinking=0):
    """(points, segments asked for)."""
    asked = []
    options = {"wait_ids": wait_ids, "min_thinking": min_thinking, "max_answer_tokens": 3}
    policy = force_budget(markers, settings, **options)

    def listen():
        sent = None
        while True:
            try:
                asked.append(policy.send(sent))
            except StopIteration as stop:
                return stop.value
            sent = yield asked[-1]

    return ScriptedEngine(next_token, rank=rank).run([Row(PROMPT, listen())])[0], asked


def end_softly(*written, ranks, budget, extra, rank, then=5, default=9, **options):
    """The point of one soft setting: the model writes `written`, an end is as near as `ranks` says at each position."""

    def next_token(prefix):
        return dict(enumerate(written, len(PROMPT))).get(len(prefix), then)

    def find_rank(prefix, watch):
        return dict(enumerate(ranks, len(PROMPT))).get(len(prefix), default)

    (points, _) = run(next_token, find_rank, [Setting("soft", budget, 0, extra, rank)], **options)
    return points[0]


# ------------------------------------------------------------------ random worlds


@dataclass(frozen=True)
class World:
    """Ids 0…size-1, a format over them, and a model whose liking of each id is a hash of all ids so far."""

    seed: int
    size: int
    markers: Markers
    wait_ids: tuple[tuple[int, ...], ...]  # in turn

    def sort_ids(self, prefix):
        """All ids, the most likely first."""
        return sorted(range(self.size), key=lambda i: hash((self.seed, i, *prefix)))

    def next_token(self, prefix):
        return self.sort_ids(prefix)[0]

    def rank(self, prefix, watch):
        return next((n for n, i in enumerate(self.sort_ids(prefix)) if i in watch), self.size)

    def run(self, settings, min_thinking=0):
        options = {"markers": self.markers, "wait_ids": self.wait_ids, "min_thinking": min_thinking}
        return run(self.next_token, self.rank, settings, **options)[0]


@st.composite
def worlds(draw, longest=3):
    """`longest`: how many ids a marker has at most."""
    size = draw(st.integers(3, 9))
    ids = st.integers(0, size - 1)
    words = st.lists(ids, min_size=1, max_size=longest).map(tuple)
    markers = Markers(
        end_markers=tuple(draw(st.lists(words, min_size=1, max_size=3, unique=True))),
        thinking_end=(0,),
        answer_prefix=(1,),
        newline=(2,),
        ends_in_newline=frozenset({2}),
        turn_ends=((0,),),
    )
    wait = st.lists(ids, max_size=2).map(tuple)
    return World(draw(st.integers(0, 2**32)), size, markers, tuple(draw(st.lists(wait, min_size=1, max_size=2))))


BUDGETS = st.integers(0, 14)
WAITS = st.integers(0, 3)
EXTRAS = st.integers(1, 9)
RANKS = st.integers(1, 4)
SOFT = st.builds(Setting, st.just("soft"), BUDGETS, WAITS, EXTRAS, RANKS)
HARD = st.builds(Setting, st.just("budget"), BUDGETS, WAITS)


def find_longest_end(ids, stops):
    return max((stop for stop in stops if tuple(ids)[-len(stop) :] == stop), key=len, default=())


def find_openings(markers):
    """Oracle: the first ids of the end markers that don't end in another one."""
    ends = markers.end_markers
    return [m[0] for m in ends if not any(m[i:] in ends for i in range(1, len(m)))]


def write_plainly(world, prefix, limit, least):
    """Oracle: (ids up to the first end marker to be complete, whether one came, where some id was forbidden).

    No marker leaves fewer than `least` ids: the id that would complete it isn't written.
    """
    ids, stops, strict = (), world.markers.end_markers, set()
    while len(ids) < limit:
        ends = {token: find_longest_end((*ids, token), stops) for token in range(world.size)}
        forbidden = {token for token, end in ends.items() if end and len(ids) + 1 - len(end) < least}
        if forbidden:
            strict.add(len(ids))
        ids += (next(token for token in (world.next_token(prefix + ids), *range(99)) if token not in forbidden),)
        if ended := ends.get(ids[-1], ()):
            return ids[: -len(ended)], True, strict
    return ids, False, strict


def think_plainly(world, setting):
    """Oracle: (thinking, finish) of a soft setting, by the words of `Setting`."""
    thinking, waited = (), 0
    while True:
        start = len(thinking)
        limit, least = setting.budget + setting.extra + 9, 1 if waited else 0
        ids, ended, strict = write_plainly(world, PROMPT + thinking, limit, least)
        thinking += ids
        for at in range(max(start, setting.budget), min(len(thinking), setting.budget + setting.extra)):
            likely = world.sort_ids(PROMPT + thinking[:at])[: setting.rank]
            if set(likely) & set(find_openings(world.markers)) and at - start not in strict:
                return thinking[:at], "soft"
        if len(thinking) >= setting.budget + setting.extra or not ended:
            return thinking[: setting.budget + setting.extra], "forced"
        wait = world.wait_ids[waited % len(world.wait_ids)]
        if waited == setting.waits or len(thinking) + len(wait) + 1 > setting.budget:
            return thinking, "natural"
        thinking += wait
        waited += 1


# ------------------------------------------------------------------ what is true whatever the model writes


@hypothesis.settings(max_examples=150)
@given(worlds(), SOFT)
def test_a_soft_budget_equals_a_plain_loop_over_tokens(world, setting):
    (point,) = world.run([setting])
    assert (point.thinking_ids, point.finish) == think_plainly(world, setting)


@given(worlds(), st.lists(st.one_of(SOFT, HARD), min_size=2, max_size=5), st.sampled_from([0, 0, 3, 30]))
def test_soft_and_hard_budgets_in_one_pass_equal_a_run_of_each_alone(world, settings, min_thinking):
    for setting, point in zip(settings, world.run(settings, min_thinking), strict=True):
        assert (point,) == world.run([setting], min_thinking)


@given(worlds(), SOFT)
def test_a_soft_end_lies_past_the_budget_and_before_the_cap(world, setting):
    (point,) = world.run([setting])
    lengths = {"natural": range(setting.cap), "soft": range(setting.budget, setting.cap), "forced": [setting.cap]}
    assert point.thinking_tokens in lengths[point.finish]


@given(worlds(), SOFT)
def test_a_soft_budget_only_appends_to_the_thinking_of_the_hard_one(world, setting):
    soft, hard = world.run([setting, replace(setting, extra=0, rank=0)])
    assert soft.thinking_ids[: hard.thinking_tokens] == hard.thinking_ids
    assert soft.thinking_ids == hard.thinking_ids or hard.finish == "forced"


@given(worlds(), SOFT, EXTRAS)
def test_more_extra_only_appends_to_the_thinking_of_less(world, setting, more):
    less, more = world.run([setting, replace(setting, extra=setting.extra + more)])
    assert more.thinking_ids[: less.thinking_tokens] == less.thinking_ids
    assert more.thinking_ids == less.thinking_ids or less.finish == "forced"


@given(worlds(), SOFT, RANKS)
def test_a_larger_rank_never_ends_later(world, setting, more):
    strict, lenient = world.run([setting, replace(setting, rank=setting.rank + more)])
    assert lenient.thinking_tokens <= strict.thinking_tokens


@given(worlds(), SOFT)
def test_a_rank_of_the_whole_vocabulary_ends_right_at_the_budget(world, setting):
    (point,) = world.run([replace(setting, rank=world.size)])
    assert point.thinking_tokens == setting.budget or point.finish == "natural"


@given(worlds(), SOFT)
def test_a_soft_end_is_the_last_event_of_its_point(world, setting):
    (point,) = world.run([setting])
    assert point.events[-1] == (f"{point.finish}_end", point.thinking_tokens)


@given(worlds(longest=1), SOFT, st.integers(0, 30))
def test_no_soft_end_comes_before_the_least_thinking(world, setting, min_thinking):
    (point,) = world.run([setting], min_thinking)
    assert point.thinking_tokens >= min(min_thinking, setting.cap)


# ------------------------------------------------------------------ single cases


def test_a_soft_budget_ends_at_the_first_position_where_an_end_is_likely():
    point = end_softly(ranks=[9, 9, 9, 2, 1, 0], budget=2, extra=9, rank=2)
    assert (point.thinking_ids, point.events) == ((5,) * 4, (("soft_end", 4),))


@pytest.mark.parametrize(("rank", "length"), [(1, 5), (2, 4), (3, 3), (4, 3)])
def test_as_many_ids_are_looked_at_as_the_rank_says(rank, length):
    assert end_softly(ranks=[9, 9, 9, 2, 1, 0], budget=3, extra=9, rank=rank).thinking_tokens == length


def test_a_likely_end_before_the_budget_is_passed_over():
    assert end_softly(ranks=[0, 0, 0, 9, 0], budget=3, extra=9, rank=1).thinking_tokens == 4


def test_a_likely_end_right_at_the_budget_is_taken():
    assert end_softly(ranks=[9, 9, 9, 0], budget=3, extra=9, rank=1).events == (("soft_end", 3),)


def test_a_likely_end_on_the_last_extra_token_is_taken():
    assert end_softly(ranks=[9, 9, 9, 9, 0], budget=3, extra=2, rank=1).events == (("soft_end", 4),)


def test_a_likely_end_right_at_the_cap_comes_too_late():
    assert end_softly(ranks=[9, 9, 9, 9, 9, 0], budget=3, extra=2, rank=1).events == (("forced_end", 5),)


def test_without_a_likely_end_the_extra_is_used_up():
    assert end_softly(ranks=[], budget=3, extra=2, rank=1).events == (("forced_end", 5),)


def test_a_natural_end_before_a_likely_one_wins():
    point = end_softly(5, 5, 5, 5, 1, ranks=[], default=9, budget=3, extra=9, rank=4)
    assert point.events == (("natural_end", 4),)


def test_a_likely_end_before_a_natural_one_wins():
    point = end_softly(5, 5, 5, 5, 1, ranks=[9, 9, 9, 0], budget=3, extra=9, rank=1)
    assert point.events == (("soft_end", 3),)


def test_an_end_both_likely_and_written_is_natural():
    point = end_softly(5, 5, 5, 5, 1, ranks=[9, 9, 9, 9, 0], budget=3, extra=9, rank=1)
    assert point.events == (("natural_end", 4),)


def test_an_end_written_right_at_a_soft_budget_is_natural():
    assert end_softly(5, 5, 1, ranks=[], budget=2, extra=1, rank=1).events == (("natural_end", 2),)


def test_an_end_written_right_at_the_cap_is_forced():
    assert end_softly(5, 5, 5, 1, ranks=[], budget=2, extra=1, rank=1).events == (("forced_end", 3),)


def test_the_newline_of_a_natural_end_is_no_soft_end_of_its_own():
    point = end_softly(5, 5, 11, 1, ranks=[9, 9, 9, 0], budget=2, extra=5, rank=1)
    assert (point.thinking_ids, point.finish) == ((5, 5), "natural")


def test_a_marker_that_is_begun_and_not_completed_is_a_soft_end():
    markers = replace(MARKERS, end_markers=((6, 7),))
    point = end_softly(5, 5, 6, 8, ranks=[9, 9, 0], budget=1, extra=5, rank=1, markers=markers)
    assert (point.thinking_ids, point.finish) == ((5, 5), "soft")


def test_a_soft_budget_of_zero_may_end_at_once():
    assert end_softly(ranks=[0], budget=0, extra=5, rank=1).events == (("soft_end", 0),)


def test_a_natural_end_before_a_soft_budget_can_be_suppressed():
    def next_token(prefix):
        return 1 if len(prefix) == len(PROMPT) + 1 else 5

    settings = [Setting("soft", 6, 1, 4, 1)]
    ((point,), _) = run(next_token, lambda prefix, watch: 0 if len(prefix) == len(PROMPT) + 7 else 9, settings)
    assert point.thinking_ids == (5, *WAIT, 5, 5, 5, 5)
    assert point.events == (("suppressed_end", 1), ("soft_end", 7))


def test_a_natural_end_past_a_soft_budget_is_never_suppressed():
    def next_token(prefix):
        return 1 if len(prefix) == len(PROMPT) + 4 else 5

    ((point,), _) = run(next_token, lambda prefix, watch: 9, [Setting("soft", 3, 2, 20, 1)])
    assert point.events == (("natural_end", 4),)


def test_the_room_for_a_wait_is_that_of_the_budget_and_not_of_the_cap():
    def next_token(prefix):
        return 1 if len(prefix) == len(PROMPT) + 2 else 5

    ((point,), _) = run(next_token, lambda prefix, watch: 9, [Setting("soft", 4, 1, 20, 1)])
    assert point.events == (("natural_end", 2),)


def test_a_soft_end_closes_the_thinking_without_an_answer_prefix():
    _, asked = run(lambda prefix: 5, lambda prefix, watch: 0, [Setting("soft", 3, 0, 2, 1)])
    assert asked[-1] == Answer(3, MARKERS.newline + MARKERS.thinking_end, 3, MARKERS.turn_ends)


def test_the_cap_of_a_soft_budget_forces_the_answer_prefix_too():
    _, asked = run(lambda prefix: 5, lambda prefix, watch: 9, [Setting("soft", 3, 0, 2, 1)])
    assert asked[-1].forced == MARKERS.newline + MARKERS.thinking_end + MARKERS.answer_prefix


def test_a_soft_and_a_forced_end_at_the_same_length_have_answers_of_their_own():
    settings = [Setting("soft", 3, 0, 2, 1), Setting("budget", 3, 0)]
    (soft, hard), asked = run(lambda prefix: 5, lambda prefix, watch: 0, settings)
    assert (soft.thinking_ids, hard.thinking_ids) == ((5,) * 3, (5,) * 3)
    assert len({segment.forced for segment in asked if isinstance(segment, Answer)}) == 2


def test_ends_are_watched_only_for_soft_settings():
    _, asked = run(lambda prefix: 5, None, [Setting("budget", 3, 0)])
    assert asked[0] == Decode(3, MARKERS.end_markers)


def test_ends_are_watched_down_to_the_largest_rank():
    settings = [Setting("soft", 3, 0, 2, 1), Setting("soft", 4, 0, 2, 7), Setting("budget", 5, 0)]
    _, asked = run(lambda prefix: 5, lambda prefix, watch: 9, settings)
    assert (asked[0].max_tokens, asked[0].watch, asked[0].top) == (6, (1, 2), 7)


@pytest.mark.parametrize(("extra", "rank"), [(1, 0), (0, 1), (-1, 1), (1, -1), (-1, -1), (-1, 0), (0, -1)])
def test_a_soft_budget_needs_both_extra_and_rank(extra, rank):
    with pytest.raises(ValueError, match="needs extra and rank of 1 or more"):
        Setting("soft", 4, 0, extra, rank)


def test_the_cap_of_a_setting_is_its_budget_and_its_extra():
    assert (Setting("soft", 4, 0, 3, 1).cap, Setting("budget", 4, 0).cap) == (7, 4)


# ------------------------------------------------------------------ ends of any trace


@st.composite
def traces(draw):
    """(a trace, a setting that it is long enough for); forced and unwatched positions anywhere."""
    setting = draw(st.one_of(SOFT, HARD))
    ends = sorted(draw(st.sets(st.integers(0, 20), max_size=4)))
    is_ended = bool(ends) and draw(st.booleans())
    length = ends[-1] if is_ended else max([setting.cap, *ends]) + draw(st.integers(0, 3))
    ranks = draw(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=length, max_size=length))
    if is_ended and len(ends) <= setting.waits:
        setting = replace(setting, waits=len(ends) - 1)
    return Trace([5] * length, ends, ranks), setting


def find_end_plainly(trace, setting, wait):
    """Oracle: position by position, the first thing that ends the setting."""
    waited = 0
    for at in range(setting.budget + setting.extra):
        if at in trace.ends:
            if at + len(wait) + 1 > setting.budget or waited == setting.waits:
                return at, "natural"
            waited += 1
        if at >= setting.budget and trace.ranks[at] in range(setting.rank):
            return at, "soft"
    return setting.budget + setting.extra, "forced"


@hypothesis.settings(max_examples=200)
@given(traces(), st.sampled_from([(), (30,), (30, 31)]))
def test_the_end_in_a_trace_is_the_first_position_with_a_reason(pair, wait):
    trace, setting = pair
    assert find_end(trace, setting, (wait,)) == find_end_plainly(trace, setting, wait)


@given(SOFT, st.integers(0, 9))
def test_a_forced_text_or_an_unwatched_id_never_ends_a_soft_budget(setting, more):
    length = setting.cap + more
    trace = Trace([5] * length, [], [None] * length)
    assert find_end(trace, setting, ((),)) == (setting.cap, "forced")


def test_a_soft_end_is_found_behind_a_forced_text():
    trace = Trace([5] * 9, [], [None, None, None, None, None, 0, None, None, None])
    assert find_end(trace, Setting("soft", 3, 0, 6, 1), ((),)) == (5, "soft")


# ------------------------------------------------------------------ ids that may not follow

SHORT = st.lists(st.integers(0, 2), max_size=8)
STOPS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), max_size=4)


@hypothesis.settings(max_examples=200)
@given(SHORT, STOPS, st.integers(-1, 9))
def test_an_id_is_banned_if_its_longest_stop_would_leave_too_few(ids, stops, min_tokens):
    ended = {i: find_longest_end((*ids, i), stops) for i in range(4)}
    early = [i for i, stop in ended.items() if stop and len(ids) + 1 - len(stop) < min_tokens]
    assert sorted(find_banned(ids, stops, min_tokens)) == early


def test_an_id_that_completes_a_short_stop_inside_a_longer_one_is_judged_by_the_longer():
    assert find_banned([5, 11, 12], [(11, 12, 1), (1,)], 2) == [1]
    assert find_banned([5, 11, 12], [(1,)], 2) == []


# ------------------------------------------------------------------ all the room there is


def test_an_auto_budget_becomes_the_room_there_is():
    assert fit_settings([Setting("auto", AUTO, 2)], 100) == [Setting("auto", 100, 2)]


def test_an_auto_budget_with_extra_leaves_room_for_it():
    assert fit_settings([Setting("auto", AUTO, 2, 30, 4)], 100) == [Setting("auto", 70, 2, 30, 4)]


@given(st.lists(st.one_of(SOFT, HARD), min_size=1, max_size=4), st.integers(0, 40))
def test_settings_that_fit_stay_as_they_are_and_others_are_refused(settings, room):
    if max(setting.budget + setting.extra for setting in settings) <= room:
        assert fit_settings(settings, room) == settings
    else:
        with pytest.raises(ValueError, match=f"and there is room for {room}"):
            fit_settings(settings, room)


def test_an_auto_budget_beside_one_that_fits_changes_alone():
    settings = [Setting("budget", 8, 0), Setting("auto", AUTO, 0), Setting("budget", 9, 1)]
    assert [setting.budget for setting in fit_settings(settings, 9)] == [8, 9, 9]


@pytest.mark.parametrize(("extra", "room"), [(0, -1), (5, 4)])
def test_an_auto_budget_without_any_room_is_refused(extra, room):
    with pytest.raises(ValueError, match=f"there is room for {room}"):
        fit_settings([Setting("auto", AUTO, 0, extra, min(extra, 1))], room)


@pytest.mark.parametrize(("extra", "room"), [(0, 0), (5, 5)])
def test_an_auto_budget_may_come_to_nothing(extra, room):
    (fitted,) = fit_settings([Setting("auto", AUTO, 0, extra, min(extra, 1))], room)
    assert fitted.budget == 0


# ------------------------------------------------------------------ what opens an end marker


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple), min_size=1, max_size=5, unique=True))
def test_the_openings_are_those_of_markers_that_end_in_no_other(markers):
    made = replace(MARKERS, end_markers=tuple(markers))
    assert set(made.openings) == set(find_openings(made))


@pytest.mark.parametrize(
    ("markers", "openings"),
    [
        (((11, 1), (1,), (11, 2), (2,)), (1, 2)),
        (((11, 1),), (11,)),
        (((2,), (1,)), (2, 1)),
        (((7, 8), (7, 9), (7,)), (7,)),
        (((11, 12, 7), (12, 7), (7,), (12, 7, 11), (7, 11)), (7,)),
        (((6, 7, 8), (7, 8)), (7,)),
    ],
)
def test_every_opening_is_listed_once_in_the_order_of_the_markers(markers, openings):
    assert replace(MARKERS, end_markers=markers).openings == openings
