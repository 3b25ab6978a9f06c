"""CHAMP's conversations from the real package: counts, golds, what sentences state, copies, people's marks."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.champ_replies import COLUMNS, UNHINTED, find_stated, pool_prompts, read_champ_replies, read_gold


@pytest.fixture(scope="module")
def rows():
    return read_champ_replies()


def test_the_package_holds_270_problems_asked_of_4_models_under_18_prompts(rows):
    assert len(rows) == 19_440
    assert rows[["question_id", "model", "setting"]].nunique().tolist() == [270, 4, 18]
    assert not rows.duplicated(["question_id", "model", "setting"]).any()
    assert rows.dtypes.astype(str).to_dict() == {n: str(pd.Series(dtype=t).dtype) for n, t in COLUMNS.items()}


def test_replies_that_ran_out_of_length_are_those_that_the_package_marks(rows):
    assert (rows["finish"] == "length").sum() == 261  # LENGTH_PREVIOUS of its messages
    assert rows["summary"].isna().sum() == 261
    assert (rows["finish"][rows["summary"].isna()] == "length").all()


def test_people_read_two_conversations_a_problem(rows):
    assert rows["steps_right"].notna().sum() == 540
    assert set(rows["setting"][rows["steps_right"].notna()]) == {"No C w/o H", "Direct C w/ H"}


def test_a_prompt_without_concepts_and_hints_is_the_bare_prompt_s_own_conversation(rows):
    bare, empty = (
        rows[rows["setting"] == name].set_index(["model", "question_id"]) for name in ("0-Shot", "No C w/o H")
    )
    assert (bare["response"].fillna("") == empty["response"].fillna("").loc[bare.index]).all()


def test_pooled_prompts_have_no_copies_and_all_samples(rows):
    pooled = pool_prompts(rows)
    assert (pooled.groupby(["model", "question_id"]).size() == len(UNHINTED)).all()
    assert not pooled.dropna(subset="response").duplicated(["model", "question_id", "response"]).any()
    assert set(pooled["sample"]) == set(range(len(UNHINTED)))
    assert 150 < pooled["question_id"].nunique() < 270
    assert pooled.groupby("model")["question_id"].nunique().nunique() == 1


def test_pooling_a_prompt_with_its_copy_leaves_nothing(rows):
    assert pool_prompts(rows, ["0-Shot", "No C w/o H"]).empty


GOLDS = [
    ("239", ("expression", "239")),
    ("100 (i.e., all values)", ("expression", "100")),
    ("0 (no such selection is possible)", ("expression", "0")),
    ("5/14, or approximately 35.7%", ("expression", "5/14")),
    ("C(10, 5), or equivalently 252", ("expression", r"\binom{10}{5}")),
    ("0 is the only possible value", ("expression", "0")),
    ("The limit exists and is equal to (a+3b)/2", ("expression", "(a+3b)/2")),
    ("At most 0 integer-valued zeros (i.e., no integer zeros)", ("expression", "0")),
    ("98 values", ("expression", "98")),
    ("f(x)=0", ("expression", "0")),
    ("a=3, b=-4", ("expression", "a=3, b=-4")),
    ("x=y=0", ("expression", "x=0, y=0")),
    ("376 and 625", ("expression", "376 and 625")),
    ("Yes", ("choice", "Yes")),
    (
        "Yes, and the sequence is 1/2^3, 1/2^6, 1/2^9, ...",
        ("text", "Yes, and the sequence is 1/2^3, 1/2^6, 1/2^9, ..."),
    ),
    ("No integer solutions", ("text", "No integer solutions")),
    ("x(n)<y(n-1) for all n≥3", ("text", "x(n)<y(n-1) for all n≥3")),
]


@pytest.mark.parametrize(("answer", "expected"), GOLDS)
def test_a_gold_answer_is_freed_of_what_is_said_around_it(answer, expected):
    assert read_gold(answer) == expected


STATED = [
    ("The remainder when n is divided by 1982 is 0.", "0"),
    ("There are 144 subsets of {1, 2, ..., 10} that have no two successive numbers.", "144"),
    ("All 100 terms in the sequence a_1, a_2, ..., a_100 are integers.", "100"),
    ("At least one of the three numbers must be divisible by 4.", "1"),
    ("At least all three of the numbers x, y, z must be divisible by 4.", None),
    (r"The largest value of \( (a+b)/c \) is \( \frac{3}{2} \), which occurs when \( a = b \).", r"\frac{3}{2}"),
    ("The number of strings of length 6, where adjacent digits differ by at most 1, is 239.", "239"),
    ("3^105 + 4^105 mod 11 = 2.", "2"),
    ("The closed form is given by the expression n * (n - 1) / 2.", "n * (n - 1) / 2"),
    ("The limit exists and is equal to 3.", "3"),
    ("The values that satisfy the conditions are a = 3 and b = -4.", "a = 3 and b = -4"),
    ("The number of points is C(n, 4) = n!/(4!(n-4)!).", "n!/(4!(n-4)!)"),
    ("The expansion of (x+y+z)^1999 contains 2,001,000 distinct terms.", "2001000"),
    (r"Therefore, $x = \boxed{7}$, since 57 is a multiple.", "7"),
    ("For all 1000 values of n, x_n > 4/5.", "1000"),
    ("For the sequence x_(n+1)=(x_n^4+9)/(10x_n), there are 999 values of x_n (x_2 to x_1000) that are <= 5/4.", "999"),
    ("Given that x > 5, there is no solution.", None),
    ("The polynomial has no real-valued zeros.", None),
    ("The exact value can't be determined without knowing a_0.", None),
    ("", None),
]


@pytest.mark.parametrize(("summary", "expected"), STATED)
def test_what_a_sentence_states(summary, expected):
    assert find_stated(summary, "expression") == expected


@pytest.mark.parametrize(
    ("summary", "expected"),
    [("Yes, it can.", "Yes"), ("No; it diverges.", "No"), ("No integer solutions exist.", None), ("It can.", None)],
)
def test_a_yes_or_no_is_one_only_if_it_stands_alone_in_front(summary, expected):
    assert find_stated(summary, "choice") == expected


def test_nothing_is_read_where_no_rule_could_compare():
    assert find_stated("The answer is 3.", "text") is None


PIECES = ["is", "=", "equal to", " 3", "x", "\\frac{1}", "{", "(", ",", " and ", "which", ".", "all", "\\boxed{", "²"]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from(["expression", "choice", "text"]))
def test_any_sentence_states_a_text_or_nothing(pieces, kind):
    found = find_stated(" ".join(pieces), kind)
    assert found is None or (isinstance(found, str) and found.strip())


@pytest.mark.parametrize("piece", ["is ", "= ", "the ", "C(", ", which ", "(" * 5, "at least ", "1, "])
def test_a_hostile_sentence_takes_no_time(piece):
    import time

    started = time.process_time()
    find_stated(piece * 5000, "expression")
    assert time.process_time() - started < 2


def test_extraction_is_the_same_whatever_gold_is(rows):
    few = rows[rows["answer_type"] == "expression"].dropna(subset="summary").head(200)
    assert [find_stated(s, "expression") for s in few["summary"]] == few["extracted"].astype(object).where(
        few["extracted"].notna(), None
    ).tolist()
