"""One HTML file to browse the questions that were selected and those that weren't, with the reasons.

Knows columns and the template beside it (browse.html); knows nothing about how a question is judged or drawn. What it
shows is hostile (downloaded, or written by a model): it enters the file as JSON without <, > and &, and the page as
text alone; a content security policy allows the file's own script and style and nothing else. Opens from disk.
Tests: tests/test_browse.py.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.errors import StudyError
from s1_utils.store import require_columns, write_atomically

STATUSES = ("selected", "not drawn", "rejected")
COLUMNS = ("question_id", "question", "source", "domain", "thinking_tokens", "status", "reason")
OPTIONAL = ("thinking", "attempt", "solution", "correct")
LONGEST_TEXT, SHORTEST_TEXT = 20_000, 100  # characters of a text that are kept: as many as the page's size allows
LARGEST_PAGE = 30_000_000  # bytes
UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def write_page(path: Path, rows: pd.DataFrame, *, title: str, limit: int = 5000) -> int:
    """Write the page of `rows` (one a question: COLUMNS, and OPTIONAL where there are any); how many it shows.

    Of more than `limit` rows it shows the selected first, then a sample that doesn't depend on their order. Raises
    StudyError for missing columns, an unknown status, repeated ids, and rows that don't fit into LARGEST_PAGE.
    """
    _check_rows(rows, limit)
    chosen = choose_rows(rows, limit)
    template = Path(__file__).with_name("browse.html").read_text("utf-8")
    head, _, tail = template.partition("{{data}}")
    head = head.replace("{{policy}}", _make_policy(template)).replace("{{title}}", html.escape(title))
    page = (head + _fit_data(rows, chosen) + tail).encode("utf-8")
    with write_atomically(path) as temporary:
        temporary.write_bytes(page)
    return len(chosen)


def list_questions(
    rows: pd.DataFrame, candidates: pd.DataFrame, features: pd.DataFrame, subset: pd.DataFrame
) -> pd.DataFrame:
    """What `write_page` takes, of the tables of notebook 2: every training question, with why it is where it is.

    In the order in which they were selected, then those not drawn, then those rejected. `rows`: questions with trace
    and verdict; `subset`: the rows of one subset.
    """
    table = rows.merge(candidates[["question_id", "thinking_tokens", "dropped"]], on="question_id")
    ids, picked = table["question_id"], subset.set_index("question_id")
    chosen = ids.map("step " + (picked["step"] + 1).astype(str) + ": " + picked["reason"]).astype("string")
    rejected = table["dropped"].astype("string").fillna(ids.map(_name_solvers(features)).astype("string"))
    left = ids.isin(features["question_id"]).map({True: "in the pool, not drawn", False: "not in the pool"})
    status = (
        pd.Series("not drawn", index=table.index).mask(rejected.notna(), "rejected").mask(chosen.notna(), "selected")
    )
    reason = chosen.fillna(rejected).fillna(left.astype("string"))
    table = table.assign(status=status, reason=reason, correct=table["attempt_correct"])
    steps = ids.map(picked["step"]).fillna(len(picked) + status.map(STATUSES.index))
    return table.loc[steps.sort_values(kind="stable").index].reset_index(drop=True)


def _name_solvers(features: pd.DataFrame) -> pd.Series:
    """question_id → "solved by …", of those that any solver solved."""
    by_solver = features.set_index("question_id").filter(like="solved_").fillna(False).astype(bool)
    names = by_solver.columns.str.removeprefix("solved_")
    solved = by_solver[by_solver.any(axis=1)]
    return pd.Series([f"solved by {', '.join(names[row])}" for row in solved.to_numpy()], solved.index, dtype="object")


def choose_rows(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """At most `limit` of the rows, in their order: selected ones before others, those by a hash of their id."""
    by_hash = rows["question_id"].map(
        lambda name: hashlib.sha256(f"browse/{name}".encode("utf-8", "replace")).hexdigest()
    )
    keys = pd.DataFrame({"late": rows["status"].to_numpy() != "selected", "hash": by_hash.to_numpy()})
    return rows.iloc[sorted(keys.sort_values(["late", "hash"]).index[:limit])]


def embed_json(value: Any) -> str:
    """JSON that no HTML parser takes for anything but text, wherever it stands in a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _check_rows(rows: pd.DataFrame, limit: int) -> None:
    require_columns(rows, COLUMNS, "the table to browse")
    unknown = sorted(set(map(str, rows["status"])) - set(STATUSES))
    if unknown:
        raise StudyError(f"Unknown status {unknown[0]!r}: use one of {', '.join(STATUSES)}.")
    if rows["question_id"].duplicated().any():
        repeated = rows["question_id"][rows["question_id"].duplicated()].iloc[0]
        raise StudyError(f"Question {repeated!r} has several rows: give one row a question.")
    if limit < 1:
        raise StudyError(f"A page of {limit} rows shows nothing: set limit to 1 or more.")


def _fit_data(rows: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """The page's data, with texts cut as little as its size allows; what was left out is said in its note."""
    columns = [*COLUMNS, *(name for name in OPTIONAL if name in rows)]
    cells = list(chosen[columns].itertuples(index=False, name=None))
    cut = LONGEST_TEXT
    while cut >= SHORTEST_TEXT:
        cut_cells = [[_cut_cell(cell, cut) for cell in row] for row in cells]
        data = embed_json({"columns": columns, "rows": cut_cells, "note": _write_note(rows, chosen, cut)})
        if len(data.encode("utf-8")) <= LARGEST_PAGE - 100_000:
            return data
        cut //= 2
    raise StudyError(f"{len(chosen)} rows don't fit into {LARGEST_PAGE:,} bytes: lower limit, or leave out columns.")


def _cut_cell(cell: Any, cut: int) -> Any:
    if isinstance(cell, str):
        return cell if len(cell) <= cut else cell[:cut] + f" […{len(cell) - cut:,} more characters]"
    if pd.isna(cell) or cell in (math.inf, -math.inf):  # JSON has neither
        return None
    return cell.item() if hasattr(cell, "item") else cell


def _write_note(rows: pd.DataFrame, chosen: pd.DataFrame, cut: int) -> str:
    note = f"{len(rows):,} questions."
    if len(chosen) < len(rows):
        selected, kept = (int((table["status"] == "selected").sum()) for table in (rows, chosen))
        note = f"{len(chosen):,} of {len(rows):,} questions: {kept:,} of the {selected:,} selected, "
        note += f"and a random sample of {len(chosen) - kept:,} of the others."
    return f"{note} Texts are cut at {cut:,} characters."


def _make_policy(template: str) -> str:
    """The content security policy: the template's own script and style, by their hashes, and no network."""
    sources = {}
    for element in ("script", "style"):
        content = re.search(f"<{element}>(.*?)</{element}>", template, re.DOTALL)
        digest = hashlib.sha256(content[1].encode("utf-8")).digest() if content else b""
        sources[element] = f"'sha256-{base64.b64encode(digest).decode()}'"
    kinds = "; ".join(f"{element}-src {source}" for element, source in sources.items())
    return f"default-src 'none'; {kinds}; base-uri 'none'; form-action 'none'"
