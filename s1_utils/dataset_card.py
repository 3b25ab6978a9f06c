"""The questions and traces that a run trained on, as a data set to share: its table and its card.

Knows the columns of notebooks 1 and 2 and the hub's metadata; knows nothing about uploading. Every number comes from
the run's tables and manifests; what they don't say isn't there. Tests: tests/test_cards.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import card_parts, sft, store
from s1_utils.card_parts import write_block, write_code, write_table
from s1_utils.finished_run import FinishedRun, describe_provenance

STAGES = ("01_collect", "02_filter")
DATA = "data/train-00000-of-00001.parquet"
COLUMNS = {
    "question_id": "first 16 hexadecimal digits of the question's sha256",
    "question": "the question, as it was asked",
    "solution": "its source's solution, where there is one",
    "answer": "its source's answer",
    "answer_type": "how an answer is compared",
    "source": "where the question is from",
    "licence": "of its source",
    "domain": "as notebook 2 labelled it",
    "cot_type": "its source's kind of reasoning",
    "teacher": "who wrote the trace",
    "thinking": "the trace",
    "attempt": "the teacher's answer",
    "thinking_tokens": "of the trace, as notebook 1 counts them",
    "attempt_correct": "whether the attempt is right, by `grader`; null: undecided",
    "grader": "who decided that",
    "step": "at which step of the selection the question was picked",
    "rank": "of its length within its domain then, from 0, the longest",
    "reason": "why it was picked",
}
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def find_subset(run: FinishedRun) -> str:
    """The subset that notebook 3 trained on, or the first one selected where it didn't train."""
    if "03_sft" in run.manifests:
        return str(run.manifests["03_sft"]["key"]["params"]["subset"])
    return str(run.read("02_filter", "subsets")["subset"].iloc[0])


def collect_rows(run: FinishedRun, subset: str) -> pd.DataFrame:
    """The rows of a subset in the order of its selection, one a question, with COLUMNS."""
    picked = run.read("02_filter", "subsets").query("subset == @subset")
    rows = sft.choose_rows(run, subset).drop(columns=["domain"])
    return rows.merge(picked, on="question_id", validate="1:1")[list(COLUMNS)]


def write_data(rows: pd.DataFrame, folder: Path) -> Path:
    """The rows as Parquet; the same rows always give the same bytes."""
    store.write_table(folder / DATA, rows)
    return folder / DATA


def list_licences(rows: pd.DataFrame) -> list[str]:
    """Identifiers of the hub, each once; unknown among them where a row's licence isn't known."""
    return sorted({card_parts.name_licence(licence) or "unknown" for licence in rows["licence"]})


def make_card(run: FinishedRun, rows: pd.DataFrame, *, subset: str, commands: str) -> str:
    """The README.md of the data set."""
    from huggingface_hub import DatasetCard, DatasetCardData

    data = DatasetCardData(
        license=list_licences(rows),
        pretty_name=f"s1-study {run.name}: {len(rows):,} questions with reasoning traces",
        size_categories=[next((name for limit, name in SIZES if len(rows) < limit), "n>1M")],
        task_categories=["text-generation"],
        tags=["s1", "reasoning", "test-time-scaling"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    )
    known = describe(run, rows, subset=subset, commands=commands)
    template = Path(DatasetCard.default_template_path).read_text("utf-8")
    return str(DatasetCard.from_template(data, template_str=card_parts.prune_template(template, known), **known))


def describe(run: FinishedRun, rows: pd.DataFrame, *, subset: str, commands: str) -> dict[str, Any]:
    """What the template's placeholders stand for, where it is known."""
    stages = {name: stage for name, stage in describe_provenance(run).items() if name in STAGES}
    tokens = int(rows["thinking_tokens"].sum())
    outputs = ("questions.parquet", "traces.parquet", "trace_grades.parquet", "features.parquet", "subsets.parquet")
    return {
        "pretty_name": f"s1-study {run.name}, subset {write_code(subset)}",
        "dataset_summary": f"{len(rows):,} questions, each with one reasoning trace and answer of a teacher, selected "
        f"from {len(run.read('01_collect', 'questions')):,} as subset {write_code(subset)} of a reproducibility study "
        f"of s1 (arXiv 2501.19393). {tokens:,} thinking tokens in all.",
        "dataset_description": describe_selection(subset, run.manifests["02_filter"]["key"]["params"]),
        "license": "of each row its source's, in the column `licence`:\n\n" + list_sources(rows),
        "paper": card_parts.PAPER,
        "direct_use": "Fine-tuning a language model to think before it answers, and comparing ways to select such "
        "data. Stating a licence here gives no rights that a source or a teacher's provider doesn't give.",
        "out_of_scope_use": "As a test set: models of this study were trained on it.",
        "dataset_structure": "One row a question, in the order of the selection.\n\n"
        + write_table([(f"`{name}`", text) for name, text in COLUMNS.items()], ("column", "what it is"))
        + "\n\nThe first row's trace:\n\n"
        + write_block(str(rows["thinking"].iloc[0])),
        "bias_risks_limitations": "Traces are the teachers' own, with their errors; nobody has read them all. They "
        "may hold anything that a source or a model writes. Questions that models here already solve are missing by "
        "design.",
        "bias_recommendations": "Look at the columns `source`, `licence` and `attempt_correct` before using rows.",
        "citation_bibtex": card_parts.BIBTEX,
        "more_information": f"### How to make it again\n\n{commands}\n\n### Where it comes from\n\n"
        + card_parts.describe_hashes(stages, outputs)
        + f"\n\nVersions: {card_parts.describe_versions(stages)}.",
        **_describe_making(run, rows),
    }


def _describe_making(run: FinishedRun, rows: pd.DataFrame) -> dict[str, str]:
    collected, filtered = (run.manifests[stage]["key"]["params"] for stage in STAGES)
    graded = rows["attempt_correct"].dropna()
    return {
        "curation_rationale_section": "The paper's claim is that few well-chosen examples are enough; this is what "
        "such a choice looks like in this run. From all questions to the subset:\n\n" + list_funnel(run),
        "data_collection_and_processing_section": "Questions that share text with a test set were removed beforehand. "
        "Parameters of notebook 1:\n\n"
        + card_parts.write_params(collected)
        + "\n\nand of notebook 2:\n\n"
        + card_parts.write_params(filtered),
        "source_data_producers_section": list_teachers(rows),
        "annotation_process_section": f"Of {len(graded):,} attempts that could be graded, "
        f"{int(graded.sum()):,} are right; {len(rows) - len(graded):,} are undecided. Wrong ones were kept: the trace "
        "is what is learnt.",
    }


def describe_selection(subset: str, filtered: Mapping[str, Any]) -> str:
    chosen = f"Selected as {write_code(subset)} by the rule {write_code(filtered['rule'])}, seed {filtered['seed']}"
    if subset != "s1K":
        return f"{chosen}: one of the selections that s1K is compared with."
    return (
        f"{chosen}: of the questions of sound form that the models asked did not solve, spread over domains, long "
        "traces preferred."
    )


def list_sources(rows: pd.DataFrame) -> str:
    """Questions of every source and licence, as a table."""
    counts = rows.groupby(["source", "licence"]).size().sort_values(ascending=False)
    lines = [
        (write_code(card_parts.shorten_path(source)), write_code(licence), f"{n:,}")
        for (source, licence), n in counts.items()
    ]
    return write_table(lines, ("source", "licence", "questions"))


def list_teachers(rows: pd.DataFrame) -> str:
    """Traces of every teacher, as a table."""
    groups = rows.groupby("teacher")["thinking_tokens"].agg(["size", "mean"]).sort_values("size", ascending=False)
    lines = [
        (write_code(card_parts.hide_places(row.Index)), f"{row.traces:,}", f"{row.length:,.0f}")
        for row in groups.rename(columns={"size": "traces", "mean": "length"}).itertuples()
    ]
    return write_table(lines, ("teacher", "traces", "mean thinking tokens"))


def list_funnel(run: FinishedRun) -> str:
    lines = [(write_code(row.step), f"{row.rows:,}") for row in run.read("02_filter", "funnel").itertuples()]
    return write_table(lines, ("step", "questions left"))
