"""Difficulty by solver models of any size, each asked once: on an engine here, or behind a chat server of one's own.

Knows how a model is found, asked, journalled and freed; knows nothing about grading, selection or the laptop's own
solvers. A reply is one free turn to the bare question, under the chat template's own system prompt.
Source: s1 section 2.2, its bulk_inference.py (temperature 0.05, one sample, 32,768 tokens at most). Deviations: each
question has a seed of its own where a model runs here; one that couldn't be asked is null, with the reason.
"""

from __future__ import annotations

import functools
import gc
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import api_teachers, chat, collection, models
from s1_utils.api_teachers.requests import OWN_SERVER, Teacher
from s1_utils.budget_forcing import Decode, Ids, Ran, describe_end
from s1_utils.engines import Row
from s1_utils.errors import StudyError
from s1_utils.generation import Task, Writer, load_writer, make_tasks, run_groups
from s1_utils.solvers import Solver
from s1_utils.store import Journal

TEMPERATURE = 0.05
REPLY = chat.Format("", "", (), "", ())  # nothing is marked: the whole turn is the answer
UNREACHED = ("connection failed", "status 408", "status 425", "status 429", "status 5")  # no fault of a question
COLUMNS = {"question_id": "str", "solver": "str", "asking": "int64", "answer": "string", "finish": "string",
           "reason": "string", "output_tokens": "Int64"}  # fmt: skip


@dataclass(frozen=True)
class _Sampling:
    max_tokens: int
    group_size: int
    seed: int
    temperature: float


def ask_models(
    solvers: Sequence[Solver],
    pool: pd.DataFrame,
    *,
    journal: Journal,
    asked_folder: Path,
    max_tokens: int,
    group_size: int,
    seed: int,
    temperature: float = TEMPERATURE,
) -> pd.DataFrame:
    """One row a question and solver model: question_id solver asking (0) answer finish reason output_tokens.

    `pool`: question_id (unique), question. The laptop's own solvers are left out. `max_tokens` of a reply, or what the
    model's window leaves. finish: stop or length; null like the answer if there is none, for a `reason`. output_tokens:
    null from a server. `journal` keeps groups of `group_size` that ran here, `asked_folder` what servers replied to so
    many requests at a time. Raises StudyError for a model not found, changed or no chat model, and a server in trouble.
    """
    rows = pool.sort_values("question_id")
    tables = [pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)]
    sampling = _Sampling(max_tokens, group_size, seed, temperature)
    for solver in [each for each in solvers if each.model and len(rows)]:
        keep, ask = (asked_folder, _ask_server) if solver.is_served else (journal, _ask_here)
        table = pd.DataFrame(ask(solver, rows, keep, sampling), columns=list(COLUMNS))
        tables.append(table.assign(solver=solver.name, asking=0).astype(COLUMNS).fillna({"reason": ""}))
    return pd.concat(tables, ignore_index=True)


def _ask_here(solver: Solver, pool: pd.DataFrame, journal: Journal, how: _Sampling) -> list[dict[str, Any]]:
    """The rows of one model, which is loaded only if a group is missing, and is gone from memory afterwards."""
    names = [f"{solver.name}/{i}" for i in range(-(-len(pool) // how.group_size))]
    if not all(name in journal for name in names):
        folder = _find_model(solver, journal)
        with load_writer(folder, "", REPLY, engine=solver.engine) as writer:
            tasks = make_tasks(writer, pool, seed=how.seed, is_opened=False)
            run_group = functools.partial(_ask_group, writer, find_turn_ends(folder, writer.tokenizer), how)
            list(run_groups(tasks, run_group, journal, label=solver.name, group_size=how.group_size))
        del writer, run_group
        _free_memory()
    return [row for name in names for row in journal.records[name]]


def _find_model(solver: Solver, journal: Journal) -> Path:
    """The model's folder; the journal keeps its hash, so that no other model answers the rest."""
    record, name = models.describe_model(solver.model, "", ""), f"{solver.name}/model"
    journal.add(name, record)
    if journal.records[name]["sha256"] != record["sha256"]:
        raise StudyError(f"{solver.model} isn't the model that was asked first: put that back, or set force to True.")
    folder = models.resolve_model(solver.model)
    if not models.load_tokenizer(folder).chat_template:
        raise StudyError(f"{solver.model} has no chat template: name an instruct model.")
    return folder


def find_turn_ends(folder: Path, tokenizer: Any) -> tuple[Ids, ...]:
    """Every id that the model's own files call an end: an instruct model may have several."""
    path = folder / "generation_config.json"
    found = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.exists() else None
    listed = found if isinstance(found, list) else [found]
    return tuple((end,) for end in sorted({*listed, tokenizer.eos_token_id} - {None}))


def _ask_group(writer: Writer, ends: tuple[Ids, ...], how: _Sampling, group: Sequence[Task]) -> list[dict[str, Any]]:
    window = min(filter(None, (writer.window, writer.engine.window)))
    rooms = [min(how.max_tokens, window - len(task.prompt_ids)) for task in group]
    asked = [(task, room) for task, room in zip(group, rooms, strict=True) if room > 0]
    rows = [Row(task.prompt_ids, _reply(ends, room), task.seed, how.temperature) for task, room in asked]
    found = {task.question_id: ran for (task, _), ran in zip(asked, writer.engine.run(rows), strict=True)}
    return [{"question_id": task.question_id, **_describe(writer, found.get(task.question_id))} for task in group]


def _reply(ends: tuple[Ids, ...], room: int) -> Generator[Decode, Ran, Ran]:
    return (yield Decode(room, ends))


def _describe(writer: Writer, ran: Ran | None) -> dict[str, Any]:
    if ran is None:
        return {"reason": "the question doesn't fit the model's window"}
    return {"answer": writer.decode(ran.ids), "finish": describe_end(ran), "output_tokens": len(ran.ids)}


def _free_memory() -> None:
    """Give back what the last model left: vLLM's processes take their share of what is free when they start."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _ask_server(solver: Solver, pool: pd.DataFrame, folder: Path, how: _Sampling) -> list[dict[str, Any]]:
    """The rows of one served model; what leaves no room for `max_tokens` is asked again for as many as there is for."""
    sent = {"max_tokens": how.max_tokens, "temperature": how.temperature, "extra_body": {"seed": how.seed}}
    teacher = replace(OWN_SERVER, name=solver.name, model=solver.model, base_url=solver.engine, **sent)
    teacher = replace(teacher, thinking_markers=None)
    shorter = replace(teacher, name=f"{solver.name}, shorter", extra_body={"seed": how.seed, "max_tokens": None})
    with collection.open_journal(folder, Path(solver.model).name, teacher) as journal:
        found = _ask_left(pool, teacher, journal, how.group_size)
        refused = pool[[found[name]["reason"] == "status 400" for name in pool["question_id"]]]
        found |= _ask_left(refused, shorter, journal, how.group_size)
    rows = [_read_result(found[name]) for name in pool["question_id"]]
    lost = [result for result in found.values() if result["reason"].startswith(UNREACHED)]
    if lost or not any("answer" in row for row in rows):
        why = "{reason}: {detail}".format_map((lost or list(found.values()))[0])
        advice = "see that its server is up" if lost else f"mend what its server refuses, delete {journal.path}"
        raise StudyError(f"{solver.name}: {len(lost or rows)} of {len(rows)} questions have no reply ({why}); {advice} "
                         "and run again; other replies are kept.")  # fmt: skip
    return rows


def _ask_left(pool: pd.DataFrame, teacher: Teacher, journal: Journal, concurrency: int) -> dict[str, Mapping[str, Any]]:
    """question_id → result for all of `pool`; asked is what has none yet, or none by the server's trouble."""

    def read_results() -> dict[str, Mapping[str, Any]]:
        own = [record for record in journal.records.values() if record["teacher"] == teacher.name]
        return {record["question_id"]: record for record in own if record["state"] in ("trace", "failed")}

    done = [name for name, result in read_results().items() if not result["reason"].startswith(UNREACHED)]
    left = pool[~pool["question_id"].isin(done)]
    if len(left):
        options = {"concurrency": concurrency, "retry_failures": True, "needs_thinking": False}
        api_teachers.ask_teachers(left, teacher, journal, max_usd=0.0, seed=teacher.extra_body["seed"], **options)
    found = read_results()
    return {name: found[name] for name in pool["question_id"]}


def _read_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """A row; a reply that is cut or empty is no trace, but it is an answer."""
    row = {"question_id": result["question_id"]}
    if result["reason"] in ("", "no attempt", "cut at max_tokens"):
        return row | {"answer": result["attempt"], "finish": "length" if "cut" in result["reason"] else "stop"}
    return row | {"reason": result["reason"]}
