"""What the local Hub refuses, in the words and headers that Hub clients understand.

LocalHubError            the server cannot be started or used as asked
└── MissingLibraryError a library of the `serve` extra is not installed (also an ImportError)
RefusalError                  one HTTP answer that is not a success
"""

from __future__ import annotations

from hfembed.errors import HfembedError


class LocalHubError(HfembedError):
    """Raised when the local Hub cannot be started or used as asked."""


class MissingLibraryError(LocalHubError, ImportError):
    """Raised when a library that the server needs is not installed."""


class RefusalError(Exception):
    """Raised anywhere below a route to answer with a status, an error code and a sentence."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        """Keep the HTTP `status`, the sentence and the `X-Error-Code` that clients switch on."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.body: dict[str, object] = {"error": message}


def repo_not_found(signed_in: bool) -> RefusalError:
    """Return the refusal for a repository that is missing or that the caller may not see."""
    if signed_in:
        return RefusalError(404, "Repository not found", "RepoNotFound")
    # The Hub hides the difference between missing and private from strangers.
    return RefusalError(401, "Invalid username or password.", "RepoNotFound")


def revision_not_found(revision: str) -> RefusalError:
    """Return the refusal for a revision that is no branch, tag or commit of the repository."""
    return RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str, commit: str) -> RefusalError:
    """Return the refusal for a path that does not exist at a commit."""
    return RefusalError(404, f'Entry not found: "{path}"', "EntryNotFound", X_Repo_Commit=commit)


def bad_request(message: str) -> RefusalError:
    """Return the refusal for a request that makes no sense."""
    return RefusalError(400, message, "BadRequest")


def forbidden(message: str) -> RefusalError:
    """Return the refusal for a known caller without the right to do this."""
    return RefusalError(403, message, "Forbidden")


def conflict(message: str) -> RefusalError:
    """Return the refusal for a name that is already taken."""
    return RefusalError(409, message, "Conflict")


def too_large(limit: int) -> RefusalError:
    """Return the refusal for a body above its limit, in bytes."""
    return RefusalError(413, f"The body is larger than the {limit} bytes allowed here.", "PayloadTooLarge")
