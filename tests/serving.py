"""Starting endpoints, and reading what the OpenAI client got from one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from openai import OpenAI

if TYPE_CHECKING:
    from hfembed.serve.engine import Engine
    from hfembed.serve.server import Endpoint
    from hfembed.serve.tokens import Text

NAME = "parts"


def start(
    model: Path | str, limits: dict[str, Any] | None = None, keys: tuple[str, ...] = (), **wishes: Any
) -> Endpoint:
    """Return an endpoint on a free port, to be entered."""
    from hfembed.serve import open_endpoint
    from hfembed.serve.choices import Backend, Limits, Wishes

    if "backend" in wishes:
        wishes["backend"] = Backend(wishes["backend"])
    return open_endpoint(str(model), Wishes(**wishes), Limits(**limits or {}), keys, ("127.0.0.1", 0))[0]


def vectors_of(answer: Any) -> np.ndarray:
    """Return the vectors of an answer of the OpenAI client."""
    return np.array([row.embedding for row in answer.data], dtype=np.float32)


def client_of(endpoint: Endpoint, key: str = "none", **options: Any) -> OpenAI:
    """Return the OpenAI client of an endpoint; it does not try again."""
    return OpenAI(base_url=f"{endpoint.url}/v1", api_key=key, max_retries=0, **options)


class Gate:
    """An engine that computes only while its gate is open."""

    def __init__(self, engine: Engine) -> None:
        """Put a gate before an engine; it is open."""
        self._engine = engine
        self.open = Event()
        self.open.set()
        self.tokens, self.prompts, self.default = engine.tokens, engine.prompts, engine.default
        self.workers, self.batch_tokens, self.fixed_tokens = 1, engine.batch_tokens, engine.fixed_tokens

    def compute(self, texts: Sequence[Text]) -> Any:
        """Return the vectors of texts, once the gate is open."""
        assert self.open.wait(30)
        return self._engine.compute(texts)


def start_gated(model: Path, limits: dict[str, Any]) -> tuple[Endpoint, Gate]:
    """Return an endpoint on a free port, to be entered, and the gate before its engine."""
    from hfembed.serve.choices import Limits, Wishes
    from hfembed.serve.engine import open_engine
    from hfembed.serve.model import find_served
    from hfembed.serve.server import Endpoint, take_address
    from hfembed.serve.service import Service

    served = find_served(str(model), Wishes())
    gate = Gate(open_engine(served))
    return Endpoint(Service(served, gate, Limits(**limits)), take_address("127.0.0.1", 0)), gate
