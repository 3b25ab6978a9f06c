"""Known contaminations, planted: what a rule finds and what it misses, measured.

Knows texts; knows nothing about the rules. Each plant is a training text that holds an evaluation item in a disguise;
the disguises are those met in real data (other case, spacing, quotes, widths, LaTeX spacing, embedding, a part only).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from s1_utils.dedup import POLICIES, find_overlaps
from s1_utils.sources import derive_seed, make_puzzles, read_champ

CURLY = str.maketrans({"'": "’", '"': "”", "-": "−", ",": "，", ".": "．"})
FULL_WIDTH = {c: c + 0xFEE0 for c in range(ord("!"), ord("~") + 1)}
MATHS = re.compile(r"[-+*/=<>^_(){},]")


@dataclass(frozen=True, slots=True)
class Plant:
    """A training text that holds (a disguise of) an evaluation item."""

    kind: str
    text: str
    eval_id: str


def _strip_punctuation(text: str, rng: random.Random) -> str:
    return re.sub(r"[^\w\s]|_", "", text)


def _change_case(text: str, rng: random.Random) -> str:
    return rng.choice([text.upper(), text.title(), text.swapcase()])


def _change_spaces(text: str, rng: random.Random) -> str:
    return "".join(c if not c.isspace() else rng.choice(["  ", "\n", "\t", " \u00a0 ", "\u3000"]) for c in text)


def _space_maths(text: str, rng: random.Random) -> str:
    """Spaces around operators, thin spaces after commas, \\left and \\right at brackets: as typesetters differ."""

    def space(match: re.Match[str]) -> str:
        sign = match[0]
        if sign in "()":
            return rng.choice([sign, f" {sign} ", ("\\left" if sign == "(" else "\\right") + sign])
        return rng.choice([sign, f" {sign} ", f"{sign} ", f"\\,{sign}"])

    return MATHS.sub(space, text)


def _cut_words(text: str, rng: random.Random, n: int) -> str:
    words = text.split()
    start = rng.randrange(len(words) - n + 1)
    return " ".join(words[start : start + n])


def _embed(text: str, host: str, rng: random.Random) -> str:
    words = host.split()
    cut = rng.randrange(len(words) + 1)
    return " ".join([*words[:cut], text, *words[cut:]])


DISGUISES: dict[str, Callable[[str, random.Random], str]] = {
    "exact": lambda text, rng: text,
    "embedded": lambda text, rng: text,
    "8-word span": lambda text, rng: _cut_words(text, rng, 8),
    "case": _change_case,
    "white space": _change_spaces,
    "punctuation stripped": _strip_punctuation,
    "curly quotes, wide commas": lambda text, rng: text.translate(CURLY),
    "full-width": lambda text, rng: text.translate(FULL_WIDTH),
    "LaTeX spacing": _space_maths,
    "short item": lambda text, rng: text,
    "short item, embedded": lambda text, rng: text,
}
NEGATIVES: dict[str, Callable[[str, random.Random], str]] = {
    "7-word span (too short)": lambda text, rng: _cut_words(text, rng, 7),
}
EMBEDDED = ("embedded", "8-word span", "short item, embedded", *NEGATIVES)


def make_short_items(count: int, seed: int) -> dict[str, str]:
    """`count` different items of fewer than eight words, in the manner of MATH's shortest."""
    forms: list[Callable[[random.Random], str]] = [
        lambda r: f"Compute $\\dbinom{{{r.randint(20, 99)}}}{{{r.randint(2, 19)}}}$.",
        lambda r: f"Evaluate $\\log_{{{r.randint(2, 9)}}} {r.randint(100, 999)}$.",
        lambda r: f"What is ${r.randint(100, 999)}+{r.randint(100, 999)}$?",
        lambda r: f"Simplify $\\sqrt{{{r.randint(100, 999)}}}-{r.randint(2, 99)}$.",
        lambda r: f"Find the units digit of ${r.randint(11, 99)}^{{{r.randint(11, 99)}}}$.",
        lambda r: f"Write $\\frac{{{r.randint(2, 99)}}}{{{r.randint(100, 999)}}}$ as a decimal.",
    ]
    items: dict[str, str] = {}
    while len(items) < count:
        rng = random.Random(derive_seed(seed, "short", len(items)))
        text = forms[len(items) % len(forms)](rng)
        if text in items.values():
            seed += 1
            continue
        items[f"short-{len(items)}"] = text
    return items


def make_plants(items: Mapping[str, str], hosts: Sequence[str], *, per_kind: int, seed: int) -> list[Plant]:
    """`per_kind` plants of every disguise and negative. Items of 16 words or more and of fewer than 8 are used.

    Raises ValueError when `items` holds too few of a kind.
    """
    long = sorted(i for i, text in items.items() if len(text.split()) >= 16)
    short = sorted(i for i, text in items.items() if len(text.split()) < 8)
    maths = [i for i in long if len(MATHS.findall(items[i])) >= 3]
    plants = []
    for kind, disguise in (DISGUISES | NEGATIVES).items():
        pool = short if kind.startswith("short") else maths if kind.startswith("LaTeX") else long
        if len(pool) < per_kind:
            raise ValueError(f"{len(pool)} items suit the plant {kind!r}; {per_kind} are needed.")
        rng = random.Random(derive_seed(seed, "plant", kind))
        for eval_id in rng.sample(pool, per_kind):
            text = disguise(items[eval_id], rng)
            host = rng.choice(hosts) if kind in EMBEDDED else None
            plants.append(Plant(kind, text if host is None else _embed(text, host, rng), eval_id))
    return plants


def read_items_and_hosts(seed: int) -> tuple[dict[str, str], list[str]]:
    """Evaluation items (CHAMP's problems, made short ones) and clean training texts (puzzles), there on any machine."""
    champ = read_champ()
    puzzles = make_puzzles(500, seed)
    items = dict(zip(champ["question_id"], champ["question"], strict=True)) | make_short_items(60, seed)
    return items, puzzles["question"].tolist()


def measure_error(items: Mapping[str, str], hosts: Sequence[str], *, per_kind: int = 60, seed: int = 0) -> pd.DataFrame:
    """For each disguise and policy, of how many plants the very item is found; last, how many hosts are flagged.

    `hosts` are training texts that share nothing with the items. Index: kind; columns: plants and the policies.
    """
    plants = make_plants(items, hosts, per_kind=per_kind, seed=seed)
    texts = {f"plant-{i}": plant.text for i, plant in enumerate(plants)}
    clean = {f"host-{i}": host for i, host in enumerate(hosts)}
    table = pd.DataFrame({"kind": [plant.kind for plant in plants]})
    table["plants"] = 1
    false = {"plants": len(hosts)}
    for name, policy in POLICIES.items():
        matches = [m for m in find_overlaps(texts | clean, {"items": items}, policy) if not m.boilerplate]
        pairs = {(match.train_id, match.eval_id) for match in matches}
        table[name] = [(f"plant-{i}", plant.eval_id) in pairs for i, plant in enumerate(plants)]
        false[name] = len({train_id for train_id, _ in pairs} & set(clean))
    counts = table.groupby("kind", sort=False).sum()
    counts.loc["clean text (false positives)"] = pd.Series(false)
    return counts.astype("int64")


def tabulate_error(seed: int) -> pd.DataFrame:
    """`measure_error` on what is there on any machine: kind, plants, found by each policy."""
    return measure_error(*read_items_and_hosts(seed), seed=seed).rename_axis("kind").reset_index()
