"""The push stage: write both repos' files, commit each once, and read them back as a stranger would."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from hfembed.errors import StageError
from hfembed.hub import Published, Upload, collect
from hfembed.push.deliver import deliver
from hfembed.push.facts import Facts, run_facts
from hfembed.push.leaderboard import write_leaderboard
from hfembed.push.uploads import make_uploads, warnings_about
from hfembed.run import LAYOUT, write_json
from hfembed.stage import Job, Outcome

# Texts encoded with the published copy.
PROBES = 8


def push(job: Job) -> Outcome:
    """Commit the model and the triplet dataset to the repos that the recipe names, and read them back."""
    settings = job.recipe.push
    if not settings.model_repo and not settings.dataset_repo:
        raise StageError("No repo to push to is named.", "Add --model-repo ORG/NAME or --dataset-repo ORG/NAME.")
    facts = run_facts(job.run, ask_hub=True).under(job.recipe)
    for sentence in warnings_about(facts):
        job.report.warn(sentence)
    done: list[Published] = []
    with tempfile.TemporaryDirectory(dir=job.out, prefix=".files-") as work:
        # Every card is written and checked before the first byte goes up.
        for upload in make_uploads(facts, Path(work)):
            done.append(deliver(upload, job.out, job.report, *_what_to_compare(job, upload)))
    published = [asdict(entry) for entry in done]
    write_json(job.out / Path(LAYOUT.push).name, published)
    found = {"published": published, **_collect(job, done), **_submission(job, facts, done)}
    return Outcome(counts={"commits": len(done)}, facts=found)


def _submission(job: Job, facts: Facts, done: list[Published]) -> dict[str, list[str]]:
    """Write what mteb's leaderboard asks for, where public tasks were scored and the model has a revision."""
    model = next((entry for entry in done if entry.kind == "model"), None)
    if model is None or not facts.public["scores"]:
        return {}
    written = write_leaderboard(facts, model, job.out / Path(LAYOUT.leaderboard).name)
    job.report.note(f"to submit to mteb's leaderboard: {job.run.path(LAYOUT.leaderboard)}, see its README.md")
    return {"leaderboard": written}


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


def _what_to_compare(job: Job, upload: Upload) -> tuple[Path | None, list[str]]:
    if upload.kind != "model":
        return None, []
    texts: list[str] = pq.read_table(job.run.path(LAYOUT.dev), columns=["query"])["query"].to_pylist()[:PROBES]
    return job.run.path(LAYOUT.model), texts
