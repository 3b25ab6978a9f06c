"""Uploading a run's model or data set to a hub: what would go, why it may not, and the upload itself.

Knows the hub's client, licences, and what must not leave a machine; knows nothing about what cards say. Nothing here is
part of a run. The token comes from HF_TOKEN alone and is never shown. Nothing is uploaded that isn't on the list of
files of a model; texts are searched for keys and for places of this machine, weights must be whole safetensors without
such metadata. Killed, the same command goes on in the client's own way: what the hub has isn't stored or committed
again. Tests: tests/test_publish_hub.py, with the real client against a hub that runs there. No real hub was tried.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import cards, dataset_card, model_card, paths
from s1_utils.card_parts import OWN, find_obstacles, hide_places, name_licence, shorten_path
from s1_utils.errors import StudyError
from s1_utils.finished_run import FinishedRun, describe_provenance
from s1_utils.store import write_json

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
MODEL_FILES = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|(generation_)?config\.json|vocab\.json|"
    r"merges\.txt|tokenizer(_config)?\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.(jinja|json)"
)
VOCABULARIES = {"tokenizer.json", "vocab.json", "merges.txt"}  # pieces of anybody's text
LARGEST_HEADER, LARGEST_TEXT = 100 * 2**20, 100 * 2**20  # bytes
KEYS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an Anthropic key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "an OpenAI key": r"\bsk-(?!ant-)[A-Za-z0-9_-]{20,}",
    "a Google key": r"\bAIza[A-Za-z0-9_-]{35}",
    "an AWS key": r"\bAKIA[A-Z0-9]{16}\b",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}
SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
PLACES = re.compile(
    r"(?<![\w.:/~-])/(home|Users|root|mnt|scratch|work|lustre|gpfs|nfs|private|tmp)/[^\s\"'`|<>]+|\b[A-Za-z]:\\+Users\\+\w"
)


@dataclass(frozen=True)
class Upload:
    """`files`: path in the repository → local file; `left_out`: files of the model's folder that don't go."""

    what: str
    files: Mapping[str, Path]
    left_out: tuple[str, ...]
    licences: tuple[str, ...]


def publish(
    run: FinishedRun, repository: str, what: str, *, private: bool, licence: str = "", is_meant: bool = False
) -> None:
    """Show what would be uploaded, and upload it if it `is_meant`. Raises StudyError for what must not go."""
    if not REPOSITORY.fullmatch(repository):
        raise StudyError(f"{repository!r} is no repository: write OWNER/NAME, as in the hub's addresses.")
    refuse_run(run)
    with tempfile.TemporaryDirectory(prefix="s1-study-") as name:
        upload = prepare(run, what, Path(name), licence=licence)
        show_upload(upload, repository, private=private)
        if is_meant:
            send(Path(name), upload, repository, private=private)
        else:
            print("Nothing was uploaded: add --yes to the command if this is what you want.")


# ------------------------------------------------------------------ what may go


def refuse_run(run: FinishedRun) -> None:
    """Raises StudyError for a smoke run, or one whose later stages are half-finished."""
    if run.is_smoke:
        raise StudyError(f"{run.name} is a smoke run of random weights: there is nothing in it to share.")
    half = [stage for stage, why in run.missing.items() if "didn't finish" in why]
    if half:
        raise StudyError(
            f"{half[0]} of {run.name} {run.missing[half[0]]}, then upload: its results belong on the card."
        )


def prepare(run: FinishedRun, what: str, folder: Path, *, licence: str = "") -> Upload:
    """Lay out in `folder` what is uploaded; large files are links. Raises StudyError, naming every reason not to."""
    if licence and not name_licence(licence):
        raise StudyError(f"{licence!r} isn't a licence that can be given on: name one as the hub does, such as mit.")
    make = _prepare_model if what == "model" else _prepare_dataset
    obstacles, left_out, licences = make(run, folder, licence)
    write_json(folder / "provenance.json", hide_places(describe_provenance(run)))
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    obstacles += [f"{name} holds {found}" for name, path in files.items() for found in find_leaks(path)]
    if obstacles:
        listed = "\n".join(f"  - {each}" for each in obstacles)
        raise StudyError(f"This {what} can't be uploaded:\n{listed}\nMend that, or share it in another way.")
    return Upload(what, files, tuple(left_out), tuple(licences))


def _prepare_model(run: FinishedRun, folder: Path, licence: str) -> tuple[list[str], list[str], list[str]]:
    source, base = run.locate("03_sft", "model"), model_card.find_base(run)
    left_out = []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and MODEL_FILES.fullmatch(name):
            (folder / name).symlink_to(path)
        elif path.is_file() and name != "README.md":
            left_out.append(name)
    card = model_card.make_card(run, commands=cards.write_commands(run), licence=licence)
    (folder / "README.md").write_text(card, "utf-8")
    stated = base.licence_name or base.licence or licence
    unknown = ["the base model's licence isn't known here: state it with --licence, such as apache-2.0"]
    return [] if stated else unknown, left_out, [stated]


def _prepare_dataset(run: FinishedRun, folder: Path, licence: str) -> tuple[list[str], list[str], list[str]]:
    subset = dataset_card.find_subset(run)
    rows = dataset_card.collect_rows(run, subset)
    obstacles = find_obstacles(zip(rows["source"], rows["licence"], strict=True), stated=licence)
    rows["licence"] = rows["licence"].mask(rows["licence"] == OWN, licence or OWN)
    dataset_card.write_data(rows, folder)
    commands = cards.write_commands(run, dataset_card.STAGES)
    card = dataset_card.make_card(run, rows, subset=subset, commands=commands)
    (folder / "README.md").write_text(card, "utf-8")
    return obstacles, [], dataset_card.list_licences(rows)


# ------------------------------------------------------------------ what must not go


def find_leaks(path: Path) -> list[str]:
    """What in a file must not leave this machine, each kind once and never itself; [] if nothing was found."""
    if path.suffix == ".safetensors":
        return _check_weights(path)
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        cells = (str(cell) for name in table.select_dtypes(["object", "string"]) for cell in table[name].dropna())
        return list(dict.fromkeys(found for cell in cells for found in search_text(cell, is_foreign=True)))
    if path.stat().st_size > LARGEST_TEXT:
        return [f"{path.stat().st_size:,} bytes, too many to be searched"]
    text = path.read_text("utf-8", errors="replace")
    if path.name in VOCABULARIES:
        return search_text(text, is_foreign=True)
    found = search_text(text)
    if path.suffix == ".json" and _has_path(json.loads(text)):
        found.append("a path of this machine")
    return list(dict.fromkeys(found))


def _has_path(value: Any) -> bool:
    """Whether a JSON document has a value that is an absolute path."""
    if isinstance(value, dict | list):
        return any(map(_has_path, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and shorten_path(value) != value and len(re.split(r"[\\/]+", value)) > 2


def search_text(text: str, *, is_foreign: bool = False) -> list[str]:
    """Kinds of secrets in a text. In foreign text (questions, traces) only this machine's own places count."""
    found = [kind for kind, pattern in KEYS.items() if re.search(pattern, text)]
    found += [f"the value of {name}" for name, value in _list_secrets() if value in text]
    if any(pattern.search(text) for pattern in _list_places()) or (not is_foreign and PLACES.search(text)):
        found.append("a path of this machine")
    return found


def _list_secrets() -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= 12)


def _list_places() -> Iterable[re.Pattern[str]]:
    """Folders of this machine, as they could stand in a text; no folder so short that it says nothing."""
    folders = {Path.home(), paths.ROOT, paths.find_runs(), paths.find_cache()}
    names = sorted(str(folder) for folder in folders if len(folder.parts) > 1)
    return [re.compile(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])") for name in names]


def _check_weights(path: Path) -> list[str]:
    """Whether a safetensors file is whole, and what its metadata gives away."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        if max((tensor["data_offsets"][1] for tensor in header.values()), default=0) + 8 + length != size:
            raise ValueError("it is cut, or has more than its tensors")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"no whole safetensors ({error}): run 03_sft again"]
    return search_text(json.dumps(metadata))


# ------------------------------------------------------------------ the upload


def show_upload(upload: Upload, repository: str, *, private: bool) -> None:
    """Print the files with their bytes, the licences, and who will see them."""
    sizes = {name: path.stat().st_size for name, path in upload.files.items()}
    print(f"{upload.what} → {repository}, {'private' if private else 'PUBLIC'}, licence {', '.join(upload.licences)}")
    for name, size in sizes.items():
        print(f"  {size:>15,}  {name}")
    print(f"  {sum(sizes.values()):>15,}  bytes in {len(sizes)} files")
    for name in upload.left_out:
        print(f"  left out: {name}")


def send(folder: Path, upload: Upload, repository: str, *, private: bool) -> str:
    """Make the repository if it isn't there, and upload the folder in the client's way; the commit's address.

    Raises StudyError without a token, for a repository that more can see than was asked for, and for what the hub or
    the network refuses.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise StudyError("HF_TOKEN isn't set: make a token that may write on the hub's settings page, and export it.")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    place: dict[str, Any] = {"repo_id": repository, "repo_type": upload.what}
    try:
        api.create_repo(**place, private=private, exist_ok=True)
        if private and not api.repo_info(**place).private:
            raise StudyError(f"{repository} is there already and public: name another, or say --public.")
        message = f"Upload the {upload.what} of a run of s1-study"
        done = api.upload_folder(**place, folder_path=folder, commit_message=message)
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:
        raise StudyError(_explain(error, repository).replace(token, "…")) from None
    print(f"Uploaded: {done.commit_url}")
    return str(done.commit_url)


def _explain(error: Exception, repository: str) -> str:
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    advice = {
        401: "the hub doesn't know this HF_TOKEN: make another on its settings page",
        403: f"this HF_TOKEN may not write to {repository}: make one that may, or name a repository of your own",
        404: f"there is no {repository}, or this HF_TOKEN may not see it: check the name",
        429: "the hub asks for patience: run the same command again later, it goes on",
    }
    said = advice.get(getattr(response, "status_code", 0))
    reason = ": ".join(map(_name_error, filter(None, (error, error.__cause__))))
    return f"Upload failed: {said}." if said else f"Upload failed ({reason}): run the same command again, it goes on."


def _name_error(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
