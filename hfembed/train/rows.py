"""The rows that phases on the encoder's own weights learn from: texts, what answers them, and what a teacher says."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.errors import StageError
from hfembed.maps import Maps
from hfembed.recipe import LossType, Tuning, View
from hfembed.train.batches import Drawing, Keys

COLUMNS = ("query", "positive")
# Losses whose documents may be compared with the queries of other rows.
RANKED = (LossType.CONTRASTIVE, LossType.M3, LossType.SIMILARITY_DISTILL)


@dataclass(frozen=True)
class TrainingRows:
    """Rows of train.parquet, column by column.

    negatives: for each row, the texts of those that are used. right, wrong: what may not stand in one batch.
    mapped: which rows are shown as entity maps.
    """

    queries: list[str]
    positives: list[str]
    negatives: list[list[str]]
    kinds: list[str]
    weights: npt.NDArray[np.float64]
    right: list[Keys]
    wrong: list[Keys]
    mapped: list[bool]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.queries)

    def drawing(self, phase: Tuning) -> Drawing:
        """Return what decides how rows are put together; without in-batch negatives negatives are free to be.

        Rows that see nothing of one another stand beside one another as they come.
        """
        lengths = np.array([len(text) for text in self.positives], dtype=np.int64)
        nothing: list[Keys] = [frozenset()] * len(self)
        alone = phase.loss in RANKED and not phase.in_batch
        in_batch = not alone and phase.loss is not LossType.LATE_INTERACTION
        return Drawing(self.weights, lengths, nothing if alone else self.right, self.wrong if in_batch else nothing)

    def columns(self, labels: list[Any] | None = None, *, negatives: bool = True) -> dict[str, list[Any]]:
        """Return the columns as the trainer reads them; `labels` are a teacher's."""
        columns: dict[str, list[Any]] = {"query": self.queries, "positive": self.positives}
        if negatives:
            columns |= {f"negative_{at + 1}": list(texts) for at, texts in enumerate(zip(*self.negatives, strict=True))}
        if labels is not None:
            columns["label"] = labels
        return columns


def read_rows(file: Path, documents: Documents, phase: Tuning, maps: Maps | None = None, seed: int = 0) -> TrainingRows:
    """Read the rows that a phase learns from: its kinds of query, as many negatives as it uses, in its view.

    maps: what entity maps look like, for a phase that learns from them. seed: decides which rows show them.
    """
    table = pq.read_table(file)
    group_of = dict(zip(documents.ids, documents.groups, strict=True))
    used = [f"negative_{at + 1}" for at in range(phase.negatives)]
    missing = [name for name in used if name not in table.column_names]
    if missing:
        found = phase.negatives - len(missing)
        raise StageError(
            f"A phase uses {phase.negatives} negatives per row, but {found} were mined.",
            f"--set mine.negatives={phase.negatives}, or set the phase's negatives to {found}.",
        )
    read: dict[str, list[Any]] = {name: table[name].to_pylist() for name in ("query_id", "query", "positive_id")}
    right = _answers(read, group_of)
    kinds = table["kind"].to_pylist()
    ids = [table[f"{name}_id"].to_pylist() for name in used]
    rows = TrainingRows(
        queries=read["query"],
        positives=table["positive"].to_pylist(),
        negatives=_by_row([table[name].to_pylist() for name in used], len(kinds)),
        kinds=kinds,
        weights=_weights(kinds, table["weight"].to_numpy().astype(np.float64), phase),
        right=right,
        wrong=[frozenset(group_of[one] for one in row if one in group_of) for row in _by_row(ids, len(kinds))],
        mapped=[False] * len(kinds),
    )
    if maps is not None and phase.view is View.ENTITY_MAP:
        shown = [_shows_map(identity, phase.view_share, seed) for identity in read["query_id"]]
        positives = [[one, *others] for one, others in zip(read["positive_id"], _by_row(ids, len(kinds)), strict=True)]
        rows = _as_maps(rows, positives, dict(zip(documents.ids, documents.texts(), strict=True)), maps, shown)
    return _drawn(rows)


def _shows_map(identity: str, share: float, seed: int) -> bool:
    """Tell whether the rows of a query are among the share that shows maps: the same ones whatever else is read."""
    drawn = hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") / 2**64 < share


def _as_maps(
    rows: TrainingRows, documents: list[list[str]], texts: Mapping[str, str], maps: Maps, shown: list[bool]
) -> TrainingRows:
    """Return the rows with maps in place of their texts, where each of these has one; a row shows one view alone.

    A passage that is only a part of its document has none: its document's map would say what the part leaves out.
    """
    queries, positives, negatives = list(rows.queries), list(rows.positives), list(rows.negatives)
    mapped = list(rows.mapped)
    for at, (own, *others) in enumerate(documents):
        found = [maps.documents.get(identity) for identity in (own, *others)]
        query = maps.queries.get(rows.queries[at])
        if not shown[at] or query is None or None in found or rows.positives[at] != texts[own]:
            continue
        queries[at], positives[at], negatives[at] = query, str(found[0]), [str(text) for text in found[1:]]
        mapped[at] = True
    return replace(rows, queries=queries, positives=positives, negatives=negatives, mapped=mapped)


def _answers(read: Mapping[str, list[Any]], group_of: Mapping[str, str]) -> list[Keys]:
    """Return by row its query and the near-duplicate groups of all that answers it."""
    answers: dict[Hashable, set[Hashable]] = defaultdict(set)
    for identity, query, positive in zip(read["query_id"], read["query"], read["positive_id"], strict=True):
        # The same words may stand under two ids: what answers the one answers the other.
        answers[query] |= {("id", identity), ("query", query), group_of[positive]}
    return [frozenset(answers[query]) for query in read["query"]]


def _weights(kinds: list[str], weights: npt.NDArray[np.float64], phase: Tuning) -> npt.NDArray[np.float64]:
    if not phase.weighted:
        weights = np.ones_like(weights)
    if not phase.kinds:
        return weights
    factors: dict[str, float] = {str(kind): factor for kind, factor in phase.kinds.items()}
    weighed: npt.NDArray[np.float64] = weights * np.array([factors.get(kind, 0.0) for kind in kinds])
    return weighed


def _drawn(rows: TrainingRows) -> TrainingRows:
    """Return the rows that can be drawn at all."""
    at = np.flatnonzero(rows.weights > 0)
    if not len(at):
        raise StageError(
            f"A phase has no row to learn from: its kinds are none of {', '.join(sorted(set(rows.kinds)))}.",
            "Set the kinds of the phase to some of these, or leave them out.",
        )
    lists = {name: [values[row] for row in at] for name, values in vars(rows).items() if name != "weights"}
    return replace(rows, weights=rows.weights[at], **lists)


def _by_row(columns: list[list[Any]], rows: int) -> list[list[Any]]:
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(rows)]


def teach(rows: TrainingRows, phase: Tuning, teacher: Embedder) -> list[Any] | None:
    """Return what the loss of a phase wants to be told by a teacher, by row; None where it wants nothing."""
    if phase.loss in (LossType.CONTRASTIVE, LossType.GIST, LossType.LATE_INTERACTION, LossType.M3):
        return None
    queries, positives = np.asarray(teacher.queries(rows.queries)), np.asarray(teacher.documents(rows.positives))
    if phase.loss in (LossType.EMBED_DISTILL, LossType.SIMILARITY_DISTILL):
        return list(np.stack([queries, positives], axis=1).tolist())
    negatives = [np.asarray(teacher.documents(list(texts))) for texts in zip(*rows.negatives, strict=True)]
    scores = np.stack([(queries * documents).sum(1) for documents in (positives, *negatives)], axis=1)
    if phase.loss is LossType.MARGIN_MSE:
        scores = scores[:, :1] - scores[:, 1:]
    return list(scores.tolist())
