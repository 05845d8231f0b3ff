"""full, lora and qlora: phases on the encoder's own weights, and how much of what they changed is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from hfembed.corpus import Documents
from hfembed.embed import Embedder, Precision, Role, Vectors, encode, load_model
from hfembed.encoder import lost_ends
from hfembed.errors import MissingExtraError, StageError
from hfembed.events import Reporter
from hfembed.heads.files import write_heads
from hfembed.hub import ModelSource
from hfembed.maps import Maps
from hfembed.recipe import LossType, MapWriter, TrainMethod, Tuning, View
from hfembed.run import LAYOUT
from hfembed.together import processes
from hfembed.train.batches import plan_batches
from hfembed.train.blend import Blend, blend_weights, choose_blend, weights_of
from hfembed.train.checkpoints import keep_result, last_checkpoint, read_result
from hfembed.train.checks import Probe, gradient_jumps, read_probe
from hfembed.train.dev import Dev, read_dev
from hfembed.train.heads import look_at_heads
from hfembed.train.lora import settle
from hfembed.train.part import Part, describe_prompts, write_model
from hfembed.train.people import read_asked
from hfembed.train.pilot import find_lowest
from hfembed.train.preconvergence import HIT_MAPS, HIT_PLAIN, describe_ending
from hfembed.train.rows import TrainingRows, read_rows, teach

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hfembed.train.tuner import Task

# Lengths are rounded up to this many tokens, and this share of the texts is read to its end.
LENGTH_STEP = 8
SHARE_READ = 0.95
LENGTH_SAMPLE = 2_000


def train_weights(part: Part) -> dict[str, Any]:
    """Train phase after phase, choose how much of it is kept, and write the model; return the facts."""
    from hfembed.heads.module import add_heads, without_heads

    job, strength = part.job, part.strength
    for tracker in job.recipe.train.report_to:
        if find_spec(tracker) is None:
            raise MissingExtraError(
                f"train.report_to names '{tracker}', which is not installed.", f"pip install {tracker}"
            )
    documents = Documents.read(job.run.path(LAYOUT.documents))
    entering = Embedder(part.source, job.run.path(LAYOUT.embeddings), job.report)
    precision = Precision(entering.precision(documents.texts())["precision"])
    phases = [phase for phase in part.phases if isinstance(phase, Tuning)]
    maps = None if job.recipe.generate.entity_maps.by is MapWriter.NONE else Maps.read(job.run.path(LAYOUT.maps))
    rows = [read_rows(job.run.path(LAYOUT.train), documents, phase, maps, job.recipe.seed) for phase in phases]
    # A teacher that compares tokens needs no label: what it teaches on a kind of query is not the kind's style.
    learned = {kind for phase, found in zip(phases, rows, strict=True) if phase.labelled() for kind in found.kinds}
    dev = read_dev(job, documents, learned, read_asked(job, documents))
    model = add_heads(load_model(part.source), job.recipe.train.heads)
    _refuse_lost_ends(model, rows)
    settled = _settled(phases, model, job.report)
    phases = [phase.for_rows(len(found), processes()) for phase, found in zip(settled, rows, strict=True)]
    before = weights_of(model)
    results = []
    for number, (phase, found) in enumerate(zip(phases, rows, strict=True)):
        training = _Training(part, number, phase, found, dev, maps, precision)
        results.append(read_result(model, training.folder) or training.run(model))
    after = weights_of(model)
    labelled = any(phase.labelled() for phase in phases)
    if strength == "auto":
        blend = choose_blend(model, before, after, dev, precision, job.report, labelled=labelled)
    else:
        blend = Blend(float(strength), {}, dev.unseen)
    blend_weights(model, before, after, blend.strength)
    if strength == job.recipe.train.strength:
        job.report.note(_describe(blend, chosen=strength == "auto", labelled=labelled))
    heads = without_heads(model)
    write_model(model, part.out)
    if heads is not None:
        write_heads(heads, part.out)
    return {
        "losses": [entry["loss"] for result in results for entry in result["log"] if "loss" in entry],
        "choice": blend.to_json(),
        "fold": {"kind": "weights" if blend.strength else "base"},
        "precision": entering.precision(documents.texts()),
        "prompts": describe_prompts(model),
        "pairs": max(len(found) for found in rows),
        "phases": results,
    }


def _settled(phases: list[Tuning], model: SentenceTransformer, report: Reporter) -> Iterator[Tuning]:
    """Yield the phases as this base and this machine have them."""
    size = sum(weights.numel() for weights in model.parameters())
    for phase in phases:
        settled, told = settle(phase.suited_to(size))
        if told is not None:
            report.note(told)
        yield settled


def _refuse_lost_ends(model: SentenceTransformer, rows: list[TrainingRows]) -> None:
    """Refuse to train on the vector of a token that is not the end of its text."""
    if lost := lost_ends(model, [*rows[0].positives, *rows[0].queries]):
        raise StageError(f"The base cannot be trained as it is: {lost}.")


class _Training:
    """One phase of a part."""

    def __init__(
        self,
        part: Part,
        number: int,
        phase: Tuning,
        rows: TrainingRows,
        dev: Dev,
        maps: Maps | None,
        precision: Precision,
    ) -> None:
        self.part, self.number, self.phase, self.rows, self.dev = part, number, phase, rows, dev
        self.precision = precision
        self.in_maps = None if maps is None or not self._looks_at_views() else dev.in_view(maps)
        self.folder = part.checkpoints(number)
        self.seed = part.job.recipe.seed + number

    def run(self, model: SentenceTransformer) -> dict[str, Any]:
        """Train the model in place; return what there is to know of it."""
        if self.phase.method is TrainMethod.AUTOTRAIN:
            return self._run_there(model)
        from hfembed.train.tuner import Task, tune

        job, whole = self.part.job, model.max_seq_length
        settings, probe = job.recipe.train, read_probe(job.run.path(LAYOUT.train), self.seed)
        teacher = job.sources.teacher if settings.teacher else self.part.source
        task = Task(
            source=self.part.source,
            heads=settings.heads,
            guide=teacher if self.phase.loss in (LossType.GIST, LossType.LATE_INTERACTION) else None,
            phase=self.phase,
            columns=self._columns(teacher),
            batches=self._plan(),
            max_length=self._length(model),
            precision=self.precision,
            seed=self.seed,
            folder=self.folder,
            checkpoint=last_checkpoint(self.folder),
            trackers=tuple(settings.report_to),
            tensorboard=job.run.path(LAYOUT.tensorboard) / f"{self.folder.parent.name}-{self.folder.name}",
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        pilot = find_lowest(model, task, job.report)
        task = replace(task, lowest=pilot.get("lowest"))
        log, watch = tune(model, task, lambda learner: self._look(learner, whole, probe), job.report)
        if watch.reason:
            job.report.note(watch.reason)
        result = {
            "method": str(self.phase.method),
            "loss": str(self.phase.loss),
            "batch_size": self.phase.batch_size,
            "rows_per_step": self.phase.batch_size * self.phase.accumulate * processes(),
            "rows": len(self.rows),
            "rows_drawn": len(np.unique(np.concatenate(task.batches))),
            "rows_per_batch": round(float(np.mean([len(batch) for batch in task.batches])), 2),
            "max_length": task.max_length,
            "planned_steps": task.steps,
            **self._describe_views(log, task, pilot),
            "gradient_jumps": gradient_jumps(log),
            "log": [{name: value for name, value in entry.items() if name != "epoch"} for entry in log],
        }
        keep_result(model, result, self.folder)
        return result

    def _looks_at_views(self) -> bool:
        return self.phase.view is not View.PLAIN or self.phase.stop.preconvergence is not None

    def _describe_views(self, log: list[dict[str, float]], task: Task, pilot: dict[str, float]) -> dict[str, Any]:
        """Return what there is to know of a phase that learns from another view, or ends before all is learned."""
        found: dict[str, Any] = {}
        if self.phase.view is not View.PLAIN:
            share = float(np.mean(self.rows.mapped))
            found |= {"view": str(self.phase.view), "mapped_rows": round(share, 4)}
        if self.phase.stop.preconvergence is not None:
            ending = describe_ending(log, self.phase.stop.preconvergence, task.steps, task.lowest)
            found |= {"ending": ending, "pilot": pilot}
        return found

    def _run_there(self, model: SentenceTransformer) -> dict[str, Any]:
        """Have AutoTrain do the phase; what it tells of it is the model alone."""
        from hfembed.train.autotrain import train_there

        length = self._length(model)
        train_there(self.part, self.number, self.phase, self.rows, model, length)
        rows = len(self.rows)
        batches = -(-rows // self.phase.batch_size)
        result = {
            "method": str(self.phase.method),
            "batch_size": self.phase.batch_size,
            "rows": rows,
            "rows_drawn": rows,
            "rows_per_batch": round(rows / batches, 2),
            "max_length": length,
            "planned_steps": self.phase.epochs * -(-batches // self.phase.accumulate),
            "gradient_jumps": [],
            "log": [],
        }
        keep_result(model, result, self.folder)
        return result

    def _length(self, model: SentenceTransformer) -> int:
        """Return how many tokens are read of a text in training."""
        needed, wanted = fitting_length(model, self.rows), self.phase.max_length
        if wanted is not None and wanted < needed:
            self.part.job.report.warn(
                f"Training reads {wanted} tokens of a text, and more than {1 - SHARE_READ:.0%} of the texts are longer. "
                f"Set the phase's max_length to {needed}, or leave it out."
            )
        return min(wanted or needed, int(model.max_seq_length))

    def _plan(self) -> list[list[int]]:
        phase = self.phase
        return plan_batches(
            self.rows.drawing(phase),
            phase.batch_size,
            self.seed,
            epochs=phase.epochs,
            steps=phase.steps,
            per_step=phase.accumulate * processes(),
        )

    def _look(self, model: SentenceTransformer, whole: int, probe: Probe) -> dict[str, Any]:
        """Return the scores and checks of the model as it is now, reading as much of a text as it will later."""
        length, model.max_seq_length = model.max_seq_length, whole
        weights, temperature = self.part.job.recipe.train.heads.used(), self.phase.self_distill.temperature
        # With heads the texts are read token by token, which gives the one vector, too.
        heads = look_at_heads(model, weights, self.dev, self.precision, temperature) if weights else None
        ranked = heads.ranked if heads else self.dev.rank(model, self.precision)
        scores = self.dev.scores_of(ranked)
        hits = {HIT_PLAIN: round(self.dev.hits(ranked), 5)} if self._looks_at_views() else {}
        if self.in_maps is not None:
            hits[HIT_MAPS] = round(self.in_maps.hits(self.in_maps.rank(model, self.precision)), 5)

        def encoder(texts: list[str], role: Role) -> Vectors:
            return encode(model, texts, role, self.precision)

        measured = probe.measure(encoder)
        model.max_seq_length = length
        families = {f"dev_{family}": round(score, 5) for family, score in scores.items()}
        return {
            "dev": round(self.dev.mean(scores), 5),
            **families,
            **hits,
            **measured,
            **(heads.measured if heads else {}),
        }

    def _columns(self, teacher: ModelSource) -> dict[str, list[Any]]:
        told = teach(self.rows, self.phase, Embedder(teacher, self.part.job.run.path(LAYOUT.embeddings)))
        return self.rows.columns(told, negatives=self.phase.loss is not LossType.EMBED_DISTILL)


def fitting_length(model: SentenceTransformer, rows: TrainingRows) -> int:
    """Return how many tokens must be read so that most texts are read to their end, as far as the model can."""
    step = max(1, len(rows) // LENGTH_SAMPLE)
    texts = [
        *rows.positives[::step],
        *rows.queries[::step],
        *(text for found in rows.negatives[::step] for text in found),
    ]
    lengths = sorted(len(ids) for ids in model.tokenizer(texts, truncation=False, verbose=False)["input_ids"])
    needed = lengths[min(len(lengths) - 1, int(SHARE_READ * len(lengths)))]
    return int(min(model.max_seq_length, -(-needed // LENGTH_STEP) * LENGTH_STEP))


def _describe(blend: Blend, *, chosen: bool, labelled: bool) -> str:
    if not chosen:
        return f"keeping {blend.strength:.0%} of what was learned, as the recipe says"
    if blend.strength == 0:
        return "none of what was learned helped on dev: the tuned model stays what it was"
    if not labelled:
        return f"keeping {blend.strength:.0%} of what was learned: the best on dev"
    where = "queries that were left out of training" if blend.unseen else "dev; no kind of query was left out"
    return f"keeping {blend.strength:.0%} of what was learned: the best on {where}"
