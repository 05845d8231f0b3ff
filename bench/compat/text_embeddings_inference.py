"""A strict parser of the files that text-embeddings-inference reads, and the vectors that follow from them.

text-embeddings-inference itself is not run. Which fields are required, and of what type, is read from its
source: `router/src/lib.rs` (config.json, 1_Pooling, sentence_*_config.json, tokenizer.json),
`backends/src/lib.rs` (modules.json), `backends/candle/src/models/{bert,dense}.rs`, `backends/ort/src/lib.rs`.
Where its versions differ, what any of them requires is required here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
# Token ids to the last hidden states, or to one vector where the graph pools by itself.
Encode = Callable[[list[int]], tuple[Vectors, bool]]


class Backend(StrEnum):
    """The backends of text-embeddings-inference that serve on a CPU."""

    CANDLE = "candle"
    ORT = "ort"


# In the order in which they are looked for.
SENTENCE_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
MODULE_PREFIX = "sentence_transformers.models."
MODULES = ("Dense", "Normalize", "Pooling", "Transformer")
DENSE_ACTIVATIONS = ("torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity")
MODEL_FIELDS: dict[str, type] = {"architectures": list, "model_type": str, "max_position_embeddings": int}
BERT_FIELDS: dict[str, type] = {
    "vocab_size": int,
    "hidden_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "intermediate_size": int,
    "hidden_act": str,
    "hidden_dropout_prob": float,
    "type_vocab_size": int,
    "initializer_range": float,
    "layer_norm_eps": float,
    "pad_token_id": int,
}
POOLING_FIELDS: dict[str, type] = {
    "pooling_mode_cls_token": bool,
    "pooling_mode_mean_tokens": bool,
    "pooling_mode_max_tokens": bool,
    "pooling_mode_mean_sqrt_len_tokens": bool,
}
# What a plain reader of the transformer alone drops without a word.
DROPPED_BY = "text-embeddings-inference's ort backend, optimum, transformers.js, infinity and plain transformers"


@dataclass
class Reading:
    """What text-embeddings-inference makes of a folder: problems that stop it, and layers it would drop."""

    problems: list[str] = field(default_factory=list)
    pooling: str = ""
    max_tokens: int = 0
    dense: list[str] = field(default_factory=list)
    # Sentences on which engine would serve other vectors than sentence-transformers does.
    dropped: list[str] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> list[str]:
        """Everything that is wrong."""
        return [*self.problems, *self.dropped]


def read(folder: Path) -> Reading:
    """Parse every file as strictly as text-embeddings-inference does."""
    reading = Reading()
    config = _fields(reading, folder / "config.json", MODEL_FIELDS)
    if config.get("model_type") == "bert":
        _fields(reading, folder / "config.json", BERT_FIELDS)
    _read_pooling(reading, folder)
    _read_length(reading, folder, config)
    _read_tokenizer(reading, folder)
    _read_modules(reading, folder)
    _read_weights(reading, folder)
    _read_graph(reading, folder)
    _read_prompts(reading, folder)
    return reading


def _read_pooling(reading: Reading, folder: Path) -> None:
    pooling = _fields(reading, folder / "1_Pooling" / "config.json", POOLING_FIELDS)
    if pooling.get("pooling_mode_cls_token"):
        reading.pooling = "cls"
    elif pooling.get("pooling_mode_mean_tokens"):
        reading.pooling = "mean"
    elif pooling.get("pooling_mode_lasttoken"):
        reading.pooling = "lasttoken"
    else:
        reading.problems.append("1_Pooling/config.json names no pooling that is supported: cls, mean or lasttoken")


def _read_length(reading: Reading, folder: Path, config: dict[str, Any]) -> None:
    found = next((name for name in SENTENCE_CONFIGS if (folder / name).is_file()), None)
    if found is None:
        # Legal, but then texts are cut elsewhere than in sentence-transformers.
        reading.dropped.append(f"no {SENTENCE_CONFIGS[0]}: the length limit of the model is not kept")
        reading.max_tokens = int(config.get("max_position_embeddings", 0))
        return
    reading.max_tokens = _fields(reading, folder / found, {"max_seq_length": int}).get("max_seq_length") or 0


def _read_tokenizer(reading: Reading, folder: Path) -> None:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        reading.problems.append("tokenizer.json is missing: only fast tokenizers are supported")
        return
    try:
        Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for whatever does not parse
        reading.problems.append(f"tokenizer.json does not parse: {error}")


def _read_modules(reading: Reading, folder: Path) -> None:
    # An unknown type is only a warning there, but every Dense layer is lost with it.
    modules = _json(reading, folder / "modules.json")
    if not isinstance(modules, list):
        return
    for number, module in enumerate(modules):
        _check(reading, f"modules.json[{number}]", module, {"idx": int, "name": str, "path": str, "type": str})
    types = [str(module.get("type")) for module in modules]
    unknown = [name for name in types if name not in {MODULE_PREFIX + known for known in MODULES}]
    reading.problems += [f"modules.json has a type that is not parsed: {name}" for name in unknown]
    reading.dense = [module["path"] for module in modules if str(module.get("type")).rsplit(".", 1)[-1] == "Dense"]
    for path in reading.dense:
        if unknown:
            reading.dropped.append(f"{path} is dropped by every backend: modules.json does not parse")
        reading.dropped.append(f"{path} is dropped by {DROPPED_BY}")
        _read_dense(reading, folder / path)


def _read_dense(reading: Reading, folder: Path) -> None:
    fields: dict[str, type] = {"in_features": int, "out_features": int, "bias": bool}
    config = _fields(reading, folder / "config.json", fields)
    activation = config.get("activation_function")
    if activation is not None and activation not in DENSE_ACTIVATIONS:
        reading.problems.append(f"{folder.name}/config.json has an unknown activation_function: {activation}")
    if not ((folder / "model.safetensors").is_file() or (folder / "pytorch_model.bin").is_file()):
        reading.problems.append(f"{folder.name} has no weights")


def _read_weights(reading: Reading, folder: Path) -> None:
    from safetensors import safe_open

    names = ["model.safetensors"]
    if not (folder / names[0]).is_file():
        index = _json(reading, folder / "model.safetensors.index.json")
        names = sorted(set(index.get("weight_map", {}).values())) if isinstance(index, dict) else []
    for name in names:
        if not (folder / name).is_file():
            reading.problems.append(f"{name} is missing")
            continue
        with safe_open(folder / name, framework="numpy") as tensors:
            kinds = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118 (no dict)
        if not kinds <= {"F32", "F16", "BF16", "I64", "I32", "U8"}:
            reading.problems.append(f"{name} holds tensors of kinds that are not read: {sorted(kinds)}")


def _read_graph(reading: Reading, folder: Path) -> None:
    import onnxruntime

    file = onnx_file(folder)
    if file is None:
        reading.problems.append("neither model.onnx nor onnx/model.onnx: the ort backend does not start")
        return
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    known = {"input_ids", "attention_mask", "token_type_ids", "input_type", "position_ids"}
    inputs = {entry.name for entry in session.get_inputs()}
    if not {"input_ids", "attention_mask"} <= inputs <= known:
        reading.problems.append(f"{file.name} has inputs that are not fed: {sorted(inputs)}")
    outputs = {entry.name: entry.type for entry in session.get_outputs()}
    wanted = [name for name in ("sentence_embedding", "last_hidden_state", "token_embeddings") if name in outputs]
    if not wanted:
        reading.problems.append(f"{file.name} has no output that is read: {sorted(outputs)}")
    elif outputs[wanted[0]] != "tensor(float)":
        reading.problems.append(f"{file.name}: {wanted[0]} is {outputs[wanted[0]]}, only float32 is read")


def _read_prompts(reading: Reading, folder: Path) -> None:
    config = _json(reading, folder / "config_sentence_transformers.json")
    prompts = config.get("prompts") if isinstance(config, dict) else None
    if prompts is None:
        return
    if isinstance(prompts, dict) and all(isinstance(text, str) for text in prompts.values()):
        reading.prompts = prompts
    else:
        reading.problems.append("config_sentence_transformers.json: prompts must map names to texts")


def onnx_file(folder: Path) -> Path | None:
    """Return the graph that the ort backend takes."""
    return next((file for file in (folder / "model.onnx", folder / "onnx" / "model.onnx") if file.is_file()), None)


def vectors(folder: Path, texts: Sequence[str], backend: Backend) -> Vectors:
    """Return what text-embeddings-inference computes from these files, unit length, from what it parsed alone."""
    reading = read(folder)
    if reading.problems:
        raise ValueError("; ".join(reading.problems))
    graph = onnx_file(folder)
    call = load_graph(graph) if backend is Backend.ORT and graph else _candle(folder)
    rows = []
    for ids in token_ids(folder, texts, reading.max_tokens):
        vector = pooled(reading.pooling, *call(ids))
        for path in reading.dense if backend is Backend.CANDLE else []:
            vector = _dense(folder / path, vector)
        rows.append(vector)
    return unit(rows)


def token_ids(folder: Path, texts: Sequence[str], limit: int | None) -> list[list[int]]:
    """Return the tokens of texts as tokenizer.json gives them, cut where a limit is given."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if limit is not None:
        tokenizer.enable_truncation(limit)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def pooled(mode: str, hidden: Vectors, is_pooled: bool) -> Vectors:
    """Return one vector for a text's last hidden states."""
    if is_pooled:
        return hidden
    return np.asarray({"cls": hidden[0], "mean": hidden.mean(axis=0), "lasttoken": hidden[-1]}[mode])


def unit(rows: list[Vectors]) -> Vectors:
    """Return vectors at length one."""
    result = np.stack(rows)
    return np.asarray(result / np.linalg.norm(result, axis=1, keepdims=True), dtype=np.float32)


def _candle(folder: Path) -> Encode:
    # The transformer alone, from config.json and the safetensors; torch stands in for candle's arithmetic.
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()

    def call(ids: list[int]) -> tuple[Vectors, bool]:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy(), False

    return call


def load_graph(graph: Path) -> Encode:
    """Return a graph in onnxruntime as a function."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    inputs = {entry.name for entry in session.get_inputs()}
    outputs = [entry.name for entry in session.get_outputs()]
    name = next(name for name in ("sentence_embedding", "last_hidden_state", "token_embeddings") if name in outputs)

    def call(ids: list[int]) -> tuple[Vectors, bool]:
        row = np.array([ids], dtype=np.int64)
        feeds = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "token_type_ids": np.zeros_like(row),
            "input_type": np.zeros_like(row),
            "position_ids": np.arange(len(ids), dtype=np.int64)[None],
        }
        answer = session.run([name], {key: value for key, value in feeds.items() if key in inputs})
        return answer[0][0], name == "sentence_embedding"

    return call


def _dense(folder: Path, vector: Vectors) -> Vectors:
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    out = weights["linear.weight"] @ vector + weights.get("linear.bias", np.float32(0))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return np.tanh(out) if config.get("activation_function") == DENSE_ACTIVATIONS[0] else out


def _fields(reading: Reading, file: Path, fields: dict[str, type]) -> dict[str, Any]:
    content = _json(reading, file)
    name = f"{file.parent.name}/{file.name}" if file.parent.name == "1_Pooling" else file.name
    _check(reading, name, content, fields)
    return content if isinstance(content, dict) else {}


def _check(reading: Reading, name: str, content: Any, fields: dict[str, type]) -> None:
    """Every field is there and of its type; serde takes a whole number for a float, but no number for a bool."""
    if content is None:
        return
    if not isinstance(content, dict):
        reading.problems.append(f"{name} must be an object")
        return
    for key, kind in fields.items():
        if key not in content:
            reading.problems.append(f"{name}: missing field `{key}`")
            continue
        value = content[key]
        allowed = (int, float) if kind is float else (kind,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            reading.problems.append(f"{name}: `{key}` must be {kind.__name__} but is {value!r}")
        elif kind is int and value < 0:
            reading.problems.append(f"{name}: `{key}` must not be negative but is {value}")


def _json(reading: Reading, file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"{file.parent.name}/{file.name} is missing"
    except ValueError as error:
        problem = f"{file.name} does not parse: {error}"
    if problem not in reading.problems:
        reading.problems.append(problem)
    return None
