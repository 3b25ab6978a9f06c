"""When a published number counts as reproduced: tolerances and verdicts, as rules that were written beforehand.

Knows numbers and intervals; knows no runs and no tables. Written on 2026-11-23, when no model of the paper had been run
here: none of these numbers had a value of ours to look at. Points are percentage points.

Tolerance of    | is                       | because
accuracy        | AIME 6.7 points (two of  | one question of thirty is 3.3 points, and greedy decoding on other
                | thirty questions)        | machines moves one or two (paper, appendix A)
                | MATH500 2 points         | the paper's own numbers for one setting (s1, natural end) lie 2 points
                |                          | apart: 91.0, 92.6, 93.0 (tables 8, 1, 2)
                | GPQA 4 points (eight of  | the same: 53.0, 56.6, 57.6
                | 198 questions)           |
performance     | that of AIME24           | it is an accuracy, the best one
scaling         | 5 points per doubling    | recomputed from the paper's own points it moves by up to 7 with the
                |                          | choice of runs (rejection: -28.6 to -35.7), budget forcing's by 1.6
control, runs   | 0                        | counts of a handful of settings
questions       | 2.5 %; of 1,000: 0       | the released notebook misses the paper's counts by up to 2.3 % (393
                |                          | for 384); 1,000 is a parameter
printed digits  | 0.05 points more         | accuracies are rounded to 0.1
read in figures | 1 point more             | "+-1 point" is what the reading of figure 4b states; taken for all
thinking tokens | 10 %; in figures 12 %    | mean lengths of greedy runs move with a few long traces

With one greedy answer a question, the interval is that of other questions of the kind, ± 18 points on AIME: such a
number can be missed, and hardly reproduced. Several samples a question narrow it to these questions, asked again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

REPRODUCED, MISSED, UNDERPOWERED = "reproduced", "not reproduced", "underpowered"
NOT_RUN, IMPOSSIBLE = "not run", "can't be run"
STATUSES = (REPRODUCED, MISSED, UNDERPOWERED, NOT_RUN, IMPOSSIBLE)

BENCHMARKS = {"AIME24": 30, "AIME25": 30, "MATH500": 500, "GPQA-Diamond": 198}  # their questions
POINTS = {"AIME24": 100 * 2 / 30, "AIME25": 100 * 2 / 30, "MATH500": 2.0, "GPQA-Diamond": 4.0}
SCALING_POINTS = 5.0
COUNT_SHARE = 0.025
ROUNDING = 0.05
READING = 1.0
TOKENS_SHARE, TOKENS_READING = 0.10, 0.02
SLACK = 1e-9  # of floats


def find_tolerance(metric: str, benchmark: str, *, published: float, is_read: bool) -> float:
    """How far ours may lie from a published number of this metric, in its own unit. Raises ValueError for another."""
    if metric in ("accuracy", "performance"):
        return POINTS[benchmark] + (READING if is_read else ROUNDING)
    if metric.startswith("scaling"):
        return SCALING_POINTS
    if metric in ("control %", "runs"):
        return 0.0
    if metric == "questions":
        return 0.0 if published == 1000 else math.ceil(COUNT_SHARE * published)
    raise ValueError(f"No rule for the metric {metric!r}: write one into the table above before anything is run.")


def find_tokens_tolerance(is_read: bool) -> float:
    """How far mean thinking tokens may lie from the published ones, as a share of those."""
    return TOKENS_SHARE + (TOKENS_READING if is_read else 0.0)


@dataclass(frozen=True)
class Found:
    """A value of ours, in the unit of the published one.

    `low`, `high`: its 95 % interval, None where the run has none. `basis`: what the interval covers. `tokens`: mean
    thinking tokens, None where none are published beside the value.
    """

    value: float
    low: float | None
    high: float | None
    basis: str = ""
    tokens: float | None = None


def judge_number(
    published: float, tolerance: float, found: Found, *, tokens: float | None = None, tokens_share: float = 0.0
) -> tuple[str, str]:
    """(status, why) of a published number that has a value of ours, of the claim's own model.

    `reproduced` if our whole 95 % interval lies within published ± tolerance; `not reproduced` if all of it lies
    outside; `underpowered` if it does neither, or if there is no interval. A number published with its thinking
    `tokens` is a point: at other mean tokens than those (± `tokens_share`) it is `not reproduced`, whatever the value.
    """
    if tokens is not None and found.tokens is not None and abs(found.tokens - tokens) > tokens_share * tokens + SLACK:
        far = f"{found.tokens:,.0f} thinking tokens, published {tokens:,.0f} ± {100 * tokens_share:.0f} %"
        return MISSED, far
    if found.low is None or found.high is None or math.isnan(found.low) or math.isnan(found.high):
        return UNDERPOWERED, "the run has no interval for it"
    least, most = published - tolerance - SLACK, published + tolerance + SLACK
    interval = f"[{found.low:.4g}, {found.high:.4g}] ({found.basis}) against {published:g} ± {tolerance:.3g}"
    if least <= found.low and found.high <= most:
        return REPRODUCED, interval
    if found.high < least or found.low > most:
        return MISSED, interval
    return UNDERPOWERED, interval
