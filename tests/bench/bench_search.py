"""Search and parallel samples: whether what they share is computed once. A benchmark, not a test.

    python tests/bench/bench_search.py [--engine transformers|vllm] [--quick] [--model FOLDER]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. The model is the laptop's own of `make study` unless another folder is given; the questions are
generated puzzles. Rewards are random numbers: what is measured is the tree, whatever it is steered by. vLLM shares
whole blocks and says itself how many ids of a prompt it found cached: where steps are shorter than a block, as here,
what it computes again outweighs them, and the goal falls short.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_forcing import decode_only, measure
from reporting import finish, report, say

from s1_utils import chat, generation, paths, search, sources
from s1_utils.budget_forcing import Ids
from s1_utils.engines import Engine, Row
from s1_utils.rewards import Candidate
from s1_utils.search_steps import Rebase
from s1_utils.store import Journal

SEED = 0


class RandomReward:
    def score(self, candidates: Sequence[Candidate]) -> list[float]:
        return [random.Random("".join(each.steps)).random() for each in candidates]


class Forgetful:
    """An engine without what keeps prefixes from one run to the next: every step computes its whole prefix again."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    @property
    def forward_tokens(self) -> int:
        return self.engine.forward_tokens

    def run(self, rows: Sequence[Row]) -> list[Any]:
        return self.engine.run(rows)


class Counter:
    """Counts the ids that a model is run on: the transformers engine's own count, or prompts not cached by vLLM."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.read = self.requests = 0
        self.is_told = True
        if not hasattr(engine, "forward_tokens"):
            self.generate, engine.generate = engine.generate, self.watch

    async def watch(self, prompt: Any, request: Any) -> AsyncGenerator[Any, None]:
        self.requests += 1
        is_first = True
        async for output in self.generate(prompt, request):
            if is_first:
                self.is_told &= output.num_cached_tokens is not None
                self.read += len(request.prompt_ids) - (output.num_cached_tokens or 0)
            is_first = False
            yield output

    def count(self) -> int:
        return getattr(self.engine, "forward_tokens", self.read)


# ------------------------------------------------------------------ what is measured


def compare_samples(engine: Engine, prompt: Ids, samples: int, tokens: int, repeats: int) -> None:
    """Samples of one question, against as many of questions that begin differently and are as long."""
    counter = Counter(engine)
    spent: dict[str, int] = {}
    fresh = iter(range(len(prompt) * 1000))

    def run(name: str, prompts: list[Ids]) -> None:
        before = counter.count()
        engine.run([Row(p, decode_only(tokens), seed=i, temperature=1.0) for i, p in enumerate(prompts)])
        spent[name] = counter.count() - before

    def vary() -> Ids:
        """The prompt begun in a way that no cache has seen."""
        return (prompt[next(fresh) % len(prompt)], next(fresh) % 1000 + 5, *prompt[2:])

    def run_same() -> None:
        one = vary()
        run("same", [one] * samples)

    seconds = measure(repeats, {"same": run_same, "apart": lambda: run("apart", [vary() for _ in range(samples)])})
    decoded = samples * (tokens - 1) if hasattr(engine, "forward_tokens") else 0  # the first comes of the prompt
    read = {name: (n - decoded) for name, n in spent.items()}
    note = f"{read['same']} / {len(prompt)} ids, {samples} samples of {tokens} tokens"
    goal = f"<= {1 + 2 * samples / len(prompt):.3f}" if hasattr(engine, "forward_tokens") else None
    report(
        "prompt ids computed for all samples of a question / its prompt", read["same"] / len(prompt), goal, note=note
    )
    note = f"{read['apart']} ids"
    report("the same of questions that share nothing", read["apart"] / len(prompt), note=note)
    note = f"{seconds['same']:.2f} / {seconds['apart']:.2f} s"
    report("samples of one question / of as many, wall time", seconds["same"] / seconds["apart"], "<= 1", note=note)


def compare_search(writer: generation.Writer, questions: Any, how: Rebase) -> None:
    """A tree's reported tokens against those the model was run on, with and without what is kept between steps."""
    is_counted = hasattr(writer.engine, "forward_tokens")
    ways = {"kept": writer}
    if is_counted:
        ways["recomputed"] = replace(writer, engine=Forgetful(writer.engine))
    found, seconds = {}, {}
    counter = Counter(writer.engine)
    for name, way in ways.items():
        before, start = counter.count(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "a.jsonl", "bench") as journal:
            leaves, trees = search.search(way, RandomReward(), questions, journal, how, label="bench", seed=SEED)
        seconds[name] = time.perf_counter() - start
        found[name] = leaves, trees, counter.count() - before
    leaves, trees, spent = found["kept"]
    reported = int(trees[["prompt_tokens", "generated_tokens", "forced_tokens"]].to_numpy().sum())
    if not is_counted:  # vLLM's own count is of first prompts; what follows in a request is what is reported
        spent += int(trees[["generated_tokens", "forced_tokens"]].to_numpy().sum())
    kept = int(leaves["thinking_tokens"].sum() + leaves["answer_tokens"].sum())
    note = (
        f"{spent} / {reported} ids; {len(trees)} trees of width {how.width}, {int(trees['nodes'].sum())} nodes, up to "
        f"{int(trees['depth'].max())} deep; their answers' own texts have {kept} ids, shared ones counted again"
    )
    value = spent / reported if counter.is_told else None
    report("REBASE: ids the model was run on / ids reported", value, "<= 1.05", note=note)
    if not is_counted:
        note = f"{counter.requests} requests; whole blocks are shared, of 32 ids on a CPU"
        again = (spent - reported) / counter.requests if counter.is_told else None
        report("REBASE: ids computed again, a request", again, "<= 31", note=note)
    if is_counted:
        again = found["recomputed"][2]
        report("REBASE without kept prefixes: the same", again / reported, note=f"{again} ids")
        note = f"{seconds['kept']:.2f} / {seconds['recomputed']:.2f} s"
        report("REBASE with / without kept prefixes, wall time", seconds["kept"] / seconds["recomputed"], note=note)
        same = leaves["answer"].eq(found["recomputed"][0]["answer"]).mean()
        report("answers that are the same in both", float(same), ">= 0.95", note="sampled at temperature 1, same seeds")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--model", type=Path, default=paths.find_runs() / "laptop" / "03_sft" / "model")
    parser.add_argument("--quick", action="store_true", help="fewer questions and samples (about a minute)")
    arguments = parser.parse_args()
    if not (arguments.model / "config.json").is_file():
        raise SystemExit(f"No model in {arguments.model}: run 'make study' first, or pass --model FOLDER.")
    quick = arguments.quick
    questions = sources.collect_questions(["puzzles"], questions_per_family=10, dev=0, test=8, seed=SEED)
    questions = questions.drop_duplicates("question_id").head(1 if quick else 4)
    with generation.load_writer(arguments.model, "", chat.S1, engine=arguments.engine) as writer:
        prompt = generation.make_tasks(writer, questions)[0].prompt_ids
        writer.engine.run([Row(prompt, decode_only(2))])  # warm
        say("samples of one question")
        compare_samples(writer.engine, prompt * (1 if quick else 3), 16, 2, 1 if quick else 3)
        say("REBASE")
        how = Rebase(max_thinking=48 if quick else 128, max_answer_tokens=4, max_step_tokens=16, delimiter="\n")
        compare_search(writer, questions, how)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
