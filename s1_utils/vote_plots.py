"""Figures of pass@k and maj@k of models whose samples are there, a panel a model.

Knows columns and axes; knows nothing about where the samples come from. `plots` draws what is in `FIGURES`.
Source of the form: s1 figure 4b, without its axis of tokens, which published samples don't have. Tests:
tests/test_published_samples.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from s1_utils.plot_style import GREY, ORANGE

LOOKS = {"pass_k": (GREY, "v", "any of k (pass@k)"), "maj_k": (ORANGE, "^", "majority of k")}
MOST_PANELS = 12
GAP = 7.0  # least distance of two names, in points of the axis, 0 to 100


def name_panels(votes: pd.DataFrame, keys: Sequence[str] = ("model", "setting", "task")) -> pd.DataFrame:
    """The rows of `votes` that can be drawn as curves, with their panel: what tells their groups apart, model first.

    Groups of one sample have no curve; of many groups the first `MOST_PANELS` are kept.
    """
    told = [key for key in keys if key == keys[0] or votes[key].nunique() > 1]
    named = votes.assign(panel=votes[told].astype(str).agg(", ".join, axis=1))
    curves = named[named.groupby(list(keys), sort=False)["k"].transform("max") > 1]
    return curves[curves["panel"].isin(curves["panel"].unique()[:MOST_PANELS])]


def draw_votes(ax: Any, table: pd.DataFrame) -> None:
    """Both expectations against k, with their bands; names right of the lines.

    Columns: panel, questions, k, undecided, pass_k, maj_k, each with _low and _high (shares).
    """
    rows = table.sort_values("k")
    at = 100.0
    for name, (colour, marker, label) in LOOKS.items():
        low, value, high = (100 * rows[column] for column in (f"{name}_low", name, f"{name}_high"))
        ax.fill_between(rows["k"], low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(rows["k"], value, color=colour, marker=marker, markersize=4.5)
        at = min(at - GAP, value.iloc[-1])  # any of k is never below the majority
        ax.annotate(label, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color=colour,
                    annotation_clip=False)  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xticks(rows["k"], [f"{k:g}" for k in rows["k"]])
    ax.minorticks_off()
    ax.set_ylim(0, 100)
    ax.set_xlabel("samples (k)")
    ax.set_ylabel("accuracy (%)")
    first = rows.iloc[0]
    ax.set_title(f"{first['panel']}: {first['questions']} questions", loc="left", fontsize=10, parse_math=False)
    if first["undecided"] > 0:
        text = f"{100 * first['undecided']:.0f} % of samples undecided, counted as wrong"
        ax.annotate(text, (0.02, 0.02), xycoords="axes fraction", fontsize=7, color=GREY)


FIGURES = {"votes": (draw_votes, (4.4, 2.9)), "champ_votes": (draw_votes, (4.4, 2.9))}
