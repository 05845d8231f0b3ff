"""A run that no pipeline made: everything in it is known to the letter, so that cards can be compared word by word."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import keep_documents, recipe_for, some_documents, write_jsonl
from huggingface_hub import HfApi, constants, file_download

from hfembed.compatible import write_compatible
from hfembed.embed import load_model
from hfembed.evaluate.figures import draw_figures
from hfembed.evaluate.separation import Separation
from hfembed.hub import local_model
from hfembed.localhub import LocalHub
from hfembed.run import LAYOUT, Manifest, Run, write_json

METRICS = ("ndcg@10", "recall@10", "mrr@10", "hit@1")
PUBLIC = [
    {
        "task": "NFCorpus", "type": "Retrieval", "hub_type": "text-retrieval", "metric": "ndcg_at_10",
        "dataset": "mteb/nfcorpus", "revision": "ec0fa4fe", "base": 0.3159, "tuned": 0.3201, "bm25": 0.32, "delta": 0.0042,
    }
]  # fmt: skip
UNSCORED = [{"task": "SciFact", "reason": "The dataset mteb/scifact does not exist."}]
HISTOGRAM = {"edges": [0.0, 0.25, 0.5, 0.75, 1.0], "counts": [0, 4, 20, 4]}
# Must stand in no card: the recipe of the run holds it.
SECRET_PATH = "/home/somebody/secret"


def tell_run(folder: Path, model: Path) -> Run:
    """Write a finished run of 24 documents around a model."""
    run = Run(folder)
    documents = keep_documents(run, [{"id": row.pop("_id"), **row} for row in some_documents()])
    run.write_recipe(recipe_for(f"{SECRET_PATH}/units", base="sentence-transformers/all-MiniLM-L6-v2"))
    shutil.copytree(model, run.path(LAYOUT.model))
    write_compatible(run.path(LAYOUT.model), load_model(local_model("tiny", model)))
    write_report(run, write_triplets(run, documents))
    write_manifests(run)
    return run


@contextmanager
def open_hub(root: Path, patch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """Serve a Hub, point this process's client at it, and yield the client of demo, who may write."""
    with serve_hub(root, patch) as (_, api):
        yield api


@contextmanager
def serve_hub(root: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[LocalHub, HfApi]]:
    """Serve a Hub as `open_hub` does, and yield the server as well: it can be made to fail."""
    with LocalHub(root=root, port=0) as server:
        # In this process HF_ENDPOINT comes too late: the client read it when it was imported.
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "ENDPOINT", server.url)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        api = HfApi(endpoint=server.url, token=server.add_user("demo", role="write"))
        patch.setenv("HF_TOKEN", str(api.token))
        yield server, api


def query_rows(documents: Any, start: int, stop: int) -> list[dict[str, Any]]:
    """Two queries for each document of a slice."""
    texts = documents.texts()
    return [
        {
            "query_id": f"{kind}-{row}", "query": " ".join(texts[row].split()[first:last]), "positive": texts[row],
            "positive_id": documents.ids[row], "group": documents.groups[row], "kind": kind,
            "writer": "extractive", "weight": 1.0, "judge_score": 0.5, "details": "{}", "negatives": ["given by hand"],
        }
        for row in range(start, stop)
        for kind, first, last in (("keyword", 4, 7), ("sentence", 4, 14))
    ]  # fmt: skip


def write_triplets(run: Run, documents: Any) -> list[dict[str, Any]]:
    """Write train, dev and test as generate and mine would; return the test queries."""
    texts, count = documents.texts(), len(documents)
    train, dev, test = (query_rows(documents, *span) for span in ((0, 14), (14, 18), (18, count)))
    for at, row in enumerate(train):
        row["score_positive"] = 0.6
        for number in (1, 2):
            other = (at + 3 * number) % count
            row |= {
                f"negative_{number}": texts[other],
                f"negative_{number}_id": documents.ids[other],
                f"negative_{number}_miner": "dense",
            }
            row[f"score_negative_{number}"] = 0.3
    run.path(LAYOUT.train).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(train), run.path(LAYOUT.train))
    pq.write_table(pa.Table.from_pylist(dev), run.path(LAYOUT.dev))
    folder = run.path(LAYOUT.test)
    rows = [{"_id": row["query_id"], "text": row["query"], "metadata": {"kind": row["kind"]}} for row in test]
    write_jsonl(folder / "queries.jsonl", rows)
    lines = ["query-id\tcorpus-id\tscore", *(f"{row['query_id']}\t{row['positive_id']}\t1" for row in test)]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return test


def write_report(run: Run, test: list[dict[str, Any]]) -> None:
    """Every third query gains, the fourth of every seven loses."""
    figures = {1: 1.0, 2: 0.63093, 5: 0.38685}
    rows = []
    for at, row in enumerate(test):
        places = {"base": 2, "tuned": 1 if at % 3 == 0 else 5 if at % 7 == 4 else 2, "bm25": 1, "fusion": 1}
        values: dict[str, Any] = {name: row[name] for name in ("query_id", "query", "kind")}
        for name, place in places.items():
            scores = (figures[place], 1.0, 1 / place, float(place == 1))
            values |= {f"{name}_{metric}": value for metric, value in zip(METRICS, scores, strict=True)}
        rows.append(values)
    run.path(LAYOUT.report).parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), run.path(LAYOUT.per_query))
    difference = {"delta": 0.08174, "ci": [0.01034, 0.15211], "p": 0.013}
    row = {"base": 0.63093, "tuned": 0.71267, "bm25": 1.0, "fusion": 0.9, **difference}
    kind = {"queries": 6, "base": 0.6, "tuned": 0.7, "bm25": 1.0, "fusion": 0.9, **difference}
    report = (
        {
            "verdict": "better", "sentence": "The tuned model is better than the base on 12 held-out queries.",
            "detectable": 0.1, "confidence": 0.95, "queries": len(test), "documents": 24,
            "metrics": dict.fromkeys(METRICS, row), "by_kind": dict.fromkeys(("keyword", "sentence"), kind),
            "separation": {
                "base": {"answers": 0.6, "others": 0.5, "above": 0.4}, "tuned": {"answers": 0.7, "others": 0.5, "above": 0.6},
            },
            "leakage": {"queries": 0, "passages": 0, "left_out": 0},
            "public": {"benchmark": None, "scores": PUBLIC, "unscored": UNSCORED},
        }
    )  # fmt: skip
    write_json(run.path(LAYOUT.report), report)
    folder = run.path(LAYOUT.tasks) / "tuned"
    folder.mkdir(parents=True)
    subsets = [{"hf_subset": "default", "main_score": 0.3201}]
    result = {
        "task_name": "NFCorpus",
        "mteb_version": "2.0",
        "date": 1795230000.5,
        "scores": {"test": subsets},
    }
    write_json(folder / "NFCorpus.json", result)
    apart = Separation(np.linspace(0.4, 0.9, 12), np.linspace(0.3, 0.7, 12))
    deltas = np.array([row["tuned_ndcg@10"] - row["base_ndcg@10"] for row in rows])
    run.path(LAYOUT.figures).mkdir()
    for name, content in draw_figures(report, deltas, {"base": apart, "tuned": apart}).items():
        (run.path(LAYOUT.figures) / name).write_bytes(content)


def write_manifests(run: Run) -> None:
    """Write what the stages say of themselves."""
    base = {"name": "sentence-transformers/all-MiniLM-L6-v2", "revision": None, "fingerprint": "f"}
    said: dict[str, dict[str, Any]] = {
        "pull": {"counts": {"read": 25, "documents": 24}, "dropped": {"too_short": 1},
                 "facts": {"languages": {"en": 0.98, "other": 0.02}, "truncated_share": 0.04,
                           "lengths": {"unit": "tokens", "limit": 128}},
                 "sources": {"corpus": {"kind": "beir", "name": "units", "fingerprint": "f"}}},
        "generate": {"counts": {"train": 28, "dev": 8, "test": 12}, "dropped": {"ambiguous": 3}},
        "mine": {"counts": {"triplets": 28, "above_cap": 5, "drawn_at_random": 2},
                 "facts": {"median_positive_score": 0.6, "median_negative_score": 0.3, "miners": {"dense": 50, "random": 6},
                           "histograms": {"positives": HISTOGRAM, "negatives": HISTOGRAM}}},
        "train": {"counts": {"pairs": 28, "steps": 4}, "sources": {"base": base}, "seconds": 200.0,
                  "facts": {"choice": {"strength": 0.5}, "fold": {"kind": "folded"}},
                  "versions": {"torch": "2.13.0+cpu", "machine": "8 x Made-up Processor, no GPU"}},
        "evaluate": {"counts": {"queries": 12}},
        "export": {"counts": {"files": 0}, "facts": {"files": []}},
    }  # fmt: skip
    folders = {"pull": "corpus", "generate": "triplets", "mine": "triplets", "train": "model", "export": "model"}
    stages: dict[str, dict[str, Any]] = {}
    for at, (name, values) in enumerate(said.items()):
        finished = f"2026-11-21T03:00:{at:02}+00:00"
        fixed = {"inputs": "i", "output": "o", "hfembed": "0", "seconds": 5.0, "peak_mb": 1.0, "finished": finished}
        manifest = Manifest.model_validate({"stage": name, **fixed, **values})
        stages.setdefault(folders.get(name, "report"), {})[name] = manifest.model_dump()
    for folder, manifests in stages.items():
        write_json(run.path(folder) / "manifest.json", {"stages": manifests})
