"""The sixteen sources of the paper's pool, and its published sets: where each is, what of it is read, under what names.

Knows hub ids, configurations, splits, licences, the names of columns and the paper's counts; knows nothing about how
they are read. A column that was renamed is added here, behind the names it had. Licences are those we are sure of.
Source: s1 table 6 and collect_data.py; hub ids as in the shared table of the paper's sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from s1_utils.paper import rows
from s1_utils.paper.hub_files import Part
from s1_utils.paper.hub_rows import BadRow, Row
from s1_utils.paper.rows import Context, Question

UNKNOWN = "see the hub's card"


@dataclass(frozen=True)
class Source:
    """Where a source is published and how it is read.

    `columns` (must be there) and `optional`: our name of a column → its published names, the first found is read.
    `drop`: columns that aren't read at all. `expected`: rows in the paper, after its decontamination. `lists`: hub id
    and part of a set whose texts are the row reader's `listed`. `draws`: how many questions are sampled; None: all.
    """

    name: str
    hub_id: str
    parts: tuple[Part, ...]
    licence: str
    expected: int
    cot_type: str
    read: Callable[[Row, Context], Question | BadRow]
    columns: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    lists: tuple[str, Part] | None = None
    draws: int | None = None


_PROBLEM = {"question": ("problem", "question"), "solution": ("solution",)}
_TRACE = {
    "question": ("question",),
    "solution": ("solution",),
    "cot_type": ("cot_type",),
    "source_type": ("source_type",),
}
_GEMINI = {**_TRACE, "trace": ("thinking_trajectories",), "answered": ("attempt",)}
_ARENA = ("Math", "Physics", "Chemistry", "Biology", "Geography", "Astronomy", "CS")
_OLYMPIAD = ("OE_TO_maths_en_COMP", "OE_TO_physics_en_COMP", "TP_TO_maths_en_COMP", "TP_TO_physics_en_COMP")
_AGIEVAL = (
    ("sat_en",),
    ("sat_math",),
    ("lsat_ar",),
    ("lsat_lr",),
    ("lsat_rc",),
    ("logiqa", "logiqa_en"),
    ("aqua_rat",),
    ("math_agieval", "math"),
)

SOURCES = (  # in the order of the paper's table
    Source(
        "NuminaMATH",
        "AI-MO/NuminaMath-CoT",
        (Part(),),
        "Apache-2.0",
        30660,
        "math",
        rows.read_numina,
        {**_PROBLEM, "domain": ("source",)},
        drop=("messages",),
        lists=("simplescaling/numinamath_500", Part()),
    ),
    Source(
        "MATH",
        "simplescaling/openaimath",
        (Part(),),
        "MIT",
        11999,
        "math",
        rows.read_plain,
        _PROBLEM,
        {"answer": ("answer",), "domain": ("subject", "type")},
    ),
    Source(
        "OlympicArena",
        "GAIR/OlympicArena",
        tuple(Part((config,), split) for config in _ARENA for split in ("test", "validation")),
        UNKNOWN,
        4250,
        "science",
        rows.read_olympic_arena,
        {"question": ("problem",), "language": ("language",), "modality": ("modality",)},
        {"solution": ("solution",), "answer": ("answer",), "answer_type": ("answer_type",)},
    ),
    Source(
        "OmniMath",
        "KbsdJames/Omni-MATH",
        (Part(split="test"),),
        "Apache-2.0",
        4238,
        "math",
        rows.read_plain,
        _PROBLEM,
        {"answer": ("answer",), "domain": ("domain",)},
    ),
    Source(
        "AGIEval",
        "baber/agieval",
        tuple(Part(configs, split) for configs in _AGIEVAL for split in ("test", "few_shot")),
        "MIT",
        2385,
        "english",
        rows.read_agi_eval,
        {"question": ("question",)},
        {
            "passage": ("passage",),
            "choices": ("options", "choices"),
            "label": ("label",),
            "answer": ("answer",),
            "solution": ("solution", "explanation"),
            "other": ("other",),
            "level": ("level",),
        },
    ),
    Source(
        "xword",
        "0xharib/xword1",
        (Part(),),
        UNKNOWN,
        999,
        "crossword",
        rows.read_crossword,
        {"question": ("input",), "instruction": ("instruction",), "solution": ("output",)},
        draws=1000,
    ),
    Source(
        "OlympiadBench",
        "Hothan/OlympiadBench",
        tuple(Part((config,)) for config in _OLYMPIAD),
        "Apache-2.0",
        896,
        "math",
        rows.read_olympiad_bench,
        {"question": ("question",), "solution": ("solution",)},
        {
            "domain": ("subfield", "subject"),
            "final_answer": ("final_answer",),
            "is_multiple_answer": ("is_multiple_answer",),
        },
    ),
    Source(
        "AIME (1983-2021)",
        "qq8933/AIME_1983_2024",
        (Part(),),
        UNKNOWN,
        890,
        "math",
        rows.read_aime,
        {"question": ("Question",), "solution": ("Answer",), "id": ("ID",)},
    ),
    Source(
        "TheoremQA",
        "TIGER-Lab/TheoremQA",
        (Part(split="test"),),
        "MIT",
        747,
        "math",
        rows.read_theorem_qa,
        {"question": ("Question",), "solution": ("Answer",), "picture": ("Picture",)},
        {"answer_type": ("Answer_type",)},
    ),
    Source(
        "USACO",
        "codegenning/usacobench_formatted",
        (Part(split="test"),),
        UNKNOWN,
        519,
        "coding",
        rows.read_code,
        {"question": ("question", "description", "problem_description")},
    ),
    Source(
        "JEEBench",
        "daman1209arora/jeebench",
        (Part(split="test"),),
        "MIT",
        515,
        "science",
        rows.read_jee,
        {"question": ("question",), "solution": ("gold",)},
        {"domain": ("subject",), "type": ("type",)},
    ),
    Source(
        "GPQA",
        "Idavidrein/gpqa",
        (Part(("gpqa_extended",)),),
        "CC-BY-4.0",
        348,
        "science",
        rows.read_gpqa,
        {
            "question": ("Question",),
            "solution": ("Explanation",),
            "right": ("Correct Answer",),
            "wrong_1": ("Incorrect Answer 1",),
            "wrong_2": ("Incorrect Answer 2",),
            "wrong_3": ("Incorrect Answer 3",),
        },
        {"domain": ("High-level domain",)},
        lists=("Idavidrein/gpqa", Part(("gpqa_diamond",))),
    ),
    Source(
        "SciEval",
        "OpenDFM/SciEval",
        (Part(split="test"), Part(split="validation")),
        UNKNOWN,
        227,
        "science",
        rows.read_sci_eval,
        {"question": ("question",), "solution": ("answer",)},
        {"domain": ("category",), "task": ("task_name", "task"), "topic": ("topic",), "type": ("type",)},
        draws=250,
    ),
    Source(
        "s1-prob",
        "simplescaling/s1-prob",
        (Part(),),
        UNKNOWN,
        182,
        "math",
        rows.read_plain,
        {"question": ("question", "problem"), "solution": ("solution",)},
    ),
    Source(
        "LiveCodeBench",
        "livecodebench/code_generation_lite",
        tuple(Part((file,), "test") for file in ("test.jsonl", "test2.jsonl", "test3.jsonl")),
        UNKNOWN,
        151,
        "coding",
        rows.read_code,
        {"question": ("question_content",), "difficulty": ("difficulty",)},
        drop=("private_test_cases",),  # pickled inside, and most of the set's 4 GB
    ),
    Source(
        "s1-teasers",
        "simplescaling/s1-teasers",
        (Part(),),
        UNKNOWN,
        23,
        "math",
        rows.read_plain,
        {"question": ("Question",), "solution": ("Answer",)},
    ),
    Source(
        "s59K",
        "simplescaling/data_ablation_full59K",
        (Part(),),
        UNKNOWN,
        59029,
        "science",
        rows.read_published,
        _GEMINI,
        {"published": ("metadata",)},
        drop=("cot",),
    ),
    Source(
        "s1K",
        "simplescaling/s1K",
        (Part(),),
        "Apache-2.0",
        1000,
        "science",
        rows.read_published,
        _GEMINI,
        {"published": ("metadata",)},
        drop=("cot",),
    ),
    Source(
        "s1K-1.1",
        "simplescaling/s1K-1.1",
        (Part(),),
        "MIT",
        1000,
        "science",
        rows.read_published,
        {**_TRACE, "trace": ("deepseek_thinking_trajectory",), "answered": ("deepseek_attempt",)},
        {"published": ("metadata",)},
    ),
)
PUBLISHED = ("s59K", "s1K", "s1K-1.1")
PAPER = tuple(source.name for source in SOURCES if source.name not in PUBLISHED)
