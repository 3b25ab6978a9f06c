"""Figures of accuracy against thinking tokens, and of the training's curves.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Sources of the forms: s1 figures 1 and 4a (sequential), 4b (parallel), 9 (training). Tests: tests/test_plots.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from s1_utils.plot_labels import label_end, label_point, write_count
from s1_utils.plot_style import BLUE, COLOURS, GREEN, GREY, ORANGE, SMALL, TITLE, Look

ZERO_TOKENS = 4.0  # where runs without thinking stand on the log axis
MOST_TICKS = 7
COLUMNS = 3  # of small panels, one a method
MEAN_OF = 10  # steps
TRAINING = {  # column → (title, whether steps vary so much that their running mean is drawn)
    "loss": ("training loss (nats per token)", True),
    "grad_norm": ("gradient norm", True),
    "learning_rate": ("learning rate", False),
}
SEQUENTIAL = {  # model, control → look
    ("SFT", "budget"): Look(BLUE, "o", "forced budget"),
    ("SFT", "wait"): Look(ORANGE, "D", "“Wait” at the end", "--"),
    ("base", "budget"): Look(GREY, "s", "base model, forced", "-."),
}
PARALLEL = {  # method → look
    "sequential": Look(BLUE, "o", "forced budget"),
    "waited": Look(GREEN, "D", "“Wait” at the end", "--"),
    "majority": Look(ORANGE, "^", "majority of k", "-."),
    "pass": Look(GREY, "v", "any of k", ":"),
}


def draw_curve(ax: Any, rows: pd.DataFrame, look: Look, *, columns: tuple[str, str, str] | None = None) -> None:
    """Accuracy (shares) of `rows` with its band against thinking tokens, in %; named right of the axes."""
    value, low, high = columns or ("accuracy", "low", "high")
    rows = rows.sort_values("thinking_tokens")
    if rows.empty:
        return
    x = rows["thinking_tokens"].clip(lower=ZERO_TOKENS)
    ax.fill_between(x, 100 * rows[low], 100 * rows[high], color=look.colour, alpha=0.14, linewidth=0)
    ax.plot(x, 100 * rows[value], **look.style)
    label_end(ax, 100 * rows[value].iloc[-1], look.name, look.colour)


def draw_sequential(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy against thinking tokens: forced budgets, waits, the base model, chance."""
    for (model, control), look in SEQUENTIAL.items():
        rows = table[(table["model"] == model) & (table["control"] == control)]
        draw_curve(ax, rows, look)
        for row in rows.itertuples() if control == "wait" else ():
            at = (max(row.thinking_tokens, ZERO_TOKENS), 100 * row.accuracy)
            label_point(ax, at, "natural" if row.waits == 0 else f"×{row.waits}", look.colour)
    draw_chance(ax, table)
    set_token_axis(ax, table["thinking_tokens"].max())
    ax.set_title("Sequential scaling: more thinking, better answers?", loc="left")


def draw_parallel(ax: Any, table: pd.DataFrame) -> None:
    """Majority vote against budget forcing at equal thinking tokens, on the same questions."""
    for method, look in PARALLEL.items():
        draw_curve(ax, table[table["method"] == method], look)
    draw_chance(ax, table)
    set_token_axis(ax, table["thinking_tokens"].max())
    ax.set_title("Sequential against parallel, at equal tokens", loc="left")


def draw_methods(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy against thinking tokens, a small panel a way to control thinking; all other ways behind it, pale."""
    methods = list(dict.fromkeys(table["control"]))
    rows, figure = -(-len(methods) // COLUMNS), ax.figure
    figure.set_figheight(max(figure.get_figheight(), 0.55 + 1.12 * rows))
    grid = ax.get_subplotspec().subgridspec(rows, COLUMNS).subplots(sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    ax.remove()
    for i, (panel, method) in enumerate(zip(panels, methods, strict=False)):
        _draw_method(panel, table, method)
        set_token_axis(panel, table["thinking_tokens"].max(), most=4)
        is_last = i >= COLUMNS * (rows - 1)
        panel.tick_params(labelbottom=is_last)
        panel.set_xlabel("thinking tokens" if is_last else "")
        panel.set_ylabel("accuracy (%)" if i % COLUMNS == 0 else "")
    for panel in panels[len(methods) :]:
        panel.remove()
    if "benchmark" in table:
        figure.suptitle(
            f"Every method: {', '.join(dict.fromkeys(table['benchmark']))}", x=0.01, ha="left", fontsize=TITLE
        )


def _draw_method(ax: Any, table: pd.DataFrame, method: str) -> None:
    for other, rows in table.sort_values("thinking_tokens").groupby("control", sort=False):
        x = rows["thinking_tokens"].clip(lower=ZERO_TOKENS)
        if other != method:
            ax.plot(x, 100 * rows["accuracy"], color="#dedede", linewidth=0.7, zorder=1)
        else:
            ax.plot(x, 100 * rows["accuracy"], **Look(BLUE, "o", "").style, markerfacecolor=BLUE, zorder=3)
            ax.vlines(x, 100 * rows["low"], 100 * rows["high"], color=BLUE, linewidth=1, alpha=0.6)
    ax.axhline(100 * table["chance"].iloc[0], color=GREY, linestyle=":", linewidth=0.9)
    ax.set_title(method, loc="left", fontsize=SMALL, pad=2, parse_math=False)


def draw_comparison(ax: Any, table: pd.DataFrame) -> None:
    """One way to spend tokens in several runs, a curve a run: run (its name), panel, and the columns of a curve."""
    for i, (run, rows) in enumerate(table.groupby("run", sort=False)):
        look = Look(COLOURS[i % len(COLOURS)], "oD^svPX"[i % 7], str(run), ("-", "--", "-.", ":")[i % 4])
        draw_curve(ax, rows, look)
    if table["chance"].nunique() == 1:
        draw_chance(ax, table)
    set_token_axis(ax, table["thinking_tokens"].max())
    ax.set_title(str(table["panel"].iloc[0]), loc="left", parse_math=False)


def draw_training(ax: Any, table: pd.DataFrame) -> None:
    """Loss and gradient norm of every step with their running means, and the learning rate, one above the other."""
    rows = ax.get_subplotspec().subgridspec(len(TRAINING), 1).subplots(sharex=True)
    ax.remove()
    for row, (column, (title, means)) in zip(rows, TRAINING.items(), strict=True):
        look = {"linewidth": 0.6, "color": "#9a9a9a"} if means else {"color": BLUE}
        row.plot(table["step"], table[column], label=column, **look)
        if means:
            row.plot(table["step"], table[column].rolling(MEAN_OF, min_periods=1).mean(), color=BLUE, linewidth=1.6)
        row.set_ylim(bottom=0)
        row.margins(x=0.01)
        row.locator_params(axis="y", nbins=4)
        row.yaxis.set_major_formatter("{x:g}")
        row.set_title(title, loc="left", pad=3)
    rows[-1].set_xlabel(f"step (thin: each step, thick: mean of {MEAN_OF})")


def draw_chance(ax: Any, table: pd.DataFrame) -> None:
    """The accuracy of guessing, dotted, if the table knows it."""
    if "chance" not in table or table["chance"].isna().all():
        return
    chance = 100 * table["chance"].iloc[0]
    ax.axhline(chance, color=GREY, linestyle=":", linewidth=1)
    label_end(ax, chance, "⋯ guessing", GREY)


def set_token_axis(ax: Any, longest: float, *, most: int = MOST_TICKS) -> None:
    """Thinking tokens from none to the longest on a log axis, accuracy from 0 to 100 %."""
    powers = [2**i for i in range(3, 22) if 2**i <= 1.2 * longest]
    step = max(1, -(-len(powers) // (most - 1)))
    ticks = [ZERO_TOKENS, *powers[step - 1 :: step]]
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, ["none", *[write_count(tick) for tick in ticks[1:]]])
    ax.minorticks_off()
    ax.set_xlim(ZERO_TOKENS / 1.25, max(1.25 * longest, 2 * ZERO_TOKENS))
    ax.set_ylim(0, 100)
    ax.set_yticks(np.arange(0, 101, 25 if most < MOST_TICKS else 20))
    ax.set_xlabel("thinking tokens (mean per question)")
    ax.set_ylabel("accuracy (%)")
