"""Calls to Claude's API that may fail: one client, bounded patience, and errors that say what to do.

Knows the key, which failures pass, how long to wait and when to give up; knows nothing about what is asked. The key
comes from ANTHROPIC_API_KEY and goes nowhere but into the client. Source: `anthropic` 2.12 (_base_client.py,
_exceptions.py); deviation: the SDK's own retries are off, as they would wait for as long as a server asks (49 days at
most) and would send a batch twice. Used through `s1_utils.claude`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from s1_utils.claude.messages import ClaudeSettings, find_error_type
from s1_utils.errors import StudyError
from s1_utils.retry_after import read_delay

T = TypeVar("T")
KEY = "ANTHROPIC_API_KEY"
TRIES = 8  # of one call, over some two minutes with a backoff of a second
LONGEST_BACKOFF, LONGEST_DELAY = 60.0, 300.0  # seconds; the second whatever Retry-After asks for
HOW_TO_GO_ON = "Run the same again: it goes on from the journal, and nothing that has an answer is paid twice."


class CallError(StudyError):
    """A call that was given up. `status`: of the HTTP reply, 0 without one; `kind`: the API's type of error.

    Raised without its cause, whose text is the server's and could repeat the key.
    """

    def __init__(self, message: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Session:
    """A client with the time that it may take. `deadline`: of time.monotonic."""

    client: Any
    settings: ClaudeSettings
    deadline: float


def open_client(settings: ClaudeSettings) -> Any:
    """An anthropic.Anthropic without retries of its own. Raises StudyError without a key that can be sent."""
    import anthropic

    return anthropic.Anthropic(
        api_key=_read_key(), base_url=settings.base_url, timeout=settings.timeout_seconds, max_retries=0
    )


def _read_key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise StudyError(f"{KEY} isn't set: set it in the environment, to a key from platform.claude.com.")
    if not key.isascii() or not key.isprintable() or " " in key:  # else it would show in the error of the HTTP library
        raise StudyError(f"{KEY} holds characters that no key has (such as a line break): set it again.")
    return key


def mask_key(text: str) -> str:
    """`text` on one line, 300 characters at most, without the key."""
    key = os.environ.get(KEY, "").strip()
    return " ".join((text.replace(key, "***") if key else text).split())[:300]


def wait(session: Session, seconds: float) -> None:
    """Sleep, but not past the deadline. Raises StudyError there."""
    left = session.deadline - time.monotonic()
    if left <= 0:
        raise StudyError(f"Claude wasn't done within max_hours; batches go on at the server. {HOW_TO_GO_ON}")
    time.sleep(min(seconds, left))


def call_patiently(session: Session, call: Callable[[], T], *, what: str, tries: int = TRIES) -> T:
    """`call()`, tried again while its failures may pass: only for calls that change nothing or may come twice.

    Raises CallError for a refusal and after so many tries, StudyError at the deadline.
    """
    import anthropic
    import httpx2

    given_up = CallError("")
    for failures in range(1, tries + 1):
        delay = 0.0
        try:
            return call()
        except anthropic.APIStatusError as error:
            given_up, delay = explain_status(error, what=what), find_delay(error)
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            given_up = CallError(_explain_failures(tries, what, type(error.__cause__ or error).__name__))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            given_up = CallError(_explain_failures(tries, what, f"no answer of the API: {type(error).__name__}"))
        if given_up.status and not may_pass(given_up.status):
            break
        if failures < tries:
            wait(session, max(find_backoff(session, failures), delay))
    raise given_up


def _explain_failures(tries: int, what: str, reason: str) -> str:
    return f"Claude's API fails at {what} ({reason}); it was asked {tries} times. {HOW_TO_GO_ON}"


def find_backoff(session: Session, failures: int) -> float:
    """Seconds to wait after so many failures in a row, jittered."""
    return min(session.settings.backoff_seconds * 2 ** (failures - 1), LONGEST_BACKOFF) * random.uniform(0.5, 1.5)


def may_pass(status: int) -> bool:
    """Whether a request that got this HTTP status may succeed later."""
    return status in (408, 409, 425, 429) or status >= 500


def find_delay(error: Any) -> float:
    """Seconds of an APIStatusError's Retry-After header, at most LONGEST_DELAY; 0 without one."""
    return min(read_delay(error.response.headers.get("retry-after"), time.time()), LONGEST_DELAY)


def explain_status(error: Any, *, what: str) -> CallError:
    """The CallError for an anthropic.APIStatusError: what to do, by its status."""
    status = error.status_code
    if status in (401, 403):
        said = f"Claude's API refuses the key (status {status}): set {KEY} to a valid one."
    elif status == 404:
        said = (
            f"Claude's API knows nothing of what was asked for at {what}: check the model's name, base_url, and that "
            f"{KEY} belongs to the workspace that sent the batches. To give a deleted batch up (and pay again), delete "
            f"its intent line from the journal. {HOW_TO_GO_ON}"
        )
    elif may_pass(status):
        said = f"Claude's API fails at {what} (status {status}), however often it is asked. {HOW_TO_GO_ON}"
    else:
        said = f"Claude's API refused {what} (status {status}): {mask_key(error.message)}"
    return CallError(said, status=status, kind=find_error_type(error.body))


def read_json(response: Any) -> dict[str, Any]:
    """The object in an answer of the API (anthropic's APIResponse). Raises ValueError for anything else."""
    value = response.http_response.json()
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value
