"""The cards: what they say of a run, that their metadata reads back, and that their snippets run."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, HfApi, ModelCard, ModelCardData, constants
from told import SECRET_PATH, open_hub, tell_run

from hfembed.errors import HubError
from hfembed.export import _write_graph
from hfembed.hub.cards import hub_link
from hfembed.push import dataset_files, model_files, run_facts
from hfembed.push.card import cell, check_card, duration, python_text
from hfembed.push.facts import Facts
from hfembed.push.limits import limitations
from hfembed.push.model_card import model_card
from hfembed.push.origins import Origin, combine_licences, read_front_matter
from hfembed.push.serving import Serving
from hfembed.push.texts import histogram, key_terms
from hfembed.run import LAYOUT, Run

pytestmark = pytest.mark.xdist_group("cards")

GOLDEN = Path(__file__).parent / "golden"
MODEL, DATASET = "demo/unit-search", "demo/unit-triplets"
SNIPPET = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
# Marks a snippet that needs a server which no test starts.
NEEDS_ENGINE = "http://127.0.0.1:8080"


@pytest.fixture(scope="session")
def told_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """The run whose every word is known."""
    return tell_run(tmp_path_factory.mktemp("told") / "run", tiny_model)


@pytest.fixture
def facts(told_run: Run) -> Facts:
    """What the cards know of that run."""
    return run_facts(told_run)


def compare_with_golden(text: str, name: str) -> None:
    """Compare with tests/golden; WRITE_GOLDEN=1 renews the file (then read the diff)."""
    file = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_the_model_card_is_the_golden_one(facts: Facts):
    card = model_card(facts, MODEL, DATASET, Serving.read(facts.run.path(LAYOUT.model)), ["figures/metrics.png"])
    compare_with_golden(card, "model.md")


def test_the_dataset_card_is_the_golden_one(facts: Facts, tmp_path: Path):
    card = dict(dataset_files(facts, DATASET, tmp_path, MODEL))["README.md"]
    assert isinstance(card, bytes)
    compare_with_golden(card.decode(), "dataset.md")


def test_the_hubs_own_client_reads_the_metadata_and_the_results(facts: Facts, tmp_path: Path):
    card = dict(model_files(facts, MODEL, DATASET))["README.md"]
    assert isinstance(card, bytes)
    data = ModelCard(card.decode()).data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.datasets == [DATASET] and data.language == ["en"] and data.license == "apache-2.0"
    assert {"hfembed", "text-embeddings-inference", "dataset_size:28", "loss:InfoNCE"} <= set(data.tags)
    assert not {"onnx", "transformers.js"} & set(data.tags)  # no ONNX file, no such tag
    assert [result.metric_type for result in data.eval_results] == [
        "ndcg_at_10",
        "recall_at_10",
        "mrr_at_10",
        "hit_at_1",
    ]
    assert data.eval_results[0].metric_value == 0.71267
    assert {result.dataset_type for result in data.eval_results} == {DATASET}
    other = dict(dataset_files(facts, DATASET, tmp_path, MODEL))["README.md"]
    assert isinstance(other, bytes)
    configs = DatasetCard(other.decode()).data.to_dict()["configs"]
    assert [config["config_name"] for config in configs] == ["triplets", "corpus", "queries", "qrels"]


def test_no_card_or_file_names_a_path_of_this_machine(facts: Facts, told_run: Run, tmp_path: Path):
    for name, content in [*model_files(facts, MODEL, DATASET), *dataset_files(facts, DATASET, tmp_path, MODEL)]:
        raw = content if isinstance(content, bytes) else content.read_bytes()
        assert SECRET_PATH.encode() not in raw and str(told_run.folder.parent).encode() not in raw, name


def test_the_same_run_gives_the_same_bytes(facts: Facts, told_run: Run, tmp_path: Path):
    def contents(work: str, facts: Facts) -> dict[str, bytes]:
        files = [*model_files(facts, MODEL, DATASET), *dataset_files(facts, DATASET, tmp_path / work, MODEL)[1:]]
        return {name: content if isinstance(content, bytes) else content.read_bytes() for name, content in files}

    assert contents("first", facts) == contents("second", run_facts(told_run))


def test_without_matplotlib_the_card_has_no_figures(facts: Facts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    files = dict(model_files(facts, MODEL, DATASET))
    readme = files["README.md"]
    assert isinstance(readme, bytes) and b"![" not in readme
    assert not [name for name in files if name.startswith("figures/")]


def test_a_model_that_stayed_the_base_is_not_called_a_finetune(facts: Facts):
    facts.manifests["train"].facts["fold"] = {"kind": "base"}
    card = model_card(facts, MODEL, None, Serving.read(facts.run.path(LAYOUT.model)), [])
    data = ModelCard(card).data.to_dict()
    assert "base_model_relation" not in data and "datasets" not in data
    assert not [tag for tag in data["tags"] if tag.startswith(("loss:", "dataset_size:"))]
    assert "the weights are the base's" in card


def test_a_model_with_a_dense_layer_is_offered_to_no_engine_that_would_drop_it(facts: Facts):
    serving = Serving(("Transformer", "Pooling", "Dense", "Normalize"), "mean", {}, ("model.onnx",), True)
    assert serving.tags() == ["onnx"]
    assert any("ends in Dense" in sentence for sentence in limitations(facts, serving))


def test_prompts_are_named_and_sent_to_the_inference_server(facts: Facts):
    serving = Serving(("Transformer", "Pooling"), "cls", {"query": "query: "}, ("model.onnx",), True)
    card = model_card(facts, MODEL, None, serving, [])
    assert "query `query: `" in card and 'prompt_name="query"' in card and 'pooling: "cls"' in card
    assert "transformers.js" in serving.tags()


@pytest.mark.parametrize(
    ("base", "corpus", "licence", "word"),
    [
        ("apache-2.0", "mit", "apache-2.0", ""),
        ("mit", "cc-by-nc-4.0", "cc-by-nc-4.0", "stricter"),
        ("cc-by-sa-4.0", "cc-by-nc-4.0", None, "clash"),
        ("mit", "cc-by-nd-4.0", None, "no derivatives"),
        ("gpl-3.0", "gpl-3.0", "gpl-3.0", ""),
        ("mit", None, "mit", "corpus is unknown"),
        (None, "mit", None, "base model is unknown"),
        (None, None, None, "base model and of the corpus"),
    ],
)
def test_the_licence_follows_from_base_and_corpus(base: str | None, corpus: str | None, licence: str | None, word: str):
    found = combine_licences(Origin("base", license=base), Origin("corpus", license=corpus))
    assert found.id == licence
    assert word in found.warning and bool(word) == bool(found.warning)


def test_metadata_that_reads_back_differently_is_refused():
    with pytest.raises(HubError, match="license"):
        check_card("---\nlicense: mit\n---\ntext", ModelCardData(license="apache-2.0"))
    with pytest.raises(HubError, match="tags"):
        check_card("no front matter", ModelCardData(tags=["a"]))


def test_broken_front_matter_counts_as_none():
    assert read_front_matter("---\na: [\n---\n") == {} and read_front_matter("---\n- a\n---\n") == {}


def test_text_of_a_corpus_cannot_break_a_table_or_a_snippet():
    evil = 'a|b `c` <script>\n[x](y) "quoted" \\ $m$'
    assert "\n" not in cell(evil) and "\\|" in cell(evil) and "\\<script\\>" in cell(evil)
    assert cell("word " * 100).endswith("…")
    assert ast.literal_eval(python_text(evil)) == " ".join(evil.split())
    assert len(ast.literal_eval(python_text("word " * 100))) <= 80


def test_times_and_lengths_are_told_as_people_do():
    assert [duration(seconds) for seconds in (3, 600, 7200)] == ["3 s", "10 min", "2.0 h"]
    assert histogram([3, 20, 20, 70]) == [("below 16", 1), ("16 to 31", 2), ("32 to 63", 0), ("64 to 127", 1)]


def test_key_terms_are_what_some_documents_speak_of():
    texts = ["The spinal cord is of use"] * 4 + [f"nothing of that kind {number}" for number in range(16)]
    assert key_terms(texts)[0] == "spinal cord"
    assert "nothing" not in key_terms(texts)  # in most documents
    assert key_terms([]) == []


def test_links_on_a_hub_of_this_machine_do_not_name_its_port(monkeypatch: pytest.MonkeyPatch):
    assert hub_link("a/b", "dataset", "abc") == "https://huggingface.co/datasets/a/b/tree/abc"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:3456")
    assert hub_link("a/b", "dataset") == "/datasets/a/b"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """A live Hub, and this process's client pointed at it."""
    with open_hub(tmp_path / "hub", monkeypatch) as client:
        yield client


RUN_SNIPPETS = """
import json, sys
for code in json.load(sys.stdin):
    print(">>>", code.splitlines()[0], flush=True)
    exec(compile(code, "snippet", "exec"), {})
print("all ran")
"""


def test_every_snippet_of_both_cards_runs_against_a_hub(
    facts: Facts, api: HfApi, told_run: Run, tiny_model: Path, tmp_path: Path
):
    folder = tmp_path / "model"
    shutil.copytree(told_run.path(LAYOUT.model), folder)
    (folder / "onnx").mkdir()
    shutil.copyfile(_write_graph(folder, tmp_path / "work"), folder / "onnx" / "model.onnx")
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
    snippets = SNIPPET.findall(card) + SNIPPET.findall(readme.decode())
    python = [code for language, code in snippets if language == "python"]
    assert len(python) == 5 and {"bash", "js"} <= {language for language, _ in snippets}
    for code in python:
        ast.parse(code)
    # The base is not on this Hub; the tiny model stands in for it.
    runnable = [
        code.replace("sentence-transformers/all-MiniLM-L6-v2", str(tiny_model))
        for code in python
        if NEEDS_ENGINE not in code
    ]
    environment = {**os.environ, "HF_ENDPOINT": api.endpoint, "HF_TOKEN": str(api.token), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_SNIPPETS], input=json.dumps(runnable), cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0 and "all ran" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "tuned" / "final" / "model.safetensors").is_file()
