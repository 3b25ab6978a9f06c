"""What a training leaves: weights with a model card, what its first rows are trained on, facts of its machine.

Knows trainers, safetensors and cards; knows nothing about rows or launching.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import energy, models, paths, sft_processes, sft_trainer
from s1_utils.sft_data import IGNORED, Spread
from s1_utils.sft_job import Job
from s1_utils.store import write_atomically


def write_weights(trainer: Any, job: Job, *, rows: int, data_sha256: str) -> None:
    """Gather the weights (every process calls this); the first writes them with their card to the job's model/."""
    weights = gather_weights(trainer, job)
    if weights is not None:
        model = trainer.accelerator.unwrap_model(trainer.model)
        card = write_card(job, rows=rows, data_sha256=data_sha256)
        save_weights(model, trainer.processing_class, job.folder / "model", weights=weights, card=card)


def gather_weights(trainer: Any, job: Job) -> dict[str, Any] | None:
    """All weights on the first process (every process calls this), in the base model's precision on GPUs."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = trainer.accelerator.get_state_dict(trainer.model) if job.shard else model.state_dict()
    if not trainer.is_world_process_zero():
        return None
    weights = {name.replace("._checkpoint_wrapped_module", ""): weight for name, weight in weights.items()}
    tied = {name for name, source in model.all_tied_weights_keys.items() if source in weights}
    dtype = models.load_config(job.base).dtype if sft_processes.has_gpu() else None
    return {name: weight.to(dtype or weight.dtype) for name, weight in weights.items() if name not in tied}


def save_weights(model: Any, tokenizer: Any, folder: Path, *, weights: dict[str, Any], card: str) -> None:
    """Write model, tokenizer and card as a whole: the folder appears only when it is complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with sft_trainer.explain_full_disk(partial):
        model.save_pretrained(partial, state_dict=weights)
        tokenizer.save_pretrained(partial)
        _record_precision(partial, next(iter(weights.values())).dtype)
        with write_atomically(partial / "README.md") as path:
            path.write_text(card, "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _record_precision(folder: Path, dtype: Any) -> None:
    """What engines go by: save_pretrained records the precision that the model was trained in."""
    config = models.load_config(folder)
    if config.dtype != dtype:
        config.dtype = dtype
        config.save_pretrained(folder)


def write_card(job: Job, *, rows: int, data_sha256: str) -> str:
    """The model card: what the weights were made from, without a machine's paths."""
    recipe = job.describe_recipe() | {"rows": rows}
    lines = [f"| {name} | {value} |" for name, value in recipe.items()]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "---",
            f"# {job.base_name or job.base.name}, fine-tuned on reasoning traces",
            "",
            "Full-parameter SFT with TRL on thinking and answers, after s1 (arXiv 2501.19393).",
            "",
            "| | |",
            "|---|---|",
            f"| base | {job.base_name or job.base.name} |",
            f"| data, sha256 of tokens and order | {data_sha256} |",
            f"| code | {_find_commit()} |",
            *lines,
            "",
        ]
    )


def decode_labels(trainer: Any, n_rows: int) -> pd.DataFrame:
    """masked, trained_on: the two parts of the first rows as the trainer's own batches label them."""
    tokenizer = trainer.processing_class
    rows = []
    for i in range(min(n_rows, len(trainer.train_dataset))):
        batch = trainer.data_collator([trainer.train_dataset[i]])  # alone: nothing is padded
        ids, labels = batch["input_ids"][0], batch["labels"][0]
        masked, trained = ids[labels == IGNORED], labels[labels != IGNORED]
        rows.append({"masked": tokenizer.decode(masked), "trained_on": tokenizer.decode(trained)})
    return pd.DataFrame(rows)


def describe_machine(trainer: Any, spread: Spread, *, lengths: Sequence[int]) -> dict[str, Any]:
    """How the job was spread, what it ran on and what its FLOPs follow from, for the manifest.

    peak_memory_bytes (of the last session) and matrix_flops are the first process's; row_length is the rows' mean
    length weighed by their tokens, as attention weighs it.
    """
    import torch

    on_gpu, model = sft_processes.has_gpu(), trainer.accelerator.unwrap_model(trainer.model)
    tokens = np.array(lengths, dtype=float)
    return {
        "devices": spread.devices,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "device_batch": spread.device_batch,
        "accumulation": spread.accumulation,
        "attention": sft_trainer.choose_attention(),
        "liger": sft_trainer.uses_liger(),
        "shard": trainer.is_fsdp_enabled,
        "recompute": bool(trainer.args.gradient_checkpointing or _recomputes_shards(trainer)),
        "parameters": model.num_parameters(),
        "layers": model.config.num_hidden_layers,
        "hidden": model.config.hidden_size,
        "row_length": round(float((tokens**2).sum() / tokens.sum()), 1),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else _read_peak(),
        "matrix_flops": None if on_gpu else measure_matrix_flops(),
    }


def measure_matrix_flops(*, size: int = 1024, seconds: float = 0.2) -> float:
    """FLOP/s that this process reaches with square fp32 matrices, at best; takes as long as `seconds`."""
    import torch

    left, right = torch.ones(size, size), torch.ones(size, size)
    end, best = time.monotonic() + seconds, math.inf
    while time.monotonic() < end or best == math.inf:
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def open_meter() -> Callable[[], float | None]:
    """What reads the joules of the job's devices; None for those of several machines."""
    import torch

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if sft_processes.count_processes() > here:
        return lambda: None
    gpus = range(here if sft_processes.has_gpu() else 0)
    return energy.make_meter([str(torch.cuda.get_device_properties(i).uuid) for i in gpus])


def _read_peak() -> int | None:
    """The most memory that this process had resident, in bytes, where Linux says it."""
    path = Path("/proc/self/status")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _recomputes_shards(trainer: Any) -> bool:
    return trainer.is_fsdp_enabled and bool(trainer.accelerator.state.fsdp_plugin.activation_checkpointing)


def _find_commit() -> str:
    line = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(line, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
