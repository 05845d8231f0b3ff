"""Queries of people as training pairs: learned from before anything else, never lost, never on two sides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import Listener, job_for, keep_documents, recipe_for, run_until, some_documents, write_beir, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from hfembed.errors import InputError, RecipeError
from hfembed.events import Events, Reporter, silent
from hfembed.generate import generate
from hfembed.generate.files import weigh_dev, weigh_queries
from hfembed.generate.filters import filter_queries
from hfembed.generate.people import MOST_TOGETHER, join_answers, split_documents
from hfembed.generate.query import Query, Split
from hfembed.generate.split import split_groups
from hfembed.launch.inputs import find_inputs
from hfembed.recipe import Generate, QueryKind, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Outcome, Sources, Stage, stage_inputs

DOCUMENTS = [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in some_documents(60)]


def asked(folder: Path, *pairs: tuple[str, Sequence[str]]) -> Path:
    """Write queries with the ids of the documents that answer them."""
    return write_jsonl(folder / "asked.jsonl", [{"query": query, "positive_ids": list(ids)} for query, ids in pairs])


def some_pairs(count: int) -> list[tuple[str, list[str]]]:
    return [(f"who has seen thing {number} misbehave?", [f"d{number}"]) for number in range(count)]


def make(
    folder: Path, pairs: Path, *settings: str, rows: Sequence[dict[str, str]] = DOCUMENTS, heard: Listener | None = None
) -> tuple[Run, Outcome]:
    """Generate outside the pipeline; results stand where a run keeps them."""
    run = Run(folder)
    keep_documents(run, rows)
    report = Reporter("generate", Events(listeners=[] if heard is None else [heard]))
    job = job_for(run, recipe_for("unused", f"generate.pairs={pairs}", *settings), "generate", report)
    outcome = generate(job)
    job.out.rename(run.path("triplets"))
    return run, outcome


def read(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return the labelled rows of every split, a test query with its answers as one row each."""
    tables = {"train": LAYOUT.pairs, "dev": LAYOUT.dev}
    found = {split: pq.read_table(run.path(file)).to_pylist() for split, file in tables.items()}
    folder = run.path(LAYOUT.test)
    queries = {row["_id"]: row for row in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    answers = [line.split("\t") for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    found["test"] = [
        {"query": queries[name]["text"], "positive_id": document, "kind": queries[name]["metadata"]["kind"]}
        for name, document, _ in answers
    ]
    return {split: [row for row in rows if row["kind"] == "labelled"] for split, rows in found.items()}


# Which split


def test_what_people_asked_is_learned_from_and_tested_on_other_documents(tmp_path: Path):
    run, outcome = make(tmp_path / "run", asked(tmp_path, *some_pairs(20)))
    found = read(run)
    assert not found["test"] and len(found["train"]) + len(found["dev"]) == 20 == outcome.counts["labelled"]
    assert outcome.facts["labelled"] == {"train": len(found["train"]), "dev": len(found["dev"]), "test": 0}
    assert {(row["query"], row["positive_id"]) for row in found["train"] + found["dev"]} == {
        (query, ids[0]) for query, ids in some_pairs(20)
    }
    assert {row["writer"] for row in found["train"]} == {"people"} and found["dev"]


def test_pairs_for_every_document_are_tested_on_too(tmp_path: Path):
    run, outcome = make(tmp_path / "run", asked(tmp_path, *some_pairs(60)))
    assert {split: len(rows) for split, rows in read(run).items()} == outcome.facts["labelled"]
    assert outcome.facts["labelled"] == {"train": 39, "dev": 9, "test": 12}


def test_the_documents_of_one_query_stand_in_one_split(tmp_path: Path):
    rows = [{"id": f"d{n}", "text": f"text number{n}"} for n in range(300)]
    pairs = asked(tmp_path, *((f"what of {n}?", [f"d{n}", f"d{n + 150}", f"d{n + 1}"]) for n in range(0, 150, 2)))
    documents = keep_documents(Run(tmp_path / "run"), rows)
    job = job_for(Run(tmp_path / "run"), recipe_for("unused", f"generate.pairs={pairs}"), "generate")
    splits, queries = split_documents(job, documents)
    assert {len(query.rows) for query in queries} == {3} and len(queries) == 75
    assert all(splits[row] is query.split for query in queries for row in query.rows)
    assert set(splits) == set(Split)


def test_labels_that_connect_all_documents_still_leave_a_split(tmp_path: Path):
    chain = asked(tmp_path, *((f"what of {n}?", [f"d{n}", f"d{(n + 1) % 60}"]) for n in range(60)))
    run, outcome = make(tmp_path / "run", chain)
    found = read(run)
    splits = {split: {row["positive_id"] for row in rows} for split, rows in found.items()}
    assert all(splits.values()) and not splits["train"] & splits["dev"] and not splits["train"] & splits["test"]
    queries = [{row["query"] for row in rows} for rows in found.values()]
    assert sum(map(len, queries)) == len(set.union(*queries)) == 60 == outcome.counts["labelled"]


@given(
    groups=st.lists(st.integers(0, 200), min_size=1, max_size=250),
    answers=st.lists(st.lists(st.integers(0, 249), min_size=1, max_size=4), max_size=60),
)
def test_joined_groups_are_unions_of_groups_and_never_large(groups: list[int], answers: list[list[int]]):
    names = [f"g{group:03}" for group in groups]
    joined = join_answers(names, [[row % len(names) for row in rows] for rows in answers])
    assert len({(name, group) for name, group in zip(names, joined, strict=True)}) == len(set(names))
    most = max(2, int(len(names) * MOST_TOGETHER), max(Counter(names).values()))
    assert max(Counter(joined).values()) <= most


def test_without_pairs_the_split_is_what_it_was():
    names = [f"d{number}" for number in range(100)]
    splits = split_groups(names, Generate(), 42)
    assert Counter(splits) == {Split.TRAIN: 65, Split.DEV: 15, Split.TEST: 20}
    labelled = set(names[:40])
    moved = dict(zip(names, split_groups(names, Generate(), 42, labelled), strict=True))
    assert Counter(moved.values()) == Counter(splits)
    assert not any(moved[name] is Split.TEST for name in labelled)


def test_train_and_dev_have_their_share_of_what_people_asked():
    names = [f"d{number}" for number in range(2_000)]
    labelled = set(names[::4])
    splits = dict(zip(names, split_groups(names, Generate(), 42, labelled), strict=True))
    dev = sum(splits[name] is Split.DEV for name in labelled) / len(labelled)
    assert dev == pytest.approx(0.15 / 0.8, abs=0.05)


# What is kept


def test_no_query_of_people_is_dropped_by_a_limit_or_a_filter(tmp_path: Path):
    limits = ("generate.max_train_queries=10", "generate.max_dev_queries=10", "generate.filters.max_words=3")
    run, outcome = make(tmp_path / "run", asked(tmp_path, *some_pairs(40)), *limits)
    found = read(run)
    assert len(found["train"]) + len(found["dev"]) == 40 and outcome.counts["train"] == len(found["train"]) > 10
    assert outcome.counts["dev"] == 10 and outcome.dropped["over_train_limit"] > 0


def test_the_same_query_is_one_however_it_is_written_and_however_often(tmp_path: Path):
    pairs = [("Which pump leaks?", ["d0"]), ("which  PUMP leaks?", ["d0"]), ("Which pump leaks?", ["d10"])]
    run, outcome = make(tmp_path / "run", asked(tmp_path, *pairs, *some_pairs(9)))
    rows = [row for rows in read(run).values() for row in rows if "leaks" in row["query"]]
    assert outcome.counts["labelled"] == 10
    assert {(row["query"], row["positive_id"]) for row in rows} == {
        ("Which pump leaks?", "d0"), ("Which pump leaks?", "d10"),
    }  # fmt: skip


def test_what_a_person_asked_is_not_made_again(tmp_path: Path):
    documents = keep_documents(Run(tmp_path / "run"), DOCUMENTS)
    job = job_for(Run(tmp_path / "run"), recipe_for("unused"), "generate", silent())
    title = DOCUMENTS[3]["title"]
    made = [Query(title, QueryKind.TITLE, (3,), Split.TRAIN), Query("another", QueryKind.TITLE, (4,), Split.TRAIN)]
    people = [Query(f"{title.upper()}?", QueryKind.LABELLED, (5,), Split.TRAIN)]
    kept, dropped = filter_queries(job, made, documents, people)
    assert [query.text for query in kept] == ["another"] and dropped == {"asked_by_people": 1}


def test_answers_that_are_no_documents_are_told(tmp_path: Path):
    heard = Listener()
    make(tmp_path / "run", asked(tmp_path, *some_pairs(9), ("where?", ["gone"])), heard=heard)
    assert any("1 answers in 'asked.jsonl' are no documents" in sentence for sentence in heard.messages("warning"))


# How much they count


def test_what_people_asked_counts_as_a_kind_of_each_document_that_answers_it():
    made = [Query(f"k{n}", QueryKind.KEYWORD, (0,), Split.TRAIN) for n in range(3)]
    made += [Query("t", QueryKind.TITLE, (0,), Split.TRAIN), Query("s", QueryKind.LEAD, (1,), Split.TRAIN)]
    people = [
        Query("one", QueryKind.LABELLED, (0,), Split.TRAIN),
        Query("two", QueryKind.LABELLED, (0, 1), Split.TRAIN),
    ]
    found = weigh_queries(made + people, {QueryKind.LABELLED: 4})
    weights = {query.text: weight for query, weight in zip(made + people, found, strict=True)}
    assert sum(weights.values()) == pytest.approx(7)
    title, lead = 1 / (1 + 1 + 4), 1 / (1 + 4)
    assert weights["t"] / weights["s"] == pytest.approx(title / lead) and weights["k0"] * 3 == pytest.approx(
        weights["t"]
    )
    assert weights["one"] == pytest.approx(2 * weights["t"])
    assert weights["two"] / weights["t"] == pytest.approx((4 / 6 / 2 + 4 / 5) / 2 * 6)


def test_the_recipe_lets_people_count_most():
    wanted = Generate().weights
    queries = [Query("t", QueryKind.TITLE, (0,), Split.TRAIN), Query("p", QueryKind.LABELLED, (0,), Split.TRAIN)]
    made, asked_by_people = weigh_queries(queries, wanted)
    assert asked_by_people == pytest.approx(wanted[QueryKind.LABELLED] * made) and asked_by_people > made


def test_dev_counts_alike_but_for_what_people_asked():
    made = [Query(f"k{n}", QueryKind.KEYWORD, (n,), Split.DEV) for n in range(4)]
    people = [Query("p", QueryKind.LABELLED, (0,), Split.DEV)]
    assert weigh_dev(made, {}) == [1, 1, 1, 1]
    weights = weigh_dev(made + people, {QueryKind.LABELLED: 3})
    assert weights[:4] == [1, 1, 1, 1] and weights[4] == pytest.approx(5 / 4 * 3 / 4)


# Through the pipeline


def test_changed_pairs_redo_generate(tmp_path: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(40))
    given = f"generate.pairs={asked(tmp_path, *some_pairs(9))}"
    run, _ = run_until(tmp_path / "run", corpus, "generate", given)
    assert run_until(tmp_path / "run", corpus, "generate", given)[1] == []
    asked(tmp_path, *some_pairs(12))
    assert run_until(tmp_path / "run", corpus, "generate", given)[1] == ["generate"]
    assert run.manifests("triplets")["generate"].counts["labelled"] == 12


def test_pairs_travel_with_a_run_that_is_sent_elsewhere(tmp_path: Path):
    pairs = asked(tmp_path, *some_pairs(3))
    (sent,) = (entry for entry in find_inputs(recipe_for("unused", f"generate.pairs={pairs}")) if "pairs" in entry.key)
    assert sent.key == "generate.pairs" and sent.files == (("asked.jsonl", pairs),)


def test_pairs_are_the_same_wherever_they_stand(tmp_path: Path):
    stage = Stage("generate", "triplets", owner=True, needs=())
    hashes = []
    for place, count in (("a", 9), ("b", 9), ("c", 8)):
        recipe = recipe_for("unused", f"generate.pairs={asked(tmp_path / place, *some_pairs(count))}")
        hashes.append(stage_inputs(stage, recipe, {}, Sources(recipe)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_pairs_that_are_not_there_are_refused_before_any_work(tmp_path: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(40))
    with pytest.raises(InputError, match=r"generate\.pairs is"):
        run_until(tmp_path / "run", corpus, "generate", "generate.pairs=/nowhere/asked.jsonl")
    assert not Run(tmp_path / "run").path(LAYOUT.documents).exists()


def test_nobody_can_be_told_to_write_what_people_ask():
    with pytest.raises(RecipeError, match="nobody writes these") as caught:
        make_recipe(settings=["generate.kinds.labelled=2"])
    assert "--pairs" in caught.value.hint
