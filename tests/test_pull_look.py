"""A look at a corpus before anything is run: as pull would read it, only sooner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import read_documents, recipe_for, run_until, some_documents, write_beir, write_jsonl

from hfembed.bases import load_bases
from hfembed.corpus import locate_corpus
from hfembed.errors import CorpusError
from hfembed.hub import locate_tokenizer
from hfembed.pull.describe import Topic
from hfembed.pull.documents import Tally
from hfembed.pull.look import Look, keep_texts, look, take_sample
from hfembed.recipe import DEFAULT_BASE, Recipe
from hfembed.run import Run


def look_at(recipe: Recipe, **options: float) -> Look:
    sample = take_sample(locate_corpus(str(recipe.corpus)), recipe.pull, **options)
    return look(sample, recipe.pull, locate_tokenizer(recipe.base))


def topics(found: Look) -> list[str]:
    return [finding.topic for finding in found.findings]


def test_a_look_at_a_small_corpus_says_what_pull_says(tiny_model: Path, tmp_path: Path):
    rows = [*some_documents(30), {"_id": "again", **{k: v for k, v in some_documents(1)[0].items() if k != "_id"}}]
    corpus = write_beir(tmp_path / "beir", [*rows, {"_id": "none", "text": ""}])
    found = look_at(recipe_for(corpus, base=tiny_model))
    run, _ = run_until(tmp_path / "run", corpus, "pull", base=tiny_model)
    facts = run.manifests("corpus")["pull"].facts
    assert [one.id for one in found.sample.documents] == [row["id"] for row in read_documents(run)]
    assert {key: found.facts[key] for key in ("lengths", "languages")} == {
        key: facts[key] for key in ("lengths", "languages")
    }
    assert found.sample.is_whole and found.sample.tally.names == ["_id", "title", "text"]
    assert found.sample.tally.dropped == {"duplicate": 1, "no_text": 1}
    assert topics(found) == [Topic.FEW, Topic.REPEATED, Topic.DROPPED]
    assert "1 document stands there twice, and is read once." in [finding.message for finding in found.findings]


def test_no_more_is_read_than_is_asked_for(tiny_model: Path, tmp_path: Path):
    rows = [*map(json.dumps, some_documents(150)), "this is no JSON"]  # the first hundred are read to guess columns
    file = write_jsonl(tmp_path / "corpus.jsonl", rows)
    found = look_at(recipe_for(file, base=tiny_model), count=20)
    assert len(found.texts) == 20 and not found.sample.is_whole
    assert Topic.FEW not in topics(found)
    hasty = take_sample(locate_corpus(str(file)), recipe_for(file).pull, seconds=0)
    assert len(hasty.documents) == 1 and not hasty.is_whole


def test_long_documents_are_noticed_and_cut_as_the_recipe_says(tiny_model: Path, tmp_path: Path):
    long = [{**row, "text": row["text"] * 6} for row in some_documents(24)]
    corpus = write_beir(tmp_path / "beir", long)
    found = look_at(recipe_for(corpus, base=tiny_model))
    assert Topic.TRUNCATED in topics(found) and found.facts["lengths"]["limit"] == 128
    cut = look_at(recipe_for(corpus, "pull.chunk.by=tokens", base=tiny_model))
    assert Topic.TRUNCATED not in topics(cut) and len(cut.texts) > len(cut.sample.documents) == 24


def test_documents_in_another_language_than_the_base_are_noticed(tmp_path: Path):
    german = [
        {"text": f"Die Pumpe Nummer {n} muss vor dem nächsten Flug gewartet werden, sagt der Techniker."}
        for n in range(20)
    ]
    file = write_jsonl(tmp_path / "corpus.jsonl", german)
    recipe = recipe_for(file, base=DEFAULT_BASE)
    tokenizer = locate_tokenizer(DEFAULT_BASE)
    sample = take_sample(locate_corpus(str(file)), recipe.pull)
    assert tokenizer.languages == ("en",)
    found = look(sample, recipe.pull, tokenizer)
    assert found.facts["languages"]["de"] == 1 and Topic.FOREIGN in topics(found)


def test_too_few_documents_and_a_missing_column_are_refused_in_the_words_of_pull(tiny_model: Path, tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", [{"n": 1, "note": "x"} for _ in range(3)])
    tally = Tally()
    with pytest.raises(CorpusError, match="No column with text was found"):
        take_sample(locate_corpus(str(file)), recipe_for(file).pull, tally)
    assert tally.names == ["n", "note"]
    few = write_beir(tmp_path / "few", some_documents(3))
    with pytest.raises(CorpusError, match="3 usable documents of 3 read; at least 10 are needed"):
        look_at(recipe_for(few, base=tiny_model))


def test_what_was_looked_at_stands_where_generate_reads_it(tiny_model: Path, tmp_path: Path):
    corpus = write_beir(tmp_path / "beir", some_documents(24))
    found = look_at(recipe_for(corpus, base=tiny_model))
    kept = Run(tmp_path / "kept")
    keep_texts(found, kept, 0.8)
    pulled, _ = run_until(tmp_path / "run", corpus, "pull", base=tiny_model)
    assert read_documents(kept) == read_documents(pulled)


def test_suggested_bases_begin_with_the_default_and_are_told_in_full():
    bases = load_bases()
    assert bases[0].name == DEFAULT_BASE and len({base.name for base in bases}) == len(bases) > 3
    assert all(base.about.endswith((".", ";")) and base.licence and base.tokens >= 128 for base in bases)
