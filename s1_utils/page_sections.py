"""The parts of a report as markup: what a run is, its claims, its figures, how it was run.

Knows HTML; whatever comes from tables, manifests or models goes through `html.escape`, figures enter as images.
Every part shows without scripts. Tests: tests/test_page.py.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from s1_utils.page_run import FINISHED, Figure, Run, StageFacts

FIGURE_BYTES = 2_600_000  # of all images of a page
TABLE_ROWS, TABLE_BYTES = 40, 6_000  # of a figure's table that the page repeats
LONGEST_CELL = 2_000
VERDICTS = {
    "holds": ("✓", "holds"),
    "doesn't hold": ("✗", "fails"),
    "undecided": ("?", "open"),
    "not run": ("–", "open"),
}
STATUSES = ("reproduced", "not reproduced", "underpowered", "not run", "can't be run")


def write_head(run: Run) -> str:
    """The title, what this is, which model it is about, and whether it is a result at all."""
    model = run.model.get("name", "not known: 01_collect isn't finished")
    training = next((stage.manifest.get("training", {}) for stage in run.stages if stage.name == "03_sft"), {})
    size = f" ({training['parameters']:,} parameters)" if isinstance(training.get("parameters"), int) else ""
    parts = [
        f"<h1>s1-study: the run “{escape(run.name)}”</h1>",
        "<p>A reproducibility study of <cite>s1: Simple test-time scaling</cite> (arXiv 2501.19393): what the paper "
        "claims, what became of each claim, and traces in which thinking is forced, to read.</p>",
        f"<p>The model of this run is <strong>{escape(str(model))}</strong>{size}, fine-tuned in the run itself. What "
        "is measured on it is an experiment of its own: it is never counted as a reproduction of a number that the "
        "paper measured on another model.</p>",
    ]
    if run.is_smoke:
        parts.append(_warn("Smoke run.", "The model has random weights: nothing on this page is a result."))
    if run.unfinished:
        parts.append(_list_unfinished(run.unfinished))
    return "\n".join(parts)


def _list_unfinished(stages: Sequence[StageFacts]) -> str:
    items = "".join(
        f"<li><code>{escape(stage.name)}</code>: {escape(stage.state)}{f' ({escape(stage.why)})' if stage.why else ''}"
        "</li>"
        for stage in stages
    )
    return _warn(
        "A half-finished run.",
        "Nothing on this page is a result until these stages are finished, so verdicts and figures are left out:",
        f"<ul>{items}</ul>",
    )


def _warn(title: str, text: str, more: str = "") -> str:
    return f'<div class="warning" role="note"><p><strong>{escape(title)}</strong> {escape(text)}</p>{more}</div>'


def write_contents(sections: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="#{escape(name)}">{escape(title)}</a></li>' for name, title in sections)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


# ------------------------------------------------------------------ claims


def write_claims(ledger: pd.DataFrame | None, source: str, *, is_finished: bool, run: str) -> str:
    """Statements with their tests and the laptop's verdicts, then every published number with its status."""
    if ledger is None:
        return "<p>There is no ledger yet: <code>python -m s1_utils.claims --out ledger.csv</code> writes it.</p>"
    rows = ledger.map(lambda cell: cell[:LONGEST_CELL]).to_dict("records")
    statements = [row for row in rows if row["kind"] == "statement"]
    verdicts = Counter(row["laptop_verdict"] for row in statements) if is_finished else Counter()
    numbers = [row for row in rows if row["kind"] == "number"]
    note = f"From {'the published ledger, figures/data/ledger.csv' if source == 'published' else source}."
    parts = [
        f"<p>{escape(note)} Each statement of the paper has a test in words (written by people who knew earlier "
        "runs); the verdict is that of the laptop's own, small experiment. Each published number has a status, which "
        "only the model that the number belongs to can make “reproduced”.</p>",
        f'<h3 id="statements">Statements: {len(statements)}</h3>',
        f"<p>{escape(', '.join(f'{verdict}: {n}' for verdict, n in verdicts.most_common()))}.</p>" if verdicts else "",
        *(_write_statement(row, is_finished=is_finished) for row in statements),
        f'<h3 id="published">Published numbers: {len(numbers)}</h3>',
        _write_numbers([_hold_back(row, run, is_finished) for row in numbers]),
    ]
    return "\n".join(parts)


def _write_statement(row: Mapping[str, str], *, is_finished: bool) -> str:
    verdict = row["laptop_verdict"] if is_finished else "not run"
    sign, look = VERDICTS.get(verdict, ("–", "open"))
    interval = _write_interval(row["laptop_value"], row["laptop_low"], row["laptop_high"])
    found = "<p>No verdict: this run isn't finished.</p>"
    if is_finished:
        source = f" from <code>{escape(row['laptop_source'])}</code>" if interval else ""
        again = f"; again: <code>{escape(row['laptop_command'])}</code>" if row["laptop_command"] else ""
        found = f'<p>The laptop: {escape(interval or verdict)}<span class="soft">{source}{again}</span></p>'
    scale = "; ".join(filter(None, (row["status"], row["why"], row.get("note", ""))))
    return (
        f'<article class="claim"><h4>{escape(row["statement"])}</h4>'
        f'<p><span class="badge {look}">{sign} {escape(verdict)}</span> <span class="soft">on the laptop · claimed in '
        f"{escape(row['where'])}</span></p><p>Test: {escape(row['test'])}.</p>{found}"
        f'<p class="soft">With the paper\'s own model: {escape(scale)}</p></article>'
    )


def _hold_back(row: dict[str, str], run: str, is_finished: bool) -> dict[str, str]:
    """A number of an unfinished run has no value yet."""
    if is_finished or row["profile"] != run:
        return row
    return {**row, "status": "not run", "value": "", "low": "", "high": "", "why": "this run isn't finished"}


def _write_numbers(numbers: Sequence[Mapping[str, str]]) -> str:
    counts = Counter(row["status"] for row in numbers)
    summary = ", ".join(f"{counts[name]} {name}" for name in dict.fromkeys((*STATUSES, *counts)))
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in counts)
    body = "".join(_write_number(row) for row in numbers)
    columns = ("where", "system", "benchmark, setting", "metric", "published", "ours [95\u00a0%]", "status")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return (
        f"<p>{escape(summary)}. An asterisk: measured from a figure's pixels.</p>"
        '<form class="row" id="numbers-form" hidden><label>Search in the table'
        '<input type="search" id="numbers-search"></label><label>Status<select id="numbers-status">'
        f'<option value="">all</option>{options}</select></label></form>'
        '<p class="soft" id="numbers-count" role="status"></p>'
        '<div class="scroll tall" tabindex="0" role="region" aria-label="Published numbers">'
        f'<table id="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _write_number(row: Mapping[str, str]) -> str:
    about = ", ".join(filter(None, (row["benchmark"], row["setting"])))
    published = _write_interval(row["published"], row["published_low"], row["published_high"])
    published += "*" if row["how_known"] == "measured from pixels" else ""
    cells = [row["system"], about, row["metric"], published, _write_interval(row["value"], row["low"], row["high"])]
    why = "; ".join(filter(None, (row["why"], row.get("note", ""))))
    written = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    written += f"<td><b>{escape(row['status'])}</b>{escape(f': {why}' if why else '')}</td>"
    return f'<tr data-status="{escape(row["status"])}"><th scope="row">{escape(row["where"])}</th>{written}</tr>'


def _write_interval(value: str, low: str, high: str) -> str:
    """value [low, high], to four significant digits; what isn't a number stays as it is."""
    value, low, high = (_round(cell) for cell in (value, low, high))
    return f"{value} [{low}, {high}]" if value and low and high else value


def _round(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return cell if len(cell) <= 6 else f"{number:,.4g}".replace("-", "−")


# ------------------------------------------------------------------ figures


def write_figures(figures: Sequence[Figure], source: str) -> str:
    """Every figure as an image with its caption and its table; at most FIGURE_BYTES of them, in their order."""
    if not figures:
        return "<p>No figures: notebook 7 draws them once every stage is finished.</p>"
    parts, left_out, room = [f'<p class="soft">From {escape(source)}.</p>'], [], FIGURE_BYTES
    for heading, is_paper in (("The paper's figures", True), ("This study's own", False)):
        group = [figure for figure in figures if figure.name.startswith("paper_") == is_paper]
        parts += [f"<h3>{heading}</h3>"] if group else []
        for figure in group:
            image = "data:image/svg+xml;base64," + base64.b64encode(figure.svg.encode("utf-8")).decode("ascii")
            if len(image) > room:
                left_out.append(figure.name)
                continue
            room -= len(image)
            parts.append(_write_figure(figure, image))
    if left_out:
        parts.append(f"<p>Left out, because the page may not grow larger: {escape(', '.join(left_out))}.</p>")
    return "\n".join(parts)


def _write_figure(figure: Figure, image: str) -> str:
    warnings = "".join(_warn("Careful.", warning) for warning in figure.warnings)
    tables = "".join(
        _link_ledger(name) if name in ("ledger", "published") else _write_table(name, text)
        for name, text in figure.tables.items()
    )
    title = figure.title if figure.title.endswith(("?", "!", ".")) else f"{figure.title}."
    alternative = f"Figure: {title} Its numbers are in its tables, below it."
    return (
        f'<figure id="figure-{escape(figure.name)}"><img alt="{escape(alternative)}" src="{image}" loading="lazy">'
        f"<figcaption><strong>{escape(title)}</strong> {escape(figure.caption)}{warnings}{tables}</figcaption>"
        "</figure>"
    )


def _link_ledger(name: str) -> str:
    return f'<p class="soft">Table: <a href="#published">figures/data/{name}.csv</a>, among the claims.</p>'


def _write_table(name: str, text: str) -> str:
    """The beginning of a CSV as a table that unfolds, and all of it to download where it is small enough."""
    rows = list(csv.reader(io.StringIO(text[:200_000])))
    shown = rows[1 : TABLE_ROWS + 1]
    total = max(0, text.count("\n") - 1)
    while len(shown) > 1 and sum(len(cell) + 9 for row in shown for cell in row) > TABLE_BYTES:
        shown = shown[: len(shown) // 2]
    head = "".join(f'<th scope="col">{escape(cell[:LONGEST_CELL])}</th>' for cell in (rows[0] if rows else []))
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell[:LONGEST_CELL])}</td>' for cell in row)}</tr>" for row in shown)
    count = f"{total:,} rows" if len(shown) >= total else f"the first {len(shown)} of {total:,} rows"
    return (
        f"<details><summary>Table: figures/data/{escape(name)}.csv ({count})</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table {escape(name)}"><table><thead><tr>{head}'
        f"</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


# ------------------------------------------------------------------ how it was run


def write_method(run: Run) -> str:
    """Commands, then a row a stage: state, minutes, code, versions, hardware; parameters unfold."""
    commands = [f"make report PROFILE={run.name}"]
    words = f"A run of the profile {run.profile} under a name of its own, with the parameters below. This page:"
    if run.name == run.profile:
        words = "All of it, one stage at a time, and this page:"
        stages = [f"python -m s1_utils.study run {run.profile} --only {stage.name}" for stage in run.stages]
        commands = [f"make study PROFILE={run.profile}", *stages, *commands]
    columns = ("stage", "state", "minutes", "code", "hardware")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    rows = "".join(_write_stage(stage) for stage in run.stages)
    parameters = "".join(_write_parameters(stage) for stage in run.stages if stage.manifest)
    return (
        f"<p>{escape(words)}</p>"
        f'<pre class="commands">{escape(chr(10).join(commands))}</pre>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Stages"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{_write_versions(run)}{parameters}"
    )


def _write_stage(stage: StageFacts) -> str:
    manifest = stage.manifest
    seconds, hardware = manifest.get("wall_seconds"), manifest.get("hardware", {})
    minutes = f"{seconds / 60:.1f}" if isinstance(seconds, int | float) else ""
    commit = str(manifest.get("commit", ""))[:10] + (" with changes" if manifest.get("dirty") else "")
    machine = ", ".join(f"{value} {name}" if name == "cores" else str(value) for name, value in hardware.items())
    state = stage.state if stage.state == FINISHED else f"{stage.state}: {stage.why}".rstrip(": ")
    cells = "".join(f"<td>{escape(cell[:LONGEST_CELL])}</td>" for cell in (state, minutes, commit, machine))
    return f'<tr><th scope="row"><code>{escape(stage.name)}</code></th>{cells}</tr>'


def _write_versions(run: Run) -> str:
    used: dict[str, list[str]] = {}
    for stage in run.stages:
        for name, version in stage.manifest.get("versions", {}).items():
            if str(version) not in used.setdefault(str(name), []):
                used[str(name)].append(str(version))
    words = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in sorted(used.items()))
    return f"<p>Versions: {escape(words)}.</p>" if words else ""


def _write_parameters(stage: StageFacts) -> str:
    parameters: dict[str, Any] = stage.manifest.get("key", {}).get("params", {})
    lines = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in parameters.items())
    return (
        f"<details><summary>Parameters of {escape(stage.name)}</summary>"
        f'<pre class="commands">{escape(lines[:20_000])}</pre></details>'
    )
