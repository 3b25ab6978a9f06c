"""Which rows may be trained on: complete, of good quality, and long enough to be hard; each removal with its reason.

Knows rows of questions, traces and verdicts; knows nothing about models, selection or training.
Source: s1 section 2.2 and the released notebook's filter cells. Deviations: failures of APIs, missing features and a
training limit are steps of their own; beside the paper's quality rules there are audited ones without its false alarms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from s1_utils.chat import encode, write_completion, write_prompt
from s1_utils.errors import StudyError
from s1_utils.qwen_tokens import count_qwen_tokens
from s1_utils.sources import derive_seed

# ------------------------------------------------------------------ quality

DIAGRAM, IMAGE, NUMBERING = "ascii-art diagram", "image that isn't there", "inconsistent numbering"
_NUMBERED = {
    "paper": re.compile(r"p[1-9]\d{0,2}\."),  # also within words: "step1.5", "$3sp2.$"
    "audited": re.compile(r"^[ \t*(]*p[1-9]\d{0,2}\.(?!\d)", re.MULTILINE),
}
_BOLD = re.compile(r"\*\*[^\s\]]*\*\*")
_BOLD_NUMBER = re.compile(r"(?<![\w*)])\*\*(?=[^\s\]*]*\d)[^\s\]*]*\*\*(?!\*)")
POLICIES = tuple(_NUMBERED)


def find_quality_reason(question: str, policy: str = "paper", *, source: str = "") -> str | None:
    """Why the quality filter drops a question, or None if it keeps it.

    `policy` "paper": the released notebook's rules. "audited": numbering only where a line begins with it, and bold
    text only if it holds the digit itself. Of an AIME `source` a question with a diagram escapes all rules.
    """
    if "[asy]" in question:
        return None if "AIME" in source else DIAGRAM
    if "![Image]" in question:
        return IMAGE
    has_bold = _has_bold_before_digit(question) if policy == "paper" else bool(_BOLD_NUMBER.search(question))
    return NUMBERING if has_bold or _NUMBERED[policy].search(question) else None


def _has_bold_before_digit(question: str) -> bool:
    r"""Whether the notebook's \*\*(?=.*\d)[^\s\]]*\*\* is found, without its quadratic time.

    It takes any bold word that has a digit after its opening, be it later on the line.
    """
    for line in question.split("\n"):
        bold = _BOLD.search(line)
        if bold and re.search(r"\d", line[bold.start() + 2 :]):
            return True
    return False


def find_quality(questions: pd.DataFrame, policy: str) -> pd.Series:
    """The reason of each row (question, source), null where it is kept. Raises StudyError for an unknown policy."""
    if policy not in POLICIES:
        raise StudyError(f"There is no quality policy {policy!r}: choose {' or '.join(POLICIES)}.")
    rows = zip(questions["question"], questions["source"], strict=True)
    reasons = [find_quality_reason(question, policy, source=source) for question, source in rows]
    return pd.Series(pd.array(reasons, dtype="string"), index=questions.index)


def compare_policies(questions: pd.DataFrame) -> pd.DataFrame:
    """How many questions each policy drops for each reason, and how many only one of them drops."""
    found = {policy: find_quality(questions, policy) for policy in POLICIES}
    rows = []
    for reason in (DIAGRAM, IMAGE, NUMBERING):
        paper, audited = (found[policy].eq(reason).fillna(False) for policy in ("paper", "audited"))
        rows.append((reason, *(int(mask.sum()) for mask in (paper, audited, paper & ~audited, audited & ~paper))))
    return pd.DataFrame(rows, columns=["reason", "paper", "audited", "only paper", "only audited"]).set_index("reason")


# ------------------------------------------------------------------ candidates

NO_TRACE, NO_VERDICT, TOO_LONG = "no trace", "attempt can't be graded", "longer than the training limit"
GRADERS = ("exact", "math", "published", "judge")  # whose verdict on an attempt counts: the first that has one


def combine_verdicts(grades: pd.DataFrame) -> pd.Series:
    """(question_id, teacher) → the verdict of the first of `GRADERS` that has one; null where none has."""
    order = grades["grader"].map({name: i for i, name in enumerate(GRADERS)})
    ranked = grades.assign(_order=order.where(grades["correct"].notna(), len(GRADERS))).sort_values("_order")
    return ranked.drop_duplicates(["question_id", "teacher"]).set_index(["question_id", "teacher"])["correct"]


def join_traces(questions: pd.DataFrame, traces: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
    """Each question with its first teacher's trace, if any, and the combined verdict on the attempt."""
    verdicts = combine_verdicts(grades).rename("attempt_correct").reset_index()
    first = traces.drop(columns=["attempt_correct", "grader"]).drop_duplicates("question_id")
    graded = first.merge(verdicts, on=["question_id", "teacher"], how="left")
    return questions.merge(graded, on="question_id", how="left").astype({"attempt_correct": "boolean"})


def judge_rows(
    rows: pd.DataFrame, tokenizer: Any, *, system_prompt: str, max_train_tokens: int, policy: str, lengths: str = ""
) -> pd.DataFrame:
    """The `candidates` table: question_id, thinking_tokens, train_tokens, quality_<policy>, dropped.

    `rows`: question_id, question, source, thinking, attempt (null without a trace), attempt_correct. `train_tokens`
    counts the row as it would be trained on, prompt included; `thinking_tokens` the trace alone, by the tokenizer of
    `count_lengths`. `dropped`: the first of no trace, no verdict, too long, and the quality reason of `policy`.
    """
    traced = rows[rows["thinking"].notna()]
    texts = [
        write_prompt(tokenizer, q, system_prompt) + write_completion(t, a)
        for q, t, a in zip(traced["question"], traced["thinking"], traced["attempt"], strict=True)
    ]
    tokens = pd.Series([len(encode(tokenizer, text)) for text in texts], index=traced.index, dtype="Int64")
    quality = {f"quality_{name}": find_quality(rows, name) for name in POLICIES}
    if policy not in POLICIES:
        raise StudyError(f"There is no quality policy {policy!r}: choose {' or '.join(POLICIES)}.")
    table = rows[["question_id"]].assign(
        thinking_tokens=count_lengths(traced["thinking"], tokenizer, lengths), train_tokens=tokens, **quality
    )
    dropped = quality[f"quality_{policy}"]
    dropped = dropped.mask((table["train_tokens"] > max_train_tokens).fillna(False), TOO_LONG)
    dropped = dropped.mask(rows["attempt_correct"].isna(), NO_VERDICT)
    return table.assign(dropped=dropped.mask(rows["thinking"].isna(), NO_TRACE)).reset_index(drop=True)


def count_lengths(texts: pd.Series, tokenizer: Any, name: str = "") -> pd.Series:
    """Tokens of each text by a named tokenizer: "" is the study's own model's, qwen2.5 the paper's."""
    if name not in ("", "qwen2.5"):
        raise StudyError(f"There is no tokenizer {name!r}: write qwen2.5, or nothing for the study's own model's.")
    counts = texts.map(count_qwen_tokens if name else lambda text: len(encode(tokenizer, text)))
    return counts.astype("Int64")


def draw_pool(rows: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """`size` rows, the same number from each domain where there are enough, by each row's own seeded hash."""
    order = rows.assign(_draw=[derive_seed(seed, "pool", q) for q in rows["question_id"]]).sort_values("_draw")
    turn = order.groupby("domain").cumcount()
    drawn = order.assign(_turn=turn).sort_values(["_turn", "_draw"], kind="stable").head(size)
    return drawn.drop(columns=["_draw", "_turn"]).sort_values(["domain", "question_id"]).reset_index(drop=True)


def find_usable(candidates: pd.DataFrame) -> pd.Series:
    """Which rows could be trained on whatever their quality: subsets without the quality filter take these."""
    return ~candidates["dropped"].isin([NO_TRACE, NO_VERDICT, TOO_LONG])


# ------------------------------------------------------------------ features

FEATURES = ["domain", "thinking_tokens", "solved"]


def build_features(pool: pd.DataFrame, domains: pd.DataFrame, solved: pd.DataFrame, *, policy: str) -> pd.DataFrame:
    """The `features` table: one row a question of the pool; null where a labeller or a solver gave no verdict.

    `pool`: question_id, source and the columns of `candidates`. `domains`: question_id, domain. `solved`: question_id
    and solved_<solver>. `quality` is the reason of `policy`; `solved` whether any solver solves it; `outright` why it
    is taken before any draw.
    """
    names = ["question_id", "source", "thinking_tokens", "train_tokens", "attempt_correct"]
    kept = pool[names].assign(quality=pool[f"quality_{policy}"])
    table = kept.merge(domains[["question_id", "domain"]], on="question_id", how="left")
    table = table.merge(solved, on="question_id", how="left")
    by_solver = table[[name for name in solved if name.startswith("solved_")]].astype("boolean")
    any_solved = by_solver.fillna(False).any(axis=1).astype("boolean")
    table["solved"] = any_solved.mask(~any_solved & by_solver.isna().any(axis=1))
    return table.assign(outright=find_outright(table))


def find_outright(features: pd.DataFrame, *, math_tokens: int = 5600) -> pd.Series:
    """Why a row is taken before any draw (s1 Algorithm 1), null for the others: a benchmark's, and attempted rightly.

    AIME and GPQA rows, and MATH rows whose thinking is longer than `math_tokens` (tokens of Qwen2.5 in the paper).
    """
    right = features["attempt_correct"].fillna(False).astype(bool)
    reasons = pd.Series(pd.NA, index=features.index, dtype="string")
    long = features["thinking_tokens"] > math_tokens
    for source, mask in {
        "AIME (1983-2021)": right,
        "GPQA": right,
        "MATH": right & long.fillna(False),
    }.items():
        is_long = f", more than {math_tokens} tokens" if source == "MATH" else ""
        reasons[mask & features["source"].eq(source)] = f"{source}, attempt right{is_long}"
    return reasons


def drop_incomplete(features: pd.DataFrame) -> pd.DataFrame:
    """The rows with every feature that selection needs; how many lack which is `count_missing`."""
    return features[features[FEATURES].notna().all(axis=1)].reset_index(drop=True)


def count_missing(features: pd.DataFrame) -> dict[str, int]:
    """feature → rows in which it is null, for those that are."""
    return {name: int(n) for name, n in features[FEATURES].isna().sum().items() if n}


PAPER_FUNNEL: Mapping[str, int] = {  # s1 section 2.2; traces: the released notebook's 59,029 less its failures
    "decontaminated": 59_029,
    "with a trace": 58_986,
    "graded": 54_116,
    "of good quality": 51_581,
    "unsolved": 24_496,
    "of these, outright": 384,
    "selected": 1_000,
}


def count_funnel(
    questions: pd.DataFrame, candidates: pd.DataFrame, features: pd.DataFrame, *, selected: int
) -> pd.DataFrame:
    """step, rows, paper (its count of the step, null where it has none), from all questions to the selected ones.

    `candidates` holds the training questions that are left after decontamination, `features` the difficulty pool.
    """
    dropped = candidates["dropped"]
    complete = drop_incomplete(features)
    good = complete[complete["quality"].isna() & ~complete["solved"].astype(bool)]
    steps = {
        "collected": len(questions),
        "training split": int((questions["split"] == "train").sum()),
        "decontaminated": len(candidates),
        "with a trace": int((dropped != NO_TRACE).fillna(True).sum()),
        "graded": int((~dropped.isin([NO_TRACE, NO_VERDICT])).sum()),
        "within the limit": int(find_usable(candidates).sum()),
        "of good quality": int(dropped.isna().sum()),
        "difficulty pool": len(features),
        "features known": len(complete),
        "unsolved": len(good),
        "of these, outright": int(good["outright"].notna().sum()),
        "selected": selected,
    }
    paper = pd.array([PAPER_FUNNEL.get(step) for step in steps], dtype="Int64")
    return pd.DataFrame({"step": list(steps), "rows": list(steps.values()), "paper": paper})
