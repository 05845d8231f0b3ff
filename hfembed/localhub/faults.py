"""Faults on demand: errors, dropped connections and slow bytes, for testing what clients do about them."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass, field, fields
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfembed.localhub.errors import LocalHubError
from hfembed.localhub.site import Site

_SLICE = 16 * 1024


@dataclass(frozen=True)
class Faults:
    """Which requests go wrong, and how. Parsed from text like `rate=0.2,status=503,drop=0.1`."""

    # The share of requests answered with `status` instead of being served.
    rate: float = 0.0
    status: int = 503
    # Seconds in the Retry-After header of such an answer.
    retry_after: float | None = None
    # The share of requests whose connection breaks: half of them before, half after they were served.
    drop: float = 0.0
    # Bytes a second that answers come at; None is as fast as can be.
    slow: float | None = None
    # Only addresses that this regular expression finds something in.
    path: str = ""
    seed: int | None = None
    _dice: random.Random = field(default_factory=random.Random, compare=False)

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read faults from `name=value,...`."""
        kinds = {"status": int, "seed": int, "path": str}
        known = {item.name for item in fields(cls) if not item.name.startswith("_")}
        values: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            if name not in known:
                raise LocalHubError(f"Unknown fault {name!r}; use {', '.join(sorted(known))}.")
            try:
                values[name] = kinds.get(name, float)(value)
            except ValueError:
                raise LocalHubError(f"The fault {name} must be a number, but got {value!r}.") from None
        return cls(**values, _dice=random.Random(values.get("seed")))

    def throw(self) -> float:
        """Return a number between 0 and 1, the same row of them for the same seed."""
        return self._dice.random()


class FaultLayer:
    """The layer around the application that makes some requests fail; without faults it does nothing."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or let it fail."""
        faults = self._site.faults
        if faults is None or scope["type"] != "http" or not re.search(faults.path, scope["path"]):
            await self._app(scope, receive, send)
        elif faults.throw() < faults.rate:
            await _refuse(faults, scope, receive, send)
        elif faults.throw() < faults.drop:
            await self._drop(faults, scope, receive, send)
        elif faults.slow is not None:
            await self._app(scope, receive, _slowed(send, faults.slow))
        else:
            await self._app(scope, receive, send)

    async def _drop(self, faults: Faults, scope: Scope, receive: Receive, send: Send) -> None:
        """Break the connection: in the middle of the request, or when only the answer is missing."""
        if faults.throw() < 0.5:
            await receive()
        else:

            async def swallow(message: Message) -> None:
                """Keep the answer to oneself."""

            await self._app(scope, receive, swallow)
        # ASGI has no word for hanging up; the bound `send` of uvicorn knows the connection.
        cycle: Any = getattr(send, "__self__", None)
        cycle.transport.abort()
        # Returned before the server has noticed, it would complain of an answer that never came.
        while (await receive())["type"] != "http.disconnect":
            pass


async def _refuse(faults: Faults, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {}
    if faults.retry_after is not None or faults.status == 429:
        seconds = faults.retry_after if faults.retry_after is not None else 1
        headers = {"Retry-After": f"{seconds:g}", "RateLimit": f'"api";r=0;t={seconds:g}'}
    # The body is read all the same: a client that still sends would take an early answer for a broken pipe.
    while (await receive()).get("more_body"):
        pass
    answer = JSONResponse({"error": "This fault was asked for."}, faults.status, headers)
    await answer(scope, receive, send)


def _slowed(send: Send, bytes_per_second: float) -> Send:
    async def slowed(message: Message) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not body:
            await send(message)
            return
        for start in range(0, len(body), _SLICE):
            piece = body[start : start + _SLICE]
            await asyncio.sleep(len(piece) / bytes_per_second)
            is_last = start + _SLICE >= len(body)
            await send({**message, "body": piece, "more_body": not is_last or message.get("more_body", False)})

    return slowed
