"""The paper's tables with this study's values beside them, as Markdown and LaTeX (booktabs).

Knows figures/data: published.csv, ledger.csv, and the laptop's tables; knows nothing about runs. Published values keep
the paper's digits; ours stand under them only where the ledger has a value of that very claim. The laptop's experiment
(another model, other questions) has tables of its own in the same form, in `laptop_tables`. The same tables give the
same bytes. Sources: s1 tables 1 to 5, 8, 11, 12, 13 (numbers of version 3). Tests: tests/test_paper_tables.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from s1_utils.errors import StudyError
from s1_utils.store import write_atomically

KEYS = ["where", "system", "benchmark", "setting", "metric"]
NEEDED = [*KEYS, "value", "ci_low", "ci_high", "thinking_tokens", "note"]
LATEX = {  # what has a meaning in LaTeX, or no place in its fonts
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "×": r"$\times$", "−": "$-$", "≤": r"$\le$", "≥": r"$\ge$", "≫": r"$\gg$", "±": r"$\pm$",
    "–": "--", "“": "``", "”": "''",
}  # fmt: skip
MARKDOWN = "\\`*_{}[]<>|#"
PREAMBLE = "\\documentclass{article}\n\\usepackage[margin=15mm]{geometry}\n\\usepackage[T1]{fontenc}\n"


@dataclass(frozen=True)
class Form:
    """How a table of the paper is laid out: what its rows and columns are, and what a cell has besides the value."""

    title: str
    rows: str = "system"
    columns: str = "benchmark"
    extra: str = ""  # a second column of labels
    parts: tuple[str, ...] = ()  # after the value, divided by slashes
    note: str = ""


FORMS = {
    "1": Form("s1-32B among other models: accuracy (%)", extra="setting",
              note="s1-32B's row mixes runs: AIME24 with four Waits, the others with two."),
    "2": Form("Subsets of 59K: accuracy (%) [95 % interval of the difference to s1K, points]"),
    "3": Form("Ways to control test-time compute, AIME24", columns="metric",
              note="Scaling as published fits points per doubling of thinking tokens."),
    "4": Form("What is appended when the end of thinking is suppressed twice: accuracy (%)"),
    "5": Form("s1 and s1.1 with more Waits, and other models: accuracy (%)"),
    "8": Form("Training sequence length: accuracy (%) / thinking tokens", rows="setting", parts=("thinking_tokens",)),
    "11": Form("Token-conditional control, AIME24: accuracy (%) / thinking / answer tokens", rows="setting",
               columns="system", parts=("thinking_tokens", "answer tokens")),
    "12": Form("Step-conditional control, AIME24: accuracy (%) / steps used / thinking / answer tokens", rows="setting",
               columns="system", parts=("steps used", "thinking_tokens", "answer tokens")),
    "13": Form("Class-conditional control: accuracy (%) / thinking tokens", rows="setting", parts=("thinking_tokens",)),
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Text, ready to be escaped. `rows`: labels and cells, as many as `head`; `labels`: how many are labels."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1
    notes: tuple[str, ...] = field(default=())


# ------------------------------------------------------------------ tables


def read_texts(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV as text, digits as they stand; raises StudyError where a column is missing."""
    if not path.exists():
        raise StudyError(f"{path.name} isn't in {path.parent}: take it back from git, or run `make publish`.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in needed if name not in table]:
        raise StudyError(f"{path.name} lacks {', '.join(missing)}: take it back from git, or run `make publish`.")
    return table


def lay_out(number: str, published: pd.DataFrame, ledger: pd.DataFrame) -> Table:
    """Table `number` of the paper: its values, and a row of ours under each that the ledger has a value for."""
    form = FORMS[number]
    chosen = published[published["where"].str.fullmatch(rf"Table {number}( \(v3\))?")]
    if chosen.empty:
        raise StudyError(f"published.csv has no rows of Table {number}: take it back from git.")
    columns = list(dict.fromkeys(chosen[form.columns]))
    ours, lines = _index_ours(ledger), []
    for _, group in chosen.groupby([form.rows, *([form.extra] if form.extra else [])], sort=False):
        cells = {row[form.columns]: row for _, row in group.iterrows()}
        first = next(iter(cells.values()))
        labels = [first[form.rows], *([_shorten(first[form.extra])] if form.extra else [])]
        lines.append((*labels, *(_write_cell(cells[name], form) if name in cells else "" for name in columns)))
        found = [ours.get(tuple(cells[name][KEYS])) if name in cells else None for name in columns]
        if any(found):
            lines.append(("ours", *labels[1:], *(cell or "" for cell in found)))
    head = (form.rows, *(["examples"] if form.extra else []), *(_shorten(name) for name in columns))
    return Table(number, form.title, head, tuple(lines), 1 + bool(form.extra), (*_note(form, chosen, ledger),))


def _note(form: Form, chosen: pd.DataFrame, ledger: pd.DataFrame) -> list[str]:
    """What the paper's table hides, and how much of it has a value here."""
    keys = set(map(tuple, chosen[KEYS].to_numpy()))
    statuses = [row["status"] for _, row in ledger.iterrows() if tuple(row[KEYS]) in keys]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return [note for note in (form.note, f"Of {len(chosen)} published numbers: {counts}." if counts else "") if note]


def _index_ours(ledger: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """claim → our value with its interval and thinking tokens, in the digits of the paper's value."""
    found = {}
    for _, row in ledger[ledger["value"] != ""].iterrows() if len(ledger) else ():
        digits = len(row["published"].partition(".")[2])
        text = f"{float(row['value']):.{digits}f}"
        if row["low"] and row["high"]:
            text += f" [{float(row['low']):.{digits}f}, {float(row['high']):.{digits}f}]"
        if row.get("tokens"):
            text += f" / {float(row['tokens']):.0f}"
        found[tuple(row[KEYS])] = text
    return found


def _write_cell(row: pd.Series, form: Form) -> str:
    text = row["value"]
    if row["ci_low"]:
        text += f" [{row['ci_low']}, {row['ci_high']}]"
    noted = dict(re.findall(r"(answer tokens|steps used) (\d+)", row["note"]))
    return " / ".join([text, *(noted.get(part) or row.get(part, "") for part in form.parts)])


def _shorten(label: str) -> str:
    """A label of the results table without what the table's title says."""
    label = label.removeprefix("train examples ").split(", points per")[0]
    return label.replace(">>", "≫")


# ------------------------------------------------------------------ Markdown and LaTeX


def write_markdown(table: Table) -> str:
    """A GitHub table under its title; hostile text stays text."""
    lines = [f"**Table {table.name}.** {_mark(table.title)}", "", _join(table.head)]
    lines.append("|" + "|".join("---" if i < table.labels else "--:" for i in range(len(table.head))) + "|")
    lines += [_join(row) for row in table.rows]
    lines += [f"\n{_mark(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


def _join(cells: Sequence[str]) -> str:
    return (
        "| " + " | ".join(_mark(cell).replace("-", "−") if _is_number(cell) else _mark(cell) for cell in cells) + " |"
    )


def _mark(text: str) -> str:
    return "".join("\\" + letter if letter in MARKDOWN else letter for letter in " ".join(text.split()))


def write_latex(table: Table) -> str:
    """A floating table, to be \\input; needs booktabs and graphicx."""
    columns = "".join("l" if i < table.labels else "r" for i in range(len(table.head)))
    rows = [" & ".join(escape_latex(cell) for cell in row) + r" \\" for row in (table.head, *table.rows)]
    notes = "".join(rf" {escape_latex(note)}" for note in table.notes)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{Table {escape_latex(table.name)} of s1. {escape_latex(table.title)}.{notes}}}",
        r"\small",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Any text as LaTeX that shows it; a number's minus is one, control characters are left out."""
    text = " ".join(text.split())
    if _is_number(text):
        text = re.sub(r"-(?=[\d.])", "−", text)
    return "".join(LATEX.get(letter, letter) for letter in text if letter.isprintable())


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-\d][-\d., \[\]/%]*", text) is not None


def write_tables(data: Path, folder: Path) -> list[Path]:
    """Write every table as table_<number>.md and .tex, all as tables.md and a document, tables.tex; the files."""
    from s1_utils import laptop_tables

    published, ledger = read_texts(data / "published.csv", NEEDED), pd.DataFrame(columns=[*KEYS, "value", "status"])
    if (data / "ledger.csv").exists():
        ledger = read_texts(data / "ledger.csv", [*KEYS, "value", "low", "high", "published", "status"])
    tables = [lay_out(number, published, ledger) for number in FORMS]
    tables = [each for table in tables for each in (table, laptop_tables.lay_out(table.name, data)) if each]
    files = {}
    for table in tables:
        name = f"table_{table.name.replace(' ', '_')}"
        files |= {f"{name}.md": write_markdown(table), f"{name}.tex": write_latex(table)}
    files["tables.md"] = "\n".join(text for name, text in files.items() if name.endswith(".md"))
    inputs = "".join(f"\\input{{{name}}}\n" for name in files if name.endswith(".tex"))
    body = "\\usepackage{booktabs,graphicx}\n\\begin{document}\n" + inputs + "\\end{document}\n"
    files["tables.tex"] = PREAMBLE + body
    for name, text in files.items():
        with write_atomically(folder / name) as path:
            path.write_text(text, "utf-8")
    return [folder / name for name in files]
