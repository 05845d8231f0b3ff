"""The push stage: write both repos' files, commit each once, and read them back as a stranger would."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.hub import Published, Upload, collect
from hfembed.push.dataset_files import dataset_files
from hfembed.push.deliver import deliver
from hfembed.push.facts import Facts, run_facts
from hfembed.push.model_card import model_files
from hfembed.run import LAYOUT, write_json
from hfembed.stage import Job, Outcome

MESSAGE = "Publish with hfembed"
MODEL_FOLDERS = ("onnx", "figures")
DATASET_FOLDERS = ("triplets", "corpus", "queries", "qrels", "figures")
# Texts encoded with the published copy.
PROBES = 8


def push(job: Job) -> Outcome:
    """Commit the model and the triplet dataset to the repos that the recipe names, and read them back."""
    settings = job.recipe.push
    if not settings.model_repo and not settings.dataset_repo:
        raise StageError("No repo to push to is named.", "Add --model-repo ORG/NAME or --dataset-repo ORG/NAME.")
    facts = run_facts(job.run, ask_hub=True)
    _warn_of_licence(facts, settings.public, job.report)
    done: list[Published] = []
    with tempfile.TemporaryDirectory(dir=job.out, prefix=".files-") as work:
        # Every card is written and checked before the first byte goes up.
        uploads = _uploads(job, facts, Path(work))
        for upload in uploads:
            done.append(deliver(upload, job.out, job.report, *_what_to_compare(job, upload)))
    published = [asdict(entry) for entry in done]
    write_json(job.out / Path(LAYOUT.push).name, published)
    return Outcome(counts={"commits": len(done)}, facts={"published": published, **_collect(job, done)})


def _collect(job: Job, done: list[Published]) -> dict[str, str]:
    """Group what was published, where the recipe wants it."""
    settings = job.recipe.push
    if not settings.collection:
        return {}
    own = settings.model_repo or settings.dataset_repo or ""
    name = own if settings.collection is True else settings.collection
    url = collect(name, done, settings.public, job.report)
    job.report.note(f"grouped in {url}")
    return {"collection": url}


def _uploads(job: Job, facts: Facts, work: Path) -> list[Upload]:
    settings, uploads = job.recipe.push, []
    if settings.dataset_repo:
        files = dataset_files(facts, settings.dataset_repo, work, settings.model_repo)
        uploads.append(Upload(settings.dataset_repo, "dataset", files, MESSAGE, settings.public, owned=DATASET_FOLDERS))
    if settings.model_repo:
        files = model_files(facts, settings.model_repo, settings.dataset_repo)
        # A model that is worse than its base replaces nothing on its own: a person decides.
        asked = settings.pull_request or (facts.report["verdict"] == "worse" and not settings.force)
        uploads.append(Upload(settings.model_repo, "model", files, MESSAGE, settings.public, asked, MODEL_FOLDERS))
    return uploads


def _what_to_compare(job: Job, upload: Upload) -> tuple[Path | None, list[str]]:
    if upload.kind != "model":
        return None, []
    texts: list[str] = pq.read_table(job.run.path(LAYOUT.dev), columns=["query"])["query"].to_pylist()[:PROBES]
    return job.run.path(LAYOUT.model), texts


def _warn_of_licence(facts: Facts, public: bool, report: Reporter) -> None:
    if facts.licence.warning:
        report.warn(facts.licence.warning)
    if public and facts.corpus.license is None:
        report.warn(
            "The repos are public and the corpus's licence is unknown: the dataset repo holds the whole text of the "
            "corpus, and the model card quotes from it."
        )
