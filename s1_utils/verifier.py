"""A small verifier: a linear head on a frozen model's last hidden state, trained on graded traces.

Knows how rows are made of graded responses, and how well a verifier tells right from wrong on questions it hasn't seen;
knows nothing about search or votes. Every response is read at the ends of some of its steps and at its own end, and at
each the head predicts whether the response will be right: so it scores what is not yet finished as well. One forward a
response gives all its rows. Seeded, in fixed batches, the fit on one thread: on a CPU the same run gives the same bits.

Source: the token-level verifiers of Cobbe et al. 2021 (arXiv 2110.14168). Deviations: the model stays frozen, and a few
places a response are read instead of every token. Far below the paper's 34B process model: its AUC belongs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import chat
from s1_utils.errors import StudyError
from s1_utils.rewards import Candidate, list_steps, read_states
from s1_utils.sources import derive_seed
from s1_utils.store import require_columns

MORE = "Grade more samples, on more questions, of a model that is right at times and wrong at times."


@dataclass(frozen=True)
class Verifier:
    """A trained head: p(right) = sigmoid(weight · state + bias); plain numbers, so that it can be kept as JSON.

    `auc`: P(a right response outscores a wrong one) on the held-out questions, ties half; `auc_within`: the same among
    responses of one question, which is what a vote needs (None if no question has both).
    """

    weight: Sequence[float]
    bias: float
    auc: float
    auc_within: float | None
    n_train: int  # responses, each of several rows
    n_held_out: int
    share_right: float


class VerifierReward:
    """A verifier with the model and tokenizer it was trained on. `forward_tokens`: how many that model was run on."""

    def __init__(
        self, verifier: Verifier, model: Any, tokenizer: Any, *, system_prompt: str = "", batch_size: int = 8
    ) -> None:
        self.weight = np.asarray(verifier.weight, dtype=np.float64)
        self.bias = verifier.bias
        self.model, self.tokenizer = model, tokenizer
        self.system_prompt = system_prompt
        self.batch_size = batch_size
        self.forward_tokens = 0

    def score(self, candidates: Sequence[Candidate]) -> list[float]:
        """The reward of each candidate. Raises StudyError where one is longer than the model's window."""
        rows = [encode_steps(self.tokenizer, self.model, each, self.system_prompt)[0] for each in candidates]
        self.forward_tokens += sum(map(len, rows))
        states_RD = _read(self.model, [(ids, [len(ids) - 1]) for ids in rows], self.batch_size)
        return [float(p) for p in _sigmoid(states_RD @ self.weight + self.bias)]


def encode_steps(tokenizer: Any, model: Any, candidate: Candidate, system_prompt: str) -> tuple[list[int], list[int]]:
    """(ids, where each step ends in them): every step encoded by itself, so that its end is the end of a token.

    Raises StudyError if the ids don't fit the model's window.
    """
    ids = list(chat.encode(tokenizer, chat.write_prompt(tokenizer, candidate.question, system_prompt)))
    ends = []
    for step in candidate.steps:
        ids += chat.encode(tokenizer, step)
        ends.append(len(ids) - 1)
    window = model.config.get_text_config().max_position_embeddings
    if len(ids) > window:
        raise StudyError(
            f"Question {candidate.question_id}, sample {candidate.sample}: {len(ids)} tokens don't fit the verifier's "
            f"window of {window}. Lower the thinking budget."
        )
    return ids, ends


def train_verifier(
    model: Any,
    tokenizer: Any,
    graded: pd.DataFrame,
    *,
    seed: int,
    system_prompt: str = "",
    delimiter: str = "\n\n",
    held_out: float = 0.25,
    places: int = 4,
    penalty: float = 100.0,
    batch_size: int = 8,
) -> Verifier:
    """A verifier of all `graded`: question_id, sample, setting, question, thinking, answer, correct.

    `delimiter` ends a step, as in a search. `held_out`: share of the questions that only measure it. `places`: at how
    many step ends of a response it learns, the last included. `penalty`: of the squared weights, on states of unit
    variance. Responses without a verdict are left out; the order of the rows doesn't matter. Raises StudyError where
    right or wrong ones are missing on a side.
    """
    columns = ["question_id", "sample", "setting", "question", "thinking", "answer", "correct"]
    rows = require_columns(graded, columns, "The table of graded responses")[columns]
    rows = rows[rows["correct"].notna()].sort_values(columns[:3], kind="stable", ignore_index=True)
    is_right_R = rows["correct"].to_numpy(dtype=bool)
    is_held_R = hold_out(rows["question_id"], share=held_out, seed=seed)
    for name, side in (("to train on", ~is_held_R), ("to measure with", is_held_R)):
        if len(set(is_right_R[side])) < 2:
            n = int(side.sum())
            raise StudyError(f"Of {n} graded responses {name}, none is wrong or none is right. {MORE}")
    names = rows["question_id"].astype(str).tolist(), rows["sample"].astype(str).tolist(), rows["question"].tolist()
    steps = [list_steps(row, delimiter) for row in rows.itertuples()]
    encoded = [
        encode_steps(tokenizer, model, Candidate(*each), system_prompt) for each in zip(*names, steps, strict=True)
    ]
    read = [(ids, spread(ends, places)) for ids, ends in encoded]
    states_ND = _read(model, read, batch_size)
    row_N = np.repeat(np.arange(len(read)), [len(ends) for _, ends in read])
    is_train_N = ~is_held_R[row_N]
    share_N = 1 / np.bincount(row_N)[row_N]
    weight_D, bias = _fit(states_ND[is_train_N], is_right_R[row_N][is_train_N], share_N[is_train_N], penalty)
    is_last_N = np.append(row_N[1:] != row_N[:-1], True)
    scores_R = (states_ND[is_last_N] @ weight_D + bias)[is_held_R]
    right_R, names_R = is_right_R[is_held_R], rows["question_id"].to_numpy()[is_held_R]
    auc = measure_auc(scores_R, right_R)
    if auc is None:
        raise StudyError(f"Nothing can be measured on the questions held out. {MORE}")
    return Verifier(
        weight=[float(w) for w in weight_D],
        bias=float(bias),
        auc=auc,
        auc_within=measure_auc(scores_R, right_R, names_R),
        n_train=int((~is_held_R).sum()),
        n_held_out=int(is_held_R.sum()),
        share_right=float(is_right_R.mean()),
    )


def hold_out(question_ids: pd.Series, *, share: float, seed: int) -> np.ndarray:
    """Which rows are held out: those of a seeded share of the questions, whole."""
    ids = sorted(set(question_ids))
    ids.sort(key=lambda name: derive_seed(seed, "verifier", name))
    return question_ids.isin(ids[: round(share * len(ids))]).to_numpy()


def spread(ends: Sequence[int], most: int) -> list[int]:
    """At most so many of the ends, the last one always, the others evenly between."""
    n = min(most, len(ends))
    return [ends[round((i + 1) * len(ends) / n) - 1] for i in range(n)]


def measure_auc(scores_R: np.ndarray, right_R: np.ndarray, groups_R: np.ndarray | None = None) -> float | None:
    """P(a right one's score is above a wrong one's), ties half; with groups only pairs of one group count.

    None where there is no pair.
    """
    rows = pd.DataFrame({"score": scores_R, "right": right_R, "group": 0 if groups_R is None else groups_R})
    rows["rank"] = rows.groupby("group")["score"].rank()
    n_right = rows.groupby("group")["right"].sum()
    pairs = int((n_right * (rows.groupby("group").size() - n_right)).sum())
    above = float(rows.loc[rows["right"], "rank"].sum() - (n_right * (n_right + 1) / 2).sum())
    return above / pairs if pairs else None


def _read(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]], batch_size: int) -> np.ndarray:
    """States [all places, D] as float64."""
    states = read_states(model, rows, batch_size)
    return np.concatenate([state.float().cpu().numpy().astype(np.float64) for state in states])


def _fit(states_ND: np.ndarray, right_N: np.ndarray, share_N: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights and bias for states as they come; fitted on states of mean 0 and variance 1."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean_D = states_ND.mean(0)
    spread_D = np.maximum(states_ND.std(0), 1e-6)
    with threadpool_limits(1):
        fitted = LogisticRegression(C=1 / penalty, max_iter=1000).fit(
            (states_ND - mean_D) / spread_D, right_N, sample_weight=share_N
        )
        weight_D = fitted.coef_[0] / spread_D
        return weight_D, float(fitted.intercept_[0] - weight_D @ mean_D)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))
