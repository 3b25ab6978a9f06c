"""Figures: the same table gives the same bytes, and the committed ones are those of the committed tables."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axis import Tick
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from s1_utils import comparison, parallel_plots, paths, plot_labels, plot_style, plots, report, selection_plots, study
from s1_utils.errors import StudyError
from s1_utils.store import hash_file

TABLES = sorted((paths.FIGURES / "data").glob("*.csv"))
TITLES = pd.read_csv(paths.ROOT / "s1_utils" / "msc_top_level.csv")["title"]
DIFFERENCES = pd.DataFrame(
    {
        "subset": ["random", "diverse", "longest", "full"],
        "difference": [-0.05, 0.0, -0.1, 0.09],
        "low": [-0.14, -0.04, -0.18, 0.01],
        "high": [0.03, 0.04, -0.02, 0.17],
        "verdict": ["underpowered", "equivalent", "lower", "higher"],
        "detectable": [0.11, 0.1, 0.12, 0.08],
    }
)
MADE_UP = {  # figure/case → a table that no run has to make first
    "funnel/paper": pd.DataFrame(
        {"step": list("abcd"), "rows": [9000, 70, 0, 70], "paper": pd.array([59029, None, 384, 1000], dtype="Int64")}
    ),
    "funnel/all rejected": pd.DataFrame({"step": ["collected"], "rows": [0], "paper": [None]}),
    "domains/61": pd.DataFrame(
        {
            "domain": TITLES,
            "questions": [1 + 110 // (i + 1) for i in range(len(TITLES))],
            "thinking_tokens": 4700.5,
            "field": ["other" if i % 9 == 0 else "mathematics" for i in range(len(TITLES))],
        }
    ),
    "domains/4": pd.DataFrame(
        {"domain": ["a", "$b", "_c_", "d e"], "questions": 150, "thinking_tokens": 34.0, "field": "mathematics"}
    ),
    "lengths/log": pd.DataFrame(
        {"subset": list("aabb"), "left": [0, 512, 0, 512], "right": [512, 9000, 512, 9000], "questions": [1, 9, 40, 0]}
    ),
    "lengths/linear": pd.DataFrame({"subset": ["a", "a"], "left": [10, 30], "right": [20, 40], "questions": [3, 4]}),
    "inclusion/s1K": pd.DataFrame(
        {"subset": "s1K", "rank": [1, 2, 3], "share": [1, 0.6, 0.4], "size": 2, "forced": [True, False, False]}
    ),
    "spread/two": pd.DataFrame(
        {
            "measure": list("aabb"),
            "subset": ["s1K", "random"] * 2,
            "low": 1.0,
            "q1": 2.0,
            "median": 3,
            "q3": 4,
            "high": 5,
        }
    ),
    "train_length/cut": pd.DataFrame(
        {"label": ["96 tokens", "all"], "thinking_tokens": [61, 40], "accuracy": 0.3, "low": 0.2, "high": 0.4, "n": 128}
    ),
    "conditional/both kinds": pd.DataFrame(
        [
            (measure, trained, seed, kind, enforced, x, x / 2 if measure == "length" else 0.4, 0.3, 0.5)
            for measure in ("length", "accuracy")
            for trained, kind, xs in (
                ("s1", "tokens", [16, 128]),
                ("tokens", "tokens", [16, 128]),
                ("s1", "steps", [1, 8]),
                ("steps", "steps", [1, 8]),
            )
            for seed in (0, 1)
            for enforced in (False, True)
            for x in xs
        ],
        columns=["measure", "trained", "seed", "kind", "enforced", "x", "y", "low", "high"],
    ),
    "frontier/three axes": pd.DataFrame(
        [
            (measure, method, kind, scale * cost, accuracy, accuracy - 0.1, accuracy + 0.1)
            for measure, scale in (("thinking_tokens", 1), ("flops", 3e9), ("seconds", 0.01))
            for method, costs in (("sequential", (0, 16, 64)), ("majority", (20, 80)), ("weighted", (20, 80)))
            for kind in ("point", "frontier")
            for cost, accuracy in zip(costs, (0.3, 0.5, 0.52), strict=False)
        ],
        columns=["measure", "method", "kind", "cost", "accuracy", "low", "high"],
    ),
    "rejection/one limit out of reach": pd.DataFrame(
        [
            (8, None, 0.0, 0.0, 0.0, 0.0, None, None, None),
            (16, 14.0, 0.6, 0.4, 0.3, 0.5, 0.6, 0.5, 0.7),
            (64, 30.0, 1.0, 0.5, 0.4, 0.6, 0.5, 0.4, 0.6),
        ],
        columns=["limit", "thinking_tokens", "reached", "accuracy", "low", "high", "same", "same_low", "same_high"],
    ),
    "combination/holes": pd.DataFrame(
        [(k, budget, 0.3 + 0.05 * k, 0.2, 0.5, k == 1) for k in (1, 2, 8) for budget in (16, 64) if k * budget < 500],
        columns=["k", "budget", "accuracy", "low", "high", "best"],
    ),
    "frontier/every method ends alike": pd.DataFrame(
        [
            ("thinking_tokens", method, kind, cost, 0.9, 0.8, 1.0)
            for method in parallel_plots.LOOKS
            for kind in ("point", "frontier")
            for cost in (20, 80)
        ],
        columns=["measure", "method", "kind", "cost", "accuracy", "low", "high"],
    ),
    "comparison/seven runs that end alike": pd.DataFrame(
        [(panel, f"run-{i}", 10 * x, 0.5, 0.4, 0.6, None) for panel in ("a", "b") for i in range(7) for x in (1, 2, 9)],
        columns=["panel", "run", "thinking_tokens", "accuracy", "low", "high", "chance"],
    ),
    "votes/long names": pd.DataFrame(
        [
            (f"a model with a name of some length {i}", 120, k, 0.1, *[0.2 + 0.1 * k] * 3, *[0.2 + 0.02 * k] * 3)
            for i in range(5)
            for k in (1, 2, 4)
        ],
        columns=[
            "panel",
            "questions",
            "k",
            "undecided",
            "pass_k",
            "pass_k_low",
            "pass_k_high",
            "maj_k",
            "maj_k_low",
            "maj_k_high",
        ],
    ),
    "subset_differences/here": DIFFERENCES,
    "subset_differences/paper": DIFFERENCES.assign(
        paper=[-13.3, -23.3, -16.7, None], paper_low=[-26.7, -40, -36.7, None], paper_high=[-3.3, -10, 0, None]
    ),
}


DATA = paths.FIGURES / "data"
COMMITTED = {name: table for name in plots.FIGURES if (table := plots.read_table(name, DATA)[0]) is not None}
ALL = {**MADE_UP, **{f"{name}/committed": table for name, table in COMMITTED.items()}}


def test_there_is_a_table_for_every_figure():
    assert set(plots.FIGURES) == {case.split("/")[0] for case in ALL} | {"votes"}


@pytest.mark.parametrize("case", MADE_UP)
def test_drawing_a_table_twice_gives_the_same_bytes(tmp_path, case):
    for name in ("one", "two"):
        plots.save(plots.draw(case.split("/")[0], MADE_UP[case]), tmp_path, name, ("svg", "png", "pdf"))
    for kind in ("svg", "png", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


REDRAW = """
import sys
from pathlib import Path
from s1_utils import plots
plots.draw_all(Path(sys.argv[1]), Path(sys.argv[2]), kinds=("svg", "png", "pdf"))
"""


def test_two_processes_with_other_hash_seeds_draw_the_same_bytes(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("sequential", "domains", "champ_votes", "ablations_large"):
        shutil.copy(DATA / f"{name}.csv", tmp_path / "data")
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}", "LC_ALL": "C"}
        command = [sys.executable, "-c", REDRAW, tmp_path / "data", tmp_path / seed]
        subprocess.run(command, check=True, cwd=paths.ROOT, env=environment)
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(names) == 3 * 4
    assert [
        name for name in names if (tmp_path / "1" / name).read_bytes() != (tmp_path / "2" / name).read_bytes()
    ] == []


# ------------------------------------------------------------------ legible


def list_texts(figure):
    """(text, its box in pixels) of all that is shown, stamps apart. Ticks out of sight have texts that nobody sees."""
    renderer = figure.canvas.get_renderer()
    hidden = {id(label) for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for axis in (axis for ax in figure.axes if ax.axison for axis in (ax.xaxis, ax.yaxis)):
        axis.get_ticklabels(which="both")  # brings ticks up to date
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                hidden -= {id(tick.label1), id(tick.label2)}
    found = []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and text.get_rotation() != 25 and id(text) not in hidden:
            box = text.get_window_extent(renderer)
            if box.width > 0:
                found.append((text, box))
    return found


@pytest.fixture(scope="module")
def figures():
    return {case: plots.draw(case.split("/")[0], table) for case, table in ALL.items()}


@pytest.mark.parametrize("case", ALL)
def test_at_the_width_of_a_column_no_text_is_smaller_than_six_points(figures, case):
    figure = figures[case]
    scale = plot_style.COLUMN / figure.get_figwidth()
    sizes = [text.get_fontsize() * scale for text, _ in list_texts(figure)]
    assert min(sizes) >= 6 - 1e-9


@pytest.mark.parametrize("case", ALL)
def test_no_two_texts_of_a_figure_touch_and_none_is_cut_off(figures, case):
    figure = figures[case]
    texts = list_texts(figure)
    touching = [
        (one.get_text(), other.get_text())
        for (one, a), (other, b) in itertools.combinations(texts, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]
    assert touching == []
    width, height = figure.get_size_inches() * figure.dpi
    cut = [t.get_text() for t, b in texts if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1]
    assert cut == []


@pytest.mark.parametrize("case", ALL)
def test_coloured_text_has_the_contrast_that_wcag_asks_for(figures, case):
    for text, _ in list_texts(figures[case]):
        if case.startswith("combination") and text.axes is not None and text in text.axes.texts:
            continue  # on cells: tested below
        colour = [round(255 * channel) for channel in to_rgb(text.get_color())]
        assert 1.05 / (plot_style.measure_luminance(colour) + 0.05) >= 4.5, text.get_text()


def test_numbers_on_the_cells_of_a_heat_map_have_contrast(figures):
    for case in (case for case in ALL if case.startswith("combination")):
        (ax,) = figures[case].axes
        mesh = ax.collections[0]
        table = ALL[case]
        shown = [text for text in ax.texts if not text.get_text().startswith("±")]
        for text, accuracy in zip(shown, table["accuracy"], strict=True):
            cell = [round(255 * channel) for channel in mesh.cmap(mesh.norm(100 * accuracy))[:3]]
            ink = [round(255 * channel) for channel in to_rgb(text.get_color())]
            light, dark = sorted((plot_style.measure_luminance(cell), plot_style.measure_luminance(ink)))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB (IEEE TVCG 15:6, table 1)
SIGHTS = {
    "trichromacy": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
APART = 20.0  # CIE 1976; 2.3 is just noticeable side by side


def see(colour, sight):
    """CIE L*a*b* (D65) of a colour as seen."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    t = XYZ @ np.clip(SIGHTS[sight] @ linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_simulation_confuses_what_people_confuse():
    green, red = "#2e8b2e", "#a86420"
    far = np.linalg.norm(see(green, "trichromacy") - see(red, "trichromacy"))
    near = np.linalg.norm(see(green, "deuteranopia") - see(red, "deuteranopia"))
    assert near < 0.4 * far


def list_series(ax):
    """(colour, marker, line style, line) of the lines that show data: not single rules of one colour."""
    for line in ax.lines:
        spans = len(line.get_xdata()) > 1 and line.get_transform() == ax.transData
        if spans or line.get_marker() not in ("None", "", None):
            yield to_hex(line.get_color()), line.get_marker(), line.get_linestyle(), line


PALE = {"#dedede", "#9a9a9a"}  # what stands behind: other methods, single steps


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("case", ALL)
def test_the_colours_of_a_figure_stay_apart_for_people_who_see_fewer(figures, case, sight):
    colours = sorted({series[0] for ax in figures[case].axes for series in list_series(ax)} - PALE)
    distances = [np.linalg.norm(see(a, sight) - see(b, sight)) for a, b in itertools.combinations(colours, 2)]
    assert min(distances, default=APART) >= APART


@pytest.mark.parametrize("case", ALL)
def test_without_colours_lines_differ_in_marker_style_or_lightness(figures, case):
    for ax in figures[case].axes:
        series = {(colour, marker, str(style)) for colour, marker, style, _ in list_series(ax)}
        for one, other in itertools.combinations(series, 2):
            lightness = abs(see(one[0], "trichromacy")[0] - see(other[0], "trichromacy")[0])
            assert one[0] == other[0] or one[1:] != other[1:] or lightness >= 10


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=12).map(sorted),
    st.floats(1, 8),
)
def test_names_right_of_lines_never_touch_and_stay_inside_if_there_is_room(wanted, gap):
    places = plot_labels.spread(wanted, gap, 0, 100)
    assert len(places) == len(wanted)
    assert min(np.diff(places), default=gap) >= gap - 1e-6
    if min(np.diff(wanted), default=gap) >= gap:
        assert places == pytest.approx(wanted, abs=1e-6)
    if gap * len(wanted) <= 100:
        assert min(places) >= -1e-6
        assert max(places) <= 100 + 1e-6


@pytest.mark.parametrize("name", COMMITTED)
def test_an_svg_has_its_text_as_text_and_a_title_and_names_no_place_or_time(name):
    text = (paths.FIGURES / f"{name}.svg").read_text("utf-8")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}text")) > 5
    assert root.find(f"{space}title").text.strip()
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert "<script" not in text
    assert not re.search(r"<dc:date|20\d\d-\d\d-\d\dT|/home/|/tmp/", text)


def test_every_line_of_models_asked_for_a_length_is_named_once():
    length, accuracy = plots.draw("conditional", MADE_UP["conditional/both kinds"]).axes
    names = ["plain s1", "trained on tokens", "plain s1", "trained on steps"]
    assert [text.get_text() for text in length.texts] == [*names, "as asked"]
    assert {text.get_text() for text in accuracy.texts} <= {"plain s1", "trained on tokens", "trained on steps"}


def test_every_method_of_a_frontier_is_named_once_a_panel_and_names_do_not_touch():
    panels = plots.draw("frontier", MADE_UP["frontier/three axes"]).axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        parallel_plots.AXES[measure][1] for measure in ("thinking_tokens", "flops", "seconds")
    ]
    for panel in panels:
        assert sorted(text.get_text() for text in panel.texts) == [
            "▲ majority of k",
            "● forced budget",
            "✚ weighted vote of k",
        ]


def test_a_heat_map_frames_its_best_cells_and_leaves_out_those_not_run():
    table = MADE_UP["combination/holes"]
    (ax,) = plots.draw("combination", table).axes
    assert len(ax.patches) == table["best"].sum() == 2
    assert [text.get_text() for text in ax.texts][::2] == [f"{100 * value:.0f}" for value in table["accuracy"]]
    assert len(table) == 5


def test_an_empty_table_shows_no_figure():
    assert plots.show("conditional", MADE_UP["conditional/both kinds"][:0]) is None


RADII = st.lists(st.floats(0.01, 100) | st.just(1.0), min_size=1, max_size=25).map(
    lambda radii: np.array(sorted(radii, reverse=True))
)


@given(RADII)
def test_packed_circles_never_overlap(radii):
    centres = selection_plots.pack_circles(radii)
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    pairs = np.triu_indices(len(radii), 1)
    assert (apart >= radii[:, None] + radii)[pairs].all()


@given(RADII)
def test_packed_circles_lie_close_together(radii):
    centres = selection_plots.pack_circles(radii)
    around = (np.linalg.norm(centres, axis=1) + radii).max()
    assert around**2 <= 12 * (radii**2).sum() + 1e-9


@given(st.text(max_size=60), st.floats(1, 200))
def test_a_label_lies_in_its_circle(title, radius):
    size, text = selection_plots._fit_label(title, "12 · 345", radius)
    lines = text.split("\n")
    halves = [selection_plots.CHARACTER * size * len(line) / 2 for line in lines]
    assert max(halves) <= radius
    assert 1.2 * size * len(lines) / 2 <= radius


def test_a_funnel_says_which_bars_are_the_papers_only_where_there_are_some():
    labels = [
        plots.draw("funnel", MADE_UP[f"funnel/{case}"]).axes[0].get_xlabel() for case in ("paper", "all rejected")
    ]
    assert ["paper" in label for label in labels] == [True, False]


def test_a_domain_has_its_title_in_its_bubble_or_in_the_key():
    table = MADE_UP["domains/61"]
    figure = plots.draw("domains", table)
    texts = " ".join(" ".join(text.get_text().split()) for text in figure.axes[0].texts)
    assert [title for title in table["domain"] if title.replace("$", "").split(" (")[0][:25] not in texts] == []


def test_the_training_figure_has_the_three_curves_of_figure_9_over_the_same_steps():
    table = pd.DataFrame(
        {"step": [1, 2, 3], "loss": [3.0, 2, 1], "grad_norm": [9.0, 8, 7], "learning_rate": [0.0, 1, 0.5]}
    )
    panels = plots.draw("training", table).axes
    for panel, name in zip(panels, ("loss", "grad_norm", "learning_rate"), strict=True):
        assert panel.lines[0].get_xydata().tolist() == table[["step", name]].to_numpy().tolist()
        assert panel.get_xlim() == panels[0].get_xlim()


def test_redrawing_the_committed_tables_gives_the_committed_figures_byte_for_byte(tmp_path):
    names = plots.draw_all(DATA, tmp_path)
    assert set(names) == set(COMMITTED)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for kind in plots.KINDS for path in paths.FIGURES.glob(f"*.{kind}")}
    drifted = [name for name in sorted(drawn) if (tmp_path / name).read_bytes() != (paths.FIGURES / name).read_bytes()]
    assert drifted == [], "run `make figures` with the pinned matplotlib"


def test_a_figure_of_a_table_edited_by_hand_says_so_and_no_other_does(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("training", "ablations"):
        shutil.copy(DATA / f"{name}.csv", data)
    known = {name: {"sha256": hash_file(data / f"{name}.csv")} for name in ("training", "ablations")}
    (data / "provenance.json").write_text(json.dumps(known))
    plots.draw_all(data, tmp_path / "before")
    table = pd.read_csv(data / "ablations.csv")
    table.assign(accuracy=table["high"]).to_csv(data / "ablations.csv", index=False)
    assert plots.find_edited(data) == {"ablations.csv"}
    plots.draw_all(data, tmp_path / "after")
    assert plots.EDITED in (tmp_path / "after" / "ablations.svg").read_text()
    assert plots.EDITED not in (tmp_path / "before" / "ablations.svg").read_text()
    assert (tmp_path / "after" / "training.svg").read_bytes() == (tmp_path / "before" / "training.svg").read_bytes()


def test_tables_of_a_run_that_nobody_recorded_are_no_edited_tables(tmp_path):
    shutil.copy(DATA / "training.csv", tmp_path)
    assert plots.find_edited(tmp_path) == set()


def test_the_shell_draws_a_pdf_on_request_without_a_date(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    shutil.copy(DATA / "training.csv", tmp_path / "data")
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    assert study.main(["figures"]) == 0
    assert not (tmp_path / "training.pdf").exists()
    assert study.main(["figures", "--pdf"]) == 0
    assert "Drew 1 figures" in capsys.readouterr().out
    pdf = (tmp_path / "training.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf


def test_a_stamp_changes_the_figure(tmp_path):
    table = pd.read_csv(paths.FIGURES / "data" / "training.csv")
    plots.save(plots.draw("training", table), tmp_path, "plain")
    plots.save(plots.draw("training", table, "SMOKE"), tmp_path, "stamped")
    assert (tmp_path / "plain.svg").read_bytes() != (tmp_path / "stamped.svg").read_bytes()


def test_the_readmes_results_are_those_of_the_committed_tables(tmp_path):
    readme = (paths.ROOT / "README.md").read_text("utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme, "utf-8")
    report.update_readme(paths.FIGURES / "data", copy)
    assert copy.read_text("utf-8") == readme


def test_a_readme_without_the_markers_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing here", "utf-8")
    with pytest.raises(StudyError, match="lacks the markers"):
        report.update_readme(paths.FIGURES / "data", tmp_path / "README.md")


# ------------------------------------------------------------------ several runs in one figure


def make_run(root, name, *, code="c0de" * 16, accuracy=0.5, model="tiny", questions="q", finished=True):
    """A finished stage 4 with a curve of two budgets and two Waits."""
    folder = root / name / "04_sequential_scaling"
    folder.mkdir(parents=True)
    rows = [
        ("SFT", "budget", 8, 0, 8.0),
        ("SFT", "budget", 64, 0, 64.0),
        ("SFT", "wait", 99, 1, 40.0),
        ("SFT", "wait", 99, 2, 80.0),
    ]
    curve = pd.DataFrame(rows, columns=["model", "control", "budget", "waits", "thinking_tokens"])
    curve.assign(accuracy=accuracy, low=accuracy - 0.1, high=accuracy + 0.1, n=100).to_parquet(folder / "curve.parquet")
    outputs = {"curve.parquet": {"sha256": hash_file(folder / "curve.parquet")}, "tests.parquet": {"sha256": questions}}
    key = {"code": code, "params": {}, "inputs": {}}
    manifest = {"key": key, "outputs": outputs, "chance": 0.25, "commit": "", "dirty": False}
    if finished:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (root / name / "01_collect").mkdir()
    (root / name / "01_collect" / "model.json").write_text(json.dumps({"name": model}))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("S1_RUNS", str(tmp_path / "runs"))
    make_run(tmp_path / "runs", "mine")
    make_run(tmp_path / "runs", "other", accuracy=0.7)
    make_run(tmp_path / "runs", "older", code="0ld" * 21)
    make_run(tmp_path / "runs", "broken", finished=False)
    return tmp_path / "runs"


def test_runs_of_the_same_code_are_drawn_together_each_under_its_name(runs, tmp_path):
    assert study.main(["compare", "mine", "other", "--out", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "comparison_sequential.csv")
    assert dict(zip(table["run"], table["accuracy"], strict=True)) == {"mine": 0.5, "other": 0.7}
    figure = plots.draw("comparison", comparison.compare_runs(["mine", "other"], "sequential"))
    for ax in figure.axes:
        assert {"● mine", "◆ other"} <= {text.get_text() for text in ax.texts}
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".svg", ".png"}


def test_runs_of_different_code_are_refused_with_both_named_unless_asked_for_and_then_labelled(runs, tmp_path, capsys):
    command = ["compare", "mine", "older", "--out", str(tmp_path / "out")]
    assert study.main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "c0dec0dec0de" in error
    assert "0ld0ld0ld0ld" in error
    assert not (tmp_path / "out").exists()
    assert study.main([*command, "--mixed"]) == 0
    names = set(pd.read_csv(tmp_path / "out" / "comparison_sequential.csv")["run"])
    assert names == {"mine\ncode c0dec0dec0de", "older\ncode 0ld0ld0ld0ld"}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["mine", "broken"], "broken is half-finished.*mine, older, other"),
        (["mine", "gone"], "No run 'gone'.*mine, older, other"),
        (["mine", "../runs/other"], "No run '../runs/other'"),
        (["mine", "mine"], "One run is no comparison"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_by_name(runs, names, says):
    with pytest.raises(StudyError, match=says):
        comparison.compare_runs(names, "sequential")


def test_a_curve_changed_after_its_run_is_refused(runs):
    path = runs / "other" / "04_sequential_scaling" / "curve.parquet"
    pd.read_parquet(path).assign(accuracy=0.99).to_parquet(path)
    with pytest.raises(StudyError, match="isn't what its stage wrote"):
        comparison.compare_runs(["mine", "other"], "sequential")


def test_runs_on_different_questions_and_of_random_weights_say_so(runs):
    make_run(runs, "elsewhere", questions="others", model="random-0.1m")
    table = comparison.compare_runs(["mine", "elsewhere"], "sequential")
    assert table["panel"].str.endswith("(different questions)").all()
    assert set(table["run"]) == {"mine", "elsewhere\nrandom weights"}
