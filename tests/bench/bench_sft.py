"""Training on the laptop: against the original's recipe, against what its matrices alone would take. A benchmark.

    python tests/bench/bench_sft.py [--quick]

Prints one JSON object a line (name, value, goal, holds, and unit or note where they help), progress to stderr; exits 1
if a goal falls short. The model and the kind of data are those of `make study`. The sides train in processes of their
own and take turns; a step's time runs from its beginning to its end, the first step of a turn left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from reporting import finish, report, say
from transformers import TrainerCallback

from s1_utils import (
    models,
    params,
    progress,
    sft,
    sft_data,
    sft_job,
    sft_metrics,
    sft_trainer,
    sources,
    teachers,
    training_text,
)

SYSTEM_PROMPT, SEED = "Think, then answer.", 0
FRESH = 16  # rows at most that nobody trains on
PAPER_ROWS, PAPER_TOKENS = 59_029, (150, 3600, 700)  # of a question, its thinking and its attempt, means


class Clock(TrainerCallback):
    """Seconds and losses of every step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


def make_job(n_rows: int) -> tuple[sft_job.Job, pd.DataFrame]:
    """The laptop's job, and `n_rows` rows with others below them, as many but at most FRESH."""
    progress.quiet_libraries()
    base = models.require_weights(models.resolve_model(params.CollectParams().model))
    chosen = params.SftParams(report_to="none", checkpoint_steps=10**6)
    folder = Path(tempfile.mkdtemp(prefix="bench-sft-"))
    job = sft_job.make_job(base, folder, chosen, system_prompt=SYSTEM_PROMPT, seed=SEED)
    return job, make_rows(n_rows + min(FRESH, n_rows), models.load_tokenizer(base), params.CollectParams())


def make_rows(n: int, tokenizer: Any, chosen: params.CollectParams) -> pd.DataFrame:
    """`n` puzzles with the study's own traces."""
    questions = sources.make_puzzles(n, SEED).sample(n, random_state=SEED)
    habits = {name: getattr(chosen, name) for name in ("give_up", "slip", "check")}
    traces = teachers.collect_traces(questions, tokenizer, seed=SEED, **habits)
    return questions.merge(traces, on="question_id")


# ------------------------------------------------------------------ the sides


def build_ours(job: sft_job.Job, rows: pd.DataFrame) -> Any:
    dataset = sft.encode_job(job, rows)
    order_SB = sft_data.lay_out(sft_data.find_lengths(dataset)[:-1], batch_size=job.batch_size, epochs=1, seed=job.seed)
    spread = sft_data.spread_batch(job.batch_size, devices=1)
    return sft_trainer.build_trainer(job, dataset, order_SB=order_SB, spread=spread, data_sha256="")


def configure_others(job: sft_job.Job) -> dict[str, Any]:
    """The original's arguments, without those that only a GPU has: rows in random order, padded to the longest."""
    return {
        "output_dir": str(job.folder), "per_device_train_batch_size": job.batch_size, "num_train_epochs": 1,
        "learning_rate": job.learning_rate, "lr_scheduler_type": "cosine", "warmup_steps": job.warmup,
        "weight_decay": job.weight_decay, "adam_beta2": job.adam_beta2, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "use_cpu": True, "bf16": False, "seed": job.seed, "disable_tqdm": True,
        "gradient_checkpointing": False,
    }  # fmt: skip


def build_trl(job: sft_job.Job, rows: pd.DataFrame) -> Any:
    """TRL as it is: prompt and completion as text, its own collator and its own loss."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = models.load_tokenizer(job.base)
    examples = training_text.write_examples(rows, tokenizer, system_prompt=job.system_prompt, kind=job.kind)
    texts = [{"prompt": example.prompt, "completion": example.completion} for example in examples]
    args = SFTConfig(**configure_others(job), max_length=None)
    return SFTTrainer(
        model=sft_trainer.load_base(job), args=args, train_dataset=Dataset.from_list(texts), processing_class=tokenizer
    )


def build_transformers(job: sft_job.Job, rows: pd.DataFrame) -> Any:
    """The logits of every token at once, as in the original's time."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer = models.load_tokenizer(job.base)
    dataset = sft.encode_job(job, rows).remove_columns("question_id").select(range(len(rows)))
    collator = DataCollatorForSeq2Seq(tokenizer, padding="longest")
    return Trainer(sft_trainer.load_base(job), TrainingArguments(**configure_others(job)), collator, dataset)


BUILD: dict[str, Callable[[sft_job.Job, pd.DataFrame], Any]] = {
    "ours": build_ours,
    "trl": build_trl,
    "transformers": build_transformers,
}


def train_side(name: str, n_rows: int, seed: int) -> dict[str, float]:
    """One turn of one side, which begins from the base model: seconds a step, and the loss on fresh rows afterwards."""
    job, rows = make_job(n_rows)
    job = replace(job, seed=seed)
    trainer, clock = BUILD[name](job, rows.head(n_rows)), Clock()
    trainer.add_callback(clock)
    trainer.train()
    tokens = sum(sft_data.find_lengths(sft.encode_job(job, rows.head(n_rows)))[:-1])
    fresh = find_loss(trainer.model, sft.encode_job(job, rows.iloc[n_rows:])) if n_rows >= FRESH else 0.0
    return {"seconds": float(np.mean(clock.seconds[1:])), "tokens": tokens / len(clock.seconds), "fresh": fresh}


def find_loss(model: Any, dataset: Any) -> float:
    """The mean loss over all labelled tokens, by transformers' own function, a row at a time."""
    total = count = 0
    for row in dataset.select(range(len(dataset) - 1)):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            mean = model.eval()(input_ids=ids, labels=labels).loss
        labelled = int((labels != sft_data.IGNORED).sum())
        total, count = total + float(mean) * labelled, count + labelled
    return total / count


# ------------------------------------------------------------------ what is measured


def compare_sides(sides: list[str], n_rows: int, turns: int) -> float:
    """Real tokens a second of each side; ours against the others. Gives the seconds of one of our steps."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in sides:
            say(f"turn {turn + 1} of {turns}: {name}")
            line = [sys.executable, __file__, "--side", name, "--rows", str(n_rows), "--seed", str(turn)]
            done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: min(found[name], key=lambda turn: turn["seconds"]) for name in sides}
    rate = {name: turn["tokens"] / turn["seconds"] for name, turn in best.items()}
    rates = ", ".join(f"{name} {rate[name]:.0f}" for name in sides)
    report("real tokens/s, ours / TRL with the original's recipe", rate["ours"] / rate["trl"], ">= 1.3", note=rates)
    if "transformers" in sides:
        report("real tokens/s, ours / logits of every token at once", rate["ours"] / rate["transformers"])
    if n_rows < FRESH:
        return best["ours"]["seconds"]
    fresh = {name: [turn["fresh"] for turn in found[name]] for name in sides}
    note = ", ".join(f"{name} {', '.join(f'{loss:.3f}' for loss in fresh[name])}" for name in sides)
    name = f"loss on fresh rows after the same {n_rows} in another order, ours / TRL"
    report(name, float(np.mean(fresh["ours"]) / np.mean(fresh["trl"])), note=note)  # seeds differ by a fifth
    return best["ours"]["seconds"]


def compare_losses(n_rows: int) -> None:
    """The loss that the base model has on the same rows: ours, two end to end, and transformers', each row alone."""
    job, rows = make_job(n_rows)
    trainer, dataset = build_ours(job, rows), sft.encode_job(job, rows)
    pairs = [[dataset[i], dataset[i + 1]] for i in range(0, len(rows) - 1, 2)]
    with torch.no_grad():
        total = sum(float(sft_trainer.sum_loss(trainer.model, trainer.data_collator(pair))) for pair in pairs)
    labels = np.concatenate([row["labels"] for pair in pairs for row in pair])
    ours = total / int((labels != sft_data.IGNORED).sum())
    alone = find_loss(trainer.model, dataset.select(range(2 * len(pairs) + 1)))
    report(
        f"difference of the loss on the same {2 * len(pairs)} rows", abs(ours - alone), "<= 0.0001", note=f"{ours:.5f}"
    )


def bound_step(job: sft_job.Job, rows: pd.DataFrame, repeats: int) -> float:
    """Seconds that the matrix products of one step take by themselves, forwards and backwards, at their own shapes."""
    dataset = sft.encode_job(job, rows).select(range(len(rows)))
    tokens = round(sum(sft_data.find_lengths(dataset)) / len(rows) * job.batch_size)
    labels = np.concatenate(dataset["labels"][:])
    labelled = round(float((labels != sft_data.IGNORED).sum()) / len(rows) * job.batch_size)
    model = sft_trainer.load_base(job)
    linear = [(m.weight.shape, tokens) for m in model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    shapes = pd.Series([*linear, (model.get_output_embeddings().weight.shape, labelled)]).value_counts()
    return sum(n * time_product(width, height, t, repeats) for ((height, width), t), n in shapes.items())


def time_product(width: int, height: int, tokens: int, repeats: int) -> float:
    """Seconds of a layer's three products on `tokens` tokens: its output, its input's gradient, its weight's."""
    x, weight, flowing = torch.randn(tokens, width), torch.randn(height, width), torch.randn(tokens, height)
    best = [np.inf, np.inf, np.inf]
    for _ in range(repeats):
        for i, product in enumerate((lambda: x @ weight.T, lambda: flowing @ weight, lambda: flowing.T @ x)):
            began = time.perf_counter()
            product()
            best[i] = min(best[i], time.perf_counter() - began)
    return float(sum(best))


def bound_update(job: sft_job.Job, repeats: int) -> float:
    """Seconds of the optimiser's pass over weights, gradients and moments, by itself."""
    weights = [torch.nn.Parameter(weight.detach()) for weight in sft_trainer.load_base(job).parameters()]
    optimiser, best = torch.optim.AdamW(weights, fused=True), np.inf
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    for _ in range(repeats + 1):
        began = time.perf_counter()
        optimiser.step()
        best = min(best, time.perf_counter() - began)
    return best


def measure_start(n_rows: int) -> None:
    """Wall seconds from the program's start to the first step it has logged; then it is stopped."""
    job, rows = make_job(n_rows)
    line = [sys.executable, "-m", "s1_utils.sft", str(sft_job.write_job(job, rows.head(n_rows)))]
    began = time.perf_counter()
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and sft_metrics.read_metrics(job.papers / sft_metrics.FILE).empty:
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        process.kill()
    report(f"start-up to the first step, {n_rows} rows", seconds, "<= 20", unit="s")


def measure_tokenising(n_rows: int) -> None:
    """Writing, checking, tokenising and laying out rows of the paper's mean lengths, against the tokenizer alone."""
    tokenizer = models.load_tokenizer(make_job(1)[0].base)
    rows = make_prose(n_rows, tokenizer)
    examples = training_text.write_examples(rows, tokenizer, system_prompt=SYSTEM_PROMPT, kind="s1")
    texts = [part for example in examples for part in (example.prompt, example.completion)]
    began = time.perf_counter()
    training_text.encode_all(tokenizer, texts)
    alone = time.perf_counter() - began
    began = time.perf_counter()
    dataset = sft_data.encode_rows(rows, tokenizer, system_prompt=SYSTEM_PROMPT, max_length=2**20)
    seconds = time.perf_counter() - began
    tokens = sum(sft_data.find_lengths(dataset)[:-1])
    name = f"rows of the paper's mean lengths to training data, {PAPER_ROWS:,} by extrapolation"
    note = f"{n_rows} rows of {tokens / n_rows:.0f} tokens, {tokens / seconds:.0f} tokens/s"
    report(name, seconds / n_rows * PAPER_ROWS, "<= 60", unit="s", note=note)
    report("the same / the tokenizer alone", seconds / alone)


def make_prose(n_rows: int, tokenizer: Any) -> pd.DataFrame:
    """Rows of the paper's mean lengths, cut from the standard library's own sources: code and prose, nothing twice."""
    files = sorted(Path(os.__file__).parent.glob("*.py")) + sorted(Path(np.__file__).parent.rglob("*.py"))
    text = "".join(path.read_text("utf-8", errors="replace") for path in files).replace("<|", "< |")
    letters = len(text[:100_000]) / len(tokenizer(text[:100_000])["input_ids"])
    sizes = [int(n * letters) for n in PAPER_TOKENS]
    if len(text) < n_rows * sum(sizes):
        text *= n_rows * sum(sizes) // len(text) + 1
    rows, at = [], 0
    for i in range(n_rows):
        row = {"question_id": str(i)}
        for name, size in zip(("question", "thinking", "attempt"), sizes, strict=True):
            row[name], at = text[at : at + size].strip() or "empty", at + size
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, one turn, no start-up")
    parser.add_argument("--side", choices=BUILD, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=SEED, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(train_side(chosen.side, chosen.rows, chosen.seed)))
        return 0
    n_rows, repeats = (6, 5) if chosen.quick else (64, 10)
    sides = ["ours", "trl"] if chosen.quick else [*BUILD]
    ours = compare_sides(sides, n_rows, turns=1 if chosen.quick else 2)
    compare_losses(4)
    say("matrix products by themselves")
    job, rows = make_job(n_rows)
    products, update = bound_step(job, rows.head(n_rows), repeats), bound_update(job, repeats)
    note = f"{products:.3f} s of {ours:.3f} s a step"
    report("share of a step that its matrix products take by themselves", products / ours, ">= 0.9", note=note)
    report("the same with the optimiser's pass over the weights", (products + update) / ours, note=f"{update:.3f} s")
    if not chosen.quick:
        say("start-up")
        measure_start(600)
    say("tokenising")
    measure_tokenising(100 if chosen.quick else 3000)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
