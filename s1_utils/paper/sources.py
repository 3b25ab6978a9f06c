"""The sixteen sources of the paper's pool of 59,029 questions, and the published sets, as the common row.

Knows how a source's rows are taken, counted, sampled and freed of repeats; knows nothing about where it is published
(`table`), its columns (`rows`), files and hubs (`hub_files`), decontamination, models or teachers. Every
question is of split "train": the paper evaluates on other sets. A source that fails is reported, the others are read.
Source: s1 section 2.1, table 6, collect_data.py. Deviations: samples are drawn by a seed of each question, so the
order of a source's rows changes nothing; the original's hard-coded list of further NuminaMATH questions isn't to be
had, so only aops_forum and simplescaling/numinamath_500 are kept; counts are before decontamination.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.errors import StudyError
from s1_utils.paper.hub_files import Snapshot, find_files
from s1_utils.paper.hub_rows import BadRow, Row, read_rows
from s1_utils.paper.rows import Context, Question, write_metadata
from s1_utils.paper.table import SOURCES, Source
from s1_utils.progress import track
from s1_utils.sources import complete_rows, derive_seed

LONGEST_TEXT = 10_000_000  # characters of one text of a row
LOOK_AHEAD = 100  # rows in which every column that a source needs must turn up


@dataclass(frozen=True)
class Collected:
    """`questions`: common rows; `sources`: what became of each source's rows; `receipts`: source → hub id → files."""

    questions: pd.DataFrame
    sources: pd.DataFrame
    receipts: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """The common rows of one source (without question_id), and what became of all it published."""

    rows: list[dict[str, Any]]
    read: int
    duplicates: int
    skipped: Counter[str]
    receipts: dict[str, Any]


# ------------------------------------------------------------------ rows


def rename_columns(row: Row, source: Source) -> tuple[Row, Row]:
    """The row under our names of its columns, and its leftover columns. What isn't there is missing in the first."""
    ours, used = {}, set()
    for name, published in (*source.columns.items(), *source.optional.items()):
        found = next((each for each in published if each in row), None)
        if found is not None:
            ours[name] = row[found]
            used.add(found)
    return ours, {name: value for name, value in row.items() if name not in used and name not in source.drop}


def read_question(row: Row, source: Source, context: Context) -> tuple[Question, str] | BadRow:
    """The question that a published row holds, with its metadata as JSON, or the reason to skip it."""
    ours, leftover = rename_columns(row, source)
    lacking = [name for name in source.columns if name not in ours]
    if lacking:
        return BadRow(f"lacks the column {source.columns[lacking[0]][0]}")
    if not isinstance(ours["question"], str):
        return BadRow("its question isn't text")
    if not ours["question"].strip():
        return BadRow("its question is empty")
    if any(isinstance(value, str) and len(value) > LONGEST_TEXT for value in ours.values()):
        return BadRow("more than 10 MB of text")
    question = source.read(ours, context)
    if isinstance(question, BadRow):
        return question
    try:
        metadata = write_metadata(leftover, question)
        "".join([question.question, question.solution or "", question.gold.answer or "", metadata]).encode("utf-8")
    except UnicodeEncodeError:
        return BadRow("isn't UTF-8")
    except (ValueError, RecursionError):
        return BadRow("its metadata can't be written as JSON")
    return question, metadata


def draw_spread(questions: Sequence[Question], count: int, *, seed: int, name: str) -> set[str]:
    """The texts of `count` questions, as evenly from each group as there are, by a seed of each question's own text."""
    order = sorted((derive_seed(seed, "draw", name, each.question), each.question, each.group) for each in questions)
    turns: Counter[str] = Counter()
    ranked = []
    for draw, text, group in order:
        ranked.append((turns[group], draw, text))
        turns[group] += 1
    return {text for _, _, text in sorted(ranked)[:count]}


def _write_row(question: Question, metadata: str, source: Source) -> dict[str, Any]:
    return {
        "question": question.question,
        "solution": question.solution,
        "answer": question.gold.answer,
        "answer_type": question.gold.answer_type,
        "source": question.source or source.name,
        "domain": question.domain or question.source or source.name,
        "cot_type": question.cot_type or source.cot_type,
        "licence": source.licence,
        "metadata": metadata,
        "split": "train",
    }


# ------------------------------------------------------------------ one source


def _require_columns(source: Source, head: Sequence[Row | BadRow]) -> None:
    """Raise StudyError if a column that the source needs is in none of the first rows."""
    there = dict.fromkeys(name for row in head if isinstance(row, dict) for name in row)
    for published in source.columns.values():
        if there and not any(name in there for name in published):
            raise StudyError(
                f"{source.name} ({source.hub_id}) has no column {' or '.join(published)}; it has "
                f"{', '.join(map(str, itertools.islice(there, 40)))}. If it was renamed, pin the older revision in "
                "revisions, or add the new name to its Source in paper/table.py."
            )


def _read_parts(source: Source, snapshot: Snapshot) -> Iterator[tuple[str, Row | BadRow]]:
    """(config, row) for every row; raises StudyError for a part that is empty or lacks a column."""
    for part, paths in zip(source.parts, snapshot.paths, strict=False):
        config = part.configs[0] if part.configs else ""
        rows = itertools.chain.from_iterable(read_rows(path, drop=source.drop) for path in paths)
        head = list(itertools.islice(rows, LOOK_AHEAD))
        if not head:
            raise StudyError(f"{source.name} ({source.hub_id}): {paths[0].name} has no rows: download it again.")
        _require_columns(source, head)
        for row in itertools.chain(head, rows):
            yield config, row


def _find_source(source: Source, mirror: Path | None, revisions: Mapping[str, str]) -> dict[str, Snapshot]:
    """hub id → files: of the source, and last of the list that it keeps or leaves out."""
    parts = {source.hub_id: [*source.parts]}
    if source.lists:
        parts.setdefault(source.lists[0], []).append(source.lists[1])
    return {name: find_files(name, parts[name], mirror=mirror, revision=revisions.get(name)) for name in parts}


def _read_listed(source: Source, snapshots: Mapping[str, Snapshot]) -> frozenset[str]:
    """The stripped question texts of the set that a source keeps or leaves out."""
    if source.lists is None:
        return frozenset()
    names = source.columns["question"]
    rows = [row for path in snapshots[source.lists[0]].paths[-1] for row in read_rows(path) if isinstance(row, dict)]
    texts = [row[name] for row in rows for name in names if isinstance(row.get(name), str)]
    listed = frozenset(text.strip() for text in texts if text.strip())
    if not listed:
        raise StudyError(
            f"{source.name}: its list {source.lists[0]} has no text in a column {' or '.join(names)}; it has "
            f"{', '.join(map(str, rows[0])) if rows else 'no rows'}. Without it the source isn't the paper's."
        )
    return listed


def read_source(
    source: Source, *, mirror: Path | None, revisions: Mapping[str, str], seed: int, aime_until: int
) -> Found:
    """All of one source that the paper takes, exact repeats dropped. Raises StudyError if it can't be had."""
    snapshots = _find_source(source, mirror, revisions)
    listed = _read_listed(source, snapshots)
    kept: dict[str, tuple[Question, str]] = {}
    skipped: Counter[str] = Counter()
    read = duplicates = 0
    for config, row in _read_parts(source, snapshots[source.hub_id]):
        read += 1
        context = Context(source.name, config, seed, aime_until, listed)
        found = row if isinstance(row, BadRow) else read_question(row, source, context)
        if isinstance(found, BadRow):
            skipped[found.reason] += 1
        elif found[0].question in kept:
            duplicates += 1
        else:
            kept[found[0].question] = found
    if not kept:
        raise StudyError(f"{source.name} ({source.hub_id}): none of its {read} rows could be kept ({dict(skipped)}).")
    if source.draws is not None:
        drawn = draw_spread([q for q, _ in kept.values()], source.draws, seed=seed, name=source.name)
        skipped["not drawn"] = len(kept) - len(drawn)
        kept = {text: each for text, each in kept.items() if text in drawn}
    rows = [_write_row(question, metadata, source) for question, metadata in kept.values()]
    return Found(rows, read, duplicates, +skipped, {name: each.receipt for name, each in snapshots.items()})


# ------------------------------------------------------------------ all sources


def collect_paper_sources(
    names: Sequence[str],
    *,
    mirror: Path | None = None,
    revisions: Mapping[str, str] | None = None,
    seed: int,
    aime_until: int = 2021,
) -> Collected:
    """The questions of the named sources (of `table.SOURCES`), in the order of the paper's table.

    `mirror`: a folder <owner>/<name>/… in the hub's layout; None asks the hub. `revisions`: hub id → commit, tag or
    branch, or the "sha256:…" of a receipt. Of an exact repeat across sources the first is kept. A source that fails
    has its error in `sources`; in each other row, rows_read = kept + duplicates + all that `skipped` (JSON) counts.
    Raises StudyError only for unknown names.
    """
    chosen = [source for source in SOURCES if source.name in names]
    unknown = sorted({*names} - {source.name for source in SOURCES})
    if unknown or not chosen:
        there = ", ".join(source.name for source in SOURCES)
        raise StudyError(f"No source {', '.join(unknown) or 'is named'}: name some of {there}.")
    rows: list[dict[str, Any]] = []
    table, receipts, seen = [], {}, set()
    for source in track(chosen, "sources"):
        try:
            found = read_source(source, mirror=mirror, revisions=revisions or {}, seed=seed, aime_until=aime_until)
        except StudyError as error:
            table.append(_tally(source, None, [], str(error)))
            continue
        fresh = [row for row in found.rows if row["question"] not in seen]
        seen.update(row["question"] for row in fresh)
        rows += fresh
        receipts[source.name] = found.receipts
        table.append(_tally(source, found, fresh, None))
    kinds = dict.fromkeys("rows_read kept duplicates null_solutions expected difference".split(), "Int64")
    kinds |= dict.fromkeys("source skipped licence revision error".split(), "string")
    return Collected(complete_rows(rows), pd.DataFrame(table).astype(kinds), receipts)


def _tally(source: Source, found: Found | None, fresh: list[dict[str, Any]], error: str | None) -> dict[str, Any]:
    skipped = dict(found.skipped.most_common()) if found else {}
    if found and len(fresh) < len(found.rows):
        skipped["the same in an earlier source"] = len(found.rows) - len(fresh)
    return {
        "source": source.name,
        "rows_read": found.read if found else None,
        "kept": len(fresh),
        "duplicates": found.duplicates if found else None,
        "skipped": json.dumps(skipped),
        "null_solutions": sum(row["solution"] is None for row in fresh),
        "expected": source.expected,
        "difference": len(fresh) - source.expected,
        "licence": source.licence,
        "revision": found.receipts[source.hub_id]["revision"] if found else None,
        "error": error,
    }


def require_complete(sources: pd.DataFrame) -> None:
    """Raise StudyError naming every source of a `sources` table that failed, with its reason."""
    failed = sources[sources["error"].notna()]
    if len(failed):
        reasons = "\n".join(f"- {name}: {error}" for name, error in zip(failed["source"], failed["error"], strict=True))
        raise StudyError(f"{len(failed)} of {len(sources)} sources failed; mend them or take them out:\n{reasons}")
