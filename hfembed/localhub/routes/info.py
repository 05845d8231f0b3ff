"""Reading about a repository: info, tree, paths, references, commits."""

from __future__ import annotations

from typing import Annotated, Any

from dulwich.repo import Repo
from fastapi import APIRouter, Depends, Request, Response

from hfembed.localhub.access import API_REPO, ReadableRepo, SeenRepo, TheSite, base_url
from hfembed.localhub.database import stamp
from hfembed.localhub.errors import RefusalError, bad_request, entry_not_found, repo_not_found
from hfembed.localhub.gitread import (
    BRANCHES,
    CONVERSIONS,
    PULL_REQUESTS,
    TAGS,
    Entry,
    commit_time,
    find_entry,
    get_commit,
    last_commits,
    list_entries,
    list_refs,
    resolve_revision,
    walk_commits,
)
from hfembed.localhub.metadata import describe, only
from hfembed.localhub.spaces import address_of, runtime_of
from hfembed.localhub.wire import plain, revision_and_path

router = APIRouter()
_TREE_PAGE = 1000
_EXPANDED_PAGE = 100
_COMMIT_PAGE = 50
_TRUE = ("1", "true", "True", True)


def is_true(value: object) -> bool:
    """Tell whether a parameter says yes, in any of the ways clients write it."""
    return value in _TRUE


def next_link(request: Request, response: Response, **changes: str | int) -> None:
    """Tell a client where the next page is."""
    query = request.url.include_query_params(**changes).query
    path = request.scope.get("raw_path", b"").decode("ascii").split("?")[0]
    response.headers["Link"] = f'<{base_url(request)}{path}?{query}>; rel="next"'


@router.get("/api/{kinds:kinds}/{name}")
def canonical(kinds: str, name: str) -> None:
    """Refuse a repository without a namespace: none can be made here."""
    raise repo_not_found(signed_in=True)


@router.get(API_REPO)
@router.get(API_REPO + "/revision/{revision:path}")
def info(request: Request, site: TheSite, record: SeenRepo, revision: str = "main") -> dict[str, Any]:
    """Tell everything about a repository at a revision."""
    blobs = is_true(request.query_params.get("blobs"))
    facts = describe(site, record, plain(revision), blobs=blobs)
    if record.kind == "space":
        facts["runtime"] = runtime_of(site, record)
        if (address := address_of(site, record)) is not None:
            facts |= {"host": address, "subdomain": address.removeprefix("http://")}
    expand = request.query_params.getlist("expand") + request.query_params.getlist("expand[]")
    return only(facts, set(expand)) if expand else facts


@router.get(API_REPO + "/auth-check")
def auth_check(record: ReadableRepo) -> dict[str, Any]:
    """Tell whether the caller may read the files of a repository."""
    return {}


def describe_entries(repo: Repo, commit_id: str, entries: list[Entry], expand: bool) -> list[dict[str, Any]]:
    """Return tree entries as the Hub tells them; `expand` adds the commit that changed each last."""
    commits = last_commits(repo, commit_id, entries) if expand else {}
    described = []
    for entry in entries:
        facts: dict[str, Any] = {
            "type": "directory" if entry.is_folder else "file",
            "oid": entry.git_id,
            "size": entry.size,
            "path": entry.path,
        }
        if entry.large:
            facts["lfs"] = {
                "oid": entry.large.oid,
                "size": entry.large.size,
                "pointerSize": entry.large.pointer_size,
            }
        if entry.path in commits:
            commit = commits[entry.path]
            title = commit.message.decode("utf-8", "replace").split("\n", 1)[0]
            facts["lastCommit"] = {"id": commit.id.decode(), "title": title, "date": stamp(commit_time(commit))}
        described.append(facts)
    return described


@router.get(API_REPO + "/tree/{revision}")
@router.get(API_REPO + "/tree/{revision}/{path:path}")
def tree(
    request: Request,
    response: Response,
    site: TheSite,
    record: SeenRepo,
    revision: str,
    path: str = "",
    recursive: str = "",
    expand: str = "",
    cursor: str = "",
    limit: int = 0,
) -> list[dict[str, Any]]:
    """List a folder of a repository at a revision, a page at a time."""
    name, folder = revision_and_path(revision, path)
    page_size = min(limit or _TREE_PAGE, _EXPANDED_PAGE if is_true(expand) else _TREE_PAGE)
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, name)
        root = get_commit(repo, commit_id).tree
        if folder:
            entry = find_entry(repo, commit_id, folder)
            if entry is None or not entry.is_folder:
                raise entry_not_found(folder, commit_id)
            root = type(root)(entry.git_id.encode())
        prefix = f"{folder}/" if folder else ""
        entries = list(list_entries(repo, root, prefix, recursive=is_true(recursive)))
        start = int(cursor) if cursor.isdigit() else 0
        page = entries[start : start + page_size]
        if start + page_size < len(entries):
            next_link(request, response, cursor=start + page_size)
        response.headers["X-Repo-Commit"] = commit_id
        return describe_entries(repo, commit_id, page, is_true(expand))


async def _read_paths(request: Request) -> tuple[list[str], bool]:
    """Return the paths asked for, and whether their last commits are wanted."""
    if request.headers.get("Content-Type", "").startswith("application/json"):
        body = await request.json()
        paths, expand = body.get("paths"), body.get("expand")
    else:
        form = await request.form(max_fields=2000)
        paths, expand = form.getlist("paths"), form.get("expand")
    paths = [paths] if isinstance(paths, str) else list(paths or [])
    if len(paths) > 1000:
        raise RefusalError(413, "too many parameters", "PayloadTooLarge")
    return [str(path) for path in paths], is_true(expand)


@router.post(API_REPO + "/paths-info/{revision:path}")
def paths_info(
    site: TheSite,
    record: SeenRepo,
    revision: str,
    asked: Annotated[tuple[list[str], bool], Depends(_read_paths)],
) -> list[dict[str, Any]]:
    """Tell about given paths; those that do not exist are left out."""
    paths, expand = asked
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, plain(revision))
        found = [find_entry(repo, commit_id, path) for path in paths if path.strip("/")]
        return describe_entries(repo, commit_id, [entry for entry in found if entry], expand)


@router.get(API_REPO + "/refs")
def refs(request: Request, site: TheSite, record: SeenRepo) -> dict[str, Any]:
    """List branches, tags, conversions and, on request, pull requests."""
    groups = {"branches": BRANCHES, "converts": CONVERSIONS, "tags": TAGS}
    if is_true(request.query_params.get("include_prs")):
        groups["pullRequests"] = PULL_REQUESTS
    with site.open_git(record) as repo:
        return {
            group: [
                {"name": name, "ref": prefix.decode() + name, "targetCommit": commit}
                for name, commit in list_refs(repo, prefix).items()
            ]
            for group, prefix in groups.items()
        }


@router.get(API_REPO + "/commits/{revision:path}")
def commits(
    request: Request, response: Response, site: TheSite, record: SeenRepo, revision: str, p: int = 0
) -> list[dict[str, Any]]:
    """List the commits of a revision, newest first, a page at a time."""
    if p < 0:
        raise bad_request("p must not be negative")
    formatted = "formatted" in request.query_params.getlist("expand[]")
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, plain(revision))
        everything = [_describe_commit(commit, formatted) for commit in walk_commits(repo, commit_id)]
    response.headers["X-Total-Count"] = str(len(everything))
    if (p + 1) * _COMMIT_PAGE < len(everything):
        next_link(request, response, p=p + 1)
    return everything[p * _COMMIT_PAGE : (p + 1) * _COMMIT_PAGE]


def _describe_commit(commit: Any, formatted: bool) -> dict[str, Any]:
    title, _, message = commit.message.decode("utf-8", "replace").partition("\n\n")
    author = commit.author.decode("utf-8", "replace").rsplit(" <", 1)[0]
    facts: dict[str, Any] = {
        "id": commit.id.decode(),
        "title": title,
        "message": message,
        "authors": [{"user": author, "avatar": "/avatar.svg"}],
        "date": stamp(commit_time(commit)),
    }
    return facts | ({"formatted": {"title": title, "message": message}} if formatted else {})
