"""Near-duplicates against a loop over all pairs."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.dedup import find_duplicates
from s1_utils.near_duplicates import find_near_duplicates, find_pairs, split_letters

TEXTS = st.dictionaries(
    st.text("xyz", min_size=1, max_size=3), st.lists(st.sampled_from("abcA."), max_size=12).map(" ".join), max_size=9
)


def compare_all_pairs(texts, threshold, k):
    """Oracle: (first, second, similarity) of every pair, by sets of k-grams and exact fractions."""
    grams = {
        i: {tuple(w[j : j + k]) for j in range(len(w) - k + 1)} for i, t in texts.items() if (w := split_letters(t))
    }
    pairs = []
    for first in sorted(grams):
        for second in sorted(grams):
            union = grams[first] | grams[second]
            if first < second and grams[first] and grams[second]:
                similarity = Fraction(len(grams[first] & grams[second]), len(union))
                if similarity >= threshold:
                    pairs.append((first, second, float(similarity)))
    return pairs


@pytest.mark.parametrize("threshold", [Fraction(1, 10), Fraction(1, 2), Fraction(7, 10), Fraction(1)])
@pytest.mark.parametrize("k", [1, 2, 3])
@given(texts=TEXTS)
def test_pairs_equal_those_of_a_loop_over_all_pairs(threshold, k, texts):
    found = [(p.first, p.second, p.similarity) for p in find_pairs(texts, threshold=float(threshold), k=k)]
    assert sorted(found) == compare_all_pairs(texts, threshold, k)


@given(TEXTS, st.randoms())
def test_the_order_of_texts_changes_nothing(texts, rng):
    shuffled = dict(rng.sample(list(texts.items()), len(texts)))
    assert find_near_duplicates(shuffled, k=2) == find_near_duplicates(texts, k=2)


@given(TEXTS)
def test_every_removed_text_is_near_one_that_stays_and_no_two_that_stay_are_near(texts):
    removed = find_near_duplicates(texts, threshold=0.5, k=2)
    near = {(p.first, p.second): p.similarity for p in find_pairs(texts, threshold=0.5, k=2)}
    for text_id, (kept, similarity) in removed.items():
        assert kept not in removed
        assert near[kept, text_id] == similarity
    assert all(pair[0] in removed or pair[1] in removed for pair in near)


@given(TEXTS)
def test_removing_again_removes_nothing(texts):
    left = {i: text for i, text in texts.items() if i not in find_near_duplicates(texts, k=2)}
    assert find_near_duplicates(left, k=2) == {}


def test_a_chain_of_likeness_does_not_remove_a_text_that_is_like_no_kept_one():
    texts = {"a": "1 2 3 4 5", "b": "2 3 4 5 6", "c": "3 4 5 6 7"}
    assert find_near_duplicates(texts, threshold=0.6, k=1) == {"b": ("a", pytest.approx(4 / 6))}


def test_case_accents_width_and_punctuation_do_not_make_texts_differ():
    texts = {"a": "Where is the café, exactly?", "b": "where IS the cafe\u0301 — ｅｘａｃｔｌｙ"}
    assert [pair.similarity for pair in find_pairs(texts)] == [1.0]


def test_texts_shorter_than_k_words_are_near_nothing():
    assert find_pairs({"a": "one two", "b": "one two", "c": "", "d": "..."}, k=3) == []


@pytest.mark.parametrize("bad", [{"threshold": 0.0}, {"threshold": 1.1}, {"k": 0}])
def test_bounds_that_make_no_rule_are_refused(bad):
    with pytest.raises(ValueError, match="threshold must be in"):
        find_pairs({"a": "x"}, **bad)


@pytest.mark.parametrize("find", [find_pairs, find_duplicates])
def test_a_text_that_is_no_string_is_refused_with_its_id(find):
    with pytest.raises(ValueError, match="Text b: it is None, not a string"):
        find({"a": "x", "b": None})
