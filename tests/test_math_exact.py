"""Proving formulas equal: what is proved is so, by other arithmetic; what is the same by construction is proved."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils.math_exact import Surd, is_same_value
from s1_utils.math_formula import NoValue
from s1_utils.math_text import read_answer
from s1_utils.math_value import is_another_value

EQUAL = [
    (r"\sqrt{12}", r"2\sqrt{3}"), (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\sqrt{\frac{1}{2}}", r"\frac{\sqrt2}{2}"), (r"7\sqrt[3]{4}", r"\sqrt[3]{4}\cdot7"),
    (r"\frac{1}{1+\sqrt2+\sqrt3}", r"\frac{2+\sqrt2-\sqrt6}{4}"), (r"(1+\sqrt5)^2", r"6+2\sqrt5"), ("2^{-3}", "0.125"),
    ("(b+2)(a+5)", "ab+2a+5b+10"), ("n(n-3)/2", r"\frac{n^2-3n}{2}"), (r"\frac{x^2-1}{x-1}", "x+1"),
    ("-3+5x+x^2", "x^2+5x-3"), (r"\frac{1}{6}\pi", r"\frac{\pi}{6}"), ("x^0", "1"), ("2^{1/2}", r"\sqrt{2}"),
    ("2^{3/2}", r"2\sqrt2"), ("0.5x", r"\frac{x}{2}"), (r"3\cdot2^n", r"2^n\cdot3"),
    (r"\sqrt{x+1}-2", r"-2+\sqrt{1+x}"), ("2ei", "2ie"), (r"\sqrt{-3}+1", r"1+\sqrt{-3}"),
    ("x^{3/2}+1", r"1+(\sqrt{x})^3"), ("2^{2^{10}}x", r"x\cdot2^{1024}"),
]  # fmt: skip
NOT_PROVED = [
    ("x", "y"), ("A+1", "a+1"), ("3.14159265358979", r"\pi"), ("0.333333", r"\frac{1}{3}"), (r"\sqrt{x^2}", "x"),
    (r"\sqrt2+\sqrt3", r"\sqrt5"), (r"\sqrt{2}", r"-\sqrt{2}"), ("x^2", "x^3"), ("i^2", "-1"), ("f(x+1)", "fx+f"),
    ("g(2)", "2g"), ("1/2x", "x/2"), ("x2", "2x"), (r"4\frac{1}{2}", "4.5"), (r"\frac{1}{0}", r"\frac{2}{0}"),
    (r"\frac{1}{x-x}", r"\frac{2}{x-x}"), ("2^{1279}-1", "0"), ("x+2^{1279}-1", "x"), (r"\sqrt[3]{-8}", "-2"), ("", ""),
    ("10^{10^9}", "10^{10^9+1}"), (r"(\sqrt{2})^{\sqrt{2}}", "2"), ("x^{y+1}", "x^y+1"),
    (r"\sqrt{-3}", r"\sqrt{-5}"), (r"\sqrt{-3}", "1"), ("(-4)^{1/2}", "2"), (r"\sqrt{1+\sqrt2}", "1"), ("x^{1/2}", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_formulas_that_are_the_same_are_proved_so(one, other):
    one, other = read_answer(one).text, read_answer(other).text
    assert is_same_value(one, other)
    assert is_same_value(other, one)


@pytest.mark.parametrize(("one", "other"), NOT_PROVED)
def test_what_is_not_the_same_for_all_letters_or_is_not_read_is_never_proved(one, other):
    assert not is_same_value(one, other)
    assert not is_same_value(other, one)


# ------------------------------------------------------------------ formulas at random


def write(sign, a, b):
    """(LaTeX, the same with its sums and products turned round, value as a float) of a operation b."""
    quotient = a[2] / b[2] if abs(b[2]) > 1e-9 else math.nan  # what is zero but for rounding is no denominator
    value = {"+": a[2] + b[2], "-": a[2] - b[2], "*": a[2] * b[2], "/": quotient}[sign]
    if sign == "*":
        return rf"({a[0]})\cdot({b[0]})", f"({b[1]})({a[1]})", value
    if sign == "/":
        return rf"\frac{{{a[0]}}}{{{b[0]}}}", f"({a[1]})/({b[1]})", value
    return f"({a[0]}){sign}({b[0]})", f"({b[1]})+({a[1]})" if sign == "+" else f"-({b[1]})+({a[1]})", value


leaves = st.integers(1, 30).flatmap(
    lambda n: st.sampled_from([(str(n), str(n), n), (rf"\sqrt{{{n}}}", rf"\sqrt{{{4 * n}}}/2", math.sqrt(n))])
)
trees = st.recursive(
    leaves, lambda inner: st.builds(write, st.sampled_from("+-*/"), inner, inner), max_leaves=4
).filter(lambda tree: math.isfinite(tree[2]) and len(tree[0]) < 250 and len(tree[1]) < 250)  # fmt: skip


@given(trees)
def test_a_formula_turned_round_is_proved_the_same(tree):
    assert is_same_value(tree[0], tree[1])


@settings(max_examples=300)
@given(trees, trees)
def test_what_is_proved_the_same_has_the_same_value_and_no_other(one, other):
    if is_same_value(one[0], other[0]):
        assert math.isclose(one[2], other[2], rel_tol=1e-6, abs_tol=1e-6)
        assert not is_another_value(one[0], other[0])


@given(trees, st.sampled_from(["+1", r"+\sqrt{2}", r"-\frac{1}{10^9}", r"\cdot\frac{7}{6}+1", "+x", r"+\pi"]))
def test_a_formula_that_is_changed_is_never_proved_the_same(tree, change):
    text = f"({tree[0]}){change}"
    assert not is_same_value(text, tree[0]) or math.isclose(tree[2], -6)  # -6 · 7/6 + 1 = -6


polynomials = st.lists(st.integers(-9, 9), min_size=1, max_size=5)


@given(polynomials, polynomials)
def test_a_product_of_polynomials_is_its_expansion_and_no_other(a, b):
    product = [sum(a[i] * b[k - i] for i in range(len(a)) if 0 <= k - i < len(b)) for k in range(len(a) + len(b) - 1)]
    text = lambda terms: "+".join(f"({c})x^{k}" for k, c in enumerate(terms))  # noqa: E731
    assert is_same_value(f"({text(a)})({text(b)})", text(product))
    product[-1] += 1
    assert not is_same_value(f"({text(a)})({text(b)})", text(product))


surds = st.dictionaries(st.sampled_from([1, 2, 3, 6, 10]), st.fractions(-9, 9, max_denominator=9), max_size=3).map(Surd)


@given(surds, surds, surds)
def test_sums_of_roots_are_a_field(a, b, c):
    assert (a + b) * c == a * c + b * c
    assert a * b == b * a
    assert a - a == Surd({})
    if b != Surd({}):
        assert a / b * b == a
        assert b**-2 * b * b == Surd({1: Fraction(1)})
    else:
        with pytest.raises(ZeroDivisionError):
            a / b


# ------------------------------------------------------------------ hostile ones


@given(st.text(r"0123456789abxe\frasqtpi{}()[]+-*/^. ", max_size=60), st.text("0x^{}()+9", max_size=20))
def test_no_text_breaks_it(one, other):
    if is_same_value(one, other):
        assert not is_another_value(one, other)


@pytest.mark.parametrize(
    "text",
    ["(" * 300, "{" * 150 + "1" + "}" * 150, "9^{9^{9^{9}}}", "x" * 300, "9" * 300, "x^{99}" * 49, "(x+y)^{70}" * 30,
     "+".join(rf"\sqrt{{{n}}}" for n in range(2, 30)), r"\sqrt{99999989}" * 20, r"(1+\sqrt2)^{99}" * 19,
     r"(1+\sqrt2+\sqrt3+\sqrt5)^{60}" * 9, r"\frac{1}{1+\sqrt{99999989}\sqrt{99999971}}", r"\sqrt{99999999999}" * 15,
     r"\frac{1}{\sqrt2+\sqrt3+\sqrt5+\sqrt7}" * 7, "1^{" + "9" * 290 + "}", "0^{-1}", r"2^{" * 90 + "2" + "}" * 90],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_hostile_formulas_take_no_time(text):
    started = time.perf_counter()
    is_same_value(text, text + "+0")
    assert time.perf_counter() - started < 1


def test_too_many_roots_or_digits_have_no_value():
    with pytest.raises(NoValue):
        Surd({n: Fraction(1) for n in (2, 3, 5, 7, 11, 13, 17, 19, 23)})
    with pytest.raises(NoValue):
        Surd({1: Fraction(2)}) ** 100_000
