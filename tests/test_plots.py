"""Figures: the same table gives the same bytes, and the committed ones are those of the committed tables."""

import pandas as pd
import pytest

from s1_utils import paths, plots, report
from s1_utils.errors import StudyError

TABLES = sorted((paths.FIGURES / "data").glob("*.csv"))


def test_there_is_a_committed_table_for_every_figure():
    assert set(plots.FIGURES) <= {path.stem for path in TABLES}


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
