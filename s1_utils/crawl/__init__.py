"""The two sources that the paper crawled: s1-prob (exams as PDFs) and s1-teasers (puzzles as web pages).

Knows how such sites are linked and laid out; knows nothing about HTTP, PDFs or how an exam's text divides. Source:
section 2.1 and table 7: 182 problems of the probability section of Stanford's statistics PhD qualifying exams, and 23
puzzles of level Hard from PuzzledQuant. Neither site was at hand: only sites made for the tests have proven this.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd

from s1_utils.crawl.exam_text import Problem, split_problems
from s1_utils.crawl.fetch import Failure, Fetcher, Page
from s1_utils.crawl.html_text import Link, read_blocks, read_title
from s1_utils.crawl.listing import fetch_html, find_links, read_type
from s1_utils.crawl.pdf_text import PdfError, PdfLimits, PdfText, read_pdf
from s1_utils.progress import track

PDF_TYPES = ("application/pdf", "application/x-pdf", "application/octet-stream", "binary/octet-stream", "")
SHORTEST = 20  # characters of a question
IS_SOLUTION = re.compile(r"(?<!with )\b(?:solutions?|solns?|sols?|answer key|answers?)\b")
IS_PROBABILITY = re.compile(r"\bprobability\b|\bprob (?:19|20)\d\d\b")  # "prob 1" may be a problem


@dataclass(frozen=True)
class Crawl:
    """What a crawl gave: `rows` for the questions table, what it didn't get, and what it counted but didn't want."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class TeaserSite:
    """How a site of puzzles is marked up: the path of a puzzle's page, and the class or id of its parts."""

    puzzle_path: str = r"/(?:teasers?|brain-?teasers?|puzzles?|questions?)/[^/]+/?$"
    level: tuple[str, ...] = ("level", "difficulty")
    question: tuple[str, ...] = ("question", "problem", "statement")
    answer: tuple[str, ...] = ("answer",)
    solution: tuple[str, ...] = ("solution", "explanation")


def tabulate_failures(crawl: Crawl) -> pd.DataFrame:
    """One row a failure: url, reason, attempts."""
    rows = [(each.url, each.reason, each.attempts) for each in crawl.failures]
    table = pd.DataFrame(rows, columns=["url", "reason", "attempts"])
    return table.astype({"url": "string", "reason": "string", "attempts": "int64"})


# ------------------------------------------------------------------ exams


def crawl_exams(
    start_url: str, fetcher: Fetcher, *, licence: str, index_pages: int = 50, limits: PdfLimits | None = None
) -> Crawl:
    """The probability problems of all PDFs that are linked from the start page or from pages below it.

    A whole PDF counts if its name, its link or its title says probability, except for what stands under another
    section's heading; of other PDFs only the sections headed Probability count. A PDF whose name or link says
    solutions belongs to the one that is named alike otherwise; its problems go by number.
    """
    crawl = Crawl()
    base = urlsplit(start_url).path.rpartition("/")[0] if "." in _name_file(start_url) else urlsplit(start_url).path
    below = base.rstrip("/")

    def is_index(link: Link) -> bool:
        path = urlsplit(link.url).path
        return path.rstrip("/") == below or path.startswith(f"{below}/")

    links, failures = find_links(start_url, fetcher, is_wanted=_is_pdf, is_list=is_index, most=index_pages)
    crawl.failures.extend(failures)
    exams, solutions = {}, {}
    for link in track(links, "exams"):
        read = _read_exam(link, fetcher, crawl, limits or PdfLimits())
        if read is not None:
            (solutions if _is_solution(link) else exams)[link] = read
    seen: dict[str, str] = {}
    for link, (page, text) in exams.items():
        if page.sha256 in seen:
            crawl.failures.append(Failure(page.url, f"the same file as {seen[page.sha256]}"))
            continue
        seen[page.sha256] = page.url
        partner = next((each for each in solutions if _pair_key(each) == _pair_key(link)), None)
        _add_exam(crawl, link, page, text, solutions.pop(partner) if partner else None, licence)
    for page, _ in solutions.values():
        crawl.failures.append(Failure(page.url, "solutions without an exam of the same name"))
    return crawl


def _read_exam(link: Link, fetcher: Fetcher, crawl: Crawl, limits: PdfLimits) -> tuple[Page, PdfText] | None:
    page = fetcher.fetch(link.url)
    if isinstance(page, Failure):
        crawl.failures.append(page)
        return None
    kind = read_type(page)
    try:
        if kind not in PDF_TYPES:
            raise PdfError(f"sent as {kind[:60]}, not as a PDF")
        return replace(page, body=b""), read_pdf(page.body, limits)
    except PdfError as error:
        crawl.failures.append(Failure(page.url, str(error)))
        return None


def _add_exam(
    crawl: Crawl, link: Link, page: Page, text: PdfText, solved: tuple[Page, PdfText] | None, licence: str
) -> None:
    empty = [i for i, each in enumerate(text.pages, 1) if not each.strip()]
    if empty:
        crawl.failures.append(Failure(page.url, f"no text on page(s) {', '.join(map(str, empty))}: scanned or empty"))
    is_named = IS_PROBABILITY.search(f"{_split_words(link)} {text.title.lower()}")
    section = "probability" if is_named else ""
    problems = split_problems(text.pages, section=section)
    solutions = split_problems(solved[1].pages, section=section) if solved else []
    wanted = [each for each in problems if each.section == "probability"]
    for each in problems:
        if each.section != "probability":
            crawl.passed_over[f"section {each.section or 'without a name'}"] += 1
    if not wanted:
        reason = "no problem under a heading Probability" if problems else "no line that begins a problem"
        crawl.failures.append(Failure(page.url, reason))
    for problem in wanted:
        if len(problem.text) < SHORTEST:
            crawl.failures.append(Failure(page.url, f"problem {problem.number} has {len(problem.text)} characters"))
            continue
        solution = _find_solution(problem, problems, solutions)
        place = {"title": text.title, "problem": problem.number, "pages": list(problem.pages)}
        if solution and solved:
            place |= {"solution_url": solved[0].url, "solution_sha256": solved[0].sha256}
        row = _make_row(page, problem.text, source="s1-prob", domain="Probability", licence=licence, metadata=place)
        crawl.rows.append(row | {"solution": solution or problem.solution or None})
    if solved and not any(_find_solution(each, problems, solutions) for each in wanted):
        crawl.failures.append(Failure(solved[0].url, "no solution could be matched with a problem by its number"))


def _find_solution(problem: Problem, problems: Sequence[Problem], solutions: Sequence[Problem]) -> str:
    """The solution of the same section and number, else of the same number; "" where two have it, on either side."""
    for fields in (("section", "number"), ("number",)):
        pick = attrgetter(*fields)
        found = [each.solution or each.text for each in solutions if pick(each) == pick(problem)]
        if len(found) == 1 and sum(pick(each) == pick(problem) for each in problems) == 1:
            return found[0]
    return ""


def _is_pdf(link: Link) -> bool:
    return urlsplit(link.url).path.lower().endswith(".pdf")


def _name_file(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _split_words(link: Link) -> str:
    """The words of a file's name and of its link, in lower case."""
    stem = _name_file(link.url).rpartition(".")[0]
    stem = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[0-9])(?=[A-Za-z])|[\W_]+", " ", stem)
    return f"{stem} {link.text}".lower()


def _is_solution(link: Link) -> bool:
    return IS_SOLUTION.search(_split_words(link)) is not None


def _pair_key(link: Link) -> str:
    """A file's folder and name without what tells solutions from questions."""
    path = urlsplit(link.url).path.rpartition("/")[0]
    words = IS_SOLUTION.sub(" ", _split_words(Link(link.url, ""))).split()
    return "/".join([path, *(word for word in words if word not in ("questions", "problems", "exam"))])


# ------------------------------------------------------------------ teasers


def crawl_teasers(
    start_url: str,
    fetcher: Fetcher,
    *,
    licence: str,
    level: str = "Hard",
    site: TeaserSite = TeaserSite(),
    list_pages: int = 100,
) -> Crawl:
    """The puzzles of one level that are linked from the start page or from the pages of the same list."""
    crawl = Crawl()
    is_puzzle = re.compile(site.puzzle_path)

    def is_wanted(link: Link) -> bool:
        return is_puzzle.search(urlsplit(link.url).path) is not None

    def is_list(link: Link) -> bool:
        start, other = urlsplit(start_url), urlsplit(link.url)
        is_page = re.fullmatch(r"(?:/page)?/\d+/?", other.path.removeprefix(start.path.rstrip("/")))
        return link.is_next or bool(is_page) or (other.path == (start.path or "/") and "page" in parse_qs(other.query))

    links, failures = find_links(start_url, fetcher, is_wanted=is_wanted, is_list=is_list, most=list_pages)
    crawl.failures.extend(failures)
    for link in track(links, "teasers"):
        html = fetch_html(fetcher, link.url)
        if isinstance(html, Failure):
            crawl.failures.append(html)
        else:
            _add_teaser(crawl, *html, site, level=level, licence=licence)
    return crawl


def _add_teaser(crawl: Crawl, page: Page, html: str, site: TeaserSite, *, level: str, licence: str) -> None:
    names = {"level": site.level, "question": site.question, "answer": site.answer, "solution": site.solution}
    blocks = read_blocks(html, names)
    found = re.sub(r"^\s*(?:level|difficulty)\s*:?\s*", "", blocks["level"], flags=re.IGNORECASE).strip()
    if not found:
        crawl.failures.append(Failure(page.url, "the page names no level"))
    elif found.casefold() != level.casefold():
        crawl.passed_over[f"level {found[:40]}"] += 1
    elif len(blocks["question"]) < SHORTEST:
        crawl.failures.append(Failure(page.url, f"the question has {len(blocks['question'])} characters"))
    else:
        answer = re.sub(r"^answer\s*:?\s*", "", blocks["answer"], flags=re.IGNORECASE) or None
        place = {"title": read_title(html), "level": found}
        row = _make_row(
            page, blocks["question"], source="s1-teasers", domain="Puzzles", licence=licence, metadata=place
        )
        crawl.rows.append(row | {"answer": answer, "solution": blocks["solution"] or None})


# ------------------------------------------------------------------ both


def _make_row(
    page: Page, question: str, *, source: str, domain: str, licence: str, metadata: dict[str, Any]
) -> dict[str, Any]:
    """A row of the questions table, but for what sources.py completes."""
    raw = {"url": page.url, "sha256": page.sha256, "fetched_at": page.fetched_at}
    return {
        "question": question,
        "solution": None,
        "answer": None,
        "answer_type": "text",
        "source": source,
        "domain": domain,
        "cot_type": "math",
        "licence": licence,
        "metadata": json.dumps(raw | metadata, ensure_ascii=False),
    }
