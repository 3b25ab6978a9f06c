"""What cards are put together from: the hub's templates without what isn't known, text that can't break out, licences.

Knows Markdown, Jinja's placeholders and licence identifiers; knows nothing about runs. Model output and downloaded
text are hostile: they appear in code spans and fenced blocks only, with control and bidirectional characters spelt out.
Licences of base models are as their makers' hub pages have them, from memory: no hub was reachable.
Source: huggingface_hub's templates modelcard_template.md and datasetcard_template.md. Tests: tests/test_cards.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath
from typing import Any

LONGEST_TEXT, LONGEST_CELL = 4000, 120  # characters of foreign text in a block and in a cell
_COMMENT = re.compile("<!--.*?-->", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)")
_HEADING = re.compile(r"(#+) |(\*\*.*:\*\*)$")
_HOST = re.compile(r"(https?://)[^/\s]+")

# ------------------------------------------------------------------ licences

SHAREABLE = frozenset(  # identifiers of the hub whose texts may be given on as they are, with their notice
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-4.0 "
    "cc-by-nc-sa-4.0 odc-by odbl pddl cdla-permissive-1.0 cdla-permissive-2.0 unlicense gpl-3.0".split()
)
FORBIDDEN = {"cc-by-nd-4.0": "forbids changed copies", "cc-by-nc-nd-4.0": "forbids changed copies"}
WITHHELD = {"GPQA": "its authors ask that its questions not be published in the clear"}
OWN = "the user's"  # of rows from a file of one's own


@dataclass(frozen=True)
class Base:
    """A base model on the hub. `licence`: the hub's identifier, or other with a name and a link."""

    hub_id: str
    licence: str = "apache-2.0"
    licence_name: str = ""
    licence_link: str = ""


QWEN_RESEARCH = "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE"
BASES = {
    "smollm2-135m-instruct": Base("HuggingFaceTB/SmolLM2-135M-Instruct"),
    **{name: Base(name) for name in (f"Qwen/Qwen2.5-{size}B-Instruct" for size in ("0.5", "1.5", "7", "14", "32"))},
    "Qwen/Qwen2.5-3B-Instruct": Base("Qwen/Qwen2.5-3B-Instruct", "other", "qwen-research", QWEN_RESEARCH),
}


def find_base(name: str) -> Base:
    """The base model of that name in 01_collect. Of one that isn't known here the licence is empty."""
    is_hub_id = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    return BASES.get(name, Base(name if is_hub_id else "", ""))


def name_licence(text: str) -> str:
    """The hub's identifier of a licence as the study's tables spell it; "" for one that isn't known."""
    name = text.strip().lower().replace(" ", "-")
    return name if name in SHAREABLE or name in FORBIDDEN else ""


def find_obstacles(rows: Iterable[tuple[str, str]], *, stated: str = "") -> list[str]:
    """Why rows of (source, licence) may not be given on, one line a source; [] if they may.

    `stated`: the licence under which the user gives on rows of files of their own.
    """
    found = []
    for source, licence in sorted(set(rows)):
        name = name_licence(stated if licence == OWN and stated else licence)
        if source in WITHHELD:
            found.append(f"{source}: {WITHHELD[source]}")
        elif name in FORBIDDEN:
            found.append(f"{source}: its licence {licence} {FORBIDDEN[name]}")
        elif licence == OWN and not name:
            found.append(f"{shorten_path(source)}: a file of your own (state its licence with --licence, such as mit)")
        elif not name:
            found.append(f"{shorten_path(source)}: its licence isn't known here ({licence or 'none is stated'})")
    return found


# ------------------------------------------------------------------ templates


def prune_template(template: str, known: Collection[str]) -> str:
    """A template without comments, lines whose placeholders aren't all in `known`, and headings left with nothing."""
    _, head, body = template.split("---\n", 2)
    head = "".join(line + "\n" for line in head.splitlines() if not line.startswith("#"))
    text = _COMMENT.sub("", body).replace(" [optional]", "")
    lines = [line for line in text.splitlines() if set(_PLACEHOLDER.findall(line)) <= {*known, "card_data"}]
    kept = "\n".join(line for i, line in enumerate(lines) if not _is_empty_heading(lines, i))
    return f"---\n{head}---\n{re.sub(chr(10) + '{3,}', chr(10) * 2, kept)}\n"


def _find_level(line: str) -> int:
    """Of a heading 1 to 6, of a bold label 7, of text 0."""
    found = _HEADING.match(line)
    return 0 if not found else len(found[1]) if found[1] else 7


def _is_empty_heading(lines: Sequence[str], i: int) -> bool:
    level = _find_level(lines[i])
    if not level:
        return False
    for line in lines[i + 1 :]:
        below = _find_level(line)
        if below and below <= level:
            return True
        if line.strip() and not below:
            return False
    return True


# ------------------------------------------------------------------ foreign text


def show_controls(text: str, keep: str = "") -> str:
    """`text` with control, bidirectional and other invisible characters spelt out, as in backslash u202e."""
    return "".join(
        c if c in keep or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else f"\\u{ord(c):04x}"
        for c in text
    )


def write_code(text: object, limit: int = LONGEST_CELL, *, in_table: bool = True) -> str:
    """Foreign text as a code span on one line, if need be of a table: nothing in it is markup."""
    shown = show_controls(_cut(str(text), limit)).strip()
    if not shown:
        return ""
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return ticks + space + (shown.replace("|", "\\|") if in_table else shown) + space + ticks


def write_block(text: str, limit: int = LONGEST_TEXT) -> str:
    """Foreign text as a fenced block, behind a fence that it doesn't hold."""
    shown = show_controls(_cut(text, limit), keep="\n\t")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def write_table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """A Markdown table; cells are Markdown already, and must be one line."""
    lines = [header, ["--"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def write_params(params: Mapping[str, Any]) -> str:
    """Parameters as a table, without places and hosts of the machine."""
    return write_table([(write_code(name), write_code(hide_places(value))) for name, value in params.items()], PARAMS)


PARAMS = ("parameter", "value")


def hide_places(value: Any) -> Any:
    """A value of JSON in which absolute paths are cut to their last part, and hosts of addresses left out."""
    if isinstance(value, Mapping):
        return {name: hide_places(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_places(item) for item in value]
    return shorten_path(_HOST.sub(r"\1…", value)) if isinstance(value, str) else value


def shorten_path(text: str) -> str:
    """`text`, or if it is an absolute path, its last part behind an ellipsis."""
    if text.startswith(("/", "~")):
        return f"…/{PurePath(text).name}"
    return f"…/{PureWindowsPath(text).name}" if re.match(r"[A-Za-z]:[\\/]", text) else text


# ------------------------------------------------------------------ what all cards say

PAPER = "https://arxiv.org/abs/2501.19393"
BIBTEX = """```bibtex
@article{muennighoff2025s1,
  title   = {s1: Simple test-time scaling},
  author  = {Muennighoff, Niklas and Yang, Zitong and Shi, Weijia and Li, Xiang Lisa and Fei-Fei, Li and Hajishirzi,
             Hannaneh and Zettlemoyer, Luke and Liang, Percy and Candès, Emmanuel and Hashimoto, Tatsunori},
  journal = {arXiv preprint arXiv:2501.19393},
  year    = {2025}
}
```"""


def describe_versions(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """The versions that the manifests of all stages name, each once."""
    found = {(name, version) for stage in stages.values() for name, version in stage["versions"].items()}
    return ", ".join(f"{name} {version}" for name, version in sorted(found))


def describe_hashes(stages: Mapping[str, Mapping[str, Any]], outputs: Collection[str]) -> str:
    """One row a stage: its commit and the hashes of its parameters, inputs, code, and of the outputs named."""
    rows = []
    for name, stage in stages.items():
        made = [f"{output} `{sha256}`" for output, sha256 in stage["outputs"].items() if output in outputs]
        commit = f"`{stage['commit'][:12]}`{' with changes' if stage['dirty'] else ''}" if stage["commit"] else ""
        keys = [f"`{stage[key][:16]}`" for key in ("params", "inputs", "code")]
        rows.append((f"`{name}`", commit, *keys, "<br>".join(made)))
    return write_table(rows, ("stage", "commit", "parameters", "inputs", "code", "sha256 of what it made"))
