"""Shards of a stage: where they work, and what becomes of them."""

from __future__ import annotations

import json
import shutil

import pytest

from s1_utils import shards, store
from s1_utils.errors import StudyError
from s1_utils.store import Journal, hash_json

NOTEBOOK = "04_sequential_scaling"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("S1_RUNS", str(tmp_path))
    for name in ("01_collect", "03_sft", NOTEBOOK):
        (tmp_path / "smoke" / name).mkdir(parents=True)
    (tmp_path / "laptop" / "01_collect").mkdir(parents=True)
    return tmp_path


def make_shard(runs, number, records, *, value=1, is_done=True):
    """A shard's folder as the notebook leaves it."""
    key = {"stage": NOTEBOOK, "params": {"seed": value}}
    folder = runs / "smoke" / NOTEBOOK / "shards" / str(number) / "smoke" / NOTEBOOK
    folder.mkdir(parents=True)
    store.write_json(folder / "started.json", {"key": key})
    with Journal(folder / "sft.jsonl", hash_json(key)) as journal:
        for name in records:
            journal.add(name, f"{name} by {number}")
    if is_done:
        (folder / "curve.parquet").write_bytes(b"table of %d" % number)
        store.write_json(folder / "manifest.json", {"key": key, "outputs": {"curve.parquet": {"sha256": str(number)}}})
    return hash_json(key)


def test_a_shard_sees_every_run_but_not_its_own_stage(runs, monkeypatch):
    seen = {}

    def look(profile, notebooks, **options):
        tree = store.paths.find_runs()
        seen["stage"] = list((tree / "smoke" / NOTEBOOK).iterdir())
        seen["others"] = sorted(str(path.relative_to(tree)) for path in tree.glob("*/*") if path.is_dir())

    monkeypatch.setattr(shards.study, "run_profile", look)
    for _ in range(2):  # the second time over what is there
        shards.run_shard("smoke", NOTEBOOK, "3/8")
    assert seen == {
        "stage": [],
        "others": ["laptop/01_collect", "smoke/01_collect", "smoke/03_sft", f"smoke/{NOTEBOOK}"],
    }
    assert store.paths.find_runs() == runs
    assert "S1_SHARD" not in shards.os.environ


def test_records_of_all_shards_and_the_tables_of_a_finished_one_are_put_together(runs, capsys):
    make_shard(runs, 0, ["a", "b"], is_done=False)
    key = make_shard(runs, 2, ["c", "b"])
    make_shard(runs, 10, ["d"])
    folder = shards.merge("smoke", NOTEBOOK)
    assert folder == runs / "smoke" / NOTEBOOK
    assert (folder / "curve.parquet").read_bytes() == b"table of 2"
    assert json.loads((folder / "manifest.json").read_text())["outputs"]["curve.parquet"]["sha256"] == "2"
    with Journal(folder / "sft.jsonl", key) as journal:
        assert journal.records == {"a": "a by 0", "b": "b by 2", "c": "c by 2", "d": "d by 10"}
    assert "10 differs in curve.parquet" in capsys.readouterr().out.replace(f"/smoke/{NOTEBOOK} ", " ")


def test_a_stage_that_is_done_isnt_shared_again(runs):
    make_shard(runs, 0, ["a"])
    shards.merge("smoke", NOTEBOOK)
    with pytest.raises(StudyError, match="done already"):
        shards.run_shard("smoke", NOTEBOOK, "0/2")


def test_unfinished_different_or_absent_shards_are_not_merged(runs):
    with pytest.raises(StudyError, match="no shards"):
        shards.merge("smoke", NOTEBOOK)
    make_shard(runs, 0, ["a"], is_done=False)
    with pytest.raises(StudyError, match="None of 1 shards"):
        shards.merge("smoke", NOTEBOOK)
    make_shard(runs, 1, ["a"], value=2)
    with pytest.raises(StudyError, match="different parameters"):
        shards.merge("smoke", NOTEBOOK)
    assert not (runs / "smoke" / NOTEBOOK / "manifest.json").exists()


def test_notebooks_that_train_or_pay_are_not_shared(runs):
    with pytest.raises(StudyError, match="every shard would repeat"):
        shards.run_shard("smoke", "03_sft", "0/2")


def test_from_a_shell_mistakes_are_said_and_end_in_one(runs, capsys):
    assert shards.main(["run", "smoke", NOTEBOOK, "--shard", "2/2"]) == 1
    assert "0/16" in capsys.readouterr().err
    make_shard(runs, 0, ["a"])
    assert shards.main(["merge", "smoke", NOTEBOOK]) == 0
    assert NOTEBOOK in capsys.readouterr().out
    shutil.rmtree(runs / "smoke" / NOTEBOOK / "shards")
    assert shards.main(["merge", "smoke", NOTEBOOK]) == 1
