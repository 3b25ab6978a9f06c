"""Chat models behind APIs, asked every question k times, as rows like generations.

Knows what a reply's end means and when a run is complete; the requests, their journal, tries and dollars are
`api_teachers`', which models there are is `baselines`'. Grades nothing. A refusal and a reply that was cut are results
with a `finish` and a `reason`, to be counted as wrong; so is a retired model, of which nothing can be counted. A server
in trouble, and one that doesn't know the model, are none, so that they can't lower an accuracy.
Source: s1 section 4.1 and table 1 (its authors asked Gemini by hand in a web page, after recitation errors).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import api_teachers, collection, solver_models
from s1_utils.api_teachers.replies import CUT, WHOLE
from s1_utils.api_teachers.requests import MissingModel, Teacher
from s1_utils.budget_forcing import Setting
from s1_utils.errors import StudyError
from s1_utils.generation import name_setting
from s1_utils.sources import derive_seed
from s1_utils.store import Journal, require_columns

TROUBLE = (*solver_models.UNREACHED, "reply broke off", "not JSON in UTF-8", "server reported an error")
FINISHES = dict.fromkeys(WHOLE, "stop") | dict.fromkeys(CUT, "length")  # what each API calls them → one word
RETIRED = "retired"  # the finish of a model that its provider no longer has
_SAYS_RETIRED = re.compile(
    r"deprecated|retired|discontinued|no longer (?:available|supported)|shut ?down|status 410", re.I
)
COLUMNS = {
    "model": "str", "question_id": "str", "sample": "int64", "setting": "str", "control": "str", "budget": "int64",
    "waits": "int64", "wait_text": "str", "seed": "Int64", "thinking": "string", "answer": "string",
    "thinking_tokens": "Int64", "answer_tokens": "Int64", "input_tokens": "Int64", "output_tokens": "Int64",
    "events": "str", "finish": "string", "tries": "int64", "seconds": "Float64", "usd": "float64", "reason": "string",
    "served": "string",
}  # fmt: skip


@dataclass(frozen=True)
class ChatModel(Teacher):
    """A model behind an API, as a baseline: it may have a system prompt, words after the question, and seeds.

    `retired`: since when its provider no longer has it, "" if it has.
    """

    system_prompt: str = ""
    instruction: str = ""
    retired: str = ""
    run_seed: int | None = None  # None: no seed is sent

    def vary(self, question_id: str) -> ChatModel:
        """As it is asked one sample of one question, by its `question_id` here: with that sample's seed."""
        if self.run_seed is None:
            return self
        return replace(self, extra_body={**self.extra_body, "seed": derive_seed(self.run_seed, question_id)})


def ask_chat_model(
    model: ChatModel,
    tests: pd.DataFrame,
    folder: Path,
    *,
    samples: int = 1,
    max_usd: float = 0.0,
    seed: int = 0,
    **asking: Any,
) -> pd.DataFrame:
    """One row a question and sample, in that order, columns `COLUMNS`; nothing is asked twice that has a result.

    `finish`: stop, length (cut, by our limit or the API's own), retired, what else the API ended it by (recitation,
    safety, content_filter, refusal, …), null if nothing came. `reason` is empty for a whole answer; else why there is
    none, or only a part, with what the server said. A retired model, as the server or the profile says, is asked for
    once a run. Tokens, and the model that was `served`, are what the API reports. `asking`: concurrency, attempts,
    timeout_s, silence_s, backoff_s of `api_teachers`. Raises StudyError for a wrong key, a server in trouble, one that
    doesn't know the model or refuses every request, and when `max_usd` is spent; run again, and it goes on.
    """
    pool = _list_askings(model, tests, samples)
    options = {"max_usd": max_usd, "seed": seed, "retry_failures": True, "needs_thinking": False, **asking}
    gone: dict[str, Any] = {}
    asked_as = replace(model, **collection.FREE, retired="")
    with collection.open_journal(folder, model.name, asked_as) as journal:
        left = pool[~pool["question_id"].isin(_find_final(journal))]
        try:
            if len(left):
                api_teachers.ask_teachers(left, model, journal, **options)
        except MissingModel as missing:
            gone = _describe_retired(model, journal, missing)
        results = _find_final(journal)
        lost = [name for name in pool["question_id"] if name not in results]
        if lost and not gone:
            raise StudyError(_explain_lost(model, journal, lost, len(pool)))
        if results and all(result["reason"].startswith("status 4") for result in results.values()):
            raise StudyError(_explain_refused(model, journal, results))
    rows = [
        {**_describe_reply(model, name, results.get(name, gone)), "question_id": of, "sample": sample}
        for name, of, sample in zip(pool["question_id"], pool["of"], pool["sample"], strict=True)
    ]
    return complete_rows(rows, model.name, model.max_tokens)


def _list_askings(model: ChatModel, tests: pd.DataFrame, samples: int) -> pd.DataFrame:
    """One row a request: of (its question), sample, question (as asked), question_id (the request's own)."""
    require_columns(tests, ["question_id", "question"], "The table of questions")
    asked = tests.drop_duplicates("question_id")
    rows = [
        (row.question_id, s, row.question + model.instruction, f"{row.question_id}#{s}")
        for row in asked.itertuples()
        for s in range(samples)
    ]
    return pd.DataFrame(rows, columns=["of", "sample", "question", "question_id"])


def _describe_retired(model: ChatModel, journal: Journal, missing: MissingModel) -> dict[str, Any]:
    """The result of every question, if the model is retired; else raises StudyError: a wrong name is no result."""
    if not model.key_variable or _find_final(journal):  # one's own server, or a provider's passing trouble
        raise missing
    if not model.retired and not _SAYS_RETIRED.search(missing.said):
        raise StudyError(
            f"{missing} If its provider has retired it, write since when into the profile (retired), and that is the "
            "result."
        ) from missing
    return {"reason": "model retired", "detail": missing.said, "finish": RETIRED, "usd": 0.0}


def _find_final(journal: Journal) -> dict[str, Mapping[str, Any]]:
    """question_id#sample → its latest result, of those that are one."""
    ended = [record for record in journal.records.values() if record["state"] in ("trace", "failed")]
    return {r["question_id"]: r for r in ended if not r["reason"].startswith(TROUBLE)}


def _explain_lost(model: ChatModel, journal: Journal, lost: Sequence[str], total: int) -> str:
    failed = [r for r in journal.records.values() if r["state"] == "failed" and r["question_id"] in set(lost)]
    why = "; ".join(f"{reason}: {n}" for reason, n in Counter(record["reason"] for record in failed).most_common(3))
    return (
        f"{model.name}: {len(lost)} of {total} replies didn't come ({why}; {failed[-1]['detail']}): see that "
        f"{model.base_url} is well, lower concurrency if it limits rates, and run again; what is done is kept."
    )


def _explain_refused(model: ChatModel, journal: Journal, results: Mapping[str, Mapping[str, Any]]) -> str:
    result = next(iter(results.values()))
    return (
        f"{model.name}: its server refuses every question ({result['reason']}: {result['detail']}): mend that in the "
        f"profile or at the server, delete {journal.path} and run again."
    )


def _describe_reply(model: ChatModel, name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    output, thought = result.get("output_tokens"), result.get("reasoning_tokens")
    is_split = output is not None and thought is not None
    reason = ": ".join(filter(None, (result["reason"], result["detail"])))
    return {
        "seed": model.vary(name).extra_body.get("seed"),
        "thinking": result.get("thinking") or None,
        "answer": result.get("attempt") or None,
        "thinking_tokens": thought,
        "answer_tokens": max(0, output - thought) if is_split else None,
        "input_tokens": result.get("input_tokens"),
        "output_tokens": output,
        "finish": FINISHES.get(result.get("finish"), result.get("finish")) or None,
        "tries": result.get("request", 0),
        "seconds": result.get("seconds"),
        "usd": result["usd"],
        "reason": reason,
        "served": result.get("served") or None,
    }


def complete_rows(rows: Sequence[Mapping[str, Any]], name: str, max_tokens: int) -> pd.DataFrame:
    """Rows of one free turn each as the common table, columns `COLUMNS`, with what is the same in all of them."""
    setting = Setting("free", max_tokens, 0)
    same = {
        "model": name, "setting": name_setting(setting), "control": setting.control, "budget": setting.budget,
        "waits": 0, "wait_text": "", "events": "[]",
    }  # fmt: skip
    return pd.DataFrame([{**same, **row} for row in rows], columns=list(COLUMNS)).astype(COLUMNS)


def summarise_replies(generations: pd.DataFrame) -> pd.DataFrame:
    """One row a model: asked, whole (answers), reasons (and how often), served (what the server says answered, where it
    says so), usd, mean_output_tokens, mean_seconds.
    """
    rows = []
    for model, own in generations.groupby("model", sort=False):
        short = own["reason"].str.partition(": ")[0]
        reasons = Counter(short[short != ""])
        listed = ", ".join(f"{reason}: {n}" for reason, n in reasons.most_common())
        means = own["output_tokens"].mean(), own["seconds"].mean()
        served = ", ".join(sorted(own["served"].dropna().unique()))
        rows.append((model, len(own), len(own) - reasons.total(), listed, served, own["usd"].sum(), *means))
    names = "model asked whole reasons served usd mean_output_tokens mean_seconds".split()
    return pd.DataFrame(rows, columns=names)
