"""Ranking: the blocks are for memory only and never change the answer."""

from __future__ import annotations

import builders  # noqa: F401 - settles hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfembed import ranking
from hfembed.ranking import (
    Pairs,
    Ranker,
    exact_scores,
    fuse,
    mean_ndcg,
    ndcg_scores,
    pair_scores,
    top_documents,
    top_scored,
)

WIDTH = 3
# Small whole numbers: every product is exact, and there are many ties.
ROW = st.lists(st.integers(-2, 2), min_size=WIDTH, max_size=WIDTH)


def brute_force(queries: np.ndarray, documents: np.ndarray, count: int) -> list[list[int]]:
    scores = queries @ documents.T
    return [sorted(range(len(documents)), key=lambda row: (-line[row], row))[:count] for line in scores]


def vectors(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(-1, WIDTH)


@given(
    queries=st.lists(ROW, min_size=1, max_size=4),
    documents=st.lists(ROW, min_size=1, max_size=30),
    count=st.integers(1, 35),
    block=st.integers(1, 40),
)
def test_any_block_size_gives_scores_of_brute_force(
    queries: list[list[int]], documents: list[list[int]], count: int, block: int
):
    q, d = vectors(queries), vectors(documents)
    rows, scores = top_scored(q, d, count, block)
    assert rows.shape == (len(q), min(count, len(d)))
    assert np.array_equal(scores, np.sort(q @ d.T, axis=1)[:, ::-1][:, : rows.shape[1]])
    assert np.array_equal(np.take_along_axis(q @ d.T, rows, axis=1), scores)
    assert all(len(set(line)) == len(line) for line in rows.tolist())


@pytest.mark.parametrize("block", [1, 2, 100])
def test_ties_at_the_edge_go_to_the_earlier_document_whatever_the_block_size(block: int):
    documents = vectors([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    query = vectors([[1, 0, 0]])
    found = [top_documents(query, documents, count, block).tolist() for count in range(1, 9)]
    assert found == [brute_force(query, documents, count) for count in range(1, 9)]


def test_ties_within_what_is_returned_go_to_the_earlier_document():
    documents = vectors([[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert top_documents(vectors([[1, 0, 0]]), documents, 5, 2).tolist() == [[1, 2, 4, 0, 3]]


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_real_vectors_are_ranked_as_by_brute_force(block: int):
    draw = np.random.default_rng(0)
    queries, documents = (draw.normal(size=(n, 16)).astype(np.float32) for n in (20, 500))
    assert top_documents(queries, documents, 10, block).tolist() == brute_force(queries, documents, 10)


def test_queries_are_done_in_blocks_too(monkeypatch: pytest.MonkeyPatch):
    draw = np.random.default_rng(0)
    queries, documents = (draw.normal(size=(n, 8)).astype(np.float32) for n in (25, 40))
    whole = top_documents(queries, documents, 5)
    monkeypatch.setattr(ranking, "QUERY_BLOCK", 4)
    assert np.array_equal(top_documents(queries, documents, 5), whole)


def test_no_block_of_scores_is_larger_than_asked(monkeypatch: pytest.MonkeyPatch):
    class Counting(np.ndarray):
        """Documents that remember how many were taken at once."""

        largest = 0

        def __getitem__(self, at):
            part = super().__getitem__(at)
            if isinstance(at, slice):
                Counting.largest = max(Counting.largest, len(part))
            return part

    documents = np.ones((1_000, 4), dtype=np.float32).view(Counting)
    top_documents(np.ones((3, 4), dtype=np.float32), documents, 5, block=16)
    assert Counting.largest == 16


@given(seed=st.integers(0, 200), block=st.integers(1, 300), count=st.integers(1, 40))
def test_scores_and_order_are_the_same_for_any_block_and_on_torch(seed: int, block: int, count: int):
    draw = np.random.default_rng(seed)
    queries, documents = (draw.normal(size=(n, 24)).astype(np.float32) for n in (9, 260))
    excluded = Pairs(draw.integers(0, 9, size=30), draw.integers(0, 260, size=30))
    rows, scores = Ranker(documents).top(queries, count, excluded)
    for other in (Ranker(documents, block), Ranker(documents, block, device="cpu")):
        found = other.top(queries, count, excluded)
        assert np.array_equal(found[0], rows) and np.array_equal(found[1], scores)


def test_excluded_documents_leave_their_place_empty_when_nothing_else_is_there():
    documents = vectors([[1, 0, 0], [0, 1, 0], [-1, 0, 0]])
    rows, scores = Ranker(documents).top(vectors([[1, 0, 0]]), 3, Pairs(np.array([0]), np.array([0])))
    assert rows.tolist() == [[1, 2, -1]] and scores.tolist() == [[0.0, -1.0, -np.inf]]


def test_documents_in_rising_order_are_found_all_the_same():
    documents = np.linspace(-1, 1, 5_000, dtype=np.float32)[:, None]
    assert top_documents(np.ones((3, 1), np.float32), documents, 4, 512).tolist() == [[4999, 4998, 4997, 4996]] * 3


def test_a_pair_has_one_score_wherever_it_is_computed():
    draw = np.random.default_rng(1)
    queries, documents = (draw.normal(size=(n, 384)).astype(np.float32) for n in (40, 50))
    every = exact_scores(queries, documents, np.broadcast_to(np.arange(50), (40, 50)))
    pairs = Pairs(np.repeat(np.arange(40), 50), np.tile(np.arange(50), 40))
    assert np.array_equal(pair_scores(queries, documents, pairs), every.ravel())
    assert every == pytest.approx(queries @ documents.T, abs=1e-4)


def test_nothing_to_rank_gives_nothing():
    some, none = np.ones((2, WIDTH), dtype=np.float32), np.zeros((0, WIDTH), dtype=np.float32)
    assert top_documents(some, none, 5).shape == (2, 0)
    assert top_documents(none, some, 5).shape == (0, 2)


def test_ndcg_of_one_relevant_document_is_the_discount_of_its_place():
    ranked = np.array([[5, 6, 7], [5, 6, 7], [5, 6, 7], [5, 6, 7]])
    scores = ndcg_scores(ranked, np.array([5, 6, 7, 8]))
    assert scores == pytest.approx([1.0, 1 / np.log2(3), 0.5, 0.0])
    assert mean_ndcg(ranked, np.array([5, 6, 7, 8])) == pytest.approx(scores.mean())


def test_ndcg_ends_at_its_depth():
    ranked = np.arange(20)[None, :]
    assert ndcg_scores(ranked, np.array([10])) == [0.0]
    assert ndcg_scores(ranked, np.array([9]))[0] > 0
    assert ndcg_scores(ranked, np.array([1]), depth=1) == [0.0]


def test_rankings_are_added_up_by_their_weights_and_what_one_left_out_is_its_worst():
    first, second = {"a": 3.0, "b": 1.0}, {"b": 40.0, "c": 20.0}
    assert fuse([first, {}]) == pytest.approx({"a": 1, "b": -1})
    both = fuse([first, second], [0.25, 0.75])
    root = 2**0.5  # standardised over three: the one that stands out, and two that are alike
    assert both == pytest.approx({"a": 0.25 * root - 0.75 / root, "b": -0.25 / root + 0.75 * root, "c": -1 / root})
    assert fuse([first, second]) == pytest.approx(fuse([first, second], [1, 1]))
