"""Leaderboard: what mteb asks of who submits a model: a ModelMeta to be added to its code, and results in its layout."""

from __future__ import annotations

import json
import logging
import re
import shutil
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import Any

from hfembed.hub import Published
from hfembed.push.benchmarks import TUNED
from hfembed.push.card import render_text
from hfembed.push.facts import Facts
from hfembed.push.origins import PUBLIC_HUB
from hfembed.run import LAYOUT, write_json

RESULTS, META, GUIDE = "results", "model_meta.json", "README.md"
MODEL_CODE = "https://github.com/embeddings-benchmark/mteb"
# As mteb names languages: ISO 639-3 and the script. Those that are not here are left to whoever submits.
LANGUAGES = {
    "ar": "ara-Arab", "cs": "ces-Latn", "da": "dan-Latn", "de": "deu-Latn", "el": "ell-Grek", "en": "eng-Latn",
    "es": "spa-Latn", "fi": "fin-Latn", "fr": "fra-Latn", "he": "heb-Hebr", "hi": "hin-Deva", "hu": "hun-Latn",
    "id": "ind-Latn", "it": "ita-Latn", "ja": "jpn-Jpan", "ko": "kor-Hang", "nl": "nld-Latn", "no": "nob-Latn",
    "pl": "pol-Latn", "pt": "por-Latn", "ro": "ron-Latn", "ru": "rus-Cyrl", "sv": "swe-Latn", "th": "tha-Thai",
    "tr": "tur-Latn", "uk": "ukr-Cyrl", "vi": "vie-Latn", "zh": "zho-Hans",
}  # fmt: skip
MEGABYTE = 2**20
# What looks texts up, and counts apart from what computes.
LOOKED_UP = ("word_embeddings", "embed_tokens", "embed_in", "wte")


def write_leaderboard(facts: Facts, model: Published, folder: Path) -> list[str]:
    """Write everything that a submission of a published model takes; return the names of the files."""
    from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper

    logging.getLogger("mteb").setLevel(logging.ERROR)
    values = describe(facts, model)
    meta = ModelMeta(loader=SentenceTransformerEncoderWrapper, **values)  # mteb's own checks
    results = folder / RESULTS / meta.model_name_as_path() / str(meta.revision)
    results.mkdir(parents=True)
    for row in facts.public["scores"]:
        name = f"{row['task']}.json"
        shutil.copyfile(facts.run.path(LAYOUT.tasks) / TUNED / name, results / name)
    write_json(results / META, json.loads(json.dumps(meta.to_dict(), default=str)))
    code = folder / f"{_identifier(model.repo)}_models.py"
    code.write_text(to_python(model.repo, values), encoding="utf-8")
    guide = render_text("leaderboard.md", repo=model.repo, code=code.name, mteb=MODEL_CODE, missing=_missing(values))
    (folder / GUIDE).write_text(guide, encoding="utf-8")
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def describe(facts: Facts, model: Published) -> dict[str, Any]:
    """Return the fields of the ModelMeta, as far as the run tells them."""
    folder = facts.run.path(LAYOUT.model)
    weights = _shapes(folder)
    pooling = next(folder.glob("*_Pooling/config.json"), None)
    dataset, licence = facts.recipe.push.dataset_repo, facts.licence.id
    config = _read(folder / "config_sentence_transformers.json")
    return {
        "name": model.repo,
        "revision": model.revision,
        "release_date": datetime.now(UTC).date().isoformat(),
        "languages": sorted({LANGUAGES[code] for code in facts.languages if code in LANGUAGES}) or None,
        "n_parameters": sum(prod(shape) for shape, _ in weights.values()),
        "n_embedding_parameters": sum(
            prod(shape) for name, (shape, _) in weights.items() if any(mark in name for mark in LOOKED_UP)
        ),
        "memory_usage_mb": round(sum(prod(shape) * size for shape, size in weights.values()) / MEGABYTE, 1),
        "max_tokens": _read(folder / "sentence_bert_config.json").get("max_seq_length"),
        "embed_dim": _read(pooling).get("word_embedding_dimension") if pooling else None,
        "license": licence if licence in _known_licences() else None,
        "open_weights": True,
        "public_training_code": "https://pypi.org/project/hfembed",
        "public_training_data": f"{PUBLIC_HUB}/datasets/{dataset}" if dataset else None,
        "framework": ["Sentence Transformers", "PyTorch", "safetensors", *(["ONNX"] if facts.onnx else [])],
        "reference": f"{PUBLIC_HUB}/{model.repo}",
        "similarity_fn_name": str(config.get("similarity_fn_name") or "cosine"),
        "use_instructions": any((config.get("prompts") or {}).values()),
        "training_datasets": training_datasets(facts),
        "adapted_from": facts.base.repo,
    }


def training_datasets(facts: Facts) -> set[str]:
    """Return the public tasks that training saw something of: its corpus is theirs, or texts of theirs stand in it."""
    return {
        row["task"]
        for row in facts.public["scores"]
        if (facts.corpus.repo is not None and row["dataset"] == facts.corpus.repo)
        or any((row.get("seen") or {}).values())
    }


def to_python(repo: str, values: dict[str, Any]) -> str:
    """Return the module that is added to mteb's models."""
    lines = [f"    {name}={_literal(value)}," for name, value in values.items()]
    return "\n".join(
        [
            f'"""{repo}, as mteb\'s leaderboard knows it; written by hfembed from the run that made it."""',
            "",
            "from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper",
            "",
            f"{_identifier(repo)} = ModelMeta(",
            "    loader=SentenceTransformerEncoderWrapper,",
            *lines,
            ")",
            "",
        ]
    )


def _literal(value: Any) -> str:
    if isinstance(value, set):
        return f"{{{', '.join(map(repr, sorted(value)))}}}" if value else "set()"
    return repr(value)


def _missing(values: dict[str, Any]) -> list[str]:
    """Return the fields that the run could not tell and a person should."""
    return [name for name in ("languages", "license", "public_training_data", "adapted_from") if values[name] is None]


def _identifier(repo: str) -> str:
    name = re.sub(r"\W+", "_", repo.split("/")[-1]).strip("_").lower()
    return name if name.isidentifier() else f"model_{name}"


def _shapes(folder: Path) -> dict[str, tuple[list[int], int]]:
    """Return shape and bytes per number of every tensor."""
    from safetensors import safe_open

    found: dict[str, tuple[list[int], int]] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no dictionary
                part = tensors.get_slice(name)
                found[f"{file.name}:{name}"] = (part.get_shape(), int(re.sub(r"\D", "", part.get_dtype()) or 8) // 8)
    return found


def _known_licences() -> tuple[str, ...]:
    from typing import get_args

    from mteb.types import Licenses

    return tuple(get_args(Licenses))


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
