"""Which rows may be trained on: quality rules, named removals, the difficulty pool, features and the funnel."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat, filters
from s1_utils.errors import StudyError
from s1_utils.filters import draw_pool, find_quality_reason, judge_rows
from s1_utils.qwen_tokens import count_qwen_tokens

DOMAINS = ("algebra", "biology", "chess")


# ------------------------------------------------------------------ quality

FRAGMENTS = ["[asy]", "![Image]", "p1.", "p12.", "p0.", "p1000.", "p07.", "**", "*", "]", " ", "\n", "x", "3", "p", "."]


def transcribe_paper(question, source):
    """The released notebook's rule as its cells have it: loops over substrings, and one pattern; True keeps."""
    if "[asy]" in question and "AIME" in source:
        return True
    drop = "[asy]" in question or "![Image]" in question
    drop = drop or any(f"p{i}." in question for i in range(1, 1000))
    return not (drop or re.search(r"\*\*(?=.*\d)[^\s\]]*\*\*", question))


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), st.sampled_from(["MATH", "AIME (1983-2021)"]))
def test_the_papers_policy_keeps_what_its_transcription_keeps(question, source):
    assert (find_quality_reason(question, "paper", source=source) is None) == transcribe_paper(question, source)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), st.sampled_from(["MATH", "AIME (1983-2021)"]))
def test_the_audited_policy_drops_nothing_that_the_papers_keeps(question, source):
    if find_quality_reason(question, "paper", source=source) is None:
        assert find_quality_reason(question, "audited", source=source) is None


@pytest.mark.parametrize(
    ("question", "paper", "audited"),
    [
        ("Find x. [asy] draw((0,0)); [/asy]", "ascii-art diagram", "ascii-art diagram"),
        ("What does ![Image] show?", "image that isn't there", "image that isn't there"),
        ("p12. Find x.", "inconsistent numbering", "inconsistent numbering"),
        ("Solve.\n **p1.** Find x.", "inconsistent numbering", "inconsistent numbering"),
        ("**5.** Find x.", "inconsistent numbering", "inconsistent numbering"),
        ("Do step3p2. and rest.", "inconsistent numbering", None),
        ("Distinct primes p1 and p2. Find x.", "inconsistent numbering", None),
        ("A ratio of p1.5 to one.", "inconsistent numbering", None),
        ("Find **all** x below 12.", "inconsistent numbering", None),
        ("Compute 2**3**4.", "inconsistent numbering", None),
        ("Find **all** x.", None, None),
        ("Find x in step 12.", None, None),
        ("Is p = 12?", None, None),
        ("p0. or p1000. or p07.", None, None),
    ],
)
def test_each_policy_gives_its_reason(question, paper, audited):
    assert [find_quality_reason(question, policy) for policy in ("paper", "audited")] == [paper, audited]


@pytest.mark.parametrize("policy", filters.POLICIES)
def test_a_diagram_of_aime_escapes_all_rules_but_other_faults_do_not(policy):
    aime = "AIME (1983-2021)"
    asked = ["[asy] p1. [/asy]", "p1. Find x.", "![Image]"]
    assert [find_quality_reason(question, policy, source=aime) is None for question in asked] == [True, False, False]


def test_both_policies_are_counted_side_by_side_by_reason():
    asked = ["p1. x", "Find **all** x below 12.", "[asy]", "x"]
    table = filters.compare_policies(pd.DataFrame({"question": asked, "source": "MATH"}))
    assert table.loc["inconsistent numbering"].to_dict() == {
        "paper": 2, "audited": 1, "only paper": 1, "only audited": 0,
    }  # fmt: skip
    assert table.loc["ascii-art diagram", ["paper", "audited"]].tolist() == [1, 1]


def test_an_unknown_policy_is_refused():
    with pytest.raises(StudyError, match="no quality policy 's1': choose paper or audited"):
        filters.find_quality(pd.DataFrame({"question": ["x"], "source": ["MATH"]}), "s1")


@pytest.mark.parametrize(
    "question",
    ["**" * 500_000, "**a" * 500_000 + "1", "**a " * 300_000, "*" * 10**6 + "5", "\n " * 500_000, "p1" * 10**6],
)
def test_a_hostile_question_of_a_megabyte_is_judged_at_once(question):
    # the notebook's own pattern takes time that grows with the square: hours for the second of these
    for policy in filters.POLICIES:
        find_quality_reason(question, policy)


# ------------------------------------------------------------------ candidates

GOOD = {
    "question_id": "a",
    "question": "Find x.",
    "source": "MATH",
    "thinking": "x is 3",
    "attempt": "3",
    "attempt_correct": True,
}


def judge(tokenizer, *changes, max_train_tokens=256, policy="audited", lengths=""):
    rows = pd.DataFrame([GOOD | change for change in changes], index=range(5, 5 + len(changes)))
    rows = rows.astype({"attempt_correct": "boolean"})
    return judge_rows(
        rows, tokenizer, system_prompt="Think.", max_train_tokens=max_train_tokens, policy=policy, lengths=lengths
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"attempt_correct": False}, None),
        ({"thinking": "x is 3 " * 99}, "longer than the training limit"),
        ({"attempt_correct": None}, "attempt can't be graded"),
        ({"thinking": None, "attempt": None}, "no trace"),
        ({"question": "Find x. [asy]"}, "ascii-art diagram"),
        ({"question": "Find x. [asy]", "attempt_correct": None}, "attempt can't be graded"),
        ({"thinking": None, "attempt": None, "attempt_correct": None, "question": "[asy]"}, "no trace"),
    ],
)
def test_a_row_is_dropped_for_its_first_reason_or_none(tokenizer, change, reason):
    dropped = judge(tokenizer, {}, change)["dropped"]
    assert [None if pd.isna(one) else one for one in dropped] == [None, reason]


def test_a_row_has_the_reasons_of_both_policies_and_is_dropped_for_that_of_the_chosen_one(tokenizer):
    change = {"question": "Find **all** x below 12."}
    tables = {policy: judge(tokenizer, change, policy=policy).iloc[0] for policy in filters.POLICIES}
    assert all(row["quality_paper"] == "inconsistent numbering" for row in tables.values())
    assert [pd.isna(tables[policy]["dropped"]) for policy in ("audited", "paper")] == [True, False]


def test_lengths_are_counted_by_the_tokenizer_that_is_named(tokenizer):
    thinking = "好好学习，天天向上"
    own, qwen = (
        judge(tokenizer, {"thinking": thinking}, lengths=name)["thinking_tokens"][0] for name in ("", "qwen2.5")
    )
    assert own == len(chat.encode(tokenizer, thinking))
    assert qwen == count_qwen_tokens(thinking) != own


def test_an_unknown_tokenizer_is_refused(tokenizer):
    with pytest.raises(StudyError, match=r"no tokenizer 'gpt2': write qwen2.5"):
        judge(tokenizer, {}, lengths="gpt2")


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


# ------------------------------------------------------------------ verdicts and traces


def tabulate_grades(*rows):
    table = pd.DataFrame(rows, columns=["question_id", "teacher", "grader", "correct"])
    return table.astype({"correct": "boolean"})


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [
        ({"exact": True, "math": False}, True),
        ({"exact": None, "math": False, "judge": True}, False),
        ({"exact": None, "math": None, "judge": True, "published": False}, False),
        ({"exact": None, "math": None}, None),
    ],
)
def test_the_verdict_is_that_of_the_first_grader_who_has_one(verdicts, combined):
    for names in (list(verdicts), list(reversed(verdicts))):
        grades = tabulate_grades(*[("a", "t", name, verdicts[name]) for name in names])
        found = filters.combine_verdicts(grades)[("a", "t")]
        assert (None if pd.isna(found) else bool(found)) is combined


def test_a_question_has_the_trace_and_the_verdict_of_its_first_teacher():
    questions = pd.DataFrame({"question_id": ["a", "b", "c"]})
    traces = pd.DataFrame(
        [("b", "x", "one", "1", None, "exact"), ("b", "y", "two", "2", None, "exact"), ("a", "y", "3", "3", None, "")],
        columns=["question_id", "teacher", "thinking", "attempt", "attempt_correct", "grader"],
    )
    grades = tabulate_grades(("b", "y", "exact", False), ("b", "x", "exact", True))
    joined = filters.join_traces(questions, traces, grades)
    assert joined["question_id"].tolist() == ["a", "b", "c"]
    assert [None if pd.isna(x) else x for x in joined["thinking"]] == ["3", "one", None]
    assert [None if pd.isna(x) else bool(x) for x in joined["attempt_correct"]] == [None, True, None]


# ------------------------------------------------------------------ the pool


def make_pool(rows):
    table = pd.DataFrame(rows, columns=["domain", "thinking_tokens", "solved"])
    return table.assign(question_id=[f"q{i:02}" for i in range(len(table))])


FEATURES = st.lists(
    st.tuples(st.sampled_from(DOMAINS), st.integers(1, 20), st.booleans()), min_size=1, max_size=30
).map(make_pool)


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
    features = make_pool([(domain, 1, False) for domain in DOMAINS for _ in range(30)])
    assert len({tuple(draw_pool(features, 30, seed)["question_id"]) for seed in range(3)}) == 3


# ------------------------------------------------------------------ features and funnel


def build(pool=(), solved=(), domains=()):
    base = {"source": "MATH", "thinking_tokens": 9, "train_tokens": 20, "attempt_correct": True, "quality_paper": None}
    rows = pd.DataFrame([base | {"question_id": q} | change for q, change in pool])
    rows = rows.astype({"quality_paper": "string", "attempt_correct": "boolean"})
    table = pd.DataFrame(solved, columns=["question_id", "solved_x", "solved_y"])
    table = table.astype({"solved_x": "boolean", "solved_y": "boolean"})
    labels = pd.DataFrame(domains, columns=["question_id", "domain"]).astype("string")
    return filters.build_features(rows, labels, table, policy="paper")


@pytest.mark.parametrize(
    ("one", "two", "solved"),
    [(True, False, True), (False, False, False), (True, None, True), (False, None, None), (None, None, None)],
)
def test_a_question_is_solved_if_any_solver_solves_it_and_unknown_if_none_did_and_one_is_unknown(one, two, solved):
    found = build([("a", {})], [("a", one, two)], [("a", "chess")])["solved"][0]
    assert (None if pd.isna(found) else bool(found)) is solved


def test_rows_without_a_label_or_a_verdict_are_counted_and_dropped():
    table = build([(q, {}) for q in "abcd"], [("a", True, True), ("b", None, False), ("d", False, False)],
                  [("a", "chess"), ("b", "chess"), ("c", None), ("d", "chess")])  # fmt: skip
    assert filters.count_missing(table) == {"domain": 1, "solved": 2}
    assert filters.drop_incomplete(table)["question_id"].tolist() == ["a", "d"]


@pytest.mark.parametrize(
    ("source", "right", "tokens", "is_outright"),
    [
        ("AIME (1983-2021)", True, 1, True),
        ("AIME (1983-2021)", False, 9999, False),
        ("AIME (1983-2021)", None, 9999, False),
        ("GPQA", True, 1, True),
        ("MATH", True, 5600, False),
        ("MATH", True, 5601, True),
        ("NuminaMATH", True, 9999, False),
    ],
)
def test_benchmark_rows_attempted_rightly_are_taken_outright(source, right, tokens, is_outright):
    change = {"source": source, "attempt_correct": right, "thinking_tokens": tokens}
    found = build([("a", change)], [("a", False, False)], [("a", "chess")])["outright"][0]
    assert (not pd.isna(found)) is is_outright


def test_the_funnel_never_grows_and_ends_in_what_was_selected(tokenizer):
    long, asy = {"thinking": "x " * 400}, {"question": "[asy]"}
    changes = [{}, {"thinking": None, "attempt": None}, {"attempt_correct": None}, long, asy, {}]
    candidates = judge(tokenizer, *[change | {"question_id": q} for q, change in zip("abcdef", changes, strict=True)])
    questions = pd.DataFrame({"question_id": list("abcdefgh"), "split": ["train"] * 7 + ["test"]})
    features = build([("a", {}), ("e", {"quality_paper": "x"}), ("f", {})],
                     [("a", False, False), ("e", False, False), ("f", True, False)],
                     [(q, "chess") for q in "aef"])  # fmt: skip
    funnel = filters.count_funnel(questions, candidates, features, selected=1).set_index("step")["rows"]
    assert funnel.tolist() == [8, 7, 6, 5, 4, 3, 2, 3, 3, 1, 0, 1]


def test_the_papers_counts_stand_beside_their_own_steps():
    table = filters.count_funnel(
        pd.DataFrame({"split": []}), pd.DataFrame({"dropped": []}), build([("a", {})]), selected=0
    ).set_index("step")["paper"]
    assert table[["graded", "of good quality", "unsolved", "selected"]].tolist() == [54116, 51581, 24496, 1000]
    assert pd.isna(table["difficulty pool"])
