"""Every folder of the study, absolute, so that notebooks run from anywhere.

Knows the checkout, the cache and where a run lives; knows nothing about what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
FIGURES = ROOT / "figures"


def find_runs() -> Path:
    """The folder of all runs: $S1_RUNS, or runs/ in the checkout."""
    return Path(os.environ.get("S1_RUNS") or ROOT / "runs").resolve()


def find_cache() -> Path:
    """The folder of converted models: $S1_CACHE, or ~/.cache/s1-study."""
    return Path(os.environ.get("S1_CACHE") or Path.home() / ".cache" / "s1-study").resolve()
