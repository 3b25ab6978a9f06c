"""Budget forcing: what one pass saves, what lock-step costs, what forcing costs. A benchmark, not a test.

    python tests/bench/bench_forcing.py [--engine transformers|vllm] [--quick] [--model FOLDER]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. The model is the laptop's own of `make study` unless another folder is given; the questions are
generated puzzles. Times are wall seconds, the best of repeats that take turns, both sides in one process.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporting import finish, report, say

from s1_utils import chat, generation, paths, sources
from s1_utils.budget_forcing import Answer, Decode, Force, Ids, Policy, Ran, Setting, close_thinking, force_budget
from s1_utils.engines import Engine, Row

SHAPES = (2, 4, 8, 16, 32, 64, 128), (1, 2, 4, 6)  # budgets, doubling as the paper's 500 … 16,000, auto; waits
WAIT_TEXT, ANSWER_TOKENS, SEED = " Wait,", 4, 0
LOCKSTEP_GOAL = {"transformers": 2.0, "vllm": 1.5}


def measure(repeats: int, tasks: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Wall seconds, the best of repeats; the tasks take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) for name, times in seconds.items()}


# ------------------------------------------------------------------ rows


@dataclass
class Tally:
    """What the policies of a run were given."""

    thinking: int = 0
    answers: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)  # engine steps at which each row began and ended

    def count(self, policy: Policy, clock: Callable[[], int] = lambda: 0) -> Policy:
        sent, begun = None, clock()
        while True:
            try:
                segment = policy.send(sent)
            except StopIteration as stop:
                self.spans.append((begun, clock()))
                return stop.value
            sent = yield segment
            if isinstance(segment, Answer):
                self.answers += len(sent.ids)
            else:
                self.thinking += len(sent.ids)


@dataclass(frozen=True)
class Bench:
    writer: generation.Writer
    prompts: list[Ids]

    @property
    def engine(self) -> Engine:
        return self.writer.engine

    def force(self, settings: Sequence[Setting]) -> Policy:
        wait = (self.writer.encode(WAIT_TEXT),)
        return force_budget(self.writer.markers, settings, wait_ids=wait, max_answer_tokens=ANSWER_TOKENS)

    def run(self, policies: Sequence[Policy], tally: Tally | None = None) -> list[Any]:
        tally = tally or Tally()
        prompts = self.prompts[: len(policies)]
        rows = [Row(prompt, tally.count(policy)) for prompt, policy in zip(prompts, policies, strict=True)]
        return self.engine.run(rows)


def decode_only(tokens: int, stops: tuple[Ids, ...] = ()) -> Generator[Any, Ran, Ids]:
    """As many tokens as asked for, unless a stop comes."""
    ran = yield Decode(tokens, stops)
    return ran.ids


# ------------------------------------------------------------------ what is measured


def compare_one_pass(bench: Bench, rows: int, scale: int, repeats: int) -> None:
    """The paper's grid of 11 settings by one pass, against a run of each; budgets divided by `scale`."""
    budgets, waits = SHAPES
    cap = max(budgets) // scale
    grid = [Setting("budget", budget // scale, 0) for budget in budgets] + [Setting("wait", cap, w) for w in waits]
    together, apart = Tally(), Tally()
    results: dict[str, Any] = {}

    def run_once() -> None:
        results["joint"] = bench.run([bench.force(grid) for _ in range(rows)], together)

    def run_each() -> None:
        results["single"] = [bench.run([bench.force([s]) for _ in range(rows)], apart) for s in grid]

    seconds = measure(repeats, {"one": run_once, "separate": run_each})
    same = [results["joint"][q][s] == results["single"][s][q][0] for s in range(len(grid)) for q in range(rows)]
    note = "a step whose two best logits are equal up to rounding may go either way"
    report(
        "one pass: points equal to separate runs", statistics.mean(same), ">= 0.98", unit=f"of {len(same)}", note=note
    )
    note = f"{together.thinking // repeats} / {apart.thinking // repeats}, {rows} questions, {len(grid)} settings"
    report("one pass / separate runs, thinking tokens", together.thinking / apart.thinking, "<= 0.35", note=note)
    note = f"{seconds['one']:.2f} / {seconds['separate']:.2f} s"
    report("one pass / separate runs, wall time", seconds["one"] / seconds["separate"], "<= 0.4", note=note)


def draw_lengths(rows: int, rounds: int, mean: float) -> list[list[int]]:
    """Tokens of every row and round: log-normal with the spread of real traces (the longest of 64 is 5 to 10 means)."""
    rng = random.Random(SEED)
    sigma = 0.9
    return [
        [max(1, round(mean * rng.lognormvariate(-(sigma**2) / 2, sigma))) for _ in range(rounds)] for _ in range(rows)
    ]


def force_lengths(bench: Bench, lengths: Sequence[int]) -> Policy:
    """Rounds of given lengths with a wait between, and an answer: what a row would do, without a barrier."""
    wait, markers = bench.writer.encode(WAIT_TEXT), bench.writer.markers
    ids: Ids = ()
    for i, length in enumerate(lengths):
        if i:
            yield Force(wait)
            ids += wait
        ids += (yield Decode(length, ())).ids
    closing = close_thinking(markers, ids, is_cut=True)
    answer = yield Answer(len(ids), closing, ANSWER_TOKENS, ())
    return ids, answer.ids


def run_lockstep(bench: Bench, lengths: Sequence[Sequence[int]]) -> list[tuple[Ids, Ids]]:
    """The original's way on the same engine: a round for all rows, then all are submitted again with their texts."""
    wait, markers = bench.writer.encode(WAIT_TEXT), bench.writer.markers
    prompts = bench.prompts[: len(lengths)]
    thinking: list[Ids] = [()] * len(lengths)
    for i in range(len(lengths[0])):
        rows = [
            Row(prompt + ids, decode_only(own[i])) for prompt, ids, own in zip(prompts, thinking, lengths, strict=True)
        ]
        thinking = [ids + new for ids, new in zip(thinking, bench.engine.run(rows), strict=True)]
        if i + 1 < len(lengths[0]):
            thinking = [ids + wait for ids in thinking]
    closed = [ids + close_thinking(markers, ids, is_cut=True) for ids in thinking]
    rows = [Row(prompt + ids, decode_only(ANSWER_TOKENS)) for prompt, ids in zip(prompts, closed, strict=True)]
    return list(zip(thinking, bench.engine.run(rows), strict=True))


def compare_lockstep(bench: Bench, kind: str, rows: int, mean: float, repeats: int) -> None:
    rounds = 5  # four waits, as the paper's best setting
    lengths = draw_lengths(rows, rounds, mean)
    results: dict[str, Any] = {}
    seconds = measure(
        repeats,
        {
            "free": lambda: results.update(free=bench.run([force_lengths(bench, own) for own in lengths])),
            "lockstep": lambda: results.update(lockstep=run_lockstep(bench, lengths)),
        },
    )
    same = statistics.mean(a == b for a, b in zip(results["free"], results["lockstep"], strict=True))
    sums = [sum(own) for own in lengths]
    note = (
        f"{seconds['lockstep']:.2f} / {seconds['free']:.2f} s; {rows} rows, {rounds} rounds, "
        f"{min(sums)} to {max(sums)} tokens a row, median {statistics.median(sums):.0f}; "
        f"{same:.0%} of the rows with the same ids"
    )
    report(
        "lock-step rounds / ours, wall time",
        seconds["lockstep"] / seconds["free"],
        f">= {LOCKSTEP_GOAL[kind]}",
        note=note,
    )


def compare_plain(bench: Bench, rows: int, tokens: int, repeats: int) -> None:
    """Waits forced into a decode, against a plain decode of as many tokens."""
    wait = bench.writer.encode(WAIT_TEXT)
    pieces = 4
    piece = (tokens - (pieces - 1) * len(wait)) // pieces
    total = pieces * piece + (pieces - 1) * len(wait)

    def force() -> Policy:
        for i in range(pieces):
            if i:
                yield Force(wait)
            yield Decode(piece, bench.writer.markers.end_markers, piece)
        return ()

    seconds = measure(
        repeats,
        {
            "forced": lambda: bench.run([force() for _ in range(rows)]),
            "plain": lambda: bench.run([decode_only(total) for _ in range(rows)]),
        },
    )
    cost = seconds["forced"] / seconds["plain"] - 1
    rates = [rows * total / seconds[name] for name in ("forced", "plain")]
    note = f"{rates[0]:.0f} / {rates[1]:.0f} tokens/s, {rows} rows of {total}"
    report("forcing costs, of the tokens/s of a plain decode", cost, "<= 0.03", note=note)


def check_independence(bench: Bench, rows: int, cap: int) -> None:
    """Decode steps of every row alone and among others, and when a free slot is taken again."""
    engine: Any = bench.engine
    settings = [Setting("wait", cap, 1)]
    apart, among = Tally(), Tally()
    for prompt in bench.prompts[:rows]:
        engine.run([Row(prompt, apart.count(bench.force(settings), lambda: engine.steps))])
    alone = sorted(end - begin for begin, end in apart.spans)
    engine.run([Row(p, among.count(bench.force(settings), lambda: engine.steps)) for p in bench.prompts[:rows]])
    together = sorted(end - begin for begin, end in among.spans)
    moved = sum(a != b for a, b in zip(alone, together, strict=True))
    report("rows that take more or fewer steps among others than alone", moved, "== 0", unit=f"of {rows}")
    slots, engine.slots = engine.slots, max(1, rows // 4)
    queued = Tally()
    engine.run([Row(p, queued.count(bench.force(settings), lambda: engine.steps)) for p in bench.prompts[:rows]])
    engine.slots = slots
    begins = sorted(begin for begin, _ in queued.spans)[max(1, rows // 4) :]
    ends = sorted(end for _, end in queued.spans)[: len(begins)]
    waited = max(begin - end for begin, end in zip(begins, ends, strict=True))
    report("steps until a free slot is taken again", waited, "<= 1", note=f"{rows} rows, {max(1, rows // 4)} slots")


def compare_generate(bench: Bench, rows: int, tokens: int, repeats: int) -> None:
    """The engine against `model.generate` on the same left-padded batch, greedy, at equal lengths."""
    import torch

    engine: Any = bench.engine
    model, pad = engine.model, engine.pad_id
    prompts = bench.prompts[:rows]
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": pad}

    def generate() -> None:
        model.set_attn_implementation("sdpa")
        model.generate(ids, attention_mask=mask, **options)
        model.set_attn_implementation("grouped_sdpa")

    seconds = measure(
        repeats, {"ours": lambda: bench.run([decode_only(tokens) for _ in range(rows)]), "generate": generate}
    )
    rates = {name: rows * tokens / s for name, s in seconds.items()}
    note = f"{rates['ours']:.0f} / {rates['generate']:.0f} tokens/s, {rows} rows of {tokens}, prompts included"
    report("tokens/s / model.generate", rates["ours"] / rates["generate"], ">= 1", note=note)


# ------------------------------------------------------------------ the whole


def load(kind: str, folder: Path) -> Bench:
    writer = generation.load_writer(folder, "", chat.S1, engine=kind)
    questions = sources.collect_questions(["puzzles"], questions_per_family=40, dev=0, test=8, seed=SEED)
    tasks = generation.make_tasks(writer, questions.drop_duplicates("question_id").head(64))
    return Bench(writer, [task.prompt_ids for task in tasks])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=sorted(LOCKSTEP_GOAL), default="transformers")
    parser.add_argument("--model", type=Path, default=paths.find_runs() / "laptop" / "03_sft" / "model")
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats (under a minute)")
    arguments = parser.parse_args()
    if not (arguments.model / "config.json").is_file():
        raise SystemExit(f"No model in {arguments.model}: run 'make study' first, or pass --model FOLDER.")
    quick, kind = arguments.quick, arguments.engine
    bench = load(kind, arguments.model)
    bench.run([decode_only(2) for _ in range(2)])  # warm
    say("one pass against separate runs")
    compare_one_pass(bench, 3 if quick else 32, 8 if quick else 1, 1)
    say("lock-step rounds")
    compare_lockstep(bench, kind, 8 if quick else 64, 2 if quick else 16, 1)
    say("what forcing costs")
    compare_plain(bench, 8 if quick else 16, 24 if quick else 64, 2 if quick else 5)
    if kind == "transformers":
        say("independence")
        check_independence(bench, 2 if quick else 16, 8 if quick else 40)
        say("model.generate")
        compare_generate(bench, 8 if quick else 16, 12 if quick else 64, 1 if quick else 4)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
