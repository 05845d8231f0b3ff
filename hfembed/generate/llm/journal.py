"""Answers: every answer of a language model, on disk before anything is made of it, so that none is paid twice."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.generate.llm.messages import Reply
from hfembed.run import make_folder


@dataclass(frozen=True)
class Entry:
    """One answer, and what it cost when it was given."""

    reply: Reply
    cost: float


class Journal:
    """An append-only file of JSON lines, found again by the key of what was asked.

    A line counts once it is on the disk; a last line that a killed process left half-written is dropped.
    Only the places of the lines are held in memory.
    """

    def __init__(self, file: Path) -> None:
        """Open the journal and find every answer in it."""
        make_folder(file.parent)
        self._file = file
        self._places: dict[str, list[int]] = defaultdict(list)
        self.cost = 0.0
        self._handle = file.open("a+b")
        self._find()

    def __len__(self) -> int:
        """Return how many answers there are."""
        return sum(map(len, self._places.values()))

    def entries(self, key: str) -> list[Entry]:
        """Return the answers to what `key` stands for, in the order they came."""
        return [self._read(place) for place in self._places.get(key, ())]

    def append(self, key: str, task: str, entry: Entry) -> None:
        """Add an answer; once this returns, no crash can lose it."""
        reply = entry.reply
        values = {
            "key": key, "task": task, "in": reply.tokens_in, "out": reply.tokens_out, "cost": entry.cost,
            "cut": reply.cut, "estimated": reply.estimated, "text": reply.text,
        }  # fmt: skip
        place = self._handle.seek(0, os.SEEK_END)
        self._handle.write(json.dumps(values, ensure_ascii=True).encode("ascii") + b"\n")
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._places[key].append(place)
        self.cost += entry.cost

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _find(self) -> None:
        whole = 0
        self._handle.seek(0)
        for line in self._handle:
            values = _values(line)
            if values is not None:
                self._places[str(values["key"])].append(whole)
                self.cost += float(values["cost"])
            if line.endswith(b"\n"):
                whole += len(line)
        self._handle.truncate(whole)

    def _read(self, place: int) -> Entry:
        self._handle.seek(place)
        values = _values(self._handle.readline())
        assert values is not None
        reply = Reply(values["text"], values["in"], values["out"], values["cut"], values["estimated"])
        return Entry(reply, values["cost"])


def _values(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; nothing for one that is torn."""
    try:
        values = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return (
        values
        if isinstance(values, dict) and {"key", "text", "in", "out", "cost", "cut", "estimated"} <= set(values)
        else None
    )
