"""Graders on the same replies: equality, a judge that never sees gold, disagreements and prices."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from claude_server import serve_claude

from s1_utils import collection, judge
from s1_utils.claude import Reply
from s1_utils.errors import StudyError
from s1_utils.graders import (
    BLIND,
    EXACT,
    LEGACY,
    grade_blind,
    grade_extracted,
    grade_replies,
    price_graders,
    tabulate_disagreements,
)

TEXTS = {"A": "10", "B": "12"}


def make_replies(*rows):
    columns = ["question_id", "question", "gold", "answer_type", "options", "response"]
    return pd.DataFrame([dict(zip(columns, (row[0], f"question {row[0]}", *row[1:]), strict=True)) for row in rows])


REPLIES = make_replies(
    ("q1", "204", "integer", (), r"so \boxed{204}"),
    ("q1", "204", "integer", (), "Answer: about 204 minutes, or 3 hours and 24 minutes"),
    ("q2", "B", "choice", TEXTS, "The correct option is \\boxed{B}"),
    ("q2", "B", "choice", TEXTS, "I give up on this one, sorry."),
    ("q3", "A", "choice", TEXTS, "I give up on this one, sorry."),
    ("q4", r"\frac{1}{2}", "expression", (), r"\boxed{x^2}"),
    ("q5", None, "expression", (), r"\boxed{7}"),
)


@pytest.mark.parametrize(
    ("said", "gold", "kind", "correct"),
    [
        ("B", "B", "choice", True),
        ("A", "B", "choice", False),
        (None, "B", "choice", False),
        ("7", None, "choice", None),
        ("204", "204", "integer", True),
        ("1,204", "1204", "integer", True),
        (r"\frac{408}{2}", "204", "integer", True),
        ("204 and 205", "204", "integer", False),
        ("about two hundred", "204", "integer", False),
        ("0.5", r"\frac12", "expression", True),
        ("x+1", "1+x", "expression", True),
        ("x+1", "1+y", "expression", False),
        ("some words", "other words", "expression", None),
        ("A proof", "a proof", "text", True),
        ("another proof", "a proof", "text", None),
        (None, "a proof", "text", None),
    ],
)
def test_equality_is_by_label_by_number_and_then_by_algebra(said, gold, kind, correct):
    assert grade_extracted([(said, gold, kind)])[0].correct is correct


def test_no_grades_for_no_answers():
    assert grade_extracted([]) == []


def test_both_graders_grade_every_reply_and_only_the_original_guesses():
    grades = grade_replies(REPLIES)
    wide = grades.pivot(index="row", columns="grader", values="correct")
    assert wide[EXACT].tolist() == [True, False, True, False, False, False, pd.NA]
    assert wide[LEGACY].tolist() == [True, True, True, False, True, False, pd.NA]
    guessed = grades[(grades["grader"] == LEGACY) & (grades["how"] == '"A" by default')]
    assert guessed["row"].tolist() == [3, 4]


def test_the_originals_model_sees_gold_and_the_questions_own_earlier_answers():
    shown = []
    replies = make_replies(*[(name, "7", "expression", (), rf"\boxed{{{said}}}") for name, said in
                             [("q1", "a"), ("q2", "b"), ("q1", "c"), ("q1", "d")]])  # fmt: skip
    grade_replies(replies, [LEGACY], ask=lambda options, attempt: shown.append((tuple(options), attempt)) or -1)
    assert shown == [(("7",), "a"), (("7",), "b"), (("7", "a"), "c"), (("7", "a", "c"), "d")]


def test_what_one_model_answered_is_not_shown_for_another():
    shown = []
    replies = make_replies(*[("q1", "7", "expression", (), rf"\boxed{{{said}}}") for said in "abc"])
    replies["model"] = ["x", "y", "x"]
    grade_replies(replies, [LEGACY], ask=lambda options, attempt: shown.append(list(options)) or -1)
    assert shown == [["7"], ["7"], ["7", "a"]]


def test_a_null_reply_is_no_answer():
    replies = make_replies(("q1", "7", "integer", (), None), ("q2", "B", "choice", TEXTS, None))
    assert grade_replies(replies, [EXACT])["correct"].tolist() == [False, False]


def test_an_unknown_grader_is_refused():
    with pytest.raises(StudyError, match="legacy_s1"):
        grade_replies(REPLIES, ["gut feeling"])


# ------------------------------------------------------------------ the judge that extracts blind


def test_the_judge_never_sees_gold():
    rows = pd.DataFrame({"id": ["a"], "question": ["1+1?"], "attempt": ["two"], "gold": ["GOLD"], "options": [()]})
    ask = judge.make_extract_asks(rows)[0]
    assert "GOLD" not in ask.user
    assert "Correct answer" not in ask.user
    assert "1+1?" in ask.user
    assert "two" in ask.user


def test_the_schema_asks_for_the_reason_first_and_the_rubric_says_what_is_copied():
    assert list(judge.EXTRACT_SCHEMA["properties"]) == judge.EXTRACT_SCHEMA["required"] == ["reason", "found", "answer"]
    assert "first line's tag" in judge.EXTRACT_RUBRIC
    assert "{" not in judge.EXTRACT_RUBRIC


@pytest.mark.parametrize(
    ("data", "extracted", "failure"),
    [
        ({"reason": "", "found": True, "answer": " 12 "}, "12", ""),
        ({"reason": "", "found": True, "answer": "1 2"}, "1 2", ""),  # spacing aside
        ({"reason": "", "found": True, "answer": "B"}, "B", ""),
        ({"reason": "", "found": False, "answer": "12"}, None, ""),
        ({"reason": "", "found": True, "answer": ""}, None, ""),
        ({"reason": "", "found": True, "answer": "13"}, None, "made up"),
        ({"reason": "", "found": True, "answer": "12" * 200}, None, "unparsable"),
        ({"reason": "", "found": "yes", "answer": "12"}, None, "unparsable"),
        ({"reason": "", "found": True}, None, "unparsable"),
        (None, None, "unparsable"),
    ],
)
def test_what_the_judge_copies_has_to_stand_in_the_attempt(data, extracted, failure):
    rows = pd.DataFrame({"id": ["a"], "attempt": ["it is 12, " + "12" * 200], "options": [("A", "B")]})
    reply = Reply(data=data, text="", failure="", usd=0.01)
    row = judge.read_extractions({"a": reply}, rows).iloc[0]
    assert (row["extracted"] if isinstance(row["extracted"], str) else None) == extracted
    assert row["failure"].startswith(failure)
    assert bool(row["failure"]) == bool(failure)


def test_a_judge_extracts_where_rules_find_nothing_and_the_rules_compare(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    replies = make_replies(
        ("q1", "B", "choice", TEXTS, "We settle on the second one, twelve."),
        ("q2", "7", "expression", (), "Seven it is: 7 in all"),
        ("q3", "7", "expression", (), "I don't know"),
        ("q4", "7", "expression", (), "maybe 8"),
        ("q5", "7", "integer", (), r"\boxed{7}"),
        ("q6", None, "expression", (), "nothing known here"),
    )
    exact = grade_replies(replies, [EXACT])
    said = [("B", True), ("7", True), ("", False), ("9", True)]  # the last is made up
    rows = replies.iloc[:4].assign(id=[str(i) for i in range(4)], attempt=lambda table: table["response"])
    asks = judge.make_extract_asks(rows)
    outcomes = {
        ask.user: [json.dumps({"reason": "so", "found": found, "answer": answer})]
        for ask, (answer, found) in zip(asks, said, strict=True)
    }
    with serve_claude(outcomes=outcomes) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        asked = collection.Judge("claude-test-1", (3.0, 15.0), 1.0, tmp_path)
        grades = grade_blind(replies, exact, asked)
        assert sum(server.asked.values()) == 4
        assert not any("Correct answer" in text for text in server.asked)
        again = grade_blind(replies, exact, asked)
        assert sum(server.asked.values()) == 4
    assert grades["correct"].tolist() == [True, True, False, pd.NA, True, pd.NA]
    assert grades["extracted"].tolist() == ["B", "7", pd.NA, pd.NA, "7", pd.NA]
    assert set(grades["grader"]) == {BLIND}
    pd.testing.assert_frame_equal(again, grades)


def test_grades_of_other_replies_are_refused(tmp_path):
    asked = collection.Judge("claude-test-1", (3.0, 15.0), 1.0, tmp_path)
    with pytest.raises(StudyError, match="these replies"):
        grade_blind(REPLIES, grade_replies(REPLIES.iloc[:2], [EXACT]), asked)


# ------------------------------------------------------------------ disagreements and prices


def test_every_disagreement_is_listed_with_what_each_extracted():
    grades = grade_replies(REPLIES)
    table = tabulate_disagreements(grades, REPLIES)
    assert table["row"].tolist() == [1, 4]
    assert table[EXACT].tolist() == ["wrong", "wrong"]
    assert table[LEGACY].tolist() == ["right", "right"]
    assert table[f"{LEGACY} extracted"].tolist() == ["204", "A"]
    assert table["reply ends"].tolist() == REPLIES["response"].iloc[[1, 4]].tolist()
    assert table["question"].tolist() == ["question q1", "question q3"]


def test_a_verdict_and_none_are_a_difference_and_two_nones_are_not():
    grades = pd.DataFrame({"row": [0, 0, 1, 1], "grader": ["a", "b"] * 2, "extracted": "7",
                           "correct": pd.array([None, True, None, None], dtype="boolean")})  # fmt: skip
    assert tabulate_disagreements(grades, REPLIES)["row"].tolist() == [0]


def make_grades(**verdicts):
    """Two replies to each of three questions; verdicts by grader, in order."""
    tables = [
        pd.DataFrame({"row": range(6), "question_id": list("aabbcc"), "grader": name, "extracted": "7",
                      "correct": pd.array(found, dtype="boolean")})
        for name, found in verdicts.items()
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_prices_are_means_over_questions_with_paired_differences():
    grades = make_grades(exact=[1, 0, 0, 0, 1, 1], lenient=[1, 1, 1, 0, 1, None])
    grades.loc[[1], "extracted"] = None
    table = price_graders(grades, resamples=2000).set_index("grader")
    assert table.loc["exact", ["n", "right", "wrong", "no_answer", "undecided"]].tolist() == [6, 3, 2, 1, 0]
    assert table.loc["lenient", ["right", "wrong", "undecided"]].tolist() == [4, 1, 1]
    assert table.loc["exact", "accuracy"] == pytest.approx(0.5)
    assert table.loc["lenient", "accuracy"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert table.loc["lenient", "highest"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert table.loc["lenient", "difference"] == pytest.approx(1 / 6)
    assert table.loc["exact", ["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    assert table.loc["lenient", ["gained", "lost", "p"]].tolist() == [1, 0, 1.0]  # first replies: b alone
    assert table.loc["lenient", "difference_low"] <= -1 / 2 + 1e-9
    assert table.loc["lenient", "difference_high"] >= 1 / 2 - 1e-9


def test_prices_by_setting_are_those_of_each_setting_alone():
    both = pd.concat([make_grades(exact=[1] * 6, x=[0] * 6).assign(setting="s"),
                      make_grades(exact=[0, 1] * 3, x=[1] * 6).assign(setting="t")])  # fmt: skip
    table = price_graders(both, by=["setting"], resamples=200).set_index(["setting", "grader"])
    assert table["accuracy"].to_dict() == {("s", "exact"): 1, ("s", "x"): 0, ("t", "exact"): 0.5, ("t", "x"): 1}
    alone = price_graders(both[both["setting"] == "t"], resamples=200)
    assert table.loc["t"].reset_index()[alone.columns].equals(alone)


@pytest.mark.parametrize("rows", [[*range(6, 12)], [*range(1, 12)], [*range(12), *range(12)]])
def test_graders_of_different_replies_have_no_price(rows):
    grades = make_grades(exact=[1] * 6, x=[0] * 6).iloc[rows]
    with pytest.raises(StudyError, match="same replies"):
        price_graders(grades)
