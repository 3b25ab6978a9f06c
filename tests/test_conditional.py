"""Asking for a length: prompts open as training text does, and what is used is counted as it was trained."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat, conditional, models, params, sources, training_text
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.errors import StudyError
from s1_utils.generation import Writer, make_tasks
from s1_utils.store import Journal

SYSTEM = "Think, then answer."
TRACE = "Try A: no. Wait, try B: no. Wait, try C: yes."
QUESTIONS = pd.DataFrame({"question_id": ["q"], "question": ["Which door?"]})
TRACES = st.lists(st.sampled_from(["Try A: no.", "Wait, no.", "3 steps left", "12"]), min_size=1, max_size=40)


encode_markers = functools.cache(chat.encode_markers)


def make_writer(tokenizer, kind, engine=None):
    fmt = training_text.find_format(kind)
    return Writer(engine, tokenizer, encode_markers(tokenizer, fmt), 9999, SYSTEM, fmt)


def write(tokenizer, kind, thinking=TRACE):
    return training_text.write_example(tokenizer, "Which door?", thinking, "Answer: C", system_prompt=SYSTEM, kind=kind)


@pytest.mark.parametrize(("kind", "n"), [("tokens", 32), ("steps", 4)])
def test_a_prompt_that_asks_for_a_length_opens_as_the_training_text_does(tokenizer, kind, n):
    writer, example = make_writer(tokenizer, kind), write(tokenizer, kind)
    (task,) = make_tasks(writer, QUESTIONS, instruction=training_text.ASKS[kind].format(n=n))
    text = example.prompt + example.completion
    assert text.startswith(tokenizer.decode(task.prompt_ids))
    assert chat.encode(tokenizer, text)[: len(task.prompt_ids)] == task.prompt_ids
    rest = text.removeprefix(tokenizer.decode(task.prompt_ids))
    assert rest.startswith({"tokens": "Try A", "steps": "4 steps left\nTry A"}[kind])


def ask(tokenizer, kind, n, thinking, folder):
    """The rows of a model of `kind` that is asked for `n`, and says what it was trained to say of `thinking`."""
    text = chat.encode(tokenizer, write(tokenizer, kind, thinking).completion)
    start = chat.encode(tokenizer, training_text.find_format(kind).thinking_start)
    said = (*text[len(start) :], *[tokenizer.eos_token_id] * 500)
    options = {"ask_tokens": [n], "ask_steps": [n], "kinds": [kind], "max_thinking": 999, "max_answer_tokens": 9}
    writer = make_writer(tokenizer, kind)
    tasks = make_tasks(writer, QUESTIONS, instruction=training_text.ASKS[kind].format(n=n))
    at = len(tasks[0].prompt_ids)
    writer = make_writer(tokenizer, kind, ScriptedEngine(lambda prefix: said[len(prefix) - at]))
    run = conditional._find_run(writer, tasks, kind, n, SimpleNamespace(**options), trained=kind)
    with Journal(folder / f"{n}.jsonl", "k") as journal:
        table = run(journal, label="m", group_size=1)
    return conditional._describe(table.assign(trained=kind, kind=kind, asked=n), writer).set_index("enforced")


def test_steps_are_enforced_where_the_count_is_too_high(tokenizer, tmp_path):
    rows = ask(tokenizer, "steps", 2, TRACE, tmp_path)
    assert rows["steps"].to_dict() == {False: 3, True: 2}
    assert rows.loc[True, "thinking"] == "4 steps left\nTry A: no.\n<|im_start|>3 steps left\nWait, try B: no.\n"
    assert rows["setting"].tolist() == ["steps:2:0", "steps, counted:2:0"]


def test_tokens_are_enforced_to_the_token(tokenizer, tmp_path):
    rows = ask(tokenizer, "tokens", 5, TRACE, tmp_path)
    assert rows.loc[False, "thinking"] == f"{TRACE}\n"
    assert rows.loc[True, "thinking_tokens"] == rows.loc[True, "budget"] == 5
    assert rows.loc[True, "answer"].startswith("Final Answer:")


@given(steps=TRACES)
def test_announcements_are_no_thinking(tokenizer, steps, tmp_path_factory):
    n = training_text.round_up_to_power_of_two(len(steps))
    folder = tmp_path_factory.mktemp("journal")
    row = ask(tokenizer, "steps", n, "\n\n".join(steps), folder).loc[False]
    tokens = sum(len(chat.encode(tokenizer, f"{step}\n")) for step in steps)
    assert (row["steps"], row["thinking_tokens"] - row["marked_tokens"]) == (len(steps), tokens)


@given(steps=TRACES)
def test_steps_of_plain_text_are_those_that_training_would_announce(tokenizer, steps):
    thinking, example = "\n\n".join(steps), write(tokenizer, "steps", "\n\n".join(steps))
    announced = len(training_text.read_example(example.prompt + example.completion, "steps").steps)
    assert conditional.find_announcements(thinking, "s1") == []
    assert conditional.count_steps(f"{thinking}\n", 0) == announced


@pytest.mark.parametrize(
    ("thinking", "steps"), [("", 0), (" \n", 0), ("3 steps left\n", 1), ("so", 1), ("so <|im_start|>2 steps left", 1)]
)
def test_a_model_of_steps_that_hardly_thinks_has_hardly_any(thinking, steps):
    assert conditional.count_steps(thinking, len(conditional.find_announcements(thinking, "steps"))) == steps


def make_params(**changes):
    return params.load_profile(params.AblationParams, "smoke").model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kinds": ["steps", "steps"]}, "kinds has repeats"),
        ({"kinds": ["steps"], "ask_steps": [2, 2]}, "ask_steps has repeats"),
        ({"kinds": ["tokens"], "ask_tokens": [8]}, "ask for two lengths at least"),
        ({"kinds": ["tokens"], "ask_tokens": [8, 99], "max_thinking": 64}, "exceeds max_thinking = 64"),
    ],
)
def test_lengths_that_can_not_be_asked_for_are_refused(changes, told):
    with pytest.raises(StudyError, match=told):
        conditional.require_asks(make_params(**changes))


def test_lengths_of_a_kind_that_nobody_is_trained_in_do_not_matter():
    conditional.require_asks(make_params(kinds=["steps"], ask_tokens=[8, 8, 9999]))


def test_plain_s1_is_asked_for_everything_and_the_others_for_their_own():
    chosen = make_params(kinds=["tokens", "steps"], ask_tokens=[8, 16], ask_steps=[1, 2])
    tokens, steps = [("tokens", 8), ("tokens", 16)], [("steps", 1), ("steps", 2)]
    asks = [conditional.list_asks(chosen, trained) for trained in ("s1", "tokens", "steps")]
    assert asks == [tokens + steps, tokens, steps]


@pytest.mark.parametrize("trained", ["s1", "tokens", "steps"])
def test_every_question_is_asked_for_every_length(trained, tmp_path):
    chosen = make_params(max_thinking=16)
    questions = sources.collect_questions(["puzzles"], questions_per_family=2, dev=0, test=3, seed=0)
    with Journal(tmp_path / "a.jsonl", "k") as journal:
        table = conditional.ask_lengths(
            models.resolve_model("random-llama"), questions, journal, chosen, label="m/0", trained=trained,
            system_prompt=SYSTEM,
        )  # fmt: skip
    assert not table.duplicated(["question_id", "setting"]).any()
    sizes = table.groupby(["kind", "asked", "enforced"]).size()
    expected = [(kind, n, False) for kind, n in conditional.list_asks(chosen, trained)]
    expected += [(*key[:2], True) for key in expected if key[0] == "tokens" or trained == "steps"]
    assert sizes.to_dict() == dict.fromkeys(expected, len(questions))
    stopped = table[table["enforced"]]
    assert (stopped["thinking_tokens"].where(stopped["kind"] == "tokens", stopped["steps"]) <= stopped["asked"]).all()
