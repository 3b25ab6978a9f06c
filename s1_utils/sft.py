"""Supervised fine-tuning on traces: TRL, full parameters, loss on everything after the assistant's header.

Knows training rows, TRL and checkpoints; knows nothing about how rows were chosen. Checkpoints survive a kill: the
order of the data is laid down before training starts, so a resumed run gives the same weights and the same curve.
Source: s1 section 4 and its train/sft.py (AdamW 0.9/0.95, cosine to 0, warm-up 5 %).
"""

from __future__ import annotations

import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import chat, models
from s1_utils.errors import StudyError
from s1_utils.progress import SECONDS_BETWEEN_LINES, is_interactive
from s1_utils.store import write_atomically

METRICS = {"step": "step", "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate"}


def write_rows(
    rows: pd.DataFrame, tokenizer: Any, *, system_prompt: str, max_length: int, may_cut: bool = False
) -> list[dict[str, Any]]:
    """prompt, completion and length in tokens of each row (question, thinking, attempt).

    Raises StudyError if there is no row, or one is longer than `max_length` (never cut silently); with `may_cut`,
    which the sequence-length ablation asks for, only if a prompt leaves no token to be trained on.
    """
    written, refused = [], 0
    for row in rows.itertuples():
        prompt = chat.write_prompt(tokenizer, row.question, system_prompt)
        completion = chat.write_completion(row.thinking, row.attempt)
        length = len(chat.encode(tokenizer, prompt + completion))
        refused += len(chat.encode(tokenizer, prompt)) >= max_length if may_cut else length > max_length
        written.append({"prompt": prompt, "completion": completion, "length": min(length, max_length)})
    if refused or not written:
        too_long = f"{refused} {'prompts leave no room in' if may_cut else 'rows are longer than'}"
        problem = f"{too_long} max_length = {max_length} tokens" if written else "there are no rows"
        raise StudyError(f"Can't train: {problem}. Choose another subset, or raise max_length.")
    return written


def order_batches(lengths: list[int], *, batch_size: int, epochs: int, seed: int) -> list[int]:
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


def train(
    base: Path,
    rows: pd.DataFrame,
    folder: Path,
    params: Any,
    *,
    system_prompt: str,
    seed: int,
    may_cut: bool = False,
) -> dict:
    """Fine-tune the model of folder `base` on `rows`; weights go to `folder`/model, safetensors.

    `params` has epochs, learning_rate, warmup, weight_decay, adam_beta2, batch_size, max_length, checkpoint_steps.
    Resumes from the newest complete checkpoint. Returns {"training": one row a step, "label_mask": what the first
    rows are trained on, decoded from the trainer's own labels}. `may_cut`: rows longer than max_length lose their end
    instead of being refused. Raises StudyError on a loss that isn't finite.
    """
    trainer = _build_trainer(
        base, rows, folder / "checkpoints", params, system_prompt=system_prompt, seed=seed, may_cut=may_cut
    )
    label_mask = decode_labels(trainer, n_rows=3)
    trainer.train(resume_from_checkpoint=_find_checkpoint(folder / "checkpoints"))
    history = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    training = history[list(METRICS)].astype({"loss": float, "grad_norm": float, "learning_rate": float})
    save_weights(trainer.model, trainer.processing_class, folder / "model")
    return {"training": training, "label_mask": label_mask}


def remove_checkpoints(folder: Path) -> None:
    """Free the space of a finished run (the tables and weights are written: nothing is left to resume)."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def save_weights(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer as a whole: the folder appears only when it is complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def decode_labels(trainer: Any, n_rows: int) -> pd.DataFrame:
    """masked, trained_on: the two parts of the first rows as the trainer's own batches label them."""
    tokenizer = trainer.processing_class
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(min(n_rows, len(trainer.train_dataset)))])
    rows = []
    for ids, labels, seen in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        masked = ids[(labels == -100) & (seen == 1)]
        rows.append({"masked": tokenizer.decode(masked), "trained_on": tokenizer.decode(labels[labels != -100])})
    return pd.DataFrame(rows)


def _build_trainer(
    base: Path, rows: pd.DataFrame, folder: Path, params: Any, *, system_prompt: str, seed: int, may_cut: bool
) -> Any:
    import torch
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = models.load_model(base)
    written = write_rows(rows, tokenizer, system_prompt=system_prompt, max_length=params.max_length, may_cut=may_cut)
    lengths = [row.pop("length") for row in written]
    order = order_batches(lengths, batch_size=params.batch_size, epochs=params.epochs, seed=seed)
    on_gpu = torch.cuda.is_available()
    config = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,  # all epochs are laid out in `order`
        train_sampling_strategy="sequential",
        per_device_train_batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=params.warmup,
        weight_decay=params.weight_decay,
        adam_beta2=params.adam_beta2,
        max_length=params.max_length,
        completion_only_loss=True,
        eos_token=chat.S1.turn_end,
        gradient_checkpointing=on_gpu,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=params.checkpoint_steps,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=not is_interactive(),
        seed=seed,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([written[i] for i in order]),
        processing_class=tokenizer,
        callbacks=[_make_callback(folder)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _make_callback(folder: Path) -> Any:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Says how far training is, marks complete checkpoints, stops at a loss that isn't finite."""

        spoken = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "loss" not in logs:  # the summary of a finished training
                return
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise StudyError(f"The loss is {loss} at step {state.global_step}: lower learning_rate and run again.")
            if time.monotonic() - self.spoken >= SECONDS_BETWEEN_LINES:
                self.spoken = time.monotonic()
                print(f"training: step {state.global_step}/{state.max_steps}, loss {loss:.3f}", flush=True)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            with write_atomically(folder / f"checkpoint-{state.global_step}" / "COMPLETE") as path:
                path.touch()

    return Watch()


def _find_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end."""
    complete = [path.parent for path in folder.glob("checkpoint-*/COMPLETE")]
    return str(max(complete, key=lambda path: int(path.name.split("-")[1]))) if complete else None
