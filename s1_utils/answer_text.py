r"""Where the answer of a free reply stands: after the thinking, in a box, behind a mark such as "Answer:".

Knows markers and braces; knows nothing about what an answer means, and never sees gold.
Source: s1 section 4.1 and its evaluation code (the last \boxed or \fbox, else what follows "Answer:"). Deviations: the
last mark instead of the first, one line of it instead of all the rest, a box that isn't closed is no box.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_ANSWER = 200
LONGEST_BOX, MOST_BOXES = 4000, 20  # characters looked at for a closing brace, boxes looked at from the last
MARKED = re.compile(r"\b(?:final\s+)?answer\s*(?:is\b\s*:?|:)\s*", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_STARTS = ("<|im_start|>answer", "</think>")  # of an answer, after the thinking
_TURN_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>")


@dataclass(frozen=True)
class Box:
    r"""What a closed \boxed{} or \fbox{} holds, and where that starts in the text."""

    start: int
    content: str


def read_answer_part(text: str) -> str:
    """What follows the last marker that ends the thinking, without markers of the turn's end; all where there is none.

    A thought that never ends is therefore read whole.
    """
    for start in _STARTS:
        if start in text:
            text = text.rpartition(start)[2]
    for _ in range(len(_TURN_ENDS)):
        for end in _TURN_ENDS:
            text = text.rstrip().removesuffix(end)
    return text


def find_box(text: str) -> Box | None:
    """The last closed box that isn't empty, by counting braces that aren't escaped; None without one."""
    for start in reversed([match.end() for match in _BOX.finditer(text)][-MOST_BOXES:]):
        depth = 1
        for token in re.finditer(r"\\.|[{}]", text[start : start + LONGEST_BOX], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if depth == 0:
                break
        if depth == 0 and (boxed := text[start : start + token.start()].strip()):
            return Box(start, boxed)
    return None


def find_boxed(text: str) -> str | None:
    """What the last closed box holds, None without one."""
    box = find_box(text)
    return box.content if box else None


def take_line(text: str, start: int) -> str:
    """The first line that isn't blank from `start` on, at most LONGEST_ANSWER characters; "" if there is none."""
    rest = text[start:].lstrip()
    return rest.splitlines()[0][:LONGEST_ANSWER] if rest else ""
