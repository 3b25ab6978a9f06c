"""Small jobs of training for the tests: rows, a random Qwen2 of two layers, launchers in real processes, kills.

The oracle is one process on the same rows. Rows don't fill the last batch of an epoch, so the filling is tested too.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
from safetensors.numpy import load_file

from s1_utils import paths, sft, sft_job
from s1_utils.params import SftParams

SYSTEM = "Think."
PARAMS = SftParams(epochs=3, learning_rate=3e-3, batch_size=4, checkpoint_steps=3, max_length=128, report_to="none")
SECONDS = 120  # for what takes ten: a hang is a failure


def make_rows(n):
    rng = random.Random(0)
    words = "door bag red blue try yes no north seven lamp clock river".split()
    lengths = [(rng.randint(3, 9), rng.randint(3, 40)) for _ in range(n)]
    return pd.DataFrame(
        [
            {"question_id": f"row-{i}", "question": f"{' '.join(rng.choices(words, k=q))}?",
             "thinking": " ".join(rng.choices(words, k=t)), "attempt": rng.choice(words)}
            for i, (q, t) in enumerate(lengths)
        ]
    )  # fmt: skip


ROWS = make_rows(14)


def make_base(tokenizer, folder, *, tied):
    """A random Qwen2 of two layers in `folder`, with or without the tied embeddings of the small ones."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(
        "qwen2", vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=tied, **sizes
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_alone(base, folder):
    """Train in this process; gives the folder, complete."""
    found = sft.train(base, ROWS, folder, PARAMS, system_prompt=SYSTEM, seed=1)
    found["training"].to_parquet(folder / "training.parquet")
    return folder


def write_job(base, folder, **changes):
    job = sft_job.make_job(base, folder, PARAMS.model_copy(update=changes), system_prompt=SYSTEM, seed=1)
    return sft_job.write_job(job, ROWS)


def write_torchrun(processes):
    """The launcher of several processes on this machine."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


def start(job, launcher=None, *, log="log", cwd=None, **environment):
    """A launcher's process on a job's file, two processes if it isn't given; it dies with its stdin."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(paths.ROOT), **environment}
    with open(job.with_name(log), "w") as file:
        return subprocess.Popen(
            [*(launcher or write_torchrun(2)), "-m", "s1_utils.sft", str(job)], stdin=subprocess.PIPE, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True, cwd=cwd, env={**environment, sft_job.FOLLOWED: "1"},
        )  # fmt: skip


def run(job, launcher=None, *, code=0, **environment):
    """Train the job of a file; gives what it said."""
    process = start(job, launcher, **environment)
    with sft_job.end_with(process):
        process.wait(SECONDS)
    said = job.with_name("log").read_text()
    assert process.returncode == code, said
    return said


def list_checkpoints(folder):
    return {path.parent.name for path in folder.glob("checkpoints/checkpoint-*/COMPLETE")}


def kill_one_rank(job, processes=2):
    """Start a job and kill the last of its processes once it has written a checkpoint of its own."""
    folder = job.parent.parent
    before = list_checkpoints(folder)
    process = start(job, write_torchrun(processes))
    with sft_job.end_with(process):
        deadline = time.monotonic() + SECONDS
        ranks = []
        while not list_checkpoints(folder) - before:
            assert process.poll() is None, job.with_name("log").read_text()
            assert time.monotonic() < deadline
            ranks = ranks if len(ranks) == processes else find_children(process.pid)
            time.sleep(0.01)
        os.kill(ranks[-1], signal.SIGKILL)
        assert process.wait(SECONDS) != 0
    assert not (folder / "model").exists(), "it was over before it was killed: make PARAMS.epochs more"


def find_children(pid):
    shown = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in shown.stdout.split()]


def compare(folder, alone):
    """Largest differences of the losses and of the weights."""
    one, two = (pd.read_parquet(path / "training.parquet") for path in (alone, folder))
    pd.testing.assert_series_equal(one["step"], two["step"])
    assert one["learning_rate"].equals(two["learning_rate"])
    a, b = (load_file(path / "model" / "model.safetensors") for path in (alone, folder))
    assert a.keys() == b.keys()
    return (one["loss"] - two["loss"]).abs().max(), max(abs(a[name] - b[name]).max() for name in a)
