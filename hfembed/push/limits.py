"""Limits: what a reader must know before relying on the model, drawn from the data of its run."""

from __future__ import annotations

from collections.abc import Iterator

from hfembed.push.facts import Facts
from hfembed.push.serving import QUANTIZED, Serving

FEW_QUERIES = 200
THIN_CORPUS = 1_000
# Below this share of the documents a cut-off end is no matter.
SOME_TRUNCATED = 0.01


def limitations(facts: Facts, serving: Serving) -> list[str]:
    """Return the sentences of the card's list of limitations."""
    return [*_about_the_test(facts), *_about_the_corpus(facts), *_about_the_model(facts, serving)]


def _about_the_test(facts: Facts) -> Iterator[str]:
    report = facts.report
    kinds = ", ".join(report["by_kind"])
    yield (
        f"**Synthetic queries.** Training and test queries ({kinds}) were made from the documents; people ask in other "
        "words. Measure with questions of your own users before you rely on the figures above."
    )
    bm25, tuned = report["metrics"]["ndcg@10"]["bm25"], report["metrics"]["ndcg@10"]["tuned"]
    if bm25 > tuned:
        yield (
            f"**BM25 is ahead on this test** (nDCG@10 {bm25:.3f} against {tuned:.3f}). Queries cut out of documents "
            "share their words with them, which is what BM25 matches; consider searching with both."
        )
    few = "**Few test queries.** " if report["queries"] < FEW_QUERIES else "**Resolution of the test.** "
    yield (
        f"{few}{report['queries']:,} queries cannot tell a difference in nDCG@10 below {report['detectable']:.4f} "
        "from chance."
    )
    yield "**One corpus.** Nothing outside it was measured: general benchmarks may have become better or worse."


def _about_the_corpus(facts: Facts) -> Iterator[str]:
    texts, dropped = facts.texts, facts.manifests["pull"].dropped
    if texts.documents < THIN_CORPUS:
        yield (
            f"**Thin corpus.** {texts.documents:,} documents (median {texts.median_words} words); topics that few of "
            "them treat were hardly learned, and a search among so few is easier than among many."
        )
    if texts.truncated is not None and texts.truncated >= SOME_TRUNCATED:
        yield (
            f"**Long documents are cut.** {texts.truncated:.0%} of the documents are longer than the {texts.max_tokens} "
            "tokens the model reads; whatever stands after them cannot be found. Split long documents."
        )
    if facts.languages:
        seen = "The corpus is" if facts.corpus.language else "By its words the corpus is"
        yield f"**Language.** {seen} in `{', '.join(facts.languages)}`; other languages were not looked at."
    else:
        yield "**Language.** The language of the corpus is not known to the tool that wrote this card."
    if dropped:
        reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items())
        yield f"**Left out.** Some records of the corpus were not used: {reasons}."


def _about_the_model(facts: Facts, serving: Serving) -> Iterator[str]:
    if facts.fold == "base":
        yield "**No change.** Nothing that was learned helped other kinds of query, so the weights are the base's."
    if not serving.plain:
        yield (
            f"**sentence-transformers only.** The model ends in {', '.join(serving.modules[2:]) or 'its own module'}; "
            "an engine that reads the transformer alone would serve other vectors."
        )
    quantized = next((row for row in facts.onnx if row["file"].endswith(QUANTIZED)), None)
    if quantized:
        yield (
            f"**The 8-bit file is an approximation.** Its vectors differ from the full model's by up to "
            f"{quantized['max_cosine_distance']:.2g} in cosine distance (nDCG@10 {quantized['ndcg_delta']:+.4f}); "
            "do not mix vectors of both in one index."
        )
