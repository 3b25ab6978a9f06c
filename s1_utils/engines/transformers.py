"""Drives policies over a transformers model, in place on its KV cache.

Knows cache columns, masks and positions; knows nothing about why a token is forced. Every row of a batch writes the
same cache column at each step; what a row must not see (padding, dropped markers, other branches) is masked. So a
forced token costs one decode step and nothing is ever prefilled twice: prompts once for all samples of a question,
their common prefix once for all questions, traces once for all answers branched off them.

Results depend on the batch a row is in only through floating-point rounding; a group of rows run again gives the same
bytes. Full-attention decoder-only models; `run` raises ValueError when a row can't fit the model's window.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Ran, Segment
from s1_utils.engines import Row, check_decode

# ------------------------------------------------------------------ attention and cache


def _grouped_sdpa(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **rest: Any) -> Any:
    """sdpa for grouped-query attention without copying keys: the heads of a group become more queries.

    query: [N, heads, q, dim]; key, value: [N, kv_heads, t, dim]; mask: [N, 1, q, t] bool.
    """
    if mask is None:  # somebody else calls the model without one: nothing to group
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **rest)
    N, heads, q, dim = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    query = query.reshape(N, kv_heads, groups * q, dim)
    mask = mask.repeat(1, 1, groups, 1) if q > 1 else mask
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(N, heads, q, dim).transpose(1, 2).contiguous(), None


class _SlabLayer(DynamicLayer):
    """A cache layer that grows by doubling, so that a step appends a column without copying the rest."""

    length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys, self.values = (self._grow(slab, end + end // 2 + 16) for slab in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grow(self, slab: torch.Tensor, capacity: int) -> torch.Tensor:
        grown = slab.new_zeros(*slab.shape[:2], capacity, slab.shape[3])
        grown[:, :, : self.length] = slab[:, :, : self.length]
        return grown

    def get_seq_length(self) -> int:
        return self.length

    def select(self, rows: torch.Tensor) -> _SlabLayer:
        layer = _SlabLayer()
        layer.dtype, layer.device, layer.is_initialized = self.dtype, self.device, True
        layer.keys, layer.values = self.keys[rows], self.values[rows]
        layer.length = self.length
        return layer


def _select_rows(cache: Cache, index: torch.Tensor) -> Cache:
    return Cache(layers=[layer.select(index) for layer in cache.layers])


def _count_shared(prompts: Sequence[Ids]) -> int:
    """How many ids all prompts begin with (the least and the greatest differ as early as any two)."""
    pairs = zip(min(prompts), max(prompts), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


# ------------------------------------------------------------------ rows and batches


@dataclass
class _State:
    """A row while it runs. `columns[i]` is the cache column of `trace[i]`; what lies beyond is not fed yet."""

    row: Row
    rng: random.Random
    segment: Segment | None = None
    result: Any = None
    trace: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    decode_start: int = 0

    @property
    def is_tracing(self) -> bool:
        return isinstance(self.segment, Decode)

    def send(self, ran: Ran | None) -> None:
        """Tell the policy what happened; `segment` becomes what it wants next, None once it has returned."""
        try:
            self.segment = self.row.policy.send(ran)
            while isinstance(self.segment, Force):
                self.trace += self.segment.ids
                self.segment = self.row.policy.send(Ran(self.segment.ids))
        except StopIteration as stop:
            self.segment, self.result = None, stop.value
        self.decode_start = len(self.trace)


@dataclass
class _Batch:
    states: list[_State]
    cache: Cache
    prompt_lengths: list[int]
    visible_NT: torch.Tensor  # which cache columns each row's next token may see

    @property
    def length(self) -> int:
        return self.cache.get_seq_length()

    def select(self, keep: list[int]) -> _Batch:
        if len(keep) == len(self.states):
            return self
        index = torch.tensor(keep, dtype=torch.long, device=self.visible_NT.device)
        cache = _select_rows(self.cache, index)
        states = [self.states[i] for i in keep]
        return _Batch(states, cache, [self.prompt_lengths[i] for i in keep], self.visible_NT[index])

    def crop(self, length: int) -> None:
        for layer in self.cache.layers:
            layer.length = length

    def add_column(self, sees_N: list[bool]) -> None:
        column = torch.tensor(sees_N, device=self.visible_NT.device)[:, None]
        self.visible_NT = torch.cat([self.visible_NT, column], dim=1)


# ------------------------------------------------------------------ the engine


class TransformersEngine:
    """Runs rows on `model` (a causal LM on its device); `pad_id` fills what is masked.

    `forward_tokens` counts every token the model was run on, prompts and forced ids included.
    """

    def __init__(self, model: Any, *, pad_id: int) -> None:
        AttentionInterface.register("grouped_sdpa", _grouped_sdpa)
        AttentionMaskInterface.register("grouped_sdpa", sdpa_mask)
        model.set_attn_implementation("grouped_sdpa")
        self.model = model.eval()
        self.pad_id = pad_id
        self.forward_tokens = 0

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> list[Any]:
        """The return value of each row's policy, in order."""
        states = [_State(row, random.Random(row.seed)) for row in rows]
        if not states:
            return []
        for state in states:
            state.send(None)
        batch, logits_NV = self._prefill(states)
        while batch.states:
            self._sample_traces(batch, logits_NV)
            active = [i for i, state in enumerate(batch.states) if state.is_tracing]
            if 2 * len(active) <= len(batch.states):
                self._answer([i for i in range(len(batch.states)) if i not in active], batch)
                batch = batch.select(active)
            if batch.states:
                logits_NV = self._feed_traces(batch)
        return [state.result for state in states]

    # -------------------------------------------------------------- prompts

    def _prefill(self, states: list[_State]) -> tuple[_Batch, torch.Tensor]:
        """Cache every distinct prompt once, their common prefix once for all."""
        unique = list(dict.fromkeys(state.row.prompt_ids for state in states))
        shared = min(_count_shared(unique), min(map(len, unique)) - 1)
        cache = Cache(layer_class_to_replicate=_SlabLayer)
        device = self.model.device
        if shared:
            causal = torch.ones(1, shared, shared, dtype=torch.bool, device=device).tril()
            self._forward(cache, [unique[0][:shared]], [range(shared)], causal)
            index = torch.zeros(len(unique), dtype=torch.long, device=device)
            cache = _select_rows(cache, index)
        seen_UT = torch.ones(len(unique), shared, dtype=torch.bool, device=device)
        rests = [ids[shared:] for ids in unique]
        logits_UV, added_UQ = self._feed_block(cache, rests, [shared] * len(unique), seen_UT)
        visible_UT = torch.cat([seen_UT, added_UQ], dim=1)
        which = [unique.index(state.row.prompt_ids) for state in states]
        index = torch.tensor(which, device=device)
        if which != list(range(len(unique))):
            cache, visible_UT = _select_rows(cache, index), visible_UT[index]
        batch = _Batch(states, cache, [len(unique[u]) for u in which], visible_UT)
        return batch, logits_UV[index]

    # -------------------------------------------------------------- traces

    def _sample_traces(self, batch: _Batch, logits_NV: torch.Tensor) -> None:
        ready = [i for i, s in enumerate(batch.states) if s.is_tracing and len(s.columns) == len(s.trace)]
        for i, token in zip(ready, self._sample(batch.states, ready, logits_NV), strict=True):
            state = batch.states[i]
            segment = state.segment
            state.trace.append(token)
            over = check_decode(state.trace[state.decode_start :], segment.max_tokens, segment.stops)
            if over is None:
                continue
            keep = state.decode_start + over[0]
            ran = Ran(tuple(state.trace[state.decode_start : keep]), over[1])
            self._drop_columns(batch, i, keep)
            del state.trace[keep:]
            state.send(ran)
            if state.is_tracing and len(state.columns) == len(state.trace):
                self._drop_columns(batch, i, len(state.trace) - 1)  # fed again: its logits are gone

    def _drop_columns(self, batch: _Batch, i: int, keep: int) -> None:
        state = batch.states[i]
        batch.visible_NT[i, state.columns[keep:]] = False
        del state.columns[keep:]

    def _feed_traces(self, batch: _Batch) -> torch.Tensor:
        """Feed each tracing row its next trace id; rows that are done feed a masked pad."""
        tracing = [state.is_tracing for state in batch.states]
        ids, positions = [], []
        for state, prompt_length in zip(batch.states, batch.prompt_lengths, strict=True):
            ids.append([state.trace[len(state.columns)] if state.is_tracing else self.pad_id])
            positions.append([prompt_length + len(state.columns)])
            if state.is_tracing:
                state.columns.append(batch.length)
        batch.add_column(tracing)
        return self._forward(batch.cache, ids, positions, batch.visible_NT[:, None])

    def _sample(self, states: list[_State], ready: list[int], logits_NV: torch.Tensor) -> list[int]:
        """The next id of each ready row: the most likely one, or one drawn with the row's own generator."""
        logits_RV = logits_NV[ready] if len(ready) < len(states) else logits_NV.clone()
        for j, i in enumerate(ready):
            segment = states[i].segment
            if isinstance(segment, Decode) and segment.banned_first and len(states[i].trace) == states[i].decode_start:
                logits_RV[j, list(segment.banned_first)] = -torch.inf
        tokens = logits_RV.argmax(-1).tolist()
        drawn = [j for j, i in enumerate(ready) if states[i].row.temperature > 0]
        if drawn:
            rows = [states[ready[j]] for j in drawn]
            heat = torch.tensor([state.row.temperature for state in rows], device=logits_RV.device)
            cumulative = (logits_RV[drawn] / heat[:, None]).softmax(-1, dtype=torch.float64).cumsum(-1)
            u = torch.tensor([[state.rng.random()] for state in rows], device=cumulative.device, dtype=torch.float64)
            picked = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True)
            for j, token in zip(drawn, picked[:, 0].clamp_(max=logits_RV.shape[1] - 1).tolist(), strict=True):
                tokens[j] = token
        return tokens

    # -------------------------------------------------------------- answers

    def _answer(self, done: list[int], batch: _Batch) -> None:
        """Run all answers of the rows `done`, one branch of every row at a time, on the same cache."""
        batch = batch.select(done)
        while open_rows := [i for i, state in enumerate(batch.states) if state.segment is not None]:
            if 2 * len(open_rows) <= len(batch.states):
                batch = batch.select(open_rows)
            self._answer_once(batch)

    def _answer_once(self, batch: _Batch) -> None:
        start, states = batch.length, batch.states
        segments = [s.segment or Answer(0, (self.pad_id,), 1, ()) for s in states]
        blocks, positions, visible_NT = [], [], batch.visible_NT.clone()
        for i, (state, segment) in enumerate(zip(states, segments, strict=True)):
            if not isinstance(segment, Answer):
                raise TypeError(f"After an answer a policy may only ask for answers, not {type(segment).__name__}.")
            visible_NT[i, state.columns[segment.at :]] = False
            seen = min(segment.at, len(state.columns))
            blocks.append((*state.trace[seen : segment.at], *segment.forced))
            positions.append(batch.prompt_lengths[i] + seen)
        logits_NV, added_NQ = self._feed_block(batch.cache, blocks, positions, visible_NT)
        branch = _Batch(states, batch.cache, [0] * len(states), torch.cat([visible_NT, added_NQ], dim=1))
        answers: list[list[int]] = [[] for _ in states]
        over: list[tuple[int, Ids] | None] = [(0, ()) if state.segment is None else None for state in states]
        while True:
            ready = [i for i in range(len(states)) if over[i] is None]
            for i, token in zip(ready, self._sample(states, ready, logits_NV), strict=True):
                answers[i].append(token)
                over[i] = check_decode(answers[i], segments[i].max_tokens, segments[i].stops)
            if None not in over:
                break
            ids = [[answer[-1] if answer else self.pad_id] for answer in answers]
            after = [[p + len(b) + len(a) - 1] for p, b, a in zip(positions, blocks, answers, strict=True)]
            branch.add_column([done is None for done in over])
            logits_NV = self._forward(branch.cache, ids, after, branch.visible_NT[:, None])
        batch.crop(start)
        for state, answer, end in zip(states, answers, over, strict=True):
            if state.segment is not None:
                state.send(Ran(tuple(answer[: end[0]]), end[1]))

    # -------------------------------------------------------------- the model

    def _feed_block(
        self, cache: Cache, blocks: Sequence[Sequence[int]], starts: list[int], visible_NT: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Feed blocks of ids of unequal length, padded on the left; logits of the last ids and the columns added."""
        width = max(map(len, blocks))
        pads = [width - len(block) for block in blocks]
        ids = [[self.pad_id] * pad + list(block) for pad, block in zip(pads, blocks, strict=True)]
        positions = [[max(0, s + q - pad) for q in range(width)] for s, pad in zip(starts, pads, strict=True)]
        column = torch.arange(width, device=visible_NT.device)
        added_NQ = column[None] >= torch.tensor(pads, device=visible_NT.device)[:, None]
        inside_NQQ = (column[:, None] >= column[None]) & added_NQ[:, None] | (column[:, None] == column[None])
        mask_NQT = torch.cat([visible_NT[:, None].expand(-1, width, -1), inside_NQQ], dim=2)
        return self._forward(cache, ids, positions, mask_NQT), added_NQ

    def _forward(self, cache: Cache, ids_NQ: Any, positions_NQ: Any, mask_NQT: torch.Tensor) -> torch.Tensor:
        """Logits after the last column, [N, vocabulary]."""
        device = self.model.device
        ids = torch.tensor([list(ids) for ids in ids_NQ], device=device)
        self.forward_tokens += ids.numel()
        out = self.model(
            input_ids=ids,
            position_ids=torch.tensor([list(p) for p in positions_NQ], device=device),
            attention_mask=mask_NQT[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()
