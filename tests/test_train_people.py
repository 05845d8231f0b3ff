"""What people asked chooses how much is kept: as much as all else together, and no loss by chance forbids it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hfembed.embed import Vectors, unit
from hfembed.train.adapter import Map
from hfembed.train.people import Asked, hear_people
from hfembed.train.strength import STRENGTHS, Choice

WIDTH = 32
DOCUMENTS = np.eye(WIDTH, dtype=np.float32)
# What was learned: the first axis says nothing.
LEARNED = Map(-np.outer(DOCUMENTS[0], DOCUMENTS[0]))
FAR = max(STRENGTHS)


class Vectorized:
    """Stands for the base: a query is the number of its vector."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = unit(vectors)

    def queries(self, texts: list[str]) -> Vectors:
        return self._vectors[[int(text) for text in texts]]


def heard(helped: int, hurt: int, others: float) -> Choice:
    """Let people choose: some of their queries are helped by the map, others hurt; `others` is what families gain."""
    rows = np.array([*(1 + number % (WIDTH - 1) for number in range(helped)), *([0] * hurt)])
    vectors = DOCUMENTS[rows].copy()
    vectors[:helped, 0] += 1.2
    vectors[helped:, 1] += 0.8
    asked = Asked([str(number) for number in range(len(rows))], rows)
    choice = Choice(0.125, {"names": {str(s): others * s for s in STRENGTHS}}, {"names": 0.5})
    embedder: Any = Vectorized(vectors)
    return hear_people(choice, LEARNED, asked, embedder, DOCUMENTS)


def test_people_take_what_helps_them_though_nothing_else_gains():
    choice = heard(helped=20, hurt=0, others=-0.01)
    assert choice.strength > 0 and choice.gains["people"][str(choice.strength)] == pytest.approx(0.36907)
    assert choice.base["people"] == pytest.approx(0.63093) and choice.base["names"] == 0.5


def test_what_surely_hurts_people_is_not_taken_whatever_else_gains():
    choice = heard(helped=0, hurt=20, others=5.0)
    assert choice.gains["people"][str(FAR)] < 0 and choice.gains["people"][str(choice.strength)] == 0


def test_one_query_that_falls_forbids_nothing_but_is_counted():
    untouched = 19
    rows = np.array([*range(1, untouched + 1), 0])
    vectors = DOCUMENTS[rows].copy()
    vectors[untouched, 1] += 0.8
    asked = Asked([str(number) for number in range(len(rows))], rows)
    embedder: Any = Vectorized(vectors)

    def strength(others: float) -> float:
        choice = Choice(0.0, {"names": {str(s): others * s for s in STRENGTHS}}, {"names": 0.5})
        return hear_people(choice, LEARNED, asked, embedder, DOCUMENTS).strength

    assert strength(others=0.1) == FAR
    assert strength(others=0.01) < FAR  # a loss that weighs more than what the others gain
