"""Committing through the real client: files large and small, deletions, copies, conflicts."""

import io
import json
import os
import threading
from base64 import b64encode

import pytest
import requests
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def _read(api: HfApi, repo_id: str, path: str, folder, **options) -> bytes:
    found = hf_hub_download(
        repo_id, path, endpoint=api.endpoint, token=api.token, cache_dir=folder / "cache", **options
    )
    with open(found, "rb") as stream:
        return stream.read()


def test_an_uploaded_folder_comes_back_byte_for_byte(api, model, tmp_path):
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    files = {
        "README.md": b"---\nlicense: mit\n---\n# Hello\n",
        "deep/er/with space & ümlaut#.txt": b"text",
        "empty.txt": b"",
        "model.safetensors": os.urandom(50_000),
        "many-parts.bin": os.urandom(400_001),
        "zeros.bin": bytes(300_000),
        "floats.bin": b"".join(i.to_bytes(4, "little") for i in range(70_000)),
    }
    for name, content in files.items():
        (source / name).write_bytes(content)
    commit = api.upload_folder(repo_id=model, folder_path=source)
    snapshot = snapshot_download(model, endpoint=api.endpoint, token=api.token, cache_dir=tmp_path / "cache")
    for name, content in files.items():
        with open(os.path.join(snapshot, name), "rb") as stream:
            assert stream.read() == content, name
    siblings = {file.rfilename: file for file in api.model_info(model, files_metadata=True).siblings}
    assert siblings["many-parts.bin"].lfs.size == 400_001
    assert siblings["README.md"].lfs is None
    assert api.model_info(model).sha in str(snapshot)
    assert commit is not None


def test_a_buffer_goes_up_in_parts_by_plain_http_as_well(api, model, tmp_path):
    # Clients with Xet send a buffer by the LFS protocol.
    content = os.urandom(500_123)
    api.upload_file(path_or_fileobj=io.BytesIO(content), path_in_repo="buffer.bin", repo_id=model)
    assert _read(api, model, "buffer.bin", tmp_path) == content
    api.upload_file(path_or_fileobj=io.BytesIO(content[:9000]), path_in_repo="one-part.bin", repo_id=model)
    assert _read(api, model, "one-part.bin", tmp_path) == content[:9000]


def test_uploading_the_same_again_makes_no_commit(api, model):
    operations = [("a.txt", b"same"), ("b.bin", b"\0" * 2000)]
    first, second = (
        api.create_commit(
            model, [CommitOperationAdd(path, content) for path, content in operations], commit_message="again"
        )
        for _ in range(2)
    )
    assert first.oid == second.oid
    assert len(api.list_repo_commits(model)) == 2


def test_one_commit_adds_deletes_and_copies(api, model, tmp_path):
    weights = os.urandom(5000)
    api.create_commit(
        model,
        [
            CommitOperationAdd("old.txt", b"old"),
            CommitOperationAdd("folder/a.txt", b"a"),
            CommitOperationAdd("folder/b/c.txt", b"c"),
            CommitOperationAdd("weights.bin", weights),
            CommitOperationAdd("note.txt", b"note"),
        ],
        commit_message="first",
    )
    api.create_commit(
        model,
        [
            CommitOperationDelete("old.txt"),
            CommitOperationDelete("folder/"),
            CommitOperationCopy("weights.bin", "copy/weights.bin"),
            CommitOperationCopy("note.txt", "copy/note.txt"),
            CommitOperationAdd("new.txt", b"new"),
        ],
        commit_message="second",
        commit_description="with a description",
    )
    assert set(api.list_repo_files(model)) == {
        ".gitattributes",
        "weights.bin",
        "note.txt",
        "copy/weights.bin",
        "copy/note.txt",
        "new.txt",
    }
    assert _read(api, model, "copy/weights.bin", tmp_path) == weights
    assert _read(api, model, "copy/note.txt", tmp_path) == b"note"
    newest = api.list_repo_commits(model)[0]
    assert (newest.title, newest.message, newest.authors) == ("second", "with a description", ["demo"])


def test_deleting_what_is_not_there_is_an_entry_not_found(api, model):
    with pytest.raises(EntryNotFoundError):
        api.delete_file("missing.txt", model)


def test_a_parent_that_moved_is_refused_and_nothing_is_written(api, model):
    parent = api.model_info(model).sha
    api.upload_file(path_or_fileobj=b"1", path_in_repo="one.txt", repo_id=model, parent_commit=parent)
    with pytest.raises(HfHubHTTPError) as refused:
        api.upload_file(path_or_fileobj=b"2", path_in_repo="two.txt", repo_id=model, parent_commit=parent)
    assert refused.value.response.status_code == 412
    assert "two.txt" not in api.list_repo_files(model)


def test_commits_at_the_same_time_are_all_kept(api, model):
    def push(worker: int) -> None:
        for step in range(5):
            api.upload_file(
                path_or_fileobj=f"{worker} {step}".encode(), path_in_repo=f"{worker}/{step}.txt", repo_id=model
            )

    workers = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    files = set(api.list_repo_files(model)) - {".gitattributes"}
    assert files == {f"{worker}/{step}.txt" for worker in range(6) for step in range(5)}
    assert len(api.list_repo_commits(model)) == 31


def test_a_card_whose_yaml_is_wrong_is_refused_before_and_in_the_commit(hub, api, model, token):
    card = b"---\nlicense: no-such-licence\nmodel-index:\n- name: x\n---\n"
    with pytest.raises(ValueError, match="license"):
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=model)
    content = {"path": "README.md", "encoding": "base64", "content": b64encode(card).decode()}
    lines = [{"key": "header", "value": {"summary": "m"}}, {"key": "file", "value": content}]
    answer = requests.post(
        f"{hub.url}/api/models/{model}/commit/main",
        data="\n".join(map(json.dumps, lines)),
        timeout=10,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 400 and "license" in answer.json()["error"]
    assert "README.md" not in api.list_repo_files(model)


@pytest.mark.parametrize("path", ["../up.txt", "a/../../b", ".git/config", "a//b", "/abs"])
def test_a_path_outside_the_repository_is_refused(hub, api, model, token, path):
    lines = [
        {"key": "header", "value": {"summary": "m"}},
        {"key": "file", "value": {"path": path, "encoding": "base64", "content": "eA=="}},
    ]
    answer = requests.post(
        f"{hub.url}/api/models/{model}/commit/main",
        data="\n".join(map(json.dumps, lines)),
        timeout=10,
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 400


def test_a_large_file_that_was_never_sent_cannot_be_committed(hub, api, model, token):
    lines = [
        {"key": "header", "value": {"summary": "m"}},
        {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": "0" * 64, "size": 3}},
    ]
    answer = requests.post(
        f"{hub.url}/api/models/{model}/commit/main",
        data="\n".join(map(json.dumps, lines)),
        timeout=10,
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 400
    assert "x.bin" not in api.list_repo_files(model)


def test_ignored_files_stay_out(api, model, tmp_path):
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "a.log").write_text("log")
    (tmp_path / "a.txt").write_text("text")
    api.upload_folder(repo_id=model, folder_path=tmp_path)
    assert set(api.list_repo_files(model)) == {".gitattributes", ".gitignore", "a.txt"}


def test_committing_nowhere_says_what_is_missing(api, repo_id, model):
    missing = model + "-missing"
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=missing)
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model, revision="no-branch")


def test_a_commit_to_a_commit_is_a_bad_request(api, model):
    sha = api.model_info(model).sha
    with pytest.raises(BadRequestError):
        api.create_commit(model, [CommitOperationAdd("x.txt", b"x")], commit_message="m", revision=sha)


def test_the_card_class_pushes_and_loads(in_process, hub, model):
    printed = in_process(
        """
        import sys
        from huggingface_hub import ModelCard
        from hfembed.localhub import route_public_address
        with route_public_address(sys.argv[2]):
            ModelCard("---\\nlicense: mit\\ntags: [hfembed]\\n---\\n# A card\\n").push_to_hub(sys.argv[1])
        print(ModelCard.load(sys.argv[1]).data.license)
        """,
        model,
        hub.url,
    )
    assert printed.endswith("mit")
