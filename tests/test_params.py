"""The strict reader of parameters, and every YAML of every profile."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import params, paths
from s1_utils.errors import StudyError
from s1_utils.params import AblationParams, CollectParams, ParallelParams, SequentialParams, SftParams, validate_params

MODELS = {model.model_fields["notebook"].default: model for model in params.MODELS}
YAMLS = sorted(paths.PARAMS.glob("*/0*.yaml"))
VARIANTS = [path for path in YAMLS if "." in path.stem]
PROFILES = sorted(folder for folder in paths.PARAMS.iterdir() if any(folder.glob("0*.yaml")))


def run_cells(*cells):
    """The namespace of a kernel that ran `cells`."""
    namespace = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, namespace)
    return namespace


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A checkout whose only profile is `mine`, with a YAML for training."""
    folder = tmp_path / "params" / "mine"
    folder.mkdir(parents=True)
    (folder / "03_sft.yaml").write_text("profile: mine\nepochs: 5\n")
    (folder / "03_sft.large.yaml").write_text("profile: mine\nepochs: 50\n")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    return folder


# ------------------------------------------------------------------ names


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(StudyError, match=r"unknown parameter 'epoch' \(did you mean 'epochs'\?\)"):
        validate_params(SftParams, {"epoch": 3})


def test_an_unknown_name_like_no_other_is_refused_without_a_guess():
    with pytest.raises(StudyError, match=r"unknown parameter 'zzz'\.$"):
        validate_params(SftParams, {"zzz": 3})


def test_every_unknown_name_is_told_at_once():
    with pytest.raises(StudyError, match=r"'epoch'.*'seeed'"):
        validate_params(SftParams, {"epoch": 3, "seeed": 1})


def test_an_error_names_its_notebook():
    with pytest.raises(StudyError, match=r"^03_sft: "):
        validate_params(SftParams, {"epoch": 3})


def test_the_name_of_the_notebook_is_no_parameter():
    with pytest.raises(StudyError, match="unknown parameter 'notebook'"):
        validate_params(SftParams, {"notebook": "04_sequential_scaling"})


@given(st.dictionaries(st.sampled_from(["epoch", "epochs", "seed", "run_name", "x"]), st.integers(0, 9)))
def test_values_give_a_model_or_an_error_a_user_can_read(values):
    try:
        assert validate_params(SftParams, values).model_dump().items() >= values.items()
    except StudyError as error:
        assert str(error).startswith("03_sft: ")  # noqa: PT017 (either outcome is right)


# ------------------------------------------------------------------ values


@pytest.mark.parametrize("value", ["1e-5", "1.0e-5", 1e-5])
def test_a_float_may_be_written_as_yaml_reads_it(value):
    assert validate_params(SftParams, {"learning_rate": value}).learning_rate == 1e-5


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (SftParams, {"epochs": "three"}),
        (SftParams, {"epochs": 1.5}),
        (SftParams, {"epochs": None}),
        (SftParams, {"learning_rate": "fast"}),
        (SftParams, {"force": "perhaps"}),
        (CollectParams, {"sources": "puzzles"}),
        (SequentialParams, {"budgets": [8, "many"]}),
    ],
)
def test_a_wrong_type_is_refused_with_the_name_and_the_value(model, values):
    [(name, value)] = values.items()
    with pytest.raises(StudyError) as refusal:
        validate_params(model, values)
    assert f"parameter {name} = {value!r}: " in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (SftParams, {"epochs": 0}),
        (SftParams, {"seed": -1}),
        (SftParams, {"learning_rate": 0}),
        (SftParams, {"learning_rate": float("nan")}),
        (SftParams, {"warmup": 1.01}),
        (SftParams, {"weight_decay": -1e-9}),
        (CollectParams, {"give_up": -0.01}),
        (CollectParams, {"ngram": 0}),
        (SequentialParams, {"budgets": [8, -1]}),
        (SequentialParams, {"waits": [-1]}),
        (ParallelParams, {"temperature": 0}),
        (AblationParams, {"full_factor": 0}),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_name(model, values):
    with pytest.raises(StudyError, match=f"parameter {next(iter(values))} = "):
        validate_params(model, values)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (SftParams, {"seed": 0}),
        (SftParams, {"warmup": 1}),
        (SftParams, {"weight_decay": 0}),
        (CollectParams, {"give_up": 0, "slip": 1}),
        (SequentialParams, {"budgets": [0], "waits": [0]}),
    ],
)
def test_the_bounds_themselves_are_accepted(model, values):
    assert validate_params(model, values).model_dump().items() >= values.items()


@pytest.mark.parametrize("name", ["../other", "a/b", "..", ".hidden", "with space", "new\nline"])
def test_a_run_never_leaves_its_folder(name):
    with pytest.raises(StudyError, match="parameter run_name"):
        validate_params(SftParams, {"run_name": name})


def test_waits_without_a_text_are_refused():
    with pytest.raises(StudyError, match="wait_text must not be empty"):
        validate_params(SequentialParams, {"wait_text": "", "waits": [0, 2]})


def test_an_empty_list_of_budgets_is_refused():
    with pytest.raises(StudyError, match="budgets"):
        validate_params(SequentialParams, {"budgets": []})


def test_parameters_cannot_be_changed_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        SftParams().epochs = 7


# ------------------------------------------------------------------ a notebook's cell

CELL = '# Parameters\nepochs: int = 2  # passes\nlearning_rate: float = 1e-3  # peak\nprofile: str = "smoke"\n'


def test_the_parameters_of_a_notebook_are_those_its_cell_assigns():
    read = params.read_params(SftParams, run_cells(CELL))
    assert read == SftParams(epochs=2, learning_rate=1e-3, profile="smoke")


def test_papermills_cell_wins_over_the_notebooks():
    read = params.read_params(SftParams, run_cells(CELL, "# Parameters\nepochs = 9\n"))
    assert read.epochs == 9


def test_a_misspelt_parameter_of_papermills_is_refused():
    with pytest.raises(StudyError, match="did you mean 'epochs'"):
        params.read_params(SftParams, run_cells(CELL, "# Parameters\nepoch = 9\n"))


def test_other_cells_assign_no_parameters():
    assert params.read_params(SftParams, run_cells(CELL, "rows = 3\nbatch_size = 99")).batch_size != 99


# ------------------------------------------------------------------ where a run goes


def test_a_run_name_decides_where_a_run_goes(profile):
    assert SftParams(profile="mine", run_name="t").find_run() == "t"


def test_an_unchanged_profile_goes_to_its_own_folder(profile):
    assert SftParams(profile="mine", epochs=5, force=True).find_run() == "mine"


def test_a_changed_parameter_gives_the_run_a_name_of_its_own(profile):
    names = {SftParams(profile="mine", epochs=epochs).find_run() for epochs in (5, 6, 7)}
    assert len(names) == 3


def test_the_same_change_gives_the_same_name(profile):
    one, two = (SftParams(profile="mine", epochs=6, force=force).find_run() for force in (False, True))
    assert one == two


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do(profile):
    with pytest.raises(StudyError, match=r"No params.nowhere.03_sft\.yaml: profiles are mine\."):
        params.load_profile(SftParams, "nowhere")


def test_a_variant_of_a_profile_is_read_from_its_own_yaml(profile):
    assert [params.load_profile(SftParams, "mine", variant).epochs for variant in ("", "large")] == [5, 50]


def test_a_yaml_with_a_misspelt_name_is_refused(profile):
    (profile / "03_sft.yaml").write_text("profile: mine\nepocs: 5\n")
    with pytest.raises(StudyError, match="did you mean 'epochs'"):
        params.load_profile(SftParams, "mine")


# ------------------------------------------------------------------ the profiles of this study


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_yaml_is_valid_for_its_notebook(path):
    notebook, _, variant = path.stem.partition(".")
    assert params.load_profile(MODELS[notebook], path.parent.name, variant).profile


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_yaml_names_the_profile_it_lies_in(path):
    assert yaml.safe_load(path.read_text("utf-8"))["profile"] == path.parent.name


@pytest.mark.parametrize("folder", PROFILES, ids=lambda folder: folder.name)
def test_every_profile_has_a_yaml_for_every_notebook(folder):
    assert {path.stem for path in folder.glob("*.yaml")} >= set(MODELS)


@pytest.mark.parametrize("path", VARIANTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_variant_writes_to_a_run_of_its_own(path):
    notebook, _, variant = path.stem.partition(".")
    assert params.load_profile(MODELS[notebook], path.parent.name, variant).find_run() != path.parent.name


@pytest.mark.parametrize("notebook", MODELS)
def test_the_laptop_profile_is_what_a_notebook_does_by_default(notebook):
    assert params.load_profile(MODELS[notebook], "laptop") == MODELS[notebook]()


def test_the_profiles_found_are_the_folders_with_yamls():
    assert params.find_profiles() == [folder.name for folder in PROFILES]


@pytest.mark.parametrize("name", ["laptop", "smoke"])
def test_the_two_profiles_of_a_laptop_exist(name):
    assert name in params.find_profiles()
