"""The design of the ablations: which runs there are, on which rows, and what the tables say of them."""

from __future__ import annotations

import pandas as pd
import pytest

from s1_utils import ablations, models, selection, sources, store
from s1_utils.errors import StudyError
from s1_utils.params import AblationParams, load_profile


def make_params(**changes):
    return load_profile(AblationParams, "smoke").model_copy(update=changes)


def make_features(n=60):
    rows = [(f"q{i:02}", ("algebra", "chess")[i % 2], 10 + i, i % 5 == 0, 100 + i, i % 3 == 0) for i in range(n)]
    names = ["question_id", "domain", "thinking_tokens", "solved", "train_tokens", "attempt_correct"]
    nothing = pd.array([None] * n, dtype="string")
    return pd.DataFrame(rows, columns=names).assign(source="puzzles", quality=nothing, outright=nothing)


def test_every_subset_has_a_run_for_every_seed_and_s1k_one_for_every_training_length():
    runs = ablations.list_runs(make_params(subsets=["s1K", "random"], seeds=[3, 4], train_lengths=[96]))
    labels = ["s1K/3", "s1K/4", "random/3", "random/4", "s1K@96/3", "s1K@96/4"]
    assert [run.label for run in runs] == labels


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": [1, 2, 1]}, r"seeds has repeats"),
        ({"subsets": ["s1K", "s1K"]}, r"subsets has repeats"),
        ({"train_lengths": [96, 96]}, r"train_lengths has repeats"),
        ({"subsets": ["s1K", "randon"]}, r"did you mean random"),
        ({"subsets": ["random"]}, r"subsets must hold s1K"),
        ({"seeds": []}, r"seeds at least one"),
        ({"train_lengths": [288]}, r"must be shorter than max_length = 288"),
    ],
)
def test_a_design_that_can_not_be_run_is_refused_before_anything_is_trained(change, told):
    with pytest.raises(StudyError, match=told):
        ablations.list_runs(make_params(**change))


def test_full_has_the_factor_times_the_rows_of_the_others():
    chosen = ablations.choose_subsets(make_features(), make_params(subset_size=8, full_factor=3))
    assert chosen.groupby("subset").size().to_dict() == dict.fromkeys(selection.SUBSETS, 8) | {"full": 24}


def test_matched_by_tokens_every_subset_holds_as_many_as_s1k_to_within_a_trace():
    features = make_features(300)
    chosen = ablations.choose_subsets(features, make_params(subset_size=20, match="tokens", subsets=["s1K", "random"]))
    tokens = chosen.merge(features[["question_id", "thinking_tokens"]]).groupby("subset")["thinking_tokens"].agg(
        ["sum", "max", "size"]
    )  # fmt: skip
    assert abs(tokens.loc["random", "sum"] - tokens.loc["s1K", "sum"]) <= tokens.loc["random", "max"] / 2
    assert tokens.loc["random", "size"] > tokens.loc["s1K", "size"] == 20


def test_matched_by_tokens_a_subset_is_the_beginning_of_what_it_was_or_goes_on_from_it():
    features = make_features(300)
    plain, matched = (
        ablations.choose_subsets(
            features, make_params(subset_size=20, match=match, subsets=["s1K", "random", "diverse"])
        )
        for match in ("questions", "tokens")
    )
    for name in ("s1K", "random", "diverse"):
        one, two = (table.loc[table["subset"] == name, "question_id"].tolist() for table in (plain, matched))
        assert two[: len(one)] == one


def test_more_tokens_than_a_subset_can_hold_are_refused():
    features = make_features(60)
    with pytest.raises(StudyError, match=r"hold \d+ thinking tokens, s1K's 9999: lower subset_size"):
        ablations.select_by_tokens("difficulty", features, 9999, seed=0, rule="algorithm_1")


@pytest.mark.parametrize(("reselect", "is_shared"), [(False, True), (True, False)])
def test_training_seeds_share_a_selection_unless_each_is_to_have_its_own(reselect, is_shared):
    params = make_params(subsets=["s1K", "random"], seeds=[0, 1], reselect=reselect)
    chosen = ablations.choose_subsets(make_features(), params)
    sets = {key: set(rows["question_id"]) for key, rows in chosen.groupby(["subset", "seed"])}
    assert (sets["random", 0] == sets["random", 1]) is is_shared


def test_without_reselect_the_subsets_are_those_of_the_seed_of_the_selection():
    chosen = ablations.choose_subsets(make_features(), make_params(subsets=["s1K"], seeds=[7], seed=5, subset_size=8))
    expected = selection.select_subset("s1K", make_features(), size=8, seed=5)
    assert chosen["question_id"].tolist() == expected["question_id"].tolist()


def test_a_training_length_says_what_share_of_its_rows_it_cuts():
    features = make_features()
    params = make_params(subsets=["s1K"], seeds=[0], train_lengths=[140], subset_size=8, max_length=256)
    chosen = ablations.choose_subsets(features, params)
    columns = ["model", "control", "thinking_tokens", "accuracy", "low", "high", "n"]
    points = [("s1K/0", "wait", 9.0, 0.5, 0.4, 0.6, 16), ("s1K@140/0", "wait", 30.0, 0.3, 0.2, 0.4, 16),
              ("s1K/0", "budget", 16.0, 0.9, 0.8, 1.0, 16)]  # fmt: skip
    table = ablations.summarise_lengths(pd.DataFrame(points, columns=columns), chosen, features, params)
    lengths = features.set_index("question_id")["train_tokens"][chosen["question_id"]]
    assert table["cut"].tolist() == [(lengths > 140).mean(), 0.0]
    assert table[["train_length", "accuracy"]].to_numpy().tolist() == [[140, 0.3], [256, 0.5]]


# ------------------------------------------------------------------ told how long to think


class Folder:
    """What a run needs of a stage: where it writes, under which key."""

    key_hash = "k"

    def __init__(self, path):
        self.folder = path

    def path(self, name):
        return self.folder / name

    def table(self, name, build):
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            store.write_table(path, build())
        return pd.read_parquet(path)


SMALL = {
    "subsets": ["s1K"],
    "train_lengths": [],
    "kinds": ["steps"],
    "max_thinking": 16,
    "subset_size": 4,
    "pack": False,
}


@pytest.fixture(scope="module")
def told():
    """(rows, subsets, tests) of four training questions and two others."""
    questions = sources.collect_questions(["puzzles"], questions_per_family=3, dev=0, test=2, seed=0)
    rows = questions[questions["split"] == "train"].head(4).assign(thinking="Try A: no. Wait, try B: yes.", attempt="B")
    subsets = pd.DataFrame({"subset": "s1K", "seed": 0, "question_id": rows["question_id"]})
    return rows, subsets, questions[questions["split"] == "test"].reset_index(drop=True)


def run_told(folder, told, run=ablations.run_conditional, **changes):
    rows, subsets, tests = told
    base = models.resolve_model("random-llama")
    return run(Folder(folder), base, rows, subsets, tests, make_params(**SMALL | changes), "Think.")


def test_a_kind_is_trained_with_every_seed_and_named_after_it():
    runs = ablations.list_conditional(make_params(kinds=["tokens", "steps"], seeds=[0, 1]))
    assert [run.label for run in runs] == ["s1K-tokens/0", "s1K-tokens/1", "s1K-steps/0", "s1K-steps/1"]


def test_without_kinds_nobody_is_told_anything_and_nothing_is_written(tmp_path, told):
    assert run_told(tmp_path, told, kinds=[]).empty
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def ran(told, tmp_path_factory):
    """(folder, graded) of plain s1K and s1K trained on steps."""
    folder = tmp_path_factory.mktemp("told")
    return folder, run_told(folder, told)


def test_models_told_a_length_are_graded_beside_plain_s1k(ran):
    folder, graded = ran
    kinds = graded.groupby("model", sort=False)["trained"].unique().str[0].to_dict()
    assert kinds == {"s1K/0": "s1", "s1K-steps/0": "steps"}
    assert not list(folder.glob("runs/*/model"))


def test_the_kind_of_a_run_is_what_it_is_trained_on(ran):
    losses = [pd.read_parquet(ran[0] / f"runs/s1K{kind}-0/training.parquet")["loss"] for kind in ("", "-steps")]
    assert not losses[0].equals(losses[1])


def test_models_told_a_length_are_not_trained_again(ran, told):
    folder, graded = ran
    for name in ("generations_conditional.parquet", "grades_conditional.parquet", "runs/s1K-steps-0/training.parquet"):
        (folder / name).unlink()
    assert run_told(folder, told).equals(graded)


def test_rows_that_asking_makes_too_long_are_refused_before_anything_is_trained(tmp_path, told):
    with pytest.raises(StudyError, match=r"s1K-steps: Can't train: \d rows are longer than max_length = 110"):
        run_told(tmp_path, told, run=ablations.run_ablations, max_length=110)
    assert list(tmp_path.iterdir()) == []
