"""The paper's tables: every published value once, in its own digits; balanced LaTeX; hostile text stays text."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import laptop_tables, paper_tables, paths, study
from s1_utils.errors import StudyError

DATA = paths.FIGURES / "data"
PUBLISHED = paper_tables.read_texts(DATA / "published.csv", paper_tables.NEEDED)
LEDGER = paper_tables.read_texts(DATA / "ledger.csv", paper_tables.KEYS)


def select(number):
    return PUBLISHED[PUBLISHED["where"].str.fullmatch(rf"Table {number}( \(v3\))?")]


def find_numbers(text):
    return re.findall(r"(?<![\w.×])[-−]?\d+(?:\.\d+)?", text)


@pytest.mark.parametrize("number", paper_tables.FORMS)
def test_a_table_has_every_published_value_with_the_papers_digits(number):
    rows = select(number)
    wanted = []
    for row in rows.itertuples():
        wanted += [row.value, *filter(None, [row.ci_low, row.ci_high])]
        if paper_tables.FORMS[number].parts:
            wanted += [row.thinking_tokens, *re.findall(r"(?:answer tokens|steps used) (\d+)", row.note)]
    table = paper_tables.lay_out(number, PUBLISHED, LEDGER.assign(value=""))
    cells = [cell for row in table.rows for cell in row[table.labels :]]
    assert sorted(find_numbers(" ".join(cells))) == sorted(wanted)


def test_the_tables_of_the_paper_are_all_there():
    tables = {re.match(r"Table (\d+)", where)[1] for where in PUBLISHED["where"] if where.startswith("Table")}
    assert tables == set(paper_tables.FORMS)


def test_ours_stands_under_the_published_row_where_the_ledger_has_a_value():
    of = (LEDGER["where"] == "Table 1") & (LEDGER["system"] == "s1-32B") & (LEDGER["benchmark"] == "AIME24")
    ledger = LEDGER.copy()
    ledger.loc[of, ["value", "low", "high"]] = ["53.3333", "36.1", "69.77"]
    table = paper_tables.lay_out("1", PUBLISHED, ledger)
    at = next(i for i, row in enumerate(table.rows) if row[0] == "s1-32B")
    assert table.rows[at + 1] == ("ours", "1K", "53.3 [36.1, 69.8]", "", "")
    assert [row[0] for row in table.rows].count("ours") == 1


def test_a_table_says_how_many_of_its_numbers_were_run():
    table = paper_tables.lay_out("8", PUBLISHED, LEDGER.assign(status="not run"))
    assert table.notes == ("Of 6 published numbers: 6 not run.",)


@pytest.mark.parametrize("number", laptop_tables.BUILDERS)
def test_the_laptops_table_is_apart_and_says_what_it_is(number):
    table = laptop_tables.lay_out(number, DATA)
    assert "another model and other questions" in table.title
    assert table.name == f"{number} laptop"
    assert {len(row) for row in table.rows} == {len(table.head)}


def test_the_laptops_numbers_are_those_of_its_table():
    rows = pd.read_csv(DATA / "methods.csv").query("model == 'SFT' and control == 'short'")
    found = {row[0]: row for row in laptop_tables.lay_out("13", DATA).rows}["short"]
    row = rows.iloc[0]
    assert found[1] == f"{100 * row.accuracy:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    assert found[3] == str(row.n)


def test_a_laptop_table_without_its_csv_is_not_made(tmp_path):
    assert laptop_tables.lay_out("3", tmp_path) is None


# ------------------------------------------------------------------ LaTeX and Markdown


def parse_latex(text):
    """What LaTeX would show of escaped text, or an AssertionError where it would stop."""
    names = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
             r"\textgreater{}": ">", r"\textbar{}": "|", r"$\times$": "×", "$-$": "−", r"$\le$": "≤", r"$\ge$": "≥",
             r"$\gg$": "≫", r"$\pm$": "±", "--": "–", "``": "“", "''": "”"}  # fmt: skip
    shown, at = "", 0
    while at < len(text):
        name = next((name for name in names if text.startswith(name, at)), None)
        if name:
            shown, at = shown + names[name], at + len(name)
        elif text[at] == "\\":
            assert text[at + 1] in "&%$#_{}", text[at : at + 9]
            shown, at = shown + text[at + 1], at + 2
        else:
            assert text[at] not in "&%$#_{}~^", text[at : at + 9]
            shown, at = shown + text[at], at + 1
    return shown


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80).filter(lambda text: not re.search("--|``|''", text))
)
def test_escaped_text_is_shown_by_latex_as_it_was(text):
    plain = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    shown = parse_latex(paper_tables.escape_latex(text))
    assert shown.replace("−", "-") == plain.replace("−", "-")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_a_cell_of_markdown_stays_one_cell_without_markup(text):
    table = paper_tables.Table("9", "t", ("a", "b"), ((text, "1"),))
    line = paper_tables.write_markdown(table).splitlines()[4]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>`]", line)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    assert study.main(["tables", "--out", str(folder)]) == 0
    return folder


def test_every_table_is_balanced_and_every_row_has_as_many_cells_as_columns(written):
    for path in written.glob("table_*.tex"):
        text = path.read_text("utf-8")
        assert re.findall(r"\\begin{(\w+)}", text) == re.findall(r"\\end{(\w+)}", text)[::-1]
        bare = re.sub(r"\\[{}\\]", "", text)
        assert bare.count("{") == bare.count("}"), path.name
        assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
        columns = re.search(r"\\begin{tabular}{([lr]+)}", text)[1]
        rows = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
        assert [rule for rule in (r"\toprule", r"\midrule", r"\bottomrule") if text.count(rule) != 1] == []


def test_latex_compiles_the_tables(written, tmp_path):
    tex = next(filter(None, map(shutil.which, ("tectonic", "pdflatex", "lualatex"))), None)
    if tex is None:
        pytest.skip("no TeX here: the tables are parsed by the other tests")
    shutil.copytree(written, tmp_path / "tex")
    options = [] if tex.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([tex, *options, "tables.tex"], cwd=tmp_path / "tex", capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_document_has_every_table_and_the_same_tables_give_the_same_bytes(written, tmp_path):
    document = (written / "tables.tex").read_text("utf-8")
    assert set(re.findall(r"\\input{([^}]*)}", document)) == {path.name for path in written.glob("table_*.tex")}
    paper_tables.write_tables(DATA, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written.iterdir()}
    assert all((tmp_path / path.name).read_bytes() == path.read_bytes() for path in written.iterdir())


def test_a_published_table_that_is_gone_or_lacks_a_column_is_refused(tmp_path):
    with pytest.raises(StudyError, match="isn't in"):
        paper_tables.write_tables(tmp_path, tmp_path / "out")
    PUBLISHED.drop(columns="note").to_csv(tmp_path / "published.csv", index=False)
    with pytest.raises(StudyError, match="lacks note"):
        paper_tables.write_tables(tmp_path, tmp_path / "out")
