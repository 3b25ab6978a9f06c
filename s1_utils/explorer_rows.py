"""One question of the trace explorer: its sliders, its points with their events, its votes.

Knows the columns of generations and grades; knows nothing of pages and how large they are.
Tests: tests/test_explorer.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from s1_utils.explorer_texts import Decode, Trace, find_units, mark_traces
from s1_utils.page_math import Mathematics

CONTROLS = {
    "budget": "budget forced, exactly as long",
    "cut": "budget as a cut only",
    "wait": "natural end, then “Wait”",
    "soft": "soft budget",
    "natural": "natural end",
}
SAMPLED = "sampled"  # the control of the series of samples
EVENTS = ["suppressed_end", "natural_end", "soft_end", "forced_end"]
ALL_ROOM = 2**31  # a budget that stands for the model's whole window, as in `budget_forcing`
LONGEST_TITLE, LONGEST_LABEL = 160, 60
SAMPLED_TEXT = 60_000  # characters of one question's samples; of longer ones only the votes are kept


def list_series(graded: pd.DataFrame, samples: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The sliders: one a model and control, {name, control, settings: [[setting, label], …]}; samples last."""
    order = {control: place for place, control in enumerate(CONTROLS)}
    series = []
    several = graded.get("model", pd.Series(dtype=str)).nunique() > 1
    for (model, control), rows in _group_series(graded):
        unique = rows.drop_duplicates("setting")
        settings = sorted(unique[["budget", "waits", "setting"]].itertuples(index=False, name=None))
        name = f"{model}: {CONTROLS.get(control, control)}" if several else CONTROLS.get(control, control)
        labels = label_settings(settings)
        described = [[setting, label] for (_, _, setting), label in zip(settings, labels, strict=True)]
        series.append({"name": name, "model": model, "control": control, "settings": described})
    series.sort(key=lambda one: order.get(one["control"], len(order)))
    if samples is not None:
        numbers = sorted(int(number) for number in samples["sample"].unique())
        described = [[str(number), f"sample {number + 1}"] for number in numbers]
        series.append({"name": "samples, natural end", "model": "", "control": SAMPLED, "settings": described})
    return series


def label_settings(settings: Sequence[tuple[int, int, str]]) -> list[str]:
    """What the slider says at each (budget, waits, setting): what differs among them, or both."""
    budgets, waits = {budget for budget, _, _ in settings}, {number for _, number, _ in settings}
    labels = []
    for budget, number, _ in settings:
        length = "all the room" if budget >= ALL_ROOM else f"{budget:,} token{'s' * (budget != 1)}"
        ends = f"“Wait” ×{number}" if number else "natural end"
        is_forced = all(b == w for b, w, _ in settings)  # as many waits as tokens: no end before the budget
        both = len(budgets) > 1 and len(waits) > 1 and not is_forced
        labels.append(f"{length}, {ends}" if both else length if len(budgets) > 1 or is_forced else ends)
    return labels if len(set(labels)) == len(settings) else [shorten(s, LONGEST_LABEL) for _, _, s in settings]


def describe_question(
    test: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    series: Sequence[Mapping[str, Any]],
    mathematics: Mathematics,
    decode: Decode | None,
) -> tuple[dict[str, Any], list[str]]:
    """(what is unpacked when the question is chosen, its verdicts: a string a series, a sign a setting).

    A point is [text, cut, tail, tokens, events, finish, answer, extracted, verdict, missing], positions in UTF-16
    units; an event [kind, token, position or null, forced units].
    """
    natural = [row for row in samples if row["control"] == "natural"] or list(samples)[:1]
    if sum(len(get_text(row["thinking"]) or "") for row in natural) > SAMPLED_TEXT:
        natural = []
    kept = [*rows, *natural]
    bases, traces = mark_traces(kept, decode)
    names = [(row.get("model", ""), row["control"], row["setting"]) for row in rows]
    names += [("", SAMPLED, str(row["sample"])) for row in natural]
    places = {name: (row, trace) for name, row, trace in zip(names, kept, traces, strict=True)}
    points, verdicts = [], []
    for one in series:
        found = [places.get((one["model"], one["control"], setting)) for setting, _ in one["settings"]]
        points.append([_describe_point(*pair, bases) if pair else None for pair in found])
        verdicts.append("".join(point[8] if point else " " for point in points[-1]))
    question = str(test["question"])
    texts = [question, *bases, *(get_text(row["answer"]) or "" for row in kept)]
    detail = {
        "question": question, "gold": get_text(test.get("answer")), "texts": bases, "points": points,
        "votes": count_votes(samples), "math": mathematics.convert_all(texts),
    }  # fmt: skip
    return detail, verdicts


def count_votes(samples: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """[setting's label, samples, [[answer or null, votes, verdict], …]] a setting, the most voted first."""
    by_setting: dict[tuple[int, int, str], dict[Any, list[Any]]] = {}
    for row in samples:
        answers = by_setting.setdefault((int(row["budget"]), int(row["waits"]), str(row["setting"])), {})
        label = get_text(row.get("vote")) or get_text(row["extracted"])
        verdict = judge(row)
        counted = answers.setdefault((label, verdict if label else "-"), [label, 0, verdict if label else "-"])
        counted[1] += 1
    ordered = sorted(by_setting.items(), key=lambda item: (not item[0][2].startswith("natural"), item[0]))
    counts = []
    for (budget, _, setting), answers in ordered:
        name = "natural end" if setting.startswith("natural") else f"forced to {budget:,} tokens"
        most = sorted(answers.values(), key=lambda counted: (-counted[1], str(counted[0])))
        counts.append([name, sum(counted[1] for counted in most), most])
    return counts


def judge(row: Mapping[str, Any]) -> str:
    """1 right, 0 wrong, - no answer, ? undecided."""
    if row.get("undecided") is True or pd.isna(row["correct"]):
        return "?" if get_text(row["extracted"]) else "-"
    return "1" if row["correct"] else "0" if get_text(row["extracted"]) else "-"


def _describe_point(row: Mapping[str, Any], trace: Trace, bases: Sequence[str]) -> list[Any]:
    base = bases[trace.base]
    known = [event.at for event in trace.events if event.at is not None]
    ends = [event.at + event.forced for event in trace.events if event.at is not None]
    places = [min(place, trace.cut) for place in (trace.cut, *known, *ends)]
    units = dict(zip(places, find_units(base, places), strict=True))
    events = []
    for event in trace.events:
        kind = EVENTS.index(event.kind) if event.kind in EVENTS else event.kind
        if event.at is None:
            events.append([kind, event.token, None, 0])
            continue
        at, end = (units[min(place, trace.cut)] for place in (event.at, event.at + event.forced))
        events.append([kind, event.token, at, end - at])
    tokens = None if pd.isna(row["thinking_tokens"]) else int(row["thinking_tokens"])
    finish, answer = get_text(row["finish"]), get_text(row["answer"])
    graded = [get_text(row["extracted"]), judge(row), trace.missing]
    return [trace.base, units[trace.cut], trace.tail, tokens, events, finish, answer, *graded]


def _group_series(graded: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    model = graded["model"] if "model" in graded else pd.Series("", index=graded.index)
    yield from graded.groupby([model.fillna(""), graded["control"]], sort=False)


def shorten(text: Any, length: int) -> str:
    """One line of at most `length` characters."""
    line = re.sub(r"\s+", " ", str(text)).strip()
    return line if len(line) <= length else line[: length - 1] + "…"


def get_text(value: Any) -> str | None:
    """The text of a cell; None if it has none."""
    return None if value is None or value is pd.NA or value != value else str(value)
