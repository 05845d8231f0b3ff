"""Results: what models scored on tasks, from a folder in mteb's layout; read without asking the network for anything."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hfembed.errors import InputError
from hfembed.events import Reporter

META = "model_meta.json"
RERANKER = "cross-encoder"
DOWNLOAD = "python -c 'import mteb; mteb.ResultCache().download_from_remote()'"


@dataclass(frozen=True)
class Scored:
    """What a model scored on a task. size: its parameters, None where nobody says."""

    model: str
    size: int | None
    value: float


@dataclass
class Results:
    """A folder of results: model / revision / task.json, as mteb's ResultCache and its public repository have it.

    broken: files that could not be read, with why. partial: files that lack a part of their task.
    """

    folder: Path
    broken: dict[str, str] = field(default_factory=dict)
    partial: list[str] = field(default_factory=list)
    _scores: dict[tuple[Any, ...], Scored | None] = field(default_factory=dict, repr=False)
    _metas: dict[Path, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The files by task."""
        found: dict[str, list[Path]] = defaultdict(list)
        for root in self._roots():
            for file in sorted(root.glob("*/*/*.json")):
                if file.name != META:
                    found[file.stem].append(file)
        if not found:
            raise InputError(
                f"'{self.folder}' holds no results of mteb: no MODEL/REVISION/TASK.json.",
                f"--results DIR names another folder; with a network the public ones come with: {DOWNLOAD}",
            )
        return dict(found)

    def read(self, tasks: Iterable[Any], report: Reporter) -> dict[str, list[Scored]]:
        """Return what every model scored on tasks of mteb, by task; each model once, with its best revision."""
        wanted = {task.metadata.name: task for task in tasks}
        pairs = [(task, file) for name, task in wanted.items() for file in self.files.get(name, [])]
        best: dict[str, dict[str, Scored]] = defaultdict(dict)
        for task, file in report.each(pairs, "reading results", len(pairs), "files"):
            scored = self._score(task, file)
            if scored is not None:
                models = best[task.metadata.name]
                models[scored.model] = max(models.get(scored.model, scored), scored, key=lambda one: one.value)
        return {name: list(models.values()) for name, models in best.items()}

    def _roots(self) -> Iterator[Path]:
        known = [self.folder / "results", self.folder / "remote" / "results"]
        there = [root for root in known if root.is_dir()]
        yield from there or [self.folder]

    def _score(self, task: Any, file: Path) -> Scored | None:
        """Return what one file says of a task, each read once: several domains may have the same task."""
        key = (file, tuple(task.hf_subsets), tuple(task.eval_splits))
        if key not in self._scores:
            self._scores[key] = self._read(task, file)
        return self._scores[key]

    def _read(self, task: Any, file: Path) -> Scored | None:
        """Return what one file says; nothing for a reranker, which is no embedding model, and for half a task."""
        from mteb.results import TaskResult

        meta = self._meta(file.parent)
        if RERANKER in meta.get("model_type", ()) or meta.get("is_cross_encoder"):
            return None
        try:
            result = TaskResult.from_disk(file).validate_and_filter_scores(task)
            value = float(result.get_score()) if set(result.scores) == set(task.eval_splits) else math.nan
        except Exception as error:
            # Whatever a damaged or ancient file makes mteb stumble over: it is this file's, and it is named.
            self.broken[f"{file.parent.parent.name}/{file.name}"] = f"{type(error).__name__}: {error}".splitlines()[0]
            return None
        if math.isnan(value):
            self.partial.append(f"{file.parent.parent.name}/{file.name}")
            return None
        name = str(meta.get("name") or file.parent.parent.name.replace("__", "/"))
        size = meta.get("n_parameters") or registered_sizes().get(name)
        return Scored(name, int(size) if size else None, value)

    def _meta(self, folder: Path) -> Mapping[str, Any]:
        if folder not in self._metas:
            file = folder / META
            try:
                self._metas[folder] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            except ValueError:  # its results are still good; mteb may know the model
                self._metas[folder] = {}
        return self._metas[folder]


@cache
def registered_sizes() -> Mapping[str, int]:
    """Return the parameters of the models that mteb knows by itself."""
    import mteb

    return {meta.name: meta.n_parameters for meta in mteb.get_model_metas() if meta.name and meta.n_parameters}
