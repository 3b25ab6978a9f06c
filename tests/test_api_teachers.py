"""Teachers behind APIs, asked through a real local server that fails in every way and keeps its own account."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from teacher_server import INPUT_PRICE, KEY, OUTPUT_PRICE, answer, serve, think, write_openai

from s1_utils import teachers
from s1_utils.api_teachers import (
    LONGEST_DELAY,
    TEMPLATE_TOKENS,
    ask_teachers,
    choose_delay,
    count_bytes,
    count_usd,
    estimate_usd,
    summarise_asking,
    tabulate_traces,
)
from s1_utils.api_teachers.replies import FailedTry, ReplyReader, mend_text, split_thinking
from s1_utils.api_teachers.requests import CLAUDE, DEEPSEEK_R1, GEMINI, OWN_SERVER, mask_key
from s1_utils.errors import StudyError
from s1_utils.store import Journal

KINDS = ("openai", "anthropic")
PRICES = {"usd_per_million_input": INPUT_PRICE, "usd_per_million_output": OUTPUT_PRICE}
QUICK = {"max_usd": 10.0, "seed": 1, "backoff_s": 0.01, "timeout_s": 5.0, "silence_s": 5.0}


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "asked.jsonl", "key") as opened:
        yield opened


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    return KEY


def make_questions(n):
    rows = [
        {
            "question_id": f"q{i}",
            "question": f"{'Which number is it ' * (i % 3 + 1)}{i}",
            "answer": str(i if i % 2 else i + 1),  # every second one is wrong
            "answer_type": "integer",
            "metadata": "{}",
        }
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def make_teacher(url, kind="openai", **options):
    base_url = url if kind == "anthropic" else f"{url}/v1"
    return replace(OWN_SERVER, name="t", model="m", kind=kind, base_url=base_url, max_tokens=2000, **PRICES, **options)


def find_results(journal):
    """question_id → its trace or failure; asserts that there is one at most."""
    results = [r for r in journal.records.values() if r["state"] in ("trace", "failed")]
    by_id = {r["question_id"]: r for r in results}
    assert len(by_id) == len(results)
    return by_id


def read(content, kind):
    reader = ReplyReader(kind, markers=("<think>", "</think>"))
    reader.feed(content)
    return reader.close()


def ask_one(url, journal, kind="openai", *, teacher=None, **options):
    """The result of one question."""
    questions = make_questions(1)
    ask_teachers(questions, teacher or make_teacher(url, kind), journal, **{**QUICK, **options})
    return find_results(journal)["q0"]


def check_trace(result, question):
    assert (result["state"], result["reason"]) == ("trace", "")
    assert (result["thinking"], result["attempt"]) == (think(question).strip(), answer(question))


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize("style", ["field", "other field", "inline", "closing", "thought"])
def test_thinking_is_found_wherever_a_server_puts_it(style, journal):
    with serve(style=style) as (_, url):
        markers = GEMINI.thinking_markers if style == "thought" else OWN_SERVER.thinking_markers
        result = ask_one(url, journal, teacher=make_teacher(url, thinking_markers=markers))
    check_trace(result, make_questions(1)["question"][0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["", "plain", "comments", "single bytes"])
def test_every_form_of_a_reply_gives_the_same_trace_at_the_server_s_price(form, kind, journal):
    with serve({"*": [form]}) as (server, url):
        result = ask_one(url, journal, kind)
        assert result["usd"] == pytest.approx(server.usd)
    check_trace(result, make_questions(1)["question"][0])


@given(st.lists(st.sampled_from(["a ", "\n", "<", "é", "😀", "</think>", "<think>", "</thi", "nk>"])), st.data())
def test_pieces_of_any_size_give_the_same_reply(parts, data):
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    deltas = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    events = write_openai("q", [{"content": delta} for delta in deltas], "stop", 3)
    stream = "".join(f"data: {event}\n\n" for event in events).encode()
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reader = ReplyReader("openai", markers=("<think>", "</think>"))
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        reader.feed(stream[start:end])
    reply = reader.close()
    assert (reply.thinking, reply.attempt, reply.is_closed) == split_thinking(text, ("<think>", "</think>"))
    assert (reply.finish, reply.output_tokens) == ("stop", 3)


@given(st.text(st.sampled_from("ab <>\n/"), min_size=1), st.text(st.sampled_from("ab <>\n/")), st.booleans())
def test_what_the_markers_enclose_comes_back_stripped(thinking, attempt, is_opened):
    text = "<think>" * is_opened + thinking + "</think>" + attempt
    assert split_thinking(text, ("<think>", "</think>")) == (thinking.strip(), attempt.strip(), True)


def test_blocks_of_thinking_that_follow_each_other_are_one():
    text = "<think>one</think>\n<think>two</think> use the <think> tag"
    assert split_thinking(text, ("<think>", "</think>")) == ("one\n\ntwo", "use the <think> tag", True)


def test_halves_of_a_letter_in_two_deltas_are_joined():
    reader = ReplyReader("openai")
    for half in (r"\ud83d", r"\ude00", r"\ud83d"):
        reader.feed(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n' % half.encode())
    reader.feed(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n')
    assert reader.close().attempt == "😀\ufffd"


@given(st.binary(max_size=200))
def test_noise_is_a_failed_try(noise):
    with pytest.raises(FailedTry):
        read(noise, "openai")


NAMES = "choices delta message content usage type finish_reason prompt_tokens".split()
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.sampled_from(NAMES), deeper, max_size=4),
)


@given(JSON, st.sampled_from(KINDS))
def test_json_of_any_shape_is_read_without_another_error(value, kind):
    with suppress(FailedTry):
        assert isinstance(read(b"data: " + json.dumps(value).encode(), kind).attempt, str)


def test_deeply_nested_json_is_a_failed_try():
    with pytest.raises(FailedTry):
        ReplyReader("openai").feed(b"data: " + b"[" * 10**5 + b"\n")


def test_thinking_tokens_that_gemini_leaves_out_are_paid():
    reader = ReplyReader("openai")
    counts = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 130}
    reader.feed(json.dumps({"choices": [{"finish_reason": "stop"}], "usage": counts}).encode())
    assert reader.close().output_tokens == 120


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault", ["429", "500", "529", "hang up", "cut", "garbage", "latin", "error within", "no finish", "abort"]
)
def test_what_may_pass_is_tried_again(fault, kind, journal):
    with serve({make_questions(1)["question"][0]: [fault, fault]}) as (server, url):
        check_trace(ask_one(url, journal, kind), make_questions(1)["question"][0])
        assert len(server.asked) == 3
        assert server.usd <= count_usd(journal) + 1e-9


FINAL = {
    "length": ("cut at max_tokens", "cut at max_tokens"),
    "content_filter": ("ended by content_filter", "ended by refusal"),
    "recitation": ("ended by recitation", "ended by recitation"),
    "no thinking": ("no thinking", "no thinking"),
    "no attempt": ("no attempt", "no attempt"),
    "400": ("status 400", "status 400"),
    "endless": ("reply too long", "reply too long"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FINAL)
def test_what_will_not_pass_is_asked_once_and_kept_with_its_reason(fault, kind, journal):
    with serve({"*": [fault]}) as (server, url):
        result = ask_one(url, journal, kind)
        assert (result["state"], result["reason"]) == ("failed", FINAL[fault][KINDS.index(kind)])
        assert len(server.asked) == 1
        assert server.usd <= count_usd(journal) + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_without_thinking_is_enough_where_none_is_needed(kind, journal):
    with serve({"*": ["no thinking"]}) as (_, url):
        result = ask_one(url, journal, kind, needs_thinking=False)
    assert (result["state"], result["thinking"]) == ("trace", "")
    assert result["attempt"] == answer(make_questions(1)["question"][0])


def test_a_reply_without_an_attempt_is_no_trace_even_where_no_thinking_is_needed(journal):
    with serve({"*": ["no attempt"]}) as (_, url):
        assert ask_one(url, journal, needs_thinking=False)["reason"] == "no attempt"


def test_thinking_that_never_ends_is_no_trace(journal):
    with serve({"*": ["unclosed"]}, style="inline") as (_, url):
        assert ask_one(url, journal)["reason"] == "thinking not closed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["silent", "stall", "drip"])
def test_a_server_that_never_ends_is_given_up(fault, kind, journal):
    with serve({"*": [fault]}) as (server, url):
        started = time.monotonic()
        result = ask_one(url, journal, kind, attempts=2, timeout_s=0.5, silence_s=0.4)
        assert (result["state"], result["reason"]) == ("failed", "timed out")
        assert len(server.asked) == 2
        assert time.monotonic() - started < 3
        assert server.usd <= count_usd(journal) + 1e-9


def test_a_server_that_is_not_there_costs_nothing(journal):
    with serve() as (_, url):
        pass
    result = ask_one(url, journal, attempts=2)
    assert (result["state"], result["reason"], count_usd(journal)) == ("failed", "connection failed", 0.0)


def test_tries_are_bounded_and_each_is_kept(journal):
    with serve({"*": ["500"]}) as (server, url):
        assert ask_one(url, journal, attempts=3)["reason"] == "status 500"
        assert len(server.asked) == 3
    assert [r["state"] for r in journal.records.values()] == ["sent", "again", "sent", "again", "sent", "failed"]


def test_the_server_s_wish_to_wait_is_granted(journal):
    with serve({make_questions(1)["question"][0]: ["429"]}) as (server, url):
        ask_one(url, journal)
        first, second = (moment for moment, *_ in server.asked)
    assert second - first >= 0.3


@given(st.integers(1, 10**6), st.none() | st.floats(0), st.floats(0, 1e6), st.integers(0, 2**31))
def test_waiting_is_bounded_and_repeatable(failures, asked, backoff, seed):
    delay = choose_delay(failures, asked, backoff_s=backoff, seed=seed)
    assert delay == choose_delay(failures, asked, backoff_s=backoff, seed=seed)
    assert min(asked or 0.0, LONGEST_DELAY) <= delay <= LONGEST_DELAY


def test_waiting_grows():
    first, fourth = (choose_delay(n, None, backoff_s=1.0, seed=5) for n in (1, 4))
    assert fourth == pytest.approx(8 * first)


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "advice"),
    [("401", "set A_KEY"), ("403", "set A_KEY"), ("400API key", "set A_KEY"), ("402", "top up"), ("404", "model 'm'")],
)
def test_a_wrong_key_or_model_stops_the_run_without_a_word_of_the_key(status, advice, kind, key, journal, capfd):
    questions = make_questions(40)
    with serve({questions["question"][0]: [""], "*": [status]}) as (server, url):
        teacher = make_teacher(url, kind, key_variable="A_KEY")
        with pytest.raises(StudyError, match=advice) as caught:
            ask_teachers(questions, teacher, journal, **QUICK, concurrency=4)
        assert len(server.asked) <= 8
        sent = {name.lower(): value for name, value in server.asked[0][2].items()}
    assert sent["authorization"] == f"Bearer {key}"
    said = "".join(capfd.readouterr()) + str(caught.value) + journal.path.read_text() + repr(teacher)
    assert key not in said
    assert "***" in str(caught.value)
    assert [r["state"] for r in find_results(journal).values()] == ["trace"]


@pytest.mark.parametrize("value", ["", " ", "two\nlines", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_sent(value, journal, monkeypatch):
    monkeypatch.setenv("A_KEY", value)
    with serve() as (server, url):
        with pytest.raises(StudyError, match="A_KEY"):
            ask_one(url, journal, teacher=make_teacher(url, key_variable="A_KEY"))
        assert not server.asked


def test_a_key_is_masked_before_a_message_is_cut():
    assert mask_key("x" * 295 + KEY, KEY) == "x" * 295 + "***"


# ------------------------------------------------------------------ dollars


@pytest.mark.parametrize("teacher", [GEMINI, CLAUDE, DEEPSEEK_R1], ids=lambda teacher: teacher.name)
def test_a_ready_made_teacher_asks_for_what_only_its_user_knows(teacher, journal, key):
    teacher = replace(teacher, base_url="http://127.0.0.1:9", key_variable="A_KEY")
    with pytest.raises(StudyError, match=r"needs a model|costs isn't known"):
        ask_teachers(make_questions(1), teacher, journal, **QUICK)


def test_an_estimate_is_prompts_and_mean_replies_at_their_prices():
    questions = make_questions(2)
    teacher = replace(make_teacher("http://x"), max_tokens=3000)
    options = {"mean_attempt_tokens": 100, "count_tokens": lambda text: len(text.split())}
    words = sum(len(question.split()) for question in questions["question"])
    expected = (words * INPUT_PRICE + 2 * 1100 * OUTPUT_PRICE) / 1e6
    assert estimate_usd(questions, teacher, mean_thinking_tokens=1000, **options) == pytest.approx(expected)
    most = (words * INPUT_PRICE + 2 * 3000 * OUTPUT_PRICE) / 1e6
    assert estimate_usd(questions, teacher, mean_thinking_tokens=10**6, **options) == pytest.approx(most)


@pytest.mark.parametrize("fault", ["", "no usage", "bad usage", "cut", "500", "stall"])
def test_the_server_never_charges_more_than_max_usd(fault, journal):
    questions = make_questions(60)
    faults = {question: [fault] for question in questions["question"][::3]}
    with serve(faults, delay=0.01) as (server, url):
        teacher = replace(make_teacher(url), max_tokens=200)
        worst = teacher.price(count_bytes(questions["question"][2]) + TEMPLATE_TOKENS, 200)  # of the longest
        options = {**QUICK, "max_usd": 4.5 * worst, "silence_s": 0.4}
        with pytest.raises(StudyError, match=r"traces are done.*raise max_usd"):
            ask_teachers(questions, teacher, journal, **options, concurrency=8)
        assert 0 < server.usd <= count_usd(journal) + 1e-9
        assert count_usd(journal) <= options["max_usd"] + 1e-9
        assert count_usd(journal) + worst > options["max_usd"]  # nothing more did fit
        ask_teachers(questions, teacher, journal, **{**options, "max_usd": 10.0}, concurrency=8)
        assert server.usd <= count_usd(journal) + 1e-9
    assert set(find_results(journal)) == set(questions["question_id"])


def test_a_reply_without_usage_is_paid_as_counted(journal):
    with serve({"*": ["no usage"]}) as (_, url):
        result = ask_one(url, journal, count_tokens=lambda text: len(text.split()))
    prompt, written = (
        len(t.split()) for t in (make_questions(1)["question"][0], result["thinking"] + " " + result["attempt"])
    )
    assert result["usd"] == pytest.approx(((prompt + TEMPLATE_TOKENS) * INPUT_PRICE + written * OUTPUT_PRICE) / 1e6)


@given(st.text())
def test_bytes_are_counted_of_any_text(text):
    assert count_bytes(text) == len(mend_text(text).encode())


def test_requests_under_way_are_as_many_as_allowed(journal):
    with serve(delay=0.05) as (server, url):
        ask_teachers(make_questions(12), make_teacher(url), journal, **QUICK, concurrency=3)
        assert server.most_under_way == 3


# ------------------------------------------------------------------ going on


def test_only_what_has_no_result_is_asked_again(journal):
    questions = make_questions(4)
    bad = questions["question"][2]
    with serve({bad: ["no thinking"]}) as (server, url):
        teacher = make_teacher(url)
        ask_teachers(questions[:3], teacher, journal, **QUICK)
        ask_teachers(questions, teacher, journal, **QUICK)
        assert sorted(question for _, question, *_ in server.asked) == sorted(questions["question"])
        ask_teachers(questions, teacher, journal, **QUICK, retry_failures=True)
        assert [question for _, question, *_ in server.asked[4:]] == [bad]
        ask_teachers(questions, replace(teacher, name="other"), journal, **QUICK)
        assert len(server.asked) == 9


def test_it_works_where_a_loop_already_runs(journal):
    async def run_in_a_notebook(url):
        return ask_one(url, journal)

    with serve() as (_, url):
        check_trace(asyncio.run(run_in_a_notebook(url)), make_questions(1)["question"][0])


def test_what_is_asked_is_the_bare_question_and_the_options_given(journal):
    with serve() as (server, url):
        ask_one(url, journal, teacher=make_teacher(url, temperature=0.5, extra_body={"top_k": 3}))
        body = server.asked[0][3]
    assert body["messages"] == [{"role": "user", "content": make_questions(1)["question"][0]}]
    assert (body["temperature"], body["top_k"], body["max_tokens"]) == (0.5, 3, 2000)


def test_claude_is_asked_to_show_its_thinking_and_nothing_about_sampling(journal):
    with serve() as (server, url):
        ask_one(url, journal, teacher=make_teacher(url, "anthropic", extra_body=CLAUDE.extra_body))
        body = server.asked[0][3]
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["stream"] is True
    assert "temperature" not in body


CHILD = """
import sys
from test_api_teachers import QUICK, make_questions, make_teacher
from s1_utils.api_teachers import ask_teachers
from s1_utils.store import Journal
with Journal(__import__("pathlib").Path(sys.argv[1]), "key") as journal:
    ask_teachers(make_questions(60), make_teacher(sys.argv[2]), journal, **QUICK, concurrency=5)
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_and_pays_little_twice(way, tmp_path):
    path, questions = tmp_path / "asked.jsonl", make_questions(60)
    with serve(delay=0.03) as (server, url):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))}
        command = [sys.executable, "-c", CHILD, str(path), url]
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        patience = time.monotonic() + 60
        while len(server.asked) < 25 and child.poll() is None and time.monotonic() < patience:
            time.sleep(0.005)
        child.send_signal(way)
        assert child.wait(60) != 0
        time.sleep(0.1)  # what is under way at the server comes to its end
        with Journal(path, "key") as journal:
            before = find_results(journal)
            assert 0 < len(before) < 60
            assert server.usd <= count_usd(journal) + 1e-9
            ask_teachers(questions, make_teacher(url), journal, **QUICK, concurrency=5)
            assert len(server.asked) <= 65
            assert server.usd <= count_usd(journal) + 1e-9
            results = find_results(journal)
    assert {name: results[name] for name in before} == before
    for question_id, question in zip(questions["question_id"], questions["question"], strict=True):
        check_trace(results[question_id], question)


# ------------------------------------------------------------------ tables


def test_traces_are_tabulated_and_graded_like_those_of_other_teachers(journal, tokenizer):
    questions = make_questions(6)
    options = json.dumps({"options": ["4", "5"]})
    questions.loc[4, ["answer_type", "metadata", "answer"]] = ["choice", options, "4"]
    with serve({questions["question"][1]: ["length"], questions["question"][2]: ["400"]}) as (_, url):
        ask_teachers(questions, make_teacher(url), journal, **QUICK)
    traces, failures = tabulate_traces(journal, questions, tokenizer)
    assert list(traces.columns) == teachers.COLUMNS
    assert list(traces["question_id"]) == ["q0", "q3", "q4", "q5"]
    assert list(traces["attempt_correct"]) == [False, True, True, True]
    thinking = tokenizer(think(questions["question"][3]).strip(), add_special_tokens=False)["input_ids"]
    assert traces["thinking_tokens"][1] == len(thinking)
    assert list(zip(failures["question_id"], failures["reason"], strict=True)) == [
        ("q1", "cut at max_tokens"),
        ("q2", "status 400"),
    ]


def test_a_summary_counts_traces_reasons_and_dollars_of_each_teacher(journal, tokenizer):
    questions = make_questions(4)
    with serve({questions["question"][1]: ["no thinking"], questions["question"][2]: ["400"]}) as (server, url):
        ask_teachers(questions, make_teacher(url), journal, **QUICK)
        ask_teachers(questions[:1], replace(make_teacher(url), name="u", max_tokens=1000), journal, **QUICK)
        usd = server.usd
    traces, failures = tabulate_traces(journal, questions, tokenizer)
    summary = summarise_asking(journal, traces, failures)
    assert summary["teacher"].tolist() == ["t", "u"]
    assert summary[["asked", "traces"]].to_numpy().tolist() == [[4, 2], [1, 1]]
    assert summary["failures"].tolist() == ["no thinking: 1, status 400: 1", ""]
    assert summary["usd"].sum() == pytest.approx(usd)
    means = traces.groupby("teacher")["thinking_tokens"].mean()
    assert summary["mean_thinking_tokens"].tolist() == means.tolist()


def test_a_failure_that_became_a_trace_is_none_any_more(journal, tokenizer):
    questions = make_questions(1)
    with serve({questions["question"][0]: ["no thinking"]}) as (_, url):
        ask_teachers(questions, make_teacher(url), journal, **QUICK)
        ask_teachers(questions, make_teacher(url), journal, **QUICK, retry_failures=True)
    traces, failures = tabulate_traces(journal, questions, tokenizer)
    assert (len(traces), len(failures)) == (1, 0)


def test_a_journal_without_results_gives_empty_tables(journal, tokenizer):
    traces, failures = tabulate_traces(journal, make_questions(2), tokenizer)
    assert list(traces.columns) == teachers.COLUMNS
    assert len(traces) == len(failures) == len(summarise_asking(journal, traces, failures)) == 0
