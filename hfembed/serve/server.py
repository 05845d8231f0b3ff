"""Starting and stopping the endpoint: it ends when everything that it accepted is answered."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

import uvicorn

from hfembed.errors import InputError
from hfembed.serve.app import build_app
from hfembed.serve.service import Service

START_SECONDS = 30
# How long at least clients are told to go elsewhere, before the door is closed.
LINGER_SECONDS = 0.5
# Longer than clients keep an idle connection: one that the server closes may just be taken for the next request.
KEEP_ALIVE_SECONDS = 75
# What is left by then is clients that do not take their answers.
SLOW_CLIENT_SECONDS = 10
# Threads hand over this often: one that computes waits little for those that read requests.
SWITCH_SECONDS = 0.001


def take_address(host: str, port: int) -> socket.socket:
    """Return a socket on an address, so that nobody else can take it; port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol named, asyncio does not turn off Nagle's delay: 40 ms on every answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"The endpoint cannot listen on {host}:{port}: {error.strerror or error}.", "--port 0 takes any free port."
        ) from error
    return listener


class Endpoint(uvicorn.Server):
    """A server that first stops accepting, then finishes, then ends; a second signal ends it at once."""

    def __init__(self, service: Service, listener: socket.socket) -> None:
        """Set up a server on an address that was taken."""
        config = uvicorn.Config(
            build_app(service),
            log_level="warning",
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SLOW_CLIENT_SECONDS,
        )
        super().__init__(config)
        self.service = service
        self._listener = listener
        self._announce: Callable[[], None] | None = None
        self._stopped: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Return the address that clients take."""
        host, port, *_ = self._listener.getsockname()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve_until_stopped(self, announce: Callable[[], None] | None = None) -> None:
        """Answer requests until a signal or `stop`. announce: called once requests are answered."""
        self._announce = announce
        sys.setswitchinterval(SWITCH_SECONDS)
        self.run(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self._announce is not None:
            self._announce()

    def stop(self) -> None:
        """Accept nothing more, and end when everything that was accepted is answered."""
        if self._stopped is None:
            self._stopped = time.monotonic()
            self.service.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; do not wait for anything at the second."""
        if self._stopped is not None:
            self.should_exit = self.force_exit = True
            signal.signal(sig, signal.SIG_DFL)  # a third ends the process
        # A lock may be held by what the signal interrupts.
        threading.Thread(target=self.stop, name="hfembed-serve-stop", daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        """Tell whether the server may end."""
        if self._stopped is not None and self.service.idle:
            self.should_exit |= time.monotonic() - self._stopped >= LINGER_SECONDS
        return await super().on_tick(counter)

    def __enter__(self) -> Self:
        """Serve in a thread, for the length of a `with` block."""
        self._thread = threading.Thread(target=self.serve_until_stopped, name="hfembed-serve", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise InputError(f"The endpoint did not start on {self.url}.")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was accepted, and end."""
        self.stop()
        if self._thread is not None:
            self._thread.join()


def quiet() -> None:
    """Let libraries say only what went wrong."""
    for noisy in ("sentence_transformers", "transformers", "onnxruntime"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
