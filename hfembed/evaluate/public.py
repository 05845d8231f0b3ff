"""Public tasks: base, tuned and BM25 on what mteb has under a name, so that nothing is forgotten unnoticed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hfembed.embed import Embedder
from hfembed.errors import InputError
from hfembed.evaluate.contamination import Contamination, measure_contamination
from hfembed.evaluate.report import BASE, BM25, TUNED
from hfembed.events import Reporter
from hfembed.hub.problems import reason
from hfembed.run import hash_file, hash_json, make_folder, write_json
from hfembed.stage import NO_SPACE

# A point, as leaderboards count.
LOSS = 0.01
RETRIEVAL = "Retrieval"
# Where it is kept, beside results, how much of a task training saw.
SEEN = "seen"


@dataclass(frozen=True)
class PublicScore:
    """One task: the main score of each model. bm25 is None where there is nothing to retrieve."""

    task: str
    type: str
    hub_type: str
    metric: str
    dataset: str
    revision: str
    base: float = 0.0
    tuned: float = 0.0
    bm25: float | None = None
    seen: Contamination = field(default_factory=Contamination)

    @property
    def delta(self) -> float:
        """What tuning did to it."""
        return self.tuned - self.base

    def to_json(self) -> dict[str, Any]:
        """Return it for the report."""
        return {**asdict(self), "delta": round(self.delta, 5), "seen": self.seen.to_json()}


@dataclass(frozen=True)
class Unscored:
    """One task that could not be scored, and why."""

    task: str
    reason: str


@dataclass(frozen=True)
class Public:
    """What was found on public tasks."""

    benchmark: str | None
    scores: list[PublicScore]
    unscored: list[Unscored]

    def to_json(self) -> dict[str, Any]:
        """Return it for the report."""
        return {
            "benchmark": self.benchmark,
            "scores": [score.to_json() for score in self.scores],
            "unscored": [asdict(entry) for entry in self.unscored],
        }


def find_tasks(names: Sequence[str], benchmark: str | None) -> list[Any]:
    """Return mteb's tasks, each once; an unknown name is answered with the nearest."""
    import mteb

    logging.getLogger("mteb").setLevel(logging.ERROR)
    found = {}
    for name in names:
        try:
            found[name] = mteb.get_task(name)
        except KeyError as error:
            raise _unknown("task", name, error, "https://embeddings-benchmark.github.io/mteb lists them.") from None
    if benchmark is not None:
        try:
            tasks = mteb.get_benchmark(benchmark).tasks
        except KeyError as error:
            example = 'Example: --benchmark "MTEB(Medical, v1)"'
            raise _unknown("benchmark", benchmark, error, example) from None
        found = {task.metadata.name: task for task in tasks} | found
    return list(found.values())


def _unknown(what: str, name: str, error: KeyError, hint: str) -> InputError:
    guess = re.search(r"Did you mean:? '?(.+?)'?\?\"?$", str(error.args[0]))
    meant = f" Did you mean '{guess[1]}'?" if guess else ""
    return InputError(f"mteb knows no {what} '{name}'.{meant}", hint)


def score_public(
    tasks: Sequence[Any],
    benchmark: str | None,
    embedders: dict[str, Embedder],
    cache: Path,
    out: Path,
    report: Reporter,
    learned: Sequence[Path] = (),
) -> Public:
    """Score every task; keep mteb's own results below `out`. What was scored before is taken from `cache`.

    A task that fails is named with its reason, and the rest goes on. learned: tables of what training saw; a task that
    asks what stands there has no score.
    """
    from hfembed.evaluate.task import CachedEncoder, load_bm25

    models: dict[str, Any] = {
        name: CachedEncoder(embedder, name, _revision(embedder)) for name, embedder in embedders.items()
    }
    scores: list[PublicScore] = []
    unscored: list[Unscored] = []
    for task in report.each(tasks, "public tasks", unit="tasks"):
        name = task.metadata.name
        report.note(f"public task {name}")
        searches = {**models, BM25: load_bm25()} if task.metadata.type == RETRIEVAL else models
        found = _score(task, searches, cache, out, learned)
        if isinstance(found, Unscored):
            report.warn(f"{name} could not be scored: {found.reason} To try again: --rerun evaluate")
            unscored.append(found)
            continue
        scores.append(found)
        if told := found.seen.warning(name):
            report.warn(told)
        if found.delta < -LOSS:
            report.warn(
                f"{name}: the tuned model loses {-found.delta:.4f} {found.metric} against its base "
                f"({found.base:.4f} to {found.tuned:.4f}): what it knew in general is being forgotten. "
                "Keep more of the base: --set train.strength=0.3"
            )
    return Public(benchmark, scores, unscored)


def _score(
    task: Any, models: dict[str, Any], cache: Path, out: Path, learned: Sequence[Path]
) -> PublicScore | Unscored:
    from mteb import ResultCache

    about = task.metadata
    if set(about.modalities) != {"text"}:
        return Unscored(about.name, f"it is about {', '.join(about.modalities)}, and these models read text.")
    dataset = about.dataset
    score = PublicScore(
        about.name, about.type, _hub_type(about), about.main_score, dataset["path"], str(dataset["revision"])
    )
    try:
        seen = _contamination(task, cache, learned) if learned else Contamination()
        if refused := seen.refusal():
            return Unscored(about.name, refused)
        results = dict(_evaluate(task, models, ResultCache(cache)))
    except Exception as error:
        # Whatever goes wrong in somebody's dataset must not cost the run; it is told on the report and the card.
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in NO_SPACE):
            raise
        return Unscored(about.name, reason(error, f"dataset {dataset['path']}"))
    for name, result in results.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        result.to_disk(folder / f"{about.name}.json")
    values = {name: round(float(result.get_score()), 5) for name, result in results.items()}
    return replace(score, base=values[BASE], tuned=values[TUNED], bm25=values.get(BM25), seen=seen)


def _contamination(task: Any, cache: Path, learned: Sequence[Path]) -> Contamination:
    """Return how much of a task was learned from; what was found out before is kept beside the results."""
    about = task.metadata
    key = [about.name, str(about.dataset["revision"]), *map(hash_file, learned)]
    file = cache / SEEN / f"{hash_json(key)[:16]}.json"
    if file.is_file():
        return Contamination(**json.loads(file.read_text(encoding="utf-8")))
    if not hasattr(task, "load_data"):
        return Contamination()  # made of other tasks: each of them is looked at where it is scored
    if not task.data_loaded:
        task.load_data()
    seen = measure_contamination(task, learned)
    make_folder(file.parent)
    write_json(file, seen.to_json())
    return seen


def _evaluate(task: Any, models: dict[str, Any], cache: Any) -> Iterator[tuple[str, Any]]:
    """Yield mteb's result for every model; the data is read once, and not at all where all is known."""
    from mteb import evaluate as mteb_evaluate

    known = [cache.load_task_result(task.metadata.name, model.mteb_model_meta) for model in models.values()]
    # A task made of other tasks has no data of its own.
    has_data = hasattr(task, "load_data")
    if has_data and not task.data_loaded and not all(known):
        task.load_data()
    try:
        for name, model in models.items():
            result = mteb_evaluate(model, task, cache=cache, show_progress_bar=False, co2_tracker=False)
            yield name, result.task_results[0]
    finally:
        if has_data and task.data_loaded:
            task.unload_data()


def _revision(embedder: Embedder) -> str:
    """Return what a model's results go by: its weights, and the arithmetic they are used in."""
    return hash_json([embedder.source.fingerprint, embedder.precision([])["precision"]])[:16]


def _hub_type(about: Any) -> str:
    """Return what the Hub calls this type of task."""
    return str(about._hf_task_type()[0])
