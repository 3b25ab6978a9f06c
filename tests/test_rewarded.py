"""What notebook 5 asks of reward models: nothing without one, on unused questions, on a real tiny model and by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import models, rewarded, sources
from s1_utils.errors import StudyError
from s1_utils.params import ParallelParams
from s1_utils.rewards import Candidate, score_candidates
from s1_utils.store import Stage

OFF = {"reward_model": "", "reward_step_end": "\n\n", "reward_words": [], "verifier_questions": 4}
OFF |= {"step_delimiter": ".", "search_width": 0, "search_temperature": 0.2, "search_questions": 2}
SMALL = {"samples": 2, "max_thinking": 12, "max_answer_tokens": 3, "group_size": 8, "resamples": 50}


def make_params(**changed):
    return SimpleNamespace(**{**ParallelParams().model_dump(), **OFF, **SMALL, **changed})


@pytest.fixture(scope="module")
def collected():
    return sources.collect_questions(["puzzles"], questions_per_family=12, dev=4, test=6, seed=0)


@pytest.fixture(scope="module")
def tests(collected):
    return collected[collected["split"] == "test"].sort_values("question_id").head(3).reset_index(drop=True)


@pytest.fixture
def stage(tmp_path, collected):
    """A stage whose model is tiny and random, and whose only subset took the first training questions."""
    upstream = {name: tmp_path / name for name in ("01_collect", "02_filter", "03_sft")}
    first = collected[collected["split"] == "train"].head(10)
    gathered = Stage(upstream["01_collect"], {"stage": "01_collect"}, {}, {})
    gathered.table("overlaps", lambda: first.head(2)[["question_id"]].assign(removed=True))
    gathered.finish()
    selected = Stage(upstream["02_filter"], {"stage": "02_filter"}, {}, {})
    selected.table("subsets", lambda: pd.DataFrame({"subset": "s1K", "question_id": first["question_id"]}))
    selected.finish()
    trained = Stage(upstream["03_sft"], {"stage": "03_sft"}, {}, {})
    trained.folder.mkdir()
    (trained.folder / "model").symlink_to(models.resolve_model("random-llama"))
    trained.finish(outputs=["model"])
    made = Stage(tmp_path / "05", {"stage": "05_parallel_scaling"}, upstream, {})
    made.folder.mkdir()
    yield made
    made.finish()


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A tiny random outcome reward model."""
    import torch
    import transformers

    base = models.resolve_model("random-llama")
    config = models.load_config(base)
    config.num_labels = 1
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("head")
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    models.load_tokenizer(base).save_pretrained(folder)
    return str(folder)


def make_graded(tests, samples):
    """Samples of which the first two thirds say a wrong thing each, the last third the right one."""
    rows = [
        (name, s, "natural:12:0", "natural", 12, 0, "right" if 3 * s >= 2 * samples else f"wrong {s}", 10 + s)
        for name in tests["question_id"]
        for s in range(samples)
    ]
    columns = ["question_id", "sample", "setting", "control", "budget", "waits", "vote", "thinking_tokens"]
    table = pd.DataFrame(rows, columns=columns).assign(thinking="So.", answer="Answer: it")
    return table.assign(correct=table["vote"] == "right")


def make_trees(tests, right, width=6):
    """Trees of so many right leaves; what was written for each is 50 tokens."""
    leaves = make_graded(tests, width).assign(control="rebase", setting="rebase:12:0")
    leaves["correct"] = leaves["sample"] < right
    leaves["vote"] = leaves["correct"].map({True: "right", False: "wrong"})
    leaves["reward"] = leaves["sample"] / width
    return leaves, pd.DataFrame({"question_id": tests["question_id"], "thinking_tokens": 50})


# ------------------------------------------------------------------ off


def test_without_a_reward_model_every_table_is_empty_and_nothing_is_read(tests):
    p = make_params()
    assert rewarded.make_verifier(None, None, tests, p, system_prompt="") == {}
    rewards = rewarded.score_samples(None, make_graded(tests, 3), tests, {}, p, system_prompt="")
    found = rewarded.search_trees(None, tests, {}, p, system_prompt="")
    compared = rewarded.compare_judged(make_graded(tests, 3), rewards, found["leaves"], found["trees"], [1], p)
    for table in (rewards, *found.values(), *compared.values()):
        assert table.empty
    assert {"method", "k", "thinking_tokens", "accuracy", "low", "high"} <= set(compared["judged"])


def test_a_tree_search_without_a_reward_model_is_refused(tests):
    with pytest.raises(StudyError, match="name one in reward_model, or set search_width 0"):
        rewarded.search_trees(None, tests, {}, make_params(search_width=4), system_prompt="")


# ------------------------------------------------------------------ the verifier's questions


@given(st.integers(0, 10), st.integers(1, 60), st.integers(0, 30))
def test_no_question_to_learn_from_was_trained_on_held_out_or_judged(collected, seed, most, taken):
    used = collected.loc[collected["split"] == "train", "question_id"].head(taken)
    parts = [used.iloc[::2], used.iloc[1::2]]
    tests = collected[collected["split"] == "test"]
    found = rewarded.find_unused(collected, parts, tests, most=most, seed=seed)
    assert (found["split"] == "train").all()
    assert not found["question_id"].isin(pd.concat([used, tests["question_id"]])).any()
    assert found["question_id"].is_unique
    assert len(found) == min(most, int((collected["split"] == "train").sum()) - taken)
    again = rewarded.find_unused(collected.iloc[::-1], parts, tests, most=most, seed=seed)
    pd.testing.assert_frame_equal(again, found)


def test_questions_to_learn_from_are_of_the_tests_sources_where_there_are_any(collected):
    rows = collected.assign(source=["a", "b"] * (len(collected) // 2))
    tests = rows[rows["split"] == "test"]
    options = {"most": 99, "seed": 0}
    assert set(rewarded.find_unused(rows, [], tests.assign(source="a"), **options)["source"]) == {"a"}
    assert set(rewarded.find_unused(rows, [], tests.assign(source="c"), **options)["source"]) == {"a", "b"}


def test_a_verifier_without_a_question_left_to_learn_from_is_refused(collected, tests):
    with pytest.raises(StudyError, match="make the subsets smaller, or name a model"):
        rewarded.find_unused(collected, [collected["question_id"]], tests, most=5, seed=0)


def test_a_model_that_is_never_right_has_nothing_to_teach_a_verifier(stage, collected, tests):
    with pytest.raises(StudyError, match=r"Of .* graded responses .*, none is wrong or none is right"):
        rewarded.make_verifier(stage, collected, tests, make_params(reward_model="verifier"), system_prompt="")


def test_a_verifier_of_plain_numbers_scores_as_a_reward_model(stage):
    width = models.load_config(models.resolve_model("random-llama")).hidden_size
    record = {"weight": [0.1] * width, "bias": 0.0, "auc": 0.5, "auc_within": None}
    record |= {"n_train": 1, "n_held_out": 1, "share_right": 0.5}
    judge = rewarded.load_judge(stage, record, make_params(reward_model="verifier"), system_prompt="")
    rewards = score_candidates(judge, [Candidate("q", "0", "Why?", ("So.",)), Candidate("q", "1", "Why?", ("No.",))])
    assert len(set(rewards)) == 2


# ------------------------------------------------------------------ a real model


def test_samples_are_scored_and_trees_are_grown_once_and_compared(stage, tests, head):
    p = make_params(reward_model=head, search_width=4)
    graded = make_graded(tests, 3)
    rewards = stage.table("rewards", lambda: rewarded.score_samples(stage, graded, tests, {}, p, system_prompt=""))
    leaves, trees = stage.tables(
        ["leaves", "trees"], lambda: rewarded.search_trees(stage, tests, {}, p, system_prompt="")
    )
    assert rewards["reward"].between(0, 1).all()
    assert leaves.groupby("question_id").size().to_dict() == dict.fromkeys(tests["question_id"].head(2), 4)
    reported = trees[["prompt_tokens", "generated_tokens", "forced_tokens"]].to_numpy().sum()
    assert (
        trees["group_forwarded_tokens"].iloc[0] <= 1.05 * reported
    )  # one group, whose prompts are padded to one length
    assert trees["group_reward_tokens"].iloc[0] > 0
    found = rewarded.compare_judged(graded, rewards, leaves, trees, [1, 3], p)["judged"]
    assert set(found["method"]) == {"majority", "pass", "weighted", "best", *rewarded.METHODS}
    assert set(found["n"]) == {2}  # the questions of the trees


# ------------------------------------------------------------------ points, by hand


def read_accuracy(table, method, k):
    return table.set_index(["method", "k"]).loc[(method, k), "accuracy"]


def reward_samples(graded, score):
    return graded[["question_id", "sample", "setting"]].assign(reward=graded["correct"].map(score))


def judge_samples(graded, rewards, leaves=None, trees=None):
    leaves, trees = (pd.DataFrame() if table is None else table for table in (leaves, trees))
    return rewarded.compare_judged(graded, rewards, leaves, trees, [1, 3, 6], make_params())


def test_a_perfect_judge_reaches_any_of_k_and_a_perverse_one_is_never_right(tests):
    graded = make_graded(tests, 6)  # two of six say the right thing, which is the majority
    good = judge_samples(graded, reward_samples(graded, {True: 1.0, False: 0.0}))["judged"]
    bad = judge_samples(graded, reward_samples(graded, {True: 0.0, False: 1.0}))["judged"]
    for k in (1, 3, 6):
        assert read_accuracy(good, "best", k) == pytest.approx(read_accuracy(good, "pass", k))
    assert [read_accuracy(table, "weighted", 6) for table in (good, bad)] == pytest.approx([1, 0])
    assert [read_accuracy(table, "best", 6) for table in (good, bad)] == pytest.approx([1, 0])
    assert [read_accuracy(table, "majority", 6) for table in (good, bad)] == pytest.approx([1, 1])


def test_rewards_that_are_all_tied_weigh_as_a_plain_vote_and_choose_as_one_sample(tests):
    graded = make_graded(tests, 6)
    table = judge_samples(graded, reward_samples(graded, {True: 0.5, False: 0.5}))["judged"]
    for k in (1, 3, 6):
        assert read_accuracy(table, "weighted", k) == pytest.approx(read_accuracy(table, "majority", k))
        assert read_accuracy(table, "best", k) == pytest.approx(read_accuracy(table, "majority", 1))


def test_trees_are_compared_with_votes_on_their_own_questions_at_their_own_cost(tests):
    graded = make_graded(tests, 6)
    leaves, trees = make_trees(tests.head(2), right=4)
    found = judge_samples(graded, reward_samples(graded, {True: 0.5, False: 0.5}), leaves, trees)
    table, differences = found["judged"], found["judged_differences"].set_index("method")
    assert set(table["n"]) == {2}
    assert read_accuracy(table, "rebase", 6) == 1
    assert read_accuracy(table, "rebase, best", 6) == 0  # the last leaf has the highest reward, and is wrong
    at = table.set_index(["method", "k"])["thinking_tokens"]
    assert at["rebase", 6] == differences.loc["rebase", "cost"] == 50
    three, six = (read_accuracy(table, "majority", k) for k in (3, 6))
    share = math.log2(50 / at["majority", 3])  # 6 samples cost twice as much as 3
    expected = 1 - (1 - share) * three - share * six
    assert differences.loc["rebase", "difference"] == pytest.approx(expected)
    assert differences.loc["weighted", "difference"] == pytest.approx(0)
