"""The child that grades: verdicts that depend on no other pair, hostile pairs that take only themselves down."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s1_utils import math_child

GOOD = [  # (answer, gold, whether they are equal)
    (r"\sin x+1", r"1+\sin x", True),
    (r"\frac{\cos x}{\sin x}", r"\cot x", True),
    ("2^{n-1}", r"\frac{2^n}{2}", True),
    (r"\{-2,1-\sqrt{5},1+\sqrt5\}", r"\{1\pm\sqrt{5},-2\}", True),
    (r"(2,\infty)", "x>2", True),
    (r"\binom{2n}{n}", r"\frac{(2n)!}{(n!)^2}", True),
    ("n!", "(n+1)!", False),
    (r"\sin x", r"\cos x", False),
    ("x<2", r"(2,\infty)", False),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", False),
    (r"\log 2", r"\log 3", False),
    ("3+4i", "4+3i", False),
]
ENDLESS = (r"\int_0^{\infty}\frac{\sin(x^{7})e^{-x^{3}}}{1+x^{11}}dx", "x^2-1")
LARGE = (r"(1+x)^{99999}(1-x)^{99999}", "x^2-1")
BROKEN = (r"\frac{", "1")
SCRIPT = """
import json, sys
from s1_utils import math_child

given = json.loads(sys.stdin.read())
{before}
replies = list(math_child.work_out([tuple(pair) for pair in given["pairs"]], **given["options"]))
json.dump(replies, sys.stdout)
"""


def work_out(pairs, before="math_child.rehearse()", **options):
    """The verdicts [correct, how] in order, from a process of its own, as it forks; each pair has exactly one."""
    options = {"seconds": 20.0, "workers": 2} | options
    done = run_python(SCRIPT.format(before=before), json.dumps({"pairs": pairs, "options": options}))
    replies = json.loads(done.stdout)
    assert sorted(number for number, *_ in replies) == list(range(len(pairs)))
    return [verdict for _, *verdict in sorted(replies)]


def run_python(script, text):
    return subprocess.run(
        [sys.executable, "-c", script],
        input=text, capture_output=True, text=True, timeout=120, check=True, cwd=Path(__file__).resolve().parents[1],
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    """Pair → its verdict in a fork of its own."""
    pairs = [*((answer, gold) for answer, gold, _ in GOOD), BROKEN]
    return dict(zip(pairs, work_out(pairs, batch=1), strict=True))


def test_verdicts_are_those_of_algebra(alone):
    assert [alone[answer, gold] for answer, gold, _ in GOOD] == [[same, "math-verify"] for *_, same in GOOD]


@pytest.mark.parametrize("batch", [2, 5, 100])
@pytest.mark.parametrize("workers", [1, 3])
def test_verdicts_depend_on_neither_order_nor_batch_nor_workers(alone, batch, workers):
    pairs = random.Random(batch).choices(list(alone), k=30)
    assert work_out(pairs, batch=batch, workers=workers) == [alone[pair] for pair in pairs]


@pytest.mark.parametrize("place", [0, 5, 12])
def test_a_hostile_pair_takes_only_itself_down(alone, place):
    pairs = list(alone)
    pairs.insert(place, ENDLESS)
    found = work_out(pairs, seconds=2.0, workers=1)
    assert found.pop(place) == [False, "timeout"]
    assert found == list(alone.values())


def test_pairs_that_are_hostile_one_and_all_end_in_time():
    started = time.monotonic()
    found = work_out([ENDLESS, LARGE] * 4, seconds=0.5, workers=2)
    assert time.monotonic() - started < 8 * 0.5 * 1.5 / 2 + 5  # the start
    assert {correct for correct, _ in found} == {False}


# a pair asks for what is added up here, instead of math-verify: memory to keep, an end, a wait, or only a verdict
ACTS = """
import mmap, os, time
kept = []
def act(answer, gold):
    if answer == "end":
        os._exit(1)
    if answer == "wait":
        time.sleep(float(gold))
    elif answer == "take":
        try:
            kept.append(bytearray(int(gold) * 2**20))
        except MemoryError:
            return [False, "too large"]
    elif answer == "reserve":  # address space, no memory
        try:
            kept.append(mmap.mmap(-1, int(gold) * 2**20))
        except OSError:
            return [False, "too large"]
    return [True, str(len(kept))]
math_child.ask_math_verify = act
"""


def test_what_takes_too_much_memory_or_ends_its_process_is_too_large():
    pairs = [("go", ""), ("take", "2000"), ("go", ""), ("end", ""), ("go", "")]
    large = [False, "too large"]
    good = [True, "0"]
    for batch in (1, 5):
        assert work_out(pairs, ACTS, batch=batch, workers=1) == [good, large, good, large, good]


def test_what_neighbours_took_of_the_memory_is_not_missed():
    """Each fits alone and all don't together: what takes much, or fails beside others, is worked out alone."""
    assert work_out([("take", "400")] * 6, ACTS, workers=1) == [[True, "1"]] * 6
    assert all(correct for correct, _ in work_out([("reserve", "600")] * 6, ACTS, workers=1))


def test_a_pair_that_is_slow_beside_others_gets_all_of_its_seconds():
    pairs = [("wait", "0.6"), ("go", ""), ("wait", "0.6"), ("wait", "9")]
    good = [True, "0"]
    assert work_out(pairs, ACTS, seconds=1.0, workers=1) == [good, good, good, [False, "timeout"]]


def test_a_batch_is_one_process():
    """However long all of its pairs take together."""
    before = "import os, time\nmath_child.ask_math_verify = lambda *_: [time.sleep(0.15) is None, str(os.getpid())]"
    found = work_out([("x", "y")] * 10, before, seconds=4.0, batch=5, workers=1)
    assert [len({how for _, how in part}) for part in (found[:5], found[5:], found)] == [1, 1, 2]


def test_there_are_never_more_forks_than_workers():
    started = time.monotonic()
    assert work_out([("wait", "0.6")] * 4, ACTS, batch=1, workers=1) == [[True, "0"]] * 4
    assert time.monotonic() - started >= 4 * 0.6


def test_random_points_are_the_same_for_every_pair():
    before = "import random, sympy.core.random as points\n"
    before += "ask = math_child.ask_math_verify\n"
    before += "def act(*pair):\n    ask(*pair)\n    return [True, f'{random.random()} {points.rng.random()}']\n"
    before += "math_child.ask_math_verify = act"
    assert len({how for _, how in work_out([("1", "2")] * 6, before, batch=3)}) == 1


def test_a_reader_is_readable_when_there_is_something_or_its_writer_ended():
    reader, writer = os.pipe()
    assert not math_child.is_readable(reader, 0.01)
    os.write(writer, b"x")
    assert math_child.is_readable(reader, 0.01)
    assert os.read(reader, 10) == b"x"
    os.close(writer)
    assert math_child.is_readable(reader, 0.01)
    os.close(reader)
