"""Reading traces: where an answer changed, where a trace goes in circles, and a trace shown with its events.

Knows the columns of generations and grades; knows no engines and no statistics.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

COLOURS = {"suppressed_end": "#d1661f", "natural_end": "#3d7f4f", "soft_end": "#1f5f8b", "forced_end": "#a02020"}
LOOP_IDS, LOOP_TIMES = 4, 3  # a loop: so many ids or more, so many times in a row


def count_changes(graded: pd.DataFrame, control: str) -> pd.DataFrame:
    """One row a further wait of `control`: questions whose answer turned right or wrong by it, or stayed as it was.

    Compares each number of waits with the next smaller one that was run, on the same questions.
    """
    rows = graded[(graded["control"] == control) & (graded["sample"] == 0)]
    right = rows.pivot(index="question_id", columns="waits", values="correct")
    out = []
    for before, after in zip(right.columns, right.columns[1:], strict=False):
        x, y = right[before].astype(bool), right[after].astype(bool)
        counts = [int((~x & y).sum()), int((x & ~y).sum()), int((x & y).sum()), int((~x & ~y).sum())]
        out.append((int(before), int(after), *counts))
    columns = ["waits_before", "waits_after", "wrong_to_right", "right_to_wrong", "stayed_right", "stayed_wrong"]
    return pd.DataFrame(out, columns=columns)


def is_looping(ids: Sequence[int]) -> bool:
    """Whether the trace ends in the same run of ids, LOOP_IDS or more of them, LOOP_TIMES in a row."""
    ids = list(ids)
    for period in range(LOOP_IDS, len(ids) // LOOP_TIMES + 1):
        tail = ids[-period * LOOP_TIMES :]
        if tail[period:] == tail[:-period]:
            return True
    return False


def show_trace(row: pd.Series, decode: Callable[[Sequence[int]], str], wait_ids: Sequence[int] = ()) -> Any:
    """A trace as HTML: every suppressed end and the text forced there in colour, then how it ended, then the answer.

    `row`: of `generations`; `decode`: ids → text. What a model wrote is shown as text, never as HTML.
    """
    from IPython.display import HTML

    ids, parts, place = list(row["thinking_ids"]), [], 0
    for event, at in json.loads(row["events"]):
        forced = ids[at : at + len(wait_ids)] if event == "suppressed_end" else []
        parts.append(html.escape(decode(ids[place:at])))
        label = f"⟨{event.replace('_', ' ')} at {at}⟩" + html.escape(decode(forced))
        parts.append(f'<b style="color:{COLOURS[event]}">{label}</b>')
        place = at + len(forced)
    parts.append(html.escape(decode(ids[place:])))
    answer = html.escape(str(row["answer"]))
    head = f"{row['setting']}, {row['thinking_tokens']} thinking tokens"
    return HTML(
        f'<p>{html.escape(head)}</p><pre style="white-space:pre-wrap">{"".join(parts)}\n'
        f'<span style="background:#eef3f7">{answer}</span></pre>'
    )
