"""Pages of a few named sites, fetched slowly, once each, and kept.

Knows robots.txt, waiting, retries and the folder of pages it keeps; knows nothing about what is on a page. Every
address gives a Page or a Failure with its reason, never an exception. A page that was fetched is never asked for
again, also after SIGKILL; a failure is tried again by the next run. Source: RFC 9309, which would allow a site whose
robots.txt answers 401 or 403: we don't.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from s1_utils.crawl.request import AGENT, LONGEST_URL, Failed, Manners, Reply, clean_url, get
from s1_utils.crawl.robots import Rules, is_allowed, read_rules
from s1_utils.retry_after import read_delay
from s1_utils.store import write_atomically, write_json

ROBOTS_SIZE = 512 * 1024  # bytes; RFC 9309 asks for 500 KiB at least
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Page:
    """One reply with status 200, its bytes as they came."""

    url: str
    final_url: str
    status: int
    content_type: str
    sha256: str
    fetched_at: str
    etag: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Failure:
    """What was not got from `url`, and why. `attempts`: the requests that were sent for it in vain."""

    url: str
    reason: str
    attempts: int = 0


class Fetcher:
    """Fetches addresses, one at a time, into `folder`. `clock` and `sleep` are there to be replaced in tests."""

    def __init__(
        self,
        folder: Path,
        manners: Manners,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder, self.manners = folder, manners
        self._clock, self._sleep = clock, sleep
        self._ended: dict[str, float] = {}  # by host: when its last request ended
        self._resting: dict[str, float] = {}  # by host: until when it wants to be left alone
        self._rules: dict[str, Rules | str] = {}  # by origin; a text says why nothing may be asked for
        self._sent = 0

    def fetch(self, url: str) -> Page | Failure:
        """The page at `url`, from the folder if it is there. Raises StudyError if the folder can't be written."""
        before = self._sent
        try:
            address = _clean(url)
            kept = self._find_kept(address)
            if kept is not None:
                return kept
            reply, final = self._insist(lambda: self._follow(address))
        except Failed as failed:
            hidden = re.sub("//[^/]*@", "//***@", url)[:LONGEST_URL]
            return Failure(hidden, str(failed), self._sent - before)
        page = Page(
            url=address,
            final_url=final,
            status=reply.status,
            content_type=reply.headers.get("content-type", "")[:200],
            sha256=hashlib.sha256(reply.body).hexdigest(),
            fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
            etag=reply.headers.get("etag", "")[:200],
            body=reply.body,
        )
        self._keep(page)
        return page

    # ------------------------------------------------------------------ what is kept

    def _name_files(self, url: str) -> tuple[Path, Path]:
        key = hashlib.sha256(url.encode()).hexdigest()
        return self.folder / f"{key}.json", self.folder / f"{key}.body"

    def _find_kept(self, url: str) -> Page | None:
        record, body = self._name_files(url)
        try:
            page = Page(**json.loads(record.read_text("utf-8")), body=body.read_bytes())
        except (FileNotFoundError, ValueError, TypeError):
            return None
        is_whole = page.url == url and page.sha256 == hashlib.sha256(page.body).hexdigest()
        return page if is_whole else None

    def _keep(self, page: Page) -> None:
        record, body = self._name_files(page.url)
        with write_atomically(body) as temporary:
            temporary.write_bytes(page.body)
        write_json(record, {name: value for name, value in asdict(page).items() if name != "body"})

    # ------------------------------------------------------------------ what is asked

    def _insist(self, send: Callable[[], tuple[Reply, str]]) -> tuple[Reply, str]:
        for tries in range(1, self.manners.attempts + 1):
            try:
                return send()
            except Failed as failed:
                if not failed.may_pass or tries == self.manners.attempts:
                    raise
            self._sleep(min(self.manners.backoff * 2 ** (tries - 1), self.manners.longest_delay))
        raise Failed("attempts is 0")

    def _follow(self, url: str, *, is_robots: bool = False) -> tuple[Reply, str]:
        """The reply at the end of all redirects, and its address; every address on the way must be allowed."""
        address = url
        for _ in range(self.manners.redirects + 1):
            if not is_robots:
                self._require_allowed(address)
            self._wait(urlsplit(address).netloc)
            self._sent += not is_robots
            reply = self._send(address, ROBOTS_SIZE if is_robots else self.manners.size)
            is_missing = 400 <= reply.status < 500 and reply.status not in (401, 403, 408, 425, 429)
            if reply.status == 200 or (is_robots and is_missing):
                return reply, address
            if reply.status not in REDIRECTS:
                raise Failed(f"status {reply.status}", may_pass=reply.status in (408, 425, 429) or reply.status >= 500)
            address = _clean(reply.headers.get("location", ""), address)
            if not self._is_named(address):
                raise Failed(f"redirected to {urlsplit(address).netloc[:100]}, which isn't among hosts")
        raise Failed(f"more than {self.manners.redirects} redirects")

    def _is_named(self, url: str) -> bool:
        return urlsplit(url).netloc in [host.lower() for host in self.manners.hosts]

    def _require_allowed(self, url: str) -> None:
        parts = urlsplit(url)
        if not self._is_named(url):
            raise Failed(f"{parts.netloc[:100]} isn't among hosts")
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._rules:
            self._rules[origin] = self._load_rules(origin)
        rules = self._rules[origin]
        if isinstance(rules, str):
            raise Failed(f"robots.txt can't be read ({rules}), so nothing of the site is asked for")
        if not is_allowed(rules, urlunsplit(("", "", parts.path, parts.query, ""))):
            raise Failed("robots.txt forbids it")

    def _load_rules(self, origin: str) -> Rules | str:
        try:
            reply, _ = self._insist(lambda: self._follow(f"{origin}/robots.txt", is_robots=True))
        except Failed as failed:
            return str(failed)
        if reply.status == 200:
            return read_rules(reply.body.decode("utf-8", "replace"), AGENT)
        return Rules()

    def _send(self, url: str, size: int) -> Reply:
        """One request; what the host must then be spared is written down."""
        host = urlsplit(url).netloc
        try:
            reply = get(url, self.manners, size)
        finally:
            self._ended[host] = self._clock()
        if reply.status in (429, 503):
            rest = read_delay(reply.headers.get("retry-after"), time.time())
            self._resting[host] = max(self._resting.get(host, 0.0), self._clock() + rest)
        return reply

    def _wait(self, host: str) -> None:
        """Sleep for as long as the host is to be left alone. Raises Failed if that is too long."""
        if host not in self._ended:
            return
        rules = [self._rules.get(f"{scheme}://{host}") for scheme in ("http", "https")]
        delay = max([self.manners.delay, *(each.delay for each in rules if isinstance(each, Rules))])
        wait = max(self._ended[host] + delay, self._resting.get(host, self._ended[host])) - self._clock()
        if wait > self.manners.longest_delay:
            raise Failed(f"the site wants {wait:.0f} s between requests, more than longest_delay")
        if wait > 0:
            self._sleep(wait)


def _clean(url: str, base: str = "") -> str:
    try:
        return clean_url(url, base)
    except ValueError as error:
        raise Failed(f"an address that can't be used: {error}") from error
