"""Every method of the paper on a tiny model: tables as the notebook reads them."""

from types import SimpleNamespace

import pytest

from s1_utils import curves, methods, models, params, sensitivity, sources
from s1_utils.store import Journal


@pytest.fixture(scope="module")
def questions():
    return sources.collect_questions(["puzzles"], questions_per_family=2, dev=0, test=8, seed=0)


@pytest.fixture(scope="module")
def table(questions, tmp_path_factory):
    options = params.load_profile(params.SequentialParams, "smoke").model_dump() | {"method_questions": 4}
    with Journal(tmp_path_factory.mktemp("methods") / "a.jsonl", "k") as journal:
        folder = models.resolve_model("random-llama")
        return methods.run_methods(
            folder, questions, journal, SimpleNamespace(**options), label="m", system_prompt="Think."
        )


def test_every_method_answers_every_question_once_a_setting(table):
    assert not table.duplicated(["question_id", "setting"]).any()
    assert (table.groupby("setting")["question_id"].nunique() == 4).all()
    assert {"free", "unopened", "tokens", "tokens, cut", "short", "long", "rejection", "harness", "readme"} <= set(
        table["control"]
    )


def test_a_length_asked_for_in_words_is_the_budget_of_its_rows(table):
    assert set(table.loc[table["control"] == "tokens", "budget"]) == {8}
    assert (table.loc[table["control"] == "tokens, cut", "thinking_tokens"] <= 8).all()


def test_the_measures_say_how_closely_generations_land(table, questions):
    graded = curves.join_grades(table, sensitivity.grade_generations(table, questions))
    curve = curves.summarise_settings(graded, resamples=50, seed=0)
    measured = curves.measure_methods(graded, curve).set_index("method")
    assert measured.loc["tokens, cut", "within"] == 1
    assert measured.loc[["free", "short", "long"], "within"].isna().all()
    cut = graded[graded["control"] == "tokens, cut"]
    assert measured.loc["tokens, cut", "off"] == pytest.approx((8 - cut["thinking_tokens"]).abs().mean() / 8)
