"""Train and evaluate a model on every subset: the paper's Table 2, at any size.

Joins selection, training and generation, one subfolder a run; knows nothing about statistics or plots.
Source: s1 section 5.1. Every run is resumable; its weights are deleted once it is evaluated.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import generation, selection, sft
from s1_utils.budget_forcing import Setting
from s1_utils.errors import StudyError
from s1_utils.store import Journal, Stage, write_table


def choose_subsets(features: pd.DataFrame, params: Any) -> pd.DataFrame:
    """The `subsets` table of all subsets of the design; "full" has `full_factor` times the rows of the others.

    Raises StudyError for repeated seeds, or more rows than the pool has.
    """
    if len(set(params.seeds)) < len(params.seeds):
        raise StudyError(f"seeds has repeats ({params.seeds}): each run needs its own.")
    sizes = {name: params.subset_size * (params.full_factor if name == "full" else 1) for name in params.subsets}
    tables = [selection.select_subset(name, features, size=size, seed=params.seed) for name, size in sizes.items()]
    return pd.concat(tables, ignore_index=True)


def find_settings(params: Any) -> list[Setting]:
    """The settings each model is evaluated at: its natural end, and a forced budget."""
    return [Setting("wait", params.budget, 0), Setting("budget", params.budget, params.budget)]


def run_ablations(
    stage: Stage, base: Path, rows: pd.DataFrame, subsets: pd.DataFrame, tests: pd.DataFrame, params: Any, system: str
) -> pd.DataFrame:
    """The `generations` table of every subset and training seed, each trained from `base` and evaluated on `tests`.

    `rows`: question_id, question, thinking, attempt of the pool. The model column is "subset/seed".
    """
    tables = []
    for name, chosen in subsets.groupby("subset", sort=False):
        examples = rows[rows["question_id"].isin(chosen["question_id"])]
        for seed in params.seeds:
            tables.append(_run_one(stage, base, examples, tests, params, system, f"{name}/{seed}", seed))
    return pd.concat(tables, ignore_index=True)


def _run_one(
    stage: Stage,
    base: Path,
    examples: pd.DataFrame,
    tests: pd.DataFrame,
    params: Any,
    system: str,
    label: str,
    seed: int,
) -> pd.DataFrame:
    folder = stage.path("runs") / label.replace("/", "-")
    done = folder / "generations.parquet"
    if not done.exists():
        print(f"{label}: {len(examples)} examples, {params.epochs} epoch(s)", flush=True)
        if not (folder / "training.parquet").exists():
            trained = sft.train(base, examples, folder, params, system_prompt=system, seed=seed)
            write_table(folder / "training.parquet", trained["training"])
            sft.remove_checkpoints(folder)
        with Journal(folder / "generations.jsonl", stage.key_hash) as journal:
            table = generation.sweep(
                folder / "model", tests, find_settings(params), journal, params, label=label, system_prompt=system
            )
        write_table(done, table)
    shutil.rmtree(folder / "model", ignore_errors=True)
    return pd.read_parquet(done)


def summarise_subsets(subsets: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """One row a subset: questions, domains, mean thinking tokens, share solved by the base model."""
    joined = subsets.merge(features, on="question_id")
    table = joined.groupby("subset", sort=False).agg(
        questions=("question_id", "size"),
        domains=("domain", "nunique"),
        thinking_tokens=("thinking_tokens", "mean"),
        solved=("solved", "mean"),
    )
    return table.reset_index().round(3)
