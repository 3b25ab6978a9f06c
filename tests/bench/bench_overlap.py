"""Overlap and near-duplicates: are they right, how fast, how much memory. A benchmark, not a test.

    python tests/bench/bench_overlap.py [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. `--quick` stays at 60,000 texts; otherwise growth goes to 3 million, in 8 CPU minutes.

The texts are made from the docstrings and comments of the installed Python: there on any machine, but not the same
texts on any two, so compare ratios. Times are CPU seconds, the best of some repeats that take turns; sums only of
growth, where best and sum don't compare. What the module is checked against is written out here, without its code.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from reporting import report, short

from s1_utils.dedup import POLICIES, Index, Match, label
from s1_utils.near_duplicates import find_pairs
from s1_utils.overlap_plants import DISGUISES, NEGATIVES, Plant, make_plants, read_items_and_hosts

SEED, TEXTS, SET_ASIDE, PER_KIND, REPEATED = 0, 60_000, 400, 60, 300
N, NEAR, SHINGLE = 8, 0.7, 5


@dataclass(frozen=True)
class Method:
    """One way to scan: its policy and options, what it is timed against, and the goals for time and memory (MB)."""

    name: str
    policy: str
    against: str
    ratio: float
    memory: float
    options: dict[str, Any] = field(default_factory=dict)  # for Index.scan

    def build(self, items: dict[str, str]) -> Index:
        index = Index(POLICIES[self.policy])
        index.add("items", items)
        return index

    def scan(self, index: Index, texts: dict[str, str] | Iterable[tuple[str, str]]) -> list[Match]:
        return list(index.scan(texts, **self.options))

    def flag(self, items: dict[str, str], texts: dict[str, str]) -> set[str]:
        index = self.build(items)
        return {match.train_id for match in label(self.scan(index, texts), index)}


BOUND = "lower+split"
METHODS = [
    Method("s1", "s1", BOUND, 3.0, 40),
    Method("s1 with the kernel", "s1", BOUND, 1.5, 200, {"fast": True}),
    Method("audited", "audited", "s1", 3.0, 40),
]


def say(text: str) -> None:
    """Progress, with CPU seconds."""
    print(f"[{time.process_time():6.1f} s] {text}", file=sys.stderr, flush=True)


def measure(repeats: int, tasks: dict[str, Callable[[], Any]]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """CPU seconds of every repeat, and the last results; the tasks take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    results = {}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            result = task()
            seconds[name].append(time.process_time() - start)
            results[name] = result  # kept until timed: freeing is not the task's work
    return seconds, results


# ------------------------------------------------------------------ the texts

PROSE = re.compile(r'"""(.*?)"""|((?:^[ \t]*#[^\n]*\n){2,})', re.S | re.M)


def read_passages(count: int) -> list[str]:
    """Up to `count` different passages of prose, from Python files in an order drawn once."""
    paths = sysconfig.get_paths()
    files = sorted(p for p in Path(paths["stdlib"]).rglob("*.py") if "site-packages" not in p.parts)
    files += sorted(Path(paths["purelib"]).rglob("*.py"))
    rng = random.Random(SEED)
    rng.shuffle(files)
    seen: set[str] = set()
    passages: dict[str, None] = {}
    for file in files:
        paragraphs = []
        for match in PROSE.finditer(file.read_text("utf-8", "replace")):
            for paragraph in re.sub(r"\n[ \t]*(?:#+[ \t]*)?", "\n", match[0].strip('"# \t\n')).split("\n\n"):
                words = len(paragraph.split())
                letters = sum(map(str.isalpha, paragraph))
                if words >= N and letters + words >= 0.8 * len(paragraph) and paragraph not in seen:
                    seen.add(paragraph)
                    paragraphs.append(paragraph)
        words = re.findall(r"\S+\s*", "\n".join(paragraphs))
        while len(words) >= N:
            size = min(400, max(N, int(rng.lognormvariate(4.14, 0.6))))
            passages["".join(words[:size]).strip()] = None
            words = words[size:]
        if len(passages) >= count:
            break
    return list(passages)[:count]


def cut_quarters(texts: Iterable[str]) -> list[str]:
    quarters = []
    for text in texts:
        words = re.findall(r"\S+\s*", text)
        quarters += ["".join(words[len(words) * i // 4 : len(words) * (i + 1) // 4]) for i in range(4)]
    return quarters


def splice(quarters: list[str], count: int) -> Iterator[str]:
    """`count` more texts: four quarters of texts each, so of the same mean length."""
    rng = random.Random(SEED)
    for _ in range(count):
        yield " ".join(rng.choices(quarters, k=4))


@dataclass
class Corpus:
    """Evaluation items; passages as read; the clean ones among them; plants; clean texts and plants, mixed."""

    items: dict[str, str]
    raw: dict[str, str]
    base: dict[str, str]
    plants: dict[str, Plant]
    texts: dict[str, str]


def read_words(text: str) -> list[str]:
    """The paper's reading, written out."""
    return text.lower().split()


def read_normalised(text: str) -> list[str]:
    """The plain strong reading: everything but letters and digits parts words."""
    return re.sub(r"[\W_]+", " ", text.lower()).split()


def join_grams(words: list[str], n: int = N) -> list[str]:
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


def flag_plainly(texts: dict[str, str], items: dict[str, str], read: Callable[[str], list[str]]) -> set[str]:
    """The rule, written out: ids of the texts that share any run of eight words with any item."""
    grams = {gram for item in items.values() for gram in join_grams(read(item))}
    return {text_id for text_id, text in texts.items() if not grams.isdisjoint(join_grams(read(text)))}


def flag_respaced(texts: dict[str, str], items: dict[str, str]) -> set[str]:
    """Ids of the texts that hold eight words of an item with other spaces (key word, keyword); 23 letters or more."""
    runs: dict[str, set[str]] = defaultdict(set)
    for item in items.values():
        for gram in join_grams(read_normalised(item)):
            run = gram.replace(" ", "")
            for i in range(8 if len(run) >= 23 else 0):
                runs[run[i : i + 16]].add(run)
    flagged = set()
    for text_id, text in texts.items():
        letters = "".join(read_normalised(text))
        starts = runs.keys() & {letters[i : i + 16] for i in range(0, len(letters) - 15, 8)}
        if any(run in letters for start in starts for run in runs[start]):
            flagged.add(text_id)
    return flagged


def make_corpus() -> tuple[Corpus, set[str]]:
    """The corpus, and the ids of its raw passages that the paper's rule flags."""
    passages = read_passages(int(1.06 * TEXTS))
    found = len(passages)
    passages += splice(cut_quarters(passages), int(1.06 * TEXTS) - found)
    rng = random.Random(SEED)
    rng.shuffle(passages)
    aside = [i for i, text in enumerate(passages) if 16 <= len(text.split()) <= 200][:SET_ASIDE]
    items = read_items_and_hosts(SEED)[0] | {f"passage-{i}": passages[i] for i in aside}
    raw = {f"text-{i}": text for i, text in enumerate(passages) if f"passage-{i}" not in items}
    flagged = flag_plainly(raw, items, read_words)
    dirty = flagged | flag_plainly(raw, items, read_normalised)
    respaced = flag_respaced({text_id: text for text_id, text in raw.items() if text_id not in dirty}, items)
    dirty |= respaced
    base = dict([(text_id, text) for text_id, text in raw.items() if text_id not in dirty][:TEXTS])
    made = make_plants(items, list(base.values()), per_kind=PER_KIND, seed=SEED)
    plants = {f"plant-{i}": plant for i, plant in enumerate(made)}
    mixed = [*base.items(), *((plant_id, plant.text) for plant_id, plant in plants.items())]
    rng.shuffle(mixed)
    words = sum(len(text.split()) for text in base.values()) / len(base)
    say(
        f"{len(base)} clean texts, {sum(map(len, base.values())) / 1e6:.1f} MB, {words:.1f} words on average "
        f"({found} passages found, the rest spliced; {len(dirty)} of {len(raw)} dropped for sharing eight words with"
        f" an item, {len(respaced)} of them only with other spaces); {len(items)} items, {len(plants)} plants"
    )
    return Corpus(items, raw, base, plants, dict(mixed)), flagged


# ------------------------------------------------------------------ what is measured


def check_s1(corpus: Corpus, flagged: set[str]) -> None:
    """Policy s1 against the rule written out, on raw passages and plants."""
    plants = {plant_id: plant.text for plant_id, plant in corpus.plants.items()}
    expected = flagged | flag_plainly(plants, corpus.items, read_words)
    texts = corpus.raw | plants
    found = METHODS[0].flag(corpus.items, texts)
    note = f"{len(expected)} of {len(texts)} texts flagged"
    report("s1 differs from a plain transcription", len(found ^ expected), "== 0", unit="texts", note=note)


def split_all(texts: Iterable[str]) -> None:
    for text in texts:
        text.lower().split()


def time_scans(corpus: Corpus, repeats: int) -> dict[str, float]:
    """CPU ratios at 60K, what is found there, and the mean seconds a text."""
    texts, indexes = corpus.texts, {}
    for method in METHODS:
        start = time.process_time()
        indexes[method.name] = method.build(corpus.items)
        report(f"{method.name}: index of {len(corpus.items)} items", time.process_time() - start, unit="CPU s")
    tasks: dict[str, Callable[[], Any]] = {BOUND: lambda: split_all(texts.values())}
    for method in METHODS:
        index = indexes[method.name]
        tasks[method.name] = lambda method=method, index=index: label(method.scan(index, texts), index)
    seconds, results = measure(repeats, tasks)
    for method in METHODS:
        ratio = min(seconds[method.name]) / min(seconds[method.against])
        note = f"best {min(seconds[method.name]):.2f} / {min(seconds[method.against]):.2f} CPU s at {len(texts)} texts"
        report(f"{method.name} / {method.against}", ratio, f"<= {method.ratio}", note=note)
    for method in METHODS:
        count_found(method, corpus, results[method.name])
    return {name: sum(times) / len(times) / len(texts) for name, times in seconds.items()}


def count_found(method: Method, corpus: Corpus, matches: list[Match]) -> None:
    """Of the plants of every kind, how many have their own item found; and how many clean texts are flagged."""
    pairs = {(match.train_id, match.eval_id) for match in matches if not match.boilerplate}
    found = Counter(plant.kind for plant_id, plant in corpus.plants.items() if (plant_id, plant.eval_id) in pairs)
    audited = method.policy == "audited"
    for kind in DISGUISES | NEGATIVES:
        goal = f"== {PER_KIND}" if audited and kind in DISGUISES else None
        report(f"{method.name} finds: {kind}", found[kind], goal, unit=f"of {PER_KIND}")
    clean = sorted({train_id for train_id, _ in pairs} & corpus.base.keys())
    note = {"note": ", ".join(clean[:5])} if clean else {}
    report(f"{method.name} flags clean texts", len(clean), "== 0" if audited else None, unit="texts", **note)


def run_official(texts: dict[str, str], items: dict[str, str]) -> tuple[set[str], dict[str, set[str]]]:
    """The official script as described: every n-gram of the whole training set → its ids, then the items looked up."""
    lookup: dict[str, set[str]] = defaultdict(set)
    for text_id, text in texts.items():
        for gram in join_grams(" ".join(text.lower().strip().split()).split()):
            lookup[gram].add(text_id)
    found: set[str] = set()
    for item in items.values():
        for gram in join_grams(" ".join(item.lower().strip().split()).split()):
            found |= lookup.get(gram, set())
    return found, lookup  # handed back, so that freeing it is not timed


def compare_official(corpus: Corpus, quick: bool) -> None:
    texts = dict(list(corpus.texts.items())[: TEXTS // 5 if quick else None])
    tasks: dict[str, Callable[[], Any]] = {
        "official": lambda: run_official(texts, corpus.items),
        "ours": lambda: METHODS[0].flag(corpus.items, texts),
    }
    seconds, results = measure(2, tasks)
    ratio = min(seconds["official"]) / min(seconds["ours"])
    note = f"{min(seconds['official']):.2f} / {min(seconds['ours']):.2f} CPU s, index included, at {len(texts)} texts"
    note += " (quick: a fifth, where the index weighs more, so no goal)" if quick else ""
    report("official script, as described / s1", ratio, None if quick else ">= 10", note=note)
    report("official script flags others", len(results["official"][0] ^ results["ours"]), "== 0", unit="texts")


def measure_growth(corpus: Corpus, size: int, at_60k: dict[str, float]) -> None:
    """Seconds a text when `size` texts are streamed, against those at 60K; block by block, methods taking turns."""
    seconds, block = Counter(), corpus.texts
    quarters = cut_quarters(corpus.base.values())
    spliced = ((f"spliced-{i}", text) for i, text in enumerate(splice(quarters, size - len(block))))
    indexes = {method.name: method.build(corpus.items) for method in METHODS}
    matches: dict[str, list[Match]] = {method.name: [] for method in METHODS}
    while block:
        tasks: dict[str, Callable[[], Any]] = {BOUND: lambda block=block: split_all(block.values())}
        for method in METHODS:
            tasks[method.name] = lambda m=method, block=block: matches[m.name].extend(m.scan(indexes[m.name], block))
        for name, (taken,) in measure(1, tasks)[0].items():
            seconds[name] += taken
        block = dict(islice(spliced, TEXTS))
    for method in METHODS:
        seconds[method.name] += measure(1, {"": lambda m=method: label(matches[m.name], indexes[m.name])})[0][""][0]
    note = f"{BOUND}: {seconds[BOUND] / size / at_60k[BOUND]:.2f}"
    for method in METHODS:
        name, total = method.name, seconds[method.name]
        growth = total / size / at_60k[name]
        report(f"{name}: time a text, {size} / 60K", growth, "<= 1.3" if size == 50 * TEXTS else None, note=note)
        found = f"{total:.1f} CPU s, {len(matches[name])} matches"
        report(f"{name} / {method.against} at {size}", total / seconds[method.against], note=found)


# ------------------------------------------------------------------ memory


def run_child(name: str, size: int, path: str) -> None:
    """Load `size` texts, split each once, scan them with the method (or not, for ""); print the peak in MB."""
    with open(path, encoding="utf-8") as file:  # line by line: a peak while loading would hide one of scanning
        items = json.loads(next(file))
        plants = json.loads(next(file))
        texts = [json.loads(line) for line in file]
    quarters = cut_quarters(texts) if size > len(texts) + len(plants) else []  # kept to the end, for the same reason
    texts += plants
    texts += splice(quarters, size - len(texts))
    split_all(texts)
    for method in METHODS:
        if method.name == name:
            index = method.build(items)
            label(method.scan(index, ((str(i), text) for i, text in enumerate(texts))), index)
    try:  # getrusage would count the parent's memory, too: Linux keeps the maximum across exec
        peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    except (OSError, TypeError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    print(peak)


def measure_memory(corpus: Corpus, sizes: list[int]) -> None:
    """Peak memory of scanning, in a process of its own, over that of only loading the texts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        plants = [plant.text for plant in corpus.plants.values()]
        path.write_text("\n".join(json.dumps(row) for row in [corpus.items, plants, *corpus.base.values()]), "utf-8")
        for size in sizes:
            size = max(size, len(corpus.texts))
            start = [sys.executable, __file__, "--child"]
            names = ["", *(method.name for method in METHODS)]
            children = {
                name: subprocess.Popen([*start, name, str(size), str(path)], stdout=subprocess.PIPE, text=True)
                for name in names
            }
            peaks = {name: float(child.communicate()[0]) for name, child in children.items()}
            for method in METHODS:
                goal, note = f"<= {method.memory}", f"over {peaks['']:.0f} MB for the texts alone"
                report(f"{method.name}: memory at {size}", peaks[method.name] - peaks[""], goal, unit="MB", note=note)


# ------------------------------------------------------------------ near-duplicates


def edit(text: str, rng: random.Random, times: int) -> str:
    """Put another word in `times` places."""
    words = re.findall(r"\S+\s*", text)
    for place in rng.sample(range(len(words)), times):
        words[place] = f"{rng.choice(['azure', 'brisk', 'cedar', 'dusky'])}{rng.randrange(1000)} "
    return "".join(words)


REPEATS: dict[str, Callable[[str, random.Random], str]] = {
    "exact": lambda text, rng: text,
    "case and space": lambda text, rng: "  ".join(text.swapcase().split()),
    "punctuation": lambda text, rng: re.sub(r"[^\w\s]|_", "", text),
    "1 edit": lambda text, rng: edit(text, rng, 1),
    "3 edits": lambda text, rng: edit(text, rng, 3),
}


def count_jaccard(first: str, second: str) -> float:
    """Jaccard similarity of the sets of five words in a row, for ASCII texts, written out."""
    a, b = (set(join_grams(read_normalised(text), SHINGLE)) for text in (first, second))
    return len(a & b) / len(a | b) if a | b else 0.0


def compare_near_duplicates(corpus: Corpus) -> None:
    """Time of the exact join, and what it misses, against every planted pair counted out."""
    rng, texts, planted = random.Random(SEED), dict(corpus.base), {}
    hosts = [text_id for text_id, text in texts.items() if text.isascii() and len(text.split()) >= 16]
    for kind, disguise in REPEATS.items():
        for host in rng.sample(hosts, REPEATED):
            repeat = f"repeat-{len(planted)}"
            texts[repeat] = disguise(texts[host], rng)
            planted[repeat, host] = kind
    seconds, results = measure(1, {"exact": lambda: find_pairs(texts, threshold=NEAR, k=SHINGLE)})
    exact = {(pair.first, pair.second): pair.similarity for pair in results["exact"]}
    note = f"{len(exact)} pairs among {len(texts)} texts"
    report("near-duplicates, exact", seconds["exact"][0], "<= 8", unit="CPU s", note=note)
    near = {pair for pair in planted if count_jaccard(texts[pair[0]], texts[pair[1]]) >= NEAR}
    missed = [pair for pair in near if pair not in exact]
    kinds = Counter(planted[pair] for pair in near)
    note = f"planted pairs at {NEAR} or more: " + ", ".join(f"{kind} {kinds[kind]}" for kind in REPEATS)
    report("near-duplicates, exact: planted pairs missed", len(missed), "== 0", unit=f"of {len(near)}", note=note)
    plain = [pair for pair in sorted(exact) if all(texts[text_id].isascii() for text_id in pair)]
    sample = rng.sample(plain, min(2000, len(plain)))
    wrong = sum(bool(abs(exact[a, b] - count_jaccard(texts[a], texts[b])) > 1e-9) for a, b in sample)
    report("near-duplicates, exact: similarities wrong", wrong, "== 0", unit=f"of {len(sample)} pairs")
    compare_rensa(texts, exact, near)


def compare_rensa(texts: dict[str, str], exact: dict[tuple[str, str], float], near: set[tuple[str, str]]) -> None:
    """R-MinHash with LSH on the same words, beside; approximate, so without a goal."""
    names = ["near-duplicates, rensa", "rensa: pairs it finds", "rensa: planted pairs it misses"]
    try:
        from rensa import RMinHash, RMinHashLSH
    except ImportError:
        for name in names:
            report(name, None, note="needs: pip install rensa==0.5.0")
        return

    def run() -> set[tuple[str, str]]:
        ids = sorted(texts)
        index, hashes = RMinHashLSH(threshold=NEAR, num_perm=128, num_bands=16), []
        for i, text_id in enumerate(ids):
            hashes.append(RMinHash(num_perm=128, seed=SEED))
            hashes[-1].update(join_grams(read_normalised(texts[text_id]), SHINGLE))
            index.insert(i, hashes[-1])
        nominated = ((i, j) for i, own in enumerate(hashes) for j in index.query(own) if i < j)
        return {(ids[i], ids[j]) for i, j in nominated if hashes[i].jaccard(hashes[j]) >= NEAR}

    seconds, results = measure(1, {"rensa": run})
    found = results["rensa"]
    report(names[0], seconds["rensa"][0], unit="CPU s", note="128 permutations, 16 bands")
    right = len(found & exact.keys())
    note = f"{right / max(1, len(found)):.1%} of its {len(found)} are right"
    report(names[1], right / max(1, len(exact)), unit="of the exact ones", note=note)
    report(names[2], len({tuple(sorted(pair)) for pair in near} - found), unit=f"of {len(near)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="stay at 60,000 texts (under a minute)")
    parser.add_argument("--child", nargs=3, metavar=("METHOD", "SIZE", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, size, path = arguments.child
        run_child(name, int(size), path)
        return 0
    begun = time.monotonic()
    corpus, flagged = make_corpus()
    check_s1(corpus, flagged)
    at_60k = time_scans(corpus, repeats=2 if arguments.quick else 3)
    compare_official(corpus, arguments.quick)
    compare_near_duplicates(corpus)
    sizes = [TEXTS] if arguments.quick else [TEXTS, 10 * TEXTS, 50 * TEXTS]
    say("memory, in processes of their own")
    measure_memory(corpus, sizes)
    for size in sizes[1:]:
        say(f"growth to {size} texts")
        measure_growth(corpus, size, at_60k)
    say(f"{time.monotonic() - begun:.0f} s on the clock; short of the goal: {', '.join(short) or 'nothing'}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
