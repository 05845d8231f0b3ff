"""Words: how cards say what the stages of a run did, whatever its recipe chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hfembed.labelled import PEOPLE
from hfembed.push.facts import Facts
from hfembed.recipe import (
    CandidateSource,
    CapType,
    GenerateMethod,
    LossType,
    Phase,
    QueryKind,
    SamplerType,
    ShortRows,
    TrainMethod,
    Tuning,
    View,
)
from hfembed.resources import local_path

CUT = {
    QueryKind.TITLE: "the document's title",
    QueryKind.LEAD: "the first sentence of the document, or a part of it",
    QueryKind.SENTENCE: "a sentence from anywhere in the document, or a part of it",
    QueryKind.PARAPHRASE: "some words of a sentence, in another order",
    QueryKind.KEYWORD: "one to five of the words that set the document apart",
    QueryKind.PHRASE: "a phrase that sets the document apart",
    QueryKind.TERM: "the term that the document opens on",
    QueryKind.QUESTION: "a statement of the document turned into a question by rule",
    QueryKind.DEFINITION: "what the document says of its term, without the term",
    QueryKind.ASPECT: "one side of what the document is about, as in *causes of rust*",
    QueryKind.SPAN: "a passage of the document, paired with another one that shares no word of it",
    QueryKind.CLOZE: "a sentence, paired with what the document says beside it",
}
WRITTEN = {
    QueryKind.TITLE: "a title that a reader would look for",
    QueryKind.KEYWORD: "the few words that someone types into a search field",
    QueryKind.QUESTION: "a question that the document answers",
    QueryKind.MULTI_HOP: "a question that takes several documents to answer",
    QueryKind.CLAIM: "a statement that the document bears out",
    QueryKind.DEFINITION: "a question whose answer is what a term means, in half of the cases without the term",
    QueryKind.TRIPLE: "a question with an answer and wrong answers",
    QueryKind.ENTITY_MAP: "entities and how they are related",
}

# What an ontology knows is asked for in the same way, whoever makes the others.
KNOWN = {
    QueryKind.TERM: "another name of the term",
    QueryKind.DEFINITION: "the definition of the term, without its names",
    QueryKind.TRIPLE: "a question for one end of a relation between two terms",
}
# Whoever makes the others, these are given.
GIVEN = {QueryKind.LABELLED: "asked by a person"}

# How a negative was found.
MINERS = {"dense": "near in the model's eyes", "bm25": "found by BM25", "given": "given", "random": "drawn at random"}
# Counts of the manifests that need more than their name. Those of mine are candidates or rows, not queries.
REASONS = {
    "other_positive": "candidates that are another answer to the query",
    "same_group": "candidates that are near-duplicates of an answer",
    "cross_encoder": "candidates that a cross-encoder finds as right as the answer",
    "given_positive": "given negatives that are an answer",
    "given_over_limit": "given negatives beyond the number wanted",
    "short": "rows with too few negatives under the cap",
    "ambiguous": "written for several documents alike",
    "repeated": "the same query of the same document",
    "asked_by_people": "a person asked the same",
    "near_repeated": "nearly the same query of the same document",
    "judged_low": "the judge's score is too low",
    "refers_to_source": "speaks of 'the text' or the like",
    "over_train_limit": "more train queries than wanted",
    "over_dev_limit": "more dev queries than wanted",
    "over_test_limit": "more test queries than wanted",
}


def explain_kind(facts: Facts, kind: str) -> str:
    """Return what a kind of query is, in the run's way of making it; nothing for a kind that is not known."""
    texts = CUT | ({} if is_cut(facts) else WRITTEN) | (KNOWN if is_ontology(facts) else {}) | GIVEN
    return {str(name): text for name, text in texts.items()}.get(kind, "")


def explain_reason(reason: str) -> str:
    """Return why something was dropped."""
    return REASONS.get(reason, reason.replace("_", " "))


def is_cut(facts: Facts) -> bool:
    """Tell whether queries are the documents' own words."""
    return facts.recipe.generate.method is GenerateMethod.EXTRACTIVE


def is_ontology(facts: Facts) -> bool:
    """Tell whether the documents are terms, with names and relations beside them."""
    return "relations" in facts.manifests["pull"].counts


def queries_in_words(facts: Facts) -> str:
    """Return who wrote the queries and who looked at them."""
    filters = facts.recipe.generate.filters
    if is_cut(facts):
        said = "cut from the documents by rule, without a language model"
    else:
        said = f"written by the language model `{facts.manifests['generate'].facts['writer']}`"
        if filters.judge is not None:
            said += f", and kept where it gave them at least {filters.judge:g} of 10"
    if is_ontology(facts):
        said += ", and from the names and relations of the ontology"
    if filters.round_trip.enabled:
        said += f", and kept where both {_name_of(filters.retriever)} and BM25 find their document again"
    if asked := facts.manifests["generate"].facts.get("labelled"):
        said += f"; beside them, to learn from and to choose by, {asked['train'] + asked['dev']:,} that people asked"
    return said


def _name_of(retriever: str | None) -> str:
    # A path of the machine it ran on is no one else's concern.
    return (
        "the base model" if retriever is None else f"`{Path(retriever).name if local_path(retriever) else retriever}`"
    )


def negatives_in_words(facts: Facts) -> str:
    """Return where negatives were looked for, how they were picked, and what was kept out."""
    settings = facts.recipe.mine
    sampler, window = settings.sampler, settings.sampler.window
    by_words = CandidateSource.BM25 in settings.sources
    by_meaning = CandidateSource.DENSE in settings.sources
    nearest = "nearest documents of the base model and of BM25" if by_words and by_meaning else "nearest documents"
    if by_words and not by_meaning:
        nearest = "best documents of BM25"
    picked = {
        SamplerType.TOP: f"the {nearest}",
        SamplerType.RANDOM: f"documents drawn at random from the {nearest}",
        SamplerType.MIXED: f"{sampler.bm25} that BM25 finds best, the others the {nearest}",
        SamplerType.BALANCED: f"about as many far documents as near ones (the {nearest}), none of them too often",
    }[sampler.type]
    if window.first or window.last is not None:
        picked += f" (ranks {window.first + 1:,} {f'to {window.last:,}' if window.last else 'and below'})"
    said = f"{picked}, {cap_in_words(facts)}"
    if settings.cross_encoder.model is not None:
        said += ", and none that a cross-encoder finds nearly as right"
    return said


def miner_in_words(facts: Facts) -> str:
    """Return whose scores decided on negatives."""
    return _name_of(facts.recipe.mine.retriever)


def cap_in_words(facts: Facts) -> str:
    """Return which score a negative may have."""
    cap = facts.recipe.mine.cap
    return {
        CapType.PERCENT: f"with a score of at most {cap.value:.0%} of the lowest positive's",
        CapType.ABSOLUTE: f"with a score at least {cap.value:g} below the lowest positive's",
        CapType.NONE: "whatever their score",
    }[cap.type]


def short_rows_in_words(facts: Facts) -> str:
    """Return what became of queries with too few candidates, where there were any."""
    short: dict[str, Any] = facts.manifests["mine"].facts.get("short_rows") or {}
    if not short.get("queries"):
        return ""
    became = {
        ShortRows.DROP: "were dropped",
        ShortRows.REPEAT: "repeat some of them",
        ShortRows.RANDOM: "were filled up with documents drawn at random",
    }[facts.recipe.mine.short_rows]
    return f"{short['queries']:,} queries had too few candidates under the cap and {became}."


def phase_in_words(phase: Phase | Tuning) -> str:
    """Return the settings of a training phase that had an effect."""
    values: dict[str, Any] = phase.model_dump(mode="json")
    if isinstance(phase, Tuning):
        adapters, values["learning_rate"] = values.pop("lora"), phase.peak()
        del values["place"], values["stop"]
        if phase.method in (TrainMethod.LORA, TrainMethod.QLORA):
            values |= {f"lora_{name}": adapters[name] for name in ("rank", "alpha", "dropout", "targets")}
        if phase.view is View.PLAIN:
            del values["view"], values["view_share"]
        if phase.stop.preconvergence is not None:
            values["ending"] = "before all is learned, with hit@1 on plain texts as judge"
        elif phase.stop.patience is not None:
            values["patience"] = f"{phase.stop.patience} of {phase.stop.looks} looks at dev"
        if phase.loss not in (LossType.CONTRASTIVE, LossType.M3):
            del values["in_batch"]
        if phase.loss is not LossType.M3:
            del values["self_distill"]
        if phase.loss is not LossType.SIMILARITY_DISTILL:
            del values["distill"]
        del values["epochs" if phase.steps else "steps"]
    return ", ".join(
        f"{name.replace('_', ' ')} {_setting_in_words(value)}"
        for name, value in values.items()
        if value is not None and value not in ([], {})
    )


def _setting_in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{name} {_setting_in_words(part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else str(value)


def strength_in_words(facts: Facts) -> str:
    """Return how it was decided how much of what was learned is kept."""
    train = facts.recipe.train
    if train.strength != "auto":
        return "as the recipe says"
    learned = facts.manifests["train"].facts
    if not (learned.get("coherence") or {"holds": True})["holds"]:
        return "because the documents seem to be about nothing that could be learned"
    choice: dict[str, Any] = learned.get("choice") or {}
    last = train.phases[-1]
    if isinstance(last, Tuning) and not last.labelled():
        return "chosen on dev queries, and at most three quarters"
    if choice.get("on_queries_left_out") is False:  # every family of kinds was learned from
        return "chosen on dev queries of kinds that training had seen, and so at most half"
    said = "chosen on ways of asking left out of training, on documents learned from and not"
    heard = train.dev_queries or any(PEOPLE in found for found in _found_by(choice))
    return said + ("; questions by people counted as much as all of these" if heard else "")


def _found_by(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was scored for the strength: gains by family, or scores of each strength by family."""
    return [choice.get("gain_by_left_out_family", {}), *choice.get("dev_ndcg@10", {}).values()]


def corpus_in_words(facts: Facts) -> list[str]:
    """Return sentences on languages, lengths and near-duplicates, as far as pull looked at them."""
    found = facts.manifests["pull"].facts
    said = []
    if seen := facts.languages_seen:
        shares = ", ".join(f"`{code}` {share:.0%}" for code, share in seen.items())
        said.append(f"Languages, as a classifier tells them apart: {shares}.")
    lengths: dict[str, Any] = found.get("lengths") or {}
    if {"median", "percentile_95", "longest", "unit"} <= set(lengths):
        said.append(
            f"Length in {lengths['unit']}: median {lengths['median']:,}, 95% have at most "
            f"{lengths['percentile_95']:,}, the longest {lengths['longest']:,}."
        )
    if facts.max_tokens and found.get("truncated_share") is not None:
        cut = f"{facts.truncated:.1%} of the documents are longer" if facts.truncated else "no document is longer"
        said.append(f"The model reads {facts.max_tokens:,} tokens of a text; {cut}.")
    if groups := found.get("near_duplicate_groups"):
        said.append(f"{found['near_duplicates']:,} documents stand in {groups:,} groups of near-duplicates.")
    elif facts.looked_for_duplicates and groups == 0:
        said.append("No document is nearly the same as another.")
    return said
