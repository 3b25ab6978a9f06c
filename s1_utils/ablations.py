"""Train and evaluate a model on every subset, and at every training length: the paper's tables 2, 7 and 8, at any size.

Joins selection, training and generation, one subfolder a run; knows nothing about statistics or plots.
Source: s1 section 5.1 and table 7. Every run is resumable; its weights are deleted once it is evaluated.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import generation, selection, sft
from s1_utils.budget_forcing import Setting
from s1_utils.errors import StudyError
from s1_utils.sources import derive_seed
from s1_utils.store import Journal, Stage, write_table


@dataclass(frozen=True)
class Run:
    """One model to train: a subset, the length its rows are cut at (0: none is cut), and the training seed."""

    subset: str
    length: int
    seed: int

    @property
    def recipe(self) -> str:
        """What seeds repeat: the subset, and "@length" if rows are cut."""
        return f"{self.subset}@{self.length}" if self.length else self.subset

    @property
    def label(self) -> str:
        return f"{self.recipe}/{self.seed}"


def list_runs(params: Any) -> list[Run]:
    """Every run of the design: all subsets, then s1K at every training length; each with every seed.

    Raises StudyError for repeats, an unknown subset, a design without s1K, which all are compared with, and a training
    length that cuts nothing off max_length.
    """
    for name in ("seeds", "subsets", "train_lengths"):
        values = getattr(params, name)
        if len(set(values)) < len(values):
            raise StudyError(f"{name} has repeats ({values}): each run needs its own.")
    for name in params.subsets:
        selection.find_design(name)
    if "s1K" not in params.subsets or not params.seeds:
        raise StudyError("subsets must hold s1K, which all others are compared with, and seeds at least one number.")
    if any(length >= params.max_length for length in params.train_lengths):
        raise StudyError(f"train_lengths must be shorter than max_length = {params.max_length}, which cuts nothing.")
    recipes = [(name, 0) for name in params.subsets] + [("s1K", length) for length in params.train_lengths]
    return [Run(name, length, seed) for name, length in recipes for seed in params.seeds]


def choose_subsets(features: pd.DataFrame, params: Any) -> pd.DataFrame:
    """The `subsets` table with a column seed: the rows of every subset, for every training seed.

    s1K has `subset_size` rows. The others have as many, or with `match` "tokens" as many as hold about as many thinking
    tokens; "full" has `full_factor` times the rows of s1K. With `reselect` every training seed has its own selection,
    otherwise all share one. Raises StudyError for more rows, or more tokens, than the pool has.
    """
    tables = []
    for seed in params.seeds:
        draw = {"seed": find_selection_seed(params, seed), "rule": params.rule}
        main = selection.select_subset("s1K", features, size=params.subset_size, **draw)
        tokens = _sum_tokens(main, features).iloc[-1]
        for name in params.subsets:
            size = params.subset_size * (params.full_factor if name == "full" else 1)
            if params.match == "tokens" and name not in ("s1K", "full"):
                table = select_by_tokens(name, features, tokens, **draw)
            else:
                table = selection.select_subset(name, features, size=size, **draw)
            tables.append(table.assign(seed=seed))
    return pd.concat(tables, ignore_index=True)


def select_by_tokens(name: str, features: pd.DataFrame, tokens: int, *, seed: int, rule: str) -> pd.DataFrame:
    """The beginning of a subset that holds as many thinking tokens as `tokens`, to within half a trace.

    Raises StudyError if all eligible rows hold fewer.
    """
    everything = selection.select_subset(
        name, features, size=len(selection.find_eligible(name, features)), seed=seed, rule=rule
    )
    total = _sum_tokens(everything, features)
    if total.iloc[-1] < tokens:
        raise StudyError(
            f"All {len(total)} rows of {name} hold {total.iloc[-1]} thinking tokens, s1K's {tokens}: lower subset_size."
        )
    nearest = int((total - tokens).abs().argmin())
    return everything.head(nearest + 1)


def _sum_tokens(subset: pd.DataFrame, features: pd.DataFrame) -> pd.Series:
    """Thinking tokens of a subset's rows up to each of them."""
    return subset["question_id"].map(features.set_index("question_id")["thinking_tokens"]).astype("int64").cumsum()


def find_selection_seed(params: Any, seed: int) -> int:
    """The seed of the selection that the training seed `seed` is trained on."""
    return derive_seed(params.seed, "selection", seed) if params.reselect else params.seed


def find_settings(params: Any) -> list[Setting]:
    """The settings each model is evaluated at: its natural end, and a forced budget."""
    return [Setting("wait", params.max_thinking, 0), Setting("budget", params.budget, params.budget)]


def run_ablations(
    stage: Stage, base: Path, rows: pd.DataFrame, subsets: pd.DataFrame, tests: pd.DataFrame, params: Any, system: str
) -> pd.DataFrame:
    """The `generations` table of every run, each trained from `base` and evaluated on `tests`.

    `rows`: question_id, question, thinking, attempt of the pool. The model column is the run's label.
    """
    tables = []
    runs = list_runs(params)
    for number, run in enumerate(runs, 1):
        chosen = subsets[(subsets["subset"] == run.subset) & (subsets["seed"] == run.seed)]
        examples = rows[rows["question_id"].isin(chosen["question_id"])]
        print(f"run {number} of {len(runs)}, {run.label}: {len(examples)} examples", flush=True)
        tables.append(_run_one(stage, base, examples, tests, params, system, run))
    return pd.concat(tables, ignore_index=True)


def _run_one(
    stage: Stage, base: Path, examples: pd.DataFrame, tests: pd.DataFrame, params: Any, system: str, run: Run
) -> pd.DataFrame:
    folder = stage.path("runs") / run.label.replace("/", "-")
    done = folder / "generations.parquet"
    if not done.exists():
        if not (folder / "training.parquet").exists():
            cut = {"max_length": run.length} if run.length else {}
            trained = sft.train(
                base, examples, folder, params.model_copy(update=cut), system_prompt=system, seed=run.seed,
                may_cut=bool(cut),
            )  # fmt: skip
            write_table(folder / "training.parquet", trained["training"])
            sft.remove_checkpoints(folder)
        with Journal(folder / "generations.jsonl", stage.key_hash) as journal:
            table = generation.sweep(
                folder / "model", tests, find_settings(params), journal, params, label=run.label, system_prompt=system
            )
        write_table(done, table)
    shutil.rmtree(folder / "model", ignore_errors=True)
    return pd.read_parquet(done)


def summarise_lengths(curve: pd.DataFrame, subsets: pd.DataFrame, features: pd.DataFrame, params: Any) -> pd.DataFrame:
    """s1K by training length: share of its rows cut, and what the models then write and get right at natural ends.

    Columns label, train_length, cut, seed, thinking_tokens, accuracy, low, high, n; s1's tables 7 and 8.
    """
    rows = [_describe_length(curve, subsets, features, params, run) for run in _list_lengths(params)]
    return pd.DataFrame(rows)


def _list_lengths(params: Any) -> Iterator[Run]:
    for length in [*sorted(params.train_lengths), 0]:
        yield from (Run("s1K", length, seed) for seed in params.seeds)


def _describe_length(curve: pd.DataFrame, subsets: pd.DataFrame, features: pd.DataFrame, params: Any, run: Run) -> dict:
    chosen = subsets.loc[(subsets["subset"] == "s1K") & (subsets["seed"] == run.seed), "question_id"]
    lengths = features.set_index("question_id")["train_tokens"].loc[chosen]
    length = run.length or params.max_length
    point = curve[(curve["model"] == run.label) & (curve["control"] == "wait")].iloc[0]
    cut = float((lengths > length).mean())
    return {
        "label": f"{length} tokens: {100 * cut:.0f} % cut" + (f", seed {run.seed}" if len(params.seeds) > 1 else ""),
        "train_length": length,
        "cut": cut,
        "seed": run.seed,
        **point[["thinking_tokens", "accuracy", "low", "high", "n"]].to_dict(),
    }
