"""Difficulty, measured: what a base model already solves without being trained.

Two real solvers, both the base model: asked directly, and shown worked examples. A question counts as solved only if
a solver is right in every one of several askings with the options listed in another order each time, so that luck at
chance 0.26 is not taken for skill. Source: s1 section 2.2 (there: Qwen2.5-7B and 32B, one sample each).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import pandas as pd

from s1_utils.budget_forcing import Setting, force_budget
from s1_utils.engines import Row
from s1_utils.generation import Task, Writer, run_groups
from s1_utils.grading import extract_answer, grade_answer
from s1_utils.puzzles import read_options, read_puzzle
from s1_utils.sources import derive_seed
from s1_utils.store import Journal

SOLVERS = ("direct", "worked")
ANSWER_TOKENS = 8


def reshuffle(question: str, metadata: str, seed: int) -> str:
    """The question with its options in another order; unchanged if it has none."""
    puzzle = read_puzzle(metadata)
    return puzzle.shuffled(random.Random(seed)).question if puzzle else question


def write_examples(examples: pd.DataFrame) -> list[tuple[str, str]]:
    """Rows of (question, thinking, answer) as earlier turns of a conversation."""
    return [(row.question, f"{row.thinking}\nAnswer: {row.answer}") for row in examples.itertuples()]


def ask_solvers(
    writer: Writer,
    pool: pd.DataFrame,
    examples: pd.DataFrame,
    journal: Journal,
    *,
    askings: int,
    solver_tokens: int,
    group_size: int,
    seed: int,
    instruction: str,
) -> pd.DataFrame:
    """One row a question, solver and asking: answer, extracted, correct. A question is asked until it is failed.

    `pool`: question_id, question, answer, answer_type, domain, metadata. `examples`: domain, question, thinking,
    answer; rows of a question's own domain are shown to the solver "worked", which may think for `solver_tokens`.
    `instruction` is added for the solver "direct". The writer's format must suit a model that is not trained.
    """
    shown = {domain: write_examples(rows) for domain, rows in examples.groupby("domain")}
    tables = []
    for solver in SOLVERS:
        left = pool.sort_values("domain", kind="stable")
        budget = solver_tokens if solver == "worked" else 0
        for asking in range(askings):
            tasks = [
                Task(
                    row.question_id,
                    writer.encode_prompt(
                        reshuffle(row.question, row.metadata, derive_seed(seed, "asking", row.question_id, asking))
                        + (instruction if solver == "direct" else ""),
                        shown.get(row.domain, []) if solver == "worked" else [],
                    ),
                    asking,
                    0,
                )
                for row in left.itertuples()
            ]
            run_group = functools.partial(_ask_group, writer, budget)
            label = f"{solver} asking {asking + 1}"
            answers = pd.DataFrame(run_groups(tasks, run_group, journal, label=label, group_size=group_size))
            if answers.empty:
                break
            graded = _grade(answers.assign(solver=solver), left)
            tables.append(graded)
            left = left[left["question_id"].isin(graded.loc[graded["correct"], "question_id"])]
    return pd.concat(tables, ignore_index=True)


def _grade(answers: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    gold = questions.set_index("question_id").loc[answers["question_id"]]
    texts = zip(answers["answer"], gold["answer_type"], gold["metadata"].map(read_options), strict=True)
    extracted = [extract_answer(*each) for each in texts]
    golds = zip(extracted, gold["answer"], gold["answer_type"], strict=True)
    return answers.assign(extracted=extracted, correct=[bool(grade_answer(*each)) for each in golds])


def _ask_group(writer: Writer, budget: int, group: Sequence[Task]) -> list[dict[str, Any]]:
    settings = [Setting("solver", budget, 0)]
    rows = []
    for task in group:
        policy = force_budget(writer.markers, settings, max_answer_tokens=ANSWER_TOKENS)
        rows.append(Row(task.prompt_ids, policy))
    answers = [points[0].answer_ids for points in writer.engine.run(rows)]
    return [
        {"question_id": task.question_id, "asking": task.sample, "answer": writer.fmt.answer_label + writer.decode(ids)}
        for task, ids in zip(group, answers, strict=True)
    ]


def find_solved(asked: pd.DataFrame) -> pd.DataFrame:
    """question_id, solved_direct, solved_worked: right in all askings (the last asking of a failed one is wrong)."""
    solved = asked.groupby(["question_id", "solver"])["correct"].all().unstack()
    return solved.add_prefix("solved_").reset_index().rename_axis(columns=None)
