"""Training rows as tokens, the order they are laid out in, what is refused, and how a job survives what goes wrong.

Several processes are in test_sft_distributed.py; long training is in the slow tests.
"""

from __future__ import annotations

import ast
import copy
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat, models, paths, sft, sft_data, sft_job, sft_results, sft_trainer
from s1_utils.errors import StudyError
from s1_utils.params import SPREAD, SftParams, load_profile
from s1_utils.sft_data import IGNORED, encode_rows, find_lengths, lay_out, order_batches, spread_batch

ROWS = pd.DataFrame(
    {
        "question_id": ["door", "bag"],
        "question": ["Which door?", "Which bag?"],
        "thinking": ["Try A: no. Wait, try B: yes.", "Try C: yes."],
        "attempt": ["B", "C"],
    }
)
LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=80)
FACTS = {"data": "d", "shard": False, "devices": 1}


def encode(tokenizer, rows=ROWS, max_length=256, may_cut=False):
    return encode_rows(rows, tokenizer, system_prompt="Think.", max_length=max_length, may_cut=may_cut)


def read_parts(tokenizer, row):
    """The two parts of a row, decoded: what is only read, and what is trained on."""
    pairs = list(zip(row["input_ids"], row["labels"], strict=True))
    masked = [i for i, label in pairs if label == IGNORED]
    return tokenizer.decode(masked), tokenizer.decode([label for _, label in pairs if label != IGNORED])


@pytest.fixture(scope="module")
def base():
    return models.resolve_model("random-llama")


@pytest.fixture(scope="module")
def params():
    return load_profile(SftParams, "smoke")


# ------------------------------------------------------------------ rows


def test_a_row_is_a_prompt_that_is_read_and_a_completion_that_is_learnt(tokenizer):
    for row, written in zip(encode(tokenizer), ROWS.itertuples(), strict=False):
        prompt = chat.write_prompt(tokenizer, written.question, "Think.")
        assert read_parts(tokenizer, row) == (prompt, chat.write_completion(written.thinking, written.attempt))


def test_the_last_row_is_a_masked_copy_of_the_shortest(tokenizer):
    *rows, filler = encode(tokenizer)
    assert filler["input_ids"] == min((row["input_ids"] for row in rows), key=len)
    assert set(filler["labels"]) == {IGNORED}
    assert filler["question_id"] == ""


def test_rows_as_long_as_the_limit_are_kept(tokenizer):
    assert len(encode(tokenizer, max_length=max(find_lengths(encode(tokenizer))))) == len(ROWS) + 1


def test_rows_too_long_are_counted_named_and_never_cut(tokenizer):
    longest = max(find_lengths(encode(tokenizer)))
    with pytest.raises(StudyError, match=f"1 rows are longer than max_length = {longest - 1} tokens .*: door\\."):
        encode(tokenizer, max_length=longest - 1)


def test_where_rows_may_be_cut_a_long_one_is_as_long_as_the_limit(tokenizer):
    longest = max(find_lengths(encode(tokenizer)))
    assert max(find_lengths(encode(tokenizer, max_length=longest - 1, may_cut=True))) == longest - 1


def test_a_row_whose_prompt_fills_the_limit_is_refused_even_where_rows_may_be_cut(tokenizer):
    prompt = max(sum(label == IGNORED for label in row["labels"]) for row in list(encode(tokenizer))[:-1])
    assert encode(tokenizer, max_length=prompt + 1, may_cut=True)
    with pytest.raises(StudyError, match=r"prompts leave no room in max_length"):
        encode(tokenizer, max_length=prompt, may_cut=True)


def test_no_rows_at_all_are_refused(tokenizer):
    with pytest.raises(StudyError, match="there are no rows"):
        encode(tokenizer, ROWS[:0])


def test_a_row_without_thinking_is_refused_by_its_name(tokenizer):
    with pytest.raises(StudyError, match="bag"):
        encode(tokenizer, ROWS.assign(thinking=["Try A.", " "]))


def test_a_tokenizer_that_drops_parts_of_the_trace_is_refused(tokenizer):
    from tokenizers import normalizers

    lossy = copy.deepcopy(tokenizer)
    lossy.backend_tokenizer.normalizer = normalizers.Replace("Wait", "")
    with pytest.raises(StudyError, match="row door isn't what it was"):
        encode(lossy)


def test_a_tokenizer_without_the_markers_is_refused():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=letters, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    with pytest.raises(StudyError, match="tokens for this tokenizer"):
        encode(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_a_cut_row_is_trained_on_without_its_end(tmp_path, base, params, tokenizer):
    longest = max(find_lengths(encode(tokenizer)))
    cut = params.model_copy(update={"max_length": longest - 4})
    shown = [
        sft.train(base, ROWS, tmp_path / str(i), one, system_prompt="Think.", seed=0, may_cut=True)["label_mask"]
        for i, one in enumerate((params, cut))
    ]
    whole, short = (next(text for text in mask["trained_on"] if "Try A" in text) for mask in shown)
    assert whole.endswith("<|im_end|>")
    assert whole.startswith(short)
    assert len(chat.encode(tokenizer, short)) == len(chat.encode(tokenizer, whole)) - 4


# ------------------------------------------------------------------ batches over devices


@given(st.integers(1, 64), st.integers(1, 16), st.integers(0, 8))
def test_a_batch_is_spread_evenly_or_refused(batch_size, devices, device_batch):
    try:
        spread = spread_batch(batch_size, devices=devices, device_batch=device_batch)
    except StudyError:
        share, rest = divmod(batch_size, devices)
        assert rest or (device_batch and share % device_batch)
    else:
        assert spread.devices * spread.device_batch * spread.accumulation == batch_size
        assert spread.device_batch == device_batch or not device_batch


def test_a_batch_that_devices_cannot_share_is_refused_with_the_numbers_that_fit():
    with pytest.raises(StudyError, match=r"batch_size = 16 can't be shared by 3 devices\. Use 1, 2, 4, 8 or 16"):
        spread_batch(16, devices=3)


def test_a_device_batch_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(StudyError, match=r"Set device_batch to 1, 2, 4 or 8 \(0: all 8 at once\)"):
        spread_batch(16, devices=2, device_batch=3)


def test_impossible_devices_are_refused_before_anything_is_launched(tmp_path, base, params):
    three = params.model_copy(update={"processes": 3})
    with pytest.raises(StudyError, match="can't be shared by 3 devices"):
        sft.launch_training(base, ROWS, tmp_path, three, system_prompt="Think.", seed=0)
    assert not list(tmp_path.iterdir())


def test_the_papers_rows_give_the_papers_steps():
    order = lay_out([5] * 1000, batch_size=16, epochs=5, seed=0)
    assert order.shape == (315, 16)
    assert (order == 1000).sum(axis=1).tolist() == ([0] * 62 + [8]) * 5


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.integers(0, 9))
def test_every_epoch_is_whole_steps_of_every_row_once(lengths, batch_size, epochs, seed):
    order = lay_out(lengths, batch_size=batch_size, epochs=epochs, seed=seed)
    for epoch in np.split(order, epochs):
        assert sorted(epoch[epoch < len(lengths)]) == list(range(len(lengths)))
        assert (epoch == len(lengths)).sum() == -len(lengths) % batch_size
    rows = order[order < len(lengths)].tolist()
    assert rows == order_batches(lengths, batch_size=batch_size, epochs=epochs, seed=seed)


@pytest.mark.parametrize("pack", [True, False])
def test_the_loss_of_a_step_is_the_mean_over_the_trained_tokens_of_its_rows(tmp_path, base, params, tokenizer, pack):
    import torch

    rows = pd.concat([ROWS, ROWS[:1].assign(question_id="third", thinking="Try D. " * 9)], ignore_index=True)
    four = params.model_copy(update={"batch_size": 4, "epochs": 1, "pack": pack})
    found = sft.train(base, rows, tmp_path, four, system_prompt="Think.", seed=0)["training"]
    model, _ = models.load_model(base)
    losses = []
    for row in list(encode(tokenizer, rows))[:-1]:
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1].log_softmax(dim=-1)
        labels = row["labels"][1:]
        losses += [-float(logits[i, label]) for i, label in enumerate(labels) if label != IGNORED]
    assert found["loss"].tolist() == pytest.approx([np.mean(losses)], abs=1e-5)


@pytest.fixture(scope="module")
def packing(tmp_path_factory, base, params, tokenizer):
    """A trainer's collator and model; give (inputs of rows end to end, summed loss, gradients)."""
    job = sft_job.make_job(base, tmp_path_factory.mktemp("pack"), params, system_prompt="Think.", seed=0)
    rows = encode(tokenizer)
    order_SB = lay_out(find_lengths(rows)[:-1], batch_size=2, epochs=1, seed=0)
    trainer = sft_trainer.build_trainer(job, rows, order_SB=order_SB, spread=spread_batch(2, devices=1), data_sha256="")

    def measure(rows):
        trainer.model.zero_grad()
        loss = sft_trainer.sum_loss(trainer.model, trainer.data_collator(rows))
        loss.backward()
        return float(loss.detach()), {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}

    return measure, list(rows)


def test_rows_end_to_end_give_the_sum_of_what_each_gives_alone(packing):
    measure, rows = packing
    together, gradients = measure(rows)
    alone = [measure([row]) for row in rows]
    assert together == pytest.approx(sum(loss for loss, _ in alone), rel=1e-5)
    for name, gradient in gradients.items():
        assert np.allclose(gradient, sum(found[name] for _, found in alone), atol=1e-4), name


def test_a_row_does_not_see_the_one_before_it(packing):
    measure, (first, second, _) = packing
    other = first | {"input_ids": [i + 1 for i in first["input_ids"]]}
    masked = [row | {"labels": [IGNORED] * len(row["labels"])} for row in (first, other)]
    assert measure([masked[0], second])[0] == pytest.approx(measure([masked[1], second])[0], rel=1e-6)


def test_a_batch_without_labels_weighs_nothing(packing):
    measure, rows = packing
    loss, gradients = measure([rows[-1]])
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients.values())


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


# ------------------------------------------------------------------ what goes wrong


def test_a_loss_that_is_not_finite_stops_names_its_rows_and_keeps_the_last_checkpoint(tmp_path, base, params):
    wild = params.model_copy(update={"batch_size": 2, "epochs": 3, "learning_rate": 1e30, "warmup": 0.0})
    wild = wild.model_copy(update={"checkpoint_steps": 1})
    with pytest.raises(StudyError, match=r"at step 2, whose rows are (door, bag|bag, door)\. The last checkpoint"):
        sft.train(base, ROWS, tmp_path, wild, system_prompt="Think.", seed=0)
    assert [path.parent.name for path in tmp_path.glob("checkpoints/*/COMPLETE")] == ["checkpoint-1"]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("writer", ["file", "torch", "safetensors"])
def test_a_full_disk_is_said_in_a_line_and_leaves_nothing_half_written(tmp_path, writer):
    import torch
    from safetensors.torch import save_file

    def fill_disk():
        big = {"weights": torch.zeros(1 << 20)}
        if writer == "safetensors":
            save_file(big, tmp_path / "new" / "full")
        with open("/dev/full", "wb") as file:
            torch.save(big, file) if writer == "torch" else file.write(bytes(1 << 20))

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "full").symlink_to("/dev/full")
    with pytest.raises(StudyError, match="Disk full while writing"), sft_trainer.explain_full_disk(tmp_path / "new"):
        fill_disk()
    assert not (tmp_path / "new").exists()


def write_checkpoint(folder, step, facts):
    (folder / f"checkpoint-{step}").mkdir(parents=True)
    if facts is not None:
        (folder / f"checkpoint-{step}" / "COMPLETE").write_text(json.dumps(facts))


def test_the_newest_checkpoint_that_is_complete_is_the_one_to_go_on_from(tmp_path):
    for step, facts in ((9, FACTS), (10, FACTS), (11, None)):
        write_checkpoint(tmp_path, step, facts)
    found = sft_trainer.find_checkpoint(tmp_path, data_sha256="d", shard=False)
    assert found == tmp_path / "checkpoint-10"
    sft_trainer.remove_others(tmp_path, found)
    assert list(tmp_path.iterdir()) == [found]


def test_a_sharded_job_does_not_go_on_from_whole_weights(tmp_path):
    write_checkpoint(tmp_path, 9, FACTS)
    with pytest.raises(StudyError, match="written without shard: set shard to False"):
        sft_trainer.find_checkpoint(tmp_path, data_sha256="d", shard=True)


def test_a_checkpoint_of_other_rows_is_refused(tmp_path):
    write_checkpoint(tmp_path, 9, FACTS)
    with pytest.raises(StudyError, match="of other rows or another order"):
        sft_trainer.find_checkpoint(tmp_path, data_sha256="e", shard=False)


# ------------------------------------------------------------------ jobs


def test_a_job_is_read_as_it_was_written(tmp_path, base, params):
    job = sft_job.make_job(base, tmp_path, params, system_prompt="Think.", seed=3, base_name="tiny")
    path = sft_job.write_job(job, ROWS)
    assert sft_job.read_job(path) == job
    assert pd.read_parquet(path.with_name("rows.parquet")).equals(ROWS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"base": "a", "folder": "b", "speed": 9}'])
def test_a_file_that_is_no_job_is_refused(tmp_path, text, capsys):
    (tmp_path / "job.json").write_text(text)
    assert sft.main([str(tmp_path / "job.json")]) == 1
    assert "isn't a job of 03_sft" in capsys.readouterr().out


def test_offload_without_shard_is_refused():
    with pytest.raises(ValueError, match="set shard to True"):
        SftParams(offload=True)


def test_sharding_in_a_process_that_nobody_launched_is_refused(tmp_path, base, params):
    with pytest.raises(StudyError, match="shard needs a launcher"):
        sft.train(base, ROWS, tmp_path, params.model_copy(update={"shard": True}), system_prompt="Think.", seed=0)


def test_more_devices_make_no_other_run():
    one, many = SftParams(), SftParams(processes=8, device_batch=1, shard=True, recompute=True)
    assert one.result_params() == many.result_params()
    assert set(SftParams.model_fields) >= SPREAD


def test_the_program_opens_the_stage_as_the_notebook_does():
    cells = json.loads((paths.NOTEBOOKS / "03_sft.ipynb").read_text("utf-8"))["cells"]
    notebook = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    program = (paths.ROOT / "s1_utils" / "sft.py").read_text("utf-8")
    assert find_opening(notebook) == find_opening(program)


def find_opening(source):
    """The arguments of open_stage, without the parameters."""
    for node in ast.walk(ast.parse(source)):
        name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
        if name == "open_stage":
            return ast.dump(node.args[0]), [ast.dump(keyword) for keyword in node.keywords]
    return None


def test_a_failed_job_says_its_own_error_or_the_end_of_its_log(tmp_path):
    assert sft_job.explain_failure(["a", "StudyError: mend it", "b"], tmp_path) == "mend it"
    said = sft_job.explain_failure(["torch.OutOfMemoryError: CUDA out of memory"], tmp_path / "train.log")
    assert "device_batch to 1" in said
    assert "train.log" in said


def test_a_model_card_says_what_the_weights_are_made_from_and_no_path(tmp_path, base, params):
    job = sft_job.make_job(base, tmp_path, params, system_prompt="Think.", seed=3, base_name="owner/tiny")
    card = sft_results.write_card(job, rows=7, data_sha256="abc")
    assert all(text in card for text in ("owner/tiny", "abc", "| rows | 7 |", "| learning_rate | 0.0003 |"))
    assert str(tmp_path) not in card
    assert str(base) not in card


def test_tokens_are_hashed_with_their_order(tokenizer):
    dataset = encode(tokenizer)
    orders = [lay_out([1, 2], batch_size=1, epochs=4, seed=seed) for seed in range(4)]
    assert len({sft_data.hash_layout(dataset, order) for order in orders}) == len({order.tobytes() for order in orders})
