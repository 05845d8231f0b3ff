"""Signing in to the web pages, and signing in to applications: login, consent, tokens, identity."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from hfembed.localhub.access import COOKIE, TheSite, User, base_url
from hfembed.localhub.accounts import TokenRole, Visitor, save_token, visitor_for
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.html import page
from hfembed.localhub.oauth import (
    SCOPES,
    Grant,
    application_name,
    check_secret,
    new_access_token,
    new_code,
    public_key,
    sign_identity,
    take_code,
)
from hfembed.localhub.site import Site
from hfembed.localhub.spacesignin import landing, token_seconds
from hfembed.localhub.wire import read_body

router = APIRouter()
_FORM_LIMIT = 64 * 1024
_SESSION_SECONDS = 12 * 3600


async def _form(request: Request) -> dict[str, str]:
    body = (await read_body(request, _FORM_LIMIT)).decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(body).items()}


def _session(request: Request, site: Site) -> tuple[Visitor, str]:
    """Return who is signed in in this browser, and the proof that a form came from our own page."""
    cookie = request.cookies.get(COOKIE, "")
    visitor = visitor_for(site.database, cookie) or Visitor()
    return visitor, hashlib.sha256(b"form" + cookie.encode()).hexdigest()


def _own_path(address: str) -> str:
    """Return an address of this server, whatever was asked: nobody is sent elsewhere after signing in."""
    parts = urlsplit(address)
    is_own = address.startswith("/") and not address.startswith(("//", "/\\")) and not parts.netloc
    return address if is_own else "/"


@router.get("/login")
def login_page(next: str = "/", wrong: str = "") -> Response:
    """Show where to sign in."""
    note = "<p><strong>This token is not known here.</strong></p>" if wrong else ""
    return page(
        "Sign in",
        f'<h1>Sign in</h1>{note}<form method="post" action="/login"><p>Access token, from '
        '<code>hfembed hub user</code>:<br><input type="password" name="token" size="50" autocomplete="off" '
        f'autofocus></p><input type="hidden" name="next" value="{escape(_own_path(next))}">'
        "<button>Sign in</button></form>",
    )


@router.post("/login")
async def login(request: Request, site: TheSite) -> Response:
    """Sign a browser in with an access token."""
    form = await _form(request)
    target = _own_path(form.get("next", "/"))
    visitor = await run_in_threadpool(visitor_for, site.database, form.get("token", ""))
    if visitor is None or visitor.name is None:
        return RedirectResponse(f"/login?{urlencode({'next': target, 'wrong': '1'})}", 303)
    # The browser keeps a token of its own that only reads, not the one that was typed in.
    session = secrets.token_urlsafe(32)
    save_token(site.database, visitor.name, session, TokenRole.READ, label="browser", lifetime=_SESSION_SECONDS)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(COOKIE, session, max_age=_SESSION_SECONDS, httponly=True, samesite="lax")
    return answer


@router.get("/.well-known/openid-configuration")
def configuration(request: Request) -> dict[str, Any]:
    """Tell applications where everything is."""
    base = base_url(request)
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}/oauth/authorize",
        "token_endpoint": f"{base}/oauth/token",
        "userinfo_endpoint": f"{base}/oauth/userinfo",
        "jwks_uri": f"{base}/oauth/jwks",
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": ["sub", "name", "preferred_username", "profile", "picture", "email", "orgs"],
    }


@router.get("/oauth/jwks")
def keys(site: TheSite) -> dict[str, Any]:
    """Tell the key that identity tokens are signed with."""
    return {"keys": [public_key(site)]}


def _check_authorization(site: Site, asked: dict[str, str]) -> str:
    """Return the name of the application that asks, refusing what cannot be granted."""
    name = application_name(site, asked.get("client_id", ""), asked.get("redirect_uri", ""))
    if asked.get("response_type") != "code":
        raise bad_request('"response_type" must be code')
    unknown = set(asked.get("scope", "").split()) - set(SCOPES)
    if unknown:
        raise bad_request(f"Unknown scopes: {', '.join(sorted(unknown))}")
    if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
        raise bad_request('"code_challenge_method" must be S256')
    return name


@router.get("/oauth/authorize")
def consent_page(request: Request, site: TheSite) -> Response:
    """Ask the user whether an application may act for them."""
    asked = dict(request.query_params)
    name = _check_authorization(site, asked)
    visitor, proof = _session(request, site)
    if visitor.name is None:
        return RedirectResponse(f"/login?{urlencode({'next': f'/oauth/authorize?{request.url.query}'})}", 303)
    items = "".join(f"<li>{escape(scope)}</li>" for scope in asked.get("scope", "").split())
    hidden = "".join(
        f'<input type="hidden" name="{escape(key)}" value="{escape(value)}">' for key, value in asked.items()
    )
    return page(
        "Consent",
        f"<h1>{escape(name)} wants to sign you in as {escape(visitor.name)}</h1><p>It asks for:</p><ul>{items}</ul>"
        f'<form method="post" action="/oauth/authorize">{hidden}<input type="hidden" name="proof" value="{proof}">'
        '<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button></form>',
    )


@router.post("/oauth/authorize")
async def consent(request: Request, site: TheSite) -> Response:
    """Send the user back to the application with what they decided."""
    asked = await _form(request)
    return await run_in_threadpool(_decide, request, site, asked)


def _decide(request: Request, site: Site, asked: dict[str, str]) -> Response:
    _check_authorization(site, asked)
    visitor, proof = _session(request, site)
    if visitor.name is None or not hmac.compare_digest(proof, asked.get("proof", "")):
        raise RefusalError(403, "This form did not come from the consent page, or the session is over.")
    if asked.get("decision") == "allow":
        grant = Grant(
            user=visitor.name,
            client=asked["client_id"],
            redirect_uri=asked["redirect_uri"],
            scope=asked.get("scope", ""),
            nonce=asked.get("nonce"),
            challenge=asked.get("code_challenge"),
        )
        answer = {"code": new_code(site, grant)}
    else:
        answer = {"error": "access_denied"}
    if "state" in asked:
        answer["state"] = asked["state"]
    address = landing(site, asked["client_id"], asked["redirect_uri"])
    return RedirectResponse(f"{address}{'&' if '?' in address else '?'}{urlencode(answer)}", 303)


def _client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Return the client id and secret, from the header or from the form."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return client, secret


@router.post("/oauth/token")
async def token(request: Request, site: TheSite) -> Response:
    """Exchange a code for a token."""
    form = await _form(request)
    return await run_in_threadpool(_exchange, request, site, form)


def _exchange(request: Request, site: Site, form: dict[str, str]) -> Response:
    client, secret = _client(request, form)
    if not check_secret(site, client, secret):
        return JSONResponse({"error": "invalid_client"}, 401)
    if form.get("grant_type") != "authorization_code":
        return JSONResponse({"error": "unsupported_grant_type"}, 400)
    verifier = form.get("code_verifier", "")
    grant = take_code(site, form.get("code", ""), client, form.get("redirect_uri", ""), verifier)
    if grant is None:
        return JSONResponse({"error": "invalid_grant"}, 400)
    now, lasts = int(time.time()), token_seconds(site, client)
    # Organisations are told by userinfo alone: gradio cannot hold a list of objects in its session.
    person = {key: value for key, value in _claims(site, base_url(request), grant.user).items() if key != "orgs"}
    claims = {
        **person,
        "iss": base_url(request),
        "aud": client,
        "iat": now,
        "exp": now + lasts,
        **({"nonce": grant.nonce} if grant.nonce else {}),
    }
    answer = {
        "access_token": new_access_token(site, grant, lasts),
        "token_type": "bearer",
        "expires_in": lasts,
        "scope": grant.scope,
        "id_token": sign_identity(site, claims),
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _claims(site: Site, base: str, name: str) -> dict[str, Any]:
    """Return what applications learn about a user."""
    row = site.database.row("SELECT * FROM accounts WHERE name = ?", name)
    if row is None:
        raise RefusalError(401, "This user does not exist any more.")
    organisations = site.database.rows(
        "SELECT accounts.* FROM members JOIN accounts ON accounts.name = members.organisation WHERE user = ?", name
    )
    return {
        "sub": row["id"],
        "name": row["name"],
        "preferred_username": row["name"],
        "profile": f"{base}/{row['name']}",
        "picture": f"{base}/avatar.svg",
        "website": "",
        "isPro": True,
        "email": f"{row['name']}@users.noreply.localhub",
        "email_verified": True,
        "orgs": [
            {
                "sub": organisation["id"],
                "name": organisation["name"],
                "preferred_username": organisation["name"],
                "picture": f"{base}/avatar.svg",
                "isEnterprise": False,
                "roleInOrg": "admin",
            }
            for organisation in organisations
        ],
    }


@router.api_route("/oauth/userinfo", methods=["GET", "POST"])
def userinfo(request: Request, site: TheSite, user: User) -> dict[str, Any]:
    """Tell an application about the user of its token."""
    return _claims(site, base_url(request), str(user.name))
