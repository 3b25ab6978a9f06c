"""The figure of models asked for a length, in tokens or steps: whether they use it, and what it is worth.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Sources of the forms: s1 tables 11 and 12, drawn. Tests: tests/test_plots.py.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from s1_utils.plot_style import BLUE, GREY, ORANGE


def draw_conditional(ax: Any, table: pd.DataFrame) -> None:
    """Models asked for a length, a line each (columns of obedience.list_points): what they used of it, or what it
    bought. Filled marks end by themselves, hollow ones are stopped."""
    colours, is_length = {"tokens": BLUE, "steps": ORANGE, "s1": GREY}, table["measure"].iloc[0] == "length"
    scale = 1 if is_length else 100
    for (trained, kind, enforced, seed), rows in table.groupby(["trained", "kind", "enforced", "seed"], sort=False):
        look = {"color": colours[trained], "linewidth": 1, "linestyle": "--" if enforced else "-"}
        fill = {"markerfacecolor": "white"} if enforced else {}
        x, y = rows["x"].clip(lower=1), scale * rows["y"].clip(lower=1 if is_length else 0)
        ax.plot(x, y, marker="D" if kind == "steps" else "o", markersize=4.5, **look, **fill)
        if not is_length:
            ax.vlines(x, scale * rows["low"], scale * rows["high"], color=colours[trained], linewidth=1, alpha=0.3)
        is_first = is_length or trained == kind or kind == table["kind"].iloc[0]  # plain s1 has a line for each kind
        if seed == table["seed"].min() and not enforced and is_first:
            name = f"trained on {kind}" if trained == kind else "plain s1"
            place = (6, -6 if trained == "s1" else 5)  # lines may end in one place
            ax.annotate(name, (x.iloc[-1], y.iloc[-1]), place, textcoords="offset points", va="center", fontsize=7.5,
                        color=colours[trained])  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    if is_length:
        ends = [table["x"].min(), table["x"].max()]
        ax.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
        ax.annotate("as asked", (ends[1],) * 2, (4, 0), textcoords="offset points", fontsize=7.5, color=GREY)
        ax.set_xticks(sorted(table["x"].unique()))
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:g}")
    ax.margins(x=0.25)
    ax.minorticks_off()
    ax.set_xlabel("asked for (steps ◆, tokens ●)" if is_length else "thinking tokens (mean)")
    ax.set_ylabel("used (mean)" if is_length else "accuracy (%)")
    ax.set_title("Asked for a length: is it used?" if is_length else "… and is it worth it?", loc="left", fontsize=10)
    for filled, label in ((True, "ends by itself"), (False, "stopped at what was asked")):
        face = {} if filled else {"markerfacecolor": "white"}
        ax.plot([], [], "o", color="black", markersize=4.5, label=label, linestyle="-" if filled else "--",
                linewidth=1, **face)  # fmt: skip
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, fontsize=7.5)
