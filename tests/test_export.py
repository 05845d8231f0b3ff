"""export: a file is kept only when it gives the vectors of the model it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener, job_for, run_until, some_documents, write_beir

from hfembed.embed import load_model
from hfembed.events import Events, Reporter
from hfembed.export import FILES, _extra_modules, _read_sample, _unknown_architecture, export, why_refused
from hfembed.hub import local_model
from hfembed.recipe import Export, Variant, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.train.adapter import Map
from hfembed.train.fold import append_dense

pytestmark = pytest.mark.xdist_group("export")

GATE = Export(max_cosine_distance=1e-3, max_ndcg_loss=0.01)


def measured(distance: float = 0.0, delta: float = 0.0) -> dict[str, Any]:
    return {"max_cosine_distance": distance, "ndcg_delta": delta}


@pytest.mark.parametrize("variant", list(Variant))
def test_a_file_that_loses_quality_is_refused_with_both_figures(variant: Variant):
    problem = why_refused(variant, measured(delta=-0.011), GATE)
    assert problem is not None and "-0.0110" in problem and "-0.0100" in problem
    assert why_refused(variant, measured(delta=-0.01), GATE) is None
    assert why_refused(variant, measured(delta=+0.5), GATE) is None


def test_only_fp32_must_give_the_same_vectors():
    problem = why_refused(Variant.FP32, measured(distance=2e-3), GATE)
    assert problem is not None and "2.00e-03" in problem and "1e-03" in problem
    assert why_refused(Variant.FP32, measured(distance=1e-3), GATE) is None
    assert why_refused(Variant.INT8, measured(distance=0.1), GATE) is None


def test_the_files_have_the_names_that_engines_look_for():
    assert FILES == {Variant.FP32: "model.onnx", Variant.INT8: "model_quantized.onnx"}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """Make a run whose model is the tiny one itself."""
    folder = tmp_path_factory.mktemp("generated")
    run, _ = run_until(folder / "run", write_beir(folder / "beir", some_documents(30)), "generate")
    shutil.copytree(tiny_model, run.path(LAYOUT.model))
    return run


@pytest.mark.parametrize("size", [2, 7, 20, 500])
def test_the_sample_is_a_search_whose_answers_are_in_it(generated: Run, size: int):
    job = job_for(generated, make_recipe(settings=[f"export.sample={size}"]), "export")
    sample = _read_sample(job, job.recipe.export)
    assert 0 < len(sample.documents) <= min(size, 30) and len(set(sample.documents)) == len(sample.documents)
    assert len(sample.queries) == len(sample.positives) > 0
    assert all(0 <= place < len(sample.documents) for place in sample.positives)
    if size == 500:
        assert len(sample.documents) == 30


def test_a_model_with_a_dense_layer_writes_no_file_and_says_why(generated: Run, tmp_path: Path, tiny_model: Path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    learned = Map(np.eye(32, dtype=np.float32), 0.5)
    append_dense(load_model(local_model("tiny", tiny_model)), learned).save_pretrained(
        str(run.path(LAYOUT.model)), create_model_card=False
    )
    assert _extra_modules(load_model(local_model("tuned", run.path(LAYOUT.model)))) == ["Dense"]
    heard = Listener()
    job = job_for(run, make_recipe(), "export", Reporter("export", Events(listeners=[heard])))
    outcome = export(job)
    report = json.loads((job.out / "onnx" / "export.json").read_text(encoding="utf-8"))
    assert report["files"] == [] and set(report["refused"]) == {"model.onnx", "model_quantized.onnx"}
    assert [file.name for file in (job.out / "onnx").iterdir()] == ["export.json"]
    assert outcome.counts == {"files": 0}
    assert any("Dense" in message for message in heard.messages("warning"))


def test_the_kept_file_gives_torchs_vectors_and_a_refused_one_is_not_there(generated: Run):
    recipe = make_recipe(settings=["export.sample=12", "export.variants=[fp32]", "export.max_ndcg_loss=1"])
    job = job_for(generated, recipe, "export")
    outcome = export(job)
    (row,) = outcome.facts["files"]
    assert row["variant"] == "fp32" and row["file"] == "onnx/model.onnx" and row["max_cosine_distance"] < 1e-4
    assert row["docs_per_second"] > 0 and row["torch_docs_per_second"] > 0
    assert sorted(file.name for file in job.out.rglob("*") if file.is_file()) == ["export.json", "model.onnx"]
    strict = make_recipe(settings=["export.sample=12", "export.variants=[fp32]", "export.max_cosine_distance=1e-30"])
    heard = Listener()
    job = job_for(generated, strict, "export", Reporter("export", Events(listeners=[heard])))
    if row["max_cosine_distance"] > 0:
        outcome = export(job)
        assert outcome.counts == {"files": 0} and outcome.dropped == {"model.onnx": 1}
        assert sorted(file.name for file in job.out.rglob("*") if file.is_file()) == ["export.json"]
        assert any("model.onnx is not kept" in message for message in heard.messages("warning"))


def test_an_architecture_that_the_exporter_does_not_know_is_named(tmp_path: Path, tiny_model: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abacus"}), encoding="utf-8")
    assert _unknown_architecture(tmp_path) == "Optimum's exporter does not know the architecture 'abacus'"
    assert _unknown_architecture(tiny_model) is None
