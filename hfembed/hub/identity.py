"""Identity: as whom the Hub is spoken to; the user of this machine, or for a while the visitor of a page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# A token made for jobs alone, which may do less than the one that the user is logged in with.
JOB_TOKEN = "HFEMBED_JOB_TOKEN"
# Keys that open this machine's own repos: nobody else's process holds them.
OWN_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "OAUTH_CLIENT_SECRET", JOB_TOKEN)
# None: as the client is logged in. False: as nobody.
_token: ContextVar[str | Literal[False] | None] = ContextVar("hfembed_token", default=None)


@contextmanager
def acting_as(token: str | None) -> Iterator[None]:
    """Speak to the Hub with a visitor's token, or as nobody; never with the token of this machine."""
    before = _token.set(token or False)
    try:
        yield
    finally:
        _token.reset(before)


def client() -> HfApi:
    """Return the Hub's client, speaking for whoever acts now."""
    from huggingface_hub import HfApi

    return HfApi(token=_token.get())


def token_option() -> str | Literal[False] | None:
    """Return what the client's functions take as `token`: whoever acts now."""
    return _token.get()


def headers() -> dict[str, str]:
    """Return the headers of a request that the client has no function for."""
    from huggingface_hub.utils._headers import build_hf_headers

    found: dict[str, str] = build_hf_headers(token=_token.get())
    return found


def stored_token() -> str | None:
    """Return the token of whoever acts now, if any."""
    from huggingface_hub import get_token

    token = _token.get()
    return get_token() if token is None else token or None


def job_token() -> str | None:
    """Return the token that a run elsewhere is given: the one made for jobs alone, else that of whoever acts.

    A visitor's run gets the visitor's own, whatever this machine has been given.
    """
    return (None if is_visitor() else os.environ.get(JOB_TOKEN)) or stored_token()


def is_visitor() -> bool:
    """Tell whether somebody else acts now than the user of this machine."""
    return _token.get() is not None


def process_environment() -> dict[str, str]:
    """Return the environment of a process that is started for whoever acts now: a visitor's holds no key but theirs."""
    if not is_visitor():
        return dict(os.environ)
    kept: dict[str, Any] = {name: value for name, value in os.environ.items() if name not in OWN_SECRETS}
    token = stored_token()
    return {**kept, **({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})}
