"""Grading a stage's generations, and what another grader makes of them."""

import json

import pandas as pd
import pytest

from s1_utils import curves, sensitivity
from s1_utils.graders import EXACT, LEGACY

QUESTIONS = pd.DataFrame(
    [
        ("n", "How many?", "1000", "integer", {}),
        ("e", "What part?", r"\frac{1}{2}", "expression", {}),
        ("c", "Which?", "B", "choice", {"options": list("ABCD")}),
        ("t", "Why?", "because it rains", "text", {}),
    ],
    columns=["question_id", "question", "answer", "answer_type", "metadata"],
).assign(metadata=lambda t: t["metadata"].map(json.dumps))
ANSWERS = {
    "n": ["Final Answer: 1,000", "Final Answer: 999", ""],
    "e": [r"so it is \boxed{0.5}", r"\boxed{\dfrac12}", "I give up"],
    "c": ["The correct option is (B).", "the answer is C", "It may be A or B."],
    "t": ["the answer is because it rains", "the answer is that nobody knows", "?"],
}


def make_generations(answers=ANSWERS, model="SFT"):
    rows = [
        (model, question, sample, "natural:9:0", "natural", 9, 0, text, 4)
        for question, texts in answers.items()
        for sample, text in enumerate(texts)
    ]
    columns = "model question_id sample setting control budget waits answer thinking_tokens".split()
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def grades():
    return sensitivity.grade_generations(make_generations(), QUESTIONS, workers=1)


def list_column(grades, name, question):
    found = grades.loc[grades["question_id"] == question, name].astype(object)
    return found.where(found.notna(), None).tolist()


@pytest.mark.parametrize(
    ("question", "verdicts"),
    [
        ("n", [True, False, False]),
        ("e", [True, True, False]),
        ("c", [True, False, False]),
        ("t", [True, None, None]),  # what rules can't compare is undecided, not wrong
    ],
)
def test_each_kind_of_answer_is_compared_in_its_own_way(grades, question, verdicts):
    assert list_column(grades, "correct", question) == verdicts


def test_equal_answers_are_spelled_alike_for_a_vote_and_labels_are_left(grades):
    assert list_column(grades, "vote", "n") == ["1000", "999", None]
    assert list_column(grades, "extracted", "n")[0] == "1,000"
    assert list_column(grades, "extracted", "e") == ["0.5", r"\dfrac12", None]
    assert list_column(grades, "vote", "e") == ["1/2", "1/2", None]
    assert list_column(grades, "vote", "c") == ["B", "C", None]


def test_generations_stay_as_they_are_and_each_is_graded_once():
    table = make_generations()
    before = table.copy(deep=True)
    grades = sensitivity.grade_generations(table.sample(frac=1, random_state=0), QUESTIONS, workers=1)
    pd.testing.assert_frame_equal(table, before)
    assert not grades.duplicated(sensitivity.KEYS).any()
    assert len(grades) == len(table)


def test_what_is_undecided_counts_as_wrong_in_a_curve_and_is_told_apart(grades):
    graded = curves.join_grades(make_generations(), grades)
    assert graded["correct"].dtype == bool
    assert graded.groupby("question_id")["undecided"].sum().to_dict() == {"c": 0, "e": 0, "n": 0, "t": 2}
    assert not graded.loc[graded["undecided"], "correct"].any()


def test_a_null_answer_is_no_answer():
    table = make_generations({"c": ["B"]}).assign(answer=pd.array([None], dtype="string"))
    grades = sensitivity.grade_generations(table, QUESTIONS, workers=1)
    assert (grades["extracted"].isna().item(), grades["correct"].item()) == (True, False)


def test_a_curve_is_priced_by_both_graders_and_every_disagreement_is_kept():
    answers = {"c": ["The answer isn't clear.", "Final Answer: B", "Final Answer: C"]}  # the original falls back on "A"
    asked = QUESTIONS.assign(answer=QUESTIONS["answer"].where(QUESTIONS["question_id"] != "c", "A"))
    found = sensitivity.compare_graders(make_generations(answers), asked, resamples=50, seed=0)
    priced = found["graders"].set_index("grader")
    assert priced["right"].to_dict() == {EXACT: 0, LEGACY: 1}
    assert priced.loc[LEGACY, "difference"] == pytest.approx(1 / 3)
    (row,) = found["disagreements"].to_dict("records")
    assert (row["sample"], row["setting"], row[EXACT], row[LEGACY]) == (0, "natural:9:0", "wrong", "right")
    assert row["gold"] == "A"
