"""Figures: the same table gives the same bytes, and the committed ones are those of the committed tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import parallel_plots, paths, plots, report, selection_plots
from s1_utils.errors import StudyError

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
    "subset_differences/here": DIFFERENCES,
    "subset_differences/paper": DIFFERENCES.assign(
        paper=[-13.3, -23.3, -16.7, None], paper_low=[-26.7, -40, -36.7, None], paper_high=[-3.3, -10, 0, None]
    ),
}


def test_there_is_a_table_for_every_figure():
    assert set(plots.FIGURES) <= {path.stem for path in TABLES} | {case.split("/")[0] for case in MADE_UP}


@pytest.mark.parametrize("case", MADE_UP)
def test_drawing_a_table_twice_gives_the_same_bytes(tmp_path, case):
    for name in ("one", "two"):
        plots.save(plots.draw(case.split("/")[0], MADE_UP[case]), tmp_path, name)
    for kind in plots.METADATA:
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_every_line_of_models_asked_for_a_length_is_named_once():
    length, accuracy = plots.draw("conditional", MADE_UP["conditional/both kinds"]).axes
    names = ["plain s1", "trained on tokens", "plain s1", "trained on steps"]
    assert [text.get_text() for text in length.texts] == [*names, "as asked"]
    assert [text.get_text() for text in accuracy.texts] == ["plain s1", "trained on tokens", "trained on steps"]


def test_every_method_of_a_frontier_is_named_once_a_panel_and_names_do_not_touch():
    panels = plots.draw("frontier", MADE_UP["frontier/three axes"]).axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        parallel_plots.AXES[measure][1] for measure in ("thinking_tokens", "flops", "seconds")
    ]
    for panel in panels:
        assert sorted(text.get_text() for text in panel.texts) == [
            "forced budget",
            "majority of k",
            "weighted vote of k",
        ]
        heights = sorted(text.xy[1] for text in panel.texts)
        assert min(np.diff(heights)) >= 5


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


def test_a_funnel_has_a_legend_only_when_the_paper_has_a_count():
    legends = [
        plots.draw("funnel", MADE_UP[f"funnel/{case}"]).axes[0].get_legend() for case in ("paper", "all rejected")
    ]
    assert [legend is not None for legend in legends] == [True, False]


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


def test_redrawing_the_committed_tables_gives_the_committed_svgs_byte_for_byte(tmp_path):
    names = plots.draw_all(paths.FIGURES / "data", tmp_path)
    for name in names:
        assert (tmp_path / f"{name}.svg").read_bytes() == (paths.FIGURES / f"{name}.svg").read_bytes(), name
        assert (tmp_path / f"{name}.png").read_bytes() == (paths.FIGURES / f"{name}.png").read_bytes(), name


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
