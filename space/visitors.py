"""Visitors: every browser has a folder of its own, named by a secret that only that browser knows."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from hfembed.errors import InputError

TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # what secrets.token_urlsafe makes of that many bytes


def new_token() -> str:
    """Make the secret of a new visitor."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_token(value: object) -> bool:
    """Tell whether a browser sent something that new_token could have made."""
    return isinstance(value, str) and TOKEN.fullmatch(value) is not None


def visitor_folder(root: Path, token: object) -> Path:
    """Return a visitor's private folder.

    Its name is a hash of the token: a path that shows up in a message or a log gives nobody the token.
    Raises InputError for anything that is not a token, so no path can be smuggled in.
    """
    if not isinstance(token, str) or not is_token(token):
        raise InputError("This browser has no session yet.", "Reload the page.")
    return root / hashlib.sha256(token.encode("ascii")).hexdigest()[:40]
