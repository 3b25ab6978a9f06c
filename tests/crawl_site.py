"""A site of exams and puzzles on this machine, and PDFs of every kind: what the crawler is tested against."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from s1_utils.crawl.fetch import Fetcher
from s1_utils.crawl.request import Manners


class Site(ThreadingHTTPServer):
    """`pages`: path (with query) → body, or (status, headers, body). `faults`: path → what the next requests get first.

    A fault is a (status, headers, body), or the name of one that `Handler.fail` plays. `hold`: paths that must wait.
    """

    daemon_threads = True

    def __init__(self, pages):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.faults, self.hold = pages, {}, {}
        self.lock = threading.Lock()
        self.asked, self.times, self.agents = [], [], set()
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}"

    def handle_error(self, request, address):
        """The crawler hangs up where it has seen enough."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        site = self.server
        with site.lock:
            site.asked.append(self.path)
            site.times.append(time.monotonic())
            site.agents.add(self.headers["User-Agent"])
            fault = site.faults[self.path].pop(0) if site.faults.get(self.path) else None
        if self.path in site.hold:
            site.hold[self.path].wait(30)
        if isinstance(fault, str):
            return self.fail(fault)
        status, headers, body = fault or self.find_page()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        return None

    def find_page(self):
        page = self.server.pages.get(self.path, (404, {}, b"nothing here"))
        if isinstance(page, tuple):
            return page
        body = page if isinstance(page, bytes) else page.encode()
        kind = "application/pdf" if self.path.endswith(".pdf") else "text/html; charset=utf-8"
        return 200, {"Content-Type": "text/plain" if self.path == "/robots.txt" else kind, "ETag": '"one"'}, body

    def fail(self, fault):
        self.close_connection = True
        if fault == "hang up":
            return self.connection.shutdown(socket.SHUT_RDWR)
        if fault == "silence":
            return time.sleep(3)
        if fault == "drip in the header":
            return self.drip(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        if fault == "cut":
            self.send_header("Content-Length", "1000")
        self.end_headers()
        if fault == "cut":
            return self.wfile.write(b"<html>half a page")
        if fault == "drip":
            return self.drip(b"<html>")
        while fault == "endless":
            self.wfile.write(b"x" * 2**16)
        raise ValueError(fault)

    def drip(self, start):
        self.wfile.write(start)
        for _ in range(60):
            self.wfile.write(b"x")
            time.sleep(0.05)


@contextmanager
def serve(pages):
    """The running site; a robots.txt that allows everything unless `pages` has one."""
    with Site({"/robots.txt": "User-agent: *\nDisallow:\n", **pages}) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            for event in site.hold.values():
                event.set()
            site.shutdown()
            thread.join()


class Clock:
    """A clock that only sleeping moves; `slept`: how long, each time."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class RealClock:
    """The machine's own."""

    def __call__(self):
        return time.monotonic()

    def sleep(self, seconds):
        time.sleep(seconds)


def make_fetcher(folder, site, clock=None, **manners):
    clock = clock or Clock()
    wanted = {"contact": "tests@example.org", "hosts": (site.host,), "silence": 1.0, "seconds": 5.0, **manners}
    return Fetcher(folder, Manners(**wanted), clock=clock, sleep=clock.sleep)


# ------------------------------------------------------------------ PDFs, written by hand


def write_objects(objects, trailer=""):
    """A whole PDF file of these objects (numbered from 1; the first is the catalogue)."""
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += (
            f"{number} 0 obj\n".encode() + (content if isinstance(content, bytes) else content.encode()) + b"\nendobj\n"
        )
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R {trailer}>>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


def make_stream(content, extra=""):
    return f"<< /Length {len(content)} {extra}>>\nstream\n".encode() + content + b"\nendstream"


def make_pdf(pages, title=""):
    """A PDF with these pages, a list of lines each."""
    kids = " ".join(f"{5 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({escape(title)}) >>",
    ]
    for i, lines in enumerate(pages):
        shown = "".join(f"({escape(line)}) Tj T*\n" for line in lines)
        objects.append(make_page(f"{6 + 2 * i} 0 R"))
        objects.append(make_stream(f"BT /F1 9 Tf 60 780 Td 11 TL\n{shown}ET".encode("latin-1")))
    return write_objects(objects, "/Info 4 0 R ")


def make_page(contents):
    return (
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F1 3 0 R >> >> "
        f"/Contents {contents} >>"
    )


def escape(text):
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def make_scan():
    """A page that is only a picture."""
    picture = make_stream(
        b"\x80", "/Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 "
    )
    page = (
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Resources << /XObject << /I 5 0 R >> >> /Contents 4 0 R >>"
    )
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    catalogue = "<< /Type /Catalog /Pages 2 0 R >>"
    return write_objects([catalogue, pages, page, make_stream(b"/I Do"), picture])


def make_encrypted(pages):
    """With a password, as pypdf's writer makes it."""
    import io

    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf(pages)))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def make_page_bomb(depth=12, width=10):
    """A few hundred bytes whose page tree has width**depth pages: every level names the next one `width` times."""
    levels = [f"<< /Type /Pages /Kids [{f'{i + 3} 0 R ' * width}] /Count {width**9} >>" for i in range(depth)]
    return write_objects(["<< /Type /Catalog /Pages 2 0 R >>", *levels, make_page("1 0 R")])


def make_packed(pieces, size):
    """One page whose content is `pieces` over and over, to `size` bytes, packed."""
    packer = zlib.compressobj(9)
    piece = pieces * (2**20 // len(pieces))
    packed = b"".join(packer.compress(piece) for _ in range(size // len(piece))) + packer.flush()
    return write_objects(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            make_page("5 0 R"),
            make_stream(packed, "/Filter /FlateDecode "),
        ]
    )
