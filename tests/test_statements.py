"""Qualitative claims: verdicts follow their rules, planted tables give the planted answer, and the opposite its own."""

import math

import numpy as np
import pandas as pd
import pytest
from claim_stages import DIFFERENCE, make_tables
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import paired, scaling, slopes, statement_tests, statements
from s1_utils.statement_tests import FAILS, HOLDS, NOT_RUN, UNDECIDED

BY_ID = {each.claim_id: each for each in statements.STATEMENTS}
ends = st.tuples(st.floats(-100, 100), st.floats(-100, 100)).map(sorted)


def evaluate(name, tables):
    return statements.evaluate(BY_ID[f"statement/{name}"], tables)


# ------------------------------------------------------------------ rules


@given(ends, st.floats(-50, 50))
def test_an_interval_with_room_for_both_answers_is_undecided_and_no_other(interval, bar):
    low, high = interval
    verdict = statement_tests.judge_above(low, high, bar=bar)
    assert (verdict == UNDECIDED) == (low <= bar < high or low == bar == high)
    assert statement_tests.judge_above(-high, -low, bar=-bar) == statement_tests.judge_below(low, high, bar=bar) or (
        bar in (low, high)
    )


@given(ends)
def test_equivalence_holds_only_if_every_value_of_the_interval_is_within_the_margin(interval):
    low, high = interval
    verdict = statement_tests.judge_within(low, high)
    inside = [-5 < value < 5 for value in np.linspace(low, high, 9)]
    assert (verdict != HOLDS) or all(inside)
    assert (verdict != FAILS) or not any(inside)


def test_a_wider_interval_never_decides_what_a_narrower_one_leaves_open():
    for judge in (statement_tests.judge_above, statement_tests.judge_below, statement_tests.judge_within):
        for low, high in [(-1.0, 1.0), (4.0, 6.0), (-20.0, 20.0)]:
            if judge(low, high) == UNDECIDED:
                assert judge(low - 1, high + 1) == UNDECIDED


def test_as_many_questions_as_are_named_detect_the_difference_with_the_power_of_the_study():
    row = pd.Series({"difference": 0.05, "detectable": paired.find_detectable_effect(300, 0.4), "n": 300})
    named = statement_tests.count_questions(row)
    questions = int(named.split()[1].replace(",", ""))
    assert 0.8 * 0.05 < paired.find_detectable_effect(questions, 0.4) < 1.2 * 0.05


def test_no_number_of_questions_is_named_for_a_difference_of_nothing():
    assert statement_tests.count_questions(pd.Series({"difference": 0.0, "detectable": 0.1, "n": 300})) == ""


# ------------------------------------------------------------------ statements


def test_every_statement_has_a_source_a_rule_and_commands_and_a_name_of_its_own():
    assert len(BY_ID) == len(statements.STATEMENTS) >= 20
    for each in statements.STATEMENTS:
        assert each.where
        assert "holds" in each.rule
        assert each.write_command()
        assert each.write_laptop_command("laptop")


@pytest.mark.parametrize("name", sorted(BY_ID))
def test_in_tables_where_the_claim_is_true_its_test_holds(name):
    found = statements.evaluate(BY_ID[name], make_tables())
    if name == "statement/rebase-beats-majority":  # off by default, no table
        assert found.verdict == NOT_RUN
    else:
        assert found.verdict == HOLDS
        assert found.low <= found.value <= found.high


def flip(table, names=("difference", "low", "high")):
    """The table with values and intervals mirrored at zero."""
    value, low, high = names
    return table.assign(**{value: -table[value], low: -table[high], high: -table[low]})


FLIPS = {
    "forcing-scales": ("waits", flip),
    "wait-helps": ("waits", flip),
    "slope-15": ("slopes", lambda table: table.assign(scaling=3.0, low=2.0, high=4.0)),
    "control-100": ("methods_measured", lambda table: table.assign(within=0.99)),
    "truncation-scales": ("verdicts", lambda table: flip(table, ("rise", "rise_low", "rise_high"))),
    "more-waits-help": ("verdicts", lambda table: table.assign(fall=-0.1, fall_low=-0.2, fall_high=-0.05)),
    "extrapolation-flattens": ("waits_six", lambda table: table.assign(
        difference=table["difference"] + 0.3 * table["after"].str.endswith(":6"),
        low=table["low"] + 0.3 * table["after"].str.endswith(":6"),
        high=table["high"] + 0.3 * table["after"].str.endswith(":6"),
    )),
    "wait-beats-other-strings": ("quirks", flip),
    "forcing-performs-best": ("methods", lambda table: table.assign(control=["tokens", "wait"])),
    "tokens-are-ignored": ("conditional_slopes", lambda table: table.assign(slope=1.0, low=0.9, high=1.1)),
    "steps-are-ignored": ("conditional_slopes", lambda table: table.assign(slope=1.0, low=0.9, high=1.1)),
    "prompts-change-length": ("length_changes", lambda table: table.assign(ratio=0.5, low=0.4, high=0.6)),
    "rejection-scales-inversely": ("rejection", lambda table: table.assign(limit=[128, 64, 32])),
    "sequential-beats-majority": ("parallel_differences", flip),
    "training-lifts-the-base": ("sequential", lambda table: table.assign(model=["base", "SFT"], control="wait")),
    "1k-equals-59k": ("ablations_large", lambda table: table.assign(difference=0.2, low=0.1, high=0.3)),
    "random-is-worse": ("ablations_large", flip),
    "diverse-is-worse": ("ablations_large", flip),
    "longest-is-worse": ("ablations_large", flip),
    "cut-training-is-worse": ("ablations_large_differences", flip),
    "cut-training-is-longer": ("ablations_large_tokens", lambda table: table.assign(ratio=0.5, low=0.4, high=0.6)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FLIPS))
def test_in_tables_where_the_opposite_is_true_it_does_not_hold(name):
    table, change = FLIPS[name]
    tables = make_tables()
    assert evaluate(name, {**tables, table: change(tables[table])}).verdict == FAILS


def test_all_statements_but_rebase_were_tried_with_the_opposite():
    assert {f"statement/{name}" for name in FLIPS} == BY_ID.keys() - {"statement/rebase-beats-majority"}


def test_a_tree_search_is_judged_where_it_was_run():
    tables = {"judged_differences": pd.DataFrame([{"method": "rebase", **DIFFERENCE}])}
    assert evaluate("rebase-beats-majority", tables).verdict == HOLDS


@pytest.mark.parametrize("name", sorted(BY_ID))
def test_without_its_tables_a_statement_is_not_run_and_says_why(name):
    found = statements.evaluate(BY_ID[name], {})
    assert found.verdict == NOT_RUN
    assert found.note
    assert math.isnan(found.value)


def test_five_waits_are_no_counterpart_of_six():
    waits = make_tables()["waits"]
    assert evaluate("extrapolation-flattens", {"waits": waits}).verdict == NOT_RUN
    assert evaluate("extrapolation-flattens", {"waits_six": waits}).verdict == NOT_RUN


def test_a_wide_interval_around_zero_is_undecided_and_says_how_many_questions_would_tell():
    tables = make_tables()
    open_ = tables["ablations_large"].assign(difference=-0.05, low=-0.12, high=0.02)
    found = evaluate("longest-is-worse", {"ablations_large": open_})
    assert found.verdict == UNDECIDED
    assert found.note.startswith("about 1,280 questions would decide it; one training run each")


def test_equivalence_that_could_not_have_been_refuted_is_undecided():
    blind = make_tables()["ablations_large"].assign(detectable=0.2)
    found = evaluate("1k-equals-59k", {"ablations_large": blind})
    assert (found.verdict, found.note.partition(";")[0]) == (UNDECIDED, "could not have detected 5 points")


@pytest.mark.parametrize("name", ["forcing-scales", "wait-helps", "random-is-worse", "truncation-scales"])
def test_where_no_question_moved_nothing_is_decided(name):
    still = {
        key: table.assign(**dict.fromkeys(("difference", "low", "high", "rise", "rise_low", "rise_high"), 0.0))
        for key, table in make_tables().items()
    }
    assert evaluate(name, still).verdict == UNDECIDED


def test_the_source_names_the_table_that_was_read_not_the_one_of_the_papers_scale():
    found = evaluate("random-is-worse", make_tables())
    assert found.cell.startswith("ablations_large.csv: ")


# ------------------------------------------------------------------ slopes


def make_graded(lengths, shares, n=40, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "model": "SFT", "control": "budget", "setting": f"budget:{length}:0", "question_id": f"q{q:03}",
                "sample": 0, "thinking_tokens": length, "correct": bool(rng.random() < share),
            }
            for length, share in zip(lengths, shares, strict=True)
            for q in range(n)
        ]
    )  # fmt: skip


def test_the_slope_of_the_table_is_scaling_of_its_accuracies():
    graded = make_graded([8, 16, 32, 64], [0.2, 0.4, 0.6, 0.8])
    found = slopes.list_slopes(graded, resamples=500, seed=1).iloc[0]
    means = graded.groupby("setting", sort=False)[["thinking_tokens", "correct"]].mean()
    assert found["scaling"] == pytest.approx(scaling.measure_scaling(means["thinking_tokens"], means["correct"]))
    assert found["low"] < found["scaling"] < found["high"]


def test_the_interval_of_a_slope_is_that_of_slopes_of_resampled_questions():
    graded = make_graded([8, 32, 64], [0.3, 0.5, 0.9], n=25)
    correct = slopes.pivot_settings(graded, "correct", sorted(graded["question_id"].unique())).to_numpy()
    weights = scaling.resample(25, 400, 3)
    each = [scaling.measure_scaling([8, 32, 64], correct @ row) for row in weights]
    found = slopes.bound_scaling([8, 32, 64], correct, weights)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(each, [2.5, 97.5])))


def test_settings_of_one_length_have_no_slope():
    assert slopes.list_slopes(make_graded([8], [0.5]), resamples=10, seed=0).empty


def test_twice_the_thinking_on_every_question_is_a_ratio_of_two_with_no_width():
    first = make_graded([10, 20], [0.5, 0.5])
    pair = (("SFT", "budget:10:0"), ("SFT", "budget:20:0"))
    found = slopes.compare_lengths(first, [pair], resamples=200, seed=0).iloc[0]
    assert (found["ratio"], found["low"], found["high"]) == pytest.approx((2, 2, 2))
