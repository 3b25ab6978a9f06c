"""Curves from tables of graded generations."""

import numpy as np
import pandas as pd
import pytest

from s1_utils import curves

N = 60


def make_graded(points, seed=0):
    """`points`: (control, budget, waits, tokens, accuracy)."""
    rng = np.random.default_rng(seed)
    rows = []
    for control, budget, waits, tokens, accuracy in points:
        order = rng.permutation(N)
        rows += [
            {
                "model": "SFT",
                "question_id": f"{q:02}",
                "sample": 0,
                "setting": f"{control}:{budget}:{waits}",
                "control": control,
                "budget": budget,
                "waits": waits,
                "thinking_tokens": tokens,
                "correct": bool(order[q] < accuracy * N),
            }
            for q in range(N)
        ]
    return pd.DataFrame(rows)


HARD = [("budget", 8, 8, 8, 0.2), ("budget", 32, 32, 32, 0.6)]


def test_a_soft_point_is_compared_with_the_hard_curve_at_as_many_tokens():
    table = make_graded([*HARD, ("soft", 12, 12, 16, 0.5)])  # 16 lies half way from 8 to 32 in log2
    (row,) = curves.compare_at_equal_tokens(table, "budget", "soft", resamples=500, seed=0).to_dict("records")
    assert row["thinking_tokens"] == pytest.approx(16)
    assert row["difference"] == pytest.approx(0.5 - 0.4)
    assert row["low"] < row["difference"] < row["high"]


@pytest.mark.parametrize("tokens", [4, 64])
def test_a_point_beyond_the_curve_is_left_out(tokens):
    table = make_graded([*HARD, ("soft", 12, 12, tokens, 0.5)])
    assert curves.compare_at_equal_tokens(table, "budget", "soft", resamples=50, seed=0).empty


def test_a_point_on_the_curve_is_compared_with_that_very_point():
    table = make_graded([*HARD, ("soft", 32, 32, 32, 0.6)])
    (row,) = curves.compare_at_equal_tokens(table, "budget", "soft", resamples=50, seed=0).to_dict("records")
    assert row["difference"] == pytest.approx(0)


def test_controls_of_fewer_than_three_lengths_are_not_judged():
    table = make_graded([*HARD, ("cut", 8, 0, 8, 0.1), ("cut", 16, 0, 16, 0.5), ("cut", 32, 0, 32, 0.9)])
    verdicts = curves.judge_controls(table, resamples=500, seed=0)
    assert verdicts[["control", "verdict", "turning_point"]].values.tolist() == [["cut", "scales", 32]]
    assert verdicts["rise"].item() == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.1, 0.02, 0.2, 0.3), "higher"),
        ((-0.1, -0.2, -0.02, 0.3), "lower"),
        ((0.0, -0.02, 0.02, 0.03), "equivalent"),
        ((0.0, -0.1, 0.1, 0.147), "underpowered (could detect 15 points)"),
        ((0.0, 0.0, 0.0, float("nan")), "underpowered (could detect no difference)"),
    ],
)
def test_a_verdict_says_what_could_have_been_detected_where_nothing_was(values, verdict):
    row = pd.Series(dict(zip(("difference", "low", "high", "detectable"), values, strict=True)))
    assert curves.judge_difference(row) == verdict


def test_two_settings_are_compared_question_by_question():
    table = make_graded(HARD)
    pair = (("SFT", "budget:8:8"), ("SFT", "budget:32:32"))
    (row,) = curves.compare_settings(table, [pair], resamples=500, seed=0).to_dict("records")
    assert row["difference"] == pytest.approx(0.4) == (row["gained"] - row["lost"]) / N
    assert row["low"] < row["difference"] < row["high"]
    assert row["p"] < 0.05
    assert 0 < row["detectable"] < 0.4
