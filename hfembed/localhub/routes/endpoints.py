"""Inference Endpoints: the interface that makes them, and the way to what they serve."""

from __future__ import annotations

import http.client
import json
import sqlite3
import uuid
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from hfembed.localhub.access import AnyVisitor, JsonBody, TheSite, User, Writer, base_url, get_site
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.endpoints import Endpoints, find_endpoint
from hfembed.localhub.errors import RefusalError, bad_request, conflict, forbidden
from hfembed.localhub.hardware import ENDPOINT_HARDWARE
from hfembed.localhub.records import RepoKind, find_repo, may_read_files
from hfembed.localhub.site import Site
from hfembed.localhub.wire import read_body

router = APIRouter()
_ALL, _ONE = "/v2/endpoint/{owner}", "/v2/endpoint/{owner}/{name}"
_SERVED = "/endpoints/{owner}/{name}/{path:path}"
_TYPES = ("protected", "public", "private")
_NEEDED = {
    "compute": ("accelerator", "instanceType", "instanceSize", "scaling"),
    "model": ("repository", "framework", "image"),
    "provider": ("vendor", "region"),
}
_ANSWER_SECONDS = 120


@router.get("/v2/provider/{owner}")
def list_hardware(owner: str, user: User) -> dict[str, Any]:
    """List what endpoints can stand on, with prices."""
    _check(owner, user)
    return {"vendors": ENDPOINT_HARDWARE}


@router.post(_ALL, status_code=202)
def create(site: TheSite, owner: str, user: Writer, body: JsonBody, request: Request) -> dict[str, Any]:
    """Make an endpoint and start it."""
    endpoints = _running(site)
    _check(owner, user)
    spec = _checked(site, body, user)
    name, moment = str(body["name"]), now()
    with site.database.transaction():
        if site.database.row("SELECT 1 FROM endpoints WHERE owner = ? AND name = ?", owner, name):
            raise conflict(f"An endpoint named {name} exists already.")
        identity = uuid.uuid4().hex[:24]
        values = (owner, name, identity, "pending", None, json.dumps(spec), user.name, moment, moment)
        site.database.run("INSERT INTO endpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
    endpoints.launch(identity)
    return _tell(find_endpoint(site, owner, name), request)


@router.get(_ALL)
def list_endpoints(site: TheSite, owner: str, user: User, request: Request) -> dict[str, Any]:
    """List the endpoints of a namespace."""
    _check(owner, user)
    rows = site.database.rows("SELECT name FROM endpoints WHERE owner = ? ORDER BY created_at", owner)
    return {"items": [_tell(find_endpoint(site, owner, row["name"]), request) for row in rows]}


@router.get(_ONE)
def tell(site: TheSite, owner: str, name: str, user: User, request: Request) -> dict[str, Any]:
    """Tell how an endpoint stands."""
    _check(owner, user)
    return _tell(find_endpoint(site, owner, name), request)


@router.put(_ONE)
def update(site: TheSite, owner: str, name: str, user: Writer, body: JsonBody, request: Request) -> dict[str, Any]:
    """Give an endpoint another model or machine, and start it anew where it runs."""
    _check(owner, user)
    row = find_endpoint(site, owner, name)
    before = json.loads(row["spec"])
    wanted = {part: {**before[part], **(body.get(part) or {})} for part in ("compute", "model")}
    spec = _checked(site, {**before, **wanted, "name": name}, user)
    site.database.run("UPDATE endpoints SET spec = ? WHERE id = ?", json.dumps(spec), row["id"])
    if spec != before and row["state"] not in ("paused", "scaledToZero"):
        _running(site).launch(row["id"])
    return _tell(find_endpoint(site, owner, name), request)


@router.post(_ONE + "/{action}")
def act(site: TheSite, owner: str, name: str, action: str, user: Writer, request: Request) -> dict[str, Any]:
    """Pause an endpoint, let it sleep, or start it again."""
    _check(owner, user)
    row, endpoints = find_endpoint(site, owner, name), _running(site)
    if action == "resume":
        endpoints.launch(row["id"])
    elif action in ("pause", "scale-to-zero"):
        endpoints.halt(row["id"], "paused" if action == "pause" else "scaledToZero")
    else:
        raise RefusalError(404, f"There is no {action!r} of an endpoint.")
    return _tell(find_endpoint(site, owner, name), request)


@router.delete(_ONE)
def delete(site: TheSite, owner: str, name: str, user: Writer) -> dict[str, Any]:
    """Remove an endpoint."""
    _check(owner, user)
    row = find_endpoint(site, owner, name)
    _running(site).forget(row["id"])
    site.database.run("DELETE FROM endpoints WHERE id = ?", row["id"])
    return {}


async def _body(request: Request) -> bytes:
    return await read_body(request, get_site(request).limits.json_body)


@router.api_route(_SERVED, methods=["GET", "POST"])
def ask(
    site: TheSite,
    owner: str,
    name: str,
    path: str,
    visitor: AnyVisitor,
    request: Request,
    body: Annotated[bytes, Depends(_body)],
) -> Response:
    """Pass a request on to what serves an endpoint, and its answer back."""
    row = find_endpoint(site, owner, name)
    if json.loads(row["spec"])["type"] != "public" and not visitor.belongs_to(owner):
        raise RefusalError(401, "A token of this endpoint's namespace is needed.")
    endpoints = _running(site)
    if row["state"] == "scaledToZero":
        endpoints.launch(row["id"])
    served = endpoints.find(row["id"])
    if served is None or served.url is None:
        raise RefusalError(503, f"The endpoint is {row['state']}.", Retry_After="1")
    headers = {"Authorization": f"Bearer {served.key}"}
    headers |= {key: request.headers[key] for key in ("content-type", "accept") if key in request.headers}
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=_ANSWER_SECONDS)
    try:
        query = f"?{request.url.query}" if request.url.query else ""
        connection.request(request.method, f"/{path}{query}", body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
    except OSError as error:
        raise RefusalError(502, f"The endpoint does not answer: {error}") from None
    finally:
        connection.close()
    passed = {key: value for key, value in answer.getheaders() if key.lower() in ("content-type", "retry-after")}
    return Response(content, answer.status, passed)


def _running(site: Site) -> Endpoints:
    if site.endpoints is None:
        raise forbidden("Endpoints are turned off on this server, because it listens beyond this machine.")
    return site.endpoints


def _check(owner: str, user: Visitor) -> None:
    user.check_scopes("inference-api", "manage-repos")
    if not user.belongs_to(owner):
        raise forbidden(f"You don't have the rights to see or make endpoints of {owner} with this token.")


def _checked(site: Site, body: dict[str, Any], user: Visitor) -> dict[str, Any]:
    """Return what of a body is kept, once the endpoint that it asks for can be had."""
    missing = [part for part in ("name", "type", *_NEEDED) if not body.get(part)]
    missing += [f"{part}.{key}" for part, keys in _NEEDED.items() for key in keys if key not in (body.get(part) or {})]
    if missing:
        raise bad_request(f"missing field `{missing[0]}`")
    if body["type"] not in _TYPES:
        raise bad_request(f'"type" must be one of [{", ".join(_TYPES)}]')
    compute, provider = body["compute"], body["provider"]
    if not any(
        vendor["name"] == provider["vendor"]
        and region["name"] == provider["region"]
        and (item["accelerator"], item["instanceType"], item["instanceSize"])
        == (compute["accelerator"], compute["instanceType"], compute["instanceSize"])
        for vendor in ENDPOINT_HARDWARE
        for region in vendor["regions"]
        for item in region["computes"]
    ):
        raise bad_request("This compute does not exist at this provider.")
    image = body["model"]["image"]
    if "tei" in image and not image["tei"].get("url"):
        raise bad_request("missing field `model.image.tei.url`")
    namespace, _, name = str(body["model"]["repository"]).partition("/")
    record = find_repo(site.database, RepoKind.MODEL, namespace, name)
    if record is None or not may_read_files(site.database, record, user):
        raise bad_request(f"The repository {body['model']['repository']} does not exist, or you may not read it.")
    return {part: body[part] for part in ("type", *_NEEDED)} | {"tags": body.get("tags") or []}


def _tell(row: sqlite3.Row, request: Request) -> dict[str, Any]:
    spec, scaling = json.loads(row["spec"]), json.loads(row["spec"])["compute"]["scaling"]
    runs = row["state"] == "running"
    model = {"revision": None, "task": None, **spec["model"], "secrets": {}}
    who = {"id": row["created_by"], "name": row["created_by"]}
    status = {
        "state": row["state"],
        "message": row["message"] or "",
        "createdAt": row["created_at"],
        "createdBy": who,
        "updatedAt": row["updated_at"],
        "updatedBy": who,
        "private": None,
        "readyReplica": int(runs),
        "targetReplica": max(1, int(scaling.get("minReplica") or 0)),
    }
    if runs:
        status["url"] = f"{base_url(request)}/endpoints/{row['owner']}/{row['name']}"
    image = next(iter(spec["model"]["image"].values()))
    health = image.get("healthRoute") or "/health"
    return {"name": row["name"], "accountId": None, **spec, "model": model, "status": status, "healthRoute": health}
