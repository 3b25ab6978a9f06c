"""The one kind of error a user is meant to read: what is wrong and what to do, in one line.

Knows how a notebook and a shell show it; knows nothing about causes.
"""

from __future__ import annotations


class StudyError(Exception):
    """Something the user can mend. The message says what to do next; a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook
        return [f"{type(self).__name__}: {self}"]
