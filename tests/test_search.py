"""REBASE: widths against hand-worked and exact ones, trees on a seeded rule, and a real tiny model's token count."""

from __future__ import annotations

import json
import random
from decimal import ROUND_CEILING, Decimal, localcontext
from functools import partial

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import chat, generation, models, search
from s1_utils.engines.scripted import ScriptedEngine
from s1_utils.errors import StudyError
from s1_utils.search_steps import ANNOUNCED, Rebase, check_delimiters, encode_delimiter, share_width
from s1_utils.store import Journal

# ------------------------------------------------------------------ widths


def test_each_node_takes_its_share_of_what_is_left_rounded_up_best_first():
    # e**4.5, e**2.5, e**0.5 of 103.85: 13.87 of 16, then 1.76 of the 2 that are left
    assert share_width([0.9, 0.5, 0.1], 16, 0.2) == [14, 2, 0]
    assert share_width([0.1, 0.9, 0.5], 16, 0.2) == [0, 14, 2]


def test_equal_rewards_share_the_width_evenly_and_the_earlier_ones_take_the_rest():
    assert share_width([0.3] * 5, 16, 0.2) == [4, 3, 3, 3, 3]


@pytest.mark.parametrize("n", range(1, 65))
def test_as_many_equals_as_children_get_one_each(n):
    assert share_width([0.7] * n, n, 0.2) == [1] * n


def test_no_nodes_need_no_width_and_a_hopeless_node_gets_none():
    assert share_width([], 0, 0.2) == []
    assert share_width([0.0, 1.0], 16, 1e-3) == [0, 16]


def share_slowly(rewards, width, temperature):
    """The published loop with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        weights = [(Decimal(r) / Decimal(temperature)).exp() for r in rewards]
        order = sorted(range(len(rewards)), key=lambda i: (-rewards[i], i))
        widths = [0] * len(rewards)
        for place, i in enumerate(order):
            share = width * weights[i] / sum(weights[j] for j in order[place:])
            nearest = share.to_integral_value()
            is_whole = abs(share - nearest) < Decimal("1e-40")
            widths[i] = int(nearest if is_whole else share.to_integral_value(ROUND_CEILING))
            width -= widths[i]
        return widths


@given(st.lists(st.sampled_from([i / 8 for i in range(9)]), min_size=1, max_size=20), st.integers(1, 64))
def test_widths_sum_to_the_width_follow_the_rewards_and_equal_those_of_exact_arithmetic(rewards, width):
    widths = share_width(rewards, width, 0.25)
    assert sum(widths) == width
    ranked = [w for _, w in sorted(zip(rewards, widths, strict=True), key=lambda pair: -pair[0])]
    assert ranked == sorted(ranked, reverse=True)
    assert widths == share_slowly(rewards, width, 0.25)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 64), st.sampled_from([0.01, 0.2, 5.0]))
def test_widths_sum_to_the_width_whatever_the_rewards(rewards, width, temperature):
    widths = share_width(rewards, width, temperature)
    assert sum(widths) == width
    assert min(widths) >= 0


# ------------------------------------------------------------------ delimiters


def test_a_blank_line_ends_a_step_however_it_is_tokenized(tokenizer):
    found = encode_delimiter(tokenizer, "\n\n")
    assert chat.encode(tokenizer, "\n") * 2 in found
    assert all(tokenizer.decode(list(stop)).endswith("\n\n") for stop in found)


def test_announced_steps_end_where_another_number_than_0_is_announced(tokenizer):
    texts = {tokenizer.decode(list(stop)) for stop in encode_delimiter(tokenizer, ANNOUNCED)}
    assert texts == {f"<|im_start|>{digit}" for digit in range(1, 10)}
    check_delimiters(chat.encode_markers(tokenizer, chat.STEPS), encode_delimiter(tokenizer, ANNOUNCED))


@pytest.mark.parametrize("text", ["\n", "\n\n"])
def test_a_delimiter_that_hides_the_end_of_the_thinking_is_refused(tokenizer, text):
    stops = encode_delimiter(tokenizer, text)
    check_delimiters(chat.encode_markers(tokenizer, chat.S1), stops)
    with pytest.raises(StudyError, match="ends the thinking: choose another delimiter"):
        check_delimiters(chat.encode_markers(tokenizer, chat.PLAIN), stops)


@pytest.mark.parametrize("name", ["width", "softmax_temperature", "max_step_tokens", "max_thinking", "max_steps"])
def test_a_tree_without_width_depth_or_length_is_refused(name):
    with pytest.raises(StudyError):
        Rebase(**{"max_thinking": 10, "max_answer_tokens": 3, name: 0})


# ------------------------------------------------------------------ trees, on a rule with seeds

HOW = Rebase(max_thinking=30, max_answer_tokens=4, width=8, max_step_tokens=6, delimiter="\n")


class SeededEngine:
    """A model that is a rule of the row's seed and of all ids so far; `sampled` counts what it was asked for."""

    def __init__(self, tokenizer, odds, *, is_seeded=True):
        self.odds = [(chat.encode(tokenizer, text)[0], share) for text, share in odds.items()]
        self.is_seeded = is_seeded
        self.sampled = 0
        self.seeds = []

    def next_token(self, seed, ids):
        self.sampled += 1
        rng = random.Random(f"{seed if self.is_seeded else 0}/{ids}")
        return rng.choices([i for i, _ in self.odds], [share for _, share in self.odds])[0]

    def run(self, rows):
        self.seeds += [row.seed for row in rows]
        return [ScriptedEngine(partial(self.next_token, row.seed)).run([row])[0] for row in rows]


class RuleReward:
    """A reward that is a rule of the text; keeps what it was asked."""

    def __init__(self, score=None):
        self.rule = score or (lambda candidate: random.Random("".join(candidate.steps)).random())
        self.asked = []

    def score(self, candidates):
        self.asked.append(list(candidates))
        return [self.rule(candidate) for candidate in candidates]


THINKER = {"a": 3, "b": 3, "\n": 2, "<|im_start|>": 0.5, "<|im_end|>": 0.3}


def make_writer(tokenizer, odds=THINKER, **options):
    engine = SeededEngine(tokenizer, odds, **options)
    return generation.Writer(engine, tokenizer, chat.encode_markers(tokenizer, chat.S1), 4096, "", chat.S1)


def make_questions(n=3):
    return pd.DataFrame({"question_id": [f"q{i}" for i in range(n)], "question": [f"What is {i}?" for i in range(n)]})


def run_search(writer, reward, path, *, questions=None, how=HOW, **options):
    questions = make_questions() if questions is None else questions
    with Journal(path, "k") as journal:
        return search.search(writer, reward, questions, journal, how, **{"label": "m", "seed": 5} | options)


def index(table):
    return table.set_index(["question_id", "path"]).sort_index().drop(columns="sample").astype(str)


def test_every_tree_ends_in_as_many_answers_as_it_is_wide(tokenizer, tmp_path):
    leaves, trees = run_search(make_writer(tokenizer), RuleReward(), tmp_path / "a.jsonl")
    assert leaves.groupby("question_id")["sample"].apply(list).tolist() == [list(range(HOW.width))] * 3
    assert not leaves.duplicated(["question_id", "path"]).any()
    assert (leaves["thinking_tokens"] <= HOW.max_thinking).all()
    assert set(leaves["finish"].str.partition("/")[0]) == {"natural", "forced"}
    assert (trees["nodes"] > HOW.width).all()


def test_the_tokens_of_all_branches_are_counted_pruned_ones_and_end_markers_included(tokenizer, tmp_path):
    writer = make_writer(tokenizer)
    _, trees = run_search(writer, RuleReward(), tmp_path / "a.jsonl")
    assert trees["generated_tokens"].sum() == writer.engine.sampled


def test_thinking_tokens_are_those_of_every_node_once(tokenizer, tmp_path):
    reward = RuleReward()
    leaves, trees = run_search(make_writer(tokenizer), reward, tmp_path / "a.jsonl")
    done = set(zip(leaves["question_id"], leaves["path"], strict=True))
    nodes = [each for asked in reward.asked for each in asked]
    texts = [each.steps[-2 if (each.question_id, each.sample) in done else -1] for each in nodes]
    assert trees["thinking_tokens"].sum() == sum(map(len, texts))  # each of THINKER's tokens is a letter
    assert len(nodes) == trees["nodes"].sum()


def test_nodes_have_as_many_children_as_their_rewards_are_worth(tokenizer, tmp_path):
    reward = RuleReward()
    leaves, _ = run_search(make_writer(tokenizer), reward, tmp_path / "a.jsonl", questions=make_questions(1))
    done = set(leaves["path"])
    expected = {"": HOW.width}
    for asked in reward.asked:  # one call a depth
        children = pd.Series([each.sample.rpartition(".")[0] for each in asked]).value_counts().to_dict()
        assert children == {name: n for name, n in expected.items() if n}
        live = [each for each in asked if each.sample not in done]
        left = HOW.width - sum(name.count(".") <= asked[0].sample.count(".") for name in done)
        widths = share_width([reward.rule(each) for each in live], left, HOW.softmax_temperature)
        expected = {each.sample: n for each, n in zip(live, widths, strict=True)}
    assert not any(expected.values())


def test_a_leafs_reward_is_that_of_its_whole_response_and_comes_last_of_its_steps(tokenizer, tmp_path):
    reward = RuleReward()
    leaves, _ = run_search(make_writer(tokenizer), reward, tmp_path / "a.jsonl")
    for row in leaves.itertuples():
        rewards = json.loads(row.step_rewards)
        assert rewards[-1] == row.reward == random.Random(row.thinking + row.answer).random()
        assert len(rewards) == row.path.count(".") + 1


def test_trees_depend_on_seed_and_question_and_never_on_order_or_group(tokenizer, tmp_path):
    tables = [
        run_search(make_writer(tokenizer), RuleReward(), tmp_path / f"{i}.jsonl", **options)[0]
        for i, options in enumerate(
            [{}, {"questions": make_questions().iloc[::-1]}, {"group_size": 3}, {"group_size": 2}, {"seed": 6}]
        )
    ]
    for other in tables[1:4]:
        pd.testing.assert_frame_equal(index(tables[0]), index(other))
    assert not index(tables[0]).equals(index(tables[4]))


def test_no_two_rows_of_a_search_draw_from_the_same_seed(tokenizer, tmp_path):
    writer = make_writer(tokenizer)
    run_search(writer, RuleReward(), tmp_path / "a.jsonl")
    assert len(set(writer.engine.seeds)) == len(writer.engine.seeds)


def test_a_killed_search_goes_on_where_its_journal_ends_and_gives_the_same_bytes(tokenizer, tmp_path):
    leaves, trees = run_search(make_writer(tokenizer), RuleReward(), tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    writer = make_writer(tokenizer)
    again = run_search(writer, RuleReward(), tmp_path / "b.jsonl")
    pd.testing.assert_frame_equal(again[0], leaves)
    pd.testing.assert_frame_equal(again[1], trees)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert writer.engine.sampled == trees["generated_tokens"].iloc[1:].sum()


def test_a_node_that_never_ends_its_step_is_cut_and_at_last_made_to_answer(tokenizer, tmp_path):
    leaves, trees = run_search(make_writer(tokenizer, {"a": 1, "b": 1}), RuleReward(), tmp_path / "a.jsonl")
    assert (trees["depth"] == 5).all()  # 30 tokens in steps of 6
    assert (leaves["thinking_tokens"] == 30).all()
    assert (leaves["finish"] == "forced/length").all()


def test_thinking_as_deep_as_is_allowed_is_made_to_answer(tokenizer, tmp_path):
    how = Rebase(max_thinking=300, max_answer_tokens=4, width=4, max_step_tokens=6, max_steps=2, delimiter="\n")
    leaves, trees = run_search(make_writer(tokenizer, {"a": 1, "b": 1}), RuleReward(), tmp_path / "a.jsonl", how=how)
    assert (trees["depth"] == 2).all()
    assert (leaves["thinking_tokens"] == 12).all()
    assert leaves["answer"].str.startswith("Final Answer:").all()


def test_thinking_that_ends_at_once_answers_at_once(tokenizer, tmp_path):
    leaves, trees = run_search(make_writer(tokenizer, {"<|im_start|>": 1}), RuleReward(), tmp_path / "a.jsonl")
    assert (trees["nodes"] == HOW.width).all()
    assert (leaves["thinking_tokens"] == 0).all()
    assert (leaves["finish"] == "natural/stop").all()


def test_equal_children_stay_apart_and_equal_rewards_keep_the_width(tokenizer, tmp_path):
    writer = make_writer(tokenizer, is_seeded=False)
    leaves, _ = run_search(writer, RuleReward(lambda candidate: 0.5), tmp_path / "a.jsonl")
    assert (leaves.groupby("question_id").size() == HOW.width).all()
    assert (leaves.groupby("question_id")["thinking"].nunique() == 1).all()


def test_a_reward_that_is_no_number_is_refused_with_question_and_path(tokenizer, tmp_path):
    def score(candidate):
        return float("nan") if (candidate.question_id, candidate.sample) == ("q1", "3") else 0.5

    with pytest.raises(StudyError, match="question q1, sample 3 is nan"):
        run_search(make_writer(tokenizer), RuleReward(score), tmp_path / "a.jsonl")


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer, tmp_path):
    writer = make_writer(tokenizer)
    small = generation.Writer(writer.engine, tokenizer, writer.markers, 20, "", chat.S1)
    with pytest.raises(StudyError, match=r"Question q0: .* no room for thinking in a window of 20"):
        run_search(small, RuleReward(), tmp_path / "a.jsonl")


# ------------------------------------------------------------------ merged answers


def test_leaves_are_merged_by_majority_by_weight_and_by_the_best():
    rows = [("q", 0, "1", True, 0.3), ("q", 1, "1", True, 0.3), ("q", 2, "2", False, 0.7), ("q", 3, None, False, 0.9)]
    rows += [("r", 0, "1", False, 0.2), ("r", 1, "2", True, 0.2), ("r", 2, None, False, 0.1), ("r", 3, None, False, 0)]
    graded = pd.DataFrame(rows, columns=["question_id", "sample", "vote", "correct", "reward"])
    merged = search.merge_leaves(graded.assign(thinking_tokens=1)).set_index("question_id")
    assert merged.loc["q"].to_dict() == pytest.approx({"majority": 1, "weighted": 0, "best": 0})
    assert merged.loc["r"].to_dict() == pytest.approx({"majority": 0.5, "weighted": 0.5, "best": 0.5})


# ------------------------------------------------------------------ a real model


@pytest.fixture(scope="module")
def writer():
    return generation.load_writer(models.resolve_model("random-llama"), "Think.")


class Forgetful:
    """The same engine without what keeps prefixes from one run to the next."""

    def __init__(self, engine):
        self.engine = engine

    @property
    def forward_tokens(self):
        return self.engine.forward_tokens

    def run(self, rows):
        return self.engine.run(rows)


REAL = Rebase(max_thinking=18, max_answer_tokens=3, width=6, max_step_tokens=6, delimiter="\n")


def test_no_prefix_is_computed_twice_and_the_ids_are_those_of_recomputation(writer, tmp_path):
    leaves, trees = run_search(writer, RuleReward(), tmp_path / "a.jsonl", how=REAL)
    forced = leaves["finish"].str.startswith("forced")
    closings = [
        len(chat.encode(writer.tokenizer, ("" if text.endswith("\n") else "\n") + "<|im_start|>answer"))
        + len(writer.markers.answer_prefix) * cut
        for text, cut in zip(leaves["thinking"], forced, strict=True)
    ]
    assert trees["forced_tokens"].sum() == sum(closings)
    reported = trees[["prompt_tokens", "generated_tokens", "forced_tokens"]].to_numpy().sum()
    spent = trees["group_forwarded_tokens"].sum()
    natural = len(leaves) - forced.sum()
    assert spent == reported - len(trees) - natural  # each row feeds one id less than it has, an end marker never
    forgetful = generation.Writer(
        Forgetful(writer.engine), writer.tokenizer, writer.markers, writer.window, "Think.", writer.fmt
    )
    again, recomputed = run_search(forgetful, RuleReward(), tmp_path / "b.jsonl", how=REAL)
    pd.testing.assert_frame_equal(again, leaves)
    assert recomputed["group_forwarded_tokens"].sum() > spent
