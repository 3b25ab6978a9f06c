"""The page to browse questions: nothing in it but text, and which rows it keeps."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s1_utils import browse
from s1_utils.errors import StudyError

HOSTILE = "</script><script>alert(1)</script><!-- <script> <img src=x onerror=alert(2)> \u2028\u2029 {{data}} &lt; ]]>"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def make_rows(statuses, text="What is 2 + 2?"):
    rows = [(f"q{i:04}", text, text, text, 10 + i, status, text) for i, status in enumerate(statuses)]
    return pd.DataFrame(rows, columns=list(browse.COLUMNS))


def write(folder, rows, limit=5000, title="Questions"):
    """The page's text, and the data in it."""
    browse.write_page(folder / "page.html", rows, title=title, limit=limit)
    page = (folder / "page.html").read_text("utf-8")
    return page, json.loads(cut_data(page))


def cut_data(page):
    """What an HTML parser takes for the data element: up to the first end tag."""
    return re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.DOTALL)[1]


@given(VALUES)
def test_embedded_json_is_the_value_again(value):
    assert json.loads(browse.embed_json(value)) == value


@given(st.text(st.characters(categories=None), max_size=40))
def test_embedded_json_of_any_text_is_utf_8_without_markup_or_line_separators(text):
    embedded = browse.embed_json([text])
    assert not set(embedded) & set("<>&\u2028\u2029")
    embedded.encode("utf-8")


def test_a_lone_surrogate_comes_back_as_it_was():
    assert json.loads(browse.embed_json("\ud800x")) == "\ud800x"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_of_a_row_is_in_the_page_as_it_was(tmp_path, text):
    _, data = write(tmp_path, make_rows(["selected"], text))
    assert data["rows"] == [["q0000", text, text, text, 10, "selected", text]]


def test_hostile_rows_and_titles_add_no_markup_to_the_page(tmp_path):
    plain, _ = write(tmp_path, make_rows(["selected"]))
    hostile, data = write(tmp_path, make_rows(["selected"], HOSTILE), title=HOSTILE)
    assert data["rows"][0][1] == HOSTILE
    assert hostile.count("<") == plain.count("<")


def test_the_page_has_no_way_from_text_to_markup_or_code(tmp_path):
    page, _ = write(tmp_path, make_rows(["selected"]))
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|DOMParser", page)
    assert not re.findall(r"\ssrc=|\shref=|https?:|url\(|\son\w+=|\sstyle=", page)


@pytest.mark.parametrize("element", ["script", "style"])
def test_the_policy_allows_the_pages_own_script_and_style_by_their_hashes(tmp_path, element):
    page, _ = write(tmp_path, make_rows(["selected"]))
    content = re.search(f"<{element}>(.*?)</{element}>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ")
    assert f"{element}-src 'sha256-{digest}'" in policy.split("; ")


@given(st.lists(st.sampled_from(browse.STATUSES), min_size=1, max_size=40), st.integers(1, 40))
def test_a_limit_keeps_selected_rows_before_others(statuses, limit):
    chosen = browse.choose_rows(make_rows(statuses), limit)
    assert len(chosen) == min(limit, len(statuses))
    assert (chosen["status"] == "selected").sum() == min(limit, statuses.count("selected"))


@given(st.lists(st.sampled_from(browse.STATUSES), min_size=1, max_size=40), st.integers(1, 40), st.randoms())
def test_which_rows_are_kept_does_not_depend_on_their_order(statuses, limit, rng):
    rows = make_rows(statuses)
    shuffled = rows.iloc[rng.sample(range(len(rows)), len(rows))]
    assert set(browse.choose_rows(rows, limit)["question_id"]) == set(
        browse.choose_rows(shuffled, limit)["question_id"]
    )


@given(st.lists(st.sampled_from(browse.STATUSES), min_size=1, max_size=40), st.integers(1, 40))
def test_the_kept_rows_stay_in_their_order(statuses, limit):
    assert browse.choose_rows(make_rows(statuses), limit)["question_id"].is_monotonic_increasing


def test_a_sample_says_what_it_is_a_sample_of(tmp_path):
    rows = make_rows(["selected"] * 2 + ["rejected"] * 8)
    assert browse.write_page(tmp_path / "page.html", rows, title="Questions", limit=5) == 5
    _, data = write(tmp_path, rows, limit=5)
    assert data["note"].startswith("5 of 10 questions: 2 of the 2 selected, and a random sample of 3 of the others.")


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = make_rows(["selected", "not drawn", "rejected"])
    assert write(tmp_path, rows, limit=2) == write(tmp_path, rows, limit=2)


def test_a_long_text_is_cut_and_says_how_much_is_missing(tmp_path):
    _, data = write(tmp_path, make_rows(["selected"], "x" * (browse.LONGEST_TEXT + 7)))
    assert data["rows"][0][1] == "x" * browse.LONGEST_TEXT + " […7 more characters]"
    assert "cut at 20,000 characters" in data["note"]


def test_texts_are_cut_until_the_page_is_small_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(browse, "LARGEST_PAGE", 400_000)
    page, data = write(tmp_path, make_rows(["selected"] * 20, "<" * 9000))
    assert len(page.encode()) <= 400_000
    assert "cut at 625 characters" in data["note"] or "cut at 312 characters" in data["note"]


def test_rows_that_can_not_be_made_small_enough_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(browse, "LARGEST_PAGE", 100_010)
    with pytest.raises(StudyError, match="lower limit"):
        browse.write_page(tmp_path / "page.html", make_rows(["selected"]), title="Questions")


def test_optional_columns_are_shown_and_missing_values_are_null(tmp_path):
    rows = make_rows(["selected", "rejected"]).assign(thinking=["hm", None], correct=[True, None])
    rows["thinking_tokens"] = [7.0, float("nan")]
    _, data = write(tmp_path, rows)
    assert data["columns"] == [*browse.COLUMNS, "thinking", "correct"]
    assert [row[4] for row in data["rows"]] == [7.0, None]
    assert [row[-2:] for row in data["rows"]] == [["hm", True], [None, None]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="reason"), "lacks the column"),
        (lambda rows: rows.assign(status="chosen"), "Unknown status 'chosen'"),
        (lambda rows: rows.assign(question_id="q"), "has several rows"),
    ],
)
def test_rows_of_another_shape_are_refused(tmp_path, change, message):
    with pytest.raises(StudyError, match=message):
        browse.write_page(tmp_path / "page.html", change(make_rows(["selected"] * 2)), title="Questions")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ the tables of notebook 2


def list_made_up():
    rows = pd.DataFrame({"question_id": list("abcdef"), "question": "x", "source": "s", "domain": "d"})
    rows = rows.assign(attempt_correct=pd.array([True, False, None, True, True, True], dtype="boolean"))
    dropped = pd.array([None, None, "attempt can't be graded", None, None, None], dtype="string")
    candidates = pd.DataFrame({"question_id": list("abcdef"), "thinking_tokens": 9, "dropped": dropped})
    features = pd.DataFrame(
        {"question_id": list("abde"), "solved_x": [False, False, True, False], "solved_y": [False, False, True, None]}
    )
    subset = pd.DataFrame({"question_id": ["b", "a"], "step": [0, 1], "reason": ["d: rank 1 of 3", "d: rank 0 of 3"]})
    return browse.list_questions(rows, candidates, features, subset).set_index("question_id")


def test_every_question_has_one_status_and_the_reason_for_it():
    table = list_made_up()
    assert table.index.tolist() == ["b", "a", "e", "f", "c", "d"]
    assert table["status"].tolist() == ["selected", "selected", "not drawn", "not drawn", "rejected", "rejected"]
    assert table["reason"].tolist() == [
        "step 1: d: rank 1 of 3",
        "step 2: d: rank 0 of 3",
        "in the pool, not drawn",
        "not in the pool",
        "attempt can't be graded",
        "solved by x, y",
    ]


def test_the_list_of_questions_is_what_a_page_takes(tmp_path):
    assert browse.write_page(tmp_path / "page.html", list_made_up().reset_index(), title="x") == 6
