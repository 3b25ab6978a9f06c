"""What models used of the length they were asked for, and the tables that say so."""

from __future__ import annotations

import pandas as pd
import pytest

from s1_utils import obedience


def make_graded(use, kind="tokens", questions=6, asks=(16, 32, 64)):
    """Graded generations of a model that uses `use(asked, question)`; every announcement is two tokens."""
    rows = []
    for asked in asks:
        for i in range(questions):
            used = use(asked, i)
            for enforced, length in ((False, used), (True, min(used, asked))):
                tokens = length if kind == "tokens" else 7 * length
                marked = 0 if kind == "tokens" else 2 * length
                rows.append(("s1K/3", kind, kind, asked, enforced, f"q{i}", tokens, marked, length, i % 2 == 0))
    names = ["model", "trained", "kind", "asked", "enforced", "question_id", "thinking_tokens", "marked_tokens"]
    names += ["steps", "correct"]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize("kind", ["tokens", "steps"])
@pytest.mark.parametrize(
    ("use", "slope"),
    [(lambda n, i: n, 1), (lambda n, i: 30 + i, 0), (lambda n, i: n * n, 2), (lambda n, i: 3 * n * (i + 1), 1)],
    ids=["obeys", "takes no notice", "exaggerates", "obeys in proportion"],
)
def test_the_slope_says_how_closely_a_model_follows(use, slope, kind):
    (row,) = obedience.measure_slopes(make_graded(use, kind), resamples=50, seed=0).itertuples()
    assert (row.slope, row.low, row.high, row.seed) == pytest.approx((slope, slope, slope, 3))


def test_the_slope_is_that_of_thinking_that_ended_by_itself():
    graded = make_graded(lambda n, i: 1000)
    assert obedience.measure_slopes(graded, resamples=50, seed=0)["slope"].tolist() == [0]
    assert obedience.summarise_asks(graded, resamples=50, seed=0).query("enforced")["used"].tolist() == [16, 32, 64]


def test_over_is_the_share_of_questions_that_used_more():
    table = obedience.summarise_asks(make_graded(lambda n, i: 30 + i), resamples=50, seed=0)
    assert table.query("not enforced")["over"].tolist() == pytest.approx([1, 3 / 6, 0])
    assert (table.query("enforced")["over"] == 0).all()


def test_announcements_are_not_counted_as_thinking():
    table = obedience.summarise_asks(make_graded(lambda n, i: 10, "steps"), resamples=50, seed=0)
    row = table.query("not enforced").iloc[0]
    assert row[["steps", "used", "thinking_tokens"]].tolist() == [10, 10, 50]


def test_accuracy_is_the_share_of_right_questions_within_its_interval():
    row = obedience.summarise_asks(make_graded(lambda n, i: n), resamples=500, seed=0).iloc[0]
    assert (row["accuracy"], row["n"]) == (0.5, 6)
    assert row["low"] < 0.5 < row["high"]


def test_nobody_asked_is_an_empty_table_with_the_same_columns(tmp_path):
    graded = make_graded(lambda n, i: n)
    for summarise in (obedience.summarise_asks, obedience.measure_slopes):
        empty, full = (summarise(rows, resamples=50, seed=0) for rows in (obedience.make_empty(), graded))
        assert empty.empty
        empty.to_parquet(tmp_path / "empty.parquet")
        assert pd.read_parquet(tmp_path / "empty.parquet").dtypes.to_dict() == full.dtypes.to_dict()


def test_a_figure_has_two_panels_of_every_row():
    table = obedience.summarise_asks(make_graded(lambda n, i: n), resamples=50, seed=0)
    points = obedience.list_points(table)
    assert points.groupby("measure", sort=False).size().to_dict() == {"length": len(table), "accuracy": len(table)}
    assert points["x"].tolist() == [*table["asked"], *table["thinking_tokens"]]
