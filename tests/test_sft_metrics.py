"""What a training says while it runs: its metrics file, trackers, meters, costs, and the figure drawn meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import energy, live, models, paths, plots, sft, sft_job, sft_metrics, sft_report, training_costs
from s1_utils.errors import StudyError
from s1_utils.params import SftParams, load_profile

LOGS = {"loss": 1.0, "grad_norm": 2.0, "learning_rate": 3e-4}
ROWS = pd.DataFrame(
    {
        "question_id": ["door", "bag"],
        "question": ["Which door?", "Which bag?"],
        "thinking": ["Try A: no. Wait, try B: yes.", "Try C: yes."],
        "attempt": ["B", "C"],
    }
)


@pytest.fixture(scope="module")
def base():
    return models.resolve_model("random-llama")


@pytest.fixture(scope="module")
def params():
    return load_profile(SftParams, "smoke")


def make_job(folder, report_to="none"):
    return sft_job.Job(
        base=folder, folder=folder, system_prompt="", seed=0, epochs=1, learning_rate=1e-4, warmup=0.0,
        weight_decay=0.0, adam_beta2=0.95, batch_size=1, max_length=64, checkpoint_steps=1, base_name="tiny",
        report_to=report_to,
    )  # fmt: skip


# ------------------------------------------------------------------ the metrics file


SESSIONS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=5)


@given(SESSIONS)
def test_however_often_it_is_killed_each_step_has_one_line_and_all_work_is_counted(tmp_path_factory, sessions):
    folder, tokens_S = tmp_path_factory.mktemp("job"), [10 + i for i in range(200)]
    path, last, computed = folder / "metrics.jsonl", 0, 0
    for back, steps, torn in sessions:
        done = max(0, last - back)  # the checkpoint it goes on from
        file = sft_metrics.MetricsFile(folder, done=done, tokens_S=tokens_S)
        for step in range(done + 1, done + steps + 1):
            file.add(step, LOGS, joules=1.0)
        last, computed = done + steps, computed + sum(tokens_S[done : done + steps])
        kept = file.list_sessions()
        if torn:
            path.write_text(path.read_text() + '{"session": 1, "st')
        read = sft_metrics.read_metrics(path)
        assert read.get("step", pd.Series(dtype=int)).tolist() == list(range(1, last + 1))
    assert sft_metrics.sum_sessions(kept)["tokens"] == computed
    assert not last or read["tokens"].iloc[-1] == sum(tokens_S[:last])


def test_seconds_and_joules_add_up_over_sessions():
    sessions = [{"tokens": 30, "seconds": 2.0, "joules": 5.0}, {"tokens": 70, "seconds": 3.0, "joules": 7.5}]
    found = sft_metrics.sum_sessions(sessions)
    assert (found["tokens_per_second"], found["joules"]) == (20.0, 12.5)
    assert sft_metrics.sum_sessions([*sessions, sessions[0] | {"joules": None}])["joules"] is None
    assert sft_metrics.sum_sessions([])["tokens_per_second"] is None


def test_a_training_writes_the_numbers_of_its_table_and_facts_that_hold(tmp_path, base, params):
    drawn = []
    found = sft.launch_training(
        base, ROWS, tmp_path, params, system_prompt="Think.", seed=0, show=lambda read: drawn.append(len(read()))
    )["training"]
    lines = sft_metrics.read_metrics(tmp_path / "job" / "metrics.jsonl")
    pd.testing.assert_frame_equal(lines[list(found)], found)
    assert drawn == found["step"].tolist()
    assert lines["seconds"].is_monotonic_increasing
    facts = training_costs.add_costs(sft.read_facts(tmp_path), "laptop")["training"]
    assert facts["tokens"] == lines["tokens"].iloc[-1]
    assert facts["tokens_per_second"] == pytest.approx(facts["tokens"] / facts["seconds"], rel=0.01)
    assert 0 < facts["utilisation"] < 1
    assert facts["peak_memory_bytes"] > 4 * facts["parameters"]
    assert (facts["device_hours"], facts["usd"]) == (round(facts["seconds"] / 3600, 4), 0.0)


def test_a_training_that_fails_and_goes_on_keeps_the_time_of_both(tmp_path, base, params):
    wild = {"batch_size": 2, "epochs": 3, "learning_rate": 1e30, "warmup": 0.0, "checkpoint_steps": 1}
    for _ in range(2):
        with pytest.raises(StudyError, match="at step 2"):
            sft.train(base, ROWS, tmp_path, params.model_copy(update=wild), system_prompt="Think.", seed=0)
    assert sft_metrics.read_metrics(tmp_path / "job" / "metrics.jsonl")["step"].tolist() == [1]
    [session] = json.loads((tmp_path / "job" / "sessions.json").read_text())
    assert (session["first"], session["last"]) == (1, 1)
    assert session["seconds"] > 0


# ------------------------------------------------------------------ trackers


def test_no_tracker_is_asked_for_by_the_smoke_profile_and_trackio_by_the_others(params):
    assert (params.report_to, SftParams().report_to) == ("none", "trackio")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wandb", "pip install wandb.*report_to to none"),
        ("nobody", "the tracker nobody.*trackio, .*or none"),
        ("all", "all"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_is_loaded(tmp_path, name, said):
    with pytest.raises(StudyError, match=said):
        sft_report.make_reporters(make_job(tmp_path, name), done=0)


def test_without_trackio_training_goes_on_and_says_where_the_curves_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sft_report, "find_spec", lambda name: None)
    assert sft_report.make_reporters(make_job(tmp_path, "trackio"), done=0) == []
    assert "metrics.jsonl only" in capsys.readouterr().out


def test_a_tracker_that_fails_is_left_alone_and_says_so_once(capsys):
    calls = []

    class Broken:
        def on_log(self, *given, **named):
            calls.append(given)
            raise RuntimeError("disk on fire")

    guard = sft_report.Guard("tracker", Broken())
    guard.on_log(1, logs={})
    guard.on_log(2, logs={})
    assert len(calls) == 1
    assert capsys.readouterr().out.count("disk on fire") == 1


TRACKED = """
import socket, sys
from types import SimpleNamespace as State
from pathlib import Path

def refuse(*_, **__):
    print("NETWORK")
    raise OSError("no network")

socket.socket.connect = socket.getaddrinfo = refuse
import test_sft_metrics as here
from s1_utils import sft_report

for done, steps in ((0, (1, 2, 3)), (2, (3, 4)), (0, (1,))):
    reporters = sft_report.make_reporters(here.make_job(Path(sys.argv[1]) / "mine" / "03_sft", "trackio"), done=done)
    with sft_report.end_reports(reporters):
        reporters[0].on_train_begin(None, State(is_world_process_zero=True), None)
        for step in steps:
            reporters[0].on_log(None, State(global_step=step), None, logs=here.LOGS)

from trackio.sqlite_storage import SQLiteStorage
for run in SQLiteStorage.get_run_records("s1-study"):
    print(run["name"], [line["step"] for line in SQLiteStorage.get_logs("s1-study", run["name"], run_id=run["id"])])
"""


def test_trackio_keeps_each_step_once_in_the_runs_folder_and_asks_no_network(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKIO_")}
    environment |= {"S1_RUNS": str(tmp_path), "HF_TOKEN": "hf_made_up", "HOME": str(tmp_path / "home")}
    environment["PYTHONPATH"] = os.pathsep.join([str(paths.ROOT), str(paths.ROOT / "tests")])
    line = [sys.executable, "-c", TRACKED, str(tmp_path)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["mine/03_sft [1, 2, 3, 4]", "mine/03_sft [1]"]
    assert {path.name for path in tmp_path.iterdir()} <= {"trackio", "home"}
    assert not (tmp_path / "home" / ".cache" / "huggingface" / "trackio").exists()


# ------------------------------------------------------------------ meters and costs


def write_package(folder, zone, microjoules, name="package-0"):
    (folder / zone).mkdir(exist_ok=True)
    for file, value in {"name": name, "energy_uj": microjoules, "max_energy_range_uj": 100_000_000}.items():
        (folder / zone / file).write_text(f"{value}\n")


def test_a_meter_counts_packages_from_its_first_reading_over_the_end_of_a_counter(tmp_path):
    write_package(tmp_path, "intel-rapl:0", 90_000_000)
    write_package(tmp_path, "intel-rapl:0:1", 5_000_000, "dram")
    write_package(tmp_path, "intel-rapl:1", 10_000_000, "package-1")
    read = energy.make_meter(folder=tmp_path)
    assert read() == 0
    write_package(tmp_path, "intel-rapl:0", 20_000_000)
    write_package(tmp_path, "intel-rapl:1", 11_500_000, "package-1")
    assert read() == 31.5
    assert read() == 31.5


def test_a_meter_that_cannot_be_read_says_nothing(tmp_path):
    assert energy.make_meter(folder=tmp_path)() is None
    assert energy.make_meter(["no-such-gpu"])() is None
    write_package(tmp_path, "intel-rapl:0", "")
    assert energy.make_meter(folder=tmp_path)() is None


def test_flops_are_those_of_every_token_and_its_row():
    found = {"parameters": 1000, "layers": 2, "hidden": 8, "recompute": True, "tokens": 60}
    lengths = [10, 20, 30]
    by_row = sum(n * (6 * 1000 + 6 * 2 * 8 * n) for n in lengths) * 4 / 3
    row_length = sum(n * n for n in lengths) / sum(lengths)
    assert training_costs.count_flops(found | {"row_length": row_length}) == pytest.approx(by_row)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ],
)
def test_a_gpus_peak_is_the_stated_one_or_none(device, peak):
    assert training_costs.find_peak(device) == peak


def test_costs_of_several_gpus_at_the_profiles_price():
    found = {"device": "NVIDIA H100 80GB HBM3", "devices": 16, "seconds": 3600.0, "matrix_flops": None}
    found |= {"parameters": 10**9, "layers": 1, "hidden": 1, "recompute": False, "tokens": 10**9, "row_length": 0.0}
    costs = training_costs.add_costs({"training": found}, "s1-32b")["training"]
    assert (costs["device_hours"], costs["usd"]) == (16.0, 40.0)
    assert costs["utilisation"] == pytest.approx(6e18 / (16 * 989e12 * 3600), abs=1e-4)
    unknown = training_costs.add_costs({"training": found | {"device": "abacus"}}, "smoke")["training"]
    assert (unknown["utilisation"], unknown["usd"]) == (None, None)
    assert training_costs.add_costs({}, "laptop") == {}


# ------------------------------------------------------------------ while it runs


class Screen:
    """Displays that keep what they are shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, image, display_id):
        assert display_id
        self.shown.append(image.data)
        return self

    def update(self, image):
        self.shown.append(image.data)


def test_a_live_figure_is_drawn_again_in_one_display_when_it_is_due(monkeypatch):
    import IPython.display

    now, screen = [0.0], Screen()
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    monkeypatch.setattr(IPython.display, "display", screen)
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    show, table = live.draw_live("training"), pd.DataFrame([{"step": 1, **LOGS}, {"step": 2, **LOGS}])
    for second in range(36):
        now[0] = float(second)
        show(lambda: table[: 0 if now[0] < 12 else 1 + (now[0] > 25)])
    assert len(screen.shown) == 2
    assert screen.shown[-1] == plots.show("training", table).data


def test_nothing_is_read_where_nobody_watches(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    live.draw_live("training", seconds=0)(lambda: pytest.fail("it was read"))
