"""The fetcher against a real site that fails, lies, redirects, drips and never ends; and killed while it fetches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from crawl_site import Clock, RealClock, make_fetcher, serve

from s1_utils.crawl.fetch import Failure, Page
from s1_utils.crawl.request import Manners, clean_url
from s1_utils.errors import StudyError
from s1_utils.retry_after import read_delay

BUSY = (503, {}, b"busy")


def test_a_page_comes_with_all_that_is_known_of_it(tmp_path):
    with serve({"/a": "<p>héllo"}) as site:
        page = make_fetcher(tmp_path, site).fetch(f"{site.url}/a#part")
    assert page.body.decode() == "<p>héllo"
    assert (page.url, page.final_url, page.status) == (f"{site.url}/a", f"{site.url}/a", 200)
    assert (page.content_type, page.etag) == ("text/html; charset=utf-8", '"one"')
    assert page.fetched_at.endswith("+00:00")


def test_the_site_is_told_who_asks(tmp_path):
    with serve({"/a": "x"}) as site:
        make_fetcher(tmp_path, site, contact="https://example.org/us").fetch(f"{site.url}/a")
        assert site.agents == {"s-one-study/0.1 (+https://example.org/us)"}


@pytest.mark.parametrize("contact", ["", "nobody", "a@b\r\nCookie: x", "me@exämple.org"])
def test_nobody_crawls_without_an_address_to_complain_to(contact):
    with pytest.raises(StudyError, match="contact is"):
        Manners(contact, ("example.org",))


@pytest.mark.parametrize("hosts", [(), "example.org", ("https://example.org",)])
def test_the_hosts_must_be_a_list_of_names(hosts):
    with pytest.raises(StudyError, match="hosts is"):
        Manners("a@b.org", hosts)


def test_a_loop_that_runs_already_is_no_hindrance(tmp_path):
    import asyncio

    async def run_notebook(site):
        return make_fetcher(tmp_path, site).fetch(f"{site.url}/a")

    with serve({"/a": "x"}) as site:
        assert asyncio.run(run_notebook(site)).body == b"x"


# ------------------------------------------------------------------ what is kept


def test_a_page_is_asked_for_once_also_by_another_process(tmp_path):
    with serve({"/a": "x"}) as site:
        first = make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a#else") == first
        assert site.asked == ["/robots.txt", "/a"]


def test_a_kept_page_that_was_torn_or_changed_is_never_trusted(tmp_path):
    with serve({"/a": "a page"}) as site:
        whole = make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
        for path in list(tmp_path.iterdir()):
            content = path.read_bytes()
            for torn in (b"", content[:-3], b"X" + content[1:], None):
                asked = len(site.asked)
                path.unlink() if torn is None else path.write_bytes(torn)
                again = make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
                assert (again.body, again.sha256) == (whole.body, whole.sha256)
                assert len(site.asked) == asked + 2


def test_a_record_of_another_address_is_not_taken(tmp_path):
    with serve({"/a": "a", "/b": "b"}) as site:
        fetcher = make_fetcher(tmp_path, site)
        fetcher.fetch(f"{site.url}/a")
        (record,) = tmp_path.glob("*.json")
        (body,) = tmp_path.glob("*.body")
        fetcher.fetch(f"{site.url}/b")
        for path in (record, body):
            (other,) = (each for each in tmp_path.glob(f"*{path.suffix}") if each != path)
            other.write_bytes(path.read_bytes())
        assert fetcher.fetch(f"{site.url}/b").body == b"b"


def test_a_failure_is_tried_again_by_the_next_run(tmp_path):
    with serve({}) as site:
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a") == Failure(f"{site.url}/a", "status 404", 1)
        site.pages["/a"] = "x"
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a").body == b"x"


def test_a_page_that_could_not_be_kept_whole_leaves_nothing(tmp_path):
    import resource

    with serve({"/a": b"x" * 2**20}) as site:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ waiting


def test_requests_to_a_host_keep_their_distance(tmp_path):
    clock = Clock()
    with serve({"/a": "a", "/b": "b"}) as site:
        fetcher = make_fetcher(tmp_path, site, clock)
        for path in "abab":
            fetcher.fetch(f"{site.url}/{path}")
    assert clock.slept == [2.0, 2.0]


def test_the_distance_is_measured_from_the_end_of_a_request(tmp_path):
    with serve({"/a": "a"}) as site:
        fetcher = make_fetcher(tmp_path, site, RealClock(), delay=0.3)
        site.hold["/robots.txt"] = threading.Event()
        ended = []

        def end():
            ended.append(time.monotonic())
            site.hold["/robots.txt"].set()

        threading.Timer(0.4, end).start()
        fetcher.fetch(f"{site.url}/a")
        assert site.times[1] - ended[0] >= 0.3


def test_a_longer_crawl_delay_is_obeyed(tmp_path):
    clock = Clock()
    with serve({"/robots.txt": "User-agent: *\nCrawl-delay: 7\n", "/a": "a", "/b": "b"}) as site:
        fetcher = make_fetcher(tmp_path, site, clock)
        assert all(isinstance(fetcher.fetch(f"{site.url}/{path}"), Page) for path in "ab")
    assert clock.slept == [7.0, 7.0]


def test_a_crawl_delay_without_end_is_a_failure_not_a_wait(tmp_path):
    clock = Clock()
    with serve({"/robots.txt": "User-agent: *\nCrawl-delay: 86400\n", "/a": "a"}) as site:
        failure = make_fetcher(tmp_path, site, clock).fetch(f"{site.url}/a")
        assert site.asked == ["/robots.txt"]
    assert "wants 86400 s" in failure.reason
    assert failure.attempts == 0
    assert clock.slept == []


@pytest.mark.parametrize("status", [429, 503])
def test_the_seconds_of_retry_after_are_waited(tmp_path, status):
    clock = Clock()
    with serve({"/a": "a"}) as site:
        site.faults["/a"] = [(status, {"Retry-After": "40"}, b"")]
        assert make_fetcher(tmp_path, site, clock).fetch(f"{site.url}/a").body == b"a"
    assert clock.now == pytest.approx(2 + 40)


def test_the_date_of_retry_after_is_waited_for(tmp_path):
    clock = Clock()
    with serve({"/a": "a"}) as site:
        site.faults["/a"] = [(429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)}, b"")]
        assert make_fetcher(tmp_path, site, clock).fetch(f"{site.url}/a").body == b"a"
    assert 2 + 55 < clock.now <= 2 + 61


def test_a_site_that_wants_to_be_left_alone_for_an_hour_is(tmp_path):
    with serve({"/a": "a", "/b": "b"}) as site:
        site.faults["/a"] = [(429, {"Retry-After": "3600"}, b"")]
        fetcher = make_fetcher(tmp_path, site)
        one, other = fetcher.fetch(f"{site.url}/a"), fetcher.fetch(f"{site.url}/b")
        assert site.asked == ["/robots.txt", "/a"]
    assert (one.attempts, other.attempts) == (1, 0)
    assert "longest_delay" in one.reason
    assert "longest_delay" in other.reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0.0),
        ("120", 120.0),
        (" 0.5 ", 0.5),
        ("inf", 0.0),
        ("nan", 0.0),
        ("-1", 0.0),
        ("1e9", 0.0),
        ("9" * 5000, 0.0),
        ("soon", 0.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(text, seconds):
    assert read_delay(text, 1000.0) == seconds


# ------------------------------------------------------------------ failures that pass, and those that don't


@pytest.mark.parametrize("fault", [(500, {}, b""), BUSY, (429, {}, b""), "hang up", "cut", "silence"])
def test_what_passes_is_tried_again(tmp_path, fault):
    with serve({"/a": "a"}) as site:
        site.faults["/a"] = [fault]
        assert make_fetcher(tmp_path, site, silence=0.5).fetch(f"{site.url}/a").body == b"a"
        assert site.asked.count("/a") == 2


def test_tries_are_bounded_and_further_and_further_apart(tmp_path):
    clock = Clock()
    with serve({"/a": BUSY}) as site:
        failure = make_fetcher(tmp_path, site, clock, delay=0.0, backoff=3.0).fetch(f"{site.url}/a")
        assert site.asked.count("/a") == 4
    assert failure == Failure(f"{site.url}/a", "status 503", 4)
    assert clock.slept == [3.0, 6.0, 12.0]


@pytest.mark.parametrize("status", [400, 403, 404, 410, 204, 304])
def test_what_does_not_pass_is_asked_for_once(tmp_path, status):
    with serve({"/a": (status, {}, b"")}) as site:
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a") == Failure(f"{site.url}/a", f"status {status}", 1)


def test_a_server_that_is_not_there_is_a_failure(tmp_path):
    with serve({}) as site:
        fetcher = make_fetcher(tmp_path, site)
    failure = fetcher.fetch(f"{site.url}/a")
    assert "ConnectError" in failure.reason
    assert failure.attempts == 0


def test_a_reply_without_end_is_cut_off(tmp_path):
    with serve({}) as site:
        site.faults["/a"] = ["endless"] * 9
        failure = make_fetcher(tmp_path, site, size=10**6).fetch(f"{site.url}/a")
        assert site.asked.count("/a") == 1
    assert failure.reason == "more than 1000000 bytes"
    assert list(tmp_path.iterdir()) == []


def test_a_reply_of_just_the_size_is_kept(tmp_path):
    with serve({"/a": "x" * 1000, "/b": "x" * 1001}) as site:
        fetcher = make_fetcher(tmp_path, site, size=1000)
        assert isinstance(fetcher.fetch(f"{site.url}/a"), Page)
        assert fetcher.fetch(f"{site.url}/b").reason == "more than 1000 bytes"


@pytest.mark.parametrize("fault", ["drip", "drip in the header"])
def test_a_reply_that_drips_is_given_up(tmp_path, fault):
    with serve({}) as site:
        site.faults["/a"] = [fault] * 2
        started = time.monotonic()
        failure = make_fetcher(tmp_path, site, seconds=0.4, attempts=2).fetch(f"{site.url}/a")
        assert time.monotonic() - started < 2.5
    assert failure == Failure(f"{site.url}/a", "took longer than 0.4 s", 2)


def test_a_compressed_reply_is_not_unpacked(tmp_path):
    with serve({"/a": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")}) as site:
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a").reason.startswith("compressed")


# ------------------------------------------------------------------ where it may go


def move(target, status=302):
    return (status, {"Location": target}, b"")


def test_redirects_are_followed_and_told(tmp_path):
    with serve({"/a": move("b", 301), "/b": move("/c?x=1#y", 308), "/c?x=1": "c"}) as site:
        page = make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
        assert (page.body, page.url, page.final_url) == (b"c", f"{site.url}/a", f"{site.url}/c?x=1")
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a") == page
        assert site.asked.count("/c?x=1") == 1


def test_a_circle_of_redirects_ends(tmp_path):
    with serve({"/a": move("/b"), "/b": move("/a")}) as site:
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a").reason == "more than 5 redirects"
        assert len(site.asked) == 1 + 6


@pytest.mark.parametrize("target", ["http://localhost:{port}/b", "http://example.org/b", "//example.org/"])
def test_a_redirect_to_another_host_is_not_followed(tmp_path, target):
    with serve({"/b": "b"}) as site:
        site.pages["/a"] = move(target.format(port=site.server_port))
        failure = make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
        assert "/b" not in site.asked
    assert failure.reason.startswith("redirected to ")


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://me:secret@127.0.0.1/", "http://["]
)
def test_a_redirect_to_no_plain_http_address_is_not_followed(tmp_path, target):
    with serve({"/a": move(target)}) as site:
        failure = make_fetcher(tmp_path, site).fetch(f"{site.url}/a")
    assert failure.reason.startswith("an address that can't be used")
    assert "secret" not in repr(failure)


def test_a_link_to_another_host_is_not_followed(tmp_path):
    with serve({"/a": "a"}) as site:
        failure = make_fetcher(tmp_path, site).fetch(f"http://localhost:{site.server_port}/a")
        assert site.asked == []
    assert failure.reason == f"localhost:{site.server_port} isn't among hosts"


def test_a_password_in_an_address_reaches_no_failure(tmp_path):
    with serve({}) as site:
        failure = make_fetcher(tmp_path, site).fetch(f"http://me:secret@{site.host}/a")
    assert "secret" not in repr(failure)


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        ("https://example.org:443/a b?c d#e", "https://example.org/a%20b?c%20d"),
        ("http://example.org:8080/%7Ea/é", "http://example.org:8080/%7Ea/%C3%A9"),
        (" http://[::1]:80/ ", "http://[::1]/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_an_address_has_one_spelling(url, cleaned):
    assert clean_url(url) == clean_url(cleaned) == cleaned


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a/", "http://", "http://a:99999/", "http://a/" + "x" * 2000, "http://a/\ud800"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError):  # noqa: PT011
        clean_url(url)


# ------------------------------------------------------------------ robots.txt


def test_what_robots_txt_forbids_is_not_asked_for(tmp_path):
    with serve({"/robots.txt": "User-agent: s-one-study\nDisallow: /a\n", "/a": "a", "/b": move("/a")}) as site:
        fetcher = make_fetcher(tmp_path, site)
        direct, moved = fetcher.fetch(f"{site.url}/a"), fetcher.fetch(f"{site.url}/b")
        assert site.asked == ["/robots.txt", "/b"]
    assert (direct.reason, direct.attempts) == ("robots.txt forbids it", 0)
    assert (moved.reason, moved.attempts) == ("robots.txt forbids it", 1)


@pytest.mark.parametrize("status", [404, 410])
def test_a_site_without_robots_txt_may_be_read(tmp_path, status):
    with serve({"/robots.txt": (status, {}, b""), "/a": "a"}) as site:
        assert make_fetcher(tmp_path, site).fetch(f"{site.url}/a").body == b"a"


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_site_that_keeps_its_robots_txt_is_left_alone(tmp_path, status):
    with serve({"/robots.txt": (status, {}, b""), "/a": "a", "/b": "b"}) as site:
        fetcher = make_fetcher(tmp_path, site)
        for path in "ab":
            assert f"can't be read (status {status})" in fetcher.fetch(f"{site.url}/{path}").reason
        assert set(site.asked) == {"/robots.txt"}
        assert len(site.asked) == (1 if status < 500 else 4)


def test_a_robots_txt_without_end_is_as_good_as_none(tmp_path):
    with serve({"/a": "a"}) as site:
        site.faults["/robots.txt"] = ["endless"]
        assert "more than 524288 bytes" in make_fetcher(tmp_path, site).fetch(f"{site.url}/a").reason


# ------------------------------------------------------------------ killed

CHILD = """
import sys
from pathlib import Path
from s1_utils.crawl.fetch import Fetcher
from s1_utils.crawl.request import Manners

folder, host, *paths = sys.argv[1:]
fetcher = Fetcher(Path(folder), Manners("tests@example.org", (host,), delay=0.0))
for path in paths:
    fetcher.fetch(f"http://{host}{path}")
"""


@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_killed_fetcher_asks_again_only_for_what_was_on_its_way(tmp_path, at):
    paths = [f"/{i}" for i in range(6)]
    with serve({path: f"page {path}" * 1000 for path in paths}) as site:
        site.hold[paths[at]] = threading.Event()
        command = [sys.executable, "-c", CHILD, str(tmp_path), site.host, *paths]
        child = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=os.environ)
        while paths[at] not in site.asked:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        site.hold.pop(paths[at]).set()
        assert subprocess.run(command, cwd=Path(__file__).parents[1], check=True).returncode == 0
        asked = [path for path in site.asked if path != "/robots.txt"]
    assert sorted(asked) == sorted([*paths, paths[at]])
    assert len([json.loads(path.read_text()) for path in tmp_path.glob("*.json")]) == 6
