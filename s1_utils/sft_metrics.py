"""What a training says of each step: one JSON line a step, that a kill and a resume neither tear nor double.

Knows the file, the sessions of a job and transformers' callbacks; knows nothing about models or what reads the lines.
A line has session, step, loss, grad_norm, learning_rate, tokens (real ones, of all steps so far), and seconds and
joules of its session so far (joules null where no meter can be read). Only the first process writes.
Invariants: tests/test_sft_metrics.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils.store import explain_os_errors, write_atomically, write_json

FILE = "metrics.jsonl"
LOGGED = ("loss", "grad_norm", "learning_rate")
Show = Callable[[Callable[[], pd.DataFrame]], None]  # gets what reads the lines so far, for when it is due


def read_metrics(path: Path) -> pd.DataFrame:
    """One row a step, as far as `path` is written; a last line without its end is left out."""
    return pd.DataFrame(_read_lines(path))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


class MetricsFile:
    """The lines of a job in `folder`/metrics.jsonl, ready for those after step `done`.

    Lines after `done` are dropped: their steps come again. What they took is kept, in sessions.json. tokens_S is the
    number of real tokens of every step. Raises StudyError if the disk is full.
    """

    def __init__(self, folder: Path, *, done: int, tokens_S: Sequence[int]) -> None:
        self.path, self.tokens_S = folder / FILE, list(tokens_S)
        lines, listed = _read_lines(self.path), folder / "sessions.json"
        self.sessions: list[dict[str, Any]] = json.loads(listed.read_text("utf-8")) if listed.exists() else []
        if lines and lines[-1]["session"] > len(self.sessions):  # it was killed before it was listed
            self.sessions.append(self._sum_up([line for line in lines if line["session"] == lines[-1]["session"]]))
        write_json(listed, self.sessions)
        with write_atomically(self.path) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines if line["step"] <= done), "utf-8")
        self._lines: list[dict[str, Any]] = []
        self._started = time.monotonic()

    def add(self, step: int, logs: dict[str, Any], *, joules: float | None = None) -> dict[str, Any]:
        """Write the line of a step; gives it."""
        line = {"session": len(self.sessions) + 1, "step": step, **{name: float(logs[name]) for name in LOGGED}}
        line |= {"tokens": sum(self.tokens_S[:step]), "seconds": round(time.monotonic() - self._started, 3)}
        self._lines.append(line | {"joules": joules})
        with explain_os_errors(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self._lines[-1]) + "\n")
        return self._lines[-1]

    def list_sessions(self) -> list[dict[str, Any]]:
        """All sessions, this one included: first and last step, tokens computed, seconds, joules."""
        return [*self.sessions, self._sum_up(self._lines)] if self._lines else self.sessions

    def _sum_up(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        first, last = lines[0]["step"], lines[-1]["step"]
        spent = {name: lines[-1][name] for name in ("seconds", "joules")}
        return {"first": first, "last": last, "tokens": sum(self.tokens_S[first - 1 : last]), **spent}


def sum_sessions(sessions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """tokens, seconds and joules of all sessions, the steps that a kill made come twice included; with the rate."""
    tokens, seconds = (sum(session[name] for session in sessions) for name in ("tokens", "seconds"))
    joules = [session["joules"] for session in sessions]
    return {
        "sessions": list(sessions),
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "joules": None if not joules or None in joules else round(sum(joules), 1),
    }


def follow(folder: Path, show: Show) -> Callable[[], None]:
    """What hands `show` the lines of a job in `folder`, to be called whenever there may be new ones."""
    return lambda: show(lambda: read_metrics(folder / FILE))


def make_recorder(
    folder: Path,
    *,
    done: int,
    tokens_S: Sequence[int],
    open_meter: Callable[[], Callable[[], float | None]],
    show: Show | None = None,
) -> Any:
    """A callback that writes each step's line and, in the first process, shows what is written.

    Its `file` is a MetricsFile there, once training has begun.
    """
    from transformers import TrainerCallback

    watch = follow(folder, show) if show else lambda: None

    class Recorder(TrainerCallback):
        file: MetricsFile | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                self.file = MetricsFile(folder, done=done, tokens_S=tokens_S)
                self.read_joules = open_meter()
                self.read_joules()  # counts from here

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if self.file and logs and "loss" in logs:  # not the summary of a finished training
                self.file.add(state.global_step, logs, joules=self.read_joules())
                watch()

    return Recorder()
