"""compare: one query, one corpus, several models side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from builders import keep_documents, some_documents, write_beir, write_jsonl

from hfembed.compare import Library, compare, to_json
from hfembed.embed import Embedder
from hfembed.errors import CorpusError, InputError, ModelError
from hfembed.hub import local_model
from hfembed.index.fusion import PART_DEPTH, join
from hfembed.recipe import Recipe
from hfembed.run import LAYOUT, Run

QUERY = "turbine of unit 8"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "beir", some_documents(20))


def test_bm25_finds_the_document_with_the_words_without_any_model(corpus: Path):
    (ranking,) = compare(["bm25"], str(corpus), QUERY, 5)
    assert ranking.model == "bm25" and ranking.hits[0].id == "d8"
    assert [hit.rank for hit in ranking.hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in ranking.hits] == sorted((hit.score for hit in ranking.hits), reverse=True)
    assert ranking.hits[0].title == "Turbine of unit 8" and "Technicians" in ranking.hits[0].text
    assert all(hit.moved is None for hit in ranking.hits) and ranking.milliseconds >= 0


def test_a_model_ranks_as_its_vectors_say(corpus: Path, tiny_model: Path, tmp_path: Path):
    (ranking,) = compare([str(tiny_model)], str(corpus), QUERY, 20)
    embedder = Embedder(local_model("tiny", tiny_model), tmp_path / "store")
    texts = [f"{row['title']} {row['text']}" for row in some_documents(20)]
    scores = np.asarray(embedder.documents(texts)) @ embedder.queries([QUERY])[0]
    assert [hit.score for hit in ranking.hits] == pytest.approx(np.sort(scores)[::-1], abs=2e-5)
    for hit in ranking.hits:
        assert hit.score == pytest.approx(scores[int(hit.id[1:])], abs=2e-5)


def test_moved_counts_places_risen_against_the_first_model(corpus: Path, tiny_model: Path):
    first, second, third = compare(["bm25", str(tiny_model), "BM25"], str(corpus), QUERY, 6)
    places = {hit.id: hit.rank for hit in first.hits}
    assert any(hit.moved is None for hit in second.hits) or any(hit.moved for hit in second.hits)
    for hit in second.hits:
        assert hit.moved == (places[hit.id] - hit.rank if hit.id in places else None)
    assert [hit.moved for hit in third.hits] == [0] * 6


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Run:
    run = Run(tmp_path / "run")
    rows = [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in some_documents(12)]
    keep_documents(run, rows)
    run.write_recipe(Recipe(base=str(tiny_model)))
    shutil.copytree(tiny_model, run.path(LAYOUT.model))
    return run


def test_bm25_finds_other_forms_of_a_word(corpus: Path):
    (ranking,) = compare(["bm25"], str(corpus), "leaking pumps", 5)
    assert ranking.hits[0].id == "d0" and "pump of unit 0 leaks" in ranking.hits[0].text


def test_hybrid_adds_up_what_a_model_and_bm25_found(corpus: Path, tiny_model: Path):
    dense, words, hybrid = compare([str(tiny_model), "bm25", "hybrid"], str(corpus), QUERY, 20)
    parts = [{int(hit.id[1:]): hit.score for hit in ranking.hits} for ranking in (dense, words)]
    expected = {f"d{number}": score for number, score in join(*parts, 0.5).items()}
    assert len(parts[0]) <= PART_DEPTH and {hit.id for hit in hybrid.hits} == set(expected)
    for hit in hybrid.hits:
        assert hit.score == pytest.approx(expected[hit.id], abs=0.01)  # the parts are shown rounded
    (named,) = compare([f"hybrid:{tiny_model}"], str(corpus), QUERY, 20)
    assert [hit.id for hit in named.hits] == [hit.id for hit in hybrid.hits]


def test_hybrid_needs_a_model(corpus: Path):
    with pytest.raises(InputError, match="no model is named"):
        compare(["bm25", "hybrid"], str(corpus), QUERY)


def test_base_tuned_and_hybrid_are_words_where_the_corpus_is_a_run(run: Run, tiny_model: Path):
    names = ["base", "tuned", "bm25", "hybrid"]
    rankings = compare(names, str(run.folder), QUERY, 4)
    assert [ranking.model for ranking in rankings] == names
    assert [hit.id for hit in rankings[0].hits] == [hit.id for hit in rankings[1].hits]
    (joined,) = compare([f"hybrid:{tiny_model}"], str(run.folder), QUERY, 4)
    assert [hit.id for hit in joined.hits] == [hit.id for hit in rankings[3].hits]


def test_a_query_is_kept_nowhere(corpus: Path, tiny_model: Path, tmp_path: Path):
    compare([str(tiny_model)], str(corpus), QUERY, 2)
    stores = {file.parent.name.partition("-")[0] for file in (tmp_path / "hfembed-cache").rglob("vectors.f32")}
    assert stores == {"document"}


def test_models_and_documents_in_memory_serve_the_next_query(corpus: Path, tiny_model: Path):
    library = Library()
    first = compare([str(tiny_model), "bm25"], str(corpus), QUERY, 5, library=library)
    assert len(library.models) == len(library.vectors) == len(library.indexes) == len(library.corpora) == 1
    again = compare([str(tiny_model), "bm25"], str(corpus), QUERY, 5, library=library)
    assert [ranking.hits for ranking in first] == [ranking.hits for ranking in again]
    assert len(library.models) == len(library.vectors) == len(library.indexes) == len(library.corpora) == 1


def test_a_run_serves_as_corpus_and_as_model(run: Run, tiny_model: Path):
    rankings = compare([str(run.folder), str(tiny_model)], str(run.folder), QUERY, 4)
    assert [hit.id for hit in rankings[0].hits] == [hit.id for hit in rankings[1].hits]
    assert [hit.moved for hit in rankings[1].hits] == [0] * 4
    assert any(run.path(LAYOUT.embeddings).rglob("vectors.f32"))  # kept in the run, not in the cache


def test_embeddings_of_a_corpus_without_a_run_are_kept_in_the_cache(corpus: Path, tiny_model: Path, tmp_path: Path):
    compare([str(tiny_model)], str(corpus), QUERY, 2)
    assert any((tmp_path / "hfembed-cache").rglob("vectors.f32"))


def test_more_hits_than_documents_are_all_documents(tmp_path: Path):
    file = write_jsonl(tmp_path / "three.jsonl", some_documents(3))
    assert len(compare(["bm25"], str(file), QUERY, 10)[0].hits) == 3


@pytest.mark.parametrize("query", ["zzzz", "the", "?!", "泵"])
def test_a_query_that_no_word_answers_is_no_error(corpus: Path, query: str):
    assert all(hit.score == 0 for hit in compare(["bm25"], str(corpus), query, 3)[0].hits)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_refused(corpus: Path, query: str):
    with pytest.raises(InputError, match="query is empty"):
        compare(["bm25"], str(corpus), query)


def test_a_missing_corpus_and_a_missing_model_are_named(corpus: Path, tmp_path: Path):
    with pytest.raises(CorpusError, match=r"gone\.jsonl"):
        compare(["bm25"], str(tmp_path / "gone.jsonl"), QUERY)
    with pytest.raises(ModelError, match="no/such-model"):
        compare(["no/such-model"], str(corpus), QUERY)
    with pytest.raises(ModelError, match="is not a model"):
        compare([str(corpus)], str(corpus), QUERY)


def test_the_json_form_holds_every_field(corpus: Path):
    (ranking,) = to_json(compare(["bm25"], str(corpus), QUERY, 1))
    assert set(ranking) == {"model", "milliseconds", "hits"}
    assert set(ranking["hits"][0]) == {"rank", "id", "title", "text", "score", "moved"}
