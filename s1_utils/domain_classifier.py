"""Domains by a linear classifier trained on labelled questions, and how often it is right on those it hasn't seen.

Knows texts, MSC titles and codes; knows nothing about files, hubs or judges. The same from run to run: rows are sorted
first, and the solver (liblinear's coordinate descent) runs from a seed on one thread. Texts and features are bounded.
Source: s1 section 2.2. Deviation: stands in for the paper's Claude, so its held-out accuracy belongs beside its labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import scaling
from s1_utils.errors import StudyError
from s1_utils.judge import read_classes
from s1_utils.sources import derive_seed, hash_question
from s1_utils.store import require_columns

HELD_OUT = 0.15  # share of the labelled questions that the accuracy is measured on
LONGEST, FEATURES = 2_000, 100_000  # characters of a question that are read; words, signs and pairs of them
MORE = "Give more labelled questions, of two classes at least, or let the judge label."
_TOKEN = re.compile(r"[^\W\d_]+|[^\w\s]")  # words and signs: numbers say little, operators and LaTeX much
_CODE = re.compile(r"([0-9]{1,2})(?:\.0|-XX)?", re.IGNORECASE)


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier: scikit-learn's `vectorizer` and `model`."""

    vectorizer: Any
    model: Any

    def predict(self, questions: Sequence[str]) -> pd.DataFrame:
        """One row a question: domain, and margin, by how much its score (of an SVM) is above the next class's.

        A question that shares no word with the labelled ones has a null domain and margin 0.
        """
        features = self.vectorizer.transform(map(read_tokens, [*questions, ""]))  # never empty, which sklearn refuses
        scores = self.model.decision_function(features)[:-1]
        scores_QC = np.column_stack([-scores / 2, scores / 2]) if scores.ndim == 1 else scores
        is_word = np.array([any(map(str.isalpha, name)) for name in self.vectorizer.get_feature_names_out()])
        is_known = features[:, is_word].getnnz(axis=1)[:-1] > 0
        said = np.where(is_known, self.model.classes_[scores_QC.argmax(axis=1)], None)
        margins = np.ptp(np.partition(scores_QC, -2, axis=1)[:, -2:], axis=1)
        return pd.DataFrame({"domain": pd.array(said, "string"), "margin": np.where(is_known, margins, 0.0)})


@dataclass(frozen=True)
class Measured:
    """How often a classifier is right on questions held out from its training, with the 95 % Wilson interval.

    `baseline`: accuracy of always saying the class that is commonest in training. `classes`: domain, trained and
    held_out (questions), accuracy.
    """

    n_train: int
    n_held_out: int
    accuracy: float
    low: float
    high: float
    baseline: float
    classes: pd.DataFrame


def name_class(label: Any) -> str | None:
    """The title of the MSC class with this code (5, "05", "05-XX") or title, whatever its case; None if unknown."""
    text = str(label)[:1000].strip()
    if code := _CODE.fullmatch(text):
        return read_classes().get(code[1].zfill(2))
    return {title.lower(): title for title in read_classes().values()}.get(" ".join(text.lower().split()))


def prepare_labels(labelled: pd.DataFrame) -> pd.DataFrame:
    """question_id, question, domain (title) of the rows that have both, each question once, by question_id.

    Questions labelled in two ways are left out. Raises StudyError for a label that is no class.
    """
    require_columns(labelled, ["question", "domain"], "The table of labelled questions")
    is_text = labelled["question"].map(lambda text: isinstance(text, str) and bool(text.strip())).astype(bool)
    rows = labelled.loc[is_text & labelled["domain"].notna(), ["question", "domain"]]
    titles = {label: name_class(label) for label in rows["domain"].unique()}
    unknown = sorted(f"{label!r:.60}" for label, title in titles.items() if title is None)
    if unknown:
        raise StudyError(
            f"{len(unknown)} labels are no classes of MSC2020 (such as {', '.join(unknown[:3])}): write them as the "
            "titles or two-digit codes of s1_utils/msc_top_level.csv, and leave the field empty where there is none."
        )
    rows = rows.assign(domain=rows["domain"].map(titles), question_id=rows["question"].map(hash_question))
    rows = rows.drop_duplicates(["question_id", "domain"]).drop_duplicates("question_id", keep=False)
    return rows[["question_id", "question", "domain"]].sort_values("question_id", ignore_index=True)


def read_tokens(question: str) -> str:
    """What the classifier sees: words and signs of a question's beginning, in lower case, with spaces between."""
    return " ".join(_TOKEN.findall(question[:LONGEST].encode("utf-8", "replace").decode().lower()))


def train_classifier(labelled: pd.DataFrame, *, seed: int) -> Classifier:
    """A classifier of all `labelled` (question, domain: title or code), the same whatever the order of its rows.

    A class with one example is learnt like the others. Raises StudyError for an unknown label or fewer than 2 classes.
    """
    return _fit(prepare_labels(labelled), seed)


def _fit(rows: pd.DataFrame, seed: int) -> Classifier:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    split = {"tokenizer": str.split, "token_pattern": None, "lowercase": False, "ngram_range": (1, 2)}
    vectorizer = TfidfVectorizer(**split, min_df=2, max_features=FEATURES, sublinear_tf=True)
    model = LinearSVC(dual=True, random_state=derive_seed(seed, "classifier"))
    try:
        model.fit(vectorizer.fit_transform(rows["question"].map(read_tokens)), rows["domain"].to_numpy(dtype=object))
    except ValueError as error:  # a single class, or no word that is in two questions
        raise StudyError(f"Can't learn from {len(rows)} labelled questions ({str(error)[:200]}). {MORE}") from error
    return Classifier(vectorizer, model)


def hold_out(questions: pd.Series, *, seed: int) -> pd.Series:
    """Which questions are held out: by a seeded hash of what the classifier sees, so that none is in both parts.

    Questions that differ only in numbers, case or spaces are the same to it, and stay together.
    """
    seen = questions.map(read_tokens).map(hash_question)
    return seen.map(lambda key: derive_seed(seed, "held out", key) < HELD_OUT * 2**31).astype(bool)


def measure_classifier(labelled: pd.DataFrame, *, seed: int) -> Measured:
    """The accuracy on a held-out part of `labelled` (question, domain) of a classifier trained on the rest.

    A class that is in the held-out part alone counts as wrong. Raises StudyError as `train_classifier` does, and where
    nothing is held out.
    """
    rows = prepare_labels(labelled)
    is_held = hold_out(rows["question"], seed=seed)
    train, held = rows[~is_held], rows[is_held]
    if held.empty:
        raise StudyError(f"None of {len(rows)} labelled questions is held out to measure with. {MORE}")
    said = _fit(train, seed).predict(held["question"].tolist())["domain"].fillna("").to_numpy()
    held = held.assign(right=held["domain"].to_numpy() == said)
    classes = held.groupby("domain")["right"].agg(held_out="size", accuracy="mean").reset_index()
    classes.insert(1, "trained", classes["domain"].map(train["domain"].value_counts()).fillna(0).astype("int64"))
    found = scaling.bound_share(int(held["right"].sum()), len(held))
    baseline = float((held["domain"] == train["domain"].mode()[0]).mean())
    return Measured(
        len(train), len(held), float(held["right"].mean()), float(found.low), float(found.high), baseline, classes
    )
