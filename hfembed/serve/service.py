"""The service: what one server knows, and how a request becomes vectors."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hfembed.embed import PROMPT_NAMES, Role, Vectors, unit
from hfembed.serve.batcher import Batcher
from hfembed.serve.choices import Limits
from hfembed.serve.engine import Engine
from hfembed.serve.metrics import Metrics
from hfembed.serve.model import Served
from hfembed.serve.refusals import failed, invalid, no_model, too_long, wrong_key
from hfembed.serve.tokens import Text
from hfembed.serve.wire import EmbeddingsRequest, write_answer

# How clients call what a text is, beside the model's own names of its prompts.
ROLES = {
    "query": Role.QUERY,
    "search_query": Role.QUERY,
    "document": Role.DOCUMENT,
    "passage": Role.DOCUMENT,
    "search_document": Role.DOCUMENT,
}
# Less is read, or written, sooner than handed to another thread.
SMALL_CHARACTERS, SMALL_TEXTS = 4_000, 64
READERS = 2


class Service:
    """One model behind one address."""

    def __init__(self, served: Served, engine: Engine, limits: Limits, keys: Sequence[str] = ()) -> None:
        """Serve a model that is loaded, to those who have one of the keys; to everybody where there is none."""
        self.served, self.engine, self.limits = served, engine, limits
        self._keys = [key.encode() for key in keys]
        self.width = int(engine.compute(engine.tokens.read_texts(["warm up"])).shape[1])
        self.dimensions = sorted({width for width in served.dimensions if width < self.width} | {self.width})
        self.metrics = Metrics(served.name, str(served.backend), self._waiting)
        self.batcher = Batcher(engine, limits.waiting_tokens, limits.waiting_texts, self.metrics.computed)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hfembed-serve-reader")
        self.started = int(time.time())
        self.stopping = False

    def check_key(self, header: str | None) -> None:
        """Refuse who has no key; how long that takes says nothing about the key."""
        if not self._keys:
            return
        scheme, _, given = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise wrong_key(given=False)
        said = given.strip().encode("latin-1")  # as headers are decoded
        if not any([hmac.compare_digest(said, key) for key in self._keys]):  # all of them are compared
            raise wrong_key(given=True)

    async def embed(self, asked: EmbeddingsRequest) -> bytes:
        """Return the answer to a request."""
        started = time.perf_counter()
        if asked.model != self.served.name:
            raise no_model(asked.model, self.served.name)
        texts = asked.texts()
        if len(texts) > self.limits.texts:
            raise invalid(f"input has {len(texts):,} texts; at most {self.limits.texts:,} are read at a time.", "input")
        width = self._width(asked.dimensions)
        prompt = self._prompt(asked.input_type)
        is_small = sum(map(len, texts)) <= SMALL_CHARACTERS
        read = self._read(texts, prompt) if is_small else await self._aside(self._read, texts, prompt)
        refuses = asked.truncate == "NONE" or (asked.truncate is None and not self.limits.cuts)
        tokens, cut = self._measure(read, refuses=refuses)
        vectors = await self.batcher.submit(read)
        as_base64 = asked.encoding_format == "base64"
        self.metrics.embedded(time.perf_counter() - started, cut)
        if len(texts) <= SMALL_TEXTS:
            return self._write(vectors, width, tokens, as_base64)
        answer: bytes = await self._aside(self._write, vectors, width, tokens, as_base64)
        return answer

    def stop(self) -> None:
        """Take no new requests; what was accepted is finished."""
        self.stopping = True
        self.batcher.close()

    def close(self) -> None:
        """Wait for what was accepted, and let go of the threads."""
        self.batcher.close()
        self.batcher.join()
        self._readers.shutdown()

    @property
    def idle(self) -> bool:
        """Whether everything that was accepted is computed."""
        return self.batcher.waiting_texts == 0

    def _waiting(self) -> tuple[int, int]:
        return self.batcher.waiting_texts, self.batcher.waiting_tokens

    async def _aside(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Do something that takes long in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    def _read(self, texts: list[str] | list[list[int]], prompt: str) -> list[Text]:
        if isinstance(texts[0], str):
            return self.engine.tokens.read_texts(texts, prompt)  # type: ignore[arg-type]
        return self.engine.tokens.read_ids(texts, prompt)  # type: ignore[arg-type]

    def _measure(self, texts: list[Text], *, refuses: bool) -> tuple[int, int]:
        """Return how many tokens are read, and how many texts are cut; refuse what is too much."""
        if any(not text.ids for text in texts):
            raise invalid("A text holds nothing that the model could read.", "input")
        cut = [at for at, text in enumerate(texts) if text.cut]
        if cut and refuses:
            raise too_long(
                f"Text {cut[0]} of input is longer than the {self.engine.tokens.limit} tokens that the model reads."
            )
        tokens = sum(len(text.ids) for text in texts)
        if tokens > self.limits.tokens:
            raise too_long(f"input has {tokens:,} tokens; at most {self.limits.tokens:,} are read at a time.")
        return tokens, len(cut)

    def _width(self, dimensions: int | None) -> int:
        if dimensions is None or dimensions in self.dimensions:
            return dimensions or self.width
        known = ", ".join(map(str, self.dimensions))
        raise invalid(f"This model gives vectors of {known} dimensions, not of {dimensions}.", "dimensions")

    def _prompt(self, kind: str | None) -> str:
        """Return what stands before a text of a kind."""
        prompts = self.engine.prompts
        if kind is None:
            return self.engine.default
        if kind in prompts:
            return prompts[kind]
        if kind not in ROLES:
            known = ", ".join(dict.fromkeys([*ROLES, *prompts]))
            raise invalid(f"input_type is {kind[:100]!r}; allowed are {known}.", "input_type")
        return next((prompts[name] for name in PROMPT_NAMES[ROLES[kind]] if name in prompts), "")

    def _write(self, vectors: Vectors, width: int, tokens: int, as_base64: bool) -> bytes:
        if not np.isfinite(vectors).all():
            raise failed()
        if width < self.width:
            short = vectors[:, :width]
            vectors = short if self.served.files.keeps_lengths else unit(short)
        return write_answer(self.served.name, vectors, tokens, as_base64=as_base64)
