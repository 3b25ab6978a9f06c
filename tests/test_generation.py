"""Generation in groups: journalled, resumable, bounded by the model's window."""

import dataclasses

import pandas as pd
import pytest

from s1_utils import generation, models, sensitivity, solvers, sources
from s1_utils.budget_forcing import Setting
from s1_utils.errors import StudyError
from s1_utils.store import Journal

SETTINGS = [Setting("budget", 6, 6), Setting("wait", 10, 1)]
OPTIONS = {"label": "m", "wait_text": " Wait,", "max_answer_tokens": 4, "group_size": 3}


def generate(writer, tasks, path):
    with Journal(path, "k") as journal:
        return generation.generate(writer, tasks, SETTINGS, journal, **OPTIONS)


@pytest.fixture(scope="module")
def writer():
    return generation.load_writer(models.resolve_model("random-llama"), "Think.")


@pytest.fixture(scope="module")
def questions():
    return sources.collect_questions(["puzzles"], questions_per_family=2, dev=0, test=8, seed=0)


def test_a_resumed_journal_gives_the_table_of_an_undisturbed_run_and_computes_only_what_is_missing(
    writer, questions, tmp_path
):
    tasks = generation.make_tasks(writer, questions)
    whole = generate(writer, tasks, tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][: len(lines[2]) // 2])
    before = writer.engine.forward_tokens
    resumed = generate(writer, tasks, tmp_path / "b.jsonl")
    pd.testing.assert_frame_equal(resumed, whole)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    spent = writer.engine.forward_tokens - before
    nothing = writer.engine.forward_tokens
    generate(writer, tasks, tmp_path / "b.jsonl")
    assert spent > 0
    assert writer.engine.forward_tokens == nothing


def test_the_table_has_a_row_for_every_task_and_setting_within_its_budget(writer, questions, tmp_path):
    tasks = generation.make_tasks(writer, questions, samples=2)
    table = generate(writer, tasks, tmp_path / "a.jsonl")
    assert len(table) == len(questions) * 2 * len(SETTINGS)
    assert not table.duplicated(["question_id", "sample", "setting"]).any()
    assert (table["thinking_tokens"] <= table["budget"]).all()
    assert (table["thinking_ids"].map(len) == table["thinking_tokens"]).all()


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(writer, questions, tmp_path):
    small = dataclasses.replace(writer, window=60)
    tasks = generation.make_tasks(small, questions)
    with pytest.raises(StudyError, match=r"room for \d+ of the 10 thinking tokens .* window is 60"):
        generate(small, tasks, tmp_path / "a.jsonl")


def test_grading_counts_every_generation_and_never_sees_them_changed(writer, questions, tmp_path):
    tasks = generation.make_tasks(writer, questions)
    table = generate(writer, tasks, tmp_path / "a.jsonl")
    before = table.copy(deep=True)
    grades = sensitivity.grade_generations(table, questions)
    pd.testing.assert_frame_equal(table, before)
    assert len(grades) == len(table)
    assert grades["correct"].notna().all()


def test_a_question_counts_as_solved_only_if_every_asking_is_right():
    askings = pd.DataFrame(
        [("a", "direct", True), ("a", "direct", True), ("b", "direct", True), ("b", "direct", False)],
        columns=["question_id", "solver", "correct"],
    )
    assert solvers.find_solved(askings).set_index("question_id")["solved_direct"].to_dict() == {"a": True, "b": False}


def test_an_asking_lists_the_options_in_another_order_and_nothing_else(questions):
    row = questions.iloc[0]
    asked = {solvers.reshuffle(row.question, row.metadata, seed) for seed in range(20)}
    assert len(asked) > 1
    assert {"".join(sorted(text)) for text in asked} == {"".join(sorted(row.question))}
