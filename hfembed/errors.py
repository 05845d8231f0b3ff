"""Everything hfembed refuses to do, each with what to do about it.

HfembedError
├── InputError          what was given cannot be used
│   ├── RecipeError     a recipe, preset or --set names something unknown or impossible
│   ├── CorpusError     the corpus cannot be read, or holds too little
│   └── ModelError      the base model cannot be found or loaded
├── RunError            the run folder cannot be used
│   ├── RunBusyError    another process is working in it
│   └── RunMismatchError  it holds results of another recipe
├── MissingExtraError   a library of an optional extra is not installed
├── NoSpaceError        the disk filled up
├── StageError          a stage could not do its work
├── EngineError         work could not be spread: a cluster does not answer, or lost its workers
├── LaunchError         a run that was sent elsewhere may not begin, or ended without its results
└── HubError            the Hub refused or could not be reached
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HfembedError(Exception):
    """Something the user can put right; carries the sentence and the next step."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep what failed (`message`) and the next thing to type (`hint`)."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, str]:
        """Return the error as `--format json` prints it."""
        return {"type": type(self).__name__, "message": self.message, "hint": self.hint}


class InputError(HfembedError):
    """Raised when an argument or a file that was given cannot be used."""


class RecipeError(InputError):
    """Raised when a recipe, a preset or a --set value is not valid."""


class CorpusError(InputError):
    """Raised when a corpus cannot be read or is too small to learn from."""


class ModelError(InputError):
    """Raised when a model cannot be found or loaded."""


class RunError(HfembedError):
    """Raised when a run folder cannot be used."""


class RunBusyError(RunError):
    """Raised when another process works in the run folder."""


class RunMismatchError(RunError):
    """Raised when a run folder holds results of another recipe."""


class MissingExtraError(HfembedError):
    """Raised when a stage needs libraries that are not installed."""


class NoSpaceError(HfembedError):
    """Raised when the disk filled up."""


class StageError(HfembedError):
    """Raised when a stage could not do its work."""


class EngineError(HfembedError):
    """Raised when the engine that spreads work cannot be reached, or loses its workers."""


class LaunchError(HfembedError):
    """Raised when a run may not be sent somewhere, or ended there without its results."""


class HubError(HfembedError):
    """Raised when the Hub refused a request or could not be reached."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return 'Did you mean X?' for the closest known name, or nothing."""
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"Did you mean '{matches[0]}'?" if matches else ""


def choices(known: Iterable[str]) -> str:
    """Join allowed names for an error sentence."""
    return ", ".join(known) or "none"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
