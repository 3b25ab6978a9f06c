"""Ask models to think for so many tokens or steps, and let them, or make them.

Knows the kinds of training text that ask for a length (training_text) and how to ask for one; knows nothing about
training, grading or statistics (obedience). Every length is asked for twice, in one greedy pass:

  tokens  by itself, up to max_thinking · cut at the number asked for, as budget forcing does
  steps   by itself, up to max_thinking · ended once the steps asked for are used up (controls.count_down)

A model that was not trained to announce steps is asked for them too, but never made to stop: it has no marks to count.
A used length is in the unit asked for. Steps are those announced ("k steps left"), and their announcements are not
counted as thinking; in text without announcements they are those that training would announce (split_steps).

Source: s1 section D, tables 11 and 12. Deviations: whoever miscounts is stopped by our own count; the model trained on
plain s1 text is asked for the same lengths, so that what training adds can be told from what asking does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import chat, controls
from s1_utils.budget_forcing import Policy, Setting
from s1_utils.errors import StudyError
from s1_utils.generation import Task, Writer, find_room, generate, load_writer, make_tasks, run_policies
from s1_utils.store import Journal
from s1_utils.training_text import ASKS, find_format, split_steps

ANNOUNCED = re.compile(rf"(?:^|{re.escape(chat.STEPS.thinking_start)})(\d+) steps left\n")


def list_asks(params: Any, trained: str = "s1") -> list[tuple[str, int]]:
    """(kind, length) of every request to a model trained in the kind `trained`: its own, or for s1 all."""
    lengths = {"tokens": params.ask_tokens, "steps": params.ask_steps}
    return [(kind, n) for kind in params.kinds if trained in ("s1", kind) for n in lengths[kind]]


def require_asks(params: Any) -> None:
    """Raises StudyError for a kind twice, a length twice, a single length, or one that max_thinking cuts off."""
    for name in ("kinds", *(f"ask_{kind}" for kind in params.kinds)):
        values = getattr(params, name)
        if len(set(values)) < len(values):
            raise StudyError(f"{name} has repeats ({values}): each needs to be there once.")
        if name != "kinds" and len(values) < 2:
            raise StudyError(f"{name} = {values}: ask for two lengths at least, or nobody can tell who follows.")
    if "tokens" in params.kinds and max(params.ask_tokens) > params.max_thinking:
        raise StudyError(f"ask_tokens = {params.ask_tokens} exceeds max_thinking = {params.max_thinking}: raise that.")


# ------------------------------------------------------------------ asking


def ask_lengths(
    folder: Path, tests: pd.DataFrame, journal: Journal, params: Any, *, label: str, trained: str, system_prompt: str
) -> pd.DataFrame:
    """The `generations` on `tests` of the model in `folder`, trained in the kind `trained`, asked for every length.

    With columns trained, kind, asked, enforced, steps and marked_tokens (of announcements, within thinking_tokens).
    """
    with load_writer(folder, system_prompt, find_format(trained), engine=params.engine) as writer:
        tables = []
        for kind, n in list_asks(params, trained):
            told = make_tasks(writer, tests, seed=params.seed, instruction=ASKS[kind].format(n=n))
            make_table = _find_run(writer, told, kind, n, params, trained=trained)
            table = make_table(journal, label=f"{label} {kind} {n}", group_size=params.group_size)
            tables.append(_describe(table.assign(trained=trained, kind=kind, asked=n), writer))
    return pd.concat(tables, ignore_index=True).assign(model=label)


def _find_run(
    writer: Writer, tasks: list[Task], kind: str, n: int, params: Any, *, trained: str
) -> Callable[..., pd.DataFrame]:
    """What makes the table of one request: the settings of one pass."""
    cap, answer = params.max_thinking, params.max_answer_tokens
    if trained != "steps":
        cut = [Setting("tokens, cut", n, 0)] if kind == "tokens" else []
        settings = [Setting(kind, cap, 0), *cut]
        return lambda journal, **options: generate(
            writer, tasks, settings, journal, max_answer_tokens=answer, **options
        )

    def count_down(task: Task) -> Policy:
        room = min(cap, find_room(writer, task, answer))
        return controls.count_down(writer.markers, n, max_tokens=room, max_answer_tokens=answer)

    return lambda journal, **more: run_policies(writer, tasks, count_down, journal, **more)


def _describe(table: pd.DataFrame, writer: Writer) -> pd.DataFrame:
    """Settings named by what was asked for, and what is counted of each thinking."""
    found = [find_announcements(text, kind) for text, kind in zip(table["thinking"], table["trained"], strict=True)]
    return table.assign(
        budget=table["asked"],
        setting=[f"{control}:{n}:0" for control, n in zip(table["control"], table["asked"], strict=True)],
        enforced=table["control"] != table["kind"],
        wait_text="",
        steps=[count_steps(text, len(marks)) for text, marks in zip(table["thinking"], found, strict=True)],
        marked_tokens=[sum(len(writer.encode(mark)) for mark in marks) for marks in found],
    )


def find_announcements(thinking: str, trained: str) -> list[str]:
    """The announcements of a model trained in the kind `trained`, as it wrote them; the prompt has opened the first."""
    return [found[0] for found in ANNOUNCED.finditer(thinking)] if trained == "steps" else []


def count_steps(thinking: str, announced: int) -> int:
    """Steps announced, or where none is, steps that training would announce; 0 for a blank thinking."""
    return announced or (len(split_steps(thinking)) if thinking.strip() else 0)
