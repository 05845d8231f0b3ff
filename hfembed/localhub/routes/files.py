"""The files of a repository, at any revision."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from hfembed.localhub.access import WEB_REPO, AnyVisitor, SeenRepo, TheSite, base_url, check_files
from hfembed.localhub.errors import RefusalError, entry_not_found
from hfembed.localhub.gitread import Entry, find_entry, read_blob, resolve_revision
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.site import Site
from hfembed.localhub.wire import revision_and_path

router = APIRouter()
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# Readable also where the rest of a repository is gated, so that one can see what to ask for.
_NEVER_GATED = {"README.md", ".gitattributes"}


@router.api_route(WEB_REPO + "/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
@router.api_route(WEB_REPO + "/raw/{revision}/{path:path}", methods=["GET", "HEAD"])
def resolve(
    request: Request, site: TheSite, record: SeenRepo, visitor: AnyVisitor, revision: str, path: str
) -> Response:
    """Send a file, or the way to it where it is a large one."""
    name, file_path = revision_and_path(revision, path)
    if file_path not in _NEVER_GATED:
        check_files(site, record, visitor)
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, name)
        entry = find_entry(repo, commit_id, file_path) if file_path else None
        if entry is None or entry.is_folder:
            raise entry_not_found(file_path, commit_id)
        is_raw = "/raw/" in request.url.path.split(record.name, 1)[-1][:5]
        content = None if entry.large and not is_raw else read_blob(repo, entry.git_id)
    if request.method == "GET":
        site.database.count("UPDATE repos SET downloads = downloads + 1 WHERE id = ?", record.key)
    if content is None:
        return _redirect(request, site, record, entry, commit_id)
    return _send(request, entry, commit_id, content)


def _redirect(request: Request, site: Site, record: RepoRecord, entry: Entry, commit_id: str) -> Response:
    """Lead to a large file through a link that needs no credentials."""
    assert entry.large is not None
    oid, size = entry.large.oid, entry.large.size
    query = site.large_files.sign("download", record.key, oid, size)
    filename = quote(entry.path.rsplit("/", 1)[-1])
    target = f"{base_url(request)}/lfs/{record.key}/{oid}?{query}&commit={commit_id}&filename={filename}"
    headers = {
        "Location": target,
        "X-Repo-Commit": commit_id,
        "ETag": f'"{oid}"',
        "X-Linked-ETag": f'"{oid}"',
        "X-Linked-Size": str(size),
        "Accept-Ranges": "bytes",
    }
    return Response(f"Found. Redirecting to {target}", 302, headers, "text/plain")


def _send(request: Request, entry: Entry, commit_id: str, content: bytes) -> Response:
    """Send a regular file, or the range of it that was asked for."""
    filename = entry.path.rsplit("/", 1)[-1]
    headers = {
        "X-Repo-Commit": commit_id,
        "ETag": f'"{entry.git_id}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(filename)}",
        # A page in a repository must not act in the name of who looks at it.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(None, 304, headers)
    media_type = mimetypes.guess_type(filename)[0] or "text/plain"
    if media_type in ("text/html", "image/svg+xml"):
        media_type = "text/plain"
    wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
    if wanted is None or wanted.groups() == ("", ""):
        return Response(content, 200, headers, media_type)
    first, last = _bounds(wanted, len(content))
    if first >= len(content) or first > last:
        raise RefusalError(416, "Range Not Satisfiable", Content_Range=f"bytes */{len(content)}")
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, media_type)


def _bounds(wanted: re.Match[str], size: int) -> tuple[int, int]:
    """Return the first and last position of a range."""
    first, last = wanted.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
