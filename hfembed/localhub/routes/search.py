"""Listing and searching repositories."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from hfembed.localhub.access import AnyVisitor, TheSite
from hfembed.localhub.errors import bad_request
from hfembed.localhub.metadata import SHORT, describe, describe_short, only
from hfembed.localhub.records import RepoKind, RepoRecord, list_repos, may_read
from hfembed.localhub.routes.info import is_true, next_link
from hfembed.localhub.site import Site

router = APIRouter()
_PAGE = 1000
_SORTS = ("lastModified", "createdAt", "downloads", "likes", "trendingScore", "likes30d", "author", "id", "_id")


def _matches(info: dict[str, Any], request: Request) -> bool:
    """Tell whether a repository is what a search asks for."""
    query = request.query_params
    tags = {str(tag).lower() for tag in info["tags"]}
    wanted = [part for value in query.getlist("filter") for part in value.split(",") if part]
    if not all(_has_tag(info, tags, tag.lower()) for tag in wanted):
        return False
    text = json.dumps([info["id"], info.get("cardData", {}).get("pretty_name")]).lower()
    if not all(word in text for value in query.getlist("search") for word in value.lower().split()):
        return False
    if "author" in query and info["author"].lower() != query["author"].lower():
        return False
    if "pipeline_tag" in query and info.get("pipeline_tag") != query["pipeline_tag"]:
        return False
    return "gated" not in query or bool(info["gated"]) == is_true(query["gated"].title())


def _has_tag(info: dict[str, Any], tags: set[str], wanted: str) -> bool:
    """Tell whether a tag fits, also without the group that datasets put before theirs."""
    return (
        wanted in tags
        or wanted in (str(info.get("pipeline_tag")).lower(), str(info.get("library_name")).lower())
        or any(tag.endswith(f":{wanted}") and tag.startswith("language:") for tag in tags)
    )


def _found(site: Site, records: Iterable[RepoRecord], request: Request) -> list[tuple[dict[str, Any], RepoRecord]]:
    infos = [(describe_short(site, record), record) for record in records]
    return [(info, record) for info, record in infos if _matches(info, request)]


@router.get("/api/{kinds:kinds}")
def search(
    request: Request,
    response: Response,
    site: TheSite,
    visitor: AnyVisitor,
    kinds: str,
    sort: str = "trendingScore",
    direction: str = "-1",
    limit: int = _PAGE,
    cursor: str = "",
) -> list[dict[str, Any]]:
    """List the repositories of a kind that fit a search, a page at a time."""
    if sort not in _SORTS:
        raise bad_request(f"Invalid sort parameter {sort!r}; use one of {', '.join(_SORTS)}.")
    if limit < 1:
        raise bad_request('"limit" must be at least 1')
    records = [record for record in list_repos(site.database, RepoKind(kinds[:-1])) if may_read(record, visitor)]
    found = sorted(_found(site, records, request), key=lambda pair: pair[0]["id"].lower())
    # Sorted twice, so that equals keep the order of the alphabet on every page.
    found.sort(key=lambda pair: str(pair[0].get(sort) or 0).zfill(20), reverse=direction == "-1")
    start = int(cursor) if cursor.isdigit() else 0
    limit = min(limit, _PAGE)
    if start + limit < len(found):
        next_link(request, response, cursor=start + limit)
    return [_told(site, request, info, record) for info, record in found[start : start + limit]]


def _told(site: Site, request: Request, info: dict[str, Any], record: RepoRecord) -> dict[str, Any]:
    """Return as much about a found repository as the search asks for."""
    query = request.query_params
    expand = set(query.getlist("expand") + query.getlist("expand[]"))
    if expand:
        return only(describe(site, record) if "siblings" in expand else info, expand)
    if is_true(query.get("full")):
        full = SHORT | {"siblings"} | ({"cardData"} if record.kind is not RepoKind.MODEL else set())
        return only(describe(site, record), full | ({"cardData"} if is_true(query.get("cardData")) else set()))
    extra = {name for name in ("config", "cardData") if is_true(query.get(name))}
    return only(info, SHORT | extra)


@router.get("/api/{kinds:kinds}-tags-by-type")
def tags_by_type(site: TheSite, visitor: AnyVisitor, kinds: str) -> dict[str, list[dict[str, str]]]:
    """List the tags in use, by their group."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for record in list_repos(site.database, RepoKind(kinds[:-1])):
        if not may_read(record, visitor):
            continue
        for tag in describe_short(site, record)["tags"]:
            group, _, label = str(tag).rpartition(":")
            groups.setdefault(group or "other", {})[tag] = {"id": tag, "label": label, "type": group or "other"}
    return {group: list(tags.values()) for group, tags in sorted(groups.items())}
