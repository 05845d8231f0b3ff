"""Engines: vectors of texts that are tokens already, by onnxruntime or by torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hfembed.embed import Vectors, unit
from hfembed.encoder import keeps_lengths, pools_prompts
from hfembed.errors import ModelError, first_line
from hfembed.hub import locate_tokenizer
from hfembed.serve.choices import Backend, Precision
from hfembed.serve.model import Served, default_prompt
from hfembed.serve.tokens import Text, Tokens
from hfembed.stage import require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Ids = npt.NDArray[np.int64]

# Measured on processors with all-MiniLM-L6-v2: beyond this many tokens a batch gains nothing and leaves the caches.
CPU_TOKENS, GPU_TOKENS = 512, 32_768
# What a batch costs beside its tokens, in tokens: rather one more batch than more padding than that.
CPU_FIXED, GPU_FIXED = 8, 512
MOST_WORKERS = 8


class Engine(Protocol):
    """What computes vectors; several threads may ask at once, as many as `workers` says are worth it.

    prompts: what stands before texts, by what they are; default: before those of which nobody says it.
    """

    tokens: Tokens
    prompts: dict[str, str]
    default: str
    workers: int
    batch_tokens: int
    fixed_tokens: int

    def compute(self, texts: Sequence[Text]) -> Vectors:
        """Return the vectors of texts."""


def open_engine(served: Served, threads: int | None = None, batches: int | None = None) -> Engine:
    """Load a model.

    threads: of the processor, for one batch; all that this process may use when not given. batches: how many are
    computed at a time by onnxruntime, whose threads help with whichever needs them; one for each of them when not given.
    """
    count = threads or usable_processors()
    return OnnxEngine(served, count, batches) if served.backend is Backend.ONNX else TorchEngine(served, count)


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxEngine:
    """The graph in onnxruntime, and the pooling in numpy; needs neither torch nor transformers."""

    batch_tokens, fixed_tokens = CPU_TOKENS, CPU_FIXED

    def __init__(self, served: Served, threads: int, batches: int | None = None) -> None:
        """Load the graph of a model."""
        require("serve", "onnxruntime", "tokenizers")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Batches have ever new shapes: a plan of memory for each would only grow.
        options.enable_mem_pattern = False
        # Threads that wait do not keep a core from those who read and write requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(served.graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for every status
            raise ModelError(f"The ONNX file of '{served.name}' cannot be loaded: {first_line(error)}") from error
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._pooling = served.files.pooling
        self._scales = not served.files.keeps_lengths
        self.workers = batches or max(1, min(threads, MOST_WORKERS))
        self.tokens = _read_tokens(served)
        self.prompts = served.files.prompts
        self.default = default_prompt(served.source.path)

    def compute(self, texts: Sequence[Text]) -> Vectors:
        """Return the vectors of texts."""
        ids, mask = padded(texts, self.tokens.pad)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden, *_) = self._session.run(None, {name: feed[name] for name in self._inputs})
        vectors = self._pool(hidden, mask)
        return unit(vectors) if self._scales else vectors

    def _pool(self, hidden: Vectors, mask: Ids) -> Vectors:
        if self._pooling == "cls":
            return np.ascontiguousarray(hidden[:, 0])
        lengths = mask.sum(1)
        if self._pooling == "lasttoken":
            last: Vectors = hidden[np.arange(len(hidden)), lengths - 1]
            return last
        summed = np.einsum("bl,bld->bd", mask.astype(np.float32), hidden)
        means: Vectors = summed / lengths[:, None].astype(np.float32)
        return means


class TorchEngine:
    """The model in sentence-transformers, on the best device there is."""

    def __init__(self, served: Served, threads: int) -> None:
        """Load a model."""
        require("train", "torch", "sentence_transformers")
        import torch

        from hfembed.embed import load_model

        torch.set_num_threads(threads)
        self._model = load_model(served.source)
        self._model.eval()
        self._bf16 = served.precision is Precision.BF16
        self._scales = not keeps_lengths(self._model)
        is_cpu = self._model.device.type == "cpu"
        self.batch_tokens = CPU_TOKENS if is_cpu else GPU_TOKENS
        self.fixed_tokens = CPU_FIXED if is_cpu else GPU_FIXED
        self.workers = 1  # every thread that asks would get torch threads of its own
        self.tokens = _tokens_of(self._model)
        self.prompts = {name: prompt for name, prompt in self._model.prompts.items() if prompt}
        self.default = self.prompts.get(self._model.default_prompt_name or "", "")

    def compute(self, texts: Sequence[Text]) -> Vectors:
        """Return the vectors of texts."""
        import torch

        ids, mask = padded(texts, self.tokens.pad)
        device = self._model.device
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {*self._model.tokenizer.model_input_names, "attention_mask"}
        features = {name: torch.from_numpy(values).to(device) for name, values in features.items() if name in wanted}
        bf16 = torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16)
        first, *others = self._model
        with torch.inference_mode(), bf16:
            features = first(features)
            if any(text.skipped for text in texts):
                features["attention_mask"] = torch.from_numpy(_without_prompts(texts, mask)).to(device)
            for module in others:
                features = module(features)
        vectors: Vectors = features["sentence_embedding"].float().cpu().numpy()
        return unit(vectors) if self._scales else vectors


def padded(texts: Sequence[Text], pad: int) -> tuple[Ids, Ids]:
    """Return the ids of texts as one array, padded on the right, and which of them count."""
    width = max(len(text.ids) for text in texts)
    ids = np.full((len(texts), width), pad, np.int64)
    mask = np.zeros((len(texts), width), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = 1
    return ids, mask


def _without_prompts(texts: Sequence[Text], mask: Ids) -> Ids:
    pooled = mask.copy()
    for row, text in enumerate(texts):
        pooled[row, : text.skipped] = 0
    return pooled


def _read_tokens(served: Served) -> Tokens:
    source = locate_tokenizer(str(served.source.path))
    if source.file is None:
        raise ModelError(f"'{served.name}' has no tokenizer.json, so its texts cannot be read.", "--backend torch")
    return Tokens.read(source.file, source.max_tokens)


def _tokens_of(model: SentenceTransformer) -> Tokens:
    """Return the tokenizer of a loaded model as one of our own, with nothing shared."""
    from tokenizers import Tokenizer

    theirs = model.tokenizer
    if not theirs.is_fast:
        raise ModelError("The model's tokenizer has no fast form, so its texts cannot be read.", "Save tokenizer.json.")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return Tokens(
        Tokenizer.from_str(theirs.backend_tokenizer.to_str()),
        model.max_seq_length,
        pad=theirs.pad_token_id or 0,
        side=theirs.truncation_side,
        pools_prompts=pools_prompts(model),
    )
