"""What the Hub tells about a repository: files, card, tags, configuration, safetensors."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from dulwich.repo import Repo

from hfembed.localhub.card import read_card, tags_from_card
from hfembed.localhub.database import stamp
from hfembed.localhub.gitread import Entry, commit_time, get_commit, list_files, read_file, resolve_revision
from hfembed.localhub.records import RepoKind, RepoRecord
from hfembed.localhub.site import Site

_HEADER_LIMIT = 100 << 20
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}
# Always told, also when a caller lists what it wants.
_ALWAYS = {"_id", "id", "modelId"}
# A short listing holds these; `full` and `expand` add the rest.
SHORT = {
    "private",
    "gated",
    "downloads",
    "likes",
    "tags",
    "pipeline_tag",
    "library_name",
    "createdAt",
    "lastModified",
    "author",
    "sha",
    "trendingScore",
    "sdk",
    "disabled",
}


def describe(site: Site, record: RepoRecord, revision: str = "main", *, blobs: bool = False) -> dict[str, Any]:
    """Return everything the Hub's info endpoint tells about a repository at a revision."""
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, revision)
        summary = _summary(site, repo, record, commit_id)
        files = list_files(repo, commit_id)
    info = {
        **_basics(site, record, commit_id),
        "downloadsAllTime": record.downloads,
        **summary,
        "siblings": [_sibling(entry, blobs) for entry in files],
        "usedStorage": sum(entry.size for entry in files),
        "xetEnabled": True,
    }
    if record.kind is RepoKind.MODEL:
        info |= {"modelId": record.full_name, "spaces": []}
    if record.kind is RepoKind.SPACE:
        info |= {"host": None, "subdomain": f"{record.namespace}-{record.name}".lower(), "models": [], "datasets": []}
    return info


def _basics(site: Site, record: RepoRecord, commit_id: str) -> dict[str, Any]:
    return {
        "_id": record.key[:24],
        "id": record.full_name,
        "author": record.namespace,
        "sha": commit_id,
        "private": record.private,
        "gated": record.gated or False,
        "disabled": False,
        "downloads": record.downloads,
        "likes": count_likes(site, record),
        "trendingScore": 0,
        "createdAt": record.created_at,
    }


def describe_short(site: Site, record: RepoRecord) -> dict[str, Any]:
    """Return what listings, searches and filters need, from a summary kept per commit."""
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, "main")
        summary = _summary(site, repo, record, commit_id)
    info = {**_basics(site, record, commit_id), **summary}
    return info | ({"modelId": record.full_name} if record.kind is RepoKind.MODEL else {})


def only(info: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
    """Return the wanted properties, with the identifying ones."""
    return {key: value for key, value in info.items() if key in wanted | _ALWAYS}


def count_likes(site: Site, record: RepoRecord) -> int:
    """Return how many users like a repository."""
    row = site.database.row("SELECT count(*) AS likes FROM likes WHERE repo = ?", record.key)
    return int(row["likes"]) if row else 0


def _sibling(entry: Entry, blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": entry.path}
    if blobs:
        sibling |= {"blobId": entry.git_id, "size": entry.size}
        if entry.large:
            sibling["lfs"] = {
                "sha256": entry.large.oid,
                "size": entry.large.size,
                "pointerSize": entry.large.pointer_size,
            }
    return sibling


def _summary(site: Site, repo: Repo, record: RepoRecord, commit_id: str) -> dict[str, Any]:
    """Return what follows from the files of a commit alone, computed once per commit."""
    row = site.database.row("SELECT summary FROM repos WHERE id = ? AND summary_commit = ?", record.key, commit_id)
    if row is not None:
        known: dict[str, Any] = json.loads(row["summary"])
        return known
    summary = _summarise(site, repo, record, commit_id)
    if resolve_revision(repo, "main") == commit_id:
        site.database.run(
            "UPDATE repos SET summary_commit = ?, summary = ? WHERE id = ?",
            commit_id,
            json.dumps(summary),
            record.key,
        )
    return summary


def _summarise(site: Site, repo: Repo, record: RepoRecord, commit_id: str) -> dict[str, Any]:
    files = list_files(repo, commit_id)
    card = read_card((read_file(repo, commit_id, "README.md") or b"").decode("utf-8", "replace"))
    summary: dict[str, Any] = {
        "lastModified": stamp(commit_time(get_commit(repo, commit_id))),
        "cardData": card,
        "tags": tags_from_card(record.kind, card),
    }
    if record.kind is RepoKind.MODEL:
        summary |= _model_facts(site, repo, commit_id, files, card)
    elif record.kind is RepoKind.DATASET:
        formats = {_FORMATS[Path(entry.path).suffix] for entry in files if Path(entry.path).suffix in _FORMATS}
        summary["tags"] += [f"format:{name}" for name in sorted(formats)]
        summary["description"] = ""
    else:
        summary["sdk"] = card.get("sdk")
    summary["tags"] = list(dict.fromkeys([*summary["tags"], "region:us"]))
    return summary


def _model_facts(site: Site, repo: Repo, commit_id: str, files: list[Entry], card: dict[str, Any]) -> dict[str, Any]:
    config = _read_object(read_file(repo, commit_id, "config.json"))
    facts: dict[str, Any] = {
        "config": {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config},
        "library_name": card.get("library_name"),
        "pipeline_tag": card.get("pipeline_tag"),
        "model-index": card.get("model-index"),
        "widgetData": card.get("widget"),
        "mask_token": None,
    }
    tags = tags_from_card(RepoKind.MODEL, card)
    if any(entry.path.endswith(".onnx") for entry in files):
        tags.insert(1, "onnx")
    parameters = _safetensors(site, files)
    if parameters:
        tags.insert(1, "safetensors")
        facts["safetensors"] = {"parameters": parameters, "total": sum(parameters.values())}
    if config.get("model_type"):
        tags.append(str(config["model_type"]))
    if facts["library_name"] in ("transformers", "sentence-transformers") and config.get("architectures"):
        facts["transformersInfo"] = {"auto_model": "AutoModel", "pipeline_tag": card.get("pipeline_tag")}
    return facts | {"tags": tags}


def _read_object(content: bytes | None) -> dict[str, Any]:
    try:
        parsed = json.loads(content or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _safetensors(site: Site, files: list[Entry]) -> dict[str, int]:
    """Return the number of parameters of each type in the safetensors files at the root."""
    total: dict[str, int] = {}
    for entry in files:
        if entry.large and entry.path.endswith(".safetensors") and "/" not in entry.path:
            for dtype, count in _count_parameters(site.large_files.path_of(entry.large.oid)):
                total[dtype] = total.get(dtype, 0) + count
    return total


@lru_cache(maxsize=1000)
def _count_parameters(path: Path) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = _read_object(stream.read(length)) if length < _HEADER_LIMIT else {}
    for name, tensor in header.items():
        if name != "__metadata__" and isinstance(tensor, dict) and "shape" in tensor:
            dtype = str(tensor.get("dtype"))
            counts[dtype] = counts.get(dtype, 0) + prod(tensor["shape"])
    return tuple(sorted(counts.items()))
