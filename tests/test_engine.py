"""The transformers engine against two oracles: plain generation, and the scripted engine driven by the same model."""

import copy
import random

import pytest
import torch

from s1_utils import models
from s1_utils.budget_forcing import Markers, Setting, force_budget
from s1_utils.engines import Row
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.engines.transformers import TransformersEngine

PAD = 2


@pytest.fixture(scope="module")
def model():
    """A tiny model with a vocabulary of 40, sharp enough that no two logits are nearly equal."""
    config = models.load_model(models.resolve_model("random-llama"))[0].config
    config.update({"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD})
    torch.manual_seed(1)
    made = type(models.load_model(models.resolve_model("random-llama"))[0])(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4)
    return made.eval()


def make_prompts(n: int, seed: int) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [(3, 4, *(rng.randrange(5, 40) for _ in range(rng.randrange(1, 9)))) for _ in range(n)]


def make_markers(one: int, two: tuple[int, int]) -> Markers:
    return Markers(
        end_markers=((one,), two),
        thinking_end=(30, 31),
        answer_prefix=(32,),
        newline=(33,),
        ends_in_newline=frozenset({33}),
        turn_ends=((34,), (35,)),
    )


def follow(model):
    """The model's most likely id that isn't banned, without any cache."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("eager")

    def next_token(ids, banned=frozenset()):
        with torch.inference_mode():
            logits = plain(torch.tensor([ids])).logits[0, -1]
            logits[list(banned)] = -torch.inf
            return int(logits.argmax())

    return next_token


def run(engine, prompts, markers, settings, **row):
    rows = [Row(p, force_budget(markers, settings, wait_ids=((36, 37),), max_answer_tokens=5), **row) for p in prompts]
    return engine.run(rows)


SETTINGS = [Setting("budget", b, 99) for b in (0, 1, 5, 12, 20)] + [Setting("wait", 24, w) for w in (0, 1, 3)]


@pytest.mark.parametrize("seed", range(6))
def test_it_forces_the_same_ids_as_decoding_without_cache_or_batch(model, seed):
    prompts = make_prompts(9, seed)
    seen = [follow(model)(p) for p in prompts]
    markers = make_markers(seen[0], (seen[1], follow(model)((*prompts[1], seen[1]))))
    ours = run(TransformersEngine(model, pad_id=PAD), prompts, markers, SETTINGS)
    scripted = run(ScriptedEngine(follow(model), follow(model)), prompts, markers, SETTINGS)
    assert ours == scripted
    assert any(event == "suppressed_end" for points in ours for point in points for event, _ in point.events)


def test_one_pass_equals_separate_runs_token_for_token(model):
    prompts = make_prompts(8, 7)
    markers = make_markers(follow(model)(prompts[0]), (38, 39))
    engine = TransformersEngine(model, pad_id=PAD)
    together = run(engine, prompts, markers, SETTINGS)
    for i, setting in enumerate(SETTINGS):
        alone = run(engine, prompts, markers, [setting])
        for joint, single in zip(together, alone, strict=True):
            assert joint[i] == single[0]


def test_without_budget_and_waits_it_equals_generate(model):
    prompts = make_prompts(5, 3)
    markers = make_markers(38, (38, 39))
    ours = run(TransformersEngine(model, pad_id=PAD), prompts, markers, [Setting("wait", 15, 0)])
    for prompt, (point,) in zip(prompts, ours, strict=True):
        plain = model.generate(
            torch.tensor([prompt]), max_new_tokens=15, do_sample=False, eos_token_id=38, pad_token_id=PAD
        )
        expected = [i for i in plain[0, len(prompt) :].tolist() if i != 38]
        assert list(point.thinking_ids) == expected


def test_samples_depend_on_their_seed_and_not_on_their_batch(model):
    prompts = make_prompts(6, 5)
    markers = make_markers(38, (38, 39))
    engine = TransformersEngine(model, pad_id=PAD)
    settings = [Setting("natural", 12, 0)]
    rows = [
        Row(p, force_budget(markers, settings, max_answer_tokens=3), seed=i, temperature=1.0)
        for i, p in enumerate(prompts)
    ]
    together = engine.run(rows)
    for i, prompt in enumerate(prompts):
        policy = force_budget(markers, settings, max_answer_tokens=3)
        assert engine.run([Row(prompt, policy, seed=i, temperature=1.0)]) == [together[i]]
    assert len({point.thinking_ids for (point,) in together}) > 1


def test_samples_of_one_prompt_follow_the_models_own_law(model):
    n = 2000
    markers = make_markers(38, (38, 39))
    prompt = make_prompts(1, 11)[0]
    with torch.inference_mode():
        law = (model(torch.tensor([prompt])).logits[0, -1] / 8.0).softmax(-1)
    policies = [force_budget(markers, [Setting("natural", 1, 0)], max_answer_tokens=1) for _ in range(n)]
    outs = TransformersEngine(model, pad_id=PAD).run(
        [Row(prompt, x, seed=i, temperature=8.0) for i, x in enumerate(policies)]
    )
    counts = torch.zeros(40)
    for (point,) in outs:
        counts[point.thinking_ids[0] if point.thinking_ids else 38] += 1
    expected = n * law
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < 39 + 6 * (2 * 39) ** 0.5  # about 6 standard deviations: one false alarm in a hundred million


def test_a_group_run_twice_gives_the_same_result(model):
    prompts, markers = make_prompts(8, 9), make_markers(5, (6, 7))
    engine = TransformersEngine(model, pad_id=PAD)
    assert run(engine, prompts, markers, SETTINGS) == run(engine, prompts, markers, SETTINGS)


def test_samples_of_a_question_share_its_prefill(model):
    markers = make_markers(38, (38, 39))
    prompts = make_prompts(1, 13) * 10
    engine = TransformersEngine(model, pad_id=PAD)
    run(engine, prompts, markers, [Setting("budget", 0, 0)])
    closing = 2 + 1  # thinking_end and answer_prefix
    assert engine.forward_tokens <= len(prompts[0]) + 10 * (closing + 5)


def watch(policy, clock, spans):
    """The policy, with the engine's step count noted when it is first asked and when it returns."""
    begun, sent = clock(), None
    while True:
        try:
            segment = policy.send(sent)
        except StopIteration as stop:
            spans.append((begun, clock()))
            return stop.value
        sent = yield segment


def run_watched(engine, prompts, markers):
    spans = []
    policies = [force_budget(markers, SETTINGS, wait_ids=((36, 37),), max_answer_tokens=5) for _ in prompts]
    rows = [Row(p, watch(x, lambda: engine.steps, spans)) for p, x in zip(prompts, policies, strict=True)]
    engine.run(rows)
    return spans


def test_a_row_takes_as_many_steps_among_others_as_alone(model):
    prompts, markers = make_prompts(7, 21), make_markers(5, (6, 7))
    engine = TransformersEngine(model, pad_id=PAD)
    alone = [b - a for prompt in prompts for a, b in run_watched(engine, [prompt], markers)]
    assert sorted(b - a for a, b in run_watched(engine, prompts, markers)) == sorted(alone)


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_few_slots_give_the_same_ids_and_are_taken_again_in_the_next_step(model, slots):
    prompts, markers = make_prompts(9, 23), make_markers(5, (6, 7))
    few = TransformersEngine(model, pad_id=PAD, slots=slots)
    assert run(few, prompts, markers, SETTINGS) == run(
        TransformersEngine(model, pad_id=PAD), prompts, markers, SETTINGS
    )
    spans = run_watched(few, prompts, markers)
    begins, ends = (sorted(column) for column in zip(*spans, strict=True))
    assert begins[slots:] == ends[: len(prompts) - slots]


def test_an_engine_without_slots_is_refused(model):
    with pytest.raises(ValueError, match="1 or more"):
        TransformersEngine(model, pad_id=PAD, slots=0)
