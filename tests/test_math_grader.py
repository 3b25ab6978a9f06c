"""Grading mathematics: what is equal, what isn't, what is left undecided, and that nothing hangs or kills the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils import math_grader
from s1_utils.errors import StudyError
from s1_utils.grading import extract_answer
from s1_utils.math_child import is_readable
from s1_utils.math_grader import Grade, decide_cheaply, grade_expressions, grade_table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

EQUAL = [  # (answer, gold)
    ("0.5", r"\frac{1}{2}"),
    ("1/2", r"\frac12"),
    (r"\dfrac{14}{3}", r"\frac{14}{3}"),
    (r"4\frac{2}{3}", r"\frac{14}{3}"),
    (r"-\frac{1}{6}\pi", r"-\frac{\pi}{6}"),
    ("-0", "0"),
    ("100000", "10^{5}"),
    (r"6.72 \times 10^{-5}", ".0000672"),
    ("10080", r"10,\!080"),
    ("15", r"15\%"),
    ("0.15", r"15\%"),
    ("90", r"90^\circ"),
    ("90 degrees", r"90^\circ"),
    ("5.40", r"5.4 \text{ cents}"),
    ("$36", r"\$36"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("2x+3", "y = 2x + 3"),
    ("3+2x", "y = 2x + 3"),
    ("(3, \\pi/2)", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"(3, \frac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\{-2, 1-\sqrt{5}, 1+\sqrt5\}", r"\{1\pm\sqrt{5},-2\}"),
    ("7, 5, 3", "3, 5, 7"),
    ("-2 and 1", "1,-2"),
    (r"\sqrt{12}", r"2\sqrt{3}"),
    (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt{3}}"),
    ("sqrt(3)/3", r"\frac{\sqrt{3}}{3}"),
    ("3sqrt(13)", r"3\sqrt{13}"),
    (r"\frac{\cos x}{\sin x}", r"\cot x"),
    ("(b+2)(a+5)", "(a+5)(b+2)"),
    ("ab+2a+5b+10", "(a+5)(b+2)"),
    ("2^(n-1)", r"\frac{2^n}{2}"),
    ("n(n-3)/2", r"\frac{n^2-3n}{2}"),
    ("n*(n-1)", "n^2-n"),
    (r"\begin{bmatrix} -2 \\ -14 \\ -7 \end{bmatrix}", r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}"),
    (r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}", r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}"),
    (r"(-\infty, 2)\cup(3, \infty)", r"(-\infty, 2) \cup (3, \infty)"),
    (r"(3,\infty)\cup(-\infty,2)", r"(-\infty, 2) \cup (3, \infty)"),
    ("[-2,7]", r"x \in [-2,7]"),
    ("x>2", r"(2, \infty)"),
    (r"(2, \infty)", "x>2"),
    ("1+274i", "274i+1"),
    ("4210_5", r"4210_{5}"),
    ("C", r"\text{(C)}"),
    ("evelyn", r"\text{Evelyn}"),
    (r"\boxed{42}", "42"),
    (r"1-\sqrt{19}, 1+\sqrt{19}", r"1 \pm \sqrt{19}"),
    ("10y + 4 = 5x - 2y", "5x - 12y - 4 = 0"),
]
DIFFERENT = [
    ("0.33", r"\frac{1}{3}"),
    ("0.333333", r"\frac{1}{3}"),
    ("1.5%", r"15\%"),
    (r"\frac{15}{1000}", r"15\%"),
    ("(2,1)", "(1,2)"),
    ("(1,2]", "(1,2)"),
    ("(1,2)", r"\{1,2\}"),
    (r"\{1,2,3\}", r"\{1,2\}"),
    ("3, 5", "3, 5, 7"),
    ("y=5", "x=5"),
    ("14/5", "1 4/5"),
    ("12", "1 2"),
    ("-5", "5"),
    (r"\sqrt{3}", r"\sqrt{2}"),
    (r"2\sqrt3", r"3\sqrt{2}"),
    ("3", r"\pi"),
    ("3.14", r"\pi"),
    (r"\frac{22}{7}", r"\pi"),
    ("2k", "2k+2"),
    ("x^2+1", "x^2-1"),
    ("2d", "2c"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    ("i", "1"),
    ("B", r"\text{(C)}"),
    ("52_9", "52_8"),
    (r"[2,\infty)", r"(2,\infty)"),
    ("x>3", "x<3"),
    ("x + 1", "y + 1"),
    ("4", "5x - 7y + 11z = 4"),
    ("x<2", "(2, \\infty)"),
]
UNDECIDED = [
    ("the set of all primes", "all primes"),
    ("Navin", r"\text{Evelyn}"),
    ("all primes}", "all primes"),
    ("5 apples", "5"),
    ("52", "52_8"),
    ("5 cm", r"5\text{ inches}"),
    ("7", "C(10, 5), or equivalently 252"),
    ("7", r"\frac{1}{2"),
    ("7", "9^9^9^9"),
    ("7", "x" * 2001),
]
HOSTILE = {
    "a tower of powers": "9^9^9^9",
    "a tower with braces": "10^{10^{10^{10}}}",
    "a tower in parentheses": "(9^{9^9})^{9^9}",
    "a million digits": "1" * 1_000_000,
    "two thousand digits": "1" * 1999,
    "a huge factorial": "999999999!",
    "factorials of factorials": "(((9!)!)!)!",
    "a huge binomial": r"\binom{10^9}{5 \cdot 10^8}",
    "an open brace": r"\frac{1}{2",
    "a megabyte": "x+" * 500_000,
    "ten thousand boxes": r"\boxed{" * 10_000 + "5" + "}" * 10_000,
    "two hundred boxes": r"\boxed{" * 200 + "5" + "}" * 200,
    "parentheses to the bottom": "(" * 999 + "1" + ")" * 999,
    "roots of roots": r"\sqrt{" * 200 + "2" + "}" * 200,
    "many roots": "+".join(rf"\sqrt{{{n}}}" for n in range(2, 140)),
    "a long sum": r"\sum_{k=1}^{10^{9}} \frac{1}{k^2+\sin k}",
    "a long product": r"\prod_{k=1}^{99999999} (1+\frac{1}{k^3})",
    "a long sum of few digits": r"\sum_{k=1}^{9999} \sum_{j=1}^{9999} \frac{1}{j^2+k^3}",
    "an integral": r"\int_0^{\infty} \frac{\sin(x^{7})e^{-x^{3}}}{1+x^{11}} dx",
    "an expansion": "(a+b+c+d+f+g+h)^{999}",
    "a macro": r"\def\x{\x\x}\x",
    "a power of a sum": "(1+x)^{99999}(1-x)^{99999}",
    "code": "__import__('os').system('touch hacked')",
    "another script": "答案" * 900,
    "a null byte": "5\0",
    "a lone surrogate": "5\ud800",
    "dots": "." * 1999,
    "carets": "^" * 1999,
    "commas": "1," * 999,
    "an equation of degree 40": "x^{40}+3x^{39}-17x^{2}+x=12345",
}
ALGEBRA = (r"\sin x+1", r"1+\sin x")  # what no rule decides


def grade_one(answer, gold, **settings_):
    return grade_expressions([(answer, gold)], **settings_)[0]


@pytest.fixture(scope="module")
def verdicts():
    """The grades of all tables above, in one call, and of the hostile answers, with the seconds they took."""
    pairs = [*EQUAL, *DIFFERENT, *UNDECIDED]
    grades = dict(zip(pairs, grade_expressions(pairs, seconds_each=20), strict=True))
    started = time.monotonic()
    found = grade_expressions([(text, r"\frac{\sqrt{7}}{3}") for text in HOSTILE.values()], seconds_each=0.5)
    return grades, dict(zip(HOSTILE, found, strict=True)), time.monotonic() - started


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize("pair", EQUAL)
def test_equal_answers_are_right(verdicts, pair):
    assert verdicts[0][pair].correct is True


@pytest.mark.parametrize("pair", DIFFERENT)
def test_different_answers_are_wrong(verdicts, pair):
    assert verdicts[0][pair].correct is False


@pytest.mark.parametrize("pair", UNDECIDED, ids=lambda pair: str(pair)[:40])
def test_what_cannot_be_decided_is_left_to_a_judge(verdicts, pair):
    assert verdicts[0][pair].correct is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_never_right(verdicts, name):
    assert verdicts[1][name].correct is not True
    assert verdicts[1][name].how != "no answer"


def test_hostile_answers_cost_at_most_their_seconds(verdicts):
    _, grades, took = verdicts
    assert took < 0.5 * len(grades) + 20  # the children's start
    assert sum(grade.how == "timeout" for grade in grades.values()) >= 3


def test_hostile_answers_leave_nothing_behind(verdicts):
    assert not Path("hacked").exists()


@pytest.mark.parametrize("gold", HOSTILE.values(), ids=HOSTILE)
def test_hostile_gold_never_makes_an_answer_wrong_for_its_size(gold):
    grade = decide_cheaply("x+1", gold)
    assert grade is None or grade.correct is None


@pytest.mark.parametrize("gold", [None, float("nan"), pd.NA, "", "  "], ids=["None", "nan", "NA", "empty", "blank"])
def test_without_gold_nothing_is_decided(gold):
    assert grade_one("5", gold) == Grade(None, "no gold")


@pytest.mark.parametrize("answer", [None, float("nan"), pd.NA, "", "  "], ids=["None", "nan", "NA", "empty", "blank"])
def test_no_answer_is_wrong(answer):
    assert grade_one(answer, "5") == Grade(False, "no answer")


def test_how_says_what_decided():
    pairs = [
        ("x", "x"),
        ("1/2", "0.5"),
        ("x+1", "1+x"),
        ("x+1", "2+x"),
        ALGEBRA,
        ("x" * 2001, "5"),
        ("{", "5"),
        ("9^9^9^9", "5"),
        ("no idea", "5"),
    ]
    grades = grade_expressions(pairs)
    assert [grade.how for grade in grades] == [
        "same text", "same number", "same value", "another value", "math-verify", "too long", "unparsable", "too large",
        "unparsable",
    ]  # fmt: skip
    assert [grade.correct for grade in grades] == [True, True, True, False, True, False, False, False, None]


@pytest.mark.parametrize("answer", [r"\frac{\sqrt{2}}{100}", r"2\sqrt{2}"])
def test_a_percentage_of_what_is_no_number_is_left_to_algebra(answer):
    assert decide_cheaply(answer, r"\sqrt{2}\%") is None


def test_pairs_that_occur_twice_are_graded_in_their_places():
    grades = grade_expressions([("2", "1"), ("1", "1"), ("2", "1"), ("3", "1")])
    assert [grade.correct for grade in grades] == [False, True, False, False]


def test_too_little_time_is_a_timeout_and_wrong():
    assert grade_one(r"\int_0^1 e^{-x^{7}\sin x} dx", "x^2-1", seconds_each=0.001) == Grade(False, "timeout")


# ------------------------------------------------------------------ properties

expressions = st.sampled_from([side for pair in [*EQUAL, *DIFFERENT] for side in pair])


@given(expressions)
def test_every_answer_equals_itself(text):
    assert decide_cheaply(text, text).correct is True


@settings(max_examples=3)
@given(st.lists(st.tuples(expressions, expressions), min_size=1, max_size=12), st.integers(1, 3), st.randoms())
def test_grades_depend_on_neither_order_nor_workers(pairs, workers, random):
    shuffled = random.sample(pairs, len(pairs))
    grades = dict(zip(pairs, grade_expressions(pairs, workers=1, seconds_each=30), strict=True))
    again = grade_expressions(shuffled, workers=workers, seconds_each=30)
    assert again == [grades[pair] for pair in shuffled]


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_what_is_decided_without_algebra(answer, gold):
    grade = decide_cheaply(answer, gold)
    assert grade is None or grade.correct in (True, False, None)


def test_grading_works_from_threads():
    found = []
    threads = [threading.Thread(target=lambda: found.append(grade_one(*ALGEBRA))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Grade(True, "math-verify")] * 2


def test_a_child_has_no_secrets(tmp_path):
    spy = tmp_path / "python"
    spy.write_text(f'#!/bin/sh\nenv > {tmp_path}/environment\nexec {sys.executable} "$@"\n')
    spy.chmod(0o755)
    script = f"import sys; sys.executable = {str(spy)!r}\nfrom s1_utils.math_grader import *\n"
    script += f"print(grade_expressions([{ALGEBRA}])[0].correct)"
    done = run_python(script, env=os.environ | {"ANTHROPIC_API_KEY": "sk-secret"})
    assert done.stdout.strip() == "True"
    assert "secret" not in (tmp_path / "environment").read_text()


def test_no_fork_outlives_its_grading(tmp_path, monkeypatch):
    spy, pipe = tmp_path / "python", tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    spy.write_text(f'#!/bin/sh\nexec 9> {pipe}\nexec {sys.executable} "$@"\n')  # held open by the child and its forks
    spy.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(spy))
    with open(tmp_path / "pairs", "w+") as pairs:
        pairs.writelines(json.dumps(pair) + "\n" for pair in (ALGEBRA, (HOSTILE["an integral"], "x^2-1")))
        pairs.seek(0)
        with math_grader._run_child(pairs, 400.0, 1) as child:
            assert json.loads(child.stdout.readline()) == [0, True, "math-verify"]  # now its fork is at the integral
            assert not is_readable(held, 0.5)
    assert is_readable(held, 10)  # its last writer is gone
    os.close(held)


def test_where_children_cannot_run_an_error_says_so(tmp_path):
    script = "import sys; sys.executable = 'false'\nfrom s1_utils.math_grader import *\n"
    script += "from s1_utils.errors import StudyError\n"
    script += f"try:\n    grade_expressions([{ALGEBRA}] * 3)\nexcept StudyError as error:\n    print(error)"
    assert "math-verify is installed" in run_python(script).stdout


def test_importing_the_grader_is_light():
    done = run_python("import sys, s1_utils.math_grader; print([m for m in ('sympy', 'pandas') if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def run_python(script, **options):
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=120, check=True, **options
    )


# ------------------------------------------------------------------ tables


def test_only_rows_of_expressions_are_graded():
    table = pd.DataFrame(
        {
            "extracted": ["1/2", "B", "1/3", None],
            "gold": ["0.5", "B", None, "7"],
            "answer_type": ["expression", "choice", "expression", "expression"],
            "correct": pd.array([None, True, None, None], dtype="boolean"),
            "grader": "exact",
        },
        index=[4, 4, 2, 9],
    )
    graded = grade_table(table)
    assert graded["correct"].tolist() == [True, True, pd.NA, False]
    assert graded["grader"].tolist() == ["math", "exact", "math", "math"]
    assert graded["how"].tolist() == ["same number", pd.NA, "no gold", "no answer"]
    assert graded["correct"].dtype == "boolean"


def test_a_table_without_grades_gets_its_columns_and_keeps_its_own():
    table = pd.DataFrame({"extracted": ["5"], "gold": ["5"], "answer_type": ["integer"], "id": [1]})
    graded = grade_table(table)
    assert graded[["correct", "grader", "how"]].isna().all(axis=None)
    assert list(table.columns) == ["extracted", "gold", "answer_type", "id"]


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(StudyError, match="gold"):
        grade_table(pd.DataFrame({"extracted": ["5"], "answer_type": ["expression"]}))


# ------------------------------------------------------------------ real answers


@pytest.fixture(scope="module")
def golds():
    if not (DATA / "math500.jsonl").exists():
        pytest.skip("no MATH500 here")
    with open(DATA / "math500.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def reformat(text):
    text = text.replace(r"\left(", "(").replace(r"\right)", ")").replace(r"\dfrac", r"\frac")
    return text.replace(r"\frac", r"\dfrac").replace("(", r"\left( ").replace(")", r" \right)").replace("+", " + ")


def test_every_real_gold_answer_equals_itself_in_another_format(golds):
    pairs = [(reformat(row["answer"]), row["answer"]) for row in golds]
    wrong = [pair for pair, grade in zip(pairs, grade_expressions(pairs), strict=True) if grade.correct is not True]
    assert not wrong


def test_the_boxed_answer_of_every_real_solution_is_right(golds):
    pairs = [(extract_answer(row["solution"], "expression"), row["answer"]) for row in golds]
    grades = grade_expressions(pairs)
    assert sum(grade.correct is True for grade in grades) >= 0.99 * len(pairs)
    assert not [pair for pair, grade in zip(pairs, grades, strict=True) if grade.correct is False]
