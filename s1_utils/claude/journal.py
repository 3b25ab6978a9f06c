"""What a journal says of asks to Claude: intents, batches, results, and dollars paid or at risk.

Knows the records (all under a hash of the settings that matter) and how they fold; knows nothing about the network.
`intent/<nonce>` is written before a batch is posted, `sent/<nonce>` after the API named it, `abandoned/<nonce>` when it
was refused or is lost, `result/<custom_id>` for each attempt's outcome, `ended/<nonce>` when all results were read.
Used through `s1_utils.claude`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s1_utils.claude.messages import Ask, ClaudeSettings, Outcome, Reply, hash_ask
from s1_utils.store import Journal

KINDS = ("intent", "sent", "abandoned", "result", "ended")


@dataclass(frozen=True)
class Post:
    """A batch that was posted, or may have been. `asks`: custom_id → id of the ask. `batch`: "" where unknown.

    `time`: of the intent, in seconds since 1970. `usd`: the most that it can cost.
    """

    nonce: str
    asks: dict[str, str]
    time: float
    usd: float
    batch: str


@dataclass(frozen=True)
class Ledger:
    """What the journal says: open posts, the outcomes of each ask in order (by `hash_ask`), and usd paid or at risk."""

    posts: list[Post]
    outcomes: dict[str, list[dict[str, Any]]]
    committed: float


def read_ledger(journal: Journal, settings: ClaudeSettings) -> Ledger:
    """All records of these settings, folded. A batch costs its worst until it ended, and for ever if it was lost."""
    prefix = settings.key + "/"
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for record_id, payload in journal.records.items():
        if record_id.startswith(prefix):
            _, kind, name = record_id.split("/", 2)
            kinds[kind][name] = payload
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for custom_id, outcome in kinds["result"].items():
        outcomes.setdefault(custom_id.split("-")[0], []).append(outcome)
    sent = {nonce: record["batch"] for nonce, record in kinds["sent"].items()}
    refused = {nonce for nonce, record in kinds["abandoned"].items() if not record["in_doubt"]}
    over = {*kinds["abandoned"], *kinds["ended"]}
    posts = [Post(nonce, batch=sent.get(nonce, ""), **intent) for nonce, intent in kinds["intent"].items()]
    at_risk = sum(post.usd for post in posts if post.nonce not in refused | kinds["ended"].keys())
    paid = sum(outcome["usd"] for outcome in kinds["result"].values())
    return Ledger([post for post in posts if post.nonce not in over], outcomes, paid + at_risk)


def write_record(journal: Journal, settings: ClaudeSettings, *, kind: str, name: str, payload: dict[str, Any]) -> None:
    """Append a record of one of KINDS; the first of a name stays."""
    journal.add(f"{settings.key}/{kind}/{name}", payload)


def record_outcome(journal: Journal, settings: ClaudeSettings, *, custom_id: str, outcome: Outcome) -> None:
    """Append the outcome of one attempt; the first of a custom_id stays."""
    write_record(journal, settings, kind="result", name=custom_id, payload=asdict(outcome))


def has_outcome(journal: Journal, settings: ClaudeSettings, *, custom_id: str) -> bool:
    """Whether the journal holds the outcome of this attempt."""
    return f"{settings.key}/result/{custom_id}" in journal


def make_custom_id(ask: Ask, settings: ClaudeSettings, *, attempt: int, nonce: str) -> str:
    """<24 hex of the ask>-<attempt>-<nonce>: unique to one attempt; at most 64 of the characters that the API takes."""
    return f"{hash_ask(ask, settings)}-{attempt}-{nonce}"


def find_unanswered(asks: Sequence[Ask], ledger: Ledger, settings: ClaudeSettings) -> dict[Ask, int]:
    """The asks to send, with the number of the attempt: not in an open post, no final outcome, attempts left."""
    under_way = {custom_id.split("-")[0] for post in ledger.posts for custom_id in post.asks}
    found = {}
    for ask in asks:
        name = hash_ask(ask, settings)
        outcomes = ledger.outcomes.get(name, [])
        may_send = not outcomes or (outcomes[-1]["again"] and len(outcomes) < settings.attempts)
        if may_send and name not in under_way:
            found[ask] = len(outcomes) + 1
    return found


def make_replies(asks: Sequence[Ask], ledger: Ledger, settings: ClaudeSettings) -> dict[str, Reply]:
    """The reply to each ask, by its id. One that could have been sent again, but wasn't, is over budget."""
    left = find_unanswered(asks, ledger, settings)
    replies = {}
    for ask in asks:
        outcomes = ledger.outcomes.get(hash_ask(ask, settings), [])
        usd = sum(outcome["usd"] for outcome in outcomes)
        if ask in left:
            replies[ask.id] = Reply(None, "", "over budget", usd)
        else:
            replies[ask.id] = Reply(outcomes[-1]["data"], outcomes[-1]["text"], outcomes[-1]["failure"], usd)
    return replies
