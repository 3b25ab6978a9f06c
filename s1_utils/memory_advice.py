"""Whether a training setup fits its devices, which changes would make it fit, and how many hours it takes.

Knows the order in which changes are preferred; knows nothing about where the bytes come from (memory does).
Source of the hours: plan.count_training_flops. Invariants: tests/test_memory.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from s1_utils import params, plan
from s1_utils.memory import GB, OPTIMISERS, Setup, Shape, count_states, find_peak, find_shape, plan_memory
from s1_utils.sft_data import spread_batch

MARGIN = 0.08  # of a device: what its allocator loses to fragments
Degrees = list[tuple[str, dict[str, Any]]]  # of one change: its name and the fields of Setup that it sets


@dataclass(frozen=True)
class Verdict:
    """Whether `needed_gb` fits into `room_gb`; if not, the smallest combinations of changes that would make it fit."""

    fits: bool
    needed_gb: float
    room_gb: float
    moment: str
    fixes: tuple[tuple[str, Setup], ...]


def judge_setup(shape: Shape, setup: Setup, *, margin: float = MARGIN) -> Verdict:
    """Whether `setup` fits with `margin` (a share of the device) to spare, and what would make it fit.

    The fixes are the smallest combinations of changes that fit, in order of preference: recompute, fused loss,
    device_batch 1, more devices, a lean optimiser, offload; rows are shortened only where nothing else helps.
    """
    room = setup.device_gb * (1 - margin)
    needed, moment = find_peak(shape, setup)
    fixes: list[tuple[str, Setup]] = []
    changes = _list_changes(setup)
    for last_resort in ([], [_list_shorter(setup)]) if needed > room else ():
        for size in range(len(changes) + 1):
            for chosen in combinations(changes, size) if not fixes else ():
                fixes += _try_changes(shape, setup, [*chosen, *last_resort], room=room)
    return Verdict(needed <= room, needed, room, moment, tuple(fixes))


def _list_shorter(setup: Setup) -> Degrees:
    return [(f"rows of {n:,} tokens", {"tokens": n}) for n in range(1024 * ((setup.tokens - 1) // 1024), 0, -1024)]


def _list_changes(setup: Setup) -> list[Degrees]:
    """What can still be changed, in order of preference: each a list of its degrees, from the mildest on.

    16 devices at most: the study's global batch is 16 rows.
    """
    more = [n for n in (2, 4, 8, 16) if n > setup.devices or (n == setup.devices and not setup.sharded)]
    lean = OPTIMISERS[OPTIMISERS.index(setup.optimiser) + 1 :]
    changes = [
        [] if setup.recompute else [("recompute", {"recompute": True})],
        [] if setup.fused_loss else [("fused loss", {"fused_loss": True})],
        [("device_batch 1", {"device_batch": 1, "accumulate": True})] if setup.device_batch > 1 else [],
        [(f"{n} devices, sharded", {"devices": n, "shard": True}) for n in more],
        [(f"optimiser {name}", {"optimiser": name}) for name in lean],
        [] if setup.offload else [("offload", {"offload": True})],
    ]
    return [degrees for degrees in changes if degrees]


def _try_changes(shape: Shape, setup: Setup, chosen: list[Degrees], *, room: float) -> Iterator[tuple[str, Setup]]:
    """The mildest degrees of the chosen changes that together fit, if any do."""
    for together in product(*chosen):
        tried = replace(setup, **{name: value for _, change in together for name, value in change.items()})
        if find_peak(shape, tried)[0] <= room:
            yield " + ".join(name for name, _ in together), tried
            return


def estimate_hours(shape: Shape, setup: Setup, stated: plan.PlanParams, *, tokens: float, length: float) -> float:
    """Hours to train on `tokens` in rows of a mean `length`, at the stated FLOP/s and utilisation of every device."""
    widths = {"parameters": shape.parameters, "layers": shape.layers, "hidden": shape.heads * shape.head_dim}
    flops = plan.count_training_flops(stated.model_copy(update=widths | {"recompute": setup.recompute}), tokens, length)
    return flops / (setup.devices * stated.device_flops * stated.utilisation) / 3600


def count_host_gb(shape: Shape, setup: Setup) -> float:
    """GB that one process needs of its host's memory for states that aren't on its device."""
    states = count_states(shape, setup)
    away = sum(states.values()) if setup.offload else states["optimiser"] if setup.optimiser.startswith("paged") else 0
    return away / GB


def print_memory(shape: Shape, setup: Setup) -> None:
    """The plan as text: what one device needs at each moment, whether it fits, and what would make it fit."""
    verdict = judge_setup(shape, setup)
    batch = f"{setup.device_batch} x {setup.tokens:,} tokens on each"
    print(f"{shape.parameters / 1e9:.2f}e9 parameters, {setup.devices} x {setup.device_gb:g} GB, {batch}\n")
    table = plan_memory(shape, setup)
    print(table[table.any(axis=1)].to_string(float_format=lambda gb: f"{gb:,.1f}" if gb else ""))
    host = count_host_gb(shape, setup)
    print(f"\n{host:,.1f} GB of the host's memory for each device." if host else "")
    room = f"{verdict.room_gb:,.1f} GB of a device ({MARGIN:.0%} is left to the allocator)"
    print(f"{verdict.needed_gb:,.1f} of {room}: {'fits' if verdict.fits else 'does not fit'}.")
    for change, changed in verdict.fixes:
        print(f"  it would with {change}: {find_peak(shape, changed)[0]:,.1f} GB")
    if not verdict.fits and not verdict.fixes:
        print("  and nothing known here would make it fit: choose a smaller model.")


def print_profile(profile: str) -> None:
    """The plan of a profile's training, on the devices that its plan.yaml states; nothing if it states no device_gb."""
    stated = plan.read_plan(profile)
    if not stated.device_gb:
        return
    sft = params.load_profile(params.SftParams, profile)
    spread = spread_batch(sft.batch_size, devices=stated.devices, device_batch=sft.device_batch)
    setup = Setup(
        devices=stated.devices, device_gb=stated.device_gb, tokens=sft.max_length, device_batch=spread.device_batch,
        shard=sft.shard, offload=sft.offload, recompute=sft.recompute, accumulate=spread.accumulation > 1,
    )  # fmt: skip
    print(f"\nMemory of one {stated.device} in 03_sft, in GB of 2^30 bytes:")
    print_memory(find_shape(params.load_profile(params.CollectParams, profile).model), setup)
