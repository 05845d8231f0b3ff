"""Filters: every query that is dropped has a reason, and each filter can be switched off."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener, job_for, keep_documents, recipe_for, some_documents, write_beir

from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.events import Events, Reporter
from hfembed.generate.filters import copied_share, drop_repeated, filter_queries, refers_to_source
from hfembed.generate.query import EXTRACTIVE, Query, Split
from hfembed.generate.round_trip import find
from hfembed.recipe import QueryKind
from hfembed.run import Run
from hfembed.text import words_of

TEXTS = [
    "The clerk must sign the document before a notary and keep a copy of it for ten years.",
    "Rinse the pump with warm water after each use, then dry the seal with a soft cloth.",
    "A kestrel hovers over open fields and hunts voles in the early morning hours.",
    "Bread rises faster in a warm kitchen, where yeast works within an hour or two.",
]


def documents_in(folder: Path, texts: Sequence[str] = TEXTS) -> Documents:
    return keep_documents(Run(folder), [{"id": f"d{at}", "text": text} for at, text in enumerate(texts)])


def asked(text: str, *rows: int, **more: Any) -> Query:
    return Query(text, more.pop("kind", QueryKind.QUESTION), rows or (0,), Split.TRAIN, **{"writer": "model", **more})


def sift(
    folder: Path, queries: list[Query], *settings: str, base: Path | None = None, texts: Sequence[str] = TEXTS,
    listener: Listener | None = None,
) -> tuple[list[str], Counter[str]]:  # fmt: skip
    """Return the texts that pass, and why the others do not."""
    documents = documents_in(folder, texts)
    given = [f"generate.filters.{setting}" for setting in settings]
    report = Reporter("generate", Events(listeners=[] if listener is None else [listener]))
    job = job_for(Run(folder), recipe_for("unused", *given, base=base), "generate", report)
    kept, dropped = filter_queries(job, queries, documents)
    return [query.text for query in kept], +dropped


# Words


def test_empty_repeated_and_ambiguous_queries_go(tmp_path: Path):
    queries = [
        asked("Warm water?", 1),
        asked("warm WATER", 1),
        asked("one hour", 2),
        asked("One hour!", 3),
        asked("?!", 1),
    ]
    kept, dropped = sift(tmp_path, queries)
    assert kept == ["Warm water?"] and dropped == {"repeated": 1, "ambiguous": 2, "empty": 1}
    kept, dropped = sift(tmp_path, queries, "ambiguous=false")
    assert kept == ["Warm water?", "one hour", "One hour!"] and dropped == {"repeated": 1, "empty": 1}


def test_a_multi_hop_query_is_ambiguous_only_beside_one_about_other_documents():
    both = asked("water and yeast", 1, 3)
    assert drop_repeated([both, both])[1] == {"repeated": 1}
    assert drop_repeated([both, asked("Water and yeast", 1)])[1] == {"ambiguous": 2}


def test_length_is_counted_in_words_and_maps_may_be_long(tmp_path: Path):
    long = "word " * 20 + "end"
    queries = [asked("pump"), asked(long), asked(long + " map", kind=QueryKind.ENTITY_MAP), asked("rinse the pump")]
    kept, dropped = sift(tmp_path, queries, "min_words=2", "max_words=10")
    assert kept == [long + " map", "rinse the pump"] and dropped == {"too_short": 1, "too_long": 1}


def test_what_copies_its_document_goes_unless_it_was_cut_from_it(tmp_path: Path):
    copy = "after each use, then dry the seal with a soft cloth"
    own = "how should the seal be treated once it has been cleaned?"
    queries = [asked(copy, 1), asked(own, 1), asked(copy, 1, writer=EXTRACTIVE, kind=QueryKind.SENTENCE)]
    kept, dropped = sift(tmp_path, queries[:2])
    assert kept == [own] and dropped == {"copied": 1}
    assert len(sift(tmp_path, queries[:2], "copying=null")[0]) == 2
    assert len(sift(tmp_path, queries[1:])[0]) == 2


def test_the_copied_share_counts_runs_of_four_words():
    passage = frozenset(tuple(["a", "b", "c", "d", "e", "f"][at : at + 4]) for at in range(3))
    assert copied_share("a b c d", passage) == 1 and copied_share("a b c", passage) == 0
    assert copied_share("a b c d x", passage) == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "What does the passage say about pumps?",
        "According to the text, when is it rinsed?",
        "Which steps are described in this excerpt?",
        "What is the main idea of the above paragraph?",
        "How do the two documents above differ?",
        "What does document 2 recommend?",
        "Based on the provided context, who signs?",
    ],
)
def test_what_speaks_of_its_source_is_found(text: str):
    assert refers_to_source(text, words_of(TEXTS[1]))


@pytest.mark.parametrize(
    "text", ["Who has to sign the document?", "How long is a copy kept?", "Where do I find the text editor?"]
)
def test_a_document_in_the_matter_itself_is_no_reference(text: str):
    assert not refers_to_source(text, words_of(TEXTS[0] + " The text editor opens."))


def test_references_go_and_may_stay(tmp_path: Path):
    queries = [asked("What does the passage say of pumps?", 1), asked("Who has to sign the document?", 0)]
    assert sift(tmp_path, queries) == (["Who has to sign the document?"], {"refers_to_source": 1})
    assert len(sift(tmp_path, queries, "references=false")[0]) == 2


def test_the_judge_has_a_threshold(tmp_path: Path):
    queries = [asked("rinse it how", score=7.0), asked("rinse it when", score=6.9), asked("rinse it why")]
    assert sift(tmp_path, queries) == (["rinse it how", "rinse it why"], {"judged_low": 1})
    assert len(sift(tmp_path, queries, "judge=6.5")[0]) == len(sift(tmp_path, queries, "judge=null")[0]) == 3


# The two retrievers


class Vectors:
    """Stands in for the base: vectors by text."""

    def __init__(self, vectors: dict[str, Sequence[float]]) -> None:
        self._vectors = vectors

    def __call__(self, texts: Sequence[str]) -> Any:
        rows = np.array([self._vectors[text] for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def stand_in(patch: pytest.MonkeyPatch, vectors: dict[str, Sequence[float]]) -> None:
    patch.setattr(Embedder, "documents", lambda self, texts: Vectors(vectors)(texts))
    patch.setattr(Embedder, "queries", lambda self, texts: Vectors(vectors)(texts))


def test_near_repeats_go_within_a_document_only(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    queries = [asked("first", 1), asked("nearly first", 1), asked("nearly the first", 2), asked("other", 1)]
    near = {"first": (1, 0), "nearly first": (1, 0.1), "nearly the first": (1, 0.05), "other": (0, 1)}
    stand_in(monkeypatch, near)
    kept, dropped = sift(tmp_path, queries, "duplicates=0.9", base=tiny_model)
    assert kept == ["first", "nearly the first", "other"] and dropped == {"near_repeated": 1}


def test_a_planted_wrong_pair_does_not_come_round(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    queries = [
        asked("warm water for the pump", 1),
        asked("kestrel hunts voles", 3),  # planted: the bread has nothing to do with it
        asked("clean my pump", 1),
        asked("something quite different", 2),
    ]
    axes = np.eye(4).tolist()
    seen = dict(zip(TEXTS, axes, strict=True))
    found = (axes[1], axes[2], [0, 1, 0.9, 0], axes[2])
    stand_in(monkeypatch, seen | {query.text: vector for query, vector in zip(queries, found, strict=True)})
    kept, dropped = sift(tmp_path, queries, "round_trip.enabled=true", base=tiny_model)
    # The last is found by its meaning alone, on the first rank: that is enough.
    assert kept == [queries[0].text, queries[2].text, queries[3].text] and dropped == {"not_found_by_base": 1}
    kept, dropped = sift(tmp_path, queries, "round_trip.enabled=true", "round_trip.min_gap=0.2", base=tiny_model)
    assert kept == [queries[0].text, queries[3].text] and dropped["answered_elsewhere"] == 1


def test_second_by_meaning_and_nowhere_by_words_is_not_found(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    queries = [asked("something quite different", 2), asked("a hovering kestrel", 2)]
    stand_in(monkeypatch, dict(zip(TEXTS, np.eye(4).tolist(), strict=True)) | {q.text: (0, 1, 0.9, 0) for q in queries})
    settings = ("round_trip.enabled=true", "round_trip.dense_rank=2")
    assert sift(tmp_path, queries, *settings, base=tiny_model) == (["a hovering kestrel"], {"not_found_by_bm25": 1})


def test_all_documents_of_a_multi_hop_query_have_to_be_found(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    queries = [asked("warm water and warm kitchen", 1, 3), asked("kestrel and pump", 1, 2)]
    vectors = dict(zip(TEXTS, np.eye(4).tolist(), strict=True))
    stand_in(monkeypatch, vectors | {queries[0].text: (0, 1, 0.1, 0.8), queries[1].text: (0.9, 1, 0.1, 0.5)})
    settings = ("round_trip.enabled=true", "ambiguous=false")
    assert sift(tmp_path, queries, *settings, base=tiny_model) == ([queries[0].text], {"not_found_by_base": 1})


def test_ranks_and_gap_are_kept_with_the_query(tmp_path: Path, tiny_model: Path):
    rows = some_documents(30)
    texts = [row["text"] for row in rows]
    documents = documents_in(tmp_path, texts)
    settings = ("generate.filters.round_trip.enabled=true", "generate.filters.round_trip.dense_rank=30")
    job = job_for(Run(tmp_path), recipe_for("unused", *settings, base=tiny_model), "generate")
    queries = [asked(f"word{at} token{at * 3} code{at * 7 + 1000}", at) for at in range(1, 30)]
    kept, _ = filter_queries(job, queries, documents)
    assert len(kept) > 20
    for query in kept:
        assert 1 <= int(query.details["dense_rank"]) <= 30 and query.details["bm25_rank"] == "1"
        assert -1 <= float(query.details["gap"]) <= 1


def test_a_tie_counts_against_a_document_and_a_twin_as_the_document():
    same = np.array([0, 1, 2, 1, 4])
    rows, scores = np.array([0, 1, 2, 3, 4]), np.array([0.9, 0.8, 0.8, 0.8, 0.1], dtype=np.float32)
    assert find([0], rows, scores, same).rank == 1
    assert find([1], rows, scores, same).rank == find([3], rows, scores, same).rank == 3
    lost = find([4], rows[:4], scores[:4], same)
    assert lost.rank == 5 and lost.score == float("-inf")
    found = find([0], rows, scores, same)
    assert found.score - found.other == pytest.approx(0.1)
    nothing = np.full(5, -np.inf, dtype=np.float32)
    assert find([0], rows, nothing, same).rank == 6


def test_a_large_corpus_is_ranked_in_part(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    encoded: list[int] = []
    documents = Embedder.documents
    monkeypatch.setattr(
        Embedder, "documents", lambda self, texts: (encoded.append(len(texts)), documents(self, texts))[1]
    )
    texts = [f"Part number code{at} of the device with label{at}." for at in range(300)]
    queries = [asked(f"code{at} label{at}", at) for at in range(10)]
    sift(tmp_path, queries, "round_trip.enabled=true", "round_trip.documents=100", base=tiny_model, texts=texts)
    assert len(encoded) == 1 and 100 <= encoded[0] <= 110


# Words about it all


def test_what_looks_wrong_is_said_with_what_to_do(tmp_path: Path):
    listener = Listener()
    queries = [asked(f"what does the passage say of {at}", 1) for at in range(10)]
    queries += [asked(f"rinse pump {at}", 1, score=5.0) for at in range(30)]
    sift(tmp_path, queries, listener=listener)
    said = " ".join(listener.messages("warning"))
    assert "25% of the queries spoke of 'the passage'" in said and "generate.llm.prompts" in said
    assert "refused 30 of 30 queries (median score 5.0)" in said and "--preview" in said


def test_lookups_are_noticed(tmp_path: Path):
    listener = Listener()
    words = [word for word in words_of(" ".join(TEXTS)) if len(word) > 4]
    queries = [asked(f"{words[at]} {words[at + 1]} {words[-at - 1]}", 0, 1, 2, 3) for at in range(len(words) - 1)]
    sift(tmp_path, queries, "copying=null", listener=listener)
    assert any("found by words alone" in message for message in listener.messages("warning"))


def test_the_defaults_load_no_torch_for_extractive_queries(tmp_path: Path):
    write_beir(tmp_path / "beir", some_documents(30))
    script = (
        "import sys; from pathlib import Path; from hfembed import pipeline; from hfembed.recipe import make_recipe;"
        "from hfembed.run import Run; pipeline.run(make_recipe(options={'corpus': 'beir'}), Run(Path('r')), until='generate');"
        "assert not {'torch', 'transformers', 'json_repair'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_the_base_is_part_of_what_decides_the_result_only_where_it_is_asked(tiny_model: Path):
    plain = recipe_for("unused", base=tiny_model)
    encoding = recipe_for("unused", "generate.filters.duplicates=0.9", base=tiny_model)
    assert plain.generate.reads() == () and encoding.generate.reads() == ("base",)
