"""The server reward on vLLM's own pooling server, against the same heads through transformers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import conformance
import pytest

from s1_utils.errors import StudyError
from s1_utils.reward_server import ServerReward
from s1_utils.rewards import Candidate

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm isn't installed: make test-vllm"),
]

# no w1… or w2…: w1 and w2 are special tokens, which are found within longer words
CANDIDATES = [
    Candidate("q", "0", "w5 w6", ("w7 w8 ", "w9 ")),
    Candidate("q", "1", "w5 w6", ("w7 w31 w32 w33 ",)),
    Candidate("r", "0", "w34", ("w35 ", "w36 ", "w37 ")),
]


def save_head(name, outputs, folder):
    """(folder, model): a tiny reward model; its tokenizer has one word an id, its chat is the turns in a row."""
    import torch
    import transformers
    from transformers import AutoTokenizer

    base = conformance.make_model()
    conformance.save_model(base, folder)
    config = base.config
    config.num_labels = outputs
    torch.manual_seed(7)
    model = getattr(transformers, name)(config).eval()
    model.model.load_state_dict(base.model.state_dict())
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder, model


def score_here(model, candidate, step_end):
    """The head's own forward on what is to be read, in words w<id>: p(good) at the last one."""
    import torch

    words = (candidate.question + " " + "".join(step + step_end for step in candidate.steps)).split()
    with torch.inference_mode():
        logits = model(torch.tensor([[int(word[1:]) for word in words]])).logits[0]
    last = logits if logits.ndim == 1 else logits[-1]
    return float(last.sigmoid()[0] if len(last) == 1 else last.softmax(-1)[1])


@contextmanager
def serve(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"model": folder, "served-model-name": "m", "host": "127.0.0.1", "port": port, "runner": "pooling"}
    options |= {"dtype": "float32", "kv-cache-memory-bytes": 2**28, "block-size": 32}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    threads = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}
    process = subprocess.Popen(
        command + [f"--{name}={value}" for name, value in options.items()],
        env=os.environ | threads,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1800):
            assert process.poll() is None, "vLLM's server didn't start"
            try:
                with urllib.request.urlopen(f"{url}/v1/models", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("name", "outputs", "route"),
    [("LlamaForSequenceClassification", 1, "classify"), ("LlamaForTokenClassification", 2, "pooling")],
)
def test_the_servers_rewards_are_those_of_the_same_head_here(tmp_path, name, outputs, route):
    folder, model = save_head(name, outputs, tmp_path)
    expected = [score_here(model, each, "w30 ") for each in CANDIDATES]
    with serve(folder) as url:
        found = ServerReward(url, "m", route=route, step_end="w30 ").score(CANDIDATES)
        assert found == pytest.approx(expected, abs=1e-4)
        assert max(found) - min(found) > 1e-3
        with pytest.raises(StudyError, match="isn't there for 'another'"):
            ServerReward(url, "another", route=route).score(CANDIDATES[:1])


def test_a_served_head_of_two_outputs_is_refused_as_an_outcome_model(tmp_path):
    with (
        serve(save_head("LlamaForSequenceClassification", 2, tmp_path)[0]) as url,
        pytest.raises(StudyError, match="returns 2 numbers"),
    ):
        ServerReward(url, "m").score(CANDIDATES[:1])
