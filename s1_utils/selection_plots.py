"""Figures of the selection: the funnel, its domains, the lengths of its traces, its stability over seeds.

Knows columns and axes; knows nothing about where the tables come from. `plots` keeps the list of figures.
Source of a form: s1 Figure 2 left (domains). Tests: tests/test_plots.py.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import pandas as pd

from s1_utils.plot_labels import label_point, set_log_axis
from s1_utils.plot_style import BLUE, COLOURS, GREY, ORANGE, PALE, SMALL, WIDTH, darken

FIELDS = {"mathematics": (BLUE, "-"), "other": (ORANGE, "--")}  # colour and edge
SIDE, LINE, NUMBER = 300.0, 11.5, 7.0  # points: the box of the bubbles, a line of the key, half the room of a number
CHARACTER = 0.58  # its width in DejaVu Sans, in font sizes: the mean of usual letters


def draw_funnel(ax: Any, table: pd.DataFrame) -> None:
    """How many questions are left after each step, and in the paper: step, rows, paper (nullable; may be absent)."""
    paper = table["paper"] if "paper" in table else pd.Series(np.nan, table.index)
    y, with_paper = np.arange(len(table))[::-1], bool(paper.notna().any())
    counts = pd.concat([table["rows"], paper.dropna()]).loc[lambda column: column > 0]
    left, right = (counts.min() / 4, counts.max() * (5 if with_paper else 2.2)) if len(counts) else (0.25, 4)
    _draw_counts(ax, y + 0.18 * with_paper, table["rows"], left, {"color": BLUE, "height": 0.4 if with_paper else 0.62})
    if with_paper:
        ax.figure.set_figheight(max(ax.figure.get_figheight(), 0.42 * len(table) + 0.9))
        _draw_counts(ax, y - 0.2, paper, left, {"color": PALE, "height": 0.2})
    ax.set_yticks(y.tolist(), table["step"])
    set_log_axis(ax, left, right, most=7)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("questions (blue: here, grey: paper)" if with_paper else "questions")
    ax.set_title("From collected questions to training data", loc="left")


def _draw_counts(ax: Any, y: Any, counts: pd.Series, left: float, look: dict[str, Any]) -> None:
    ax.barh(y[counts.notna()], counts.dropna().astype(float), **look)
    text = {"fontsize": SMALL, "color": BLUE if look["color"] == BLUE else darken(GREY)}
    for yi, count in zip(y[counts.notna()], counts.dropna(), strict=True):  # a bar of 0 has no place on a log axis
        ax.annotate(f"{int(count):,}", (count or left, yi), (4, 0), textcoords="offset points", va="center", **text)


def pack_circles(radii: np.ndarray) -> np.ndarray:
    """Centres (n, 2) of circles that don't overlap, close together; `radii` from the largest to the smallest.

    Greedy: each circle touches (up to a small gap) two that are placed, at the free place nearest to the first.
    """
    grown = np.asarray(radii, float) + 0.01 * np.mean(radii)
    centres = np.zeros((len(grown), 2))
    centres[1:2, 0] = grown[:2].sum()
    for k in range(2, len(grown)):
        places = _find_places(centres[:k], grown[:k] + grown[k])
        apart = np.sqrt(((places[:, None] - centres[:k]) ** 2).sum(2)) - (grown[:k] + grown[k])
        free = places[(apart >= -1e-9 * grown[0]).all(1)]
        far = np.round((free**2).sum(1) / grown[0] ** 2, 6)  # rounded: equally far is decided by order, not by noise
        centres[k] = free[far.argmin()]
    return centres


def _find_places(centres: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """The points at distance reach[i] from centre i and reach[j] from centre j, for all pairs that have any."""
    i, j = np.triu_indices(len(centres), 1)
    line = centres[j] - centres[i]
    far = np.sqrt((line**2).sum(1))
    along = (reach[i] ** 2 - reach[j] ** 2 + far**2) / (2 * far)
    aside = reach[i] ** 2 - along**2
    near = aside >= 0
    unit = line[near] / far[near, None]
    middle, offset = centres[i][near] + unit * along[near, None], np.sqrt(aside[near])[:, None]
    normal = unit[:, ::-1] * [-1, 1]
    return np.concatenate([middle + normal * offset, middle - normal * offset])


def draw_domains(ax: Any, table: pd.DataFrame) -> None:
    """A bubble a domain, as large as it has questions: domain, questions, thinking_tokens (mean), field.

    The axis counts points of 1/72 inch, as font sizes do. Titles that don't fit in their bubble stand in a key below.
    """
    from matplotlib.patches import Circle

    rows = table[table["questions"] > 0].sort_values(["questions", "domain"], ascending=[False, True])
    centres, radii = _scale_to_box(np.sqrt(rows["questions"].to_numpy(float)), SIDE)
    key: list[tuple[str, str]] = []
    for (x, y), radius, row in zip(centres, radii, rows.itertuples(), strict=True):
        colour, edge = FIELDS.get(row.field, (GREY, ":"))
        ax.add_patch(Circle((x, y), radius, facecolor=f"{colour}2e", edgecolor=colour, linewidth=0.9, linestyle=edge))
        title, numbers = row.domain.replace("$", "").split(" (")[0], f"{row.questions:,} · {row.thinking_tokens:,.0f}"
        size, text = _fit_label(title, numbers, radius)
        if not text:
            key.append((f"{len(key) + 1}  {textwrap.shorten(title, 46, placeholder=' …')}  {numbers}", darken(colour)))
            size, text = SMALL, str(len(key))
        ax.text(x, y, text, size=size, ha="center", va="center", linespacing=1.1, parse_math=False)
    top, fields = (centres[:, 1] + radii).max(), [field for field in FIELDS if (rows["field"] == field).any()]
    below = _draw_key(ax, key, fields if len(fields) > 1 else [])
    ax.figure.set_size_inches(WIDTH, (1.05 * (top - below + 6) + 30) / 72)
    ax.set(xlim=(-1, SIDE + 1), ylim=(below - 3, top + 3), aspect="equal", anchor="N")
    ax.set_axis_off()
    ax.set_title(f"{rows['questions'].sum():,} questions by domain (questions · mean thinking tokens)", loc="left")


def _scale_to_box(radii: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres and radii in a box of `side`; small circles stand so far apart that each has room for a number."""
    room = radii
    for _ in range(2):
        room = np.maximum(room, NUMBER * _measure_box(pack_circles(room), room) / side)
    centres = pack_circles(room)
    scale = side / _measure_box(centres, room)
    return (centres - (centres - room[:, None]).min(0)) * scale, radii * scale


def _measure_box(centres: np.ndarray, radii: np.ndarray) -> float:
    return float(((centres + radii[:, None]).max(0) - (centres - radii[:, None]).min(0)).max())


def _fit_label(title: str, numbers: str, radius: float) -> tuple[float, str]:
    """The largest font size at which the wrapped title and the numbers lie in the circle, and the text ("": none)."""
    for size in (10.0, 9.0, SMALL):
        for width in range(max(map(len, title.split()), default=1), len(title) + 1):
            lines = [*textwrap.wrap(title, width), numbers]
            heights = [1.2 * size * (abs(i - (len(lines) - 1) / 2) + 0.5) for i in range(len(lines))]
            halves = [CHARACTER * size * len(line) / 2 for line in lines]
            if max(map(math.hypot, heights, halves)) <= radius:
                return size, "\n".join(lines)
    return 0.0, ""


def _draw_key(ax: Any, key: list[tuple[str, str]], fields: list[str]) -> float:
    """The fields and the numbered titles under the bubbles; returns where they end."""
    at = -6.0
    edges = {"-": "solid", "--": "dashed"}
    if fields:
        text = ", ".join(f"{field}: {edges[FIELDS[field][1]]}" for field in fields)
        ax.text(0, at, text, size=SMALL, va="top")
        at -= LINE
    for text, colour in key:
        ax.text(0, at, text, parse_math=False, size=SMALL, color=colour, va="top")
        at -= LINE
    return at


def draw_lengths(ax: Any, table: pd.DataFrame) -> None:
    """Lengths of traces, a histogram of equal area a subset and its median: subset, left, right (tokens), questions."""
    table = table[table["questions"] > 0]
    edges = np.unique(table[["left", "right"]].to_numpy(float))
    is_log = edges[-1] > 16 * edges[edges > 0][0]
    edges[0] = edges[1] / 2 if is_log and edges[0] <= 0 else edges[0]
    subsets = list(dict.fromkeys(table["subset"]))
    shares = [table[table["subset"] == name].groupby("right")["questions"].sum().reindex(edges[1:]) for name in subsets]
    shares = [(share / share.sum()).fillna(0).to_numpy() for share in shares]
    widths = np.diff(np.log2(edges) if is_log else edges)
    peaks, ticks = [(share / widths).max() for share in shares], []
    scale = min(0.85 / np.median(peaks), 1.7 / max(peaks))  # one peak may reach into the row above
    for base, name, share in zip(range(0, -len(subsets), -1), subsets, shares, strict=True):
        steps = {"values": base + scale * share / widths, "edges": edges, "baseline": base, "color": BLUE}
        ax.stairs(**steps, fill=True, alpha=0.2)
        ax.stairs(**steps)
        median = np.interp(0.5, np.r_[0, share.cumsum()], edges)
        ax.plot([median], [base], marker="^", color=ORANGE, clip_on=False)
        ticks.append(f"{name}\nn = {table[table['subset'] == name]['questions'].sum():,}\nmedian {median:,.0f}")
    ax.set_yticks(range(0, -len(subsets), -1), ticks, va="bottom")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(bottom=-len(subsets) + 0.95)
    _set_length_axis(ax, edges[0], edges[-1], is_log)
    ax.set_xlabel("thinking tokens (▲ median; equal areas)")
    ax.set_title("How long the chosen traces are", loc="left")


def _set_length_axis(ax: Any, low: float, high: float, is_log: bool) -> None:
    if is_log:
        ax.set_xscale("log", base=2)
        ticks = 2.0 ** np.arange(max(0, math.ceil(math.log2(low))), math.floor(math.log2(high)) + 1)
        ticks = ticks[:: math.ceil(len(ticks) / 7)]
        ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        ax.minorticks_off()
    else:
        ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlim(low, high)


def draw_inclusion(ax: Any, table: pd.DataFrame) -> None:
    """How often each question is chosen over seeds: subset, rank, share (falling), size, forced (included outright)."""
    table = table.assign(rank=table["rank"] - table["rank"].min() + 1)
    for i, (subset, rows) in enumerate(table.groupby("subset", sort=False)):
        colour, rows = COLOURS[i % len(COLOURS)], rows.sort_values("rank")
        line = ("-", "--", "-.", ":")[i % 4]
        ax.plot(rows["rank"], 100 * rows["share"], color=colour, drawstyle="steps-mid", linestyle=line)
        middle = rows.iloc[(rows["share"] - rows["share"].max() / 2).abs().argmin()]
        label_point(ax, (middle["rank"], 100 * middle["share"]), subset, colour)
        forced = rows[rows["forced"].astype(bool)]
        if len(forced):
            ax.plot(forced["rank"], 100 * forced["share"], color=colour, linewidth=6, alpha=0.3)
            label_point(ax, (forced["rank"].median(), 100), f"included outright ({len(forced):,})", colour)
    for size in sorted(set(table["size"])):
        ax.plot([1, size, size], [100, 100, 0], color=GREY, linestyle=":", linewidth=1)
        label_point(ax, (size, 92), f"{size:,} are chosen", GREY)
    if table["rank"].max() > 8 * table["size"].min():
        ax.set_xscale("log")
    else:
        ax.locator_params(axis="x", integer=True)
    ax.minorticks_off()
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlim(left=1)
    ax.set_ylim(0, 110)
    ax.set_xlabel("questions, most often chosen first (dotted: all seeds agree)")
    ax.set_ylabel("seeds that choose it (%)")
    ax.set_title("How stable the selection is over seeds", loc="left")
