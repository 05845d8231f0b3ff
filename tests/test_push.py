"""push: what lies on a live Hub afterwards, and what is refused before a byte goes up."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from builders import Listener, job_for
from huggingface_hub import HfApi, hf_hub_download
from told import serve_hub, tell_run
from typer.testing import CliRunner

from hfembed.cli import app
from hfembed.errors import HubError, ModelError, StageError
from hfembed.events import Events, Reporter, silent
from hfembed.hub import Upload, publish
from hfembed.hub.collections import collect
from hfembed.hub.publish import Published, seconds_to_wait
from hfembed.localhub import LocalHub
from hfembed.push import push, push_folder
from hfembed.push.folder import folder_card, what_is_missing
from hfembed.push.origins import find_base, find_corpus, read_front_matter
from hfembed.push.serving import Serving
from hfembed.recipe import apply_settings
from hfembed.run import LAYOUT, Run, write_json
from hfembed.stage import Job, Outcome

pytestmark = pytest.mark.xdist_group("cards")

MODEL, DATASET = "demo/unit-search", "demo/unit-triplets"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """The run whose every word is known."""
    return tell_run(tmp_path_factory.mktemp("told") / "run", tiny_model)


@pytest.fixture
def run(told: Run, tmp_path: Path) -> Run:
    """A copy of it that a test may change."""
    shutil.copytree(told.folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalHub, HfApi]]:
    """A live Hub, and this process's client pointed at it."""
    with serve_hub(tmp_path / "hub", monkeypatch) as both:
        yield both


@pytest.fixture
def api(served: tuple[LocalHub, HfApi]) -> HfApi:
    """The client of demo, who may write."""
    return served[1]


def pushed(run: Run, *settings: str, heard: Listener | None = None) -> Outcome:
    """Do the stage push."""
    recipe = apply_settings(run.recipe().model_dump(mode="json"), settings)
    report = Reporter("push", Events(listeners=[heard] if heard is not None else []))
    job: Job = job_for(run, recipe, "push", report)
    outcome = push(job)
    # Nothing of the work is left; where public tasks were scored, what their leaderboard asks for is.
    assert {file.name for file in job.out.iterdir()} - {"leaderboard"} == {"push.json"}
    return outcome


BOTH = (f"push.model_repo={MODEL}", f"push.dataset_repo={DATASET}")


def test_both_repos_name_each_other_and_a_second_push_commits_nothing(run: Run, api: HfApi):
    heard = Listener()
    first = pushed(run, *BOTH, heard=heard)
    assert any("licence of the corpus is unknown" in message for message in heard.messages("warning"))
    model, dataset = api.model_info(MODEL), api.dataset_info(DATASET)
    assert model.card_data is not None and model.card_data["datasets"] == [DATASET]
    names = {sibling.rfilename for sibling in model.siblings or []}
    assert {"README.md", "per_query.csv", "report.json", "figures/metrics.png", "figures/changes.png"} <= names
    readme = Path(hf_hub_download(DATASET, "README.md", repo_type="dataset")).read_text(encoding="utf-8")
    assert f"[{MODEL}](/{MODEL})" in readme
    again = pushed(run, *BOTH)
    assert {entry["revision"] for entry in again.facts["published"]} == {model.sha, dataset.sha}
    assert again.facts == first.facts
    assert len(api.list_repo_commits(MODEL)) == len(api.list_repo_commits(DATASET, repo_type="dataset")) == 2


def test_a_pushed_card_shows_its_figures_and_leads_to_its_files(run: Run, api: HfApi):
    pushed(run, *BOTH, "push.public=true")
    for address in (f"{api.endpoint}/{MODEL}", f"{api.endpoint}/datasets/{DATASET}"):
        page = urlopen(address).read().decode()
        images = re.findall(r'<img src="([^"]+)"', page)
        assert images and all(urlopen(api.endpoint + image).read().startswith(b"\x89PNG") for image in images)
    page = urlopen(f"{api.endpoint}/{MODEL}").read().decode()
    (table,) = re.findall(r'href="([^"]+per_query.csv)"', page)
    assert urlopen(api.endpoint + table).read().startswith(b'"query_id"')
    assert 'href="#' not in page and f'href="/datasets/{DATASET}"' in page  # other addresses stay as they are


READ_ALL = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
configs = {name: load_dataset(sys.argv[1], name) for name in get_dataset_config_names(sys.argv[1])}
configs["default"] = load_dataset(sys.argv[1])
print(json.dumps({name: {split: rows.to_list() for split, rows in splits.items()} for name, splits in configs.items()}))
"""


def test_load_dataset_reads_every_config_with_its_columns_of_origin(run: Run, api: HfApi):
    pushed(run, BOTH[1])
    # In a process of its own: datasets keeps the address of the Hub it was imported with.
    environment = {**os.environ, "HF_ENDPOINT": api.endpoint, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, DATASET], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    configs = json.loads(done.stdout)
    triplets = configs["triplets"]
    assert {split: len(rows) for split, rows in triplets.items()} == {"train": 28, "dev": 8}
    row = triplets["train"][0]
    assert row["miner"] == "sentence-transformers/all-MiniLM-L6-v2" and row["kind"] == "keyword"
    assert row["positive_id"] == "d0" and row["score_positive"] > row["score_negative_1"]
    assert triplets["dev"][0]["query"] and triplets["dev"][0]["negative_1"] is None
    corpus = {row["_id"]: row["text"] for row in configs["corpus"]["corpus"]}
    queries = {row["_id"] for row in configs["queries"]["queries"]}
    qrels = configs["qrels"]["test"]
    assert {row["query-id"] for row in qrels} == queries and len(corpus) == 24
    assert all(row["corpus-id"] in corpus and row["score"] == 1 for row in qrels)
    assert configs["default"]["train"] == triplets["train"]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    # The package names a function like the module, so the module is not found by its dotted name.
    monkeypatch.setattr(sys.modules["hfembed.hub.publish"], "seconds_to_wait", _no_wait)


def _no_wait(error: Exception, attempt: int) -> float | None:
    return None if seconds_to_wait(error, attempt) is None else 0.0


def an_upload(content: bytes) -> Upload:
    return Upload("demo/asked", "model", [("README.md", content)], "Publish with hfembed", False, pull_request=True)


def asked_of(api: HfApi) -> list[tuple[int, str, str]]:
    found = api.get_repo_discussions("demo/asked")
    return [(entry.num, entry.author, entry.status) for entry in found if entry.is_pull_request]


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_that_is_lost_opens_no_second_pull_request(served: tuple[LocalHub, HfApi], at_once: None, seed: int):
    server, api = served
    # Of the requests that ask for a pull request or fill it, most break off, half of those after they were served.
    server.set_faults(f"drop=0.6,path=/discussions|/commit/,seed={seed}")
    first = publish(an_upload(b"one"), silent())
    server.set_faults("")
    assert asked_of(api) == [(1, "demo", "open")] and first.pull_request == 1
    assert api.list_repo_files("demo/asked", revision="refs/pr/1").count("README.md") == 1
    commits = api.list_repo_commits("demo/asked", revision="refs/pr/1")
    assert [commit.title for commit in commits].count("Publish with hfembed") == 1
    again, other = publish(an_upload(b"one"), silent()), publish(an_upload(b"two"), silent())
    assert again.revision == first.revision != other.revision and other.pull_request == 1
    assert asked_of(api) == [(1, "demo", "open")]


def test_a_pull_request_of_someone_else_is_left_alone(served: tuple[LocalHub, HfApi]):
    server, api = served
    api.create_repo("demo/asked")
    stranger = HfApi(endpoint=server.url, token=server.add_user("stranger"))
    stranger.create_pull_request("demo/asked", title="Publish with hfembed")
    assert publish(an_upload(b"ours"), silent()).pull_request == 2
    assert "README.md" not in api.list_repo_files("demo/asked", revision="refs/pr/1")


def test_model_and_dataset_are_grouped_in_one_collection_however_often_they_are_pushed(run: Run, api: HfApi):
    settings = (*BOTH, "push.collection=demo/field-search")
    first, second = pushed(run, *settings), pushed(run, *settings)
    (found,) = api.list_collections(owner="demo")
    assert first.facts["collection"] == second.facts["collection"] == f"{api.endpoint}/collections/{found.slug}"
    assert found.slug.startswith("demo/field-search-")
    held = api.get_collection(found.slug)
    assert [(item.item_type, item.item_id) for item in held.items] == [("dataset", DATASET), ("model", MODEL)]
    assert held.private is True
    named = pushed(run, BOTH[0], "push.collection=true").facts["collection"]
    assert "/demo/unit-search-" in named and len(list(api.list_collections(owner="demo"))) == 2


def test_the_command_line_groups_what_it_pushes(run: Run, api: HfApi, stranger: Path):
    def call(*arguments: object) -> dict[str, object]:
        done = CliRunner().invoke(app, ["push", *map(str, arguments), "--collection", "demo/field", "--format", "json"])
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    run.path(LAYOUT.onnx).mkdir()
    write_json(run.path(LAYOUT.onnx_report), [])
    answer = call(run.folder, "--model-repo", MODEL)
    assert "error" not in answer, answer
    (found,) = api.list_collections(owner="demo")
    assert [item.item_id for item in api.get_collection(found.slug).items] == [MODEL]
    refused = call(stranger, "--model-repo", "demo/stranger")
    assert "goes to a model repo alone" in str(refused["error"]) and not api.repo_exists("demo/stranger")


@pytest.mark.parametrize("seed", range(3))
def test_a_collection_is_made_once_under_faults(served: tuple[LocalHub, HfApi], at_once: None, seed: int):
    server, api = served
    api.create_repo(MODEL)
    entry = Published(MODEL, "model", "a" * 40, "")
    server.set_faults(f"drop=0.5,rate=0.2,status=503,path=/collections,seed={seed}")
    url = collect("demo/field-search", [entry], False, silent())
    server.set_faults("")
    (found,) = api.list_collections(owner="demo")
    assert url.endswith(found.slug) and [item.item_id for item in api.get_collection(found.slug).items] == [MODEL]
    # An address with the Hub's own ending, as a person copies it, is the same collection.
    assert collect(found.slug, [entry], False, silent()) == url


def test_results_go_up_as_files_where_the_hub_keeps_a_leaderboard(run: Run, api: HfApi, served):
    name = ".eval_results/NFCorpus.yaml"
    pushed(run, BOTH[0])
    assert name not in api.list_repo_files(MODEL)
    owner = HfApi(endpoint=api.endpoint, token=served[0].add_user("mteb"))
    owner.create_repo("mteb/nfcorpus", repo_type="dataset")
    owner.upload_file(
        path_or_fileobj=b"name: NFCorpus\n", path_in_repo="eval.yaml", repo_id="mteb/nfcorpus", repo_type="dataset"
    )
    pushed(run, BOTH[0])
    assert name in api.list_repo_files(MODEL)


def test_a_worse_model_asks_first(run: Run, api: HfApi):
    file = run.path(LAYOUT.report)
    file.write_text(json.dumps({**json.loads(file.read_text()), "verdict": "worse"}))
    outcome = pushed(run, BOTH[0])
    assert outcome.facts["published"][0]["pull_request"] == 1
    assert "README.md" not in api.list_repo_files(MODEL)


def test_a_public_push_of_a_corpus_without_a_licence_says_what_becomes_public(run: Run, api: HfApi):
    heard = Listener()
    pushed(run, BOTH[0], "push.public=true", heard=heard)
    assert any("repos are public" in message for message in heard.messages("warning"))
    assert api.model_info(MODEL).private is False


def test_without_a_repo_there_is_nothing_to_push_to(run: Run):
    with pytest.raises(StageError, match="No repo"):
        pushed(run)


def test_a_card_that_does_not_read_back_stops_the_push_before_anything_is_made(
    run: Run, api: HfApi, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hfembed.push.card.read_front_matter", lambda card: {"license": "mit"})
    with pytest.raises(HubError, match="reads back differently"):
        pushed(run, *BOTH)
    assert not api.repo_exists(MODEL) and not api.repo_exists(DATASET, repo_type="dataset")


def test_licence_and_language_are_looked_up_where_base_and_corpus_live(api: HfApi, tmp_path: Path):
    api.create_repo("demo/base")
    card = b"---\nlicense: mit\nlanguage: de\n---\n"
    sha = api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="demo/base").oid
    found = find_base({"name": "demo/base", "revision": sha}, "demo/base", ask_hub=True)
    assert (found.license, found.language) == ("mit", ("de",))
    assert find_base({"name": "demo/base", "revision": sha}, "demo/base", ask_hub=False).license is None
    gone = find_corpus({"name": "demo/gone", "repo": "demo/gone", "revision": "a" * 40}, "demo/gone", ask_hub=True)
    assert gone.license is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: cc-by-4.0\n---\n")
    assert find_corpus({"name": "mine"}, str(tmp_path), ask_hub=False).license == "cc-by-4.0"


@pytest.fixture
def stranger(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that hfembed did not make, with things in its folder that do not belong on the Hub."""
    folder = tmp_path / "stranger"
    shutil.copytree(tiny_model, folder)
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-10" / "model.safetensors").write_bytes(b"half-trained")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    (folder / ".env").write_text("HF_TOKEN=hf_secret")
    (folder / "outside.json").symlink_to("/etc/hostname")
    return folder


def test_a_folder_of_another_maker_is_completed_published_and_left_as_it_was(stranger: Path, api: HfApi):
    from sentence_transformers import SentenceTransformer

    before = {file: file.read_bytes() for file in stranger.rglob("*") if file.is_file()}
    heard = Listener()
    done = push_folder(stranger, "demo/stranger", report=Reporter("push", Events(listeners=[heard])))
    assert {file: file.read_bytes() for file in stranger.rglob("*") if file.is_file()} == before
    names = set(api.list_repo_files("demo/stranger"))
    assert {"README.md", "modules.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"} <= names
    assert not {"optimizer.pt", ".env", "outside.json", "checkpoint-10/model.safetensors"} & names
    info = api.model_info("demo/stranger")
    assert info.sha == done.published.revision and info.private
    assert info.card_data is not None and "text-embeddings-inference" in info.card_data["tags"]
    assert any("licence" in sentence for sentence in done.missing)
    assert len(heard.messages("warning")) == len(done.missing) == len(done.to_json()["missing"])
    config = json.loads(Path(hf_hub_download("demo/stranger", "sentence_bert_config.json")).read_text())
    assert config["max_seq_length"] == 128
    copy = SentenceTransformer("demo/stranger", device="cpu").encode(["a valve leaks"])
    assert np.abs(copy - SentenceTransformer(str(stranger), device="cpu").encode(["a valve leaks"])).max() < 1e-6


WRITTEN = """---
license: mit
tags: my-tag
base_model: /home/somebody/models/base
language: de
model-index:
- name: mine
  results:
  - task: {type: sentence-similarity}
    dataset: {type: sts, name: STS}
    metrics:
    - {type: pearson, value: 0.8, note: a key of mine}
---

# My model

Words of mine.
"""


def test_a_card_that_someone_wrote_keeps_its_words_and_gains_what_it_lacks(stranger: Path):
    (stranger / "README.md").write_text(WRITTEN, encoding="utf-8")
    serving = Serving.read(stranger)
    card = folder_card(stranger, "demo/stranger", serving, [])
    data = read_front_matter(card)
    assert data["license"] == "mit" and data["language"] == "de"
    assert data["tags"][0] == "my-tag" and "sentence-transformers" in data["tags"]
    assert data["library_name"] == "sentence-transformers" and "base_model" not in data and "/home" not in card
    assert data["model-index"][0]["results"][0]["metrics"][0]["note"] == "a key of mine"
    assert card.endswith("# My model\n\nWords of mine.\n")
    missing = " ".join(what_is_missing(stranger, serving))
    assert "base model" in missing and "licence" not in missing and "its language" not in missing


def test_a_card_that_the_hub_would_refuse_is_refused_first(stranger: Path):
    (stranger / "README.md").write_text("---\nmodel-index:\n- name: mine\n---\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"metadata in README.md is not valid"):
        folder_card(stranger, "demo/stranger", Serving.read(stranger), [])


def test_a_bare_transformer_is_refused_with_the_way_out(stranger: Path):
    (stranger / "modules.json").unlink()
    with pytest.raises(ModelError, match="bare transformer"):
        push_folder(stranger, "demo/stranger")
