"""Embeddings: encoded once, kept through a crash, in order, with the prompt of their role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener
from hypothesis import given
from hypothesis import strategies as st

from hfembed import embed as module
from hfembed.embed import Embedder, Precision, Role, VectorStore, text_key, unit
from hfembed.errors import ModelError
from hfembed.events import Events, Reporter
from hfembed.hub import ModelSource, local_model

WIDTH = 4


def vector_of(text: str) -> np.ndarray:
    return unit(np.random.default_rng(text_key(text)).normal(size=(1, WIDTH)).astype(np.float32))[0]


class CountingModel:
    """A model whose vectors follow from prompt and text; it remembers what it encoded."""

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")
        self.similarity_fn_name = "cosine"
        self.encoded: list[str] = []
        self.fails_after: int | None = None

    def __iter__(self) -> Any:
        return iter(())

    def _encode(self, prompt: str, texts: list[str]) -> Any:
        import torch

        if self.fails_after is not None and len(self.encoded) >= self.fails_after:
            raise KeyboardInterrupt
        self.encoded += [prompt + text for text in texts]
        return torch.tensor(np.stack([3 * vector_of(prompt + text) for text in texts]))

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return self._encode("query: ", texts)

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        return self._encode("document: ", texts)


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_fast_bf16", lambda device: False)


def embedder(folder: Path, model: CountingModel | None = None, name: str = "m", report: Any = None) -> Embedder:
    made = Embedder(ModelSource(name, folder / name, None, f"fingerprint-{name}"), folder / "embeddings", report)
    if model is not None:
        made.__dict__["model"] = model
    return made


# The embedder


def test_vectors_come_in_order_at_unit_length_with_the_prompt_of_their_role(tmp_path: Path):
    texts = [f"text {n}" for n in range(20)]
    model = CountingModel()
    made = embedder(tmp_path, model)
    assert np.allclose(made.documents(texts), [vector_of(f"document: {text}") for text in texts])
    assert np.allclose(made.queries(texts), [vector_of(f"query: {text}") for text in texts])
    assert np.allclose(made.documents(texts[::-3]), [vector_of(f"document: {text}") for text in texts[::-3]])


def test_no_text_is_encoded_twice_and_another_process_needs_no_model(tmp_path: Path):
    model = CountingModel()
    embedder(tmp_path, model).documents(["a", "b", "a", "c", "b"])
    embedder(tmp_path, model).documents(["c", "d", "a"])
    assert model.encoded == [f"document: {text}" for text in "abcd"]
    again = embedder(tmp_path).documents(["d", "a", "d"])  # this one has no model to load
    assert np.allclose(again, [vector_of(f"document: {text}") for text in "dad"])


def test_a_text_is_kept_apart_by_role_and_by_model(tmp_path: Path):
    one, two = CountingModel(), CountingModel()
    embedder(tmp_path, one).queries(["a"])
    embedder(tmp_path, one).documents(["a"])
    embedder(tmp_path, two, name="other").documents(["a"])
    assert one.encoded == ["query: a", "document: a"] and two.encoded == ["document: a"]


def test_a_crash_between_blocks_costs_the_block_in_flight_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    texts, model = [f"text {n}" for n in range(10)], CountingModel()
    model.fails_after = 8
    with pytest.raises(KeyboardInterrupt):
        embedder(tmp_path, model).documents(texts)
    model.fails_after = None
    vectors = embedder(tmp_path, model).documents(texts)
    assert model.encoded == [f"document: {text}" for text in texts]
    assert np.allclose(vectors, [vector_of(text) for text in model.encoded])


def test_texts_in_order_stay_on_disk_as_a_memory_map(tmp_path: Path):
    made = embedder(tmp_path, CountingModel())
    texts = [f"text {n}" for n in range(6)]
    made.documents(texts)
    assert isinstance(made.documents(texts), np.memmap) and isinstance(made.documents(texts[2:4]), np.memmap)
    assert not made.documents(texts).flags.writeable


def test_no_texts_are_no_vectors(tmp_path: Path):
    made = embedder(tmp_path, CountingModel())
    made.documents(["a"])
    assert made.documents([]).shape == (0, WIDTH)


def test_progress_counts_only_what_is_new(tmp_path: Path):
    heard = Listener()
    report = Reporter("mine", Events(listeners=[heard]))
    made = embedder(tmp_path, CountingModel(), report=report)
    made.documents(["a", "b"])
    heard.clear()
    made.documents(["a", "b", "c"])
    assert heard[-1].total == heard[-1].done == 1 and "encoding documents with m" in heard[-1].message
    heard.clear()
    made.documents(["a", "b", "c"])
    assert heard == []


# Precision


def test_the_precision_is_measured_once_kept_and_said(tmp_path: Path):
    heard = Listener()
    report = Reporter("mine", Events(listeners=[heard]))
    made = embedder(tmp_path, CountingModel(), report=report)
    made.documents(["a"])
    (file,) = (tmp_path / "embeddings").rglob("precision.json")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["precision"] == "fp32" and kept["ndcg_delta"] == 0 and kept["model"] == "m"
    assert len([message for message in heard.messages("note") if "encoding in fp32" in message]) == 1
    file.write_text(json.dumps({**kept, "precision": "bf16"}), encoding="utf-8")
    assert embedder(tmp_path).precision(["x"])["precision"] == "bf16"


@pytest.mark.parametrize(("loss", "chosen"), [(0.0, "bf16"), (0.5, "fp32")])
def test_the_fast_precision_is_taken_only_while_it_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float, chosen: str
):
    monkeypatch.setattr(module, "has_fast_bf16", lambda device: True)
    monkeypatch.setattr(module, "MAX_PRECISION_LOSS", 0.01)

    def fake(model: Any, texts: Any, role: Role, precision: Precision) -> np.ndarray:
        vectors = np.eye(64, dtype=np.float32)[: len(texts)]
        return vectors[::-1].copy() if precision is Precision.BF16 and loss and role is Role.QUERY else vectors

    monkeypatch.setattr(module, "encode", fake)
    measured = module.measure_precision(CountingModel(), [f"text {n}" for n in range(48)])  # type: ignore[arg-type]
    assert measured["precision"] == chosen and measured["texts"] == 48
    assert (measured["ndcg_delta"] < -0.1) == bool(loss)


# The store


def keys(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.uint64)


def rows(*numbers: int) -> np.ndarray:
    return np.array([[number, number + 0.5] for number in numbers], dtype=np.float32)


def test_a_store_gives_back_what_it_was_given_in_the_order_asked(tmp_path: Path):
    store = VectorStore(tmp_path)
    store.append(keys(30, 10), rows(30, 10))
    store.append(keys(20), rows(20))
    for opened in (store, VectorStore(tmp_path)):
        assert np.array_equal(opened.rows(keys(10, 20, 30, 10)), rows(10, 20, 30, 10))
        assert [number in opened for number in keys(10, 15, 20, 30, 40)] == [True, False, True, True, False]


@pytest.mark.parametrize("torn", ["vectors.f32", "keys.u64", "both"])
@pytest.mark.parametrize("extra", [1, 7, 8, 9, 24])
def test_what_a_killed_process_left_half_written_is_dropped(tmp_path: Path, torn: str, extra: int):
    store = VectorStore(tmp_path)
    store.append(keys(1, 2), rows(1, 2))
    for name in ("vectors.f32", "keys.u64"):
        if torn in (name, "both"):
            with (tmp_path / name).open("ab") as handle:
                handle.write(b"\x07" * extra)
    opened = VectorStore(tmp_path)
    assert keys(3)[0] not in opened
    opened.append(keys(3), rows(3))
    assert np.array_equal(VectorStore(tmp_path).rows(keys(3, 2, 1)), rows(3, 2, 1))


def test_a_store_that_lost_its_end_does_not_invent_vectors(tmp_path: Path):
    store = VectorStore(tmp_path)
    store.append(keys(1, 2, 3), rows(1, 2, 3))
    with (tmp_path / "vectors.f32").open("ab") as handle:
        handle.truncate(12)  # as after a power cut: the small state file was synced, the large one was not
    opened = VectorStore(tmp_path)
    for number in (1, 2, 3):
        if keys(number)[0] in opened:
            assert np.array_equal(opened.rows(keys(number)), rows(number))


@given(blocks=st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5, unique=True), max_size=5))
def test_any_blocks_read_back(blocks: list[list[int]], tmp_path_factory: pytest.TempPathFactory):
    folder, known = tmp_path_factory.mktemp("store"), []
    store = VectorStore(folder)
    for block in blocks:
        fresh = [key for key in block if keys(key)[0] not in store]
        if fresh:
            store.append(keys(*fresh), np.array([[key % 97, len(known)] for key in fresh], dtype=np.float32))
        known += fresh
    assert sorted(known) == sorted({key for block in blocks for key in block})
    if known:
        assert VectorStore(folder).rows(keys(*known))[:, 0].tolist() == [key % 97 for key in known]


def test_the_key_of_a_text_is_its_own_and_takes_any_text():
    assert len({text_key(text) for text in ("", " ", "a", "A", "a ", "\ud800")}) == 6
    assert text_key("a") == text_key("a")


def test_a_vector_of_nothing_stays_nothing():
    assert np.array_equal(unit(np.zeros((1, 3), dtype=np.float32)), np.zeros((1, 3)))


# A real model


def test_a_real_model_encodes_queries_and_documents_with_their_own_prompts(tiny_model: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.prompts = {"query": "search this: ", "document": "the text says: "}
    made = Embedder(local_model("tiny", tiny_model), tmp_path)
    made.__dict__["model"] = model
    text = "the alternator warning light"
    expected = [model.encode(prompt + text) for prompt in ("search this: ", "the text says: ", "")]
    assert np.allclose(made.queries([text])[0], expected[0], atol=1e-5)
    assert np.allclose(made.documents([text])[0], expected[1], atol=1e-5)
    assert not np.allclose(expected[0], expected[1], atol=1e-3) and not np.allclose(expected[1], expected[2], atol=1e-3)


def test_a_folder_that_is_no_model_cannot_be_loaded(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelError, match="'broken' cannot be loaded") as caught:
        _ = Embedder(local_model("broken", tmp_path), tmp_path / "store").model
    assert "\n" not in caught.value.message
