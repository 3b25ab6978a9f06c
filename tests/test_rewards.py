"""Reward models: transformers heads against their own forward, servers that fail in every way, and who is refused."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import models, rewards
from s1_utils.errors import StudyError
from s1_utils.reward_server import ServerReward
from s1_utils.rewards import Candidate, HeadReward, cut_steps, score_candidates, score_generations
from s1_utils.store import Journal

CANDIDATES = [
    Candidate("q1", "0", "What is 2 + 2?", ("Two and two.\n\n", "Answer: 4")),
    Candidate("q1", "1", "What is 2 + 2?", ("A guess is enough here, without a single thought about it.\n\n",)),
    Candidate("q2", "0.1", "Why?", ("Because.",)),
]

# ------------------------------------------------------------------ checks


class Fixed:
    def __init__(self, *values):
        self.values = values
        self.calls = 0

    def score(self, candidates):
        self.calls += 1
        return list(self.values)[: len(candidates)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.5])
def test_a_reward_that_is_no_probability_is_refused_with_question_and_sample(value):
    with pytest.raises(StudyError, match=r"question q1, sample 1 is"):
        score_candidates(Fixed(0.5, value, 0.5), CANDIDATES)


def test_as_many_rewards_as_responses_are_wanted():
    with pytest.raises(StudyError, match="2 rewards for 3 responses"):
        score_candidates(Fixed(0.5, 0.5), CANDIDATES)
    assert score_candidates(Fixed(), []) == []


def test_generations_are_scored_once_step_by_step_and_kept_in_the_journal(tmp_path):
    class Counting(Fixed):
        def score(self, candidates):
            self.seen = [*getattr(self, "seen", []), *candidates]
            return [len(each.steps) / 10 for each in candidates]

    table = pd.DataFrame(
        {"question_id": ["a", "a", "b"], "sample": [0, 1, 0], "setting": "s", "answer": "Answer: 1"}
        | {"thinking": ["One.\n\nTwo.", "One.", ""]}
    )
    questions = pd.DataFrame({"question_id": ["a", "b"], "question": ["A?", "B?"]})
    model = Counting()
    for _ in range(2):
        with Journal(tmp_path / "a.jsonl", "k") as journal:
            scored = score_generations(model, table, questions, journal, label="m", group_size=2)
        assert scored["reward"].tolist() == [0.3, 0.2, 0.1]
    assert [each.question for each in model.seen] == ["A?", "A?", "B?"]
    assert model.seen[0].steps == ("One.\n\n", "Two.", "Answer: 1")


@given(st.text("a.\n ", max_size=30), st.sampled_from([".", "\n\n", " a"]))
def test_steps_joined_are_the_thinking_and_each_but_the_last_ends_in_the_delimiter(text, delimiter):
    steps = cut_steps(text, delimiter)
    assert "".join(steps) == text.strip()
    assert all(step.endswith(delimiter) for step in steps[:-1])
    assert all(delimiter not in step.rstrip(delimiter).removesuffix(delimiter) for step in steps)


def test_generations_without_any_text_are_scored_as_they_are(tmp_path, save):
    table = pd.DataFrame({"question_id": "a", "sample": [0, 1, 2], "setting": "s"})
    table = table.assign(thinking=["", " \n", None], answer=["", None, "Answer: 1"])
    questions = pd.DataFrame({"question_id": ["a"], "question": ["A?"]})
    reward = HeadReward(save("LlamaForSequenceClassification", num_labels=1)[0])
    with Journal(tmp_path / "a.jsonl", "k") as journal:
        found = score_generations(reward, table, questions, journal, label="m", group_size=2)["reward"]
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[0] != found[2]
    with Journal(tmp_path / "b.jsonl", "k") as journal:
        assert score_generations(reward, table.head(0), questions, journal, label="m", group_size=2).empty


# ------------------------------------------------------------------ heads


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer(models.resolve_model("random-llama"))


@pytest.fixture(scope="module")
def save(tmp_path_factory, tokenizer):
    """Write a tiny model with this head, and return (folder, model)."""

    def write(name, **options):
        config = models.load_config(models.resolve_model("random-llama"))
        config.update(options)
        torch.manual_seed(3)
        model = getattr(transformers, name)(config).eval()
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder, model

    return write


def run_alone(model, reward, candidate):
    """The head's own forward on one text."""
    ids = reward.tokenizer(reward.write(candidate), add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_an_outcome_head_gives_the_sigmoid_of_its_own_output_and_reads_the_closed_turn(save, batch_size):
    folder, model = save("LlamaForSequenceClassification", num_labels=1)
    reward = HeadReward(folder, batch_size=batch_size)
    expected = [float(run_alone(model, reward, each)[0].sigmoid()) for each in CANDIDATES]
    assert reward.score(CANDIDATES) == pytest.approx(expected, abs=1e-6)
    assert reward.write(CANDIDATES[0]).endswith("Answer: 4\n\n<|im_end|>\n")
    assert len(set(expected)) == 3


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_process_head_gives_p_good_at_the_end_of_the_last_step(save, outputs):
    folder, model = save("LlamaForTokenClassification", num_labels=outputs)
    reward = HeadReward(folder, step_end=" ки\n")
    logits = [run_alone(model, reward, each)[-1] for each in CANDIDATES]
    expected = [float(each.sigmoid()[0] if outputs == 1 else each.softmax(-1)[1]) for each in logits]
    assert reward.score(CANDIDATES) == pytest.approx(expected, abs=1e-6)
    assert reward.write(CANDIDATES[0]).endswith("Two and two.\n\n ки\nAnswer: 4 ки\n")


def test_a_causal_head_gives_the_odds_of_two_words(save):
    folder, model = save("LlamaForCausalLM")
    reward = HeadReward(folder, good="+", bad="-")
    words = [reward.tokenizer(word)["input_ids"][0] for word in "+-"]
    expected = [float(run_alone(model, reward, each)[-1, words].softmax(-1)[0]) for each in CANDIDATES]
    assert reward.score(CANDIDATES) == pytest.approx(expected, abs=1e-6)


def test_the_same_batch_gives_the_same_bits(save):
    reward = HeadReward(save("LlamaForSequenceClassification", num_labels=1)[0], batch_size=2)
    assert reward.score(CANDIDATES) == reward.score(CANDIDATES)


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("LlamaForSequenceClassification", {"num_labels": 2}, "LlamaForSequenceClassification with 2 outputs"),
        ("LlamaForTokenClassification", {"num_labels": 5}, "LlamaForTokenClassification with 5 outputs"),
        ("LlamaForCausalLM", {}, "LlamaForCausalLM, and that gives no reward"),
        ("LlamaForQuestionAnswering", {}, "LlamaForQuestionAnswering"),
        ("LlamaModel", {}, "LlamaModel"),
    ],
)
def test_a_model_of_the_wrong_head_is_refused_by_the_name_of_its_head(save, name, options, found):
    with pytest.raises(StudyError, match=rf"The head of this model is {found}"):
        HeadReward(save(name, **options)[0])


def test_a_process_model_with_code_of_its_own_is_refused_unread(tmp_path):
    config = {"model_type": "llama", "architectures": ["Qwen2ForProcessRewardModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "evil.py").write_text("raise SystemExit")
    with pytest.raises(StudyError, match="Qwen2ForProcessRewardModel"):
        HeadReward(tmp_path)


def test_a_head_whose_weights_are_missing_is_refused_rather_than_random(save):
    folder, _ = save("LlamaModel")
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "good"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StudyError, match=r"lacks weights \(score.weight\)"):
        HeadReward(folder)


def test_an_encoder_is_refused(tmp_path, tokenizer):
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=1
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(StudyError, match="no decoder-only model"):
        HeadReward(tmp_path)


def test_a_word_of_several_tokens_is_refused(save):
    with pytest.raises(StudyError, match="tokens for this reward model"):
        HeadReward(save("LlamaForCausalLM")[0], good="unquestionably right", bad="-")


def test_a_response_longer_than_the_window_is_refused_by_name(save):
    reward = HeadReward(save("LlamaForSequenceClassification", num_labels=1, max_position_embeddings=40)[0])
    with pytest.raises(StudyError, match=r"Question q1, sample 9: \d+ tokens .* window of 40"):
        reward.score([Candidate("q1", "9", "?", ("word " * 60,))])


def test_a_broken_models_nan_is_refused_by_name(save):
    folder, model = save("LlamaForSequenceClassification", num_labels=1)
    with torch.no_grad():
        model.score.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(StudyError, match="question q1, sample 0 is nan"):
        score_candidates(HeadReward(folder), CANDIDATES)


# ------------------------------------------------------------------ servers


GARBAGE = {
    "no JSON": b"{]",
    "no text": b"\xff\xfe",
    "deep": b"[" * 60_000,
    "huge": b'{"data": [{"probs": [1' + b"0" * 400 + b"]}]}",
    "words": b'{"data": [{"probs": "high"}]}',
    "another form": b'{"data": {"probs": [0.5]}}',
    "nothing": b"",
}


class PoolingServer(ThreadingHTTPServer):
    """A pooling server whose reward is the length of the response in hundreds; `faults` go wrong first, one each."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), PoolingHandler)
        self.faults, self.asked = [], []
        self.lock = threading.Lock()

    def handle_error(self, request, address):
        """The client hangs up where it has seen enough."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class PoolingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else ""
            self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        if fault == "hang up":
            self.close_connection = True
            return self.connection.close()
        if fault.isdigit():
            return self.answer(int(fault), b"a secret is here", **{"Retry-After": "0.05"})
        if fault == "endless":
            return self.answer(200, b" " * 2**22)
        if fault == "late":
            time.sleep(1.5)
        if fault in GARBAGE:
            return self.answer(200, GARBAGE[fault])
        if fault == "packed":
            return self.answer(200, b"no gzip", **{"Content-Encoding": "gzip"})
        reward = len(body["messages"][1]["content"]) / 100
        data = {"probs": [reward]} if self.path == "/classify" else {"data": [[0.9, 0.1], [1 - reward, reward]]}
        data = {"null": {"probs": [None]}, "two": {"probs": [0.5, 0.5]}}.get(fault, data)
        data = {"embedding": {"data": [[0.1] * 8]}, "one": {"data": [0.25]}, "empty": {"data": []}}.get(fault, data)
        return self.answer(200, json.dumps({"data": [data | {"index": 0}]}).encode())

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        return None


@pytest.fixture
def server():
    made = PoolingServer()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def connect(server, **options):
    return ServerReward(server.url, "m", **{"backoff": 0.01, "retries": 3, "timeout": 5.0} | options)


def expect(step_end="\n\n"):
    return [sum(len(step + step_end) for step in each.steps) / 100 for each in CANDIDATES]


@pytest.mark.parametrize("route", ["classify", "pooling"])
def test_a_servers_rewards_are_those_of_the_responses_in_their_order(server, route):
    assert connect(server, route=route, step_end="|").score(CANDIDATES) == pytest.approx(expect("|"))
    path, _, body = next(each for each in server.asked if each[2]["messages"][0]["content"] == "Why?")
    assert path == f"/{route}"
    assert body["messages"][1] == {"role": "assistant", "content": "Because.|"}
    assert body.get("continue_final_message", False) == (route == "pooling")  # a step's end must be the last token


@pytest.mark.parametrize("fault", ["500", "429", "408", "hang up", "empty", "packed", *GARBAGE])
def test_what_may_pass_is_tried_again(server, fault):
    server.faults = [fault] * 2
    route = "pooling" if fault == "empty" else "classify"
    assert connect(server, route=route).score(CANDIDATES) == pytest.approx(expect())
    assert len(server.asked) == 5


def test_what_does_not_pass_ends_in_one_line(server):
    server.faults = ["503"] * 99
    with pytest.raises(StudyError, match=r"failed 4 times in a row \(status 503\)"):
        connect(server).score(CANDIDATES[:1])


@pytest.mark.parametrize("fault", GARBAGE)
def test_a_server_that_only_answers_garbage_ends_in_one_line(server, fault):
    server.faults = [fault] * 99
    with pytest.raises(StudyError, match=r"failed 2 times in a row \(a reply that holds no reward\): see that it runs"):
        connect(server, retries=1).score(CANDIDATES[:1])


def test_a_late_reply_is_asked_for_again_and_one_that_is_always_late_ends_in_one_line(server):
    server.faults = ["late"]
    assert connect(server, timeout=0.5).score(CANDIDATES[:1]) == pytest.approx(expect()[:1])
    server.faults = ["late"] * 99
    with pytest.raises(StudyError, match=r"failed 2 times in a row \((timed out|ReadTimeout)\)"):
        connect(server, timeout=0.2, retries=1).score(CANDIDATES[:1])


def test_a_server_that_is_not_there_ends_in_one_line():
    with pytest.raises(StudyError, match="failed 2 times in a row"):
        ServerReward("http://127.0.0.1:9", "m", backoff=0.01, retries=1).score(CANDIDATES)


@pytest.mark.parametrize(
    ("fault", "route", "said"),
    [
        ("two", "classify", "returns 2 numbers where a reward was asked for"),
        ("embedding", "pooling", "returns 8 numbers"),
        ("404", "classify", "isn't there for 'm'"),
        ("501", "pooling", "a reward model has"),
        ("401", "classify", "set A_KEY to a valid one"),
        ("400", "classify", r"refuses question q1, sample 0 \(status 400: a \*\*\* is here\)"),
        ("endless", "classify", "bytes in one reply"),
    ],
)
def test_a_server_of_no_use_is_refused_without_the_key(server, monkeypatch, fault, route, said):
    monkeypatch.setenv("A_KEY", "secret")
    server.faults = [fault]
    with pytest.raises(StudyError, match=said) as raised:
        connect(server, route=route, key_variable="A_KEY").score(CANDIDATES[:1])
    assert "secret" not in str(raised.value)
    assert server.asked[0][1] == "Bearer secret"


def test_one_number_of_a_pooled_head_is_its_reward(server):
    server.faults = ["one"]
    assert connect(server, route="pooling").score(CANDIDATES[:1]) == [0.25]


def test_a_null_reward_is_refused_by_name(server):
    server.faults = ["null"]
    with pytest.raises(StudyError, match="question q1, sample 0 is nan"):
        score_candidates(connect(server, concurrency=1), CANDIDATES)


@pytest.mark.parametrize("options", [{"url": "localhost:8000"}, {"url": "http://x", "route": "score"}])
def test_an_address_or_route_that_cannot_be_is_refused(options):
    with pytest.raises(StudyError):
        ServerReward(**{"model": "m"} | options)


def test_a_parameter_names_a_folder_or_a_server_and_its_route(save, server):
    folder, _ = save("LlamaForCausalLM")
    here = rewards.load_reward(str(folder), words=["+", "-"])
    assert here.score(CANDIDATES) == HeadReward(folder, good="+", bad="-").score(CANDIDATES)
    there = rewards.load_reward(f"m@{server.url}/pooling", step_end="|")
    assert there.score(CANDIDATES) == pytest.approx(expect("|"))
    wrong = [("m@http://localhost:8000", (), "end the address in /classify"), ("no-such-model", (), "No model")]
    for name, words, said in [*wrong, (str(folder), ("+",), "name both, or none")]:
        with pytest.raises(StudyError, match=said):
            rewards.load_reward(name, words=words)


def test_the_heads_accepted_are_named_in_every_refusal():
    for head in ("sequence-classification", "token-classification", "causal"):
        assert head in rewards.ACCEPTED
