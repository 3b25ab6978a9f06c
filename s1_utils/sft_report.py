"""Trackers that a training's curves go to beside the study's own metrics file: trackio by default, others by name.

Knows transformers' callbacks and trackio; knows nothing about models. trackio's own callback isn't used: in a notebook
it starts a web server, its configuration holds the machine's paths, and where a Hugging Face token is stored it asks
the hub whose it is. Here it writes to $TRACKIO_DIR, or trackio/ in the folder of all runs, and nowhere else; no
network, no server. To look: `TRACKIO_DIR=runs/trackio trackio show --project s1-study`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from s1_utils import paths, sft_processes
from s1_utils.errors import StudyError
from s1_utils.sft_job import Job
from s1_utils.sft_metrics import LOGGED

PROJECT = "s1-study"
NO_TRACKIO = "trackio isn't installed: the curves are in metrics.jsonl only (environment.yml says how to install it)"


def make_reporters(job: Job, *, done: int) -> list[Any]:
    """The callbacks of job.report_to; none for "none". `done` steps are reported already: 0 begins a new run.

    Without trackio, the default, training goes on and says so: its pins and vLLM's can't be met by one list
    (environment.yml). Raises StudyError for a tracker that nobody knows, and for another whose package is missing.
    """
    if job.report_to == "none":
        return []
    if job.report_to == "trackio" and not find_spec("trackio"):
        if sft_processes.find_rank() == 0:
            print(f"training: {NO_TRACKIO}", flush=True)
        return []
    if job.report_to == "trackio":
        return [Guard("trackio", make_trackio(job, done=done))]
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK as KNOWN

    if job.report_to not in KNOWN:
        raise StudyError(
            f"Nobody knows the tracker {job.report_to}. Set report_to to one of {', '.join(KNOWN)}, or none."
        )
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    try:
        callback = KNOWN[job.report_to]()
    except (ImportError, RuntimeError) as error:
        raise StudyError(
            f"report_to is {job.report_to}: {str(error).rstrip('.')}; or set report_to to none (metrics.jsonl and "
            "training.parquet have the curves anyway)."
        ) from error
    if job.report_to == "tensorboard" and not callback.logging_dir:  # its default goes when training has ended
        callback.logging_dir = str(paths.find_runs() / "tensorboard" / name_run(job))
    return [Guard(job.report_to, callback)]


def name_run(job: Job) -> str:
    """run/stage, as below the folder of all runs."""
    folder, runs = job.folder.resolve(), paths.find_runs()
    return str(folder.relative_to(runs)) if folder.is_relative_to(runs) else folder.name


class Guard:
    """A tracker's callback whose failures end its reports, never the training."""

    def __init__(self, name: str, callback: Any) -> None:
        self._name, self._callback, self._works = name, callback, True

    def __getattr__(self, event: str) -> Any:  # transformers calls callbacks by the names of events
        handle = getattr(self._callback, event)

        def call(*given: Any, **named: Any) -> None:
            if not self._works:
                return
            try:
                handle(*given, **named)
            except Exception as error:
                self._works = False
                print(f"training: {self._name} failed and gets no more curves ({error}); it goes on", flush=True)

        return call


@contextlib.contextmanager
def end_reports(reporters: list[Any]) -> Iterator[None]:
    """However the block ends, trackers that transformers ends only after a whole training are ended after it."""
    try:
        yield
    finally:
        for reporter in reporters:
            if hasattr(reporter, "close"):
                reporter.close()


def make_trackio(job: Job, *, done: int) -> Any:
    """A callback that writes each step to trackio's local database, and a resumed job's to the run it began."""
    from transformers import TrainerCallback

    class Trackio(TrainerCallback):
        run: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                self.run, self.reported = open_run(job, done=done)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if self.run and logs and "loss" in logs and state.global_step > self.reported:
                self.run.log({f"train/{name}": float(logs[name]) for name in LOGGED}, step=state.global_step)

        def close(self) -> None:
            if self.run:
                with contextlib.redirect_stdout(io.StringIO()):  # it says that it uploads, which it doesn't
                    self.run.finish()

    return Trackio()


def open_run(job: Job, *, done: int) -> tuple[Any, int]:
    """trackio's run of `job` and the last step that it has: the newest of its name if `done`, else a new one."""
    os.environ.setdefault("TRACKIO_DIR", str(paths.find_runs() / "trackio"))  # before it is imported
    from trackio import Run
    from trackio.sqlite_storage import SQLiteStorage

    class LocalRun(Run):
        def _get_username(self) -> None:
            """Without asking the hub."""

    name = name_run(job)
    before = SQLiteStorage.get_latest_run_record_by_name(PROJECT, name) if done else None
    begun = before["id"] if before else None
    last = SQLiteStorage.get_max_step_for_run(PROJECT, name, run_id=begun) if begun else None
    recipe = job.describe_recipe() | {"base": job.base_name or job.base.name}
    return LocalRun(None, PROJECT, None, name=name, run_id=begun, config=recipe), last or 0
