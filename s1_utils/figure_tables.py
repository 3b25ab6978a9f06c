"""The small tables that figures are drawn from, each made of a finished run's stage tables and of nothing else.

Knows which stage computed which table, and how a figure rounds it; knows nothing about how figures look, nor where runs
are: what is read, and remembered as the table's origin, is a `provenance.Recorder`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from s1_utils import curves, obedience, recipes, slopes, stability
from s1_utils.provenance import Recorder

Builder = Callable[[Recorder], pd.DataFrame]
STAGES = (
    "01_collect", "02_filter", "03_sft", "04_sequential_scaling", "05_parallel_scaling", "06_ablations",
)  # fmt: skip


def _add_chance(run: Recorder, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(chance=round(run.read_manifest("04_sequential_scaling")["chance"], 6))


def _read_points(run: Recorder) -> pd.DataFrame:
    curve, subsets = run.read("06_ablations", "curve"), run.read("06_ablations", "subsets")
    return recipes.list_points(curve, subsets, control="budget")


def _describe_points(run: Recorder) -> pd.DataFrame:
    subsets = run.read("06_ablations", "subsets")
    first = subsets[subsets["seed"] == subsets["seed"].min()]
    summary = stability.summarise_subsets(first, run.read("02_filter", "features"))
    return _read_points(run).merge(summary[["subset", "tokens", "attempt_right"]]).round(6)


def _find_selected(run: Recorder) -> pd.DataFrame:
    subsets = run.read("02_filter", "subsets")
    return subsets[subsets["subset"] == subsets["subset"].iloc[0]]


def _list_minutes(run: Recorder) -> pd.DataFrame:
    minutes = [(name, round(run.read_manifest(name)["wall_seconds"] / 60, 1)) for name in STAGES]
    return pd.DataFrame(minutes, columns=["notebook", "minutes"])


def _find_bootstrap(run: Recorder, stage: str) -> dict[str, int]:
    params = run.read_manifest(stage)["key"]["params"]
    return {"resamples": params["resamples"], "seed": params["seed"]}


def _list_slopes(run: Recorder) -> pd.DataFrame:
    stage = "04_sequential_scaling"
    generations = pd.concat([run.read(stage, f"generations_{name}") for name in ("sft", "base")], ignore_index=True)
    graded = curves.join_grades(generations, run.read(stage, "grades"))
    return slopes.list_slopes(graded, **_find_bootstrap(run, stage)).round(4)


def _compare_asked_lengths(run: Recorder) -> pd.DataFrame:
    """Thinking asked for in words, against no such words."""
    stage = "04_sequential_scaling"
    told = run.read(stage, "generations_methods").query("control in ['short', 'long']")
    free = run.read(stage, "generations_sft").query("control == 'wait' and waits == 0")
    free = free[free["question_id"].isin(told["question_id"])]
    names = [*free["setting"].unique(), *told["setting"].unique()]
    pairs = [(("SFT", before), ("SFT", after)) for i, before in enumerate(names) for after in names[i + 1 :]]
    return slopes.compare_lengths(pd.concat([free, told]), pairs, **_find_bootstrap(run, stage)).round(6)


def _compare_cut_lengths(run: Recorder) -> pd.DataFrame:
    """Thinking of models trained on cut examples, against that of the same seed trained on whole ones."""
    generations = run.read("06_ablations", "generations").query("control == 'wait'")
    setting = generations["setting"].iloc[0]
    cut = [name for name in generations["model"].unique() if name.startswith("s1K@")]
    pairs = [((f"s1K/{name.rpartition('/')[2]}", setting), (name, setting)) for name in cut]
    return slopes.compare_lengths(generations, pairs, **_find_bootstrap(run, "06_ablations")).round(6)


def _add_paper(run: Recorder) -> pd.DataFrame:
    return recipes.add_paper(run.read("06_ablations", "differences"), "budget").round(6)


def _list_asked(run: Recorder) -> pd.DataFrame:
    asks = run.read("06_ablations", "conditional")
    return obedience.list_points(asks) if len(asks) else asks


def _write_flops(table: pd.DataFrame) -> pd.DataFrame:
    """Six significant digits: shares and FLOPs stand in one table."""
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: [float(f"{value:.6g}") for value in table[name]] for name in numbers})


TABLES: dict[str, Builder] = {
    "funnel": lambda run: run.read("02_filter", "funnel"),
    "domains": lambda run: stability.list_bubbles(_find_selected(run), run.read("02_filter", "features")).round(3),
    "lengths": lambda run: stability.bin_lengths(
        run.read("02_filter", "subsets"), run.read("02_filter", "features")
    ).round(3),
    "inclusion": lambda run: stability.list_steps(run.read("02_filter", "inclusion")).round(4),
    "stability": lambda run: run.read("02_filter", "stability").round(4),
    "training": lambda run: run.read("03_sft", "training").round({"loss": 5, "grad_norm": 5, "learning_rate": 11}),
    "sequential": lambda run: _add_chance(run, run.read("04_sequential_scaling", "curve")),
    "waits": lambda run: run.read("04_sequential_scaling", "waits").round(6),
    "measures": lambda run: run.read("04_sequential_scaling", "measures").round(4),
    "slopes": _list_slopes,
    "methods": lambda run: _add_chance(run, run.read("04_sequential_scaling", "methods_curve")),
    "methods_measured": lambda run: run.read("04_sequential_scaling", "methods").round(4),
    "length_changes": _compare_asked_lengths,
    "verdicts": lambda run: run.read("04_sequential_scaling", "verdicts").round(4),
    "quirks": lambda run: run.read("04_sequential_scaling", "quirks").round(6),
    "soft": lambda run: run.read("04_sequential_scaling", "soft").round(6),
    "changes": lambda run: run.read("04_sequential_scaling", "changes"),
    "graders": lambda run: run.read("04_sequential_scaling", "graders").round(6),
    "parallel": lambda run: _add_chance(run, _write_flops(run.read("05_parallel_scaling", "curve"))),
    "frontier": lambda run: _write_flops(run.read("05_parallel_scaling", "frontier")),
    "parallel_differences": lambda run: _write_flops(run.read("05_parallel_scaling", "differences")),
    "parallel_turns": lambda run: _write_flops(run.read("05_parallel_scaling", "turns")),
    "parallel_noise": lambda run: run.read("05_parallel_scaling", "noise").round(6),
    "decoding_steps": lambda run: run.read("05_parallel_scaling", "steps").round(5),
    "rejection": lambda run: run.read("05_parallel_scaling", "rejection").round(6),
    "combination": lambda run: _write_flops(run.read("05_parallel_scaling", "combination")),
    "judged_differences": lambda run: _write_flops(run.read("05_parallel_scaling", "judged_differences")),
    "ablations": lambda run: _add_chance(run, _read_points(run)),
    "subset_differences": _add_paper,
    "train_length": lambda run: run.read("06_ablations", "lengths").round(6),
    "stages": _list_minutes,
    "ablation_differences": lambda run: run.read("06_ablations", "differences").round(6),
}
ASKED: dict[str, Builder] = {  # models asked for a length, of notebook 6
    "conditional": _list_asked,
    "conditional_asks": lambda run: run.read("06_ablations", "conditional"),
    "conditional_slopes": lambda run: run.read("06_ablations", "obedience"),
}
TABLES |= ASKED
LARGE: dict[str, Builder] = {  # the larger ablations (`make ablations`)
    "ablations_large": _add_paper,
    "ablations_large_points": _describe_points,
    "ablations_large_differences": TABLES["ablation_differences"],
    "ablations_large_lengths": TABLES["train_length"],
    "ablations_large_tokens": _compare_cut_lengths,
}
VARIANTS: dict[str, tuple[str, dict[str, Builder]]] = {  # of a profile, in the run <profile>-<name>: its stage, tables
    "ablations": ("06_ablations", LARGE),
    "conditional": ("06_ablations", ASKED),
    "six": ("04_sequential_scaling", {"waits_six": TABLES["waits"]}),  # with six Waits as well
    "rebase": ("05_parallel_scaling", {"judged_differences": TABLES["judged_differences"]}),  # with tree search
}
OPTIONAL = {*ASKED, "judged_differences"}  # left out where empty: nobody was asked, no reward model
