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
from hfembed.generate import generate, parallel
from hfembed.generate.extractive import KEYWORD_COUNTS, MAX_SENTENCE_WORDS, WRITERS, Passage, write_queries
from hfembed.generate.files import weigh_queries
from hfembed.generate.query import Query, Split
from hfembed.generate.split import split_groups
from hfembed.generate.statements import questions_of, read_statement
from hfembed.generate.vocabulary import Vocabulary
from hfembed.recipe import Generate, QueryKind
from hfembed.run import LAYOUT, Run, hash_folder
from hfembed.stage import Outcome
from hfembed.text import split_sentences, words_of

ALL = Generate().kinds


def passage(body: str, title: str = "", others: tuple[str, ...] = ("other words",), seed: int = 1) -> Passage:
    return Passage("a", title, body, Vocabulary([f"{title} {body}", *others]), seed)


def texts_of(
    kind: QueryKind, count: int, body: str, title: str = "", others: tuple[str, ...] = ("other",)
) -> list[str]:
    return [text for _, text in write_queries(passage(body, title, others), {kind: count})]


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
    vocabulary = Vocabulary([body, "other words"])

    def drawn(identity: str, seed: int, kinds: dict[QueryKind, int]) -> tuple[str, ...]:
        made = write_queries(Passage(identity, "", body, vocabulary, seed), kinds)
        return tuple(text for kind, text in made if kind is QueryKind.SENTENCE)

    sentences = {QueryKind.SENTENCE: 2}
    first = drawn("a", 1, sentences)
    drawn("b", 1, sentences)
    assert drawn("a", 1, sentences) == first == drawn("a", 1, {**ALL, QueryKind.LEAD: 0, **sentences})
    assert len({drawn(identity, 1, sentences) for identity in "abcdefgh"}) > 4
    assert len({drawn("a", seed, sentences) for seed in range(8)}) > 4


def test_several_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = as_rows(some_documents(40))
    one, _ = make(tmp_path / "one", rows)
    monkeypatch.setattr(parallel, "WORTH_PROCESSES", 10)
    monkeypatch.setattr(parallel, "CHUNK", 7)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    two, _ = make(tmp_path / "two", rows)
    assert hash_folder(one.path("triplets")) == hash_folder(two.path("triplets"))


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


# What is made


def test_a_title_shared_by_documents_makes_no_query(tmp_path: Path):
    rows = [{**row, "title": "Annual report"} for row in as_rows(some_documents(30))]
    run, outcome = make(tmp_path / "run", rows)
    assert outcome.dropped["ambiguous"] >= 30 and "title" not in outcome.counts
    assert not any(kind == "title" for found in queries_of(run).values() for kind, _ in found)


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
    assert texts_of(QueryKind.SENTENCE, 0, "One single sentence stands alone in this whole document.") == []


def test_a_document_of_one_sentence_is_not_its_own_query():
    body = "The left main pump leaks after seven hundred hours of work in salt water."
    for seed in range(20):
        ((_, text),) = write_queries(passage(body, seed=seed), {QueryKind.SENTENCE: 2})
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


def test_long_sentences_are_cut():
    body = "Short sentence stands at the start. " + "word " * 200 + "end. Another sentence stands at the end."
    for seed in range(5):
        made = write_queries(passage(body, seed=seed), {QueryKind.SENTENCE: 3, QueryKind.DEFINITION: 1})
        assert max(len(text.split()) for _, text in made) <= MAX_SENTENCE_WORDS


def test_keywords_are_words_of_the_document_that_tell_it_apart():
    texts = tuple(f"common filler words and gadget{n} with widget{n} near sprocket{n}" for n in range(10))
    keywords = texts_of(QueryKind.KEYWORD, 6, texts[3], others=texts)
    for text in keywords:
        assert set(text.split()) <= {"gadget3", "widget3", "sprocket3"}
    vocabulary = Vocabulary(texts)
    assert len(keywords) >= 2 and vocabulary.weight("common") == 0 < vocabulary.weight("gadget3")


def test_keywords_keep_the_order_of_the_text_and_come_in_several_lengths():
    text = "zebra crossing apple orchard mango grove"
    made = texts_of(QueryKind.KEYWORD, 4, text)
    assert sorted(len(query.split()) for query in made) == sorted(KEYWORD_COUNTS)
    for query in made:
        places = [text.split().index(word) for word in query.split()]
        assert places == sorted(places)


PUMP = (
    "A bilge pump (BP) is a device that moves water out of the lowest part of a hull. Corrosion causes early failure. "
    "To prime the pump by hand, open the small valve. If the float switch sticks, the pump never stops. "
    "The impeller is used to push water through the hose."
)


def test_a_sentence_that_defines_something_gives_the_term_and_what_is_said_of_it():
    statement = read_statement("A bilge pump (BP) is a device that moves water.")
    assert statement and (statement.term, statement.said) == ("bilge pump", "a device that moves water.")
    assert texts_of(QueryKind.TERM, 1, PUMP) == ["bilge pump"]
    (masked,) = texts_of(QueryKind.DEFINITION, 1, PUMP)
    assert masked.startswith("a device that moves water") and "pump" not in masked


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("A bilge pump is a device.", "What is a bilge pump?"),
        ("Bilge pumps are devices of all sizes.", "What are Bilge pumps?"),
        ("Early failure of pumps is caused by salt water.", "What causes Early failure of pumps?"),
        ("The impeller is used to push water.", "What is the impeller used for?"),
        ("To prime the pump by hand, open the valve.", "How do I prime the pump by hand?"),
        ("Here you can set the alarm level of the tank.", "How do I set the alarm level of the tank?"),
        ("If the float switch sticks, the pump never stops.", "What happens if the float switch sticks?"),
        ("Corrosion causes early failure.", "What causes early failure?"),
    ],
)
def test_a_question_is_built_around_what_a_sentence_states(sentence: str, question: str):
    assert question in questions_of(sentence)


@pytest.mark.parametrize(
    "sentence", ["It is a device.", "There are two valves.", "Conditions which are known.", "Yes."]
)
def test_a_sentence_that_names_nothing_defines_nothing(sentence: str):
    assert read_statement(sentence) is None and questions_of(sentence) == []


def test_a_paraphrase_drops_words_and_changes_their_order():
    body = " ".join(
        f"The red{n} valve{n} sends{n} hatch{n} above deck{n} near{n} pump{n} quickly{n}." for n in range(20)
    )
    made = texts_of(QueryKind.PARAPHRASE, 10, body)
    sentences = [set(words_of(sentence)) for sentence in split_sentences(body)]
    orders = 0
    for text in made:
        words = text.split()
        (own,) = (sentence for sentence in sentences if set(words) <= sentence)
        assert 2 <= len(words) <= 0.7 * len(own)
        orders += words != sorted(words, key=body.lower().index)
    assert len(made) == 10 and orders > 5


def test_phrases_are_runs_between_stop_words_and_names():
    body = "The small float switch of an AX-200 is under the engine bed. It was checked by Ada Lovelace for the yard."
    assert set(texts_of(QueryKind.PHRASE, 9, body)) == {"small float switch", "AX-200", "engine bed", "Ada Lovelace"}


def test_a_heading_is_asked_about_as_a_side_of_its_subject():
    (made,) = texts_of(QueryKind.ASPECT, 2, "The valve opens by itself after an hour.", "Bilge pump > Maintenance")
    assert made in ("Maintenance of Bilge pump", "Bilge pump Maintenance")
    (made,) = texts_of(QueryKind.ASPECT, 2, "The treatment of early corrosion is simple and quickly done.")
    assert made in ("treatment of early corrosion", "early corrosion treatment")


def test_words_that_many_documents_open_with_are_sides_of_their_subjects():
    others = tuple(f"Maintenance plans cover engine{n} and gear{n}." for n in range(5))
    others += tuple(f"Plain words about thing{n}." for n in range(20))
    made = texts_of(QueryKind.ASPECT, 2, "Maintenance plans cover the bilge pump of every hull.", others=others)
    assert any("maintenance" in text or "plans" in text for text in made)


def test_every_kind_that_the_recipe_knows_by_default_has_a_writer():
    paired = {QueryKind.SPAN, QueryKind.CLOZE}  # these are asked for by name
    assert set(WRITERS) - paired == {kind for kind, count in ALL.items() if count}
    made = {kind for kind, _ in write_queries(passage(PUMP, "Bilge pump"), ALL)}
    assert made >= set(WRITERS) - paired - {QueryKind.ASPECT}


# How much a query counts


def test_every_document_and_every_kind_it_offers_counts_alike():
    rich = [Query(f"k{n}", QueryKind.KEYWORD, (0,), Split.TRAIN) for n in range(6)]
    rich += [Query("t", QueryKind.TITLE, (0,), Split.TRAIN)]
    poor = [Query("s", QueryKind.SENTENCE, (1,), Split.TRAIN)]
    weights = weigh_queries(rich + poor, {})
    assert sum(weights) == pytest.approx(8) and sum(weights[:6]) == pytest.approx(weights[6]) == pytest.approx(2)
    assert weights[7] == pytest.approx(4)


def test_the_recipe_can_make_a_kind_count_less_or_not_at_all():
    queries = [Query("k", QueryKind.KEYWORD, (0,), Split.TRAIN), Query("t", QueryKind.TITLE, (0,), Split.TRAIN)]
    assert weigh_queries(queries, {QueryKind.KEYWORD: 3}) == pytest.approx([1.5, 0.5])
    assert weigh_queries(queries, {QueryKind.KEYWORD: 0}) == pytest.approx([0, 2])
    assert weigh_queries(queries, dict.fromkeys(QueryKind, 0.0)) == [1, 1]


@given(title=st.text(max_size=30), body=st.text(max_size=200), seed=st.integers(0, 9))
def test_any_text_can_be_written_about(title: str, body: str, seed: int):
    made = write_queries(passage(body, title, seed=seed), ALL)
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
        for _, text in (pair for pair in found if pair[0] in ("sentence", "keyword", "lead", "phrase")):
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
    assert {query["metadata"]["kind"] for query in queries.values()} <= set(map(str, WRITERS))


def test_the_pairs_hold_query_positive_group_and_kind(tmp_path: Path):
    run, outcome = make(tmp_path / "run", as_rows(some_documents(30)))
    documents = Documents.read(run.path(LAYOUT.documents))
    text_of = dict(zip(documents.ids, documents.texts(), strict=True))
    for name, split in ((LAYOUT.pairs, "train"), (LAYOUT.dev, "dev")):
        rows = pairs(run, name)
        assert len(rows) == outcome.counts[split] > 0
        for row in rows:
            assert row["writer"] == "extractive" and row["negatives"] == [] and row["weight"] > 0
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
