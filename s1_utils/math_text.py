"""Mathematical answers as text: one spelling for many, plain numbers, units, lists of them, and what is too large.

Knows the spellings of LaTeX and of plain text; knows no algebra (s1_utils.math_grader asks math-verify for that) and
never evaluates anything but bounded fractions. Nothing here depends on which of two answers is gold.
Source: s1 section 4.1 names no rules; these are MATH's customs (x=5 is 5, 90^\\circ is 90, 15\\% is 15 and 0.15).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

LONGEST = 2000  # characters of an answer
DEEPEST = 30  # brackets in brackets
MOST_DIGITS = 300  # of a number as it is written
LARGEST_POWER = 20_000  # digits of a power, worked out
LARGEST_FACTORIAL = 10_000
LARGEST_EXPONENT = 1000  # of ten, in a plain number

_SYMBOLS = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ "}
    | {"≤": r"\le ", "≥": r"\ge ", "∪": r"\cup ", "√": r"\sqrt ", "±": r"\pm ", "，": ",", "\u00a0": " "}
)
_TEXT = r"\\(?:boxed|fbox|text|mbox|textbf|textrm|textit|mathrm|mathbf|operatorname)\s*"
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"(?<!\\)\\!\s*", ""),
        (r"(?<!\\)\\(?:[,;:> ]|(?:q?quad|(?:display|text)style|limits)(?![A-Za-z]))|[~\n\t]", " "),
        (r"\\(?:left|right)\s*\.", ""),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\s*", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(le|ge)q(?:slant)?(?![A-Za-z])", r"\\\1"),
        (r"\{,\}", ","),
        (r"\\degree(?![A-Za-z])|\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?", " degrees"),
        (r"(?<=[\d}])\s*" + _TEXT + r"\{\s*([mgshLNJWVAKC])\s*\}", r" unit-\1"),
        (_TEXT + r"\{([^{}]*)\}", r" \1 "),
        (r"\s*,?\s+(?:and|or)\s+", ", "),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
        (r"(?<![\\A-Za-z])(sqrt|pi)(?![A-Za-z])", r"\\\1 "),
        (r"(?<![\\A-Za-z])(?:infinity|oo)(?![A-Za-z])", r"\\infty "),
        (r"\\sqrt\s*\(((?:[^()]|\([^()]*\))*)\)", r"\\sqrt{\1}"),
        (r"\^\s*\(((?:[^()]|\([^()]*\))*)\)", r"^{\1}"),
        (r"^\(\s*([A-Z])\s*\)$", r"\1"),  # a choice, such as (C)
        (r"([_^])\s*\{\s*([A-Za-z0-9])\s*\}(?!\d)", r"\1\2"),
        (r"^([-+$\\ ]*)(\d{1,3}(?:,\d{3})+)(?![\d,])", lambda m: m[1] + m[2].replace(",", "")),
        (r"\s+", " "),
        (r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", ""),
        (r"(?<=\d)\s+(?=[A-Za-z])(?!unit-)", ""),
        (r"\\+$", ""),
    ]
]
_WRAPPERS = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**")]

_WORDS = (
    "degrees? deg inch(?:es)? in feet foot ft yards? miles? mi mph cm mm km kg mg ml cents? dollars? seconds? sec "
    "minutes? min hours? hrs? days? weeks? months? years? units? met(?:er|re)s? (?:centi|kilo|milli)met(?:er|re)s? "
    "grams? lit(?:er|re)s? unit-[A-Za-z]"
).replace(" ", "|")
_UNIT = re.compile(
    rf"(?:(?<=[\d)}}\]])|(?<=\\pi))\s*((?:(?:square|sq\.?|cubic|cu\.?)\s*)?(?:{_WORDS})(?:(?:/|\s*per\s*)(?:{_WORDS}|h|s))?)"
    r"\.?(\s*\^\s*\{?[23]\}?)?$"
)
_PERCENT = re.compile(r"\s*(?:\\?%|percent)$")
_DOLLAR = re.compile(r"^([-+]?)\s*\\?\$")
_NAME = re.compile(r"^[A-Za-z](?:_\w)?(?:=|\\in(?![A-Za-z]))(?!.*[=<>])")

_NUM = r"(?:\d+(?:\.\d*)?|\.\d+)"
_FRAC = re.compile(rf"(?:(\d+) ?)?\\frac ?(?:\{{([-+]?{_NUM})\}}|(\d)) ?(?:\{{([-+]?{_NUM})\}}|(\d))")
_SLASH = re.compile(rf"(?:(\d+) )?({_NUM})/({_NUM})")
_POWER = re.compile(rf"(?:({_NUM})(?:\\times|\\cdot|x) ?)?10\^(?:\{{([-+]?\d+)\}}|([-+]?\d+))|({_NUM})[eE]([-+]?\d+)")


@dataclass(frozen=True)
class Answer:
    """An answer in the one spelling: its text, and the unit that was taken off it ("" if there was none)."""

    text: str
    unit: str


# ------------------------------------------------------------------ spelling


def read_answer(text: str) -> Answer:
    """`text` without what doesn't matter: wrappers, spacing, \\left, \\text, separators of thousands, its unit."""
    text = _rewrite(_unwrap(text))
    unit = ""
    if match := _DOLLAR.match(text):
        text, unit = match[1] + text[match.end() :], "dollar"
    elif match := _PERCENT.search(text):
        text, unit = text[: match.start()], "%"
    elif match := _UNIT.search(text):
        unit = re.sub(r"[\s.{}]", "", f"{match[1]}{match[2] or ''}".lower())
        text, unit = text[: match.start()], re.sub(r"s(?=$|\^|/)", "", unit)
    return Answer(text.replace("$", "").strip(), unit)


def _unwrap(text: str) -> str:
    text = text.strip()
    for _ in range(DEEPEST):
        before, text = text, text.rstrip(" .,;:").strip()
        for left, right in _WRAPPERS:
            inner = text[len(left) : -len(right)]
            alone = left not in inner.replace(r"\$", "")
            if alone and len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
                text = inner.strip()
        if (match := re.fullmatch(r"\\(?:boxed|fbox)\s*\{(.*)\}", text, re.DOTALL)) and is_balanced(match[1]):
            text = match[1].strip()
        if text == before:
            break
    return text


def _rewrite(text: str) -> str:
    text = text.translate(_SYMBOLS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text).strip()
    return text.rstrip(" .,;:")


def drop_name(text: str, other: str) -> str:
    """`text` without its leading "x=" or "x\\in", if `other` has none."""
    return _NAME.sub("", text) if not _NAME.match(other) else text


# ------------------------------------------------------------------ numbers and lists


def read_number(text: str) -> Fraction | None:
    """The exact value of a plain number: whole, decimal, fraction, mixed or with a power of ten; None for others."""
    if len(text) > MOST_DIGITS:
        return None
    sign = -1 if text.startswith("-") else 1
    body = text[1:] if text[:1] in ("-", "+") else text
    if re.fullmatch(_NUM, body):
        return sign * Fraction(body)
    if match := _FRAC.fullmatch(body):
        return _divide(sign, match[1], match[2] or match[3], match[4] or match[5])
    if match := _SLASH.fullmatch(body):
        return _divide(sign, *match.groups())
    if match := _POWER.fullmatch(body):
        exponent = match[2] or match[3] or match[5]
        if len(exponent) > 5 or abs(int(exponent)) > LARGEST_EXPONENT:
            return None
        return sign * Fraction(match[1] or match[4] or 1) * Fraction(10) ** int(exponent)
    return None


def _divide(sign: int, whole: str | None, top: str, bottom: str) -> Fraction | None:
    """±(whole + top/bottom); None for a division by zero, or where a mixed number has signs inside."""
    if not Fraction(bottom) or (whole and not (top + bottom).isdigit()):
        return None
    return sign * (int(whole or 0) + Fraction(top) / Fraction(bottom))


def compare_numbers(one: Answer, other: Answer) -> bool | None:
    """Whether both are the same plain number; None if either isn't one. Beside a plain one, 15 % is 15 and 0.15."""
    a, b = read_number(one.text), read_number(other.text)
    if a is None or b is None:
        return None
    if (one.unit == "%") == (other.unit == "%"):
        return a == b
    return a == b or (a / 100 == b if one.unit == "%" else a == b / 100)


def has_base(text: str) -> bool:
    """Whether `text` is a number with its base, such as 52_8; algebra systems drop the base."""
    return bool(re.fullmatch(r"[-+]?\(?\d[0-9A-Z]*\)?_\{?\d+\}?", text))


def compare_lists(one: str, other: str) -> bool | None:
    """Whether two lists, tuples, intervals or sets are the same; None if that takes algebra, or they are no lists.

    Round and square brackets keep their order and their kind; a set has none; a bare list is in any order beside
    another or a set, and in order beside a tuple.
    """
    a, b = split_list(one), split_list(other)
    if a is None or b is None:
        return None
    kinds = {a[0], b[0]}
    if len(kinds) == 2 and "" not in kinds:
        return False
    if "" in kinds and not kinds <= {"", "{}", "()"}:
        return None
    values_a, values_b = (
        [item if (number := read_number(item)) is None else number for item in items] for _, items in (a, b)
    )
    if kinds <= {"", "{}"}:
        values_a, values_b = sorted(values_a, key=repr), sorted(values_b, key=repr)
    if values_a == values_b:
        return True
    certain = all(isinstance(value, Fraction) for value in (*values_a, *values_b))
    return False if certain else None


def split_list(text: str) -> tuple[str, list[str]] | None:
    """(its brackets, items) of a list of two or more; "" for the brackets of a bare one."""
    if items := _split_at_commas(text):
        return "", items
    match = re.fullmatch(r"\\?([({\[])(.*?)\\?([)}\]])", text)
    items = _split_at_commas(match[2]) if match else None
    return (match[1] + match[3], items) if items else None


def _split_at_commas(text: str) -> list[str] | None:
    """The parts of `text` between its commas outside brackets; None if there is none, or a bracket isn't open."""
    depth, commas = 0, []
    for token in re.finditer(r"[(\[{)\]},]", text):
        if token[0] == ",":
            commas += [token.start()] if depth == 0 else []
            continue
        depth += 1 if token[0] in ("(", "[", "{") else -1
        if depth < 0:
            return None
    edges = [-1, *commas, len(text)]
    return [text[i + 1 : j] for i, j in pairwise(edges)] if commas else None


# ------------------------------------------------------------------ what no algebra system should see

_KNOWN = set(
    "sin cos tan cot sec csc log exp arcsin arccos arctan arccot sinh cosh tanh sqrt max min gcd lcm mod det "
    "pmatrix bmatrix vmatrix matrix array cases".split()
)


def is_prose(text: str) -> bool:
    """Whether `text`, in the one spelling, has words: three letters in a row that name no function, or foreign ones."""
    bare = re.sub(r"\\[A-Za-z]+", " ", text)
    return not bare.isascii() or bool(set(re.findall(r"[A-Za-z]{3,}", bare)) - _KNOWN)


def is_balanced(text: str) -> bool:
    """Whether every brace that groups is closed, in order."""
    depth = 0
    for token in re.findall(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(token, 0)
        if depth < 0:
            return False
    return depth == 0


def is_too_large(text: str) -> bool:
    """Whether working `text` out is known to be hopeless: very deep, or with a number no one can write down."""
    depth = deepest = 0
    for bracket in re.findall(r"[({\[)}\]]", text):
        depth += 1 if bracket in ("(", "{", "[") else -1
        deepest = max(deepest, depth)
    if deepest > DEEPEST or re.search(rf"\d{{{MOST_DIGITS + 1}}}", text):
        return True
    if any(int(n) > LARGEST_FACTORIAL for n in re.findall(r"(\d+)\s*!", text)):
        return True
    if re.search(r"\\(?:sum|prod)(?:_\{[^{}]*\}|_\w)\^\{[^{}]*(?:\d{5}|\d\^)", text):
        return True
    towers = re.findall(r"\d+(?:\s*\^[\s{(]*-?\d+)+", text)
    return any(_count_digits(list(map(int, re.findall(r"\d+", tower)))) > LARGEST_POWER for tower in towers)


def _count_digits(tower: list[int]) -> float:
    """How many digits tower[0] ** tower[1] ** … has."""
    exponent = 1.0
    try:
        for base in reversed(tower[1:]):
            exponent = float(base) ** exponent
    except OverflowError:
        return math.inf
    return exponent * math.log10(max(tower[0], 1))
