"""evaluate: mteb's own figures query by query, and a verdict that can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import keep_documents, run_until, some_documents, write_beir, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from hfembed.embed import unit
from hfembed.evaluate.stage import describe_verdict
from hfembed.evaluate.verdict import Comparison, Verdict, compare_paired
from hfembed.run import Run

pytestmark = pytest.mark.xdist_group("evaluate")

THEIRS = {"ndcg@10": "ndcg_at_10", "recall@10": "recall_at_10", "mrr@10": "mrr_at_10"}


def compare(
    base: Any, tuned: Any, clusters: Any = None, samples: int = 400, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    base, tuned = np.asarray(base, dtype=np.float64), np.asarray(tuned, dtype=np.float64)
    names = [str(n) for n in range(len(base))] if clusters is None else [str(c) for c in clusters]
    return compare_paired(base, tuned, names, samples, confidence, seed)


# The verdict on made-up differences


def scores(seed: int = 0, count: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, size=count)


def test_a_clear_gain_is_better_and_a_clear_loss_is_worse():
    base = scores()
    gain = 0.05 + 0.1 * np.random.default_rng(1).normal(size=300)
    better, worse = compare(base, base + gain), compare(base, base - gain)
    assert better.verdict is Verdict.BETTER and 0 < better.low < better.delta < better.high
    assert worse.verdict is Verdict.WORSE and worse.low < worse.delta < worse.high < 0
    assert better.delta == pytest.approx(gain.mean()) and better.delta == pytest.approx(-worse.delta)


def test_noise_is_no_difference():
    verdicts = [
        compare(scores(seed), scores(seed) + 0.2 * np.random.default_rng(seed + 100).normal(size=300)).verdict
        for seed in range(20)
    ]
    assert verdicts.count(Verdict.NO_DIFFERENCE) >= 17


def test_equal_scores_are_no_difference_of_nothing():
    result = compare(scores(), scores())
    assert result == Comparison(0.0, 0.0, 0.0, 0.0, Verdict.NO_DIFFERENCE)


def test_an_interval_that_touches_zero_is_no_difference():
    difference = [0.0] * 60 + [1.0]  # better for one query of 61: low is exactly zero
    assert compare([0.0] * 61, difference).verdict is Verdict.NO_DIFFERENCE


def test_the_test_is_paired():
    base = scores(count=100)  # queries differ far more than the models do
    assert compare(base, base + 0.01).verdict is Verdict.BETTER


def test_queries_about_one_document_widen_the_interval():
    draw = np.random.default_rng(3)
    effect = np.repeat(0.2 * draw.normal(size=40), 10)
    clusters = np.repeat(np.arange(40), 10)
    base = np.zeros(400)
    alone, together = compare(base, effect), compare(base, effect, clusters)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.delta == alone.delta and together.detectable > 2 * alone.detectable


def test_clusters_weigh_by_their_size():
    result = compare([0, 0, 0, 0], [1, 0, 0, 0], ["a", "b", "b", "b"])
    assert result.delta == pytest.approx(0.25)


def test_more_confidence_means_a_wider_interval():
    gain = 0.1 * np.random.default_rng(1).normal(size=100)
    narrow, wide = (compare(np.zeros(100), gain, confidence=level) for level in (0.6, 0.99))
    assert wide.low < narrow.low and narrow.high < wide.high


def test_one_seed_gives_one_interval():
    gain = 0.1 * np.random.default_rng(1).normal(size=100)
    assert (
        compare(np.zeros(100), gain, seed=1)
        == compare(np.zeros(100), gain, seed=1)
        != compare(np.zeros(100), gain, seed=2)
    )


def test_the_interval_is_as_wide_as_theory_says():
    gain = np.random.default_rng(1).normal(size=400)
    result = compare(np.zeros(400), gain, samples=4000)
    error = gain.std() / 20
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert result.detectable == pytest.approx(2.8 * error, rel=0.08)


def test_a_difference_as_large_as_the_detectable_one_is_mostly_found():
    found = 0
    for seed in range(40):
        noise = 0.2 * np.random.default_rng(seed).normal(size=200)
        size = 2.8 * 0.2 / np.sqrt(200)
        found += compare(np.zeros(200), noise + size, samples=200, seed=seed).verdict is Verdict.BETTER
    assert 26 <= found <= 38  # 8 of 10


@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=30), seed=st.integers(0, 9))
def test_the_interval_stays_within_the_differences(values: list[float], seed: int):
    result = compare(np.zeros(len(values)), values, samples=100, seed=seed)
    assert min(values) - 1e-9 <= result.low <= result.high <= max(values) + 1e-9
    assert result.delta == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (Comparison(0.02, 0.01, 0.03, 0.01, Verdict.BETTER), ("better", "+0.0200", "+4.0%", "+0.0100 to +0.0300")),
        (Comparison(-0.02, -0.03, -0.01, 0.01, Verdict.WORSE), ("worse", "-0.0200")),
        (Comparison(0.0, -0.01, 0.01, 0.015, Verdict.NO_DIFFERENCE), ("No difference", "0.0150")),
    ],
)
def test_the_verdict_is_said_with_its_figures(comparison: Comparison, words: tuple[str, ...]):
    sentence = describe_verdict(comparison, 0.5, 1234)
    for word in (*words, "1,234"):
        assert word in sentence


def test_a_base_that_finds_nothing_has_no_relative_gain():
    assert "%" not in describe_verdict(Comparison(0.02, 0.01, 0.03, 0.01, Verdict.BETTER), 0.0, 10)


# mteb


class Fake:
    """An embedder whose vectors follow from the text."""

    class source:  # noqa: N801
        fingerprint = "0123456789abcdef"

    def __init__(self, ties: bool = False) -> None:
        self.ties = ties

    def _vectors(self, texts: list[str]) -> np.ndarray:
        from hfembed.embed import text_key

        seeds = [len(text) % 3 if self.ties else text_key(text) for text in texts]
        return unit(np.stack([np.random.default_rng(seed).normal(size=6) for seed in seeds]).astype(np.float32))

    queries = documents = _vectors


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from hfembed.evaluate.task import Collection

    folder = tmp_path_factory.mktemp("beir")
    draw = np.random.default_rng(0)
    rows = some_documents(40)
    write_beir(folder, rows)
    queries = [
        {"_id": f"q{n}", "text": f"which {rows[n]['title']} {n % 3 * 'leaks '}", "metadata": {"kind": "title"}}
        for n in range(30)
    ]
    write_jsonl(folder / "queries.jsonl", [*queries, {"_id": "unjudged", "text": "nobody judged this"}])
    lines = ["query-id\tcorpus-id\tscore"]
    for number in range(30):
        relevant = draw.choice(40, size=1 + number % 12, replace=False)
        lines += [f"q{number}\td{document}\t{1 + int(document) % 3}" for document in relevant]
    lines += ["q1\td39\t0"]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Collection.read(folder, "MadeUp")


def test_a_collection_holds_only_judged_queries_and_relevant_documents(collection: Any):
    assert len(collection.queries) == 30 == len(collection.qrels) and len(collection.corpus) == 40
    assert all(score > 0 for relevant in collection.qrels.values() for score in relevant.values())
    assert collection.corpus["d0"].startswith("Pump of unit 0 The pump")


def check_means(found: Any) -> None:
    (figures,) = found.result.scores["test"]
    for ours, theirs in THEIRS.items():
        mean = np.mean([metrics[ours] for metrics in found.per_query.values()])
        assert mean == pytest.approx(figures[theirs], abs=1e-5), ours
    hits = [metrics["hit@1"] for metrics in found.per_query.values()]
    assert set(hits) <= {0.0, 1.0} and np.mean(hits) == pytest.approx(figures["hit_rate_at_1"], abs=1e-5)


def test_the_means_over_queries_are_mtebs_own_figures(collection: Any):
    from hfembed.evaluate.task import score_embedder

    found = score_embedder(collection, Fake(), "fake")  # type: ignore[arg-type]
    assert set(found.per_query) == set(collection.queries)
    check_means(found)


def test_the_means_are_mtebs_own_where_documents_tie_too(collection: Any):
    from hfembed.evaluate.task import score_embedder

    check_means(score_embedder(collection, Fake(ties=True), "fake"))  # type: ignore[arg-type]


def test_bm25_is_scored_through_mteb_on_the_same_queries(collection: Any):
    from hfembed.evaluate.task import score_bm25

    found = score_bm25(collection)
    assert set(found.per_query) == set(collection.queries)
    assert 0 < found.result.scores["test"][0]["ndcg_at_10"] < 1


def test_metrics_of_one_query_are_those_of_the_books():
    from hfembed.evaluate.task import _query_metrics

    scores = {f"d{n}": -float(n) for n in range(20)}
    metrics = _query_metrics(scores, {"d2": 1, "d15": 1})
    ideal = 1 + 1 / np.log2(3)
    assert metrics == pytest.approx({"ndcg@10": 0.5 / ideal, "recall@10": 0.5, "mrr@10": 1 / 3, "hit@1": 0.0})
    assert _query_metrics(scores, {"d0": 1}) == {"ndcg@10": 1.0, "recall@10": 1.0, "mrr@10": 1.0, "hit@1": 1.0}
    assert _query_metrics(scores, {"d15": 1}) == {"ndcg@10": 0.0, "recall@10": 0.0, "mrr@10": 0.0, "hit@1": 0.0}


# The stage


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("evaluated")
    corpus = write_beir(folder / "beir", some_documents(30))
    settings = ("train.strength=0", "train.phases.0.steps=1", "evaluate.bootstrap=100")
    return run_until(folder / "run", corpus, "evaluate", *settings, base=tiny_model)[0]


def test_a_model_that_is_the_base_is_no_different_from_it(evaluated: Run):
    import json

    report = json.loads((evaluated.path("report") / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "no difference"
    for row in report["metrics"].values():
        assert row["base"] == row["tuned"] and row["delta"] == 0 and row["ci"] == [0, 0]
    assert set(report["metrics"]) == {"ndcg@10", "recall@10", "mrr@10", "hit@1"}
    kinds = report["by_kind"]
    assert sum(row["queries"] for row in kinds.values()) == report["queries"]
    weighted = sum(row["queries"] * row["bm25"] for row in kinds.values()) / report["queries"]
    assert weighted == pytest.approx(report["metrics"]["ndcg@10"]["bm25"], abs=1e-4)


def test_the_table_of_queries_gives_the_report(evaluated: Run):
    import json

    import pyarrow.parquet as pq

    report = json.loads((evaluated.path("report") / "report.json").read_text(encoding="utf-8"))
    table = pq.read_table(evaluated.path("report") / "per_query.parquet").to_pydict()
    assert len(table["query_id"]) == report["queries"]
    for metric, row in report["metrics"].items():
        for name in ("base", "tuned", "bm25"):
            assert np.mean(table[f"{name}_{metric}"]) == pytest.approx(row[name], abs=1e-5)
    assert {f"mteb_{name}.json" for name in ("base", "tuned", "bm25")} <= {
        f.name for f in evaluated.path("report").iterdir()
    }


def test_ids_with_tabs_reach_the_test_and_come_back(tmp_path: Path):
    from hfembed.evaluate.task import Collection

    rows = [{"id": f"unit\t{n}", "title": d["title"], "text": d["text"]} for n, d in enumerate(some_documents(30))]
    write_jsonl(
        tmp_path / "corpus.jsonl", [{"_id": row["id"], "title": row["title"], "text": row["text"]} for row in rows]
    )
    run, _ = run_until(tmp_path / "run", tmp_path / "corpus.jsonl", "generate")
    found = Collection.read(run.path("triplets") / "test", "Tabs")
    assert found.queries and {document for relevant in found.qrels.values() for document in relevant} <= set(
        found.corpus
    )


def test_documents_kept_by_hand_are_read_back(tmp_path: Path):
    documents = keep_documents(Run(tmp_path), [{"id": "a", "title": "T", "text": "x"}, {"id": "b", "text": "y"}])
    assert documents.texts() == ["T x", "y"] and len(documents) == 2
