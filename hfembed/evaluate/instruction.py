"""Instruction: whether the sentence before a query is heard, and whether the model falls apart without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from hfembed.embed import Embedder, Precision, Role, encode
from hfembed.encoder import INSTRUCTION
from hfembed.evaluate.collection import Collection
from hfembed.ranking import mean_ndcg, top_documents
from hfembed.recipe import Encoder

# What no query of any corpus is after.
WRONG = "Given the name of a colour, retrieve poems that avoid it"
MOST_QUERIES = 400
IGNORED, BRITTLE = 0.002, 0.1


@dataclass(frozen=True)
class Heard:
    """NDCG@10 with the model's own instruction, with a wrong one, and with none."""

    own: float
    wrong: float
    none: float

    def to_json(self) -> dict[str, float]:
        """Return it for the report."""
        return {name: round(value, 5) for name, value in asdict(self).items()}

    def warnings(self) -> Iterator[str]:
        """Yield what gives cause to say something, with what to do."""
        if max(abs(self.own - self.wrong), abs(self.own - self.none)) < IGNORED:
            yield (
                "The instruction is not heard: a wrong one, or none, gives the same nDCG@10. Leave it out "
                "(encoder.instruction, encoder.query_prompt), and every query is shorter."
            )
        elif self.own - self.none > BRITTLE:
            yield (
                f"Without its instruction the model loses {self.own - self.none:.2f} nDCG@10: whoever forgets it searches "
                "badly. Say so on the card (push.words.limitations), or train without one."
            )


def measure_instruction(collection: Collection, embedder: Embedder, settings: Encoder) -> Heard | None:
    """Return how much the instruction of a model matters; None where the recipe gives it none."""
    if not settings.instruction or INSTRUCTION not in (settings.query_prompt or ""):
        return None
    prompt, names = str(settings.query_prompt), list(collection.queries)
    names = names[:: max(1, len(names) // MOST_QUERIES)][:MOST_QUERIES]
    place = {document: at for at, document in enumerate(collection.corpus)}
    answers = np.array([place[min(collection.qrels[name])] for name in names], dtype=np.int64)
    texts = list(collection.corpus.values())
    documents, precision = embedder.documents(texts), Precision(embedder.precision(texts)["precision"])
    model, scores = embedder.model, []
    own = dict(model.prompts)
    try:
        for instruction in (settings.instruction, WRONG, ""):
            model.prompts = {**own, "query": prompt.replace(INSTRUCTION, instruction)}
            queries = encode(model, [collection.queries[name] for name in names], Role.QUERY, precision)
            scores.append(mean_ndcg(top_documents(queries, documents, 10), answers))
    finally:
        model.prompts = own
    return Heard(*scores)
