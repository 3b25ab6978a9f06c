"""The figure of models asked for a length, in tokens or steps: whether they use it, and what it is worth.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Sources of the forms: s1 tables 11 and 12, drawn. Tests: tests/test_plots.py.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from s1_utils.plot_labels import label_point
from s1_utils.plot_style import BLUE, GREY, ORANGE

LOOKS = {"tokens": (BLUE, "o"), "steps": (ORANGE, "D"), "s1": (GREY, "s")}  # trained on → colour, marker
KEY = "filled: ends by itself; hollow, dashed: stopped at what was asked"


def draw_conditional(ax: Any, table: pd.DataFrame) -> None:
    """Models asked for a length, a line each (columns of obedience.list_points): what they used of it, or what it
    bought. Filled marks end by themselves, hollow ones are stopped."""
    is_length = table["measure"].iloc[0] == "length"
    scale = 1 if is_length else 100
    for (trained, kind, enforced, seed), rows in table.groupby(["trained", "kind", "enforced", "seed"], sort=False):
        colour, marker = LOOKS[trained]
        look = {"color": colour, "marker": marker, "linewidth": 1, "linestyle": "--" if enforced else "-"}
        x, y = rows["x"].clip(lower=1), scale * rows["y"].clip(lower=1 if is_length else 0)
        ax.plot(x, y, **look, **({"markerfacecolor": "white"} if enforced else {}))
        if not is_length:
            ax.vlines(x, scale * rows["low"], scale * rows["high"], color=colour, linewidth=1, alpha=0.3)
        is_first = is_length or trained == kind or kind == table["kind"].iloc[0]  # plain s1 has a line for each kind
        if seed == table["seed"].min() and not enforced and is_first:
            name = f"trained on {kind}" if trained == kind else "plain s1"
            label_point(ax, (x.iloc[-1], y.iloc[-1]), name, colour)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    if is_length:
        _draw_as_asked(ax, table)
    ax.margins(x=0.2, y=0.12)
    ax.minorticks_off()
    ax.set_xlabel("asked for (steps, tokens)" if is_length else f"thinking tokens (mean)\n{KEY}")
    ax.set_ylabel("used (mean)" if is_length else "accuracy (%)")
    ax.set_title("Asked for a length: is it used?" if is_length else "… and is it worth it?", loc="left")


def _draw_as_asked(ax: Any, table: pd.DataFrame) -> None:
    ends = [table["x"].min(), table["x"].max()]
    ax.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
    label_point(ax, (ends[1], ends[1]), "as asked", GREY)
    ax.set_xticks(sorted(table["x"].unique()))
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter("{x:g}")
