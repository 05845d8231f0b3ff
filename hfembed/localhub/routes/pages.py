"""A plain web page for each repository, so that a person who opens a printed link sees something."""

from __future__ import annotations

import re
from html import escape
from io import BytesIO
from urllib.parse import quote

from dulwich.patch import write_tree_diff
from dulwich.repo import Repo
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markdown_it import MarkdownIt

from hfembed.localhub.access import WEB_REPO, AnyVisitor, ReadableRepo, SeenRepo, TheSite
from hfembed.localhub.card import split_card
from hfembed.localhub.database import stamp
from hfembed.localhub.discussions import find_discussion
from hfembed.localhub.errors import RefusalError
from hfembed.localhub.gitread import (
    Entry,
    commit_time,
    get_commit,
    list_files,
    read_file,
    resolve_revision,
    walk_commits,
)
from hfembed.localhub.html import link, page, table
from hfembed.localhub.metadata import describe_short
from hfembed.localhub.records import RepoKind, RepoRecord, list_repos, may_read
from hfembed.localhub.spaces import runtime_of
from hfembed.localhub.wire import revision_and_path

router = APIRouter()
_AVATAR = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64" rx="12" '
    'fill="#ffd21e"/></svg>'
)
_DIFF_LIMIT = 1 << 20
# Addresses that are whole by themselves: with a scheme, from the root, or within the card.
_ELSEWHERE = re.compile(r"[a-zA-Z][\w+.-]*:|/|#")
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")


@router.get("/avatar.svg")
def avatar() -> Response:
    """Send the picture that stands for everyone."""
    return Response(_AVATAR, media_type="image/svg+xml")


def _listing(site: TheSite, visitor: AnyVisitor, namespace: str | None) -> str:
    parts = []
    for kind in RepoKind:
        records = [
            record
            for record in list_repos(site.database, kind)
            if may_read(record, visitor) and (namespace is None or record.namespace.lower() == namespace.lower())
        ]
        rows = [
            [link(f"/{record.web_path}", record.full_name), "private" if record.private else ""]
            for record in sorted(records, key=lambda record: record.full_name.lower())
        ]
        parts.append(f"<h2>{kind.value.title()}s</h2>{table(rows) if rows else '<p>None.</p>'}")
    return "".join(parts)


@router.get("/")
def home(site: TheSite, visitor: AnyVisitor) -> HTMLResponse:
    """Show every repository the visitor may see."""
    who = f"Signed in as {escape(visitor.name)}." if visitor.name else link("/login", "Sign in")
    return page("Local Hub", f"<h1>Local Hub</h1><p>{who}</p>{_listing(site, visitor, None)}")


def _heading(record: RepoRecord) -> str:
    base = f"/{record.web_path}"
    private = " <small>private</small>" if record.private else ""
    links = " · ".join(
        (link(base, "Card"), link(f"{base}/tree/main", "Files"), link(f"{base}/commits/main", "Commits"))
    )
    return f"<h1>{escape(record.full_name)} <small>{record.kind.value}</small>{private}</h1><p>{links}</p>"


def _file_rows(record: RepoRecord, revision: str, files: list[Entry]) -> list[list[str]]:
    base = f"/{record.web_path}/resolve/{quote(revision, safe='')}"
    return [[link(f"{base}/{quote(file.path)}", file.path), f"{file.size:,} bytes"] for file in files]


def _space_state(site: TheSite, record: RepoRecord) -> str:
    """Return how a Space stands, with the way to its app where it runs."""
    told = runtime_of(site, record)
    app = f" · {link(f'/{record.web_path}/app', 'Open the app')}" if "domains" in told else ""
    message = f"<pre>{escape(told['errorMessage'])}</pre>" if "errorMessage" in told else ""
    return f"<p><strong>{escape(told['stage'])}</strong>{app}</p>{message}"


def _card(record: RepoRecord, text: str) -> str:
    """Return a card as HTML; what it names beside itself is found in the repository, as on the Hub."""
    base = f"/{record.web_path}"
    tokens = _MARKDOWN.parse(text)
    for token in (child for block in tokens for child in block.children or ()):
        for attribute, route in (("src", "resolve"), ("href", "blob")):
            address = str(token.attrGet(attribute) or "")
            if address and not _ELSEWHERE.match(address):
                token.attrSet(attribute, f"{base}/{route}/main/{address.removeprefix('./')}")
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


@router.get(WEB_REPO)
def repository(site: TheSite, record: SeenRepo) -> HTMLResponse:
    """Show the card of a repository."""
    with site.open_git(record) as repo:
        text = (read_file(repo, resolve_revision(repo, "main"), "README.md") or b"").decode("utf-8", "replace")
    tags = " ".join(f"<code>{escape(str(tag))}</code>" for tag in describe_short(site, record)["tags"])
    state = _space_state(site, record) if record.kind is RepoKind.SPACE else ""
    card = _card(record, split_card(text)[1]) or "<p>This repository has no card.</p>"
    return page(record.full_name, f"{_heading(record)}<p>{tags}</p>{state}<article>{card}</article>")


@router.get(WEB_REPO + "/tree/{revision}")
@router.get(WEB_REPO + "/tree/{revision}/{path:path}")
def files(site: TheSite, record: SeenRepo, revision: str, path: str = "") -> HTMLResponse:
    """Show the files of a repository at a revision, below a folder."""
    name, folder = revision_and_path(revision, path)
    with site.open_git(record) as repo:
        found = list_files(repo, resolve_revision(repo, name))
    below = [file for file in found if not folder or file.path.startswith(f"{folder}/")]
    title = f"<h2>{escape(folder or 'Files')} at {escape(name)}</h2>"
    return page(record.full_name, _heading(record) + title + table(_file_rows(record, name, below)))


@router.get(WEB_REPO + "/blob/{revision}/{path:path}")
def blob(record: ReadableRepo, revision: str, path: str) -> RedirectResponse:
    """Lead to the file itself."""
    name, file = revision_and_path(revision, path)
    return RedirectResponse(f"/{record.web_path}/resolve/{quote(name, safe='')}/{quote(file)}", 302)


@router.get(WEB_REPO + "/commits/{revision:path}")
def commits(site: TheSite, record: SeenRepo, revision: str) -> HTMLResponse:
    """Show the history of a revision."""
    name, _ = revision_and_path(revision, "")
    rows = []
    with site.open_git(record) as repo:
        for commit in walk_commits(repo, resolve_revision(repo, name)):
            commit_id, message = commit.id.decode(), commit.message.decode("utf-8", "replace")
            address = link(f"/{record.web_path}/commit/{commit_id}", commit_id[:8])
            author = commit.author.decode("utf-8", "replace").rsplit(" <", 1)[0]
            rows.append([address, escape(message.split("\n")[0]), escape(author), stamp(commit_time(commit))])
    return page(record.full_name, _heading(record) + f"<h2>Commits of {escape(name)}</h2>" + table(rows))


def _diff(repo: Repo, before: bytes | None, after: bytes) -> str:
    text = BytesIO()
    old = repo[before].tree if before else None  # type: ignore[attr-defined, index]
    write_tree_diff(text, repo.object_store, old, repo[after].tree)  # type: ignore[attr-defined, index]
    return f"<pre>{escape(text.getvalue()[:_DIFF_LIMIT].decode('utf-8', 'replace'))}</pre>"


@router.get(WEB_REPO + "/commit/{revision}")
def commit(site: TheSite, record: ReadableRepo, revision: str) -> HTMLResponse:
    """Show what one commit changed."""
    with site.open_git(record) as repo:
        found = get_commit(repo, resolve_revision(repo, revision))
        diff = _diff(repo, found.parents[0] if found.parents else None, found.id)
    message = escape(found.message.decode("utf-8", "replace"))
    return page(record.full_name, f"{_heading(record)}<h2>{found.id.decode()}</h2><pre>{message}</pre>{diff}")


@router.get(WEB_REPO + "/discussions/{num:int}")
def discussion(site: TheSite, record: ReadableRepo, num: int) -> HTMLResponse:
    """Show a discussion or pull request; a pull request's changes come with it."""
    row = find_discussion(site, record, num)
    body = f"<h2>{escape(row['title'])} <small>#{num}, {row['status']}, by {escape(row['author'])}</small></h2>"
    if row["pull_request"]:
        with site.open_git(record) as repo:
            head = resolve_revision(repo, f"refs/pr/{num}")
            body += _diff(repo, row["base_commit"].encode(), head.encode())
    return page(record.full_name, _heading(record) + body)


@router.get("/{namespace}")
def namespace_page(site: TheSite, visitor: AnyVisitor, namespace: str) -> HTMLResponse:
    """Show what a user or organisation has."""
    row = site.database.row("SELECT name FROM accounts WHERE name = ?", namespace)
    if row is None:
        raise RefusalError(404, "Sorry, this page does not exist.")
    return page(row["name"], f"<h1>{escape(row['name'])}</h1>{_listing(site, visitor, row['name'])}")
