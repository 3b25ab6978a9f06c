"""Overlap between texts: each rule against a loop over all pairs and positions, and what may never change a result."""

from __future__ import annotations

import random
import re
import sys
import unicodedata
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s1_utils.dedup import (
    POLICIES,
    SENTENCE,
    Index,
    Policy,
    find_duplicates,
    find_ngrams,
    find_overlaps,
    keep_letters,
    label,
    read_closely,
    split_words,
)

AUDITED = POLICIES["audited"]
LETTERS_ONLY = Policy(n=3, common=0)  # three words of at least 24 letters: small enough for loops
EVERY = [chr(point) for point in range(sys.maxunicode + 1)]
SPACES = [c for c in EVERY if c.isspace()]
FOLDED = ["a", "b", "İ", "ΑΣ"]  # lower case makes İ longer, and Σ another letter at the end of a word
EIGHT = "find the sum of all positive integers below"
SHORT = "What is the greatest prime below 2+3?"
TINY = "What is 2+3?"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)  # with lone surrogates
IDS = st.sampled_from("pqrstuv")


def paper(n, common=0, **settings):
    """The paper's rule for runs of n words."""
    return Policy(n=n, normalised=False, common=common, **settings)


def find_pairs(texts, references, policy, rule=None):
    """(train id, set, eval id) of the matches of one rule, or of all."""
    matches = find_overlaps(texts, references, policy)
    return {(m.train_id, m.eval_set, m.eval_id) for m in matches if rule in (None, m.rule)}


def is_found(item, text, policy=AUDITED, rule=None):
    return bool(find_pairs({"t": text}, {"e": {"i": item}}, policy, rule))


def compare_pairs(texts, references, is_shared):
    """Oracle: every training text with every item."""
    return {
        (text_id, eval_set, item_id)
        for text_id, text in texts.items()
        for eval_set, items in references.items()
        for item_id, item in items.items()
        if is_shared(text, item)
    }


def strip_numbers(matches):
    """Matches as values: the numbers of n-grams depend on the order in which an index met them."""
    return Counter(replace(match, grams=()) for match in matches)


def strip_counts(matches):
    """Matches without what depends on the other texts and items."""
    return Counter(replace(m, grams=(), common_train=0, common_eval=0, boilerplate=False) for m in matches)


# ------------------------------------------------------------------ the rule `words`


def dress(words, seed):
    """Words in any case, joined by any white space."""
    rng = random.Random(seed)
    dressed = [rng.choice([word, word.upper(), word.lower()]) for word in words]
    return rng.choice(["", *SPACES]) + "".join(word + rng.choice(SPACES) * rng.choice([1, 1, 2]) for word in dressed)


def make_texts(n):
    """Texts of which many share runs of about n words."""
    pieces = [("a",) * (n - 1), ("a", "b"), ("b", "a"), ("a",), ("İ",), ("ΑΣ", "a")]
    words = st.lists(st.sampled_from(pieces), max_size=6).map(lambda some: [word for piece in some for word in piece])
    return st.builds(dress, words, st.integers(0, 999))


def make_situations(sizes=(2, 3, 5, 8, 13)):
    """(n, training texts, evaluation sets)"""

    def fill(n):
        many = st.dictionaries(IDS, make_texts(n), max_size=4)
        return st.tuples(st.just(n), many, st.fixed_dictionaries({"e": many, "f": many}))

    return st.sampled_from(sizes).flatmap(fill)


def share_words(text, item, n):
    """Oracle: the paper's rule, position by position."""
    a, b = text.lower().split(), item.lower().split()
    return any(a[i : i + n] == b[j : j + n] for i in range(len(a) - n + 1) for j in range(len(b) - n + 1))


@settings(max_examples=200)
@given(make_situations())
def test_the_papers_rule_finds_what_a_loop_over_all_positions_finds(situation):
    n, texts, references = situation
    expected = compare_pairs(texts, references, lambda text, item: share_words(text, item, n))
    assert find_pairs(texts, references, paper(n)) == expected


@given(make_situations())
def test_the_rule_words_is_the_same_with_and_without_the_other_rules(situation):
    n, texts, references = situation
    expected = find_pairs(texts, references, paper(n))
    assert find_pairs(texts, references, Policy(n=n, common=0), "words") == expected


def test_a_planted_run_of_eight_words_is_found_with_its_places_in_both_texts():
    text, item = f"Please {EIGHT.upper()} such that", f"Long ago someone asked to {EIGHT} ten."
    (match,) = find_overlaps({"t": text}, {"e": {"i": item}}, POLICIES["s1"])
    assert (match.train_id, match.eval_set, match.eval_id, match.rule) == ("t", "e", "i", "words")
    assert match.text == text[match.train_start : match.train_end] == EIGHT.upper()
    assert item[match.eval_start : match.eval_end] == EIGHT
    assert (match.words, match.coverage) == (8, 8 / 14)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_seven_shared_words_are_no_overlap(policy):
    seven = EIGHT.removesuffix(" below")
    assert not is_found(f"Now {seven} k and less", f"Please {seven} m and more", policy)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_eight_shared_words_in_another_order_are_no_overlap(policy):
    assert not is_found(EIGHT, " ".join(EIGHT.split()[::-1]), policy)


@given(make_situations())
def test_a_reported_run_reads_the_same_in_both_texts(situation):
    n, texts, references = situation
    for match in find_overlaps(texts, references, paper(n)):
        item = references[match.eval_set][match.eval_id]
        assert match.text == texts[match.train_id][match.train_start : match.train_end] == match.text.strip()
        assert split_words(match.text) == split_words(item[match.eval_start : match.eval_end])
        assert match.words == len(match.text.split()) >= n
        assert match.coverage == match.words / len(item.split())


@given(make_situations())
def test_a_reported_run_is_as_long_as_it_gets_on_both_sides(situation):
    n, texts, references = situation
    for match in find_overlaps(texts, references, paper(n)):
        text, item = texts[match.train_id], references[match.eval_set][match.eval_id]
        before = split_words(text[: match.train_start])[-1:], split_words(item[: match.eval_start])[-1:]
        after = split_words(text[match.train_end :])[:1], split_words(item[match.eval_end :])[:1]
        for one, other in (before, after):
            assert not one or not other or one != other


@given(make_situations())
def test_every_shared_run_of_n_words_lies_in_a_reported_run(situation):
    n, texts, references = situation
    reported = {}
    for match in find_overlaps(texts, references, paper(n)):
        first = len(texts[match.train_id][: match.train_start].split())
        key = match.train_id, match.eval_set, match.eval_id
        reported.setdefault(key, []).append((first, first + match.words))
    for key in compare_pairs(texts, references, lambda text, item: share_words(text, item, n)):
        words, item = split_words(texts[key[0]]), split_words(references[key[1]][key[2]])
        owned = set(find_ngrams(item, n))
        for i, gram in enumerate(find_ngrams(words, n)):
            assert gram not in owned or any(first <= i and i + n <= last for first, last in reported[key])


@given(make_situations((2, 3)))
def test_the_longest_run_that_two_texts_share_is_reported(situation):
    n, texts, references = situation
    longest = Counter()
    for match in find_overlaps(texts, references, paper(n)):
        key = match.train_id, match.eval_set, match.eval_id
        longest[key] = max(longest[key], match.words)
    for (text_id, eval_set, item_id), words in longest.items():
        assert not share_words(texts[text_id], references[eval_set][item_id], words + 1)


@given(make_situations((2, 3)))
def test_no_reported_run_lies_within_another_of_the_same_pair(situation):
    n, texts, references = situation
    spans = {}
    for m in find_overlaps(texts, references, paper(n)):
        spans.setdefault((m.train_id, m.eval_set, m.eval_id), []).append((m.train_start, m.train_end))
    for some in spans.values():
        assert sum(a <= c and d <= b for a, b in some for c, d in some) == len(some)


@given(make_situations((2, 3, 5)))
def test_longer_runs_find_a_part_of_what_shorter_ones_find(situation):
    n, texts, references = situation
    assert find_pairs(texts, references, paper(n + 1)) <= find_pairs(texts, references, paper(n))


def test_an_item_of_one_word_a_thousand_times_is_found():
    assert is_found("no " * 1000, "yes " + "no " * 1000, POLICIES["s1"])


@given(st.lists(st.sampled_from("abc"), max_size=9), st.integers(1, 10))
def test_ngrams_are_all_windows_in_order(words, n):
    assert list(find_ngrams(words, n)) == [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


# ------------------------------------------------------------------ the rule `letters`

# rotations of one word, so that runs also agree at places where no word begins; ü and é count as u and e
STEMS = ["north", "orthn", "thnor", "northno", "zebra", "Zébrü"]
GLUE = [" "] * 8 + ["", "-", ", ", "\n", "\u00a0", " $", r"\left(", r"\,", r" \quad "]


def glue(words, seed):
    rng = random.Random(seed)
    return "".join(rng.choice([word, word.upper()]) + rng.choice(GLUE) for word in words)


PIECES = [tuple(STEMS[:3]), tuple(STEMS[1:5]), ("zebra", "north"), *((stem,) for stem in STEMS)]
STEM_TEXTS = st.builds(
    lambda pieces, seed: glue([stem for piece in pieces for stem in piece], seed),
    st.lists(st.sampled_from(PIECES), max_size=7),
    st.integers(0, 999),
)
STEM_MANY = st.dictionaries(IDS, STEM_TEXTS, max_size=3)


def spell(text):
    """Oracle: (letter, its position) for every letter and digit, with LaTeX spacing as white space."""
    text = re.sub(r"\\(left|quad)(?![A-Za-z])", lambda command: " " * len(command[0]), text)
    folded = [(i, unicodedata.normalize("NFKD", c.lower())) for i, c in enumerate(text)]
    return [(d, i) for i, many in folded for d in many if d.isalnum()]


def list_runs(item, text, policy):
    """Oracle: spans in `text` of n or more words of the item in a row, with enough letters and whole at both ends.

    The item's words are split at white space; the text only has to have something that is no letter, or nothing,
    before and after the run.
    """
    own = re.sub(r"\\(left|quad)(?![A-Za-z])", " ", item).split()
    words = [word for word in ("".join(d for d, _ in spell(word)) for word in own) if word]
    spelled = spell(text)
    letters, places = "".join(d for d, _ in spelled), [i for _, i in spelled]
    borders = {0, len(places)} | {k for k in range(1, len(places)) if places[k] > places[k - 1] + 1}
    for i in range(len(words)):
        for j in range(i + policy.n, len(words) + 1):
            run = "".join(words[i:j])
            for k in range(len(letters) - len(run) + 1 if len(run) >= policy.letters else 0):
                if letters[k : k + len(run)] == run and {k, k + len(run)} <= borders:
                    yield places[k], places[k + len(run) - 1] + 1


@settings(max_examples=200)
@given(STEM_MANY, STEM_MANY, st.sampled_from([LETTERS_ONLY, Policy(n=1, letters=23), Policy(n=4, letters=30)]))
def test_the_rule_letters_finds_what_a_loop_over_all_positions_finds(texts, items, policy):
    expected = compare_pairs(texts, {"e": items}, lambda text, item: any(list_runs(item, text, policy)))
    assert find_pairs(texts, {"e": items}, policy, "letters") == expected


@given(STEM_MANY, STEM_MANY)
def test_a_run_of_letters_spans_the_very_characters_in_both_texts(texts, items):
    for match in find_overlaps(texts, {"e": items}, LETTERS_ONLY):
        text, item = texts[match.train_id], items[match.eval_id]
        own = item[match.eval_start : match.eval_end]
        assert match.text == text[match.train_start : match.train_end]
        if match.rule != "words":
            assert keep_letters(match.text) == keep_letters(own)
            assert all(keep_letters(end) for end in (match.text[0], match.text[-1], own[0], own[-1]))
            assert match.coverage == len(keep_letters(own)) / len(keep_letters(item))


@given(STEM_TEXTS, STEM_TEXTS)
def test_a_run_of_letters_has_n_words_of_the_item_and_enough_letters(text, item):
    for match in find_overlaps({"t": text}, {"e": {"i": item}}, LETTERS_ONLY):
        if match.rule == "letters":
            own = re.sub(r"\\(left|quad)", " ", item[match.eval_start : match.eval_end]).split()
            assert match.words == sum(bool(spell(word)) for word in own) >= 3
            assert len(spell(match.text)) >= 24


@given(STEM_TEXTS, STEM_TEXTS)
def test_every_run_of_letters_lies_in_a_reported_run(text, item):
    spans = [(m.train_start, m.train_end) for m in find_overlaps({"t": text}, {"e": {"i": item}}, LETTERS_ONLY)]
    for start, end in list_runs(item, text, LETTERS_ONLY):
        assert any(first <= start and end <= last for first, last in spans)


FORMULA = r"Let \(f(x) = \frac{1}{2} - 3 \leq g\) be naïve: find $ABC$ with 'a' < 0.5 and don't stop at café tables."
FULL_WIDTH = {c: c + 0xFEE0 for c in range(ord("!"), ord("~") + 1)}


def keep_latex(text, change):
    """The text changed, but not its commands."""
    return "".join(part if part.startswith("\\") else change(part) for part in re.split(r"(\\\w+)", text))


VARIANTS = {
    "case": lambda text: keep_latex(text, str.upper),
    "curly quotes": lambda text: text.replace("'", "’"),
    "full-width letters": lambda text: keep_latex(text, lambda part: part.translate(FULL_WIDTH)),
    "another minus": lambda text: text.replace("-", "−"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "no punctuation": lambda text: re.sub(r"[^\w\s\\]", "", text),
    "no spaces": lambda text: re.sub(r"(?<!\\leq) ", "", text),
    "spaced names": lambda text: text.replace("$ABC$", "$A B C$"),
    "left and right": lambda text: text.replace("(x)", r"\left( x \right)"),
    "dfrac": lambda text: text.replace(r"\frac", r"\dfrac"),
    "spacing commands": lambda text: text.replace(" = ", r"\,=\quad "),
    "le": lambda text: text.replace(r"\leq", r"\le"),
    "composed accents": lambda text: unicodedata.normalize("NFC", text),
    "combining accents": lambda text: unicodedata.normalize("NFD", text),
    "no accents": lambda text: text.replace("ï", "i").replace("é", "e"),
    "ligatures": lambda text: text.replace("fi", "ﬁ"),
    "soft hyphens": lambda text: text.replace("tables", "ta\u00adbles"),
}


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("is_item", [False, True], ids=["in training", "in the item"])
def test_another_spelling_of_the_same_letters_is_found_whole(change, is_item):
    # also when the item is the one in another spelling, and inside a longer text
    item, text = (change(FORMULA), FORMULA) if is_item else (FORMULA, change(FORMULA))
    matches = find_overlaps({"t": f"Yes. {text} And so on."}, {"e": {"i": item}})
    longest = max(match.coverage for match in matches if match.rule != "words")
    assert longest == 1


@given(STEM_TEXTS, STEM_TEXTS, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_case_never_changes_what_the_rule_letters_finds(text, item, change):
    other = keep_latex(text, change)
    assert is_found(item, text, LETTERS_ONLY, "letters") == is_found(item, other, LETTERS_ONLY, "letters")


def test_a_run_that_begins_or_ends_inside_a_training_word_is_no_overlap():
    assert is_found(EIGHT, f"(({EIGHT}))", rule="letters")
    assert not is_found(EIGHT, f"re{EIGHT}")
    assert not is_found(EIGHT, f"{EIGHT}s")
    assert not is_found(EIGHT.removeprefix("f"), EIGHT.replace("fi", "ﬁ"))


@pytest.mark.parametrize("letter", "xж数")
@pytest.mark.parametrize("count", [23, 24])
def test_eight_words_of_an_item_need_24_letters_in_any_alphabet(letter, count):
    run = "-".join([letter * 3] * 7 + [letter * (count - 21)])
    item = f"Say {run.replace('-', ' ')} and nothing else"
    assert is_found(item, f"? {run} !", rule="letters") == (count == 24)
    assert is_found(run.replace("-", " "), f"? {run} !", rule="letters" if count == 24 else "short")


@pytest.mark.parametrize("count", range(SENTENCE, 33))
def test_an_item_is_found_wherever_it_begins_and_ends(count):
    # the index looks at every eighth letter only
    item = " ".join(("abcdefghijklmnopqrstuvwxyz" * 2)[i : min(i + 7, count)] for i in range(0, count, 7))
    for before in range(9):
        for after in range(9):
            assert is_found(item, f"{'x' * before}, {item.replace(' ', ', ')} {'y' * after}", Policy(n=2, letters=23))


@pytest.mark.parametrize("length", [3, 4, 7])
def test_every_eight_words_of_an_item_are_found_wherever_they_begin(length):
    words = [f"{i:0{length}}" for i in range(40)]
    for start in range(len(words) - 7):
        run = "-".join(words[start : start + 8])
        for before in range(8):
            assert is_found(" ".join(words), f"{'x' * before} {run} y", rule="letters")


@pytest.mark.parametrize("rule", ["words", "letters"])
def test_two_runs_apart_are_both_reported(rule):
    item = f"{EIGHT} {' '.join(FORMULA.split())}"
    text = f"{FORMULA}\nyes\n{EIGHT}"
    spans = [(m.train_start, m.train_end) for m in find_overlaps({"t": text}, {"e": {"i": item}}) if m.rule == rule]
    assert sorted(text[start:end].rstrip(".") for start, end in spans) == sorted([FORMULA.rstrip("."), EIGHT])


@pytest.mark.parametrize("rule", ["words", "letters"])
def test_in_an_item_that_repeats_itself_the_longest_run_is_reported(rule):
    item, text = f"{EIGHT} ten. {EIGHT} nine. {EIGHT} nine hundred", f"{EIGHT} nine hundred"
    matches = find_overlaps({"t": text}, {"e": {"i": item}})
    assert [(m.words, m.text) for m in matches if m.rule == rule] == [(10, text)]


# ------------------------------------------------------------------ the rule `short`

TOKENS = st.sampled_from(["alpha", "beta", "gamma", "delta", "1", "2", "12", "+", "/", "=", "^"])
SHORT_ITEMS = st.lists(TOKENS, min_size=1, max_size=7).map(lambda some: strip_operators(some))


def is_operator(token):
    return not token.isalnum()


def strip_operators(tokens):
    """The tokens from the first to the last that has letters or digits."""
    own = [i for i, token in enumerate(tokens) if not is_operator(token)]
    return tokens[own[0] : own[-1] + 1] if own else []


def space_tokens(tokens, seed, is_item):
    """What stands after each token: an item has only spaces, a training text punctuation, lines, or nothing."""
    rng = random.Random(seed)
    gaps = []
    for one, other in zip(tokens, [*tokens, "+"][1:], strict=True):
        if is_operator(one) or is_operator(other):
            gaps.append(rng.choice(["", " "]))
        elif is_item or (one.isdigit() and other.isdigit()):
            gaps.append(" ")
        else:
            gaps.append(rng.choice([" ", " ", "", ", ", ". ", "\n"]))
    return gaps


def is_short_found(item, tokens, gaps):
    """Oracle: the item's tokens stand in a row, as no part of a longer formula; if they have few letters, they are all
    that has letters between two ends of sentences."""

    def stands_apart(i, j):
        """Whether tokens[i:j] are whole words and numbers, and no operator links them with a number outside."""
        is_begun = i == 0 or gaps[i - 1] or is_operator(tokens[i - 1])
        is_ended = j == len(tokens) or gaps[j - 1] or is_operator(tokens[j])
        is_led_to = i > 0 and is_operator(tokens[i - 1]) and item[0].isdigit()
        after = tokens[j : j + 2]
        is_led_on = len(after) == 2 and is_operator(after[0]) and after[1].isdigit()
        return is_begun and is_ended and not is_led_to and not is_led_on

    def is_sentence(i, j):
        while i > 0 and is_operator(tokens[i - 1]):
            i -= 1
        while j < len(tokens) and is_operator(tokens[j]):
            j += 1
        return (i == 0 or gaps[i - 1] in (". ", "\n")) and (j == len(tokens) or gaps[j - 1] in (". ", "\n"))

    is_tiny = sum(len(token) for token in item if not is_operator(token)) < SENTENCE
    places = [(i, i + len(item)) for i in range(len(tokens)) if item and tokens[i : i + len(item)] == item]
    return any(stands_apart(*place) and (not is_tiny or is_sentence(*place)) for place in places)


@settings(max_examples=200)
@given(SHORT_ITEMS, st.lists(TOKENS, max_size=4), st.lists(TOKENS, max_size=4), st.data())
def test_the_rule_short_finds_what_a_loop_over_all_tokens_finds(item, before, after, data):
    tokens = before + item + after
    if tokens and data.draw(st.booleans()):
        tokens[data.draw(st.integers(0, len(tokens) - 1))] = data.draw(TOKENS)
    seed = data.draw(st.integers(0, 999))
    gaps, own = space_tokens(tokens, seed, False), space_tokens(item, seed, True)
    text, item_text = ("".join(map("".join, zip(*pair, strict=True))) for pair in ((tokens, gaps), (item, own)))
    assert is_found(item_text, text, rule="short") == is_short_found(item, tokens, gaps)


PLACES = ["{}", "  {}\n", "Hello! {} Thanks.", "Solve.\n{}\nShow your work.", '"{}"', "${}$", "**{}**", "Q: {}"]
PLACES += ["(1) {}", "1. {}", "Question 1.\n{}", "{}\n2. Why?", "{}\n- Why?"]
BULLETS = ["- {}", "* {}", "> {}"]


@pytest.mark.parametrize("item", [SHORT, TINY, "A man has 53 socks.", "2+2?"])
@pytest.mark.parametrize("place", PLACES + BULLETS)
def test_a_short_item_is_found_as_a_sentence_wherever_it_stands(item, place):
    # before a number, a bullet may be an operator
    assert is_found(item, place.format(item)) or (place in BULLETS and item[0].isdigit())


def test_a_short_item_is_found_inside_a_sentence_but_not_one_of_a_few_letters():
    text = "He asked me: tell me, {}, and do it now"
    assert is_found(SHORT, text.format(SHORT.strip("?")))
    assert not is_found(TINY, text.format(TINY.strip("?")))


def test_each_of_several_short_items_is_found():
    items = {"a": TINY, "b": "Is 7 odd?", "c": "Why?", "d": SHORT, "e": "Who wrote the poem of the two roads?"}
    texts = {item_id: f"{item} {item}" for item_id, item in items.items()}
    assert find_pairs(texts, {"e": items}, AUDITED) == {(item_id, "e", item_id) for item_id in items}


def test_few_letters_are_few_in_any_alphabet():
    # as many letters each, in one, two and three bytes
    for letter in "xж数":
        few = letter * (SENTENCE - 1)
        assert not is_found(few, f"tell me {few} now")
        assert is_found(f"{letter} {few}", f"tell me {letter} {few} now")


@pytest.mark.parametrize("item", [SHORT, TINY], ids=["short", "tiny"])
@pytest.mark.parametrize("other", ["2-3", "2*3", "23", "2 3", "2+30", "12+3", "2+4", "2+x", "3+2", "2+3x", "1+2+3"])
def test_a_short_item_with_another_operator_or_number_is_not_found(item, other):
    assert not is_found(item, item.replace("2+3?", f"{other}?"))


@pytest.mark.parametrize("item", [SHORT, TINY], ids=["short", "tiny"])
@pytest.mark.parametrize("other", ["2+3.5", "2+3,000", "2+3^2", "2+3/4", "2+3²", "2+3+4"])
def test_a_short_item_whose_last_number_goes_on_is_not_found(item, other):
    assert not is_found(item, item.replace("2+3?", f"{other}?"))


@pytest.mark.parametrize("item", [SHORT, TINY], ids=["short", "tiny"])
@pytest.mark.parametrize(
    "other", ["2 + 3", "2+ 3", r"2\,+\,3", "$2+3$", r"\left(2+3\right)", "２+３", "2\u00a0+\u00a03"]
)
def test_spacing_and_typesetting_hide_no_short_item(item, other):
    assert is_found(item, item.replace("2+3", other))


@given(SHORT_ITEMS, st.integers(0, 999))
def test_a_short_item_covers_itself_and_spans_its_letters(item, seed):
    text = "".join(map("".join, zip(item, space_tokens(item, seed, True), strict=True)))
    for match in find_overlaps({"t": f"Yes. {text}. No."}, {"e": {"i": text}}):
        assert (match.rule, match.coverage, match.text) == ("short", 1, text.strip())


# ------------------------------------------------------------------ any text


@settings(max_examples=200)
@given(ANY_TEXT | st.text(list("aB2 .?=-+∞√∑≤\\−"), max_size=12))
def test_a_copy_of_an_item_is_found_unless_the_item_is_said_to_be_invisible(text):
    index = Index()
    index.add("e", {"i": text})
    assert bool(list(index.scan({"t": text}))) != bool(index.find_invisible("any"))


@pytest.mark.parametrize(
    "item",
    [
        "Evaluate the limit as x → ∞",
        "∑ of the first 100 integers",
        "√2 is what kind of number?",
        "-5 is what kind of number, dear?",
        "2+2=?",
        "-5",
        "2+2＝？",
        "¿Qué es x?",
        "#1",
        r"\leq five hundred apples",
        "\u200fx",
    ],
)
def test_a_copy_of_an_item_with_signs_at_its_ends_is_found(item):
    assert is_found(item, item)


@given(st.dictionaries(IDS, ANY_TEXT, max_size=4), st.dictionaries(IDS, ANY_TEXT, max_size=4))
def test_any_text_is_handled(texts, items):
    for match in find_overlaps(texts, {"e": items}, Policy(n=2)):
        assert match.text == texts[match.train_id][match.train_start : match.train_end]
        assert keep_letters(match.text) == keep_letters(items[match.eval_id][match.eval_start : match.eval_end])


@pytest.mark.parametrize("junk", ["", " ", "?!", "\0", "\ud800", "\u200f", "\u0301", "\ufeff", "\U0010ffff"])
def test_a_run_beside_odd_characters_is_found_by_both_rules(junk):
    text = f"{junk} {EIGHT} {junk}"
    matches = find_overlaps({"t": text, "empty": "", "odd": junk}, {"e": {"i": EIGHT, "odd": junk, "empty": ""}})
    assert {(m.train_id, m.eval_id, m.rule, m.text) for m in matches} == {
        ("t", "i", "words", EIGHT),
        ("t", "i", "letters", EIGHT),
    }


def test_a_text_of_two_million_characters_is_searched_to_its_end():
    rng = random.Random(0)
    text = " ".join(rng.choices([f"word{i}" for i in range(1000)], k=280_000)) + f"\n\n{EIGHT.upper()}"
    assert len(text) > 2_000_000
    spans = {(m.rule, m.train_start, m.train_end) for m in find_overlaps({"t": text}, {"e": {"i": EIGHT}})}
    assert spans == {(rule, len(text) - len(EIGHT), len(text)) for rule in ("words", "letters")}


# ------------------------------------------------------------------ letters, character by character


def test_what_a_character_gives_to_the_letters_never_depends_on_its_neighbours():
    is_alike = keep_letters("a".join(EVERY)) == b"a".join(map(keep_letters, EVERY))
    assert is_alike


def test_places_are_right_after_any_character():
    for first in range(0, len(EVERY), 4096):
        block = "".join(EVERY[first : first + 4096])
        text = f"{block} {EIGHT} {block}"
        places = {(m.train_start, m.train_end, m.rule) for m in find_overlaps({"t": text}, {"e": {"i": EIGHT}})}
        assert places == {(4097, 4097 + len(EIGHT), rule) for rule in ("words", "letters")}


def test_lower_case_and_patterns_split_words_where_text_is_split():
    # spans are those of \S+ in the text, words those of its lower case
    text = "a".join(EVERY)
    words = text.split()
    is_alike = re.findall(r"\S+", text) == words and text.lower().split() == [word.lower() for word in words]
    assert is_alike


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD", "upper", "lower", "casefold"])
def test_case_width_and_accents_give_no_other_letters(form):
    text = "\n".join(EVERY).replace("ı", "")  # Turkish i without a dot: the capital of two letters is I
    other = unicodedata.normalize(form, text) if form.startswith("N") else getattr(text, form)()
    is_alike = keep_letters(text) == keep_letters(other)
    assert is_alike


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("The 2nd, naïve CAFÉ’s", b"the2ndnaivecafes"),
        ("ﬁne ＡＢＣ１２", b"fineabc12"),
        (r"\left( \dfrac{1}{2} \right) \leq \text{if} \quad", b"frac12leif"),
        (r"\leftarrow \texture \quadratic \neq", b"leftarrowtexturequadraticne"),
        ("Ответ 数", "ответ数".encode()),
        ("\ud800 \0 ?!", b""),
    ],
)
def test_letters_are_kept_as_listed(text, letters):
    assert keep_letters(text) == letters


# ------------------------------------------------------------------ boilerplate


def label_by_hand(texts, references, policy):
    """Oracle for the rule `words`: (pair, common_train, common_eval, boilerplate) of every run, counted anew."""
    n = policy.n
    windows = {text: set(find_ngrams(text, n)) for text in {tuple(split_words(text)) for text in texts.values()}}
    items = {tuple(split_words(item)) for some in references.values() for item in some.values()}
    owned = Counter(gram for item in items for gram in set(find_ngrams(item, n)))
    runs = [(m, set(find_ngrams(split_words(m.text), n))) for m in find_overlaps(texts, references, policy)]

    def is_boilerplate(match, grams, staying):
        held = {gram: sum(gram in windows[text] for text in staying) for gram in grams}
        is_common = all(held[gram] >= policy.common or owned[gram] >= policy.common for gram in grams)
        return policy.common > 0 and match.coverage < policy.covering and is_common

    staying, before = set(windows), None
    while staying != before:
        before = set(staying)
        staying -= {tuple(split_words(texts[m.train_id])) for m, grams in runs if not is_boilerplate(m, grams, before)}
    return {
        (
            replace(m, grams=(), digest=0),
            min(sum(gram in some for some in windows.values()) for gram in grams),
            min(owned[gram] for gram in grams),
            is_boilerplate(m, grams, staying),
        )
        for m, grams in runs
    }


def make_crowds(texts):
    """Many training texts and two sets of items, of few different texts."""
    many = st.dictionaries(st.integers(0, 30).map(str), texts, max_size=9)
    return st.tuples(many, st.fixed_dictionaries({"e": many, "f": many}))


CROWDS = make_crowds(make_texts(3))
LETTER_CROWDS = make_crowds(STEM_TEXTS)
COMMON = st.integers(0, 4)
COVERING = st.sampled_from([0.0, 0.5, 0.8, 1.0])


@given(CROWDS, COMMON, COVERING)
def test_how_common_a_run_is_equals_a_count_over_all_texts(crowd, common, covering):
    texts, references = crowd
    policy = paper(3, common, covering=covering)
    matches = find_overlaps(texts, references, policy)
    found = {(replace(m, grams=(), digest=0), m.common_train, m.common_eval, m.boilerplate) for m in matches}
    assert found == label_by_hand(texts, references, policy)


@given(CROWDS | LETTER_CROWDS, COMMON, COVERING)
def test_after_the_removal_of_what_is_found_nothing_more_is_found(crowd, common, covering):
    texts, references = crowd
    policy = Policy(n=3, common=common, covering=covering)
    removed = {match.train_id for match in find_overlaps(texts, references, policy) if not match.boilerplate}
    kept = {text_id: text for text_id, text in texts.items() if text_id not in removed}
    assert all(match.boilerplate for match in find_overlaps(kept, references, policy))


@given(CROWDS | LETTER_CROWDS, COMMON, COVERING)
def test_what_covers_most_of_an_item_is_never_boilerplate(crowd, common, covering):
    texts, references = crowd
    matches = find_overlaps(texts, references, Policy(n=3, common=common, covering=covering))
    assert not any(match.boilerplate for match in matches if match.coverage >= covering or not common)


LONG = f"{EIGHT} one hundred that are neither even nor multiples of any square"
VARIED = f"{EIGHT.upper().replace(' ', '-')}!"  # the same letters, no word in common


def make_crowd(count, tail="and number {} as well"):
    return {f"t{i:02}": f"{EIGHT} {tail.format(i)}" for i in range(count)}


@pytest.mark.parametrize("rule", ["words", "letters"])
@pytest.mark.parametrize(("count", "expected"), [(9, False), (10, True)])
def test_a_run_of_ten_different_training_texts_is_boilerplate(rule, count, expected):
    matches = find_overlaps(make_crowd(count), {"e": {"i": LONG}})
    assert {(m.boilerplate, m.common_train, m.common_eval) for m in matches if m.rule == rule} == {(expected, count, 1)}


@pytest.mark.parametrize("rule", ["words", "letters"])
@pytest.mark.parametrize(("count", "expected"), [(9, False), (10, True)])
def test_a_run_of_ten_different_items_is_boilerplate(rule, count, expected):
    items = {
        i: f"{text} and much more of it, for the run not to cover the item" for i, text in make_crowd(count).items()
    }
    matches = find_overlaps({"t": EIGHT if rule == "words" else VARIED}, {"e": items})
    labels = {(m.boilerplate, m.common_train, m.common_eval) for m in matches if m.rule == rule}
    assert labels == {(expected, 1, count)}


@pytest.mark.parametrize("rule", ["words", "letters"])
def test_equal_training_texts_count_once(rule):
    texts = make_crowd(20, "and the same number")
    texts = {text_id: dress(text.split(), i) for i, (text_id, text) in enumerate(texts.items())}
    matches = find_overlaps(texts, {"e": {"i": LONG}})
    assert {(m.boilerplate, m.common_train) for m in matches if m.rule == rule} == {(False, 1)}


@pytest.mark.parametrize("rule", ["words", "letters"])
def test_equal_items_count_once(rule):
    references = {f"set {i}": {"i": dress(LONG.split(), i)} for i in range(20)}
    matches = find_overlaps({"t": EIGHT if rule == "words" else VARIED}, references)
    assert {(m.boilerplate, m.common_eval) for m in matches if m.rule == rule} == {(False, 1)}


def test_a_text_that_goes_for_another_match_makes_no_run_common():
    # nine texts share only a common run; the tenth also holds an item whole, and goes
    texts = make_crowd(9) | {"whole": f"{EIGHT} and {SHORT}"}
    matches = find_overlaps(texts, {"e": {"i": LONG, "short": SHORT}})
    assert {(m.eval_id, m.boilerplate) for m in matches} == {("i", False), ("short", False)}
    assert {m.common_train for m in matches if m.rule == "words"} == {10}


def test_one_rare_run_makes_a_match_no_boilerplate():
    texts = make_crowd(10) | {"rare": LONG.removesuffix(" that are neither even nor multiples of any square")}
    labels = {m.train_id: m.boilerplate for m in find_overlaps(texts, {"e": {"i": LONG}}, paper(8, 10))}
    assert labels == {text_id: text_id != "rare" for text_id in texts}


def test_a_rare_run_of_letters_is_no_boilerplate_beside_a_longer_common_one():
    # the item repeats "quarter million bananas": once after words that are common, once before a rare one
    common, repeated = "wonderful elephants counted", "quarter million bananas"
    item = f"{common} {repeated} whatever happened before midnight {repeated} today forever and always"
    texts = {f"t{i}": f"{common}-{repeated}, {i}" for i in range(10)} | {"t": f"{common}-{repeated}, today"}
    matches = find_overlaps(texts, {"e": {"i": item}}, Policy(n=4, common=10))
    assert not all(match.boilerplate for match in matches if match.train_id == "t")


# ------------------------------------------------------------------ what may never change a result

# two runs of the second item overlap in the text, and the first item makes the seeds of the longer one common
REPETITIVE = (
    {"t": "north orthnthnor north,orthn thnor-north orthn thnor"},
    {
        "e": {"i": "north orthnthnor north,orthn thnor"},
        "f": {"i": "north orthnthnor north,orthn thnor-north orthn thnor north, orthn thnor"},
    },
)


@given(CROWDS | LETTER_CROWDS, st.integers(0, 999))
@example(REPETITIVE, 1)
def test_no_order_of_texts_items_or_sets_changes_what_is_found(crowd, seed):
    texts, references = crowd
    policy, rng = Policy(n=3, common=2), random.Random(seed)
    shuffled = {name: dict(rng.sample(list(some.items()), len(some))) for name, some in reversed(references.items())}
    other = find_overlaps(dict(rng.sample(list(texts.items()), len(texts))), shuffled, policy)
    assert strip_numbers(other) == strip_numbers(find_overlaps(texts, references, policy))


@given(LETTER_CROWDS, st.integers(0, 9))
def test_an_index_filled_in_steps_finds_what_one_filled_at_once_finds(crowd, cut):
    texts, references = crowd
    once, index = Index(Policy(n=3, common=2)), Index(Policy(n=3, common=2))
    for eval_set, items in references.items():
        once.add(eval_set, items)
    rows = [(eval_set, row) for eval_set, items in references.items() for row in items.items()]
    for eval_set, row in rows[:cut]:
        index.add(eval_set, [row])
    list(index.scan(texts))  # nothing of an earlier scan is left behind
    for eval_set, row in rows[cut:]:
        index.add(eval_set, iter([row]))
    assert strip_numbers(label(index.scan(texts.items()), index)) == strip_numbers(label(once.scan(texts), once))


@given(CROWDS | LETTER_CROWDS)
@example(REPETITIVE)
def test_matches_of_a_text_and_a_set_do_not_depend_on_the_others(crowd):
    texts, references = crowd
    policy = Policy(n=3, common=2)
    apart = [
        match
        for text_id, text in texts.items()
        for eval_set, items in references.items()
        for match in find_overlaps({text_id: text}, {eval_set: items}, policy)
    ]
    assert strip_counts(apart) == strip_counts(find_overlaps(texts, references, policy))


@given(st.dictionaries(IDS, ANY_TEXT | STEM_TEXTS), st.sampled_from([paper(2), paper(8), Policy(n=2), AUDITED]))
def test_items_no_rule_can_find_are_those_of_a_loop(items, policy):
    index = Index(policy)
    index.add("e", items)
    hidden = {"words": [], "letters": [], "any": []}
    for item_id, item in items.items():
        is_wordless = len(item.lower().split()) < policy.n
        has_run = policy.normalised and any(list_runs(item, item, policy))
        is_short = policy.normalised and any(keep_letters(c) for c in item)
        for rule, is_hidden in (("words", is_wordless), ("letters", not has_run)):
            hidden[rule] += [("e", item_id)] * is_hidden
        hidden["any"] += [("e", item_id)] * (is_wordless and not has_run and not is_short)
    assert {rule: index.find_invisible(rule) for rule in hidden} == hidden


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("n", [0, -1])
def test_a_run_of_no_words_is_refused(n):
    with pytest.raises(ValueError, match="n must be 1 or more"):
        find_ngrams(["a"], n)
    with pytest.raises(ValueError, match="n must be 1 or more"):
        Policy(n=n)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("letters", 22),
        ("letters", 0),
        ("common", -1),
        ("covering", 1.1),
        ("covering", -0.1),
        ("covering", float("nan")),
    ],
)
def test_a_policy_that_makes_no_rule_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Policy(**{name: value})


WRONG = {"none": None, "number": 12, "nan": float("nan"), "list": ["a"], "bytes": b"one two", "long": ["a" * 1000] * 50}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_training_text_that_is_no_text_is_refused_by_its_id(wrong, policy):
    with pytest.raises(ValueError, match=r"^[^\n]*row-7[^\n]*not a string\.$") as caught:
        find_overlaps({"row-6": EIGHT, "row-7": wrong}, {"e": {"i": EIGHT}}, policy)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_an_item_that_is_no_text_is_refused_by_its_set_and_id(wrong, policy):
    with pytest.raises(ValueError, match=r"^[^\n]*aime[^\n]*row-7[^\n]*not a string\.$") as caught:
        find_overlaps({"t": EIGHT}, {"aime": {"row-6": EIGHT, "row-7": wrong}}, policy)
    assert len(str(caught.value)) < 120


def test_one_id_twice_in_a_set_is_refused_but_not_in_two_sets():
    index = Index()
    index.add("one", {"i": "text"})
    index.add("two", {"i": "text"})
    with pytest.raises(ValueError, match=r"one has two items with the id 'i'"):
        index.add("one", [("i", "another text")])
    with pytest.raises(ValueError, match=r"three has two items with the id 'i'"):
        index.add("three", [("i", "text"), ("i", "text")])


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_without_texts_or_items_nothing_is_found(policy):
    assert find_overlaps({}, {}, policy) == find_overlaps({"t": EIGHT}, {"e": {}}, policy) == []
    assert find_overlaps({}, {"e": {"i": EIGHT}}, policy) == []


# ------------------------------------------------------------------ reading closely, and repeats


@pytest.mark.parametrize(
    "texts",
    [
        ["2+3", "2-3", "23", "2 3", "2*3", "2/3", "2^3", "2=3", "2<3", "3+2", "2!3"],
        ["x+y", "x-y", "xy", "x=y", "x<y", "x≤y", "x≥y", "x≠y"],
        ["12", "1 2", "120", "-12", "12!"],
        ["102", "10²", "10₂"],
        ["12", "½", "1 2"],
    ],
)
def test_close_reading_tells_numbers_and_operators_apart(texts):
    assert len({read_closely(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "texts",
    [
        ["2+3", " 2 + 3 ", "2\n+\u00a03", "２+３", r"2\,+\,3", "(2+3)", r"\left(2+3\right)"],
        ["2-3", "2−3", "2–3", "2 - 3"],
        ["2+3", "2＋3"],
        ["2-3", "2－3"],
        ["Is it 'so'?", "is it so", "IS IT ‘SO’", "Is it «so» ?"],
        ["a well-known fact", "a well known fact", "a well–known fact", "A wellknown fact."],
        [r"\frac12 \leq x", r"\dfrac12\le x", r"\displaystyle\tfrac 12 \leq\quad x"],
        ["naïve café", unicodedata.normalize("NFD", "naïve café"), "NAIVE CAFE"],
    ],
)
def test_close_reading_looks_past_case_spacing_quotes_and_typesetting(texts):
    assert len({read_closely(text) for text in texts}) == 1


CLOSE_TEXTS = st.text(list("aAb2−-+ \n’'.?"), max_size=6)


def test_of_repeats_the_smallest_id_is_kept():
    texts = {"c": "One two", "a": "one  TWO", "b": "two one", "d": "ONE-two?", "e": "1+2", "f": "1-2", "g": "1 + 2"}
    assert find_duplicates(texts) == {"c": "a", "d": "a", "g": "e"}


@given(st.dictionaries(IDS, CLOSE_TEXTS))
def test_without_repeats_every_reading_is_there_once(texts):
    repeats = find_duplicates(texts)
    kept = [read_closely(text) or text for text_id, text in texts.items() if text_id not in repeats]
    assert sorted(kept) == sorted({read_closely(text) or text for text in texts.values()})


@given(st.dictionaries(IDS, CLOSE_TEXTS))
def test_a_repeat_points_to_a_smaller_kept_id_of_the_same_reading(texts):
    repeats = find_duplicates(texts)
    for repeat, kept in repeats.items():
        assert read_closely(texts[repeat]) == read_closely(texts[kept])
        assert kept < repeat
        assert kept not in repeats


@given(st.dictionaries(IDS, CLOSE_TEXTS), st.randoms())
def test_the_order_of_texts_never_changes_which_repeats(texts, rng):
    shuffled = dict(rng.sample(list(texts.items()), len(texts)))
    assert find_duplicates(shuffled) == find_duplicates(texts)


def test_texts_without_letters_repeat_only_their_very_copy():
    assert find_duplicates({"a": "??", "b": "?", "c": "??", "d": "", "e": " "}) == {"c": "a"}
