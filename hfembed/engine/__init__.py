"""Engine: who does the work of a stage that falls into blocks; what comes of it is the same with each.

An engine is no part of a recipe: a run that was begun with one goes on with another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from hfembed.engine.contract import Engine, Work
from hfembed.engine.local import Local

__all__ = ["Engine", "EngineName", "Work", "current", "using"]


class EngineName(StrEnum):
    """The engines there are."""

    LOCAL = "local"
    RAY = "ray"


_engine: ContextVar[Engine | None] = ContextVar("hfembed_engine", default=None)


def current() -> Engine:
    """Return the engine that works now: this process, unless `using` says otherwise."""
    return _engine.get() or Local()


@contextmanager
def using(name: EngineName, address: str | None = None) -> Iterator[Engine]:
    """Work with an engine. address: of a cluster of Ray; without one it is started on this machine."""
    engine = _open(name, address)
    before = _engine.set(engine)
    try:
        yield engine
    finally:
        _engine.reset(before)
        engine.close()


def _open(name: EngineName, address: str | None) -> Engine:
    if name is EngineName.LOCAL:
        return Local()
    from hfembed.engine.cluster import Cluster

    return Cluster(address)
