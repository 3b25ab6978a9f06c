"""An engine that replays scripts instead of running a model: what tests use.

Knows the same rules for ending a decode as every engine; knows no tokenizer and no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Ran
from s1_utils.engines import Row, check_decode

NextToken = Callable[[Ids], int]
NextAllowed = Callable[[Ids, frozenset[int]], int]


def take_smallest(ids: Ids, banned: frozenset[int]) -> int:
    return next(i for i in range(len(banned) + 1) if i not in banned)


class ScriptedEngine:
    """Continues `prompt + trace` by `next_token(all ids so far)`, by `next_allowed` where that id is banned."""

    def __init__(self, next_token: NextToken, next_allowed: NextAllowed = take_smallest) -> None:
        self.next_token = next_token
        self.next_allowed = next_allowed

    def run(self, rows: Sequence[Row]) -> list[Any]:
        return [self._run_row(row) for row in rows]

    def _run_row(self, row: Row) -> Any:
        trace: Ids = ()
        sent = None
        while True:
            try:
                segment = row.policy.send(sent)
            except StopIteration as stop:
                return stop.value
            match segment:
                case Force(ids):
                    sent = Ran(ids)
                    trace += ids
                case Decode(max_tokens, stops, banned):
                    sent = self._decode(row.prompt_ids + trace, max_tokens, stops, banned)
                    trace += sent.ids
                case Answer(at, forced, max_tokens, stops):
                    sent = self._decode(row.prompt_ids + trace[:at] + forced, max_tokens, stops, frozenset())

    def _decode(self, prefix: Ids, max_tokens: int, stops: Sequence[Ids], banned: frozenset[int]) -> Ran:
        ids: Ids = ()
        while True:
            token = self.next_token(prefix + ids)
            if not ids and token in banned:
                token = self.next_allowed(prefix, banned)
            ids += (token,)
            if over := check_decode(ids, max_tokens, stops):
                return Ran(ids[: over[0]], over[1])
