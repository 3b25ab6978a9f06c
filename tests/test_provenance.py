"""Every number can be followed to its parameters, code, inputs and samples, and whoever edits a table is found."""

import hashlib
import json
import shutil

import pandas as pd
import pytest
from claim_stages import edit_json, write_data, write_stage

from s1_utils import params, paths, provenance, report, store
from s1_utils.errors import StudyError

STAGE = "04_sequential_scaling"


def canonical_sha256(value):
    """Written anew, not taken from the code under test."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(runs):
    """A real small run of two stages, opened and finished by `store`: samples, and a curve made of them."""
    first = store.open_stage("01_collect", params.CollectParams(run_name="mine"), code=["scaling"])
    first.table("questions", lambda: pd.DataFrame({"question_id": ["a", "b"]}))
    first.finish()
    asked = params.SequentialParams(run_name="mine")
    second = store.open_stage(STAGE, asked, code=["scaling", "paired"], reads=["01_collect"])
    samples = second.table("generations_sft", lambda: pd.DataFrame({"question_id": ["a", "b"], "correct": [1, 0]}))
    second.table("curve", lambda: pd.DataFrame({"accuracy": [samples["correct"].mean()], "budget": [8]}))
    second.finish(chance=0.25)
    return runs / "mine"


BUILDERS = {
    "points": lambda run: run.read(STAGE, "curve").assign(chance=run.read_manifest(STAGE)["chance"]),
    "asked": lambda run: run.read("01_collect", "questions"),
}


@pytest.fixture
def data(run, tmp_path):
    """The run's tables, published with their provenance."""
    folders = provenance.find_stages(run.parent, "mine", "laptop", ["01_collect", STAGE])
    tables, entries = report.collect_sourced(BUILDERS, folders, "laptop")
    folder = tmp_path / "data"
    folder.mkdir()
    report.write_tables(tables, folder)
    provenance.write(folder, entries)
    return folder


def test_every_link_from_parameters_to_the_number_can_be_derived_again(run, data):
    entry = provenance.read(data)["points"]
    links = entry["stages"][f"mine/{STAGE}/curve"]
    manifest = json.loads((run / STAGE / "manifest.json").read_text("utf-8"))
    collected = json.loads((run / "01_collect" / "manifest.json").read_text("utf-8"))
    assert manifest["key"]["params"]["budgets"] == params.SequentialParams().budgets
    assert links["params"] == canonical_sha256(manifest["key"]["params"])
    assert links["code"] == store.hash_code(["scaling", "paired"])
    read = {f"01_collect/{name}": output["sha256"] for name, output in collected["outputs"].items()}
    assert read == {"01_collect/questions.parquet": file_sha256(run / "01_collect" / "questions.parquet")}
    assert links["inputs"] == canonical_sha256(read)
    assert links["samples"] == {"generations_sft.parquet": file_sha256(run / STAGE / "generations_sft.parquet")}
    assert links["sha256"] == file_sha256(run / STAGE / "curve.parquet")
    assert entry["sha256"] == file_sha256(data / "points.csv")
    samples = pd.read_parquet(run / STAGE / "generations_sft.parquet")
    assert pd.read_csv(data / "points.csv")["accuracy"].item() == samples["correct"].mean()


def test_a_table_names_what_it_was_made_of_and_nothing_else(data):
    known = provenance.read(data)
    assert list(known["points"]["stages"]) == [f"mine/{STAGE}/curve", f"mine/{STAGE}/manifest.json"]
    assert list(known["asked"]["stages"]) == ["mine/01_collect/questions"]
    assert {entry["profile"] for entry in known.values()} == {"laptop"}


def test_an_untouched_chain_is_whole(run, data):
    assert provenance.find_broken(data, run.parent) == []
    assert provenance.find_edited(data) == []


def change_manifest(part):
    def change(run, data):
        edit_json(run / STAGE / "manifest.json", lambda manifest: manifest["key"][part].update(seed=7))

    return change


BREAKS = {
    "a parameter": change_manifest("params"),
    "an input": change_manifest("inputs"),
    "the code": lambda run, data: edit_json(run / STAGE / "manifest.json", lambda each: each["key"].update(code="x")),
    "a sample": lambda run, data: store.write_table(
        run / STAGE / "generations_sft.parquet", pd.DataFrame({"question_id": ["a", "b"], "correct": [1, 1]})
    ),
    "the table": lambda run, data: store.write_table(run / STAGE / "curve.parquet", pd.DataFrame({"accuracy": [1.0]})),
    "the table, gone": lambda run, data: (run / STAGE / "curve.parquet").unlink(),
    "the run, gone": lambda run, data: shutil.rmtree(run / STAGE),
    "a cell of the CSV": lambda run, data: (data / "points.csv").write_text("accuracy,budget,chance\n0.9,8,0.25\n"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_changed_link_breaks_the_chain_of_the_tables_made_of_it_and_of_no_other(what, run, data):
    BREAKS[what](run, data)
    assert provenance.find_broken(data, run.parent) == ["points"]


def test_an_edited_a_new_and_a_missing_table_are_all_found(data):
    (data / "points.csv").write_text((data / "points.csv").read_text() + "\n")
    (data / "own.csv").write_text("x\n1\n")
    (data / "asked.csv").unlink()
    assert provenance.find_edited(data) == ["asked", "own", "points"]


def test_the_error_about_an_edited_table_names_it_and_says_what_to_do(data):
    (data / "points.csv").write_text("accuracy\n1.0\n")
    provenance.require_unedited(data, ["asked"])
    with pytest.raises(StudyError, match=r"points\.csv.*git checkout"):
        provenance.require_unedited(data, ["asked", "points"])


def test_recording_one_table_never_takes_the_edit_of_another_for_good(data):
    (data / "points.csv").write_text("accuracy\n1.0\n")
    (data / "own.csv").write_text("x\n1\n")
    with pytest.raises(StudyError, match=r"points\.csv"):
        provenance.record(data, {"own": provenance.NO_RUN})
    assert provenance.find_edited(data) == ["own", "points"]


def test_what_no_run_made_is_recorded_as_such(data):
    (data / "own.csv").write_text("x\n1\n")
    provenance.record(data, {"own": provenance.NO_RUN})
    assert provenance.read(data)["own"] == {**provenance.NO_RUN, "sha256": file_sha256(data / "own.csv")}
    assert provenance.find_edited(data) == []


def test_a_table_that_isnt_what_its_stage_wrote_is_not_read(run):
    store.write_table(run / STAGE / "curve.parquet", pd.DataFrame({"accuracy": [1.0]}))
    folders = provenance.find_stages(run.parent, "mine", "laptop", [STAGE])
    with pytest.raises(StudyError, match="isn't what"):
        report.collect_sourced({"points": BUILDERS["points"]}, folders, "laptop")


def test_a_half_finished_stage_gives_no_table(run):
    (run / STAGE / "manifest.json").unlink()
    folders = provenance.find_stages(run.parent, "mine", "laptop", ["01_collect", STAGE])
    assert list(folders) == ["01_collect"]
    with pytest.raises(StudyError, match="has no finished run"):
        report.collect_sourced(BUILDERS, folders, "laptop")


def test_a_record_that_cant_be_read_says_what_to_do(data):
    (data / "provenance.json").write_text('{"points": 1}')
    with pytest.raises(StudyError, match="make publish"):
        provenance.read(data)


# ------------------------------------------------------------------ publishing


def test_publishing_replaces_what_runs_made_and_keeps_what_none_did(tmp_path):
    data = tmp_path / "data"
    write_data(data, {"old": pd.DataFrame({"x": [1]})})
    (data / "champ_votes.csv").write_text("x\n1\n")
    report.replace_tables(data, {"new": pd.DataFrame({"x": [2]})}, {"new": provenance.NO_RUN})
    assert sorted(path.name for path in data.glob("*.csv")) == ["champ_votes.csv", "new.csv"]
    assert provenance.find_edited(data) == []


def test_publishing_over_an_edited_table_of_no_run_is_refused_and_changes_nothing(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "champ_votes.csv").write_text("x\n1\n")
    report.replace_tables(data, {}, {})
    (data / "champ_votes.csv").write_text("x\n2\n")
    with pytest.raises(StudyError, match=r"champ_votes\.csv"):
        report.replace_tables(data, {"new": pd.DataFrame({"x": [2]})}, {"new": provenance.NO_RUN})
    assert provenance.find_edited(data) == ["champ_votes"]
    assert not (data / "new.csv").exists()


def test_collecting_a_half_finished_run_names_what_is_missing(runs):
    write_stage(runs / "laptop" / "01_collect", {})
    with pytest.raises(StudyError, match=r"02_filter, 03_sft.*make study PROFILE=laptop"):
        report.collect_all("laptop")


def test_publishing_a_profile_that_doesnt_exist_names_those_that_do(runs):
    with pytest.raises(StudyError, match="profiles are laptop, "):
        report.collect_all("laptopp")


def test_no_committed_table_was_edited_by_hand():
    assert provenance.find_edited(paths.FIGURES / "data") == []
