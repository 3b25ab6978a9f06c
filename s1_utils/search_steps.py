"""One step of a search: how wide a node is expanded, where a step ends, and what a row does in it.

Works on token ids, but for how a delimiter is written; knows no trees, rewards' makers or files. Used by `search`.
Source: Wu et al. 2024 (arXiv 2408.00724), and its published code where the two differ.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from s1_utils import chat
from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Markers, Ran, Segment, close_thinking
from s1_utils.errors import StudyError

ANNOUNCED = "<announced>"  # the delimiter of step-conditional models: a step ends where the next is announced


@dataclass(frozen=True)
class Rebase:
    """How wide, deep and long the tree is; tokens are those of a thinking or an answer, `max_steps` its depth.

    `delimiter`: the text that ends a step, or ANNOUNCED.
    """

    max_thinking: int
    max_answer_tokens: int
    width: int = 16
    softmax_temperature: float = 0.2
    temperature: float = 1.0
    max_step_tokens: int = 256
    max_steps: int = 512
    delimiter: str = "\n\n"

    def __post_init__(self) -> None:
        for name in ("max_thinking", "max_answer_tokens", "width", "softmax_temperature", "max_step_tokens"):
            if not getattr(self, name) > 0:
                raise StudyError(f"{name} must be more than 0, not {getattr(self, name)}.")
        if self.max_steps < 1 or self.temperature < 0 or not self.delimiter:
            raise StudyError("A search needs a step or more, a temperature of 0 or more, and a delimiter of its steps.")


def share_width(rewards: Sequence[float], width: int, temperature: float) -> list[int]:
    """How many children each node gets: the softmax of its reward over temperature, of a width that they sum to.

    Best first, each takes its share of what is left, rounded up; the earlier of two equals goes first. In fractions,
    so that no rounding of floats adds a child.
    """
    best = max(rewards, default=0.0)
    weights = [Fraction(math.exp((reward - best) / temperature)) for reward in rewards]
    rest = sum(weights)
    widths = [0] * len(weights)
    for i in sorted(range(len(weights)), key=lambda i: -rewards[i]):
        if not width:
            break
        widths[i] = math.ceil(width * weights[i] / rest)
        width, rest = width - widths[i], rest - weights[i]
    return widths


# ------------------------------------------------------------------ steps


def encode_delimiter(tokenizer: Any, text: str) -> tuple[Ids, ...]:
    """The ids that end a step: `text` as it may be tokenized, or a number announced after the format's marker."""
    words = {i: tokenizer.convert_tokens_to_string([token]) for token, i in sorted(tokenizer.get_vocab().items())}
    if text == ANNOUNCED:
        start = chat.encode(tokenizer, chat.STEPS.thinking_start)
        numbers = (i for i, word in words.items() if word.isascii() and word.isdecimal() and word[0] != "0")
        return tuple((*start, i) for i in sorted(numbers))
    ids = {word: i for i, word in words.items()}
    apart = tuple(ids[letter] for letter in text if letter in ids)
    within = ((i,) for i in sorted(words) if words[i].endswith(text))
    found = (chat.encode(tokenizer, text), apart if len(apart) == len(text) else (), *within)
    return tuple(dict.fromkeys(stop for stop in found if stop))


def check_delimiters(markers: Markers, delimiters: Sequence[Ids]) -> None:
    """Raises StudyError if a step could end within a marker of the thinking's end, which would then go unseen."""
    for marker in markers.end_markers:
        heads = [marker[:n] for n in range(1, len(marker))]
        for delimiter in delimiters:
            if delimiter == marker or any(
                head[-len(delimiter) :] == delimiter or delimiter[-len(head) :] == head for head in heads
            ):
                raise StudyError(
                    f"The ids {list(delimiter)} that end a step are the beginning of {list(marker)}, which ends the "
                    "thinking: choose another delimiter, or a format whose markers don't begin with it."
                )


@dataclass(frozen=True)
class Step:
    """What a row did: the ids it added to the thinking, and the answer if that is over.

    `sampled`: all ids it drew, end markers included; `forced`: those between thinking and answer.
    """

    ids: Ids
    sampled: int
    forced: int = 0
    finish: str = ""  # natural | forced
    answer: Ran = field(default=Ran(()))


def take_step(
    markers: Markers, delimiters: Sequence[Ids], how: Rebase, thinking: Ids, *, room: int, is_last: bool
) -> Generator[Segment, Ran, Step]:
    """One step after `thinking`, of at most `room` tokens; the answer too if that ends it, or if it `is_last`."""
    ran = yield Decode(min(how.max_step_tokens, room), (*delimiters, *markers.end_markers))
    is_natural = ran.stop in markers.end_markers
    end = () if is_natural else ran.stop[: room - len(ran.ids)]
    if end:
        yield Force(end)
    step = Step(ran.ids + end, len(ran.ids + ran.stop))
    if not (is_natural or is_last or len(step.ids) == room):
        return step
    closing = close_thinking(markers, thinking + step.ids, is_cut=not is_natural)
    answer = yield Answer(len(step.ids), closing, how.max_answer_tokens, markers.turn_ends)
    counts = {"sampled": step.sampled + len(answer.ids + answer.stop), "forced": len(closing)}
    return replace(step, **counts, finish="natural" if is_natural else "forced", answer=answer)
