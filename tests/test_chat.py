"""Thinking formats with a real tokenizer: what is trained on is what is generated from and looked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.budget_forcing import Setting, force_budget
from s1_utils.chat import PLAIN, S1, encode, encode_markers, write_completion, write_prompt
from s1_utils.engines import Row, match_stop
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.errors import StudyError

SYSTEM = "Think, then answer."
# SmolLM2 knows no control characters but these, and knows not every byte of scripts it never saw
PROSE = st.text(st.characters(max_codepoint=0x4FF, exclude_categories=["C"], include_characters="\n\t"), max_size=40)
PROSE = PROSE.filter(lambda text: "<" not in text)  # no special token spelt out
MARKED_TEXTS = (S1.thinking_start, S1.thinking_end, *S1.end_markers, S1.answer_prefix, S1.turn_end)


@pytest.fixture(scope="session")
def markers(tokenizer):
    return encode_markers(tokenizer)


# ------------------------------------------------------------------ markers


@pytest.mark.parametrize("text", MARKED_TEXTS)
def test_a_marker_survives_encoding_and_decoding(tokenizer, text):
    assert tokenizer.decode(encode(tokenizer, text)) == text


@given(text=PROSE)
def test_encoding_adds_no_token_of_its_own(tokenizer, text):
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_a_marker_the_tokenizer_cannot_keep_is_refused(tokenizer):
    with pytest.raises(StudyError, match=r"can't encode the marker '\\x04'"):
        encode_markers(tokenizer, replace(S1, turn_ends=("\x04",)))


@pytest.mark.parametrize("fmt", [S1, PLAIN], ids=["s1", "plain"])
def test_every_way_a_trace_may_end_is_looked_for(tokenizer, fmt):
    assert [tokenizer.decode(ids) for ids in encode_markers(tokenizer, fmt).end_markers] == list(fmt.end_markers)


def test_the_end_of_the_turn_ends_thinking_and_answer(tokenizer, markers):
    end = encode(tokenizer, S1.turn_end)
    assert end in markers.end_markers
    assert end in markers.turn_ends


def test_the_ids_that_end_in_a_newline_are_those_whose_text_does(tokenizer, markers):
    assert markers.ends_in_newline == {i for i in range(len(tokenizer)) if tokenizer.decode([i]).endswith("\n")}


# ------------------------------------------------------------------ prompts


def test_a_prompt_ends_with_the_assistants_header(tokenizer):
    assert write_prompt(tokenizer, "Why?", SYSTEM).endswith("<|im_start|>assistant\n")


def test_a_prompt_holds_the_system_prompt_and_the_question(tokenizer):
    prompt = write_prompt(tokenizer, "Why?", SYSTEM)
    assert prompt.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n")


def test_an_empty_system_prompt_leaves_the_templates_own(tokenizer):
    own = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why?"}], tokenize=False, add_generation_prompt=True
    )
    assert write_prompt(tokenizer, "Why?", "") == own


def test_examples_are_earlier_turns_before_the_question(tokenizer):
    prompt = write_prompt(tokenizer, "Why?", SYSTEM, [("Who?", "Me."), ("When?", "Now.")])
    turns = [("user", "Who?"), ("assistant", "Me."), ("user", "When?"), ("assistant", "Now."), ("user", "Why?")]
    written = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in [("system", SYSTEM), *turns])
    assert prompt == f"{written}<|im_start|>assistant\n"


# ------------------------------------------------------------------ training text


def test_a_completion_is_the_papers_training_text():
    assert write_completion("think hard\n", " B ") == (
        "<|im_start|>think\nthink hard\n<|im_start|>answer\nAnswer: B<|im_end|>"
    )


@pytest.mark.parametrize("attempt", ["Answer: B", "So. Final Answer: B"])
def test_an_attempt_that_marks_its_answer_is_not_marked_again(attempt):
    assert write_completion("so", attempt).count("Answer:") == 1


def test_a_completion_holds_the_tokens_that_end_thinking_and_answer(tokenizer, markers):
    ids = encode(tokenizer, write_completion("Try B. Yes.", "B"))
    ended = [match_stop(ids[: n + 1], markers.end_markers) for n in range(1, len(ids))]
    assert [tokenizer.decode(stop) for stop in ended if stop] == ["<|im_start|>", "<|im_end|>"]


@given(thinking=PROSE, attempt=PROSE)
def test_a_prompt_and_its_completion_are_encoded_alike_together_and_apart(tokenizer, thinking, attempt):
    prompt, completion = write_prompt(tokenizer, "Why?", SYSTEM), write_completion(thinking, attempt)
    assert encode(tokenizer, prompt + completion) == encode(tokenizer, prompt) + encode(tokenizer, completion)


def run_model_that_learned(tokenizer, markers, completion, settings):
    """What budget forcing makes of a model that writes `completion` by heart after any prompt."""
    learned = encode(tokenizer, completion.removeprefix(S1.thinking_start))
    prompt = encode(tokenizer, write_prompt(tokenizer, "Why?", SYSTEM) + S1.thinking_start)
    policy = force_budget(markers, settings, wait_ids=[encode(tokenizer, " Wait,")], max_answer_tokens=20)
    script = [*learned, *encode(tokenizer, S1.turn_end) * 50]
    return ScriptedEngine(lambda prefix: script[len(prefix) - len(prompt)]).run([Row(prompt, policy)])[0]


@pytest.mark.parametrize("thinking", ["Try B: no. Wait, try C: yes.", "two\nlines", "ends in a colon:", "x"])
def test_a_model_that_learned_a_completion_thinks_and_answers_it(tokenizer, markers, thinking):
    (point,) = run_model_that_learned(tokenizer, markers, write_completion(thinking, "B"), [Setting("budget", 99, 0)])
    assert tokenizer.decode(point.thinking_ids) == thinking + "\n"
    assert tokenizer.decode(point.answer_ids) == "\nAnswer: B"


def test_a_suppressed_end_is_replaced_by_the_wait_text_on_a_line_of_its_own(tokenizer, markers):
    (point,) = run_model_that_learned(tokenizer, markers, write_completion("Try B: no.", "B"), [Setting("wait", 99, 1)])
    assert tokenizer.decode(point.thinking_ids).startswith("Try B: no.\n Wait,")


@pytest.mark.parametrize(("finish", "budget"), [("natural", 99), ("forced", 3)])
def test_a_natural_end_is_closed_as_in_training_and_a_cut_by_the_answer_prefix_too(tokenizer, markers, finish, budget):
    policy = force_budget(markers, [Setting("budget", budget, 0)], max_answer_tokens=1)
    script = [*encode(tokenizer, "Try B: no."), *encode(tokenizer, S1.turn_end) * 50]
    seen = []

    def next_token(prefix):
        seen.append(prefix)
        return script[len(prefix)] if len(prefix) < len(script) else script[-1]

    ScriptedEngine(next_token).run([Row((), policy)])
    thinking = {"natural": "Try B: no.", "forced": "Try B:"}[finish]
    prefix = {"natural": "", "forced": "\nFinal Answer:"}[finish]
    assert tokenizer.decode(seen[-1]) == f"{thinking}\n<|im_start|>answer{prefix}"
