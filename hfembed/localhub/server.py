"""Starting and stopping the local Hub."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hfembed.localhub.errors import LocalHubError, MissingLibraryError

if TYPE_CHECKING:
    import uvicorn

    from hfembed.localhub.schedule import Clock
    from hfembed.localhub.site import Limits, Site

_START_SECONDS = 30


def _require_libraries() -> None:
    for name in ("dulwich", "fastapi", "uvicorn", "python_multipart", "markdown_it", "yaml"):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingLibraryError(
                f'The local Hub needs {name}, which is not installed. Run: pip install "hfembed[serve]"'
            ) from error


def add_user(
    root: Path, name: str, organisations: Sequence[str] = (), role: str = "write", token: str | None = None
) -> str:
    """Create a user and organisations in a server's folder and return a token; also while it runs.

    `role` is read, write or admin; `token` sets the token instead of a random one.
    """
    _require_libraries()
    from hfembed.localhub.accounts import TokenRole, add_account
    from hfembed.localhub.site import open_database

    if role not in {choice.value for choice in TokenRole}:
        raise LocalHubError(f"{role!r} is no role; use one of {', '.join(TokenRole)}.")
    database = open_database(root)
    try:
        return add_account(database, name, organisations, TokenRole(role), token)
    finally:
        database.close()


def add_fine_grained_token(root: Path, name: str, targets: Sequence[str]) -> str:
    """Return a token of an existing user that may write only to `targets`: namespaces or namespace/name."""
    _require_libraries()
    from hfembed.localhub.accounts import TokenRole, new_token, save_token
    from hfembed.localhub.site import open_database

    database = open_database(root)
    try:
        token = new_token()
        save_token(database, name, token, TokenRole.FINE_GRAINED, targets=targets)
        return token
    finally:
        database.close()


def add_oauth_application(root: Path, name: str, redirect_uris: Sequence[str]) -> tuple[str, str]:
    """Register an application that signs users in, and return its OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET."""
    _require_libraries()
    from hfembed.localhub.oauth import add_application
    from hfembed.localhub.site import open_database

    database = open_database(root)
    try:
        return add_application(database, name, redirect_uris)
    finally:
        database.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _open(root: Path, host: str, limits: Limits | None, allow_jobs: bool | None) -> Site:
    from hfembed.localhub.accounts import has_users
    from hfembed.localhub.site import Limits, open_site

    site = open_site(Path(root), limits or Limits())
    if not _is_loopback(host) and not has_users(site.database):
        site.close()
        raise LocalHubError(
            f"The local Hub does not listen on {host} before it has a user. Run: hfembed hub user NAME --root {root}"
        )
    # A job is a command on this machine: beyond it, that is offered only where someone said so.
    site.jobs_allowed = _is_loopback(host) if allow_jobs is None else allow_jobs
    return site


def _server(site: Site, host: str, port: int) -> uvicorn.Server:
    import uvicorn

    from hfembed.localhub.app import build_app

    # No access log: query strings hold signatures.
    config = uvicorn.Config(
        build_app(site),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
        date_header=False,
    )
    return uvicorn.Server(config)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    root: Path,
    host: str = "127.0.0.1",
    port: int = 8700,
    limits: Limits | None = None,
    allow_jobs: bool | None = None,
    faults: str = "",
    run_spaces: bool = False,
) -> None:
    """Serve a folder as a Hub until interrupted.

    `allow_jobs` says whether users may run commands on this machine as Jobs; None allows it on loopback only.
    `faults` makes requests fail for tests, as in `rate=0.2,status=503,drop=0.1,slow=100000`.
    `run_spaces` lets the apps of gradio Spaces run as processes of this machine, in this Python environment:
    what their requirements.txt names is not installed.
    """
    if threading.current_thread() is threading.main_thread():
        # A polite kill ends jobs and lets go of the folder as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        LocalHub(root, port, host, limits, allow_jobs, faults, run_spaces) as hub,
        contextlib.suppress(KeyboardInterrupt),
    ):
        hub.wait()


class LocalHub:
    """A Hub in a background thread of this process, for the length of a `with` block."""

    def __init__(
        self,
        root: Path,
        port: int = 0,
        host: str = "127.0.0.1",
        limits: Limits | None = None,
        allow_jobs: bool | None = None,
        faults: str = "",
        run_spaces: bool = False,
    ) -> None:
        """Set up a Hub on a folder; port 0 takes any free one, what follows `limits` is as for `serve`."""
        self.root = Path(root)
        self._host = host
        self._port = port
        self._limits = limits
        self._allow_jobs = allow_jobs
        self._faults = faults
        self._run_spaces = run_spaces
        self._clock: Clock | None = None
        self._site: Site | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Return the address for HF_ENDPOINT."""
        return _address(self._host, self._port)

    def add_user(self, name: str, orgs: Sequence[str] = (), role: str = "write", token: str | None = None) -> str:
        """Create a user and organisations and return a token."""
        return add_user(self.root, name, orgs, role, token)

    def set_faults(self, faults: str) -> None:
        """Make requests fail from now on, as in `rate=0.2,status=503`; empty text ends it."""
        from hfembed.localhub.faults import Faults

        self._faults = faults
        if self._site is not None:
            self._site.faults = Faults.parse(faults) if faults else None

    def start(self) -> Self:
        """Start serving; returns when the address answers."""
        _require_libraries()
        self._site = _open(self.root, self._host, self._limits, self._allow_jobs)
        self.set_faults(self._faults)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # Without the protocol named, asyncio does not turn off Nagle's delay: 40 ms on every answer.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as error:
            listener.close()
            self._site.close()
            raise LocalHubError(f"The local Hub cannot listen on {self._host}:{self._port}: {error}") from error
        self._port = listener.getsockname()[1]
        self._clock = self._prepare_commands(self._site)
        self._server = _server(self._site, self._host, self._port)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="hfembed-localhub", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise LocalHubError(f"The local Hub did not start on {self.url}.")
            time.sleep(0.005)
        self._clock.start()
        return self

    def _prepare_commands(self, site: Site) -> Clock:
        """Be ready to run what users ask for, and return the clock of what is to run later."""
        from hfembed.localhub.endpoints import Endpoints
        from hfembed.localhub.jobs import recover_jobs
        from hfembed.localhub.schedule import Clock
        from hfembed.localhub.spacerun import SpaceRunner

        # 0.0.0.0 is no address to call: jobs run here, so they call this machine.
        is_any = self._host in ("0.0.0.0", "::")
        address = _address("127.0.0.1" if is_any else self._host, self._port)
        recover_jobs(site)
        site.runner = SpaceRunner(site, address) if self._run_spaces else None
        site.endpoints = Endpoints(site, address) if site.jobs_allowed else None
        return Clock(site, address)

    def wait(self) -> None:
        """Stay until the server ends."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=1)

    def stop(self) -> None:
        """Stop serving and let go of the folder."""
        if self._clock is not None:
            self._clock.stop()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=_START_SECONDS)
        if self._site is not None:
            from hfembed.localhub.jobs import stop_jobs

            if self._site.runner is not None:
                self._site.runner.close()
            if self._site.endpoints is not None:
                self._site.endpoints.close()
            stop_jobs(self._site)
            self._site.close()
        self._server = self._thread = self._site = self._clock = None

    def __enter__(self) -> Self:
        """Start serving."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.stop()
