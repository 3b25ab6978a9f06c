"""Chat models through real local servers that speak each API, with the faults each has."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pandas as pd
import pytest
import teacher_server
from hypothesis import given
from hypothesis import strategies as st
from teacher_server import INPUT_PRICE, KEY, OUTPUT_PRICE, answer, serve, think

from s1_utils import sensitivity
from s1_utils.api_teachers.replies import FailedTry, ReplyReader
from s1_utils.baselines import Baseline, make_chat_model
from s1_utils.chat_models import ask_chat_model, summarise_replies
from s1_utils.errors import StudyError

QUICK = {"max_usd": 10.0, "seed": 1, "backoff_s": 0.01, "timeout_s": 5.0, "silence_s": 5.0, "attempts": 3}
PATHS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta"}
APIS = list(PATHS)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    return KEY


def make_questions(n=3):
    rows = [
        {"question_id": f"q{i}", "question": f"Which number is it, {i}", "answer": str(i), "answer_type": "integer"}
        for i in range(n)
    ]
    return pd.DataFrame(rows).assign(metadata="{}")


def make_model(url, api="openai", *, seed=1, **fields):
    stated = {"model": "m", "api": api, "base_url": url + PATHS[api], "key_variable": "A_KEY", "max_tokens": 2000}
    baseline = Baseline(**{**stated, "usd_per_million": [INPUT_PRICE, OUTPUT_PRICE], **fields})
    return make_chat_model("baseline", baseline, seed=seed)


def ask(url, folder, api="openai", *, questions=None, samples=1, fields=None, **asking):
    questions = make_questions() if questions is None else questions
    return ask_chat_model(make_model(url, api, **(fields or {})), questions, folder, samples=samples, **QUICK | asking)


# ------------------------------------------------------------------ whole replies


@pytest.mark.parametrize("api", APIS)
def test_each_api_gives_answers_thinking_tokens_seconds_and_dollars(api, tmp_path):
    with serve() as (server, url):
        rows = ask(url, tmp_path, api)
        assert rows["usd"].sum() == pytest.approx(server.usd)
    assert rows["question_id"].tolist() == ["q0", "q1", "q2"]
    for row, question in zip(rows.itertuples(), make_questions()["question"], strict=True):
        assert (row.thinking, row.answer, row.reason) == (think(question).strip(), answer(question), "")
        assert row.input_tokens == len(question.split()) + 7
        assert row.output_tokens == len(think(question).split()) + len(answer(question).split()) + 3
        assert row.seconds > 0
    assert rows["finish"].eq("stop").all()  # end_turn and STOP too


@pytest.mark.parametrize(("api", "stream"), [("gemini", True), ("openai", False)])
def test_thinking_tokens_are_those_that_are_reported(api, stream, tmp_path):
    with serve() as (_, url):
        rows = ask(url, tmp_path, api, fields={"stream": stream})
    assert rows["thinking_tokens"].tolist() == [len(think(q).split()) for q in make_questions()["question"]]
    assert (rows["answer_tokens"] + rows["thinking_tokens"] == rows["output_tokens"]).all()


def test_unreported_thinking_tokens_stay_unknown(tmp_path):
    with serve() as (_, url):
        rows = ask(url, tmp_path, "anthropic")
    assert rows["thinking_tokens"].isna().all()
    assert rows["output_tokens"].notna().all()


@pytest.mark.parametrize("api", APIS)
def test_the_key_goes_where_the_api_wants_it_and_nothing_unasked_is_sent(api, tmp_path):
    with serve() as (server, url):
        ask(url, tmp_path, api, questions=make_questions(1))
        _, _, headers, body = server.asked[0]
    headers = {name.lower(): value for name, value in headers.items()}
    name, value = ("x-goog-api-key", KEY) if api == "gemini" else ("authorization", f"Bearer {KEY}")
    assert headers[name] == value
    assert not {"temperature", "system", "systemInstruction", "seed"} & {*body, *body.get("generationConfig", {})}
    assert len(body.get("messages", body.get("contents"))) == 1


def test_o1_is_asked_under_its_own_name_for_the_length(tmp_path):
    with serve() as (server, url):
        rows = ask(url, tmp_path, fields={"length_field": "max_completion_tokens", "stream": False})
        body = server.asked[0][3]
    assert body["max_completion_tokens"] == 2000
    assert not {"max_tokens", "temperature", "stream", "stream_options"} & set(body)
    assert rows["reason"].eq("").all()


def test_a_server_without_a_limit_of_ours_gets_none(tmp_path):
    with serve() as (server, url):
        ask(url, tmp_path, fields={"length_field": "", "temperature": 0.6, "top_p": 0.95, "extra_body": {"top_k": 3}})
        body = server.asked[0][3]
    assert "max_tokens" not in body
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.6, 0.95, 3)


@pytest.mark.parametrize("api", APIS)
def test_a_system_prompt_and_an_instruction_are_sent_where_the_api_has_them(api, tmp_path):
    with serve() as (server, url):
        ask(url, tmp_path, api, fields={"system_prompt": "Think.", "instruction": " Box it."})
        _, question, _, body = server.asked[0]
    system = {
        "openai": lambda: body["messages"][0],
        "anthropic": lambda: {"role": "system", "content": body["system"]},
        "gemini": lambda: {"role": "system", "content": body["systemInstruction"]["parts"][0]["text"]},
    }
    assert system[api]() == {"role": "system", "content": "Think."}
    assert question.endswith(" Box it.")


def test_gemini_s_own_settings_are_joined_with_ours(tmp_path):
    extra = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    with serve() as (server, url):
        ask(url, tmp_path, "gemini", fields={"extra_body": extra, "temperature": 1.0})
        body = server.asked[0][3]
    expected = {"maxOutputTokens": 2000, "temperature": 1.0, "thinkingConfig": {"includeThoughts": True}}
    assert body["generationConfig"] == expected


def test_samples_are_asked_apart_each_with_its_own_seed(tmp_path):
    with serve() as (server, url):
        rows = ask(url, tmp_path, samples=4, fields={"seeds": True})
        seeds = {body["seed"] for *_, body in server.asked}
    assert len(server.asked) == 12
    assert rows[["question_id", "sample"]].to_numpy().tolist() == [[f"q{i}", s] for i in range(3) for s in range(4)]
    assert set(rows["seed"]) == seeds
    assert len(seeds) == 12


def test_a_larger_number_of_samples_keeps_those_there_are(tmp_path):
    with serve() as (server, url):
        first = ask(url, tmp_path, samples=2)
        more = ask(url, tmp_path, samples=3)
        assert len(server.asked) == 9
    pd.testing.assert_frame_equal(more[more["sample"] < 2].reset_index(drop=True), first)


# ------------------------------------------------------------------ results that are no answers


REFUSALS = [
    ("openai", "content_filter", "content_filter", "ended by content_filter"),
    ("anthropic", "content_filter", "refusal", "ended by refusal"),
    ("gemini", "recitation", "recitation", "ended by recitation"),
    ("gemini", "safety", "safety", "ended by safety"),
    ("gemini", "blocked", "blocked prompt: prohibited_content", "ended by blocked prompt: prohibited_content"),
    ("openai", "400invalid_prompt: flagged as violating our usage policy", None, "status 400: invalid_prompt"),
]


@pytest.mark.parametrize(("api", "fault", "finish", "reason"), REFUSALS)
def test_a_refusal_is_a_result_with_its_reason_and_asked_once(api, fault, finish, reason, tmp_path):
    questions = make_questions()
    with serve({questions["question"][1]: [fault]}) as (server, url):
        rows = ask(url, tmp_path, api)
        again = ask(url, tmp_path, api)
        assert len(server.asked) == 3
    assert rows["reason"].str.startswith(reason).tolist() == [False, True, False]
    assert rows["reason"][[0, 2]].tolist() == ["", ""]
    assert rows["finish"].astype(object).where(rows["finish"].notna(), None).tolist() == ["stop", finish, "stop"]
    pd.testing.assert_frame_equal(rows, again)


@pytest.mark.parametrize(
    ("api", "stream"), [("openai", True), ("openai", False), ("anthropic", True), ("gemini", True)]
)
def test_a_reply_cut_by_the_api_s_limit_keeps_its_thinking_and_says_so(api, stream, tmp_path):
    with serve({"*": ["length"]}) as (_, url):
        rows = ask(url, tmp_path, api, fields={"stream": stream})
    assert rows["reason"].eq("cut at max_tokens").all()
    assert rows["finish"].eq("length").all()
    assert rows["thinking"].tolist() == [think(q).strip() for q in make_questions()["question"]]
    assert rows["answer"].isna().all()


def test_a_question_that_always_times_out_is_a_result(tmp_path):
    questions = make_questions()
    with serve({questions["question"][0]: ["silent"] * 3}) as (server, url):
        started = time.monotonic()
        rows = ask(url, tmp_path, timeout_s=0.4)
        assert time.monotonic() - started < 4
        assert len(server.asked) == 5
    assert rows["reason"].str.partition(": ")[0].tolist() == ["timed out", "", ""]


def test_what_is_no_answer_is_graded_as_wrong(tmp_path):
    questions = make_questions()
    with serve({questions["question"][1]: ["recitation"]}) as (_, url):
        rows = ask(url, tmp_path, "gemini")
    grades = sensitivity.grade_generations(rows, questions)
    assert grades["correct"].tolist() == [True, False, True]


SAID = [  # by the server itself
    ("openai", "404The model `o1-preview` has been deprecated"),
    ("openai", "410gone"),
    ("gemini", "400This model models/x is no longer available to new users."),
]
UNSAID = [  # a retired model, or a wrong name
    ("openai", "400Model Not Exist"),
    ("openai", '400{"error": {"code": "model_not_found"}}'),
    ("anthropic", "404model: claude-1"),
    ("gemini", "404models/x is not found for API version v1beta, or is not supported for generateContent."),
]


@pytest.mark.parametrize(
    ("api", "fault", "retired"), [(*each, "") for each in SAID] + [(*each, "2025-07-28") for each in UNSAID]
)
def test_a_retired_model_is_a_result_of_every_question_and_asked_for_once_a_run(api, fault, retired, tmp_path):
    with serve({"*": [fault]}) as (server, url):
        rows = ask(url, tmp_path, api, questions=make_questions(40), concurrency=2, fields={"retired": retired})
        assert len(server.asked) <= 2
        assert rows["finish"].eq("retired").all()
        assert rows["reason"].str.startswith(f"model retired: status {fault[:3]}: ").all()
        assert rows["answer"].isna().all()
        assert rows["usd"].sum() == 0
        server.faults.clear()
        again = ask(url, tmp_path, api, questions=make_questions(40), fields={"retired": retired})
    assert again["reason"].eq("").all()  # it is back


@pytest.mark.parametrize(("api", "fault"), UNSAID)
def test_a_model_that_nobody_says_is_retired_is_an_error_not_an_accuracy_of_zero(api, fault, tmp_path):
    with serve({"*": [fault]}) as (_, url), pytest.raises(StudyError, match=r"check model 'm'.*into the profile"):
        ask(url, tmp_path, api)


def test_the_date_of_a_retirement_leaves_the_journal_valid(tmp_path):
    with serve() as (server, url):
        ask(url, tmp_path)
        ask(url, tmp_path, fields={"retired": "2026-10-23"})
        assert len(server.asked) == 3


def test_a_provider_that_answers_with_another_model_is_seen(tmp_path, monkeypatch):
    written = teacher_server.write_gemini
    named = {"modelVersion": "gemini-3.8-flash"}
    monkeypatch.setattr(teacher_server, "write_gemini", lambda *asked: written(*asked) | named)
    with serve() as (_, url):
        rows = ask(url, tmp_path, "gemini", fields={"model": "gemini-2.0-flash-thinking-exp-01-21"})
    assert rows["served"].eq("gemini-3.8-flash").all()
    assert summarise_replies(rows)["served"].tolist() == ["gemini-3.8-flash"]


SERVED = [
    ("openai", b'data: {"model": "o1-x", "choices": []}\n\ndata: {"model": "o1-y", "choices": []}\n\n', "o1-x"),
    ("openai", b'{"model": "o1-x"}', "o1-x"),
    ("anthropic", b'data: {"type": "message_start", "message": {"model": "claude-x"}}\n\n', "claude-x"),
    ("anthropic", b'{"type": "message", "model": "claude-x"}', "claude-x"),
    ("gemini", b'{"modelVersion": "gemini-x"}', "gemini-x"),
    ("gemini", b'{"modelVersion": ["gemini-x"], "model": 7, "message": "x"}', ""),
    ("openai", b'{"model": "' + b"x" * 10_000 + b'"}', "x" * 200),
    ("openai", b'{"model": "\\ud800"}', "\ufffd"),
]


@pytest.mark.parametrize(("api", "reply", "served"), SERVED)
def test_every_api_s_name_of_the_model_is_read(api, reply, served):
    reader = ReplyReader(api)
    reader.feed(reply)
    with pytest.raises(FailedTry, match="broke off"):  # no finish
        reader.close()
    assert reader.served == served


def test_a_model_that_goes_away_half_way_leaves_no_wrong_answers(tmp_path):
    questions = make_questions(20)
    with (
        serve({question: [""] for question in questions["question"][:5]} | {"*": ["404"]}) as (_, url),
        pytest.raises(StudyError, match="check model 'm'"),
    ):
        ask(url, tmp_path, questions=questions, concurrency=1)


def test_a_server_of_one_s_own_without_the_model_is_an_error_that_says_what_to_do(tmp_path):
    with serve({"*": ["404The model `m` does not exist."]}) as (_, url), pytest.raises(StudyError, match="base_url"):
        ask(url, tmp_path, fields={"key_variable": ""})


@pytest.mark.parametrize(
    "fault", ["400thinking is not supported by this model", "400This model's maximum context length is 4096 tokens"]
)
def test_a_request_that_a_model_refuses_isn_t_a_missing_model(fault, tmp_path):
    questions = make_questions()
    with serve({questions["question"][0]: [fault]}) as (_, url):
        reasons = ask(url, tmp_path)["reason"]
    assert reasons.str.partition(": ")[0].tolist() == ["status 400", "", ""]


def test_a_request_that_is_refused_for_every_question_is_an_error_not_an_accuracy_of_zero(tmp_path):
    with serve({"*": ["400Unsupported parameter: 'max_tokens'"]}) as (_, url):
        for _ in range(2):
            with pytest.raises(StudyError, match=r"refuses every question .*Unsupported parameter.*delete .*jsonl"):
                ask(url, tmp_path)


# ------------------------------------------------------------------ what passes, and what stops a run


@pytest.mark.parametrize(
    ("api", "stream"), [("openai", True), ("openai", False), ("anthropic", True), ("gemini", True)]
)
@pytest.mark.parametrize("fault", ["429", "500", "503", "hang up", "cut", "garbage"])
def test_what_may_pass_is_asked_again(api, stream, fault, tmp_path):
    questions = make_questions()
    with serve({questions["question"][0]: [fault, fault]}) as (server, url):
        rows = ask(url, tmp_path, api, fields={"stream": stream})
        assert len(server.asked) == 5
    assert rows["reason"].eq("").all()
    assert rows["tries"].tolist() == [3, 1, 1]


def test_both_ways_to_ask_for_patience_are_granted(tmp_path):
    questions = make_questions(2)
    detail = '429{"error": {"details": [{"retryDelay": "0.6s"}]}}'
    with serve({questions["question"][0]: [detail], questions["question"][1]: ["429"]}) as (server, url):
        ask(url, tmp_path, "gemini", questions=questions)
        moments = [[m for m, asked, *_ in server.asked if asked == q] for q in questions["question"]]
    first, second = (times[1] - times[0] for times in moments)
    assert first >= 0.6  # of the body
    assert second >= 0.3  # of the header


@pytest.mark.parametrize("fault", ["500", "429", "hang up", "garbage", "cut"])
def test_a_server_in_trouble_is_no_result_and_the_next_run_goes_on(fault, tmp_path):
    questions = make_questions()
    with serve({questions["question"][1]: [fault] * 3}) as (server, url):
        with pytest.raises(StudyError, match=r"1 of 3 replies didn't come.*run again"):
            ask(url, tmp_path)
        rows = ask(url, tmp_path)
        assert [asked for _, asked, *_ in server.asked].count(questions["question"][0]) == 1
    assert rows["reason"].eq("").all()


@pytest.mark.parametrize(
    ("fault", "advice"),
    [("401", "set A_KEY"), ("403", "set A_KEY"), ("402", "top up"), ('429{"code": "insufficient_quota"}', "top up")],
)
@pytest.mark.parametrize("api", APIS)
def test_a_wrong_key_or_an_empty_account_stops_with_advice(api, fault, advice, tmp_path):
    with serve({"*": [fault]}) as (server, url):
        with pytest.raises(StudyError, match=advice) as caught:
            ask(url, tmp_path, api, questions=make_questions(40), concurrency=2)
        assert len(server.asked) <= 2
    assert KEY not in str(caught.value)
    assert not any(KEY in path.read_text() for path in tmp_path.iterdir())


def test_without_a_key_nothing_is_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("A_KEY")
    with serve() as (server, url):
        with pytest.raises(StudyError, match="A_KEY"):
            ask(url, tmp_path)
        assert not server.asked


def test_no_more_is_spent_than_allowed_and_the_rest_follows(tmp_path):
    with serve() as (server, url):
        most = make_model(url).price(300, 2000) + 0.003  # a request at its most, and some that cost what they cost
        with pytest.raises(StudyError, match="raise max_usd"):
            ask(url, tmp_path, questions=make_questions(30), max_usd=most)
        assert 0 < server.usd <= most
        assert len(ask(url, tmp_path, questions=make_questions(30))) == 30
        assert len(server.asked) == 30


def test_a_model_without_known_prices_isn_t_asked(tmp_path):
    with serve() as (server, url):
        with pytest.raises(StudyError, match="costs isn't known"):
            ask(url, tmp_path, fields={"usd_per_million": []})
        assert not server.asked


def test_other_settings_have_a_journal_of_their_own_and_prices_none(tmp_path):
    with serve() as (server, url):
        ask(url, tmp_path)
        ask(url, tmp_path, fields={"usd_per_million": [1.0, 1.0]})
        assert len(server.asked) == 3
        ask(url, tmp_path, fields={"temperature": 0.5})
        assert len(server.asked) == 6


NAMES = "candidates content parts text thought finishReason promptFeedback blockReason usageMetadata".split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.sampled_from(NAMES), deeper, max_size=4),
)


@given(JSON)
def test_json_of_any_shape_is_a_reply_of_gemini_or_a_failed_try(value):
    reader = ReplyReader("gemini")
    try:
        reader.feed(json.dumps(value).encode())
        assert isinstance(reader.close().attempt, str)
    except FailedTry:
        pass


def test_a_summary_counts_reasons(tmp_path):
    questions = make_questions(4)
    with serve({questions["question"][1]: ["length"], questions["question"][2]: ["400no"]}) as (server, url):
        summary = summarise_replies(ask(url, tmp_path, questions=questions))
        assert summary["usd"][0] == pytest.approx(server.usd)
    assert summary[["model", "asked", "whole"]].to_numpy().tolist() == [["baseline", 4, 2]]
    assert set(summary["reasons"][0].split(", ")) == {"cut at max_tokens: 1", "status 400: 1"}


def test_the_journal_s_key_has_neither_prices_nor_secrets(tmp_path):
    with serve() as (_, url):
        model = make_model(url)
        ask_chat_model(model, make_questions(1), tmp_path, **QUICK)
        dear = replace(model, usd_per_million_output=99.0)
        ask_chat_model(dear, make_questions(1), tmp_path, **QUICK)
    assert len(list(tmp_path.iterdir())) == 1
