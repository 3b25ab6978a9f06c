"""Puzzles, the teacher that searches them aloud, and the table of questions, against solvers that read the text."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import asdict

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import puzzles, sources, teachers
from s1_utils.errors import StudyError

SEEDS = st.integers(0, 10**6)
FAMILIES = st.sampled_from(sorted(puzzles.FAMILIES))
PUZZLES = st.builds(lambda family, seed: puzzles.make_puzzle(family, random.Random(seed)), FAMILIES, SEEDS)


# ------------------------------------------------------------------ solvers that see nothing but the question


def read_question(text):
    """(facts, options, what is asked) of a question, as lists of words."""
    facts, rest = re.fullmatch(r"(?:(?:Map|Code|Trades): (.*?)\. )?(?:Doors|Bags|Rows|Towns): (.*)", text).groups()
    options, asked = rest.split(". Which ")
    separator = "; " if "; " in options else ", "
    listed = [option.split() for option in options.split(separator)]
    return [fact.split() for fact in facts.split(", ")] if facts else [], listed, asked.rstrip("?").split()


def solve_doors(facts, options, asked):
    hops = {start: end for start, _, end in facts}

    def follow(place):
        return follow(hops[place]) if place in hops else place

    return [door for (door,) in options if follow(door) == asked[-1]]


def solve_bags(facts, options, asked):
    wanted = {asked[-3], asked[-1]}
    return [bag for bag, _, *items in options if wanted <= set(items)]


def solve_codes(facts, options, asked):
    meaning = {symbol: colour for symbol, _, colour in facts}
    return [row for row, _, *symbols in options if [meaning[s] for s in symbols] == asked[2:]]


def solve_towns(facts, options, asked):
    trades = {person.removesuffix(":"): trade for person, trade in facts}
    return [town for town, _, a, _, b in options if {asked[-3], asked[-1]} == {trades[a], trades[b]}]


SOLVERS = {"doors": solve_doors, "bags": solve_bags, "codes": solve_codes, "towns": solve_towns}


def solve(puzzle):
    """Every option that fits, from the text of the question alone."""
    return SOLVERS[puzzle.family](*read_question(puzzle.question))


# ------------------------------------------------------------------ puzzles


@given(PUZZLES)
def test_exactly_one_option_is_right(puzzle):
    assert solve(puzzle) == [puzzle.answer]


@given(PUZZLES)
def test_the_options_of_a_puzzle_are_those_its_text_lists(puzzle):
    _, listed, _ = read_question(puzzle.question)
    assert [option[0] for option in listed] == list(puzzle.options)


@given(PUZZLES)
def test_a_puzzle_has_three_to_five_different_options(puzzle):
    assert 3 <= len(set(puzzle.options)) == len(puzzle.options) <= 5


@given(PUZZLES)
def test_a_try_only_copies_from_its_question_but_for_its_findings(puzzle):
    known = set(re.findall(r"\w+", puzzle.question)) | {"want", "in", "out", "is", "Yes", "No"}
    assert set(re.findall(r"\w+", " ".join(map(puzzle.try_option, puzzle.options)))) <= known


@given(PUZZLES)
def test_a_try_says_yes_to_the_right_option_alone(puzzle):
    assert [o for o in puzzle.options if puzzle.try_option(o).endswith("Yes.")] == solve(puzzle)


@given(PUZZLES)
def test_every_hop_of_a_tried_door_lies_on_the_map(puzzle):
    if puzzle.family == "doors":
        hops = {" ".join(fact) for fact in read_question(puzzle.question)[0]}
        assert all(set(attempt.split(", ")[:-1]) <= hops for attempt in puzzle.tries)


@given(PUZZLES)
def test_what_a_try_finds_in_or_out_of_an_option_is_so(puzzle):
    for option, attempt in zip(puzzle.options, puzzle.tries, strict=True):
        held, *findings = attempt.split(", ") if puzzle.family == "bags" else ("", *attempt.split(", "))
        for word, found in re.findall(r"\b(\w+) (in|out)\b", attempt):
            shown = held.split() if puzzle.family == "bags" else " ".join(findings[:2]).split()
            assert (found == "in") == (word in shown), option


@given(PUZZLES)
def test_a_tried_row_of_code_stops_at_its_first_difference(puzzle):
    if puzzle.family == "codes":
        for attempt in puzzle.tries:
            same = [read == want for read, want in re.findall(r"is (\w+) want (\w+)", attempt)]
            assert all(same[:-1])
            assert len(same) == puzzle.size or not same[-1]


@given(PUZZLES, SEEDS)
def test_shuffling_the_options_keeps_the_answer(puzzle, seed):
    assert solve(puzzle.shuffled(random.Random(seed))) == [puzzle.answer]


@given(PUZZLES, SEEDS)
def test_shuffling_the_options_keeps_the_facts_and_what_is_asked(puzzle, seed):
    facts, options, asked = read_question(puzzle.question)
    shuffled_facts, shuffled_options, shuffled_asked = read_question(puzzle.shuffled(random.Random(seed)).question)
    assert (facts, asked, sorted(options)) == (shuffled_facts, shuffled_asked, sorted(shuffled_options))


@given(PUZZLES, SEEDS)
def test_shuffling_the_options_keeps_what_a_try_of_each_writes(puzzle, seed):
    shuffled = puzzle.shuffled(random.Random(seed))
    assert all(shuffled.try_option(option) == puzzle.try_option(option) for option in puzzle.options)


@given(PUZZLES)
def test_shuffling_the_options_changes_their_order(puzzle):
    assert len({puzzle.shuffled(random.Random(seed)).options for seed in range(30)}) > 1


@pytest.mark.parametrize("family", sorted(puzzles.FAMILIES))
def test_the_answer_is_at_no_place_of_the_options_more_often_than_at_another(family):
    # 900 puzzles, places 0-2 of 3 to 5 options each right with one probability p ~ 0.26: 5 sigma is 0.075
    made = [puzzles.make_puzzle(family, random.Random(seed)) for seed in range(900)]
    places = [puzzle.options.index(puzzle.answer) for puzzle in made]
    expected = sum(1 / len(puzzle.options) for puzzle in made) / 900
    assert all(abs(places.count(place) / 900 - expected) < 0.075 for place in range(3))


@pytest.mark.parametrize("family", sorted(puzzles.FAMILIES))
def test_every_size_of_a_family_is_made(family):
    made = {puzzles.make_puzzle(family, random.Random(seed)).size for seed in range(60)}
    assert made == set(puzzles.FAMILIES[family].sizes)


@given(PUZZLES)
def test_a_puzzle_is_read_back_from_its_metadata(puzzle):
    assert puzzles.read_puzzle(json.dumps(asdict(puzzle))) == puzzle


def test_metadata_of_other_questions_hold_no_puzzle():
    assert puzzles.read_puzzle('{"teacher": "own", "thinking": "so"}') is None


@given(PUZZLES)
def test_the_options_of_a_question_are_read_from_its_metadata(puzzle):
    assert list(puzzles.read_options(json.dumps(asdict(puzzle)))) == list(puzzle.options)


def test_metadata_of_other_questions_hold_no_options():
    assert not puzzles.read_options('{"teacher": "own", "thinking": "so"}')


# ------------------------------------------------------------------ the teacher

PATIENT = {"give_up": 0.0, "slip": 0.0, "check": 0.4}
HABITS = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.3, 0.7, 1.0]) for name in PATIENT})


def search(puzzle, seed, **habits):
    return teachers.search_aloud(puzzle, random.Random(seed), **habits)


def read_tries(thinking):
    """(how it begins, option, what is found, verdict) of every try of a trace."""
    return re.findall(r"(Try|Wait, try|Wait, check) (\w+): (.*?)\. (Yes|No)\.(?: |$)", thinking)


@given(PUZZLES, SEEDS, HABITS)
def test_a_trace_consists_of_tries_and_nothing_else(puzzle, seed, habits):
    thinking = search(puzzle, seed, **habits).thinking
    assert thinking == " ".join(
        f"{begin} {o}: {found}. {verdict}." for begin, o, found, verdict in read_tries(thinking)
    )


@given(PUZZLES, SEEDS, HABITS)
def test_every_try_writes_down_what_an_honest_one_would(puzzle, seed, habits):
    for _, option, found, _ in read_tries(search(puzzle, seed, **habits).thinking):
        assert found == puzzle.tries[puzzle.options.index(option)]


@given(PUZZLES, SEEDS)
def test_a_patient_teacher_that_never_slips_is_always_right(puzzle, seed):
    assert search(puzzle, seed, **PATIENT).attempt == puzzle.answer


@given(PUZZLES, SEEDS, HABITS)
def test_a_teacher_that_never_slips_never_writes_a_false_verdict(puzzle, seed, habits):
    for _, option, _, verdict in read_tries(search(puzzle, seed, **(habits | {"slip": 0.0})).thinking):
        assert (verdict == "Yes") == (option == puzzle.answer)


@given(PUZZLES, SEEDS)
def test_a_teacher_that_always_slips_turns_every_verdict_round(puzzle, seed):
    for _, option, _, verdict in read_tries(search(puzzle, seed, give_up=0.0, slip=1.0, check=0.0).thinking):
        assert (verdict == "Yes") == (option != puzzle.answer)


@given(PUZZLES, SEEDS, HABITS)
def test_only_the_first_try_does_not_begin_with_wait(puzzle, seed, habits):
    beginnings = [begin for begin, *_ in read_tries(search(puzzle, seed, **habits).thinking)]
    assert beginnings[0] == "Try"
    assert "Try" not in beginnings[1:]


@given(PUZZLES, SEEDS, HABITS)
def test_no_option_is_tried_twice(puzzle, seed, habits):
    tried = [o for begin, o, *_ in read_tries(search(puzzle, seed, **habits).thinking) if begin != "Wait, check"]
    assert len(tried) == len(set(tried))


@given(PUZZLES, SEEDS, HABITS)
def test_a_check_follows_a_yes_to_the_same_option(puzzle, seed, habits):
    tries = read_tries(search(puzzle, seed, **habits).thinking)
    for (_, tried, _, verdict), (begin, checked, *_) in itertools.pairwise(tries):
        if begin == "Wait, check":
            assert (checked, verdict) == (tried, "Yes")


@given(PUZZLES, SEEDS, HABITS)
def test_a_teacher_that_always_checks_says_wait_check_after_every_yes(puzzle, seed, habits):
    tries = read_tries(search(puzzle, seed, **(habits | {"check": 1.0})).thinking)
    for n, (begin, option, _, verdict) in enumerate(tries):
        if verdict == "Yes" and begin != "Wait, check":
            assert tries[n + 1][:2] == ("Wait, check", option)


@given(PUZZLES, SEEDS, HABITS)
def test_a_check_mends_a_slip(puzzle, seed, habits):
    trace = search(puzzle, seed, **(habits | {"check": 1.0}))
    assert not trace.thinking.endswith("Yes.") or trace.attempt == puzzle.answer


@given(PUZZLES, SEEDS, HABITS)
def test_nothing_but_a_check_follows_a_yes(puzzle, seed, habits):
    tries = read_tries(search(puzzle, seed, **habits).thinking)
    after_yes = [after[0] for before, after in itertools.pairwise(tries) if before[-1] == "Yes"]
    assert set(after_yes) <= {"Wait, check"}


@given(PUZZLES, SEEDS, HABITS)
def test_the_attempt_is_the_option_found_or_else_a_guess_among_those_left(puzzle, seed, habits):
    trace = search(puzzle, seed, **habits)
    tries = read_tries(trace.thinking)
    tried = {option for _, option, *_ in tries}
    left = set(puzzle.options) - tried or set(puzzle.options)
    assert trace.attempt in ({tries[-1][1]} if tries[-1][-1] == "Yes" else left)


@given(PUZZLES, SEEDS)
def test_a_teacher_without_patience_tries_once(puzzle, seed):
    assert len(read_tries(search(puzzle, seed, give_up=1.0, slip=0.0, check=0.0).thinking)) == 1


def collect_some_traces(questions, tokenizer, seed=0):
    return teachers.collect_traces(questions, tokenizer, seed=seed, give_up=0.6, slip=0.02, check=0.4)


def test_a_trace_depends_on_its_question_and_never_on_the_order(tokenizer):
    questions = sources.make_puzzles(4, seed=0)
    shuffled = collect_some_traces(questions.sample(frac=1, random_state=1), tokenizer)
    in_order = collect_some_traces(questions, tokenizer)
    pd.testing.assert_frame_equal(
        shuffled.sort_values("question_id", ignore_index=True), in_order.sort_values("question_id", ignore_index=True)
    )


def test_questions_are_not_all_searched_in_the_same_order(tokenizer):
    questions = sources.make_puzzles(10, seed=0)
    made = [puzzles.read_puzzle(metadata) for metadata in questions["metadata"]]
    tried = [read_tries(thinking)[0][1] for thinking in collect_some_traces(questions, tokenizer)["thinking"]]
    places = {puzzle.options.index(o) for puzzle, o in zip(made, tried, strict=True) if len(puzzle.options) == 3}
    assert places == {0, 1, 2}


def test_another_seed_gives_other_traces(tokenizer):
    questions = sources.make_puzzles(4, seed=0)
    one, two = (collect_some_traces(questions, tokenizer, seed)["thinking"] for seed in (0, 1))
    assert (one != two).any()


def test_attempts_are_graded_against_the_known_answer(tokenizer):
    questions = sources.make_puzzles(10, seed=0)
    traces = collect_some_traces(questions, tokenizer).merge(questions, on="question_id")
    right = traces["attempt"] == traces["answer"]
    assert traces["attempt_correct"].tolist() == right.tolist()
    assert right.nunique() == 2


def test_thinking_tokens_count_the_thinking_alone(tokenizer):
    traces = collect_some_traces(sources.make_puzzles(2, seed=0), tokenizer)
    lengths = [len(tokenizer(text)["input_ids"]) for text in traces["thinking"]]
    assert traces["thinking_tokens"].tolist() == lengths


def test_an_attempt_that_cannot_be_graded_is_null(tokenizer):
    questions = sources.read_champ()
    traces = collect_some_traces(questions, tokenizer).merge(questions, on="question_id")
    assert traces["attempt_correct"].isna().equals(traces["answer_type"] == "expression")


def test_questions_without_a_trace_give_an_empty_table(tokenizer, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "Why?", "answer": "because"}\n')
    traces = collect_some_traces(sources.read_own_file(tmp_path / "mine.jsonl"), tokenizer)
    assert (len(traces), list(traces.columns)) == (0, teachers.COLUMNS)


# ------------------------------------------------------------------ sources


def test_a_question_id_is_the_beginning_of_the_sha256_of_its_text():
    assert sources.hash_question("What is 2 + 2?") == "38d46ad3618826cf"


def test_more_puzzles_begin_with_the_same_ones():
    few, many = sources.make_puzzles(3, seed=0), sources.make_puzzles(5, seed=0)
    assert set(few["question_id"]) <= set(many["question_id"])


def test_another_seed_makes_other_puzzles():
    one, two = (set(sources.make_puzzles(5, seed=seed)["question_id"]) for seed in (0, 1))
    assert not one & two


def test_every_family_has_as_many_puzzles_as_asked_for():
    assert set(sources.make_puzzles(5, seed=0)["domain"].value_counts()) == {5}


def test_champ_brings_270_training_questions():
    assert sources.read_champ()["split"].tolist() == ["train"] * 270


def test_only_whole_numbers_are_integers_among_champs_answers():
    champ = sources.read_champ()
    whole = [bool(re.fullmatch(r"-?[0-9]+", answer)) for answer in champ["answer"]]
    assert (champ["answer_type"] == "integer").tolist() == whole


@given(st.lists(st.integers() | st.text() | st.floats(allow_nan=False)))
def test_a_derived_seed_fits_any_generator(parts):
    assert 0 <= sources.derive_seed(*parts) < 2**31


def test_derived_seeds_of_different_items_differ():
    seeds = {sources.derive_seed(run, "teacher", item) for run in range(20) for item in range(50)}
    assert len(seeds) == 1000


# ------------------------------------------------------------------ a file of one's own


def read_lines(tmp_path, *rows):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return sources.read_own_file(path)


@pytest.mark.parametrize(
    ("answer", "text", "answer_type"),
    [
        (7, "7", "integer"),
        ("7", "7", "integer"),
        ("-7", "-7", "integer"),
        ("007", "007", "integer"),
        (" Oslo ", "Oslo", "choice"),
        ("²", "²", "choice"),
        ("--7", "--7", "choice"),
        (7.5, "7.5", "choice"),
    ],
)
def test_an_answer_of_ones_own_is_read_with_its_type(tmp_path, answer, text, answer_type):
    for others in ([], [{"question": "b", "answer": None}]):
        table = read_lines(tmp_path, {"question": "a", "answer": answer}, *others)
        assert (table["answer"][0], table["answer_type"][0]) == (text, answer_type)


@pytest.mark.parametrize("answer", [None, "", " "])
def test_an_answer_that_is_not_there_is_null(tmp_path, answer):
    assert read_lines(tmp_path, {"question": "a", "answer": answer})["answer"].isna().all()


def test_a_domain_that_is_not_given_is_called_own(tmp_path):
    table = read_lines(tmp_path, {"question": "a", "answer": "x"}, {"question": "b", "answer": "y", "domain": "maths"})
    assert table["domain"].tolist() == ["own", "maths"]


def test_a_split_of_ones_own_is_kept(tmp_path):
    rows = [{"question": split, "answer": "x", "split": split} for split in ("train", "dev", "test", "validation")]
    assert read_lines(tmp_path, *rows)["split"].fillna("free").tolist() == ["train", "dev", "test", "free"]


def test_a_trace_of_ones_own_is_what_its_teacher_returns(tmp_path):
    table = read_lines(tmp_path, {"question": "a", "answer": 7, "thinking": "3 and 4"}, {"question": "b", "answer": 8})
    asked = [teachers.ask_teacher(i, m, seed=0) for i, m in zip(table["question_id"], table["metadata"], strict=True)]
    assert asked == [("own", teachers.Trace("3 and 4", "7")), None]


def test_parquet_and_json_lines_give_the_same_table(tmp_path):
    rows = [{"question": "a", "answer": "7", "domain": "m"}, {"question": "b", "answer": "x", "thinking": "so"}]
    pd.DataFrame(rows).to_parquet(tmp_path / "mine.parquet")
    pd.testing.assert_frame_equal(read_lines(tmp_path, *rows), sources.read_own_file(tmp_path / "mine.parquet"))


def test_an_empty_question_is_refused_with_its_row(tmp_path):
    with pytest.raises(StudyError, match="row 2 has an empty question"):
        read_lines(tmp_path, {"question": "a", "answer": 1}, {"question": " ", "answer": 2})


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / name).write_text("{nonsense")
    with pytest.raises(StudyError, match=f"Can't read .*{re.escape(name)}"):
        sources.read_own_file(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"No file .*mine\.jsonl"):
        sources.read_own_file(tmp_path / "mine.jsonl")


def test_a_file_without_answers_is_refused_with_the_column_it_lacks(tmp_path):
    with pytest.raises(StudyError, match=r"lacks the column\(s\) answer"):
        read_lines(tmp_path, {"question": "a"})


# ------------------------------------------------------------------ the table of questions and its splits


def collect(names, **changes):
    return sources.collect_questions(names, **({"questions_per_family": 8, "dev": 3, "test": 6, "seed": 0} | changes))


def test_a_source_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(StudyError, match="No source 'math': give puzzles, champ"):
        collect(["puzzles", "math"])


def test_no_source_at_all_is_refused():
    with pytest.raises(StudyError, match="sources is empty"):
        collect([])


def test_a_question_of_two_sources_is_kept_once():
    assert collect(["champ", "champ"])["question_id"].is_unique


def test_the_order_of_sources_never_changes_a_split():
    orders = (["puzzles", "champ"], ["champ", "puzzles"])
    one, two = (collect(names).set_index("question_id")["split"] for names in orders)
    pd.testing.assert_series_equal(one, two.reindex(one.index))


def test_as_many_questions_are_held_out_as_asked_for():
    assert collect(["puzzles", "champ"])["split"].value_counts().to_dict() == {"train": 293, "test": 6, "dev": 3}


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
def test_held_out_questions_come_from_all_domains_alike(dev, test, seed):
    questions = sources.make_puzzles(8, seed=0)
    split = sources.assign_splits(questions, dev=dev, test=test, seed=seed)
    for name, total in (("dev", dev), ("test", test)):
        counts = questions[split == name]["domain"].value_counts().reindex(sorted(puzzles.FAMILIES), fill_value=0)
        assert counts.sum() == total
        assert counts.max() - counts.min() <= 1


@given(st.integers(0, 9))
def test_the_order_of_questions_never_changes_their_split(seed):
    questions = sources.make_puzzles(8, seed=0)
    shuffled = questions.sample(frac=1, random_state=seed)
    split, same = (sources.assign_splits(table, dev=3, test=6, seed=0) for table in (questions, shuffled))
    pd.testing.assert_series_equal(split, same.sort_index())


def test_another_seed_holds_out_other_questions():
    questions = sources.make_puzzles(8, seed=0)
    assert len({tuple(sources.assign_splits(questions, dev=3, test=6, seed=seed)) for seed in range(3)}) == 3


def test_a_larger_test_set_keeps_the_smaller_one():
    questions = sources.make_puzzles(8, seed=0)
    small, large = (sources.assign_splits(questions, dev=0, test=test, seed=0) == "test" for test in (6, 7))
    assert not (small & ~large).any()


def test_a_split_that_a_source_fixed_is_kept():
    questions = sources.make_puzzles(8, seed=0)
    fixed = questions["question_id"].map(lambda i: {"0": "train", "1": "test", "2": "dev"}.get(i[0])).astype("string")
    split = sources.assign_splits(questions.assign(split=fixed), dev=3, test=6, seed=0)
    assert fixed.notna().any()
    assert split[fixed.notna()].tolist() == fixed.dropna().tolist()


def test_a_question_without_an_answer_is_never_held_out():
    questions = sources.make_puzzles(8, seed=0)
    questions["answer"] = questions["answer"].where(questions.index % 2 == 0, None)
    split = sources.assign_splits(questions, dev=4, test=8, seed=0)
    assert set(split[questions["answer"].isna()]) == {"train"}
