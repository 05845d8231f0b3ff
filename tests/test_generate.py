"""generate: the same queries every time, each about one document, no document on two sides."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import Listener, job_for, keep_documents, recipe_for, run_until, some_documents, write_beir
from hypothesis import given
from hypothesis import strategies as st

from hfembed.corpus import Documents
from hfembed.errors import StageError
from hfembed.events import Events, Reporter
from hfembed.generate import generate
from hfembed.generate.extractive import (
    MAX_SENTENCE_WORDS,
    DocumentFrequencies,
    split_sentences,
    words_of,
    write_queries,
)
from hfembed.generate.stage import Query, Split, drop_ambiguous, split_groups
from hfembed.recipe import Generate, QueryKind
from hfembed.run import LAYOUT, Run, hash_folder
from hfembed.stage import Outcome

ALL = {QueryKind.TITLE: 1, QueryKind.SENTENCE: 2, QueryKind.KEYWORD: 3}


def make(
    folder: Path, rows: list[dict[str, str]], *settings: str, listener: Listener | None = None
) -> tuple[Run, Outcome]:
    """Generate for documents, outside the pipeline; results stand where a run keeps them."""
    run = Run(folder)
    keep_documents(run, rows)
    report = Reporter("generate", Events(listeners=[] if listener is None else [listener]))
    job = job_for(run, recipe_for("unused", *settings), "generate", report)
    outcome = generate(job)
    job.out.rename(run.path("triplets"))
    return run, outcome


def as_rows(documents: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"id": d["_id"], "title": d["title"], "text": d["text"]} for d in documents]


def pairs(run: Run, name: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(run.path(name)).to_pylist()
    return rows


def read_test(run: Run) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, str]]]:
    folder = run.path(LAYOUT.test)

    def lines(name: str) -> dict[str, Any]:
        return {row["_id"]: row for row in map(json.loads, (folder / name).read_text(encoding="utf-8").splitlines())}

    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as handle:
        qrels = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    return lines("corpus.jsonl"), lines("queries.jsonl"), qrels


def queries_of(run: Run) -> dict[str, set[tuple[str, str]]]:
    """Return the (kind, query) pairs of every document, whatever their split."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name in (LAYOUT.pairs, LAYOUT.dev):
        for row in pairs(run, name):
            found.setdefault(row["positive_id"], set()).add((row["kind"], row["query"]))
    _, queries, qrels = read_test(run)
    for row in qrels:
        query = queries[row["query-id"]]
        found.setdefault(row["corpus-id"], set()).add((query["metadata"]["kind"], query["text"]))
    return found


# Determinism


def test_one_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(40))
    hashes = [
        hash_folder(run_until(tmp_path / str(number), corpus, "generate", f"seed={seed}")[0].path("triplets"))
        for number, seed in enumerate((7, 7, 8))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_order_of_sets_in_another_process_changes_nothing(tmp_path: Path):
    write_beir(tmp_path / "beir", some_documents(30))
    code = (
        "import sys; from pathlib import Path; from hfembed import pipeline; from hfembed.recipe import make_recipe;"
        "from hfembed.run import Run, hash_folder; run = Run(Path(sys.argv[1]));"
        "pipeline.run(make_recipe(options={'corpus': 'beir'}), run, until='generate');"
        "print(hash_folder(run.path('triplets')))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, f"run{seed}"],
            cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(hashes) == 1 and len(hashes.pop()) == 65


def test_the_queries_of_a_document_do_not_depend_on_the_order_of_documents(tmp_path: Path):
    rows = as_rows(some_documents(40))
    shuffled = random.Random(1).sample(rows, len(rows))
    first, _ = make(tmp_path / "one", rows)
    second, _ = make(tmp_path / "two", shuffled)
    assert queries_of(first) == queries_of(second)
    for name in (LAYOUT.pairs, LAYOUT.dev):
        assert {row["positive_id"] for row in pairs(first, name)} == {row["positive_id"] for row in pairs(second, name)}


def test_a_document_draws_by_itself_whatever_else_is_drawn():
    body = " ".join(f"Sentence number {n} talks about device{n} here." for n in range(20))
    frequencies = DocumentFrequencies([body, "other words"])
    first = write_queries("a", "", body, {QueryKind.SENTENCE: 2}, frequencies, 1)
    write_queries("b", "", body, {QueryKind.SENTENCE: 2}, frequencies, 1)
    assert write_queries("a", "", body, {QueryKind.SENTENCE: 2}, frequencies, 1) == first
    drawn = {tuple(write_queries(i, "", body, {QueryKind.SENTENCE: 2}, frequencies, 1)) for i in "abcdefgh"}
    assert len(drawn) > 4
    assert len({tuple(write_queries("a", "", body, {QueryKind.SENTENCE: 2}, frequencies, s)) for s in range(8)}) > 4


# Splits


@given(
    groups=st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60),
    seed=st.integers(0, 99),
    dev=st.floats(0.01, 0.49),
    test=st.floats(0.01, 0.49),
)
def test_a_group_never_crosses_splits_and_the_shares_are_kept(groups: list[str], seed: int, dev: float, test: float):
    splits = split_groups(groups, Generate(dev_share=dev, test_share=test), seed)
    where: dict[str, set[Split]] = {}
    for group, split in zip(groups, splits, strict=True):
        where.setdefault(group, set()).add(split)
    assert all(len(found) == 1 for found in where.values())
    count = Counter(next(iter(found)) for found in where.values())
    assert abs(count[Split.TEST] - test * len(where)) <= 0.5 and abs(count[Split.DEV] - dev * len(where)) <= 0.5


def test_near_duplicates_stay_together_through_the_stage(tmp_path: Path):
    rows = [{**row, "group": f"g{number // 3}"} for number, row in enumerate(as_rows(some_documents(60)))]
    run, _ = make(tmp_path / "run", rows)
    group_of = {row["id"]: row["group"] for row in rows}
    sides = [{row["group"] for row in pairs(run, name)} for name in (LAYOUT.pairs, LAYOUT.dev)]
    sides.append({group_of[row["corpus-id"]] for row in read_test(run)[2]})
    assert all(sides) and not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert len(set.union(*sides)) == 20


def test_splits_follow_the_seed():
    groups = [str(n) for n in range(50)]
    assert split_groups(groups, Generate(), 1) != split_groups(groups, Generate(), 2)


# Filters


def query(text: str, row: int, split: Split = Split.TRAIN) -> Query:
    return Query(text, QueryKind.KEYWORD, row, split)


def test_a_text_that_names_several_documents_is_dropped_everywhere():
    kept, dropped = drop_ambiguous([query("Red Pump", 0), query("red pump!", 1, Split.TEST), query("blue pump", 1)])
    assert [q.text for q in kept] == ["blue pump"] and dropped == {"ambiguous": 2}


def test_a_query_repeated_for_its_own_document_is_kept_once():
    kept, dropped = drop_ambiguous([query("red pump", 0), query("Red, pump", 0), query("RED PUMP", 0)])
    assert [q.text for q in kept] == ["red pump"] and dropped == {"repeated": 2}


def test_a_query_without_words_is_dropped():
    kept, dropped = drop_ambiguous([query("?!", 0), query("", 1), query("_", 2)])
    assert kept == [] and dropped == {"empty": 3}


@given(st.lists(st.tuples(st.sampled_from(["a b", "A  b", "c", "", "d e", "D"]), st.integers(0, 3)), max_size=12))
def test_what_is_kept_names_one_document_and_nothing_vanishes_uncounted(made: list[tuple[str, int]]):
    kept, dropped = drop_ambiguous([query(text, row) for text, row in made])
    assert len(kept) + sum(dropped.values()) == len(made)
    texts = [" ".join(words_of(q.text)) for q in kept]
    assert len(texts) == len(set(texts)) and all(texts)


def test_a_title_shared_by_documents_makes_no_query(tmp_path: Path):
    rows = [{**row, "title": "Annual report"} for row in as_rows(some_documents(30))]
    run, outcome = make(tmp_path / "run", rows)
    assert outcome.dropped["ambiguous"] >= 30 and "title" not in outcome.counts
    assert not any(kind == "title" for found in queries_of(run).values() for kind, _ in found)


# What is made


def test_every_kind_is_made_as_often_as_asked(tmp_path: Path):
    run, outcome = make(
        tmp_path / "run", as_rows(some_documents(20)),
        "generate.kinds.title=1", "generate.kinds.sentence=3", "generate.kinds.keyword=2",
    )  # fmt: skip
    for found in queries_of(run).values():
        kinds = Counter(kind for kind, _ in found)
        assert kinds["title"] <= 1 and kinds["sentence"] <= 3 and kinds["keyword"] <= 2
    assert outcome.counts["title"] == 20 and outcome.counts["keyword"] == 40


def test_a_kind_asked_for_no_times_is_not_made(tmp_path: Path):
    _, outcome = make(
        tmp_path / "run", as_rows(some_documents(40)), "generate.kinds.keyword=0", "generate.kinds.title=0"
    )
    assert "sentence" in outcome.counts and not {"title", "keyword"} & set(outcome.counts)


def test_sentences_asked_for_no_times_are_not_made_of_single_sentences_either():
    body = "One single sentence stands alone in this whole document."
    assert write_queries("a", "", body, {QueryKind.SENTENCE: 0}, DocumentFrequencies([body]), 1) == []


def test_a_document_of_one_sentence_is_not_its_own_query():
    body = "The left main pump leaks after seven hundred hours of work in salt water."
    for seed in range(20):
        ((_, text),) = write_queries("a", "", body, {QueryKind.SENTENCE: 2}, DocumentFrequencies([body]), seed)
        assert text in body and 4 <= len(text.split()) < len(body.split())


def test_a_corpus_of_single_sentences_can_be_learned_from(tmp_path: Path):
    rows = [
        {"id": f"d{n}", "text": f"Engine number{n} needs oil grade{n * 3} before its next long flight over water."}
        for n in range(40)
    ]
    run, outcome = make(tmp_path / "run", rows)
    assert outcome.counts["sentence"] >= 15
    texts = {row["id"]: row["text"] for row in rows}
    for identity, found in queries_of(run).items():
        assert all(text != texts[identity] for _, text in found)


def test_long_sentences_are_cut(tmp_path: Path):
    body = "Short sentence stands at the start. " + "word " * 200 + "end. Another sentence stands at the end."
    for seed in range(5):
        made = write_queries("a", "", body, {QueryKind.SENTENCE: 3}, DocumentFrequencies([body]), seed)
        assert max(len(text.split()) for _, text in made) <= MAX_SENTENCE_WORDS


def test_keywords_are_words_of_the_document_that_tell_it_apart():
    texts = [f"common filler words and gadget{n} with widget{n} near sprocket{n}" for n in range(10)]
    frequencies = DocumentFrequencies(texts)
    made = write_queries("a", "", texts[3], {QueryKind.KEYWORD: 6}, frequencies, 1)
    keywords = [text for kind, text in made if kind is QueryKind.KEYWORD]
    for text in keywords:
        assert set(text.split()) <= {"gadget3", "widget3", "sprocket3"}
    assert len(keywords) >= 2 and frequencies.weight("common") == 0 < frequencies.weight("gadget3")


def test_keywords_keep_the_order_of_the_text():
    text = "zebra crossing apple orchard mango grove"
    made = write_queries("a", "", text, {QueryKind.KEYWORD: 3}, DocumentFrequencies([text, "other"]), 1)
    for query_text in (text for kind, text in made if kind is QueryKind.KEYWORD):
        places = [text.split().index(word) for word in query_text.split()]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three where? Four.", ["One here.", "Two there!", "Three where?", "Four."]),
        ("Version 2.5 costs 3.7 units. It works.", ["Version 2.5 costs 3.7 units.", "It works."]),
        ("A paragraph\nwith a break\n\nand another one", ["A paragraph with a break", "and another one"]),
        ('He said "Stop." Then he left.', ['He said "Stop.', "Then he left."]),
        ("Öl läuft aus. Über Nacht steht es. Потом стоит.", ["Öl läuft aus.", "Über Nacht steht es.", "Потом стоит."]),
        ("", []),
        ("  \n\n ", []),
    ],
)  # fmt: skip
def test_text_is_split_at_sentence_ends_and_blank_lines(text: str, sentences: list[str]):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "Είναι έτοιμο. Έτσι είναι.",
        "To jest pompa. Łatwo przecieka.",
        "Pumpa curi. Šef je ljut.",
        "泵漏油。机械师更换零件。",
    ],
)
def test_sentences_of_other_languages_are_split_too(text: str):
    assert len(split_sentences(text)) == 2


@given(st.text(max_size=300))
def test_splitting_loses_no_word(text: str):
    words = [word for sentence in split_sentences(text) for word in words_of(sentence)]
    assert words == words_of(text)


@given(title=st.text(max_size=30), body=st.text(max_size=200), seed=st.integers(0, 9))
def test_any_text_can_be_written_about(title: str, body: str, seed: int):
    made = write_queries("a", title, body, ALL, DocumentFrequencies([f"{title} {body}", "other"]), seed)
    assert all(isinstance(text, str) for _, text in made)
    assert Counter(kind for kind, _ in made)[QueryKind.SENTENCE] <= 2


LANGUAGES = {
    "german": "Die Pumpe Nummer{n} verliert Öl über der Straße{n}. Der Mechaniker prüft täglich das Gehäuse{n} sorgfältig.",
    "russian": "Насос номер{n} протекает каждый раз после полёта{n}. Механик меняет прокладку{n} перед следующим рейсом.",
    "greek": "Η αντλία αριθμός{n} έχει διαρροή μετά την πτήση{n}. Ο μηχανικός αλλάζει το εξάρτημα{n} κάθε μήνα.",
    "arabic": "المضخة رقم{n} تسرب الزيت بعد كل رحلة طويلة{n}. يقوم الفني بتغيير القطعة{n} قبل الرحلة التالية.",
    "hindi": "पंप संख्या{n} से हर उड़ान के बाद तेल रिसता है भाग{n}। मैकेनिक अगली उड़ान से पहले पुर्जा{n} बदलता है।",
    "chinese": "{n}号泵在飞行后漏油。 机械师在下一次飞行前更换零件{n}。 标签{n}在设备上。",
    "japanese": "ポンプ{n}号は飛行後に油が漏れます。 整備士は次の飛行前に部品{n}を交換します。 ラベル{n}があります。",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_languages_get_queries_too(tmp_path: Path, language: str):
    rows = [{"id": f"d{n}", "text": LANGUAGES[language].format(n=n + 100)} for n in range(40)]
    run, outcome = make(tmp_path / "run", rows)
    assert outcome.counts["train"] >= 20 and len(queries_of(run)) >= 30
    for identity, found in queries_of(run).items():
        document = next(row["text"] for row in rows if row["id"] == identity)
        for _, text in found:
            assert all(word in document.lower() for word in text.lower().split())


# Files


def test_the_test_set_is_a_beir_folder_that_others_can_read(tmp_path: Path):
    rows = as_rows(some_documents(30))
    run, outcome = make(tmp_path / "run", rows)
    corpus, queries, qrels = read_test(run)
    assert {i: (d["title"], d["text"]) for i, d in corpus.items()} == {r["id"]: (r["title"], r["text"]) for r in rows}
    assert len(queries) == len(qrels) == outcome.counts["test"]
    assert {row["query-id"] for row in qrels} == set(queries)
    assert all(row["corpus-id"] in corpus and row["score"] == "1" for row in qrels)
    assert {query["metadata"]["kind"] for query in queries.values()} <= {"title", "sentence", "keyword"}


def test_the_pairs_hold_query_positive_group_and_kind(tmp_path: Path):
    run, outcome = make(tmp_path / "run", as_rows(some_documents(30)))
    documents = Documents.read(run.path(LAYOUT.documents))
    text_of = dict(zip(documents.ids, documents.texts(), strict=True))
    for name, split in ((LAYOUT.pairs, "train"), (LAYOUT.dev, "dev")):
        rows = pairs(run, name)
        assert len(rows) == outcome.counts[split] > 0
        for row in rows:
            assert list(row) == ["query_id", "query", "positive", "positive_id", "group", "kind"]
            assert row["positive"] == text_of[row["positive_id"]] and row["query_id"].startswith(row["kind"])
        assert len({row["query_id"] for row in rows}) == len(rows)


def test_test_queries_beyond_the_limit_are_drawn_and_counted(tmp_path: Path):
    run, outcome = make(tmp_path / "run", as_rows(some_documents(60)), "generate.max_test_queries=10")
    assert outcome.counts["test"] == len(read_test(run)[1]) == 10 and outcome.dropped["over_test_limit"] > 10


def test_only_so_many_documents_get_queries(tmp_path: Path):
    run, _ = make(tmp_path / "run", as_rows(some_documents(60)), "generate.max_documents=40")
    assert len(queries_of(run)) == 40
    assert len(read_test(run)[0]) == 60  # all documents are searched


def test_too_few_queries_are_refused_with_what_to_change(tmp_path: Path):
    rows = [{"id": f"d{n}", "text": "same words everywhere"} for n in range(30)]
    with pytest.raises(StageError, match="Only 0 train queries could be made") as caught:
        make(tmp_path / "run", rows)
    assert "--set generate.kinds.keyword" in caught.value.hint


def test_few_test_queries_are_warned_about(tmp_path: Path):
    heard = Listener()
    make(tmp_path / "small", as_rows(some_documents(20)), listener=heard)
    assert any("test queries" in message for message in heard.messages("warning"))
    heard.clear()
    make(tmp_path / "large", as_rows(some_documents(100)), listener=heard)
    assert heard.messages("warning") == []
