"""The compiled path finds the same matches as the plain one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils.dedup import Index, Policy
from s1_utils.overlap_kernel import nominate

pytest.importorskip("numba")
SPACES = "".join(chr(c) for c in range(0x3001) if chr(c).isspace())
WORDS = st.sampled_from(["a", "B", "b", "ab", "İ", "\u212a", "k", "é"])
TEXT = st.lists(st.tuples(WORDS, st.text(SPACES, min_size=1, max_size=2)), max_size=12).map(
    lambda pieces: "".join(word + space for word, space in pieces)
)
MANY = st.dictionaries(st.text("pq", min_size=1, max_size=3), TEXT, max_size=6)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("normalised", [False, True])
@settings(deadline=None)
@given(texts=MANY, items=MANY)
def test_the_fast_scan_gives_the_same_matches(n, normalised, texts, items):
    index = Index(Policy(n=n, normalised=normalised))
    index.add("set", items)
    assert list(index.scan(texts, fast=True)) == list(index.scan(texts))


def test_a_text_without_a_shared_run_is_not_nominated():
    rows = list(nominate([("t", "one two three four"), ("u", "x two three y")], [["two", "three"], ["four", "one"]], 2))
    assert rows == [("t", "one two three four", True), ("u", "x two three y", True)]
    assert not any(found for _, _, found in nominate([("t", "two one three")], [["two", "three"]], 2))


def test_more_texts_than_a_batch_come_back_in_order():
    texts = [(str(i), "x y" if i % 1000 == 7 else "y x") for i in range(10_000)]
    rows = list(nominate(texts, [["x", "y"]], 2))
    assert [(i, text) for i, text, _ in rows] == texts
    assert [int(i) for i, _, found in rows if found] == list(range(7, 10_000, 1000))


def test_a_text_that_is_no_string_is_refused_with_its_id():
    index = Index(Policy())
    index.add("set", {"r": "x"})
    with pytest.raises(ValueError, match=r"Training text t: it is None, not a string"):
        list(index.scan([("t", None)], fast=True))
