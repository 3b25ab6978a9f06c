"""Engines drive policies over a model; each engine is one file with the same `run(rows)`.

Knows what a row is and how a decode ends; knows nothing about why a token is forced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from s1_utils.budget_forcing import Ids, Policy


@dataclass(frozen=True)
class Row:
    """One generation to run: `seed` fixes its samples whatever the batch; temperature 0 is greedy."""

    prompt_ids: Ids
    policy: Policy
    seed: int = 0
    temperature: float = 0.0


class Engine(Protocol):
    """Anything that can run the segments of policies."""

    def run(self, rows: Sequence[Row]) -> list[Any]:
        """The return value of each row's policy, in order."""
        ...


def check_window(window: int | None, prefix: int, max_tokens: int) -> None:
    """Raises ValueError if `max_tokens` more than `prefix` ids don't fit the window; None: it has no end."""
    if window is not None and prefix + max_tokens > window:
        raise ValueError(
            f"{prefix} ids and {max_tokens} more don't fit the model's window of {window}: lower the budget, or raise "
            "the window if the model allows it."
        )


def match_stop(ids: Sequence[int], stops: Sequence[Ids]) -> Ids:
    """The longest of `stops` that `ids` ends with, or ()."""
    return max((stop for stop in stops if tuple(ids[-len(stop) :]) == stop), key=len, default=())


def count_pending(ids: Sequence[int], stops: Sequence[Ids]) -> int:
    """How many trailing `ids` may still turn out to be the beginning of a stop."""
    longest = 0
    for stop in stops:
        for n in range(min(len(stop) - 1, len(ids)), longest, -1):
            if tuple(ids[-n:]) == stop[:n]:
                longest = n
                break
    return longest


def find_banned(ids: Sequence[int], stops: Sequence[Ids], min_tokens: int) -> list[int]:
    """The ids that may not follow `ids`: they would complete a stop that leaves fewer than `min_tokens`."""
    if min_tokens <= 0 or len(ids) >= min_tokens + max(map(len, stops), default=0) - 1:
        return []
    last = dict.fromkeys(stop[-1] for stop in stops)
    matches = {i: match_stop([*ids[-len(max(stops, key=len)) :], i], stops) for i in last}
    return [i for i, stop in matches.items() if stop and len(ids) + 1 - len(stop) < min_tokens]


def check_decode(ids: Sequence[int], max_tokens: int, stops: Sequence[Ids]) -> tuple[int, Ids] | None:
    """Whether a decode that produced `ids` is over: (ids to keep, stop dropped), or None to go on.

    The first stop to be complete ends it, whatever `max_tokens`: a marker that begins within `max_tokens` counts as
    natural even if it is completed beyond, one that begins beyond is a cut.
    """
    stop = match_stop(ids, stops)
    if stop:
        kept = len(ids) - len(stop)
        return (kept, stop) if kept < max_tokens else (max_tokens, ())
    if len(ids) - count_pending(ids, stops) >= max_tokens:
        return max_tokens, ()
    return None
