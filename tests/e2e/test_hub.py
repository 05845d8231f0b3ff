"""A whole run by Hub ids alone, against a live Hub server: the corpus comes from it, model and triplets go to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from hfembed.localhub import LocalHub
from hfembed.pipeline import manifests
from hfembed.run import Run


@pytest.fixture
def hub(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Serve a Hub on which `demo` owns a corpus and a base model; return its address and a token."""
    with LocalHub(root=tmp_path / "hub", port=0) as server:
        # In this process HF_ENDPOINT comes too late: the client read it when it was imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        token = server.add_user("demo", role="write")
        api = HfApi(endpoint=server.url, token=token)
        api.create_repo("demo/handbook", repo_type="dataset", private=True)
        api.upload_file(
            path_or_fileobj=sample / "corpus.jsonl", path_in_repo="corpus.jsonl",
            repo_id="demo/handbook", repo_type="dataset",
        )  # fmt: skip
        yield server.url, token


def test_a_run_by_hub_ids_alone_stays_whole_at_a_refused_push_and_ends_in_two_repos_that_plain_clients_load(
    hub: tuple[str, str], hfembed, tiny_model: Path, cheap: list[str], tmp_path: Path
):
    url, token = hub
    api = HfApi(endpoint=url, token=token)
    api.create_repo("demo/tiny")
    api.upload_folder(folder_path=tiny_model, repo_id="demo/tiny")
    environment = {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}
    command = (
        "run", "--corpus", "demo/handbook", "--base", "demo/tiny", "--run", "run", *cheap,
        "--set", "train.strength=0.5", "--dataset-repo", "demo/field-triplets", "--format", "json",
    )  # fmt: skip
    done = hfembed(*command, "--until", "export", **environment)
    assert done.code == 0, done.err
    refused = hfembed("push", "run", "--set", "push.model_repo=someone-else/model", **environment)
    assert refused.code == 2
    assert "Error:" in refused.err and "someone-else" in refused.err
    assert "Traceback" not in refused.err and token not in refused.out + refused.err
    assert "export" in manifests(Run(tmp_path / "run")) and not (tmp_path / "run" / "push").exists()

    answer = hfembed(*command, "--model-repo", "demo/field-search", **environment)
    assert answer.code == 0, answer.err
    assert [row["name"] for row in answer.json()["stages"] if not row["skipped"]] == ["push"]
    published = {entry["repo"]: entry for entry in answer.json()["published"]}
    model, triplets = api.model_info("demo/field-search"), api.dataset_info("demo/field-triplets")
    assert model.sha == published["demo/field-search"]["revision"] and model.private
    assert triplets.sha == published["demo/field-triplets"]["revision"] and triplets.private
    assert model.card_data is not None and model.card_data["base_model"] == "demo/tiny"
    assert set(model.card_data["datasets"]) == {"demo/field-triplets", "demo/handbook"}
    names = {sibling.rfilename for sibling in model.siblings or []}
    assert {"model.safetensors", "modules.json", "onnx/model.onnx", "recipe.yaml", "README.md"} <= names
    # The create-repo commit and one commit of ours, no more.
    assert len(api.list_repo_commits("demo/field-search")) == 2
    everything = "".join(file.read_text(errors="replace") for file in (tmp_path / "run").rglob("*") if file.is_file())
    assert token not in everything + answer.out + answer.err

    again = hfembed("push", "run", "--format", "json", **environment)
    assert again.code == 0, again.err
    assert json.loads(again.out)["stages"][-1]["skipped"] is True
    assert len(api.list_repo_commits("demo/field-search")) == 2


def test_a_private_corpus_without_a_token_is_refused_in_words(hub: tuple[str, str], hfembed, tiny_model: Path):
    url, _ = hub
    answer = hfembed(
        "run", "--corpus", "demo/handbook", "--base", tiny_model, "--run", "run", HF_ENDPOINT=url, HF_HUB_OFFLINE="0"
    )
    assert answer.code == 2
    assert "does not exist" in answer.err and "hf auth login" in answer.err
    assert "Traceback" not in answer.err


TWO_CONFIGS = """---
configs:
- config_name: manuals
  data_files: manuals.jsonl
- config_name: tickets
  data_files: tickets.jsonl
---
"""


def test_a_hub_corpus_is_read_at_its_config_and_revision(hub: tuple[str, str], hfembed, tmp_path: Path):
    url, token = hub
    api = HfApi(endpoint=url, token=token)
    api.create_repo("demo/two", repo_type="dataset")

    def rows(kind: str, count: int) -> bytes:
        return "\n".join(json.dumps({"body": f"{kind} number {n} says something else"}) for n in range(count)).encode()

    for name, content in {"README.md": TWO_CONFIGS.encode(), "manuals.jsonl": rows("manual", 20)}.items():
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="demo/two", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=rows("ticket", 12), path_in_repo="tickets.jsonl", repo_id="demo/two", repo_type="dataset"
    )
    api.create_tag("demo/two", tag="v1", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=rows("ticket", 15), path_in_repo="tickets.jsonl", repo_id="demo/two", repo_type="dataset"
    )
    environment = {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}

    def pulled(source: str, run: str) -> int:
        answer = hfembed("pull", run, "--set", f"corpus={source}", "--format", "json", **environment)
        assert answer.code == 0, answer.err
        return int(answer.json()["stages"][0]["counts"]["documents"])

    assert pulled("demo/two:manuals", "manuals") == 20
    assert pulled("demo/two:tickets@v1", "old") == 12
    assert pulled("demo/two:tickets", "new") == 15
    manifest = json.loads((tmp_path / "old" / "corpus" / "manifest.json").read_text())
    assert (
        manifest["stages"]["pull"]["sources"]["corpus"]["revision"] == api.dataset_info("demo/two", revision="v1").sha
    )

    several = hfembed("pull", "run", "--set", "corpus=demo/two", **environment)
    assert several.code == 2 and "manuals, tickets" in several.err and "--corpus demo/two:manuals" in several.err
    unknown = hfembed("pull", "run", "--set", "corpus=demo/two:letters", **environment)
    assert unknown.code == 2 and "no config 'letters'" in unknown.err and "Traceback" not in unknown.err
