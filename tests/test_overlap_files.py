"""`python -m s1_utils.dedup` on real files and real processes' streams."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from s1_utils.overlap_files import main

EIGHT = "find the sum of all positive integers n"
EVAL = [{"id": "e1", "question": f"Now {EIGHT} below ten."}, {"id": "e2", "question": "What is 123+456?"}]
TRAIN = [
    {"id": "t1", "question": f"{EIGHT.upper()} such that"},
    {"id": "t2", "question": "unrelated"},
    {"id": "t3", "question": "Say: what is 123 + 456?"},
]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """name, rows → the path of a file in the working folder; .jsonl or .parquet."""
    monkeypatch.chdir(tmp_path)

    def write_rows(name, rows):
        if name.endswith(".parquet"):
            pd.DataFrame(rows).to_parquet(name)
        else:
            (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    return write_rows


def run(*arguments):
    assert main([*arguments, "--out", "out.jsonl"]) == 0
    with open("out.jsonl") as file:
        return [json.loads(line) for line in file]


def refuse(capsys, *arguments):
    """The one line of an error."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_the_two_policies_write_one_object_a_match(write):
    train, test = write("train.jsonl", TRAIN), write("test.jsonl", EVAL)
    paper = run(train, test, "--policy", "s1")
    assert [(row["train_id"], row["eval_set"], row["eval_id"], row["rule"]) for row in paper] == [
        ("t1", "test", "e1", "words")
    ]
    assert paper[0]["text"] == EIGHT.upper()
    audited = run(train, test, "--policy", "audited")
    assert {(row["train_id"], row["rule"]) for row in audited} == {("t1", "words"), ("t1", "letters"), ("t3", "short")}


def test_parquet_gives_what_json_lines_give(write):
    lines = run(write("train.jsonl", TRAIN), write("test.jsonl", EVAL))
    assert run(write("train.parquet", TRAIN), write("test.parquet", EVAL)) == lines


def test_the_fast_scan_writes_the_same(write):
    pytest.importorskip("numba")
    train, test = write("train.jsonl", TRAIN), write("test.jsonl", EVAL)
    assert run(train, test, "--fast") == run(train, test)


def test_without_an_id_field_rows_are_numbered_from_0(write):
    rows = [{"question": row["question"]} for row in TRAIN]
    assert {row["train_id"] for row in run(write("train.jsonl", rows), write("test.jsonl", EVAL))} == {0, 2}
    assert {row["train_id"] for row in run(write("a.jsonl", TRAIN), "test.jsonl", "--id", "")} == {0, 2}


def test_evaluation_files_are_sets_of_their_own(write):
    found = run(write("train.jsonl", TRAIN), write("x.jsonl", EVAL[:1]), write("y.jsonl", EVAL[1:]))
    assert {(row["train_id"], row["eval_set"]) for row in found} == {("t1", "x"), ("t3", "y")}


def test_fields_may_have_other_names(write):
    train = write("train.jsonl", [{"prompt": EIGHT, "key": "k"}])
    test = write("test.jsonl", [{"problem": EIGHT, "number": 5}])
    found = run(train, test, "--field", "prompt", "--eval-field", "problem", "--id", "key", "--eval-id", "number")
    assert {(row["train_id"], row["eval_id"]) for row in found} == {("k", 5)}


def test_thresholds_are_options(write):
    train, test = write("train.jsonl", TRAIN), write("test.jsonl", EVAL)
    assert run(train, test, "--policy", "s1", "--n", "9") == []


def test_boilerplate_is_left_out_unless_asked_for(write):
    item = f"{EIGHT} " + "and something else entirely " * 5
    train = write("train.jsonl", [{"question": f"{EIGHT} number {i}"} for i in range(12)])
    test = write("test.jsonl", [{"question": item}])
    assert run(train, test) == []
    assert {row["boilerplate"] for row in run(train, test, "--with-boilerplate")} == {True}
    assert len({row["train_id"] for row in run(train, test, "--policy", "s1")}) == 12


def test_standard_input_and_output_work_in_a_pipe(write):
    write("test.jsonl", EVAL)
    lines = "".join(json.dumps(row) + "\n" for row in TRAIN)
    command = [sys.executable, "-m", "s1_utils.dedup", "-", "test.jsonl"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    assert {json.loads(line)["train_id"] for line in done.stdout.splitlines()} == {"t1", "t3"}
    assert "3 texts against 2 items (test 2)" in done.stderr
    assert "2 texts overlap" in done.stderr


def test_a_cut_off_last_line_is_passed_over_and_told(write, capsys):
    write("train.jsonl", TRAIN)
    with open("train.jsonl", "a") as file:
        file.write('{"id": "t4", "quest')
    assert run("train.jsonl", write("test.jsonl", EVAL))
    assert "its last line is cut off" in capsys.readouterr().err


def test_rows_without_a_text_are_counted_and_keep_their_place(write, capsys):
    train = write("train.jsonl", [{"question": None}, {"question": EIGHT}])
    assert {row["train_id"] for row in run(train, write("test.jsonl", EVAL))} == {1}
    assert "1 rows have no text" in capsys.readouterr().err


def test_surrogates_nuls_and_marks_come_through(write):
    text = f"\ud800 \0 \u202e {EIGHT}"
    found = run(write("train.jsonl", [{"question": text}]), write("test.jsonl", EVAL), "--policy", "s1")
    assert text[found[0]["train_start"] : found[0]["train_end"]] == found[0]["text"] == EIGHT


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([{"question": 5}], "train.jsonl, row 0: question is 5, not a string"),
        ([{"id": 1, "question": "x"}, {"id": 1, "question": "y"}], "row 1: id 1 was there before"),
        ([{"id": 1, "question": "x"}, {"question": "y"}], "row 1: id is None, not an id"),
        ([{"id": 1, "text": "x"}], "row 0 has no field 'question'; it has id, text"),
        (["x"], "line 1 is 'x', not a JSON object"),
    ],
)
def test_a_row_that_cant_be_used_is_named_in_one_line(write, capsys, rows, line):
    assert line in refuse(capsys, write("train.jsonl", rows), write("test.jsonl", EVAL))


def test_files_that_cant_be_used_are_named_in_one_line(write, capsys, tmp_path):
    train, test = write("train.jsonl", TRAIN), write("test.jsonl", EVAL)
    (tmp_path / "bad.jsonl").write_text('{"question": "x"}\n{nope}\n{"question": "y"}\n')
    (tmp_path / "bad.parquet").write_text("no parquet")
    (tmp_path / "latin.jsonl").write_bytes('{"question": "é"}\n{"question": "x"}\n'.encode("latin-1"))
    (tmp_path / "empty.jsonl").touch()
    assert "No file nowhere.jsonl" in refuse(capsys, "nowhere.jsonl", test)
    assert "bad.jsonl, line 2 isn't JSON" in refuse(capsys, "bad.jsonl", test)
    assert "latin.jsonl, line 1 isn't JSON" in refuse(capsys, "latin.jsonl", test)
    assert "Can't read bad.parquet" in refuse(capsys, "bad.parquet", test)
    assert "empty.jsonl has no rows" in refuse(capsys, train, "empty.jsonl")
    assert "named twice" in refuse(capsys, train, test, test)
    assert "n must be 1 or more" in refuse(capsys, train, test, "--n", "0")


def test_a_failed_run_leaves_an_earlier_result_alone(write, tmp_path):
    (tmp_path / "out.jsonl").write_text("earlier")
    assert main([write("train.jsonl", [{"question": 5}]), write("test.jsonl", EVAL), "--out", "out.jsonl"]) == 2
    assert (tmp_path / "out.jsonl").read_text() == "earlier"
