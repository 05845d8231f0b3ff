"""Turn a corpus into a published embedding model that is proven better on it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hfembed.errors import HfembedError
    from hfembed.pipeline import run
    from hfembed.recipe import Recipe
    from hfembed.run import Run

_HOMES = {
    "HfembedError": "hfembed.errors",
    "Recipe": "hfembed.recipe",
    "Run": "hfembed.run",
    "run": "hfembed.pipeline",
}

__all__ = ["HfembedError", "Recipe", "Run", "run"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import hfembed` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hfembed' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
