"""The label mask: every token of the completion is trained on and none of the prompt, whoever makes the labels.

The oracle knows nothing of ids or masks: it places each token by its characters in the whole text.
"""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_text import SYSTEM, TEXT, TRACE, TRACES, make_tokenizers

from s1_utils import chat, models, sft_data
from s1_utils.training_text import KINDS, Example, explain_mask, write_example

IGNORED = -100
TOKENIZERS = {"qwen2.5": list(KINDS), "smollm2": ["s1", "think", "tokens", "steps"]}
CASES = [(name, kind) for name, kinds in TOKENIZERS.items() for kind in kinds]
ROWS = [
    ("Which door?", TRACE, "C"),
    ("  What is 3 − 2?\n", "One.\n\nTwo: 3 − 2 = 1.\n\n\n\nThree.", "It is 1.\n\nAnswer: 1"),
    ("Wie groß ist ∑ᵢ i²? 🙂", "naïve\n\n日本語\n\n🙂🙂 \u0301\u200d", "∞"),
    ("\t\n?", "\n \n.\n", "\u00a0x\u00a0"),
    ("Think for up to 16 steps.", "5 steps left\n\n0 steps left\n\nthink\nanswer", "Final Answer: think"),
    ("long " * 40, "\n\n".join(f"step {i}" for i in range(33)), "Answer:"),
]
DRAWN = st.lists(st.tuples(TEXT, TRACES, TEXT), min_size=1, max_size=20)


class StraddlesError(Exception):
    """A token holds characters of both prompt and completion."""


@pytest.fixture(scope="module")
def family(tokenizer):
    """The tokenizer of (name, kind)."""
    qwen = make_tokenizers()
    return {(name, kind): qwen[kind] if name == "qwen2.5" else tokenizer for name, kind in CASES}


def label_by_offsets(tokenizer, example):
    """(ids, labels) of the whole text, encoded at once: a token is trained on iff its characters are the completion's.

    Raises StraddlesError if a token is on both sides.
    """
    whole = tokenizer(example.prompt + example.completion, add_special_tokens=False, return_offsets_mapping=True)
    border, labels = len(example.prompt), []
    for token_id, (start, end) in zip(whole["input_ids"], whole["offset_mapping"], strict=True):
        if start < border < end:
            raise StraddlesError(f"token {token_id} has characters {start} to {end}, the completion begins at {border}")
        labels.append(token_id if start >= border else IGNORED)
    return whole["input_ids"], labels


def write_all(tokenizer, kind, rows=ROWS):
    return [write_example(tokenizer, *row, system_prompt=SYSTEM, kind=kind) for row in rows]


def train_batches(tokenizer, rows, folder, batch_size=4):
    """(ids, labels) of every row, without padding, as they leave the data loader of a real trainer for `rows`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    shape = models.load_config(models.resolve_model("random-llama"))
    shape.update({"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "head_dim": 4})
    arguments = SFTConfig(
        output_dir=str(folder),
        train_sampling_strategy="sequential",
        per_device_train_batch_size=batch_size,
        completion_only_loss=True,
        max_length=None,
        eos_token=tokenizer.eos_token,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_config(shape),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    found = []
    for batch in trainer.get_train_dataloader():
        for ids, labels, seen in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            assert (labels[seen == 0] == IGNORED).all()
            found.append((ids[seen == 1].tolist(), labels[seen == 1].tolist()))
    return found


def encode_as_study(tokenizer, kind, rows=ROWS):
    """(ids, labels) of the rows as training lays them out, without the masked row at their end."""
    table = pd.DataFrame(rows, columns=["question", "thinking", "attempt"])
    encoded = sft_data.encode_rows(table, tokenizer, system_prompt=SYSTEM, max_length=4096, kind=kind)
    return [(row["input_ids"], row["labels"]) for row in encoded][:-1]


def encode_apart(tokenizer, example):
    """(ids, labels) as the study trains: prompt and completion are encoded apart, and joined."""
    prompt, completion = chat.encode(tokenizer, example.prompt), chat.encode(tokenizer, example.completion)
    return [*prompt, *completion], [IGNORED] * len(prompt) + list(completion)


# ------------------------------------------------------------------ the trainer's own batches


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_trl_trains_on_every_token_of_the_completions_and_on_none_of_the_prompts(family, tmp_path, name, kind):
    tokenizer = family[name, kind]
    examples = write_all(tokenizer, kind)
    batches = train_batches(tokenizer, [{"prompt": e.prompt, "completion": e.completion} for e in examples], tmp_path)
    assert batches == [label_by_offsets(tokenizer, example) for example in examples]


@pytest.mark.parametrize("kind", KINDS)
def test_the_studys_rows_reach_the_model_with_these_labels(family, tmp_path, kind):
    tokenizer = family["qwen2.5", kind]
    rows = [{"input_ids": ids, "labels": labels} for ids, labels in encode_as_study(tokenizer, kind)]
    assert train_batches(tokenizer, rows, tmp_path) == [
        label_by_offsets(tokenizer, e) for e in write_all(tokenizer, kind)
    ]


@given(rows=DRAWN)
@settings(max_examples=4)
def test_trl_agrees_for_any_text(family, tmp_path_factory, rows):
    tokenizer = family["qwen2.5", "steps"]
    examples = write_all(tokenizer, "steps", rows)
    texts = [{"prompt": e.prompt, "completion": e.completion} for e in examples]
    batches = train_batches(tokenizer, texts, tmp_path_factory.mktemp("trainer"))
    assert batches == [label_by_offsets(tokenizer, example) for example in examples]


# ------------------------------------------------------------------ the study's own rows


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(row=st.tuples(TEXT, TRACES, TEXT))
def test_encoding_prompt_and_completion_apart_gives_the_same_ids_and_the_same_mask(family, name, kind, row):
    (example,) = write_all(family[name, kind], kind, [row])
    assert encode_apart(family[name, kind], example) == label_by_offsets(family[name, kind], example)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_studys_rows_carry_these_labels(family, name, kind):
    tokenizer = family[name, kind]
    rows = ROWS if name == "qwen2.5" else ROWS[:1]  # SmolLM2 doesn't know every byte
    expected = [label_by_offsets(tokenizer, example) for example in write_all(tokenizer, kind, rows)]
    assert encode_as_study(tokenizer, kind, rows) == expected


# ------------------------------------------------------------------ tokens across the border


BORDERLESS = Example("so<|im_end|>\n", "\nthen<|im_end|>")  # Qwen2.5 has one token for two line breaks


def test_a_token_across_the_border_is_reported(family):
    with pytest.raises(StraddlesError, match="the completion begins at 13"):
        label_by_offsets(family["qwen2.5", "s1"], BORDERLESS)


def test_where_a_token_would_cross_the_border_encoding_apart_keeps_the_completion_whole(family):
    tokenizer = family["qwen2.5", "s1"]
    _, labels = encode_apart(tokenizer, BORDERLESS)
    assert tokenizer.decode([label for label in labels if label != IGNORED]) == BORDERLESS.completion


# ------------------------------------------------------------------ shown to the reader


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_on_is_the_completion_word_for_word(family, kind):
    tokenizer = family["qwen2.5", kind]
    examples = write_all(tokenizer, kind)[:3]
    shown = explain_mask(examples, tokenizer, labels=[encode_apart(tokenizer, e)[1] for e in examples])
    assert shown["trained_on"].tolist() == [example.completion for example in examples]
    assert shown["masked"].tolist() == [example.prompt for example in examples]
    assert shown["right"].all()


def test_three_rows_of_the_papers_text_as_they_are_trained_on(family):
    tokenizer = family["qwen2.5", "s1"]
    examples = write_all(tokenizer, "s1")[:3]
    shown = explain_mask(examples, tokenizer, labels=[encode_apart(tokenizer, e)[1] for e in examples])
    assert shown["trained_on"].tolist() == [
        f"<|im_start|>think\n{TRACE}\n<|im_start|>answer\nAnswer: C<|im_end|>",
        "<|im_start|>think\nOne.\n\nTwo: 3 − 2 = 1.\n\n\n\nThree.\n<|im_start|>answer\nIt is 1.\n\nAnswer: 1<|im_end|>",
        "<|im_start|>think\nnaïve\n\n日本語\n\n🙂🙂 \u0301\u200d\n<|im_start|>answer\nAnswer: ∞<|im_end|>",
    ]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda labels, start: [*labels[: start - 1], 198, *labels[start:]],
        lambda labels, start: [*labels[:start], IGNORED, *labels[start + 1 :]],
        lambda labels, start: [*labels[:-1], IGNORED],
        lambda labels, start: labels[:-1],
        lambda labels, start: labels[1:],
        lambda labels, start: [IGNORED, *labels[:-1]],
        lambda labels, start: [IGNORED] * len(labels),
    ],
    ids=["prompt learnt", "header masked", "end masked", "cut", "prompt cut", "shifted", "all masked"],
)
def test_a_wrong_mask_is_shown_to_be_wrong(family, spoil):
    tokenizer = family["qwen2.5", "s1"]
    (example, *_) = write_all(tokenizer, "s1")
    labels = encode_apart(tokenizer, example)[1]
    wrong = spoil(labels, len(chat.encode(tokenizer, example.prompt)))
    assert explain_mask([example], tokenizer, labels=[labels])["right"].tolist() == [True]
    assert explain_mask([example], tokenizer, labels=[wrong])["right"].tolist() == [False]


def test_padding_is_not_shown(family):
    tokenizer = family["qwen2.5", "s1"]
    (example, *_) = write_all(tokenizer, "s1")
    labels = encode_apart(tokenizer, example)[1]
    padded = explain_mask([example], tokenizer, labels=[[*labels, *[IGNORED] * 5]])
    assert padded.equals(explain_mask([example], tokenizer, labels=[labels]))
