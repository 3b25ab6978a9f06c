"""Extracting an answer from model text and deciding whether it equals the gold answer.

Extraction never sees gold; knows nothing about who wrote the text. What can't be decided here is None, not wrong.
Source: s1 section 4.1 (deviation: the original's grader sees the gold answer while extracting, and guesses "A").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

LONGEST_ANSWER = 200
LONGEST_BOX, MOST_BOXES = 4000, 20  # characters looked at for a closing brace, boxes looked at from the last
_MARKED = re.compile(r"\b(?:final\s+)?answer\s*(?:is\b\s*:?|:)\s*", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


def extract_answer(text: str, answer_type: str = "choice", options: Sequence[str] = ()) -> str | None:
    """What follows the last "Answer:", "Final Answer:" or "answer is" on its line; None if there is nothing.

    With `options`, the only one of them that this line names, as a whole word. Without a mark, the last number of the
    text answers an integer question, and a text of one to three words a choice. An expression is first of all what the
    last closed \\boxed{} or \\fbox{} holds.
    """
    if answer_type == "expression" and (boxed := find_boxed(text)):
        return boxed
    matches = list(_MARKED.finditer(text))
    if not matches and answer_type == "integer":
        return next(reversed(_NUMBER.findall(text)), None)
    if not matches and (answer_type == "expression" or len(text.split()) > 3):
        return None
    rest = (text[matches[-1].end() :] if matches else text).strip()
    line = rest.splitlines()[0][:LONGEST_ANSWER] if rest else ""
    if options:
        named = [o for o in options if re.search(rf"(?<!\w){re.escape(o)}(?!\w)", line)]
        return named[0] if len(named) == 1 else None
    return line.rstrip(" .*$").lstrip(" *$") or None


def find_boxed(text: str) -> str | None:
    """What the last closed box that isn't empty holds, by counting braces that aren't escaped; None without one."""
    for start in reversed([match.end() for match in _BOX.finditer(text)][-MOST_BOXES:]):
        depth = 1
        for token in re.finditer(r"\\.|[{}]", text[start : start + LONGEST_BOX], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if depth == 0:
                break
        if depth == 0 and (boxed := text[start : start + token.start()].strip()):
            return boxed
    return None


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
