"""Who is asking, for which repository, and whether they may: the parameters that routes share."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from starlette.convertors import Convertor, register_url_convertor

from hfembed.localhub.accounts import RESERVED_NAMES, Visitor, visitor_for
from hfembed.localhub.errors import RefusalError, forbidden, repo_not_found
from hfembed.localhub.records import READING, WRITING, RepoKind, RepoRecord, find_repo, may_read, may_read_files
from hfembed.localhub.site import Site
from hfembed.localhub.wire import read_json

COOKIE = "hub_session"


class _KindConvertor(Convertor[str]):
    """Matches the plural of a repository kind, as addresses below /api hold it."""

    regex = "models|datasets|spaces"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _PrefixConvertor(_KindConvertor):
    """Matches what stands before namespace/name in a web address."""

    regex = "(?:datasets/|spaces/)?"


class _SpaceConvertor(_KindConvertor):
    """Matches Spaces alone."""

    regex = "spaces"


class _SpacePrefixConvertor(_KindConvertor):
    """Matches what stands before namespace/name in the web address of a Space."""

    regex = "spaces/"


class _SettingConvertor(_KindConvertor):
    """Matches the two groups of settings of a Space."""

    regex = "secrets|variables"


register_url_convertor("kinds", _KindConvertor())
register_url_convertor("space_kinds", _SpaceConvertor())
register_url_convertor("space_prefix", _SpacePrefixConvertor())
register_url_convertor("space_settings", _SettingConvertor())
register_url_convertor("prefix", _PrefixConvertor())
# The address of a repository below /api, and on the web.
API_REPO = "/api/{kinds:kinds}/{namespace}/{name}"
WEB_REPO = "/{kinds:prefix}{namespace}/{name}"


def get_site(request: Request) -> Site:
    """Return what the server's routes share."""
    return cast(Site, request.app.state.site)


def base_url(request: Request) -> str:
    """Return the address that the client knows the server by, without a slash at the end."""
    return str(request.base_url).rstrip("/")


def _token(request: Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        # git sends user:token
        try:
            return base64.b64decode(value).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError):
            return ""
    # A cookie signs nobody in for a change: another site could make the browser send it.
    return request.cookies.get(COOKIE) if request.method in ("GET", "HEAD") else None


def get_visitor(request: Request) -> Visitor:
    """Return who makes a request; a token that is not valid is refused rather than ignored."""
    token = _token(request)
    if token is None:
        return Visitor()
    visitor = visitor_for(get_site(request).database, token)
    if visitor is None:
        raise RefusalError(401, "Invalid credentials in Authorization header")
    return visitor


def get_user(visitor: Annotated[Visitor, Depends(get_visitor)]) -> Visitor:
    """Return who makes a request, refusing strangers."""
    if visitor.name is None:
        raise RefusalError(401, "Invalid username or password.")
    return visitor


def get_writer(visitor: Annotated[Visitor, Depends(get_user)]) -> Visitor:
    """Return who makes a request, refusing tokens that only read."""
    if visitor.role == "read":
        raise forbidden("You must use a token with the write role to do this; this one only reads.")
    return visitor


def get_repo_seen(request: Request, visitor: Annotated[Visitor, Depends(get_visitor)]) -> RepoRecord:
    """Return the repository that an address names, refusing those who may not know of it."""
    parameters = request.path_params
    if parameters["namespace"].lower() in RESERVED_NAMES:
        raise RefusalError(404, "Sorry, we can't find the page you are looking for.")
    kind = RepoKind((parameters["kinds"].rstrip("/") or "models").removesuffix("s"))
    # git may or may not put .git behind the name; no repository is called so.
    name = parameters["name"].removesuffix(".git")
    record = find_repo(get_site(request).database, kind, parameters["namespace"], name)
    if record is None or not may_read(record, visitor):
        if record is not None and visitor.belongs_to(record.namespace):
            # The user knows of it; only the application that acts for them was not allowed to.
            visitor.check_scopes(*READING)
        raise repo_not_found(visitor.name is not None)
    return record


def check_files(site: Site, record: RepoRecord, visitor: Visitor) -> None:
    """Refuse those who may not read the files of a gated repository."""
    if may_read_files(site.database, record, visitor):
        return
    place = f"{record.kind.value} {record.full_name}"
    if visitor.name is None:
        message = f"Access to {place} is restricted. You must have access to it and be authenticated to access it. Please log in."
        raise RefusalError(401, message, "GatedRepo")
    message = f"Access to {place} is restricted and you are not in the authorized list. Ask for access first."
    raise RefusalError(403, message, "GatedRepo")


def get_repo_readable(
    request: Request,
    record: Annotated[RepoRecord, Depends(get_repo_seen)],
    visitor: Annotated[Visitor, Depends(get_visitor)],
) -> RepoRecord:
    """Return the repository that an address names, refusing those who may not read its files."""
    check_files(get_site(request), record, visitor)
    return record


def check_write(record: RepoRecord, visitor: Visitor) -> None:
    """Refuse those who may not change a repository."""
    if not visitor.may_write(record.namespace, record.name):
        raise forbidden(f"You don't have the rights to change {record.full_name} with this token.")
    if record.key not in visitor.made:
        visitor.check_scopes(*WRITING)


def check_manage(record: RepoRecord, visitor: Visitor) -> None:
    """Refuse those who may not delete, move or open a repository to others."""
    check_write(record, visitor)
    if record.key not in visitor.made:
        visitor.check_scopes("manage-repos")


def check_discuss(record: RepoRecord, visitor: Visitor) -> None:
    """Refuse an application that may neither discuss for its user nor change this repository."""
    owned = WRITING if visitor.may_write(record.namespace, record.name) else ()
    if record.key not in visitor.made:
        visitor.check_scopes("write-discussions", *owned)


def get_repo_writable(
    record: Annotated[RepoRecord, Depends(get_repo_seen)],
    visitor: Annotated[Visitor, Depends(get_user)],
) -> RepoRecord:
    """Return the repository that an address names, refusing those who may not change it."""
    check_write(record, visitor)
    return record


def get_repo_managed(
    record: Annotated[RepoRecord, Depends(get_repo_writable)],
    visitor: Annotated[Visitor, Depends(get_user)],
) -> RepoRecord:
    """Return the repository that an address names, refusing those who may not set it up."""
    check_manage(record, visitor)
    return record


def get_repo_discussed(
    record: Annotated[RepoRecord, Depends(get_repo_readable)],
    visitor: Annotated[Visitor, Depends(get_writer)],
) -> RepoRecord:
    """Return the repository that an address names, refusing those who may not speak in it."""
    check_discuss(record, visitor)
    return record


async def get_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request."""
    return await read_json(request, get_site(request).limits.json_body)


TheSite = Annotated[Site, Depends(get_site)]
AnyVisitor = Annotated[Visitor, Depends(get_visitor)]
User = Annotated[Visitor, Depends(get_user)]
Writer = Annotated[Visitor, Depends(get_writer)]
SeenRepo = Annotated[RepoRecord, Depends(get_repo_seen)]
ReadableRepo = Annotated[RepoRecord, Depends(get_repo_readable)]
ManagedRepo = Annotated[RepoRecord, Depends(get_repo_managed)]
DiscussedRepo = Annotated[RepoRecord, Depends(get_repo_discussed)]
WritableRepo = Annotated[RepoRecord, Depends(get_repo_writable)]
JsonBody = Annotated[dict[str, Any], Depends(get_json)]
