"""Extracting an answer and deciding whether it is right."""

from __future__ import annotations

import inspect
import time

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.grading import LONGEST_ANSWER, extract_answer, grade_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: B", "B"),
        ("\nFinal Answer: B", "B"),
        ("Final answer:B", "B"),
        ("The answer is B.", "B"),
        ("So the answer is: B", "B"),
        ("ANSWER: Oslo", "Oslo"),
        ("Answer:\nB", "B"),
        ("Answer: B\nand some more", "B"),
        ("Answer: A. No, wait. Answer: B.", "B"),
        ("**Answer:** B", "B"),
        ("**Final Answer: B.**", "B"),
        ("Answer: **B**.", "B"),
        ("Answer: $42.$", "42"),
        ("Answer: two words", "two words"),
        ("Answer: -0.5", "-0.5"),
        ("Answer: .5", ".5"),
        ("Final Answer: 12. I answered in one line", "12. I answered in one line"),
        ("Answer: B. The isolated answers differ", "B. The isolated answers differ"),
    ],
)
def test_an_answer_is_what_follows_its_last_mark_on_a_line(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text", ["", " \n", "Answer:", "Final Answer: \n", "Answer: **", "I can't tell which door it is."]
)
def test_where_nothing_is_answered_nothing_is_extracted(text):
    assert extract_answer(text) is None


@pytest.mark.parametrize("text", ["B", " B.\n", "Door B", "it is B"])
def test_a_text_of_one_to_three_words_is_its_own_answer(text):
    assert extract_answer(text) == text.strip().rstrip(".")


@pytest.mark.parametrize(
    ("text", "answer"), [("We get 3 and then 14", "14"), ("so x = -7.", "-7"), ("1,234 ways", "1,234"), ("none", None)]
)
def test_without_a_mark_the_last_number_answers_an_integer_question(text, answer):
    assert extract_answer(text, "integer") == answer


def test_a_mark_wins_over_a_later_number():
    assert extract_answer("Answer: 5\nchecked 2 times", "integer") == "5"


def test_a_very_long_line_is_cut():
    assert len(extract_answer("Answer: " + "7" * 9999)) == LONGEST_ANSWER


def test_extraction_never_sees_the_gold_answer():
    assert list(inspect.signature(extract_answer).parameters) == ["text", "answer_type", "options"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: B", "B"),
        ("Final Answer: bag B.", "B"),
        ("Answer: B has salt; C has jam", None),
        ("Answer: Bern", None),
        ("Answer:\n\nB", "B"),
        ("Answer:", None),
    ],
)
def test_with_options_the_only_one_the_line_names_is_the_answer(text, answer):
    assert extract_answer(text, "choice", ["A", "B", "C"]) == answer


@given(st.text(), st.sampled_from(["choice", "integer", "expression"]))
def test_an_extracted_answer_is_one_non_empty_line_of_the_text(text, answer_type):
    answer = extract_answer(text, answer_type)
    assert answer is None or (answer and answer in text)


@given(st.text("AB:.*$ \n", max_size=8), st.sampled_from(["Answer:", "Final Answer:", "the answer is"]))
def test_what_comes_before_the_last_mark_never_matters(before, mark):
    assert extract_answer(f"{before}\n{mark} C") == "C"


@given(st.text("ABC:. \n", max_size=9), st.lists(st.sampled_from("ABC"), min_size=1, unique=True))
def test_with_options_nothing_else_is_extracted(text, options):
    assert extract_answer(f"Answer: {text}", "choice", options) in [None, *options]


# ------------------------------------------------------------------ expressions


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1} and then \boxed{2}", "2"),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\\{7}}", r"\\{7}"),
        (r"\boxed{5} or rather \boxed{\frac{1", "5"),
        (r"\boxed{5} or rather \boxed{}", "5"),
        ("\\boxed{1\n2}", "1\n2"),
        (r"\boxed{5} Final Answer: 6", "5"),
        ("Final Answer: $x^2$.", "x^2"),
        ("The answer is 1/2", "1/2"),
        (r"Answer: \boxed{", r"\boxed{"),
        ("x^2", None),
        ("I think so", None),
        (r"\boxed{}", None),
    ],
)
def test_an_expression_is_what_the_last_closed_box_holds_or_else_follows_the_mark(text, answer):
    assert extract_answer(text, "expression") == answer


@pytest.mark.parametrize("answer_type", ["choice", "integer"])
def test_only_expressions_are_looked_for_in_boxes(answer_type):
    assert extract_answer(r"\boxed{4} is it. Answer: 5", answer_type) == "5"


@given(st.recursive(st.text("ab1", max_size=3), lambda inner: st.lists(inner).map(lambda x: f"{{{''.join(x)}}}")))
def test_a_box_holds_all_that_its_braces_enclose(content):
    assert extract_answer(rf"x \boxed{{{content}}} y}}", "expression") == (content or None)


@pytest.mark.parametrize("text", [r"\boxed{" * 150_000, "{" * 10**6, r"\boxed{" + "1" * 10**6 + "}", "\\" * 10**6])
def test_a_megabyte_of_boxes_is_read_at_once(text):
    started = time.perf_counter()
    assert extract_answer(text, "expression") is None
    assert time.perf_counter() - started < 5


def test_ten_thousand_boxes_in_each_other_hold_one_answer():
    assert extract_answer(r"\boxed{" * 10_000 + "5" + "}" * 10_000, "expression") == "5"


# ------------------------------------------------------------------ grading


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_an_integer_is_right_if_and_only_if_it_is_the_same_number(said, gold):
    assert grade_answer(str(said), str(gold), "integer") == (said == gold)


@given(st.integers(0, 10**9))
def test_thousands_may_be_marked_by_commas(number):
    assert grade_answer(f"{number:,}", str(number), "integer")


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("x = 25", "25", True),
        ("025", "25", True),
        ("25", "025", True),
        ("25.0", "25", True),
        ("25.5", "25", False),
        ("25 or 26", "25", False),
        ("25, that is 25", "25", True),
        ("(1,2)", "12", False),
        ("1,2,3", "123", False),
        ("1,2345", "12345", False),
        ("-25", "25", False),
        ("twenty-five", "25", False),
        ("", "25", False),
        ("none", "none", False),
    ],
)
def test_an_integer_must_be_the_only_number_said(said, gold, right):
    assert grade_answer(said, gold, "integer") is right


@pytest.mark.parametrize(("said", "right"), [("B", True), ("b", False), ("A", False), ("B or C", False), ("", False)])
def test_a_choice_is_right_if_it_is_the_same_label(said, right):
    assert grade_answer(said, "B", "choice") is right


@pytest.mark.parametrize("answer_type", ["choice", "integer"])
def test_no_answer_is_wrong(answer_type):
    assert grade_answer(None, "7", answer_type) is False


@pytest.mark.parametrize("gold", [None, float("nan"), pd.NA], ids=["None", "nan", "NA"])
@pytest.mark.parametrize("answer_type", ["choice", "integer", "expression"])
def test_without_a_gold_answer_nothing_is_decided(gold, answer_type):
    assert grade_answer("7", gold, answer_type) is None


def test_an_expression_needs_another_grader():
    assert grade_answer("x^2", "x^2", "expression") is None
