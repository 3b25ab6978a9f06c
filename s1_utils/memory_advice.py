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
from s1_utils.memory import GB, OPTIMISERS, PUBLISHED, Setup, Shape, count_states, find_peak, find_shape, plan_memory
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

    16 devices at most: the study's global batch is 16 rows, so with 16 nothing accumulates.
    """
    more = [n for n in (2, 4, 8, 16) if n > setup.devices or (n == setup.devices and not setup.sharded)]
    lean = OPTIMISERS[OPTIMISERS.index(setup.optimiser) + 1 :]
    changes = [
        [] if setup.recompute else [("recompute", {"recompute": True})],
        [] if setup.fused_loss else [("fused loss", {"fused_loss": True})],
        [("device_batch 1", {"device_batch": 1, "accumulate": True})] if setup.device_batch > 1 else [],
        [
            (f"{n} devices, sharded", {"devices": n, "shard": True} | ({"accumulate": False} if n == 16 else {}))
            for n in more
        ],
        [(f"optimiser {name}", {"optimiser": name}) for name in lean],
        [] if setup.offload else [("offload", {"offload": True})],
    ]
    return [degrees for degrees in changes if degrees]


def _try_changes(shape: Shape, setup: Setup, chosen: list[Degrees], *, room: float) -> Iterator[tuple[str, Setup]]:
    """The mildest degrees of the chosen changes that together fit, if any do; 8-bit moments can't be sharded."""
    for together in product(*chosen):
        tried = replace(setup, **{name: value for _, change in together for name, value in change.items()})
        if find_peak(shape, tried)[0] <= room and not (tried.sharded and tried.optimiser != "adamw"):
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


# ------------------------------------------------------------------ for reading


def print_memory(shape: Shape, setup: Setup) -> None:
    """The plan as text: what one device needs at each moment, whether it fits, and what would make it fit."""
    layout = " end to end" if setup.pack and setup.device_batch > 1 else ""
    batch = f"{setup.device_batch} x {setup.tokens:,} tokens{layout} on each"
    print(f"{shape.parameters / 1e9:.2f}e9 parameters, {setup.devices} x {setup.device_gb:g} GB, {batch}\n")
    table = plan_memory(shape, setup)
    print(table[table.any(axis=1)].to_string(float_format=lambda gb: f"{gb:,.1f}" if gb else ""))
    host = count_host_gb(shape, setup)
    print(f"\n{host:,.1f} GB of the host's memory for each device." if host else "")
    print_verdict(shape, setup)


def print_verdict(shape: Shape, setup: Setup) -> None:
    """Whether `setup` fits, and what would make it fit, with what that takes of the host's memory."""
    verdict = judge_setup(shape, setup)
    room = f"{verdict.room_gb:,.1f} GB of a device ({MARGIN:.0%} is left to the allocator)"
    print(f"{verdict.needed_gb:,.1f} of {room}: {'fits' if verdict.fits else 'does not fit'}.")
    for change, changed in verdict.fixes:
        host = count_host_gb(shape, changed)
        away = f", and {host:,.1f} GB of the host's memory for each device" if host else ""
        print(f"  it would with {change}: {find_peak(shape, changed)[0]:,.1f} GB{away}")
    if not verdict.fits and not verdict.fixes:
        print("  and nothing known here would make it fit: choose a smaller model.")


def plan_setup(profile: str, *, devices: int) -> Setup:
    """The Setup of a profile's 03_sft on so many of the devices that its plan.yaml states.

    With PyTorch's own attention and without Liger: where flash-attn or liger-kernel is installed it takes less.
    Raises StudyError if the batch can't be shared by `devices`.
    """
    stated, sft = plan.read_plan(profile), params.load_profile(params.SftParams, profile)
    spread = spread_batch(sft.batch_size, devices=devices, device_batch=sft.device_batch)
    return Setup(
        devices=devices, device_gb=stated.device_gb, tokens=sft.max_length, device_batch=spread.device_batch,
        pack=sft.pack, shard=sft.shard, offload=sft.offload, recompute=sft.recompute, optimiser=sft.optimiser,
        attention="sdpa", accumulate=spread.accumulation > 1,
    )  # fmt: skip


def print_profile(profile: str) -> None:
    """The plan of a profile's training on the devices that its plan.yaml states, and on one machine of them if they
    are several machines' (`processes` is what one has). Nothing if it states no device_gb."""
    stated = plan.read_plan(profile)
    if not stated.device_gb:
        return
    shape = find_shape(params.load_profile(params.CollectParams, profile).model)
    sft, setup = params.load_profile(params.SftParams, profile), plan_setup(profile, devices=stated.devices)
    print(f"\nMemory of one {stated.device} in 03_sft ({sft.optimiser}), in GB of 2^30 bytes:")
    print_memory(shape, setup)
    print(f"Training takes {plan_hours(profile, shape, setup):,.1f} hours on {stated.devices} x {stated.device}.")
    if sft.shard and sft.processes < stated.devices:
        alone = plan_setup(profile, devices=sft.processes)
        hours = plan_hours(profile, shape, alone)
        print(f"\nOn one machine of {sft.processes} x {stated.device}, which takes {hours:,.1f} hours at least:")
        print_verdict(shape, alone)
    for name, weights in find_oversized(profile):
        print(f"\nSolver {name} of 02_filter has {weights:,.1f} GB of weights, more than a {stated.device} "
              f"holds: serve it elsewhere, as {name}@http://host:port/v1.")  # fmt: skip


def find_oversized(profile: str) -> list[tuple[str, float]]:
    """Known models that 02_filter asks here though no device holds their weights (each runs on one): name, GB."""
    stated = plan.read_plan(profile)
    asked = [name.partition("@") for name in params.load_profile(params.FilterParams, profile).solvers]
    here = [name for name, _, engine in asked if not engine.startswith("http")]
    known = [name for name in here if name.rsplit("/", 1)[-1].lower().removesuffix("-instruct") in PUBLISHED]
    weights = [(name, plan.PRECISION_BYTES * find_shape(name).parameters / GB) for name in known]
    return [(name, gb) for name, gb in weights if gb > stated.device_gb]


def plan_hours(profile: str, shape: Shape, setup: Setup) -> float:
    """Hours of a profile's 03_sft with `setup`, at the FLOP/s, utilisation and lengths that its plan.yaml states."""
    stated, sft = plan.read_plan(profile), params.load_profile(params.SftParams, profile)
    examples = params.load_profile(params.FilterParams, profile).subset_size
    tokens = plan.plan_training(stated, "03_sft", "", examples=examples, epochs=sft.epochs).tokens_in
    return estimate_hours(shape, setup, stated, tokens=tokens, length=tokens / examples / sft.epochs)
