"""Labels by every way, the classifier's honesty (no leaks, no order, no threads), and tables that are damaged."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys

import claude_server
import hub_fixtures
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.collection import Judge
from s1_utils.domain_classifier import (
    FEATURES,
    LONGEST,
    hold_out,
    measure_classifier,
    name_class,
    prepare_labels,
    read_tokens,
    train_classifier,
)
from s1_utils.domains import label_domains, read_published_labels
from s1_utils.errors import StudyError
from s1_utils.judge import make_label_asks, read_classes
from s1_utils.sources import hash_question

WORDS = {
    "Number theory": "prime divisor modulo congruence residue coprime factorization totient",
    "Geometry": "triangle circle tangent chord perpendicular angle inscribed altitude",
    "Probability theory and stochastic processes": "dice probability random expected variance coin urn drawn",
    "Computer science": "algorithm graph array complexity string recursion stack queue",
}
COMMON = "find the value of a such that one has and is given by with what determine".split()
CODES = {title: code for code, title in read_classes().items()}


def make_labelled(n=160, seed=0):
    """`n` questions of the four classes in turn, each of four words of its class among common ones."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        domain = list(WORDS)[i % len(WORDS)]
        words = rng.sample(WORDS[domain].split(), 4) + rng.sample(COMMON, 8)
        rng.shuffle(words)
        rows.append({"question": " ".join(words).capitalize() + "?", "domain": domain})
    return pd.DataFrame(rows)


def shuffle_labels(labelled, seed=0):
    return labelled.assign(domain=labelled["domain"].sample(frac=1, random_state=seed).to_numpy())


def make_questions(*texts, **columns):
    return pd.DataFrame({"question_id": [hash_question(text) for text in texts], "question": texts, **columns})


LABELLED = make_labelled()
NEW = ["Which prime is the least divisor?", "The chord of a circle is perpendicular to the tangent.", "A random coin."]
NEW_DOMAINS = ["Number theory", "Geometry", "Probability theory and stochastic processes"]


# ------------------------------------------------------------------ labels and classes


@pytest.mark.parametrize("label", ["11", 11, 11.0, "11-XX", " 11 ", "Number theory", "NUMBER  theory\n"])
def test_a_class_is_known_by_its_code_or_title(label):
    assert name_class(label) == "Number theory"


def test_a_code_of_one_digit_has_lost_its_zero():
    assert name_class(5) == name_class("5") == "Combinatorics"


def test_every_title_and_code_names_its_class():
    assert [name_class(code) for code in CODES.values()] == [name_class(title) for title in CODES] == list(CODES)


@pytest.mark.parametrize("label", ["00", "1", "", "Alchemy", "111", "-11", None, True, ["11"], "9" * 5000, "١١"])
def test_other_labels_name_none(label):
    assert name_class(label) is None


def test_codes_and_titles_train_the_same_classifier():
    coded = LABELLED.assign(domain=LABELLED["domain"].map(CODES))
    pd.testing.assert_frame_equal(prepare_labels(coded), prepare_labels(LABELLED))


def test_an_unknown_label_is_refused_by_name_with_what_to_do():
    bad = LABELLED.assign(domain=LABELLED["domain"].replace({"Geometry": "Alchemy"}))
    with pytest.raises(StudyError, match=r"1 labels .*'Alchemy'.*msc_top_level\.csv"):
        train_classifier(bad, seed=0)


@pytest.mark.parametrize("row", [("Q?", None), (None, "11"), ("  ", "11"), (7, "11"), ("Q?", float("nan"))])
def test_rows_without_a_question_or_a_label_are_left_out(row):
    more = pd.concat([LABELLED, pd.DataFrame([row], columns=["question", "domain"])])
    pd.testing.assert_frame_equal(prepare_labels(more), prepare_labels(LABELLED), check_dtype=False)


def test_repeated_rows_count_once_and_questions_labelled_in_two_ways_not_at_all():
    once = prepare_labels(LABELLED)
    twice = prepare_labels(pd.concat([LABELLED, LABELLED.head(10), LABELLED.head(1).assign(domain="Geometry")]))
    assert len(twice) == len(once) - 1
    assert hash_question(LABELLED["question"][0]) not in set(twice["question_id"])


# ------------------------------------------------------------------ the classifier


def test_new_questions_get_the_class_of_their_words_with_a_margin():
    said = train_classifier(LABELLED, seed=0).predict(NEW)
    assert said["domain"].tolist() == NEW_DOMAINS
    assert (said["margin"] > 0).all()


def test_two_classes_are_enough():
    two = LABELLED[LABELLED["domain"].isin(NEW_DOMAINS[:2])]
    said = train_classifier(two, seed=0).predict(NEW[:2])
    assert said["domain"].tolist() == NEW_DOMAINS[:2]
    assert (said["margin"] > 0).all()


def test_a_class_with_one_example_is_learnt_too():
    lone = pd.DataFrame({"question": ["Zebra quagga okapi zebra."], "domain": ["92"]})
    rows = pd.concat([LABELLED, lone, lone.assign(question="Zebra quagga okapi!")])
    assert train_classifier(rows, seed=0).predict(["quagga okapi"])["domain"][0] == name_class(92)


def test_a_question_without_a_known_word_has_no_domain():
    said = train_classifier(LABELLED, seed=0).predict(["Zzyzx 17", "", "123"])
    assert said["domain"].isna().all()
    assert (said["margin"] == 0).all()


def test_no_questions_have_no_predictions():
    said = train_classifier(LABELLED, seed=0).predict([])
    assert list(said) == ["domain", "margin"]
    assert said.empty


@pytest.mark.parametrize("domains", [["11"] * 160, ["11"] * 159 + [None], [None] * 160])
def test_fewer_than_two_classes_are_refused_with_what_to_do(domains):
    with pytest.raises(StudyError, match="let the judge label"):
        train_classifier(LABELLED.assign(domain=domains), seed=0)


def test_questions_that_share_no_word_are_refused():
    rows = pd.DataFrame({"question": ["abc", "def"], "domain": ["11", "51"]})
    with pytest.raises(StudyError, match="Can't learn from 2 labelled questions"):
        train_classifier(rows, seed=0)


def read_model(labelled, seed=3):
    found = train_classifier(labelled, seed=seed)
    return list(found.vectorizer.get_feature_names_out()), found.model.coef_.tobytes(), found.model.intercept_.tobytes()


def test_training_twice_gives_the_same_weights_to_the_bit():
    assert read_model(LABELLED) == read_model(LABELLED)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_rows_changes_no_bit(seed):
    assert read_model(LABELLED.sample(frac=1, random_state=seed)) == read_model(LABELLED)


def test_threads_change_no_bit():
    code = (
        "import hashlib, test_domains as t; from threadpoolctl import threadpool_info as info;"
        "made = repr(t.read_model(t.shuffle_labels(t.LABELLED)));"
        "print(max(each['num_threads'] for each in info()), hashlib.sha256(made.encode()).hexdigest())"
    )
    found = {}
    for threads in ("1", "2"):
        limits = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], threads)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **limits, "PYTHONPATH": os.path.dirname(__file__), "PYTHONHASHSEED": threads},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        used, found[threads] = done.stdout.split()
        assert used == threads
    assert found["1"] == found["2"]


def test_labelled_questions_may_hold_lone_surrogates():
    odd = LABELLED.assign(question=pd.Series([f"\ud800 {q}" for q in LABELLED["question"]], dtype="object"))
    assert train_classifier(odd, seed=0).predict(NEW)["domain"].tolist() == NEW_DOMAINS
    assert measure_classifier(odd, seed=0).accuracy > 0.8


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=60), max_size=5))
def test_any_text_is_classified_or_null(texts):
    said = CLASSIFIER.predict(texts)["domain"]
    assert len(said) == len(texts)
    assert set(said.dropna()) <= set(WORDS)


CLASSIFIER = train_classifier(LABELLED, seed=0)


def test_what_is_read_of_a_question_is_bounded():
    assert read_tokens("x" * LONGEST + " triangle") == "x" * LONGEST
    assert len(read_tokens("+" * 10**6)) < 2 * LONGEST
    assert CLASSIFIER.vectorizer.max_features == FEATURES


def test_numbers_are_not_read_but_signs_and_commands_are():
    assert read_tokens("Let $\\frac{12}{3} = X_1$.") == "let $ \\ frac { } { } = x $ ."


# ------------------------------------------------------------------ its accuracy


def test_held_out_accuracy_is_far_above_the_baseline_on_clear_questions():
    found = measure_classifier(LABELLED, seed=0)
    assert found.accuracy > 0.9
    assert found.low > found.baseline + 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_accuracy_is_chance_on_shuffled_labels(seed):
    found = measure_classifier(shuffle_labels(make_labelled(800), seed), seed=seed)
    assert found.low < 0.25 < found.high + 0.1
    assert abs(found.accuracy - found.baseline) < 0.15


def test_measuring_again_or_in_another_order_gives_the_same():
    one, other = (measure_classifier(rows, seed=5) for rows in (LABELLED, LABELLED.sample(frac=1, random_state=9)))
    assert (one.accuracy, one.low, one.high, one.baseline) == (other.accuracy, other.low, other.high, other.baseline)
    pd.testing.assert_frame_equal(one.classes, other.classes)


def test_the_parts_and_classes_add_up():
    found = measure_classifier(LABELLED, seed=0)
    assert found.n_train + found.n_held_out == len(prepare_labels(LABELLED))
    assert found.classes["held_out"].sum() == found.n_held_out
    assert found.classes["accuracy"] @ found.classes["held_out"] == pytest.approx(found.accuracy * found.n_held_out)


def test_the_held_out_part_is_a_tenth_to_a_fifth_and_depends_on_the_seed():
    questions = make_labelled(2000)["question"]
    one, other = hold_out(questions, seed=0), hold_out(questions, seed=1)
    assert 0.1 < one.mean() < 0.2
    assert not one.equals(other)


def test_whether_a_question_is_held_out_depends_on_no_other():
    questions = LABELLED["question"]
    assert hold_out(questions, seed=0)[:50].equals(hold_out(questions[:50], seed=0))


@pytest.mark.parametrize(
    "change", [str.upper, lambda q: q + " 17", lambda q: "  " + q.replace(" ", "\n"), lambda q: q.replace(" ", " 3 ")]
)
def test_the_same_question_in_another_case_spacing_or_with_other_numbers_is_never_in_the_other_part(change):
    questions = LABELLED["question"]
    assert hold_out(questions.map(change), seed=0).equals(hold_out(questions, seed=0))


def test_repeats_with_labels_of_chance_raise_no_accuracy():
    rows = shuffle_labels(make_labelled(400))
    copies = [rows.assign(question=rows["question"] + f" {i}") for i in range(5)]  # told apart by a number alone
    found = measure_classifier(pd.concat(copies), seed=0)
    assert found.n_train + found.n_held_out == 2000
    assert found.accuracy < 0.45


def test_a_class_that_is_not_trained_on_counts_as_wrong():
    held = LABELLED[hold_out(LABELLED["question"], seed=0)].index[0]
    found = measure_classifier(LABELLED.assign(domain=LABELLED["domain"].where(LABELLED.index != held, "92")), seed=0)
    row = found.classes.set_index("domain").loc[name_class(92)]
    assert (row["trained"], row["held_out"], row["accuracy"]) == (0, 1, 0)


def test_the_baseline_says_the_commonest_class_of_training():
    held = hold_out(LABELLED["question"], seed=0)
    rare = LABELLED["domain"] == "Computer science"
    rows = LABELLED.assign(domain=(held ^ rare).map({True: "11", False: "51"}))
    found = measure_classifier(rows, seed=0)
    assert found.baseline == pytest.approx(rare[held].mean())
    assert found.baseline < 0.5


def test_too_few_labels_to_hold_any_out_are_refused():
    two = pd.DataFrame({"question": ["A prime triangle", "A prime circle"], "domain": ["11", "51"]})
    seed = next(s for s in range(100) if not hold_out(two["question"], seed=s).any())
    with pytest.raises(StudyError, match=r"held out to measure with\. Give more"):
        measure_classifier(two, seed=seed)


# ------------------------------------------------------------------ ways to a label


def test_every_way_gives_one_row_a_question_in_their_order(tmp_path):
    questions = make_questions(*NEW, "Zzyzx?", domain=["a", "b", None, "a"])
    path = tmp_path / "labels.jsonl"
    hub_fixtures.write_table(path, [{"question": NEW[1], "domain": "51"}])
    for how in ("source", "classifier", str(path)):
        table = label_domains(questions, how, labelled=LABELLED)
        assert list(table) == ["question_id", "domain", "labelled_by", "note"]
        assert table["question_id"].tolist() == questions["question_id"].tolist()
        assert ((table["note"] == "") == table["domain"].notna()).all()


def test_the_source_names_its_own_domains():
    table = label_domains(make_questions(*NEW, domain=["knights", None, "seating"]), "source")
    assert table["domain"].tolist() == ["knights", pd.NA, "seating"]
    assert set(table["labelled_by"]) == {"source"}
    assert table["note"][1] == "its source names none"


def test_the_classifier_labels_new_questions_and_published_labels_stay():
    wrong = LABELLED.assign(domain=LABELLED["domain"].where(LABELLED.index != 0, "92"))
    table = label_domains(make_questions(*NEW, LABELLED["question"][0], "Zzyzx?"), "classifier", labelled=wrong)
    assert table["domain"].tolist()[:4] == [*NEW_DOMAINS, name_class(92)]
    assert table["domain"].isna().tolist() == [False] * 4 + [True]
    assert table["labelled_by"].tolist() == ["classifier"] * 3 + ["file", "classifier"]
    assert table["note"][4].startswith("no word")


def test_labels_depend_on_no_order():
    questions = make_questions(*NEW, *LABELLED["question"][:9])
    mixed = questions.sample(frac=1, random_state=4)
    one = label_domains(questions, "classifier", labelled=LABELLED)
    other = label_domains(mixed, "classifier", labelled=LABELLED.sample(frac=1, random_state=5))
    pd.testing.assert_frame_equal(one, other.set_index("question_id").loc[one["question_id"]].reset_index())


def test_no_questions_have_no_labels():
    assert label_domains(make_questions(domain=[]), "source").empty
    assert label_domains(make_questions(), "classifier", labelled=LABELLED).empty


def test_a_classifier_without_labels_says_what_to_give():
    with pytest.raises(StudyError, match=r"set labels to a file or a hub's data set .* or let the judge label"):
        label_domains(make_questions(*NEW), "classifier")


@pytest.mark.parametrize("how", ["", "claude", "labels.txt", "Source"])
def test_an_unknown_way_is_refused_with_those_there_are(how):
    with pytest.raises(StudyError, match="source, judge, classifier, or the path of a"):
        label_domains(make_questions(*NEW), how)


def test_a_repeated_question_is_refused():
    with pytest.raises(StudyError, match="twice"):
        label_domains(make_questions(NEW[0], NEW[0]), "classifier", labelled=LABELLED)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "json"])
@pytest.mark.parametrize("key", ["question_id", "question"])
def test_a_file_labels_by_id_or_by_question(tmp_path, suffix, key):
    questions = make_questions(*NEW)
    rows = questions[[key]].assign(domain=["11", "geometry", "my own  class"]).to_dict("records")
    hub_fixtures.write_table(tmp_path / f"labels.{suffix}", rows)
    table = label_domains(questions, str(tmp_path / f"labels.{suffix}"))
    assert table["domain"].tolist() == ["Number theory", "Geometry", "my own class"]
    assert set(table["labelled_by"]) == {"file"}


def test_what_a_file_does_not_label_once_is_null_with_its_reason(tmp_path):
    path = tmp_path / "labels.csv"
    hub_fixtures.write_table(
        path,
        [{"question": q, "domain": d} for q, d in [(NEW[0], "11"), (NEW[0], "51"), (NEW[1], " "), ("Another?", "51")]],
    )
    table = label_domains(make_questions(*NEW), str(path))
    assert table["domain"].isna().all()
    assert set(table["note"]) == {"not in labels.csv, or with two domains"}


def test_codes_that_a_table_holds_as_numbers_are_read(tmp_path):
    rows = [{"question": q, "domain": code} for q, code in zip(NEW, (5.0, 11.0, float("nan")), strict=True)]
    hub_fixtures.write_table(tmp_path / "a.parquet", rows)
    table = label_domains(make_questions(*NEW), str(tmp_path / "a.parquet"))
    assert table["domain"].tolist()[:2] == ["Combinatorics", "Number theory"]
    assert table["domain"].isna()[2]


def test_a_file_that_is_not_utf_8_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"question_id,question,domain\nq\xff,Q,11\nq1,Q\xff,caf\xe9\n")
    table = label_domains(pd.DataFrame({"question_id": ["q1", "q2"], "question": NEW[:2]}), str(path))
    assert table["domain"][0] == "caf?"
    assert len(read_published_labels(str(path)).rows) == 2


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.jsonl", '{"question": "Q", "domain": "11"}\n{"question', "row 2 isn't JSON: mend or delete it"),
        ("a.csv", "question,domain\nQ,11,12\n", "row 1 has more or fewer fields"),
        ("a.csv", "question,label\nQ,11\n", "lacks the column.*domain; it has question, label"),
        ("a.csv", "domain\n11\n", "lacks the column.*question"),
        ("a.csv", "question,domain\n", "lacks the column"),
        ("a.parquet", "nonsense", r"Can't read a\.parquet"),
        ("a.csv", None, r"Can't read a\.csv"),
    ],
)
def test_a_damaged_table_is_refused_with_what_to_do(tmp_path, name, text, match):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(StudyError, match=match):
        label_domains(make_questions(*NEW), str(path))
    with pytest.raises(StudyError, match=match):
        read_published_labels(str(path))


def test_a_file_of_published_labels_is_recorded_by_its_hash(tmp_path):
    wide = pd.DataFrame({f"column_{i}": 1 for i in range(50)}, index=LABELLED.index).join(LABELLED)
    hub_fixtures.write_table(tmp_path / "a.parquet", wide.to_dict("records"))
    found = read_published_labels(str(tmp_path / "a.parquet"))
    pd.testing.assert_frame_equal(found.rows, LABELLED, check_dtype=False)
    assert re.fullmatch("sha256:[0-9a-f]{64}", found.receipt["sha256"])
    assert json.loads(json.dumps(found.receipt)) == found.receipt


def test_a_data_set_of_a_mirror_is_read_whole_and_can_be_pinned(tmp_path):
    rows = LABELLED.assign(cot_type="math").to_dict("records")
    for i in range(2):
        hub_fixtures.write_table(tmp_path / f"owner/set/data/train-0000{i}-of-00002.parquet", rows[i::2])
    found = read_published_labels("owner/set", mirror=tmp_path)
    assert sorted(found.rows["question"]) == sorted(LABELLED["question"])
    assert (
        read_published_labels("owner/set", mirror=tmp_path, revision=found.receipt["sha256"]).receipt == found.receipt
    )
    with pytest.raises(StudyError, match="isn't what was pinned"):
        read_published_labels("owner/set", mirror=tmp_path, revision="sha256:" + "0" * 64)


@pytest.mark.parametrize("labels", ["labels", "a/b/c", "https://example.org/a", "../b", "a.txt"])
def test_labels_that_are_neither_file_nor_data_set_are_refused(labels):
    with pytest.raises(StudyError, match="or a hub's data set as owner/name"):
        read_published_labels(labels)


def test_there_is_no_default_for_published_labels():
    with pytest.raises(StudyError, match="isn't known for certain"):
        read_published_labels("")


# ------------------------------------------------------------------ the judge


@pytest.fixture
def claude(monkeypatch):
    with claude_server.serve_claude() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key-for-tests")
        yield server


def script(server, questions, *outcomes):
    asks = make_label_asks(questions.rename(columns={"question_id": "id"}))
    server.outcomes = {ask.user: [outcome] for ask, outcome in zip(asks, outcomes, strict=True)}


def say(code):
    return json.dumps({"reason": "so", "code": code})


def test_the_judge_labels_and_what_fails_is_null_with_its_reason(claude, tmp_path):
    questions = make_questions(*NEW, "A fourth?")
    script(claude, questions, say("11"), say("51"), "refusal", say("00"))
    table = label_domains(questions, "judge", judge=Judge("some-model", [3.0, 15.0], 5.0, tmp_path))
    assert table["domain"].tolist() == ["Number theory", "Geometry", pd.NA, pd.NA]
    assert table["note"][2].startswith("refus")
    assert table["note"][3].startswith("unparsable")
    assert set(table["labelled_by"]) == {"judge"}


def test_what_the_judge_said_is_not_paid_for_again(claude, tmp_path):
    questions, judge = make_questions(*NEW), Judge("some-model", [3.0, 15.0], 5.0, tmp_path)
    script(claude, questions, *map(say, ("11", "51", "60")))
    one = label_domains(questions, "judge", judge=judge)
    paid = claude.paid.total()
    pd.testing.assert_frame_equal(label_domains(questions, "judge", judge=judge), one)
    assert claude.paid.total() == paid == len(questions)


@pytest.mark.parametrize(
    ("model", "usd", "max_usd", "match"),
    [
        ("", [3.0, 15.0], 5.0, "set judge and judge_usd"),
        ("some-model", [0.0, 15.0], 5.0, "isn't free: set judge_usd"),
        ("some-model", [3.0, 15.0], 0.0, "Raise max_usd"),
        ("claude-3-5-sonnet-20241022", [3.0, 15.0], 5.0, "is retired: set judge to its successor"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused(claude, tmp_path, model, usd, max_usd, match):
    with pytest.raises(StudyError, match=match):
        label_domains(make_questions(*NEW), "judge", judge=Judge(model, usd, max_usd, tmp_path))
    assert not claude.paid


def test_no_judge_is_refused():
    with pytest.raises(StudyError, match="need a model"):
        label_domains(make_questions(*NEW), "judge")


# ------------------------------------------------------------------ imports


def test_importing_loads_no_scikit_learn():
    code = "import sys, s1_utils.domains; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
