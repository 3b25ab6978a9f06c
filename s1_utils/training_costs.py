"""What a training cost: its FLOPs, the share of the devices' peak it reached, device-hours and USD.

Knows the facts that sft leaves, the plan's formula and prices, and GPUs' stated peaks; measures nothing. What isn't
known is None, never guessed.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from s1_utils import plan
from s1_utils.errors import StudyError

PEAKS = {  # words of a GPU's name → its dense bf16 FLOP/s, from NVIDIA's data sheets (half of those with sparsity)
    ("B200",): 2250e12,
    ("H200", "NVL"): 835e12,
    ("H200",): 989e12,
    ("H100", "PCIe"): 756e12,
    ("H100", "NVL"): 835e12,
    ("H100",): 989e12,
    ("A100",): 312e12,
    ("L40S",): 362e12,
    ("L4",): 121e12,
    ("A10",): 125e12,
    ("RTX", "4090"): 165e12,
    ("RTX", "3090"): 71e12,
}


def add_costs(facts: dict[str, Any], profile: str) -> dict[str, Any]:
    """`facts` of sft.read_facts with, in "training", flops, peak_flops, utilisation, device_hours and usd.

    flops are those of the plan's formula (recomputed ones count), so that utilisation compares with the plan's.
    peak_flops is that of one device. usd needs the profile's plan.yaml to state device_usd_per_hour.
    """
    if not facts:
        return facts
    found = facts["training"]
    peak = found["matrix_flops"] if found["device"] == "cpu" else find_peak(found["device"])
    flops = count_flops(found)
    available = (peak or 0) * found["devices"] * found["seconds"]
    hours = (1 if found["device"] == "cpu" else found["devices"]) * found["seconds"] / 3600
    price = find_price(profile)
    costs = {
        "flops": flops,
        "peak_flops": peak,
        "utilisation": round(flops / available, 4) if available else None,
        "device_hours": round(hours, 4),
        "usd": None if price is None else round(hours * price, 4),
    }
    return {"training": found | costs}


def count_flops(found: dict[str, Any]) -> float:
    """FLOPs of all tokens computed, by plan.count_training_flops; row_length makes its attention that of every row."""
    names = ("parameters", "layers", "hidden", "recompute")
    stated = plan.PlanParams(**{name: found[name] for name in names})
    return float(plan.count_training_flops(stated, found["tokens"], found["row_length"]))


def find_peak(device: str) -> float | None:
    """Dense bf16 FLOP/s of a GPU by the name that torch gives; None for one that isn't listed, or is a part of one."""
    words = device.replace("-", " ").split()
    if {"Laptop", "MIG"} & set(words):
        return None
    return next((peak for known, peak in PEAKS.items() if all(word in words for word in known)), None)


def find_price(profile: str) -> float | None:
    """USD that an hour of one device costs; None where the profile's plan.yaml doesn't say."""
    try:
        stated = plan.read_plan(profile)
    except StudyError:
        return None
    return stated.device_usd_per_hour if "device_usd_per_hour" in stated.model_fields_set else None


def list_costs(manifest: dict[str, Any]) -> pd.DataFrame:
    """What the manifest of a finished training says it took, for reading: one row a quantity, "unknown" for None."""
    found = manifest["training"]
    peak = found["peak_memory_bytes"]
    rows = {
        "devices": f"{found['devices']} × {found['device']}",
        "sessions": len(found["sessions"]),
        "training (s)": found["seconds"],
        "tokens a second, without padding": found["tokens_per_second"],
        "utilisation": found["utilisation"],
        "peak memory of the first process (GB)": peak and round(peak / 1e9, 2),
        "energy (J)": found["joules"],
        "device-hours": found["device_hours"],
        "USD": found["usd"],
    }
    shown = ["unknown" if value is None else str(value) for value in rows.values()]
    return pd.DataFrame({"this run": shown}, list(rows))
