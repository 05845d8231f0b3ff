"""What the Hub's clients raise, as one sentence each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hfembed.errors import HubError, first_line


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn what the clients raise (0.36 through requests, 1.x through httpx, 2.x through httpx2) into one sentence."""
    # It warns of what is no matter here: a repo without a card, a commit that changes nothing.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        explained = next((found for cause in causes(error) if (found := explain(cause, what))), None)
        if explained is None:
            raise
        raise explained from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; clients wrap a failed upload in a RuntimeError."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def status_of(error: BaseException) -> int:
    """Return the status that the Hub answered with; 0 where it gave no answer."""
    found = (getattr(getattr(cause, "response", None), "status_code", 0) for cause in causes(error))
    return next((status for status in found if status), 0)


def explain(error: BaseException, what: str) -> HubError | None:
    """Return the sentence for what a client raised, or None where it is none of the Hub's."""
    from huggingface_hub import constants, errors

    login = "Check the name; for a private one: hf auth login"
    sentences: list[tuple[type[Exception], str, str]] = [
        (errors.GatedRepoError, "is gated", "Ask for access on its page, then: hf auth login"),
        (errors.RepositoryNotFoundError, f"does not exist on {constants.ENDPOINT}, or you may not see it", login),
        (errors.RevisionNotFoundError, "has no such revision", "Check the part after '@'."),
    ]
    for kind, sentence, hint in sentences:
        if isinstance(error, kind):
            return HubError(f"The {what} {sentence}.", hint)
    if type(error).__name__ == "DatasetNotFoundError":  # importing datasets to ask for it would take seconds
        return HubError(f"The {what} does not exist on {constants.ENDPOINT}, or you may not see it.", login)
    if is_unreachable(error):
        return HubError(
            f"The {what} is not on this machine, and {constants.ENDPOINT} cannot be reached.",
            "Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE, or name a local folder.",
        )
    if isinstance(error, (errors.HfHubHTTPError, errors.HFValidationError)):
        return HubError(f"The Hub refuses the {what}: {first_line(error)}", "hf auth whoami shows who you are there.")
    if type(error).__module__.split(".")[0] == "datasets":
        return HubError(f"The {what} cannot be read: {first_line(error)}")
    return None


def reason(error: BaseException, what: str) -> str:
    """Say for a reader on another machine why something failed: no address of a Hub, no folder of a home."""
    from huggingface_hub import constants

    found = next((found for cause in causes(error) if (found := explain(cause, what))), None)
    words = found.message if found else f"{type(error).__name__}: {first_line(error)}"
    return words.replace(constants.ENDPOINT, "the Hub").replace(str(Path.home()), "~")


def is_unreachable(error: BaseException) -> bool:
    """Tell whether the Hub gave no answer at all."""
    from huggingface_hub import errors

    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError)):
        return True
    if isinstance(error, errors.HfHubHTTPError):
        return False
    # The connection errors of requests and httpx; an OSError with a number is a matter of this machine's disk.
    library = type(error).__module__.split(".")[0]
    return library in ("httpx", "httpcore", "httpx2", "httpcore2", "requests") or (
        isinstance(error, OSError) and error.errno is None
    )
