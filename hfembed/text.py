"""Words and sentences of a text, in any language; what every stage means by them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category

from bm25s.stopwords import STOPWORDS_EN_PLUS

# Vowel signs and accents that stand as characters of their own belong to the word they are in.
MARKS = "".join(chr(code) for code in (*range(0x300, 0x2000), *range(0xA800, 0xAC00)) if category(chr(code))[0] == "M")
WORD = re.compile(rf"[^\W_](?:[\w{MARKS}'\u2019-]*[\w{MARKS}])?")
STOPWORDS = frozenset(STOPWORDS_EN_PLUS)

# Where a sentence may end: after a mark and what closes with it, at a blank line, before an item of a list.
SIGN = r"[-*+\u2022\u2023\u25aa\u25cf\u2013]"
ITEM = rf"(?:{SIGN}|\(?\d{{1,3}}[.)]|\(?[a-z]\))"
SENTENCE_END = re.compile(
    r"(?P<mark>(?<=[.!?\u2026\u0964])[\"')\]\u00bb\u201d]*\s+)"
    r"|(?<=[\u3002\uff01\uff1f\uff61])[\u300d\u300f\uff09\u201d]*\s*"
    rf"|\n(?=[ \t]*{ITEM}[ \t])"
    r"|\n{2,}"
)
OPENING = re.compile(r"[\"'(\[\u00ab\u201c]*")
LEADING_SIGN = re.compile(rf"^{SIGN}\s+")
ONLY_ITEM = re.compile(rf"\s*{ITEM}\s*")
LAST_WORD = re.compile(r"(?:^|[\s(\[\"'\u201c\u00ab])((?:[^\W\d_]+\.)*[^\W\d_]+)\.$")
LONGEST_SHORTENED = 16
# "rated 10 A." ends with a unit, not with an initial.
QUANTITY = re.compile(r"\d\s?\w\.$")

PHRASE_END = re.compile(r"[^\w\s'\u2019-]+|\n+")
# "MS", "IPv6" and "TR-2000" name something by themselves.
NAME = re.compile(r"(?=.*[^\W\d_])(?=.+[A-Z]|.*\d)[\w-]+")
MAX_PHRASE_WORDS = 4

# What is shortened in front of a name or of what it introduces: a capital goes on with the sentence.
NAMES_FOLLOW = (
    "adm brig capt cf cmdr col cpt dr e.g eg gen gov hon i.e ie lt maj messrs mr mrs ms mt prof rep rev sen sgt st "
    "vgl viz vs bzw z.b mme mlle p.ex"
)
# What is shortened in front of a number.
NUMBERS_FOLLOW = (
    "al approx art ca ch chap eq eqs ex fig figs no nos nr p par pp sec sect tab vol vols "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
BEFORE_NAMES = frozenset(NAMES_FOLLOW.split())
BEFORE_NUMBERS = BEFORE_NAMES | frozenset(NUMBERS_FOLLOW.split())


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return [word.lower() for word in WORD.findall(text)]


def split_phrases(text: str) -> Iterator[str]:
    """Yield runs of two to four words that stop words and punctuation set apart, and single names and codes."""
    for part in PHRASE_END.split(text):
        run: list[str] = []
        for word in part.split():
            if not WORD.fullmatch(word) or word.lower() in STOPWORDS:
                yield from _phrase(run)
                run = []
            else:
                run.append(word)
        yield from _phrase(run)


def _phrase(run: list[str]) -> list[str]:
    named = len(run) == 1 and NAME.fullmatch(run[0])
    return [" ".join(run)] if named or 1 < len(run) <= MAX_PHRASE_WORDS else []


def split_sentences(text: str) -> list[str]:
    """Return the sentences and list items of a text, each on one line, without the signs in front of items."""
    sentences = (" ".join(text[start:end].split()) for start, end in sentence_spans(text))
    return [stripped for sentence in sentences if (stripped := LEADING_SIGN.sub("", sentence, count=1))]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text start and end; what closes with a sentence stands between two."""
    spans, start = [], 0
    for end in SENTENCE_END.finditer(text):
        if end["mark"] is None or "\n\n" in end.group() or not _goes_on(text, start, end.start(), end.end()):
            spans.append((start, end.start()))
            start = end.end()
    spans.append((start, len(text)))
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _goes_on(text: str, start: int, end: int, following: int) -> bool:
    """Tell whether the mark at `end` ends no sentence: after a short form, an initial or the number of an item."""
    opening = OPENING.match(text, following)
    at = opening.end() if opening else following
    if text[at : at + 1].islower() or ONLY_ITEM.fullmatch(text, start, end):
        return True
    tail = text[max(start, end - LONGEST_SHORTENED) : end]
    last = LAST_WORD.search(tail)
    if last is None or QUANTITY.search(tail):
        return False
    word = last[1].lower()
    if text[at : at + 1].isdecimal():
        return word in BEFORE_NUMBERS
    if len(word) > 1 and word.isalpha() and last[1].isupper():  # "MS." is a disease, "Ms." is not
        return False
    # "J. Smith" and "U.S. Navy" go on; "vitamin C. It helps" does not: few names are words like "it".
    is_initial = "." in word or word == "al" or (len(word) == 1 and last[1].isupper() and word != "i")
    return word in BEFORE_NAMES or (is_initial and not _starts_sentence(text, at))


def _starts_sentence(text: str, at: int) -> bool:
    word = WORD.match(text, at)
    return word is None or word[0].lower() in STOPWORDS
