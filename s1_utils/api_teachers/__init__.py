"""Teachers behind APIs: a thinking trace and an attempt for every question, within a number of dollars.

Knows what was asked, what came back, when to ask again and what it cost; knows nothing about HTTP, puzzles or grading.
The journal has two records for each request: before it what it can cost at most, after it the trace or the reason why
there is none, and its price. A killed run goes on from there. A request that broke off is counted at its most, so the
dollars counted are never fewer than the provider's, if its own counts are right.
Source: s1 section 2.1 and its data/gemini.py. Deviations: tries are bounded, every failure is kept with its reason, and
a reply that is cut, refused or without thinking is no trace.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from s1_utils import progress, teachers
from s1_utils.api_teachers.replies import FailedTry, Reply, judge_reply, mend_text
from s1_utils.api_teachers.requests import Teacher, mask_key, open_client, read_key, receive_reply
from s1_utils.engines.rounds import LoopThread
from s1_utils.errors import StudyError
from s1_utils.puzzles import read_options
from s1_utils.sources import derive_seed
from s1_utils.store import Journal

MEAN_THINKING_TOKENS, MEAN_ATTEMPT_TOKENS = 4700, 700  # s1K's Gemini traces (table 6), s1's answers (table 11)
TEMPLATE_TOKENS = 256  # what a provider's template may add to a prompt
LONGEST_BACKOFF, LONGEST_DELAY = 60.0, 300.0  # seconds; the second whatever Retry-After asks for
FAILURES = "question_id teacher reason detail request".split()
SUMMARY = "teacher asked traces failures usd mean_thinking_tokens".split()


def count_bytes(text: str) -> int:
    """UTF-8 bytes: no byte-level tokenizer makes more tokens of a text."""
    return len(mend_text(text).encode())


def estimate_usd(
    questions: pd.DataFrame,
    teacher: Teacher,
    *,
    mean_thinking_tokens: float = MEAN_THINKING_TOKENS,
    mean_attempt_tokens: float = MEAN_ATTEMPT_TOKENS,
    count_tokens: Callable[[str], int] = count_bytes,
) -> float:
    """USD that asking all `questions` once is expected to cost, without retries."""
    prompts = sum(count_tokens(teacher.system_prompt + question) for question in questions["question"])
    mean = min(mean_thinking_tokens + mean_attempt_tokens, teacher.max_tokens)
    return teacher.price(prompts, len(questions) * mean)


def count_usd(journal: Journal, teacher: str | None = None) -> float:
    """USD of all requests in `journal`, or of one teacher's; those without a result count at their most."""
    records = [r for r in journal.records.values() if teacher in (None, r["teacher"])]
    lost = [r for r in records if r["state"] == "sent" and _name_record(r) not in journal]
    return sum(r["usd"] for r in records if r["state"] != "sent") + sum(r["usd"] for r in lost)


def choose_delay(failures: int, asked: float | None, *, backoff_s: float, seed: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, ± half by chance, and at least `asked`."""
    delay = min(backoff_s * 2.0 ** min(failures - 1, 30), LONGEST_BACKOFF)
    return min(max(delay * random.Random(seed).uniform(0.5, 1.5), asked or 0.0), LONGEST_DELAY)


def tabulate_traces(journal: Journal, questions: pd.DataFrame, tokenizer: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the `traces` table, failures) of those `questions` that have a result, one row a teacher and question.

    Traces are graded as `teachers.collect_traces` does. Failures: question_id teacher reason detail request (the
    number of its last request); a question that got a trace later is none.
    """
    results = {(r["teacher"], r["question_id"]): r for r in _find_results(journal, ("trace", "failed"))}
    tables, failures = [], []
    for teacher in sorted({teacher for teacher, _ in results}):
        found = [results.get((teacher, question_id), {}) for question_id in questions["question_id"]]
        failures += [result for result in found if result.get("state") == "failed"]
        traces = [result for result in found if result.get("state") == "trace"]
        asked = questions[questions["question_id"].isin([trace["question_id"] for trace in traces])]
        metadata = [_write_metadata(trace, old) for trace, old in zip(traces, asked["metadata"], strict=True)]
        if traces:
            tables.append(teachers.collect_traces(asked.assign(metadata=metadata), tokenizer, seed=0))
    empty = teachers.collect_traces(questions[:0], tokenizer, seed=0)
    return pd.concat(tables, ignore_index=True) if tables else empty, pd.DataFrame(failures, columns=FAILURES)


def summarise_asking(journal: Journal, traces: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """One row a teacher: teacher asked traces failures usd mean_thinking_tokens; `failures` counts the reasons."""
    rows = []
    for teacher in sorted({*traces["teacher"], *failures["teacher"]}):
        own = traces[traces["teacher"] == teacher]
        reasons = Counter(failures["reason"][failures["teacher"] == teacher])
        listed = ", ".join(f"{reason}: {n}" for reason, n in reasons.most_common())
        asked, mean = len(own) + reasons.total(), own["thinking_tokens"].mean()
        rows.append((teacher, asked, len(own), listed, count_usd(journal, teacher), mean))
    return pd.DataFrame(rows, columns=SUMMARY)


def ask_teachers(
    questions: pd.DataFrame,
    teacher: Teacher,
    journal: Journal,
    *,
    max_usd: float,
    seed: int,
    concurrency: int = 16,
    attempts: int = 5,
    timeout_s: float = 3600.0,
    silence_s: float = 600.0,
    backoff_s: float = 2.0,
    retry_failures: bool = False,
    needs_thinking: bool = True,
    count_tokens: Callable[[str], int] = count_bytes,
) -> None:
    """Ask `teacher` each question (columns question_id, question) that has no result in `journal` yet.

    `max_usd` bounds the dollars of the whole journal, all sessions and teachers. `attempts`: requests for a question in
    this call, each at most `timeout_s` seconds long and `silence_s` without a byte; the next `backoff_s` after the
    first failure, then twice as long. `retry_failures`: also ask again what failed. `needs_thinking`: a reply without
    any is no trace. `count_tokens` prices replies whose server reports no usage. Raises StudyError for a wrong key or
    model, and when no request fits the rest of the dollars; the journal keeps what is done.
    """
    key = read_key(teacher)
    closed = ("trace",) if retry_failures else ("trace", "failed")
    done = {r["question_id"] for r in _find_results(journal, closed) if r["teacher"] == teacher.name}
    todo = questions[~questions["question_id"].isin(done)].drop_duplicates("question_id")
    purse = Purse(max_usd, count_usd(journal))
    print(
        f"{teacher.name}: {len(todo)} questions to ask, {len(done)} done; about "
        f"${estimate_usd(todo, teacher, count_tokens=count_tokens):.2f}, and up to "
        f"${teacher.price(0, teacher.max_tokens):.4f} each; ${purse.spent:.2f} of ${max_usd:.2f} spent.",
        flush=True,
    )
    if todo.empty:
        return
    asking = _Asking(
        teacher, key, journal, purse, seed=seed, attempts=attempts, timeout_s=timeout_s, backoff_s=backoff_s,
        needs_thinking=needs_thinking, count_tokens=count_tokens,
    )  # fmt: skip
    rows = list(zip(todo["question_id"], todo["question"], strict=True))
    thread = LoopThread("teachers")
    try:
        thread.run(asking.run(rows, concurrency=concurrency, silence_s=silence_s))
    finally:
        thread.close()


def _find_results(journal: Journal, states: Iterable[str]) -> list[dict[str, Any]]:
    return [record for record in journal.records.values() if record["state"] in states]


def _name_record(record: Mapping[str, Any]) -> str:
    return f"{record['teacher']}/{record['question_id']}/{record['request']}"


def _write_metadata(result: Mapping[str, Any], metadata: str) -> str:
    """The form in which `teachers.collect_traces` takes a trace that a source brought."""
    trace = {name: result[name] for name in ("teacher", "thinking", "attempt")}
    return json.dumps({**trace, "options": read_options(metadata)})


class Purse:
    """The dollars of a journal: what is spent, and what the requests under way may cost. For one event loop."""

    def __init__(self, max_usd: float, spent: float) -> None:
        self.max_usd, self.spent = max_usd, spent
        self.reserved: list[float] = []
        self.changed = asyncio.Condition()

    def fits(self, usd: float) -> bool:
        return self.spent + sum(self.reserved) + usd <= self.max_usd

    async def reserve(self, usd: float) -> bool:
        """Set `usd` aside, once there is room. False if there is none left and nothing under way can make any."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.fits(usd) or not self.reserved)
            has_room = self.fits(usd)
            if has_room:
                self.reserved.append(usd)
            return has_room

    async def settle(self, reserved: float, paid: float) -> None:
        """A request that had `reserved` set aside has cost `paid`."""
        async with self.changed:
            self.reserved.remove(reserved)
            self.spent += paid
            self.changed.notify_all()


@dataclass
class _Asking:
    """One call of `ask_teachers`, on a loop of its own. After an `error` nothing new is sent."""

    teacher: Teacher
    key: str = field(repr=False)
    journal: Journal
    purse: Purse
    seed: int
    attempts: int
    timeout_s: float
    backoff_s: float
    needs_thinking: bool
    count_tokens: Callable[[str], int]
    error: StudyError | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, rows: list[tuple[str, str]], *, concurrency: int, silence_s: float) -> None:
        """Ask all `rows` of (question_id, question). What is under way at a StudyError comes to its end: it's paid."""
        remaining, ticks = iter(rows), progress.track(rows, self.teacher.name)
        next(ticks)

        async def work() -> None:
            for question_id, question in remaining:
                await self._ask(question_id, mend_text(question), client)
                next(ticks, None)
                if self.error:
                    return

        async with open_client(self.teacher, self.key, concurrency=concurrency, silence_s=silence_s) as client:
            tasks = [asyncio.ensure_future(work()) for _ in range(min(concurrency, len(rows)))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if self.error:
            raise self.error

    async def _ask(self, question_id: str, question: str, client: Any) -> None:
        sent = {"teacher": self.teacher.name, "question_id": question_id, "request": 1}
        while _name_record(sent) + "/sent" in self.journal:
            sent["request"] += 1
        prompt = self.teacher.system_prompt + question
        worst = self.teacher.price(count_bytes(prompt) + TEMPLATE_TOKENS, self.teacher.max_tokens)
        for left in reversed(range(self.attempts)):
            if not await self.purse.reserve(worst):
                return self._stop(self._explain_spent(worst))
            if self.error:
                return await self.purse.settle(worst, 0.0)
            self.journal.add(f"{_name_record(sent)}/sent", {**sent, "state": "sent", "usd": worst})
            asked = self.teacher.vary(question_id)
            result, delay = await self._request(asked, question, client, worst, is_last=not left)
            self.journal.add(_name_record(sent), {**sent, **result})
            await self.purse.settle(worst, result["usd"])
            if result["state"] != "again":
                return None
            drawn = choose_delay(
                self.attempts - left, delay, backoff_s=self.backoff_s, seed=derive_seed(self.seed, _name_record(sent))
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), drawn)
            sent["request"] += 1
        return None

    async def _request(
        self, teacher: Teacher, question: str, client: Any, worst: float, *, is_last: bool
    ) -> tuple[dict[str, Any], float | None]:
        """(the result of one request, the seconds that the server wants us to wait)."""
        started = time.monotonic()
        try:
            reply = await receive_reply(question, teacher, client, key=self.key, timeout_s=self.timeout_s)
        except FailedTry as failed:
            state = "again" if failed.passing and not is_last else "failed"
            usd, detail = 0.0 if failed.free else worst, mask_key(failed.detail, self.key)
            return {"state": state, "reason": failed.reason, "detail": detail, "usd": usd}, failed.delay
        except StudyError as error:  # no fault of this question
            self._stop(error)
            return {"state": "again", "reason": "stopped", "detail": str(error), "usd": 0.0}, None
        reason = judge_reply(reply, needs_thinking=self.needs_thinking)
        texts = {"thinking": reply.thinking, "attempt": reply.attempt}  # a cut trace can still be looked at
        state, usd = "failed" if reason else "trace", self._price_reply(question, reply)
        names = ("finish", "served", "input_tokens", "output_tokens", "reasoning_tokens")
        facts = {name: getattr(reply, name) for name in names} | {"seconds": round(time.monotonic() - started, 3)}
        return {"state": state, "reason": reason, "detail": "", **texts, **facts, "usd": usd}, None

    def _price_reply(self, question: str, reply: Reply) -> float:
        if reply.input_tokens is not None and reply.output_tokens is not None:
            return self.teacher.price(reply.input_tokens, reply.output_tokens)
        texts = (self.teacher.system_prompt + question, reply.thinking, reply.attempt)
        prompt, thinking, attempt = map(self.count_tokens, texts)
        return self.teacher.price(prompt + TEMPLATE_TOKENS, thinking + attempt)

    def _stop(self, error: StudyError) -> None:
        self.error = self.error or error
        self.stopped.set()

    def _explain_spent(self, worst: float) -> StudyError:
        done = sum(r["teacher"] == self.teacher.name for r in _find_results(self.journal, ("trace",)))
        return StudyError(
            f"{self.teacher.name}: {done} traces are done, ${self.purse.spent:.4f} of max_usd "
            f"${self.purse.max_usd:.4f} are spent, and the next request can cost ${worst:.4f}: raise max_usd or lower "
            "max_tokens, then run again; what is done is kept."
        )
