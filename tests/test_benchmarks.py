"""Benchmarks read from mirrors in the published files, columns and counts, and all that may be wrong with them."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from types import SimpleNamespace

import hub_fixtures as hub
import pandas as pd
import pytest
import test_hub_files
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import sources
from s1_utils.benchmark_table import BENCHMARKS, read_aime
from s1_utils.benchmarks import collect_benchmarks, find_seen, list_benchmarks, load_benchmark, take_tests
from s1_utils.errors import StudyError
from s1_utils.grading import grade_answer
from s1_utils.paper.rows import Context
from s1_utils.puzzles import read_options
from s1_utils.store import hash_file

NAMES = list(BENCHMARKS)
ZEROS = "sha256:" + "0" * 64


def make_rows(name):
    _, _, count, make = hub.BENCHMARKS[name]
    return make(count)


def load(mirror, name, rows=None, **options):
    hub.write_benchmark(mirror, name, rows)
    return load_benchmark(name, mirror=mirror, **{"seed": 1, **options})


@pytest.fixture(scope="module")
def diamond(tmp_path_factory):
    return load(tmp_path_factory.mktemp("mirror"), "gpqa_diamond").questions


@pytest.fixture(scope="module")
def puzzles():
    return sources.collect_questions(["puzzles"], questions_per_family=10, dev=4, test=8, seed=1)


# ------------------------------------------------------------------ what is published


def test_the_hub_ids_files_and_counts_are_those_of_the_original_tasks():
    assert {name: (each.source.hub_id, each.source.expected) for name, each in BENCHMARKS.items()} == {
        "aime24": ("simplescaling/aime24_nofigures", 30),
        "aime24_figures": ("simplescaling/aime24_figures", 30),
        "aime25": ("TIGER-Lab/AIME25", 30),
        "aime25_figures": ("simplescaling/aime25_figures", 30),
        "math500": ("simplescaling/openaimath", 500),
        "gpqa_diamond": ("Idavidrein/gpqa", 198),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_is_read_whole_from_the_published_schema_as_common_rows(tmp_path, name):
    loaded = load(tmp_path, name)
    questions = loaded.questions
    assert list(questions.columns) == [*sources.COLUMNS, "split"]
    assert len(questions) == BENCHMARKS[name].source.expected
    assert questions["question_id"].is_unique
    assert questions["question_id"].tolist() == questions["question"].map(sources.hash_question).tolist()
    assert set(questions["split"]) == {"test"}
    assert set(questions["source"]) == {name}
    assert loaded.unanswerable == []
    assert not questions.drop(columns="solution").isna().any().any()
    assert [file["path"] for file in loaded.receipt["files"]] == [hub.BENCHMARKS[name][1]]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gpqa_diamond"])
def test_the_prompt_is_the_published_question_to_the_byte(tmp_path, name):
    texts = [row.get("problem", row.get("question")) for row in make_rows(name)]
    assert load(tmp_path, name).questions["question"].tolist() == texts


def test_the_training_files_beside_a_benchmark_are_not_read(tmp_path):
    hub.write_source(tmp_path, "MATH")
    hub.write_source(tmp_path, "GPQA")
    for name in ("math500", "gpqa_diamond"):
        assert not load(tmp_path, name).questions["question"].str.contains("Openai|GPQA [0-9]|main").any()


def test_list_benchmarks_names_all_that_can_be_loaded():
    table = list_benchmarks()
    assert table.index.tolist() == ["held-out", *NAMES, "<path>"]
    assert table.index[table["gated"].fillna(False)].tolist() == ["gpqa_diamond"]
    assert table["questions"].sum() == 4 * 30 + 500 + 198


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(StudyError, match=r"No benchmark 'aime2024': name one of held-out, aime24, .*gpqa_diamond"):
        load_benchmark("aime2024", seed=1, mirror=tmp_path)


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("published", "answer"),
    [
        ("204", "204"),
        ("025", "25"),
        ("000", "0"),
        (7, "7"),
        (25.0, "25"),
        ("$73$", "73"),
        (r"336^\circ", "336"),
        (r"$336^{\circ}$", "336"),
        ("336°", "336"),
        (" 60 ", "60"),
    ],
)
def test_an_aime_answer_is_a_whole_number_however_it_is_published(published, answer):
    gold = read_aime({"question": "?", "answer": published}, Context("aime25")).gold
    assert (gold.answer, gold.answer_type) == (answer, "integer")


@given(st.integers(0, 999), st.integers(1, 3))
def test_leading_zeros_never_change_an_aime_answer(number, width):
    gold = read_aime({"question": "?", "answer": f"{number:0{width}}"}, Context("aime24")).gold
    assert int(gold.answer) == number
    assert gold.answer == str(number)


@pytest.mark.parametrize("published", [r"\frac{1}{2}", "1000", "-3", "7.5"])
def test_an_aime_answer_of_another_form_is_kept_as_it_is(published):
    assert read_aime({"question": "?", "answer": published}, Context("aime24")).gold.answer == published


def test_answers_of_math500_are_numbers_or_expressions(tmp_path):
    rows = make_rows("math500")
    rows[0]["answer"], rows[1]["answer"] = "11", r"\text{Evelyn}"
    questions = load(tmp_path, "math500", rows).questions
    assert questions["answer"].tolist() == [row["answer"] for row in rows]
    assert questions["answer_type"].tolist() == ["integer", *["expression"] * 499]
    assert questions["domain"].unique().tolist() == ["Algebra"]


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_question_without_gold_stays_is_named_and_is_never_wrong(tmp_path, nothing):
    rows = make_rows("aime24")
    rows[3]["answer"] = nothing
    loaded = load(tmp_path, "aime24", rows)
    assert len(loaded.questions) == 30
    row = loaded.questions.iloc[3]
    assert loaded.unanswerable == [row["question_id"]]
    assert pd.isna(row["answer"])
    assert row["answer_type"] == "text"
    assert [grade_answer(said, row["answer"], row["answer_type"]) for said in ("3", None)] == [None, None]


# ------------------------------------------------------------------ the choices of GPQA


def test_the_prompt_of_gpqa_is_the_originals_with_the_choices_in_the_recorded_order(diamond):
    for row, published in zip(diamond.itertuples(), make_rows("gpqa_diamond"), strict=True):
        fields = json.loads(row.metadata)
        texts = [published["Correct Answer"], *(published[f"Incorrect Answer {i}"] for i in (1, 2, 3))]
        a, b, c, d = (texts[i] for i in fields["order"])
        assert row.question == f"{published['Question']}\n\nA) {a}\nB) {b}\nC) {c}\nD) {d}"
        assert row.answer_type == "choice"
        assert "ABCD"[fields["order"].index(0)] == row.answer
        assert fields["stem_id"] == sources.hash_question(published["Question"])
        assert read_options(row.metadata) == ("A", "B", "C", "D")


def test_the_right_choice_is_on_every_letter_about_as_often(diamond):
    counts = Counter(diamond["answer"])
    assert set(counts) == set("ABCD")
    assert all(25 <= count <= 75 for count in counts.values())  # 49.5 ± 4 standard deviations


def test_the_order_of_choices_depends_on_the_question_and_not_on_where_it_is(diamond, tmp_path):
    rows = make_rows("gpqa_diamond")
    random.Random(0).shuffle(rows)
    moved = load(tmp_path, "gpqa_diamond", rows).questions
    assert set(moved["question_id"]) == set(diamond["question_id"])


def test_another_seed_gives_other_orders_and_the_same_stems(diamond, tmp_path):
    other = load(tmp_path, "gpqa_diamond", seed=2).questions
    stems = [[json.loads(text)["stem_id"] for text in table["metadata"]] for table in (diamond, other)]
    same = (diamond["question"] == other["question"]).mean()
    assert stems[0] == stems[1]
    assert same < 0.15  # 1 in 24 by chance


def test_a_seed_leaves_sets_without_choices_alone(tmp_path):
    one, two = (load(tmp_path, "math500", seed=seed).questions for seed in (1, 2))
    pd.testing.assert_frame_equal(one, two)


# ------------------------------------------------------------------ counts


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: rows[:15], "15 were found in TIGER-Lab/AIME25, revision mirror: 15 rows read, 0 repeated"),
        (lambda rows: [*rows, {**rows[0], "question": "One more?"}], "31 were found .*: 31 rows read, 0 repeated"),
        (lambda rows: [*rows[:29], rows[0]], "29 were found .*: 30 rows read, 1 repeated"),
        (lambda rows: [*rows[:29], {**rows[29], "question": " "}], r"29 .*, 1 skipped \(its question is empty\)"),
        (lambda rows: [*rows[:29], {**rows[29], "question": ["?"]}], r"29 .*, 1 skipped \(its question isn't text\)"),
        (lambda rows: [*rows[:29], {"question": "?"}], r"29 .*, 1 skipped \(lacks the column answer\)"),
    ],
)
def test_another_count_than_the_papers_is_refused_with_what_was_found(tmp_path, change, found):
    with pytest.raises(StudyError, match=f"aime25 has 30 questions, but {found}.*Pin a revision"):
        load(tmp_path, "aime25", change(make_rows("aime25")), record=tmp_path / "record")
    assert not (tmp_path / "record").exists()  # what was refused isn't recorded as what is right


def test_a_gpqa_row_without_a_choice_is_not_asked_with_three(tmp_path):
    rows = make_rows("gpqa_diamond")
    rows[0]["Incorrect Answer 3"] = ""
    with pytest.raises(StudyError, match=r"198 questions, but 197 were found.*1 skipped \(lacks a choice\)"):
        load(tmp_path, "gpqa_diamond", rows)


def test_a_renamed_column_is_named_with_what_there_is(tmp_path):
    rows = [{"prompt": row["problem"], "answer": row["answer"]} for row in make_rows("aime24")]
    with pytest.raises(StudyError, match=r"has no column problem or question; it has prompt, answer"):
        load(tmp_path, "aime24", rows)


# ------------------------------------------------------------------ files that changed


@pytest.mark.parametrize("name", ["aime24", "gpqa_diamond"])
def test_a_file_that_changed_is_refused_with_both_hashes(tmp_path, name):
    record, rows = tmp_path / "record", make_rows(name)
    loaded = load(tmp_path, name, record=record)
    recorded = (record / f"{name}.json").read_bytes()
    assert json.loads(recorded) == loaded.receipt
    pd.testing.assert_frame_equal(load(tmp_path, name, record=record).questions, loaded.questions)
    file = tmp_path / hub.BENCHMARKS[name][0] / hub.BENCHMARKS[name][1]
    old = hash_file(file)
    new = hash_file(hub.write_benchmark(tmp_path, name, rows[::-1]))  # the same questions, and the right count
    with pytest.raises(StudyError, match=f"{file.name} has sha256 {new}, recorded is {old}.*delete .*{name}.json"):
        load_benchmark(name, seed=1, mirror=tmp_path, record=record)
    assert (record / f"{name}.json").read_bytes() == recorded
    assert len(load_benchmark(name, seed=1, mirror=tmp_path).questions) == len(rows)  # without a record nobody knows


def test_a_file_that_changed_is_refused_for_its_hash_even_if_it_cannot_be_read_any_more(tmp_path):
    load(tmp_path, "aime24", record=tmp_path / "record")
    with pytest.raises(StudyError, match=r"has sha256 .*, recorded is "):
        load(tmp_path, "aime24", [{"x": 1}], record=tmp_path / "record")


def test_a_file_of_another_name_is_not_the_recorded_one(tmp_path):
    load(tmp_path, "aime24", record=tmp_path / "record")
    folder = tmp_path / "simplescaling/aime24_nofigures"
    (folder / "aime24_nofigures.jsonl").rename(folder / "renamed.jsonl")
    with pytest.raises(StudyError, match=r"aime24_nofigures.jsonl has sha256 \(no such file\).*renamed.jsonl has "):
        load_benchmark("aime24", seed=1, mirror=tmp_path, record=tmp_path / "record")


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"files": 1, "revision": ""}', '{"files": [{}]}'])
def test_a_damaged_record_is_an_error_and_not_a_licence(tmp_path, damage):
    load(tmp_path, "aime24", record=tmp_path / "record")
    (tmp_path / "record" / "aime24.json").write_text(damage)
    with pytest.raises(StudyError, match=r"aime24\.json is damaged: delete it"):
        load_benchmark("aime24", seed=1, mirror=tmp_path, record=tmp_path / "record")


def test_a_pinned_hash_holds_without_a_record(tmp_path):
    loaded = load(tmp_path, "aime24")
    pin = {"simplescaling/aime24_nofigures": loaded.receipt["sha256"]}
    pd.testing.assert_frame_equal(load(tmp_path, "aime24", revisions=pin).questions, loaded.questions)
    with pytest.raises(StudyError, match=f"{loaded.receipt['sha256']}, pinned is {ZEROS}"):
        load(tmp_path, "aime24", revisions={"simplescaling/aime24_nofigures": ZEROS})


# ------------------------------------------------------------------ sets that can't be had


def test_a_gated_set_that_is_not_in_the_mirror_says_how_to_get_it(tmp_path):
    with pytest.raises(StudyError, match=r"gated.*https://huggingface.co/datasets/Idavidrein/gpqa.*HF_TOKEN.*put its"):
        load_benchmark("gpqa_diamond", seed=1, mirror=tmp_path)


def test_a_hub_that_is_down_says_how_to_use_a_mirror(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(StudyError, match=r"Can't get Idavidrein/gpqa from the hub .*set the mirror.* is gated"):
            load_benchmark("gpqa_diamond", seed=1)
        with pytest.raises(StudyError, match=r"Can't get simplescaling/openaimath .*set the mirror") as caught:
            load_benchmark("math500", seed=1)
    assert "openaimath is gated" not in str(caught.value)


# ------------------------------------------------------------------ a hub


def start_hub(folder, name, monkeypatch, cache):
    """A hub that publishes the benchmark `name` of the mirror `folder`."""
    hub.write_benchmark(folder, name)
    hub_id = hub.BENCHMARKS[name][0]
    monkeypatch.setattr(test_hub_files, "HUB_ID", hub_id)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    return test_hub_files.serve(folder / hub_id)


def test_a_benchmark_from_the_hub_is_that_of_the_mirror_and_its_commit_is_recorded(tmp_path, monkeypatch):
    record = tmp_path / "record"
    with start_hub(tmp_path / "mirror", "gpqa_diamond", monkeypatch, tmp_path / "cache") as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        hub.write_source(tmp_path / "mirror", "GPQA")  # the whole data set, in which gpqa_diamond is one of three
        hub.write_benchmark(tmp_path / "mirror", "gpqa_diamond")
        first, again = (load_benchmark("gpqa_diamond", seed=1, record=record) for _ in range(2))
        asked = {path for path, _ in server.asked if "resolve" in path}
    here = load_benchmark("gpqa_diamond", seed=1, mirror=tmp_path / "mirror")
    pd.testing.assert_frame_equal(first.questions, here.questions)
    pd.testing.assert_frame_equal(first.questions, again.questions)
    assert first.receipt == {**here.receipt, "revision": test_hub_files.COMMIT}
    assert json.loads((record / "gpqa_diamond.json").read_text()) == first.receipt
    assert all(path.endswith("gpqa_diamond.csv") for path in asked)


def test_a_file_that_changed_on_the_hub_is_refused_with_both_hashes_and_the_recorded_commit(tmp_path, monkeypatch):
    old_commit, new_commit = test_hub_files.COMMIT, "f" * 40
    with start_hub(tmp_path / "mirror", "aime25", monkeypatch, tmp_path / "cache") as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        old = load_benchmark("aime25", seed=1, record=tmp_path / "record").receipt["files"][0]["sha256"]
        new = hash_file(hub.write_benchmark(tmp_path / "mirror", "aime25", make_rows("aime25")[::-1]))
        monkeypatch.setattr(test_hub_files, "COMMIT", new_commit)
        server.commit = new_commit
        with pytest.raises(StudyError, match=f"revision {old_commit}.* has sha256 {new}, recorded is {old}"):
            load_benchmark("aime25", seed=1, record=tmp_path / "record")


def test_the_same_files_in_a_later_commit_are_accepted_and_the_first_stays_recorded(tmp_path, monkeypatch):
    first_commit, later_commit = test_hub_files.COMMIT, "f" * 40
    with start_hub(tmp_path / "mirror", "aime25", monkeypatch, tmp_path / "cache") as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        load_benchmark("aime25", seed=1, record=tmp_path / "record")
        monkeypatch.setattr(test_hub_files, "COMMIT", later_commit)
        server.commit = later_commit
        assert load_benchmark("aime25", seed=1, record=tmp_path / "record").receipt["revision"] == later_commit
    assert json.loads((tmp_path / "record" / "aime25.json").read_text())["revision"] == first_commit


def test_a_hub_that_moves_on_between_checking_and_reading_is_an_error(tmp_path, monkeypatch):
    with start_hub(tmp_path / "mirror", "aime25", monkeypatch, tmp_path / "cache") as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        describe, commits = server.describe, iter([test_hub_files.COMMIT, "f" * 40])
        server.describe = lambda names: {**describe(names), "sha": next(commits)}
        with pytest.raises(StudyError, match=f"is pinned to {test_hub_files.COMMIT}, but the hub answers with ffff"):
            load_benchmark("aime25", seed=1)


@pytest.mark.parametrize("status", [401, 403])
def test_a_hub_that_keeps_the_gate_shut_says_how_to_open_it(tmp_path, monkeypatch, status):
    with start_hub(tmp_path / "mirror", "gpqa_diamond", monkeypatch, tmp_path / "cache") as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        server.status = status
        with pytest.raises(
            StudyError, match=r"Can't get Idavidrein/gpqa .*is gated.*accept its terms and set HF_TOKEN"
        ):
            load_benchmark("gpqa_diamond", seed=1)


# ------------------------------------------------------------------ held-out questions and one's own


@pytest.mark.parametrize(("split", "count"), [("test", 8), ("dev", 4)])
def test_held_out_questions_are_those_of_the_split(puzzles, split, count):
    questions = load_benchmark("held-out", seed=1, collected=puzzles, split=split).questions
    wanted = puzzles[puzzles["split"] == split].reset_index(drop=True)
    assert len(questions) == count
    pd.testing.assert_frame_equal(questions, wanted)


def test_held_out_needs_a_pool_with_such_questions(puzzles):
    with pytest.raises(StudyError, match="needs the questions of notebook 1"):
        load_benchmark("held-out", seed=1)
    with pytest.raises(StudyError, match="No collected question is of split 'test'"):
        load_benchmark("held-out", seed=1, collected=puzzles[puzzles["split"] == "train"])
    with pytest.raises(StudyError, match="the collected questions lacks the column"):
        load_benchmark("held-out", seed=1, collected=puzzles[["question"]])


OWN = [
    ("Whole?", "42", "integer"),
    ("Half?", r"\frac{1}{2}", "expression"),
    ("Decimal?", "2.5", "expression"),
    ("Which?", "B", "choice"),
    ("Where?", "New York", "choice"),
    ("Why?", "because " * 50, "text"),
    ("Nobody knows?", None, "text"),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_ones_own_file_is_read_with_types_by_the_look_of_its_answers(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    rows = [{"question": question, "answer": answer} for question, answer, _ in OWN]
    hub.write_table(path, [*rows, rows[0]])
    loaded = load_benchmark(str(path), seed=1, record=tmp_path / "record")
    assert loaded.questions["question"].tolist() == [question for question, _, _ in OWN]
    assert loaded.questions["answer_type"].tolist() == [kind for _, _, kind in OWN]
    assert loaded.unanswerable == [sources.hash_question("Nobody knows?")]
    assert set(loaded.questions["split"]) == {"test"}
    assert set(loaded.questions["source"]) == {"mine"}
    assert loaded.receipt["files"][0]["sha256"] == hash_file(path)


def test_ones_own_file_that_changed_is_refused_with_both_hashes(tmp_path):
    path = tmp_path / "mine.jsonl"
    hub.write_table(path, [{"question": "One?", "answer": "1"}])
    old = hash_file(path)
    load_benchmark(str(path), seed=1, record=tmp_path / "record")
    hub.write_table(path, [{"question": "One?", "answer": "2"}])
    with pytest.raises(StudyError, match=f"{hash_file(path)}, recorded is {old}"):
        load_benchmark(str(path), seed=1, record=tmp_path / "record")


# ------------------------------------------------------------------ for stages


def choose(mirror, *names, **changes):
    common = {"benchmarks": list(names), "mirror": str(mirror), "revisions": [], "seed": 1, "profile": "laptop"}
    return SimpleNamespace(**{**common, "split": "test", "questions": 1000, **changes})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("S1_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


class FinishedStage:
    """A stage that reads what notebook 1 left: its questions, and what decontamination found."""

    def __init__(self, questions, removed=()):
        overlaps = pd.DataFrame({"question_id": pd.array(list(removed), dtype="string"), "removed": True})
        self.tables = {"questions": questions, "overlaps": overlaps}

    def read(self, stage, name):
        assert stage == "01_collect"
        return self.tables[name]


def test_what_training_is_kept_apart_from_is_one_table_without_repeats(tmp_path, runs):
    hub.write_benchmark(tmp_path, "aime24")
    hub.write_benchmark(tmp_path, "aime24_figures")
    hub.write_benchmark(tmp_path, "math500")
    found = collect_benchmarks(choose(tmp_path, "aime24", "aime24_figures", "math500"))
    assert found["question_id"].is_unique
    assert found["benchmark"].value_counts().to_dict() == {"math500": 500, "aime24": 30, "aime24_figures": 20}
    assert set(found["split"]) == {"test"}
    assert sorted(path.name for path in (runs / "laptop" / "benchmarks").iterdir()) == [
        "aime24.json", "aime24_figures.json", "math500.json",
    ]  # fmt: skip


def test_no_benchmarks_are_an_empty_table_that_can_be_joined(tmp_path, runs, puzzles):
    none = collect_benchmarks(choose(tmp_path))
    assert none.empty
    joined = pd.concat([puzzles, none], ignore_index=True)
    pd.testing.assert_frame_equal(joined[puzzles.columns], puzzles, check_dtype=False)


def test_pins_of_the_parameters_reach_their_data_set(tmp_path, runs):
    hub.write_benchmark(tmp_path, "aime24")
    with pytest.raises(StudyError, match=f"pinned is {ZEROS}"):
        collect_benchmarks(choose(tmp_path, "aime24", revisions=[f"simplescaling/aime24_nofigures@{ZEROS}"]))


def test_a_stage_asks_the_answerable_questions_of_its_benchmark_and_says_what_it_is(tmp_path, runs, puzzles):
    rows = make_rows("aime24")
    rows[3]["answer"] = None
    hub.write_benchmark(tmp_path, "aime24", rows)
    found = take_tests(FinishedStage(puzzles), choose(tmp_path, benchmark="aime24", questions=20))
    tests, (row,) = found["tests"], found["benchmark"].to_dict("records")
    assert (row["benchmark"], row["questions"], row["unanswerable"], row["asked"]) == ("aime24", 30, 1, 20)
    assert json.loads(row["unanswerable_ids"]) == [sources.hash_question(rows[3]["problem"])]
    assert row["revision"] == "mirror"
    assert tests["answer"].notna().all()
    assert tests["question_id"].is_monotonic_increasing
    more = take_tests(FinishedStage(puzzles), choose(tmp_path, benchmark="aime24", questions=25))["tests"]
    pd.testing.assert_frame_equal(more.head(20), tests)


def test_held_out_tests_are_those_that_decontamination_left(tmp_path, runs, puzzles):
    test = puzzles[puzzles["split"] == "test"].sort_values("question_id", ignore_index=True)
    gone = test["question_id"].iloc[2]
    found = take_tests(FinishedStage(puzzles, [gone]), choose(tmp_path, benchmark="held-out"))
    pd.testing.assert_frame_equal(found["tests"], test[test["question_id"] != gone].reset_index(drop=True))
    assert found["benchmark"]["seen"].tolist() == [0]


def test_a_benchmark_that_was_trained_on_is_seen(tmp_path, runs, puzzles):
    rows = make_rows("aime24")
    hub.write_benchmark(tmp_path, "aime24", rows)
    train = puzzles[puzzles["split"] == "train"].head(3).assign(
        question=[f"Find out: {row['problem']} Think." for row in rows[5:8]]
    )  # fmt: skip
    found = take_tests(FinishedStage(train.assign(question_id=list("abc"))), choose(tmp_path, benchmark="aime24"))
    expected = {sources.hash_question(row["problem"]) for row in rows[5:8]}
    assert find_seen(found["tests"], train.assign(question_id=list("abc"))) >= expected
    assert found["benchmark"]["seen"].iloc[0] >= 3


def test_a_file_without_any_answer_is_no_benchmark(tmp_path, runs, puzzles):
    path = tmp_path / "mine.jsonl"
    hub.write_table(path, [{"question": "Why?", "answer": None}])
    with pytest.raises(StudyError, match=r"No question of .* has a gold answer: fill its column answer"):
        take_tests(FinishedStage(puzzles), choose("", benchmark=str(path)))
