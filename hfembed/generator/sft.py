"""sft: a small language model is taught to write the queries that a run kept, each from its passage."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from hfembed.errors import StageError
from hfembed.events import Reporter, silent
from hfembed.generate.llm.trained import Asking
from hfembed.generate.stage import draw
from hfembed.generator.course import LOSS, write_course
from hfembed.generator.guards import Log
from hfembed.generator.model import Learner, adapters
from hfembed.generator.output import Work, begin, code_of_training
from hfembed.generator.rows import TYPES, Example, completion_rows, fits, read_examples
from hfembed.generator.settings import Sft
from hfembed.hub import ModelSource, locate_model
from hfembed.run import LAYOUT, Run, hash_file, hash_json
from hfembed.stage import require

LIBRARIES = ("torch", "transformers", "datasets", "peft", "trl")
WARMUP = 0.03


def sft(run: Run, base: str, out: Path, settings: Sft | None = None, report: Reporter | None = None) -> dict[str, Any]:
    """Teach the language model `base` the queries of a run, and leave a generator in `out`; return what to say of it.

    A training that was killed goes on from its last checkpoint; one that is done is not done again.
    """
    require("generator", *LIBRARIES)
    settings, report = settings or Sft(), report or silent()
    source = locate_model(base)
    with run.locked():
        examples, left_out = read_examples(run, settings.types)
        inputs = hash_json(
            {
                "sft": settings.model_dump(mode="json", exclude={"checkpoint_seconds"}),
                "code": code_of_training(),
                "base": source.fingerprint,
                "pairs": hash_file(run.path(LAYOUT.pairs)),
            }
        )
        with begin(out, inputs) as work:
            if work.finished is not None:
                report.note(f"'{out}' is already done, nothing to do")
                return work.finished
            if left_out:
                kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common())
                report.note(f"left out, as they are no type that is taught: {kinds}")
            return _teach(source, draw(examples, settings.max_pairs, settings.seed), settings, work, report)


def _teach(source: ModelSource, examples: list[Example], settings: Sft, work: Work, report: Reporter) -> dict[str, Any]:
    from hfembed.generator.trainers import hush, train
    from hfembed.generator.watch import Watch

    started = time.monotonic()
    hush()
    learner = Learner.load(source)
    examples = _short_enough(examples, learner, settings, report)
    taught = Counter(example.type for example in examples)
    asking = Asking(
        types=tuple(task for task in TYPES if task in taught),
        prompt_tokens=learner.room_for_prompt(settings.max_length, settings.query_tokens),
        query_tokens=settings.query_tokens,
    )
    rows = completion_rows(examples, asking, learner.tokenizer)
    watch = Watch("teaching the generator", "loss", work.checkpoints, settings.checkpoint_seconds, report)
    trainer = make_trainer(learner, rows, settings, watch)
    log = train(trainer, work.checkpoints)
    learner.save(trainer.accelerator.unwrap_model(trainer.model), work.result)
    facts = {
        "method": "sft",
        "generator": str(work.folder),
        "base": source.name,
        "revision": source.revision,
        "pairs": len(rows),
        "types": {str(task): taught[task] for task in asking.types},
        "settings": settings.model_dump(mode="json"),
        "steps": trainer.state.global_step,
        "loss": _ends(log),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_course(log, LOSS, work, facts)
    return work.finish(asking, facts)


def make_trainer(learner: Learner, rows: list[dict[str, Any]], settings: Sft, watch: Any) -> Any:
    """Return TRL's trainer over prompts and completions, which learns the completions alone."""
    from datasets import Dataset
    from trl import SFTConfig

    from hfembed.generator.trainers import Taught, arguments

    config = SFTConfig(
        **arguments(settings, watch.folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=round(WARMUP * settings.epochs * len(rows) / settings.batch_size),
        max_length=settings.max_length,
        # TRL sees from the columns that these are prompts and completions; said all the same.
        completion_only_loss=True,
    )
    return Taught(
        model=learner.model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=learner.tokenizer,
        peft_config=adapters(settings.lora),
        callbacks=[watch],
    )


def _short_enough(examples: list[Example], learner: Learner, settings: Sft, report: Reporter) -> list[Example]:
    kept = [example for example in examples if fits(example.query, settings.query_tokens, learner.tokenizer)]
    if not kept:
        raise StageError(
            f"All {len(examples):,} queries are longer than {settings.query_tokens} tokens.", "--set query_tokens=96"
        )
    if len(kept) < len(examples):
        report.note(f"{len(examples) - len(kept):,} queries are longer than query_tokens and not taught")
    return kept


def _ends(log: Log) -> dict[str, float]:
    """Return the loss in the beginning and at the end, each over a tenth of the steps."""
    losses = [entry["loss"] for entry in log if "loss" in entry]
    width = max(1, len(losses) // 10)
    return {"start": sum(losses[:width]) / width, "end": sum(losses[-width:]) / width}
