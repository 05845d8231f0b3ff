"""OAuth and OpenID: applications, codes, and signed identity tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hfembed.localhub.accounts import TokenRole, save_token
from hfembed.localhub.database import Database
from hfembed.localhub.errors import MissingLibraryError, bad_request
from hfembed.localhub.site import Site

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_CODE_SECONDS = 300
TOKEN_SECONDS = 8 * 3600
SCOPES = [
    "openid",
    "profile",
    "email",
    "read-repos",
    "gated-repos",
    "contribute-repos",
    "write-repos",
    "manage-repos",
    "inference-api",
    "jobs",
    "write-discussions",
    "read-billing",
    "webhooks",
    "read-collections",
    "write-collections",
]
# Any of these makes the token one that writes; the others read.
_WRITING = {"contribute-repos", "write-repos", "manage-repos", "jobs", "write-discussions", "write-collections"}


@dataclass(frozen=True)
class Grant:
    """What a user allowed an application, waiting to be exchanged for a token."""

    user: str
    client: str
    redirect_uri: str
    scope: str
    nonce: str | None
    challenge: str | None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def add_application(database: Database, name: str, redirect_uris: Iterable[str]) -> tuple[str, str]:
    """Register an application and return its client id and secret."""
    client, secret = secrets.token_hex(16), secrets.token_urlsafe(32)
    uris = json.dumps([_without_query(uri) for uri in redirect_uris])
    database.run("INSERT INTO oauth_apps VALUES (?, ?, ?, ?)", client, _digest(secret), name, uris)
    return client, secret


def application_name(site: Site, client: str, redirect_uri: str) -> str:
    """Return the name of an application, refusing one that would be sent to an address it did not register."""
    row = site.database.row("SELECT * FROM oauth_apps WHERE client = ?", client)
    if row is None:
        raise bad_request(f"Unknown client_id: {client!r}")
    if _without_query(redirect_uri) not in json.loads(row["redirect_uris"]):
        raise bad_request(f"This redirect_uri is not registered for {row['name']}: {redirect_uri!r}")
    return str(row["name"])


def _without_query(uri: str) -> str:
    # Gradio hangs where the visitor came from on its address.
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def check_secret(site: Site, client: str, secret: str) -> bool:
    """Tell whether a secret is the application's."""
    row = site.database.row("SELECT secret_digest FROM oauth_apps WHERE client = ?", client)
    return row is not None and hmac.compare_digest(row["secret_digest"], _digest(secret))


def new_code(site: Site, grant: Grant) -> str:
    """Return a code that can be exchanged for a token once, for a few minutes."""
    code = secrets.token_urlsafe(32)
    site.database.run(
        "INSERT INTO oauth_codes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        _digest(code),
        grant.user,
        grant.client,
        grant.redirect_uri,
        grant.scope,
        grant.nonce,
        grant.challenge,
        time.time() + _CODE_SECONDS,
    )
    return code


def take_code(site: Site, code: str, client: str, redirect_uri: str, verifier: str) -> Grant | None:
    """Return what a code stands for and make it worthless, or None where it is not valid."""
    with site.database.transaction():
        row = site.database.row("SELECT * FROM oauth_codes WHERE code = ?", _digest(code))
        site.database.run("DELETE FROM oauth_codes WHERE code = ? OR expires_at < ?", _digest(code), time.time())
    if row is None or row["expires_at"] < time.time() or row["client"] != client:
        return None
    if row["redirect_uri"] != redirect_uri:
        return None
    if row["challenge"] and row["challenge"] != _encode(hashlib.sha256(verifier.encode()).digest()):
        return None
    keys = ("user", "client", "redirect_uri", "scope", "nonce", "challenge")
    return Grant(**{key: row[key] for key in keys})


def new_access_token(site: Site, grant: Grant, seconds: int) -> str:
    """Return a token for an application, with the rights that its scopes ask for, good for so many seconds."""
    token = "hf_oauth_" + secrets.token_urlsafe(32)
    scopes = set(grant.scope.split())
    role = TokenRole.WRITE if _WRITING & scopes else TokenRole.READ
    save_token(
        site.database,
        grant.user,
        token,
        role,
        label="oauth",
        lifetime=seconds,
        scopes=scopes,
        client=grant.client,
    )
    return token


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@lru_cache(maxsize=8)
def _key(root: Path) -> RSAPrivateKey:
    """Return the key that signs identity tokens; it is made once and kept."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as error:
        raise MissingLibraryError(
            'Signing in with the local Hub needs cryptography. Run: pip install "hfembed[serve]"'
        ) from error
    path = root / "oauth-key.pem"
    if not path.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(
                made.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        fresh.replace(path)
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    return loaded


def public_key(site: Site) -> dict[str, str]:
    """Return the public half of the signing key, as JSON Web Keys hold it."""
    numbers = _key(site.root).public_key().public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": site.identity,
        "n": _encode(numbers.n.to_bytes(size, "big")),
        "e": _encode(numbers.e.to_bytes(3, "big")),
    }


def sign_identity(site: Site, claims: dict[str, Any]) -> str:
    """Return claims as a signed identity token."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    header = {"alg": "RS256", "typ": "JWT", "kid": site.identity}
    text = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
    signature = _key(site.root).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{_encode(signature)}"
