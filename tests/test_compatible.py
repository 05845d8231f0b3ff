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
