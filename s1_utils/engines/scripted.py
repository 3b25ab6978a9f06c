"""An engine that replays scripts instead of running a model: what tests use.

Knows the same rules for ending a decode as every engine; knows no tokenizer and no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Ran, Restart
from s1_utils.engines import Row, check_decode, find_banned

NextToken = Callable[[Ids], int]
NextAllowed = Callable[[Ids, frozenset[int]], int]
Rank = Callable[[Ids, Ids], int]


def take_smallest(ids: Ids, banned: frozenset[int]) -> int:
    return next(i for i in range(len(banned) + 1) if i not in banned)


class ScriptedEngine:
    """Continues `prompt + trace` by `next_token(all ids so far)`, by `next_allowed` where that id is banned.

    `rank(all ids so far, watched ids)` is how many ids are more likely than the watched; without it the next id is
    the only likely one.
    """

    def __init__(
        self, next_token: NextToken, next_allowed: NextAllowed = take_smallest, rank: Rank | None = None
    ) -> None:
        self.next_token = next_token
        self.next_allowed = next_allowed
        self.rank = rank or (lambda ids, watch: 0 if next_token(ids) in watch else 1)

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
                case Decode():
                    sent = self._decode(row.prompt_ids + trace, segment)
                    trace += sent.ids
                case Answer(at, forced, max_tokens, stops):
                    sent = self._decode(row.prompt_ids + trace[:at] + forced, Decode(max_tokens, stops))
                case Restart():
                    trace, sent = (), Ran(())

    def _decode(self, prefix: Ids, segment: Decode) -> Ran:
        ids: Ids = ()
        ranks: Ids = ()
        while True:
            banned = find_banned(ids, segment.stops, segment.min_tokens)
            if segment.watch:
                ranks += (segment.top if banned else min(segment.top, self.rank(prefix + ids, segment.watch)),)
            token = self.next_token(prefix + ids)
            if token in banned:
                token = self.next_allowed(prefix + ids, frozenset(banned))
            ids += (token,)
            if over := check_decode(ids, segment.max_tokens, segment.stops):
                return Ran(ids[: over[0]], over[1], ranks[: over[0]])
