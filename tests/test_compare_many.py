"""Many queries, blind votes, words that match and maps: what the Compare page shows beside one list."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from builders import some_documents, write_beir, write_jsonl

from hfembed.compare import Contender, Hit, Library, Ranking, Searched
from hfembed.compare.batch import ask_all
from hfembed.compare.plane import MOST_POINTS, find_topics, lay_out
from hfembed.compare.queries import Query, known_queries, read_queries
from hfembed.compare.votes import cast, count_votes, draw_ballot, preferences, read_votes
from hfembed.compare.words import best_window, matching_spans
from hfembed.errors import InputError
from hfembed.evaluate.verdict import Verdict

LEXICAL = Contender("words", None, words=True)


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def corpus(tmp_path: Path, library: Library) -> Searched:
    return library.corpus(str(write_beir(tmp_path / "beir", some_documents(20))))


# Words


def test_words_of_the_query_are_found_in_whatever_form_and_stop_words_are_not():
    text = "The pumps were leaking; a pump that leaks is replaced."
    assert [text[start:end] for start, end in matching_spans("why does the pump leak?", text)] == [
        "pumps", "leaking", "pump", "leaks",
    ]  # fmt: skip
    assert matching_spans("the of and", text) == [] == matching_spans("zebra", text)


def test_the_window_shows_the_part_with_most_of_the_words():
    text = "Nothing of note here. " * 20 + "The gearbox rattles when cold. " + "More of the same follows. " * 20
    start, end = best_window("cold gearbox", text, 120)
    assert "gearbox rattles when cold" in text[start:end] and end - start <= 120
    assert best_window("cold gearbox", "short text", 120) == (0, 10)
    start, end = best_window("zebra", text, 120)
    assert start == 0 and text[end] == " "


# Queries


def test_the_sample_knows_its_answers_and_a_plain_folder_none(tmp_path: Path):
    assert known_queries("sample").labelled and len(known_queries("sample").queries) == 72
    assert not known_queries(str(write_beir(tmp_path / "beir", some_documents(3)))).queries


def test_answers_are_known_whatever_the_case_of_the_query():
    known = known_queries("sample")
    query = known.queries[0]
    assert known.answers(f"  {query.text.upper()} ") == query.relevant and not known.answers("nobody asked this")


@pytest.mark.parametrize(
    ("name", "content", "labelled"),
    [
        ("q.txt", "first query\n\nsecond query\nfirst query\n", False),
        ("q.jsonl", '{"query": "first query"}\n{"text": "second query"}\n', False),
        ("q.csv", "query\nfirst query\nsecond query\n", False),
        ("q.csv", "query,positive_id\nfirst query,d1\nsecond query,d2\nfirst query,d3\n", True),
        ("q.tsv", "question\tpositive_id\nfirst query\td1\nsecond query\td2\n", True),
        ("q.jsonl", '{"query": "first query", "positive_ids": ["d1", "d3"]}\n{"query": "second query", "positive_id": "d2"}', True),
    ],
)  # fmt: skip
def test_every_form_of_a_query_file_is_read(tmp_path: Path, corpus: Searched, name: str, content: str, labelled: bool):
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    found = read_queries(file, corpus.documents)
    assert [query.text for query in found.queries] == ["first query", "second query"]
    assert found.labelled is labelled
    assert not labelled or ("d1" in found.queries[0].relevant and dict(found.queries[1].relevant) == {"d2": 1})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.txt", b"\n \n", "holds no query"),
        ("q.txt", b"caf\xe9\n", "is not UTF-8"),
        ("q.txt", b"one\0two\n", "is no text"),
        ("q.jsonl", b"{broken\n", "is not JSON"),
        ("q.csv", b"title\nsomething\n", "holds no query"),
        ("q.csv", b"query,positive_id\nfirst,gone\n", "is a document of the run"),
        ("q.pdf", b"query", "is a .pdf file"),
    ],
)
def test_a_file_that_holds_no_queries_is_refused_in_words(
    tmp_path: Path, corpus: Searched, name: str, content: bytes, words: str
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_queries(tmp_path / name, corpus.documents)


# Batch


class Fixed(Library):
    """A library in which each contender finds what is written down for it."""

    def __init__(self, found: dict[str, list[list[int]]]) -> None:
        super().__init__()
        self._found = found

    def prepare_all(self, contenders, corpus, report=None):  # type: ignore[no-untyped-def]
        pass

    def search(self, contender, corpus, queries, count, report=None):  # type: ignore[no-untyped-def]
        from hfembed.compare.library import Found

        return [
            Found(np.array(rows[:count]), np.linspace(1, 0.1, len(rows[:count]), dtype=np.float32), 0.0, corpus)
            for rows in self._found[contender.name]
        ]


def test_wins_ties_and_losses_are_counted_by_query(corpus: Searched):
    queries = [Query(f"q{at}", {f"d{at}": 1}) for at in range(3)]
    first, other = [[0, 5], [5, 1], [5, 2]], [[5, 0], [1, 5], [5, 2]]
    contenders = [Contender("first", None), Contender("other", None)]
    batch = ask_all(Fixed({"first": first, "other": other}), contenders, corpus, queries)
    found = batch.versus(1)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.comparison.verdict is Verdict.NO_DIFFERENCE and found.comparison.delta == pytest.approx(0)
    assert batch.labelled and batch.mean(0) == pytest.approx(np.mean([1, 1 / np.log2(3), 1 / np.log2(3)]))
    assert [line.query.text for line in batch.ordered(1)][-1] == "q2"


def test_without_answers_the_queries_that_differ_most_come_first(corpus: Searched):
    first, other = [[0, 1, 2, 3]] * 3, [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 8, 9]]
    contenders = [Contender("first", None), Contender("other", None)]
    queries = [Query("alike"), Query("different"), Query("half")]
    batch = ask_all(Fixed({"first": first, "other": other}), contenders, corpus, queries)
    assert not batch.labelled and [line.shared for line in batch.lines] == [(1, 1), (1, 0), (1, 0.5)]
    assert [line.query.text for line in batch.ordered(1)] == ["different", "half", "alike"]


def test_a_batch_scores_as_the_ranking_of_each_query_does(corpus: Searched, library: Library, tiny_model: Path):
    queries = [Query(row["title"], {row["_id"]: 1}) for row in some_documents(6)]
    contenders = [Contender("tiny", str(tiny_model)), LEXICAL, Contender("both", str(tiny_model), words=True)]
    batch = ask_all(library, contenders, corpus, queries)
    for at, contender in enumerate(contenders):
        for line in batch.lines:
            rows = library.search(contender, corpus, [line.query.text], 10)[0].rows.tolist()
            (answer,) = line.query.relevant
            place = rows.index(int(answer[1:])) + 1 if int(answer[1:]) in rows else None
            assert line.scores[at] == pytest.approx(1 / np.log2(place + 1) if place else 0)


def test_no_query_is_refused(corpus: Searched, library: Library):
    with pytest.raises(InputError, match="no query to ask"):
        ask_all(library, [LEXICAL], corpus, [])


# Votes


def ranking(model: str, *ids: str) -> Ranking:
    return Ranking(
        model, 1.0, [Hit(rank, name, name.upper(), f"text {name}", 1.0, None) for rank, name in enumerate(ids, 1)]
    )


def test_the_order_of_a_ballot_tells_nothing():
    lists = [ranking("one", "a"), ranking("two", "b")]
    firsts = {draw_ballot("c", "q", lists, random.Random(seed)).rankings[0].model for seed in range(20)}
    assert firsts == {"one", "two"}
    assert draw_ballot("c", "q", [ranking("one", "a"), ranking("two", "a")]).are_alike


def test_votes_are_appended_counted_and_given_back_as_preferences(tmp_path: Path):
    file = tmp_path / "votes.jsonl"
    ballot = draw_ballot("c", "q", [ranking("one", "a", "b"), ranking("two", "b")], random.Random(1))
    place = [found.model for found in ballot.rankings].index("two")
    cast(file, ballot, place)
    cast(file, ballot, None)
    cast(file, ballot, place)
    votes = list(read_votes(file))
    assert len(votes) == 3
    tally = count_votes(votes, ["one", "two"])
    assert (tally.votes, tally.ties, tally.chosen, tally.shown) == (3, 1, {"one": 0, "two": 2}, {"one": 3, "two": 3})
    assert tally.chance() is None
    for _ in range(4):
        cast(file, ballot, place)
    assert count_votes(list(read_votes(file)), ["one", "two"]).chance() == pytest.approx(2 / 2**6)
    assert count_votes(votes, ["one", "three"]).votes == 0
    rows = list(preferences(votes))
    assert len(rows) == 2 and rows[0]["query"] == "q"
    assert rows[0]["chosen"] == {"model": "two", "passages": [{"id": "b", "title": "B", "text": "text b"}]}
    assert [passage["id"] for passage in rows[0]["rejected"]["passages"]] == ["a", "b"]
    assert json.loads(json.dumps(rows)) == rows


def test_a_vote_that_was_cut_short_by_a_power_cut_is_passed_over_and_the_next_one_counts(tmp_path: Path):
    file, ballot = tmp_path / "votes.jsonl", draw_ballot("c", "q", [ranking("one", "a"), ranking("two", "b")])
    cast(file, ballot, 0)
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"query": "cut sho')
    assert len(list(read_votes(file))) == 1
    cast(file, ballot, 1)
    assert [vote.chosen for vote in read_votes(file)] == [0, 1]


def test_a_vote_for_a_list_that_was_not_shown_is_none(tmp_path: Path):
    with pytest.raises(ValueError, match="no list 2"):
        cast(tmp_path / "votes.jsonl", draw_ballot("c", "q", [ranking("one", "a"), ranking("two", "b")]), 2)


# Map


def groups(count: int = 40, width: int = 8) -> np.ndarray:
    """Return unit vectors around two far points."""
    draw = np.random.default_rng(0)
    centres = np.repeat(np.eye(width)[:2], count, axis=0) + 0.1 * draw.normal(size=(2 * count, width))
    return (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)


def test_a_map_keeps_alike_documents_together_and_puts_the_query_among_its_own():
    vectors = groups()
    plane = lay_out(vectors, np.arange(80), vectors[3])
    near, far = plane.points[:40].mean(axis=0), plane.points[40:].mean(axis=0)
    assert np.linalg.norm(plane.query - near) < np.linalg.norm(plane.query - far) / 3
    assert np.abs(plane.points).max() <= 1 and 0 < plane.share <= 1


def test_a_second_map_is_turned_to_the_first():
    vectors, rows = groups(), np.arange(80)
    turned = vectors @ np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0].astype(np.float32)
    first = lay_out(vectors, rows, vectors[0])
    second = lay_out(turned, rows, turned[0], like=first)
    assert np.abs(first.points - second.points).max() < 1e-3


def test_topics_are_groups_named_by_their_words():
    texts = ["cold pump leaks oil"] * 40 + ["warm turbine rattles loudly"] * 40
    topics = find_topics(groups(), np.arange(80), texts)
    assert not {topics.of_row[row] for row in range(40)} & {topics.of_row[row] for row in range(40, 80)}
    words = [set(name.split(", ")) for name in topics.names]
    assert all(
        found <= {"cold", "pump", "leaks", "oil"} or found <= {"warm", "turbine", "rattles", "loudly"}
        for found in words
    )


def test_documents_that_are_spread_over_a_corpus_are_so_many_or_all(corpus: Searched):
    assert corpus.spread(MOST_POINTS) == list(range(20))
    assert corpus.spread(3) in ([0, 9, 19], [0, 10, 19])


@pytest.mark.parametrize("count", [1, 2])
def test_a_corpus_of_hardly_any_documents_has_a_map(count: int):
    vectors = groups()[:count]
    plane = lay_out(vectors, np.arange(count), vectors[0])
    assert plane.points.shape == (count, 2) and np.isfinite(plane.points).all() and np.isfinite(plane.query).all()
    assert len(find_topics(vectors, np.arange(count), ["some words"] * count).names) == 1


def test_a_file_of_json_lines_that_is_empty_holds_no_query(tmp_path: Path, corpus: Searched):
    with pytest.raises(InputError, match="holds no query"):
        read_queries(write_jsonl(tmp_path / "q.jsonl", []), corpus.documents)
