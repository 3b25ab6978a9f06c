"""A teacher's reply, put together from bytes as they arrive: a stream of events, or one JSON document.

Knows the three forms of chat replies (OpenAI's, Anthropic's, Gemini's) and where each keeps the thinking; knows nothing
about connections, retries or money. A reply without a finish reason is never one, however much of it arrived.
Source: s1 section 2.1 (thinking and answer came as two parts; deviation: inline markers and deltas, as served now).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FIELDS = ("reasoning_content", "reasoning")  # DeepSeek's and older vLLM's; vLLM's and OpenRouter's
WHOLE = ("stop", "end_turn", "stop_sequence")
CUT = ("length", "max_tokens", "model_context_window_exceeded")
BROKEN = ("abort", "error", "insufficient_system_resource")  # the server's fault, so it may pass
LARGEST_COUNT, LONGEST_NAME = 2**40, 200
GEMINI_COUNTS = {
    "promptTokenCount": "prompt_tokens",
    "candidatesTokenCount": "completion_tokens",
    "thoughtsTokenCount": "reasoning_tokens",
    "totalTokenCount": "total_tokens",
}


class FailedTry(Exception):
    """A request that brought no whole reply. `passing`: it may, if repeated, `delay` seconds later if the server said.

    `free`: nothing can have been generated, so nothing is paid. `detail` may hold the server's own words.
    """

    def __init__(
        self, reason: str, detail: str = "", *, passing: bool = True, free: bool = False, delay: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.passing, self.free, self.delay = reason, detail, passing, free, delay


@dataclass(frozen=True)
class Reply:
    """A whole reply. Tokens are those that the server charges for, None if it reports none.

    `reasoning_tokens`: how many of `output_tokens` were thought, also where the thinking itself isn't shown. `served`:
    which model the server says it was, "" if it doesn't: some answer for a retired model with another.
    """

    thinking: str
    attempt: str
    finish: str
    is_closed: bool = True
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    served: str = ""


def split_thinking(text: str, markers: tuple[str, str]) -> tuple[str, str, bool]:
    """(thinking, attempt, whether the thinking ends) of a text with the thinking between `markers`, both stripped.

    Without the opening marker, which a chat template may have supplied, the thinking starts with the text. Blocks of
    thinking that follow each other are one; markers later in the attempt are part of it.
    """
    opening, closing = markers
    if opening not in text and closing not in text:
        return "", text.strip(), True
    blocks, rest = [], text
    while not blocks or rest.lstrip().startswith(opening):
        block, found, rest = rest.partition(closing)
        blocks.append(block.replace(opening, "", 1).strip())
        if not found:
            return "\n\n".join(blocks), "", False
    return "\n\n".join(filter(None, blocks)), rest.strip(), True


def judge_reply(reply: Reply, *, needs_thinking: bool = True) -> str:
    """Why a whole reply is no trace; "" if it is one. Without `needs_thinking` an attempt is enough."""
    if reply.finish in CUT:
        return "cut at max_tokens"
    if reply.finish not in WHOLE:
        return f"ended by {reply.finish[:40]}"
    if not reply.is_closed:
        return "thinking not closed"
    if needs_thinking and not reply.thinking:
        return "no thinking"
    return "" if reply.attempt else "no attempt"


def mend_text(text: str) -> str:
    """`text` with the halves of split surrogate pairs joined, and lone ones replaced: it can be written as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class ReplyReader:
    """Takes the bytes of one reply in any pieces; `kind` is "openai", "anthropic" or "gemini".

    `fields`: where an OpenAI-like reply may keep its thinking. Where they are empty it is between `markers`.
    """

    def __init__(self, kind: str, *, fields: Sequence[str] = FIELDS, markers: tuple[str, str] | None = None) -> None:
        self.take = {"anthropic": self._take_anthropic, "gemini": self._take_gemini}.get(kind, self._take_openai)
        self.fields, self.markers = fields, markers
        self.thinking: list[str] = []
        self.content: list[str] = []
        self.finish = self.served = ""
        self.is_over = False
        self.counts: dict[str, int] = {}
        self._rest, self._plain, self._events = bytearray(), bytearray(), 0

    def feed(self, part: bytes) -> None:
        """Take the next bytes. Raises FailedTry for an event that isn't JSON in UTF-8, or that reports an error."""
        *lines, rest = part.split(b"\n")
        for line in lines:
            self._rest += line
            self._take_line(bytes(self._rest))
            self._rest.clear()
        self._rest += rest

    def close(self) -> Reply:
        """The reply. Raises FailedTry if it isn't whole."""
        try:
            self._take_line(bytes(self._rest))
            if not self._events and self._plain.strip():
                self._take_event(bytes(self._plain))
        except FailedTry:
            if not self.finish:  # else only what the server counted was cut off
                raise
        if not self.finish or self.finish in BROKEN:
            raise FailedTry("reply broke off", self.finish)
        thinking, attempt, is_closed = self._split()
        counts = *self._count(), self.counts.get("reasoning_tokens")
        return Reply(thinking, attempt, self.finish, is_closed, *counts, self.served)

    def _take_line(self, line: bytes) -> None:
        if self.is_over:
            return
        if not line.startswith(b"data:"):
            if not line.startswith((b":", b"event:", b"id:", b"retry:")):  # a comment keeps the connection alive
                self._plain += line + b"\n"
            return
        event = line[5:].strip()
        self._events += 1
        if event == b"[DONE]":
            self.is_over = True
        elif event:
            self._take_event(event)

    def _take_event(self, event: bytes) -> None:
        try:
            fields = json.loads(event)
        except (ValueError, RecursionError) as error:
            raise FailedTry("not JSON in UTF-8", type(error).__name__) from error
        if not isinstance(fields, dict):
            raise FailedTry("not JSON in UTF-8", "no object")
        if fields.get("error"):
            raise FailedTry("server reported an error", json.dumps(fields["error"])[:2000])
        named = (_read(fields, "model"), _read(_read(fields, "message"), "model"), _read(fields, "modelVersion"))
        self.served = self.served or mend_text(
            next((name[:LONGEST_NAME] for name in named if isinstance(name, str)), "")
        )
        self.take(fields)

    def _take_openai(self, event: dict[str, Any]) -> None:
        self._note_counts(event.get("usage"))
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = _read(choice, "delta") or _read(choice, "message")
        for name in self.fields:
            if text := _read_text(message, name):
                self.thinking.append(text)
                break  # some servers send the same text in both
        self.content.append(_read_text(message, "content"))
        finish = "refusal" if _read_text(message, "refusal") else _read_text(choice, "finish_reason")
        self.finish = self.finish if self.finish == "refusal" else finish or self.finish

    def _take_anthropic(self, event: dict[str, Any]) -> None:
        delta = _read(event, "delta")
        match event.get("type"):
            case "message_start":
                self._note_counts(_read(event.get("message"), "usage"))
                self.counts.pop("output_tokens", None)  # a start value; the bill comes with the stop reason
            case "content_block_start":
                self._take_block(event.get("content_block"))
            case "content_block_delta":
                self.thinking.append(_read_text(delta, "thinking"))
                self.content.append(_read_text(delta, "text"))
            case "message_delta":
                self._note_counts(event.get("usage"))
                self.finish = _read_text(delta, "stop_reason") or self.finish
            case "message_stop":
                self.is_over = True
            case "message":  # a server that doesn't stream
                blocks = event.get("content")
                for block in blocks if isinstance(blocks, list) else []:
                    self._take_block(block)
                self._note_counts(event.get("usage"))
                self.finish = _read_text(event, "stop_reason")

    def _take_block(self, block: Any) -> None:
        if _read(block, "type") == "thinking":
            self.thinking.append("\n\n" * any(self.thinking) + _read_text(block, "thinking"))
        self.content.append(_read_text(block, "text"))

    def _take_gemini(self, event: dict[str, Any]) -> None:
        """A document of generateContent, which isn't streamed. A prompt that is refused has no candidates."""
        candidates = event.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else None
        parts = _read(_read(candidate, "content"), "parts")
        for part in parts if isinstance(parts, list) else []:
            (self.thinking if _read(part, "thought") is True else self.content).append(_read_text(part, "text"))
        blocked = _read_text(event.get("promptFeedback"), "blockReason")
        self.finish = (_read_text(candidate, "finishReason") or (blocked and f"blocked prompt: {blocked}")).lower()
        usage = event.get("usageMetadata")
        self._note_counts({ours: _read(usage, theirs) for theirs, ours in GEMINI_COUNTS.items()})
        if "completion_tokens" in self.counts:
            self.counts["completion_tokens"] += self.counts.get("reasoning_tokens", 0)
        elif "prompt_tokens" in self.counts:  # nothing is counted of a reply that holds nothing
            self.counts["completion_tokens"] = self.counts.get("reasoning_tokens", 0)

    def _note_counts(self, usage: Any) -> None:
        details = _read(usage, "completion_tokens_details")
        for name, value in [*_list_items(usage), *_list_items(details)]:
            if type(value) is int and 0 <= value <= LARGEST_COUNT:
                self.counts[name] = value

    def _count(self) -> tuple[int | None, int | None]:
        """(input, output) tokens. Gemini's completion_tokens leave the thinking out, its total_tokens don't."""
        counts = self.counts
        if "prompt_tokens" in counts and "completion_tokens" in counts:
            prompt = counts["prompt_tokens"]
            return prompt, max(counts["completion_tokens"], counts.get("total_tokens", 0) - prompt)
        if "input_tokens" in counts and "output_tokens" in counts:
            cached = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            return sum(counts.get(name, 0) for name in cached), counts["output_tokens"]
        return None, None

    def _split(self) -> tuple[str, str, bool]:
        thinking, content = mend_text("".join(self.thinking)).strip(), mend_text("".join(self.content))
        if thinking or not self.markers:
            return thinking, content.strip(), True
        return split_thinking(content, self.markers)


def _read(fields: Any, name: str) -> Any:
    return fields.get(name) if isinstance(fields, dict) else None


def _list_items(fields: Any) -> list[tuple[str, Any]]:
    return list(fields.items()) if isinstance(fields, dict) else []


def _read_text(fields: Any, name: str) -> str:
    value = _read(fields, name)
    return value if isinstance(value, str) else ""
