"""Reading traces: changes of mind, loops, and a trace shown."""

import json
from itertools import pairwise

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given

from s1_utils.traces import count_changes, is_looping, show_trace


def make_graded(answers):
    """`answers`: waits → right or wrong, question by question."""
    rows = [
        {"question_id": str(q), "sample": 0, "control": "wait", "waits": waits, "correct": right}
        for waits, rights in answers.items()
        for q, right in enumerate(rights)
    ]
    return pd.DataFrame(rows)


def test_changes_are_counted_from_each_wait_to_the_next_one_run():
    changes = count_changes(make_graded({0: [0, 0, 1, 1], 1: [1, 1, 0, 1], 4: [1, 0, 0, 0]}), "wait")
    assert changes.to_dict("list") == {
        "waits_before": [0, 1],
        "waits_after": [1, 4],
        "wrong_to_right": [2, 0],
        "right_to_wrong": [1, 2],
        "stayed_right": [1, 1],
        "stayed_wrong": [0, 1],
    }


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=5))
def test_changes_add_up_to_the_difference_in_right_answers(rights):
    changes = count_changes(make_graded(dict(enumerate(rights))), "wait")
    gains = (changes["wrong_to_right"] - changes["right_to_wrong"]).tolist()
    assert gains == [sum(b) - sum(a) for a, b in pairwise(rights)]


@pytest.mark.parametrize(
    ("ids", "loops"),
    [
        ([], False),
        ([1, 2, 3, 4] * 3, True),
        ([9, 8, *[1, 2, 3, 4] * 3], True),
        ([1, 2, 3, 4] * 2, False),
        ([*[1, 2, 3, 4] * 3, 9], False),
        ([1, 2, 3] * 4, False),  # its period is shorter; six ids three times is one
        ([1, 2, 3] * 6, True),
        ([7] * 12, True),
        ([7] * 11, False),
        (list(range(30)), False),
    ],
)
def test_a_loop_is_the_same_four_ids_or_more_three_times_in_a_row_at_the_end(ids, loops):
    assert is_looping(ids) == loops


@given(st.lists(st.integers(0, 3), max_size=30))
def test_a_loop_is_found_as_by_comparing_every_tail(ids):
    tails = [(ids[-n:], ids[-2 * n : -n], ids[-3 * n : -2 * n]) for n in range(4, len(ids) // 3 + 1)]
    assert is_looping(ids) == any(a == b == c for a, b, c in tails)


def show(thinking, events, answer="B", wait=()):
    row = pd.Series(
        {
            "thinking_ids": list(map(ord, thinking)),
            "events": json.dumps(events),
            "setting": "wait:9:1",
            "thinking_tokens": len(thinking),
            "answer": answer,
        }
    )
    return show_trace(row, lambda ids: "".join(map(chr, ids)), list(map(ord, wait))).data


def test_the_forced_text_is_shown_in_colour_where_the_end_was_suppressed():
    page = show("ab Wait,cd", [("suppressed_end", 2), ("natural_end", 10)], wait=" Wait,")
    assert 'ab<b style="color:#d1661f">⟨suppressed end at 2⟩ Wait,</b>cd<b' in page
    assert "⟨natural end at 10⟩</b>" in page


def test_what_a_model_wrote_is_never_taken_for_html():
    page = show("<script>", [("forced_end", 8)], answer="<img src=x>")
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
