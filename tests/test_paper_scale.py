"""The paper-scale page adds up to the planner's numbers and settles each claim once; its Slurm files run and resume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import paper_scale, params, paths, plan, scale_claims, scale_steps, study
from s1_utils.benchmark_table import BENCHMARKS

SECONDS = 60
PLANNED = [name for name in params.find_profiles() if (paths.PARAMS / name / "plan.yaml").exists()]
METHODS = (
    "mkdir -p runs/s1-32b-methods-gpqa_diamond/04_sequential_scaling && "
    "papermill notebooks/04_sequential_scaling.ipynb "
    "runs/s1-32b-methods-gpqa_diamond/04_sequential_scaling/notebook.ipynb -f "
    "params/s1-32b/04_sequential_scaling.yaml -p run_name s1-32b-methods-gpqa_diamond -p benchmark gpqa_diamond "
    "-y 'method_questions: 198'"
)
STUDY = "python -m s1_utils.study run s1-32b --only"
ROWS = [
    ("funnel", "s1-32b", f"{STUDY} 02_filter", "not run"),
    ("math", "s1-32b", f"{STUDY} 04_sequential_scaling", "not run"),
    ("aime", "s1-32b", f"{STUDY} 04_sequential_scaling --benchmark aime24", "reproduced"),
    ("votes", "s1-32b", f"{STUDY} 05_parallel_scaling --benchmark aime24", "not run"),
    ("gone", "s1-32b", f"{STUDY} 05_parallel_scaling --benchmark aime24", "can't be run"),
    ("table 2", "s1-32b", f"{STUDY} 06_ablations --benchmark aime24", "not run"),
    ("hmm", "s1-32b", METHODS, "not run"),
    ("other", "s1.1-32b", "python -m s1_utils.study run s1.1-32b --only 04_sequential_scaling", "not run"),
]


def make_ledger(rows=ROWS):
    table = pd.DataFrame(rows, columns=["claim_id", "profile", "command", "status"])
    return table.assign(kind="number")[scale_claims.LEDGER].astype("string")


# ------------------------------------------------------------------ the page


@pytest.mark.parametrize("profile", PLANNED)
def test_the_steps_of_a_profile_add_up_to_what_the_planner_says(profile):
    steps = [step for step in scale_steps.list_steps(profile) if not step.benchmark]
    total = plan.plan_profile(profile).iloc[-1]
    assert sum(step.device_hours for step in steps) == pytest.approx(total["device_hours"])
    price = plan.read_plan(profile).device_usd_per_hour
    assert sum(step.usd for step in steps) == pytest.approx(total["usd"] + price * total["device_hours"])
    assert {notebook for step in steps for notebook in step.notebooks} == set(study.NOTEBOOKS)


@pytest.mark.parametrize("shards", [1, 3, 1000])
def test_no_more_processes_share_a_notebook_than_it_has_groups(shards):
    for step in scale_steps.list_steps("s1-32b", shards=shards):
        for notebook, count in zip(step.notebooks, step.shards, strict=False):
            model = params.MODELS[study.NOTEBOOKS.index(notebook)]
            chosen = params.load_profile(model, "s1-32b")
            there = BENCHMARKS[step.title.rsplit(" ", 1)[-1]].source.expected
            tasks = min(there, chosen.questions) * getattr(chosen, "samples", 1)
            assert 1 <= count <= shards
            assert (count - 1) * chosen.group_size < tasks


def test_hours_by_the_clock_are_shared_by_the_machines():
    alone, shared = (scale_steps.plan_evaluation("s1-32b", "math500", shards=n) for n in (1, 32))
    assert alone.split == 2  # one device has room for 1.6 rows beside the weights
    assert alone.hours == pytest.approx(alone.device_hours / 2)
    assert shared.device_hours == alone.device_hours
    lines = [plan.plan_profile("s1-32b").query("stage == @name")["device_hours"].iloc[0] for name in study.ON_TESTS]
    assert shared.hours == pytest.approx((lines[0] / 16 + lines[1] / 32) / 2)  # 500 questions are 16 groups of 32


@pytest.mark.parametrize("profile", PLANNED)
def test_every_command_of_the_page_is_one_that_the_study_has(profile, monkeypatch):
    from s1_utils import shards

    taken = []
    monkeypatch.setattr(study, "_run_command", lambda chosen: taken.append(chosen.only))
    monkeypatch.setattr(shards, "run_shard", lambda *given, **_: taken.append(given[1]))
    monkeypatch.setattr(shards, "merge", lambda *given, **_: taken.append(given[1]))
    for step in scale_steps.list_steps(profile):
        for command in step.commands:
            if command.startswith("sbatch"):
                assert all((paths.ROOT / word).exists() for word in command.split() if word.startswith("params/"))
                continue
            module, *words = command.removeprefix("python -m ").replace("--shard I/", "--shard 0/").split()
            assert {"s1_utils.study": study, "s1_utils.shards": shards}[module].main(words) == 0
            assert taken.pop() in step.notebooks


def test_the_page_says_what_is_arithmetic_and_that_no_gpu_run_was_made():
    text = paper_scale.write_page("s1-32b", scale_steps.list_steps("s1-32b"), {})
    assert "**No GPU run was made for this page.**" in text
    assert "arithmetic" in text
    assert "The ledger isn't there" in text


def test_what_stands_in_the_way_is_said_before_the_first_step():
    text = paper_scale.write_page("s1-32b", scale_steps.list_steps("s1-32b"), {})
    before = text.split("## 1.")[0]
    assert "`max_usd` of 01_collect is 0.00" in before
    assert "Evaluate on aime24, Evaluate on aime25: with `group_size` as it is" in before
    assert "one H100 has room for 1.6 rows" in before  # 0.9 x 80 GB less 65.5e9 bytes, at 262,144 bytes a token


def test_a_small_model_on_a_large_device_has_room_enough():
    assert paper_scale.describe_cache("qwen2.5-1.5b") == ""
    assert paper_scale.describe_cache("laptop") == ""


# ------------------------------------------------------------------ the ledger


def test_each_claim_that_can_be_run_is_settled_by_one_step_and_none_of_another_profile():
    ledger = make_ledger()
    steps, claims = scale_claims.settle("s1-32b", scale_steps.list_steps("s1-32b"), ledger)
    settled = {claim: title for title, names in claims.items() for claim in names}
    assert settled == {
        "funnel": "Filter and select",
        "math": "Evaluate on math500",
        "aime": "Evaluate on aime24",
        "votes": "Evaluate on aime24",
        "table 2": "Also 06_ablations as s1-32b-aime24",
        "hmm": "Also 04_sequential_scaling as s1-32b-methods-gpqa_diamond",
    }
    assert [step.title for step in steps][-2:] == [settled["table 2"], settled["hmm"]]
    text = paper_scale.write_page("s1-32b", steps, claims, ledger)
    assert "| s1.1-32b | `python -m s1_utils.study run s1.1-32b --only 04_sequential_scaling` | 1 |" in text
    assert "Numbers that nobody can run here: 1;" in text
    assert "`gone`" not in text


@given(st.lists(st.sampled_from(ROWS), max_size=30))
def test_no_claim_is_lost_or_counted_twice(rows):
    rows = [(f"{row[0]} {i}", *row[1:]) for i, row in enumerate(rows)]
    steps, claims = scale_claims.settle("s1-32b", scale_steps.list_steps("s1-32b"), make_ledger(rows))
    expected = sorted(row[0] for row in rows if row[1] == "s1-32b" and row[3] != scale_claims.IMPOSSIBLE)
    assert sorted(name for names in claims.values() for name in names) == expected
    assert len({step.title for step in steps}) == len(steps)


@pytest.mark.parametrize("profile", ["s1-32b", "s1.1-32b"])
def test_every_published_number_that_a_profile_can_settle_has_its_step(profile):
    from s1_utils.claim_rows import list_claims

    rows = [
        (each.claim_id, each.profile, each.command, scale_claims.IMPOSSIBLE if each.obstacle else "not run")
        for each in list_claims()
    ]
    _, claims = scale_claims.settle(profile, scale_steps.list_steps(profile), make_ledger(rows))
    settled = sorted(name for names in claims.values() for name in names)
    assert settled == sorted(row[0] for row in rows if row[1] == profile and row[3] == "not run")
    assert len(settled) >= 10


def test_a_further_run_costs_what_the_planner_says_for_its_parameters():
    call = scale_claims.read_call(METHODS)
    step = scale_claims.plan_call(call, METHODS)
    chosen = params.load_profile(params.SequentialParams, "s1-32b")
    changed = chosen.model_copy(update={"questions": 198, "method_questions": 198})
    assert step.device_hours == plan.plan_sequential(plan.read_plan("s1-32b"), changed).device_hours
    assert step.commands == (METHODS,)


def test_a_run_on_a_benchmark_is_planned_for_as_many_questions_as_it_has():
    command = (
        "papermill notebooks/05_parallel_scaling.ipynb runs/s1-32b-aime24/05_parallel_scaling/notebook.ipynb -f "
        "params/s1-32b/05_parallel_scaling.yaml -p run_name s1-32b-aime24 -y '{reward_model: x, search_width: 16}'"
    )
    step = scale_claims.plan_call(scale_claims.read_call(command), command)
    whole = plan.plan_profile("s1-32b").query("stage == '05_parallel_scaling'")["device_hours"].iloc[0]
    assert step.device_hours == pytest.approx(whole * 30 / 500)
    assert "What its tree search costs isn't planned." in paper_scale.write_page("s1-32b", [step], {})


@pytest.mark.parametrize("command", ["", "make it", "python -m s1_utils.study run", "papermill '", "papermill a b -f"])
def test_a_command_of_another_form_is_left_alone(command):
    assert scale_claims.read_call(command) is None
    rows = [("a", "s1-32b", command, "not run")]
    assert scale_claims.settle("s1-32b", [], make_ledger(rows)) == ([], {})


def test_a_ledger_that_is_gone_or_lacks_a_column_is_an_error_that_says_what_to_do(tmp_path, capsys):
    assert paper_scale.main(["s1-32b", "--ledger", str(tmp_path / "none.csv")]) == 1
    assert "write it with `python -m s1_utils.claims`" in capsys.readouterr().err
    make_ledger().drop(columns="status").to_csv(tmp_path / "short.csv", index=False)
    assert paper_scale.main(["s1-32b", "--ledger", str(tmp_path / "short.csv")]) == 1
    assert "lacks the column(s) status" in capsys.readouterr().err


@pytest.mark.parametrize(("profile", "said"), [("s1-33b", "profiles are"), ("smoke", "has no plan.yaml")])
def test_a_profile_that_can_not_be_planned_is_one_line(profile, said, capsys):
    assert paper_scale.main([profile]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error or "has no plan.yaml" in error


# ------------------------------------------------------------------ Slurm


PROGRAM = """#!/bin/bash
echo "${SLURM_ARRAY_TASK_ID:-} ${0##*/} $*" >> "$RECORD"
if [ -n "${HOLD:-}" ]; then
    trap 'echo "stopped" >> "$RECORD"; exit 143' TERM
    touch "$HOLD"
    while :; do sleep 0.05; done
fi
"""
SBATCH = """#!/bin/bash
# runs a job at once, as those it depends on have been; prints its number
echo "sbatch $*" >> "$ASKED"
if [ -n "${REFUSE:-}" ]; then echo "sbatch: error: $REFUSE" >&2; exit 1; fi
number=$(grep -c ^sbatch "$ASKED")
array=none
while [ $# -gt 0 ]; do
    case $1 in --array=*) array=$(seq ${1#--array=0-} -1 0) ;; --*) ;; *) break ;; esac
    shift
done
for task in $array; do
    if [ "$task" = none ]; then unset SLURM_ARRAY_TASK_ID; else export SLURM_ARRAY_TASK_ID=$task; fi
    if [[ $1 != *sft.sbatch ]]; then SLURM_JOB_ID=$number SLURM_SUBMIT_DIR=$PWD bash "$@" >> "$ASKED.log" 2>&1; fi
done
echo "$number;cluster"
"""


@pytest.fixture
def cluster(tmp_path):
    """A checkout with the scripts of s1-32b, and stand-ins for the programs of a cluster."""
    make_ledger().to_csv(tmp_path / "ledger.csv", index=False)
    places = ["--ledger", str(tmp_path / "ledger.csv"), "--out", str(tmp_path / "page.md")]
    assert paper_scale.main(["s1-32b", *places, "--scripts", str(tmp_path / "slurm")]) == 0
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    requeue = '#!/bin/bash\necho "scontrol $*" >> "$ASKED"\n'
    programs = {"bin/sbatch": SBATCH, "bin/scontrol": requeue}
    for name, text in {".venv/bin/python": PROGRAM, ".venv/bin/papermill": PROGRAM, **programs}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "runs/s1-32b/01_collect").mkdir(parents=True)
    (tmp_path / "runs/s1-32b/01_collect/manifest.json").write_text("{}")
    return tmp_path


def start(cluster, *words, **environment):
    names = {"RECORD": "record", "ASKED": "asked"}
    given = {name: str(cluster / file) for name, file in names.items()} | environment
    clean = {n: v for n, v in os.environ.items() if n not in ("ACCOUNT", "PARTITION", "CPU_PARTITION", "S1_RUNS")}
    clean["PATH"] = f"{cluster / 'bin'}:{clean['PATH']}"
    return subprocess.Popen(
        ["bash", *words], cwd=cluster, env={**clean, **given}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(cluster, *words, code=0, **environment):
    process = start(cluster, *words, **environment)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, output
    return output


@pytest.fixture
def started(cluster):
    """`start`, and whatever is left of it is killed at the end."""
    processes = []
    yield lambda *words, **job: processes.append(start(cluster, *words, **job)) or processes[-1]
    for process in processes:
        for each in psutil.process_iter(["cwd"]):
            if each.info["cwd"] == str(cluster):
                each.kill()
        process.communicate(timeout=SECONDS)


def read_lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("profile", PLANNED)
def test_the_scripts_of_every_profile_are_bash(profile, tmp_path):
    assert paper_scale.main([profile, "--out", str(tmp_path / "page.md"), "--scripts", str(tmp_path)]) == 0
    scripts = [*tmp_path.glob("*.sbatch"), tmp_path / "submit.sh"]
    scripts.append(tmp_path / "run.sh")
    assert len(scripts) == 6
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True, timeout=SECONDS)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", "--severity=warning", str(script)], check=True, timeout=SECONDS)


def list_commands():
    """The page's commands, without those of sbatch, in order."""
    steps, _ = scale_claims.settle("s1-32b", scale_steps.list_steps("s1-32b"), make_ledger())
    return [each.removeprefix("mkdir -p ") for step in steps for each in step.commands if not each.startswith("sbatch")]


def test_submitting_runs_what_the_page_says_every_shard_once(cluster):
    finish(cluster, "slurm/submit.sh")
    ran = [line.split(" ", 1) for line in read_lines(cluster / "record")]
    shared = [(task, *command.split(" --shard ")) for task, command in ran if " --shard " in command]
    assert all(task == shard.split("/")[0] for task, _, shard in shared)
    for command in {each for _, each, _ in shared}:
        numbers = [shard.split("/") for _, each, shard in shared if each == command]
        assert sorted(int(i) for i, _ in numbers) == list(range(len(numbers)))
        assert {int(n) for _, n in numbers} == {len(numbers)}
    in_order = list(dict.fromkeys(command.split(" --shard ")[0] for _, command in ran))
    said = [each.split(" --shard ")[0] for each in list_commands()[1:] if "papermill" not in each]
    assert [command for command in in_order if command in said] == said
    assert "method_questions: 198" in in_order[-1]  # the ledger's papermill line, as one word of YAML
    assert (cluster / "runs/s1-32b-methods-gpqa_diamond/04_sequential_scaling").is_dir()


def test_on_one_machine_every_notebook_runs_once_in_order_and_a_failure_ends_it(cluster):
    finish(cluster, "slurm/run.sh")
    ran = [line.strip() for line in read_lines(cluster / "record")]
    alone = [each for each in list_commands() if "s1_utils.study" in each]
    assert ran[:-1] == alone
    assert ran[-1].startswith("papermill notebooks/04_sequential_scaling.ipynb runs/s1-32b-methods")
    (cluster / ".venv/bin/python").write_text("#!/bin/sh\nexit 3\n")
    finish(cluster, "slurm/run.sh", code=3)


def test_every_job_waits_for_those_it_needs(cluster):
    finish(cluster, "slurm/submit.sh")
    jobs = [line.split() for line in read_lines(cluster / "asked")]
    needs = [[word for word in job if word.startswith("--dependency=")] for job in jobs]
    assert [bool(each) for each in needs] == [False, *[True] * (len(jobs) - 1)]
    for number, each in enumerate(needs[1:], 2):
        kind, *ids = each[0].removeprefix("--dependency=").split(":")
        assert kind == ("afterany" if any("merge.sbatch" in word for word in jobs[number - 1]) else "afterok")
        assert all(1 <= int(i) < number for i in ids)
    (figures,) = [needs[i][0].split(":")[1:] for i, job in enumerate(jobs) if job[-1] == "07_figures"]
    assert len(figures) == 5  # four evaluations and the ablations


def test_account_and_partition_come_from_the_environment(cluster):
    finish(cluster, "slurm/submit.sh", ACCOUNT="acme", PARTITION="gpus", CPU_PARTITION="cpus")
    jobs = [line.split() for line in read_lines(cluster / "asked")]
    assert all("--account=acme" in job for job in jobs)
    for job in jobs:
        on_cpus = any(word.endswith("merge.sbatch") for word in job) or job[-1] == "07_figures"
        assert f"--partition={'cpus' if on_cpus else 'gpus'}" in job


def test_a_refused_job_stops_the_rest(cluster):
    assert "Invalid account" in finish(cluster, "slurm/submit.sh", code=1, REFUSE="Invalid account")
    assert len(read_lines(cluster / "asked")) == 1


def test_without_the_first_notebook_nothing_is_submitted(cluster):
    (cluster / "runs/s1-32b/01_collect/manifest.json").unlink()
    assert "Run notebook 1 first" in finish(cluster, "slurm/submit.sh", code=1)
    assert not read_lines(cluster / "asked")


def test_a_stage_that_is_done_is_not_shared_again(cluster):
    stage = cluster / "runs/s1-32b-aime24/04_sequential_scaling"
    stage.mkdir(parents=True)
    (stage / "manifest.json").write_text("{}")
    task = ["s1-32b", "04_sequential_scaling", "aime24"]
    finish(cluster, "slurm/evaluate.sbatch", *task, "4", SLURM_ARRAY_TASK_ID="3", SLURM_JOB_ID="7")
    assert not read_lines(cluster / "record")
    finish(cluster, "slurm/merge.sbatch", *task, SLURM_JOB_ID="8")
    assert read_lines(cluster / "record") == [
        " python -m s1_utils.study run s1-32b --only 04_sequential_scaling --benchmark aime24"
    ]


def test_a_command_that_fails_fails_its_job(cluster):
    (cluster / ".venv/bin/python").write_text("#!/bin/sh\nexit 3\n")
    finish(cluster, "slurm/notebook.sbatch", "s1-32b", "02_filter", code=3, SLURM_JOB_ID="7")


SHARED = ["slurm/evaluate.sbatch", "s1-32b", "05_parallel_scaling", "", "2"]


@pytest.mark.parametrize("words", [SHARED, ["slurm/line.sbatch", METHODS]])
@pytest.mark.parametrize(
    ("sent", "restarts", "code", "asked"),
    [
        (signal.SIGUSR1, "0", 0, ["scontrol requeue 71"]),
        (signal.SIGUSR1, "20", 1, []),
        (signal.SIGTERM, "0", 143, []),  # preempted: Slurm itself starts it again
    ],
)
def test_out_of_time_or_preempted_the_command_is_stopped_and_the_job_comes_back(
    cluster, started, words, sent, restarts, code, asked
):
    hold = cluster / "held"
    job = {"HOLD": str(hold), "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "71", "SLURM_RESTART_COUNT": restarts}
    process = started(*words, **job)
    deadline = time.monotonic() + SECONDS
    while not hold.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sent)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, output
    assert read_lines(cluster / "record")[-1] == "stopped"
    assert read_lines(cluster / "asked") == asked


def test_the_scripts_ask_for_a_second_start(cluster):
    for script in (cluster / "slurm").glob("*.sbatch"):
        asked = {
            line.removeprefix("#SBATCH ") for line in script.read_text().splitlines() if line.startswith("#SBATCH")
        }
        assert {"--requeue", "--open-mode=append", "--signal=B:USR1@120", "--time=24:00:00"} <= asked


@pytest.mark.parametrize("time_", ["1; rm -rf x", "soon", "--help", "1:00:00:00\n"])
def test_a_time_that_slurm_does_not_know_is_refused(time_, capsys):
    with pytest.raises(SystemExit):
        paper_scale.main(["s1-32b", "--time", time_])
    assert "--time is written as Slurm takes it" in capsys.readouterr().err or time_ == "--help"


def test_the_page_is_written_whole(tmp_path):
    path = tmp_path / "page.md"
    make_ledger().to_csv(tmp_path / "ledger.csv", index=False)
    assert paper_scale.main(["s1-32b", "--ledger", str(tmp_path / "ledger.csv"), "--out", str(path)]) == 0
    rows = [line for line in path.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert all(len(line.split(" | ")) in (3, 7) for line in rows)
    assert json.dumps(path.read_text("utf-8"))
    assert Path(path).stat().st_mode & 0o777 == 0o644
