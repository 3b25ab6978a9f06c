"""Cards say what the run's tables and manifests say and nothing else, and nothing foreign gets out of its block."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import finished_runs
import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from s1_utils import card_parts, cards, dataset_card, model_card, params, paths, study
from s1_utils.errors import StudyError
from s1_utils.store import hash_file

HOSTILE = (
    "```\n# A heading\n<script>alert(1)</script> [a](javascript:alert(1)) | \n---\nlicense: evil\n---\n"
    "\u202eright to left\u202c \x00 \ud800 <!-- {{ card_data }} ````` www.example.org @somebody\n~~~"
)
render = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render  # HTML passes, as on the hub


def write(name="laptop", **options):
    run = cards.read_finished(name)
    written = {path.name: path for path in cards.write_cards(run, paths.find_runs() / "out", **options)}
    return {name: path.read_text("utf-8") for name, path in written.items() if path.suffix == ".md"}


@pytest.fixture
def finished(runs):
    finished_runs.finish_run()
    return runs / "laptop"


# ------------------------------------------------------------------ what cards say


def test_the_results_of_the_model_card_are_those_of_the_curve_with_their_intervals(finished):
    text = write()["model_card.md"]
    results = ModelCard(text).data.eval_results
    curve = pd.read_parquet(finished / "04_sequential_scaling" / "curve.parquet").query("model == 'SFT'")
    assert [result.metric_value for result in results] == [round(100 * value, 2) for value in curve["accuracy"]]
    assert results[0].metric_args == {"interval_95": [66.25, 76.25], "questions": 320, "mean_thinking_tokens": 30.5}
    assert [result.metric_name for result in results] == [
        "accuracy, forced budget of 16 tokens", "accuracy, natural end", "accuracy, “Wait” ×2",
    ]  # fmt: skip
    assert "| natural end | 31.5 | 72.2 [66.2, 76.2] | 320 |" in text
    assert "Guessing gives 26.9 %." in text


def test_the_model_card_names_base_licence_data_and_the_end_of_the_loss(finished):
    text = write()["model_card.md"]
    data = ModelCard(text).data
    assert (data.base_model, data.license) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    assert "| loss of the last step | 0.1250 |" in text
    assert "| `champ` | `MIT` | 2 |" in text
    assert "| `learning_rate` | `0.0003` |" in text
    assert "| tokens | 4,321 |" in text
    assert "0.25 device-hours of training" in text


def test_other_tables_give_other_cards(runs):
    finished_runs.choose("laptop", finished_runs.collect("laptop"))
    finished_runs.train("laptop", losses=(1.0, 0.0625), tokens=7654321, device_hours=9.5)
    finished_runs.evaluate("laptop", accuracy=0.5)
    text = write()["model_card.md"]
    assert "| loss of the last step | 0.0625 |" in text
    assert "| tokens | 7,654,321 |" in text
    assert [result.metric_value for result in ModelCard(text).data.eval_results] == [50.0, 51.0, 52.0]


def test_the_data_set_is_the_subset_in_its_order_with_the_sources_licences(finished):
    text = write()["dataset_card.md"]
    rows = pd.read_parquet(paths.find_runs() / "out" / dataset_card.DATA)
    assert list(rows.columns) == list(dataset_card.COLUMNS)
    assert rows["question"].tolist() == [finished_runs.QUESTIONS[i] for i in (1, 0, 2)]
    assert rows["domain"].unique().tolist() == ["bags"]  # as selected, not as collected
    data = DatasetCard(text).data
    assert data.license == ["apache-2.0", "mit"]
    assert data.size_categories == ["n<1K"]
    assert data.configs[0]["data_files"][0]["path"] == "data/train-*.parquet"
    assert "Of 2 attempts that could be graded, 1 are right; 1 are undecided." in text
    assert "90 thinking tokens in all" in text


def test_the_same_run_gives_the_same_bytes(finished):
    folders = [paths.find_runs() / name for name in ("one", "two")]
    run = cards.read_finished("laptop")
    written = [cards.write_cards(run, folder) for folder in folders]
    assert [*map(hash_file, written[0])] == [*map(hash_file, written[1])]


def test_the_hashes_of_the_card_are_those_of_the_manifests(finished):
    text = write()["model_card.md"]
    for stage in model_card.STAGES:
        manifest = json.loads((finished / stage / "manifest.json").read_text())
        assert f"`{manifest['key']['code'][:16]}`" in text
    outputs = json.loads((finished / "03_sft" / "manifest.json").read_text())["outputs"]
    assert f"model `{outputs['model']['sha256']}`" in text


@pytest.mark.parametrize("name", ["model_card.md", "dataset_card.md"])
def test_what_is_not_known_is_absent(finished, name):
    text = write()[name]
    for said in ("More Information Needed", "More information needed", "[optional]", "<!--", "{{"):
        assert said not in text
    assert not re.search(r"\b(nan|None|NaT)\b", text)
    lines = [line for line in text.splitlines() if line.strip()]
    levels = [len(found[1]) if (found := re.match("(#+) ", line)) else 0 for line in lines]
    for level, following in zip(levels, [*levels[1:], 1], strict=True):
        assert not level or not following or following > level, lines


def test_a_base_model_that_is_not_known_has_no_licence_and_its_folder_is_not_told(runs):
    finished_runs.finish_run(model="/models/secret-place/My-Base")
    text = write()["model_card.md"]
    data = ModelCard(text).data
    assert data.license is None
    assert data.base_model is None
    assert "`…/My-Base`" in text
    assert "secret-place" not in text
    assert ModelCard(write(licence="mit")["model_card.md"]).data.license == "mit"


def test_a_licence_of_its_own_is_named_and_linked(runs):
    finished_runs.finish_run(model="Qwen/Qwen2.5-3B-Instruct")
    data = ModelCard(write()["model_card.md"]).data
    assert (data.license, data.license_name) == ("other", "qwen-research")
    assert data.license_link.startswith("https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/")


def test_a_stage_that_is_not_finished_gives_no_results_and_is_named(runs):
    finished_runs.choose("laptop", finished_runs.collect("laptop"))
    finished_runs.train("laptop")
    finished_runs.evaluate("laptop", is_finished=False)
    text = write()["model_card.md"]
    assert ModelCard(text).data.eval_results is None
    assert "`04_sequential_scaling` is left out: it was started but didn't finish" in text
    assert "72.2" not in text


def test_results_of_another_model_are_left_out(finished):
    shutil.rmtree(finished / "03_sft")
    finished_runs.train("laptop", losses=(3.0, 2.0), files={"config.json": '{"other": 1}'})
    text = write()["model_card.md"]
    assert ModelCard(text).data.eval_results is None
    assert "was made from another 03_sft/" in text


# ------------------------------------------------------------------ how to make it again


def test_the_commands_are_the_studys_own(finished, monkeypatch):
    text = write()["model_card.md"]
    taken = []
    monkeypatch.setattr(study, "_run_command", lambda chosen: taken.append((chosen.profile, chosen.only)))
    for line in re.findall(r"^python -m s1_utils\.study (.*)$", text, re.MULTILINE):
        assert study.main(line.split()) == 0
    assert taken == [("laptop", stage) for stage in (*model_card.STAGES, "04_sequential_scaling")]


def test_parameters_that_the_profile_does_not_give_are_listed(runs):
    finished_runs.finish_run(seed=77)
    text = write()["model_card.md"]
    assert "`01_collect` had other parameters than its profile" in text
    assert f"| `seed` | `{params.load_profile(params.CollectParams, 'laptop').seed}` | `77` |" in text


def test_changes_that_were_not_committed_are_told(finished):
    for stage in (*model_card.STAGES, "04_sequential_scaling"):
        finished_runs.edit_manifest(finished / stage, dirty=False)
    assert "not committed" not in write()["model_card.md"]
    finished_runs.edit_manifest(finished / "03_sft", dirty=True)
    assert "The working tree had changes that were not committed" in write()["model_card.md"]
    assert "not committed" not in write()["dataset_card.md"]  # its stages were made before


@pytest.mark.slow
def test_the_code_of_the_model_card_runs(finished):
    from s1_utils import models

    code = re.search(r"```python\n(.*?)```", write()["model_card.md"], re.DOTALL)[1]
    code = code.replace("FOLDER", str(models.resolve_model("random-llama")), 1).replace("\n[(", "\nprint([(")
    done = subprocess.run(
        [sys.executable, "-c", code.rstrip() + ")"], cwd=paths.ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Setting(control='cut', budget=64" in done.stdout


# ------------------------------------------------------------------ foreign text


def read_code(page):
    """What a rendered page shows inside code, and the page without it."""
    found = re.findall(r"<code[^>]*>(.*?)</code>", page, re.DOTALL)
    return found, re.sub(r"<code[^>]*>.*?</code>", "", page, flags=re.DOTALL)


def test_a_hostile_trace_stays_in_its_block_and_changes_no_metadata(runs):
    finished_runs.finish_run(traces=("a", HOSTILE.replace("\ud800", ""), "c", "d"))
    text = write()["dataset_card.md"]
    assert DatasetCard(text).data.license == ["apache-2.0", "mit"]
    assert len(list(yaml.safe_load_all(text.split("---\n")[1]))) == 1
    _, outside = read_code(render(text.split("---\n", 2)[2]))
    for bad in ("<script", "alert", "A heading", "javascript", "example.org", "@somebody"):
        assert bad not in outside
    assert not set(text) & {"\u202e", "\u202c", "\x00"}


@given(st.text(max_size=200))
@example(HOSTILE)
@example("`" * 50)
@example("\n```\n")
def test_any_text_is_one_block_of_code_and_nothing_else(text):
    page = render(card_parts.write_block(text))
    assert page.count("<pre><code") == 1
    _, outside = read_code(page)
    assert outside.strip() == "<pre></pre>"


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
@example([HOSTILE, "|", "\\|", "`a|b`"])
@example(["\\", "|"])
def test_any_text_is_one_cell_of_a_table(cells):
    page = render(card_parts.write_table([[card_parts.write_code(cell) for cell in cells]], ["x"] * len(cells)))
    assert page.count("<td>") == len(cells)
    _, outside = read_code(page)
    assert not re.sub(r"</?(table|thead|tbody|tr|td|th)>|x|\s", "", outside)


def test_names_of_sources_and_domains_can_be_hostile_too(runs):
    questions = finished_runs.make_questions(sources=("a|b<script>", "c`d", "e\nf", "g"))
    finished_runs.finish_run(questions=questions)
    for text in write().values():
        _, outside = read_code(render(text.split("---\n", 2)[2]))
        assert "<script" not in outside


def test_long_texts_are_cut_and_say_so():
    shown = card_parts.write_block("x" * 10_000)
    assert len(shown) < 5000
    assert "… (6,000 more characters)" in shown


def test_places_and_hosts_are_not_told():
    hidden = card_parts.hide_places(
        {"a": ["/data/q.jsonl", "Qwen/Q@http://node7:8000/v1"], "b": "~/x/y", "c": "C:\\Users\\me\\q.parquet", "d": 1}
    )
    assert hidden == {"a": ["…/q.jsonl", "Qwen/Q@http://…/v1"], "b": "…/y", "c": "…/q.parquet", "d": 1}
    assert card_parts.hide_places(hidden) == hidden


# ------------------------------------------------------------------ bad input


def test_a_run_that_is_not_there_names_those_that_are(finished, capsys):
    assert cards.main(["lapdog"]) == 1
    error = capsys.readouterr().err
    assert "there are laptop" in error
    assert "make study PROFILE=lapdog" in error


@pytest.mark.parametrize("stage", model_card.STAGES)
def test_a_run_that_is_half_finished_is_refused_with_the_command_that_goes_on(finished, stage):
    (finished / stage / "manifest.json").unlink()
    with pytest.raises(StudyError, match=rf"{stage} of laptop was started but didn't finish: .* --only {stage}"):
        cards.read_finished("laptop")


def test_a_table_edited_by_hand_is_refused(finished):
    table = pd.read_parquet(finished / "04_sequential_scaling" / "curve.parquet")
    table.assign(accuracy=1.0).to_parquet(finished / "04_sequential_scaling" / "curve.parquet")
    with pytest.raises(StudyError, match=r"isn't what the stage wrote.*--force"):
        write()


def test_stages_of_different_runs_are_refused(finished):
    shutil.rmtree(finished / "01_collect")
    finished_runs.collect("laptop", traces=("other", "b", "c", "d"))
    with pytest.raises(StudyError, match=r"02_filter of laptop was made from another 01_collect/traces\.parquet"):
        cards.read_finished("laptop")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}'])
def test_a_damaged_manifest_is_refused(finished, content):
    (finished / "03_sft" / "manifest.json").write_text(content)
    with pytest.raises(StudyError, match="isn't a manifest"):
        cards.read_finished("laptop")


def test_the_command_writes_both_cards_and_the_rows(finished, tmp_path, capsys):
    assert cards.main(["laptop", "--out", str(tmp_path / "cards")]) == 0
    written = {path.relative_to(tmp_path / "cards").as_posix() for path in (tmp_path / "cards").rglob("*.*")}
    assert written == {"model_card.md", "dataset_card.md", dataset_card.DATA}
    assert "05_parallel_scaling is left out: it was not run" in capsys.readouterr().out


def test_a_run_on_other_questions_takes_its_model_from_its_profile(runs):
    finished_runs.finish_run()
    finished_runs.evaluate("laptop-aime24", benchmark="aime24", accuracy=0.25)
    run = cards.read_finished("laptop-aime24")
    assert run.profile == "laptop"
    results = ModelCard(model_card.make_card(run, commands=cards.write_commands(run))).data.eval_results
    assert results[0].dataset_type == "simplescaling/aime24_nofigures"
    assert results[0].metric_value == 25.0
    assert "--only 04_sequential_scaling --benchmark aime24" in cards.write_commands(run)


# ------------------------------------------------------------------ the citation


def test_the_citation_file_is_whole():
    cited = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["cff-version"] == "1.2.0"
    paper = cited["references"][0]
    assert {"type", "title", "authors"} <= set(paper)
    assert all({"family-names", "given-names"} <= set(author) for author in paper["authors"])
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:2501.19393", "description": "arXiv"}]
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    written = re.sub(r"\s+", " ", card_parts.BIBTEX)
    assert " and ".join(names) in written
    assert " and ".join(names) in (paths.ROOT / "README.md").read_text("utf-8")
