r"""Telling two formulas apart by their values: at the same points, plain arithmetic gives other numbers.

Knows what s1_utils.math_formula reads, but no letter that may be a constant (e, i). Only ever finds a difference:
equality takes exact arithmetic (s1_utils.math_exact) or algebra (s1_utils.math_grader), and so does what differs by
less than rounding or a few decimals explain.
Source: ours; Schwartz 1980 for identities tested at random points.
"""

from __future__ import annotations

import math

from s1_utils.math_formula import NONE, FormulaReader, NoValue, split_formula

POINTS = 3
NEAR = 1e-4  # relative: closer than that, algebra decides
ROUNDING = 1e-9  # of the largest intermediate value
LARGEST = 1e12
_AMBIGUOUS = set("eEiIj")  # constants or variables


def is_another_value(one: str, other: str) -> bool:
    """Whether two texts in the one spelling are formulas with different values at every point tried."""
    try:
        tokens = split_formula(one), split_formula(other)
        return all(_differ(*(_PointReader(side, k) for side in tokens)) for k in range(POINTS))
    except NONE:
        return False


def has_value(text: str) -> bool:
    """Whether `text` is a formula that is read here."""
    return is_another_value(text, "0") or is_another_value(text, "1")


def _differ(one: _PointReader, other: _PointReader) -> bool:
    a, b = one.read(), other.read()
    largest = max(one.largest, other.largest)
    return abs(a - b) > NEAR * max(1.0, abs(a), abs(b)) + ROUNDING * largest


class _PointReader(FormulaReader):
    """Letters are what they are at the `point`-th point; `largest`: the largest value that came up."""

    def __init__(self, tokens: list[str], point: int) -> None:
        super().__init__(tokens)
        self.point = point
        self.largest = 1.0

    def note(self, value: complex) -> complex:
        size = abs(value)
        if not math.isfinite(size) or size > LARGEST:
            raise NoValue
        self.largest = max(self.largest, size)
        return value

    def make_number(self, text: str) -> complex:
        return float(text)

    def make_letter(self, letter: str) -> complex:
        if letter == r"\pi":
            return math.pi
        if letter in _AMBIGUOUS:
            raise NoValue
        seed = math.sin(12.9898 * ord(letter.lower()) + 78.233 * self.point) * 43758.5453
        return 1.1 + 1.8 * (seed - math.floor(seed))  # positive and real, as roots and powers ask for

    def raise_to(self, base: complex, exponent: complex) -> complex:
        return complex(base) ** exponent

    def take_root(self, value: complex, degree: int) -> complex:
        return complex(value) ** (1 / degree)
