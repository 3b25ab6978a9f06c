"""Files of replies from a shell: hostile lines, names of fields, and nothing half-written."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
from claude_server import serve_claude
from hypothesis import given, settings
from hypothesis import strategies as st

from s1_utils import grading, judge
from s1_utils.errors import StudyError
from s1_utils.regrading import Fields, main, read_lines, read_samples, regrade
from s1_utils.store import _find_imports

GOOD = {"question": "1+1?", "gold": "2", "response": r"\boxed{2}"}


def write(path, *lines, end="\n"):
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts) + end.encode())
    return path


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def grade(tmp_path, *lines, end="\n", **options):
    counts = regrade(write(tmp_path / "in.jsonl", *lines, end=end), tmp_path / "out.jsonl", **options)
    return counts, read(tmp_path / "out.jsonl")


# ------------------------------------------------------------------ verdicts


def test_replies_are_graded_in_order_with_what_was_extracted(tmp_path):
    counts, rows = grade(
        tmp_path, GOOD, GOOD | {"response": "Answer: 3"}, GOOD | {"response": "no idea"}, GOOD | {"gold": None}
    )
    assert [row["correct"] for row in rows] == [True, False, False, None]
    assert [row["extracted"] for row in rows] == ["2", "3", None, "2"]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    assert dict(counts) == {"right": 1, "wrong": 1, "no answer": 1, "undecided": 1}


@pytest.mark.parametrize(
    ("row", "kind", "gold"),
    [
        (GOOD, "integer", "2"),
        (GOOD | {"gold": 2}, "integer", "2"),
        (GOOD | {"gold": 2.0}, "integer", "2"),
        (GOOD | {"gold": ["2"]}, "integer", "2"),
        (GOOD | {"gold": "1 + 1 = 2\n#### 2"}, "integer", "2"),
        (GOOD | {"gold": r"$\frac{1}{2}$"}, "expression", r"\frac{1}{2}"),
        (GOOD | {"gold": r"Add them: \boxed{x^2}."}, "expression", "x^2"),
        (GOOD | {"gold": "word " * 60}, "text", ("word " * 60).strip()),
        (GOOD | {"gold": "(B)"}, "choice", "B"),
        (GOOD | {"gold": "B", "options": ["one", "two"]}, "choice", "B"),
        (GOOD | {"gold": "two", "options": ["one", "two"]}, "choice", "B"),
        (GOOD | {"gold": "C", "question": "Which?\n(A) 1\n(B) 2\n(C) 3"}, "choice", "C"),
        (GOOD | {"gold": "17", "question": "Which?\n(A) 1\n(B) 2\n(C) 3"}, "integer", "17"),
        (GOOD | {"gold": None}, "expression", None),
    ],
)
def test_the_type_of_an_answer_is_seen_from_gold_and_options(row, kind, gold):
    sample = read_samples(row, Fields())[0]
    assert (sample.answer_type, sample.gold) == (kind, gold)


def test_fields_may_lie_deeper_and_a_response_may_be_a_list_of_samples(tmp_path):
    row = {"doc": {"problem": "1+1?", "answer": "2"}, "resps": [["Answer: 2", "Answer: 3", None]], "doc.problem": "x?"}
    fields = Fields("doc.problem", "doc.answer", "resps.0", "nowhere")
    counts, rows = grade(tmp_path, row, fields=fields)
    assert [(each["sample"], each["correct"]) for each in rows] == [(0, True), (1, False), (2, False)]
    assert counts["no answer"] == 1
    assert len({each["question_id"] for each in rows}) == 1


def test_the_original_remembers_a_questions_earlier_answers_across_lines(tmp_path):
    shown = []
    lines = [GOOD | {"response": rf"\boxed{{{text}}}"} for text in ("a", "b")]
    grade(tmp_path, *lines, grader="legacy_s1", ask=lambda options, attempt: shown.append(list(options)) or -1)
    assert shown == [["2"], ["2", "a"]]


def test_the_original_guesses_a_and_exact_rules_do_not(tmp_path):
    row = GOOD | {"gold": "A", "options": ["A", "B", "C", "D"], "response": "I can't tell, this is too hard for me."}
    assert grade(tmp_path, row)[1][0]["extracted"] is None
    assert grade(tmp_path, row, grader="legacy_s1")[1][0]["correct"] is True


# ------------------------------------------------------------------ hostile lines

BAD = {
    b"{": "no JSON",
    b"\xff{}": "not UTF-8",
    b"[1]": "no JSON object",
    b"7": "no JSON object",
    b"[" * 100_000: "no JSON",
    b"1" * 10_000: "no JSON",
    b"{}": "no question",
    b'{"question": "q", "gold": "1"}': "no response",
    b'{"question": 7, "gold": "1", "response": "1"}': "question is no text",
    b'{"question": "q", "gold": true, "response": "1"}': "gold is neither",
    b'{"question": "q", "gold": NaN, "response": "1"}': "gold is neither",
    b'{"question": "q", "gold": {}, "response": "1"}': "gold is neither",
    b'{"question": "q", "gold": ["1", "2"], "response": "1"}': "gold is neither",
    b'{"question": "q", "gold": "1", "response": 1}': "response is neither",
    b'{"question": "q", "gold": "1", "response": [["1"]]}': "response is neither",
    b'{"question": "q", "gold": "A", "response": "1", "options": "AB"}': "options must be",
}


@pytest.mark.parametrize(("line", "error"), BAD.items(), ids=[value + str(i) for i, value in enumerate(BAD.values())])
def test_a_bad_line_is_named_and_the_others_are_graded(tmp_path, line, error):
    counts, rows = grade(tmp_path, GOOD, line, b"", GOOD)
    assert rows[1]["line"] == 2
    assert rows[1]["error"].startswith(error)
    assert [row.get("correct") for row in rows] == [True, None, True]
    assert (counts["right"], counts["bad"]) == (2, 1)


def test_a_torn_last_line_is_named_and_a_whole_one_without_a_line_break_is_graded(tmp_path):
    counts, rows = grade(tmp_path, GOOD, json.dumps(GOOD).encode()[:-9], end="")
    assert rows[1]["error"].startswith("torn")
    counts, rows = grade(tmp_path, GOOD, GOOD, end="")
    assert counts["right"] == 2


def test_a_line_that_is_too_long_is_skipped_whole_and_in_bounded_memory(tmp_path):
    path = write(tmp_path / "in.jsonl", GOOD, b'{"question": "' + b"x" * 5_000_000 + b'"}', GOOD)
    tracemalloc.start()
    found = list(read_lines(path, 10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [number for number, _ in found] == [1, 2, 3]
    assert found[1][1] == "longer than 10,000 bytes"
    assert found[2][1] == GOOD
    assert peak < 1_000_000


def test_a_line_of_exactly_the_longest_length_is_read(tmp_path):
    line = json.dumps(GOOD).encode()
    path = write(tmp_path / "in.jsonl", line, line)
    assert [row for _, row in read_lines(path, len(line))] == [GOOD, GOOD]
    assert all(isinstance(row, str) for _, row in read_lines(path, len(line) - 1))


hostile = st.binary(max_size=40) | st.sampled_from([json.dumps(GOOD).encode(), b'{"question":', *BAD])


@settings(max_examples=60)
@given(st.lists(hostile, max_size=6))
def test_no_bytes_crash_it_and_every_line_is_accounted_for(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("hostile")
    path = write(folder / "in.jsonl", *lines)
    numbers = [number for number, _ in read_lines(path)]
    assert numbers == [i for i, line in enumerate(path.read_bytes().split(b"\n"), 1) if line.strip()]
    counts = regrade(path, folder / "out.jsonl")
    assert counts.total() == len(numbers)


def test_hostile_replies_are_graded(tmp_path):
    texts = ["\ud800", "\0", r"\boxed{" * 10_000, r"\boxed{9^9^9^9}", "x" * 100_000, "Answer: " + "(" * 50_000]
    counts, _ = grade(tmp_path, *[GOOD | {"gold": "x^2+1", "response": text} for text in texts], seconds_each=0.5)
    assert counts.total() == len(texts)
    assert counts["right"] == counts["bad"] == 0


# ------------------------------------------------------------------ files and the command


def test_nothing_is_left_of_a_run_that_fails(tmp_path):
    path = write(tmp_path / "in.jsonl", GOOD, GOOD | {"gold": "x"})
    (tmp_path / "out.jsonl").write_text("before")
    with pytest.raises(ZeroDivisionError):
        regrade(path, tmp_path / "out.jsonl", grader="legacy_s1", ask=lambda *_: 1 / 0)
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_a_file_is_never_graded_into_itself(tmp_path):
    path = write(tmp_path / "in.jsonl", GOOD)
    with pytest.raises(StudyError, match="another name"):
        regrade(path, tmp_path / "." / "in.jsonl")
    assert read(path) == [GOOD]


def test_a_missing_file_is_an_error_that_says_so(tmp_path, capsys):
    assert main([str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out.jsonl")]) == 1
    assert "no file" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_the_summary_counts_everything_and_bad_lines_are_named_by_number(tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", GOOD, b"{", GOOD | {"response": "Answer: 4"}, GOOD | {"gold": None})
    assert main([str(path), "--out", str(tmp_path / "out.jsonl")]) == 0
    shown = capsys.readouterr()
    assert "line 2: no JSON" in shown.err
    assert "3 replies: 1 right, 1 wrong, 0 no answer, 1 undecided" in shown.out
    assert "33.3 % right" in shown.out
    assert "bad lines: 1" in shown.out


def test_many_bad_lines_are_named_up_to_a_point(tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", *[b"{"] * 50)
    assert main([str(path), "--out", str(tmp_path / "out.jsonl")]) == 1
    assert capsys.readouterr().err.count("no JSON") == 20
    assert len(read(tmp_path / "out.jsonl")) == 50


def test_the_command_works_from_a_shell(tmp_path):
    path = write(tmp_path / "in.jsonl", {"prompt": "1+1?", "answer": 2, "output": "The answer is 2."})
    command = [sys.executable, "-m", "s1_utils.grading", str(path), "--out", str(tmp_path / "out.jsonl")]
    command += ["--question", "prompt", "--gold", "answer", "--response", "output", "--grader", "exact"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 replies: 1 right")
    assert done.stderr == ""
    assert read(tmp_path / "out.jsonl")[0]["correct"] is True


def test_a_stages_key_knows_nothing_of_the_command_line():
    tree = ast.parse(Path(grading.__file__).read_text("utf-8"))
    assert sorted(_find_imports(tree)) == ["answer_text", "choice_letters"]


# ------------------------------------------------------------------ a judge

JUDGE = ["--grader", "blind_judge", "--judge", "claude-test-1", "--usd", "3", "15", "--max-usd", "1"]


def answer_with(rows, *said):
    """What the server says to each row's question and response."""
    table = pd.DataFrame([{"id": str(i), "question": r["question"], "attempt": r["response"]} for i, r in rows])
    replies = [json.dumps({"reason": "so", "found": bool(answer), "answer": answer}) for answer in said]
    return {ask.user: [reply] for ask, reply in zip(judge.make_extract_asks(table), replies, strict=True)}


def test_a_judge_extracts_from_a_shell_and_a_second_run_pays_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    half = GOOD | {"gold": r"\frac{1}{2}", "response": r"\boxed{0.5}"}
    rows = [half, half | {"response": "1/2 it is"}, half | {"response": "2/3 perhaps"}, half | {"response": "hm"}]
    path, out = write(tmp_path / "in.jsonl", *rows, b"{torn"), tmp_path / "out.jsonl"
    outcomes = answer_with(list(enumerate(rows))[1:], "1/2", "2/3", "")
    with serve_claude(outcomes=outcomes) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        for _ in range(2):
            assert main([str(path), "--out", str(out), *JUDGE]) == 0
            assert sum(server.asked.values()) == 3  # none about the reply that rules read
    assert all("gold" not in text and "Correct answer" not in text for text in server.asked)
    assert [row.get("correct") for row in read(out)] == [True, True, False, False, None]
    assert [row.get("extracted") for row in read(out)] == ["0.5", "1/2", "2/3", None, None]
    assert {row["grader"] for row in read(out)[:-1]} == {"blind_judge"}
    assert not any("reply" in row for row in read(out))
    assert "2 right, 1 wrong, 1 no answer, 0 undecided" in capsys.readouterr().out


def test_without_a_key_the_judge_says_so_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    path, out = write(tmp_path / "in.jsonl", GOOD | {"response": "no idea"}), tmp_path / "out.jsonl"
    assert main([str(path), "--out", str(out), *JUDGE]) == 1
    assert "ANTHROPIC_API_KEY isn't set" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("given", [JUDGE[2:], JUDGE[:4], JUDGE[:-2], [*JUDGE[:-1], "0"], [*JUDGE[:-1], "nan"]])
def test_a_judge_needs_a_model_prices_and_a_limit(tmp_path, given, capsys):
    with pytest.raises(SystemExit):
        main([str(write(tmp_path / "in.jsonl", GOOD)), "--out", str(tmp_path / "out.jsonl"), *given])
    assert "--max-usd" in capsys.readouterr().err
