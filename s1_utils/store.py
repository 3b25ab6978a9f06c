"""Stages that can be killed: atomic files, append-only journals, manifests written last.

Knows files, hashes and keys; knows nothing about what is in them. A stage's key is its parameters, the hashes of its
inputs and a hash of its own sources. With a matching manifest it loads, with a matching start it resumes, with
neither it refuses and says which keys differ. Tests: tests/test_store.py (faults: tests/test_faults.py).
"""

from __future__ import annotations

import ast
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import paths
from s1_utils.errors import StudyError

LOCK_PATIENCE = 15.0  # seconds

# ------------------------------------------------------------------ hashes


def hash_json(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_path(path: Path) -> str:
    """sha256 of a file, or of the names and contents of all files below a folder."""
    if path.is_file():
        return hash_file(path)
    return hash_json({str(p.relative_to(path)): hash_file(p) for p in sorted(path.rglob("*")) if p.is_file()})


def hash_code(modules: Sequence[str]) -> str:
    """sha256 of the named modules of s1_utils and of all they import from it; comments and docstrings don't count."""
    pending, sources = list(modules), {}
    while pending:
        name = pending.pop()
        if name in sources or name in ("errors", "paths", "store", "params", "progress"):
            continue
        base = paths.ROOT / "s1_utils" / name.replace(".", "/")
        file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if not file.is_file():
            raise StudyError(f"No module s1_utils.{name}: name modules that exist in code=[…].")
        tree = ast.parse(file.read_text("utf-8"))
        pending += _find_imports(tree)
        sources[name] = ast.dump(_strip_docstrings(tree))
    return hash_json(sources)


def _find_imports(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "s1_utils":
            module = (node.module or "").removeprefix("s1_utils").lstrip(".")
            names += [module] if module else [alias.name for alias in node.names]
    return names


def _strip_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[:] = body[1:] or [ast.Pass()]
    return tree


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


# ------------------------------------------------------------------ atomic writes


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, on any failure nothing is left.

    Raises StudyError when the disk is full or the folder can't be written.
    """
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with explain_os_errors(path):
            yield temporary
            temporary.chmod(0o644)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk or a read-only folder into a line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_find_existing(path)).free / 2**30
            raise StudyError(
                f"Disk full while writing {path} ({free:.1f} GiB free). Nothing half-written was kept: "
                "free some space and run the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StudyError(f"Can't write {path}: make its folder writable, or set S1_RUNS to one that is.") from error
        raise


def _find_existing(path: Path) -> Path:
    return path if path.exists() else _find_existing(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write Parquet; the same table always gives the same bytes."""
    with write_atomically(path) as temporary:
        table.reset_index(drop=True).to_parquet(temporary, index=False, compression="zstd")


def require_columns(table: pd.DataFrame, columns: Sequence[str], source: str) -> pd.DataFrame:
    """`table` itself; raises StudyError naming the columns it lacks."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise StudyError(f"{source} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}.")
    return table


# ------------------------------------------------------------------ journals


class Journal:
    """An append-only JSONL file of records by id, for one key and one writer.

    Opening cuts a torn last line. The first record of an id wins. Each append is on disk when it returns.
    Raises StudyError for another key or a damaged line in the middle.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.records: dict[str, Any] = {}
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._cut_torn_tail()
            self._replay()
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
        if not path.stat().st_size:
            self._append({"journal": path.stem, "key": key})

    def _cut_torn_tail(self) -> None:
        with open(self.path, "rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)

    def _replay(self) -> None:
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    self._accept(record) if number > 1 else self._check_header(record)
                except (ValueError, KeyError, TypeError) as error:
                    raise StudyError(
                        f"Line {number} of {self.path} is damaged ({error}). "
                        f"Delete that line to repeat its work, or the file to start the stage again."
                    ) from error

    def _check_header(self, header: dict[str, Any]) -> None:
        if header["key"] != self.key:
            raise StudyError(f"{self.path} belongs to other parameters or inputs: delete it, or set force to True.")

    def _accept(self, record: dict[str, Any]) -> None:
        if hash_json(record["payload"]) != record["sha256"]:
            raise ValueError("its hash doesn't match")
        self.records.setdefault(record["id"], record["payload"])

    def __contains__(self, record_id: str) -> bool:
        return record_id in self.records

    def add(self, record_id: str, payload: Any) -> None:
        """Append one record; an id that is already there is ignored."""
        if record_id in self.records:
            return
        self._append({"id": record_id, "sha256": hash_json(payload), "payload": payload})
        self.records[record_id] = json.loads(json.dumps(payload))

    def _append(self, record: dict[str, Any]) -> None:
        start = self._file.seek(0, os.SEEK_END)
        left = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        try:
            with explain_os_errors(self.path):
                while left:  # a nearly full disk takes a part, then says no
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ------------------------------------------------------------------ stages


class Stage:
    """One notebook's outputs in one folder. Made by `open_stage`."""

    def __init__(self, folder: Path, key: dict[str, Any], upstream: dict[str, Path], facts: dict[str, Any]) -> None:
        self.folder, self.key, self.upstream, self.facts = folder, key, upstream, facts
        self.key_hash = hash_json(key)
        self.manifest = _read_json(folder / "manifest.json")
        self.is_done = self.manifest is not None
        self._started = time.time()
        self._journals: list[Journal] = []

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, stage: str, table: str, columns: Sequence[str] = ()) -> pd.DataFrame:
        """A table of an upstream stage, checked against that stage's manifest."""
        return require_columns(pd.read_parquet(self.locate(stage, f"{table}.parquet")), columns, f"{stage}/{table}")

    def locate(self, stage: str, name: str) -> Path:
        """The path of an upstream output, checked against that stage's manifest."""
        folder = self.upstream[stage]
        recorded = (_read_json(folder / "manifest.json") or {}).get("outputs", {})
        if name not in recorded:
            raise StudyError(f"{stage} has no output {name}; it has {', '.join(recorded)}. Rerun {stage}.")
        if not (folder / name).exists() or hash_path(folder / name) != recorded[name]["sha256"]:
            raise StudyError(f"{folder / name} isn't what {stage} wrote (changed, or from another run): rerun {stage}.")
        return folder / name

    def table(self, name: str, build: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Load the stage's own table if it is there, else build and write it."""
        return self.tables([name], lambda: {name: build()})[0]

    def tables(self, names: Sequence[str], build: Callable[[], Mapping[str, pd.DataFrame]]) -> list[pd.DataFrame]:
        """Like `table` for several tables made together; they are built again unless all are there."""
        paths_ = [self.folder / f"{name}.parquet" for name in names]
        if not all(path.exists() for path in paths_):
            built = build()
            for name, path in zip(names, paths_, strict=True):
                write_table(path, built[name])
        return [pd.read_parquet(path) for path in paths_]

    def json(self, name: str, build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Like `table` for a small JSON document."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_json(path, build())
        return _read_json(path) or {}

    def read_json(self, stage: str, name: str) -> dict[str, Any]:
        """A JSON document of an upstream stage, checked against that stage's manifest."""
        return _read_json(self.locate(stage, f"{name}.json")) or {}

    def journal(self, name: str) -> Journal:
        """The stage's journal of that name, open for appending."""
        journal = Journal(self.folder / f"{name}.jsonl", self.key_hash)
        self._journals.append(journal)
        return journal

    def finish(self, outputs: Sequence[str] = (), **facts: Any) -> dict[str, Any]:
        """Write the manifest, last: hashes of every table and of the other `outputs`, and what the run cost."""
        for journal in self._journals:
            journal.close()
        if self.is_done:
            _unlock(self.folder)
            return self.manifest or {}
        tables = [p.name for kind in ("*.parquet", "*.json") for p in self.folder.glob(kind)]
        names = sorted({*tables, *outputs} - {"manifest.json", "started.json"})
        manifest = {
            "stage": self.key["stage"],
            "key": self.key,
            "outputs": {name: _describe(self.folder / name) for name in names},
            "wall_seconds": round(time.time() - self._started, 1),
            "sessions": (_read_json(self.folder / "started.json") or {}).get("sessions", 1),
            **self.facts,
            **facts,
            **_describe_machine(),
        }
        write_json(self.folder / "manifest.json", manifest)
        self.manifest, self.is_done = manifest, True
        _unlock(self.folder)
        return manifest


def open_stage(
    stage: str,
    params: Any,
    *,
    code: Sequence[str],
    reads: Sequence[str] = (),
) -> Stage:
    """Open a stage's folder for these parameters (a pydantic model of `s1_utils.params`).

    `reads` names upstream stages, `code` the modules whose change invalidates the result. Raises StudyError when an
    upstream stage is missing or unfinished, when upstream stages don't belong together, when the folder holds
    something made from another key (unless params.force), and when another process is at work in it.
    """
    run = params.find_run()
    upstream = {name: _find_stage(name, run, params.profile) for name in reads}
    inputs = _collect_inputs(upstream)
    key = {"stage": stage, "params": params.result_params(), "inputs": inputs, "code": hash_code(code)}
    folder = paths.find_runs() / run / stage
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _lock(folder)
    try:
        found = _read_json(folder / "manifest.json") or _read_json(folder / "started.json")
        if found is not None and found["key"] != key:
            if not params.force:
                raise StudyError(_explain_difference(folder, found["key"], key))
            _clear(folder)
            found = None
        opened = Stage(folder, key, upstream, {"profile": params.profile, "seed": getattr(params, "seed", None)})
        if not opened.is_done:
            sessions = (found or {}).get("sessions", 0) + 1
            write_json(folder / "started.json", {"key": key, "sessions": sessions})
    except BaseException:
        _unlock(folder)
        raise
    return opened


def _find_stage(name: str, run: str, profile: str) -> Path:
    for candidate in dict.fromkeys((run, profile)):
        folder = paths.find_runs() / candidate / name
        if (folder / "manifest.json").exists():
            return folder
        if (folder / "started.json").exists():
            raise StudyError(f"{name} was started in {folder} but didn't finish: run it again first, it continues.")
    raise StudyError(
        f"{name} has no finished run in {folder}: run it first, with "
        f"`python -m s1_utils.study run {profile} --only {name}`."
    )


def _collect_inputs(upstream: Mapping[str, Path]) -> dict[str, str]:
    """stage/output → sha256 of all that upstream stages wrote; refuses stages made from different inputs."""
    manifests = {name: _read_json(folder / "manifest.json") or {} for name, folder in upstream.items()}
    outputs = {f"{s}/{n}": o["sha256"] for s, m in manifests.items() for n, o in m["outputs"].items()}
    seen: dict[str, tuple[str, str]] = {name: (sha, name.split("/")[0]) for name, sha in outputs.items()}
    for stage, manifest in manifests.items():
        for name, sha in manifest["key"]["inputs"].items():
            other_sha, other = seen.setdefault(name, (sha, stage))
            if other_sha != sha:
                raise StudyError(
                    f"{stage} was made from another {name} than the one of {other} ({sha[:8]}, not {other_sha[:8]}): "
                    f"rerun {stage} with force, or keep both in one run."
                )
    return outputs


_locks: dict[Path, int] = {}  # file descriptors, of the stages at work in this process


def _lock(folder: Path) -> None:
    """Keep other processes out until `_unlock`; a notebook run again in the same kernel takes its own lock over."""
    _unlock(folder)
    with explain_os_errors(folder / "lock"):
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    patience = time.monotonic() + LOCK_PATIENCE  # a kernel whose papermill was killed needs a moment to notice
    while folder not in _locks:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _locks[folder] = handle
        except BlockingIOError:
            if time.monotonic() > patience:
                os.close(handle)
                raise StudyError(f"Another process is at work in {folder}: wait for it, or stop it.") from None
            time.sleep(0.2)


def _unlock(folder: Path) -> None:
    if folder in _locks:
        os.close(_locks.pop(folder))


def _clear(folder: Path) -> None:
    """Empty a stage's folder, its key last: killed half-way, it still says which run the rest belongs to."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name in ("manifest.json", "started.json")):
        if path.name in ("lock", "notebook.ipynb", "papermill.log"):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _explain_difference(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> str:
    differences = []
    for part in ("params", "inputs"):
        names = sorted({*old[part], *new[part]})
        differences += [
            f"{name}: {old[part].get(name)!s:.40} → {new[part].get(name)!s:.40}"
            for name in names
            if old[part].get(name) != new[part].get(name)
        ]
    if old["code"] != new["code"]:
        differences.append("the stage's own code changed")
    return (
        f"{folder} was made from another key ({'; '.join(differences)}). Give this run a run_name of its own, "
        "or set force to True to rebuild it."
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StudyError(f"{path} isn't valid JSON: delete its folder to rebuild the stage.") from None


def _describe(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"sha256": hash_path(path)}
    if path.suffix == ".parquet":
        import pyarrow.parquet

        facts["rows"] = pyarrow.parquet.read_metadata(path).num_rows
    return facts


def _describe_machine() -> dict[str, Any]:
    import platform

    packages = ("torch", "transformers", "trl", "datasets", "pandas", "numpy", "vllm", "math-verify")
    versions = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "versions": versions,
        "hardware": {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", "s1_utils", "notebooks", "params")),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
