"""The files of a model as every engine reads them: old and new sentence-transformers, and those that parse by hand.

sentence-transformers 5.4 and later write new class paths and one pooling key. Older versions cannot load
that, and text-embeddings-inference and others parse the old keys as required fields. The old form, with
the new key beside it, is read alike by all of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.run import write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CLASSES = ("Transformer", "Pooling", "Normalize", "Dense")
POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def write_compatible(folder: Path, model: SentenceTransformer) -> None:
    """Rewrite what `save_pretrained` just wrote to `folder` in the form that every engine reads."""
    modules: list[dict[str, Any]] = _read(folder / "modules.json")
    for module in modules:
        name = module["type"].rsplit(".", 1)[-1]
        if name in CLASSES:
            module["type"] = f"sentence_transformers.models.{name}"
        if name == "Pooling":
            file = folder / module["path"] / "config.json"
            write_json(file, pooling_config(_read(file)))
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": model.max_seq_length, "do_lower_case": False})


def pooling_config(written: dict[str, Any]) -> dict[str, Any]:
    """Return a pooling config with the keys of every version."""
    modes = written.get("pooling_mode") or [name for name, key in POOLING_KEYS.items() if written.get(key)]
    modes = [modes] if isinstance(modes, str) else modes
    width = written.get("word_embedding_dimension", written.get("embedding_dimension"))
    flags = {key: name in modes for name, key in POOLING_KEYS.items()}
    # The new key takes one name everywhere; several modes at once are told by the flags alone.
    new = {"pooling_mode": modes[0]} if len(modes) == 1 else {}
    return {"word_embedding_dimension": width, **flags, **new, "include_prompt": written.get("include_prompt", True)}


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
