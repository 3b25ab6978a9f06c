"""One question to one API: what is sent, what it may cost, and which failures may pass.

Knows the providers' addresses, options, statuses and time-outs; knows nothing about journals, retries or budgets.
Providers change their models, prices and terms (some forbid training on replies; Claude's and Gemini's thinking is a
summary): models and prices are parameters without defaults. No key is ever part of a message.
Source: s1's data/gemini.py: the prompt is the bare question, nothing about sampling is sent.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from s1_utils.api_teachers.replies import FIELDS, FailedTry, Reply, ReplyReader
from s1_utils.errors import StudyError
from s1_utils.retry_after import read_delay

REPLY_BYTES, BYTES_PER_TOKEN = 2**20, 2048  # the longest reply that is read
REFUSAL_BYTES, REFUSAL_LETTERS = 2**12, 300  # of what a server says when it refuses
# How servers say with status 400 that they have no such model: OpenAI, DeepSeek, Gemini, vLLM.
_NO_MODEL = re.compile(
    r"model_not_found|\bmodels?\b.{0,120}\b(?:not (?:found|exist)|unknown|deprecated|retired|no longer available)", re.I
)
_NO_MONEY = re.compile(r"insufficient_quota|insufficient balance", re.I)  # no limit of a rate: it won't pass
_GEMINI_DELAY = re.compile(r'"retryDelay":\s*"([0-9.]+)s"')


class MissingModel(StudyError):
    """The server has no such model (any more). `said`: the status, and its own words."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True)
class Teacher:
    """A model behind an API. `key_variable` names the environment variable with its key, "" if it takes none.

    `max_tokens` bounds thinking and attempt together. `temperature` None isn't sent. `thinking_fields`: where the
    thinking may come in a field of its own; else it is what `thinking_markers` enclose. `extra_body`: more of the
    request's JSON, winning over ours; a None takes a field of ours out. Prices are USD per million tokens; they must be
    given, 0 for one's own server.
    """

    name: str
    model: str = ""
    base_url: str = ""
    kind: Literal["openai", "anthropic", "gemini"] = "openai"
    key_variable: str = ""
    max_tokens: int = 32768
    temperature: float | None = None
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    thinking_fields: tuple[str, ...] = FIELDS
    thinking_markers: tuple[str, str] | None = ("<think>", "</think>")
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    system_prompt: ClassVar[str] = ""  # none is sent; the models of `chat_models` may have one

    def vary(self, question_id: str) -> Teacher:
        """This teacher as it is asked one question."""
        return self

    def price(self, input_tokens: float, output_tokens: float) -> float:
        """USD. Raises StudyError for a teacher without prices."""
        if self.usd_per_million_input is None or self.usd_per_million_output is None:
            raise StudyError(
                f"What {self.name} costs isn't known: set usd_per_million_input and usd_per_million_output from its "
                "provider's list (0 for a server of your own)."
            )
        return (input_tokens * self.usd_per_million_input + output_tokens * self.usd_per_million_output) / 1e6


# To be completed with dataclasses.replace(GEMINI, model=…, usd_per_million_input=…, usd_per_million_output=…).
GEMINI = Teacher(
    "gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    key_variable="GEMINI_API_KEY",
    thinking_markers=("<thought>", "</thought>"),
    extra_body={"extra_body": {"google": {"thinking_config": {"include_thoughts": True}}}},  # twice, as documented
)
# Retired by DeepSeek on 2026-07-24, after it had long meant newer models: OWN_SERVER with the open R1 is the paper's.
DEEPSEEK_R1 = Teacher(
    "deepseek-r1", "deepseek-reasoner", base_url="https://api.deepseek.com/v1", key_variable="DEEPSEEK_API_KEY"
)
OWN_SERVER = Teacher(
    "own-server", base_url="http://localhost:8000/v1", usd_per_million_input=0.0, usd_per_million_output=0.0
)
CLAUDE = Teacher(
    "claude",
    base_url="https://api.anthropic.com",
    kind="anthropic",
    key_variable="ANTHROPIC_API_KEY",
    # Newer models leave the thinking out unless asked; older ones take {"type": "enabled", "budget_tokens": …} instead.
    extra_body={"thinking": {"type": "adaptive", "display": "summarized"}},
)


def read_key(teacher: Teacher) -> str:
    """The teacher's key, "" if it takes none. Raises StudyError for a teacher that can't be asked as it is."""
    if not teacher.model or not teacher.base_url.startswith(("http://", "https://")):
        raise StudyError(f"{teacher.name} needs a model, and a base_url like https://host/v1: set both.")
    key = os.environ.get(teacher.key_variable, "").strip() if teacher.key_variable else ""
    if teacher.key_variable and not (key and key.isascii() and key.isprintable()):
        raise StudyError(f"{teacher.name} needs a key: set the environment variable {teacher.key_variable} to it.")
    return key


def mask_key(text: str, key: str) -> str:
    """The start of a server's words on one line, without the key."""
    text = " ".join(text.split())
    return (text.replace(key, "***") if key else text)[:REFUSAL_LETTERS]


def open_client(teacher: Teacher, key: str, *, concurrency: int, silence_s: float) -> Any:
    """An httpx2.AsyncClient for `receive_reply`; it gives up after `silence_s` seconds without a byte."""
    import httpx2

    headers = {"Accept-Encoding": "identity"}
    if key and teacher.kind == "openai":
        headers["Authorization"] = f"Bearer {key}"
    if key and teacher.kind == "gemini":
        headers["x-goog-api-key"] = key
    return httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(silence_s, connect=min(silence_s, 30.0), pool=None),
        limits=httpx2.Limits(max_connections=concurrency),
        event_hooks={"response": [partial(_refuse, teacher, key)]},
    )


async def receive_reply(question: str, teacher: Teacher, client: Any, *, key: str, timeout_s: float) -> Reply:
    """The whole reply to the bare `question`, within `timeout_s` seconds.

    Raises FailedTry where this request failed, StudyError where no other would fare better (wrong key or model).
    """
    import httpx2

    reader = ReplyReader(teacher.kind, fields=teacher.thinking_fields, markers=teacher.thinking_markers)
    left = REPLY_BYTES + BYTES_PER_TOKEN * teacher.max_tokens
    request = {"anthropic": _request_anthropic, "gemini": _request_gemini}.get(teacher.kind, _request_openai)
    try:
        async with asyncio.timeout(timeout_s), aclosing(request(question, teacher, client, key)) as parts:
            async for part in parts:
                left -= len(part)
                if left < 0:
                    raise FailedTry("reply too long", passing=False)
                reader.feed(part)
                if reader.is_over:
                    break
    except (httpx2.RequestError, TimeoutError) as error:
        if not reader.finish:  # else only the end of the stream is missing
            is_late = isinstance(error, TimeoutError | httpx2.TimeoutException)
            reason = "timed out" if is_late else "connection failed"
            is_free = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise FailedTry(reason, type(error).__name__, free=is_free) from error
    return reader.close()


async def _request_openai(question: str, teacher: Teacher, client: Any, key: str) -> AsyncGenerator[bytes, None]:
    system = [{"role": "system", "content": teacher.system_prompt}] if teacher.system_prompt else []
    body = {
        "model": teacher.model,
        "messages": [*system, {"role": "user", "content": question}],
        "max_tokens": teacher.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_collect_options(teacher),
    }
    body = {name: value for name, value in body.items() if value is not None}
    url = teacher.base_url.rstrip("/") + "/chat/completions"
    async with client.stream("POST", url, json=body) as reply:  # the key is in the client's headers
        async for part in reply.aiter_bytes():
            yield part


async def _request_gemini(question: str, teacher: Teacher, client: Any, key: str) -> AsyncGenerator[bytes, None]:
    """Not streamed: in a stream, older models call every piece the last one, so that a cut reply would pass as whole.

    `extra_body` may have a generationConfig, which is joined with ours.
    """
    options = _collect_options(teacher)
    ours = {"maxOutputTokens": teacher.max_tokens, "temperature": options.pop("temperature", None)}
    config = {**ours, **(options.pop("generationConfig", None) or {})}
    body = {
        "contents": [{"role": "user", "parts": [{"text": question}]}],
        "generationConfig": {name: value for name, value in config.items() if value is not None},
        **options,
    }
    if teacher.system_prompt:
        body["systemInstruction"] = {"parts": [{"text": teacher.system_prompt}]}
    url = f"{teacher.base_url.rstrip('/')}/models/{teacher.model}:generateContent"
    async with client.stream("POST", url, json=body) as reply:
        async for part in reply.aiter_bytes():
            yield part


async def _request_anthropic(question: str, teacher: Teacher, client: Any, key: str) -> AsyncGenerator[bytes, None]:
    import anthropic

    sdk = anthropic.AsyncAnthropic(api_key=key or "none", base_url=teacher.base_url, http_client=client, max_retries=0)
    create = sdk.messages.with_streaming_response.create
    try:
        async with create(
            model=teacher.model,
            messages=[{"role": "user", "content": question}],
            max_tokens=teacher.max_tokens,
            stream=True,
            extra_body=_collect_options(teacher) | ({"system": teacher.system_prompt} if teacher.system_prompt else {}),
        ) as reply:
            async for part in reply.iter_bytes():
                yield part
    except anthropic.APIConnectionError as error:  # around whatever the client or our hook raised
        raise (error.__cause__ or FailedTry("connection failed")) from None


def _collect_options(teacher: Teacher) -> dict[str, Any]:
    temperature = {} if teacher.temperature is None else {"temperature": teacher.temperature}
    return {**temperature, **teacher.extra_body}


async def _refuse(teacher: Teacher, key: str, reply: Any) -> None:
    """Raise for every status but 200: FailedTry, or StudyError if no other question will fare better."""
    status, said = reply.status_code, b""
    if status == 200:
        return
    async with aclosing(reply.aiter_bytes()) as parts:
        async for part in parts:
            said += part[:REFUSAL_BYTES]
            if len(said) >= REFUSAL_BYTES:
                break
    whole = said.decode("utf-8", "replace")
    text = mask_key(whole, key)
    is_broke = status == 402 or (status == 429 and _NO_MONEY.search(whole))
    if (status in (408, 425, 429) or status >= 500) and not is_broke:
        asked = _GEMINI_DELAY.search(whole)
        delay = max(read_delay(reply.headers.get("retry-after"), time.time()), read_delay(asked and asked[1], 0.0))
        raise FailedTry(f"status {status}", text, free=True, delay=delay)
    is_missing = status in (404, 410) or (status == 400 and _NO_MODEL.search(whole))
    if is_broke or is_missing or status in (401, 403) or "api key" in text.lower():  # Gemini: 400 for a wrong key
        advice = _advise("money" if is_broke else "model" if is_missing else "key", teacher)
        message = (
            f"{teacher.name} refuses every request (status {status}: {text}): {advice}, then run again; what is done "
            "is kept."
        )
        raise MissingModel(message, f"status {status}: {text}") if is_missing else StudyError(message)
    raise FailedTry(f"status {status}", text, passing=False, free=True)


def _advise(lacks: str, teacher: Teacher) -> str:
    if lacks == "money":
        return "top up its account"
    if lacks == "model":
        return f"check model {teacher.model!r} and base_url"
    return (
        f"set {teacher.key_variable} to a valid key" if teacher.key_variable else "set key_variable, and that to a key"
    )
