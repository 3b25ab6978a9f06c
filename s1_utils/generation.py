"""Generations of a model on questions, journalled by fixed groups.

Joins chat formats, policies and an engine into rows of the `generations` table; knows nothing about grading. A group
of questions is always computed whole, because floating-point results depend on the batch they were computed in: so a
resumed run equals an undisturbed one byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import chat, models
from s1_utils.budget_forcing import AUTO, Ids, Markers, Point, Policy, Setting, fit_settings, force_budget
from s1_utils.engines import Row
from s1_utils.errors import StudyError
from s1_utils.peers import share
from s1_utils.progress import track
from s1_utils.sources import derive_seed
from s1_utils.store import Journal


@dataclass(frozen=True)
class Writer:
    """A loaded model that can be asked: an engine, its tokenizer, its markers and its window in tokens.

    In a `with`, an engine that holds processes ends them afterwards.
    """

    engine: Any
    tokenizer: Any
    markers: Markers
    window: int
    system_prompt: str
    fmt: chat.Format

    def encode_prompt(self, question: str, examples: Sequence[tuple[str, str]] = (), *, is_opened: bool = True) -> Ids:
        """Prompt ids up to the assistant's turn; `examples` are earlier turns (question, reply).

        `is_opened`: the start of thinking included.
        """
        text = chat.write_prompt(self.tokenizer, question, self.system_prompt, examples)
        return chat.encode(self.tokenizer, chat.open_thinking(text, self.fmt) if is_opened else text)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *raised: object) -> None:
        close = getattr(self.engine, "close", None)
        if close:
            close()

    def encode(self, text: str) -> Ids:
        return chat.encode(self.tokenizer, text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids))


def load_writer(
    folder: Path, system_prompt: str, fmt: chat.Format = chat.S1, *, engine: str = "transformers"
) -> Writer:
    """The model of `folder`, thinking in the format `fmt`, on an engine: transformers, vllm, or a server's http URL.

    Raises StudyError for another engine.
    """
    if engine == "transformers":
        from s1_utils.engines.transformers import TransformersEngine

        model, tokenizer = models.load_model(folder)
        config, loaded = model.config, TransformersEngine(model, pad_id=tokenizer.pad_token_id)
    else:
        config, tokenizer = models.load_config(folder), models.load_tokenizer(folder)
        loaded = _connect(engine, folder)
    return Writer(
        loaded, tokenizer, chat.encode_markers(tokenizer, fmt), config.max_position_embeddings, system_prompt, fmt
    )


def _connect(engine: str, folder: Path) -> Any:
    if engine == "vllm":
        from s1_utils.engines.vllm import VLLMEngine

        return VLLMEngine(folder)
    if engine.startswith(("http://", "https://")):
        from s1_utils.engines.openai import OpenAIEngine

        return OpenAIEngine(engine, str(folder))
    raise StudyError(f"There is no engine {engine!r}: use transformers, vllm, or the http URL of a completions server.")


@dataclass(frozen=True)
class Task:
    """One generation asked for; `sample` and `seed` tell repeated ones of a question apart."""

    question_id: str
    prompt_ids: Ids
    sample: int
    seed: int


def make_tasks(
    writer: Writer,
    questions: pd.DataFrame,
    *,
    samples: int = 1,
    seed: int = 0,
    instruction: str = "",
    is_opened: bool = True,
) -> list[Task]:
    """Tasks in the order of `questions`, samples side by side; `instruction` is added to every question.

    `is_opened`: prompts end in the start of thinking.
    """
    tasks = []
    for row in questions.itertuples():
        ids = writer.encode_prompt(row.question + instruction, is_opened=is_opened)
        tasks += [Task(row.question_id, ids, s, derive_seed(seed, row.question_id, s)) for s in range(samples)]
    return tasks


NO_TEXT = "<none>"  # a wait text: suppress the end and append nothing (s1 table 4)


def generate(
    writer: Writer,
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    journal: Journal,
    *,
    label: str,
    wait_text: str | Sequence[str] = (),
    min_thinking: int = 0,
    max_answer_tokens: int,
    temperature: float = 0.0,
    group_size: int,
) -> pd.DataFrame:
    """The `generations` table of budget forcing: one row a task and setting, all settings of a task in one pass.

    `wait_text`: what is appended at suppressed ends; several are taken in turn. A budget of AUTO is all that the
    model's window leaves beside the prompt and the answer. Raises StudyError if a prompt, its longest thinking and its
    answer don't fit the window, and for an empty wait text.
    """
    texts = [wait_text] if isinstance(wait_text, str) else list(wait_text)
    if "" in texts and any(setting.waits for setting in settings):
        raise StudyError(f"The text of a wait is empty: write {NO_TEXT!r} to go on without a text, or set waits to 0.")
    wait_ids = [() if text == NO_TEXT else writer.encode(text) for text in texts]
    _check_window(writer, tasks, settings, max_answer_tokens)

    def make_policy(task: Task) -> Policy:
        fitted = fit_settings(settings, find_room(writer, task, max_answer_tokens))
        options = {"wait_ids": wait_ids, "min_thinking": min_thinking, "max_answer_tokens": max_answer_tokens}
        points = yield from force_budget(writer.markers, fitted, **options)
        return tuple(replace(point, setting=setting) for point, setting in zip(points, settings, strict=True))

    options = {"label": label, "temperature": temperature, "group_size": group_size}
    return run_policies(writer, tasks, make_policy, journal, **options).assign(wait_text="|".join(texts))


def run_policies(
    writer: Writer,
    tasks: Sequence[Task],
    make_policy: Callable[[Task], Policy],
    journal: Journal,
    *,
    label: str,
    temperature: float = 0.0,
    group_size: int,
) -> pd.DataFrame:
    """The `generations` table: one row a task and point of its policy. Groups found in `journal` are not run again.

    `label` names the model, and whatever else tells these rows apart, in the journal and the table.
    """

    def run_group(group: Sequence[Task]) -> list[dict[str, Any]]:
        rows = [Row(task.prompt_ids, make_policy(task), task.seed, temperature) for task in group]
        ran = writer.engine.run(rows)
        return [
            record for task, points in zip(group, ran, strict=True) for record in describe_points(writer, task, points)
        ]

    return pd.DataFrame(list(run_groups(tasks, run_group, journal, label=label, group_size=group_size))).assign(
        model=label
    )


def run_groups(
    tasks: Sequence[Task],
    run_group: Callable[[Sequence[Task]], list[dict[str, Any]]],
    journal: Journal,
    *,
    label: str,
    group_size: int,
) -> Iterator[dict[str, Any]]:
    """The records of every task, group by group, from the journal where they are there, or from other shards'."""
    starts = {f"{label}/{start // group_size}": start for start in range(0, len(tasks), group_size)}
    for name in track(share(list(starts), journal), label):
        if name not in journal:
            journal.add(name, run_group(tasks[starts[name] : starts[name] + group_size]))
    for name in starts:
        yield from journal.records[name]


def sweep(
    folder: Path,
    questions: pd.DataFrame,
    settings: Sequence[Setting],
    journal: Journal,
    params: Any,
    *,
    label: str,
    system_prompt: str,
    fmt: chat.Format = chat.S1,
    instruction: str = "",
    samples: int = 1,
    temperature: float = 0.0,
) -> pd.DataFrame:
    """`generate` for the model of `folder` on `questions`, settings of one pass.

    `params` has engine, seed, wait_text, max_answer_tokens and group_size.
    """
    with load_writer(folder, system_prompt, fmt, engine=params.engine) as writer:
        return generate(
            writer,
            make_tasks(writer, questions, samples=samples, seed=params.seed, instruction=instruction),
            settings,
            journal,
            label=label,
            wait_text=params.wait_text,
            max_answer_tokens=params.max_answer_tokens,
            temperature=temperature,
            group_size=params.group_size,
        )


def describe_points(writer: Writer, task: Task, points: Sequence[Point]) -> Iterable[dict[str, Any]]:
    """The rows of the `generations` table (without model and wait_text) of one task, in the order of its points."""
    for point in points:
        forced = writer.fmt.answer_prefix.strip() if point.finish == "forced" else ""
        yield {
            "question_id": task.question_id,
            "sample": task.sample,
            "setting": name_setting(point.setting),
            "control": point.setting.control,
            "budget": point.setting.budget,
            "waits": point.setting.waits,
            "seed": task.seed,
            "thinking_ids": list(point.thinking_ids),
            "answer_ids": list(point.answer_ids),
            "thinking": writer.decode(point.thinking_ids),
            "answer": writer.fmt.answer_label + forced + writer.decode(point.answer_ids),
            "thinking_tokens": point.thinking_tokens,
            "answer_tokens": len(point.answer_ids),
            "events": json.dumps(point.events),
            "finish": f"{point.finish}/{point.answer_finish}",
            "tries": point.tries,
        }


def name_setting(setting: Setting) -> str:
    """control:budget:waits, and :extra:rank if it is soft."""
    budget = "auto" if setting.budget == AUTO else setting.budget
    soft = f":{setting.extra}:{setting.rank}" if setting.extra else ""
    return f"{setting.control}:{budget}:{setting.waits}{soft}"


def find_room(writer: Writer, task: Task, max_answer_tokens: int) -> int:
    """How many thinking tokens the model's window leaves beside this prompt, what is forced, and the answer."""
    markers = writer.markers
    closing = len(markers.newline) + len(markers.thinking_end) + len(markers.answer_prefix)
    return max(0, writer.window - len(task.prompt_ids) - closing - max_answer_tokens)


def _check_window(writer: Writer, tasks: Sequence[Task], settings: Sequence[Setting], max_answer_tokens: int) -> None:
    longest = max(tasks, key=lambda task: len(task.prompt_ids), default=None)
    thinking = max((setting.cap for setting in settings if setting.budget != AUTO), default=1)
    if longest and thinking > (room := find_room(writer, longest, max_answer_tokens)):
        raise StudyError(
            f"The longest prompt ({len(longest.prompt_ids)} tokens) and an answer of {max_answer_tokens} leave room "
            f"for {room} of the {thinking} thinking tokens asked for, as the model's window is {writer.window}: lower "
            "the budget or shorten the questions."
        )
