"""Both crawled sources end to end: a site of exams and a site of puzzles, with everything wrong that can be."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from crawl_site import make_encrypted, make_fetcher, make_pdf, make_scan, serve

from s1_utils.crawl import TeaserSite, crawl_exams, crawl_teasers, tabulate_failures
from s1_utils.crawl.__main__ import main
from s1_utils.crawl.pdf_text import PdfLimits
from s1_utils.sources import COLUMNS, read_own_file

LICENCE = "not stated"

EXAM_2010 = [
    [
        "Stanford University, Department of Statistics",
        "Ph.D. Qualifying Examination 2010",
        "Part I: Probability",
        "Problem 1. Let X and Y be inde-",
        "pendent and normal. Show that",
        "(a) X + Y is normal,",
        "(b) X - Y is as well.",
        "1",
    ],
    [
        "Stanford University, Department of Statistics",
        "Problem 2. Toss a fair coin until a head comes.",
        "Part II: Theoretical Statistics",
        "Problem 3. Find a sufficient statistic for the mean.",
        "2",
    ],
]
SOLUTIONS_2010 = [
    ["Probability", "Solution to Problem 1.", "Convolve the densities.", "Problem 2: solution", "Two tosses."],
    ["Theoretical Statistics", "Problem 3.", "The sum is one."],
]
EXAM_2011 = [["1. Shuffle a deck of cards seven times.", "2. Draw a card and look at it again."]]

INDEX = """<html><h1>Past exams</h1>
<a href="files/2010-exam.pdf">2010</a> <a href="files/2010-exam.pdf#page=2">2010, page 2</a>
<a href="/phd/files/2010-exam-solutions.pdf">2010 solutions</a> <a href="files/2011.pdf">2011 Probability</a>
<a href="exams/older">Older exams</a> <a href="/people">People</a> <a href="http://example.org/other.pdf">other</a>
<a href="mailto:dept@example.org">mail</a>"""
OLDER = """<a href="../files/scan.pdf">1999 probability</a> <a href=../exams>back</a>
<a href="/phd/files/lost.pdf">1998</a>
<a href="/phd/files/handbook.pdf">Handbook</a>"""


def make_exams():
    return {
        "/phd/exams": INDEX,
        "/phd/exams/older": OLDER,
        "/phd/files/2010-exam.pdf": make_pdf(EXAM_2010, "Qualifying exam"),
        "/phd/files/2010-exam-solutions.pdf": make_pdf(SOLUTIONS_2010),
        "/phd/files/2011.pdf": make_pdf(EXAM_2011),
        "/phd/files/scan.pdf": make_scan(),
        "/phd/files/handbook.pdf": make_pdf([["A handbook for students"]]),
    }


def crawl(folder, site, **options):
    limits = PdfLimits(seconds=20)
    return crawl_exams(f"{site.url}/phd/exams", make_fetcher(folder, site), licence=LICENCE, limits=limits, **options)


def list_failures(crawled, site):
    return {each.url.removeprefix(site.url): each.reason for each in crawled.failures}


def test_the_probability_problems_of_a_site_come_with_their_origin(tmp_path):
    pages = make_exams()
    with serve(pages) as site:
        crawled = crawl(tmp_path, site)
    assert [(row["question"], row["solution"]) for row in crawled.rows] == [
        (
            "Let X and Y be independent and normal. Show that\n(a) X + Y is normal,\n(b) X - Y is as well.",
            "Convolve the densities.",
        ),
        ("Toss a fair coin until a head comes.", "Two tosses."),
        ("Shuffle a deck of cards seven times.", None),
        ("Draw a card and look at it again.", None),
    ]
    row = crawled.rows[0]
    assert set(row) | {"question_id"} == set(COLUMNS)
    assert (row["source"], row["domain"], row["cot_type"]) == ("s1-prob", "Probability", "math")
    assert (row["answer"], row["answer_type"], row["licence"]) == (None, "text", LICENCE)
    place = json.loads(row["metadata"])
    assert place["url"] == f"{site.url}/phd/files/2010-exam.pdf"
    assert place["sha256"] == hashlib.sha256(pages["/phd/files/2010-exam.pdf"]).hexdigest()
    assert (place["problem"], place["pages"], place["title"]) == (1, [1, 1], "Qualifying exam")
    assert place["solution_url"] == f"{site.url}/phd/files/2010-exam-solutions.pdf"


def test_what_was_not_got_is_a_row_with_its_reason(tmp_path):
    with serve(make_exams()) as site:
        crawled = crawl(tmp_path, site)
        assert list_failures(crawled, site) == {
            "http://example.org/other.pdf": "example.org isn't among hosts",
            "/phd/files/scan.pdf": "no text layer: scanned or drawn pages only",
            "/phd/files/lost.pdf": "status 404",
            "/phd/files/handbook.pdf": "no line that begins a problem",
        }
    table = tabulate_failures(crawled)
    assert list(table.columns) == ["url", "reason", "attempts"]
    assert table.set_index("reason").attempts["status 404"] == 1
    assert crawled.passed_over == {"section theoretical statistics": 1}


def test_every_page_is_asked_for_once_and_none_beside_them(tmp_path):
    pages = make_exams()
    with serve(pages) as site:
        crawl(tmp_path, site)
        crawl(tmp_path, site)
        asked = [path for path in site.asked if path not in ("/robots.txt", "/phd/files/lost.pdf")]
        assert sorted(asked) == sorted(pages)


def test_no_failures_are_an_empty_table_of_the_same_columns(tmp_path):
    with serve({"/phd/exams": "<p>nothing yet"}) as site:
        table = tabulate_failures(crawl(tmp_path, site))
    assert len(table) == 0
    assert list(table.columns) == ["url", "reason", "attempts"]


BROKEN = {
    "truncated": (make_pdf(EXAM_2010)[:900], "truncated: its end is missing"),
    "encrypted": (make_encrypted(EXAM_2010), "encrypted"),
    "html": (b"<!DOCTYPE html><p>Sign in", "HTML, not a PDF"),
    "text": ((200, {"Content-Type": "text/plain; charset=x"}, make_pdf(EXAM_2010)), "sent as text/plain, not as a PDF"),
    "forbidden": ((403, {}, b""), "status 403"),
    "statistics": (make_pdf([["Problem 1", "Fit a line to the points."]]), "no problem under a heading Probability"),
    "short": (
        make_pdf([["Probability", "Problem 1", "See", "Problem 2", "Let X be just as before."]]),
        "problem 1 has 3 ",
    ),
    "gap": (make_pdf([["Probability", "Problem 1", "Let X be just as before."], []]), "no text on page(s) 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_file_is_a_failure_and_stops_no_other(tmp_path, name):
    content, reason = BROKEN[name]
    index = '<a href="/phd/a.pdf">a</a> <a href="/phd/2011.pdf">2011 Probability</a>'
    with serve({"/phd/exams": index, "/phd/a.pdf": content, "/phd/2011.pdf": make_pdf(EXAM_2011)}) as site:
        crawled = crawl(tmp_path, site)
        assert list_failures(crawled, site)["/phd/a.pdf"].startswith(reason)
    assert {json.loads(row["metadata"])["url"][-8:] for row in crawled.rows} >= {"2011.pdf"}


def test_the_same_file_under_two_addresses_counts_once(tmp_path):
    same = make_pdf(EXAM_2011)
    index = '<a href="/a.pdf">Probability</a> <a href="/b.pdf">Probability</a>'
    with serve({"/phd/exams": index, "/a.pdf": same, "/b.pdf": same}) as site:
        crawled = crawl(tmp_path, site)
        assert list_failures(crawled, site) == {"/b.pdf": f"the same file as {site.url}/a.pdf"}
    assert len(crawled.rows) == 2


def test_a_solution_whose_number_names_two_problems_is_given_to_none(tmp_path):
    twice = [
        ["Probability", "Problem 1", "First of all, toss a coin."],
        ["Statistics", "Problem 1", "Then fit a line."],
    ]
    index = '<a href="/a.pdf">Exam</a> <a href="/a_solutions.pdf">Solutions</a>'
    with serve(
        {"/phd/exams": index, "/a.pdf": make_pdf(twice), "/a_solutions.pdf": make_pdf([["Problem 1", "It is so."]])}
    ) as site:
        crawled = crawl(tmp_path, site)
        assert "no solution could be matched" in list_failures(crawled, site)["/a_solutions.pdf"]
    assert [row["solution"] for row in crawled.rows] == [None]


def test_sections_that_both_count_from_one_keep_their_own_solutions(tmp_path):
    exam = [
        ["Statistics", "Problem 1", "Fit a line to points."],
        ["Probability", "Problem 1", "Toss a coin, and again."],
    ]
    solved = [["Statistics", "Problem 1", "By least squares."], ["Probability", "Problem 1", "Head, then tail."]]
    index = '<a href="/a.pdf">Exam</a> <a href="/a_solutions.pdf">Solutions</a>'
    with serve({"/phd/exams": index, "/a.pdf": make_pdf(exam), "/a_solutions.pdf": make_pdf(solved)}) as site:
        assert [row["solution"] for row in crawl(tmp_path, site).rows] == ["Head, then tail."]


def test_solutions_of_no_exam_are_told(tmp_path):
    index = '<a href="/a-solutions.pdf">Solutions</a> <a href="/b.pdf">Probability</a>'
    with serve(
        {"/phd/exams": index, "/a-solutions.pdf": make_pdf(SOLUTIONS_2010), "/b.pdf": make_pdf(EXAM_2011)}
    ) as site:
        crawled = crawl(tmp_path, site)
        assert list_failures(crawled, site) == {"/a-solutions.pdf": "solutions without an exam of the same name"}
    assert len(crawled.rows) == 2


def test_handwritten_solutions_leave_the_problems(tmp_path):
    index = '<a href="/a-solutions.pdf">Solutions</a> <a href="/a.pdf">Probability</a>'
    with serve({"/phd/exams": index, "/a-solutions.pdf": make_scan(), "/a.pdf": make_pdf(EXAM_2011)}) as site:
        crawled = crawl(tmp_path, site)
        assert list_failures(crawled, site)["/a-solutions.pdf"].startswith("no text layer")
    assert [row["solution"] for row in crawled.rows] == [None, None]


def test_index_pages_are_bounded_and_the_rest_is_told(tmp_path):
    pages = {f"/phd/exams/{i}": f"<a href=/phd/exams/{i + 1}>on</a>" for i in range(50)}
    with serve({"/phd/exams": "<a href=exams/0>on</a>", **pages}) as site:
        crawled = crawl(tmp_path, site, index_pages=4)
        assert len(site.asked) == 1 + 4
        assert list_failures(crawled, site) == {"/phd/exams/3": "not read: there are more than 4 list pages"}


def test_a_start_page_that_is_no_page_is_a_failure(tmp_path):
    with serve({"/phd/exams": (200, {"Content-Type": "image/png"}, b"\x89PNG")}) as site:
        assert list_failures(crawl(tmp_path, site), site) == {"/phd/exams": "sent as 'image/png', not as a web page"}
        crawled = crawl_exams("ftp://example.org/", make_fetcher(tmp_path, site), licence=LICENCE)
    assert [each.reason for each in crawled.failures] == ["an address that can't be used: no http address"]


# ------------------------------------------------------------------ teasers


def make_teaser(level, question, answer="", solution=""):
    return f"""<html><title>{question[:9]}</title><nav><a href="/puzzles/1">first</a></nav>
    <span class="badge difficulty">{level}</span><div class="question"><p>{question}</p></div>
    <details><div class="answer">{answer}</div><div class="solution">{solution}</div></details>"""


def make_puzzles():
    return {
        "/puzzles": '<a href="/puzzles/1">one</a> <a href="/puzzles/2">two</a> <a href="?page=2">2</a>',
        "/puzzles?page=2": '<a href="/puzzles/3">three</a> <a href="?page=3" rel="next">›</a> <a href="/puzzles">1</a>',
        "/puzzles?page=3": '<a href="/puzzles/4/">four</a> <a href="/puzzles/5">five</a> <a href="/puzzles/1">one</a>',
        "/puzzles/1": make_teaser(
            "Hard", "A hundred ants walk on a rod of one metre.", "Answer: 1 minute", "Let them pass."
        ),
        "/puzzles/2": make_teaser("Easy", "What is one and one, to begin with?", "2"),
        "/puzzles/3": make_teaser("Difficulty: hard", "Two envelopes, one twice the other. Swap?"),
        "/puzzles/4/": make_teaser("", "How many tennis balls fit on a bus?"),
        "/puzzles/5": make_teaser("Hard", "Why?"),
    }


def test_the_hard_puzzles_of_all_pages_of_a_list_come(tmp_path):
    with serve(make_puzzles()) as site:
        crawled = crawl_teasers(f"{site.url}/puzzles", make_fetcher(tmp_path, site), licence=LICENCE)
        assert sorted(site.asked) == sorted(["/robots.txt", *make_puzzles()])
        assert list_failures(crawled, site) == {
            "/puzzles/4/": "the page names no level",
            "/puzzles/5": "the question has 4 characters",
        }
    assert [(row["question"], row["answer"], row["solution"]) for row in crawled.rows] == [
        ("A hundred ants walk on a rod of one metre.", "1 minute", "Let them pass."),
        ("Two envelopes, one twice the other. Swap?", None, None),
    ]
    assert crawled.passed_over == {"level Easy": 1}
    assert set(crawled.rows[0]) | {"question_id"} == set(COLUMNS)
    assert crawled.rows[0]["source"] == "s1-teasers"
    assert json.loads(crawled.rows[0]["metadata"])["url"] == f"{site.url}/puzzles/1"


def test_another_site_is_described_by_its_paths_and_classes(tmp_path):
    page = "<b id=rank>Evil</b> <div class=text>How many roads must a man walk down?</div> <i class=key>42</i>"
    site_of = TeaserSite(puzzle_path=r"/q/\d+$", level=("rank",), question=("text",), answer=("key",), solution=())
    with serve({"/": '<a href="/q/1">1</a> <a href="/q/x">x</a>', "/q/1": page}) as site:
        crawled = crawl_teasers(site.url, make_fetcher(tmp_path, site), licence="x", level="Evil", site=site_of)
    assert [(row["question"], row["answer"]) for row in crawled.rows] == [
        ("How many roads must a man walk down?", "42")
    ]


def test_pages_of_other_alphabets_are_read_as_they_say(tmp_path):
    page = make_teaser("Hard", "Combien de cafés faut-il à Noël ?").encode("latin-1")
    kind = {"Content-Type": "text/html; charset=ISO-8859-1"}
    with serve({"/puzzles": '<a href="/puzzles/1">1</a>', "/puzzles/1": (200, kind, page)}) as site:
        crawled = crawl_teasers(f"{site.url}/puzzles", make_fetcher(tmp_path, site), licence=LICENCE)
    assert crawled.rows[0]["question"] == "Combien de cafés faut-il à Noël ?"


# ------------------------------------------------------------------ killed

CHILD = """
import sys
from pathlib import Path
from s1_utils.crawl import crawl_exams
from s1_utils.crawl.fetch import Fetcher
from s1_utils.crawl.request import Manners

folder, host = sys.argv[1:]
crawled = crawl_exams(
    f"http://{host}/phd/exams", Fetcher(Path(folder), Manners("tests@example.org", (host,), delay=0.0)), licence="x"
)
print(len(crawled.rows), len(crawled.failures))
"""


@pytest.mark.parametrize("at", ["/phd/exams", "/phd/exams/older", "/phd/files/2010-exam.pdf", "/phd/files/scan.pdf"])
def test_a_killed_crawl_goes_on_where_it_was(tmp_path, at):
    pages = make_exams()
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    folder = Path(__file__).parents[1]
    with serve(pages) as site:
        site.hold[at] = threading.Event()
        child = subprocess.Popen([*command, site.host], cwd=folder, env=os.environ)
        while at not in site.asked:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        site.hold.pop(at).set()
        done = subprocess.run([*command, site.host], cwd=folder, check=True, capture_output=True, text=True)
        asked = [path for path in site.asked if path not in ("/robots.txt", "/phd/files/lost.pdf")]
    assert done.stdout.split() == ["4", "4"]
    assert sorted(asked) == sorted([*pages, at])


# ------------------------------------------------------------------ from a shell


def test_the_shell_writes_a_file_that_the_study_takes_as_a_source(tmp_path, capsys):
    out = tmp_path / "exams.jsonl"
    with serve(make_exams()) as site:
        words = ["exams", f"{site.url}/phd/exams", "--contact", "tests@example.org", "--out", str(out)]
        assert main([*words, "--cache", str(tmp_path / "cache"), "--delay", "0"]) == 0
    printed = capsys.readouterr()
    rows = read_own_file(out)
    assert f"{len(rows)} questions in" in printed.out
    assert "no text" in printed.err
    assert rows["question"].str.contains("Toss a fair coin").any()
    assert rows["answer"].isna().all()


def test_the_shell_says_that_a_site_gave_nothing(tmp_path, capsys):
    with serve({}) as site:
        words = ["teasers", f"{site.url}/list", "--contact", "tests@example.org", "--out", str(tmp_path / "t.jsonl")]
        assert main([*words, "--cache", str(tmp_path / "cache"), "--delay", "0"]) == 1
    assert "0 questions" in capsys.readouterr().out
