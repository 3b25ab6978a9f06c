"""One HTML document that loads nothing: template, style and script in one, under a content security policy.

Knows page.html, explorer.css, explorer_text.js and explorer.js; knows nothing of what is shown.
Tests: tests/test_page.py.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path


@cache
def read_asset(name: str) -> str:
    """A file beside this module."""
    return Path(__file__).with_name(name).read_text("utf-8")


def read_script() -> str:
    """The page's one script: what puts texts into it, then what is done with them."""
    return read_asset("explorer_text.js") + read_asset("explorer.js")


def write_document(title: str, body: str) -> str:
    """A whole page; `body` is markup whose hostile parts are escaped already, `title` is text."""
    style, script = read_asset("explorer.css"), read_script()
    parts = {
        "title": html.escape(title), "policy": make_policy(style, script), "style": style, "body": body,
        "script": script,
    }  # fmt: skip
    # one pass, so that nothing in a part is taken for a placeholder
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read_asset("page.html"))


def make_policy(style: str, script: str) -> str:
    """The page's own style and script by their hashes, images inside the page, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
