"""Branches and tags."""

from __future__ import annotations

from typing import Any

from dulwich.refs import Ref, check_ref_format
from fastapi import APIRouter

from hfembed.localhub.access import API_REPO, JsonBody, TheSite, User, WritableRepo
from hfembed.localhub.errors import bad_request, conflict, forbidden, revision_not_found
from hfembed.localhub.gitread import BRANCHES, TAGS, resolve_revision
from hfembed.localhub.gitwrite import Authorship, move_ref, write_tag
from hfembed.localhub.wire import plain

router = APIRouter()


def _ref(prefix: bytes, name: str) -> bytes:
    """Return the full name of a branch or tag, refusing what git would refuse."""
    ref = prefix + plain(name).encode()
    if not check_ref_format(Ref(ref)) or plain(name).startswith(("refs/", "-")):
        raise bad_request(f"Invalid reference name: {plain(name)!r}")
    return ref


@router.post(API_REPO + "/branch/{branch:path}")
def create_branch(site: TheSite, record: WritableRepo, branch: str, body: JsonBody) -> dict[str, Any]:
    """Create a branch at a revision."""
    ref = _ref(BRANCHES, branch)
    with site.writing(record) as repo:
        if Ref(ref) in repo.refs:
            raise conflict(f"Reference already exists: {ref.decode()}")
        start = resolve_revision(repo, str(body.get("startingPoint") or "main"))
        move_ref(repo, ref, None, start.encode())
    return {}


@router.delete(API_REPO + "/branch/{branch:path}")
def delete_branch(site: TheSite, record: WritableRepo, branch: str) -> dict[str, Any]:
    """Delete a branch; main stays."""
    ref = _ref(BRANCHES, branch)
    if ref == b"refs/heads/main":
        raise forbidden("Cannot delete the main branch.")
    with site.writing(record) as repo:
        if Ref(ref) not in repo.refs:
            raise revision_not_found(plain(branch))
        del repo.refs[Ref(ref)]
    return {}


@router.post(API_REPO + "/tag/{revision:path}")
def create_tag(site: TheSite, record: WritableRepo, user: User, revision: str, body: JsonBody) -> dict[str, Any]:
    """Tag a revision."""
    name = str(body.get("tag") or "")
    ref = _ref(TAGS, name)
    message = body.get("message")
    with site.writing(record) as repo:
        commit_id = resolve_revision(repo, plain(revision))
        if Ref(ref) in repo.refs:
            raise conflict(f"Tag reference exists already: {name}")
        write_tag(repo, name, commit_id, Authorship(str(user.name), str(message)) if message else None)
    return {"ref": ref.decode(), "targetCommit": commit_id}


@router.delete(API_REPO + "/tag/{tag:path}")
def delete_tag(site: TheSite, record: WritableRepo, tag: str) -> dict[str, Any]:
    """Delete a tag."""
    ref = _ref(TAGS, tag)
    with site.writing(record) as repo:
        if Ref(ref) not in repo.refs:
            raise revision_not_found(plain(tag))
        del repo.refs[Ref(ref)]
    return {}
