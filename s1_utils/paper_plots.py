"""The paper's own figures: its published points, runs of the same model over them, this study's experiment beside them.

Knows the columns of `paper_points` and axes; knows nothing about tables. The laptop's experiment has another model and
other questions: it shares the form of a figure, never an axis, and its panel says whose it is. Not drawn, because no
numbers of them are published: figure 9's curves and the histograms of trace lengths; this study's own are `training`
and `lengths`, and figure 2 left, the bubbles, is `domains`. Tests: tests/test_paper_plots.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import paper_points as points
from s1_utils.paper_points import COLUMNS, Tables
from s1_utils.plot_labels import label_point, set_log_axis, write_count
from s1_utils.plot_style import BLUE, GREEN, GREY, ORANGE, PURPLE, SMALL, WINE, Look

NO_LINE = "None"
LOOKS = {  # series → look on a panel of the paper, of ours over it, or of our own experiment
    "budget forcing": Look(BLUE, "o", "budget forcing"),
    "“Wait”": Look(GREEN, "D", "“Wait”", "--"),
    "majority": Look(ORANGE, "^", "majority", "-."),
    "rejection": Look(WINE, "s", "rejection sampling", "--"),
    "REBASE": Look(PURPLE, "P", "REBASE", ":"),
    "sequential": Look(BLUE, "o", "sequential"),
    "trained": Look(BLUE, "o", "trained here", NO_LINE),
    "s1": Look(BLUE, "o", "s1", NO_LINE),
    "others": Look(GREY, "s", "other models", NO_LINE),
}


def draw_panel(ax: Any, table: pd.DataFrame) -> None:
    """One panel (COLUMNS): kind is paper, ours or own; value, low and high in %; x log; label names a point."""
    if (table["kind"] == "own").all():
        ax.set_facecolor("#f6f4ec")
    for (kind, series), rows in table.groupby(["kind", "series"], sort=False):
        look, rows = LOOKS[series], rows.sort_values("x")
        if kind == "paper":
            look = Look(GREY, look.marker, look.label, look.line, hollow=True)
        _draw_series(ax, rows, look)
        if name := _name_series(table, kind, series):
            label_point(ax, (rows["x"].iloc[-1], rows["value"].iloc[-1]), name, look.colour)
    for row in table[table["label"] != ""].itertuples():
        label_point(ax, (row.x, row.value), row.label, GREY if row.kind == "paper" else LOOKS[row.series].colour)
    _set_axes(ax, table)


def _name_series(table: pd.DataFrame, kind: str, series: str) -> str:
    """What tells a series of a panel from the others; nothing for points that have names of their own."""
    is_both = table["kind"].nunique() > 1
    if LOOKS[series].line == NO_LINE:
        return "ours" if kind == "ours" else ""
    if table["series"].nunique() > 1:
        return f"{kind}: {LOOKS[series].label}" if is_both else LOOKS[series].label
    return kind if is_both else ""


def _draw_series(ax: Any, rows: pd.DataFrame, look: Look) -> None:
    if look.line != NO_LINE and len(rows) > 1:
        ax.fill_between(rows["x"], rows["low"], rows["high"], color=look.colour, alpha=0.14, linewidth=0)
    else:
        ax.vlines(rows["x"], rows["low"], rows["high"], color=look.colour, linewidth=1.2, alpha=0.45)
    ax.plot(rows["x"], rows["value"], **{**look.style, "linewidth": 1, "zorder": 3})


def _set_axes(ax: Any, table: pd.DataFrame) -> None:
    low, high, is_narrow = table["x"].min(), table["x"].max(), table["x"].max() < 4 * table["x"].min()
    if is_narrow:
        ax.set_xlim(low - 0.15 * (high - low or low), high + 0.3 * (high - low or low))
        ax.locator_params(axis="x", nbins=4)
        ax.xaxis.set_major_formatter(lambda count, _: write_count(count))
    else:
        set_log_axis(ax, low / 1.35, high * 1.8, most=5)
    floor = 10 * np.floor(table["low"].min() / 10) if table["low"].min() > 60 else 0
    ax.set_ylim(floor, 103 if floor == 0 else 101)
    ax.set_yticks(np.arange(floor, 101, 10 if floor else 25))
    ax.set_xlabel(table["axis"].iloc[0])
    ax.set_ylabel("accuracy (%)")
    ax.set_title(table["panel"].iloc[0], loc="left", fontsize=SMALL)


def explain(figure: Any, name: str, table: pd.DataFrame) -> None:
    """The title above, and below who is who and where the bands come from."""
    title = FIGURES[name].title
    is_run = (table["kind"] == "ours").any()
    text = "hollow: paper, bands: Wilson's 95 %, computed here"
    text += "\nfilled, on white: our run of the same model" if is_run else "; ours: not run"
    figure.suptitle(title, x=0.01, ha="left", fontsize=SMALL + 1)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL)


def build_table(name: str, data: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """The points of a figure and the files in `data` that they come from; None where published.csv isn't there."""
    if not (data / "published.csv").exists():
        return None, []
    tables = Tables(data)
    parts = FIGURES[name].build(tables)
    found = pd.concat([part for part in parts if len(part)], ignore_index=True)
    found["panel"] = found["panel"].replace(points.OWN, points.name_own(data))
    return found[COLUMNS], tables.read


@dataclass(frozen=True)
class PaperFigure:
    title: str
    build: Callable[[Tables], list[pd.DataFrame]]
    columns: int = 2


FIGURES = {
    "paper_figure1": PaperFigure("s1, figure 1: accuracy by thinking tokens", points.build_figure1),
    "paper_figure2": PaperFigure("s1, figure 2 right: accuracy by training examples", points.build_figure2, columns=1),
    "paper_figure4a": PaperFigure("s1, figure 4a: budget forcing past the natural end", points.build_figure4a),
    "paper_figure4b": PaperFigure("s1, figure 4b: majority of the base model against s1", points.build_figure4b),
    "paper_figure6": PaperFigure("s1, figure 6: rejection sampling", points.build_figure6, columns=1),
    "paper_figure7": PaperFigure("s1, figure 7: sequential against parallel", points.build_figure7, columns=1),
}
