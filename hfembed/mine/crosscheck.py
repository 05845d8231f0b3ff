"""Cross-check: a cross-encoder reads query and candidate together, and sees answers that vectors miss."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hfembed.errors import ModelError, first_line
from hfembed.events import Reporter
from hfembed.hub import ModelSource
from hfembed.mine.asked import Asked
from hfembed.mine.journal import Journal
from hfembed.mine.rules import Mask, Rules
from hfembed.mine.texts import Texts
from hfembed.ranking import Rows, Vectors
from hfembed.stage import require

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# Queries between two lines of the journal.
BLOCK = 32
BATCH = 32


@dataclass(frozen=True)
class Verdicts:
    """What the cross-encoder said. The first column is each query's worst positive, then its first candidates."""

    scores: Vectors
    max_share: float

    def passed(self, usable: Mask, queries: Rows) -> Mask:
        """Return which usable candidates of some queries were checked and found less right than the positive."""
        place = np.cumsum(usable, axis=1)
        checked = usable & (place < self.scores.shape[1])
        scores = self.scores[queries]
        said = np.take_along_axis(scores, np.where(checked, place, 0), axis=1)
        passed: Mask = checked & (said <= self.max_share * scores[:, :1])
        return passed


def cross_check(
    source: ModelSource,
    asked: Asked,
    documents: Texts,
    rules: Rules,
    count: int,
    journal: Journal,
    report: Reporter,
) -> Vectors:
    """Score the worst positive and the first `count` candidates under the cap of every query, between 0 and 1."""
    task = report.task(f"reading candidates with {source.name}", len(asked), "queries")
    task.advance(journal.count)
    model = load_cross_encoder(source) if journal.count < len(asked) else None
    for start in range(journal.count, len(asked), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(asked)))
        under = rules.under_cap(block)
        rows = [found[good]["row"][:count].tolist() for found, good in zip(rules.candidates[block], under, strict=True)]
        journal.append(_read(model, asked, documents, block, rows, count))
        task.advance(len(block))
    task.finish()
    return journal.rows()


def _read(
    model: CrossEncoder | None, asked: Asked, documents: Texts, block: Rows, candidates: list[list[int]], count: int
) -> Vectors:
    positives = [_positives(asked, query) for query in block.tolist()]
    rows = [own + other for own, other in zip(positives, candidates, strict=True)]
    pairs = [(asked.texts[query], documents.texts[row]) for query, of in zip(block, rows, strict=True) for row in of]
    said = iter(_predict(model, pairs))
    scores = np.full((len(block), 1 + count), np.inf, dtype=np.float32)
    for at, (own, other) in enumerate(zip(positives, candidates, strict=True)):
        scores[at, 0] = min(next(said) for _ in own)
        scores[at, 1 : 1 + len(other)] = [next(said) for _ in other]
    return scores


def _positives(asked: Asked, query: int) -> list[int]:
    start, stop = np.searchsorted(asked.positives.queries, [query, query + 1])
    return [int(row) for row in asked.positives.documents[start:stop]]


def _predict(model: CrossEncoder | None, pairs: list[tuple[str, str]]) -> list[float]:
    import torch

    assert model is not None  # loaded whenever a block is left to read
    said = model.predict(pairs, batch_size=BATCH, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
    return [float(value) for value in said]


def load_cross_encoder(source: ModelSource) -> CrossEncoder:
    """Load a cross-encoder the safe way: safetensors, no code from the repo, one score per pair."""
    require("train", "torch", "sentence_transformers")
    from sentence_transformers import CrossEncoder

    config = json.loads((source.path / "config.json").read_text(encoding="utf-8"))
    kinds = config.get("architectures") or []
    if not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        raise ModelError(
            f"'{source.name}' is no cross-encoder: it is a {', '.join(map(str, kinds)) or 'model without a name'}.",
            "Name one, for instance --set mine.cross_encoder.model=cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
    try:
        model = CrossEncoder(str(source.path), trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"Cross-encoder '{source.name}' cannot be loaded: {first_line(error)}",
            "Name one that sentence-transformers loads from safetensors; code from a repo is never run.",
        ) from error
    if model.num_labels != 1:
        raise ModelError(
            f"Cross-encoder '{source.name}' gives {model.num_labels} scores per pair; one is needed.",
            "Name one for reranking, not for classes.",
        )
    return model
