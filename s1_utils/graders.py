"""Graders on the same replies: exact rules, the original, a judge that extracts blind; where they differ, by how much.

Knows tables of replies and of grades; knows no files, and no engine that a reply came from. A table of replies has one
row a reply: question_id, question, gold (null: nothing is decided), answer_type (choice, integer, expression, text),
options (label → text, or labels; empty for none) and response, in the order of samples; it may name runs (`RUNS`), as
the original's grader remembers what a run answered before. A table of grades has one row a reply and grader: row (the
reply's place, from 0), question_id, grader, extracted, correct (null: undecided), how.
Source: s1 section 4.1 names one grader only; what it is worth is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from s1_utils import judge, legacy_grader, math_grader, paired, scaling
from s1_utils.choice_letters import find_label
from s1_utils.errors import StudyError
from s1_utils.grading import extract_answer, grade_answer
from s1_utils.math_grader import Grade
from s1_utils.store import require_columns

if TYPE_CHECKING:
    from s1_utils.collection import Judge

REPLIES = ["question_id", "question", "gold", "answer_type", "options", "response"]
GRADES = {"row": "int64", "question_id": "str", "grader": "string", "extracted": "string", "correct": "boolean",
          "how": "string"}  # fmt: skip
EXACT, LEGACY, BLIND = "exact", "legacy_s1", "blind_judge"
RUNS = ("model", "setting", "task")  # columns, where there are any, that tell a question's runs apart
LONGEST_QUESTION, TAIL = 300, 400  # characters of a disagreement's question and reply

# ------------------------------------------------------------------ equality


def grade_extracted(
    answers: Sequence[tuple[str | None, str | None, str]], *, workers: int = 2, seconds_each: float = 3.0
) -> list[Grade]:
    """The grade of each (extracted answer, gold, answer_type), in order: by number, by label, then by math-verify.

    An integer that isn't the same number is right if algebra says so (408/2 for 204), and wrong otherwise, whatever
    algebra leaves open. A text is right if it is the same, else undecided. Raises as `math_grader.grade_expressions`.
    """
    grades = [_grade_simply(*answer) for answer in answers]
    left = [i for i, grade in enumerate(grades) if grade is None]
    pairs = [answers[i][:2] for i in left]
    found = math_grader.grade_expressions(pairs, workers=workers, seconds_each=seconds_each) if pairs else []
    for i, grade in zip(left, found, strict=True):
        is_sure = answers[i][2] == "expression" or grade.correct
        grades[i] = grade if is_sure else Grade(False, "same number")
    return [grade for grade in grades if grade is not None]


def _grade_simply(said: str | None, gold: str | None, answer_type: str) -> Grade | None:
    """The grade by exact rules; None for what algebra may decide."""
    if not isinstance(gold, str) or not gold.strip():
        return Grade(None, "no gold")
    if not isinstance(said, str) or not said.strip():
        return Grade(None if answer_type == "text" else False, "no answer")
    if answer_type == "choice":
        return Grade(said == gold, "same label")
    if answer_type == "text":
        grade = math_grader.decide_cheaply(said, gold)
        return grade if grade and grade.correct else Grade(None, "text")
    return Grade(True, "same number") if grade_answer(said, gold, answer_type) else None


# ------------------------------------------------------------------ graders


def grade_replies(
    replies: pd.DataFrame,
    graders: Sequence[str] = (EXACT, LEGACY),
    *,
    ask: legacy_grader.Ask | None = legacy_grader.stand_in,
    workers: int = 2,
    seconds_each: float = 3.0,
) -> pd.DataFrame:
    """The grades of all replies by each of `graders` ("exact", "legacy_s1"), in that order.

    `ask`: what answers in gpt-4o-mini's place for the original's grader, None for nothing.
    """
    require_columns(replies, REPLIES, "The table of replies")
    known = {EXACT, LEGACY}
    if unknown := [name for name in graders if name not in known]:
        raise StudyError(f"No grader {unknown[0]!r}: name exact or legacy_s1.")
    tables = []
    for name in graders:
        if name == EXACT:
            extracted = extract_answers(replies)
            rows = zip(extracted, _list_texts(replies, "gold"), replies["answer_type"], strict=True)
            found = grade_extracted(list(rows), workers=workers, seconds_each=seconds_each)
            tables.append(_tabulate(replies, name, extracted, found))
        else:
            legacy = list(_grade_by_original(replies, ask))
            tables.append(_tabulate(replies, name, [grade.extracted for grade in legacy], legacy))
    return pd.concat(tables, ignore_index=True)


def extract_answers(replies: pd.DataFrame) -> list[str | None]:
    """What exact rules find in each reply, blind to gold; nothing in one that is null."""
    texts = zip(_list_texts(replies, "response"), replies["answer_type"], replies["options"], strict=True)
    return [extract_answer(text or "", kind, find_labels(kind, options)) for text, kind, options in texts]


def find_labels(answer_type: str, options: Mapping[str, str] | Sequence[str]) -> Mapping[str, str] | Sequence[str]:
    """The options that extraction looks for: only a choice has any."""
    return options if answer_type == "choice" and len(options) else ()


def _list_texts(replies: pd.DataFrame, name: str) -> list[str | None]:
    return [text if isinstance(text, str) else None for text in replies[name]]


def _grade_by_original(replies: pd.DataFrame, ask: legacy_grader.Ask | None) -> list[legacy_grader.LegacyGrade]:
    earlier: dict[tuple[str, ...], dict[str, None]] = {}  # run and question → what was extracted, in order
    runs = replies[["question_id", *(name for name in RUNS if name in replies)]].itertuples(index=False, name=None)
    golds, texts = _list_texts(replies, "gold"), _list_texts(replies, "response")
    return [
        grade_by_original(text or "", gold, kind, earlier.setdefault(run, {}), ask)
        for run, kind, gold, text in zip(runs, replies["answer_type"], golds, texts, strict=True)
    ]


def grade_by_original(
    response: str, gold: str | None, answer_type: str, earlier: dict[str, None], ask: legacy_grader.Ask | None
) -> legacy_grader.LegacyGrade:
    """The original's grade of a question's next sample, which it adds to `earlier`; GPQA's rules for A to D."""
    if gold is None:
        return legacy_grader.LegacyGrade(None, None, "no gold")
    if answer_type == "choice" and gold in legacy_grader.LETTERS:
        return legacy_grader.grade_choice(response, gold, ask)
    grade = legacy_grader.grade_maths(response, gold, earlier, ask)
    if grade.extracted is not None:
        earlier[grade.extracted] = None
    return grade


def _tabulate(replies: pd.DataFrame, grader: str, extracted: Sequence[str | None], grades: Sequence[Any]) -> Any:
    table = pd.DataFrame(
        {
            "row": range(len(replies)),
            "question_id": replies["question_id"].to_numpy(),
            "grader": grader,
            "extracted": pd.array(list(extracted), dtype="string"),
            "correct": pd.array([grade.correct for grade in grades], dtype="boolean"),
            "how": [grade.how for grade in grades],
        }
    )
    return table.astype(GRADES)


def grade_blind(replies: pd.DataFrame, exact: pd.DataFrame, asked: Judge, **limits: float) -> pd.DataFrame:
    """The grades of the grader "blind_judge": as `exact` (its grades of these replies), where that found an answer and
    decided; elsewhere a model extracts, without gold, and the same rules compare.

    A reply in which the model finds no answer is wrong; where the model failed or the rules can't compare, it stays
    undecided. Questions without gold aren't asked about. Raises StudyError as `collection.ask_judge` does.
    """
    from s1_utils.collection import ask_judge

    require_columns(replies, REPLIES, "The table of replies")
    own = exact[exact["grader"] == EXACT].sort_values("row")
    if own["row"].tolist() != list(range(len(replies))):
        raise StudyError("The grades aren't those of these replies: grade them by exact rules first.")
    left = (own["extracted"].isna() | own["correct"].isna()).to_numpy() & replies["gold"].notna().to_numpy()
    rows = pd.DataFrame(
        {
            "id": [str(i) for i in np.flatnonzero(left)],
            "question": replies["question"].to_numpy()[left],
            "attempt": replies["response"].to_numpy()[left],
            "options": [tuple(options) for options in replies["options"].to_numpy()[left]],
        }
    )
    asks = judge.make_extract_asks(rows)
    said = ask_judge(asks, asked, system=judge.EXTRACT_RUBRIC, schema=judge.EXTRACT_SCHEMA) if asks else {}
    found = judge.read_extractions(said, rows)
    table = own.assign(grader=BLIND).set_index("row")
    place = found["id"].astype("int64").to_numpy()
    golds, kinds, options = (replies[name].to_numpy()[place] for name in ("gold", "answer_type", "options"))
    texts = [text if isinstance(text, str) else None for text in found["extracted"]]
    extracted = [text and _name_label(text, *known) for text, *known in zip(texts, kinds, options, strict=True)]
    grades = grade_extracted(list(zip(extracted, golds, kinds, strict=True)), **limits)
    table.loc[place, "extracted"] = pd.array(extracted, dtype="string")
    has_failed = found["failure"].to_numpy() != ""
    verdicts = [None if failed else grade.correct for grade, failed in zip(grades, has_failed, strict=True)]
    reasons = found["failure"].where(has_failed, [grade.how for grade in grades])
    table.loc[place, "correct"] = pd.array(verdicts, dtype="boolean")
    table.loc[place, "how"] = pd.array(reasons, dtype="string")
    return table.reset_index()[list(GRADES)].astype(GRADES)


def _name_label(text: str, answer_type: str, options: Mapping[str, str] | Sequence[str]) -> str:
    """The label of what the judge copied, if it is one of a choice, or an option's text; else that text."""
    if answer_type != "choice" or not len(options):
        return text
    return find_label(text, options if isinstance(options, Mapping) else {name: name for name in options}) or text


# ------------------------------------------------------------------ what they disagree on


def tabulate_disagreements(grades: pd.DataFrame, replies: pd.DataFrame) -> pd.DataFrame:
    """One row a reply on which graders differ: row, question, gold, the reply's end, and for each grader its verdict
    (right, wrong, undecided) and what it extracted. A verdict and none are a difference.
    """
    require_columns(grades, ["row", "grader", "extracted", "correct"], "The table of grades")
    names = list(dict.fromkeys(grades["grader"]))
    words = grades["correct"].map({True: "right", False: "wrong"}).astype("object").fillna("undecided")
    wide = grades.assign(verdict=words).set_index(["row", "grader"])[["verdict", "extracted"]].unstack("grader")
    differs = wide["verdict"].nunique(axis=1, dropna=False) > 1
    rows = wide.index[differs]
    asked = replies.iloc[rows]
    table = pd.DataFrame({"row": rows, "question": asked["question"].str[:LONGEST_QUESTION].to_numpy()})
    table["gold"], table["reply ends"] = asked["gold"].to_numpy(), asked["response"].str[-TAIL:].to_numpy()
    for name in names:
        table[name] = wide.loc[rows, ("verdict", name)].to_numpy()
        table[f"{name} extracted"] = wide.loc[rows, ("extracted", name)].to_numpy()
    return table


def price_graders(
    grades: pd.DataFrame, *, by: Sequence[str] = (), reference: str = EXACT, resamples: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """What each grader makes of the same replies: one row a grader (and setting, of the columns `by`).

    accuracy: share, mean over questions of the mean over their replies, what is undecided counted as wrong, with its
    95 % bootstrap interval over questions; highest: were all of that right. difference: accuracy less that of
    `reference`, paired, with its interval. gained, lost, p: McNemar's exact test on the first reply to each question.
    n, right, wrong (with an answer), no_answer (wrong), undecided count replies. Raises StudyError unless every grader
    has graded the same replies, `reference` among them.
    """
    require_columns(grades, [*by, "row", "question_id", "grader", "extracted", "correct"], "The table of grades")
    groups = list(grades.groupby(list(by), sort=False)) if by else [((), grades)]
    rows: list[dict[str, Any]] = []
    for key, group in groups:
        rows += [dict(zip(by, key, strict=True)) | row for row in _price_group(group, reference, resamples, seed)]
    return pd.DataFrame(rows)


def _price_group(grades: pd.DataFrame, reference: str, resamples: int, seed: int) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(grades["grader"]))
    graded = {name: frozenset(group["row"]) for name, group in grades.groupby("grader")}
    if reference not in graded or len(set(graded.values())) > 1 or grades.duplicated(["row", "grader"]).any():
        raise StudyError(f"Every grader has to grade the same replies once, {reference} too: grade them together.")
    right = grades.assign(right=grades["correct"].fillna(False).astype(float))
    right_KQ = right.pivot_table(index="grader", columns="question_id", values="right").loc[names]
    first = right.sort_values("row").drop_duplicates(["grader", "question_id"])
    first_KQ = first.pivot(index="grader", columns="question_id", values="right").loc[names, right_KQ.columns]
    weights = scaling.resample(right_KQ.shape[1], resamples, seed)
    at = names.index(reference)
    differences = paired.compare_systems(right_KQ.to_numpy(), weights, reference=at)
    rows = []
    for k, name in enumerate(names):
        own = grades[grades["grader"] == name]
        interval = scaling.bootstrap_mean(right_KQ.iloc[k], weights)
        gained, lost, p = paired.compare_paired(first_KQ.iloc[at].astype(bool), first_KQ.iloc[k].astype(bool))
        undecided = own["correct"].isna()
        possible = own.assign(possible=own["correct"].fillna(True).astype(float))
        wrong = own["correct"].eq(False).fillna(False)
        rows.append(
            {
                "grader": name, "n": len(own), "right": int(own["correct"].sum()),
                "wrong": int((wrong & own["extracted"].notna()).sum()),
                "no_answer": int((wrong & own["extracted"].isna()).sum()), "undecided": int(undecided.sum()),
                "accuracy": interval.value, "low": interval.low, "high": interval.high,
                "highest": float(possible.groupby("question_id")["possible"].mean().mean()),
                "difference": differences.value[k], "difference_low": differences.low[k],
                "difference_high": differences.high[k], "gained": gained, "lost": lost, "p": p,
            }
        )  # fmt: skip
    return rows
