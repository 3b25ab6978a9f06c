"""Figures from small tidy tables: one function a figure, a table and an axis in, marks out.

Knows columns and axes; knows nothing about where the tables come from. The same table gives the same bytes (SVG, PNG,
PDF) with the pinned matplotlib, whose own DejaVu Sans is the only font; another matplotlib or FreeType may differ.
Figures of accuracy and training are in curve_plots, of subsets in ablation_plots, of the selection in selection_plots,
of samples and compute in parallel_plots, of lengths asked for in conditional_plots, the paper's own in paper_plots.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import ablation_plots, conditional_plots, curve_plots, paper_plots, parallel_plots, selection_plots
from s1_utils import vote_plots as votes
from s1_utils.ablation_plots import name_run as name_run
from s1_utils.plot_labels import settle
from s1_utils.plot_style import METADATA, STYLE, WIDTH
from s1_utils.store import write_atomically

KINDS = ("svg", "png")
EDITED = "table edited by hand"
FIGURES: dict[str, tuple[Callable[[Any, pd.DataFrame], None], float, int]] = {  # name → function, height, columns
    "sequential": (curve_plots.draw_sequential, 3.0, 1),
    "methods": (curve_plots.draw_methods, 3.0, 1),
    "parallel": (curve_plots.draw_parallel, 3.0, 1),
    "training": (curve_plots.draw_training, 4.2, 1),
    "spread": (ablation_plots.draw_spread, 1.6, 2),
    "ablations": (ablation_plots.draw_ablations, 2.3, 1),
    "funnel": (selection_plots.draw_funnel, 2.6, 1),
    "domains": (selection_plots.draw_domains, 4.4, 1),
    "lengths": (selection_plots.draw_lengths, 4.0, 1),
    "inclusion": (selection_plots.draw_inclusion, 3.0, 1),
    "train_length": (ablation_plots.draw_train_length, 2.6, 1),
    "subset_differences": (ablation_plots.draw_subset_differences, 2.6, 1),
    "conditional": (conditional_plots.draw_conditional, 2.9, 1),
    "ablations_large": (ablation_plots.draw_subset_differences, 2.6, 1),
    "frontier": (parallel_plots.draw_frontier, 2.5, 1),
    "rejection": (parallel_plots.draw_rejection, 2.9, 1),
    "combination": (parallel_plots.draw_combination, 3.2, 1),
    "votes": (votes.draw_votes, 2.0, 2),
    "champ_votes": (votes.draw_votes, 2.0, 2),
    "comparison": (curve_plots.draw_comparison, 2.7, 1),
    **{name: (paper_plots.draw_panel, 2.3, figure.columns) for name, figure in paper_plots.FIGURES.items()},
}


def draw(name: str, table: pd.DataFrame, stamp: str = "") -> Any:
    """The figure `name` drawn from `table`, a panel a benchmark or measure; `stamp` (of a smoke run) across it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    function, height, columns = FIGURES[name]
    with matplotlib.rc_context(STYLE):
        by = next((column for column in ("panel", "benchmark", "measure") if column in table), None)
        panels = [rows for _, rows in table.groupby(by, sort=False)] if by else [table]
        columns = min(columns, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure((WIDTH, height * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, panel in zip(axes, panels, strict=False):
            function(ax, panel)
        for ax in axes[len(panels) :]:
            ax.remove()
        if name in paper_plots.FIGURES:
            paper_plots.explain(figure, name, table)
        settle(figure)
        if stamp:
            figure.text(0.5, 0.5, stamp, rotation=25, ha="center", va="center", fontsize=24, color="#cc000055")
    return figure


def show(name: str, table: pd.DataFrame) -> Any:
    """The figure `name` as an image that a notebook displays, whatever its backend; None for an empty table."""
    import matplotlib
    from IPython.display import Image

    if table.empty:
        return None
    buffer, figure = io.BytesIO(), draw(name, table)
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata=METADATA["png"])
    return Image(buffer.getvalue(), width=600)


def save(figure: Any, folder: Path, name: str, kinds: Collection[str] = KINDS) -> None:
    """Write `name`.svg and `name`.png, or what `kinds` names (pdf), byte-identical from run to run.

    The title of the figure is that of the file, for those who have it read aloud.
    """
    import matplotlib

    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in figure.axes]
    title = " · ".join(dict.fromkeys(filter(None, [figure.get_suptitle(), *titles])))
    with matplotlib.rc_context(STYLE):
        for kind in kinds:
            with write_atomically(folder / f"{name}.{kind}") as path:
                figure.savefig(path, format=kind, metadata={**METADATA[kind], "Title": title})


def draw_all(data: Path, folder: Path, stamp: str = "", kinds: Collection[str] = KINDS) -> list[str]:
    """Draw every figure whose tables are in `data`; the names drawn.

    Where it is recorded which run wrote the tables (provenance.json), a figure of one that was changed since says so.
    """
    drawn, edited = [], find_edited(data)
    for name in FIGURES:
        table, sources = read_table(name, data)
        if table is not None:
            stamps = [stamp, EDITED if edited & set(sources) else ""]
            save(draw(name, table, "\n".join(filter(None, stamps))), folder, name, kinds)
            drawn.append(name)
    return drawn


def read_table(name: str, data: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """The table of the figure (None: nothing to draw it from) and the files in `data` that it was read from."""
    if name in paper_plots.FIGURES:
        return paper_plots.build_table(name, data)
    if not (data / f"{name}.csv").exists():
        return None, []
    table = pd.read_csv(data / f"{name}.csv")
    return (None if table.empty else table), [f"{name}.csv"]


def find_edited(data: Path) -> set[str]:
    """Names of the tables in `data` that aren't what was recorded of them; none where nothing is recorded."""
    if not (data / "provenance.json").exists():
        return set()
    from s1_utils import provenance

    return {name if name.endswith(".csv") else f"{name}.csv" for name in provenance.find_edited(data)}
