"""Votes: which of several lists is better, asked of somebody who does not know whose they are."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import comb
from pathlib import Path
from typing import Any, BinaryIO

from hfembed.compare.rankings import Hit, Ranking

LETTERS = "ABCD"
LEAST_VOTES = 5


@dataclass(frozen=True)
class Ballot:
    """Lists in an order that tells nothing."""

    corpus: str
    query: str
    rankings: tuple[Ranking, ...]

    @property
    def are_alike(self) -> bool:
        """Tell whether there is nothing to choose between."""
        return len({tuple(hit.id for hit in ranking.hits) for ranking in self.rankings}) == 1


@dataclass(frozen=True)
class Vote:
    """What was chosen. passages: of each model, in the order in which they were shown; chosen: none for a tie."""

    query: str
    corpus: str
    models: tuple[str, ...]
    passages: tuple[tuple[dict[str, str], ...], ...]
    chosen: int | None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Tally:
    """How often each model was shown and chosen, and how often nobody was."""

    votes: int
    ties: int
    shown: dict[str, int]
    chosen: dict[str, int]

    def chance(self) -> float | None:
        """Return how often a coin would be as one-sided, between two models; nothing for more of them or few votes."""
        decided, most = self.votes - self.ties, max(self.chosen.values(), default=0)
        if len(self.shown) != 2 or decided < LEAST_VOTES:
            return None
        tail: float = sum(comb(decided, wins) for wins in range(most, decided + 1)) / 2**decided
        return min(1.0, 2 * tail)


def draw_ballot(corpus: str, query: str, rankings: Sequence[Ranking], draw: random.Random | None = None) -> Ballot:
    """Return the lists in random order."""
    mixed = list(rankings)
    (draw or random.SystemRandom()).shuffle(mixed)
    return Ballot(corpus, query, tuple(mixed))


def cast(file: Path, ballot: Ballot, chosen: int | None) -> Vote:
    """Write down a vote, behind those that are there."""
    if chosen is not None and not 0 <= chosen < len(ballot.rankings):
        raise ValueError(f"There is no list {chosen}.")
    vote = Vote(
        ballot.query,
        ballot.corpus,
        tuple(ranking.model for ranking in ballot.rankings),
        tuple(tuple(map(_passage, ranking.hits)) for ranking in ballot.rankings),
        chosen,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as lines:
        line = json.dumps(asdict(vote), ensure_ascii=False).encode() + b"\n"
        lines.write(line if _ends_whole(lines) else b"\n" + line)
    return vote


def read_votes(file: Path) -> Iterator[Vote]:
    """Yield the votes that were cast, oldest first."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short when the machine stopped
            passages = tuple(map(tuple, row["passages"]))
            yield Vote(**{**row, "models": tuple(row["models"]), "passages": passages})


def count_votes(votes: Sequence[Vote], models: Sequence[str]) -> Tally:
    """Count the votes that were cast between exactly these models."""
    own = [vote for vote in votes if set(vote.models) == set(models)]
    chosen = Counter(vote.models[vote.chosen] for vote in own if vote.chosen is not None)
    ties = sum(vote.chosen is None for vote in own)
    return Tally(len(own), ties, dict.fromkeys(models, len(own)), {name: chosen[name] for name in models})


def preferences(votes: Sequence[Vote]) -> Iterator[dict[str, Any]]:
    """Yield the votes as preference data: the chosen list against each other one. A tie prefers nothing."""
    for vote in votes:
        if vote.chosen is None:
            continue
        sides = [
            {"model": name, "passages": list(shown)} for name, shown in zip(vote.models, vote.passages, strict=True)
        ]
        for at, side in enumerate(sides):
            if at != vote.chosen:
                yield {"query": vote.query, "corpus": vote.corpus, "chosen": sides[vote.chosen], "rejected": side}


def _ends_whole(lines: BinaryIO) -> bool:
    if not lines.seek(0, os.SEEK_END):
        return True
    lines.seek(-1, os.SEEK_END)
    return lines.read(1) == b"\n"


def _passage(hit: Hit) -> dict[str, str]:
    return {"id": hit.id, "title": hit.title, "text": hit.text}
