"""Telling formulas apart by their values: never two that are equal, and what is told apart is, in exact arithmetic."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.math_text import read_answer
from s1_utils.math_value import is_another_value

EQUAL = [
    (r"\sqrt{12}", r"2\sqrt{3}"), (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt{3}}"), (r"\sqrt[3]{8}", "2"),
    ("(b+2)(a+5)", "ab+2a+5b+10"), ("2^{n-1}", r"\frac{2^n}{2}"), ("n(n-3)/2", r"\frac{n^2-3n}{2}"),
    (r"\frac{1}{6}\pi", r"\frac{\pi}{6}"), ("x-x+2", "2"), ("-(1-x)", "x-1"), (r"\sqrt{x^2}", "x"), ("(-2)^3", "-8"),
    ("3.14159265", r"\pi"), ("0.33334", r"\frac{1}{3}"), ("A+1", "a+1"), ("1.41421", r"\sqrt2"),
]  # fmt: skip
DIFFERENT = [
    (r"\sqrt{3}", r"\sqrt{2}"), (r"71\sqrt{2}", r"70\sqrt{2}"), ("3.14", r"\pi"), (r"-\sqrt{26}", r"\sqrt{26}"),
    ("400", r"70\sqrt2"), (r"1025-256\pi", r"1024-256\pi"), ("2k", "2k+2"), ("x^2+1", "x^2-1"), ("2d", "2c"),
    ("x+1", "y+1"), (r"\frac{n}{2}", "7"), (r"5\sqrt[3]{4}", "1938"), ("-2^2", "4"), (r"2\cdot 3^x", "6^x"),
]  # fmt: skip
NOT_READ = ["1/2x", r"4\frac{1}{2}", "x^12", "2 3", "e^2", "i", "x=2", "(1,2)", "n!", "x_1", "|x|", r"\sin x", "", "(",
            ")", "2^", r"\frac{1}", r"\sqrt", "9^9^9", "10^{99}", r"\frac{1}{0}", r"\sqrt[0]{2}", "½"]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_or_nearly_equal_formulas_are_never_told_apart(one, other):
    one, other = read_answer(one).text, read_answer(other).text
    assert not is_another_value(one, other)
    assert not is_another_value(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_formulas_with_other_values_are_told_apart(one, other):
    one, other = read_answer(one).text, read_answer(other).text
    assert is_another_value(one, other)
    assert is_another_value(other, one)


@pytest.mark.parametrize("text", NOT_READ)
def test_what_has_two_readings_or_none_has_no_value(text):
    assert not is_another_value(text, "7")
    assert not is_another_value("7", text)


trees = st.recursive(
    st.integers(0, 30).map(lambda n: (str(n), Fraction(n))),
    lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner).filter(
        lambda tree: tree[0] != "/" or tree[2][1] != 0
    ).map(lambda tree: write(*tree)),
    max_leaves=8,
)  # fmt: skip


def write(sign, a, b):
    """(LaTeX, exact value) of a operation b."""
    value = {"+": a[1] + b[1], "-": a[1] - b[1], "*": a[1] * b[1], "/": a[1] / b[1] if b[1] else 0}[sign]
    text = {"*": rf"({a[0]})\cdot({b[0]})", "/": rf"\frac{{{a[0]}}}{{{b[0]}}}"}.get(sign, f"({a[0]}){sign}({b[0]})")
    return text, Fraction(value)


@given(trees, trees)
def test_what_is_told_apart_differs_in_exact_arithmetic(one, other):
    if is_another_value(one[0], other[0]):
        assert one[1] != other[1]
    elif max(abs(one[1]), abs(other[1])) < 1000:
        assert abs(one[1] - other[1]) < 1


@given(st.text(r"0123456789abxe\frasqtpi{}()[]+-*/^. ", max_size=60))
def test_no_text_breaks_it_and_nothing_differs_from_itself(text):
    assert not is_another_value(text, text)


@pytest.mark.parametrize(
    "text", ["(" * 300, "{" * 150 + "1" + "}" * 150, "9^{9^{9^{9}}}", "x" * 300, "1" * 300, "-" * 300]
)
def test_hostile_formulas_take_no_time(text):
    started = time.perf_counter()
    is_another_value(text, "7")
    assert time.perf_counter() - started < 1
