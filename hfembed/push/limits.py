"""Limits: what a reader must know before relying on the model, drawn from the data of its run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfembed.push.card import cell
from hfembed.push.facts import Facts
from hfembed.push.serving import QUANTIZED, Serving
from hfembed.recipe import QueryKind
from hfembed.stage import BaseWay

FEW_QUERIES = 200
THIN_CORPUS = 1_000
# Below this share of the documents a cut-off end is no matter.
SOME_TRUNCATED = 0.01
# As leaderboards count.
POINT = 0.01


def limitations(facts: Facts, serving: Serving) -> list[str]:
    """Return the sentences of the card's list of limitations."""
    return [*_about_the_test(facts), *_about_the_corpus(facts), *_about_the_model(facts, serving)]


def _about_the_test(facts: Facts) -> Iterator[str]:
    report = facts.report
    kinds = ", ".join(kind for kind in report["by_kind"] if kind != QueryKind.LABELLED)
    yield (
        f"**Synthetic queries.** Training and test queries ({kinds}) were made from the documents; people ask in other "
        "words. Measure with questions of your own users before you rely on the figures above."
    )
    bm25, tuned = report["metrics"]["ndcg@10"]["bm25"], report["metrics"]["ndcg@10"]["tuned"]
    if bm25 > tuned:
        yield (
            f"**BM25 is ahead on this test** (nDCG@10 {bm25:.3f} against {tuned:.3f}). Queries made from documents "
            f"share words with them, which is what BM25 matches. {_about_fusion(report)}"
        )
    few = "**Few test queries.** " if report["queries"] < FEW_QUERIES else "**Resolution of the test.** "
    yield (
        f"{few}{report['queries']:,} queries cannot tell a difference in nDCG@10 below {report['detectable']:.4f} "
        "from chance."
    )
    if report.get("base", {}).get("way") == BaseWay.BARE:
        found = report["base"]["ndcg@10"]
        yield (
            f"**The base is compared as it comes.** With the prompts, lengths and pooling of this model it finds less "
            f"(nDCG@10 {found[BaseWay.RUN]:.3f} against {found[BaseWay.BARE]:.3f}); the gain above is over the better way."
        )
    if leaked := report.get("leakage", {}).get("left_out"):
        yield f"**Left out of the test.** {leaked:,} queries that training had seen, or nearly so."
    yield from _about_other_corpora(facts)


def _about_fusion(report: dict[str, Any]) -> str:
    row = report["metrics"]["ndcg@10"]
    if row.get("fusion", 0) > row["tuned"]:
        return f"Searching with both gives {row['fusion']:.3f}."
    return "Consider searching with both."


def _about_other_corpora(facts: Facts) -> Iterator[str]:
    rows = facts.public["scores"]
    lost = [f"{row['task']} ({row['delta']:+.4f})" for row in rows if row["delta"] < -POINT]
    if lost:
        yield f"**Forgotten.** On public tasks it is more than a point behind its base: {', '.join(lost)}."
    yield from _about_contamination(facts)
    if not rows:
        yield "**One corpus.** Nothing outside it was measured: general benchmarks may have become better or worse."


def _about_the_corpus(facts: Facts) -> Iterator[str]:
    texts, dropped = facts.texts, facts.manifests["pull"].dropped
    if texts.documents < THIN_CORPUS:
        yield (
            f"**Thin corpus.** {texts.documents:,} documents (median {texts.median_words} words); topics that few of "
            "them treat were hardly learned, and a search among so few is easier than among many."
        )
    if texts.thin_terms:
        terms = ", ".join(cell(term) for term in texts.thin_terms)
        yield f"**Thin topics.** Hardly any document is about these, so little was learned of them: {terms}."
    if facts.truncated >= SOME_TRUNCATED:
        yield (
            f"**Long documents are cut.** {facts.truncated:.0%} of the documents are longer than the "
            f"{facts.max_tokens or 'few'} tokens the model reads; whatever stands after them cannot be found. Split "
            "long documents."
        )
    if groups := facts.manifests["pull"].facts.get("near_duplicate_groups"):
        yield (
            f"**Near-duplicates.** {groups:,} groups of documents say nearly the same. In the test one of them is the "
            "answer and the others count as wrong, though they would serve as well."
        )
    yield from _about_languages(facts)
    if dropped:
        reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items())
        yield f"**Left out.** Some records of the corpus were not used: {reasons}."


def _about_languages(facts: Facts) -> Iterator[str]:
    if seen := facts.languages_seen:
        shares = ", ".join(f"`{code}` {share:.0%}" for code, share in seen.items())
        yield f"**Language.** As a classifier tells, the documents are in {shares}; nothing was learned of others."
    elif facts.languages:
        yield f"**Language.** The corpus is in `{', '.join(facts.languages)}`; other languages were not looked at."
    else:
        yield "**Language.** The language of the corpus is not known to the tool that wrote this card."


def _about_contamination(facts: Facts) -> Iterator[str]:
    seen = {row["task"]: row.get("seen") or {} for row in facts.public["scores"]}
    known = {task: shares for task, shares in seen.items() if any(shares.values())}
    for task, shares in known.items():
        yield (
            f"**{task} is no proof.** Training saw {shares['queries']:.1%} of its queries and {shares['documents']:.1%} of "
            "the documents that answer them."
        )


def _about_the_model(facts: Facts, serving: Serving) -> Iterator[str]:
    if facts.fold == "base":
        yield "**No change.** Nothing that was learned helped other kinds of query, so the weights are the base's."
    if not serving.plain:
        yield (
            f"**sentence-transformers only.** The model ends in {', '.join(serving.modules[2:]) or 'its own module'}; "
            "an engine that reads the transformer alone would serve other vectors."
        )
    if not serving.pools_prompts:
        yield (
            "**Prompts are read, but left out of the mean.** Only sentence-transformers does so by itself; whoever pools "
            "by hand leaves the tokens of the prompt out, the first of the text included, or serves other vectors."
        )
    quantized = next((row for row in facts.onnx if row["file"].endswith(QUANTIZED)), None)
    if quantized:
        yield (
            f"**The 8-bit file is an approximation.** Its vectors differ from the full model's by up to "
            f"{quantized['max_cosine_distance']:.2g} in cosine distance (nDCG@10 {quantized['ndcg_delta']:+.4f}); "
            "do not mix vectors of both in one index."
        )
