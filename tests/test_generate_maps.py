"""Entity maps: nothing in them that is not in the text, the same ones every time, and what is wrong with them is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import job_for, keep_documents, recipe_for
from hypothesis import given, settings
from hypothesis import strategies as st

from hfembed.errors import RecipeError
from hfembed.generate.llm.desk import Desk
from hfembed.generate.llm.entitymap import read_map, verbatim
from hfembed.generate.llm.maps import _form, _queries
from hfembed.generate.llm.prompts import Prompts
from hfembed.generate.maps import MapForm, make_maps
from hfembed.generate.maps.checks import measure_maps, warnings_of_maps
from hfembed.generate.maps.extract import extract_map, extract_query, spans_of
from hfembed.generate.vocabulary import Vocabulary
from hfembed.maps import Maps
from hfembed.recipe import MapWriter, make_recipe
from hfembed.run import Run

TITLE = "Gear pump of the Gannet station"
BODY = (
    "The gear pump leaks after 3.5 hours of work. On 14 March 2021 Anna Smith replaced part TR-2000 of the worn seal. "
    "It costs $1,200, and 25 % of the stations had one by May 2022. The seal holds 12 bar."
)
OTHERS = ("A violin is tuned in fifths by ear.", "Bread needs flour, water and time.", "Glaciers lose ice in summer.")
VOCABULARY = Vocabulary([f"{TITLE} {BODY}", *OTHERS])


# The form


def test_a_map_lists_entities_first_and_then_a_relation_on_each_line():
    form = MapForm.of(["pump", "unit  0", "pump"], [("pump", "part\nof", "unit 0"), ("pump", "leaks", "?")])
    assert form.text() == "pump; unit 0;\npump | part of | unit 0;\npump | leaks | ?"
    assert MapForm.parse(form.text()) == form and MapForm.parse("") == MapForm(())


def test_what_could_not_be_read_back_and_relations_of_what_is_no_entity_are_left_out():
    form = MapForm.of(
        ["a|b", "c; d", "", "e", "f"], [("e", "x|y", "f"), ("e", "of", "g"), ("e", "of", "e"), ("e", "of", "f")]
    )
    assert form == MapForm(("e", "f"), (("e", "of", "f"),))


@settings(max_examples=25)
@given(st.lists(st.text(max_size=12), max_size=6), st.data())
def test_every_map_parses_back_to_itself(names: list[str], data: st.DataObject):
    ends = st.sampled_from([*names, "?"])
    relations = data.draw(st.lists(st.tuples(ends, st.text(max_size=8), ends), max_size=4))
    form = MapForm.of(names, relations)
    assert MapForm.parse(form.text()) == form or not form.entities


# By rules


def test_numbers_dates_names_and_terms_are_found_letter_by_letter():
    found = {span.text: span.sort.name for sentence in (BODY,) for span in spans_of(sentence, VOCABULARY)}
    assert {name for name, sort in found.items() if sort == "DATE"} == {"14 March 2021", "May 2022"}
    assert {name for name, sort in found.items() if sort == "NUMBER"} == {"3.5 hours", "$1,200", "25 %", "12 bar"}
    assert {"Anna Smith", "TR-2000"} <= {name for name, sort in found.items() if sort == "NAME"}
    assert "gear pump leaks" in found or "gear pump" in found


def test_a_document_becomes_its_entities_and_what_stands_between_them():
    form = extract_map(TITLE, BODY, VOCABULARY, 0.62)
    source = f"{TITLE} {BODY}"
    assert all(entity in source for entity in form.entities)
    assert [source.index(entity) for entity in form.entities[:2]] == sorted(source.index(e) for e in form.entities[:2])
    assert form.relations == (("Gear pump", "of", "Gannet"),) and "TR-2000" in form.entities
    assert form == extract_map(TITLE, BODY, Vocabulary([f"{TITLE} {BODY}", *OTHERS]), 0.62)
    words = len(source.split())
    assert 0.4 <= len(form.text().split()) / words <= 0.85
    assert {"3.5 hours", "14 March 2021", "$1,200", "25 %", "May 2022", "12 bar"} <= set(form.entities)
    assert len(extract_map(TITLE, BODY, VOCABULARY, 1.5).text().split()) > len(form.text().split())


def test_a_question_leaves_open_what_it_asks_for():
    assert extract_query("Why does the gear pump leak after 3.5 hours?", VOCABULARY).relations[-1] == (
        "gear pump leak", "why does the", "?",
    )  # fmt: skip
    assert extract_query("gear pump of the Gannet station", VOCABULARY).text() == (
        "gear pump; Gannet; station;\ngear pump | of | Gannet;\nGannet | with | station"
    )
    assert extract_query("and of the", VOCABULARY).text() == ""


@given(st.text(max_size=200))
def test_no_text_breaks_the_rules_and_every_entity_stands_in_it(text: str):
    squashed = " ".join(text.split())
    form = extract_query(text, VOCABULARY)
    assert all(entity in squashed for entity in form.entities)
    assert MapForm.parse(form.text()) == form or not form.entities
    extract_map("", text, VOCABULARY, 0.62)


# By a language model


def desk_of(tmp_path: Path) -> Desk:
    documents = keep_documents(Run(tmp_path), [{"id": "d0", "title": TITLE, "text": BODY}])
    return Desk(make_recipe().generate, documents, Prompts(), "scripted")


def test_an_entity_that_is_not_in_the_source_is_refused_and_attributes_become_relations(tmp_path: Path):
    said: dict[str, Any] = {
        "entities": [
            {"name": "gear pump", "type": "thing", "attributes": [{"name": "price", "value": "$1,200"},
                                                                 {"name": "colour", "value": "red"}]},
            {"name": "Atlantis", "type": "place", "attributes": []},
            {"name": "seal", "type": "thing", "attributes": []},
        ],
        "relations": [{"head": "gear pump", "relation": "has", "tail": "seal", "qualifier": "after 3.5 hours"},
                      {"head": "gear pump", "relation": "stands in", "tail": "Atlantis", "qualifier": ""}],
    }  # fmt: skip
    desk, source = desk_of(tmp_path), f"{TITLE} {BODY}"
    form = _form(verbatim(desk, read_map(said, False), source), source)
    assert form.entities == ("gear pump", "$1,200", "seal")
    assert form.relations == (("gear pump", "price", "$1,200"), ("gear pump", "has after 3.5 hours", "seal"))
    assert desk.dropped == {"entity_not_in_source": 1, "relation_of_no_entities": 1}


def test_queries_are_mapped_together_and_each_keeps_to_its_own_words(tmp_path: Path):
    desk, found = desk_of(tmp_path), {}
    work = _queries(desk, ["what does a pump cost", "worn seal"], found)
    ask = next(work)
    assert "Query 1: what does a pump cost\n" in ask.messages[-1]["content"] and "Query 2: worn seal" in str(
        ask.messages
    )
    cost = {"head": "pump", "relation": "cost", "tail": "?", "qualifier": ""}
    answer = {"maps": [{"number": 1, "entities": ["pump", "price"], "relations": [cost]},
                       {"number": 2, "entities": ["seal"], "relations": []}, {"number": 3, "entities": ["x"], "relations": []}]}  # fmt: skip
    with pytest.raises(StopIteration):
        work.send(ask.check(answer, False))
    assert {query: form.text() for query, form in found.items()} == {
        "what does a pump cost": "pump;\npump | cost | ?", "worn seal": "seal",
    }  # fmt: skip
    assert desk.dropped["entity_not_in_query"] == 1


def test_a_trained_generator_makes_no_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = Run(tmp_path)
    documents = keep_documents(run, [{"id": "d0", "title": TITLE, "text": BODY}])
    monkeypatch.setattr("hfembed.generate.llm.trained.find_asking", lambda job: object())
    by_model = ("generate.method=model", "generate.llm.model=somewhere")
    with pytest.raises(RecipeError, match="no entity maps"):
        make_maps(
            job_for(run, recipe_for("x", *by_model, "generate.entity_maps.by=llm"), "generate"), documents, [0], []
        )
    made = make_maps(
        job_for(run, recipe_for("x", *by_model, "generate.entity_maps.by=auto"), "generate"), documents, [0], []
    )
    assert made is not None and made[1]["by"] == "rules"
    assert make_maps(job_for(run, recipe_for("x"), "generate"), documents, [0], ["seal"]) is None


# What is told of them


def told(sources: list[str], forms: list[MapForm], by: MapWriter = MapWriter.LLM, verbatim: float = 1.0) -> str:
    measured = measure_maps(sources, forms, [str(at) for at in range(len(sources))], verbatim)
    return " ".join(warnings_of_maps(measured, by))


def test_maps_that_are_in_order_are_not_spoken_of():
    sources = [f"The pump of kind {'abcdefghijklmnopqrstuvwxyz'[at]} leaks {at} drops." for at in range(24)]
    forms = [MapForm.of([source[:18].strip(), source.split()[6]]) for source in sources]
    assert told(sources, forms) == ""
    assert told(sources[:5], [MapForm(())] * 5) == ""  # too few to say anything


def test_each_signature_of_bad_maps_is_told_with_its_remedy():
    sources = [f"The pump number {at} of kind {at * 7 + 1} leaks all day long." for at in range(40)]
    good = [MapForm.of([f"pump number {at}", f"kind {at * 7 + 1}"]) for at in range(40)]
    assert "Only 80% of the entities stand in their document" in told(sources, good, verbatim=0.8)
    assert "100% of the entity maps say the same" in told(sources, good) and "view_share=0.5" in told(sources, good)
    bare = told(sources, [MapForm.of(["pump"])] * 40)
    assert "100% of the numbers" in bare and "9% of the words" in bare and "generate.llm.prompts" in bare
    assert "5.0% of the documents have no entity map" in told(sources, [MapForm(())] * 2 + good[2:])
    assert "entity_maps.length=0.62" in told(sources, [MapForm.of([source]) for source in sources], by=MapWriter.RULES)


def test_maps_are_kept_by_document_and_by_query(tmp_path: Path):
    Maps({"d0": "pump; seal"}, {"what leaks": "leaks | what | ?"}).write(tmp_path / "maps.parquet")
    maps = Maps.read(tmp_path / "maps.parquet")
    assert maps.of_documents(["d0", "d1"], ["a", "b"]) == ["pump; seal", "b"]
    assert maps.of_queries(["what leaks", "other"]) == ["leaks | what | ?", "other"]
