"""Problems out of the text of an exam.

Knows how such exams are laid out (pages with headers, sections, numbered problems, parts that stay inside); knows
nothing about PDFs or where they come from. Source: s1-prob, the probability section of Stanford's statistics PhD
qualifying exams (section 2.1); the layouts here are guesses, as none of those exams was at hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_WORDS = r"(?:problem|question|exercise)"
NAMED = re.compile(rf"(?:solutions?\s+(?:(?:to|of|for)\s+)?)?(?:{_WORDS}|solution)\s+(\d{{1,3}})\b(.*)", re.IGNORECASE)
COUNTED = re.compile(r"(\d{1,2})\s?[.)](?:\s+(.*)|$)")
LEADING = re.compile(r"\s*[.:)\]–—-]*\s*(?:\(?solutions?\)?\s*[.:]?\s*$)?", re.IGNORECASE)
PART = re.compile(r"\(?(?:[a-z]|[ivx]{1,4}|\d)\)(?:\s|$)")
PAGE_NUMBER = re.compile(r"[-–—\s]*(?:page\s*)?\d{1,4}(?:\s*(?:of|/)\s*\d{1,4})?[-–—\s]*", re.IGNORECASE)
SECTION = re.compile(
    r"(?:(?:(?:part|section|area|day)\s+(?:[ivx]+|\d+|[a-f])\s*[:.,–—-]?|[ivx]+\.|[a-f]\.)\s*)?"
    r"(?:(?:ph\.?\s?d\.?\s+)?(?:qualifying|preliminary|comprehensive)\s+exam(?:ination)?\s*(?:in|on|[:,–—-])?\s*)?"
    r"(?P<name>probability|(?:theoretical|mathematical|applied)\s+statistics|statistics|statistical\s+theory)"
    r"(?:\s+(?:theory|section|part|exam|examination|questions|problems))*(?:,?\s+\d{4})?\s*(?:\([^)]{1,60}\))?:?",
    re.IGNORECASE,
)
SOLUTION = re.compile(
    rf"\n(?:solutions?|answers?)(?:\s+(?:to\s+{_WORDS}\s+)?\d{{1,3}})?\s*(?:[.:]\s*|\n)", re.IGNORECASE
)


@dataclass(frozen=True)
class Problem:
    """`pages`: the first and last it is on, from 1. `section`: in lower case, "" before any heading."""

    number: int
    section: str
    text: str
    solution: str
    pages: tuple[int, int]


@dataclass(frozen=True)
class _Line:
    text: str
    page: int


def split_problems(pages: Sequence[str], *, section: str = "") -> list[Problem]:
    """All problems of an exam in order, in every section; `section` is the one that the exam starts in.

    If any line reads like "Problem 3", such lines are the boundaries, else lines like "3." are, as long as they count
    up. So a list "1. … 2. …" inside problem 1 of an exam of the second kind is taken for problem 2.
    """
    lines = [_Line(text, i) for i, page in enumerate(_strip_furniture(pages), 1) for text in page]
    hyphenated = set(re.findall(r"(?<!\w)\w{1,40}-\w{1,40}", "\n".join(line.text for line in lines).lower()))
    is_named = any(_read_named(line.text, 0, False) for line in lines)
    read = _read_named if is_named else _read_counted
    problems: list[Problem] = []
    current: list[_Line] = []
    number, is_fresh = 0, True  # fresh: a section has begun, so its problems may count from 1 again
    for line in lines:
        heading = _read_section(line.text)
        found = None if heading else read(line.text, number, is_fresh)
        if found or heading not in (None, section):
            problems += _close(number, section, current, hyphenated)
            current = []
        if heading:  # the one that we are in may also stand at the top of every page
            section, is_fresh = heading, True
        elif found:
            (number, rest), is_fresh = found, False
            current = [_Line(rest, line.page)]
        elif current:
            current.append(line)
    return problems + _close(number, section, current, hyphenated)


def _read_section(text: str) -> str | None:
    """The name of a section, in lower case; a line that begins small is the end of a sentence."""
    found = SECTION.fullmatch(text) if text[:1].isupper() else None
    return " ".join(found["name"].lower().split()) if found else None


def _read_named(text: str, last: int, is_fresh: bool) -> tuple[int, str] | None:
    """(number, the rest of the line) of a heading such as "Problem 3. Let", not of "Problem 3 shows that"."""
    found = NAMED.fullmatch(text)
    if not found:
        return None
    number, rest = int(found[1]), found[2]
    follows = number > last or is_fresh or (number == 1 and last > 1)
    is_heading = re.match(r"\s*(?:$|[.:)\]–—-]|\()", rest) or (number == last + 1 and re.match(r"\s+[A-Z]", rest))
    return (number, LEADING.sub("", rest, count=1).strip()) if follows and is_heading else None


def _read_counted(text: str, last: int, is_fresh: bool) -> tuple[int, str] | None:
    found = COUNTED.fullmatch(text)
    if not found or int(found[1]) not in ((1, last + 1) if is_fresh else (last + 1,)):
        return None
    return int(found[1]), (found[2] or "").strip()


def _close(number: int, section: str, lines: Sequence[_Line], hyphenated: set[str]) -> list[Problem]:
    if not lines:
        return []
    text, *solution = SOLUTION.split(_join([line.text for line in lines], hyphenated), maxsplit=1)
    return [Problem(number, section, text.strip(), "".join(solution).strip(), (lines[0].page, lines[-1].page))]


def _join(lines: Sequence[str], hyphenated: set[str]) -> str:
    """Lines as running text; parts and solutions start a new line. A word that is hyphenated elsewhere stays so."""
    pieces: list[str] = []
    before = ""
    for line in filter(None, lines):
        broken = re.search(r"(?<!\w)(\w+)-$", before[-60:])
        glue = " " if before else ""
        if before and (PART.match(line) or _begins_solution(line) or SOLUTION.fullmatch(f"\n{before}\n")):
            glue = "\n"
        elif broken and line[0].islower():
            follower = re.match(r"\w+", line)
            is_compound = f"{broken[1]}-{follower[0] if follower else ''}".lower() in hyphenated
            pieces[-1] = pieces[-1] if is_compound else pieces[-1][:-1]
            glue = ""
        pieces += [glue, line]
        before = line
    return "".join(pieces)


def _begins_solution(line: str) -> bool:
    return SOLUTION.match(f"\n{line}\n") is not None


def _strip_furniture(pages: Sequence[str]) -> list[list[str]]:
    """The lines of every page without page numbers and without the headers and footers that recur."""
    lines = [[line for line in map(_tidy, page.splitlines()) if line] for page in pages]
    edges = Counter(pattern for page in lines for pattern in {_blur(line) for line in page[:2] + page[-2:]})
    recurring = {pattern for pattern, count in edges.items() if count >= 2 and 2 * count > len(pages)}
    return [[line for i, line in enumerate(page) if not _is_furniture(line, i, len(page), recurring)] for page in lines]


def _is_furniture(line: str, i: int, size: int, recurring: set[str]) -> bool:
    if 2 <= i < size - 2:
        return False
    if i in (0, size - 1) and PAGE_NUMBER.fullmatch(line):
        return True
    is_text = NAMED.fullmatch(line) or COUNTED.fullmatch(line) or PART.match(line) or _begins_solution(line)
    return _blur(line) in recurring and not is_text and not _read_section(line)


def _blur(line: str) -> str:
    return re.sub(r"\d+", "#", line)


def _tidy(line: str) -> str:
    """One line without control characters, lone surrogates and double spaces."""
    line = line.encode("utf-8", "replace").decode("utf-8")
    return " ".join(re.sub(r"[\x00-\x08\x0e-\x1f\x7f]", " ", line).split())
