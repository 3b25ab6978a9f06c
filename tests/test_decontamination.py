"""The table of removals: which questions share what with a held-out one, against a loop over all pairs."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils.decontamination import (
    count_funnel,
    count_invisible,
    decontaminate,
    list_boilerplate,
    price_flaws,
    replay_s1,
    show_removals,
)
from s1_utils.dedup import POLICIES, Policy

TEXTS = st.lists(st.sampled_from("abAB"), max_size=14).map(" ".join)
AUDITED = POLICIES["audited"]
IDS = st.text("xyz", min_size=1, max_size=2)
EIGHT = "find the sum of all positive integers n"


def make_questions(**rows):
    """id=(split, text) → a `questions` table of one source and domain."""
    columns = ["question_id", "question", "split"]
    table = pd.DataFrame([(i, text, split) for i, (split, text) in rows.items()], columns=columns)
    return table.assign(source="own", domain="all")


def list_removals(questions, policy=AUDITED, near_duplicate=1.0):
    table = decontaminate(questions, policy=policy, near_duplicate=near_duplicate)
    table = table[table["removed"]]
    return set(zip(table["question_id"], table["against_set"], table["against_id"], strict=True))


# ------------------------------------------------------------------ the table


def test_a_training_question_that_shares_a_run_with_a_test_question_is_removed():
    assert list_removals(make_questions(a=("train", EIGHT), b=("test", EIGHT + " two"))) == {("a", "test", "b")}


def test_a_test_question_is_never_removed():
    questions = make_questions(a=("test", EIGHT), b=("test", EIGHT + " two"), c=("test", EIGHT), d=("dev", "x"))
    assert list_removals(questions) == set()


def test_development_questions_are_kept_apart_from_both_sides():
    questions = make_questions(a=("train", EIGHT + " one"), b=("dev", "a " + EIGHT + " b"), c=("test", "c " + EIGHT))
    assert list_removals(questions) == {("a", "test", "c"), ("b", "test", "c"), ("a", "dev", "b")}


def test_of_repeated_training_questions_the_smallest_id_stays():
    questions = make_questions(b=("train", "One two"), a=("train", "one  TWO."), c=("train", "(one) two?"))
    assert list_removals(questions) == {("b", "train", "a"), ("c", "train", "a")}


def test_near_duplicates_go_only_if_asked_for():
    words = " ".join(f"word{i}" for i in range(40))
    questions = make_questions(a=("train", words), b=("train", words + " more"))
    assert list_removals(questions) == set()
    assert list_removals(questions, near_duplicate=0.9) == {("b", "train", "a")}


def test_a_question_is_no_repeat_of_one_that_overlap_removed():
    words = " ".join(f"word{i}" for i in range(40))
    questions = make_questions(a=("train", EIGHT + " " + words), b=("train", words), c=("test", EIGHT))
    assert list_removals(questions, near_duplicate=0.7) == {("a", "test", "c")}


def test_the_papers_policy_removes_no_repeats_and_no_disguises():
    questions = make_questions(
        a=("train", "one two"), b=("train", "One two"), c=("test", EIGHT), d=("train", EIGHT.replace(" ", ", "))
    )
    assert list_removals(questions, policy=POLICIES["s1"], near_duplicate=0.5) == set()
    assert list_removals(questions) == {("b", "train", "a"), ("d", "test", "c")}


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(IDS, st.tuples(st.sampled_from(["train", "test"]), TEXTS), max_size=8))
def test_after_the_removals_nothing_more_is_removed(rows):
    questions = make_questions(**rows)
    policy = Policy(n=3, common=2)
    removed = {question_id for question_id, _, _ in list_removals(questions, policy, near_duplicate=0.7)}
    rest = questions[~questions["question_id"].isin(removed)]
    assert list_removals(rest, policy, near_duplicate=0.7) == set()


def test_evidence_is_in_the_row():
    questions = make_questions(a=("train", f"Now {EIGHT} only"), b=("test", f"{EIGHT} such"))
    row = decontaminate(questions, policy=POLICIES["s1"]).iloc[0]
    assert row["method"] == "words"
    assert row["words"] == EIGHT
    spans = ["train_start", "train_end", "eval_start", "eval_end"]
    assert row[spans].tolist() == [4, 4 + len(EIGHT), 0, len(EIGHT)]
    assert row[["shared", "common_train", "common_eval"]].tolist() == [8, 1, 1]
    assert row["similarity"] == 8 / 9


def test_boilerplate_is_listed_and_removes_nothing():
    item = EIGHT + " such that something altogether different is asked about them in the end"
    rows = {f"t{i}": ("train", f"{EIGHT} and {i}") for i in range(12)} | {"e": ("test", item)}
    overlaps = decontaminate(make_questions(**rows), policy=AUDITED)
    assert not overlaps["removed"].any()
    assert list_boilerplate(overlaps).iloc[0].tolist() == [12, 1]
    funnel = count_funnel(make_questions(**rows), overlaps).loc[("own", "all")]
    assert funnel[["collected", "words", "boilerplate", "removed", "left"]].tolist() == [12, 0, 12, 0, 12]


def test_without_overlaps_the_table_still_has_its_columns_and_types():
    table = decontaminate(make_questions(a=("train", "x"), b=("test", "y")), policy=AUDITED)
    full = decontaminate(make_questions(a=("train", EIGHT), b=("test", EIGHT)), policy=AUDITED)
    assert len(table) == 0
    assert table.dtypes.equals(full.dtypes)


# ------------------------------------------------------------------ the report


def test_the_funnel_counts_each_question_once():
    questions = make_questions(
        a=("train", EIGHT), b=("test", EIGHT), c=("dev", "x y"), d=("train", "One two"), e=("train", "one two")
    )
    funnel = count_funnel(questions, decontaminate(questions, policy=AUDITED)).loc[("own", "all")]
    assert funnel.to_dict() == {
        "collected": 4, "words": 1, "letters": 1, "short": 0, "repeat": 1, "near-duplicate": 0, "boilerplate": 0,
        "removed": 2, "left": 2,
    }  # fmt: skip


def test_what_a_policy_cannot_see_is_counted_by_set():
    table = count_invisible({"x": {"a": "What is 2+2?", "b": EIGHT}, "y": {"c": "..."}}, POLICIES)
    assert table.to_dict("list") == {"items": [2, 1], "invisible to s1": [1, 1], "invisible to audited": [0, 1]}


def test_removals_are_shown_escaped_with_the_shared_words_marked():
    questions = make_questions(a=("train", f"<script>alert(1)</script> {EIGHT}"), b=("test", f"{EIGHT} & more"))
    page = show_removals(decontaminate(questions, policy=AUDITED), questions).data
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count(f"<mark>{EIGHT}</mark>") == 2


# ------------------------------------------------------------------ the original's way


def replay_plainly(sources, references, n, growing, unchecked):
    """Oracle: the script's steps on lists, every pair of texts compared."""

    def grams(text):
        words = text.lower().split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    tests = [text for items in references.values() for text in items.values()]
    pool, removed = [], set()
    for source in [s for s in sources if s not in unchecked] + [s for s in sources if s in unchecked]:
        for i, text in sources[source].items():
            if source not in unchecked and any(grams(text) & grams(test) for test in tests):
                removed.add(i)
            else:
                pool.append((i, text))
        if growing:
            tests = [text for items in references.values() for text in items.values()] + [t for _, t in pool]
    seen = set()
    for i, text in pool:
        if text in seen:
            removed.add(i)
        seen.add(text)
    return removed


@given(
    st.lists(st.lists(TEXTS, max_size=3), max_size=4),
    st.lists(TEXTS, max_size=2),
    st.booleans(),
    st.sets(st.sampled_from(["s0", "s1", "s2"])),
)
def test_the_replay_removes_what_the_scripts_steps_remove(lists, tests, growing, unchecked):
    sources = {f"s{s}": {f"{s}/{i}": text for i, text in enumerate(texts)} for s, texts in enumerate(lists)}
    references = {"test": {str(i): text for i, text in enumerate(tests)}}
    table = replay_s1(sources, references, n=2, growing=growing, unchecked=unchecked)
    assert set(table["question_id"]) == replay_plainly(sources, references, 2, growing, unchecked)
    assert table["question_id"].is_unique


def test_the_order_of_sources_decides_in_the_replay():
    sources = {"x": {"a": EIGHT + " one"}, "y": {"b": EIGHT + " two"}}
    assert replay_s1(sources, {}).to_dict("records")[0]["question_id"] == "b"
    assert replay_s1(dict(reversed(sources.items())), {}).to_dict("records")[0]["question_id"] == "a"
    assert len(replay_s1(sources, {}, growing=False)) == 0


def test_each_flaw_has_a_price():
    rows = {"a": ("train", EIGHT + " one"), "b": ("train", "ab " * 9), "e": ("test", EIGHT)}
    table = price_flaws(make_questions(**rows)).set_index("check")
    assert table.loc["switched off (as released)"].tolist() == [0, 1, 0]
    assert table.loc["the paper's rule"].tolist() == [1, 0, 0]
    assert table.loc["own/all appended unchecked"].tolist() == [0, 1, 0]
