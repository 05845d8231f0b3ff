"""What a server or the way to it objects to: to be tried again, to be dropped, or the end of it all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hfembed.errors import HfembedError, StageError, first_line
from hfembed.hub import is_forbidden_offline
from hfembed.hub.problems import causes, is_unreachable
from hfembed.recipe import Llm

OBJECTION = (400, 422)
PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
TOO_MANY = 429
SHOWN = 200


@dataclass(frozen=True)
class Refusal:
    """Why there was no answer. passing: it is worth trying again, after `wait` seconds if the server says so."""

    reason: str
    passing: bool = False
    wait: float | None = None
    for_all: bool = False


@dataclass(frozen=True)
class Verdict:
    """What an error means. fatal: no request can succeed. objection: what a server says is wrong with a request."""

    refusal: Refusal
    fatal: HfembedError | None = None
    objection: str | None = None


def judge_error(error: Exception, settings: Llm, *, reached: bool, secret: str | None) -> Verdict:
    """Return what to do about an error; one that nobody foresaw is raised again.

    reached: the server has answered before, so that neither address nor model can be wrong.
    """
    where = settings.endpoint or f"the Hub's provider {settings.provider or 'auto'}"
    chain = list(causes(error))
    if any(is_forbidden_offline(cause) for cause in chain):
        message = f"{where} was not asked: HF_HUB_OFFLINE forbids it."
        return _fatal(message, "unset HF_HUB_OFFLINE, and repeat the command.")
    response = next((found for cause in chain if (found := getattr(cause, "response", None)) is not None), None)
    if response is not None:
        return _answered(response, settings, where, reached, secret)
    if any(_is_timeout(cause) for cause in chain):
        return Verdict(Refusal("timeout", passing=True))
    if isinstance(error, json.JSONDecodeError | KeyError | TypeError | AttributeError | IndexError):
        return Verdict(Refusal("broken_response", passing=True))
    if any(is_unreachable(cause) or isinstance(cause, ConnectionError) for cause in chain):
        if reached:
            return Verdict(Refusal("unreachable", passing=True))
        return _fatal(f"{where} cannot be reached.", "Start the server, or correct generate.llm.endpoint.")
    if isinstance(error, ValueError):  # the client itself: no key, or a provider without this model
        said = _clean(first_line(error), secret)
        return _fatal(f"{where} cannot be asked for '{settings.model}': {said}", "hf auth login, or another model.")
    raise error


def _answered(response: Any, settings: Llm, where: str, reached: bool, secret: str | None) -> Verdict:
    status, said = int(response.status_code), _clean(_words(response), secret)
    fatal = _final(status, said, settings, where, reached)
    if fatal is not None:
        return Verdict(Refusal("refused"), fatal=fatal)
    if status in OBJECTION:
        refused = None if reached else StageError(
            f"{where} refuses the first request (status {status}): {said}",
            "Check generate.llm.model and generate.llm.sampling.",
        )  # fmt: skip
        return Verdict(Refusal("refused"), fatal=refused, objection=said.lower())
    if status in PASSING or status >= 500:
        wait = _seconds(response.headers.get("Retry-After"))
        return Verdict(
            Refusal(f"status_{status}", passing=True, wait=wait, for_all=status == TOO_MANY or wait is not None)
        )
    return Verdict(Refusal(f"status_{status}"))


def _final(status: int, said: str, settings: Llm, where: str, reached: bool) -> HfembedError | None:
    key = settings.key_env or ("OPENAI_API_KEY" if settings.endpoint else "HF_TOKEN")
    if status == 401 or (status == 403 and not reached):
        return StageError(f"{where} refuses the key (status {status}): {said}", f"Set {key} in the environment.")
    if status == 402 or "insufficient_quota" in said:
        return StageError(f"{where} wants to be paid first (status {status}): {said}", "What was made is kept.")
    if status == 404 and not reached:
        return StageError(
            f"{where} knows no model '{settings.model}', or is no such server (status 404): {said}",
            "Check generate.llm.model and generate.llm.endpoint; the URL often ends with /v1.",
        )
    return None


def _fatal(message: str, hint: str) -> Verdict:
    return Verdict(Refusal("refused"), fatal=StageError(message, hint))


def _is_timeout(error: BaseException) -> bool:
    # requests, httpx and aiohttp each have their own, and not all of them are TimeoutErrors.
    return isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower()


def _words(response: Any) -> str:
    try:
        text = str(response.text)
    except Exception as error:  # a streamed body that was never read has no text, in some clients only
        return type(error).__name__
    return " ".join(text.split())[:SHOWN]


def _clean(text: str, secret: str | None) -> str:
    """Return a text without the key; some servers repeat it."""
    return text.replace(secret, "***") if secret else text


def _seconds(value: str | None) -> float | None:
    """Return what a Retry-After header asks for: seconds, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
