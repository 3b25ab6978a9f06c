"""Evaluation sets as the common row: AIME24, AIME25, MATH500, GPQA-Diamond, held-out questions, a file of one's own.

Knows how a set is loaded, counted, recorded and compared with what was trained on; leaves what is published to
`benchmark_table`, files and hubs to `paper`, and knows nothing about models or graders. A set whose count differs from
the paper's is refused, and so is a file that differs from the one this run has read before. A question without a gold
answer stays: its answer is null and its answer_type "text", so that exact graders leave it undecided (null, never
wrong), and it is named. Source: s1 section 4.1. Deviations: in `benchmark_table`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import paths, sources
from s1_utils.benchmark_table import BENCHMARKS, Benchmark
from s1_utils.decontamination import decontaminate
from s1_utils.dedup import POLICIES
from s1_utils.errors import StudyError
from s1_utils.grading import LONGEST_ANSWER
from s1_utils.paper.answers import name_gold
from s1_utils.paper.hub_files import find_files
from s1_utils.paper.sources import Found, read_source
from s1_utils.paper.table import Source
from s1_utils.store import Stage, hash_file, require_columns, write_json

HELD_OUT = "held-out"
FILES = (".jsonl", ".parquet")
_FORMULA = re.compile(r"[0-9\\^_={}+*/<>]")


@dataclass(frozen=True)
class Loaded:
    """`questions`: common rows; `receipt`: revision, sha256 and files they came from, {} if they came from none."""

    questions: pd.DataFrame
    receipt: dict[str, Any]

    @property
    def unanswerable(self) -> list[str]:
        """Ids of the questions without a gold answer, which no grader may count as wrong."""
        return self.questions.loc[self.questions["answer"].isna(), "question_id"].tolist()


def list_benchmarks() -> pd.DataFrame:
    """What can be named: one row a benchmark, with its hub id, its count of questions, and whether it is gated."""
    rows = [{"benchmark": HELD_OUT, "note": "questions of notebook 1 that were held out: on a laptop, puzzles"}]
    for name, each in BENCHMARKS.items():
        facts = {"hub": each.source.hub_id, "questions": each.source.expected, "licence": each.source.licence}
        rows.append({"benchmark": name, **facts, "gated": each.is_gated, "note": each.note})
    rows.append({"benchmark": "<path>", "note": "your .jsonl or .parquet, with the columns question and answer"})
    table = pd.DataFrame(rows, columns=["benchmark", "hub", "questions", "licence", "gated", "note"])
    kinds = {"hub": "string", "questions": "Int64", "licence": "string", "gated": "boolean"}
    return table.astype(kinds).set_index("benchmark")


# ------------------------------------------------------------------ one


def load_benchmark(
    name: str,
    *,
    seed: int,
    mirror: Path | None = None,
    revisions: Mapping[str, str] | None = None,
    collected: pd.DataFrame | None = None,
    split: str = "test",
    record: Path | None = None,
) -> Loaded:
    """The questions of a benchmark (see `list_benchmarks`) or of one's own .jsonl or .parquet file.

    `seed`: of the run, for the order of choices; `mirror`, `revisions`: as in `paper.sources.collect_paper_sources`;
    `collected`: the `questions` of notebook 1 without what decontamination removed, of which "held-out" takes `split`.
    `record`: a folder of the run, in which the first reading of a file leaves its revision and hashes.
    Raises StudyError for an unknown name, a set that can't be had, another count than the paper's, and a file that
    isn't the recorded one.
    """
    if name == HELD_OUT:
        return Loaded(_take_held_out(collected, split), {})
    if Path(name).suffix in FILES:
        return _load_own(Path(name), record)
    if name not in BENCHMARKS:
        there = ", ".join([HELD_OUT, *BENCHMARKS])
        raise StudyError(f"No benchmark {name!r}: name one of {there}, or the path of a .jsonl or .parquet file.")
    return _load_published(BENCHMARKS[name], mirror, dict(revisions or {}), seed, record)


def _take_held_out(collected: pd.DataFrame | None, split: str) -> pd.DataFrame:
    if collected is None:
        raise StudyError(f"{HELD_OUT} needs the questions of notebook 1: give them as collected.")
    require_columns(collected, [*sources.COLUMNS, "split"], "the collected questions")
    rows = collected[collected["split"] == split].reset_index(drop=True)
    if rows.empty:
        raise StudyError(f"No collected question is of split {split!r}: hold some out in notebook 1, or name others.")
    return rows


def _load_published(
    benchmark: Benchmark, mirror: Path | None, revisions: dict[str, str], seed: int, record: Path | None
) -> Loaded:
    source = benchmark.source
    try:
        pin = revisions.get(source.hub_id)
        receipt = find_files(source.hub_id, source.parts, mirror=mirror, revision=pin).receipt
    except StudyError as error:
        gate = _explain_gate(source.hub_id, mirror) if benchmark.is_gated else ""
        raise StudyError(f"{error}{gate}") from error
    path = record / f"{source.name}.json" if record else None
    check_receipt(path, f"{source.name} ({source.hub_id})", receipt)
    checked = receipt["revision"] if mirror is None else receipt["sha256"]  # so that what was checked is what is read
    found = read_source(source, mirror=mirror, revisions={source.hub_id: checked}, seed=seed, aime_until=0)
    _require_count(source, found)
    write_receipt(path, receipt)
    return Loaded(sources.complete_rows([{**row, "split": "test"} for row in found.rows]), receipt)


def _explain_gate(hub_id: str, mirror: Path | None) -> str:
    return (
        f" If it can't be had: {hub_id} is gated. Log in at https://huggingface.co/datasets/{hub_id}, accept its terms "
        f"and set HF_TOKEN to a token of that account, or put its files into {(mirror or Path('MIRROR')) / hub_id}."
    )


def _require_count(source: Source, found: Found) -> None:
    if len(found.rows) != source.expected:
        skipped = "".join(f", {count} skipped ({reason})" for reason, count in found.skipped.items())
        raise StudyError(
            f"{source.name} has {source.expected} questions, but {len(found.rows)} were found in {source.hub_id}, "
            f"revision {found.receipts[source.hub_id]['revision']}: {found.read} rows read, {found.duplicates} repeated"
            f"{skipped}. Pin a revision that has them all, mend the mirror, or give your own file if another set is "
            "meant."
        )


# ------------------------------------------------------------------ one's own files


def _load_own(path: Path, record: Path | None) -> Loaded:
    """A user's file, exact repeats dropped. Answers that look like formulas are expressions, other words choices."""
    table = sources.read_own_file(path)
    digest = hash_file(path)
    files = [{"path": path.name, "sha256": digest, "size": path.stat().st_size}]
    receipt = {"revision": "file", "sha256": f"sha256:{digest}", "files": files}
    recorded = record / f"{path.name}.json" if record else None
    check_receipt(recorded, str(path), receipt)
    write_receipt(recorded, receipt)
    kinds = [_name_type(*each) for each in zip(table["answer"], table["answer_type"], strict=True)]
    table = table.assign(answer_type=kinds, split=pd.array(["test"] * len(table), dtype="string"))
    return Loaded(table.drop_duplicates("question_id", ignore_index=True), receipt)


def _name_type(answer: Any, answer_type: str) -> str:
    if not isinstance(answer, str) or len(answer) > LONGEST_ANSWER:
        return "text"
    return name_gold(answer).answer_type if _FORMULA.search(answer) else answer_type


# ------------------------------------------------------------------ what was read before


def check_receipt(path: Path | None, name: str, receipt: Mapping[str, Any]) -> None:
    """Raise StudyError, naming both hashes, if these aren't the files that `path` says `name` was read from before."""
    if path is None or not path.exists():
        return
    try:
        before = json.loads(path.read_text("utf-8"))
        old, revision = {each["path"]: each["sha256"] for each in before["files"]}, before["revision"]
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} is damaged: delete it, and {name} is recorded anew.") from error
    new = {each["path"]: each["sha256"] for each in receipt["files"]}
    changed = [
        f"{file} has sha256 {new.get(file, '(no such file)')}, recorded is {old.get(file, '(no such file)')}"
        for file in sorted({*old, *new})
        if old.get(file) != new.get(file)
    ]
    if changed:
        raise StudyError(
            f"{name} isn't what this run has read before (revision {revision}): {'; '.join(changed)}. Get the recorded "
            f"files back (on the hub: pin that revision), or delete {path} and rebuild all that used them."
        )


def write_receipt(path: Path | None, receipt: Mapping[str, Any]) -> None:
    """Record where a benchmark was read from, if nothing is recorded yet."""
    if path is not None and not path.exists():
        write_json(path, dict(receipt))


# ------------------------------------------------------------------ for stages


def collect_benchmarks(p: Any) -> pd.DataFrame:
    """Common rows of all that `p.benchmarks` names, with their benchmark: what training is kept apart from.

    `p`: benchmarks, mirror, revisions ("hub id@revision"), seed, profile. A question of two of them is there once.
    Raises StudyError as `load_benchmark` does.
    """
    tables = [pd.DataFrame(columns=[*sources.COLUMNS, "split", "benchmark"], dtype="string")]
    for name in p.benchmarks:
        tables.append(_load(p, name).questions.assign(benchmark=Path(name).stem))
    return pd.concat(tables[1:] or tables, ignore_index=True).drop_duplicates("question_id", ignore_index=True)


def take_tests(stage: Stage, p: Any) -> dict[str, pd.DataFrame]:
    """The `tests` of a stage, p.questions of p.benchmark in the order of their hashes, and `benchmark`, what it is.

    `p`: as in `collect_benchmarks`, and benchmark, split, questions. Questions without a gold answer aren't asked.
    benchmark, one row: benchmark, questions (in it), unanswerable and their ids (JSON), asked, seen (how many of those
    asked share words with a question that was left for training, by the audited rules), revision, files (JSON).
    """
    collected, overlaps = stage.read("01_collect", "questions"), stage.read("01_collect", "overlaps")
    left = collected[~collected["question_id"].isin(overlaps.loc[overlaps["removed"], "question_id"])]
    loaded = _load(p, p.benchmark, left)
    answerable = loaded.questions[loaded.questions["answer"].notna()]
    tests = answerable.sort_values("question_id").head(p.questions).reset_index(drop=True)
    if tests.empty:
        raise StudyError(f"No question of {p.benchmark} has a gold answer: fill its column answer, or name another.")
    row = {
        "benchmark": Path(p.benchmark).stem,
        "questions": len(loaded.questions),
        "unanswerable": len(loaded.unanswerable),
        "unanswerable_ids": json.dumps(loaded.unanswerable),
        "asked": len(tests),
        "seen": len(find_seen(tests, left[left["split"] == "train"])),
        "revision": loaded.receipt.get("revision", "collected"),
        "files": json.dumps(loaded.receipt.get("files", [])),
    }
    return {"tests": tests, "benchmark": pd.DataFrame([row])}


def find_seen(tests: pd.DataFrame, train: pd.DataFrame) -> set[str]:
    """Ids of the tests that share words with a training question, by the audited rules of notebook 1."""
    columns = ["question_id", "question"]
    both = pd.concat([train[columns].assign(split="train"), tests[columns].assign(split="test")], ignore_index=True)
    overlaps = decontaminate(both, policy=POLICIES["audited"])
    return set(overlaps.loc[overlaps["removed"] & (overlaps["against_set"] == "test"), "against_id"])


def _load(p: Any, name: str, collected: pd.DataFrame | None = None) -> Loaded:
    mirror, pins = Path(p.mirror) if p.mirror else None, dict(revision.split("@", 1) for revision in p.revisions)
    record = paths.find_runs() / p.profile / "benchmarks"  # for all runs of the profile, whatever is rebuilt
    split = getattr(p, "split", "test")
    return load_benchmark(
        name, seed=p.seed, mirror=mirror, revisions=pins, collected=collected, split=split, record=record
    )
