"""What the tests of the index share: a corpus, and an index of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import some_documents, write_beir

from hfembed.index import Built, build_index

ROWS = some_documents(24)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beir(tmp_path_factory.mktemp("corpus"), ROWS)


@pytest.fixture
def built(tmp_path: Path, corpus: Path, tiny_model: Path) -> tuple[Path, Built]:
    """An index of the corpus, and what building it did."""
    return tmp_path / "index", build_index(str(corpus), str(tiny_model), tmp_path / "index")
