"""Nobody reaches another's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfembed.errors import InputError
from space.settings import run_environment
from space.visitors import is_token, new_token, visitor_folder


def test_a_new_token_is_long_random_and_accepted() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(is_token(token) for token in tokens)


@pytest.mark.parametrize(
    "token", ["", None, "../../etc", "/etc/passwd", "a" * 42, "a" * 42 + "/", "a" * 43 + "\n", 7, ["x"]]
)
def test_what_is_no_token_opens_no_folder(token: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no session"):
        visitor_folder(tmp_path, token)


def test_a_folder_stays_below_the_root_and_does_not_give_the_token_away(tmp_path: Path) -> None:
    token = new_token()
    folder = visitor_folder(tmp_path, token)
    assert folder.parent == tmp_path
    assert token not in str(folder)
    assert folder == visitor_folder(tmp_path, token) != visitor_folder(tmp_path, new_token())


def test_a_run_does_not_get_the_owners_secrets() -> None:
    given = run_environment({"HF_TOKEN": "hf_secret", "PATH": "/bin"})
    assert "hf_secret" not in given.values()
    assert given["PATH"] == "/bin"
    assert given["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
