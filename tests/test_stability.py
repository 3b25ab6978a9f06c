"""How stable a selection is: overlaps, inclusion and entropy against enumeration and closed forms."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import selection, stability
from s1_utils.errors import StudyError
from s1_utils.judge import read_classes


def make_features(n, *, outright=0):
    rows = [(f"q{i:03}", ("algebra", "chess")[i % 2], 10 + i, False, None) for i in range(n)]
    table = pd.DataFrame(rows, columns=["question_id", "domain", "thinking_tokens", "solved", "quality"])
    reasons = ["GPQA, attempt right"] * outright + [None] * (n - outright)
    return table.astype({"quality": "string"}).assign(source="GPQA", outright=pd.array(reasons, dtype="string"))


def make_picks(chosen):
    """seed → question ids, as picks of one subset."""
    rows = [("s1K", q, seed, "chess", "") for seed, ids in chosen.items() for q in ids]
    return pd.DataFrame(rows, columns=["subset", "question_id", "seed", "domain", "reason"])


CHOSEN = st.dictionaries(
    st.integers(0, 9), st.sets(st.sampled_from("abcdefgh"), min_size=3, max_size=3), min_size=2, max_size=6
)


@given(CHOSEN)
def test_overlaps_equal_those_of_every_pair_of_sets(chosen):
    pairs = itertools.combinations([set(chosen[seed]) for seed in sorted(chosen)], 2)
    expected = [len(one & two) / len(one | two) for one, two in pairs]
    assert stability.measure_overlap(make_picks(chosen))["jaccard"].tolist() == pytest.approx(expected)


@given(CHOSEN)
def test_the_share_of_a_question_is_the_share_of_seeds_that_choose_it(chosen):
    found = stability.measure_inclusion(make_picks(chosen)).set_index("question_id")["share"]
    for question in set().union(*chosen.values()):
        assert found[question] == pytest.approx(sum(question in ids for ids in chosen.values()) / len(chosen))


@given(CHOSEN)
def test_the_shares_add_up_to_the_size_of_the_subset(chosen):
    found = stability.measure_inclusion(make_picks(chosen))
    assert found["share"].sum() == pytest.approx(found["size"].iloc[0]) == 3
    assert found["share"].is_monotonic_decreasing
    assert found["rank"].tolist() == list(range(1, len(found) + 1))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
def test_entropy_is_that_of_the_shares(labels):
    shares = [labels.count(label) / len(labels) for label in set(labels)]
    found = stability.measure_entropy(pd.Series(labels))
    assert found == pytest.approx(-sum(p * math.log2(p) for p in shares))


@pytest.mark.parametrize(("labels", "bits"), [("aaaa", 0), ("ab", 1), ("abcd", 2)])
def test_entropy_has_the_values_of_the_textbooks(labels, bits):
    assert stability.measure_entropy(pd.Series(list(labels))) == bits


def test_rows_taken_outright_are_forced_and_in_every_selection():
    features = make_features(40, outright=5)
    picks = stability.draw_many(["s1K"], features, size=10, seeds=range(20))
    row = stability.summarise_stability(picks, features).iloc[0]
    inclusion = stability.measure_inclusion(picks)
    assert row["forced"] == 5 <= row["always"] <= row["size"] <= row["ever"]
    assert inclusion[inclusion["forced"]]["share"].tolist() == [1.0] * 5


def test_the_longest_subset_is_the_same_whatever_the_seed():
    features = make_features(40)
    picks = stability.draw_many(["longest"], features, size=10, seeds=range(5))
    row = stability.summarise_stability(picks, features).iloc[0]
    assert (row["jaccard"], row["always"], row["ever"], row["mean_tokens_sd"]) == (1, 10, 10, 0)


def test_uniform_subsets_overlap_as_chance_says():
    # 45 pairs of 100 from 400: expected overlap 25 of 175, 0.143; a mean outside 0.13-0.156 is beyond 6 of its errors
    features = make_features(400)
    row = stability.summarise_stability(
        stability.draw_many(["random"], features, size=100, seeds=range(10)), features
    ).iloc[0]
    assert row["jaccard_uniform"] == pytest.approx(100 / 700)
    assert 0.13 < row["jaccard"] < 0.156


def test_the_paper_rule_agrees_with_itself_more_than_chance_does():
    features = make_features(400)
    row = stability.summarise_stability(
        stability.draw_many(["s1K"], features, size=100, seeds=range(10)), features
    ).iloc[0]
    assert row["jaccard_low"] > 2 * row["jaccard_uniform"]


@pytest.mark.parametrize("seeds", [[1], [1, 1], []])
def test_less_than_two_seeds_and_repeats_are_refused(seeds):
    with pytest.raises(StudyError, match="two seeds or more, all different"):
        stability.draw_many(["s1K"], make_features(10), size=2, seeds=seeds)


def test_each_seed_has_its_sources_and_lengths():
    features = make_features(6).assign(source=["MATH", "GPQA"] * 3)
    picks = stability.draw_many(["longest"], features, size=3, seeds=[0, 1])
    row = stability.describe_seeds(picks, features).iloc[0]
    assert row["source: GPQA"] == pytest.approx(2 / 3)
    assert (row["mean_tokens"], row["median_tokens"]) == (14, 14)


def test_domains_are_listed_by_size_with_their_tokens_and_a_total():
    features = make_features(5)
    table = stability.summarise_domains(features, features)
    assert table["domain"].tolist() == ["algebra", "chess", "all 2 domains"]
    assert table["questions"].tolist() == [3, 2, 5]
    assert table["thinking_tokens"].tolist() == [10 + 12 + 14, 11 + 13, 60]


@given(st.lists(st.integers(0, 20000), min_size=1, max_size=40), st.integers(1, 9))
def test_every_trace_falls_into_one_bin_that_holds_its_length(lengths, bins):
    features = make_features(len(lengths)).assign(thinking_tokens=lengths)
    subsets = features[["question_id"]].assign(subset="s1K")
    table = stability.bin_lengths(subsets, features, bins=bins)
    assert table["questions"].sum() == len(lengths)
    for row in table.itertuples():
        inside = sum(row.left <= max(length, table["left"].min()) < row.right for length in lengths)
        assert row.questions == inside


def test_a_subset_is_summarised_by_its_own_rows():
    features = make_features(60).assign(attempt_correct=[i % 2 == 0 for i in range(60)])
    chosen = selection.select_subsets(features, {"longest": 4, "random": 9}, seed=0)
    row = stability.summarise_subsets(chosen, features).set_index("subset").loc["longest"]
    assert (row["questions"], row["domains"], row["tokens"], row["mean_tokens"]) == (4, 2, 69 + 68 + 67 + 66, 67.5)
    assert (row["solved"], row["attempt_right"], row["poor_quality"]) == (0, 0.5, 0)


def test_physics_is_told_from_mathematics_among_the_61_classes():
    classes = list(read_classes().values())
    features = pd.DataFrame({"question_id": classes, "domain": classes, "thinking_tokens": 10})
    field = stability.list_bubbles(features, features).set_index("domain")["field"]
    assert set(field[["Quantum theory", "Computer science", "Mathematics education"]]) == {"other"}
    assert set(field[["Number theory", "Statistics", "Numerical analysis"]]) == {"mathematics"}


@given(CHOSEN)
def test_the_steps_of_a_curve_hold_its_ends_and_every_change(chosen):
    whole = stability.measure_inclusion(make_picks(chosen))
    steps = stability.list_steps(whole).set_index("rank")["share"]
    filled = pd.Series(dict(zip(whole["rank"], whole["rank"].map(steps), strict=True))).ffill()
    assert filled.tolist() == whole["share"].tolist()
    assert steps.index[-1] == whole["rank"].iloc[-1]


def test_the_spread_over_seeds_is_that_of_the_seeds():
    features = make_features(40).assign(source=["MATH", "GPQA"] * 20)
    picks = stability.draw_many(["s1K", "random"], features, size=10, seeds=range(20))
    table = stability.summarise_spread(picks, features).set_index(["measure", "subset"])
    seeds = stability.describe_seeds(picks, features)
    expected = seeds[seeds["subset"] == "random"]["mean_tokens"].quantile([0.025, 0.5, 0.975]).tolist()
    assert table.loc[("mean thinking tokens", "random"), ["low", "median", "high"]].tolist() == expected
    assert (table["low"] <= table["median"]).all()
    assert ("source: GPQA", "s1K") in table.index
