"""How much memory training takes of every device: weights, gradients, moments, activations, loss, shards.

Knows the shape of any decoder-only model and which tensors PyTorch keeps; knows nothing about profiles or data. What
to change is memory_advice's, measuring is memory_check's. GB are 2**30 bytes, as vendors of 80 GB devices count them.
Source: Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) for the method, derived anew for RMSNorm, SwiGLU and
grouped queries from transformers' Llama and Qwen2; Rajbhandari et al. 2020 (arXiv 1910.02054) for the shards.
Invariants: tests/test_memory.py, which also compares with the tensors autograd saves and with real peaks.

The peak is sought in four moments: the loss (everything kept by the forward pass, plus the loss's own tensors), the
backward pass of the last layer, that of the first (little is kept, all gradients are there), and the update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from s1_utils import models
from s1_utils.errors import StudyError

GB = 2**30
BYTES = {"fp32": 4, "bf16": 2}
OPTIMISERS, ATTENTIONS = ("adamw", "adamw_8bit", "paged_adamw_8bit"), ("flash", "sdpa", "eager")
MOMENTS_8BIT = 2 * (1 + 4 / 256)  # bitsandbytes: two moments of a byte, a float for every block of 256
TILE_TOKENS, TILE_WIDTH = 4096, 32768  # of TRL's fused head (trl.kernels.chunked_logprob, trl.trainer.utils)
CUDA_GB, NCCL_GB = 1.0, 1.0  # stated, not derived: context, libraries' workspaces; buffers of collectives
MOMENTS = ["loss", "backward begins", "backward ends", "update"]
_WIDTHS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
PUBLISHED = {  # of the models' config.json: _WIDTHS, vocabulary, tied
    "qwen2.5-0.5b": ((896, 4864, 24, 14, 2), 151936, True),
    "qwen2.5-1.5b": ((1536, 8960, 28, 12, 2), 151936, True),
    "qwen2.5-3b": ((2048, 11008, 36, 16, 2), 151936, True),
    "qwen2.5-7b": ((3584, 18944, 28, 28, 4), 152064, False),
    "qwen2.5-14b": ((5120, 13824, 48, 40, 8), 152064, False),
    "qwen2.5-32b": ((5120, 27648, 64, 40, 8), 152064, False),
}


@dataclass(frozen=True)
class Shape:
    """Widths of a model and its parameter counts: of the embedding, one layer, the head (0 if tied), the last norm."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int
    vocabulary: int
    embedding: int
    layer: int
    head: int
    norm: int

    @property
    def parameters(self) -> int:
        return self.embedding + self.layers * self.layer + self.head + self.norm


@dataclass(frozen=True)
class Setup:
    """How a model is trained. Raises StudyError for what isn't known.

    `tokens`: of the longest row; `pack`: a device's rows lie end to end. `dtype` computes, weights and moments are
    stored in `master`. `fused_loss`: TRL's, which never holds all logits. `liger`: its norms and SwiGLU. `attention`:
    sdpa gets a mask where there are several rows (device_batch > 1), padded or packed, flash never does.
    `trained_share`: of tokens with a label. `accumulate`: gradients of earlier batches are there in the forward pass.
    `cpu`: torch's kernels for CPUs, and only resident pages count.
    """

    devices: int = 1
    device_gb: float = 80
    tokens: int = 32768
    device_batch: int = 1
    pack: bool = False
    shard: bool = True
    offload: bool = False
    recompute: bool = True
    optimiser: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    fused_loss: bool = True
    liger: bool = False
    attention: Literal["flash", "sdpa", "eager"] = "sdpa"
    dtype: Literal["bf16", "fp32"] = "bf16"
    master: Literal["bf16", "fp32"] = "fp32"
    trained_share: float = 1.0
    accumulate: bool = False
    cpu: bool = False

    def __post_init__(self) -> None:
        named = {"optimiser": OPTIMISERS, "attention": ATTENTIONS, "dtype": (*BYTES,), "master": (*BYTES,)}
        for name, known in named.items():
            if getattr(self, name) not in known:
                raise StudyError(f"No {name} {getattr(self, name)!r}: choose one of {', '.join(known)}.")
        if min(self.devices, self.device_gb, self.tokens, self.device_batch) <= 0 or not 0 <= self.trained_share <= 1:
            raise StudyError("devices, device_gb, tokens and device_batch must be positive, trained_share in [0, 1].")

    @property
    def sharded(self) -> bool:
        return self.offload or (self.shard and self.devices > 1)

    @property
    def rows(self) -> int:
        """Tokens in one batch of one device."""
        return self.tokens * self.device_batch

    @property
    def span(self) -> int:
        """Tokens that a mask has for each token: of its own row, or of all rows that lie end to end."""
        return self.rows if self.pack else self.tokens

    @property
    def residual(self) -> int:
        """Bytes of one number between layers: fp32 where autocast meets fp32 weights that FSDP hasn't cast."""
        return BYTES[self.dtype] if self.sharded else max(BYTES[self.dtype], BYTES[self.master])


# ------------------------------------------------------------------ the model


def find_shape(name: str) -> Shape:
    """The shape of a published model (any spelling of its name) or of a folder's config.json. Needs no weights."""
    from transformers import Qwen2Config

    key = name.rsplit("/", 1)[-1].lower().removesuffix("-instruct")
    if Path(name).expanduser().is_dir():
        return describe_model(models.load_config(Path(name).expanduser()))
    if key not in PUBLISHED:
        raise StudyError(f"No model {name!r}: give a folder with a config.json, or one of {', '.join(PUBLISHED)}.")
    widths, vocabulary, tied = PUBLISHED[key]
    facts = dict(zip(_WIDTHS, widths, strict=True))
    return describe_model(Qwen2Config(**facts, vocab_size=vocabulary, tie_word_embeddings=tied))


def describe_model(config: Any) -> Shape:
    """The shape of a transformers config, its parameters counted on the model built without memory.

    Raises StudyError for a mixture of experts or a model that has no list of layers.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = getattr(model.base_model, "layers", None)
    if layers is None or any(getattr(config, name, None) for name in ("num_experts", "num_local_experts")):
        raise StudyError(f"Can't plan the memory of {config.model_type}: only dense decoders are known.")
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    in_layers, heads = sum(p.numel() for p in layers.parameters()), config.num_attention_heads
    head = 0 if outputs is inputs else outputs.numel()
    return Shape(
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        layers=len(layers),
        vocabulary=config.vocab_size,
        embedding=inputs.numel(),
        layer=in_layers // len(layers),
        head=head,
        norm=sum(p.numel() for p in model.parameters()) - in_layers - inputs.numel() - head,
    )


# ------------------------------------------------------------------ bytes


def count_kept(shape: Shape, setup: Setup) -> float:
    """Bytes that one layer keeps for its backward pass.

    Per token, with e bytes a number (r in the residual stream), h hidden, f intermediate, q = heads x head_dim and
    k = kv_heads x head_dim. Each of two norms keeps its input in fp32, its normalised input and a float (4h + rh + 4),
    and its output for the projections (eh; autocast: a cast for each of five). Attention keeps queries, keys, values,
    output and a float a head (e(2q + 2k) + 4 heads); SwiGLU gate, SiLU, up and product (4ef). A mask repeats keys and
    values for every head (e 4q) and is kept by each layer (e x its width); eager keeps scores. Liger's norm keeps its
    input only, its SwiGLU no SiLU.
    """
    e, r, hidden = BYTES[setup.dtype], setup.residual, shape.hidden
    q, k = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 2 * (r * hidden + 4 if setup.liger else 4 * hidden + r * hidden + 4) + (2 if r == e else 5) * e * hidden
    mlp = (3 if setup.liger else 4) * e * shape.intermediate
    if setup.attention == "eager":
        attention = 4 * e * q + shape.heads * setup.span * (4 if e == 4 else 4 + e)
    elif setup.attention == "sdpa" and setup.device_batch > 1:
        attention = 4 * e * q + 4 * shape.heads + e * setup.span
    else:
        attention = e * (2 * q + 2 * k) + 4 * shape.heads
    return setup.rows * (norms + attention + mlp)


def count_mask(setup: Setup) -> float:
    """Bytes of the mask that all layers are given: truth values for sdpa, if there is one, numbers for eager."""
    if setup.attention == "flash" or (setup.attention == "sdpa" and setup.device_batch == 1):
        return 0
    return setup.rows * setup.span * (1 if setup.attention == "sdpa" else setup.residual)


def count_backward(shape: Shape, setup: Setup) -> float:
    """Bytes of gradients inside a layer above what it keeps: two of SwiGLU's (one with Liger), or eager's scores."""
    e, width = BYTES[setup.dtype], shape.intermediate
    flowing = 2 * setup.residual * shape.hidden  # of the residual stream and of the branch
    scores = 2 * 4 * shape.heads * setup.span - 4 * e * width if setup.attention == "eager" else 0
    return setup.rows * (flowing + max((1 if setup.liger else 2) * e * width, scores))


def count_loss(shape: Shape, setup: Setup) -> float:
    """Bytes of the head and the loss at their worst, the head's gradient included.

    Full: log-softmax, its gradient and the logits' (12 a logit, fp32), or logits in both dtypes and log-softmax.
    Fused: fp32 sums for the gradients of the labelled tokens' hidden states and of the head, and a tile of logits.
    """
    e, r, weight = BYTES[setup.dtype], setup.residual, shape.vocabulary * shape.hidden
    if not setup.fused_loss:
        logits = setup.rows * shape.vocabulary
        return max(12 * logits, 4 * logits + r * (weight + setup.rows * shape.hidden))
    scored = setup.rows if setup.cpu else math.ceil(setup.rows * setup.trained_share)  # only Triton skips the masked
    states, tile = scored * shape.hidden, min(scored, TILE_TOKENS)
    sums = 4 * (states + weight)
    if setup.cpu:  # only pages in use count; torch folds a tile by seven copies in fp32 and a mask of bytes
        return sums + (e + 29) * tile * min(shape.vocabulary, TILE_WIDTH)
    return sums + e * tile * TILE_WIDTH + r * states + (r * (states + weight) if r < 4 else 0)


def count_states(shape: Shape, setup: Setup) -> dict[str, float]:
    """Bytes of parameters, gradients and optimiser of one process, wherever they lie."""
    shards, master = setup.devices if setup.sharded else 1, BYTES[setup.master]
    moments = 2.0 * master * shape.parameters
    if setup.optimiser != "adamw":  # the Trainer keeps the moments of embeddings in fp32
        moments = MOMENTS_8BIT * (shape.parameters - shape.embedding) + 8 * shape.embedding
    weights = master * shape.parameters
    return {"parameters": weights / shards, "gradients": weights / shards, "optimiser": moments / shards}


def count_copies(shape: Shape, setup: Setup) -> tuple[list[float], list[float]]:
    """Bytes of other copies of weights and of gradients in each of MOMENTS.

    FSDP, at most: embedding, head and two layers are gathered, the second prefetched; two layers' gradients and the
    head's wait to be scattered. DDP keeps buckets of all gradients. Autocast's casts of all matrices last as long as
    the forward pass, or as a layer's activations where they are kept.
    """
    e, head = BYTES[setup.dtype], shape.vocabulary * shape.hidden
    if setup.sharded:
        weights = e * (shape.embedding + shape.head + shape.norm + 2 * shape.layer)
        gradients = e * (head + 2 * shape.layer)
        return [weights, weights, weights, 0], [0, gradients, gradients, 0]
    buckets = [BYTES[setup.master] * shape.parameters * (setup.devices > 1)] * 4
    cast = e * (setup.residual > e)
    casts, one = cast * (shape.layers * shape.layer + head), cast * shape.layer
    return [casts, one + cast * head if setup.recompute else casts, one, 0], buckets


# ------------------------------------------------------------------ the plan


def plan_memory(shape: Shape, setup: Setup) -> pd.DataFrame:
    """GB of one device: a row for every part and `total`, a column for each of MOMENTS."""
    parts = pd.DataFrame(_list_parts(shape, setup), index=MOMENTS).T / GB
    return pd.concat([parts, parts.sum().to_frame("total").T])


def _list_parts(shape: Shape, setup: Setup) -> dict[str, list[float]]:
    """Bytes of each part in each of MOMENTS."""
    states = dict.fromkeys(count_states(shape, setup), 0.0) if setup.offload else count_states(shape, setup)
    weights, gradients = count_copies(shape, setup)
    total, weight = states["gradients"], setup.residual * shape.vocabulary * shape.hidden
    early = total * setup.accumulate
    first = early if early or setup.sharded else weight  # the head's gradient is the first
    moments = states["optimiser"] * (not setup.optimiser.startswith("paged"))
    kept, inside, state = count_kept(shape, setup), count_backward(shape, setup), setup.rows * shape.hidden
    last = state * (4 + setup.residual + BYTES[setup.dtype])  # the last norm's
    mask = count_mask(setup)
    forward = mask + last + shape.layers * (state * setup.residual if setup.recompute else kept)
    tied = 0 if shape.head and not setup.accumulate else weight  # a second gradient of the embedding, to be added
    overhead = 0 if setup.cpu else (CUDA_GB + NCCL_GB * (setup.devices > 1)) * GB
    return {
        "parameters": [states["parameters"]] * 4,
        "gradients": [early, first, total, total],
        "optimiser": [moments] * 4,
        "copies of weights": weights,
        "copies of gradients": gradients,
        "activations": [forward, forward + kept * setup.recompute, mask + kept, 0],
        "loss": [count_loss(shape, setup), 0, 0, 0],
        "backward": [0, inside, max(inside, tied), 0],
        "overhead": [overhead] * 4,
    }


def find_peak(shape: Shape, setup: Setup) -> tuple[float, str]:
    """GB of a device at the worst moment, and which of MOMENTS that is."""
    totals = [sum(parts) / GB for parts in zip(*_list_parts(shape, setup).values(), strict=True)]
    return max(zip(totals, MOMENTS, strict=True))
