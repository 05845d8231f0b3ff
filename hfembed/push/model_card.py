"""The model repo: its files, its metadata and its card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow import csv

from hfembed.hub.cards import hub_link
from hfembed.push.benchmarks import eval_result_files, eval_results
from hfembed.push.card import render_card
from hfembed.push.facts import METRIC_NAMES, Facts
from hfembed.push.limits import limitations
from hfembed.push.origins import PUBLIC_HUB, Origin
from hfembed.push.serving import Serving
from hfembed.push.words import (
    explain_kind,
    miner_in_words,
    negatives_in_words,
    phase_in_words,
    queries_in_words,
    strength_in_words,
)
from hfembed.recipe import Phase, TrainMethod, Tuning
from hfembed.run import LAYOUT, MANIFEST

if TYPE_CHECKING:
    from hfembed.hub.cards import EvalResult, ModelCardData

Files = list[tuple[str, Path | bytes]]

TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "hfembed")
# What training minimises, by the loss of a phase.
LOSSES = {
    "contrastive": "MultipleNegativesRankingLoss", "gist": "GISTEmbedLoss", "embed_distill": "EmbedDistillLoss",
    "margin_mse": "MarginMSELoss", "distill_kl": "DistillKLDivLoss",
    "late_interaction": "LateInteractionDistillation", "m3": "M3SelfDistillLoss",
    "similarity_distill": "SimilarityDistillLoss",
}  # fmt: skip
# A map is learned by its own code, and so is a phase without negatives of other rows.
INFO_NCE = "InfoNCE"
TASK = "information-retrieval"
OTHERS = 3
PASSAGE = 120


def model_files(facts: Facts, repo: str, dataset: str | None) -> Files:
    """Return every file of the model repo, card included."""
    folder = facts.run.path(LAYOUT.model)
    files: Files = [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, "README.md")
    ]
    serving = Serving.read(folder)
    figures = report_figures(facts)
    manifests = {name: manifest.model_dump() for name, manifest in facts.manifests.items()}
    return [
        *files,
        ("README.md", model_card(facts, repo, dataset, serving, list(figures)).encode()),
        ("recipe.yaml", public_recipe(facts).encode()),
        ("manifests.json", _json(manifests)),
        ("report.json", _json(facts.report)),
        ("per_query.csv", _csv(facts.run.path(LAYOUT.per_query))),
        *eval_result_files(facts),
        *figures.items(),
    ]


def report_figures(facts: Facts) -> dict[str, Path]:
    """Return the figures that evaluate drew, by their name in the repo."""
    folder = facts.run.path(LAYOUT.figures)
    return {f"{folder.name}/{file.name}": file for file in sorted(folder.glob("*.png"))}


def model_card(facts: Facts, repo: str, dataset: str | None, serving: Serving, figures: list[str]) -> str:
    """Return the model's README.md."""
    asked = examples(facts)
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
        example_queries=[asked[0].query],
        example_documents=asked[0].passages[:2],
        limitations=limitations(facts, serving),
        phases=[phase_in_words(phase) for phase in _as_trained(facts)],
        public=facts.public,
        writing=queries_in_words(facts),
        mining=negatives_in_words(facts),
        miner=miner_in_words(facts),
        strength=strength_in_words(facts),
        explain_kind=explain_kind,
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
        tags=[*TAGS, *serving.tags(), *(["mteb"] if facts.public["scores"] else []), *_training_tags(facts)],
        base_model=facts.base.repo,
        datasets=datasets or None,
        widget=[{"source_sentence": example.query, "sentences": example.passages} for example in examples(facts)],
        co2_eq_emissions={
            "emissions": float(f"{facts.energy.grams:.3g}"),
            "source": facts.energy.source,
            "training_type": "fine-tuning",
            "hardware_used": facts.hardware,
        },
        model_name=repo.split("/")[-1],
        eval_results=[*_eval_results(facts, dataset), *eval_results(facts)],
        **relation,
    )


@dataclass(frozen=True)
class Example:
    """A query that a reader can try, the passage that answers it, and others."""

    query: str
    passages: list[str]


def examples(facts: Facts) -> list[Example]:
    """Return a few test queries with passages, short enough for a page."""
    texts = dict(zip(facts.documents.ids, facts.documents.texts(), strict=True))
    # Evenly from the corpus: neighbours often treat one thing.
    others = list(texts.values())[:: max(1, len(texts) // OTHERS)][:OTHERS]
    found = []
    for change in facts.changes.to_try:
        answer = texts[change.document_id]
        passages = [answer, *(text for text in others if text != answer)][:OTHERS]
        found.append(Example(change.query, [shorten(text) for text in passages]))
    return found


def shorten(text: str) -> str:
    """Return the beginning of a text, ended at a word."""
    line = " ".join(text.split())
    return line if len(line) <= PASSAGE else line[:PASSAGE].rsplit(" ", 1)[0] + " …"


def public_recipe(facts: Facts) -> str:
    """Return the recipe without paths and servers of its owner: what lies there is called by its name alone."""
    corpus = facts.manifests["pull"].sources["corpus"]["name"]
    recipe = facts.recipe.model_copy(update={"corpus": corpus, "base": facts.base.name})
    values = _without_paths(recipe.model_dump(mode="json"))
    values["generate"]["llm"]["endpoint"] = None  # the model's name says who wrote
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_paths(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _training_tags(facts: Facts) -> list[str]:
    if facts.fold == "base":
        return []  # nothing that was learned is in the weights
    losses = [_loss_of(phase.model_dump(mode="json")) for phase in facts.recipe.train.phases]
    return [f"dataset_size:{facts.counts['train']}", *(f"loss:{loss}" for loss in dict.fromkeys(losses))]


def _as_trained(facts: Facts) -> list[Phase | Tuning]:
    """Return the phases with the method that was used: a large base may have been given adapters."""
    phases, trained = facts.recipe.train.phases, facts.manifests["train"].facts.get("phases", [])
    if len(phases) != len(trained):
        return list(phases)
    methods = [TrainMethod(found.get("method", phase.method)) for phase, found in zip(phases, trained, strict=True)]
    return [phase.model_copy(update={"method": method}) for phase, method in zip(phases, methods, strict=True)]


def _loss_of(phase: dict[str, Any]) -> str:
    if "loss" not in phase or (phase["loss"] == "contrastive" and not phase["in_batch"]):
        return INFO_NCE
    return LOSSES[phase["loss"]]


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
