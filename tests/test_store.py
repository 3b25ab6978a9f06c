"""Stages, journals and atomic files: what survives a full disk, a torn write, a changed parameter."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils import paths, store
from s1_utils.errors import StudyError
from s1_utils.params import CollectParams, FilterParams, SftParams
from s1_utils.store import Journal, hash_code, hash_json, hash_path, open_stage, write_atomically, write_table

TABLE = pd.DataFrame({"question_id": ["a", "b"], "thinking_tokens": [3, 5]})


def refuse(*_, **__):
    raise AssertionError("this must not be built again")


def fail_with(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def open_collect(**changes):
    return open_stage("01_collect", CollectParams(run_name="t", **changes), code=["dedup"])


def open_filter(**changes):
    return open_stage("02_filter", FilterParams(run_name="t", **changes), code=["dedup"], reads=["01_collect"])


def run_collect(table=TABLE, **changes):
    stage = open_collect(**changes)
    stage.table("questions", lambda: table)
    stage.finish()
    return stage


def run_filter(**changes):
    stage = open_filter(**changes)
    stage.table("features", lambda: stage.read("01_collect", "questions"))
    stage.finish()
    return stage


# ------------------------------------------------------------------ atomic files


def test_a_file_is_replaced_by_what_was_written(tmp_path):
    (tmp_path / "a").write_text("old")
    with write_atomically(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


def test_a_missing_folder_is_made(tmp_path):
    with write_atomically(tmp_path / "b" / "c" / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "b" / "c" / "a").read_text() == "new"


def test_nothing_is_seen_under_the_name_until_all_is_written(tmp_path):
    with write_atomically(tmp_path / "a") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a").exists()


def test_an_exception_while_writing_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), write_atomically(tmp_path / "a") as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, step):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, step, fail_with(errno.ENOSPC))
    with pytest.raises(StudyError), write_atomically(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_as_such(tmp_path, monkeypatch, step, number):
    monkeypatch.setattr(os, step, fail_with(number))
    with pytest.raises(StudyError, match="Disk full"), write_atomically(tmp_path / "a") as temporary:
        temporary.write_text("new")


@pytest.mark.parametrize(("owner", "step"), [(tempfile, "mkstemp"), (Path, "mkdir"), (os, "replace")])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch, owner, step, number):
    monkeypatch.setattr(owner, step, fail_with(number))
    with pytest.raises(StudyError, match="set S1_RUNS"), write_atomically(tmp_path / "a") as temporary:
        temporary.write_text("new")


def test_other_errors_of_the_system_keep_their_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), write_atomically(tmp_path / "a") as temporary:
        temporary.write_text("new")


def test_the_same_table_always_gives_the_same_bytes(tmp_path):
    write_table(tmp_path / "one.parquet", TABLE)
    write_table(tmp_path / "two.parquet", TABLE.copy().set_index(pd.Index([7, 9])))
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_another_table_gives_other_bytes(tmp_path):
    write_table(tmp_path / "one.parquet", TABLE)
    write_table(tmp_path / "two.parquet", TABLE[::-1])
    assert (tmp_path / "one.parquet").read_bytes() != (tmp_path / "two.parquet").read_bytes()


def test_a_table_keeps_its_nulls_through_a_file(tmp_path):
    table = pd.DataFrame({"attempt_correct": pd.array([True, None], dtype="boolean"), "answer": ["7", None]})
    write_table(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)


def test_a_missing_column_is_named():
    with pytest.raises(StudyError, match=r"mine\.jsonl lacks the column\(s\) answer; it has question_id, thinking"):
        store.require_columns(TABLE, ["question_id", "answer"], "mine.jsonl")


# ------------------------------------------------------------------ journals

PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def write_journal(path, records, key="k"):
    journal = Journal(path, key)
    for record_id, payload in records.items():
        journal.add(record_id, payload)
    journal.close()


def read_journal(path, key="k"):
    journal = Journal(path, key)
    journal.close()
    return journal.records


@settings(max_examples=25)
@given(records=st.dictionaries(st.text(), PAYLOADS, max_size=4))
def test_a_journal_gives_back_what_was_added(records):
    with tempfile.TemporaryDirectory() as folder:
        write_journal(Path(folder) / "j.jsonl", records)
        assert read_journal(Path(folder) / "j.jsonl") == records


@settings(max_examples=25)
@given(payload=PAYLOADS)
def test_a_record_reads_the_same_before_and_after_a_restart(payload):
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "j.jsonl", "k")
        journal.add("a", (payload,))
        journal.close()
        assert journal.records == read_journal(Path(folder) / "j.jsonl")


def test_a_torn_last_record_is_cut_at_every_byte(tmp_path):
    path = tmp_path / "j.jsonl"
    write_journal(path, {"a": 1, "b": [2, "two"]})
    whole = path.read_bytes()
    kept = whole[: whole[:-1].rfind(b"\n") + 1]
    for size in range(len(kept), len(whole)):
        path.write_bytes(whole[:size])
        assert read_journal(path) == {"a": 1}
        assert path.read_bytes() == kept


def test_a_torn_first_line_starts_the_journal_again(tmp_path):
    path = tmp_path / "j.jsonl"
    write_journal(path, {})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert read_journal(path) == {}
        assert path.read_bytes() == whole


def test_a_journal_goes_on_after_a_torn_record(tmp_path):
    path = tmp_path / "j.jsonl"
    write_journal(path, {"a": 1, "b": 2})
    undisturbed = path.read_bytes()
    path.write_bytes(undisturbed[:-5])
    write_journal(path, {"b": 2})
    assert path.read_bytes() == undisturbed


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"payload": 2', b'"payload": 3'),
        lambda line: line[: len(line) // 2],
        lambda line: b"\0" * len(line),
        lambda line: b"[]",
        lambda line: b"{}",
    ],
    ids=["another payload", "half a line", "zeros", "a list", "an empty object"],
)
def test_a_damaged_line_in_the_middle_is_refused_by_its_number(tmp_path, damage):
    path = tmp_path / "j.jsonl"
    write_journal(path, {"a": 1, "b": 2, "c": 3})
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage(lines[2])
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(StudyError, match=r"Line 3 of .* is damaged"):
        Journal(path, "k")


def test_a_refused_journal_is_left_as_it_was(tmp_path):
    path = tmp_path / "j.jsonl"
    write_journal(path, {"a": 1, "b": 2})
    damaged = path.read_bytes().replace(b'"payload": 1', b'"payload": 9')
    path.write_bytes(damaged)
    with pytest.raises(StudyError):
        Journal(path, "k")
    assert path.read_bytes() == damaged


def test_a_journal_of_another_key_is_refused(tmp_path):
    write_journal(tmp_path / "j.jsonl", {"a": 1})
    with pytest.raises(StudyError, match="other parameters or inputs"):
        Journal(tmp_path / "j.jsonl", "another key")


def test_adding_an_id_again_writes_nothing(tmp_path):
    write_journal(tmp_path / "j.jsonl", {"a": 1})
    before = (tmp_path / "j.jsonl").read_bytes()
    write_journal(tmp_path / "j.jsonl", {"a": 2})
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_of_two_records_of_an_id_in_a_file_the_first_wins(tmp_path):
    path = tmp_path / "j.jsonl"
    one, two = Journal(path, "k"), Journal(path, "k")
    for journal, payload in ((one, "first"), (two, "second")):
        journal.add("a", payload)
        journal.close()
    assert read_journal(path) == {"a": "first"}


def test_an_appended_record_is_in_the_file_before_the_journal_is_closed(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", "k")
    journal.add("a", 1)
    shutil.copy(tmp_path / "j.jsonl", tmp_path / "copy.jsonl")
    journal.close()
    assert read_journal(tmp_path / "copy.jsonl") == {"a": 1}


def test_a_full_disk_takes_back_the_record_it_could_not_keep(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j.jsonl", "k")
    before = (tmp_path / "j.jsonl").read_bytes()
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(StudyError, match="Disk full"):
        journal.add("a", 1)
    journal.close()
    assert "a" not in journal
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_a_journal_can_go_on_after_a_disk_was_full_more_than_once(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j.jsonl", "k")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail_with(errno.ENOSPC))
        for text in ("long" * 20, "short"):
            with pytest.raises(StudyError):
                journal.add("a", text)
    journal.add("a", 1)
    journal.close()
    assert read_journal(tmp_path / "j.jsonl") == {"a": 1}


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_record_of_which_only_a_part_fits_is_taken_back(tmp_path, room):
    journal = Journal(tmp_path / "j.jsonl", "k")
    before = (tmp_path / "j.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            journal.add("a", "a record that is longer than that")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        journal.close()
    assert (tmp_path / "j.jsonl").read_bytes() == before


# ------------------------------------------------------------------ hashes


def test_the_hash_of_a_value_ignores_the_order_of_its_names():
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})


def test_the_hash_of_a_folder_sees_contents_and_names(tmp_path):
    hashes = set()
    for name, text in (("a", "1"), ("a", "2"), ("b", "1")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        hashes.add(hash_path(folder))
    assert len(hashes) == 3


CODE = '''"""A module."""

from s1_utils import helper
from s1_utils.deep.part import work

LIMIT = 3


def run(x):
    """Run it."""
    return helper.count(x) + work(x) + LIMIT


def pause():
    """Do nothing."""
'''


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own, whose module `main` imports `helper`, `deep.part` and, through it, `far`."""
    package = tmp_path / "checkout" / "s1_utils"
    (package / "deep").mkdir(parents=True)
    (package / "main.py").write_text(CODE)
    (package / "helper.py").write_text("def count(x):\n    return x\n")
    (package / "deep" / "part.py").write_text("from s1_utils.far import go\n\n\ndef work(x):\n    return go(x)\n")
    (package / "far.py").write_text("def go(x):\n    return x\n")
    (package / "lonely.py").write_text("x = 1\n")
    monkeypatch.setattr(paths, "ROOT", tmp_path / "checkout")
    return package


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 3  # tokens"),
        ("LIMIT = 3", "# a comment\n\nLIMIT = (\n    3\n)"),
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""\n', ""),
        ('    """Run it."""\n', ""),
        ('    """Do nothing."""\n', "    pass\n"),
        ("LIMIT = 3", "LIMIT = 3\n\n\n"),
    ],
)
def test_the_hash_of_code_ignores_comments_docstrings_and_layout(checkout, old, new):
    before = hash_code(["main"])
    (checkout / "main.py").write_text(CODE.replace(old, new, 1))
    assert hash_code(["main"]) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "LIMIT = 3", "LIMIT = 4"),
        ("main.py", "def run(x)", "def run(x, y=0)"),
        ("helper.py", "return x", "return -x"),
        ("deep/part.py", "go(x)", "go(-x)"),
        ("far.py", "return x", "return -x"),
    ],
)
def test_the_hash_of_code_sees_every_module_it_reaches(checkout, file, old, new):
    before = hash_code(["main"])
    text = (checkout / file).read_text()
    (checkout / file).write_text(text.replace(old, new))
    assert hash_code(["main"]) != before


def test_the_hash_of_code_ignores_modules_it_does_not_reach(checkout):
    before = hash_code(["main"])
    (checkout / "lonely.py").write_text("x = 2\n")
    assert hash_code(["main"]) == before


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(StudyError, match=r"No module s1_utils\.nowhere"):
        hash_code(["nowhere"])


# ------------------------------------------------------------------ stages


def test_a_first_run_builds_its_table(runs):
    pd.testing.assert_frame_equal(open_collect().table("questions", lambda: TABLE), TABLE)


def test_a_second_run_loads_without_building(runs):
    run_collect()
    pd.testing.assert_frame_equal(open_collect().table("questions", refuse), TABLE)


def test_an_unfinished_run_loads_the_tables_it_has(runs):
    open_collect().table("questions", lambda: TABLE)
    pd.testing.assert_frame_equal(open_collect().table("questions", refuse), TABLE)


def test_an_unfinished_run_goes_on_with_its_journal(runs):
    write_journal(open_collect().path("j.jsonl"), {"a": 1}, open_collect().key_hash)
    journal = open_collect().journal("j")
    journal.close()
    assert "a" in journal


def test_tables_made_together_are_built_again_unless_all_are_there(runs):
    stage = open_collect()
    stage.table("one", lambda: TABLE)
    built = stage.tables(["one", "two"], lambda: {"one": TABLE[:1], "two": TABLE[1:]})
    assert [len(table) for table in built] == [1, 1]


def test_only_a_finished_run_is_done(runs):
    assert not open_collect().is_done
    run_collect()
    assert open_collect().is_done


def test_the_manifest_counts_the_rows_of_every_table(runs):
    manifest = run_collect().manifest
    assert manifest["outputs"]["questions.parquet"]["rows"] == len(TABLE)


def test_the_manifest_hashes_other_outputs_too(runs):
    stage = open_collect()
    (stage.path("model") / "deep").mkdir(parents=True)
    (stage.path("model") / "deep" / "weights").write_text("1")
    manifest = stage.finish(outputs=["model"])
    assert manifest["outputs"]["model"]["sha256"] == hash_path(stage.path("model"))


def test_the_manifest_counts_the_sessions_a_run_took(runs):
    open_collect()
    open_collect()
    assert run_collect().manifest["sessions"] == 3


def test_finishing_twice_keeps_the_first_manifest(runs):
    stage = run_collect()
    before = stage.path("manifest.json").read_bytes()
    stage.finish(more="facts")
    assert stage.path("manifest.json").read_bytes() == before


@pytest.mark.parametrize("finished", [False, True])
def test_changed_parameters_are_refused_with_their_names(runs, finished):
    run_collect() if finished else open_collect()
    with pytest.raises(StudyError, match=r"\(ngram: 8 → 9; seed: 1 → 4\)"):
        open_collect(seed=4, ngram=9)


def test_changed_inputs_are_refused_with_their_names(runs):
    run_collect()
    run_filter()
    run_collect(TABLE[:1], seed=2, force=True)
    with pytest.raises(StudyError, match=r"01_collect/questions\.parquet: .* → "):
        open_filter()


def test_changed_code_is_refused_as_such(runs):
    run_collect()
    with pytest.raises(StudyError, match="the stage's own code changed"):
        open_stage("01_collect", CollectParams(run_name="t"), code=["dedup", "grading"])


def test_a_run_name_and_a_profile_are_no_part_of_the_key(runs):
    one = open_stage("01_collect", CollectParams(run_name="one", profile="a"), code=["dedup"])
    two = open_stage("01_collect", CollectParams(run_name="two", profile="b", force=True), code=["dedup"])
    assert one.key == two.key


def test_force_builds_a_run_of_another_key_again(runs):
    run_collect()
    assert len(run_collect(TABLE[:1], seed=4, force=True).table("questions", refuse)) == 1


def test_force_leaves_a_run_of_the_same_key_alone(runs):
    run_collect()
    pd.testing.assert_frame_equal(open_collect(force=True).table("questions", refuse), TABLE)


def test_force_keeps_the_notebook_and_the_log_that_are_being_written(runs):
    stage = run_collect()
    for name in ("notebook.ipynb", "papermill.log", "old.jsonl"):
        stage.path(name).write_text("")
    open_collect(seed=4, force=True)
    kept = {path.name for path in stage.folder.iterdir()}
    assert kept == {"lock", "notebook.ipynb", "papermill.log", "started.json"}


@pytest.mark.parametrize("deleted", range(4))
def test_a_rebuild_killed_while_it_clears_never_takes_old_tables_for_new(runs, monkeypatch, deleted):
    run_collect().table("more", lambda: TABLE)
    unlink, left = Path.unlink, iter(range(deleted))

    def unlink_some(path, *arguments, **options):
        next(left)  # raises StopIteration when it is time to die
        unlink(path, *arguments, **options)

    with monkeypatch.context() as fault:
        fault.setattr(Path, "unlink", unlink_some)
        with pytest.raises(StopIteration):
            open_collect(seed=4, force=True)
    with pytest.raises(StudyError, match="seed: 1 → 4"):
        open_collect(seed=4)


def test_an_upstream_stage_that_was_never_run_is_named(runs):
    with pytest.raises(StudyError, match="01_collect has no finished run"):
        open_filter()


def test_an_upstream_stage_that_did_not_finish_is_named(runs):
    open_collect()
    with pytest.raises(StudyError, match=r"01_collect was started in .* but didn't finish"):
        open_filter()


def test_an_upstream_stage_is_taken_from_the_profile_if_the_run_has_none(runs):
    stage = open_stage("01_collect", CollectParams(run_name="laptop"), code=["dedup"])
    stage.table("questions", lambda: TABLE)
    stage.finish()
    pd.testing.assert_frame_equal(open_filter().read("01_collect", "questions"), TABLE)


def test_an_unfinished_stage_of_the_run_is_never_passed_over_for_the_profiles(runs):
    stage = open_stage("01_collect", CollectParams(run_name="laptop"), code=["dedup"])
    stage.finish()
    open_collect()
    with pytest.raises(StudyError, match=r"01_collect was started in .* but didn't finish"):
        open_filter()


def test_an_upstream_table_swapped_for_another_runs_is_refused(runs):
    run_collect()
    downstream = open_filter()
    write_table(runs / "t" / "01_collect" / "questions.parquet", TABLE[:1])
    with pytest.raises(StudyError, match="isn't what 01_collect wrote"):
        downstream.read("01_collect", "questions")


def test_an_upstream_table_that_is_gone_is_refused(runs):
    run_collect()
    downstream = open_filter()
    (runs / "t" / "01_collect" / "questions.parquet").unlink()
    with pytest.raises(StudyError, match="isn't what 01_collect wrote"):
        downstream.read("01_collect", "questions")


def test_an_output_that_an_upstream_stage_never_had_is_named(runs):
    run_collect()
    with pytest.raises(StudyError, match=r"01_collect has no output answers\.parquet; it has questions\.parquet"):
        open_filter().read("01_collect", "answers")


def test_a_column_that_an_upstream_table_lacks_is_named(runs):
    run_collect()
    with pytest.raises(StudyError, match=r"01_collect/questions lacks the column\(s\) domain"):
        open_filter().read("01_collect", "questions", ["question_id", "domain"])


def test_upstream_stages_that_belong_together_are_accepted(runs):
    run_collect()
    run_filter()
    stage = open_stage("03_sft", SftParams(run_name="t"), code=["dedup"], reads=["01_collect", "02_filter"])
    assert sorted(stage.key["inputs"]) == ["01_collect/questions.parquet", "02_filter/features.parquet"]


@pytest.mark.parametrize("reads", [["01_collect", "02_filter"], ["02_filter", "01_collect"]])
def test_upstream_stages_that_do_not_belong_together_are_refused(runs, reads):
    run_collect()
    run_filter()
    run_collect(TABLE[:1], seed=2, force=True)
    with pytest.raises(StudyError, match=r"02_filter was made from another 01_collect/questions\.parquet"):
        open_stage("03_sft", SftParams(run_name="t"), code=["dedup"], reads=reads)


def test_a_damaged_manifest_is_refused_with_its_path(runs):
    run_collect().path("manifest.json").write_text('{"stage": ')
    with pytest.raises(StudyError, match=r"manifest\.json isn't valid JSON"):
        open_collect()


@pytest.mark.parametrize(("owner", "step"), [(tempfile, "mkstemp"), (Path, "mkdir")])
def test_a_stage_in_a_folder_that_cannot_be_written_says_what_to_set(runs, monkeypatch, owner, step):
    monkeypatch.setattr(owner, step, fail_with(errno.EROFS))
    with pytest.raises(StudyError, match="set S1_RUNS"):
        open_collect()


# ------------------------------------------------------------------ one process a stage

OPEN_COLLECT = """
from s1_utils import store
from s1_utils.params import CollectParams
store.LOCK_PATIENCE = 0.0
store.open_stage("01_collect", CollectParams(run_name="t"), code=["dedup"])
"""


def open_in_child():
    return subprocess.run([sys.executable, "-c", OPEN_COLLECT], cwd=paths.ROOT, capture_output=True, text=True)


def test_another_process_is_kept_out_while_a_stage_is_at_work(runs):
    open_collect()
    assert "Another process is at work in" in open_in_child().stderr


def test_another_process_is_let_in_once_a_stage_has_finished(runs):
    run_collect()
    child = open_in_child()
    assert (child.returncode, child.stderr) == (0, "")


def test_a_lock_held_elsewhere_is_respected(runs, monkeypatch):
    monkeypatch.setattr(store, "LOCK_PATIENCE", 0.0)
    folder = runs / "t" / "01_collect"
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="Another process is at work in"):
            open_collect()


def test_a_lock_let_go_elsewhere_is_taken(runs):
    folder = runs / "t" / "01_collect"
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
    assert not open_collect().is_done


def test_a_notebook_run_again_in_its_own_kernel_is_let_in(runs):
    first = open_collect()
    assert open_collect().key == first.key


def test_a_refused_stage_keeps_nobody_out(runs):
    run_collect()
    with pytest.raises(StudyError, match="seed"):
        open_collect(seed=4)
    with open(runs / "t" / "01_collect" / "lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises BlockingIOError if it is held
        assert json.loads((runs / "t" / "01_collect" / "manifest.json").read_text())["key"]["params"]["seed"] == 1
