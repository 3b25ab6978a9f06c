"""Notebook 1's pool: sources of every kind side by side, a teacher and a judge behind real local servers."""

import json

import claude_server
import hub_fixtures
import pandas as pd
import pytest
import teacher_server

from s1_utils import collection, models, params
from s1_utils.errors import StudyError
from s1_utils.paper.sources import require_complete

SMALL = {"questions_per_family": 4, "dev_questions": 4, "test_questions": 4, "seed": 0}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return hub_fixtures.write_mirror(tmp_path_factory.mktemp("mirror"), 6)


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer(models.resolve_model("random-llama"))


def choose(mirror, *sources, **changes):
    return params.CollectParams(**{**SMALL, "sources": list(sources), "mirror": str(mirror), **changes})


def trace(pool, tokenizer, p, folder=None):
    return collection.collect_traces(pool["questions"], tokenizer, p, asked_folder=folder)


# ------------------------------------------------------------------ sources


def test_own_and_published_sources_make_one_pool_with_a_row_for_each(mirror):
    pool = collection.collect_pool(choose(mirror, "puzzles", "AGIEval", "s1K"))
    kept = pool["sources"].set_index("source")["kept"]
    assert set(kept.index) == {"puzzles", "AGIEval", "s1K"}
    assert kept["puzzles"] == 16
    assert kept.sum() == len(pool["questions"])
    assert pool["questions"]["question_id"].is_unique


def test_only_questions_made_here_are_held_out(mirror):
    questions = collection.collect_pool(choose(mirror, "puzzles", "AGIEval"))["questions"]
    assert set(questions.loc[questions["split"] == "test", "source"]) == {"puzzles"}


def test_the_files_of_a_published_source_are_recorded_with_their_hashes(mirror):
    sources = collection.collect_pool(choose(mirror, "puzzles", "MATH"))["sources"].set_index("source")
    assert json.loads(sources.loc["puzzles", "files"]) == {}
    files = json.loads(sources.loc["MATH", "files"])["simplescaling/openaimath"]["files"]
    assert files
    assert all(len(each["sha256"]) == 64 for each in files)


def test_a_source_that_fails_leaves_the_others_and_refuses_to_call_itself_done(mirror):
    sources = collection.collect_pool(choose(mirror / "simplescaling", "puzzles", "MATH"))["sources"]
    assert sources.set_index("source").loc["puzzles", "kept"] == 16
    with pytest.raises(StudyError, match="MATH"):
        require_complete(sources)


def test_a_pool_of_ones_own_sources_is_complete(mirror):
    require_complete(collection.collect_pool(choose(mirror, "puzzles"))["sources"])


def test_an_unknown_source_is_refused_with_what_there_is(mirror):
    with pytest.raises(StudyError, match="No source 'AGIEvil'"):
        collection.collect_pool(choose(mirror, "AGIEvil"))


def test_the_papers_counts_stand_beside_ours_and_add_up(mirror):
    table = collection.compare_with_paper(collection.collect_pool(choose(mirror, "puzzles", "GPQA"))["sources"])
    assert table.loc["all", "paper"] == 59029
    assert table.loc["GPQA", "paper"] == 348
    assert pd.isna(table.loc["NuminaMATH", "here"])
    assert table.loc["all", "here"] == table["here"].drop("all").sum()


# ------------------------------------------------------------------ teachers


def test_traces_that_a_published_set_brings_are_taken_without_asking_anybody(mirror, tokenizer):
    made = trace(collection.collect_pool(choose(mirror, "s1K")), tokenizer, choose(mirror, "s1K"))
    assert len(made["traces"]) == 6
    assert made["traces"]["thinking"].str.startswith("Thinking").all()
    assert made["teachers"]["usd"].sum() == 0


def test_a_teacher_is_asked_about_the_questions_that_bring_no_trace(mirror, tokenizer, tmp_path):
    with teacher_server.serve() as (_, url):
        p = choose(mirror, "puzzles", "MATH", teacher=url, teacher_model="m")
        pool = collection.collect_pool(p)
        made = trace(pool, tokenizer, p, tmp_path)
    asked = set(made["traces"].loc[made["traces"]["teacher"] == "own-server", "question_id"])
    assert asked == set(pool["questions"].loc[pool["questions"]["source"] == "MATH", "question_id"])
    assert made["teachers"].set_index("teacher").loc["own-server", "traces"] == len(asked)


def test_what_a_teacher_said_is_not_asked_again_for_another_pool_or_price(mirror, tokenizer, tmp_path):
    with teacher_server.serve() as (server, url):
        for sources, price in ((["MATH"], 0.0), (["MATH", "OmniMath"], 0.001)):
            p = choose(mirror, *sources, teacher=url, teacher_model="m", teacher_usd=[price, price], max_usd=9.0)
            pool = collection.collect_pool(p)
            trace(pool, tokenizer, p, tmp_path)
        assert len(server.asked) == len(pool["questions"])


@pytest.mark.parametrize("prices", [[0.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
def test_a_provider_without_prices_is_not_taken_for_free(mirror, tmp_path, prices):
    with pytest.raises(StudyError, match="gemini isn't free: set teacher_usd"):
        collection.find_teacher(choose(mirror, "puzzles", teacher="gemini", teacher_model="m", teacher_usd=prices))
    p = choose(mirror, "puzzles", judge="some-model", judge_usd=prices, max_usd=5.0)
    with pytest.raises(StudyError, match="some-model isn't free: set judge_usd"):
        collection.grade_traces(*ATTEMPTS, p, asked_folder=tmp_path)


def test_an_unknown_teacher_is_refused_with_those_there_are(mirror):
    with pytest.raises(StudyError, match="name one of gemini, deepseek-r1, claude, or give a server's URL"):
        collection.find_teacher(choose(mirror, "puzzles", teacher="socrates"))


def test_a_teacher_has_the_model_and_prices_of_the_parameters(mirror):
    teacher = collection.find_teacher(
        choose(mirror, "puzzles", teacher="gemini", teacher_model="m", teacher_usd=[1, 2])
    )
    assert (teacher.model, teacher.price(1e6, 1e6)) == ("m", 3.0)


# ------------------------------------------------------------------ verdicts


def make_attempts(*rows):
    """Traces and questions of (attempt, answer, answer_type)."""
    questions = pd.DataFrame(
        [
            {"question_id": f"q{i}", "question": f"Q{i}?", "solution": None, "answer": answer, "answer_type": kind,
             "metadata": "{}"}
            for i, (_, answer, kind) in enumerate(rows)
        ]
    )  # fmt: skip
    traces = [{"question_id": f"q{i}", "teacher": "t", "attempt": attempt} for i, (attempt, _, _) in enumerate(rows)]
    return pd.DataFrame(traces), questions


ATTEMPTS = make_attempts(
    ("Answer: B", "B", "choice"),
    ("Answer: 7", "8", "integer"),
    ("So \\boxed{\\frac{1}{2}}", "0.5", "expression"),
    ("Answer: because it is so", "It follows from the lemma of the proof.", "text"),
)


def test_each_grader_gives_its_own_verdict_and_leaves_the_rest_open(mirror):
    grades = collection.grade_traces(*ATTEMPTS, choose(mirror, "puzzles"), asked_folder=None).set_index(
        ["grader", "question_id"]
    )
    verdicts = grades["correct"]
    assert verdicts["exact"].tolist() == [True, False, pd.NA, pd.NA]
    assert verdicts["math"].to_dict() == {"q1": False, "q2": True}


def test_the_judge_sees_what_the_others_leave_open_and_a_sample_of_the_rest(mirror, tmp_path, monkeypatch):
    with claude_server.serve_claude() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
        p = choose(mirror, "puzzles", judge="some-model", judge_usd=[3.0, 15.0], max_usd=5.0)
        grades = collection.grade_traces(*ATTEMPTS, p, asked_folder=tmp_path, spent=1.0)
    judged = grades[grades["grader"] == "judge"].set_index("question_id")
    assert sorted(judged.index) == ["q0", "q1", "q2", "q3"]


def test_the_judge_may_not_spend_what_the_teacher_has_spent(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
    p = choose(mirror, "puzzles", judge="some-model", judge_usd=[3.0, 15.0], max_usd=5.0)
    with pytest.raises(StudyError, match="max_usd"):
        collection.grade_traces(*ATTEMPTS, p, asked_folder=tmp_path, spent=5.0)


def test_two_graders_are_compared_where_both_decided():
    rows = [("a", "x", True), ("a", "y", True), ("b", "x", True), ("b", "y", False), ("c", "x", None), ("c", "y", True)]
    grades = pd.DataFrame(rows, columns=["question_id", "grader", "correct"]).assign(teacher="t")
    (row,) = collection.compare_verdicts(grades.astype({"correct": "boolean"})).to_dict("records")
    assert (row["first"], row["second"], row["both"], row["agree"]) == ("x", "y", 2, 0.5)
    assert row["low"] <= 0.5 <= row["high"]
    assert (row["only first"], row["only second"]) == (0, 1)


def test_a_retired_judge_is_refused_with_its_successor(mirror, tmp_path):
    p = choose(mirror, "puzzles", judge="claude-3-5-sonnet-20241022", judge_usd=[3.0, 15.0], max_usd=5.0)
    with pytest.raises(StudyError, match=r"is retired: set judge to its successor, such as claude-"):
        collection.grade_traces(*ATTEMPTS, p, asked_folder=tmp_path)


def test_verdicts_that_a_set_brings_stand_beside_ours(mirror, tokenizer):
    p = choose(mirror, "s1K-1.1")
    pool = collection.collect_pool(p)["questions"]
    traces = collection.collect_traces(pool, tokenizer, p, asked_folder=None)["traces"]
    grades = collection.grade_traces(traces, pool, p, asked_folder=None)
    brought = grades[grades["grader"] == "published"]
    assert len(brought) == len(traces) > 0
    assert brought["correct"].all()  # "Yes" for DeepSeek's attempts; "No" for Gemini's, which aren't taken
