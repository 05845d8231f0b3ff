"""pull cuts long documents: by sentences, by tokens of the base model, by headings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from builders import Listener, read_documents, run_until, some_documents, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from hfembed.errors import CorpusError, InputError, ModelError
from hfembed.hub import locate_tokenizer
from hfembed.pull.chunk import _pack, make_cutter
from hfembed.pull.documents import Document
from hfembed.pull.tokens import BaseTokenizer
from hfembed.recipe import DEFAULT_BASE, Chunk
from hfembed.run import Manifest

TEXT = " ".join(f"Sentence {n} tells of word{n}." for n in range(12))


@pytest.fixture(scope="module")
def tokenizer() -> BaseTokenizer:
    """Return the tokenizer of the real MiniLM."""
    return BaseTokenizer(locate_tokenizer(DEFAULT_BASE))


def cut(text: str, tokenizer: BaseTokenizer | None = None, title: str = "Book", **settings: Any) -> list[Document]:
    cutter = make_cutter(Chunk(**settings), tokenizer, "some/base")
    assert cutter is not None
    return cutter(Document("a", title, text, "a"))


def pull(tmp_path: Path, corpus: Path, *settings: str, **options: Any) -> tuple[list[dict[str, str]], Manifest]:
    run, _ = run_until(tmp_path / "run", corpus, "pull", *settings, **options)
    return read_documents(run), run.manifests("corpus")["pull"]


def test_by_default_documents_stay_whole():
    assert make_cutter(Chunk(), None, "some/base") is None


def test_five_sentences_make_a_chunk():
    chunks = cut(TEXT, by="sentences")
    assert [chunk.id for chunk in chunks] == ["a#1", "a#2", "a#3"]
    assert {(chunk.title, chunk.document) for chunk in chunks} == {("Book", "a")}
    assert chunks[0].text.endswith("word4.") and chunks[1].text.startswith("Sentence 5 ")
    assert " ".join(chunk.text for chunk in chunks) == TEXT


def test_chunks_of_sentences_overlap_by_sentences():
    chunks = cut(TEXT, by="sentences", size=4, overlap=1)
    assert [chunk.text.split()[1] for chunk in chunks] == ["0", "3", "6", "9"]
    assert chunks[0].text.endswith("word3.") and chunks[-1].text.endswith("word11.")


def test_a_document_that_fits_keeps_its_id(tokenizer: BaseTokenizer):
    for settings in ({"by": "sentences"}, {"by": "tokens"}, {"by": "headings"}):
        assert cut("One. Two.", tokenizer, **settings) == [Document("a", "Book", "One. Two.", "a")]


def test_chunks_of_tokens_are_read_to_their_end_by_the_base_model(tokenizer: BaseTokenizer):
    text = "\n\n".join([TEXT] * 20) + " " + "word without any end " * 300
    chunks = cut(text, tokenizer, by="tokens")
    assert tokenizer.limit == 256
    sizes = tokenizer.count([f"{chunk.title} {chunk.text}" for chunk in chunks])
    assert max(sizes) <= 256 and min(sizes[:-1]) > 128
    assert " ".join(" ".join(chunk.text for chunk in chunks).split()) == " ".join(text.split())
    assert all(chunk.text.startswith("Sentence") for chunk in chunks[:5])


def test_chunks_of_tokens_overlap(tokenizer: BaseTokenizer):
    chunks = cut(TEXT, tokenizer, by="tokens", size=40, overlap=12)
    for one, following in itertools.pairwise(chunks):
        assert following.text.split(".")[0] in one.text
        assert one.text not in following.text and following.text not in one.text
    assert chunks[-1].text.endswith("word11.")


def test_a_long_title_leaves_room_for_text(tokenizer: BaseTokenizer):
    chunks = cut(TEXT, tokenizer, title="long title " * 100, by="tokens", size=60)
    assert max(tokenizer.count([chunk.text for chunk in chunks])) <= 30 and len(chunks) < 10


@given(lengths=st.lists(st.integers(1, 9), max_size=40), room=st.integers(9, 30), overlap=st.integers(0, 8))
def test_packs_hold_everything_in_order_and_none_repeats_another(lengths: list[int], room: int, overlap: int):
    packs = _pack(lengths, room, overlap)
    assert {place for first, last in packs for place in range(first, last)} == set(range(len(lengths)))
    assert all(sum(lengths[first:last]) <= room for first, last in packs)
    for (first, last), (following, end) in itertools.pairwise(packs):
        assert first < following <= last < end and sum(lengths[following:last]) <= overlap


MANUAL = """Words before any heading.

# Pump

Pumps move oil.

## Repair

Turn it off first.

```
# a comment in code, no heading
```

## Care ##

# Valve
Valves stop oil."""


def test_sections_carry_the_headings_they_stand_under():
    chunks = cut(MANUAL, by="headings", title="Manual")
    assert [(chunk.id, chunk.title) for chunk in chunks] == [
        ("a#1", "Manual"), ("a#2", "Manual > Pump"), ("a#3", "Manual > Pump > Repair"), ("a#4", "Manual > Valve"),
    ]  # fmt: skip
    assert "# a comment" in chunks[2].text and chunks[3].text == "Valves stop oil."


def test_a_heading_that_is_the_title_is_not_said_twice():
    assert [chunk.title for chunk in cut("# Book\nA.\n# Two\nB.", by="headings")] == ["Book", "Book > Two"]


def test_a_section_that_the_base_model_does_not_read_to_its_end_is_cut(tokenizer: BaseTokenizer):
    chunks = cut(f"# One\n{TEXT}\n# Two\nShort.", tokenizer, by="headings", size=50)
    assert {chunk.title for chunk in chunks[:-1]} == {"Book > One"} and len(chunks) == 3
    assert (chunks[-1].title, chunks[-1].text, chunks[-1].id) == ("Book > Two", "Short.", f"a#{len(chunks)}")


def test_without_a_tokenizer_tokens_cannot_be_counted():
    with pytest.raises(ModelError, match=r"'some/base' has no tokenizer\.json") as caught:
        make_cutter(Chunk(by="tokens"), None, "some/base")
    assert "pull.chunk.by=sentences" in caught.value.hint


def test_an_overlap_must_leave_something_new():
    with pytest.raises(InputError, match="overlap is 5, but must be below the size of a chunk, 5 sentences"):
        make_cutter(Chunk(by="sentences", overlap=5), None, "some/base")


def test_chunks_in_a_run_know_their_document_and_share_its_group(tmp_path: Path):
    rows = [
        {**row, "text": " ".join(f"Document {row['_id']} says fact{row['_id']}x{n} here." for n in range(7))}
        for row in some_documents(10)
    ]
    documents, manifest = pull(
        tmp_path, write_jsonl(tmp_path / "c.jsonl", [*rows, *some_documents(11)[10:]]), "pull.chunk.by=sentences"
    )
    assert [row["id"] for row in documents] == [*(f"d{n}#{k}" for n in range(10) for k in (1, 2)), "d10"]
    assert all(row["group"] == row["document"] == row["id"].split("#")[0] for row in documents)
    assert manifest.counts == {"read": 11, "documents": 11, "invalid_utf8": 0, "chunks": 21}


def test_chunks_that_say_the_same_are_kept_once_and_short_ones_dropped(tmp_path: Path):
    rows = [
        {"_id": f"d{n}", "title": "", "text": f"# Facts {n}\nFact number {n} is told.\n# Legal\nAll rights are reserved.\n# End\nBye."}
        for n in range(10)
    ]  # fmt: skip
    documents, manifest = pull(tmp_path, write_jsonl(tmp_path / "c.jsonl", rows), "pull.chunk.by=headings")
    assert manifest.dropped == {"duplicate_chunk": 9, "too_short_chunk": 10}
    assert len(documents) == manifest.counts["chunks"] == 11


def test_an_id_that_a_chunk_would_have_too_is_refused(tmp_path: Path):
    rows = [
        {"_id": "d0", "title": "", "text": TEXT},
        *some_documents(12)[1:],
        {"_id": "d0#1", "text": "Some words here."},
    ]
    for order in (rows, rows[::-1]):
        with pytest.raises(CorpusError, match="d0#1") as caught:
            pull(tmp_path / str(order is rows), write_jsonl(tmp_path / "c.jsonl", order), "pull.chunk.by=sentences")
        assert "chunk" in caught.value.message and "id_column" in caught.value.hint


def test_another_base_is_measured_anew_and_gives_the_same_documents(tmp_path: Path, minilm: Path):
    corpus = write_jsonl(tmp_path / "c.jsonl", some_documents(24))
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (other / name).symlink_to(minilm / name)
    (other / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}), encoding="utf-8")
    run, _ = run_until(tmp_path / "run", corpus, "pull", base=minilm)
    before = run.manifests("corpus")["pull"]
    assert run_until(tmp_path / "run", corpus, "pull", base=minilm)[1] == []
    heard = Listener()
    assert run_until(tmp_path / "run", corpus, "pull", base=other, listeners=[heard])[1] == ["pull"]
    after = run.manifests("corpus")["pull"]
    assert (before.facts["truncated_share"], after.facts["truncated_share"]) == (0, 1)
    assert after.output == before.output  # so that nothing which follows is done again
    assert any("pull.chunk.by=tokens" in message for message in heard.messages("warning"))
