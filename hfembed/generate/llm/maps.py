"""Entity maps by a language model: each document on its own, queries some at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

from hfembed.corpus import Documents
from hfembed.generate.llm.desk import Desk, Unit, squash, stands_in
from hfembed.generate.llm.entitymap import SCHEMA, EntityMap, read_map, verbatim
from hfembed.generate.llm.journal import Journal
from hfembed.generate.llm.messages import Ask
from hfembed.generate.llm.prompts import Prompts
from hfembed.generate.llm.runner import Runner, Work
from hfembed.generate.llm.shapes import Listing, QueryMap
from hfembed.generate.llm.spend import Spend
from hfembed.generate.llm.write import open_writer
from hfembed.generate.maps.form import ASKED_FOR, MapForm
from hfembed.generate.query import Query, Split
from hfembed.recipe import GenerateMethod, LlmTask
from hfembed.run import LAYOUT
from hfembed.stage import Job

# Queries of one request.
TOGETHER = 10
QUERY_TASK = "query_map"
QUERY_MAPS = Listing("maps", QueryMap)

Found = tuple[dict[int, MapForm], dict[str, MapForm], dict[str, Any]]


def write_maps(job: Job, documents: Documents, rows: Sequence[int], queries: Sequence[str]) -> Found:
    """Return maps of documents by row and of queries by text, and what they took; what the cap leaves undone is not there.

    A run that was killed goes on after the last answer.
    """
    settings = job.recipe.generate
    writer = open_writer(job)
    with closing(writer), closing(Journal(job.run.path(LAYOUT.answers))) as journal:
        desk = Desk(settings, documents, Prompts(settings.llm.prompts), writer.name)
        spend = Spend(settings.llm, journal.cost, free=settings.method is GenerateMethod.MODEL)
        runner = Runner(writer, journal, spend, settings.llm, job.report)
        forms: dict[int, MapForm] = {}
        asked: dict[str, MapForm] = {}
        works: list[Work] = [_document(desk, row, forms) for row in rows]
        works += [_queries(desk, queries[at : at + TOGETHER], asked) for at in range(0, len(queries), TOGETHER)]
        for _ in runner.run(enumerate(works), len(works), "pieces", "making entity maps"):
            pass
    tally = runner.tally
    if tally.capped:
        job.report.warn(
            f"generate.llm.max_cost stopped the entity maps: {tally.unfinished:,} of {len(works):,} requests are left "
            "out, and their texts are learned from as they are. Raise it and --rerun generate to go on from there."
        )
    facts = {
        "writer": writer.name, "requests": writer.requests, "tokens_in": tally.tokens_in, "tokens_out": tally.tokens_out,
        "cost": round(tally.cost, 6) if spend.priced else None, "unfinished": tally.unfinished,
        "given_up": sum(tally.dropped.values()),
        "verbatim": desk.seen["entities_in_source"] / max(1, desk.seen["entities"]),
        "dropped": dict(desk.dropped),
    }  # fmt: skip
    return dict(sorted(forms.items())), asked, facts


def _document(desk: Desk, row: int, found: dict[int, MapForm]) -> Generator[Ask, Any, list[Query]]:
    unit = Unit(row, (row,), Split.TRAIN, {})
    messages = desk.prompts.messages(
        LlmTask.ENTITY_MAP.value, {"documents": desk.passages(unit), "count": 1}
    )  # fmt: skip
    answer = yield Ask(LlmTask.ENTITY_MAP.value, messages, SCHEMA, read_map)
    if answer is not None:
        source = desk.source(unit)
        found[row] = _form(verbatim(desk, answer, source), source)
    return []


def _queries(desk: Desk, texts: Sequence[str], found: dict[str, MapForm]) -> Generator[Ask, Any, list[Query]]:
    shown = [{"number": number, "text": squash(text)} for number, text in enumerate(texts, start=1)]
    messages = desk.prompts.messages(QUERY_TASK, {"queries": shown})
    answer = yield Ask(QUERY_TASK, messages, QUERY_MAPS.schema(), QUERY_MAPS.read)
    for item in answer[0] if answer is not None else ():
        if 1 <= item.number <= len(texts):
            source = squash(texts[item.number - 1])
            names = [name for name in item.entities if stands_in(name, source)]
            desk.dropped["entity_not_in_query"] += sum(name != ASKED_FOR for name in item.entities) - len(names)
            found[texts[item.number - 1]] = MapForm.of(names, ((r.head, r.relation, r.tail) for r in item.relations))
    return []


def _form(found: EntityMap, source: str) -> MapForm:
    """Return a map as text can hold it: what an entity is like is a relation of its own, where the source says so."""
    entities, relations = [], []
    for entity in found.entities:
        told = [one for one in entity.attributes if stands_in(one.value, source)]
        entities += [entity.name, *(one.value for one in told)]
        relations += [(entity.name, one.name, one.value) for one in told]
    for relation in found.relations:
        qualified = relation.qualifier and stands_in(relation.qualifier, source)
        said = f"{relation.relation} {relation.qualifier}" if qualified else relation.relation
        relations.append((relation.head, said, relation.tail))
    return MapForm.of(entities, relations)
