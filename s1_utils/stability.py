"""How much of a selection is forced and how much is luck: the same subset drawn with many seeds.

Knows tables of picks and features; knows nothing about how questions are chosen or what they are worth in training.
Source: a question of the paper's readers that it doesn't answer (its notebook has no seed and was run once).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from s1_utils import selection
from s1_utils.errors import StudyError
from s1_utils.judge import read_classes


def draw_many(
    names: Sequence[str], features: pd.DataFrame, *, size: int, seeds: Sequence[int], rule: str = "algorithm_1"
) -> pd.DataFrame:
    """seed and the `subsets` table of every subset and seed. Raises StudyError for fewer than two seeds, or repeats."""
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise StudyError(f"Stability needs two seeds or more, all different; there are {len(set(seeds))} different.")
    tables = []
    for name in names:
        drawn = selection.select_seeds(name, features, size=size, seeds=seeds, rule=rule)
        tables += [table.assign(seed=seed) for seed, table in zip(seeds, drawn, strict=True)]
    return pd.concat(tables, ignore_index=True)


def measure_inclusion(picks: pd.DataFrame) -> pd.DataFrame:
    """subset, question_id, share of seeds that choose it, forced (taken before any draw), rank by share, size."""
    seeds = picks["seed"].nunique()
    rows = picks.assign(forced=picks["reason"].str.startswith("included outright"))
    found = rows.groupby(["subset", "question_id"], sort=False).agg(share=("seed", "size"), forced=("forced", "any"))
    found = found.reset_index().assign(share=lambda table: table["share"] / seeds)
    order = {name: i for i, name in enumerate(picks["subset"].unique())}
    found = found.assign(_order=found["subset"].map(order)).sort_values(
        ["_order", "forced", "share", "question_id"], ascending=[True, False, False, True]
    )
    found = found.drop(columns="_order")
    sizes = picks.groupby("subset").size() // seeds
    return found.assign(rank=found.groupby("subset").cumcount() + 1, size=found["subset"].map(sizes)).reset_index(
        drop=True
    )


def list_steps(inclusion: pd.DataFrame) -> pd.DataFrame:
    """The first and last row of every run of equal shares: all that a figure needs, a few hundred rows at most."""
    by_subset = inclusion.groupby("subset", sort=False)[["share", "forced"]]
    same = [(by_subset.shift(shift) == inclusion[["share", "forced"]]).all(axis=1) for shift in (1, -1)]
    return inclusion[~(same[0] & same[1])].drop(columns="question_id").reset_index(drop=True)


def measure_overlap(picks: pd.DataFrame) -> pd.DataFrame:
    """subset, jaccard: one row a pair of seeds, |both| / |either|."""
    tables = []
    for name, rows in picks.groupby("subset", sort=False):
        chosen_SN = pd.crosstab(rows["seed"], rows["question_id"]).to_numpy()
        both = chosen_SN @ chosen_SN.T
        sizes = chosen_SN.sum(1)
        i, j = np.triu_indices(len(sizes), k=1)
        shared = both[i, j]
        tables.append(pd.DataFrame({"subset": name, "jaccard": shared / (sizes[i] + sizes[j] - shared)}))
    return pd.concat(tables, ignore_index=True)


def describe_seeds(picks: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """One row a subset and seed: entropy of its domains (bits), mean and median thinking tokens, share of each source.

    Columns subset, seed, entropy, mean_tokens, median_tokens, and "source: <name>".
    """
    joined = picks.merge(features[["question_id", "source", "thinking_tokens"]], on="question_id")
    by_seed = joined.groupby(["subset", "seed"], sort=False)
    table = by_seed.agg(
        entropy=("domain", measure_entropy),
        mean_tokens=("thinking_tokens", "mean"),
        median_tokens=("thinking_tokens", "median"),
    )
    sources = by_seed["source"].value_counts(normalize=True).unstack(fill_value=0.0).add_prefix("source: ")
    return table.join(sources).reset_index().rename_axis(columns=None)


QUANTILES = {"low": 0.025, "q1": 0.25, "median": 0.5, "q3": 0.75, "high": 0.975}


def summarise_spread(picks: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """How selections vary from seed to seed: measure, subset and the `QUANTILES` over pairs of seeds, or over seeds.

    Measures: overlap (Jaccard), entropy of domains, mean and median thinking tokens, and the shares of the three
    largest sources, if there are several.
    """
    seeds = describe_seeds(picks, features).rename(
        columns={
            "entropy": "entropy of domains (bits)",
            "mean_tokens": "mean thinking tokens",
            "median_tokens": "median thinking tokens",
        }
    )
    sources = seeds.filter(like="source: ").mean().sort_values(ascending=False, kind="stable").index
    seeds = seeds.drop(columns=["seed", *(sources[3:] if len(sources) > 1 else sources)])
    long = seeds.melt("subset", var_name="measure")
    pairs = measure_overlap(picks).rename(columns={"jaccard": "value"}).assign(measure="overlap of two seeds (Jaccard)")
    values = pd.concat([pairs, long], ignore_index=True).groupby(["measure", "subset"], sort=False)["value"]
    return pd.DataFrame({name: values.quantile(q) for name, q in QUANTILES.items()}).reset_index()


def measure_entropy(labels: pd.Series) -> float:
    """Shannon entropy of the shares of the labels, in bits."""
    shares = labels.value_counts(normalize=True).to_numpy()
    return float(-(shares * np.log2(shares)).sum() + 0.0)


def summarise_stability(picks: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """One row a subset: what every seed chooses, what any does, how far two seeds agree, and what varies.

    `forced`: questions taken before any draw; `always`: by all seeds, those included; `ever`: by any seed; `jaccard`
    with the 2.5 and 97.5 percentiles over pairs of seeds; `jaccard_uniform`: of two uniform draws of as many questions
    from the rows this subset may take (k / (2N - k)); mean and standard deviation over seeds of the domains' entropy
    and of the mean thinking tokens.
    """
    inclusion, overlap, seeds = measure_inclusion(picks), measure_overlap(picks), describe_seeds(picks, features)
    rows = []
    for name, found in inclusion.groupby("subset", sort=False):
        size, eligible = int(found["size"].iloc[0]), len(selection.find_eligible(name, features))
        jaccard = overlap.loc[overlap["subset"] == name, "jaccard"]
        own = seeds[seeds["subset"] == name]
        rows.append(
            {
                "subset": name,
                "size": size,
                "eligible": eligible,
                "forced": int(found["forced"].sum()),
                "always": int((found["share"] == 1).sum()),
                "ever": len(found),
                "jaccard": jaccard.mean(),
                "jaccard_low": jaccard.quantile(0.025),
                "jaccard_high": jaccard.quantile(0.975),
                "jaccard_uniform": size / (2 * eligible - size),
                "entropy": own["entropy"].mean(),
                "entropy_sd": own["entropy"].std(),
                "mean_tokens": own["mean_tokens"].mean(),
                "mean_tokens_sd": own["mean_tokens"].std(),
            }
        )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ what subsets look like


def summarise_subsets(subsets: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """One row a subset: questions, domains, thinking tokens (mean and sum), shares solved, right, of poor quality."""
    joined = subsets.merge(features.drop(columns="domain"), on="question_id")
    joined = joined.assign(poor=joined["quality"].notna(), right=joined["attempt_correct"].astype(float))
    table = joined.groupby("subset", sort=False).agg(
        questions=("question_id", "size"),
        domains=("domain", "nunique"),
        mean_tokens=("thinking_tokens", "mean"),
        tokens=("thinking_tokens", "sum"),
        solved=("solved", "mean"),
        attempt_right=("right", "mean"),
        poor_quality=("poor", "mean"),
    )
    return table.reset_index().round(3)


def summarise_domains(subset: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """domain, questions, thinking_tokens (their sum), the largest first and a last row with the total: s1's table 5."""
    joined = subset[["question_id"]].merge(features[["question_id", "domain", "thinking_tokens"]], on="question_id")
    table = joined.groupby("domain").agg(questions=("question_id", "size"), thinking_tokens=("thinking_tokens", "sum"))
    table = table.reset_index().sort_values(["questions", "domain"], ascending=[False, True])
    total = {
        "domain": f"all {len(table)} domains",
        "questions": len(joined),
        "thinking_tokens": joined["thinking_tokens"].sum(),
    }
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)


def bin_lengths(subsets: pd.DataFrame, features: pd.DataFrame, *, bins: int = 24) -> pd.DataFrame:
    """subset, left, right, questions: how many traces of each subset have so many tokens, in bins common to all."""
    tokens = features.set_index("question_id")["thinking_tokens"].astype(float)
    joined = subsets.assign(tokens=subsets["question_id"].map(tokens))
    low, high = tokens.min(), tokens.max()
    if high > 16 * max(low, 1.0):
        edges = np.geomspace(max(low, 1.0), high + 1, bins + 1)
    else:
        edges = np.linspace(low, high + 1, bins + 1)
    tables = []
    for name, rows in joined.groupby("subset", sort=False):
        counts, _ = np.histogram(rows["tokens"].clip(lower=edges[0]), edges)
        tables.append(pd.DataFrame({"subset": name, "left": edges[:-1], "right": edges[1:], "questions": counts}))
    return pd.concat(tables, ignore_index=True)


def list_bubbles(subset: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """domain, questions, thinking_tokens (mean), field: s1's figure 2, left.

    `field`: "other" for the classes of MSC2020 from 68, computer science, on; else "mathematics".
    """
    table = summarise_domains(subset, features).iloc[:-1]
    is_other = table["domain"].isin([title for code, title in read_classes().items() if code >= "68"])
    return table.assign(
        thinking_tokens=table["thinking_tokens"] / table["questions"],
        field=is_other.map({True: "other", False: "mathematics"}),
    )
