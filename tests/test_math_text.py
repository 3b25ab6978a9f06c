"""The one spelling of answers, plain numbers, lists of them, and what is refused."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.math_text import (
    Answer,
    compare_lists,
    compare_numbers,
    drop_name,
    is_balanced,
    is_prose,
    is_too_large,
    read_answer,
    read_number,
)

fractions = st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"\bigl[0,1\bigr)", "[0,1)"),
        (r"\left. x \right|", "x|"),
        (r"\leftarrow", r"\leftarrow"),
        (r"$\dfrac{1}{2}$.", r"\frac{1}{2}"),
        (r"\[ \tfrac{1}{2} \]", r"\frac{1}{2}"),
        (r"\(x\)", "x"),
        ("**7**", "7"),
        ("$$7$$", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{1}, \boxed{2}", "1,2"),
        (r"11,\! 111,\! 111", "11111111"),
        ("10{,}080", "10080"),
        ("1,234", "1234"),
        ("1, 234", "1,234"),
        ("(1,234)", "(1,234)"),
        (r"\text{(C)}", "C"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"4210_{5}", "4210_5"),
        (r"x^{10}", r"x^{10}"),
        (r"x^{2}3", r"x^{2}3"),
        (r"1\text{ and }3", "1,3"),
        ("x=16 and x=81", "x=16,x=81"),
        ("2^(n-1)", "2^{n-1}"),
        ("2**3*x", r"2^3\cdot x"),
        ("sqrt(3)/3", r"\sqrt{3}/3"),
        ("3π", r"3\pi"),
        ("−5", "-5"),
        ("x ≤ 3", r"x\le 3"),
        (r"x \leq 3", r"x\le 3"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("12 34", "12 34"),
        ("5.", "5"),
        (".5", ".5"),
        (r"5\,", "5"),
    ],
)
def test_spellings_of_one_thing_become_one(text, spelled):
    assert read_answer(text) == Answer(spelled, "")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"90^\circ", Answer("90", "degree")),
        (r"90^{\circ}", Answer("90", "degree")),
        ("90°", Answer("90", "degree")),
        ("90 degrees", Answer("90", "degree")),
        (r"\frac{270}7\text{ degrees}", Answer(r"\frac{270}7", "degree")),
        (r"\$32,\!348", Answer("32348", "dollar")),
        ("$18.90", Answer("18.90", "dollar")),
        (r"$\$18.90$.", Answer("18.90", "dollar")),
        ("18.90 dollars", Answer("18.90", "dollar")),
        (r"15\%", Answer("15", "%")),
        ("15 percent", Answer("15", "%")),
        (r"864 \mbox{ inches}^2", Answer("864", "inche^2")),
        (r"15\mbox{ cm}^2", Answer("15", "cm^2")),
        ("12 km/h", Answer("12", "km/h")),
        ("60 miles per hour", Answer("60", "milesperhour")),
        (r"5 \text{ m}", Answer("5", "unit-m")),
        (r"8\pi cm", Answer(r"8\pi", "cm")),
        ("5m", Answer("5m", "")),
        (r"2\mathrm{i}", Answer("2i", "")),
        ("10 or more", Answer("10,more", "")),
    ],
)
def test_a_unit_is_taken_off_only_where_it_is_one(text, answer):
    assert read_answer(text) == answer


@given(st.text(max_size=300))
def test_any_text_has_a_spelling(text):
    answer = read_answer(text)
    assert "$" not in answer.text


@pytest.mark.parametrize(
    ("text", "other", "left"),
    [
        ("x=5", "5", "5"),
        ("x=5", "y=5", "x=5"),
        (r"x\in[1,2]", "[1,2]", "[1,2]"),
        ("x_1=5", "5", "5"),
        ("a=b=5", "5", "a=b=5"),
        ("x=16,x=81", "16,81", "x=16,x=81"),
        (r"x\infty", "1", r"x\infty"),
        ("5", "x=5", "5"),
    ],
)
def test_a_name_is_dropped_only_where_the_other_has_none(text, other, left):
    assert drop_name(text, other) == left


# ------------------------------------------------------------------ numbers


@given(fractions)
def test_every_way_to_write_a_fraction_is_its_number(value):
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    for text in (f"{sign}{top}/{bottom}", f"{sign}\\frac{{{top}}}{{{bottom}}}", f"\\frac{{{sign}{top}}}{{{bottom}}}"):
        assert read_number(text) == value
    assert read_number(f"{sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}") == value
    assert read_number(f"{sign}{top // bottom} {top % bottom}/{bottom}") == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=8))
def test_a_decimal_is_its_exact_number(value):
    assert read_number(f"{value:f}") == Fraction(value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10^5", Fraction(10**5)),
        ("10^{-5}", Fraction(1, 10**5)),
        (r"1.5\times 10^3", Fraction(1500)),
        (r"1.5\cdot10^{3}", Fraction(1500)),
        ("1.5e3", Fraction(1500)),
        (r"\frac43", Fraction(4, 3)),
        (r"\frac 59", Fraction(5, 9)),
        (r"\frac9{19}", Fraction(9, 19)),
        ("-0", Fraction(0)),
        ("+7", Fraction(7)),
        (".5", Fraction(1, 2)),
    ],
)
def test_plain_numbers_are_read_exactly(text, number):
    assert read_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "x",
        "1/0",
        r"\frac{1}{0}",
        "--5",
        "52_8",
        "1,2",
        "2^10",
        "10^{1001}",
        "1e99999",
        "10^{" + "9" * 200 + "}",
        "9" * 301,
        "1/2/3",
        r"2\frac{-1}{2}",
        "5-3",
        "nan",
        "inf",
        "0x10",
        "1_000",
    ],
)
def test_what_is_no_plain_number_is_not_guessed_at(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("15", "%"), ("15", "%"), True),
        (("15", "%"), ("15", ""), True),
        (("15", "%"), ("0.15", ""), True),
        (("0.15", "%"), ("15", "%"), False),
        (("0.15", "%"), ("15", ""), False),
        (("x", "%"), ("15", ""), None),
    ],
)
def test_a_percentage_is_its_number_or_its_share(one, other, same):
    assert compare_numbers(Answer(*one), Answer(*other)) is same
    assert compare_numbers(Answer(*other), Answer(*one)) is same


# ------------------------------------------------------------------ lists


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("(1,2)", "(2,1)", False),
        ("(1,2)", "(1.0,4/2)", True),
        ("(1,2)", "(1,2,3)", False),
        (r"\{1,2\}", r"\{2,1\}", True),
        (r"\{1,2\}", "{2,1}", True),
        (r"\{1,2\}", "(1,2)", False),
        (r"\{1,2\}", "2,1", True),
        ("1,2", "2,1", True),
        ("1,2", "1,3", False),
        ("1,1,2", "1,2,2", False),
        ("(1,2)", "1,2", True),
        ("(1,2)", "2,1", False),
        ("(1,2)", "[1,2)", False),
        ("[1,2]", "1,2", None),
        ("(1,2),(3,4)", "(3,4),(1,2)", True),
        (r"(3,\frac12)", "(3,0.5)", True),
        (r"(1,\sqrt2)", r"(1,\sqrt{2})", None),
        ("(a+5)(b+2)", "(1,2)", None),
        (r"(0,9)\cup(9,36)", "(0,9)", None),
        ("]0,1[", "(0,1)", None),
        ("(5)", r"\{5\}", None),
        ("1,2", "12", None),
        (r"\frac{1,2}{3}", "1,2", None),
    ],
)
def test_lists_keep_the_order_and_the_brackets_that_matter(one, other, same):
    assert compare_lists(one, other) is same
    assert compare_lists(other, one) is same


@given(st.lists(fractions, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_set_has_no_order_and_a_tuple_has(items, random):
    shuffled = random.sample(items, len(items))
    a, b = (",".join(map(str, each)) for each in (items, shuffled))
    assert compare_lists(rf"\{{{a}\}}", rf"\{{{b}\}}") is True
    assert compare_lists(f"({a})", f"({b})") is (items == shuffled)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("text", ["Evelyn", "the set of primes", r"\text{Evelyn}", "素数", "1 is the only one", "x=½"])
def test_words_are_prose(text):
    assert is_prose(text)


@pytest.mark.parametrize(
    "text", ["x", "ab", r"\sin x+\cos y", "sin(x)", r"\begin{pmatrix}1\\2\end{pmatrix}", r"\frac{\pi}{2}", r"1+2i", ""]
)
def test_formulas_are_no_prose(text):
    assert not is_prose(text)


@pytest.mark.parametrize("text", ["{", "}", "}{", r"\frac{1}{2", r"{\}"])
def test_an_open_brace_is_noticed(text):
    assert not is_balanced(text)


@pytest.mark.parametrize("text", ["", "{}", r"\{", r"\}", "(3,4]", r"\frac{1}{2}"])
def test_escaped_braces_and_brackets_need_no_partner(text):
    assert is_balanced(text)


@pytest.mark.parametrize(
    "text",
    [
        "9^9^9^9",
        "9^{9^{9^9}}",
        "10^{10^{10}}",
        "2^{100000}",
        "99999!",
        r"\sum_{k=1}^{10^9}k",
        r"\prod_{k=1}^{123456}k",
        "(" * 31 + ")" * 31,
        "1" * 301,
        "2^{-1000000}",
        "9" * 300 + "^" + "9" * 300,
    ],
)
def test_what_is_hopeless_is_too_large(text):
    assert is_too_large(text)


@pytest.mark.parametrize(
    "text",
    [
        "2^{100}",
        "10^{100}",
        "2^{2^5}",
        "2^{2023}-1",
        "100!",
        r"\frac{2017!}{2016!}",
        "x^{2^5}",
        "(" * 30 + ")" * 30,
        "1" * 300,
        r"\sum_{k=1}^{n}k",
        r"\sum_{k=0}^{\infty}\frac{1}{2^k}",
        "(2^{10})^{10}",
        "",
    ],
)
def test_what_people_write_is_not_too_large(text):
    assert not is_too_large(text)


@pytest.mark.parametrize(
    "unit",
    [
        "{",
        "(",
        r"\boxed{",
        "^",
        "9^",
        " ",
        "1,",
        r"\text{",
        "$",
        r"\frac",
        "a and ",
        "1 ",
        r"\\",
        "[({",
        "\\!",
        "sqrt(",
        "^(",
        "^{2",
        "1,234",
        "\n",
    ],
)
def test_no_text_of_the_longest_kind_takes_long(unit):
    text = (unit * 2000)[:2000]
    started = time.perf_counter()
    answer = read_answer(text)
    read_number(answer.text)
    compare_lists(answer.text, answer.text)
    is_too_large(answer.text)
    assert time.perf_counter() - started < 2
