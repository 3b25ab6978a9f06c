"""Processes that share a folder share a journal's records: each makes some, all come to see every one.

Knows claims, signs of life, and the journals of other processes; knows nothing about what a record holds. Off, unless
S1_SHARD says I/N. `shards` lays out the folders: <shards>/<I>/<run>/<stage>/<journal>.jsonl; S1_RUNS is <shards>/<I>.
A record is claimed by a file that only one process can create. The claims of a process that gave no sign of life for
S1_SHARD_PATIENCE seconds (300) are taken over; ages are differences of two times of the shared file system, so the
machines' clocks don't matter. If two processes make the same record after all, both are valid, and each keeps the
first that it saw. Source: ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from s1_utils import paths
from s1_utils.errors import StudyError
from s1_utils.store import Journal, explain_os_errors, hash_json

SHARD, PATIENCE = "S1_SHARD", "S1_SHARD_PATIENCE"
BEAT, PAUSE = 20.0, 1.0  # seconds between signs of life, and between two looks at what others have done


def share(names: Sequence[str], journal: Journal) -> Collection[str]:
    """`names`, in the order in which to go through them: a record that `journal` then lacks is this process's to make.

    Alone, these are `names`. Among others each name comes once, when it is this process's turn to make its record or
    when another has made it: that is then in `journal.records`, not in its file. Raises StudyError for a bad S1_SHARD,
    and, when gone through, for others with another key.
    """
    shard = os.environ.get(SHARD)
    return _Peers(names, journal, *read_shard(shard)) if shard else names


def read_shard(text: str) -> tuple[int, int]:
    """(I, N) of "I/N", with I from 0 to N − 1. Raises StudyError for anything else."""
    found = re.fullmatch("([0-9]{1,5})/([1-9][0-9]{0,4})", text)
    if not found or int(found[1]) >= int(found[2]):
        raise StudyError(f"{text!r} is no shard: write I/N with I from 0 to N − 1, such as 0/16.")
    return int(found[1]), int(found[2])


class _Peers(Collection[str]):
    """The names of records to make, gone through by this process among those of <shards>."""

    def __init__(self, names: Sequence[str], journal: Journal, number: int, count: int) -> None:
        self.names, self.journal, self.number = names, journal, number
        self.first = len(names) * number // count  # each begins elsewhere
        runs = paths.find_runs()
        self.place, self.root = journal.path.resolve().relative_to(runs), runs.parent
        self.patience = float(os.environ.get(PATIENCE) or 300)
        self.offsets: dict[Path, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        left = [*self.names[self.first :], *self.names[: self.first]]
        with self._give_signs_of_life():
            while left:
                self._read_others()
                yield from (name for name in left if name in self.journal)
                left = [name for name in left if name not in self.journal]
                if mine := next((name for name in left if self._claim(name)), None):
                    left.remove(mine)
                    yield mine
                elif left:
                    time.sleep(PAUSE)

    @contextmanager
    def _give_signs_of_life(self) -> Iterator[None]:
        with explain_os_errors(self.root):
            for folder in ("alive", "claims"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            self._touch()
        stopped = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stopped,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _beat(self, stopped: threading.Event) -> None:
        while not stopped.wait(min(BEAT, self.patience / 10)):
            self._touch()

    def _touch(self) -> float:
        """The shared file system's time, as of now."""
        path = self.root / "alive" / str(self.number)
        path.write_text("", "utf-8")
        os.utime(path)
        return path.stat().st_mtime

    def _claim(self, name: str) -> bool:
        """Whether the record of this name is this process's to make: nobody's, its own, or a silent process's."""
        text = f"{self.journal.key}/{self.place.stem}/{name}"
        path = self.root / "claims" / hashlib.sha256(text.encode()).hexdigest()[:32]
        with explain_os_errors(path):
            try:
                path.open("x").close()
            except FileExistsError:
                owner = path.read_text("utf-8")
                if owner != str(self.number) and not self._is_silent(owner, path):
                    return False
            path.write_text(str(self.number), "utf-8")
        return True

    def _is_silent(self, owner: str, claim: Path) -> bool:
        """Whether a claim's owner has given no sign of life for too long; of a claim without a name, its age counts."""
        try:
            last = (self.root / "alive" / owner if owner else claim).stat().st_mtime
        except FileNotFoundError:
            last = claim.stat().st_mtime
        return self._touch() - last > self.patience

    def _read_others(self) -> None:
        """Take what the other processes have added to their journals since the last look."""
        for path in sorted(self.root.glob(f"[0-9]*/{self.place}")):
            if path.resolve() != self.journal.path.resolve():
                self._read_on(path)

    def _read_on(self, path: Path) -> None:
        """Take the records that were added to another's journal; a last line that isn't whole yet is left."""
        start = self.offsets.get(path, 0)
        with explain_os_errors(path), open(path, "rb") as file:
            file.seek(start)
            content = file.read()
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        for line in lines:
            self._take(line, path, is_header=start == 0)
            start += len(line)
        self.offsets[path] = start

    def _take(self, line: bytes, path: Path, *, is_header: bool) -> None:
        try:
            record = json.loads(line)
            is_good = (
                record["key"] == self.journal.key if is_header else hash_json(record["payload"]) == record["sha256"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path} is damaged ({error}): delete it, and start its shard again.") from error
        if not is_good and is_header:
            raise StudyError(
                f"{path} was made from other parameters, inputs or code: run all shards from one checkout, or delete "
                f"{self.root} to start them again."
            )
        if not is_good:
            raise StudyError(f"{path} is damaged (a hash doesn't match): delete it, and start its shard again.")
        if not is_header:
            self.journal.records.setdefault(record["id"], record["payload"])
