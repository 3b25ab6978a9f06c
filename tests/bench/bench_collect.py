"""Collecting 59,029 questions, replaying a journal, grading expressions. A benchmark, not a test.

    python tests/bench/bench_collect.py [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. The pool is made to the paper's counts in the published files and columns, with made-up texts of
real lengths (questions of 20 to 120 words); `--quick` makes a sixth of it, and scales the goals of time. Seconds are
wall time, memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import hub_fixtures
from reporting import finish, report, say

from s1_utils.math_grader import grade_expressions
from s1_utils.paper.table import SOURCES
from s1_utils.store import Journal

SEED, RECORDS, ANSWERS, HOSTILE = 0, 100_000, 10_000, 100
ASKED = ("problem", "question", "Question", "input", "description", "question_content", "prompt")  # columns with it

CHILD = """
import json, resource, sys, time
from pathlib import Path

import pandas as pd

from s1_utils import decontamination, sources, store
from s1_utils.dedup import POLICIES
from s1_utils.paper.sources import collect_paper_sources, require_complete
from s1_utils.paper.table import PAPER

mirror, out = map(Path, sys.argv[1:])
start = time.monotonic()
found = collect_paper_sources(PAPER, mirror=mirror, seed=0)
require_complete(found.sources)
tests = sources.collect_questions(["puzzles"], questions_per_family=182, dev=0, test=728, seed=0)
pool = pd.concat([found.questions, tests], ignore_index=True)
read = time.monotonic()
overlaps = decontamination.decontaminate(pool, policy=POLICIES["s1"])
texts = {name: dict(zip(rows["question_id"], rows["question"])) for name, rows in found.questions.groupby("source")}
replayed = decontamination.replay_s1(texts, {"test": dict(zip(tests["question_id"], tests["question"]))}, n=8)
checked = time.monotonic()
for name, table in (("questions", pool), ("overlaps", overlaps), ("replayed", replayed), ("sources", found.sources)):
    store.write_table(out / f"{name}.parquet", table)
parts = {"read": read - start, "checked": checked - read, "written": time.monotonic() - checked}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"rows": len(found.questions), "seconds": sum(parts.values()), "gib": peak, "parts": parts}))
"""

# ------------------------------------------------------------------ the pool


def make_mirror(mirror: Path, share: float) -> int:
    """The sixteen sources at this share of the paper's counts; returns how many questions they should hold."""
    rng = random.Random(SEED)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]
    write = hub_fixtures.write_table

    def write_longer(path: Path, rows: list[dict[str, Any]]) -> None:
        longer = []
        for row in rows:
            text = " ".join(rng.choices(words, k=rng.randint(20, 120)))
            asked = next((name for name in ASKED if isinstance(row.get(name), str)), None)
            longer.append(row | {asked: f"{text} {row[asked]}"} if asked else row)
        write(path, longer)

    hub_fixtures.write_table = write_longer
    wanted = {s.name: max(1, round(s.expected * share)) for s in SOURCES if s.name in hub_fixtures.PAPER}
    for name, count in wanted.items():
        hub_fixtures.write_source(mirror, name, count)
    hub_fixtures.write_table = write
    return sum(wanted.values())


def measure_pool(folder: Path, *, share: float) -> None:
    wanted = make_mirror(folder / "mirror", share)
    say(f"a mirror of {wanted:,} questions is written")
    (folder / "out").mkdir()
    command = [sys.executable, "-c", CHILD, str(folder / "mirror"), str(folder / "out")]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode:
        raise SystemExit(child.stderr)
    found = json.loads(child.stdout.splitlines()[-1])
    note = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["parts"].items())
    report("pool: questions kept / wanted", found["rows"] / wanted, ">= 0.95", note=f"{found['rows']:,} of {wanted:,}")
    report("pool: read, decontaminate, write", found["seconds"], f"<= {60 * share}", unit="s", note=note)
    report("pool: peak memory", found["gib"], "<= 2", unit="GiB")


# ------------------------------------------------------------------ the journal


def measure_journal(folder: Path, *, share: float) -> None:
    """Opening a journal of grades: a hundred thousand records, each checked by its hash."""
    path, count = folder / "grades.jsonl", round(RECORDS * share)
    with Journal(path, "k") as journal:
        journal.add("0", {"correct": True})
        line = path.read_text("utf-8").splitlines(keepends=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(line[0])
        file.writelines(line[1].replace('"id": "0"', f'"id": "{i:016x}/gemini"') for i in range(count))
    start = time.perf_counter()
    with Journal(path, "k") as journal:
        seconds = time.perf_counter() - start
        if len(journal.records) != count:
            raise SystemExit(f"{len(journal.records)} of {count} records came back.")
    report("journal: replay", seconds, f"<= {2 * share}", unit="s", note=f"{count:,} records")


# ------------------------------------------------------------------ grades


def make_pairs(count: int, hostile: int) -> list[tuple[str, str]]:
    """Answers and golds as models and benchmarks write them, a few hostile ones among them."""
    rng = random.Random(SEED)
    forms = [
        lambda n, m: (f"{n}", f"{n}"),
        lambda n, m: (f"\\frac{{{n}}}{{{m}}}", f"{n}/{m}"),
        lambda n, m: (f"{n}\\sqrt{{{m}}}", f"\\sqrt{{{m}}}\\cdot {n}"),
        lambda n, m: (f"({n}, {m})", f"({n},{m})"),
        lambda n, m: (f"x={n}", f"{n}"),
        lambda n, m: (f"x^2+{n}x-{m}", f"-{m}+{n}x+x^2"),
        lambda n, m: (f"{n}\\pi", f"{m}\\pi"),
        lambda n, m: (f"{n}.5", f"\\frac{{{2 * n + 1}}}{{2}}"),
        lambda n, m: (f"\\{{{n},{m}\\}}", f"\\{{{m},{n}\\}}"),
        lambda n, m: (f"[{n},\\infty)", f"[{n}, \\infty)"),
    ]
    attacks = ["9^{9^{9^{9}}}", "1" * 10**6, "{" * 5000, "(" * 1000 + "1", "x" * 10**6, "999999999!", "\\sqrt" * 300]
    pairs = [rng.choice(forms)(rng.randint(1, 999), rng.randint(2, 99)) for _ in range(count - hostile)]
    pairs += [(attacks[i % len(attacks)] + ("" if i < len(attacks) else f"+{i}"), "7") for i in range(hostile)]
    rng.shuffle(pairs)
    return pairs


def measure_grades(*, share: float) -> None:
    pairs = make_pairs(round(ANSWERS * share), round(HOSTILE * share))
    start = time.perf_counter()
    grades = grade_expressions(pairs, workers=2)
    seconds = time.perf_counter() - start
    graded = zip(pairs, grades, strict=True)
    fooled = sum(bool(grade.correct) for (answer, gold), grade in graded if gold == "7" and len(answer) > 6)
    note = f"{len(pairs):,} pairs, {len(set(pairs)):,} different"
    report("grades: wall time", seconds, f"<= {60 * share}", unit="s", note=note)
    report("grades: hostile answers taken for right", fooled, "== 0")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sixth of everything (under a minute)")
    share = 1 / 6 if parser.parse_args().quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        measure_pool(Path(folder), share=share)
        say("the journal")
        measure_journal(Path(folder), share=share)
    say("grades")
    measure_grades(share=share)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
