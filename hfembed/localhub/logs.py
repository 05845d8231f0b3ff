"""Logs as server-sent events: of a job, of a Space's app, of its build."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from hfembed.localhub.database import now

_POLL_SECONDS = 0.05
_KEEP_ALIVE_SECONDS = 30.0
_BLOCK = 1 << 20


def add_line(path: Path, text: str) -> None:
    """Add a line to a log, in the form in which the commands' own output is kept."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"data": text, "timestamp": now()}) + "\n")


def send_log(
    request: Request, path: Path, is_over: Callable[[], bool], tail: int | None, first_line: str | None = None
) -> StreamingResponse:
    """Send a log as it is written, until it is over.

    Each event carries its number as its id, so a client that lost the connection can go on with the standard
    `Last-Event-ID` header; one that does not send it gets the same events again in the same order.
    """
    seen = request.headers.get("Last-Event-ID", "")
    start = int(seen) + 1 if seen.isdigit() else 0
    events = _events(path, is_over, tail, start, first_line)
    return StreamingResponse(events, 200, {"Cache-Control": "no-cache"}, "text/event-stream")


async def _events(
    path: Path, is_over: Callable[[], bool], tail: int | None, start: int, first_line: str | None
) -> AsyncIterator[str]:
    position, number, last_word = 0, 0, time.monotonic()
    if first_line is not None:
        if start == 0:
            yield _event(0, first_line)
        number = 1
    first_read = True
    while True:
        # Whether it is over is asked first: what is read after that is all there is.
        over = await run_in_threadpool(is_over)
        lines, position = await run_in_threadpool(_read_lines, path, position)
        skipped = max(0, len(lines) - tail) if first_read and tail is not None else 0
        first_read = False
        for at, line in enumerate(lines, start=number):
            if at >= max(start, number + skipped):
                yield _event(at, line)
        number += len(lines)
        if over and not lines:
            return
        if lines:
            last_word = time.monotonic()
        elif time.monotonic() - last_word > _KEEP_ALIVE_SECONDS:
            last_word = time.monotonic()
            yield ": keep-alive\n\n"
        await asyncio.sleep(_POLL_SECONDS)


def _event(number: int, line: str) -> str:
    return f"id: {number}\ndata: {line}\n\n"


def _read_lines(path: Path, position: int) -> tuple[list[str], int]:
    """Return the whole lines after a position, and the position after them."""
    if not path.exists():
        return [], position
    with path.open("rb") as stream:
        stream.seek(position)
        content = stream.read(_BLOCK)
    whole = content[: content.rfind(b"\n") + 1]
    return whole.decode().splitlines(), position + len(whole)


def last_lines(path: Path, count: int) -> Iterator[str]:
    """Yield the text of the last lines of a log."""
    if path.exists():
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _BLOCK))
            for line in stream.read().splitlines()[-count:]:
                if line.startswith(b"{"):
                    yield str(json.loads(line)["data"])
