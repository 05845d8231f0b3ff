"""Own: what keeps the pages of others out of a front end that acts as whoever started it."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

NAMES = ["127.0.0.1", "localhost"]
REFUSED = "This page belongs to whoever started it, and asks only for itself."


class OwnPages:
    """Refuses what a page of another address sends: browsers say with every such request where it comes from."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                await PlainTextResponse(REFUSED, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def own_pages() -> list[Middleware]:
    """Return what answers this machine's own pages and programs alone, and under no name but its own."""
    return [Middleware(TrustedHostMiddleware, allowed_hosts=NAMES), Middleware(OwnPages)]
