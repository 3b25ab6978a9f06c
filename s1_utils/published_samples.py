"""Replies of real models that others published, read, graded again and voted on, without a GPU.

Knows lm-eval's sample files as the paper's authors published them (hf.co/datasets/simplescaling/results, a local copy)
and how graded rows become pass@k and maj@k; CHAMP's conversations come from `champ_replies`, verdicts from the graders,
expectations from `votes`. A verdict that came with a file is only compared with ours. Source: s1's evaluation code:
its samples of a question are the texts of one line, its grader saw gold, its cov@k and maj@k are of the first k.

    python -m s1_utils.published_samples PATH|champ --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import champ_replies, graders, math_text, plots, scaling, vote_plots, votes
from s1_utils.api_teachers.replies import mend_text
from s1_utils.errors import StudyError
from s1_utils.paper.answers import LETTERS, name_gold
from s1_utils.sources import hash_question
from s1_utils.store import require_columns, write_table

LONGEST_LINE = 2**28  # bytes; 64 samples of 32,768 tokens are about 20 MiB, twice
MOST_TEXTS = votes.MOST_SAMPLES  # of a question
LARGEST_FILES = 2**32  # bytes, together: all of them are held
COLUMNS = {
    "model": "str", "setting": "str", "task": "str", "question_id": "str", "sample": "int64", "question": "str",
    "gold": "string", "answer_type": "str", "options": "object", "response": "string", "published": "boolean",
    "published_answer": "string",
}  # fmt: skip
KEYS = ["model", "setting", "task"]
QUESTION = ("problem", "Question", "question", "prompt")  # what tasks call it

# ------------------------------------------------------------------ reading


def read_sample_files(path: Path) -> pd.DataFrame:
    """One row a sample, columns `COLUMNS`, of a samples_*.jsonl of lm-eval, or of all of them below a folder.

    The model is the file's folder, the setting the folder above it, as the authors laid them out. `published`: the
    verdict that came with the sample, null where a file has only the first one's. Raises StudyError for none, more
    than fit, and a line that isn't such a sample, with its number.
    """
    paths = sorted(path.rglob("samples_*.jsonl")) if path.is_dir() else [path]
    if not paths or not all(each.is_file() for each in paths):
        raise StudyError(f"{path} has no samples_*.jsonl: give such a file of lm-eval, or a folder with some.")
    if sum(each.stat().st_size for each in paths) > LARGEST_FILES:
        raise StudyError(f"{path} holds more than 4 GiB of samples: grade its folders or files one by one.")
    rows = [row for each in paths for row in _read_file(each)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _read_file(path: Path) -> Iterator[dict[str, Any]]:
    named = re.fullmatch(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT[\d.:-]+)?", path.stem)
    same = {"model": path.parent.name, "setting": path.parent.parent.name, "task": named[1] if named else path.stem}
    seen: Counter[str] = Counter()
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            try:
                for row in _read_line(line, same["task"]) if line.strip() else ():
                    yield {**same, **row, "sample": seen[row["question_id"]]}
                    seen[row["question_id"]] += 1
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise StudyError(
                    f"Line {number} of {path} is no sample of lm-eval ({type(error).__name__}: {str(error)[:80]}): "
                    "fetch the file again, or delete that line."
                ) from error


def _read_line(line: bytes, task: str) -> Iterator[dict[str, Any]]:
    if len(line) > LONGEST_LINE:
        raise ValueError("longer than 256 MiB")
    fields = json.loads(line)
    doc = fields["doc"]
    question = next((doc[name] for name in QUESTION if isinstance(doc.get(name), str)), None)
    texts = list(_flatten(fields["resps"])) or list(_flatten(fields["filtered_resps"]))
    if question is None or not 0 < len(texts) <= MOST_TEXTS:
        raise ValueError("no question" if question is None else f"{len(texts)} texts")
    question, texts = mend_text(question), [mend_text(text) for text in texts]  # lone surrogates can't be written
    is_choice = "gpqa" in task or "choices" in doc or "Correct Answer" in doc
    gold, answer_type, options = _read_gold(fields.get("target", doc.get("answer")), is_choice)
    same = {"question_id": hash_question(question), "question": question, "gold": gold, "answer_type": answer_type}
    for text, verdict, answer in zip(texts, *_read_verdicts(fields, len(texts)), strict=True):
        found = {"response": text, "published": verdict, "published_answer": answer}
        yield {**same, "options": options, **found}


def _read_gold(target: Any, is_choice: bool) -> tuple[str | None, str, tuple[str, ...]]:
    """(gold, its type, the labels of a choice)."""
    gold = None if target is None else mend_text(str(target))
    label = (gold or "").strip(" ()")
    if is_choice and label in LETTERS:
        return label, "choice", LETTERS
    return gold, name_gold(gold).answer_type, ()


def _flatten(value: Any) -> Iterator[str]:
    """The texts of nested lists. Raises ValueError for what is no text, such as a choice's log-probability."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _flatten(each)
    else:
        raise ValueError(f"{str(value)[:20]!r} is no text that a model wrote")


def _read_verdicts(fields: Mapping[str, Any], n: int) -> tuple[list[bool | None], list[str | None]]:
    """(verdict, extracted answer) of each of n samples, as far as they were published."""
    verdicts = fields.get("exact_matches") or [fields.get("exact_match")]
    answers = fields.get("extracted_answers") or []
    known = [verdict > 0 if isinstance(verdict, int | float) else None for verdict in verdicts][:n]
    said = [None if answer is None else mend_text(str(answer)) for answer in answers][:n]
    return known + [None] * (n - len(known)), said + [None] * (n - len(said))


def read_champ() -> pd.DataFrame:
    """CHAMP's conversations with these columns too; task "champ", nothing published but where steps are wrong."""
    rows = champ_replies.read_champ_replies()
    return rows.assign(task="champ", published=pd.array([pd.NA] * len(rows), dtype="boolean"), published_answer=pd.NA)


# ------------------------------------------------------------------ grading


def grade_samples(rows: pd.DataFrame, **limits: Any) -> pd.DataFrame:
    """`rows` with extracted, correct (null: open, a judge may decide), how, and vote: equal texts vote together.

    Verdicts are those of the grader "exact" (`limits`: workers, seconds_each); what is wrong for want of an answer is
    open where answers were read from a sentence (CHAMP's, whose `extracted` is kept), unless the reply was cut. `vote`
    is the one spelling of `extracted`, blind to gold.
    """
    require_columns(rows, [*KEYS, "sample", *graders.REPLIES], "The table to grade")
    graded = rows.reset_index(drop=True)
    is_stated = "extracted" in graded
    if not is_stated:
        graded["extracted"] = pd.array(graders.extract_answers(graded), dtype="string")
    sides = [graded[name].astype("object").where(graded[name].notna(), None) for name in ("extracted", "gold")]
    found = graders.grade_extracted(list(zip(*sides, graded["answer_type"], strict=True)), **limits)
    graded["correct"] = pd.array([grade.correct for grade in found], dtype="boolean")
    graded["how"] = pd.array([grade.how for grade in found], dtype="string")
    if is_stated:
        known = graded["correct"].mask(graded["extracted"].isna(), pd.NA)
        graded["correct"] = known.mask(graded["finish"] == "length", False)
    spelled = {text: _spell(text) for text in graded["extracted"].dropna().unique()}
    return graded.assign(vote=graded["extracted"].map(spelled).astype("string"))


def _spell(said: str) -> str:
    text = math_text.read_answer(said).text if len(said) <= math_text.LONGEST else ""
    number = math_text.read_number(text)  # numbers vote by value, expressions in one spelling
    return text or said if number is None else str(number)


def price_grading(rows: pd.DataFrame, **limits: Any) -> pd.DataFrame:
    """`graders.price_graders`, exact and original, by model, setting and task; a stand-in answers for gpt-4o-mini."""
    replies = rows.reset_index(drop=True)
    grades = graders.grade_replies(replies, **limits)
    return graders.price_graders(grades.join(replies[KEYS], on="row"), by=KEYS)


# ------------------------------------------------------------------ tables


def compare_verdicts(graded: pd.DataFrame) -> pd.DataFrame:
    """Our verdicts beside the published ones, one row a model, setting and task with any.

    Columns: samples, published and ours (shares right), agree (share, with its 95 % interval low, high), lost (right
    only by the published verdict), found (right only by ours).
    """
    both = graded[graded["published"].notna() & graded["correct"].notna()]
    rows = []
    for key, own in both.groupby(KEYS, sort=False):
        theirs, ours = own["published"].to_numpy(bool), own["correct"].to_numpy(bool)
        agree = _bound_decided(pd.Series(theirs == ours))
        lost, found = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
        rows.append((*key, len(own), theirs.mean(), ours.mean(), *agree, lost, found))
    return pd.DataFrame(rows, columns=[*KEYS, *"samples published ours agree low high lost found".split()])


def compare_steps(graded: pd.DataFrame) -> pd.DataFrame:
    """CHAMP's conversations that people read, one row a model and whether they found all steps right.

    Columns: read, undecided, right (share of the decided), low, high. Where all steps are right the answer should be.
    """
    known = graded[graded["steps_right"].notna()]
    rows = []
    for key, own in known.groupby(["model", "steps_right"], sort=False):
        undecided = int(own["correct"].isna().sum())
        rows.append((*key, len(own), undecided, *_bound_decided(own["correct"])))
    return pd.DataFrame(rows, columns=["model", "steps_right", "read", "undecided", "right", "low", "high"])


def measure_accuracy(graded: pd.DataFrame) -> pd.DataFrame:
    """One row a model, setting and task: samples, undecided (share), accuracy of the decided, with Wilson's interval.

    The intervals take samples as independent, which those of one question aren't: with many samples a question, read
    `measure_votes` at k = 1.
    """
    rows = []
    for key, own in graded.groupby(KEYS, sort=False):
        rows.append((*key, len(own), own["correct"].isna().mean(), *_bound_decided(own["correct"])))
    return pd.DataFrame(rows, columns=[*KEYS, "samples", "undecided", "accuracy", "low", "high"])


def _bound_decided(correct: pd.Series) -> tuple[float, float, float]:
    """(share, low, high) of what is decided; no numbers if nothing is."""
    decided = correct.dropna().to_numpy(bool)
    if not len(decided):
        return (float("nan"),) * 3
    right = scaling.bound_share(int(decided.sum()), len(decided))
    return float(right.value), float(right.low), float(right.high)


def measure_votes(
    graded: pd.DataFrame, *, ks: Sequence[int] = (), resamples: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """pass@k and maj@k of every model, setting and task over all subsets of k samples, with intervals over questions.

    Columns: questions, k, undecided (share of samples, counted as wrong), then pass_k and maj_k, each with _low and
    _high: 95 %, questions resampled. `ks`: all powers of two and the number of samples if empty. Raises StudyError
    where questions of a group differ in their number of samples, or have more than 1,000.
    """
    rows = []
    for key, own in graded.groupby(KEYS, sort=False):
        is_right = own["correct"].fillna(False).astype(bool)
        samples = votes.stack_samples(own.assign(correct=is_right, thinking_tokens=0))
        n = samples.correct_QS.shape[1]
        if n > votes.MOST_SAMPLES:
            raise StudyError(f"{', '.join(key)} has {n} samples a question: keep {votes.MOST_SAMPLES} of them.")
        weights = scaling.resample(len(samples.question_ids), resamples, seed)
        curves = {
            "pass_k": votes.expect_passes(samples.correct_QS),
            "maj_k": votes.expect_majorities(samples.answer_QS, samples.correct_QS),
        }
        for k in [k for k in ks or votes.choose_ks(n) if k <= n]:
            counts = {"questions": len(samples.question_ids), "k": k, "undecided": own["correct"].isna().mean()}
            row = {**dict(zip(KEYS, key, strict=True)), **counts}
            for name, values_QK in curves.items():
                found = scaling.bootstrap_mean(values_QK[:, k - 1], weights)
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ the shell


def write_report(folder: Path, graded: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write samples.parquet, accuracy.csv and all `tables` as .csv; print the tables."""
    write_table(folder / "samples.parquet", graded)
    for name, table in {"accuracy": measure_accuracy(graded), **tables}.items():
        _show(folder / f"{name}.csv", table)


def write_votes(folder: Path, measured: pd.DataFrame) -> None:
    """Write and print votes.csv, and draw votes.svg and .png where a model has several samples a question."""
    _show(folder / "votes.csv", measured)
    if len(curves := vote_plots.name_panels(measured)):
        plots.save(plots.draw("votes", curves), folder, "votes")


def _show(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False)
    print(f"{path.stem}\n{table.to_string(index=False, float_format=lambda x: f'{x:.3f}')}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.published_samples", description=__doc__.splitlines()[0])
    parser.add_argument("path", help="a samples_*.jsonl, a folder with some, or champ")
    parser.add_argument("--out", type=Path, required=True, help="folder for samples.parquet and the tables (.csv)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.path == "champ":
            graded = grade_samples(read_champ())
            pooled = champ_replies.pool_prompts(graded[graded["answer_type"] != "text"])
            tables = {"steps": compare_steps(graded)}
        else:
            pooled = graded = grade_samples(read_sample_files(Path(chosen.path)))
            tables = {"agreement": compare_verdicts(graded), "graders": price_grading(graded)}
        write_report(chosen.out, graded, tables)  # before votes are counted, which may be refused
        write_votes(chosen.out, measure_votes(pooled))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
