"""Grading a stage's generations, and how much its curves depend on who grades.

Joins the tables of generations and questions with graders; generations stay as they are. Knows no grader's rules.
Source: s1 section 4.1 names one grader, which is shown gold; its worth here is that of `graders.LEGACY`.
"""

from __future__ import annotations

import pandas as pd

from s1_utils import graders, math_text
from s1_utils.puzzles import read_options

KEYS = ["model", "question_id", "sample", "setting"]


def list_replies(generations: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """The table that `graders` reads: one row a generation, in that order, with model, sample and setting."""
    asked = questions.set_index("question_id")[["question", "answer", "answer_type", "metadata"]]
    rows = generations[[*KEYS, "answer"]].rename(columns={"answer": "response"}).join(asked, on="question_id")
    return rows.assign(options=rows["metadata"].map(read_options)).rename(columns={"answer": "gold"})


def grade_generations(generations: pd.DataFrame, questions: pd.DataFrame, *, workers: int = 2) -> pd.DataFrame:
    """The `grades` table: one row a generation, by exact rules and algebra, blind to gold while extracting.

    Columns: KEYS, grader, extracted (null: no answer), vote (what it counts as in a vote: numbers by value,
    expressions in one spelling), correct (null: undecided), how.
    """
    replies = list_replies(generations, questions)
    extracted = graders.extract_answers(replies)
    golds = zip(extracted, replies["gold"], replies["answer_type"], strict=True)
    grades = graders.grade_extracted(list(golds), workers=workers)
    votes = [_spell(said, kind) for said, kind in zip(extracted, replies["answer_type"], strict=True)]
    return replies[KEYS].assign(
        grader=graders.EXACT,
        extracted=pd.array(extracted, dtype="string"),
        vote=pd.array(votes, dtype="string"),
        correct=pd.array([grade.correct for grade in grades], dtype="boolean"),
        how=pd.array([grade.how for grade in grades], dtype="string"),
    )


def _spell(said: str | None, answer_type: str) -> str | None:
    if said is None or answer_type not in ("integer", "expression") or len(said) > math_text.LONGEST:
        return said
    spelled = math_text.read_answer(said).text
    number = math_text.read_number(spelled)
    return str(number) if number is not None else spelled or said


def compare_graders(
    generations: pd.DataFrame, questions: pd.DataFrame, *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """`graders`: every model and setting as exact rules and as the original's grader sees it (`graders.price_graders`).

    `disagreements`: each generation on which they differ, with both verdicts (`graders.tabulate_disagreements`).
    """
    replies = list_replies(generations, questions)
    grades = graders.grade_replies(replies, (graders.EXACT, graders.LEGACY))
    named = grades.join(replies[["model", "setting"]].reset_index(drop=True), on="row")
    priced = graders.price_graders(named, by=["model", "setting"], resamples=resamples, seed=seed)
    differ = graders.tabulate_disagreements(grades, replies)
    keys = replies[["model", "setting", "sample"]].iloc[differ["row"]].reset_index(drop=True)
    return {"graders": priced, "disagreements": pd.concat([keys, differ.drop(columns="row")], axis=1)}
