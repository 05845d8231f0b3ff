"""Committing: what to send how, and the commit itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from hfembed.localhub.access import (
    API_REPO,
    AnyVisitor,
    JsonBody,
    SeenRepo,
    TheSite,
    User,
    WritableRepo,
    Writer,
    base_url,
    check_discuss,
    check_files,
    check_write,
)
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.card import check_card
from hfembed.localhub.discussions import add_event, find_discussion, open_discussion, pull_ref
from hfembed.localhub.errors import RefusalError, too_large
from hfembed.localhub.gitread import BRANCHES, resolve_ref, resolve_revision
from hfembed.localhub.gitwrite import Authorship, commit_changes, squash_branch
from hfembed.localhub.records import RepoKind, RepoRecord
from hfembed.localhub.routes.info import is_true
from hfembed.localhub.site import Site
from hfembed.localhub.spaces import refresh_space
from hfembed.localhub.uploads import answer_preupload, read_commit
from hfembed.localhub.wire import plain

router = APIRouter()


def _check_contribution(site: Site, record: RepoRecord, user: Visitor, revision: str, pull_request: bool) -> None:
    """Refuse those who may not commit; anyone who may read may open a pull request and add to their own."""
    num = revision.removeprefix("refs/pr/")
    if num != revision and num.isdigit():
        pull_request = find_discussion(site, record, int(num))["author"] == user.name
    if pull_request:
        check_files(site, record, user)
        check_discuss(record, user)
    else:
        check_write(record, user)


@router.post("/api/validate-yaml")
def validate_yaml(_: AnyVisitor, body: JsonBody) -> dict[str, Any]:
    """Check a card without committing it."""
    kind = RepoKind(body.get("repoType") or "model")
    check = check_card(str(body.get("content") or ""), kind)
    if check.errors:
        refusal = RefusalError(400, "Invalid metadata in README.md.")
        refusal.body = {
            "errors": [{"message": message} for message in check.errors],
            "warnings": [{"message": message} for message in check.warnings],
        }
        raise refusal
    return {"errors": [], "warnings": [{"message": message} for message in check.warnings]}


@router.post(API_REPO + "/preupload/{revision:path}")
def preupload(
    request: Request, site: TheSite, record: SeenRepo, user: Writer, revision: str, body: JsonBody
) -> dict[str, Any]:
    """Tell for each file whether to send it in the commit or as a large file."""
    _check_contribution(site, record, user, plain(revision), is_true(request.query_params.get("create_pr")))
    with site.open_git(record) as repo:
        return {"files": answer_preupload(site, repo, plain(revision), body), "commitOid": None}


@router.post(API_REPO + "/commit/{revision:path}")
async def commit(
    request: Request, site: TheSite, record: SeenRepo, user: Writer, revision: str, create_pr: str = ""
) -> dict[str, Any]:
    """Add one commit to a branch, or open a pull request with it."""
    _check_contribution(site, record, user, plain(revision), is_true(create_pr))
    incoming = site.large_files.new_file()
    try:
        async for block in request.stream():
            incoming.write(block)
            if incoming.size > site.limits.commit_body:
                raise too_large(site.limits.commit_body)
        incoming.close()
        arguments = (site, record, user, plain(revision), incoming.path, is_true(create_pr))
        done = await run_in_threadpool(_commit, *arguments)
    finally:
        incoming.discard()
    base = f"{base_url(request)}/{record.web_path}"
    pull_url = f"{base}/discussions/{done[1]}" if done[1] else None
    return {
        "success": True,
        "commitOid": done[0],
        "commitUrl": f"{base}/commit/{done[0]}",
        "hookOutput": "",
        "pullRequestUrl": pull_url,
    }


def _commit(
    site: Site, record: RepoRecord, user: Visitor, revision: str, body: Path, create_pr: bool
) -> tuple[str, int | None]:
    """Do the commit and return its id, with the number of the pull request opened for it."""
    with site.open_git(record) as repo:
        asked = read_commit(site, record, repo, body)
        base = resolve_revision(repo, revision)
        ref = resolve_ref(revision, repo)
    author = str(user.name)
    authorship = Authorship(author, asked.summary, asked.description)
    if create_pr:
        if asked.parent is not None and asked.parent != base:
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.", "PreconditionFailed")
        return _commit_to_new_pull(site, record, authorship, base, asked.changes)
    if ref is None or not ref.startswith((BRANCHES, b"refs/pr/")):
        raise RefusalError(
            400, f"Commits can only be made to a branch or a pull request, not to {revision}", "BadRequest"
        )
    with site.writing(record) as repo:
        commit_id = commit_changes(repo, ref, asked.changes, authorship, asked.parent)
    if ref.startswith(b"refs/pr/"):
        num = int(ref.rsplit(b"/", 1)[1])
        add_event(site, record, num, author, "commit", {"subject": asked.summary, "oid": commit_id})
    if ref == b"refs/heads/main" and commit_id != base:
        refresh_space(site, record)
    return commit_id, None


def _commit_to_new_pull(
    site: Site, record: RepoRecord, authorship: Authorship, base: str, changes: Any
) -> tuple[str, int]:
    num = open_discussion(site, record, authorship.author, authorship.summary, authorship.description, base)
    with site.writing(record) as repo:
        commit_id = commit_changes(repo, pull_ref(num), changes, authorship)
    site.database.run("UPDATE discussions SET status = 'open' WHERE repo = ? AND num = ?", record.key, num)
    data = {"subject": authorship.summary, "oid": commit_id}
    add_event(site, record, num, authorship.author, "commit", data)
    return commit_id, num


@router.post(API_REPO + "/super-squash/{revision:path}")
def super_squash(site: TheSite, record: WritableRepo, user: User, revision: str, body: JsonBody) -> dict[str, Any]:
    """Replace the history of a branch with one commit."""
    message = str(body.get("message") or f"Super-squash branch '{plain(revision)}'")
    with site.writing(record) as repo:
        ref = resolve_ref(plain(revision), repo)
        if ref is None:
            resolve_revision(repo, plain(revision))
            raise RefusalError(400, "Only a branch can be squashed.", "BadRequest")
        return {"commitOid": squash_branch(repo, ref, Authorship(str(user.name), message))}
