"""Training in two real processes over gloo: data-parallel and sharded (FSDP2) it is the training of one process.

The oracle is one process on the same rows: the loss of every step within 1e-4, the final weights within 1e-5. Rows
don't fill the last batch of an epoch, so the filling is tested too.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from safetensors.numpy import load_file

from s1_utils import paths, sft, sft_job
from s1_utils.params import SftParams

SYSTEM = "Think."
PARAMS = SftParams(epochs=3, learning_rate=3e-3, batch_size=4, checkpoint_steps=3, max_length=128)
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


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request, tokenizer, tmp_path_factory):
    """A random Qwen2 of two layers, with and without the tied embeddings of the small ones."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(
        "qwen2", vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=request.param, **sizes
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    """The folder of the same training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    found = sft.train(base, ROWS, folder, PARAMS, system_prompt=SYSTEM, seed=1)
    found["training"].to_parquet(folder / "training.parquet")
    return folder


def start(job):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(paths.ROOT), sft_job.FOLLOWED: "1"}
    with open(job.with_name("log"), "w") as log:
        return subprocess.Popen(
            [*command, "-m", "s1_utils.sft", str(job)], env=environment, stdin=subprocess.PIPE, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def run(job):
    """Train the job of a file; gives what it said."""
    process = start(job)
    with sft_job.end_with(process):
        process.wait(SECONDS)
    assert process.returncode == 0, job.with_name("log").read_text()
    return job.with_name("log").read_text()


def write_job(base, folder, **changes):
    job = sft_job.make_job(base, folder, PARAMS.model_copy(update=changes), system_prompt=SYSTEM, seed=1)
    return sft_job.write_job(job, ROWS)


def kill_one_rank(base, folder, **changes):
    """Start a job and kill one of its processes once there is a checkpoint; gives the job."""
    job = write_job(base, folder, **changes)
    process = start(job)
    with sft_job.end_with(process):
        deadline = time.monotonic() + SECONDS
        while not any(folder.glob("checkpoints/checkpoint-*/COMPLETE")):
            assert process.poll() is None, job.with_name("log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        shown = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        os.kill(int(shown.stdout.split()[-1]), signal.SIGKILL)
        assert process.wait(SECONDS) != 0
    assert not (folder / "model").exists(), "it was over before it was killed: make PARAMS.epochs more"
    return job


def compare(folder, alone):
    """Largest differences of the losses and of the weights."""
    one, two = (pd.read_parquet(path / "training.parquet") for path in (alone, folder))
    pd.testing.assert_series_equal(one["step"], two["step"])
    assert one["learning_rate"].equals(two["learning_rate"])
    a, b = (load_file(path / "model" / "model.safetensors") for path in (alone, folder))
    assert a.keys() == b.keys()
    return (one["loss"] - two["loss"]).abs().max(), max(abs(a[name] - b[name]).max() for name in a)


def test_an_epoch_that_fills_no_batch_ends_in_a_short_one(alone):
    assert len(pd.read_parquet(alone / "training.parquet")) == 3 * 4


@pytest.mark.parametrize("base", [False], indirect=True, ids=["untied"])
def test_two_data_parallel_processes_train_as_one(base, alone, tmp_path, capsys):
    params = PARAMS.model_copy(update={"processes": 2, "device_batch": 1})
    found = sft.launch_training(base, ROWS, tmp_path, params, system_prompt=SYSTEM, seed=1)
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5
    assert sft.read_facts(tmp_path)["training"]["accumulation"] == 2
    pd.testing.assert_frame_equal(found["training"], pd.read_parquet(tmp_path / "training.parquet"))


@pytest.mark.parametrize("base", [False], indirect=True, ids=["untied"])
def test_two_sharding_processes_train_as_one_recomputed_too(base, alone, tmp_path):
    run(write_job(base, tmp_path, shard=True, device_batch=1, recompute=True, checkpoint_steps=99))
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    assert len(list(checkpoint.glob("pytorch_model_fsdp_0/*.distcp"))) == 2, "each process writes its own shards"


@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_a_sharded_run_whose_rank_was_killed_goes_on_to_the_same_weights(base, alone, tmp_path):
    job = kill_one_rank(base, tmp_path, shard=True)
    assert "training: goes on from checkpoint-" in run(job)
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5


@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_another_number_of_devices_goes_on_from_a_checkpoint(base, alone, tmp_path, capsys):
    kill_one_rank(base, tmp_path)
    found = sft.train(base, ROWS, tmp_path, PARAMS, system_prompt=SYSTEM, seed=1)
    assert "training: goes on from checkpoint-" in capsys.readouterr().out
    found["training"].to_parquet(tmp_path / "training.parquet")
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5


@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_the_processes_end_with_whoever_launched_them(base, tmp_path):
    process = start(write_job(base, tmp_path))
    with sft_job.end_with(process):
        process.stdin.close()  # as its death would
        assert process.wait(SECONDS) != 0
    assert not (tmp_path / "model").exists()
