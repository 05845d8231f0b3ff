"""Measured: what a model that was trained elsewhere is worth on a test, as its card and its metadata say it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfembed.push.card import render_text
from hfembed.push.facts import METRIC_NAMES

TASK = "information-retrieval"
KEY = "model-index"
# What stands between these is ours, and is written anew each time.
OPENING, CLOSING = "<!-- measured by hfembed: what stands here is renewed -->", "<!-- end of what was measured -->"
OURS = re.compile(rf"\n*{re.escape(OPENING)}.*?{re.escape(CLOSING)}\n*", re.DOTALL)


@dataclass(frozen=True)
class Proof:
    """What `hfembed evaluate MODEL` found, and on which corpus, against which base."""

    measured: Mapping[str, Any]
    corpus: str
    base: str

    def section(self) -> str:
        """Return the part of the card that says it."""
        values = {"measured": self.measured, "corpus": self.corpus, "base": self.base}
        return render_text("measured.md", **values, metric_names=METRIC_NAMES, opening=OPENING, closing=CLOSING).strip()

    def on(self, body: str) -> str:
        """Return a card's text with that part at its end, in place of an earlier one."""
        return f"{OURS.sub(chr(10) * 2, body).strip()}\n\n{self.section()}"

    def index(self, written: Any, model: str) -> list[dict[str, Any]]:
        """Return a card's `model-index` with the scores in it; those of other tests stay."""
        entries: list[dict[str, Any]] = written if isinstance(written, list) and written else [{"name": model}]
        first, *rest = entries
        others = [result for result in first.get("results") or [] if result.get("dataset") != self._dataset()]
        return [{**first, "results": [*others, self._result()]}, *rest]

    def _dataset(self) -> dict[str, str]:
        return {"type": "held-out", "name": f"held-out queries over {self.corpus}", "split": "test"}

    def _result(self) -> dict[str, Any]:
        metrics = [
            {"type": metric.replace("@", "_at_"), "name": name, "value": self.measured["metrics"][metric]["model"]}
            for metric, name in METRIC_NAMES.items()
            if metric in self.measured["metrics"]
        ]
        return {"task": {"type": TASK, "name": "Information Retrieval"}, "dataset": self._dataset(), "metrics": metrics}
