"""The short answer in what a data set publishes, where there is one that can be compared.

Knows numbers, letters and boxed LaTeX; knows nothing about sources or models. Values are hostile: of any type and size.
"integer" and "choice" are graded exactly, "expression" needs a mathematical grader, "text" a judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s1_utils.grading import LONGEST_ANSWER, find_boxed

LETTERS = ("A", "B", "C", "D")
_INTEGER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)")


@dataclass(frozen=True)
class Gold:
    """The short answer that can be compared, None if there is none; `options`: the labels it is one of, if known."""

    answer: str | None = None
    answer_type: str = "text"
    options: tuple[str, ...] = ()


NO_GOLD = Gold()


def write_text(value: Any) -> str | None:
    """A text as it is, a number as text (7.0 as 7); None for blank text, NaN and anything else."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 10**100):
        return str(value)
    if isinstance(value, float) and value == value:
        return f"{value:.0f}" if value.is_integer() else repr(value)
    return None


def write_first(value: Any) -> str | None:
    """The text of a value, or of the first item of a list."""
    return write_text((value[0] if value else None) if isinstance(value, list) else value)


def name_gold(answer: str | None) -> Gold:
    """An answer by its look: a whole number, a mathematical expression, or text if it is too long to be compared."""
    answer = (answer or "").strip()
    if re.fullmatch(r"\$[^$]+\$", answer):
        answer = answer[1:-1].strip()
    if not answer or len(answer) > LONGEST_ANSWER:
        return NO_GOLD
    return Gold(answer, "integer" if _INTEGER.fullmatch(answer) else "expression")


def find_gold(solution: str | None) -> Gold:
    r"""The answer in a solution: GPQA's "Answer: C" at its end, the last \boxed{…}, or a lone number or letter."""
    text = (solution or "").strip()
    if gpqa := re.search(r"(?:^|\n)Answer: ([A-D])$", text[-20:]):
        return Gold(gpqa[1], "choice", LETTERS)
    if boxed := find_boxed(text):
        return name_gold(boxed)
    if re.fullmatch("[A-E]", text[:2]):
        return Gold(text, "choice")
    return name_gold(text) if _INTEGER.fullmatch(text[: LONGEST_ANSWER + 1]) else NO_GOLD


def name_choice(answer: str | None, options: Sequence[str] = ()) -> Gold:
    """A label such as B, (b) or ABD; no answer if it isn't one, or none of `options` where they are known."""
    answer = (answer or "").strip().strip("()").strip()
    if not re.fullmatch("[A-Za-z]+", answer) or (options and answer not in options):
        return NO_GOLD
    return Gold(answer, "choice", tuple(options))
