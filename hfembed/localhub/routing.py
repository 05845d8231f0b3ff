"""Leading clients that have the public address built in to the local Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PUBLIC_ADDRESS = "https://huggingface.co"


@contextmanager
def route_public_address(endpoint: str) -> Iterator[None]:
    """Send what this process asks of huggingface.co to a local Hub instead, for the length of a block.

    huggingface_hub 0.x writes the public address out in run_job, fetch_job_logs, create_scheduled_job and
    card validation, whatever HF_ENDPOINT says. Later versions do not, and nothing happens for them.
    """
    import huggingface_hub

    if not huggingface_hub.__version__.startswith("0."):
        yield
        return
    import requests
    from huggingface_hub import configure_http_backend
    from requests.adapters import HTTPAdapter

    class LocalAdapter(HTTPAdapter):
        """Sends a request for the public address to the local one."""

        def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
            """Send one request."""
            request.url = (request.url or "").replace(PUBLIC_ADDRESS, endpoint.rstrip("/"), 1)
            return super().send(request, *arguments, **options)

    def make_session() -> requests.Session:
        session = requests.Session()
        session.mount(PUBLIC_ADDRESS, LocalAdapter())
        return session

    configure_http_backend(make_session)
    try:
        yield
    finally:
        configure_http_backend()
