"""The trace explorer: from tables of generations and grades to data that a page's script shows.

Knows the columns of the tables and how large a page may get; knows nothing of reports. A question is one pack: gzip,
then base64, unpacked by the reader's browser when it is chosen; so a page of thousands of traces opens at once. Of
more questions than fit, those with the smallest hashes of their ids are kept, whatever became of them.
What it shows is hostile: texts enter the page's script as data and its document as text (explorer.js).
Tests: tests/test_explorer.py, tests/test_page_browser.py.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from s1_utils.browse import embed_json
from s1_utils.errors import StudyError
from s1_utils.explorer_rows import (
    EVENTS,
    LONGEST_LABEL,
    LONGEST_TITLE,
    describe_question,
    get_text,
    list_series,
    shorten,
)
from s1_utils.explorer_texts import Decode
from s1_utils.page_math import PATTERN, Mathematics
from s1_utils.page_shell import write_document
from s1_utils.store import require_columns

NEEDED = "question_id sample setting control budget waits thinking answer thinking_tokens events finish".split()
GRADED = ("extracted", "correct")
MOST_MISFITS = 20  # questions in a row that don't fit, until no more are tried
NOTEBOOK_BYTES, HEIGHT = 1_000_000, 860
ROOM_FOR_NOTE = 2_000  # bytes


@dataclass(frozen=True)
class Explorer:
    """What the script needs, as JSON without markup; `note` says how many questions of how many it shows."""

    data: str
    shown: int
    total: int
    note: str


class Shown:
    """What a notebook displays: the explorer's page in a frame that can reach nothing but itself."""

    def __init__(self, explorer: Explorer, title: str) -> None:
        self.explorer, self.title = explorer, title

    def _repr_html_(self) -> str:
        return write_frame(self.explorer, self.title)

    def __repr__(self) -> str:
        return f"Trace explorer: {self.explorer.note}"


def show(
    tests: pd.DataFrame,
    graded: pd.DataFrame,
    samples: pd.DataFrame | None = None,
    *,
    tokenizer: Any = None,
    limit: int = NOTEBOOK_BYTES,
) -> Shown:
    """The explorer in a notebook, at most `limit` bytes of its output.

    `graded`, `samples`: generations with grades (`curves.join_grades`), one trace a setting, and k of them to vote.
    """
    title = "Trace explorer"
    room = limit - len(write_frame(Explorer("", 0, 0, ""), title).encode())
    decode = make_decode(tokenizer) if tokenizer is not None else None
    return Shown(make_explorer(tests, graded, samples, decode=decode, limit=room), title)


def make_decode(tokenizer: Any) -> Decode:
    """As `generation.Writer.decode`: ids → text."""
    return lambda ids: tokenizer.decode(list(ids))


def make_explorer(
    tests: pd.DataFrame,
    graded: pd.DataFrame,
    samples: pd.DataFrame | None = None,
    *,
    decode: Decode | None = None,
    limit: int,
    total: int | None = None,
) -> Explorer:
    """As many questions as `limit` bytes of data hold, of `total` (None: of those that these tables have).

    Raises StudyError for missing columns and no trace at all.
    """
    require_columns(tests, ["question_id", "question"], "The table of questions")
    require_columns(graded, [*NEEDED, *GRADED], "The table of graded generations")
    if samples is not None:
        require_columns(samples, [*NEEDED, *GRADED], "The table of graded samples")
    graded = take_first(graded)
    series = list_series(graded, samples)
    groups = _group(graded), _group(samples) if samples is not None else {}
    asked = tests[tests["question_id"].isin({*groups[0], *groups[1]})].drop_duplicates("question_id")
    if asked.empty:
        raise StudyError("No trace belongs to any of these questions: give the tests that the generations answer.")
    mathematics = Mathematics()

    def make_entry(test: dict[str, Any]) -> tuple[list[Any], str]:
        rows = [of.get(test["question_id"], []) for of in groups]
        detail, verdicts = describe_question(test, rows[0], rows[1], series, mathematics, decode)
        about = shorten(test["question"], LONGEST_TITLE), shorten(get_text(test.get("domain")) or "", LONGEST_LABEL)
        return [*about, shorten(test["question_id"], LONGEST_LABEL), verdicts], pack_json(detail)

    data = {"series": series, "events": EVENTS, "formula": PATTERN}
    room = limit - measure_json(data) - ROOM_FOR_NOTE
    kept = keep_within(room, order_by_hash(asked), make_entry)
    chosen = [kept[name] for name in asked["question_id"] if name in kept]
    total = max(total or 0, len(asked))
    note = write_note(len(chosen), total, limit)
    data |= {"note": note, "questions": [entry for entry, _ in chosen], "packs": [pack for _, pack in chosen]}
    return Explorer(embed_json(data), len(chosen), total, note)


def keep_within(
    room: int, tests: Sequence[dict[str, Any]], make_entry: Callable[[dict[str, Any]], tuple[list[Any], str]]
) -> dict[str, tuple[list[Any], str]]:
    """question_id → (entry, pack) of the questions that fit into `room` bytes, in their order."""
    kept: dict[str, tuple[list[Any], str]] = {}
    misfits = 0
    for test in tests:
        entry, pack = make_entry(test)
        size = measure_json(entry) + len(pack) + 16
        misfits = misfits + 1 if size > room else 0
        if misfits >= MOST_MISFITS:
            break
        if not misfits:
            room -= size
            kept[test["question_id"]] = entry, pack
    return kept


def order_by_hash(tests: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows in the order in which they get their place in a page: that of a hash of their ids."""
    rows = tests.to_dict("records")
    return sorted(rows, key=lambda row: hashlib.sha256(f"page/{row['question_id']}".encode()).hexdigest())


def take_first(graded: pd.DataFrame) -> pd.DataFrame:
    """One row a question and setting of a model: its first sample."""
    keys = [name for name in ("model", "question_id", "setting") if name in graded]
    return graded.sort_values("sample", kind="stable").drop_duplicates(keys).sort_index(kind="stable")


def measure_json(value: Any) -> int:
    """Bytes of its JSON, escaped as in a frame."""
    return len(html.escape(embed_json(value)).encode("utf-8"))


def write_note(shown: int, total: int, limit: int) -> str:
    if shown == total:
        return f"All {total:,} questions."
    return (
        f"{shown:,} of {total:,} questions: as many as fit into {limit / 1e6:.1f} MB, chosen by a hash of their ids "
        "and not by what became of them."
    )


def pack_json(value: Any) -> str:
    """gzip of JSON as base64, the same value always the same text."""
    return base64.b64encode(gzip.compress(embed_json(value).encode("utf-8"), 9, mtime=0)).decode("ascii")


def write_frame(explorer: Explorer, title: str) -> str:
    """The page in an <iframe>, with words for readers of a notebook that isn't trusted: they see these alone."""
    document = write_document(title, write_section(explorer, level=1))
    how_many = explorer.note.rstrip(".").lower()
    words = (
        f"The trace explorer ({how_many}) is here, and isn't shown because this notebook isn't trusted: choose “Trust "
        "Notebook” in JupyterLab's command palette (Ctrl+Shift+C), run this cell again, or open the report that “make "
        "report” writes."
    )
    return (
        f'<iframe title="{html.escape(title)}" sandbox="allow-scripts" width="100%" height="{HEIGHT}" frameborder="0" '
        f'srcdoc="{html.escape(document)}">{html.escape(words)}</iframe>'
    )


def write_section(explorer: Explorer, *, level: int) -> str:
    """The explorer's part of a page, with a heading of that level; the script fills it."""
    return (
        f'<section id="explorer" aria-labelledby="explorer-title" data-level="{level}">'
        f'<h{level} id="explorer-title">Trace explorer</h{level}><p>{html.escape(explorer.note)}</p>'
        "<noscript><p><strong>The trace explorer needs JavaScript</strong>, and loads nothing from anywhere. "
        "All else on this page shows without it.</p></noscript>"
        '<div id="explorer-app"></div></section>'
        f'<script type="application/json" id="explorer-data">{explorer.data}</script>'
    )


def _group(table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """question_id → its rows."""
    wanted = [*NEEDED, *GRADED, "model", "vote", "undecided", "thinking_ids", "wait_text"]
    columns = [name for name in wanted if name in table.columns]
    groups: dict[str, list[dict[str, Any]]] = {}
    for values in table[columns].itertuples(index=False, name=None):
        row = dict(zip(columns, values, strict=True))
        groups.setdefault(row["question_id"], []).append(row)
    return groups
