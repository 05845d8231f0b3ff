"""Views: how often the right document comes first, on plain texts and, beside the verdict, on entity maps.

Everything else in the report is about plain texts: that is what will be searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hfembed.embed import Embedder
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.report import BASE, TUNED, Numbers, values_of
from hfembed.evaluate.verdict import compare_paired
from hfembed.maps import Maps
from hfembed.recipe import MapWriter, View
from hfembed.run import LAYOUT
from hfembed.stage import Job

if TYPE_CHECKING:
    from hfembed.evaluate.task import Scores

METRIC = "hit@1"


def compare_views(
    job: Job, collection: Collection, embedders: Mapping[str, Embedder], scores: Mapping[str, Scores]
) -> dict[str, Any]:
    """Return hit@1 of base and tuned with its interval, by view; nothing where the run has no entity maps."""
    if job.recipe.generate.entity_maps.by is MapWriter.NONE:
        return {}
    from hfembed.evaluate.task import score_embedder

    mapped = as_maps(collection, Maps.read(job.run.path(LAYOUT.maps)))
    names = (BASE, TUNED)
    values = {
        View.PLAIN: {name: values_of(scores[name], collection, METRIC) for name in names},
        View.ENTITY_MAP: {
            name: values_of(score_embedder(mapped, embedders[name], name), mapped, METRIC) for name in names
        },
    }
    clusters = collection.clusters()
    return {str(view): _compare(found, clusters, job) for view, found in values.items()}


def as_maps(collection: Collection, maps: Maps) -> Collection:
    """Return the same documents and queries as entity maps, where they have one."""
    corpus = maps.of_documents(list(collection.corpus), list(collection.corpus.values()))
    queries = maps.of_queries(list(collection.queries.values()))
    return replace(
        collection,
        corpus=dict(zip(collection.corpus, corpus, strict=True)),
        queries=dict(zip(collection.queries, queries, strict=True)),
    )


def views_in_words(views: Mapping[str, Any]) -> str:
    """Say hit@1 of both views."""
    said = []
    for view, found in views.items():
        shown = [
            f"{name} {found[name]:.3f} ({found['ci'][name][0]:.3f} to {found['ci'][name][1]:.3f})"
            for name in found["ci"]
        ]
        said.append(f"on {'plain texts' if view == View.PLAIN else 'entity maps'} {', '.join(shown)}")
    return f"{METRIC} {'; '.join(said)}"


def _compare(values: Mapping[str, Numbers], clusters: list[str], job: Job) -> dict[str, Any]:
    settings, seed = job.recipe.evaluate, job.recipe.seed
    nothing = np.zeros(len(clusters))
    # Against nothing at all the bootstrap of a difference is that of the mean.
    means = {
        name: compare_paired(nothing, value, clusters, settings.bootstrap, settings.confidence, seed)
        for name, value in values.items()
    }
    both = compare_paired(values[BASE], values[TUNED], clusters, settings.bootstrap, settings.confidence, seed)
    return {
        **{name: round(found.delta, 5) for name, found in means.items()},
        "ci": {name: [round(found.low, 5), round(found.high, 5)] for name, found in means.items()},
        "delta": round(both.delta, 5),
        "delta_ci": [round(both.low, 5), round(both.high, 5)],
    }
