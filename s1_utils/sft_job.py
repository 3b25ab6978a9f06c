"""A training job on paper, and the launching of one on several devices.

Knows what a job says, torchrun and the log of its processes; knows nothing about models or training. The processes die
with whoever launched them: they read the pipe that only that process holds open.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import paths, sft_optimiser
from s1_utils.errors import StudyError
from s1_utils.store import write_json, write_table

FOLLOWED = "S1_FOLLOWED"  # set where a launcher holds our stdin
SAID = ("training: ", "StudyError: ")  # lines of the log that are shown
LINES_SHOWN = 15
SECONDS_TO_END = 10.0


@dataclass(frozen=True)
class Job:
    """All that training depends on, and where it writes. The last group is how it is spread over devices: it changes
    the result in the last digits only. `recompute` None: where there is a GPU."""

    base: Path
    folder: Path
    system_prompt: str
    seed: int
    epochs: int
    learning_rate: float
    warmup: float
    weight_decay: float
    adam_beta2: float
    batch_size: int
    max_length: int
    checkpoint_steps: int
    kind: str = "s1"
    may_cut: bool = False
    optimiser: str = "adamw"
    base_name: str = ""
    processes: int = 1
    device_batch: int = 0
    pack: bool = True
    shard: bool = False
    offload: bool = False
    recompute: bool | None = None
    report_to: str = "none"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def papers(self) -> Path:
        """What the processes of a job share: job.json, its rows and tokens, its log, what it found of the machine."""
        return self.folder / "job"

    def describe_recipe(self) -> dict[str, Any]:
        """What the weights depend on, without paths and devices."""
        names = [field.name for field in fields(self)]
        return {name: getattr(self, name) for name in names[names.index("seed") : names.index("base_name")]}


def make_job(
    base: Path,
    folder: Path,
    params: Any,
    *,
    system_prompt: str,
    seed: int,
    may_cut: bool = False,
    base_name: str = "",
) -> Job:
    """The job of `params` (whatever of it a job knows).

    Raises StudyError for settings that contradict each other, and for an optimiser that this machine can't run.
    """
    known = {field.name for field in fields(Job)} - {"base", "folder", "system_prompt", "seed", "may_cut", "base_name"}
    given = {name: getattr(params, name) for name in known if hasattr(params, name)}
    job = Job(base, folder, system_prompt, seed, may_cut=may_cut, base_name=base_name, **given)
    if job.offload and not job.shard:
        raise StudyError("offload moves the shards of a model to the CPU's memory: set shard to True as well.")
    if job.shard and job.optimiser != sft_optimiser.PLAIN:
        raise StudyError("8-bit optimisers can't update shards: set optimiser to adamw, or shard to False.")
    sft_optimiser.require_optimiser(job.optimiser)
    return job


def write_job(job: Job, rows: pd.DataFrame) -> Path:
    """Write job.json and the rows; the file's path is all that a process needs."""
    write_table(job.papers / "rows.parquet", rows)
    paths_as_text = {"base": str(job.base), "folder": str(job.folder)}
    write_json(job.papers / "job.json", asdict(job) | paths_as_text)
    return job.papers / "job.json"


def read_job(path: Path) -> Job:
    """Raises StudyError for a file that is no job."""
    try:
        given = json.loads(path.read_text("utf-8"))
        return Job(**given | {"base": Path(given["base"]), "folder": Path(given["folder"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} isn't a job of 03_sft ({error}): give its job.json or a 03_sft.yaml.") from error


# ------------------------------------------------------------------ launching


def launch(
    path: Path, processes: int, *, say: Callable[[str], None] = print, watch: Callable[[], None] | None = None
) -> None:
    """Train the job of `path` in `processes` processes of this machine, showing their progress; `watch` is called
    after each line of their log.

    Raises StudyError with the end of the log if they fail. An interrupt ends them, and so does this process's death.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, FOLLOWED: "1", "OMP_NUM_THREADS": str(_count_threads(processes))}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(
        [*command, "-m", "s1_utils.sft", str(path)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    last: deque[str] = deque(maxlen=200)
    with end_with(process):
        for line in follow(process, path.with_name("train.log")):
            last.append(line)
            if line.startswith(SAID[0]):
                say(line)
            if watch:
                watch()
        code = process.wait()
    if code:
        raise StudyError(explain_failure(list(last), path.with_name("train.log")))


def follow(process: subprocess.Popen[str], log: Path) -> Iterator[str]:
    """Lines of a process as they come, which are kept in `log` as well."""
    with open(log, "a", encoding="utf-8") as kept:
        for line in process.stdout or ():
            kept.write(line)
            kept.flush()
            yield line.rstrip()


@contextlib.contextmanager
def end_with(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever ends the block ends the launcher and, by the pipe they watch, the processes it launched."""
    try:
        yield
    finally:
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def explain_failure(lines: list[str], log: Path) -> str:
    """One message from a failed job's log: the study's own error, or the last lines and what to try."""
    own = [line.removeprefix(SAID[1]) for line in lines if line.startswith(SAID[1])]
    if own:
        return own[0]
    text = "\n".join(lines)
    advice = "run it again: it continues from its last checkpoint"
    if "OutOfMemoryError" in text or "Signal 9 (SIGKILL)" in text:
        advice = "out of memory, most likely: set recompute and shard to True or device_batch to 1, then " + advice
    return f"Training ended early; {advice}. The end of {log}:\n" + "\n".join(lines[-LINES_SHOWN:])


def watch_launcher() -> None:
    """In a process that was launched here: end when the launcher is gone, however it went."""
    if os.environ.get(FOLLOWED):
        threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _count_threads(processes: int) -> int:
    return max(
        1, min(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1), (os.cpu_count() or 1) // processes)
    )
