"""Links and marked blocks of a web page that nobody vouches for.

Knows the standard library's HTML parser; knows nothing about sites. Bounded: a page is cut at LONGEST characters, and
the parser is never closed, as what it does with unfinished markup at the end takes quadratic time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser

from s1_utils.crawl.request import clean_url

LONGEST = 2_000_000  # characters
HIDDEN = ("script", "style", "template", "noscript")
VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
BREAKS = ("br", "p", "div", "li", "ul", "ol", "tr", "table", "pre", "section", "h1", "h2", "h3", "h4", "h5", "h6")
NEXT = ("next", "next page", "older", "›", "»", "→")


@dataclass(frozen=True)
class Link:
    """A link with its whole address; `is_next` if it says that it leads to the next page of a list."""

    url: str
    text: str
    is_next: bool = False


def read_links(html: str, base: str) -> list[Link]:
    """The http(s) links of a page at `base`, in order; fragments are cut off, mailto and the like are left out."""
    parser = _LinkParser()
    parser.feed(_bound(html))
    links = []
    for href, text, rel in parser.found:
        words = _tidy(text)
        try:
            url = clean_url(href, base)
        except ValueError:
            continue
        links.append(Link(url, words[:300], "next" in rel.lower().split() or words.lower().strip(" .>") in NEXT))
    return links


def read_blocks(html: str, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The text of the first element for every name: the one whose class or id is among names[name]; "" if none is.

    The text of a block inside a block belongs to the inner one only, so that an answer isn't part of its question.
    """
    parser = _BlockParser(names)
    parser.feed(_bound(html))
    return {name: _tidy("".join(parser.texts.get(name, []))) for name in names}


def read_title(html: str) -> str:
    """The text of the title element, "" if there is none."""
    found = re.search(r"<title[^<>]{0,200}>([^<]{0,300})", html[:LONGEST], re.IGNORECASE)
    return " ".join(_tidy(unescape(found[1])).split()) if found else ""


def _bound(html: str) -> str:
    return f"{html[:LONGEST]}<br>"  # the parser holds back what may be half a tag or entity


def _tidy(text: str) -> str:
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f]", " ", text)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n"))))


class _LinkParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._is_open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if tag in ("a", "link") and fields.get("href") and (tag == "a" or fields.get("rel") == "next"):
            self.found.append((fields["href"] or "", "", fields.get("rel") or ""))
            self._is_open = tag == "a"

    def handle_endtag(self, tag: str) -> None:
        self._is_open = self._is_open and tag != "a"

    def handle_data(self, data: str) -> None:
        if self._is_open:
            href, text, rel = self.found[-1]
            self.found[-1] = (href, (text + data)[:1000], rel)


class _BlockParser(HTMLParser):
    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._names = names
        self._open: list[tuple[str, str, int]] = []  # (name, its tag, how many of that tag are open in it)
        self._hidden = ""
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in HIDDEN:
            self._hidden = self._hidden or tag
        self._break(tag)
        self._count(tag, 1)
        marks = {word.lower() for name, value in attrs if name in ("class", "id") for word in (value or "").split()}
        for name, wanted in self._names.items():
            if name not in self.texts and tag not in VOID and marks.intersection(wanted):
                self.texts[name] = []
                self._open.append((name, tag, 1))
                break

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        self._break(tag)
        self._count(tag, -1)

    def _count(self, tag: str, step: int) -> None:
        self._open = [(name, own, depth + step * (own == tag)) for name, own, depth in self._open]
        self._open = [each for each in self._open if each[2] > 0]

    def _break(self, tag: str) -> None:
        if tag in BREAKS and self._open:
            self.texts[self._open[-1][0]].append("\n")

    def handle_data(self, data: str) -> None:
        if self._open and not self._hidden:
            self.texts[self._open[-1][0]].append(re.sub(r"\s+", " ", data))
