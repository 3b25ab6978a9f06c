"""Training rows as tokens, and the order in which they are trained on: laid out before training starts.

Knows rows, tokenizers and batches; knows nothing about formats (training_text), models or trainers. A step's batch is
fixed by the parameters alone: any number of devices sees the same rows at the same step and shares its loss.
Source: s1 section 4 and appendix D (1,000 rows, batch 16, 5 epochs: 315 steps). Invariants: tests/test_sft.py.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import training_text
from s1_utils.errors import StudyError

IGNORED = -100  # the label of a token that isn't trained on
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Spread:
    """How a step's batch is computed: `device_batch` rows at once on each device, `accumulation` times."""

    devices: int
    device_batch: int
    accumulation: int


def spread_batch(batch_size: int, *, devices: int, device_batch: int = 0) -> Spread:
    """`batch_size` rows over `devices`; `device_batch` 0 is a device's whole share.

    Raises StudyError if that doesn't come out even: the batch is never changed to fit the machine.
    """
    if batch_size % devices:
        fitting = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
        raise StudyError(
            f"Can't train: batch_size = {batch_size} can't be shared by {devices} devices. "
            f"Use {_list_choices(fitting)} devices (processes), or another batch_size."
        )
    share = batch_size // devices
    if share % (device_batch or share):
        fitting = [n for n in range(1, share + 1) if share % n == 0]
        raise StudyError(
            f"Can't train: each of {devices} devices has {share} of the {batch_size} rows of a batch, no multiple of "
            f"device_batch = {device_batch}. Set device_batch to {_list_choices(fitting)} (0: all {share} at once)."
        )
    return Spread(devices, device_batch or share, share // (device_batch or share))


def _list_choices(numbers: list[int]) -> str:
    return " or ".join(filter(None, [", ".join(map(str, numbers[:-1])), str(numbers[-1])]))


def order_batches(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> list[int]:
    """Row indices of all epochs in training order: shuffled, then of like length within every 8 batches."""
    order = []
    for epoch in range(epochs):
        rng = random.Random(f"{seed}/{epoch}")
        rows = rng.sample(range(len(lengths)), len(lengths))
        chunks = [rows[i : i + 8 * batch_size] for i in range(0, len(rows), 8 * batch_size)]
        by_length = [i for chunk in chunks for i in sorted(chunk, key=lambda i: lengths[i])]
        batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        last = batches.pop()  # may be short: kept at the end so that all other batches stay full
        rng.shuffle(batches)
        order += [i for batch in [*batches, last] for i in batch]
    return order


def lay_out(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> np.ndarray:
    """order_SB: the row at each place of each step's batch. An epoch's last batch is filled up with row len(lengths).

    That row is the masked one `encode_rows` adds: it weighs nothing, so the step's loss is that of the short batch.
    """
    n, order = len(lengths), order_batches(lengths, batch_size=batch_size, epochs=epochs, seed=seed)
    fill = [n] * (-n % batch_size)
    laid = [row for start in range(0, len(order), n) for row in [*order[start : start + n], *fill]]
    return np.array(laid, dtype=np.int64).reshape(-1, batch_size)


# ------------------------------------------------------------------ rows


def encode_rows(
    rows: pd.DataFrame, tokenizer: Any, *, system_prompt: str, max_length: int, may_cut: bool = False, kind: str = "s1"
) -> Any:
    """A Dataset of question_id, input_ids and labels; its last row is a masked copy of the shortest, without an id.

    Raises StudyError for rows longer than `max_length` (never cut silently), or, with `may_cut`, which the
    sequence-length ablation asks for, only if a prompt leaves no token to be trained on; and for a tokenizer in which
    the trace doesn't survive.
    """
    examples = training_text.write_examples(rows, tokenizer, system_prompt=system_prompt, kind=kind)
    names = [str(name) for name in rows.get("question_id", rows.index)]
    completions = [example.completion for example in examples]
    prompt_ids = training_text.encode_all(tokenizer, [example.prompt for example in examples])
    completion_ids = training_text.encode_all(tokenizer, completions)
    require_survival(tokenizer, completions, completion_ids, names)
    _require_room(prompt_ids, completion_ids, names, max_length=max_length, may_cut=may_cut)
    completion_ids = [ids[: max_length - len(read)] for read, ids in zip(prompt_ids, completion_ids, strict=True)]
    shortest = min(range(len(names)), key=lambda i: len(prompt_ids[i]) + len(completion_ids[i]))
    masked = np.concatenate([prompt_ids[shortest], completion_ids[shortest]])
    return _build_dataset([*names, ""], [*prompt_ids, masked], [*completion_ids, masked[:0]])


def require_survival(tokenizer: Any, texts: list[str], ids: list[np.ndarray], names: list[str]) -> None:
    """Decodes what is trained on in the first rows and the longest; raises StudyError unless it is the text itself."""
    longest = max(range(len(ids)), key=lambda i: len(ids[i]))
    for i in sorted({*range(min(3, len(ids))), longest}):
        decoded = tokenizer.decode(ids[i].tolist(), skip_special_tokens=False)
        if unicodedata.normalize("NFC", decoded) != unicodedata.normalize("NFC", texts[i]):
            raise StudyError(
                f"Can't train: row {names[i]} isn't what it was after encoding and decoding ({decoded[:60]!r}…): this "
                "tokenizer drops or changes parts of the trace. Choose another base model."
            )


def find_lengths(dataset: Any) -> list[int]:
    """Tokens of each row."""
    import pyarrow.compute as pc

    return pc.list_value_length(dataset.data.column("input_ids")).to_pylist()


def hash_layout(dataset: Any, order_SB: np.ndarray) -> str:
    """sha256 of everything that is trained on, in its order."""
    digest = hashlib.sha256(order_SB.tobytes() + np.array(find_lengths(dataset)).tobytes())
    for name in ("input_ids", "labels"):
        for chunk in dataset.data.column(name).chunks:
            digest.update(np.ascontiguousarray(chunk.flatten().to_numpy(), dtype=np.int32))
    return digest.hexdigest()


def _require_room(
    prompts: list[np.ndarray], completions: list[np.ndarray], names: list[str], *, max_length: int, may_cut: bool
) -> None:
    lengths = [len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True)]
    if may_cut:
        refused = [name for name, prompt in zip(names, prompts, strict=True) if len(prompt) >= max_length]
        problem = "prompts leave no room in"
    else:
        refused = [name for name, length in zip(names, lengths, strict=True) if length > max_length]
        problem = "rows are longer than"
    if refused:
        raise StudyError(
            f"Can't train: {len(refused)} {problem} max_length = {max_length} tokens (the longest has {max(lengths)}): "
            f"{_list_names(refused)}. Choose another subset, or raise max_length."
        )


def _list_names(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown


def _build_dataset(names: list[str], prompts: list[np.ndarray], completions: list[np.ndarray]) -> Any:
    """The Dataset of rows whose prompt is only read and whose completion is learnt.

    Two arrays, filled in place: those of 59,000 of the paper's rows have a GB each.
    """
    import pyarrow as pa
    from datasets import Dataset

    flat = np.concatenate([part for pair in zip(prompts, completions, strict=True) for part in pair])
    labels, start, offsets = flat.copy(), 0, [0]
    for prompt, completion in zip(prompts, completions, strict=True):
        labels[start : start + len(prompt)] = IGNORED
        start += len(prompt) + len(completion)
        offsets.append(start)
    places = pa.array(offsets, pa.int32())
    columns = {
        "input_ids": pa.ListArray.from_arrays(places, flat),
        "labels": pa.ListArray.from_arrays(places, labels),
    }
    digest = hashlib.sha256("\n".join(names).encode())
    for numbers in (np.array(offsets), flat, labels):
        digest.update(numbers)
    # without a name of its own, datasets finds one by pickling the table: a minute and 8 GB
    return Dataset(pa.table({"question_id": names, **columns}), fingerprint=digest.hexdigest()[:16])
