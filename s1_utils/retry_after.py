"""How long a server asks us to wait. Knows one header; who asks, and how long it is willing to wait, is its user's."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime


def read_delay(text: str | None, now: float) -> float:
    """Seconds of a Retry-After header (RFC 9110), a number or a date; 0 if neither. `now`: seconds since the epoch."""
    if text is None:
        return 0.0
    if re.fullmatch(r"\s*[0-9]{1,9}(?:\.[0-9]{1,9})?\s*", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
