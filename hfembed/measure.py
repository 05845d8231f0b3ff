"""measure: any model on queries of the user's own, with the documents that answer them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfembed.compare import read_documents
from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.errors import InputError
from hfembed.evaluate.collection import HUMAN, Collection
from hfembed.evaluate.metrics import ALL
from hfembed.evaluate.report import BASE, BM25, FUSION, TUNED, make_report
from hfembed.events import Reporter, silent
from hfembed.labelled import EXAMPLES, read_labelled, shorten
from hfembed.recipe import Recipe
from hfembed.stage import locate_encoder, require

NAME = "LabelledQueries"
MODEL = "model"
NO_DOCUMENT = "no document of the corpus"
ID_NAMES = ("_id", "id", "query_id", "query-id", "qid")
TEXT_NAMES = ("text", "query", "question")
QRELS = (("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "document_id", "docid"), ("score", "relevance"))
FORMS = (
    'Queries: .jsonl, .csv or .tsv with "_id" and "text". Qrels: .tsv or .csv with "query-id", "corpus-id", "score". '
    'Without --qrels, the queries need "query" and "positive_id".'
)


@dataclass
class Unknown:
    """Labels that could not be used: how many, and some of the ids that were not found."""

    what: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES and shorten(name) not in self.examples:
            self.examples.append(shorten(name))

    def __str__(self) -> str:
        """Say how many there are, and name some."""
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count:,} labels name {self.what}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True)
class Measured:
    """What a model is worth on labelled queries. unknown: labels that name no document, or no query."""

    model: str
    base: str | None
    queries: int
    documents: int
    unknown: int
    metrics: dict[str, dict[str, float]]
    difference: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return it as `--format json` prints it."""
        return dict(vars(self))


def measure(
    model: str, corpus: str, queries: Path, qrels: Path | None = None, base: str | None = None,
    report: Reporter | None = None,
) -> Measured:  # fmt: skip
    """Score a model, BM25 and both together on labelled queries; with a `base`, compare the model with it.

    model, base: a folder, a run, a Hub id, or a recipe, whose base it is. corpus: anything `pull` reads, or a finished run.
    """
    require("train", "torch", "sentence_transformers", "mteb", "datasets", "Stemmer")
    from hfembed.evaluate.task import score_bm25, score_embedder, score_fusion

    report = report or silent()
    documents, cache = read_documents(corpus)
    collection, unknown = read_collection(documents, queries, qrels)
    for entry in unknown:
        report.warn(f"{entry}. They were passed over.")
    names = {TUNED: model, **({BASE: base} if base else {})}
    scores = {name: score_embedder(collection, _embedder(at, cache, report), name) for name, at in names.items()}
    scores[BM25] = score_bm25(collection)
    scores[FUSION] = score_fusion(collection, scores[TUNED], scores[BM25])
    means = {
        metric: {
            MODEL if name == TUNED else name: round(
                float(np.mean([score.per_query[query][metric] for query in collection.queries])), 5
            )
            for name, score in scores.items()
        }
        for metric in ALL
    }
    difference = _difference(make_report(collection, scores, Recipe())) if base else None
    passed_over = sum(entry.count for entry in unknown)
    return Measured(model, base, len(collection.queries), len(documents), passed_over, means, difference)


def read_collection(documents: Documents, queries: Path, qrels: Path | None) -> tuple[Collection, list[Unknown]]:
    """Return labelled queries over documents, and the labels that name what is not there."""
    corpus = dict(zip(documents.ids, documents.texts(), strict=True))
    if qrels is None:
        labelled = read_labelled(queries, documents)
        numbers = {text: f"q{at}" for at, text in enumerate(dict.fromkeys(labelled.queries))}
        relevant: dict[str, dict[str, int]] = {}
        for text, row in zip(labelled.queries, labelled.answers, strict=True):
            relevant.setdefault(numbers[text], {})[documents.ids[row]] = 1
        asked = {name: text for text, name in numbers.items()}
        unknown = [Unknown(NO_DOCUMENT, labelled.unknown, labelled.examples)]
    else:
        asked = {str(_first(row, ID_NAMES, queries)): str(_first(row, TEXT_NAMES, queries)) for row in _rows(queries)}
        relevant, unknown = _judgements(qrels, asked, corpus)
        asked = {name: text for name, text in asked.items() if name in relevant}
    if not asked:
        reasons = "; ".join(str(entry) for entry in unknown if entry.count) or f"'{qrels}' marks no answer"
        raise InputError(
            f"No query in '{queries}' has an answer in the corpus: {reasons}.",
            f"The corpus has ids like {', '.join(map(shorten, documents.ids[:2]))}.",
        )
    found = Collection(NAME, corpus, asked, dict.fromkeys(asked, HUMAN), {name: relevant[name] for name in asked})
    return found, [entry for entry in unknown if entry.count]


def _judgements(
    qrels: Path, asked: Mapping[str, str], corpus: Mapping[str, str]
) -> tuple[dict[str, dict[str, int]], list[Unknown]]:
    relevant: dict[str, dict[str, int]] = {}
    documents, queries = Unknown(NO_DOCUMENT), Unknown("no query")
    for row in _rows(qrels):
        query, document, score = (str(_first(row, names, qrels)) for names in QRELS)
        try:
            grade = int(float(score))
        except ValueError:
            raise InputError(f"A score in '{qrels}' is {score!r}, but must be a number.", FORMS) from None
        if grade <= 0:
            continue
        if query not in asked:
            queries.add(query)
        elif document not in corpus:
            documents.add(document)
        else:
            relevant.setdefault(query, {})[document] = grade
    return relevant, [documents, queries]


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table, whatever its form."""
    suffix = file.suffix.lower()
    if not file.is_file():
        raise InputError(f"There is no file '{file}'.", FORMS)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if suffix in (".csv", ".tsv"):
            yield from csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")
            return
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line.strip() else None
            except json.JSONDecodeError as error:
                raise InputError(f"Line {number} of '{file}' is not JSON: {error.msg}.", FORMS) from None
            if isinstance(row, dict):
                yield row


def _first(row: Mapping[str, Any], names: tuple[str, ...], file: Path) -> Any:
    for name in names:
        if row.get(name) not in (None, ""):
            return row[name]
    raise InputError(f"A row of '{file}' has no {names[0]}: it has {', '.join(map(str, row)) or 'nothing'}.", FORMS)


def _embedder(name: str, cache: Path, report: Reporter) -> Embedder:
    return Embedder(locate_encoder(name), cache, report)


def _difference(report: dict[str, Any]) -> dict[str, Any]:
    kept = ("delta", "ci", "p")
    return {
        **{metric: {key: row[key] for key in kept} for metric, row in report["metrics"].items()},
        "verdict": report["verdict"],
        "sentence": report["sentence"].replace("tuned model", MODEL).replace("tuned", MODEL),
    }
