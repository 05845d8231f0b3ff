"""A language model that answers as often as it is told to and then keeps everyone waiting, so that tests need no luck."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from llm_server import Model

OPEN = 1_000_000
# Nothing takes so long, unless the machine has much else to do; it only keeps a test from waiting for ever.
PATIENCE = 480.0
# What a run with the settings of the fixture `slow` asks, one by one.
ANSWERS = 24


class Gate:
    """How many questions came, and how many answers are let out."""

    def __init__(self, model: Model) -> None:
        """Let nothing out yet."""
        self.url = ""
        self.asked = 0
        self._model, self._answered, self._allowed = model, 0, 0

    def allow(self, count: int = OPEN) -> None:
        """Let this many further answers out."""
        self._allowed = self._answered + count

    async def answer(self, request: Request) -> Any:
        """Answer, once that is allowed."""
        await request.body()  # first: asking whether someone still waits would swallow it
        self.asked += 1
        while self._answered >= self._allowed:
            if await request.is_disconnected():
                return None  # whoever asked was killed: that answer is let out to another
            await asyncio.sleep(0.02)
        self._answered += 1
        return await self._model.answer(request)


@contextmanager
def gated_model(folder: Path, key: str) -> Iterator[Gate]:
    """Serve such a model until the block ends."""
    gate = Gate(Model(folder / "log", {}, key, 0.0))
    app = FastAPI()
    app.add_api_route("/v1/chat/completions", gate.answer, methods=["POST"], response_model=None)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    gate.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield gate
    finally:
        gate.allow()
        server.should_exit = True
        thread.join(timeout=10)


def kept_answers(away: Any, identity: str) -> int:
    """Count the answers that the repo of a run holds."""
    repo = f"demo/hfembed-run-{identity}"
    name = "run/answers/answers.jsonl"
    if name not in away.api.list_repo_files(repo, repo_type="dataset"):
        return 0
    return len(Path(away.api.hf_hub_download(repo, name, repo_type="dataset")).read_text().splitlines())
