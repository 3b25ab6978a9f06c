"""The paper's figures: every published point is there, ours only of the same claim, the laptop never on its axes."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from s1_utils import paper_plots, paper_points, paths, plots
from s1_utils.errors import StudyError

DATA = paths.FIGURES / "data"
PUBLISHED = pd.read_csv(DATA / "published.csv")
FIGURES = {
    "paper_figure1": "Figure 1",
    "paper_figure4b": "Figure 4b",
    "paper_figure6": "Figure 6",
    "paper_figure7": "Figure 7",
}


@pytest.fixture
def data(tmp_path):
    """A copy of the committed tables."""
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


def build(name, folder=DATA):
    return paper_plots.build_table(name, folder)[0]


@pytest.mark.parametrize("name", FIGURES)
def test_every_published_point_of_a_figure_is_drawn_hollow_where_it_was_published(name):
    rows = PUBLISHED[PUBLISHED["where"] == FIGURES[name]]
    table = build(name)
    drawn = table[table["kind"] == "paper"]
    assert sorted(zip(drawn["x"], drawn["value"], strict=True)) == sorted(
        zip(rows["thinking_tokens"], rows["value"], strict=True)
    )
    marks = [
        tuple(point)
        for ax in plots.draw(name, table).axes
        for line in ax.lines
        if line.get_markerfacecolor() == "white"
        for point in line.get_xydata()
    ]
    assert sorted(marks) == sorted(zip(drawn["x"], drawn["value"], strict=True))


def test_figure_4a_starts_past_the_first_point_and_ends_with_six_waits():
    drawn = build("paper_figure4a").query("kind == 'paper'")
    assert drawn["x"].min() > 500
    assert drawn.sort_values("x").iloc[-1][["x", "value", "label"]].tolist() == [8450, 56.7, "Wait ×6"]
    assert len(drawn) == 7


def test_figure_2_has_the_systems_of_table_1_whose_examples_are_known():
    drawn = build("paper_figure2").query("kind == 'paper'")
    assert dict(zip(drawn["label"], drawn["x"], strict=True)) == {
        "s1-32B": 1000, "Sky-T1-32B": 17000, "Bespoke-32B": 17000, "r1-distill-Qwen-32B": 800000, "r1": 800000,
    }  # fmt: skip


@pytest.mark.parametrize("name", paper_plots.FIGURES)
def test_bands_of_published_accuracies_are_wilsons_and_said_to_be_ours(name):
    figure = plots.draw(name, build(name))
    assert "Wilson's 95 %, computed here" in figure.get_supxlabel()
    for row in build(name).query("kind == 'paper'").itertuples():
        n = paper_points.QUESTIONS[row.panel]
        p, z = round(row.value / 100 * n) / n, 1.959963984540054
        middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        expected = 100 * np.array([middle - half, middle + half]) / (1 + z**2 / n)
        assert [row.low, row.high] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", paper_plots.FIGURES)
def test_the_laptop_has_a_panel_of_its_own_that_says_so(name):
    table = build(name)
    panels = {panel: set(rows["kind"]) for panel, rows in table.groupby("panel")}
    assert panels.pop(paper_points.LAPTOP) == {"own"}
    assert all("own" not in kinds for kinds in panels.values())
    titles = [ax.get_title(loc="left") for ax in plots.draw(name, table).axes]
    assert titles[-1] == paper_points.LAPTOP
    assert "another model" in paper_points.LAPTOP


@pytest.mark.parametrize("record", [None, {"sequential": {"sha256": "", "profile": "qwen2.5-3b"}}])
def test_tables_of_another_profile_are_never_called_the_laptops(data, record):
    (data / "provenance.json").unlink()
    if record:
        (data / "provenance.json").write_text(json.dumps(record))
    panel = build("paper_figure1", data).query("kind == 'own'")["panel"].unique().tolist()
    assert panel == [f"this study, profile {'qwen2.5-3b' if record else 'unknown'}:\nits own model and questions"]


def test_tables_that_lie_in_a_run_are_named_by_its_manifest(tmp_path):
    data, stage = tmp_path / "mine" / "figures" / "data", tmp_path / "mine" / "04_sequential_scaling"
    data.mkdir(parents=True)
    stage.mkdir()
    for name in ("published", "sequential"):
        shutil.copy(DATA / f"{name}.csv", data)
    (stage / "manifest.json").write_text(json.dumps({"profile": "laptop"}))
    assert paper_points.LAPTOP in set(build("paper_figure1", data)["panel"])


@pytest.mark.parametrize("name", ["paper_figure4b", "paper_figure7"])
def test_several_series_of_a_panel_are_each_named_in_it(name):
    table = build(name)
    for ax, (_, rows) in zip(plots.draw(name, table).axes, table.groupby("panel", sort=False), strict=True):
        names = {paper_plots.LOOKS[series].label for series in rows["series"]}
        assert names <= {text.get_text() for text in ax.texts}


@pytest.mark.parametrize("is_run", [False, True])
def test_of_two_points_above_each_other_the_higher_has_its_name_higher(data, is_run):
    if is_run:
        give_values(pd.read_csv(data / "ledger.csv"), "Figure 7").to_csv(data / "ledger.csv", index=False)
    ax = plots.draw("paper_figure7", build("paper_figure7", data)).axes[0]
    renderer = ax.figure.canvas.get_renderer()
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in ax.texts}
    for who in ("paper: ", "ours: ") if is_run else ("",):
        assert boxes[f"{who}REBASE"].y0 > boxes[f"{who}majority"].y0


def give_values(ledger, where, *, shift=1.0):
    """The ledger as if our own runs of this figure's claims were there."""
    of = ledger["where"] == where
    for column in ("value", "low", "high", "tokens"):
        ledger[column] = ledger[column].astype(float)
    ledger.loc[of, "value"] = ledger.loc[of, "published"] - shift
    ledger.loc[of, "low"] = ledger.loc[of, "published"] - shift - 5
    ledger.loc[of, "high"] = ledger.loc[of, "published"] - shift + 5
    ledger.loc[of, "tokens"] = 1.1 * ledger.loc[of, "published_tokens"]
    return ledger


@pytest.mark.parametrize("name", FIGURES)
def test_ours_are_drawn_over_the_published_points_where_the_ledger_has_a_value_of_that_claim(data, name):
    ledger = give_values(pd.read_csv(data / "ledger.csv"), FIGURES[name])
    ledger.to_csv(data / "ledger.csv", index=False)
    table = build(name, data)
    assert (table["kind"] == "ours").sum() == ledger[ledger["where"] == FIGURES[name]]["published_tokens"].notna().sum()
    table = table[table["series"].isin(table[table["kind"] == "ours"]["series"])]
    paper, ours = (table[table["kind"] == kind].reset_index(drop=True) for kind in ("paper", "ours"))
    assert (ours[["panel", "series"]] == paper[["panel", "series"]]).all(axis=None)
    assert ours["x"].tolist() == pytest.approx((1.1 * paper["x"]).tolist())
    assert ours["value"].tolist() == pytest.approx((paper["value"] - 1).tolist())
    figure = plots.draw(name, table)
    assert "our run of the same model" in figure.get_supxlabel()
    renderer = figure.canvas.get_renderer()
    assert max(text.get_window_extent(renderer).x1 for text in figure.texts) <= figure.bbox.x1
    texts = {text.get_text() for ax in figure.axes for text in ax.texts}
    assert any(re.match("ours", text) for text in texts)


def test_our_own_s1_stands_at_its_thousand_examples(data):
    give_values(pd.read_csv(data / "ledger.csv"), "Table 1").to_csv(data / "ledger.csv", index=False)
    ours = build("paper_figure2", data).query("kind == 'ours'")
    assert ours[["x", "value"]].to_numpy().tolist() == [[1000, 92.0]]


def test_a_published_point_is_one_claim():
    figures = PUBLISHED[PUBLISHED["where"].isin([*FIGURES.values(), "Figure 4a"])]
    assert not figures.duplicated([*paper_points.KEYS, "value"]).any()


def test_without_a_value_in_the_ledger_nothing_of_ours_stands_on_a_published_panel(data):
    ledger = pd.read_csv(data / "ledger.csv").assign(value=np.nan)
    ledger.to_csv(data / "ledger.csv", index=False)
    for name in paper_plots.FIGURES:
        assert (build(name, data)["kind"] != "ours").all()
        assert "ours: not run" in plots.draw(name, build(name, data)).get_supxlabel()


def test_values_of_another_claim_stay_off_a_figure(data):
    ledger = give_values(pd.read_csv(data / "ledger.csv"), "Figure 1")
    ledger["benchmark"] = ledger["benchmark"].where(ledger["where"] != "Figure 1", "AIME25")
    ledger.to_csv(data / "ledger.csv", index=False)
    assert (build("paper_figure1", data)["kind"] != "ours").all()


def test_without_the_laptops_tables_the_published_points_are_drawn_alone(tmp_path):
    shutil.copy(DATA / "published.csv", tmp_path)
    assert set(plots.draw_all(tmp_path, tmp_path / "out")) == set(paper_plots.FIGURES)
    for name in paper_plots.FIGURES:
        assert set(build(name, tmp_path)["kind"]) == {"paper"}


def test_a_figure_names_the_files_it_was_drawn_from():
    assert set(paper_plots.build_table("paper_figure6", DATA)[1]) == {"published.csv", "ledger.csv", "rejection.csv"}


def test_a_published_table_without_a_figures_rows_is_refused(data):
    PUBLISHED[PUBLISHED["where"] != "Figure 6"].to_csv(data / "published.csv", index=False)
    with pytest.raises(StudyError, match="no accuracy of Figure 6"):
        build("paper_figure6", data)
