"""Everything together: units of work from documents, a writer, and queries with an account of what they took."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from hfembed.corpus import Documents
from hfembed.errors import RecipeError, StageError
from hfembed.generate.llm.bundles import bundle, whole_documents
from hfembed.generate.llm.checks import warn_of_troubles
from hfembed.generate.llm.desk import Desk, Unit
from hfembed.generate.llm.endpoint import Endpoint
from hfembed.generate.llm.journal import Journal
from hfembed.generate.llm.local import LocalModel
from hfembed.generate.llm.messages import Writer
from hfembed.generate.llm.prompts import Prompts
from hfembed.generate.llm.runner import Runner
from hfembed.generate.llm.spend import Spend
from hfembed.generate.llm.tasks import write_unit
from hfembed.generate.llm.trained import TrainedModel, choose_tasks, find_asking, write_trained
from hfembed.generate.query import Query, Split
from hfembed.hub import stored_token
from hfembed.recipe import GenerateMethod, Llm, LlmTask
from hfembed.run import LAYOUT
from hfembed.stage import Job, require

# What is asked about a source document with all its chunks in view, where the recipe wants it.
ABOUT_SEVERAL = (LlmTask.QUESTION, LlmTask.MULTI_HOP)


@dataclass
class LlmReport:
    """What became of the work. dropped: by reason. facts: for the manifest. costs: of each finished unit."""

    dropped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    costs: dict[int, float] = field(default_factory=dict)


def write_queries(
    job: Job, documents: Documents, rows: list[int], splits: list[Split]
) -> tuple[list[Query], LlmReport]:
    """Return what a language model writes about the documents in `rows`, and what that took.

    A run that was killed goes on after the last answer; what the cap on costs leaves undone is not in the result.
    """
    return write_units(job, documents, plan_units(job, documents, rows, splits))


def plan_units(job: Job, documents: Documents, rows: Sequence[int], splits: Sequence[Split]) -> list[Unit]:
    """Return the pieces of work in the order they are done: a draw, so that the first of them speak for the rest."""
    settings = job.recipe.generate.llm
    wanted = {task: count for task, count in settings.tasks.items() if count}
    if not wanted:
        raise RecipeError("generate.llm.tasks asks for nothing.", "--set generate.llm.tasks.question=3")
    if (asking := find_asking(job)) is not None:
        wanted = choose_tasks(asking, wanted, job.recipe.generate, job.report)
    alone: dict[LlmTask, int] = {task: count for task, count in wanted.items() if task is not LlmTask.MULTI_HOP}
    groups: list[tuple[tuple[int, ...], dict[LlmTask, int]]] = []
    questions = {task: count for task, count in wanted.items() if task in ABOUT_SEVERAL}
    if settings.questions.whole and questions and asking is None:
        whole = whole_documents(documents, rows, settings.max_chars)
        groups += [(members, questions) for members in whole if len(members) > 1]
        if others := {task: count for task, count in alone.items() if task not in questions}:
            groups += [((row,), others) for row in rows]
        alone = {task: count for task, count in alone.items() if task in questions}
        rows = [members[0] for members in whole if len(members) == 1]
    if alone:
        groups += [((row,), alone) for row in rows]
    if LlmTask.MULTI_HOP in wanted:
        together = bundle(documents, rows, splits, settings.questions.bundle)
        groups += [(members, {LlmTask.MULTI_HOP: wanted[LlmTask.MULTI_HOP]}) for members in together]
    random.Random(job.recipe.seed).shuffle(groups)
    return [Unit(number, members, splits[members[0]], tasks) for number, (members, tasks) in enumerate(groups)]


def write_units(job: Job, documents: Documents, units: Sequence[Unit]) -> tuple[list[Query], LlmReport]:
    """Do some pieces of work."""
    settings = job.recipe.generate
    if settings.filters.encode():
        require("train", "torch", "sentence_transformers")  # said before anything is paid
    rows = {row for unit in units for row in unit.rows}
    if too_long := sum(len(documents.bodies[row]) > settings.llm.max_chars for row in rows):
        job.report.note(
            f"{too_long:,} documents are sent up to generate.llm.max_chars ({settings.llm.max_chars:,}) only; "
            "pull.chunk cuts long ones into parts that are asked about each"
        )
    writer = open_writer(job)
    with closing(writer), closing(Journal(job.run.path(LAYOUT.answers))) as journal:
        desk = Desk(settings, documents, Prompts(settings.llm.prompts), writer.name)
        spend = Spend(settings.llm, journal.cost, free=settings.method is GenerateMethod.MODEL)
        runner = Runner(writer, journal, spend, settings.llm, job.report)
        work = write_trained if isinstance(writer, TrainedModel) else write_unit
        works = ((unit.number, work(desk, unit)) for unit in units)
        talks = {talk.number: talk for talk in runner.run(works, len(units), "pieces")}
    tally = runner.tally
    if tally.capped:
        job.report.warn(
            f"generate.llm.max_cost stopped the work at {spend.spent:.4f} of {spend.cap:g}: {tally.unfinished:,} of "
            f"{len(units):,} documents and bundles are left out. Raise it and repeat the command to go on from there."
        )
    warn_of_troubles(desk, tally, job.report)
    queries = [query for number in sorted(talks) for query in talks[number].queries]
    facts = {
        "writer": writer.name, "requests": writer.requests, "answers": tally.answers, "records": tally.records,
        "tokens_in": tally.tokens_in, "tokens_out": tally.tokens_out, "tokens_estimated": tally.estimated > 0,
        "cost": round(tally.cost, 6) if spend.priced else None, "spent": round(spend.spent, 6) if spend.priced else None,
        "repaired_share": round(tally.repaired / max(1, tally.records), 4), "unusable": dict(tally.unusable),
        "units": len(units), "unfinished": tally.unfinished,
        "hops": {str(hops): count for hops, count in sorted(desk.hops.items())},
    }  # fmt: skip
    costs = {number: talk.cost for number, talk in talks.items()}
    return queries, LlmReport(+(desk.dropped + tally.dropped), facts, costs)


def open_writer(job: Job) -> Writer:
    """Return the language model that the recipe names."""
    settings = job.recipe.generate.llm
    if settings.model is None:
        raise RecipeError("No language model is named.", "--set generate.llm.model=NAME")
    if (asking := find_asking(job)) is not None:
        return TrainedModel(settings, job.sources.writer, job.report, asking)
    if job.recipe.generate.method is GenerateMethod.MODEL:
        return LocalModel(settings, job.sources.writer, job.report)
    return Endpoint(settings, read_key(settings), job.report)


def read_key(settings: Llm) -> str | None:
    """Return the key from the environment, or for the Hub's providers the one that its client is logged in with."""
    name = settings.key_env or ("OPENAI_API_KEY" if settings.endpoint else "HF_TOKEN")
    key = os.environ.get(name, "").strip()
    if not key and settings.key_env:
        raise StageError(
            f"The environment variable {name}, which should hold the key, is not set.", f"export {name}=..."
        )
    return key or (None if settings.endpoint else stored_token())
