"""What every figure shares: its width, colours and looks, matplotlib settings, metadata that would differ between runs.

Knows constants; knows nothing about tables or axes. Figures are WIDTH wide and are read at COLUMN, a column of a paper:
no text is smaller than SMALL, which is 6 points there. The colours stay apart for people with deuteranopia or
protanopia (tests/test_plots.py simulates both); what one axes tells apart by colour it also tells apart by marker, line
style or lightness, so that it survives a copier.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, COLUMN = 4.4, 3.3  # inches
SMALL, TITLE = 8.0, 9.0  # points
BLUE, ORANGE, GREY, GREEN = "#1d4a94", "#bf4f06", "#767676", "#12a858"
PURPLE, SKY, WINE = "#9a4fe8", "#4896d2", "#481420"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY, WINE, SKY)  # of subsets and runs, in their order
PALE = "#c9c9c9"  # marks of the paper, and what stands behind
STYLE = {
    "figure.dpi": 120,
    "savefig.dpi": 200,
    "svg.hashsalt": "s1-study",
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # the first comes with matplotlib; the others for SVG
    "font.size": SMALL,
    "axes.titlesize": TITLE,
    "axes.labelsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
}
METADATA = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
GLYPHS = {"o": "●", "D": "◆", "s": "■", "^": "▲", "v": "▼", "P": "✚", "X": "✖", "d": "◆"}
HOLLOW = {"o": "○", "D": "◇", "s": "□", "^": "△", "v": "▽", "d": "◇"}


@dataclass(frozen=True)
class Look:
    """How one series is drawn and named. `hollow` marks are not this study's."""

    colour: str
    marker: str
    label: str
    line: str = "-"
    hollow: bool = False

    @property
    def name(self) -> str:
        """The label behind its mark, which names a line without its colour."""
        return f"{(HOLLOW if self.hollow else GLYPHS).get(self.marker, '')} {self.label}".strip()

    @property
    def style(self) -> dict[str, object]:
        face = {"markerfacecolor": "white"} if self.hollow else {}
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, **face}


def darken(colour: str, contrast: float = 4.5) -> str:
    """The colour as text: as dark as it takes to have `contrast` to white (WCAG 2.2, 1.4.3)."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    while 1.05 / (measure_luminance(channels) + 0.05) < contrast:
        channels = [int(0.97 * channel) for channel in channels]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def measure_luminance(channels: list[int]) -> float:
    """Relative luminance, 0 to 1, of an sRGB colour of three channels, 0 to 255 (WCAG 2.2)."""
    shares = [channel / 255 for channel in channels]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
