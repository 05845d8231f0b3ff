"""push: publish the model and its triplets, each with one commit and a generated card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq
import yaml

from hfembed.embed import Precision, Role, encode, load_model
from hfembed.errors import HubError, StageError
from hfembed.hub import REPO_ID, Published, Upload, local_model, publish, read_back
from hfembed.recipe import Recipe
from hfembed.resources import cards_folder
from hfembed.run import LAYOUT, MANIFEST, Manifest, Run, write_json
from hfembed.stage import Job, Outcome

# Which folder of a run belongs to which stages; push reads all of them for the card.
FOLDERS = ("corpus", "triplets", "model", "report")
MODEL_TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "hfembed")

MESSAGE = "Publish with hfembed"
# Texts encoded with the published copy, and how far a component of a vector may be off.
PROBES = 8
MAX_DISTANCE = 1e-5

Files = list[tuple[str, Path | bytes]]


def push(job: Job) -> Outcome:
    """Commit the model and the triplet dataset to the repos that the recipe names, and read them back."""
    settings = job.recipe.push
    if not settings.model_repo and not settings.dataset_repo:
        raise StageError("No repo to push to is named.", "Add --model-repo ORG/NAME or --dataset-repo ORG/NAME.")
    facts = run_facts(job.run)
    done: list[Published] = []
    if settings.dataset_repo:
        files = dataset_files(facts, settings.dataset_repo)
        done.append(_publish(job, Upload(settings.dataset_repo, "dataset", files, MESSAGE, settings.public)))
    if settings.model_repo:
        files = model_files(facts, settings.model_repo, settings.dataset_repo)
        # A model that is worse than its base replaces nothing on its own: a person decides.
        asked = settings.pull_request or (facts.report["verdict"] == "worse" and not settings.force)
        upload = Upload(settings.model_repo, "model", files, MESSAGE, settings.public, asked)
        done.append(_publish(job, upload))
    published = [asdict(entry) for entry in done]
    write_json(job.out / Path(LAYOUT.push).name, published)
    return Outcome(counts={"commits": len(done)}, facts={"published": published})


@dataclass(frozen=True)
class Facts:
    """What the cards say, read from a run."""

    run: Run
    recipe: Recipe
    manifests: dict[str, Manifest]
    report: dict[str, Any]

    @property
    def corpus(self) -> str:
        """The corpus as people know it."""
        return str(self.manifests["pull"].sources["corpus"]["name"])

    @property
    def hub_corpus(self) -> str | None:
        """The corpus's repo, where it has one."""
        repo: str | None = self.manifests["pull"].sources["corpus"].get("repo")
        return repo

    @property
    def base(self) -> str:
        """The base model as people know it."""
        return str(self.manifests["train"].sources["base"]["name"])

    @property
    def counts(self) -> dict[str, int]:
        """Documents and queries."""
        return self.manifests["pull"].counts | self.manifests["generate"].counts


def run_facts(run: Run) -> Facts:
    """Read a finished run."""
    manifests: dict[str, Manifest] = {}
    for folder in FOLDERS:
        manifests.update(run.manifests(folder))
    report = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))
    return Facts(run, run.recipe(), manifests, report)


def model_files(facts: Facts, repo: str, dataset: str | None) -> Files:
    """Return every file of the model repo, card included."""
    folder = facts.run.path(LAYOUT.model)
    files: Files = [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, "README.md")
    ]
    datasets = [name for name in (dataset, facts.hub_corpus) if name]
    metadata = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": [*MODEL_TAGS, *(["onnx"] if any(path.endswith(".onnx") for path, _ in files) else [])],
        **({"base_model": facts.base, "base_model_relation": "finetune"} if REPO_ID.match(facts.base) else {}),
        **({"datasets": datasets} if datasets else {}),
    }
    card = render_card(
        "model.md",
        metadata,
        name=repo.split("/")[-1],
        repo=repo,
        dataset=dataset,
        corpus=facts.corpus,
        base=facts.base,
        report=facts.report,
        counts=facts.counts,
        preset=facts.recipe.preset,
        seconds=facts.manifests["train"].seconds,
    )
    manifests = {name: manifest.model_dump() for name, manifest in facts.manifests.items()}
    return [
        *files,
        ("README.md", card.encode()),
        ("recipe.yaml", public_recipe(facts).encode()),
        ("manifests.json", json.dumps(manifests, indent=2, ensure_ascii=False).encode()),
        ("report.json", json.dumps(facts.report, indent=2, ensure_ascii=False).encode()),
    ]


def dataset_files(facts: Facts, repo: str) -> Files:
    """Return every file of the triplet dataset repo, card included."""
    configs = [
        {
            "config_name": "triplets",
            "data_files": [
                {"split": "train", "path": "triplets/train.parquet"},
                {"split": "dev", "path": "triplets/dev.parquet"},
            ],
        }
    ]
    metadata = {"tags": ["sentence-transformers", "hfembed"], "configs": configs}
    card = render_card(
        "dataset.md", metadata, name=repo.split("/")[-1], repo=repo, corpus=facts.corpus, counts=facts.counts
    )
    test = facts.run.path(LAYOUT.test)
    return [
        ("README.md", card.encode()),
        ("triplets/train.parquet", facts.run.path(LAYOUT.train)),
        ("triplets/dev.parquet", facts.run.path(LAYOUT.dev)),
        *((f"test/{path.relative_to(test).as_posix()}", path) for path in sorted(test.rglob("*")) if path.is_file()),
    ]


def render_card(template: str, metadata: Mapping[str, Any], **values: Any) -> str:
    """Return a card: YAML front matter, then the rendered template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(cards_folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True).strip()
    return environment.get_template(template).render(metadata=front, **values)


def public_recipe(facts: Facts) -> str:
    """Return the recipe without paths of this machine."""
    recipe = facts.recipe.model_copy(update={"corpus": facts.corpus, "base": facts.base})
    return recipe.to_yaml()


def _publish(job: Job, upload: Upload) -> Published:
    job.report.note(f"pushing {len(upload.files)} files to {upload.kind} {upload.repo}")
    published = publish(upload, job.report)
    job.report.note("reading back what was pushed")
    with tempfile.TemporaryDirectory(dir=job.out, prefix=".read-back-") as folder:
        copy = read_back(published, upload.files, Path(folder), job.report)
        if upload.kind == "model":
            _refuse_other_vectors(job, copy)
    where = "as a pull request" if published.pull_request else "at"
    job.report.note(f"published {where} {published.url}")
    return published


def _refuse_other_vectors(job: Job, copy: Path) -> None:
    """Load the published files as a stranger would, and compare vectors with the run's own model."""
    texts = pq.read_table(job.run.path(LAYOUT.dev))["query"].to_pylist()[:PROBES]
    folders = (job.run.path(LAYOUT.model), copy)
    ours, theirs = (
        encode(load_model(local_model("published", folder)), texts, Role.QUERY, Precision.FP32) for folder in folders
    )
    distance = float(np.abs(ours - theirs).max())
    if distance > MAX_DISTANCE:
        raise HubError(f"The published model gives other vectors than the run's (by {distance:.1e}).")
