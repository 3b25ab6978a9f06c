"""The paper's 232 published numbers as claims: each with its tolerance, its profile, its command and its place.

Knows the file and what the paper says about a number elsewhere; where the study has its like is `claim_locators`',
what ours is `claim_runs`', when it counts as reproduced `claim_rules`'.
The numbers are s1_utils/paper/results.csv: facts read in "s1: Simple test-time scaling" (arXiv 2501.19393; tables with
"(v3)" are in its third version only), printed (tag P) or measured in its figures (tag M: their vector graphics, of
figure 4b pixels). A row's ci_low and ci_high are the published interval; in Table 2 that of the difference to s1K, not
of the value.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import claim_locators, claim_rules
from s1_utils.claim_places import Place

FILE = Path(__file__).parent / "paper" / "results.csv"
KNOWN = {"P": "printed", "M": "measured from pixels"}
NOTES = {  # (where, system or "", metric or "") → what else is known
    ("Table 3", "budget forcing", "scaling"): "14 to 15.6 from figure 1's points, by which five are taken; eq. 2 as "
    "printed, per token, does not give the table",
    ("Table 3", "rejection sampling", "scaling"): "-28.6 from the six points of figure 6, -34.1 or -35.7 from five",
    ("Table 1", "Gemini 2.0 Flash Thinking", ""): "typed into a web page by hand",
    ("Table 5 (v3)", "s1.1 without budget forcing", ""): "AIME24 came out as 70.0 with a newer vLLM (issue 134 of s1)",
    (
        "Section 2 / Appendix",
        "",
        "",
    ): "the released notebook counts 51,607, 24,517 and 393; decontamination was switched off in the released code",
    ("Figure 4a", "", ""): "the authors' series of Waits on AIME24: once to three times 53.3, 4 56.7, 5 53.3, 6 56.7, "
    "7 53.3, 8 50.0 (issue 19 of s1)",
}


@dataclass(frozen=True)
class Claim:
    """A published number. `obstacle`: why it can't be run, empty if it can; `model`: whose it is, "" for none here."""

    claim_id: str
    where: str
    system: str
    benchmark: str
    setting: str
    metric: str
    published: float
    published_low: float | None
    published_high: float | None
    published_tokens: float | None
    how_known: str
    note: str
    n: int | None
    tolerance: float
    profile: str = ""
    model: str = ""
    command: str = ""
    place: Place | None = None
    obstacle: str = ""
    group: tuple[Any, ...] = ()  # claims with the same one are about the same thing


# ------------------------------------------------------------------ reading


@cache
def list_claims() -> tuple[Claim, ...]:
    """All published numbers, in the order of the file."""
    rows = pd.read_csv(FILE, keep_default_na=False, dtype=str).to_dict("records")
    return tuple(_add_rivals([claim_locators.locate_claim(_read_row(row)) for row in rows]))


def _read_row(row: dict[str, str]) -> Claim:
    numbers = {name: float(row[name]) if row[name] else None for name in ("ci_low", "ci_high", "thinking_tokens")}
    published, is_read = float(row["value"]), row["tag"] == "M"
    tolerance = claim_rules.find_tolerance(row["metric"], row["benchmark"], published=published, is_read=is_read)
    metric = row["metric"].partition(" ")[0].rstrip(",")
    notes = [NOTES.get((row["where"], *key)) for key in ((row["system"], metric), (row["system"], ""), ("", ""))]
    return Claim(
        claim_id=_name_claim(row),
        **{name: row[name] for name in ("where", "system", "benchmark", "setting", "metric")},
        published=published,
        published_low=numbers["ci_low"],
        published_high=numbers["ci_high"],
        published_tokens=numbers["thinking_tokens"],
        how_known=KNOWN[row["tag"]],
        note="; ".join(note for note in (row["note"].replace(" [I]", ""), *notes) if note),
        n=claim_rules.BENCHMARKS.get(row["benchmark"]),
        tolerance=tolerance,
    )


def _name_claim(row: dict[str, str]) -> str:
    """Readable and stable: made of what the row says it is, never of its value or its position."""
    where = row["where"].partition(" (")[0].partition(" /")[0]
    parts = [where, row["system"], row["benchmark"]]
    if row["where"] not in ("Table 1", "Table 2"):  # there it is the same for a whole row
        parts.append(row["setting"] or (f"{row['thinking_tokens']} tokens" if row["thinking_tokens"] else ""))
    parts += [] if row["metric"] in ("accuracy", "questions") else [row["metric"].partition(",")[0]]
    return "/".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts if part)


def _add_rivals(claims: list[Claim]) -> Iterable[Claim]:
    """Each claim with what the paper says elsewhere about the same thing, if it says something else."""
    groups = defaultdict(list)
    for claim in claims:
        groups[claim.group].append(claim)
    for claim in claims:
        others = [each for each in groups[claim.group] if claim.group and each.published != claim.published]
        said = ", ".join(dict.fromkeys(f"{each.published:g} ({each.where})" for each in others))
        yield replace(claim, note="; ".join(filter(None, [claim.note, said and f"elsewhere in the paper: {said}"])))
