"""The text of a PDF that nobody vouches for.

Knows pypdf and the limits of the child process that runs it; knows nothing about what the text says. The child runs
this file as a script: with a limit of memory and of time, so that a malicious PDF can't hang or blow up the run.
Source: the paper's s1-prob comes from PDFs (section 2.1). Formulas come out as pypdf reads them, not as TeX.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

TAIL = 2048  # bytes at the end in which a whole PDF says so


@dataclass(frozen=True)
class PdfLimits:
    """`seconds` and `memory` (bytes of address space) of the child; beyond `pages` or `characters` a PDF is refused."""

    pages: int = 500
    characters: int = 2_000_000
    seconds: int = 60
    memory: int = 2**30


@dataclass(frozen=True)
class PdfText:
    """Its title ("" if it has none) and the text of every page, "" where there is none."""

    title: str
    pages: tuple[str, ...]


class PdfError(Exception):
    """A PDF that can't be used; the message is the reason."""


def read_pdf(content: bytes, limits: PdfLimits = PdfLimits()) -> PdfText:
    """The text of all pages. Raises PdfError for anything that isn't a whole, open PDF with a text layer."""
    if b"%PDF-" not in content[:1024]:
        is_html = content[:1024].lstrip().lower().startswith((b"<!doctype", b"<html"))
        raise PdfError("HTML, not a PDF" if is_html else "not a PDF")
    if b"%%EOF" not in content[-TAIL:]:
        raise PdfError("truncated: its end is missing")
    # -P: a script's own folder isn't searched for modules, ours are named like others'
    command = [sys.executable, "-P", str(Path(__file__).resolve()), json.dumps(asdict(limits))]
    try:
        done = subprocess.run(
            command, input=content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limits.seconds + 5
        )
    except subprocess.TimeoutExpired:
        raise PdfError(f"took longer than {limits.seconds} s to read") from None
    return _judge(done, limits)


def _judge(done: subprocess.CompletedProcess[bytes], limits: PdfLimits) -> PdfText:
    if done.returncode in (-signal.SIGKILL, -signal.SIGXCPU):
        raise PdfError(f"took longer than {limits.seconds} s to read, or too much memory")
    if done.returncode:
        raise PdfError(f"its reader died (status {done.returncode})")
    said = json.loads(done.stdout)
    if "error" in said:
        raise PdfError(said["error"])
    if not any(page.strip() for page in said["pages"]):
        raise PdfError("no text layer: scanned or drawn pages only" if said["pages"] else "no pages")
    return PdfText(said["title"], tuple(said["pages"]))


# ------------------------------------------------------------------ the child


def _extract(content: bytes, limits: PdfLimits) -> dict[str, object]:
    import io

    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted:
        return {"error": "encrypted"}
    if len(reader.pages) > limits.pages:
        return {"error": f"{len(reader.pages)} pages, more than {limits.pages}"}
    pages: list[str] = []
    for page in reader.pages:
        pages.append(page.extract_text())
        if sum(map(len, pages)) > limits.characters:
            return {"error": f"more than {limits.characters} characters"}
    title = reader.metadata.title if reader.metadata else None
    return {"title": str(title or "")[:500], "pages": pages}


def _limit_self(limits: PdfLimits) -> None:
    import resource

    wanted = {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_CPU: limits.seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit of address space; the time limit holds
            resource.setrlimit(kind, (most, most))


def _main() -> None:
    limits = PdfLimits(**json.loads(sys.argv[1]))
    _limit_self(limits)
    try:
        said = _extract(sys.stdin.buffer.read(), limits)
    except MemoryError:
        said = {"error": f"needs more than {limits.memory / 2**20:.0f} MiB of memory"}
    except Exception as error:  # on hostile input a parser may raise anything; all of it is a reason
        said = {"error": f"broken: {type(error).__name__}: {error}"[:300]}
    print(json.dumps(said))


if __name__ == "__main__":
    _main()
