"""Files of a data set as its hub publishes them, from a local mirror or the hub itself.

Knows file names, hashes and revisions; knows nothing about what is in the files (`hub_rows`). Which file belongs to
which configuration and split follows the hub's naming, in which a file that names no split is "train". No code of a
data set is run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1_utils.errors import StudyError
from s1_utils.paper.hub_rows import BadRow, Row, read_rows, write_briefly
from s1_utils.progress import is_interactive
from s1_utils.store import hash_file, hash_json

FORMATS = (".parquet", ".jsonl", ".json", ".csv")  # where a split is published in several, the first is read
SPLITS = {
    "train": ("train",),
    "test": ("test",),
    "validation": ("validation", "valid", "val"),
    "few_shot": ("few_shot", "fewshot", "dev"),
}
HUB_SECONDS = 60.0
_SHARD = re.compile(r"_(\d+)_of_(\d+)(?:_[0-9a-f]{8,})?$")


@dataclass(frozen=True)
class Part:
    """One split of one configuration. `configs`: its spellings, or a file's own name; () for a set without any."""

    configs: tuple[str, ...] = ()
    split: str = "train"


@dataclass(frozen=True)
class Snapshot:
    """The files of some parts, in their order, and where they came from (for a stage's JSON)."""

    paths: tuple[tuple[Path, ...], ...]
    receipt: dict[str, Any]


# ------------------------------------------------------------------ names


def choose_files(names: Sequence[str], hub_id: str, part: Part) -> list[str]:
    """The files among `names` (paths in the repository, with /) that hold `part`, sorted.

    Raises StudyError naming the files there are if none does, or if some of a set of shards aren't there.
    """
    data = sorted(n for n in names if Path(n).suffix in FORMATS and not any(p.startswith(".") for p in n.split("/")))
    own = [n for n in data if n.split("/")[-1] in part.configs]
    candidates = [[n for n in data if _is_of(n, _plain(config))] for config in part.configs] or [data]
    found = own or _pick_split(next(filter(None, candidates), []), part.split)
    formats = [f for f in FORMATS if any(n.endswith(f) for n in found)]
    if not formats:
        wanted = " ".join(filter(None, ["/".join(part.configs), part.split]))
        raise StudyError(
            f"{hub_id} has no file for {wanted}; it has {_list_briefly(data)}. If its layout changed, pin an older "
            "revision, or name the split's files in the hub's way in a mirror."
        )
    found = [n for n in found if n.endswith(formats[0])]
    _require_shards(found, hub_id)
    return found


def _pick_split(names: list[str], split: str) -> list[str]:
    """Those that name `split`; all of them if no file names any split and `split` is "train"."""
    named = [n for n in names if _name_split(n) == split]
    return names if split == "train" and not any(map(_name_split, names)) else named


def _plain(text: str) -> str:
    return text.lower().replace("-", "_")


def _strip_stem(name: str) -> str:
    """The file's name in plain spelling, without its format and shard number."""
    return _SHARD.sub("", _plain(name.split("/")[-1]).rsplit(".", 1)[0])


def _is_of(name: str, config: str) -> bool:
    stem = _strip_stem(name)
    ends = ("", *(f"_{spelling}" for spellings in SPLITS.values() for spelling in spellings))
    return config in _plain(name).split("/")[:-1] or stem in [config + end for end in ends]


def _name_split(name: str) -> str | None:
    """The split that the file's name ends in, or else a folder of its path."""
    for text in (_strip_stem(name), *reversed(_plain(name).split("/")[:-1])):
        for split, spellings in SPLITS.items():
            if any(text == spelling or text.endswith(f"_{spelling}") for spelling in spellings):
                return split
    return None


def _require_shards(names: list[str], hub_id: str) -> None:
    """Raise StudyError unless each "…-00000-of-00005" has its four siblings."""
    stems = [_plain(name).rsplit(".", 1)[0] for name in names]
    shards = [(stem[: m.start()], int(m[2])) for stem in stems if (m := _SHARD.search(stem))]
    for (stem, total), there in Counter(shards).items():
        if there != total:
            raise StudyError(f"{hub_id}: {there} of the {total} shards of {stem} are there: download the others too.")


def _list_briefly(names: Sequence[str]) -> str:
    return (", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")) or "no data files"


# ------------------------------------------------------------------ mirrors and the hub


def find_files(hub_id: str, parts: Sequence[Part], *, mirror: Path | None, revision: str | None) -> Snapshot:
    """The files of `parts`, in the folder `mirror`/`hub_id` or, without a mirror, downloaded from the hub.

    `revision`: a branch, a tag, a commit of 40 digits, or "sha256:…", a receipt's own hash of its files. Raises
    StudyError where the set, a part or the revision isn't to be had, or where what is found isn't what was pinned.
    """
    pin = revision if revision and revision.startswith("sha256:") else None
    if mirror is not None:
        folder, found, names = _open_mirror(hub_id, mirror, None if pin else revision)
        chosen = [choose_files(names, hub_id, part) for part in parts]
        paths = [[folder / name for name in names_] for names_ in chosen]
    else:
        found, names = _ask_hub(hub_id, None if pin else revision)
        chosen = [choose_files(names, hub_id, part) for part in parts]
        paths = [[_download(hub_id, name, found) for name in names_] for names_ in chosen]
    files = {n: p for ns, ps in zip(chosen, paths, strict=True) for n, p in zip(ns, ps, strict=True)}
    receipt = _write_receipt(found, files)
    if pin and receipt["sha256"] != pin:
        raise StudyError(
            f"{hub_id} isn't what was pinned: its files hash to {receipt['sha256']}, pinned is {pin}. Get the pinned "
            "files, or change the pin if the new ones are wanted."
        )
    return Snapshot(tuple(map(tuple, paths)), receipt)


def _write_receipt(revision: str, files: dict[str, Path]) -> dict[str, Any]:
    facts = [{"path": n, "sha256": hash_file(p), "size": p.stat().st_size} for n, p in sorted(files.items())]
    return {
        "revision": revision,
        "sha256": "sha256:" + hash_json({each["path"]: each["sha256"] for each in facts}),
        "files": facts,
    }


def _open_mirror(hub_id: str, mirror: Path, revision: str | None) -> tuple[Path, str, list[str]]:
    folder = mirror / hub_id
    if revision is not None:
        raise StudyError(
            f"A mirror has no revisions, so {revision!r} of {hub_id} can't be checked: pin the receipt's sha256:… "
            "instead, or read it from the hub."
        )
    if not folder.is_dir():
        raise StudyError(
            f"The mirror {mirror} has no folder {hub_id}: run `hf download --repo-type dataset {hub_id} --local-dir "
            f"{folder}` where there is a network, or take the source out."
        )
    return folder, "mirror", [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]


def _ask_hub(hub_id: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit that `revision` (None: the default branch) is now, and the names of its files."""
    import httpx2
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).repo_info(
            hub_id, repo_type="dataset", revision=revision, timeout=HUB_SECONDS
        )
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise _explain_hub(hub_id, error) from error
    if revision and re.fullmatch("[0-9a-f]{40}", revision) and info.sha != revision:
        raise StudyError(f"{hub_id} is pinned to {revision}, but the hub answers with {info.sha}: check the pin.")
    if not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
        raise StudyError(f"The hub names no commit for {hub_id}, so it can't be recorded: use a mirror.")
    return info.sha, [file.rfilename for file in info.siblings or []]


def _download(hub_id: str, name: str, commit: str) -> Path:
    """The file's path in the hub client's own cache, which keeps what it has between runs."""
    import httpx2
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    if not is_interactive():
        disable_progress_bars()
    where = {"endpoint": os.environ.get("HF_ENDPOINT"), "cache_dir": os.environ.get("HF_HUB_CACHE")}
    try:
        return Path(hf_hub_download(hub_id, name, repo_type="dataset", revision=commit, **where))
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise _explain_hub(hub_id, error) from error


def _explain_hub(hub_id: str, error: Exception) -> StudyError:
    return StudyError(
        f"Can't get {hub_id} from the hub ({write_briefly(error)}). Check the network and, for a gated set such as "
        f"GPQA, that HF_TOKEN is set and its terms accepted; or run `hf download --repo-type dataset {hub_id} "
        f"--local-dir MIRROR/{hub_id}` elsewhere and set the mirror."
    )


def read_files(
    hub_id: str, config: str | None, split: str, *, mirror: Path | None, revision: str | None
) -> Iterator[Row | BadRow]:
    """The rows of one split of one configuration (or of one file, by its name), file by file in the order of names."""
    part = Part((config,) if config else (), split)
    for path in find_files(hub_id, [part], mirror=mirror, revision=revision).paths[0]:
        yield from read_rows(path)
