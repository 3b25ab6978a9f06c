"""Files of data sets from mirrors and from a hub that runs here, and rows of files that are damaged in every way."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hub_fixtures
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.errors import StudyError
from s1_utils.paper.hub_files import Part, choose_files, find_files, read_files
from s1_utils.paper.hub_rows import BadRow, read_rows

HUB_ID = "owner/set"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def choose(names, configs=(), split="train"):
    return choose_files(names, HUB_ID, Part(tuple(configs), split))


# ------------------------------------------------------------------ which file


@pytest.mark.parametrize(
    ("names", "configs", "split", "found"),
    [
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], (), "train", [0]),
        (["test.jsonl", "README.md", "train.jsonl"], (), "test", [0]),
        (["Math/test-00000-of-00001.parquet", "Physics/test-00000-of-00001.parquet"], ["Physics"], "test", [1]),
        (["data/sat_en/test.parquet", "data/sat_en_without_passage/test.parquet"], ["sat_en"], "test", [0]),
        (["sat_en_test.jsonl", "sat_en_without_passage_test.jsonl"], ["sat_en"], "test", [0]),
        (["logiqa-en/test.parquet", "logiqa-zh/test.parquet"], ["logiqa", "logiqa_en"], "test", [0]),
        (["gpqa_extended.csv", "gpqa_diamond.csv"], ["gpqa_diamond"], "train", [1]),
        (["test.jsonl", "test2.jsonl"], ["test2.jsonl"], "test", [1]),
        (["a/OE_TO/OE_TO.parquet", "a/TP_TO/TP_TO.parquet"], ["TP_TO"], "train", [1]),
        (["bai-scieval-dev.json", "bai-scieval-test.json", "bai-scieval-valid.json"], (), "validation", [2]),
        (["bai-scieval-dev.json", "bai-scieval-test.json"], (), "few_shot", [0]),
        (["Math/val-00000-of-00001.parquet", "Math/test-00000-of-00001.parquet"], ["Math"], "validation", [0]),
        (["config/train/0000.parquet", "config/test/0000.parquet"], ["config"], "test", [1]),
        (["data.jsonl", "dataset_infos.json"], (), "train", [0]),
        (["train.jsonl", "data/train-00000-of-00001.parquet"], (), "train", [1]),
        ([".cache/huggingface/train.parquet", "train.parquet"], (), "train", [1]),
        (["data/train-00000-of-00001-6a7c3b5d9f1e2a4c.parquet"], (), "train", [0]),
    ],
)
def test_a_part_is_found_under_the_names_that_hubs_give_it(names, configs, split, found):
    assert choose(names, configs, split) == [names[i] for i in found]


def test_shards_come_in_order():
    names = [f"data/train-{i:05d}-of-00003.parquet" for i in (2, 0, 1)]
    assert choose(names) == sorted(names)


def test_a_missing_shard_is_an_error():
    with pytest.raises(StudyError, match=r"2 of the 3 shards of data/train"):
        choose(["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"])


def test_a_split_that_is_not_there_names_the_files_that_are():
    with pytest.raises(StudyError, match=r"owner/set has no file for few_shot; it has test\.jsonl, train\.jsonl"):
        choose(["train.jsonl", "test.jsonl", "notes.txt"], (), "few_shot")


def test_a_configuration_that_is_not_there_is_not_replaced_by_another():
    with pytest.raises(StudyError, match="no file for Law test"):
        choose(["Math/test.parquet"], ["Law"], "test")


def test_another_split_is_never_taken_for_train():
    with pytest.raises(StudyError, match="no file for train"):
        choose(["data/test-00000-of-00001.parquet"])


# ------------------------------------------------------------------ rows


ROWS = [{"a": 'x,\n"y"', "b": "é"}, {"a": "", "b": "2"}]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    hub_fixtures.write_table(tmp_path / f"a{suffix}", ROWS)
    assert list(read_rows(tmp_path / f"a{suffix}")) == ROWS


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_dropped_columns_are_not_there(tmp_path, suffix):
    hub_fixtures.write_table(tmp_path / f"a{suffix}", ROWS)
    assert list(read_rows(tmp_path / f"a{suffix}", drop=["b", "c"])) == [{"a": row["a"]} for row in ROWS]


def test_json_lines_under_the_name_of_json_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}\n{"a": 2}\n')
    assert list(read_rows(tmp_path / "a.json")) == [{"a": 1}, {"a": 2}]


def test_a_bad_line_spoils_itself_only(tmp_path):
    lines = [b'{"a": 1}', b'{"a": "\xff"}', b'{"a": ', b"[1]", b"[" * 100_000, b"", b'{"a": 2}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    reasons = ["isn't UTF-8", "isn't JSON", "isn't a row of columns", "isn't JSON"]
    assert list(read_rows(tmp_path / "a.jsonl")) == [{"a": 1}, *map(BadRow, reasons), {"a": 2}]


def test_bad_utf8_in_parquet_spoils_its_row_only(tmp_path):
    texts = pa.array([b"good", b"\xff\xfe", b"fine"]).cast(pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    pa.parquet.write_table(pa.table({"a": broken}), tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet")) == [{"a": "good"}, BadRow("isn't UTF-8"), {"a": "fine"}]


def test_a_csv_row_of_another_length_spoils_itself_only(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n1\n1,2,3\n3,4\n")
    bad = BadRow("has more or fewer fields than the header")
    assert list(read_rows(tmp_path / "a.csv")) == [{"a": "1", "b": "2"}, bad, bad, {"a": "3", "b": "4"}]


def test_a_csv_field_may_be_megabytes_long(tmp_path):
    hub_fixtures.write_table(tmp_path / "a.csv", [{"a": "x" * 11_000_000}])
    assert [len(row["a"]) for row in read_rows(tmp_path / "a.csv")] == [11_000_000]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", POINTER),
        ("a.parquet", b""),
        ("a.parquet", b"PAR1" + b"\0" * 50 + b"PAR1"),
        ("a.json", b'[{"a": 1}, '),
        ("a.json", b"[" * 100_000),
    ],
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=rf"Can't read {name} .*Download it again"):
        list(read_rows(tmp_path / name))


@given(content=st.binary(max_size=300), suffix=st.sampled_from([".parquet", ".jsonl", ".json", ".csv"]))
def test_any_bytes_are_rows_bad_rows_or_one_kind_of_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"hostile{suffix}"
    path.write_bytes(content)
    with suppress(StudyError):
        assert all(isinstance(row, dict | BadRow) for row in read_rows(path))


# ------------------------------------------------------------------ mirrors


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror" / HUB_ID
    for i in range(2):
        hub_fixtures.write_table(folder / f"data/train-{i:05d}-of-00002.parquet", [{"a": i}])
    hub_fixtures.write_table(folder / "data/test-00000-of-00001.parquet", [{"a": 9}])
    return tmp_path / "mirror"


def test_a_mirror_is_read_file_by_file(mirror):
    assert list(read_files(HUB_ID, None, "train", mirror=mirror, revision=None)) == [{"a": 0}, {"a": 1}]


def test_a_receipt_holds_the_hash_and_the_size_of_each_file(mirror):
    receipt = find_files(HUB_ID, [Part(), Part(split="test")], mirror=mirror, revision=None).receipt
    folder = mirror / HUB_ID
    assert receipt["revision"] == "mirror"
    assert receipt["files"] == [
        {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
        for content in [(folder / name).read_bytes()]
    ]


def test_a_pinned_hash_that_fits_passes_and_one_that_does_not_is_an_error(mirror):
    pin = find_files(HUB_ID, [Part()], mirror=mirror, revision=None).receipt["sha256"]
    assert find_files(HUB_ID, [Part()], mirror=mirror, revision=pin).receipt["sha256"] == pin
    hub_fixtures.write_table(mirror / HUB_ID / "data/train-00001-of-00002.parquet", [{"a": 2}])
    with pytest.raises(StudyError, match="isn't what was pinned"):
        find_files(HUB_ID, [Part()], mirror=mirror, revision=pin)


def test_a_commit_can_not_be_pinned_in_a_mirror(mirror):
    with pytest.raises(StudyError, match=r"can't be checked: pin the receipt's sha256"):
        find_files(HUB_ID, [Part()], mirror=mirror, revision=COMMIT)


def test_a_set_that_the_mirror_lacks_says_how_to_get_it(mirror):
    with pytest.raises(StudyError, match="hf download --repo-type dataset owner/other --local-dir"):
        find_files("owner/other", [Part()], mirror=mirror, revision=None)


# ------------------------------------------------------------------ the hub


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as its client needs to list and download a data set."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        folder, path = self.server.folder, self.path.split("?")[0]
        if self.server.status != 200:
            return self.say(self.server.status, b"{}")
        if path.startswith(f"/api/datasets/{HUB_ID}"):
            names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
            return self.say(200, json.dumps(self.server.describe(names)).encode())
        file = folder / path.removeprefix(f"/datasets/{HUB_ID}/resolve/{COMMIT}/")
        if not file.is_file():
            return self.say(404, b"")
        content = file.read_bytes()
        etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return self.say(200, content, **{"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def say(self, status, content, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Hub)
        self.folder, self.status, self.commit, self.asked = folder, 200, COMMIT, []

    def describe(self, names):
        return {"id": HUB_ID, "sha": self.commit, "siblings": [{"rfilename": name} for name in names], "tags": []}


@contextmanager
def serve(folder):
    server = HubServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub(mirror, tmp_path, monkeypatch):
    with serve(mirror / HUB_ID) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecretsecretsecretse")
        yield server


def test_the_hub_gives_the_same_rows_as_a_mirror_of_it(hub):
    assert list(read_files(HUB_ID, None, "train", mirror=None, revision=None)) == [{"a": 0}, {"a": 1}]


def test_the_commit_that_the_hub_names_is_recorded(hub, mirror):
    there = find_files(HUB_ID, [Part()], mirror=None, revision="main").receipt
    here = find_files(HUB_ID, [Part()], mirror=mirror, revision=None).receipt
    assert there == {**here, "revision": COMMIT}


def test_only_the_files_of_the_parts_asked_for_are_downloaded(hub):
    find_files(HUB_ID, [Part()], mirror=None, revision=None)
    assert not [path for path, _ in hub.asked if "resolve" in path and "test-" in path]


def test_a_commit_other_than_the_pinned_one_is_an_error(hub):
    with pytest.raises(StudyError, match=f"pinned to {'f' * 40}, but the hub answers with {COMMIT}"):
        find_files(HUB_ID, [Part()], mirror=None, revision="f" * 40)


def test_a_hub_that_names_no_commit_is_an_error(hub):
    hub.commit = None
    with pytest.raises(StudyError, match="names no commit"):
        find_files(HUB_ID, [Part()], mirror=None, revision=None)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_hub_that_refuses_says_how_to_use_a_mirror_and_keeps_the_secret(hub, status):
    hub.status = status
    with pytest.raises(StudyError, match=r"Can't get owner/set from the hub .*HF_TOKEN.*set the mirror") as caught:
        find_files(HUB_ID, [Part()], mirror=None, revision=None)
    assert "hf_secret" not in f"{caught.value!r}{caught.value}"


def test_a_hub_that_is_down_says_how_to_use_a_mirror(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(StudyError, match=r"Can't get owner/set from the hub .*set the mirror"):
            find_files(HUB_ID, [Part()], mirror=None, revision=None)
