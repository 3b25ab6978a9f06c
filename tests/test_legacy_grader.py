"""The original's grader: its rules one by one, its quirks, and that its model is shown gold and earlier answers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.legacy_grader import (
    CRASH,
    LETTERS,
    LegacyGrade,
    cut_reply,
    extract_legacy,
    grade_choice,
    grade_maths,
    stand_in,
)


class Asked:
    """An ask that notes what it is shown and says what it is told."""

    def __init__(self, *replies):
        self.replies, self.shown = list(replies), []

    def __call__(self, options, attempt):
        self.shown.append((list(options), attempt))
        return self.replies.pop(0)


@pytest.mark.parametrize(
    ("reply", "part"),
    [
        ("plain", "plain"),
        ("<|im_start|>think\nx\n<|im_start|>answer\n7", "7"),
        ("a<|im_start|>answer\n6<|im_start|>answer\n7", "7"),
        ("<|im_start|>think\nx\n<|im_start|>answer 7\n8", "8"),  # no line break: the marker's line is dropped
        ("<|im_start|>think\n7", "7"),
        ("<|im_start|>answer", "answer"),
    ],
)
def test_the_answer_part_is_cut_as_the_original_does(reply, part):
    assert cut_reply(reply) == part


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"$\boxed 7$ then", "7"),
        (r"\boxed{1} Answer: 2", "1"),
        (r"\boxed{1", r"\boxed{1"),
        ("\nFinal Answer: 12", "12"),
        ("Answer: 1\nno, Answer: 2", "1\nno, Answer: 2"),  # from the first to the end
        ("**Final Answer:** A", "** A"),
        ("answer :\n\n10 apples", "10 apples"),
        ("The answer is 5", "The answer is 5"),
        ("Answer:", ""),
    ],
)
def test_extraction_follows_the_original(reply, said):
    assert extract_legacy(reply) == said


@pytest.mark.parametrize("reply", [r"\fbox{7}", r"\boxed\text{7}"])
def test_where_the_original_crashes_nothing_is_decided(reply):
    with pytest.raises(ValueError, match=CRASH):
        extract_legacy(reply)
    assert grade_maths(reply, "7", [], None) == LegacyGrade(None, None, CRASH)
    assert grade_choice(reply, "A", None) == LegacyGrade(None, None, CRASH)


@given(st.integers(0, 999), st.integers(0, 999))
def test_two_strings_of_digits_are_compared_as_numbers_and_no_model_is_asked(said, gold):
    grade = grade_maths(f"Answer: {said:03}", f"{gold:03}", ["1"], Asked())
    assert grade == LegacyGrade(str(said), said == gold, "same number")


def test_a_superscript_digit_crashes_the_original():
    assert grade_maths("Answer: ²", "2", [], None).how == CRASH


def test_the_model_is_shown_gold_first_then_what_was_extracted_before():
    asked = Asked(1)
    grade = grade_maths("Answer: 7 apples", "07", ["9", "7", "x", "9"], asked)
    assert asked.shown == [(["7", "9", "x"], "7 apples")]
    assert grade == LegacyGrade("7", True, "model")


def test_a_reply_like_an_earlier_one_takes_its_text():
    assert grade_maths("Answer: nine", "7", ["9"], Asked(2)) == LegacyGrade("9", False, "model")


@pytest.mark.parametrize("index", [-1, 0, 3, 99])
def test_an_index_of_no_option_leaves_the_text(index):
    assert grade_maths("Answer: nine", "7", ["9"], Asked(index)) == LegacyGrade("nine", False, "no option")


def test_without_a_model_only_equal_strings_are_right():
    assert grade_maths(r"\boxed{\frac12}", r"\frac12", [], None) == LegacyGrade(r"\frac12", True, "same text")
    assert grade_maths("Answer: 7.", "7", [], None) == LegacyGrade("7.", False, "different text")


@pytest.mark.parametrize(("reply", "letter"), [("Answer: B", "B"), ("Answer: b", "B"), (r"\boxed{C}", "C")])
def test_a_letter_is_compared_as_it_is(reply, letter):
    assert grade_choice(reply, letter, None) == LegacyGrade(letter, True, "letter")


@pytest.mark.parametrize("reply", ["", "I don't know", "Answer: B.", r"\boxed{E}"])
@pytest.mark.parametrize("ask", [None, lambda options, attempt: -1])
def test_where_no_letter_is_found_a_is_right(reply, ask):
    assert grade_choice(reply, "A", ask) == LegacyGrade("A", True, '"A" by default')
    assert grade_choice(reply, "B", ask).correct is False


def test_the_model_may_name_the_letter():
    asked = Asked(2)
    assert grade_choice("Answer: (B) because", "B", asked) == LegacyGrade("B", True, "model's letter")
    assert asked.shown == [(list(LETTERS), "(B) because")]


@pytest.mark.parametrize(
    ("options", "attempt", "index"),  # the original's own examples, but for what takes thought
    [
        (["72,000"], r"72000 \text{ cents}.", 1),
        (["x=5"], "5", 1),
        ([r"\dfrac{33}{100}"], "0.33", 1),
        (["-2,1"], "1, -2", 1),
        (["100", "200", "150"], r"...Therefore, the final answer is $\boxed{150}$.", 3),
        (["2516_8"], "2516", 1),
        ([r"11\sqrt2"], r"11\sqrt{2}", 1),
        ([r"11,\! 111,\! 111,\! 100"], "11111111100", 1),
        ([r"\text{Navin}"], "...it is navin.", -1),
        (["12"], r"...$\boxed{12^{\mathrm{th}}}$.", -1),
        (["2x+4", "2x", "4x"], "The answer is 3+2x.", -1),
        (["7"], "", -1),
        (["7"], "17", -1),
        (["2"], "2x", -1),
        (["7"], "7 apples.", 1),
        (LETTERS, "it must be (C), I think", 3),
        (LETTERS, "no idea at all", -1),
    ],
)
def test_the_stand_in_is_as_lenient_as_written(options, attempt, index):
    assert stand_in(options, attempt) == index


@pytest.mark.parametrize("text", ["x+" * 500_000, "(" * 10**6, "Answer: " * 10**5, " " * 10**6, "1," * 500_000])
def test_a_megabyte_is_read_at_once(text):
    started = time.perf_counter()
    grade_maths(text, "7", [text[1:], text[:-1], text[:1999]], stand_in)
    grade_choice(text, "A", stand_in)
    assert time.perf_counter() - started < 5


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.text(max_size=60))
def test_the_stand_in_names_an_option_or_none(options, attempt):
    assert stand_in(options, attempt) in (-1, *range(1, len(options) + 1))
