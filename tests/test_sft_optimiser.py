"""The optimisers: their names, what they need of a machine, and the bytes their moments take."""

from importlib.util import find_spec
from typing import get_args

import pytest
from test_memory import LLAMA, QWEN, shape_of

from s1_utils import memory, params, sft_job, sft_optimiser, sft_processes, sft_trainer
from s1_utils.errors import StudyError
from s1_utils.params import SftParams
from s1_utils.sft_data import Spread

EIGHT_BIT = [name for name in memory.OPTIMISERS if name != sft_optimiser.PLAIN]
BYTES_KEPT = ("state1", "state2", "absmax1", "absmax2")


def make_job(folder, **changes):
    chosen = SftParams(report_to="none").model_copy(update=changes)
    return sft_job.make_job(folder / "no-such-model", folder, chosen, system_prompt="", seed=1)


def test_the_planner_and_the_parameters_name_the_same_optimisers():
    assert get_args(SftParams.model_fields["optimiser"].annotation) == memory.OPTIMISERS


@pytest.mark.parametrize("name", EIGHT_BIT)
def test_every_other_optimiser_is_one_of_transformers(name):
    from transformers.training_args import OptimizerNames

    assert OptimizerNames(name).value == name


def test_plain_adamw_is_what_the_library_takes_by_itself(tmp_path):
    from trl import SFTConfig

    optim = sft_trainer.configure(make_job(tmp_path), Spread(1, 2, 1)).optim
    assert optim == SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False).optim


@pytest.mark.skipif(sft_processes.has_gpu(), reason="there is a GPU")
@pytest.mark.parametrize("name", EIGHT_BIT)
def test_without_a_gpu_an_8_bit_optimiser_is_refused_before_a_model_is_looked_for(name, tmp_path):
    with pytest.raises(StudyError, match=rf"optimiser {name} works on GPUs only\. Set optimiser to adamw"):
        make_job(tmp_path, optimiser=name)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_it_is_refused_with_where_to_find_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sft_processes, "has_gpu", lambda: True)
    with pytest.raises(StudyError, match=r"needs bitsandbytes\. Install the version that environment.yml names"):
        make_job(tmp_path, optimiser="adamw_8bit")


def test_plain_adamw_needs_nothing():
    sft_optimiser.require_optimiser("adamw")


@pytest.mark.parametrize("name", EIGHT_BIT)
def test_shards_and_8_bit_moments_are_refused_together(name, tmp_path):
    with pytest.raises(StudyError, match="set optimiser to adamw, or shard to False"):
        params.validate_params(SftParams, {"optimiser": name, "shard": True})
    with pytest.raises(StudyError, match="set optimiser to adamw, or shard to False"):
        make_job(tmp_path, optimiser=name, shard=True)


# ------------------------------------------------------------------ with bitsandbytes itself


def init_moments(facts, name, folder):
    """The optimiser that the Trainer makes for a random model, its moments there as after a first step."""
    from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**facts))
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, optim=name, report_to="none")
    optimiser = Trainer(model=model, args=args).create_optimizer()
    optimiser.check_overrides()
    for g, group in enumerate(optimiser.param_groups):
        for i, p in enumerate(group["params"]):
            optimiser.init_state(group, p, g, i)
    return optimiser


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("facts", [LLAMA, QWEN], ids=["a head of its own", "tied"])
@pytest.mark.parametrize("name", EIGHT_BIT)
def test_the_moments_take_the_bytes_of_the_plan(facts, name, tmp_path):
    pytest.importorskip("bitsandbytes")
    states = init_moments(facts, name, tmp_path).state.values()
    kept = sum(state[name].nbytes for state in states for name in BYTES_KEPT if name in state)
    planned = memory.count_states(shape_of(facts), memory.Setup(optimiser=name))["optimiser"]
    assert planned == pytest.approx(kept, rel=0.01)


@pytest.mark.filterwarnings("default")
def test_moments_made_pageable_again_are_the_same_moments(tmp_path):
    pytest.importorskip("bitsandbytes")
    optimiser = init_moments(QWEN, "paged_adamw_8bit", tmp_path)
    for state in optimiser.state.values():
        state["state1"].fill_(7)
    before = {p: state["state1"].clone() for p, state in optimiser.state.items()}
    sft_optimiser.page_moments(optimiser)
    assert all(before[p].equal(state["state1"]) for p, state in optimiser.state.items())
