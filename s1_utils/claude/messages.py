"""Requests to Claude and what to make of its answers: no network, no files.

Knows the Messages API's request with a cached system prompt and a JSON schema, its answers, their reasons to fail and
their prices, and how a batch is described; knows nothing about posting, journals or what is asked. Answers are hostile:
whatever one holds, reading it gives an `Outcome`. Source: `anthropic` 2.12 (types/message_create_params.py,
types/messages/message_batch_result.py, types/usage.py). Used through `s1_utils.claude`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from s1_utils.errors import StudyError
from s1_utils.store import hash_json

OVERHEAD = 1000  # input tokens beyond our own bytes: the messages' frame and what the API says about the schema
CAN_NOT_PASS = {"invalid_request_error", "request_too_large"}  # the same request would fail again
COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")  # of a batch's requests


@dataclass(frozen=True)
class Ask:
    """One user message. `id`: any text, unique in a call."""

    id: str
    user: str


@dataclass(frozen=True)
class Reply:
    """What came of one ask. `data` is None exactly if `failure` names a reason; `usd` counts all its attempts."""

    data: dict[str, Any] | None
    text: str
    failure: str
    usd: float


@dataclass(frozen=True)
class ClaudeSettings:
    """How to ask: the first four and `max_tokens` decide what an answer means, the others only how it is got.

    `system`: the rubric, cached by the API. `schema`: JSON schema of the answer, an object. Prices are those of the
    "direct" mode; `batch_discount` is the part of them that batches don't cost. `max_usd` is never exceeded: every
    request is held against it at its worst (`bound_usd`) until its usage is known. `attempts`: how often an ask is sent
    in all when it errored, expired or was cancelled. `settle_seconds`: how long a batch that may have been accepted is
    looked for before it counts as lost. `timeout_seconds`: without a byte from the server.
    """

    model: str
    system: str
    schema: dict[str, Any]
    max_usd: float
    usd_per_million_input: float
    usd_per_million_output: float
    usd_per_million_cache_write: float
    usd_per_million_cache_read: float
    max_tokens: int = 1024
    batch_discount: float = 0.5
    mode: Literal["batch", "direct"] = "batch"
    base_url: str | None = None
    batch_size: int = 10_000
    attempts: int = 3
    concurrency: int = 4
    poll_seconds: float = 60.0
    settle_seconds: float = 120.0
    timeout_seconds: float = 600.0
    backoff_seconds: float = 1.0

    @cached_property
    def key(self) -> str:
        """16 hex digits of what decides an answer."""
        return hash_json([self.model, self.system, self.schema, self.max_tokens])[:16]

    def __post_init__(self) -> None:
        faults = {
            "mode must be batch or direct": self.mode not in ("batch", "direct"),
            "batch_size must be 1 to 100,000": not 1 <= self.batch_size <= 100_000,
            "batch_discount must be 0 to 1": not 0 <= self.batch_discount <= 1,
            "attempts, concurrency and max_tokens must be 1 or more": min(
                self.attempts, self.concurrency, self.max_tokens
            )
            < 1,
            "prices and max_usd can't be negative": min(*list_prices(self).values(), self.max_usd) < 0,
            "schema must be of type object": self.schema.get("type") != "object",
        }
        for fault, is_so in faults.items():
            if is_so:
                raise StudyError(f"ClaudeSettings: {fault}; change it and run again.")


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt. `again`: another attempt may do better. `usage`: tokens, named as in `list_prices`."""

    data: dict[str, Any] | None
    text: str
    failure: str
    usd: float
    again: bool
    usage: dict[str, int]


@dataclass(frozen=True)
class Batch:
    """What the API says of a batch. `results_url`: "" before it ended, and after its results are gone."""

    id: str
    created: datetime
    requests: int
    processing: int
    has_ended: bool
    results_url: str


# ------------------------------------------------------------------ requests


def hash_ask(ask: Ask, settings: ClaudeSettings) -> str:
    """24 hex digits of an ask's id and text and of the settings that decide its answer."""
    return hash_json([settings.key, ask.id, ask.user])[:24]


def build_request(user: str, settings: ClaudeSettings) -> dict[str, Any]:
    """The parameters of messages.create, the same in both modes. Lone surrogates, which no API takes, become "?"."""
    import anthropic

    schema = anthropic.transform_schema(settings.schema)  # closes objects; what the API can't check, it gets in words
    return {
        "model": settings.model,
        "max_tokens": settings.max_tokens,
        "system": [{"type": "text", "text": _clean(settings.system), "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": _clean(user)}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# ------------------------------------------------------------------ costs


def list_prices(settings: ClaudeSettings) -> dict[str, float]:
    """Usd per million tokens, by the API's name for each kind of token."""
    return {
        "input_tokens": settings.usd_per_million_input,
        "output_tokens": settings.usd_per_million_output,
        "cache_creation_input_tokens": settings.usd_per_million_cache_write,
        "cache_read_input_tokens": settings.usd_per_million_cache_read,
    }


def bound_usd(ask: Ask, settings: ClaudeSettings) -> float:
    """The most that one attempt can cost: no token is shorter than a byte, and no answer longer than max_tokens."""
    texts = (ask.user, settings.system, json.dumps(settings.schema))
    tokens = OVERHEAD + sum(len(text.encode("utf-8", "replace")) for text in texts)
    prices = list_prices(settings)
    dearest = max(price for name, price in prices.items() if name != "output_tokens")
    factor = 1 - settings.batch_discount if settings.mode == "batch" else 1.0
    return (tokens * dearest + settings.max_tokens * prices["output_tokens"]) * factor / 1e6


def estimate_usd(asks: Sequence[Ask], *, settings: ClaudeSettings) -> float:
    """The most that asking all of `asks` once can cost; a typical bill is a quarter of its input part or less."""
    return sum(bound_usd(ask, settings) for ask in asks)


# ------------------------------------------------------------------ answers


def read_result(result: Any, settings: ClaudeSettings) -> Outcome:
    """The outcome of one request of a batch, from the `result` of its line."""
    kind = result.get("type") if isinstance(result, dict) else None
    if kind == "succeeded":
        return read_message(result.get("message"), settings, factor=1 - settings.batch_discount)
    if kind == "errored":
        return fail_with(find_error_type(result.get("error")))
    if kind in ("expired", "canceled"):
        return Outcome(None, "", kind, 0.0, True, {})
    return Outcome(None, "", f"unparsable: a result of type {str(kind)[:40]!r}", 0.0, False, {})


def find_error_type(error: Any) -> str:
    """The type in an error body of the API, {"type": "error", "error": {"type": …}}; "unknown" if there is none."""
    inner = error.get("error") if isinstance(error, dict) else None
    return str(inner.get("type", "unknown"))[:60] if isinstance(inner, dict) else "unknown"


def fail_with(error_type: str) -> Outcome:
    """The outcome of a request that the API answered with an error: nothing is paid for it."""
    return Outcome(None, "", f"errored: {error_type}", 0.0, error_type not in CAN_NOT_PASS, {})


def read_message(message: Any, settings: ClaudeSettings, *, factor: float = 1.0) -> Outcome:
    """The outcome of a message of the API, a dict, at `factor` times the prices. It was paid for, so it is final."""
    message = message if isinstance(message, dict) else {}
    usage = _read_usage(message.get("usage"))
    prices = list_prices(settings)
    usd = sum(prices[name] * count for name, count in usage.items()) * factor / 1e6
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    data, failure = None, _explain_stop(message.get("stop_reason"))
    if not failure:
        data, failure = _parse(text, settings.schema)
    return Outcome(data, _clean(text), failure, usd, False, usage)


def _read_usage(usage: Any) -> dict[str, int]:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    counts = {name: usage.get(name) for name in names} if isinstance(usage, dict) else {}
    return {name: count for name, count in counts.items() if type(count) is int and 0 < count < 2**40}


def _explain_stop(reason: Any) -> str:
    if reason == "refusal":
        return "refused"
    return f"cut at {reason}" if reason in ("max_tokens", "model_context_window_exceeded") else ""


def _parse(text: str, schema: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """(the object that `text` holds, "") or (None, why it doesn't)."""
    import jsonschema

    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()  # no NaN, no infinity, no lone surrogate
        fault = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(data))
    except (ValueError, RecursionError) as error:
        return None, f"unparsable: {str(error)[:120]}"
    return (data, "") if fault is None else (None, f"unparsable: {fault.message[:120]}")


def read_batch(fields: Mapping[str, Any]) -> Batch:
    """Raises ValueError, KeyError or TypeError for what isn't a batch."""
    if not isinstance(fields["id"], str) or not fields["id"]:
        raise ValueError("a batch without an id")
    counts = [int(fields["request_counts"][name]) for name in COUNTS]
    created = datetime.fromisoformat(fields["created_at"]).astimezone(UTC)
    ended = fields["processing_status"] == "ended"
    return Batch(fields["id"], created, sum(counts), counts[0], ended, str(fields.get("results_url") or ""))
