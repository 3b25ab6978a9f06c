"""Where each row of the paper's results has its like here: profile, command and place, or why it can't be run.

Knows what the tables and figures of the paper show, and which settings of which profile they are; knows no values.
Which setting a point of Figure 1 is, the paper does not print: taken by its tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s1_utils import baselines, claim_places
from s1_utils.claim_places import ABLATIONS, FILTER, PARALLEL, SEQUENTIAL, Place

if TYPE_CHECKING:
    from s1_utils.claim_rows import Claim

S1, S11 = "s1-32b", "s1.1-32b"
API_USD = 200  # bound of an API's baseline

SYSTEMS = {  # of Tables 1 and 5: profile in params/baselines, and the model that the paper means; empty: none
    "o1-preview": ("o1-preview", "o1-preview-2024-09-12"),
    "o1-mini": ("o1-mini", "o1-mini-2024-09-12"),
    "o1": ("o1", "o1-2024-12-17"),
    "Gemini 2.0 Flash Thinking": ("gemini-2.0-flash-thinking", "gemini-2.0-flash-thinking-exp-01-21"),
    "Qwen2.5-32B-Instruct": ("qwen2.5-32b-instruct", "Qwen/Qwen2.5-32B-Instruct"),
    "QwQ-32B-Preview": ("qwq-32b-preview", "Qwen/QwQ-32B-Preview"),
    "r1": ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
    "r1-distill-Qwen-32B": ("r1-distill-qwen-32b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"),
    "r1-distill-Qwen-14B": ("r1-distill-qwen-14b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"),
    "r1-distill-Llama-70B": ("r1-distill-llama-70b", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"),
    "Sky-T1-32B-Preview": ("sky-t1-32b-preview", "NovaSky-AI/Sky-T1-32B-Preview"),
    "Bespoke-32B": ("bespoke-stratos-32b", "bespokelabs/Bespoke-Stratos-32B"),
    "LIMO": ("limo", ""),
    "o3-mini low": ("o3-mini-low", ""),
    "o3-mini medium": ("o3-mini-medium", ""),
    "o3-mini high": ("o3-mini-high", ""),
}
POINTS = {  # of Figures 1 and 4: benchmark, published thinking tokens → setting
    ("MATH500", 499): ("cut", 500), ("MATH500", 984): ("cut", 1000), ("MATH500", 1814): ("cut", 2000),
    ("MATH500", 2868): ("cut", 4000), ("MATH500", 3200): ("cut", 8000),
    ("AIME24", 500): ("cut", 500), ("AIME24", 1000): ("cut", 1000), ("AIME24", 2000): ("cut", 2000),
    ("AIME24", 3933): ("cut", 4000), ("AIME24", 5300): ("cut", 8000),
    ("AIME24", 6657): ("wait", 2), ("AIME24", 7320): ("wait", 4), ("AIME24", 8450): ("wait", 6),
    ("GPQA-Diamond", 500): ("cut", 500), ("GPQA-Diamond", 985): ("cut", 1000), ("GPQA-Diamond", 1742): ("cut", 2000),
    ("GPQA-Diamond", 3231): ("cut", 4000), ("GPQA-Diamond", 4649): ("wait", 2),
    ("GPQA-Diamond", 1717): ("cut", 2000), ("GPQA-Diamond", 3232): ("cut", 4000), ("GPQA-Diamond", 4646): ("wait", 2),
}  # fmt: skip
FUNNEL = {  # how the funnel's steps are called here
    "collected": "decontaminated", "after API errors": "graded", "after quality": "of good quality",
    "after difficulty": "unsolved", "included outright": "of these, outright", "selected": "selected",
}  # fmt: skip
CAPS = [3500, 4000, 5000, 6000, 8000, 16000]  # of rejection sampling
ASKED = "{kinds: [tokens, steps], subsets: [s1K], train_lengths: []}"
REJECTION = f"{{method_budgets: {CAPS}, max_tries: 1000}}"
FORCED = (claim_places.choose_cut(500, 1000, 2000, 4000, 8000), claim_places.choose_wait(2, 4))  # Figure 1's AIME24
METHODS = {  # of Table 3: variant of the run, table, rows, what control holds against what
    "budget forcing": ("", "curve", FORCED, ("thinking_tokens", "budget", 1)),
    "token-conditional control": ("tokens", False), "token-conditional + budget forcing": ("tokens", True),
    "step-conditional control": ("steps", False), "step-conditional + budget forcing": ("steps", True),
    "class-conditional control": (
        "", "methods_curve", (claim_places.choose_method("short", "long"),), ("class", "", 1),
    ),
    "rejection sampling": (
        "rejection", "methods_curve", (claim_places.choose_method("rejection"),), ("thinking_tokens", "budget", 1),
    ),
}  # fmt: skip
OLDER = "not in this study: an older step-conditional model, not published, in an older evaluation"


def locate_claim(claim: Claim) -> Claim:
    """The claim with profile, command and place. Raises ValueError for a row that nothing here knows."""
    if claim.system in SYSTEMS:
        return _locate_baseline(claim)
    for where, locate in LOCATORS.items():
        if claim.where.startswith(where):
            found = locate(claim)
            return found if found.group or not found.place else replace(found, group=_group(found))
    raise ValueError(f"No place for {claim.claim_id}: say in claim_locators where its like would be found.")


def _group(claim: Claim) -> tuple[str, ...]:
    assert claim.place is not None
    return (str(claim.place.write_selector()), claim.metric)


def _locate_baseline(claim: Claim) -> Claim:
    name, model = SYSTEMS[claim.system]
    obstacle, options = "", {}
    if name not in baselines.list_baselines():
        obstacle = f"not in this study: params/baselines/{name}.yaml isn't there"
    else:
        baseline = baselines.read_baseline(name)
        if baseline.retired:
            obstacle = f"retired model: its provider has not had it since {baseline.retired}"
        if baseline.temperature:
            options["samples"] = claim_places.SAMPLES.get(claim.benchmark, 4)
        if baseline.usd_per_million and max(baseline.usd_per_million) > 0:
            options["max_usd"] = API_USD
    return replace(
        claim,
        profile="" if name not in baselines.list_baselines() else f"{claim_places.BASELINES}/{name}",
        model=model,
        command=claim_places.write_baseline(name, claim.benchmark, **options),
        place=claim_places.place_baseline(name, claim.benchmark),
        obstacle=obstacle,
        group=(name, claim.benchmark),
    )


def _locate_curve(claim: Claim, rows: claim_places.Rows, profile: str = S1, **more: Any) -> Claim:
    """A point of notebook 4's own settings."""
    place = Place(claim_places.name_run(profile, claim.benchmark), SEQUENTIAL, "curve", (rows,))
    command = claim_places.write_study(profile, SEQUENTIAL, claim.benchmark)
    return replace(claim, profile=profile, model=profile, command=command, place=place, **more)


def _locate_natural(claim: Claim) -> Claim:
    return _locate_curve(claim, claim_places.choose_wait(0), group=("s1 at its natural end", claim.benchmark))


def _locate_waited(claim: Claim) -> Claim:
    """Rows of Tables 1 and 5: s1 and s1.1 without forcing, or with so many Waits."""
    profile = S11 if claim.system.startswith("s1.1") else S1
    if "without" in claim.system:
        waits = 0
    elif claim.where == "Table 1":  # mixes runs
        waits = 4 if claim.benchmark == "AIME24" else 2
    else:
        waits = int(claim.system.rpartition("x")[2])
    if profile == S1 and waits == 0:
        return _locate_natural(claim)
    return _locate_curve(claim, claim_places.choose_wait(waits), profile)


def _locate_subset(claim: Claim) -> Claim:
    subset = claim.system.removeprefix("1K-").removeprefix("59K-")
    place = Place(claim_places.name_run(S1, claim.benchmark), ABLATIONS, "curve", (claim_places.choose_subset(subset),))
    return _locate_ablation(claim, place, is_natural=subset == "s1K")


def _locate_length(claim: Claim) -> Claim:
    length = int(claim.setting.split()[-1])
    place = Place(claim_places.name_run(S1, claim.benchmark), ABLATIONS, "lengths", ({"train_length": (length,)},))
    return _locate_ablation(claim, place, is_natural=length == 32768)


def _locate_ablation(claim: Claim, place: Place, *, is_natural: bool) -> Claim:
    group = ("s1 at its natural end", claim.benchmark) if is_natural else ()
    command = claim_places.write_study(S1, ABLATIONS, claim.benchmark)
    return replace(claim, profile=S1, model=S1, command=command, place=place, group=group)


def _locate_methods(claim: Claim, rows: claim_places.Rows) -> Claim:
    """A point of notebook 4's other methods, on all questions."""
    place = Place(claim_places.name_run(S1, claim.benchmark), SEQUENTIAL, "methods_curve", (rows,))
    command = claim_places.write_study(S1, SEQUENTIAL, claim.benchmark)
    if claim.benchmark != "AIME24":  # the profile asks a hundred questions
        run = claim_places.name_run(S1, claim.benchmark, "methods")
        place, all_of_them = replace(place, run=run), f"method_questions: {claim.n}"
        command = claim_places.write_papermill(S1, SEQUENTIAL, run, all_of_them, claim.benchmark)
    return replace(claim, profile=S1, model=S1, command=command, place=place)


def _locate_string(claim: Claim) -> Claim:
    if claim.system == "no extrapolation":
        return _locate_natural(claim)
    if claim.system == "2x Wait":
        return _locate_curve(claim, claim_places.choose_wait(2))
    text = "<none>" if "no string" in claim.system else claim.system.removeprefix("2x ")
    return _locate_methods(claim, claim_places.choose_method(f"“{text}”"))


def _locate_class(claim: Claim) -> Claim:
    name = claim.setting.removeprefix("prompt ")
    return _locate_natural(claim) if name == "none" else _locate_methods(claim, claim_places.choose_method(name))


def _place_variant(claim: Claim, variant: str, stage: str, parameters: str, **place: Any) -> Claim:
    run = claim_places.name_run(S1, claim.benchmark, variant)
    command = claim_places.write_papermill(S1, stage, run, parameters, claim.benchmark)
    return replace(claim, profile=S1, model=S1, command=command, place=Place(run, stage, **place))


def _locate_asked(claim: Claim) -> Claim:
    kind = claim.system.partition("-")[0] + "s"
    asked = (int(claim.setting.split()[1]),)
    rows = claim_places.choose_asked(kind, enforced="budget forcing" in claim.system, asked=asked)
    return _place_variant(claim, "conditional", ABLATIONS, ASKED, table="conditional", rows=(rows,))


def _locate_method(claim: Claim) -> Claim:
    """Control, Scaling, Performance and runs of Table 3."""
    method, measure = METHODS[claim.system], claim.metric.partition(" ")[0].rstrip(",")
    if len(method) == 2:
        kind, enforced = method
        rows = (claim_places.choose_asked(kind, enforced=enforced),)
        held = ("used", "asked", 1) if kind == "tokens" else ("thinking_tokens", "asked", 100)
        variant, table = "conditional", "conditional"
    else:
        variant, table, rows, held = method
    column, limit, per = held if measure == "control" else ("accuracy", "", 1)
    place = {"table": table, "rows": rows, "measure": measure, "column": column, "limit": limit, "per": per}
    if variant:
        stage, parameters = (ABLATIONS, ASKED) if variant == "conditional" else (SEQUENTIAL, REJECTION)
        return _place_variant(claim, variant, stage, parameters, **place)
    unknown = "the paper doesn't say which five of the seven points; a choice, not a result"
    return replace(
        claim,
        profile=S1,
        model=S1,
        command=claim_places.write_study(S1, SEQUENTIAL, claim.benchmark),
        place=Place(claim_places.name_run(S1, claim.benchmark), SEQUENTIAL, **place),
        obstacle=unknown if claim.system == "budget forcing" and measure == "runs" else "",
    )


def _locate_point(claim: Claim) -> Claim:
    """A point of Figures 1 and 4; in 4b tokens are those of all questions, and the voters another model."""
    if claim.system.startswith("Qwen"):
        name = "qwen2.5-32b-instruct-sampled"
        obstacle = (
            "not in this study: the profile of the base model decodes greedily, so its samples are all the same; "
        )
        return replace(
            claim,
            command=claim_places.write_baseline(name, claim.benchmark, samples=64),
            obstacle=f"{obstacle}params/baselines/{name}.yaml with a temperature isn't there",
            published_tokens=None,
        )
    tokens = claim.published_tokens or 0
    if claim.where == "Figure 4b":
        tokens = round(tokens / (claim.n or 1))
    control, number = POINTS[claim.benchmark, round(tokens)]
    choose = claim_places.choose_cut if control == "cut" else claim_places.choose_wait
    return _locate_curve(replace(claim, published_tokens=tokens), choose(number))


def _locate_rejection(claim: Claim) -> Claim:
    cap = int(claim.setting.split()[1])
    rows = ({**claim_places.choose_method("rejection"), "budget": (cap,)},)
    return _place_variant(claim, "rejection", SEQUENTIAL, REJECTION, table="methods_curve", rows=rows)


def _locate_older(claim: Claim) -> Claim:
    """Figure 7: the command gives what comes nearest, of another model."""
    if claim.system.startswith("REBASE"):
        more = "{reward_model: tkitsers/Llemma-reward-model, search_width: 16}"
        run = claim_places.name_run(S1, claim.benchmark, "rebase")
        command = claim_places.write_search(S1, run, more, claim.benchmark)
    elif claim.system.startswith("majority"):
        command = claim_places.write_study(S1, PARALLEL, claim.benchmark)
    else:
        run = claim_places.name_run(S1, claim.benchmark, "conditional")
        command = claim_places.write_papermill(S1, ABLATIONS, run, ASKED, claim.benchmark)
    return replace(claim, profile=S1, command=command, obstacle=OLDER)


def _locate_funnel(claim: Claim) -> Claim:
    rows = ({"step": (FUNNEL[claim.setting],)},)
    place = Place(S1, FILTER, "funnel", rows, measure="count", column="rows")
    return replace(claim, profile=S1, model=S1, command=claim_places.write_study(S1, FILTER), place=place)


LOCATORS = {
    "Table 11": _locate_asked, "Table 12": _locate_asked, "Table 13": _locate_class, "Table 1": _locate_waited,
    "Table 5": _locate_waited, "Table 2": _locate_subset, "Table 3": _locate_method, "Table 4": _locate_string,
    "Table 8": _locate_length, "Figure 1": _locate_point, "Figure 4": _locate_point, "Figure 6": _locate_rejection,
    "Figure 7": _locate_older, "Section 2": _locate_funnel,
}  # fmt: skip
