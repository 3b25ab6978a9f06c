"""Policies driven over a model behind requests: every row is a task of its own, every segment a few requests.

Knows how a segment becomes requests on token ids; knows nothing about who answers them. A continuation is a request
whose prompt is all ids so far: a prefix cache makes that cost only the new ids. Nothing is ever encoded or decoded.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Ran, Restart
from s1_utils.engines import Row, check_decode, check_window, find_banned
from s1_utils.errors import StudyError


@dataclass(frozen=True)
class Request:
    """Up to `max_tokens` ids after `prompt_ids`; only an id of `stops`, returned as well, ends it sooner.

    No id of `banned` is sampled. `is_strict`: one was, in an earlier request like this. `top`: how many likely ids are
    wanted beside each. `is_eager`: every id is wanted at once, as the request may be given up at any of them.
    `is_branch`: the next request of this `row` goes on from another place. `seed` is new for every request.
    """

    prompt_ids: Ids
    max_tokens: int
    stops: Ids = ()
    banned: Ids = ()
    is_strict: bool = False
    top: int = 0
    is_eager: bool = True
    is_branch: bool = False
    temperature: float = 0.0
    seed: int = 0
    row: int = 0


@dataclass(frozen=True)
class Sampled:
    """One id, and the log-probabilities of the likely ones at its position, before anything was banned."""

    token: int
    likely: Mapping[int, float] = field(default_factory=dict)


Sample = Callable[[Request], AsyncGenerator[Sampled, None]]
Release = Callable[[int], Awaitable[None]]


async def run_rows(
    rows: Sequence[Row],
    sample: Sample,
    *,
    window: int | None,
    concurrency: int,
    release: Release | None = None,
) -> list[Any]:
    """The return value of each row's policy, in order; at most `concurrency` rows at a time, no other barrier.

    `release` is awaited with the number of each row that ends, however it ends. The first row to fail cancels all
    others. Raises ValueError if a row needs more than `window` ids.
    """
    gate = asyncio.Semaphore(concurrency)

    async def run(number: int, row: Row) -> Any:
        async with gate:
            try:
                return await _Runner(row, number, sample, window).run()
            finally:
                if release:
                    await release(number)

    tasks = [asyncio.ensure_future(run(*numbered)) for numbered in enumerate(rows)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Runner:
    """One row on its way through its policy."""

    def __init__(self, row: Row, number: int, sample: Sample, window: int | None) -> None:
        self.row = row
        self.number = number
        self.sample = sample
        self.window = window
        self.draws = itertools.count()

    async def run(self) -> Any:
        trace: Ids = ()
        sent = None
        while True:
            try:
                segment = self.row.policy.send(sent)
            except StopIteration as stop:
                return stop.value
            match segment:
                case Force(ids):
                    sent = Ran(ids)
                    trace += ids
                case Decode():
                    sent = await self._decode(self.row.prompt_ids + trace, segment)
                    trace += sent.ids
                case Answer(at, forced, max_tokens, stops):
                    prefix = self.row.prompt_ids + trace[:at] + forced
                    sent = await self._decode(prefix, Decode(max_tokens, stops), is_branch=True)
                case Restart():
                    trace, sent = (), Ran(())

    async def _decode(self, prefix: Ids, segment: Decode, *, is_branch: bool = False) -> Ran:
        check_window(self.window, len(prefix), segment.max_tokens)
        ids: list[int] = []
        ranks: list[int] = []
        over = None if segment.max_tokens > 0 else (0, ())
        is_strict = False
        while over is None:
            request = replace(self._make_request(prefix, ids, segment, is_strict), is_branch=is_branch)
            if request.max_tokens <= 0:  # the window ends within what may still become a stop
                over = (min(len(ids), segment.max_tokens), ())
                break
            start = len(ids)
            over, is_retracted = await self._take(request, segment, ids, ranks)
            is_deaf = is_retracted and len(ids) == start  # the request had forbidden that very id
            if is_deaf and is_strict:
                raise StudyError("The model's server samples ids that were forbidden: it must honour logit_bias.")
            is_strict = is_deaf
        return Ran(tuple(ids[: over[0]]), over[1], tuple(ranks[: over[0]]))

    async def _take(
        self, request: Request, segment: Decode, ids: list[int], ranks: list[int]
    ) -> tuple[tuple[int, Ids] | None, bool]:
        """Add what the request brings. (How the decode ends if it does, whether an id came that may not be here)."""
        start = len(ids)
        async with aclosing(self.sample(request)) as stream:
            async for sampled in stream:
                banned = find_banned(ids, segment.stops, segment.min_tokens)
                if sampled.token in banned:
                    return None, True
                ids.append(sampled.token)
                if segment.watch:
                    ranks.append(segment.top if banned else rank_watched(sampled.likely, segment))
                if over := check_decode(ids, segment.max_tokens, segment.stops):
                    return over, False
        _check_length(request, len(ids) - start)
        return None, False

    def _make_request(self, prefix: Ids, ids: Sequence[int], segment: Decode, is_strict: bool) -> Request:
        single = tuple(dict.fromkeys(stop[0] for stop in segment.stops if len(stop) == 1))
        longest = max(map(len, segment.stops), default=1)
        most = segment.max_tokens + longest - 1 - len(ids)  # a stop that begins in time may be completed later
        banned = tuple(find_banned(ids, segment.stops, segment.min_tokens))
        early = segment.min_tokens - len(ids)
        if banned:  # the single ids are banned until `early` is up, others only here
            most = min(most, early if set(banned) == set(single) and early > 0 and not is_strict else 1)
        if self.window is not None:
            most = min(most, self.window - len(prefix) - len(ids))
        return Request(
            prefix + tuple(ids),
            most,
            stops=() if banned else single,
            banned=banned,
            is_strict=is_strict,
            top=segment.top if segment.watch else 0,
            is_eager=any(not set(stop) & set(single) for stop in segment.stops),
            temperature=self.row.temperature,
            seed=derive_draw(self.row.seed, next(self.draws)),
            row=self.number,
        )


def rank_watched(likely: Mapping[int, float], segment: Decode) -> int:
    """How many ids are more likely than the best watched one; `top` if it isn't among the likely ones."""
    best = max((likely[i] for i in segment.watch if i in likely), default=None)
    return segment.top if best is None else min(segment.top, sum(p > best for p in likely.values()))


def derive_draw(seed: int, draw: int) -> int:
    """The seed of a row's request number `draw`: restarts, answers and repeats are draws of their own."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{draw}".encode(), digest_size=8).digest()) >> 1


def _check_length(request: Request, got: int) -> None:
    if got < request.max_tokens:
        raise StudyError(
            f"The model's server ended a reply by itself after {got} of {request.max_tokens} tokens: it must honour "
            "ignore_eos, and its context must be as long as it says."
        )


class LoopThread:
    """An event loop in a thread of its own, so that engines work where a loop already runs, as in a notebook."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What `coroutine` returns; an interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        if self.loop.is_closed():
            return
        self.run(self._finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _finish(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
