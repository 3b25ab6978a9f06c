"""Extracting an answer from model text and deciding whether it equals the gold answer.

Extraction never sees gold; knows nothing about who wrote the text. What can't be decided here is None, not wrong.
Source: s1 section 4.1 (deviation: the original's grader sees the gold answer while extracting, and guesses "A").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

LONGEST_ANSWER = 200
_MARKED = re.compile(r"\b(?:final\s+)?answer\s*(?:is\b\s*:?|:)\s*", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


def extract_answer(text: str, answer_type: str = "choice", options: Sequence[str] = ()) -> str | None:
    """What follows the last "Answer:", "Final Answer:" or "answer is" on its line; None if there is nothing.

    With `options`, the only one of them that this line names, as a whole word. Without a mark, the last number of the
    text answers an integer question, and a text of one to three words any other.
    """
    matches = list(_MARKED.finditer(text))
    if not matches and answer_type == "integer":
        return next(reversed(_NUMBER.findall(text)), None)
    if not matches and len(text.split()) > 3:
        return None
    rest = (text[matches[-1].end() :] if matches else text).strip()
    line = rest.splitlines()[0][:LONGEST_ANSWER] if rest else ""
    if options:
        named = [o for o in options if re.search(rf"(?<!\w){re.escape(o)}(?!\w)", line)]
        return named[0] if len(named) == 1 else None
    return line.rstrip(" .*$").lstrip(" *$") or None


def grade_answer(extracted: str | None, gold: str | None, answer_type: str) -> bool | None:
    """Whether `extracted` equals `gold`. None if there is no gold, or if this type needs another grader.

    "choice": the same label. "integer": the same number, which must be the only one in the answer.
    """
    if not isinstance(gold, str) or answer_type not in ("choice", "integer"):  # a null of a table may be None, nan, NA
        return None
    if extracted is None:
        return False
    if answer_type == "choice":
        return extracted == gold
    numbers = _find_numbers(extracted)
    return len(numbers) == 1 and numbers == _find_numbers(gold)


def _find_numbers(text: str) -> set[Decimal]:
    return {Decimal(number.replace(",", "")) for number in _NUMBER.findall(text)}
