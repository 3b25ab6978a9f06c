"""The measured error of both policies, and that it can be wrong."""

from __future__ import annotations

import pytest

from s1_utils.overlap_plants import DISGUISES, NEGATIVES, make_plants, make_short_items, measure_error, tabulate_error

LOST_BY_S1 = {  # of 60, with seed 0
    "punctuation stripped": 20,
    "curly quotes, wide commas": 11,
    "full-width": 60,
    "LaTeX spacing": 13,
    "short item": 60,
    "short item, embedded": 60,
}


@pytest.fixture(scope="module")
def planted():
    return tabulate_error(seed=0).set_index("kind")


@pytest.mark.parametrize("kind", DISGUISES)
def test_the_audited_policy_finds_every_plant(planted, kind):
    assert planted.loc[kind, ["plants", "audited"]].tolist() == [60, 60]


@pytest.mark.parametrize("kind", DISGUISES)
def test_the_papers_rule_loses_what_it_is_known_to_lose(planted, kind):
    assert 60 - planted.loc[kind, "s1"] == LOST_BY_S1.get(kind, 0)


def test_neither_policy_flags_a_clean_text(planted):
    clean = planted.loc["clean text (false positives)"]
    assert clean["plants"] == 2000
    assert clean[["s1", "audited"]].tolist() == [0, 0]


@pytest.mark.parametrize("kind", NEGATIVES)
def test_a_span_that_is_too_short_is_left_alone(planted, kind):
    assert planted.loc[kind, ["s1", "audited"]].tolist() == [0, 0]


def test_plants_depend_on_the_seed_alone():
    items = {f"i{i}": f"question number {i} " + "x+y=z, " * 15 for i in range(5)} | make_short_items(5, seed=1)
    hosts = ["one two three", "four five six"]
    assert make_plants(items, hosts, per_kind=3, seed=1) == make_plants(items, hosts, per_kind=3, seed=1)
    assert make_plants(items, hosts, per_kind=3, seed=1) != make_plants(items, hosts, per_kind=3, seed=2)


def test_short_items_are_short_and_all_different():
    items = make_short_items(300, seed=0)
    assert len(set(items.values())) == 300
    assert max(len(text.split()) for text in items.values()) < 8


def test_too_few_items_are_refused():
    with pytest.raises(ValueError, match="0 items suit the plant 'exact'; 60 are needed"):
        measure_error(make_short_items(60, seed=0), ["a host"])
