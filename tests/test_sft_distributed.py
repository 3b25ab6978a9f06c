"""Training in real processes over gloo: data-parallel and sharded (FSDP2) it is the training of one process.

The oracle is one process on the same rows: the loss of every step within 1e-4, the final weights within 1e-5. Rows
don't fill the last batch of an epoch, so the filling is tested too.
"""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import training_jobs
from training_jobs import PARAMS, ROWS, SECONDS, SYSTEM, compare, kill_one_rank, run, start, write_job, write_torchrun

from s1_utils import sft, sft_job, sft_metrics


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request, tokenizer, tmp_path_factory):
    """A random Qwen2 of two layers, with and without the tied embeddings of the small ones."""
    return training_jobs.make_base(tokenizer, tmp_path_factory.mktemp("base"), tied=request.param)


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    """The folder of the same training in one process."""
    return training_jobs.train_alone(base, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def halfway(base, tmp_path_factory):
    """The folder of the same training on two sharding processes, one of which was killed after a checkpoint."""
    folder = tmp_path_factory.mktemp("halfway")
    kill_one_rank(write_job(base, folder, shard=True))
    return folder


def test_an_epoch_that_fills_no_batch_ends_in_a_short_one(alone):
    assert len(pd.read_parquet(alone / "training.parquet")) == 3 * 4


@pytest.mark.parametrize("base", [False], indirect=True, ids=["untied"])
def test_two_data_parallel_processes_train_as_one(base, alone, tmp_path, capsys):
    params = PARAMS.model_copy(update={"processes": 2, "device_batch": 1})
    shown = []
    found = sft.launch_training(base, ROWS, tmp_path, params, system_prompt=SYSTEM, seed=1, show=shown.append)
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5
    assert sft.read_facts(tmp_path)["training"]["accumulation"] == 2
    pd.testing.assert_frame_equal(shown[-1]()[list(found["training"])], found["training"])
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
    job = write_job(base, tmp_path, shard=True)
    kill_one_rank(job)
    assert "training: goes on from checkpoint-" in run(job)
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5
    lines = sft_metrics.read_metrics(tmp_path / "job" / "metrics.jsonl")
    assert lines["step"].tolist() == list(range(1, 13))
    assert len(sft.read_facts(tmp_path)["training"]["sessions"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
@pytest.mark.parametrize("processes", [1, 4])
def test_another_number_of_processes_goes_on_from_the_shards_of_two(base, alone, halfway, tmp_path, processes):
    shutil.copytree(halfway, tmp_path, dirs_exist_ok=True)
    said = run(write_job(base, tmp_path, shard=True), write_torchrun(processes))
    assert "training: goes on from checkpoint-" in said
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    assert len(list(checkpoint.glob("pytorch_model_fsdp_0/*.distcp"))) == processes


@pytest.mark.slow
@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_a_data_parallel_run_goes_on_with_one_process_and_then_with_four(base, alone, tmp_path):
    job = write_job(base, tmp_path)
    kill_one_rank(job)
    kill_one_rank(job, 1)
    assert "training: goes on from checkpoint-" in run(job, write_torchrun(4))
    loss, weights = compare(tmp_path, alone)
    assert loss < 1e-4
    assert weights < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_a_number_of_processes_that_cannot_share_the_batch_does_not_go_on(base, halfway, tmp_path):
    shutil.copytree(halfway, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "job" / "tokens")
    before = training_jobs.list_checkpoints(tmp_path)
    said = run(write_job(base, tmp_path, shard=True), write_torchrun(3), code=1)
    assert "StudyError: Can't train: batch_size = 4 can't be shared by 3 devices. Use 1, 2 or 4 devices" in said
    assert not (tmp_path / "job" / "tokens").exists()
    assert training_jobs.list_checkpoints(tmp_path) == before


@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_what_cannot_be_spread_is_refused_before_a_row_is_read(base, tmp_path, capsys):
    job = write_job(base, tmp_path, device_batch=3)
    job.with_name("rows.parquet").unlink()
    assert sft.main([str(job)]) == 1
    assert "no multiple of device_batch = 3" in capsys.readouterr().out


@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_sharding_that_nobody_launched_is_refused_before_a_row_is_read(base, tmp_path, capsys):
    job = write_job(base, tmp_path, shard=True)
    job.with_name("rows.parquet").unlink()
    assert sft.main([str(job)]) == 1
    assert "shard needs a launcher" in capsys.readouterr().out


@pytest.mark.parametrize("base", [True], indirect=True, ids=["tied"])
def test_one_process_goes_on_from_the_checkpoint_of_two(base, alone, tmp_path, capsys):
    kill_one_rank(write_job(base, tmp_path))
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
