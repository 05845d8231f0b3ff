"""Nobody reaches another's folder, and nobody speaks to the Hub in another's name."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hfembed.errors import InputError
from hfembed.events import silent
from hfembed.hub import process_environment, stored_token
from hfembed.hub.identity import client
from space.visitors import Visitor, is_token, new_token, visitor_of

publish = import_module("hfembed.hub.publish")  # the name is a function's, too


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_owner")
    return tmp_path / "root"


def signed_in(name: str, key: str = "hf_oauth_key") -> Any:
    return SimpleNamespace(session={"oauth_info": {"userinfo": {"preferred_username": name}, "access_token": key}})


def test_a_new_token_is_long_random_and_accepted():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(is_token(token) for token in tokens)


@pytest.mark.parametrize(
    "token", ["", None, "../../etc", "/etc/passwd", "a" * 42, "a" * 42 + "/", "a" * 43 + "\n", 7, ["x"]]
)
def test_what_is_no_token_opens_no_folder(token: object):
    with pytest.raises(InputError, match="no session"):
        visitor_of(token, None)


def test_a_folder_stays_below_the_root_and_does_not_give_the_token_away(root: Path):
    token = new_token()
    folder = visitor_of(token, None).folder
    assert folder.parent == root / "visitors"
    assert token not in str(folder)
    assert folder == visitor_of(token, None).folder != visitor_of(new_token(), None).folder


def test_who_signs_in_keeps_what_they_did_before_and_finds_their_own_on_another_browser():
    token = new_token()
    before, after = visitor_of(token, None), visitor_of(token, signed_in("amal"))
    assert after.name == "amal"
    assert before.folder in after.folders
    assert after.folder == visitor_of(new_token(), signed_in("amal")).folder
    assert after.folder != visitor_of(token, signed_in("bea")).folder


def test_a_visitor_named_like_a_browsers_secret_is_still_somebody_else():
    token = new_token()
    assert visitor_of(None, signed_in(token)).folder != visitor_of(token, None).folder


def test_the_hub_is_asked_as_the_visitor_and_never_as_the_owner(tmp_path: Path):
    nobody = Visitor(tmp_path, (tmp_path,))
    somebody = Visitor(tmp_path, (tmp_path,), "amal", "hf_of_amal")
    assert stored_token() == "hf_of_the_owner"
    with somebody.acting():
        assert stored_token() == "hf_of_amal"
        assert client().token == "hf_of_amal"
        assert process_environment()["HF_TOKEN"] == "hf_of_amal"
    with nobody.acting():
        assert stored_token() is None
        assert client().token is False
        assert "hf_of_the_owner" not in process_environment().values()
        assert process_environment()["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    assert process_environment() == dict(os.environ)
    assert "hf_of_amal" not in repr(somebody)


def test_on_ones_own_machine_one_is_ones_own_visitor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HFEMBED_SPACE_LOCAL", "1")
    owner = visitor_of(None, None)
    assert owner.is_owner and owner.has_account
    monkeypatch.setenv("SPACE_ID", "org/name")
    with pytest.raises(InputError, match="no session"):  # a Space is open to the world, whatever it is told
        visitor_of(None, None)


def test_who_waits_in_front_of_a_page_is_told_soon_that_the_hub_does_not_answer(tmp_path: Path):
    def tries(visitor: Visitor, **options: bool) -> int:
        calls = []

        def call() -> None:
            calls.append(1)
            raise ConnectionResetError

        with visitor.acting(**options), pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionResetError):
            patch.setattr(publish.time, "sleep", lambda _: None)
            publish.retry(call, silent())
        return len(calls)

    nobody, owner = Visitor(tmp_path, (tmp_path,)), Visitor(tmp_path, (tmp_path,), is_owner=True)
    assert tries(nobody) == tries(owner) == publish.FEW_TRIES
    assert tries(nobody, patient=True) == publish.TRIES
