"""What the tests of the index share: a corpus, and an index of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from builders import some_documents, write_beir

from hfembed.index import Built, build_index

ROWS = some_documents(24)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beir(tmp_path_factory.mktemp("corpus"), ROWS)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tiny_model: Path) -> tuple[Path, Built]:
    folder = tmp_path_factory.mktemp("built") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFEMBED_CACHE", str(folder.parent / "cache"))
        return folder, build_index(str(corpus), str(tiny_model), folder)


@pytest.fixture
def built(built_once: tuple[Path, Built], tmp_path: Path) -> tuple[Path, Built]:
    """An index of the corpus, and what building it did; its vectors are kept nowhere else."""
    shutil.copytree(built_once[0], tmp_path / "index")
    return tmp_path / "index", built_once[1]


@pytest.fixture(scope="session")
def headed_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A tiny model with heads that have learned something."""
    import torch

    from hfembed.embed import load_model
    from hfembed.heads.files import write_heads
    from hfembed.heads.module import add_heads, heads_of
    from hfembed.hub import local_model
    from hfembed.recipe import Heads

    folder = tmp_path_factory.mktemp("headed") / "model"
    shutil.copytree(tiny_model, folder)
    heads = heads_of(add_heads(load_model(local_model("tiny", folder)), Heads(sparse=True, multi_vector=True)))
    assert heads is not None and heads.sparse_linear is not None and heads.colbert_linear is not None
    torch.manual_seed(1)
    torch.nn.init.normal_(heads.sparse_linear.weight, std=0.05)
    torch.nn.init.normal_(heads.colbert_linear.weight)
    write_heads(heads, folder)
    return folder


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 what else is in a batch moves a score in its third digit."""
    monkeypatch.setattr("hfembed.embed.has_fast_bf16", lambda _: False)


@pytest.fixture(scope="session")
def headed_once(tmp_path_factory: pytest.TempPathFactory, corpus: Path, headed_model: Path) -> tuple[Path, Built]:
    folder = tmp_path_factory.mktemp("built") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFEMBED_CACHE", str(folder.parent / "cache"))
        patch.setattr("hfembed.embed.has_fast_bf16", lambda _: False)
        return folder, build_index(str(corpus), str(headed_model), folder)


@pytest.fixture
def headed(headed_once: tuple[Path, Built], tmp_path: Path) -> tuple[Path, Built]:
    """An index of the corpus with all heads of a model."""
    shutil.copytree(headed_once[0], tmp_path / "headed")
    return tmp_path / "headed", headed_once[1]
