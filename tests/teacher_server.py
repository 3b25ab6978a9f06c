"""A small server that teaches: chat completions in three forms, in every style of thinking, with faults on request.

OpenAI's and Anthropic's are streamed unless the request doesn't ask for it, Gemini's (generateContent) never.

It keeps its own account of the tokens it generated, also for replies that never arrived whole.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-very-secret-0123456789"
INPUT_PRICE, OUTPUT_PRICE = 3.0, 20.0  # USD per million tokens


def think(question):
    """The thinking that belongs to a question: long for some, with letters of two to four bytes."""
    return f"Let me see: {question}?" + " Wait… é, 好, 😀." * (1 + len(question) % 7)


def answer(question):
    return f"It is clear.\nFinal Answer: {question.split()[-1]}"


class TeacherServer(ThreadingHTTPServer):
    """`faults`: question → what goes wrong with its requests, one each, then nothing; "*" is for all others, for ever.

    `style`: field, other field, inline, closing (only the closing marker) or thought (Gemini's markers).
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, faults=None, *, style="field", delay=0.0):
        super().__init__(("127.0.0.1", 0), TeacherHandler)
        self.faults = {question: list(each) for question, each in (faults or {}).items()}
        self.style, self.delay = style, delay
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.asked = []  # (time, question, headers, body)
        self.tokens_in = self.tokens_out = self.under_way = self.most_under_way = 0

    def handle_error(self, request, address):
        """Clients hang up, and are killed."""

    @property
    def usd(self):
        return (self.tokens_in * INPUT_PRICE + self.tokens_out * OUTPUT_PRICE) / 1e6

    def charge(self, question, tokens_out):
        with self.lock:
            self.tokens_in += len(question.split()) + 7
            self.tokens_out += tokens_out

    def pick_fault(self, question):
        if own := self.faults.get(question):
            return own.pop(0)
        return "" if question in self.faults else self.faults.get("*", [""])[0]


class TeacherHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = read_question(body)
        server = self.server
        with server.lock:
            fault = server.pick_fault(question)
            server.asked.append((time.monotonic(), question, dict(self.headers), body))
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            server.closing.wait(server.delay)
            self.reply(body, question, fault)
        finally:
            with server.lock:
                server.under_way -= 1

    def reply(self, body, question, fault):
        if fault[:3].isdigit():
            return self.send_whole(int(fault[:3]), f"{fault[3:]} {self.headers['Authorization']}".encode())  # tactless
        if fault == "hang up":
            return self.hang_up()
        if fault == "silent":
            return self.server.closing.wait(60)
        events, tokens = self.write_events(body, question, fault)
        is_broken = fault in ("cut", "stall", "endless", "drip", "garbage", "latin", "error within", "no finish")
        self.server.charge(question, read_limit(body) if is_broken else tokens)
        if fault == "plain" or not body.get("stream"):
            document = json.dumps(self.write_document(body, question, tokens, fault), indent=1).encode()
            return self.send_document(document, fault)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        return self.stream(events, fault)

    def write_events(self, body, question, fault):
        """(the events of a reply, how many tokens it is)."""
        thinking = "" if fault == "no thinking" else think(question)
        attempt = "" if fault == "no attempt" else answer(question)
        finish = fault if fault in ("length", "content_filter", "recitation", "abort") else "stop"
        tokens = len(thinking.split()) + len(attempt.split()) + 3
        if fault == "length":
            attempt, tokens = "", read_limit(body)
        usage = {"no usage": None, "bad usage": -5}.get(fault, tokens)
        if self.path.endswith("/v1/messages"):
            return list(write_anthropic(question, thinking, attempt, finish, usage)), tokens
        pieces = list(write_pieces(thinking, attempt, self.server.style, is_closed=fault != "unclosed"))
        return list(write_openai(question, pieces, finish, usage)), tokens

    def write_document(self, body, question, tokens, fault):
        if self.path.endswith(":generateContent"):
            return write_gemini(question, tokens, fault)
        if self.path.endswith("/v1/messages"):
            blocks = [{"type": "thinking", "thinking": think(question)}, {"type": "text", "text": answer(question)}]
            usage = {"input_tokens": len(question.split()) + 7, "output_tokens": tokens}
            return {"type": "message", "content": blocks, "stop_reason": "end_turn", "usage": usage}
        finish = fault if fault in ("length", "content_filter") else "stop"
        content = "" if fault == "length" else answer(question)
        message = {"role": "assistant", "reasoning_content": think(question), "content": content}
        details = {"reasoning_tokens": len(think(question).split())}
        usage = {"prompt_tokens": len(question.split()) + 7, "completion_tokens": tokens}
        usage["completion_tokens_details"] = details
        return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}

    def send_document(self, document, fault):
        if fault == "garbage":
            return self.send_whole(200, b'{"choices": [{]}')
        if fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document[: len(document) // 2])
            return self.hang_up()
        return self.send_whole(200, document)

    def stream(self, events, fault):
        half = len(events) // 2
        for number, event in enumerate(events):
            if number == half and fault == "cut":
                return self.hang_up(b'data: {"choices": [{"del')
            if number == half and fault == "stall":
                return self.server.closing.wait(60)
            if number == half and fault == "no finish":
                break
            while number == half and fault == "drip" and not self.server.closing.wait(0.02):
                self.send(b": keep-alive\n\n")
            while number == half and fault == "endless":
                self.send(b"data: " + b"x" * 2**16)
            if number == half and fault in ODD_EVENTS:
                self.send(ODD_EVENTS[fault])
            self.send_event(f"data: {event}\n\n".encode(), fault)
        self.send(b"")
        return None

    def send_event(self, data, fault):
        if fault == "comments":
            self.send(b": OPENROUTER PROCESSING\r\n\r\nid: 1\r\nevent: chunk\r\nretry: 10\r\n")
            data = data.replace(b"\n", b"\r\n")
        size = 1 if fault == "single bytes" else len(data)
        for start in range(0, len(data), size):
            self.send(data[start : start + size])

    def send_whole(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0.3")
        self.end_headers()
        self.wfile.write(body)

    def send(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def hang_up(self, last=b""):
        if last:
            self.send(last)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def read_question(body):
    return body["messages"][-1]["content"] if "messages" in body else body["contents"][-1]["parts"][0]["text"]


def read_limit(body):
    """The most tokens of a reply, by whatever name the request has for it."""
    named = [body.get("max_tokens"), body.get("max_completion_tokens")]
    return next(filter(None, named), body.get("generationConfig", {}).get("maxOutputTokens", 1000))


def write_gemini(question, tokens, fault):
    """A document of generateContent; "recitation" and "safety" leave no parts, "blocked" not even a candidate."""
    counts = {"promptTokenCount": len(question.split()) + 7}
    if fault == "blocked":
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": counts}
    if fault in ("recitation", "safety"):
        return {"candidates": [{"finishReason": fault.upper(), "index": 0}], "usageMetadata": counts}
    thought = len(think(question).split())
    counts |= {"candidatesTokenCount": tokens - thought, "thoughtsTokenCount": thought}
    counts["totalTokenCount"] = counts["promptTokenCount"] + tokens
    parts = [{"text": think(question), "thought": True}, {"text": "" if fault == "length" else answer(question)}]
    finish = {"length": "MAX_TOKENS"}.get(fault, "STOP")
    content = {"role": "model", "parts": parts}
    return {"candidates": [{"content": content, "finishReason": finish}], "usageMetadata": counts}


ODD_EVENTS = {
    "garbage": b"data: {]\n\n",
    "latin": b'data: {"choices": [{"delta": {"content": "\xe9t\xe9"}}]}\n\n',
    "error within": b'data: {"error": {"message": "overloaded", "code": 503}}\n\n',
}


def write_pieces(thinking, attempt, style, *, is_closed=True):
    """The deltas of one reply: words, markers in pieces."""
    if style in ("field", "other field"):
        name = "reasoning_content" if style == "field" else "reasoning"
        yield from ({name: word} for word in cut(thinking))
        yield from ({"content": word} for word in cut(attempt))
        return
    opening, closing = ("<thought>", "</thought>") if style == "thought" else ("<think>", "</think>")
    text = (opening + "\n") * (style != "closing") + thinking
    text += ("\n" + closing + "\n\n") * is_closed + attempt
    yield from ({"content": text[i : i + 3]} for i in range(0, len(text), 3))


def cut(text):
    return [text[i : i + 9] for i in range(0, len(text), 9)]


def write_openai(question, pieces, finish, usage):
    yield json.dumps({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
    for piece in pieces:
        delta = {"content": None, **piece}
        yield json.dumps({"choices": [{"delta": delta, "finish_reason": None}]}, ensure_ascii=False)
    yield json.dumps({"choices": [{"delta": {}, "finish_reason": finish}], "usage": None})
    if usage is not None:
        counts = {"prompt_tokens": len(question.split()) + 7, "completion_tokens": usage}
        yield json.dumps({"choices": [], "usage": counts})
    yield "[DONE]"


def write_anthropic(question, thinking, attempt, finish, usage):
    counts = {"input_tokens": len(question.split()) + 7, "output_tokens": 1}
    yield json.dumps({"type": "message_start", "message": {"type": "message", "content": [], "usage": counts}})
    blocks = (("thinking", thinking), ("text", attempt))
    for index, (name, text) in enumerate(blocks):
        block = {"type": name, name: ""}
        yield json.dumps({"type": "content_block_start", "index": index, "content_block": block})
        yield json.dumps({"type": "ping"})
        for piece in cut(text):
            delta = {"type": f"{name}_delta", name: piece}
            yield json.dumps({"type": "content_block_delta", "index": index, "delta": delta}, ensure_ascii=False)
        yield json.dumps({"type": "content_block_stop", "index": index})
    reason = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}.get(finish, finish)
    used = {} if usage is None else {"usage": {"output_tokens": usage}}
    yield json.dumps({"type": "message_delta", "delta": {"stop_reason": reason}, **used})
    yield json.dumps({"type": "message_stop"})


@contextmanager
def serve(faults=None, **options):
    """(the server, its address) while the block runs."""
    with TeacherServer(faults, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
