"""Overlap of files, from a shell: JSON Lines or Parquet in, one JSON object a match out.

    python -m s1_utils.dedup TRAIN.jsonl EVAL.jsonl [EVAL…] --policy audited --field question --out overlaps.jsonl

Knows files and rows; knows nothing about how overlap is found. Training rows are streamed: memory grows with the
evaluation items and the matches, never with the training file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from s1_utils.dedup import POLICIES, Index, Match, Policy, label
from s1_utils.errors import StudyError
from s1_utils.progress import SECONDS_BETWEEN_LINES
from s1_utils.store import write_atomically

ID_FIELDS = ("id", "question_id", "unique_id")
HIDDEN = ("grams", "digest")


@dataclass
class Reader:
    """The texts of one file as (id, text); counts what it can't use. Ids are a field, or row numbers from 0."""

    path: str  # "-": standard input
    field: str
    id_field: str | None = None  # None: the first of ID_FIELDS that the first row has; "": row numbers
    rows: int = 0
    empty: int = 0  # rows whose text is null
    torn: bool = False
    _seen: set[int] = field(default_factory=set, repr=False)

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        """Raises StudyError, with the row, for what is no JSON object, no text, or an id met before."""
        for row in self._read_rows():
            if self.field not in row:
                have = ", ".join(map(str, list(row)[:12]))
                raise StudyError(f"{self._at()} has no field {self.field!r}; it has {have}. Name one with --field.")
            text, row_id = row[self.field], self._identify(row)
            self.rows += 1
            if text is None:
                self.empty += 1
            elif isinstance(text, str):
                yield row_id, text
            else:
                self.rows -= 1
                raise StudyError(f"{self._at()}: {self.field} is {text!r:.40}, not a string.")

    def _at(self) -> str:
        return f"{self.path}, row {self.rows}"

    def _identify(self, row: dict[str, Any]) -> Any:
        if self.id_field is None:
            self.id_field = next((name for name in ID_FIELDS if name in row), "")
        if not self.id_field:
            return self.rows
        found = row.get(self.id_field)
        if not isinstance(found, (str, int)):
            raise StudyError(
                f"{self._at()}: {self.id_field} is {found!r:.40}, not an id. Name another with --id, or --id '' "
                "for row numbers."
            )
        if hash(found) in self._seen:
            raise StudyError(
                f"{self._at()}: {self.id_field} {found!r:.40} was there before. Give each row its own, or pass "
                "--id '' for row numbers."
            )
        self._seen.add(hash(found))
        return found

    def _read_rows(self) -> Iterator[dict[str, Any]]:
        if self.path == "-":
            yield from self._read_lines(sys.stdin.buffer, None)
        elif not os.path.exists(self.path):
            raise StudyError(f"No file {self.path}.")
        elif self.path.endswith(".parquet"):
            yield from self._read_parquet()
        else:
            with open(self.path, "rb") as file:
                yield from self._read_lines(file, os.path.getsize(self.path))

    def _read_lines(self, file: BinaryIO, size: int | None) -> Iterator[dict[str, Any]]:
        with _open_bar(self.path, size, "B") as bar:
            for number, line in enumerate(file, 1):
                bar.update(len(line))
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    if not line.endswith(b"\n"):  # what a killed writer leaves
                        self.torn = True
                        return
                    raise StudyError(f"{self.path}, line {number} isn't JSON ({error}): mend or delete it.") from None
                if not isinstance(row, dict):
                    raise StudyError(f"{self.path}, line {number} is {row!r:.40}, not a JSON object with fields.")
                yield row

    def _read_parquet(self) -> Iterator[dict[str, Any]]:
        import pyarrow
        import pyarrow.parquet

        try:
            file = pyarrow.parquet.ParquetFile(self.path)
            names = file.schema_arrow.names
            ids = ID_FIELDS if self.id_field is None else [self.id_field]
            wanted = [name for name in (self.field, *ids) if name in names]
            if self.field not in names:
                wanted = names  # so that the row's fields can be named
            with _open_bar(self.path, file.metadata.num_rows, " rows") as bar:
                for batch in file.iter_batches(batch_size=1024, columns=wanted):
                    yield from batch.to_pylist()
                    bar.update(batch.num_rows)
        except (pyarrow.ArrowException, OSError) as error:
            raise StudyError(f"Can't read {self.path} as Parquet ({error}).") from None


def _open_bar(path: str, total: int | None, unit: str) -> Any:
    """A bar on a terminal, a line now and then in a log, nothing for short work."""
    from tqdm import tqdm

    every = 0.3 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
    name = "standard input" if path == "-" else Path(path).name
    return tqdm(desc=name, total=total, unit=unit, unit_scale=True, mininterval=every, delay=2, leave=False)


def name_sets(paths: Sequence[str]) -> list[str]:
    """File names without ending; the whole path where two are the same. Raises StudyError for a file given twice."""
    stems = [Path(path).stem if path != "-" else "stdin" for path in paths]
    names = [path if stems.count(stem) > 1 else stem for path, stem in zip(paths, stems, strict=True)]
    if len(set(names)) < len(names):
        raise StudyError(f"An evaluation file is named twice: {', '.join(paths)}.")
    return names


def read_index(readers: Sequence[Reader], policy: Policy) -> Index:
    """The index of evaluation files, each a set of its own."""
    index = Index(policy)
    for name, reader in zip(name_sets([reader.path for reader in readers]), readers, strict=True):
        index.add(name, reader)
        if not reader.rows:
            raise StudyError(f"{reader.path} has no rows: there is nothing to compare with.")
    return index


def write_matches(matches: Sequence[Match], out: str) -> None:
    """One JSON object a line, to a file (whole or not at all) or to standard output ("-")."""
    with contextlib.ExitStack() as stack:
        file: Any = sys.stdout
        if out != "-":
            file = stack.enter_context(open(stack.enter_context(write_atomically(Path(out))), "w", encoding="utf-8"))
        for match in matches:
            row = {name: value for name, value in asdict(match).items() if name not in HIDDEN}
            row["coverage"] = round(row["coverage"], 4)
            file.write(json.dumps(row) + "\n")
        file.flush()


def summarise(index: Index, train: Reader, readers: Sequence[Reader], matches: Sequence[Match]) -> str:
    """What was compared and found, in a few lines."""
    counts = Counter(item.eval_set for item in index.items)
    sets = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    found = [match for match in matches if not match.boilerplate]
    rules = Counter(match.rule for match in found)
    policy = index.policy
    lines = [
        f"{train.rows:,} texts against {len(index.items):,} items ({sets})",
        f"{len({match.train_id for match in found}):,} texts overlap, in {len(found):,} matches"
        + (f" ({', '.join(f'{rule} {count:,}' for rule, count in sorted(rules.items()))})" if found else ""),
    ]
    if len(found) < len(matches):
        ids = {match.train_id for match in matches} - {match.train_id for match in found}
        lines.append(f"{len(matches) - len(found):,} matches are boilerplate; {len(ids):,} texts have no other")
    hidden = len(index.find_invisible("any" if policy.normalised else "words"))
    if hidden:
        why = "hold no letter" if policy.normalised else f"have fewer than {policy.n} words"
        lines.append(f"{hidden:,} items can't be found by this policy: they {why}")
    for reader in (train, *readers):
        if reader.empty:
            lines.append(f"{reader.path}: {reader.empty:,} rows have no text (null) and were passed over")
        if reader.torn:
            lines.append(f"{reader.path}: its last line is cut off and was passed over")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line that says what to do."""
    options = _parse(arguments)
    try:
        policy = replace(POLICIES[options.policy], **_find_thresholds(options))
        eval_field = options.eval_field or options.field
        train = Reader(options.train, options.field, options.id)
        readers = [Reader(path, eval_field, options.eval_id) for path in options.evaluation]
        index = read_index(readers, policy)
        matches = label(index.scan(train, fast=options.fast), index)
        write_matches([m for m in matches if options.with_boilerplate or not m.boilerplate], options.out)
        print(f"policy {options.policy}\n{summarise(index, train, readers, matches)}", file=sys.stderr)
    except (StudyError, ValueError) as error:
        print(f"dedup: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _find_thresholds(options: argparse.Namespace) -> dict[str, Any]:
    names = ("n", "letters", "common", "covering")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    default = POLICIES["audited"]
    parser = argparse.ArgumentParser(
        "python -m s1_utils.dedup",
        description="Which training texts share a run of words with which evaluation items.",
        epilog="Files are JSON Lines or .parquet; - is standard input. Texts are never modified.",
    )
    parser.add_argument("train", help="training texts")
    parser.add_argument("evaluation", nargs="+", help="evaluation items; a file is a set")
    parser.add_argument("--policy", choices=list(POLICIES), default="audited", help="default: audited")
    parser.add_argument("--field", default="question", help="field that holds the text (default: question)")
    parser.add_argument("--eval-field", help="the same, of the evaluation files (default: --field)")
    parser.add_argument(
        "--id", help="field of the training id (default: id, question_id or unique_id if there, else the row number)"
    )
    parser.add_argument("--eval-id", help="the same, of the evaluation files")
    parser.add_argument("--out", default="-", help="where matches go, a JSON object a line (default: standard output)")
    parser.add_argument("--with-boilerplate", action="store_true", help="write the matches that are ignored as well")
    parser.add_argument("--n", type=int, help=f"words in a row (default: {default.n})")
    parser.add_argument("--letters", type=int, help=f"letters in a normalised run (default: {default.letters})")
    parser.add_argument("--common", type=int, help=f"texts that make boilerplate, 0: none (default: {default.common})")
    parser.add_argument("--covering", type=float, help=f"share that never is (default: {default.covering})")
    parser.add_argument("--fast", action="store_true", help="scan with compiled code (needs numba), for large files")
    return parser.parse_args(arguments)
