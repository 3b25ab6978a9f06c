"""Progress that suits where it is shown: a bar in JupyterLab, a plain line now and then in batch runs.

Knows how to count and when to speak; knows nothing about the work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 20.0


def is_interactive() -> bool:
    """Whether a person is watching a notebook (Jupyter's server names the session; papermill doesn't)."""
    return "JPY_SESSION_NAME" in os.environ


def track(items: Sequence[T], label: str) -> Iterator[T]:
    """Iterate over `items`, showing how far it is."""
    if is_interactive():
        from tqdm.auto import tqdm

        yield from tqdm(items, desc=label)
        return
    started = spoken = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - spoken >= SECONDS_BETWEEN_LINES:
            spoken = now
            left = (now - started) / done * (len(items) - done)
            print(f"{label}: {done}/{len(items)}, about {left:.0f} s left", flush=True)


def quiet_libraries() -> None:
    """Turn off the libraries' own bars in batch runs, where each redraw would end up in the executed notebook."""
    if is_interactive():
        return
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
