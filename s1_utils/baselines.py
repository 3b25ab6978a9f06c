"""The models of the paper's Table 1 as profiles that run: each is a few lines of params/baselines/<name>.yaml.

Knows profiles, and which way each is asked: behind its API (`chat_models`), on a chat server of one's own, or on an
engine here, in one free turn (budgets and waits are notebook 4's). Verdicts are those of the exact grader
(`published_samples`); published scores aren't here.
Source: s1 section 4.1 and table 1; who made a model says how it is sampled.

    python -m s1_utils.baselines NAME --questions aime24|FILE.jsonl --out FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s1_utils import chat, controls, models, paths, published_samples, solver_models
from s1_utils.api_teachers.replies import split_thinking
from s1_utils.benchmarks import HELD_OUT, list_benchmarks, load_benchmark
from s1_utils.budget_forcing import Decode, Ids, Point, Policy, Setting, describe_end
from s1_utils.chat_models import RETIRED, ChatModel, ask_chat_model, complete_rows, summarise_replies
from s1_utils.errors import StudyError
from s1_utils.generation import Task, Writer, load_writer, make_tasks, run_policies
from s1_utils.sensitivity import list_replies
from s1_utils.store import Journal, hash_json, write_table
from s1_utils.training_text import KINDS

FOLDER = "baselines"
WHOLE_TURN = "reply"  # the format of a model without marked thinking: its whole turn is the answer
MARKERS = {"think": ("<think>", "</think>"), "r1": ("<think>", "</think>")}
CUT = "cut at max_tokens"


class Baseline(BaseModel):
    """How a model of Table 1 is asked: behind an API, or on an engine of one's own. Its scores aren't here."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(min_length=1)  # what its API or the hub calls it
    api: Literal["", "openai", "anthropic", "gemini"] = ""  # the form of the API that is asked
    base_url: str = ""
    key_variable: str = ""  # environment variable with the key; empty: none is sent
    engine: Literal["", "transformers", "vllm"] = ""  # what runs it if no API does
    format: str = ""  # how an engine runs it: s1, think, r1, or reply (one free turn); empty: it has no open weights
    thinking_markers: list[str] = Field(default=[], max_length=2)  # around thinking that comes with the answer
    system_prompt: str = ""  # empty: none, or the chat template's own
    instruction: str = ""  # added to every question
    temperature: float | None = Field(default=None, ge=0)  # None: the API's own
    top_p: float | None = Field(default=None, gt=0, le=1)  # engines draw from all tokens
    max_tokens: int = Field(default=32768, ge=1)  # of a reply, thinking included
    length_field: str = "max_tokens"  # what the API calls it; empty: not sent, the window is the limit
    stream: bool = True
    seeds: bool = False  # send a seed of its own with every sample
    extra_body: dict[str, Any] = {}  # more of the request
    usd_per_million: list[float] = Field(default=[], max_length=2)  # in and out; empty: unknown
    priced: str = ""  # when that was
    retired: str = ""  # since when its provider no longer has it; what it answers then is a result
    note: str = ""

    @model_validator(mode="after")
    def _check(self) -> Baseline:
        if bool(self.api) == bool(self.engine):
            raise ValueError("name either an api or an engine")
        if self.api and not self.base_url.startswith(("http://", "https://")):
            raise ValueError("an api needs a base_url like https://host/v1")
        if self.format not in ("", WHOLE_TURN, *KINDS) or (self.engine and not self.format):
            raise ValueError(f"format must be {WHOLE_TURN} or one of {', '.join(KINDS)}")
        if self.engine and self.top_p is not None:
            raise ValueError("engines draw from all tokens: leave top_p out, or name an api")
        if self.api in ("anthropic", "gemini") and (self.length_field != "max_tokens" or not self.stream or self.seeds):
            raise ValueError(f"length_field, stream and seeds are OpenAI's: leave them out for {self.api}")
        if len(self.thinking_markers) == 1 or len(self.usd_per_million) == 1:
            raise ValueError("thinking_markers and usd_per_million are pairs")
        return self


def list_baselines() -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in (paths.PARAMS / FOLDER).glob("*.yaml"))


def read_baseline(name: str) -> Baseline:
    """The profile of that name. Raises StudyError for none, an unknown field or a wrong value."""
    if name not in list_baselines():
        raise StudyError(f"No baseline {name!r}: name one of {', '.join(list_baselines())}, or write {name}.yaml.")
    path = paths.PARAMS / FOLDER / f"{name}.yaml"
    try:
        return Baseline.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except (ValidationError, yaml.YAMLError) as error:
        raise StudyError(f"{path}: {error}") from error


def run_baseline(
    name: str,
    tests: pd.DataFrame,
    folder: Path,
    *,
    samples: int = 1,
    seed: int = 0,
    max_usd: float = 0.0,
    server: str = "",
    engine: str = "",
    group_size: int = 256,
    **asking: Any,
) -> pd.DataFrame:
    """The generations of a baseline on `tests` (question_id, question): `samples` rows a question, columns `COLUMNS`.

    `server`: address of a chat server that has the model, instead of the profile's API. `engine`: run the model here
    (transformers, vllm, or the URL of a completions server). `folder` keeps the journals; `asking`: more for
    `ask_chat_model`. Raises StudyError where the run can't be completed.
    """
    if tests.empty:
        raise StudyError(f"There is no question to ask {name}: give some.")
    baseline = read_baseline(name)
    if engine or (baseline.engine and not server):
        return run_on_engine(
            name, baseline, tests, folder, engine=engine or baseline.engine, samples=samples, seed=seed,
            group_size=group_size,
        )  # fmt: skip
    if baseline.retired and not server:
        print(f"{name}: its provider has retired it ({baseline.retired}).", file=sys.stderr)
    model = make_chat_model(name, baseline, seed=seed, server=server)
    return ask_chat_model(model, tests, folder, samples=samples, max_usd=max_usd, seed=seed, **asking)


# ------------------------------------------------------------------ behind an API


def make_chat_model(name: str, baseline: Baseline, *, seed: int = 0, server: str = "") -> ChatModel:
    """The model of a profile, behind its own API or a chat `server` of one's own, which costs nothing.

    Raises StudyError for a format whose thinking must be opened in the prompt's tokens, which no chat server does.
    """
    if server and KINDS.get(baseline.format) is chat.S1:
        raise StudyError(f"{name} thinks only if its thinking is opened for it: give a completions server as engine.")
    markers = tuple(baseline.thinking_markers) or MARKERS.get(baseline.format)
    length = "" if server else baseline.length_field  # a server's window is the limit
    limit = {"max_tokens": None} if length != "max_tokens" else {}
    limit |= {length: baseline.max_tokens} if limit and length else {}
    whole = {} if baseline.stream else {"stream": None, "stream_options": None}
    nucleus = {} if baseline.top_p is None else {"top_p": baseline.top_p}
    prices = [0.0, 0.0] if server else baseline.usd_per_million or [None, None]
    return ChatModel(
        name,
        model=baseline.model,
        base_url=server or baseline.base_url,
        kind="openai" if server else baseline.api,
        key_variable="" if server else baseline.key_variable,
        max_tokens=baseline.max_tokens,
        temperature=baseline.temperature,
        usd_per_million_input=prices[0],
        usd_per_million_output=prices[1],
        thinking_markers=markers,
        extra_body={**limit, **whole, **nucleus, **baseline.extra_body},
        system_prompt=baseline.system_prompt,
        instruction=baseline.instruction,
        run_seed=seed if baseline.seeds else None,
        retired=baseline.retired,
    )


# ------------------------------------------------------------------ on an engine here


def run_on_engine(
    name: str,
    baseline: Baseline,
    tests: pd.DataFrame,
    folder: Path,
    *,
    engine: str,
    samples: int = 1,
    seed: int = 0,
    group_size: int = 256,
) -> pd.DataFrame:
    """The rows of a model with open weights, each one free turn: its thinking is opened, and ends by itself.

    Budgets and waits are notebook 4's; here is what Table 1 compares them with. Raises StudyError for a model that has
    no open weights or can't be found, and a question that leaves no room in its window.
    """
    if not baseline.format:
        raise StudyError(f"{name} has no open weights: ask it through its API.")
    weights = models.resolve_model(baseline.model)
    fmt = KINDS.get(baseline.format, solver_models.REPLY)
    record = models.describe_model(baseline.model, baseline.system_prompt, baseline.instruction)
    how = [baseline.format, baseline.temperature, baseline.max_tokens, engine, seed, samples, group_size]
    key = hash_json([record, how, tests["question_id"].tolist()])[:16]
    with (
        Journal(folder / f"{name}-{key}.jsonl", key) as journal,
        load_writer(weights, baseline.system_prompt, fmt, engine=engine) as writer,
    ):
        is_marked = fmt is not solver_models.REPLY
        ends = () if is_marked else solver_models.find_turn_ends(weights, writer.tokenizer)
        options = {"instruction": baseline.instruction, "is_opened": is_marked}
        tasks = make_tasks(writer, tests, samples=samples, seed=seed, **options)

        def speak(task: Task) -> Policy:
            return _speak(writer, ends, _find_room(writer, task, baseline.max_tokens))

        options = {"label": name, "temperature": baseline.temperature or 0.0, "group_size": group_size}
        table = run_policies(writer, tasks, speak, journal, **options)
    return _complete_local(table, baseline)


def _find_room(writer: Writer, task: Task, max_tokens: int) -> int:
    window = min(filter(None, (writer.window, writer.engine.window)))
    room = min(max_tokens, window - len(task.prompt_ids))
    if room < 1:
        raise StudyError(f"Question {task.question_id} fills the model's window of {window}: leave it out.")
    return room


def _speak(writer: Writer, ends: tuple[Ids, ...], room: int) -> Policy:
    """One turn; `ends` are those of a model whose whole turn is the answer."""
    if not ends:
        return (yield from controls.think_freely(writer.markers, max_tokens=room))
    ran = yield Decode(room, ends)
    return (Point(Setting("free", room, 0), (), "natural", (), ran.ids, describe_end(ran)),)


def _complete_local(table: pd.DataFrame, baseline: Baseline) -> pd.DataFrame:
    rows = table.to_dict("records")
    for row, ended in zip(rows, table["finish"].str.split("/"), strict=True):
        is_cut = ended[0] == "forced" or ended[1] == "length"
        row |= {"finish": "length" if is_cut else "stop", "reason": CUT if is_cut else "", "usd": 0.0}
        row["output_tokens"] = row["thinking_tokens"] + row["answer_tokens"]
        if baseline.format == WHOLE_TURN and baseline.thinking_markers:
            row["thinking"], row["answer"], _ = split_thinking(row["answer"], tuple(baseline.thinking_markers))
            row["thinking_tokens"] = row["answer_tokens"] = None
        row |= {"thinking": row["thinking"] or None, "answer": row["answer"] or None, "served": baseline.model}
    kept = [{n: v for n, v in row.items() if n not in ("setting", "control", "budget")} for row in rows]
    return complete_rows(kept, table["model"].iloc[0] if rows else "", baseline.max_tokens)


# ------------------------------------------------------------------ the shell


def load_questions(name: str, *, seed: int, mirror: Path | None, record: Path) -> pd.DataFrame:
    """The common rows of a benchmark or file; `seed`: of the choices' order; `record`: what was read stays the same."""
    if name == HELD_OUT:
        raise StudyError(f"{HELD_OUT} questions are a run's own: write them to a .jsonl file and give its path.")
    return load_benchmark(name, seed=seed, mirror=mirror, record=record).questions


def grade_baseline(generations: pd.DataFrame, tests: pd.DataFrame, task: str) -> pd.DataFrame:
    """The table of `published_samples.grade_samples`; all that a retired model would have said stays undecided."""
    replies = list_replies(generations, tests).assign(task=task, finish=generations["finish"])
    graded = published_samples.grade_samples(replies)
    return graded.assign(correct=graded["correct"].mask(graded["finish"] == RETIRED, pd.NA))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.baselines", description=__doc__.splitlines()[0])
    parser.add_argument("name", help=f"one of {', '.join(list_baselines())}")
    known = ", ".join(name for name in list_benchmarks().index if name not in (HELD_OUT, "<path>"))
    parser.add_argument("--questions", required=True, help=f"{known}, or a .jsonl or .parquet of question, answer")
    parser.add_argument("--mirror", type=Path, help="folder with the hub's files, where no hub is reachable")
    parser.add_argument("--out", type=Path, required=True, help="folder for the journals, generations and tables")
    parser.add_argument("--samples", type=int, default=1, help="of each question")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choices' order, and of samples where a server has it"
    )
    parser.add_argument("--max-usd", type=float, default=0.0, help="the most that may be spent, in all sessions")
    parser.add_argument("--server", default="", help="address of a chat server with the model, up to and including /v1")
    parser.add_argument("--engine", default="", help="run it here: transformers, vllm, or a completions server's URL")
    parser.add_argument("--concurrency", type=int, default=16, help="requests under way")
    chosen = parser.parse_args(arguments)
    try:
        tests = load_questions(chosen.questions, seed=chosen.seed, mirror=chosen.mirror, record=chosen.out)
        options = {"max_usd": chosen.max_usd, "server": chosen.server, "engine": chosen.engine}
        generations = run_baseline(
            chosen.name, tests, chosen.out, samples=chosen.samples, seed=chosen.seed, **options,
            concurrency=chosen.concurrency,
        )  # fmt: skip
        write_table(chosen.out / "generations.parquet", generations)
        graded = grade_baseline(generations, tests, Path(chosen.questions).stem)
        published_samples.write_report(chosen.out, graded, {"replies": summarise_replies(generations)})
        if chosen.samples > 1 and graded["correct"].notna().any():
            published_samples.write_votes(chosen.out, published_samples.measure_votes(graded))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
