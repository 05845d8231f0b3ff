"""Facts about models and datasets on the Hub, without downloading them; asked once, since a guess does as well."""

from __future__ import annotations

from typing import Any

from hfembed.hub.identity import client
from hfembed.hub.problems import hub_errors

# How far off a count of rows may be, as a factor: written on the card, or guessed from bytes.
TOLD, GUESSED = 1.0, 3.0


def model_shapes(name: str) -> dict[str, list[int]]:
    """Return the shape of every tensor of a model on the Hub; nothing where it has no safetensors."""
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    repo, _, revision = name.partition("@")
    try:
        with hub_errors(f"model {repo}"):
            found = client().get_safetensors_metadata(repo, revision=revision or None)
    except (NotASafetensorsRepoError, SafetensorsParsingError):
        return {}
    tensors = (pair for file in found.files_metadata.values() for pair in file.tensors.items())
    return {tensor: list(info.shape) for tensor, info in tensors}


def dataset_rows(repo: str, config: str | None, revision: str, row_bytes: float) -> tuple[int, float]:
    """Return how many rows a dataset has, and how far off that may be: as its card tells, else guessed from bytes."""
    with hub_errors(f"dataset {repo}"):
        info = client().dataset_info(repo, revision=revision, files_metadata=True)
    card: Any = info.card_data or {}
    told = card.get("dataset_info") or []
    configs = told if isinstance(told, list) else [told]
    wanted = [entry for entry in configs if config is None or entry.get("config_name") == config]
    rows = [int(split.get("num_examples") or 0) for entry in wanted for split in entry.get("splits") or []]
    if any(rows):
        return max(rows), TOLD
    size = sum(file.size or 0 for file in info.siblings or [] if not file.rfilename.startswith("."))
    return max(1, round(size / row_bytes)), GUESSED
