"""Which queries are dropped, each for a reason that is counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from statistics import median

from hfembed.corpus import Documents, join_title
from hfembed.events import Reporter
from hfembed.generate.query import EXTRACTIVE, Query
from hfembed.recipe import Filters, QueryKind
from hfembed.stage import Job
from hfembed.text import STOPWORDS, words_of

GRAM = 4
NOUNS = "passage|document|text|segment|context|excerpt|snippet|paragraph|transcript|extract"
SOURCE = rf"(?:the|this|these|that|said) (?:(?:above|given|provided|following|preceding|previous) )?(?:{NOUNS})s?"
# These speak of what lies before the writer, whatever the domain is about.
PLAIN_REFERENCE = re.compile(
    rf"\b(?:according to|based on|(?:mentioned|described|stated|discussed|given|provided|listed|explained|outlined|"
    rf"presented) (?:in|by)) {SOURCE}\b|\b(?:{NOUNS})s? (?:above|below)\b"
    rf"|\b(?:above|given|provided|preceding) (?:{NOUNS})s?\b|\b(?:document|passage|segment|text) \d\b",
    re.IGNORECASE,
)
# And these do, unless the document itself has the word: one signs the document in a law, too.
REFERENCE = re.compile(rf"\b{SOURCE}\b", re.IGNORECASE)

# Where the makers of synthetic queries found that something is wrong (shares of the queries).
MANY_REFERENCES, MANY_DUPLICATES, MANY_REJECTED = 0.01, 0.3, 0.5
LOOKUP_OVERLAP, MANY_LOOKUPS = 0.8, 0.2
MIN_CHECKED = 20

Rule = Callable[[Query], str | None]


def filter_queries(
    job: Job, queries: list[Query], documents: Documents, asked: Sequence[Query] = ()
) -> tuple[list[Query], Counter[str]]:
    """Return the queries that pass every filter of the recipe, and why the others do not.

    asked: queries of people. They are not filtered, but no query may be made that says the same as one of them.
    """
    settings = job.recipe.generate.filters
    known = {_normal(query.text) for query in asked} - {""}
    own = [query for query in queries if _normal(query.text) not in known]
    kept, dropped = drop_repeated(own, ambiguous=settings.ambiguous)
    dropped += Counter(asked_by_people=len(queries) - len(own))
    kept, unfit = _sort_out(kept, _word_rules(settings, documents))
    dropped += unfit
    if settings.encode():
        from hfembed.generate.round_trip import drop_unfound

        kept, unfound = drop_unfound(job, kept, documents)
        dropped += unfound
    _warn([query for query in queries if query.writer != EXTRACTIVE], kept, dropped, documents, job.report)
    return kept, dropped


def drop_repeated(queries: Iterable[Query], *, ambiguous: bool = True) -> tuple[list[Query], Counter[str]]:
    """Drop empty queries and repeated ones; and, if `ambiguous`, texts written for several (sets of) documents."""
    held = [(_normal(query.text), query) for query in queries]
    rows: dict[str, set[tuple[int, ...]]] = {}
    for text, query in held:
        rows.setdefault(text, set()).add(query.rows)
    kept, dropped = [], Counter[str]()
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for text, query in held:
        if not text:
            dropped["empty"] += 1
        elif ambiguous and len(rows[text]) > 1:
            dropped["ambiguous"] += 1
        elif (text, query.rows) in seen:
            dropped["repeated"] += 1
        else:
            seen.add((text, query.rows))
            kept.append(query)
    return kept, dropped


def runs_of(text: str) -> frozenset[tuple[str, ...]]:
    """Return the runs of four words that a text is made of."""
    return frozenset(_grams(words_of(text)))


def copied_share(text: str, passage: frozenset[tuple[str, ...]]) -> float:
    """Return the share of a text's runs of four words that stand in the passage of these runs."""
    grams = _grams(words_of(text))
    return sum(gram in passage for gram in grams) / len(grams) if grams else 0.0


def refers_to_source(text: str, words: Iterable[str]) -> bool:
    """Tell whether a query speaks of the text it was written from; `words` are those of that text."""
    if PLAIN_REFERENCE.search(text):
        return True
    found = REFERENCE.search(text)
    if found is None:
        return False
    noun = found[0].split()[-1].lower()
    return not {noun, noun.removesuffix("s"), f"{noun}s"} & set(words)


def _word_rules(settings: Filters, documents: Documents) -> list[Rule]:
    @lru_cache(maxsize=8)  # the queries of a document come one after another
    def words(rows: tuple[int, ...]) -> list[str]:
        return [word for row in rows for word in words_of(join_title(documents.titles[row], documents.bodies[row]))]

    @lru_cache(maxsize=8)
    def grams(rows: tuple[int, ...]) -> frozenset[tuple[str, ...]]:
        return frozenset(_grams(words(rows)))

    def length(query: Query) -> str | None:
        count = len(query.text.split())
        too_long = count > settings.max_words and query.kind is not QueryKind.ENTITY_MAP
        return "too_short" if count < settings.min_words else "too_long" if too_long else None

    def reference(query: Query) -> str | None:
        refers = settings.references and _is_prose(query) and refers_to_source(query.text, words(query.rows))
        return "refers_to_source" if refers else None

    def copying(query: Query) -> str | None:
        limit = settings.copying
        copies = limit is not None and _is_prose(query) and copied_share(query.text, grams(query.rows)) > limit
        return "copied" if copies else None

    def judged(query: Query) -> str | None:
        low = settings.judge is not None and query.score is not None and query.score < settings.judge
        return "judged_low" if low else None

    def spread(query: Query) -> str | None:
        return "too_many_positives" if len(query.rows) > (settings.max_positives or len(query.rows)) else None

    return [length, reference, copying, judged, spread]


def _is_prose(query: Query) -> bool:
    """Tell whether a language model wrote it in its own words: cut sentences and maps are copies by design."""
    return query.writer != EXTRACTIVE and query.kind is not QueryKind.ENTITY_MAP


def _sort_out(queries: list[Query], rules: list[Rule]) -> tuple[list[Query], Counter[str]]:
    kept, dropped = [], Counter[str]()
    for query in queries:
        reason = next((found for rule in rules if (found := rule(query))), None)
        if reason is None:
            kept.append(query)
        else:
            dropped[reason] += 1
    return kept, dropped


def _warn(
    written: list[Query], kept: list[Query], dropped: Counter[str], documents: Documents, report: Reporter
) -> None:
    """Say what the filters tell about the writer, with what to do about it."""
    count = len(written)
    if count < MIN_CHECKED:
        return
    if (share := dropped["refers_to_source"] / count) > MANY_REFERENCES:
        report.warn(
            f"{share:.0%} of the queries spoke of 'the passage' or the like and were dropped: the model does not "
            "follow the prompt. Try another model, or say it more plainly in a prompt of your own (generate.llm.prompts)."
        )
    if (share := (dropped["repeated"] + dropped["near_repeated"]) / count) > MANY_DUPLICATES:
        report.warn(
            f"{share:.0%} of the queries repeat others of their document: it offers less than is asked of it. "
            "Ask for fewer (generate.llm.tasks), or for longer documents (pull.chunk.size)."
        )
    scores = [query.score for query in written if query.score is not None]
    if scores and (dropped["judged_low"] > MANY_REJECTED * len(scores) or median(scores) < 7):
        report.warn(
            f"The judge refused {dropped['judged_low']:,} of {len(scores):,} queries (median score {median(scores):.1f}): "
            "read some with hfembed generate --preview, then try a better model or prompts of your own."
        )
    prose = [query for query in kept if _is_prose(query)]
    lookups = sum(_overlap(query, documents) > LOOKUP_OVERLAP for query in prose)
    if len(prose) >= MIN_CHECKED and lookups > MANY_LOOKUPS * len(prose):
        report.warn(
            f"{lookups / len(prose):.0%} of the queries use hardly a word that is not in their document: they can be "
            "found by words alone and teach little. Lower generate.filters.copying, or try a better model."
        )


def _overlap(query: Query, documents: Documents) -> float:
    """Return the share of the query's telling words that stand in its documents."""
    asked = {word for word in words_of(query.text) if word not in STOPWORDS}
    found = {word for row in query.rows for word in words_of(join_title(documents.titles[row], documents.bodies[row]))}
    return len(asked & found) / len(asked) if asked else 0.0


def _grams(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)]


def _normal(text: str) -> str:
    return " ".join(words_of(text))
