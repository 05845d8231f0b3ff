"""The model folder in the form that every version and engine reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hfembed.compatible import POOLING_KEYS, pooling_config, write_compatible


def test_the_rewritten_folder_gives_exactly_the_same_vectors(tiny_model: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.max_seq_length = 16
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    write_compatible(tmp_path / "model", model)
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    texts = ["the pack stays under 12.7 V", "a much longer text " * 20]
    assert loaded.max_seq_length == 16
    assert np.array_equal(loaded.encode(texts), model.encode(texts))


def test_the_files_hold_what_text_embeddings_inference_parses_as_required(tiny_model: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.save_pretrained(str(tmp_path), create_model_card=False)
    write_compatible(tmp_path, model)
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [module["type"] for module in modules] == [
        f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")
    ]
    pooling = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_cls_token"] is False and pooling["pooling_mode_mean_tokens"] is True
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == 128


@pytest.mark.parametrize("mode", POOLING_KEYS)
def test_every_pooling_mode_is_told_in_the_old_and_in_the_new_way(mode: str):
    config = pooling_config({"embedding_dimension": 8, "pooling_mode": mode, "include_prompt": False})
    assert config["pooling_mode"] == mode
    assert [key for key in POOLING_KEYS.values() if config[key]] == [POOLING_KEYS[mode]]
    assert config["word_embedding_dimension"] == 8 and config["include_prompt"] is False


def test_an_old_config_and_several_modes_at_once_are_kept():
    config = pooling_config(
        {"word_embedding_dimension": 4, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}
    )
    assert (
        config["pooling_mode_cls_token"]
        and config["pooling_mode_max_tokens"]
        and not config["pooling_mode_mean_tokens"]
    )
    assert "pooling_mode" not in config


BENCH = Path(__file__).parents[1] / "bench"
TEXTS = ["the pack stays under 12.7 V", "white lamp", "", "the ring is full " * 60]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the helpers of `make compat` importable."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def served(tiny_model: Path, tmp_path: Path) -> Path:
    """Return a folder as a run writes it, with its ONNX graph."""
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "served"
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    write_compatible(folder, model)
    (folder / "onnx").mkdir()
    _export(folder, folder / "onnx" / "model.onnx")
    return folder


def test_a_strict_parser_finds_nothing_wrong_and_both_backends_give_the_same_vectors(bench: None, served: Path):
    from compat import text_embeddings_inference as tei
    from sentence_transformers import SentenceTransformer

    reading = tei.read(served)
    assert reading.all == [] and reading.pooling == "mean" and reading.max_tokens == 128
    expected = SentenceTransformer(str(served), device="cpu").encode(TEXTS)
    for backend in tei.Backend:
        assert np.abs(tei.vectors(served, TEXTS, backend) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": None}, "missing field `pooling_mode_mean_tokens`"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": 1}, "must be bool but is 1"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "names no pooling that is supported"),
        ("sentence_bert_config.json", {"max_seq_length": None}, "missing field `max_seq_length`"),
        ("sentence_bert_config.json", {"max_seq_length": -1}, "must not be negative"),
        ("config.json", {"max_position_embeddings": "128"}, "must be int but is '128'"),
        ("config.json", {"hidden_act": None}, "missing field `hidden_act`"),
    ],
)
def test_a_field_that_an_engine_requires_is_missed(bench: None, served: Path, file: str, change: dict, sentence: str):
    from compat import text_embeddings_inference as tei

    content = {**json.loads((served / file).read_text()), **change}
    (served / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    assert any(sentence in problem for problem in tei.read(served).problems), tei.read(served).problems


def test_what_sentence_transformers_itself_writes_is_refused_by_the_strict_parser(
    bench: None, tiny_model: Path, tmp_path: Path
):
    import sentence_transformers
    from compat import text_embeddings_inference as tei
    from packaging.version import Version
    from sentence_transformers import SentenceTransformer

    if Version(sentence_transformers.__version__) < Version("5.4"):
        pytest.skip("only 5.4 and later write the new form")
    SentenceTransformer(str(tiny_model), device="cpu").save_pretrained(str(tmp_path), create_model_card=False)
    problems = " ".join(tei.read(tmp_path).problems)
    assert "max_seq_length" in problems and "pooling_mode_mean_tokens" in problems and "not parsed" in problems


def test_a_dense_layer_is_named_as_dropped_and_is_not_in_the_vectors_of_the_graph(
    bench: None, served: Path, tmp_path: Path
):
    import torch
    from compat import text_embeddings_inference as tei
    from compat.verdict import judge
    from sentence_transformers import SentenceTransformer, models

    base = SentenceTransformer(str(served), device="cpu")
    dense = models.Dense(32, 32, bias=False, activation_function=torch.nn.Identity())
    torch.nn.init.orthogonal_(dense.linear.weight)
    model = SentenceTransformer(modules=[base[0], base[1], dense, models.Normalize()], device="cpu")
    folder = tmp_path / "dense"
    model.save_pretrained(str(folder), create_model_card=False)
    write_compatible(folder, model)
    (folder / "onnx").mkdir()
    _export(folder, folder / "onnx" / "model.onnx")
    reading = tei.read(folder)
    assert reading.problems == [] and len(reading.dropped) == 1 and "2_Dense is dropped by" in reading.dropped[0]
    tuned, plain = model.encode(TEXTS), base.encode(TEXTS)
    candle, ort = (judge(backend, "", tei.vectors(folder, TEXTS, backend), tuned, plain) for backend in tei.Backend)
    assert candle.passed and not ort.passed and ort.problem == "gives the base's vectors"


def test_vectors_are_judged_by_numbers_alone(bench: None):
    from compat.verdict import judge

    tuned, base = np.eye(3, dtype=np.float32), np.roll(np.eye(3, dtype=np.float32), 1)
    assert judge("e", "1", tuned + np.float32(5e-6), tuned, base).passed
    assert judge("e", "1", tuned + np.float32(5e-5), tuned, base).problem == "gives other vectors"
    assert judge("e", "1", base, tuned, base).problem == "gives the base's vectors"
    assert not judge("e", "1", tuned * np.float32("nan"), tuned, base).passed
    assert not judge("e", "1", tuned[:2], tuned, base).passed


def _export(folder: Path, file: Path) -> None:
    """Write the transformer as a graph whose one output is the last hidden state."""
    from optimum.exporters.onnx import main_export

    main_export(str(folder), file.parent, task="feature-extraction", library_name="transformers", do_validation=False)
    for extra in file.parent.iterdir():
        if extra != file:
            extra.unlink()
