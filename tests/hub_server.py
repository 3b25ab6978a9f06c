"""As much of a hub as its real client needs to make a repository and upload a folder: in memory, on this machine.

Small files come in the commit. Large ones come as hf-xet sends them, into a folder that stands for the content store
(its client's own local:// scheme), or, where xet is switched off, by Git LFS into `objects`. `fail` maps a part of a
path to the status that requests for it get; `stall` to what a request for it does before it is answered.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

SMALL = 1_000_000  # bytes of a file that comes in the commit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.read_body())

    do_PUT = do_POST

    def read_body(self) -> bytes:
        if length := self.headers.get("Content-Length"):
            return self.rfile.read(int(length))
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def answer(self, body: bytes) -> None:
        path, hub = urlparse(self.path).path, self.server
        hub.asked.append((self.command, path, self.headers.get("Authorization")))
        for part, stall in hub.stall.items():
            if part in path:
                stall()
        status = next((status for part, status in hub.fail.items() if part in path), 0)
        if not status and self.headers.get("Authorization") not in (f"Bearer {hub.token}", None):
            status = 401
        with hub.lock:
            status, document = (status, {"error": "no"}) if status else hub.handle(self.command, path, body)
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, store: Path, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store, self.token, self.lock = store, token, threading.Lock()
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str, str | None]] = []
        self.repositories: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.fail: dict[str, int] = {}
        self.stall: dict[str, Callable[[], None]] = {}

    def handle(self, command: str, path: str, body: bytes) -> tuple[int, Any]:
        """The status and the document of the answer."""
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, self.list_actions(json.loads(body))
        if path.startswith("/objects/"):
            self.objects[path.removeprefix("/objects/")] = body
            return 200, {}
        parts = path.removeprefix("/api/").split("/")
        repository = self.repositories.get("/".join(parts[:3]))
        if repository is None:
            return 404, {"error": "Repository not found"}
        action = parts[3] if len(parts) > 3 else "info"
        if action == "preupload":
            return 200, {"files": [self.sort_file(repository, file) for file in json.loads(body)["files"]]}
        if action == "xet-write-token":
            where = f"local://{self.store}"
            return 200, {"accessToken": "of the store", "exp": int(time.time()) + 3600, "casUrl": where}
        if action == "commit":
            return self.commit("/".join(parts[:3]).removeprefix("models/"), repository, body)
        return 200, {**repository["info"], "siblings": [{"rfilename": name} for name in repository["files"]]}

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        key = f"{asked.get('type', 'model')}s/{name}"
        if key in self.repositories:
            return 409, {"error": "You already created this repository", "url": f"{self.address}/{name}"}
        private = asked.get("private", asked.get("visibility") == "private")
        info = {"_id": "0", "id": name, "private": private, "sha": "0" * 40, "tags": [], "gated": False}
        self.repositories[key] = {"info": info, "files": {}, "commits": []}
        return 200, {"url": f"{self.address}/{name}", "name": name, "id": "0"}

    def sort_file(self, repository: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
        there = repository["files"].get(file["path"])
        mode = "lfs" if file["size"] > SMALL or file["path"].endswith((".safetensors", ".parquet")) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": there and there["oid"]}

    def list_actions(self, asked: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for each in asked["objects"]:
            upload = {"upload": {"href": f"{self.address}/objects/{each['oid']}", "header": {}}}
            objects.append(each if each["oid"] in self.objects else {**each, "actions": upload})
        return {"transfer": "basic", "objects": objects}

    def commit(self, name: str, repository: dict[str, Any], body: bytes) -> tuple[int, Any]:
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                content = base64.b64decode(value["content"])
                blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
                repository["files"][value["path"]] = {"content": content, "oid": blob}
            elif item["key"] == "lfsFile":
                repository["files"][value["path"]] = {
                    "sha256": value["oid"],
                    "oid": value["oid"],
                    "size": value["size"],
                }
        repository["commits"].append(len(body))
        oid = f"{len(repository['commits']):040x}"
        repository["info"]["sha"] = oid
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{oid}", "commitOid": oid, "success": True}


@contextmanager
def serve(store: Path, token: str) -> Iterator[HubServer]:
    server = HubServer(store, token)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
