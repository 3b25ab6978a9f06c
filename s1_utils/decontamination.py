"""Which training questions go, and why: the overlaps table, its report, and the price of the original's flaws.

Knows questions, splits and sources; leaves finding overlap to `dedup` and `near_duplicates`. Source: s1 section 2.1,
its collection script (growing reference, AIME appended unchecked) and the reports of its users.
"""

from __future__ import annotations

import html
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from s1_utils.dedup import POLICIES, Index, Match, Policy, build_index, find_duplicates, find_overlaps
from s1_utils.near_duplicates import find_near_duplicates

SPANS = ["train_start", "train_end", "eval_start", "eval_end"]
COMMON = ["common_train", "common_eval"]
COLUMNS = ["question_id", "against_set", "against_id", "method", "words", *SPANS, "shared", "similarity", *COMMON]


def find_policy(name: str, *, ngram: int, run_letters: int, boilerplate: int) -> Policy:
    """The policy of that name (a key of `dedup.POLICIES`) with these thresholds; s1 knows no boilerplate."""
    policy = replace(POLICIES[name], n=ngram, letters=run_letters)
    return replace(policy, common=boilerplate) if policy.normalised else policy


def decontaminate(questions: pd.DataFrame, *, policy: Policy, near_duplicate: float = 1.0) -> pd.DataFrame:
    """The `overlaps` table: one row a match, with evidence, and whether it removes its question.

    `questions`: question_id, question, split. Training and development questions are compared with the test split,
    training questions with the development split, and (if `policy.normalised`) those that stay with one another:
    exact repeats, and near-duplicates of Jaccard similarity ≥ `near_duplicate` if that is below 1. Columns:
    question_id; against_set (test, dev, train) and against_id; method (words, letters, short, repeat, near-duplicate);
    words, the text shared; its span in both texts, in characters; shared, its number of words; similarity, the item's
    coverage or the Jaccard similarity; common_train and common_eval, in texts; removed, false for boilerplate.
    """
    texts = {
        split: dict(zip(rows["question_id"], rows["question"], strict=True))
        for split, rows in questions.groupby("split")
    }
    train, test, dev = (texts.get(split, {}) for split in ("train", "test", "dev"))
    matches = find_overlaps(train | dev, {"test": test}, policy) + find_overlaps(train, {"dev": dev}, policy)
    rows = [_write_row(match) for match in matches]
    if policy.normalised:
        overlapping = {match.train_id for match in matches if not match.boilerplate}
        stay = {i: text for i, text in train.items() if i not in overlapping}
        repeats = find_duplicates(stay)
        rows += [_write_repeat(i, kept, "repeat", 1.0) for i, kept in repeats.items()]
        if near_duplicate < 1:
            left = {i: text for i, text in stay.items() if i not in repeats}
            near = find_near_duplicates(left, threshold=near_duplicate)
            rows += [_write_repeat(i, kept, "near-duplicate", likeness) for i, (kept, likeness) in near.items()]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "removed"])
    kinds = dict.fromkeys(COLUMNS[:5], "string") | dict.fromkeys([*SPANS, "shared", *COMMON], "Int64")
    return table.astype(kinds | {"similarity": "float64", "removed": "bool"})


def _write_row(match: Match) -> dict[str, Any]:
    return {
        "question_id": match.train_id,
        "against_set": match.eval_set,
        "against_id": match.eval_id,
        "method": match.rule,
        "words": match.text,
        **{name: getattr(match, name) for name in (*SPANS, *COMMON)},
        "shared": match.words,
        "similarity": match.coverage,
        "removed": not match.boilerplate,
    }


def _write_repeat(question_id: str, kept: str, method: str, similarity: float) -> dict[str, Any]:
    row = {"question_id": question_id, "against_set": "train", "against_id": kept, "method": method}
    return row | {"similarity": similarity, "removed": True}


# ------------------------------------------------------------------ the report


def count_funnel(questions: pd.DataFrame, overlaps: pd.DataFrame) -> pd.DataFrame:
    """Per source and domain: training and development questions collected, found by each method, removed, left.

    A question found by two methods is in both columns, and once in `removed`; `boilerplate` counts those that share
    nothing else, and stay.
    """
    rows = questions[questions["split"] != "test"]
    removed = set(overlaps.loc[overlaps["removed"], "question_id"])
    table = rows.groupby(["source", "domain"]).agg(collected=("question_id", "size"))
    for method in ("words", "letters", "short", "repeat", "near-duplicate"):
        table[method] = _count(
            rows, set(overlaps.loc[overlaps["removed"] & (overlaps["method"] == method), "question_id"])
        )
    table["boilerplate"] = _count(rows, set(overlaps["question_id"]) - removed)
    table["removed"] = _count(rows, removed)
    table["left"] = table["collected"] - table["removed"]
    return table


def _count(questions: pd.DataFrame, ids: set[str]) -> pd.Series:
    return questions["question_id"].isin(ids).groupby([questions["source"], questions["domain"]]).sum()


def list_boilerplate(overlaps: pd.DataFrame, k: int = 10) -> pd.DataFrame:
    """The k runs of words that are most often shared and ignored: questions that hold each, items that hold it."""
    ignored = overlaps[~overlaps["removed"]]
    counts = ignored.assign(words=ignored["words"].str.lower()).groupby("words")
    table = counts.agg(questions=("question_id", "nunique"), items=("against_id", "nunique"))
    return table.sort_values(["questions", "items"], ascending=False, kind="stable").head(k)


def count_invisible(references: Mapping[str, Mapping[str, str]], policies: Mapping[str, Policy]) -> pd.DataFrame:
    """Per evaluation set: its items, and how many of them no training text can ever be found to hold, by policy."""
    table = pd.DataFrame({"items": {name: len(items) for name, items in references.items()}})
    for label, policy in policies.items():
        index = build_index(references, policy)
        hidden = pd.Series([name for name, _ in index.find_invisible("any" if policy.normalised else "words")])
        table[f"invisible to {label}"] = hidden.value_counts().reindex(table.index, fill_value=0).astype(int)
    return table


def show_removals(overlaps: pd.DataFrame, questions: pd.DataFrame, k: int = 20, seed: int = 0) -> Any:
    """k sampled removals for a notebook: question and item side by side, the shared words marked. Escaped."""
    from IPython.display import HTML

    texts = dict(zip(questions["question_id"], questions["question"], strict=True))
    found = overlaps[overlaps["removed"]].sort_values("similarity", ascending=False).drop_duplicates("question_id")
    rows = found.sort_values("question_id").sample(min(k, len(found)), random_state=seed)
    cells = "".join(
        f"<tr><td>{html.escape(row.method)}, {row.similarity:.0%} of {html.escape(row.against_set)}</td>"
        f"<td>{_mark(texts[row.question_id], row.train_start, row.train_end)}</td>"
        f"<td>{_mark(texts[row.against_id], row.eval_start, row.eval_end)}</td></tr>"
        for row in rows.itertuples()
    )
    head = "<tr><th>found by</th><th>removed</th><th>because of</th></tr>"
    return HTML(f'<table style="text-align:left"><thead>{head}</thead><tbody>{cells}</tbody></table>')


def _mark(text: str, start: Any, end: Any, context: int = 120) -> str:
    """The text around a span as HTML, the span marked; the beginning where there is no span."""
    if pd.isna(start):
        return html.escape(text[: 3 * context])
    before, after = text[max(0, start - context) : start], text[end : end + context]
    return (
        ("… " if start > context else "")
        + f"{html.escape(before)}<mark>{html.escape(text[start:end][: 5 * context])}</mark>{html.escape(after)}"
        + (" …" if end + context < len(text) else "")
    )


def measure_rate(texts: Mapping[str, str], references: Mapping[str, Mapping[str, str]], policy: Policy) -> float:
    """Training texts scanned per second of one core, on this machine, now."""
    index = build_index(references, policy)
    started = time.process_time()
    for _ in index.scan(texts):
        pass
    return len(texts) / max(time.process_time() - started, 1e-9)


# ------------------------------------------------------------------ the original's way


def replay_s1(
    sources: Mapping[str, Mapping[str, str]],
    references: Mapping[str, Mapping[str, str]],
    *,
    n: int = 8,
    growing: bool = True,
    unchecked: Collection[str] = (),
) -> pd.DataFrame:
    """What the original's collection script removes, given its sources in order: question_id, source, against_set, ….

    Rule: any one shared n-gram of words. `growing`: what a source contributes joins the reference for the sources
    after it, so that their order matters. `unchecked` sources are appended last, after all checks, as AIME was. At
    the end repeats (the very same string) go, the first stays: against_set is then its source.
    """
    index = Index(Policy(n=n, normalised=False, common=0))
    for name, items in references.items():
        index.add(f"evaluation/{name}", items)
    rows, first = [], {}
    for source in sorted(sources, key=lambda name: name in unchecked):
        matches = [] if source in unchecked else list(index.scan(sources[source]))
        removed = {match.train_id: match for match in reversed(matches)}
        rows += [(i, source, m.eval_set.removeprefix("evaluation/"), m.eval_id, m.text) for i, m in removed.items()]
        kept = {i: text for i, text in sources[source].items() if i not in removed}
        if growing:
            index.add(source, kept)
        for i, text in kept.items():
            known = first.setdefault(text, (source, i))
            if known != (source, i):
                rows.append((i, source, *known, text))
    columns = ["question_id", "source", "against_set", "against_id", "words"]
    return pd.DataFrame(rows, columns=columns, dtype="string")


def price_flaws(questions: pd.DataFrame, *, n: int = 8) -> pd.DataFrame:
    """How many training questions each variant of the original's check removes, against the audited policy.

    `missed`: overlap with the test split by the audited policy and stay; `needless`: removed, and do not overlap.
    Sources are the pairs source/domain of `questions`, in the order of the table.
    """
    train, test = questions[questions["split"] == "train"], questions[questions["split"] == "test"]
    names = train["source"] + "/" + train["domain"]
    sources = {
        name: dict(zip(rows["question_id"], rows["question"], strict=True))
        for name, rows in train.groupby(names, sort=False)
    }
    references = {"test": dict(zip(test["question_id"], test["question"], strict=True))}
    largest = max(sources, key=lambda name: len(sources[name]))
    variants = {
        "switched off (as released)": replay_s1(sources, references, n=n, growing=False, unchecked=list(sources)),
        "the paper's rule": replay_s1(sources, references, n=n, growing=False),
        "growing reference (the script)": replay_s1(sources, references, n=n),
        "the same, sources reversed": replay_s1(dict(reversed(sources.items())), references, n=n),
        f"{largest} appended unchecked": replay_s1(sources, references, n=n, unchecked=[largest]),
    }
    texts = dict(zip(train["question_id"], train["question"], strict=True))
    audited = {m.train_id for m in find_overlaps(texts, references, POLICIES["audited"]) if not m.boilerplate}
    removed = {name: set(table["question_id"]) for name, table in variants.items()} | {"audited": audited}
    rows = [(name, len(ids), len(audited - ids), len(ids - audited)) for name, ids in removed.items()]
    return pd.DataFrame(rows, columns=["check", "removed", "missed", "needless"])
