"""Links and blocks of web pages, well-formed or not, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.crawl.html_text import LONGEST, read_blocks, read_links, read_title

BASE = "http://example.org/a/b.html"


def test_links_are_whole_addresses_without_fragments_in_order():
    html = """<a href="c.pdf#page=2">C  <b>2010</b></a> <A HREF='/d e.pdf'>D</A> <a href=//example.org:80/x?y=1>X</a>
    <a href="mailto:me@example.org">m</a> <a href="javascript:x()">j</a> <a name=here>n</a> <a href="http://[">b</a>"""
    assert [(link.url, link.text) for link in read_links(html, BASE)] == [
        ("http://example.org/a/c.pdf", "C 2010"),
        ("http://example.org/d%20e.pdf", "D"),
        ("http://example.org/x?y=1", "X"),
    ]


@pytest.mark.parametrize(
    ("html", "is_next"),
    [
        ("<a rel=next href=x>2</a>", True),
        ("<link rel=next href=x>", True),
        ("<a href=x>Next page</a>", True),
        ("<a href=x>Next ›</a>", False),
        ("<a href=x>»</a>", True),
        ("<a href=x>The next big thing</a>", False),
        ("<a rel=nofollow href=x>2</a>", False),
    ],
)
def test_a_link_to_the_next_page_is_known_by_its_words(html, is_next):
    (link,) = read_links(html, BASE)
    assert link.is_next is is_next


NAMES = {"level": ["level"], "question": ["question", "statement"], "answer": ["answer"]}


def test_a_block_is_found_by_class_or_id_with_its_lines():
    html = """<p id=Level>Hard</p><div class="big statement"><p>One <i>coin</i>,
    two&nbsp;dice.<br>What &lt; 1?</p><ul><li>a<li>b</ul></div><p>after</p>"""
    assert read_blocks(html, NAMES) == {
        "level": "Hard",
        "question": "One coin, two dice.\nWhat < 1?\na\nb",
        "answer": "",
    }


def test_an_answer_inside_the_question_is_no_part_of_it():
    html = "<div class=question>How many?<div class=answer><div>Four</div></div> Think.</div>"
    blocks = read_blocks(html, NAMES)
    assert (blocks["question"], blocks["answer"]) == ("How many?\nThink.", "Four")


def test_scripts_and_styles_are_no_text():
    html = "<div class=question>A<script>let x = '<b>';</script><style>p {}</style> B</div>"
    assert read_blocks(html, NAMES)["question"] == "A B"


def test_the_first_block_of_a_name_is_taken():
    assert read_blocks("<p class=level>Hard</p><p class=level>Easy</p>", NAMES)["level"] == "Hard"


def test_a_block_that_is_never_closed_goes_on_to_the_end():
    assert read_blocks("<div class=question>How <b>many at R&D", NAMES)["question"] == "How many at R&D"


def test_the_title_is_read():
    assert read_title("<html><title>Two\n coins &amp; a die</title>") == "Two coins & a die"
    assert read_title("<html>") == ""


@given(st.text())
def test_any_text_is_read(text):
    read_links(text, BASE)
    read_blocks(text, NAMES)


@given(
    st.lists(st.sampled_from(["<div class=question>", "</div>", "<a href=x>", "<", "<!--", "&#x", "x", "</", "-->"]))
)
def test_any_markup_is_read(pieces):
    read_links("".join(pieces), BASE)
    read_blocks("".join(pieces), NAMES)


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<a href=", "<!--", "</", "<![CDATA[", "&", "<div class=question>", "<p "]
)
def test_a_page_of_broken_markup_takes_no_time(piece):
    html = piece * (LONGEST // len(piece) + 9)
    started = time.perf_counter()
    read_links(html, BASE)
    assert time.perf_counter() - started < 10
