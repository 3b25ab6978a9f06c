"""Training text: what is written, that it says what the row said, and that nothing else can be said with it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from s1_utils import chat, models, qwen_tokens, training_text
from s1_utils.budget_forcing import Setting, force_budget
from s1_utils.engines import Row
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.errors import StudyError
from s1_utils.training_text import (
    ASKS,
    KINDS,
    count_thinking,
    find_format,
    read_example,
    round_up_to_power_of_two,
    split_steps,
    write_example,
    write_examples,
)

SYSTEM = "Think, then answer."
CHATML_KINDS = ("s1", "think", "tokens", "steps")
TRACE = "Try A: no. Wait, try B: no. Wait, try C: yes."
TURN = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
# DeepSeek's turns, its habit of opening the thinking, and its habit of dropping it from earlier turns
R1_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60) | st.text(" \n\tab.", min_size=1)
TEXT = TEXT.filter(lambda text: text.strip() and "<" not in text)  # "<" begins every marker
PART = st.sampled_from(["\n\n", "\n", " ", "Wait,", " Wait,", "a", "b.", "\n\n\n", "5 steps left\n"])
TRACES = TEXT | st.lists(PART, min_size=1, max_size=20).map("".join).filter(str.strip)


def make_qwen_tokenizer(template=TURN + OPEN, eos="<|im_end|>", added=()):
    """Qwen2.5's own vocabulary and rules (see `qwen_tokens`), with its special tokens at their ids."""
    path = Path(find_spec("dashscope").origin).parent / "resources" / "qwen.tiktoken"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend = TikTokenConverter(str(path), pattern=qwen_tokens.PATTERN, extra_special_tokens=special).converted()
    backend.normalizer = normalizers.NFC()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=special[0])
    tokenizer.add_special_tokens({"eos_token": eos})
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = template
    return tokenizer


def make_tokenizers():
    """The tokenizer that the tests of each kind use: of the Qwen2.5 family, r1's as in R1's distilled Qwen models."""
    r1 = {"eos": "<｜end▁of▁sentence｜>", "added": ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]}
    return dict.fromkeys(CHATML_KINDS, make_qwen_tokenizer()) | {"r1": make_qwen_tokenizer(R1_TEMPLATE, **r1)}


@pytest.fixture(scope="session")
def tokenizers():
    return make_tokenizers()


@pytest.fixture
def own_tokenizer():
    """A tokenizer that a test may spoil."""
    return models.load_tokenizer(models.resolve_model("random-llama"))


def write(tokenizer, kind, question="Which door?", thinking=TRACE, attempt="C", **more):
    return write_example(tokenizer, question, thinking, attempt, system_prompt=SYSTEM, kind=kind, **more)


def text_of(example):
    return example.prompt + example.completion


# ------------------------------------------------------------------ what is written


def chatml(user):
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def test_s1_is_the_papers_training_text(tokenizer):
    assert text_of(write(tokenizer, "s1", thinking=f"\n{TRACE} ", attempt=" It is C.\nAnswer: C\n")) == (
        f"{chatml('Which door?')}<|im_start|>think\n{TRACE}\n<|im_start|>answer\nIt is C.\nAnswer: C<|im_end|>"
    )


@given(question=TEXT, thinking=TRACES, attempt=TEXT)
def test_s1_is_what_every_other_stage_writes(tokenizer, question, thinking, attempt):
    example = write(tokenizer, "s1", question, thinking, attempt)
    assert example.prompt == chat.write_prompt(tokenizer, question, SYSTEM)
    assert example.completion == chat.write_completion(thinking, attempt)


def test_think_has_the_thinking_between_its_tags(tokenizer):
    assert text_of(write(tokenizer, "think")) == (
        f"{chatml('Which door?')}<think>\n{TRACE}\n</think>\n\nAnswer: C<|im_end|>"
    )


def test_r1_learns_from_where_its_template_has_opened_the_thinking(tokenizers):
    example = write(tokenizers["r1"], "r1")
    assert example.prompt == f"{SYSTEM}<｜User｜>Which door?<｜Assistant｜><think>\n"
    assert example.completion == f"{TRACE}\n</think>\n\nAnswer: C<｜end▁of▁sentence｜>"


def test_tokens_asks_for_the_bucket_of_the_trace_and_else_is_s1(tokenizer):
    example = write(tokenizer, "tokens")
    assert example.prompt == chatml("Which door?\n\nThink for up to 32 tokens.")
    assert example.completion == write(tokenizer, "s1").completion


def test_steps_are_announced_and_count_down_from_the_n_asked_for(tokenizer):
    assert text_of(write(tokenizer, "steps", thinking="One.\n\nTwo,\nstill two.\n\nThree.")) == (
        f"{chatml(ask := 'Which door?' + ASKS['steps'].format(n=4))}"
        "<|im_start|>4 steps left\nOne.\n<|im_start|>3 steps left\nTwo,\nstill two.\n<|im_start|>2 steps left\nThree.\n"
        "<|im_start|>answer\nAnswer: C<|im_end|>"
    ), ask


def test_the_originals_own_pattern_finds_the_steps(tokenizer):
    text = text_of(write(tokenizer, "steps", thinking="One.\n\nTwo.\n\nThree."))
    found = re.split(r"<\|im_start\|>\d+ steps left\n", text)[1:]  # of its eval/rebase
    assert [step.replace("\n<|im_start|>", "").strip() for step in found[:-1]] == ["One.", "Two."]
    assert found[-1].startswith("Three.\n<|im_start|>answer\n")


@given(n=st.integers(1, 40))
def test_no_step_is_announced_as_the_0th(tokenizer, n):
    completion = write(tokenizer, "steps", thinking="\n\n".join(["so"] * n)).completion
    counts = [int(k) for k in re.findall(r"(\d+) steps left", completion)]
    bucket = round_up_to_power_of_two(n)
    assert counts == list(range(bucket, bucket - n, -1))
    assert counts[-1] >= 1


@given(thinking=TRACES)
def test_the_n_of_tokens_holds_the_trace_and_half_of_it_does_not(tokenizer, thinking):
    limit = read_example(text_of(write(tokenizer, "tokens", thinking=thinking)), "tokens").limit
    length = len(chat.encode(tokenizer, thinking.strip() + "\n"))
    assert limit / 2 < length <= limit


# ------------------------------------------------------------------ buckets


@given(n=st.integers(0, 5000), smallest=st.sampled_from([1, 2, 16, 1024]))
def test_a_bucket_is_the_first_power_of_two_that_holds_n(n, smallest):
    bucket = smallest
    while bucket < n:
        bucket *= 2
    assert round_up_to_power_of_two(n, smallest=smallest) == bucket


def test_a_length_above_the_largest_bucket_is_refused_never_clamped():
    assert round_up_to_power_of_two(64, largest=64) == 64
    with pytest.raises(StudyError, match="65 is above the largest bucket, 64"):
        round_up_to_power_of_two(65, largest=64)


@pytest.mark.parametrize(("n", "bounds"), [(-1, {}), (1, {"smallest": 0}), (1, {"smallest": 8, "largest": 4})])
def test_impossible_bounds_are_a_mistake_of_the_caller(n, bounds):
    with pytest.raises(ValueError, match="needs n"):
        round_up_to_power_of_two(n, **bounds)


# ------------------------------------------------------------------ steps of a trace


@given(TRACES)
def test_the_steps_joined_are_the_trace(thinking):
    assert "".join(split_steps(thinking)) == thinking.strip()


@given(TRACES)
def test_no_step_is_blank(thinking):
    assert all(step.strip() for step in split_steps(thinking))


@given(st.lists(TEXT.filter(lambda text: "\n\n" not in text).map(str.strip), min_size=2, max_size=9))
def test_steps_are_what_double_newlines_separate(paragraphs):
    assert [step.strip() for step in split_steps("\n\n".join(paragraphs))] == "\n\n".join(paragraphs).split("\n\n")


def test_a_trace_without_blank_lines_is_cut_before_every_wait():
    assert split_steps(TRACE) == ("Try A: no. ", "Wait, try B: no. ", "Wait, try C: yes.")


def test_a_trace_with_blank_lines_is_not_cut_anywhere_else():
    assert split_steps("One. Wait, no.\n\nTwo.") == ("One. Wait, no.\n\n", "Two.")


def test_another_way_to_split_may_be_given(tokenizer):
    example = write(tokenizer, "steps", thinking="a; b; c; d", split=lambda text: text.split(";"))
    assert read_example(text_of(example), "steps").steps == ("a", "b", "c", "d")


def test_a_blank_step_of_another_way_to_split_is_not_announced(tokenizer):
    example = write(tokenizer, "steps", thinking="a\n\n\n\nb", split=lambda text: text.split("\n\n"))
    assert read_example(text_of(example), "steps").steps == ("a", "b")


# ------------------------------------------------------------------ what is written says what the row said


@pytest.mark.parametrize("kind", KINDS)
@given(question=TEXT, thinking=TRACES, attempt=TEXT)
def test_a_text_says_its_question_its_steps_and_its_answer(tokenizers, kind, question, thinking, attempt):
    reading = read_example(text_of(write(tokenizers[kind], kind, question, thinking, attempt)), kind)
    steps = [step.strip() for step in split_steps(thinking)] if kind == "steps" else [thinking.strip()]
    assert (reading.question, list(reading.steps)) == (question, steps)
    assert reading.answer.removeprefix("Answer:").strip() == attempt.strip().removeprefix("Answer:").strip()


@pytest.mark.parametrize("kind", ASKS)
def test_a_question_that_asks_for_a_length_itself_is_read_whole(tokenizer, kind):
    question = "Why?" + ASKS[kind].format(n=512)
    assert read_example(text_of(write(tokenizer, kind, question)), kind).question == question


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("3 steps", "2 steps"),
        lambda text: text.replace("4 steps left\n", ""),
        lambda text: text.replace("up to 4", "up to 8"),
        lambda text: text.replace("\n\nThink for up to 4 steps.", ""),
        lambda text: text.replace("<|im_start|>answer", "answer"),
        lambda text: text.removesuffix("<|im_end|>"),
        lambda text: re.sub(r"<\|im_start\|>4.*yes\.", "<|im_start|>", text, flags=re.DOTALL),
        lambda text: re.sub(r"[234](?= steps)", lambda found: str(int(found[0]) - 2), text),
    ],
    ids=["count", "first", "limit", "ask", "answer", "end", "no step", "a 0th step"],
)
def test_a_text_that_is_not_of_its_kind_is_not_read(tokenizer, spoil):
    text = text_of(write(tokenizer, "steps"))
    with pytest.raises(StudyError):
        read_example(spoil(text), "steps")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_learned_a_text_thinks_and_answers_it_when_evaluated(tokenizers, kind):
    tokenizer, fmt, example = tokenizers[kind], find_format(kind), write(tokenizers[kind], kind)
    prompt = chat.encode(tokenizer, chat.open_thinking(example.prompt, fmt))
    script = (*chat.encode(tokenizer, text_of(example)), *[tokenizer.eos_token_id] * 50)
    policy = force_budget(chat.encode_markers(tokenizer, fmt), [Setting("budget", 99, 0)], max_answer_tokens=20)
    (point,) = ScriptedEngine(lambda prefix: script[len(prefix)]).run([Row(prompt, policy)])[0]
    thinking, answer = (tokenizer.decode(ids) for ids in (point.thinking_ids, point.answer_ids))
    assert text_of(example) == tokenizer.decode(prompt) + thinking + fmt.thinking_end + answer + fmt.turn_end


# ------------------------------------------------------------------ hostile rows


@pytest.mark.parametrize("part", ["question", "thinking", "attempt"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_spells_out_a_marker_is_refused_by_its_name(tokenizers, kind, part):
    for mark in chat.find_marks(tokenizers[kind], find_format(kind)):
        with pytest.raises(StudyError, match=f"The {part} of row 7 spells out .*: reword or drop the row"):
            write(tokenizers[kind], kind, **{part: f"so {mark} then"}, name="row 7")


@pytest.mark.parametrize(
    ("kind", "marks"),
    [
        ("s1", {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}),
        ("think", {"<think>", "</think>", "<|im_start|>", "<|im_end|>"}),
        ("r1", {"<think>", "</think>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"}),
    ],
)
def test_the_markers_are_those_of_the_format_and_of_the_turns(tokenizers, kind, marks):
    assert marks <= set(chat.find_marks(tokenizers[kind], find_format(kind)))


@pytest.mark.parametrize("text", ["if a < b and b > c", "<b>x</b>", "the token im_start", "<answer>", "| <| |>"])
def test_what_only_resembles_a_marker_is_kept(tokenizers, text):
    for kind, tokenizer in tokenizers.items():
        assert text in text_of(write(tokenizer, kind, thinking=text))


@pytest.mark.parametrize("part", ["question", "thinking", "attempt"])
@pytest.mark.parametrize("text", ["", " \n", None, float("nan")], ids=["empty", "blank", "none", "nan"])
def test_a_row_without_one_of_its_texts_is_refused(tokenizer, part, text):
    with pytest.raises(StudyError, match=f"The {part} of this row is empty"):
        write(tokenizer, "s1", **{part: text})


# ------------------------------------------------------------------ tables


ROWS = pd.DataFrame({"question": ["Why?", "Who?"], "thinking": [TRACE, "so"], "attempt": ["A", "B"]}, index=[8, 3])


def write_table(tokenizer, rows, kind="s1"):
    return write_examples(rows, tokenizer, system_prompt=SYSTEM, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_written_row_by_row(tokenizers, kind):
    singly = [write(tokenizers[kind], kind, *row) for row in ROWS.itertuples(index=False)]
    assert write_table(tokenizers[kind], ROWS, kind) == singly


@given(traces=st.lists(TRACES, min_size=1, max_size=9))
def test_traces_counted_together_are_as_long_as_each_alone(tokenizer, traces):
    assert count_thinking(tokenizer, traces) == [len(chat.encode(tokenizer, f"{text.strip()}\n")) for text in traces]


def test_many_traces_keep_their_order_over_several_calls_of_the_tokenizer(tokenizer, monkeypatch):
    monkeypatch.setattr(training_text, "TEXTS_AT_ONCE", 2)
    assert count_thinking(tokenizer, ["a", None, "a b", float("nan"), "a b c"]) == [2, 0, 3, 0, 4]


def test_a_table_names_the_row_it_refuses_by_its_question_id(tokenizer):
    rows = ROWS.assign(question_id=["aa", "bb"], thinking=["so", "<|im_end|>"])
    with pytest.raises(StudyError, match=r"Can't train on 1 of 2 rows: bb\. The thinking of row bb spells out"):
        write_table(tokenizer, rows)


def test_a_table_names_all_rows_it_refuses_at_once(tokenizer):
    rows = pd.concat([ROWS] * 4).assign(question_id=list("abcdefgh"), attempt=["A", *[""] * 7])
    with pytest.raises(StudyError, match=r"on 7 of 8 rows: b, c, d, e, f and 2 more\. The attempt of row b is empty"):
        write_table(tokenizer, rows)


def test_an_empty_table_is_refused(tokenizer):
    with pytest.raises(StudyError, match="there are no rows"):
        write_table(tokenizer, ROWS[:0])


def test_a_table_without_question_ids_names_rows_by_their_index(tokenizer):
    with pytest.raises(StudyError, match="The attempt of row 3 is empty"):
        write_table(tokenizer, ROWS.assign(attempt=["A", " "]))


def test_a_table_checks_its_tokenizer_first(tokenizer):
    with pytest.raises(StudyError, match="choose another format"):
        write_table(tokenizer, ROWS, "r1")


def test_an_unknown_kind_is_refused_with_those_there_are(tokenizer):
    with pytest.raises(StudyError, match="no kind of training text 'step': choose s1, think, r1, tokens, steps"):
        write(tokenizer, "step")


# ------------------------------------------------------------------ templates


def check(tokenizer, kind="s1", system_prompt=SYSTEM):
    chat.check_tokenizer(tokenizer, find_format(kind), system_prompt=system_prompt)


def test_every_kind_passes_with_a_tokenizer_that_can_write_it(tokenizers):
    for kind, tokenizer in tokenizers.items():
        check(tokenizer, kind)


BROKEN = {
    "no template": (None, "has no chat template: take the model's Instruct variant"),
    "no header": (TURN, "doesn't open the assistant's turn"),
    "header first": (OPEN + TURN, "doesn't open the assistant's turn"),
    "always a header": (TURN + "<|im_start|>assistant\n", "doesn't open the assistant's turn"),
    "no system prompt": (TURN.replace("messages", "messages[1:]") + OPEN, "drops or repeats the question or the sys"),
    "no question": (TURN.replace("messages", "messages[:1]") + OPEN, "drops or repeats the question"),
    "shouting": (TURN.replace("m['content']", "m['content']|upper") + OPEN, "drops or repeats the question"),
    "closed thinking": (TURN + OPEN.replace("nt\n", "nt\n<think>\n\n</think>\n\n"), "closes the thinking"),
    "other thinking": (TURN + OPEN.replace("nt\n", "nt\n<think>\n"), "opens <think>, this format has other markers"),
    "no system role": ("{{ raise_exception('no system role') }}", "no system role.*: leave system_prompt empty"),
}


@pytest.mark.parametrize(("template", "message"), BROKEN.values(), ids=BROKEN)
def test_a_template_that_cannot_write_the_text_is_refused_with_what_to_do(own_tokenizer, template, message):
    own_tokenizer.chat_template = template
    with pytest.raises(StudyError, match=message):
        check(own_tokenizer)


@pytest.mark.parametrize("kind", CHATML_KINDS)
def test_a_template_that_drops_thinking_from_earlier_turns_drops_nothing_that_is_learnt(own_tokenizer, kind):
    whole = write(own_tokenizer, kind)
    own_tokenizer.chat_template = TURN.replace("m['content']", "m['content'].split('</think>')[-1]|trim") + OPEN
    check(own_tokenizer, kind)
    assert write(own_tokenizer, kind) == whole


def test_a_template_that_rewrites_a_question_is_refused_by_the_rows_name(own_tokenizer):
    own_tokenizer.chat_template = TURN.replace("m['content']", "m['content']|replace('1', '2')") + OPEN
    check(own_tokenizer)
    with pytest.raises(StudyError, match="rewrites the question of row 7"):
        write(own_tokenizer, "s1", question="1 + 1?", name="row 7")


def test_the_length_asked_for_has_to_reach_the_model_too(own_tokenizer):
    own_tokenizer.chat_template = TURN.replace("m['content']", "m['content'].split('\n\n')[0]") + OPEN
    with pytest.raises(StudyError, match="rewrites the question"):
        write(own_tokenizer, "steps")


# ------------------------------------------------------------------ tokenizers without the markers


@pytest.fixture(scope="session")
def markless(tokenizer):
    """The study's tokenizer, its special tokens forgotten: <|im_start|> is read as plain text."""
    read = json.loads(tokenizer.backend_tokenizer.to_str()) | {"added_tokens": []}
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(read)))
    plain.chat_template = tokenizer.chat_template
    return plain


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_without_the_markers_is_refused_though_it_can_spell_them(markless, kind):
    assert markless.decode(chat.encode(markless, find_format(kind).turn_end)) == find_format(kind).turn_end
    with pytest.raises(StudyError, match=r"is [0-9]+ tokens for this tokenizer.*choose another format, or a model"):
        check(markless, kind)


@pytest.mark.parametrize("kind", ["s1", "tokens", "steps"])
def test_a_tokenizer_that_only_has_the_end_of_a_turn_is_refused_where_a_delimiter_is_needed(own_tokenizer, kind):
    read = json.loads(own_tokenizer.backend_tokenizer.to_str())
    read["added_tokens"] = [token for token in read["added_tokens"] if token["content"] == "<|im_end|>"]
    half = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(read)))
    half.chat_template = own_tokenizer.chat_template
    check(half, "think")
    with pytest.raises(StudyError, match=r"<\|im_start\|> is [0-9]+ tokens"):
        check(half, kind)


def test_a_marker_that_cannot_even_be_spelt_is_refused(markless):
    fmt = replace(chat.S1, turn_ends=("\x04",))
    with pytest.raises(StudyError, match="can't encode the marker"):
        chat.check_tokenizer(markless, fmt)
