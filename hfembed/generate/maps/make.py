"""Make the entity maps of a run: of its documents and of the queries of every split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfembed.corpus import Documents, join_title
from hfembed.errors import RecipeError
from hfembed.generate.maps.checks import measure_maps, warnings_of_maps
from hfembed.generate.maps.extract import extract_map, extract_query
from hfembed.generate.maps.form import MapForm
from hfembed.generate.vocabulary import MAX_COUNTED, Vocabulary
from hfembed.maps import Maps
from hfembed.recipe import GenerateMethod, MapWriter
from hfembed.stage import Job

TRAINED = "A trained query generator writes queries and no entity maps."


def make_maps(
    job: Job, documents: Documents, rows: Sequence[int], queries: Sequence[str]
) -> tuple[Maps, dict[str, Any]] | None:
    """Return the maps that the recipe wants, and what they are like; None where it wants none.

    rows: the documents that a language model is asked about; rules look at all of them.
    """
    by = choose_writer(job)
    if by is MapWriter.NONE:
        return None
    distinct = list(dict.fromkeys(queries))
    forms, asked, facts = (_written if by is MapWriter.LLM else _extracted)(job, documents, rows, distinct)
    texts = documents.texts()
    measured = measure_maps(
        [texts[row] for row in forms], list(forms.values()), [documents.groups[row] for row in forms],
        facts.pop("verbatim", 1.0),
    )  # fmt: skip
    for sentence in warnings_of_maps(measured, by):
        job.report.warn(sentence)
    maps = Maps(
        {documents.ids[row]: text for row, form in forms.items() if (text := form.text())},
        {query: text for query, form in asked.items() if (text := form.text())},
    )
    share = len(maps.queries) / max(1, len(distinct))
    return maps, {"by": str(by), **measured, "queries": len(maps.queries), "queries_with": round(share, 4), **facts}


def choose_writer(job: Job) -> MapWriter:
    """Return who makes the maps."""
    settings = job.recipe.generate
    by = settings.entity_maps.by
    if by not in (MapWriter.AUTO, MapWriter.LLM):
        return by
    if settings.method is GenerateMethod.EXTRACTIVE and by is MapWriter.AUTO:
        return MapWriter.RULES
    from hfembed.generate.llm.trained import find_asking

    if find_asking(job) is None:
        return MapWriter.LLM
    if by is MapWriter.LLM:
        raise RecipeError(TRAINED, "--set generate.entity_maps.by=rules")
    return MapWriter.RULES


def _extracted(
    job: Job, documents: Documents, rows: Sequence[int], queries: Sequence[str]
) -> tuple[dict[int, MapForm], dict[str, MapForm], dict[str, Any]]:
    counted = range(0, len(documents), max(1, len(documents) // MAX_COUNTED))
    vocabulary = Vocabulary(join_title(documents.titles[row], documents.bodies[row]) for row in counted)
    length = job.recipe.generate.entity_maps.length
    every = job.report.each(range(len(documents)), "mapping documents", len(documents), "documents")
    forms = {row: extract_map(documents.titles[row], documents.bodies[row], vocabulary, length) for row in every}
    return forms, {query: extract_query(query, vocabulary) for query in queries}, {}


def _written(
    job: Job, documents: Documents, rows: Sequence[int], queries: Sequence[str]
) -> tuple[dict[int, MapForm], dict[str, MapForm], dict[str, Any]]:
    from hfembed.generate.llm.maps import write_maps

    return write_maps(job, documents, rows, queries)
