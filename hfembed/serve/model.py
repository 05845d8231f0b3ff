"""The model that is served: where its files are, how it is computed, and what may be asked of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.errors import InputError, ModelError
from hfembed.hub import ModelSource, bring_graph, locate_tokenizer
from hfembed.push.serving import ONNX, QUANTIZED, Serving
from hfembed.recipe import Encoder, Recipe, Tuning, read_recipe
from hfembed.resources import local_path
from hfembed.run import LAYOUT
from hfembed.serve.choices import Backend, Precision, Wishes
from hfembed.stage import locate_encoder

# What is computed from the graph's last hidden state here; sentence-transformers computes the others.
POOLINGS = ("mean", "cls", "lasttoken")


@dataclass(frozen=True)
class Served:
    """A model to be served.

    graph: its ONNX file, where that is what computes. dimensions: the shorter vectors that it was trained to give.
    """

    name: str
    source: ModelSource
    backend: Backend
    precision: Precision
    graph: Path | None
    files: Serving
    dimensions: tuple[int, ...]


def find_served(model: str, wishes: Wishes) -> Served:
    """Find a model by a folder, a run, a Hub id or a recipe, and settle what computes it.

    ONNX where the model has such a file that gives its vectors, else torch.
    """
    folder, source = local_path(model), locate_encoder(model)
    files = Serving.read(source.path)
    backend, graph = _backend(source, files, wishes)
    written = folder / LAYOUT.recipe if folder is not None else None
    recipe = read_recipe(written) if written is not None and written.is_file() else None
    return Served(
        name=wishes.name or source.name,
        source=source,
        backend=backend,
        precision=wishes.precision,
        graph=graph,
        files=files,
        dimensions=tuple(sorted({*wishes.dimensions, *(trained_dimensions(recipe) if recipe else ())})),
    )


def trained_dimensions(recipe: Recipe) -> set[int]:
    """Return the shorter vectors that the phases of a recipe train, too."""
    return {width for phase in recipe.train.phases if isinstance(phase, Tuning) for width in phase.dimensions}


def _backend(source: ModelSource, files: Serving, wishes: Wishes) -> tuple[Backend, Path | None]:
    if wishes.backend is Backend.TORCH or (wishes.backend is None and wishes.precision is Precision.BF16):
        if wishes.precision is Precision.INT8:
            raise InputError("torch computes in fp32 or bf16, not in int8.", "Leave out --backend torch.")
        return Backend.TORCH, None
    reason, graph = _why_no_graph(source, files, wishes.precision), None
    if reason is None:
        name = QUANTIZED if wishes.precision is Precision.INT8 else ONNX
        graph = bring_graph(source, f"{Path(LAYOUT.onnx).name}/{name}")
        reason = None if graph else f"it has no {Path(LAYOUT.onnx).name}/{name}"
    if graph is not None:
        return Backend.ONNX, graph
    if wishes.backend is Backend.ONNX or wishes.precision is Precision.INT8:
        raise ModelError(
            f"'{source.name}' cannot be served from an ONNX file: {reason}.",
            "hfembed export RUN writes that of a run; --backend torch needs none.",
        )
    return Backend.TORCH, None


def _why_no_graph(source: ModelSource, files: Serving, precision: Precision) -> str | None:
    """Return why no ONNX file gives the vectors of a model; None where one may."""
    if precision is Precision.BF16:
        return "in bf16 only torch computes"
    if source.encoder != Encoder():
        return "a recipe says otherwise than its files how it is used"
    if not files.plain or files.pooling not in POOLINGS:
        return f"beside the graph it needs {', '.join(files.modules) or 'to be told how it pools'}"
    if files.prompts and not files.pools_prompts:
        return "it leaves its prompts out of what it pools"
    tokenizer = locate_tokenizer(str(source.path)).file
    if tokenizer is None:
        return "it has no tokenizer.json"
    if (_read(tokenizer.parent / "sentence_bert_config.json") or {}).get("do_lower_case"):
        return "its texts are lowered before they are read"
    return None


def default_prompt(folder: Path) -> str:
    """Return what stands before a text of which nobody says what it is; nothing for most models."""
    written = _read(folder / "config_sentence_transformers.json") or {}
    return (written.get("prompts") or {}).get(written.get("default_prompt_name")) or ""


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
