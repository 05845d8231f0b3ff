"""Library: models and corpora are loaded once, shared by threads, and given up within bounds."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders import some_documents, write_beir

from hfembed.compare import Contender, Library
from hfembed.compare import library as module
from hfembed.compare.shelf import Shelf
from hfembed.errors import ModelError
from hfembed.hub import ModelSource, acting_as

QUERY = "turbine of unit 8"


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return str(write_beir(tmp_path / "beir", some_documents(20)))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that are read from disk, in order."""
    names: list[str] = []
    real: Callable[[ModelSource], object] = module.load_model

    def load(source: ModelSource) -> object:
        names.append(source.name)
        time.sleep(0.05)  # long enough for the others to come
        return real(source)

    monkeypatch.setattr(module, "load_model", load)
    return names


def copies(model: Path, folder: Path, count: int) -> list[Path]:
    """Return copies of a model whose weights differ."""
    from sentence_transformers import SentenceTransformer

    made = []
    for number in range(count):
        changed = SentenceTransformer(str(model), device="cpu")
        for weights in changed.parameters():
            weights.data.mul_(1 + 0.01 * number)
        changed.save_pretrained(str(folder / f"copy-{number}"), create_model_card=False)
        made.append(folder / f"copy-{number}")
    return made


def test_ten_at_once_make_a_value_once():
    shelf: Shelf[int] = Shelf(3)
    made: list[int] = []

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return 7

    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(lambda _: shelf.get("key", make), range(10))) == [7] * 10
    assert len(made) == 1


def test_what_was_not_asked_for_longest_is_given_up():
    shelf: Shelf[str] = Shelf(2)
    for key in ("a", "b", "a", "c"):
        shelf.get(key, lambda: "value")
    assert ("a" in shelf, "b" in shelf, "c" in shelf) == (True, False, True)


def test_heavy_values_push_out_others_but_never_the_last():
    shelf: Shelf[int] = Shelf(10, most_bytes=100, weigh=lambda value: value)
    for key in (40, 50, 30):
        shelf.get(key, lambda key=key: key)
    assert [key in shelf for key in (40, 50, 30)] == [False, True, True]
    shelf.get(1_000, lambda: 1_000)
    assert len(shelf) == 1 and 1_000 in shelf


def test_an_error_reaches_everybody_who_waits_and_is_not_kept():
    shelf: Shelf[int] = Shelf(2)
    gate, tries = threading.Event(), []

    def fail() -> int:
        tries.append(1)
        gate.wait(5)
        raise ModelError("gone")

    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(shelf.get, "key", fail) for _ in range(3)]
        time.sleep(0.05)
        gate.set()
        assert [type(future.exception(5)) for future in waiting] == [ModelError] * 3
    assert len(tries) == 1 and shelf.get("key", lambda: 5) == 5


def test_ten_at_once_load_a_model_once(corpus: str, tiny_model: Path, loaded: list[str]):
    library = Library()
    contender = Contender("tiny", str(tiny_model))
    with ThreadPoolExecutor(10) as threads:
        found = list(threads.map(lambda _: library.search(contender, library.corpus(corpus), [QUERY], 5)[0], range(10)))
    assert len(loaded) == 1
    assert all(one.rows.tolist() == found[0].rows.tolist() for one in found)


def test_of_four_models_three_stay_and_all_answer(corpus: str, tiny_model: Path, tmp_path: Path, loaded: list[str]):
    library = Library()
    for model in copies(tiny_model, tmp_path, 4) * 2:
        assert len(library.search(Contender("x", str(model)), library.corpus(corpus), [QUERY], 5)[0].rows) == 5
        assert len(library.models) <= module.MODELS == 3
    assert len(loaded) == 8  # in turn, so that each is gone when it is asked for again
    assert len(library.vectors) == 4 and len(library.corpora) == 1


def test_a_model_that_was_trained_anew_is_read_anew(corpus: str, tiny_model: Path, tmp_path: Path):
    library = Library()
    first, second = copies(tiny_model, tmp_path, 2)
    before = library.source(str(first)).fingerprint
    shutil.rmtree(first)
    shutil.copytree(second, first)
    (first / "model.safetensors").touch()
    assert library.source(str(first)).fingerprint != before


def test_only_so_many_documents_of_a_corpus_are_read(corpus: str):
    library = Library()
    cut, whole = library.corpus(corpus, 5), library.corpus(corpus)
    assert (len(cut.documents), cut.whole, len(whole.documents), whole.whole) == (5, False, 20, True)
    assert library.corpus(corpus, 20).whole


def test_what_the_hub_told_one_visitor_is_asked_again_for_another(monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    asked: list[str] = []

    def locate(name: str) -> ModelSource:
        asked.append(name)
        return ModelSource(name, tiny_model, "commit", f"{name}@commit")

    monkeypatch.setattr(module, "locate_encoder", locate)
    library = Library()
    for token in ("hf_first", "hf_second", "hf_first", None):
        with acting_as(token):
            library.source("org/private")
    assert len(asked) == 3


def test_documents_are_encoded_elsewhere_only_where_they_were_not_yet(corpus: str, tiny_model: Path):
    from hfembed.embed import Embedder

    borrowed: list[int] = []

    def lend(source: ModelSource, texts: list[str], folder: Path) -> None:
        borrowed.append(len(texts))
        Embedder(source, folder).documents(texts)

    for _ in range(2):  # the second library is one of a page that was started anew
        library = Library(lend, "cpu")
        assert len(library.search(Contender("tiny", str(tiny_model)), library.corpus(corpus), [QUERY], 5)[0].rows) == 5
    assert borrowed == [20]
