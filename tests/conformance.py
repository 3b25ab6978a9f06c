"""What every engine must do: the same ids as full recomputation, and samples by the model's own law.

Any engine over the tiny model of `make_model` can be checked; no tokenizer is needed. The reference is the scripted
engine with that model as its next id: no cache, no batch, fp32, greedy. Rows with a step whose candidates lie within
`NEAR` logits may differ; they are counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from s1_utils import controls
from s1_utils.budget_forcing import (
    Answer,
    Decode,
    Force,
    Ids,
    Markers,
    Policy,
    Ran,
    Restart,
    Segment,
    Setting,
    force_budget,
)
from s1_utils.engines import Engine, Row
from s1_utils.engines.scripted import ScriptedEngine

VOCABULARY = 40
WINDOW = 128
NEAR = 1e-4


def make_model() -> Any:
    """A tiny random Llama in fp32, sharp enough that logits are seldom nearly equal."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=WINDOW,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
        dtype=torch.float32,
    )
    torch.manual_seed(5)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6 if weight.ndim > 1 else 1)
    return model.eval()


def save_model(model: Any, folder: Path) -> Path:
    """The model as files, with a tokenizer of one word an id for servers that insist on text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.save_pretrained(folder)
    special = {"bos_token": "w1", "eos_token": "w2", "pad_token": "w0", "unk_token": "w0"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


class Reference:
    """The model's own choices by full recomputation, each prefix computed once; knows the smallest margin it saw."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.known: dict[Ids, list[float]] = {}
        self.margin = float("inf")
        self.engine = ScriptedEngine(self.next_token, self.next_token, self.rank)

    def read_logits(self, ids: Ids) -> list[float]:
        import torch

        if ids not in self.known:
            with torch.inference_mode(), use_one_thread():
                self.known[ids] = self.model(torch.tensor([ids]), use_cache=False).logits[0, -1].tolist()
        return self.known[ids]

    def next_token(self, ids: Ids, banned: frozenset[int] = frozenset()) -> int:
        logits = self.read_logits(ids)
        best, second = sorted((i for i in range(len(logits)) if i not in banned), key=lambda i: -logits[i])[:2]
        self.margin = min(self.margin, logits[best] - logits[second])
        return best

    def rank(self, ids: Ids, watch: Ids) -> int:
        logits = self.read_logits(ids)
        best = max(logits[i] for i in watch)
        others = [abs(logit - best) for i, logit in enumerate(logits) if i not in watch]
        self.margin = min(self.margin, *others)
        return sum(logit > best for logit in logits)

    def run(self, row: Row) -> tuple[Any, float]:
        """(what its policy returns, the smallest margin on the way)."""
        self.margin = float("inf")
        return self.engine.run([row])[0], self.margin

    def continue_freely(self, prompt: Ids, n: int) -> Ids:
        ids: Ids = ()
        while len(ids) < n:
            ids += (self.next_token(prompt + ids),)
        return ids


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Two threads wait for each other on a tiny model, and very long where another process takes a core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_prompts(n: int = 16, seed: int = 0) -> list[Ids]:
    rng = random.Random(seed)
    return [(3, 4, *(rng.randrange(5, VOCABULARY) for _ in range(rng.randrange(1, 9)))) for _ in range(n)]


@dataclass(frozen=True)
class Format:
    """Stops that this model does run into: one id, two and three; and a format built with the first two."""

    one: Ids
    two: Ids
    three: Ids
    markers: Markers


def find_format(reference: Reference, prompts: Sequence[Ids], *, is_long: bool = False) -> Format:
    """What the model often writes, taken as the markers; `is_long`: no marker of a single id."""
    texts = [reference.continue_freely(prompt, 24) for prompt in prompts]

    def pick(n: int, *without: Ids) -> Ids:
        parts = (text[i : i + n] for text in texts for i in range(2, len(text) - n))
        counts = Counter(part for part in parts if len(set(part)) == n and not any(_holds(part, w) for w in without))
        return min(counts, key=lambda part: (-counts[part], part))

    one = pick(1)
    two = pick(2, one)
    three = pick(3, one, two)
    before = Counter(text[i - 1] for text in texts for i in range(1, 24) if text[i] == one[0] != text[i - 1])
    newline = max(before, key=lambda i: (before[i], i))
    ends = (two, three, (newline, *two)) if is_long else ((newline, *one), one, two)
    markers = Markers(
        end_markers=ends,
        thinking_end=(30, 31),
        answer_prefix=(32,),
        newline=(newline,),
        ends_in_newline=frozenset({newline}),
        turn_ends=(two, three) if is_long else (one, two),
        thinking_start=(33,),
    )
    return Format(one, two, three, markers)


def _holds(ids: Ids, part: Ids) -> bool:
    return any(ids[i : i + len(part)] == part for i in range(len(ids)))


def find_own_end(reference: Reference, prompts: Sequence[Ids]) -> Ids:
    """A prompt after which the model writes the id that its own files call an end: no policy here does."""
    own = reference.model.config.eos_token_id
    for prompt in prompts:
        text = reference.continue_freely(prompt, 24)
        if own in text:
            return prompt + text[: text.index(own)]
    raise AssertionError("the model never writes its own end: take other prompts")


def play(*segments: Segment) -> Policy:
    """A policy that runs these segments and returns all that happened."""
    happened: list[Ran] = []
    for segment in segments:
        happened.append((yield segment))
    return tuple(happened)  # type: ignore[return-value]


def yield_cases(fmt: Format) -> Iterator[tuple[str, Callable[[], Policy]]]:
    """(name, policy) of everything a policy can ask of an engine."""
    markers, one = fmt.markers, fmt.one
    waits: tuple[Ids, ...] = ((36,), (), (37, 38))
    budgets = [Setting("budget", b, 0) for b in (0, 1, 2, 5, 12, 20)]

    def force(settings: Sequence[Setting], **options: Any) -> Callable[[], Policy]:
        return partial(force_budget, markers, settings, max_answer_tokens=4, **options)

    yield "budgets", force(budgets)
    yield "budget 0", force([Setting("budget", 0, 0)])
    yield "waits", force([Setting("wait", 16, w) for w in (0, 1, 2)], wait_ids=((36,),))
    yield "waits in turn", force([*budgets, *(Setting("wait", 20, w) for w in (1, 2, 4))], wait_ids=waits)
    yield "waits without a text", force([Setting("wait", 12, 2)], wait_ids=((),))
    yield "least thinking", force([Setting("budget", b, 0) for b in (4, 12)], min_thinking=6)
    yield "least thinking and waits", force([Setting("wait", 14, 2)], wait_ids=waits, min_thinking=5)
    yield "soft budgets", force([Setting("soft", b, 0, 6, r) for b, r in ((0, 1), (3, 2), (6, 4))])
    yield "soft budget and waits", force([Setting("soft", 8, 1, 4, 3)], wait_ids=waits)
    rejecting = [Setting("reject", b, 0) for b in (1, 3, 8)]
    yield "rejection", partial(controls.reject_longer, markers, rejecting, max_tries=2, max_answer_tokens=3)
    for is_opened in (True, False):
        yield f"free, opened {is_opened}", partial(controls.think_freely, markers, max_tokens=14, is_opened=is_opened)
    options = {"wait_ids": (36,), "max_answer_tokens": 4, "stop_ids": one}
    for name, follow in (("harness", controls.force_as_harness), ("readme", controls.force_as_readme)):
        for setting in (Setting(name, 0, 1), Setting(name, 6, 0), Setting(name, 6, 2)):
            follow_setting = partial(follow, markers, setting, **options)
            yield f"{name} {setting.budget}/{setting.waits}", follow_setting
    yield from _yield_played(fmt)


def _yield_played(fmt: Format) -> Iterator[tuple[str, Callable[[], Policy]]]:
    one, two, three = fmt.one, fmt.two, fmt.three
    stops = fmt.markers.end_markers
    branches = [Answer(at, forced, 3, (two,)) for at, forced in ((6, (30, 31)), (2, (30,)), (0, ()), (5, (32,)))]
    played = {
        "answers at several places": [Decode(6, ()), *branches, Decode(3, stops), Answer(6, (), 2, stops)],
        "nothing forced": [Decode(4, stops), Force(()), Decode(4, stops)],
        "two forced in a row": [Force((36,)), Force((37, 38)), Decode(5, stops)],
        "restart": [Decode(5, stops), Force((36,)), Restart(), Decode(5, stops), Answer(0, (36,), 3, stops)],
        "a long stop": [Decode(20, (two,)), Decode(20, (three,))],
        "a stop at every cap": [segment for n in range(1, 12) for segment in (Decode(n, (two, three)), Restart())],
        "any cap": [segment for n in range(0, 9) for segment in (Decode(n, stops), Restart())],
        "least ids": [segment for n in range(1, 9) for segment in (Decode(12, stops, n), Restart())],
        "least ids, long stops": [Decode(12, (two, three), 7), Restart(), Decode(9, (two,), 9)],
        "nothing but least ids": [Decode(9, (one,), 9), Decode(1, (one,), 1), Decode(1, (one,))],
        "watched": [Decode(12, stops, 0, one, 5), Force((36,)), Decode(12, stops, 3, (*one, two[0]), 3)],
        "watched deeply": [Decode(10, (three,), 4, (7, 8), 12)],
    }
    for name, segments in played.items():
        yield name, partial(play, *segments)


@dataclass
class Report:
    """How many rows were compared, which of them differ by a near tie, and which by more than that."""

    rows: int = 0
    near: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def compare_greedy(engine: Engine, reference: Reference, prompts: Sequence[Ids] | None = None) -> Report:
    """Every case on every prompt, in one run of the engine, against full recomputation."""
    prompts = prompts or make_prompts()
    named = []
    for is_long in (False, True):
        fmt = find_format(reference, prompts, is_long=is_long)
        for name, make in yield_cases(fmt):
            named += [(f"{name}, long {is_long}, prompt {i}", p, make) for i, p in enumerate(prompts)]
    prompt = find_own_end(reference, prompts)
    named.append(("the model's own end among least ids", prompt, partial(play, Decode(2, (fmt.one,), 2))))
    outs = engine.run([Row(prompt, make()) for _, prompt, make in named])
    report = Report(rows=len(named))
    for (name, prompt, make), out in zip(named, outs, strict=True):
        expected, margin = reference.run(Row(prompt, make()))
        if out != expected:
            (report.near if margin < NEAR else report.wrong).append(f"{name}\n  is {out}\n  not {expected}")
    return report


def measure_law(engine: Engine, reference: Reference, *, n: int = 600) -> dict[str, float]:
    """p-values of chi-square tests of `n` rows at temperature 1: first ids, allowed first ids, ids after a restart.

    `repeats`: the same for how often a row's two samples agree, against independence.
    """
    prompt = max(make_prompts(), key=lambda p: -max(_soften(reference.read_logits(p))))
    law = _soften(reference.read_logits(prompt))
    likely = max(range(VOCABULARY), key=law.__getitem__)
    free, ban = Decode(1, ()), Decode(1, ((likely,),), 1)

    def make(seed: int) -> Row:
        return Row(prompt, play(free, Restart(), free, Restart(), ban, Answer(0, (), 1, ())), seed, 1.0)

    outs = engine.run([make(seed) for seed in range(n)])
    rest = [0.0 if i == likely else p / (1 - law[likely]) for i, p in enumerate(law)]
    agree = sum(p * p for p in law)
    same = sum(out[0].ids == out[2].ids for out in outs)
    return {
        "first": find_p_value(Counter(out[0].ids[0] for out in outs), law),
        "restarted": find_p_value(Counter(out[2].ids[0] for out in outs), law),
        "allowed": find_p_value(Counter(out[4].ids[0] for out in outs), rest),
        "answer": find_p_value(Counter(out[5].ids[0] for out in outs), law),
        "repeats": find_p_value(Counter({0: same, 1: n - same}), [agree, 1 - agree]),
    }


def find_p_value(counts: Counter[int], law: Sequence[float]) -> float:
    """The p-value of Pearson's test; ids expected fewer than 5 times are taken together. 0 for an impossible id."""
    import torch

    n = sum(counts.values())
    if any(law[i] == 0 for i in counts if counts[i]):
        return 0.0
    bins = [(counts[i], n * p) for i, p in enumerate(law) if n * p >= 5]
    seen, expected = n - sum(c for c, _ in bins), n - sum(e for _, e in bins)
    bins += [(seen, expected)] if expected > 1 else []
    statistic = sum((c - e) ** 2 / e for c, e in bins)
    half = torch.tensor([(len(bins) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def _soften(logits: Sequence[float]) -> list[float]:
    import torch

    return torch.tensor(logits, dtype=torch.float64).softmax(-1).tolist()
