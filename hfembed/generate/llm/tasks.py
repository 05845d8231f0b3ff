"""The tasks: what is asked about a document or a few, and how queries are made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from hfembed.generate.llm.desk import Desk, Unit, stands_in
from hfembed.generate.llm.entitymap import write_map
from hfembed.generate.llm.judge import judge
from hfembed.generate.llm.messages import Ask
from hfembed.generate.llm.shapes import Artifact, Definition, Listing, Question, Triple, Wording
from hfembed.generate.query import Query
from hfembed.recipe import LlmTask, QueryKind, ReasoningType
from hfembed.text import words_of

NEGATIVES = 5
Answered = Generator[Ask, Any, list[Query]]
Choice = TypeVar("Choice", bound=StrEnum)


def write_unit(desk: Desk, unit: Unit) -> Answered:
    """Write all queries of a unit, and have them judged."""
    made: list[Query] = []
    about = yield from _artifacts(desk, unit)
    for task, count in unit.tasks.items():
        made += yield from TASKS[task](desk, unit, task, count, about)
    if desk.settings.filters.judge is not None:
        made = yield from judge(desk, unit, made)
    return made


def _artifacts(desk: Desk, unit: Unit) -> Generator[Ask, Any, list[Artifact]]:
    """Have the writer look for what could be asked about, where the recipe wants it and questions are written."""
    wanted = desk.settings.llm.questions.artifacts and {LlmTask.QUESTION, LlmTask.MULTI_HOP} & set(unit.tasks)
    if not wanted:
        return []
    found = yield from desk.ask(unit, "artifacts", Listing("artifacts", Artifact), {})
    return found or []


def _questions(desk: Desk, unit: Unit, task: LlmTask, count: int, about: list[Artifact]) -> Answered:
    settings = desk.settings.llm.questions
    # Both tasks of a unit draw from one row of kinds, so that together they are as mixed as either alone.
    asked = {kind: unit.tasks.get(kind, 0) for kind in (LlmTask.QUESTION, LlmTask.MULTI_HOP)}
    before = asked[LlmTask.QUESTION] if task is LlmTask.MULTI_HOP else 0
    reasoning = mix(settings.reasoning, count, unit.number * sum(asked.values()) + before)
    types = mix(settings.types, count, unit.number * count) if task is LlmTask.QUESTION else [task.value] * count
    plan = [{"query_type": kind, "reasoning_type": how} for kind, how in zip(types, reasoning, strict=True)]
    values = {
        "count": count, "plan": plan, "artifacts": about, "max_hops": settings.max_hops,
        "min_complexity": settings.min_complexity,
    }  # fmt: skip
    items = yield from desk.ask(unit, task.value, Listing("questions", Question), values)
    desk.seen[f"asked_{task}"] += count
    return [query for item in desk.at_most(items or [], count) if (query := _question(desk, unit, item))]


def _question(desk: Desk, unit: Unit, item: Question) -> Query | None:
    """Return the query of an answer that keeps to the rules, with the documents that it really needs."""
    settings = desk.settings.llm.questions
    numbers = sorted(set(item.documents))
    reason = None
    if not numbers or not set(numbers) <= set(range(1, len(unit.rows) + 1)):
        reason = "unknown_document"
    elif {number for hop in item.hops for number in hop.documents} != set(numbers):
        reason = "hops_do_not_match"
    elif not item.hops or len(item.hops) > settings.max_hops or (not settings.whole and len(item.hops) < len(numbers)):
        reason = "wrong_hops"  # chunks of one document may say together what one hop finds
    elif item.complexity < settings.min_complexity:
        reason = "too_easy"
    if reason is not None:
        desk.dropped[reason] += 1
        return None
    desk.hops[len(item.hops)] += 1
    several = len(numbers) > 1
    desk.seen["got_multi_hop"] += several and len(item.hops) > 1
    details = {
        "answer": item.answer, "complexity": str(item.complexity), "hops": str(len(item.hops)),
        "query_type": item.query_type, "reasoning_type": item.reasoning_type,
    }  # fmt: skip
    rows = tuple(unit.rows[number - 1] for number in numbers)
    kind = QueryKind.MULTI_HOP if several else QueryKind.QUESTION
    return desk.query(unit, item.question, kind, rows=rows, details=details)


def _wordings(desk: Desk, unit: Unit, task: LlmTask, count: int, about: list[Artifact]) -> Answered:
    items = yield from desk.ask(unit, task.value, Listing("queries", Wording), {"count": count})
    return [desk.query(unit, item.query, QueryKind(task.value)) for item in desk.at_most(items or [], count)]


def _definitions(desk: Desk, unit: Unit, task: LlmTask, count: int, about: list[Artifact]) -> Answered:
    items = yield from desk.ask(
        unit, task.value, Listing("definitions", Definition), {"count": count, "negatives": NEGATIVES}
    )
    source = desk.source(unit).lower()
    made = []
    for item in desk.at_most(items or [], count):
        if not stands_in(item.term.lower(), source):
            desk.dropped["term_not_in_source"] += 1
            continue
        details = {"term": item.term, "answer": item.definition}
        query = desk.query(unit, item.query, QueryKind.DEFINITION, details=details)
        made += _with_negatives(desk, query, item.negatives, item.definition)
    return made


def _triples(desk: Desk, unit: Unit, task: LlmTask, count: int, about: list[Artifact]) -> Answered:
    items = yield from desk.ask(unit, task.value, Listing("triples", Triple), {"count": count, "negatives": NEGATIVES})
    source = desk.source(unit)
    made = []
    for item in desk.at_most(items or [], count):
        if not stands_in(item.head, source) or not stands_in(item.tail, source):
            desk.dropped["entity_not_in_source"] += 1
            continue
        triple = f"{item.head} | {item.relation} | {item.tail}"
        query = desk.query(unit, item.query, QueryKind.TRIPLE, details={"triple": triple, "answer": item.tail})
        made += _with_negatives(desk, query, item.negatives, triple)
    return made


def _with_negatives(desk: Desk, query: Query, negatives: list[str], right: str) -> list[Query]:
    """Return the query with its distinct negatives; one that says the same as what is right is none."""
    right_words = words_of(right)
    distinct = {" ".join(words): text for text in negatives if (words := words_of(text)) and words != right_words}
    desk.seen["negatives_asked"] += NEGATIVES
    desk.seen["negatives_got"] += min(len(distinct), NEGATIVES)
    if not distinct:
        desk.dropped["no_negatives"] += 1
        return []
    return [replace(query, negatives=tuple(list(distinct.values())[:NEGATIVES]))]


def _maps(desk: Desk, unit: Unit, task: LlmTask, count: int, about: list[Artifact]) -> Answered:
    return (yield from write_map(desk, unit, count))


TASKS: Mapping[LlmTask, Callable[[Desk, Unit, LlmTask, int, list[Artifact]], Answered]] = {
    LlmTask.QUESTION: _questions,
    LlmTask.MULTI_HOP: _questions,
    LlmTask.CLAIM: _wordings,
    LlmTask.KEYWORD: _wordings,
    LlmTask.TITLE: _wordings,
    LlmTask.DEFINITION: _definitions,
    LlmTask.TRIPLE: _triples,
    LlmTask.ENTITY_MAP: _maps,
}


def mix(shares: Mapping[Choice, int], count: int, start: int) -> list[str]:
    """Return `count` choices from a place in a row that never ends, where each comes as often as its share says."""
    offered = [choice.value for choice, share in shares.items() for _ in range(share)] or [ReasoningType.FACTUAL.value]
    return [offered[(start + at) % len(offered)] for at in range(count)]
