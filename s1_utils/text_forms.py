"""The forms in which two texts are compared: words, letters and digits alone, or read closely with operators.

Knows characters, LaTeX's typesetting commands and formulas; knows nothing about n-grams. The letters are kept
character by character, without context, so that what is shared can be shown in the text as it was given.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from itertools import compress


class _Letters(dict):
    """code point → its letters and digits: no accents, no case, no width; nothing for anything else."""

    def __missing__(self, point: int) -> str:
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(point)).casefold())
        self[point] = "".join(c for c in folded if c.isalnum())
        return self[point]


LETTERS = _Letters()
OTHERS = bytes(c for c in range(128) if not chr(c).isalnum())
IS_LETTER = bytes(c < 128 and chr(c).isalnum() for c in range(256))
LOWER = bytes(ord(chr(c).lower()) if c < 128 else c for c in range(256))
# Commands that only set type, and longer spellings of the same sign: blanked out at equal length.
TYPESETTING = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|q?quad|text(?:bf|it|rm)?|math(?:rm|bf|it)"
    r"|operatorname|mbox)(?![A-Za-z])|\\[dt](?=frac)|(?<=\\[lgn]e)q(?![A-Za-z])"
)
SIGNS = {ord("−"): "-", ord("–"): "-", ord("×"): "*", ord("·"): "*", ord("⋅"): "*", ord("÷"): "/", ord("⁄"): "/"}
OPERATORS = "+-*/=<>^_%|!&~"
OPERAND = r"(?:\d|\\[A-Za-z]|[A-Za-z](?![A-Za-z]))"  # a number, a command, a variable
LEFT_OPERATOR = r"(?<=[\d)\]}$A-Za-z])\s*[-+*/^=<>]\s*[({\[$\\]*\Z|[-+][({\[$\\]*\Z|(?<=\d)[.,]\Z"
SIGN_OR_BULLET = r"(?<![*_])[-+*/^=<>]\s*[({\[$\\]*\Z"  # before a number it is taken for a sign
RIGHT_OPERATOR = rf"[\s)}}\]$]*([-+*/^_=<>]|[.,](?=\d))[\s({{\[$]*{OPERAND}"


def split_words(text: str) -> list[str]:
    """The paper's words: lower case, split at white space."""
    return text.lower().split()


def find_ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every window of n words, in order. Raises ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}.")
    return zip(*(words[i:] for i in range(n)), strict=False)


def keep_letters(text: str) -> bytes:
    """The letters and digits of a text in order, as UTF-8."""
    text = blank_typesetting(text)
    if text.isascii():
        return text.encode().translate(LOWER, OTHERS)
    return text.translate(LETTERS).encode()


class _Signs(dict):
    """code point → its letters, digits and operators; a space for anything else. Raised and lowered: with ^ and _."""

    def __missing__(self, point: int) -> str:
        raised = {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(chr(point)).split(" ")[0], "")
        plain = unicodedata.normalize("NFKC", chr(point)).translate(SIGNS)
        read = "".join(
            LETTERS[ord(c)] or (c if c in OPERATORS or unicodedata.category(c) == "Sm" else "") for c in plain
        )
        self[point] = raised + read if read else "" if unicodedata.combining(chr(point)) else " "
        return self[point]


READ = _Signs()


def read_closely(text: str) -> str:
    """Letters, digits and operators; a gap between two digits stays one: 2+3, 2-3, 23 and 2 3 all differ."""
    read = unicodedata.normalize("NFC", blank_typesetting(text)).translate(READ)
    joined = re.sub(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})", " ", read)
    return re.sub(r"(?<!\d) +| +(?!\d)", "", re.sub(r" +", " ", joined))


def trim_signs(reading: str) -> str:
    return re.sub(r"^[\W_]+|[\W_]+$", "", reading)


def read_edges(text: str, start: int, end: int) -> tuple[str, str]:
    """The operators by which a formula goes on before and after a span: 2+3 in 2+3^2 is another question."""
    before, after = text[max(0, start - 20) : start].translate(SIGNS), text[end : end + 20].translate(SIGNS)
    begins = re.match(OPERAND, text[start : start + 2])
    left = re.search(LEFT_OPERATOR, before) if begins else None
    if begins and begins[0].isdigit():
        left = left or re.search(SIGN_OR_BULLET, before)
    right = re.match(RIGHT_OPERATOR, after)
    return left[0].strip() if left else "", right[1] if right else ""


def blank_typesetting(text: str) -> str:
    return TYPESETTING.sub(lambda command: " " * len(command[0]), text) if "\\" in text else text


def map_letters(text: str) -> array[int]:
    """For every byte of keep_letters(text), the position of its character in `text`."""
    text = blank_typesetting(text)
    if text.isascii():
        return array("q", compress(range(len(text)), text.encode().translate(IS_LETTER)))
    return array("q", (i for i, c in enumerate(text) for _ in range(len(LETTERS[ord(c)].encode()))))


def is_sentence(text: str, start: int, end: int) -> bool:
    """Whether the span is all there is between two ends of a sentence or line, signs apart."""
    before = unicodedata.normalize("NFKC", text[max(0, start - 40) : start])
    after = unicodedata.normalize("NFKC", text[end : end + 40])
    begins = re.search(r"(?:^|[.!?:;)\n])(?:[^\w.!?:;)]|_)*\Z", before)
    return bool(begins and re.match(r"(?:[^\w.!?;\n]|_)*(?:\Z|[.!?;\n])", after))
