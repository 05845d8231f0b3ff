"""The endpoints of the Xet protocol that uploads need."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from hfembed.localhub.access import API_REPO, SeenRepo, TheSite, Writer, base_url, check_discuss, check_files
from hfembed.localhub.errors import RefusalError, too_large
from hfembed.localhub.largefiles import IncomingFile
from hfembed.localhub.routes.lfs import receive
from hfembed.localhub.site import Site
from hfembed.localhub.wire import read_body
from hfembed.localhub.xet import read_shard

router = APIRouter()
_CAS = "/xet/{identity}"
_XORB_LIMIT = 80 << 20
_SHARD_LIMIT = 256 << 20
_WRITE = "xet-write"


@router.get(API_REPO + "/xet-write-token")
@router.get(API_REPO + "/xet-write-token/{revision:path}")
def write_token(request: Request, response: Response, site: TheSite, record: SeenRepo, user: Writer) -> dict[str, Any]:
    """Hand out a token for sending chunks; contributors who may only open pull requests get one too."""
    check_files(site, record, user)
    check_discuss(record, user)
    query = site.large_files.sign(_WRITE, record.key, str(user.name), 0)
    expires = int(time.time()) + 3600
    address = f"{base_url(request)}/xet/{site.identity}"
    token = f"{record.key}:{user.name}:{query}"
    response.headers["X-Xet-Cas-Url"] = address
    response.headers["X-Xet-Access-Token"] = token
    response.headers["X-Xet-Token-Expiration"] = str(expires)
    return {"casUrl": address, "exp": expires, "accessToken": token}


def _repo_of_token(request: Request, site: Site, identity: str) -> str:
    """Return the key of the repository that the token in a request lets write to."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    key, _, rest = token.partition(":")
    user, _, query = rest.partition(":")
    if identity != site.identity or not query:
        raise RefusalError(401, "This token is not for this server.")
    fields = dict(item.partition("=")[::2] for item in query.split("&"))
    site.large_files.check(_WRITE, key, user, fields)
    return key


@router.post(_CAS + "/v1/xorbs/default/{name}")
async def upload_xorb(request: Request, site: TheSite, identity: str, name: str) -> dict[str, bool]:
    """Take a pack of chunks."""
    _repo_of_token(request, site, identity)
    target = site.xorbs.path_of(name)
    if target.exists():
        await read_body(request, _XORB_LIMIT)
        return {"was_inserted": False}

    def keep(incoming: IncomingFile) -> None:
        incoming.close()
        target.parent.mkdir(exist_ok=True)
        incoming.move_to(target)

    await receive(request, site, _XORB_LIMIT, keep)
    return {"was_inserted": True}


@router.post(_CAS + "/v1/shards")
@router.post(_CAS + "/shards")
async def upload_shard(request: Request, site: TheSite, identity: str) -> dict[str, int]:
    """Take the description of files and put them together from the chunks sent before."""
    key = _repo_of_token(request, site, identity)
    if int(request.headers.get("Content-Length") or 0) > _SHARD_LIMIT:
        raise too_large(_SHARD_LIMIT)
    shard = await read_body(request, _SHARD_LIMIT)
    for file in read_shard(shard):
        await run_in_threadpool(site.xorbs.assemble, key, file)
    return {"result": 1}


@router.get(_CAS + "/v1/chunks/{prefix}/{name}")
def known_chunk(request: Request, site: TheSite, identity: str, prefix: str, name: str) -> None:
    """Tell that no chunk is known from elsewhere, so that the client sends its own."""
    _repo_of_token(request, site, identity)
    raise RefusalError(404, "Chunk not found")
