"""Solver models: named, asked here and behind a real local server, killed and resumed, graded by the real graders."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import claude_server
import pandas as pd
import pytest
import teacher_server

from s1_utils import api_teachers, chat, collection, generation, models, params, solver_models, solvers
from s1_utils.engines import Row
from s1_utils.errors import StudyError
from s1_utils.store import Journal, write_table

OPTIONS = {"max_tokens": 6, "group_size": 3, "seed": 1}


def make_pool(n=7):
    rows = [(f"q{i}", f"Which number is it {'now ' * (i % 3)}{i}", str(i), "integer") for i in range(n)]
    pool = pd.DataFrame(rows, columns=["question_id", "question", "answer", "answer_type"])
    return pool.assign(solution=None, metadata="{}")


def ask(names, pool, folder, **options):
    named = solvers.read_solvers(names)
    with Journal(folder / "solvers.jsonl", "k") as journal:
        return solver_models.ask_models(
            named, pool, journal=journal, asked_folder=folder / "asked", **{**OPTIONS, **options}
        )


def sampling(max_tokens):
    return solver_models._Sampling(max_tokens, group_size=3, seed=1, temperature=solver_models.TEMPERATURE)


@pytest.fixture
def served():
    """(a server that gives no thinking in a field of its own, its address up to /v1)."""
    with teacher_server.serve({"*": ["no thinking"]}) as (server, url):
        yield server, f"{url}/v1"


@pytest.fixture
def small(tmp_path):
    """A model folder whose window is 60 ids, and whose second question doesn't fit it."""
    folder = shutil.copytree(models.resolve_model("random-llama"), tmp_path / "small-window")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 60}))
    pool = make_pool(4)
    pool.loc[1, "question"] = "Which number is it? " * 40
    return str(folder), pool


# ------------------------------------------------------------------ names


def test_solvers_of_every_kind_are_read_in_order():
    names = ["direct", "Qwen/Qwen2.5-7B-Instruct@vllm", "random-llama", "qwen2.5:7b@http://localhost:8000/v1"]
    assert [(s.name, s.model, s.engine) for s in solvers.read_solvers(names)] == [
        ("direct", "", ""),
        (names[1], "Qwen/Qwen2.5-7B-Instruct", "vllm"),
        ("random-llama", "random-llama", "transformers"),
        (names[3], "qwen2.5:7b", "http://localhost:8000/v1"),
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "No solver is named"),
        (["direct", "direct"], "'direct' is named twice"),
        (["a/b", "a/b@transformers"], "'a/b@transformers' is named twice .as 'a/b'."),
        (["dirct"], "did you mean 'direct'"),
        (["random-lama"], "did you mean 'random-llama'"),
        (["direct@vllm"], "No solver 'direct@vllm'"),
        (["direct@http://host/v1"], "No solver"),
        (["@http://host/v1"], "No solver"),
        (["Qwen/Qwen2.5-7B-Instruct@vlm"], "no engine 'vlm'; use transformers, vllm"),
        (["a/b@"], "no engine ''"),
        (["a/b@http://user:word@host/v1"], "no engine"),
    ],
)
def test_a_name_that_is_no_solver_is_refused_with_what_to_write(names, said):
    with pytest.raises(StudyError, match=said):
        solvers.read_solvers(names)


def test_a_column_is_named_after_the_last_part_of_the_model():
    names = ["direct", "worked", "Qwen/Qwen2.5-7B-Instruct@vllm"]
    assert list(solvers.name_columns(names).values()) == [
        "solved_direct",
        "solved_worked",
        "solved_Qwen2.5-7B-Instruct",
    ]


def test_solvers_whose_models_end_alike_have_columns_of_their_own():
    names = ["direct", "x/direct", "a/m", "b/m", "a/m@vllm", "m@http://host:8000/v1"]
    columns = solvers.name_columns(names)
    assert columns["direct"] == "solved_direct"
    assert len(set(columns.values())) == len(names)


# ------------------------------------------------------------------ here


def test_every_question_has_a_row_of_every_solver_model_and_the_laptops_own_are_left_out(small, tmp_path):
    asked = ask(["direct", "random-llama", small[0]], make_pool(), tmp_path)
    assert asked.dtypes.astype(str).to_dict() == solver_models.COLUMNS
    assert asked.groupby("solver")["question_id"].nunique().to_dict() == {"random-llama": 7, small[0]: 7}
    assert (asked["output_tokens"] <= 6).all()
    assert (asked["reason"] == "").all()


def test_no_solver_models_give_an_empty_table(tmp_path):
    asked = ask(["direct", "worked"], make_pool(), tmp_path)
    assert asked.dtypes.astype(str).to_dict() == solver_models.COLUMNS
    assert asked.empty


@pytest.mark.parametrize("stopped", range(4))
def test_a_run_that_broke_off_anywhere_goes_on_to_the_same_bytes(stopped, tmp_path):
    whole = ask(["random-llama"], make_pool(), tmp_path / "whole")
    lines = (tmp_path / "whole" / "solvers.jsonl").read_bytes().splitlines(keepends=True)
    torn = tmp_path / "torn" / "solvers.jsonl"
    torn.parent.mkdir()
    torn.write_bytes(b"".join(lines[: stopped + 1]) + lines[stopped + 1][: len(lines[stopped + 1]) // 2])
    again = ask(["random-llama"], make_pool(), tmp_path / "torn")
    assert torn.read_bytes() == b"".join(lines)
    write_table(tmp_path / "a", whole)
    write_table(tmp_path / "b", again)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_done_is_not_asked_again_nor_the_model_looked_for(small, tmp_path):
    folder, pool = small
    asked = ask([folder], pool, tmp_path)
    shutil.rmtree(folder)
    pd.testing.assert_frame_equal(ask([folder], pool, tmp_path), asked)


def test_another_model_in_the_same_folder_does_not_answer_the_rest(small, tmp_path):
    folder, pool = small
    ask([folder], pool, tmp_path)
    lines = (tmp_path / "solvers.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "solvers.jsonl").write_bytes(b"".join(lines[:-1]))
    (Path(folder) / "generation_config.json").write_text("{}")
    with pytest.raises(StudyError, match="isn't the model that was asked first"):
        ask([folder], pool, tmp_path)


def test_the_order_of_the_pool_changes_nothing(tmp_path):
    first = ask(["random-llama"], make_pool(), tmp_path / "a")
    second = ask(["random-llama"], make_pool().sample(frac=1, random_state=3), tmp_path / "b")
    pd.testing.assert_frame_equal(first, second)
    assert (tmp_path / "a" / "solvers.jsonl").read_bytes() == (tmp_path / "b" / "solvers.jsonl").read_bytes()


def test_the_same_question_under_two_ids_has_two_seeds(tmp_path):
    writer = generation.load_writer(models.resolve_model("random-llama"), "", solver_models.REPLY)
    pool = pd.DataFrame({"question_id": ["a", "b"], "question": ["Which?"] * 2})
    tasks = generation.make_tasks(writer, pool, seed=1, is_opened=False)
    rows = solver_models._ask_group(writer, (), sampling(40), tasks)
    again = solver_models._ask_group(writer, (), sampling(40), tasks)
    assert rows[0]["answer"] != rows[1]["answer"]
    assert rows == again


def test_a_question_that_does_not_fit_the_window_has_no_reply_and_a_reason(small, tmp_path):
    folder, pool = small
    row = ask([folder], pool, tmp_path).iloc[1]
    assert row["reason"] == "the question doesn't fit the model's window"
    assert row[["answer", "finish", "output_tokens"]].isna().all()


def test_a_group_in_which_no_question_fits_is_a_group(small, tmp_path):
    folder, pool = small
    asked = ask([folder], pool, tmp_path, group_size=1)
    assert asked["answer"].isna().tolist() == [False, True, False, False]


def test_a_reply_ends_at_what_the_window_leaves(small, tmp_path):
    folder, pool = small
    tokenizer = models.load_tokenizer(Path(folder))
    prompt = chat.encode(tokenizer, chat.write_prompt(tokenizer, pool["question"][0], ""))
    row = ask([folder], pool, tmp_path, max_tokens=1000).iloc[0]
    assert row["output_tokens"] == 60 - len(prompt)
    assert row["finish"] == "length"


def test_a_reply_ends_at_any_end_that_the_models_files_name(tmp_path):
    folder = shutil.copytree(models.resolve_model("random-llama"), tmp_path / "model")
    tokenizer = models.load_tokenizer(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert solver_models.find_turn_ends(folder, tokenizer) == ((2,), (7,), (9,))


def test_a_reply_is_the_text_up_to_its_end_and_nothing_is_added():
    writer = generation.load_writer(models.resolve_model("random-llama"), "", solver_models.REPLY)
    tasks = generation.make_tasks(writer, make_pool(1), seed=1, is_opened=False)
    row = Row(tasks[0].prompt_ids, solver_models._reply((), 12), tasks[0].seed, solver_models.TEMPERATURE)
    ids = writer.engine.run([row])[0].ids
    (ended,) = solver_models._ask_group(writer, ((ids[3],),), sampling(12), tasks)
    assert ended["finish"] == "stop"
    assert ended["answer"] == writer.decode(ids[: ids.index(ids[3])])


def test_the_template_keeps_its_own_system_prompt_and_the_question_is_bare(tokenizer):
    writer = generation.load_writer(models.resolve_model("random-llama"), "", solver_models.REPLY)
    (task,) = generation.make_tasks(writer, make_pool(1), is_opened=False)
    messages = [{"role": "user", "content": make_pool(1)["question"][0]}]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert writer.decode(task.prompt_ids) == expected


def test_a_model_without_a_chat_template_is_refused(small, tmp_path):
    (Path(small[0]) / "chat_template.jinja").unlink()
    with pytest.raises(StudyError, match="has no chat template: name an instruct model"):
        ask([small[0]], make_pool(), tmp_path)


def test_a_model_is_gone_from_memory_when_its_questions_are_asked(tmp_path):
    from s1_utils.engines.transformers import TransformersEngine

    def count():
        return sum(type(each) is TransformersEngine for each in gc.get_objects())

    gc.collect()
    before = count()
    ask(["random-llama"], make_pool(2), tmp_path)
    assert count() == before


CHILD = """
import sys
from pathlib import Path
from test_solver_models import ask, make_pool
ask(["random-llama"], make_pool(40), Path(sys.argv[1]), group_size=2, max_tokens=40)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))}
    path = tmp_path / "killed" / "solvers.jsonl"
    command = [sys.executable, "-c", CHILD, str(path.parent)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 120
    while time.monotonic() < patience and not (path.exists() and path.read_bytes().count(b"\n") > 4):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    assert path.read_bytes().count(b"\n") < 22
    options = {"group_size": 2, "max_tokens": 40}
    resumed = ask(["random-llama"], make_pool(40), path.parent, **options)
    pd.testing.assert_frame_equal(resumed, ask(["random-llama"], make_pool(40), tmp_path / "whole", **options))
    assert path.read_bytes() == (tmp_path / "whole" / "solvers.jsonl").read_bytes()


# ------------------------------------------------------------------ behind a server


def test_a_served_model_is_asked_the_bare_question_with_the_papers_sampling(served, tmp_path):
    server, url = served
    ask([f"m@{url}"], make_pool(1), tmp_path)
    ((_, question, _, body),) = server.asked
    assert body["messages"] == [{"role": "user", "content": question}]
    assert {name: body[name] for name in ("model", "temperature", "max_tokens", "seed")} == {
        "model": "m", "temperature": 0.05, "max_tokens": 6, "seed": 1,
    }  # fmt: skip


def test_a_reply_without_thinking_is_the_answer_as_it_came(served, tmp_path):
    asked = ask([f"m@{served[1]}"], make_pool(), tmp_path)
    assert asked["answer"].tolist() == [teacher_server.answer(question) for question in make_pool()["question"]]
    assert (asked["finish"] == "stop").all()


def test_markers_of_thinking_in_a_reply_are_left_in_it(tmp_path):
    with teacher_server.serve(style="inline") as (_, url):
        (answer,) = ask([f"m@{url}/v1"], make_pool(1), tmp_path)["answer"]
    question = make_pool(1)["question"][0]
    assert answer == f"<think>\n{teacher_server.think(question)}\n</think>\n\n{teacher_server.answer(question)}"


def test_two_models_of_one_server_are_asked_and_kept_apart(served, tmp_path):
    server, url = served
    asked = ask([f"a@{url}", f"b@{url}"], make_pool(2), tmp_path)
    assert sorted(body["model"] for *_, body in server.asked) == ["a", "a", "b", "b"]
    assert asked["solver"].value_counts().to_dict() == {f"a@{url}": 2, f"b@{url}": 2}
    assert len(list((tmp_path / "asked").iterdir())) == 2


def test_what_a_server_replied_is_not_asked_again(served, tmp_path):
    server, url = served
    first = ask([f"m@{url}"], make_pool(), tmp_path)
    pd.testing.assert_frame_equal(ask([f"m@{url}"], make_pool(), tmp_path), first)
    assert len(server.asked) == 7


def test_a_question_that_leaves_a_served_model_too_little_room_is_asked_for_what_is_left(tmp_path):
    pool = make_pool(3)
    with teacher_server.serve({pool["question"][1]: ["400", ""]}) as (server, url):
        asked = ask([f"m@{url}/v1"], pool, tmp_path)
        pd.testing.assert_frame_equal(ask([f"m@{url}/v1"], pool, tmp_path), asked)
        assert ["max_tokens" in body for *_, body in server.asked[3:]] == [False]  # the window is the limit
    assert asked["answer"].notna().all()


def test_a_question_that_a_server_refuses_twice_has_no_reply_and_a_reason(tmp_path):
    pool = make_pool(3)
    with teacher_server.serve({pool["question"][1]: ["400", "400"]}) as (_, url):
        asked = ask([f"m@{url}/v1"], pool, tmp_path)
    assert asked["reason"].tolist() == ["", "status 400", ""]
    assert asked["answer"].isna().tolist() == [False, True, False]


def test_cut_and_empty_replies_are_replies(tmp_path):
    pool = make_pool(3)
    with teacher_server.serve({pool["question"][0]: ["length"], pool["question"][1]: ["no attempt"]}) as (_, url):
        asked = ask([f"m@{url}/v1"], pool, tmp_path)
    assert asked["finish"].tolist() == ["length", "stop", "stop"]
    assert asked["answer"].tolist()[:2] == ["", ""]


def test_a_server_that_fails_stops_the_stage_and_is_asked_again_later(tmp_path, monkeypatch):
    monkeypatch.setattr(api_teachers, "LONGEST_BACKOFF", 0.01)
    pool = make_pool(3)
    with teacher_server.serve({pool["question"][1]: ["529"] * 5}) as (server, url):
        with pytest.raises(
            StudyError, match=r"1 of 3 questions have no reply .status 529.*see that its server is up and run again"
        ):
            ask([f"m@{url}/v1"], pool, tmp_path)
        assert ask([f"m@{url}/v1"], pool, tmp_path)["answer"].notna().all()
        assert len(server.asked) == 8


def test_a_server_that_refuses_everything_is_no_table_of_nulls(tmp_path):
    with (
        teacher_server.serve({"*": ["400"]}) as (_, url),
        pytest.raises(StudyError, match=r"3 of 3 .*delete .*m-\w+.jsonl"),
    ):
        ask([f"m@{url}/v1"], make_pool(3), tmp_path)


def test_another_temperature_is_another_run_of_a_served_model(served, tmp_path):
    server, url = served
    ask([f"m@{url}"], make_pool(1), tmp_path)
    ask([f"m@{url}"], make_pool(1), tmp_path, temperature=0.7)
    assert [body["temperature"] for *_, body in server.asked] == [0.05, 0.7]


# ------------------------------------------------------------------ verdicts


def make_replies(*rows):
    """Replies and questions of (answer, finish, gold, answer_type)."""
    asked = [
        {"question_id": f"q{i}", "solver": "a/m@vllm", "asking": 0, "answer": reply, "finish": finish}
        for i, (reply, finish, *_) in enumerate(rows)
    ]
    gold = [(f"q{i}", f"Q{i}?", None, answer, kind, "{}") for i, (_, _, answer, kind) in enumerate(rows)]
    columns = ["question_id", "question", "solution", "answer", "answer_type", "metadata"]
    return pd.DataFrame(asked).astype({"answer": "string", "finish": "string"}), pd.DataFrame(gold, columns=columns)


REPLIES = make_replies(
    ("The answer is B.", "stop", "B", "choice"),
    ("so we get 7", "stop", "8", "integer"),
    ("So \\boxed{\\frac{1}{2}}", "stop", "0.5", "expression"),
    (None, None, "0.5", "expression"),
    ("We go on and on", "length", "0.5", "expression"),
    ("We went on and on", "stop", "0.5", "expression"),
    ("", "stop", "0.5", "expression"),
    ("", "stop", None, "expression"),
)


def test_a_reply_is_graded_by_whoever_decides_it_first(tmp_path):
    graded = collection.grade_attempts(*REPLIES, params.CollectParams(), asked_folder=tmp_path)
    assert graded["correct"].tolist() == [True, False, True, pd.NA, False, pd.NA, False, pd.NA]
    assert graded["grader"].fillna("").tolist() == ["exact", "exact", "math", "", "no answer", "", "no answer", ""]
    assert graded["extracted"].fillna("").tolist()[:4] == ["B", "7", "\\frac{1}{2}", ""]


def test_grading_keeps_every_row_and_column(tmp_path):
    graded = collection.grade_attempts(*REPLIES, params.CollectParams(), asked_folder=tmp_path)
    pd.testing.assert_frame_equal(graded[REPLIES[0].columns], REPLIES[0])
    assert graded.dtypes[["extracted", "correct", "grader"]].astype(str).tolist() == ["string", "boolean", "string"]


def test_no_replies_at_all_are_graded_as_undecided(tmp_path):
    asked, questions = REPLIES
    for none in (asked[:0], asked[3:4]):
        graded = collection.grade_attempts(none, questions, params.CollectParams(), asked_folder=tmp_path)
        assert graded["correct"].isna().all()
        assert len(graded) == len(none)


def test_the_judge_decides_only_what_the_others_leave_open(tmp_path, monkeypatch):
    with claude_server.serve_claude() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
        p = params.CollectParams(judge="some-model", judge_usd=[3.0, 15.0], max_usd=5.0)
        graded = collection.grade_attempts(*REPLIES, p, asked_folder=tmp_path)
    alone = collection.grade_attempts(*REPLIES, params.CollectParams(), asked_folder=tmp_path)
    own = alone["grader"].isin(["exact", "math"])
    pd.testing.assert_frame_equal(graded[own], alone[own])
    assert graded["grader"][5] == "judge"


def test_a_verdict_that_a_published_set_brings_is_not_taken_for_the_solvers(tmp_path):
    asked, questions = make_replies(("We went on and on", "stop", "0.5", "expression"))
    brought = questions.assign(metadata=json.dumps({"deepseek_grade": "Yes"}))
    graded = collection.grade_attempts(asked, brought, params.CollectParams(), asked_folder=tmp_path)
    assert graded["correct"].isna().all()


# ------------------------------------------------------------------ solved


def find_solved(*rows, dtype="boolean"):
    asked = pd.DataFrame(rows, columns=["question_id", "solver", "correct"]).astype({"correct": dtype})
    return solvers.find_solved(asked).set_index("question_id")


def test_a_question_is_solved_if_all_askings_are_right_and_unknown_if_none_is_wrong_but_one_is():
    rows = [("a", True), ("a", True), ("b", True), ("b", None), ("c", None), ("c", False), ("d", False), ("e", None)]
    solved = find_solved(*[(question_id, "direct", correct) for question_id, correct in rows])["solved_direct"]
    assert solved.tolist() == [True, pd.NA, False, False, pd.NA]
    assert solved.dtype == "boolean"


def test_solvers_of_both_kinds_have_a_column_each():
    laptop = pd.DataFrame({"question_id": ["a", "a", "b"], "solver": "direct", "correct": [True, True, False]})
    model = pd.DataFrame({"question_id": ["a", "b"], "solver": "Qwen/Qwen2.5-7B-Instruct@vllm"})
    model["correct"] = pd.array([None, True], dtype="boolean")
    solved = solvers.find_solved(pd.concat([laptop, model], ignore_index=True)).set_index("question_id")
    assert solved["solved_direct"].tolist() == [True, False]
    assert solved["solved_Qwen2.5-7B-Instruct"].tolist() == [pd.NA, True]
    assert set(solved.dtypes) == {pd.BooleanDtype()}


def test_a_question_that_a_solver_was_never_asked_is_unknown():
    solved = find_solved(("a", "direct", True), ("b", "a/m", True), dtype=bool)
    assert solved["solved_direct"].tolist() == [True, pd.NA]
    assert solved["solved_m"].tolist() == [pd.NA, True]


def test_the_laptops_own_columns_are_what_they_were():
    rows = [(q, solver, q != solver) for q in "ab" for solver in ("direct", "worked")]
    asked = pd.DataFrame(rows, columns=["question_id", "solver", "correct"])
    before = asked.groupby(["question_id", "solver"])["correct"].all().unstack()
    before = before.add_prefix("solved_").reset_index().rename_axis(columns=None)
    pd.testing.assert_frame_equal(solvers.find_solved(asked), before)
