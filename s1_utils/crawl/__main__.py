"""The two crawled sources from a shell: a file of questions that `sources` of notebook 1 takes.

python -m s1_utils.crawl exams https://statistics.example.edu/quals/ --contact me@example.edu --out exams.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from s1_utils import paths
from s1_utils.crawl import crawl_exams, crawl_teasers, tabulate_failures
from s1_utils.crawl.fetch import Fetcher
from s1_utils.crawl.request import Manners
from s1_utils.errors import StudyError
from s1_utils.store import write_atomically


def main(arguments: list[str] | None = None) -> int:
    """Crawl one site; 1 if it gave no question."""
    parser = argparse.ArgumentParser(prog="python -m s1_utils.crawl", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["exams", "teasers"], help="PDFs of exams, or pages of puzzles")
    parser.add_argument("url", help="the page with the links")
    parser.add_argument("--contact", required=True, help="your e-mail address or web page, sent with every request")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines to write")
    parser.add_argument("--cache", type=Path, default=paths.find_runs() / "crawl", help="folder of raw pages, reused")
    parser.add_argument("--delay", type=float, default=2.0, help="seconds between requests to a host")
    parser.add_argument("--licence", default="see the site", help="written into every row")
    chosen = parser.parse_args(arguments)
    crawl = {"exams": crawl_exams, "teasers": crawl_teasers}[chosen.kind]
    try:
        manners = Manners(chosen.contact, (urlsplit(chosen.url).netloc,), delay=chosen.delay)
        found = crawl(chosen.url, Fetcher(chosen.cache, manners), licence=chosen.licence)
        with write_atomically(chosen.out) as path:
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows), "utf-8")
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failures = tabulate_failures(found)
    if len(failures):
        print(failures.to_string(index=False), file=sys.stderr)
    passed = ", ".join(f"{name}: {count}" for name, count in found.passed_over.items())
    print(f"{len(found.rows)} questions in {chosen.out}; {len(failures)} failures. Passed over: {passed or 'nothing'}.")
    return 0 if found.rows else 1


if __name__ == "__main__":
    sys.exit(main())
