"""Facts: what the cards say, read from a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hfembed.corpus import Documents
from hfembed.push.origins import Licence, Origin, combine_licences, find_base, find_corpus
from hfembed.push.queries import Changes, read_changes
from hfembed.push.texts import TextFacts, describe_texts
from hfembed.recipe import CapType, Recipe
from hfembed.run import LAYOUT, Manifest, Run

# Which folder of a run belongs to which stages; push reads all of them for the card.
FOLDERS = ("corpus", "triplets", "model", "report")
PER_QUERY = "per_query.parquet"
METRIC_NAMES = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10", "hit@1": "Hit@1"}

# What the energy estimate assumes a whole machine draws while it works.
CPU_WATTS = 100
GPU_WATTS = 500


@dataclass(frozen=True)
class Facts:
    """Everything about a run that a card may say; nothing in it names a path of this machine."""

    run: Run
    recipe: Recipe
    manifests: dict[str, Manifest]
    report: dict[str, Any]
    base: Origin
    corpus: Origin

    @property
    def counts(self) -> dict[str, int]:
        """Documents and queries."""
        return self.manifests["pull"].counts | self.manifests["generate"].counts

    @property
    def licence(self) -> Licence:
        """The licence that follows from base and corpus."""
        return combine_licences(self.base, self.corpus)

    @cached_property
    def documents(self) -> Documents:
        """The documents of the run."""
        return Documents.read(self.run.path(LAYOUT.documents))

    @cached_property
    def texts(self) -> TextFacts:
        """What the documents are like."""
        return describe_texts(self.documents.texts(), self.run.path(LAYOUT.model))

    @cached_property
    def changes(self) -> Changes:
        """What became of every test query."""
        table = self.run.path(LAYOUT.report).with_name(PER_QUERY)
        return read_changes(table, self.run.path(LAYOUT.test), self.documents)

    @property
    def grouped(self) -> bool:
        """Whether near-duplicates were looked for and put into groups."""
        return self.documents.groups != self.documents.ids

    @property
    def languages(self) -> list[str]:
        """The languages of the corpus: as its card says, or English where its words show it."""
        return list(self.corpus.language) or (["en"] if self.texts.english else [])

    @property
    def fold(self) -> str:
        """How the trained map ended up in the model: folded, dense, base (nothing kept), or unknown."""
        found: Any = self.manifests["train"].facts.get("fold") or {}
        return str(found.get("kind", "unknown")) if isinstance(found, Mapping) else "unknown"

    @property
    def strength(self) -> float | None:
        """How much of what was learned was kept, where the method has such a number."""
        choice: Any = self.manifests["train"].facts.get("choice") or {}
        value = choice.get("strength") if isinstance(choice, Mapping) else None
        return float(value) if isinstance(value, int | float) else None

    @property
    def onnx(self) -> list[dict[str, Any]]:
        """What was measured of every ONNX file that passed its gate."""
        export = self.manifests.get("export")
        return list(export.facts.get("files", [])) if export else []

    @property
    def cap(self) -> str:
        """Which documents may be negatives, in words."""
        cap = self.recipe.mine.cap
        return {
            CapType.PERCENT: f"a score of at most {cap.value:.0%} of the positive's",
            CapType.ABSOLUTE: f"a score at least {cap.value:g} below the positive's",
            CapType.NONE: "any score",
        }[cap.type]

    @property
    def hardware(self) -> str:
        """The machine, as far as the run wrote it down."""
        train = self.manifests["train"]
        if "machine" in train.versions:
            return train.versions["machine"]
        torch = train.versions.get("torch", "")
        return f"a machine without a GPU (torch {torch})" if "+cpu" in torch else "not written down"

    @property
    def seconds(self) -> float:
        """The time of all stages together."""
        return sum(manifest.seconds for manifest in self.manifests.values())

    @property
    def watts(self) -> int:
        """What the energy estimate assumes the machine draws."""
        # Without a word about the machine, the larger figure.
        return CPU_WATTS if "without a GPU" in self.hardware or "no GPU" in self.hardware else GPU_WATTS


def run_facts(run: Run, *, ask_hub: bool = False) -> Facts:
    """Read a finished run; the cards of base and corpus are looked up only where `ask_hub` allows it."""
    manifests: dict[str, Manifest] = {}
    for folder in FOLDERS:
        manifests.update(run.manifests(folder))
    manifests = dict(sorted(manifests.items(), key=lambda item: item[1].finished))
    report = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))
    recipe = run.recipe()
    base = find_base(manifests["train"].sources["base"], recipe.base, ask_hub)
    corpus = find_corpus(manifests["pull"].sources["corpus"], recipe.corpus, ask_hub)
    return Facts(run, recipe, manifests, report, base, corpus)
