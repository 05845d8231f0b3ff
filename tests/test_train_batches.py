"""Batches: nothing in a batch is a false negative of anything else in it, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfembed.train.batches import Drawing, draw_rows, plan_batches


@st.composite
def drawings(draw: Any) -> Drawing:
    rows = draw(st.integers(1, 60))
    numbers = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(frozenset)
    right = draw(st.lists(numbers, min_size=rows, max_size=rows))
    wrong = [
        frozenset(row) - own
        for row, own in zip(draw(st.lists(numbers, min_size=rows, max_size=rows)), right, strict=True)
    ]
    lengths = np.array(draw(st.lists(st.integers(1, 500), min_size=rows, max_size=rows)))
    return Drawing(np.ones(rows), lengths, right, wrong)


@given(rows=drawings(), size=st.integers(1, 9), seed=st.integers(0, 3))
def test_no_document_of_a_batch_answers_the_query_of_another_row(rows: Drawing, size: int, seed: int):
    for batch in plan_batches(rows, size, seed):
        assert 1 <= len(batch) <= size
        for row in batch:
            for other in batch:
                if row != other:
                    assert not rows.right[row] & (rows.right[other] | rows.wrong[other])


@given(rows=drawings(), size=st.integers(1, 9), epochs=st.integers(1, 3))
def test_every_row_of_equal_weight_is_in_every_epoch_once(rows: Drawing, size: int, epochs: int):
    counts = Counter(row for batch in plan_batches(rows, size, 0, epochs=epochs) for row in batch)
    assert counts == Counter(dict.fromkeys(range(len(rows.right)), epochs))


@given(rows=drawings(), steps=st.integers(1, 40), per_step=st.integers(1, 4))
def test_steps_are_counted_exactly_and_epochs_are_completed_to_whole_steps(rows: Drawing, steps: int, per_step: int):
    assert len(plan_batches(rows, 4, 0, steps=steps, per_step=per_step)) == steps * per_step
    whole, completed = plan_batches(rows, 4, 0), plan_batches(rows, 4, 0, per_step=per_step)
    assert len(completed) % per_step == 0 and completed[: len(whole)] == whole


@given(
    weights=st.lists(st.floats(0, 50, allow_subnormal=False), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-3),
    seed=st.integers(0, 99),
)
def test_a_row_is_drawn_as_often_as_its_weight_says_rounded_up_or_down(weights: list[float], seed: int):
    shares = np.array(weights) * len(weights) / np.sum(weights)
    counts = np.bincount(draw_rows(np.array(weights), np.random.default_rng(seed)), minlength=len(weights))
    assert counts.sum() == len(weights)
    assert (np.abs(counts - shares) < 1 + 1e-6).all()
    assert not counts[np.array(weights) == 0].any()


def test_what_is_rounded_down_in_one_epoch_is_drawn_in_another():
    weights = np.array([10.0, 1, 1, 1, 1, 1])
    seen = np.concatenate([draw_rows(weights, np.random.default_rng(seed)) for seed in range(60)])
    counts = np.bincount(seen, minlength=6) / 60
    assert counts == pytest.approx(weights * 6 / 15, abs=0.15)


def test_batches_hold_texts_of_like_length():
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 1_000, size=640)
    alone = [frozenset([row]) for row in range(640)]
    rows = Drawing(np.ones(640), lengths, alone, [frozenset()] * 640)
    spread = np.mean([np.ptp(lengths[batch]) for batch in plan_batches(rows, 32, 0)])
    assert spread < 0.2 * np.mean([np.ptp(lengths[draw.permutation(640)[:32]]) for _ in range(20)])


def test_one_seed_gives_one_plan_and_another_seed_another():
    alone = [frozenset([row]) for row in range(50)]
    rows = Drawing(np.ones(50), np.arange(50), alone, [frozenset()] * 50)
    plans = [plan_batches(rows, 4, seed, epochs=2) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_rows_that_all_exclude_one_another_are_batches_of_one():
    rows = Drawing(np.ones(5), np.ones(5, dtype=np.int64), [frozenset("a")] * 5, [frozenset()] * 5)
    assert sorted(plan_batches(rows, 8, 0)) == [[row] for row in range(5)]
