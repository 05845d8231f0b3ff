"""generate from an ontology: other names, definitions without the name, relations; and negatives that are siblings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import job_for, keep_documents, recipe_for, run_until

from hfembed.corpus import Documents
from hfembed.errors import RecipeError
from hfembed.generate.ontology import NEGATIVES, write_facts
from hfembed.generate.preview import preview
from hfembed.generate.query import Query, Split
from hfembed.ontology import Relation, Term, write_terms
from hfembed.recipe import QueryKind
from hfembed.run import LAYOUT, Run

TRAIN = [Split.TRAIN] * 99


def term(identity: str, *relations: tuple[str, str], synonyms: tuple[str, ...] = (), defined: bool = True) -> Term:
    """Return a term whose label is its id in words."""
    found = tuple(Relation(relation, tail, tail.replace("_", " ")) for relation, tail in relations)
    return Term(identity, identity.replace("_", " "), defined, synonyms, found)


def ask(
    tmp_path: Path,
    terms: Iterable[Term],
    *settings: str,
    texts: dict[str, str] | None = None,
    splits: list[Split] = TRAIN,
    undocumented: tuple[str, ...] = (),
    seed: int = 42,
) -> list[Query]:
    """Return the queries of terms, each of which is a document that tells nothing but its id unless `texts` does."""
    run = Run(tmp_path / "run")
    known = [found for found in terms if found.id not in undocumented]
    rows = [
        {"id": found.id, "title": found.label, "text": (texts or {}).get(found.id, f"A text on {found.id}.")}
        for found in known
    ]
    documents = keep_documents(run, rows)
    write_terms(run.path(LAYOUT.terms), terms)
    recipe = recipe_for("none", *settings, f"seed={seed}")
    return write_facts(job_for(run, recipe, "generate"), documents, range(len(documents)), splits)


def of_kind(queries: list[Query], kind: QueryKind) -> dict[str, Query]:
    return {query.text: query for query in queries if query.kind is kind}


CELLS = [
    term("cell"), term("neuron", ("is a", "cell")), term("glia", ("is a", "cell")), term("blood_cell", ("is a", "cell")),
    term("Purkinje_cell", ("is a", "neuron"), ("part of", "cerebellum")), term("granule_cell", ("is a", "neuron")),
    term("mitral_cell", ("is a", "neuron")), term("cerebellum"),
]  # fmt: skip


def test_every_other_name_of_a_term_asks_for_its_definition_as_many_as_wanted(tmp_path: Path):
    terms = [term("neuron", synonyms=("nerve cell", "neurone", "neurocyte"))]
    assert set(of_kind(ask(tmp_path, terms), QueryKind.TERM)) == {"nerve cell", "neurone", "neurocyte"}
    few = of_kind(ask(tmp_path, terms, "generate.ontology.term=2"), QueryKind.TERM)
    assert set(few) == {"nerve cell", "neurone"} and few["nerve cell"].rows == (0,)


def test_a_definition_is_asked_without_the_names_of_its_term(tmp_path: Path):
    texts = {"nerve_cell": "A nerve cell, or neurone, is a cell that carries signals of the body over long ways."}
    (made,) = of_kind(
        ask(tmp_path, [term("nerve_cell", synonyms=("neurone",))], texts=texts), QueryKind.DEFINITION
    )  # fmt: skip
    assert made == "A or , is a that carries signals of the body over long ways."


def test_a_definition_that_is_little_but_its_term_is_not_asked(tmp_path: Path):
    texts = {"nerve_cell": "The nerve cell of a nerve."}
    assert of_kind(ask(tmp_path, [term("nerve_cell")], texts=texts), QueryKind.DEFINITION) == {}


def test_names_come_with_siblings_of_the_term_that_look_right_and_are_not(tmp_path: Path):
    terms = [*CELLS[:-4], term("Purkinje_cell", ("is a", "neuron"), synonyms=("Purkyne cell",)), *CELLS[-3:]]
    made = of_kind(ask(tmp_path, terms), QueryKind.TERM)["Purkyne cell"]
    assert set(made.negatives) == {"granule cell A text on granule_cell.", "mitral cell A text on mitral_cell."}


def test_siblings_are_taken_from_the_smallest_family_first_and_no_more_than_wanted(tmp_path: Path):
    crowd = [term(f"thing_{number}", ("is a", "thing")) for number in range(60)]
    near = [term(f"near_{number}", ("is a", "thing"), ("is a", "rare")) for number in range(21)]
    own = term("own", ("is a", "thing"), ("is a", "rare"), synonyms=("mine",))
    made = of_kind(ask(tmp_path, [*crowd, *near, own]), QueryKind.TERM)["mine"]
    assert len(made.negatives) == NEGATIVES and all(text.startswith("near ") for text in made.negatives)


def test_a_relation_is_asked_for_from_both_ends(tmp_path: Path):
    triples = of_kind(ask(tmp_path, CELLS, "generate.ontology.triple=9"), QueryKind.TRIPLE)
    rows = {found.id: row for row, found in enumerate(CELLS)}
    assert triples["Purkinje cell is part of what?"].rows == (rows["cerebellum"],)
    assert triples["What is part of cerebellum?"].rows == (rows["Purkinje_cell"],)
    assert triples["What is a kind of neuron?"].rows == tuple(sorted(rows[name] for name in (
        "Purkinje_cell", "granule_cell", "mitral_cell",
    )))  # fmt: skip
    made = triples["Purkinje cell is a kind of what?"]
    assert made.rows == (rows["neuron"],) and made.details == {"triple": "Purkinje cell | is a | neuron"}
    assert set(made.negatives) == {"glia A text on glia.", "blood cell A text on blood_cell."}


def test_a_question_that_many_terms_answer_is_not_asked(tmp_path: Path):
    terms = [*CELLS, term("stellate_cell", ("is a", "neuron"))]
    assert "What is a kind of neuron?" not in of_kind(
        ask(tmp_path, terms, "generate.ontology.triple=9"), QueryKind.TRIPLE
    )  # fmt: skip


def test_what_is_right_at_a_distance_is_no_wrong_answer(tmp_path: Path):
    terms = [
        term("body"), term("organ", ("is a", "thing")), term("head", ("is a", "thing"), ("part of", "body")),
        term("eye", ("part of", "head"), ("is a", "organ")), term("lens", ("part of", "eye"), ("is a", "thing")),
        term("stone", ("is a", "thing")), term("thing"),
    ]  # fmt: skip
    triples = of_kind(ask(tmp_path, terms, "generate.ontology.triple=9"), QueryKind.TRIPLE)
    # The lens is part of the eye, and so of the head and the body; it is no stone.
    assert set(triples["What is part of body?"].negatives) == {"organ A text on organ.", "stone A text on stone."}
    # The eye is part of the head, and an organ, and so a thing; it is no lens.
    assert set(triples["eye is part of what?"].negatives) == {"lens A text on lens.", "stone A text on stone."}


def test_relations_through_terms_that_are_no_documents_count_too(tmp_path: Path):
    terms = [
        term("house"), term("wall", ("part of", "house"), defined=False),
        term("brick", ("part of", "wall"), ("is a", "thing")), term("roof", ("part of", "house"), ("is a", "thing")),
        term("cloud", ("is a", "thing")),
    ]  # fmt: skip
    made = of_kind(ask(tmp_path, terms, "generate.ontology.triple=9", undocumented=("wall",)), QueryKind.TRIPLE)
    assert made["What is part of house?"].negatives == ("cloud A text on cloud.",)
    assert made["wall is part of what?"].rows == (0,)


def test_a_relation_is_asked_only_where_both_ends_stand_in_one_split(tmp_path: Path):
    splits = [Split.TEST if found.id == "cerebellum" else Split.TRAIN for found in CELLS]
    made = of_kind(ask(tmp_path, CELLS, "generate.ontology.triple=9", splits=splits), QueryKind.TRIPLE)
    assert made and not any("cerebellum" in query.text or "part of" in query.text for query in made.values())
    assert all(query.split is Split.TRAIN for query in made.values())


def test_relations_that_are_all_of_a_text_are_not_asked_for(tmp_path: Path):
    terms = [term("cell"), term("neuron", ("is a", "cell"), synonyms=("nerve cell",), defined=False)]
    made = ask(tmp_path, terms, "generate.ontology.triple=9")
    assert {query.text for query in made} == {"nerve cell", "neuron is a kind of what?"}


def test_the_same_seed_gives_the_same_queries_and_another_one_others(tmp_path: Path):
    terms = [term("top"), *(term(f"part_{number}", ("is a", "top"), ("part of", "top")) for number in range(30))]

    def asked(seed: int, place: str) -> list[Query]:
        return ask(tmp_path / place, terms, seed=seed)

    assert asked(1, "a") == asked(1, "b") != asked(2, "c")


def test_of_a_definition_that_was_cut_the_first_chunk_answers(tmp_path: Path):
    run = Run(tmp_path / "run")
    rows = [{"id": f"long#{number}", "document": "long", "text": f"Part {number} of it."} for number in (1, 2)]
    documents = keep_documents(run, rows)
    write_terms(run.path(LAYOUT.terms), [term("long", synonyms=("extended",))])
    (made,) = write_facts(job_for(run, recipe_for("none"), "generate"), documents, range(2), TRAIN)
    assert (made.text, made.rows) == ("extended", (0,))


@pytest.mark.parametrize("setting", ["generate.ontology.title=1", "generate.ontology={keyword: 3}"])
def test_an_ontology_is_asked_only_for_what_it_offers(setting: str):
    with pytest.raises(RecipeError) as caught:
        recipe_for("none", setting)
    assert "an ontology offers term, definition, triple" in caught.value.message


def write_organs(file: Path, count: int = 40) -> Path:
    """Write an OBO file of organs that are parts of parts."""
    stanzas = [
        f"[Term]\nid: O:{number:07}\nname: organ{number} of Ulm\n"
        f'def: "It does task{number} for the body, rests at night{number * 7} and wakes at dawn{number * 3}." []\n'
        f'synonym: "bodypart{number}" EXACT []\nis_a: O:{number // 4:07}\n'
        for number in range(count)
    ]  # fmt: skip
    file.write_text("format-version: 1.2\n\n" + "\n".join(stanzas), encoding="utf-8")
    return file


def pairs(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run.path(LAYOUT.pairs)).to_pylist()
    return rows


def test_a_run_on_an_ontology_asks_it_without_being_told(tmp_path: Path):
    run, _ = run_until(tmp_path / "run", write_organs(tmp_path / "organs.obo"), "generate")
    made, counts = pairs(run), run.manifests("triplets")["generate"].counts
    own = {row["query"]: row for row in made if row["query"].startswith("bodypart")}
    assert counts["term"] == 40 and counts["triple"] > 10 and counts["definition"] == 40
    assert len(own) > 20 and all(
        row["positive"].startswith(row["query"].replace("bodypart", "organ")) for row in own.values()
    )
    assert all(len(row["negatives"]) <= NEGATIVES and row["positive"] not in row["negatives"] for row in own.values())
    assert all(row["negatives"] for row in own.values() if row["positive_id"] != "O:0000000")  # the root has no sibling
    texts = set(Documents.read(run.path(LAYOUT.documents)).texts())  # letter by letter, so that mine knows them again
    assert all(set(row["negatives"]) <= texts for row in made)
    shares = run.manifests("triplets")["generate"].facts["weights"]
    assert shares["term"] == pytest.approx(shares["title"], rel=0.2) and shares["definition"] > 0.05


def test_what_a_kind_of_query_counts_is_settled_for_an_ontology_as_for_any_corpus(tmp_path: Path):
    organs = write_organs(tmp_path / "organs.obo")
    plain, _ = run_until(tmp_path / "plain", organs, "generate")
    heavy, _ = run_until(
        tmp_path / "heavy", organs, "generate", "generate.weights.term=3", "generate.ontology.triple=0"
    )
    shares = [run.manifests("triplets")["generate"].facts["weights"] for run in (plain, heavy)]
    assert shares[1]["term"] > 2 * shares[0]["term"] and "triple" not in shares[1]


def test_no_term_is_asked_for_on_two_sides(tmp_path: Path):
    run, _ = run_until(tmp_path / "run", write_organs(tmp_path / "organs.obo"), "generate")
    told = {
        split: {row["positive_id"] for row in pq.read_table(run.path(path)).to_pylist()}
        for split, path in (("train", LAYOUT.pairs), ("dev", LAYOUT.dev))
    }
    assert not told["train"] & told["dev"]
    names = {f"organ{int(identity[2:])} of Ulm" for identity in told["dev"]}
    assert not any(name in row["query"] for row in pairs(run) if row["kind"] == "triple" for name in names)


def test_a_preview_shows_what_the_ontology_gives_too(tmp_path: Path):
    run, _ = run_until(tmp_path / "run", write_organs(tmp_path / "organs.obo"), "pull")
    (shown,) = preview(run.recipe(), run, 1).documents
    asked = {query["kind"]: query for query in shown.queries}
    number = int(shown.ids[0][2:])
    assert asked["term"]["query"] == f"bodypart{number}" and {"definition", "keyword"} <= set(asked)
