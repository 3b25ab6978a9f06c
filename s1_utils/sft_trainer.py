"""TRL's trainer as this study uses it: rows in our order, sharded or not, checkpoints that survive what kills them.

Knows TRL, accelerate and torch; knows nothing about where rows come from or what is done with the weights. Loss: the
mean over all trained tokens of a step's batch, on all devices (TRL projects onto the vocabulary in tiles; on GPUs
only the tokens that are trained on). Precision: fp32 weights, bf16 arithmetic on GPUs.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from s1_utils import models, sft_optimiser, sft_processes, sft_report, training_text
from s1_utils.errors import StudyError
from s1_utils.progress import SECONDS_BETWEEN_LINES
from s1_utils.sft_data import IGNORED, Spread
from s1_utils.sft_job import Job
from s1_utils.store import explain_os_errors, write_json

NO_SPACE = ("no space left", "disk quota exceeded", "pytorchstreamwriter failed")


def load_base(job: Job) -> Any:
    """The model to train, in fp32. Of a sharded one only the first process of a machine reads the weights.

    Raises StudyError where the launcher shards and the job doesn't.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if job.shard:  # from_pretrained asks the environment
        os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true", "FSDP_VERSION": "2"}
    elif os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise StudyError("The launcher's configuration shards the model, but the job doesn't: set shard to True.")
    return AutoModelForCausalLM.from_pretrained(
        job.base, dtype=torch.float32, use_safetensors=True, attn_implementation=choose_attention()
    )


def choose_attention() -> str:
    """FlashAttention where it can be used, else PyTorch's own fused attention."""
    return "flash_attention_2" if sft_processes.has_gpu() and find_spec("flash_attn") else "sdpa"


def uses_liger() -> bool:
    return sft_processes.has_gpu() and find_spec("liger_kernel") is not None


def build_trainer(
    job: Job,
    dataset: Any,
    *,
    order_SB: np.ndarray,
    spread: Spread,
    data_sha256: str,
    callbacks: Sequence[Any] = (),
) -> Any:
    """A TRL trainer of the job's base over the rows of `dataset`, in the order laid out, with further `callbacks`."""
    from transformers.trainer_callback import PrinterCallback

    sft_processes.keep_memory()
    facts = {"data": data_sha256, "shard": job.shard, "devices": spread.devices}
    watch = _make_callback(job.checkpoints, facts, dataset.data.column("question_id").to_pylist(), order_SB)
    trainer = _find_trainer_class()(
        model=load_base(job),
        args=configure(job, spread),
        train_dataset=dataset.select(order_SB.ravel()),
        processing_class=models.load_tokenizer(job.base),
        callbacks=[watch, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def configure(job: Job, spread: Spread) -> Any:
    """TRL's settings for `job`."""
    from trl import SFTConfig

    on_gpu = sft_processes.has_gpu()
    recompute = on_gpu if job.recompute is None else job.recompute
    sharding = {"fsdp": True, "fsdp_config": describe_sharding(job, recompute=recompute)} if job.shard else {}
    return SFTConfig(
        output_dir=str(job.checkpoints),
        num_train_epochs=1,  # all epochs are laid out
        train_sampling_strategy="sequential",
        per_device_train_batch_size=spread.device_batch,
        gradient_accumulation_steps=spread.accumulation,
        # shards add up their gradients after each part of a batch: kept whole until its end they fill a device
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": job.shard}},
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        ddp_backend="gloo" if sft_processes.was_launched() and not on_gpu else None,
        dataset_kwargs={"skip_prepare_dataset": True},  # tokens and labels are ours
        max_length=None,
        padding_free=job.pack,
        learning_rate=job.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=job.warmup,
        weight_decay=job.weight_decay,
        adam_beta2=job.adam_beta2,
        **sft_optimiser.describe_optimiser(job.optimiser),
        eos_token=training_text.find_format(job.kind).turn_end,
        gradient_checkpointing=recompute and not job.shard,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        use_liger_kernel=uses_liger(),
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide what _make_callback stops at
        save_strategy="steps",
        save_steps=job.checkpoint_steps,
        save_total_limit=None,  # _make_callback removes old ones, once a new one is complete
        report_to="none",  # sft_report's callbacks
        run_name=sft_report.name_run(job),
        disable_tqdm=True,  # in a notebook it would be a table with a row a step: see live
        seed=job.seed,
        **sharding,
    )  # fmt: skip


def describe_sharding(job: Job, *, recompute: bool) -> dict[str, Any]:
    """FSDP2 as transformers takes it; what is wrapped is the model's own list of layers that mustn't be split."""
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "state_dict_type": "SHARDED_STATE_DICT",
        "cpu_ram_efficient_loading": True,
        "activation_checkpointing": recompute,
        "cpu_offload": job.offload,
        "reshard_after_forward": True,
    }


def _find_trainer_class() -> type:
    from transformers import Trainer
    from trl import SFTTrainer

    class StudyTrainer(SFTTrainer):
        """TRL's, which shards on CPUs too and says so when a checkpoint doesn't fit on the disk."""

        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            if self.args.fsdp and self.args.use_cpu:
                shard_on_cpu(self)
            elif self.args.fsdp:
                set_precision(self)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if not (self.padding_free and self.args.use_cpu):
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return sum_loss(model, inputs) * self.accelerator.num_processes / num_items_in_batch.clamp(min=1)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            with explain_full_disk(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"):
                Trainer._save_checkpoint(self, model, trial)  # without TRL's model card

    return StudyTrainer


def sum_loss(model: Any, inputs: dict[str, Any]) -> Any:
    """The summed loss of examples that lie end to end in one row; the head is applied only where there is a label.

    TRL's own tiles score every token on CPUs, and twice (tests/bench/bench_sft.py).
    """
    import torch

    labels = inputs["labels"][0, 1:]
    at = torch.nonzero(labels != IGNORED)[:, 0]
    row = {"input_ids": inputs["input_ids"], "position_ids": inputs["position_ids"]}
    logits = model(**row, use_cache=False, logits_to_keep=at).logits[0]
    return torch.nn.functional.cross_entropy(logits, labels[at], reduction="sum")


def set_precision(trainer: Any) -> None:
    """Shards compute in bf16, but add up gradients, and give log-probabilities, in fp32: accelerate's default rounds
    both to bf16, and with them the loss."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def shard_on_cpu(trainer: Any) -> None:
    """Make accelerate shard on CPUs, which it silently doesn't: its state lists only accelerators (state.py).

    From here on everything is accelerate's own code, as on GPUs; what differs is the gloo backend.
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = trainer.accelerator.state
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    trainer.is_fsdp_enabled = True


def _make_callback(folder: Path, facts: dict[str, Any], names: list[str], order_SB: np.ndarray) -> Any:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Says how far training is, marks complete checkpoints, stops at a loss that isn't finite."""

        spoken = time.monotonic()

        def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
            if "paged" in args.optim and state.global_step:
                sft_optimiser.page_moments(optimizer.optimizer)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "loss" not in logs:  # the summary of a finished training
                return
            require_finite(logs, state.global_step, [names[i] for i in order_SB[state.global_step - 1]])
            if state.is_world_process_zero and time.monotonic() - self.spoken >= SECONDS_BETWEEN_LINES:
                self.spoken = time.monotonic()
                loss = float(logs["loss"])
                print(f"training: step {state.global_step}/{state.max_steps}, loss {loss:.3f}", flush=True)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            sft_processes.wait_for_all()
            if state.is_world_process_zero:
                current = folder / f"checkpoint-{state.global_step}"
                write_json(current / "COMPLETE", facts)
                remove_others(folder, current)

    return Watch()


def require_finite(logs: dict[str, Any], step: int, names: list[str]) -> None:
    """Raises StudyError, before a step is saved, if its loss or gradient isn't finite."""
    for name in ("loss", "grad_norm"):
        if not math.isfinite(float(logs.get(name, 0.0))):
            rows = ", ".join(filter(None, names))
            raise StudyError(
                f"The {name} is {logs[name]} at step {step}, whose rows are {rows}. The last checkpoint before it is "
                "kept: look at these rows, or lower learning_rate, and run again."
            )


# ------------------------------------------------------------------ checkpoints


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Whatever stops the writing of `folder` removes what is there of it; a full disk is said in a line."""
    try:
        yield
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        if any(sign in f"{error} {error.__cause__}".lower() for sign in NO_SPACE):
            with explain_os_errors(folder):
                raise OSError(errno.ENOSPC, str(error)) from error
        raise


def find_checkpoint(folder: Path, *, data_sha256: str, shard: bool) -> Path | None:
    """The newest checkpoint that was written to its end. Another number of devices may go on from it.

    Raises StudyError if it is of other rows, or sharded where the job isn't, or the reverse.
    """
    complete = [path.parent for path in folder.glob("checkpoint-*/COMPLETE")]
    if not complete:
        return None
    newest = max(complete, key=lambda path: int(path.name.split("-")[1]))
    facts = json.loads((newest / "COMPLETE").read_text("utf-8") or "{}")
    if facts.get("data") != data_sha256:
        raise StudyError(f"{newest} is of other rows or another order: remove {folder} to train from the start.")
    if facts["shard"] != shard:
        raise StudyError(
            f"{newest} was written {'with' if facts['shard'] else 'without'} shard: set shard to {facts['shard']} to "
            f"go on from it (on any number of devices), or remove {folder} to train from the start."
        )
    return newest


def remove_others(folder: Path, kept: Path | None) -> None:
    """Delete every checkpoint in `folder` but one, half-written ones included."""
    for path in folder.glob("checkpoint-*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)
