"""Compare: an index of the Hub, by visitors who may name no model and no file of this machine through it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import some_documents, write_beir
from huggingface_hub import HfApi
from told import open_hub

from hfembed.compare import INDEX, Library
from hfembed.errors import InputError, ModelError
from hfembed.events import Events, Reporter
from hfembed.index import build_index
from hfembed.index.manifest import read_manifest
from hfembed.index.publish import publish_index
from space import compare_answers, indexes, search, search_names
from space.view_compare_map import map_html
from space.visitors import Visitor, new_token, visitor_of

pytestmark = pytest.mark.xdist_group("index")

QUERY = "turbine of unit 8"
MODEL, REPO, FOREIGN = "demo/tiny", "demo/devices-index", "demo/foreign-index"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[HfApi]:
    """A Hub with a model and an index of it, and a Space that has neither here."""
    library = Library()
    monkeypatch.setattr(search, "library", lambda: library)
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "space"))
    monkeypatch.setenv("HFEMBED_SPACE_BASES", str(other_model(tiny_model, tmp_path / "base")))
    indexes._find.cache_clear()
    with open_hub(tmp_path / "hub", monkeypatch) as api:
        api.create_repo(MODEL)
        api.upload_folder(repo_id=MODEL, folder_path=tiny_model)
        corpus, report = write_beir(tmp_path / "beir", some_documents(30)), Reporter("index", Events())
        with monkeypatch.context() as patch:
            patch.setenv("HFEMBED_CACHE", str(tmp_path / "elsewhere"))
            build_index(str(corpus), MODEL, tmp_path / "index")
            publish_index(tmp_path / "index", REPO, report, public=True)
        yield api
    indexes._find.cache_clear()


def other_model(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    settings = folder / "config_sentence_transformers.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps({**values, "prompts": {"query": "find: ", "document": ""}}), encoding="utf-8")
    return folder


@pytest.fixture
def visitor() -> Visitor:
    return visitor_of(new_token(), None)


def test_an_index_of_the_hub_is_a_corpus_and_its_model_one_of_those_that_are_compared(
    api: HfApi, visitor: Visitor, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    assert [choice.key for choice in search_names.model_choices(visitor, REPO)] == [INDEX, "bm25", "hybrid"]
    found = search.compare(visitor, [INDEX, "bm25", "hybrid"], REPO, QUERY, 5)
    assert [ranking.model for ranking in found.rankings] == [f"index: {MODEL}", "BM25", f"hybrid: {MODEL} and BM25"]
    assert found.corpus == REPO and found.rankings[1].hits[0].id == "d8" and not found.notes
    assert not list((tmp_path / "hfembed-cache").rglob("vectors.f32"))
    html = map_html(search.draw_map(visitor, [INDEX, "bm25"], REPO, QUERY))
    assert html.count("<circle") == 30 and "Pump of unit 0" in html
    file = tmp_path / "mine.csv"
    file.write_text("query,positive_id\nturbine of unit 8,d8\n", encoding="utf-8")
    batch, _ = search.ask_many(visitor, ["bm25", f"index:{REPO}"], REPO, file)
    assert batch.labelled and batch.mean(0) == 1
    # Other models may answer for so many documents as for any corpus.
    with monkeypatch.context() as patch, pytest.raises(InputError, match="more than 20 are embedded by nobody here"):
        patch.setattr(search, "MOST_DOCUMENTS", 20)
        search.compare(visitor, ["base"], REPO, QUERY, 5)
    assert search.compare(visitor, ["base"], REPO, QUERY, 5).rankings[0].hits
    refuse_what_names_something_else(api, visitor, tmp_path, tiny_model)
    monkeypatch.setattr(indexes, "MOST_BYTES", 1_000)
    indexes._find.cache_clear()
    with pytest.raises(InputError, match="indexes of up to"):
        search.compare(visitor, [INDEX], REPO, QUERY, 5)


def refuse_what_names_something_else(api: HfApi, visitor: Visitor, folder: Path, model: Path) -> None:
    manifest = read_manifest(folder / "index")
    assert manifest is not None
    api.create_repo(FOREIGN, repo_type="dataset")
    for wrong in ({"name": str(model)}, {"revision": None}, {"encoder": {"pooling": "cls"}}):
        manifest.model_copy(update={"model": {**manifest.model, **wrong}}).write(folder / "index")
        api.upload_folder(repo_id=FOREIGN, repo_type="dataset", folder_path=folder / "index")
        indexes._find.cache_clear()
        with pytest.raises(InputError, match="no model of the Hub"):
            search.compare(visitor, [INDEX], FOREIGN, QUERY, 5)
        assert search_names.model_choices(visitor, FOREIGN)[0].key == "base"


def test_what_is_no_index_is_named_so(visitor: Visitor, monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    monkeypatch.setenv("HFEMBED_SPACE_BASES", str(tiny_model))
    for key in (INDEX, "index:", "index:/etc", "index:../x", f"index:{tiny_model}"):
        with pytest.raises(ModelError, match="is no index of the Hub"):
            search.compare(visitor, [key], "sample", QUERY)


def test_a_model_of_an_index_is_given_up_with_its_corpus(visitor: Visitor, monkeypatch: pytest.MonkeyPatch):
    chosen, _ = compare_answers._models(visitor, "sample", [INDEX, "bm25"])
    assert INDEX not in chosen.value
