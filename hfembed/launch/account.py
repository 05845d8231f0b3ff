"""Account: who pays for a run elsewhere, and what it is given in secret."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from hfembed.errors import InputError, choices
from hfembed.hub import JOB_TOKEN, is_visitor, job_token
from hfembed.hub.runs import check_token, hub_address, who_am_i
from hfembed.recipe import Recipe

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


def find_owner(wanted: str | None) -> str:
    """Return whose account pays: the one that is wanted, if the user may, else the user's own."""
    account = who_am_i()
    if wanted is not None and wanted not in (account.name, *account.organisations):
        raise InputError(
            f"{account.name} cannot run jobs for '{wanted}'; allowed: "
            f"{choices((account.name, *account.organisations))}.",
            "--namespace names whose account pays.",
        )
    return wanted or account.name


def find_secrets(recipe: Recipe, token_from: str | None) -> dict[str, str]:
    """Return what the run is given in secret: a token of the Hub, and the key of a language model where one is asked."""
    if token_from is not None and not VARIABLE.fullmatch(token_from):
        raise InputError(
            "--token-from must be the name of an environment variable, in capitals. If it is the token itself: "
            "a token belongs on no command line.",
            f"export {JOB_TOKEN}=... is found without --token-from.",
        )
    token = os.environ.get(token_from) if token_from else job_token()
    if not token:
        raise InputError(
            f"The environment variable {token_from} holds no token." if token_from else "There is no token of the Hub.",
            "hf auth login, or export a token made for jobs alone as " + JOB_TOKEN,
        )
    check_token(token)
    return {"HF_TOKEN": token, **_llm_key(recipe)}


def _llm_key(recipe: Recipe) -> dict[str, str]:
    llm = recipe.generate.llm
    if not recipe.generate.asks_an_endpoint():
        return {}
    name = llm.key_env or ("OPENAI_API_KEY" if llm.endpoint else "HF_TOKEN")
    if name == "HF_TOKEN":
        return {}
    if is_visitor() and os.environ.get(name):
        raise InputError(
            "The key of the language model belongs to this page, and goes to no other machine.",
            "Run it on this machine, or from a shell of your own: hfembed run --on jobs",
        )
    if not os.environ.get(name) and llm.key_env:
        raise InputError(f"The environment variable {name} holds no key of the language model.", f"export {name}=...")
    return {name: os.environ[name]} if os.environ.get(name) else {}


def refuse_unreachable(recipe: Recipe) -> None:
    """Refuse a language model that only this machine can reach, unless the Hub is on this machine too."""
    endpoint = recipe.generate.llm.endpoint
    here = urlsplit(endpoint or "").hostname in HERE
    if recipe.generate.asks_an_endpoint() and here and urlsplit(hub_address()).hostname not in HERE:
        raise InputError(
            f"generate.llm.endpoint is {endpoint}, which no other machine can reach.",
            "Write the queries here first: hfembed run --until generate; then send the run with --on jobs.",
        )
