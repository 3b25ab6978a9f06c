"""Figures of pass@k and maj@k of models whose samples are there, a panel a model.

Knows columns and axes; knows nothing about where the samples come from. `plots` keeps the list of figures. Undecided
samples count as wrong. Source of the form: s1 figure 4b, without its axis of tokens, which published samples don't
have. Tests: tests/test_published_samples.py.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from s1_utils.plot_labels import label_point
from s1_utils.plot_style import GREY, ORANGE, SMALL, Look

LOOKS = {"pass_k": Look(GREY, "v", "any of k", ":"), "maj_k": Look(ORANGE, "^", "majority")}
MOST_PANELS = 12
TITLE_WIDTH = 25  # characters


def name_panels(votes: pd.DataFrame, keys: Sequence[str] = ("model", "setting", "task")) -> pd.DataFrame:
    """The rows of `votes` that can be drawn as curves, with their panel: what tells their groups apart, model first.

    Groups of one sample have no curve; of many groups the first `MOST_PANELS` are kept.
    """
    told = [key for key in keys if key == keys[0] or votes[key].nunique() > 1]
    named = votes.assign(panel=votes[told].astype(str).agg(", ".join, axis=1))
    curves = named[named.groupby(list(keys), sort=False)["k"].transform("max") > 1]
    return curves[curves["panel"].isin(curves["panel"].unique()[:MOST_PANELS])]


def draw_votes(ax: Any, table: pd.DataFrame) -> None:
    """Both expectations against k, with their bands, each named where it ends.

    Columns: panel, questions, k, undecided, pass_k, maj_k, each with _low and _high (shares).
    """
    rows = table.sort_values("k")
    for name, look in LOOKS.items():
        low, value, high = (100 * rows[column] for column in (f"{name}_low", name, f"{name}_high"))
        ax.fill_between(rows["k"], low, high, color=look.colour, alpha=0.15, linewidth=0)
        ax.plot(rows["k"], value, **look.style)
        label_point(ax, (rows["k"].iloc[-1], value.iloc[-1]), look.label, look.colour)
    ax.set_xscale("log", base=2)
    ax.set_xticks(rows["k"], [f"{k:g}" for k in rows["k"]])
    ax.minorticks_off()
    ax.set_ylim(0, 105)
    ax.set_yticks(range(0, 101, 25))
    ax.set_xlabel("samples (k)")
    ax.set_ylabel("accuracy (%)")
    first = rows.iloc[0]
    title = textwrap.fill(f"{first['panel']}: {first['questions']} questions", TITLE_WIDTH)
    if first["undecided"] > 0:
        title += f"\n({100 * first['undecided']:.0f} % of samples undecided)"
    ax.set_title(title, loc="left", fontsize=SMALL, parse_math=False)
