"""Search: which datasets the Hub has, what a model there is, and whether a name is still free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hfembed.errors import ModelError
from hfembed.hub.identity import client
from hfembed.hub.problems import hub_errors

# Fewer letters than this would find nearly everything.
LEAST_LETTERS = 2
SHOWN = 8
SIZE_TAG = "size_categories:"
SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True)
class FoundDataset:
    """A dataset that a search found. rows: how many it has, roughly and in words; empty where it does not say."""

    repo: str
    downloads: int
    likes: int
    rows: str
    is_private: bool
    is_gated: bool


@dataclass(frozen=True)
class ModelFacts:
    """What the Hub tells of a model without its weights; nothing where the model does not say."""

    repo: str
    parameters: int | None
    licence: str
    languages: tuple[str, ...]


def search_datasets(words: str, owner: str | None = None, limit: int = SHOWN) -> list[FoundDataset]:
    """Return the datasets whose names hold these words, those of `owner` first, then the most downloaded.

    Whoever acts finds their private ones too. Nothing is asked for fewer than two letters.
    """
    if len(re.sub(r"[\W_]", "", words)) < LEAST_LETTERS:
        return []
    with hub_errors(f"search for '{words}'"):
        api = client()
        own = list(api.list_datasets(search=words, author=owner, sort="downloads", limit=limit)) if owner else []
        found = {info.id: info for info in (*own, *api.list_datasets(search=words, sort="downloads", limit=limit))}
    return [_found(info) for info in list(found.values())[:limit]]


def look_up_model(name: str) -> ModelFacts:
    """Return what a model on the Hub is.

    Raises HubError where there is none of that name, and ModelError where its weights cannot be loaded safely.
    """
    repo, _, revision = name.partition("@")
    with hub_errors(f"model {repo}"):
        info = client().model_info(repo, revision=revision or None)
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or []):
        raise ModelError(
            f"'{repo}' holds no .safetensors weights; pickled weights are not loaded.", "Name another model."
        )
    card: Any = info.card_data or {}
    languages = card.get("language") or []
    return ModelFacts(
        repo=repo,
        parameters=info.safetensors.total if info.safetensors else None,
        licence=str(card.get("license") or ""),
        languages=tuple(map(str, languages if isinstance(languages, list) else [languages])),
    )


def is_taken(repo: str, kind: str) -> bool:
    """Tell whether there is a repo of this name that whoever acts can see; kind is model, dataset or space."""
    with hub_errors(f"{kind} {repo}"):
        return bool(client().repo_exists(repo, repo_type=kind))


def _found(info: Any) -> FoundDataset:
    tag = next((tag for tag in info.tags or [] if tag.startswith(SIZE_TAG)), "")
    return FoundDataset(
        repo=str(info.id),
        downloads=int(info.downloads or 0),
        likes=int(info.likes or 0),
        rows=_in_words(tag.removeprefix(SIZE_TAG)),
        is_private=bool(info.private),
        is_gated=bool(info.gated),
    )


def _in_words(size: str) -> str:
    """Return '1,000 to 10,000 rows' for '1K<n<10K'."""
    numbers = [f"{int(number) * SIZES[unit]:,}" for number, unit in re.findall(r"(\d+)([KMBT]?)", size)]
    if len(numbers) == 2:
        return f"{numbers[0]} to {numbers[1]} rows"
    if len(numbers) == 1 and size.startswith("n"):
        return f"{'fewer' if size[1] == '<' else 'more'} than {numbers[0]} rows"
    return ""
