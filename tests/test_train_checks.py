"""Checks: each is blind to what is well, sees what is wrong, and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfembed.embed import Role, Vectors, unit
from hfembed.train.checks import (
    Probe,
    false_negatives,
    gradient_jumps,
    has_forgotten,
    warnings_of_log,
    warnings_of_rows,
)

WELL = {
    "mean_cosine": 0.2, "effective_rank": 40.0, "separation": 0.2, "separated": 0.9, "hardness": 0.8, "general": 0.9,
}  # fmt: skip


def warned(*looks: dict[str, float], steps: int = 100) -> str:
    log = [{**WELL, **look, "step": step} for look, step in zip(looks, (0, 50, 100), strict=False)]
    return " ".join(warnings_of_log(log, steps))


def test_a_training_that_goes_well_gives_nothing_to_say():
    assert warned({}, {}, {}) == ""


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        (({"hardness": 0.3}, {}, {}), "The negatives are easy: the hardest scores 30%"),
        (({}, {"separated": 0.4}, {}), "Only 40% of the queries score their own document above"),
        (({}, {}, {"mean_cosine": 0.45}), "from 0.20 to 0.45"),
        (({}, {}, {"effective_rank": 20.0}), "from 40 to 20"),
        (({}, {}, {"general": 0.88}), "fell by 0.020"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(looks: tuple[dict[str, float], ...], words: str):
    assert words in warned(*looks)


def test_what_is_low_at_the_start_or_high_at_the_end_is_no_cause_for_alarm():
    assert warned({"separated": 0.4}, {}, {}) == "" == warned({}, {}, {"hardness": 0.3})


def test_a_gradient_that_jumps_is_told_from_those_that_merely_differ():
    norms = [1.0, 1.5, 0.7] * 5 + [12.0] + [9.0]
    log = [{"step": step, "grad_norm": norm} for step, norm in enumerate(norms, 1)] + [{"step": 3, "dev": 0.5}]
    assert gradient_jumps(log) == [16] and gradient_jumps(log[:5]) == []


def test_so_much_forgotten_ends_a_phase():
    assert has_forgotten([{"general": 0.9}, {"general": 0.86}], 0.03)
    assert not has_forgotten([{"general": 0.9}, {"general": 0.88}], 0.03)
    assert not has_forgotten([{"general": 0.9}], 0.03)


def test_a_probe_tells_texts_that_are_all_alike_from_texts_that_are_not():
    draw = np.random.default_rng(0)
    known: dict[str, Any] = {}

    def spread(texts: list[str], role: Role) -> Vectors:
        return unit(np.stack([known.setdefault(text, draw.normal(size=32)) for text in texts]).astype(np.float32))

    def alike(texts: list[str], role: Role) -> Vectors:
        return unit(spread(texts, role) * np.float32(0.05) + np.float32(1))

    names = [f"t{number}" for number in range(40)]
    probe = Probe(
        names, names, [[f"n{number}", f"m{number}"] for number in range(40)], [(name, name) for name in names]
    )
    well, bad = probe.measure(spread), probe.measure(alike)
    assert well["separated"] == 1 and well["general"] == 1 and abs(well["mean_cosine"]) < 0.1
    assert bad["mean_cosine"] > 0.9 and bad["effective_rank"] < 0.7 * well["effective_rank"]
    assert bad["hardness"] > 0.9 > 0.5 > well["hardness"]


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return folder / "train.parquet"


def test_negatives_that_score_like_the_positive_are_counted_and_given_ones_are_not(tmp_path: Path):
    rows = [
        {"score_positive": 0.8, "score_negative_1": 0.7, "negative_1_miner": "dense"},
        {"score_positive": 0.8, "score_negative_1": 0.79, "negative_1_miner": "dense"},
        {"score_positive": 0.8, "score_negative_1": 0.79, "negative_1_miner": "given"},
        {"score_positive": -0.2, "score_negative_1": -0.19, "negative_1_miner": "dense"},
    ]
    share = false_negatives(written(tmp_path, rows))
    assert share == pytest.approx(2 / 3)
    assert "66.7% of the mined negatives" in next(warnings_of_rows(tmp_path / "train.parquet"))
    assert list(warnings_of_rows(written(tmp_path, rows[:1]))) == []


def test_queries_that_find_the_documents_of_others_are_said_once_training_has_got_somewhere():
    assert "scores above another query's in 70% of the cases" in warned({}, {"above_others": 0.7}, {})
    assert warned({"above_others": 0.5}, {"above_others": 0.95}, {"above_others": 0.97}) == ""


@pytest.mark.parametrize("lengths", [{"length_cv": 0.6, "length_ratio": 2.0}, {"length_cv": 0.2, "length_ratio": 4.0}])
def test_vectors_that_grow_long_are_said_with_the_remedy(lengths: dict[str, float]):
    said = warned({}, {}, lengths)
    assert f"{lengths['length_ratio']:.1f} times the median" in said and "encoder.normalize=true" in said
    assert warned({}, {}, {"length_cv": 0.4, "length_ratio": 2.9}) == ""


def test_a_probe_counts_how_often_an_own_document_comes_before_anothers_and_measures_lengths_that_count():
    vectors = {"q0": [3.0, 0.0], "q1": [0.0, 1.0], "d0": [2.0, 0.0], "d1": [4.0, 0.5], "same": [2.0, 0.0]}

    def encode(texts: list[str], role: Role) -> Vectors:
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    measured = Probe(["q0", "q1"], ["d0", "d1"], [], [("q0", "d0")]).measure(encode)
    assert measured["above_others"] == 0.5  # the long one comes before the first query's own
    lengths = np.linalg.norm([vectors["d0"], vectors["d1"]], axis=1)
    assert measured["length_ratio"] == pytest.approx(lengths.max() / np.median(lengths), abs=1e-4)
    alike = Probe(["q0", "q0"], ["same", "same"], [], [("q0", "d0")]).measure(encode)
    assert alike["above_others"] == 1.0  # one document for both is no other's
