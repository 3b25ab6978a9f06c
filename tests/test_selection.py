"""Which questions are trained on: filters, the pool, Algorithm 1 and the subsets it is compared with."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat
from s1_utils.errors import StudyError
from s1_utils.filters import draw_pool, find_quality_reason, judge_rows
from s1_utils.selection import COLUMNS, SUBSETS, select_subset

DOMAINS = ("algebra", "biology", "chess")


def make_features(rows):
    """(domain, thinking tokens, solved) of questions q00, q01, … → a `features` table."""
    table = pd.DataFrame(rows, columns=["domain", "thinking_tokens", "solved"])
    return table.assign(question_id=[f"q{i:02}" for i in range(len(table))])


FEATURES = st.lists(
    st.tuples(st.sampled_from(DOMAINS), st.integers(1, 20), st.booleans()), min_size=1, max_size=30
).map(make_features)
NAMES = st.sampled_from(SUBSETS)


@st.composite
def selections(draw, names=NAMES):
    """(name, features, size) that can be selected."""
    name, features = draw(names), draw(FEATURES.filter(lambda table: not table["solved"].all()))
    eligible = (~features["solved"]).sum() if name == "s1K" else len(features)
    return name, features, draw(st.integers(1, int(eligible)))


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


@given(selections(st.just("s1K")))
def test_the_papers_subset_never_holds_a_solved_question(selection):
    name, features, size = selection
    chosen = select_subset(name, features, size=size, seed=0)["question_id"]
    assert not features[features["question_id"].isin(chosen)]["solved"].any()


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


@pytest.mark.parametrize("name", SUBSETS)
def test_too_few_eligible_questions_are_told_with_their_number(name):
    features = make_features([("algebra", 1, True)] * 2 + [("chess", 1, False)] * 3)
    eligible = 3 if name == "s1K" else 5
    with pytest.raises(StudyError, match=f"Subset {name} needs 6 questions but only {eligible} are eligible"):
        select_subset(name, features, size=6, seed=0)


def test_an_unknown_subset_is_refused_with_the_names_there_are():
    with pytest.raises(StudyError, match="No subset 's1k': choose from s1K, random"):
        select_subset("s1k", make_features([("algebra", 1, False)]), size=1, seed=0)


# ------------------------------------------------------------------ filters


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Find x. [asy] draw((0,0)); [/asy]", "ascii-art diagram"),
        ("What does ![Image] show?", "image that isn't there"),
        ("p12. Find x.", "inconsistent numbering"),
        ("**p1.** Find x.", "inconsistent numbering"),
        ("**5.** Find x.", "inconsistent numbering"),
        ("Find **all** x.", None),
        ("Find x in step 12.", None),
        ("Is p = 12?", None),
    ],
)
def test_the_quality_filter_drops_what_the_papers_drops(question, reason):
    assert find_quality_reason(question) == reason


GOOD = {"question_id": "a", "question": "Find x.", "thinking": "x is 3", "attempt": "3", "attempt_correct": True}


def judge(tokenizer, *changes, max_train_tokens=256):
    rows = pd.DataFrame([GOOD | change for change in changes], index=range(5, 5 + len(changes)))
    rows = rows.astype({"attempt_correct": "boolean"})
    return judge_rows(rows, tokenizer, system_prompt="Think.", max_train_tokens=max_train_tokens)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"attempt_correct": False}, None),
        ({"thinking": "x is 3 " * 99}, "longer than the training limit"),
        ({"attempt_correct": None}, "attempt can't be graded"),
        ({"question": "Find x. [asy]"}, "ascii-art diagram"),
    ],
)
def test_a_row_is_dropped_for_one_reason_or_none(tokenizer, change, reason):
    dropped = judge(tokenizer, {}, change)["dropped"]
    assert [None if pd.isna(one) else one for one in dropped] == [None, reason]


def test_a_row_as_long_as_the_limit_is_kept(tokenizer):
    length = int(judge(tokenizer, {})["train_tokens"].iloc[0])
    kept = [judge(tokenizer, {}, max_train_tokens=limit)["dropped"].isna().all() for limit in (length, length - 1)]
    assert kept == [True, False]


def test_training_tokens_count_the_whole_row_prompt_included(tokenizer):
    text = chat.write_prompt(tokenizer, "Find x.", "Think.") + chat.write_completion("x is 3", "3")
    assert judge(tokenizer, {}, {})["train_tokens"].tolist() == [len(chat.encode(tokenizer, text))] * 2


def test_judgements_keep_the_rows_they_belong_to(tokenizer):
    judged = judge(tokenizer, {"question_id": "b", "question": "[asy]"}, {"question_id": "c"})
    assert judged["question_id"].tolist() == ["b", "c"]
    assert judged["dropped"].isna().tolist() == [False, True]


@given(FEATURES, st.integers(0, 40))
def test_the_pool_takes_from_each_domain_alike_as_long_as_there_are_enough(features, size):
    drawn, there = (table["domain"].value_counts() for table in (draw_pool(features, size, 0), features))
    for domain in there.index:
        others = [drawn.get(other, 0) for other in there.index]
        assert drawn.get(domain, 0) == there[domain] or drawn.get(domain, 0) >= max(others) - 1


@given(FEATURES, st.integers(0, 40))
def test_the_pool_has_the_size_asked_for_or_all_there_is(features, size):
    drawn = draw_pool(features, size, 0)["question_id"]
    assert len(set(drawn)) == len(drawn) == min(size, len(features))


@given(FEATURES, st.integers(0, 40), st.integers(0, 9))
def test_the_order_of_the_input_never_changes_the_pool(features, size, seed):
    shuffled = features.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(draw_pool(features, size, 0), draw_pool(shuffled, size, 0))


@given(FEATURES, st.integers(1, 40))
def test_a_smaller_pool_is_part_of_a_larger_one(features, size):
    small, large = (set(draw_pool(features, n, 0)["question_id"]) for n in (size - 1, size))
    assert small <= large


def test_another_seed_draws_another_pool():
    features = make_features([(domain, 1, False) for domain in DOMAINS for _ in range(30)])
    assert len({tuple(draw_pool(features, 30, seed)["question_id"]) for seed in range(3)}) == 3
