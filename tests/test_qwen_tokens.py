"""Qwen2.5's token counts from the vocabulary that a package carries."""

import base64
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import qwen_tokens
from s1_utils.errors import StudyError


@pytest.mark.parametrize(
    ("text", "ids"),
    [("Hello world!", [9707, 1879, 0]), ("", []), ("\n\n", [271]), ("Wait", [14190]), ("2025", [17, 15, 17, 20])],
)
def test_texts_have_the_ids_of_qwen(text, ids):
    assert qwen_tokens.encode_qwen(text) == ids


def test_a_chat_marker_is_counted_as_the_text_it_is():
    assert qwen_tokens.count_qwen_tokens("<|im_start|>") > 1


def test_composed_and_decomposed_letters_are_the_same():
    assert qwen_tokens.encode_qwen("é") == qwen_tokens.encode_qwen("e\u0301")


def test_what_no_encoding_holds_is_counted_all_the_same():
    assert qwen_tokens.count_qwen_tokens("a\ud800b") >= 2


@given(st.text(max_size=60))
def test_a_text_never_has_more_tokens_than_bytes(text):
    plain = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    assert qwen_tokens.count_qwen_tokens(text) <= len(plain.encode())


def write(path, lines):
    path.write_bytes(b"".join(base64.b64encode(pair) + b" %d\n" % rank for pair, rank in lines))
    return path


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"has 2 byte pairs, Qwen2.5 has 151643: install the pinned dashscope"):
        qwen_tokens.read_ranks(write(tmp_path / "v", [(b"a", 0), (b"b", 1)]))


def test_a_damaged_vocabulary_is_refused(tmp_path):
    (tmp_path / "v").write_bytes(b"!!! 0\n")
    with pytest.raises(StudyError, match="reinstall dashscope"):
        qwen_tokens.read_ranks(tmp_path / "v")
