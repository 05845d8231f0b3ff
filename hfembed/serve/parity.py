"""parity: whether what is served ranks the run's test as its checkpoint does.

Tolerances as NVIDIA's recipe sets them: the mean of a metric may move by 0.03 where it looks at fewer than five
results, by 0.01 elsewhere. Vectors that are no numbers are asked for again, and named where they stay so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfembed.embed import Embedder, Role, Vectors, prompt_of, unit
from hfembed.encoder import keeps_lengths
from hfembed.errors import InputError
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.metrics import ALL, CUTOFFS, MAIN, query_metrics
from hfembed.events import Reporter, silent
from hfembed.hub import TUNED, local_model
from hfembed.ranking import top_scored
from hfembed.run import LAYOUT, Run
from hfembed.serve.client import Answered, EndpointClient
from hfembed.stage import require

SHALLOW = 5
SHALLOW_TOLERANCE, TOLERANCE = 0.03, 0.01
# The first few are named; the others are counted.
NAMED = 5


@dataclass(frozen=True)
class Parity:
    """The endpoint beside the checkpoint. metrics: by name the scores of both, their difference, and what is allowed.

    problems: what is wrong, in sentences; none where the endpoint gives what was tested.
    """

    endpoint: str
    model: str
    queries: int
    documents: int
    dimensions: dict[str, int]
    least_cosine: float | None
    metrics: dict[str, dict[str, float]]
    problems: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the endpoint gives what was tested."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return it as `--format json` prints it."""
        return {"same": self.same, **vars(self)}


def tolerance_of(metric: str) -> float:
    """Return how far the mean of a metric may move."""
    return SHALLOW_TOLERANCE if int(metric.rpartition("@")[2]) < SHALLOW else TOLERANCE


def compare_endpoint(
    run: Run, url: str, key: str | None = None, served: str | None = None, report: Reporter | None = None
) -> Parity:
    """Score an endpoint on a run's test, and compare it with the run's own model.

    key: what the endpoint demands. served: the model's name there, where it has several.
    """
    require("train", "torch", "sentence_transformers")
    report = report or silent()
    test = run.path(LAYOUT.test)
    if not (test / "queries.jsonl").is_file():
        raise InputError(f"'{run.folder}' has no test yet.", f"hfembed run --run {run.folder}")
    collection = Collection.read(test, "Served")
    source = local_model(TUNED, run.path(LAYOUT.model))
    checkpoint = Embedder(source, run.path(LAYOUT.embeddings), report)
    prompts = {role: prompt_of(checkpoint.model, role) for role in Role}
    client = EndpointClient(url, key, served, prompts, report)
    documents, queries = list(collection.corpus.values()), list(collection.queries.values())
    answers = {Role.DOCUMENT: client.encode(documents, Role.DOCUMENT), Role.QUERY: client.encode(queries, Role.QUERY)}
    own = {Role.DOCUMENT: checkpoint.documents(documents), Role.QUERY: checkpoint.queries(queries)}
    return _compare(client, collection, own, answers, scales=not keeps_lengths(checkpoint.model))


def _compare(
    client: EndpointClient, collection: Collection, own: dict[Role, Vectors], answers: dict[Role, Answered],
    *, scales: bool,
) -> Parity:  # fmt: skip
    problems = _broken(collection, answers)
    widths = {"checkpoint": own[Role.QUERY].shape[1]}
    widths |= {"endpoint": answers[Role.QUERY].vectors.shape[1]}
    if len({*widths.values(), answers[Role.DOCUMENT].vectors.shape[1]}) > 1:
        problems.append(
            f"The endpoint gives vectors of {widths['endpoint']} dimensions, the checkpoint of {widths['checkpoint']}."
        )
    found = {role: np.nan_to_num(answer.vectors, nan=0, posinf=0, neginf=0) for role, answer in answers.items()}
    if scales:
        found = {role: unit(vectors) for role, vectors in found.items()}
    checkpoint, endpoint = _scores(collection, own), _scores(collection, found)
    metrics = {
        name: {
            "checkpoint": round(checkpoint[name], 5),
            "endpoint": round(endpoint[name], 5),
            "difference": round(endpoint[name] - checkpoint[name], 5),
            "tolerance": tolerance_of(name),
        }
        for name in sorted(ALL, key=lambda name: (name != MAIN, ALL.index(name)))
    }
    moved = [name for name in metrics if abs(endpoint[name] - checkpoint[name]) > tolerance_of(name)]
    problems += [
        f"{name} is {endpoint[name]:.4f} from the endpoint and {checkpoint[name]:.4f} from the checkpoint: "
        f"{endpoint[name] - checkpoint[name]:+.4f}, allowed is {tolerance_of(name):.2f}."
        for name in moved
    ]
    return Parity(
        client.url, client.model, len(collection.queries), len(collection.corpus), widths,
        _least_cosine(own, found), metrics, problems,
    )  # fmt: skip


def _broken(collection: Collection, answers: dict[Role, Answered]) -> list[str]:
    names = {Role.DOCUMENT: list(collection.corpus), Role.QUERY: list(collection.queries)}
    return [
        f"{len(answer.broken):,} {role} vectors hold something that is no number: {_some(names[role], answer.broken)}."
        for role, answer in answers.items()
        if answer.broken
    ]


def _some(names: Sequence[str], places: Sequence[int]) -> str:
    more = ", ..." if len(places) > NAMED else ""
    return ", ".join(names[place] for place in places[:NAMED]) + more


def _scores(collection: Collection, vectors: dict[Role, Vectors]) -> dict[str, float]:
    """Return the mean of every metric, by exact search."""
    identities = list(collection.corpus)
    depth = min(CUTOFFS[-1], len(identities))
    rows, scores = top_scored(vectors[Role.QUERY], vectors[Role.DOCUMENT], depth)
    per_query = [
        query_metrics(
            {identities[row]: float(score) for row, score in zip(*found, strict=True)}, collection.qrels[name]
        )
        for name, found in zip(collection.queries, zip(rows, scores, strict=True), strict=True)
    ]
    return {metric: float(np.mean([values[metric] for values in per_query])) for metric in ALL}


def _least_cosine(own: dict[Role, Vectors], found: dict[Role, Vectors]) -> float | None:
    """Return the least cosine of a text's two vectors; None where they have other dimensions."""
    if any(own[role].shape[1] != found[role].shape[1] for role in own):
        return None
    return round(min(float((unit(own[role]) * unit(found[role])).sum(1).min()) for role in own), 6)
