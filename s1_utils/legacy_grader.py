r"""The original's grader, rule by rule, so that what its leniency is worth can be measured on the same replies.

Knows how s1's evaluation cuts, extracts and compares; knows no tables, files or models. Its deterministic parts are
exact. Where it asks gpt-4o-mini, any `Ask` does: shown the options and the attempt, it returns the 1-based index of an
equivalent option or -1. In mathematics the first of those options is gold, and the others are what was extracted from
earlier samples of the question: a vote's clusters depend on gold and on order. `stand_in` is our own, not that model.
Source: s1, lm_eval/tasks/{aime,openai_math,gpqa/openai}/utils.py. Deviations: earlier answers are shown in the order
they came in (the original's order is that of a set of strings, so of a process's hash seed), and where the original
would crash the run the verdict is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from s1_utils.choice_letters import find_choice
from s1_utils.grading import extract_answer
from s1_utils.math_grader import decide_cheaply
from s1_utils.math_text import LONGEST

Ask = Callable[[Sequence[str], str], int]

ANSWER, TURN = "<|im_start|>answer\n", "<|im_start|>"
LETTERS = ("A", "B", "C", "D")
CRASH = "the original crashes"
_PATTERN = re.compile(r"(?i)Answer\s*:\s*(.*)", re.DOTALL)
_UNBOXED = "\\boxed "


@dataclass(frozen=True)
class LegacyGrade:
    """What the original keeps as the answer (an option's own text, if the model named one) and whether it is right.

    `how`: same number, same text, different text (no model was asked: there was none), model, no option (the model
    found none), letter, model's letter, "A" by default, or CRASH, with correct null.
    """

    extracted: str | None
    correct: bool | None
    how: str


# ------------------------------------------------------------------ extraction


def cut_reply(reply: str) -> str:
    """What follows the last "<|im_start|>answer" and its line break, else the last "<|im_start|>" and its line."""
    if ANSWER in reply:
        return reply.split(ANSWER)[-1]
    if TURN in reply:
        last = reply.split(TURN)[-1]
        return last.split("\n", 1)[1] if "\n" in last else last
    return reply


def extract_legacy(reply: str) -> str:
    r"""The last box's content, else all that follows the *first* "Answer:", else the whole answer part.

    Raises ValueError where the original's assertions fail: "\fbox{…}", and a box that isn't "\boxed{…}".
    """
    text = cut_reply(reply)
    box = _find_last_box(text)
    if box is not None:
        return _open_box(box)
    found = _PATTERN.findall(text)
    return found[-1] if found else text  # DOTALL: the first match takes everything, so it is the last one too


def _find_last_box(text: str) -> str | None:
    if _UNBOXED in text:
        return _UNBOXED + text.split(_UNBOXED)[-1].split("$")[0]
    start = text.rfind("\\boxed")
    if start < 0 and (start := text.rfind("\\fbox")) < 0:
        return None
    depth = 0
    for brace in re.finditer("[{}]", text[start:]):  # escaped ones count too
        depth += 1 if brace[0] == "{" else -1
        if depth == 0 and brace[0] == "}":
            return text[start : start + brace.end()]
    return None


def _open_box(box: str) -> str:
    if _UNBOXED in box:
        if not box.startswith(_UNBOXED):
            raise ValueError(CRASH)
        return box[len(_UNBOXED) :]
    if not box.startswith("\\boxed{"):
        raise ValueError(CRASH)
    return box[len("\\boxed{") : -1]


# ------------------------------------------------------------------ verdicts


def grade_maths(reply: str, gold: str, earlier: Iterable[str], ask: Ask | None) -> LegacyGrade:
    """One sample of AIME or MATH500. `earlier`: what was extracted from earlier samples of this question.

    Without `ask` (the original without its key) only equal strings are right. With it, whatever isn't two strings of
    digits is shown to it beside [gold, *earlier].
    """
    try:
        said = extract_legacy(reply)
        gold = str(int(gold)) if gold.isdigit() else gold
        if said.isdigit() and gold.isdigit():
            said = str(int(said))
            return LegacyGrade(said, said == gold, "same number")
    except ValueError:  # also of int("²"), which is a digit but no number
        return LegacyGrade(None, None, CRASH)
    if ask is None:
        return LegacyGrade(said, said == gold, "same text" if said == gold else "different text")
    options = [gold, *(option for option in dict.fromkeys(earlier) if option != gold)]
    index = ask(options, said)
    if not 1 <= index <= len(options):
        return LegacyGrade(said, said == gold, "no option")
    chosen = options[index - 1]
    return LegacyGrade(chosen, chosen == gold, "model")


def grade_choice(reply: str, gold: str, ask: Ask | None) -> LegacyGrade:
    """One sample of GPQA: what is exactly a letter, else the model's choice of A, B, C, D, else "A"."""
    try:
        said = extract_legacy(reply)
    except ValueError:
        return LegacyGrade(None, None, CRASH)
    if said in ("a", "b", "c", "d"):
        said = said.upper()
    how = "letter"
    if said not in LETTERS and ask is not None:
        index, how = ask(LETTERS, said), "model's letter"
        said = LETTERS[index - 1] if 1 <= index <= len(LETTERS) else said
    if said not in LETTERS:
        said, how = "A", '"A" by default'
    return LegacyGrade(said, said == gold, how)


# ------------------------------------------------------------------ in the model's place


def stand_in(options: Sequence[str], attempt: str) -> int:
    """A local stand-in for gpt-4o-mini, deterministic and NOT that model: by the rules that its prompt's examples give.

    The first option that equals the attempt's final answer, whatever its units, percent sign, base, order or case, or
    that stands in the attempt's last line as words of their own; -1 if none does. For letters, the one that is named.
    What it finds lenient is measured; what the model itself would have said isn't.
    """
    if tuple(options) == LETTERS:
        letter = find_choice(attempt, LETTERS)
        return LETTERS.index(letter) + 1 if letter else -1
    attempt = attempt.strip()
    said = (extract_answer(attempt, "expression") or attempt)[: LONGEST + 1]
    last = attempt.splitlines()[-1][-LONGEST:] if attempt else ""
    for index, option in enumerate(options, 1):
        if option == attempt or (len(option) <= LONGEST and (_is_alike(said, option) or _stands_in(option, last))):
            return index
    return -1


def _is_alike(said: str, option: str) -> bool:
    """Equal by exact rules, with or without bases, as lists in any order, or in the one number that both have."""
    sides = [_drop_base(side) for side in (said, option)]
    pairs = [(said, option), tuple(sides), tuple(",".join(sorted(_split(side))) for side in sides)]
    numbers = [re.findall(r"[-+]?\d[\d.,]*", side) for side in sides]
    is_formula = re.search(r"[\\^(]|[A-Za-z]\s*[-+*/]|\d\s?[A-Za-z]\b", f"{option} {said}")
    if all(len(found) == 1 for found in numbers) and not is_formula:
        pairs.append((numbers[0][0].rstrip(".,"), numbers[1][0].rstrip(".,")))
    return any((grade := decide_cheaply(*pair)) is not None and grade.correct is True for pair in pairs)


def _drop_base(text: str) -> str:
    plain = re.sub(r"_\{?\d+\}?\s*$", "", text.strip().strip("$"))
    return re.sub(r"\\sqrt\s*(\w)(?!\w)", r"\\sqrt{\1}", plain)


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.strip(" ()[]{}$\\").split(",")]


def _stands_in(option: str, line: str) -> bool:
    """Whether `option` stands in the line as a term of its own, in any case: 2x doesn't in 3+2x."""
    words = re.escape(option.strip())
    term = rf"(?<![\w.+*/^\\-])(?<![+*/^-]\s){words}(?!\w|\.\d|\s?[+*/^]|\s?-\s?\w)"
    return bool(words) and bool(re.search(term, line, re.IGNORECASE))
