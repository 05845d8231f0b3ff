"""pull of ontologies: terms become documents; synonyms and relations are kept beside them; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import Listener, read_documents, recipe_for, run_until

from hfembed.corpus import CorpusKind, locate_corpus
from hfembed.errors import CorpusError, MissingExtraError
from hfembed.launch.extras import extras_of
from hfembed.launch.workload import measure_workload
from hfembed.ontology import Relation, Term, read_terms, state
from hfembed.pull.readers import read_rows
from hfembed.recipe import Pull
from hfembed.run import LAYOUT, Manifest, Run

ORGANS = ("heart", "liver", "kidney", "lung", "spleen", "brain", "skin", "eye", "ear", "tongue", "stomach", "bladder")

OBO = r"""format-version: 1.4
ontology: toy
import: http://purl.obolibrary.org/obo/toy.owl
import: http://purl.obolibrary.org/obo/ro.owl

[Term]
id: T:0000001
name: cell
def: "The unit that all living things are made of." [PMID:1]

[Term]
id: T:0000002
name: neuron ! of any kind
def: "A cell that \"fires\"\, again and again." [PMID:1, "a source"] {source="x"}
synonym: "neurone" RELATED BRITISH [x]
synonym: "nerve cell" EXACT []
synonym: "Neuron" EXACT []
is_a: T:0000001 {gci="yes"} ! cell
relationship: part_of T:0000004 {cardinality="1"} ! nervous system
relationship: part_of T:0000005

[Term]
id: T:0000003
name: soma
intersection_of: T:0000001
intersection_of: part_of T:0000002

[Term]
id: T:0000004
name: nervous system
def: "Neurons and glia, \
taken together."

[Term]
id: T:0000005
name: nerve net
def: "What is no longer said."
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""

PREFIXES = """@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix obo: <http://purl.obolibrary.org/obo/> .
@prefix oio: <http://www.geneontology.org/formats/oboInOwl#> .
@prefix ex: <http://example.org/> .
"""
TURTLE = (
    PREFIXES
    + """
ex:onto a owl:Ontology ; owl:imports ex:upper .
obo:BFO_0000050 a owl:ObjectProperty ; rdfs:label "part of"@en .
ex:hasColour a owl:ObjectProperty .
ex:unnamed_000123 a owl:ObjectProperty .
obo:CL_0000000 a owl:Class ; rdfs:label "Zelle"@de, "cell"@en ; skos:altLabel "Zellchen"@de, "corpuscle"@en ;
  obo:IAO_0000115 "Die kleinste Einheit des Lebens."@de, "The smallest unit of life."@en .
ex:PurkinjeCell a owl:Class ; skos:definition "A very large cell with a fan of dendrites." ;
  oio:hasBroadSynonym "large cell" ; oio:hasExactSynonym "Purkyne cell" ;
  rdfs:subClassOf obo:CL_0000000, owl:Thing,
    [ a owl:Restriction ; owl:onProperty obo:BFO_0000050 ; owl:someValuesFrom ex:Cerebellum ],
    [ a owl:Restriction ; owl:onProperty ex:unnamed_000123 ; owl:someValuesFrom ex:Cerebellum ] ;
  owl:equivalentClass [ a owl:Class ; owl:intersectionOf (
    obo:CL_0000000 [ a owl:Restriction ; owl:onProperty ex:hasColour ; owl:someValuesFrom ex:Grey ] ) ] .
ex:Cerebellum a owl:Class ; rdfs:label "cerebellum" ; rdfs:comment "A note of an editor, no definition." .
ex:Gone a owl:Class ; rdfs:label "gone" ; owl:deprecated true ; skos:definition "It was here once upon a time." .
ex:ann a owl:NamedIndividual, ex:PurkinjeCell ; skos:definition "A cell that somebody called Ann." ; ex:hasColour ex:Grey ;
  ex:curatedBy ex:Bob .
"""
)

RDF_XML = """<?xml version="1.0"?>
<!DOCTYPE rdf:RDF [ <!ENTITY owl "http://www.w3.org/2002/07/owl#" > {entities} ]>
<rdf:RDF xml:base="http://example.org/onto" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:owl="http://www.w3.org/2002/07/owl#" xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#"
  xmlns:obo="http://purl.obolibrary.org/obo/" xmlns:oio="http://www.geneontology.org/formats/oboInOwl#">
<owl:ObjectProperty rdf:about="#develops_from"/>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/CL_0000034"><rdfs:label>stem cell</rdfs:label>
  <obo:IAO_0000115>A cell that makes {more}.</obo:IAO_0000115>
  <oio:hasExactSynonym>progenitor</oio:hasExactSynonym></owl:Class>
<rdf:Description rdf:about="#Blood"><rdf:type rdf:resource="&owl;Class"/><rdfs:label>blood cell</rdfs:label>
  <obo:IAO_0000115>A cell that floats in the blood.</obo:IAO_0000115>
  <rdfs:subClassOf><owl:Restriction><owl:onProperty rdf:resource="#develops_from"/>
  <owl:someValuesFrom rdf:resource="http://purl.obolibrary.org/obo/CL_0000034"/></owl:Restriction></rdfs:subClassOf>
</rdf:Description></rdf:RDF>
"""

THESAURUS = PREFIXES + "".join(
    f'ex:{organ} a skos:Concept ; skos:prefLabel "{organ}"@en ; skos:altLabel "{organ} organ"@en ; '
    f'skos:broader ex:organ .\nex:organ skos:narrower ex:{organ} .\n'
    for organ in ORGANS
)  # fmt: skip


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def entries(corpus: Path, **settings: Any) -> dict[str, Any]:
    return {row.values["id"]: row for row in read_rows(locate_corpus(str(corpus)), Pull(**settings))}


def pull(
    tmp_path: Path, corpus: Path, *settings: str, **more: Any
) -> tuple[dict[str, dict[str, str]], Manifest, list[Term]]:
    run, _ = run_until(tmp_path / "run", corpus, "pull", *settings, **more)
    documents = {row["id"]: row for row in read_documents(run)}
    return documents, run.manifests("corpus")["pull"], read_terms(run.path(LAYOUT.terms))


def many_terms(count: int = 14) -> str:
    """Return an OBO file of terms that are defined, called otherwise, and related."""
    stanzas = [
        f'[Term]\nid: O:{number:07}\nname: organ {number}\n'
        f'def: "The organ that does task{number} for the body and rests at night{number * 7}." []\n'
        f'synonym: "part{number} of the body" EXACT []\nis_a: O:0000000 ! organ 0\n'
        for number in range(count)
    ]  # fmt: skip
    return "format-version: 1.2\n\n" + "\n".join(stanzas)


def test_terms_of_an_obo_file_are_documents_and_what_else_it_knows_is_kept(tmp_path: Path):
    found = entries(write(tmp_path / "toy.obo", OBO))
    neuron = found["T:0000002"]
    assert (neuron.values["title"], neuron.values["text"]) == ("neuron", 'A cell that "fires", again and again.')
    assert neuron.term == Term(
        "T:0000002", "neuron", True, ("nerve cell", "neurone"),
        (Relation("is a", "T:0000001", "cell"), Relation("part of", "T:0000004", "nervous system")),
    )  # fmt: skip
    assert found["T:0000004"].values["text"] == "Neurons and glia, taken together."
    assert found["T:0000003"].term.relations == (
        Relation("is a", "T:0000001", "cell"), Relation("part of", "T:0000002", "neuron"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("name: what! is that", "what! is that"),
        ("name: 2,2'-bi\\{pyrrole\\} ! said so", "2,2'-bi{pyrrole}"),
        ("name: a{b}c", "a{b}c"),
        ('name: plain {source="a!b"} ! yes', "plain"),
        ("name:no space", "no space"),
    ],
)
def test_a_name_ends_where_its_comment_and_its_modifiers_begin(tmp_path: Path, line: str, name: str):
    assert entries(write(tmp_path / "a.obo", f"[Term]\nid: A:0000001\n{line}\n"))["A:0000001"].term.label == name


def test_synonyms_of_old_files_have_their_scope_in_the_tag(tmp_path: Path):
    text = '[Term]\nid: A:0000001\nname: a\nbroad_synonym: "wide" []\nsynonym: "loose" []\nexact_synonym: "same" []\n'
    assert entries(write(tmp_path / "a.obo", text))["A:0000001"].term.synonyms == ("same", "loose", "wide")


def test_obsolete_terms_terms_without_a_definition_and_imports_are_left_out_each_for_its_reason(tmp_path: Path):
    found = entries(write(tmp_path / "toy.obo", OBO))
    assert {identity: row.left_out for identity, row in found.items() if row.left_out} == {
        "T:0000005": "obsolete_term", "T:0000003": "term_without_definition",
        "http://purl.obolibrary.org/obo/ro.owl": "import_not_fetched",
    }  # fmt: skip


def test_a_term_without_a_definition_says_its_relations_where_that_is_asked_for(tmp_path: Path):
    found = entries(write(tmp_path / "toy.obo", OBO), undefined=True)["T:0000003"]
    assert found.values["text"] == "Is a kind of cell. Is part of neuron." and not found.left_out
    assert not found.term.defined


def test_turtle_is_read_with_restrictions_intersections_individuals_and_in_english(tmp_path: Path):
    found = entries(write(tmp_path / "toy.ttl", TURTLE))
    cell, purkinje = found["CL:0000000"], found["http://example.org/PurkinjeCell"]
    assert (cell.values["title"], cell.values["text"]) == ("cell", "The smallest unit of life.")
    assert cell.term.synonyms == ("corpuscle",)
    assert purkinje.term.label == "Purkinje Cell" and purkinje.term.synonyms == ("Purkyne cell", "large cell")
    assert {(said.relation, said.label) for said in purkinje.term.relations} == {
        ("is a", "cell"), ("part of", "cerebellum"), ("has colour", "Grey"),
    }  # fmt: skip
    assert {(said.relation, said.label) for said in found["http://example.org/ann"].term.relations} == {
        ("instance of", "Purkinje Cell"), ("has colour", "Grey"),
    }  # fmt: skip
    left_out = {identity.rpartition("/")[2]: row.left_out for identity, row in found.items() if row.left_out}
    assert left_out == {
        "Cerebellum": "term_without_definition", "Gone": "obsolete_term", "upper": "import_not_fetched",
    }  # fmt: skip


def test_rdf_xml_is_read_with_the_entities_that_editors_write(tmp_path: Path):
    found = entries(write(tmp_path / "toy.owl", RDF_XML.format(entities="", more="more of itself")))
    stem, blood = found["CL:0000034"], found["http://example.org/onto#Blood"]
    assert stem.values["text"] == "A cell that makes more of itself." and stem.term.synonyms == ("progenitor",)
    assert blood.term.relations == (Relation("develops from", "CL:0000034", "stem cell"),)


def test_an_owl_file_may_hold_turtle(tmp_path: Path):
    assert "CL:0000000" in entries(write(tmp_path / "toy.owl", TURTLE))


def test_a_language_other_than_english_is_kept_where_there_is_no_other(tmp_path: Path):
    text = PREFIXES + (
        'ex:h a skos:Concept ; skos:prefLabel "Herz"@de ; skos:altLabel "Pumpe"@de, "pump"@en ; '
        'skos:definition "Es schlägt ein Leben lang."@de .'
    )
    (found,) = entries(write(tmp_path / "toy.ttl", text)).values()
    assert (found.values["title"], found.term.synonyms) == ("Herz", ("Pumpe",))
    assert found.values["text"] == "Es schlägt ein Leben lang."


def test_remarks_are_definitions_where_nobody_wrote_any(tmp_path: Path):
    text = PREFIXES + 'ex:Pump a rdfs:Class ; rdfs:label "Pump" ; rdfs:comment "Something that moves water."@en .'
    (found,) = entries(write(tmp_path / "toy.ttl", text)).values()
    assert found.values["text"] == "Something that moves water." and found.term.defined


@pytest.mark.parametrize(
    "entities",
    [
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">',
        f'<!ENTITY b "{"a" * 5_000}">',
        '<!ENTITY b SYSTEM "file:///etc/hostname">',
        "<!ENTITY b 'http://example.org/'>",
    ],
)
def test_entities_that_could_grow_or_read_a_file_are_refused_before_they_are_used(tmp_path: Path, entities: str):
    file = write(tmp_path / "toy.owl", RDF_XML.format(entities=entities, more="&b;"))
    with pytest.raises(CorpusError) as caught:
        entries(file)
    assert "toy.owl cannot be read as an ontology: it declares an entity" in caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.ttl", PREFIXES + "ex:a a owl:Class ; nope:x ex:b .", "prefix nope: has not been declared"),
        ("a.ttl", PREFIXES + 'ex:a rdfs:label "a" .', "declares no class, concept or individual"),
        ("a.owl", '<?xml version="1.0"?><Ontology xmlns="http://www.w3.org/2002/07/owl#"></Ontology>', "another form"),
        ("a.owl", "Prefix(:=<http://example.org/>)\nOntology(<http://example.org/>)", "another form"),
        ("a.owl", "<?xml version='1.0'?><rdf:RDF", "cannot be read as an ontology"),
        ("a.obo", "format-version: 1.2\n", "no [Term]"),
        ("a.rdf", "", "empty file"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_ontology_is_refused_with_the_reason(tmp_path: Path, name: str, text: str, reason: str):
    with pytest.raises(CorpusError) as caught:
        entries(write(tmp_path / name, text))
    assert caught.value.message.startswith(name) and reason in caught.value.message and "Turtle" in caught.value.hint


def test_files_of_one_ontology_are_read_together_and_a_broken_one_is_named(tmp_path: Path):
    folder = tmp_path / "onto"
    write(
        folder / "labels.ttl",
        PREFIXES + 'ex:a a owl:Class ; rdfs:label "pump" . ex:onto a owl:Ontology ; owl:imports ex:b .',
    )
    write(
        folder / "texts.ttl", PREFIXES + 'ex:b a owl:Ontology . ex:a a owl:Class ; skos:definition "It moves water." .'
    )
    write(folder / "same.obo", "[Term]\nid: O:0000001\nname: organ\nrelationship: ex:has O:0000002\n")
    write(folder / "same.ttl", PREFIXES + 'obo:O_0000001 a owl:Class ; skos:definition "Something that lives." .')
    write(folder / "broken.ttl", PREFIXES + "ex:z a owl:Class")
    write(folder / "README.md", "Read me.")
    assert locate_corpus(str(folder)).kind is CorpusKind.ONTOLOGIES
    found = entries(folder)
    assert (found["http://example.org/a"].values["title"], found["http://example.org/a"].values["text"]) == (
        "pump", "It moves water.",
    )  # fmt: skip
    assert (found["O:0000001"].values["title"], found["O:0000001"].values["text"]) == ("organ", "Something that lives.")
    assert found["broken.ttl"].problem == "broken_file" and set(found) == {
        "http://example.org/a",
        "O:0000001",
        "broken.ttl",
    }


def test_pull_writes_documents_and_terms_and_says_how_many(tmp_path: Path):
    corpus = write(tmp_path / "organs.obo", many_terms() + "\n[Term]\nid: O:9000000\nname: dust\nis_obsolete: true\n")
    documents, manifest, terms = pull(tmp_path, corpus)
    assert documents["O:0000003"]["title"] == "organ 3" and len(documents) == len(terms) == 14
    assert manifest.counts == {"read": 15, "documents": 14, "invalid_utf8": 0, "synonyms": 14, "relations": 13}
    assert manifest.dropped == {"obsolete_term": 1}
    assert next(term for term in terms if term.id == "O:0000003") == Term(
        "O:0000003", "organ 3", True, ("part3 of the body",), (Relation("is a", "O:0000000", "organ 0"),)
    )


def test_a_thesaurus_without_definitions_is_refused_unless_its_relations_shall_speak(tmp_path: Path):
    corpus = write(tmp_path / "thesaurus.ttl", THESAURUS)
    with pytest.raises(CorpusError) as caught:
        pull(tmp_path, corpus)
    assert "12 term without definition" in caught.value.message and "pull.undefined" in caught.value.hint
    documents, _, terms = pull(tmp_path, corpus, "pull.undefined=true")
    assert documents["http://example.org/heart"]["text"] == "Has broader concept organ."
    assert {term.synonyms for term in terms if term.label == "heart"} == {("heart organ",)}


def test_a_corpus_that_is_no_ontology_has_no_terms(tmp_path: Path, sample: Path):
    run, _ = run_until(tmp_path / "run", sample, "pull")
    assert not run.path(LAYOUT.terms).exists() and read_terms(run.path(LAYOUT.terms)) == []


def test_turtle_without_its_library_is_answered_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pyoxigraph", None)
    with pytest.raises(MissingExtraError) as caught:
        entries(write(tmp_path / "toy.ttl", TURTLE))
    assert caught.value.hint == 'pip install "hfembed[files]"'
    assert entries(write(tmp_path / "toy.obo", OBO))


@pytest.mark.parametrize(
    ("relation", "said"),
    [
        ("is a", "a is a kind of b"), ("part of", "a is part of b"), ("develops from", "a develops from b"),
        ("adjacent to", "a is adjacent to b"), ("has part", "a has part b"), ("instance of", "a is an instance of b"),
    ],
)  # fmt: skip
def test_a_relation_is_said_as_a_sentence(relation: str, said: str):
    assert state("a", relation, "b") == said


def test_what_was_left_out_is_told_to_whoever_watches(tmp_path: Path):
    heard = Listener()
    folder = tmp_path / "onto"
    write(folder / "organs.obo", many_terms())
    write(folder / "broken.ttl", PREFIXES + "ex:z a owl:Class")
    pull(tmp_path, folder, listeners=[heard])
    assert any("broken.ttl (broken file)" in message for message in heard.messages("warning"))


def test_all_terms_of_an_ontology_are_counted_before_a_run_is_sent_elsewhere(tmp_path: Path):
    corpus = write(tmp_path / "organs.obo", many_terms(400))
    size = measure_workload(recipe_for(corpus, base=tmp_path), Run(tmp_path / "run"), sent=0).size
    assert size.documents == 400 and extras_of(recipe_for(corpus), "pull") == []
    assert extras_of(recipe_for(write(tmp_path / "toy.ttl", TURTLE)), "pull") == ["files"]
