"""The cards: what they say of a run, and that their metadata reads back."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, ModelCardData, constants
from told import SECRET_PATH, tell_run

from hfembed.corpus import Documents
from hfembed.errors import HubError
from hfembed.hub.cards import hub_link
from hfembed.push import dataset_files, model_files, run_facts
from hfembed.push.card import cell, check_card, duration, prose, python_text
from hfembed.push.energy import estimate
from hfembed.push.facts import Facts
from hfembed.push.limits import limitations
from hfembed.push.model_card import model_card, public_recipe, report_figures
from hfembed.push.origins import Origin, combine_licences, read_front_matter
from hfembed.push.queries import read_changes
from hfembed.push.serving import Serving
from hfembed.push.texts import find_terms, histogram
from hfembed.recipe import apply_settings
from hfembed.run import LAYOUT, Run

pytestmark = pytest.mark.xdist_group("cards")

GOLDEN = Path(__file__).parent / "golden"
MODEL, DATASET = "demo/unit-search", "demo/unit-triplets"


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
    card = model_card(facts, MODEL, DATASET, Serving.read(facts.run.path(LAYOUT.model)), list(report_figures(facts)))
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
    own = data.eval_results[:-1]
    assert [result.metric_type for result in own] == ["ndcg_at_10", "recall_at_10", "mrr_at_10", "hit_at_1"]
    assert data.eval_results[0].metric_value == 0.71267
    assert {result.dataset_type for result in own} == {DATASET}
    other = dict(dataset_files(facts, DATASET, tmp_path, MODEL))["README.md"]
    assert isinstance(other, bytes)
    configs = DatasetCard(other.decode()).data.to_dict()["configs"]
    assert [config["config_name"] for config in configs] == ["triplets", "corpus", "queries", "qrels"]


def test_public_tasks_stand_in_the_table_and_the_metadata(facts: Facts):
    files = dict(model_files(facts, MODEL, DATASET))
    card = files["README.md"]
    assert isinstance(card, bytes)
    assert "| ndcg at 10 | 0.3159 | **0.3201** | 0.3200 | +0.0042 |" in card.decode()
    assert "SciFact (The dataset mteb/scifact does not exist)" in card.decode()
    assert "Nothing outside it was measured" not in card.decode()
    data = ModelCard(card.decode()).data
    listed = data.eval_results[-1]
    assert (listed.dataset_name, listed.dataset_type) == ("MTEB NFCorpus (default)", "mteb/nfcorpus")
    assert (listed.metric_type, listed.metric_value, listed.dataset_revision) == ("ndcg_at_10", 0.3201, "ec0fa4fe")
    assert "mteb" in data.tags


def test_results_on_a_registered_benchmark_are_files_of_their_own(facts: Facts):
    assert not [name for name in dict(model_files(facts, MODEL, DATASET)) if name.startswith(".eval_results/")]
    registered = replace(facts, benchmarks=frozenset({"mteb/nfcorpus"}))
    results = dict(model_files(registered, MODEL, DATASET))[".eval_results/NFCorpus.yaml"]
    assert isinstance(results, bytes)
    entries = yaml.safe_load(results)
    assert [entry["dataset"]["task_id"] for entry in entries] == ["NFCorpus_default_test", "NFCorpus"]
    for entry in entries:
        assert entry["dataset"]["id"] == "mteb/nfcorpus" and entry["dataset"]["revision"] == "ec0fa4fe"
        assert entry["value"] == 32.01 and entry["date"] == "2026-11-21" and entry["source"]["url"].startswith("https")


def test_a_loss_on_a_public_task_is_a_limitation(facts: Facts):
    worse = {**facts.report["public"]["scores"][0], "tuned": 0.29, "delta": -0.0259}
    facts.report["public"]["scores"] = [worse]
    serving = Serving.read(facts.run.path(LAYOUT.model))
    assert any("more than a point behind its base: NFCorpus (-0.0259)" in line for line in limitations(facts, serving))


def test_a_base_that_finds_more_without_the_prompts_of_the_run_is_told_of(facts: Facts):
    serving = Serving.read(facts.run.path(LAYOUT.model))
    for way, is_told in (("bare", True), ("run", False)):
        facts.report["base"] = {"way": way, "ndcg@10": {"bare": 0.517, "run": 0.449}}
        told = [line for line in limitations(facts, serving) if "0.449 against 0.517" in line]
        assert bool(told) is is_told


def test_energy_is_estimated_from_cores_and_boards_and_says_so():
    cpu, gpu = estimate("4 x Some Processor, no GPU", 3600), estimate("NVIDIA H200, 4 x Some Processor", 3600)
    assert (cpu.watt_hours, gpu.watt_hours) == (48, 748) and cpu.grams == pytest.approx(22.8)
    assert "4 cores at 12 W" in cpu.source and "not measured" in cpu.source
    assert "a GPU at 200 W" in estimate("Some Board, 2 x Some Processor", 1).basis
    assert "not known" in estimate("", 1).basis


def test_widget_emissions_and_figures_stand_in_the_metadata_and_the_repo(facts: Facts):
    files = dict(model_files(facts, MODEL, DATASET))
    readme = files["README.md"]
    assert isinstance(readme, bytes)
    data = ModelCard(readme.decode()).data.to_dict()
    assert all(example["source_sentence"] and len(example["sentences"]) == 3 for example in data["widget"])
    emitted = data["co2_eq_emissions"]
    assert emitted["emissions"] == pytest.approx(96 * facts.seconds / 3600 / 1000 * 475, rel=0.01)
    assert "estimated" in emitted["source"] and emitted["hardware_used"] == "8 x Made-up Processor, no GPU"
    names = {"figures/metrics.png", "figures/changes.png", "figures/separation.png"}
    assert names <= set(files) and all(f"({name})".encode() in readme for name in names)


def test_the_public_recipe_names_files_of_this_machine_by_their_name_alone(facts: Facts):
    train = facts.recipe.train.model_copy(update={"dev_queries": "/home/ada/secret/questions.jsonl"})
    generate = facts.recipe.generate.model_copy(update={"pairs": "/home/ada/secret/pairs.jsonl"})
    asked = replace(facts, recipe=facts.recipe.model_copy(update={"train": train, "generate": generate}))
    written = yaml.safe_load(public_recipe(asked))
    assert written["generate"]["pairs"] == "pairs.jsonl"
    assert written["train"]["dev_queries"] == "questions.jsonl" and "secret" not in public_recipe(asked)


def test_no_card_or_file_names_a_path_of_this_machine(facts: Facts, told_run: Run, tmp_path: Path):
    for name, content in [*model_files(facts, MODEL, DATASET), *dataset_files(facts, DATASET, tmp_path, MODEL)]:
        raw = content if isinstance(content, bytes) else content.read_bytes()
        assert SECRET_PATH.encode() not in raw and str(told_run.folder.parent).encode() not in raw, name


def test_a_column_that_the_card_does_not_know_is_published_and_named(told_run: Run, tmp_path: Path):
    shutil.copytree(told_run.folder, tmp_path / "run")
    run = Run(tmp_path / "run")
    table = pq.read_table(run.path(LAYOUT.train))
    pq.write_table(table.append_column("judged_by", pa.array(["me"] * len(table))), run.path(LAYOUT.train))
    files = dict(dataset_files(run_facts(run), DATASET, tmp_path / "data", MODEL))
    readme, train = files["README.md"], files["triplets/train.parquet"]
    assert isinstance(readme, bytes) and "| `judged_by` | as the stages of the run left them |" in readme.decode()
    published = pq.read_table(train)
    assert published["judged_by"].to_pylist()[0] == "me" and published["negatives"].to_pylist()[0] == ["given by hand"]
    assert "`judged_by`" not in (GOLDEN / "dataset.md").read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_bytes(facts: Facts, told_run: Run, tmp_path: Path):
    def contents(work: str, facts: Facts) -> dict[str, bytes]:
        files = [*model_files(facts, MODEL, DATASET), *dataset_files(facts, DATASET, tmp_path / work, MODEL)[1:]]
        return {name: content if isinstance(content, bytes) else content.read_bytes() for name, content in files}

    assert contents("first", facts) == contents("second", run_facts(told_run))


def test_without_matplotlib_the_cards_have_no_figures(
    facts: Facts, told_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    shutil.copytree(told_run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / LAYOUT.figures)  # evaluate drew none either
    undrawn = run_facts(Run(tmp_path / "run"))
    for files in (model_files(undrawn, MODEL, DATASET), dataset_files(undrawn, DATASET, tmp_path / "data", MODEL)):
        readme = dict(files)["README.md"]
        assert isinstance(readme, bytes) and b"![" not in readme
        assert not [name for name, _ in files if name.startswith("figures/")]


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


WORDS = {
    "title": "Unit *search*",
    "summary": "Finds units.\n\nAsk it as <b>you</b> like.",
    "intended_use": "- Technicians\n- nobody else",
    "limitations": "Nothing in French.",
    "contact": "ada_l@example.org, https://example.org/a_b_c.",
    "dataset_summary": "Queries on units.",
}


def test_words_of_a_person_stand_on_the_cards_where_they_belong(facts: Facts, tmp_path: Path):
    values = facts.recipe.model_dump(mode="json")
    said = facts.under(apply_settings(values, options={f"push.words.{key}": text for key, text in WORDS.items()}))
    model = model_card(said, MODEL, DATASET, Serving.read(facts.run.path(LAYOUT.model)), [])
    dataset = dict(dataset_files(said, DATASET, tmp_path, MODEL))["README.md"]
    assert isinstance(dataset, bytes)
    body = model.partition("\n---\n")[2]
    assert body.startswith(
        "\n# Unit \\*search\\*\n\nFinds units.\n\nAsk it as \\<b\\>you\\</b\\> like.\n\nA text embedding model"
    )
    assert "\n## What it is for\n\n- Technicians\n- nobody else\n\n## How to use it\n" in body
    assert "1 too short.\n\nNothing in French.\n\n## Licence\n" in body
    contact = "## Contact\n\n<ada_l@example.org>, <https://example.org/a_b_c>.\n"
    assert f"{contact}\n## Citations\n" in body and dataset.decode().endswith(contact)
    assert "\n# unit-triplets\n\nQueries on units.\n\nTraining data" in dataset.decode()
    assert yaml.safe_load(public_recipe(said))["push"]["words"]["summary"] == WORDS["summary"]


def test_what_a_person_writes_cannot_become_markup():
    evil = "# head\n---\n=====\n+ plus\n| a | b |\n    code\n<!-- x -->\n![i](https://e.example/x.png) `c` ~~s~~"
    written = prose(evil)
    lines = written.splitlines()
    assert lines[0] == "\\# head" and lines[1] == "\\---" and lines[2] == "\\=====" and lines[3] == "\\+ plus"
    assert "\\!" not in written and "!\\[i\\](<https://e.example/x.png>)" in written
    assert prose("Three:\n• one\n* two") == "Three:\n\n- one\n- two"


def test_times_and_lengths_are_told_as_people_do():
    assert [duration(seconds) for seconds in (3, 600, 7200)] == ["3 s", "10 min", "2.0 h"]
    assert histogram([3, 20, 20, 70]) == [("below 16", 1), ("16 to 31", 2), ("32 to 63", 0), ("64 to 127", 1)]


def test_key_terms_are_what_some_documents_speak_of():
    texts = ["The spinal cord is of use"] * 4 + [f"nothing of that kind {number}" for number in range(16)]
    terms, thin = find_terms(texts)
    assert terms[0] == "spinal cord" and thin == []  # of so few documents it cannot be said
    assert "nothing" not in terms  # in most documents
    assert find_terms([]) == ([], [])


def test_thin_topics_are_what_hardly_any_document_has():
    texts = ["the aorta bleeds"] * 3 + ["the femur breaks"] * 30 + [f"word{number} alone" for number in range(90)]
    assert find_terms(texts)[1] == ["aorta bleeds"]


def test_links_on_a_hub_of_this_machine_do_not_name_its_port(monkeypatch: pytest.MonkeyPatch):
    assert hub_link("a/b", "dataset", "abc") == "https://huggingface.co/datasets/a/b/tree/abc"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:3456")
    assert hub_link("a/b", "dataset") == "/datasets/a/b"


def test_examples_to_try_read_as_people_ask(told_run: Run):
    rows = pq.read_table(told_run.path(LAYOUT.per_query)).to_pylist()
    asked = {"query": "Why does the turbine of unit 18 stick?", "kind": "question"}
    table = told_run.path(LAYOUT.per_query).with_name("asked.parquet")
    pq.write_table(pa.Table.from_pylist([*rows[:4], {**rows[4], **asked}, *rows[5:]]), table)
    changes = read_changes(table, told_run.path(LAYOUT.test), Documents.read(told_run.path(LAYOUT.documents)))
    assert [change.kind for change in changes.to_try] == ["question", "sentence", "sentence"]
    assert changes.to_try[0].query == asked["query"]
    assert len({change.document_id for change in changes.to_try}) == 3
