"""Procedural puzzles: search problems in plain English, with an answer that can be checked.

Knows how each family is generated, shuffled and solved; knows nothing about teachers, models or files.
Four kinds of search (the laptop's "domains"), every one solved by trying options one after another:

  doors   follow a path through a map                    (graph)
  bags    find a set that holds two items                (conjunction)
  codes   translate symbols and compare with a phrase    (mapping)
  towns   match people's homes with their trades         (join)

Single steps only copy from the question, and every try ends in a verdict: that is what a 135M model
can learn in minutes. Chance is 1 / number of options. Source: ours, the paper has no such questions.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

LETTERS = "ABCDEFGHJKLMNOPRSTUVWXYZ"
ITEMS = "salt jam rice honey tea milk corn oats figs plums nuts beans bread cheese soap rope coal wool".split()
COLOURS = ["red", "blue", "green", "gold", "pink", "grey", "black", "white", "brown", "tan"]
TRADES = ["bakes", "paints", "sings", "sews", "cooks", "hunts", "writes", "fishes", "weaves", "builds"]
NAMES = "Ann Bob Cal Dan Eve Fay Gus Hal Ida Jon Kim Lee Max Ned Pam Ray Sam Tom Una Vic".split()
TOWNS = ["Rome", "Oslo", "Paris", "Cairo", "Delhi", "Lima", "Bern", "Milan", "Kyoto", "Sofia"]


@dataclass(frozen=True)
class Puzzle:
    """One question: `tries[i]` is what trying `options[i]` writes down, verdict excluded."""

    family: str
    size: int
    template: str
    options: tuple[str, ...]
    listings: tuple[str, ...]
    tries: tuple[str, ...]
    answer: str

    @property
    def question(self) -> str:
        return self.template.format(options=self._separator().join(self.listings))

    def _separator(self) -> str:
        return ", " if self.family == "doors" else "; "

    def try_option(self, option: str) -> str:
        """What an honest try of `option` writes, with its verdict."""
        verdict = "Yes." if option == self.answer else "No."
        return f"{self.tries[self.options.index(option)]}. {verdict}"

    def shuffled(self, rng: random.Random) -> Puzzle:
        """The same puzzle with its options listed in another order."""
        order = rng.sample(range(len(self.options)), len(self.options))
        pick = lambda values: tuple(values[i] for i in order)  # noqa: E731
        return replace(self, options=pick(self.options), listings=pick(self.listings), tries=pick(self.tries))


def make_doors(rng: random.Random, size: int) -> Puzzle:
    """3 to 5 doors, each the start of a path of `size` hops that ends in a colour; the map is shuffled."""
    n_doors = rng.randint(3, 5 if size < 4 else 4)
    names = rng.sample(LETTERS, n_doors * size)
    ends = rng.sample(COLOURS, n_doors)
    paths = [[*names[i * size : (i + 1) * size], ends[i]] for i in range(n_doors)]
    hops = [hop for path in paths for hop in _join_hops(path).split(", ")]
    rng.shuffle(hops)
    answer = rng.randrange(n_doors)
    return Puzzle(
        family="doors",
        size=size,
        template=f"Map: {', '.join(hops)}. Doors: {{options}}. Which door leads to {ends[answer]}?",
        options=tuple(path[0] for path in paths),
        listings=tuple(path[0] for path in paths),
        tries=tuple(f"{_join_hops(path)}, want {ends[answer]}" for path in paths),
        answer=paths[answer][0],
    )


def _join_hops(chain: list[str]) -> str:
    return ", ".join(f"{a} to {b}" for a, b in itertools.pairwise(chain))


def make_bags(rng: random.Random, size: int) -> Puzzle:
    """3 to 5 bags of `size` items; one holds both items asked for, most others hold one of them."""
    n_bags = rng.randint(3, 5)
    wanted = rng.sample(ITEMS, 2)
    others = [item for item in ITEMS if item not in wanted]
    answer = rng.randrange(n_bags)
    bags = []
    for i in range(n_bags):
        held = wanted if i == answer else wanted[:1] if rng.random() < 0.5 else wanted[1:]
        bags.append(rng.sample([*held, *rng.sample(others, size - len(held))], size))
    names = rng.sample(LETTERS, n_bags)

    def write_try(bag: list[str]) -> str:
        return f"{' '.join(bag)}, " + ", ".join(f"{w} {'in' if w in bag else 'out'}" for w in wanted)

    return Puzzle(
        family="bags",
        size=size,
        template=f"Bags: {{options}}. Which bag has {wanted[0]} and {wanted[1]}?",
        options=tuple(names),
        listings=tuple(f"{n} has {' '.join(b)}" for n, b in zip(names, bags, strict=True)),
        tries=tuple(write_try(bag) for bag in bags),
        answer=names[answer],
    )


def make_codes(rng: random.Random, size: int) -> Puzzle:
    """3 to 5 rows of `size` symbols; the rows are distinct arrangements of the same few symbols."""
    n_rows = rng.randint(3, 5)
    symbols = rng.sample(LETTERS, size + 1)
    colours = dict(zip(symbols, rng.sample(COLOURS, size + 1), strict=True))
    rows: list[tuple[str, ...]] = []
    while len(rows) < n_rows:
        row = tuple(rng.sample(symbols, size))
        if row not in rows:
            rows.append(row)
    names = rng.sample([letter for letter in LETTERS if letter not in symbols], n_rows)
    answer = rng.randrange(n_rows)
    meanings = ", ".join(f"{s} is {c}" for s, c in colours.items())
    wanted = [colours[s] for s in rows[answer]]

    def write_try(row: tuple[str, ...]) -> str:
        read = [colours[symbol] for symbol in row]
        upto = next((i + 1 for i in range(size) if read[i] != wanted[i]), size)  # stops at the first difference
        steps = [f"{s} is {r} want {w}" for s, r, w in zip(row[:upto], read, wanted, strict=False)]
        return f"{' '.join(row)}, {', '.join(steps)}"

    return Puzzle(
        family="codes",
        size=size,
        template=f"Code: {meanings}. Rows: {{options}}. Which row reads {' '.join(wanted)}?",
        options=tuple(names),
        listings=tuple(f"{n} has {' '.join(row)}" for n, row in zip(names, rows, strict=True)),
        tries=tuple(write_try(row) for row in rows),
        answer=names[answer],
    )


def make_towns(rng: random.Random, size: int) -> Puzzle:
    """3 to 5 towns with 2 people each; one town has both trades asked for."""
    n_towns = rng.randint(3, 3 + size // 2)
    wanted = rng.sample(TRADES, 2)
    others = [trade for trade in TRADES if trade not in wanted]
    answer = rng.randrange(n_towns)
    people = rng.sample(NAMES, 2 * n_towns)
    trades = {}
    for i in range(n_towns):
        held = wanted if i == answer else [rng.choice(wanted), rng.choice(others)]
        trades.update(zip(people[2 * i : 2 * i + 2], rng.sample(held, 2), strict=True))
    towns = rng.sample(TOWNS, n_towns)
    living = [tuple(people[2 * i : 2 * i + 2]) for i in range(n_towns)]
    facts = ", ".join(f"{person}: {trades[person]}" for person in rng.sample(people, len(people)))

    def write_try(pair: tuple[str, str]) -> str:
        held = [trades[person] for person in pair]
        found = ", ".join(f"{person}: {trades[person]}" for person in pair)
        return f"{found}, " + ", ".join(f"{w} {'in' if w in held else 'out'}" for w in wanted)

    return Puzzle(
        family="towns",
        size=size,
        template=f"Trades: {facts}. Towns: {{options}}. Which town {wanted[0]} and {wanted[1]}?",
        options=tuple(towns),
        listings=tuple(f"{town} has {a} and {b}" for town, (a, b) in zip(towns, living, strict=True)),
        tries=tuple(write_try(pair) for pair in living),
        answer=towns[answer],
    )


@dataclass(frozen=True)
class Family:
    """A generator and the sizes it is asked for; the size sets how much a try has to write."""

    make: Callable[[random.Random, int], Puzzle]
    sizes: tuple[int, ...]


FAMILIES = {
    "doors": Family(make_doors, (2, 3)),
    "bags": Family(make_bags, (2, 3)),
    "codes": Family(make_codes, (2, 3)),
    "towns": Family(make_towns, (2, 3)),
}


def make_puzzle(family: str, rng: random.Random) -> Puzzle:
    """A puzzle of `family` at one of its sizes."""
    return FAMILIES[family].make(rng, rng.choice(FAMILIES[family].sizes))


def read_options(metadata: str) -> tuple[str, ...]:
    """The labels a question's answer is one of; () for other questions."""
    return tuple(json.loads(metadata).get("options", ()))


def read_puzzle(metadata: str) -> Puzzle | None:
    """The puzzle that a question's metadata (JSON) describes; None for other questions."""
    fields = json.loads(metadata)
    if "tries" not in fields:
        return None
    lists = {name: tuple(fields[name]) for name in ("options", "listings", "tries")}
    return Puzzle(**{**fields, **lists})
