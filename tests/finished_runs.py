"""A finished run in miniature, for tests of what is made of runs: real stages and manifests, tables as tests choose."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from s1_utils import params
from s1_utils.sources import COLUMNS, hash_question
from s1_utils.store import open_stage

CODE = ["errors"]
TRACE = "Try V: V to A. No. Wait, try Y: Y to R, want R. Yes."
QUESTIONS = ["Doors: which?", "Bags: whose?", "What is 2 + 3?", "Left out."]
FACTS = {
    "devices": 1, "device": "cpu", "parameters": 135, "layers": 3, "hidden": 4, "tokens": 4321, "seconds": 12.5,
    "device_hours": 0.25, "joules": None, "usd": 0.0,
}  # fmt: skip


def make_questions(licences=("Apache-2.0", "MIT", "MIT", "MIT"), sources=("puzzles", "champ", "champ", "champ")):
    rows = [
        {"question_id": hash_question(text), "question": text, "answer": "V", "answer_type": "choice",
         "cot_type": "search", "domain": "doors", "metadata": "{}", "source": source, "licence": licence}
        for text, licence, source in zip(QUESTIONS, licences, sources, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS).assign(split="train").astype({"solution": "string"})


def collect(name, *, questions=None, traces=(TRACE, "b", "c", "d"), model="smollm2-135m-instruct", **changes):
    stage = open_stage("01_collect", params.CollectParams(run_name=name, model=model, **changes), code=CODE)
    questions = make_questions() if questions is None else questions
    stage.table("questions", lambda: questions)
    made = pd.DataFrame({"question_id": questions["question_id"], "teacher": "search", "thinking": list(traces)})
    made = made.assign(attempt="V", thinking_tokens=[40, 30, 20, 10], attempt_correct=[True, False, None, True])
    stage.table("traces", lambda: made.assign(grader="exact").astype({"attempt_correct": "boolean"}))
    stage.json("model", lambda: {"name": model, "sha256": "0" * 64, "system_prompt": "Think.", "instruction": ""})
    stage.finish()
    return questions


def choose(name, questions):
    stage = open_stage("02_filter", params.FilterParams(run_name=name), code=CODE, reads=["01_collect"])
    picked = pd.DataFrame({"subset": "s1K", "question_id": questions["question_id"][[1, 0, 2]], "step": [0, 1, 2]})
    stage.table("subsets", lambda: picked.assign(domain="bags", rank=0, reason="bags: rank 0 of 3"))
    stage.table("funnel", lambda: pd.DataFrame({"step": ["collected", "selected"], "rows": [4, 3]}))
    stage.finish()


def train(name, *, files=(), losses=(2.0, 1.0, 0.125), **facts):
    stage = open_stage("03_sft", params.SftParams(run_name=name), code=CODE, reads=["01_collect", "02_filter"])
    steps = pd.DataFrame({"step": range(1, 1 + len(losses)), "loss": losses, "grad_norm": 0.5, "learning_rate": 0.0})
    stage.table("training", lambda: steps)
    folder = stage.path("model")
    folder.mkdir(exist_ok=True)
    weights = np.random.default_rng(0).standard_normal((500, 300), dtype=np.float32)
    save_file({"weight": weights}, folder / "model.safetensors", metadata={"format": "pt"})
    for file, text in {"config.json": "{}", "tokenizer.json": "{}", "README.md": "TRL's", **dict(files)}.items():
        (folder / file).write_text(text)
    stage.finish(outputs=["model"], training={**FACTS, **facts})


def evaluate(name, *, accuracy=0.7125, benchmark="held-out", is_finished=True):
    chosen = params.SequentialParams(run_name=name)
    stage = open_stage("04_sequential_scaling", chosen, code=CODE, reads=["01_collect", "02_filter", "03_sft"])
    points = [("SFT", "budget", 16, 16), ("SFT", "wait", 144, 0), ("SFT", "wait", 144, 2), ("base", "budget", 16, 16)]
    rows = [
        {"model": model, "control": control, "budget": budget, "waits": waits, "thinking_tokens": 30.5 + i,
         "accuracy": accuracy + i / 100, "low": accuracy - 0.05, "high": accuracy + 0.05, "n": 320}
        for i, (model, control, budget, waits) in enumerate(points)
    ]  # fmt: skip
    stage.table("curve", lambda: pd.DataFrame(rows))
    stage.table("tests", lambda: make_questions())
    stage.table("benchmark", lambda: pd.DataFrame({"benchmark": [benchmark], "revision": ["collected"]}))
    if is_finished:
        stage.finish(chance=0.269)


def finish_run(name="laptop", *, files=(), **changes):
    """Stages 1 to 4 of a run; `changes` are of what was collected."""
    choose(name, collect(name, **changes))
    train(name, files=files)
    evaluate(name)


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
