"""Estimate: seconds by stage, memory and money of a run on each machine, how sure that is, and which is to be had."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from hfembed.errors import LaunchError, choices, nearest
from hfembed.hardware import Hardware
from hfembed.launch import rates
from hfembed.launch.contract import Offer
from hfembed.launch.learned import learned_ratio
from hfembed.launch.rates import Rate
from hfembed.launch.record import Expected
from hfembed.launch.workload import Workload
from hfembed.recipe import GenerateMethod, LlmTask, LossType, MapWriter, Phase, Recipe, TrainMethod, Tuning
from hfembed.train.blend import BLENDS
from hfembed.train.dev import MAX_DOCUMENTS, MAX_QUERIES

QUERY_TOKENS = 10
# Rows of a batch are as long as its longest.
PADDED = 1.3
TAUGHT = (LossType.GIST, LossType.LATE_INTERACTION)
Encode = Callable[[float, float], float]
# Of the queries that are asked for, documents offer about so many.
OFFERED = 0.72
# Queries that one request for entity maps is about.
QUERIES_MAPPED = 10
# What is recommended ends within this, where anything does.
PATIENCE_SECONDS = 3600.0
MARGIN, LEAST_SECONDS, MOST_SECONDS = 1.5, 900, 24 * 3600
GIGA = 1e9
# Memory: of the libraries, of a parameter that is loaded, and of one that is trained.
LIBRARIES_GB, LOADED_BYTES, TRAINED_BYTES, ACTIVATION_BYTES = 1.5, 6, 20, 40


def offer(recipe: Recipe, stages_left: Sequence[str], load: Workload, hardware: Hardware, *, remote: bool) -> Offer:
    """Return what the stages that are left take on one machine."""
    stages = _seconds(recipe, stages_left, load, hardware)
    if remote:
        stages = {"start": rates.INSTALL + (load.sent + 4 * load.base.parameters) / rates.NETWORK, **stages}
    ratio, spread = learned_ratio(hardware.name)
    rate = rate_of(hardware)
    stages = {name: value * ratio for name, value in stages.items()}
    total = sum(stages.values())
    sure = min(rate.sure, spread) * load.size.sure * load.base.sure
    memory = _memory(recipe, load, hardware)
    room = hardware.gpu_memory / max(1, hardware.gpus) if hardware.gpus else hardware.memory
    what = "GPU memory" if hardware.gpus else "memory"
    refusal = f"needs about {memory:.0f} GB of {what}, has {room:.0f}" if memory > room else ""
    expected = Expected(
        seconds=total,
        low=total / sure,
        high=total * sure,
        memory=round(memory, 1),
        stages={name: round(value, 2) for name, value in stages.items()},
        dollars=None if hardware.hourly is None else hardware.dollars(total),
        ratio=ratio,
    )
    return Offer(hardware, expected, refusal)


def choose(offers: Sequence[Offer], flavor: str | None) -> Offer:
    """Return the flavor that is named, or the cheapest that fits and ends within an hour, else the fastest that fits."""
    if flavor is not None:
        named = {entry.hardware.name: entry for entry in offers}
        if flavor not in named:
            raise LaunchError(
                f"There is no flavor '{flavor}'; there are {choices(named)}. {nearest(flavor, named)}".strip(),
                "--on jobs recommends one.",
            )
        return named[flavor]
    fitting = [entry for entry in offers if not entry.refusal]
    if not fitting:
        raise LaunchError("No machine there has the memory that this run needs.", "Name a smaller base model.")
    soon = [entry for entry in fitting if entry.expected.seconds <= PATIENCE_SECONDS]
    by_price: Callable[[Offer], tuple[float, float]] = lambda entry: (  # noqa: E731
        entry.expected.dollars or 0.0,
        entry.expected.seconds,
    )
    return min(soon, key=by_price) if soon else min(fitting, key=lambda entry: entry.expected.seconds)


def time_limit(expected: Expected) -> int:
    """Return after how many seconds a run is ended that was expected to take so long."""
    return int(min(MOST_SECONDS, max(LEAST_SECONDS, expected.high * MARGIN)))


def rate_of(hardware: Hardware) -> Rate:
    """Return how fast a machine is."""
    if hardware.gpus:
        return rates.GPUS.get(hardware.gpu, rates.OTHER_GPU)
    core = _core_here() if hardware.name == "local" else rates.PLAIN_CORE
    return Rate(core.encode * hardware.cpus, core.train * hardware.cpus, core.texts * hardware.cpus, core.sure)


def _core_here() -> Rate:
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()
    return next((rate for flag, rate in rates.CORES.items() if flag in flags), rates.PLAIN_CORE)


def _seconds(recipe: Recipe, left: Sequence[str], load: Workload, hardware: Hardware) -> dict[str, float]:
    size, rate = load.size, rate_of(hardware)
    queries = _queries(recipe, size.documents)

    def encode(texts: float, tokens: float) -> float:
        return texts * max(1 / rate.texts, 2 * load.base.computed * tokens / rate.encode)

    corpus = encode(size.documents, size.tokens)
    found = {
        "pull": 0.3 + size.documents * (rates.READ_DOCUMENT + rates.READ_CHARACTER * size.chars),
        "generate": _generate(recipe, load, rate),
        "mine": rates.LOAD_MODEL + corpus + encode(queries, QUERY_TOKENS) + queries * rates.SEARCH_ROW,
        "train": _train(recipe, load, queries, rate, encode),
        "evaluate": rates.LOAD_MODEL + corpus + encode(queries, QUERY_TOKENS) * 0.2 + rates.BOOTSTRAP,
        "export": rates.EXPORT + rates.EXPORT_PARAMETER * load.base.parameters,
        "push": rates.PUSH + (8 * load.base.parameters + size.documents * size.chars) / rates.NETWORK,
    }
    stages = {name: found[name] for name in left}
    first = next((name for name in left if name not in ("pull", "generate")), None)
    if first:
        stages[first] += rates.LOAD_TORCH
    return stages


def _queries(recipe: Recipe, documents: int) -> float:
    settings = recipe.generate
    if settings.method is GenerateMethod.EXTRACTIVE:
        made = min(documents, settings.max_documents) * sum(settings.kinds.values()) * OFFERED
    else:
        made = min(documents, settings.max_documents) * sum(settings.llm.tasks.values()) * OFFERED
    return min(made, settings.max_train_queries + settings.max_dev_queries + settings.max_test_queries)


def _generate(recipe: Recipe, load: Workload, rate: Rate) -> float:
    settings = recipe.generate
    documents = min(load.size.documents, settings.max_documents)
    if not settings.asks_a_model():
        return 0.2 + documents * rates.WRITE_QUERIES
    # A request for each task, and one to judge what came of it.
    cut = settings.method is GenerateMethod.EXTRACTIVE
    tasks = [task for task, count in settings.llm.tasks.items() if count and not cut]
    requests = documents * sum(0.5 if task is LlmTask.MULTI_HOP else 1.0 for task in tasks)
    requests *= 2 if settings.filters.judge is not None else 1
    if settings.entity_maps.by in (MapWriter.AUTO, MapWriter.LLM):  # and queries some at a time
        requests += documents + _queries(recipe, documents) / QUERIES_MAPPED
    if settings.asks_an_endpoint() or load.writer is None:
        return requests * rates.ANSWER / settings.llm.concurrency
    tokens = load.size.tokens + settings.llm.sampling.max_tokens / 4
    return requests * tokens * 2 * load.writer.computed / (rate.encode / 4)


def _train(recipe: Recipe, load: Workload, queries: float, rate: Rate, encode: Encode) -> float:
    """Return the seconds of all phases, of the looks at dev between them, and of what each must encode anew."""
    documents, tokens, settings = load.size.documents, load.size.tokens, recipe.train
    look = encode(min(documents, MAX_DOCUMENTS), tokens) + encode(min(queries, MAX_QUERIES), QUERY_TOKENS)
    seconds, is_new = 0.0, False
    for number, phase in enumerate(settings.phases):
        if isinstance(phase, Tuning):
            seconds += rates.LOAD_MODEL + _tune(phase, recipe, load, queries, rate) + look * (phase.stop.looks + 1)
            is_last = not isinstance(next(iter(settings.phases[number + 1 :]), None), Tuning)
            seconds += look * len(BLENDS) if is_last and settings.strength == "auto" else 0.0
            is_new = True
            continue
        if is_new:  # what was cached is of another model
            seconds += rates.LOAD_MODEL + encode(documents, tokens) + encode(queries, QUERY_TOKENS)
            is_new = False
        pool = min(phase.pool, documents)
        step = 6 * phase.batch_size * (pool + load.base.width) * load.base.width
        seconds += rates.STRENGTH_MAPS * phase.steps * step / rate.train
    if any(isinstance(phase, Phase) for phase in settings.phases):
        folded, asked = min(documents, settings.fold.max_documents), min(queries, settings.fold.max_queries)
        seconds += rates.FOLD + rates.FOLD_SHARE * (encode(folded, tokens) + encode(asked, QUERY_TOKENS))
    return seconds


def _tune(phase: Tuning, recipe: Recipe, load: Workload, queries: float, rate: Rate) -> float:
    """Return the seconds of a phase on the weights.

    What only passes through (frozen layers, a teacher, a model without dropout) is as fast as encoding; what learns
    goes forward and back, which is twice as much again.
    """
    rows = min(queries, recipe.generate.max_train_queries) * phase.epochs
    if phase.steps:
        rows = phase.steps * phase.batch_size * phase.accumulate
    length = min(phase.max_length or math.inf, load.size.tokens * PADDED)
    tokens = rows * (length * (1 + phase.negatives) + QUERY_TOKENS)
    share = min(1.0, phase.layers / load.base.layers) if phase.layers else 1.0
    passing = 2 * (1 - share if phase.labelled() else 1) + (2 if phase.loss in TAUGHT else 0)
    learning = (6 if phase.labelled() else 4) * share
    return tokens * load.base.computed * (passing / rate.encode + learning / rate.train)


def _memory(recipe: Recipe, load: Workload, hardware: Hardware) -> float:
    """Return GB on the GPU where there is one, else of the machine."""
    tuned = [phase for phase in recipe.train.phases if isinstance(phase, Tuning)]
    needed = LIBRARIES_GB * GIGA + LOADED_BYTES * load.base.parameters
    for phase in tuned:
        texts = (phase.mini_batch or phase.batch_size) * (2 + phase.negatives)
        tokens = min(phase.max_length or math.inf, load.size.tokens * PADDED)
        seen = texts * tokens * load.base.layers * load.base.width * ACTIVATION_BYTES
        trained = (
            TRAINED_BYTES * load.base.parameters
            if phase.method in (TrainMethod.FULL, TrainMethod.AUTOTRAIN)
            else LOADED_BYTES * load.base.parameters
        )
        taught = LOADED_BYTES * load.base.parameters if phase.loss in TAUGHT else 0
        needed = max(needed, LIBRARIES_GB * GIGA + trained + taught + seen)
    if load.writer is not None:
        needed = max(needed, LIBRARIES_GB * GIGA + 2.5 * load.writer.parameters)
    if not hardware.gpus:
        needed += load.size.documents * (3 * load.size.chars + 4 * load.base.width)
    return needed / GIGA
