"""What a site's robots.txt allows.

Knows the file's grammar and how paths match; knows nothing about requests. Source: RFC 9309. The standard library's
urllib.robotparser isn't used: it takes the first rule that fits instead of the longest, knows no wildcards and drops
all groups of a name but one, so it lets through what a site forbids (`Allow: /` before `Disallow: /x/*.pdf$`).
Ours beside the RFC: Crawl-delay, which it doesn't have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

LONGEST_LINE = 2000  # characters; a longer rule is no rule


@dataclass(frozen=True)
class Rules:
    """The rules for one agent: (whether it allows, pattern) each; `delay` seconds between requests."""

    lines: tuple[tuple[bool, str], ...] = ()
    delay: float = 0.0


def read_rules(text: str, agent: str) -> Rules:
    """The rules of all groups that name `agent`, else of those for everybody. Lines that are no rules are skipped."""
    groups: dict[str, list[tuple[str, str]]] = {}
    agents: list[str] = []
    in_rules = False
    for line in text.lstrip("\ufeff").splitlines():
        name, _, value = (part.strip() for part in line[:LONGEST_LINE].partition("#")[0].partition(":"))
        if name.lower() == "user-agent":
            agents = [*agents, value.lower()] if not in_rules else [value.lower()]
            groups.setdefault(value.lower(), [])
            in_rules = False
        elif name.lower() in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            for each in agents:
                groups[each].append((name.lower(), value))
    lines = groups.get(agent.lower(), groups.get("*", []))
    delays = [
        float(value) for name, value in lines if name == "crawl-delay" and re.fullmatch(r"\d{1,9}(\.\d+)?", value)
    ]
    rules = tuple((name == "allow", value) for name, value in lines if name != "crawl-delay" and value)
    return Rules(rules, max(map(float, delays), default=0.0))


def is_allowed(rules: Rules, path: str) -> bool:
    """Whether `path` (with its query) may be fetched: the longest pattern that fits decides, Allow before Disallow."""
    fitting = [(len(pattern), allows) for allows, pattern in rules.lines if matches(pattern, path)]
    return max(fitting, default=(0, True))[1]


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern (* for any characters, $ for the end) fits the start of a path; linear, unlike a regex."""
    path = unquote(path)
    is_anchored = pattern.endswith("$")
    first, *rest = (unquote(piece) for piece in pattern.removesuffix("$").split("*"))
    if not path.startswith(first):
        return False
    if is_anchored and not rest:
        return path == first
    at = len(first)
    last = rest.pop() if is_anchored else ""
    for piece in rest:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return path.endswith(last) and len(path) - len(last) >= at
