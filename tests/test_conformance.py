"""The conformance suite on the engine of this machine, and the suite itself on engines with planted errors."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import conformance
import pytest

from s1_utils.budget_forcing import Decode, Ids, Ran
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.engines.transformers import TransformersEngine

ALPHA = 1e-4


@pytest.fixture(scope="module")
def reference():
    with conformance.use_one_thread():
        yield conformance.Reference(conformance.make_model())


def test_the_transformers_engine_gives_the_ids_of_full_recomputation(reference):
    report = conformance.compare_greedy(TransformersEngine(reference.model, pad_id=0, slots=64), reference)
    assert not report.wrong, "\n".join(report.wrong[:3])
    assert len(report.near) <= report.rows // 100


def test_the_transformers_engine_samples_by_the_models_own_law(reference):
    found = conformance.measure_law(TransformersEngine(reference.model, pad_id=0, slots=64), reference)
    assert min(found.values()) > ALPHA, found


class Planted(ScriptedEngine):
    """The reference with one error."""

    def __init__(self, reference, error):
        super().__init__(reference.next_token, reference.next_token, reference.rank)
        self.error = error

    def _decode(self, prefix: Ids, segment: Decode) -> Ran:
        if self.error == "least ids ignored":
            return super()._decode(prefix, replace(segment, min_tokens=0))
        ran = super()._decode(prefix, segment)
        whole = ran.ids + ran.stop
        if self.error == "newline left" and len(ran.stop) > 1 and ran.stop[-1:] in segment.stops:
            return replace(ran, ids=whole[:-1], stop=ran.stop[-1:])
        if self.error == "marker cut at the cap" and len(whole) > segment.max_tokens:
            return replace(ran, ids=whole[: segment.max_tokens], stop=())
        if self.error == "stop left out" and ran.stop:
            return replace(ran, stop=())
        if self.error == "ranks from one":
            return replace(ran, ranks=tuple(rank + 1 for rank in ran.ranks))
        return ran


@pytest.mark.parametrize(
    "error", ["least ids ignored", "newline left", "marker cut at the cap", "stop left out", "ranks from one"]
)
def test_the_suite_finds_a_planted_error(reference, error):
    prompts = conformance.make_prompts(8)
    assert not conformance.compare_greedy(Planted(reference, ""), reference, prompts).wrong
    assert conformance.compare_greedy(Planted(reference, error), reference, prompts).wrong


def test_the_test_of_laws_takes_a_sample_of_the_law_and_refuses_a_shifted_or_impossible_one():
    law = [0.5, 0.3, 0.2, 0.0]
    assert conformance.find_p_value(Counter({0: 251, 1: 149, 2: 100}), law) > 0.5
    assert conformance.find_p_value(Counter({0: 200, 1: 200, 2: 100}), law) < ALPHA
    assert conformance.find_p_value(Counter({0: 250, 1: 150, 3: 1}), law) == 0
