"""neuromap: a small ontology goes through the whole preset; the heads are measured, published and leave a plain model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import Listener
from huggingface_hub import HfApi, hf_hub_download
from told import serve_hub

from hfembed import pipeline
from hfembed.heads import load_heads
from hfembed.recipe import load_preset, make_recipe
from hfembed.run import LAYOUT, Run

pytestmark = pytest.mark.xdist_group("train")

SMALL = (
    "train.phases.0.steps=4", "train.phases.0.batch_size=6", "train.phases.0.stop.looks=2", "train.phases.1.steps=2",
    "train.phases.1.batch_size=6", "train.phases.1.stop.looks=1", "evaluate.bootstrap=100", "export.sample=16",
    "export.max_ndcg_loss=1", "generate.filters.duplicates=null",
)  # fmt: skip
KINDS = ("pump", "valve", "sensor", "battery")


def write_devices(file: Path) -> Path:
    """Write an OBO file of devices with other names, definitions, and what they are parts of."""
    terms = [
        f'[Term]\nid: D:{at}\nname: {kind}\ndef: "A device that is called {kind} and does its work alone." []'
        for at, kind in enumerate(KINDS)
    ]
    for number in range(48):
        kind, at = KINDS[number % 4], 100 + number
        terms.append(
            f"[Term]\nid: D:{at}\nname: {kind} of type {number}\n"
            f'def: "A {kind} that stands in hall {number * 3} and carries the marker code{number * 7} for workers." []\n'
            f'synonym: "{kind} alpha{number}" EXACT []\nis_a: D:{number % 4}\n'
            f"relationship: part_of D:{100 + (number + 4) % 48}"
        )
    file.write_text("format-version: 1.2\n\n" + "\n\n".join(terms) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Run, Listener]:
    """Run the preset from pull to export."""
    folder = tmp_path_factory.mktemp("run")
    heard = Listener()
    options = {"corpus": str(write_devices(folder / "devices.obo")), "base": str(tiny_model)}
    run = Run(folder / "run")
    made = pipeline.run(make_recipe("neuromap", settings=SMALL, options=options), run, listeners=[heard])
    assert made == ["pull", "generate", "mine", "train", "evaluate", "export"]
    return run, heard


def test_the_preset_says_what_it_is_and_how_it_differs():
    said = "\n".join(load_preset("neuromap").explain("neuromap"))
    assert "2507.03329" in said and "GPU" in said and said.count("Differs from it") >= 5


def test_both_phases_learn_and_every_look_tells_of_each_head(done: tuple[Run, Listener]):
    facts = pipeline.manifests(done[0])["train"].facts
    first, second = facts["phases"]
    assert [entry["step"] for entry in first["looks"]] == [0, 2, 4]
    for look in (*first["looks"], *second["looks"]):
        assert {"heads_dense", "heads_sparse", "heads_multi_vector", "heads_fused", "sparse_active"} <= set(look)
    losses = [loss for _, loss in second["curves"]["loss"]]
    assert losses and all(np.isfinite(losses))


def test_the_report_scores_each_head_and_all_of_them_together(done: tuple[Run, Listener]):
    run, _ = done
    report = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))
    for row in report["metrics"].values():
        assert {"base", "tuned", "bm25", "sparse", "multi_vector", "fused"} <= set(row)
    written = json.loads((run.path(LAYOUT.report).parent / "mteb_fused.json").read_text(encoding="utf-8"))
    assert written["scores"]["test"][0]["ndcg_at_10"] == pytest.approx(report["metrics"]["ndcg@10"]["fused"], abs=1e-4)


def test_the_one_vector_loads_plain_and_is_that_of_the_model_with_heads(done: tuple[Run, Listener]):
    from sentence_transformers import SentenceTransformer

    folder = str(done[0].path(LAYOUT.model))
    plain, whole = SentenceTransformer(folder, device="cpu"), load_heads(folder)
    texts = ["a pump that leaks", "the sensor of hall 3"]
    assert np.allclose(plain.encode(texts), whole.encode(texts), atol=1e-6)
    assert (Path(folder) / "onnx" / "model.onnx").is_file()  # heads do not stand in the way of it
    moved = np.abs(load_heads(folder)[-1].colbert_linear.weight.detach().numpy() - np.eye(32)).max()
    assert moved > 0  # they have learned


def test_a_push_publishes_the_heads_and_the_card_tells_of_them(
    done: tuple[Run, Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = done
    settings = (*SMALL, "push.model_repo=demo/devices", "push.dataset_repo=demo/device-triplets", "push.force=true")
    options = {"corpus": run.recipe().corpus, "base": run.recipe().base}
    with serve_hub(tmp_path / "hub", monkeypatch) as (_, api):
        assert isinstance(api, HfApi)
        pipeline.run(make_recipe("neuromap", settings=settings, options=options), run, until="push")
        names = {sibling.rfilename for sibling in api.model_info("demo/devices").siblings or []}
        assert {"heads.json", "sparse_linear.pt", "colbert_linear.safetensors", "model.safetensors"} <= names
        card = Path(hf_hub_download("demo/devices", "README.md")).read_text(encoding="utf-8")
        assert 'load_heads("demo/devices")' in card and "1 x dense + 0.3 x sparse + 1 x multi-vector" in card
        model = load_heads("demo/devices")
        assert model.encode("a pump").shape == (32,)
