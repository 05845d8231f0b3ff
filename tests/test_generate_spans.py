"""Pairs of passages without a model: two spans, a sentence and the rest, a title and its body."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders import job_for, keep_documents, recipe_for, some_documents
from hypothesis import given
from hypothesis import strategies as st

from hfembed.errors import RecipeError
from hfembed.generate import generate
from hfembed.generate.extractive import (
    MAX_ANSWER_WORDS,
    MAX_SPAN_WORDS,
    MIN_SPAN_WORDS,
    MOST_SPANS,
    Passage,
    passage_for,
    write_queries,
)
from hfembed.generate.vocabulary import Vocabulary
from hfembed.recipe import QueryKind, make_recipe
from hfembed.run import LAYOUT, Run

KINDS = {QueryKind.TITLE: 1, QueryKind.SPAN: MOST_SPANS, QueryKind.CLOZE: 20}


def passage(body: str, title: str = "", seed: int = 1, identity: str = "a") -> Passage:
    return Passage(identity, title, body, Vocabulary([body]), seed)


def paired(made: Passage, kind: QueryKind) -> list[tuple[str, str | None]]:
    queries = write_queries(made, {kind: KINDS[kind]})
    return [(text, passage_for(made, kind, text)) for _, text in queries]


# Two spans


@given(words=st.integers(2 * MIN_SPAN_WORDS, 600), seed=st.integers(0, 999))
def test_two_spans_of_a_document_never_overlap(words: int, seed: int):
    spans = paired(passage(" ".join(f"w{number}" for number in range(words)), seed=seed), QueryKind.SPAN)
    assert spans
    for asking, answering in spans:
        assert answering is not None and not set(asking.split()) & set(answering.split())
        for text, most in ((asking, MAX_SPAN_WORDS), (answering, MAX_ANSWER_WORDS)):
            numbers = [int(word[1:]) for word in text.split()]
            assert numbers == list(range(numbers[0], numbers[-1] + 1)) and MIN_SPAN_WORDS <= len(numbers) <= most


def test_spans_are_the_same_for_a_seed_and_others_for_another():
    body = " ".join(f"w{number}" for number in range(300))
    first = paired(passage(body), QueryKind.SPAN)
    assert first == paired(passage(body), QueryKind.SPAN) != paired(passage(body, seed=2), QueryKind.SPAN)
    assert first != paired(passage(body, identity="b"), QueryKind.SPAN)
    before = [asking.split()[0] < answering.split()[0] for asking, answering in first if answering]
    assert 0 < sum(before) < len(before)  # what asks stands before what answers, or after it


def test_a_document_that_is_too_short_has_no_two_spans():
    assert paired(passage("word " * (2 * MIN_SPAN_WORDS - 1)), QueryKind.SPAN) == []


# A sentence and the rest


SENTENCES = [f"Sentence number{number} says that device{number} needs oil{number}." for number in range(12)]


def test_a_sentence_stands_in_the_rest_of_its_document_one_time_in_ten():
    kept = Counter[bool]()
    for number in range(60):
        for asked, rest in paired(passage(" ".join(SENTENCES), identity=str(number)), QueryKind.CLOZE):
            assert rest is not None and sum(sentence in rest for sentence in SENTENCES) == 11 + (asked in rest)
            kept[asked in rest] += 1
    assert kept.total() == 720 and 0.05 < kept[True] / kept.total() < 0.15


def test_where_there_is_a_title_no_sentence_is_taken_out():
    assert paired(passage(" ".join(SENTENCES), title="Oil"), QueryKind.CLOZE) == []


def test_a_document_of_one_sentence_has_nothing_to_be_taken_out_of():
    assert paired(passage(SENTENCES[0]), QueryKind.CLOZE) == []


# A title and its body


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("The pump leaks.", "The pump leaks."),
        ("Left pump\nThe pump leaks.", "The pump leaks."),
        ("left pump: the pump leaks.", "the pump leaks."),
        ("Left pump. It leaks.", "It leaks."),
        ("Left pump leaks are frequent.", "Left pump leaks are frequent."),  # a sentence of its own
        ("Left pump", "Left pump"),  # all that it says
    ],
)
def test_the_passage_of_a_title_is_its_body_without_the_title_at_its_head(body: str, left: str):
    made = passage(body, title="Left pump")
    assert passage_for(made, QueryKind.TITLE, "Left pump") == left


def made_pairs(folder: Path, *settings: str) -> list[dict[str, str]]:
    run = Run(folder)
    rows = [{"id": d["_id"], "title": d["title"], "text": d["text"]} for d in some_documents(40)]
    keep_documents(run, rows)
    recipe = recipe_for("unused", "generate.kinds.span=1", *settings)
    job = job_for(run, recipe, "generate")
    generate(job)
    found: list[dict[str, str]] = pq.read_table(job.out / Path(LAYOUT.pairs).name).to_pylist()
    return found


def test_the_pairs_show_a_title_its_passage_with_or_without_it_and_a_span_its_other_one(tmp_path: Path):
    texts = {document["_id"]: document for document in some_documents(40)}
    for name, shown in (("with", True), ("without", False)):
        rows = made_pairs(tmp_path / name, f"generate.title_in_passage={str(shown).lower()}")
        titles = [row for row in rows if row["kind"] == "title"]
        assert len(titles) > 10 and all((row["query"] in row["positive"]) is shown for row in titles)
        assert all(row["positive"].endswith(texts[row["positive_id"]]["text"]) for row in titles)
        spans = [row for row in rows if row["kind"] == "span"]
        assert len(spans) > 10
        for row in spans:
            body = " ".join(texts[row["positive_id"]]["text"].split())
            assert row["positive"] in body and row["query"] in body and row["query"] != row["positive"]
        others = [row for row in rows if row["kind"] not in ("title", "span")]
        assert others and all(row["positive"].startswith(texts[row["positive_id"]]["title"]) for row in others)


def test_what_people_ask_cannot_be_cut_from_documents_either():
    with pytest.raises(RecipeError, match="nobody writes these"):
        make_recipe(settings=["generate.beside={labelled: 1}"])
