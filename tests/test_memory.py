"""The memory planner against three oracles: published counts and runs, what autograd saves, and real peaks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import memory, memory_advice, memory_check, params, plan
from s1_utils.errors import StudyError
from s1_utils.memory import Setup, Shape

PAPER = Setup(devices=16)  # 16 x 80 GB, sharded, one row of 32,768 tokens each, recomputed, bf16 over fp32 weights
LLAMA = {"model_type": "llama", "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8}
LLAMA |= {"vocab_size": 8000, "num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": False}
QWEN = {"model_type": "qwen2", "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}
QWEN |= {"vocab_size": 16000, "num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True}
CPU = Setup(cpu=True, dtype="fp32", device_gb=8, tokens=1024)


def shape_of(facts):
    from transformers import AutoConfig

    return memory.describe_model(AutoConfig.for_model(**facts))


@pytest.fixture(scope="module")
def qwen():
    """The published Qwen2.5 shapes by size."""
    return {name.removeprefix("qwen2.5-"): memory.find_shape(name) for name in memory.PUBLISHED}


@st.composite
def shapes(draw):
    """Any dense decoder with biases nowhere."""
    head_dim, kv_heads, group = draw(st.sampled_from([64, 128])), draw(st.integers(1, 8)), draw(st.integers(1, 8))
    heads, layers = kv_heads * group, draw(st.integers(2, 80))
    hidden, vocabulary = heads * head_dim, draw(st.integers(1000, 200_000))
    wide = draw(st.integers(2, 6)) * hidden
    layer = 2 * hidden * hidden + 2 * hidden * kv_heads * head_dim + 3 * hidden * wide + 2 * hidden
    table = vocabulary * hidden
    head = draw(st.sampled_from([0, table]))
    return Shape(hidden, wide, heads, kv_heads, head_dim, layers, vocabulary, table, layer, head, hidden)


setups = st.builds(
    Setup,
    devices=st.integers(1, 64),
    tokens=st.integers(1, 40_000),
    device_batch=st.integers(1, 4),
    pack=st.booleans(),
    shard=st.booleans(),
    offload=st.booleans(),
    recompute=st.booleans(),
    optimiser=st.sampled_from(memory.OPTIMISERS),
    fused_loss=st.booleans(),
    liger=st.booleans(),
    attention=st.sampled_from(["flash", "sdpa", "eager"]),
    dtype=st.sampled_from(["bf16", "fp32"]),
    trained_share=st.floats(0, 1),
    accumulate=st.booleans(),
    cpu=st.booleans(),
)


def needs(shape, setup):
    return memory.find_peak(shape, setup)[0]


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize(
    ("size", "billions"), [("0.5b", 0.494), ("1.5b", 1.54), ("3b", 3.09), ("7b", 7.62), ("14b", 14.8), ("32b", 32.8)]
)
def test_a_published_model_has_its_published_number_of_parameters(qwen, size, billions):
    assert float(f"{qwen[size].parameters / 1e9:.3g}") == billions


@pytest.mark.parametrize("facts", [LLAMA, QWEN])
def test_the_parts_of_a_shape_sum_to_the_real_models_parameters(facts):
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**facts))
    assert shape_of(facts).parameters == model.num_parameters()


def test_a_folder_is_described_by_its_config_alone(tmp_path):
    from transformers import AutoConfig

    AutoConfig.for_model(**QWEN).save_pretrained(tmp_path)
    assert memory.find_shape(str(tmp_path)) == shape_of(QWEN)


def test_a_hub_name_needs_no_hub(qwen):
    assert memory.find_shape("Qwen/Qwen2.5-3B-Instruct") == qwen["3b"]


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(StudyError, match=r"qwen2\.5-32b"):
        memory.find_shape("gpt-5")


def test_a_mixture_of_experts_is_refused():
    widths = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(StudyError, match="dense"):
        shape_of({"model_type": "mixtral", **widths, "num_key_value_heads": 2, "vocab_size": 100})


@pytest.mark.parametrize("wrong", [{"optimiser": "sgd"}, {"attention": "ring"}, {"dtype": "fp8"}, {"tokens": 0}])
def test_a_setup_that_isnt_known_is_refused(wrong):
    with pytest.raises(StudyError):
        Setup(**wrong)


# ------------------------------------------------------------------ invariants


@given(shapes(), setups)
def test_longer_rows_never_need_less(shape, setup):
    assert needs(shape, setup) <= needs(shape, replace(setup, tokens=setup.tokens + 1000))


@given(shapes(), setups)
def test_more_devices_never_need_more_each_once_sharded(shape, setup):
    sharded = replace(setup, shard=True, devices=setup.devices + 1)
    assert needs(shape, replace(sharded, devices=2 * sharded.devices)) <= needs(shape, sharded)


@given(shapes(), setups)
def test_recomputing_never_needs_more(shape, setup):
    assert needs(shape, replace(setup, recompute=True)) <= needs(shape, replace(setup, recompute=False))


@given(shapes(), setups)
def test_offloading_what_is_sharded_never_needs_more(shape, setup):
    sharded = replace(setup, shard=True, devices=setup.devices + 1)
    assert needs(shape, replace(sharded, offload=True)) <= needs(shape, replace(sharded, offload=False))


@given(shapes(), setups)
def test_gradients_that_accumulate_never_need_less(shape, setup):
    assert needs(shape, replace(setup, accumulate=False)) <= needs(shape, replace(setup, accumulate=True))


@given(shapes(), st.integers(2, 64))
def test_the_shards_of_all_devices_are_the_16_bytes_a_parameter_of_rajbhandari(shape, devices):
    states = memory.count_states(shape, Setup(devices=devices))
    assert devices * sum(states.values()) == pytest.approx(16 * shape.parameters)


@given(shapes(), setups)
def test_the_table_totals_to_the_peak(shape, setup):
    table = memory.plan_memory(shape, setup)
    assert table.loc["total"].max() == pytest.approx(needs(shape, setup))
    assert table.drop("total").sum().tolist() == pytest.approx(table.loc["total"].tolist())


# ------------------------------------------------------------------ what autograd saves


def count_saved(facts, setup):
    """Bytes of activations that the forward pass of all layers and the last norm saves; casts of weights aren't."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    kind = "eager" if setup.attention == "eager" else "sdpa"
    config = AutoConfig.for_model(**facts, attn_implementation=kind, use_cache=False, dtype=dtypes[setup.master])
    model = AutoModelForCausalLM.from_config(config)
    weights = {shape for p in model.parameters() for shape in (tuple(p.shape), tuple(p.shape)[::-1])}
    kept = []
    batch = _lay_end_to_end(setup) if setup.pack else _pad(setup)
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=setup.dtype == "bf16")
    with bf16, torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        model.model(input_ids=torch.ones_like(next(iter(batch.values()))), **batch)
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept if tuple(t.shape) not in weights
    }
    return sum(storages.values())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_mask_of_all_layers_is_the_one_transformers_makes(attention, pack, batch):
    import torch
    from transformers import AutoConfig
    from transformers.masking_utils import create_causal_mask

    setup = Setup(tokens=50, device_batch=batch, attention=attention, pack=pack)
    given = {"attention_mask": None, "position_ids": None} | (_lay_end_to_end(setup) if pack else _pad(setup))
    ids = torch.zeros(1 if pack else batch, setup.rows if pack else setup.tokens, 1)
    config = AutoConfig.for_model(**QWEN, attn_implementation=attention)
    mask = create_causal_mask(config=config, inputs_embeds=ids, past_key_values=None, **given)
    assert memory.count_mask(setup) == (0 if mask is None else mask.nbytes)


def _pad(setup):
    import torch

    mask = torch.ones(setup.device_batch, setup.tokens, dtype=torch.long)
    mask[0, setup.tokens // 2 :] = int(setup.device_batch == 1)
    return {"attention_mask": mask}


def _lay_end_to_end(setup):
    import torch

    return {"position_ids": torch.arange(setup.tokens).repeat(setup.device_batch)[None]}


@pytest.mark.parametrize(("batch", "pack"), [(1, False), (1, True), (2, False), (2, True)])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("master", "dtype"), [("fp32", "fp32"), ("bf16", "bf16"), ("fp32", "bf16")])
def test_what_a_layer_keeps_is_what_autograd_saves(master, dtype, attention, batch, pack):
    setup = Setup(tokens=300, device_batch=batch, pack=pack, attention=attention, dtype=dtype, master=master)
    setup = replace(setup, recompute=False)
    last_norm = setup.rows * QWEN["hidden_size"] * (4 + setup.residual)
    planned = last_norm + QWEN["num_hidden_layers"] * memory.count_kept(shape_of(QWEN), setup)
    assert planned == pytest.approx(count_saved(QWEN, setup), rel=0.01)


# ------------------------------------------------------------------ real peaks


@pytest.mark.parametrize(
    ("facts", "setup"),
    [
        (LLAMA, replace(CPU, recompute=False, fused_loss=False)),
        (QWEN, replace(CPU, tokens=512, device_batch=2)),
    ],
    ids=["Llama, everything kept, all logits", "Qwen2, padded, recomputed, TRL's loss"],
)
def test_the_peak_of_a_real_run_is_within_15_percent_of_the_plan(facts, setup):
    assert needs(shape_of(facts), setup) == pytest.approx(memory_check.measure_peak(facts, setup, steps=2), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("facts", "setup"),
    [
        (LLAMA, replace(CPU, tokens=512, device_batch=2, recompute=False)),
        (QWEN, replace(CPU, fused_loss=False)),
        (QWEN, replace(CPU, tokens=512, device_batch=2, recompute=False, fused_loss=False, attention="eager")),
        (LLAMA, replace(CPU, tokens=256, fused_loss=False)),
        (LLAMA, replace(CPU, tokens=512, device_batch=2, recompute=False, fused_loss=False, dtype="bf16")),
        (LLAMA, replace(CPU, tokens=512, recompute=False, dtype="bf16", master="bf16")),
    ],
)
def test_the_peak_of_every_other_kind_of_run_is_within_5_percent(facts, setup):
    assert needs(shape_of(facts), setup) == pytest.approx(memory_check.measure_peak(facts, setup, steps=2), rel=0.05)


@pytest.mark.parametrize("other", [{"devices": 2}, {"optimiser": "adamw_8bit"}, {"offload": True}, {"pack": True}])
def test_what_a_measured_run_cannot_do_is_refused(other):
    with pytest.raises(StudyError, match="plain AdamW"):
        memory_check.measure_peak(LLAMA, replace(CPU, **other))


def test_a_measured_run_that_fails_says_why():
    with pytest.raises(StudyError, match="measured training failed"):
        memory_check.measure_peak({"model_type": "no-such-model"}, CPU)


# ------------------------------------------------------------------ published runs


def fits(shape, setup):
    return memory_advice.judge_setup(shape, setup).fits


def test_32b_fits_16_h100_at_32768_tokens(qwen):
    assert fits(qwen["32b"], PAPER)


def test_32b_with_the_originals_loss_fits_16_h100_at_the_longest_row_of_s1k(qwen):
    assert fits(qwen["32b"], replace(PAPER, tokens=9100, fused_loss=False))


@pytest.mark.parametrize("tokens", [9100, 5000], ids=["the longest row", "a row of mean length"])
def test_32b_without_recomputing_does_not_fit_16_h100_for_s1k(qwen, tokens):
    assert not fits(qwen["32b"], replace(PAPER, tokens=tokens, recompute=False))


def test_32b_without_recomputing_does_not_fit_8_devices_at_32768_tokens(qwen):
    assert not fits(qwen["32b"], replace(PAPER, devices=8, recompute=False))


def test_32b_does_not_fit_8_devices_at_20000_tokens_with_all_logits(qwen):
    assert not fits(qwen["32b"], replace(PAPER, devices=8, tokens=20000, fused_loss=False))


def test_3b_with_a_lean_optimiser_fits_one_80_gb_device_at_16384_tokens(qwen):
    assert fits(qwen["3b"], Setup(tokens=16384, optimiser="paged_adamw_8bit"))


def test_3b_by_the_originals_script_does_not_fit_4_a100_of_40_gb(qwen):
    assert not fits(qwen["3b"], Setup(devices=4, device_gb=40, recompute=False, fused_loss=False))


def test_half_a_billion_by_the_originals_script_does_not_fit_a_4090_at_20000_tokens(qwen):
    assert not fits(qwen["0.5b"], Setup(device_gb=24, tokens=20000, recompute=False, fused_loss=False))


# ------------------------------------------------------------------ advice


def test_1_5b_on_24_gb_is_told_to_shard_or_to_use_8_bit_moments_or_to_offload(qwen):
    verdict = memory_advice.judge_setup(qwen["1.5b"], Setup(device_gb=24, tokens=16384))
    assert [name for name, _ in verdict.fixes] == ["2 devices, sharded", "optimiser adamw_8bit", "offload"]


def test_a_single_cheap_change_is_advised_before_combinations(qwen):
    verdict = memory_advice.judge_setup(qwen["32b"], replace(PAPER, tokens=9100, recompute=False, fused_loss=False))
    assert [name for name, _ in verdict.fixes] == ["recompute"]


def test_rows_are_shortened_only_where_nothing_else_helps(qwen):
    everything = Setup(tokens=32768, device_gb=16, offload=True, devices=16)
    verdict = memory_advice.judge_setup(qwen["32b"], everything)
    ((name, fixed),) = verdict.fixes
    assert name == f"rows of {fixed.tokens:,} tokens"
    assert not fits(qwen["32b"], replace(fixed, tokens=fixed.tokens + 1024))


@given(shapes(), setups)
def test_what_is_advised_fits_and_what_fits_needs_no_advice(shape, setup):
    verdict = memory_advice.judge_setup(shape, setup)
    assert not (verdict.fits and verdict.fixes)
    assert all(fits(shape, fixed) for _, fixed in verdict.fixes)


@given(shapes(), setups)
def test_shards_with_8_bit_moments_are_never_advised(shape, setup):
    verdict = memory_advice.judge_setup(shape, setup)
    assert not any(fixed.sharded and fixed.optimiser != "adamw" for _, fixed in verdict.fixes)


@given(shapes(), setups)
def test_one_row_at_a_time_accumulates_on_fewer_devices_than_rows(shape, setup):
    verdict = memory_advice.judge_setup(shape, setup)
    fewer = [fixed for _, fixed in verdict.fixes if fixed.device_batch < setup.device_batch and fixed.devices < 16]
    assert all(fixed.accumulate for fixed in fewer)


def test_the_papers_hours_follow_from_its_utilisation(qwen):
    hours = memory_advice.estimate_hours(qwen["32b"], PAPER, plan.PlanParams(), tokens=5000 * 5550, length=5550)
    assert hours * 60 == pytest.approx(26, rel=0.05)


def test_hours_are_those_of_the_plan(qwen):
    stated, filtered = plan.read_plan("s1-32b"), params.load_profile(params.FilterParams, "s1-32b")
    line = plan.plan_training(stated, "03_sft", "", examples=filtered.subset_size, epochs=5)
    length = line.tokens_in / filtered.subset_size / 5
    hours = memory_advice.estimate_hours(qwen["32b"], PAPER, stated, tokens=line.tokens_in, length=length)
    assert 16 * hours == pytest.approx(line.device_hours, rel=0.01)


def test_a_paged_optimiser_is_counted_where_it_lies(qwen):
    paged = Setup(tokens=16384, optimiser="paged_adamw_8bit")
    here = memory.plan_memory(qwen["3b"], replace(paged, optimiser="adamw_8bit")).loc["optimiser"].max()
    assert memory_advice.count_host_gb(qwen["3b"], paged) == pytest.approx(here)
    assert memory.plan_memory(qwen["3b"], paged).loc["optimiser"].max() == 0


def test_the_printed_plan_says_whether_it_fits_and_what_would(qwen, capsys):
    memory_advice.print_memory(qwen["1.5b"], Setup(device_gb=24, tokens=16384))
    said = capsys.readouterr().out
    assert "does not fit" in said
    assert "it would with optimiser adamw_8bit" in said


def test_a_model_that_nothing_can_make_fit_is_said_to_be_too_big(qwen, capsys):
    memory_advice.print_memory(qwen["32b"], Setup(device_gb=4))
    assert "choose a smaller model" in capsys.readouterr().out


def test_the_papers_profile_is_planned_beside_its_costs_and_fits(capsys):
    memory_advice.print_profile("s1-32b")
    said = capsys.readouterr().out
    assert "32.76e9 parameters, 16 x 80 GB, 1 x 32,768 tokens" in said
    assert "68.1 of 73.6 GB of a device (8% is left to the allocator): fits." in said
    assert "takes 0.4 hours on 16 x H100" in said


def test_the_papers_profile_is_planned_on_one_of_its_two_machines_as_well(capsys):
    memory_advice.print_profile("s1-32b")
    said = capsys.readouterr().out.split("On one machine of 8 x H100, which takes 0.9 hours at least:")[1]
    assert "does not fit" in said
    assert "it would with 16 devices, sharded: 68.1 GB" in said
    assert "it would with offload: 45.2 GB, and 61.0 GB of the host's memory for each device" in said


def test_a_profile_that_states_no_memory_is_not_planned(capsys):
    memory_advice.print_profile("laptop")
    assert capsys.readouterr().out == ""
