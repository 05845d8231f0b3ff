"""Embeddings: every text is encoded once per model, and what was encoded stays in the run."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hfembed import engine
from hfembed.encoder import keeps_lengths, lost_ends, open_encoder
from hfembed.errors import ModelError, first_line
from hfembed.events import Reporter, silent
from hfembed.hub import ModelSource
from hfembed.ranking import mean_ndcg, top_documents
from hfembed.run import hash_json, write_json
from hfembed.stage import require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]

BLOCK = 512
BATCH = 32
PROBE_TEXTS = 48
PROBE_QUERY_WORDS = 6
LENGTHS_LOOKED_AT = 64
# The fast precision is used only while it moves nDCG@10 of the probe by less than this.
MAX_PRECISION_LOSS = 0.01


class Role(StrEnum):
    """What a text is to the model; each role has its own prompt."""

    QUERY = "query"
    DOCUMENT = "document"


# What a model may call the prompt of a role; the first that it has counts.
PROMPT_NAMES = {Role.QUERY: ("query",), Role.DOCUMENT: ("document", "passage", "corpus")}


class Precision(StrEnum):
    """The arithmetic texts are encoded in."""

    FP32 = "fp32"
    BF16 = "bf16"


class Embedder:
    """A model and the store of what it has encoded."""

    def __init__(
        self,
        source: ModelSource,
        folder: Path,
        report: Reporter | None = None,
        load: Callable[[ModelSource], SentenceTransformer] | None = None,
    ) -> None:
        """Use the model of `source`; keep embeddings below `folder`. load: where it may be in memory already."""
        self.source = source
        self._load = load
        self._folder = folder / hash_json([source.fingerprint])[:16]
        self._report = report or silent()

    @cached_property
    def model(self) -> SentenceTransformer:
        """The loaded model; untouched while everything asked for is in the store."""
        return (self._load or load_model)(self.source)

    def lacks(self, texts: Sequence[str]) -> int:
        """Return how many documents have yet to be encoded."""
        file = self._folder / "precision.json"
        known = json.loads(file.read_text(encoding="utf-8"))["precision"] if file.is_file() else None
        if known is None:
            return len(texts)
        store = VectorStore(self._folder / f"{Role.DOCUMENT}-{Precision(known)}")
        return sum(np.uint64(text_key(text)) not in store for text in texts)

    def documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of documents, in order: of length one, unless the model compares by dot product."""
        return self._vectors(texts, Role.DOCUMENT)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, in order: of length one, unless the model compares by dot product."""
        return self._vectors(texts, Role.QUERY)

    def precision(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the precision used for this model, with its measured effect; measured on first use."""
        file = self._folder / "precision.json"
        if file.is_file():
            known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return known
        self._folder.mkdir(parents=True, exist_ok=True)
        if lost := lost_ends(self.model, texts):
            self._report.warn(lost)
        measured = measure_precision(self.model, texts)
        write_json(file, {"model": self.source.name, **measured})
        self._report.note(describe_precision(measured), **measured)
        return measured

    def _vectors(self, texts: Sequence[str], role: Role) -> Vectors:
        precision = Precision(self.precision(texts)["precision"])
        store = VectorStore(self._folder / f"{role}-{precision}")
        keys = np.array([text_key(text) for text in texts], dtype=np.uint64)
        missing = [at for at in _first_places(keys) if keys[at] not in store]
        if missing:
            plural = {Role.QUERY: "queries", Role.DOCUMENT: "documents"}[role]
            task = self._report.task(f"encoding {plural} with {self.source.name}", len(missing), plural)
            blocks = [missing[start : start + BLOCK] for start in range(0, len(missing), BLOCK)]
            asked = ((role, [texts[at] for at in block]) for block in blocks)
            work = Encoding(self.source, precision, lambda: self.model)
            made = engine.current().map(work, asked, len(blocks), self._report)
            for block, vectors in zip(blocks, made, strict=True):
                store.append(keys[block], vectors)
                task.advance(len(block))
            task.finish()
        return store.rows(keys)


class Encoding:
    """Encodes blocks of texts, each in one role; in another process with a model that is loaded there."""

    on_gpu = True

    def __init__(self, source: ModelSource, precision: Precision, model: Callable[[], SentenceTransformer]) -> None:
        """Encode with `model`, which is that of `source`."""
        self.files: Mapping[str, Path] = {"model": source.path}
        self._source, self._precision, self._model = source, precision, model

    def __call__(self, block: tuple[Role, list[str]]) -> Vectors:
        """Return the vectors of a block."""
        role, texts = block
        return encode(self._model(), texts, role, self._precision)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind."""
        return {name: value for name, value in self.__dict__.items() if name != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load it once, when the first block comes: only then is it known where it lies."""
        self.__dict__.update(state)
        self._model = lru_cache(lambda: load_model(replace(self._source, path=self.files["model"])))


class VectorStore:
    """Vectors by text key, appended block by block; a block counts once its index line is written."""

    def __init__(self, folder: Path) -> None:
        """Open the store, dropping what a killed process left half-written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._vectors, self._keys, self._state = folder / "vectors.f32", folder / "keys.u64", folder / "state.json"
        state = json.loads(self._state.read_text(encoding="utf-8")) if self._state.exists() else {}
        self._count, self._width = int(state.get("count", 0)), int(state.get("width", 0))
        if self._count and self._is_short():
            self._count = 0  # a file lost its end, as after a power cut: encode again rather than guess
        for file, size in ((self._vectors, self._count * self._width * 4), (self._keys, self._count * 8)):
            with file.open("ab") as handle:
                handle.truncate(size)
        self._index()

    def __contains__(self, key: np.uint64) -> bool:
        """Tell whether a text's vector is here."""
        place = int(np.searchsorted(self._sorted, key))
        return place < len(self._sorted) and bool(self._sorted[place] == key)

    def append(self, keys: npt.NDArray[np.uint64], vectors: Vectors) -> None:
        """Add one block."""
        with self._vectors.open("ab") as handle:
            handle.write(np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
        with self._keys.open("ab") as handle:
            handle.write(keys.tobytes())
        self._count, self._width = self._count + len(keys), vectors.shape[1]
        write_json(self._state, {"count": self._count, "width": self._width})
        self._index()

    def rows(self, keys: npt.NDArray[np.uint64]) -> Vectors:
        """Return the vectors of keys; a run of neighbours stays on disk as a memory map."""
        if not len(keys):
            return np.zeros((0, self._width), dtype=np.float32)
        vectors = np.memmap(self._vectors, dtype=np.float32, mode="r", shape=(self._count, self._width))
        places = self._order[np.searchsorted(self._sorted, keys)]
        if np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            return vectors[places[0] : places[0] + len(places)]
        return np.asarray(vectors[places])

    def _is_short(self) -> bool:
        wanted = {self._vectors: self._count * self._width * 4, self._keys: self._count * 8}
        return any(not file.exists() or file.stat().st_size < size for file, size in wanted.items())

    def _index(self) -> None:
        keys = np.fromfile(self._keys, dtype=np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]


def load_model(source: ModelSource, **options: Any) -> SentenceTransformer:
    """Load a model the safe way: safetensors, no code from the repo. options: of the transformer alone."""
    require("train", "torch", "sentence_transformers")
    for noisy in ("sentence_transformers", "transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        return open_encoder(source.path, source.encoder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"Model '{source.name}' cannot be loaded: {first_line(error)}",
            "Name a sentence-transformers or transformers encoder; code from a repo is never run.",
        ) from error


def encode(model: SentenceTransformer, texts: Sequence[str], role: Role, precision: Precision) -> Vectors:
    """Return the vectors of texts in one role, with that role's prompt; of length one, unless lengths count."""
    import torch

    function = model.encode_query if role is Role.QUERY else model.encode_document
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16):
        encoded = function(list(texts), batch_size=BATCH, convert_to_tensor=True, show_progress_bar=False)
    vectors: Vectors = encoded.float().cpu().numpy()
    return vectors if keeps_lengths(model) else unit(vectors)


def prompt_of(model: SentenceTransformer, role: Role) -> str:
    """Return the text that sentence-transformers puts before texts of a role."""
    return next((model.prompts[name] or "" for name in PROMPT_NAMES[role] if name in model.prompts), "")


def unit(vectors: Vectors) -> Vectors:
    """Scale rows to length one."""
    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def of_unit_length(vectors: Vectors) -> bool:
    """Tell whether vectors are compared by cosine: those of a model whose lengths count are not all alike."""
    lengths = np.linalg.norm(np.asarray(vectors[:: max(1, len(vectors) // LENGTHS_LOOKED_AT)]), axis=1)
    return bool(np.allclose(lengths[lengths > 0], 1.0, atol=1e-3))


def measure_precision(model: SentenceTransformer, texts: Sequence[str]) -> dict[str, Any]:
    """Choose the fastest precision this processor is built for, and measure what it costs.

    The choice depends on the hardware and on quality, never on a stopwatch, so that two runs on one
    machine always choose alike.
    """
    if not has_fast_bf16(model.device.type):
        return {"precision": Precision.FP32, "ndcg_delta": 0.0, "max_cosine_distance": 0.0, "speedup": 1.0, "texts": 0}
    sample = list(texts[:: max(1, len(texts) // PROBE_TEXTS)][:PROBE_TEXTS])
    questions = [" ".join(text.split()[:PROBE_QUERY_WORDS]) for text in sample]
    encode(model, sample[:BATCH], Role.DOCUMENT, Precision.BF16)  # warm up
    seconds, documents, scores = {}, {}, {}
    for precision in Precision:
        started = time.perf_counter()
        documents[precision] = encode(model, sample, Role.DOCUMENT, precision)
        seconds[precision] = time.perf_counter() - started
        queries = encode(model, questions, Role.QUERY, precision)
        ranked = top_documents(queries, documents[precision], 10)
        scores[precision] = mean_ndcg(ranked, np.arange(len(sample)))
    delta = scores[Precision.BF16] - scores[Precision.FP32]
    distance = 1 - (unit(documents[Precision.FP32]) * unit(documents[Precision.BF16])).sum(1).min()
    good = delta >= -MAX_PRECISION_LOSS
    return {
        "precision": Precision.BF16 if good else Precision.FP32,
        "ndcg_delta": round(float(delta), 5),
        "max_cosine_distance": round(float(distance), 6),
        "speedup": round(seconds[Precision.FP32] / seconds[Precision.BF16], 2),
        "texts": len(sample),
    }


def has_fast_bf16(device: str) -> bool:
    """Tell whether the hardware multiplies bf16 matrices natively."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # torch keeps these checks private; without them fp32 is always right.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def describe_precision(measured: dict[str, Any]) -> str:
    """Say in words which precision is used and why."""
    if not measured["texts"]:
        return "encoding in fp32: this processor has no faster precision"
    return (
        f"encoding in {measured['precision']}: bf16 is {measured['speedup']:.1f} times as fast here and moves "
        f"nDCG@10 of {measured['texts']} texts by {measured['ndcg_delta']:+.4f}"
    )


def text_key(text: str) -> int:
    """Return the key under which a text's vector is kept."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _first_places(keys: npt.NDArray[np.uint64]) -> list[int]:
    return sorted(int(place) for place in np.unique(keys, return_index=True)[1])
