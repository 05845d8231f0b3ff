"""Compare: what a visitor may search and with what, and that what is shown is what was found and never markup."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import keep_documents, recipe_for, some_documents, write_jsonl

from hfembed.compare import Hit, Library, Ranking
from hfembed.compare.queries import Queries, Query
from hfembed.errors import CorpusError, HfembedError, InputError, ModelError
from hfembed.launch.record import Attempt, Expected, Launch, LauncherName, Outcome, this_machine, write_link
from hfembed.launch.workload import Size, Weights, Workload
from hfembed.run import LAYOUT, MANIFEST, Manifest, Run
from space import compare_answers, compare_blind, search, search_names
from space.compare_answers import SIDE, Link
from space.compare_work import Work
from space.queries import example_queries, next_query
from space.runs import RUN, VisitorRun, new_folder
from space.view_compare import comparison_html
from space.view_compare_batch import batch_html
from space.view_compare_blind import ballot_html, tally_html
from space.view_compare_map import map_html
from space.visitors import Visitor, new_token, visitor_of

QUERY = "turbine of unit 8"
LOAD = Workload(Size(12, 200, 50, 1.0), Weights(10_000, 10_000, 2, 32), None, 0)


@pytest.fixture(autouse=True)
def own_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path) -> None:
    """Every test has a Space and models in memory of its own."""
    library = Library()
    monkeypatch.setattr(search, "library", lambda: library)
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "space"))
    monkeypatch.setenv("HFEMBED_SPACE_BASES", str(tiny_model))


@pytest.fixture
def token() -> str:
    return new_token()


@pytest.fixture
def visitor(token: str) -> Visitor:
    return visitor_of(token, None)


@pytest.fixture
def finished(tiny_model: Path) -> Callable[[Visitor], VisitorRun]:
    """Make a visitor's finished run, as far as comparing needs it."""
    return lambda visitor: finished_run(visitor, tiny_model)


def finished_run(visitor: Visitor, model: Path) -> VisitorRun:
    folder = new_folder(visitor)
    run = Run(folder / RUN)
    documents = some_documents(12)
    keep_documents(run, [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in documents])
    run.write_recipe(recipe_for("sample", base=model))
    shutil.copytree(model, run.path(LAYOUT.model))
    done = Manifest(stage="train", inputs="", output="", hfembed="", seconds=1, peak_mb=1, finished="")
    (run.path(LAYOUT.model) / MANIFEST).write_text(json.dumps({"stages": {"train": done.model_dump()}}))
    test = run.path(LAYOUT.test)
    write_jsonl(test / "corpus.jsonl", documents)
    queries = [{"_id": f"q{at}", "text": documents[at]["title"], "metadata": {"kind": "title"}} for at in range(6)]
    write_jsonl(test / "queries.jsonl", queries)
    (test / "qrels").mkdir()
    rows = "".join(f"q{at}\td{at}\t1\n" for at in range(6))
    (test / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    attempt = Attempt(
        number=1, launcher=LauncherName.LOCAL, flavor="", job=str(2**22 + os.getpid()), owner=this_machine(),
        seconds=None, submitted="2026-11-21T10:00:00+00:00", hfembed="",
        expected=Expected(seconds=1, low=1, high=1, memory=1, stages={}),
    )  # fmt: skip
    launch = Launch(
        id=folder.name, name="devices instant", repo=None, recipe_hash="", until="train", rerun=None, publishes={},
        inputs=[], load=LOAD, extras=[], attempts=[attempt],
    )  # fmt: skip
    write_link(run, launch)
    outcome = Outcome(
        attempt=1, error=None, seconds=1, stages={}, verdict=None, published=[], machine="", finished=""
    )  # fmt: skip
    run.path(LAYOUT.outcome).write_text(outcome.to_text())
    return VisitorRun(launch, folder)


# What may be named


def test_without_a_run_the_sample_is_searched_with_the_base_and_bm25(visitor: Visitor):
    found = search.compare(visitor, ["base", "bm25", "hybrid"], "sample", "battery low", 5)
    assert [ranking.model.partition(":")[0] for ranking in found.rankings] == ["base", "BM25", "hybrid"]
    assert all(len(ranking.hits) == 5 for ranking in found.rankings)
    assert [choice.key for choice in search_names.corpus_choices(visitor)] == ["sample"]
    assert [choice.key for choice in search_names.model_choices(visitor, "sample")] == ["base", "bm25", "hybrid"]


def test_a_run_is_searched_with_its_base_its_tuned_model_and_those_of_other_runs(
    visitor: Visitor, finished: Callable[[Visitor], VisitorRun]
):
    older, newer = finished(visitor), finished(visitor)
    assert [choice.key for choice in search_names.corpus_choices(visitor)] == [
        f"run:{newer.id}",
        f"run:{older.id}",
        "sample",
    ]
    keys = [choice.key for choice in search_names.model_choices(visitor, f"run:{older.id}")]
    assert keys == ["base", "tuned", f"tuned:{newer.id}", "bm25", "hybrid"]
    found = search.compare(visitor, ["base", f"tuned:{newer.id}", "tuned"], f"run:{older.id}", QUERY, 3)
    assert [len(ranking.hits) for ranking in found.rankings] == [3, 3, 3]
    assert found.rankings[1].model == "tuned: devices instant, 2026-11-21"


def test_nobody_searches_the_run_of_another(
    visitor: Visitor, tmp_path: Path, finished: Callable[[Visitor], VisitorRun]
):
    own, stranger = finished(visitor), visitor_of(new_token(), None)
    for models, corpus in ((["bm25"], f"run:{own.id}"), ([f"tuned:{own.id}"], "sample")):
        with pytest.raises(InputError, match="no such run of yours"):
            search.compare(stranger, models, corpus, QUERY)
    with pytest.raises(ModelError, match="None of your runs"):
        search.compare(stranger, ["tuned"], "sample", QUERY)


@pytest.mark.parametrize(
    "name",
    ["/etc", "../secrets", "~", ".", "hfembed/sample", "file:///etc/passwd", "run:../..", "", "org/../x", "base:x"],
)
def test_a_path_of_the_machine_names_no_corpus_and_no_model(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, name: str
):
    from hfembed.resources import PACKAGE

    monkeypatch.chdir(PACKAGE.parent)  # where hfembed/sample is a folder
    with pytest.raises(HfembedError):
        search.compare(visitor, ["bm25"], name, QUERY)
    with pytest.raises(ModelError):
        search.compare(visitor, [name], "sample", QUERY)


def test_a_model_of_the_hub_that_is_not_there_is_named_in_the_words_of_the_command_line(visitor: Visitor):
    with pytest.raises(ModelError, match="no/such-model"):
        search.compare(visitor, ["no/such-model"], "sample", QUERY)


def test_a_corpus_of_the_hub_that_cannot_be_read_is_named(visitor: Visitor):
    with pytest.raises(HfembedError, match="no/such-data"):
        search.compare(visitor, ["bm25"], "no/such-data", QUERY)
    with pytest.raises(CorpusError, match="is not a Hub dataset id"):
        search.compare(visitor, ["bm25"], "no such data", QUERY)


@pytest.mark.parametrize(("models", "words"), [([], "No model is chosen"), (["bm25"] * 5, "5 models are more than 4")])
def test_none_and_too_many_models_are_refused(visitor: Visitor, models: list[str], words: str):
    with pytest.raises(InputError, match=words):
        search.compare(visitor, models, "sample", QUERY)


def test_a_very_large_model_is_refused_before_it_is_downloaded(visitor: Visitor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search_names, "_parameters", lambda *_: 7_000_000_000)
    with pytest.raises(ModelError, match="7,000 million parameters"):
        search.compare(visitor, ["org/giant"], "sample", QUERY)


def test_an_empty_query_is_refused(visitor: Visitor):
    with pytest.raises(InputError, match="query is empty"):
        search.compare(visitor, ["bm25"], "sample", "  ")


# What is shown


def test_known_answers_are_marked_and_said_where_they_are_not_shown(
    visitor: Visitor, finished: Callable[[Visitor], VisitorRun]
):
    one = finished(visitor)
    found = search.compare(visitor, ["bm25", "base"], f"run:{one.id}", "Pump of unit 0", 3)
    assert found.answers == ("d0",) and found.places[0] == {"d0": 1}
    html = comparison_html(found)
    assert 'aria-label="known answer"' in html and "hf-answers" in html
    hidden = search.Comparison("q", "c", found.rankings, ("d11",), ({"d11": 37}, {}))
    assert "Known answer: at 37." in comparison_html(hidden) and "Known answer: not near the top." in comparison_html(
        hidden
    )


def test_rankings_show_moves_lines_and_marks_and_escape_what_they_quote():
    base = Ranking("base", 1.0, [Hit(1, "a", "A", "x", 0.9, None), Hit(2, "b", "B", "pumps leak", 0.8, None)])
    hits = [Hit(1, "b", "B", "<b>pump</b> & co", 0.9, 1), Hit(2, '"><i>', "<script>", "z", -0.1, None)]
    shown = search.Comparison("<i>pump</i>", "<u>c", (base, Ranking("<s>tuned", 1.0, hits)), (), ({}, {}))
    html = comparison_html(shown)
    assert "up 1 place" in html and "was not near the top of the first model" in html
    assert "&lt;b&gt;<mark>pump</mark>&lt;/b&gt; &amp; co" in html and "<mark>pumps</mark>" in html
    assert html.count('class="hf-rose"') == 1
    assert all(mark not in html for mark in ("<script>", "<i>", "<b>", "<u>", "<s>"))


def test_many_queries_are_a_table_a_chart_and_queries_to_choose(
    visitor: Visitor, tmp_path: Path, finished: Callable[[Visitor], VisitorRun]
):
    one = finished(visitor)
    batch, notes = search.ask_many(visitor, ["base", "bm25"], f"run:{one.id}")
    html = batch_html(batch, notes)
    assert batch.labelled and html.count("<rect") == 6 == html.count("<button") and "wins" in html
    file = tmp_path / "mine.txt"
    file.write_text("<b>one</b>\ntwo\n", encoding="utf-8")
    batch, notes = search.ask_many(visitor, ["base", "bm25"], f"run:{one.id}", file)
    html = batch_html(batch, notes)
    assert not batch.labelled and "in common with" in html and "<b>one" not in html
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"'mine.txt' is not UTF-8"):
        search.ask_many(visitor, ["bm25"], f"run:{one.id}", file)


def test_an_error_about_an_uploaded_file_does_not_say_where_it_is_kept(visitor: Visitor, tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    file.write_text("{broken", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        search.ask_many(visitor, ["bm25"], "sample", file)
    assert str(tmp_path) not in refused.value.message and "'mine.jsonl'" in refused.value.message


def test_a_map_shows_every_document_of_a_small_corpus_and_the_passages_found(
    visitor: Visitor, finished: Callable[[Visitor], VisitorRun]
):
    one = finished(visitor)
    drawn = search.draw_map(visitor, ["base", "tuned", "bm25"], f"run:{one.id}", "Pump of unit 0")
    html = map_html(drawn)
    assert len(drawn.names) == 2 and html.count("<circle") == 24 and "(known answer)" in html
    with pytest.raises(InputError, match="A map needs a model"):
        search.draw_map(visitor, ["bm25"], "sample", QUERY)


# Queries and addresses


def test_example_queries_mix_the_kinds_and_leave_out_long_ones():
    queries = [Query(f"{kind} {n}", {}, kind) for kind in ("title", "keyword") for n in range(9)]
    found = example_queries(Queries([*queries, Query("long " * 40)]), 4)
    assert found[:2] == ["title 0", "keyword 0"] and len(found) == 4


def test_the_next_query_of_a_vote_is_one_that_was_not_voted_on():
    known = Queries([Query("one"), Query("two")])
    assert next_query(known, {"one"}) == "two" and next_query(known, {"one", "two"}) is None


def test_an_address_names_corpus_models_and_query():
    link = Link.read({"run": "abc", "models": "base, tuned,,bm25", "q": " why? ", "tab": "compare"})
    assert link == Link("run:abc", ("base", "tuned", "bm25"), "why?")
    assert Link.read({"corpus": "org/name", "run": ""}) == Link("org/name")
    assert len(Link.read({"q": "x" * 5_000}).query) == compare_answers.LONGEST_LINK


def test_an_error_is_words_on_the_page(token: str):
    html, work, _ = compare_answers.answer(token, "sample", ["no/such-model"], "why?", SIDE, None)  # type: ignore[arg-type]
    html = html if work is None else compare_answers.finish(work)
    assert "hf-error" in html and "no/such-model" in html and "Traceback" not in html


def test_what_takes_long_says_how_far_it_is():
    import threading

    gate = threading.Event()

    def slow(report) -> str:  # type: ignore[no-untyped-def]
        task = report.task("encoding documents", 4, "documents")
        gate.wait(5)
        task.finish()
        return "<p>done</p>"

    work = Work(slow, lambda found: found)
    told = work.follow()
    words = [next(told), next(told)]
    gate.set()
    assert "Encoding documents: 0 of 4 documents" in words and list(told) in ([], [words[-1]])
    assert work.html() == "<p>done</p>"


# Blind votes


def test_a_vote_hides_the_models_until_it_is_cast(
    token: str, visitor: Visitor, finished: Callable[[Visitor], VisitorRun]
):
    one = finished(visitor)
    corpus = f"run:{one.id}"
    *_, last = compare_blind.draw_query(token, corpus, ["base", "bm25"], None)  # type: ignore[arg-type]
    asked = compare_blind.ask(last[-1])
    html, ballot = asked[0], asked[-1]
    assert "List A" in html and "BM25" not in html and "base" not in html and " ms" not in html
    cast = compare_blind.vote(token, ballot, 0, None)  # type: ignore[arg-type]
    assert "BM25" in cast[0] and "your choice" in cast[0] and "1 of 1" in cast[1]
    (vote,) = compare_blind.votes_of(visitor)
    assert vote.query == ballot.query and vote.chosen == 0
    file = compare_blind.write_preferences(visitor, [vote])
    assert file is not None and not Path(file).is_relative_to(visitor.folder)
    (row,) = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    assert row["chosen"]["model"] == ballot.rankings[0].model != row["rejected"]["model"]
    assert compare_blind.votes_of(visitor_of(new_token(), None)) == []


def test_a_vote_of_one_model_is_refused_in_words(token: str):
    *_, last = compare_blind.take_query(token, "sample", ["bm25"], "why?", None)  # type: ignore[arg-type]
    assert "A vote needs two models at least." in compare_blind.ask(last[-1])[0]


def test_a_tally_and_a_ballot_escape_what_they_quote():
    from hfembed.compare.votes import Ballot, Tally

    ranking = Ranking("<b>x", 1.0, [Hit(1, "a", "<i>", "<u>", 1.0, None)])
    html = ballot_html(Ballot("c", "<s>", (ranking, ranking)), 1, is_cast=True)
    html += tally_html(Tally(2, 1, {"<b>x": 2}, {"<b>x": 1}))
    assert all(mark not in html for mark in ("<b>", "<i>", "<u>", "<s>"))
