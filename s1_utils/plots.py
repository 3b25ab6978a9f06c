"""Figures from small tidy tables: one function a figure, a table and an axis in, marks out.

Knows columns and axes; knows nothing about where the tables come from. The same table gives the same bytes (SVG, PNG).
Sources of the forms: s1 Figure 1 (scaling), 4b (parallel), 9 (training), 2 (selection), Table 2 (ablations).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.store import write_atomically

BLUE, ORANGE, GREY, GREEN = "#1f5f8b", "#d1661f", "#6f6f6f", "#3d7f4f"
STYLE = {
    "figure.dpi": 120,
    "savefig.dpi": 160,
    "svg.hashsalt": "s1-study",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
ZERO_TOKENS = 4.0  # where runs without thinking stand on the log axis


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
    """Training loss by step, with its running mean."""
    ax.plot(table["step"], table["loss"], color=GREY, linewidth=0.7, alpha=0.7, label="each step")
    ax.plot(table["step"], table["loss"].rolling(10, min_periods=1).mean(), color=BLUE, label="mean of 10 steps")
    ax.set_xlabel("step")
    ax.set_ylabel("loss (nats per token)")
    ax.set_ylim(bottom=0)
    ax.legend()
    ax.set_title("Fine-tuning on traces", loc="left", fontsize=10)


def draw_funnel(ax: Any, table: pd.DataFrame) -> None:
    """How many questions are left after each step of curation (log axis)."""
    y = range(len(table))[::-1]
    ax.barh(y, table["rows"], color=BLUE, height=0.62)
    for yi, rows in zip(y, table["rows"], strict=True):
        ax.annotate(f"{rows:,}", (rows, yi), (4, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(list(y), table["step"])
    ax.set_xscale("log")
    ax.set_xlim(table["rows"].min() / 4, table["rows"].max() * 2.2)
    ax.minorticks_off()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("questions")
    ax.set_title("From collected questions to training data", loc="left", fontsize=10)


def draw_ablations(ax: Any, table: pd.DataFrame) -> None:
    """Accuracy of a model trained on each subset, with its interval."""
    y = range(len(table))[::-1]
    errors = [100 * (table["accuracy"] - table["low"]), 100 * (table["high"] - table["accuracy"])]
    ax.errorbar(100 * table["accuracy"], list(y), xerr=errors, fmt="o", color=BLUE, capsize=3)
    ax.set_yticks(list(y), [f"{row.subset} (n = {row.examples})" for row in table.itertuples()])
    ax.axvline(100 * table["chance"].iloc[0], color=GREY, linestyle=":", linewidth=1)
    top = (100 * table["chance"].iloc[0], len(table) - 1)
    ax.annotate("chance", top, (3, 8), textcoords="offset points", fontsize=7.5, color=GREY)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("accuracy (%)")
    ax.set_title("What the training subset is worth", loc="left", fontsize=10)


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
    "training": (draw_training, (5.0, 3.0)),
    "funnel": (draw_funnel, (5.6, 2.8)),
    "ablations": (draw_ablations, (5.6, 2.8)),
}


def draw(name: str, table: pd.DataFrame, stamp: str = "") -> Any:
    """The figure `name` drawn from `table`, a panel a benchmark; `stamp` is written across it (a smoke run says so)."""
    import matplotlib
    from matplotlib.figure import Figure

    function, size = FIGURES[name]
    with matplotlib.rc_context(STYLE):
        panels = [rows for _, rows in table.groupby("benchmark", sort=False)] if "benchmark" in table else [table]
        figure = Figure(figsize=(size[0] * len(panels), size[1]), layout="constrained")
        for ax, rows in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            function(ax, rows)
        if stamp:
            figure.text(0.5, 0.5, stamp, rotation=25, ha="center", va="center", fontsize=26, color="#cc000055")
    return figure


def show(name: str, table: pd.DataFrame) -> Any:
    """The figure `name` as an image that a notebook displays, whatever its backend."""
    from IPython.display import Image

    buffer = io.BytesIO()
    draw(name, table).savefig(buffer, format="png", metadata=METADATA["png"])
    return Image(buffer.getvalue(), width=600)


def save(figure: Any, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.png, byte-identical from run to run."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        for kind, metadata in METADATA.items():
            with write_atomically(folder / f"{name}.{kind}") as path:
                figure.savefig(path, format=kind, metadata=metadata)


def draw_all(data: Path, folder: Path, stamp: str = "") -> list[str]:
    """Draw every figure whose table is in `data`; the names drawn."""
    names = [name for name in FIGURES if (data / f"{name}.csv").exists()]
    for name in names:
        save(draw(name, pd.read_csv(data / f"{name}.csv"), stamp), folder, name)
    return names
