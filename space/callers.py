"""Callers: who asks without a page, by the key of the Hub that they send along; nobody in particular without one."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from threading import Lock

import gradio as gr

from hfembed.errors import HubError, InputError
from hfembed.hub import acting_as
from hfembed.hub.runs import who_am_i

from .settings import read_settings
from .visitors import Visitor, visitor_of, visitor_with

# A Space that is private keeps the second one for itself; the clients send the first one then.
HEADERS = ("x-hf-authorization", "authorization")
REMEMBERED_SECONDS, MOST_REMEMBERED = 60.0, 1_000
NEEDS_ACCOUNT = (
    "This needs to know who you are.",
    "Send a token of the Hub: 'Authorization: Bearer hf_...'; without one the sample can be searched and compared.",
)
# Whose key is whose, by the key's digest, and until when that is believed.
_known: OrderedDict[str, tuple[str, float]] = OrderedDict()
_guard = Lock()


def caller_of(request: gr.Request | None) -> Visitor:
    """Return who calls: the owner of this machine, whoever a key belongs to, who is signed in, or nobody."""
    settings = read_settings()
    if settings.is_local:
        return visitor_of("", request)
    key = _key(request)
    if key:
        return visitor_with(_name_of(key), key)
    try:
        return visitor_of("", request)  # by how the browser is signed in
    except InputError:
        return Visitor(settings.root / "visitors" / "nobody", ())


def known_caller(request: gr.Request | None) -> Visitor:
    """Return who calls, or refuse nobody."""
    visitor = caller_of(request)
    if not (visitor.is_owner or visitor.name):
        raise InputError(*NEEDS_ACCOUNT)
    return visitor


def _key(request: gr.Request | None) -> str:
    headers = request.headers if request is not None else {}
    for name in HEADERS:
        scheme, _, key = str(headers.get(name, "")).partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            return key.strip()
    return ""


def _name_of(key: str) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    with _guard:
        name, until = _known.get(digest, ("", 0.0))
    if time.monotonic() < until:
        return name
    try:
        with acting_as(key):
            name = who_am_i().name
    except HubError:
        raise InputError(
            "The Hub does not know the token that was sent.", "Make one at the Hub's settings/tokens page."
        ) from None
    with _guard:
        _known[digest] = (name, time.monotonic() + REMEMBERED_SECONDS)
        while len(_known) > MOST_REMEMBERED:
            _known.popitem(last=False)
    return name
