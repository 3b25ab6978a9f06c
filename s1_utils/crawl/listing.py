"""The links of a list that goes over several web pages.

Knows how lists lead from page to page; knows nothing about what the links lead to. What couldn't be read is returned
as failures beside the links, never lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from s1_utils.crawl.fetch import Failure, Fetcher, Page
from s1_utils.crawl.html_text import Link, read_links
from s1_utils.crawl.request import clean_url

HTML_TYPES = ("text/html", "application/xhtml+xml")
MOST_LINKS = 5000


def find_links(
    start_url: str,
    fetcher: Fetcher,
    *,
    is_wanted: Callable[[Link], bool],
    is_list: Callable[[Link], bool],
    most: int,
) -> tuple[list[Link], list[Failure]]:
    """(the wanted links, each address once, in order; failures) of the start page and of all that `is_list` leads to.

    List pages are of the start page's host; at most `most` of them are read, and at most MOST_LINKS links returned.
    """
    try:
        pending = [clean_url(start_url)]
    except ValueError as error:
        return [], [Failure(start_url, f"an address that can't be used: {error}")]
    host = urlsplit(pending[0]).netloc
    listed, wanted, failures = set(pending), {}, []
    for done, url in enumerate(pending, 1):  # it grows while we go along it
        if done > most:
            failures.append(Failure(url, f"not read: there are more than {most} list pages"))
            continue
        html = fetch_html(fetcher, url)
        if isinstance(html, Failure):
            failures.append(html)
            continue
        for link in read_links(html[1], html[0].final_url):
            if is_wanted(link):
                wanted.setdefault(link.url, link)
            elif link.url not in listed and urlsplit(link.url).netloc == host and is_list(link):
                listed.add(link.url)
                pending.append(link.url)
    links = list(wanted.values())
    if len(links) > MOST_LINKS:
        failures.append(Failure(start_url, f"{len(links) - MOST_LINKS} links left out, beyond the first {MOST_LINKS}"))
    return links[:MOST_LINKS], failures


def fetch_html(fetcher: Fetcher, url: str) -> tuple[Page, str] | Failure:
    """A web page and its text."""
    page = fetcher.fetch(url)
    if isinstance(page, Failure):
        return page
    if read_type(page) not in HTML_TYPES:
        return Failure(page.url, f"sent as {read_type(page)[:60]!r}, not as a web page")
    charset = re.search(r"charset=[\"']?(iso-8859-1|windows-1252|us-ascii)", page.content_type.lower())
    return page, page.body.decode(charset[1] if charset else "utf-8", "replace")


def read_type(page: Page) -> str:
    """The media type a page was sent as, without its parameters."""
    return page.content_type.partition(";")[0].strip().lower()
