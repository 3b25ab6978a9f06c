"""Published samples in lm-eval's format, and CHAMP's from the real package: read, graded again, voted on."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from s1_utils import champ_replies, plots, published_samples, vote_plots
from s1_utils.errors import StudyError
from s1_utils.published_samples import (
    COLUMNS,
    compare_steps,
    compare_verdicts,
    grade_samples,
    measure_accuracy,
    measure_votes,
    price_grading,
    read_champ,
    read_sample_files,
)
from s1_utils.sources import hash_question

THOUGHT = "<|im_start|>think\nLet me see. Answer: 1\n<|im_start|>answer\n"


def write_file(folder, lines, name="samples_aime24_nofigures_2025-01-31T10-20-30.123456.jsonl"):
    """A file as the authors lay them out: setting/model/samples_task_date.jsonl."""
    path = folder / "forcing4kwait" / "ckpts__s1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def make_line(number, texts, gold, **more):
    """A line of lm-eval: as published, resps and filtered_resps hold the same texts."""
    doc = {"problem": f"Problem {number}", "solution": "…", "answer": gold}
    asked = {"gen_args_0": {"arg_0": f"<|im_start|>user\nProblem {number}", "arg_1": {"max_gen_toks": 32768}}}
    many = texts if len(texts) == 1 else [texts]
    line = {"doc_id": number, "doc": doc, "target": gold, "arguments": asked, "resps": [texts], "filtered_resps": many}
    return line | {"doc_hash": "d", "prompt_hash": "p", "target_hash": "t", **more}


def box(answer):
    return THOUGHT + rf"So it is \boxed{{{answer}}}.<|im_end|>"


def test_a_line_is_one_row_a_sample_under_the_names_of_its_folders(tmp_path):
    texts = [box(33), box(34)]
    verdicts = {"exact_match": 1, "exact_matches": [1, 0], "extracted_answers": ["33", "34"], "cov@2": 1, "maj@2": 1}
    rows = read_sample_files(write_file(tmp_path, [make_line(0, texts, "033", **verdicts)]))
    assert list(rows.columns) == list(COLUMNS)
    assert rows[["model", "setting", "task"]].drop_duplicates().to_numpy().tolist() == [
        ["ckpts__s1", "forcing4kwait", "aime24_nofigures"]
    ]
    assert rows["question_id"].tolist() == [hash_question("Problem 0")] * 2
    assert rows["sample"].tolist() == [0, 1]
    assert rows["response"].tolist() == texts
    assert rows["published"].tolist() == [True, False]
    assert rows["published_answer"].tolist() == ["33", "34"]


def test_a_verdict_of_the_first_sample_alone_is_no_verdict_of_the_others(tmp_path):
    rows = read_sample_files(write_file(tmp_path, [make_line(0, [box(1), box(2)], "1", exact_match=1)]))
    assert rows["published"].tolist() == [True, pd.NA]


def test_all_files_below_a_folder_are_read_and_a_question_asked_twice_gets_more_samples(tmp_path):
    write_file(tmp_path, [make_line(0, [box(1)], "1"), make_line(0, [box(2)], "1"), "\n"])
    write_file(tmp_path, [make_line(0, [box(3)], "1")], name="samples_openai_math_2025-01-31T10-20-30.1.jsonl")
    rows = read_sample_files(tmp_path)
    assert rows[["task", "sample"]].to_numpy().tolist() == [
        ["aime24_nofigures", 0],
        ["aime24_nofigures", 1],
        ["openai_math", 0],
    ]


def test_a_letter_is_a_choice_in_gpqa_and_an_expression_in_mathematics(tmp_path):
    gpqa = make_line(0, ["Answer: C"], "C") | {"doc": {"Question": "Which?", "Correct Answer": "it", "answer": "C"}}
    path = write_file(tmp_path, [gpqa], name="samples_gpqa_diamond_openai_2025-01-31T10-20-30.1.jsonl")
    rows = read_sample_files(path)
    assert rows[["answer_type", "options"]].to_numpy().tolist() == [["choice", ("A", "B", "C", "D")]]
    letter = read_sample_files(write_file(tmp_path, [make_line(1, [box("C")], "C")]))
    assert letter["answer_type"].tolist() == ["expression"]


def test_filtered_texts_stand_in_for_raw_ones_that_a_file_lacks(tmp_path):
    line = make_line(0, [box(1), box(2)], "1") | {"resps": []}
    assert read_sample_files(write_file(tmp_path, [line]))["response"].tolist() == [box(1), box(2)]


WRONG = {
    "torn": '{"doc": {"prob',
    "no object": "[1]\n",
    "no document": '{"resps": ["x"]}\n',
    "no question": '{"doc": {"answer": "1"}, "resps": ["x"]}\n',
    "no texts": json.dumps(make_line(0, [], "1")) + "\n",
    "log-probabilities": json.dumps(make_line(0, [[-1.5, False]], "1")) + "\n",
    "deep": '{"doc": ' + "[" * 100_000 + "\n",
    "not UTF-8": None,
}


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_is_no_sample_is_named_by_its_number(what, tmp_path):
    path = write_file(tmp_path, [make_line(0, [box(1)], "1"), WRONG[what] or "\n"])
    if WRONG[what] is None:
        path.write_bytes(path.read_bytes() + b'{"doc": {"problem": "\xff"}}\n')
    with pytest.raises(StudyError, match=r"Line [23] of .*no sample of lm-eval"):
        read_sample_files(path)


def test_a_line_without_an_end_isn_t_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(published_samples, "LONGEST_LINE", 1000)
    path = write_file(tmp_path, [make_line(0, ["x" * 5000], "1")])
    with pytest.raises(StudyError, match=r"Line 1 .*longer"):
        read_sample_files(path)


def test_too_many_samples_of_a_question_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(published_samples, "MOST_TEXTS", 2)
    with pytest.raises(StudyError, match="3 texts"):
        read_sample_files(write_file(tmp_path, [make_line(0, ["a", "b", "c"], "1")]))


def test_more_than_fits_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write_file(tmp_path, ["this is no sample"])
    monkeypatch.setattr(published_samples, "LARGEST_FILES", 10)
    with pytest.raises(StudyError, match="one by one"):
        read_sample_files(tmp_path)


def test_halves_of_characters_are_replaced_so_that_the_table_can_be_written(tmp_path):
    line = make_line(0, [box("7") + "\ud800"], "\ud801", extracted_answers=["\udfff"])
    line["doc"]["problem"] += "\ud83d"
    rows = read_sample_files(write_file(tmp_path, [line]))
    rows.to_parquet(tmp_path / "rows.parquet")
    assert rows.loc[0, ["question", "gold", "published_answer"]].str.endswith("\ufffd").all()


@pytest.mark.parametrize(("verdict", "expected"), [(1, True), (0.0, False), (True, True), ("0", pd.NA), ([1], pd.NA)])
def test_a_verdict_is_a_number_or_none(verdict, expected, tmp_path):
    rows = read_sample_files(write_file(tmp_path, [make_line(0, ["a"], "1", exact_matches=[verdict])]))
    assert rows["published"].tolist() == [expected]


@pytest.mark.parametrize("name", ["", "nothing"])
def test_a_place_without_samples_is_refused(name, tmp_path):
    with pytest.raises(StudyError, match="no samples_"):
        read_sample_files(tmp_path / name)


# ------------------------------------------------------------------ grading


@pytest.fixture
def rows(tmp_path):
    lines = [
        make_line(0, [box(33), box("033"), THOUGHT + "Answer: 34", ""], "033", exact_matches=[1, 1, 0, 0]),
        make_line(1, [box(r"\frac{1}{2}"), box("0.5"), box("2"), box("2")], "1/2", exact_matches=[1, 0, 0, 1]),
    ]
    return read_sample_files(write_file(tmp_path, lines))


def test_grading_is_ours_and_the_published_verdicts_are_only_compared(rows):
    graded = grade_samples(rows, workers=1)
    assert graded["correct"].tolist() == [True, True, False, False, True, True, False, False]
    assert graded["extracted"].isna().tolist() == [False, False, False, True] + [False] * 4
    found = compare_verdicts(graded).iloc[0]
    assert (found["samples"], found["published"], found["ours"]) == (8, 0.5, 0.5)
    assert (found["agree"], found["lost"], found["found"]) == (0.75, 1, 1)
    assert found["low"] < 0.75 < found["high"]


def test_equal_texts_vote_together_without_a_look_at_gold(rows):
    graded = grade_samples(rows, workers=1)
    other = grade_samples(rows.assign(gold="7"), workers=1)
    assert graded["vote"].tolist() == other["vote"].tolist()
    assert graded["vote"][6] == graded["vote"][7]
    assert graded["vote"].isna().sum() == 1


def test_numbers_vote_by_value_however_they_are_written(rows):
    graded = grade_samples(rows, workers=1)
    assert graded["vote"][0] == graded["vote"][1]  # 33 and 033
    assert graded["vote"][4] == graded["vote"][5]  # \\frac{1}{2} and 0.5


def test_an_answer_of_any_length_votes_in_no_time(rows):
    long = rows.head(1).assign(response=r"\boxed{" + "1" * 500_000 + "}")
    started = time.process_time()
    grade_samples(long, workers=1)
    assert time.process_time() - started < 3


def test_verdicts_without_publication_are_not_compared(rows):
    graded = grade_samples(rows.assign(published=pd.array([pd.NA] * len(rows), dtype="boolean")), workers=1)
    assert compare_verdicts(graded).empty


def test_the_original_s_grader_is_priced_on_the_same_replies(rows):
    priced = price_grading(rows, workers=1).set_index("grader")
    assert set(priced.index) == {"exact", "legacy_s1"}
    assert priced.loc["exact", "accuracy"] == 0.5
    assert priced["n"].tolist() == [8, 8]


# ------------------------------------------------------------------ tables


def make_graded(correct_QS, votes_QS):
    rows = []
    for q, (corrects, answers) in enumerate(zip(correct_QS, votes_QS, strict=True)):
        for s, (correct, vote) in enumerate(zip(corrects, answers, strict=True)):
            rows.append(
                {"model": "m", "setting": "s", "task": "t", "question_id": f"q{q}", "sample": s}
                | {"correct": correct, "vote": vote}
            )
    return pd.DataFrame(rows).astype({"correct": "boolean", "vote": "string"})


def test_votes_are_expectations_over_all_subsets():
    votes = [["a", "b", "b", None, "c"], ["x", "x", "y", "y", "z"], ["p"] * 5]
    correct = [[True, False, False, False, False], [True, True, False, False, False], [False] * 5]
    table = measure_votes(make_graded(correct, votes), ks=[1, 2, 3, 4, 5], resamples=50).set_index("k")
    for k in range(1, 6):
        passes, majorities = [], []
        for answers, corrects in zip(votes, correct, strict=True):
            right = {a for a, c in zip(answers, corrects, strict=True) if c}
            subsets = list(itertools.combinations(range(5), k))
            passes.append(np.mean([any(corrects[i] for i in subset) for subset in subsets]))
            wins = []
            for subset in subsets:
                counts = Counter(answers[i] for i in subset if answers[i] is not None)
                best = [a for a, n in counts.items() if n == max(counts.values())]
                wins.append(np.mean([a in right for a in best]) if best else 0)
            majorities.append(np.mean(wins))
        assert table.loc[k, "pass_k"] == pytest.approx(np.mean(passes))
        assert table.loc[k, "maj_k"] == pytest.approx(np.mean(majorities))
        assert table.loc[k, "pass_k_low"] <= table.loc[k, "pass_k"] <= table.loc[k, "pass_k_high"]


def test_all_powers_of_two_and_all_samples_are_measured_by_default():
    graded = make_graded([[True] * 6], [["a"] * 6])
    assert measure_votes(graded, resamples=10)["k"].tolist() == [1, 2, 4, 6]


def test_what_nobody_decided_counts_as_wrong_and_is_shown():
    graded = make_graded([[True, None]], [["a", "b"]])
    table = measure_votes(graded, resamples=10).set_index("k")
    assert table.loc[1, ["pass_k", "undecided"]].tolist() == [0.5, 0.5]
    accuracy = measure_accuracy(graded).iloc[0]
    assert (accuracy["samples"], accuracy["undecided"], accuracy["accuracy"]) == (2, 0.5, 1.0)


def test_questions_with_missing_samples_are_refused():
    with pytest.raises(StudyError, match="samples"):
        measure_votes(make_graded([[True, False], [True]], [["a", "b"], ["a"]]))


def test_more_samples_than_can_be_counted_are_refused():
    with pytest.raises(StudyError, match="keep 1000"):
        measure_votes(make_graded([[True] * 1001], [["a"] * 1001]), resamples=10)


def test_accuracy_of_nothing_decided_is_no_number():
    graded = make_graded([[None]], [["a"]]).assign(steps_right=True)
    for share in (measure_accuracy(graded)["accuracy"], compare_steps(graded)["right"]):
        assert np.isnan(share[0])


# ------------------------------------------------------------------ figures


def measure(models, samples, *, settings=("s",)):
    votes = [["a", "b", "c", "d"][:samples], ["x"] * samples]
    graded = make_graded([[True, False, False, False][:samples], [True] * samples], votes)
    tables = [graded.assign(model=model, setting=setting) for model in models for setting in settings]
    return measure_votes(pd.concat(tables, ignore_index=True), resamples=20)


def test_a_panel_has_both_curves_of_one_model_where_the_table_has_them():
    table = vote_plots.name_panels(measure(["m1", "m2", "m3", "m4"], 4))
    figure = plots.draw("votes", table)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [f"m{i}: 2 questions" for i in (1, 2, 3, 4)]
    for ax, (_, own) in zip(figure.axes, table.groupby("panel"), strict=True):
        for line, name in zip(ax.lines, ("pass_k", "maj_k"), strict=True):
            assert line.get_xydata().tolist() == pytest.approx(np.c_[own["k"], 100 * own[name]])
        assert [text.get_text() for text in ax.texts] == ["any of k", "majority"]


def test_a_panel_is_named_by_what_tells_it_apart():
    assert set(vote_plots.name_panels(measure(["m"], 2))["panel"]) == {"m"}
    assert set(vote_plots.name_panels(measure(["m"], 2, settings=("s", "t")))["panel"]) == {"m, s", "m, t"}


def test_single_samples_are_not_drawn_and_of_many_groups_the_first():
    assert vote_plots.name_panels(measure(["m"], 1)).empty
    assert vote_plots.name_panels(measure([f"m{i}" for i in range(20)], 2))["panel"].nunique() == vote_plots.MOST_PANELS


@pytest.mark.parametrize("name", ["$x$", "$\\frac{", "%s", "a\\b"])
def test_a_folder_s_name_is_no_formula(name, tmp_path):
    table = vote_plots.name_panels(measure([name], 2))
    for folder in ("one", "two"):
        plots.save(plots.draw("champ_votes", table), tmp_path / folder, "votes")
    for kind in plots.KINDS:
        assert (tmp_path / f"one/votes.{kind}").read_bytes() == (tmp_path / f"two/votes.{kind}").read_bytes()


def test_votes_of_a_committed_table_are_drawn_with_the_other_figures(tmp_path):
    vote_plots.name_panels(measure(["m"], 4)).to_csv(tmp_path / "champ_votes.csv", index=False)
    assert plots.draw_all(tmp_path, tmp_path / "drawn") == ["champ_votes"]
    assert (tmp_path / "drawn" / "champ_votes.svg").exists()


# ------------------------------------------------------------------ CHAMP


@pytest.fixture(scope="module")
def champ():
    few = read_champ()
    few = few[few["question_id"].isin(few["question_id"].drop_duplicates()[::9])]
    return grade_samples(few)


def test_champ_s_conversations_are_graded_where_a_rule_can(champ):
    assert len(champ) == 30 * 72
    is_silent = champ["extracted"].isna()
    assert champ["correct"][is_silent & (champ["finish"] == "stop")].isna().all()
    assert champ["correct"][champ["finish"] == "length"].eq(False).all()
    assert champ["correct"][champ["answer_type"] == "text"].isna().all() or champ["finish"].eq("length").any()


def test_a_conversation_whose_steps_are_right_has_the_right_answer(champ):
    steps = compare_steps(champ)
    right = steps[steps["steps_right"]]
    decided = right["read"] - right["undecided"]
    assert (right["right"] * decided).sum() >= 0.9 * decided.sum()


def test_votes_over_champ_s_prompts_rise_with_every_prompt(champ):
    pooled = champ_replies.pool_prompts(champ[champ["answer_type"] != "text"])
    table = measure_votes(pooled, resamples=20)
    assert set(table["model"]) == {"GPT-3.5", "GPT-4", "GPT-4 Turbo", "PaLM 2 Medium"}
    for _, own in table.groupby("model"):
        assert own["pass_k"].is_monotonic_increasing


# ------------------------------------------------------------------ the shell


def test_the_shell_grades_a_folder_and_writes_its_tables(tmp_path, capsys):
    lines = [make_line(0, [box(1), box(2)], "1", exact_matches=[1, 0]), make_line(1, [box(3), box(3)], "3")]
    write_file(tmp_path / "in", lines)
    assert published_samples.main([str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {"samples.parquet", "accuracy.csv", "agreement.csv", "graders.csv", "votes.csv"}
    assert names == {*tables, "votes.svg", "votes.png"}
    assert pd.read_csv(tmp_path / "out" / "accuracy.csv")["accuracy"].tolist() == [0.75]
    assert "votes" in capsys.readouterr().out


def test_votes_that_can_t_be_counted_leave_the_other_tables(tmp_path, capsys):
    write_file(tmp_path / "in", [make_line(0, [box(1), box(2)], "1"), make_line(1, [box(3)], "3")])
    assert published_samples.main([str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    assert "1 to 2 samples" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "out" / "accuracy.csv")["samples"].tolist() == [3]


def test_the_shell_tells_an_error_in_a_line(tmp_path, capsys):
    assert published_samples.main([str(tmp_path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
