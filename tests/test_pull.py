"""pull: every form a corpus comes in, what is kept of it, and what bad input is answered with."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import Listener, read_documents, run_until, some_documents, write_beir, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from hfembed.corpus import CorpusKind, locate_corpus
from hfembed.errors import CorpusError
from hfembed.pull import read_corpus
from hfembed.pull.columns import choose_columns
from hfembed.pull.documents import Tally
from hfembed.pull.readers import Row
from hfembed.recipe import Pull
from hfembed.run import Manifest, Run

MEGABYTES_50 = 50 * 2**20


def write_table(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the form that the suffix names."""
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
    elif file.suffix in (".csv", ".tsv"):
        with file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        write_jsonl(file, rows)
    return file


def pull(tmp_path: Path, corpus: Path, *settings: str, **options: Any) -> tuple[list[dict[str, str]], Manifest]:
    """Pull a corpus into a run; return the documents and the manifest."""
    run, _ = run_until(tmp_path / "run", corpus, "pull", *settings, **options)
    return read_documents(run), run.manifests("corpus")["pull"]


def refusal(tmp_path: Path, corpus: Path | str, *settings: str) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        run_until(tmp_path / "run", corpus, "pull", *settings)  # type: ignore[arg-type]
    assert nothing_half_written(tmp_path / "run")
    return caught.value


def nothing_half_written(folder: Path) -> bool:
    return not (folder / "corpus").exists() and not (folder / ".partial").exists()


# Sources


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".JSONL"])
def test_a_table_file_becomes_documents_in_order(tmp_path: Path, suffix: str):
    rows = some_documents(12)
    documents, manifest = pull(tmp_path, write_table(tmp_path / f"corpus{suffix}", rows))
    assert [(d["id"], d["title"], d["text"]) for d in documents] == [(r["_id"], r["title"], r["text"]) for r in rows]
    assert manifest.counts == {"read": 12, "documents": 12, "invalid_utf8": 0}
    assert manifest.facts["columns"] == {"text": "text", "title": "title", "id": "_id"}
    assert manifest.dropped == {}


def test_a_beir_folder_gives_its_corpus_and_its_queries_are_never_read(tmp_path: Path):
    folder = write_beir(tmp_path / "beir", some_documents(12))
    (folder / "queries.jsonl").write_text("not JSON at all\n", encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_bytes(b"\xff\xff")
    (folder / "notes.txt").write_text("A text beside the corpus is no part of it.", encoding="utf-8")
    documents, manifest = pull(tmp_path, folder)
    assert [d["id"] for d in documents] == [f"d{n}" for n in range(12)]
    assert manifest.sources["corpus"]["kind"] == "beir" and manifest.sources["corpus"]["name"] == "beir"


def test_the_queries_of_a_beir_folder_do_not_count_into_its_fingerprint(tmp_path: Path):
    folder = write_beir(tmp_path / "beir", some_documents(12))
    before = locate_corpus(str(folder)).fingerprint
    write_jsonl(folder / "queries.jsonl", [{"_id": "q", "text": "what leaks?"}])
    assert locate_corpus(str(folder)).fingerprint == before
    write_beir(folder, some_documents(13))
    assert locate_corpus(str(folder)).fingerprint != before


def test_a_folder_of_texts_becomes_one_document_a_file(tmp_path: Path):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    for number in range(10):
        (folder / f"{number}.txt").write_text(
            f"# Line {number} of a plain text\nand its second line.", encoding="utf-8"
        )
    (folder / "deep" / "guide.md").write_text("\n# A *guide*\n\nTurn the key twice.\n", encoding="utf-8")
    (folder / "deep" / "bare.markdown").write_text("No heading stands above this text.\n", encoding="utf-8")
    (folder / ".hidden.txt").write_text("Hidden files are not documents of the corpus.", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    documents = {d["id"]: d for d in pull(tmp_path, folder)[0]}
    assert sorted(documents) == sorted([f"{n}.txt" for n in range(10)] + ["deep/guide.md", "deep/bare.markdown"])
    assert (documents["deep/guide.md"]["title"], documents["deep/guide.md"]["text"]) == (
        "A *guide*",
        "Turn the key twice.",
    )
    assert documents["deep/bare.markdown"]["title"] == ""
    assert documents["3.txt"]["text"].startswith("# Line 3")  # a hash is a heading in Markdown only


def test_a_folder_of_tables_is_read_file_after_file(tmp_path: Path):
    folder = tmp_path / "tables"
    folder.mkdir()
    rows = some_documents(18)
    write_table(folder / "a.csv", rows[:6])
    write_table(folder / "b.jsonl", rows[6:12])
    write_table(folder / "c.parquet", rows[12:])
    documents, manifest = pull(tmp_path, folder)
    assert [d["id"] for d in documents] == [row["_id"] for row in rows]
    assert manifest.sources["corpus"]["kind"] == "tables"


def test_the_manifest_keeps_no_path_of_this_machine(tmp_path: Path):
    _, manifest = pull(tmp_path, write_table(tmp_path / "corpus.jsonl", some_documents(12)))
    assert str(tmp_path) not in manifest.model_dump_json()


def test_the_word_sample_names_the_corpus_that_ships_with_the_package(sample: Path):
    source = locate_corpus("sample")
    assert source.kind is CorpusKind.BEIR and source.folder == sample


def test_a_folder_called_sample_wins_over_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "sample", some_documents(11))
    assert locate_corpus("sample").folder == Path("sample")


def test_a_csv_field_may_span_lines_and_hold_commas_and_quotes(tmp_path: Path):
    rows = [{"id": str(n), "text": f'Line one of {n}, with "quotes"\nand line two.'} for n in range(10)]
    documents, _ = pull(tmp_path, write_table(tmp_path / "corpus.csv", rows))
    assert [d["text"] for d in documents] == [row["text"] for row in rows]


def test_rows_longer_or_shorter_than_the_header_do_no_harm(tmp_path: Path):
    lines = ["id,text,title"] + [f"{n},the text of record {n},name {n}" for n in range(10)]
    lines += ["x,the text of a short record", "y,the text of a long record,name,more,and more"]
    file = tmp_path / "corpus.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    documents, _ = pull(tmp_path, file)
    assert [d["title"] for d in documents[-2:]] == ["", "name"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_byte_order_mark_is_not_part_of_the_first_line(tmp_path: Path, suffix: str):
    file = write_table(tmp_path / f"corpus{suffix}", some_documents(10))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    documents, manifest = pull(tmp_path, file)
    assert documents[0]["id"] == "d0" and manifest.counts["invalid_utf8"] == 0


def test_blank_lines_between_json_lines_are_passed_over(tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", ["", *some_documents(10), "   ", ""])
    assert pull(tmp_path, file)[1].counts["read"] == 10


def test_the_limit_ends_the_reading(tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(11), "this line is not JSON"])
    documents, manifest = pull(tmp_path, file, "pull.limit=11")
    assert len(documents) == 11 and manifest.counts["read"] == 11


def test_records_are_read_only_as_they_are_asked_for(tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(200), "this line is not JSON"])
    documents = read_corpus(locate_corpus(str(file)), Pull())
    assert [next(documents).id for _ in range(50)] == [f"d{n}" for n in range(50)]


# Columns


def guess(*rows: dict[str, Any], **settings: Any) -> tuple[str, str | None, str | None]:
    chosen = choose_columns([Row(row, "here") for row in rows], Pull(**settings))
    return chosen.text, chosen.title, chosen.id


def test_known_names_are_recognised_whatever_their_case_and_order():
    assert guess({"Title": "t", "DocID": "1", "Body": "b c"}) == ("Body", "Title", "DocID")
    assert guess({"abstract": "a", "text": "t"})[0] == "text"


def test_without_a_known_name_the_column_with_most_words_is_the_text():
    rows = [{"code": "x" * 200, "remark": "a few words", "story": "many more words stand in this one"}]
    assert guess(*rows) == ("story", None, None)


def test_a_column_that_only_later_rows_have_is_seen():
    assert guess({"remark": "a b"}, {"remark": "c d", "text": "here"})[0] == "text"


def test_named_columns_win_over_guesses():
    row = {"text": "t t", "body": "b b", "title": "x", "name": "y", "id": "1", "key": "2"}
    assert guess(row, text_column="body", title_column="name", id_column="key") == ("body", "name", "key")


def test_the_text_is_not_also_the_title():
    assert guess({"title": "one two", "n": 1}, text_column="title") == ("title", None, None)


def test_a_corpus_without_words_has_no_text_column():
    with pytest.raises(CorpusError, match="No column with text was found; the corpus has n, code"):
        guess({"n": 1, "code": "abc"})


@pytest.mark.parametrize("key", ["text_column", "title_column", "id_column"])
def test_a_named_column_that_is_not_there_is_answered_with_those_that_are(key: str):
    with pytest.raises(CorpusError) as caught:
        guess({"text": "a b", "author": "c"}, **{key: "auhtor"})
    message = caught.value.message
    assert "'auhtor'" in message and f"pull.{key}" in message
    assert "text, author" in message and "Did you mean 'author'?" in message
    assert f"--set pull.{key}=" in caught.value.hint


def test_records_without_an_id_are_numbered_as_they_stand_in_the_source(tmp_path: Path):
    rows = [{"text": f"The text of record {n} in this file."} for n in range(10)]
    rows.insert(3, {"text": ""})
    documents, _ = pull(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", rows))
    assert [d["id"] for d in documents] == [f"row-{n}" for n in range(1, 12) if n != 4]


def test_the_columns_taken_are_said(tmp_path: Path):
    heard = Listener()
    pull(tmp_path, write_jsonl(tmp_path / "c.jsonl", some_documents(10)), "pull.text_column=title", listeners=[heard])
    assert any("'title'" in message for message in heard.messages("note"))


# Cleaning, duplicates, counts


def kept(tmp_path: Path, *extra: dict[str, Any] | str, settings: Sequence[str] = ()) -> tuple[list[Any], Manifest]:
    """Pull ten good documents and some others; return what was kept of the others."""
    file = write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(10), *extra])
    documents, manifest = pull(tmp_path, file, *settings)
    return documents[10:], manifest


def test_control_characters_and_outer_space_go_and_line_feeds_stay(tmp_path: Path):
    text = "  first\r\nsecond\u0000 \u001b[31mthird\ttab\u007f  "
    documents, _ = kept(tmp_path, {"_id": "x", "text": text, "title": " a\u0007 title \n"})
    assert documents[0]["text"] == "first\nsecond [31mthird\ttab"
    assert documents[0]["title"] == "a title"


def test_text_in_parts_is_joined_and_numbers_are_text(tmp_path: Path):
    documents, _ = kept(tmp_path, {"_id": "x", "text": ["one part", "and another"]}, {"_id": 7, "text": 12345678901})
    assert documents[0]["text"] == "one part and another"
    assert (documents[1]["id"], documents[1]["text"]) == ("7", "12345678901")


def test_dropped_documents_are_counted_with_the_reason(tmp_path: Path):
    documents, manifest = kept(
        tmp_path,
        {"_id": "a", "text": ""},
        {"_id": "b", "text": None},
        {"_id": "c"},
        {"_id": "d", "text": " \u0000 "},
        {"_id": "e", "text": "too short"},
        {"_id": "f", "title": "", "text": "The same words in another case."},
        {"_id": "g", "title": "", "text": "THE same   words\nin another CASE."},
        {"_id": "h", "title": "but titled", "text": "The same words in another case."},
    )
    assert [d["id"] for d in documents] == ["f", "h"]
    assert manifest.dropped == {"no_text": 4, "too_short": 1, "duplicate": 1}
    assert manifest.counts == {"read": 18, "documents": 12, "invalid_utf8": 0}


def test_the_shortest_length_kept_is_a_setting(tmp_path: Path):
    documents, _ = kept(
        tmp_path, {"_id": "a", "text": "short"}, {"_id": "b", "text": "shor"}, settings=["pull.min_chars=5"]
    )
    assert [d["id"] for d in documents] == ["a"]


def test_a_title_and_a_text_do_not_run_together_when_duplicates_are_told(tmp_path: Path):
    documents, _ = kept(
        tmp_path, {"_id": "a", "title": "one", "text": "two three four"}, {"_id": "b", "text": "one two three four!"}
    )
    assert len(documents) == 2


def test_invalid_utf8_is_kept_with_replacement_and_counted(tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", some_documents(10))
    with file.open("ab") as handle:
        handle.write(b'{"_id": "x", "text": "caf\xe9 is closed on mondays"}\n')
        handle.write('{"_id": "y", "text": "café is open on tuesdays"}\n'.encode())
    heard = Listener()
    documents, manifest = pull(tmp_path, file, listeners=[heard])
    assert documents[10]["text"] == "caf\ufffd is closed on mondays"
    assert documents[11]["text"] == "café is open on tuesdays"
    assert manifest.counts["invalid_utf8"] == 1
    assert any("1 document" in message and "UTF-8" in message for message in heard.messages("warning"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_invalid_utf8_in_csv_is_counted_once_per_record(tmp_path: Path, suffix: str):
    file = write_table(
        tmp_path / f"corpus{suffix}", [{"id": str(n), "text": f"The text number {n}"} for n in range(10)]
    )
    tab = b"\t" if suffix == ".tsv" else b","
    with file.open("ab") as handle:
        handle.write(b"x" + tab + b'"two broken \xff\nlines \xfe here"\n')
        handle.write(b"y" + tab + b"and one good line\n")
    documents, manifest = pull(tmp_path, file)
    assert manifest.counts["invalid_utf8"] == 1
    assert documents[10]["text"] == "two broken \ufffd\nlines \ufffd here"


def test_invalid_utf8_in_a_text_file_is_kept_and_counted(tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.txt").write_bytes(b"The number %d of these files holds \xe9." % number)
    documents, manifest = pull(tmp_path, folder)
    assert manifest.counts["invalid_utf8"] == 10 and documents[0]["text"].endswith("holds \ufffd.")


@given(body=st.text(min_size=1, max_size=60))
def test_whatever_the_text_no_control_character_is_kept(body: str, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("any")
    file = folder / "corpus.jsonl"
    file.write_text(json.dumps({"_id": "x", "text": body + " and ten more characters"}) + "\n", encoding="utf-8")
    tally = Tally()
    (document,) = read_corpus(locate_corpus(str(file)), Pull(), tally)
    assert not any(ord(char) < 32 and char not in "\t\n" for char in document.text)
    assert document.text.endswith("and ten more characters") and tally.kept == 1


def test_two_pulls_of_one_corpus_give_the_same_bytes(tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", some_documents(20))
    first, _ = run_until(tmp_path / "one", file, "pull")
    second, _ = run_until(tmp_path / "two", file, "pull")
    assert first.manifests("corpus")["pull"].output == second.manifests("corpus")["pull"].output


# Bad input, in this process


def test_duplicate_ids_are_named_with_both_places(tmp_path: Path):
    rows = some_documents(12)
    rows[11]["_id"] = "d3"
    error = refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", rows))
    assert "'d3'" in error.message and "line 4" in error.message and "line 12" in error.message
    assert "id_column" in error.hint


def test_an_id_stands_once_over_all_files_of_a_folder(tmp_path: Path):
    folder = tmp_path / "tables"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", some_documents(10))
    write_jsonl(folder / "b.jsonl", some_documents(1))
    error = refusal(tmp_path, folder)
    assert "a.jsonl line 1" in error.message and "b.jsonl line 1" in error.message


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('{"_id": "x", "text": ', ("line 11", "not JSON", "character")),
        ('{"_id": "x"} {"_id": "y"}', ("line 11", "not JSON")),
        ("[1, 2]", ("line 11", "list", "one JSON object a line")),
        ('"words"', ("line 11", "str")),
        ("null", ("line 11", "NoneType")),
    ],
)
def test_a_broken_json_line_is_named_by_its_number(tmp_path: Path, line: str, parts: tuple[str, ...]):
    error = refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(10), line]))
    for part in ("corpus.jsonl", *parts):
        assert part in error.message


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"this is no parquet file at all, only words", b"PAR1" + b"x" * 40 + b"PAR1"]
)
def test_a_broken_parquet_file_is_named(tmp_path: Path, content: bytes):
    file = tmp_path / "corpus.parquet"
    file.write_bytes(content)
    error = refusal(tmp_path, file)
    assert "corpus.parquet cannot be read as Parquet" in error.message and "\n" not in error.message


def test_a_document_over_the_limit_is_refused_with_its_length(tmp_path: Path):
    rows = [*some_documents(10), {"_id": "x", "text": "word " * 300}]
    error = refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", rows), "pull.max_chars=1000")
    assert "line 11" in error.message and "1,499" in error.message and "1,000" in error.message
    assert "pull.max_chars" in error.hint


@pytest.mark.parametrize("name", ["gone.jsonl", "gone", "some folder/with spaces", "/gone/for/ever", "a/b/c", "-"])
def test_a_path_that_is_not_there_says_what_a_corpus_can_be(name: str):
    with pytest.raises(CorpusError, match="no file or folder") as caught:
        locate_corpus(name)
    assert f"'{name}'" in caught.value.message and "org/name" in caught.value.hint


def test_a_file_of_a_form_that_is_not_read_is_no_corpus(tmp_path: Path):
    file = tmp_path / "only.pptx"
    file.write_bytes(b"PK")
    with pytest.raises(CorpusError, match=r"\.pptx file") as caught:
        locate_corpus(str(file))
    assert ".jsonl" in caught.value.message and ".docx" in caught.value.message and "folder" in caught.value.hint


def test_too_few_documents_say_how_many_were_dropped_and_why(tmp_path: Path):
    rows = [*some_documents(3), {"_id": "x", "text": ""}, {"_id": "y", "text": "no"}]
    error = refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", rows))
    assert "3 usable documents of 5 read" in error.message and "at least 10" in error.message
    assert "1 no text" in error.message and "1 too short" in error.message


def test_ten_documents_are_enough_and_nine_are_not(tmp_path: Path):
    assert len(pull(tmp_path, write_jsonl(tmp_path / "ten.jsonl", some_documents(10)))[0]) == 10
    with pytest.raises(CorpusError, match="9 usable documents"):
        run_until(tmp_path / "nine", write_jsonl(tmp_path / "nine.jsonl", some_documents(9)), "pull")


def test_a_run_that_was_refused_goes_on_with_a_better_corpus(tmp_path: Path):
    refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", some_documents(2)))
    documents, _ = pull(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", some_documents(12)))
    assert len(documents) == 12


def test_a_damaged_corpus_leaves_the_earlier_pull_in_place(tmp_path: Path):
    file = write_jsonl(tmp_path / "corpus.jsonl", some_documents(12))
    run, _ = run_until(tmp_path / "run", file, "pull")
    before = run.manifests("corpus")["pull"]
    write_jsonl(file, [*some_documents(12), "broken"])
    with pytest.raises(CorpusError):
        run_until(tmp_path / "run", file, "pull")
    assert run.manifests("corpus")["pull"] == before and len(read_documents(run)) == 12
    assert not (tmp_path / "run" / ".partial").exists()


# Bad input, through the real command


def one_giant_line(file: Path, before: bytes = b"", after: bytes = b"") -> Path:
    with file.open("wb") as handle:
        handle.write(before)
        for _ in range(50):
            handle.write(b"word " * (MEGABYTES_50 // 250))
        handle.write(after)
    return file


def missing(tmp_path: Path) -> Path:
    return tmp_path / "gone.jsonl"


def empty_file(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", [])


def empty_csv(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.csv"
    file.write_text("id,text\n", encoding="utf-8")
    return file


def empty_folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def one_document(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", some_documents(1))


def without_text(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", [{"_id": str(n), "text": ""} for n in range(20)])


def duplicate_ids(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(12), *some_documents(1)])


def good(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", some_documents(12))


def giant_jsonl(tmp_path: Path) -> Path:
    return one_giant_line(tmp_path / "corpus.jsonl", b'{"_id": "x", "text": "', b'"}\n')


def giant_csv(tmp_path: Path) -> Path:
    return one_giant_line(tmp_path / "corpus.csv", b"id,text\nx,")


def giant_text(tmp_path: Path) -> Path:
    return one_giant_line(empty_folder(tmp_path) / "book.txt").parent


def broken_json(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(12), '{"_id": "x", '])


def broken_parquet(tmp_path: Path) -> Path:
    file = write_table(tmp_path / "corpus.parquet", some_documents(12))
    file.write_bytes(file.read_bytes()[:-20])
    return file


BAD = [
    (missing, (), "no file or folder"),
    (empty_file, (), "is empty"),
    (empty_csv, (), "is empty"),
    (empty_folder, (), "holds no documents"),
    (one_document, (), "1 usable document of 1 read"),
    (without_text, (), "0 usable documents of 20 read"),
    (good, ("pull.text_column=contents",), "no column 'contents'"),
    (good, ("pull.id_column=title", "pull.title_column=nam"), "no column 'nam'"),
    (duplicate_ids, (), "The id 'd0' stands twice"),
    (giant_jsonl, (), "corpus.jsonl line 1 is longer than 4 MB"),
    (giant_csv, (), "corpus.csv line 2 is longer than 4 MB"),
    (giant_text, (), "book.txt is longer than 4 MB"),
    (broken_json, (), "corpus.jsonl line 13 is not JSON"),
    (broken_parquet, (), "cannot be read as Parquet"),
]


@pytest.mark.parametrize(("make", "settings", "sentence"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_bad_input_gets_one_clear_sentence_and_exit_code_2_and_leaves_nothing(
    hfembed: Any, tmp_path: Path, make: Any, settings: tuple[str, ...], sentence: str
):
    corpus = make(tmp_path)
    folder = tmp_path / "run"
    changes = [part for setting in settings for part in ("--set", setting)]
    answer = hfembed("run", "--corpus", corpus, "--run", folder, "--until", "pull", *changes, "--format", "json")
    assert answer.code == 2
    (line,) = answer.out.splitlines()
    error = json.loads(line)["error"]
    assert set(json.loads(line)) == {"error"}
    assert error["type"] == "CorpusError" and sentence in error["message"]
    assert "Traceback" not in answer.err and "Unexpected" not in answer.err
    assert answer.err.count("Error:") == 1 and sentence in " ".join(answer.err.split())
    assert nothing_half_written(folder)


def test_without_json_a_refusal_leaves_stdout_empty(hfembed: Any, tmp_path: Path):
    answer = hfembed("run", "--corpus", one_document(tmp_path), "--run", tmp_path / "run", "--until", "pull")
    assert (answer.code, answer.out) == (2, "")
    assert "1 usable document" in answer.err and "Traceback" not in answer.err


def test_invalid_utf8_through_the_command_is_counted_and_said(hfembed: Any, tmp_path: Path):
    file = good(tmp_path)
    with file.open("ab") as handle:
        handle.write(b'{"_id": "x", "text": "na\xefve words in latin one"}\n')
    answer = hfembed("run", "--corpus", file, "--run", tmp_path / "run", "--until", "pull", "--format", "json")
    assert answer.code == 0 and answer.json()["stages"][0]["counts"]["invalid_utf8"] == 1
    assert "UTF-8" in answer.err


def test_a_folder_that_may_not_be_made_is_refused(hfembed: Any, tmp_path: Path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    folder = tmp_path / "file" / "run"
    answer = hfembed("run", "--corpus", good(tmp_path), "--run", folder, "--until", "pull", "--format", "json")
    assert answer.code == 2 and answer.json()["error"]["type"] == "RunError"


def test_memory_does_not_grow_with_a_single_line(tmp_path: Path):
    import tracemalloc

    file = giant_jsonl(tmp_path)
    tracemalloc.start()
    with pytest.raises(CorpusError):
        list(read_corpus(locate_corpus(str(file)), Pull()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20
    os.unlink(file)


# What should be refused or kept, and is not yet


def test_a_lone_surrogate_in_json_is_replaced_like_other_broken_text(tmp_path: Path):
    documents, _ = kept(tmp_path, '{"_id": "x", "text": "a broken \\ud800 surrogate in a text"}')
    assert documents[0]["text"] == "a broken \ufffd surrogate in a text"


def test_a_number_too_long_for_python_is_a_broken_line(tmp_path: Path):
    line = '{"_id": "x", "text": "words and words", "n": ' + "1" * 5000 + "}"
    assert "line 11" in refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(10), line])).message


def test_json_nested_too_deep_is_a_broken_line(tmp_path: Path):
    rows = [*some_documents(10), "[" * 100_000]
    assert "line 11" in refusal(tmp_path, write_jsonl(tmp_path / "corpus.jsonl", rows)).message


def test_invalid_utf8_in_parquet_is_kept_with_replacement_and_counted(tmp_path: Path):
    raw = pa.array([b"The text \xe9 number %d of this file" % n for n in range(12)], pa.binary())
    text = pa.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": text}), tmp_path / "corpus.parquet")
    documents, manifest = pull(tmp_path, tmp_path / "corpus.parquet")
    assert documents[0]["text"] == "The text \ufffd number 0 of this file" and manifest.counts["invalid_utf8"] == 12


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_limit_beyond_any_machine_is_answered_clearly(tmp_path: Path, suffix: str):
    from hfembed.errors import HfembedError

    file = write_table(tmp_path / f"corpus{suffix}", some_documents(12))
    try:
        documents, _ = pull(tmp_path, file, f"pull.max_chars={10**20}")
    except HfembedError as error:
        assert "max_chars" in error.message
    else:
        assert len(documents) == 12


def test_a_name_too_long_for_a_file_is_a_path_that_is_not_there():
    with pytest.raises(CorpusError, match="no file or folder"):
        locate_corpus("a" * 300)


def test_the_home_of_nobody_is_a_path_that_is_not_there():
    with pytest.raises(CorpusError, match="no file or folder"):
        locate_corpus("~nobody-of-this-name/corpus.jsonl")


@pytest.mark.parametrize("space", ["\t", "\n", "\r"])
def test_an_id_holds_no_tab_and_no_line_feed(tmp_path: Path, space: str):
    documents, _ = kept(tmp_path, {"_id": f"x{space}y", "text": "words and more words"})
    assert space not in documents[0]["id"]


def test_an_empty_name_is_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path, some_documents(12))
    with pytest.raises(CorpusError):
        locate_corpus("")


def test_read_corpus_counts_without_a_tally_of_the_caller(tmp_path: Path):
    source = locate_corpus(str(write_jsonl(tmp_path / "corpus.jsonl", some_documents(3))))
    assert [document.id for document in read_corpus(source, Pull())] == ["d0", "d1", "d2"]
    assert Run(tmp_path).manifests("corpus") == {}
