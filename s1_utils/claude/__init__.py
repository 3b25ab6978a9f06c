"""Ask Claude many things in batches, or a few directly: every ask has one reply, and no crash pays for it twice.

Knows the order of things (settle what was posted, hold what is left against the budget, send it, wait); knows nothing
about what is asked. All state is in the journal: however the process ends, running the same again goes on, and batches
go on at the server meanwhile (`batches` says how a batch is found whose name was lost, and what stays in doubt).
In the direct mode a request under way when the process dies, or whose reply is lost, is sent and paid again.
Source: s1 grades and labels with Claude one request at a time, retried for ever (curate, grade.py); deviations: batches
at half the price, structured answers instead of last lines, bounded attempts, and a budget.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from s1_utils.claude.batches import Run, post_batch, settle_posts, split_batches
from s1_utils.claude.calls import (
    HOW_TO_GO_ON,
    CallError,
    Session,
    call_patiently,
    may_pass,
    open_client,
    read_json,
    wait,
)
from s1_utils.claude.journal import (
    Ledger,
    find_unanswered,
    make_custom_id,
    make_replies,
    read_ledger,
    record_outcome,
)
from s1_utils.claude.messages import (
    Ask,
    ClaudeSettings,
    Outcome,
    Reply,
    build_request,
    estimate_usd,
    fail_with,
    read_message,
)
from s1_utils.errors import StudyError
from s1_utils.progress import SECONDS_BETWEEN_LINES, track
from s1_utils.store import Journal

__all__ = ["Ask", "ClaudeSettings", "Reply", "ask_claude", "estimate_usd"]

ROUNDING = 1e-9  # usd


def ask_claude(
    asks: Sequence[Ask], journal: Journal, *, settings: ClaudeSettings, max_hours: float = 25.0
) -> dict[str, Reply]:
    """The reply to every ask, by its id; those in the journal aren't asked again.

    Raises StudyError when ids repeat, when ANTHROPIC_API_KEY is missing or refused, before the budget would be
    exceeded, when the API fails too often in a row, and after `max_hours`; what was answered is kept then.
    """
    repeated = [name for name, count in Counter(ask.id for ask in asks).items() if count > 1]
    if repeated:
        raise StudyError(f"Two asks have the id {repeated[0]!r} ({len(repeated)} such ids): make ids unique.")
    ledger = read_ledger(journal, settings)
    if ledger.posts or find_unanswered(asks, ledger, settings):
        with open_client(settings) as client:
            run = Run(Session(client, settings, time.monotonic() + max_hours * 3600), journal)
            try:
                _work(asks, run)
            except KeyboardInterrupt:
                print(f"Claude: stopped; batches go on at the server. {HOW_TO_GO_ON}", flush=True)
                raise
    replies = make_replies(asks, read_ledger(journal, settings), settings)
    _print_summary(replies)
    return replies


def _work(asks: Sequence[Ask], run: Run) -> None:
    settings, spoken = run.session.settings, -SECONDS_BETWEEN_LINES
    while True:
        if settle_posts(run):
            run.is_full = False
        ledger = read_ledger(run.journal, settings)
        todo = _admit(find_unanswered(asks, ledger, settings), ledger, settings)
        if todo and not run.is_full:
            usd = estimate_usd(list(todo), settings=settings)
            print(f"Claude: sending {len(todo)} asks to {settings.model}, for ${usd:.4f} at most.", flush=True)
            _send(todo, run)
            ledger = read_ledger(run.journal, settings)
        if ledger.posts:
            if time.monotonic() - spoken >= SECONDS_BETWEEN_LINES:
                spoken = time.monotonic()
                print(_describe(ledger, run), flush=True)
            wait(run.session, settings.poll_seconds)
        elif not todo:
            return


def _admit(found: Mapping[Ask, int], ledger: Ledger, settings: ClaudeSettings) -> dict[Ask, int]:
    """The asks that the budget has room for. Raises StudyError if one of them was never sent and doesn't fit."""
    room = settings.max_usd - ledger.committed + ROUNDING
    fresh = {ask: attempt for ask, attempt in found.items() if attempt == 1}
    usd = estimate_usd(list(fresh), settings=settings)
    if fresh and usd > room:
        raise StudyError(
            f"Asking {settings.model} {len(fresh)} times costs ${usd:.4f} at most; ${ledger.committed:.4f} of max_usd "
            f"${settings.max_usd:.4f} is paid or at risk already. Raise max_usd, lower max_tokens, or ask less."
        )
    room -= usd
    admitted = dict(fresh)
    for ask, attempt in found.items():
        usd = estimate_usd([ask], settings=settings)
        if attempt > 1 and usd <= room:
            admitted[ask] = attempt
            room -= usd
    return admitted


def _send(asks: Mapping[Ask, int], run: Run) -> None:
    if run.session.settings.mode == "direct":
        _ask_directly(asks, run)
        return
    for part in split_batches(asks, run.session.settings):
        if not post_batch(part, run):
            return


def _ask_directly(asks: Mapping[Ask, int], run: Run) -> None:
    """One attempt at each ask, `concurrency` at a time, each journalled as it comes."""
    settings = run.session.settings
    futures: dict[Future[Outcome], str] = {}

    def record(future: Future[Outcome]) -> None:
        record_outcome(run.journal, settings, custom_id=futures[future], outcome=future.result())

    with ThreadPoolExecutor(settings.concurrency) as pool:
        for ask, attempt in asks.items():
            name = make_custom_id(ask, settings, attempt=attempt, nonce=secrets.token_hex(8))
            futures[pool.submit(_ask_once, ask, run.session)] = name
        try:
            for _, future in zip(track(range(len(futures)), "Claude"), as_completed(futures), strict=False):
                record(future)
                wait(run.session, 0)
        except BaseException:
            under_way = [future for future in futures if not future.cancel()]
            for future in as_completed(under_way):  # these are paid for, so their answers are kept
                if future.exception() is None:
                    record(future)
            raise


def _ask_once(ask: Ask, session: Session) -> Outcome:
    settings, messages = session.settings, session.client.messages.with_raw_response
    request = build_request(ask.user, settings)
    try:
        message = call_patiently(
            session, lambda: read_json(messages.create(**request)), what="an ask", tries=settings.attempts
        )
    except CallError as error:
        if error.status in (400, 413) or (error.status and may_pass(error.status)):  # it is this ask's, not everybody's
            return fail_with(error.kind)
        raise
    return read_message(message, settings)


def _describe(ledger: Ledger, run: Run) -> str:
    # the API counts a request as processing until its whole batch has ended
    waiting = sum(run.processing.get(post.nonce, len(post.asks)) for post in ledger.posts)
    return f"Claude: {len(ledger.outcomes)} asks have an outcome; {len(ledger.posts)} batches with {waiting} run."


def _print_summary(replies: Mapping[str, Reply]) -> None:
    failures = Counter(reply.failure.split(":")[0] for reply in replies.values() if reply.failure)
    said = ", ".join(f"{count} {reason}" for reason, count in failures.most_common())
    usd = sum(reply.usd for reply in replies.values())
    print(f"Claude: {len(replies) - failures.total()} of {len(replies)} answered, ${usd:.4f} paid. {said}".rstrip())
