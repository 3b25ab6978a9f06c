"""Figures of parallel scaling: the frontier at equal compute, rejection sampling, samples times budget as a heat map.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Sources of the forms: s1 figures 4b and 7, on one axis, and 6. Tests: tests/test_plots.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from s1_utils.plot_labels import label_end, label_point, set_log_axis
from s1_utils.plot_style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, SMALL, WINE, Look

NO_TOKENS = 0.5  # of the least cost on an axis: where points that cost nothing stand
MOST_TICKS = 7
LOOKS = {  # method → look
    "sequential": Look(BLUE, "o", "forced budget"),
    "waited": Look(GREEN, "D", "“Wait”", "--"),
    "majority": Look(ORANGE, "^", "majority of k", "-."),
    "pass": Look(GREY, "v", "any of k", ":"),
    "weighted": Look(PURPLE, "P", "weighted vote of k", "--"),
    "best": Look(WINE, "X", "best of k", ":"),
    "combined": Look(SKY, "s", "k samples, any budget"),
}
REJECTION = {  # columns → look
    ("accuracy", "low", "high"): Look(BLUE, "o", "all questions*"),
    ("same", "same_low", "same_high"): Look(ORANGE, "D", "same questions†", "--"),
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
    floor, most = least * (NO_TOKENS if is_free else 1), table["cost"].max()
    for method, rows in table.groupby("method", sort=False):
        look = LOOKS.get(method, Look(GREY, "s", str(method)))
        points, steps = (rows[rows["kind"] == kind].sort_values("cost") for kind in ("point", "frontier"))
        marks = {**look.style, "linestyle": "None", "markersize": 3.5, "alpha": 0.8}
        ax.plot(points["cost"].clip(lower=floor), 100 * points["accuracy"], **marks)
        x = np.append(steps["cost"].clip(lower=floor), most)  # the best setting stays the best beyond its own cost
        low, value, high = (100 * np.append(steps[c], steps[c].iloc[-1]) for c in ("low", "accuracy", "high"))
        ax.fill_between(x, low, high, step="post", color=look.colour, alpha=0.12, linewidth=0)
        ax.plot(x, value, color=look.colour, linestyle=look.line, drawstyle="steps-post")
        label_end(ax, value[-1], look.name, look.colour)
    set_log_axis(ax, floor / 1.1, most * 1.1, most=MOST_TICKS)
    ax.set_ylim(0, 100)
    axis, title = AXES[table["measure"].iloc[0]]
    ax.set_xlabel(axis + (" (left edge: none)" if is_free else ""))
    ax.set_ylabel("accuracy (%)")
    ax.set_title(title, loc="left")


def draw_rejection(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy of samples kept for being short enough, against their length: all questions, and the same ones.

    Columns of `frontier.summarise_rejection`.
    """
    rows = table[table["reached"] > 0].sort_values("thinking_tokens")
    for columns, look in REJECTION.items():
        value, low, high = (100 * rows[column] for column in columns)
        ax.fill_between(rows["thinking_tokens"], low, high, color=look.colour, alpha=0.13, linewidth=0)
        ax.plot(rows["thinking_tokens"], value, **look.style)
        if len(rows):
            label_end(ax, value.iloc[-1], look.name, look.colour)
    for row in rows.itertuples():
        label_point(ax, (row.thinking_tokens, 100 * row.accuracy), f"≤ {row.limit}", BLUE)
    ax.set_ylim(0, 100)
    ax.set_xlabel("thinking tokens of what is kept (mean)\n* none that fits counts as wrong   † that all limits reach")
    ax.set_ylabel("accuracy (%)")
    ax.set_title("Rejection sampling: keep what is short enough", loc="left")


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
        ax.text(xi + 0.5, yi + 0.66, f"{100 * row.accuracy:.0f}", fontsize=9, **look)
        ax.text(xi + 0.5, yi + 0.25, f"±{50 * (row.high - row.low):.0f}", fontsize=SMALL, **look)
        if row.best:
            ax.add_patch(Rectangle((xi + 0.04, yi + 0.04), 0.92, 0.92, fill=False, edgecolor=ORANGE, linewidth=1.8))
    ax.set_xticks(np.arange(len(ks)) + 0.5, [f"{k:g}" for k in ks])
    ax.set_yticks(np.arange(len(budgets)) + 0.5, [f"{budget:g}" for budget in budgets])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set_xlabel("samples that vote (framed: all cheaper ones are worse)")
    ax.set_ylabel("thinking budget of each (tokens)")
    ax.set_title("Accuracy (%) by length and number of samples", loc="left")
