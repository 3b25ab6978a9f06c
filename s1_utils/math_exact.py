r"""Proving two formulas equal in exact arithmetic, letters being large whole numbers.

Knows what s1_utils.math_formula reads: sums of rational multiples of square roots of whole numbers. Letters, \pi and
other roots and powers are taken for independent numbers of 64 bits at random, so that equality is never claimed for
lack of knowledge. Formulas that agree there are the same but with a probability below 1e-15 (degree / 2^64, Schwartz
1980); the numbers come from both texts, so that they are the same every time and no answer can aim at them.
Never finds a difference.
"""

from __future__ import annotations

import hashlib
import math
import re
from fractions import Fraction
from functools import lru_cache

from s1_utils.math_formula import NONE, FormulaReader, NoValue, split_formula

MOST_BITS = 5000  # of a numerator or denominator
MOST_TERMS = 8  # roots in a sum
LARGEST_RADICAND = 10**8
_FUNCTION = re.compile(r"(?<![A-Za-z\\])[fghpuvFGHPQ]\(")  # f(x+1) is hardly f times x+1


def is_same_value(one: str, other: str) -> bool:
    """Whether two texts in the one spelling are formulas that are the same for all values of their letters."""
    if _FUNCTION.search(one) or _FUNCTION.search(other):
        return False
    seed = f"{len(one)} {one}{other}"
    try:
        return _ExactReader(split_formula(one), seed).read() == _ExactReader(split_formula(other), seed).read()
    except NONE:
        return False


class _ExactReader(FormulaReader):
    def __init__(self, tokens: list[str], seed: str) -> None:
        super().__init__(tokens)
        self.seed = seed

    def note(self, value: Surd) -> Surd:
        return value

    def make_number(self, text: str) -> Surd:
        return Surd({1: Fraction(text)})

    def make_letter(self, letter: str) -> Surd:
        """A number of 64 bits for what nothing else is known about."""
        digest = hashlib.sha256(f"{self.seed}\n{letter}".encode()).digest()
        return Surd({1: Fraction(int.from_bytes(digest[:8], "big") | 1)})

    def raise_to(self, base: Surd, exponent: Surd) -> Surd:
        power = exponent.as_rational()
        if power is not None and power.denominator == 1 and abs(power) <= MOST_BITS:
            return base ** int(power)
        if power is not None and power.denominator == 2 and abs(power) <= MOST_BITS:
            return self.take_root(base, 2) ** power.numerator
        return self.make_letter(f"{base.terms}^{exponent.terms}")

    def take_root(self, value: Surd, degree: int) -> Surd:
        if degree == 2 and value.is_positive():
            fraction = value.terms[1]
            if (radicand := fraction.numerator * fraction.denominator) <= LARGEST_RADICAND:
                outside, inside = _split_square(radicand)
                return Surd({inside: Fraction(outside, fraction.denominator)})
        return self.make_letter(f"{degree} root of {value.terms}")


class Surd:
    """A sum of coefficients times square roots: `terms` are whole numbers without square factors → coefficients.

    Equal sums have equal terms. Raises NoValue where there are too many terms or digits.
    """

    def __init__(self, terms: dict[int, Fraction]) -> None:
        self.terms = {root: terms[root] for root in sorted(terms) if terms[root]}
        if len(self.terms) > MOST_TERMS or max(map(_count_bits, self.terms.values()), default=0) > MOST_BITS:
            raise NoValue

    def as_rational(self) -> Fraction | None:
        return None if set(self.terms) - {1} else self.terms.get(1, Fraction(0))

    def is_positive(self) -> bool:
        """Whether it is a positive rational number."""
        return (self.as_rational() or 0) > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Surd) and self.terms == other.terms

    __hash__ = None

    def __neg__(self) -> Surd:
        return Surd({root: -value for root, value in self.terms.items()})

    def __add__(self, other: Surd) -> Surd:
        roots = self.terms.keys() | other.terms.keys()
        return Surd({root: self.terms.get(root, Fraction(0)) + other.terms.get(root, Fraction(0)) for root in roots})

    def __sub__(self, other: Surd) -> Surd:
        return self + -other

    def __mul__(self, other: Surd) -> Surd:
        terms: dict[int, Fraction] = {}
        for a, x in self.terms.items():
            for b, y in other.terms.items():
                common = math.gcd(a, b)
                root = (a // common) * (b // common)
                terms[root] = terms.get(root, Fraction(0)) + common * x * y
        return Surd(terms)

    def __truediv__(self, other: Surd) -> Surd:
        """By removing one prime after another from the roots of the denominator; raises ZeroDivisionError."""
        top, bottom = self, other
        while (rational := bottom.as_rational()) is None:
            prime = min(_find_prime(root) for root in bottom.terms if root > 1)
            conjugate = Surd({root: -v if root % prime == 0 else v for root, v in bottom.terms.items()})
            top, bottom = top * conjugate, bottom * conjugate
        return top * Surd({1: 1 / rational})

    def __pow__(self, exponent: int) -> Surd:
        if abs(exponent) * max(map(_count_bits, self.terms.values()), default=1) > 2 * MOST_BITS:
            raise NoValue
        value, square, left = Surd({1: Fraction(1)}), self, abs(exponent)
        while left:
            value, left = (value * square if left % 2 else value), left // 2
            square = square * square if left else square
        return Surd({1: Fraction(1)}) / value if exponent < 0 else value


def _count_bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


@lru_cache(maxsize=4096)
def _find_prime(number: int) -> int:
    """The smallest prime factor of a number above 1; raises NoValue where that may take long."""
    if number > LARGEST_RADICAND:
        raise NoValue
    return next((k for k in range(2, math.isqrt(number) + 1) if number % k == 0), number)


@lru_cache(maxsize=4096)
def _split_square(number: int) -> tuple[int, int]:
    """(a, b) with a² b = number, b without square factors."""
    outside, inside = 1, 1
    while number > 1:
        prime = _find_prime(number)
        number //= prime
        if number % prime == 0:
            number //= prime
            outside *= prime
        else:
            inside *= prime
    return outside, inside
