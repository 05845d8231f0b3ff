"""The form says what is missing, and lets nothing of this machine be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfembed.recipe import DEFAULT_BASE, DEFAULT_PRESET
from space.form import CorpusChoice, Form, missing
from space.settings import read_settings
from space.uploads import keep_uploads, safe_name

SETTINGS = read_settings({"HFEMBED_SPACE_MAX_MB": "1", "HFEMBED_SPACE_BASES": "/models/tiny"})


def form(choice: CorpusChoice = CorpusChoice.SAMPLE, *files: Path, dataset: str = "", base: str = DEFAULT_BASE,
         preset: str = DEFAULT_PRESET) -> Form:  # fmt: skip
    return Form(choice, files, dataset, base, preset)


@pytest.mark.parametrize("base", [DEFAULT_BASE, "/models/tiny", "org/name@main"])
def test_the_sample_with_an_offered_or_hub_base_can_be_launched(base: str) -> None:
    assert missing(form(base=base), SETTINGS) == ""


@pytest.mark.parametrize("dataset", ["BeIR/scifact", "org/name:config", "org/name@v1", "org/name:config@v1"])
def test_a_hub_dataset_can_be_launched(dataset: str) -> None:
    assert missing(form(CorpusChoice.HUB, dataset=dataset), SETTINGS) == ""


@pytest.mark.parametrize(
    "dataset", ["/etc/passwd", "../../x/y", "../x", "~/x", "org/..", "name", "a b/c", "--rerun", "-x/y"]
)
def test_what_is_no_hub_dataset_is_refused(dataset: str) -> None:
    assert "is not a Hub dataset id" in missing(form(CorpusChoice.HUB, dataset=dataset), SETTINGS)


@pytest.mark.parametrize("base", ["/models/other", "../x", "~/model", "org/..", "name", "--run"])
def test_what_is_no_hub_model_is_refused(base: str) -> None:
    assert "is not a Hub model id" in missing(form(base=base), SETTINGS)


def test_every_gap_has_its_sentence(tmp_path: Path) -> None:
    text, table, binary, big = (tmp_path / name for name in ("a.txt", "a.csv", "a.exe", "b.txt"))
    for file in (text, table, binary):
        file.write_text("x")
    big.write_bytes(b"x" * 1_100_000)
    upload = CorpusChoice.UPLOAD
    assert missing(form(upload), SETTINGS).startswith("No file is uploaded yet.")
    assert "'a.exe' cannot be read" in missing(form(upload, binary), SETTINGS)
    assert "at most 1 MB" in missing(form(upload, big), SETTINGS)
    assert "are mixed" in missing(form(upload, text, table), SETTINGS)
    assert missing(form(CorpusChoice.HUB), SETTINGS).startswith("No dataset is named yet.")
    assert missing(form(base=""), SETTINGS).startswith("No base model is named.")
    assert missing(form(preset=""), SETTINGS).startswith("No preset is chosen.")
    assert "There is no preset 'instnat'" in missing(form(preset="instnat"), SETTINGS)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("..\\..\\windows.md", "windows.md"),
        (".hidden.jsonl", "hidden.jsonl"),
        ("a b;rm -rf $HOME.csv", "a-b-rm-rf-HOME.csv"),
        ("<img src=x>.md", "img-src-x.md"),
        ("two--dashes.txt", "two-dashes.txt"),
        ("Bedienung für Ärzte.txt", "Bedienung-für-Ärzte.txt"),
        ("\x00.txt", "document.txt"),
    ],
)
def test_an_uploaded_name_becomes_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_uploads_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    files = []
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        files.append(tmp_path / part / "notes.txt")
        files[-1].write_text(part)
    folder = keep_uploads(files, tmp_path / "kept")
    assert folder == tmp_path / "kept"
    assert sorted(file.read_text() for file in folder.iterdir()) == ["one", "two"]


def test_a_single_table_is_the_corpus_itself(tmp_path: Path) -> None:
    (tmp_path / "Data.CSV").write_text("text\nx\n")
    assert keep_uploads([tmp_path / "Data.CSV"], tmp_path / "kept") == tmp_path / "kept" / "Data.csv"
