"""Domain labels of questions: their source's own, the judge's, a trained classifier's, or those of a file.

Knows the ways to a label and the tables that labels come in; knows nothing about how a classifier learns
(`domain_classifier`). A label that can't be had stays null, with its reason.
Source: s1 section 2.2 (Claude names a top-level MSC class). Deviations: other ways than Claude; where the paper's own
labels are published isn't known for certain, so they have no default.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.collection import Judge, ask_judge
from s1_utils.domain_classifier import name_class, prepare_labels, train_classifier
from s1_utils.errors import StudyError
from s1_utils.judge import make_label_asks, read_labels, write_label_rubric, write_label_schema
from s1_utils.paper.hub_files import FORMATS, Part, find_files
from s1_utils.paper.hub_rows import BadRow, read_rows
from s1_utils.sources import hash_question
from s1_utils.store import hash_file, require_columns

COLUMNS = ["question_id", "domain", "labelled_by", "note"]
LONGEST_NAME = 200  # characters of a domain that a file names
NO_LABELS = (
    "A classifier needs published labels, and where the paper's are isn't known for certain: set labels to a file or a "
    "hub's data set (owner/name) with the columns question and domain, or let the judge label."
)


@dataclass(frozen=True)
class Published:
    """Labelled questions (`rows`: question, domain as published) and where they came from (for a stage's JSON)."""

    rows: pd.DataFrame
    receipt: dict[str, Any]


def label_domains(
    questions: pd.DataFrame,
    how: str,
    *,
    seed: int = 0,
    labelled: pd.DataFrame | None = None,
    judge: Judge | None = None,
) -> pd.DataFrame:
    """One row a question, in their order: question_id, domain (null if it failed), labelled_by, note (why it failed).

    `questions`: question_id (unique), question. `how`: "source" takes their own column domain; "judge" asks `judge`;
    "classifier" learns from `labelled` (question, domain), where questions that are in it keep their label; or a file
    with the columns domain and question_id (or question). labelled_by: source, judge, classifier, or file (any label
    that a table brings). Raises StudyError for what a way needs and hasn't.
    """
    require_columns(questions, ["question_id", "question"], "The table to label")
    if not questions["question_id"].is_unique:
        raise StudyError("The table to label has a question_id twice: drop repeated questions.")
    if how == "source":
        own = require_columns(questions, ["domain"], "The table to label by its source")["domain"]
        found = _write_labels(questions["question_id"], own, how, "its source names none")
    elif how == "judge":
        found = _ask(questions, judge)
    elif how == "classifier":
        found = _classify(questions, labelled, seed)
    elif Path(how).suffix in FORMATS:
        found = _look_up(questions, Path(how))
    else:
        raise StudyError(
            f"No labels by {how!r}: source, judge, classifier, or the path of a {', '.join(FORMATS)} file."
        )
    labels = questions[["question_id"]].merge(found, on="question_id", how="left")
    return labels[COLUMNS].astype("string")


def _write_labels(ids: pd.Series, domains: Any, by: str, failure: str) -> pd.DataFrame:
    """The labels of `ids`; null ones have the note `failure`."""
    table = pd.DataFrame({"question_id": ids.to_numpy(), "domain": pd.array(domains, dtype="string")})
    return table.assign(labelled_by=by, note=table["domain"].isna().map({True: failure, False: ""}))


def _ask(questions: pd.DataFrame, judge: Judge | None) -> pd.DataFrame:
    if judge is None or not judge.model:
        raise StudyError("Labels by the judge need a model: set judge and judge_usd, or choose another way to label.")
    asks = make_label_asks(questions.rename(columns={"question_id": "id"}))
    found = read_labels(ask_judge(asks, judge, system=write_label_rubric(), schema=write_label_schema()))
    return found.rename(columns={"id": "question_id", "failure": "note"}).assign(labelled_by="judge")[COLUMNS]


def _classify(questions: pd.DataFrame, labelled: pd.DataFrame | None, seed: int) -> pd.DataFrame:
    if labelled is None:
        raise StudyError(NO_LABELS)
    published = prepare_labels(labelled).set_index("question_id")["domain"]
    is_known = questions["question_id"].isin(published.index)
    known, other = questions.loc[is_known, "question_id"], questions[~is_known]
    said = train_classifier(labelled, seed=seed).predict(other["question"].tolist())["domain"]
    predicted = _write_labels(other["question_id"], said, "classifier", "no word in common with the labelled questions")
    return pd.concat([_write_labels(known, known.map(published), "file", ""), predicted])


def _look_up(questions: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Labels by question_id; codes and titles of MSC classes become titles, other names stay as they are."""
    rows = _read_table([path], str(path))
    if "question_id" not in rows:
        texts = require_columns(rows, ["question"], str(path))["question"]
        rows["question_id"] = [hash_question(str(text)) for text in texts]
    rows = rows.loc[rows["domain"].notna(), ["question_id", "domain"]]
    rows["domain"] = rows["domain"].map(lambda name: name_class(name) or name)
    rows = rows.drop_duplicates().drop_duplicates("question_id", keep=False)
    found = questions["question_id"].map(rows.set_index("question_id")["domain"])
    return _write_labels(questions["question_id"], found, "file", f"not in {path.name}, or with two domains")


# ------------------------------------------------------------------ tables of labels


def read_published_labels(labels: str, *, mirror: Path | None = None, revision: str | None = None) -> Published:
    """The labelled questions of a local file, or of the train split of a hub's data set "owner/name".

    `mirror`, `revision`: as in `paper.hub_files.find_files`. Raises StudyError where the table can't be had or read.
    """
    if not labels:
        raise StudyError(NO_LABELS)
    if Path(labels).suffix in FORMATS:
        path = Path(labels)
        rows, sha256 = _read_table([path], labels), hash_file(path)
        receipt = {"revision": "file", "sha256": f"sha256:{sha256}", "files": [{"path": path.name, "sha256": sha256}]}
    elif re.fullmatch(r"[A-Za-z0-9_-][\w.-]*/[\w-][\w.-]*", labels, re.ASCII):
        snapshot = find_files(labels, [Part()], mirror=mirror, revision=revision)
        rows, receipt = _read_table(snapshot.paths[0], labels), snapshot.receipt
    else:
        raise StudyError(f"labels = {labels!r}: give a {', '.join(FORMATS)} file, or a hub's data set as owner/name.")
    return Published(require_columns(rows, ["question", "domain"], labels)[["question", "domain"]], receipt)


def _read_table(paths: Sequence[Path], name: str) -> pd.DataFrame:
    """question_id, question and domain (null if blank), as far as the files have them; questions as they are.

    Raises StudyError for a row that can't be read, and without the column domain.
    """
    wanted, rows, there = ("question_id", "question", "domain"), [], {}
    for path in paths:
        for number, row in enumerate(read_rows(path), 1):
            if isinstance(row, BadRow):
                raise StudyError(f"{path.name}: row {number} {row.reason}: mend or delete it.")
            there |= dict.fromkeys(row)
            rows.append([_clean(row.get("question_id")), row.get("question"), _clean(row.get("domain"))])
    table = pd.DataFrame(rows, columns=list(wanted), dtype="object")
    require_columns(pd.DataFrame(columns=list(there)), ["domain"], name)
    return table[[column for column in wanted if column in there]]


def _clean(value: Any) -> str | None:
    """A short name on one line, as valid UTF-8; None if it is null or blank."""
    text = "" if value is None or value != value else " ".join(str(value).split())
    return text[:LONGEST_NAME].encode("utf-8", "replace").decode() or None
