"""Any file of replies graded again, from a shell: JSON Lines of question, gold and response in, grades out.

    python -m s1_utils.grading SAMPLES.jsonl --out grades.jsonl
    python -m s1_utils.grading samples_aime24.jsonl --out grades.jsonl --question doc.problem --gold doc.answer \
        --response resps.0 --grader legacy_s1
    python -m s1_utils.grading SAMPLES.jsonl --out grades.jsonl --grader blind_judge --judge claude-sonnet-5-5 \
        --usd IN OUT --max-usd 5

Knows files, names of fields and hostile lines; leaves what is right to `graders`. Fields may lie deeper ("doc.answer",
"resps.0"); a response may be a list, of samples of its question. Reads line by line, never more than one of bounded
length and the answers of a chunk (with a judge its replies too); the output appears whole or not at all. A line that
can't be used is a row of its own in the output, {"line": …, "error": …}, and is named on stderr. What a judge said is
journalled beside the output, so that a run that was killed pays for nothing twice. Source: ours.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from s1_utils import graders, legacy_grader, scaling
from s1_utils.answer_text import find_boxed
from s1_utils.choice_letters import LETTERS, find_label, name_options, read_choices, read_lone_label
from s1_utils.collection import Judge
from s1_utils.errors import StudyError
from s1_utils.grading import extract_answer
from s1_utils.paper.answers import name_gold, write_text
from s1_utils.sources import hash_question
from s1_utils.store import write_atomically

LONGEST_LINE = 2**26  # bytes; 64 samples of 32,768 tokens are 20 MiB
CHUNK = 10_000  # answers that are compared together: children that do algebra start once a chunk
MOST_NAMED = 20  # bad lines on stderr
REPLY = "reply"  # of a row that waits for a judge; never written


@dataclass(frozen=True)
class Fields:
    """Where a line has what; a dot goes into an object or list. `options` may be absent from a line."""

    question: str = "question"
    gold: str = "gold"
    response: str = "response"
    options: str = "options"


@dataclass(frozen=True)
class Sample:
    """One reply to grade, with what a line says of its question. `gold`: a label for a choice; None if unknown."""

    question: str
    gold: str | None
    answer_type: str
    options: Mapping[str, str]
    number: int
    response: str


# ------------------------------------------------------------------ reading


def read_lines(path: Path, longest: int = LONGEST_LINE) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, its object, or what is wrong with it) of every line that isn't blank; holds one line at a time."""
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(longest + 1)
                yield number, f"longer than {longest:,} bytes"
            elif line.strip():
                yield number, _read_object(line)


def _read_object(line: bytes) -> dict[str, Any] | str:
    try:
        found = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if not line.endswith(b"\n"):
            return "torn: the file ends in the middle of it"
        return "not UTF-8" if isinstance(error, UnicodeDecodeError) else "no JSON"
    return found if isinstance(found, dict) else "no JSON object"


def read_samples(row: Mapping[str, Any], fields: Fields, answer_type: str = "auto") -> list[Sample]:
    """The replies of a line. Raises ValueError, with what is wrong, for a line that can't be used.

    A null gold leaves its replies undecided, a null response is an empty one. `answer_type` "auto": choice where the
    options are given, or listed in the question, and gold is one of them; else by gold's look.
    """
    question, gold, response = (find_field(row, name) for name in (fields.question, fields.gold, fields.response))
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{fields.question} is no text")
    replies = response if isinstance(response, list) else [response]
    if not all(isinstance(each, str | None) for each in replies):
        raise ValueError(f"{fields.response} is neither a text nor a list of texts")
    try:
        given = find_field(row, fields.options)
    except ValueError:
        given = None
    options = name_options(given) if given is not None else read_choices(question)
    kind, answer = _name_gold(_read_gold(gold, fields.gold), answer_type, options)
    known = options if kind == "choice" else {}
    return [Sample(question, answer, kind, known, i, each or "") for i, each in enumerate(replies)]


def find_field(row: Any, name: str) -> Any:
    """What `row` has under `name`, or under its parts one inside another. Raises ValueError if there is nothing."""
    if isinstance(row, dict) and name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    if isinstance(row, list) and head.isascii() and head.isdigit() and len(head) < 6 and int(head) < len(row):
        return find_field(row[int(head)], rest) if dot else row[int(head)]
    if dot and isinstance(row, dict) and head in row:
        return find_field(row[head], rest)
    raise ValueError(f"no {name}")


def _read_gold(value: Any, name: str) -> str | None:
    """Gold as text, None for none: of a list of one, after GSM8K's ####, or in a box where there is one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or (text := write_text(value)) is None:
        raise ValueError(f"{name} is neither a text nor a number")
    text = text.rpartition("####")[2]
    return (find_boxed(text) or text).strip()


def _name_gold(gold: str | None, answer_type: str, options: Mapping[str, str]) -> tuple[str, str | None]:
    """(answer type, gold as that is compared)."""
    if gold is None:
        return ("choice" if options else "expression") if answer_type == "auto" else answer_type, None
    if answer_type in ("auto", "choice"):
        label = find_label(gold, options) if options else read_lone_label(gold)
        if answer_type == "choice":
            if options and not label:
                raise ValueError(f"gold {gold:.40} is none of the options")
            return "choice", label or gold
        if label and (options or label in LETTERS):
            return "choice", label
    named = name_gold(gold)
    return (named.answer_type if answer_type == "auto" else answer_type), named.answer or gold


# ------------------------------------------------------------------ grading


def regrade(
    path: Path,
    out: Path,
    *,
    grader: str = graders.EXACT,
    answer_type: str = "auto",
    fields: Fields = Fields(),
    ask: legacy_grader.Ask | None = legacy_grader.stand_in,
    asked: Judge | None = None,
    workers: int = 2,
    seconds_each: float = 3.0,
    longest_line: int = LONGEST_LINE,
) -> Counter[str]:
    """Grade the file `path` into the file `out`, in the order of lines; counts of replies (and lines that are "bad").

    Counts: right, wrong (with an answer), no answer (wrong too), undecided, bad. `ask`: who answers in gpt-4o-mini's
    place; `asked`: the judge of "blind_judge". Raises StudyError for files that can't be read or written, and as
    `collection.ask_judge` does; `out` is then as it was.
    """
    if (grader == graders.BLIND) != (asked is not None):
        raise StudyError(f"A judge belongs to the grader {graders.BLIND}: give both, or neither.")
    if not path.is_file():
        raise StudyError(f"{path} is no file: name a JSON Lines file of replies.")
    if out.resolve() == path.resolve():
        raise StudyError(f"{out} is the file to be graded: give --out another name.")
    limits = {"workers": workers, "seconds_each": seconds_each}
    counts: Counter[str] = Counter()
    earlier: dict[str, dict[str, None]] = {}
    waiting: list[dict[str, Any]] = []
    with write_atomically(out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for number, found in read_lines(path, longest_line):
            try:
                if isinstance(found, str):
                    raise ValueError(found)
                samples = read_samples(found, fields, answer_type)
            except (ValueError, RecursionError) as error:
                waiting.append({"line": number, "error": str(error)[:200]})
                continue
            for sample in samples:
                graded = _begin(sample, earlier, grader, ask)
                waiting.append({"line": number, **graded} | ({REPLY: sample} if asked else {}))
            if len(waiting) >= CHUNK:
                _write(waiting, file, counts, limits, asked)
        _write(waiting, file, counts, limits, asked)
    return counts


def _begin(
    sample: Sample, earlier: dict[str, dict[str, None]], grader: str, ask: legacy_grader.Ask | None
) -> dict[str, Any]:
    """A row of the output; without its verdict, unless the original's grader gives one. The reply isn't kept."""
    name = hash_question(sample.question)
    row = {"question_id": name, "sample": sample.number, "grader": grader, "answer_type": sample.answer_type}
    if grader == graders.LEGACY:
        seen = earlier.setdefault(name, {})
        grade = graders.grade_by_original(sample.response, sample.gold, sample.answer_type, seen, ask)
        verdict = {"extracted": grade.extracted, "correct": grade.correct, "how": grade.how}
        return row | {"gold": sample.gold} | verdict
    options = graders.find_labels(sample.answer_type, sample.options)
    return row | {"gold": sample.gold, "extracted": extract_answer(sample.response, sample.answer_type, options)}


def _write(
    waiting: list[dict[str, Any]], file: TextIO, counts: Counter[str], limits: Mapping[str, Any], asked: Judge | None
) -> None:
    """Grade what waits, write and count it, and forget it."""
    left = [row for row in waiting if "error" not in row and "correct" not in row]
    answers = [(row["extracted"], row["gold"], row["answer_type"]) for row in left]
    for row, grade in zip(left, graders.grade_extracted(answers, **limits), strict=True):
        row |= {"correct": grade.correct, "how": grade.how}
    if asked and left:
        _ask_judge(left, asked, limits)
    for row in waiting:
        file.write(json.dumps(row) + "\n")
        counts[_name_outcome(row)] += 1
        if "error" in row and counts["bad"] <= MOST_NAMED:
            print(f"line {row['line']}: {row['error']}", file=sys.stderr)
    waiting.clear()


def _ask_judge(rows: list[dict[str, Any]], asked: Judge, limits: Mapping[str, Any]) -> None:
    """Give each row, graded by exact rules, what a judge finds where these found or decided nothing; drop its reply."""
    samples = [row.pop(REPLY) for row in rows]
    named = zip(rows, samples, strict=True)
    replies = pd.DataFrame([vars(sample) | {"question_id": row["question_id"]} for row, sample in named])
    exact = pd.DataFrame(rows).assign(row=range(len(rows)), grader=graders.EXACT)
    exact = exact[list(graders.GRADES)].astype(graders.GRADES)
    found = graders.grade_blind(replies, exact, asked, **limits)[["extracted", "correct", "how"]].astype("object")
    for row, verdict in zip(rows, found.where(found.notna(), None).to_dict("records"), strict=True):
        row |= verdict


def _name_outcome(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return "bad"
    if row["correct"] is None:
        return "undecided"
    return "right" if row["correct"] else "wrong" if row["extracted"] is not None else "no answer"


# ------------------------------------------------------------------ the command


def main(arguments: list[str] | None = None) -> int:
    """Grade one file; 1 if nothing in it could be graded."""
    lines = __doc__.splitlines()
    parser = argparse.ArgumentParser(prog="python -m s1_utils.grading", description=lines[0])
    parser.add_argument("samples", type=Path, help="JSON Lines, an object a line")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines to write, a reply a line")
    parser.add_argument("--grader", choices=[graders.EXACT, graders.LEGACY, graders.BLIND], default=graders.EXACT)
    kinds = ["auto", "choice", "integer", "expression"]
    parser.add_argument("--answer-type", choices=kinds, default="auto", help="of all golds; auto: by each one's look")
    for name, value in vars(Fields()).items():
        parser.add_argument(f"--{name}", default=value, help=f"where the {name} lies, such as {value} or doc.{value}")
    parser.add_argument(
        "--legacy-model", choices=["stand_in", "none"], default="stand_in",
        help="in gpt-4o-mini's place for legacy_s1: a local stand-in, or nothing, as the original without its key",
    )  # fmt: skip
    parser.add_argument("--judge", metavar="MODEL", help="Claude, to extract what rules don't find, for blind_judge")
    parser.add_argument("--usd", type=_read_usd, nargs=2, metavar=("IN", "OUT"), help="its prices per million tokens")
    parser.add_argument("--max-usd", type=_read_usd, help="the most that it may cost, with what earlier runs spent")
    parser.add_argument("--workers", type=_read_count, default=2, help="processes that do algebra")
    parser.add_argument("--seconds-each", type=float, default=3.0, help="for what needs algebra")
    parser.add_argument("--longest-line", type=_read_count, default=LONGEST_LINE, help="bytes; longer ones are bad")
    chosen = parser.parse_args(arguments)
    named = (chosen.judge, chosen.usd, chosen.max_usd)
    if (None in named) if chosen.grader == graders.BLIND else (named != (None, None, None)):
        parser.error(f"--grader {graders.BLIND}, --judge, --usd and --max-usd belong together: give all or none")
    fields = Fields(chosen.question, chosen.gold, chosen.response, chosen.options)
    try:
        counts = regrade(
            chosen.samples, chosen.out, grader=chosen.grader, answer_type=chosen.answer_type, fields=fields,
            ask=legacy_grader.stand_in if chosen.legacy_model == "stand_in" else None, workers=chosen.workers,
            seconds_each=chosen.seconds_each, longest_line=chosen.longest_line,
            asked=Judge(*named, chosen.out.with_name(chosen.out.name + ".asked")) if chosen.judge else None,
        )  # fmt: skip
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if counts["bad"] > MOST_NAMED:
        print(f"… and {counts['bad'] - MOST_NAMED} more bad lines, all named in {chosen.out}", file=sys.stderr)
    print(summarise(counts))
    return 0 if counts.total() > counts["bad"] else 1


def summarise(counts: Mapping[str, int]) -> str:
    """One line: how many replies came out how, their accuracy with Wilson's interval, and lines that are bad."""
    names = ("right", "wrong", "no answer", "undecided")
    n = sum(counts[name] for name in names)
    said = f"{n:,} replies: " + ", ".join(f"{counts[name]:,} {name}" for name in names)
    if n:
        share = scaling.bound_share(counts["right"], n)
        said += f"; {100 * share.value:.1f} % right ({100 * share.low:.1f} to {100 * share.high:.1f})"
    return said + f"; bad lines: {counts['bad']:,}"


def _read_usd(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text} is no sum above 0, such as 3 or 0.25")
    return float(text)


def _read_count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,9}", text):
        raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
