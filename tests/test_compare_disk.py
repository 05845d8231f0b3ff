"""A large corpus and an index: they are compared from disk, and answer as a corpus in memory does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import Listener, keep_documents, some_documents, write_beir, write_jsonl
from told import serve_hub
from typer.testing import CliRunner

from hfembed import cli
from hfembed.compare import Contender, Library, OnDisk, Ranking, Searched, compare
from hfembed.compare import corpus as corpora
from hfembed.compare import library as module
from hfembed.compare.batch import ask_all
from hfembed.compare.placed import document_vectors, shared
from hfembed.compare.queries import Query, answering, read_queries
from hfembed.embed import Embedder
from hfembed.errors import CorpusError, InputError
from hfembed.events import Events, Reporter
from hfembed.hub import ModelSource
from hfembed.index import Index, Mode, build_index
from hfembed.index.fusion import join
from hfembed.index.publish import publish_index
from hfembed.index.sources import body_of
from hfembed.measure import read_documents
from hfembed.recipe import Recipe
from hfembed.run import CACHE_LAYOUT, LAYOUT, Run

pytestmark = pytest.mark.xdist_group("index")

QUERY = "turbine of unit 8"
QUERIES = (QUERY, "leaking pump code1021", "the antenna that rattles", "zebra")
LARGE = 50
ROWS = some_documents(120)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return str(write_beir(tmp_path / "beir", ROWS))


@pytest.fixture
def index(tmp_path: Path, corpus: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An index of the corpus; its vectors are kept nowhere else."""
    with monkeypatch.context() as patch:
        patch.setenv("HFEMBED_CACHE", str(tmp_path / "elsewhere"))
        build_index(corpus, str(tiny_model), tmp_path / "index")
    return str(tmp_path / "index")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of fifty documents is large."""
    monkeypatch.setattr(corpora, "EXACT_BELOW", LARGE)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many documents were embedded, block by block."""
    counts: list[int] = []
    real: Callable[[Embedder, list[str]], np.ndarray] = Embedder.documents

    def count(self: Embedder, texts: list[str]) -> np.ndarray:
        counts.append(self.lacks(texts))
        return real(self, texts)

    monkeypatch.setattr(Embedder, "documents", count)
    return counts


def other_model(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    settings = folder / "config_sentence_transformers.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps({**values, "prompts": {"query": "find: ", "document": ""}}), encoding="utf-8")
    return folder


def ids(ranking: Ranking) -> list[str]:
    return [hit.id for hit in ranking.hits]


def stores(folder: Path) -> list[Path]:
    return list((folder / "hfembed-cache").rglob("vectors.f32"))


# A large corpus


def test_a_large_corpus_on_disk_answers_as_one_in_memory_does(
    corpus: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    names = [str(tiny_model), "bm25", "hybrid"]
    memory, disk = Library(), Library()
    assert isinstance(memory.corpus(corpus), Searched)
    before = [compare(names, corpus, query, 100, library=memory) for query in QUERIES]
    monkeypatch.setattr(corpora, "EXACT_BELOW", LARGE)
    assert isinstance(disk.corpus(corpus), OnDisk)
    after = [compare(names, corpus, query, 100, library=disk) for query in QUERIES]
    for query, first, second in zip(QUERIES, before, after, strict=True):
        (dense, words, both), (dense_on_disk, words_on_disk, both_on_disk) = first, second
        assert ids(dense) == ids(dense_on_disk) and len(dense.hits) == 100
        for one, other in zip(dense.hits, dense_on_disk.hits, strict=True):
            assert (one.title, one.text) == (other.title, other.text)
            assert one.score == pytest.approx(other.score, abs=2e-5)
        # Two ways of counting words weigh them a little differently, and one leaves out what is a single sign; what a
        # word alone finds is the same.
        assert len(words.hits) == len(words_on_disk.hits)
        assert query == QUERY or ids(words)[:1] == ids(words_on_disk)[:1]
        for parts in ((dense, words, both), (dense_on_disk, words_on_disk, both_on_disk)):
            found, lexical, joined = ({int(hit.id[1:]): hit.score for hit in part.hits} for part in parts)
            expected = join(found, lexical, 0.5)
            assert joined == pytest.approx({number: expected[number] for number in joined}, abs=0.01)


@pytest.mark.usefixtures("large")
def test_a_large_corpus_is_indexed_once_and_brought_up_to_date(corpus: str, tiny_model: Path, encoded: list[int]):
    names = [str(tiny_model), "bm25"]
    first = compare(names, corpus, QUERY, 5)
    assert sum(encoded) == len(ROWS)
    encoded.clear()
    again = compare(names, corpus, QUERY, 5)  # as a process that was started anew
    assert [one.hits for one in again] == [one.hits for one in first] and encoded == []
    write_beir(Path(corpus), [*ROWS[1:], {"_id": "new", "title": "A zebra", "text": "Stripes all over."}])
    changed = compare(names, corpus, "zebra stripes", 5)
    assert ids(changed[1]) == ["new"] and sum(encoded) == 1
    kept = list(corpora.find_place(corpus).cache.glob(CACHE_LAYOUT.documents.format(key="*")))
    assert kept == [corpora.find_place(corpus).documents]


@pytest.mark.usefixtures("large")
def test_words_alone_need_no_model_and_no_vectors(corpus: str, tmp_path: Path, tiny_model: Path, encoded: list[int]):
    (ranking,) = compare(["bm25"], corpus, QUERY, 3)
    assert ranking.hits[0].id == "d8" and encoded == [] and not stores(tmp_path)
    words = corpora.find_place(corpus).cache / CACHE_LAYOUT.indexes / CACHE_LAYOUT.words
    assert words.is_dir()
    shutil.rmtree(words)
    compare(["bm25", str(tiny_model)], corpus, QUERY, 3)  # those of the model's index do
    assert not words.exists()


def test_documents_that_an_older_version_pulled_are_refused_with_a_way_on(tmp_path: Path):
    run = Run(tmp_path / "run")
    keep_documents(run, [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in ROWS])
    file = run.path(LAYOUT.documents)
    pq.write_table(pq.read_table(file).drop_columns("document"), file)
    with pytest.raises(CorpusError, match="older hfembed, without: document") as refused:
        corpora.find_place(str(run.folder))
    assert refused.value.hint.startswith("hfembed run --run ")


@pytest.mark.usefixtures("large")
def test_a_large_run_is_compared_with_its_base_and_many_queries_are_scored(tmp_path: Path, tiny_model: Path):
    run = Run(tmp_path / "run")
    keep_documents(run, [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in ROWS])
    run.write_recipe(Recipe(base=str(tiny_model)))
    shutil.copytree(tiny_model, run.path(LAYOUT.model))
    rankings = compare(["base", "tuned", "bm25", "hybrid"], str(run.folder), QUERY, 4)
    assert ids(rankings[0]) == ids(rankings[1]) and [hit.moved for hit in rankings[1].hits] == [0] * 4
    library = Library()
    found = library.corpus(str(run.folder))
    queries = [Query(ROWS[at]["title"], {f"d{at}": 1}) for at in range(4)]
    contenders = [Contender("words", words=True), Contender("base", str(tiny_model))]
    batch = ask_all(library, contenders, found, queries)
    assert batch.labelled and batch.mean(0) == 1 and [line.shared[0] for line in batch.lines] == [1] * 4


@pytest.mark.usefixtures("large")
def test_answers_in_a_file_are_looked_up_on_disk(corpus: str, tmp_path: Path):
    library = Library()
    readable = library.readable(library.corpus(corpus))
    rows = [{"query": "one", "positive_ids": ["d1", "gone"]}, {"query": "two", "positive_id": "d2"}]
    file = write_jsonl(tmp_path / "mine.jsonl", rows)
    found = read_queries(file, answering(file, readable))
    assert [dict(query.relevant) for query in found.queries] == [{"d1": 1}, {"d2": 1}] and found.unknown == 1
    lines = tmp_path / "mine.txt"
    lines.write_text("one\ntwo\n", encoding="utf-8")
    assert len(read_queries(lines, answering(lines, readable)).queries) == 2


# An index


def test_an_index_answers_without_anything_being_embedded(
    index: str, corpus: str, tiny_model: Path, tmp_path: Path, encoded: list[int]
):
    names = ["index", "bm25", "hybrid", str(tiny_model), f"hybrid:{index}"]
    dense, words, both, named, joined = compare(names, index, QUERY, 20)
    assert encoded == [] and not stores(tmp_path)
    for ranking, mode in ((dense, Mode.DENSE), (words, Mode.BM25), (both, Mode.HYBRID)):
        hits = Index(Path(index)).search(QUERY, 20, mode)
        assert [(hit.id, hit.text) for hit in ranking.hits] == [(hit.id, hit.text) for hit in hits]
        assert [hit.score for hit in ranking.hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    assert ids(named) == ids(dense) and ids(joined) == ids(both)
    (in_memory,) = compare([str(tiny_model)], corpus, QUERY, 20)
    assert ids(in_memory) == ids(dense)


def test_the_share_that_an_index_has_learned_counts_in_a_comparison(index: str):
    manifest = Index(Path(index)).manifest
    fusion = manifest.fusion.model_copy(update={"dense": 0.0})
    manifest.model_copy(update={"fusion": fusion}).write(Path(index))
    words, both = compare(["bm25", "hybrid"], index, "leaking pump code1021", 5)
    assert ids(both) == ids(words)


def test_indexes_are_compared_without_a_corpus_and_told_where_they_differ(index: str, tiny_model: Path, tmp_path: Path):
    other = tmp_path / "other"
    build_index(str(write_beir(tmp_path / "less", ROWS[:100])), str(tiny_model), other)
    told = Listener()
    first, second = compare([index, str(other)], None, QUERY, 5, Reporter("compare", Events(listeners=[told])))
    assert len(first.hits) == len(second.hits) == 5 and all(hit.moved is not None for hit in second.hits[:1])
    assert any("100 documents" in said and "120" in said for said in told.messages("warning"))
    with pytest.raises(InputError, match="No corpus is named"):
        compare([str(tiny_model)], None, QUERY)
    with pytest.raises(InputError, match="is no index"):
        compare([f"index:{tiny_model}"], index, QUERY)


def test_another_model_is_indexed_from_the_documents_of_an_index(
    index: str, corpus: str, tiny_model: Path, tmp_path: Path, encoded: list[int]
):
    other = other_model(tiny_model, tmp_path / "other-model")
    _, new = compare(["index", str(other)], index, QUERY, 5)
    assert sum(encoded) == len(ROWS)
    assert ids(compare([str(other)], corpus, QUERY, 5)[0]) == ids(new)
    shutil.rmtree(tmp_path / "hfembed-cache")
    library = Library()
    with pytest.raises(InputError, match="more than 50 are embedded by nobody here"):
        library.prepare(Contender("x", str(other)), library.corpus(index, LARGE))


def test_few_documents_of_an_index_are_encoded_elsewhere_where_others_would_be(
    index: str, tiny_model: Path, tmp_path: Path
):
    other, borrowed = other_model(tiny_model, tmp_path / "other-model"), list[int]()

    def lend(source: ModelSource, texts: list[str], folder: Path) -> None:
        borrowed.append(len(texts))
        Embedder(source, folder).documents(texts)

    library = Library(lend, "cpu")
    found = library.search(Contender("x", str(other)), library.corpus(index, 5_000), [QUERY], 5)
    assert len(found[0].rows) == 5 and borrowed == [len(ROWS)]


def test_the_documents_of_an_index_are_those_of_its_corpus(index: str, corpus: str, tmp_path: Path, tiny_model: Path):
    assert read_documents(index)[0].bodies == read_documents(corpus)[0].bodies
    again = build_index(index, str(tiny_model), tmp_path / "copy")
    assert again.new == len(ROWS) and build_index(corpus, str(tiny_model), tmp_path / "copy").unchanged == len(ROWS)
    with pytest.raises(InputError, match="cannot be its own index"):
        build_index(index, str(tiny_model), Path(index))


@pytest.mark.parametrize(("title", "body"), [("", "text"), ("A", "text"), ("A", ""), ("A", "A text"), ("A", " B")])
def test_a_text_without_its_title_is_what_it_was(title: str, body: str):
    from hfembed.corpus import join_title

    assert join_title(title, body_of(title, join_title(title, body))) == join_title(title, body)
    assert body_of(title, join_title(title, body)) == body


def test_a_library_places_documents_of_an_index_for_a_map(index: str):
    library = Library()
    found, contender = library.corpus(index), Contender("index", index=index)
    readable = library.readable(found)
    spread = readable.ids(readable.spread(30))
    assert len(set(spread)) == 30 and len(readable.spread(1_000)) == len(ROWS)
    vectors = document_vectors(library, contender, found, [*spread, "d7"])
    query = library.query_vectors(contender, found, [QUERY])[0]
    hits = {hit.id: hit.score for hit in compare(["index"], index, QUERY, 120)[0].hits}
    assert (vectors @ query).tolist() == pytest.approx([hits[name] for name in [*spread, "d7"]], abs=2e-5)
    assert shared(library, [contender], found, ["d1", "gone", "d2"]) == ["d1", "d2"]


def test_the_command_compares_indexes_and_speaks_json(index: str):
    done = CliRunner().invoke(cli.app, ["compare", index, "bm25", "--query", QUERY, "-k", "3", "--format", "json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [one["model"] for one in told["rankings"]] == [index, "bm25"]
    assert [len(one["hits"]) for one in told["rankings"]] == [3, 3]


def test_a_published_index_is_compared_where_it_lies(
    index: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[int]
):
    with serve_hub(tmp_path / "hub", monkeypatch):
        publish_index(Path(index), "demo/devices-index", Reporter("index", Events()), public=True)
        named = compare([str(tiny_model), "bm25"], "demo/devices-index", QUERY, 5)
        (by_words,) = compare(["bm25"], "demo/devices-index", QUERY, 5)
    here = compare([index, "bm25"], index, QUERY, 5)
    assert [one.hits for one in named] == [one.hits for one in here] and encoded == []
    assert by_words.hits[0].id == "d8"


def test_a_small_corpus_needs_no_database(corpus: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "open_words", lambda *_: pytest.fail("it is in memory"))
    assert compare(["bm25"], corpus, QUERY, 1)[0].hits[0].id == "d8"
