"""What a training leaves: weights with a model card, what its first rows are trained on, facts of its machine.

Knows trainers, safetensors and cards; knows nothing about rows or launching.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import models, paths, sft_processes, sft_trainer
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
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(min(n_rows, len(trainer.train_dataset)))])
    rows = []
    for ids, labels, seen in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        masked = ids[(labels == IGNORED) & (seen == 1)]
        trained = labels[labels != IGNORED]
        rows.append({"masked": tokenizer.decode(masked), "trained_on": tokenizer.decode(trained)})
    return pd.DataFrame(rows)


def describe_machine(trainer: Any, spread: Spread, *, tokens: int, seconds: float) -> dict[str, Any]:
    """How the job was spread and what it ran on, for the manifest."""
    import torch

    return {
        "devices": spread.devices,
        "device": torch.cuda.get_device_name() if sft_processes.has_gpu() else "cpu",
        "device_batch": spread.device_batch,
        "accumulation": spread.accumulation,
        "attention": sft_trainer.choose_attention(),
        "liger": sft_trainer.uses_liger(),
        "shard": trainer.is_fsdp_enabled,
        "recompute": bool(trainer.args.gradient_checkpointing or _recomputes_shards(trainer)),
        "tokens_of_last_session": tokens,
        "seconds_of_last_session": round(seconds, 1),
        "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if sft_processes.has_gpu() else 0,
    }


def _recomputes_shards(trainer: Any) -> bool:
    return trainer.is_fsdp_enabled and bool(trainer.accelerator.state.fsdp_plugin.activation_checkpointing)


def _find_commit() -> str:
    line = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(line, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
