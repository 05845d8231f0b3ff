"""Collections: what was published stands together, in a collection that is made once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hfembed.events import Reporter
from hfembed.hub.identity import client
from hfembed.hub.problems import hub_errors
from hfembed.hub.publish import Published, retry

if TYPE_CHECKING:
    from huggingface_hub import HfApi
# The Hub appends this to the words of a title.
IDENTITY = re.compile(r"-[0-9a-f]{24}$")
MAX_TITLE = 60
DESCRIPTION = "An embedding model and the triplets it was trained on, made with hfembed."


def collect(name: str, published: Sequence[Published], public: bool, report: Reporter) -> str:
    """Put repos into the collection ORG/title-slug, which is made where it is missing; return its address.

    Repeating it changes nothing: the collection is found by the words of its title, and what it holds stays.
    """
    api = client()
    with hub_errors(f"collection {name}"):
        slug = retry(lambda: _find_or_create(api, name, public), report)
        held = retry(lambda: {(item.item_type, item.item_id) for item in api.get_collection(slug).items}, report)
        for entry in published:
            if (entry.kind, entry.repo) not in held:
                retry(lambda entry=entry: _add(api, slug, entry), report)  # type: ignore[misc]
    return f"{api.endpoint}/collections/{slug}"


def _find_or_create(api: HfApi, name: str, public: bool) -> str:
    owner, _, words = name.partition("/")
    title = " ".join(part for part in re.split(r"[^\w]+", IDENTITY.sub("", words)) if part)[:MAX_TITLE]
    for found in api.list_collections(owner=owner):
        if found.slug == name or IDENTITY.sub("", found.slug.partition("/")[2]) == slugify(title):
            return str(found.slug)
    made: Any = api.create_collection(
        title, namespace=owner, description=DESCRIPTION, private=not public, exists_ok=True
    )
    return str(made.slug)


def _add(api: HfApi, slug: str, entry: Published) -> None:
    api.add_collection_item(slug, entry.repo, "model" if entry.kind == "model" else "dataset", exists_ok=True)


def slugify(title: str) -> str:
    """Return a title as the Hub puts it in an address."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
