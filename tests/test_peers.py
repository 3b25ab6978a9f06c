"""Processes that share a journal's records: each record once, all seen by all, and the dead replaced."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter

import pytest

from s1_utils import peers
from s1_utils.errors import StudyError
from s1_utils.store import Journal

NAMES = [f"SFT/{i}" for i in range(12)]
PLACE = "laptop/04_sequential_scaling/sft.jsonl"


@pytest.fixture
def become(tmp_path, monkeypatch):
    """Make this process the shard of a number; its journal."""
    opened = []

    def open_as(number, count=3, key="k", patience="300"):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv("S1_RUNS", str(folder))
        monkeypatch.setenv("S1_SHARD", f"{number}/{count}")
        monkeypatch.setenv("S1_SHARD_PATIENCE", patience)
        opened.append(Journal(folder / PLACE, key))
        return opened[-1]

    yield open_as
    for journal in opened:
        journal.close()


def go_through(names, journal, payload="mine"):
    """Make what is ours to make; the names of that, in order."""
    made = []
    for name in peers.share(names, journal):
        if name not in journal:
            journal.add(name, payload)
            made.append(name)
    return made


def work(root, number, pause, doomed_after=None):
    """A shard in a process of its own; dies by its own hand in the middle of a record, if it is doomed."""
    os.environ |= {"S1_RUNS": str(root / str(number)), "S1_SHARD": f"{number}/3", "S1_SHARD_PATIENCE": "2"}
    with Journal(root / str(number) / PLACE, "k") as journal:
        for i, name in enumerate(name for name in peers.share(NAMES, journal) if name not in journal):
            time.sleep(pause)
            if i == doomed_after:
                os._exit(9)
            journal.add(name, [name, number])
        (root / f"seen-{number}.json").write_text(json.dumps([journal.records[name] for name in NAMES]))


def run_processes(*arguments):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None
    return [process.exitcode for process in processes]


def read_made(root, number):
    """The names in a shard's own journal."""
    lines = (root / str(number) / PLACE).read_text("utf-8").splitlines()[1:]
    return [json.loads(line)["id"] for line in lines]


def test_alone_every_name_is_ones_own_in_order(monkeypatch, tmp_path):
    monkeypatch.delenv("S1_SHARD", raising=False)
    with Journal(tmp_path / "a.jsonl", "k") as journal:
        assert go_through(NAMES, journal) == NAMES
        assert go_through(NAMES, journal) == []


def test_three_processes_make_each_record_once_and_see_all(tmp_path):
    assert run_processes(*[(tmp_path, number, 0.05) for number in range(3)]) == [0, 0, 0]
    made = [read_made(tmp_path, number) for number in range(3)]
    assert Counter(name for names in made for name in names) == Counter(NAMES)
    assert sum(bool(names) for names in made) >= 2
    seen = [json.loads((tmp_path / f"seen-{number}.json").read_text()) for number in range(3)]
    assert seen[0] == seen[1] == seen[2]
    assert [name for name, _ in seen[0]] == NAMES


def test_what_a_dead_process_had_claimed_is_taken_over(tmp_path):
    assert run_processes((tmp_path, 0, 0.2), (tmp_path, 1, 0.2, 1), (tmp_path, 2, 0.2)) == [0, 9, 0]
    made = [read_made(tmp_path, number) for number in range(3)]
    assert len(made[1]) == 1
    assert Counter(name for names in made for name in names) == Counter(NAMES)


def test_a_process_that_starts_again_makes_what_it_had_claimed(tmp_path):
    assert run_processes((tmp_path, 1, 0.0, 0)) == [9]
    assert read_made(tmp_path, 1) == []
    assert run_processes((tmp_path, 1, 0.0)) == [0]
    assert sorted(read_made(tmp_path, 1)) == sorted(NAMES)


def test_shards_begin_elsewhere(become):
    assert go_through(NAMES, become(1)) == [*NAMES[4:], *NAMES[:4]]


def test_a_claim_of_one_who_lives_is_left_and_its_record_awaited(become, monkeypatch):
    other = become(0)
    turns = iter(peers.share(NAMES[:2], other))
    claimed = next(turns)
    mine = become(1)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        other.add(claimed, "theirs")

    monkeypatch.setattr(peers.time, "sleep", nap)
    assert go_through(NAMES[:2], mine) == [name for name in NAMES[:2] if name != claimed]
    assert len(naps) == 1
    assert mine.records[claimed] == "theirs"
    turns.close()


def test_a_line_that_is_still_being_written_is_left_until_it_is_whole(become, tmp_path, monkeypatch):
    other = become(0)
    other.add(NAMES[0], "theirs")
    path = tmp_path / "0" / PLACE
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    mine = become(1)
    made = []
    for name in peers.share(NAMES[:2], mine):
        if name not in mine:
            made.append(name)
            mine.add(name, "mine")
            path.write_bytes(whole)
    assert made == [NAMES[1]] or (made == NAMES[:2] and mine.records[NAMES[0]] == "mine")
    again = become(2)
    go_through(NAMES[:2], again)
    assert again.records[NAMES[0]] == "theirs"


def test_shards_of_other_code_or_parameters_are_refused(become):
    become(0, key="other")
    with pytest.raises(StudyError, match="other parameters, inputs or code"):
        go_through(NAMES, become(1))


def test_a_damaged_record_of_another_is_refused(become, tmp_path):
    become(0).add(NAMES[0], "theirs")
    path = tmp_path / "0" / PLACE
    path.write_text(path.read_text("utf-8").replace("theirs", "forged"), "utf-8")
    with pytest.raises(StudyError, match="hash"):
        go_through(NAMES, become(1))


@pytest.mark.parametrize("text", ["3/3", "a/3", "1/0", "-1/3", "1", "1/3/4", "", " 1/3"])
def test_a_shard_is_one_of_so_many(text):
    with pytest.raises(StudyError, match="0/16"):
        peers.read_shard(text)
