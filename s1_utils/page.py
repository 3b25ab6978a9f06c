"""A report of a run as one HTML file: the claims, the figures, how it was run, and a trace explorer.

  python -m s1_utils.page laptop [--out FILE]

Knows the order of the parts and how large the whole may get; what is in them is `page_sections`' and `explorer`'s. The
file loads nothing from anywhere and is at most LARGEST_PAGE bytes: the explorer takes what the other parts leave, and
says how many of the questions it shows. Tests: tests/test_page.py, in a browser tests/test_page_browser.py.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

from s1_utils import explorer, page_run, page_sections, page_traces
from s1_utils.errors import StudyError
from s1_utils.page_shell import write_document
from s1_utils.store import write_atomically

LARGEST_PAGE = 5_000_000  # bytes
LEAST_ROOM = 20_000  # bytes, below which an explorer isn't worth its place


def write_report(name: str, out: Path | None = None) -> Path:
    """Write the report of the run `name` to `out`, or <run>/report.html; where it is.

    Raises StudyError for a run that isn't there, tables that can't be read, and parts that leave no room.
    """
    run = page_run.read_run(name)
    ledger, source = page_run.read_ledger(run)
    is_finished = not run.unfinished
    figures, drawn = page_run.list_figures(run) if is_finished else ([], "")
    sections = [
        ("claims", "Claims", page_sections.write_claims(ledger, source, is_finished=is_finished, run=run.profile)),
        ("figures", "Figures", page_sections.write_figures(figures, drawn)),
        ("method", "How it was run", page_sections.write_method(run)),
    ]
    names = [(anchor, title) for anchor, title, _ in sections]
    parts = [page_sections.write_head(run), page_sections.write_contents([*names, ("explorer", "Trace explorer")])]
    parts += [f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>' for anchor, title, body in sections]
    static = "\n".join(parts)
    title = f"s1-study: {run.name}"
    room = LARGEST_PAGE - len(_write_page(title, static, "").encode("utf-8")) - LEAST_ROOM
    if room < LEAST_ROOM:
        raise StudyError(f"The claims and figures leave no room in {LARGEST_PAGE:,} bytes: draw fewer figures.")
    path = out or run.folder / "report.html"
    content = _write_page(title, static, _write_explorer(run, room)).encode("utf-8")
    if len(content) > LARGEST_PAGE:
        raise StudyError(f"The page has {len(content):,} bytes, more than {LARGEST_PAGE:,}: please report this.")
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)
    return path


def _write_page(title: str, static: str, traces: str) -> str:
    return write_document(title, f"<main>\n{static}\n{traces}\n</main>")


def _write_explorer(run: page_run.Run, room: int) -> str:
    found = page_traces.read_traces(run)
    if found is None:
        return (
            '<section id="explorer"><h2>Trace explorer</h2><p>No traces yet: notebook 4 isn\'t finished.</p></section>'
        )
    options = {"decode": found.decode, "limit": room, "total": found.total}
    return explorer.write_section(explorer.make_explorer(found.tests, found.graded, found.samples, **options), level=2)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m s1_utils.page", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a profile, or a run's name")
    parser.add_argument("--out", type=Path, help="default: report.html in the run's folder")
    chosen = parser.parse_args(arguments)
    try:
        path = write_report(chosen.run, chosen.out)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
