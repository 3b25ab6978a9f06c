"""An engine on any OpenAI-compatible completions server that takes token ids and returns them, such as vLLM's.

Knows the HTTP interface, its failures and their retries; knows nothing about policies, tokenizers or text. What has
arrived of a reply is kept when its connection breaks, and the next request goes on after it: nothing is lost, nothing
comes twice, and long replies are not drawn again more often than short ones, which would bias samples.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from s1_utils.engines import Row
from s1_utils.engines.rounds import LoopThread, Request, Sampled, derive_draw, run_rows
from s1_utils.errors import StudyError
from s1_utils.retry_after import read_delay

CHUNK = 64  # ids that arrive together where none of them can make us give the request up
LONGEST_BACKOFF, LONGEST_DELAY = 30.0, 300.0  # seconds; the second whatever Retry-After asks for


class _Broken(Exception):
    """A try that failed and may be repeated, after `delay` seconds if the server said so."""

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


class OpenAIEngine:
    """Runs rows on `model` of the server at `url` (up to and including /v1).

    `key_variable` names the environment variable with the API key; none is sent if it is unset. `retries`: how often in
    a row a request is tried again without a new id, `backoff` seconds after the first failure and then twice as long.
    `timeout`: seconds without a byte. `window`: the model's, in ids; None asks the server. `seeds`: send a seed with
    sampled requests (vLLM's CPU build dies of them).
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        retries: int = 6,
        backoff: float = 1.0,
        timeout: float = 600.0,
        window: int | None = None,
        seeds: bool = True,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise StudyError(f"{url!r} is no address of a server: give one like http://localhost:8000/v1.")
        self.url = url.rstrip("/")
        self.model = model
        self.key_variable = key_variable
        self.concurrency = concurrency
        self.retries = retries
        self.backoff = backoff
        self.timeout = timeout
        self.window = window
        self.seeds = seeds

    def run(self, rows: Sequence[Row]) -> list[Any]:
        """The return value of each row's policy, in order.

        Raises ValueError where a row is too long for the model, StudyError where the server can't be used.
        """
        thread = LoopThread("openai")
        try:
            return thread.run(self._run(rows))
        finally:
            thread.close()

    async def _run(self, rows: Sequence[Row]) -> list[Any]:
        import httpx2

        key = os.environ.get(self.key_variable)
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, 30), pool=None)
        limits = httpx2.Limits(max_connections=self.concurrency)
        async with httpx2.AsyncClient(headers=headers, timeout=timeout, limits=limits) as client:
            window = self.window if self.window is not None else await self._ask_window(client)

            def sample(request: Request) -> AsyncGenerator[Sampled, None]:
                return self._sample(client, request)

            return await run_rows(rows, sample, window=window, concurrency=self.concurrency)

    async def _ask_window(self, client: Any) -> int | None:
        """The window that the server names for the model; None if it doesn't. Raises StudyError for another model."""
        reply = b""
        for failures in range(1, self.retries + 2):
            try:
                reply = b"".join([part async for part in self._read(client, "GET", "models", None, 2**20)])
                found = {each["id"]: each.get("max_model_len") for each in json.loads(reply)["data"]}
                break
            except _Broken as broken:
                await self._wait(failures, broken)
            except (ValueError, KeyError, TypeError):
                return None
        if self.model not in found:
            raise StudyError(f"{self.url} has no model {self.model!r}; it has {', '.join(found) or 'none'}.")
        return found[self.model]

    async def _sample(self, client: Any, request: Request) -> AsyncGenerator[Sampled, None]:
        failures = breaks = 0
        rest = request
        while True:
            try:
                async with aclosing(self._stream(client, rest)) as stream:
                    async for sampled in stream:
                        failures = 0
                        rest = replace(
                            rest, prompt_ids=(*rest.prompt_ids, sampled.token), max_tokens=rest.max_tokens - 1
                        )
                        yield sampled
                        if not rest.max_tokens or sampled.token in request.stops:
                            return
                return
            except _Broken as broken:
                failures, breaks = failures + 1, breaks + 1
                await self._wait(failures, broken)
                rest = replace(rest, seed=derive_draw(request.seed, breaks))

    async def _wait(self, failures: int, broken: _Broken) -> None:
        if failures > self.retries:
            raise StudyError(
                f"{self.url} failed {failures} times in a row ({broken}): see that it runs, then run again; what was "
                "written to the journal is kept."
            ) from broken
        delay = min(self.backoff * 2 ** (failures - 1), LONGEST_BACKOFF) * random.uniform(0.5, 1.5)
        await asyncio.sleep(min(max(delay, broken.delay), LONGEST_DELAY))

    async def _stream(self, client: Any, request: Request) -> AsyncGenerator[Sampled, None]:
        """The ids of one reply as they come. Raises _Broken if it ends early."""
        most = 2**20 + 32 * len(request.prompt_ids) + request.max_tokens * (2048 + 64 * request.top)
        line, left = b"", request.max_tokens
        async with aclosing(self._read(client, "POST", "completions", self._write_body(request), most)) as parts:
            async for part in parts:
                *lines, line = (line + part).split(b"\n")
                for each in lines:
                    event = each.strip().removeprefix(b"data:").strip()
                    if not each.startswith(b"data:") or event == b"[DONE]":
                        continue
                    sampled, is_last = read_event(event, request)
                    left -= len(sampled)
                    if left < 0:
                        raise StudyError(f"{self.url} returned more than the {request.max_tokens} ids asked for.")
                    for one in sampled:
                        yield one
                    if is_last:
                        return
        raise _Broken("a reply broke off")

    async def _read(self, client: Any, method: str, path: str, body: Any, most: int) -> AsyncGenerator[bytes, None]:
        """The parts of a reply. Raises _Broken for what may pass, StudyError for what won't, or past `most` bytes."""
        import httpx2

        size = 0
        try:
            async with client.stream(method, f"{self.url}/{path}", json=body) as reply:
                if reply.status_code != 200:
                    await self._refuse(reply)
                async for part in reply.aiter_bytes():
                    size += len(part)
                    if size > most:
                        raise StudyError(f"{self.url} sent more than {most} bytes in one reply: it isn't to be used.")
                    yield part
        except httpx2.TransportError as error:
            raise _Broken(f"{type(error).__name__}") from error

    async def _refuse(self, reply: Any) -> None:
        status = reply.status_code
        if status in (408, 425, 429) or status >= 500:
            raise _Broken(f"status {status}", read_delay(reply.headers.get("retry-after"), time.time()))
        if status in (401, 403):
            raise StudyError(f"{self.url} refuses the key (status {status}): set {self.key_variable} to a valid one.")
        text = b""
        async for part in reply.aiter_bytes():
            text += part
            if len(text) > 2**12:
                break
        said = " ".join(text.decode("utf-8", "replace").split())[:300]
        key = os.environ.get(self.key_variable)
        raise StudyError(
            f"{self.url} refuses a request (status {status}): {said.replace(key, '***') if key else said}. It must "
            "take token ids as a prompt, stop_token_ids, logit_bias and logprobs (vLLM: --max-logprobs)."
        )

    def _write_body(self, request: Request) -> dict[str, Any]:
        # everything that a server might otherwise take from the model's own generation_config is said
        neutral = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
        body = {
            "model": self.model,
            "prompt": list(request.prompt_ids),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stop_token_ids": list(request.stops),
            "ignore_eos": True,
            "stream": True,
            "stream_interval": 1 if request.is_eager else CHUNK,
            "return_token_ids": True,
            "add_special_tokens": False,
            "frequency_penalty": 0.0,
            **neutral,
        }
        if request.temperature and self.seeds:
            body["seed"] = request.seed
        if request.is_strict:  # -100 was not enough; this forbids the model's own ends as well
            body |= {"stop_token_ids": list(request.banned), "min_tokens": request.max_tokens}
        elif request.banned:
            body["logit_bias"] = {str(i): -100 for i in request.banned}
        if request.top:
            body |= {"logprobs": request.top, "return_tokens_as_token_ids": True}
        return body


def read_event(event: bytes, request: Request) -> tuple[list[Sampled], bool]:
    """(the ids of one event of a stream, whether it is the last). Raises _Broken if it reports a failure."""
    try:
        fields = json.loads(event)
        choice = fields["choices"][0] if fields.get("choices") else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Broken("an event of a reply is no JSON") from error
    if "error" in fields:
        raise _Broken("the server failed within a reply")
    if choice is None:
        return [], False
    ids, prompt = choice.get("token_ids"), choice.get("prompt_token_ids")
    if ids is None:
        raise StudyError(
            "The server returned text without token ids, which can't be continued exactly: use one that has "
            "return_token_ids (vLLM 0.10 or newer), or an engine of your own machine."
        )
    if prompt is not None and prompt != list(request.prompt_ids):
        raise StudyError("The server changed the prompt's token ids: switch off what it adds to prompts.")
    if not all(type(i) is int and i >= 0 for i in ids):
        raise StudyError("The server returned token ids that are no ids: it can't be used.")
    finish = choice.get("finish_reason")
    if finish not in (None, "stop", "length"):
        raise _Broken(f"a reply ended with {str(finish)[:40]!r}")
    likely = _read_likely(choice, ids) if request.top else [{}] * len(ids)
    return [Sampled(i, each) for i, each in zip(ids, likely, strict=True)], finish is not None


def _read_likely(choice: dict[str, Any], ids: Sequence[int]) -> list[dict[int, float]]:
    try:
        found = (choice.get("logprobs") or {}).get("top_logprobs") or []
        likely = [{int(name.removeprefix("token_id:")): float(p) for name, p in each.items()} for each in found]
    except (ValueError, TypeError, AttributeError):
        likely = []
    if len(likely) != len(ids):
        raise StudyError(
            "The server returned no log-probabilities by token id: soft budgets need them (vLLM has them)."
        )
    return likely
