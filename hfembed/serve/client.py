"""Asking an endpoint for vectors, as any client of OpenAI's would; what is refused for now is asked again."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np

from hfembed.embed import Role, Vectors
from hfembed.errors import InputError
from hfembed.events import Reporter, silent

TEXTS = 32
AT_ONCE = 4
TIMEOUT = 120
# A server that is busy, or just starting, is asked again so often; a vector that is no number, too.
TRIES, VECTOR_TRIES = 6, 32
LATER = (429, 500, 502, 503, 504)
MOST_SECONDS = 30.0


@dataclass(frozen=True)
class Answered:
    """Vectors of texts, and the places of those that came with something that is no number, however often asked."""

    vectors: Vectors
    broken: list[int]


class EndpointClient:
    """One model at one address. It puts the prompts before texts itself where the server knows none."""

    def __init__(
        self, url: str, key: str | None, model: str | None, prompts: Mapping[Role, str], report: Reporter | None = None
    ) -> None:
        """Find the model at an address that ends in /v1, or whose /v1 is meant. model: which, where it has several."""
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InputError(f"'{url}' is no address of an endpoint.", "It reads http://127.0.0.1:8800/v1")
        bare = url.rstrip("/")
        self.url = bare if bare.endswith("/v1") else f"{bare}/v1"
        self._key = key
        self._report = report or silent()
        listed = self._ask("/models")
        found = listed.get("data") if isinstance(listed, dict) else None
        names = {str(row["id"]): row for row in found or [] if isinstance(row, dict) and "id" in row}
        if model not in names and (model is not None or len(names) != 1):
            raise InputError(
                f"{self.url} serves {', '.join(names) or 'no model'}" + (f", not '{model}'." if model else "."),
                "--served NAME says which of them is meant.",
            )
        self.model = model or next(iter(names))
        kinds = names[self.model].get("input_types") or []
        self._knows_roles = {str(role) for role in Role} <= set(kinds)
        self._prompts = prompts

    def encode(self, texts: Sequence[str], role: Role) -> Answered:
        """Return the vectors of texts, in order."""
        parts = [texts[start : start + TEXTS] for start in range(0, len(texts), TEXTS)]
        task = self._report.task(f"asking {self.url}", len(texts), "texts")
        found: list[Vectors] = []
        broken: list[int] = []
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for at, answer in enumerate(threads.map(lambda part: self._part(part, role), parts)):
                found.append(answer.vectors)
                broken += [at * TEXTS + place for place in answer.broken]
                task.advance(len(answer.vectors))
        task.finish()
        widths = {part.shape[1] for part in found}
        if len(widths) > 1:
            raise InputError(f"{self.url} gives vectors of {sorted(widths)} dimensions for texts of one kind.")
        return Answered(np.concatenate(found), broken)

    def _part(self, texts: Sequence[str], role: Role) -> Answered:
        vectors = self._vectors(texts, role)
        for _ in range(VECTOR_TRIES):
            broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
            if not broken:
                break
            vectors[broken] = self._vectors([texts[at] for at in broken], role)
        else:
            broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
        return Answered(vectors, broken)

    def _vectors(self, texts: Sequence[str], role: Role) -> Vectors:
        before = "" if self._knows_roles else self._prompts.get(role, "")
        asked: dict[str, Any] = {"model": self.model, "input": [before + text for text in texts]}
        asked |= {"encoding_format": "float", **({"input_type": str(role)} if self._knows_roles else {})}
        answer = self._ask("/embeddings", asked)
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            # Where a number is missing, what was there could not be written as one.
            vectors = np.array([[np.nan if x is None else x for x in row["embedding"]] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.url}/embeddings does not answer as OpenAI's does: {error!r}.") from None
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InputError(f"{self.url}/embeddings answers {len(texts)} texts with {len(rows)} vectors.")
        return vectors

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON that an address answers with."""
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        }
        content = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, content, headers)
        for tried, pause in zip(count(1), _pauses(), strict=False):
            try:
                with urlopen(request, timeout=TIMEOUT) as answer:
                    return json.load(answer)
            except HTTPError as error:
                said = error.read(2_000).decode("utf-8", "replace")
                if error.code not in LATER or tried == TRIES:
                    raise InputError(
                        f"{self.url}{path} answers {error.code}: {said[:300]}",
                        "A key stands in HFEMBED_API_KEY, or where --api-key-env says." if error.code == 401 else "",
                    ) from None
                after = error.headers.get("Retry-After", "")
                time.sleep(min(float(after), MOST_SECONDS) if after.isdecimal() else pause)
            except (URLError, http.client.HTTPException, OSError, json.JSONDecodeError) as error:
                if tried == TRIES:
                    reason = getattr(error, "reason", None) or error
                    raise InputError(f"{self.url}{path} cannot be asked: {reason}.", "Is the endpoint up?") from None
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


def _pauses() -> Iterator[float]:
    """Yield how many seconds to wait before each further try."""
    yield from (0.2 * 2**tried for tried in count())
