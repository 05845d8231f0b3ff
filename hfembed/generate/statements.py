"""What a sentence states, and the questions that it answers; English, and nothing for other languages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hfembed.text import STOPWORDS, words_of

# A sentence that opens so does not name what it is about.
NO_SUBJECT_WORDS = (
    "it this that these those there they he she we you i who which what when where why how if as in on at for from "
    "to with by some many most all both each one such other another his her its their our your any no not however "
    "although because while after before since during once here note see also"
)
NO_SUBJECT = frozenset(NO_SUBJECT_WORDS.split())
SUBJECT = r"(?P<subject>[^,.;:()!?]{2,70}?)(?:\s*\([^()]{1,40}\))?"
STATES = re.compile(
    rf"(?:(?:An?|The)\s+)?{SUBJECT},?\s+(?P<verb>is|are|was|were|refers? to|means?|denotes?)\s+(?P<said>.+)"
)
ARTICLES = ("a ", "an ", "the ")
MAX_SUBJECT_WORDS = 8
MAX_CLAUSE_WORDS = 12

CAUSED = re.compile(rf"{SUBJECT}\s+(?:is|are|was|were)\s+(?:usually |often |mainly |typically )?(?:caused by|due to)\s")
CAUSES = re.compile(r"\b(?:can|may|might|often|usually)?\s*causes?\s+(?:an?\s|the\s)?(?P<object>[^,.;:()!?]{4,60})")
USED = re.compile(
    rf"{SUBJECT}\s+(?:is|are|was|were|can be|may be)\s+(?:commonly |often |mainly )?used\s+(?:to|for|in|as)\s"
)
PURPOSE = re.compile(r"(?:In order to|To)\s+(?P<clause>[a-z]+\s[^,.;:()!?]{4,80}),")
ABLE = re.compile(r"\byou (?:can|may|must|should|need to|have to|could)\s+(?P<clause>[a-z]+\s[^,.;:()!?]{4,80})")
CONDITION = re.compile(r"(?:If|When)\s+(?P<clause>(?!you\b|we\b)[^,.;:()!?]{8,80}),")


@dataclass(frozen=True)
class Statement:
    """A sentence that says what something is: the term, the verb, and what is said of it."""

    term: str
    plural: bool
    said: str

    @property
    def words(self) -> frozenset[str]:
        """The words of the term that a description of it must do without."""
        return frozenset(words_of(self.term)) - STOPWORDS


def read_statement(sentence: str) -> Statement | None:
    """Return what a sentence defines, or nothing where it defines nothing by name."""
    match = STATES.match(sentence)
    if match is None:
        return None
    subject = _subject(match["subject"])
    return Statement(subject, match["verb"] in ("are", "were", "mean"), match["said"]) if subject else None


def questions_of(sentence: str) -> list[str]:
    """Return the questions that a sentence answers, the most direct one first."""
    asked = []
    caused, used = CAUSED.match(sentence), USED.match(sentence)
    statement = read_statement(sentence)
    if caused and (subject := _subject(caused["subject"])):
        asked.append(f"What causes {subject}?")
    elif used and (subject := _subject(used["subject"])):
        asked.append(f"What {'are' if _is_plural(used) else 'is'} {_lower_article(used['subject'])} used for?")
    elif statement:
        asked.append(f"What {'are' if statement.plural else 'is'} {_with_article(sentence, statement.term)}?")
    asked += [f"How do I {clause}?" for pattern in (PURPOSE, ABLE) for clause in _clauses(pattern, sentence)]
    asked += [f"What happens if {clause}?" for clause in _clauses(CONDITION, sentence)]
    if (match := CAUSES.search(sentence)) and (wanted := _subject(match["object"])):
        asked.append(f"What causes {wanted}?")
    return asked


def _subject(text: str) -> str | None:
    """Return a noun phrase without its article, or nothing where it is none."""
    words = text.split()
    if words and words[0].lower() in ("a", "an", "the"):
        words = words[1:]
    lowered = [word.lower() for word in words]
    if not 0 < len(words) <= MAX_SUBJECT_WORDS or lowered[0] in NO_SUBJECT or lowered[-1] in STOPWORDS:
        return None
    return " ".join(words)


def _clauses(pattern: re.Pattern[str], sentence: str) -> list[str]:
    found = (match["clause"].split() for match in pattern.finditer(sentence))
    return [" ".join(words) for words in found if 3 <= len(words) <= MAX_CLAUSE_WORDS and words[0] not in NO_SUBJECT]


def _is_plural(match: re.Match[str]) -> bool:
    return re.match(r"\s+(?:are|were)\s", match.string[match.end("subject") :]) is not None


def _lower_article(text: str) -> str:
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}" if rest and first.lower() + " " in ARTICLES else text


def _with_article(sentence: str, term: str) -> str:
    start = sentence.lower()
    return next((f"{article}{term}" for article in ARTICLES if start.startswith(article)), term)
