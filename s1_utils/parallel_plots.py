"""Figures of parallel scaling: the frontier at equal compute, rejection sampling, samples times budget as a heat map.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Sources of the forms: s1 figures 4b and 7, on one axis, and 6. Tests: tests/test_plots.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from s1_utils.plot_style import BLUE, COLOURS, GREEN, GREY, ORANGE

NO_TOKENS = 0.5  # of the least cost on an axis: where points that cost nothing stand
MOST_TICKS = 9
LOOKS = {  # method → (colour, marker, label)
    "sequential": (BLUE, "o", "forced budget"),
    "waited": (GREEN, "D", "“Wait”"),
    "majority": (ORANGE, "^", "majority of k"),
    "pass": (GREY, "v", "any of k"),
    "weighted": (COLOURS[3], "P", "weighted vote of k"),
    "best": (COLOURS[5], "X", "best of k"),
    "combined": (COLOURS[6], "s", "k samples, any budget"),
}
AXES = {  # measure → (label of the axis, title)
    "thinking_tokens": ("thinking tokens a question", "At equal thinking tokens"),
    "longest_tokens": ("tokens one after another (longest sample)", "At equal length of the longest sample"),
    "flops": ("FLOPs a question", "At equal FLOPs"),
    "seconds": ("seconds a question, as measured", "At equal seconds"),
}


def draw_frontier(ax: Any, table: pd.DataFrame) -> None:
    """The best accuracy within a limit of cost, a step a method, with its band; the points it was chosen from.

    Columns of `frontier.list_frontiers`, one measure: measure, method, kind, cost, accuracy, low, high (shares).
    """
    least = table.loc[table["cost"] > 0, "cost"].min()
    is_free = bool((table["cost"] <= 0).any())
    floor, most, ends = least * (NO_TOKENS if is_free else 1), table["cost"].max(), []
    for method, rows in table.groupby("method", sort=False):
        colour, marker, label = LOOKS.get(method, (GREY, "s", method))
        points, steps = (rows[rows["kind"] == kind].sort_values("cost") for kind in ("point", "frontier"))
        look = {"color": colour, "linewidth": 0, "markersize": 4, "alpha": 0.7}
        ax.plot(points["cost"].clip(lower=floor), 100 * points["accuracy"], marker=marker, **look)
        x = np.append(steps["cost"].clip(lower=floor), most)  # the best setting stays the best beyond its own cost
        low, value, high = (100 * np.append(steps[c], steps[c].iloc[-1]) for c in ("low", "accuracy", "high"))
        ax.fill_between(x, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
        ax.plot(x, value, color=colour, drawstyle="steps-post", linewidth=1.4)
        ends.append((value[-1], label, colour))
    _set_cost_axis(ax, floor / 1.1, most * 1.1)
    ax.set_ylim(0, 100)
    _label_ends(ax, ends)
    axis, title = AXES[table["measure"].iloc[0]]
    ax.set_xlabel(axis + (" (left edge: none)" if is_free else ""))
    ax.set_ylabel("accuracy (%)")
    ax.set_title(title, loc="left", fontsize=10)


def _set_cost_axis(ax: Any, low: float, high: float) -> None:
    """A log axis with ticks at 1, 2 and 5 times powers of ten, or at those alone if there are many."""
    powers = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = np.sort(np.outer(powers, (1, 2, 5)).ravel())
    ticks = ticks[(low <= ticks) & (ticks <= high)]
    if len(ticks) > MOST_TICKS:
        ticks = powers[(low <= powers) & (powers <= high)]
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{tick:g}".replace("e+", "e") for tick in ticks])
    ax.minorticks_off()
    ax.set_xlim(low, high)


def _label_ends(ax: Any, ends: list[tuple[float, str, str]]) -> None:
    """Names right of the lines, moved apart where they would touch (in points of the axis, 0 to 100)."""
    gap, at = 5.5, -np.inf
    for value, label, colour in sorted(ends):
        at = max(value, at + gap)
        ax.annotate(label, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color=colour,
                    annotation_clip=False)  # fmt: skip


def draw_rejection(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy of samples kept for being short enough, against their length: all questions, and the same ones.

    Columns of `frontier.summarise_rejection`.
    """
    looks = {
        ("accuracy", "low", "high"): (BLUE, "o", "all questions; none that fits is wrong"),
        ("same", "same_low", "same_high"): (ORANGE, "D", "the same questions throughout"),
    }
    rows = table[table["reached"] > 0]
    for columns, (colour, marker, label) in looks.items():
        value, low, high = (100 * rows[column] for column in columns)
        ax.fill_between(rows["thinking_tokens"], low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(rows["thinking_tokens"], value, color=colour, marker=marker, markersize=4.5, label=label)
    for row in rows.itertuples():
        ax.annotate(f"≤ {row.limit}", (row.thinking_tokens, 100 * row.accuracy), (0, -12), ha="center", fontsize=7.5,
                    textcoords="offset points")  # fmt: skip
    ax.set_ylim(0, 100)
    ax.set_xlabel("thinking tokens of what is kept (mean)")
    ax.set_ylabel("accuracy (%)")
    ax.legend(loc="lower right", fontsize=7.5)
    ax.set_title("Rejection sampling: keep what is short enough", loc="left", fontsize=10)


def draw_combination(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy of the majority of k samples at every budget: k, budget, accuracy, low, high (shares), best.

    A cell's number is its accuracy in % and, small, half its interval; framed where all cheaper cells are worse.
    """
    from matplotlib.patches import Rectangle

    ks, budgets = sorted(set(table["k"])), sorted(set(table["budget"]))
    x, y = table["k"].map(ks.index), table["budget"].map(budgets.index)
    grid = np.full((len(budgets), len(ks)), np.nan)
    grid[y, x] = 100 * table["accuracy"]
    low, high = 10 * np.floor(np.nanmin(grid) / 10), 10 * np.floor(np.nanmax(grid) / 10) + 10
    ax.pcolormesh(grid, cmap="cividis", vmin=low, vmax=high, edgecolors="white", linewidth=0.8)
    for xi, yi, row in zip(x, y, table.itertuples(), strict=True):
        is_dark = 100 * row.accuracy < (low + high) / 2
        look = {"ha": "center", "va": "center", "color": "white" if is_dark else "black"}
        ax.text(xi + 0.5, yi + 0.6, f"{100 * row.accuracy:.0f}", fontsize=9, **look)
        ax.text(xi + 0.5, yi + 0.25, f"±{50 * (row.high - row.low):.0f}", fontsize=6.5, **look)
        if row.best:
            ax.add_patch(Rectangle((xi + 0.04, yi + 0.04), 0.92, 0.92, fill=False, edgecolor=ORANGE, linewidth=1.8))
    ax.set_xticks(np.arange(len(ks)) + 0.5, [f"{k:g}" for k in ks])
    ax.set_yticks(np.arange(len(budgets)) + 0.5, [f"{budget:g}" for budget in budgets])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set_xlabel("samples that vote (framed: all cheaper ones are worse)")
    ax.set_ylabel("thinking budget of each (tokens)")
    ax.set_title("Accuracy (%) by length and number of samples", loc="left", fontsize=10)
