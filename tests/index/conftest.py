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
