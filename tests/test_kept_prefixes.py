"""Prefixes kept from one run of the transformers engine to the next: ids of full recomputation, nothing fed twice."""

from __future__ import annotations

import conformance
import pytest

from s1_utils.budget_forcing import Answer, Decode, Force, Restart
from s1_utils.engines import Row
from s1_utils.engines.transformers import TransformersEngine


@pytest.fixture(scope="module")
def reference():
    with conformance.use_one_thread():
        yield conformance.Reference(conformance.make_model())


def make_engine(reference, slots=8):
    return TransformersEngine(reference.model, pad_id=0, slots=slots)


def test_every_case_gives_the_ids_of_full_recomputation_on_prefixes_that_were_kept(reference):
    engine = make_engine(reference, 64)
    with engine.keep_prefixes():
        conformance.compare_greedy(engine, reference)
        before = engine.forward_tokens
        report = conformance.compare_greedy(engine, reference)  # every prompt is kept by now
        spent = engine.forward_tokens - before
    assert not report.wrong, "\n".join(report.wrong[:3])
    assert len(report.near) <= report.rows // 100
    assert spent < before


def decode(engine, prompts, n, *more):
    return [out[0].ids for out in engine.run([Row(p, conformance.play(Decode(n, ()), *more)) for p in prompts])]


@pytest.mark.parametrize("slots", [1, 2, 64])
def test_a_text_decoded_in_pieces_is_that_of_one_decode_and_no_id_is_fed_twice(reference, slots):
    engine, prompts = make_engine(reference, slots), conformance.make_prompts(5)
    texts = list(prompts)
    with engine.keep_prefixes():
        for n in (1, 4, 2, 7):
            texts = [text + ids for text, ids in zip(texts, decode(engine, texts, n), strict=True)]
            if n == 1:
                begun = engine.forward_tokens
        assert engine.forward_tokens - begun == len(prompts) * (4 + 2 + 7)
    assert texts == [prompt + reference.continue_freely(prompt, 14) for prompt in prompts]


def test_branches_of_one_text_share_it_and_each_goes_its_own_way(reference):
    engine, prompt = make_engine(reference), conformance.make_prompts(1)[0]
    with engine.keep_prefixes():
        (text,) = decode(engine, [prompt], 6)
        branches = [prompt + text + (i,) for i in (7, 8, 9, 7)]
        before = engine.forward_tokens
        found = decode(engine, branches, 3)
        assert engine.forward_tokens - before <= 4 * (2 + 3)  # the last id of the text, the branch's own, three more
    assert found == [reference.continue_freely(branch, 3) for branch in branches]
    assert found[0] == found[3]


@pytest.mark.parametrize(
    "more", [[Force((7, 8))], [Answer(2, (30, 31), 5, ())], [Restart(), Decode(3, ())], [Answer(0, (), 2, ())]]
)
def test_what_a_row_did_after_its_decode_leaves_no_trace_in_what_it_keeps(reference, more):
    engine, prompts = make_engine(reference), conformance.make_prompts()
    with engine.keep_prefixes():
        texts = [p + ids for p, ids in zip(prompts, decode(engine, prompts, 5, *more), strict=True)]
        assert decode(engine, texts, 5) == [reference.continue_freely(text, 5) for text in texts]


def test_a_prompt_that_nobody_has_begun_is_fed_whole(reference):
    engine, prompts = make_engine(reference), conformance.make_prompts(6)
    with engine.keep_prefixes():
        decode(engine, prompts[:3], 4)
        assert decode(engine, prompts[3:], 4) == [reference.continue_freely(p, 4) for p in prompts[3:]]


def test_nothing_is_kept_outside(reference):
    engine, prompts = make_engine(reference), conformance.make_prompts(2)
    with engine.keep_prefixes():
        decode(engine, prompts, 4)
        assert engine.kept
    assert engine.kept is None
    before = engine.forward_tokens
    decode(engine, prompts, 4)
    first = engine.forward_tokens - before
    decode(engine, prompts, 4)
    assert engine.forward_tokens - before == 2 * first
