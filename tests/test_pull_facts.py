"""pull says what a corpus is like: lengths, what the base model does not see, languages, samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import Listener, run_until, some_documents, write_jsonl

from hfembed.pull.columns import read_cell
from hfembed.pull.describe import count_lengths, guess_language, sampling_step
from hfembed.run import Manifest

GERMAN = "Die Pumpe Nummer {n} verliert Öl, deshalb prüft der Mechaniker heute das Gehäuse {n} und die Dichtung."
FRENCH = "La pompe numéro {n} perd de l'huile, le mécanicien vérifie donc aujourd'hui le joint {n} du moteur."


def pull(tmp_path: Path, rows: list[dict[str, str]], *settings: str, **options: Any) -> Manifest:
    run, _ = run_until(tmp_path / "run", write_jsonl(tmp_path / "c.jsonl", rows), "pull", *settings, **options)
    return run.manifests("corpus")["pull"]


def in_german(count: int, sentence: str = GERMAN, start: int = 0) -> list[dict[str, str]]:
    return [
        {"_id": f"g{sentence[:3]}{n}", "title": "", "text": sentence.format(n=n)} for n in range(start, start + count)
    ]


def test_lengths_are_in_tokens_of_the_base_model(tmp_path: Path, minilm: Path):
    lengths = pull(tmp_path, some_documents(20), base=minilm).facts["lengths"]
    assert (lengths["unit"], lengths["limit"], lengths["sampled"]) == ("tokens", 256, 20)
    assert sum(lengths["counts"]) == 20 and len(lengths["edges"]) == len(lengths["counts"]) + 1
    assert 40 < lengths["median"] <= lengths["percentile_95"] <= lengths["longest"] < 100


def test_a_base_without_a_tokenizer_is_no_hindrance(tmp_path: Path):
    heard = Listener()
    facts = pull(tmp_path, some_documents(20), "base=nobody/nothing", listeners=[heard]).facts
    assert (facts["lengths"]["unit"], facts["truncated_share"]) == ("words", None)
    assert any("words" in message and "nobody/nothing" in message for message in heard.messages("note"))


def test_what_the_base_model_does_not_see_is_warned_about_with_the_remedy(tmp_path: Path, minilm: Path):
    rows = some_documents(18)
    for row in rows[:2]:
        row["text"] += " And so it goes on." * 80
    heard = Listener()
    facts = pull(tmp_path, rows, base=minilm, listeners=[heard]).facts
    assert facts["truncated_share"] == pytest.approx(2 / 18, abs=1e-4)
    assert facts["lengths"]["counts"][facts["lengths"]["edges"].index(257) :] == [0, 2]
    (warning,) = heard.messages("warning")
    assert "11% of the documents are longer than the 256 tokens" in warning and "--set pull.chunk.by=tokens" in warning
    assert pull(tmp_path / "cut", rows, "pull.chunk.by=tokens", base=minilm).facts["truncated_share"] == 0


def test_documents_that_fit_are_not_warned_about(tmp_path: Path, minilm: Path):
    heard = Listener()
    assert pull(tmp_path, some_documents(20), base=minilm, listeners=[heard]).facts["truncated_share"] == 0
    assert heard.messages("warning") == []


def test_languages_are_told_with_their_shares_and_a_base_for_english_is_warned_about(tmp_path: Path, minilm: Path):
    heard = Listener()
    facts = pull(
        tmp_path, [*some_documents(10), *in_german(8), *in_german(2, FRENCH)], base=minilm, listeners=[heard]
    ).facts
    assert facts["languages"] == {"en": 0.5, "de": 0.4, "fr": 0.1}
    (warning,) = heard.messages("warning")
    assert "50% of the documents are not in English (de, fr)" in warning and "--base" in warning
    assert "languages: en 50%, de 40%, fr 10%" in heard.messages("note")


def test_a_base_that_does_not_say_its_languages_is_not_warned_about(tmp_path: Path, tiny_model: Path):
    heard = Listener()
    pull(tmp_path, in_german(12), base=tiny_model, listeners=[heard])
    assert not any("English" in message for message in heard.messages("warning"))


def test_few_words_tell_no_language():
    assert guess_language("left uncus") is None
    assert guess_language("泵漏油，机械师更换零件。") == "zh"
    assert guess_language(GERMAN) == "de"


@pytest.mark.parametrize(
    ("lengths", "limit", "edges", "counts"),
    [
        ([3, 17, 40], None, [0, 16, 32, 64], [1, 1, 1]),
        ([256, 257, 600], 256, [0, 16, 32, 64, 128, 257, 512, 1024], [0, 0, 0, 0, 1, 1, 1]),
        ([100], 256, [0, 16, 32, 64, 128], [0, 0, 0, 1]),
    ],
)
def test_what_the_base_model_reads_ends_a_row_of_the_histogram(
    lengths: list[int], limit: int | None, edges: list[int], counts: list[int]
):
    assert count_lengths(lengths, limit) == {"edges": edges, "counts": counts}


def test_a_large_corpus_is_measured_on_a_part():
    assert sampling_step(1_000, 10_000) == 1
    assert sampling_step(1_000_000, 200_000_000) == 50
    assert sampling_step(100, 100_000_000) == 20


def test_five_documents_are_shown_short(tmp_path: Path):
    rows = some_documents(21)
    rows[0]["text"] = "many words " * 100
    samples = pull(tmp_path, rows).facts["samples"]
    assert [sample["id"] for sample in samples] == ["d0", "d5", "d10", "d15", "d20"]
    assert set(samples[1]) == {"id", "title", "text"} and len(samples[0]["text"]) == 200
    assert samples[0]["text"].endswith("…")


def test_the_end_of_pull_shows_lengths_and_samples_and_json_has_the_same(hfembed: Any, tmp_path: Path, minilm: Path):
    corpus = write_jsonl(tmp_path / "c.jsonl", some_documents(20))
    arguments = ("run", "--corpus", corpus, "--base", minilm, "--run", tmp_path / "run", "--until", "pull")
    answer = hfembed(*arguments)
    assert "length in tokens" in answer.out and "32 to 63" in answer.out and "████" in answer.out
    assert "d19" in answer.out and "Antenna of unit 5" not in answer.out and "Marker word0" in answer.out
    assert "text from column 'text', title from column 'title', id from column '_id'" in answer.err
    again = hfembed(*arguments, "--format", "json")
    (stage,) = again.json()["stages"]
    assert stage["skipped"] and stage["facts"]["samples"][0]["id"] == "d0"
    assert list(stage["facts"]["histograms"]) == ["length in tokens"]
    assert "length in tokens" not in hfembed(*arguments).out  # nothing was made


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (["one", ["two", "three"]], "one two three"),
        ({"answer": "one", "score": 3, "parts": ["two", {"more": "three"}], "flag": True}, "one two three"),
        (12.5, "12.5"),
        (None, ""),
        ([1, 2], "1 2"),
    ],
)
def test_lists_and_dictionaries_in_a_cell_are_joined(cell: object, text: str):
    assert read_cell(cell) == text
