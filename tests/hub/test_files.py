"""Reading files and facts, through the real client and the headers it lives on."""

import json
import struct

import pytest
import requests
from huggingface_hub import CommitOperationAdd, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


@pytest.fixture
def filled(api, model):
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}).encode()
    card = "---\nlicense: mit\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n"
    card += "tags: [hfembed, dense]\nlanguage: en\nbase_model: a/b\ndatasets: [c/d]\n---\n# Card\n"
    files = {
        "README.md": card.encode(),
        "config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}',
        "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(48),
        "sub/notes.txt": b"0123456789",
    }
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    api.create_commit(model, operations, commit_message="fill")
    return model


def test_a_regular_file_tells_its_git_id_and_its_commit(api, filled):
    facts = get_hf_file_metadata(hf_hub_url(filled, "sub/notes.txt", endpoint=api.endpoint), token=api.token)
    assert facts.size == 10 and facts.commit_hash == api.model_info(filled).sha
    [entry] = api.get_paths_info(filled, "sub/notes.txt")
    assert facts.etag == entry.blob_id


def test_a_large_file_tells_its_sha256_and_leads_elsewhere(api, filled):
    url = hf_hub_url(filled, "model.safetensors", endpoint=api.endpoint)
    answer = requests.head(url, allow_redirects=False, timeout=10)
    [entry] = api.get_paths_info(filled, "model.safetensors")
    assert answer.status_code == 302 and "/lfs/" in answer.headers["Location"]
    assert answer.headers["X-Linked-Etag"] == f'"{entry.lfs.sha256}"'
    assert int(answer.headers["X-Linked-Size"]) == entry.lfs.size == entry.size
    assert answer.headers["X-Repo-Commit"] == api.model_info(filled).sha
    facts = get_hf_file_metadata(url, token=api.token)
    assert (facts.etag, facts.size) == (entry.lfs.sha256, entry.size)


@pytest.mark.parametrize("path", ["sub/notes.txt", "model.safetensors"])
def test_ranges_of_files_are_sent(api, filled, path):
    url = hf_hub_url(filled, path, endpoint=api.endpoint)
    whole = requests.get(url, timeout=10).content
    for wanted, expected in (("2-5", whole[2:6]), ("7-", whole[7:]), ("-3", whole[-3:])):
        answer = requests.get(url, headers={"Range": f"bytes={wanted}"}, timeout=10)
        assert (answer.status_code, answer.content) == (206, expected)
    assert requests.get(url, headers={"Range": "bytes=9999-"}, timeout=10).status_code == 416


def test_a_link_to_a_large_file_cannot_be_made_up(api, filled):
    url = hf_hub_url(filled, "model.safetensors", endpoint=api.endpoint)
    link = requests.head(url, allow_redirects=False, timeout=10).headers["Location"]
    assert requests.get(link, timeout=10).status_code == 200
    assert requests.get(link.replace("signature=", "signature=0"), timeout=10).status_code == 403
    assert requests.get(link.split("?")[0], timeout=10).status_code == 403


def test_model_info_holds_what_the_card_the_config_and_the_weights_say(api, filled):
    info = api.model_info(filled)
    assert info.card_data.license == "mit" and info.library_name == "sentence-transformers"
    assert info.pipeline_tag == "sentence-similarity"
    assert info.config == {"model_type": "bert", "architectures": ["BertModel"]}
    assert info.safetensors.parameters == {"F32": 12} and info.safetensors.total == 12
    assert {"hfembed", "en", "license:mit", "base_model:a/b", "dataset:c/d", "safetensors"} <= set(info.tags)
    assert api.model_info(filled, expand=["tags", "downloads"]).siblings is None


def test_the_tree_is_listed_flat_deep_and_with_last_commits(api, filled):
    assert {item.path for item in api.list_repo_tree(filled)} == {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "sub",
    }
    deep = {item.path: item for item in api.list_repo_tree(filled, recursive=True, expand=True)}
    assert deep["sub/notes.txt"].last_commit.title == "fill"
    assert deep[".gitattributes"].last_commit.title == "initial commit"
    assert [item.path for item in api.list_repo_tree(filled, "sub")] == ["sub/notes.txt"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(filled, "nowhere"))


def test_a_long_tree_comes_in_pages(api, model):
    operations = [CommitOperationAdd(f"many/{number:04d}.txt", b"%d" % number) for number in range(1100)]
    api.create_commit(model, operations, commit_message="many")
    assert len(list(api.list_repo_tree(model, "many"))) == 1100


def test_paths_that_do_not_exist_are_left_out(api, filled):
    found = api.get_paths_info(filled, ["sub", "config.json", "missing"])
    assert [item.path for item in found] == ["sub", "config.json"]


def test_a_revision_is_a_branch_a_full_or_a_short_commit(api, filled):
    first = api.list_repo_commits(filled)[-1].commit_id
    assert api.model_info(filled, revision=first).sha == first
    assert api.model_info(filled, revision=first[:8]).sha == first
    assert [file.rfilename for file in api.model_info(filled, revision=first).siblings] == [".gitattributes"]
    assert api.model_info(filled, revision="main").sha == api.model_info(filled).sha


def test_each_kind_of_missing_raises_its_own_error(api, anonymous, filled, tmp_path):
    def fetch(repo_id, name, revision=None, token=api.token):
        hf_hub_download(repo_id, name, revision=revision, endpoint=api.endpoint, token=token, cache_dir=tmp_path / "c")

    with pytest.raises(EntryNotFoundError):
        fetch(filled, "missing.txt")
    with pytest.raises(RevisionNotFoundError):
        fetch(filled, "config.json", revision="no-such")
    for token in (api.token, False):
        with pytest.raises(RepositoryNotFoundError):
            fetch(filled + "-missing", "config.json", token=token)
    with pytest.raises(RepositoryNotFoundError):
        anonymous.model_info("gpt2")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(filled, revision="no-such")


def test_a_gated_repository_shows_its_card_but_not_its_files(api, other, anonymous, filled, tmp_path):
    api.update_repo_settings(filled, gated="auto")
    assert other.model_info(filled).gated == "auto"
    for client in (other, anonymous):
        with pytest.raises(GatedRepoError):
            hf_hub_download(filled, "config.json", endpoint=api.endpoint, token=client.token, cache_dir=tmp_path / "a")
        with pytest.raises(GatedRepoError):
            client.auth_check(filled)
    hf_hub_download(filled, "config.json", endpoint=api.endpoint, token=api.token, cache_dir=tmp_path / "b")


def test_downloads_are_counted(api, filled, tmp_path):
    before = api.model_info(filled).downloads
    hf_hub_download(filled, "config.json", endpoint=api.endpoint, token=api.token, cache_dir=tmp_path)
    assert api.model_info(filled).downloads > before
