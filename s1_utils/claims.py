"""The ledger: each published number and each qualitative claim of the paper against ours, with status and hashes.

    python -m s1_utils.claims [--runs FOLDER] [--out ledger.csv]    write the ledger, print how many have which status
    python -m s1_utils.claims --check                               derive every hash of the committed ledger again

Knows claims, runs and the tables under figures/data; where values are and when they count is `claim_runs`' and
`claim_rules`'. A row's hash covers its claim, the table its value was read from (parameters, code, inputs, samples and
bytes: `provenance`), where in it, the value with its interval, and the status: change one, and the hash is another.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import claim_rows, claim_runs, claim_statements, paths, provenance, statements
from s1_utils.claim_rows import Claim
from s1_utils.claim_rules import BENCHMARKS, IMPOSSIBLE, NOT_RUN, STATUSES, Found, find_tokens_tolerance, judge_number
from s1_utils.claim_runs import Outcome
from s1_utils.errors import StudyError
from s1_utils.statement_tests import Finding
from s1_utils.statements import STATEMENTS, Statement
from s1_utils.store import hash_json, write_atomically

NAME, PUBLISHED = "ledger", "published"
COLUMNS = [
    *"claim_id kind where system benchmark setting metric published published_low published_high how_known n".split(),
    *"tolerance profile status why value low high command hash".split(),
    *"statement test laptop_value laptop_low laptop_high laptop_verdict laptop_source laptop_command".split(),
    *"laptop_hash published_tokens tokens note".split(),
]
NUMBERS = {
    *"published published_low published_high tolerance value low high laptop_value laptop_low laptop_high".split(),
    *"published_tokens tokens".split(),
}

Row = dict[str, Any]
StatementOutcome = tuple[str, Finding, dict[str, Any]]


# ------------------------------------------------------------------ numbers


def find_status(claim: Claim, outcome: Outcome) -> tuple[str, str]:
    """(status, why) of a published number.

    `can't be run`: there is an obstacle (a retired model, a private one, or none in this study), whatever lies in the
    runs. `not run`: no finished stage of that profile, of the claim's own model, on the benchmark's own questions has
    the value (half-finished ones have none). Else by `claim_rules.judge_number`: `reproduced`, `not reproduced`, or
    `underpowered`.
    """
    if claim.obstacle:
        return IMPOSSIBLE, claim.obstacle
    if outcome.found is None:
        return NOT_RUN, outcome.why
    share = find_tokens_tolerance(claim.how_known != claim_rows.KNOWN["P"])
    return judge_number(
        claim.published, claim.tolerance, outcome.found, tokens=claim.published_tokens, tokens_share=share
    )


def make_number_row(claim: Claim, outcome: Outcome) -> Row:
    status, why = find_status(claim, outcome)
    found = None if claim.obstacle else outcome.found
    row: Row = {name: getattr(claim, name) for name in COLUMNS if hasattr(claim, name)}
    row |= {"kind": "number", "status": status, "why": why, "tolerance": round(claim.tolerance, 3)}
    if found:
        row |= {"value": found.value, "low": found.low, "high": found.high, "tokens": found.tokens}
    row = _round(row)
    if found:
        row["hash"] = hash_number(claim, row, outcome.links)
    return row


def hash_number(claim: Claim, row: Row, links: Mapping[str, Any]) -> str:
    """The hash of a number's row; `links`: of the table its value was read from."""
    assert claim.place is not None
    return hash_claim(row, links, claim.place.write_selector())


def hash_claim(row: Row, links: Mapping[str, Any], selector: Any, *, prefix: str = "", status: str = "status") -> str:
    """sha256 over canonical JSON of a claim's id, the links of its table, the place in it, value, low, high, status."""
    values = {name: row.get(f"{prefix}{name}") for name in ("value", "low", "high")}
    chain = {"claim": row["claim_id"], "table": links, "selector": selector, "status": row[status], **values}
    return hash_json(chain)


def _round(row: Row) -> Row:
    """Numbers as the CSV has them: to six digits after the point, null for none."""
    return {name: _round_number(value) if name in NUMBERS else value for name, value in row.items()}


def _round_number(value: Any) -> float | None:
    return None if value is None or value == "" or math.isnan(float(value)) else round(float(value), 6)


# ------------------------------------------------------------------ statements


def make_statement_row(statement: Statement, data: Path, outcome: StatementOutcome, stages: Mapping[str, Any]) -> Row:
    """The row of a qualitative claim: `status` and `value` of the paper's model, `laptop_*` of the tables in `data`."""
    status, ours, links = outcome
    laptop, profile, entries = claim_statements.read_laptop(statement, data)
    row: Row = {
        "claim_id": statement.claim_id, "kind": "statement", "where": statement.where, "system": "s1-32B",
        "benchmark": statements.ON, "metric": statement.unit, "n": BENCHMARKS[statements.ON],
        "profile": statements.S1, "status": status, "why": ours.note, "command": statement.write_command(),
        "statement": statement.statement, "test": statement.rule,
        "value": ours.value, "low": ours.low, "high": ours.high,
        "laptop_value": laptop.value, "laptop_low": laptop.low, "laptop_high": laptop.high,
        "laptop_verdict": laptop.verdict, "laptop_source": laptop.cell, "note": laptop.note,
        "laptop_command": statement.write_laptop_command(profile),
    }  # fmt: skip
    row = _round(row)
    if links:
        row["hash"] = hash_statement(statement, row, stages)
    if entries:
        row["laptop_hash"] = hash_claim(row, entries, laptop.cell, prefix="laptop_", status="laptop_verdict")
    return row


def hash_statement(statement: Statement, row: Row, stages: Mapping[str, Any]) -> str:
    """The hash of a statement's row; `stages`: the links of all tables that the ledger has read."""
    links = claim_statements.choose_links(statement, stages)
    return hash_claim(row, links, claim_statements.write_selector(statement))


# ------------------------------------------------------------------ the ledger


def make_ledger(data: Path, runs: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """(the ledger, the links of all tables in runs that it has values from).

    Raises StudyError where a table of `data` that a laptop's verdict is read from was edited.
    """
    claims = claim_rows.list_claims()
    outcomes = [Outcome() if claim.obstacle else claim_runs.find_value(claim, runs) for claim in claims]
    examined = [claim_statements.find_outcome(statement, runs) for statement in STATEMENTS]
    stages = {outcome.source: outcome.links for outcome in outcomes if outcome.found}
    stages |= {source: links for _, _, found in examined for source, links in found.items()}
    rows = [make_number_row(claim, outcome) for claim, outcome in zip(claims, outcomes, strict=True)]
    for statement, outcome in zip(STATEMENTS, examined, strict=True):
        rows.append(make_statement_row(statement, data, outcome, stages))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64"}), stages


def write_ledger(ledger: pd.DataFrame, path: Path) -> None:
    with write_atomically(path) as temporary:
        ledger.to_csv(temporary, index=False, lineterminator="\n")


def publish(data: Path, runs: Path) -> pd.DataFrame:
    """Write ledger.csv and published.csv, the paper's numbers, into `data`, and record both."""
    ledger, stages = make_ledger(data, runs)
    with write_atomically(data / f"{PUBLISHED}.csv") as path:
        path.write_bytes(claim_rows.FILE.read_bytes())
    write_ledger(ledger, data / f"{NAME}.csv")
    provenance.record(data, {PUBLISHED: provenance.NO_RUN, NAME: {**provenance.NO_RUN, "stages": stages}})
    return ledger


def read_ledger(path: Path) -> list[Row]:
    """The rows of a ledger, numbers as numbers, what is empty as None. Raises StudyError for none, or another table."""
    if not path.exists():
        raise StudyError(f"{path} is gone: make it again with `python -m s1_utils.claims`.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != COLUMNS:
        raise StudyError(f"{path} has other columns than a ledger: make it again with `python -m s1_utils.claims`.")
    return [_read_row(row) for row in table.to_dict("records")]


def _read_row(row: dict[str, str]) -> Row:
    return {name: _round_number(value) if name in NUMBERS else value or None for name, value in row.items()}


# ------------------------------------------------------------------ checking


def find_wrong(data: Path) -> list[str]:
    """What is wrong with the committed ledger, a line each: rows that the committed tables and claims don't give.

    Values of runs can't be read again from here: their hash is derived again from the row and the recorded links.
    Raises StudyError where a table that a row was read from was edited or is gone.
    """
    rows = {row["claim_id"]: row for row in read_ledger(data / f"{NAME}.csv")}
    recorded = provenance.read(data).get(NAME, {}).get("stages", {})
    wrong = []
    for claim in claim_rows.list_claims():
        row = rows.pop(claim.claim_id, None)
        wrong += [f"{claim.claim_id}: no row"] if row is None else _check_number(claim, row, recorded)
    for statement in STATEMENTS:
        row = rows.pop(statement.claim_id, None)
        wrong += [f"{statement.claim_id}: no row"] if row is None else _check_statement(statement, row, data, recorded)
    return wrong + [f"{name}: no such claim" for name in rows]


def _check_number(claim: Claim, row: Row, recorded: Mapping[str, Any]) -> list[str]:
    problems = _check_row(row, make_number_row(claim, Outcome()))
    if (row["value"] is None) != (row["hash"] is None):
        problems.append("a value without a hash, or a hash without a value")
    if row["hash"]:
        assert claim.place is not None
        source = "/".join(part for part in (claim.place.run, claim.place.stage, claim.place.table) if part)
        if row["hash"] != hash_number(claim, row, recorded.get(source, {})):
            problems.append("its hash can't be derived again")
        if row["value"] is not None and row["status"] != find_status(claim, Outcome(_read_found(row)))[0]:
            problems.append(f"by the rules it isn't {row['status']}")
    elif row["status"] not in (NOT_RUN, IMPOSSIBLE):
        problems.append(f"{row['status']} without a value")
    return [f"{claim.claim_id}: {problem}" for problem in problems]


def _read_found(row: Row) -> Found:
    return Found(row["value"], row["low"], row["high"], tokens=row["tokens"])


def _check_statement(statement: Statement, row: Row, data: Path, recorded: Mapping[str, Any]) -> list[str]:
    unread = claim_statements.find_outcome(statement, data / "no-runs")
    fresh = make_statement_row(statement, data, unread, {})
    problems = _check_row(row, fresh)
    names = [name for name in COLUMNS if name.startswith("laptop_")]
    changed = [name for name in names if row[name] != (None if fresh.get(name) == "" else fresh.get(name))]
    problems += [f"the committed tables give another {', '.join(changed)}"] if changed else []
    if row["hash"] and row["hash"] != hash_statement(statement, row, recorded):
        problems.append("its hash can't be derived again")
    if (row["value"] is None) != (row["hash"] is None):
        problems.append("a value without a hash, or a hash without a value")
    return [f"{statement.claim_id}: {problem}" for problem in problems]


def _check_row(row: Row, fresh: Row) -> list[str]:
    """What of a row is not what the claims say, values apart."""
    same = [*"kind where system benchmark setting metric published published_low published_high how_known".split()]
    same += [*"tolerance profile command statement test published_tokens".split()]
    changed = [name for name in same if row[name] != (fresh.get(name) if fresh.get(name) != "" else None)]
    problems = [f"another {', '.join(changed)} than the claim has"] if changed else []
    return problems + ([] if row["status"] in STATUSES else [f"no status {row['status']}"])


# ------------------------------------------------------------------ the shell


def describe_ledger(ledger: pd.DataFrame) -> str:
    """How many rows have which status, in words."""
    numbers, claims = (ledger[ledger["kind"] == kind] for kind in ("number", "statement"))
    counts = Counter(numbers["status"])
    lines = [f"{len(numbers)} published numbers: " + ", ".join(f"{counts[status]} {status}" for status in STATUSES)]
    verdicts = Counter(claims["laptop_verdict"])
    said = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    lines.append(f"{len(claims)} qualitative claims, as the laptop's own experiment has them: {said}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.claims", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="folder of all runs; else $S1_RUNS, or runs/")
    parser.add_argument("--out", type=Path, help="where the ledger goes; else figures/data/ledger.csv, recorded there")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail unless every hash can be derived again"
    )
    chosen = parser.parse_args(arguments)
    data, runs = paths.FIGURES / "data", (chosen.runs or paths.find_runs()).resolve()
    try:
        if chosen.check:
            return _report_wrong(find_wrong(data), data)
        if chosen.runs and not runs.is_dir():
            raise StudyError(f"There is no folder {runs}: give that of all runs, such as runs.")
        if chosen.out:
            ledger = make_ledger(data, runs)[0]
            write_ledger(ledger, chosen.out)
        else:
            ledger = publish(data, runs)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(describe_ledger(ledger))
    return 0


def _report_wrong(wrong: list[str], data: Path) -> int:
    if wrong:
        again = "make it again with `python -m s1_utils.claims`"
        print(f"error: {data / NAME}.csv isn't what the committed tables give, {again}:", file=sys.stderr)
        print("\n".join(wrong), file=sys.stderr)
        return 1
    print("Every hash of the ledger can be derived again from the committed tables.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
