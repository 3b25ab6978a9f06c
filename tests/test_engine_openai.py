"""The OpenAI engine against small servers that fail in every way, and against a real vLLM server that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import conformance
import pytest

from s1_utils.budget_forcing import Answer, Decode, Force, Restart
from s1_utils.engines import Row
from s1_utils.engines.openai import OpenAIEngine
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.errors import StudyError

MODEL = "rule"


def next_token(ids, banned=frozenset()):
    """A model that is a rule: no two contexts of one length continue alike."""
    first = (7 * sum(ids) + 3 * ids[-1] + len(ids)) % 40
    return next(i % 40 for i in range(first, first + 40) if i % 40 not in banned)


class RuleServer(ThreadingHTTPServer):
    """A completions server for that model. `faults`: what goes wrong with the next requests, one each, then nothing.

    `deaf_to`: the options that it ignores.
    """

    daemon_threads = True

    def __init__(self, faults=()):
        super().__init__(("127.0.0.1", 0), RuleHandler)
        self.faults = list(faults)
        self.lock = threading.Lock()
        self.asked = []
        self.deaf_to = set()

    def handle_error(self, request, address):
        """The engine hangs up where it has seen enough."""


class RuleHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        text = json.dumps({"data": [{"id": MODEL, "max_model_len": 100}]}).encode()
        self.answer(200, text)

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else ""
            self.server.asked.append((time.monotonic(), self.headers.get("Authorization"), body))
        if fault.isdigit():
            return self.answer(int(fault), b"no " + os.environ.get("A_KEY", "").encode(), **{"Retry-After": "0.3"})
        if fault == "hang up":
            return self.close()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if fault == "endless":
            while True:
                self.send(b"data: " + b"x" * 2**16)
        self.stream(body, fault)
        return None

    def stream(self, body, fault):
        ids, stops = list(body["prompt"]), set(body["stop_token_ids"])
        body = {name: value for name, value in body.items() if name not in self.server.deaf_to}
        least = body.get("min_tokens", 0)
        for n in range(1, body["max_tokens"] + 1):
            banned = {int(i) for i in body.get("logit_bias", {})} | (stops if n <= least else set())
            if fault == "cut" and n == 3:
                return self.close(b'data: {"choices": [{"tok')
            if fault == "garbage" and n == 2:
                self.send(b"data: {]\n\n")
            if fault == "error within" and n == 2:
                self.send(b'data: {"error": {"message": "out of memory"}}\n\n')
            ids.append(next_token(tuple(ids), banned))
            is_last = ids[-1] in stops or n == body["max_tokens"] or fault in ("own end", "abort")
            finish = "abort" if fault == "abort" else "stop" if ids[-1] in stops else "length"
            choice = {"text": "x", "token_ids": ids[-1:], "finish_reason": finish if is_last else None}
            if fault == "no ids":
                del choice["token_ids"]
            if fault == "other prompt":
                choice["prompt_token_ids"] = [1, *body["prompt"]]
            if fault == "too many":
                choice["token_ids"] = ids[-1:] * 99
            self.send(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
            if is_last:
                break
        self.send(b"data: [DONE]\n\n")
        self.send(b"")

    def send(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def close(self, last=b""):
        if last:
            self.send(last)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serve(*faults):
    with RuleServer(faults) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def connect(url, **options):
    return OpenAIEngine(url, MODEL, **{"backoff": 0.01, "timeout": 5.0, **options})


def make_rows(n=6):
    """Rows that decode, force, suppress, branch and start again; the stops are hit now and then."""
    stops = ((4, 9), (5,), (11,), (7, 5))
    rows = []
    for i in range(n):
        prompt = (3, 4, i)
        segments = [
            Decode(12, stops),
            Force((36,)),
            Decode(12, stops, 4),
            Answer(2, (30, 31), 5, ((8,),)),
            Restart(),
            Decode(9, ((next_token(prompt),), (3, 17)), 2),  # what it would write at once may not end it there
        ]
        rows.append(Row(prompt, conformance.play(*segments)))
    return rows


EXPECTED = ScriptedEngine(next_token, next_token).run(make_rows())


def test_it_gives_the_ids_of_the_servers_model():
    with serve() as (_, url):
        assert connect(url).run(make_rows()) == EXPECTED


@pytest.mark.parametrize("fault", ["429", "500", "503", "hang up", "cut", "garbage", "error within", "abort"])
def test_after_a_failure_that_may_pass_nothing_is_lost_and_nothing_comes_twice(fault):
    with serve(*[fault, "", fault, fault] * 4) as (server, url):
        assert connect(url).run(make_rows()) == EXPECTED
    assert not server.faults


def test_where_a_bias_does_not_keep_an_id_away_another_way_does():
    with serve() as (server, url):
        server.deaf_to = {"logit_bias"}
        assert connect(url).run(make_rows()) == EXPECTED
        assert any("min_tokens" in body for _, _, body in server.asked)


def test_a_server_that_samples_what_is_forbidden_is_refused():
    with serve() as (server, url):
        server.deaf_to = {"logit_bias", "min_tokens"}
        with pytest.raises(StudyError, match="honour logit_bias"):
            connect(url).run(make_rows())


def test_it_waits_as_long_as_the_server_asks():
    with serve("429") as (server, url):
        connect(url).run(make_rows(1))
    assert server.asked[1][0] - server.asked[0][0] >= 0.3


def test_it_gives_up_after_so_many_failures_in_a_row_and_says_what_to_do():
    with (
        serve(*["500"] * 50) as (server, url),
        pytest.raises(StudyError, match=r"3 times in a row \(status 500\).*see"),
    ):
        connect(url, retries=2).run(make_rows(1))
    assert len(server.asked) == 3


def test_it_gives_up_where_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(StudyError, match="ConnectError"):
            connect(url, retries=1).run(make_rows(1))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no ids", "return_token_ids"),
        ("endless", "more than [0-9]+ bytes"),
        ("too many", "more than the [0-9]+ ids"),
        ("other prompt", "changed the prompt"),
        ("own end", "ignore_eos"),
        ("400", "refuses a request"),
        ("302", "refuses a request"),
        ("401", "A_KEY"),
    ],
)
def test_a_server_that_can_not_be_used_is_refused_with_the_reason(fault, reason):
    with serve(fault) as (server, url), pytest.raises(StudyError, match=reason):
        connect(url, key_variable="A_KEY").run(make_rows(1))
    assert len(server.asked) == 1


def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("A_KEY", "very-secret")
    with serve("400") as (server, url):
        engine = connect(url, key_variable="A_KEY")
        with pytest.raises(StudyError) as error:
            engine.run(make_rows(1))
    assert server.asked[0][1] == "Bearer very-secret"
    assert "very-secret" not in str(error.value) + repr(engine) + repr(vars(engine))


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve() as (server, url):
        connect(url).run(make_rows(1))
    assert server.asked[0][1] is None


def test_another_model_than_the_servers_is_refused_by_name():
    with serve() as (_, url), pytest.raises(StudyError, match="has no model 'other'; it has rule"):
        OpenAIEngine(url, "other").run(make_rows(1))


def test_a_row_longer_than_the_servers_window_is_refused_with_the_numbers():
    with serve() as (_, url), pytest.raises(ValueError, match="3 ids and 98 more don't fit the model's window of 100"):
        connect(url).run([Row((3, 4, 5), conformance.play(Decode(98, ())))])


def test_no_more_rows_run_at_a_time_than_asked_for():
    waiting = []

    def watch():
        waiting.append(1)
        most.append(len(waiting))
        yield Decode(8, ())
        waiting.pop()

    most: list[int] = []
    with serve() as (_, url):
        connect(url, concurrency=3).run([Row((3, 4, i), watch()) for i in range(12)])
    assert max(most) == 3


def test_every_sampled_request_has_a_seed_of_its_own_that_the_row_fixes():
    def ask():
        with serve() as (server, url):
            connect(url).run([Row((3, 4, 5), row.policy, 7, 1.0) for row in make_rows(1)])
        return [body["seed"] for _, _, body in server.asked]

    seeds = ask()
    assert len(set(seeds)) == len(seeds) > 3
    assert ask() == seeds


# ------------------------------------------------------------------ a real server


@pytest.fixture(scope="module")
def reference():
    return conformance.Reference(conformance.make_model())


class VLLMServer:
    """vLLM's own server with the tiny model, on one port that it keeps over restarts."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self):
        options = {
            "model": self.folder,
            "served-model-name": MODEL,
            "host": "127.0.0.1",
            "port": self.port,
            "dtype": "float32",
            "kv-cache-memory-bytes": 2**28,
            "block-size": 32,
            "max-logprobs": 40,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, "--enforce-eager"]
        threads = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}
        self.process = subprocess.Popen(
            command,
            env=os.environ | threads,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self):
        for _ in range(1200):
            assert self.process.poll() is None, "vLLM's server didn't start"
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("vLLM's server took more than two minutes to start")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(reference, tmp_path_factory):
    server = VLLMServer(conformance.save_model(reference.model, tmp_path_factory.mktemp("tiny")))
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm isn't installed: make test-vllm")
class TestVLLMServer:
    def test_it_gives_the_ids_of_full_recomputation(self, server, reference):
        report = conformance.compare_greedy(OpenAIEngine(server.url, MODEL), reference)
        assert not report.wrong, "\n".join(report.wrong[:3])
        assert len(report.near) <= report.rows // 100

    def test_it_samples_by_the_models_own_law(self, server, reference):
        found = conformance.measure_law(OpenAIEngine(server.url, MODEL, seeds=False), reference)
        assert min(found.values()) > 1e-4, found

    def test_killed_within_replies_and_started_again_nothing_is_lost_and_nothing_comes_twice(self, server, reference):
        def count(row):
            first = yield Decode(60, ((38, 39, 38),))
            done.append(row)
            if len(done) == 60:
                enough.set()
            return first, (yield Answer(20, (30, 31), 20, ((38, 39, 38),)))

        done, enough, outs = [], threading.Event(), []
        prompts = conformance.make_prompts(200, 9)
        engine = OpenAIEngine(server.url, MODEL, retries=12, backoff=0.25, concurrency=32)
        rows = [Row(prompt, count(i)) for i, prompt in enumerate(prompts)]
        thread = threading.Thread(target=lambda: outs.extend(engine.run(rows)))
        thread.start()
        assert enough.wait(120)
        server.kill()
        assert len(done) < len(rows)
        server.start()
        server.wait()
        thread.join(300)
        found = [reference.run(Row(prompt, count(0))) for prompt in prompts]
        assert len(outs) == len(rows)
        assert all(
            out == expected or margin < conformance.NEAR for out, (expected, margin) in zip(outs, found, strict=True)
        )
