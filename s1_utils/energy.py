"""The energy that this machine's meters have counted: NVIDIA's for GPUs, Linux's RAPL for processors.

Knows the two interfaces; guesses nothing: what can't be read is None. A GPU's meter counts its whole board, RAPL's the
processor's packages with all that runs on them.
Source: NVML's nvmlDeviceGetTotalEnergyConsumption (millijoules); the kernel's power/powercap/powercap.rst (energy_uj).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

RAPL = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


def make_meter(gpus: Sequence[str] = (), *, folder: Path = RAPL) -> Callable[[], float | None]:
    """A function that gives the joules since its first call, which gives 0; None where nothing can be read.

    `gpus` are the uuids of the GPUs to count, as torch gives them; without any, the processors are. To be called more
    often than a counter runs over: every few minutes.
    """
    counters = _find_gpus(gpus) if gpus else _find_packages(folder)
    seen: list[float] = []
    total = 0.0

    def read() -> float | None:
        nonlocal seen, total
        try:
            now = [count() for count, _ in counters]
        except (OSError, ValueError):
            return None
        if seen:
            total += sum(_go_on(old, new, limit) for old, new, (_, limit) in zip(seen, now, counters, strict=True))
        seen = now
        return round(total, 1) if now else None

    return read


def _go_on(old: float, new: float, limit: float) -> float:
    """Joules from `old` to `new` on a counter that starts again at 0 after `limit` (0: it never does)."""
    return new - old if new >= old else new - old + limit


def _find_packages(folder: Path) -> list[tuple[Callable[[], float], float]]:
    """(counter, where it runs over) of each processor package; none if one of them can't be read."""
    try:
        zones = [zone for zone in sorted(folder.glob("*-rapl:*")) if zone.name.count(":") == 1]
        zones = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
        for zone in zones:
            _read_joules(zone / "energy_uj")
        return [
            ((lambda path=zone / "energy_uj": _read_joules(path)), _read_joules(zone / "max_energy_range_uj"))
            for zone in zones
        ]
    except (OSError, ValueError):
        return []


def _read_joules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _find_gpus(uuids: Sequence[str]) -> list[tuple[Callable[[], float], float]]:
    """(counter, 0) of each GPU; none if one of them has no counter."""
    with contextlib.suppress(OSError, ValueError):
        library = ctypes.CDLL(NVML)
        _require(library.nvmlInit_v2())
        counters = []
        for uuid in uuids:
            device = ctypes.c_void_p()
            _require(library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode(), ctypes.byref(device)))
            counters.append(((lambda device=device: _read_gpu(library, device)), 0.0))
        for count, _ in counters:
            count()
        return counters
    return []


def _read_gpu(library: ctypes.CDLL, device: ctypes.c_void_p) -> float:
    millijoules = ctypes.c_ulonglong()
    _require(library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)))
    return millijoules.value / 1e3


def _require(code: int) -> None:
    if code:
        raise OSError(f"NVML says {code}")
