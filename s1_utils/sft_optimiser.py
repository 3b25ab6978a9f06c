"""Which AdamW a training takes, what it needs of the machine, and where its moments lie.

Knows transformers' names and bitsandbytes; knows nothing about models, data or jobs. 8-bit moments take a quarter of
the memory (the Trainer keeps those of embeddings in fp32), paged ones move to the host's memory when a GPU is full.
Not for shards: bitsandbytes 0.50.2 reads a DTensor's memory as if it were the whole tensor (its issue 1633, open).
Source: Dettmers et al. 2022 (arXiv 2110.02861). Invariants: tests/test_sft_optimiser.py.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from s1_utils import sft_processes
from s1_utils.errors import StudyError

PLAIN = "adamw"
MOMENTS = ("state1", "state2")  # bitsandbytes' names


def describe_optimiser(name: str) -> dict[str, str]:
    """transformers' setting for `name` of params; none for plain AdamW, which is what the library takes anyway.

    Raises StudyError as `require_optimiser` does.
    """
    require_optimiser(name)
    return {} if name == PLAIN else {"optim": name}


def require_optimiser(name: str) -> None:
    """Raises StudyError, before anything is loaded, where `name` needs bitsandbytes or a GPU that isn't there."""
    if name == PLAIN:
        return
    if not sft_processes.has_gpu():
        raise StudyError(f"Can't train: optimiser {name} works on GPUs only. Set optimiser to adamw.")
    if find_spec("bitsandbytes") is None:
        raise StudyError(
            f"Can't train: optimiser {name} needs bitsandbytes. Install the version that environment.yml names, or set "
            "optimiser to adamw."
        )


def page_moments(optimiser: Any) -> None:
    """Make moments that a checkpoint brought pageable again: bitsandbytes loads them to the GPU, for good."""
    for p, state in optimiser.state.items():
        for name in (name for name in MOMENTS if name in state and not getattr(state[name], "is_paged", False)):
            buffer = optimiser.get_state_buffer(p, dtype=state[name].dtype)
            buffer.copy_(state[name])
            state[name] = buffer
