"""The runner prints the lines it runs; profiles can be copied; errors are one line."""

import shutil

import pytest

from s1_utils import params, paths, study
from s1_utils.errors import StudyError


@pytest.fixture
def params_folder(tmp_path, monkeypatch):
    shutil.copytree(paths.PARAMS, tmp_path / "params")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    return tmp_path / "params"


def test_the_line_of_a_notebook_is_the_one_the_design_gives(monkeypatch):
    monkeypatch.delenv("S1_RUNS", raising=False)
    assert " ".join(study.write_line("laptop", "04_sequential_scaling")) == (
        "papermill notebooks/04_sequential_scaling.ipynb runs/laptop/04_sequential_scaling/notebook.ipynb "
        "-f params/laptop/04_sequential_scaling.yaml"
    )


def test_other_questions_make_a_run_of_their_own_from_the_same_profile(tmp_path, monkeypatch):
    monkeypatch.delenv("S1_RUNS", raising=False)
    first, second = (study.write_line("s1-32b", name, benchmark="aime24") for name in study.ON_TESTS)
    assert first[2] == "runs/s1-32b-aime24/04_sequential_scaling/notebook.ipynb"
    assert first[-6:] == ["-p", "run_name", "s1-32b-aime24", "-p", "benchmark", "aime24"]
    assert second[-3:] == ["-p", "run_name", "s1-32b-aime24"]  # it takes notebook 4's questions
    own = study.write_line("laptop", "04_sequential_scaling", benchmark=str(tmp_path / "mine.jsonl"))
    assert own[-3:] == ["-p", "benchmark", str(tmp_path / "mine.jsonl")]
    assert "laptop-mine" in own[2]


def test_a_variant_writes_to_the_run_it_names(monkeypatch):
    monkeypatch.delenv("S1_RUNS", raising=False)
    line = study.write_line("laptop", "06_ablations", variant="large")
    assert line[2] == "runs/laptop-ablations/06_ablations/notebook.ipynb"


def test_a_copied_profile_is_valid_and_differs_in_its_name_only(params_folder):
    study.copy_profile("laptop", "mine")
    for model in params.MODELS:
        copied, original = params.load_profile(model, "mine"), params.load_profile(model, "laptop")
        assert copied.profile == "mine"
        assert copied.result_params() == original.result_params()
        assert copied.find_run() == "mine"


def test_a_profile_is_never_overwritten_by_a_copy(params_folder):
    with pytest.raises(StudyError, match="exists already"):
        study.copy_profile("laptop", "smoke")


def test_an_unknown_profile_is_one_line_on_stderr_and_exit_status_1(capsys):
    assert study.main(["run", "laptopp"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"profiles are {', '.join(params.find_profiles())}." in error


def test_publishing_a_run_that_has_no_tables_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("S1_RUNS", str(tmp_path))
    with pytest.raises(StudyError, match="make study PROFILE=laptop"):
        study.publish("laptop")
