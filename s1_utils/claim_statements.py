"""Qualitative claims against tables: those of a finished run of the paper's model, and those published in figures/data.

Knows where both lie and whose they are; the claims are `statements`', their tests `statement_tests`'.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import claim_runs, figure_tables, provenance, report, statements
from s1_utils.claim_rules import MISSED, NOT_RUN, REPRODUCED, UNDERPOWERED
from s1_utils.errors import StudyError
from s1_utils.statement_tests import FAILS, HOLDS, UNDECIDED, Finding
from s1_utils.statement_tests import NOT_RUN as NO_VERDICT
from s1_utils.statements import Statement

STATUS = {HOLDS: REPRODUCED, FAILS: MISSED, UNDECIDED: UNDERPOWERED, NO_VERDICT: NOT_RUN}
BUILDERS = {**figure_tables.TABLES, "cut_lengths": figure_tables.LARGE["ablations_large_tokens"]}


def find_outcome(statement: Statement, runs: Path) -> tuple[str, Finding, dict[str, Any]]:
    """(status, finding, links of all tables read) from a finished run of the paper's model; never of another one.

    The words for numbers are kept: a claim whose test holds there is `reproduced`, one whose test doesn't is `not
    reproduced`, and one that is undecided is `underpowered`. A half-finished stage is `not run`.
    """
    folder = runs / statement.run / statement.stage
    if not (folder / provenance.MANIFEST).exists():
        started = (folder / "started.json").exists()
        why = "unfinished" if started else "no finished run"
        return _skip(f"{why}: {statement.run}/{statement.stage}")
    try:
        manifest = provenance.read_manifest(folder)
        claim_runs.require_model(statements.S1, manifest, runs, run=statement.run, profile=statements.S1)
        claim_runs.require_benchmark(statements.ON, manifest, runs, run=statement.run, profile=statements.S1)
        folders = provenance.find_stages(runs, statement.run, statements.S1, figure_tables.STAGES)
        builders = {name: BUILDERS[name] for name in statement.tables}
        tables, entries = report.collect_sourced(builders, folders, statements.S1)
        found = statements.evaluate(statement, tables, is_laptop=False)
    except StudyError as error:
        return _skip(str(error))
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        return _skip(f"{statement.run} can't be read ({type(error).__name__}): run it again")
    links = {source: each for entry in entries.values() for source, each in entry["stages"].items()}
    return STATUS[found.verdict], found, links if found.verdict != NO_VERDICT else {}


def _skip(why: str) -> tuple[str, Finding, dict[str, Any]]:
    return NOT_RUN, Finding(math.nan, math.nan, math.nan, NO_VERDICT, "", why), {}


def choose_links(statement: Statement, stages: dict[str, Any]) -> dict[str, Any]:
    """Those of all tables of the statement's stage that the ledger has read: what its hash covers."""
    stage = f"{statement.run}/{statement.stage}/"
    return {source: links for source, links in stages.items() if source.startswith(stage)}


def write_selector(statement: Statement) -> dict[str, Any]:
    """Where a statement's value is, for hashes."""
    return {"run": statement.run, "stage": statement.stage, "tables": list(statement.tables)}


def read_laptop(statement: Statement, data: Path) -> tuple[Finding, str, dict[str, Any]]:
    """(finding, profile that is published, provenance of the tables read) of the tables in `data`.

    Raises StudyError naming the tables that were edited by hand, are gone though they were recorded, or never were.
    """
    names = [statement.laptop.get(name, name) for name in statement.tables]
    known = provenance.read(data)
    provenance.require_unedited(data, names)
    there = [name for name in names if (data / f"{name}.csv").exists()]
    tables = {name: pd.read_csv(data / f"{name}.csv") for name in there}
    found = statements.evaluate(statement, tables)
    profile = next((entry["profile"] for entry in known.values() if entry["profile"]), "laptop")
    entries = {name: known[name] for name in there}
    return found, profile, entries if found.verdict != NO_VERDICT else {}
