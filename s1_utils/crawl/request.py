"""One bounded GET, and how politely it is to be made.

Knows addresses, headers, sizes and times of one request; knows nothing about retries, robots.txt or what is kept.
Source: RFC 9110 (redirects); the paper crawled two of its sources and doesn't say how (section 2.1).
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from s1_utils.errors import StudyError

AGENT = "s-one-study"  # RFC 9309 has no digits in names
LONGEST_URL = 2000  # characters


@dataclass(frozen=True)
class Manners:
    """How a site is treated. All times in seconds, `size` in bytes.

    `contact` (an e-mail address or a web page) is sent with every request. `hosts`: the only ones asked, with the port
    if it isn't the usual one. `delay`: from the end of a request to the start of the next one to that host. A site that
    wants us to wait longer than `longest_delay` isn't asked. `silence`: without a byte. `seconds`: for one reply.
    """

    contact: str
    hosts: tuple[str, ...]
    delay: float = 2.0
    longest_delay: float = 300.0
    attempts: int = 4
    backoff: float = 1.0
    redirects: int = 5
    size: int = 50 * 2**20
    silence: float = 30.0
    seconds: float = 120.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~][ -~]{2,199}", self.contact) or not re.search(r"@|://", self.contact):
            raise StudyError(f"contact is {self.contact!r}: give an e-mail address or a web page of yours.")
        if not self.hosts or isinstance(self.hosts, str) or "/" in "".join(self.hosts):
            raise StudyError(
                f'hosts is {self.hosts!r}: list the names of those that may be asked, like ["example.org"].'
            )


class Failed(Exception):
    """A try that failed; one that `may_pass` is repeated."""

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def clean_url(url: str, base: str = "") -> str:
    """`url`, seen from `base`, as it is asked for: one spelling, no fragment. Raises ValueError if that can't be."""
    parts = urlsplit(urljoin(base, url.strip()))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no http address")
    if "@" in parts.netloc:
        raise ValueError("an address with a user name")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    if parts.port not in (None, {"http": 80, "https": 443}[parts.scheme]):
        host = f"{host}:{parts.port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    cleaned = urlunsplit((parts.scheme, host, path, quote(parts.query, safe="/?%:@!$&'()*+,;=~"), ""))
    if len(cleaned) > LONGEST_URL:
        raise ValueError(f"an address of {len(cleaned)} characters")
    return cleaned


def get(url: str, manners: Manners, size: int) -> Reply:
    """The reply of `url`, with its body if the status is 200. Raises Failed, also for more than `size` bytes."""
    with ThreadPoolExecutor(1) as pool:  # a notebook's own loop runs in this thread already
        return pool.submit(asyncio.run, _receive(url, manners, size)).result()


async def _receive(url: str, manners: Manners, size: int) -> Reply:
    import httpx2

    headers = {"User-Agent": f"{AGENT}/0.1 (+{manners.contact})", "Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(manners.seconds),
            httpx2.AsyncClient(headers=headers, timeout=manners.silence, follow_redirects=False) as client,
            client.stream("GET", url) as reply,
        ):
            if reply.headers.get("content-encoding", "identity").lower() != "identity":
                raise Failed("compressed, though that wasn't asked for")  # what a few bytes unpack to has no bound
            body = bytearray()
            async for part in reply.aiter_raw():
                if reply.status_code != 200:
                    break
                body += part
                if len(body) > size:
                    raise Failed(f"more than {size} bytes")
            return Reply(reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, bytes(body))
    except TimeoutError:
        raise Failed(f"took longer than {manners.seconds:g} s", may_pass=True) from None
    except httpx2.HTTPError as error:
        raise Failed(f"{type(error).__name__}", may_pass=True) from error
    except httpx2.InvalidURL as error:
        raise Failed("an address that can't be used") from error
