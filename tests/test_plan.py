"""The planner's arithmetic, and what it says about the paper's own runs."""

import pytest

from s1_utils import params, plan
from s1_utils.errors import StudyError

STATED = plan.PlanParams()


def test_the_default_utilisation_is_that_of_the_papers_training_run():
    line = plan.plan_training(STATED, "03_sft", "training", examples=1000, epochs=5)
    assert line.device_hours == pytest.approx(26 / 60 * 16, rel=0.05)


def test_training_on_everything_comes_near_the_published_394_hours():
    stated = STATED.model_copy(update={"selected_thinking_tokens": 3600})
    line = plan.plan_training(stated, "06_ablations", "training on full", examples=59029, epochs=5)
    assert line.device_hours == pytest.approx(394, rel=0.25)


def test_without_recomputation_training_takes_three_quarters():
    apart = STATED.model_copy(update={"recompute": False})
    flops = [plan.count_training_flops(stated, 1e6, 5000) for stated in (apart, STATED)]
    assert flops[0] / flops[1] == pytest.approx(3 / 4)


def test_attention_alone_makes_longer_rows_dearer():
    short, long = (plan.count_training_flops(STATED, 1e6, length) for length in (1000, 32768))
    extra = 1e6 * 6 * STATED.layers * STATED.hidden * (32768 - 1000) * 4 / 3
    assert long - short == pytest.approx(extra)


@pytest.mark.parametrize(("tokens", "prices", "usd"), [((2e6, 1e6), [3.0, 15.0], 21.0), ((5e5, 0), [1.0, 9.0], 0.5)])
def test_a_price_is_per_million_tokens_in_and_out(tokens, prices, usd):
    assert plan.price(tokens, prices) == usd


def test_no_teacher_and_no_judge_cost_nothing():
    lines = plan.plan_collection(STATED, params.CollectParams(), 1000)
    lines += plan.plan_filter(STATED, params.CollectParams(), params.FilterParams(), 1000)
    assert sum(line.usd for line in lines) == 0


def test_a_judge_pays_the_batch_price():
    collect = params.CollectParams(judge="some-model", judge_usd=[4.0, 0.0])
    judged = plan.plan_collection(STATED, collect, 1000)[-1]
    assert judged.usd == judged.tokens_in * 4.0 / 1e6 / 2


@pytest.mark.parametrize("profile", ["s1-32b", "laptop"])
def test_the_last_row_is_the_sum_of_all_others(profile):
    table = plan.plan_profile(profile)
    numbers = table.drop(columns=["stage", "what"])
    assert table["stage"].iloc[-1] == "all"
    assert numbers.iloc[-1].tolist() == pytest.approx(numbers.iloc[:-1].sum().tolist())


def test_the_papers_profile_plans_for_its_59029_questions():
    assert plan.count_questions(params.load_profile(params.CollectParams, "s1-32b")) == 59029


def test_the_laptop_holds_its_puzzles_and_champ():
    assert plan.count_questions(params.CollectParams()) == 4 * 1600 + 270


def test_a_file_of_unknown_length_asks_for_the_number_of_questions():
    with pytest.raises(StudyError, match=r"how many questions mine.jsonl has: set questions in plan.yaml"):
        plan.count_questions(params.CollectParams(sources=["mine.jsonl"]))


def test_a_profile_without_a_plan_says_what_to_do():
    with pytest.raises(StudyError, match=r"smoke has no plan.yaml: copy one"):
        plan.read_plan("smoke")


def test_what_is_printed_names_the_devices_and_the_limit_that_would_stop_it(capsys):
    plan.print_plan("s1-32b")
    printed = capsys.readouterr().out
    assert "H100-hours" in printed
    assert "on 16 x H100, as stated in params/s1-32b/plan.yaml" in printed
    assert "max_usd of 01_collect is 0.00: it would stop" in printed


def test_models_told_a_length_are_planned_as_they_are_trained_and_asked():
    chosen = params.load_profile(params.AblationParams, "s1-32b")
    plain = plan.plan_ablations(STATED, chosen)
    told = plan.plan_ablations(STATED, chosen.model_copy(update={"kinds": ["tokens", "steps"]}))
    assert told[: len(plain)] == plain
    trained, asked = told[len(plain) :][:2]
    assert trained.device_hours == plan.plan_training(STATED, "06_ablations", "", examples=1000, epochs=5).device_hours
    assert asked.requests == 2 * len(chosen.ask_tokens) * chosen.questions  # the model, and plain s1K's
    assert asked.tokens_out == asked.requests * (chosen.max_thinking + 2 * chosen.max_answer_tokens)
    assert len(told) == len(plain) + 4
