"""Every profile of Table 1 against a server that speaks its API, and open weights on an engine here."""

from __future__ import annotations

import subprocess
import sys

import hub_fixtures
import pandas as pd
import pytest
import yaml
from teacher_server import KEY, answer, serve
from test_chat_models import APIS, PATHS, QUICK, ask, key, make_questions

from s1_utils import baselines, paths
from s1_utils.baselines import Baseline, list_baselines, read_baseline, run_baseline, run_on_engine
from s1_utils.chat_models import COLUMNS
from s1_utils.errors import StudyError
from s1_utils.training_text import KINDS

__all__ = ["key"]  # a fixture that every test here uses

TABLE_1 = {"o1-preview", "o1-mini", "o1", "gemini-2.0-flash-thinking", "deepseek-r1", "qwq-32b-preview"} | {
    "sky-t1-32b-preview", "bespoke-stratos-32b", "qwen2.5-32b-instruct", "s1-32b", "r1-distill-llama-70b"
}  # fmt: skip
TABLE_1 |= {f"r1-distill-qwen-{size}b" for size in ("1.5", "7", "14", "32")}
TABLE_1 |= {f"s1.1-{size}b" for size in ("1.5", "3", "7", "14", "32")}


# ------------------------------------------------------------------ profiles


def test_every_model_of_table_1_has_a_profile():
    assert set(list_baselines()) == TABLE_1


@pytest.mark.parametrize("name", sorted(TABLE_1))
def test_a_profile_names_a_known_way_to_ask_and_no_score(name):
    baseline = read_baseline(name)
    assert baseline.api in ("", *APIS)
    assert baseline.format in ("", baselines.WHOLE_TURN, *KINDS)
    assert baseline.key_variable == baseline.key_variable.upper()
    assert bool(baseline.priced) == any(baseline.usd_per_million) or name.startswith("gemini")
    assert "/" in baseline.model or baseline.key_variable  # a hub's id, or a provider's name


@pytest.mark.parametrize("name", sorted(name for name in TABLE_1 if read_baseline(name).api))
def test_a_profile_of_an_api_runs_against_a_server_that_speaks_it(name, tmp_path, monkeypatch):
    baseline = read_baseline(name)
    monkeypatch.setenv(baseline.key_variable or "A_KEY", KEY)
    with serve() as (server, url):
        local = baseline.model_copy(update={"base_url": url + PATHS[baseline.api]})
        monkeypatch.setattr(baselines, "read_baseline", lambda asked: local)
        rows = run_baseline(name, make_questions(), tmp_path, samples=2, **QUICK | {"max_usd": 100.0})
        body = server.asked[0][3]
    assert rows["reason"].eq("").all()
    assert len(rows) == 6
    assert set(rows["model"]) == {name}
    assert baseline.api == "gemini" or body["model"] == baseline.model
    assert not (baseline.retired and "temperature" in body)  # none of those takes one


@pytest.mark.parametrize("name", sorted(name for name in TABLE_1 if read_baseline(name).retired))
def test_a_profile_whose_model_is_gone_gives_that_result_and_no_accuracy(name, tmp_path, monkeypatch, capsys):
    baseline = read_baseline(name)
    monkeypatch.setenv(baseline.key_variable, KEY)
    with serve({"*": ["404no such model"]}) as (server, url):
        local = baseline.model_copy(update={"base_url": url + PATHS[baseline.api]})
        monkeypatch.setattr(baselines, "read_baseline", lambda asked: local)
        arguments = [name, "--questions", str(write_questions(tmp_path)), "--out", str(tmp_path / "out")]
        assert baselines.main([*arguments, "--max-usd", "100", "--samples", "3"]) == 0
        assert len(server.asked) <= 6
    assert f"{name}: its provider has retired it ({baseline.retired})" in capsys.readouterr().err
    assert pd.read_parquet(tmp_path / "out" / "generations.parquet")["finish"].eq("retired").all()
    accuracy = pd.read_csv(tmp_path / "out" / "accuracy.csv")
    assert accuracy["undecided"].tolist() == [1.0]
    assert accuracy["accuracy"].isna().all()


@pytest.mark.parametrize("name", sorted(name for name in TABLE_1 if read_baseline(name).format not in ("", "s1")))
def test_a_profile_of_open_weights_runs_on_any_chat_server(name, tmp_path):
    with serve(style="inline") as (server, url):
        rows = run_baseline(name, make_questions(), tmp_path, server=f"{url}/v1", **QUICK)
        assert rows["usd"].sum() == 0
        assert "max_tokens" not in server.asked[0][3]  # the window is the limit
        assert "authorization" not in {key.lower() for key in server.asked[0][2]}
    is_split = read_baseline(name).format == "r1"
    assert rows["thinking"].notna().all() == is_split
    assert rows["answer"][0].endswith(answer(make_questions()["question"][0]))


def test_thinking_that_has_to_be_opened_isn_t_asked_of_a_chat_server(tmp_path):
    with pytest.raises(StudyError, match="completions server"):
        run_baseline("s1-32b", make_questions(), tmp_path, server="http://127.0.0.1:9/v1")


def test_an_api_s_model_has_no_weights_to_run(tmp_path):
    with pytest.raises(StudyError, match="no open weights"):
        run_baseline("o1", make_questions(), tmp_path, engine="transformers")


def write_questions(folder):
    path = folder / "questions.jsonl"
    path.write_text('{"question": "Is it 7", "answer": 7}\n{"question": "Is it 8", "answer": 8}\n')
    return path


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    folder = tmp_path / "params" / "baselines"
    folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    return folder


WRONG = [
    ({"model": "m"}, "either an api or an engine"),
    ({"model": "m", "api": "openai", "base_url": "http://x/v1", "engine": "vllm"}, "either an api or an engine"),
    ({"model": "m", "api": "openai"}, "base_url"),
    ({"model": "m", "api": "telepathy", "base_url": "http://x/v1"}, "api"),
    ({"model": "m", "engine": "vllm"}, "format must be"),
    ({"model": "m", "engine": "vllm", "format": "s2"}, "format must be"),
    ({"model": "m", "engine": "vllm", "format": "s1", "top_p": 0.9}, "leave top_p out"),
    ({"model": "m", "engine": "vllm", "format": "s1", "max_token": 3}, "max_token"),
    ({"model": "m", "engine": "vllm", "format": "s1", "max_tokens": "many"}, "max_tokens"),
    ({"model": "m", "engine": "vllm", "format": "s1", "thinking_markers": ["a"]}, "pairs"),
    ({"engine": "vllm", "format": "s1"}, "model"),
    ({"model": "m", "api": "gemini", "base_url": "http://x", "length_field": "n"}, "OpenAI's"),
    ({"model": "m", "api": "anthropic", "base_url": "http://x", "stream": False}, "OpenAI's"),
    ("a list", "baselines"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG)
def test_a_wrong_profile_is_refused_by_name(fields, said, profiles):
    (profiles / "mine.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(StudyError, match=said):
        read_baseline("mine")


def test_an_unknown_profile_is_refused_with_those_there_are(profiles):
    (profiles / "mine.yaml").write_text("model: m\n")
    with pytest.raises(StudyError, match="name one of mine"):
        read_baseline("other")


# ------------------------------------------------------------------ engines


@pytest.mark.parametrize("form", ["s1", "think", "reply"])
def test_open_weights_run_here_and_a_second_run_reads_the_journal(form, tmp_path, monkeypatch):
    baseline = Baseline(model="random-llama", engine="transformers", format=form, temperature=1.0, max_tokens=12)
    options = {"engine": "transformers", "samples": 2, "seed": 3, "group_size": 4}
    rows = run_on_engine("tiny", baseline, make_questions(), tmp_path, **options)
    assert rows[["question_id", "sample"]].to_numpy().tolist() == [[f"q{i}", s] for i in range(3) for s in range(2)]
    assert (rows["output_tokens"] <= 12).all()
    assert rows["reason"].isin(["", "cut at max_tokens"]).all()
    assert rows["output_tokens"].eq(12)[rows["reason"] != ""].all()
    monkeypatch.setattr("s1_utils.engines.transformers.TransformersEngine.run", None)  # not needed again
    again = run_on_engine("tiny", baseline, make_questions(), tmp_path, **options)
    pd.testing.assert_frame_equal(rows, again)


@pytest.fixture
def prompts(monkeypatch):
    """The texts of all prompts that an engine here runs."""
    from s1_utils import models
    from s1_utils.engines.transformers import TransformersEngine

    tokenizer, seen, run = models.load_tokenizer(models.resolve_model("random-llama")), [], TransformersEngine.run

    def watch(engine, rows, *more, **options):
        rows = list(rows)
        seen.extend((tokenizer.decode(list(row.prompt_ids)), row.temperature) for row in rows)
        return run(engine, rows, *more, **options)

    monkeypatch.setattr(TransformersEngine, "run", watch)
    return seen


@pytest.mark.parametrize("name", sorted(name for name in TABLE_1 if read_baseline(name).engine))
def test_a_profile_of_an_engine_runs_a_tiny_model_and_s1_s_thinking_is_opened(name, tmp_path, monkeypatch, prompts):
    baseline = read_baseline(name)
    tiny = baseline.model_copy(update={"model": "random-llama", "max_tokens": 6})
    monkeypatch.setattr(baselines, "read_baseline", lambda asked: tiny)
    rows = run_baseline(name, make_questions(2), tmp_path, engine="transformers")
    assert rows["finish"].isin(["stop", "length"]).all()
    assert (rows["finish"] == "length").equals(rows["reason"] == "cut at max_tokens")
    assert (rows["output_tokens"] <= 6).all()
    assert {temperature for _, temperature in prompts} == {baseline.temperature}
    is_opened = [text.endswith("<|im_start|>assistant\n<|im_start|>think\n") for text, _ in prompts]
    assert is_opened == [baseline.format == "s1"] * 2
    assert all(text.endswith(("think\n", "assistant\n")) for text, _ in prompts)


def test_nothing_to_ask_is_an_error(tmp_path):
    with pytest.raises(StudyError, match="no question to ask s1-32b"):
        run_baseline("s1-32b", make_questions(0), tmp_path)


def test_rows_of_an_engine_and_of_an_api_have_the_same_columns(tmp_path):
    baseline = Baseline(model="random-llama", engine="transformers", format="s1", max_tokens=4)
    local = run_on_engine("tiny", baseline, make_questions(), tmp_path, engine="transformers")
    with serve() as (_, url):
        served = ask(url, tmp_path)
    assert list(local.columns) == list(served.columns) == list(COLUMNS)
    assert local.dtypes.equals(served.dtypes)


def test_a_question_that_fills_the_window_is_refused_by_its_id(tmp_path):
    long = make_questions(1).assign(question="word " * 20_000)
    baseline = Baseline(model="random-llama", engine="transformers", format="s1", max_tokens=4)
    with pytest.raises(StudyError, match="q0 fills the model's window"):
        run_on_engine("tiny", baseline, long, tmp_path, engine="transformers")


# ------------------------------------------------------------------ the shell


def test_the_shell_writes_generations_and_says_what_came_of_it(tmp_path, capsys):
    with serve({"Is it 8": ["length", ""]}, style="inline") as (_, url):
        arguments = ["deepseek-r1", "--questions", str(write_questions(tmp_path)), "--out", str(tmp_path / "out")]
        assert baselines.main([*arguments, "--server", f"{url}/v1", "--samples", "2"]) == 0
    rows = pd.read_parquet(tmp_path / "out" / "generations.parquet")
    assert len(rows) == 4
    assert "deepseek-r1" in capsys.readouterr().out
    accuracy = pd.read_csv(tmp_path / "out" / "accuracy.csv")
    assert accuracy[["samples", "accuracy", "task"]].to_numpy().tolist() == [[4, 0.75, "questions"]]
    votes = pd.read_csv(tmp_path / "out" / "votes.csv").set_index("k")
    assert votes["pass_k"].to_dict() == {1: 0.75, 2: 1.0}
    assert (tmp_path / "out" / "votes.svg").exists()


@pytest.mark.parametrize("benchmark", ["aime24", "gpqa_diamond"])
def test_the_shell_asks_the_questions_of_a_benchmark_by_its_name(benchmark, tmp_path):
    hub_fixtures.write_benchmark(tmp_path / "mirror", benchmark)
    asked = {}
    for seed in ("1", "2"):
        with serve(style="inline") as (server, url):
            arguments = ["qwen2.5-32b-instruct", "--questions", benchmark, "--mirror", str(tmp_path / "mirror")]
            out = ["--out", str(tmp_path / seed), "--server", f"{url}/v1", "--seed", seed]
            assert baselines.main([*arguments, *out]) == 0
            asked[seed] = {question for _, question, *_ in server.asked}
        accuracy = pd.read_csv(tmp_path / seed / "accuracy.csv")
        assert accuracy["task"].tolist() == [benchmark]
        assert accuracy["samples"].tolist() == [len(asked[seed])] == [30 if benchmark == "aime24" else 198]
    assert (asked["1"] == asked["2"]) == (benchmark == "aime24")  # choices stand in the seed's order


def test_a_benchmark_that_has_changed_since_is_refused(tmp_path, capsys):
    path = hub_fixtures.write_benchmark(tmp_path / "mirror", "aime24")
    arguments = ["qwen2.5-32b-instruct", "--questions", "aime24", "--mirror", str(tmp_path / "mirror")]
    with serve(style="inline") as (server, url):
        arguments += ["--out", str(tmp_path / "out"), "--server", f"{url}/v1"]
        assert baselines.main(arguments) == 0
        path.write_text(path.read_text().replace("AIME problem 3", "AIME problem three"))
        assert baselines.main(arguments) == 1
        assert len(server.asked) == 30
    assert "isn't what this run has read before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("questions", "said"), [("held-out", "are a run's own"), ("aime2024", "name one of"), ("none.jsonl", "No file")]
)
def test_questions_that_can_t_be_had_are_an_error_that_says_what_to_do(questions, said, tmp_path, capsys):
    arguments = ["o1", "--questions", questions, "--out", str(tmp_path)]
    assert baselines.main(arguments) == 1
    assert said in capsys.readouterr().err


def test_the_shell_tells_an_error_in_a_line(tmp_path, capsys):
    arguments = ["nobody", "--questions", str(tmp_path / "none.jsonl"), "--out", str(tmp_path)]
    assert baselines.main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_importing_it_loads_no_heavy_library():
    code = "import sys, s1_utils.baselines; print([n for n in ('torch', 'transformers', 'vllm') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=paths.ROOT)
    assert done.stdout.strip() == "[]"
