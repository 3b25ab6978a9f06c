"""A figure that is drawn again while work goes on, in one display of a notebook; nothing where nobody watches.

Knows displays and the clock; knows nothing about what is drawn. A notebook run by papermill shows nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pandas as pd

from s1_utils import plots
from s1_utils.progress import is_interactive

SECONDS_BETWEEN = 10.0
SHARE = 0.01  # of the time may go into drawing


def draw_live(name: str, *, seconds: float = SECONDS_BETWEEN) -> Callable[[Callable[[], pd.DataFrame]], None]:
    """A function that is given what reads a table, and shows it as the figure `name` of plots if that is due.

    It is due every `seconds`, or less often if drawing would take more than a hundredth of the time.
    """
    if not is_interactive():
        return lambda read: None
    from IPython.display import display

    handle, due = None, time.monotonic() + seconds

    def show(read: Callable[[], pd.DataFrame]) -> None:
        nonlocal handle, due
        started = time.monotonic()
        if started < due:
            return
        table = read()
        if len(table) and handle is None:
            plots.show(name, table)  # what the first drawing loads isn't counted
            started = time.monotonic()
            handle = display(plots.show(name, table), display_id=True)
        elif len(table):
            handle.update(plots.show(name, table))
        took = time.monotonic() - started
        due = time.monotonic() + max(seconds, took / SHARE)

    return show
