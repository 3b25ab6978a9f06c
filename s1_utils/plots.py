"""Figures from small tidy tables: one function a figure, a table and an axis in, marks out.

Knows columns and axes; knows nothing about where the tables come from. The same table gives the same bytes (SVG, PNG).
Sources of the forms: s1 Figure 1 (scaling), 4b (parallel), 9 (training), Table 2 (ablations), Table 8
(training length). Figures of the selection are in selection_plots, of samples and compute in parallel_plots,
of lengths asked for in conditional_plots.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import conditional_plots, parallel_plots, selection_plots, vote_plots
from s1_utils.plot_style import BLUE, COLOURS, GREEN, GREY, METADATA, ORANGE, STYLE
from s1_utils.store import write_atomically

PANELS = 3  # in a row
ZERO_TOKENS = 4.0  # where runs without thinking stand on the log axis
MEAN_OF = 10  # steps
TRAINING = {  # column → (title, whether steps vary so much that their running mean is drawn)
    "loss": ("training loss (nats per token)", True),
    "grad_norm": ("gradient norm", True),
    "learning_rate": ("learning rate", False),
}


def draw_sequential(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy against thinking tokens: forced budgets, waits, the base model, chance."""
    looks = {
        ("SFT", "budget"): (BLUE, "o", "forced budget"),
        ("SFT", "wait"): (ORANGE, "D", "natural end, then “Wait”"),
        ("base", "budget"): (GREY, "s", "base model, forced budget"),
    }
    for (model, control), (colour, marker, label) in looks.items():
        rows = table[(table["model"] == model) & (table["control"] == control)].sort_values("thinking_tokens")
        x = rows["thinking_tokens"].clip(lower=ZERO_TOKENS)
        ax.fill_between(x, 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.15, linewidth=0)
        ax.plot(x, 100 * rows["accuracy"], color=colour, marker=marker, markersize=4.5, label=label)
        if control == "wait":
            for xi, row in zip(x, rows.itertuples(), strict=True):
                text = "natural" if row.waits == 0 else f"×{row.waits}"
                ax.annotate(
                    text, (xi, 100 * row.accuracy), (0, 7), textcoords="offset points", ha="center", fontsize=7.5
                )
    _draw_chance(ax, table)
    _set_token_axis(ax, table["thinking_tokens"].max())
    ax.set_title("Sequential scaling: more thinking, better answers?", loc="left", fontsize=10)


def draw_methods(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy against thinking tokens for every way to control thinking; a method of one run is a lone mark."""
    import matplotlib

    markers, colours = "oDs^v<>pP*Xhd", matplotlib.colormaps["tab20"].colors
    for i, (method, rows) in enumerate(table.groupby("control", sort=False)):
        rows = rows.sort_values("thinking_tokens")
        x, look = rows["thinking_tokens"].clip(lower=ZERO_TOKENS), {"color": colours[i % 20], "linewidth": 1}
        ax.plot(x, 100 * rows["accuracy"], marker=markers[i % len(markers)], markersize=4.5, label=method, **look)
        ax.vlines(x, 100 * rows["low"], 100 * rows["high"], alpha=0.35, **look)
    _draw_chance(ax, table)
    _set_token_axis(ax, table["thinking_tokens"].max())
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7.5)
    ax.set_title(f"Every method: {table['benchmark'].iloc[0]}", loc="left", fontsize=10)


def draw_parallel(ax: Any, table: pd.DataFrame) -> None:
    """Majority vote against budget forcing at equal thinking tokens, on the same questions."""
    looks = {
        "sequential": (BLUE, "o", "sequential: forced budget"),
        "waited": (GREEN, "D", "sequential: natural end, then “Wait”"),
        "majority": (ORANGE, "^", "parallel: majority of k"),
        "pass": (GREY, "v", "any of k (pass@k)"),
    }
    for method, (colour, marker, label) in looks.items():
        rows = table[table["method"] == method].sort_values("thinking_tokens")
        x = rows["thinking_tokens"].clip(lower=ZERO_TOKENS)
        ax.fill_between(x, 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.13, linewidth=0)
        ax.plot(x, 100 * rows["accuracy"], color=colour, marker=marker, markersize=4.5, label=label)
    _draw_chance(ax, table)
    _set_token_axis(ax, table["thinking_tokens"].max())
    ax.set_title("Sequential against parallel, at equal tokens", loc="left", fontsize=10)


def draw_training(ax: Any, table: pd.DataFrame) -> None:
    """Loss and gradient norm of every step with their running means, and the learning rate, one above the other."""
    rows = ax.get_subplotspec().subgridspec(len(TRAINING), 1).subplots(sharex=True)
    ax.remove()
    for row, (column, (title, means)) in zip(rows, TRAINING.items(), strict=True):
        look = {"linewidth": 0.7, "color": GREY, "alpha": 0.7} if means else {"color": BLUE}
        row.plot(table["step"], table[column], label=column, **look)
        if means:
            row.plot(table["step"], table[column].rolling(MEAN_OF, min_periods=1).mean(), color=BLUE)
        row.set_ylim(bottom=0)
        row.margins(x=0.01)
        row.locator_params(axis="y", nbins=4)
        row.yaxis.set_major_formatter("{x:g}")
        row.set_title(title, loc="left", fontsize=9, pad=3)
    for text, colour, y in (("each step", GREY, 0.96), (f"mean of {MEAN_OF} steps", BLUE, 0.76)):
        rows[0].annotate(text, (0.99, y), xycoords="axes fraction", ha="right", va="top", fontsize=8, color=colour)
    rows[-1].set_xlabel("step")


def draw_ablations(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy of a model trained on each subset, with its interval."""
    y = range(len(table))[::-1]
    errors = [100 * (table["accuracy"] - table["low"]), 100 * (table["high"] - table["accuracy"])]
    ax.errorbar(100 * table["accuracy"], list(y), xerr=errors, fmt="o", color=BLUE, capsize=3)
    ax.set_yticks(list(y), [f"{name_run(row, table)} (n = {row.examples})" for row in table.itertuples()])
    ax.axvline(100 * table["chance"].iloc[0], color=GREY, linestyle=":", linewidth=1)
    top = (100 * table["chance"].iloc[0], len(table) - 1)
    ax.annotate("chance", top, (3, 8), textcoords="offset points", fontsize=7.5, color=GREY)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("accuracy (%)")
    ax.set_title("What the training subset is worth", loc="left", fontsize=10)


def draw_spread(ax: Any, table: pd.DataFrame) -> None:
    """One measure of selections over many seeds, a box a subset: quartiles, and 95 % of the seeds as whiskers."""
    boxes = [
        {"whislo": row.low, "q1": row.q1, "med": row.median, "q3": row.q3, "whishi": row.high, "label": row.subset}
        for row in table.iloc[::-1].itertuples()
    ]
    look = {"color": BLUE}
    ax.bxp(boxes, orientation="horizontal", showfliers=False, widths=0.5, boxprops=look, whiskerprops=look,
           capprops=look, medianprops={"color": ORANGE})  # fmt: skip
    ax.grid(axis="y", visible=False)
    ax.set_title(table["measure"].iloc[0], loc="left", fontsize=10)


def name_run(row: Any, table: pd.DataFrame) -> str:
    """The subset of a row, with its training seed where the table has several."""
    return f"{row.subset}, seed {row.seed}" if "seed" in table and table["seed"].nunique() > 1 else str(row.subset)


def draw_subset_differences(ax: Any, table: pd.DataFrame) -> None:
    """Each subset less s1K: subset, difference, low, high, detectable (shares), verdict, and in points, nullable or
    absent: paper, paper_low, paper_high."""
    verdicts = {"higher": GREEN, "lower": ORANGE, "equivalent": BLUE}
    for y, row in zip(range(len(table))[::-1], table.itertuples(), strict=True):
        colour, reach = verdicts.get(row.verdict, GREY), 100 * row.detectable
        ax.barh(y, 2 * reach, left=-reach, height=0.8, color="#ededed", label="too small to detect here")
        ax.plot([100 * row.low, 100 * row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
        ax.plot(100 * row.difference, y, "o", color=colour)
        ax.annotate(row.verdict, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour)
        if not pd.isna(getattr(row, "paper", None)):
            width, look = row.paper_high - row.paper_low, {"color": "#9a9a9a", "label": "paper (AIME24)"}
            ax.barh(y - 0.28, width, left=row.paper_low, height=0.1, **look)
            ax.plot(row.paper, y - 0.28, "d", color=GREY, markersize=4)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.use_sticky_edges = False
    ax.margins(x=0.04)
    ax.set_yticks(list(range(len(table)))[::-1], table["subset"])
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("accuracy less that of s1K (points, 95 % interval)")
    named = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    ax.legend(named.values(), named, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, fontsize=7.5)
    _set_title(ax, table, "Does the subset matter?")


def draw_train_length(ax: Any, table: pd.DataFrame) -> None:
    """Trained on cut or whole traces: label, thinking_tokens (mean at the natural end), accuracy, low, high, n."""
    for row, colour in zip(table.itertuples(), COLOURS * len(table), strict=False):
        x, y = row.thinking_tokens, 100 * row.accuracy
        label = f"{row.label} → {y:.1f} %, {x:,.0f} thinking tokens, n = {row.n:,}"
        errors = [[y - 100 * row.low], [100 * row.high - y]]
        ax.errorbar(x, y, errors, fmt="o", color=colour, capsize=3, label=label)
    ax.set_xlim(0, 1.15 * table["thinking_tokens"].max())
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("thinking tokens at the natural end (mean)")
    ax.set_ylabel("accuracy (%)")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.2), fontsize=8)
    _set_title(ax, table, "Trained on cut traces: longer thinking?")


def _set_title(ax: Any, table: pd.DataFrame, title: str) -> None:
    benchmark = f" {table['benchmark'].iloc[0]}" if "benchmark" in table else ""
    ax.set_title(title + benchmark, loc="left", fontsize=10)


def _draw_chance(ax: Any, table: pd.DataFrame) -> None:
    chance = 100 * table["chance"].iloc[0]
    ax.axhline(chance, color=GREY, linestyle=":", linewidth=1)
    ax.annotate("chance", (1, chance), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", fontsize=7.5, color=GREY)  # fmt: skip


def _set_token_axis(ax: Any, longest: float) -> None:
    ticks = [ZERO_TOKENS] + [2**i for i in range(3, 20) if 2**i <= 1.2 * longest]
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, ["none"] + [str(tick) for tick in ticks[1:]])
    ax.minorticks_off()
    ax.set_xlabel("thinking tokens (mean per question)")
    ax.set_ylabel("accuracy (%)")
    ax.set_ylim(0, 100)
    ax.legend(loc="upper left")


FIGURES: dict[str, tuple[Callable[[Any, pd.DataFrame], None], tuple[float, float]]] = {
    "sequential": (draw_sequential, (5.6, 3.9)),
    "methods": (draw_methods, (7.4, 4.6)),
    "parallel": (draw_parallel, (5.6, 3.9)),
    "training": (draw_training, (5.0, 4.4)),
    "spread": (draw_spread, (3.2, 1.9)),
    "ablations": (draw_ablations, (5.6, 2.8)),
    "funnel": (selection_plots.draw_funnel, (5.6, 2.8)),
    "domains": (selection_plots.draw_domains, (9.4, 6.6)),
    "lengths": (selection_plots.draw_lengths, (5.6, 4.4)),
    "inclusion": (selection_plots.draw_inclusion, (5.6, 3.4)),
    "train_length": (draw_train_length, (5.6, 3.6)),
    "subset_differences": (draw_subset_differences, (6.4, 2.8)),
    "conditional": (conditional_plots.draw_conditional, (5.0, 3.9)),
    "ablations_large": (draw_subset_differences, (6.4, 2.8)),
    "frontier": (parallel_plots.draw_frontier, (5.4, 3.9)),
    "rejection": (parallel_plots.draw_rejection, (5.4, 3.6)),
    "combination": (parallel_plots.draw_combination, (5.6, 3.6)),
}


def draw(name: str, table: pd.DataFrame, stamp: str = "") -> Any:
    """The figure `name` drawn from `table`, a panel a benchmark or measure; `stamp` (of a smoke run) across it."""
    import matplotlib
    from matplotlib.figure import Figure

    function, size = {**FIGURES, **vote_plots.FIGURES}[name]
    with matplotlib.rc_context(STYLE):
        by = next((column for column in ("benchmark", "measure", "panel") if column in table), None)
        panels = [rows for _, rows in table.groupby(by, sort=False)] if by else [table]
        rows = -(-len(panels) // PANELS)
        columns = -(-len(panels) // rows)
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for ax, panel in zip(axes, panels, strict=False):
            function(ax, panel)
        for ax in axes[len(panels) :]:
            ax.remove()
        if stamp:
            figure.text(0.5, 0.5, stamp, rotation=25, ha="center", va="center", fontsize=26, color="#cc000055")
    return figure


def show(name: str, table: pd.DataFrame) -> Any:
    """The figure `name` as an image that a notebook displays, whatever its backend; None for an empty table."""
    from IPython.display import Image

    if table.empty:
        return None
    buffer, figure = io.BytesIO(), draw(name, table)
    figure.savefig(buffer, format="png", metadata=METADATA["png"])
    return Image(buffer.getvalue(), width=max(600, round(100 * figure.get_figwidth())))


def save(figure: Any, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.png, byte-identical from run to run."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        for kind, metadata in METADATA.items():
            with write_atomically(folder / f"{name}.{kind}") as path:
                figure.savefig(path, format=kind, metadata=metadata)


def draw_all(data: Path, folder: Path, stamp: str = "") -> list[str]:
    """Draw every figure whose table is in `data`; the names drawn."""
    names = [name for name in (*FIGURES, *vote_plots.FIGURES) if (data / f"{name}.csv").exists()]
    for name in names:
        save(draw(name, pd.read_csv(data / f"{name}.csv"), stamp), folder, name)
    return names
