"""What notebook 2 has to ask others about its pool: each question's domain, and which solvers solve it.

Joins the labellers, the solvers, the graders and the parameters of the notebook; knows nothing about how each works,
nor what is selected. Paid answers are journalled in a folder beside the stage's, which no rebuilding deletes.
Source: s1 section 2.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import collection, domains, models, selection, solver_models, solvers
from s1_utils.chat import PLAIN
from s1_utils.domain_classifier import measure_classifier
from s1_utils.errors import StudyError
from s1_utils.generation import load_writer
from s1_utils.params import FilterParams
from s1_utils.store import Stage

LABELLER = ["labelled_by", "questions", "unlabelled", "held_out", "accuracy", "low", "high", "baseline"]


def check_params(p: FilterParams) -> None:
    """Raises StudyError for subsets, solvers and labellers that can't be had, before anything is asked or paid for."""
    for name in p.subsets:
        selection.find_design(name)
    if not p.subsets or len(set(p.subsets)) < len(p.subsets):
        raise StudyError(f"subsets is empty or has repeats ({p.subsets}): name each selection once.")
    if max(p.subset_size, p.stability_size) > p.pool_size:
        raise StudyError(f"No {p.subset_size} questions can be chosen from a pool of {p.pool_size}: raise pool_size.")
    solvers.read_solvers(p.solvers)
    if p.domains == "classifier" and not p.labels:
        raise StudyError(domains.NO_LABELS)
    if p.domains == "judge" and not p.judge:
        raise StudyError("Labels by the judge need a model: set judge and judge_usd, or choose another way to label.")


def find_asked_folder(stage: Stage) -> Path:
    """Where what was paid for is kept: beside the stage's own folder."""
    return stage.folder.parent / "asked" / "02_filter"


def label_pool(pool: pd.DataFrame, p: FilterParams, asked_folder: Path) -> dict[str, pd.DataFrame]:
    """The `domains` of the pool's questions, and the `labeller`: who named how many, and how good a classifier is.

    The accuracy of a classifier, with its 95 % interval, is that on published labels that it was not trained on;
    `baseline` that of always naming the commonest class. Null for other labellers.
    """
    published, measured = None, {}
    if p.domains == "classifier":
        mirror = Path(p.mirror) if p.mirror else None
        name, _, revision = p.labels.partition("@")
        published = domains.read_published_labels(name, mirror=mirror, revision=revision or None).rows
        found = measure_classifier(published, seed=p.seed)
        measured = {"held_out": found.n_held_out} | {name: getattr(found, name) for name in LABELLER[4:]}
    judge = collection.Judge(p.judge, p.judge_usd, share_usd(p), asked_folder) if p.judge else None
    labels = domains.label_domains(pool, p.domains, seed=p.seed, labelled=published, judge=judge)
    counts = labels.groupby("labelled_by", dropna=False).agg(
        questions=("question_id", "size"), unlabelled=("domain", lambda names: int(names.isna().sum()))
    )
    table = counts.reset_index().reindex(columns=LABELLER)
    is_made = table["labelled_by"] == "classifier"
    for name, value in measured.items():
        table.loc[is_made, name] = value
    return {"domains": labels, "labeller": table.astype(dict.fromkeys(LABELLER[3:], "float64"))}


def share_usd(p: FilterParams) -> float:
    """The dollars of the labels, and of the grades: half each, if the judge is needed for both."""
    needs_both = p.domains == "judge" and any(solver.model for solver in solvers.read_solvers(p.solvers))
    return p.max_usd / 2 if needs_both else p.max_usd


def ask_solvers(
    pool: pd.DataFrame, usable: pd.DataFrame, model: dict[str, Any], p: FilterParams, stage: Stage
) -> pd.DataFrame:
    """The `askings`: one row a question, solver and asking, with extracted, correct (null: undecided) and grader.

    `usable`: what worked examples are taken from, those of the pool excepted; `model`: the base model's record. Solvers
    are asked one after another, and every group of answers is journalled.
    """
    named, journal = solvers.read_solvers(p.solvers), stage.journal("askings")
    own = [solver.name for solver in named if not solver.model]
    tables = []
    if own:
        tables.append(_ask_base(own, pool, usable, model, p, journal))
    if len(own) < len(named):
        folder = find_asked_folder(stage)
        options = {"max_tokens": p.solver_tokens, "group_size": p.group_size, "seed": p.seed}
        asked = solver_models.ask_models(
            named, pool, journal=journal, asked_folder=folder, temperature=p.solver_temperature, **options
        )
        spendable = p.model_copy(update={"max_usd": share_usd(p)})
        tables.append(collection.grade_attempts(asked, pool, spendable, asked_folder=folder))
    return pd.concat(tables, ignore_index=True)


def _ask_base(
    own: list[str], pool: pd.DataFrame, usable: pd.DataFrame, model: dict[str, Any], p: FilterParams, journal: Any
) -> pd.DataFrame:
    shown = usable[~usable["question_id"].isin(pool["question_id"]) & usable["attempt_correct"].fillna(False)]
    examples = shown.sort_values(["domain", "train_tokens", "question_id"]).groupby("domain").head(p.worked_examples)
    asked = solvers.ask_solvers(
        load_writer(models.find_recorded(model), model["system_prompt"], PLAIN),
        pool,
        examples[["domain", "question", "thinking", "answer"]],
        journal,
        askings=p.askings,
        solver_tokens=p.solver_tokens,
        group_size=p.group_size,
        seed=p.seed,
        instruction=model["instruction"],
        solvers=own,
    )
    return asked.assign(correct=asked["correct"].astype("boolean"), grader="exact")
