"""The pool of a study from its parameters: questions of any source, traces of any teacher, verdicts of all graders.

Joins sources, teachers, graders and the judge for notebook 1; knows nothing about how each works. Whatever costs money
is bounded by `max_usd` and journalled in a folder of its own beside the stage's: rebuilding the stage, or asking about
other questions, never pays twice.
Source: s1 section 2.1 (deviation: exact rules and algebra grade first, a model only what they leave open).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from s1_utils import api_teachers, judge, math_grader, sources, teachers
from s1_utils.api_teachers.requests import CLAUDE, DEEPSEEK_R1, GEMINI, OWN_SERVER, Teacher
from s1_utils.claude import Ask, ClaudeSettings, Reply, ask_claude
from s1_utils.errors import StudyError
from s1_utils.grading import extract_answer, grade_answer
from s1_utils.paper.sources import Collected, collect_paper_sources
from s1_utils.paper.table import PUBLISHED, SOURCES
from s1_utils.params import CollectParams
from s1_utils.puzzles import read_options
from s1_utils.qwen_tokens import count_qwen_tokens
from s1_utils.scaling import Interval
from s1_utils.store import Journal, hash_json

TEACHERS = {teacher.name: teacher for teacher in (GEMINI, DEEPSEEK_R1, CLAUDE)}
CALIBRATION = 200  # decided attempts that the judge sees as well
SAMPLE = 1000  # traces of each teacher that are counted in the paper's unit
HANDFUL = 20  # attempts up to which the judge is asked at once, without a batch and its discount
FREE = {"usd_per_million_input": 0.0, "usd_per_million_output": 0.0}
GRADES = "question_id teacher grader extracted correct how".split()


@dataclass(frozen=True)
class Judge:
    """Claude as a judge. `usd`: prices per million tokens, in and out; `folder`: of its journal.

    `max_usd`: for all that is asked there with one rubric.
    """

    model: str
    usd: Sequence[float]
    max_usd: float
    folder: Path


def collect_pool(p: CollectParams) -> dict[str, pd.DataFrame]:
    """The `questions` of all sources named, and `sources`: what became of each, and the files it came from (as JSON).

    A source of the paper that fails has its error there; `paper.sources.require_complete` raises for it.
    Raises StudyError for an unknown source or a bad file of one's own.
    """
    names = {source.name for source in SOURCES}
    named = [name for name in p.sources if name in names]
    own = [name for name in p.sources if name not in names]
    published = Collected(pd.DataFrame(), pd.DataFrame(columns=["source", "kept", "error"], dtype="string"), {})
    if named:
        pinned = dict(revision.split("@", 1) for revision in p.revisions)
        mirror = Path(p.mirror) if p.mirror else None
        published = collect_paper_sources(named, mirror=mirror, revisions=pinned, seed=p.seed, aime_until=p.aime_until)
    pool = sources.collect_questions(
        own,
        questions_per_family=p.questions_per_family,
        dev=p.dev_questions,
        test=p.test_questions,
        seed=p.seed,
        beside=published.questions if named else None,
    )
    made = pool[~pool["source"].isin(names)].groupby("source", sort=False).size().rename("kept").reset_index()
    table = pd.concat([made, published.sources], ignore_index=True)
    files = table["source"].map(lambda name: json.dumps(published.receipts.get(name, {})))
    return {"questions": pool, "sources": table.assign(files=files)}


def compare_with_paper(found: pd.DataFrame) -> pd.DataFrame:
    """The paper's sixteen sources and those of this run: hub id, the paper's count, ours."""
    pool = [source for source in SOURCES if source.name not in PUBLISHED]
    paper = pd.DataFrame([{"source": source.name, "hub": source.hub_id, "paper": source.expected} for source in pool])
    others = found.loc[~found["source"].isin(paper["source"]), ["source", "kept"]]
    joined = pd.concat([paper.merge(found[["source", "kept"]], on="source", how="left"), others.assign(hub="")])
    total = {"source": "all", "hub": "", "paper": joined["paper"].sum(), "kept": joined["kept"].sum()}
    joined = pd.concat([joined, pd.DataFrame([total])], ignore_index=True)
    return joined.astype({"paper": "Int64", "kept": "Int64"}).set_index("source").rename(columns={"kept": "here"})


# ------------------------------------------------------------------ traces


def collect_traces(
    questions: pd.DataFrame, tokenizer: Any, p: CollectParams, *, asked_folder: Path
) -> dict[str, pd.DataFrame]:
    """The `traces` and a summary of the `teachers`: the solver's and the sources' own, then those of `p.teacher`.

    The teacher is asked about training questions without a trace; `asked_folder` keeps what it said. Raises StudyError
    before `p.max_usd` is exceeded, by all that was asked there.
    """
    habits = {"give_up": p.give_up, "slip": p.slip, "check": p.check}
    own = teachers.collect_traces(questions, tokenizer, seed=p.seed, **habits)
    summary = own.groupby("teacher", sort=False).agg(
        asked=("question_id", "size"), traces=("question_id", "size"), mean_thinking_tokens=("thinking_tokens", "mean")
    )
    summary = summary.reset_index().assign(failures="", usd=0.0)[api_teachers.SUMMARY]
    if not p.teacher:
        return {"traces": own, "teachers": _add_qwen_tokens(summary, own)}
    left = questions[(questions["split"] == "train") & ~questions["question_id"].isin(own["question_id"])]
    teacher = find_teacher(p)
    with open_journal(asked_folder, teacher.name, replace(teacher, **FREE)) as journal:
        api_teachers.ask_teachers(left, teacher, journal, max_usd=p.max_usd, seed=p.seed)
        asked, failures = api_teachers.tabulate_traces(journal, left, tokenizer)
        found = api_teachers.summarise_asking(journal, asked, failures)
    traces = pd.concat([own, asked], ignore_index=True)
    return {"traces": traces, "teachers": _add_qwen_tokens(pd.concat([summary, found], ignore_index=True), traces)}


def _add_qwen_tokens(summary: pd.DataFrame, traces: pd.DataFrame) -> pd.DataFrame:
    """With the mean length in the paper's unit, of a sample of each teacher's traces: those of the least hash."""
    few = traces.sort_values("question_id").groupby("teacher").head(SAMPLE)
    means = few.assign(tokens=few["thinking"].map(count_qwen_tokens)).groupby("teacher")["tokens"].mean()
    return summary.assign(mean_qwen_tokens=summary["teacher"].map(means))


def open_journal(folder: Path, name: str, settings: Any) -> Journal:
    """The journal of everything that was asked with these settings, of which none is a price or a key."""
    key = hash_json(asdict(settings))[:16]
    return Journal(folder / f"{name}-{key}.jsonl", key)


def find_teacher(p: CollectParams) -> Teacher:
    """The teacher that the parameters name, with its model and prices. Raises StudyError if they aren't given."""
    known = TEACHERS.get(p.teacher)
    if known is None and not p.teacher.startswith(("http://", "https://")):
        raise StudyError(f"No teacher {p.teacher!r}: name one of {', '.join(TEACHERS)}, or give a server's URL.")
    if known and not all(p.teacher_usd):
        raise StudyError(f"{p.teacher} isn't free: set teacher_usd to its provider's prices per million tokens.")
    teacher = known or replace(OWN_SERVER, base_url=p.teacher)
    prices = {"usd_per_million_input": p.teacher_usd[0], "usd_per_million_output": p.teacher_usd[1]}
    return replace(teacher, model=p.teacher_model or teacher.model, **prices)


# ------------------------------------------------------------------ verdicts


def grade_traces(
    traces: pd.DataFrame,
    questions: pd.DataFrame,
    p: CollectParams,
    *,
    asked_folder: Path,
    spent: float = 0.0,
) -> pd.DataFrame:
    """The `trace_grades` table: every grader's own verdict on every attempt, one row a trace and grader.

    Graders: exact (labels and integers), math (expressions), published (verdicts that a set brings), and judge
    (`p.judge`: what exact and math leave open, and a sample of the rest; it may spend what `spent` leaves of
    `p.max_usd`). Columns question_id teacher grader extracted correct (null: undecided) how.
    """
    rows = join_attempts(traces, questions)
    graded = [rows.assign(grader="exact", how=""), _grade_expressions(rows)]
    table = pd.concat(graded, ignore_index=True)
    judged = pd.DataFrame()
    if p.judge:
        best = table.sort_values("correct", na_position="first").drop_duplicates("id", keep="last")
        judged = _ask_judge(best, p, asked_folder, max_usd=p.max_usd - spent)
    table = pd.concat([table, _read_published(rows), judged], ignore_index=True)
    return table[GRADES].astype({"correct": "boolean", "extracted": "string"})


def join_attempts(traces: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """What graders need, one row a trace: the attempt, the answer extracted from it, gold, and the exact verdict."""
    columns = ["question_id", "question", "solution", "answer", "answer_type", "metadata"]
    rows = traces[["question_id", "teacher", "attempt"]].merge(questions[columns], on="question_id")
    options = rows["metadata"].map(read_options)
    texts = zip(rows["attempt"], rows["answer_type"], options, strict=True)
    extracted = [extract_answer(*each) for each in texts]
    verdicts = zip(extracted, rows["answer"], rows["answer_type"], strict=True)
    rows["correct"] = pd.array([grade_answer(*each) for each in verdicts], dtype="boolean")
    rows["extracted"] = pd.array(extracted, dtype="string")
    rows["gold"] = rows["answer"].where(rows["answer"].notna(), rows["solution"])
    return rows.assign(id=rows["question_id"] + "/" + rows["teacher"])


def _grade_expressions(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that algebra may decide: expressions, and integers (which exact rules decide as well).

    An attempt in which no answer can be found is left open: a judge reads all of it.
    """
    asked = rows[rows["answer_type"].isin(["expression", "integer"])]
    as_expressions = asked.assign(answer_type="expression", gold=asked["answer"])
    graded = math_grader.grade_table(as_expressions.drop(columns="correct"))
    return graded.assign(correct=graded["correct"].mask(graded["how"] == "no answer"))


def _read_published(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdicts that a published set brings (s1K-1.1, by Claude 3.7): with them a new judge can be calibrated."""
    found = []
    for row in rows.itertuples():
        fields = json.loads(row.metadata)
        verdict = fields.get("gemini_grade" if row.teacher.startswith("Gemini") else "deepseek_grade")
        if verdict in ("Yes", "No"):
            found.append({**row._asdict(), "grader": "published", "correct": verdict == "Yes", "how": "Claude 3.7"})
    return pd.DataFrame(found, columns=[*rows.columns, "grader", "how"]).astype({"correct": "boolean"})


def _ask_judge(table: pd.DataFrame, p: CollectParams, asked_folder: Path, *, max_usd: float) -> pd.DataFrame:
    chosen = judge.select_undecided(table, sample=CALIBRATION, seed=p.seed)
    asked = Judge(p.judge, p.judge_usd, max_usd, asked_folder)
    asks = judge.make_grade_asks(chosen)
    replies = ask_judge(asks, asked, system=judge.GRADE_RUBRIC, schema=judge.GRADE_SCHEMA)
    verdicts = judge.read_grades(replies).merge(chosen[["id", "question_id", "teacher", "extracted"]], on="id")
    how = verdicts["failure"].where(verdicts["failure"] != "", verdicts["reason"])
    return verdicts.assign(grader="judge", correct=verdicts["judged"], how=how)


def ask_judge(asks: Sequence[Ask], asked: Judge, *, system: str, schema: dict[str, Any]) -> dict[str, Reply]:
    """The judge's reply to every ask, by its id; a handful is asked at once, more in batches.

    Raises StudyError for a retired model, without prices, and as `claude.ask_claude` does.
    """
    if asked.model in judge.SUCCESSORS:
        successor = judge.SUCCESSORS[asked.model]
        raise StudyError(f"{asked.model} is retired: set judge to its successor, such as {successor}.")
    if not all(asked.usd):
        raise StudyError(f"{asked.model} isn't free: set judge_usd to its provider's prices per million tokens.")
    read, write = asked.usd
    settings = ClaudeSettings(
        model=asked.model, system=system, schema=schema, max_usd=asked.max_usd,
        usd_per_million_input=read, usd_per_million_output=write,
        usd_per_million_cache_write=1.25 * read, usd_per_million_cache_read=0.1 * read,
        mode="direct" if len(asks) <= HANDFUL else "batch",
    )  # fmt: skip
    with Journal(asked.folder / "judge.jsonl", "judge") as journal:  # its records name the settings they belong to
        return ask_claude(asks, journal, settings=settings)


def grade_attempts(
    asked: pd.DataFrame, questions: pd.DataFrame, p: Any, *, asked_folder: Path, spent: float = 0.0
) -> pd.DataFrame:
    """Solvers' replies (question_id solver answer finish …, of `solver_models`) with extracted, correct and grader.

    `questions`: question_id question solution answer answer_type metadata; `p`: judge, judge_usd, max_usd, seed. A
    right verdict of exact rules or algebra counts, then a wrong one, then the judge's. correct is boolean, null where
    there is no reply or nobody could decide. Grader "no answer": a reply that was cut, or is empty, is wrong if nobody
    finds an answer in it. Deviation: the paper asks Claude 3.5, shown the gold answer, about all of them.
    """
    keys = ["question_id", "solver"]
    replies = asked[asked["answer"].notna()].rename(columns={"solver": "teacher", "answer": "attempt"})
    grades = grade_traces(replies, questions, p, asked_folder=asked_folder, spent=spent)
    grades = grades.rename(columns={"teacher": "solver"}).astype(asked[keys].dtypes.to_dict())
    extracted = grades.loc[grades["grader"] == "exact", [*keys, "extracted"]]
    own = grades[grades["grader"].isin(["exact", "math", "judge"]) & grades["correct"].notna()]  # not a set's own
    ranked = own.assign(late=own["grader"] == "judge").sort_values(["late", "correct"], ascending=[True, False])
    decided = ranked.drop_duplicates(keys)[[*keys, "correct", "grader"]]
    graded = asked.merge(extracted, on=keys, how="left").merge(decided, on=keys, how="left")
    graded = graded.astype({"extracted": "string", "correct": "boolean", "grader": "string"})
    has_gold = graded["question_id"].isin(questions.dropna(subset=["answer", "solution"], how="all")["question_id"])
    is_silent = (graded["finish"] == "length") | (graded["answer"].str.strip() == "")
    is_lost = is_silent.fillna(False) & has_gold & graded["extracted"].isna() & graded["correct"].isna()
    graded["grader"] = graded["grader"].mask(is_lost, "no answer")
    return graded.assign(correct=graded["correct"].mask(is_lost, False))


def compare_verdicts(grades: pd.DataFrame) -> pd.DataFrame:
    """For every two graders: attempts that both decided, how far they agree (share with its 95 % interval, Cohen's
    kappa), and what only one decided. A judge beside published verdicts is thereby calibrated.
    """
    wide = grades.pivot_table(index=["question_id", "teacher"], columns="grader", values="correct", aggfunc="first")
    names, rows = list(wide), []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = wide[[first, second]].dropna()
            found = judge.compare_graders(both, first=first, second=second) if len(both) else None
            share, kappa = (found.share, found.kappa.value) if found else (Interval(*[float("nan")] * 3), float("nan"))
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "both": len(both),
                    "agree": share.value,
                    "low": share.low,
                    "high": share.high,
                    "kappa": kappa,
                    "only first": int((wide[first].notna() & wide[second].isna()).sum()),
                    "only second": int((wide[second].notna() & wide[first].isna()).sum()),
                }
            )
    return pd.DataFrame(rows)
