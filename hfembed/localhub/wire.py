"""The outermost layer: addresses with encoded slashes, request ids, and how refusals look on the wire."""

from __future__ import annotations

import json
import uuid
from email.utils import formatdate
from typing import Any, cast
from urllib.parse import parse_qs, unquote

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfembed.localhub.errors import RefusalError, bad_request, too_large

_GIT_ENDINGS = ("/info/refs", "/git-upload-pack", "/info/lfs/objects/batch")
# Stands for a slash that came encoded (branch names hold them), so that routing sees one segment.
_ENCODED_SLASH = "\ue000"


class AddressLayer:
    """Routes by the address as it was sent, and stamps each answer with a request id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = cast(bytes, scope.get("raw_path") or scope["path"].encode()).decode("ascii", "replace")
        parts = [unquote(part).replace("/", _ENCODED_SLASH) for part in raw.split("?")[0].split("/")]
        scope = {**scope, "path": "/".join(parts)}

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # Of this moment: clients tell by it which lines of a log were written before they asked.
                headers["Date"] = formatdate(usegmt=True)
                headers["X-Request-Id"] = f"Root=1-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex[:24]}"
            await send(message)

        await self._app(scope, receive, stamped)


def plain(segment: str) -> str:
    """Return a path segment with the slashes that came encoded."""
    return segment.replace(_ENCODED_SLASH, "/")


def revision_and_path(revision: str, path: str) -> tuple[str, str]:
    """Split what follows `resolve` or `tree`; refs/pr/1 may also come with plain slashes."""
    revision, path = plain(revision), plain(path)
    if revision == "refs" and path.count("/") >= 1:
        group, name, *rest = path.split("/", 2)
        return f"refs/{group}/{name}", rest[0] if rest else ""
    return revision, path.strip("/")


def refusal_response(request: Request, refusal: Exception) -> Response:
    """Answer with a refusal, in the headers and the body that clients read."""
    refusal = cast(RefusalError, refusal)
    headers = {"X-Error-Message": refusal.message.replace("\n", " ").encode("latin-1", "replace").decode("latin-1")}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    if refusal.status == 401 and request.url.path.endswith(_GIT_ENDINGS):
        # git asks for a name and a token, or uses those of the address, only where it is told so.
        headers["WWW-Authenticate"] = 'Basic realm="Local Hub"'
    return JSONResponse(refusal.body, refusal.status, {**headers, **refusal.headers})


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of a request, refusing one above the limit in bytes before it is all read."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """Return the JSON object in the body of a request; an empty body is an empty object."""
    body = await read_body(request, limit)
    if request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        # 0.x clients validate cards with a form.
        return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        raise bad_request("The body is not JSON.") from None
    if parsed is not None and not isinstance(parsed, dict):
        raise bad_request("The body is not a JSON object.")
    return parsed or {}
