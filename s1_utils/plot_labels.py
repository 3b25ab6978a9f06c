"""Names beside lines and points: they stand where they touch no other text, and nobody has to consult a legend.

Knows axes and the boxes of drawn text; knows nothing about tables. `settle` moves what `label_end` and `label_point`
have put down, when the layout is known. Tests: tests/test_plots.py.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from s1_utils.plot_style import SMALL, darken

END, POINT = "a name right of the axes", "a name beside a point"  # artists' labels: never drawn
PLACES = [  # offsets in points and alignments that a name beside a point may have, the best first
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((5, 5), "left", "bottom"),
    ((-5, 5), "right", "bottom"),
    ((5, -5), "left", "top"),
    ((-5, -5), "right", "top"),
    ((0, 15), "center", "bottom"),
    ((0, -15), "center", "top"),
    ((12, 12), "left", "bottom"),
    ((-12, 12), "right", "bottom"),
    ((12, -12), "left", "top"),
    ((-12, -12), "right", "top"),
    ((0, 26), "center", "bottom"),
    ((0, -26), "center", "top"),
    ((16, 24), "left", "bottom"),
    ((-16, 24), "right", "bottom"),
    ((16, -24), "left", "top"),
    ((-16, -24), "right", "top"),
]
TOUCHES, SWAPS, CROSSES = 1000.0, 200.0, 1.0  # what a place costs: on a text or outside the axes, over a name of a
# higher point, per point of a line
NEAR = 20.0  # pixels: points above each other


def label_end(ax: Any, y: float, text: str, colour: str) -> None:
    """Name a line right of the axes, at the height where it ends."""
    ax.annotate(text, (1.015, y), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL, color=darken(colour),
                annotation_clip=False, parse_math=False, label=END)  # fmt: skip


def label_point(ax: Any, at: tuple[float, float], text: str, colour: str = "#333333") -> None:
    """Name a point beside it; left out where it would stand on another text or outside the axes."""
    ax.annotate(text, at, (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=SMALL,
                color=darken(colour), parse_math=False, label=POINT, in_layout=False)  # fmt: skip


def settle(figure: Any) -> None:
    """Lay the figure out, move its names apart, and keep it so: drawing it again gives the same places."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        _spread_ends(ax, renderer)
        points = sorted((text for text in ax.texts if text.get_label() == POINT), key=lambda text: -text.xy[1])
        taken = [text.get_window_extent(renderer) for text in ax.texts if text not in points and text.get_text()]
        lines, placed = _trace_lines(ax), []
        for text in points:
            _place_beside(ax, text, taken, placed, lines, renderer)


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """The places nearest to those wanted (rising), `gap` apart and, if there is room, between `low` and `high`.

    Names that touch share the mean of what they want, as in isotonic regression.
    """
    blocks: list[tuple[float, int]] = []  # (centre, names)
    for place in wanted:
        centre, count = place, 1
        while blocks and blocks[-1][0] + gap * (blocks[-1][1] + count) / 2 > centre:
            before, names = blocks.pop()
            centre, count = (before * names + centre * count) / (names + count), names + count
        blocks.append((centre, count))
    places = [centre + gap * (i - (count - 1) / 2) for centre, count in blocks for i in range(count)]
    for i in reversed(range(len(places))):
        places[i] = min(places[i], high - gap * (len(places) - 1 - i))
    for i in range(len(places)):
        places[i] = max(places[i], low + gap * i)
    return places


def _spread_ends(ax: Any, renderer: Any) -> None:
    ends = sorted((text for text in ax.texts if text.get_label() == END), key=lambda text: text.xy[1])
    if not ends:
        return
    pixels = [ax.transData.transform((1, text.xy[1]))[1] for text in ends]
    gap = 1.04 * max(text.get_window_extent(renderer).height for text in ends)
    box = ax.get_window_extent(renderer)
    for text, place in zip(ends, spread(pixels, gap, box.y0 + gap / 2, box.y1), strict=True):
        text.xyann = (text.xy[0], ax.transData.inverted().transform((box.x0, place))[1])


def _trace_lines(ax: Any) -> np.ndarray:
    """Pixels (n, 2) that the lines, marks and bars of an axes run through, a few points apart."""
    from matplotlib.cbook import STEP_LOOKUP_MAP
    from matplotlib.collections import LineCollection

    traced = [np.zeros((0, 2))]
    for line in ax.lines:
        steps = STEP_LOOKUP_MAP[line.get_drawstyle()](*np.asarray(line.get_xydata(), float).T)
        at = line.get_transform().transform(np.transpose(steps))
        at = at[np.isfinite(at).all(1)]
        steps = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) / 4)) for a, b in itertools.pairwise(at)]
        traced += [at, *(steps if line.get_linestyle() not in ("None", "") else [])]
        if line.get_marker() not in ("None", "", None):  # a mark is wider than its point
            traced += [at + offset for offset in ((-4, 0), (4, 0), (0, -4), (0, 4)) for _ in range(4)]
    for bars in (each for each in ax.collections if isinstance(each, LineCollection)):
        ends = [bars.get_transform().transform(segment) for segment in bars.get_segments()]
        traced += [np.linspace(*end, 30) for end in ends if len(end) == 2 and np.isfinite(end).all()]
    return np.concatenate(traced)


def _place_beside(ax: Any, text: Any, taken: list[Any], placed: list[Any], lines: np.ndarray, renderer: Any) -> None:
    """Give the name the cheapest place there is; take it away if that touches a text or leaves the axes.

    `placed`: (anchor, box) of names of higher points. Of points above each other, the higher has its name higher.
    """
    frame, anchor, costs = ax.get_window_extent(renderer), ax.transData.transform(text.xy), []
    above = [box.y0 for other, box in placed if abs(other[0] - anchor[0]) < NEAR]
    for offset, ha, va in PLACES:
        text.xyann = offset
        text.set(ha=ha, va=va)
        box = text.get_window_extent(renderer)
        touches = sum(box.overlaps(other) for other in taken)
        inside = ((lines > (box.x0, box.y0)) & (lines < (box.x1, box.y1))).all(1).sum()
        leaves = not (frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1))
        swaps = any(box.y0 > other for other in above)
        costs.append(TOUCHES * (touches + leaves) + SWAPS * swaps + CROSSES * inside)
    text.xyann, ha, va = PLACES[int(np.argmin(costs))]
    text.set(ha=ha, va=va)
    if min(costs) >= TOUCHES:
        text.remove()
    else:
        taken.append(text.get_window_extent(renderer))
        placed.append((anchor, taken[-1]))


# ------------------------------------------------------------------ axes


def write_count(count: float) -> str:
    """A count as short as an axis needs it: 512, 2K, 1.5K, 8.2M."""
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= scale:
            return f"{count / scale:.3g}{unit}" if count < 1e12 else f"{count:.0e}".replace("e+", "e")
    return f"{count:g}"


def set_log_axis(ax: Any, low: float, high: float, *, most: int) -> None:
    """A log axis with ticks at 1, 2 and 5 times powers of ten, or at powers alone where those are more than `most`."""
    powers = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = np.sort(np.outer(powers, (1, 2, 5)).ravel())
    ticks = ticks[(low <= ticks) & (ticks <= high)]
    if len(ticks) > most:
        ticks = powers[(low <= powers) & (powers <= high)]
        ticks = ticks[:: -(-len(ticks) // most)]
    ax.set_xlim(low, high)
    ax.set_xscale("log")
    ax.set_xticks(ticks, [write_count(tick) for tick in ticks])
    ax.minorticks_off()
