"""Datasets on the Hub, read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hfembed.errors import InputError
from hfembed.hub.identity import client, token_option
from hfembed.hub.problems import hub_errors

BEIR_CORPUS = "corpus.jsonl"
# How people and other tools write the address of files on the Hub.
ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)
WILD = "*?["


@dataclass(frozen=True)
class DatasetFiles:
    """Files of one commit of a dataset."""

    repo: str
    revision: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class DatasetParts:
    """What a dataset is divided into, and which of it a corpus is read from: none where that has to be named first."""

    configs: tuple[str, ...] = ()
    config: str | None = None
    splits: tuple[str, ...] = ()
    split: str | None = None


def dataset_revision(repo: str, revision: str | None) -> str:
    """Return the commit that a dataset's revision points to now."""
    with hub_errors(f"dataset {repo}"):
        return str(client().dataset_info(repo, revision=revision).sha)


def dataset_files(address: str) -> DatasetFiles:
    """Return the files that `hf://datasets/org/name[@revision]/path` names: a file, a folder or a pattern."""
    from huggingface_hub import HfFileSystem, constants

    match = ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(f"'{address}' names no files of a dataset.", "Example: hf://datasets/org/name/data/*.parquet")
    repo, within = match["repo"], (match["path"] or "").strip("/")
    revision = dataset_revision(repo, unquote(match["revision"]) if match["revision"] else None)
    with hub_errors(f"dataset {repo}"):
        # Instances remember the address of the Hub and what they listed; this one is to know nothing yet.
        files = HfFileSystem(endpoint=constants.ENDPOINT, token=token_option(), skip_instance_cache=True)
        root = f"datasets/{repo}@{revision}"
        found = files.glob(f"{root}/{within}") if any(sign in within for sign in WILD) else [f"{root}/{within}"]
        paths = {path for name in found for path in files.find(name.rstrip("/"))}
    names = sorted(path.removeprefix(f"{root}/") for path in paths)
    if not names:
        raise InputError(
            f"Dataset '{repo}' has no file '{within}' at {revision[:12]}.",
            f"--corpus {repo} reads the whole dataset; or correct the path.",
        )
    return DatasetFiles(repo, revision, tuple(names))


def dataset_paths(repo: str, revision: str, paths: Sequence[str]) -> set[str]:
    """Return which of some files and folders a dataset has."""
    with hub_errors(f"dataset {repo}"):
        found = client().get_paths_info(repo, list(paths), repo_type="dataset", revision=revision)
        return {one.path for one in found}


def dataset_bytes(repo: str, revision: str) -> int:
    """Return how large the files of a dataset are together."""
    with hub_errors(f"dataset {repo}"):
        info = client().dataset_info(repo, revision=revision, files_metadata=True)
        return sum(file.size or 0 for file in info.siblings or [])


def dataset_file(repo: str, revision: str, path: str) -> Path:
    """Return a file of a dataset on this machine, downloaded where it is not there yet."""
    from huggingface_hub import hf_hub_download

    with hub_errors(f"file {path} of dataset {repo}"):
        return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision, token=token_option()))


def dataset_snapshot(repo: str, revision: str | None) -> Path:
    """Return the folder of a whole dataset repo on this machine; only what is not there yet is downloaded."""
    from huggingface_hub import snapshot_download

    with hub_errors(f"dataset {repo}"):
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, token=token_option()))


def stream_dataset(repo: str, config: str | None, revision: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Hub dataset without downloading it first."""
    import datasets

    datasets.disable_progress_bars()
    token = token_option()
    with hub_errors(f"dataset {repo}"):
        if _is_beir(repo, revision):
            yield from datasets.load_dataset(
                repo, data_files=BEIR_CORPUS, split="train", revision=revision, streaming=True, token=token
            )
            return
        config = _choose_config(repo, config, datasets.get_dataset_config_names(repo, revision=revision, token=token))
        split = _choose_split(
            repo, split, datasets.get_dataset_split_names(repo, config, revision=revision, token=token)
        )
        yield from datasets.load_dataset(repo, config, split=split, revision=revision, streaming=True, token=token)


def dataset_parts(repo: str, config: str | None, revision: str, split: str) -> DatasetParts:
    """Return what a dataset is divided into; nothing for a plain BEIR folder, whose documents are one file."""
    import datasets

    token = token_option()
    with hub_errors(f"dataset {repo}"):
        if _is_beir(repo, revision):
            return DatasetParts()
        configs = tuple(datasets.get_dataset_config_names(repo, revision=revision, token=token))
        try:
            config = _choose_config(repo, config, list(configs))
        except InputError:
            return DatasetParts(configs)
        splits = tuple(datasets.get_dataset_split_names(repo, config, revision=revision, token=token))
        try:
            return DatasetParts(configs, config, splits, _choose_split(repo, split, list(splits)))
        except InputError:
            return DatasetParts(configs, config, splits)


def _is_beir(repo: str, revision: str) -> bool:
    """Tell whether a repo is a plain BEIR folder, whose queries and qrels are no documents."""
    found = client().get_paths_info(repo, [BEIR_CORPUS], revision=revision, repo_type="dataset")
    return BEIR_CORPUS in [entry.path for entry in found]


def _choose_config(repo: str, wanted: str | None, configs: list[str]) -> str:
    if wanted in configs:
        return wanted
    # Benchmarks keep their qrels in "default" and the documents in "corpus".
    usual = [name for name in ("corpus", "default") if name in configs] or configs[: len(configs) == 1]
    if wanted is None and usual:
        return usual[0]
    raise InputError(
        f"Dataset '{repo}' has no config '{wanted}'; it has {', '.join(configs)}."
        if wanted
        else f"Dataset '{repo}' has several configs: {', '.join(configs)}.",
        f"Name one: --corpus {repo}:{configs[0]}",
    )


def _choose_split(repo: str, wanted: str, splits: list[str]) -> str:
    if wanted in splits:
        return wanted
    if wanted == "train" and len(splits) == 1:  # corpora of benchmarks name their only split after themselves
        return splits[0]
    raise InputError(
        f"Dataset '{repo}' has no split '{wanted}'; it has {', '.join(splits)}.", f"--set pull.split={splits[0]}"
    )
