"""Extracting an answer from model text and deciding whether it equals the gold answer.

Extraction never sees gold; knows nothing about who wrote the text. What can't be decided here is None, not wrong.
`python -m s1_utils.grading SAMPLES.jsonl --out grades.jsonl` grades any file of replies (s1_utils.regrading).
Source: s1 section 4.1 (deviation: the original's grader sees the gold answer while extracting, and guesses "A").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from s1_utils.answer_text import LONGEST_ANSWER, MARKED, find_box, find_boxed, read_answer_part, take_line
from s1_utils.choice_letters import LETTERS, find_choice, read_lone_label

_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


def extract_answer(
    text: str, answer_type: str = "choice", options: Sequence[str] | Mapping[str, str] = ()
) -> str | None:
    r"""The answer in a reply, None if there is nothing: what follows the last "Answer:" or "answer is" on its line.

    With `options` (labels, or label → text) the one of them that the reply names in any usual spelling, None if that
    is none or several (`choice_letters`). An expression is first of all what the last closed \boxed{} or \fbox{} holds;
    so is an integer, if the box comes after the last mark and has a number. Without a mark, the last number of the text
    answers an integer question, and a text of one to three words a choice. Only what follows the last end of thinking
    is read, where one is marked.
    """
    text = read_answer_part(text)
    if answer_type == "expression" and (boxed := find_boxed(text)):
        return boxed
    if options:
        return find_choice(text, options)
    marks = list(MARKED.finditer(text))
    if boxed := _find_late_box(text, answer_type, marks[-1].start() if marks else -1):
        return boxed
    if not marks and answer_type == "integer":
        return next(reversed(_NUMBER.findall(text)), None)
    if not marks and (answer_type == "expression" or len(text.split()) > 3):
        return find_choice(text, LETTERS) if answer_type == "choice" else None
    line = take_line(text, marks[-1].end() if marks else 0).rstrip(" .*$").lstrip(" *$") or None
    return (read_lone_label(line) or line) if line and answer_type == "choice" else line


def _find_late_box(text: str, answer_type: str, start: int) -> str | None:
    """What the last box holds, if it comes after `start` and has a number, or is the label of a choice."""
    box = find_box(text)
    if box is None or box.start < start or answer_type not in ("choice", "integer"):
        return None
    content = box.content[:LONGEST_ANSWER]
    if answer_type == "choice":
        return read_lone_label(content)
    return content if _NUMBER.search(content) else None


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


if __name__ == "__main__":
    import runpy  # by name, so that the command line's modules are no part of what a stage's key hashes

    runpy.run_module("s1_utils.regrading", run_name="__main__", alter_sys=True)
