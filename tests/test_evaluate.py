"""evaluate: mteb's own figures query by query, and a verdict that can be trusted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import (
    Listener,
    keep_documents,
    make_telling,
    recipe_for,
    run_until,
    some_documents,
    write_beir,
    write_jsonl,
)
from hypothesis import given
from hypothesis import strategies as st

from hfembed.embed import unit
from hfembed.errors import InputError, StageError
from hfembed.evaluate.base import measure_base
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.leakage import find_leaked, refuse_leaked
from hfembed.evaluate.metrics import ALL, query_metrics
from hfembed.evaluate.public import find_tasks
from hfembed.evaluate.report import describe_verdict
from hfembed.evaluate.verdict import Comparison, Verdict, compare_paired, randomisation
from hfembed.events import Events, Reporter, silent
from hfembed.run import LAYOUT, Run, write_json
from hfembed.stage import BaseWay, Sources, locate_encoder

pytestmark = pytest.mark.xdist_group("evaluate")

THEIRS = {metric: metric.replace("@", "_at_") for metric in ALL if metric != "hit@1"}


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
    assert result == Comparison(0.0, 0.0, 0.0, 0.0, 1.0, Verdict.NO_DIFFERENCE)


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


def test_the_randomisation_test_counts_as_it_can_be_counted_by_hand():
    # Of the 16 ways to choose the signs of four equal differences two are as large.
    assert randomisation(np.ones(4), 20_000, 0) == pytest.approx(2 / 16, abs=0.01)
    assert randomisation(np.zeros(5), 100, 0) == 1.0
    assert randomisation(np.ones(40), 999, 0) == pytest.approx(1 / 1000)


def test_chance_is_called_chance_as_often_as_promised():
    draw = np.random.default_rng(0)
    found = [randomisation(draw.normal(size=60), 400, seed) for seed in range(400)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.025)


def test_three_documents_are_too_few_for_a_verdict_however_they_agree():
    result = compare([0.0] * 3, [0.5, 0.6, 0.7])
    assert result.low > 0 and result.p > 0.05 and result.verdict is Verdict.NO_DIFFERENCE


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
        (
            Comparison(0.02, 0.01, 0.03, 0.01, 0.001, Verdict.BETTER),
            ("better", "+0.0200", "+4.0%", "+0.0100 to +0.0300"),
        ),
        (Comparison(-0.02, -0.03, -0.01, 0.01, 0.001, Verdict.WORSE), ("worse", "-0.0200")),
        (Comparison(0.0, -0.01, 0.01, 0.015, 0.5, Verdict.NO_DIFFERENCE), ("No difference", "0.0150")),
    ],
)
def test_the_verdict_is_said_with_its_figures(comparison: Comparison, words: tuple[str, ...]):
    sentence = describe_verdict(comparison, 0.5, 1234)
    for word in (*words, "1,234"):
        assert word in sentence


def test_a_base_that_finds_nothing_has_no_relative_gain():
    assert "%" not in describe_verdict(Comparison(0.02, 0.01, 0.03, 0.01, 0.001, Verdict.BETTER), 0.0, 10)


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
    scores = {f"d{n}": -float(n) for n in range(20)}
    found = query_metrics(scores, {"d2": 1, "d15": 1})
    ideal = 1 + 1 / np.log2(3)
    at_ten = {"ndcg@10": 0.5 / ideal, "recall@10": 0.5, "precision@10": 0.1, "map@10": 1 / 6, "mrr@10": 1 / 3}
    at_hundred = {"recall@100": 1, "precision@100": 0.02, "map@100": (1 / 3 + 2 / 16) / 2, "mrr@100": 1 / 3}
    for metric, value in {**at_ten, **at_hundred, "hit@1": 0, "precision@1": 0, "ndcg@1": 0}.items():
        assert found[metric] == pytest.approx(value), metric
    assert set(found) == set(ALL)
    first, none = query_metrics(scores, {"d0": 1}), query_metrics(scores, {"elsewhere": 1})
    assert {first[f"{measure}@{depth}"] for measure in ("ndcg", "map", "recall", "mrr") for depth in (1, 5, 10)} == {
        1.0
    }
    assert set(none.values()) == {0.0}


def test_fusion_is_scored_through_mteb_and_finds_what_either_finds(collection: Any):
    from hfembed.evaluate.task import score_bm25, score_embedder, score_fusion

    dense, lexical = score_embedder(collection, Fake(), "fake"), score_bm25(collection)  # type: ignore[arg-type]
    found = score_fusion(collection, dense, lexical)
    check_means(found)
    mean = {name: np.mean([row["ndcg@10"] for row in part.per_query.values()]) for name, part in
            (("dense", dense), ("lexical", lexical), ("fusion", found))}  # fmt: skip
    assert mean["dense"] < mean["fusion"]


def test_fusion_weighs_both_searches_alike_whatever_their_scale():
    from hfembed.evaluate.task import fuse

    # Over a, b, c: the first says 3, 1, 1 (c left out: as bad as its worst), the second 1, 1, 3.
    third = 2 / np.sqrt(2) - 1 / np.sqrt(2)
    fused = fuse([{"a": 3.0, "b": 1.0}, {"b": 100.0, "c": 300.0}])
    assert fused == pytest.approx({"a": third, "b": -2 / np.sqrt(2), "c": third})
    assert fuse([{"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 2.0}]) == pytest.approx({"a": -1.0, "b": 1.0})
    assert fuse([{"a": 0.9, "b": 0.1}, {}]) == pytest.approx({"a": 1.0, "b": -1.0})  # none of the words anywhere


# Leakage

WORDS = [
    "the",
    "pump",
    "of",
    "the",
    "third",
    "unit",
    "leaks",
    "after",
    "forty",
    "hours",
    "of",
    "work",
    "and",
    "must",
    "be",
    "replaced",
    "before",
    "the",
    "next",
    "flight",
]


def test_the_same_words_and_nearly_the_same_passages_are_leaks_and_others_are_not():
    passage = " ".join(f"{word}{number}" for number in range(8) for word in WORDS)
    edited = passage.replace("pump0", "valve")  # one word of 160
    half = " ".join(passage.split()[: len(passage.split()) // 2])
    test = [passage, "Which PUMP leaks?", "another question altogether", half, ""]
    assert find_leaked(test, [edited, "which pump leaks"]) == [0, 1]
    assert find_leaked(test, []) == find_leaked([], test) == []


def write_pairs(file: Path, rows: list[tuple[str, str]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"query": [row[0] for row in rows], "positive": [row[1] for row in rows]}), file)
    return file


def test_leaked_queries_are_left_out_and_named(collection: Any, tmp_path: Path):
    heard = Listener()
    report = Reporter("evaluate", Events(listeners=[heard]))
    train = write_pairs(tmp_path / "train.parquet", [(collection.queries["q3"].upper(), "some text of its own")])
    kept, found = refuse_leaked(collection, [train], report)
    assert set(collection.queries) - set(kept.queries) == {"q3"} and set(kept.qrels) == set(kept.queries)
    assert found.to_json() == {"queries": 1, "passages": 0, "left_out": 1}
    assert "1 of 30 test queries" in heard.messages("warning")[0] and "left out" in heard.messages("warning")[0]


def test_a_test_that_training_mostly_saw_is_refused(collection: Any, tmp_path: Path):
    answers = {document for relevant in collection.qrels.values() for document in relevant}
    train = write_pairs(tmp_path / "train.parquet", [("other words", collection.corpus[name]) for name in answers])
    with pytest.raises(StageError, match=r"Training saw 0 of 30 test queries and \d+ of \d+ passages"):
        refuse_leaked(collection, [train], silent())


# Public tasks


def test_unknown_tasks_and_benchmarks_are_answered_with_the_nearest():
    assert [task.metadata.name for task in find_tasks(["SciFact", "NFCorpus"], None)] == ["SciFact", "NFCorpus"]
    assert "NFCorpus" in {task.metadata.name for task in find_tasks(["NFCorpus"], "MTEB(Medical, v1)")}
    with pytest.raises(InputError, match="Did you mean 'NFCorpus'"):
        find_tasks(["NFCorpsu"], None)
    with pytest.raises(InputError, match=r"Did you mean 'MTEB\(Medical, v1\)'"):
        find_tasks([], "MTEB(Medicla, v1)")
    with pytest.raises(InputError, match=r"knows no task 'zzzz'\.$"):
        find_tasks(["zzzz"], None)


def test_a_task_of_pictures_is_named_and_not_run(tmp_path: Path):
    from hfembed.evaluate.public import Unscored, _score

    (task,) = find_tasks(["CIFAR10"], None)
    found = _score(task, {}, tmp_path, tmp_path, ())
    assert isinstance(found, Unscored) and "image" in found.reason


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


def test_every_measure_figure_and_search_is_in_the_report(evaluated: Run):
    import json

    report = json.loads(evaluated.path(LAYOUT.report).read_text(encoding="utf-8"))
    assert set(report["measures"]) == set(ALL)
    for row in (report["measures"]["map@100"], *report["by_kind"].values()):
        assert {"base", "tuned", "bm25", "fusion"} <= set(row)
    for metric, row in report["metrics"].items():
        assert report["measures"][metric]["fusion"] == row["fusion"] and row["p"] == 1
    assert all(set(row["measures"]) == set(ALL) for row in report["by_kind"].values())
    assert report["leakage"]["left_out"] == 0 and report["public"]["scores"] == []
    apart = report["separation"]["base"]
    assert apart == report["separation"]["tuned"] and 0 <= apart["above"] <= 1 and apart["answers"] > 0
    # Where the answer is above all others it is the first hit.
    assert apart["above"] == pytest.approx(report["metrics"]["hit@1"]["base"], abs=0.03)
    names = {file.name for file in evaluated.path(LAYOUT.figures).iterdir()}
    assert names == {"metrics.png", "changes.png", "separation.png"}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in evaluated.path(LAYOUT.figures).iterdir())


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


# Labelled queries of the user's own


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A folder with a corpus, queries of people and which documents answer them."""
    write_beir(tmp_path, some_documents(30))
    rows = [{"_id": f"q{n}", "text": f"which {d['title']} is broken"} for n, d in enumerate(some_documents(30)[:10])]
    write_jsonl(tmp_path / "queries.jsonl", rows)
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t{1 + n % 2}" for n in range(10)), "q1\tgone\t1", "q2\td9\t0"]
    (tmp_path / "qrels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_any_model_is_scored_on_queries_of_ones_own_and_compared_with_another(
    labelled: Path, hfembed, tiny_model: Path
):
    arguments = ("evaluate", tiny_model, "--corpus", "corpus.jsonl", "--queries", "queries.jsonl")
    answer = hfembed(*arguments, "--qrels", "qrels.tsv", "--base", tiny_model, "--format", "json")
    assert answer.code == 0, answer.err
    found = answer.json()
    assert (found["queries"], found["documents"], found["unknown"]) == (10, 30, 1) and "'gone'" in answer.err
    assert set(found["metrics"]) == set(ALL) and found["metrics"]["hit@1"]["bm25"] > 0.5
    assert all(row["model"] == row["base"] for row in found["metrics"].values())
    assert found["difference"]["verdict"] == "no difference" and found["difference"]["ndcg@10"]["p"] == 1
    shown = hfembed(*arguments, "--qrels", "qrels.tsv")
    assert shown.code == 0 and "map@100" in shown.out and "10 queries over 30 documents" in shown.out


def test_queries_that_name_their_answers_need_no_qrels(labelled: Path):
    from hfembed.compare import read_documents
    from hfembed.measure import read_collection

    documents, _ = read_documents(str(labelled / "corpus.jsonl"))
    rows = [{"query": "what leaks", "positive_id": ["d0", "d7"]}, {"query": "what sticks", "positive_id": "d4"}]
    found, unknown = read_collection(documents, write_jsonl(labelled / "mine.jsonl", rows), None)
    assert unknown == [] and list(found.queries.values()) == ["what leaks", "what sticks"]
    assert [set(relevant) for relevant in found.qrels.values()] == [{"d0", "d7"}, {"d4"}]


def test_labelled_queries_that_cannot_be_used_are_refused_in_words(labelled: Path, hfembed, tiny_model: Path):
    (labelled / "wrong.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\tgood\n", encoding="utf-8")
    (labelled / "none.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tgone\t1\n", encoding="utf-8")
    (labelled / "names.tsv").write_text("a\tb\nq1\td1\n", encoding="utf-8")
    sentences = {
        "wrong.tsv": "must be a number", "none.tsv": "1 labels name no document of the corpus: 'gone'",
        "names.tsv": "has no query-id", "missing.tsv": "There is no file",
    }  # fmt: skip
    from hfembed.compare import read_documents
    from hfembed.measure import read_collection

    documents, _ = read_documents(str(labelled / "corpus.jsonl"))
    for name, sentence in sentences.items():
        with pytest.raises(InputError, match=sentence):
            read_collection(documents, labelled / "queries.jsonl", labelled / name)
    answer = hfembed("evaluate", tiny_model, "--corpus", "corpus.jsonl")
    assert answer.code == 2 and "--queries FILE --qrels FILE" in answer.err


def test_labels_that_name_what_is_not_there_are_told_by_name(labelled: Path):
    from hfembed.compare import read_documents
    from hfembed.measure import read_collection

    documents, _ = read_documents(str(labelled / "corpus.jsonl"))
    lines = ["query-id\tcorpus-id\tscore", "q0\td0\t1", "nobody\td1\t1", *(f"q1\tlost{n}\t1" for n in range(7))]
    (labelled / "some.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found, (missing, strangers) = read_collection(documents, labelled / "queries.jsonl", labelled / "some.tsv")
    assert list(found.queries) == ["q0"] and missing.count == 7
    assert str(missing).endswith(
        "7 labels name no document of the corpus: 'lost0', 'lost1', 'lost2', 'lost3', 'lost4', ..."
    )
    assert str(strangers) == "1 labels name no query: 'nobody'"
    rows = [{"query": "what leaks", "positive": "d0"}, {"query": "what sticks", "positive": "x" * 100}]
    found, (missing,) = read_collection(documents, write_jsonl(labelled / "mine.jsonl", rows), None)
    assert list(found.qrels.values()) == [{"d0": 1}] and missing.examples == [f"'{'x' * 60}...'"]
    with pytest.raises(InputError, match="'gone'") as caught:
        (labelled / "none.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tgone\t1\n", encoding="utf-8")
        read_collection(documents, labelled / "queries.jsonl", labelled / "none.tsv")
    assert "ids like 'd0', 'd1'" in caught.value.hint


# The base that is compared with

# So many words that whatever weights the model has been made with, a query of two drowns in them.
NOISE = "valve pump seal mast rope tide ledger compass anchor hatch bolt lamp " * 6


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[BaseWay, Path]:
    """A model as it is, and the same with words before each query that it has not learned to pass over."""
    from sentence_transformers import SentenceTransformer

    home = tmp_path_factory.mktemp("ways")
    plain = make_telling(tiny_model, home / "plain")
    noisy = SentenceTransformer(str(plain), device="cpu", prompts={"query": NOISE, "document": ""})
    noisy.save_pretrained(str(home / "noisy"), create_model_card=False)
    return {BaseWay.BARE: plain, BaseWay.RUN: home / "noisy"}


@pytest.mark.parametrize("better", BaseWay)
def test_the_base_is_measured_in_the_way_in_which_it_finds_more(
    better: BaseWay, telling: dict[BaseWay, Path], tmp_path: Path
):
    run = Run(tmp_path / "run")
    # The run's own prompt harms a base that is good as it comes, and mends one that comes with a bad one.
    prompt = NOISE if better is BaseWay.BARE else ""
    recipe = recipe_for("none", f"encoder.query_prompt='{prompt}'", base=telling[better])
    run.path(LAYOUT.report).parent.mkdir(parents=True)
    run.write_recipe(recipe)
    found = measure_base(words_for(some_documents(60)), Sources(recipe), tmp_path / "embeddings", silent())
    assert found.way is better and found.found[better] > 2 * found.found[other_than(better)]
    assert np.mean([row["ndcg@10"] for row in found.scores.per_query.values()]) == pytest.approx(
        found.found[better], abs=1e-4
    )
    said = found.in_words()
    assert said is not None and ("compared as it comes" in said) is (better is BaseWay.BARE)
    # What is compared later, by name, is the same.
    write_json(run.path(LAYOUT.report), found.to_json())
    assert locate_encoder(str(run.path(LAYOUT.recipe))).fingerprint == Sources(recipe).base_in(better).fingerprint


def test_a_base_that_the_run_uses_as_it_comes_is_measured_once(telling: dict[BaseWay, Path], tmp_path: Path):
    recipe = recipe_for("none", base=telling[BaseWay.BARE])
    found = measure_base(words_for(some_documents(20)), Sources(recipe), tmp_path / "embeddings", silent())
    assert list(found.found) == [BaseWay.RUN] and found.to_json() == {} and found.in_words() is None


def other_than(way: BaseWay) -> BaseWay:
    return next(other for other in BaseWay if other is not way)


def words_for(documents: list[dict[str, str]]) -> Collection:
    """Ask for each document by two words that stand in it alone."""
    corpus = {row["_id"]: row["text"] for row in documents}
    queries = {name: " ".join(re.findall(r"\w+\d+\w*", text)[:2]) for name, text in corpus.items()}
    return Collection(
        "Words", corpus, queries, dict.fromkeys(queries, "keyword"), {name: {name: 1} for name in queries}
    )
