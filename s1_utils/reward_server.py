"""A reward model behind a pooling server, such as `vllm serve MODEL --runner pooling`.

Knows two routes and their replies; knows nothing about search or votes. The server writes the conversation with its own
chat template, so no tokenizer is needed here; a template that drops an assistant's thinking drops it here too.

  classify   sequence-classification heads with 1 output: the whole turn, closed
  pooling    token and process heads with 1 or 2 outputs: the turn left open, the last row of what comes back

Source: vLLM's online serving of pooling models, 0.32. Activated outputs are asked for: a reward is a probability.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Literal

from s1_utils.engines.rounds import LoopThread
from s1_utils.errors import StudyError
from s1_utils.retry_after import read_delay
from s1_utils.rewards import ACCEPTED, Candidate

LONGEST_BACKOFF, LONGEST_DELAY = 30.0, 300.0  # seconds; the second whatever Retry-After asks for
REPLY_BYTES, BYTES_PER_LETTER = 2**16, 64  # the longest reply that is read: a row of two numbers a token at most
REFUSAL_BYTES, REFUSAL_LETTERS = 2**12, 300


class _Broken(Exception):
    """A try that failed and may be repeated, after `delay` seconds if the server said so."""

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


class ServerReward:
    """`model` of the server at `url`, without the route (http://localhost:8000).

    `step_end` is added to every step ("<extra_0>" for Qwen's process models). `timeout`: seconds for a whole reply.
    `retries`: how often a request is tried again, `backoff` seconds after the first failure, then twice as long.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        route: Literal["classify", "pooling"] = "classify",
        step_end: str = "\n\n",
        key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        retries: int = 6,
        backoff: float = 1.0,
        timeout: float = 300.0,
    ) -> None:
        if route not in ("classify", "pooling"):
            raise StudyError(f"{route!r} is no route of a reward model: end the address in /classify or /pooling.")
        if not url.startswith(("http://", "https://")):
            raise StudyError(f"{url!r} is no address of a server: give one like http://localhost:8000.")
        self.url = f"{url.rstrip('/').removesuffix('/v1')}/{route}"
        self.model = model
        self.route = route
        self.step_end = step_end
        self.key_variable = key_variable
        self.concurrency = concurrency
        self.retries = retries
        self.backoff = backoff
        self.timeout = timeout

    def score(self, candidates: Sequence[Candidate]) -> list[float]:
        """The reward of each candidate, NaN where the server gave none. Raises StudyError if it can't be used."""
        thread = LoopThread("rewards")
        try:
            return thread.run(self._score(candidates))
        finally:
            thread.close()

    async def _score(self, candidates: Sequence[Candidate]) -> list[float]:
        import httpx2

        key = os.environ.get(self.key_variable)
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, 30), pool=None)
        gate = asyncio.Semaphore(self.concurrency)
        async with httpx2.AsyncClient(headers=headers, timeout=timeout) as client:

            async def ask(candidate: Candidate) -> float:
                async with gate:
                    return await self._ask(client, candidate)

            tasks = [asyncio.ensure_future(ask(candidate)) for candidate in candidates]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, client: Any, candidate: Candidate) -> float:
        body = self.write_body(candidate)
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self.timeout):
                    reply = await self._post(client, body, candidate)
                return read_reward(reply, self.route)
            except (_Broken, TimeoutError) as error:
                failures += 1
                reason = str(error) or "timed out"
                if failures > self.retries:
                    raise StudyError(
                        f"{self.url} failed {failures} times in a row ({reason}): see that it runs, then run again; "
                        "what was written to the journal is kept."
                    ) from error
                delay = min(self.backoff * 2 ** (failures - 1), LONGEST_BACKOFF) * random.uniform(0.5, 1.5)
                await asyncio.sleep(min(max(delay, getattr(error, "delay", 0.0)), LONGEST_DELAY))

    def write_body(self, candidate: Candidate) -> dict[str, Any]:
        """The JSON of one request: the conversation, closed for an outcome, open where a step has just ended."""
        response = "".join(step + self.step_end for step in candidate.steps)
        turns = [{"role": "user", "content": candidate.question}, {"role": "assistant", "content": response}]
        body = {"model": self.model, "messages": turns, "add_generation_prompt": False, "use_activation": True}
        return body | ({"continue_final_message": True} if self.route == "pooling" else {})

    async def _post(self, client: Any, body: dict[str, Any], candidate: Candidate) -> bytes:
        import httpx2

        most = REPLY_BYTES + BYTES_PER_LETTER * sum(len(turn["content"]) for turn in body["messages"])
        found = b""
        try:
            async with client.stream("POST", self.url, json=body) as reply:
                most = most if reply.status_code == 200 else REFUSAL_BYTES
                async with aclosing(reply.aiter_bytes()) as parts:
                    async for part in parts:
                        found += part
                        if len(found) > most:
                            break
        except httpx2.RequestError as error:
            raise _Broken(type(error).__name__) from error
        if reply.status_code != 200:
            self._refuse(reply, found, candidate)
        if len(found) > most:
            raise StudyError(f"{self.url} sent more than {most} bytes in one reply: it isn't to be used.")
        return found

    def _refuse(self, reply: Any, found: bytes, candidate: Candidate) -> None:
        status = reply.status_code
        if status in (408, 425, 429) or (status >= 500 and status != 501):
            raise _Broken(f"status {status}", read_delay(reply.headers.get("retry-after"), time.time()))
        if status in (401, 403):
            raise StudyError(f"{self.url} refuses the key (status {status}): set {self.key_variable} to a valid one.")
        said = " ".join(found.decode("utf-8", "replace").split())
        key = os.environ.get(self.key_variable)
        said = (said.replace(key, "***") if key else said)[:REFUSAL_LETTERS]
        if status in (404, 405, 501):
            raise StudyError(
                f"{self.url} isn't there for {self.model!r} (status {status}: {said}): check the address and the "
                f"model's name, and its head: {ACCEPTED}."
            )
        raise StudyError(
            f"{self.url} refuses question {candidate.question_id}, sample {candidate.sample} (status {status}: {said})."
        )


def read_reward(reply: bytes, route: str) -> float:
    """The reward that a reply holds, NaN where it holds null. Raises _Broken for no JSON, StudyError for another head.

    classify: `probs`, one number; pooling: rows of one number or two, of which the last counts, or one number alone.
    """
    try:
        (data,) = json.loads(reply)["data"]
        found = data["probs" if route == "classify" else "data"]
        is_rows = isinstance(found[0], list)
        last = [float("nan") if number is None else float(number) for number in (found[-1] if is_rows else found)]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise _Broken("a reply that holds no reward") from error
    if len(last) not in ((1, 2) if is_rows and route == "pooling" else (1,)):
        raise StudyError(f"The server returns {len(last)} numbers where a reward was asked for ({route}): {ACCEPTED}.")
    return last[-1]
