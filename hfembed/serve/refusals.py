"""What the endpoint refuses, in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

INVALID = "invalid_request_error"
SERVER = "server_error"


class RefusalError(Exception):
    """Raised anywhere below a route to answer with a status and an error in OpenAI's shape."""

    def __init__(
        self, status: int, message: str, *, kind: str = INVALID, param: str | None = None, code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Keep the HTTP `status`, the sentence, the field it is about (`param`) and the `code` clients switch on."""
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> RefusalError:
    """Return the refusal of a request that cannot be answered as it stands."""
    return RefusalError(400, message, param=param, code=code)


def too_long(message: str) -> RefusalError:
    """Return the refusal of more tokens than are read."""
    return invalid(message, "input", "context_length_exceeded")


def wrong_key(given: bool) -> RefusalError:
    """Return the refusal of a caller without the key."""
    message = "Incorrect API key provided." if given else "You didn't provide an API key: Authorization: Bearer KEY."
    return RefusalError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def no_model(name: str, served: str) -> RefusalError:
    """Return the refusal of a model that is not served here."""
    message = f"The model `{name[:100]}` does not exist here; this endpoint serves `{served}`."
    return RefusalError(404, message, param="model", code="model_not_found")


def too_large(limit: int, *, closes: bool = False) -> RefusalError:
    """Return the refusal of a body above its limit, in bytes. closes: what is left of it is not read."""
    return RefusalError(
        413,
        f"The body is larger than the {limit:,} bytes that are read here; send fewer texts at a time.",
        code="request_too_large",
        headers={"Connection": "close"} if closes else {},
    )


def busy(seconds: int) -> RefusalError:
    """Return the refusal while as much waits as may wait."""
    return RefusalError(
        429,
        f"As much is waiting as may wait here; try again in {seconds} s.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )


def stopping() -> RefusalError:
    """Return the refusal of new work while the server finishes what it has accepted."""
    return RefusalError(
        503,
        "The server is shutting down and takes no new requests.",
        kind=SERVER,
        code="shutting_down",
        headers={"Retry-After": "5", "Connection": "close"},
    )


def failed() -> RefusalError:
    """Return the answer where computing failed; what failed is in the server's log."""
    return RefusalError(500, "The vectors could not be computed; the server's log says why.", kind=SERVER)
