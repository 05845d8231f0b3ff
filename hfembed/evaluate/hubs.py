"""Hubs: documents that come first whatever is asked, which longer vectors do where a model compares by dot product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from hfembed.embed import LENGTHS_LOOKED_AT, Embedder, of_unit_length
from hfembed.evaluate.collection import Collection

TOP = 10
MAX_CV, MAX_RATIO = 0.5, 3.0
# One document among the ten best of so many queries is a hub, unless chance alone would bring it there about as often.
MAX_SHARE, TIMES_CHANCE = 0.05, 4.0


@dataclass(frozen=True)
class Hubs:
    """How long the documents' vectors are, and how often one of them is among a query's ten best.

    cv: deviation of the lengths against their mean. ratio: the longest against the median. share: of the queries that
    have the most frequent document among their ten best. chance: the same if all documents came alike. skewness: of
    how often documents come.
    """

    cv: float
    ratio: float
    share: float
    chance: float
    skewness: float

    def to_json(self) -> dict[str, float]:
        """Return it for the report."""
        return {name: round(value, 5) for name, value in asdict(self).items()}

    def warnings(self) -> Iterator[str]:
        """Yield what gives cause to say something, with what to do."""
        remedy = "Lower the learning rate, or compare by cosine: --set encoder.normalize=true"
        if self.cv > MAX_CV or self.ratio > MAX_RATIO:
            yield (
                f"The documents' vectors differ in length (coefficient of variation {self.cv:.2f}, the longest "
                f"{self.ratio:.1f} times the median). {remedy}"
            )
        if self.share > max(MAX_SHARE, TIMES_CHANCE * self.chance):
            yield f"One document is among the {TOP} best of {self.share:.0%} of the queries. {remedy}"


def measure_hubs(
    collection: Collection, embedder: Embedder, rankings: Mapping[str, Mapping[str, float]]
) -> Hubs | None:
    """Return the hubs of a model in its rankings; None where all vectors are of one length."""
    texts = list(collection.corpus.values())
    if of_unit_length(embedder.documents(texts[:: max(1, len(texts) // LENGTHS_LOOKED_AT)])):
        return None
    lengths = np.linalg.norm(embedder.documents(texts), axis=1)
    came = Counter(name for found in rankings.values() for name in sorted(found, key=found.__getitem__)[-TOP:])
    often = np.array([came[name] for name in collection.corpus], dtype=np.float64)
    deviation = often.std() or 1.0
    return Hubs(
        cv=float(lengths.std() / lengths.mean()),
        ratio=float(lengths.max() / np.median(lengths)),
        share=float(often.max() / max(1, len(rankings))),
        chance=min(1.0, TOP / len(often)),
        skewness=float((((often - often.mean()) / deviation) ** 3).mean()),
    )
