"""Uploads to a hub that runs here, by the real client: what arrives, what is refused, and that no secret gets out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import finished_runs
import hub_server
import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard, constants
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import card_parts, cards, dataset_card, paths, publish_hub
from s1_utils.errors import StudyError
from s1_utils.store import hash_file

TOKEN = "hf_" + "secret" * 6
REPO = "somebody/thing"
SECONDS = 60
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own, with Git LFS


@pytest.fixture
def hub(runs, tmp_path, monkeypatch):
    """A hub, and what a user's environment says of it. In this process large files go by Git LFS."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with hub_server.serve(tmp_path / "store", TOKEN) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield server


def push(what="model", *more, code=0, name="laptop"):
    assert cards.main([name, "--push", REPO, "--what", what, *more]) == code


def start(what="model"):
    """The command as a process of its own, where large files go as hf-xet sends them."""
    return subprocess.Popen(
        [sys.executable, "-m", "s1_utils.cards", "laptop", "--push", REPO, "--what", what, "--yes"],
        cwd=paths.ROOT, env={**os.environ, "HF_DEBUG": "1", "PYTHONPATH": str(paths.ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run(what="model"):
    process = start(what)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


def count_stored(hub):
    """Bytes of content in the store that hf-xet writes to."""
    return sum(path.stat().st_size for path in hub.store.rglob("default.*") if path.suffix != ".tagset")


# ------------------------------------------------------------------ what arrives


def test_a_model_arrives_whole_with_its_card_and_nothing_else(hub, runs):
    finished_runs.finish_run(files={"training_args.bin": "pickled", "trainer_state.json": "{}"})
    output = run()
    files = hub.repositories[f"models/{REPO}"]["files"]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "provenance.json", "tokenizer.json"]
    weights = runs / "laptop/03_sft/model/model.safetensors"
    assert files["model.safetensors"]["sha256"] == hash_file(weights)
    assert 0.9 < count_stored(hub) / weights.stat().st_size < 1.1  # it compresses
    assert ModelCard(files["README.md"]["content"].decode()).data.license == "apache-2.0"
    assert "left out: trainer_state.json" in output
    assert "left out: training_args.bin" in output
    assert f"Uploaded: {hub.address}/{REPO}/commit/" in output
    assert hub.repositories[f"models/{REPO}"]["info"]["private"] is True


def test_a_data_set_arrives_with_its_card(hub):
    finished_runs.finish_run()
    push("dataset", "--yes", "--public")
    repository = hub.repositories[f"datasets/{REPO}"]
    assert repository["info"]["private"] is False
    content = hub.objects[repository["files"][dataset_card.DATA]["sha256"]]
    (hub.store.parent / "arrived.parquet").write_bytes(content)
    arrived = pd.read_parquet(hub.store.parent / "arrived.parquet")
    assert arrived["question"].tolist() == [finished_runs.QUESTIONS[i] for i in (1, 0, 2)]
    assert DatasetCard(repository["files"]["README.md"]["content"].decode()).data.license == ["apache-2.0", "mit"]


def test_what_is_where_a_number_comes_from_arrives_too(hub, runs):
    finished_runs.finish_run()
    push("model", "--yes")
    told = json.loads(hub.repositories[f"models/{REPO}"]["files"]["provenance.json"]["content"])
    manifest = json.loads((runs / "laptop/03_sft/manifest.json").read_text())
    assert told["03_sft"]["outputs"]["model"] == manifest["outputs"]["model"]["sha256"]
    assert told["03_sft"]["code"] == manifest["key"]["code"]


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, tmp_path):
    finished_runs.finish_run()
    output = run()
    sent = {authorisation for _, path, authorisation in hub.asked if path.startswith("/api/")}
    assert sent == {f"Bearer {TOKEN}"}
    assert TOKEN not in output
    assert not [path for path, *_ in hub.asked if TOKEN in path]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("xet" in path.parts for path in written)  # its logs are among them
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]


def test_without_yes_it_is_shown_and_the_hub_is_not_even_asked(hub, capsys):
    finished_runs.finish_run()
    push("model")
    output = capsys.readouterr().out
    assert f"model → {REPO}, private, licence apache-2.0" in output
    weights = paths.find_runs() / "laptop/03_sft/model/model.safetensors"
    assert f"{weights.stat().st_size:,}  model.safetensors" in output
    assert "in 5 files" in output
    assert "Nothing was uploaded: add --yes" in output
    assert hub.asked == []


# ------------------------------------------------------------------ again


def test_a_second_upload_of_the_same_sends_and_commits_nothing(hub):
    finished_runs.finish_run()
    push("model", "--yes")
    sent = sum(command == "PUT" for command, *_ in hub.asked)
    assert sent == 1
    push("model", "--yes")
    assert sum(command == "PUT" for command, *_ in hub.asked) == sent
    assert len(hub.repositories[f"models/{REPO}"]["commits"]) == 1


def test_killed_after_the_weights_it_goes_on_and_they_are_stored_once(hub):
    finished_runs.finish_run()
    killed, process = threading.Event(), start()

    def kill():
        process.send_signal(signal.SIGKILL)
        killed.set()

    hub.stall["/commit/"] = kill
    process.communicate(timeout=SECONDS)
    assert killed.is_set()
    assert process.returncode == -signal.SIGKILL
    hub.stall.clear()
    repository = hub.repositories[f"models/{REPO}"]
    repository["files"].clear()  # the commit that was under way is lost
    repository["commits"].clear()
    stored = count_stored(hub)
    assert stored > 500_000
    run()
    assert count_stored(hub) == stored
    assert "model.safetensors" in repository["files"]
    assert len(repository["commits"]) == 1


# ------------------------------------------------------------------ what is refused


def refuse(capsys, what="model", *more):
    push(what, "--yes", *more, code=1)
    return capsys.readouterr().err


def test_without_a_token_it_says_how_to_get_one(hub, monkeypatch, capsys):
    finished_runs.finish_run()
    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN isn't set" in refuse(capsys)
    assert hub.asked == []


def test_a_smoke_run_is_refused(hub, capsys):
    finished_runs.finish_run(model="random-llama")
    assert "laptop is a smoke run of random weights" in refuse(capsys)


def test_a_run_whose_results_are_half_made_is_refused(hub, capsys):
    finished_runs.choose("laptop", finished_runs.collect("laptop"))
    finished_runs.train("laptop")
    finished_runs.evaluate("laptop", is_finished=False)
    assert "04_sequential_scaling of laptop was started but didn't finish" in refuse(capsys)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["thing", "a/b/c", "../x/y", "-a/b", "a/b ", "a/" + "b" * 200])
def test_what_is_no_repository_is_refused(hub, name, capsys):
    finished_runs.finish_run()
    assert cards.main(["laptop", f"--push={name}", "--what", "model", "--yes"]) == 1
    assert "is no repository: write OWNER/NAME" in capsys.readouterr().err


def test_a_public_repository_gets_nothing_that_was_to_be_private(hub, capsys):
    finished_runs.finish_run()
    push("model", "--yes", "--public")
    before = len(hub.repositories[f"models/{REPO}"]["commits"])
    assert f"{REPO} is there already and public" in refuse(capsys)
    assert len(hub.repositories[f"models/{REPO}"]["commits"]) == before


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "doesn't know this HF_TOKEN"),
        (404, "check the name"),
        (429, "asks for patience"),
        (403, "may not write to somebody/thing"),
        (500, "run the same command again"),
    ],
)
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(hub, capsys, status, said):
    finished_runs.finish_run()
    hub.fail["/api/"] = status
    error = refuse(capsys)
    assert said in error
    assert error.count("\n") == 1
    assert TOKEN not in error


def test_a_hub_that_is_not_there_is_one_line(runs, monkeypatch, capsys):
    finished_runs.finish_run()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    error = refuse(capsys)
    assert "Upload failed" in error
    assert "it goes on" in error
    assert TOKEN not in error


@pytest.mark.parametrize(
    ("source", "licence", "said"),
    [
        ("xword", "see the hub's card", "xword: its licence isn't known here (see the hub's card)"),
        ("mine", "the user's", "mine: a file of your own (state its licence with --licence"),
        ("other", "CC-BY-ND-4.0", "other: its licence CC-BY-ND-4.0 forbids changed copies"),
        ("GPQA", "CC-BY-4.0", "GPQA: its authors ask that its questions not be published in the clear"),
        ("blank", "", "blank: its licence isn't known here (none is stated)"),
    ],
)
def test_a_source_that_may_not_be_given_on_is_named(hub, capsys, source, licence, said):
    questions = finished_runs.make_questions(
        sources=("puzzles", source, "champ", "champ"), licences=("Apache-2.0", licence, "MIT", "MIT")
    )
    finished_runs.finish_run(questions=questions)
    assert said in refuse(capsys, "dataset")
    assert hub.asked == []


def test_a_file_of_ones_own_goes_under_the_licence_that_is_stated(hub):
    questions = finished_runs.make_questions(
        sources=("mine", "champ", "champ", "champ"), licences=("the user's", "MIT", "MIT", "MIT")
    )
    finished_runs.finish_run(questions=questions)
    push("dataset", "--yes", "--licence", "cc-by-4.0")
    card = hub.repositories[f"datasets/{REPO}"]["files"]["README.md"]["content"].decode()
    assert DatasetCard(card).data.license == ["cc-by-4.0", "mit"]


def test_a_base_model_of_unknown_licence_needs_one_stated(hub, capsys):
    finished_runs.finish_run(model="someone/a-model")
    assert "the base model's licence isn't known here" in refuse(capsys)
    assert "isn't a licence that can be given on" in refuse(capsys, "model", "--licence", "all rights reserved")
    push("model", "--yes", "--licence", "apache-2.0")
    assert f"models/{REPO}" in hub.repositories


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("an OpenAI key", "use sk-abcdefghij0123456789abcd, then"),
        ("a Hugging Face token", "hf_" + "A1b2" * 9),
        ("a private key", "-----BEGIN RSA PRIVATE KEY-----"),
        ("the value of MY_PASSWORD", "it says correct horse battery, doesn't it"),
        ("a path of this machine", "look at {home}/notes.txt for that"),
    ],
)
def test_a_trace_with_a_secret_is_refused_without_showing_it(hub, capsys, monkeypatch, said, text):
    monkeypatch.setenv("MY_PASSWORD", "correct horse battery")
    monkeypatch.setenv("HOME", "/home/ada-lovelace")
    text = text.format(home=Path.home())
    finished_runs.finish_run(traces=(text, "b", "c", "d"))
    error = refuse(capsys, "dataset")
    assert f"{dataset_card.DATA} holds {said}" in error
    assert text not in error
    assert hub.asked == []


@pytest.mark.parametrize("config", ['{"_name_or_path": "/models/base/x"}', '{"a": [{"b": "C:\\\\Users\\\\me\\\\x"}]}'])
def test_a_configuration_with_a_path_is_refused(hub, capsys, config):
    finished_runs.finish_run(files={"config.json": config})
    assert "config.json holds a path of this machine" in refuse(capsys)


@pytest.mark.parametrize("damage", ["cut", "longer", "header"])
def test_weights_that_are_not_whole_are_refused(hub, tmp_path, damage):
    finished_runs.finish_run()
    whole = (paths.find_runs() / "laptop/03_sft/model/model.safetensors").read_bytes()
    damaged = {"cut": whole[:-1], "longer": whole + b"x", "header": b"\xff" * 8 + whole[8:]}[damage]
    (tmp_path / "a.safetensors").write_bytes(damaged)
    assert "no whole safetensors" in publish_hub.find_leaks(tmp_path / "a.safetensors")[0]
    (tmp_path / "a.safetensors").write_bytes(whole)
    assert publish_hub.find_leaks(tmp_path / "a.safetensors") == []


def test_weights_that_the_run_did_not_write_are_refused(hub, capsys, runs):
    finished_runs.finish_run()
    (runs / "laptop/03_sft/model/extra.json").write_text("{}")
    assert "model of 03_sft in laptop isn't what the stage wrote" in refuse(capsys)


@given(st.text(max_size=300), st.text(max_size=30))
def test_ordinary_text_holds_no_secret_and_a_key_anywhere_in_it_is_found(before, after):
    key = f"{before} sk-ant-{'a1' * 12} {after}"
    assert "an Anthropic key" in publish_hub.search_text(key, is_foreign=True)
    assert "an Anthropic key" not in publish_hub.search_text(before, is_foreign=True)


def test_every_licence_of_the_tables_is_known_or_refused():
    from s1_utils.paper.table import SOURCES

    for source in SOURCES:
        refused = card_parts.find_obstacles([(source.name, source.licence)])
        is_known = card_parts.name_licence(source.licence) in card_parts.SHAREABLE and source.name != "GPQA"
        assert bool(refused) != is_known, source.name
    assert len([s for s in SOURCES if not card_parts.find_obstacles([(s.name, s.licence)])]) > 5


def test_options_that_belong_together_are_asked_for(capsys):
    for words in (["--push", REPO], ["--what", "model"], ["--yes"]):
        with pytest.raises(SystemExit):
            cards.main(["laptop", *words])
    assert "go together" in capsys.readouterr().err
    with pytest.raises(StudyError, match="No run"):
        cards.read_finished("no-such-run")
