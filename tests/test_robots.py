"""robots.txt: the examples of RFC 9309, a regular expression as an oracle for patterns, and files nobody meant well."""

from __future__ import annotations

import re
import time
from urllib.robotparser import RobotFileParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.crawl.robots import is_allowed, matches, read_rules

TEXT = """User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("foobot", "/example/page.html", True),
        ("FooBot", "/example/other.html", False),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/other.gif", True),
        ("quxbot", "/example/page.html", True),
        ("another", "/a/b.gif", False),
        ("another", "/a/b.gif?x", True),
        ("another", "/publications/c.gif", True),
        ("another", "/example/", False),
        ("another", "/", True),
    ],
)
def test_the_examples_of_the_rfc_come_out_as_it_says(agent, path, allowed):
    assert is_allowed(read_rules(TEXT, agent), path) is allowed


def test_of_two_rules_the_longer_one_decides_in_any_order():
    for lines in (["Allow: /", "Disallow: /private"], ["Disallow: /private", "Allow: /"]):
        rules = read_rules("\n".join(["User-agent: *", *lines]), "us")
        assert is_allowed(rules, "/public")
        assert not is_allowed(rules, "/private/x.pdf")


def test_two_groups_of_one_name_are_both_obeyed():
    rules = read_rules("User-agent: us\nDisallow: /a\n\nUser-agent: us\nDisallow: /b\n", "us")
    assert not is_allowed(rules, "/a")
    assert not is_allowed(rules, "/b")


def test_another_spelling_of_a_path_is_the_same_path():
    rules = read_rules("User-agent: *\nDisallow: /a%20b\nDisallow: /caf\u00e9", "us")
    assert not is_allowed(rules, "/a b")
    assert not is_allowed(rules, "/caf%C3%A9")


@pytest.mark.parametrize(("value", "delay"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", 0.0), ("nan", 0.0)])
def test_a_crawl_delay_is_a_number_or_nothing(value, delay):
    assert read_rules(f"User-agent: *\nCrawl-delay: {value}\nDisallow: /x", "us").delay == delay


def test_a_delay_for_others_is_not_ours():
    assert read_rules("User-agent: them\nCrawl-delay: 9\n\nUser-agent: *\nDisallow: /x", "us").delay == 0


@given(st.text("/ab*$.", max_size=8).filter(lambda p: "$" not in p[:-1]), st.text("/ab.", max_size=10))
def test_a_pattern_fits_where_its_regular_expression_does(pattern, path):
    regex = "".join({"*": ".*", "$": "$"}.get(each, re.escape(each)) for each in pattern)
    assert matches(pattern, path) is bool(re.match(regex, path))


@given(st.lists(st.sampled_from(["/a", "/b", "/a/b", "/ab", "/"]), max_size=4), st.text("/ab", min_size=1, max_size=6))
def test_files_that_only_disallow_come_out_as_in_the_standard_library(paths, path):
    text = "\n".join(["User-agent: *", *(f"Disallow: {each}" for each in paths)])
    theirs = RobotFileParser()
    theirs.parse(text.splitlines())
    path = f"/{path.lstrip('/')}"
    assert is_allowed(read_rules(text, "us"), path) is theirs.can_fetch("us", path)


@given(st.text())
def test_any_text_is_read(text):
    assert is_allowed(read_rules(text, "us"), "/") in (True, False)


def test_a_pattern_of_many_wildcards_takes_no_time():
    started = time.perf_counter()
    assert not matches("*a" * 900 + "b$", "a" * 2000)
    assert time.perf_counter() - started < 0.5
