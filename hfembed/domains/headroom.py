"""Headroom: how far the best models of about our size stay behind the best there is, task by task and domain by domain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from hfembed.domains.results import Scored

# Models of at most this many times our size show what can be reached.
WITHIN = 2
# A task whose score is known this well counts half, as does one that has no documents to learn from.
NOISE, WITHOUT_CORPUS = 0.02, 0.5
# Types whose data hold documents: they can be learned from without a single labelled query.
WITH_CORPUS = ("Retrieval", "InstructionRetrieval", "Reranking", "InstructionReranking")
UNSAID = ("not specified", "")


class Counted(StrEnum):
    """What mteb counts of a task."""

    QUERIES = "queries"
    DOCUMENTS = "documents"
    SAMPLES = "samples"


@dataclass(frozen=True)
class Corpus:
    """The documents of a task: where they are, how many, under which licence; None where its metadata do not say."""

    dataset: str
    revision: str
    documents: int | None
    licence: str | None
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class TaskHeadroom:
    """One task: the best model, and the best of about our size; queries: how many its score rests on."""

    task: str
    type: str
    best: float
    best_model: str
    near: float
    near_model: str
    models: int
    queries: int | None
    weight: float

    @property
    def headroom(self) -> float:
        """How much there is to gain."""
        return self.best - self.near

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {**asdict(self), "headroom": round(self.headroom, 5)}


@dataclass(frozen=True)
class Domain:
    """A group of tasks. unscored: why a task is left out. corpora: what could be learned from."""

    name: str
    tasks: tuple[TaskHeadroom, ...]
    unscored: dict[str, str]
    corpora: tuple[Corpus, ...]

    @property
    def headroom(self) -> float | None:
        """The weighted mean over its tasks; nothing where no task could be scored."""
        weight = sum(task.weight for task in self.tasks)
        return sum(task.weight * task.headroom for task in self.tasks) / weight if weight else None

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "name": self.name,
            "headroom": None if self.headroom is None else round(self.headroom, 5),
            "tasks": [task.to_json() for task in self.tasks],
            "unscored": self.unscored,
            "corpora": [asdict(corpus) for corpus in self.corpora],
        }


def measure_domain(name: str, tasks: Iterable[Any], scores: Mapping[str, list[Scored]], size: int) -> Domain:
    """Return what a model of `size` parameters could gain on tasks of mteb, largest first."""
    about = [task.metadata for task in tasks]
    found = {one.name: measure_task(one, scores.get(one.name, []), size) for one in about}
    scored = [task for task in found.values() if isinstance(task, TaskHeadroom)]
    return Domain(
        name,
        tuple(sorted(scored, key=lambda task: (-task.headroom, task.task))),
        {task: reason for task, reason in found.items() if isinstance(reason, str)},
        tuple(list_corpora(about)),
    )


def measure_task(about: Any, scores: list[Scored], size: int) -> TaskHeadroom | str:
    """Return the headroom of one task, or why there is none to be told."""
    if set(about.modalities) != {"text"}:
        return f"it is about {', '.join(about.modalities)}"
    if not scores:
        return "no results"
    near = [score for score in scores if score.size is not None and score.size <= WITHIN * size]
    if not near:
        return f"no model of at most {WITHIN} times the size was scored"
    best, reached = max(scores, key=lambda one: one.value), max(near, key=lambda one: one.value)
    queries = count_of(about, Counted.QUERIES if about.type in WITH_CORPUS else Counted.SAMPLES)
    return TaskHeadroom(
        about.name, str(about.type), best.value, best.model, reached.value, reached.model, len(scores), queries,
        weight=trust(best.value, queries) * (1 if about.type in WITH_CORPUS else WITHOUT_CORPUS),
    )  # fmt: skip


def trust(score: float, queries: int | None) -> float:
    """Return how much a score counts: 1 without noise, half where its standard error is NOISE, or not known."""
    share = min(max(score, 0.0), 1.0)
    error = math.sqrt(share * (1 - share) / queries) if queries else NOISE
    return 1 / (1 + (error / NOISE) ** 2)


def list_corpora(tasks: Iterable[Any]) -> list[Corpus]:
    """Return the documents that tasks are asked over, each dataset once."""
    found: dict[str, Corpus] = {}
    for about in tasks:
        if about.type not in WITH_CORPUS or set(about.modalities) != {"text"}:
            continue
        dataset, licence = about.dataset["path"], str(about.license or "")
        named = (*found[dataset].tasks, about.name) if dataset in found else (about.name,)
        found[dataset] = Corpus(
            dataset, str(about.dataset.get("revision", "")), count_of(about, Counted.DOCUMENTS),
            None if licence in UNSAID else licence, named,
        )  # fmt: skip
    return list(found.values())


def count_of(about: Any, what: Counted) -> int | None:
    """Return a count that mteb ships for a task, over the splits that it is scored on; None where it has none."""
    stats = about.descriptive_stats or {}
    return sum(_count(stats[split], what) for split in about.eval_splits if split in stats) or None


def _count(stats: Mapping[str, Any], what: Counted) -> int:
    texts = stats.get(f"{what}_text_statistics") or {}
    counted = stats.get(f"num_{what}") or texts.get("unique_texts")
    if counted:
        return int(counted)
    return sum(_count(part, what) for part in stats.get("hf_subset_descriptive_stats", {}).values())
