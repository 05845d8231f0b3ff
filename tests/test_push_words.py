"""words: what the cards say of a run follows from its recipe and manifests, whichever way it was made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from told import tell_run

from hfembed.generate.extractive import WRITERS
from hfembed.generate.llm.tasks import TASKS
from hfembed.push import dataset_files, model_files, run_facts
from hfembed.push.facts import Facts
from hfembed.push.words import (
    corpus_in_words,
    explain_kind,
    explain_reason,
    negatives_in_words,
    phase_in_words,
    queries_in_words,
    short_rows_in_words,
    strength_in_words,
)
from hfembed.recipe import LossType, Phase, TrainMethod, Tuning, apply_settings
from hfembed.run import Run

pytestmark = pytest.mark.xdist_group("cards")

WRITER = ("generate.method=llm", "generate.llm.model=acme/writer-8b")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """The run whose every word is known."""
    return tell_run(tmp_path_factory.mktemp("told") / "run", tiny_model)


@pytest.fixture
def run(told: Run, tmp_path: Path) -> Run:
    """A copy of it that a test may change."""
    shutil.copytree(told.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def facts_with(run: Run, *settings: str) -> Facts:
    """Return what the cards know of the run, had its recipe said otherwise."""
    run.write_recipe(apply_settings(run.recipe().model_dump(mode="json"), settings))
    facts = run_facts(run)
    facts.manifests["generate"].facts["writer"] = "writer-8b"
    return facts


def cards(facts: Facts, work: Path) -> tuple[str, str]:
    """Return the cards of model and dataset."""
    both = model_files(facts, "demo/model", "demo/data"), dataset_files(facts, "demo/data", work, "demo/model")
    model, dataset = (dict(files)["README.md"] for files in both)
    assert isinstance(model, bytes) and isinstance(dataset, bytes)
    return model.decode(), dataset.decode()


def test_every_kind_that_a_stage_can_make_is_explained(run: Run):
    cut, written = facts_with(run), facts_with(run, *WRITER)
    assert all(explain_kind(cut, kind) for kind in WRITERS)
    assert all(explain_kind(written, kind) for kind in TASKS)
    assert explain_kind(cut, "question") != explain_kind(written, "question")
    assert explain_kind(cut, "labelled") == explain_kind(written, "labelled") == "asked by a person"
    assert explain_kind(cut, "sung") == ""


def test_cards_name_the_language_model_that_wrote_and_judged(run: Run, tmp_path: Path):
    facts = facts_with(run, *WRITER, "generate.llm.endpoint=http://gpu.inside:8000/v1", "generate.filters.judge=8")
    for card in cards(facts, tmp_path):
        assert "written by the language model `writer-8b`, and kept where it gave them at least 8 of 10" in card
        assert "cut from" not in card and "extractive;" not in card
    assert "the few words that someone types into a search field" in cards(facts, tmp_path)[1]
    recipe = dict(model_files(facts, "demo/model", None))["recipe.yaml"]
    assert isinstance(recipe, bytes) and b"gpu.inside" not in recipe
    assert yaml.safe_load(recipe)["generate"]["llm"]["model"] == "acme/writer-8b"


def test_queries_that_searches_had_to_find_again_are_said_to_be(run: Run):
    assert "find their document again" in queries_in_words(facts_with(run, "generate.filters.round_trip.enabled=true"))
    assert "find" not in queries_in_words(facts_with(run, "generate.filters.round_trip.enabled=false"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "the nearest documents, with a score of at most 95% of the lowest positive's"),
        (("mine.sampler.type=random", "mine.sampler.window.last=50"), "drawn at random from the nearest documents (ra"),
        (("mine.sampler.window.first=5",), "the nearest documents (ranks 6 and below)"),
        (
            ("mine.sampler.type=mixed", "mine.sampler.bm25=2"),
            "2 that BM25 finds best, the others the nearest documents",
        ),
        (
            ("mine.sampler.type=balanced",),
            "about as many far documents as near ones (the nearest documents), none of them too often",
        ),
        (("mine.sources=[dense,bm25]",), "the nearest documents of the base model and of BM25"),
        (("mine.sources=[bm25]",), "the best documents of BM25"),
        (("mine.cap.type=absolute", "mine.cap.value=0.1"), "a score at least 0.1 below"),
        (("mine.cap.type=none",), "whatever their score"),
        (("mine.cross_encoder.model=acme/reader",), "none that a cross-encoder finds nearly as right"),
    ],
)
def test_negatives_are_described_as_they_were_mined(run: Run, tmp_path: Path, settings: tuple[str, ...], said: str):
    facts = facts_with(run, *settings)
    assert said in negatives_in_words(facts)
    model, dataset = cards(facts, tmp_path)
    assert said in model and said in dataset
    assert ("candidates stood above it" in dataset) == ("mine.cap.type=none" not in settings)


def test_rows_that_ran_short_are_told(run: Run):
    facts = facts_with(run, "mine.short_rows=repeat")
    assert short_rows_in_words(facts) == ""
    facts.manifests["mine"].facts["short_rows"] = {"queries": 3}
    assert short_rows_in_words(facts) == "3 queries had too few candidates under the cap and repeat some of them."


def test_lengths_languages_and_near_duplicates_stand_in_both_cards(run: Run, tmp_path: Path):
    facts = facts_with(run)
    facts.manifests["pull"].facts.update(
        languages={"en": 0.9, "de": 0.08, "other": 0.02}, near_duplicate_groups=2, near_duplicates=5,
        lengths={"unit": "tokens", "limit": 128, "median": 40, "percentile_95": 90, "longest": 1234},
    )  # fmt: skip
    model, dataset = cards(facts, tmp_path)
    assert "`en` 90%, `de` 8%" in model and "`en` 90%, `de` 8%" in dataset
    assert "median 40, 95% have at most 90, the longest 1,234" in dataset
    assert "reads 128 tokens of a text; 4.0% of the documents are longer" in dataset
    assert "5 documents stand in 2 groups of near-duplicates" in dataset
    assert "2 groups of documents say nearly the same" in model


def test_of_a_corpus_that_pull_did_not_describe_nothing_is_said(run: Run):
    facts = facts_with(run)
    facts.manifests["pull"].facts.clear()
    assert corpus_in_words(facts) == []


def test_reasons_are_told_in_words_known_or_not():
    assert explain_reason("judged_low") == "the judge's score is too low"
    assert explain_reason("no_answer_timeout") == "no answer timeout"


def test_how_the_strength_was_chosen_is_told(run: Run):
    assert strength_in_words(facts_with(run, "train.strength=0.3")) == "as the recipe says"
    facts = facts_with(run, "train.strength=auto", "train.dev_queries=/home/somebody/asked.jsonl")
    assert "left out of training" in strength_in_words(facts) and "questions by people" in strength_in_words(facts)
    facts.manifests["train"].facts["choice"] = {"strength": 0.5, "on_queries_left_out": False}
    assert "at most half" in strength_in_words(facts)


def test_queries_of_people_that_were_given_are_told(run: Run, tmp_path: Path):
    facts = facts_with(run, "train.strength=auto", "generate.pairs=/home/somebody/asked.jsonl")
    facts.manifests["generate"].facts["labelled"] = {"train": 1_200, "dev": 34, "test": 5}
    facts.manifests["train"].facts["choice"] = {"strength": 0.5, "gain_by_left_out_family": {"people": {"0.5": 0.1}}}
    for card in cards(facts, tmp_path):
        assert "beside them, to learn from and to choose by, 1,234 that people asked" in card
        assert "somebody" not in card
    assert "`people` asked the labelled ones" in cards(facts, tmp_path)[1]
    assert "questions by people counted as much" in strength_in_words(facts)
    facts.manifests["train"].facts["choice"] = {"strength": 0.5, "dev_ndcg@10": {"0.5": {"names": 0.4}}}
    assert "questions by people" not in strength_in_words(facts)


def test_the_strength_of_what_a_teacher_says_is_told(run: Run):
    taught = "train.phases=[{method: full, loss: late_interaction}]"
    assert "dev queries" in strength_in_words(facts_with(run, "train.strength=auto", taught))


def test_a_training_phase_is_told_by_the_settings_that_had_an_effect():
    upper = Tuning(method=TrainMethod.FULL, layers=2, steps=120, loss=LossType.LATE_INTERACTION)
    said = phase_in_words(upper)
    assert (
        said.startswith("method full, loss late_interaction") and "layers 2" in said and "learning rate 2e-05" in said
    )
    for nothing in ("lora", "epochs", "in batch", "None", "{", "["):
        assert nothing not in said
    said = phase_in_words(Tuning(method=TrainMethod.LORA, in_batch=False, kinds={"title": 2}, dimensions=[128, 64]))
    for something in ("lora rank 16", "in batch no", "kinds title 2", "epochs 1", "2 of 5 looks at dev"):
        assert something in said
    assert "{" not in said and "pool 16384" in phase_in_words(Phase())


@pytest.mark.parametrize("settings", [(), WRITER])
def test_queries_that_an_ontology_gave_are_told_as_such_whoever_made_the_others(run: Run, settings: tuple[str, ...]):
    facts = facts_with(run, *settings)
    assert "ontology" not in queries_in_words(facts)
    facts.manifests["pull"].counts.update({"synonyms": 30, "relations": 40})
    assert "from the names and relations of the ontology" in queries_in_words(facts)
    assert explain_kind(facts, "term") == "another name of the term"
    assert explain_kind(facts, "triple") == "a question for one end of a relation between two terms"
    assert explain_kind(facts, "title") and explain_kind(facts, "labelled") == "asked by a person"
