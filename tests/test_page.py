"""The report of a run: what it says without scripts, what it never says of a half-finished run, and its bounds."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import page_runs
import pandas as pd
import pytest

from s1_utils import (
    explorer,
    page,
    page_captions,
    page_run,
    page_sections,
    page_shell,
    page_traces,
    paths,
    provenance,
    study,
)
from s1_utils.errors import StudyError
from s1_utils.store import write_table

HOSTILE = (
    "</script><script>alert(1)</script><!-- <script> <img src=x onerror=alert(2)> \u2028 {{data}} {{policy}} &lt; ]]>"
)


class Reader(HTMLParser):
    """What a browser without scripts shows: text, headings, and every element with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.text, self.elements, self.headings, self._inside = "", [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self._inside.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An empty folder that the study takes for its figures/."""
    (tmp_path / "figures" / "data").mkdir(parents=True)
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    return tmp_path / "figures"


@pytest.fixture
def run(runs, published):
    """A finished run of four questions with samples and one figure."""
    tests, rows = page_runs.make_questions(4)
    folder = page_runs.write_run(runs / "tiny", tests, rows, page_runs.make_samples(rows))
    add_figure(folder / "figures")
    return folder


def add_figure(
    folder, name="funnel", svg="<svg xmlns='http://www.w3.org/2000/svg'><title>From many to few</title></svg>"
):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(svg, "utf-8")
    (folder / "data" / f"{name}.csv").write_text("step,left\nall,900\nselected,3\n", "utf-8")


def write(run):
    return page.write_report(run.name).read_text("utf-8")


def read_data(text):
    return json.loads(re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)[1])


# ------------------------------------------------------------------ a finished run


def test_a_report_says_without_scripts_what_it_is_about_and_has_every_part(run):
    read = Reader(write(run))
    for words in ("the run “tiny”", "The model of this run is tiny", "Claims", "Figures", "How it was run"):
        assert words in read.text
    assert "The trace explorer needs JavaScript" in read.text
    assert "half-finished" not in read.text


def test_headings_go_down_one_level_at_a_time(run):
    page_runs.make_ledger().to_csv(run / "figures" / "data" / "ledger.csv", index=False)
    levels = Reader(write(run)).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_claim_stands_in_the_page_with_its_test_verdict_or_status(run):
    page_runs.make_ledger().to_csv(run / "figures" / "data" / "ledger.csv", index=False)
    text = write(run)
    read = Reader(text)
    assert "this run's ledger" in read.text
    assert "Test: the interval of More thinking helps is above 0" in read.text
    assert "✓ holds" in read.text
    assert "? undecided" in read.text
    assert "49.38 [43.1, 55.6]" in read.text
    assert "0 reproduced, 0 not reproduced, 0 underpowered, 2 not run, 1 can't be run" in read.text
    statuses = [attrs["data-status"] for tag, attrs in read.elements if tag == "tr" and "data-status" in attrs]
    assert statuses == ["not run", "can't be run", "not run"]
    assert "56.7*" in read.text  # measured from pixels


def test_without_a_ledger_of_its_own_a_run_shows_the_published_one_and_says_so(run, published):
    page_runs.make_ledger().to_csv(published / "data" / "ledger.csv", index=False)
    assert "From the published ledger, figures/data/ledger.csv." in Reader(write(run)).text


def test_without_any_ledger_the_page_says_how_to_make_one(run):
    assert "python -m s1_utils.claims" in Reader(write(run)).text


def test_a_ledger_without_its_columns_is_refused(run):
    page_runs.make_ledger().drop(columns="test").to_csv(run / "figures" / "data" / "ledger.csv", index=False)
    with pytest.raises(StudyError, match="lacks the column"):
        write(run)


def test_a_figure_is_an_image_inside_the_page_with_words_and_its_table(run):
    text = write(run)
    [image] = [attrs for tag, attrs in Reader(text).elements if tag == "img"]
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == (run / "figures" / "funnel.svg").read_text("utf-8")
    assert image["alt"].startswith("Figure: From collected questions to training data.")
    assert "Table: figures/data/funnel.csv (2 rows)" in Reader(text).text
    assert "selected" in Reader(text).text


def test_every_figure_of_the_study_has_words_below_it():
    from s1_utils import plots

    assert set(plots.FIGURES) <= set(page_captions.CAPTIONS)


def test_the_papers_figures_come_first_and_the_ledger_is_linked_rather_than_repeated(run):
    data = run / "figures" / "data"
    shutil.copy(paths.ROOT / "figures" / "data" / "published.csv", data)
    page_runs.make_ledger().to_csv(data / "ledger.csv", index=False)
    (run / "figures" / "paper_figure1.svg").write_text("<svg/>")
    text = write(run)
    names = [attrs["id"] for tag, attrs in Reader(text).elements if tag == "figure"]
    assert names == ["figure-paper_figure1", "figure-funnel"]
    figure = re.search(r'<figure id="figure-paper_figure1">.*?</figure>', text, re.DOTALL)[0]
    assert '<a href="#published">figures/data/published.csv</a>' in figure
    assert "<table" not in figure


def test_how_it_was_run_has_commands_states_and_parameters(run):
    text = Reader(write(run)).text
    for stage in study.NOTEBOOKS:
        assert f"python -m s1_utils.study run tiny --only {stage}" in text
        assert f"Parameters of {stage}" in text
    assert "python 3.11.7" in text
    assert "0123456789" in text
    assert "1.5" in text  # minutes


def test_a_run_under_a_name_of_its_own_is_not_said_to_come_from_the_profiles_commands(runs, published):
    tests, rows = page_runs.make_questions(2)
    page_runs.write_run(runs / "tiny", tests, rows)
    own = runs / "tiny-aime24" / "04_sequential_scaling"
    shutil.copytree(runs / "tiny" / "04_sequential_scaling", own)
    read = page_run.read_run("tiny-aime24")
    assert read.profile == "tiny"
    assert read.find("04_sequential_scaling") == own
    assert read.find("01_collect") == runs / "tiny" / "01_collect"
    text = Reader(write(own.parent)).text
    assert "A run of the profile tiny under a name of its own" in text
    assert "study run" not in text


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'"'])
def test_a_ledger_or_table_that_can_not_be_read_is_refused_in_words(run, content):
    (run / "figures" / "data" / "funnel.csv").write_bytes(content)
    with pytest.raises(StudyError, match="make it again"):
        write(run)
    (run / "figures" / "data" / "ledger.csv").write_bytes(content)
    with pytest.raises(StudyError, match=r"ledger.csv.*make it again"):
        write(run)


def test_the_explorer_has_every_question_and_its_votes(run):
    data = read_data(write(run))
    assert len(data["questions"]) == 4
    assert [one["control"] for one in data["series"]] == ["budget", "cut", "wait", "sampled"]


def test_the_same_run_gives_the_same_bytes(run):
    assert write(run) == write(run)


# ------------------------------------------------------------------ half-finished, stale, made up


@pytest.mark.parametrize("missing", ["01_collect", "04_sequential_scaling", "06_ablations", "07_figures"])
def test_a_half_finished_run_is_shown_as_such_without_verdicts_or_figures(runs, published, missing):
    tests, rows = page_runs.make_questions(2)
    folder = page_runs.write_run(runs / "tiny", tests, rows, page_runs.make_samples(rows), missing=[missing])
    add_figure(folder / "figures")
    (folder / missing / "started.json").write_text("{}")
    page_runs.make_ledger().to_csv(folder / "figures" / "data" / "ledger.csv", index=False)
    read = Reader(write(folder))
    assert "A half-finished run." in read.text
    assert f"{missing}: not finished" in read.text
    assert "holds" not in read.text.replace("doesn't hold", "")
    assert "49.38" not in read.text
    assert read.count("img") == 0


def test_a_stage_made_from_other_inputs_than_there_are_is_not_finished(run):
    (run / "01_collect" / "model.json").write_text('{"name": "another"}')
    page_runs.write_manifest(run / "01_collect", run)
    states = {stage.name: stage.state for stage in page_run.read_run("tiny").stages}
    assert states["01_collect"] == page_run.FINISHED
    assert set(states.values()) == {page_run.FINISHED, page_run.STALE}
    assert "01_collect/model.json is another now" in Reader(write(run)).text


def test_numbers_of_an_unfinished_profile_are_not_run_whatever_a_ledger_says(runs, published):
    tests, rows = page_runs.make_questions(2)
    folder = page_runs.write_run(runs / "s1-32b", tests, rows, missing=["06_ablations"])
    ledger = page_runs.make_ledger()
    ledger.loc[ledger["claim_id"] == "a", ["status", "value"]] = ["reproduced", "57.123456"]
    ledger.to_csv(published / "data" / "ledger.csv", index=False)
    text = Reader(write(folder)).text
    assert "57.12" not in text
    assert "0 reproduced" in text


def test_a_run_without_traces_says_so(runs, published):
    tests, rows = page_runs.make_questions(2)
    folder = page_runs.write_run(runs / "tiny", tests, rows, missing=["04_sequential_scaling"])
    text = write(folder)
    assert "No traces yet" in Reader(text).text
    assert "explorer-data" not in Reader(text).text


def test_a_smoke_run_is_called_no_result(runs, published):
    tests, rows = page_runs.make_questions(2)
    folder = page_runs.write_run(runs / "smoke", tests, rows, model="random-llama")
    assert "nothing on this page is a result" in Reader(write(folder)).text


def test_a_run_that_is_not_there_is_refused_with_those_that_are(run, capsys):
    assert page.main(["tinny"]) == 1
    error = capsys.readouterr().err
    assert "no run 'tinny' (there: tiny)" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["..", "", "a/b", "/"])
def test_a_name_that_is_a_path_is_no_run(run, name):
    with pytest.raises(StudyError, match="no run"):
        page_run.read_run(name)


@pytest.mark.parametrize("content", ["{", "[1]", "\ud800".encode("utf-8", "surrogatepass")])
def test_a_damaged_manifest_is_refused_in_words(run, content):
    path = run / "02_filter" / "manifest.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StudyError, match="run its stage again"):
        write(run)


@pytest.mark.parametrize("table", ["tests", "grades"])
def test_a_table_that_is_gone_or_damaged_is_refused_in_words(run, table):
    (run / "04_sequential_scaling" / f"{table}.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StudyError, match="run that stage again"):
        write(run)


# ------------------------------------------------------------------ tables edited by hand


def test_a_published_table_that_was_edited_by_hand_is_marked_at_its_figure_and_only_there(run, published):
    add_figure(published)
    add_figure(published, "lengths")
    entry = provenance.describe_sources([(run / "04_sequential_scaling", "tests.parquet")], "tiny")
    provenance.write(published / "data", dict.fromkeys(("funnel", "lengths"), entry))
    assert "edited by hand" not in Reader(write(run)).text
    path = published / "data" / "funnel.csv"
    path.write_text(path.read_text().replace("900", "90000"))
    text = write(run)
    assert Reader(text).text.count("The table funnel.csv was edited by hand.") == 1
    assert "lengths.csv was edited" not in Reader(text).text
    figure = re.search(r'<figure id="figure-funnel">.*?</figure>', text, re.DOTALL)[0]
    assert "edited by hand" in figure


def test_a_published_table_of_an_earlier_state_of_the_run_is_marked(run, published):
    add_figure(published)
    source = run / "04_sequential_scaling"
    entry = provenance.describe_sources([(source, "tests.parquet")], "tiny")
    provenance.write(published / "data", {"funnel": entry})
    assert "isn't made from the run" not in Reader(write(run)).text
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["key"]["params"]["seed"] = 2
    (source / "manifest.json").write_text(json.dumps(manifest))
    assert "The table funnel.csv isn't made from the run as it is now." in Reader(write(run)).text


@pytest.fixture
def traced(run):
    """The run, with the table that its figure is made of."""
    funnel = pd.DataFrame({"step": ["all", "selected"], "left": [900, 3]})
    write_table(run / "02_filter" / "funnel.parquet", funnel)
    for stage in study.NOTEBOOKS[1:]:
        page_runs.write_manifest(run / stage, run)
    return run


def test_a_runs_own_table_that_its_stage_gives_again_is_unmarked_and_any_other_is_marked(traced):
    assert "funnel.csv isn't" not in Reader(write(traced)).text
    path = traced / "figures" / "data" / "funnel.csv"
    path.write_text(path.read_text().replace("900", "90000"))
    figure = re.search(r'<figure id="figure-funnel">.*?</figure>', write(traced), re.DOTALL)[0]
    assert "The table funnel.csv isn't what the run's tables give: it was edited by hand" in Reader(figure).text


def test_a_table_that_can_not_be_made_again_says_so(run):
    assert "The table funnel.csv can't be made from the run's tables again" in Reader(write(run)).text


def test_figures_published_from_another_run_of_the_profile_are_not_this_ones(run, published):
    add_figure(published, "lengths")
    source = {"other/02_filter/funnel": {"table": "funnel.parquet", "samples": {}}}
    provenance.write(published / "data", {"lengths": {**provenance.NO_RUN, "profile": "tiny", "stages": source}})
    text = Reader(write(run)).text
    assert "From the run's own figures/" in text
    assert "lengths.csv" not in text


# ------------------------------------------------------------------ hostile and large


@pytest.fixture
def hostile(runs, published):
    """A run in which every text is hostile, and a ledger and manifest too."""
    tests, rows = page_runs.make_questions(2)
    rows = [{**row, "thinking": HOSTILE, "answer": HOSTILE + "1", "thinking_ids": None} for row in rows]
    folder = page_runs.write_run(runs / "tiny", tests.assign(question=HOSTILE, domain=HOSTILE), rows, model=HOSTILE)
    add_figure(folder / "figures", svg=f"<svg><title>{html.escape(HOSTILE)}</title><script>alert(3)</script></svg>")
    (folder / "figures" / "data" / "funnel.csv").write_text(f'step,left\n"{HOSTILE}",1\n', "utf-8")
    page_runs.make_ledger(HOSTILE).to_csv(folder / "figures" / "data" / "ledger.csv", index=False)
    for manifest in folder.glob("*/manifest.json"):
        facts = json.loads(manifest.read_text())
        facts |= {"commit": HOSTILE, "versions": {HOSTILE: HOSTILE}, "hardware": {HOSTILE: HOSTILE}}
        facts["key"]["params"] = {HOSTILE: HOSTILE}
        manifest.write_text(json.dumps(facts))
    return folder


def test_nothing_hostile_becomes_markup(hostile, run):
    page_runs.make_ledger().to_csv(run / "figures" / "data" / "ledger.csv", index=False)
    elements = Reader(write(hostile)).elements
    plain = {tag for tag, _ in Reader(write(run)).elements}
    assert {tag for tag, _ in elements} <= plain
    assert [tag for tag, _ in elements].count("script") == 2
    assert not [name for _, attrs in elements for name in attrs if name.startswith("on") or name == "style"]
    assert all(attrs["src"].startswith("data:image/svg+xml;base64,") for tag, attrs in elements if tag == "img")
    assert all(attrs["href"].startswith("#") for tag, attrs in elements if tag == "a")


def test_hostile_texts_reach_the_data_as_they_were(hostile):
    data = read_data(write(hostile))
    assert all(entry[0].startswith("</script><script>alert(1)</script><!--") for entry in data["questions"])


@pytest.mark.parametrize("element", ["script", "style"])
def test_the_policy_allows_the_pages_own_script_and_style_by_their_hashes_and_no_network(run, element):
    text = write(run)
    content = re.search(f"<{element}>(.*?)</{element}>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].split("; ")
    assert policy[0] == "default-src 'none'"
    assert f"{element}-src 'sha256-{digest}'" in policy
    assert "img-src data:" in policy
    assert len(policy) == 6


def test_the_pages_script_has_no_way_from_text_to_markup_or_code_and_no_address():
    script = page_shell.read_script()
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|DOMParser|fetch\(", script
    )
    assert re.findall(r"https?://[^\"]*", script) == ["http://www.w3.org/1998/Math/MathML"]  # a name, never loaded
    assert not re.findall(r"url\(|@import|https?:", page_shell.read_asset("explorer.css"))
    assert "</" not in script


def measure_light(colour):
    """Relative luminance of #rgb or #rrggbb, as WCAG defines it."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_a_text_has_contrast_with_what_is_behind_it(scheme):
    themes = re.findall(r":root \{([^}]*)\}", page_shell.read_asset("explorer.css"))
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", themes[scheme]))
    pairs = [(ink, back) for ink in ("ink", "soft", "blue", "cut", "right", "wrong") for back in ("page", "card")]
    for ink, back in [*pairs, ("wait-ink", "wait")]:
        light = sorted(measure_light(colours[name]) for name in (ink, back))
        assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5, f"{ink} on {back}"


@pytest.mark.parametrize("largest", [300_000, 500_000])
def test_the_page_never_exceeds_its_bound_and_says_how_many_questions_it_shows(run, monkeypatch, largest):
    tests, rows = page_runs.make_questions(60)
    rows = [{**row, "thinking": make_noise(row["question_id"]), "thinking_ids": None} for row in rows]
    page_runs.write_run(run, tests, rows)
    monkeypatch.setattr(page, "LARGEST_PAGE", largest)
    text = write(run)
    assert len(text.encode()) <= largest
    data = read_data(text)
    assert 5 < len(data["questions"]) < 60
    assert f"{len(data['questions'])} of 60 questions" in Reader(text).text


def test_of_more_traces_than_can_be_read_as_many_are_read_as_their_tokens_allow_and_all_are_counted(run, monkeypatch):
    tests, rows = page_runs.make_questions(12)
    page_runs.write_run(run, tests, rows)
    read = [row["question_id"] for row in explorer.order_by_hash(tests)][:5]
    tokens = [row["thinking_tokens"] for row in [*rows, rows[0]] if row["question_id"] in read]  # and one sample's
    monkeypatch.setattr(page_traces, "MOST_TOKENS", sum(tokens))
    found = page_traces.read_traces(page_run.read_run("tiny"))
    assert set(found.graded["question_id"]) == set(read)
    assert "5 of 12 questions" in Reader(write(run)).text


def make_noise(name, length=3_000):
    import random

    rng = random.Random(name)
    return "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(length))


def test_figures_that_would_make_the_page_too_large_are_left_out_by_name(run, monkeypatch):
    monkeypatch.setattr(page_sections, "FIGURE_BYTES", 300)
    add_figure(run / "figures", "lengths", svg=f"<svg>{'x' * 1000}</svg>")
    read = Reader(write(run))
    assert read.count("img") == 1
    assert "Left out, because the page may not grow larger: lengths." in read.text


def test_a_long_table_shows_its_beginning_and_says_how_long_it_is(run):
    rows = "".join(f"row {i},{i}\n" for i in range(500))
    (run / "figures" / "data" / "funnel.csv").write_text("step,left\n" + rows)
    text = Reader(write(run)).text
    assert f"the first {page_sections.TABLE_ROWS} of 500 rows" in text
    assert "row 39" in text
    assert "row 40" not in text


def test_claims_and_figures_that_leave_no_room_are_refused(run, monkeypatch):
    monkeypatch.setattr(page, "LARGEST_PAGE", 50_000)
    with pytest.raises(StudyError, match="leave no room"):
        write(run)
    assert not (run / "report.html").exists()


def test_a_placeholder_in_a_part_is_not_filled():
    assert "{{style}}" in page_shell.write_document("t", "<p>{{style}} {{other}}</p>")


def test_the_frame_of_a_notebook_is_the_same_page(run):
    traces = page_traces.read_traces(page_run.read_run("tiny"))
    shown = explorer.show(traces.tests, traces.graded, traces.samples)._repr_html_()
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    outer = write(run)
    for element in ("script", "style"):
        contents = [re.search(f"<{element}>(.*?)</{element}>", text, re.DOTALL)[1] for text in (inner, outer)]
        assert contents[0] == contents[1]
    assert read_data(inner)["packs"] == read_data(outer)["packs"]


def test_the_columns_that_the_page_needs_are_those_of_the_committed_ledger():
    path = paths.FIGURES / "data" / "ledger.csv"
    if not path.exists():
        pytest.skip("no ledger was published yet")
    assert set(page_run.LEDGER) <= set(pd.read_csv(path, nrows=1).columns)
