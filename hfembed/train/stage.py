"""The train stage: part after part of the recipe's phases, each from the model the one before it left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.hub import TUNED, local_model
from hfembed.recipe import Phase, Tuning
from hfembed.run import LAYOUT, write_json
from hfembed.stage import Job, Outcome, require
from hfembed.train.checkpoints import forget_others
from hfembed.train.checks import false_negatives, warnings_of_log, warnings_of_phase, warnings_of_rows
from hfembed.train.coherence import Coherence, measure_coherence
from hfembed.train.curves import thin, write_curves
from hfembed.train.heads import warnings_of_heads
from hfembed.train.mapped import train_map
from hfembed.train.part import Part, Strength, checkpoints, split_parts
from hfembed.train.weights import train_weights

# Batches that are filled less than this on the mean are worth a word.
MIN_FILLED = 0.5
METHODS: dict[type[Phase | Tuning], Callable[[Part], dict[str, Any]]] = {Phase: train_map, Tuning: train_weights}


def train(job: Job) -> Outcome:
    """Train the phases, choose how much is kept, and save one plain sentence-transformers folder."""
    require("train", "torch", "sentence_transformers")
    forget_others(checkpoints(job))
    strength, coherence = job.recipe.train.strength, _coherence(job)
    if coherence is not None and not coherence.holds:
        job.report.warn(coherence.describe())
        strength = 0.0
    parts = list(_train_parts(job, strength))
    phases = [phase for part in parts for phase in part.pop("phases")]
    train = job.run.path(LAYOUT.train)
    for sentence in dict.fromkeys([*warnings_of_rows(train), *_warnings(phases)]):
        job.report.warn(sentence)
    write_curves(job.run, phases)
    # The last part tells how the model that is published came to be; what came before it is kept beside that.
    facts = {**parts[-1], "losses": [loss for part in parts for loss in part["losses"]]}
    if any(part["fold"]["kind"] != "base" for part in parts) and facts["fold"]["kind"] == "base":
        facts["fold"] = next(part["fold"] for part in reversed(parts) if part["fold"]["kind"] != "base")
    facts |= {
        "coherence": coherence.to_json() if coherence else None,
        "false_negatives": false_negatives(train),
        "phases": [thin(phase) for phase in phases],
        "earlier": parts[:-1],
    }
    pairs = facts.pop("pairs")
    shutil.rmtree(checkpoints(job), ignore_errors=True)
    return Outcome(counts={"pairs": pairs, "steps": len(facts["losses"])}, facts=facts)


def _train_parts(job: Job, strength: Strength) -> Iterator[dict[str, Any]]:
    """Train part after part; one that was finished before the process was killed is not trained again."""
    source = job.sources.base
    parts = list(split_parts(job.recipe.train.phases))
    for number, phases in enumerate(parts):
        folder = checkpoints(job) / f"part-{number}"
        is_last = number == len(parts) - 1
        out = job.out if is_last else folder / LAYOUT.model
        result = folder / "facts.json"
        if not is_last and result.is_file():
            facts = json.loads(result.read_text(encoding="utf-8"))
        else:
            if not is_last:
                shutil.rmtree(out, ignore_errors=True)
            facts = METHODS[type(phases[0])](Part(job, number, source, phases, out, strength))
            if not is_last:
                write_json(result, facts)
        source = local_model(TUNED, out)
        yield facts


def _coherence(job: Job) -> Coherence | None:
    """Return whether the documents are about something, where that decides: what people asked or wish counts more."""
    if job.recipe.train.strength != "auto" or job.recipe.train.dev_queries or job.recipe.generate.pairs:
        return None
    texts = Documents.read(job.run.path(LAYOUT.documents)).texts()
    return measure_coherence(
        texts, Embedder(job.sources.base, job.run.path(LAYOUT.embeddings), job.report), job.recipe.seed
    )


def _warnings(phases: list[dict[str, Any]]) -> Iterator[str]:
    for phase in phases:
        yield from warnings_of_log(phase["log"], phase["planned_steps"])
        yield from warnings_of_heads(phase["log"])
        yield from warnings_of_phase(phase)
        if phase.get("rows_per_batch", 0) < phase.get("batch_size", 0) * MIN_FILLED:
            yield (
                f"Batches of {phase['batch_size']} hold {phase['rows_per_batch']:.1f} rows on the mean: more would answer "
                "one another's queries. Set a smaller batch_size, or in_batch to false."
            )
        for step in phase.get("gradient_jumps", [])[:1]:
            yield f"The gradient jumped at step {step}. Should the curves look rough: lower the learning rate."
