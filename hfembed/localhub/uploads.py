"""What a commit request says: one JSON object a line, read without holding the files in memory."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from dulwich.attrs import Pattern, parse_git_attributes
from dulwich.ignore import IgnoreFilter
from dulwich.repo import Repo

from hfembed.localhub.card import check_card
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.gitread import find_entry, make_pointer, read_file, resolve_revision
from hfembed.localhub.gitwrite import Changes, add_blob, check_path
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.site import Site

_NEVER_LARGE = {".gitattributes", ".gitignore", "README.md"}


@dataclass
class CommitRequest:
    """A commit as a client asks for it."""

    summary: str = ""
    description: str = ""
    parent: str | None = None
    changes: Changes = field(default_factory=Changes)


def answer_preupload(site: Site, repo: Repo, revision: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell for each announced file how to send it, whether to leave it out, and what stands there now."""
    commit_id = resolve_revision(repo, revision)
    attributes = read_file(repo, commit_id, ".gitattributes") or b""
    ignored = body.get("gitIgnore")
    patterns = ignored.encode() if isinstance(ignored, str) else read_file(repo, commit_id, ".gitignore") or b""
    ignore = IgnoreFilter(line for line in patterns.splitlines() if line.strip() and not line.startswith(b"#"))
    answers = []
    for file in body.get("files") or []:
        path = check_path(str(file["path"]))
        sample = base64.b64decode(file.get("sample") or "")
        large = goes_large(attributes, path, int(file["size"]), sample, site.limits.regular_file)
        entry = find_entry(repo, commit_id, path)
        oid = None if entry is None or entry.is_folder else entry.large.oid if entry.large else entry.git_id
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": bool(ignore.is_ignored(path)),
                "oid": oid,
            }
        )
    return answers


def goes_large(attributes: bytes, path: str, size: int, sample: bytes, limit: int) -> bool:
    """Tell whether a file is stored as a large file: by .gitattributes, by size, or because it is binary."""
    if path in _NEVER_LARGE:
        return False
    if size > limit or b"\0" in sample:
        return True
    large = False
    for pattern, values in parse_git_attributes(BytesIO(attributes)):
        if b"filter" in values and Pattern(pattern).match(path.encode()):
            large = values[b"filter"] == b"lfs"
    return large


def read_commit(site: Site, record: RepoRecord, repo: Repo, body: Path) -> CommitRequest:
    """Read the lines of a commit request, storing each file as it comes."""
    request = CommitRequest()
    with body.open("rb") as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                item = json.loads(line)
                key, value = item["key"], item["value"]
            except (ValueError, KeyError, TypeError):
                raise bad_request("Each line of a commit must be JSON with a key and a value.") from None
            _read_line(site, record, repo, request, key, value)
    if not request.summary:
        raise bad_request('"summary" is required: a commit needs a message.')
    return request


def _read_line(
    site: Site, record: RepoRecord, repo: Repo, request: CommitRequest, key: str, value: dict[str, Any]
) -> None:
    try:
        if key == "header":
            request.summary = str(value["summary"])
            request.description = str(value.get("description") or "")
            request.parent = value.get("parentCommit")
        elif key == "file":
            path = check_path(str(value["path"]))
            request.changes.files[path] = add_blob(repo, _content(site, record, path, value))
        elif key == "lfsFile":
            path = check_path(str(value["path"]))
            request.changes.files[path] = add_blob(repo, _pointer(site, record, path, value))
        elif key == "copyFile":
            path = check_path(str(value["path"]))
            request.changes.files[path] = _copied(repo, value)
        elif key == "deletedFile":
            request.changes.deleted_files.append(str(value["path"]))
        elif key == "deletedFolder":
            request.changes.deleted_folders.append(str(value["path"]).rstrip("/"))
        else:
            raise bad_request(f"Unknown commit operation: {key!r}")
    except (KeyError, TypeError) as error:
        raise bad_request(f"The commit operation {key!r} lacks {error}.") from None


def _content(site: Site, record: RepoRecord, path: str, value: dict[str, Any]) -> bytes:
    text = str(value["content"])
    try:
        content = base64.b64decode(text, validate=True) if value.get("encoding") == "base64" else text.encode()
    except binascii.Error:
        raise bad_request(f"The content of {path} is not base64.") from None
    if len(content) > site.limits.regular_file:
        raise bad_request(f"{path} is too large for a regular file; send it as a large file (LFS).")
    if path == "README.md":
        errors = check_card(content.decode("utf-8", "replace"), record.kind).errors
        if errors:
            raise bad_request("Invalid metadata in README.md.\n" + "\n".join(f"- {error}" for error in errors))
    return content


def _pointer(site: Site, record: RepoRecord, path: str, value: dict[str, Any]) -> bytes:
    oid = str(value["oid"])
    size = site.large_files.size_in(record.key, oid)
    if size is None:
        raise RefusalError(400, f"LFS pointer of {path} points at a file that was never uploaded: {oid}", "LfsNotFound")
    return make_pointer(oid, size)


def _copied(repo: Repo, value: dict[str, Any]) -> bytes:
    revision = str(value.get("srcRevision") or "main")
    source = str(value["srcPath"])
    entry = find_entry(repo, resolve_revision(repo, revision), source)
    if entry is None or entry.is_folder:
        raise RefusalError(404, f"A file with this name doesn't exist: {source}", "EntryNotFound")
    return entry.git_id.encode()
