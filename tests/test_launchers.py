"""The documented ways to start training on several devices, run: accelerate, two nodes, Slurm, a profile's YAML.

Small jobs on CPUs (gloo); each ends in the curve and the weights of one process. GPUs are not here. Slow: each starts
real processes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import training_jobs
import yaml
from training_jobs import SECONDS, compare, list_checkpoints, run, write_job

from s1_utils import paths, study

slow = pytest.mark.slow
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
CONFIGS = sorted((paths.PARAMS / "accelerate").glob("*.yaml"))
SBATCH = paths.PARAMS / "slurm" / "sft.sbatch"
SRUN = """\
#!{python}
# Slurm's srun for two nodes of this machine: if one ends badly all is killed, as Slurm kills what is left of a step.
import json, os, subprocess, sys, time
import psutil

with open(os.environ["RECORD"], "a") as record:
    print(json.dumps(sys.argv[1:]), file=record)
nodes = [subprocess.Popen(sys.argv[2:]) for _ in range(int(os.environ["SLURM_NNODES"]))]
while any(node.poll() is None for node in nodes) and not any(node.poll() for node in nodes):
    time.sleep(0.05)
for process in psutil.Process().children(recursive=True):
    process.kill()
sys.exit(max(node.wait() % 256 for node in nodes))
"""


@pytest.fixture(scope="module")
def base(tokenizer, tmp_path_factory):
    return training_jobs.make_base(tokenizer, tmp_path_factory.mktemp("base"), tied=True)


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    return training_jobs.train_alone(base, tmp_path_factory.mktemp("alone"))


def require_same(folder, alone):
    loss, weights = compare(folder, alone)
    assert loss < 1e-4
    assert weights < 1e-5


def count_devices(folder):
    return json.loads((folder / "job" / "facts.json").read_text())["devices"]


# ------------------------------------------------------------------ accelerate


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_installed_accelerate_knows_every_key_of_our_configurations(path):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    given = yaml.safe_load(path.read_text("utf-8"))
    config = load_config_from_file(str(path))  # raises for an unknown key, except in fsdp_config
    assert config.distributed_type == "FSDP"
    assert config.num_processes == 8 * config.num_machines
    assert given["fsdp_config"].keys() <= vars(launch_command_parser().parse_args(["script"])).keys()


def test_the_configurations_shard_as_the_trainer_does():
    from s1_utils.sft_trainer import describe_sharding

    @dataclasses.dataclass
    class Sharded:
        offload: bool = False

    ours = describe_sharding(Sharded(), recompute=True)
    names = {"cpu_offload": "fsdp_offload_params"}
    for path in CONFIGS:
        given = yaml.safe_load(path.read_text("utf-8"))["fsdp_config"]
        assert {names.get(name, f"fsdp_{name}"): value for name, value in ours.items()} == given


@slow
def test_accelerate_with_our_configuration_trains_as_one_process(base, alone, tmp_path):
    config = paths.PARAMS / "accelerate" / "fsdp2.yaml"
    launcher = [*ACCELERATE, "--config_file", str(config), "--num_processes", "2"]
    run(write_job(base, tmp_path, shard=True), launcher)
    require_same(tmp_path, alone)
    assert count_devices(tmp_path) == 2


@slow
def test_accelerate_without_a_configuration_trains_data_parallel_as_one_process(base, alone, tmp_path):
    run(write_job(base, tmp_path), [*ACCELERATE, "--multi_gpu", "--num_processes", "2"])
    require_same(tmp_path, alone)
    assert count_devices(tmp_path) == 2


@slow
def test_a_configuration_that_shards_is_refused_for_a_job_that_does_not(base, tmp_path):
    config = paths.PARAMS / "accelerate" / "fsdp2.yaml"
    launcher = [*ACCELERATE, "--config_file", str(config), "--num_processes", "2"]
    said = run(write_job(base, tmp_path), launcher, code=1)
    assert "StudyError: The launcher's configuration shards the model, but the job doesn't" in said


# ------------------------------------------------------------------ Slurm


@pytest.fixture
def slurm(tmp_path):
    """A folder to submit from and the environment of a job on two nodes of one device, which are this machine."""
    folder, programs = tmp_path / "submitted", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    for name, text in (("scontrol", "#!/bin/sh\necho localhost\necho other\n"), ("srun", SRUN)):
        (programs / name).write_text(text.replace("{python}", sys.executable))
        (programs / name).chmod(0o755)
    port = 1234 + os.getpid() % 5000
    return {
        "PATH": f"{programs}:{os.environ['PATH']}", "RECORD": str(tmp_path / "record"), "PYTHONPATH": str(paths.ROOT),
        "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": f"77{port:04}", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_GPUS_ON_NODE": "1", "SLURM_CPUS_PER_TASK": "2", "SLURM_SUBMIT_DIR": str(folder),
    }  # fmt: skip


def submit(slurm, *arguments, **environment):
    """The batch script, as Slurm would run it: from a copy in another folder."""
    script = Path(slurm["RECORD"]).with_name("slurm_script")
    shutil.copy(SBATCH, script)
    with open(script.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            ["bash", str(script), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **slurm, **environment}, cwd="/", start_new_session=True,
        )  # fmt: skip


def read_lines(slurm):
    return [json.loads(line) for line in Path(slurm["RECORD"]).read_text().splitlines()]


@pytest.mark.parametrize("path", ["", "params/mine/03_sft.yaml"])
def test_the_batch_script_runs_torchrun_on_each_node_with_an_id_for_each_start(slurm, path):
    programs = Path(slurm["PATH"].split(":")[0])
    (programs / "srun").write_text(f'#!/bin/sh\npwd >> {slurm["RECORD"]}\necho $SRUN_CPUS_PER_TASK "$@" >> $RECORD\n')
    for restart in ({}, {"SLURM_RESTART_COUNT": "1"}):
        assert submit({**slurm, "SLURM_GPUS_ON_NODE": "8"}, *filter(None, [path]), **restart).wait(SECONDS) == 0
    job_id = slurm["SLURM_JOB_ID"]
    line = (
        "2 --kill-on-bad-exit=1 .venv/bin/python -m torch.distributed.run --nnodes 2 --nproc-per-node 8 --rdzv-id "
        f"{job_id}-RESTART --rdzv-backend c10d --rdzv-endpoint localhost:{20000 + int(job_id) % 10000} "
        f"-m s1_utils.sft {path or 'params/s1-32b/03_sft.yaml'}"
    )
    expected = [each for n in "01" for each in (slurm["SLURM_SUBMIT_DIR"], line.replace("RESTART", n))]
    assert Path(slurm["RECORD"]).read_text().splitlines() == expected


def test_the_batch_script_asks_for_what_it_uses():
    asked = {line.removeprefix("#SBATCH ") for line in SBATCH.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--requeue", "--open-mode=append"} <= asked
    assert (paths.ROOT / "params/s1-32b/03_sft.yaml").exists()


@slow
def test_a_node_lost_on_slurm_costs_no_more_than_the_steps_since_a_checkpoint(base, alone, tmp_path, slurm):
    folder = tmp_path / "job"
    job = write_job(base, folder, shard=True)
    process = submit(slurm, job)
    deadline = time.monotonic() + SECONDS
    while not list_checkpoints(folder):
        assert process.poll() is None, (tmp_path / "slurm_script.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lost = psutil.Process(process.pid).children()[0].children()[0]  # of the script's srun the first node
    for each in [*lost.children(recursive=True), lost]:
        each.kill()
    assert process.wait(SECONDS) != 0
    assert not (folder / "model").exists(), "it was over before it was killed"
    again = submit(slurm, job, SLURM_RESTART_COUNT="1")
    assert again.wait(SECONDS) == 0, (tmp_path / "slurm_script.log").read_text()
    assert "training: goes on from checkpoint-" in (tmp_path / "slurm_script.log").read_text()
    require_same(folder, alone)
    assert count_devices(folder) == 2
    ids = [line[line.index("--rdzv-id") + 1] for line in read_lines(slurm)]
    assert ids == [f"{slurm['SLURM_JOB_ID']}-0", f"{slurm['SLURM_JOB_ID']}-1"]


# ------------------------------------------------------------------ a profile's YAML


def run_notebook(runs, notebook):
    command = [sys.executable, "-m", "s1_utils.study", "run", "smoke", "--only", notebook]
    environment = {**os.environ, "S1_RUNS": str(runs)}
    done = subprocess.run(
        command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / "smoke" / notebook


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """The first three stages of the profile smoke."""
    runs = tmp_path_factory.mktemp("selected")
    for notebook in study.NOTEBOOKS[:3]:
        run_notebook(runs, notebook)
    return runs


def copy_stages(runs, target):
    for notebook in study.NOTEBOOKS[:2]:
        shutil.copytree(runs / "smoke" / notebook, target / "smoke" / notebook)


def train_profile(launcher, runs):
    environment = {**os.environ, "S1_RUNS": str(runs), "PYTHONPATH": str(paths.ROOT)}
    line = [*launcher, "-m", "s1_utils.sft", "params/smoke/03_sft.yaml"]
    done = subprocess.run(
        line, cwd=paths.ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read_hashes(folder):
    outputs = json.loads((folder / "manifest.json").read_text())["outputs"]
    return {name: output["sha256"] for name, output in outputs.items()}


def read_times(folder):
    files = [path for name in ("model", "training.parquet", "label_mask.parquet") for path in [folder / name]]
    found = [each for path in files for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in found}


@slow
@pytest.mark.parametrize("launcher", [[sys.executable], training_jobs.write_torchrun(2)], ids=["alone", "torchrun"])
def test_notebook_3_finishes_what_a_profiles_yaml_trained_and_trains_nothing_again(selected, tmp_path, launcher):
    copy_stages(selected, tmp_path)
    train_profile(launcher, tmp_path)
    folder = tmp_path / "smoke" / "03_sft"
    assert not (folder / "manifest.json").exists()
    written = read_times(folder)
    assert len(written) > 4
    run_notebook(tmp_path, "03_sft")
    assert read_times(folder) == written
    ours, notebooks = folder, selected / "smoke" / "03_sft"
    require_same(ours, notebooks)
    pd.testing.assert_frame_equal(*(pd.read_parquet(path / "label_mask.parquet") for path in (ours, notebooks)))
    if launcher == [sys.executable]:
        assert read_hashes(ours) == read_hashes(notebooks)
    assert "training: it is finished already" in train_profile([sys.executable], tmp_path)
