"""The small verifier: it learns what a frozen model's states tell, is measured on other questions, bit for bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import models
from s1_utils.errors import StudyError
from s1_utils.rewards import Candidate, score_candidates
from s1_utils.verifier import VerifierReward, hold_out, measure_auc, spread, train_verifier


@pytest.fixture(scope="module")
def loaded():
    return models.load_model(models.resolve_model("random-llama"))


def make_graded(questions=16, samples=4):
    """Responses that are right where they end in a certain word."""
    rows = [
        (f"q{q}", s, "s", f"What is {q}?", f"First {q}.\n\nThen {s}.", f"Answer: {'yes' if (q + s) % 2 else 'no'}")
        for q in range(questions)
        for s in range(samples)
    ]
    table = pd.DataFrame(rows, columns=["question_id", "sample", "setting", "question", "thinking", "answer"])
    return table.assign(correct=pd.array(table["answer"].str.endswith("yes"), dtype="boolean"))


def test_a_verifier_tells_right_from_wrong_on_questions_it_has_not_seen(loaded):
    verifier = train_verifier(*loaded, make_graded(), seed=0)
    assert verifier.auc > 0.95
    assert verifier.auc_within > 0.95
    assert verifier.n_held_out == 16
    assert verifier.n_train == 48
    reward = VerifierReward(verifier, *loaded)
    steps = ("First 3.\n\n", "Then 1.")
    right, wrong = (Candidate("q3", "0", "What is 3?", (*steps, f"Answer: {word}")) for word in ("yes", "no"))
    good, bad = score_candidates(reward, [right, wrong])
    assert good > 0.5 > bad
    assert score_candidates(reward, [Candidate("q3", "1", "What is 3?", steps)])[0] == pytest.approx(0.5, abs=0.3)


def test_training_gives_the_same_bits_whatever_the_order_of_the_rows(loaded):
    graded = make_graded(8)
    first = train_verifier(*loaded, graded, seed=0)
    assert train_verifier(*loaded, graded.sample(frac=1, random_state=1), seed=0) == first
    assert train_verifier(*loaded, graded, seed=3) != first


def test_labels_that_mean_nothing_are_not_learnt_for_other_questions(loaded):
    graded = make_graded(24)
    graded["correct"] = pd.array(np.random.default_rng(0).random(len(graded)) < 0.5, dtype="boolean")
    assert 0.2 < train_verifier(*loaded, graded, seed=0).auc < 0.8


def test_responses_without_a_verdict_are_left_out(loaded):
    graded = make_graded(8)
    unjudged = graded.assign(sample=9, correct=pd.array([None] * len(graded), dtype="boolean"))
    assert train_verifier(*loaded, pd.concat([graded, unjudged]), seed=0) == train_verifier(*loaded, graded, seed=0)


@pytest.mark.parametrize("value", [True, False])
def test_traces_that_are_all_right_or_all_wrong_are_refused(loaded, value):
    graded = make_graded(8).assign(correct=pd.array([value] * 32, dtype="boolean"))
    with pytest.raises(StudyError, match="none is wrong or none is right"):
        train_verifier(*loaded, graded, seed=0)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2)), max_size=20))
def test_the_auc_is_the_share_of_pairs_in_order_with_ties_half(rows):
    scores, right, groups = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    scores, right = np.asarray(scores, float), np.asarray(right, bool)
    for of in (None, np.asarray(groups)):
        pairs = [
            (np.sign(scores[i] - scores[j]) + 1) / 2
            for i in range(len(rows))
            for j in range(len(rows))
            if right[i] and not right[j] and (of is None or of[i] == of[j])
        ]
        found = measure_auc(scores, right, of)
        assert found == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


def test_questions_are_held_out_whole_and_whatever_their_order():
    ids = pd.Series([f"q{i % 12}" for i in range(60)])
    is_held = hold_out(ids, share=0.25, seed=1)
    assert set(ids[is_held]).isdisjoint(ids[~is_held])
    assert ids[is_held].nunique() == 3
    assert (hold_out(ids[::-1], share=0.25, seed=1)[::-1] == is_held).all()


@given(st.integers(1, 30), st.integers(1, 8))
def test_places_are_spread_over_the_steps_and_include_the_last(n, most):
    found = spread(list(range(n)), most)
    assert found[-1] == n - 1
    assert found == sorted(set(found))
    assert len(found) == min(n, most)
