"""What notebook 2 asks others: labels and their labeller, and every kind of solver in one table."""

from __future__ import annotations

import pandas as pd
import pytest

from s1_utils import difficulty, models, store
from s1_utils.errors import StudyError
from s1_utils.params import FilterParams, load_profile
from s1_utils.solvers import find_solved
from s1_utils.sources import make_puzzles

CLASSES = {"11": "prime divisor integer modulo", "51": "triangle circle angle point", "92": "cell protein gene enzyme"}


def make_params(**changes):
    return load_profile(FilterParams, "smoke").model_copy(update=changes)


def make_pool(n=2):
    pool = make_puzzles(n, 0).groupby("domain").head(n).reset_index(drop=True)
    return pool.assign(attempt_correct=True, train_tokens=60, thinking="Try A: no.")


def write_labels(path, n=40):
    rows = [
        {"question": f"Find the {word} of the {other} number {i}", "domain": code}
        for code, words in CLASSES.items()
        for i, (word, other) in enumerate((a, b) for a in words.split() for b in words.split() if a != b)
    ]
    pd.DataFrame(rows[:n] if n < 36 else rows).to_csv(path, index=False)
    return str(path)


def test_by_the_source_every_question_keeps_its_own_domain(tmp_path):
    tables = difficulty.label_pool(make_pool(), make_params(), tmp_path)
    assert tables["domains"]["domain"].tolist() == make_pool()["domain"].tolist()
    assert tables["labeller"][["labelled_by", "questions", "unlabelled"]].to_numpy().tolist() == [["source", 8, 0]]
    assert tables["labeller"][["held_out", "accuracy"]].isna().all(axis=None)


def test_a_classifier_says_how_good_it_is_on_questions_it_was_not_trained_on(tmp_path):
    p = make_params(domains="classifier", labels=write_labels(tmp_path / "labels.csv"))
    asked = pd.DataFrame({"question_id": ["a", "b"], "question": ["a prime divisor modulo", "the angle of a circle"]})
    tables = difficulty.label_pool(asked, p, tmp_path)
    row = tables["labeller"].iloc[0]
    assert tables["domains"]["domain"].tolist() == ["Number theory", "Geometry"]
    assert row["labelled_by"] == "classifier"
    assert 0 < row["low"] <= row["accuracy"] <= row["high"] <= 1
    assert row["accuracy"] > row["baseline"] > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"subsets": ["s1k"]}, r"did you mean s1K"),
        ({"subsets": []}, r"subsets is empty"),
        ({"subsets": ["s1K", "s1K"]}, r"has repeats"),
        ({"subset_size": 49}, r"No 49 questions can be chosen from a pool of 48"),
        ({"solvers": ["dirct"]}, r"did you mean 'direct'"),
        ({"solvers": []}, r"No solver is named"),
        ({"domains": "classifier"}, r"set labels to a file"),
        ({"domains": "judge"}, r"set judge and judge_usd"),
    ],
)
def test_what_can_not_be_had_is_refused_before_anything_is_asked(changes, told):
    difficulty.check_params(make_params())
    with pytest.raises(StudyError, match=told):
        difficulty.check_params(make_params(**changes))


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"domains": "judge", "solvers": ["owner/name"]}, 5.0),
        ({"domains": "judge", "solvers": ["direct"]}, 10.0),
        ({"domains": "source", "solvers": ["owner/name"]}, 10.0),
    ],
)
def test_labels_and_grades_by_the_judge_never_spend_more_than_the_stage_may(changes, share):
    assert difficulty.share_usd(make_params(max_usd=10.0, **changes)) == share


def test_the_base_model_and_models_of_their_own_are_asked_into_one_table(runs):
    p = make_params(solvers=["direct", "random-llama"], askings=1, group_size=4)
    stage = store.open_stage("02_filter", p, code=["difficulty"])
    model = models.describe_model("random-llama", "Think.", "")
    pool = make_pool()
    asked = difficulty.ask_solvers(pool, pool, model, p, stage)
    solved = find_solved(asked)
    assert set(asked["solver"]) == {"direct", "random-llama"}
    assert asked.groupby("solver").size().to_dict() == {"direct": 8, "random-llama": 8}
    assert set(solved.columns) == {"question_id", "solved_direct", "solved_random-llama"}
    stage.finish()
