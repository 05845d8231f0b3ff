"""The preset `instant` with the real MiniLM on the shipped corpus, from pull to export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hfembed.evaluate.task import Collection
from hfembed.pipeline import NAMES
from hfembed.push import model_files, run_facts
from hfembed.run import Run
from tests.e2e.conftest import Demo

pytestmark = pytest.mark.xdist_group("instant")

ENCODE = """
import json, sys
from sentence_transformers import SentenceTransformer
backend = {"backend": "onnx", "model_kwargs": {"file_name": "onnx/model.onnx"}} if sys.argv[2] == "onnx" else {}
model = SentenceTransformer(sys.argv[1], device="cpu", **backend)
print(json.dumps({
    "hfembed": [name for name in sys.modules if name.startswith("hfembed")],
    "modules": [type(module).__name__ for module in model],
    "vectors": model.encode(json.loads(sys.stdin.read())).tolist(),
}))
"""


@pytest.fixture(scope="module")
def answer(demo: Demo) -> dict[str, Any]:
    """Return the object that a run prints."""
    value: dict[str, Any] = demo.shown["run"]
    return value


def encode_elsewhere(model: Path, texts: list[str], backend: str = "torch") -> dict[str, Any]:
    """Load a model the way a user does, in a process that knows nothing of hfembed."""
    done = subprocess.run(
        [sys.executable, "-c", ENCODE, str(model), backend],
        input=json.dumps(texts), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_the_json_object_holds_what_scripts_rely_on(answer: dict[str, Any], finished: Path):
    assert answer["run"] == str(finished)
    assert Path(answer["model"]).is_dir()
    assert [stage["name"] for stage in answer["stages"]] == list(NAMES)
    for stage in answer["stages"]:
        assert stage["seconds"] > 0 and stage["peak_mb"] > 50 and stage["counts"] and stage["skipped"] is False
    for metric in ("ndcg@10", "recall@10", "mrr@10", "hit@1"):
        row = answer["report"][metric]
        assert 0 < row["base"] <= 1 and 0 < row["tuned"] <= 1 and 0 < row["bm25"] <= 1
        assert row["delta"] == pytest.approx(row["tuned"] - row["base"], abs=2e-5)
        assert row["ci"][0] <= row["delta"] <= row["ci"][1]
    assert answer["verdict"] in ("better", "no difference")
    assert Path(answer["onnx"]["file"]).is_file()
    assert answer["onnx"]["max_cosine_distance"] < 1e-5
    assert abs(answer["onnx"]["ndcg_delta"]) <= 0.001
    assert answer["onnx"]["docs_per_second"] > 0 and answer["onnx"]["torch_docs_per_second"] > 0


def test_the_model_loads_in_a_process_that_never_imported_hfembed_and_is_a_plain_transformer(finished: Path):
    loaded = encode_elsewhere(finished / "model", ["no lights and no volts"])
    assert loaded["hfembed"] == []
    assert loaded["modules"] == ["Transformer", "Pooling", "Normalize"]
    assert np.linalg.norm(loaded["vectors"][0]) == pytest.approx(1, abs=1e-5)


def test_the_tuned_model_is_not_the_base(finished: Path, minilm: Path):
    texts = ["no lights and no volts", "the pack stays under 12.7 V"]
    tuned = np.array(encode_elsewhere(finished / "model", texts)["vectors"])
    base = np.array(encode_elsewhere(minilm, texts)["vectors"])
    assert np.abs(tuned - base).max() > 1e-3


def test_the_onnx_file_gives_the_tuned_vectors_through_sentence_transformers(finished: Path):
    texts = ["no lights and no volts", "a longer text about the pack that stays under 12.7 V for ten minutes"]
    torch_vectors = np.array(encode_elsewhere(finished / "model", texts)["vectors"])
    onnx_vectors = np.array(encode_elsewhere(finished / "model", texts, "onnx")["vectors"])
    assert np.abs(torch_vectors - onnx_vectors).max() < 1e-5


def test_the_report_agrees_with_mteb_and_with_its_own_table_of_queries(finished: Path, answer: dict[str, Any]):
    table = pq.read_table(finished / "report" / "per_query.parquet").to_pydict()
    for name in ("base", "tuned", "bm25"):
        result = json.loads((finished / "report" / f"mteb_{name}.json").read_text(encoding="utf-8"))
        figures = result["scores"]["test"][0]
        for metric, theirs in (("ndcg@10", "ndcg_at_10"), ("recall@10", "recall_at_10"), ("mrr@10", "mrr_at_10")):
            assert answer["report"][metric][name] == pytest.approx(figures[theirs], abs=2e-5)
            assert np.mean(table[f"{name}_{metric}"]) == pytest.approx(figures[theirs], abs=2e-5)


def test_no_test_query_is_about_a_document_that_was_trained_on(finished: Path):
    trained = set(pq.read_table(finished / "triplets" / "train.parquet")["positive_id"].to_pylist())
    chosen_on = set(pq.read_table(finished / "triplets" / "dev.parquet")["positive_id"].to_pylist())
    test = Collection.read(finished / "triplets" / "test", "Test")
    tested = {document for relevant in test.qrels.values() for document in relevant}
    assert not tested & trained and not tested & chosen_on and not trained & chosen_on


def test_the_card_names_base_scores_and_use_and_no_path_of_this_machine(finished: Path, answer: dict[str, Any]):
    files = dict(model_files(run_facts(Run(finished)), "someone/field-search", "someone/field-triplets"))
    card = files["README.md"]
    assert isinstance(card, bytes)
    text = card.decode()
    assert "base_model: sentence-transformers/all-MiniLM-L6-v2" in text
    assert 'SentenceTransformer("someone/field-search")' in text
    assert f"{answer['report']['ndcg@10']['tuned']:.4f}" in text
    for name, content in files.items():
        raw = (
            content
            if isinstance(content, bytes)
            else b""
            if name.endswith(("safetensors", "onnx"))
            else content.read_bytes()
        )
        assert str(finished.parent).encode() not in raw and b"site-packages" not in raw, name


def test_compare_ranks_with_the_tuned_model_from_the_embeddings_of_the_run(hfembed, finished: Path):
    answer = hfembed(
        "compare", "tuned", "bm25", "--corpus", finished, "-k", "3", "--format", "json",
        "--query", "no lights, no volts anywhere in the box",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    rankings = answer.json()["rankings"]
    assert [len(ranking["hits"]) for ranking in rankings] == [3, 3]
    assert "power-03" in [hit["id"] for hit in rankings[0]["hits"]]
    assert "encoding documents" not in answer.err
