"""Leakage: a run whose files were changed by hand is found out by the evaluate stage itself."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import Listener, run_until, some_documents, write_beir

from hfembed import pipeline
from hfembed.errors import StageError
from hfembed.evaluate.collection import Collection
from hfembed.run import LAYOUT, Run

pytestmark = pytest.mark.xdist_group("evaluate")


@pytest.fixture
def trained(tmp_path: Path, tiny_model: Path) -> Run:
    """A run that is ready to be evaluated."""
    corpus = write_beir(tmp_path / "beir", some_documents(60))
    settings = ("train.strength=0", "train.phases.0.steps=1", "evaluate.bootstrap=100")
    return run_until(tmp_path / "run", corpus, "train", *settings, base=tiny_model)[0]


def held_out(run: Run) -> Collection:
    return Collection.read(run.path(LAYOUT.test), "Test")


def tamper(run: Run, column: str, texts: list[str]) -> None:
    """Put texts of the test into training."""
    file = run.path(LAYOUT.train)
    table = pq.read_table(file)
    values = table.column(column).to_pylist()
    values[: len(texts)] = texts
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, column, pa.array(values, table.schema.field(column).type)), file)


def test_training_on_the_passages_of_the_test_leaves_no_report(trained: Run):
    collection = held_out(trained)
    answers = sorted({document for relevant in collection.qrels.values() for document in relevant})
    tamper(trained, "positive", [collection.corpus[name] for name in answers])
    with pytest.raises(StageError, match=rf"{len(answers)} of {len(answers)} passages .* there is no report") as caught:
        pipeline.run_stage("evaluate", trained.recipe(), trained)
    assert "--rerun" in caught.value.hint and not trained.path(LAYOUT.report).exists()


def test_one_query_that_training_saw_is_left_out_and_the_report_says_so(trained: Run):
    collection = held_out(trained)
    name, asked = next(iter(collection.queries.items()))
    same = [query for query, text in collection.queries.items() if text == asked]
    tamper(trained, "query", [asked.upper()])
    heard = Listener()
    pipeline.run_stage("evaluate", trained.recipe(), trained, [heard])
    report = json.loads(trained.path(LAYOUT.report).read_text(encoding="utf-8"))
    assert report["leakage"] == {"queries": len(same), "passages": 0, "left_out": len(same)}
    assert report["queries"] == len(collection.queries) - len(same)
    assert name not in pq.read_table(trained.path(LAYOUT.per_query)).column("query_id").to_pylist()
    assert any("left out of the test" in event.message for event in heard)


def test_an_honest_run_has_no_leak_and_names_its_figures(trained: Run):
    pipeline.run_stage("evaluate", trained.recipe(), trained)
    report = json.loads(trained.path(LAYOUT.report).read_text(encoding="utf-8"))
    assert report["leakage"] == {"queries": 0, "passages": 0, "left_out": 0}
    assert report["figures"] == ["metrics.png", "changes.png", "separation.png"]
    for name in report["figures"]:
        assert (trained.path(LAYOUT.figures) / name).read_bytes().startswith(b"\x89PNG")
