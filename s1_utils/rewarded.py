"""What a reward model makes of samples: weighted votes, the best of k, and trees that it steers, beside plain votes.

Joins `rewards`, `verifier` and `search` to the tables of notebook 5; knows no plots. Without a reward model every
function returns an empty table and loads nothing. The small verifier learns from the model's own samples of training
questions that no subset took and that share no words with a held-out one: the model was never trained on them, and none
of them is ever judged.
What a reward model itself costs isn't part of a point; `group_reward_tokens` of the trees tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from s1_utils import chat, curves, frontier, generation, models, scaling
from s1_utils.budget_forcing import Setting
from s1_utils.errors import StudyError
from s1_utils.rewards import RewardModel, load_reward, score_generations
from s1_utils.search import merge_leaves, search
from s1_utils.search_steps import Rebase
from s1_utils.sensitivity import grade_generations
from s1_utils.sources import derive_seed
from s1_utils.store import Stage
from s1_utils.verifier import Verifier, VerifierReward, train_verifier

VERIFIER = "verifier"  # the reward model that is trained here; any other is a name of `rewards.load_reward`
LEARNT = 4  # samples of each question that it learns from
METHODS = {"rebase": "majority", "rebase, weighted": "weighted", "rebase, best": "best"}  # → column of merge_leaves
JUDGED = [*frontier.NAMES, "thinking_tokens", "longest_tokens", "accuracy", "low", "high", "n"]
DIFFERENCES = ["method", "against", "cost", "difference", "low", "high"]

# ------------------------------------------------------------------ the verifier


def find_unused(
    collected: pd.DataFrame, taken: Sequence[pd.Series], tests: pd.DataFrame, *, most: int, seed: int
) -> pd.DataFrame:
    """Up to `most` training questions whose ids aren't `taken` or among the tests, in a seeded order.

    Of the sources of `tests` if there are any. Raises StudyError if none are left.
    """
    taken = pd.concat([*taken, tests["question_id"]])
    unused = collected[(collected["split"] == "train") & ~collected["question_id"].isin(taken)]
    alike = unused[unused["source"].isin(tests["source"])]
    found = (alike if len(alike) else unused).drop_duplicates("question_id")
    if found.empty:
        raise StudyError("No training question is left for a verifier: make the subsets smaller, or name a model.")
    order = found["question_id"].map(lambda name: derive_seed(seed, VERIFIER, name))
    return found.loc[order.sort_values().index].head(most).reset_index(drop=True)


def make_verifier(
    stage: Stage, collected: pd.DataFrame, tests: pd.DataFrame, params: Any, *, system_prompt: str
) -> dict[str, Any]:
    """A `Verifier` as plain numbers, trained on samples of unused questions; {} if no verifier is asked for.

    `params` has those of notebook 5. Raises StudyError if there is nothing to learn from.
    """
    if params.reward_model != VERIFIER:
        return {}
    overlaps = stage.read("01_collect", "overlaps", ["question_id", "removed"])
    taken = [stage.read("02_filter", "subsets")["question_id"], overlaps.loc[overlaps["removed"], "question_id"]]
    unused = find_unused(collected, taken, tests, most=params.verifier_questions, seed=params.seed)
    folder = stage.locate("03_sft", "model")
    generations = generation.sweep(
        folder, unused, [Setting("natural", params.max_thinking, 0)], stage.journal(VERIFIER), params,
        label=VERIFIER, system_prompt=system_prompt, samples=LEARNT, temperature=params.temperature,
    )  # fmt: skip
    graded = curves.join_grades(generations, grade_generations(generations, unused)).query("not undecided")
    graded = graded.merge(unused[["question_id", "question"]], on="question_id")
    options = {"seed": params.seed, "system_prompt": system_prompt, "delimiter": params.step_delimiter}
    return asdict(train_verifier(*models.load_model(folder), graded, **options))


def load_judge(stage: Stage, verifier: dict[str, Any], params: Any, *, system_prompt: str) -> RewardModel:
    """The reward model of `params`: the verifier of `make_verifier`, or that of a name.

    Where vLLM runs on the same GPU it takes its memory: a large reward model belongs behind a server then.
    """
    if params.reward_model != VERIFIER:
        return load_reward(params.reward_model, step_end=params.reward_step_end, words=params.reward_words)
    model, tokenizer = models.load_model(stage.locate("03_sft", "model"))
    return VerifierReward(Verifier(**verifier), model, tokenizer, system_prompt=system_prompt)


# ------------------------------------------------------------------ samples and trees


def score_samples(
    stage: Stage,
    graded: pd.DataFrame,
    tests: pd.DataFrame,
    verifier: dict[str, Any],
    params: Any,
    *,
    system_prompt: str,
) -> pd.DataFrame:
    """question_id, sample, setting and reward of every sample; empty without a reward model."""
    if not params.reward_model:
        return pd.DataFrame(columns=["question_id", "sample", "setting", "reward"])
    judge = load_judge(stage, verifier, params, system_prompt=system_prompt)
    options = {"label": "rewards", "group_size": params.group_size, "delimiter": params.step_delimiter}
    return score_generations(judge, graded, tests, stage.journal("rewards"), **options)


def search_trees(
    stage: Stage, tests: pd.DataFrame, verifier: dict[str, Any], params: Any, *, system_prompt: str
) -> dict[str, pd.DataFrame]:
    """`leaves` (graded) and `trees` of REBASE on the first `search_questions` of `tests`; empty for a width of 0.

    A group of questions has about as many live nodes as a group of samples has rows. Raises StudyError for a width
    without a reward model.
    """
    if not params.search_width:
        return {"leaves": pd.DataFrame(), "trees": pd.DataFrame()}
    if not params.reward_model:
        raise StudyError("A tree search is steered by a reward model: name one in reward_model, or set search_width 0.")
    how = Rebase(
        max_thinking=params.max_thinking,
        max_answer_tokens=params.max_answer_tokens,
        width=params.search_width,
        softmax_temperature=params.search_temperature,
        temperature=params.temperature,
        delimiter=params.step_delimiter,
    )
    asked = tests.head(params.search_questions)
    judge = load_judge(stage, verifier, params, system_prompt=system_prompt)
    options = {"label": "rebase", "seed": params.seed, "group_size": max(1, params.group_size // params.search_width)}
    folder = stage.locate("03_sft", "model")
    with generation.load_writer(folder, system_prompt, chat.S1, engine=params.engine) as writer:
        leaves, trees = search(writer, judge, asked, stage.journal("search"), how, **options)
    return {"leaves": curves.join_grades(leaves, grade_generations(leaves, asked)), "trees": trees}


# ------------------------------------------------------------------ points


def list_points(
    graded: pd.DataFrame, rewards: pd.DataFrame, leaves: pd.DataFrame, trees: pd.DataFrame, ks: Sequence[int]
) -> frontier.Points:
    """Points of k samples (majority, pass, weighted, best) and, if there are trees, of those, on the same questions.

    With trees only their questions count, so that every difference is paired. A tree costs all thinking tokens that
    were written for it, pruned ones included.
    """
    rows = graded.merge(rewards, on=["question_id", "sample", "setting"], validate="one_to_one")
    if len(leaves):
        rows = rows[rows["question_id"].isin(leaves["question_id"])]
    votes = frontier.list_parallel(rows, ks, reward="reward")
    return frontier.join_points(votes, _list_trees(leaves, trees)) if len(leaves) else votes


def _list_trees(leaves: pd.DataFrame, trees: pd.DataFrame) -> frontier.Points:
    merged = merge_leaves(leaves)
    tokens = float(trees["thinking_tokens"].mean())
    longest = float(leaves.groupby("question_id")["thinking_tokens"].max().mean())
    setting = ("rebase", int(leaves["budget"].iloc[0]), 0, len(leaves) // len(merged), tokens, longest)
    columns = [*frontier.NAMES, "thinking_tokens", "longest_tokens"]
    table = pd.DataFrame([(method, *setting) for method in METHODS], columns=columns)
    return frontier.Points(table, merged[list(METHODS.values())].to_numpy(float).T, tuple(merged["question_id"]))


def compare_judged(
    graded: pd.DataFrame,
    rewards: pd.DataFrame,
    leaves: pd.DataFrame,
    trees: pd.DataFrame,
    ks: Sequence[int],
    params: Any,
) -> dict[str, pd.DataFrame]:
    """`judged`: a row a point, as `frontier.summarise_points`; `judged_differences`: each method less the majority.

    A difference is that at equal thinking tokens, in the mean over the costs that both reach (`cost`: that of a tree),
    with its paired 95 % interval. Both are empty without a reward model.
    """
    if rewards.empty:
        return {"judged": pd.DataFrame(columns=JUDGED), "judged_differences": pd.DataFrame(columns=DIFFERENCES)}
    points = list_points(graded, rewards, leaves, trees, ks)
    weights = scaling.resample(len(points.question_ids), params.resamples, params.seed)
    table = frontier.summarise_points(points, weights)
    found = []
    for method in [name for name in ("weighted", "best", *METHODS) if name in set(table["method"])]:
        rows = frontier.compare_methods(points, weights, method, "majority", axis="thinking_tokens")
        cost = table.loc[table["method"] == method, "thinking_tokens"].mean() if method in METHODS else None
        mean = rows[rows["at"] == "mean"].assign(method=method, against="majority", cost=cost)
        found.append(mean[DIFFERENCES].astype({"cost": float}))
    return {"judged": table, "judged_differences": pd.concat(found, ignore_index=True)}
