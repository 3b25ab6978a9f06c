r"""CHAMP's 19,440 conversations with real models as rows to grade and vote on: 270 problems, 4 models, 18 prompts.

Knows the package's file, how its gold answers are worded, and where a summary of one sentence states an answer; never
sees gold while extracting, decides nothing, and finds nothing rather than guess. Answers in words need a judge.
Source: Mao et al. 2024 (arXiv 2401.06961): every model summed its own worked answer up in one sentence, and people
marked the first wrong step of two conversations a problem. Their finding that right answers often follow from wrong
steps is why `steps_right` False is no verdict on the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from s1_utils import math_text
from s1_utils.answer_text import find_boxed
from s1_utils.sources import find_champ, hash_question

# Prompts that give concepts at most, neither hints nor steps. "No C w/o H" is "0-Shot" under another name.
UNHINTED = ("0-Shot", "5-Shot", "Direct C w/o H", "Example C w/o H", "Misleading C w/o H", "Problem C w/o H")
LABELS = ("Yes", "No")
LONGEST, MOST_VERBS = 2000, 50  # characters of a summary that are read, verbs that are tried
COLUMNS = {
    "model": "str", "setting": "str", "question_id": "str", "sample": "int64", "question": "str", "gold": "string",
    "answer_type": "str", "options": "object", "response": "string", "summary": "string", "extracted": "string",
    "finish": "str", "steps_right": "boolean",
}  # fmt: skip

_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_NUMBER = rf"-?\d+(?:,\d{{3}})*(?:\.\d+)?|{'|'.join(_NUMBERS)}"
_COUNTED = re.compile(
    r"\W*(?:(?:therefore|thus|so|hence|in total|overall),?\s+)?(?:for\s+(?=all))?"
    r"(?:there\s+(?:are|is|exists?|will be)|all(?:\s+of)?(?:\s+the)?(?:\s+first)?|at\s+(?:least|most))\s+"
    rf"(?:a total of\s+|exactly\s+|only\s+|at\s+(?:least|most)\s+|approximately\s+)*({_NUMBER})\b(?!\s*[-+*/^=(])",
    re.IGNORECASE,
)
_BEFORE_COUNT = re.compile(
    r"(?:for|in|on|if|given|when|with|among|using)\b[^.;]{0,400}?,\s+(?=there\s+(?:are|is)\b)", re.IGNORECASE
)
_VERBS = [
    re.compile(r",\s+(?:is|are|equals?)\b", re.IGNORECASE),  # after a clause: the sentence's own
    re.compile(r"\b(?:is|are|equals?|be|was|becomes?)\b", re.IGNORECASE),
    re.compile(r"(?<![<>≤≥!])=|≡|\\equiv\b|\b(?:have|has|contains?)(?=\s+(?:at (?:least|most)\s+)?\d)", re.IGNORECASE),
]
_CLAUSE = re.compile(
    r",?\s+\b(?:which|where|when|because|since|as|if|given|such|for|achieved|attained|occurring|modulo|regardless|with|"
    r"that|who|while|but|this|under|in|among|of|by|assuming|using|derived)\b.*|[;]\s.*|\.(?:\s.*)?$|\s*\(?\\?(?:p?mod)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_LEADS = re.compile(
    r"^(?:given by|equal to|exactly|only|at most|at least|approximately|about|always|indeed|therefore|thus|simply|also|"
    r"(?:found|determined|calculated) to be|equals?|to|congruent to|the|a total of|closed[- ]form|"
    r"(?:expression|formula|value|number|fraction|binomial coefficient|polynomial|function|integer|limit|pair|"
    r"solution)s?|≡|=|:|\s)+(?=\W|\w)",
    re.IGNORECASE,
)
_AFTERTHOUGHT = re.compile(
    r",\s+(?:which|achieved|attained|reached|occurring|when|where|obtained|meaning|because|since|as|so|"
    r"and (?:it |this (?:value )?)?(?:is |can be )?(?:occurs|achieved|attained))\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"^\s*[A-Za-z](?:_\w|\([a-z]\)|_?\{\w+\})?\s*=(?!.*=)")
_COUNT_NOUN = re.compile(rf"^({_NUMBER})(?:\s+[a-z-]+){{0,4}}$", re.IGNORECASE)
_WRAPPERS = re.compile(r"\\[()\[\]]|\$+")
_CHOOSE = re.compile(r"\bC\(([^(),]+|[^(),]*\([^()]*\)[^(),]*),\s*([^(),]+)\)")

_LABEL = re.compile(r"\W*(yes|no)\s*[,.;:]", re.IGNORECASE)
_ASIDE = re.compile(r"\s*\((?:i\.e\.|none |no such).*$|,\s+or\s+.*$")
_GOLDS = [
    re.compile(pattern)
    for pattern in (
        r"The limit exists and is equal to (.+)",
        r"The only possible value for the limit is (.+)",
        r"(\S+) is the only possible value",
        r"(?:At least |At most )?(-?\d+) [a-z-]+(?: [a-z-]+)*",
    )
]


def read_champ_replies() -> pd.DataFrame:
    """One row a conversation, columns `COLUMNS`; sample 0. Raises StudyError if the package isn't installed.

    `response`: the worked answer, `summary`: its one sentence (null where the model's length ran out, finish "length"),
    `extracted`: what the summary states. answer_type: expression, choice (of Yes and No), or text, which is open.
    `steps_right`: whether people found no wrong step; null for conversations that they didn't read.
    """
    problems = json.loads(find_champ().read_text("utf-8"))["problems"]
    return pd.DataFrame([row for each in problems.values() for row in _read_problem(each)]).astype(COLUMNS)


def _read_problem(problem: dict[str, Any]) -> Iterator[dict[str, Any]]:
    answer_type, gold = read_gold(problem["_answer"])
    asked = {"question": problem["_text"], "question_id": hash_question(problem["_text"]), "sample": 0}
    annotated = problem["fws_annotations"] or {}
    for name, conversation in problem["conversations"].items():
        model, setting = name.split("|")
        said = [message for message in conversation["messages"] if message["role"] == f"Model.{model}"]
        response, summary = said[-2]["text"], said[-1]["text"]
        is_cut = any(message["error"] for message in said)
        yield {
            **asked, "model": model, "setting": setting, "gold": gold, "answer_type": answer_type,
            "options": LABELS if answer_type == "choice" else (),
            "response": response, "summary": summary, "extracted": find_stated(summary or "", answer_type),
            "finish": "length" if is_cut else "stop",
            "steps_right": annotated[name]["start_idx"] is None if name in annotated else None,
        }  # fmt: skip


def pool_prompts(rows: pd.DataFrame, settings: Sequence[str] = UNHINTED) -> pd.DataFrame:
    """The rows of these `settings` as samples of one, so that votes can be taken over prompts.

    A third of the conversations stand in the file more than once, wherever two prompts came out the same (a problem
    without concepts has none to explain): questions for which any model has a copy among `settings` are left out.
    """
    own = rows[rows["setting"].isin(settings)]
    copies = own["response"].notna() & own.duplicated(["model", "question_id", "response"])
    own = own[~own["question_id"].isin(own["question_id"][copies])]
    numbers = {setting: i for i, setting in enumerate(settings)}
    return own.assign(sample=own["setting"].map(numbers), setting=f"{len(numbers)} prompts")


def read_gold(answer: str) -> tuple[str, str | None]:
    """(answer_type, gold without what is said around it) of one of CHAMP's answers; of equivalent ones the first."""
    text = _ASIDE.sub("", answer.strip()).strip()
    if text in LABELS:
        return "choice", text
    for pattern in _GOLDS:
        if match := pattern.fullmatch(text):
            text = match[1]
            break
    text = re.sub(r"^([a-z])=([a-z])=(\S+)$", r"\1=\3, \2=\3", text)
    return ("expression", _drop_left_side(text)) if _is_mathematics(text) else ("text", answer.strip())


def find_stated(summary: str, answer_type: str) -> str | None:
    r"""What a sentence states as its answer, None if that can't be told: a box, Yes or No, a count, what a verb gives.

    Of several verbs the last one followed by mathematics and nothing else counts: "the product of x and y is 6".
    """
    text = " ".join(summary[:LONGEST].split())
    if answer_type == "choice":
        label = _LABEL.match(text)
        return label[1].capitalize() if label else None
    if answer_type != "expression":
        return None
    if boxed := find_boxed(text):
        return _spell(boxed)
    text = _WRAPPERS.sub("", text)
    before = _BEFORE_COUNT.match(text)
    if counted := _COUNTED.match(text, before.end() if before else 0):
        return _write_number(counted[1])
    own, said, written = _VERBS
    head = _AFTERTHOUGHT.split(text)[0]
    tries = [(text, own), (head, said), (head, written), (text, said), (text, written)]
    return next(filter(None, (_find_given(*each) for each in tries)), None)


def _find_given(text: str, verb: re.Pattern[str]) -> str | None:
    """What the last verb gives that is followed by a number (and what it counts) or by mathematics alone."""
    for match in reversed(list(verb.finditer(text))[-MOST_VERBS:]):
        given = _trim(text[match.end() :])
        if number := _COUNT_NOUN.match(given):
            return _write_number(number[1])
        if _is_mathematics(given):
            return _drop_left_side(given)
    return None


def _drop_left_side(text: str) -> str:
    """An equation's right side, if it only names or rewrites the left; lists of equations stay."""
    named = _NAME.sub("", _spell(text)).strip()
    is_list = "," in named or " and " in named
    return named.partition("=")[2].strip() if named.count("=") == 1 and not is_list else named


def _trim(text: str) -> str:
    """What a verb gives, without the words before it and the clauses after it."""
    return _CLAUSE.sub("", _LEADS.sub("", text.strip()).strip(" :")).strip(" .,")


def _write_number(text: str) -> str:
    return str(_NUMBERS.index(text.lower())) if text.lower() in _NUMBERS else text.replace(",", "")


def _spell(text: str) -> str:
    """With binomial coefficients as LaTeX has them."""
    return _CHOOSE.sub(r"\\binom{\1}{\2}", text)


def _is_mathematics(text: str) -> bool:
    spelled = math_text.read_answer(_spell(text)).text
    return bool(re.search(r"\w", spelled)) and not math_text.is_prose(spelled) and math_text.is_balanced(spelled)
