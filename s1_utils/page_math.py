r"""LaTeX in texts, made into MathML when a page is built, so that a reader's browser needs nothing but itself.

Knows where a formula stands in a text and which MathML a page may have; knows nothing of pages. What a model wrote is
hostile: a formula is bounded in length, depth and time, may define nothing, and comes out as a small tree of allowed
elements, which the page builds node by node. What can't be converted stays LaTeX. Conversion: latex2mathml.
Tests: tests/test_explorer.py.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

# $$…$$, \[…\], \(…\), $…$ (no space inside its ends, no digit after it: two prices are no formula). The page's script
# uses the same pattern, so it is written in what Python and JavaScript share. No opener inside: linear in the text.
PATTERN = (
    r"\$\$[^$]{1,400}\$\$"
    r"|\\\[(?:(?!\\[\[\]])[^]){1,400}\\\]"
    r"|\\\((?:(?!\\[()])[^]){1,400}\\\)"
    r"|\$(?!\s)(?:(?!\\[\[\]()])[^$\n]){0,399}[^\s$\\]\$(?!\d)"
)
FORMULA = re.compile(PATTERN.replace("[^]", r"[\s\S]"))
LONGEST_FORMULA, DEEPEST, MOST_NODES = 400, 12, 600
SECONDS = 0.25  # for one formula
MOST_FORMULAS, MOST_TEXT = 400, 400_000  # distinct formulas of one question, and the characters searched for them
LARGEST_TREES = 60_000  # bytes of JSON for one question
PAGE_FORMULAS = 8_000  # distinct formulas that are converted for one page

# All that defines, loads, links or styles; of a macro that doubles itself no bound on length would be one.
FORBIDDEN = re.compile(
    r"\\(?:(?:new|renew|provide)?(?:command|environment)|[egx]?def|let|href|url|html|class|style|css)"
)
ELEMENTS = frozenset(
    "math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd "
    "mpadded mstyle mphantom".split()
)
ATTRIBUTES = frozenset(
    "display displaystyle scriptlevel mathvariant stretchy fence separator symmetric largeop movablelimits accent "
    "accentunder lspace rspace width height depth linethickness minsize maxsize columnalign".split()
)
VALUE = re.compile(r"[a-z0-9.%+ -]{1,24}")


class Mathematics:
    """The formulas of one page: each is converted once, and no more than `PAGE_FORMULAS` of them."""

    def __init__(self) -> None:
        self._trees: dict[str, Any] = {}

    def convert_all(self, texts: Iterable[str]) -> dict[str, Any]:
        """formula, as it stands in the texts → its tree, of those that could be converted; bounded in bytes."""
        found: dict[str, Any] = {}
        size = 0
        for source in islice(dict.fromkeys(find_formulas(texts)), MOST_FORMULAS):
            tree = self.convert(source)
            size += len(json.dumps([source, tree])) if tree else 0
            if size > LARGEST_TREES:
                break
            if tree:
                found[source] = tree
        return found

    def convert(self, source: str) -> Any:
        """The tree of one formula with its delimiters; None if it can't be converted within the bounds."""
        if source not in self._trees:
            if len(self._trees) >= PAGE_FORMULAS:
                return None
            self._trees[source] = convert_formula(source)
        return self._trees[source]


def find_formulas(texts: Iterable[str]) -> Iterator[str]:
    """Formulas with their delimiters, in order, repeated ones again; of the first `MOST_TEXT` characters."""
    left = MOST_TEXT
    for text in texts:
        for match in FORMULA.finditer(text[:left]):
            yield match[0]
        left = max(0, left - len(text))


def convert_formula(source: str) -> Any:
    """[element, attributes, children …] of a formula with its delimiters; None if it breaks a rule or a bound."""
    is_display = source.startswith(("$$", "\\["))
    width = 1 if source.startswith("$") and not is_display else 2
    latex = source[width:-width].strip()
    if not latex or len(latex) > LONGEST_FORMULA or FORBIDDEN.search(latex) or _measure_depth(latex) > DEEPEST:
        return None
    from latex2mathml.converter import convert_to_element

    try:
        with _limit_time(SECONDS):
            element = convert_to_element(latex, display="block" if is_display else "inline")
            return build_tree(element, [MOST_NODES])
    except Exception:  # a parser fed with anything: whatever it raises, the formula stays as it was written
        return None


def build_tree(element: Any, left: list[int]) -> Any:
    """The allowed tree of an ElementTree element; raises ValueError for another element or too many nodes.

    Attributes that aren't allowed are left out. A box becomes a row of the class `boxed`: browsers draw no menclose.
    """
    left[0] -= 1
    name = str(element.tag).rpartition("}")[2]
    attributes = {
        key: value for key, value in element.attrib.items() if key in ATTRIBUTES and VALUE.fullmatch(str(value))
    }
    if name == "menclose":
        is_box = element.get("notation") in ("box", "roundedbox", "circle")
        name, attributes = "mrow", {"class": "boxed"} if is_box else {}
    if left[0] < 0 or name not in ELEMENTS:
        raise ValueError(f"no place for {name}")
    text = html.unescape(element.text or "").strip("\n")
    children = [build_tree(child, left) for child in element]
    return [name, attributes, *([text] if text else []), *children]


def _measure_depth(latex: str) -> int:
    depth = deepest = 0
    for sign in re.findall(r"\\begin|\\end|\\left\b|\\right\b|(?<!\\)[{}^_]", latex):
        depth += {"{": 1, "\\begin": 1, "\\left": 1, "}": -1, "\\end": -1, "\\right": -1}.get(sign, 0)
        deepest = max(deepest, depth)
    return deepest


@contextlib.contextmanager
def _limit_time(seconds: float) -> Iterator[None]:
    """Raise TimeoutError inside the block after so long. Only a main thread can be interrupted: others are refused."""
    if threading.current_thread() is not threading.main_thread():
        raise TimeoutError("not in a main thread")

    def stop(*_: object) -> None:
        raise TimeoutError

    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
