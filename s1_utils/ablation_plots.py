"""Figures of the ablations: subsets, their differences to s1K, training length, one measure over many seeds.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Sources of the forms: s1 tables 2 and 8, drawn. Tests: tests/test_plots.py.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from s1_utils.plot_labels import label_point
from s1_utils.plot_style import BLUE, GREEN, GREY, ORANGE, SMALL

VERDICTS = {"higher": (GREEN, "^"), "lower": (ORANGE, "v"), "equivalent": (BLUE, "s")}  # else undecided: grey, round
BARS = {"capsize": 2.5, "markersize": 5, "linewidth": 1.3}


def name_run(row: Any, table: pd.DataFrame) -> str:
    """The subset of a row, with its training seed where the table has several."""
    return f"{row.subset}, seed {row.seed}" if "seed" in table and table["seed"].nunique() > 1 else str(row.subset)


def draw_ablations(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy of a model trained on each subset, with its interval."""
    y = list(range(len(table)))[::-1]
    errors = [100 * (table["accuracy"] - table["low"]), 100 * (table["high"] - table["accuracy"])]
    ax.errorbar(100 * table["accuracy"], y, xerr=errors, fmt="o", color=BLUE, **BARS)
    ax.set_yticks(y, [f"{name_run(row, table)} (n = {row.examples})" for row in table.itertuples()])
    ax.axvline(100 * table["chance"].iloc[0], color=GREY, linestyle=":", linewidth=1)
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("accuracy (%, 95 % interval; dotted: guessing)")
    ax.set_title("What the training subset is worth", loc="left")


def draw_spread(ax: Any, table: pd.DataFrame) -> None:
    """One measure of selections over many seeds, a box a subset: quartiles, and 95 % of the seeds as whiskers."""
    boxes = [
        {"whislo": row.low, "q1": row.q1, "med": row.median, "q3": row.q3, "whishi": row.high, "label": row.subset}
        for row in table.iloc[::-1].itertuples()
    ]
    look = {"color": BLUE}
    ax.bxp(boxes, orientation="horizontal", showfliers=False, widths=0.5, boxprops=look, whiskerprops=look,
           capprops=look, medianprops={"color": ORANGE, "linewidth": 2})  # fmt: skip
    ax.grid(axis="y", visible=False)
    ax.locator_params(axis="x", nbins=4)
    ax.set_title(table["measure"].iloc[0], loc="left")


def draw_subset_differences(ax: Any, table: pd.DataFrame) -> None:
    """Each subset less s1K: subset, difference, low, high, detectable (shares), verdict, and in points, nullable or
    absent: paper, paper_low, paper_high. The paper's have axes of their own: another model, other questions."""
    has_paper = "paper" in table and bool(table["paper"].notna().any())
    ax.figure.set_figheight(max(ax.figure.get_figheight(), 1.2 + 0.4 * len(table)))
    panels = ax.get_subplotspec().subgridspec(1, 1 + has_paper).subplots(sharey=True, squeeze=False)[0]
    ax.remove()
    _draw_here(panels[0], table)
    if has_paper:
        _draw_paper(panels[1], table)
    named = [f"{row.subset}\n{row.verdict}" for row in table.itertuples()]
    panels[0].set_yticks(range(len(table))[::-1], named)
    panels[0].set_ylim(-0.6, len(table) - 0.4)
    for panel in panels:
        panel.axvline(0, color="black", linewidth=0.8)
        panel.grid(axis="y", visible=False)
        panel.locator_params(axis="x", nbins=4)
        panel.set_xlabel("accuracy less s1K's\n(points, 95 % interval)")


def _draw_interval(ax: Any, y: float, value: float, low: float, high: float, **look: Any) -> None:
    ax.plot([low, value, high], [y] * 3, linewidth=1.6, solid_capstyle="butt", markevery=[1], **look)


def _draw_here(ax: Any, table: pd.DataFrame) -> None:
    for y, row in zip(range(len(table))[::-1], table.itertuples(), strict=True):
        (colour, marker), reach = VERDICTS.get(row.verdict, (GREY, "o")), 100 * row.detectable
        ax.barh(y, 2 * reach, left=-reach, height=0.86, color="#ededed")
        _draw_interval(ax, y, 100 * row.difference, 100 * row.low, 100 * row.high, color=colour, marker=marker)
    ax.margins(x=0.05)
    benchmark = f", {table['benchmark'].iloc[0]}" if "benchmark" in table else ""
    ax.set_title(f"This study{benchmark}\n(pale: too small to detect)", loc="left")


def _draw_paper(ax: Any, table: pd.DataFrame) -> None:
    for y, row in zip(range(len(table))[::-1], table.itertuples(), strict=True):
        if not pd.isna(row.paper):
            look = {"color": GREY, "marker": "d", "markerfacecolor": "white"}
            _draw_interval(ax, y, row.paper, row.paper_low, row.paper_high, **look)
    ax.set_title("Paper: s1-32B, AIME24\n(another experiment)", loc="left")


def draw_train_length(ax: Any, table: pd.DataFrame) -> None:
    """Trained on cut or whole traces: label, thinking_tokens (mean at the natural end), accuracy, low, high, n."""
    for i, row in enumerate(table.itertuples()):
        x, y, colour = row.thinking_tokens, 100 * row.accuracy, (BLUE, ORANGE, GREEN)[i % 3]
        errors = [[y - 100 * row.low], [100 * row.high - y]]
        ax.errorbar(x, y, errors, fmt="oDs"[i % 3], color=colour, **BARS)
        label_point(ax, (x, y), f"trained on {row.label}\n{y:.1f} % at {x:,.0f} tokens", colour)
    ax.set_xlim(0, 1.25 * table["thinking_tokens"].max())
    ax.margins(y=0.25)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("thinking tokens at the natural end (mean)")
    ax.set_ylabel("accuracy (%)")
    benchmark = f": {table['benchmark'].iloc[0]}" if "benchmark" in table else ""
    count = f"n = {', '.join(dict.fromkeys(f'{n:,}' for n in table['n']))}"
    ax.set_title(f"Trained on cut traces: longer thinking?{benchmark} ({count})", loc="left", fontsize=SMALL)
