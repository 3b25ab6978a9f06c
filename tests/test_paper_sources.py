"""The paper's sixteen sources and the published sets, read from mirrors in the published schema, and from bad ones."""

from __future__ import annotations

import csv
import json
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import hub_fixtures as hub
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import sources, teachers
from s1_utils.errors import StudyError
from s1_utils.grading import extract_answer, find_boxed, grade_answer
from s1_utils.paper.answers import Gold, find_gold, name_gold, write_text
from s1_utils.paper.hub_rows import BadRow
from s1_utils.paper.rows import Context, Question, parse_repr, write_metadata
from s1_utils.paper.sources import collect_paper_sources, draw_spread, read_question, require_complete
from s1_utils.paper.table import PAPER, PUBLISHED, SOURCES
from s1_utils.puzzles import read_options

SHARED = Path(__file__).parents[2] / "shared"
BY_NAME = {source.name: source for source in SOURCES}
LETTERS = ["A", "B", "C", "D"]


def collect(mirror, names, **options):
    return collect_paper_sources(names, mirror=mirror, **{"seed": 1, **options})


def collect_one(mirror, name, n=6, **options):
    hub.write_source(mirror, name, n)
    return collect(mirror, [name], **options)


def tally(collected, name):
    return collected.sources.set_index("source").loc[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    mirror = hub.write_mirror(tmp_path_factory.mktemp("mirror"), 16)
    return collect(mirror, [*PAPER, *PUBLISHED])


# ------------------------------------------------------------------ the table of sources


def test_the_sources_are_those_of_the_paper_and_make_its_59029():
    assert list(PAPER) == hub.PAPER
    assert sum(BY_NAME[name].expected for name in PAPER) == 59029


@pytest.mark.skipif(not SHARED.is_dir(), reason="the facts are beside a checkout of the study only")
def test_hub_ids_and_counts_are_those_of_the_facts():
    with open(SHARED / "facts" / "paper_sources.csv") as file:
        facts = [(row["source"], row["hub_id"], int(row["questions"])) for row in csv.DictReader(file)]
    assert [(s.name, s.hub_id, s.expected) for s in SOURCES if s.name in PAPER] == facts


# ------------------------------------------------------------------ all together


def test_all_nineteen_are_read_from_a_mirror_in_the_published_schema(whole):
    require_complete(whole.sources)
    assert whole.sources["source"].tolist() == [*PAPER, *PUBLISHED]
    kept = dict(zip(whole.sources["source"], whole.sources["kept"], strict=True))
    assert kept == dict.fromkeys([*PAPER, *PUBLISHED], 16) | {"s1K": 0, "s1K-1.1": 0}  # made of s59K's questions


def test_the_questions_are_the_common_table(whole):
    assert list(whole.questions.columns) == [*sources.COLUMNS, "split"]
    assert whole.questions["question_id"].tolist() == whole.questions["question"].map(sources.hash_question).tolist()
    assert whole.questions["question_id"].is_unique
    assert set(whole.questions["split"]) == {"train"}
    required = ["question", "answer_type", "source", "domain", "cot_type", "licence", "metadata"]
    assert not whole.questions[required].isna().any().any()
    assert set(whole.questions["answer_type"]) <= {"integer", "choice", "expression", "text"}
    assert set(whole.questions["cot_type"]) <= {"math", "science", "coding", "english", "crossword"}


def test_every_row_read_is_kept_or_accounted_for(whole):
    for row in whole.sources.itertuples():
        assert row.rows_read == row.kept + row.duplicates + sum(json.loads(row.skipped).values()), row.source
    assert len(whole.questions) == whole.sources["kept"].sum()


def test_what_is_skipped_has_its_reason(whole):
    reasons = {row.source: json.loads(row.skipped) for row in whole.sources.itertuples()}
    assert {name: each for name, each in reasons.items() if each} == {
        "NuminaMATH": {"not on the authors' list": 1},
        "OlympicArena": {"not English": 14, "has a picture": 14},
        "AGIEval": {"level below 5": 2},
        "AIME (1983-2021)": {"later than 2021": 3},
        "TheoremQA": {"has a picture": 1},
        "GPQA": {"is a Diamond question": 3},
        "SciEval": {"has no answer": 1},
        "LiveCodeBench": {"isn't hard": 1},
        "s1K": {"the same in an earlier source": 16},
        "s1K-1.1": {"the same in an earlier source": 16},
    }


def test_null_solutions_stay_null_and_are_counted(whole):
    nulls = whole.questions["solution"].isna()
    counted = whole.sources.set_index("source")["null_solutions"]
    assert counted.sum() == nulls.sum() > 0
    assert counted["USACO"] == counted["LiveCodeBench"] == 16
    assert counted["OlympicArena"] == 9  # the test split; the seven of val have one each


def test_a_null_answer_is_of_type_text_and_the_other_way_round(whole):
    assert (whole.questions["answer"].isna() == (whole.questions["answer_type"] == "text")).all()


def test_the_sources_come_in_the_order_of_the_paper_whatever_order_is_asked_for(tmp_path):
    for name in ("MATH", "s1-prob", "AIME (1983-2021)"):
        hub.write_source(tmp_path, name)
    found = collect(tmp_path, ["s1-prob", "AIME (1983-2021)", "MATH"])
    assert list(dict.fromkeys(found.questions["source"])) == ["MATH", "AIME (1983-2021)", "s1-prob"]


def test_receipts_are_json_and_name_every_file_read(whole):
    assert set(whole.receipts) == {*PAPER, *PUBLISHED}
    files = json.loads(json.dumps(whole.receipts))["GPQA"]["Idavidrein/gpqa"]["files"]
    assert [each["path"] for each in files] == ["gpqa_diamond.csv", "gpqa_extended.csv"]
    assert set(whole.receipts["NuminaMATH"]) == {"AI-MO/NuminaMath-CoT", hub.NUMINA_LIST}


def test_the_hidden_tests_of_livecodebench_are_not_carried_along(whole):
    rows = whole.questions[whole.questions["source"] == "LiveCodeBench"]
    assert not rows["metadata"].str.contains("private_test_cases|eJxr").any()
    assert rows["metadata"].str.contains("public_test_cases").all()


def test_two_collections_of_one_seed_are_the_same_and_of_another_are_not(tmp_path):
    first = collect_one(tmp_path, "GPQA", 20)
    assert collect(tmp_path, ["GPQA"]).questions.equals(first.questions)
    assert not collect(tmp_path, ["GPQA"], seed=2).questions.equals(first.questions)


# ------------------------------------------------------------------ bad sources


def test_a_source_that_fails_does_not_stop_the_others_and_is_named(tmp_path):
    hub.write_source(tmp_path, "s1-prob")
    found = collect(tmp_path, ["MATH", "s1-prob", "s1K"])
    assert found.sources["kept"].tolist() == [0, 6, 0]
    with pytest.raises(
        StudyError, match=r"(?s)2 of 3 sources failed.*- MATH: The mirror .*- s1K: The mirror "
    ) as error:
        require_complete(found.sources)
    assert "s1-prob" not in str(error.value)


def test_if_all_fail_the_table_is_empty_and_has_its_columns(tmp_path):
    found = collect(tmp_path, ["MATH"])
    assert (len(found.questions), list(found.questions.columns)) == (0, [*sources.COLUMNS, "split"])
    assert found.receipts == {}


def test_an_unknown_name_is_an_error_that_names_the_sources(tmp_path):
    with pytest.raises(StudyError, match=r"No source MATHS: name some of NuminaMATH, MATH"):
        collect(tmp_path, ["MATH", "MATHS"])


def test_a_renamed_column_is_an_error_that_says_what_to_do(tmp_path):
    folder = hub.write_source(tmp_path, "MATH")
    hub.write_table(folder / "train.jsonl", [{"problem_text": "1 + 1?", "solution": "2", "level": 1}])
    error = tally(collect(tmp_path, ["MATH"]), "MATH")["error"]
    assert error.startswith(
        "MATH (simplescaling/openaimath) has no column problem or question; it has problem_text, solution, level."
    )
    assert "revisions" in error


def test_a_single_row_without_a_column_is_skipped(tmp_path):
    folder = hub.write_source(tmp_path, "MATH")
    hub.write_table(folder / "train.jsonl", [{"solution": "2"}, {"problem": "1 + 1?", "solution": "2"}])
    row = tally(collect(tmp_path, ["MATH"]), "MATH")
    assert (row["kept"], json.loads(row["skipped"])) == (1, {"lacks the column problem": 1})


def test_a_missing_split_is_an_error(tmp_path):
    folder = hub.write_source(tmp_path, "OmniMath")
    (folder / "test.jsonl").rename(folder / "train.jsonl")
    assert "no file for test; it has train.jsonl" in tally(collect(tmp_path, ["OmniMath"]), "OmniMath")["error"]


def test_an_empty_set_is_an_error(tmp_path):
    folder = hub.write_source(tmp_path, "MATH")
    (folder / "train.jsonl").write_text("")
    assert "train.jsonl has no rows" in tally(collect(tmp_path, ["MATH"]), "MATH")["error"]


def test_a_set_of_which_nothing_can_be_kept_is_an_error(tmp_path):
    folder = hub.write_source(tmp_path, "LiveCodeBench", 9)
    for name in ("test.jsonl", "test2.jsonl", "test3.jsonl"):
        hub.write_table(folder / name, [hub.code(0, "easy")])
    assert "none of its 3 rows could be kept" in tally(collect(tmp_path, ["LiveCodeBench"]), "LiveCodeBench")["error"]


def test_rows_that_can_not_be_used_are_skipped_with_a_reason(tmp_path):
    folder = hub.write_source(tmp_path, "MATH")
    good = {"problem": "1 + 1?", "solution": "2"}
    bad = [{**good, "problem": each} for each in (None, 7, ["a"], "  ", "x" * 10_000_001, "\ud800?")]
    huge = {**good, "problem": "Deep?", "extra": json.loads("[" * 900 + "]" * 900)}
    lines = [json.dumps(row) for row in [*bad, huge, good]] + ['{"problem": "\xff"']
    (folder / "train.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    row = tally(collect(tmp_path, ["MATH"]), "MATH")
    assert json.loads(row["skipped"]) == {
        "its question isn't text": 3,
        "isn't UTF-8": 2,
        "its question is empty": 1,
        "more than 10 MB of text": 1,
    }
    assert row["kept"] == 2


def test_columns_of_mixed_types_do_no_harm(tmp_path):
    folder = hub.write_source(tmp_path, "JEEBench")
    golds = ["A", 3, 2.5, None, ["A"], True, {"a": 1}, float("nan")]
    rows = [{"question": f"Q{i}?", "gold": gold, "subject": i, "type": gold} for i, gold in enumerate(golds)]
    hub.write_table(folder / "test.json", rows)
    found = collect(tmp_path, ["JEEBench"]).questions
    assert found["solution"].fillna("null").tolist() == ["A", "3", "2.5", "null", "null", "True", "null", "null"]


def test_repeats_within_a_source_are_dropped_and_counted_and_the_first_wins(tmp_path):
    folder = hub.write_source(tmp_path, "MATH")
    rows = [{"problem": f"Q{i % 2}?", "solution": f"S{i}"} for i in range(5)]
    hub.write_table(folder / "train.jsonl", rows)
    found = collect(tmp_path, ["MATH"])
    assert (tally(found, "MATH")["duplicates"], found.questions["solution"].tolist()) == (3, ["S0", "S1"])


def test_repeats_across_sources_are_dropped_and_the_first_in_the_papers_order_wins(tmp_path):
    for name, column in (("OmniMath", "problem"), ("MATH", "problem")):
        folder = hub.write_source(tmp_path, name)
        rows = [{column: f"Q{i}?", "solution": name} for i in range(3)]
        hub.write_table(folder / ("train.jsonl" if name == "MATH" else "test.jsonl"), rows)
    found = collect(tmp_path, ["OmniMath", "MATH"])
    assert found.questions["source"].tolist() == ["MATH"] * 3
    assert json.loads(tally(found, "OmniMath")["skipped"]) == {"the same in an earlier source": 3}


def test_a_pin_that_is_not_what_is_found_fails_its_source_only(tmp_path):
    hub.write_source(tmp_path, "MATH")
    hub.write_source(tmp_path, "s1-prob")
    pins = {"simplescaling/openaimath": "sha256:" + "0" * 64}
    found = collect(tmp_path, ["MATH", "s1-prob"], revisions=pins).sources
    assert found["error"].notna().tolist() == [True, False]
    assert "isn't what was pinned" in found["error"].iloc[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data(), source=st.sampled_from(SOURCES))
def test_any_values_in_any_column_give_a_question_or_a_reason(data, source):
    wanted = {**source.columns, **source.optional}
    row = {names[0]: data.draw(json_values) for names in wanted.values()} | {"extra": data.draw(json_values)}
    row[source.columns["question"][0]] = data.draw(st.text(min_size=1))
    config = source.parts[0].configs[0] if source.parts[0].configs else ""
    found = read_question(row, source, Context(source.name, config))
    if not isinstance(found, BadRow):
        question, metadata = found
        json.loads(metadata, parse_constant=lambda name: pytest.fail(f"{name} isn't JSON"))
        assert question.question.strip()
        assert (question.gold.answer is None) == (question.gold.answer_type == "text")
        assert read_options(metadata) == question.gold.options
        teachers.ask_teacher("id", metadata, seed=1, give_up=0.0, slip=0.0, check=0.0)


# ------------------------------------------------------------------ order


def shuffle_files(folder, seed):
    """The same files with their rows in another order."""
    for path in sorted(folder.rglob("*.csv")) + sorted(folder.rglob("*.json")):
        if path.suffix == ".json":
            rows = json.loads(path.read_text())
            random.Random(seed).shuffle(rows)
            path.write_text(json.dumps(rows))
        else:
            with open(path, newline="") as file:
                rows = list(csv.DictReader(file))
            random.Random(seed).shuffle(rows)
            hub.write_table(path, rows)
    for path in sorted(folder.rglob("*.jsonl")):
        lines = path.read_text().splitlines()
        random.Random(seed).shuffle(lines)
        path.write_text("\n".join(lines))


@pytest.mark.parametrize(("name", "n"), [("GPQA", 40), ("xword", 1500), ("SciEval", 600), ("JEEBench", 12)])
def test_the_order_of_rows_changes_no_question(tmp_path, name, n):
    first = collect_one(tmp_path, name, n).questions
    shuffle_files(tmp_path, 7)
    second = collect(tmp_path, [name]).questions
    assert second["question"].tolist() != first["question"].tolist()
    by = ["question_id"]
    assert second.sort_values(by, ignore_index=True).equals(first.sort_values(by, ignore_index=True))


# ------------------------------------------------------------------ samples


def test_a_thousand_crosswords_are_drawn_and_another_seed_draws_others(tmp_path):
    first = collect_one(tmp_path, "xword", 1500)
    second = collect(tmp_path, ["xword"], seed=2)
    assert tally(first, "xword")["kept"] == 1000
    assert json.loads(tally(first, "xword")["skipped"]) == {"not drawn": 500}
    shared = len(set(first.questions["question"]) & set(second.questions["question"]))
    assert 600 < shared < 730  # 1000² / 1500 = 667, of a hypergeometric with a deviation of about 9


def test_sci_eval_is_spread_over_its_topics(tmp_path):
    found = collect_one(tmp_path, "SciEval", 700).questions
    topics = Counter(json.loads(text)["id"] for text in found["metadata"])
    assert (len(found), len(topics)) == (250, 250)
    assert set(Counter(int(i) % 7 for i in topics).values()) == {35, 36}


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), count=st.integers(0, 60))
def test_a_spread_draw_takes_from_each_group_as_evenly_as_there_are(sizes, count):
    questions = [Question(f"{g}/{i}", group=str(g)) for g, size in enumerate(sizes) for i in range(size)]
    drawn = draw_spread(questions, count, seed=3, name="a")
    taken = Counter(text.split("/")[0] for text in drawn)
    assert len(drawn) == min(count, sum(sizes))
    short = [taken[str(g)] for g, size in enumerate(sizes) if taken[str(g)] < size]
    assert not short or max(taken.values(), default=0) - min(short) <= 1


# ------------------------------------------------------------------ each source


def one_row(mirror, name, **options):
    return collect_one(mirror, name, 16, **options).questions.iloc[0]


def test_gpqa_is_laid_out_as_in_the_paper(tmp_path):
    row = one_row(tmp_path, "GPQA")
    stem, head, *choices = row["question"].split("\n")
    assert (stem, head) == ("GPQA 0, after?", "Answer Choices:")
    assert [choice[:4] for choice in choices] == ["(A) ", "(B) ", "(C) ", "(D) "]
    assert sorted(choice[4:] for choice in choices) == ["right 0", "wrong one 0", "wrong three 0", "wrong two 0"]
    assert row["solution"] == f"Because of 0.\n\nAnswer: {row['answer']}"
    assert row["domain"] == "Biology"


def test_gpqa_marks_the_right_choice_and_grades_it(tmp_path):
    for row in collect_one(tmp_path, "GPQA", 60).questions.itertuples():
        assert f"\n({row.answer}) right" in row.question
        extracted = extract_answer(f"So the answer is ({row.answer}).", row.answer_type, read_options(row.metadata))
        assert grade_answer(extracted, row.answer, row.answer_type)


def test_gpqa_letters_are_even_over_seeds():
    row, source = hub.gpqa(5), BY_NAME["GPQA"]
    letters = Counter(read_question(row, source, Context("GPQA", seed=seed))[0].gold.answer for seed in range(2000))
    chi2 = sum((letters[letter] - 500) ** 2 / 500 for letter in LETTERS)
    assert chi2 < 16.3  # the 0.1 % point for 3 degrees of freedom


def test_gpqa_orders_are_even_over_questions():
    orders = Counter()
    for i in range(2400):
        question = read_question(hub.gpqa(i), BY_NAME["GPQA"], Context("GPQA", seed=1))[0].question
        orders[tuple(line.split()[-2] for line in question.splitlines()[2:])] += 1
    assert len(orders) == 24
    assert sum((n - 100) ** 2 / 100 for n in orders.values()) < 49.7  # the 0.1 % point for 23


def test_no_diamond_question_is_left_whatever_its_other_columns_say(tmp_path):
    folder = hub.write_source(tmp_path, "GPQA")
    twin = {
        **hub.gpqa("diamond 1"),
        "Question": "GPQA diamond 1, after?  ",
        "Record ID": "recX",
        "Explanation": "Other.",
    }
    hub.write_table(folder / "gpqa_extended.csv", [hub.gpqa(1), twin])
    found = collect(tmp_path, ["GPQA"]).questions
    assert len(found) == 1
    assert not found["question"].str.contains("diamond").any()


def test_gpqa_without_the_diamond_file_is_not_read_at_all(tmp_path):
    (hub.write_source(tmp_path, "GPQA") / "gpqa_diamond.csv").unlink()
    found = collect(tmp_path, ["GPQA"])
    assert len(found.questions) == 0
    assert "no file for gpqa_diamond" in tally(found, "GPQA")["error"]


def test_a_diamond_file_without_its_column_is_an_error_not_an_empty_list(tmp_path):
    folder = hub.write_source(tmp_path, "GPQA")
    hub.write_table(folder / "gpqa_diamond.csv", [{"Stem": "GPQA diamond 1, after?"}])
    assert "no text in a column Question; it has Stem" in tally(collect(tmp_path, ["GPQA"]), "GPQA")["error"]


@pytest.mark.parametrize(("until", "later"), [(2021, 3), (2022, 2), (2023, 1)])
def test_the_year_cut_of_aime_is_a_parameter(tmp_path, until, later):
    found = collect_one(tmp_path, "AIME (1983-2021)", 10, aime_until=until)
    assert json.loads(tally(found, "AIME (1983-2021)")["skipped"]) == {f"later than {until}": later}
    assert tally(found, "AIME (1983-2021)")["kept"] == 13 - later


def test_aime_answers_are_whole_numbers_and_their_solution(tmp_path):
    found = collect_one(tmp_path, "AIME (1983-2021)", 30).questions
    assert set(found["answer_type"]) == {"integer"}
    assert found["answer"].tolist() == found["solution"].tolist() == [str(i) for i in range(30)]


def test_numina_keeps_aops_and_what_the_list_names(tmp_path):
    found = collect_one(tmp_path, "NuminaMATH", 8).questions
    assert Counter(found["domain"]) == {"aops_forum": 7, "olympiads": 1}
    assert set(found.set_index("domain").loc["olympiads", ["question"]]) == {hub.numina(0, "olympiads")["problem"]}


def test_numina_answers_are_the_last_box(tmp_path):
    found = collect_one(tmp_path, "NuminaMATH", 8).questions
    assert all(f"\\boxed{{{row.answer}}}" in row.solution for row in found.itertuples())


def test_agieval_shows_passage_question_and_options(tmp_path):
    row = one_row(tmp_path, "AGIEval")
    lines = ["Passage sat_en 0.", "AGIEval sat_en 0?", "(A)00", "(B)10", "(C)20", "(D)30", "(E)40"]
    assert row["question"].split("\n") == lines
    assert (row["answer"], row["answer_type"], row["cot_type"], row["domain"]) == ("C", "choice", "english", "sat_en")
    assert read_options(row["metadata"]) == tuple("ABCDE")


def test_agieval_options_are_shown_and_lettered_even_where_their_marks_are_damaged():
    options = ["A? One.", "(B)Two.", "Three.", "D four"]
    row = {"question": "Which?", "options": options, "label": "C", "passage": ""}
    found = read_question(row, BY_NAME["AGIEval"], Context("AGIEval", "logiqa"))[0]
    assert found.question.split("\n") == ["Which?", *options]
    assert found.gold == Gold("C", "choice", tuple(LETTERS))


@pytest.mark.parametrize(
    ("options", "gold"),
    [
        (["(A)One.", "(C)Three.", "(B)Two."], Gold("B", "choice", ("A", "B", "C"))),  # as some are published
        (["(A)One.", "(A)Two."], Gold()),
        (["(B)Two.", "One."], Gold()),  # are both B?
        ([], Gold()),
    ],
)
def test_agieval_options_are_answered_by_their_marks_if_each_has_its_own(options, gold):
    row = {"question": "Which?", "options": options, "label": "B"}
    assert read_question(row, BY_NAME["AGIEval"], Context("AGIEval", "logiqa"))[0].gold == gold


def test_agieval_aqua_rat_is_the_question_alone_with_the_value_as_its_answer(tmp_path):
    found = collect_one(tmp_path, "AGIEval", 23).questions.set_index("domain")
    row = found.loc["aqua_rat"].iloc[0]
    assert row["question"].startswith("AGIEval aqua_rat ")
    assert "\n" not in row["question"]
    assert row["answer_type"] == "integer"
    assert row["answer"].startswith("2")


def test_a_published_column_called_options_is_not_taken_for_ours(tmp_path):
    found = collect_one(tmp_path, "s1K", 5).questions
    options = [read_options(metadata) for metadata in found["metadata"]]
    assert options == [(), (), tuple(LETTERS), (), ()]


def test_olympiad_bench_takes_the_first_solution_and_leaves_the_context_out(tmp_path):
    row = one_row(tmp_path, "OlympiadBench")
    assert row["solution"] == "The first solution of 0."
    assert "context" not in row["question"]
    assert json.loads(row["metadata"])["context"] == "Some context."
    assert (row["answer"], row["answer_type"]) == ("0", "integer")


def test_theorem_proofs_have_no_short_answer(tmp_path):
    found = collect_one(tmp_path, "OlympiadBench", 8).questions
    proofs = found[found["question"].str.contains("TP_TO")]
    assert (len(proofs), set(proofs["answer_type"])) == (4, {"text"})


def test_theorem_qa_answers_have_the_type_that_the_set_says(tmp_path):
    found = collect_one(tmp_path, "TheoremQA", 5).questions
    pairs = list(zip(found["answer"], found["answer_type"], strict=True))
    assert pairs == [
        ("12", "integer"),
        ("0.25", "expression"),
        ("True", "choice"),
        ("b", "choice"),
        ("[1, 2]", "expression"),
    ]


def test_jee_answers_have_the_type_that_the_set_says(tmp_path):
    found = collect_one(tmp_path, "JEEBench", 4).questions
    triples = [(row.answer, row.answer_type, bool(read_options(row.metadata))) for row in found.itertuples()]
    assert triples == [
        ("C", "choice", True),
        ("ABD", "choice", False),
        ("7", "integer", False),
        ("1.25", "expression", False),
    ]


def test_sci_eval_loses_its_prompt(tmp_path):
    row = one_row(tmp_path, "SciEval")
    assert row["question"] == "SciEval 0: which of these?\n\nA. one\nB. two"
    assert (row["answer"], row["answer_type"]) == ("A", "choice")


def test_sci_eval_asks_for_what_is_optimal():
    row = {"question": "A + B gives C\nOptimal solvent:", "answer": ["DMF"], "type": "filling"}
    found = read_question(row, BY_NAME["SciEval"], Context("SciEval"))[0]
    assert found.question == "A + B gives C\nWhat is the optimal solvent?"


def test_a_crossword_is_its_instruction_and_its_clue(tmp_path):
    row = one_row(tmp_path, "xword")
    assert row["question"].endswith("number of letters.\n\nClue 0 (5)")
    assert (row["solution"], row["answer_type"], row["cot_type"]) == ("APPLE", "text", "crossword")


def test_olympic_arena_is_coding_for_computer_science_only(tmp_path):
    found = (
        collect_one(tmp_path, "OlympicArena", 14).questions.drop_duplicates("domain").set_index("domain")["cot_type"]
    )
    assert found.to_dict() == {
        "Math": "math",
        **dict.fromkeys(["Physics", "Chemistry", "Biology", "Geography", "Astronomy"], "science"),
        "CS": "coding",
    }


# ------------------------------------------------------------------ the published sets


def test_published_traces_reach_the_teachers_stage(tmp_path):
    for name, teacher in (("s1K", "Gemini 2.0 Flash Thinking (s1K)"), ("s1K-1.1", "DeepSeek-R1 (s1K-1.1)")):
        row = one_row(tmp_path, name)
        found = teachers.ask_teacher(row["question_id"], row["metadata"], seed=1)
        says = "DeepSeek" if name == "s1K-1.1" else "Thinking"
        assert found[0] == teacher
        assert found[1].thinking.startswith(f"{says} 0.")


def test_published_grades_are_kept_for_calibrating_judges(tmp_path):
    fields = json.loads(one_row(tmp_path, "s1K-1.1")["metadata"])
    assert (fields["gemini_grade"], fields["deepseek_grade"]) == ("No", "Yes")


def test_published_rows_carry_the_papers_name_of_their_source(tmp_path):
    found = collect_one(tmp_path, "s1K", 5).questions
    assert found["source"].tolist() == ["NuminaMATH", "AIME (1983-2021)", "GPQA", "AGIEval", "USACO"]
    assert found["domain"].tolist() == ["aops_forum", "AIME (1983-2021)", "GPQA", "logiqa", "USACO"]
    assert found["answer"].fillna("none").tolist() == ["\\frac{1}{2}", "128", "C", "B", "none"]
    assert found["answer_type"].tolist() == ["expression", "integer", "choice", "choice", "text"]
    assert json.loads(found["metadata"][0])["published"]["level"] == 5


# ------------------------------------------------------------------ answers and metadata


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        (r"so $\boxed{5}$", "5"),
        (r"\boxed{1} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxed{x \\}", r"x \\"),
        (r"\fbox{12}", "12"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{5", None),
        (r"\boxed{}", None),
        ("no box", None),
    ],
)
def test_the_last_box_is_read_by_its_braces(text, boxed):
    assert find_boxed(text) == boxed


@given(before=st.text(), inside=st.recursive(st.text("ab12+", max_size=5), lambda s: st.builds("{{{}}}".format, s)))
def test_what_was_put_into_a_box_comes_out(before, inside):
    assert find_boxed(f"{before}\n\\boxed{{{inside}}} done {{") == (inside.strip() or None)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("42", Gold("42", "integer")),
        ("$-7$", Gold("-7", "integer")),
        ("1,234", Gold("1,234", "integer")),
        ("1,23", Gold("1,23", "expression")),
        ("$1$, $2$", Gold("$1$, $2$", "expression")),
        ("x" * 201, Gold()),
        (" ", Gold()),
        (None, Gold()),
    ],
)
def test_an_answer_is_named_by_its_look(answer, gold):
    assert name_gold(answer) == gold


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("Because.\n\nAnswer: D", Gold("D", "choice", tuple("ABCD"))),
        ("E", Gold("E", "choice")),
        ("A boat.", Gold()),
        ("The answer is 5.", Gold()),
        ("073", Gold("073", "integer")),
        (None, Gold()),
    ],
)
def test_a_solution_gives_an_answer_only_where_it_is_plain(solution, gold):
    assert find_gold(solution) == gold


def test_numbers_become_text_as_they_are_read():
    values = [7, 7.0, 2.5, True, float("nan"), float("inf"), None, " ", [], 10**200]
    assert list(map(write_text, values)) == ["7", "7", "2.5", "True", None, "inf", None, None, None, None]


@given(value=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.booleans())))
def test_a_published_repr_is_read_back(value):
    assert parse_repr(repr(value)) == {"published": value}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch owned')",
        "{'a': datetime.datetime(2024, 1, 1)}",
        "(" * 50_000,
        "-" * 50_000 + "1",
        "{'a': '\\d'",
        "{1: 2}, 3",
        "{'a': " + "9" * 5000 + "}",
        "{'a': 1}" + " " * 100_000,
        "{[]: 1}",
        "\x00",
    ],
)
def test_a_repr_that_is_no_plain_dict_is_kept_as_it_is(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_repr(text) == {"published_text": text}
    assert not list(tmp_path.iterdir())


def test_metadata_is_json_whatever_the_columns_hold():
    leftover = {
        "picture": b"\x89PNG",
        "nan": float("nan"),
        "options": ["(A)1"],
        "tries": 1,
        "set": {1},
        "thinking": "x",
    }
    fields = json.loads(write_metadata(leftover, Question("q")), parse_constant=pytest.fail)
    assert fields == {
        "picture": "4 bytes",
        "nan": None,
        "published_options": ["(A)1"],
        "published_tries": 1,
        "set": "{1}",
        "published_thinking": "x",
    }


# ------------------------------------------------------------------ real rows, and many


SAME_SCHEMA = {"sat-en": "sat_en", "sat-math": "sat_math", "lsat-ar": "lsat_ar", "lsat-lr": "lsat_lr"}
SAME_SCHEMA |= {"lsat-rc": "lsat_rc", "logiqa-en": "logiqa", "aqua-rat": "aqua_rat", "math": "math_agieval"}


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="real questions are beside a checkout of the study only")
def test_real_agieval_rows_are_read(tmp_path):
    for name, config in SAME_SCHEMA.items():
        content = (SHARED / "data" / f"agieval_{name}.jsonl").read_bytes()
        for split, some in (("test", content), ("few_shot", content.split(b"\n")[0])):
            path = tmp_path / "baber/agieval" / config / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(some)
    found = collect(tmp_path, ["AGIEval"])
    row = tally(found, "AGIEval")
    assert row["rows_read"] == 3340 + 8
    assert json.loads(row["skipped"]) == {"level below 5": 744}
    counts = Counter(found.questions["domain"])
    assert counts["math_agieval"] == 256
    assert counts["sat_en"] == 205  # one of the 206 is published twice
    shown = found.questions[~found.questions["domain"].isin(["aqua_rat", "math_agieval"])]
    assert set(shown["answer_type"]) == {"choice"}
    lines = (SHARED / "data" / "agieval_logiqa-en.jsonl").read_text("utf-8").splitlines()
    published = [json.loads(line) for line in lines]
    ends = {"\n".join([row["question"], *row["options"]]) for row in published}
    logiqa = shown[shown["domain"] == "logiqa"]
    assert all(any(text.endswith(end) for end in ends) for text in logiqa["question"])


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="real questions are beside a checkout of the study only")
def test_real_olympiad_bench_and_math_rows_are_read(tmp_path):
    rows = (SHARED / "data" / "olympiadbench.jsonl").read_bytes()
    for name in ("OE_TO_maths_en_COMP", "OE_TO_physics_en_COMP", "TP_TO_maths_en_COMP", "TP_TO_physics_en_COMP"):
        path = tmp_path / "Hothan/OlympiadBench/OlympiadBench" / name / f"{name}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(rows if name.startswith("OE_TO_maths") else rows.split(b"\n")[0])
    path = tmp_path / "simplescaling/openaimath/train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes((SHARED / "data" / "math500.jsonl").read_bytes())
    found = collect(tmp_path, ["OlympiadBench", "MATH"])
    require_complete(found.sources)
    assert tally(found, "MATH")["kept"] == 500
    assert Counter(found.questions["answer_type"]).keys() == {"integer", "expression", "text"}
    maths = found.questions[found.questions["source"] == "MATH"]
    published = [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]
    assert maths["answer"].tolist() == published
    boxed = [
        find_boxed(solution) == answer for solution, answer in zip(maths["solution"], maths["answer"], strict=True)
    ]
    assert sum(boxed) >= 490


@pytest.mark.slow
def test_the_papers_59029_rows_are_read_in_little_memory(tmp_path):
    for name in PAPER:
        n = {"xword": 1500, "SciEval": 600}.get(name, BY_NAME[name].expected)
        hub.write_source(tmp_path, name, n)
    tracemalloc.start()
    found = collect(tmp_path, PAPER)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    require_complete(found.sources)
    assert found.sources["difference"].abs().max() <= 23  # SciEval: 250 drawn, 227 after the paper's decontamination
    assert peak < 2**30
