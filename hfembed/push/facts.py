"""Facts: what the cards say, read from a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hfembed.corpus import Documents
from hfembed.hub.cards import is_benchmark
from hfembed.push.energy import Energy, estimate
from hfembed.push.origins import Licence, Origin, combine_licences, find_base, find_corpus
from hfembed.push.queries import Changes, read_changes
from hfembed.push.texts import TextFacts, describe_texts
from hfembed.recipe import Recipe, Words
from hfembed.run import LAYOUT, Manifest, Run

# Which folder of a run belongs to which stages; push reads all of them for the card.
FOLDERS = ("corpus", "triplets", "model", "report")
METRIC_NAMES = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10", "hit@1": "Hit@1"}

# A language that fewer documents are in may be a wrong guess.
SOME_DOCUMENTS = 0.05
# What pull calls languages that hardly occur.
OTHER = "other"


@dataclass(frozen=True)
class Facts:
    """Everything about a run that a card may say; nothing in it names a path of this machine.

    benchmarks: datasets of public tasks that the Hub keeps a leaderboard of.
    """

    run: Run
    recipe: Recipe
    manifests: dict[str, Manifest]
    report: dict[str, Any]
    base: Origin
    corpus: Origin
    benchmarks: frozenset[str] = frozenset()

    @property
    def words(self) -> Words:
        """What a person says on the cards."""
        return self.recipe.push.words

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
        return describe_texts(self.documents.texts())

    @cached_property
    def changes(self) -> Changes:
        """What became of every test query."""
        return read_changes(self.run.path(LAYOUT.per_query), self.run.path(LAYOUT.test), self.documents)

    def under(self, recipe: Recipe) -> Facts:
        """Return the same facts for a recipe that publishes otherwise; what took time to find out is kept."""
        other = replace(self, recipe=recipe)
        vars(other).update({name: value for name, value in vars(self).items() if name in COMPUTED})
        return other

    @property
    def looked_for_duplicates(self) -> bool:
        """Whether near-duplicates were looked for and put into groups."""
        return self.recipe.pull.near_duplicates is not None

    @property
    def public(self) -> dict[str, Any]:
        """What public tasks gave."""
        return {"benchmark": None, "scores": [], "unscored": [], **self.report.get("public", {})}

    @property
    def languages_seen(self) -> dict[str, float]:
        """The share of documents in each language, as pull told them apart."""
        found: Any = self.manifests["pull"].facts.get("languages") or {}
        return {code: float(share) for code, share in found.items() if code != OTHER}

    @property
    def languages(self) -> list[str]:
        """The languages of the corpus: as its card says, or as its documents show."""
        seen = [code for code, share in self.languages_seen.items() if share >= SOME_DOCUMENTS]
        return list(self.corpus.language) or seen

    @property
    def truncated(self) -> float:
        """The share of documents that are longer than the model reads."""
        return float(self.manifests["pull"].facts.get("truncated_share") or 0)

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, where pull could count them."""
        lengths: Any = self.manifests["pull"].facts.get("lengths") or {}
        return lengths.get("limit") if isinstance(lengths, Mapping) else None

    @property
    def fold(self) -> str:
        """How the trained map ended up in the model: folded, dense, base (nothing kept), or unknown."""
        found: Any = self.manifests["train"].facts.get("fold") or {}
        return str(found.get("kind", "unknown")) if isinstance(found, Mapping) else "unknown"

    @property
    def strengths(self) -> list[float]:
        """How much of what was learned was kept, part after part of the training."""
        train = self.manifests["train"].facts
        parts = [part for part in (*(train.get("earlier") or []), train) if isinstance(part, Mapping)]
        choices = [part["choice"] for part in parts if isinstance(part.get("choice"), Mapping)]
        return [float(choice["strength"]) for choice in choices if isinstance(choice.get("strength"), int | float)]

    @property
    def onnx(self) -> list[dict[str, Any]]:
        """What was measured of every ONNX file that passed its gate."""
        export = self.manifests.get("export")
        return list(export.facts.get("files", [])) if export else []

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
    def energy(self) -> Energy:
        """What all of that drew, estimated."""
        return estimate(self.manifests["train"].versions.get("machine", ""), self.seconds)


COMPUTED = [name for name, value in vars(Facts).items() if isinstance(value, cached_property)]


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
    datasets = {row["dataset"] for row in report.get("public", {}).get("scores", [])} if ask_hub else set()
    benchmarks = frozenset(dataset for dataset in datasets if is_benchmark(dataset))
    return Facts(run, recipe, manifests, report, base, corpus, benchmarks)
