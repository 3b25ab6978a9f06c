"""Where questions come from, as one common row.

Knows the sources (the laptop's puzzles, CHAMP's competition problems, a user's own file) and the columns of the
`questions` table; knows nothing about models or teachers.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import puzzles
from s1_utils.errors import StudyError
from s1_utils.store import require_columns

COLUMNS = "question_id question solution answer answer_type source domain cot_type licence metadata".split()


def hash_question(question: str) -> str:
    """question_id: the first 16 hex digits of sha256 of the question text."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def derive_seed(*parts: Any) -> int:
    """A seed for one item: depends on what it is (run seed, question, sample), never on when it is reached."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8], 16) % 2**31


def collect_questions(
    sources: list[str],
    *,
    questions_per_family: int,
    dev: int,
    test: int,
    seed: int,
    beside: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The `questions` table: the rows of all sources, one after another, exact repeats dropped, with their split.

    `beside`: rows that are there already; they come first. Raises StudyError for an unknown source or a bad file.
    """
    tables = [] if beside is None else [beside]
    for source in sources:
        if source == "puzzles":
            tables.append(make_puzzles(questions_per_family, seed))
        elif source == "champ":
            tables.append(read_champ())
        elif Path(source).suffix in (".jsonl", ".parquet"):
            tables.append(read_own_file(Path(source)))
        else:
            raise StudyError(
                f"No source {source!r}: give puzzles, champ, a name of the paper's table (such as AGIEval or s1K), or "
                "the path of a .jsonl or .parquet file."
            )
    if not tables:
        raise StudyError("sources is empty: name at least one, such as puzzles.")
    table = pd.concat(tables, ignore_index=True).drop_duplicates("question_id", ignore_index=True)
    return table.assign(split=assign_splits(table, dev=dev, test=test, seed=seed).astype("string"))


def make_puzzles(per_family: int, seed: int) -> pd.DataFrame:
    """`per_family` questions of every puzzle family, sizes drawn from the family's own."""
    rows = []
    for family in puzzles.FAMILIES:
        for i in range(per_family):
            rng = random.Random(derive_seed(seed, "puzzle", family, i))
            puzzle = puzzles.make_puzzle(family, rng)
            rows.append(
                {
                    "question": puzzle.question,
                    "answer": puzzle.answer,
                    "answer_type": "choice",
                    "source": "puzzles",
                    "domain": family,
                    "cot_type": "search",
                    "licence": "Apache-2.0",
                    "metadata": json.dumps(asdict(puzzle)),
                }
            )
    return complete_rows(rows)


def read_champ() -> pd.DataFrame:
    """CHAMP's 270 competition problems (Mao et al. 2024, MIT), from the package champ-dataset.

    Only whole-number answers are of type "integer"; the others need a mathematical grader. The trace is GPT-4's own
    zero-shot conversation: its worked answer, then its one-sentence summary as the attempt.
    """
    dataset = json.loads(find_champ().read_text("utf-8"))
    rows = []
    for name, problem in dataset["problems"].items():
        answer = problem["_answer"].strip()
        said = [m["text"] for m in problem["conversations"]["GPT-4|0-Shot"]["messages"] if m["role"] == "Model.GPT-4"]
        trace = dict(zip(("thinking", "attempt"), said, strict=False))
        rows.append(
            {
                "question": problem["_text"],
                "solution": "\n".join(step["_text"] for step in problem["solution"]["steps"]),
                "answer": answer,
                "answer_type": "integer" if answer.lstrip("-").isdigit() else "expression",
                "source": "champ",
                "domain": problem["category"],
                "cot_type": "math",
                "licence": "MIT",
                "metadata": json.dumps({"identifier": name, "teacher": "GPT-4 (CHAMP)", **trace}),
                "split": "train",
            }
        )
    return complete_rows(rows)


def find_champ() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("champ_dataset")
    if spec is None or spec.origin is None:
        raise StudyError("The package champ-dataset isn't installed: run `make env`, or take champ out of sources.")
    return Path(spec.origin).parent / "dataset_files" / "v0.json"


def read_own_file(path: Path) -> pd.DataFrame:
    """A user's questions: columns question, answer; optional thinking, solution, domain, split (train|dev|test)."""
    if not path.exists():
        raise StudyError(f"No file {path}: sources takes paths from the folder the notebook runs in, or absolute ones.")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True, dtype=False)
    except ValueError as error:
        raise StudyError(f"Can't read {path} ({error}): it must be JSON Lines or Parquet.") from error
    require_columns(table, ["question", "answer"], str(path))
    empty = [i + 1 for i, q in enumerate(table["question"]) if not isinstance(q, str) or not q.strip()]
    if empty:
        raise StudyError(f"{path}: row {empty[0]} has an empty question ({len(empty)} such rows): fill or delete it.")
    rows = []
    for row in table.to_dict("records"):
        answer = _write_answer(row["answer"])
        thinking = row.get("thinking") if isinstance(row.get("thinking"), str) else None
        is_integer = answer is not None and re.fullmatch("-?[0-9]+", answer)
        rows.append(
            {
                "question": row["question"],
                "answer": answer,
                "answer_type": "integer" if is_integer else "choice",
                "source": path.stem,
                "domain": row["domain"] if row.get("domain") and isinstance(row["domain"], str) else "own",
                "cot_type": "own",
                "licence": "the user's",
                "metadata": json.dumps({"teacher": "own", "thinking": thinking, "attempt": answer} if thinking else {}),
                "solution": row.get("solution") if isinstance(row.get("solution"), str) else None,
                "split": row.get("split") if row.get("split") in ("train", "dev", "test") else None,
            }
        )
    return complete_rows(rows)


def _write_answer(value: Any) -> str | None:
    """An answer as text; a column of whole numbers and gaps is read as floats, so 7.0 is written as 7."""
    if value is None or value != value:
        return None
    text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    return text.strip() or None


def complete_rows(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `COLUMNS` and split as the common table, with their question_id; solution and split may be missing."""
    for row in rows:
        row["question_id"] = hash_question(row["question"])
    return pd.DataFrame(rows, columns=[*COLUMNS, "split"]).astype({"solution": "string", "split": "string"})


def assign_splits(questions: pd.DataFrame, *, dev: int, test: int, seed: int) -> pd.Series:
    """train, dev or test for every row: per domain, the rows whose seeded hash comes first are held out.

    Rows whose source fixed a split keep it; only rows with an answer are held out.
    """
    split = questions["split"].astype("object").where(questions["split"].notna(), None)
    free = questions[split.isna() & questions["answer"].notna()]
    split = split.fillna("train")
    domains = sorted(free["domain"].unique())
    for d, domain in enumerate(domains):
        rows = free[free["domain"] == domain]
        order = rows["question_id"].map(lambda q: derive_seed(seed, "split", q)).sort_values(kind="stable").index
        n_test, n_dev = (total // len(domains) + (d < total % len(domains)) for total in (test, dev))
        split.loc[order[:n_test]] = "test"
        split.loc[order[n_test : n_test + n_dev]] = "dev"
    return split
