"""The paper's qualitative claims, each with a test that was decided beforehand, and its laptop-scale counterpart.

Knows what the paper says, where, and by which rule of `statement_tests` it is judged; computes nothing.
When the tests were decided: on 2026-11-23, from the paper's wording. They are not blind: whoever wrote them had read
the tables of an earlier laptop run (README, LOG.md), and most were in the notebooks before, with their rules: paired
differences of budgets, Waits, strings and subsets, verdicts on curves, slopes of obedience, sequential less majority.
The bar of 0.25 for obedience was set knowing slopes of -0.01 (tokens) and 0.36 (steps) on the laptop; 0.5 would turn
the verdict on steps. No bar was moved after the run that is committed now.
The laptop's verdicts are of an experiment of its own, another model on other questions: they say whether the claim
holds there, never that the paper's is reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from s1_utils import claim_places, paths
from s1_utils import statement_tests as tests
from s1_utils.claim_places import ABLATIONS, PARALLEL, SEQUENTIAL
from s1_utils.statement_tests import NOT_RUN, Finding, NoCounterpartError, Tables

S1, ON = "s1-32b", "AIME24"
FORCED_RUN, ASKED_RUN = claim_places.name_run(S1, ON), claim_places.name_run(S1, ON, "conditional")
SEARCH_RUN = claim_places.name_run(S1, ON, "rebase")
ASKED = "{kinds: [tokens, steps], subsets: [s1K], train_lengths: []}"
SEARCH = "{reward_model: verifier, search_width: 16}"
SIX = "waits: [0, 1, 2, 4, 6]"
ONE_RUN = "one training run each: its luck is not in the interval"
LARGE = {  # the laptop's ablations at a size that can show something
    "subset_differences": "ablations_large", "ablation_differences": "ablations_large_differences",
    "cut_lengths": "ablations_large_tokens",
}  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """A qualitative claim. `tables`: what its test reads; `laptop`: other names that these have in figures/data.

    `stage` makes the tables, in `run` of the model of the paper by `command`; the laptop's are made by the `variant` of
    its profile, or with `changed` parameters (name of the run, YAML).
    """

    claim_id: str
    where: str
    statement: str
    rule: str
    examine: tests.Test
    tables: tuple[str, ...]
    stage: str
    unit: str = "points"
    run: str = FORCED_RUN
    command: str = ""
    variant: str = ""
    changed: tuple[str, str] = ("", "")
    laptop: Mapping[str, str] = field(default_factory=dict)
    caveat: str = ""  # of the laptop's counterpart

    def write_command(self) -> str:
        """The line for the model of the paper."""
        return self.command or claim_places.write_study(S1, self.stage, ON)

    def write_laptop_command(self, profile: str) -> str:
        """The line for a profile's counterpart; the laptop's where the profile lacks the variant."""
        name, parameters = self.changed
        if name:
            return claim_places.write_papermill(profile, self.stage, f"{profile}-{name}", parameters)
        if not self.variant:
            return claim_places.write_study(profile, self.stage)
        if not (paths.PARAMS / profile / f"{self.stage}.{self.variant}.yaml").exists():
            profile = "laptop"
        return f"{claim_places.write_study(profile, self.stage)} --variant {self.variant}"


def evaluate(statement: Statement, tables: Tables, *, is_laptop: bool = True) -> Finding:
    """The test of a statement on small tables by name; `not run`, and why, where they have no counterpart."""
    names = statement.laptop if is_laptop else {}
    given = {name: tables[names.get(name, name)] for name in statement.tables if names.get(name, name) in tables}
    try:
        found = statement.examine(given)
    except NoCounterpartError as error:
        return Finding(float("nan"), float("nan"), float("nan"), NOT_RUN, "", str(error))
    cell = found.cell
    for name, other in names.items():
        cell = cell.replace(f"{name}.csv", f"{other}.csv")
    note = "; ".join(filter(None, [found.note, statement.caveat if is_laptop else ""]))
    return replace(found, cell=cell, note=note)


def _compare_subset(name: str, rule: str, judge: Any, **texts: str) -> Statement:
    return Statement(
        examine=tests.make_subset_test(name, judge),
        rule=f"accuracy of {name} less s1K's at the forced budget, paired: {rule}",
        tables=("subset_differences",),
        stage=ABLATIONS,
        variant="large",
        laptop=LARGE,
        caveat=ONE_RUN,
        **texts,
    )


ABOVE = "holds if its 95 % interval lies above 0, doesn't hold if none of it does, else undecided"
BELOW = "holds if its 95 % interval lies below 0, doesn't hold if none of it does, else undecided"
BOUNDS = "bounds of two intervals taken apart"
STATEMENTS = (
    Statement(
        "statement/forcing-scales", "Section 3.1, Figure 1, Table 3",
        "Accuracy rises with the thinking that budget forcing allows.",
        f"the longest forced budget less the shortest, paired: {ABOVE}",
        tests.examine_forcing, ("waits",), SEQUENTIAL,
    ),
    Statement(
        "statement/slope-15", "Table 3", "Budget forcing's Scaling is 15 points per doubling of thinking tokens.",
        "Scaling of the forced budgets: holds if its 95 % interval lies within 15 ± 5, doesn't hold if outside",
        tests.examine_slope, ("slopes",), SEQUENTIAL, unit="points per doubling",
        caveat="of another model on other questions: numbers that agree are no reproduction",
    ),
    Statement(
        "statement/control-100", "Table 3", "Budget forcing keeps every budget: Control 100 %.",
        "share of settings in the mean, and of single thoughts, within their budget: holds only at 100 %",
        tests.examine_control, ("methods_measured",), SEQUENTIAL, unit="%",
    ),
    Statement(
        "statement/truncation-scales", "Figure 1",
        "Truncation alone scales: up to its natural length, cutting a thought later gives better answers.",
        f"the best cut less the shortest, paired: {ABOVE}",
        tests.examine_truncation, ("verdicts",), SEQUENTIAL,
    ),
    Statement(
        "statement/wait-helps", "Table 4, Figure 4a", "Appending “Wait” raises accuracy.",
        f"“Wait” twice less the natural end, paired: {ABOVE}",
        tests.examine_wait, ("waits",), SEQUENTIAL,
    ),
    Statement(
        "statement/more-waits-help", "Figure 4a, Table 5 (v3)", "The more often “Wait” is appended, the better.",
        "the most Waits less the best number of them, paired: doesn't hold if its 95 % interval lies below 0, holds if "
        "the most are the best and surely better than none, else undecided",
        tests.examine_more_waits, ("verdicts",), SEQUENTIAL,
    ),
    Statement(
        "statement/extrapolation-flattens", "Figure 4a", "Extrapolation flattens out at six Waits.",
        f"six Waits less four ({BOUNDS}): holds within ± 5 points, doesn't hold outside",
        tests.examine_flattening, ("waits",), SEQUENTIAL,
        changed=("six", SIX), laptop={"waits": "waits_six"},
    ),
    Statement(
        "statement/wait-beats-other-strings", "Table 4", "“Wait” is better than other strings, or none.",
        f"gain by “Wait” twice less the best gain by another string ({BOUNDS}): {ABOVE}",
        tests.examine_strings, ("quirks",), SEQUENTIAL,
    ),
    Statement(
        "statement/forcing-performs-best", "Table 3", "Budget forcing reaches the best Performance of all methods.",
        f"its best accuracy less the best of lengths asked for in words and of rejection ({BOUNDS}): {ABOVE}",
        tests.examine_performance, ("methods",), SEQUENTIAL,
    ),
    Statement(
        "statement/tokens-are-ignored", "Table 3, Table 11",
        "Token-conditional control fails without budget forcing: models don't count tokens.",
        "log2 of tokens used on log2 of tokens asked for, by itself (1: obeyed, 0: ignored): holds if the slope's 95 % "
        "interval lies below 0.25, doesn't hold if above",
        tests.examine_tokens_ignored, ("conditional_slopes",), ABLATIONS, unit="doublings per doubling", run=ASKED_RUN,
        command=claim_places.write_papermill(S1, ABLATIONS, ASKED_RUN, ASKED, ON), variant="conditional",
    ),
    Statement(
        "statement/steps-are-ignored", "Table 3, Table 12",
        "Under step-conditional control models use about as much thinking whatever they are asked for.",
        "log2 of steps used on log2 of steps asked for, by itself (1: obeyed, 0: ignored): holds if the slope's 95 % "
        "interval lies below 0.25, doesn't hold if above",
        tests.examine_steps_ignored, ("conditional_slopes",), ABLATIONS, unit="doublings per doubling", run=ASKED_RUN,
        command=claim_places.write_papermill(S1, ABLATIONS, ASKED_RUN, ASKED, ON), variant="conditional",
    ),
    Statement(
        "statement/prompts-change-length", "Table 3, Table 13",
        "Class-conditional prompts change the length: asked for long thinking, models think longer than for short.",
        f"thinking tokens when asked for long less for short, in % of the latter, by question: {ABOVE}",
        tests.examine_prompts, ("length_changes",), SEQUENTIAL, unit="%",
    ),
    Statement(
        "statement/rejection-scales-inversely", "Figure 6, Table 3",
        "Rejection sampling scales inversely: the longer thoughts may be, the lower the accuracy.",
        f"longest limit less the shortest one that half of the questions reach, on those ({BOUNDS}): {BELOW}",
        tests.examine_rejection, ("rejection",), PARALLEL,
    ),
    Statement(
        "statement/sequential-beats-majority", "Section 3.1, Figure 4b",
        "Thinking longer beats majority voting at equal compute.",
        f"forced budgets less the majority, paired, in the mean over equal thinking tokens: {ABOVE}",
        tests.examine_parallel, ("parallel_differences",), PARALLEL,
    ),
    Statement(
        "statement/rebase-beats-majority", "Figure 7", "REBASE beats majority voting.",
        f"tree search less the majority, paired, at equal thinking tokens: {ABOVE}",
        tests.examine_rebase, ("judged_differences",), PARALLEL,
        run=SEARCH_RUN, command=claim_places.write_search(S1, SEARCH_RUN, SEARCH, ON),
        changed=("rebase", SEARCH),
    ),
    Statement(
        "statement/training-lifts-the-base", "Table 1", "SFT on s1K lifts the base model.",
        f"natural end after SFT less the base model's best budget ({BOUNDS}): {ABOVE}",
        tests.examine_training, ("sequential",), SEQUENTIAL,
    ),
    _compare_subset(
        "full", "holds if its 95 % interval lies within ± 5 points and 5 could have been detected, doesn't hold if "
        "outside, else undecided",
        tests.judge_within, claim_id="statement/1k-equals-59k", where="Section 5.1, Table 2",
        statement="1,000 selected questions are as good as all 59,000.",
    ),
    _compare_subset(
        "random", BELOW, tests.judge_below, claim_id="statement/random-is-worse", where="Section 5.1, Table 2",
        statement="As many random questions are worse than s1K.",
    ),
    _compare_subset(
        "diverse", BELOW, tests.judge_below, claim_id="statement/diverse-is-worse", where="Section 5.1, Table 2",
        statement="As many questions chosen for diversity alone are worse than s1K.",
    ),
    _compare_subset(
        "longest", BELOW, tests.judge_below, claim_id="statement/longest-is-worse", where="Section 5.1, Table 2",
        statement="As many questions chosen for length alone are worse than s1K.",
    ),
    Statement(
        "statement/cut-training-is-worse", "Appendix, Table 8",
        "Training on examples that are cut gives lower accuracy.",
        f"trained on cut examples less on whole ones, at natural ends, paired: {BELOW}",
        tests.examine_cut_worse, ("ablation_differences",), ABLATIONS, variant="large", laptop=LARGE,
        caveat=ONE_RUN,
    ),
    Statement(
        "statement/cut-training-is-longer", "Appendix, Table 8",
        "Training on examples that are cut gives longer thinking.",
        f"thinking tokens after training on cut examples less on whole ones, in % of the latter, by question: {ABOVE}",
        tests.examine_cut_longer, ("cut_lengths",), ABLATIONS, unit="%", variant="large", laptop=LARGE,
        caveat=ONE_RUN,
    ),
)  # fmt: skip
