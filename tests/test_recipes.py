"""Recipes compared: what a table of graded runs says, against counting by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from s1_utils import paired, recipes, scaling


def make_graded(runs, control="budget"):
    """label → correct by question, as graded generations of one control."""
    rows = [
        (label, control, f"q{i}", bool(correct)) for label, values in runs.items() for i, correct in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["model", "control", "question_id", "correct"])


def compare(runs, names, **options):
    return recipes.compare_recipes(
        make_graded(runs, **options), names, reference="s1K", resamples=500, seed=0
    ).set_index("subset")


ONE = {"s1K/0": [1, 1, 0, 0] * 10, "random/0": [1, 0, 0, 0] * 10, "s1K@96/0": [1, 1, 1, 0] * 10}


def test_a_recipe_is_compared_with_the_reference_on_the_same_questions():
    table = compare(ONE, ["s1K", "random", "s1K@96"])
    assert table["difference"].tolist() == [-0.25, 0.25]
    assert table[["gained", "lost"]].to_numpy().tolist() == [[0, 10], [10, 0]]
    assert table["discordant"].tolist() == [0.25, 0.25]
    assert table["verdict"].tolist() == ["lower", "higher"]


def test_of_one_run_the_interval_is_the_paired_bootstrap_over_questions():
    row = compare(ONE, ["s1K", "random"]).loc["random"]
    weights = scaling.resample(40, 500, 0)
    order = sorted(f"q{i}" for i in range(40))
    changes = [ONE["random/0"][int(q[1:])] - ONE["s1K/0"][int(q[1:])] for q in order]
    expected = scaling.bootstrap_mean(changes, weights)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert np.isnan(row["between"])


def test_a_reference_alone_is_compared_with_nobody():
    table, full = (compare(ONE, names).reset_index() for names in (["s1K"], ["s1K", "random"]))
    assert table.empty
    assert table.dtypes.to_dict() == full.dtypes.to_dict()
    assert recipes.add_paper(table, "budget").empty


def test_several_runs_of_a_recipe_are_averaged_and_have_no_p_value():
    runs = {"s1K/0": [1, 0] * 20, "s1K/1": [0, 0] * 20, "random/0": [1, 1] * 20, "random/1": [1, 0] * 20}
    row = compare(runs, ["s1K", "random"]).loc["random"]
    assert (row["runs"], row["difference"]) == (2, 0.5)
    assert np.isnan(row["p"])
    assert pd.isna(row["gained"])
    assert row["between"] > 0


def test_runs_that_differ_make_the_interval_wider():
    alike = {f"{name}/{s}": [1, 0] * 20 for name in ("s1K", "random") for s in (0, 1)}
    differ = alike | {"s1K/1": [0, 0] * 20, "random/1": [1, 1] * 20}
    widths = [
        (row["high"] - row["low"]) for row in (compare(r, ["s1K", "random"]).loc["random"] for r in (alike, differ))
    ]
    assert widths[1] > widths[0]


def test_every_control_is_compared_by_itself():
    both = pd.concat([make_graded(ONE), make_graded({**ONE, "random/0": ONE["s1K/0"]}, control="wait")])
    table = recipes.compare_recipes(both, ["s1K", "random"], reference="s1K", resamples=100, seed=0)
    assert table[["control", "difference"]].to_numpy().tolist() == [["budget", -0.25], ["wait", 0.0]]


def test_what_could_have_been_detected_is_that_of_the_exact_test():
    row = compare(ONE, ["s1K", "random"]).loc["random"]
    assert row["detectable"] == pytest.approx(paired.find_detectable_effect(40, 0.25))


def test_more_runs_detect_no_less_and_runs_that_differ_detect_no_more():
    table = recipes.tabulate_power(300, [3, 1, 2, 1])
    assert table.index.tolist() == [1, 2, 3]
    assert (table.diff().dropna() <= 0).all(axis=None)
    assert (table.T.diff().dropna() >= 0).all(axis=None)
    assert table.loc[1, "± 0"] == pytest.approx(100 * paired.find_detectable_effect(300, 1 / 3), abs=0.05)


def test_the_papers_differences_stand_beside_the_same_subsets():
    differences = compare(ONE, ["s1K", "random", "s1K@96"]).reset_index()
    table = recipes.add_paper(differences, "budget")
    assert table["subset"].tolist() == ["random"]
    assert table[["paper", "paper_low", "paper_high"]].to_numpy().tolist() == [[-13.3, -26.7, -3.3]]


def test_points_carry_the_number_of_their_own_examples():
    curve = pd.DataFrame(
        {"model": ["s1K/0", "s1K/1", "s1K@96/0", "s1K/0"], "control": ["budget"] * 3 + ["wait"], "accuracy": 0.5}
    )
    subsets = pd.DataFrame({"subset": "s1K", "seed": [0, 0, 1], "question_id": list("abc")})
    table = recipes.list_points(curve, subsets, "budget")
    assert table[["subset", "seed", "examples"]].to_numpy().tolist() == [["s1K", 0, 2], ["s1K", 1, 1]]
