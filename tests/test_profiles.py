"""The profiles for GPUs: each fits the machine it states, and differs from the paper's only where it says so."""

import re
from dataclasses import replace

import pytest
import yaml

from s1_utils import memory, memory_advice, params, paths, plan
from s1_utils.params import AblationParams, CollectParams, FilterParams, SftParams

TRAINED, SFT, ABLATIONS = {"max_length"}, "03_sft", "06_ablations"
ONE_GPU = TRAINED | {"optimiser", "processes", "shard"}
MODEL = {"devices", "parameters", "layers", "hidden", "decode_rate"}
CARD = MODEL | {"device", "device_gb", "device_flops", "device_usd_per_hour", "solver_rates"}
GROUPS = {"04_sequential_scaling": {"group_size"}, "05_parallel_scaling": {"group_size"}}  # smaller models: more rows
DIFFERENCES = {  # from s1-32b, profile apart: a file's parameters
    "s1.1-32b": {
        "01_collect": {"teacher", "teacher_usd"},
        "02_filter": {"max_train_tokens"},
        SFT: TRAINED,
        ABLATIONS: TRAINED,
        "plan": {"thinking_tokens", "selected_thinking_tokens"},
    },
    "qwen2.5-7b": {
        "01_collect": {"model"},
        SFT: {"processes"},
        **GROUPS,
        ABLATIONS: {"processes", "offload"},
        "plan": MODEL,
    },
    "qwen2.5-3b": {
        "01_collect": {"model"},
        "02_filter": {"max_train_tokens"},
        SFT: ONE_GPU,
        **GROUPS,
        ABLATIONS: ONE_GPU | {"offload"},
        "plan": MODEL,
    },
    "qwen2.5-1.5b": {
        "01_collect": {"model"},
        "02_filter": {"max_train_tokens"},
        SFT: ONE_GPU,
        **GROUPS,
        ABLATIONS: ONE_GPU | {"offload"},
        "plan": CARD,
    },
}
PROFILES = ["s1-32b", *DIFFERENCES]
WINDOW = 32768  # of Qwen2.5-Instruct in all sizes
PROMPT = 512  # tokens left to a question of the tests


def read_yaml(profile, name):
    return yaml.safe_load((paths.PARAMS / profile / f"{name}.yaml").read_text("utf-8"))


def find_model(profile):
    return memory.find_shape(params.load_profile(CollectParams, profile).model)


def plan_profile(profile):
    """Shape and Setup of a profile's training, on all devices that it states."""
    return find_model(profile), memory_advice.plan_setup(profile, devices=plan.read_plan(profile).devices)


def test_every_profile_that_states_a_device_is_tested_here():
    stated = [name for name in params.find_profiles() if (paths.PARAMS / name / "plan.yaml").exists()]
    assert {name for name in stated if plan.read_plan(name).device_gb} == set(PROFILES)


@pytest.mark.parametrize("profile", DIFFERENCES)
def test_a_profile_differs_from_the_papers_where_it_says_and_nowhere_else(profile):
    found = {}
    for path in sorted((paths.PARAMS / "s1-32b").glob("*.yaml")):
        ours, papers = read_yaml(profile, path.stem), read_yaml("s1-32b", path.stem)
        found[path.stem] = {key for key in ours.keys() | papers if ours.get(key) != papers.get(key)} - {"profile"}
    assert {name: keys for name, keys in found.items() if keys} == DIFFERENCES[profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_fits_the_devices_that_it_states(profile):
    verdict = memory_advice.judge_setup(*plan_profile(profile))
    assert verdict.fits, verdict


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_kept_of_the_filter_is_what_training_takes(profile):
    sft, ablations = params.load_profile(SftParams, profile), params.load_profile(AblationParams, profile)
    assert params.load_profile(FilterParams, profile).max_train_tokens == sft.max_length == ablations.max_length


@pytest.mark.parametrize("profile", PROFILES)
def test_the_ablations_are_trained_like_the_model_itself(profile):
    sft, ablations = params.load_profile(SftParams, profile), params.load_profile(AblationParams, profile)
    names = set(params.TrainingParams.model_fields) - {"notebook", "seed", "offload"}  # they have one machine only
    assert {name: getattr(sft, name) for name in names} == {name: getattr(ablations, name) for name in names}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_ablations_fit_the_one_machine_that_their_notebook_trains_on(profile):
    ablations = params.load_profile(AblationParams, profile)
    setup = memory_advice.plan_setup(profile, devices=ablations.processes)
    verdict = memory_advice.judge_setup(find_model(profile), replace(setup, offload=ablations.offload))
    assert verdict.fits, verdict


def test_readmes_table_of_profiles_is_the_planners():
    readme = (paths.ROOT / "README.md").read_text("utf-8")
    for profile in PROFILES:
        shape, setup = plan_profile(profile)
        gb, hours = memory_advice.judge_setup(shape, setup).needed_gb, memory_advice.plan_hours(profile, shape, setup)
        row = re.search(rf"^\| `{re.escape(profile)}` \|.*$", readme, re.MULTILINE)[0]
        assert row.endswith(f"| {setup.tokens:,} | {gb:.0f} | {hours:.1f} |")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_plan_states_its_models_own_numbers(profile):
    stated, shape = plan.read_plan(profile), find_model(profile)
    assert stated.parameters == pytest.approx(shape.parameters, rel=0.01)
    assert (stated.layers, stated.hidden) == (shape.layers, shape.hidden)
    assert stated.recompute == params.load_profile(SftParams, profile).recompute


@pytest.mark.parametrize("profile", PROFILES)
def test_one_device_trains_in_one_process_and_only_several_share_the_weights(profile):
    sft, devices = params.load_profile(SftParams, profile), plan.read_plan(profile).devices
    assert devices % sft.processes == 0
    assert sft.shard == (devices > 1)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_longest_trace_of_a_test_fits_the_models_window(profile):
    sequential, parallel, ablations = (params.load_profile(model, profile) for model in params.MODELS[3:6])
    longest = [
        max(*sequential.budgets, *sequential.method_budgets, sequential.max_thinking + sequential.soft_extra),
        parallel.max_thinking,
        max(ablations.budget, ablations.max_thinking, *ablations.ask_tokens),
    ]
    answers = [sequential.max_answer_tokens, parallel.max_answer_tokens, ablations.max_answer_tokens]
    assert max(a + b for a, b in zip(longest, answers, strict=True)) <= WINDOW - PROMPT


@pytest.mark.parametrize("profile", DIFFERENCES)
def test_the_plan_of_a_profile_prints_its_costs_and_its_memory(profile, capsys):
    plan.print_plan(profile)
    memory_advice.print_profile(profile)
    said = capsys.readouterr().out
    stated = plan.read_plan(profile)
    assert f"hours on {stated.devices} x {stated.device}, as stated in params/{profile}/plan.yaml" in said
    assert "is left to the allocator): fits." in said


def test_a_solver_that_no_device_holds_is_named(capsys):
    memory_advice.print_profile("qwen2.5-1.5b")
    assert "serve it elsewhere, as Qwen/Qwen2.5-32B-Instruct@http://" in capsys.readouterr().out
    assert memory_advice.find_oversized("qwen2.5-3b") == []
