"""The rules of a notebook (the design's section 5), checked without running any."""

import ast
import json
import re
from pathlib import Path

import pytest

from s1_utils import params, paths

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
FORBIDDEN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.For, ast.While)


def read_cells(path: Path, kind: str) -> list[dict]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == kind]


def find_model(path: Path) -> type[params.StageParams]:
    return next(m for m in params.MODELS if m.model_fields["notebook"].default == path.stem)


def test_there_is_one_notebook_for_every_parameters_model():
    assert [m.model_fields["notebook"].default for m in params.MODELS] == NAMES


@EVERY
def test_a_notebook_is_stripped_and_has_the_plain_kernel(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert all(not c["outputs"] and c["execution_count"] is None for c in notebook["cells"] if c["cell_type"] == "code")


@EVERY
def test_the_first_code_cell_and_no_other_is_the_parameters_cell(path):
    tags = ["parameters" in cell["metadata"].get("tags", []) for cell in read_cells(path, "code")]
    assert tags[0]
    assert sum(tags) == 1


@EVERY
def test_parameters_are_literals_with_a_type_and_a_help_text(path):
    source = read_cells(path, "code")[0]["source"]
    lines = source.splitlines()
    assert lines[0] == "# Parameters"
    assert all(re.fullmatch(r"\w+: (str|int|float|bool|list) = [^=#]+  # [^=#]+", line) for line in lines[1:])
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(source).body)


@EVERY
def test_parameters_and_their_defaults_are_those_of_the_model_and_of_the_laptop(path):
    model = find_model(path)
    nodes = ast.parse(read_cells(path, "code")[0]["source"]).body
    values = {node.target.id: ast.literal_eval(node.value) for node in nodes}
    assert list(values) == [name for name in values if name in model.model_fields]
    assert params.validate_params(model, values) == model()
    assert params.load_profile(model, "laptop").result_params() == model().result_params()


@EVERY
def test_no_cell_reuses_the_name_of_a_parameter(path):
    names = set(find_model(path).model_fields)
    for cell in read_cells(path, "code")[1:]:
        stored = {
            n.id
            for n in ast.walk(ast.parse(cell["source"]))
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        imported = {
            a.asname or a.name
            for n in ast.walk(ast.parse(cell["source"]))
            if isinstance(n, ast.Import | ast.ImportFrom)
            for a in n.names
        }
        assert not (stored | imported) & names


@EVERY
def test_cells_are_short_and_define_nothing(path):
    for cell in read_cells(path, "code")[1:]:
        assert len(cell["source"].splitlines()) <= 16
        assert not [node for node in ast.walk(ast.parse(cell["source"])) if isinstance(node, FORBIDDEN)]
        assert not re.search(r"^[!%]", cell["source"], re.MULTILINE)
        assert not re.search(r"\bPath\(|open\(|[\"'](\.\./|/\w)", cell["source"])


@EVERY
def test_a_notebook_tells_what_it_claims_and_what_it_does_not_show(path):
    prose = [cell["source"] for cell in read_cells(path, "markdown")]
    words = sum(len(text.split()) for text in prose)
    assert 500 <= words <= 1500
    assert prose[0].startswith("# ")
    headings = [line for text in prose for line in text.splitlines() if line.startswith("## ")]
    assert headings[-2:] == ["## Against the paper", "## What this does not show"]


@EVERY
def test_every_code_cell_but_the_first_two_is_introduced_by_prose_within_two_cells(path):
    kinds = [cell["cell_type"] for cell in json.loads(path.read_text("utf-8"))["cells"]]
    assert "code code code code" not in " ".join(kinds[3:])
