"""The traces of a run for its explorer: read from finished stages, graded, and no more than a page could hold.

Knows which stage wrote which table; knows nothing of pages. A run at the paper's scale has gigabytes of traces: of
those, only questions are read that the explorer would come to before its page is full. Tests: tests/test_page.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet

from s1_utils.errors import StudyError
from s1_utils.explorer import make_decode, order_by_hash
from s1_utils.explorer_texts import Decode
from s1_utils.page_run import Run
from s1_utils.store import require_columns

KEYS = ["model", "question_id", "sample", "setting"]
TRACES = {  # notebook 4's generations → their grades
    "generations_sft": "grades",
    "generations_base": "grades",
    "generations_methods": "grades_methods",
}
UNUSED = {"answer_ids", "seed", "tries", "answer_tokens"}
MOST_TOKENS = 30_000_000  # thinking tokens that are read, of all settings and samples: far more than a page holds


@dataclass(frozen=True)
class Traces:
    """What `explorer.make_explorer` takes; `total`: how many questions there are, read or not."""

    tests: pd.DataFrame
    graded: pd.DataFrame
    samples: pd.DataFrame | None
    decode: Decode | None
    total: int


def read_traces(run: Run) -> Traces | None:
    """The traces of a run; None if notebook 4 isn't finished. Raises StudyError for tables that can't be read."""
    sequential, parallel = run.find("04_sequential_scaling"), run.find("05_parallel_scaling")
    if sequential is None:
        return None
    tests = read_table(sequential, "tests")
    pairs = [pair for pair in TRACES.items() if all((sequential / f"{name}.parquet").exists() for name in pair)]
    generations = [(sequential, name) for name, _ in pairs] + ([(parallel, "generations")] if parallel else [])
    chosen = choose_questions(tests, generations)
    tables = [join_verdicts(*(read_table(sequential, name, chosen) for name in pair)) for pair in pairs]
    if not tables:
        raise StudyError(f"{sequential.name} has no generations: run that stage again.")
    samples = None
    if parallel is not None:
        samples = join_verdicts(*(read_table(parallel, name, chosen) for name in ("generations", "grades")))
    graded = pd.concat(tables, ignore_index=True)
    return Traces(tests, graded, samples, _load_decode(run.find("03_sft")), tests["question_id"].nunique())


def choose_questions(tests: pd.DataFrame, generations: list[tuple[Path, str]]) -> list[str] | None:
    """The ids, in the explorer's order, of which all tables together have MOST_TOKENS at most; None: all of them."""
    lengths = [_read(folder, name, columns=["question_id", "thinking_tokens"]) for folder, name in generations]
    tokens = pd.concat(lengths).groupby("question_id")["thinking_tokens"].sum()
    if tokens.sum() <= MOST_TOKENS:
        return None
    chosen, left = [], MOST_TOKENS
    for test in order_by_hash(tests.drop_duplicates("question_id")):
        left -= int(tokens.get(test["question_id"], 0))
        if left < 0 and chosen:
            break
        chosen.append(test["question_id"])
    return chosen


def read_table(folder: Path, name: str, questions: list[str] | None = None) -> pd.DataFrame:
    """A table of a finished stage, of these questions; raises StudyError if it is gone or no Parquet."""
    filters = None if questions is None else [("question_id", "in", questions)]
    return _read(folder, name, columns=None, filters=filters)


def _read(folder: Path, name: str, *, columns: list[str] | None, filters: list | None = None) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    try:
        if columns is None:
            columns = [column for column in pyarrow.parquet.read_schema(path).names if column not in UNUSED]
        return pd.read_parquet(path, columns=columns, filters=filters)
    except (OSError, ValueError) as error:
        raise StudyError(f"{folder.name}'s table {name} can't be read ({error}): run that stage again.") from error


def join_verdicts(generations: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
    """Generations with extracted, vote and correct of the first grader; null where there is no grade."""
    require_columns(generations, KEYS, "The table of generations")
    require_columns(grades, [*KEYS, "extracted", "correct"], "The table of grades")
    columns = [name for name in ("extracted", "vote", "correct") if name in grades]
    first = grades.drop_duplicates(KEYS)[[*KEYS, *columns]]
    return generations.merge(first, on=KEYS, how="left", validate="many_to_one")


def _load_decode(training: Path | None) -> Decode | None:
    if training is None or not (training / "model" / "tokenizer.json").exists():
        return None
    from s1_utils import models

    return make_decode(models.load_tokenizer(training / "model"))
