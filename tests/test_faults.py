"""Stages killed with SIGKILL in the middle, in real child processes, then run again (slow: minutes).

The tables and the weights of a killed and resumed run are byte-identical to those of an undisturbed one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from s1_utils import paths

pytestmark = pytest.mark.slow
CUTS = {
    "01_collect": lambda folder: (folder / "questions.parquet").exists(),
    "03_sft": lambda folder: any((folder / "checkpoints").glob("checkpoint-*/COMPLETE")),
    "04_sequential_scaling": lambda folder: _count_lines(folder / "sft.jsonl") >= 2,  # the header and one group
}


def _count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(runs, notebook):
    command = [sys.executable, "-m", "s1_utils.study", "run", "smoke", "--only", notebook]
    environment = {**os.environ, "S1_RUNS": str(runs)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(runs, notebook):
    process = start(runs, notebook)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


def find_descendants(pid):
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    found = [int(child) for child in children.stdout.split()]
    return found + [pid for child in found for pid in find_descendants(child)]


def runs_module(pid, module):
    shown = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"-m {module}" in shown.stdout


def read_outputs(runs, notebook):
    manifest = json.loads((runs / "smoke" / notebook / "manifest.json").read_text())
    return {name: output["sha256"] for name, output in manifest["outputs"].items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed")
    for notebook in ("01_collect", "02_filter", "03_sft", "04_sequential_scaling"):
        finish(runs, notebook)
    return runs


@pytest.mark.parametrize("notebook", list(CUTS))
@pytest.mark.parametrize("victim", ["", "papermill", "ipykernel_launcher"])  # "" is everything
def test_a_killed_stage_continues_and_ends_in_the_same_bytes(undisturbed, tmp_path, notebook, victim):
    for done in sorted((undisturbed / "smoke").iterdir()):
        if done.name < notebook:
            shutil.copytree(done, tmp_path / "smoke" / done.name)
    folder = tmp_path / "smoke" / notebook
    process = start(tmp_path, notebook)
    deadline = time.monotonic() + 300
    while not CUTS[notebook](folder):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    doomed = [process.pid, *find_descendants(process.pid)]
    for pid in [pid for pid in doomed if runs_module(pid, victim)]:
        os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert not victim or "Run the same command again" in output
    assert not (folder / "manifest.json").exists()
    finish(tmp_path, notebook)
    assert read_outputs(tmp_path, notebook) == read_outputs(undisturbed, notebook)
    assert json.loads((folder / "manifest.json").read_text())["sessions"] == 2


def test_two_undisturbed_runs_give_the_same_bytes(undisturbed, tmp_path):
    for notebook in ("01_collect", "02_filter", "03_sft", "04_sequential_scaling"):
        finish(tmp_path, notebook)
        assert read_outputs(tmp_path, notebook) == read_outputs(undisturbed, notebook)


def test_a_finished_stage_is_loaded_not_run_again(undisturbed):
    before = (undisturbed / "smoke" / "03_sft" / "manifest.json").read_bytes()
    finish(undisturbed, "03_sft")
    assert (undisturbed / "smoke" / "03_sft" / "manifest.json").read_bytes() == before


def test_bad_input_ends_in_one_line_and_a_failure(undisturbed, tmp_path):
    shutil.copytree(undisturbed / "smoke", tmp_path / "smoke")
    weights = tmp_path / "smoke" / "03_sft" / "model" / "model.safetensors"
    weights.unlink()
    shutil.rmtree(tmp_path / "smoke" / "04_sequential_scaling")
    process = start(tmp_path, "04_sequential_scaling")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    error = output.strip().splitlines()[-1]
    assert "03_sft" in error
    assert "rerun 03_sft" in error


def test_a_misspelt_parameter_stops_papermill_with_the_nearest_name(tmp_path):
    line = ["papermill", "notebooks/07_figures.ipynb", str(tmp_path / "out.ipynb"), "-p", "proflie", "smoke"]
    done = subprocess.run([sys.executable, "-m", *line], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "unknown parameter 'proflie' (did you mean 'profile'?)" in done.stderr


def test_two_shards_of_which_one_is_killed_end_in_the_same_bytes(undisturbed, tmp_path):
    notebook = "04_sequential_scaling"
    for done in ("01_collect", "02_filter", "03_sft"):
        shutil.copytree(undisturbed / "smoke" / done, tmp_path / "smoke" / done)
    environment = {**os.environ, "S1_RUNS": str(tmp_path), "S1_SHARD_PATIENCE": "5", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "s1_utils.shards", "run", "smoke", notebook, "--shard"]
    processes = [
        subprocess.Popen([*command, f"{i}/2"], env=environment, start_new_session=True, stdout=subprocess.PIPE)
        for i in range(2)
    ]
    folders = [tmp_path / "smoke" / notebook / "shards" / str(i) / "smoke" / notebook for i in range(2)]
    deadline = time.monotonic() + 300
    while _count_lines(folders[1] / "sft.jsonl") < 2:  # the header and one group
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for pid in [processes[1].pid, *find_descendants(processes[1].pid)]:
        os.kill(pid, signal.SIGKILL)
    output, _ = processes[0].communicate(timeout=600)
    assert processes[0].returncode == 0, output
    processes[1].communicate(timeout=60)
    assert not (folders[1] / "manifest.json").exists()
    merged = [sys.executable, "-m", "s1_utils.shards", "merge", "smoke", notebook]
    subprocess.run(merged, env=environment, check=True, timeout=60)
    assert read_outputs(tmp_path, notebook) == read_outputs(undisturbed, notebook)
    alone = undisturbed / "smoke" / notebook / "sft.jsonl"
    together = tmp_path / "smoke" / notebook / "sft.jsonl"
    assert sorted(together.read_bytes().splitlines()) == sorted(alone.read_bytes().splitlines())
