"""Rewards: how good a response looks, whole or so far, as a number from 0 to 1.

Knows reward models as transformers heads and how their inputs are written; knows nothing about search, votes or
grading. Other reward models: a pooling server (`reward_server`), one trained on the study's own traces (`verifier`).
Anything with `score` is a reward model. Three heads are read here, all of decoder-only models, each at the last token:

  *ForSequenceClassification, 1 output       sigmoid of it; the turn is closed first, as outcome models are trained
  *ForTokenClassification, 1 or 2 outputs    p(good): a sigmoid, or the softmax's second (process models)
  *ForCausalLM, told two words               p(good) against p(bad), at the end of a step (Math-Shepherd, Llemma)

Source: s1 section 4.2 and Wu et al. 2024 (arXiv 2408.00724): a response's reward is that of its last step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from s1_utils import chat, models
from s1_utils.errors import StudyError
from s1_utils.generation import run_groups
from s1_utils.progress import quiet_libraries
from s1_utils.store import Journal

HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForCausalLM")
ACCEPTED = (
    "a reward model has a sequence-classification head with 1 output, a token-classification head with 1 or 2, or a "
    "causal head and two words, good and bad, of one token each"
)
END = "<end of the reply>"


@dataclass(frozen=True)
class Candidate:
    """A response to score, cut into steps; it may end after any of them.

    `sample` tells a question's responses apart: a sample's number, or a node's path in a search.
    """

    question_id: str
    sample: str
    question: str
    steps: tuple[str, ...]


class RewardModel(Protocol):
    def score(self, candidates: Sequence[Candidate]) -> list[float]:
        """The reward of each candidate at the end of its last step."""
        ...


def score_candidates(model: RewardModel, candidates: Sequence[Candidate]) -> list[float]:
    """One reward a candidate; raises StudyError, naming question and sample, for one that is NaN or not in 0 … 1."""
    rewards = [float(reward) for reward in model.score(candidates)] if candidates else []
    if len(rewards) != len(candidates):
        raise StudyError(f"The reward model gave {len(rewards)} rewards for {len(candidates)} responses: mend it.")
    for candidate, reward in zip(candidates, rewards, strict=True):
        if not 0 <= reward <= 1:
            raise StudyError(
                f"The reward of question {candidate.question_id}, sample {candidate.sample} is {reward}: it must lie "
                "between 0 and 1. Look at that response, and see that the reward model is whole and its head activated."
            )
    return rewards


def score_generations(
    model: RewardModel,
    generations: pd.DataFrame,
    questions: pd.DataFrame,
    journal: Journal,
    *,
    label: str,
    group_size: int,
    delimiter: str = "\n\n",
) -> pd.DataFrame:
    """question_id, sample, setting, reward of every generation: its thinking step by step, then its answer.

    `generations`: question_id, sample, setting, thinking, answer; `questions`: question_id, question. A step ends
    after `delimiter`, as in a search. Groups found in `journal` are not scored again.
    """
    keys = ["question_id", "sample", "setting"]
    texts = questions.set_index("question_id")["question"]
    candidates = [
        Candidate(row.question_id, f"{row.sample} of {row.setting}", texts[row.question_id], list_steps(row, delimiter))
        for row in generations.itertuples()
    ]

    def score_group(group: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"reward": reward} for reward in score_candidates(model, group)]

    records = list(run_groups(candidates, score_group, journal, label=label, group_size=group_size))
    rewards = pd.Series([record["reward"] for record in records], dtype="float64")
    return generations[keys].reset_index(drop=True).assign(reward=rewards)


def list_steps(row: Any, delimiter: str) -> tuple[str, ...]:
    """The steps of a generation's thinking, and its answer; a text that is missing is empty."""
    thinking, answer = ("" if pd.isna(text) else text for text in (row.thinking, row.answer))
    return (*cut_steps(thinking, delimiter), answer)


def cut_steps(thinking: str, delimiter: str) -> tuple[str, ...]:
    """The steps of a thinking, joined they are the thinking: cut after every run of `delimiter`.

    Blank ends are dropped.
    """
    return tuple(re.findall(rf".*?(?:{re.escape(delimiter)})+|.+", thinking.strip(), re.DOTALL))


def load_reward(name: str, *, step_end: str = "\n\n", words: Sequence[str] = ()) -> RewardModel:
    """The reward model of a parameter: MODEL (a folder or hub id, through transformers), or MODEL@URL of a server.

    URL ends in the route: http://localhost:8000/pooling. `words`: good and bad, for a causal head. Raises StudyError
    for a model that can't be found or has the wrong head, and an address that can't be one.
    """
    if len(words) not in (0, 2):
        raise StudyError(f"A causal reward model has two words, good and bad, not {list(words)}: name both, or none.")
    model, at, url = name.partition("@")
    if at:
        from s1_utils.reward_server import ServerReward

        base, _, route = url.rstrip("/").rpartition("/")
        return ServerReward(base, model, route=route, step_end=step_end)
    good, bad = words or ("", "")
    return HeadReward(models.resolve_model(model), step_end=step_end, good=good, bad=bad)


# ------------------------------------------------------------------ heads


def find_head(config: Any, *, good: str = "", bad: str = "") -> str:
    """Which of HEADS a model's config names; raises StudyError, naming what it found, for any other."""
    name = next(iter(config.architectures or ()), "none")
    head = next((head for head in HEADS if name.endswith(head)), "")
    outputs = "" if head in ("", "ForCausalLM") else f" with {config.num_labels} outputs"
    if head == "ForSequenceClassification" and config.num_labels == 1:
        return head
    if head == "ForTokenClassification" and config.num_labels in (1, 2):
        return head
    if head == "ForCausalLM" and good and bad:
        return head
    raise StudyError(f"The head of this model is {name}{outputs}, and that gives no reward: {ACCEPTED}.")


def load_head(folder: Path, *, good: str = "", bad: str = "") -> tuple[Any, Any, str]:
    """(model, tokenizer, head) of a local folder; fp32 on a CPU, bf16 on a GPU. No code of the folder's own is run.

    Raises StudyError for the wrong head, and for one whose weights are missing.
    """
    import torch
    import transformers

    models.require_weights(folder)
    quiet_libraries()
    head = find_head(models.load_config(folder), good=good, bad=bad)
    is_gpu = torch.cuda.is_available()
    model, info = getattr(transformers, f"AutoModel{head}").from_pretrained(
        folder, dtype=torch.bfloat16 if is_gpu else torch.float32, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise StudyError(
            f"{folder} lacks weights ({', '.join(missing[:3])}), so its {head} head would be random: {ACCEPTED}."
        )
    if head != "ForCausalLM" and not hasattr(model, "score"):
        raise StudyError(f"{type(model).__name__} is no decoder-only model: {ACCEPTED}.")
    return model.to("cuda" if is_gpu else "cpu").eval(), models.load_tokenizer(folder), head


class HeadReward:
    """The reward model of `folder`. `step_end` is what it was trained to see after every step, such as " ки\\n".

    `good`, `bad`: the words of a causal head. `forward_tokens` counts the tokens it was run on, padding aside.
    """

    def __init__(
        self, folder: Path, *, step_end: str = "\n\n", good: str = "", bad: str = "", batch_size: int = 8
    ) -> None:
        self.model, self.tokenizer, self.head = load_head(folder, good=good, bad=bad)
        self.words = [self._find_word(word) for word in (good, bad)] if self.head == "ForCausalLM" else []
        self.step_end = step_end
        self.batch_size = batch_size
        self.is_chat = bool(self.tokenizer.chat_template)
        self.closing = find_closing(self.tokenizer) if self.head == "ForSequenceClassification" else ""
        self.window = self.model.config.get_text_config().max_position_embeddings
        self.forward_tokens = 0

    def _find_word(self, word: str) -> int:
        ids = chat.encode(self.tokenizer, word)
        if len(ids) != 1:
            raise StudyError(f"{word!r} is {len(ids)} tokens for this reward model: name a word that is one.")
        return ids[0]

    def score(self, candidates: Sequence[Candidate]) -> list[float]:
        """The reward of each candidate; raises StudyError for one that is longer than the model's window."""
        rows = [self._encode(candidate) for candidate in candidates]
        states = read_states(self.model, [(ids, [len(ids) - 1]) for ids in rows], self.batch_size)
        self.forward_tokens += sum(map(len, rows))
        return [self._read(state) for state in states]

    def write(self, candidate: Candidate) -> str:
        """What the model reads."""
        head = chat.write_prompt(self.tokenizer, candidate.question, "") if self.is_chat else candidate.question + "\n"
        return head + "".join(step + self.step_end for step in candidate.steps) + self.closing

    def _encode(self, candidate: Candidate) -> list[int]:
        ids = self.tokenizer(self.write(candidate), add_special_tokens=not self.is_chat)["input_ids"]
        if len(ids) > self.window:
            raise StudyError(
                f"Question {candidate.question_id}, sample {candidate.sample}: {len(ids)} tokens don't fit the reward "
                f"model's window of {self.window}. Lower the thinking budget, or take one with a longer window."
            )
        return ids

    def _read(self, state_1D: Any) -> float:
        import torch

        with torch.inference_mode():
            if self.head == "ForCausalLM":
                return float(self.model.get_output_embeddings()(state_1D)[0, self.words].double().softmax(-1)[0])
            logits = self.model.score(state_1D)[0].double()
            return float(logits.sigmoid()[0] if len(logits) == 1 else logits.softmax(-1)[1])


def find_closing(tokenizer: Any) -> str:
    """What the chat template writes after the assistant's words; nothing without a template."""
    if not tokenizer.chat_template:
        return ""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": END}]
    return tokenizer.apply_chat_template(turns, tokenize=False).rpartition(END)[2]


def read_states(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]], batch_size: int) -> list[Any]:
    """The last hidden states of a decoder-only model at some places of each row.

    rows: (ids, places); returns a tensor [places, D] each, in the model's type. Rows are padded on the right, where
    nobody looks: results depend on the rows beside them only through rounding, and a batch run again is the same.
    """
    import torch

    out = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            width = max(len(ids) for ids, _ in batch)
            ids_NT = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in batch], device=model.device)
            states_NTD = model.base_model(input_ids=ids_NT, use_cache=False).last_hidden_state
            out += [states_TD[list(places)] for states_TD, (_, places) in zip(states_NTD, batch, strict=True)]
    return out
