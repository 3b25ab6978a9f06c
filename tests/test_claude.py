"""Claude's batches against a real server that fails in every way, and with a client that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from claude_server import DISCOUNT, PRICES, serve_claude
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from s1_utils import paths
from s1_utils.claude import Ask, ClaudeSettings, ask_claude, estimate_usd
from s1_utils.claude import messages as claude_messages
from s1_utils.claude.batches import split_batches
from s1_utils.errors import StudyError
from s1_utils.store import Journal

KEY = "sk-ant-secret-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "correct": {"type": "boolean"}},
    "required": ["reason", "correct"],
}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


def make_settings(url=None, **changes):
    values = {
        "model": "claude-test-1",
        "system": "Say whether the attempt is right.",
        "schema": SCHEMA,
        "max_usd": 100.0,
        "usd_per_million_input": PRICES["input_tokens"],
        "usd_per_million_output": PRICES["output_tokens"],
        "usd_per_million_cache_write": PRICES["cache_creation_input_tokens"],
        "usd_per_million_cache_read": PRICES["cache_read_input_tokens"],
        "max_tokens": 100,
        "batch_discount": DISCOUNT,
        "base_url": url,
        "poll_seconds": 0.005,
        "settle_seconds": 0.05,
        "timeout_seconds": 0.5,
        "backoff_seconds": 0.002,
    }
    return ClaudeSettings(**values | changes)


def make_asks(n=5):
    return [Ask(f"row {i}", f"question {i}") for i in range(n)]


def ask(server, folder, asks, *, max_hours=0.02, **changes):
    with Journal(Path(folder) / "claude.jsonl", "key") as journal:
        return ask_claude(asks, journal, settings=make_settings(server.url, **changes), max_hours=max_hours)


def read_records(folder, kind):
    lines = (Path(folder) / "claude.jsonl").read_text().splitlines()[1:]
    return [record["payload"] for record in map(json.loads, lines) if f"/{kind}/" in record["id"]]


def count_requests(server, route):
    return sum(1 for each, _, _ in server.log if each == route)


def check_answers(server, replies, asks):
    """Everything answered, each to its own question, paid once and accounted for."""
    server.run_all()
    assert list(replies) == [each.id for each in asks]
    for each in asks:
        assert replies[each.id].data == {"reason": f"because {each.user}", "correct": True}
        assert replies[each.id].failure == ""
        assert replies[each.id].usd == pytest.approx(server.usd[each.user], rel=1e-12)
        assert server.paid[each.user] == 1


# ------------------------------------------------------------------ what is sent, and what it costs


def test_every_ask_gets_the_reply_to_its_own_text_though_results_come_in_another_order(tmp_path):
    with serve_claude() as server:
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
    assert count_requests(server, "create") == 1


def test_a_request_has_a_cached_system_prompt_a_closed_schema_and_no_sampling_options(tmp_path):
    with serve_claude() as server:
        ask(server, tmp_path, make_asks(1))
    params = next(body for route, body, _ in server.log if route == "create")["requests"][0]["params"]
    assert params == {
        "model": "claude-test-1",
        "max_tokens": 100,
        "system": [
            {"type": "text", "text": "Say whether the attempt is right.", "cache_control": {"type": "ephemeral"}}
        ],
        "messages": [{"role": "user", "content": "question 0"}],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA | {"additionalProperties": False}}},
    }


def test_large_calls_are_split_into_batches_of_the_size_asked_for(tmp_path):
    with serve_claude() as server:
        check_answers(server, ask(server, tmp_path, make_asks(7), batch_size=3), make_asks(7))
    assert [len(body["requests"]) for route, body, _ in server.log if route == "create"] == [3, 3, 1]


def test_batches_stay_below_so_many_bytes_unless_one_ask_alone_is_larger():
    asks = {Ask(str(i), "é" * size): 1 for i, size in enumerate([10, 500, 20_000, 10, 10])}
    parts = list(split_batches(asks, make_settings(), most_bytes=6000))
    assert [[int(each.id) for each in part] for part in parts] == [[0, 1], [2], [3, 4]]


@given(st.text(max_size=300), st.sampled_from(["batch", "direct"]))
def test_the_estimate_is_never_below_what_an_answer_of_max_tokens_costs(text, mode):
    chosen = make_settings(mode=mode, max_usd=1.0)
    tokens = len(text.encode("utf-8", "replace")) + len(chosen.system)
    usd = (tokens * PRICES["cache_creation_input_tokens"] + 100 * PRICES["output_tokens"]) / 1e6
    assert estimate_usd([Ask("a", text)], settings=chosen) >= usd * (DISCOUNT if mode == "batch" else 1)


def test_more_than_max_usd_is_refused_before_anything_is_sent(tmp_path):
    asks = make_asks()
    most = estimate_usd(asks, settings=make_settings())
    with serve_claude() as server:
        with pytest.raises(StudyError, match="Raise max_usd"):
            ask(server, tmp_path, asks, max_usd=most * 0.999)
        assert server.log == []
        check_answers(server, ask(server, tmp_path, asks, max_usd=most, batch_size=2), asks)


def test_asks_that_may_have_been_paid_for_count_against_max_usd(tmp_path):
    most = estimate_usd(make_asks(), settings=make_settings())
    with serve_claude(faults={"create": ["drop"]}) as server:
        with pytest.raises(StudyError, match="paid or at risk"):
            ask(server, tmp_path, make_asks(), max_usd=1.5 * most)
        assert count_requests(server, "create") == 1
        check_answers(server, ask(server, tmp_path, make_asks(), max_usd=2.1 * most), make_asks())


def test_an_ask_that_may_be_sent_again_but_does_not_fit_is_over_budget_until_there_is_room(tmp_path):
    asks = make_asks(2)
    with serve_claude(outcomes={"question 1": ["expired"]}) as server:
        assert ask(server, tmp_path, asks, attempts=1)["row 1"].failure == "expired"
        replies = ask(server, tmp_path, asks, max_usd=0.0001)
        assert [replies[each.id].failure for each in asks] == ["", "over budget"]
        check_answers(server, ask(server, tmp_path, asks), asks)


# ------------------------------------------------------------------ journals


def test_what_has_an_answer_is_not_asked_again_and_needs_neither_key_nor_server(tmp_path, monkeypatch):
    with serve_claude() as server:
        first = ask(server, tmp_path, make_asks())
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert ask(server, tmp_path, make_asks()) == first


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Another rubric."},
        {"model": "claude-test-2"},
        {"max_tokens": 99},
        {"schema": SCHEMA | {"title": "t"}},
    ],
)
def test_with_other_settings_that_matter_everything_is_asked_anew(tmp_path, change):
    with serve_claude() as server:
        ask(server, tmp_path, make_asks(2))
        ask(server, tmp_path, make_asks(2), **change)
    assert server.paid == {"question 0": 2, "question 1": 2}


def test_with_settings_that_do_not_matter_or_more_asks_only_the_new_ones_are_sent(tmp_path):
    asks = [*make_asks(3), Ask("row 9", "question 0"), Ask("row 1b", "question 1!")]
    with serve_claude() as server:
        ask(server, tmp_path, make_asks(3))
        ask(server, tmp_path, asks, batch_size=7, attempts=2, mode="direct")
    assert server.paid == {"question 0": 2, "question 1": 1, "question 2": 1, "question 1!": 1}


def test_an_ask_whose_text_changed_is_asked_again(tmp_path):
    with serve_claude() as server:
        ask(server, tmp_path, make_asks(2))
        reply = ask(server, tmp_path, [Ask("row 0", "another question")])["row 0"]
    assert reply.data["reason"] == "because another question"


def test_repeated_ids_are_refused(tmp_path):
    with serve_claude() as server, pytest.raises(StudyError, match="'row 0'"):
        ask(server, tmp_path, [*make_asks(2), Ask("row 0", "else")])


# ------------------------------------------------------------------ answers that are none


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        ("refusal", "refused"),
        ("max_tokens", "cut at max_tokens"),
        ("model_context_window_exceeded", "cut at model_context_window_exceeded"),
        ("garbage", "unparsable: Expecting value"),
        ("wrong schema", "unparsable: "),
        ("nan", "unparsable: "),
        ("deep", "unparsable: "),
        ("surrogate", "unparsable: "),
    ],
)
@pytest.mark.parametrize("mode", ["batch", "direct"])
def test_an_answer_that_is_none_is_kept_with_its_reason_and_paid_once(tmp_path, outcome, failure, mode):
    with serve_claude(outcomes={"question 1": [outcome]}) as server:
        replies = ask(server, tmp_path, make_asks(3), mode=mode)
        assert ask(server, tmp_path, make_asks(3), mode=mode) == replies
    reply = replies["row 1"]
    assert reply.data is None
    assert reply.failure.startswith(failure)
    assert reply.text
    assert reply.usd == pytest.approx(server.usd["question 1"], rel=1e-12)
    assert server.asked == {"question 0": 1, "question 1": 1, "question 2": 1}
    assert replies["row 0"].data
    assert replies["row 2"].data


@pytest.mark.parametrize("outcome", ["errored:overloaded_error", "errored:rate_limit_error", "expired", "canceled"])
def test_a_request_that_failed_at_the_server_is_sent_again_with_the_others_left_alone(tmp_path, outcome):
    with serve_claude(outcomes={"question 1": [outcome, outcome]}) as server:
        check_answers(server, ask(server, tmp_path, make_asks(3)), make_asks(3))
    assert server.asked == {"question 0": 1, "question 1": 3, "question 2": 1}


@pytest.mark.parametrize("mode", ["batch", "direct"])
def test_after_so_many_attempts_the_failure_stands_until_more_are_allowed(tmp_path, mode):
    with serve_claude(outcomes={"question 1": ["errored:api_error"] * 9}) as server:
        replies = ask(server, tmp_path, make_asks(3), mode=mode, attempts=2)
        assert replies["row 1"].failure == "errored: api_error"
        assert ask(server, tmp_path, make_asks(3), mode=mode, attempts=2) == replies
        asked = server.asked["question 1"]
        assert asked == (2 if mode == "batch" else 4)  # a direct attempt is two tries
        ask(server, tmp_path, make_asks(3), mode=mode, attempts=3)
    assert server.asked["question 1"] == asked + (1 if mode == "batch" else 3)
    assert server.paid == {"question 0": 1, "question 2": 1}


@pytest.mark.parametrize("mode", ["batch", "direct"])
def test_an_invalid_request_is_sent_once(tmp_path, mode):
    with serve_claude(outcomes={"question 1": ["errored:invalid_request_error"]}) as server:
        replies = ask(server, tmp_path, make_asks(3), mode=mode)
    assert replies["row 1"] == claude_messages.Reply(None, "", "errored: invalid_request_error", 0.0)
    assert server.asked["question 1"] == 1


KEYS = st.sampled_from("type message error content text usage input_tokens output_tokens stop_reason".split())
WORDS = st.sampled_from(["succeeded", "errored", "text", "refusal"])
VALUES: st.SearchStrategy = st.deferred(
    lambda: (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
        | st.lists(VALUES, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), VALUES | WORDS, max_size=5)
    )
)  # fmt: skip


@given(VALUES)
def test_whatever_a_result_holds_there_is_an_outcome_with_data_or_a_reason(value):
    for given_value in (value, {"type": "succeeded", "message": value}, {"type": "errored", "error": value}):
        outcome = claude_messages.read_result(given_value, make_settings())
        assert (outcome.data is None) == bool(outcome.failure)
        assert outcome.usd >= 0


def test_texts_that_no_encoding_holds_are_asked_all_the_same(tmp_path):
    with serve_claude() as server:
        replies = ask(server, tmp_path, [Ask("a \ud800", "b \udfff")])
    assert replies["a \ud800"].data["reason"] == "because b ?"


# ------------------------------------------------------------------ posts whose fate is in doubt


@pytest.mark.parametrize("fault", ["accepted, drop", "accepted, 500", "accepted, silent", "accepted, garbage"])
def test_a_batch_whose_name_was_lost_is_found_and_not_paid_twice(tmp_path, fault):
    with serve_claude(faults={"create": [fault]}) as server:
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
    assert count_requests(server, "create") == 1
    assert [record["how"] for record in read_records(tmp_path, "sent")] == ["found"]


@pytest.mark.parametrize("fault", ["drop", "500", "529", "silent", "garbage"])
def test_a_batch_that_never_turns_up_is_given_up_in_the_journal_and_sent_again(tmp_path, fault):
    with serve_claude(faults={"create": [fault, fault]}) as server:
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
    assert count_requests(server, "create") == 3
    assert read_records(tmp_path, "abandoned") == [{"reason": "no such batch turned up", "in_doubt": True}] * 2
    assert len(read_records(tmp_path, "intent")) == 3


def test_a_batch_that_was_refused_for_now_is_sent_again_at_once_and_not_looked_for(tmp_path):
    with serve_claude(faults={"create": ["429", "429"]}) as server:
        started = time.monotonic()
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
        assert time.monotonic() - started >= 0.04  # the server asks for 0.02 s each time
    assert count_requests(server, "list") == 0
    assert [record["in_doubt"] for record in read_records(tmp_path, "abandoned")] == [False, False]


def test_where_the_queue_is_full_the_rest_waits_until_a_batch_has_ended(tmp_path):
    with serve_claude(faults={"create": ["", *["429"] * 1]}, polls=3) as server:
        check_answers(server, ask(server, tmp_path, make_asks(4), batch_size=2), make_asks(4))
    assert [route for route, _, _ in server.log if route in ("create", "results")] == [
        "create",
        "create",
        "results",
        "create",
        "results",
    ]


def test_a_lost_batch_that_still_runs_is_waited_for(tmp_path):
    with serve_claude(faults={"create": ["accepted, drop"]}, polls=40) as server:
        check_answers(server, ask(server, tmp_path, make_asks(), settle_seconds=0.0), make_asks())
    assert count_requests(server, "create") == 1


def test_batches_of_others_are_never_taken_for_a_lost_one(tmp_path):
    theirs = [
        {
            "custom_id": f"other-{i}",
            "params": {"messages": [{"content": f"theirs {i}"}], "system": [{"text": ""}], "model": "m"},
        }
        for i in range(5)
    ]
    with serve_claude(faults={"create": ["drop"]}, page=2) as server:
        for polls in (0, 3, 30):
            server.accept(theirs, polls=polls)
        server.accept(theirs[:2])
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
        assert len(read_records(tmp_path, "abandoned")) == 1


def test_two_lost_batches_of_one_size_are_told_apart(tmp_path):
    with serve_claude(faults={"create": ["accepted, drop", "accepted, drop"]}, page=1) as server:
        server.accept([])
        check_answers(server, ask(server, tmp_path, make_asks(4), batch_size=2), make_asks(4))
    assert len(server.batches) == 3
    assert sorted(record["how"] for record in read_records(tmp_path, "sent")) == ["found", "found"]


def test_a_lost_batch_that_is_listed_late_is_found_within_the_time_to_settle(tmp_path):
    with serve_claude(faults={"create": ["accepted, drop"]}, late=5) as server:
        check_answers(server, ask(server, tmp_path, make_asks(), settle_seconds=5.0), make_asks())


def test_the_results_of_a_lost_batch_that_break_off_do_not_make_it_a_stranger(tmp_path):
    faults = {"create": ["accepted, drop"], "results": ["empty", "drop", "empty", "cut politely"]}
    with serve_claude(faults=faults) as server:
        check_answers(server, ask(server, tmp_path, make_asks(2)), make_asks(2))


def test_an_api_that_takes_no_batch_is_given_up_after_some_and_the_next_run_goes_on(tmp_path):
    with serve_claude(faults={"create": ["500"] * 5}) as server:
        with pytest.raises(StudyError, match=r"failed 5 times in a row \(status 500\).*Run the same again"):
            ask(server, tmp_path, make_asks())
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())


def test_a_server_that_cannot_be_reached_was_sent_nothing(tmp_path):
    with serve_claude() as server:
        pass
    with pytest.raises(StudyError, match=r"5 times in a row \(ConnectError\)"):
        ask(server, tmp_path, make_asks())
    assert [record["in_doubt"] for record in read_records(tmp_path, "abandoned")] == [False] * 5


# ------------------------------------------------------------------ looks that fail


@pytest.mark.parametrize("fault", ["429", "500", "529", "drop", "silent", "garbage"])
@pytest.mark.parametrize("route", ["list", "retrieve", "results"])
def test_a_look_that_fails_is_repeated(tmp_path, route, fault):
    with serve_claude(
        faults={route: [fault, fault], "create": ["accepted, drop"] if route == "list" else []}
    ) as server:
        check_answers(server, ask(server, tmp_path, make_asks(2), timeout_seconds=0.2), make_asks(2))
        assert not server.faults[route]


@pytest.mark.parametrize("fault", ["cut", "cut politely"])
def test_results_that_break_off_are_read_again_and_none_is_lost(tmp_path, fault):
    with serve_claude(faults={"results": [fault, fault]}) as server:
        check_answers(server, ask(server, tmp_path, make_asks(9)), make_asks(9))
        assert not server.faults["results"]


def test_results_that_come_twice_are_damaged_or_unknown_are_counted_and_change_nothing(tmp_path, capsys):
    with serve_claude(noise=1) as server:
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
    assert read_records(tmp_path, "ended") == [{"strangers": 3, "missing": 0}]
    assert "3 unknown results" in capsys.readouterr().out


def test_a_request_without_a_result_is_a_failure_that_is_not_paid_again(tmp_path):
    with serve_claude(faults={"results": ["lacking"] * 3}) as server:
        replies = ask(server, tmp_path, make_asks(3))
    assert [reply.failure for reply in replies.values()] == ["", "", "errored: no result in the batch"]
    assert set(server.paid.values()) == {1}


def test_an_api_that_stays_down_is_given_up_and_the_next_run_goes_on(tmp_path):
    with serve_claude(faults={"retrieve": ["500"] * 8}) as server:
        with pytest.raises(StudyError, match=r"at batch msgbatch_001 \(status 500\)"):
            ask(server, tmp_path, make_asks())
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())


def test_results_at_another_server_are_not_fetched_with_our_key(tmp_path):
    with serve_claude() as other, serve_claude() as server:
        server.results_host = f"http://localhost:{other.server_port}"
        with pytest.raises(StudyError, match="lie at localhost"):
            ask(server, tmp_path, make_asks())
        assert other.log == []


def test_a_batch_that_was_deleted_can_be_given_up_by_deleting_its_intent(tmp_path):
    with serve_claude(polls=10**9) as server:
        with pytest.raises(StudyError, match="max_hours"):
            ask(server, tmp_path, make_asks(2), max_hours=0.1 / 3600)
        del server.batches["msgbatch_001"]
        with pytest.raises(StudyError, match="delete its intent line"):
            ask(server, tmp_path, make_asks(2))
        path = tmp_path / "claude.jsonl"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "/intent/" not in line))
        server.polls = 1
        check_answers(server, ask(server, tmp_path, make_asks(2)), make_asks(2))


def test_a_batch_whose_results_are_gone_names_the_line_to_delete(tmp_path):
    with (
        serve_claude(keeps_results=False) as server,
        pytest.raises(StudyError, match=r"29 days\). Delete the line") as caught,
    ):
        ask(server, tmp_path, make_asks(2))
    nonce = re.search("intent/([0-9a-f]{16})", str(caught.value))[1]
    assert f"/intent/{nonce}" in (tmp_path / "claude.jsonl").read_text()


def test_it_stops_after_max_hours_and_goes_on_where_it_was(tmp_path):
    with serve_claude(polls=10**9) as server:
        with pytest.raises(StudyError, match=r"max_hours.*Run the same again"):
            ask(server, tmp_path, make_asks(), max_hours=0.2 / 3600)
        server.batches["msgbatch_001"].polls = 1
        check_answers(server, ask(server, tmp_path, make_asks()), make_asks())
    assert count_requests(server, "create") == 1


# ------------------------------------------------------------------ the direct mode


def test_a_few_asks_are_answered_directly_at_full_price(tmp_path):
    with serve_claude() as server:
        check_answers(server, ask(server, tmp_path, make_asks(9), mode="direct"), make_asks(9))
    assert count_requests(server, "create") == 0
    assert len(read_records(tmp_path, "result")) == 9


@pytest.mark.parametrize("fault", ["429", "500", "529", "drop", "silent"])
def test_a_direct_ask_that_fails_is_repeated(tmp_path, fault):
    with serve_claude(faults={"messages": [fault, fault]}) as server:
        check_answers(server, ask(server, tmp_path, make_asks(4), mode="direct"), make_asks(4))


def test_what_was_answered_directly_before_a_refusal_is_kept(tmp_path):
    with serve_claude(faults={"messages": ["", "", "", "401"]}) as server:
        with pytest.raises(StudyError, match="refuses the key"):
            ask(server, tmp_path, make_asks(9), mode="direct", concurrency=1)
        assert len(read_records(tmp_path, "result")) == count_requests(server, "messages") - 1
        check_answers(server, ask(server, tmp_path, make_asks(9), mode="direct"), make_asks(9))


def test_a_lost_batch_is_settled_before_its_asks_are_asked_directly(tmp_path):
    with serve_claude(faults={"create": ["accepted, drop"]}, polls=10**9) as server:
        with pytest.raises(StudyError, match="max_hours"):
            ask(server, tmp_path, make_asks(2), max_hours=0.1 / 3600)
        server.batches["msgbatch_001"].polls = 1
        check_answers(server, ask(server, tmp_path, make_asks(4), mode="direct"), make_asks(4))


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize(("value", "words"), [(None, "isn't set"), ("", "isn't set"), ("sk-ant\nsecret", "characters")])
def test_without_a_usable_key_it_says_so_and_sends_nothing(tmp_path, monkeypatch, value, words):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    if value is not None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    with serve_claude() as server, pytest.raises(StudyError, match=words) as caught:
        ask(server, tmp_path, make_asks())
    assert "secret" not in str(caught.value)
    assert server.log == []


@pytest.mark.parametrize("mode", ["batch", "direct"])
@pytest.mark.parametrize("status", ["400", "401", "403", "404", "413", "429", "500"])
def test_the_key_reaches_the_server_and_nothing_else_even_if_the_server_repeats_it(tmp_path, capfd, mode, status):
    with serve_claude(faults={"create": [status] * 9, "messages": [status] * 99}) as server:
        try:
            said = repr(ask(server, tmp_path, make_asks(2), mode=mode))
        except StudyError as error:
            said = "".join(traceback.format_exception(error))
    assert any(KEY in str(headers) for _, _, headers in server.log)
    assert KEY not in said + (tmp_path / "claude.jsonl").read_text() + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "stream"}, "mode"),
        ({"batch_size": 100_001}, "batch_size"),
        ({"attempts": 0}, "attempts"),
        ({"max_usd": -1.0}, "negative"),
        ({"schema": {"type": "array"}}, "object"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, words):
    with pytest.raises(StudyError, match=words):
        make_settings(**change)


# ------------------------------------------------------------------ any schedule of faults

CREATE = st.sampled_from(["", "", "429", "500", "drop", "accepted, drop", "accepted, 500", "accepted, garbage"])
LOOK = st.sampled_from(["", "", "", "429", "500", "529", "drop", "garbage"])
READ = st.sampled_from(["", "", "500", "drop", "cut", "cut politely", "empty"])
OUTCOME = st.sampled_from(["ok", "errored:api_error", "expired", "canceled", "refusal", "garbage", "max_tokens"])


@pytest.mark.slow
@settings(max_examples=30, phases=[Phase.generate])  # no shrinking: an example takes a second
@given(
    st.lists(CREATE, max_size=4),
    st.lists(LOOK, max_size=6),
    st.lists(READ, max_size=2),
    st.lists(st.lists(OUTCOME, max_size=3), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(0, 1),
)
def test_under_any_faults_each_ask_has_one_reply_nothing_is_paid_twice_and_the_accounts_agree(
    create, look, read, scripts, batch_size, polls, noise
):
    asks = make_asks(len(scripts))
    faults = {"create": [*create], "list": look[:3], "retrieve": look[3:], "results": [*read]}
    outcomes = {each.user: script for each, script in zip(asks, scripts, strict=True)}
    with (
        serve_claude(faults=faults, outcomes=outcomes, polls=polls, noise=noise) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        most = estimate_usd(asks, settings=make_settings())
        replies = ask(server, folder, asks, batch_size=batch_size)
        at_risk = sum(record["in_doubt"] for record in read_records(folder, "abandoned"))
    server.run_all()
    assert list(replies) == [each.id for each in asks]
    for each, script in zip(asks, scripts, strict=True):
        reply = replies[each.id]
        last = next((o for o in [*script, "ok"][:3] if not o.startswith(("errored", "exp", "canc"))), "failed")
        assert (reply.data is not None) == (last == "ok")
        assert server.paid[each.user] == (last != "failed")
        assert reply.usd == pytest.approx(server.usd.get(each.user, 0.0), rel=1e-12)
    assert at_risk == sum(fault in ("500", "drop") for fault in create[: count_requests(server, "create")])
    assert sum(server.usd.values()) <= most


# ------------------------------------------------------------------ processes that end early

CHILD = """
import json, sys
from pathlib import Path
from s1_utils.claude import Ask, ClaudeSettings, ask_claude
from s1_utils.store import Journal
with Journal(Path(sys.argv[3]), "key") as journal:
    asks = [Ask(**each) for each in json.loads(sys.argv[2])]
    ask_claude(asks, journal, settings=ClaudeSettings(**json.loads(sys.argv[1])))
"""


@contextmanager
def start_child(server, folder, asks, **changes):
    values = (asdict(make_settings(server.url, timeout_seconds=20.0, **changes)), [asdict(each) for each in asks])
    arguments = [*map(json.dumps, values), str(folder / "claude.jsonl")]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        server.victim = child.pid
        try:
            yield child
        finally:
            child.kill()


def test_killed_between_the_post_and_its_record_it_finds_the_batch_again(tmp_path):
    with serve_claude(faults={"create": ["", "accepted, kill"]}, polls=3) as server:
        with start_child(server, tmp_path, make_asks(5), batch_size=2) as child:
            assert child.wait(60) == -signal.SIGKILL
        assert [len(read_records(tmp_path, kind)) for kind in ("intent", "sent")] == [2, 1]
        check_answers(server, ask(server, tmp_path, make_asks(5), batch_size=2), make_asks(5))
    assert count_requests(server, "create") == 3


def test_killed_among_the_results_it_reads_the_rest_and_pays_nothing_again(tmp_path):
    with serve_claude(faults={"results": ["kill"]}) as server:
        server.is_due = lambda: len((tmp_path / "claude.jsonl").read_text().split("/result/")) > 5
        with start_child(server, tmp_path, make_asks(40)) as child:
            assert child.wait(60) == -signal.SIGKILL
        assert 0 < len(read_records(tmp_path, "result")) < 40
        check_answers(server, ask(server, tmp_path, make_asks(40)), make_asks(40))
    assert count_requests(server, "create") == 1


def test_interrupted_while_it_waits_it_says_how_to_go_on_and_does(tmp_path):
    with serve_claude(polls=10**9) as server:
        with start_child(server, tmp_path, make_asks(3)) as child:
            while not count_requests(server, "retrieve"):
                assert child.poll() is None
                time.sleep(0.01)
            os.kill(child.pid, signal.SIGINT)
            said = child.communicate(timeout=60)[0]
        assert "batches go on at the server. Run the same again" in said
        server.batches["msgbatch_001"].polls = 0
        check_answers(server, ask(server, tmp_path, make_asks(3)), make_asks(3))
    assert count_requests(server, "create") == 1


def test_a_discount_or_price_that_changes_later_does_not_change_what_was_paid(tmp_path):
    with serve_claude() as server:
        first = ask(server, tmp_path, make_asks(2))
        assert ask(server, tmp_path, make_asks(2), batch_discount=0.0, usd_per_million_input=9.0) == first
    assert replace(make_settings(), batch_discount=0.0).key == make_settings().key
