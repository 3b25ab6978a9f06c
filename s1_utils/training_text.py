"""Training text: what a model reads and what it learns to write, in the format of every kind of model the study trains.

Knows thinking formats, chat templates and how a length is asked for; knows nothing about trainers, batches or files.

  s1      <|im_start|>think … <|im_start|>answer …: the paper's text
  think   <think> … </think>, ChatML turns: QwQ, Qwen3 and their kin
  r1      <think> … </think>, the turns of DeepSeek R1
  tokens  as s1; the user asks for at most N tokens of thinking (s1 section D, table 11)
  steps   the user asks for at most N steps; each is announced, "<|im_start|>{k} steps left" (table 12)

N is the trace's own length rounded up to a power of two. Steps count down from N and a shorter trace ends above 1: that
is "up to", and table 12 (asked for 256, the model used 136). None is "0 steps left", at inference a forced end.

Source: s1 sections 3.1 and D, its data/tokenization.py. Its builders of tokens and steps were never published; its
search script (eval/rebase) reads exactly the steps written here. Deviations: the reply is appended to the prompt as
text, so that no chat template can drop or rewrite the thinking; a row that spells out a marker is refused; no line
break is learnt after the end of the turn; tokens are counted as budget forcing does, the last line break included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import chat, controls
from s1_utils.errors import StudyError

KINDS = {"s1": chat.S1, "think": chat.THINK, "r1": chat.R1, "tokens": chat.S1, "steps": chat.STEPS}
ASKS = {"tokens": controls.BY_TOKENS, "steps": controls.BY_STEPS}
TEXTS_AT_ONCE = 250  # in one call of a tokenizer
LARGEST = 2**17  # tokens or steps: no model of the study has a longer window
CHATML, DEEPSEEK = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"), ("<｜User｜>", "<｜Assistant｜>")
Split = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Example:
    """One training row: `prompt` is only read, every character of `completion` is learnt."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Reading:
    """What a training text says. `limit`: the N asked for, None if nothing was; `steps`: one unless they are marked."""

    question: str
    limit: int | None
    steps: tuple[str, ...]
    answer: str


def find_format(kind: str) -> chat.Format:
    """The thinking format of `kind`; raises StudyError if there is none."""
    if kind not in KINDS:
        raise StudyError(f"There is no kind of training text {kind!r}: choose {', '.join(KINDS)}.")
    return KINDS[kind]


def round_up_to_power_of_two(n: int, *, smallest: int = 1, largest: int = LARGEST) -> int:
    """The least power of two that is at least `n` and `smallest`. Raises StudyError if it is above `largest`."""
    if n < 0 or smallest < 1 or largest < smallest:
        raise ValueError(f"round_up_to_power_of_two needs n ≥ 0 and 1 ≤ smallest ≤ largest, not {n, smallest, largest}")
    bucket = 1 << (max(n, smallest) - 1).bit_length()
    if bucket > largest:
        raise StudyError(f"A length of {n} is above the largest bucket, {largest}: drop the row, or raise the bucket.")
    return bucket


def split_steps(thinking: str) -> tuple[str, ...]:
    """The steps of a trace, joined they are the trace: cut after every blank line, as in the paper.

    A trace without one (the laptop's) is cut before every "Wait,", the start of a further try. Each step keeps the
    white space after it; blank ends of the trace are dropped.
    """
    text = thinking.strip()
    breaks = [found.end() for found in re.finditer(r"\n\n\s*", text)]
    breaks = breaks or [found.end() for found in re.finditer(r"\s+(?=Wait,)", text)]
    return tuple(text[a:b] for a, b in pairwise([0, *breaks, len(text)]))


def write_examples(
    rows: pd.DataFrame, tokenizer: Any, *, system_prompt: str, kind: str, split: Split = split_steps
) -> list[Example]:
    """The training text of each row: question, thinking, attempt, and question_id if it has one.

    Raises StudyError if there is no row, the tokenizer can't write `kind`, or rows can't be written: it names them all.
    """
    if rows.empty:
        raise StudyError("Can't train: there are no rows. Choose another subset.")
    chat.check_tokenizer(tokenizer, find_format(kind), system_prompt=system_prompt)
    lengths = count_thinking(tokenizer, rows["thinking"]) if kind == "tokens" else [None] * len(rows)
    examples, refused = [], []
    for row, name, length in zip(rows.itertuples(), rows.get("question_id", rows.index), lengths, strict=True):
        what = {"system_prompt": system_prompt, "kind": kind, "split": split, "name": f"row {name}"}
        try:
            example = write_example(tokenizer, row.question, row.thinking, row.attempt, thinking_tokens=length, **what)
            examples.append(example)
        except StudyError as error:
            refused.append((str(name), error))
    if refused:
        names = ", ".join(name for name, _ in refused[:5]) + (f" and {len(refused) - 5} more" * (len(refused) > 5))
        raise StudyError(f"Can't train on {len(refused)} of {len(rows)} rows: {names}. {refused[0][1]}")
    return examples


def write_example(
    tokenizer: Any,
    question: str,
    thinking: str,
    attempt: str,
    *,
    system_prompt: str,
    kind: str,
    split: Split = split_steps,
    name: str = "this row",
    thinking_tokens: int | None = None,
) -> Example:
    """Prompt and completion of one row; `name` is how an error calls it, `thinking_tokens` spares counting them.

    Raises StudyError for a blank text, one that holds a marker, and a template that rewrites the question.
    """
    fmt = find_format(kind)
    marks = chat.find_marks(tokenizer, fmt)
    for part, text in (("question", question), ("thinking", thinking), ("attempt", attempt)):
        _refuse_text(text, marks, what=f"The {part} of {name}")
    if kind == "tokens" and thinking_tokens is None:
        thinking_tokens = count_thinking(tokenizer, [thinking])[0]
    ask, thinking = _ask_for_length(thinking, thinking_tokens, kind=kind, split=split)
    prompt = chat.write_prompt(tokenizer, question + ask, system_prompt)
    if (question + ask).strip() not in prompt:
        raise StudyError(f"The chat template rewrites the question of {name}: use one that keeps it word for word.")
    completion = chat.write_completion(thinking, attempt, fmt)
    is_open = chat.open_thinking(prompt, fmt) == prompt  # by the template
    return Example(prompt, completion.removeprefix(fmt.thinking_start) if is_open else completion)


def _refuse_text(text: str, marks: Sequence[str], *, what: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise StudyError(f"{what} is empty, there is nothing to learn: drop the row.")
    if found := [mark for mark in marks if mark in text]:
        raise StudyError(f"{what} spells out {found[0]}, which would be taken for a marker: reword or drop the row.")


def count_thinking(tokenizer: Any, traces: Iterable[Any]) -> list[int]:
    """Tokens of each trace as budget forcing counts them, the last line break included; 0 for what isn't text."""
    texts = [trace.strip() + "\n" if isinstance(trace, str) else "" for trace in traces]
    return [len(ids) for ids in encode_all(tokenizer, texts)]


def _ask_for_length(thinking: str, tokens: int | None, *, kind: str, split: Split) -> tuple[str, str]:
    """What the user adds to the question, and the thinking, its steps announced if `kind` says so."""
    if kind not in ASKS:
        return "", thinking
    if tokens is not None:
        n = round_up_to_power_of_two(tokens)
    else:
        steps = [step.strip() for step in split(thinking) if step.strip()]
        n = round_up_to_power_of_two(len(steps))
        announced = (f"{n - i} steps left\n{step}" for i, step in enumerate(steps))
        thinking = f"\n{chat.STEPS.thinking_start}".join(announced)
    return ASKS[kind].format(n=n), thinking


def read_example(text: str, kind: str) -> Reading:
    """What a training text of `kind` says (prompt and completion, ChatML or DeepSeek turns).

    Raises StudyError if a part is missing, or the steps don't count down from the N asked for.
    """
    fmt, (user, assistant) = find_format(kind), DEEPSEEK if kind == "r1" else CHATML
    asked, _, reply = text.partition(user)[2].partition(assistant)
    thinking, closing, answer = reply.partition(f"\n{fmt.thinking_end}")
    start = fmt.thinking_start.strip()
    if not (closing and thinking.startswith(start) and answer.endswith(fmt.turn_end)):
        raise StudyError(f"This isn't a training text of kind {kind!r}: {text[-80:]!r}.")
    thinking, answer = thinking.removeprefix(start).strip(), answer.removesuffix(fmt.turn_end).strip()
    if kind not in ASKS:
        return Reading(asked, None, (thinking,), answer)
    found = re.fullmatch("(?s)(.*)" + re.escape(ASKS[kind]).replace(r"\{n\}", r"(\d+)"), asked)
    if found is None:
        raise StudyError(f"Nobody asks for a length in this text of kind {kind!r}: {asked[-80:]!r}.")
    limit = int(found[2])
    return Reading(found[1], limit, _read_steps(thinking, limit) if kind == "steps" else (thinking,), answer)


def _read_steps(thinking: str, limit: int) -> tuple[str, ...]:
    before, *parts = re.split(r"(?:^|\n<\|im_start\|>)(\d+) steps left\n", thinking)
    counts, steps = [int(k) for k in parts[::2]], tuple(parts[1::2])
    if before or not steps or counts != list(range(limit, max(limit - len(steps), 0), -1)):
        raise StudyError(f"The steps of this text don't count down from {limit}, one by one: {counts}.")
    return steps


def encode_all(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """`chat.encode` for many texts, by batched calls on all cores: the ids of each, int32."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        found: list[np.ndarray] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = list(texts[start : start + TEXTS_AT_ONCE])
            found += [np.array(ids, dtype=np.int32) for ids in _encode_some(tokenizer, some)]
        return found
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _encode_some(tokenizer: Any, texts: list[str]) -> Iterable[list[int]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "encode_batch_fast"):  # not of the library tokenizers
        return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    backend.no_truncation()
    backend.no_padding()
    # transformers would list each token's place in the text as well: half the time again
    return (encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False))


def explain_mask(examples: Sequence[Example], tokenizer: Any, *, labels: Iterable[Sequence[int]]) -> pd.DataFrame:
    """masked, trained_on, right: the two parts of each row as a trainer's labels split it (-100: masked, or padding).

    `right`: whether these are, token for token, the whole prompt and the whole completion; a row that was cut isn't.
    """
    rows = []
    for example, row in zip(examples, ([int(label) for label in row] for row in labels), strict=True):
        prompt, completion = chat.encode(tokenizer, example.prompt), chat.encode(tokenizer, example.completion)
        masked = tuple(i for i, label in zip(prompt + completion, row, strict=False) if label == -100)
        trained = tuple(label for label in row if label != -100)
        texts = {"masked": tokenizer.decode(masked), "trained_on": tokenizer.decode(trained)}
        rows.append({**texts, "right": (masked, trained) == (prompt, completion)})
    return pd.DataFrame(rows, columns=["masked", "trained_on", "right"])
