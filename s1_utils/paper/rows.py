"""One published row of each source of the paper as a question of ours, or the reason to leave it out.

Knows the columns in which the sixteen sources and the published sets write questions, solutions, answers and traces;
knows nothing about files, hubs, counts or duplicates. Everything here is pure, and rows are hostile: any value may be
of any type. Source: s1 section 2.1, appendix C, and collect_data.py and fix_gpqa.py of its repository.
Deviations: metadata is JSON, not a Python repr; the choices of GPQA are shuffled by a seed of their own question; an
answer that can be compared is set apart, the original has none; physics of JEEBench and OlympiadBench is "science".
"""

from __future__ import annotations

import ast
import json
import random
import re
import string
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from s1_utils.paper.answers import LETTERS, NO_GOLD, Gold, find_gold, name_choice, name_gold, write_first, write_text
from s1_utils.paper.hub_rows import BadRow, Row
from s1_utils.sources import derive_seed

LONGEST_REPR = 100_000  # characters of a published metadata string that are parsed
RESERVED = ("options", "listings", "tries", "teacher", "thinking", "attempt")  # metadata that means something to us


@dataclass(frozen=True)
class Context:
    """What a row is read with. `listed`: texts that its source keeps (NuminaMATH) or leaves out (GPQA)."""

    name: str
    config: str = ""
    seed: int = 0
    aime_until: int = 2021
    listed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Question:
    """What a source says; None where it says nothing. `group`: what a sample of the source is spread over."""

    question: str
    solution: str | None = None
    gold: Gold = NO_GOLD
    domain: str | None = None
    cot_type: str | None = None
    source: str | None = None
    group: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------ metadata


def write_metadata(leftover: Mapping[str, Any], question: Question) -> str:
    """The leftover columns, what the source adds, and the options, as JSON. Columns named like ours are renamed.

    Raises ValueError or RecursionError where the values are too large or nested too deep for JSON.
    """
    fields = {f"published_{name}" if name in RESERVED else str(name): value for name, value in leftover.items()}
    fields |= question.metadata
    if question.gold.options:
        fields["options"] = list(question.gold.options)
    text = json.dumps(fields, ensure_ascii=False, default=_write_other, skipkeys=True)
    if "NaN" in text or "Infinity" in text:  # which Python writes as numbers and JSON hasn't
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False)
    return text


def _write_other(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"{value!s:.1000}"


def parse_repr(text: Any) -> dict[str, Any]:
    """A published metadata string (a Python repr) as a dict, never by eval; what can't be read is kept as it is."""
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        if len(text) <= LONGEST_REPR:
            with warnings.catch_warnings(action="ignore"):
                found = ast.literal_eval(text)
            if isinstance(found, dict):
                return {"published": {str(name): value for name, value in found.items()}}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    return {"published_text": text}


# ------------------------------------------------------------------ sources: mathematics


def read_plain(row: Row, context: Context) -> Question | BadRow:
    """A question with its solution and, where the source has them, its answer and its subject."""
    solution, answer = write_text(row["solution"]), write_text(row.get("answer"))
    gold = name_gold(answer) if answer else find_gold(solution)
    return Question(row["question"], solution, gold, write_first(row.get("domain")))


def read_numina(row: Row, context: Context) -> Question | BadRow:
    """All of aops_forum, and of the rest what the authors' list names (by its text)."""
    if row["domain"] != "aops_forum" and row["question"].strip() not in context.listed:
        return BadRow("not on the authors' list")
    return read_plain(row, context)


def read_aime(row: Row, context: Context) -> Question | BadRow:
    """AIME up to and including the year `aime_until`, which the ID (2021-II-3) begins with."""
    year = re.match("([0-9]{4})-", write_text(row["id"]) or "")
    if not year:
        return BadRow("no year in its ID")
    if int(year[1]) > context.aime_until:
        return BadRow(f"later than {context.aime_until}")
    answer = write_text(row["solution"])
    return Question(row["question"], answer, name_gold(answer))


def read_olympiad_bench(row: Row, context: Context) -> Question | BadRow:
    """The first solution. As in the original, the context isn't prepended; it stays in the metadata."""
    answers = row.get("final_answer")
    is_single = not row.get("is_multiple_answer") and (not isinstance(answers, list) or len(answers) == 1)
    gold = name_gold(write_first(answers)) if is_single else NO_GOLD
    cot_type = "science" if "physics" in context.config else "math"
    return Question(row["question"], write_first(row["solution"]), gold, write_text(row.get("domain")), cot_type)


def read_theorem_qa(row: Row, context: Context) -> Question | BadRow:
    """Questions without a picture; the solution is the answer."""
    picture = row["picture"]
    if any(picture.values()) if isinstance(picture, dict) else picture:
        return BadRow("has a picture")
    answer, kind = write_text(row["solution"]), row.get("answer_type")
    if kind == "bool":
        gold = name_choice(answer, ("True", "False"))
    elif kind == "option":
        gold = name_choice(answer, ("a", "b", "c", "d"))
    else:
        gold = name_gold(answer)
    return Question(row["question"], answer, gold)


# ------------------------------------------------------------------ sources: exams and sciences


def read_olympic_arena(row: Row, context: Context) -> Question | BadRow:
    """English, text only. Rows of the test split have no solution."""
    if row["language"] != "EN":
        return BadRow("not English")
    if row["modality"] != "text-only":
        return BadRow("has a picture")
    answer, kind = write_first(row.get("answer")), row.get("answer_type")
    gold = name_choice(answer) if kind == "SC" else NO_GOLD if kind in ("CODE", "OT", "MC") else name_gold(answer)
    cot_type = {"Math": "math", "CS": "coding"}.get(context.config, "science")
    return Question(row["question"], write_text(row.get("solution")), gold, context.config, cot_type)


def read_sci_eval(row: Row, context: Context) -> Question | BadRow:
    """Rows with an answer. The prompt's own "Answer:" is cut, and an "Optimal X:" to fill in becomes a question."""
    answer = write_first(row["solution"])
    if answer is None:
        return BadRow("has no answer")
    question = row["question"].replace("\n\nAnswer:", "").strip()
    question = re.sub(r"(?m)^Optimal ([\w ]{1,60}):\s*$", r"What is the optimal \1?", question)
    kind = row.get("type")
    gold = name_choice(answer, LETTERS) if kind == "multiple-choice" else NO_GOLD
    gold = name_gold(answer) if kind == "filling" else gold
    group = json.dumps([write_text(row.get(name)) for name in ("task", "topic")])
    return Question(question, answer, gold, write_text(row.get("domain")), group=group)


def read_jee(row: Row, context: Context) -> Question | BadRow:
    """The gold answer is the solution: a letter, several letters, a whole number or a decimal."""
    answer, subject = write_text(row["solution"]), write_text(row.get("domain"))
    kind = row.get("type")
    gold = name_choice(answer, LETTERS if kind == "MCQ" else ()) if kind in ("MCQ", "MCQ(multiple)") else None
    cot_type = "math" if subject == "math" else "science"
    return Question(row["question"], answer, gold or name_gold(answer), subject, cot_type)


def read_agi_eval(row: Row, context: Context) -> Question | BadRow:
    """Passage, question and options, one after another; of aqua_rat the question alone, of its mathematics level 5."""
    other = row["other"] if isinstance(row.get("other"), dict) else {}
    level = write_text(row.get("level")) or write_text(other.get("level")) or ""
    if context.config == "math_agieval" and level.removeprefix("Level ") != "5":
        return BadRow("level below 5")
    options = [text for each in _list(row.get("choices")) if (text := write_text(each))]
    label, answer = write_text(row.get("label")), write_text(row.get("answer"))
    has_options = context.config not in ("aqua_rat", "math_agieval")
    texts = [write_text(row.get("passage")), row["question"], *(options if has_options else ())]
    said = answer or next((text[3:] for text in options if text.startswith(f"({label})")), None)
    gold = _name_marked(label, options) if has_options else name_gold(said)
    solution = write_text(row.get("solution")) or write_text(other.get("solution")) or label or answer
    cot_type = "math" if context.config in ("aqua_rat", "sat_math", "math_agieval") else "english"
    return Question("\n".join(filter(None, texts)), solution, gold, context.config, cot_type)


def _name_marked(label: str | None, options: list[str]) -> Gold:
    """The letter of the right option: its mark, or its place where the mark is damaged (as in "B? Although…")."""
    letters = string.ascii_uppercase[: len(options)]
    marks = [re.match(r"\(([A-Z])\)", text) for text in options]
    if "".join(sorted(mark[1] if mark else place for mark, place in zip(marks, letters, strict=False))) != letters:
        return NO_GOLD
    return name_choice(label, tuple(letters)) if letters else NO_GOLD


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read_gpqa(row: Row, context: Context) -> Question | BadRow:
    """Not a Diamond question; four choices in an order that depends on the seed and the question alone."""
    stem = row["question"].strip()
    if stem in context.listed:
        return BadRow("is a Diamond question")
    choices = [write_text(row[name]) for name in ("right", "wrong_1", "wrong_2", "wrong_3")]
    if None in choices:
        return BadRow("lacks a choice")
    order = random.Random(derive_seed(context.seed, "gpqa", stem)).sample(range(4), 4)
    lines = [f"({letter}) {choices[i].strip()}" for letter, i in zip(LETTERS, order, strict=True)]
    letter = LETTERS[order.index(0)]
    explanation = write_text(row["solution"])
    solution = f"{explanation}\n\nAnswer: {letter}" if explanation else f"Answer: {letter}"
    question = "\n".join([stem, "Answer Choices:", *lines])
    return Question(question, solution, Gold(letter, "choice", LETTERS), write_text(row.get("domain")))


# ------------------------------------------------------------------ sources: words and code


def read_crossword(row: Row, context: Context) -> Question | BadRow:
    """The instruction, then the clue. What may count as the same word is left to a judge."""
    instruction = write_text(row["instruction"])
    question = "\n\n".join(filter(None, [instruction and instruction.strip(), row["question"].strip()]))
    return Question(question, write_text(row["solution"]))


def read_code(row: Row, context: Context) -> Question | BadRow:
    """A programming problem; as in the original it has no solution. Of LiveCodeBench only the hard ones."""
    if "difficulty" in row and row["difficulty"] != "hard":
        return BadRow("isn't hard")
    return Question(row["question"])


# ------------------------------------------------------------------ the published sets


def read_published(row: Row, context: Context) -> Question | BadRow:
    """A row of s59K, s1K or s1K-1.1 with its trace, under the paper's name of the source that it came from."""
    solution, origin = write_text(row["solution"]), write_text(row["source_type"]) or ""
    hub_id = next((prefix for prefix in ORIGINS if origin.startswith(prefix)), "")
    source = ORIGINS.get(hub_id)
    teacher = "DeepSeek-R1" if context.name == "s1K-1.1" else "Gemini 2.0 Flash Thinking"
    thinking, attempt = write_first(row["trace"]), write_text(row["answered"])
    trace = {"teacher": f"{teacher} ({context.name})", "thinking": thinking, "attempt": attempt}
    return Question(
        row["question"],
        solution,
        find_gold(solution),
        origin.removeprefix(hub_id).strip("/") or source,
        write_text(row["cot_type"]),
        source,
        metadata={
            "published_in": context.name,
            "source_type": origin,
            **parse_repr(row.get("published")),
            **(trace if thinking and attempt else {}),
        },
    )


ORIGINS = {  # how source_type begins, with the names the authors' copies had
    "AI-MO/NuminaMath-CoT": "NuminaMATH",
    "simplescaling/openaimath": "MATH",
    "qfq/openaimath": "MATH",
    "GAIR/OlympicArena": "OlympicArena",
    "KbsdJames/Omni-MATH": "OmniMath",
    "baber/agieval": "AGIEval",
    "0xharib/xword1": "xword",
    "Hothan/OlympiadBench": "OlympiadBench",
    "qq8933/AIME_1983_2024": "AIME (1983-2021)",
    "TIGER-Lab/TheoremQA": "TheoremQA",
    "codegenning/usacobench_formatted": "USACO",
    "daman1209arora/jeebench": "JEEBench",
    "Idavidrein/gpqa": "GPQA",
    "OpenDFM/SciEval": "SciEval",
    "simplescaling/s1-prob": "s1-prob",
    "qfq/stats_qual": "s1-prob",
    "livecodebench/code_generation_lite": "LiveCodeBench",
    "simplescaling/s1-teasers": "s1-teasers",
    "qfq/quant": "s1-teasers",
}
