"""The form says what is missing, lets nothing of this machine be named, and makes the recipe that the page shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hfembed.errors import HfembedError
from hfembed.recipe import DEFAULT_BASE, ChunkBy
from space.build_launch import fill_form
from space.form import FIELDS, OTHER, CorpusChoice, Form, Visibility, base_of, make_form_recipe, missing, read_form
from space.settings import Settings, read_settings
from space.uploads import folder_name, keep_uploads, safe_name

SETTINGS = read_settings({"HFEMBED_SPACE_MAX_MB": "1"})


@pytest.fixture
def offered(tmp_path: Path) -> tuple[Settings, Path]:
    """A page whose owner offers a model that lies in a folder of theirs."""
    folder = tmp_path / "secret" / "our-model"
    folder.mkdir(parents=True)
    return read_settings({"HFEMBED_SPACE_BASES": str(folder)}), folder


def other(name: str) -> Form:
    return Form(base=OTHER, other_base=name)


def hub(dataset: str) -> Form:
    return Form(choice=CorpusChoice.HUB, dataset=dataset)


def upload(*files: Path) -> Form:
    return Form(choice=CorpusChoice.UPLOAD, files=files)


def test_the_fields_of_the_page_are_read_in_their_order():
    values = dict.fromkeys(FIELDS) | {"choice": "hub", "dataset": " org/name ", "files": ["/tmp/a.txt"], "chunk": 1}
    form = read_form(list(values.values()))
    assert (form.choice, form.dataset, form.files, form.chunk) == ("hub", "org/name", (Path("/tmp/a.txt"),), True)
    assert form.config == "" and form.max_cost == ""


@pytest.mark.parametrize("form", [Form(), Form(base=DEFAULT_BASE), other("org/name@main"), Form(base="BAAI/bge-x")])
def test_the_sample_with_an_offered_or_hub_base_can_be_launched(form: Form):
    assert missing(form, SETTINGS) == ""


@pytest.mark.parametrize("dataset", ["BeIR/scifact", "org/name:config", "org/name@v1", "org/name:config@v1"])
def test_a_hub_dataset_can_be_launched(dataset: str):
    assert missing(hub(dataset), SETTINGS) == ""


def test_a_config_that_is_chosen_is_named_as_on_the_command_line():
    assert replace(hub("org/name@v1"), config="corpus").source == "org/name:corpus@v1"
    assert replace(hub("org/name:queries"), config="corpus").source == "org/name:queries"


@pytest.mark.parametrize(
    "dataset",
    ["/etc/passwd", "../../x/y", "../x", "~/x", "org/..", "name", "a b/c", "--rerun", "-x/y", "hf://datasets/a/b"],
)
def test_what_is_no_hub_dataset_is_refused(dataset: str):
    assert "is not a Hub dataset id" in missing(hub(dataset), SETTINGS)


@pytest.mark.parametrize("base", ["/models/other", "../x", "~/model", "org/..", "name", "--run"])
def test_what_is_no_hub_model_is_refused(base: str):
    assert "is not a Hub model id" in missing(other(base), SETTINGS)


@pytest.mark.parametrize("suffix", ["", ":config", "@main"])
def test_a_folder_of_the_working_directory_that_looks_like_an_id_is_never_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "private" / "documents").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "is not a Hub dataset id" in missing(hub(f"private/documents{suffix}"), SETTINGS)
    assert "is not a Hub model id" in missing(other("private/documents"), SETTINGS)
    assert "is not a Hub model id" in missing(Form(base="private/documents"), SETTINGS)


def test_a_folder_that_the_owner_offers_goes_by_its_name_alone(offered: tuple[Settings, Path]):
    settings, folder = offered
    assert base_of(Form(base="our-model"), settings) == str(folder.resolve())
    assert base_of(Form(base=""), settings) == str(folder.resolve())
    assert "is not a Hub model id" in missing(other(str(folder)), settings)


def test_every_gap_has_its_sentence(tmp_path: Path):
    names = ("a.txt", "a.csv", "a.obo", "a.exe", "b.txt")
    text, table, terms, binary, big = (tmp_path / name for name in names)
    for file in (text, table, terms, binary):
        file.write_text("x")
    big.write_bytes(b"x" * 1_100_000)
    publishing = Form(visibility=Visibility.PRIVATE, model_repo="demo/model")
    assert missing(upload(), SETTINGS).startswith("No file is uploaded yet.")
    assert "'a.exe' cannot be read" in missing(upload(binary), SETTINGS)
    assert "at most 1 MB" in missing(upload(big), SETTINGS)
    assert "Tables (.csv) and texts (.txt) are mixed." in missing(upload(text, table), SETTINGS)
    assert "Ontologies (.obo) and texts (.txt) are mixed." in missing(upload(text, terms), SETTINGS)
    assert missing(hub(""), SETTINGS).startswith("No dataset is named yet.")
    assert missing(other(""), SETTINGS).startswith("No base model is named.")
    assert missing(Form(preset=""), SETTINGS).startswith("No preset is chosen.")
    assert "There is no preset 'instnat'" in missing(Form(preset="instnat"), SETTINGS)
    assert missing(replace(publishing, model_repo=""), SETTINGS).startswith("No name is given")
    assert "must be of the form ORG/NAME" in missing(replace(publishing, model_repo="just a name"), SETTINGS)
    assert "must be of the form ORG/NAME" in missing(replace(publishing, dataset_repo="../x/y"), SETTINGS)


@pytest.mark.parametrize("sum_", ["much", "0", "-1", "nan", "inf"])
def test_what_is_no_sum_of_money_is_refused_where_money_is_spent(sum_: str):
    assert "must be a sum above 0" in missing(Form(place="jobs", max_cost=sum_), SETTINGS)
    assert missing(Form(place="local", max_cost=sum_), SETTINGS) == ""
    assert missing(Form(place="jobs", max_cost="$2.50"), SETTINGS) == ""


def test_the_recipe_says_what_the_form_says_and_leaves_what_is_guessed_open():
    form = replace(
        hub("org/name"), split="test", text="body", chunk=True, visibility=Visibility.PUBLIC, model_repo="demo/m"
    )
    recipe = make_form_recipe(form, SETTINGS, form.source)
    assert (recipe.corpus, recipe.pull.split, recipe.pull.text_column, recipe.pull.title_column) == (
        "org/name", "test", "body", None,
    )  # fmt: skip
    assert recipe.pull.chunk.by is ChunkBy.TOKENS
    assert (recipe.push.model_repo, recipe.push.dataset_repo, recipe.push.public) == ("demo/m", None, True)
    assert make_form_recipe(Form(model_repo="demo/m"), SETTINGS, "sample").push.model_repo is None


def test_a_form_that_a_run_fills_again_makes_the_same_recipe(offered: tuple[Settings, Path], tmp_path: Path):
    settings, _ = offered
    table = tmp_path / "notes.jsonl"
    table.write_text('{"text": "x"}\n')
    forms = [
        Form(base="our-model"),
        replace(hub("org/name:config@v1"), split="test", text="body", base=OTHER, other_base="org/model@v2"),
        replace(upload(table), base="BAAI/bge-small-en-v1.5", chunk=True, preset="thorough"),
        Form(visibility=Visibility.PUBLIC, model_repo="demo/m", dataset_repo="demo/d", place="jobs", flavor="l4x1"),
    ]
    for form in forms:
        corpus = str(table) if form.files else form.source or "sample"
        recipe = make_form_recipe(form, settings, corpus)
        filled = fill_form(recipe, form.place, form.flavor, form.until, settings)
        assert make_form_recipe(filled, settings, corpus) == recipe
        assert (filled.files, filled.where, filled.until) == (form.files, form.where, form.until)


def test_a_recipe_that_names_what_is_gone_fills_a_form_that_says_so(tmp_path: Path):
    recipe = make_form_recipe(Form(), SETTINGS, str(tmp_path / "deleted.jsonl"))
    assert missing(fill_form(recipe, "local", "", "export", SETTINGS), SETTINGS).startswith("No file is uploaded yet.")
    with pytest.raises(HfembedError, match="nowhere a run can go"):
        _ = replace(Form(), place="moon").where


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
def test_an_uploaded_name_becomes_harmless(name: str, safe: str):
    assert safe_name(name) == safe


def test_uploads_of_one_name_do_not_overwrite_each_other(tmp_path: Path):
    files = []
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        files.append(tmp_path / part / "notes.txt")
        files[-1].write_text(part)
    folder = keep_uploads(files, tmp_path / "kept")
    assert folder == tmp_path / "kept" / "notes-and-1-more" == tmp_path / "kept" / folder_name(files)
    assert sorted(file.read_text() for file in folder.iterdir()) == ["one", "two"]


def test_files_that_are_only_looked_at_are_not_copied(tmp_path: Path):
    (tmp_path / "a.txt").write_text("x")
    folder = keep_uploads([tmp_path / "a.txt"], tmp_path / "look", only_look=True)
    assert [file.is_symlink() for file in folder.iterdir()] == [True]


def test_a_single_table_is_the_corpus_itself(tmp_path: Path):
    (tmp_path / "Data.CSV").write_text("text\nx\n")
    assert keep_uploads([tmp_path / "Data.CSV"], tmp_path / "kept") == tmp_path / "kept" / "Data" / "Data.csv"
