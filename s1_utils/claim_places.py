"""Where a published number's counterpart would be: which run, stage, table, rows and column, and the command for it.

Knows the study's tables and shell lines; knows no values. Runs are named after their profile and questions, as
`study run PROFILE --benchmark NAME` names them; lines for papermill change some parameters in a run of their own.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BENCHMARKS = {"AIME24": "aime24", "AIME25": "aime25", "MATH500": "math500", "GPQA-Diamond": "gpqa_diamond"}
OWN = "math500"  # the questions of the profiles themselves
SEQUENTIAL, PARALLEL, ABLATIONS, FILTER = (
    "04_sequential_scaling", "05_parallel_scaling", "06_ablations", "02_filter",
)  # fmt: skip
BASELINES = "baselines"
SAMPLES = {"AIME24": 16, "AIME25": 16}  # of a question, from models that sample; 4 elsewhere
GRADED = {  # the table of a stage → the generations and grades that it summarises
    "curve": ("generations_sft", "grades"),
    "methods_curve": ("generations_methods", "grades_methods"),
    "conditional": ("generations_conditional", "grades_conditional"),
}

Rows = Mapping[str, tuple[Any, ...]]  # column → the values it may have


@dataclass(frozen=True)
class Place:
    """A value: `column` of the row of a stage's table that meets one of `rows`, or a `measure` of several of them.

    `measure`: cell, count (a cell that is exact), scaling, performance, runs, or control, for which `column` is held
    against `limit` (a column) times `per`. Empty `stage`: the folder of a baseline.
    """

    run: str
    stage: str
    table: str
    rows: tuple[Rows, ...] = ()
    measure: str = "cell"
    column: str = "accuracy"
    limit: str = ""
    per: float = 1.0

    def write_selector(self) -> dict[str, Any]:
        """As plain JSON, for hashes."""
        rows = [{name: list(values) for name, values in sorted(each.items())} for each in self.rows]
        return {**vars(self), "rows": rows}


# ------------------------------------------------------------------ rows of tables


def choose_wait(*waits: int) -> Rows:
    """Natural ends, after so many of them were suppressed."""
    return {"model": ("SFT",), "control": ("wait",), "waits": waits}


def choose_cut(*budgets: int) -> Rows:
    """Thinking that is cut at a budget, and may end before."""
    return {"model": ("SFT",), "control": ("cut",), "budget": budgets}


def choose_method(*controls: str) -> Rows:
    return {"model": ("SFT",), "control": controls}


def choose_asked(kind: str, *, enforced: bool, asked: tuple[int, ...] = ()) -> Rows:
    """Models trained with a length asked for, and asked for one."""
    rows: dict[str, tuple[Any, ...]] = {"trained": (kind,), "kind": (kind,), "enforced": (enforced,)}
    return {**rows, "asked": asked} if asked else rows


def choose_subset(subset: str) -> Rows:
    return {"model": (f"{subset}/0",), "control": ("wait",), "waits": (0,)}


# ------------------------------------------------------------------ runs and their commands


def name_run(profile: str, benchmark: str, variant: str = "") -> str:
    """The run of a profile on a benchmark (as the paper calls it); `variant`: with parameters of its own."""
    questions = BENCHMARKS[benchmark]
    parts = [profile, variant, "" if questions == OWN and not variant else questions]
    return "-".join(part for part in parts if part)


def write_study(profile: str, stage: str, benchmark: str = "") -> str:
    """The line that runs one notebook of a profile, on a benchmark other than its own if one is named."""
    asked = f" --benchmark {BENCHMARKS[benchmark]}" if benchmark and BENCHMARKS[benchmark] != OWN else ""
    return f"python -m s1_utils.study run {profile} --only {stage}{asked}"


def write_papermill(profile: str, stage: str, run: str, parameters: str, benchmark: str = "") -> str:
    """The line that runs one notebook with some `parameters` (YAML) changed, in a run of its own."""
    folder = f"runs/{run}/{stage}"
    asked = f" -p benchmark {BENCHMARKS[benchmark]}" if benchmark else ""
    changed = f" -y {shlex.quote(parameters)}" if parameters else ""
    return (
        f"mkdir -p {folder} && papermill notebooks/{stage}.ipynb {folder}/notebook.ipynb "
        f"-f params/{profile}/{stage}.yaml -p run_name {run}{asked}{changed}"
    )


def write_search(profile: str, run: str, parameters: str, benchmark: str) -> str:
    """The lines that run notebook 5 with some `parameters` changed, in a run of its own on a benchmark.

    Notebook 4 comes first: in a run without it, notebook 5 would take the questions of the profile's.
    """
    return " && ".join(
        (
            write_papermill(profile, SEQUENTIAL, run, "", benchmark),
            write_papermill(profile, PARALLEL, run, parameters),
        )
    )


def write_baseline(name: str, benchmark: str, *, samples: int = 1, max_usd: int = 0) -> str:
    """The line that asks a model of Table 1 a benchmark's questions."""
    more = (f" --samples {samples}" if samples > 1 else "") + (f" --max-usd {max_usd}" if max_usd else "")
    questions = BENCHMARKS[benchmark]
    return (
        f"python -m s1_utils.baselines {name} --questions {questions} --out runs/{BASELINES}/{name}-{questions}{more}"
    )


def place_baseline(name: str, benchmark: str) -> Place:
    return Place(f"{BASELINES}/{name}-{BENCHMARKS[benchmark]}", "", "samples", ({"model": (name,)},), column="correct")
