"""Token counts by the vocabulary of Qwen2.5, the paper's unit of length, without a model hub.

Knows one vocabulary file (in the package dashscope) and the rule by which Qwen2.5 splits text before it is encoded;
knows nothing about chat markers: a text is counted as plain text, as the paper counts traces.
Source: s1 tables 6 and 7; Qwen2.5's published tokenizer (NFC, this pattern, 151,643 byte-pair ranks).
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from s1_utils.errors import StudyError

RANKS = 151_643
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def count_qwen_tokens(text: str) -> int:
    """Tokens of `text` under Qwen2.5. Raises StudyError if the vocabulary isn't installed."""
    return len(encode_qwen(text))


def encode_qwen(text: str) -> list[int]:
    """Token ids of `text` as plain text; what isn't UTF-8 is replaced."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    return _load_encoding().encode_ordinary(text)


@cache
def _load_encoding() -> Any:
    import tiktoken

    spec = find_spec("dashscope")
    if spec is None or spec.origin is None:
        raise StudyError("The package dashscope (Qwen's vocabulary) isn't installed: run `make env`.")
    ranks = read_ranks(Path(spec.origin).parent / "resources" / "qwen.tiktoken")
    return tiktoken.Encoding("qwen2.5", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def read_ranks(path: Path) -> dict[bytes, int]:
    """The byte pairs of a vocabulary file (base64 and rank a line). Raises StudyError unless it is Qwen2.5's size."""
    try:
        pairs = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(pair, validate=True): int(rank) for pair, rank in pairs}
    except (OSError, ValueError, binascii.Error) as error:
        raise StudyError(f"Can't read Qwen's vocabulary {path} ({error}): reinstall dashscope.") from error
    if sorted(ranks.values()) != list(range(RANKS)):
        raise StudyError(f"{path} has {len(ranks)} byte pairs, Qwen2.5 has {RANKS}: install the pinned dashscope.")
    return ranks
