"""Datasets on the Hub, read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfembed.errors import InputError
from hfembed.hub.problems import hub_errors

BEIR_CORPUS = "corpus.jsonl"


def dataset_revision(repo: str, revision: str | None) -> str:
    """Return the commit that a dataset's revision points to now."""
    from huggingface_hub import HfApi

    with hub_errors(f"dataset {repo}"):
        return str(HfApi().dataset_info(repo, revision=revision).sha)


def stream_dataset(repo: str, config: str | None, revision: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Hub dataset without downloading it first."""
    import datasets

    datasets.disable_progress_bars()
    with hub_errors(f"dataset {repo}"):
        if _is_beir(repo, revision):
            yield from datasets.load_dataset(
                repo, data_files=BEIR_CORPUS, split="train", revision=revision, streaming=True
            )
            return
        config = _choose_config(repo, config, datasets.get_dataset_config_names(repo, revision=revision))
        split = _choose_split(repo, split, datasets.get_dataset_split_names(repo, config, revision=revision))
        yield from datasets.load_dataset(repo, config, split=split, revision=revision, streaming=True)


def _is_beir(repo: str, revision: str) -> bool:
    """Tell whether a repo is a plain BEIR folder, whose queries and qrels are no documents."""
    from huggingface_hub import HfApi

    found = HfApi().get_paths_info(repo, [BEIR_CORPUS], revision=revision, repo_type="dataset")
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
