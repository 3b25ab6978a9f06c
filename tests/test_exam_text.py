"""Problems out of exams' texts: layouts written by hand with their truth, and random exams rendered and split again."""

from __future__ import annotations

import textwrap
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from s1_utils.crawl.exam_text import split_problems

EXAM = [
    """Stanford University
Department of Statistics
Ph.D. Qualifying Examination 2010
Answer all questions.
Part I: Probability
Problem 1. Let X and Y be inde-
pendent standard nor-
mal variables.
(a) Find the law of X/Y.
(b) Is it a real-valued variable? It is real-
valued if Y isn't 0.
1""",
    """Stanford University
Problem 2 (20 points)
Toss a fair coin until two
heads come in a row. By
Problem 1 above you may assume
nothing.
2""",
    """Stanford University
1. Wait for the first head.
2. Wait for the second.
Part II: Theoretical Statistics
Problem 1. Find a sufficient
statistic.
3""",
]


def test_an_exam_comes_apart_where_its_headings_are():
    one, two, three = split_problems(EXAM)
    assert one.text == (
        "Let X and Y be independent standard normal variables.\n(a) Find the law of X/Y.\n"
        "(b) Is it a real-valued variable? It is real-valued if Y isn't 0."
    )
    assert two.text == (
        "(20 points) Toss a fair coin until two heads come in a row. By Problem 1 above you may assume nothing. "
        "1. Wait for the first head. 2. Wait for the second."
    )
    assert three.text == "Find a sufficient statistic."
    assert [each.number for each in (one, two, three)] == [1, 2, 1]
    assert [each.section for each in (one, two, three)] == ["probability", "probability", "theoretical statistics"]
    assert [each.pages for each in (one, two, three)] == [(1, 1), (2, 3), (3, 3)]


COUNTED = """Probability
1. Let X be a sum. There are
1. good and
3. bad sums.
2) Let
(i) Y be one,
(ii) Z be 2.5 of it.
Applied Statistics
3. Fit a line.
Statistics (Second day)
1.
Fit a curve."""


def test_without_named_headings_numbers_that_count_up_are_boundaries():
    problems = [(each.number, each.section, each.text) for each in split_problems([COUNTED])]
    assert problems == [
        (1, "probability", "Let X be a sum. There are 1. good and 3. bad sums."),
        (2, "probability", "Let\n(i) Y be one,\n(ii) Z be 2.5 of it."),
        (3, "applied statistics", "Fit a line."),
        (1, "statistics", "Fit a curve."),
    ]


@pytest.mark.parametrize(
    "heading",
    [
        "Problem 7",
        "PROBLEM 7:",
        "Question 7.",
        "Exercise 7 -",
        "Problem 7)",
        "Solution to Problem 7.",
        "Solution 7",
        "Solutions for Question 7:",
    ],
)
def test_a_heading_may_be_written_in_many_ways(heading):
    (problem,) = split_problems([f"{heading}\nLet X be 1."])
    assert (problem.number, problem.text) == (7, "Let X be 1.")


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("Probability", "probability"),
        ("PROBABILITY:", "probability"),
        ("Section A. Probability Theory", "probability"),
        ("II. Applied Statistics", "applied statistics"),
        ("Ph.D. Qualifying Exam: Probability (2010)", "probability"),
        ("Qualifying Examination in Probability, 2010", "probability"),
        ("Theoretical Statistics Questions", "theoretical statistics"),
        ("probability", ""),
        ("Statistics.", ""),
        ("Probability and its uses are old", ""),
    ],
)
def test_a_heading_of_a_section_is_a_line_of_its_own(heading, section):
    (problem,) = split_problems([f"{heading}\nProblem 1\nLet X be 1."])
    assert problem.section == section


def test_the_section_on_top_of_every_page_does_not_end_a_problem():
    (problem,) = split_problems(["Probability\nProblem 1\nLet X", "Probability\nbe 1."])
    assert problem.text == "Let X be 1."


def test_headings_on_top_of_every_page_are_no_headers():
    pages = [f"Statistics 310\nProblem {i}\nLet X be {i}.\nTurn over\n{i}" for i in range(1, 7)]
    assert [each.text for each in split_problems(pages)] == [f"Let X be {i}." for i in range(1, 7)]


def test_what_recurs_inside_pages_stays():
    pages = ["a b\nc d\nProblem 1\nas before\nthe end\nis near", "e f\ng h\nx\nas before\ny\nz"]
    assert split_problems(pages)[0].text.count("as before") == 2


def test_a_solution_in_the_exam_is_no_part_of_the_question():
    one, two = split_problems(["Problem 1. What is 1 + 1?\nSolution:\nIt is 2.\nProblem 2. And 2?\nAnswer. Also 2."])
    assert (one.text, one.solution) == ("What is 1 + 1?", "It is 2.")
    assert (two.text, two.solution) == ("And 2?", "Also 2.")


def test_numbered_solutions_in_the_exam_are_no_part_of_the_question():
    one, two = split_problems(["Problem 1. What is 1 + 1?\nSolution to Problem 1.\nIt is 2.\nProblem 2. And 2?"])
    assert (one.text, one.solution, two.text) == ("What is 1 + 1?", "It is 2.", "And 2?")


def test_text_without_a_problem_gives_none():
    assert split_problems(["A handbook\nfor students"]) == []
    assert split_problems([]) == []


def test_control_characters_and_lone_surrogates_do_not_get_through():
    (problem,) = split_problems(["Problem 1\nLet\x00 X be \ud800 or \x1b[31m1."])
    problem.text.encode("utf-8")
    assert problem.text == "Let X be ? or [31m1."


@given(st.lists(st.text(), max_size=4))
def test_any_text_is_split(pages):
    for problem in split_problems(pages):
        assert 1 <= problem.pages[0] <= problem.pages[1] <= len(pages)


@pytest.mark.parametrize(
    "piece", ["a", "a-", "a-\n", "1.\n", "(a)\n", "Problem 1\n", "Solution\n", "- ", "Part I ", "x\n"]
)
def test_half_a_million_characters_of_anything_take_seconds(piece):
    started = time.perf_counter()
    split_problems(["Problem 1\n" + piece * (500_000 // len(piece))])
    assert time.perf_counter() - started < 5


# ------------------------------------------------------------------ random exams, rendered and split again

WORD = st.sampled_from(
    "let be the law of X Y is mean find show that coin dice urn random non-negative (0,1) 2.5".split()
)
SENTENCE = st.lists(WORD, min_size=4, max_size=60).map(lambda words: f"Suppose {' '.join(words)}.")
PARTS = st.lists(SENTENCE, max_size=3).map(lambda parts: [f"({'abc'[i]}) {each}" for i, each in enumerate(parts)])
TEXT = st.builds(lambda first, parts: "\n".join([first, *parts]), SENTENCE, PARTS)
SECTIONS = ["Probability", "Theoretical Statistics", "Applied Statistics"]
SECTION = st.tuples(st.sampled_from(SECTIONS), st.lists(TEXT, min_size=1, max_size=4))


def render(sections, heading, width, height):
    """Pages of an exam: wrapped, some words broken at line ends, with a header and a number on every page."""
    lines = []
    for name, texts in sections:
        lines.append(name)
        for number, text in enumerate(texts, 1):
            first, *rest = text.split("\n")
            lines += wrap(f"{heading.format(number)} {first}", width)
            lines += [line for part in rest for line in wrap(part, width)]
    size = max(height, -(-len(lines) // 50))
    pages = [lines[i : i + size] for i in range(0, len(lines), size)]
    return ["\n".join(["Stanford University", *page, "", f"Page {i} of 9"]) for i, page in enumerate(pages, 1)]


def wrap(text, width):
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    for i in range(len(lines) - 1):
        head, _, tail = lines[i + 1].partition(" ")
        if len(head) > 5 and head.isalpha() and head.islower() and tail:
            lines[i], lines[i + 1] = f"{lines[i]} {head[:3]}-", f"{head[3:]} {tail}"
    return lines


@given(
    st.lists(SECTION, min_size=1, max_size=3, unique_by=lambda section: section[0]),
    st.sampled_from(["Problem {}.", "Question {}:", "{}.", "{})"]),
    st.integers(30, 90),
    st.integers(5, 40),
)
def test_a_random_exam_comes_back_as_it_was_written(sections, heading, width, height):
    pages = render(sections, heading, width, height)
    edges = [line for page in pages for line in {page.split("\n")[1], page.split("\n")[-3]}]
    assume(len(set(edges)) == len(edges))  # a line on the edge of most pages is taken for a header
    wanted = [(i, name.lower(), text) for name, texts in sections for i, text in enumerate(texts, 1)]
    found = split_problems(pages)
    assert [(each.number, each.section, each.text) for each in found] == wanted
