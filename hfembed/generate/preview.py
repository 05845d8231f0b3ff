"""A look at what generate would write: the queries of a few documents, and what all of them would cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from hfembed.corpus import Documents, join_title
from hfembed.errors import StageError
from hfembed.events import Events, Listener, Reporter
from hfembed.generate.filters import filter_queries
from hfembed.generate.ontology import write_facts
from hfembed.generate.parallel import write_all
from hfembed.generate.people import split_documents
from hfembed.generate.query import Query
from hfembed.generate.stage import draw
from hfembed.recipe import GenerateMethod, MapWriter, Recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Job, Sources

SHOWN_CHARS = 400


@dataclass(frozen=True)
class Shown:
    """Documents with what was written about them."""

    ids: list[str]
    text: str
    queries: list[dict[str, Any]]


@dataclass(frozen=True)
class Preview:
    """The queries of a few documents. cost, whole_cost: of these and of the whole corpus, where prices are known."""

    documents: list[Shown]
    dropped: dict[str, int]
    cost: float | None = None
    whole_cost: float | None = None
    tokens: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        shown = [{"ids": one.ids, "text": one.text, "queries": one.queries} for one in self.documents]
        return {
            "documents": shown, "dropped": self.dropped, "cost": self.cost, "whole_cost": self.whole_cost,
            "tokens": self.tokens,
        }  # fmt: skip


def preview(recipe: Recipe, run: Run, count: int, listeners: Sequence[Listener] = ()) -> Preview:
    """Write the queries of `count` documents of a run, as generate would, and commit nothing.

    What a language model answers stays in the run, so that generate does not pay for it again.
    """
    if not run.path(LAYOUT.documents).is_file():
        raise StageError(
            f"A preview needs the results of pull, which '{run.folder}' does not hold.", f"hfembed pull {run.folder}"
        )
    with run.locked(), _job(recipe, run, listeners) as job:
        documents = Documents.read(job.run.path(LAYOUT.documents))
        splits, _ = split_documents(job, documents)
        rows = draw(list(range(len(documents))), recipe.generate.max_documents, recipe.seed)
        if recipe.generate.method is GenerateMethod.EXTRACTIVE:
            chosen = draw(rows, count, recipe.seed)
            made = write_facts(job, documents, chosen, splits)
            made += write_all(documents, chosen, splits, recipe.generate, recipe.seed, job.report)
            kept, dropped = filter_queries(job, made, documents)
            return Preview(_show(documents, [(row,) for row in chosen], kept), dict(dropped))
        return _of_a_model(job, documents, rows, splits, count)


@contextmanager
def _job(recipe: Recipe, run: Run, listeners: Sequence[Listener]) -> Iterator[Job]:
    report = Reporter("generate", Events(listeners=listeners))
    try:
        yield Job(run, recipe, run.begin("preview"), report, Sources(recipe))
    finally:
        run.abandon()


def _of_a_model(job: Job, documents: Documents, rows: list[int], splits: list[Any], count: int) -> Preview:
    from hfembed.generate.llm.write import plan_units, write_units

    units = plan_units(job, documents, rows, splits)
    if job.recipe.generate.entity_maps.by is not MapWriter.NONE:
        job.report.note(
            "entity maps are made later: if by this model, one more request per document and per ten queries"
        )
    alone = [unit for unit in units if len(unit.rows) == 1]
    bundles = [unit for unit in units if len(unit.rows) > 1]
    # As many bundles as their share of the work, so that the cost of the whole follows from these.
    chosen = alone[:count] + bundles[: max(1, count * len(bundles) // max(1, len(units))) if alone else count]
    made, report = write_units(job, documents, chosen)
    kept, unfit = filter_queries(job, made, documents)
    dropped = Counter(report.dropped) + unfit
    whole = None
    if report.facts["cost"] is not None:
        whole = sum(_extrapolate(kind, report.costs) for kind in (alone, bundles))
    return Preview(
        documents=_show(documents, [unit.rows for unit in chosen], kept),
        dropped=dict(dropped),
        cost=report.facts["cost"],
        whole_cost=None if whole is None else round(whole, 4),
        tokens=report.facts["tokens_in"] + report.facts["tokens_out"],
        facts=report.facts,
    )


def _extrapolate(units: Sequence[Any], costs: dict[int, float]) -> float:
    known = [costs[unit.number] for unit in units if unit.number in costs]
    return mean(known) * len(units) if known else 0.0


def _show(documents: Documents, groups: Sequence[tuple[int, ...]], queries: Sequence[Query]) -> list[Shown]:
    shown: dict[tuple[int, ...], list[dict[str, Any]]] = {rows: [] for rows in groups}
    for query in queries:
        # A question from a bundle may need one of its documents only.
        rows = query.rows if query.rows in shown else next(rows for rows in groups if set(query.rows) <= set(rows))
        values = {"query": query.text, "kind": query.kind.value, "split": query.split.value}
        more = {"score": query.score, "negatives": list(query.negatives), **query.details}
        shown[rows].append({**values, **{name: value for name, value in more.items() if value}})
    return [Shown([documents.ids[row] for row in rows], _text(documents, rows), own) for rows, own in shown.items()]


def _text(documents: Documents, rows: tuple[int, ...]) -> str:
    texts = (" ".join(join_title(documents.titles[row], documents.bodies[row]).split()) for row in rows)
    return "\n".join(text[:SHOWN_CHARS] for text in texts)
