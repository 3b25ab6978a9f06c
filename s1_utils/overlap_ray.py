"""The same overlap past one machine: shards spread with Ray Data, the answers of `dedup` and `near_duplicates`.

Knows shards (JSON Lines or Parquet files that every node opens under the same path) and how to spread them; leaves
what overlap is to those two. A shard is the unit of work: cut big ones. Ids must differ across shards; only those of
one shard are compared. Ray is an extra; where it runs already it is used, and its workers must have this package.
Invariants: tests/test_overlap_ray.py.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from s1_utils.dedup import POLICIES, Match, Policy, build_index, find_ngrams, label, read_closely
from s1_utils.errors import StudyError
from s1_utils.near_duplicates import Pair, find_pairs, split_letters
from s1_utils.overlap_files import ID_FIELDS, Reader, write_matches
from s1_utils.progress import is_interactive

if TYPE_CHECKING:
    from pyarrow import Table

Shards = str | Sequence[str]  # a folder, a glob, a file, or a list of them
Rows = Iterator[tuple[Any, str]]  # (id, text)
Grams = Iterator[tuple[Any, list[str], dict[str, int]]]  # (id, words, k-gram → its hash)
COMMON = 10  # texts from which on a k-gram's count is told to every worker; rarer ones count as equally rare
ROWS = 10_000  # at once on their way to a shuffle


# ------------------------------------------------------------------ shards and Ray


class Texts:
    """The texts of shards. Raises StudyError if there is no shard, or if the first row has no id."""

    def __init__(self, train: Shards, field: str, id_field: str | None) -> None:
        self.paths = [path for some in ([train] if isinstance(train, str) else train) for path in _list_files(some)]
        self.field, self.id_field = field, id_field
        names = ID_FIELDS if id_field is None else (id_field,)
        for path in self.paths:
            for row in Reader(path, field, id_field)._read_rows():
                self.id_field = next((name for name in names if name in row), None)
                if not self.id_field:
                    raise StudyError(
                        f"{path} has no field {' or '.join(names)}: say which one holds the ids with id_field (row "
                        "numbers name nothing across shards)."
                    )
                return

    def read(self, shards: Table) -> Rows:
        """The rows of shards, by the command line's reader.

        Not by Ray's: those turn strings that look like dates into dates, cut JSON Lines at U+2028, and have no room
        for half an emoji.
        """
        for path in shards["path"].to_pylist():
            yield from Reader(path, self.field, self.id_field)


def _list_files(some: str) -> list[str]:
    pattern = os.path.join(glob.escape(some), "*") if os.path.isdir(some) else some
    found = [some] if os.path.isfile(some) else [p for p in glob.glob(pattern) if p.endswith((".parquet", ".jsonl"))]
    if not found:
        raise StudyError(f"No shards at {some}: give a folder of .jsonl or .parquet files, a glob, or a list of them.")
    return sorted(map(os.path.abspath, found))


@contextlib.contextmanager
def _open_ray() -> Iterator[Any]:
    """Ray: the one that this process is connected to, else one that ends with the block."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise StudyError("Overlap past one machine needs Ray: pip install 's1-study[ray]'") from None
    is_ours = not ray.is_initialized()
    if is_ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    logger = logging.getLogger("ray.data")
    level = logger.level
    try:
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = is_interactive()
        context.execution_options.preserve_order = True
        context.raise_original_map_exception = True
        logger.setLevel(logging.CRITICAL)  # it logs pages on every error that it then raises
        with ray.data.DataContext.current(context):
            yield ray
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StudyError):  # Ray adds lines of its own
            raise StudyError(str(error.cause).splitlines()[0]) from None
        raise
    finally:
        logger.setLevel(level)
        if is_ours:
            ray.shutdown()


def _map_shards(ray: Any, texts: Texts, work: Callable[..., Any], **options: Any) -> Any:
    """What `work` makes of every shard, as a dataset."""
    shards = ray.data.from_items([{"path": path} for path in texts.paths], override_num_blocks=len(texts.paths))
    return shards.map_batches(work, batch_format="pyarrow", **options)


def _shuffle(rows: Any, buckets: int, work: Callable[[Table], Any]) -> Any:
    """What `work` makes of every bucket. Its number is the key, never a text (Ray issue 49133)."""
    return rows.groupby("bucket", num_partitions=buckets).map_groups(work, batch_format="pyarrow")


def _make_tables(rows: Iterable[Sequence[Any]], **kinds: str) -> Iterator[Table]:
    """Rows as Arrow tables of the given columns; the types are the same without rows, and have no limit of 2 GB."""
    import pyarrow as arrow

    types = {"int": arrow.int64(), "text": arrow.large_string(), "bytes": arrow.large_binary()}
    types["ints"] = arrow.large_list(types["int"])
    rows = iter(rows)
    while chunk := list(islice(rows, ROWS)):
        columns = zip(kinds, zip(*chunk, strict=True), strict=True)
        yield arrow.table({name: arrow.array(values, types[kinds[name]]) for name, values in columns})
    yield arrow.table({name: arrow.array([], types[kind]) for name, kind in kinds.items()})


def _make_results(rows: Iterable[Any]) -> Iterator[Table]:
    # JSON, as ids are strings or numbers, and for the same half emoji
    return _make_tables(([json.dumps(row)] for row in rows), result="text")


def _read_results(rows: Any) -> Iterator[Any]:
    return (json.loads(row["result"]) for row in rows.iter_rows())


def _hash(text: bytes) -> int:
    """The same on every node, unlike hash()."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)


# ------------------------------------------------------------------ overlap


def scan_shards(
    train: Shards,
    references: Mapping[str, Mapping[str, str]],
    policy: Policy = POLICIES["audited"],
    *,
    field: str = "question",
    id_field: str | None = None,
    out: str | None = None,
    concurrency: int | None = None,
) -> list[Match]:
    """dedup.find_overlaps of all shards, in their order. `out`: a file for these matches, boilerplate included.

    `concurrency`: actors, each with an index of its own (default: one a CPU). Only matches come back to this process;
    they are labelled here, since what is boilerplate depends on all of them.
    """
    texts, index = Texts(train, field, id_field), build_index(references, policy)
    with _open_ray() as ray:
        size = min(concurrency or int(ray.cluster_resources()["CPU"]), len(texts.paths))
        pool = {"compute": ray.data.ActorPoolStrategy(size=size)}
        found = _map_shards(ray, texts, _Scanner, fn_constructor_args=[ray.put(references), policy, texts], **pool)
        matches = [Match(**row | {"grams": tuple(row["grams"])}) for row in _read_results(found)]
    matches = label(matches, index)
    if out is not None:
        write_matches(matches, out)
    return matches


class _Scanner:
    """What an actor does: makes the index once, then scans shards."""

    def __init__(self, references: Any, policy: Policy, texts: Texts) -> None:
        import ray

        self.index, self.texts = build_index(ray.get(references), policy), texts

    def __call__(self, shards: Table) -> Iterator[Table]:
        return _make_results(map(asdict, self.index.scan(self.texts.read(shards))))


# ------------------------------------------------------------------ repeats


def find_duplicates_by_shuffle(
    train: Shards, *, field: str = "question", id_field: str | None = None, buckets: int = 64
) -> dict[Any, Any]:
    """dedup.find_duplicates of all shards: removed id → kept id."""
    texts = Texts(train, field, id_field)
    with _open_ray() as ray:
        keys = _map_shards(ray, texts, lambda shards: _list_keys(texts.read(shards), buckets))
        return dict(_read_results(_shuffle(keys, buckets, _keep_first)))


def _list_keys(texts: Rows, buckets: int) -> Iterator[Table]:
    keys = (((read_closely(text) or text).encode("utf-8", "surrogatepass"), text_id) for text_id, text in texts)
    rows = ((_hash(key) % buckets, json.dumps(text_id), key) for key, text_id in keys)
    return _make_tables(rows, bucket="int", id="text", key="bytes")


def _keep_first(bucket: Table) -> Iterator[Table]:
    ids, keys = [json.loads(text_id) for text_id in bucket["id"].to_pylist()], bucket["key"].to_pylist()
    first: dict[bytes, Any] = {}
    for text_id, key in zip(ids, keys, strict=True):
        first[key] = min(text_id, first.get(key, text_id))
    return _make_results((i, first[key]) for i, key in zip(ids, keys, strict=True) if i != first[key])


# ------------------------------------------------------------------ near-duplicates


def find_pairs_by_shuffle(
    train: Shards,
    *,
    threshold: float = 0.7,
    k: int = 5,
    field: str = "question",
    id_field: str | None = None,
    buckets: int = 64,
) -> list[Pair]:
    """near_duplicates.find_pairs of all shards. Raises ValueError for silly bounds.

    Texts meet in the buckets of their rarest k-grams (the prefix filter) and are compared there, word by word.
    """
    find_pairs({}, threshold=threshold, k=k)
    texts = Texts(train, field, id_field)
    with _open_ray() as ray:
        # Any order of the k-grams that all texts share is right, so that of the hashes would be; but then all texts
        # of a template meet, and are compared, in its k-grams. So common ones come last: their counts go to everyone.
        counted = _map_shards(ray, texts, lambda shards: _count_grams(_read_grams(texts.read(shards), k), buckets))
        common = ray.put({row["gram"]: row["count"] for row in _shuffle(counted, buckets, _keep_common).iter_rows()})
        spread = partial(_spread, threshold=threshold, buckets=buckets)
        prefixes = _map_shards(ray, texts, lambda shards: spread(_read_grams(texts.read(shards), k), ray.get(common)))
        found = _read_results(_shuffle(prefixes, buckets, partial(_compare, threshold=threshold, k=k)))
        return [Pair(*row) for row in sorted(set(map(tuple, found)))]


def _read_grams(texts: Rows, k: int) -> Grams:
    """The texts that have a k-gram."""
    for text_id, text in texts:
        words = split_letters(text)
        if grams := {gram: _hash(gram.encode()) for gram in map(" ".join, find_ngrams(words, k))}:
            yield text_id, words, grams


def _count_grams(texts: Grams, buckets: int) -> Iterator[Table]:
    import pyarrow

    every = None
    while every is None or len(every):  # a last table without rows tells the types
        numbers = (grams.values() for _, _, grams in islice(texts, ROWS))
        every = np.fromiter(chain.from_iterable(numbers), dtype=np.int64)
        gram, count = np.unique(every, return_counts=True)
        yield pyarrow.table({"bucket": gram % buckets, "gram": gram, "count": count})


def _keep_common(bucket: Table) -> Table:
    from pyarrow.compute import field

    counts = bucket.group_by("gram").aggregate([("count", "sum")]).rename_columns(["gram", "count"])
    return counts.filter(field("count") >= COMMON)


def _spread(texts: Grams, common: Mapping[int, int], threshold: float, buckets: int) -> Iterator[Table]:
    """Every text to the buckets of its prefix: the k-grams of which two texts this similar share at least one."""

    def list_rows() -> Iterator[tuple[Any, ...]]:
        for text_id, words, grams in texts:
            order = sorted((common.get(number, 0), number, gram) for gram, number in grams.items())
            parts: dict[int, list[int]] = defaultdict(list)
            for _, number, _ in order[: len(grams) - math.ceil(threshold * len(grams) - 1e-9) + 1]:
                parts[number % buckets].append(number)
            for bucket, prefix in parts.items():
                yield bucket, json.dumps(text_id), " ".join(words), len(grams), prefix

    return _make_tables(list_rows(), bucket="int", id="text", words="text", size="int", prefix="ints")


def _compare(bucket: Table, threshold: float, k: int) -> Iterator[Table]:
    """[first, second, similarity] of near texts; a pair comes out of every bucket in which it meets."""
    rows = [(json.loads(row["id"]), row["words"], row["size"], row["prefix"]) for row in bucket.to_pylist()]
    rows.sort(key=lambda row: row[0])
    holders: dict[int, list[int]] = defaultdict(list)
    pairs = []
    for place, (second, words, size, prefix) in enumerate(rows):
        met = [rows[i] for i in {i for number in prefix for i in holders[number]}]
        met = [row for row in met if min(size, row[2]) >= threshold * max(size, row[2]) - 1e-9]
        own = set(find_ngrams(words.split(), k)) if met else set()
        for first, other_words, other_size, _ in met:
            shared = len(own.intersection(find_ngrams(other_words.split(), k)))
            if shared >= threshold * (size + other_size - shared) - 1e-9:
                pairs.append((first, second, shared / (size + other_size - shared)))
        for number in prefix:
            holders[number].append(place)
    return _make_results(pairs)
