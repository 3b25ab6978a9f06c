"""The report in a real browser: read, slid, filtered, by keyboard, on a phone, without scripts, and under attack.

Chromium is the system's own (chromium, google-chrome, or S1_CHROMIUM); nothing is downloaded. Skipped where there is
none, unless S1_REQUIRE_CHROMIUM is 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import page_runs
import pandas as pd
import pytest

from s1_utils import explorer, page, page_traces, paths

TAKE = "document.title='taken'"
HOSTILE = f'</script><script>{TAKE}</script><!-- <img src=x onerror="{TAKE}"> \u2028\u202eabc\x00'
ARABIC = "نفكر خطوة خطوة ثم نجمع العددين.\n"
SERIOUS = ("serious", "critical")


def find_chromium():
    found = os.environ.get("S1_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found and os.environ.get("S1_REQUIRE_CHROMIUM") == "1":
        pytest.fail("no Chromium: install it, or set S1_CHROMIUM to its path")
    if not found:
        pytest.skip("no Chromium here: install it, or set S1_CHROMIUM to its path")
    return found


@pytest.fixture(scope="module")
def browser():
    found = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = playwright.chromium.launch(executable_path=found, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a run with an ordinary question, one of mathematics, a hostile, a right-to-left and a long one."""
    folder = tmp_path_factory.mktemp("report")
    tests, rows = page_runs.make_questions(8)
    samples = page_runs.make_samples(rows)
    texts = {
        1: r"So $\frac{1}{2}x^2 < 3$ and \[ \sqrt{y} \] cost $5." + "\n",
        2: HOSTILE * 30,
        3: ARABIC * 40,
        4: "step by step we think about it once more\n" * 10_000,
    }
    for row in rows:
        number = int(row["question_id"], 16)
        if number in texts:
            share = row["thinking_tokens"] / 64
            row |= {"thinking": texts[number][: max(1, int(share * len(texts[number])))], "thinking_ids": None}
            row |= {"answer": texts[number][:60] + "1", "events": json.dumps(json.loads(row["events"])[-1:])}
    asked = {1: r"What is \(x\)?", 2: HOSTILE, 3: ARABIC}
    tests["question"] = [asked.get(i, text) for i, text in enumerate(tests["question"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S1_RUNS", str(folder))
        (folder / "figures" / "data").mkdir(parents=True)
        patch.setattr(paths, "FIGURES", folder / "figures")
        run = page_runs.write_run(folder / "tiny", tests, rows, samples)
        (run / "figures" / "data").mkdir(parents=True)
        for name in ("funnel.svg", "data/funnel.csv"):
            shutil.copy(paths.ROOT / "figures" / name, run / "figures" / name)
        page_runs.make_ledger().to_csv(run / "figures" / "data" / "ledger.csv", index=False)
        return page.write_report("tiny"), tests, rows


@pytest.fixture
def opened(browser, report):
    """(page, what went wrong in it): opened from disk, offline."""
    yield from open_page(browser, report[0].as_uri())


def open_page(browser, address, **options):
    context = browser.new_context(offline=True, **options)
    tab = context.new_page()
    wrong = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: wrong.append(request.url) if request.url[:5] not in ("file:", "data:") else None)
    tab.goto(address)
    yield tab, wrong
    assert wrong == []
    context.close()


def choose(tab, number):
    name = f"{number:016x}"
    tab.select_option("#question", str(number))
    tab.wait_for_function("name => document.getElementById('explorer-app').dataset.ready === name", arg=name)


def slide(tab, place):
    tab.locator("#slider").evaluate(
        "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        place,
    )


def read_trace(tab):
    """What stands in the trace's box, without the tags and with invisible signs left out."""
    return tab.evaluate(
        """() => [...document.querySelectorAll('#trace .block')].map((block) => {
          const copy = block.cloneNode(true);
          for (const tag of copy.querySelectorAll('.tag, .hidden-sign')) tag.remove();
          return copy.textContent;
        }).join('')"""
    )


@pytest.mark.parametrize(("required", "outcome"), [("1", "Failed"), ("", "Skipped")])
def test_without_a_chromium_these_tests_are_skipped_unless_one_is_required(monkeypatch, required, outcome):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("S1_CHROMIUM", "")
    monkeypatch.setenv("S1_REQUIRE_CHROMIUM", required)
    try:
        find_chromium()
    except BaseException as raised:  # pytest's own outcomes are no Exceptions
        assert type(raised).__name__ == outcome  # noqa: PT017
    else:
        raise AssertionError("it found one")


# ------------------------------------------------------------------ reading


def test_the_page_opens_from_disk_without_errors_and_loads_nothing(opened):
    tab, _ = opened
    tab.wait_for_selector("#explorer-app[data-ready]")
    assert tab.title() == "s1-study: tiny"
    assert tab.locator("figure img").evaluate("image => image.complete && image.naturalWidth > 0")


def test_every_setting_of_the_slider_shows_the_stored_trace_and_answer(opened, report):
    tab, _ = opened
    stored = {row["setting"]: row for row in report[2] if row["question_id"] == f"{0:016x}"}
    data = json.loads(tab.locator("#explorer-data").text_content())
    choose(tab, 0)
    for number, one in enumerate(data["series"][:3]):
        tab.select_option("#series", str(number))
        for place, (setting, label) in enumerate(one["settings"]):
            slide(tab, place)
            row = stored[setting]
            assert read_trace(tab) == row["thinking"]
            assert tab.locator("#trace .answer .text").text_content() == row["answer"].strip()
            verdict = "✓ right" if row["answer"].endswith("1") else "✗ wrong"
            assert tab.locator("#status").text_content().startswith(f"{label}: answer {row['answer'][-1]} {verdict}")
            waits = json.loads(row["events"])[:-1]
            assert tab.locator("mark.wait").count() == len(waits)
            for mark, (_, token) in zip(tab.locator("mark.wait").all(), waits, strict=True):
                assert mark.text_content() == f"▸ end suppressed at {token}, forced: {page_runs.WAIT}"
            ending = tab.locator("#trace .ending").text_content()
            assert ("the end of thinking is forced, and “Final Answer:” after it" in ending) == (
                row["finish"].startswith("forced")
            )
            assert ("Cut here" in ending) == row["finish"].startswith("forced")
            assert ("ends its thinking here" in ending) == row["finish"].startswith("natural")


def test_a_changed_answer_is_announced_with_what_it_was(opened):
    tab, _ = opened
    choose(tab, 0)
    slide(tab, 0)
    slide(tab, 1)
    status = tab.locator("#status")
    assert status.get_attribute("role") == "status"
    assert status.text_content() == "16 tokens: answer 1 ✓ right; it was 2 ✗ wrong."


def test_the_votes_of_a_question_are_counted_and_the_right_answer_is_marked_in_words(opened):
    tab, _ = opened
    choose(tab, 0)
    rows = [row.inner_text().split() for row in tab.locator("#votes tbody tr").all()]
    assert rows == [["0", "2", "✗", "wrong"], ["1", "2", "✓", "right"]]
    assert tab.locator("#votes caption").inner_text() == "natural end, 4 samples: a tie of 0 and 1"


def test_questions_are_found_by_words_and_by_what_the_slider_does_to_them(opened):
    tab, _ = opened
    options = tab.locator("#question option")
    assert options.count() == 8
    tab.fill("#search", "0000000000000005")
    tab.wait_for_function("() => document.querySelectorAll('#question option').length === 1")
    tab.wait_for_function("() => document.getElementById('explorer-app').dataset.ready === '0000000000000005'")
    tab.fill("#search", "nothing like this")
    tab.wait_for_function("() => document.querySelectorAll('#question option').length === 0")
    assert tab.locator("#count").text_content() == "0 of 8 questions"
    tab.fill("#search", "")
    tab.select_option("#filter", "right")
    right = {row["question_id"] for row in page_runs.make_questions(8)[1]}
    assert options.count() < len(right)


def test_the_table_of_numbers_is_filtered_by_words_and_status(opened):
    tab, _ = opened
    shown = tab.locator("#numbers tbody tr:visible")
    assert shown.count() == 3
    tab.select_option("#numbers-status", "can't be run")
    assert shown.count() == 1
    assert tab.locator("#numbers-count").text_content() == "1 of 3 numbers"
    tab.fill("#numbers-search", "no such words")
    assert shown.count() == 0


def test_formulas_are_drawn_as_mathematics_and_can_be_read_as_latex(opened):
    tab, _ = opened
    choose(tab, 1)
    slide(tab, 2)
    assert tab.locator("#asked math mi").text_content() == "x"
    tab.select_option("#series", "2")
    slide(tab, 2)
    assert tab.locator("#trace .block math").first.evaluate("element => element.namespaceURI") == (
        "http://www.w3.org/1998/Math/MathML"
    )
    assert tab.locator("#trace .block math mfrac").count() == 1
    tab.uncheck("#maths")
    assert tab.locator("math").count() == 0
    assert tab.locator("#asked code").text_content() == r"\(x\)"


# ------------------------------------------------------------------ hostile, foreign and long


def test_a_hostile_trace_stays_text_and_shows_its_invisible_signs(opened, report):
    tab, _ = opened
    choose(tab, 2)
    tab.select_option("#series", "2")
    slide(tab, 2)
    own = next(row for row in report[2] if row["question_id"] == f"{2:016x}" and row["setting"].endswith(":2"))
    for sign in "\u2028\u202e\x00":
        own = {**own, "thinking": own["thinking"].replace(sign, "")}
    assert read_trace(tab) == own["thinking"]
    assert tab.title() == "s1-study: tiny"
    assert tab.locator("#explorer img, #explorer-app script").count() == 0
    signs = tab.locator("#trace .block .hidden-sign").all_text_contents()
    assert signs[:2] == ["U+2028 U+202E", "U+0000"]
    assert "⟨U+202E⟩" in tab.locator("#question option").nth(2).text_content()


def test_a_trace_of_another_direction_runs_its_way_and_turns_nothing_else(opened):
    tab, _ = opened
    choose(tab, 3)
    slide(tab, 2)
    assert tab.locator("#asked").evaluate("element => getComputedStyle(element).direction") == "rtl"
    block = tab.locator("#trace .block").first
    assert block.get_attribute("dir") == "auto"
    assert block.evaluate("element => getComputedStyle(element).unicodeBidi") in ("plaintext", "isolate")
    assert tab.locator("#status").evaluate("element => getComputedStyle(element).direction") == "ltr"
    assert tab.locator("#trace .ending").evaluate("element => getComputedStyle(element).direction") == "ltr"


def test_a_trace_of_100_000_words_is_whole_and_drawn_only_where_it_is_seen(opened, report):
    tab, _ = opened
    choose(tab, 4)
    tab.select_option("#series", "2")
    slide(tab, 2)
    own = next(row for row in report[2] if row["question_id"] == f"{4:016x}" and row["setting"].endswith(":2"))
    assert len(own["thinking"].split()) > 60_000
    assert read_trace(tab) == own["thinking"]
    drawn = tab.evaluate(
        "() => [...document.querySelectorAll('#trace .block')].filter((block) => block.isDressed).length"
    )
    assert drawn < tab.locator("#trace .block").count() / 2
    assert tab.locator("#trace .ending").is_visible()


# ------------------------------------------------------------------ for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious(browser, report, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for tab, _ in open_page(browser, report[0].as_uri(), **options):
        for number in (0, 1, 2, 3):
            choose(tab, number)
            tab.select_option("#series", "0" if number else "2")
            slide(tab, 2)
            found = Axe().run(tab).response["violations"]
            assert [(one["id"], one["nodes"][0]["target"]) for one in found if one["impact"] in SERIOUS] == []


def test_on_a_phone_nothing_makes_the_page_wider_than_it_is(browser, report):
    for tab, _ in open_page(browser, report[0].as_uri(), viewport={"width": 360, "height": 740}):
        for number in range(5):
            choose(tab, number)
            slide(tab, 2)
            assert tab.evaluate("() => document.scrollingElement.scrollWidth") <= 360


def test_everything_can_be_done_with_the_keyboard_and_the_focus_is_seen(opened):
    tab, _ = opened
    tab.wait_for_selector("#explorer-app[data-ready]")
    reached = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        focus = tab.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.id || e.tagName, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; }"
        )
        if focus[0] == "BODY":
            break
        reached.append(focus[0])
        assert focus[1], f"{focus[0]} doesn't show that it has the focus"
    wanted = "numbers-search numbers-status search filter question series slider trace".split()
    assert [name for name in reached if name in wanted] == wanted
    tab.focus("#slider")
    before = tab.locator("#status").text_content()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#status").text_content() != before
    assert tab.locator("#slider").get_attribute("aria-valuetext") == "16 tokens"
    tab.focus("#question")
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("() => document.getElementById('explorer-app').dataset.ready === '0000000000000001'")


def test_without_scripts_claims_and_figures_show_and_the_explorer_says_why_it_does_not(browser, report):
    for tab, _ in open_page(browser, report[0].as_uri(), java_script_enabled=False):
        assert tab.get_by_text("More thinking helps").first.is_visible()
        assert tab.locator("#numbers tbody tr").count() == 3
        assert tab.locator("figure img").bounding_box()["height"] > 50
        assert tab.locator("noscript p").text_content().startswith("The trace explorer needs JavaScript")
        assert tab.locator("noscript p").bounding_box()["height"] > 10
        assert not tab.locator("#numbers-form").is_visible()


def test_a_browser_that_can_not_unpack_the_traces_is_told_so(browser, report):
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    tab = context.new_page()
    tab.goto(report[0].as_uri())
    assert "use a newer one" in tab.locator("#explorer-app").text_content()
    context.close()


# ------------------------------------------------------------------ in a notebook


def show_frame():
    tests, rows = page_runs.make_questions(3)
    graded = page_traces.join_verdicts(pd.DataFrame(rows), page_runs.grade(rows))
    return explorer.show(tests, graded)


def test_the_frame_of_a_notebook_works_inside_another_page_and_can_not_reach_it(browser, tmp_path):
    (tmp_path / "outer.html").write_text(f"<!doctype html><title>outer</title>{show_frame()._repr_html_()}", "utf-8")
    for tab, _ in open_page(browser, (tmp_path / "outer.html").as_uri()):
        inner = tab.frame_locator("iframe")
        inner.locator("#explorer-app[data-ready]").wait_for()
        before = inner.locator("#status").text_content()
        inner.locator("#slider").press("ArrowLeft")
        assert inner.locator("#status").text_content() != before
        assert inner.locator("h1").text_content() == "Trace explorer"
        frame = tab.frames[1]
        assert frame.evaluate("() => { try { return parent.document.title } catch (error) { return error.name } }") == (
            "SecurityError"
        )


CELLS = """
import page_runs, pandas as pd
from s1_utils import explorer, page_traces
tests, rows = page_runs.make_questions(3)
explorer.show(tests, page_traces.join_verdicts(pd.DataFrame(rows), page_runs.grade(rows)))
"""


def write_notebook(path, outputs=()):
    cell = {
        "cell_type": "code", "id": "a", "metadata": {}, "source": CELLS.strip(), "execution_count": None,
        "outputs": list(outputs),
    }  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}), "utf-8")


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab with one notebook to run and one that was run elsewhere, so isn't trusted."""
    find_chromium()
    write_notebook(tmp_path / "mine.ipynb")
    data = {"text/html": show_frame()._repr_html_(), "text/plain": "Trace explorer"}
    output = {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}
    write_notebook(tmp_path / "elsewhere.ipynb", [output])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {name: str(tmp_path / name) for name in ("config", "data", "runtime")}
    environment = {
        **os.environ, "PYTHONPATH": f"{paths.ROOT}{os.pathsep}{Path(__file__).parent}",
        "JUPYTER_CONFIG_DIR": folders["config"], "JUPYTER_DATA_DIR": folders["data"],
        "JUPYTER_RUNTIME_DIR": folders["runtime"], "JUPYTERLAB_SETTINGS_DIR": folders["config"],
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=secret", f"--ServerApp.root_dir={tmp_path}"]
    with open(tmp_path / "lab.log", "wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for_server(f"http://127.0.0.1:{port}/api?token=secret", process, tmp_path / "lab.log")
            yield f"http://127.0.0.1:{port}/doc/tree/{{}}?token=secret&reset"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):  # it may wait for a kernel that never came up
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_server(address, process, log):
    for _ in range(300):
        assert process.poll() is None, log.read_text("utf-8")
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text("utf-8"))


@pytest.mark.slow
def test_in_jupyterlab_a_run_cell_shows_the_explorer_and_its_slider_works(browser, lab):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(lab.format("mine.ipynb"))
    tab.get_by_text("| Idle").first.wait_for(timeout=120_000)  # its kernel is there
    tab.locator(".jp-CodeCell .cm-content").first.click()
    tab.keyboard.press("Shift+Enter")
    inner = tab.frame_locator(".jp-OutputArea iframe")
    inner.locator("#explorer-app[data-ready]").wait_for(timeout=120_000)
    before = inner.locator("#status").text_content()
    inner.locator("#slider").press("ArrowLeft")
    assert inner.locator("#status").text_content() != before
    assert inner.locator("#trace .block").first.text_content()
    context.close()


@pytest.mark.slow
def test_in_jupyterlab_a_notebook_that_is_not_trusted_says_why_there_is_no_explorer(browser, lab):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(lab.format("elsewhere.ipynb"))
    output = tab.locator(".jp-OutputArea-output").first
    output.wait_for(timeout=90_000)
    assert "isn't trusted" in output.inner_text()
    assert tab.locator(".jp-OutputArea iframe").count() == 0
    context.close()
