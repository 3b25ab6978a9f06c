"""Other controls over scripted engines: against plain loops, the original's own ones among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import controls
from s1_utils.budget_forcing import Answer, Decode, Force, Markers, Point, Restart, Setting
from s1_utils.controls import count_down, force_as_harness, force_as_readme, reject_longer, think_freely
from s1_utils.engines import Row
from s1_utils.engines.scripted import ScriptedEngine

MARKERS = Markers(
    end_markers=((11, 1), (1,), (11, 2), (2,)),  # 1: start of a turn, 2: end of a turn, 11: newline
    thinking_end=(1, 20),
    answer_prefix=(21, 22),
    newline=(11,),
    ends_in_newline=frozenset({11}),
    turn_ends=((2,), (1,)),
    thinking_start=(1, 19),
)
PROMPT = (90, 91)
WAIT = (30, 31)
STOP_IDS = (1, 2)


def replay(*ids, then=50):
    """A script that writes `ids` one after another from the prompt on, then `then` for ever."""
    return lambda prefix: dict(enumerate(ids, len(PROMPT))).get(len(prefix), then)


def after_wait(first, second, then=50):
    """A script that writes `first`, then `second` after a wait; a 2 is dropped, and so never in the ids so far."""

    def next_token(prefix):
        written = prefix[len(PROMPT) :]
        if WAIT[-1] not in written:
            return dict(enumerate(first)).get(len(written), then)
        return dict(enumerate(second)).get(len(written) - written.index(WAIT[-1]) - 1, then)

    return next_token


def follow(next_token, policy):
    """(points, segments asked for); `next_token` also gets how many Restarts there were before."""
    asked = []

    def listen():
        sent = None
        while True:
            try:
                asked.append(policy.send(sent))
            except StopIteration as stop:
                return stop.value
            sent = yield asked[-1]

    def write(prefix):
        return next_token(prefix, asked.count(Restart()))

    return ScriptedEngine(write).run([Row(PROMPT, listen())])[0], asked


# ------------------------------------------------------------------ random worlds


@dataclass(frozen=True)
class World:
    """A format, what the model is made to say, and a model whose next id is a hash of all ids so far."""

    seed: int
    size: int
    markers: Markers
    stop_ids: tuple[int, ...]
    wait_ids: tuple[int, ...]

    def next_token(self, prefix, restarts=0):
        return hash((self.seed, restarts, *prefix)) % self.size


@st.composite
def worlds(draw, sizes):
    """A turn ends with one of the stop ids, as the original's do; wait texts hold none of them."""
    size = draw(sizes)
    ids = st.integers(0, size - 1)
    words = st.lists(ids, min_size=1, max_size=3).map(tuple)
    stop_ids = tuple(draw(st.lists(ids, min_size=1, max_size=2, unique=True)))
    ends = ((draw(st.sampled_from(stop_ids)),), *draw(st.lists(words, max_size=1)))
    markers = Markers(
        end_markers=tuple(draw(st.lists(words, min_size=1, max_size=3, unique=True))),
        thinking_end=draw(words),
        answer_prefix=draw(words),
        newline=draw(words),
        ends_in_newline=draw(st.frozensets(ids)),
        turn_ends=ends,
        thinking_start=draw(st.one_of(st.just(()), words)),
    )
    wait = st.lists(st.integers(0, 12).filter(lambda i: i not in stop_ids), max_size=3).map(tuple)
    return World(draw(st.integers(0, 2**32)), size, markers, stop_ids, draw(wait))


CROWDED = worlds(st.integers(3, 5))  # ends come soon
ROOMY = worlds(st.integers(4, 12))
BUDGETS = st.integers(1, 12)
WAITS = st.integers(0, 3)


def write_plainly(world, prefix, stops, limit, restarts=0):
    """Oracle: (ids after `prefix` before the first stop to be complete, whether it began within `limit`)."""
    ids = ()
    for _ in range(limit + 9):
        ids += (world.next_token(prefix + ids, restarts),)
        ended = max((stop for stop in stops if ids[-len(stop) :] == stop), key=len, default=())
        if ended:
            kept = ids[: -len(ended)]
            return kept[:limit], len(kept) < limit
    return ids[:limit], False


def spell(ids):
    """One character an id."""
    return "".join(chr(97 + i) for i in ids)


# ------------------------------------------------------------------ no intervention


def think(next_token, *, max_tokens=99, markers=MARKERS, is_opened=True):
    policy = think_freely(markers, max_tokens=max_tokens, is_opened=is_opened)
    ((point,), _) = follow(lambda prefix, _: next_token(prefix), policy)
    return point


def split_plainly(world, max_tokens, is_opened):
    """Oracle, over characters: (thinking, finish, answer, how the answer ended)."""
    marks = world.markers
    ids, stopped = write_plainly(world, PROMPT, marks.turn_ends[:1], max_tokens)
    text, start = spell(ids), spell(marks.thinking_start)
    ended = "stop" if stopped else "length"
    if not is_opened:
        if not start or not text.startswith(start):
            return "", "natural", text, ended
        text = text.removeprefix(start)
    thinking, closed, answer = text.partition(spell(marks.thinking_end))
    if closed:
        return thinking, "natural", answer, ended
    return thinking, "natural" if stopped else "forced", "", ended


@hypothesis.settings(max_examples=150)
@given(CROWDED, st.integers(0, 24), st.booleans())
def test_a_free_thinking_is_split_as_its_text_would_be(world, max_tokens, is_opened):
    point = think(world.next_token, max_tokens=max_tokens, markers=world.markers, is_opened=is_opened)
    found = spell(point.thinking_ids), point.finish, spell(point.answer_ids), point.answer_finish
    assert found == split_plainly(world, max_tokens, is_opened)


@given(CROWDED, st.integers(0, 24), st.booleans())
def test_a_free_thinking_has_one_event_its_end(world, max_tokens, is_opened):
    point = think(world.next_token, max_tokens=max_tokens, markers=world.markers, is_opened=is_opened)
    assert point.events == ((f"{point.finish}_end", point.thinking_tokens),)


def test_free_thinking_and_answer_are_parted_by_the_delimiter():
    point = think(replay(5, 6, 1, 20, 7, 8, 2))
    assert (point.thinking_ids, point.finish, point.answer_ids, point.answer_finish) == (
        (5, 6),
        "natural",
        (7, 8),
        "stop",
    )


def test_free_thinking_is_asked_for_in_one_decode_that_only_the_end_of_the_turn_ends():
    _, asked = follow(lambda prefix, _: 2, think_freely(MARKERS, max_tokens=9))
    assert asked == [Decode(9, ((2,),))]


def test_a_turn_that_never_closes_its_opened_thinking_has_no_answer():
    point = think(replay(5, 6, 2))
    assert (point.thinking_ids, point.answer_ids, point.events) == ((5, 6), (), (("natural_end", 2),))


def test_an_opened_thinking_cut_by_length_is_a_forced_end():
    point = think(replay(then=5), max_tokens=3)
    assert (point.thinking_ids, point.answer_ids, point.events) == ((5, 5, 5), (), (("forced_end", 3),))


def test_a_thinking_closed_at_once_is_empty():
    point = think(replay(1, 20, 7, 2))
    assert (point.thinking_ids, point.answer_ids) == ((), (7,))


def test_a_turn_that_ends_at_once_has_neither_thinking_nor_answer():
    point = think(replay(2))
    assert (point.thinking_ids, point.finish, point.answer_ids, point.answer_finish) == ((), "natural", (), "stop")


def test_a_delimiter_at_the_very_end_of_the_turn_leaves_an_empty_answer():
    point = think(replay(5, 1, 20, 2))
    assert (point.thinking_ids, point.finish, point.answer_ids, point.answer_finish) == ((5,), "natural", (), "stop")


def test_a_delimiter_that_just_fits_the_length_closes_the_thinking():
    point = think(replay(5, 1, 20), max_tokens=3)
    assert (point.thinking_ids, point.finish, point.answer_ids, point.answer_finish) == ((5,), "natural", (), "length")


def test_half_a_delimiter_at_the_length_is_thinking():
    point = think(replay(5, 1, 20), max_tokens=2)
    assert (point.thinking_ids, point.finish) == ((5, 1), "forced")


def test_the_start_of_a_turn_alone_does_not_close_a_free_thinking():
    assert think(replay(5, 1, 6, 1, 20, 7, 2)).thinking_ids == (5, 1, 6)


def test_an_answer_cut_by_length_leaves_a_natural_end_of_thinking():
    point = think(replay(5, 1, 20, then=7), max_tokens=5)
    assert (point.finish, point.answer_ids, point.answer_finish) == ("natural", (7, 7), "length")


@pytest.mark.parametrize("written", [(11,), (5, 11), (5, 11, 11), (11, 5), (5, 6)])
@pytest.mark.parametrize("closing", [(1, 20, 7, 2), (2,)])
def test_only_the_delimiter_is_not_thinking(written, closing):
    assert think(replay(*written, *closing)).thinking_ids == written


def test_the_first_delimiter_counts_and_a_second_one_is_answer():
    assert think(replay(5, 1, 20, 7, 1, 20, 8, 2)).answer_ids == (7, 1, 20, 8)


def test_a_delimiter_of_three_tokens_is_found_behind_its_own_beginning():
    markers = replace(MARKERS, thinking_end=(6, 6, 7))
    point = think(replay(5, 6, 6, 6, 7, 8, 2), markers=markers)
    assert (point.thinking_ids, point.answer_ids) == ((5, 6), (8,))


def test_a_thinking_the_model_opens_itself_comes_without_its_opening():
    point = think(replay(1, 19, 5, 1, 20, 7, 2), is_opened=False)
    assert (point.thinking_ids, point.answer_ids, point.events) == ((5,), (7,), (("natural_end", 1),))


def test_a_thinking_the_model_opens_and_never_closes_is_forced_to_end_by_length():
    point = think(replay(1, 19, then=5), max_tokens=4, is_opened=False)
    assert (point.thinking_ids, point.answer_ids, point.events) == ((5, 5), (), (("forced_end", 2),))


def test_what_comes_without_an_opening_is_answer_even_with_a_delimiter():
    point = think(replay(7, 1, 20, 8, 2), is_opened=False)
    assert (point.thinking_ids, point.finish, point.answer_ids) == ((), "natural", (7, 1, 20, 8))


def test_an_answer_without_thinking_that_runs_out_of_length_is_no_forced_end():
    point = think(replay(then=7), max_tokens=3, is_opened=False)
    assert (point.finish, point.answer_ids, point.answer_finish) == ("natural", (7, 7, 7), "length")


def test_an_opening_later_than_at_the_start_opens_nothing():
    assert think(replay(7, 1, 19, 5, 1, 20, 8, 2), is_opened=False).thinking_ids == ()


def test_a_second_opening_inside_an_opened_thinking_stays():
    assert think(replay(1, 19, 5, 1, 20, 7, 2)).thinking_ids == (1, 19, 5)


def test_a_format_without_an_opening_can_only_be_opened_by_the_prompt():
    markers = replace(MARKERS, thinking_start=())
    assert think(replay(5, 1, 20, 7, 2), markers=markers, is_opened=False).answer_ids == (5, 1, 20, 7)
    assert think(replay(5, 1, 20, 7, 2), markers=markers).answer_ids == (7,)


# ------------------------------------------------------------------ rejection sampling


def reject(next_token, budgets, *, markers=MARKERS, max_tries=5, max_answer_tokens=3):
    settings = [Setting("reject", budget, 0) for budget in budgets]
    policy = reject_longer(markers, settings, max_tries=max_tries, max_answer_tokens=max_answer_tokens)
    return follow(next_token, policy)


def replay_samples(*samples, then=50):
    """One script a sample; every answer is a 7, then the end of the turn."""

    def next_token(prefix, restarts):
        written = prefix[len(PROMPT) :]
        if 20 in written:
            return 7 if written[-1] == 20 else 2
        return dict(enumerate(samples[restarts])).get(len(written), then)

    return next_token


def reject_plainly(world, budget, max_tries, max_answer_tokens):
    """Oracle: the point of the first sample that ends within the budget."""
    marks, setting = world.markers, Setting("reject", budget, 0)
    for tries in range(1, max_tries + 1):
        ids, ended = write_plainly(world, PROMPT, marks.end_markers, 40, tries - 1)
        if ended and len(ids) <= budget:
            newline = () if not ids or ids[-1] in marks.ends_in_newline else marks.newline
            prefix = PROMPT + ids + newline + marks.thinking_end
            answer, stopped = write_plainly(world, prefix, marks.turn_ends, max_answer_tokens, tries - 1)
            end, answer_finish = (("natural_end", len(ids)),), "stop" if stopped else "length"
            return Point(setting, ids, "natural", end, answer, answer_finish, tries)
    return Point(setting, (), "rejected", (), (), "length", max_tries)


SOME_BUDGETS = st.lists(st.integers(0, 12), min_size=1, max_size=5)
TRIES = st.integers(1, 6)


@hypothesis.settings(max_examples=150)
@given(ROOMY, SOME_BUDGETS, TRIES, st.integers(0, 4))
def test_every_budget_gets_the_first_sample_that_ends_within_it(world, budgets, max_tries, max_answer_tokens):
    options = {"max_tries": max_tries, "max_answer_tokens": max_answer_tokens}
    points, _ = reject(world.next_token, budgets, markers=world.markers, **options)
    assert points == tuple(reject_plainly(world, budget, max_tries, max_answer_tokens) for budget in budgets)


@given(ROOMY, SOME_BUDGETS, TRIES)
def test_one_run_over_many_budgets_gives_each_what_it_would_get_alone(world, budgets, max_tries):
    together, _ = reject(world.next_token, budgets, markers=world.markers, max_tries=max_tries)
    for budget, point in zip(budgets, together, strict=True):
        alone, _ = reject(world.next_token, [budget], markers=world.markers, max_tries=max_tries)
        assert (point,) == alone


@given(ROOMY, SOME_BUDGETS, TRIES)
def test_there_are_as_many_samples_as_the_unluckiest_budget_needs(world, budgets, max_tries):
    points, asked = reject(world.next_token, budgets, markers=world.markers, max_tries=max_tries)
    tries = max(point.tries for point in points)
    assert sum(isinstance(segment, Decode) for segment in asked) == tries
    assert asked.count(Restart()) == tries - 1


@given(ROOMY, SOME_BUDGETS, TRIES)
def test_a_larger_budget_never_needs_more_tries(world, budgets, max_tries):
    points, _ = reject(world.next_token, sorted(budgets), markers=world.markers, max_tries=max_tries)
    tries = [point.tries for point in points]
    assert tries == sorted(tries, reverse=True)


@given(ROOMY, SOME_BUDGETS, TRIES)
def test_every_sample_starts_from_the_prompt_alone(world, budgets, max_tries):
    seen = {}

    def next_token(prefix, restarts):
        seen.setdefault(restarts, prefix)
        return world.next_token(prefix, restarts)

    _, asked = reject(next_token, budgets, markers=world.markers, max_tries=max_tries)
    assert list(seen.values()) == [PROMPT] * (asked.count(Restart()) + 1)


def test_an_end_right_at_the_budget_is_within_it():
    ((point,), _) = reject(replay_samples((5, 6, 2)), [2])
    assert (point.thinking_ids, point.events) == ((5, 6), (("natural_end", 2),))


def test_an_end_one_token_beyond_the_budget_is_rejected():
    ((point,), _) = reject(replay_samples((5, 6, 8, 2), (5, 2)), [2])
    assert (point.thinking_ids, point.tries) == ((5,), 2)


def test_an_accepted_thinking_may_be_empty():
    ((point,), _) = reject(replay_samples((2,)), [0])
    assert (point.thinking_ids, point.finish, point.answer_ids, point.answer_finish) == ((), "natural", (7,), "stop")


def test_a_sample_is_decoded_one_token_beyond_the_largest_budget_left():
    _, asked = reject(replay_samples((5, 5, 2), (5, 2), (2,)), [1, 0, 4])
    assert [segment.max_tokens for segment in asked if isinstance(segment, Decode)] == [5, 2, 1]


def test_what_no_sample_fits_is_given_up_without_thinking_or_answer():
    ((point,), asked) = reject(replay_samples(*[(5, 5, 5, 2)] * 3), [1], max_tries=3)
    assert point == Point(Setting("reject", 1, 0), (), "rejected", (), (), "length", 3)
    assert asked == [Decode(2, MARKERS.end_markers), Restart()] * 2 + [Decode(2, MARKERS.end_markers)]


def test_a_fit_in_the_last_try_is_no_rejection():
    ((point,), _) = reject(replay_samples((5, 5, 2), (5, 5, 2), (5, 2)), [1], max_tries=3)
    assert (point.finish, point.tries) == ("natural", 3)


def test_budgets_that_take_the_same_sample_share_its_answer():
    _, asked = reject(replay_samples((5, 2)), [3, 1, 3, 2])
    assert asked[1:] == [Answer(1, MARKERS.newline + MARKERS.thinking_end, 3, MARKERS.turn_ends)]


def test_an_accepted_thinking_never_gets_an_answer_prefix():
    _, asked = reject(replay_samples((5, 11, 6, 2)), [3])
    assert asked[-1].forced == MARKERS.newline + MARKERS.thinking_end


@pytest.mark.parametrize(
    "settings", [[], [Setting("reject", 4, 1)], [Setting("reject", 4, 0), Setting("reject", 4, 0, extra=2, rank=1)]]
)
def test_rejection_refuses_no_settings_waits_and_soft_budgets(settings):
    with pytest.raises(ValueError, match="at least one setting, without waits or extra"):
        follow(replay_samples((2,)), reject_longer(MARKERS, settings, max_tries=2, max_answer_tokens=3))


@pytest.mark.parametrize("max_tries", [0, -1])
def test_rejection_refuses_to_try_less_than_once(max_tries):
    with pytest.raises(ValueError, match="max_tries must be 1 or more"):
        reject(replay_samples((2,)), [4], max_tries=max_tries)


# ------------------------------------------------------------------ the original's harness


def generate(world, request, max_tokens, stop_ids, min_tokens=0):
    """What the original's sampler returns: (new ids, the stop among them as its last; why it ended)."""
    new = []
    while len(new) < max_tokens:
        token = world.next_token(request + tuple(new))
        if token in stop_ids and len(new) < min_tokens:
            token = min(i for i in range(99) if i not in stop_ids)
        new.append(token)
        if token in stop_ids:
            return tuple(new), "stop"
    return tuple(new), "length"


def leave_stop(ids, stop_ids):
    return ids[:-1] if ids and ids[-1] in stop_ids else ids


def force_harness_plainly(world, budget, waits, max_answer_tokens):
    """Oracle, by the original's loop: (thinking, closing, finish, answer, how it ended, suppressed ends)."""
    marks, stops = world.markers, world.stop_ids
    request, shown, kept, suppressed = PROMPT, (), (), []
    for i in range(waits + 1):
        new, finish = generate(world, request, budget, stops, 1 if waits else 0)
        text = new[:-1] if finish == "stop" else new
        if finish == "length" or i == waits:
            shown += text
            kept += new
            break
        suppressed.append(len(shown + text))
        shown += text + world.wait_ids
        kept += text + world.wait_ids
        request += text + world.wait_ids
    kept = leave_stop(kept[:budget], stops)  # `shown` is not cut
    closing = marks.thinking_end
    if finish == "length":
        newline = () if shown[-1] in marks.ends_in_newline else marks.newline
        closing = newline + closing + marks.answer_prefix
    answer, ended = generate(world, PROMPT + kept + closing, max_answer_tokens, marks.turn_ends[0])
    suppressed = [at for at in suppressed if at < len(kept)]
    return kept, closing, finish, leave_stop(answer, marks.turn_ends[0]), ended, suppressed


def force_harness(next_token, budget, waits=0, *, markers=MARKERS, wait_ids=WAIT, stop_ids=STOP_IDS, answer_tokens=3):
    """(point, its closing, segments asked for)."""
    setting = Setting("harness", budget, waits)
    policy = force_as_harness(markers, setting, wait_ids=wait_ids, max_answer_tokens=answer_tokens, stop_ids=stop_ids)
    ((point,), asked) = follow(lambda prefix, _: next_token(prefix), policy)
    return point, asked[-1].forced, asked


@hypothesis.settings(max_examples=150)
@given(ROOMY, BUDGETS, WAITS, st.integers(1, 4))
def test_the_harness_does_what_the_original_loop_does(world, budget, waits, answer_tokens):
    formats = {"markers": world.markers, "wait_ids": world.wait_ids, "stop_ids": world.stop_ids}
    point, closing, _ = force_harness(world.next_token, budget, waits, answer_tokens=answer_tokens, **formats)
    finish = "length" if point.finish == "forced" else "stop"
    suppressed = [at for event, at in point.events if event == "suppressed_end"]
    found = point.thinking_ids, closing, finish, point.answer_ids, point.answer_finish, suppressed
    assert found == force_harness_plainly(world, budget, waits, answer_tokens)


@given(ROOMY, BUDGETS, WAITS)
def test_the_harness_never_keeps_more_than_the_budget(world, budget, waits):
    formats = {"markers": world.markers, "wait_ids": world.wait_ids, "stop_ids": world.stop_ids}
    point, _, _ = force_harness(world.next_token, budget, waits, **formats)
    assert point.thinking_tokens <= budget
    assert point.events[-1] == (f"{point.finish}_end", point.thinking_tokens)


def test_every_round_of_the_harness_may_use_the_whole_budget_again():
    _, _, asked = force_harness(replay(5, 6, 7, 2, 30, 31, 8), 4, 2)
    assert [segment.max_tokens for segment in asked if isinstance(segment, Decode)] == [4, 4]


def test_the_harness_cuts_the_sum_of_its_rounds_afterwards():
    point, _, asked = force_harness(after_wait((5, 6, 7, 2), (8, 9, 2)), 4, 1)
    assert point.thinking_ids == (5, 6, 7, 30)
    assert asked[-1].at == 4


def test_the_harness_gives_no_answer_prefix_to_a_cut_whose_last_round_ended_by_itself():
    point, closing, _ = force_harness(after_wait((5, 6, 7, 2), (8, 9, 2)), 4, 1)
    assert (point.finish, closing) == ("natural", MARKERS.thinking_end)


def test_the_harness_gives_an_answer_prefix_to_a_cut_whose_last_round_ran_out():
    point, closing, _ = force_harness(after_wait((5, 6, 7, 2), (), then=8), 4, 1)
    assert (point.finish, closing) == ("forced", MARKERS.newline + MARKERS.thinking_end + MARKERS.answer_prefix)


def test_the_harness_ends_at_a_round_that_runs_out():
    _, _, asked = force_harness(replay(then=5), 4, 3)
    assert not any(isinstance(segment, Force) for segment in asked)


def test_the_harness_strips_the_stop_token_and_leaves_its_newline():
    point, closing, _ = force_harness(replay(5, 11, 1), 9)
    assert (point.thinking_ids, closing) == ((5, 11), MARKERS.thinking_end)


def test_the_harness_leaves_the_newline_of_a_suppressed_end():
    point, _, _ = force_harness(after_wait((5, 11, 1), (6, 2)), 9, 1)
    assert point.thinking_ids == (5, 11, *WAIT, 6)


def test_the_harness_adds_no_newline_after_a_natural_end():
    _, closing, _ = force_harness(replay(5, 1), 9)
    assert closing == MARKERS.thinking_end


@pytest.mark.parametrize(("last", "newline"), [(5, MARKERS.newline), (11, ())])
def test_the_harness_adds_a_newline_to_a_cut_that_ends_in_none(last, newline):
    _, closing, _ = force_harness(replay(5, last), 2)
    assert closing == newline + MARKERS.thinking_end + MARKERS.answer_prefix


@pytest.mark.parametrize(("last", "newline"), [(8, MARKERS.newline), (11, ())])
def test_the_harness_looks_for_that_newline_at_the_end_of_the_text_before_the_cut(last, newline):
    point, closing, _ = force_harness(after_wait((5, 2), (6, 7, last)), 3, 1)  # the text: 5 30 31 6 7 and the last
    assert point.thinking_ids == (5, *WAIT)
    assert closing == newline + MARKERS.thinking_end + MARKERS.answer_prefix


def test_a_stop_as_the_last_token_of_a_harness_budget_is_natural():
    assert force_harness(replay(5, 6, 2), 3)[0].finish == "natural"
    assert force_harness(replay(5, 6, 2), 2)[0].finish == "forced"


def test_the_harness_lets_no_round_end_at_once_if_it_is_to_wait_at_all():
    _, _, asked = force_harness(after_wait((5, 2), (6, 2)), 9, 1)
    assert [segment.min_tokens for segment in asked if isinstance(segment, Decode)] == [1, 1]
    _, _, asked = force_harness(replay(5, 2), 9)
    assert [segment.min_tokens for segment in asked if isinstance(segment, Decode)] == [0]


def test_the_harness_waits_as_often_as_told():
    point, _, _ = force_harness(lambda prefix: 5 if prefix[-1] in (91, 31) else 2, 99, 3)
    assert point.thinking_ids == (5, *WAIT) * 3 + (5,)
    assert point.events == (*(("suppressed_end", at) for at in (1, 4, 7)), ("natural_end", 10))


def test_the_harness_may_wait_without_a_text():
    point, _, _ = force_harness(replay(5, 2, 6, 2), 9, 1, wait_ids=())
    assert point.thinking_ids[:1] == (5,)
    assert point.events[0] == ("suppressed_end", 1)


def test_the_harness_forgets_ends_beyond_the_cut():
    point, _, _ = force_harness(lambda prefix: 5 if prefix[-1] in (91, 31) else 2, 4, 3)
    assert point.events == (("suppressed_end", 1), ("natural_end", 4))


def test_only_the_end_of_the_turn_ends_an_answer_of_the_harness():
    _, _, asked = force_harness(replay(5, 2), 9)
    assert asked[-1].stops == ((2,),)


# ------------------------------------------------------------------ the original's README


def force_readme(next_token, budget, waits=0, *, markers=MARKERS, wait_ids=WAIT, stop_ids=STOP_IDS, answer_tokens=9):
    """(point, segments asked for)."""
    setting = Setting("readme", budget, waits)
    policy = force_as_readme(markers, setting, wait_ids=wait_ids, max_answer_tokens=answer_tokens, stop_ids=stop_ids)
    ((point,), asked) = follow(lambda prefix, _: next_token(prefix), policy)
    return point, asked


def force_readme_plainly(world, budget, waits, max_answer_tokens):
    """Oracle, by the snippet: (all ids after the prompt, where the last call began, how it ended, suppressed ends).

    What a round used up is the length of its token ids, in which the original's sampler leaves the stop token.
    """
    stops, turn_end = world.stop_ids, world.markers.turn_ends[0]
    prompt, left, suppressed = PROMPT, budget, []
    new, _ = generate(world, prompt, budget, stops)
    for _ in range(waits):
        left -= len(new)
        if left > 0:
            prompt += leave_stop(new, stops)
            suppressed.append(len(prompt) - len(PROMPT))
            prompt += world.wait_ids
            new, _ = generate(world, prompt, left, stops, 1)
    prompt += leave_stop(new, stops)
    rest, ended = generate(world, prompt, max_answer_tokens, turn_end)
    whole = prompt + leave_stop(rest, turn_end)
    return whole[len(PROMPT) :], len(prompt) - len(PROMPT), ended, suppressed


@hypothesis.settings(max_examples=150)
@given(ROOMY, BUDGETS, WAITS, st.integers(1, 12))
def test_the_readme_snippet_does_what_the_original_does(world, budget, waits, answer_tokens):
    formats = {"markers": world.markers, "wait_ids": world.wait_ids, "stop_ids": world.stop_ids}
    point, asked = force_readme(world.next_token, budget, waits, answer_tokens=answer_tokens, **formats)
    whole, at, ended, suppressed = force_readme_plainly(world, budget, waits, answer_tokens)
    thought, closed, answer = spell(whole[at:]).partition(spell(world.markers.thinking_end))
    assert asked[-1] == Answer(at, (), answer_tokens, world.markers.turn_ends[:1])
    assert point.thinking_ids == whole[: at + len(thought)]
    assert spell(point.answer_ids) == answer
    assert (point.finish, point.answer_finish) == ("natural" if closed or ended == "stop" else "forced", ended)
    assert point.events == (
        *(("suppressed_end", at) for at in suppressed),
        (f"{point.finish}_end", point.thinking_tokens),
    )


@given(ROOMY, BUDGETS, WAITS)
def test_the_readme_forces_nothing_but_waits(world, budget, waits):
    formats = {"markers": world.markers, "wait_ids": world.wait_ids, "stop_ids": world.stop_ids}
    _, asked = force_readme(world.next_token, budget, waits, **formats)
    forced = [segment for segment in asked if isinstance(segment, Force)]
    assert forced == [Force(world.wait_ids)] * len(forced)
    assert asked[-1].forced == ()


def test_the_readme_appends_no_delimiter_so_a_spent_budget_ends_no_thinking():
    point, asked = force_readme(replay(then=5), 4, 2, answer_tokens=6)
    assert asked == [Decode(4, ((1,), (2,))), Answer(4, (), 6, ((2,),))]
    assert (point.thinking_ids, point.answer_ids, point.events) == ((5,) * 10, (), (("forced_end", 10),))


def test_in_the_readme_the_answer_is_what_follows_the_delimiter_of_the_model():
    def next_token(prefix):
        if len(prefix) == len(PROMPT):
            return 5
        return {5: 1, 1: 20, 20: 7}.get(prefix[-1], 2)

    point, _ = force_readme(next_token, 9)
    assert (point.thinking_ids, point.answer_ids, point.events) == ((5,), (7,), (("natural_end", 1),))


def test_the_tokens_of_the_readme_waits_are_free():
    many, few = (
        force_readme(after_wait((5, 6, 2), (), then=7), 6, 1, wait_ids=wait_ids)[1][2].max_tokens
        for wait_ids in ((30, 30, 30, 31), (31,))
    )
    assert many == few


def test_the_stop_token_itself_uses_up_a_token_of_the_readme_budget():
    _, asked = force_readme(after_wait((5, 6, 2), (7, 8, 2)), 9, 1)
    assert [segment.max_tokens for segment in asked if isinstance(segment, Decode)] == [9, 6]


def test_the_readme_never_waits_after_a_stop_that_was_the_last_token_of_the_budget():
    _, asked = force_readme(after_wait((5, 6, 2), (7, 2)), 3, 1)
    assert not any(isinstance(segment, Force) for segment in asked)


def test_the_readme_never_waits_once_the_budget_is_spent():
    _, asked = force_readme(replay(then=5), 4, 3)
    assert not any(isinstance(segment, Force) for segment in asked)


def test_only_the_first_round_of_the_readme_may_end_at_once():
    _, asked = force_readme(after_wait((5, 2), (6, 2)), 9, 1)
    assert [segment.min_tokens for segment in asked if isinstance(segment, Decode)] == [0, 1]


def test_the_readme_leaves_the_newline_of_a_suppressed_end():
    point, _ = force_readme(after_wait((5, 11, 1), (6, 2)), 9, 1)
    assert point.thinking_ids[:5] == (5, 11, *WAIT, 6)


def test_a_readme_turn_may_end_without_any_answer():
    point, _ = force_readme(replay(5, 2), 9)
    assert (point.thinking_ids[:1], point.answer_ids) == ((5,), ())


# ------------------------------------------------------------------ lengths asked for in the prompt


def test_a_length_in_tokens_is_asked_for_in_the_words_of_the_original():
    assert controls.BY_TOKENS.format(n=2048) == "\n\nThink for up to 2048 tokens."


def test_a_length_in_steps_is_asked_for_in_the_words_of_the_original():
    assert controls.BY_STEPS.format(n=16) == "\n\nThink for up to 16 steps."


def test_short_thinking_is_asked_for_in_the_words_of_the_paper():
    words = "Answer after a short amount of thinking. Do not spend excessive time double-checking your work."
    assert controls.SHORT.split("\n") == ["", "", words]


def test_long_thinking_is_asked_for_in_the_words_of_the_paper():
    words = (
        "Answer after a long amount of thinking.",
        "If you feel like you are finished early, spend the extra time trying to double-check your work",
        "until you are absolutely sure that you have the correct answer.",
    )
    assert controls.LONG.split("\n") == ["", "", " ".join(words)]


# ------------------------------------------------------------------ steps counted down

STEPS = replace(MARKERS, end_markers=((1, 70), (1, 20), (2,)), thinking_start=(1,))  # 70: a 0, (1, 20): the answer


def count(steps, *ids, max_tokens=99):
    policy = count_down(STEPS, steps, max_tokens=max_tokens, max_answer_tokens=2)
    return follow(lambda prefix, _: replay(*ids)(prefix), policy)


def test_steps_end_where_none_is_left():
    (free, counted), _ = count(4, 72, 11, 1, 71, 11, 1, 70, 11, 33, 1, 20)
    assert (free.thinking_ids, free.finish) == ((72, 11, 1, 71, 11, 1, 70, 11, 33), "natural")
    assert (counted.thinking_ids, counted.finish) == ((72, 11, 1, 71, 11), "counted")


def test_steps_end_after_as_many_as_were_asked_for_whatever_is_announced():
    (_, counted), asked = count(2, 78, 11, 1, 77, 11, 1, 76, 11, 33, 1, 20)
    assert counted.thinking_ids == (78, 11, 1, 77, 11)
    answers = [segment for segment in asked if isinstance(segment, Answer)]
    assert [answer.forced for answer in answers] == [(11, 1, 20), (1, 20)]  # no "Final Answer:" after a whole step


def test_steps_that_end_in_time_are_answered_once():
    (free, counted), asked = count(2, 72, 11, 1, 71, 11, 1, 20)
    assert replace(free, setting=counted.setting) == counted
    assert [setting.control for setting in (free.setting, counted.setting)] == ["steps", "steps, counted"]
    assert len([segment for segment in asked if isinstance(segment, Answer)]) == 1


def test_steps_that_never_end_are_cut():
    (free, counted), asked = count(2, 72, max_tokens=5)
    assert (free.finish, counted.finish, free.thinking_tokens) == ("forced", "forced", 5)
    assert asked[-1].forced[-2:] == STEPS.answer_prefix


def test_no_steps_can_not_be_asked_for():
    with pytest.raises(ValueError, match="steps must be 1 or more"):
        count(0, 72)


@given(st.text("1a0n", max_size=14), st.integers(1, 4))
def test_counted_steps_are_those_between_the_delimiters(text, steps):
    """Oracle, over characters: 1 opens a step, 1a the answer, 10 announces that none is left."""
    ids = {"1": 1, "a": 20, "0": 70, "n": 11}
    free = text.partition("1a")[0]
    used = "1".join(free.partition("10")[0].split("1")[:steps])
    (thought, counted), _ = count(steps, *(ids[c] for c in text + "1a"))
    assert thought.thinking_ids == tuple(ids[c] for c in free)
    assert counted.thinking_ids == tuple(ids[c] for c in used)
