"""mine: near in the base's eyes, never above the cap, never a near-duplicate of the answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import Listener, job_for, recipe_for, run_until, some_documents, write_beir
from hypothesis import given
from hypothesis import strategies as st

from hfembed.corpus import Documents
from hfembed.embed import Embedder, unit
from hfembed.errors import HfembedError, ModelError, StageError
from hfembed.events import Events, Reporter, silent
from hfembed.hub import local_model
from hfembed.mine import mine
from hfembed.mine.asked import Asked, lowest_positives, unique_pairs, with_groups
from hfembed.mine.balanced import near_wanted
from hfembed.mine.candidates import find_candidates, merge, width_of
from hfembed.mine.chosen import Chosen
from hfembed.mine.crosscheck import load_cross_encoder
from hfembed.mine.draw import fill_short
from hfembed.mine.journal import Journal
from hfembed.mine.lexical import Lexical
from hfembed.mine.report import similarity, warn
from hfembed.mine.rules import Bounds, Miner, Rules, cap_scores, code
from hfembed.mine.space import CANDIDATE, Space
from hfembed.mine.stage import choose
from hfembed.ranking import Pairs, Ranker, pair_scores
from hfembed.recipe import Cap, CapType, Mine, ShortRows
from hfembed.run import LAYOUT, Run

pytestmark = pytest.mark.xdist_group("mine")


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def candidates(*queries: list[tuple[int, float]], bm25: dict[int, int] | None = None) -> np.ndarray:
    """Return candidates as the search gives them: (row, score), nearest first; bm25 ranks by row."""
    width = max(map(len, queries))
    made = np.empty((len(queries), width), dtype=CANDIDATE)
    made["row"], made["score"], made["dense"], made["bm25"] = -1, -np.inf, -1, -1
    for query, found in enumerate(queries):
        for rank, (row, score) in enumerate(found):
            made[query, rank] = (row, score, rank, (bm25 or {}).get(row, -1))
    return made


def chosen_from(found: np.ndarray, positives: list[float], seed: int = 0, **settings: Any) -> tuple[Chosen, Rules]:
    """Choose negatives from candidates alone, short rows left as they are."""
    recipe = Mine.model_validate(settings)
    lowest = numbers(*positives)
    rules = Rules(found, Bounds(lowest, cap_scores(lowest, recipe.cap)), recipe)
    chosen = Chosen.none(len(found), recipe.negatives)
    asked = asked_for([[] for _ in positives], documents=1)
    choose(
        chosen, asked, rules, Space(np.zeros((len(found), 1), np.float32), np.zeros((1, 1), np.float32)), recipe, seed
    )
    return chosen, rules


def asked_for(answers: list[list[int]], documents: int, groups: list[int] | None = None) -> Asked:
    """Return queries with their answers, one row of the pairs for each."""
    queries = np.array([query for query, rows in enumerate(answers) for _ in rows], dtype=np.int64)
    rows = np.array([row for of in answers for row in of], dtype=np.int64)
    positives = unique_pairs(queries, rows)
    excluded = with_groups(positives, np.array(groups if groups is not None else range(documents)))
    return Asked([f"query {at}" for at in range(len(answers))], Pairs(queries, rows), positives, excluded, {})


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


# What is never a negative


def test_all_positives_of_a_query_and_their_groups_are_excluded():
    asked = asked_for([[0, 3], [5]], documents=8, groups=[0, 0, 1, 2, 2, 3, 3, 4])
    assert asked.excluded_of(0).tolist() == [0, 1, 3, 4] and asked.excluded_of(1).tolist() == [5, 6]
    assert asked.excluded_between(1, 2).queries.tolist() == [0, 0]


@given(seed=st.integers(0, 500))
def test_no_search_finds_an_excluded_document(seed: int):
    draw = np.random.default_rng(seed)
    vectors = Space(*(unit(draw.normal(size=(n, 6)).astype(np.float32)) for n in (5, 30)))
    asked = asked_for(
        [draw.integers(0, 30, size=2).tolist() for _ in range(5)], 30, draw.integers(0, 9, size=30).tolist()
    )
    rows, scores = Ranker(vectors.documents, 7).top(vectors.queries, 30, asked.excluded)
    for query in range(5):
        own = set(asked.excluded_of(query).tolist())
        there = rows[query][rows[query] >= 0]
        assert not own & set(there.tolist()) and len(there) == 30 - len(own)
        assert np.isfinite(scores[query][: len(there)]).all() and np.isneginf(scores[query][len(there) :]).all()


def test_what_was_not_found_never_leaks_in_even_without_a_cap():
    found = candidates([(3, 0.5), (4, 0.4)], [(5, 0.3)])
    chosen, _ = chosen_from(found, [0.9, 0.9], negatives=2, cap={"type": "none"})
    assert chosen.rows.tolist() == [[3, 4], [5, -1]]


# The samplers


def test_top_takes_the_nearest_below_the_cap_in_order():
    chosen, rules = chosen_from(candidates([(1, 0.97), (2, 0.9), (3, 0.8), (4, 0.7)]), [1.0], negatives=2)
    assert chosen.rows.tolist() == [[2, 3]] and chosen.scores[0] == pytest.approx([0.9, 0.8])
    assert rules.cut() == {"looked_at": 4, "cut": 1, "share": 0.25}


def test_the_cap_holds_for_negative_scores_too():
    chosen, _ = chosen_from(candidates([(1, -0.2), (2, -0.205), (3, -0.22)]), [-0.2], negatives=2)
    assert chosen.rows.tolist() == [[3, -1]]


def test_a_window_passes_over_the_nearest():
    found = candidates([(row, 0.9 - row / 10) for row in range(8)])
    window = {"window": {"first": 2, "last": 4}}
    assert chosen_from(found, [1.0], negatives=3, sampler=window)[0].rows.tolist() == [[2, 3, -1]]


def test_random_draws_from_the_window_and_knows_its_seed():
    found = candidates(*[[(row, 0.9 - row / 100) for row in range(40)]] * 6)
    sampler = {"type": "random", "window": {"first": 10, "last": 30}}
    drawn = [chosen_from(found, [1.0] * 6, seed, sampler=sampler)[0].rows for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert drawn[0].min() >= 10 and drawn[0].max() < 30 and not (drawn[0][0] == drawn[0][1]).all()
    assert (np.diff(drawn[0]) > 0).all()  # the hardest first


def test_mixed_takes_the_best_of_bm25_and_the_nearest():
    found = candidates([(row, 0.9 - row / 100) for row in range(10)], bm25={7: 0, 9: 1})
    chosen, _ = chosen_from(found, [1.0], sampler={"type": "mixed", "bm25": 2}, negatives=4)
    assert chosen.rows.tolist() == [[0, 1, 7, 9]]
    names = ["dense", "dense", "bm25", "bm25"]
    assert chosen.miners.tolist() == [[code(Miner(name)) for name in names]]


def test_mixed_falls_back_to_the_nearest_where_bm25_found_nothing():
    chosen, _ = chosen_from(candidates([(row, 0.9 - row / 100) for row in range(10)]), [1.0], sampler={"type": "mixed"})
    assert chosen.rows.tolist() == [[0, 1, 2, 3]]


def test_two_sources_are_united_with_each_document_once():
    dense = candidates([(4, 0.9), (2, 0.8), (1, 0.7)])
    words = candidates([(2, 0.8), (9, 0.85)])
    words["bm25"], words["dense"] = words["dense"].copy(), -1
    both = merge([dense, words])[0]
    assert both["row"].tolist() == [4, 9, 2, 1, -1] and both["dense"].tolist() == [0, -1, 1, 2, -1]
    assert both["bm25"].tolist() == [-1, 1, 0, -1, -1] and np.isneginf(both["score"][-1])


def some_space(queries: int = 300, documents: int = 400, noise: float = 1.0, seed: int = 0) -> tuple[Space, Asked]:
    """Return documents in clusters, and queries that are noisy copies of some of them."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(20, 16))
    vectors = unit((centres[draw.integers(0, 20, documents)] + draw.normal(size=(documents, 16))).astype(np.float32))
    answers = draw.integers(0, documents, queries)
    asked = unit((vectors[answers] + noise * draw.normal(size=(queries, 16)) / 4).astype(np.float32))
    return Space(asked, vectors), asked_for([[int(row)] for row in answers], documents)


def choose_in(
    vectors: Space, asked: Asked, folder: Path, **settings: Any
) -> tuple[Chosen, Any, dict[str, Any], Bounds]:
    recipe = Mine.model_validate(settings)
    lowest = pair_scores(vectors.queries, vectors.documents, asked.rows)
    bounds = Bounds(lowest, cap_scores(lowest, recipe.cap))
    journal = Journal(folder, CANDIDATE, width_of(recipe.candidates, 1, len(vectors.documents)))
    ranker = Ranker(vectors.documents, recipe.block_size)
    found = find_candidates(asked, vectors, ranker, None, recipe.candidates, journal, silent())
    chosen = Chosen.none(len(asked), recipe.negatives)
    usage, facts = choose(chosen, asked, Rules(found, bounds, recipe), vectors, recipe, 3)
    return chosen, usage, facts, bounds


@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
def test_balanced_keeps_near_and_far_in_balance_and_no_document_is_used_too_often(tmp_path: Path, noise: float):
    vectors, asked = some_space(noise=noise)
    chosen, usage, facts, bounds = choose_in(vectors, asked, tmp_path, sampler={"type": "balanced"})
    used = np.bincount(chosen.rows[chosen.rows >= 0], minlength=400)
    assert used.max() == facts["most_used"] <= facts["usage_cap"] == usage.limit
    # Where the base finds nothing again, there is too little below the cap to choose from.
    assert 0.4 <= facts["near_share"] <= (0.6 if noise <= 1 else 0.62) and 0 <= facts["gini"] < 0.5
    assert (
        chosen.scores[chosen.rows >= 0] <= np.broadcast_to(bounds.highest[:, None], chosen.rows.shape)[chosen.rows >= 0]
    ).all()
    for query in range(len(asked)):
        own = [row for row in chosen.rows[query].tolist() if row >= 0]
        assert len(set(own)) == len(own) and not set(own) & set(asked.excluded_of(query).tolist())


def test_balanced_spreads_the_documents_more_evenly_than_top(tmp_path: Path):
    vectors, asked = some_space()
    top, *_ = choose_in(vectors, asked, tmp_path / "top")
    balanced, *_ = choose_in(vectors, asked, tmp_path / "balanced", sampler={"type": "balanced"})
    assert np.bincount(balanced.rows[balanced.rows >= 0]).max() < np.bincount(top.rows[top.rows >= 0]).max()


def test_badly_served_queries_get_near_negatives_and_well_served_ones_far():
    wanted = near_wanted(numbers(-0.2, 0.1, 0.5), 4)
    assert wanted.tolist() == [3, 2, 1]
    assert near_wanted(numbers(*[-0.5] * 10), 4).sum() <= 24 and near_wanted(numbers(*[0.5] * 10), 4).sum() >= 16


# Short rows


def short_rows(
    policy: ShortRows, scores: float, groups: list[int], negatives: int = 5, **settings: Any
) -> tuple[Chosen, np.ndarray]:
    """One query with one mined negative, in a corpus where every document scores `scores`."""
    documents = np.tile(numbers(scores, np.sqrt(1 - scores**2)), (len(groups), 1))
    asked = asked_for([[0]], len(groups), groups)
    chosen = Chosen.none(1, negatives)
    if settings.get("mined", True):
        chosen.put(0, [2], [0.5], Miner.DENSE)
    vectors = Space(numbers(1, 0)[None, :], documents)
    return chosen, fill_short(chosen, asked, vectors, numbers(0.9), policy, settings.get("seed", 1), None)


def test_random_fills_with_documents_that_are_neither_positives_nor_above_the_cap():
    chosen, lost = short_rows(ShortRows.RANDOM, 0.4, [0, 0, *range(1, 30)])
    assert (
        chosen.rows[0, 0] == 2 and len(set(chosen.rows[0].tolist())) == 5 and not {0, 1} & set(chosen.rows[0].tolist())
    )
    assert chosen.scores[0, 1:] == pytest.approx(0.4) and not lost.any() and chosen.tally["short"] == 1
    again = [short_rows(ShortRows.RANDOM, 0.4, [0, 0, *range(1, 30)], seed=seed)[0].rows.tolist() for seed in (1, 2)]
    assert again[0] == chosen.rows.tolist() != again[1]


def test_repeat_takes_the_same_negatives_again():
    chosen, lost = short_rows(ShortRows.REPEAT, 0.4, [0, 1, 2])
    assert chosen.rows.tolist() == [[2] * 5] and chosen.tally["repeated"] == 4 and not lost.any()


def test_drop_loses_the_row():
    chosen, lost = short_rows(ShortRows.DROP, 0.4, [0, 1, 2])
    assert lost.tolist() == [True] and chosen.tally["short"] == 1


def test_a_corpus_smaller_than_the_negatives_repeats_documents():
    chosen, lost = short_rows(ShortRows.RANDOM, 0.4, [0, 1, 2], negatives=6)
    assert set(chosen.rows[0].tolist()) == {1, 2} and not lost.any()


def test_where_everything_is_above_the_cap_the_least_alike_are_taken_and_counted():
    chosen, lost = short_rows(ShortRows.RANDOM, 0.95, [0, 1, 2, 3, 4, 5], mined=False)
    assert set(chosen.rows[0].tolist()) == {1, 2, 3, 4, 5} and chosen.tally["filled_above_cap"] == 5 and not lost.any()


def test_a_query_that_every_document_answers_is_lost():
    assert short_rows(ShortRows.RANDOM, 0.4, [0, 0, 0], mined=False)[1].tolist() == [True]


# Words


def test_shards_together_find_what_one_index_finds(tmp_path: Path):
    texts = [f"{row['title']} {row['text']}" for row in some_documents(60)]
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    queries = ["battery of unit 13", "word44 token132", "nothing matches here at all zzz"]
    found = [Lexical(texts, tmp_path / str(n), silent(), shard=n).top(queries, 3, nothing) for n in (60, 20)]
    assert found[0][0, 0] == found[1][0, 0] == 13 and found[0][1, 0] == found[1][1, 0] == 44
    assert found[0].shape == found[1].shape == (3, 3) and (found[0][1, 1:] == -1).all()


def test_words_find_no_excluded_document(tmp_path: Path):
    texts = [f"pump {row}" for row in range(10)]
    excluded = Pairs(np.array([0, 0]), np.array([3, 4]))
    rows = Lexical(texts, tmp_path, silent()).top(["pump 3"], 10, excluded)
    assert sorted(rows[0][rows[0] >= 0].tolist()) == [0, 1, 2, 5, 6, 7, 8, 9]


# The journal


def test_a_journal_forgets_a_block_that_was_not_finished(tmp_path: Path):
    journal = Journal(tmp_path, np.float32, 3)
    journal.append(np.ones((4, 3), np.float32))
    with (tmp_path / "rows.bin").open("ab") as handle:
        handle.write(b"half a block")
    again = Journal(tmp_path, np.float32, 3)
    again.append(np.zeros((2, 3), np.float32))
    assert again.count == 6 and again.rows()[:, 0].tolist() == [1, 1, 1, 1, 0, 0]


def test_a_journal_whose_file_lost_its_end_starts_anew(tmp_path: Path):
    Journal(tmp_path, np.float32, 3).append(np.ones((4, 3), np.float32))
    (tmp_path / "rows.bin").write_bytes(b"")
    assert Journal(tmp_path, np.float32, 3).count == 0


# The stage


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("mined")
    corpus = write_beir(folder / "beir", some_documents(30))
    return run_until(folder / "run", corpus, "mine", "mine.block_size=16", base=tiny_model)[0]


def mine_again(
    run: Run, *settings: str, pairs: pa.Table | None = None, report: Reporter | None = None
) -> tuple[pa.Table, Any]:
    """Mine in the same run with other settings or pairs; return the table and the outcome."""
    recipe = recipe_for(str(run.recipe().corpus), *settings, base=run.recipe().base)
    before = run.path(LAYOUT.pairs).read_bytes()
    try:
        if pairs is not None:
            pq.write_table(pairs, run.path(LAYOUT.pairs))
        job = job_for(run, recipe, "mine", report)
        outcome = mine(job)
        assert [item.name for item in job.out.iterdir()] == ["train.parquet"]
        return pq.read_table(job.out / "train.parquet"), outcome
    finally:
        run.path(LAYOUT.pairs).write_bytes(before)
        run.abandon()


def test_the_stage_adds_texts_ids_scores_and_miners_of_negatives_to_the_pairs(mined: Run, tiny_model: Path):
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
            assert row[f"negative_{number}_miner"] in ("dense", "random")


def test_the_pairs_stay_as_generate_made_them_in_order(mined: Run):
    train, made = pq.read_table(mined.path(LAYOUT.train)), pq.read_table(mined.path(LAYOUT.pairs))
    assert train.select(made.column_names).equals(made)
    done = mined.manifests("triplets")["mine"]
    assert done.counts["triplets"] == len(made) and done.facts["precision"]["precision"] in ("fp32", "bf16")
    assert not any(np.isnan(train[f"score_negative_{n}"].to_numpy()).any() for n in range(1, 5))


def test_memory_blocks_do_not_change_the_triplets(mined: Run, tmp_path: Path, tiny_model: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(30))
    other, _ = run_until(tmp_path / "run", corpus, "mine", "mine.block_size=8192", base=tiny_model)
    assert other.path(LAYOUT.train).read_bytes() == mined.path(LAYOUT.train).read_bytes()


def test_the_report_counts_what_stands_in_the_table(mined: Run):
    table, outcome = mine_again(mined, "mine.cap.type=none", "mine.sources=[dense, bm25]", "mine.sampler.type=mixed")
    miners = [name for n in range(1, 5) for name in table[f"negative_{n}_miner"].to_pylist()]
    assert outcome.facts["miners"] == {name: miners.count(name) for name in ("dense", "bm25", "given", "random")}
    assert outcome.facts["miners"]["bm25"] > 0
    histograms = outcome.facts["histograms"]
    assert sum(histograms["positives"]["counts"]) == len(table) and sum(histograms["negatives"]["counts"]) == 4 * len(
        table
    )
    assert len(histograms["negatives"]["edges"]) == len(histograms["negatives"]["counts"]) + 1
    assert len(outcome.facts["samples"]) == 5
    for sample in outcome.facts["samples"]:
        assert set(sample) == {"kind", "query", "positive", "negative", "score_positive", "score_negative", "miner"}
        assert len(sample["positive"]) <= 100 and len(sample["negative"]) <= 100


def multi_hop(run: Run) -> pa.Table:
    """Return the pairs with the second row turned into a second answer of the first row's query."""
    rows = pq.read_table(run.path(LAYOUT.pairs)).to_pylist()
    other = next(row for row in rows if row["positive_id"] != rows[0]["positive_id"])
    rows[1] = {**rows[0], "positive": other["positive"], "positive_id": other["positive_id"], "group": other["group"]}
    return pa.Table.from_pylist(rows, schema=pq.read_schema(run.path(LAYOUT.pairs)))


def test_rows_of_one_query_share_negatives_and_none_is_the_other_answer(mined: Run):
    first, second = mine_again(mined, "mine.cap.type=none", pairs=multi_hop(mined))[0].slice(0, 2).to_pylist()
    ids = [[row[f"negative_{n}_id"] for n in range(1, 5)] for row in (first, second)]
    assert first["positive_id"] != second["positive_id"] and ids[0] == ids[1]
    assert not {first["positive_id"], second["positive_id"]} & set(ids[0])


def test_the_cap_is_measured_from_the_lowest_positive():
    asked = asked_for([[0, 3], [5]], documents=8)
    lowest = lowest_positives(asked, numbers(0.9, 0.5, 0.7))
    assert lowest.tolist() == pytest.approx([0.5, 0.7])
    assert cap_scores(lowest, Cap()) == pytest.approx([0.475, 0.665])


def with_given(run: Run, *given: list[str] | None) -> pa.Table:
    pairs = pq.read_table(run.path(LAYOUT.pairs))
    pairs = pairs.drop_columns([name for name in pairs.column_names if name == "negatives"])
    lists = [*given, *[None] * (len(pairs) - len(given))]
    return pairs.append_column("negatives", pa.array(lists, pa.list_(pa.string())))


def test_given_negatives_come_first_and_the_cap_does_not_apply_to_them(mined: Run):
    rows = pq.read_table(mined.path(LAYOUT.pairs)).to_pylist()
    documents = Documents.read(mined.path(LAYOUT.documents))
    in_corpus = next(text for text in documents.texts() if text != rows[0]["positive"])
    pairs = with_given(mined, [rows[0]["query"], in_corpus, rows[0]["positive"]], [], ["a", "b", "c", "d", "e"])
    table, outcome = mine_again(mined, pairs=pairs)
    first, second, third = table.slice(0, 3).to_pylist()
    assert first["negative_1"] == rows[0]["query"] and first["negative_1_id"] == ""
    assert (
        first["negative_2"] == in_corpus and documents.texts()[documents.ids.index(first["negative_2_id"])] == in_corpus
    )
    assert [first[f"negative_{n}_miner"] for n in (1, 2)] == ["given", "given"] != [second["negative_1_miner"]] * 2
    assert first["positive"] not in [first[f"negative_{n}"] for n in range(1, 5)]
    assert [third[f"negative_{n}"] for n in range(1, 5)] == ["a", "b", "c", "d"]
    assert first["score_negative_1"] > 0.95 * first["score_positive"] and outcome.facts["given_above_cap"] >= 1
    assert outcome.dropped["given_positive"] == 1 and outcome.dropped["given_over_limit"] == 1
    assert first["negatives"] == [rows[0]["query"], in_corpus, rows[0]["positive"]]


def test_drop_leaves_short_rows_out_and_counts_them(mined: Run):
    table, outcome = mine_again(mined, "mine.cap.type=absolute", "mine.cap.value=0.005", "mine.short_rows=drop")
    made = pq.read_table(mined.path(LAYOUT.pairs))
    assert 0 < len(table) < len(made) and outcome.dropped["short"] == len(made) - len(table)
    assert outcome.counts["triplets"] == len(table) and outcome.facts["miners"]["random"] == 0
    assert sum(outcome.facts["miners"].values()) == 4 * len(table)
    assert all(row["score_negative_1"] <= row["score_positive"] - 0.005 + 1e-6 for row in table.to_pylist())


def test_when_no_row_is_left_the_remedy_is_named(mined: Run):
    with pytest.raises(StageError, match="enough negatives") as caught:
        mine_again(mined, "mine.cap.value=0.01", "mine.short_rows=drop")
    assert "mine.short_rows=random" in caught.value.hint


def test_negatives_near_the_positive_are_suspected_unless_someone_chose_them():
    chosen = Chosen.none(2, 2)
    chosen.put(0, [5, 6], [0.79, 0.7], Miner.DENSE)
    chosen.put(1, [7], [0.99], Miner.GIVEN)
    chosen.put(1, [8], [0.2], Miner.DENSE)
    rows = np.array([0, 1])
    found = similarity(chosen, rows, numbers(0.8, 0.8), numbers(0.8, 0.8))
    assert found["suspected_false_negatives"] == 0.25 and found["median_ratio"] == pytest.approx(0.745 / 0.8, abs=1e-3)
    assert found["histograms"]["negatives"]["counts"][0] == 1 and found["median_negative_score"] == pytest.approx(0.745)


def test_warnings_name_the_remedy():
    facts = {"short_rows": {"share": 0.2}, "median_ratio": 0.99, "suspected_false_negatives": 0.1, "sampler": {}}
    listener = Listener()
    warn(facts, Reporter("mine", Events(listeners=[listener])), Mine())
    warn({**facts, "median_ratio": 0.3}, Reporter("mine", Events(listeners=[listener])), Mine())
    said = listener.messages("warning")
    assert [("--set mine." in sentence) for sentence in said] == [True] * 6
    assert "20% of the queries" in said[0] and "0.99 of their positive" in said[1] and "10.0%" in said[2]
    listener.clear()
    warn(
        {"short_rows": {"share": 0.0}, "median_ratio": 0.8, "suspected_false_negatives": 0.0, "sampler": {}},
        Reporter("mine", Events(listeners=[listener])),
        Mine(),
    )
    assert not listener


def test_negatives_out_of_balance_are_told_of_with_the_remedy():
    facts = {"short_rows": {"share": 0.0}, "median_ratio": 0.8, "suspected_false_negatives": 0.0}
    even = {"near_share": 0.5, "gini": 0.3, "most_used": 5, "usage_cap": 5}
    for sampler, words in (
        (even, []),
        ({**even, "near_share": 0.3}, ["30% of the negatives are near ones"]),
        ({**even, "near_share": 0.7, "gini": 0.6}, ["70% of the negatives are near ones", "(Gini 0.60)"]),
        ({**even, "most_used": 7}, ["serves as a negative 7 times, where 5 was to be the most"]),
    ):
        listener = Listener()
        warn({**facts, "sampler": sampler}, Reporter("mine", Events(listeners=[listener])), Mine())
        said = listener.messages("warning")
        assert len(said) == len(words) and all(part in sentence for part, sentence in zip(words, said, strict=True))
        assert all("--set " in sentence for sentence in said)


def test_other_settings_reuse_the_candidates_that_were_found(mined: Run, monkeypatch: pytest.MonkeyPatch):
    mine_again(mined)
    monkeypatch.setattr(Ranker, "top", lambda *_: pytest.fail("searched again"))
    mine_again(mined, "mine.cap.value=0.9", "mine.sampler.type=random", "seed=7")


def test_triplets_older_than_the_corpus_are_refused_in_words(tmp_path: Path, tiny_model: Path):
    from hfembed.pipeline import run_stage
    from hfembed.recipe import apply_settings

    corpus = write_beir(tmp_path / "beir", some_documents(30))
    run, _ = run_until(tmp_path / "run", corpus, "generate", base=tiny_model)
    changed = apply_settings(run.recipe().model_dump(mode="json"), ["pull.limit=12"])
    run_stage("pull", changed, run)
    with pytest.raises(HfembedError):
        run_stage("mine", changed, run)


def test_a_pair_whose_document_is_gone_is_refused_in_words(mined: Run):
    pairs = pq.read_table(mined.path(LAYOUT.pairs))
    wrong = pairs.set_column(pairs.column_names.index("positive_id"), "positive_id", pa.array(["gone"] * len(pairs)))
    with pytest.raises(StageError, match="the corpus does not hold"):
        mine_again(mined, pairs=wrong)


# The cross-encoder


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Make a real cross-encoder of a few thousand weights."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross") / "encoder"
    torch.manual_seed(1)
    config = BertConfig.from_pretrained(tiny_model, num_labels=1, initializer_range=1.0)
    BertForSequenceClassification(config).save_pretrained(folder, safe_serialization=True)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def test_what_the_cross_encoder_finds_right_is_no_negative(mined: Run, cross_encoder: Path):
    from sentence_transformers import CrossEncoder
    from torch.nn import Sigmoid

    settings = ["mine.cap.type=none", "mine.short_rows=drop", "mine.negatives=1"]
    without, _ = mine_again(mined, *settings)
    table, outcome = mine_again(
        mined, *settings, f"mine.cross_encoder.model={cross_encoder}", "mine.cross_encoder.max_share=0.9"
    )
    assert outcome.dropped["cross_encoder"] > 0
    assert table["negative_1_id"].to_pylist() != without["negative_1_id"].to_pylist()
    model = CrossEncoder(str(cross_encoder))
    for row in table.to_pylist()[::9]:
        said = model.predict(
            [(row["query"], row["positive"]), (row["query"], row["negative_1"])], activation_fn=Sigmoid()
        )
        assert said[1] <= 0.9 * said[0] + 1e-5


def test_a_model_that_is_no_cross_encoder_is_refused(tiny_model: Path):
    with pytest.raises(ModelError, match="no cross-encoder"):
        load_cross_encoder(local_model("tiny", tiny_model))


# Killed and resumed

MINER = """
import sys, time
sys.path.insert(0, {tests!r})
import hfembed.mine.candidates
from builders import job_for
from hfembed.mine import mine
from hfembed.mine.journal import Journal
from hfembed.run import Run
from pathlib import Path
hfembed.mine.candidates.QUERY_BLOCK = 16
append = Journal.append
def slow(*arguments):
    append(*arguments)
    print("block", flush=True)
    time.sleep({pause})
Journal.append = slow
run = Run(Path({run!r}))
job = job_for(run, run.recipe(), "mine")
mine(job)
(run.folder / "made.parquet").write_bytes((job.out / "train.parquet").read_bytes())
"""


def test_a_killed_mine_goes_on_at_the_last_block_and_ends_with_the_same_bytes(tmp_path: Path, tiny_model: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(40))
    whole, _ = run_until(tmp_path / "whole", corpus, "mine", base=tiny_model)
    run, _ = run_until(tmp_path / "killed", corpus, "generate", base=tiny_model)
    command = [sys.executable, "-c", MINER.format(tests=str(Path(__file__).parent), run=str(run.folder), pause=0.3)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["block\n"] * 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = next(run.path(LAYOUT.candidates).glob("search-*/state.json"))
    assert json.loads(state.read_text())["rows"] == 32 and not (run.folder / "made.parquet").exists()
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    queries = whole.manifests("triplets")["mine"].counts["queries"]
    assert again.stdout.count("block") == -(-queries // 16) - 2
    assert (run.folder / "made.parquet").read_bytes() == whole.path(LAYOUT.train).read_bytes()
