"""What an upload would change in a repo, as the Hub itself tells of its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hfembed.errors import HubError
from hfembed.events import silent
from hfembed.hub import Upload, acting_as, publish
from hfembed.hub.repos import Change, compare_upload, compare_with_nothing, refuse_others_repo

LARGE = b"\0weights" * 30_000  # above what the Hub here keeps in git itself


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_new_changed_unchanged_and_removed_files_are_told_apart(repo_id: str, token: str, tmp_path: Path, kind: str):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(LARGE)
    first = Upload(
        repo_id,
        kind,
        [
            ("README.md", b"one"),
            ("weights.safetensors", weights),
            ("other.safetensors", LARGE + b"1"),
            ("onnx/a.txt", b"a"),
        ],
        "m",
        owned=("onnx",),
    )
    with acting_as(token):
        before = compare_upload(first)
        assert (before.exists, before.private) == (False, None) and before.count(Change.NEW) == 4
        assert before == compare_with_nothing(first)
        publish(first, silent())
        assert compare_upload(first).count(Change.SAME) == 4
        second = Upload(
            repo_id,
            kind,
            [
                ("README.md", b"two"),
                ("weights.safetensors", weights),
                ("other.safetensors", LARGE + b"2"),
                ("new.txt", b"n"),
            ],
            "m",
            owned=("onnx",),
        )
        after = compare_upload(second)
    assert after.exists and after.private
    assert {entry.path: entry.change for entry in after.changes} == {
        "README.md": Change.CHANGED,
        "weights.safetensors": Change.SAME,
        "other.safetensors": Change.CHANGED,
        "new.txt": Change.NEW,
        "onnx/a.txt": Change.REMOVED,
    }


def test_a_repo_of_somebody_else_is_refused_unless_a_pull_request_can_be_opened(token: str, other: HfApi):
    other.create_repo("other/theirs", exist_ok=True)
    with acting_as(token):
        refuse_others_repo("demo/mine", exists=False, pull_request=False)
        refuse_others_repo("acme/ours", exists=False, pull_request=False)
        refuse_others_repo("other/theirs", exists=True, pull_request=True)
        with pytest.raises(HubError, match="neither yours nor an organisation's of yours: you are demo"):
            refuse_others_repo("other/theirs", exists=True, pull_request=False)
        with pytest.raises(HubError, match="Name demo/new"):
            try:
                refuse_others_repo("other/new", exists=False, pull_request=True)
            except HubError as error:
                raise HubError(error.hint) from error


def test_a_name_that_the_hub_would_refuse_is_refused_here(token: str):
    with acting_as(token), pytest.raises(HubError, match="The Hub refuses the model demo/a--b"):
        compare_upload(Upload("demo/a--b", "model", [("README.md", b"x")], "m"))
