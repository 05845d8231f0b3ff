"""Signing in to Spaces: the application that a Space with `hf_oauth: true` in its card has on this Hub."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from hfembed.localhub.oauth import SCOPES, TOKEN_SECONDS, add_application
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.sealing import seal, unseal
from hfembed.localhub.site import Site

# What every application may ask for.
_ALWAYS = ("openid", "profile")
_MOST_MINUTES = 30 * 24 * 60


def sign_in_variables(site: Site, record: RepoRecord, card: dict[str, Any], host: str, endpoint: str) -> dict[str, str]:
    """Return what the app of a Space finds in its environment to sign visitors in; nothing where its card asks for none.

    Client id and secret stay the same through restarts, so that whoever is signed in stays so. Raises ValueError for a
    card that asks for what there is not.
    """
    if not card.get("hf_oauth"):
        forget_application(site, record.key)
        return {}
    scopes, seconds = _scopes(card), _seconds(card)
    row = site.database.row("SELECT * FROM space_oauth WHERE repo = ?", record.key)
    if row is None:
        client, secret = add_application(site.database, record.full_name, [])
        site.database.run(
            "INSERT INTO space_oauth VALUES (?, ?, ?, ?)", record.key, client, seal(site.root, secret), seconds
        )
    else:
        client, secret = row["client"], unseal(site.root, row["secret"])
        site.database.run("UPDATE space_oauth SET seconds = ? WHERE repo = ?", seconds, record.key)
    addresses = json.dumps([f"{scheme}://{host}/login/callback" for scheme in ("https", "http")])
    site.database.run("UPDATE oauth_apps SET redirect_uris = ? WHERE client = ?", addresses, client)
    return {
        "OAUTH_CLIENT_ID": client,
        "OAUTH_CLIENT_SECRET": secret,
        "OAUTH_SCOPES": " ".join(scopes),
        "OPENID_PROVIDER_URL": endpoint,
    }


def forget_application(site: Site, key: str) -> None:
    """Remove the application of a Space, and what visitors had allowed it."""
    row = site.database.row("SELECT client FROM space_oauth WHERE repo = ?", key)
    if row is None:
        return
    with site.database.transaction():
        site.database.run("DELETE FROM oauth_apps WHERE client = ?", row["client"])
        site.database.run(
            "DELETE FROM tokens WHERE digest IN (SELECT digest FROM token_scopes WHERE client = ?)", row["client"]
        )
        site.database.run("DELETE FROM space_oauth WHERE repo = ?", key)


def landing(site: Site, client: str, redirect_uri: str) -> str:
    """Return the address to send a browser back to.

    The app of a Space takes it that TLS stands before it, as on the Hub; here nothing does.
    """
    is_space = site.database.row("SELECT 1 FROM space_oauth WHERE client = ?", client) is not None
    return urlsplit(redirect_uri)._replace(scheme="http").geturl() if is_space else redirect_uri


def token_seconds(site: Site, client: str) -> int:
    """Return how long a token of an application is good for."""
    row = site.database.row("SELECT seconds FROM space_oauth WHERE client = ?", client)
    return int(row["seconds"]) if row else TOKEN_SECONDS


def _scopes(card: dict[str, Any]) -> list[str]:
    asked = card.get("hf_oauth_scopes") or []
    unknown = [scope for scope in asked if scope not in SCOPES] if isinstance(asked, list) else [asked]
    if unknown:
        raise ValueError(f"hf_oauth_scopes has {unknown[0]!r}; it is a list of: {', '.join(SCOPES)}.")
    return list(dict.fromkeys([*_ALWAYS, *asked]))


def _seconds(card: dict[str, Any]) -> int:
    minutes = card.get("hf_oauth_expiration_minutes", TOKEN_SECONDS // 60)
    if not isinstance(minutes, int) or not 0 < minutes <= _MOST_MINUTES:
        raise ValueError(f"hf_oauth_expiration_minutes is {minutes!r}; it is a number from 1 to {_MOST_MINUTES}.")
    return minutes * 60
