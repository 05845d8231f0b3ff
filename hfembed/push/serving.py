"""Serving: which engines can serve the model in a folder, judged by its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.compatible import POOLING_KEYS
from hfembed.recipe import Similarity
from hfembed.run import LAYOUT

ONNX = "model.onnx"
QUANTIZED = "model_quantized.onnx"
# What every engine that reads the transformer alone can do by itself.
PLAIN = {"Transformer", "Pooling", "Normalize"}
# How transformers.js calls the poolings it knows; text-embeddings-inference knows these and lasttoken.
JAVASCRIPT_POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class Serving:
    """What the files of a model say about serving it."""

    modules: tuple[str, ...]
    pooling: str | None
    prompts: dict[str, str]
    onnx: tuple[str, ...]
    tokenizer: bool
    similarity: str = "cosine"
    pools_prompts: bool = True

    @classmethod
    def read(cls, folder: Path) -> Serving:
        """Read the files of a sentence-transformers folder."""
        modules = _read(folder / "modules.json", [])
        names = tuple(str(module["type"]).rsplit(".", 1)[-1] for module in modules)
        places = [folder / module["path"] for module in modules if str(module["type"]).endswith(".Pooling")]
        written = _read(places[0] / "config.json", {}) if places else {}
        config = _read(folder / "config_sentence_transformers.json", {})
        prompts = config.get("prompts") or {}
        onnx = folder / Path(LAYOUT.onnx).name
        return cls(
            modules=names,
            pooling=_pooling(written) if places else None,
            prompts={name: prompt for name, prompt in prompts.items() if prompt},
            onnx=tuple(name for name in (ONNX, QUANTIZED) if (onnx / name).is_file()),
            tokenizer=(folder / "tokenizer.json").is_file(),
            similarity=str(config.get("similarity_fn_name") or "cosine"),
            pools_prompts=bool(written.get("include_prompt", True)),
        )

    @property
    def plain(self) -> bool:
        """Whether the transformer and its pooling are the whole model."""
        return bool(self.modules) and set(self.modules) <= PLAIN and self.pooling is not None

    @property
    def keeps_lengths(self) -> bool:
        """Whether vectors are compared by dot product, with the lengths that the model gives them."""
        return self.similarity == Similarity.DOT and "Normalize" not in self.modules

    @property
    def inference_server(self) -> bool:
        """Whether text-embeddings-inference serves it; no other engine leaves a prompt out of the mean."""
        return (
            self.pools_prompts and self.plain and self.tokenizer and self.pooling in (*JAVASCRIPT_POOLINGS, "lasttoken")
        )

    @property
    def javascript(self) -> bool:
        """Whether transformers.js serves it."""
        return (
            self.pools_prompts
            and self.plain
            and self.tokenizer
            and self.pooling in JAVASCRIPT_POOLINGS
            and bool(self.onnx)
        )

    @property
    def javascript_type(self) -> str:
        """What transformers.js calls the best file there is for a browser."""
        return "q8" if QUANTIZED in self.onnx else "fp32"

    def tags(self) -> list[str]:
        """Return the tags of the engines that serve it."""
        known = {
            "text-embeddings-inference": self.inference_server,
            "onnx": bool(self.onnx),
            "transformers.js": self.javascript,
        }
        return [tag for tag, fits in known.items() if fits]


def _pooling(config: dict[str, Any]) -> str | None:
    written = config.get("pooling_mode")
    modes = [written] if isinstance(written, str) else [name for name, key in POOLING_KEYS.items() if config.get(key)]
    return modes[0] if len(modes) == 1 else None


def _read(file: Path, otherwise: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else otherwise
