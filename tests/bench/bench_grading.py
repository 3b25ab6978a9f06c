r"""Grading real golds: verdicts, the time of 10,000 answers, math-verify alone. A benchmark, not a test.

    python tests/bench/bench_grading.py [--data FOLDER] [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. FOLDER: math500.jsonl, gsm8k_test.jsonl, olympiadbench.jsonl and aime24.jsonl as their projects
publish them; what isn't there is left out, and without any of them golds are made up. What was decided before the first
run: `REWRITINGS` of a gold that keep its value (each where it applies) and `WRONGS` that change it; what is right is
right by how an answer was made, never by a grader. math-verify alone: verify(parse(gold), parse(answer)) by its
defaults, both in dollars, one after another in one process; ours takes two. `--quick` takes every eighth gold and 400
answers, too few to compare throughputs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from reporting import finish, report, say

from s1_utils.grading import extract_answer
from s1_utils.math_grader import decide_cheaply, grade_expressions
from s1_utils.math_text import is_prose, read_answer, read_number
from s1_utils.regrading import regrade

SEED, ANSWERS, WORKERS, SHOWN = 0, 10_000, 2, 5

# ------------------------------------------------------------------ golds


def read_golds(folder: Path | None) -> dict[str, list[str]]:
    """Set → its gold answers; made up where there is no folder with any of the files."""
    readers: dict[str, tuple[str, Callable[[dict], str | None]]] = {
        "MATH500": ("math500.jsonl", lambda row: row["answer"]),
        "GSM8K": ("gsm8k_test.jsonl", lambda row: row["answer"].rpartition("####")[2]),
        "OlympiadBench": ("olympiadbench.jsonl", lambda row: (row["final_answer"] or [None])[0]),
        "AIME24": ("aime24.jsonl", lambda row: row["answer"]),
    }
    found = {}
    for name, (file, read) in readers.items():
        if folder and (folder / file).is_file():
            golds = (read(json.loads(line)) for line in (folder / file).read_text("utf-8").splitlines())
            found[name] = [unwrap(gold) for gold in golds if gold and gold.strip()]
    return found or {"made up": make_golds(600)}


def unwrap(gold: str) -> str:
    gold = gold.strip()
    return gold[1:-1].strip() if re.fullmatch(r"\$[^$]+\$", gold) else gold


def make_golds(count: int) -> list[str]:
    rng = random.Random(SEED)
    n = lambda: rng.randint(2, 99)  # noqa: E731
    forms = [
        lambda: str(rng.randint(-99, 99_999)), lambda: rf"\frac{{{n()}}}{{{n()}}}", lambda: rf"{n()}\sqrt{{{n()}}}",
        lambda: rf"\left({n()}, \frac{{\pi}}{{{n()}}}\right)", lambda: rf"x^2+{n()}x-{n()}", lambda: rf"{n()}^\circ",
        lambda: rf"[{n()}, \infty)", lambda: rf"\frac{{{n()}-\sqrt{{{n()}}}}}{{{n()}}}", lambda: f"{n()}, {n()}",
    ]  # fmt: skip
    return [rng.choice(forms)() for _ in range(count)]


# ------------------------------------------------------------------ the same answer, written otherwise


def read_whole(gold: str) -> int | None:
    return int(gold) if re.fullmatch(r"-?(?:0|[1-9]\d{0,14})", gold) else None


def write_decimal(gold: str) -> str | None:
    """A fraction that terminates, as a decimal."""
    match = re.fullmatch(r"(-?)\\d?frac\{(\d{1,6})\}\{(\d{1,6})\}", gold)
    if not match or not int(match[3]):
        return None
    value = Fraction(int(match[2]), int(match[3]))
    places = next((k for k in range(1, 7) if (value * 10**k).denominator == 1), None)
    return f"{match[1]}{float(value):.{places}f}" if places else None


def write_thousands(gold: str, comma: str) -> str | None:
    whole = read_whole(gold)
    return f"{whole:,}".replace(",", comma) if whole is not None and abs(whole) >= 1000 else None


def resize(gold: str) -> str | None:
    """Parentheses and brackets that match, with \\left and \\right, or without."""
    if r"\left" in gold:
        return gold.replace(r"\left", "").replace(r"\right", "")
    pairs = re.sub(r"\\begin.*\\end\{\w+\}", "", gold, flags=re.DOTALL)
    if not re.search(r"[(\[]", pairs) or pairs != gold or is_prose(gold):
        return None
    return re.sub(r"(?<!\\)([)\]])", r"\\right\1", re.sub(r"(?<!\\)([(\[])", r"\\left\1", gold))


def name_value(gold: str) -> str | None:
    """ "x=" before what is no relation, list or word, and has no x of its own."""
    return None if re.search(r"[=<>,x]|\\[lg]e|\\in|\\text|\\approx", gold) or is_prose(gold) else f"x={gold}"


def space_out(gold: str) -> str | None:
    spaced = re.sub(r"(?<=[\w})])([-+=])(?=[\w\\({])", r" \1 ", re.sub(r",(?!\s|\d{3}|\\|\})", ", ", gold))
    return spaced if spaced != gold and r"\text" not in gold else None


def swap(gold: str, old: str, new: str) -> str | None:
    return gold.replace(old, new) if old in gold else None


def add_unit(gold: str) -> str | None:
    return rf"{gold} \text{{ units}}" if read_number(gold) is not None else None


REWRITINGS: dict[str, Callable[[str], str | None]] = {
    "itself": lambda gold: gold,
    r"\frac as \dfrac": lambda gold: swap(gold, r"\frac", r"\dfrac"),
    r"\dfrac as \frac": lambda gold: swap(gold, r"\dfrac", r"\frac"),
    "spaces": space_out,
    "$…$": lambda gold: None if "$" in gold else f"${gold}$",
    r"\(…\)": lambda gold: None if "$" in gold else rf"\({gold}\)",
    r"\boxed": lambda gold: rf"\boxed{{{gold}}}",
    "a full stop": lambda gold: f"{gold}.",
    "units": add_unit,
    "decimal": write_decimal,
    "thousands 1,000": lambda gold: write_thousands(gold, ","),
    "thousands 1{,}000": lambda gold: write_thousands(gold, "{,}"),
    r"thousands 1,\!000": lambda gold: write_thousands(gold, r",\!"),
    "x=": name_value,
    r"\left \right": resize,
    "a degree sign": lambda gold: swap(swap(gold, r"^{\circ}", r"^\circ") or gold, r"^\circ", "°"),
    "degrees as a word": lambda gold: swap(swap(gold, r"^{\circ}", r"^\circ") or gold, r"^\circ", " degrees"),
    "without a degree sign": lambda gold: swap(swap(gold, r"^{\circ}", r"^\circ") or gold, r"^\circ", ""),
}

# ------------------------------------------------------------------ other answers


def shift(gold: str, by: int) -> str | None:
    whole = read_whole(gold)
    return None if whole is None else str(whole + by)


def negate(gold: str) -> str | None:
    """The other sign of a number or of a product or fraction that isn't zero."""
    if gold.startswith("-") and not re.search(r"[-+,=]|\\pm|\\in", gold[1:]):
        return gold[1:]
    is_one = re.fullmatch(r"\d[\d.]*|\\d?frac\{[^-+=,]*\}\{[^-+=,]*\}|\d*\\sqrt\{\w+\}", gold)
    return f"-{gold}" if is_one and read_number(gold) != 0 else None


def shift_inside(gold: str) -> str | None:
    """The first number within an expression, one more."""
    if read_whole(gold) is not None or is_prose(gold):
        return None
    return re.sub(r"\d+", lambda match: str(int(match[0]) + 1), gold, count=1) if re.search(r"[1-9]", gold) else None


WRONGS: dict[str, Callable[[str], str | None]] = {
    "one more": lambda gold: shift(gold, 1),
    "one less": lambda gold: shift(gold, -1),
    "the other sign": negate,
    "a number inside, one more": shift_inside,
}


def list_rewritten(golds: list[str]) -> Iterator[tuple[str, str, str]]:
    """(rewriting, answer, gold) wherever one applies."""
    for gold, (name, write) in itertools.product(golds, REWRITINGS.items()):
        if (answer := write(gold)) is not None:
            yield name, answer, gold


def list_wrong(golds: list[str], others: list[str], rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """(kind, answer, gold): two of the others' golds each, and changed ones, unless cheap rules call them equal."""
    for gold in golds:
        answers = [("another question's", rng.choice(others)) for _ in range(2)]
        answers += [(name, change(gold)) for name, change in WRONGS.items()]
        for name, answer in answers:
            if answer is not None and not is_same(answer, gold):
                yield name, answer, gold


def is_same(answer: str, gold: str) -> bool:
    if read_answer(answer).text == read_answer(gold).text:
        return True
    grade = decide_cheaply(answer, gold)
    return bool(grade and grade.correct)


# ------------------------------------------------------------------ verdicts on real golds


def measure_verdicts(sets: dict[str, list[str]]) -> None:
    rng = random.Random(SEED)
    cases = {name: (list(list_rewritten(golds)), list(list_wrong(golds, golds, rng))) for name, golds in sets.items()}
    pairs = list(dict.fromkeys((answer, gold) for both in cases.values() for each in both for _, answer, gold in each))
    right = dict(
        zip(pairs, (grade.correct is True for grade in grade_expressions(pairs, workers=WORKERS)), strict=True)
    )
    for name, (rewritten, wrong) in cases.items():
        for what, answers, goal in (
            ("gold and its rewritings", rewritten, ">= 99.5"),
            ("wrong answers", wrong, "<= 0.1"),
        ):
            hits = [right[answer, gold] for _, answer, gold in answers]
            missed = [case for case, hit in zip(answers, hits, strict=True) if hit == (answers is wrong)]
            note = f"{sum(hits):,} of {len(answers):,} from {len(sets[name]):,} golds; missed: {describe(missed)}"
            report(f"{name}: {what} graded right", 100 * sum(hits) / len(answers), goal, unit="%", note=note)


def describe(cases: list[tuple[str, str, str]]) -> str:
    counts = Counter(name for name, _, _ in cases)
    shown = [f"{answer[:60]!r} for {gold[:60]!r}" for _, answer, gold in cases[:SHOWN]]
    return (", ".join(f"{name} {n}" for name, n in counts.most_common()) or "nothing") + "".join(
        f"; {each}" for each in shown
    )


# ------------------------------------------------------------------ speed


@dataclass(frozen=True)
class Made:
    """An answer, gold, how it was made from gold (a rewriting, or a kind of wrong one), and whether that is right."""

    answer: str
    gold: str
    how: str
    is_right: bool


def make_answers(golds: list[str], count: int) -> list[Made]:
    """A third each gold itself, rewritten, wrong; of golds drawn at random."""
    rng = random.Random(SEED + 1)
    made = []
    while len(made) < count:
        gold = rng.choice(golds)
        kind = len(made) % 3
        if kind < 2:
            writers = [name for name in REWRITINGS if (name == "itself") == (kind == 0)]
            rng.shuffle(writers)
            how = next(name for name in writers if REWRITINGS[name](gold))
            made.append(Made(REWRITINGS[how](gold), gold, how, is_right=True))
        elif cases := list(list_wrong([gold], golds, rng)):
            how, answer, _ = rng.choice(cases)
            made.append(Made(answer, gold, how, is_right=False))
    return made


def ask_math_verify_alone(answers: list[Made]) -> list[bool]:
    from math_verify import parse, verify

    logging.disable(logging.ERROR)
    dollars = lambda text: text if "$" in text or r"\(" in text else f"${text}$"  # noqa: E731
    verdicts = []
    for made in answers:
        try:
            verdicts.append(bool(verify(parse(dollars(made.gold)), parse(dollars(made.answer)))))
        except Exception:  # whatever it raises is no verdict of ours
            verdicts.append(False)
    logging.disable(logging.NOTSET)
    return verdicts


def measure_speed(golds: list[str], count: int) -> None:
    """Both sides on the same answers. The child takes a second to start, so that goals of time are those of 10,000."""
    is_whole = count == ANSWERS
    answers = make_answers(golds, count)
    pairs = [(made.answer, made.gold) for made in answers]
    start = time.perf_counter()
    grade_expressions([(r"\sin x+1", r"1+\sin x")], workers=WORKERS)  # what no rule decides
    report("starting the child, once a call", time.perf_counter() - start, unit="s", note="within the times below")
    start = time.perf_counter()
    grades = grade_expressions(pairs, workers=WORKERS)
    ours = time.perf_counter() - start
    hows = ", ".join(f"{n:,} {how}" for how, n in Counter(grade.how for grade in grades).most_common())
    note = f"{len(set(pairs)):,} different pairs; {hows}"
    report(f"{count:,} answers, {WORKERS} processes", ours, "<= 60", unit="s", note=note)
    say("ours is timed")
    ask_math_verify_alone(answers[:3])  # imports and first uses
    start = time.perf_counter()
    alone = ask_math_verify_alone(answers)
    theirs = time.perf_counter() - start
    note = f"math-verify alone {theirs:.1f} s, {len(answers) / theirs:,.0f} answers a second"
    report("throughput / that of math-verify alone", theirs / ours, ">= 5" if is_whole else None, note=note)
    say("math-verify alone is timed")
    compare_verdicts(answers, [grade.correct is True for grade in grades], alone)


def compare_verdicts(answers: list[Made], ours: list[bool], alone: list[bool]) -> None:
    """Each against the truth and against the other; what differs is named by whose verdict is true, and how made."""
    differs = [
        (f"{'ours' if own == made.is_right else 'theirs'} true, {made.how}", made.answer, made.gold)
        for made, own, other in zip(answers, ours, alone, strict=True)
        if own != other
    ]
    kept = [own == other for made, own, other in zip(answers, ours, alone, strict=True) if other == made.is_right]
    name = "math-verify's true verdicts that are ours too"
    note = f"of {len(kept):,}; all {len(differs)} that differ: {describe(differs)}"
    report(name, 100 * sum(kept) / len(kept), ">= 99.9", unit="%", note=note)
    report("verdicts that are the same", 100 * (1 - len(differs) / len(answers)), unit="%")
    for name, verdicts in (("ours", ours), ("math-verify alone", alone)):
        hits = sum(own == made.is_right for made, own in zip(answers, verdicts, strict=True))
        report(f"true verdicts: {name}", 100 * hits / len(answers), unit="%")


def measure_file(golds: list[str], count: int) -> None:
    """Replies of some length from a JSONL file to a JSONL file, by both graders."""
    answers = make_answers(golds, count)
    thinking = "We try one thing after another, and see that it doesn't hold. " * 40
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for i, made in enumerate(answers):
                response = rf"{thinking} Final Answer: the final answer is $\boxed{{{made.answer.strip('$')}}}$."
                row = {"question": f"Question {i % 500}", "gold": made.gold, "response": response}
                file.write(json.dumps(row) + "\n")
        for grader in ("exact", "legacy_s1"):
            start = time.perf_counter()
            counts = regrade(path, Path(folder) / "grades.jsonl", grader=grader, workers=WORKERS)
            took = time.perf_counter() - start
            note = f"{dict(counts)}; {path.stat().st_size / 2**20:.0f} MiB"
            goal = "<= 60" if grader == "exact" else None
            report(f"{count:,} replies from a file: {grader}", took, goal, unit="s", note=note)
    found = [extract_answer(rf"So it is \boxed{{{gold}}}.", "expression") == gold for gold in golds]
    report("golds extracted from a box as they are", 100 * sum(found) / len(found), ">= 99.5", unit="%")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of published answers")
    parser.add_argument("--quick", action="store_true", help="every eighth gold, 400 answers")
    chosen = parser.parse_args()
    sets = read_golds(chosen.data)
    if chosen.quick:
        sets = {name: golds[::8] for name, golds in sets.items()}
    count = 400 if chosen.quick else ANSWERS
    say(", ".join(f"{len(golds):,} golds of {name}" for name, golds in sets.items()))
    measure_verdicts(sets)
    golds = [gold for each in sets.values() for gold in each]
    measure_speed(golds, count)
    measure_file(golds, count)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
