"""The explorer's data: every trace as it was stored, every event where it happened, and bounds that hold."""

from __future__ import annotations

import base64
import gzip
import html
import json
import random
import re
import threading
from collections import Counter

import page_runs
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s1_utils import explorer, explorer_rows, explorer_texts, page_math, page_traces
from s1_utils.errors import StudyError

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u2028 \u202e\x00 {{data}} &lt; ]]> 😀"
ANY_TEXT = st.text(st.characters(categories=None), max_size=60)  # lone surrogates included
TINY = st.text("ab\n😀", max_size=12)


def grade_rows(rows):
    return page_traces.join_verdicts(pd.DataFrame(rows), page_runs.grade(rows))


def unpack(found):
    """(index, details) as the page's script reads them."""
    data = json.loads(found.data)
    return data, [json.loads(gzip.decompress(base64.b64decode(pack))) for pack in data["packs"]]


def cut_units(text, start, end):
    """What JavaScript's text.slice(start, end) gives."""
    units = text.encode("utf-16-le", "surrogatepass")[2 * start : 2 * end]
    return units.decode("utf-16-le", "surrogatepass")


def restore(detail, point):
    return cut_units(detail["texts"][point[0]], 0, point[1]) + point[2]


# ------------------------------------------------------------------ texts


@given(st.lists(TINY, max_size=8))
def test_every_text_is_the_beginning_of_a_kept_one_and_a_short_tail(texts):
    bases, parts = explorer_texts.share_prefixes(texts)
    assert [bases[base][:cut] + tail for base, cut, tail in parts] == texts
    assert all(len(tail) <= explorer_texts.LONGEST_TAIL for _, _, tail in parts)
    assert set(bases) <= set(texts)


@given(TINY, st.lists(st.integers(0, 12), min_size=1))
def test_prefixes_of_one_text_are_kept_once(text, cuts):
    bases, _ = explorer_texts.share_prefixes([text, *(text[:cut] for cut in cuts)])
    assert bases == [text]


@given(TINY, TINY)
def test_the_shared_beginning_is_the_longest(text, other):
    n = explorer_texts.measure_shared(text, other)
    assert text[:n] == other[:n]
    assert n == min(len(text), len(other)) or text[n] != other[n]


@given(ANY_TEXT, st.data())
def test_positions_in_units_cut_where_positions_in_characters_do(text, data):
    positions = data.draw(st.lists(st.integers(0, len(text))))
    for position, unit in zip(positions, explorer_texts.find_units(text, positions), strict=True):
        assert (
            text[:position].encode("utf-16-le", "surrogatepass")
            == text.encode("utf-16-le", "surrogatepass")[: 2 * unit]
        )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.text("ab ,.\n😀é漢ش", max_size=40), data=st.data())
def test_token_positions_are_found_in_the_text_even_inside_a_letter(tokenizer, text, data):
    ids = tokenizer.encode(text)
    whole = tokenizer.decode(ids)
    wanted = data.draw(st.lists(st.integers(0, len(ids)), max_size=4))
    found = explorer_texts.locate_tokens(ids, whole, wanted, lambda part: tokenizer.decode(list(part)))
    for token in wanted:
        part = tokenizer.decode(ids[:token])
        assert (
            whole[: found[token]] == part.rstrip("\ufffd") if part.endswith("\ufffd") else part == whole[: found[token]]
        )


def test_ids_that_decode_to_another_text_have_no_positions():
    assert explorer_texts.locate_tokens([0, 1], " so thee", [1], page_runs.decode) is None


def test_a_tokenizer_whose_parts_lose_their_space_is_asked_for_wholes():
    def decode(ids):
        return page_runs.decode(ids).removeprefix(" ")

    ids = [0, 1, 2, 3]
    found = explorer_texts.locate_tokens(ids, decode(ids), [2], decode)
    assert found[2] == len(decode(ids[:2]))


@pytest.mark.parametrize("decode", [page_runs.decode, None], ids=["tokenizer", "texts alone"])
def test_every_suppressed_end_stands_where_it_happened_and_marks_its_wait(decode):
    _, rows = page_runs.make_questions(3)
    for name in {row["question_id"] for row in rows}:
        own = [row for row in rows if row["question_id"] == name]
        _, traces = explorer_texts.mark_traces(own, decode)
        assert any(event.kind == "suppressed_end" for trace in traces for event in trace.events)
        for row, trace in zip(own, traces, strict=True):
            for event in trace.events:
                assert event.at == len(page_runs.decode(row["thinking_ids"][: event.token]))
                if event.kind == "suppressed_end":
                    assert row["thinking"][event.at : event.at + event.forced] == page_runs.WAIT
            assert [(event.kind, event.token) for event in trace.events] == [
                tuple(e) for e in json.loads(row["events"])
            ]


def test_where_nothing_tells_the_place_it_is_unknown_rather_than_guessed():
    row = {
        "setting": "x",
        "thinking": "abc",
        "thinking_tokens": 3,
        "events": '[["suppressed_end", 1]]',
        "wait_text": None,
    }
    _, [trace] = explorer_texts.mark_traces([row])
    assert trace.events == (explorer_texts.Event("suppressed_end", 1, None),)


@pytest.mark.parametrize("events", ["{", "[1]", '[["natural_end"]]', '[["natural_end", "x"]]', "[" * 100_000])
def test_events_of_another_shape_are_refused_in_words(events):
    with pytest.raises(StudyError, match="rerun the stage"):
        explorer_texts.mark_traces([{"setting": "x", "thinking": "a", "thinking_tokens": 1, "events": events}])


def test_a_trace_longer_than_the_bound_is_cut_and_says_by_how_much(monkeypatch):
    monkeypatch.setattr(explorer_texts, "LONGEST_TEXT", 10)
    row = {"setting": "x", "thinking": "a" * 25, "thinking_tokens": 25, "events": '[["forced_end", 25]]'}
    bases, [trace] = explorer_texts.mark_traces([row])
    assert bases == ["a" * 10]
    assert (trace.missing, trace.events[0].at) == (15, 10)


# ------------------------------------------------------------------ data


@pytest.mark.parametrize("decode", [page_runs.decode, None], ids=["tokenizer", "texts alone"])
def test_every_stored_trace_comes_out_of_the_page_as_it_was(decode):
    tests, rows = page_runs.make_questions(5)
    samples = page_runs.make_samples(rows)
    found = explorer.make_explorer(tests, grade_rows(rows), grade_rows(samples), decode=decode, limit=1_000_000)
    data, details = unpack(found)
    stored = {(row["question_id"], row["control"], row["setting"]): row for row in rows}
    stored |= {(row["question_id"], explorer_rows.SAMPLED, str(row["sample"])): row for row in samples}
    seen = 0
    for entry, detail in zip(data["questions"], details, strict=True):
        for one, points in zip(data["series"], detail["points"], strict=True):
            for (setting, _), point in zip(one["settings"], points, strict=True):
                row = stored[entry[2], one["control"], setting]
                assert restore(detail, point) == row["thinking"]
                assert point[3:4] + point[5:8] == [
                    row["thinking_tokens"],
                    row["finish"],
                    row["answer"],
                    row["answer"][-1],
                ]
                seen += 1
    assert seen == len(stored)
    assert found.note == "All 5 questions."


@settings(max_examples=60)
@given(ANY_TEXT, ANY_TEXT, st.integers(0, 60))
def test_any_text_at_all_survives_and_adds_no_markup(text, answer, cut):
    tests, rows = page_runs.make_questions(1)
    rows = [{**row, "thinking": text, "answer": answer, "thinking_ids": None} for row in rows[:2]]
    rows[1]["thinking"] = text[:cut]
    rows[0]["thinking_tokens"] = len(text)
    graded = pd.DataFrame(rows).assign(extracted=text, correct=False)
    found = explorer.make_explorer(tests.assign(question=text, answer=text), graded, limit=1_000_000)
    _, [detail] = unpack(found)
    points = [point for points in detail["points"] for point in points]
    assert [restore(detail, point) for point in points] == [text, text[:cut]]
    assert [point[6] for point in points] == [answer, answer]
    assert (detail["question"], detail["gold"]) == (text, text)
    assert not set(found.data) & set("<>&\u2028\u2029")
    found.data.encode("utf-8")


def test_the_sign_of_a_verdict_says_what_a_grade_says():
    def judge(**row):
        return explorer_rows.judge({"extracted": "x", "correct": True, **row})

    assert [judge(), judge(correct=False), judge(correct=None), judge(correct=pd.NA)] == ["1", "0", "?", "?"]
    assert [judge(extracted=None, correct=value) for value in (False, None)] == ["-", "-"]
    assert judge(correct=False, undecided=True) == "?"


@given(
    st.lists(st.tuples(st.sampled_from(["1", "2", None]), st.sampled_from(["natural:9:0", "budget:8:8"])), min_size=1)
)
def test_votes_are_counted_as_a_counter_counts_them(answers):
    rows = [
        {"setting": setting, "budget": 9, "waits": 0, "extracted": answer, "correct": answer == "1"}
        for answer, setting in answers
    ]
    counts = explorer_rows.count_votes(rows)
    oracle = Counter((setting.startswith("natural"), answer) for answer, setting in answers)
    found = {(name == "natural end", answer): n for name, _, votes in counts for answer, n, _ in votes}
    assert found == dict(oracle)
    for _, total, votes in counts:
        assert total == sum(n for _, n, _ in votes)
        assert [n for _, n, _ in votes] == sorted((n for _, n, _ in votes), reverse=True)
        assert all(verdict == {"1": "1", "2": "0", None: "-"}[answer] for answer, _, verdict in votes)


def test_a_slider_goes_from_the_least_to_the_most_and_says_what_differs():
    _, rows = page_runs.make_questions(1)
    series = explorer_rows.list_series(grade_rows(rows[::-1]), None)
    assert [[label for _, label in one["settings"]] for one in series] == [
        ["8 tokens", "16 tokens", "32 tokens"],
        ["8 tokens", "16 tokens", "32 tokens"],
        ["natural end", "“Wait” ×1", "“Wait” ×2"],
    ]


# ------------------------------------------------------------------ bounds


def make_long(count, length):
    """Questions whose traces don't compress."""
    rng = random.Random(1)
    tests, rows = page_runs.make_questions(count)
    texts = {name: "".join(chr(rng.randrange(33, 20_000)) for _ in range(length)) for name in tests["question_id"]}
    return tests, [{**row, "thinking": texts[row["question_id"]], "thinking_ids": None} for row in rows]


@pytest.mark.parametrize("limit", [8_000, 40_000, 90_000])
def test_the_data_never_exceed_their_limit_and_say_how_many_questions_they_hold(limit):
    tests, rows = make_long(12, 3_000)
    found = explorer.make_explorer(tests, grade_rows(rows), limit=limit)
    assert len(html.escape(found.data).encode()) <= limit
    assert 0 <= found.shown < found.total == 12
    assert found.note.startswith(f"{found.shown} of 12 questions: as many as fit")
    assert len(json.loads(found.data)["questions"]) == found.shown
    if limit == 90_000:
        assert found.shown >= 5  # some 9,000 bytes a question


def test_which_questions_are_kept_depends_neither_on_their_order_nor_on_their_verdicts():
    tests, rows = make_long(12, 3_000)
    graded = grade_rows(rows)
    kept = [
        {entry[2] for entry in json.loads(explorer.make_explorer(tests_, graded_, limit=50_000).data)["questions"]}
        for tests_, graded_ in ((tests, graded), (tests[::-1], graded[::-1]), (tests, graded.assign(correct=False)))
    ]
    assert kept[0] == kept[1] == kept[2]
    assert 2 <= len(kept[0]) < 12


def test_the_same_tables_give_the_same_bytes():
    tests, rows = page_runs.make_questions(3)
    first, second = (explorer.make_explorer(tests, grade_rows(rows), limit=1_000_000).data for _ in range(2))
    assert first == second


def test_a_question_asked_twice_is_shown_once_and_one_without_traces_is_not_shown():
    tests, rows = page_runs.make_questions(2)
    more = pd.concat([tests, tests, page_runs.make_tests(["nobody asked"])])
    assert explorer.make_explorer(more, grade_rows(rows), limit=1_000_000).total == 2


def test_traces_of_other_questions_and_tables_without_grades_are_refused():
    tests, rows = page_runs.make_questions(2)
    with pytest.raises(StudyError, match="No trace belongs"):
        explorer.make_explorer(page_runs.make_tests(["other"]), grade_rows(rows), limit=1_000_000)
    with pytest.raises(StudyError, match="lacks the column"):
        explorer.make_explorer(tests, pd.DataFrame(rows), limit=1_000_000)


# ------------------------------------------------------------------ notebooks


@pytest.mark.parametrize("limit", [60_000, 200_000])
def test_the_frame_of_a_notebook_is_bounded_and_can_reach_nothing(limit):
    tests, rows = make_long(12, 3_000)
    shown = explorer.show(tests, grade_rows(rows), limit=limit)._repr_html_()
    assert len(shown.encode()) <= limit
    start = re.match(r"<iframe [^>]*>", shown)[0]
    assert 'sandbox="allow-scripts"' in start
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert "default-src 'none'" in inner


def test_who_may_not_see_the_frame_is_told_why_in_words():
    tests, rows = page_runs.make_questions(1)
    shown = explorer.show(tests.assign(question=HOSTILE), grade_rows(rows))
    words = shown._repr_html_().split(">", 1)[1]
    assert "Trust Notebook" in words
    assert words.count("<") == 1  # the end of the frame
    assert repr(shown) == "Trace explorer: All 1 questions."


def test_the_tokenizer_of_a_notebook_is_used(tokenizer):
    rng = random.Random(0)
    texts = [" ".join(rng.choices(page_runs.WORDS, k=9)) + ".\n" for _ in range(3)]
    read = lambda ids: tokenizer.decode(list(ids))  # noqa: E731
    rows = page_runs.make_points("q", [tokenizer.encode(t) for t in texts], tokenizer.encode(page_runs.WAIT), read)
    found = explorer.show(page_runs.make_tests(["q"]), grade_rows(rows), tokenizer=tokenizer).explorer
    _, [detail] = unpack(found)
    marks = [(p, e) for points in detail["points"] for p in points for e in p[4] if e[0] == 0]
    assert marks
    for point, (_, token, at, forced) in marks:
        assert cut_units(detail["texts"][point[0]], at, at + forced) == page_runs.WAIT
        assert cut_units(detail["texts"][point[0]], 0, at) == read(rows[-1]["thinking_ids"][:token])


# ------------------------------------------------------------------ mathematics


def list_nodes(tree):
    yield tree
    for child in tree[2:]:
        if isinstance(child, list):
            yield from list_nodes(child)


def read_text(tree):
    return "".join(child if isinstance(child, str) else read_text(child) for child in tree[2:])


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"so $x^2$ and \(y\), \[ z \] or $$\frac{1}{2}$$", [r"$x^2$", r"\(y\)", r"\[ z \]", r"$$\frac{1}{2}$$"]),
        ("it costs $5 and then $6 more", []),
        (r"one \( that never ends, and $ one too", []),
        ("$" + "x" * 500 + "$", []),
    ],
)
def test_formulas_are_found_by_their_delimiters(text, formulas):
    assert list(page_math.find_formulas([text])) == formulas


def test_a_formula_becomes_a_tree_of_its_elements():
    tree = page_math.convert_formula(r"$\frac{1}{\sqrt{x}} < 2$")
    assert [node[0] for node in list_nodes(tree)][:3] == ["math", "mrow", "mfrac"]
    assert "msqrt" in {node[0] for node in list_nodes(tree)}
    assert read_text(tree) == "1x<2"


COMMANDS = st.sampled_from(
    r"\frac{ \sqrt{ } x _ ^ & \\ \left( \right) \text{ \boxed{ \begin{matrix} \end{matrix} \color{red} < > "
    r"\alpha \sum 1 { \href{javascript:alert(1)}{x} \class{a}{b} \newcommand{\a}{\a\a} \a \style{color:red}{x} "
    r"\lt 漢 \hspace{9em}".split()
)


@settings(max_examples=300)
@given(st.lists(COMMANDS, max_size=12))
def test_whatever_is_written_only_allowed_elements_and_attributes_come_out(parts):
    tree = page_math.convert_formula(f"${' '.join(parts)}$")
    for name, attributes, *_ in list_nodes(tree) if tree else ():
        assert name in page_math.ELEMENTS
        assert attributes == {"class": "boxed"} or set(attributes) <= page_math.ATTRIBUTES
        assert not any(re.search(r"script|url|:", value) for value in attributes.values())


@pytest.mark.parametrize(
    "latex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\newcommand{\a}{b}\a",
        r"\def\a{b}",
        r"\class{a}{b}",
        "{" * 13 + "}" * 13,
        "x" * 401,
        " ",
    ],
)
def test_what_links_defines_or_is_too_deep_or_long_stays_latex(latex):
    assert page_math.convert_formula(f"${latex}$") is None


def test_a_formula_that_takes_too_long_stays_latex(monkeypatch):
    import latex2mathml.converter

    def convert(*_, **__):
        while True:
            pass

    monkeypatch.setattr(latex2mathml.converter, "convert_to_element", convert)
    assert page_math.convert_formula("$x$") is None  # it ends at all


def test_outside_a_main_thread_where_nothing_bounds_the_time_formulas_stay_latex():
    found = []
    thread = threading.Thread(target=lambda: found.append(page_math.convert_formula("$x$")))
    thread.start()
    thread.join()
    assert found == [None]
    assert page_math.convert_formula("$x$") is not None


def test_formulas_of_a_question_and_of_a_page_are_bounded(monkeypatch):
    monkeypatch.setattr(page_math, "LARGEST_TREES", 900)
    texts = [" ".join(f"$x_{{{i}}}$" for i in range(300))]
    trees = page_math.Mathematics().convert_all(texts)
    assert 1 <= len(trees) < 10
    assert len(json.dumps(list(trees.items()))) <= 900 + 4
    monkeypatch.setattr(page_math, "PAGE_FORMULAS", 2)
    mathematics = page_math.Mathematics()
    assert [mathematics.convert(f"$x_{i}$") is not None for i in (1, 2, 3, 1)] == [True, True, False, True]


def test_a_formula_of_a_trace_is_in_its_pack_by_its_source():
    tests, rows = page_runs.make_questions(1)
    rows = [{**row, "answer": r"\boxed{x} so $x^2$"} for row in rows]
    _, [detail] = unpack(explorer.make_explorer(tests, grade_rows(rows), limit=1_000_000))
    assert list(detail["math"]) == ["$x^2$"]
