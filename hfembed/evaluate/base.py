"""Base: what a tuned model has to beat, used in the better of two ways: as it comes, or with the run's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.embed import Embedder
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.metrics import MAIN
from hfembed.evaluate.report import BASE, values_of
from hfembed.events import Reporter
from hfembed.stage import BaseWay, Sources

if TYPE_CHECKING:
    from hfembed.evaluate.task import Scores


@dataclass(frozen=True)
class MeasuredBase:
    """The base in the way in which it found more. found: nDCG@10 of every way that there is."""

    way: BaseWay
    embedder: Embedder
    scores: Scores
    found: Mapping[BaseWay, float]

    def to_json(self) -> dict[str, Any]:
        """Return what the report keeps; nothing where there is but one way."""
        return {"base": {"way": self.way, MAIN: dict(self.found)}} if len(self.found) > 1 else {}

    def in_words(self) -> str | None:
        """Say what was chosen, where there was a choice."""
        if len(self.found) == 1:
            return None
        bare, run = (f"{self.found[way]:.4f}" for way in (BaseWay.BARE, BaseWay.RUN))
        chosen = "as it comes" if self.way is BaseWay.BARE else "as the run uses it"
        return f"the base finds {MAIN} {bare} as it comes, {run} as the run uses it: it is compared {chosen}"


def measure_base(collection: Collection, sources: Sources, folder: Path, report: Reporter) -> MeasuredBase:
    """Score the base in every way that it can be used in, and return the better one.

    A prompt or length that a recipe adds may cost a base, which never saw it, more than training then gains.
    """
    from hfembed.evaluate.task import score_embedder

    embedders = {way: Embedder(sources.base_in(way), folder, report) for way in ways_of_base(sources)}
    scores = {way: score_embedder(collection, embedder, BASE) for way, embedder in embedders.items()}
    found = {way: round(float(values_of(score, collection, MAIN).mean()), 5) for way, score in scores.items()}
    best = max(found, key=found.__getitem__)
    return MeasuredBase(best, embedders[best], scores[best], found)


def ways_of_base(sources: Sources) -> Sequence[BaseWay]:
    """Return how the base can be used: a plain language model says nothing of it, and has the run's way alone."""
    bare = sources.bare_base
    says_itself = (bare.path / "modules.json").is_file()
    return tuple(BaseWay) if says_itself and bare.fingerprint != sources.base.fingerprint else (BaseWay.RUN,)
