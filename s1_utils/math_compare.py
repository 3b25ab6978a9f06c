"""Comparing formulas, lists of them and equations without an algebra system, item by item.

Knows when two formulas are surely the same (s1_utils.math_exact) or surely not (s1_utils.math_value), and what that
says about lists and equations; the rest is left to algebra (s1_utils.math_grader).
"""

from __future__ import annotations

import re
from itertools import pairwise

from s1_utils import math_exact, math_text, math_value

MOST_ITEMS = 16  # of a list
_EQUATION = re.compile(r"([A-Za-z](?:_\w)?(?:\([a-z]\))?)=([^=<>]+)")


def compare(one: str, other: str) -> bool | None:
    """Whether two texts in the one spelling are the same answer; None if that takes algebra."""
    if one == other:
        return True if one else None
    numbers = math_text.read_number(one), math_text.read_number(other)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if math_value.is_another_value(one, other):
        return False
    if math_exact.is_same_value(one, other):
        return True
    equations = _EQUATION.fullmatch(one), _EQUATION.fullmatch(other)
    if None not in equations:
        return _compare_equations(*equations)
    return _compare_lists(one, other)


def _compare_equations(one: re.Match[str], other: re.Match[str]) -> bool | None:
    """Whether both give the same letter, or function, the same value."""
    (name, value), (other_name, other_value) = one.groups(), other.groups()
    if name != other_name or name[0] in value + other_value:
        return None
    return compare(value, other_value)


def _compare_lists(one: str, other: str) -> bool | None:
    a, b = math_text.split_list(one), math_text.split_list(other)
    if a is None and b is None:
        return None
    if a is None or b is None:
        alone, among = (one, b[1]) if a is None else (other, a[1])
        return False if _is_none_of_several(alone, among) else None
    if max(len(a[1]), len(b[1])) > MOST_ITEMS:
        return None
    if {a[0], b[0]} <= {"", "{}"}:
        return _compare_sets(a[1], b[1])
    return _compare_tuples(a[1], b[1]) if a[0] == b[0] else None


def _is_none_of_several(alone: str, items: list[str]) -> bool:
    """Whether `alone` is one formula beside items that are all different; no number written with commas, however."""
    if len(items) > MOST_ITEMS or not math_value.has_value(alone):
        return False
    different = all(compare(before, after) is False for before, after in pairwise(items))
    return different and not any(compare(alone, sign.join(items)) for sign in ("", "."))


def _compare_tuples(one: list[str], other: list[str]) -> bool | None:
    if len(one) != len(other):
        return None
    found = [compare(a, b) for a, b in zip(one, other, strict=True)]
    return False if False in found else all(found) or None


def _compare_sets(one: list[str], other: list[str]) -> bool | None:
    """Equal, where each item has its own partner; different, where one is none of the other side's."""
    found = [[compare(a, b) for b in other] for a in one]
    rows = [*found, *zip(*found, strict=True)]
    if any(all(verdict is False for verdict in row) for row in rows):
        return False
    return True if len(one) == len(other) and all(row.count(True) == 1 for row in map(list, rows)) else None
