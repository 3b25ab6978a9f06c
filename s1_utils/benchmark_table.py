"""The published evaluation sets of the paper: where each is, how many questions it has, how the original asks them.

Knows hub ids, columns, counts and prompts; knows nothing about files, hubs or models (`benchmarks` loads them). A
renamed column is added here, behind the names it had. Source: s1 section 4.1; its harness' tasks aime, openai_math and
gpqa/openai, whose prompt is the question alone, and for GPQA the question with its choices, all as published.
Deviations: choices of GPQA are shuffled by a seed of their own question, not by a generator that earlier tasks have
used; an AIME answer loses its leading zeros (as there) and a degree sign (left to gpt-4o-mini there).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from s1_utils.paper.answers import LETTERS, Gold, name_gold, write_text
from s1_utils.paper.hub_files import Part
from s1_utils.paper.hub_rows import BadRow, Row
from s1_utils.paper.rows import Context, Question, read_plain
from s1_utils.paper.table import UNKNOWN, Source
from s1_utils.sources import derive_seed, hash_question

_COUNT = re.compile(r"0*([0-9]{1,3})(?: ?(?:\^\{?\\circ\}?|°))?")


@dataclass(frozen=True)
class Benchmark:
    """A published set. `source.expected`: exactly how many questions it has."""

    source: Source
    note: str
    is_gated: bool = False


def read_aime(row: Row, context: Context) -> Question:
    r"""The problem alone; the answer is a whole number from 0 to 999, published as 25, "025" or "336^\circ"."""
    answer = write_text(row["answer"])
    count = _COUNT.fullmatch((answer or "").strip().strip("$").strip())
    gold = Gold(count[1], "integer") if count else name_gold(answer)
    return Question(row["question"], write_text(row.get("solution")), gold)


def read_diamond(row: Row, context: Context) -> Question | BadRow:
    """The question and its four choices, in an order that depends on the seed and the question alone.

    metadata: `order`, which of the published choices (0: the right one, 1 to 3: the wrong ones) is A, B, C and D, and
    `stem_id`, the hash of the question without choices, the same for every seed.
    """
    choices = [write_text(row[name]) for name in ("right", "wrong_1", "wrong_2", "wrong_3")]
    if None in choices:
        return BadRow("lacks a choice")
    stem_id = hash_question(row["question"])
    order = random.Random(derive_seed(context.seed, "gpqa_diamond", stem_id)).sample(range(4), 4)
    lines = [f"{letter}) {choices[i]}" for letter, i in zip(LETTERS, order, strict=True)]
    return Question(
        "\n".join([row["question"], "", *lines]),
        write_text(row.get("solution")),
        Gold(LETTERS[order.index(0)], "choice", LETTERS),
        write_text(row.get("domain")),
        metadata={"order": order, "stem_id": stem_id},
    )


def _list_aime(name: str, hub_id: str, note: str, licence: str = UNKNOWN) -> Benchmark:
    columns = {"question": ("problem", "question"), "answer": ("answer",)}
    source = Source(name, hub_id, (Part(),), licence, 30, "math", read_aime, columns, {"solution": ("solution",)})
    return Benchmark(source, note)


MATH500 = Source(
    "math500",
    "simplescaling/openaimath",
    (Part(split="test"),),
    "MIT",
    500,
    "math",
    read_plain,
    {"question": ("problem", "question"), "solution": ("solution",), "answer": ("answer",)},
    {"domain": ("subject", "type")},
)
DIAMOND = Source(
    "gpqa_diamond",
    "Idavidrein/gpqa",
    (Part(("gpqa_diamond",)),),
    "CC-BY-4.0",
    198,
    "science",
    read_diamond,
    {
        "question": ("Question",),
        "right": ("Correct Answer",),
        "wrong_1": ("Incorrect Answer 1",),
        "wrong_2": ("Incorrect Answer 2",),
        "wrong_3": ("Incorrect Answer 3",),
    },
    {"solution": ("Explanation",), "domain": ("High-level domain",)},
)
BENCHMARKS = {
    each.source.name: each
    for each in (
        _list_aime("aime24", "simplescaling/aime24_nofigures", "figures only where needed; reported", "Apache-2.0"),
        _list_aime("aime24_figures", "simplescaling/aime24_figures", "all figures, as Asymptote code", "Apache-2.0"),
        _list_aime("aime25", "TIGER-Lab/AIME25", "I and II; reported. Its first revisions had I alone, 15 questions"),
        _list_aime("aime25_figures", "simplescaling/aime25_figures", "all figures, as Asymptote code"),
        Benchmark(MATH500, "500 test problems of MATH"),
        Benchmark(DIAMOND, "four choices, their order seeded for each question", is_gated=True),
    )
}
