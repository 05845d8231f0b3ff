"""What goes to a language model and what comes back, whoever runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """One thing asked of a language model. seed: differs between tries, or the same mistake would come back.

    count: how many queries, for a writer that is not told so in words.
    """

    task: str
    messages: tuple[dict[str, str], ...]
    schema: dict[str, Any]
    max_tokens: int
    seed: int
    count: int = 1

    def size(self) -> int:
        """Return the bytes of all messages."""
        return sum(len(message["content"].encode("utf-8", "surrogatepass")) for message in self.messages)


@dataclass(frozen=True)
class Reply:
    """What a language model answered. cut: it had more to say. estimated: tokens were not counted by the server."""

    text: str
    tokens_in: int
    tokens_out: int
    cut: bool = False
    estimated: bool = False


@dataclass(frozen=True)
class NoReply:
    """Why there is no answer, after everything was tried. passing: it has nothing to do with what was asked."""

    reason: str
    passing: bool = False


class Writer(Protocol):
    """A language model that works on several requests at a time."""

    name: str
    room: int
    requests: int

    def submit(self, number: int, request: Request) -> None:
        """Take a request; `number` comes back with its answer."""

    def wait(self) -> None:
        """Wait until something is answered; an interruption loses nothing."""

    def collect(self) -> list[tuple[int, Reply | NoReply]]:
        """Return all that is answered."""

    def stop(self) -> None:
        """Try nothing again from here on; what is in flight can still be collected."""

    def close(self) -> None:
        """Give everything back."""


class UnusableError(Exception):
    """Raised by a check when an answer is of no use; the reason is counted."""


@dataclass(frozen=True)
class Ask:
    """What a piece of work wants to know next. check: turns the answer's JSON into what is used of it.

    count: how many queries, for a writer that is not told so in words.
    """

    task: str
    messages: tuple[dict[str, str], ...]
    schema: dict[str, Any]
    check: Callable[[Any, bool], Any]
    count: int = 1
