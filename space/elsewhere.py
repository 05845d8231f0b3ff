"""Elsewhere: a model of the Hub that was trained by other means, measured on a run's test and published with that."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hfembed.errors import InputError, ModelError
from hfembed.events import Reporter
from hfembed.hub import REPO_ID, bring_model
from hfembed.measure import measure
from hfembed.pipeline import manifests
from hfembed.push import Proof, Pushed, RepoPreview, folder_upload, preview_upload, push_folder
from hfembed.run import LAYOUT, write_json

from .hub_names import names_model
from .publishing import no_account
from .runs import VisitorRun, base_of
from .visitors import Visitor

FOLDER, MODEL, PROOF = "elsewhere", "model", "proof.json"
MOST_BYTES = 3 * 10**9
NOTHING_NEW = "The repo holds all of this already: nothing would change."


@dataclass(frozen=True)
class Measured:
    """A model that was brought here and measured. name: its Hub id; run: on whose test."""

    name: str
    revision: str
    run: str
    corpus: str
    base: str
    found: Mapping[str, Any]

    @property
    def proof(self) -> Proof:
        """What its card says of that."""
        return Proof(self.found, self.corpus, self.base)


@dataclass(frozen=True)
class Target:
    """Where the model is to go."""

    repo: str
    public: bool
    pull_request: bool


def hub_id(name: str) -> str:
    """Return a Hub id, or refuse what is none: a visitor must not name files of this machine."""
    name = name.strip()
    if not names_model(name):
        raise ModelError(
            f"'{name}' is not a Hub model id." if name else "No model is named.", "It reads org/name[@revision]."
        )
    return name


def measure_here(visitor: Visitor, name: str, one: VisitorRun, report: Reporter) -> Measured:
    """Bring a model of the Hub here and score it, the run's base and BM25 on the run's test."""
    name = hub_id(name)
    folder = visitor.folder / FOLDER
    before = last_measured(visitor)
    if before is None or before.name != name:
        shutil.rmtree(folder, ignore_errors=True)  # one model at a time
    (folder / PROOF).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    report.task(f"fetching {name}")
    with visitor.acting():
        revision = bring_model(name, folder / MODEL, MOST_BYTES)
        test, base = one.run.path(LAYOUT.test), base_of(visitor, one)
        found = measure(
            str(folder / MODEL), str(one.run.folder), test / "queries.jsonl", test / "qrels" / "test.tsv", base,
            report,
        ).to_json()  # fmt: skip
    found["model"] = name
    corpus = one.launch.name.rpartition(" ")[0] or one.launch.name
    base_name = str(manifests(one.run)["train"].sources["base"]["name"])
    measured = Measured(name, revision, one.id, corpus, base_name, found)
    write_json(folder / PROOF, asdict(measured))
    return measured


def last_measured(visitor: Visitor) -> Measured | None:
    """Return the model that this visitor has measured last, if it is still here."""
    try:
        return Measured(**json.loads((visitor.folder / FOLDER / PROOF).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def preview_measured(visitor: Visitor, target: Target) -> tuple[RepoPreview, list[str]]:
    """Return what would be published of it, and what its card cannot say."""
    measured, folder = _measured(visitor), visitor.folder / FOLDER / MODEL
    with tempfile.TemporaryDirectory(prefix="hfembed-preview-") as work, visitor.acting():
        upload, missing = folder_upload(folder, _repo(target), Path(work), measured.proof)
        upload = replace(upload, public=target.public, pull_request=target.pull_request)
        return preview_upload(upload, ask_hub=visitor.has_account), missing


def push_measured(visitor: Visitor, target: Target, report: Reporter) -> Pushed:
    """Publish the measured model with its card."""
    if reason := no_account(visitor):
        raise InputError(reason)
    preview, _ = preview_measured(visitor, target)
    if not preview.changes_something():
        raise InputError(NOTHING_NEW)
    measured, folder = _measured(visitor), visitor.folder / FOLDER / MODEL
    with visitor.acting():
        return push_folder(
            folder, _repo(target), public=target.public, pull_request=target.pull_request, proof=measured.proof,
            report=report,
        )  # fmt: skip


def _measured(visitor: Visitor) -> Measured:
    measured = last_measured(visitor)
    if measured is None:
        raise InputError("No model is measured yet.", "Name one, and press Measure.")
    return measured


def _repo(target: Target) -> str:
    repo = target.repo.strip()
    if not REPO_ID.fullmatch(repo):
        raise InputError(f"'{repo}' is no name of a model repo." if repo else "No repo is named.", "It reads org/name.")
    return repo
