"""grpo: a generator is rewarded for queries that bring their passage back, under a retriever that stays as it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.corpus import Documents
from hfembed.errors import ModelError, StageError
from hfembed.events import Reporter, silent
from hfembed.generate.llm.trained import Asking, read_asking
from hfembed.generator.candidates import ByMeaning, ByWords, choose_pool
from hfembed.generator.course import REWARDS, gather_completions, write_course
from hfembed.generator.guards import WATCHED, Log, first_raised, span_of
from hfembed.generator.model import Learner, adapters
from hfembed.generator.output import Work, begin, code_of_training
from hfembed.generator.reward import PARTS, RewardFunction, Rewards
from hfembed.generator.rows import prompt_rows, read_examples
from hfembed.generator.settings import Grpo
from hfembed.generator.sft import LIBRARIES
from hfembed.hub import ModelSource, locate_model
from hfembed.run import LAYOUT, Run, hash_file, hash_json
from hfembed.stage import Sources, require

# Where TRL writes down what it drew, below its own folder.
COMPLETIONS = "completions"


@dataclass(frozen=True)
class Retrievers:
    """The retriever that ranks, and the one that is to be trained some day; both are frozen, and may be the same."""

    teacher: ModelSource
    base: ModelSource


def grpo(
    run: Run, generator: str, out: Path, settings: Grpo | None = None, report: Reporter | None = None
) -> dict[str, Any]:
    """Reward a generator that sft made for queries that are found, and leave a better one in `out`.

    The passages are those that a run learns from; its base ranks, or the teacher that is named. Returns what to
    say of it. A training that was killed goes on from its last checkpoint; one that is done is not done again.
    """
    require("generator", *LIBRARIES)
    settings, report = settings or Grpo(), report or silent()
    source = locate_model(generator)
    asking = read_asking(source.path, source.name)
    if asking is None:
        raise ModelError(
            f"'{generator}' was not taught to write queries.", f"hfembed generator sft {run.folder} --base {generator}"
        )
    with run.locked():
        base = Sources(run.recipe()).base
        retrievers = Retrievers(locate_model(settings.teacher) if settings.teacher else base, base)
        read_examples(run)  # says at once what is missing
        inputs = hash_json(
            {
                "grpo": settings.model_dump(mode="json", exclude={"checkpoint_seconds", "teacher"}),
                "code": code_of_training(),
                "models": [source.fingerprint, retrievers.teacher.fingerprint, base.fingerprint],
                "documents": hash_file(run.path(LAYOUT.documents)),
                "pairs": hash_file(run.path(LAYOUT.pairs)),
            }
        )
        with begin(out, inputs) as work:
            if work.finished is not None:
                report.note(f"'{out}' is already done, nothing to do")
                return work.finished
            return _reward(run, source, asking, retrievers, settings, work, report)


def _reward(
    run: Run, source: ModelSource, asking: Asking, retrievers: Retrievers, settings: Grpo, work: Work, report: Reporter
) -> dict[str, Any]:
    from hfembed.generator.trainers import hush, train
    from hfembed.generator.watch import Watch

    started = time.monotonic()
    hush()
    learner = Learner.load(source)
    rows = prompt_rows(read_examples(run)[0], asking, learner.tokenizer, settings.passages, settings.seed)
    if len(rows) < settings.prompts:
        raise StageError(
            f"The run has {len(rows)} prompts for this generator; a step takes {settings.prompts}.",
            f"--set prompts={max(1, len(rows))}, or name a run on more documents.",
        )
    rewards = _rewards(run, rows, retrievers, int(learner.tokenizer.eos_token_id), settings, report)
    watch = Watch("rewarding the generator", "reward", work.checkpoints, settings.checkpoint_seconds, report)
    trainer = make_trainer(learner, rows, rewards.functions(), settings, asking.query_tokens, watch)
    log = train(trainer, work.checkpoints)
    learner.save(trainer.accelerator.unwrap_model(trainer.model), work.result)
    facts = {
        "method": "grpo",
        "generator": str(work.folder),
        "from": source.name,
        "teacher": retrievers.teacher.name,
        "prompts": len(rows),
        "settings": settings.model_dump(mode="json"),
        "steps": trainer.state.global_step,
        **summarize(log),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_course(log, REWARDS, work, facts)
    gather_completions(work.checkpoints / COMPLETIONS, work)
    return work.finish(asking, facts)


def make_trainer(
    learner: Learner, rows: list[dict[str, Any]], rewards: list[RewardFunction], settings: Grpo, query_tokens: int,
    watch: Any,
) -> Any:  # fmt: skip
    """Return TRL's trainer over prompts, each answered several times and rewarded against its own group.

    rewards: a function for each of PARTS.
    """
    from datasets import Dataset
    from trl import GRPOConfig

    from hfembed.generator.trainers import Rewarded, arguments

    weights = settings.weights.model_dump()
    config = GRPOConfig(
        **arguments(settings, watch.folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.prompts * settings.generations // settings.batch_size,
        num_generations=settings.generations,
        max_completion_length=query_tokens,
        temperature=settings.temperature,
        learning_rate=settings.peak(),
        beta=settings.beta,
        loss_type="dapo",
        scale_rewards="group",
        reward_weights=[weights[part] for part in PARTS],
        mask_truncated_completions=True,
        log_completions=True,
        num_completions_to_print=0,  # they go to a file: stdout is for results
    )
    return Rewarded(
        model=learner.model,
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=learner.tokenizer,
        peft_config=adapters(settings.lora),
        callbacks=[watch],
    )


def summarize(log: Log) -> dict[str, Any]:
    """Return what was measured in the beginning and at the end, and when each guard was first raised."""
    span, guards = span_of(log), first_raised(log)

    def ends(name: str) -> dict[str, float]:
        return {"start": round(span.start[name], 4), "end": round(span.now[name], 4)}

    return {
        "reward": ends("reward"),
        "parts": {part: ends(f"rewards/{part}/mean") for part in PARTS},
        "watched": {name: ends(name) for name in WATCHED},
        "guards": guards,
        "quiet": not guards,
    }


def _rewards(
    run: Run, rows: list[dict[str, Any]], retrievers: Retrievers, end: int, settings: Grpo, report: Reporter
) -> Rewards:
    documents = Documents.read(run.path(LAYOUT.documents))
    pool = choose_pool(documents, {row["doc_id"] for row in rows}, settings.seed)
    report.note(f"queries are ranked among {len(pool.texts):,} of {len(documents):,} documents")
    embeddings = run.path(LAYOUT.embeddings)
    teacher = ByMeaning(retrievers.teacher, embeddings, pool, report)
    alike = retrievers.base.fingerprint == retrievers.teacher.fingerprint
    base = teacher if alike else ByMeaning(retrievers.base, embeddings, pool, report)
    passages = {name: pool.texts[at] for name, at in pool.place.items()}
    return Rewards(teacher, ByWords(pool), base, passages, end)
