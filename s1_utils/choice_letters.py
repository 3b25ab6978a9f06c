r"""Which option a free reply to a choice question names: in any usual spelling, never by default, none where several.

Knows labels, how they are written, and the options' own texts; knows no gold and no model. What counts is the last
statement that names an option: a box, what follows "answer is", "the correct option:", "Answer:", or a last line that
is a label. A statement that names two options is no answer, nor is one that takes an answer back ("this answer is
wrong") or ends before it says anything; another one that names none is passed over.
Source: s1 section 4.1. Deviation: the original takes what is exactly one letter, asks gpt-4o-mini about all else, and
calls it "A" where that finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from s1_utils.answer_text import LONGEST_ANSWER, find_box, read_answer_part, take_line
from s1_utils.math_grader import decide_cheaply
from s1_utils.math_text import read_answer

LETTERS = "ABCDEFGH"  # where a question's own labels aren't known
MOST_OPTIONS, MOST_STATEMENTS, MOST_LINES = 26, 20, 500
FEW_WORDS = 8  # in which a bare letter can't be a name, an article or a quantity

_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|mbox|operatorname|text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|sf|it|tt)|bf|rm)(?![A-Za-z])"
)
_MARKUP = re.compile(r"[*`$~{}#>]|(?<!\w)_+|_+(?!\w)|\\[()\[\],;:! ]|\\q?quad(?![A-Za-z])|</?[a-z]{1,6}>")
_MARK = re.compile(
    r"\b(?:answer|option|choice|alternative)\b[\s*_]{0,9}"
    r"(?:(?:is|was)\b|(?:would|should|must|has\s+to|will)\s{1,9}be\b|:|=)[\s:*_]{0,9}",
    re.IGNORECASE,
)
_REASON = re.compile(r"^(?:not|neither|n['’]t)\b|\b(?:because|since|while|whereas)\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:not|\w+n['’]t|wrong|incorrect|false|eliminat\w*|rul\w+ out|cannot|impossible)\b", re.IGNORECASE
)
_ARTICLE = re.compile(
    r"\s+(?!(?:is|was|has|does|must|would|should|may|can|seems|fits|holds|works|gives|leads|and|or|to|in|on|with|for|as|by|"
    r"at|because|since)\b)[a-z]{2,}|['’][a-z]"
)
_LISTED = re.compile(r"^[ \t]{0,40}(?:\(([A-Z])\)|([A-Z])[).:])[ \t]*", re.MULTILINE)


@dataclass(frozen=True)
class _Spellings:
    """How the labels of a question are written. `by_case`: casefolded label → label, where that is unique."""

    labels: tuple[str, ...]
    shaped: re.Pattern[str]
    word: re.Pattern[str]
    decorated: re.Pattern[str]
    joined: re.Pattern[str]
    by_case: Mapping[str, str]

    def name(self, match: re.Match[str]) -> str:
        """The label that a match is of."""
        found = next(filter(None, match.groups()))
        return found if found in self.labels else self.by_case[found.casefold()]


# ------------------------------------------------------------------ options


def read_choices(question: str) -> dict[str, str]:
    """label → text of the last list of options "(A) …", "A) …" or "A. …" in a question, one a line; {} without one.

    Labels run from A without a gap, and are two or more.
    """
    found = list(_LISTED.finditer(question))
    labels = [match[1] or match[2] for match in found]
    if "A" not in labels:
        return {}
    first = len(labels) - 1 - labels[::-1].index("A")
    last = first
    while last + 1 < len(found) and ord(labels[last + 1]) == ord(labels[last]) + 1:
        last += 1
    ends = [match.start() for match in found[first + 1 : last + 1]]
    if not ends:
        return {}
    tail = re.search(r"\n[ \t]*\n", question[found[last].end() :])
    ends.append(found[last].end() + tail.start() if tail else len(question))
    texts = [question[match.end() : end].strip() for match, end in zip(found[first:], ends, strict=False)]
    return dict(zip(labels[first : last + 1], texts, strict=True))


def name_options(value: Any) -> dict[str, str]:
    """label → text of options as data sets bring them: an object, labels, texts, or texts with labels "(A)…".

    Raises ValueError for anything else, and for more than MOST_OPTIONS.
    """
    items = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(items, list | tuple) or not 1 < len(items) <= MOST_OPTIONS:
        raise ValueError(f"options must be 2 to {MOST_OPTIONS}, in a list or an object")
    if isinstance(value, Mapping):
        return {str(label): str(text) for label, text in items}
    texts = [str(item).strip() for item in items]
    if all(re.fullmatch("[A-Za-z]", text) for text in texts) and len(set(texts)) == len(texts):
        return {text: text for text in texts}
    labels = [chr(ord("A") + i) for i in range(len(texts))]
    listed = [_LISTED.match(text) for text in texts]
    if all(match and (match[1] or match[2]) == label for match, label in zip(listed, labels, strict=True)):
        texts = [text[match.end() :].strip() for text, match in zip(texts, listed, strict=True)]
    return dict(zip(labels, texts, strict=True))


def find_label(text: str, options: Mapping[str, str]) -> str | None:
    """The label of a gold answer: itself in any case or brackets, or the one option with this text; None if neither."""
    spellings = _spell(tuple(options))
    match = spellings.shaped.fullmatch(_strip_markup(text))
    return spellings.name(match) if match else _match_text(text, options)


# ------------------------------------------------------------------ replies


def find_choice(text: str, options: Sequence[str] | Mapping[str, str]) -> str | None:
    r"""The one label of `options` that a reply's last statement names; None without such a statement, or if several.

    `options`: the labels, or label → text, with which a reply may also give an option's text ("\boxed{12}" for B) 12).
    A letter wins over a text that belongs to another option.
    """
    text, spellings = read_answer_part(text), _spell(tuple(options))
    texts = options if isinstance(options, Mapping) else {}
    for statement in _list_statements(text, spellings, texts):
        named = _read_statement(statement, spellings, texts)
        if named or not statement or _DENIED.search(statement):
            return _only(named)
    if len(text.split()) <= 3:
        return None if _DENIED.search(text) else _only(_read_statement(text, spellings, texts))
    return _read_edges(text, spellings)


def read_lone_label(text: str) -> str | None:
    r"""The label that a text is nothing but, of options that aren't known: B of "(B)", "**B**" or "\text{(B) } 12".

    None for other texts. Letters of a question with several right options are one label: ACD of "A, C, D".
    """
    plain = _strip_markup(text)
    if match := re.fullmatch(r"\(([A-Za-z]{1,8})\)(?:\s.*)?|([A-Za-z]{1,8})[).:]?", plain):
        return match[1] or match[2]
    letters = re.fullmatch(r"[A-Z](?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s+)[A-Z]){1,7}", plain)
    return re.sub("[^A-Z]", "", plain) if letters else None


def _only(named: set[str]) -> str | None:
    return next(iter(named)) if len(named) == 1 else None


def _list_statements(text: str, spellings: _Spellings, texts: Mapping[str, str]) -> Iterator[str]:
    """What may name an option, from the last: a last line that is a label, and what follows marks or is in the box."""
    found = []
    if last := _find_last_label(text, spellings, texts):
        yield last
    for match in list(_MARK.finditer(text))[-MOST_STATEMENTS:]:
        line = take_line(text, match.end())
        found.append((text.find(line, match.end()) + len(line), line))
    if box := find_box(text):
        found.append((box.start, box.content[:LONGEST_ANSWER]))
    yield from (line for _, line in sorted(found, key=lambda each: -each[0]))


def _read_statement(line: str, spellings: _Spellings, texts: Mapping[str, str]) -> set[str]:
    """The labels that a statement names."""
    line = line[:LONGEST_ANSWER]
    if label := _match_text(line, texts):
        return {label}
    said = _REASON.split(_strip_markup(line), maxsplit=1)[0].strip()
    if match := spellings.shaped.match(said):
        label, rest = spellings.name(match), said[match.end() :]
        if not _name_words(rest, spellings) - {label} or _match_text(rest, texts) == label:
            return {label}
    named = _name_words(said, spellings)
    if len(named) == 1 and len(said.split()) > FEW_WORDS and not spellings.decorated.search(said):
        return set()
    return named or _find_texts(said, texts)


def _name_words(line: str, spellings: _Spellings) -> set[str]:
    """The labels that stand in a line as words of their own; A and I aren't where they are an article or a pronoun."""
    return {
        match[1]
        for match in spellings.word.finditer(line)
        if match[1] not in ("A", "I") or not _ARTICLE.match(line, match.end())
    }


def _find_last_label(text: str, spellings: _Spellings, texts: Mapping[str, str]) -> str:
    """The last line if it is a label, or a label and its option's text, and doesn't end a list of options; else ""."""
    lines = text.rstrip()[-2 * LONGEST_ANSWER :].splitlines()
    label, rest = _shape(lines[-1] if lines else "", spellings)
    if not label or (rest and _match_text(rest, texts) != label):
        return ""
    before = _shape(lines[-2], spellings)[0] if len(lines) > 1 else ""
    return lines[-1] if before in ("", label) else ""


def _read_edges(text: str, spellings: _Spellings) -> str | None:
    """The option that a reply begins with, if no line begins with another; else the only one its last line names."""
    lines = [line for line in text.splitlines() if line.strip()]
    lines = lines[:MOST_LINES] + lines[MOST_LINES:][-MOST_LINES:]
    if not lines:
        return None
    shapes = [_shape(line, spellings)[0] for line in lines]
    is_list = len(set(shapes) - {""}) > 1  # of options: none of its lines is a statement
    if shapes[0] and not is_list and not _DENIED.search(lines[0][:LONGEST_ANSWER]):
        return shapes[0]
    end = _strip_markup(lines[-1][-LONGEST_ANSWER:])
    if _DENIED.search(end) or (shapes[-1] and is_list):
        return None
    named = list(spellings.decorated.finditer(end))
    joined = [spellings.joined.match(end, match.end()) for match in named]  # "is A or B" names both
    return _only({spellings.name(match) for match in [*named, *joined] if match})


def _shape(line: str, spellings: _Spellings) -> tuple[str, str]:
    """(the label that a line begins with, "" without one; what follows it)."""
    line = _strip_markup(line[:LONGEST_ANSWER])
    match = spellings.shaped.match(line)
    return (spellings.name(match), line[match.end() :].strip()) if match else ("", "")


# ------------------------------------------------------------------ spellings and texts


@lru_cache(maxsize=256)
def _spell(labels: tuple[str, ...]) -> _Spellings:
    one = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True)) or "(?!)"
    folded = [label.casefold() for label in labels]
    by_case = {} if len(set(folded)) < len(folded) else dict(zip(folded, labels, strict=True))
    called = r"(?i:(?:the\s+)?(?:(?:correct|right|best|final)\s+)?(?:option|choice|answer|letter|alternative)\s*:?\s*)?"
    case = "i:" if by_case else ":"
    shaped = rf"{called}(?{case}[(\[]\s*({one})\s*[)\]]|({one})\s*(?:\)|[.:](?=\s|$)|$))"
    decorated = (
        rf"[(\[]\s*({one})\s*[)\]]|\b(?i:option|choice|answer|choose|pick|select|with|letter|is|be)\s+({one})(?!\w)|"
        rf"(?<!\w)({one})\s+(?i:(?:is|seems|must be|would be)\s+(?:the\s+)?(?:correct|right|best|answer|true|only))\b"
    )
    word = rf"(?<!\w)({one})(?!\w)"
    joined = rf"[\s,;)\]]{{0,4}}(?i:and|or|nor|/|,)\s{{0,2}}[(\[]?({one})(?!\w)"
    return _Spellings(labels, *(re.compile(each) for each in (shaped, word, decorated, joined)), by_case)


def _strip_markup(text: str) -> str:
    """`text` on one line, without what only sets it: wrappers of LaTeX, Markdown, braces, dollars, full stop."""
    plain = " ".join(_MARKUP.sub(" ", _WRAPPER.sub(" ", text)).split())
    return plain.rstrip(" ,;") if plain not in ("", ".") else ""


def _match_text(line: str, texts: Mapping[str, str]) -> str | None:
    """The label of the one option whose text, by exact rules, is what `line` says; None if none or several are."""
    if not texts or not line.strip():
        return None
    same = {label for label, text in texts.items() if text not in texts and _is_same(line, text)}
    return _only(same)


@lru_cache(maxsize=4096)
def _is_same(line: str, text: str) -> bool:
    if _fold(line) == _fold(text) != "":
        return True
    grade = decide_cheaply(line, text)
    return bool(grade and grade.correct)


@lru_cache(maxsize=4096)
def _fold(text: str) -> str:
    return read_answer(_strip_markup(text[:LONGEST_ANSWER])).text.casefold()


def _find_texts(line: str, texts: Mapping[str, str]) -> set[str]:
    """The labels of the options whose texts `line` holds as whole words, less those within a longer one found."""
    folded = _fold(line)
    found = {
        label: text
        for label, text in ((label, _fold(text)) for label, text in texts.items() if text not in texts)
        if text and re.search(rf"(?<![\w.]){re.escape(text)}(?!\w|\.\d)", folded)
    }
    return {
        label for label, text in found.items() if not any(text != other and text in other for other in found.values())
    }
