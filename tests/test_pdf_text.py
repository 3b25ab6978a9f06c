"""PDFs whole, broken and malicious: the text or a reason, in bounded time and memory."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from crawl_site import make_encrypted, make_packed, make_page_bomb, make_pdf, make_scan
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils.crawl.pdf_text import PdfError, PdfLimits, read_pdf

LIMITS = PdfLimits(seconds=20)
PAGES = [["Problem 1", "Toss a (fair) coin."], ["Problem 2", r"Let X \ Y."]]


def test_the_title_and_every_page_are_read():
    text = read_pdf(make_pdf(PAGES, "Probability 2010"), LIMITS)
    assert text.title == "Probability 2010"
    assert [page.splitlines() for page in text.pages] == PAGES


def test_an_empty_page_among_others_keeps_its_place():
    assert [bool(page.strip()) for page in read_pdf(make_pdf([["a"], [], ["b"]]), LIMITS).pages] == [True, False, True]


def refuse(content, limits=LIMITS):
    with pytest.raises(PdfError) as caught:
        read_pdf(content, limits)
    return str(caught.value)


def test_a_web_page_is_no_pdf():
    assert refuse(b"\n<!DOCTYPE html><p>Sign in") == "HTML, not a PDF"


def test_anything_else_is_no_pdf():
    assert refuse(b"\x89PNG") == refuse(b"") == "not a PDF"


def test_a_pdf_that_was_cut_is_refused_at_every_length():
    whole = make_pdf(PAGES)
    for size in range(20, len(whole) - 6, 40):
        assert refuse(whole[:size]) == "truncated: its end is missing"


def test_an_encrypted_pdf_says_so():
    assert refuse(make_encrypted(PAGES)) == "encrypted"


def test_a_scan_says_that_it_has_no_text_layer():
    assert refuse(make_scan()).startswith("no text layer")


def test_a_pdf_without_its_objects_says_that_it_is_broken():
    whole = make_pdf(PAGES)
    assert refuse(b"%PDF-1.4\n" + whole[whole.index(b"xref") :]).startswith("broken")


def test_more_pages_than_allowed_are_refused():
    assert refuse(make_pdf(PAGES), replace(LIMITS, pages=1)) == "2 pages, more than 1"
    assert len(read_pdf(make_pdf(PAGES), replace(LIMITS, pages=2)).pages) == 2


def test_more_text_than_allowed_is_refused():
    assert refuse(make_pdf([["x" * 50]]), replace(LIMITS, characters=49)) == "more than 49 characters"


def test_a_tree_of_a_million_million_pages_is_given_up():
    bomb = make_page_bomb()
    assert len(bomb) < 3000
    started = time.monotonic()
    reason = refuse(bomb, replace(LIMITS, seconds=3))
    assert reason.startswith(("broken: LimitReachedError", "took longer"))
    assert time.monotonic() - started < 10


def test_a_page_that_unpacks_to_a_hundred_megabytes_is_given_up():
    bomb = make_packed(b" " * 1024, 100 * 2**20)
    assert len(bomb) < 2**18
    assert refuse(bomb).startswith("broken: LimitReachedError")


def test_a_page_that_takes_too_long_is_stopped():
    started = time.monotonic()
    slow = make_packed(b"(ab) Tj T* ", 6 * 2**20)
    assert refuse(slow, replace(LIMITS, seconds=1)).startswith("took longer than 1 s")
    assert time.monotonic() - started < 5


def test_a_page_that_takes_too_much_memory_is_stopped():
    reason = refuse(make_packed(b" " * 1024, 70 * 2**20), replace(LIMITS, memory=160 * 2**20))
    assert "memory" in reason.lower()


@settings(max_examples=25)
@given(st.data())
def test_damage_anywhere_gives_a_text_or_a_reason(data):
    whole = bytearray(make_pdf(PAGES))
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(8, len(whole) - 8))] = data.draw(st.integers(0, 255))
    try:
        assert len(read_pdf(bytes(whole), LIMITS).pages) >= 1
    except PdfError as error:
        assert str(error)  # noqa: PT017
