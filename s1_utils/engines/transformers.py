"""Drives policies over a transformers model, in place on its KV cache, with rows coming and going.

Knows slots, positions and masks; knows nothing about why a token is forced. Every row owns a slot of the cache and is
at its own position in it; each step feeds one id of every row. A forced id costs one step, a dropped marker none (the
position goes back), a branched answer starts where it branches, and a row that ends gives its slot to the next in the
queue at once. Prompts are fed as blocks: their common prefix once for all rows, equal prompts once.

`keep_prefixes` shares them between runs as well: within it, a row whose prompt goes on from where a row of the run
before ended is fed only what is new.

Results depend on the rows beside them only through floating-point rounding; a group of rows run again gives the same
bytes. Full-attention decoder-only models.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Ran, Restart
from s1_utils.engines import Row, check_decode, check_window, find_banned

BLOCK = 16  # ids up to which what is forced is fed one a step, with the other rows; more go in a block first

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


@dataclass
class _Plan:
    """What the next forward writes and reads: slots [M], positions [M, Q], and how many columns are seen."""

    slots: torch.Tensor
    positions_MQ: torch.Tensor
    width: int
    is_prefix: bool = False  # the slots are 0 … M - 1, so that reading them needs no copy


class _SlotLayer(DynamicLayer):
    """Keys and values of all slots, [slots, heads, capacity, dim]; the last column takes what nobody reads."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.plan: _Plan | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys, self.values = (
            s.new_zeros(self.slots, s.shape[1], 1, s.shape[3]) for s in (key_states, value_states)
        )

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        plan = self.plan
        self.reserve(plan.width + 1)
        rows = plan.slots[:, None]
        for slab, states in ((self.keys, key_states), (self.values, value_states)):
            slab[rows, :, plan.positions_MQ] = states.transpose(1, 2)
        if plan.is_prefix:
            n = len(plan.slots)
            return self.keys[:n, :, : plan.width], self.values[:n, :, : plan.width]
        return self.keys[plan.slots, :, : plan.width], self.values[plan.slots, :, : plan.width]

    def reserve(self, capacity: int) -> None:
        old = self.keys.shape[2]
        if capacity > old:
            size = capacity + capacity // 2 + 16
            for name in ("keys", "values"):
                slab = getattr(self, name)
                grown = slab.new_zeros(*slab.shape[:2], size, slab.shape[3])
                grown[:, :, :old] = slab
                setattr(self, name, grown)

    def copy(self, source: int, target: int, length: int) -> None:
        for slab in (self.keys, self.values):
            slab[target, :, :length] = slab[source, :, :length]

    def take_out(self, slot: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of the first `length` keys and values of a slot, [heads, length, dim]."""
        return self.keys[slot, :, :length].clone(), self.values[slot, :, :length].clone()

    def put_in(self, slot: int, states: tuple[torch.Tensor, torch.Tensor], length: int) -> None:
        """Make these the first `length` keys and values of a slot."""
        if not self.is_initialized:
            self.lazy_initialization(states[0][None], states[1][None])
        self.reserve(length + 1)
        for slab, kept in zip((self.keys, self.values), states, strict=True):
            slab[slot, :, :length] = kept[:, :length]

    def get_seq_length(self) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class _Prefix:
    """What a row leaves when it ends: the ids of its prompt and trace that are cached, and their states by layer."""

    ids: Ids
    layers: list[tuple[torch.Tensor, torch.Tensor]]


# ------------------------------------------------------------------ rows


@dataclass(eq=False)
class _State:
    """A row while it runs. `cached` ids of prompt + trace (or branch) are in its slot; `pending` ones come next."""

    row: Row
    rng: random.Random
    window: int | None
    slot: int = 0
    cached: int = 0
    trace: list[int] = field(default_factory=list)
    kept: int = 0  # ids of the trace that are still in the slot, and not overwritten by an answer
    pending: list[int] = field(default_factory=list)
    segment: Decode | Answer | None = None
    out: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    result: Any = None

    def start(self) -> None:
        self._advance(None)

    def find_banned(self) -> list[int]:
        """The ids that may not be sampled next."""
        segment = self.segment
        return find_banned(self.out, segment.stops, segment.min_tokens) if isinstance(segment, Decode) else []

    def take(self, token: int) -> None:
        """The model's next id; ends the segment if that is over."""
        self.out.append(token)
        over = check_decode(self.out, self.segment.max_tokens, self.segment.stops)
        if over is None:
            self.pending = [token]
            return
        ids = tuple(self.out[: over[0]])
        if isinstance(self.segment, Decode):
            self.trace += ids
            self.kept = min(self.cached - len(self.row.prompt_ids), len(self.trace))
        self._advance(Ran(ids, over[1], tuple(self.ranks[: over[0]])))

    def _advance(self, ran: Ran | None) -> None:
        """Tell the policy what happened, and prepare what it wants next; no segment once it has returned."""
        self.out, self.ranks = [], []
        try:
            segment = self.row.policy.send(ran)
            while isinstance(segment, Force | Restart):
                if isinstance(segment, Restart):
                    self.trace, self.kept, ids = [], 0, ()
                else:
                    ids = segment.ids
                self.trace += ids
                segment = self.row.policy.send(Ran(ids))
        except StopIteration as stop:
            self.segment, self.result, self.pending = None, stop.value, []
            return
        self.segment = segment
        is_answer = isinstance(segment, Answer)
        at = segment.at if is_answer else len(self.trace)
        wanted = [*self.row.prompt_ids, *self.trace[:at], *(segment.forced if is_answer else ())]
        check_window(self.window, len(wanted), segment.max_tokens)
        self.kept = min(self.kept, at)
        there = min(self.cached, len(self.row.prompt_ids) + self.kept)
        self.cached = min(there, len(wanted) - 1)  # the last id is fed again if need be: its logits are gone
        self.pending = wanted[self.cached :]


class TransformersEngine:
    """Runs rows on `model` (a causal LM on its device), `slots` of them at a time; `pad_id` fills what is masked.

    `forward_tokens` counts every token the model was run on, prompts and forced ids included; `steps` the steps.
    """

    def __init__(self, model: Any, *, pad_id: int, slots: int = 64) -> None:
        if slots < 1:
            raise ValueError(f"slots must be 1 or more, not {slots}.")
        AttentionInterface.register("grouped_sdpa", _grouped_sdpa)
        AttentionMaskInterface.register("grouped_sdpa", sdpa_mask)
        model.set_attn_implementation("grouped_sdpa")
        self.model = model.eval()
        self.window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.pad_id = pad_id
        self.slots = slots
        self.forward_tokens = self.steps = 0
        self.kept: list[_Prefix] | None = None  # of the last run, where prefixes are kept

    @contextmanager
    def keep_prefixes(self) -> Iterator[None]:
        """Within it, rows start from the longest cached beginning of their prompt that the run before has left.

        Takes the memory of that run's keys and values until the next run ends.
        """
        self.kept = []
        try:
            yield
        finally:
            self.kept = None

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> list[Any]:
        """The return value of each row's policy, in order. Raises ValueError where a row is too long for the model."""
        states = [_State(row, random.Random(row.seed), self.window) for row in rows]
        queue = deque(states)
        shared = () if self.kept else _find_shared([state.row.prompt_ids for state in states])
        run = _Run(self, min(self.slots, len(states)), shared)
        while queue or run.active:
            run.admit(queue)
            run.step()
        if self.kept is not None:
            self.kept = run.left
        return [state.result for state in states]


def _find_shared(prompts: Sequence[Ids]) -> Ids:
    """The ids that all prompts begin with (the least and the greatest differ as early as any two), but for the last."""
    if not prompts:
        return ()
    pairs = zip(min(prompts), max(prompts), strict=False)
    n = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return prompts[0][: min(n, min(map(len, prompts)) - 1)]


class _Run:
    """The slots of one call of `run`: active rows are in slots 0, 1, … without gaps."""

    def __init__(self, engine: TransformersEngine, slots: int, shared: Ids) -> None:
        self.engine = engine
        self.active: list[_State] = []
        self.slots = slots
        layers = engine.model.config.get_text_config().num_hidden_layers
        self.layers = [_SlotLayer(slots + 1) for _ in range(layers)]  # one more keeps what all prompts begin with
        self.cache = Cache(layers=self.layers)
        self.shared = shared
        self.left: list[_Prefix] = []
        if shared:
            self._feed([slots], [list(shared)], [0])

    # -------------------------------------------------------------- rows

    def admit(self, queue: deque[_State]) -> None:
        """Fill free slots from the queue; all but the last id of every prompt is cached, equal prompts once."""
        new = []
        while queue and len(self.active) < self.slots:
            state = queue.popleft()
            state.start()
            if state.segment is None:  # a policy that wants nothing
                continue
            state.slot = len(self.active)
            self.active.append(state)
            new.append(state)
        donors = {state.row.prompt_ids: state for state in reversed(self.active) if state not in new}
        copies = []
        for state in new:
            prompt = state.row.prompt_ids
            if prompt in donors:
                copies.append((donors[prompt], state))
            else:
                donors[prompt] = state
                self._restore(state)
        self._feed_blocks([state for state in new if donors[state.row.prompt_ids] is state], 1)
        for donor, state in copies:
            self._load(donor.slot, state, min(donor.cached, len(state.row.prompt_ids) - 1))

    def _restore(self, state: _State) -> None:
        """Start a row from what all prompts begin with, or from what a row of the run before has left."""
        prompt = state.row.prompt_ids
        known = [prefix for prefix in self.engine.kept or () if prompt[: len(prefix.ids)] == prefix.ids]
        if not known:
            self._load(self.slots, state, len(self.shared))
            return
        longest = max(known, key=lambda prefix: len(prefix.ids))
        length = min(len(longest.ids), len(prompt) - 1)
        for layer, states in zip(self.layers, longest.layers, strict=True):
            layer.put_in(state.slot, states, length)
        del state.pending[:length]
        state.cached = length

    def _leave(self, state: _State) -> None:
        """Keep what an ended row has cached of its prompt and trace, for rows of the next run."""
        length = min(state.cached, len(state.row.prompt_ids) + state.kept)
        ids = (*state.row.prompt_ids, *state.trace)[:length]
        self.left.append(_Prefix(ids, [layer.take_out(state.slot, length) for layer in self.layers]))

    def _load(self, source: int, state: _State, length: int) -> None:
        """Copy the first `length` cached ids of a slot to a row's own."""
        if length:
            for layer in self.layers:
                layer.copy(source, state.slot, length)
            del state.pending[: length - state.cached]
            state.cached = length

    def _feed_blocks(self, states: list[_State], most: int) -> None:
        """Feed rows with more than so many ids pending all but the last, which the next step takes."""
        long = [state for state in states if len(state.pending) > most]
        if long:
            self._feed([s.slot for s in long], [s.pending[:-1] for s in long], [s.cached for s in long])
            for state in long:
                state.cached += len(state.pending) - 1
                del state.pending[:-1]

    def _retire(self) -> None:
        """Close the gaps that finished rows leave: the last rows move into their slots."""
        for slot in range(len(self.active) - 1, -1, -1):
            if self.active[slot].segment is None:
                if self.engine.kept is not None:
                    self._leave(self.active[slot])
                last = self.active.pop()
                if last.segment is not None and last.slot != slot:
                    for layer in self.layers:
                        layer.copy(last.slot, slot, last.cached)
                    last.slot = slot
                    self.active[slot] = last

    # -------------------------------------------------------------- steps

    def step(self) -> None:
        """Feed one id of every row, and give the next one to those that have fed all."""
        if not self.active:
            return
        self._feed_blocks(self.active, BLOCK)
        logits_NV = self._feed([s.slot for s in self.active], [[s.pending[0]] for s in self.active],
                               [s.cached for s in self.active])  # fmt: skip
        self.engine.steps += 1
        for state in self.active:
            state.cached += 1
            del state.pending[0]
        ready = [i for i, state in enumerate(self.active) if not state.pending]
        for i, token in zip(ready, _sample(self.active, ready, logits_NV), strict=True):
            self.active[i].take(token)
        self._retire()

    def _feed(self, slots: list[int], blocks: list[list[int]], starts: list[int]) -> torch.Tensor:
        """Run the model on blocks of ids, padded on the left; logits after the last id of each, [M, vocabulary].

        Pads are written to the last column, which nobody reads, and see the first, so that no softmax is empty.
        """
        device = self.engine.model.device
        width = max(map(len, blocks))
        seen = max(start + len(block) for start, block in zip(starts, blocks, strict=True))
        pads = [width - len(block) for block in blocks]
        ids = [[self.engine.pad_id] * pad + block for pad, block in zip(pads, blocks, strict=True)]
        positions = [
            [seen] * pad + list(range(start, start + width - pad)) for pad, start in zip(pads, starts, strict=True)
        ]
        positions_MQ = torch.tensor(positions, device=device)
        plan = _Plan(torch.tensor(slots, device=device), positions_MQ, seen, slots == list(range(len(slots))))
        for layer in self.layers:
            layer.plan = plan
        column_T = torch.arange(seen, device=device)
        is_pad_MQ = positions_MQ == seen
        mask_MQT = (column_T <= positions_MQ[..., None]) & ~is_pad_MQ[..., None] | (column_T == 0)
        self.engine.forward_tokens += positions_MQ.numel()
        out = self.engine.model(
            input_ids=torch.tensor(ids, device=device),
            position_ids=positions_MQ.masked_fill(is_pad_MQ, 0),
            attention_mask=mask_MQT[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()


def _sample(states: list[_State], ready: list[int], logits_NV: torch.Tensor) -> list[int]:
    """The next id of each ready row: the most likely one, or one drawn with the row's own generator."""
    if not ready:
        return []
    logits_RV = logits_NV[ready] if len(ready) < len(states) else logits_NV.clone()
    rows = [states[i] for i in ready]
    _rank_watched(rows, logits_RV)
    for j, state in enumerate(rows):
        if banned := state.find_banned():
            logits_RV[j, banned] = -torch.inf
    tokens = logits_RV.argmax(-1).tolist()
    drawn = [j for j, state in enumerate(rows) if state.row.temperature > 0]
    if drawn:
        heat = torch.tensor([rows[j].row.temperature for j in drawn], device=logits_RV.device)
        cumulative = (logits_RV[drawn] / heat[:, None]).softmax(-1, dtype=torch.float64).cumsum(-1)
        u = torch.tensor([[rows[j].rng.random()] for j in drawn], device=cumulative.device, dtype=torch.float64)
        picked = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True)
        for j, token in zip(drawn, picked[:, 0].clamp_(max=logits_RV.shape[1] - 1).tolist(), strict=True):
            tokens[j] = token
    return tokens


def _rank_watched(rows: list[_State], logits_RV: torch.Tensor) -> None:
    """Note for each row that watches ids how many others are more likely than the best of them."""
    watching = [j for j, state in enumerate(rows) if isinstance(state.segment, Decode) and state.segment.watch]
    for j in watching:
        segment = rows[j].segment
        best = logits_RV[j, list(segment.watch)].max()
        rank = segment.top if rows[j].find_banned() else min(segment.top, int((logits_RV[j] > best).sum()))
        rows[j].ranks.append(rank)
