"""Overlap by words, against a loop over all pairs of texts and all pairs of positions."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.dedup import Overlap, decontaminate, find_duplicates, find_ngrams, find_overlaps, split_words

TEXTS = st.lists(st.sampled_from("abAB"), max_size=14).map(" ".join)
MANY = st.dictionaries(st.sampled_from("pqrstuv"), TEXTS, max_size=5)
IDS = st.text("xyz", min_size=1, max_size=2)
EIGHT = "find the sum of all positive integers n"


def compare_all_pairs(texts, references, n):
    """Oracle: every pair, every pair of positions, word by word; short texts only whole."""
    found = []
    for text_id, text in texts.items():
        for reference_id, reference in references.items():
            a, b = text.lower().split(), reference.lower().split()
            if min(len(a), len(b)) < n:
                if a == b:
                    found.append(Overlap(text_id, reference_id, "whole", " ".join(a)))
                continue
            starts = [i for i in range(len(a) - n + 1) for j in range(len(b) - n + 1) if a[i : i + n] == b[j : j + n]]
            if starts:
                words = " ".join(a[starts[0] : starts[0] + n])
                found.append(Overlap(text_id, reference_id, "ngram", words))
    return found


@pytest.mark.parametrize("n", [2, 3, 5, 8])
@given(texts=MANY, references=MANY)
def test_overlaps_equal_those_of_a_loop_over_all_pairs(n, texts, references):
    assert find_overlaps(texts, references, n=n) == compare_all_pairs(texts, references, n)


def test_a_planted_run_of_eight_words_is_found():
    texts = {"t": f"Please {EIGHT.upper()} such that n divides 12."}
    references = {"r": f"Long ago someone asked to {EIGHT} below ten."}
    assert find_overlaps(texts, references) == [Overlap("t", "r", "ngram", EIGHT)]


def test_seven_shared_words_are_no_overlap():
    seven = EIGHT.removesuffix(" n")
    assert not find_overlaps({"t": f"Please {seven} m and more"}, {"r": f"Now {seven} k and less"})


def test_eight_shared_words_in_another_order_are_no_overlap():
    assert not find_overlaps({"t": EIGHT}, {"r": " ".join(EIGHT.split()[::-1])})


def test_case_and_spacing_hide_no_overlap():
    assert find_overlaps({"t": EIGHT.title().replace(" ", "\n\t ")}, {"r": EIGHT})


def test_a_reference_too_short_to_own_a_run_is_found_whole():
    assert find_overlaps({"t": "What is  2 + 2?"}, {"r": "what is 2 + 2?"}) == [
        Overlap("t", "r", "whole", "what is 2 + 2?")
    ]


def test_a_short_text_that_only_begins_like_a_short_reference_is_no_overlap():
    assert not find_overlaps({"t": "What is 2 + 2"}, {"r": "What is 2 + 2 + 2"})


def test_every_reference_that_shares_a_run_is_named():
    found = find_overlaps({"t": EIGHT}, {"r": EIGHT + " one", "s": "another text", "u": "two " + EIGHT})
    assert [overlap.reference_id for overlap in found] == ["r", "u"]


@given(MANY, MANY, st.randoms())
def test_the_order_of_texts_and_references_never_changes_what_is_found(texts, references, rng):
    shuffled = [dict(rng.sample(list(some.items()), len(some))) for some in (texts, references)]
    assert set(find_overlaps(*shuffled, n=3)) == set(find_overlaps(texts, references, n=3))


@given(MANY, MANY, MANY)
def test_an_overlap_of_two_texts_does_not_depend_on_the_others(texts, references, more):
    alone = find_overlaps(texts, references, n=3)
    together = find_overlaps(more | texts, more | references, n=3)
    assert set(alone) <= set(together)


@given(st.lists(st.sampled_from("abc"), max_size=9), st.integers(1, 10))
def test_ngrams_are_all_windows_in_order(words, n):
    assert list(find_ngrams(words, n)) == [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@pytest.mark.parametrize("n", [0, -1])
def test_a_run_of_no_words_is_refused(n):
    with pytest.raises(ValueError, match="n must be 1 or more"):
        find_ngrams(["a"], n)


# ------------------------------------------------------------------ repeats


def test_of_repeats_the_smallest_id_is_kept():
    assert find_duplicates({"c": "One two", "a": "one  TWO", "b": "two one", "d": "ONE two "}) == {"c": "a", "d": "a"}


@given(st.dictionaries(IDS, TEXTS, max_size=8))
def test_without_repeats_every_text_is_there_once(texts):
    repeats = find_duplicates(texts)
    kept = [tuple(split_words(text)) for text_id, text in texts.items() if text_id not in repeats]
    assert sorted(kept) == sorted({tuple(split_words(text)) for text in texts.values()})


@given(st.dictionaries(IDS, TEXTS, max_size=8))
def test_a_repeat_points_to_a_smaller_kept_id_of_the_same_words(texts):
    repeats = find_duplicates(texts)
    for repeat, kept in repeats.items():
        assert split_words(texts[repeat]) == split_words(texts[kept])
        assert kept < repeat
        assert kept not in repeats


# ------------------------------------------------------------------ the table of removals


def make_questions(**rows):
    """id=(split, text) → a `questions` table."""
    columns = ["question_id", "question", "split"]
    return pd.DataFrame([(i, text, split) for i, (split, text) in rows.items()], columns=columns)


def list_removals(questions, n=8):
    table = decontaminate(questions, n=n)
    return set(zip(table["question_id"], table["against_set"], table["against_id"], strict=True))


def test_a_training_question_that_shares_a_run_with_a_test_question_is_removed():
    assert list_removals(make_questions(a=("train", EIGHT), b=("test", EIGHT + " two"))) == {("a", "test", "b")}


def test_a_test_question_is_never_removed():
    questions = make_questions(a=("test", EIGHT), b=("test", EIGHT + " two"), c=("test", EIGHT), d=("dev", "x"))
    assert list_removals(questions) == set()


def test_development_questions_are_kept_apart_from_both_sides():
    questions = make_questions(a=("train", EIGHT + " one"), b=("dev", "a " + EIGHT + " b"), c=("test", "c " + EIGHT))
    assert list_removals(questions) == {("a", "test", "c"), ("b", "test", "c"), ("a", "dev", "b")}


def test_a_repeated_training_question_is_removed_but_for_one():
    questions = make_questions(b=("train", "One two"), a=("train", "one two"))
    assert list_removals(questions) == {("b", "train", "a")}


@given(st.dictionaries(IDS, st.tuples(st.sampled_from(["train", "dev", "test"]), TEXTS)))
def test_after_the_removals_no_training_question_shares_a_run_with_a_held_out_one(rows):
    removed = {question_id for question_id, _, _ in list_removals(make_questions(**rows), n=3)}
    train = {i: text for i, (split, text) in rows.items() if split == "train" and i not in removed}
    held_out = {i: text for i, (split, text) in rows.items() if split != "train"}
    assert compare_all_pairs(train, held_out, 3) == []


def test_without_overlaps_the_table_still_has_its_columns():
    table = decontaminate(make_questions(a=("train", "x"), b=("test", "y")), n=8)
    assert list(table.columns) == ["question_id", "against_set", "against_id", "method", "words"]
