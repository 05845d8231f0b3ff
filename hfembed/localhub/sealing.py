"""Secrets at rest: what users entrust to the Hub lies encrypted in its database, under the key of its folder."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from hfembed.localhub.errors import MissingLibraryError

_MARK = "sealed:"


def _cipher(root: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the type is of an optional library
    try:
        from cryptography.fernet import Fernet
    except ImportError as error:
        raise MissingLibraryError('Keeping secrets needs cryptography. Run: pip install "hfembed[serve]"') from error
    key = hashlib.sha256(b"seal" + (root / "secret").read_bytes()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def seal(root: Path, text: str) -> str:
    """Return a text so that only the server of this folder can read it again."""
    return _MARK + str(_cipher(root).encrypt(text.encode()).decode())


def unseal(root: Path, text: str) -> str:
    """Return what was sealed; a text from before there was a seal is returned as it is."""
    if not text.startswith(_MARK):
        return text
    return str(_cipher(root).decrypt(text.removeprefix(_MARK).encode()).decode())


def seal_all(root: Path, secrets: dict[str, str]) -> str:
    """Return names and values as one sealed text; where there are none nothing needs a seal."""
    return seal(root, json.dumps(secrets)) if secrets else "{}"


def unseal_all(root: Path, text: str) -> dict[str, str]:
    """Return the names and values of a sealed text."""
    return {str(name): str(value) for name, value in json.loads(unseal(root, text)).items()}
