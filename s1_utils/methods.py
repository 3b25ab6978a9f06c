"""Every way to control thinking that the paper compares, and the original's own code, run on one model.

Joins policies, prompts and generation into one table; knows nothing about grading or statistics.
Source: s1 section 4.1 (table 3), table 4, section D (tables 11 to 13), figure 6; the original's code for `harness` and
`readme`. Rows say in `control` what was done, in `budget` what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import controls
from s1_utils.budget_forcing import Markers, Policy, Setting
from s1_utils.generation import Task, Writer, generate, load_writer, make_tasks, run_policies
from s1_utils.store import Journal

STRING_WAITS = 2  # s1 table 4
RUNS = {"short": controls.SHORT, "long": controls.LONG}


def run_methods(
    folder: Path, questions: pd.DataFrame, journal: Journal, params: Any, *, label: str, system_prompt: str
) -> pd.DataFrame:
    """The `generations` of the model in `folder` under all methods, on the first `params.method_questions` questions.

    `params` has engine, seed, wait_text, waits, strings, method_budgets, max_tries, max_thinking, max_answer_tokens
    and group_size.
    """
    asked = questions.head(params.method_questions)
    with load_writer(folder, system_prompt, engine=params.engine) as writer:
        tables = [
            make_table(journal, label=f"{label} {name}", group_size=params.group_size)
            for name, make_table in _list_runs(writer, asked, params)
        ]
    return pd.concat(tables, ignore_index=True).assign(model=label)


Run = Callable[..., pd.DataFrame]


def _list_runs(writer: Writer, questions: pd.DataFrame, params: Any) -> Iterator[tuple[str, Run]]:
    """(name, what makes its table) of every run."""
    tasks = make_tasks(writer, questions, seed=params.seed)
    cap, answer = params.max_thinking, params.max_answer_tokens

    def sweep(tasks: Sequence[Task], settings: Sequence[Setting], writer: Writer = writer, **more: Any) -> Run:
        return lambda journal, **options: generate(
            writer, tasks, settings, journal, max_answer_tokens=answer, **more, **options
        )

    def follow(tasks: Sequence[Task], make: Callable[[], Policy], temperature: float = 0.0) -> Run:
        return lambda journal, **options: run_policies(
            writer, tasks, lambda task: make(), journal, temperature=temperature, **options
        )

    yield "free", follow(tasks, lambda: controls.think_freely(writer.markers, max_tokens=cap + answer))
    closed = make_tasks(writer, questions, seed=params.seed, is_opened=False)
    yield "unopened", _rename("unopened", follow(closed, lambda: _think_unopened(writer, cap + answer)))
    for budget in params.method_budgets:
        ask = controls.BY_TOKENS.format(n=budget)
        settings = [Setting("tokens", cap, 0), Setting("tokens, cut", budget, 0)]
        told = make_tasks(writer, questions, seed=params.seed, instruction=ask)
        yield f"tokens {budget}", _rename("", sweep(told, settings), budget)
    for name, ask in RUNS.items():
        told = make_tasks(writer, questions, seed=params.seed, instruction=ask)
        yield name, sweep(told, [Setting(name, cap, 0)])
    limits = [Setting("rejection", budget, 0) for budget in params.method_budgets]
    options = {"max_tries": params.max_tries, "max_answer_tokens": answer}
    yield "rejection", follow(tasks, lambda: controls.reject_longer(writer.markers, limits, **options), 1.0)
    for text in params.strings:
        yield f"text {text}", sweep(tasks, [Setting(f"“{text.strip()}”", cap, STRING_WAITS)], wait_text=text)
    waited = [Setting("no newline", cap, waits) for waits in params.waits]
    dropping = replace(writer, markers=drop_newlines(writer.markers))
    yield "no newline", sweep(tasks, waited, writer=dropping, wait_text=params.wait_text)
    for budget, waits in [(b, 0) for b in params.method_budgets] + [(cap, STRING_WAITS)]:
        for name, force in (("harness", controls.force_as_harness), ("readme", controls.force_as_readme)):
            yield f"{name} {budget} {waits}", follow(tasks, _make_legacy(writer, force, name, budget, waits, params))


def drop_newlines(markers: Markers) -> Markers:
    """The format in which a newline before an end marker belongs to it, and goes with it when the end is suppressed."""
    before = tuple(markers.newline + marker for marker in markers.end_markers)
    return replace(markers, end_markers=before + markers.end_markers)


def _make_legacy(
    writer: Writer, force: Callable[..., Policy], name: str, budget: int, waits: int, params: Any
) -> Callable[[], Policy]:
    options = {
        "wait_ids": writer.encode(params.wait_text),
        "max_answer_tokens": params.max_answer_tokens,
        "stop_ids": [marker[0] for marker in writer.markers.end_markers if len(marker) == 1],
    }
    return lambda: force(writer.markers, Setting(name, budget, waits), **options)


def _think_unopened(writer: Writer, max_tokens: int) -> Policy:
    return controls.think_freely(writer.markers, max_tokens=max_tokens, is_opened=False)


def _rename(control: str, run: Run, budget: int | None = None) -> Run:
    """The run with another control, or with the budget that was asked for in words."""

    def renamed(journal: Journal, **options: Any) -> pd.DataFrame:
        table = run(journal, **options)
        table["control"] = control or table["control"]
        table["budget"] = table["budget"] if budget is None else budget
        names = zip(table["control"], table["budget"], table["waits"], strict=True)
        return table.assign(setting=[":".join(map(str, name)) for name in names])

    return renamed
