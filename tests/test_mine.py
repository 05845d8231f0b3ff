"""mine: near in the base's eyes, never above the cap, never a near-duplicate of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import run_until, some_documents, write_beir
from hypothesis import given
from hypothesis import strategies as st

from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.hub import local_model
from hfembed.mine import cap_scores, choose_negatives
from hfembed.recipe import Cap, CapType, Mine
from hfembed.run import LAYOUT, Run

pytestmark = pytest.mark.xdist_group("mine")


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def choose(
    found: list[list[int]], scores: list[list[float]], positives: list[int], positive_scores: list[float],
    groups: list[int], seed: int = 0, **settings: Any,
) -> tuple[list[list[int]], np.ndarray, dict[str, int]]:  # fmt: skip
    chosen, chosen_scores, tally = choose_negatives(
        np.array(found), np.array(scores, dtype=np.float32), np.array(positives), numbers(*positive_scores),
        np.array(groups), Mine(**settings), seed,
    )  # fmt: skip
    return chosen.tolist(), chosen_scores, tally


# The cap


def test_percent_caps_below_the_positive():
    assert cap_scores(numbers(0.8, 0.4), Cap(type="percent", value=0.95)) == pytest.approx([0.76, 0.38])


def test_percent_lowers_a_negative_score_too():
    assert cap_scores(numbers(-0.4), Cap(type="percent", value=0.95)) == pytest.approx([-0.42])


def test_absolute_caps_by_a_margin():
    assert cap_scores(numbers(0.8, -0.1), Cap(type="absolute", value=0.1)) == pytest.approx([0.7, -0.2])


def test_none_caps_nothing():
    assert np.isinf(cap_scores(numbers(0.8), Cap(type="none"))).all()


@given(
    score=st.floats(-1, 1, width=32),
    value=st.floats(0.01, 1),
    kind=st.sampled_from([CapType.PERCENT, CapType.ABSOLUTE]),
)
def test_no_cap_lies_above_the_positive(score: float, value: float, kind: CapType):
    assert cap_scores(numbers(score), Cap(type=kind, value=value))[0] <= score + 1e-6


# The choice


def test_the_nearest_below_the_cap_are_taken_in_order():
    chosen, scores, tally = choose(
        [[0, 1, 2, 3, 4]], [[1.0, 0.97, 0.9, 0.8, 0.7]], [0], [1.0], [0, 1, 2, 3, 4], negatives=2
    )
    assert chosen == [[2, 3]] and scores.tolist()[0] == pytest.approx([0.9, 0.8])
    assert tally == {"above_cap": 1, "drawn_at_random": 0}


def test_the_positive_and_its_group_are_never_negatives():
    chosen, _, tally = choose(
        [[1, 0, 2, 3]], [[0.9, 0.8, 0.7, 0.6]], [0], [0.8], [7, 7, 1, 2], negatives=2, cap={"type": "none"}
    )
    assert chosen == [[2, 3]] and tally["above_cap"] == 0


def test_a_short_row_is_filled_with_other_documents_at_random():
    groups = [0, 0, *range(1, 30)]
    chosen, scores, tally = choose([[0, 2]], [[1.0, 0.5]], [0], [1.0], groups, negatives=5)
    assert chosen[0][0] == 2 and len(set(chosen[0])) == 5 and not {0, 1} & set(chosen[0])
    assert tally["drawn_at_random"] == 4 and np.isnan(scores[0, 1:]).all() and not np.isnan(scores[0, 0])
    again = [choose([[0, 2]], [[1.0, 0.5]], [0], [1.0], groups, seed=seed, negatives=5)[0] for seed in (0, 0, 1)]
    assert again[0] == again[1] == chosen and again[1] != again[2]


def test_a_corpus_smaller_than_the_negatives_repeats_documents():
    chosen, _, _ = choose([[0, 1]], [[1.0, 0.5]], [0], [1.0], [0, 1, 2], negatives=6)
    assert len(chosen[0]) == 6 and set(chosen[0]) == {1, 2}


@given(seed=st.integers(0, 999), negatives=st.integers(1, 5), kind=st.sampled_from(list(CapType)))
def test_every_row_is_full_and_holds_no_forbidden_document(seed: int, negatives: int, kind: CapType):
    draw = np.random.default_rng(seed)
    groups = draw.integers(0, 12, size=20)
    positives = draw.integers(0, 20, size=4)
    found = np.stack([draw.permutation(20)[:8] for _ in positives])
    scores = -np.sort(-draw.uniform(-1, 1, size=found.shape), axis=1).astype(np.float32)
    positive_scores = draw.uniform(-1, 1, size=4).astype(np.float32)
    settings = Mine(negatives=negatives, cap=Cap(type=kind, value=0.3))
    chosen, chosen_scores, _ = choose_negatives(found, scores, positives, positive_scores, groups, settings, seed)
    highest = cap_scores(positive_scores, settings.cap)
    for row in range(4):
        assert not (groups[chosen[row]] == groups[positives[row]]).any()
        mined = ~np.isnan(chosen_scores[row])
        assert (chosen_scores[row][mined] <= highest[row]).all()
        assert len(set(chosen[row].tolist())) == negatives


# The stage


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("mined")
    corpus = write_beir(folder / "beir", some_documents(30))
    return run_until(folder / "run", corpus, "mine", "mine.block_size=16", base=tiny_model)[0]


def test_the_stage_adds_texts_ids_and_scores_of_negatives_to_the_pairs(mined: Run, tiny_model: Path):
    rows = pq.read_table(mined.path(LAYOUT.train)).to_pylist()
    documents = Documents.read(mined.path(LAYOUT.documents))
    text_of = dict(zip(documents.ids, documents.texts(), strict=True))
    embedder = Embedder(local_model("tiny", tiny_model), mined.path(LAYOUT.embeddings))
    for row in rows[::7]:
        query = embedder.queries([row["query"]])[0]
        assert row["score_positive"] == pytest.approx(float(query @ embedder.documents([row["positive"]])[0]), abs=1e-4)
        for number in range(1, 5):
            assert row[f"negative_{number}"] == text_of[row[f"negative_{number}_id"]] != row["positive"]
            score = float(query @ embedder.documents([row[f"negative_{number}"]])[0])
            assert row[f"score_negative_{number}"] == pytest.approx(score, abs=1e-4)


def test_the_pairs_stay_as_generate_made_them_in_order(mined: Run):
    train, made = pq.read_table(mined.path(LAYOUT.train)), pq.read_table(mined.path(LAYOUT.pairs))
    assert train.select(made.column_names).equals(made)
    done = mined.manifests("triplets")["mine"]
    assert done.counts["triplets"] == len(made) and done.facts["precision"]["precision"] in ("fp32", "bf16")
    assert not any(np.isnan(train[f"score_negative_{n}"].to_numpy()).any() for n in range(1, 5))


def test_memory_blocks_do_not_change_the_triplets(mined: Run, tmp_path: Path, tiny_model: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(30))
    other, _ = run_until(tmp_path / "run", corpus, "mine", "mine.block_size=8192", base=tiny_model)
    assert pq.read_table(other.path(LAYOUT.train)).equals(pq.read_table(mined.path(LAYOUT.train)))


def test_triplets_older_than_the_corpus_are_refused_in_words(tmp_path: Path, tiny_model: Path):
    from hfembed.errors import HfembedError
    from hfembed.pipeline import run_stage
    from hfembed.recipe import apply_settings

    corpus = write_beir(tmp_path / "beir", some_documents(30))
    run, _ = run_until(tmp_path / "run", corpus, "generate", base=tiny_model)
    changed = apply_settings(run.recipe().model_dump(mode="json"), ["pull.limit=12"])
    run_stage("pull", changed, run)
    with pytest.raises(HfembedError):
        run_stage("mine", changed, run)
