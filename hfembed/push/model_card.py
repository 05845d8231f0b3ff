"""The model repo: its files, its metadata and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from hfembed.hub.cards import hub_link
from hfembed.push.card import render_card
from hfembed.push.facts import METRIC_NAMES, PER_QUERY, Facts
from hfembed.push.figures import draw_figures
from hfembed.push.limits import limitations
from hfembed.push.origins import PUBLIC_HUB, Origin
from hfembed.push.serving import Serving
from hfembed.run import LAYOUT, MANIFEST

if TYPE_CHECKING:
    from hfembed.hub.cards import EvalResult, ModelCardData

Files = list[tuple[str, Path | bytes]]

TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "hfembed")
# What the training code really minimises, by method.
LOSSES = {"adapter": "InfoNCE"}
TASK = "information-retrieval"


def model_files(facts: Facts, repo: str, dataset: str | None) -> Files:
    """Return every file of the model repo, card included."""
    folder = facts.run.path(LAYOUT.model)
    files: Files = [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, "README.md")
    ]
    serving = Serving.read(folder)
    figures = draw_figures(facts.report, facts.changes)
    manifests = {name: manifest.model_dump() for name, manifest in facts.manifests.items()}
    return [
        *files,
        ("README.md", model_card(facts, repo, dataset, serving, list(figures)).encode()),
        ("recipe.yaml", public_recipe(facts).encode()),
        ("manifests.json", _json(manifests)),
        ("report.json", _json(facts.report)),
        ("per_query.csv", _csv(facts.run.path(LAYOUT.report).with_name(PER_QUERY))),
        *figures.items(),
    ]


def model_card(facts: Facts, repo: str, dataset: str | None, serving: Serving, figures: list[str]) -> str:
    """Return the model's README.md."""
    example = (facts.changes.gained + facts.changes.lost)[:1]
    queries = [example[0].query] if example else ["your question"]
    documents = [example[0].document if example else "a passage", *facts.documents.texts()[:1]]
    return render_card(
        "model.md",
        model_metadata(facts, repo, dataset, serving),
        name=repo.split("/")[-1],
        repo=repo,
        dataset=dataset,
        facts=facts,
        report=facts.report,
        base_link=_base_link(facts.base),
        changes=facts.changes,
        serving=serving,
        figures=figures,
        metric_names=METRIC_NAMES,
        example_queries=queries,
        example_documents=documents,
        limitations=limitations(facts, serving),
        phases=[phase.model_dump(mode="json") for phase in facts.recipe.train.phases],
        watt_hours=facts.watts * facts.seconds / 3600,
    )


def model_metadata(facts: Facts, repo: str, dataset: str | None, serving: Serving) -> ModelCardData:
    """Return the model's metadata, with the run's own test as model-index."""
    from hfembed.hub.cards import ModelCardData

    relation: dict[str, Any] = (
        {} if facts.fold == "base" or not facts.base.repo else {"base_model_relation": "finetune"}
    )
    datasets = [name for name in (dataset, facts.corpus.repo) if name]
    return ModelCardData(
        language=facts.languages or None,
        license=facts.licence.id,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[*TAGS, *serving.tags(), *_training_tags(facts)],
        base_model=facts.base.repo,
        datasets=datasets or None,
        model_name=repo.split("/")[-1],
        eval_results=_eval_results(facts, dataset),
        **relation,
    )


def public_recipe(facts: Facts) -> str:
    """Return the recipe without paths of this machine."""
    corpus = facts.manifests["pull"].sources["corpus"]["name"]
    return facts.recipe.model_copy(update={"corpus": corpus, "base": facts.base.name}).to_yaml()


def _training_tags(facts: Facts) -> list[str]:
    if facts.fold == "base":
        return []  # nothing that was learned is in the weights
    losses = [LOSSES[phase.method] for phase in facts.recipe.train.phases if phase.method in LOSSES]
    return [f"dataset_size:{facts.counts['train']}", *(f"loss:{loss}" for loss in dict.fromkeys(losses))]


def _eval_results(facts: Facts, dataset: str | None) -> list[EvalResult]:
    from hfembed.hub.cards import EvalResult

    return [
        EvalResult(
            task_type=TASK,
            task_name="Information Retrieval",
            dataset_type=dataset or "held-out",
            dataset_name=f"held-out synthetic queries over {facts.corpus.name}",
            dataset_split="test",
            metric_type=metric.replace("@", "_at_"),
            metric_name=METRIC_NAMES.get(metric, metric),
            metric_value=row["tuned"],
        )
        for metric, row in facts.report["metrics"].items()
    ]


def _base_link(base: Origin) -> str | None:
    if base.repo is None:
        return None
    # Without a revision it came from a package, and its page is on the public Hub.
    return hub_link(base.repo, revision=base.revision) if base.revision else f"{PUBLIC_HUB}/{base.repo}"


def _csv(table: Path) -> bytes:
    """Return a parquet table as text, which a person can read in the browser."""
    sink = pa.BufferOutputStream()
    csv.write_csv(pq.read_table(table), sink)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()
