"""Made-up runs for the tests and the bench of the report: traces of one pass, tables, manifests, a ledger."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import page_run, page_traces, study
from s1_utils.budget_forcing import Setting
from s1_utils.generation import name_setting
from s1_utils.store import hash_file, write_json, write_table

WORDS = (
    "so the sum of these is seven and then we try another way to see whether it holds for every x in the set".split()
)
WAIT = " Wait,"
BUDGETS, WAITS = (8, 16, 32), (0, 1, 2)
LETTERS = [*(f" {word}" for word in WORDS), "\n", WAIT, *(chr(code) for code in range(32, 127))]


def decode(ids: Sequence[int]) -> str:
    """A tokenizer of LETTERS, for tests that need one that is quick."""
    return "".join(LETTERS[i] for i in ids)


def think(rng: random.Random, tokens: int) -> list[int]:
    ids = [rng.randrange(len(WORDS)) for _ in range(tokens)]
    return [len(WORDS) if i % 12 == 11 else number for i, number in enumerate(ids)]


def make_points(
    question_id: str,
    segments: Sequence[Sequence[int]],
    wait_ids: Sequence[int],
    read: Callable[[Sequence[int]], str],
    *,
    budgets: Sequence[int] = BUDGETS,
    waits: Sequence[int] = WAITS,
) -> list[dict[str, Any]]:
    """The rows of `generations` that budget forcing would give, if the model thought these segments, each to its end.

    Controls budget, cut and wait; the answer is the number of thinking tokens, modulo 3.
    """
    ids: list[int] = []
    ends: list[int] = []
    for segment in segments:
        ids += [*(wait_ids if ids else []), *segment]
        ends.append(len(ids))
    room = len(wait_ids) + 1
    rows = []
    for setting in [
        *(Setting("budget", budget, budget) for budget in budgets),
        *(Setting("cut", budget, 0) for budget in budgets),
        *(Setting("wait", len(ids), number) for number in waits),
    ]:
        at, kind = min(setting.budget, len(ids)), "forced"
        for number, end in enumerate(ends):
            if end < setting.budget and (number >= setting.waits or setting.budget - end < room):
                at, kind = end, "natural"
                break
        if setting.control == "wait" and setting.waits < len(ends):
            at, kind = ends[setting.waits], "natural"
        events = [["suppressed_end", end] for end in ends if end < at] + [[f"{kind}_end", at]]
        answer = f"Final Answer: {at % 3}" if kind == "forced" else f"\nAnswer: {at % 3}"
        rows.append(
            {
                "question_id": question_id, "sample": 0, "setting": name_setting(setting), "control": setting.control,
                "budget": setting.budget, "waits": setting.waits, "seed": 1, "thinking_ids": ids[:at],
                "answer_ids": [1], "thinking": read(ids[:at]), "answer": answer, "thinking_tokens": at,
                "answer_tokens": 1, "events": json.dumps(events), "finish": f"{kind}/stop", "tries": 1, "model": "SFT",
                "wait_text": WAIT,
            }
        )  # fmt: skip
    return rows


def grade(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Right is 1."""
    graded = [
        {
            **{name: row[name] for name in page_traces.KEYS}, "grader": "exact", "extracted": row["answer"][-1],
            "vote": row["answer"][-1], "correct": row["answer"].endswith("1"), "how": "same",
        }
        for row in rows
    ]  # fmt: skip
    return pd.DataFrame(graded)


def make_tests(ids: Sequence[str], texts: Sequence[str] = ()) -> pd.DataFrame:
    asked = list(texts) or [f"Which number is {name}?" for name in ids]
    return pd.DataFrame({"question_id": list(ids), "question": asked, "answer": "1", "domain": "numbers"})


def make_questions(count: int, *, seed: int = 0, tokens: int = 14) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """(tests, rows of generations) with the tokenizer of this module."""
    rng = random.Random(seed)
    names = [f"{number:016x}" for number in range(count)]
    rows = []
    for name in names:
        segments = [think(rng, tokens) for _ in range(4)]
        rows += make_points(name, segments, [LETTERS.index(WAIT)], decode)
    return make_tests(names), rows


def make_samples(rows: Sequence[dict[str, Any]], count: int = 4) -> list[dict[str, Any]]:
    """As many samples of each question's longest trace, of several lengths and answers."""
    samples = []
    for row in [row for row in rows if row["setting"].startswith("wait") and row["waits"] == 2]:
        for number in range(count):
            ids = row["thinking_ids"][: len(row["thinking_ids"]) - number]
            own = {"sample": number, "setting": "natural:144:0", "control": "natural", "waits": 0, "thinking_ids": ids}
            own |= {"thinking": decode(ids), "thinking_tokens": len(ids), "answer": f"\nAnswer: {number % 2}"}
            samples.append({**row, **own, "events": json.dumps([["natural_end", len(ids)]]), "finish": "natural/stop"})
    return samples


def write_run(
    folder: Path,
    tests: pd.DataFrame,
    rows: Sequence[dict[str, Any]],
    samples: Sequence[dict[str, Any]] = (),
    *,
    model: str = "tiny",
    missing: Sequence[str] = (),
) -> Path:
    """A run in which every stage but the `missing` ones is finished; only what a report reads is in it."""
    samples = samples or [{**rows[0], "setting": "natural:144:0", "control": "natural"}]
    for notebook in study.NOTEBOOKS:
        stage = folder / notebook
        stage.mkdir(parents=True, exist_ok=True)
        if notebook in missing:
            continue
        if notebook == "01_collect":
            write_json(stage / "model.json", {"name": model})
        if notebook == "04_sequential_scaling":
            write_table(stage / "tests.parquet", tests)
            write_table(stage / "generations_sft.parquet", pd.DataFrame(rows))
            write_table(stage / "grades.parquet", grade(rows))
        if notebook == "05_parallel_scaling":
            write_table(stage / "generations.parquet", pd.DataFrame(samples))
            write_table(stage / "grades.parquet", grade(samples))
        write_manifest(stage, folder)
    return folder


def write_manifest(stage: Path, run: Path) -> None:
    """What `Stage.finish` writes, as far as a report reads it; made of all outputs of the stages before."""
    number = study.NOTEBOOKS.index(stage.name)
    inputs = {
        f"{name}/{output}": facts["sha256"]
        for name in study.NOTEBOOKS[:number]
        if (run / name / "manifest.json").exists()
        for output, facts in json.loads((run / name / "manifest.json").read_text("utf-8"))["outputs"].items()
    }
    outputs = {
        path.name: {"sha256": hash_file(path)}
        for path in sorted(stage.iterdir())
        if path.name in ("model.json",) or path.suffix == ".parquet"
    }
    key = {"stage": stage.name, "params": {"seed": 1}, "code": "c" * 64, "inputs": inputs}
    manifest = {
        "stage": stage.name, "key": key, "outputs": outputs, "wall_seconds": 90.0, "profile": run.name,
        "commit": "0123456789abcdef", "dirty": False, "versions": {"python": "3.11.7"},
        "hardware": {"machine": "x86_64", "cores": 2},
    }  # fmt: skip
    write_json(stage / "manifest.json", manifest)


def make_ledger(words: str = "More thinking helps") -> pd.DataFrame:
    """Two statements and three numbers, with the columns of the real one."""
    empty = dict.fromkeys(page_run.LEDGER, "")
    statement = {
        "kind": "statement", "where": "Section 3.1", "statement": words, "test": f"the interval of {words} is above 0",
        "laptop_value": "49.3751", "laptop_low": "43.1", "laptop_high": "55.6", "laptop_verdict": "holds",
        "laptop_source": "waits.csv", "laptop_command": "python -m s1_utils.study run laptop", "why": "",
    }  # fmt: skip
    number = {
        "kind": "number", "where": "Table 1", "system": words, "benchmark": "AIME24", "setting": "budget", "metric":
        "accuracy", "published": "56.7", "how_known": "printed", "n": "30", "profile": "s1-32b", "status": "not run",
        "why": "no finished run of s1-32b",
    }  # fmt: skip
    rows = [
        {**statement, "claim_id": "budget-forcing"},
        {**statement, "claim_id": "waits", "laptop_verdict": "undecided"},
        {**number, "claim_id": "a"},
        {**number, "claim_id": "b", "status": "can't be run", "why": "retired model"},
        {**number, "claim_id": "c", "how_known": "measured from pixels"},
    ]
    return pd.DataFrame([{**empty, **row} for row in rows])
