"""Supervised fine-tuning on traces: TRL, full parameters, loss on everything after the assistant's header.

  python -m s1_utils.sft JOB                              one process
  torchrun --nproc-per-node 8 -m s1_utils.sft JOB         several; accelerate launch -m s1_utils.sft JOB does as well

JOB is params/<profile>/03_sft.yaml, whose stage it opens as the notebook does, or the job.json a notebook wrote. Either
way the stage's folder gets training.parquet, label_mask.parquet and model/, and the notebook finishes the stage.

Knows what training takes and gives; knows nothing about how rows were chosen. The order of the data is laid down before
training starts, so a run that was killed gives the same weights and the same curve as one that wasn't.
Source: s1 section 4 and its train/sft.py (AdamW 0.9/0.95, cosine to 0, warm-up 5 %).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s1_utils import models, sft_data, sft_job, sft_metrics, sft_processes, sft_report, sft_results, sft_trainer
from s1_utils.errors import StudyError
from s1_utils.progress import quiet_libraries
from s1_utils.sft_job import Job
from s1_utils.store import Stage, write_json, write_table

METRICS = ["step", "loss", "grad_norm", "learning_rate"]
TABLES = ("training", "label_mask")


def train(
    base: Path,
    rows: pd.DataFrame,
    folder: Path,
    params: Any,
    *,
    system_prompt: str,
    seed: int,
    may_cut: bool = False,
    base_name: str = "",
) -> dict[str, pd.DataFrame]:
    """Fine-tune the model of folder `base` on `rows`, in this process; weights go to `folder`/model, safetensors.

    `params` has epochs, learning_rate, warmup, weight_decay, adam_beta2, batch_size, max_length, checkpoint_steps.
    Resumes from the newest complete checkpoint. Returns {"training": one row a step, "label_mask": what the first
    rows are trained on, decoded from the trainer's own labels}. `may_cut`: rows longer than max_length lose their end
    instead of being refused. Raises StudyError on a loss that isn't finite.
    """
    job = sft_job.make_job(
        base, folder, params, system_prompt=system_prompt, seed=seed, may_cut=may_cut, base_name=base_name
    )
    return train_job(job, encode_job(job, rows))


def launch_training(
    base: Path,
    rows: pd.DataFrame,
    folder: Path,
    params: Any,
    *,
    system_prompt: str,
    seed: int,
    may_cut: bool = False,
    base_name: str = "",
    kind: str = "",
    show: sft_metrics.Show | None = None,
) -> dict[str, pd.DataFrame]:
    """Like `train`, on params.processes devices: in this process for one, else in processes of torchrun's.

    `kind`: of training text, instead of that of `params`. `show` is called now and then with what reads the steps so
    far, to draw them.
    """
    job = sft_job.make_job(
        base, folder, params, system_prompt=system_prompt, seed=seed, may_cut=may_cut, base_name=base_name
    )
    job = replace(job, kind=kind or job.kind)
    sft_data.spread_batch(job.batch_size, devices=job.processes, device_batch=job.device_batch)
    if job.processes == 1 and not job.shard and sft_processes.count_gpus() <= 1:
        return train_job(job, encode_job(job, rows), show=show)
    sft_job.launch(sft_job.write_job(job, rows), job.processes, watch=show and sft_metrics.follow(job.papers, show))
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def encode_job(job: Job, rows: pd.DataFrame) -> Any:
    """The Dataset that `job` trains on."""
    tokenizer = models.load_tokenizer(models.require_weights(job.base))
    return sft_data.encode_rows(
        rows,
        tokenizer,
        system_prompt=job.system_prompt,
        max_length=job.max_length,
        may_cut=job.may_cut,
        kind=job.kind,
    )


def spread_job(job: Job) -> sft_data.Spread:
    """How the processes at work share a batch. Raises StudyError if they can't, or if `job` needs others."""
    sft_processes.require_launcher(shard=job.shard)
    return sft_data.spread_batch(job.batch_size, devices=sft_processes.count_processes(), device_batch=job.device_batch)


def train_job(job: Job, dataset: Any, *, show: sft_metrics.Show | None = None) -> dict[str, pd.DataFrame]:
    """Train on `dataset`; every process of a job calls this. The first writes the weights and the facts."""
    spread = spread_job(job)
    quiet_libraries()
    lengths = sft_data.find_lengths(dataset)
    order_SB = sft_data.lay_out(lengths[:-1], batch_size=job.batch_size, epochs=job.epochs, seed=job.seed)
    data = sft_data.hash_layout(dataset, order_SB)
    checkpoint = sft_trainer.find_checkpoint(job.checkpoints, data_sha256=data, shard=job.shard)
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    tokens_S = np.array([*lengths[:-1], 0])[order_SB].sum(axis=1).tolist()
    recorder = sft_metrics.make_recorder(
        job.papers, done=done, tokens_S=tokens_S, open_meter=sft_results.open_meter, show=show
    )
    reporters = sft_report.make_reporters(job, done=done)
    trainer = sft_trainer.build_trainer(
        job, dataset, order_SB=order_SB, spread=spread, data_sha256=data, callbacks=[recorder, *reporters]
    )
    if trainer.is_world_process_zero():
        sft_trainer.remove_others(job.checkpoints, checkpoint)  # what a kill left half-written
        if checkpoint:
            print(f"training: goes on from {checkpoint.name}", flush=True)
    sft_processes.wait_for_all()
    label_mask = sft_results.decode_labels(trainer, n_rows=3)
    with sft_report.end_reports(reporters):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    sft_results.write_weights(trainer, job, rows=len(lengths) - 1, data_sha256=data)
    if trainer.is_world_process_zero():
        facts = sft_results.describe_machine(trainer, spread, lengths=lengths[:-1])
        write_json(job.papers / "facts.json", facts | sft_metrics.sum_sessions(recorder.file.list_sessions()))
    sft_processes.wait_for_all()
    return {"training": _list_steps(trainer), "label_mask": label_mask}


def _list_steps(trainer: Any) -> pd.DataFrame:
    history = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    return history[METRICS].astype({"loss": float, "grad_norm": float, "learning_rate": float})


def read_facts(folder: Path) -> dict[str, Any]:
    """What a training found of its machine and took, for the manifest and training_costs; {} if it is gone."""
    path = folder / "job" / "facts.json"
    return {"training": json.loads(path.read_text("utf-8"))} if path.exists() else {}


def remove_checkpoints(folder: Path) -> None:
    """Free the space of a finished run (the tables and weights are written: nothing is left to resume)."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "job", ignore_errors=True)


# ------------------------------------------------------------------ as a program


def choose_rows(stage: Stage, subset: str) -> pd.DataFrame:
    """The questions, traces and attempts of a subset of notebook 2, in its order."""
    collected, traces = stage.read("01_collect", "questions"), stage.read("01_collect", "traces")
    picked = stage.read("02_filter", "subsets")
    chosen = picked.loc[picked["subset"] == subset, "question_id"]
    joined = collected.merge(traces.drop_duplicates("question_id"), on="question_id")
    return joined.set_index("question_id").loc[chosen].reset_index()


def open_job(path: Path) -> Path | None:
    """The job.json that `path` is, or that its stage's parameters make; None if the stage is finished.

    Raises StudyError as the notebook would.
    """
    if path.suffix == ".json":
        return path
    import yaml

    from s1_utils.params import SftParams, validate_params
    from s1_utils.store import open_stage

    if not path.is_file():
        raise StudyError(f"No {path}: give a job.json, or a 03_sft.yaml of params/.")
    params = validate_params(SftParams, yaml.safe_load(path.read_text("utf-8")) or {})
    stage = open_stage("03_sft", params, code=["sft", "models"], reads=["01_collect", "02_filter"])
    if stage.is_done:
        return None
    model = stage.read_json("01_collect", "model")
    job = sft_job.make_job(
        models.find_recorded(model), stage.folder, params, system_prompt=model["system_prompt"], seed=params.seed,
        base_name=find_base_name(model["name"]),
    )  # fmt: skip
    return sft_job.write_job(job, choose_rows(stage, params.subset))


def find_base_name(name: str) -> str:
    """A base model's name without a machine's path."""
    return Path(name).name if Path(name).expanduser().is_dir() else name


def is_finished(job: Job) -> bool:
    """Whether weights and tables of a job are all written."""
    return all((job.folder / f"{name}.parquet").exists() for name in TABLES) and (job.folder / "model").is_dir()


def run_job(path: Path) -> None:
    """Train what `path` says; every process of a launcher's calls this. Afterwards the notebook finishes the stage."""
    sft_processes.join_processes()
    job_path = _share(lambda: _prepare(path))
    if not job_path:
        print("training: it is finished already, run notebook 3", flush=True)
        return
    from datasets import load_from_disk

    job = sft_job.read_job(Path(job_path))
    found = train_job(job, load_from_disk(str(job.papers / "tokens")))
    if sft_processes.find_rank() == 0:
        for name in TABLES:
            write_table(job.folder / f"{name}.parquet", found[name])
    sft_processes.leave_processes()


def _prepare(path: Path) -> str:
    """Write what all processes read: the job, its tokens. Gives the path of job.json, or "" if nothing is left."""
    job_path = open_job(path)
    if job_path is None:
        return ""
    job = sft_job.read_job(job_path)
    if is_finished(job):
        return ""
    spread_job(job)  # what can't be trained here is said before a minute's tokenising
    quiet_libraries()
    encoded = encode_job(job, pd.read_parquet(job.papers / "rows.parquet"))
    shutil.rmtree(job.papers / "tokens", ignore_errors=True)
    encoded.save_to_disk(str(job.papers / "tokens"))
    return str(job_path)


def _share(find: Callable[[], str]) -> str:
    """What the first process finds, in every process; its StudyError is raised in all of them."""
    found: list[str | None] = [None, None]
    if sft_processes.find_rank() == 0:
        try:
            found[0] = find()
        except StudyError as error:
            found[1] = str(error)
    sft_processes.send_to_all(found)
    if found[1] is not None:
        raise StudyError(found[1])
    return found[0] or ""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    sft_job.watch_launcher()
    try:
        run_job(Path(arguments[0]))
        return 0
    except StudyError as error:
        if sft_processes.find_rank() == 0:
            print(f"StudyError: {error}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
