"""The ledger: every published number has a row, a real command, and a status that only its own model can change."""

import argparse
import csv
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from claim_stages import edit_json, make_tables, write_claimed, write_data, write_model, write_stage
from hypothesis import given
from hypothesis import strategies as st

from s1_utils import (
    baselines,
    benchmarks,
    claim_places,
    claim_rows,
    claim_rules,
    claim_runs,
    claims,
    figure_tables,
    memory,
    params,
    paths,
    provenance,
    report,
    scaling,
    statements,
    store,
    study,
)
from s1_utils.claim_rules import IMPOSSIBLE, MISSED, NOT_RUN, REPRODUCED, UNDERPOWERED, Found
from s1_utils.errors import StudyError

CLAIMS = claim_rows.list_claims()
BY_ID = {claim.claim_id: claim for claim in CLAIMS}
STAGED = [claim for claim in CLAIMS if claim.place and claim.place.stage]
CELLS = [claim for claim in STAGED if claim.place.measure == "cell"]
POINT = "figure-1/s1-32b-budget-forcing/aime24/2000-tokens"
PLAIN = "table-1/s1-32b/math500"
ASKED = "o1"


# ------------------------------------------------------------------ the published numbers


def test_every_published_number_is_a_claim_with_all_that_its_row_says():
    with open(claim_rows.FILE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CLAIMS) == len(BY_ID) == 232
    for row, claim in zip(rows, CLAIMS, strict=True):
        names = ("where", "system", "benchmark", "setting", "metric")
        assert [row[name] for name in names] == [getattr(claim, name) for name in names]
        assert float(row["value"]) == claim.published
        assert (claim.how_known == "printed") == (row["tag"] == "P")
        assert row["note"].replace(" [I]", "") in claim.note


def test_claim_ids_are_readable_and_dont_depend_on_the_value_or_the_order():
    assert {"table-1/s1-32b/aime24", "table-3/budget-forcing/aime24/scaling", POINT} <= BY_ID.keys()
    row = {"where": "Table 1", "system": "s1-32B", "benchmark": "AIME24", "setting": "", "thinking_tokens": ""}
    assert claim_rows._name_claim({**row, "metric": "accuracy", "value": "1"}) == "table-1/s1-32b/aime24"


def test_what_the_paper_says_elsewhere_about_the_same_thing_is_noted():
    note = BY_ID["table-1/s1-without-budget-forcing/math500"].note
    assert "93 (Table 2)" in note
    assert "91 (Table 8)" in note
    assert "elsewhere" not in BY_ID["table-1/r1/aime24"].note


def test_n_is_what_the_benchmarks_hold():
    counts = benchmarks.list_benchmarks()["questions"]
    for name, n in claim_rules.BENCHMARKS.items():
        assert int(counts[claim_places.BENCHMARKS[name]]) == n
    assert all((claim.n is None) == (claim.benchmark == "") for claim in CLAIMS)


# ------------------------------------------------------------------ rules


@pytest.mark.parametrize(
    ("claim_id", "tolerance"),
    [
        ("table-1/s1-32b/aime24", 100 * 2 / 30 + 0.05),
        ("table-1/s1-32b/math500", 2.05),
        ("table-1/s1-32b/gpqa-diamond", 4.05),
        (POINT, 100 * 2 / 30 + 1),
        ("table-3/budget-forcing/aime24/scaling", 5),
        ("table-3/budget-forcing/aime24/control", 0),
        ("section-2/s1k-funnel/included-outright", 10),
        ("section-2/s1k-funnel/selected", 0),
    ],
)
def test_tolerances_are_those_of_the_written_rules(claim_id, tolerance):
    assert BY_ID[claim_id].tolerance == pytest.approx(tolerance)


def test_a_metric_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="No rule"):
        claim_rules.find_tolerance("speed", "AIME24", published=1.0, is_read=False)


numbers = st.floats(-100, 100)


@given(numbers, st.floats(0.01, 20), numbers, st.floats(0, 50), st.floats(0, 50))
def test_the_status_is_what_the_interval_says_whatever_the_value(published, tolerance, value, below, above):
    low, high = value - below, value + above
    status, why = claim_rules.judge_number(published, tolerance, Found(value, low, high))
    grid = np.linspace(low, high, 101)
    inside = np.abs(grid - published) <= tolerance + 2e-9
    assert (status != REPRODUCED) or inside.all()
    assert (status != MISSED) or not np.any(np.abs(grid - published) < tolerance)
    assert status in (REPRODUCED, MISSED, UNDERPOWERED)
    assert why


def test_an_interval_that_ends_on_the_tolerance_reproduces_and_one_that_crosses_it_is_underpowered():
    assert claim_rules.judge_number(50, 5, Found(50, 45, 55))[0] == REPRODUCED
    assert claim_rules.judge_number(50, 5, Found(50, 44.9, 55))[0] == UNDERPOWERED
    assert claim_rules.judge_number(50, 5, Found(56, 55.1, 60))[0] == MISSED


def test_a_value_without_an_interval_reproduces_nothing():
    assert claim_rules.judge_number(50, 5, Found(50, None, None))[0] == UNDERPOWERED


def test_a_point_at_other_thinking_tokens_is_another_point():
    right = Found(50, 49, 51, tokens=1090)
    assert claim_rules.judge_number(50, 5, right, tokens=1000, tokens_share=0.1)[0] == REPRODUCED
    wrong = replace(right, tokens=1110)
    assert claim_rules.judge_number(50, 5, wrong, tokens=1000, tokens_share=0.1)[0] == MISSED


# ------------------------------------------------------------------ commands


def batched(values, n):
    return [values[i : i + n] for i in range(0, len(values), n)]


class ParsedError(Exception):
    """Carries what a real parser made of a line."""


def parse_line(line, monkeypatch):
    """The namespace of `python -m s1_utils.…`, by the module's own parser, stopped before anything is run."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *arguments, **options):
        raise ParsedError(parse(parser, *arguments, **options))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    words = shlex.split(line)
    assert words[:2] == ["python", "-m"]
    module = {"s1_utils.study": study, "s1_utils.baselines": baselines}[words[2]]
    with pytest.raises(ParsedError) as stopped:
        module.main(words[3:])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    return stopped.value.args[0]


def parse_papermill(line):
    """(run, stage, parameters) of a papermill line, by papermill's own parser and the study's own strict reader."""
    from papermill.cli import papermill

    made, words = line.split(" && ")
    context = papermill.make_context("papermill", shlex.split(words)[1:])
    chosen = context.params
    folder = paths.ROOT / chosen["output_path"]
    assert made == f"mkdir -p {chosen['output_path'].rpartition('/')[0]}"
    assert (paths.ROOT / chosen["notebook_path"]).exists()
    values = yaml.safe_load((paths.ROOT / chosen["parameters_file"][0]).read_text("utf-8"))
    values |= dict(chosen["parameters"])
    for text in chosen["parameters_yaml"]:
        values |= yaml.safe_load(text)
    model = params.MODELS[study.NOTEBOOKS.index(folder.parent.name)]
    return folder.parent.parent.name, folder.parent.name, params.validate_params(model, values)


def locate_command(line, monkeypatch):
    """(run, stage, its parameters) where a command writes."""
    if "papermill" in line:
        *made, last = [" && ".join(pair) for pair in batched(line.split(" && "), 2)]
        found = parse_papermill(last)
        for before in made:  # what the last one reads, in its run
            assert parse_papermill(before)[:2] == (found[0], "04_sequential_scaling")
        return found
    chosen = parse_line(line, monkeypatch)
    if line.startswith("python -m s1_utils.baselines"):
        return "/".join(chosen.out.parts[1:]), "", chosen
    options = {"variant": chosen.variant, "benchmark": chosen.benchmark}
    words = study.write_line(chosen.profile, chosen.only, **options)
    values = params.load_profile(params.MODELS[study.NOTEBOOKS.index(chosen.only)], chosen.profile, chosen.variant)
    changed = {"benchmark": chosen.benchmark} if chosen.benchmark else {}
    return words[2].split("/")[-3], chosen.only, values.model_copy(update=changed)


@pytest.mark.parametrize("claim_id", BY_ID)
def test_every_command_is_real_and_writes_where_the_value_is_looked_for(claim_id, monkeypatch):
    monkeypatch.delenv("S1_RUNS", raising=False)
    claim = BY_ID[claim_id]
    run, stage, chosen = locate_command(claim.command, monkeypatch)
    if claim.place:
        assert (run, stage) == (claim.place.run, claim.place.stage)
    if stage:
        assert claim.profile in params.find_profiles()
        assert getattr(chosen, "benchmark", "") in ("", claim_places.BENCHMARKS.get(claim.benchmark, ""))
        assert claim.n is None or chosen.questions >= claim.n
    else:
        exists = chosen.name in baselines.list_baselines()
        assert claim.profile == (f"baselines/{chosen.name}" if exists else "")
        assert exists != claim.obstacle.startswith("not in this study")
        assert chosen.questions == claim_places.BENCHMARKS[claim.benchmark]


def test_settings_that_are_looked_for_are_settings_that_the_command_asks_for(monkeypatch):
    """Budgets, Waits, strings, lengths asked for and subsets are among the parameters of the run."""
    monkeypatch.delenv("S1_RUNS", raising=False)
    for claim in STAGED:
        chosen = locate_command(claim.command, monkeypatch)[2]
        for rows in claim.place.rows:
            control = rows.get("control", ("",))[0]
            if control == "wait" and claim.place.stage == claim_places.SEQUENTIAL:
                assert set(rows["waits"]) <= set(chosen.waits)
            elif control == "cut":
                assert set(rows["budget"]) <= set(chosen.budgets)
            elif control.startswith("“"):
                assert control.strip("“”") in [text.strip() for text in chosen.strings]
            elif "asked" in rows:
                assert set(rows["asked"]) <= {*chosen.ask_tokens, *chosen.ask_steps}
                assert rows["kind"][0] in chosen.kinds
            elif "budget" in rows:
                assert set(rows["budget"]) <= set(chosen.method_budgets)
            elif "train_length" in rows:
                assert set(rows["train_length"]) <= {*chosen.train_lengths, chosen.max_length}
            elif "model" in rows and rows["model"] != ("SFT",):
                assert rows["model"][0].removesuffix("/0") in chosen.subsets


@pytest.mark.parametrize(
    ("claim_id", "run", "table", "conditions"),
    [
        ("table-1/s1-32b/aime24", "s1-32b-aime24", "curve", {"control": ("wait",), "waits": (4,)}),
        ("table-1/s1-32b/gpqa-diamond", "s1-32b-gpqa_diamond", "curve", {"control": ("wait",), "waits": (2,)}),
        ("table-1/s1-without-budget-forcing/math500", "s1-32b", "curve", {"control": ("wait",), "waits": (0,)}),
        ("table-5/s1.1-wait-x1/aime25", "s1.1-32b-aime25", "curve", {"control": ("wait",), "waits": (1,)}),
        ("table-2/59k-full/aime24", "s1-32b-aime24", "curve", {"model": ("full/0",), "control": ("wait",)}),
        ("table-4/2x-no-string/aime24", "s1-32b-aime24", "methods_curve", {"control": ("“<none>”",)}),
        ("table-8/s1/math500/training-sequence-length-4096", "s1-32b", "lengths", {"train_length": (4096,)}),
        (POINT, "s1-32b-aime24", "curve", {"control": ("cut",), "budget": (2000,)}),
        ("figure-4a/s1-32b-budget-forcing/aime24/wait-x6", "s1-32b-aime24", "curve", {"waits": (6,)}),
        (
            "figure-6/rejection-sampling/aime24/cap-3500", "s1-32b-rejection-aime24",
            "methods_curve", {"control": ("rejection",), "budget": (3500,)},
        ),
        (
            "table-12/step-conditional-budget-forcing/aime24/instructed-16-steps", "s1-32b-conditional-aime24",
            "conditional", {"trained": ("steps",), "kind": ("steps",), "asked": (16,), "enforced": (True,)},
        ),
        (
            "table-11/token-conditional-control/aime24/instructed-1024-tokens", "s1-32b-conditional-aime24",
            "conditional", {"trained": ("tokens",), "kind": ("tokens",), "asked": (1024,), "enforced": (False,)},
        ),
        ("section-2/s1k-funnel/after-difficulty", "s1-32b", "funnel", {"step": ("unsolved",)}),
        ("table-1/r1/aime24", "baselines/deepseek-r1-aime24", "samples", {"model": ("deepseek-r1",)}),
    ],
)  # fmt: skip
def test_a_number_is_looked_for_where_the_paper_says_what_it_is(claim_id, run, table, conditions):
    place = BY_ID[claim_id].place
    assert (place.run, place.table) == (run, table)
    assert conditions.items() <= dict(place.rows[0]).items()


@pytest.mark.parametrize("statement", statements.STATEMENTS, ids=lambda each: each.claim_id)
def test_the_commands_of_statements_are_real(statement, monkeypatch):
    monkeypatch.delenv("S1_RUNS", raising=False)
    assert locate_command(statement.write_command(), monkeypatch)[:2] == (statement.run, statement.stage)
    for profile in ("laptop", "smoke"):
        run, stage, _ = locate_command(statement.write_laptop_command(profile), monkeypatch)
        assert stage == statement.stage
        variant = run.removeprefix(profile).removeprefix("laptop").removeprefix("-")
        tables = {statement.laptop.get(name, name) for name in statement.tables}
        made = figure_tables.VARIANTS[variant] if variant else (stage, figure_tables.TABLES)
        assert made[0] == stage
        assert tables <= made[1].keys()  # publishing that run is what the verdict waits for


def test_obstacles_are_true():
    for claim in CLAIMS:
        if claim.obstacle.startswith("retired"):
            assert baselines.read_baseline(claim.profile.partition("/")[2]).retired in claim.obstacle
    assert {claim.system for claim in CLAIMS if claim.obstacle.startswith("retired")} == {
        "o1", "o1-mini", "o1-preview", "Gemini 2.0 Flash Thinking",
    }  # fmt: skip


def test_the_models_that_are_meant_are_those_of_the_profiles_today():
    for claim in CLAIMS:
        name = claim.profile.partition("baselines/")[2]
        if name in baselines.list_baselines():
            assert baselines.read_baseline(name).model == claim.model
        elif claim.profile in claim_runs.RECIPES:
            collected = params.load_profile(params.CollectParams, claim.profile)
            recipe = claim_runs.RECIPES[claim.profile]
            assert (collected.model, collected.teacher) == (recipe.base, recipe.teacher)


# ------------------------------------------------------------------ finding values


def plant(claim, accuracy=0.4567):
    """A table with the claim's row and, before and after it, rows that differ in one condition each."""
    right = {name: values[0] for name, values in claim.place.rows[0].items()}
    value = {"accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01, "n": claim.n, "rows": 777}
    value["thinking_tokens"] = claim.published_tokens or 1000.0
    decoys = []
    for name, wanted in right.items():
        other = (not wanted) if isinstance(wanted, bool) else f"{wanted}x" if isinstance(wanted, str) else wanted + 1
        decoys.append({**value, **right, name: other, "accuracy": 0.99, "low": 0.98, "high": 1.0, "rows": 5})
    return pd.DataFrame([*decoys[:1], {**value, **right}, *decoys[1:]])


@pytest.mark.parametrize("claim", CELLS, ids=lambda claim: claim.claim_id)
def test_a_planted_value_is_found_in_a_finished_run_and_no_other_is(claim, runs):
    write_claimed(runs, claim, {claim.place.table: plant(claim)})
    found = claim_runs.find_value(claim, runs)
    assert found.why == ""
    assert (found.found.value, found.found.low, found.found.high) == pytest.approx((45.67, 44.67, 46.67))
    assert found.source == f"{claim.place.run}/{claim.place.stage}/{claim.place.table}"


@pytest.mark.parametrize("claim", [c for c in STAGED if c.place.measure == "count"], ids=lambda claim: claim.setting)
def test_a_planted_count_is_found_and_is_its_own_interval(claim, runs):
    write_claimed(runs, claim, {claim.place.table: plant(claim)})
    found = claim_runs.find_value(claim, runs).found
    assert (found.value, found.low, found.high) == (777, 777, 777)


def make_asked(kind):
    """The table of models asked for 16 to 256, and the generations and grades it is made of, one question right more
    with every doubling."""
    asks, points, generations = [16, 32, 64, 128, 256], [], []
    for enforced in (False, True):
        for i, asked in enumerate(asks):
            tokens = 100.0 * asked if enforced else 5000.0 + 700 * i
            right = i + 1 if enforced else 5 - i
            row = {"trained": kind, "kind": kind, "asked": asked, "enforced": enforced, "used": tokens}
            share = right / 30
            points.append({**row, "thinking_tokens": tokens, "accuracy": share, "low": share, "high": share, "n": 30})
            generations += [
                {**row, "model": "m", "sample": 0, "setting": f"{kind}{enforced}:{asked}", "question_id": f"q{q:02}",
                 "thinking_tokens": tokens, "correct": q < right}
                for q in range(30)
            ]  # fmt: skip
    table = pd.DataFrame(generations)
    grades = table[["model", "question_id", "sample", "setting", "correct"]].assign(extracted="1", vote="1")
    return {
        "conditional": pd.DataFrame(points),
        "generations_conditional": table.drop(columns="correct"),
        "grades_conditional": grades,
    }


@pytest.mark.parametrize(
    ("claim_id", "value"),
    [
        ("table-3/step-conditional-control/aime24/control", 60),  # a hundred tokens a step suffice from 64 steps on
        ("table-3/step-conditional-budget-forcing/aime24/control", 100),
        ("table-3/step-conditional-control/aime24/performance", 100 * 5 / 30),
        ("table-3/step-conditional-control/aime24/runs", 5),
        ("table-3/step-conditional-budget-forcing/aime24/scaling", 100 / 30),
    ],
)
def test_the_measures_of_table_3_are_those_of_the_planted_runs(claim_id, value, runs):
    claim = BY_ID[claim_id]
    write_claimed(runs, claim, make_asked("steps"))
    found = claim_runs.find_value(claim, runs)
    assert found.why == ""
    assert found.found.value == pytest.approx(value)
    assert found.found.low <= found.found.value <= found.found.high


def test_a_class_is_kept_if_short_is_shorter_and_long_longer_than_usual(runs):
    claim = BY_ID["table-3/class-conditional-control/aime24/control"]
    same = {"model": "SFT", "budget": 28000, "waits": 0, "accuracy": 0.3, "low": 0.2, "high": 0.4, "n": 30}
    usual = {"control": "wait", "thinking_tokens": 6109.0}
    told = [
        {**same, "control": "short", "thinking_tokens": 8033.0},
        {**same, "control": "long", "thinking_tokens": 9651.0},
    ]
    write_claimed(runs, claim, {"curve": pd.DataFrame([{**same, **usual}]), "methods_curve": pd.DataFrame(told)})
    assert claim_runs.find_value(claim, runs).found.value == 50  # as in the paper


# ------------------------------------------------------------------ whose model


WRONG_MODELS = {
    "a tiny model": ({"base": "smollm2-135m-instruct"}, "is a run of smollm2-135m-instruct"),
    "few parameters under the right name": ({"parameters": 134_515_008}, "134,515,008 parameters"),
    "another teacher": ({"teacher": "claude"}, "traces are of claude"),
    "another subset": ({"subset": "random"}, "trained on random"),
}


@pytest.mark.parametrize("what", WRONG_MODELS)
def test_nothing_is_reproduced_from_another_model_whatever_its_profile_is_called(what, runs):
    wrong, why = WRONG_MODELS[what]
    claim = BY_ID[PLAIN]
    table = plant(claim, accuracy=claim.published / 100)  # the very value
    write_claimed(runs, claim, {claim.place.table: table}, **wrong)
    status, said = claims.find_status(claim, claim_runs.find_value(claim, runs))
    assert status == NOT_RUN
    assert "another model" in said
    assert why in said


def test_a_copied_profile_that_points_at_a_tiny_model_stays_not_run(runs, tmp_path, monkeypatch):
    """As a user would do it: the profile's own YAML, one line changed, and stages opened and finished by the study."""
    shutil.copytree(paths.PARAMS, tmp_path / "params")
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    path = tmp_path / "params" / "s1-32b" / "01_collect.yaml"
    path.write_text(path.read_text("utf-8").replace("Qwen/Qwen2.5-32B-Instruct", "random-llama"), "utf-8")
    claim = BY_ID["table-2/s1k/math500"]
    first = params.load_profile(params.CollectParams, "s1-32b")
    collect = store.open_stage("01_collect", first, code=["scaling"])
    collect.json("model", lambda: {"name": first.model, "sha256": "0"})
    collect.finish()
    last = params.load_profile(params.AblationParams, "s1-32b")
    ablate = store.open_stage("06_ablations", last, code=["scaling"], reads=["01_collect"])
    ablate.table("curve", lambda: plant(claim, accuracy=0.93))
    ablate.finish()
    status, why = claims.find_status(claim, claim_runs.find_value(claim, runs))
    assert (status, "is a run of random-llama" in why) == (NOT_RUN, True)


def test_a_run_made_from_another_model_file_than_the_one_there_is_nobodys(runs):
    claim = BY_ID[PLAIN]
    write_claimed(runs, claim, {claim.place.table: plant(claim)})
    write_stage(
        runs / claim.place.run / "01_collect", {}, params={"teacher": "gemini", "sources": []},
        documents={"model": {"name": "Qwen/Qwen2.5-32B-Instruct", "sha256": "0ther"}},
    )  # fmt: skip
    outcome = claim_runs.find_value(claim, runs)
    assert outcome.found is None
    assert "can't be told" in outcome.why


def test_the_claims_own_model_reproduces_its_number(runs):
    claim = BY_ID[PLAIN]
    write_claimed(runs, claim, {claim.place.table: plant(claim, accuracy=claim.published / 100)})
    assert claims.find_status(claim, claim_runs.find_value(claim, runs))[0] == REPRODUCED


def test_published_traces_serve_as_well_as_their_teacher(runs):
    claim = BY_ID[PLAIN]
    inputs = write_model(runs, "s1-32b", teacher="none")
    manifest = runs / "s1-32b" / "01_collect" / "manifest.json"
    edit_json(manifest, lambda each: each["key"]["params"].update(sources=["s1K"]))
    write_stage(
        runs / "s1-32b" / claim.place.stage, {claim.place.table: plant(claim)}, inputs=inputs,
        params={"benchmark": "math500"},
    )  # fmt: skip
    assert claim_runs.find_value(claim, runs).found


# ------------------------------------------------------------------ bad input


def unfinish(folder):
    (folder / "manifest.json").rename(folder / "started.json")


BAD = {
    "half-finished": (unfinish, "unfinished"),
    "gone": (shutil.rmtree, "no finished run"),
    "another benchmark": (
        lambda folder: edit_json(
            folder / "manifest.json", lambda each: each["key"]["params"].update(benchmark="aime25")
        ),
        "asked the questions of aime25",
    ),
    "an edited table": (
        lambda folder: store.write_table(folder / "curve.parquet", pd.DataFrame({"accuracy": [1.0]})),
        "isn't what its stage wrote",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_isnt_a_result_is_not_run_and_says_why(what, runs):
    spoil, why = BAD[what]
    claim = BY_ID[POINT]
    write_claimed(runs, claim, {claim.place.table: plant(claim)})
    spoil(runs / claim.place.run / claim.place.stage)
    status, said = claims.find_status(claim, claim_runs.find_value(claim, runs))
    assert status == NOT_RUN
    assert why in said


def test_a_part_of_the_benchmark_is_no_result(runs):
    claim = BY_ID[POINT]
    write_claimed(runs, claim, {claim.place.table: plant(claim).assign(n=20)})
    assert "asked 20 of 30 questions" in claim_runs.find_value(claim, runs).why


def test_a_setting_that_wasnt_run_is_named(runs):
    claim = BY_ID[POINT]
    write_claimed(runs, claim, {claim.place.table: plant(claim).assign(budget=1)})
    assert "no row with" in claim_runs.find_value(claim, runs).why


def test_an_obstacle_stays_whatever_lies_in_the_runs():
    claim = BY_ID["table-1/o1/aime24"]
    found = claim_runs.Outcome(Found(74.4, 74, 75))
    assert claims.find_status(claim, found)[0] == IMPOSSIBLE
    assert claims.make_number_row(claim, found).get("value") is None


@pytest.mark.parametrize(
    "name", ["01_collect/manifest.json", "01_collect/model.json", "04_sequential_scaling/manifest.json"]
)
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1, "outputs": 2}', '{"name": ["x"]}'])
def test_a_file_that_no_run_wrote_is_a_reason_and_no_crash(name, text, runs):
    claim = BY_ID[PLAIN]
    write_claimed(runs, claim, {claim.place.table: plant(claim)})
    (runs / claim.place.run / name).write_text(text)
    outcome = claim_runs.find_value(claim, runs)
    assert outcome.found is None
    assert outcome.why


def test_the_model_of_the_recipe_has_as_many_parameters_as_its_published_shape():
    assert memory.find_shape("Qwen/Qwen2.5-32B-Instruct").parameters == claim_runs.PARAMETERS


# ------------------------------------------------------------------ baselines


def write_baseline(runs, claim, *, samples=4, share=0.5, served=""):
    folder = runs / claim.place.run
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    right = rng.random(claim.n) < share  # questions differ, samples of one don't by much
    rows = [
        {"model": claim.place.rows[0]["model"][0], "question_id": f"q{q:03}", "sample": s,
         "correct": bool(right[q]) ^ (s == 0 and q == 0)}
        for q in range(claim.n) for s in range(samples)
    ]  # fmt: skip
    table = pd.DataFrame(rows).astype({"correct": "boolean"})
    store.write_table(folder / "samples.parquet", table)
    replies = table.assign(served=served or None, answer="an answer")
    if served:  # one that was never answered names nobody
        replies.loc[0, ["served", "answer"]] = None
    store.write_table(folder / "generations.parquet", replies.astype({"served": "string", "answer": "string"}))
    return table


def test_a_baseline_with_several_samples_has_the_interval_of_the_same_questions(runs):
    claim = BY_ID["table-1/r1/aime24"]
    table = write_baseline(runs, claim, served=claim.model)
    found = claim_runs.find_value(claim, runs).found
    others = scaling.bound_share(int(table["correct"].sum()), len(table))
    assert found.value == pytest.approx(100 * table["correct"].mean())
    assert 0 < found.high - found.low < 100 * (others.high - others.low) / 4
    assert found.basis == claim_runs.AGAIN


def test_a_baseline_with_one_sample_has_wilsons_interval(runs):
    claim = BY_ID["table-1/qwq-32b-preview/aime24"]
    table = write_baseline(runs, claim, samples=1, served=claim.model)
    found, share = claim_runs.find_value(claim, runs).found, scaling.bound_share(int(table["correct"].sum()), 30)
    assert (found.value, found.low, found.high) == pytest.approx((100 * share.value, 100 * share.low, 100 * share.high))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"served": "deepseek-r1-0528"}, "answered by deepseek-r1-0528"),
        ({"served": "random-llama"}, "answered by random-llama"),
        ({}, "can't be told"),
    ],
)
def test_a_baseline_answered_by_another_model_or_nobody_knows_which_is_not_run(options, why, runs):
    claim = BY_ID["table-1/r1/aime24"]
    write_baseline(runs, claim, **options)
    assert why in claim_runs.find_value(claim, runs).why


def test_a_baseline_that_was_broken_off_is_unfinished(runs):
    claim = BY_ID["table-1/r1/aime24"]
    (runs / claim.place.run).mkdir(parents=True)
    (runs / claim.place.run / "asked.jsonl").write_text("")
    assert "unfinished" in claim_runs.find_value(claim, runs).why


# ------------------------------------------------------------------ the ledger


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    write_data(folder, make_tables())
    return folder


@pytest.fixture
def filled(data, runs):
    """A ledger with a value of the paper's model: two numbers and the statements of one stage."""
    claim = BY_ID["table-1/s1-32b/aime24"]
    tables = {name: make_tables()[name] for name in ("waits", "verdicts")}
    write_claimed(runs, claim, {claim.place.table: plant(claim, 0.567), **tables})
    claims.publish(data, runs)
    return data


def read_rows(data):
    return {row["claim_id"]: row for row in claims.read_ledger(data / "ledger.csv")}


def test_the_ledger_has_a_status_a_command_and_where_run_a_hash_in_every_row(filled):
    rows = read_rows(filled)
    assert len(rows) == 232 + len(statements.STATEMENTS)
    for row in rows.values():
        assert row["status"] in claim_rules.STATUSES
        assert row["command"]
        assert row["why"] or row["value"] is not None
        assert (row["value"] is None) == (row["hash"] is None) == (row["status"] in (NOT_RUN, IMPOSSIBLE))
        assert (row["laptop_verdict"] in (None, "not run")) == (row["laptop_hash"] is None)
    assert rows["table-1/s1-32b/aime24"]["status"] == REPRODUCED


def test_the_statements_of_the_papers_model_are_judged_by_its_own_tables(filled):
    row = read_rows(filled)["statement/wait-helps"]
    assert (row["status"], row["value"], row["laptop_verdict"]) == (REPRODUCED, 20.0, "holds")


@pytest.mark.parametrize("spoil", [unfinish, shutil.rmtree])
def test_an_unfinished_run_judges_no_statement(spoil, data, runs):
    claim = BY_ID["table-1/s1-32b/aime24"]
    folder = runs / claim.place.run / claim.place.stage
    write_claimed(runs, claim, {"waits": make_tables()["waits"]})
    assert claims.make_ledger(data, runs)[0].set_index("claim_id").loc["statement/wait-helps", "status"] == REPRODUCED
    spoil(folder)
    row = claims.make_ledger(data, runs)[0].set_index("claim_id").loc["statement/wait-helps"]
    assert row["status"] == NOT_RUN
    assert "s1-32b-aime24/04_sequential_scaling" in row["why"]


@pytest.mark.parametrize("what", WRONG_MODELS)
def test_no_statement_is_reproduced_from_another_model(what, data, runs):
    wrong, why = WRONG_MODELS[what]
    write_claimed(runs, BY_ID["table-1/s1-32b/aime24"], {"waits": make_tables()["waits"]}, **wrong)
    row = claims.make_ledger(data, runs)[0].set_index("claim_id").loc["statement/wait-helps"]
    assert (row["status"], why in row["why"]) == (NOT_RUN, True)


@pytest.mark.parametrize(("asked", "status"), [("aime24", REPRODUCED), ("math500", NOT_RUN)])
def test_notebook_5_is_of_the_benchmark_that_its_notebook_4_asked(asked, status, data, runs):
    """In a run without a notebook 4 of its own it would have taken the questions of the profile's."""
    statement = next(each for each in statements.STATEMENTS if each.claim_id == "statement/sequential-beats-majority")
    inputs = write_model(runs, "s1-32b")
    tests = write_stage(
        runs / (statement.run if asked == "aime24" else "s1-32b") / "04_sequential_scaling",
        {"tests": pd.DataFrame({"question_id": ["a"]})}, params={"benchmark": asked}, inputs=inputs,
    )  # fmt: skip
    inputs["04_sequential_scaling/tests.parquet"] = tests["outputs"]["tests.parquet"]["sha256"]
    differences = make_tables()["parallel_differences"]
    write_stage(runs / statement.run / "05_parallel_scaling", {"differences": differences}, inputs=inputs)
    row = claims.make_ledger(data, runs)[0].set_index("claim_id").loc[statement.claim_id]
    assert row["status"] == status
    assert (status == REPRODUCED) or "asked the questions of math500" in row["why"]


def test_a_ledger_that_was_edited_can_be_made_again_and_a_table_that_was_can_not(filled, runs):
    edit_cell(filled, "statement/wait-helps", "laptop_value", "99")
    claims.publish(filled, runs)
    assert claims.find_wrong(filled) == []
    (filled / "quirks.csv").write_text("before,after\n")
    with pytest.raises(StudyError, match=r"quirks\.csv"):
        claims.publish(filled, runs)


def test_a_laptops_verdict_reproduces_nothing(data, runs):
    ledger, stages = claims.make_ledger(data, runs)
    assert set(ledger["status"]) == {NOT_RUN, IMPOSSIBLE}
    assert set(ledger["laptop_verdict"].dropna()) == {"holds", "not run"}
    assert stages == {}


def test_the_hash_of_a_row_can_be_derived_again_from_what_is_published(filled):
    row = read_rows(filled)["table-1/s1-32b/aime24"]
    place = BY_ID["table-1/s1-32b/aime24"].place
    links = provenance.read(filled)["ledger"]["stages"][f"{place.run}/{place.stage}/curve"]
    selector = {
        "run": "s1-32b-aime24", "stage": "04_sequential_scaling", "table": "curve", "measure": "cell",
        "rows": [{"control": ["wait"], "model": ["SFT"], "waits": [4]}], "column": "accuracy", "limit": "", "per": 1.0,
    }  # fmt: skip
    chain = {
        "claim": row["claim_id"], "table": links, "selector": selector, "status": "reproduced", "value": 56.7,
        "low": 55.7, "high": 57.7,
    }  # fmt: skip
    assert row["hash"] == store.hash_json(chain)


def test_an_untouched_ledger_passes_its_check(filled):
    assert claims.find_wrong(filled) == []


def edit_cell(data, claim_id, column, value):
    table = pd.read_csv(data / "ledger.csv", dtype=str, keep_default_na=False)
    table.loc[table["claim_id"] == claim_id, column] = value
    table.to_csv(data / "ledger.csv", index=False)


@pytest.mark.parametrize(
    ("claim_id", "column", "value"),
    [
        ("table-1/s1-32b/aime24", "value", "60.0"),
        ("table-1/s1-32b/aime24", "low", "55.6"),
        ("table-1/s1-32b/aime24", "status", "not reproduced"),
        ("table-1/s1-32b/aime24", "published", "56.8"),
        ("table-1/s1-32b/aime24", "hash", ""),
        ("table-1/s1-32b/math500", "status", "reproduced"),
        ("table-1/s1-32b/math500", "status", "great"),
        ("table-1/s1-32b/math500", "command", "true"),
        ("statement/wait-helps", "laptop_verdict", "doesn't hold"),
        ("statement/wait-helps", "laptop_value", "99.0"),
        ("statement/wait-helps", "laptop_hash", "0" * 64),
        ("statement/wait-helps", "value", "1.0"),
        ("statement/wait-helps", "test", "anything goes"),
    ],
)
def test_an_edited_cell_is_found_and_its_row_named(claim_id, column, value, filled):
    edit_cell(filled, claim_id, column, value)
    wrong = claims.find_wrong(filled)
    assert len({line.partition(":")[0] for line in wrong}) == 1
    assert wrong[0].startswith(f"{claim_id}: ")


@pytest.mark.parametrize("part", ["params", "code", "inputs", "samples", "sha256"])
def test_another_parameter_code_input_sample_or_table_is_another_hash(part, filled):
    """Of the number's table in the run, and of the laptop's."""
    place = BY_ID["table-1/s1-32b/aime24"].place

    def change(known):
        for links in (
            known["ledger"]["stages"][f"{place.run}/{place.stage}/curve"],
            known["waits"]["stages"]["laptop/stage/waits"],
        ):
            links[part] = {"generations.parquet": "changed"} if part == "samples" else "changed"

    edit_json(filled / "provenance.json", change)
    named = {line.partition(":")[0] for line in claims.find_wrong(filled)}
    assert {"table-1/s1-32b/aime24", "statement/wait-helps", "statement/forcing-scales"} <= named
    assert "statement/slope-15" not in named


def test_a_new_run_with_another_sample_gives_another_hash(data, runs):
    claim = BY_ID["table-1/s1-32b/aime24"]
    hashes = []
    for correct in (True, False):
        tables = {claim.place.table: plant(claim, 0.567), "generations_sft": pd.DataFrame({"correct": [correct]})}
        write_claimed(runs, claim, tables)
        hashes.append(claims.make_number_row(claim, claim_runs.find_value(claim, runs))["hash"])
    assert len(set(hashes)) == 2


def test_a_missing_and_an_invented_row_are_named(filled):
    table = pd.read_csv(filled / "ledger.csv", dtype=str, keep_default_na=False)
    table.loc[0, "claim_id"] = "table-1/own/aime24"
    table.to_csv(filled / "ledger.csv", index=False)
    wrong = claims.find_wrong(filled)
    assert wrong == [f"{CLAIMS[0].claim_id}: no row", "table-1/own/aime24: no such claim"]


def test_a_table_that_was_edited_is_named_and_nothing_is_derived_from_it(filled, runs):
    text = (filled / "waits.csv").read_text()
    (filled / "waits.csv").write_text(text.replace("0.2", "0.9"))
    for derive in (claims.find_wrong, lambda data: claims.make_ledger(data, runs)):
        with pytest.raises(StudyError, match=r"waits\.csv.*make publish"):
            derive(filled)


def test_a_ledger_whose_table_is_gone_says_which(filled):
    (filled / "waits.csv").unlink()
    with pytest.raises(StudyError, match=r"waits\.csv"):
        claims.find_wrong(filled)


def test_a_ledger_that_is_gone_or_isnt_one_says_what_to_do(filled):
    (filled / "ledger.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StudyError, match=r"python -m s1_utils\.claims"):
        claims.find_wrong(filled)
    (filled / "ledger.csv").unlink()
    with pytest.raises(StudyError, match="is gone"):
        claims.find_wrong(filled)


def test_the_published_numbers_lie_beside_the_ledger(filled):
    assert (filled / "published.csv").read_bytes() == claim_rows.FILE.read_bytes()
    assert provenance.find_edited(filled) == []


def test_a_status_that_the_rules_dont_give_is_found_even_with_a_hash_of_its_own(filled):
    claim = BY_ID["table-1/s1-32b/aime24"]
    row = {**read_rows(filled)[claim.claim_id], "status": MISSED}
    links = provenance.read(filled)["ledger"]["stages"][f"{claim.place.run}/{claim.place.stage}/curve"]
    edit_cell(filled, claim.claim_id, "status", MISSED)
    edit_cell(filled, claim.claim_id, "hash", claims.hash_number(claim, row, links))
    assert claims.find_wrong(filled) == [f"{claim.claim_id}: by the rules it isn't {MISSED}"]


def test_the_readme_has_every_statement_with_its_verdict_and_counts_every_number(filled):
    text = report.write_claims({"ledger": pd.read_csv(filled / "ledger.csv")})
    for each in statements.STATEMENTS:
        assert text.count(f"| {each.statement} |") == 1
    assert "| Appending “Wait” raises accuracy. | Table 4, Figure 4a | holds | +20.0 [10.0, 30.0] points |" in text
    assert text.endswith(
        "232 published numbers: 2 reproduced, 1 not reproduced, 0 underpowered, 190 not run, 39 can't be run."
    )


# ------------------------------------------------------------------ the shell


def test_the_shell_prints_a_summary_by_status_and_writes_the_ledger(data, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "FIGURES", data.parent)
    runs.mkdir()
    assert claims.main(["--runs", str(runs), "--out", str(tmp_path / "own.csv")]) == 0
    assert (
        "232 published numbers: 0 reproduced, 0 not reproduced, 0 underpowered, 193 not run" in capsys.readouterr().out
    )
    assert len(claims.read_ledger(tmp_path / "own.csv")) == 232 + len(statements.STATEMENTS)
    assert not (data / "ledger.csv").exists()
    assert claims.main(["--runs", str(runs)]) == 0
    assert claims.main(["--check"]) == 0
    edit_cell(data, "statement/wait-helps", "laptop_value", "99")
    assert claims.main(["--check"]) == 1
    assert "statement/wait-helps: " in capsys.readouterr().err


def test_a_folder_of_runs_that_isnt_there_is_one_line_on_stderr(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "FIGURES", data.parent)
    assert claims.main(["--runs", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_committed_ledger_is_what_the_committed_tables_give():
    assert claims.find_wrong(paths.FIGURES / "data") == []
    assert claims.main(["--check"]) == 0
