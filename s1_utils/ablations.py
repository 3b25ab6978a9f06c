"""Train and evaluate a model on every subset, at every training length, and told how long to think: the paper's tables
2, 7, 8, 11 and 12, at any size.

Joins selection, training and generation, one subfolder a run; knows nothing about statistics or plots.
Source: s1 sections 5.1 and D, table 7. Every run is resumable; its weights are deleted once it is evaluated.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import conditional, curves, generation, models, obedience, selection, sft, sft_data
from s1_utils.budget_forcing import Setting
from s1_utils.errors import StudyError
from s1_utils.sensitivity import grade_generations
from s1_utils.sources import derive_seed
from s1_utils.store import Journal, Stage, write_table


@dataclass(frozen=True)
class Run:
    """One model to train: a subset, the length its rows are cut at (0: none is cut), training seed, kind of text."""

    subset: str
    length: int
    seed: int
    kind: str = "s1"

    @property
    def recipe(self) -> str:
        """What seeds repeat: the subset, "@length" if rows are cut, and the kind of text unless it is s1."""
        kind = f"-{self.kind}" if self.kind != "s1" else ""
        return (f"{self.subset}@{self.length}" if self.length else self.subset) + kind

    @property
    def label(self) -> str:
        return f"{self.recipe}/{self.seed}"


def list_runs(params: Any) -> list[Run]:
    """Every run of the design: all subsets, then s1K at every training length; each with every seed.

    Raises StudyError for repeats, an unknown subset, a design without s1K, which all are compared with, a training
    length that cuts nothing off max_length, and lengths that can't be asked for.
    """
    conditional.require_asks(params)
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


def list_conditional(params: Any) -> list[Run]:
    """s1K once more in every kind of text that asks for a length, with every seed."""
    return [Run("s1K", 0, seed, kind) for kind in params.kinds for seed in params.seeds]


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
    for run in list_conditional(params):
        _require_room(base, _find_examples(rows, subsets, run), params, system, run)
    return _run_all(list_runs(params), "generations", stage, base, rows, subsets, tests, params, system)


def run_conditional(
    stage: Stage, base: Path, rows: pd.DataFrame, subsets: pd.DataFrame, tests: pd.DataFrame, params: Any, system: str
) -> pd.DataFrame:
    """Graded generations of models told how long to think: s1K in every kind of params.kinds, and plain s1K.

    Written as tables `generations_conditional` and `grades_conditional`; without kinds nothing is.
    """
    if not params.kinds:
        return obedience.make_empty()
    runs = [Run("s1K", 0, seed) for seed in params.seeds] + list_conditional(params)
    made = stage.table(
        "generations_conditional",
        lambda: _run_all(runs, "asked", stage, base, rows, subsets, tests, params, system),
    )
    grades = stage.table("grades_conditional", lambda: grade_generations(made, tests))
    return curves.join_grades(made, grades)


def _run_all(
    runs: list[Run], table: str, stage: Stage, base: Path, rows: pd.DataFrame, subsets: pd.DataFrame,
    tests: pd.DataFrame, params: Any, system: str,
) -> pd.DataFrame:  # fmt: skip
    """One of the tables of every run, put together."""
    tables = []
    for number, run in enumerate(runs, 1):
        examples = _find_examples(rows, subsets, run)
        print(f"run {number} of {len(runs)}, {run.label}: {len(examples)} examples", flush=True)
        tables.append(_run_one(stage, base, examples, tests, params, system, run)[table])
    return pd.concat(tables, ignore_index=True)


def _find_examples(rows: pd.DataFrame, subsets: pd.DataFrame, run: Run) -> pd.DataFrame:
    chosen = subsets[(subsets["subset"] == run.subset) & (subsets["seed"] == run.seed)]
    return rows[rows["question_id"].isin(chosen["question_id"])]


def _require_room(base: Path, examples: pd.DataFrame, params: Any, system: str, run: Run) -> None:
    """Raises StudyError before anything is trained, where asking for a length makes rows too long."""
    tokenizer = models.load_tokenizer(models.require_weights(base))
    options = {"system_prompt": system, "max_length": params.max_length, "kind": run.kind}
    try:
        sft_data.encode_rows(examples, tokenizer, **options)
    except StudyError as error:
        raise StudyError(f"{run.recipe}: {error}") from error


def _run_one(
    stage: Stage, base: Path, examples: pd.DataFrame, tests: pd.DataFrame, params: Any, system: str, run: Run
) -> dict[str, pd.DataFrame]:
    """The tables of a run, each from its file if that is there: `generations`, and `asked` if it is told lengths."""
    folder = stage.path("runs") / run.label.replace("/", "-")
    names = _list_tables(run, params)
    if not all((folder / f"{name}.parquet").exists() for name in names):
        if not (folder / "training.parquet").exists():
            cut = {"max_length": run.length} if run.length else {}
            trained = sft.launch_training(
                base, examples, folder, params.model_copy(update=cut), system_prompt=system, seed=run.seed,
                may_cut=bool(cut), kind=run.kind,
            )  # fmt: skip
            write_table(folder / "training.parquet", trained["training"])
            sft.remove_checkpoints(folder)
        for name in names:
            if not (folder / f"{name}.parquet").exists():
                with Journal(folder / f"{name}.jsonl", stage.key_hash) as journal:
                    table = _evaluate(name, folder / "model", tests, journal, params, system, run)
                write_table(folder / f"{name}.parquet", table)
    shutil.rmtree(folder / "model", ignore_errors=True)
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}


def _list_tables(run: Run, params: Any) -> list[str]:
    """What a run is evaluated for: plain s1K is the reference of the models that are told a length."""
    is_told = bool(params.kinds) and (run.subset, run.length) == ("s1K", 0)
    return (["generations"] if run.kind == "s1" else []) + (["asked"] if is_told else [])


def _evaluate(
    name: str, folder: Path, tests: pd.DataFrame, journal: Journal, params: Any, system: str, run: Run
) -> pd.DataFrame:
    options = {"label": run.label, "system_prompt": system}
    if name == "asked":
        return conditional.ask_lengths(folder, tests, journal, params, trained=run.kind, **options)
    return generation.sweep(folder, tests, find_settings(params), journal, params, **options)


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
