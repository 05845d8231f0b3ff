"""The snippets of both cards, run as a reader would run them: against a live Hub, each engine in its own process."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi
from told import open_hub, tell_run

from hfembed.export import _write_graph
from hfembed.push import dataset_files, run_facts
from hfembed.push.card import python_text, shell_request
from hfembed.push.model_card import model_card
from hfembed.push.serving import Serving
from hfembed.run import LAYOUT

pytestmark = pytest.mark.xdist_group("cards")

MODEL, DATASET = "demo/unit-search", "demo/unit-triplets"
SNIPPET = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BASE = "sentence-transformers/all-MiniLM-L6-v2"
# Where the snippets for text-embeddings-inference expect it.
ENGINE = "http://127.0.0.1:8080"
BENCH = Path(__file__).parents[1] / "bench"


@dataclass(frozen=True)
class Shown:
    """A published model with its cards: where it lies, and the snippets by language."""

    folder: Path
    snippets: list[tuple[str, str]]
    query: str

    def of(self, language: str) -> list[str]:
        """Return the snippets in one language."""
        return [code for name, code in self.snippets if name == language]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """A live Hub, and this process's client pointed at it."""
    with open_hub(tmp_path / "hub", monkeypatch) as client:
        yield client


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The run whose every word is known, with an ONNX file beside its model."""
    folder = tmp_path_factory.mktemp("exported")
    run = tell_run(folder / "run", tiny_model)
    onnx = run.path(LAYOUT.onnx)
    onnx.mkdir()
    shutil.copyfile(_write_graph(run.path(LAYOUT.model), folder / "work"), onnx / "model.onnx")
    return run.folder


@pytest.fixture
def shown(exported: Path, api: HfApi, tmp_path: Path) -> Shown:
    """Publish it."""
    from hfembed.run import Run

    facts = run_facts(Run(exported))
    folder = tmp_path / "model"
    shutil.copytree(facts.run.path(LAYOUT.model), folder)
    serving = Serving.read(folder)
    assert {"onnx", "transformers.js", "text-embeddings-inference"} <= set(serving.tags())
    card = model_card(facts, MODEL, DATASET, serving, [])
    (folder / "README.md").write_text(card, encoding="utf-8")
    files = dict(dataset_files(facts, DATASET, tmp_path / "data", MODEL))
    api.create_repo(MODEL)
    api.create_repo(DATASET, repo_type="dataset")
    api.upload_folder(repo_id=MODEL, folder_path=folder, ignore_patterns=["manifest.json"])
    for name, content in files.items():
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=DATASET, repo_type="dataset")
    readme = files["README.md"]
    assert isinstance(readme, bytes)
    query = facts.changes.to_try[0].query
    return Shown(folder, SNIPPET.findall(card) + SNIPPET.findall(readme.decode()), query)


@contextmanager
def serve_engine(folder: Path) -> Iterator[str]:
    """Serve a model in a process of its own, as the inference engine would."""
    command = [sys.executable, str(Path(__file__).with_name("engine.py")), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http"), "the engine did not start"
            yield address
        finally:
            process.kill()


def expected(shown: Shown) -> np.ndarray:
    """Return the vector that every engine must give."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(shown.folder), device="cpu").encode([shown.query])[0]


RUN_SNIPPETS = """
import json, sys
for code in json.load(sys.stdin):
    print(">>>", code.splitlines()[0], flush=True)
    exec(compile(code, "snippet", "exec"), {})
print("all ran")
"""


def environment(api: HfApi) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": api.endpoint, "HF_TOKEN": str(api.token), "HF_HUB_OFFLINE": "0"}


def test_every_python_snippet_of_both_cards_runs_against_a_hub(
    shown: Shown, api: HfApi, tiny_model: Path, tmp_path: Path
):
    python = shown.of("python")
    assert len(python) == 5
    for code in python:
        ast.parse(code)
    # Real: the Hub, datasets, sentence-transformers with both backends, the training, the client of the engine, HTTP.
    # Stand-ins: the tiny model for the base, which is not on this Hub, and tests/engine.py for the engine.
    with serve_engine(shown.folder) as engine:
        runnable = [code.replace(BASE, str(tiny_model)).replace(ENGINE, engine) for code in python]
        assert sum(engine in code for code in runnable) == 1
        done = subprocess.run(
            [sys.executable, "-c", RUN_SNIPPETS], input=json.dumps(runnable), cwd=tmp_path,
            env=environment(api), capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0 and "all ran" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "tuned" / "final" / "model.safetensors").is_file()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_engine_gives_the_models_vector_to_the_snippet_for_a_shell(shown: Shown, tmp_path: Path):
    """Ask as the card says; the command in front of it is read for its syntax, and tests/engine.py is what answers."""
    start, ask = shown.of("bash")
    parsed = subprocess.run(["bash", "-n", "-c", start], capture_output=True, text=True, timeout=10)
    assert parsed.returncode == 0, parsed.stderr
    words = shlex.split(start.replace("\\\n", " "))
    assert words[:4] == ["docker", "run", "-p", "8080:80"] and words[-2:] == ["--model-id", MODEL]
    with serve_engine(shown.folder) as engine:
        done = subprocess.run(
            ["bash", "-ec", ask.replace(ENGINE, engine)], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    (vector,) = json.loads(done.stdout)
    assert np.abs(np.array(vector) - expected(shown)).max() < 1e-5


JAVASCRIPT = """
import {{ env }} from "@huggingface/transformers";
env.remoteHost = process.env.HF_ENDPOINT + "/";
env.allowLocalModels = false;
env.cacheDir = process.env.HF_HOME + "/javascript";
{snippet}
console.log(JSON.stringify(vectors.tolist()));
"""


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The folder that holds transformers.js: the one of `make compat`, filled the first time."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        environments = importlib.import_module("compat.environments")
    try:
        folder: Path = environments.node_folder(environments.NODE_CLIENT)
    except environments.NotInstalledError as error:
        pytest.skip(f"transformers.js cannot be installed: {error}")
    return folder / "node_modules"


def test_the_javascript_snippet_runs_under_node(shown: Shown, api: HfApi, node_modules: Path, tmp_path: Path):
    (tmp_path / "node_modules").symlink_to(node_modules)
    (snippet,) = shown.of("js")
    (tmp_path / "snippet.mjs").write_text(JAVASCRIPT.format(snippet=snippet), encoding="utf-8")
    done = subprocess.run(
        ["node", "snippet.mjs"], cwd=tmp_path, env=environment(api), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (vector,) = json.loads(done.stdout.strip().splitlines()[-1])
    assert np.abs(np.array(vector) - expected(shown)).max() < 1e-4


def test_no_text_of_a_corpus_can_leave_its_place_in_a_snippet():
    evil = 'it\'s $(touch here) `x` "quoted" \\ \n done'
    assert ast.literal_eval(python_text(evil)) == " ".join(evil.split())
    done = subprocess.run(
        ["bash", "-c", f"printf %s {shell_request(evil)}"], capture_output=True, text=True, timeout=10
    )
    assert json.loads(done.stdout) == {"inputs": " ".join(evil.split())}
