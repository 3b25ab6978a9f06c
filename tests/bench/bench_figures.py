"""Drawing every figure of the study from its committed table, and the paper's tables. Not a test.

    python tests/bench/bench_figures.py [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. Times are wall seconds: the command in a process of its own, and each figure in this one;
`--quick` times the command once, without PDF, and three slow figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from reporting import finish, report, say

from s1_utils import paper_tables, paths, plots

SECONDS, SLOW = 30, ("methods", "frontier", "champ_votes")
COMMAND = """
import sys
from pathlib import Path
from s1_utils import plots
plots.draw_all(Path(sys.argv[1]), Path(sys.argv[2]), kinds=sys.argv[3:])
"""


def time_command(folder: Path, *kinds: str) -> float:
    """Wall seconds of a process that draws every figure, its imports counted."""
    command = [sys.executable, "-c", COMMAND, str(paths.FIGURES / "data"), str(folder), *kinds]
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=paths.ROOT)
    return time.perf_counter() - start


def time_figures(folder: Path, names: Iterable[str]) -> dict[str, float]:
    """figure → wall seconds of drawing and saving it as SVG and PNG."""
    seconds = {}
    for name in names:
        table, _ = plots.read_table(name, paths.FIGURES / "data")
        if table is not None:
            start = time.perf_counter()
            plots.save(plots.draw(name, table), folder, name)
            seconds[name] = time.perf_counter() - start
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the command once, three slow figures")
    is_quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("all figures, SVG and PNG")
        seconds = min(time_command(folder, *plots.KINDS) for _ in range(1 if is_quick else 3))
        drawn = sorted(folder.glob("*.svg"))
        report(f"all {len(drawn)} figures, SVG and PNG", seconds, f"<= {SECONDS}", unit="s")
        if not is_quick:
            report("PDF too", time_command(folder, *plots.KINDS, "pdf"), f"<= {SECONDS}", unit="s")
        say("each figure")
        for figure, one in time_figures(folder, SLOW if is_quick else plots.FIGURES).items():
            report(f"figure {figure}", one, unit="s")
        for kind in plots.KINDS:
            largest = max(folder.glob(f"*.{kind}"), key=lambda path: path.stat().st_size)
            report(f"largest {kind}", largest.stat().st_size / 1e3, "<= 500", unit="kB", note=largest.stem)
        say("tables")
        start = time.perf_counter()
        paper_tables.write_tables(paths.FIGURES / "data", folder / "tables")
        report("the paper's tables, LaTeX and Markdown", time.perf_counter() - start, unit="s")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
