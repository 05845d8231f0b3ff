"""The judge: four scores and one overall for every query of a unit."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from hfembed.generate.llm.desk import Desk, Unit
from hfembed.generate.llm.messages import Ask
from hfembed.generate.llm.shapes import Listing, Verdict
from hfembed.generate.query import Query
from hfembed.recipe import QueryKind

TASK = "judge"
VERDICTS = Listing("verdicts", Verdict)
ASPECTS = ("relevance", "accuracy", "context_support", "clarity")


def judge(desk: Desk, unit: Unit, made: list[Query]) -> Generator[Ask, Any, list[Query]]:
    """Return the queries with their scores; those of a unit whose judge gives no answer are dropped."""
    # A map is a copy that was checked word by word; there is nothing to judge.
    judged = [query for query in made if query.kind is not QueryKind.ENTITY_MAP]
    if not judged:
        return made
    shown = [_show(number, query, unit) for number, query in enumerate(judged, start=1)]
    verdicts = yield from desk.ask(unit, TASK, VERDICTS, {"queries": shown}, exactly=len(judged))
    desk.seen["judge_records"] += 1
    maps = [query for query in made if query.kind is QueryKind.ENTITY_MAP]
    if verdicts is None:
        desk.dropped["not_judged"] += len(judged)
        return maps
    by_number = {verdict.number: verdict for verdict in verdicts}
    return [_scored(desk, query, by_number[number]) for number, query in enumerate(judged, start=1)] + maps


def _show(number: int, query: Query, unit: Unit) -> dict[str, Any]:
    return {
        "number": number,
        "kind": query.kind.value,
        "text": query.text,
        "answer": query.details.get("answer", ""),
        "documents": [unit.rows.index(row) + 1 for row in query.rows],
        "negatives": query.negatives,
    }


def _scored(desk: Desk, query: Query, verdict: Verdict) -> Query:
    wrong = {number for number in verdict.wrong_negatives if 0 < number <= len(query.negatives)}
    desk.dropped["negative_that_answers"] += len(wrong)
    negatives = tuple(text for number, text in enumerate(query.negatives, start=1) if number not in wrong)
    scores = {f"judge_{aspect}": f"{getattr(verdict, aspect):g}" for aspect in ASPECTS}
    return replace(query, score=verdict.overall, negatives=negatives, details={**query.details, **scores})
