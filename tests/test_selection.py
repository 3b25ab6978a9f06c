"""Which questions are trained on: Algorithm 1, the released notebook's rule, and the subsets they are compared with."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils.errors import StudyError
from s1_utils.selection import (
    COLUMNS,
    CORNERS,
    DESIGNS,
    FACTORS,
    SUBSETS,
    find_design,
    find_eligible,
    select_seeds,
    select_subset,
    weigh_benchmarks,
)

DOMAINS = ("algebra", "biology", "chess")


def make_features(rows):
    """(domain, thinking tokens, solved[, quality reason, source, outright reason]) of questions q00, q01, …"""
    filled = [(*row, *(None, "NuminaMATH", None)[len(row) - 3 :]) for row in rows]
    columns = ["domain", "thinking_tokens", "solved", "quality", "source", "outright"]
    table = pd.DataFrame(filled, columns=columns).astype({"quality": "string", "outright": "string"})
    return table.assign(question_id=[f"q{i:02}" for i in range(len(table))])


FEATURES = st.lists(
    st.tuples(
        st.sampled_from(DOMAINS), st.integers(1, 20), st.booleans(), st.sampled_from([None, None, "inconsistent"])
    ),
    min_size=1,
    max_size=30,
).map(make_features)
NAMES = st.sampled_from([*SUBSETS, *CORNERS, "difficulty+length"])


@st.composite
def selections(draw, names=NAMES):
    """(name, features, size) that can be selected."""
    name = draw(names)
    features = draw(FEATURES.filter(lambda table: len(find_eligible(name, table))))
    return name, features, draw(st.integers(1, len(find_eligible(name, features))))


@given(selections())
def test_a_subset_has_the_size_asked_for_and_no_question_twice(selection):
    name, features, size = selection
    chosen = select_subset(name, features, size=size, seed=0)["question_id"]
    assert len(chosen) == len(set(chosen)) == size


@given(selections())
def test_a_subset_is_made_of_questions_there_are(selection):
    name, features, size = selection
    assert set(select_subset(name, features, size=size, seed=0)["question_id"]) <= set(features["question_id"])


@given(selections(), st.integers(0, 9))
def test_the_same_seed_gives_the_same_subset(selection, seed):
    name, features, size = selection
    one, two = (select_subset(name, features, size=size, seed=seed) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


@given(selections(), st.integers(0, 9))
def test_the_order_of_the_input_never_changes_a_subset(selection, seed):
    name, features, size = selection
    shuffled = features.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(
        select_subset(name, features, size=size, seed=0), select_subset(name, shuffled, size=size, seed=0)
    )


@given(selections(st.sampled_from(["s1K", "difficulty", "quality+difficulty", "difficulty+length"])))
def test_a_subset_of_difficult_questions_never_holds_a_solved_one(selection):
    name, features, size = selection
    chosen = select_subset(name, features, size=size, seed=0)["question_id"]
    assert not features[features["question_id"].isin(chosen)]["solved"].any()


@given(selections(st.sampled_from(["s1K", "quality", "quality+diversity"])))
def test_a_subset_of_good_questions_never_holds_a_poor_one(selection):
    name, features, size = selection
    chosen = select_subset(name, features, size=size, seed=0)["question_id"]
    assert features[features["question_id"].isin(chosen)]["quality"].isna().all()


@pytest.mark.parametrize("name", ["random", "diverse", "longest", "full"])
def test_the_other_subsets_may_hold_every_question(name):
    features = make_features([("algebra", 3, True, "poor"), ("chess", 2, False), ("chess", 1, True)])
    assert len(select_subset(name, features, size=3, seed=0)) == 3


def test_with_random_and_diverse_and_s1k_the_corners_are_all_combinations_of_the_three_criteria():
    designs = [find_design(name) for name in ("random", "diverse", *CORNERS)]
    combinations = {(design.quality, design.difficulty, design.diversity) for design in designs}
    assert len(combinations) == len(designs) == 8
    assert not any(design.length or design.outright for design in designs)


@given(st.lists(st.sampled_from(FACTORS), min_size=1, unique=True), st.randoms())
def test_factors_may_be_joined_in_any_order(factors, random):
    shuffled = random.sample(factors, len(factors))
    assert find_design("+".join(shuffled)) == find_design("+".join(factors))


@given(selections(st.just("longest")))
def test_the_longest_subset_leaves_out_no_longer_question_than_it_holds(selection):
    name, features, size = selection
    is_chosen = features["question_id"].isin(select_subset(name, features, size=size, seed=0)["question_id"])
    left_out = features[~is_chosen]["thinking_tokens"]
    assert left_out.empty or left_out.max() <= features[is_chosen]["thinking_tokens"].min()


@given(selections())
def test_a_subset_records_its_name_every_step_and_a_reason(selection):
    name, features, size = selection
    table = select_subset(name, features, size=size, seed=0)
    assert list(table.columns) == COLUMNS
    by_id = features.set_index("question_id")["domain"]
    assert table["domain"].tolist() == by_id[table["question_id"]].tolist()
    assert table["step"].tolist() == list(range(size))
    assert set(table["subset"]) == {name}
    assert table["reason"].str.len().min() > 0


@given(selections(st.sampled_from(["s1K", "diverse"])))
def test_a_smaller_subset_by_domain_is_the_beginning_of_a_larger_one(selection):
    name, features, size = selection
    large = select_subset(name, features, size=size, seed=3)
    pd.testing.assert_frame_equal(select_subset(name, features, size=(size + 1) // 2, seed=3), large[: (size + 1) // 2])


@pytest.mark.parametrize("name", ["s1K", "random", "diverse", "full"])
def test_another_seed_gives_another_subset(name):
    features = make_features([(domain, i, False) for i in range(30) for domain in DOMAINS])
    subsets = {tuple(select_subset(name, features, size=20, seed=seed)["question_id"]) for seed in range(3)}
    assert len(subsets) == 3


@pytest.mark.parametrize("name", ["s1K", "diverse"])
def test_domains_are_drawn_alike_however_many_questions_they_have(name):
    # 1,000 draws of one question: a share of a fair coin outside 0.43-0.57 has probability 1e-5; the seeds are fixed
    features = make_features([("algebra", 1, False)] * 45 + [("chess", 1, False)] * 5)
    domain = features.set_index("question_id")["domain"]
    drawn = [domain[select_subset(name, features, size=1, seed=seed)["question_id"][0]] for seed in range(1000)]
    assert 0.43 < drawn.count("chess") / 1000 < 0.57


def test_within_a_domain_the_longest_question_is_drawn_half_of_the_time():
    # rank 0 has probability 1/2 / (1 - 2^-10); with 1,000 draws a share outside 0.43-0.57 has probability 1e-5
    features = make_features([("algebra", 100 - i, False) for i in range(10)])
    first = [select_subset("s1K", features, size=1, seed=seed)["question_id"][0] for seed in range(1000)]
    assert 0.43 < first.count("q00") / 1000 < 0.57


def test_within_a_domain_each_rank_is_drawn_half_as_often_as_the_one_before():
    # chi-square with 3 degrees of freedom: above 25.9 with probability 1e-5
    features = make_features([("algebra", 100 - i, False) for i in range(4)])
    first = [select_subset("s1K", features, size=1, seed=seed)["question_id"][0] for seed in range(1500)]
    expected = {f"q{rank:02}": 1500 * 2**-rank / sum(2**-r for r in range(4)) for rank in range(4)}
    assert sum((first.count(i) - n) ** 2 / n for i, n in expected.items()) < 25.9


@given(selections(), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
def test_many_seeds_at_once_give_what_each_gives_alone(selection, seeds):
    name, features, size = selection
    for seed, table in zip(seeds, select_seeds(name, features, size=size, seeds=seeds), strict=True):
        pd.testing.assert_frame_equal(table, select_subset(name, features, size=size, seed=seed))


@given(selections(st.just("random")), st.integers(0, 9))
def test_a_question_more_changes_a_uniform_subset_by_one_question_at_most(selection, seed):
    name, features, size = selection
    more = pd.concat([features, make_features([("chess", 1, False)]).assign(question_id="new")], ignore_index=True)
    one, two = (set(select_subset(name, table, size=size, seed=seed)["question_id"]) for table in (features, more))
    assert len(one - two) <= 1


# ------------------------------------------------------------------ ranks, rows taken outright


@given(selections(st.just("s1K")))
def test_a_rank_counts_the_longer_questions_left_in_the_domain(selection):
    name, features, size = selection
    left = find_eligible(name, features).sort_values("thinking_tokens", ascending=False, kind="stable")
    for pick in select_subset(name, features, size=size, seed=0).itertuples():
        pool = left.loc[left["domain"] == pick.domain, "question_id"].tolist()
        assert pool[pick.rank] == pick.question_id
        left = left[left["question_id"] != pick.question_id]


def test_equal_lengths_are_ranked_by_question_id():
    features = make_features([("algebra", 5, False)] * 4).sample(frac=1, random_state=1)
    assert select_subset("longest", features, size=4, seed=0)["question_id"].tolist() == ["q00", "q01", "q02", "q03"]


OUTRIGHT = [("algebra", 1, False, None, "GPQA", "GPQA, attempt right")] * 3 + [("chess", i, False) for i in range(9)]


def test_rows_taken_outright_come_first_with_their_reason():
    chosen = select_subset("s1K", make_features(OUTRIGHT), size=6, seed=0)
    assert chosen["question_id"].tolist()[:3] == ["q00", "q01", "q02"]
    assert chosen["reason"].tolist()[:3] == ["included outright: GPQA, attempt right"] * 3
    assert chosen["rank"].isna().tolist() == [True] * 3 + [False] * 3


def test_a_solved_row_is_not_taken_outright():
    solved = [("algebra", 1, True, None, "GPQA", "GPQA, attempt right")]
    chosen = select_subset("s1K", make_features(solved + OUTRIGHT), size=6, seed=0)
    assert "q00" not in chosen["question_id"].tolist()


@pytest.mark.parametrize("name", ["diverse", "quality+difficulty+diversity+length", "random"])
def test_only_the_papers_own_subset_takes_rows_outright(name):
    chosen = [select_subset(name, make_features(OUTRIGHT), size=2, seed=seed) for seed in range(30)]
    assert not any(table["reason"].str.startswith("included outright").any() for table in chosen)
    assert any((~table["question_id"].isin(["q00", "q01", "q02"])).any() for table in chosen)


def test_more_rows_outright_than_asked_for_are_refused_with_a_way_out():
    with pytest.raises(StudyError, match=r"3 questions are included outright, more than the 2 asked for.*quality"):
        select_subset("s1K", make_features(OUTRIGHT), size=2, seed=0)


# ------------------------------------------------------------------ the released notebook's rule


def transcribe_notebook(features, size, seed):
    """The filter notebook's last cells, step by step with lists and cumulative sums, given the same random draws.

    A set that starts with the rows taken outright; a domain uniformly (up to 70 %), then by the benchmarks' counts;
    one of its questions by 2^-rank, removed from the domain even if the set has it already.
    """
    draw = random.Random(f"{seed}/s1K").random

    def pick(weights):
        shares = np.cumsum(weights) / np.sum(weights)
        return int(np.searchsorted(shares, draw(), side="right"))

    rows = features[features["quality"].isna() & ~features["solved"]].sort_values("question_id")
    counts = {name: rows[rows["source"] == name]["domain"].value_counts() for name in ("AIME (1983-2021)", "GPQA")}
    aime, gpqa = counts["AIME (1983-2021)"].to_dict(), counts["GPQA"].to_dict()
    benchmark = {
        domain: aime.get(domain, 0) + int(gpqa.get(domain, 0) * 0.5 * sum(aime.values()) / max(1, sum(gpqa.values())))
        for domain in sorted(rows["domain"].unique())
    }
    chosen = list(rows[rows["outright"].notna()]["question_id"])
    left = {domain: list(part["question_id"]) for domain, part in rows.groupby("domain")}
    tokens = rows.set_index("question_id")["thinking_tokens"]
    while len(chosen) < size:
        if len(chosen) < int(0.7 * size):
            names = sorted(domain for domain in left if left[domain])
            domain = names[pick([1] * len(names))]
        else:
            names = sorted(domain for domain in left if left[domain] and benchmark[domain])
            if not names:
                return None
            domain = names[pick([benchmark[name] for name in names])]
        order = sorted(left[domain], key=lambda name: (-tokens[name], name))
        question = order[pick([2.0**-rank for rank in range(len(order))])]
        left[domain].remove(question)
        if question not in chosen:
            chosen.append(question)
    return chosen


MIXED = st.lists(
    st.tuples(
        st.sampled_from(DOMAINS),
        st.integers(1, 20),
        st.just(False),
        st.none(),
        st.sampled_from(["NuminaMATH", "AIME (1983-2021)", "GPQA"]),
        st.sampled_from([None, None, "benchmark, attempt right"]),
    ),
    min_size=3,
    max_size=30,
).map(make_features)


@settings(max_examples=300)
@given(MIXED, st.integers(0, 99), st.data())
def test_the_notebooks_rule_picks_what_its_transcription_picks_from_the_same_draws(features, seed, data):
    size = data.draw(st.integers(max(1, int(features["outright"].notna().sum())), len(features)))
    expected = transcribe_notebook(features, size, seed)
    if expected is None:
        with pytest.raises(StudyError, match="no AIME or GPQA domain has any left"):
            select_subset("s1K", features, size=size, seed=seed, rule="notebook_700_300")
    else:
        chosen = select_subset("s1K", features, size=size, seed=seed, rule="notebook_700_300")
        assert chosen["question_id"].tolist() == expected


def test_the_notebooks_weights_are_those_of_its_formula():
    # 4 AIME, 3 GPQA: the factor is 0.5 · 4 / 3; int(2 · 0.667) = 1 and int(1 · 0.667) = 0
    rows = [("algebra", 1, False, None, "AIME (1983-2021)")] * 3 + [("chess", 1, False, None, "AIME (1983-2021)")]
    rows += [("chess", 1, False, None, "GPQA")] * 2 + [("biology", 1, False, None, "GPQA")]
    assert weigh_benchmarks(make_features(rows)) == {"algebra": 3, "chess": 2}


def test_the_last_picks_of_the_notebook_are_only_of_the_benchmarks_domains():
    rows = [("algebra", i, False, None, "AIME (1983-2021)") for i in range(40)]
    rows += [("chess", i, False) for i in range(40)]
    chosen = select_subset("s1K", make_features(rows), size=20, seed=0, rule="notebook_700_300")
    assert set(chosen["domain"][:14]) == {"algebra", "chess"}
    assert set(chosen["domain"][14:]) == {"algebra"}


def test_without_benchmarks_the_notebooks_rule_says_what_to_do():
    features = make_features([("algebra", i, False) for i in range(9)])
    with pytest.raises(StudyError, match=r"6 of 9 questions: no AIME or GPQA domain.*or choose algorithm_1"):
        select_subset("s1K", features, size=9, seed=0, rule="notebook_700_300")


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("name", SUBSETS)
def test_too_few_eligible_questions_are_told_with_their_number(name):
    features = make_features([("algebra", 1, True)] * 2 + [("chess", 1, False)] * 3)
    eligible = 3 if DESIGNS[name].difficulty else 5
    with pytest.raises(StudyError, match=f"Subset {name} needs 6 questions but only {eligible} are eligible"):
        select_subset(name, features, size=6, seed=0)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("s1k", r"No subset 's1k' \(did you mean s1K\?\): choose from s1K, random"),
        ("quality+size", "or join quality, difficulty, diversity, length with"),
        ("quality+quality", "No subset"),
        ("", "No subset ''"),
    ],
)
def test_an_unknown_subset_is_refused_with_the_names_there_are(name, told):
    with pytest.raises(StudyError, match=told):
        select_subset(name, make_features([("algebra", 1, False)]), size=1, seed=0)


def test_an_unknown_rule_is_refused_with_the_names_there_are():
    with pytest.raises(StudyError, match="No rule 'paper' of selection: choose algorithm_1 or notebook_700_300"):
        select_subset("s1K", make_features([("algebra", 1, False)]), size=1, seed=0, rule="paper")


@pytest.mark.parametrize("column", ["domain", "thinking_tokens", "solved"])
def test_a_null_feature_is_refused_with_its_name_and_number(column):
    features = make_features([("algebra", 1, False)] * 3).astype({"solved": "boolean", "thinking_tokens": "Int64"})
    features.loc[1, column] = None
    with pytest.raises(StudyError, match=f"{column} in 1 rows.*drop_incomplete"):
        select_subset("random", features, size=1, seed=0)


def test_a_missing_feature_is_refused_with_its_name():
    with pytest.raises(StudyError, match=r"lacks the column.s. quality"):
        select_subset("random", make_features([("algebra", 1, False)]).drop(columns="quality"), size=1, seed=0)
