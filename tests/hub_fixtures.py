"""Small mirrors of the sixteen sources, the published sets and the benchmarks: their files, columns and types.

The rows are made up; what `write_source` writes for `n` gives `n` questions, unless the source draws a sample.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

HUB_IDS = {
    "NuminaMATH": "AI-MO/NuminaMath-CoT",
    "MATH": "simplescaling/openaimath",
    "OlympicArena": "GAIR/OlympicArena",
    "OmniMath": "KbsdJames/Omni-MATH",
    "AGIEval": "baber/agieval",
    "xword": "0xharib/xword1",
    "OlympiadBench": "Hothan/OlympiadBench",
    "AIME (1983-2021)": "qq8933/AIME_1983_2024",
    "TheoremQA": "TIGER-Lab/TheoremQA",
    "USACO": "codegenning/usacobench_formatted",
    "JEEBench": "daman1209arora/jeebench",
    "GPQA": "Idavidrein/gpqa",
    "SciEval": "OpenDFM/SciEval",
    "s1-prob": "simplescaling/s1-prob",
    "LiveCodeBench": "livecodebench/code_generation_lite",
    "s1-teasers": "simplescaling/s1-teasers",
    "s59K": "simplescaling/data_ablation_full59K",
    "s1K": "simplescaling/s1K",
    "s1K-1.1": "simplescaling/s1K-1.1",
}
PAPER = list(HUB_IDS)[:16]
NUMINA_LIST = "simplescaling/numinamath_500"
LONG = " ".join(f"word{i}" for i in range(40))


def write_table(path: Path, rows: list[dict]) -> None:
    """Rows as the file's name says: .parquet, .jsonl, .json or .csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), "utf-8")
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["Question"])
            writer.writeheader()
            writer.writerows(rows)


def write_source(mirror: Path, name: str, n: int = 6) -> Path:
    """The files of one source below `mirror`; returns its folder."""
    folder = mirror / HUB_IDS[name]
    for path, rows in FILES[name](n).items():
        write_table(folder / path, rows)
    if name == "NuminaMATH":
        write_table(mirror / NUMINA_LIST / "data/train-00000-of-00001.parquet", [numina(0, "olympiads")])
    return folder


def write_mirror(mirror: Path, n: int = 6) -> Path:
    """All nineteen."""
    for name in HUB_IDS:
        write_source(mirror, name, n)
    return mirror


def deal(rows: list, hands: int) -> list[list]:
    return [rows[i::hands] for i in range(hands)]


def numina(i: int, source: str = "aops_forum") -> dict:
    problem = f"Numina {source} {i}: find $x$ if ${i} = x$."
    said = [{"content": problem, "role": "user"}, {"content": LONG, "role": "assistant"}]
    return {"source": source, "problem": problem, "solution": f"{LONG} $\\boxed{{{i}}}$", "messages": said}


def make_numina(n: int) -> dict:
    rows = [numina(0, "olympiads"), numina(1, "olympiads"), *(numina(i) for i in range(n - 1))]
    shards = deal(rows, 2)
    test = [numina(-1)]
    return {f"data/train-{i:05d}-of-00002.parquet": rows for i, rows in enumerate(shards)} | {
        "data/test-00000-of-00001.parquet": test
    }


def make_math(n: int) -> dict:
    rows = [
        {
            "problem": f"Openai {i}: what is $\\frac{{{i}}}{{7}}$?",
            "solution": f"It is $\\boxed{{\\frac{{{i}}}{{7}}}}$.",
            "answer": f"\\frac{{{i}}}{{7}}",
            "subject": "Algebra",
            "level": 1 + i % 5,
            "unique_id": f"train/algebra/{i}.json",
        }
        for i in range(n)
    ]
    return {"train.jsonl": rows, "test.jsonl": [{**rows[0], "problem": "A test question."}]}


def arena(config: str, i: int, split: str, **changes) -> dict:
    row = {
        "id": f"{config}_{i}",
        "problem": f"Arena {config} {split} {i}?",
        "prompt": f"You are taking part in a {config} contest. Arena {config} {i}?",
        "figure_urls": None,
        "answer": None if split == "test" else ["B"],
        "answer_type": "SC",
        "subject": config,
        "language": "EN",
        "modality": "text-only",
        "solution": None if split == "test" else f"The answer to {i} is B.",
    }
    return row | changes


def make_arena(n: int) -> dict:
    configs = ["Math", "Physics", "Chemistry", "Biology", "Geography", "Astronomy", "CS"]
    hands = deal(list(range(n)), len(configs))
    files = {}
    for config, hand in zip(configs, hands, strict=True):
        for split, short, some in (("test", "test", hand[1:]), ("val", "val", hand[:1])):
            others = [
                arena(config, 9 * 10**6, split, language="ZH"),
                arena(config, 9 * 10**6 + 1, split, modality="multi-modal", figure_urls=["https://example.org/a.png"]),
            ]
            files[f"{config}/{short}-00000-of-00001.parquet"] = [*(arena(config, i, split) for i in some), *others]
    return files


def make_omni(n: int) -> dict:
    return {
        "test.jsonl": [
            {
                "domain": ["Mathematics -> Algebra -> Prealgebra -> Integers"],
                "difficulty": 8.0,
                "problem": f"Omni {i}: how many?",
                "solution": f"{LONG} so {i}.",
                "answer": str(i),
                "source": "china_team_selection_test",
            }
            for i in range(n)
        ]
    }


def agi(config: str, i: int | str) -> dict:
    choices = [f"({letter}){k}{i}" for k, letter in enumerate("ABCDE")]
    row = {
        "passage": None if config in ("aqua_rat", "math_agieval") else f"Passage {config} {i}.",
        "question": f"AGIEval {config} {i}?",
        "options": None if config == "math_agieval" else choices,
        "label": None if config == "math_agieval" else "C",
        "answer": f"{i}" if config == "math_agieval" else None,
        "solution": None,
    }
    return row | ({"level": 5 if i != "few" else 4, "type": "Algebra"} if config == "math_agieval" else {})


def make_agi(n: int) -> dict:
    configs = ["sat_en", "sat_math", "lsat_ar", "lsat_lr", "lsat_rc", "logiqa", "aqua_rat", "math_agieval"]
    files = {}
    for config, hand in zip(configs, deal(list(range(n - 7)), len(configs)), strict=True):
        easy = [{**agi(config, "easy"), "level": 4}] if config == "math_agieval" else []
        files[f"data/{config}/test-00000-of-00001.parquet"] = [*(agi(config, i) for i in hand), *easy]
        files[f"data/{config}/few_shot-00000-of-00001.parquet"] = [agi(config, "few")]
    files["data/sat_en_without_passage/test-00000-of-00001.parquet"] = [agi("sat_en_without_passage", 0)]
    files["data/logiqa_zh/test-00000-of-00001.parquet"] = [agi("logiqa_zh", 0)]
    return files


def make_xword(n: int) -> dict:
    instruction = "Solve the crossword puzzle. You are presented with a clue as input and the number of letters."
    rows = [{"instruction": instruction, "input": f"Clue {i} (5)", "output": "APPLE"} for i in range(n)]
    return {"xword1.jsonl": rows}


def make_olympiad(n: int) -> dict:
    configs = ["OE_TO_maths_en_COMP", "OE_TO_physics_en_COMP", "TP_TO_maths_en_COMP", "TP_TO_physics_en_COMP"]
    files = {"OlympiadBench/OE_MM_maths_en_COMP/OE_MM_maths_en_COMP.parquet": [{"id": 0, "question": "A picture."}]}
    for config, hand in zip(configs, deal(list(range(n)), len(configs)), strict=True):
        files[f"OlympiadBench/{config}/{config}.parquet"] = [
            {
                "id": i,
                "question": f"Olympiad {config} {i}: find it.",
                "solution": [f"The first solution of {i}.", "Another."],
                "final_answer": [f"${i}$"] if config.startswith("OE") else None,
                "context": "Some context.",
                "image_1": None,
                "modality": "Text-only",
                "is_multiple_answer": False,
                "unit": None,
                "answer_type": "Numerical",
                "error": None,
                "question_type": "Open-ended",
                "subfield": "Combinatorics",
                "subject": "Math",
                "language": "English",
            }
            for i in hand
        ]
    return files


def make_aime(n: int) -> dict:
    rows = [
        {
            "ID": f"{1983 + i % 39}-{'I' if i % 2 else 'II'}-{1 + i}",
            "Year": 1983 + i % 39,
            "Problem Number": 1 + i,
            "Question": f"AIME {i}: find the remainder.",
            "Answer": i % 1000,
            "Part": "I",
        }
        for i in range(n)
    ]
    late = [{**rows[0], "ID": f"{year}-I-1", "Question": f"AIME of {year}."} for year in (2022, 2023, 2024)]
    return {"AIME_Dataset_1983_2024.csv": [*rows, *late]}


def make_theorem_qa(n: int) -> dict:
    kinds = [("integer", "12"), ("float", "0.25"), ("bool", "True"), ("option", "(b)"), ("list of integer", "[1, 2]")]
    none = {"bytes": None, "path": None}
    rows = [
        {"Question": f"Theorem {i}?", "Answer": answer, "Answer_type": kind, "Picture": None if i % 2 else none}
        for i, (kind, answer) in ((i, kinds[i % 5]) for i in range(n))
    ]
    seen = {**rows[0], "Question": "A picture?", "Picture": {"bytes": b"\x89PNG", "path": "a.png"}}
    return {"data/test-00000-of-00001-6a7c3b5d9f1e2a4c.parquet": [*rows, seen]}


def make_usaco(n: int) -> dict:
    rows = [{"problem_id": f"{i}_gold", "question": f"USACO {i}: cows.", "samples": [{"input": "1"}]} for i in range(n)]
    return {"data/test-00000-of-00001.parquet": rows}


def make_jee(n: int) -> dict:
    kinds = [("MCQ", "C"), ("MCQ(multiple)", "ABD"), ("Integer", "7"), ("Numeric", "1.25")]
    return {
        "test.json": [
            {
                "subject": ("phy", "chem", "math")[i % 3],
                "description": "JEE Adv 2016 Paper 1",
                "gold": kinds[i % 4][1],
                "index": i,
                "type": kinds[i % 4][0],
                "question": f"JEE {i}: which?",
            }
            for i in range(n)
        ]
    }


def gpqa(i: int | str) -> dict:
    return {
        "Pre-Revision Question": f"GPQA {i} before?",
        "Question": f"GPQA {i}, after?\n",
        "Correct Answer": f"right {i}\n",
        "Incorrect Answer 1": f"wrong one {i}",
        "Incorrect Answer 2": f"wrong two {i}",
        "Incorrect Answer 3": f"wrong three {i}",
        "Explanation": f"Because of {i}.",
        "Subdomain": "Genetics",
        "High-level domain": "Biology",
        "Record ID": f"rec{i}",
    }


def make_gpqa(n: int) -> dict:
    diamond = [gpqa(f"diamond {i}") for i in range(3)]
    rows = [gpqa(i) for i in range(n)]
    return {"gpqa_extended.csv": [*rows, *diamond], "gpqa_diamond.csv": diamond, "gpqa_main.csv": [gpqa("main")]}


def make_sci_eval(n: int) -> dict:
    kinds = [("multiple-choice", ["A"]), ("judge", ["yes"]), ("filling", ["3"])]

    def row(i: int | str, k: int, answer: list | None) -> dict:
        return {
            "id": f"{i}",
            "question": f"SciEval {i}: which of these?\n\nA. one\nB. two\n\nAnswer:",
            "answer": answer,
            "task_name": "SocraticQA",
            "category": ("biology", "chemistry", "physics")[k % 3],
            "ability": "Base Knowledge",
            "type": kinds[k % 3][0],
            "topic": f"topic {k % 7}",
        }

    valid = [row(i, i, kinds[i % 3][1]) for i in range(n)]
    return {
        "bai-scieval-valid.json": valid,
        "bai-scieval-test.json": [row("hidden", 0, None)],
        "bai-scieval-dev.json": [row("dev", 0, ["A"])],
    }


def make_prob(n: int) -> dict:
    rows = [{"question": f"s1-prob {i}: prove it.", "solution": f"{LONG} {i}."} for i in range(n)]
    return {"data/train-00000-of-00001.parquet": rows}


def code(i: int | str, difficulty: str = "hard") -> dict:
    return {
        "question_title": f"T{i}",
        "question_content": f"LiveCodeBench {i}: sort it.",
        "platform": "atcoder",
        "contest_date": "2023-08-05T00:00:00",
        "starter_code": "",
        "difficulty": difficulty,
        "public_test_cases": "[]",
        "private_test_cases": "eJxr" + "A" * 1000,
        "metadata": "{}",
    }


def make_code(n: int) -> dict:
    hands = deal([code(i) for i in range(n)], 3)
    files = {f"test{k}.jsonl": rows for k, rows in zip(("", 2, 3), hands, strict=True)}
    files["test.jsonl"] = [*files["test.jsonl"], code("easy", "easy")]
    return files | {"test4.jsonl": [code("of version 4")]}


def make_teasers(n: int) -> dict:
    return {"data/train-00000-of-00001.parquet": [{"Question": f"Teaser {i}?", "Answer": f"{i}"} for i in range(n)]}


SOURCE_TYPES = [
    ("AI-MO/NuminaMath-CoT/aops_forum", "so $\\boxed{\\frac{1}{2}}$", "math"),
    ("qq8933/AIME_1983_2024", "128", "math"),
    ("Idavidrein/gpqa", "Because.\n\nAnswer: C", "science"),
    ("baber/agieval/logiqa", "B", "english"),
    ("codegenning/usacobench_formatted", None, "coding"),
]


def published(i: int) -> dict:
    source_type, solution, cot_type = SOURCE_TYPES[i % len(SOURCE_TYPES)]
    leftover = {"options": ["(A)1", "(B)2"], "url": None, "text": LONG, "level": 5, "made": i}
    return {
        "solution": solution,
        "question": f"Published {i}?",
        "cot_type": cot_type,
        "source_type": source_type,
        "metadata": repr(leftover),
    }


def make_published(n: int, shards: int = 1) -> dict:
    rows = [
        {**published(i), "cot": None, "thinking_trajectories": [f"Thinking {i}. {LONG}"], "attempt": f"Attempt {i}."}
        for i in range(n)
    ]
    return {f"data/train-{k:05d}-of-{shards:05d}.parquet": hand for k, hand in enumerate(deal(rows, shards))}


def make_newer(n: int) -> dict:
    more = {"gemini_grade": "No", "gemini_grade_reason": "Wrong.\nNo", "deepseek_grade": "Yes"}
    rows = [
        {
            **published(i),
            "gemini_thinking_trajectory": f"Gemini {i}.",
            "gemini_attempt": f"Gemini's {i}.",
            "deepseek_thinking_trajectory": f"DeepSeek {i}.",
            "deepseek_attempt": f"DeepSeek's {i}.",
            **more,
        }
        for i in range(n)
    ]
    return {"data/train-00000-of-00001.parquet": rows}


FILES = {
    "NuminaMATH": make_numina,
    "MATH": make_math,
    "OlympicArena": make_arena,
    "OmniMath": make_omni,
    "AGIEval": lambda n: make_agi(max(n, 15)),
    "xword": make_xword,
    "OlympiadBench": make_olympiad,
    "AIME (1983-2021)": make_aime,
    "TheoremQA": make_theorem_qa,
    "USACO": make_usaco,
    "JEEBench": make_jee,
    "GPQA": make_gpqa,
    "SciEval": make_sci_eval,
    "s1-prob": make_prob,
    "LiveCodeBench": make_code,
    "s1-teasers": make_teasers,
    "s59K": lambda n: make_published(n, 3),
    "s1K": make_published,
    "s1K-1.1": make_newer,
}


# ------------------------------------------------------------------ benchmarks


def aime_problem(i: int) -> dict:
    """A row of simplescaling/aime24_nofigures and its siblings."""
    return {
        "id": 60 + i,
        "problem": f"AIME problem {i}: find $m + {i}$.\n",
        "solution": f"It is $\\boxed{{{i:03}}}$.",
        "answer": f"{i:03}",
        "url": f"https://example.org/2024_AIME_I_Problems/Problem_{1 + i}",
    }


def aime_question(i: int) -> dict:
    """A row of TIGER-Lab/AIME25."""
    return {"id": f"{i}", "question": f"AIME 2025 question {i}: find $n$.", "answer": f"{10 * i}"}


def make_math_test(n: int) -> list:
    row = make_math(1)["train.jsonl"][0]
    return [{**row, "problem": f"MATH test {i}: what is $\\frac{{{i}}}{{7}}$? "} for i in range(n)]


def make_figures(n: int) -> list:
    rows = [aime_problem(i) for i in range(n)]
    return [{**row, "problem": row["problem"] + "[asy] draw(A--B); [/asy]" * (i % 3)} for i, row in enumerate(rows)]


BENCHMARKS = {  # name: hub id, file, questions, what makes as many rows
    "aime24": (
        "simplescaling/aime24_nofigures",
        "aime24_nofigures.jsonl",
        30,
        lambda n: [*map(aime_problem, range(n))],
    ),
    "aime24_figures": ("simplescaling/aime24_figures", "aime24_figures.jsonl", 30, make_figures),
    "aime25": ("TIGER-Lab/AIME25", "aime2025.jsonl", 30, lambda n: [*map(aime_question, range(n))]),
    "aime25_figures": ("simplescaling/aime25_figures", "aime25_figures.jsonl", 30, lambda n: make_figures(n + 40)[40:]),
    "math500": ("simplescaling/openaimath", "test.jsonl", 500, make_math_test),
    "gpqa_diamond": ("Idavidrein/gpqa", "gpqa_diamond.csv", 198, lambda n: [gpqa(f"diamond {i}") for i in range(n)]),
}


def write_benchmark(mirror: Path, name: str, rows: list[dict] | None = None) -> Path:
    """The file of one benchmark below `mirror`, with its full count of questions or with `rows`; returns the file."""
    hub_id, file, count, make = BENCHMARKS[name]
    write_table(mirror / hub_id / file, make(count) if rows is None else rows)
    return mirror / hub_id / file
