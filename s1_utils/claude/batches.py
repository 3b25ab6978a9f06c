"""Message batches of Claude's API, sent so that no crash and no lost reply pays for an ask twice.

Knows posting, finding, awaiting and reading batches, each step decided from the journal and so repeatable; knows
nothing about which asks to send. A batch carries nothing of ours but custom_ids, which hold a nonce of the post and
show only in the results of an ended batch. The rule for an intent without a batch: of the batches created since the day
before it, with as many requests, and not in the journal, an ended one is ours if its results hold our custom_ids; one
that still runs is waited for; when there is none, and none has turned up for `settle_seconds`, the intent is abandoned
and its asks are sent again.
What stays in doubt: a batch that the API accepted but lists only later than that, or that somebody deleted, or that a
key of another workspace sent, or a clock that is more than a day ahead. Its asks are paid twice; max_usd counts it.
Source: `anthropic` 2.12 (resources/messages/batches.py). Used through `s1_utils.claude`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from s1_utils.claude.calls import (
    HOW_TO_GO_ON,
    Session,
    call_patiently,
    explain_status,
    find_backoff,
    find_delay,
    may_pass,
    read_json,
    wait,
)
from s1_utils.claude.journal import Post, has_outcome, make_custom_id, read_ledger, record_outcome, write_record
from s1_utils.claude.messages import (
    Ask,
    Batch,
    ClaudeSettings,
    Outcome,
    bound_usd,
    build_request,
    read_batch,
    read_result,
)
from s1_utils.errors import StudyError
from s1_utils.store import Journal

MOST_BYTES = 200_000_000  # of one batch; the API takes 256 MB
LONGEST_LINE = 2**26  # bytes of one result
POSTS = 5  # that fail in a row before we give up
READINGS = 3  # of results that lack some of the batch's requests
PEEK = 100  # results that are looked at to tell whose batch it is
SKEW = timedelta(days=1)  # between our clock and the API's


@dataclass
class Run:
    """One process at work on one journal. `failed`: posts in a row; `is_full`: no more go in until a batch ends."""

    session: Session
    journal: Journal
    failed: int = 0
    is_full: bool = False
    looked: dict[str, float] = field(default_factory=dict)  # nonce → when it was first looked for
    peeked: dict[str, set[str]] = field(default_factory=dict)  # batch → the custom_ids it begins with
    processing: dict[str, int] = field(default_factory=dict)  # nonce → requests not done, as the API last said

    def write(self, kind: str, name: str, payload: dict[str, Any]) -> None:
        write_record(self.journal, self.session.settings, kind=kind, name=name, payload=payload)


# ------------------------------------------------------------------ posting


def split_batches(
    asks: Mapping[Ask, int], settings: ClaudeSettings, *, most_bytes: int = MOST_BYTES
) -> Iterator[dict[Ask, int]]:
    """Parts of `asks`, in order, of at most batch_size requests and `most_bytes` bytes."""
    part: dict[Ask, int] = {}
    size = 0
    for ask, attempt in asks.items():
        length = len(json.dumps(build_request(ask.user, settings))) + 100
        if part and (len(part) == settings.batch_size or size + length > most_bytes):
            yield part
            part, size = {}, 0
        part[ask] = attempt
        size += length
    if part:
        yield part


def post_batch(asks: Mapping[Ask, int], run: Run) -> bool:
    """Post one batch of asks, each with the number of its attempt, once; whether the API took and named it.

    Raises StudyError where the API refuses it for good, and after POSTS failures in a row.
    """
    import anthropic
    import httpx2

    settings = run.session.settings
    nonce = secrets.token_hex(8)
    named = {make_custom_id(ask, settings, attempt=n, nonce=nonce): ask for ask, n in asks.items()}
    requests = [{"custom_id": name, "params": build_request(ask.user, settings)} for name, ask in named.items()]
    usd = sum(bound_usd(ask, replace(settings, mode="batch")) for ask in asks)
    run.write("intent", nonce, {"asks": {name: ask.id for name, ask in named.items()}, "time": time.time(), "usd": usd})
    try:
        response = run.session.client.messages.batches.with_raw_response.create(requests=requests)
        batch = read_batch(read_json(response))
    except (anthropic.APIError, httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        failure = error
    else:
        run.write("sent", nonce, {"batch": batch.id, "how": "posted"})
        run.failed = 0
        return True
    _judge_failure(run, nonce, failure)
    return False


def _judge_failure(run: Run, nonce: str, failure: Exception) -> None:
    """Journal what is certain after a failed post: only what the API refused, or never got, needn't be looked for."""
    import anthropic
    import httpx2

    refusal = failure if isinstance(failure, anthropic.APIStatusError) else None
    cause = failure.__cause__ or failure
    reason = f"status {refusal.status_code}" if refusal else type(cause).__name__
    if refusal and (refusal.status_code == 429 or not may_pass(refusal.status_code)):
        _abandon(run, nonce, f"refused with {reason}", in_doubt=False)
        if refusal.status_code != 429:
            raise explain_status(refusal, what="a batch")
        run.is_full = any(post.batch for post in read_ledger(run.journal, run.session.settings).posts)
        if run.is_full:  # of our own batches: no failure, and one will end
            return
    elif isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        _abandon(run, nonce, f"the API couldn't be reached: {reason}", in_doubt=False)
    run.failed += 1
    if run.failed == POSTS:
        raise StudyError(f"Posting a batch to Claude's API failed {POSTS} times in a row ({reason}). {HOW_TO_GO_ON}")
    print(f"Claude: a batch wasn't taken, or its reply was lost ({reason}).", flush=True)
    wait(run.session, max(find_backoff(run.session, run.failed), find_delay(refusal) if refusal else 0.0))


def _abandon(run: Run, nonce: str, reason: str, *, in_doubt: bool) -> None:
    run.write("abandoned", nonce, {"reason": reason, "in_doubt": in_doubt})


# ------------------------------------------------------------------ finding


def find_batch(post: Post, run: Run) -> None:
    """Look for the batch of an intent and journal what is certain: it is found, or lost (the module says when)."""
    known = {record["batch"] for name, record in run.journal.records.items() if "/sent/" in name}
    runs_on = False
    for batch in _list_batches(run, since=datetime.fromtimestamp(post.time, UTC) - SKEW):
        if batch.id in known or batch.requests != len(post.asks):
            continue
        if not batch.has_ended:
            runs_on = True
        elif batch.results_url and _peek(run, batch) & post.asks.keys():
            run.write("sent", post.nonce, {"batch": batch.id, "how": "found"})
            run.failed = 0
            return
    first = run.looked.setdefault(post.nonce, time.monotonic())
    if not runs_on and time.monotonic() - first >= run.session.settings.settle_seconds:
        _abandon(run, post.nonce, "no such batch turned up", in_doubt=True)
        print(f"Claude: {len(post.asks)} requests that may have been posted weren't found: sent again.", flush=True)


def _list_batches(run: Run, *, since: datetime) -> list[Batch]:
    """The workspace's batches created after `since`, newest first."""
    batches: dict[str, Batch] = {}
    cursor: dict[str, str] = {}
    while True:
        page = call_patiently(run.session, lambda cursor=cursor: _list_page(run, cursor), what="the list of batches")
        fresh = {batch.id: batch for batch in page if batch.created >= since and batch.id not in batches}
        batches |= fresh
        if not fresh or page[-1].created < since:
            return list(batches.values())
        cursor = {"after_id": page[-1].id}
        wait(run.session, 0)


def _list_page(run: Run, cursor: dict[str, str]) -> list[Batch]:
    page = read_json(run.session.client.messages.batches.with_raw_response.list(limit=100, **cursor))
    return [read_batch(fields) for fields in page["data"]]


def _peek(run: Run, batch: Batch) -> set[str]:
    if batch.id not in run.peeked:
        what = f"the results of batch {batch.id}"
        run.peeked[batch.id] = call_patiently(run.session, lambda: _read_names(run, batch), what=what)
    return run.peeked[batch.id]


def _read_names(run: Run, batch: Batch) -> set[str]:
    names = {_find_custom_id(line) for line in islice(_read_lines(run, batch), PEEK)} - {""}
    if not names:
        raise ValueError("no results")  # cut off: not a sign that the batch is somebody else's
    return names


# ------------------------------------------------------------------ awaiting and reading


def settle_posts(run: Run) -> bool:
    """Look once at every open post, and read the results of those that ended; whether any is over now."""
    posts = read_ledger(run.journal, run.session.settings).posts
    for post in posts:
        if not post.batch:
            find_batch(post, run)
            continue
        batch = call_patiently(run.session, lambda post=post: _retrieve(run, post), what=f"batch {post.batch}")
        run.processing[post.nonce] = batch.processing
        if batch.has_ended:
            _read_results(post, run, batch)
    return len(read_ledger(run.journal, run.session.settings).posts) < len(posts)


def _retrieve(run: Run, post: Post) -> Batch:
    return read_batch(read_json(run.session.client.messages.batches.with_raw_response.retrieve(post.batch)))


def _read_results(post: Post, run: Run, batch: Batch) -> None:
    """Journal every result of an ended batch, then that it ended.

    Raises StudyError where the results can't be read any more. A request without a result is never sent again, as it
    may have been paid for: its outcome says so.
    """
    if not batch.results_url:
        raise StudyError(
            f"Batch {post.batch} has ended, but the API doesn't keep its results any longer (29 days). Delete the line "
            f"of intent/{post.nonce} from {run.journal.path} to send (and pay for) its {len(post.asks)} requests again."
        )
    settings, strangers, missing = run.session.settings, 0, list(post.asks)
    for _ in range(READINGS):
        what = f"the results of batch {post.batch}"
        strangers = call_patiently(run.session, lambda: _read_once(post, run, batch), what=what)
        missing = [name for name in post.asks if not has_outcome(run.journal, settings, custom_id=name)]
        if not missing:
            break
        wait(run.session, settings.backoff_seconds)
    lost = Outcome(None, "", "errored: no result in the batch", 0.0, False, {})
    for name in missing:
        record_outcome(run.journal, settings, custom_id=name, outcome=lost)
    run.write("ended", post.nonce, {"strangers": strangers, "missing": len(missing)})
    if strangers or missing:
        print(f"Claude: batch {post.batch} had {strangers} unknown results and lacked {len(missing)}.", flush=True)


def _read_once(post: Post, run: Run, batch: Batch) -> int:
    """Journal the results that a reading gives; the number of unknown or damaged ones."""
    settings, strangers = run.session.settings, 0
    for line in _read_lines(run, batch):
        custom_id = _find_custom_id(line)
        if custom_id not in post.asks:
            strangers += 1
        elif not has_outcome(run.journal, settings, custom_id=custom_id):
            outcome = read_result(line.get("result"), settings)
            record_outcome(run.journal, settings, custom_id=custom_id, outcome=outcome)
    return strangers


def _find_custom_id(line: Any) -> str:
    return str(line.get("custom_id", "")) if isinstance(line, dict) else ""


def _read_lines(run: Run, batch: Batch) -> Iterator[Any]:
    """The results of an ended batch as they come; None for a damaged line. Raises ValueError for an endless one."""
    _check_host(run, batch)
    with run.session.client.messages.batches.with_streaming_response.results(batch.id) as response:
        rest = b""
        for part in response.iter_bytes():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise ValueError("an endless line")
            wait(run.session, 0)
            yield from map(_parse_line, filter(None, lines))
        if rest:
            yield _parse_line(rest)


def _check_host(run: Run, batch: Batch) -> None:
    """Raise StudyError where results_url, which the SDK follows with our key, leads to another server."""
    import httpx2

    theirs, ours = httpx2.URL(batch.results_url), run.session.client.base_url
    if not theirs.is_relative_url and theirs.host != ours.host:
        raise StudyError(
            f"The results of batch {batch.id} lie at {theirs.host}, not {ours.host}; the key isn't sent there. "
            "Set base_url to the server that keeps the results."
        )


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
