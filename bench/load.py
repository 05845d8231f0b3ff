"""Load for an endpoint: clients that ask over connections which stay open, at almost no cost of their own."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
# A right vector, computed elsewhere and in another batch.
LEAST_COSINE = 0.9999


@dataclass
class Tally:
    """What became of requests.

    lost: those whose connection ended without an answer. processor: seconds that the server computed.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    lost: int = 0
    elapsed: float = 0.0
    processor: float = 0.0

    def rate(self) -> float:
        """Return answers a second."""
        return self.statuses[200] / self.elapsed

    def cost(self) -> float:
        """Return the milliseconds of a processor that an answer took; a busy machine changes it little."""
        return self.processor * 1000 / max(1, self.statuses[200])

    def milliseconds(self, percent: float) -> float:
        """Return a percentile of the times of answers."""
        return float(np.percentile(self.seconds, percent)) * 1000 if self.seconds else float("nan")


class Question:
    """One request as bytes, and the vector that answers it."""

    def __init__(self, url: str, model: str, text: str, vector: Vectors) -> None:
        """Write the request for one text."""
        parts = urlsplit(url)
        body = json.dumps({"model": model, "input": [text], "encoding_format": "base64"}).encode()
        head = f"POST {parts.path}/embeddings HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self.content = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._vector = vector

    def is_right(self, answer: bytes) -> bool:
        """Tell whether an answer is the vector of the text; also where the server knows floats only."""
        said = json.loads(answer)["data"][0]["embedding"]
        found = np.frombuffer(b64decode(said), "<f4") if isinstance(said, str) else np.array(said, np.float32)
        length = float(np.linalg.norm(found) * np.linalg.norm(self._vector))
        return found.shape == self._vector.shape and float(found @ self._vector) >= LEAST_COSINE * length


class Connection:
    """One connection that is opened when first used, and again where the server has closed it."""

    def __init__(self, url: str) -> None:
        """Remember where."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, content: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the server closed it while nothing was asked, as servers do after a while
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=2**22)
        reader, writer = self._streams
        try:
            writer.write(content)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except BaseException:
            self.close()
            raise
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Let go of it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def closed_loop(url: str, questions: Sequence[Question], clients: int, seconds: float) -> Tally:
    """Have so many clients ask, each its next question when it has the answer to its last."""
    tally = Tally()
    ends = time.perf_counter() + seconds

    async def client(number: int) -> None:
        connection, at = Connection(url), number * 7919
        while time.perf_counter() < ends:
            await _ask(connection, questions[at % len(questions)], tally, checks=at % 8 == number % 8)
            at += 1
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    tally.elapsed = time.perf_counter() - started
    return tally


async def open_loop(
    url: str, questions: Sequence[Question], rate: float, seconds: float, every: Callable[[Tally], None]
) -> Tally:
    """Ask at a rate whatever the answers; every answer is checked. every: called once a second."""
    tally, waiting, free = Tally(), set[asyncio.Task[None]](), list[Connection]()
    started = told = time.perf_counter()
    sent = 0

    async def one(question: Question) -> None:
        connection = free.pop() if free else Connection(url)
        await _ask(connection, question, tally, checks=True)
        free.append(connection)

    while (now := time.perf_counter()) < started + seconds:
        while sent < (now - started) * rate:
            task = asyncio.create_task(one(questions[sent % len(questions)]))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            sent += 1
        if now - told >= 1:
            told = now
            every(tally)
        await asyncio.sleep(0.002)
    await asyncio.gather(*waiting)
    tally.elapsed = time.perf_counter() - started
    for connection in free:
        connection.close()
    return tally


async def _ask(connection: Connection, question: Question, tally: Tally, *, checks: bool) -> None:
    started = time.perf_counter()
    try:
        status, body = await connection.ask(question.content)
    except (OSError, asyncio.IncompleteReadError):
        tally.lost += 1
        return
    tally.statuses[status] += 1
    if status == 200:
        tally.seconds.append(time.perf_counter() - started)
        tally.wrong += checks and not question.is_right(body)
