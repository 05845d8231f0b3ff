"""Public tasks of mteb, offline: a local Hub holds a task's dataset at the revision that mteb names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi, constants

from hfembed.localhub import LocalHub
from hfembed.run import LAYOUT

# What mteb says of the task NFCorpus: where its dataset is, and at which revision.
DATASET, REVISION = "mteb/nfcorpus", "ec0fa4fe99da2ff19ca1214b7966684033a58814"
CARD = b"""---
configs:
- config_name: default
  data_files: [{split: test, path: qrels/test.jsonl}]
- config_name: corpus
  data_files: [{split: corpus, path: corpus.jsonl}]
- config_name: queries
  data_files: [{split: queries, path: queries.jsonl}]
---
"""


def tiny_task(sample: Path) -> dict[str, bytes]:
    """Return the files of a retrieval dataset of twenty documents, as mteb lays them out."""
    documents = [json.loads(line) for line in (sample / "corpus.jsonl").open(encoding="utf-8")][:20]
    queries = [{"_id": f"q{at}", "text": " ".join(row["text"].split()[2:7])} for at, row in enumerate(documents[:8])]
    qrels = [{"query-id": f"q{at}", "corpus-id": documents[at]["_id"], "score": 1} for at in range(8)]
    corpus = [{name: row[name] for name in ("_id", "title", "text")} for row in documents]
    tables = {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/test.jsonl": qrels}
    return {"README.md": CARD} | {
        name: "".join(json.dumps(row) + "\n" for row in rows).encode() for name, rows in tables.items()
    }


@pytest.fixture
def environment(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Serve a Hub that holds one of two tasks, and say how to reach it."""
    with LocalHub(root=tmp_path / "hub", port=0) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        api = HfApi(endpoint=server.url, token=server.add_user("mteb", role="write"))
        api.create_repo(DATASET, repo_type="dataset")
        for name, content in tiny_task(sample).items():
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=DATASET, repo_type="dataset")
        api.create_tag(DATASET, tag=REVISION, repo_type="dataset")
        # What main says later does not count: mteb asks for its revision.
        api.upload_file(path_or_fileobj=b"\n", path_in_repo="corpus.jsonl", repo_id=DATASET, repo_type="dataset")
        yield {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HFEMBED_CACHE": str(tmp_path / "cache")}


def public_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / LAYOUT.report).read_text(encoding="utf-8"))["public"]
    return found


def test_a_task_that_a_hub_holds_is_scored_and_one_that_it_does_not_is_named(
    hfembed, environment: dict[str, str], tiny_model: Path, sample: Path, cheap: list[str], tmp_path: Path
):
    arguments = ("run", "--corpus", sample, "--base", tiny_model, "--until", "evaluate", *cheap)
    answer = hfembed(*arguments, "--run", "run", "--tasks", "NFCorpus,SciFact", **environment)
    assert answer.code == 0, answer.err
    folder = tmp_path / "run"
    public = public_of(folder)
    (score,), (unscored,) = public["scores"], public["unscored"]
    assert (score["task"], score["dataset"], score["revision"]) == ("NFCorpus", DATASET, REVISION)
    assert score["metric"] == "ndcg_at_10" and 0 < score["base"] <= 1 and 0 < score["bm25"] <= 1
    assert score["delta"] == pytest.approx(score["tuned"] - score["base"], abs=1e-5)
    assert unscored["task"] == "SciFact" and "mteb/scifact does not exist on the Hub" in unscored["reason"]
    assert "SciFact" in answer.err and "could not be scored" in answer.err and "SciFact" in answer.out
    assert environment["HF_ENDPOINT"] not in json.dumps(public)  # it is published
    for name in ("base", "tuned", "bm25"):
        kept = json.loads((folder / LAYOUT.tasks / name / "NFCorpus.json").read_text(encoding="utf-8"))
        assert kept["dataset_revision"] == REVISION and kept["task_name"] == "NFCorpus"
        assert kept["scores"]["test"][0]["main_score"] == pytest.approx(score[name], abs=1e-4)

    # Another run over the same base: the Hub is gone, what is known of the base and BM25 is not measured again.
    (kept_base,) = (tmp_path / "cache" / LAYOUT.results).rglob("hfembed__base/*/NFCorpus.json")
    values = json.loads(kept_base.read_text(encoding="utf-8"))
    values["scores"]["test"][0]["main_score"] = 0.123
    kept_base.write_text(json.dumps(values), encoding="utf-8")
    again = hfembed("evaluate", "run", "--tasks", "NFCorpus", **{**environment, "HF_HUB_OFFLINE": "1"})
    assert again.code == 0, again.err
    assert public_of(folder)["scores"][0]["base"] == 0.123 and public_of(folder)["unscored"] == []
    assert pq.read_table(folder / LAYOUT.per_query).num_rows > 0


def test_a_name_that_mteb_does_not_know_is_refused_before_any_work(hfembed, sample: Path, tmp_path: Path):
    answer = hfembed("run", "--corpus", sample, "--run", "run", "--tasks", "NFCorpsu")
    assert answer.code == 2 and "Did you mean 'NFCorpus'" in answer.err and "Traceback" not in answer.err
    assert not (tmp_path / "run").exists()
