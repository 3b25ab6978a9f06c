"""Difficulty, measured: what a base model already solves without being trained.

Two real solvers, both the base model: asked directly, and shown worked examples. A question counts as solved only if
a solver is right in every one of several askings with the options listed in another order each time, so that luck at
chance 0.26 is not taken for skill. Other models are named here too, and asked by `solver_models`.
Source: s1 section 2.2 (there: Qwen2.5-7B and 32B, one sample each).
"""

from __future__ import annotations

import difflib
import functools
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.budget_forcing import Setting, force_budget
from s1_utils.engines import Row
from s1_utils.errors import StudyError
from s1_utils.generation import Task, Writer, run_groups
from s1_utils.grading import extract_answer, grade_answer
from s1_utils.puzzles import read_options, read_puzzle
from s1_utils.sources import derive_seed
from s1_utils.store import Journal, hash_json

SOLVERS = ("direct", "worked")
ANSWER_TOKENS = 8
MADE_HERE = ("smollm2-135m-instruct", "random-llama")  # the models without a folder or an owner
ENGINES = re.compile(r"transformers|vllm|https?://[^\s@]+")


@dataclass(frozen=True)
class Solver:
    """A solver by its name in the parameters; the laptop's own two have no `model` and no `engine`."""

    name: str
    model: str = ""
    engine: str = ""

    @property
    def is_served(self) -> bool:
        return self.engine.startswith("http")


def read_solvers(names: Sequence[str]) -> list[Solver]:
    """The solvers of a parameter: "direct", "worked", MODEL (on transformers) or MODEL@ENGINE.

    MODEL: a hub id, a folder, or what a server calls it. ENGINE: transformers, vllm, or a chat server's http URL up to
    and including /v1. Raises StudyError for no names, one that can't be read, and a solver named twice.
    """
    if not names:
        raise StudyError(f"No solver is named: name {', '.join(SOLVERS)}, or models like owner/name@vllm.")
    known: dict[tuple[str, str], Solver] = {}
    for solver in map(_read_solver, names):
        same = known.setdefault((solver.model or solver.name, solver.engine), solver)
        if same is not solver:
            raise StudyError(f"Solver {solver.name!r} is named twice (as {same.name!r}): leave one of them out.")
    return list(known.values())


def _read_solver(name: str) -> Solver:
    if name in SOLVERS:
        return Solver(name)
    model, at, engine = name.partition("@")
    if at and not ENGINES.fullmatch(engine):
        raise StudyError(
            f"Solver {name!r}: there is no engine {engine!r}; use transformers, vllm, or the http URL of a chat server."
        )
    solver = Solver(name, model.rstrip("/"), engine.rstrip("/") or "transformers")
    is_here = model in MADE_HERE or "/" in model or Path(model).is_dir()
    if not solver.model or model in SOLVERS or not (solver.is_served or is_here):
        near = difflib.get_close_matches(model, (*SOLVERS, *MADE_HERE), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise StudyError(f"No solver {name!r}{hint}: name {', '.join(SOLVERS)}, owner/name of a hub, or a folder.")
    return solver


def name_columns(names: Sequence[str]) -> dict[str, str]:
    """Solver → its column solved_…, named after the last part of its model; with a hash where two would be alike."""
    lasts = {name: name if name in SOLVERS else Path(name.partition("@")[0]).name for name in names}
    counts = Counter(lasts.values())
    is_clear = {name: name in SOLVERS or counts[last] == 1 for name, last in lasts.items()}
    return {
        name: f"solved_{last}" + ("" if is_clear[name] else f"-{hash_json(name)[:6]}") for name, last in lasts.items()
    }


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
    solvers: Sequence[str] = SOLVERS,
) -> pd.DataFrame:
    """One row a question, solver and asking: answer, extracted, correct. A question is asked until it is failed.

    `pool`: question_id, question, answer, answer_type, domain, metadata. `examples`: domain, question, thinking,
    answer; rows of a question's own domain are shown to the solver "worked", which may think for `solver_tokens`.
    `instruction` is added for the solver "direct". The writer's format must suit a model that is not trained.
    `solvers`: which of the two.
    """
    shown = {domain: write_examples(rows) for domain, rows in examples.groupby("domain")}
    tables = []
    for solver in solvers:
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
    """question_id, and for every solver whether it is right in all askings, in the columns of `name_columns`.

    `asked`: question_id, solver, correct (bool, or boolean with nulls), of all solvers together. A question that is
    failed once is not solved (its last asking is wrong); else an asking without a verdict, or none at all, is null.
    """
    solved = asked.groupby(["question_id", "solver"])["correct"].all(skipna=False).unstack()
    solved = solved.astype({name: "boolean" for name in solved if solved[name].dtype != bool})
    return solved.rename(columns=name_columns(list(solved))).reset_index().rename_axis(columns=None)
