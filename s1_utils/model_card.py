"""The card of the model that a run's notebook 3 trained, with the results of notebooks 4 and 5 where they are finished.

Knows the columns of those tables and the hub's metadata; knows nothing about uploading. Every number comes from the
run's tables and manifests; what they don't say isn't there. Tests: tests/test_cards.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import card_parts
from s1_utils.benchmark_table import BENCHMARKS
from s1_utils.card_parts import Base, write_code, write_table
from s1_utils.dataset_card import collect_rows, list_sources, list_teachers
from s1_utils.finished_run import FinishedRun, describe_provenance
from s1_utils.training_text import find_format

STAGES = ("01_collect", "02_filter", "03_sft")
TRIED = ("04_sequential_scaling", "05_parallel_scaling")
HEADER = ("setting", "thinking tokens", "accuracy % [95 %]", "n")
GET_STARTED = """```python
from pathlib import Path

from s1_utils.budget_forcing import Setting, force_budget  # of the study: pip install -e .
from s1_utils.engines import Row
from s1_utils.generation import load_writer
from s1_utils.training_text import find_format

writer = load_writer(Path("FOLDER"), {system_prompt!r}, find_format({kind!r}))  # FOLDER: this repository's files
settings = [Setting("cut", 64, 0), Setting("wait", 144, 2)]  # cut after 64 tokens; the end suppressed twice
policy = force_budget(writer.markers, settings, wait_ids=[writer.encode(" Wait,")], max_answer_tokens=64)
(points,) = writer.engine.run([Row(writer.encode_prompt("Your question"), policy)])
[(point.setting, writer.decode(point.thinking_ids), writer.decode(point.answer_ids)) for point in points]
```

Without the study's package: the chat template with the system prompt {shown}, then {start} opens the thinking and
{end} ends it."""


def find_base(run: FinishedRun) -> Base:
    return card_parts.find_base(str(run.read_json("01_collect", "model")["name"]))


def make_card(run: FinishedRun, *, commands: str, licence: str = "") -> str:
    """The README.md of the model. `licence`: of the base model, where it isn't known here."""
    from huggingface_hub import ModelCard, ModelCardData

    base = find_base(run)
    data = ModelCardData(
        base_model=base.hub_id or None,
        base_model_relation="finetune" if base.hub_id else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        license=base.licence or licence or None,
        license_name=base.licence_name or None,
        license_link=base.licence_link or None,
        tags=["s1", "test-time-scaling", "budget-forcing", "reasoning"],
        model_name=f"s1-study {run.name}",
        eval_results=list_results(run) or None,
    )
    known = describe(run, base, commands=commands, licence=licence)
    template = Path(ModelCard.default_template_path).read_text("utf-8")
    return str(ModelCard.from_template(data, template_str=card_parts.prune_template(template, known), **known))


# ------------------------------------------------------------------ results


def read_curve(run: FinishedRun) -> pd.DataFrame:
    """The trained model's rows of notebook 4's curve; none if that isn't finished."""
    if TRIED[0] not in run.manifests:
        return pd.DataFrame()
    return run.read(TRIED[0], "curve").query("model == 'SFT' and control in ['budget', 'wait']")


def name_setting(row: Any) -> str:
    if row.control == "budget":
        return f"forced budget of {row.budget} tokens"
    return f"“Wait” ×{row.waits}" if row.waits else "natural end"


def find_tests(run: FinishedRun) -> tuple[str, str, str]:
    """Of notebook 4's questions: what the hub calls their set (or this study), a name to show, and a revision."""
    asked = run.read(TRIED[0], "benchmark").iloc[0]
    name = Path(str(asked["benchmark"])).name
    hub_id = BENCHMARKS[name].source.hub_id if name in BENCHMARKS else "s1-study"
    return hub_id, name if name in BENCHMARKS else f"{name} questions of the run {run.name}", str(asked["revision"])


def list_results(run: FinishedRun) -> list[Any]:
    """Accuracy in % of every setting as the hub's EvalResult, its interval among the metric's arguments."""
    from huggingface_hub import EvalResult

    curve = read_curve(run)
    if curve.empty:
        return []
    hub_id, name, revision = find_tests(run)
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=hub_id,
            dataset_name=name,
            dataset_split="test",
            dataset_revision=revision if name in BENCHMARKS and len(revision) == 40 else None,
            metric_type="accuracy",
            metric_name=f"accuracy, {name_setting(row)}",
            metric_value=round(100 * row.accuracy, 2),
            metric_args={
                "interval_95": [round(100 * row.low, 2), round(100 * row.high, 2)],
                "questions": int(row.n),
                "mean_thinking_tokens": round(float(row.thinking_tokens), 2),
            },
        )
        for row in curve.itertuples()
    ]


def write_results(run: FinishedRun) -> str:
    """The results as a table, and which stages are missing and why; "" if none is finished."""
    rows = [(name_setting(row), *_describe_point(row)) for row in read_curve(run).itertuples()]
    if TRIED[1] in run.manifests:
        votes = run.read(TRIED[1], "curve").query("method == 'majority'")
        rows += [(f"majority of {row.k:.0f} samples", *_describe_point(row)) for row in votes.itertuples()]
    missing = [f"`{stage}` is left out: it {why}." for stage, why in run.missing.items() if stage in TRIED]
    return "\n\n".join([*([write_table(rows, HEADER)] if rows else []), *missing])


def _describe_point(row: Any) -> tuple[str, str, str]:
    accuracy, low, high = (100 * value for value in (row.accuracy, row.low, row.high))
    return f"{row.thinking_tokens:,.1f}", f"{accuracy:.1f} [{low:.1f}, {high:.1f}]", f"{row.n:,}"


# ------------------------------------------------------------------ the card


def describe(run: FinishedRun, base: Base, *, commands: str, licence: str) -> dict[str, Any]:
    """What the template's placeholders stand for, where it is known."""
    trained = run.manifests["03_sft"]
    rows = collect_rows(run, trained["key"]["params"]["subset"])
    stages = {name: stage for name, stage in describe_provenance(run).items() if name in (*STAGES, *TRIED)}
    known = {
        "model_id": f"s1-study {run.name}",
        "model_summary": f"{_show_base(run, base)}, fine-tuned on {len(rows):,} reasoning traces so that it thinks "
        "before it answers and its thinking can be cut or extended (budget forcing), in a reproducibility study of s1 "
        "(arXiv 2501.19393). It is not the paper's model.",
        "base_model": _show_base(run, base),
        "license": _show_licence(base, licence),
        "paper": card_parts.PAPER,
        "direct_use": "Studying how accuracy depends on the length of thinking.",
        "out_of_scope_use": "Answering anybody's questions. It was trained and tested on the kind of questions listed "
        "below and on nothing else.",
        "bias_risks_limitations": "One training run: runs of one recipe differ. Forced to stop early, it "
        "answers all the same. It inherits whatever its base model and its teachers' traces hold; it "
        "was tested for accuracy, not for safety.",
        "bias_recommendations": "Compare settings of one model rather than models, and look at the intervals.",
        "get_started_code": _show_start(run),
        "training_data": "Questions, by source:\n\n" + list_sources(rows) + "\n\nTraces:\n\n" + list_teachers(rows),
        "training_regime": "full-parameter fine-tuning, loss on thinking and answer.\n\n"
        + card_parts.write_params(trained["key"]["params"]),
        "speeds_sizes_times": describe_training(run.read("03_sft", "training"), trained.get("training", {})),
        "software": card_parts.describe_versions(stages),
        "citation_bibtex": card_parts.BIBTEX,
        "more_information": f"### How to make it again\n\n{commands}\n\n### Where it comes from\n\n"
        + card_parts.describe_hashes(stages, ("model", "training.parquet", "subsets.parquet", "curve.parquet")),
    }
    return {
        name: text for name, text in {**known, **_describe_tests(run), **_describe_machine(trained)}.items() if text
    }


def _show_base(run: FinishedRun, base: Base) -> str:
    if base.hub_id in BASE_IDS:
        return f"[{base.hub_id}](https://huggingface.co/{base.hub_id})"
    return write_code(card_parts.shorten_path(str(run.read_json("01_collect", "model")["name"])), in_table=False)


BASE_IDS = {base.hub_id for base in card_parts.BASES.values()}


def _show_licence(base: Base, licence: str) -> str:
    if base.licence:
        name = base.licence_name or base.licence
        return f"{name}, as its base model" + (f" ({base.licence_link})" if base.licence_link else "")
    return f"{write_code(licence)}, as stated by who uploaded it" if licence else ""


def _show_start(run: FinishedRun) -> str:
    prompt = str(run.read_json("01_collect", "model")["system_prompt"])
    kind = str(run.manifests["03_sft"]["key"]["params"]["kind"])
    fmt = find_format(kind)
    texts = (prompt, fmt.thinking_start, fmt.thinking_end)
    shown, start, end = (write_code(text.strip(), in_table=False) for text in texts)
    return GET_STARTED.format(system_prompt=prompt, kind=kind, shown=shown or "of its own", start=start, end=end)


def describe_training(training: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """How training ended and what it took, as a table of what is known."""
    tail = training.tail(max(1, len(training) // 10))
    last = training.iloc[-1]
    lines = [
        ("steps", f"{int(last['step']):,}"),
        ("loss of the first step", f"{training['loss'].iloc[0]:.4f}"),
        ("loss of the last step", f"{last['loss']:.4f}"),
        (f"mean loss of the last {len(tail):,} steps", f"{tail['loss'].mean():.4f}"),
        ("gradient norm of the last step", f"{last['grad_norm']:.4f}"),
    ]
    names = {
        "tokens": "tokens", "seconds": "seconds", "tokens_per_second": "tokens a second",
        "peak_memory_bytes": "peak memory, bytes", "joules": "joules", "usd": "USD",
    }  # fmt: skip
    lines += [(text, f"{facts[name]:,}") for name, text in names.items() if facts.get(name) is not None]
    return write_table(lines, ("training", ""))


def _describe_tests(run: FinishedRun) -> dict[str, str]:
    results = write_results(run)
    if TRIED[0] not in run.manifests:
        return {"results": results}
    manifest = run.manifests[TRIED[0]]
    _, name, _ = find_tests(run)
    chance = manifest.get("chance")
    return {
        "testing_data": f"{write_code(name)}, {len(run.read(TRIED[0], 'tests')):,} questions."
        + (f" Guessing gives {100 * chance:.1f} %." if isinstance(chance, float) else ""),
        "testing_factors": "How the thinking is ended: by the model, after a budget, or after so many suppressed ends.",
        "testing_metrics": "Share of right answers by exact rules that never see the answer while extracting; 95 % "
        "bootstrap intervals over questions, one training run.",
        "results": results,
    }


def _describe_machine(trained: Mapping[str, Any]) -> dict[str, str]:
    facts, hardware = trained.get("training", {}), trained.get("hardware", {})
    machine = f"{facts['devices']} × {facts['device']}" if {"devices", "device"} <= set(facts) else ""
    cores = f"{hardware.get('machine', '')}, {hardware['cores']} cores" if hardware.get("cores") else ""
    size = f"{facts['parameters']:,} parameters in {facts['layers']} layers" if "parameters" in facts else ""
    return {
        "model_specs": size,
        "hardware_type": "; ".join(filter(None, (machine, cores))),
        "hours_used": f"{facts['device_hours']:g} device-hours of training" if "device_hours" in facts else "",
    }
