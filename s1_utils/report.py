"""The small tables that figures are drawn from, and the results table of the README.

Knows which stage computed which table; knows nothing about how figures look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from s1_utils import obedience, plots, recipes, stability
from s1_utils.errors import StudyError
from s1_utils.store import Stage, write_atomically

FLOW = {  # notebook: (reads, writes)
    "01_collect": (
        "nothing",
        "`questions`, `sources`, `benchmarks`, `overlaps`, `planted`, `flaws`, `traces`, `teachers`, `trace_grades`, "
        "`model.json`",
    ),
    "02_filter": (
        "01",
        "`candidates`, `domains`, `askings`, `features`, `subsets`, `stability`, `inclusion`, `funnel`, `browse.html`",
    ),
    "03_sft": ("01, 02", "`training`, `label_mask`, `model/`"),
    "04_sequential_scaling": (
        "01, 03",
        "`tests`, `generations_*`, `grades*`, `graders`, `curve`, `waits`, `measures`, `methods`, `verdicts`",
    ),
    "05_parallel_scaling": (
        "01, 03, 04",
        "`generations`, `grades`, `steps`, `votes`, `curve`, `frontier`, `differences`, `rejection`, `combination`, "
        "`judged`",
    ),
    "06_ablations": (
        "01, 02",
        "`subsets`, `generations`, `grades`, `curve`, `differences`, `lengths`, `conditional`, `obedience`",
    ),
}


def collect_tables(stage: Stage) -> dict[str, pd.DataFrame]:
    """figure → its tidy table, from the finished stages that `stage` reads; nothing for what was not run."""
    manifests = {name: json.loads((stage.upstream[name] / "manifest.json").read_text("utf-8")) for name in FLOW}
    minutes = [(name, round(manifest["wall_seconds"] / 60, 1)) for name, manifest in manifests.items()]
    chance = round(manifests["04_sequential_scaling"]["chance"], 6)
    subsets, features = stage.read("02_filter", "subsets"), stage.read("02_filter", "features")
    selected = subsets[subsets["subset"] == subsets["subset"].iloc[0]]
    forced = recipes.list_points(
        stage.read("06_ablations", "curve"), stage.read("06_ablations", "subsets"), control="budget"
    )
    differences = stage.read("06_ablations", "differences")
    return {
        "funnel": stage.read("02_filter", "funnel"),
        "domains": stability.list_bubbles(selected, features).round(3),
        "lengths": stability.bin_lengths(subsets, features).round(3),
        "inclusion": stability.list_steps(stage.read("02_filter", "inclusion")).round(4),
        "stability": stage.read("02_filter", "stability").round(4),
        "training": stage.read("03_sft", "training").round({"loss": 5, "grad_norm": 5, "learning_rate": 11}),
        "sequential": stage.read("04_sequential_scaling", "curve").assign(chance=chance),
        "waits": stage.read("04_sequential_scaling", "waits").round(6),
        "measures": stage.read("04_sequential_scaling", "measures").round(4),
        "methods": stage.read("04_sequential_scaling", "methods_curve").assign(chance=chance),
        "methods_measured": stage.read("04_sequential_scaling", "methods").round(4),
        "verdicts": stage.read("04_sequential_scaling", "verdicts").round(4),
        "quirks": stage.read("04_sequential_scaling", "quirks").round(6),
        "soft": stage.read("04_sequential_scaling", "soft").round(6),
        "changes": stage.read("04_sequential_scaling", "changes"),
        "graders": stage.read("04_sequential_scaling", "graders").round(6),
        "parallel": _write_flops(stage.read("05_parallel_scaling", "curve")).assign(chance=chance),
        "frontier": _write_flops(stage.read("05_parallel_scaling", "frontier")),
        "parallel_differences": _write_flops(stage.read("05_parallel_scaling", "differences")),
        "parallel_turns": _write_flops(stage.read("05_parallel_scaling", "turns")),
        "parallel_noise": stage.read("05_parallel_scaling", "noise").round(6),
        "decoding_steps": stage.read("05_parallel_scaling", "steps").round(5),
        "rejection": stage.read("05_parallel_scaling", "rejection").round(6),
        "combination": _write_flops(stage.read("05_parallel_scaling", "combination")),
        "ablations": forced.assign(chance=chance),
        "subset_differences": recipes.add_paper(differences, "budget").round(6),
        "train_length": stage.read("06_ablations", "lengths").round(6),
        "stages": pd.DataFrame(minutes, columns=["notebook", "minutes"]),
        "ablation_differences": differences.round(6),
        **_describe_asks(stage.read("06_ablations", "conditional"), stage.read("06_ablations", "obedience")),
    }


def collect_large(ablations: Path, features: Path) -> dict[str, pd.DataFrame]:
    """The tables of the larger ablations (`make ablations`), of the folders of its stage and of notebook 2's.

    Empty if it wasn't run, or isn't finished.
    """
    if not (ablations / "manifest.json").exists():
        return {}
    names = ("subsets", "curve", "differences", "lengths")
    subsets, curve, differences, lengths = (pd.read_parquet(ablations / f"{name}.parquet") for name in names)
    summary = stability.summarise_subsets(
        subsets[subsets["seed"] == subsets["seed"].min()], pd.read_parquet(features / "features.parquet")
    )
    points = recipes.list_points(curve, subsets, "budget").merge(summary[["subset", "tokens", "attempt_right"]])
    return {
        "ablations_large": recipes.add_paper(differences, "budget").round(6),
        "ablations_large_points": points.round(6),
        "ablations_large_differences": differences.round(6),
        "ablations_large_lengths": lengths.round(6),
    }


def collect_conditional(ablations: Path) -> dict[str, pd.DataFrame]:
    """The tables of models asked for a length, of the folder of their stage; empty if it isn't finished."""
    if not (ablations / "manifest.json").exists():
        return {}
    return _describe_asks(*(pd.read_parquet(ablations / f"{name}.parquet") for name in ("conditional", "obedience")))


def _describe_asks(asks: pd.DataFrame, slopes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if asks.empty:
        return {}
    return {"conditional": obedience.list_points(asks), "conditional_asks": asks, "conditional_slopes": slopes}


def _write_flops(table: pd.DataFrame) -> pd.DataFrame:
    """Six significant digits: shares and FLOPs stand in one table."""
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: [float(f"{value:.6g}") for value in table[name]] for name in numbers})


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    for name, table in tables.items():
        with write_atomically(folder / f"{name}.csv") as path:
            table.to_csv(path, index=False, lineterminator="\n")


def find_stamp(stage: Stage) -> str:
    """What to write across the figures of a run that is no experiment."""
    name = stage.read_json("01_collect", "model")["name"]
    return "SMOKE RUN: random weights" if name.startswith("random-") else ""


def write_results(tables: Mapping[str, pd.DataFrame]) -> str:
    """The results table: accuracy in % with its 95 % interval, and the notebook each row comes from."""
    lines = [
        "| result | accuracy % [95 %] | thinking tokens | n | notebook |",
        "|---|--:|--:|--:|---|",
        f"| guessing | {100 * tables['sequential']['chance'].iloc[0]:.1f} | 0 | | |",
    ]
    for row in tables["sequential"].query("control in ['budget', 'wait']").itertuples():
        name = "SFT" if row.model == "SFT" else "base model"
        ends = "natural end" if row.waits == 0 else f"“Wait” ×{row.waits}"
        setting = f"forced budget {row.budget}" if row.control == "budget" else ends
        lines.append(_write_row(f"{name}, {setting}", row, "04"))
    for row in tables["parallel"].query("method == 'majority'").itertuples():
        lines.append(_write_row(f"SFT, majority of {row.k:.0f}", row, "05"))
    for row in tables["ablations"].itertuples():
        label = f"trained on {row.examples} {plots.name_run(row, tables['ablations'])}, forced budget {row.budget}"
        lines.append(_write_row(label, row, "06"))
    return "\n".join(lines)


def write_ablations(tables: Mapping[str, pd.DataFrame]) -> str:
    """The larger ablations: each subset's accuracy and difference to s1K, beside the paper's; then the cut examples."""
    if "ablations_large" not in tables:
        return "Not run: `make ablations`, then `make publish`."
    lines = [
        "| trained on | its thinking tokens | accuracy % [95 %] | less s1K, points [95 %] | verdict | paper, AIME24 |",
        "|---|--:|--:|--:|---|--:|",
    ]
    differences = tables["ablations_large"].set_index("subset")
    for row in tables["ablations_large_points"].itertuples():
        accuracy = _write_interval(100 * row.accuracy, 100 * row.low, 100 * row.high)
        label = f"{row.examples} {plots.name_run(row, tables['ablations_large_points'])}"
        found = differences.loc[row.subset] if row.subset in differences.index else None
        less, verdict, paper = "", "", ""
        if found is not None:
            less = _write_interval(*(100 * found[name] for name in ("difference", "low", "high")), signed=True)
            verdict = found["verdict"]
            if pd.notna(found["paper"]):
                paper = _write_interval(found["paper"], found["paper_low"], found["paper_high"], signed=True)
        lines.append(f"| {label} | {row.tokens:,.0f} | {accuracy} | {less} | {verdict} | {paper} |")
    for row in tables["ablations_large_lengths"].itertuples():
        accuracy = _write_interval(100 * row.accuracy, 100 * row.low, 100 * row.high)
        ends = f"natural end at {row.thinking_tokens:.0f} tokens"
        lines.append(f"| s1K cut at {row.label}; {ends} | | {accuracy} | | | |")
    return "\n".join(lines)


def _write_interval(value: float, low: float, high: float, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''}.1f} [{low:.1f}, {high:.1f}]".replace("-", "−")


def write_stages(tables: Mapping[str, pd.DataFrame]) -> str:
    """The table of stages: what each reads and writes, and the minutes it took."""
    lines = ["| notebook | in | out | minutes |", "|---|---|---|--:|"]
    for row in tables["stages"].itertuples():
        reads, writes = FLOW[row.notebook]
        lines.append(f"| `{row.notebook}` | {reads} | {writes} | {row.minutes} |")
    return "\n".join(lines)


def _write_row(label: str, row: object, notebook: str) -> str:
    accuracy, low, high = (100 * getattr(row, name) for name in ("accuracy", "low", "high"))
    tokens, n = row.thinking_tokens, row.n  # type: ignore[attr-defined]
    return f"| {label} | {accuracy:.1f} [{low:.1f}, {high:.1f}] | {tokens:.0f} | {n} | {notebook} |"


def update_readme(data: Path, readme: Path) -> None:
    """Put the tables made from the CSV files in `data` between the README's markers."""
    tables = {path.stem: pd.read_csv(path) for path in sorted(data.glob("*.csv"))}
    text = readme.read_text("utf-8")
    written = {
        "results": write_results(tables),
        "ablations": write_ablations(tables),
        "stages": write_stages(tables),
    }
    for name, table in written.items():
        markers = (f"<!-- {name} -->", f"<!-- /{name} -->")
        if not all(marker in text for marker in markers):
            raise StudyError(f"{readme} lacks the markers {' '.join(markers)}: put them where the table belongs.")
        before, rest = text.split(markers[0])
        text = f"{before}{markers[0]}\n{table}\n{markers[1]}{rest.split(markers[1])[1]}"
    with write_atomically(readme) as path:
        path.write_text(text, "utf-8")
