"""Hub names: ids of the Hub and nothing else; what names a file of this machine is none, whoever typed it."""

from __future__ import annotations

from hfembed.corpus import HUB_FILES, HUB_SOURCE
from hfembed.hub import REPO_ID
from hfembed.resources import local_path


def names_model(name: str) -> bool:
    """Tell whether a name is `org/name[@revision]`."""
    return _names_repo(name, name.partition("@")[0])


def names_dataset(name: str) -> bool:
    """Tell whether a name is `org/name[:config][@revision]`."""
    match = HUB_SOURCE.match(name)
    return match is not None and _names_repo(name, match["repo"])


def names_dataset_file(name: str) -> bool:
    """Tell whether a name is the address of files in a dataset."""
    return name.startswith(HUB_FILES) and ".." not in name and local_path(name) is None


def _names_repo(name: str, repo: str) -> bool:
    is_here = any(local_path(part) is not None for part in (name, repo))
    return REPO_ID.fullmatch(repo) is not None and ".." not in name and not is_here
