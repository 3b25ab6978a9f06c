"""Difficulty, measured: what a base model already solves without being trained.

Two real solvers, both the base model: asked directly, and shown worked examples. A question counts as solved only if
a solver is right in every one of several askings with the options listed in another order each time, so that luck at
chance 0.26 is not taken for skill. Source: s1 section 2.2 (there: Qwen2.5-7B and 32B, one sample each).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pandas as pd

from s1_utils.budget_forcing import Setting, force_budget
from s1_utils.engines import Row
from s1_utils.generation import Task, Writer, run_groups
from s1_utils.grading import extract_answer, grade_answer
from s1_utils.puzzles import read_puzzle
from s1_utils.sources import derive_seed
from s1_utils.store import Journal

SOLVERS = ("direct", "worked")
ANSWER_TOKENS = 8


def reshuffle(question: str, metadata: str, seed: int) -> str:
    """The question with its options in another order; unchanged if it has none."""
    puzzle = read_puzzle(metadata)
    return puzzle.shuffled(random.Random(seed)).question if puzzle else question


def write_examples(examples: pd.DataFrame) -> str:
    """Worked examples as text: question, thinking, answer of each row of (question, thinking, answer)."""
    blocks = [f"{row.question}\n{row.thinking}\nAnswer: {row.answer}\n\n" for row in examples.itertuples()]
    return "".join(blocks)


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
) -> pd.DataFrame:
    """One row a question, solver and asking: extracted, correct.

    `pool`: question_id, question, answer, answer_type, domain, metadata. `examples`: domain, question, thinking,
    answer; rows of a question's own domain are shown to the solver "worked", which may think for `solver_tokens`.
    """
    questions = pool.sort_values("domain", kind="stable")
    graded = {row.question_id: row for row in questions.itertuples()}
    shown = {domain: write_examples(rows) for domain, rows in examples.groupby("domain")}
    tables = []
    for solver in SOLVERS:
        budget = solver_tokens if solver == "worked" else 0
        tasks = [
            Task(
                row.question_id,
                writer.encode_prompt(
                    reshuffle(row.question, row.metadata, derive_seed(seed, "asking", row.question_id, asking)),
                    shown.get(row.domain, "") if solver == "worked" else "",
                ),
                asking,
                0,
            )
            for row in questions.itertuples()
            for asking in range(askings)
        ]

        def run_group(group: Sequence[Task], budget: int = budget) -> list[dict[str, Any]]:
            return _ask_group(writer, group, budget)

        records = run_groups(tasks, run_group, journal, label=solver, group_size=group_size)
        tables.append(pd.DataFrame(records).assign(solver=solver))
    table = pd.concat(tables, ignore_index=True)
    rows = [graded[question_id] for question_id in table["question_id"]]
    table["extracted"] = [extract_answer(a, r.answer_type) for a, r in zip(table["answer"], rows, strict=True)]
    table["correct"] = [
        bool(grade_answer(e, r.answer, r.answer_type)) for e, r in zip(table["extracted"], rows, strict=True)
    ]
    return table


def _ask_group(writer: Writer, group: Sequence[Task], budget: int) -> list[dict[str, Any]]:
    settings = [Setting("solver", budget, 0)]
    rows = []
    for task in group:
        policy = force_budget(writer.markers, settings, wait_ids=(), max_answer_tokens=ANSWER_TOKENS)
        rows.append(Row(task.prompt_ids, policy))
    answers = [out.points[0].answer_ids for out in writer.engine.run(rows)]
    return [
        {"question_id": task.question_id, "asking": task.sample, "answer": "Answer:" + writer.decode(ids)}
        for task, ids in zip(group, answers, strict=True)
    ]


def find_solved(askings: pd.DataFrame) -> pd.DataFrame:
    """question_id, solved_direct, solved_worked: right in all askings."""
    solved = askings.groupby(["question_id", "solver"])["correct"].all().unstack()
    return solved.add_prefix("solved_").reset_index().rename_axis(columns=None)
