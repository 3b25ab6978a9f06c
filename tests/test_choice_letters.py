"""Which option a free reply names: every usual spelling of every label; nothing where none or several are named."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1_utils.choice_letters import find_choice, find_label, name_options, read_choices, read_lone_label
from s1_utils.grading import extract_answer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LABELS = "ABCD"
TEXTS = {"A": "10", "B": "12", "C": r"\frac{x^2}{2}", "D": "None of these"}
SPELLINGS = [  # {} is the label
    "{}",
    "{}.",
    "({})",
    "{})",
    "[{}]",
    "**{}**",
    "**({})**",
    "*{}*",
    "`{}`",
    "${}$",
    "$({})$",
    "Option {}",
    "option ({})",
    "Choice {}.",
    r"\boxed{{{}}}",
    r"$\boxed{{{}}}$.",
    r"\fbox{{{}}}",
    r"\boxed{{({})}}",
    r"\boxed{{\text{{{}}}}}",
    r"\boxed{{\textbf{{({})}}}}",
    r"\boxed{{\mathrm{{{}}}}}",
    r"\boxed{{\mathbf{{({})\ }} 7}}",
    r"\boxed{{\text{{({}) }} 12}}",
    r"\[\boxed{{{}}}\]",
    "Answer: {}",
    "Answer: ({})",
    "Answer:\n\n{}",
    "**Answer:** {}",
    "**Answer**: {}",
    "**Answer: {}**",
    "Final Answer: {}",
    "Final Answer: The final answer is $\\boxed{{{}}}$. I hope it is correct.",
    "**Final Answer**\n\n\\boxed{{{}}}",
    "Final Answer\n\n({})",
    "The answer is {}.",
    "So the correct answer is ({}), because the others are too small for it to hold.",
    "The correct option is \\boxed{{{}}}",
    "The correct option is {}.",
    "Therefore, the correct choice is: **{}**",
    "The answer should be {}.",
    "Thus the answer must be option {}.",
    "The best choice among all of these would be ({}).",
    "After all of this we choose {}",
    "Hence we have to go with option {}.",
    "({}) 7 is what we get\n\nThe rest of the reply explains at some length why that is.",
    "{}. Because of the second law, and the first one as well, as was shown in class.",
    "{} is the correct answer, as all other ones contradict what the question says.",
    "Long reasoning that ends with a letter on a line of its own.\n\n{}",
    "Long reasoning that ends with a letter on a line of its own.\n\n({})\n",
    "<|im_start|>think\nAnswer: (D)? Or (A).\n<|im_start|>answer\n{}<|im_end|>",
    "<think>the answer is A, or B</think>\n\nThe answer is {}.",
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_usual_spelling_names_its_label(spelling, label):
    text = spelling.format(label)
    assert find_choice(text, LABELS) == label
    assert find_choice(text, TEXTS) == label
    assert extract_answer(text, "choice", LABELS) == label


@pytest.mark.parametrize("label", "abcd")
@pytest.mark.parametrize("spelling", ["{}", "({})", "{})", r"\boxed{{{}}}", "Answer: {}", "The answer is ({})."])
def test_a_small_letter_is_its_label(spelling, label):
    assert find_choice(spelling.format(label), LABELS) == label.upper()


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("12", "B"),
        (r"\boxed{12}", "B"),
        (r"so it is $\boxed{12.0}$ in the end", "B"),
        ("The answer is 10.", "A"),
        (r"The answer is $\dfrac{x^2}{2}$.", "C"),
        (r"\boxed{\frac{x^{2}}{2}}", "C"),
        ("Answer: none of these", "D"),
        ("Answer: 12 because ten is too few", "B"),
        ("Answer: (A) 12", "A"),
        ("Answer: 11", None),
        ("Answer: 10 or 12", None),
        (r"\boxed{120}", None),
        (r"\boxed{0.12}", None),
    ],
)
def test_an_options_text_stands_for_its_letter_unless_a_letter_is_named(text, label):
    assert find_choice(text, TEXTS) == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "Answer:",
        "I can't decide between these four options at all.",
        "A few things have to be considered before we can say anything.",
        "The answer is a matter of taste.",
        "A good answer: A lot of water is needed.",
        "Answer: B or C",
        "Answer: (B) and (C)",
        "Answer: A, B",
        "Both (A) and (B) hold",
        r"\boxed{A, C}",
        r"Answer: A is tempting. But no: \boxed{D}",
        "The answer is not A.",
        "The answer isn't (B).",
        "Answer: B, not C",
        "Answer: B\n\nThis answer is incorrect.",
        "Answer: B\n\nSo that the answer is:",
        "(B) is wrong",
        "Choices:\nA) 10\nB) 11\nC) 12\nD) 13",
        "Let me list the choices once more\n(A) 10\n(B) 11 is the second one",
        r"\boxed{12}",
        "Answer: Bern",
        "the vector B is orthogonal to all others and so its norm vanishes there, which was to be shown.",
        "The answer is that the field B is orthogonal to all others, so its norm vanishes.",
        "It may be A or B.",
        "It is (A) or (B), I can't tell.",
        "I'd choose B, or C if it rains.",
    ],
)
def test_where_no_option_or_several_are_named_none_is_the_answer(text):
    assert find_choice(text, LABELS) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer: A. Wait, that can't be.\n\nAnswer: B", "B"),
        (r"\boxed{A} was my first idea. The answer is C.", "C"),
        ("Answer: A is tempting.\n\nBut no: \\boxed{D}", "D"),
        ("The answer is B.\n\nI hope this answer is of use.", "B"),
        ("If the answer is A then it fails.\n\nSo it has to be the other one.\n\n(B)", "B"),
        ("A) too small\nB) fits\nC) too large\n\nAnswer: B", "B"),
    ],
)
def test_the_last_statement_that_names_an_option_counts(text, label):
    assert find_choice(text, LABELS) == label


@given(st.text("abcdefghijklmnop .,:\n", max_size=80))
def test_without_a_capital_or_a_lone_letter_nothing_is_ever_guessed(text):
    words = {word for word in "".join(c if c.isalpha() else " " for c in text).split() if len(word) == 1}
    assert words or find_choice(text, LABELS) is None


@given(st.text(max_size=200), st.lists(st.text("ABxyz1", min_size=1, max_size=3), min_size=1, max_size=5, unique=True))
def test_whatever_a_reply_holds_an_option_or_nothing_is_found(text, labels):
    for options in (labels, dict.fromkeys(labels, text[:9])):
        for reply in (text, f"Answer: {text}", rf"\boxed{{{text}}}"):
            assert find_choice(reply, options) in (None, *labels)


PIECES = [
    "{0}",
    "{1}",
    "{2}",
    "({3})",
    "({0})",
    *"().*:\n $",
    " or ",
    " and ",
    "Answer: ",
    "the option is ",
    " because ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.permutations(LABELS))
def test_renaming_the_labels_renames_the_answer(text, order):
    found, renamed = find_choice(text.format(*LABELS), LABELS), find_choice(text.format(*order), LABELS)
    assert renamed == (found and dict(zip(LABELS, order, strict=True))[found])


@pytest.mark.parametrize("text", ["Answer: " * 10**5, "(A) " * 10**5, "A\n" * 10**5, " " * 10**6, r"\boxed{" * 10**5,
                                  "answer" + " " * 10**6, "*" * 10**6, "\\text" * 10**5])  # fmt: skip
def test_a_megabyte_is_read_at_once(text):
    started = time.perf_counter()
    find_choice(text, TEXTS)
    assert time.perf_counter() - started < 5


# ------------------------------------------------------------------ unknown labels


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B", "B"), ("(B)", "B"), ("**B**", "B"), (r"\text{(B) } 12", "B"), ("A, C, D", "ACD"),
        ("A and C", "AC"), ("ACD", "ACD"), ("12", None), ("two words", None), ("B. The rest", None), ("", None),
    ],
)  # fmt: skip
def test_a_lone_label_is_read_without_knowing_the_options(text, label):
    assert read_lone_label(text) == label


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Answer: \boxed{B}", "B"),
        (r"After some thought we get \boxed{\text{C}} here.", "C"),
        ("So I conclude that the answer is (D).", "D"),
        (r"all of them hold: \boxed{A, C, D}", "ACD"),
        ("It took a while, but in the end we choose (B).", "B"),
    ],
)
def test_without_options_decorated_letters_are_read_too(text, answer):
    assert extract_answer(text, "choice") == answer


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("What?\n\nA) 1\nB) 2\nC) 3\nD) 4", {"A": "1", "B": "2", "C": "3", "D": "4"}),
        ("What?\nAnswer Choices:\n(A) one\n(B) two\nlines\n(C) 3\n\nThink.", {"A": "one", "B": "two\nlines", "C": "3"}),
        ("A. first part\n\nWhich?\nA. 1\nB. 2", {"A": "1", "B": "2"}),
        ("(A) only one", {}),
        ("B) 1\nC) 2", {}),
        ("What is 1 + 1?", {}),
    ],
)
def test_options_are_read_from_a_question(question, options):
    assert read_choices(question) == options


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (["A", "B", "C"], {"A": "A", "B": "B", "C": "C"}),
        (["(A)5", "(B)6"], {"A": "5", "B": "6"}),
        (["five", "six"], {"A": "five", "B": "six"}),
        ({"A": "five", "B": 6}, {"A": "five", "B": "6"}),
    ],
)
def test_options_come_in_the_forms_of_data_sets(value, options):
    assert name_options(value) == options


@pytest.mark.parametrize("value", ["ABCD", 4, ["A"], [], list(range(27)), None, {"A": 1}])
def test_what_are_no_options_is_refused(value):
    with pytest.raises(ValueError, match="2 to 26"):
        name_options(value)


@pytest.mark.parametrize(
    ("gold", "label"), [("B", "B"), ("(b)", "B"), ("$12$", "B"), ("none of these", "D"), ("13", None), ("", None)]
)
def test_gold_is_a_label_or_an_options_text(gold, label):
    assert find_label(gold, TEXTS) == label


@pytest.mark.parametrize("name", ["aqua-rat", "sat-math", "lsat-ar"])
def test_real_options_are_named_by_every_letter_and_by_their_texts(name):
    path = DATA / f"agieval_{name}.jsonl"
    if not path.exists():
        pytest.skip("no AGIEval here")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()][:60]
    for row in rows:
        options = name_options(row["options"])
        for label, text in options.items():
            assert find_choice(f"The answer is ({label}) {text}", options) == label
            assert find_choice(f"The answer is \\boxed{{{text}}}.", options) in (label, None)
            assert find_choice(f"Reasons.\n\n{label}", list(options)) == label
