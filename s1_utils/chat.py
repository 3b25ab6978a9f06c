"""Thinking formats: the markers of a model family, and the training text built with them.

Knows tokenizers and chat templates; knows nothing about engines or why thinking ends.
Source: s1 section 3 and data/tokenization.py (facts: training text `<|im_start|>think … <|im_start|>answer …`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from s1_utils.budget_forcing import Ids, Markers
from s1_utils.errors import StudyError


@dataclass(frozen=True)
class Format:
    """How a model marks its thinking, as text. `answer_label` is the part of `thinking_end` that opens the answer.

    `turn_ends`: what ends an answer; the first is the format's own end of a turn. `thinking_start` follows the chat
    template's text, unless the template has opened the thinking itself.
    """

    thinking_start: str
    thinking_end: str
    end_markers: tuple[str, ...]
    answer_prefix: str
    turn_ends: tuple[str, ...]
    answer_label: str = ""

    @property
    def turn_end(self) -> str:
        return self.turn_ends[0]


S1 = Format(
    thinking_start="<|im_start|>think\n",
    thinking_end="<|im_start|>answer",
    end_markers=("<|im_start|>", "<|im_end|>"),
    answer_prefix="\nFinal Answer:",
    turn_ends=("<|im_end|>", "<|im_start|>"),
)

# Step-conditional s1: the model counts its steps down, "<|im_start|>7 steps left"; 0 or the answer's delimiter ends.
STEPS = replace(
    S1,
    thinking_start="<|im_start|>",
    end_markers=("<|im_start|>0", "<|im_start|>answer", "<|im_end|>"),
)

# QwQ, Qwen3 and their kin. The marker may be several tokens, and run into the line breaks after it.
THINK = Format(
    thinking_start="<think>\n",
    thinking_end="</think>\n\n",
    end_markers=("</think>", "</think>\n", "</think>\n\n", "<|im_end|>"),
    answer_prefix="Final Answer:",
    turn_ends=("<|im_end|>",),
)

# DeepSeek R1 and its distilled models.
R1 = replace(
    THINK, end_markers=(*THINK.end_markers[:-1], "<｜end▁of▁sentence｜>"), turn_ends=("<｜end▁of▁sentence｜>",)
)

# A model that was not trained to think: its plain turn is the thinking, "Answer:" opens the answer.
PLAIN = Format(
    thinking_start="",
    thinking_end="Answer:",
    end_markers=("\nAnswer:", "<|im_end|>"),
    answer_prefix="",
    turn_ends=("<|im_end|>", "<|im_start|>"),
    answer_label="Answer:",
)

PROBE = "Is this question kept word for word?"


def encode(tokenizer: Any, text: str) -> Ids:
    """Token ids of `text`, without any special token the tokenizer might add."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def check_markers(tokenizer: Any, fmt: Format) -> None:
    """Raises StudyError if a marker of `fmt` doesn't survive encoding and decoding."""
    for text in (fmt.thinking_start, fmt.thinking_end, *fmt.end_markers, *fmt.turn_ends):
        if tokenizer.decode(encode(tokenizer, text)) != text:
            raise StudyError(f"This tokenizer can't encode the marker {text!r}: choose a format it knows.")


def check_tokenizer(tokenizer: Any, fmt: Format, *, system_prompt: str = "") -> None:
    """Raises StudyError, which says what to do, if a model of this tokenizer and chat template can't learn `fmt`."""
    check_markers(tokenizer, fmt)
    is_s1 = fmt.thinking_start.startswith("<|im_start|>")
    for mark in (fmt.turn_end, "<|im_start|>") if is_s1 else (fmt.turn_end,):
        if (n := len(encode(tokenizer, mark))) != 1:
            problem = f"{mark} is {n} tokens for this tokenizer, and this format needs it to be one"
            raise StudyError(f"{problem}: choose another format, or a model whose tokenizer has it.")
    header = find_header(tokenizer, system_prompt)
    if fmt.thinking_end.strip() in header or "</think>" in header:
        raise StudyError("The chat template closes the thinking before it begins: use its thinking variant.")
    if "<think>" in header and fmt.thinking_start.strip() != "<think>":
        raise StudyError("The chat template opens <think>, this format has other markers: choose think or r1.")


def find_marks(tokenizer: Any, fmt: Format) -> tuple[str, ...]:
    """What no text of a row may spell out: the markers of `fmt`, special tokens, and tokens of the chat template."""
    markers = {text.strip() for text in (fmt.thinking_start, fmt.thinking_end, *fmt.end_markers, *fmt.turn_ends)}
    template = tokenizer.chat_template or ""
    added = {token for token in tokenizer.get_added_vocab() if token in template}
    return tuple(sorted({*markers, *added, *tokenizer.all_special_tokens} - {""}))


def encode_markers(tokenizer: Any, fmt: Format = S1) -> Markers:
    """`fmt` as token ids. Raises StudyError if a marker doesn't survive encoding and decoding."""
    check_markers(tokenizer, fmt)
    newline_ids = (
        token_id
        for token, token_id in tokenizer.get_vocab().items()
        if tokenizer.convert_tokens_to_string([token]).endswith("\n")
    )
    return Markers(
        end_markers=tuple(encode(tokenizer, marker) for marker in fmt.end_markers),
        thinking_end=encode(tokenizer, fmt.thinking_end),
        answer_prefix=encode(tokenizer, fmt.answer_prefix),
        newline=encode(tokenizer, "\n"),
        ends_in_newline=frozenset(newline_ids),
        turn_ends=tuple(encode(tokenizer, end) for end in fmt.turn_ends),
        thinking_start=encode(tokenizer, fmt.thinking_start),
    )


def open_thinking(prompt: str, fmt: Format) -> str:
    """The prompt with the thinking opened, if the chat template has not done so."""
    start = fmt.thinking_start.strip()
    return prompt if start and prompt.rstrip().endswith(start) else prompt + fmt.thinking_start


def write_prompt(tokenizer: Any, question: str, system_prompt: str, examples: Sequence[tuple[str, str]] = ()) -> str:
    """The chat text up to the assistant's header; an empty system prompt leaves the template's own.

    `examples` are earlier turns: (question, reply).
    """
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    turns = [{"role": r, "content": t} for pair in examples for r, t in zip(("user", "assistant"), pair, strict=True)]
    messages = [*system, *turns, {"role": "user", "content": question}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def find_header(tokenizer: Any, system_prompt: str) -> str:
    """What the chat template writes to open the assistant's turn.

    Raises StudyError if there is no template, or it loses question or system prompt, or opens no turn.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise StudyError("This tokenizer has no chat template: take the model's Instruct variant, or save one with it.")
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    try:
        prompt = write_prompt(tokenizer, PROBE, system_prompt)
        closed = tokenizer.apply_chat_template([*system, {"role": "user", "content": PROBE}], tokenize=False)
    except TemplateError as error:
        raise StudyError(f"The chat template refuses the prompt ({error}): leave system_prompt empty.") from error
    if prompt.count(PROBE) != 1 or system_prompt.strip() not in prompt:
        raise StudyError("The chat template drops or repeats the question or the system prompt: use another template.")
    if prompt == closed or not prompt.startswith(closed):
        raise StudyError("The chat template doesn't open the assistant's turn: mend its add_generation_prompt.")
    return prompt.removeprefix(closed)


def write_completion(thinking: str, attempt: str, fmt: Format = S1) -> str:
    """What a model is trained to write after the assistant's header: thinking, answer, end of turn."""
    answer = attempt.strip()
    answer = answer if "Answer:" in answer else f"Answer: {answer}"
    gap = "" if fmt.thinking_end.endswith("\n") else "\n"  # generation puts nothing between thinking_end and answer
    return f"{fmt.thinking_start}{thinking.strip()}\n{fmt.thinking_end}{gap}{answer}{fmt.turn_end}"
