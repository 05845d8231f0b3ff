"""The mine stage: candidates from every source, rules, a choice, and the training table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hfembed.embed import Embedder
from hfembed.errors import StageError
from hfembed.hub import locate_model
from hfembed.maps import Maps
from hfembed.mine.asked import Asked, lowest_positives
from hfembed.mine.balanced import choose_balanced
from hfembed.mine.candidates import find_candidates, width_of
from hfembed.mine.chosen import Chosen
from hfembed.mine.crosscheck import Verdicts, cross_check
from hfembed.mine.draw import fill_short
from hfembed.mine.given import Given, put_given
from hfembed.mine.journal import Journal, journal_folder
from hfembed.mine.lexical import Lexical
from hfembed.mine.report import count_dropped, count_excluded, describe, outside_of, samples, warn
from hfembed.mine.rules import Bounds, Miner, Rules, cap_scores, pick
from hfembed.mine.space import CANDIDATE, Space
from hfembed.mine.texts import Texts
from hfembed.mine.usage import Usage
from hfembed.mine.write import Writer
from hfembed.ranking import QUERY_BLOCK, Ranker, pair_scores
from hfembed.recipe import CandidateSource, Mine, SamplerType, View
from hfembed.run import LAYOUT, hash_file
from hfembed.stage import Job, Outcome, require

# Changes when candidates of the same inputs come out differently, so that older ones are not reused.
FORMAT = 1


def mine(job: Job) -> Outcome:
    """Add hard negatives to the training pairs: near in the base model's eyes, but below the cap."""
    job.report.note("loading PyTorch and the model that finds candidates")
    require("train", "torch", "sentence_transformers")
    with tempfile.TemporaryDirectory(dir=job.out) as work:
        return _mine(job, Texts(job.run.path(LAYOUT.documents), Path(work)))


def _mine(job: Job, documents: Texts) -> Outcome:
    pairs, settings, seed = job.run.path(LAYOUT.pairs), job.recipe.mine, job.recipe.seed
    asked = Asked.read(pairs, documents, same_document=settings.same_document)
    source = job.sources.base if settings.retriever is None else job.sources.miner
    embedder = Embedder(source, job.run.path(LAYOUT.embeddings), job.report)
    vectors = _look(job, asked, documents, embedder)
    scores = pair_scores(vectors.queries, vectors.documents, asked.rows)
    lowest = lowest_positives(asked, scores)
    bounds = Bounds(lowest, cap_scores(lowest, settings.cap))
    rules = _rules(job, asked, documents, vectors, bounds, embedder)
    chosen = Chosen.none(len(asked), settings.negatives)
    given = Given.find(asked, documents)
    put_given(chosen, given, asked, vectors, embedder)
    usage, balance = choose(chosen, asked, rules, vectors, settings, seed)
    lost = fill_short(chosen, asked, vectors, bounds.highest, settings.short_rows, seed, usage)
    balance |= usage.describe() if usage else {}
    train = job.out / Path(LAYOUT.train).name
    written = Writer(documents, given, chosen).write(pairs, train, asked, scores, lost)
    if not written:
        raise StageError(
            "No training pair has enough negatives under the cap.",
            "Look at more candidates: --set mine.candidates=256, or fill up: --set mine.short_rows=random",
        )
    facts = {
        **describe(chosen, rules, asked, scores, lost, settings),
        "view": str(settings.view),
        "outside_100": outside_of(rules.candidates, asked, scores, settings),
        "sampler": {"type": str(settings.sampler.type), **balance},
        "samples": samples(train, written),
        "precision": embedder.precision([]),
    }
    warn(facts, job.report, settings)
    dropped = {**count_excluded(asked, vectors, rules.candidates), **count_dropped(chosen, rules, asked, lost)}
    return Outcome(
        counts={
            "triplets": written, "queries": len(asked), "above_cap": rules.tally["above_cap"],
            "drawn_at_random": facts["miners"][Miner.RANDOM],
        },
        dropped={reason: count for reason, count in dropped.items() if count},
        facts=facts,
    )  # fmt: skip


def _look(job: Job, asked: Asked, documents: Texts, embedder: Embedder) -> Space:
    """Return the vectors of documents and queries, as the recipe has the model look at them."""
    if job.recipe.mine.view is View.PLAIN:
        return Space(documents=embedder.documents(documents.texts), queries=embedder.queries(asked.texts))
    maps = Maps.read(job.run.path(LAYOUT.maps))
    return Space(
        documents=embedder.documents(maps.of_documents(documents.ids, documents.texts)),
        queries=embedder.queries(maps.of_queries(asked.texts)),
    )


def choose(
    chosen: Chosen, asked: Asked, rules: Rules, vectors: Space, settings: Mine, seed: int
) -> tuple[Usage | None, dict[str, Any]]:
    """Fill the free places with candidates; return how often documents serve, where that is limited, and facts."""
    if settings.sampler.type is SamplerType.BALANCED:
        return choose_balanced(chosen, asked, rules, vectors, seed)
    for start in range(0, len(asked), QUERY_BLOCK):
        block = np.arange(start, min(start + QUERY_BLOCK, len(asked)))
        found, usable = rules.candidates[block], rules.usable(block)
        for at in np.flatnonzero((chosen.rows[block] >= 0).any(axis=1)):
            usable[at] &= ~np.isin(found["row"][at], chosen.rows[start + at])
        chosen.put_block(start, *pick(found, usable, settings.sampler, settings.negatives, [seed, start]))
    return None, {}


def _rules(job: Job, asked: Asked, documents: Texts, vectors: Space, bounds: Bounds, by: Embedder) -> Rules:
    """Find the candidates, have them read where the recipe says so, and return the rules over them."""
    settings, check = job.recipe.mine, job.recipe.mine.cross_encoder
    home = job.run.path(LAYOUT.candidates)
    files = [hash_file(job.run.path(path)) for path in (LAYOUT.documents, LAYOUT.pairs)]
    sources = {*settings.sources, *([CandidateSource.BM25] if settings.sampler.type is SamplerType.MIXED else [])}
    lexical = None
    if CandidateSource.BM25 in sources:
        lexical = Lexical(documents.texts, journal_folder(home, "bm25", [FORMAT, files[0]]), job.report)
    precision = by.precision([])["precision"]
    key = [FORMAT, by.source.fingerprint, precision, *files, sorted(sources), settings.candidates]
    if settings.view is not View.PLAIN:
        key += [settings.view, hash_file(job.run.path(LAYOUT.maps))]
    key += ["same_document"] if settings.same_document else []
    width = width_of(settings.candidates, len(sources), len(documents))
    ranker = Ranker(vectors.documents, settings.block_size) if CandidateSource.DENSE in sources else None
    journal = Journal(journal_folder(home, "search", key), CANDIDATE, width)
    candidates = find_candidates(asked, vectors, ranker, lexical, settings.candidates, journal, job.report)
    rules = Rules(candidates, bounds, settings)
    if check.model is None:
        return rules
    model = locate_model(check.model)
    journal = Journal(
        journal_folder(home, "read", [key, model.fingerprint, settings.model_dump(mode="json")]),
        np.float32,
        1 + check.candidates,
    )
    said = cross_check(model, asked, documents, rules, check.candidates, journal, job.report)
    return Rules(candidates, bounds, settings, Verdicts(said, check.max_share).passed)
