"""Training rows and their order; long training is in the slow tests."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat, models
from s1_utils.errors import StudyError
from s1_utils.params import SftParams, load_profile
from s1_utils.sft import order_batches, train, write_rows

ROWS = pd.DataFrame(
    {
        "question": ["Which door?", "Which bag?"],
        "thinking": ["Try A: no. Wait, try B: yes.", "Try C: yes."],
        "attempt": ["B", "C"],
    }
)
LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=80)


def write(tokenizer, rows=ROWS, max_length=256, may_cut=False):
    return write_rows(rows, tokenizer, system_prompt="Think.", max_length=max_length, may_cut=may_cut)


def test_a_row_is_a_prompt_and_the_completion_to_learn(tokenizer):
    written = write(tokenizer)
    assert [(row["prompt"], row["completion"]) for row in written] == [
        (chat.write_prompt(tokenizer, row.question, "Think."), chat.write_completion(row.thinking, row.attempt))
        for row in ROWS.itertuples()
    ]


def test_the_length_of_a_row_counts_its_prompt_and_its_completion(tokenizer):
    for row in write(tokenizer):
        assert row["length"] == len(chat.encode(tokenizer, row["prompt"])) + len(
            chat.encode(tokenizer, row["completion"])
        )


def test_rows_as_long_as_the_limit_are_kept(tokenizer):
    longest = max(row["length"] for row in write(tokenizer))
    assert len(write(tokenizer, max_length=longest)) == len(ROWS)


def test_rows_too_long_are_counted_and_never_cut(tokenizer):
    longest = max(row["length"] for row in write(tokenizer))
    with pytest.raises(StudyError, match=f"1 rows are longer than max_length = {longest - 1}"):
        write(tokenizer, max_length=longest - 1)


def test_where_rows_may_be_cut_a_long_one_counts_as_long_as_the_limit(tokenizer):
    longest = max(row["length"] for row in write(tokenizer))
    lengths = [row["length"] for row in write(tokenizer, max_length=longest - 1, may_cut=True)]
    assert max(lengths) == longest - 1


def test_a_row_whose_prompt_fills_the_limit_is_refused_even_where_rows_may_be_cut(tokenizer):
    prompt = max(len(chat.encode(tokenizer, row["prompt"])) for row in write(tokenizer))
    assert write(tokenizer, max_length=prompt + 1, may_cut=True)
    with pytest.raises(StudyError, match=r"prompts leave no room in max_length"):
        write(tokenizer, max_length=prompt, may_cut=True)


def test_a_cut_row_is_trained_on_without_its_end(tmp_path):
    base = models.resolve_model("random-llama")
    params = load_profile(SftParams, "smoke").model_copy(update={"batch_size": 2})
    tokenizer = models.load_tokenizer(base)
    longest = max(row["length"] for row in write(tokenizer))
    cut = params.model_copy(update={"max_length": longest - 4})
    shown = [
        train(base, ROWS, tmp_path / str(i), one, system_prompt="Think.", seed=0, may_cut=True)["label_mask"]
        for i, one in enumerate((params, cut))
    ]
    whole, short = (next(text for text in mask["trained_on"] if "Try A" in text) for mask in shown)
    assert whole.endswith("<|im_end|>")
    assert whole.startswith(short)
    assert len(chat.encode(tokenizer, short)) == len(chat.encode(tokenizer, whole)) - 4


def test_no_rows_at_all_are_refused(tokenizer):
    with pytest.raises(StudyError, match="there are no rows"):
        write(tokenizer, ROWS[:0])


# ------------------------------------------------------------------ the order of training


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.integers(0, 9))
def test_every_epoch_holds_every_row_once(lengths, batch_size, epochs, seed):
    order = order_batches(lengths, batch_size=batch_size, epochs=epochs, seed=seed)
    n = len(lengths)
    assert [sorted(order[i : i + n]) for i in range(0, len(order), n)] == [list(range(n))] * epochs


@given(LENGTHS, st.integers(1, 9), st.integers(0, 9))
def test_the_same_seed_gives_the_same_order(lengths, batch_size, seed):
    one, two = (order_batches(lengths, batch_size=batch_size, epochs=2, seed=seed) for _ in range(2))
    assert one == two


@given(LENGTHS, st.integers(1, 9), st.integers(1, 3))
def test_more_epochs_begin_with_the_same_order(lengths, batch_size, epochs):
    few, many = (order_batches(lengths, batch_size=batch_size, epochs=n, seed=0) for n in (epochs, epochs + 1))
    assert many[: len(few)] == few


@given(st.lists(st.integers(1, 300), min_size=1, max_size=72), st.integers(0, 9))
def test_rows_of_a_batch_are_neighbours_in_length_if_eight_batches_hold_all(lengths, seed):
    order = order_batches(lengths, batch_size=9, epochs=1, seed=seed)
    batches = [sorted(lengths[i] for i in order[n : n + 9]) for n in range(0, len(order), 9)]
    by_length = sorted(lengths)
    assert Counter(map(tuple, batches)) == Counter(tuple(by_length[n : n + 9]) for n in range(0, len(lengths), 9))


def test_another_seed_gives_another_order():
    assert len({tuple(order_batches(list(range(50)), batch_size=4, epochs=1, seed=seed)) for seed in range(3)}) == 3


def test_another_epoch_has_another_order():
    order = order_batches(list(range(50)), batch_size=4, epochs=2, seed=0)
    assert order[:50] != order[50:]
