"""The evaluate stage: score base, tuned and BM25 on the same queries and say what it means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from hfembed.embed import Embedder
from hfembed.evaluate.base import measure_base
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.figures import draw_figures
from hfembed.evaluate.heads import score_heads
from hfembed.evaluate.hubs import measure_hubs
from hfembed.evaluate.instruction import measure_instruction
from hfembed.evaluate.leakage import refuse_leaked
from hfembed.evaluate.metrics import MAIN
from hfembed.evaluate.public import find_tasks, score_public
from hfembed.evaluate.report import BASE, BM25, FUSION, TUNED, make_report, per_query, values_of
from hfembed.evaluate.separation import separate
from hfembed.evaluate.views import compare_views, views_in_words
from hfembed.hub import TUNED as TUNED_MODEL
from hfembed.hub import local_model
from hfembed.resources import user_cache
from hfembed.run import LAYOUT, write_json
from hfembed.stage import Job, Outcome, require

if TYPE_CHECKING:
    from hfembed.evaluate.task import Scores

TASK = "HfembedHeldOut"


def evaluate(job: Job) -> Outcome:
    """Write report.json, per_query.parquet, figures and mteb's own result files."""
    require("train", "torch", "sentence_transformers", "mteb", "datasets", "Stemmer")
    settings = job.recipe.evaluate
    tasks = find_tasks(settings.tasks, settings.benchmark) if settings.tasks or settings.benchmark else []
    tables = [job.run.path(LAYOUT.train), job.run.path(LAYOUT.dev)]
    collection, leakage = refuse_leaked(Collection.read(job.run.path(LAYOUT.test), TASK), tables, job.report)
    tuned = Embedder(local_model(TUNED_MODEL, job.run.path(LAYOUT.model)), job.run.path(LAYOUT.embeddings), job.report)
    job.report.note(f"scoring base and tuned on {len(collection.queries):,} test queries")
    base = measure_base(collection, job.sources, job.run.path(LAYOUT.embeddings), job.report)
    if said := base.in_words():
        job.report.note(said)
    embedders = {BASE: base.embedder, TUNED: tuned}
    scores = {BASE: base.scores, **_score_others(job, collection, tuned)}
    separations = {name: separate(collection, embedders[name], scores[name].rankings) for name in embedders}
    hubs = _measure_hubs(job, collection, embedders, scores)
    heard = measure_instruction(collection, tuned, job.recipe.encoder)
    for sentence in heard.warnings() if heard else ():
        job.report.warn(sentence)
    views = compare_views(job, collection, embedders, scores)
    if views:
        job.report.note(views_in_words(views))
    cache = user_cache() / LAYOUT.results
    public = score_public(tasks, settings.benchmark, embedders, cache, _place(job, LAYOUT.tasks), job.report, tables)
    report: dict[str, Any] = {
        **make_report(collection, scores, job.recipe),
        **base.to_json(),
        "separation": {name: found.to_json() for name, found in separations.items() if len(found.answers)},
        **({"hubs": hubs} if hubs else {}),
        **({"instruction": heard.to_json()} if heard else {}),
        **({"views": views} if views else {}),
        "leakage": leakage.to_json(),
        "public": public.to_json(),
    }
    deltas = values_of(scores[TUNED], collection, MAIN) - values_of(scores[BASE], collection, MAIN)
    figures = draw_figures(report, deltas, separations)
    _write(job, collection, scores, {**report, "figures": list(figures)}, figures)
    return Outcome(
        counts={"queries": len(collection.queries), "documents": len(collection.corpus), "tasks": len(public.scores)},
        dropped={"leaked": leakage.left_out, "tasks_unscored": len(public.unscored)},
        facts={"verdict": report["verdict"], "separation": report["separation"]},
    )


def _measure_hubs(
    job: Job, collection: Collection, embedders: dict[str, Embedder], scores: dict[str, Scores]
) -> dict[str, dict[str, float]]:
    """Return the hubs of the models that have any, and warn of those of the tuned one."""
    measured = {name: measure_hubs(collection, embedders[name], scores[name].rankings) for name in embedders}
    found = {name: hubs for name, hubs in measured.items() if hubs is not None}
    for sentence in found[TUNED].warnings() if TUNED in found else ():
        job.report.warn(sentence)
    return {name: hubs.to_json() for name, hubs in found.items()}


def _score_others(job: Job, collection: Collection, tuned: Embedder) -> dict[str, Scores]:
    from hfembed.evaluate.task import score_bm25, score_embedder, score_fusion

    scores = {TUNED: score_embedder(collection, tuned, TUNED)}
    job.report.note("scoring BM25, and the tuned model together with it")
    scores[BM25] = score_bm25(collection)
    scores[FUSION] = score_fusion(collection, scores[TUNED], scores[BM25])
    folder = job.run.path(LAYOUT.model)
    return scores | score_heads(folder, collection, tuned, job.out, job.report)


def _write(
    job: Job, collection: Collection, scores: dict[str, Scores], report: dict[str, Any], figures: dict[str, bytes]
) -> None:
    write_json(_place(job, LAYOUT.report), report)
    for name, score in scores.items():
        score.result.to_disk(job.out / f"mteb_{name}.json")
    pq.write_table(per_query(collection, scores), _place(job, LAYOUT.per_query))
    for name, content in figures.items():
        folder = _place(job, LAYOUT.figures)
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def _place(job: Job, entry: str) -> Path:
    """Return where an entry of the report folder goes while the stage works."""
    return job.out / Path(entry).name
