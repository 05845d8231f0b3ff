"""Run: the folder where the stages leave their results, and the manifests that say what is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from hfembed.errors import RunBusyError, RunError
from hfembed.recipe import Recipe, read_recipe

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Layout:
    """Every relative path of a run; no other module builds one."""

    recipe: str = "recipe.yaml"
    events: str = "events.jsonl"
    lock: str = ".lock"
    partial: str = ".partial"
    embeddings: str = "embeddings"
    candidates: str = "embeddings/candidates"
    answers: str = "answers/answers.jsonl"
    checkpoints: str = "checkpoints"
    curves: str = "training/curves.json"
    curves_figure: str = "training/curves.png"
    tensorboard: str = "training/tensorboard"
    documents: str = "corpus/documents.parquet"
    terms: str = "corpus/terms.parquet"
    pairs: str = "triplets/pairs.parquet"
    train: str = "triplets/train.parquet"
    dev: str = "triplets/dev.parquet"
    maps: str = "triplets/maps.parquet"
    test: str = "triplets/test"
    model: str = "model"
    onnx: str = "model/onnx"
    report: str = "report/report.json"
    per_query: str = "report/per_query.parquet"
    figures: str = "report/figures"
    tasks: str = "report/tasks"
    results: str = "results"
    onnx_report: str = "model/onnx/export.json"
    push: str = "push/push.json"
    leaderboard: str = "push/leaderboard"
    launch: str = "launch.json"
    launch_log: str = "launch.log"
    outcome: str = "outcome.json"


LAYOUT = Layout()


@dataclass(frozen=True)
class RepoLayout:
    """Every path of the dataset repo that keeps a run which was sent elsewhere."""

    card: str = "README.md"
    launch: str = "run.json"
    recipe: str = "recipe.yaml"
    bundle: str = "bundle"
    constraints: str = "bundle/constraints.txt"
    inputs: str = "inputs"
    run: str = "run"
    events: str = "run/events.jsonl"
    logs: str = "logs"
    outcome: str = "outcome.json"


REPO_LAYOUT = RepoLayout()


@dataclass(frozen=True)
class ComparisonLayout:
    """What a comparison of presets leaves beside their runs."""

    table: str = "comparison.json"
    chart: str = "comparison.png"


COMPARISON_LAYOUT = ComparisonLayout()


@dataclass(frozen=True)
class GeneratorLayout:
    """What a trained query generator holds beside the files of transformers, and what stands beside it until it is done."""

    about: str = "generator.json"
    course: str = "training/course.json"
    figure: str = "training/course.png"
    completions: str = "training/completions.parquet"
    partial: str = ".{name}.partial"
    lock: str = ".lock"
    checkpoints: str = "checkpoints"
    result: str = "result"


GENERATOR_LAYOUT = GeneratorLayout()


@dataclass(frozen=True)
class IndexLayout:
    """The paths of an index. place: where its model is on this machine, which is no one else's concern.

    documents: those of a corpus that is no run, only while the index is built. tokens, postings: what a model with heads
    makes of tokens.
    """

    manifest: str = "index.json"
    place: str = ".place.json"
    lock: str = ".lock"
    documents: str = ".documents.parquet"
    table: str = "documents"
    table_folder: str = "documents.lance"
    tokens: str = "tokens"
    token_file: str = "{number:06d}.f16"
    postings: str = "postings"
    partial: str = ".partial"

    @property
    def folders(self) -> tuple[str, ...]:
        """What is published beside the manifest, and gone when an index is built anew."""
        return self.table_folder, self.tokens, self.postings


INDEX_LAYOUT = IndexLayout()


@dataclass(frozen=True)
class CacheLayout:
    """What `compare` keeps of a large corpus beside its embeddings: an index for each model.

    corpus: in such an index, of which content of the corpus it is.
    """

    documents: str = "documents-{key}.parquet"
    indexes: str = "indexes"
    words: str = "words"
    corpus: str = ".corpus.json"


CACHE_LAYOUT = CacheLayout()


class Manifest(BaseModel):
    """What one finished stage did; written last, so its presence means 'done'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    inputs: str
    output: str
    upstream: dict[str, str] = {}
    hfembed: str
    seconds: float
    peak_mb: float
    finished: str
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    sources: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    versions: dict[str, str] = {}


class Run:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        """Address the run in `folder`; nothing is read or written yet."""
        self.folder = folder

    def path(self, relative: str) -> Path:
        """Return the path of one entry of LAYOUT."""
        return self.folder / relative

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open an existing run, or say that there is none."""
        run = cls(folder)
        if not run.path(LAYOUT.recipe).is_file():
            raise RunError(
                f"'{folder}' is not a run: it holds no {LAYOUT.recipe}.",
                f"hfembed run SRC --run {folder} starts one.",
            )
        return run

    def recipe(self) -> Recipe:
        """Return the recipe this run was started with."""
        return read_recipe(self.path(LAYOUT.recipe))

    def write_recipe(self, recipe: Recipe) -> None:
        """Keep the resolved recipe."""
        write_atomically(self.path(LAYOUT.recipe), recipe.to_yaml())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone; the lock goes with the process, however it ends."""
        busy = RunBusyError(
            f"Another process is working in '{self.folder}'.",
            f"hfembed status {self.folder} shows it; wait for it, or name another folder with --run.",
        )
        with hold(self.path(LAYOUT.lock), busy):
            yield

    def is_busy(self) -> bool:
        """Tell whether a process is working in the run now."""
        lock = FileLock(self.path(LAYOUT.lock), timeout=0)
        try:
            with lock:
                return False
        except Timeout:
            return True
        except OSError:
            return False  # a run that cannot be written is not being written

    def manifests(self, folder: str) -> dict[str, Manifest]:
        """Return the manifests of the stages that are done in one folder of the run."""
        file = self.path(folder) / MANIFEST
        try:
            stages = json.loads(file.read_text(encoding="utf-8"))["stages"]
            return {name: Manifest.model_validate(values) for name, values in stages.items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
            raise RunError(
                f"'{file}' is damaged and cannot be read.", f"Delete the folder '{file.parent}' to redo its stages."
            ) from error

    def refuse_foreign(self, folder: str) -> None:
        """Refuse to replace a folder that no stage made; it may be someone's only copy."""
        target = self.path(folder)
        if target.exists() and not (target / MANIFEST).is_file():
            raise RunError(
                f"'{target}' is where results would go, but it holds something else.",
                "Name another run folder, or move that folder away.",
            )

    def begin(self, stage: str) -> Path:
        """Return an empty folder for a stage to write to."""
        partial = self.path(LAYOUT.partial) / stage
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def abandon(self) -> None:
        """Remove what an unfinished stage wrote."""
        shutil.rmtree(self.path(LAYOUT.partial), ignore_errors=True)

    def commit(self, partial: Path, folder: str, manifest: Manifest, *, owner: bool) -> None:
        """Put a stage's results in their place and mark the stage as done.

        owner: the stage makes the folder anew; otherwise it adds to what another stage left there.
        """
        target = self.path(folder)
        if owner:
            self.refuse_foreign(folder)
            _write_manifests(partial, {manifest.stage: manifest})
            _replace(target, partial)
        else:
            done = self.manifests(folder)
            done.pop(manifest.stage, None)
            _write_manifests(target, done)
            for item in partial.iterdir():
                _replace(target / item.name, item)
            _write_manifests(target, {**done, manifest.stage: manifest})
        self.abandon()


@contextmanager
def hold(lock: Path, busy: RunBusyError) -> Iterator[None]:
    """Hold a folder for this process alone, by a lock in it; where another process does, `busy` says so."""
    make_folder(lock.parent)
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise busy from None
    except OSError as error:
        raise RunError(f"'{lock.parent}' cannot be written: {error.strerror}.") from error
    try:
        yield
    finally:
        held.release()


def make_folder(folder: Path) -> None:
    """Create a folder, or say why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"'{folder}' cannot be made a folder: {error.strerror}.", "Name another one with --run."
        ) from None


def write_atomically(file: Path, text: str) -> None:
    """Write a small file so that it is either old or new, never half."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """Write JSON as a person would like to read it."""
    write_atomically(file, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def hash_file(file: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_folder(folder: Path, *, leave_out: Iterable[str] = (MANIFEST,)) -> str:
    """Return one hash over the names and bytes of every file below a folder."""
    left_out = set(leave_out)
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in left_out)
    return hash_json([[file.relative_to(folder).as_posix(), hash_file(file)] for file in files])


def hash_json(value: Any) -> str:
    """Return the hash of anything JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _write_manifests(folder: Path, manifests: dict[str, Manifest]) -> None:
    write_json(folder / MANIFEST, {"stages": {name: manifest.model_dump() for name, manifest in manifests.items()}})


def _replace(target: Path, source: Path) -> None:
    # A folder cannot be renamed over a filled one: the old one steps aside first, unmarked, so that
    # a crash in between leaves a stage to redo and never a stage half replaced.
    if target.is_dir():
        aside = source.parent / f"{target.name}.old"
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    source.rename(target)
