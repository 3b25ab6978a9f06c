r"""Reading a formula from left to right, in whatever arithmetic a reader brings; never evaluates code.

Knows numbers, letters, \pi, the four operations, powers, fractions and roots; anything else, and anything that can be
read in two ways (1/2x, 4\frac12, x^12), has no value. Knows nothing about what a value is: s1_utils.math_value takes
points, s1_utils.math_exact is exact.
"""

from __future__ import annotations

import re
from typing import Any

LONGEST = 300  # characters
_TOKEN = re.compile(r"\s*(\\(?:frac|sqrt|pi|cdot|times)(?![A-Za-z])|\d+(?:\.\d+)?|\.\d+|[A-Za-z]|[-+*/^(){}\[\]])\s*")


class NoValue(Exception):
    """What isn't read here, has two readings, or is too large."""


NONE = (NoValue, ZeroDivisionError, OverflowError, RecursionError)  # what reading a formula raises


def split_formula(text: str) -> list[str]:
    """The tokens of `text`; raises NoValue where there is anything else."""
    if len(text) > LONGEST:
        raise NoValue
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise NoValue
        tokens.append(match[1])
        place = match.end()
    return tokens


class FormulaReader:
    """The value of `tokens`. The last methods are what another arithmetic puts in its own words."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def read(self) -> Any:
        value = self._sum()
        if self.at < len(self.tokens):
            raise NoValue
        return value

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, wanted: str = "") -> str:
        part = self._peek()
        if not part or (wanted and part != wanted):
            raise NoValue
        self.at += 1
        return part

    def _sum(self) -> Any:
        negative = self._peek() == "-"
        if self._peek() in ("+", "-"):
            self._take()
        value = -self._product() if negative else self._product()
        while self._peek() in ("+", "-"):
            negative = self._take() == "-"
            term = self._product()
            value = self.note(value - term if negative else value + term)
        return value

    def _product(self) -> Any:
        value, before, divided = self._power(), self._last(), False
        while part := self._peek():
            if part in ("*", "/", r"\cdot", r"\times"):
                divided = self._take() == "/"
                factor = self._power()
                value = self.note(value / factor if divided else value * factor)
            elif part in ("+", "-", ")", "}", "]", "^"):
                break
            else:  # a factor right after another
                is_mixed = before[-1].isdigit() and part == r"\frac"
                if divided or is_mixed or (before[-1].isalnum() and part[0].isdigit()):
                    raise NoValue
                value = self.note(value * self._power())
            before = self._last()
        return value

    def _last(self) -> str:
        return self.tokens[self.at - 1]

    def _power(self) -> Any:
        base = self._atom()
        if self._peek() != "^":
            return base
        self._take()
        exponent = self._group()
        if self._peek() == "^":
            raise NoValue
        return self.note(self.raise_to(base, exponent))

    def _atom(self) -> Any:
        part = self._take()
        if part in ("(", "{"):
            value = self._sum()
            self._take(")" if part == "(" else "}")
            return value
        if part == r"\frac":
            return self.note(self._group() / self._group())
        if part == r"\sqrt":
            degree = self._degree()
            return self.note(self.take_root(self._group(), degree))
        if part == r"\pi" or part.isalpha():
            return self.make_letter(part)
        if part[0].isdigit() or part[0] == ".":
            return self.note(self.make_number(part))
        raise NoValue

    def _degree(self) -> int:
        if self._peek() != "[":
            return 2
        self._take()
        degree = int(self._take()) if self._peek().isdigit() else 0
        self._take("]")
        if not 2 <= degree <= 9:
            raise NoValue
        return degree

    def _group(self) -> Any:
        """An argument: in braces, or one digit or letter."""
        part = self._peek()
        if part == "{" or (len(part) == 1 and part.isalnum()) or part == r"\pi":
            return self._atom()
        raise NoValue

    # -------------------------------------------------------------- an arithmetic's own

    def note(self, value: Any) -> Any:
        """`value`, if it isn't too large."""
        raise NotImplementedError

    def make_number(self, text: str) -> Any:
        raise NotImplementedError

    def make_letter(self, letter: str) -> Any:
        raise NotImplementedError

    def raise_to(self, base: Any, exponent: Any) -> Any:
        raise NotImplementedError

    def take_root(self, value: Any, degree: int) -> Any:
        raise NotImplementedError
