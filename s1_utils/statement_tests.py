"""Tests of qualitative claims on a run's small tables: a value, its interval, and a verdict by a rule in words.

Knows the columns of figures/data; knows no claims and no files. No test computes an interval anew: they take those of
the tables. Where two settings were never compared question by question, the bounds of their difference are those of
their two intervals taken apart (least less most), which are too wide rather than too narrow.
Verdicts: holds, doesn't hold, undecided (the interval has room for both answers). Differences are in points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from s1_utils.errors import StudyError

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "doesn't hold", "undecided", "not run"
MARGIN = 5.0  # points that are equal enough; the study's own since its first paired comparison
SMALLEST = 0.5  # points below which no number of questions is named

FORCING = ["budget", "cut", "wait"]  # controls of notebook 4
OTHERS = ["tokens", "tokens, cut", "short", "long", "rejection"]

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Finding:
    """A test's outcome. `cell`: table, columns and row that it was read from, for hashes and for readers."""

    value: float
    low: float
    high: float
    verdict: str
    cell: str
    note: str = ""


Test = Callable[[Tables], Finding]


class NoCounterpartError(StudyError):
    """The tables lack what a test needs."""


def read_row(tables: Tables, name: str, **conditions: object) -> pd.Series:
    """The one row of a table whose columns have these values; a callable is asked about each value.

    Raises NoCounterpartError where the table, or such a row, isn't there, or there are several.
    """
    if name not in tables:
        raise NoCounterpartError(f"no table {name}")
    table = tables[name]
    for column, wanted in conditions.items():
        if column not in table:
            raise NoCounterpartError(f"{name} has no column {column}")
        met = table[column].map(wanted) if callable(wanted) else table[column] == wanted
        table = table[met.astype(bool)]
    if len(table) != 1:
        raise NoCounterpartError(f"{name} has {len(table)} rows with {_describe(conditions)}")
    return table.iloc[0]


def _describe(conditions: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {'…' if callable(value) else value}" for name, value in conditions.items())


# ------------------------------------------------------------------ rules


def judge_above(low: float, high: float, *, bar: float = 0.0) -> str:
    """Holds if the whole interval lies above the bar, doesn't hold if all of it lies at or below it.

    An interval of no width on the bar is undecided: nothing moved, which shows nothing.
    """
    return HOLDS if low > bar else FAILS if high <= bar and low < bar else UNDECIDED


def judge_below(low: float, high: float, *, bar: float = 0.0) -> str:
    """As `judge_above`, below the bar."""
    return HOLDS if high < bar else FAILS if low >= bar and high > bar else UNDECIDED


def judge_within(low: float, high: float, *, centre: float = 0.0, margin: float = MARGIN) -> str:
    """Holds if the whole interval lies within centre ± margin, doesn't hold if all of it lies outside."""
    if centre - margin < low and high < centre + margin:
        return HOLDS
    return FAILS if high <= centre - margin or low >= centre + margin else UNDECIDED


def count_questions(row: pd.Series, *, bar: float = 0.0) -> str:
    """How many questions would decide, by the row's own power calculation; nothing where that can't say.

    `detectable` is the difference found with power 0.8 at `n`; it shrinks with the root of n, so a difference d takes
    n (detectable / d)² questions: of as many discordant ones, and with one training run's luck left out.
    """
    distance = abs(100 * row["difference"] - bar)
    if distance < SMALLEST or pd.isna(row.get("detectable")):
        return ""
    return f"about {math.ceil(row['n'] * (100 * row['detectable'] / distance) ** 2):,} questions would decide it"


def _find_difference(row: pd.Series, cell: str, judge: Callable[[float, float], str]) -> Finding:
    value, low, high = (100 * float(row[name]) for name in ("difference", "low", "high"))
    verdict = judge(low, high)
    if verdict == HOLDS and judge is judge_within and not 100 * row["detectable"] <= MARGIN:
        return Finding(value, low, high, UNDECIDED, cell, f"could not have detected {MARGIN:g} points")
    return Finding(value, low, high, verdict, cell, count_questions(row) if verdict == UNDECIDED else "")


# ------------------------------------------------------------------ sequential scaling


def examine_forcing(tables: Tables) -> Finding:
    row = read_row(tables, "waits", before=lambda name: name.startswith("SFT budget:"))
    return _find_difference(row, f"waits.csv: difference, {row['before']} → {row['after']}", judge_above)


def examine_slope(tables: Tables) -> Finding:
    row = read_row(tables, "slopes", model="SFT", control="budget")
    values = [float(row[name]) for name in ("scaling", "low", "high")]
    return Finding(*values, judge_within(*values[1:], centre=15.0), "slopes.csv: scaling, SFT budget")


def examine_control(tables: Tables) -> Finding:
    row = read_row(tables, "methods_measured", model="SFT", method="budget")
    share = 100 * min(float(row["control"]), float(row["within"]))
    verdict = HOLDS if share == 100 else FAILS
    return Finding(share, share, share, verdict, "methods_measured.csv: least of control and within, SFT budget")


def examine_truncation(tables: Tables) -> Finding:
    row = read_row(tables, "verdicts", model="SFT", control="cut")
    value, low, high = (100 * float(row[name]) for name in ("rise", "rise_low", "rise_high"))
    return Finding(value, low, high, judge_above(low, high), "verdicts.csv: rise, SFT cut")


def examine_wait(tables: Tables) -> Finding:
    row = read_row(tables, "waits", before=lambda name: name.startswith("SFT wait:"), after=_waits(2))
    return _find_difference(row, f"waits.csv: difference, {row['before']} → {row['after']}", judge_above)


def _waits(number: int) -> Callable[[str], bool]:
    return lambda name: name.startswith("SFT wait:") and name.endswith(f":{number}")


def examine_more_waits(tables: Tables) -> Finding:
    row = read_row(tables, "verdicts", model="SFT", control="wait")
    rise_low, fall, low, high = (100 * float(row[name]) for name in ("rise_low", "fall", "fall_low", "fall_high"))
    verdict = FAILS if high < 0 else HOLDS if fall == 0 and rise_low > 0 else UNDECIDED
    return Finding(fall, low, high, verdict, "verdicts.csv: fall, SFT wait")


def examine_flattening(tables: Tables) -> Finding:
    if "waits" not in tables or not tables["waits"]["after"].map(_waits(6)).any():
        raise NoCounterpartError("no setting with six Waits")
    row = read_row(tables, "waits", before=lambda name: name.startswith("SFT wait:"), after=_waits(6))
    four = read_row(tables, "waits", before=lambda name: name.startswith("SFT wait:"), after=_waits(4))
    return _subtract(row, four, "waits.csv: difference, six Waits less four", judge_within)


def _subtract(first: pd.Series, second: pd.Series, cell: str, judge: Callable[[float, float], str]) -> Finding:
    """The first row's difference less the second's, with bounds of the two intervals taken apart."""
    value = 100 * float(first["difference"] - second["difference"])
    low, high = 100 * float(first["low"] - second["high"]), 100 * float(first["high"] - second["low"])
    return Finding(value, low, high, judge(low, high), cell)


def examine_strings(tables: Tables) -> Finding:
    ours = read_row(tables, "quirks", before=_waits(0), after=_waits(2))
    others = tables["quirks"][tables["quirks"]["after"].str.startswith("SFT “")]
    cell = f"quirks.csv: difference, {ours['after']} less the best of {len(others)} other strings"
    return _subtract(ours, _find_best(others, "quirks has no other strings"), cell, judge_above)


def _find_best(rows: pd.DataFrame, lacking: str) -> pd.Series:
    """The best difference among rows, with bounds of the best whichever of them it is. Raises if there is none."""
    if rows.empty:
        raise NoCounterpartError(lacking)
    return rows[["difference", "low", "high"]].max()


def _find_best_accuracy(rows: pd.DataFrame, lacking: str) -> pd.Series:
    return _find_best(rows.rename(columns={"accuracy": "difference"}), lacking)


# ------------------------------------------------------------------ other methods


def examine_performance(tables: Tables) -> Finding:
    if "methods" not in tables:
        raise NoCounterpartError("no table methods")
    rows = tables["methods"][tables["methods"]["model"] == "SFT"]
    sides = [rows[rows["control"].isin(names)] for names in (FORCING, OTHERS)]
    best, other = (_find_best_accuracy(side, "methods lacks one of the sides") for side in sides)
    cell = f"methods.csv: accuracy, best of {len(sides[0])} forced settings less best of {len(sides[1])} others"
    return _subtract(best, other, cell, judge_above)


def examine_tokens_ignored(tables: Tables) -> Finding:
    return _examine_obedience(tables, "tokens")


def examine_steps_ignored(tables: Tables) -> Finding:
    return _examine_obedience(tables, "steps")


def _examine_obedience(tables: Tables, kind: str) -> Finding:
    row = read_row(tables, "conditional_slopes", trained=kind, kind=kind)
    values = [float(row[name]) for name in ("slope", "low", "high")]
    return Finding(*values, judge_below(*values[1:], bar=0.25), f"conditional_slopes.csv: slope, {row['model']}")


def examine_prompts(tables: Tables) -> Finding:
    row = read_row(
        tables, "length_changes", before=lambda name: name.startswith("SFT short:"),
        after=lambda name: name.startswith("SFT long:"),
    )  # fmt: skip
    value, low, high = (100 * (float(row[name]) - 1) for name in ("ratio", "low", "high"))
    cell = f"length_changes.csv: ratio, {row['before']} → {row['after']}"
    return Finding(value, low, high, judge_above(low, high), cell)


def examine_rejection(tables: Tables) -> Finding:
    if "rejection" not in tables:
        raise NoCounterpartError("no table rejection")
    reached = tables["rejection"].dropna(subset=["same"]).sort_values("limit")
    if len(reached) < 2:
        raise NoCounterpartError("rejection has fewer than two limits that reach half of the questions")
    first, last = reached.iloc[0], reached.iloc[-1]
    value = 100 * float(last["same"] - first["same"])
    low, high = 100 * float(last["same_low"] - first["same_high"]), 100 * float(last["same_high"] - first["same_low"])
    cell = f"rejection.csv: same, limit {last['limit']:.0f} less limit {first['limit']:.0f}"
    return Finding(value, low, high, judge_below(low, high), cell)


# ------------------------------------------------------------------ parallel scaling


def examine_parallel(tables: Tables) -> Finding:
    row = read_row(tables, "parallel_differences", at="mean", axis="thinking_tokens")
    value, low, high = (100 * float(row[name]) for name in ("difference", "low", "high"))
    cell = "parallel_differences.csv: difference, mean over equal thinking tokens"
    return Finding(value, low, high, judge_above(low, high), cell, _mention_flops(tables))


def _mention_flops(tables: Tables) -> str:
    row = read_row(tables, "parallel_differences", at="mean", axis="flops")
    return f"at equal FLOPs {100 * row['difference']:+.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def examine_rebase(tables: Tables) -> Finding:
    row = read_row(tables, "judged_differences", method="rebase")
    return _find_difference(row, "judged_differences.csv: difference, rebase less majority", judge_above)


# ------------------------------------------------------------------ training


def examine_training(tables: Tables) -> Finding:
    natural = read_row(tables, "sequential", model="SFT", control="wait", waits=0).rename({"accuracy": "difference"})
    base = tables["sequential"][tables["sequential"]["model"] == "base"]
    cell = f"sequential.csv: accuracy, SFT at its natural end less the best of {len(base)} settings of the base model"
    return _subtract(natural, _find_best_accuracy(base, "sequential has no base model"), cell, judge_above)


def make_subset_test(subset: str, judge: Callable[[float, float], str]) -> Test:
    """The difference of a subset's model to s1K's, at the forced budget."""

    def test(tables: Tables) -> Finding:
        row = read_row(tables, "subset_differences", subset=subset, control="budget")
        return _find_difference(row, f"subset_differences.csv: difference, {subset} less s1K", judge)

    return test


def examine_cut_worse(tables: Tables) -> Finding:
    row = read_row(tables, "ablation_differences", control="wait", subset=lambda name: name.startswith("s1K@"))
    return _find_difference(row, f"ablation_differences.csv: difference, {row['subset']} less s1K", judge_below)


def examine_cut_longer(tables: Tables) -> Finding:
    row = read_row(tables, "cut_lengths")
    value, low, high = (100 * (float(row[name]) - 1) for name in ("ratio", "low", "high"))
    return Finding(
        value, low, high, judge_above(low, high), f"cut_lengths.csv: ratio, {row['before']} → {row['after']}"
    )
