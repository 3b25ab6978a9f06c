"""How long a report takes to write, how large it is, and how quick and accessible it is in a real Chromium. Not a test.

    python tests/bench/bench_report.py [--quick]

A made-up run of 300 questions x 12 settings, its longest trace of 100,000 tokens. Prints one JSON object a line (name,
value, goal, holds, and unit or note where they help), progress to stderr; exits 1 if a goal falls short. `--quick`:
fewer moves of the slider and openings of the page.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import page_runs
from reporting import finish, report, say

from s1_utils import models, page_math, paths

QUESTIONS, LONG, LONGEST = 300, 4_000, 100_000  # questions; tokens of every tenth trace, and of one
BUDGETS, WAITS = (64, 256, 1024, 4096), (0, 1, 2, 4)  # of budget and cut, and of wait: 12 settings
SEED, VOCABULARY = 1, 3_000
MEASURE = """async (place) => {
  const slider = document.getElementById('slider'), start = performance.now();
  slider.value = place;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  document.getElementById('trace').getBoundingClientRect();
  const computed = performance.now() - start;
  await new Promise((done) => requestAnimationFrame(() => { const channel = new MessageChannel();
    channel.port1.onmessage = done; channel.port2.postMessage(0); }));
  return [computed, performance.now() - start];
}"""  # a message posted in a frame's callback arrives after that frame was painted


def make_run(folder: Path, questions: int) -> Path:
    """The run of the goals, with the tokenizer of the study's own small model."""
    rng = random.Random(SEED)
    tokenizer_folder = models.resolve_model("random-llama")
    tokenizer = models.load_tokenizer(tokenizer_folder)
    wait, formula = tokenizer.encode(page_runs.WAIT), tokenizer.encode(r" so $\frac{1}{2}x_1^2$ is")
    known = [token for token in range(len(tokenizer)) if tokenizer.decode([token])[1:].isalpha()]
    words = rng.sample(known, VOCABULARY)  # so many that a page of them compresses as text does, by 3 to 4
    newline = tokenizer.encode(".\n")

    def think(tokens: int) -> list[int]:
        ids: list[int] = []
        while len(ids) < tokens:
            ids += rng.choices(words, k=12) + (formula if rng.random() < 0.1 else []) + newline
        return ids[:tokens]

    rows: list[dict[str, Any]] = []
    names = [f"{number:016x}" for number in range(questions)]
    for number, name in enumerate(names):
        length = LONGEST if number == 0 else LONG if number % 10 == 0 else rng.randrange(200, 900)
        segments = [think(length // 5) for _ in range(5)]
        options = {"budgets": BUDGETS if number else (1024, 8192, 32768, LONGEST), "waits": WAITS}
        rows += page_runs.make_points(name, segments, wait, lambda ids: tokenizer.decode(list(ids)), **options)
    run = page_runs.write_run(folder / "bench", page_runs.make_tests(names), rows)
    (run / "03_sft" / "model").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        if (tokenizer_folder / name).exists():
            shutil.copy(tokenizer_folder / name, run / "03_sft" / "model" / name)
    shutil.copytree(paths.ROOT / "figures", run / "figures")
    return run


def measure_writing(run: Path) -> Path:
    """The report, written by a process of its own, as `make report` does."""
    environment = {**os.environ, "S1_RUNS": str(run.parent)}
    start = time.perf_counter()
    command = [sys.executable, "-m", "s1_utils.page", run.name, "--out", str(run.parent / "report.html")]
    subprocess.run(command, env=environment, cwd=paths.ROOT, check=True, stdout=subprocess.DEVNULL)
    what = f"{QUESTIONS} questions x 12 settings, one of {LONGEST:,} tokens"
    report(f"report of {what}", time.perf_counter() - start, "<= 30", unit="s")
    report(f"size of the report of {what}", (run.parent / "report.html").stat().st_size / 1e6, "<= 5", unit="MB")
    return run.parent / "report.html"


def measure_paint(browser: Any, path: Path, repeats: int) -> None:
    paints = []
    for _ in range(repeats):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        tab = context.new_page()
        tab.goto(path.as_uri())
        tab.wait_for_selector("#explorer-app[data-ready]")
        tab.wait_for_timeout(100)
        paints.append(tab.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"))
        ready = tab.evaluate("() => performance.now() / 1000") - 0.1
        context.close()
    report("first contentful paint, worst", max(paints), "<= 1", unit="s", note=f"explorer ready after {ready:.2f} s")


def measure_slider(browser: Any, path: Path, moves: int) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.goto(path.as_uri())
    data = tab.evaluate(
        "() => JSON.parse(document.getElementById('explorer-data').textContent).questions.map((q) => q[2])"
    )
    rng = random.Random(SEED)
    report("questions in the page", len(data), f">= {QUESTIONS // 2}", note=f"of {QUESTIONS}")
    kinds = {"ordinary traces": [name for name in data if int(name, 16)], f"{LONGEST:,} tokens": [f"{0:016x}"]}
    for kind, names in kinds.items():
        if not set(names) <= set(data):
            report(f"slider, {kind}", None, "<= 50", note="not in the page")
            continue
        times = []
        for _ in range(moves // 12 + 1):
            name = rng.choice(names)
            tab.select_option("#question", str(data.index(name)))
            tab.wait_for_function("name => document.getElementById('explorer-app').dataset.ready === name", arg=name)
            for series in (0, 1, 2):
                tab.select_option("#series", str(series))
                times += [tab.evaluate(MEASURE, place) for place in (0, 3, 1, 2)]
        computed, painted = ([pair[i] for pair in times] for i in (0, 1))
        script = f"p95 without waiting for a frame {quantile(computed):.1f} ms"
        note = f"{len(times)} moves; worst {max(painted):.0f} ms; {script}"
        report(f"slider, {kind}: input to painted change, p95", quantile(painted), "<= 50", unit="ms", note=note)
    tab.close()


def quantile(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def measure_access(browser: Any, path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found = 0
    for scheme, width in (("light", 1280), ("dark", 360)):
        tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
        tab.goto(path.as_uri())
        tab.wait_for_selector("#explorer-app[data-ready]")
        violations = Axe().run(tab).response["violations"]
        found += sum(len(one["nodes"]) for one in violations if one["impact"] in ("serious", "critical"))
        tab.close()
    report("axe: serious and critical findings, light and dark", found, "== 0")


def measure_formulas() -> None:
    """Whether the search for formulas stays linear in texts that open many and close none."""
    worst = 0.0
    for opener in ("$", "$$", r"\[", r"\(", r"\[x", "$x "):
        seconds = []
        for size in (20_000, 400_000):
            start = time.perf_counter()
            list(page_math.find_formulas([opener * (size // len(opener))]))
            seconds.append(time.perf_counter() - start)
        worst = max(worst, seconds[1] / max(seconds[0], 1e-4))
    report("searching hostile texts for formulas, 20 times the text: times as long", worst, "<= 100")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer moves and openings")
    is_quick = parser.parse_args().quick
    found = os.environ.get("S1_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        say("a run")
        run = make_run(Path(folder), QUESTIONS)
        say("its report")
        path = measure_writing(run)
        measure_formulas()
        if found is None:
            say("no Chromium: install it, or set S1_CHROMIUM to its path")
            return finish()
        from playwright.sync_api import sync_playwright

        say("in Chromium")
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=found, args=arguments)
            measure_paint(browser, path, 2 if is_quick else 5)
            measure_slider(browser, path, 120 if is_quick else 600)
            measure_access(browser, path)
            browser.close()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
