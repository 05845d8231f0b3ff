"""Large files: the batch endpoint, and the signed links it hands out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response

from hfembed.localhub.access import (
    WEB_REPO,
    AnyVisitor,
    JsonBody,
    SeenRepo,
    TheSite,
    base_url,
    check_discuss,
    check_files,
)
from hfembed.localhub.errors import RefusalError, bad_request, forbidden, too_large
from hfembed.localhub.largefiles import IncomingFile
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.site import Site
from hfembed.localhub.wire import read_json

router = APIRouter()
_BLOCK = 1 << 20
_MEDIA_TYPE = "application/vnd.git-lfs+json"


@router.post(WEB_REPO + "/info/lfs/objects/batch")
def batch(request: Request, site: TheSite, record: SeenRepo, visitor: AnyVisitor, body: JsonBody) -> Response:
    """Tell where to send or fetch each large file."""
    operation = body.get("operation")
    if operation not in ("upload", "download"):
        raise bad_request(f"Unknown LFS operation: {operation!r}")
    check_files(site, record, visitor)
    # Contributors who may only open pull requests upload here as well.
    if operation == "upload" and (visitor.name is None or visitor.role == "read"):
        raise forbidden("You must use a token with the write role to upload large files.")
    if operation == "upload":
        check_discuss(record, visitor)
    link = f"{base_url(request)}/lfs/{record.key}"
    objects = body.get("objects") or []
    if operation == "download":
        described = [_download(site, record, link, item) for item in objects]
    else:
        described = [_upload(site, record, link, item) for item in objects]
    parts = any("chunk_size" in item.get("actions", {}).get("upload", {}).get("header", {}) for item in described)
    answer = {"transfer": "multipart" if parts else "basic", "objects": described, "hash_algo": "sha256"}
    return JSONResponse(answer, media_type=_MEDIA_TYPE)


def _download(site: Site, record: RepoRecord, link: str, item: dict[str, Any]) -> dict[str, Any]:
    oid = str(item.get("oid"))
    size = site.large_files.size_in(record.key, oid)
    if size is None:
        return {"oid": oid, "size": 0, "error": {"code": 404, "message": "Object does not exist"}}
    href = f"{link}/{oid}?{site.large_files.sign('download', record.key, oid, size)}"
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": {"href": href}}}


def _upload(site: Site, record: RepoRecord, link: str, item: dict[str, Any]) -> dict[str, Any]:
    oid, size = str(item.get("oid")), int(item.get("size") or 0)
    site.large_files.path_of(oid)
    if size > site.limits.large_file:
        return {"oid": oid, "size": size, "error": {"code": 413, "message": "The file is too large."}}
    known = {"oid": oid, "size": size, "authenticated": True}
    if site.large_files.size_in(record.key, oid) is not None:
        return known
    query = site.large_files.sign("upload", record.key, oid, size)
    upload: dict[str, Any] = {"href": f"{link}/{oid}?{query}"}
    part = site.limits.upload_part
    if size > part:
        count = -(-size // part)
        urls = {f"{number:05d}": f"{link}/{oid}/parts/{number}?{query}" for number in range(1, count + 1)}
        upload["header"] = {"chunk_size": str(part), **urls}
    return {**known, "actions": {"upload": upload, "verify": {"href": f"{link}/{oid}/verify?{query}"}}}


async def _write_blocks(request: Request, incoming: IncomingFile, limit: int) -> None:
    """Write a request's body to disk in blocks; memory holds one block."""
    pending = bytearray()
    async for chunk in request.stream():
        pending += chunk
        if incoming.size + len(pending) > limit:
            raise too_large(limit)
        if len(pending) >= _BLOCK:
            await run_in_threadpool(incoming.write, bytes(pending))
            pending.clear()
    incoming.write(bytes(pending))


async def receive(request: Request, site: Site, limit: int, keep: Callable[[IncomingFile], None]) -> None:
    """Take a request's body as a file, and keep it once it is whole."""
    incoming = site.large_files.new_file()
    try:
        await _write_blocks(request, incoming, limit)
        await run_in_threadpool(keep, incoming)
    except BaseException:
        # Also a client that hangs up half-way leaves nothing behind.
        incoming.discard()
        raise


@router.put("/lfs/{key}/{oid}")
async def upload(request: Request, site: TheSite, key: str, oid: str) -> Response:
    """Take a large file in one piece."""
    size = site.large_files.check("upload", key, oid, dict(request.query_params))
    await receive(request, site, size, lambda incoming: site.large_files.keep(incoming, key, oid, size))
    return Response(status_code=200, headers={"ETag": f'"{oid}"'})


@router.put("/lfs/{key}/{oid}/parts/{number}")
async def upload_part(request: Request, site: TheSite, key: str, oid: str, number: int) -> Response:
    """Take one part of a large file."""
    site.large_files.check("upload", key, oid, dict(request.query_params))
    checksum = ""

    def keep(incoming: IncomingFile) -> None:
        nonlocal checksum
        checksum = incoming.close()
        incoming.path.replace(site.large_files.part_path(key, oid, number))

    await receive(request, site, site.limits.upload_part, keep)
    return Response(status_code=200, headers={"ETag": f'"{checksum}"'})


@router.post("/lfs/{key}/{oid}")
async def complete(request: Request, site: TheSite, key: str, oid: str) -> dict[str, Any]:
    """Put the parts of a large file together."""
    size = site.large_files.check("upload", key, oid, dict(request.query_params))
    body = await read_json(request, site.limits.json_body)
    numbers = sorted(int(part["partNumber"]) for part in body.get("parts") or [])
    await run_in_threadpool(site.large_files.join_parts, key, oid, size, numbers)
    return {"oid": oid}


@router.post("/lfs/{key}/{oid}/verify")
def verify(request: Request, site: TheSite, key: str, oid: str) -> dict[str, Any]:
    """Confirm that a large file has arrived whole."""
    size = site.large_files.check("upload", key, oid, dict(request.query_params))
    if site.large_files.size_in(key, oid) != size:
        raise RefusalError(404, f"The large file {oid} has not arrived.")
    return {"oid": oid, "size": size}


@router.api_route("/lfs/{key}/{oid}", methods=["GET", "HEAD"])
def download(request: Request, site: TheSite, key: str, oid: str) -> Response:
    """Send a large file, or a range of it."""
    size = site.large_files.check("download", key, oid, dict(request.query_params))
    headers = {"ETag": f'"{oid}"', "X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(size)}
    # 2.x clients follow the redirect of a HEAD to here and want the commit in the last answer.
    for name in ("commit", "filename"):
        if name in request.query_params and request.query_params[name].isprintable():
            headers |= _named_header(name, request.query_params[name])
    path = site.large_files.path_of(oid)
    return FileResponse(path, headers=headers, media_type="application/octet-stream")


def _named_header(name: str, value: str) -> dict[str, str]:
    if name == "commit":
        return {"X-Repo-Commit": value} if value.isalnum() else {}
    plain = value.encode("ascii", "replace").decode().replace('"', "'")
    return {"Content-Disposition": f'inline; filename="{plain}"'}
