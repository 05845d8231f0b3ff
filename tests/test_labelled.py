"""Queries that people asked: read in every form, answered by id or by text, refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import keep_documents, write_jsonl

from hfembed.corpus import Documents
from hfembed.errors import InputError
from hfembed.labelled import read_labelled
from hfembed.run import Run


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    rows = [{"id": f"d{number}", "title": f"Title {number}", "text": f"text {number}"} for number in range(3)]
    rows += [{"id": f"long-{part}", "text": f"part {part}", "document": "long"} for part in range(2)]
    return keep_documents(Run(tmp_path / "run"), rows)


FORMS = {
    "ids.jsonl": '{"query": "what?", "positive_id": "d1"}\n\n{"query": "why?", "positive_ids": ["d0", "d2"]}\n',
    "texts.jsonl": '{"question": "what?", "positive": "text 1"}\n'
    '{"query": "why?", "positives": ["Title 0 text 0", "text 2"]}\n',
    "table.csv": "\ufeffquery,positive_id\nwhat?,d1\nwhy?,d0\nwhy?,d2\n",
    "table.tsv": "query\tpositive\nwhat?\ttext 1\nwhy?\ttext 0\nwhy?\ttext 2\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_pairs(tmp_path: Path, documents: Documents, name: str):
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    found = read_labelled(tmp_path / name, documents)
    assert found.queries == ["what?", "why?", "why?"] and found.answers == [1, 0, 2] and found.unknown == 0


def test_a_beir_folder_is_read_and_what_is_no_answer_is_not(tmp_path: Path, documents: Documents):
    write_jsonl(tmp_path / "beir" / "queries.jsonl", [{"_id": "q1", "text": "what?"}, {"_id": "q2", "text": "unasked"}])
    (tmp_path / "beir" / "qrels").mkdir()
    lines = ("query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0", "q1\tgone\t1")
    (tmp_path / "beir" / "qrels" / "dev.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read_labelled(tmp_path / "beir", documents)
    assert (found.queries, found.answers, found.unknown) == (["what?"], [1], 1)


def test_a_document_that_was_cut_is_answered_by_its_first_chunk(tmp_path: Path, documents: Documents):
    file = write_jsonl(tmp_path / "asked.jsonl", [{"query": "what?", "positive_id": "long"}])
    assert documents.ids[read_labelled(file, documents).answers[0]] == "long-0"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"query": "what?"}\n', "Row 1 of"),
        ("a.jsonl", "{broken\n", "Line 1 of"),
        ("a.jsonl", "[1]\n", "is no object"),
        ("a.txt", "what?", "is a .txt file"),
        ("a.jsonl", '{"query": "what?", "positive_id": "gone"}\n', "None of the 1 answers"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(
    tmp_path: Path, documents: Documents, name: str, content: str, words: str
):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_labelled(tmp_path / name, documents)
