"""The parts of an index: approximate search and its recall, the fusion of scores, and filters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up import clustered, ranked, rows_of, stored

from hfembed.embed import Vectors
from hfembed.errors import InputError
from hfembed.events import silent
from hfembed.index.approximate import NEAREST, exact_least, make_approximate, measure_recall
from hfembed.index.filters import COLUMNS, all_of, parse_filter
from hfembed.index.fusion import DEFAULT, Asked, choose_fusion, join, read_dev
from hfembed.index.manifest import Approximate
from hfembed.index.store import Store
from hfembed.ranking import fuse
from hfembed.run import LAYOUT

pytestmark = pytest.mark.xdist_group("index")

COUNT = 2_000


# Approximate search


@dataclass(frozen=True)
class Divided:
    """Vectors that an approximate index was made of, and queries it was measured with."""

    store: Store
    vectors: Vectors
    queries: Vectors
    found: Approximate


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Divided:
    vectors, queries = clustered(COUNT), clustered(20, seed=1)
    titles = ["rare" if row % 500 == 0 else "" for row in range(COUNT)]
    store = stored(tmp_path_factory.mktemp("divided"), vectors, title=titles)
    return Divided(store, vectors, queries, make_approximate(store, queries, None, silent()))


def test_the_recall_of_an_approximate_index_is_measured_against_comparing_with_all(divided: Divided):
    found, store = divided.found, divided.store
    assert found.partitions == round(COUNT**0.5) and found.queries == 20 and found.rows == COUNT
    assert 1 < found.probes < found.partitions and 0.95 <= found.recall <= 1
    rows = {number: int(name[1:]) for name, number in store.numbers([f"d{row}" for row in range(COUNT)]).items()}
    near = [{rows[number] for number in store.nearest(query, NEAREST, found)} for query in divided.queries]
    exact = [set(np.argsort(-(divided.vectors @ query))[:NEAREST].tolist()) for query in divided.queries]
    by_hand = np.mean([len(some & all_) / NEAREST for some, all_ in zip(near, exact, strict=True)])
    assert found.recall == pytest.approx(by_hand, abs=0.005)


def test_a_search_in_one_part_alone_has_a_lower_recall_and_exact_search_finds_all(divided: Divided):
    store, queries = divided.store, divided.queries
    least = exact_least(store, queries)
    assert least == pytest.approx(np.sort(queries @ divided.vectors.T, axis=1)[:, -NEAREST], abs=1e-5)
    in_one = divided.found.model_copy(update={"probes": 1})
    assert measure_recall(store, queries, least, in_one) < divided.found.recall
    assert measure_recall(store, queries, least, None) == 1


def test_the_recall_that_is_said_is_that_of_the_index_as_it_is_searched(tmp_path: Path):
    # LanceDB joins and divides parts when it merges files, and what one part holds is another thing then.
    queries = clustered(40, seed=1)
    store = stored(tmp_path, clustered(12_000))
    found = make_approximate(store, queries, None, silent())
    store.settle()
    least, in_one = exact_least(store, queries), found.model_copy(update={"probes": 1})
    assert measure_recall(store, queries, least, found) == found.recall
    assert measure_recall(store, queries, least, in_one) < 0.5  # there are parts still


def test_a_narrow_filter_is_met_in_whatever_part_its_documents_are(divided: Divided):
    store, where = divided.store, all_of([parse_filter("title = rare")])
    for query in divided.queries[:5]:
        found = store.nearest(query, NEAREST, divided.found, where)
        assert [row["id"] for row in store.rows(sorted(found), "id")] == ["d0", "d500", "d1000", "d1500"]


def test_parts_are_kept_until_the_corpus_has_outgrown_them(tmp_path: Path):
    store = stored(tmp_path, clustered(600))
    queries = clustered(10, seed=1)
    first = make_approximate(store, queries, None, silent())
    assert make_approximate(store, queries, first, silent()).rows == first.rows == 600
    outgrown = first.model_copy(update={"rows": 200, "partitions": 14})
    assert make_approximate(store, queries, outgrown, silent()).partitions == first.partitions


def test_what_is_written_after_the_parts_were_made_is_found_too(tmp_path: Path):
    store = stored(tmp_path, clustered(600))
    found = make_approximate(store, clustered(10, seed=1), None, silent())
    late = clustered(5, seed=9)
    ids = [f"late{row}" for row in range(5)]
    store.add(rows_of(5, id=ids, text=["a latecomer"] * 5), late)
    for settled in (False, True):
        if settled:
            store.settle()
        numbers = store.numbers(ids)
        assert all(next(iter(store.nearest(late[at], 1, found))) == numbers[name] for at, name in enumerate(ids))
        assert set(store.by_words("latecomers", 9)) == set(numbers.values())


# Fusion


def asked(dense_rank: int, words_rank: int) -> Asked:
    """Return a query whose answer, document 0, stands at these places."""
    return Asked(ranked(dense_rank), ranked(words_rank), 0)


def test_the_share_of_vectors_is_the_one_that_finds_most_answers():
    by_words = choose_fusion([asked(19, 0)] * 30, by_people=True)
    assert by_words.dense < 0.5 and by_words.gain is not None and by_words.gain > 0.5
    assert (by_words.ndcg_dense, by_words.ndcg_bm25, by_words.queries) == (0, 1, 30)
    by_vectors = choose_fusion([asked(0, 19)] * 30)
    assert (by_vectors.dense, by_vectors.gain, by_vectors.ndcg_hybrid) == (1, 0, 1)


def test_queries_made_from_the_documents_give_words_no_more_than_half():
    made, by_people = (choose_fusion([asked(19, 0)] * 30, by_people=people) for people in (False, True))
    assert made.dense == 0.5 > by_people.dense and made.ndcg_bm25 == 1 and not made.by_people
    assert choose_fusion([asked(0, 19)] * 30).dense == 1


def test_the_gain_is_measured_on_queries_that_did_not_choose():
    # Half of the queries say the opposite of the other half: what one half learns does harm in the other.
    torn = [asked(0, 19) if at % 2 else asked(19, 0) for at in range(40)]
    found = choose_fusion(torn, by_people=True)
    assert found.gain is not None and found.ndcg_hybrid is not None and found.ndcg_dense is not None
    assert found.gain < found.ndcg_hybrid - found.ndcg_dense


def test_a_word_that_one_document_alone_has_is_heard():
    dense = {number: 0.9 - number / 1_000 for number in range(100)}
    assert next(iter(sorted(join(dense, {57: 8.0}, 0.5).items(), key=lambda one: -one[1])))[0] == 57
    assert join(dense, {}, 0.5) == pytest.approx(fuse([dense], [0.5]))
    # As many as were asked for: there may be others beyond, which are no better than the worst found.
    words = {number: 5.0 - number / 100 for number in range(50, 150)}
    assert join(dense, words, 0.3) == pytest.approx(fuse([dense, words], [0.3, 0.7]))


def test_a_few_queries_choose_nothing():
    assert choose_fusion([asked(19, 0)] * 19) is DEFAULT


def test_the_queries_of_dev_are_read_with_their_answers_but_not_more_than_needed(tmp_path: Path):
    assert read_dev(tmp_path).rows == []
    file = tmp_path / LAYOUT.dev
    file.parent.mkdir(parents=True)
    rows = {"query": [f"q{row}" for row in range(300)], "positive_id": [f"d{row}" for row in range(300)]}
    for people, count in ((19, 200), (30, 30)):
        writers = ["people"] * people + ["extractive"] * (300 - people)
        pq.write_table(pa.table({**rows, "writer": writers}), file)
        found = read_dev(tmp_path)
        assert len(found.rows) == count and all(query[1:] == identity[1:] for query, identity in found.rows)
        assert found == read_dev(tmp_path) and found.by_people == (people == 30)


# Filters


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("title = red", {"d0", "d2"}), ("title != red", {"d1", "d3"}), ("title in (red, 'it''s')", {"d0", "d2"}),
        ("id<d2", {"d0", "d1"}), ("id >= d2", {"d2", "d3"}), ('title = "it\'s"', {"d1"}), ("title ~ t's", {"d1"}),
        ("title = ' OR 1=1 --", set()), ("title = x' OR 'a'='a", set()), ("title = a = b", {"d3"}),
    ],
)  # fmt: skip
def test_a_filter_is_what_it_says_and_a_value_is_never_more_than_a_value(shelf: Store, text: str, found: set[str]):
    where = all_of([parse_filter(text)])
    hits = shelf.nearest(clustered(1)[0], 10, None, where)
    assert {row["id"] for row in shelf.rows(list(hits), "id")} == found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stored(tmp_path_factory.mktemp("shelf"), clustered(4), title=["red", "it's", "red", "a = b"])


@pytest.mark.parametrize(
    "text", ["colour = red", "vector = 1", "_rowid = 1", "1=1", "title;--=x", "title'=x", "(title = a) or id = b"]
)
def test_a_filter_on_anything_but_a_column_of_documents_is_refused(text: str):
    with pytest.raises(InputError) as refused:
        parse_filter(text)
    assert all(name in refused.value.message + refused.value.hint for name in COLUMNS)


@pytest.mark.parametrize("text", ["", "title", "title red", "title in red", "title in ()", "= red"])
def test_a_filter_that_cannot_be_read_is_refused_with_what_can(text: str):
    with pytest.raises(InputError, match=r"cannot be read|no list"):
        parse_filter(text)
