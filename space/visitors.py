"""Visitors: who looks at a page, where what is theirs stands, and as whom the Hub is asked for them."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from hfembed.errors import InputError
from hfembed.hub import acting_as, stored_token
from hfembed.hub.publish import impatient

from .settings import read_settings

TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # what secrets.token_urlsafe makes of that many bytes
NO_SESSION = "This browser has no session yet."


@dataclass(frozen=True)
class Visitor:
    """Somebody who looks at a page.

    folder: where what they begin now is kept. folders: all that is theirs, from before they signed in too. name: who
    they are on the Hub, if they signed in. hub_token: the key that lets us act for them there. is_owner: they started
    this page on their own machine, and the Hub is asked as they are logged in there.
    """

    folder: Path
    folders: tuple[Path, ...]
    name: str | None = None
    hub_token: str | None = field(default=None, repr=False)
    is_owner: bool = False

    @property
    def has_account(self) -> bool:
        """Tell whether the Hub can be asked to keep something for them."""
        return bool(stored_token() if self.is_owner else self.hub_token)

    @contextmanager
    def acting(self, *, patient: bool = False) -> Iterator[None]:
        """Ask the Hub as this visitor, and never as anybody else, until it ends; `patient` where nobody waits for it."""
        asks = nullcontext() if self.is_owner else acting_as(self.hub_token)
        with asks, nullcontext() if patient else impatient():
            yield


def visitor_of(token: object, request: gr.Request | None) -> Visitor:
    """Return who sends a request: by the secret that their browser keeps, and by how they signed in.

    A folder's name is a hash: a path that shows up in a message or a log gives nobody the secret. Raises InputError
    for anything that is no secret of ours, so no path can be smuggled in.
    """
    settings = read_settings()
    if settings.is_local:
        mine = _folder(settings.root, "owner")
        return Visitor(mine, (mine,), is_owner=True)
    name, hub_token = _signed_in(request)
    own = [_folder(settings.root, f"user {name}")] if name else []
    browser = [_folder(settings.root, str(token))] if is_token(token) else []
    if not own and not browser:
        raise InputError(NO_SESSION, "Reload the page.")
    return Visitor((own or browser)[0], (*own, *browser), name, hub_token)


def visitor_with(name: str, hub_token: str) -> Visitor:
    """Return who asks without a browser, with a key of the Hub that is known to be theirs."""
    own = _folder(read_settings().root, f"user {name}")
    return Visitor(own, (own,), name, hub_token)


def new_token() -> str:
    """Make the secret of a new visitor's browser."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_token(value: object) -> bool:
    """Tell whether a browser sent something that new_token could have made."""
    return isinstance(value, str) and TOKEN.fullmatch(value) is not None


def _signed_in(request: gr.Request | None) -> tuple[str | None, str | None]:
    asked: Any = getattr(request, "request", None)
    if asked is not None and "session" not in asked.scope:  # nobody can sign in here
        return None, None
    session: Any = getattr(request, "session", None) or {}
    found = session.get("oauth_info") or {}
    name = (found.get("userinfo") or {}).get("preferred_username")
    return (name, found.get("access_token")) if name else (None, None)


def _folder(root: Path, secret: str) -> Path:
    return root / "visitors" / hashlib.sha256(secret.encode()).hexdigest()[:40]
