"""Cards: the Hub's own classes for their metadata, and the cards of others, read."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import (
    CardData,
    DatasetCardData,
    EvalResult,
    ModelCardData,
    SpaceCardData,
    constants,
    hf_hub_download,
)
from huggingface_hub.errors import EntryNotFoundError

from hfembed.errors import HubError
from hfembed.hub.identity import client, token_option
from hfembed.hub.problems import hub_errors

__all__ = [
    "CardData",
    "DatasetCardData",
    "EvalResult",
    "ModelCardData",
    "SpaceCardData",
    "hub_link",
    "is_benchmark",
    "read_card",
]

# What registers a dataset as a benchmark.
BENCHMARK = "eval.yaml"


def read_card(repo: str, kind: str, revision: str) -> str:
    """Return a repo's README.md; nothing where it has none or cannot be asked."""
    try:
        with hub_errors(f"card of {kind} {repo}"):
            try:
                file = hf_hub_download(repo, "README.md", repo_type=kind, revision=revision, token=token_option())
            except EntryNotFoundError:
                return ""
    except HubError:
        return ""  # a licence that cannot be looked up is unknown, and the card says so
    return Path(file).read_text(encoding="utf-8", errors="replace")


def is_benchmark(dataset: str) -> bool:
    """Tell whether a dataset says how results on it are shown, as those do that the Hub keeps a leaderboard of."""
    try:
        with hub_errors(f"dataset {dataset}"):
            return bool(client().file_exists(dataset, BENCHMARK, repo_type="dataset"))
    except HubError:
        return False  # results that cannot be shown anywhere stay on the card


def hub_link(repo: str, kind: str = "model", revision: str | None = None) -> str:
    """Return the link to a repo as it should stand on a card of the same Hub."""
    prefix = "" if kind == "model" else f"/{kind}s"
    # The address of a Hub on this machine means nothing elsewhere, and its port changes.
    local = re.match(r"https?://(localhost|127\.|\[::1\])", constants.ENDPOINT)
    return ("" if local else constants.ENDPOINT) + f"{prefix}/{repo}" + (f"/tree/{revision}" if revision else "")
