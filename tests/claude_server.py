"""A real server that speaks Claude's Messages and Message Batches API, fails as scripted, and keeps its own accounts.

Faults are taken in order, one a request, from a list by route: create, list, retrieve, results, messages. What becomes
of an ask is scripted by its text: a list of outcomes (or JSON to say), one an attempt, then "ok".
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRICES = {
    "input_tokens": 3.0,
    "output_tokens": 15.0,
    "cache_creation_input_tokens": 3.75,
    "cache_read_input_tokens": 0.3,
}
DISCOUNT = 0.5


class Batch:
    def __init__(self, name, requests, polls):
        self.id, self.polls = name, polls
        self.created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self.requests = requests
        self.lines = None  # of results, once it has ended
        self.canceled = False


class ClaudeServer(ThreadingHTTPServer):
    """`outcomes`: text → outcomes of its attempts. `polls`: looks at a batch until it has ended. `victim`: a pid."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ClaudeHandler)
        self.lock = threading.RLock()
        self.faults = {}
        self.outcomes = {}
        self.polls = 1
        self.victim = None
        self.is_due = lambda: True  # to be killed
        self.noise = 0  # duplicate, damaged and unknown lines among results
        self.late = 0  # looks at the list until a new batch is in it
        self.results_host = None
        self.keeps_results = True
        self.page = 100
        self.batches = {}
        self.asked = Counter()  # text → attempts
        self.paid = Counter()  # text → times
        self.usd = {}  # text → dollars
        self.log = []  # (route, body or path, headers)
        self.cached = set()
        self.is_over = threading.Event()

    def handle_error(self, request, address):
        """Clients hang up, and some are killed."""

    def take_fault(self, route):
        with self.lock:
            faults = self.faults.get(route) or [""]
            return faults.pop(0)

    # ---------------------------------------------------------------- the model and its price

    def answer(self, params, *, factor):
        """The result of one request, paid for if there is a message."""
        text = params["messages"][0]["content"]
        with self.lock:
            self.asked[text] += 1
            script = self.outcomes.get(text, [])
            outcome = script[self.asked[text] - 1] if self.asked[text] <= len(script) else "ok"
        if outcome.startswith("errored:"):
            error = {"type": outcome.removeprefix("errored:"), "message": "no"}
            return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}
        if outcome in ("expired", "canceled"):
            return {"type": outcome}
        return {"type": "succeeded", "message": self.write_message(params, text, outcome, factor)}

    def write_message(self, params, text, outcome, factor):
        said = {
            "ok": json.dumps({"reason": f"because {text}", "correct": True}),
            "garbage": "not {json",
            "wrong schema": json.dumps({"reason": 7, "correct": "yes"}),
            "nan": '{"reason": "x", "correct": true, "n": NaN}',
            "deep": "[" * 100_000,
            "surrogate": '{"reason": "\\ud800", "correct": true}',
        }.get(outcome, outcome if outcome.startswith("{") else '{"reason": "be')
        stop = outcome if outcome in ("refusal", "max_tokens", "model_context_window_exceeded") else "end_turn"
        system = params["system"][0]["text"]
        with self.lock:
            kind = "cache_read_input_tokens" if system in self.cached else "cache_creation_input_tokens"
            self.cached.add(system)
            usage = {"input_tokens": 9 + len(text), "output_tokens": 1 + len(said) // 4, kind: len(system)}
            self.paid[text] += 1
            usd = sum(PRICES[name] * count for name, count in usage.items()) * factor / 1e6
            self.usd[text] = self.usd.get(text, 0.0) + usd
        thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": params["model"],
            "content": [thinking, {"type": "text", "text": said[:9]}, {"type": "text", "text": said[9:]}],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    # ---------------------------------------------------------------- batches

    def accept(self, requests, polls=None):
        with self.lock:
            name = f"msgbatch_{len(self.batches) + 1:03}"
            self.batches[name] = Batch(name, requests, self.polls if polls is None else polls)
            self.batches[name].late = self.late
            return self.batches[name]

    def look_at(self, batch):
        """One look; the batch ends when there were enough, and every request is run and paid for then."""
        with self.lock:
            batch.polls -= 1
            if batch.polls < 0 and batch.lines is None:
                batch.lines = [
                    {
                        "custom_id": request["custom_id"],
                        "result": {"type": "canceled"}
                        if batch.canceled
                        else self.answer(request["params"], factor=1 - DISCOUNT),
                    }
                    for request in batch.requests
                ]
                batch.lines.reverse()
            return self.describe(batch)

    def run_all(self):
        """End every batch that was accepted, looked at or not, so that none is paid for behind a test's back."""
        for batch in self.batches.values():
            batch.polls = 0
            self.look_at(batch)

    def describe(self, batch):
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for line in batch.lines or []:
            counts[line["result"]["type"]] += 1
        if batch.lines is None:
            counts["processing"] = len(batch.requests)
        ended = batch.lines is not None
        host = self.results_host or f"http://127.0.0.1:{self.server_port}"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "canceling" if batch.canceled else "in_progress",
            "request_counts": counts,
            "created_at": batch.created,
            "expires_at": batch.created,
            "ended_at": batch.created if ended else None,
            "results_url": f"{host}/v1/messages/batches/{batch.id}/results" if ended and self.keeps_results else None,
        }

    def write_results(self, batch):
        lines = [json.dumps(line) for line in batch.lines]
        if self.noise:
            other = {"custom_id": batch.lines[0]["custom_id"], "result": {"type": "expired"}}
            unknown = {"custom_id": "who-1-knows", "result": {"type": "expired"}}
            lines = [json.dumps(unknown), lines[0], json.dumps(other), '{"custom_id": ', "[1]", *lines, lines[0]]
        return "".join(line + "\n" for line in lines).encode()

    def kill_victim(self):
        os.kill(self.victim, signal.SIGKILL)
        os.waitid(os.P_PID, self.victim, os.WEXITED | os.WNOWAIT)


class ClaudeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path.split("?")[0] == "/v1/messages/batches":
            self.serve("list", self.list_batches)
        elif found := re.fullmatch("/v1/messages/batches/([a-z_0-9]+)(/results)?", self.path):
            self.batch = self.server.batches.get(found[1])
            if self.batch is None:
                self.refuse(404, "not_found_error")
            elif found[2]:
                self.serve("results", self.send_results)
            else:
                self.serve("retrieve", lambda: self.send_json(self.server.look_at(self.batch)))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.body = json.loads(body) if body else {}
        if self.path == "/v1/messages":
            self.serve("messages", self.create_message)
        elif self.path == "/v1/messages/batches":
            self.serve("create", self.create_batch)
        elif found := re.fullmatch("/v1/messages/batches/([a-z_0-9]+)/cancel", self.path):
            batch = self.server.batches[found[1]]
            batch.canceled = True
            self.send_json(self.server.describe(batch))

    def serve(self, route, handle):
        """Log the request, then do what the next fault of the route says, or `handle`."""
        with self.server.lock:
            self.server.log.append((route, getattr(self, "body", self.path), dict(self.headers)))
        self.fault = fault = self.server.take_fault(route)
        if fault.isdigit():
            self.refuse(int(fault), {"429": "rate_limit_error", "529": "overloaded_error"}.get(fault, "api_error"))
        elif fault == "drop":
            self.hang_up()
        elif fault == "silent":
            self.stay_silent()
        elif fault == "garbage":
            self.send_bytes(b"<html>", "text/html")
        else:
            handle()

    # ---------------------------------------------------------------- routes

    def create_message(self):
        result = self.server.answer(self.body, factor=1.0)
        if self.fault == "answered, drop":
            self.hang_up()
        elif result["type"] == "errored":
            status = {"invalid_request_error": 400, "rate_limit_error": 429, "overloaded_error": 529}
            self.refuse(status.get(result["error"]["error"]["type"], 500), result["error"]["error"]["type"])
        elif result["type"] != "succeeded":
            self.refuse(500, "api_error")
        else:
            self.send_json(result["message"])

    def create_batch(self):
        names = [request["custom_id"] for request in self.body["requests"]]
        if len(set(names)) < len(names) or not all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", name) for name in names):
            self.refuse(400, "invalid_request_error")
            return
        batch = self.server.accept(self.body["requests"])
        if self.fault == "accepted, kill":
            self.server.kill_victim()
        elif self.fault == "accepted, drop":
            self.hang_up()
        elif self.fault == "accepted, 500":
            self.refuse(500, "api_error")
        elif self.fault == "accepted, silent":
            self.stay_silent()
        elif self.fault == "accepted, garbage":
            self.send_bytes(b"<html>", "text/html")
        else:
            self.send_json(self.server.describe(batch))

    def list_batches(self):
        after = re.search("after_id=([a-z_0-9]+)", self.path)
        with self.server.lock:
            found = []
            for batch in reversed(self.server.batches.values()):
                batch.late -= 1
                if batch.late < 0:
                    found.append(self.server.look_at(batch))
        names = [batch["id"] for batch in found]
        start = names.index(after[1]) + 1 if after else 0
        page = found[start : start + self.server.page]
        more = start + len(page) < len(found)
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        self.send_json({"data": page, "has_more": more, **ends})

    def send_results(self):
        data = self.server.write_results(self.batch)
        if self.fault in ("cut", "kill"):  # in the middle of a line
            self.start(200, {"Content-Length": str(len(data))})
            self.wfile.write(data[: len(data) * 2 // 3])
            self.wfile.flush()
            if self.fault == "kill":
                while not self.server.is_due() and not self.server.is_over.wait(0.01):
                    pass
                self.server.kill_victim()
            self.hang_up()
        elif self.fault == "cut politely":
            self.send_bytes(data[: len(data) * 2 // 3], "application/binary")
        elif self.fault == "lacking":
            self.send_bytes(b"".join(data.splitlines(True)[1:]), "application/binary")
        elif self.fault == "empty":
            self.send_bytes(b"", "application/binary")
        else:
            self.send_bytes(data, "application/binary")

    # ---------------------------------------------------------------- replies

    def start(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_bytes(self, data, kind, status=200, **headers):
        self.start(status, {"Content-Length": str(len(data)), "Content-Type": kind, **headers})
        self.wfile.write(data)

    def send_json(self, value):
        self.send_bytes(json.dumps(value).encode(), "application/json")

    def refuse(self, status, kind):
        said = f"no, {self.headers.get('Authorization')} {self.headers.get('X-Api-Key')}"  # a tactless server
        body = {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_1"}
        self.send_bytes(json.dumps(body).encode(), "application/json", status, **{"Retry-After": "0.02"})

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def stay_silent(self):
        self.server.is_over.wait(5)
        self.close_connection = True


@contextmanager
def serve_claude(**state):
    """A running server, with these of its attributes set, and its address in `url`."""
    with ClaudeServer() as server:
        for name, value in state.items():
            setattr(server, name, value)
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
            thread.join()
