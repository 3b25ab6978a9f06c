"""Base models by name, and what is said when one can't be had."""

import pytest

from s1_utils import models
from s1_utils.errors import StudyError


def test_a_folder_without_weights_is_refused_with_what_it_lacks(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudyError, match=r"has no weights \(config.json and model.safetensors\)"):
        models.resolve_model(str(tmp_path))


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(StudyError, match="smollm2-135m-instruct, random-llama"):
        models.resolve_model("smollm3")


def test_a_hub_that_cant_be_reached_is_a_line_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match=r"Can't fetch nobody/nothing .* give its folder"):
        models.resolve_model("nobody/nothing")


def test_a_recorded_model_whose_folder_changed_is_refused():
    record = models.describe_model("random-llama", "Think.", "")
    assert models.find_recorded(record) == models.resolve_model("random-llama")
    with pytest.raises(StudyError, match="isn't the model that 01_collect recorded"):
        models.find_recorded({**record, "sha256": "0" * 64})
