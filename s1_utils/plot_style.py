"""What every figure shares: colours, matplotlib settings, the metadata that would differ from run to run.

Knows constants; knows nothing about tables or axes.
"""

from __future__ import annotations

BLUE, ORANGE, GREY, GREEN = "#1f5f8b", "#d1661f", "#6f6f6f", "#3d7f4f"
COLOURS = (BLUE, ORANGE, GREEN, "#7d5ba6", GREY, "#a8324a", "#8a6d1d")  # of subsets, in their order
STYLE = {
    "figure.dpi": 120,
    "savefig.dpi": 160,
    "svg.hashsalt": "s1-study",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
