r"""Telling two formulas apart by their values: at the same points, plain arithmetic gives other numbers.

Knows numbers, letters, \pi, the four operations, powers, fractions and roots; anything else, and anything that can be
read in two ways (1/2x, 4\frac12, x^12), has no value here. Only ever finds a difference: equality takes algebra
(s1_utils.math_grader), and so does what differs by less than rounding or a few decimals explain. Never evaluates code.
Source: ours; Schwartz 1980 for identities tested at random points.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

POINTS = 3
NEAR = 1e-4  # relative: closer than that, algebra decides
ROUNDING = 1e-9  # of the largest intermediate value
LARGEST = 1e12
LONGEST = 300  # characters
_TOKEN = re.compile(r"\s*(\\(?:frac|sqrt|pi|cdot|times)(?![A-Za-z])|\d+(?:\.\d+)?|\.\d+|[A-Za-z]|[-+*/^(){}\[\]])\s*")
_AMBIGUOUS = set("eEiIj")  # constants or variables


class _NoValue(Exception):
    """What isn't read here, has two readings, or is too large."""


def is_another_value(one: str, other: str) -> bool:
    """Whether two texts in the one spelling are formulas with different values at every point tried."""
    if max(len(one), len(other)) > LONGEST:
        return False
    try:
        return all(_differ(_Reader(one, k).read(), _Reader(other, k).read()) for k in range(POINTS))
    except (_NoValue, ZeroDivisionError, OverflowError, RecursionError):
        return False


def _differ(a: tuple[complex, float], b: tuple[complex, float]) -> bool:
    largest = max(a[1], b[1])
    return abs(a[0] - b[0]) > NEAR * max(1.0, abs(a[0]), abs(b[0])) + ROUNDING * largest


@dataclass
class _Reader:
    """A formula read from left to right, with its value at the `point`-th point; `largest`: of what came up."""

    text: str
    point: int
    tokens: list[str] = field(default_factory=list)
    at: int = 0
    largest: float = 1.0

    def read(self) -> tuple[complex, float]:
        """(value, largest intermediate)."""
        place = 0
        while place < len(self.text):
            match = _TOKEN.match(self.text, place)
            if match is None:
                raise _NoValue
            self.tokens.append(match[1])
            place = match.end()
        value = self._sum()
        if self.at < len(self.tokens):
            raise _NoValue
        return value, self.largest

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, wanted: str = "") -> str:
        part = self._peek()
        if not part or (wanted and part != wanted):
            raise _NoValue
        self.at += 1
        return part

    def _note(self, value: complex) -> complex:
        size = abs(value)
        if not math.isfinite(size) or size > LARGEST:
            raise _NoValue
        self.largest = max(self.largest, size)
        return value

    def _sum(self) -> complex:
        sign = -1 if self._peek() == "-" else 1
        if self._peek() in ("+", "-"):
            self._take()
        value = sign * self._product()
        while self._peek() in ("+", "-"):
            sign = -1 if self._take() == "-" else 1
            value = self._note(value + sign * self._product())
        return value

    def _product(self) -> complex:
        value, before, divided = self._power(), self._last(), False
        while part := self._peek():
            if part in ("*", "/", r"\cdot", r"\times"):
                divided = self._take() == "/"
                factor = self._power()
                value = self._note(value / factor if divided else value * factor)
            elif part in ("+", "-", ")", "}", "]", "^"):
                break
            else:  # a factor right after another
                if divided or (before[-1].isdigit() and (part[0].isdigit() or part == r"\frac")):
                    raise _NoValue
                value = self._note(value * self._power())
            before = self._last()
        return value

    def _last(self) -> str:
        return self.tokens[self.at - 1]

    def _power(self) -> complex:
        base = self._atom()
        if self._peek() != "^":
            return base
        self._take()
        exponent = self._group()
        if self._peek() == "^":
            raise _NoValue
        return self._note(complex(base) ** exponent)

    def _atom(self) -> complex:
        part = self._take()
        if part in ("(", "{"):
            value = self._sum()
            self._take(")" if part == "(" else "}")
            return value
        if part == r"\frac":
            return self._note(self._group() / self._group())
        if part == r"\sqrt":
            degree = 2
            if self._peek() == "[":
                self._take()
                degree = int(self._take()) if self._peek().isdigit() else 0
                self._take("]")
            if not 2 <= degree <= 9:
                raise _NoValue
            return complex(self._group()) ** (1 / degree)
        return self._note(self._name(part))

    def _group(self) -> complex:
        """An argument: in braces, or one digit or letter."""
        part = self._peek()
        if part == "{" or (len(part) == 1 and part.isalnum()) or part == r"\pi":
            return self._atom()
        raise _NoValue

    def _name(self, part: str) -> complex:
        if part == r"\pi":
            return math.pi
        if part[0].isdigit() or part[0] == ".":
            return float(part)
        if not part.isalpha() or part in _AMBIGUOUS:
            raise _NoValue
        seed = math.sin(12.9898 * ord(part.lower()) + 78.233 * self.point) * 43758.5453
        return 1.1 + 1.8 * (seed - math.floor(seed))  # positive and real, as roots and powers ask for
