"""A tiny run that is served, with the ONNX file that its export writes, and the vectors it must give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builders import make_telling, recipe_for, some_documents, write_jsonl
from serving import start

from hfembed.run import LAYOUT, Run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hfembed.serve.server import Endpoint

PROMPTS = {"query": "unit: ", "document": "part number: "}
SHORTER = [16, 8]


@pytest.fixture(scope="session")
def served_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose model has prompts, an ONNX file, and dimensions that were trained."""
    from optimum.exporters.onnx import main_export

    run = Run(tmp_path_factory.mktemp("served") / "parts")
    run.folder.mkdir()
    phase = {"method": "full", "dimensions": SHORTER}
    run.write_recipe(recipe_for("sample", f"train.phases={json.dumps([phase])}"))
    model = run.path(LAYOUT.model)
    make_telling(tiny_model, model)
    config = model / "config_sentence_transformers.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prompts": PROMPTS, "default_prompt_name": None}))
    tokenizer = model / "tokenizer.json"
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    tokenizer.write_text(json.dumps({**json.loads(tokenizer.read_text(encoding="utf-8")), "decoder": decoder}))
    main_export(
        str(model), run.path(LAYOUT.onnx), task="feature-extraction", library_name="transformers",
        do_validation=False, device="cpu",
    )  # fmt: skip
    documents = some_documents(24)
    test = run.path(LAYOUT.test)
    write_jsonl(test / "corpus.jsonl", documents)
    queries = [{"_id": f"q{at}", "text": document["title"]} for at, document in enumerate(documents)]
    write_jsonl(test / "queries.jsonl", queries)
    (test / "qrels").mkdir()
    rows = "".join(f"q{at}\t{document['_id']}\t1\n" for at, document in enumerate(documents))
    (test / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8")
    return run.folder


@pytest.fixture(scope="session")
def reference(served_run: Path) -> SentenceTransformer:
    """Return the same model in sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(served_run / "model"), device="cpu")


@pytest.fixture(scope="session")
def endpoint(served_run: Path) -> Iterator[Endpoint]:
    """Return a server that all tests of a worker share."""
    with start(served_run) as running:
        yield running
