"""What a generation costs, against a count by hand and torch's own counter."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat, decoding_costs, memory
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.errors import StudyError
from s1_utils.generation import Writer

TINY = memory.Shape(
    hidden=2, intermediate=3, heads=1, kv_heads=1, head_dim=2, layers=1, vocabulary=3, embedding=6, layer=10, head=0,
    norm=2,
)  # fmt: skip
ROWS = pd.DataFrame({"question_id": ["a", "a", "b"], "thinking_tokens": [2, 4, 0], "answer_tokens": [1, 1, 3]})


def test_a_tiny_model_costs_what_a_count_by_hand_gives():
    # Two prompt tokens: the first is read, 2 x 10 and 4 x 2 for the one token it sees. Three are written, by tokens
    # that see 2, 3 and 4: each 2 x (10 + 2 x 3) and 4 x 2 a token seen.
    assert decoding_costs.count_flops(TINY, 2, 3) == (28, 3 * 32 + 8 * (2 + 3 + 4))


@pytest.mark.parametrize(("prompt", "written"), [(1, 1), (5, 0), (7, 11)])
def test_costs_are_the_sum_over_tokens_one_by_one(prompt, written):
    read = sum(20 + 8 * seen for seen in range(1, prompt))
    write = sum(32 + 8 * seen for seen in range(prompt, prompt + written))
    assert decoding_costs.count_flops(TINY, prompt, written) == (read, write)


def test_arrays_cost_what_their_numbers_do():
    prompts, written = np.array([3.0, 8]), np.array([2, 0])
    found = np.array(decoding_costs.count_flops(TINY, prompts, written)).T
    assert found.tolist() == [list(decoding_costs.count_flops(TINY, p, w)) for p, w in zip((3, 8), (2, 0), strict=True)]


def test_torch_counts_as_many():
    # what is written after a prompt, step by step on its cache; torch doesn't count norms, nor sdpa on a CPU
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, attn_implementation="eager",
    )  # fmt: skip
    model, prompt, written = LlamaForCausalLM(config).eval(), 9, 5
    with torch.inference_mode():
        cache = model(torch.ones(1, prompt - 1, dtype=torch.long), use_cache=True).past_key_values
        with FlopCounterMode(display=False) as counter:
            for _ in range(written):
                cache = model(torch.ones(1, 1, dtype=torch.long), past_key_values=cache, use_cache=True).past_key_values
    _, expected = decoding_costs.count_flops(memory.describe_model(config), prompt, written)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)


def test_prompts_and_what_is_forced_are_counted_as_the_engines_do(tokenizer):
    writer = Writer(None, tokenizer, chat.encode_markers(tokenizer), 0, "Think.", chat.S1)
    questions = pd.DataFrame({"question_id": ["a", "b"], "question": ["Why?", "Which of the two is it?"]})
    counts = decoding_costs.count_prompts(tokenizer, questions, system_prompt="Think.")
    assert counts == {row.question_id: len(writer.encode_prompt(row.question)) for row in questions.itertuples()}
    rows = [("so it is", "natural/stop"), ("so it is", "forced/length"), ("so\n", "natural/stop"), ("", "forced/stop")]
    ids = [np.array(chat.encode(tokenizer, text), dtype=int) for text, _ in rows]  # as Parquet gives them back
    table = pd.DataFrame({"thinking_ids": ids, "finish": [finish for _, finish in rows]})
    end, prefix = (len(chat.encode(tokenizer, text)) for text in (chat.S1.thinking_end, chat.S1.answer_prefix))
    assert decoding_costs.count_closing(tokenizer, table).tolist() == [1 + end, 1 + end + prefix, end, end + prefix]


def test_rows_are_costed_by_their_own_prompt_and_all_that_is_written():
    costed = decoding_costs.add_costs(ROWS, {"a": 2, "b": 4}, TINY, closing=1, speed=decoding_costs.Speed(0.5, 0.25))
    expected = [decoding_costs.count_flops(TINY, p, w) for p, w in ((2, 4), (2, 6), (4, 4))]
    assert costed[["read_flops", "write_flops"]].values.tolist() == [list(pair) for pair in expected]
    assert costed[["step_seconds", "row_seconds"]].values.tolist() == [[2, 1], [3, 1.5], [2, 1]]


def test_what_is_not_known_has_no_column():
    assert list(decoding_costs.add_costs(ROWS)) == list(ROWS)
    assert "step_seconds" not in decoding_costs.add_costs(ROWS, {"a": 2, "b": 4}, TINY)


def test_a_question_without_a_prompt_is_refused():
    with pytest.raises(StudyError, match="Question b has no prompt length"):
        decoding_costs.add_costs(ROWS, {"a": 2}, TINY)


@given(st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_a_line_through_timed_steps_is_found_again(step, row):
    timed = pd.DataFrame({"width": [1, 2, 4, 8]}).assign(step_seconds=lambda t: step + row * t["width"])
    found = decoding_costs.fit_speed(timed)
    assert (found.step, found.row) == (pytest.approx(step, rel=1e-6, abs=1e-9), pytest.approx(row, rel=1e-6, abs=1e-9))


@pytest.mark.parametrize("seconds", [[1.0, 0.9, 0.8], [1.0, 4.0, 16.0], [0.0, 0.0, 2.0]])
def test_neither_part_of_a_step_is_negative(seconds):
    found = decoding_costs.fit_speed(pd.DataFrame({"width": [1, 2, 4], "step_seconds": seconds}))
    assert min(found.step, found.row) >= 0 < max(found.step, found.row)


def test_steps_too_short_to_be_told_give_no_speed():
    assert decoding_costs.fit_speed(pd.DataFrame({"width": [1, 2], "step_seconds": [0.0, -0.1]})) is None


def test_timed_runs_have_as_many_rows_and_tokens_as_they_say(tokenizer):
    ran = []

    class Recorder(ScriptedEngine):
        def run(self, rows):
            points = super().run(rows)
            ran.append((len(rows), {point.thinking_tokens for (point,) in points}))
            return points

    writer = Writer(Recorder(lambda ids: 5), tokenizer, chat.encode_markers(tokenizer), 0, "Think.", chat.S1)
    timed = decoding_costs.time_steps(writer, "Why?", widths=[1, 3], lengths=(2, 5), repeats=2)
    assert ran == [(width, {length}) for width in (1, 3) for _ in range(2) for length in (2, 5)]
    assert timed["width"].tolist() == [1, 3]
    assert (timed["fastest"] <= timed["step_seconds"]).all()
    assert (timed["step_seconds"] <= timed["slowest"]).all()
    with pytest.raises(StudyError, match="give two, the longer last"):
        decoding_costs.time_steps(writer, "Why?", widths=[1], lengths=(5, 5))
