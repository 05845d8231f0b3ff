"""Publish: the cards as they will be written, what would change, the push, and a model that was trained elsewhere."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from builders import run_until, some_documents, write_beir
from huggingface_hub import HfApi, hf_hub_download
from told import serve_hub

from hfembed.errors import HfembedError, HubError, InputError, ModelError, RecipeError
from hfembed.events import read_events, silent
from hfembed.hub.repos import Change
from hfembed.launch.contract import Place, begin, begun
from hfembed.launch.record import LauncherName, Outcome, now, this_machine, write_link
from hfembed.localhub import LocalHub
from hfembed.run import LAYOUT, Run, write_atomically
from space import runs
from space.download import zip_model
from space.elsewhere import Target, hub_id, last_measured, measure_here, preview_measured, push_measured
from space.publish_elsewhere import measured_html
from space.publish_page import open_page, push_run, show_preview, show_push
from space.publishing import NO_ACCOUNT, first_wish, look, publishable, push
from space.runs import Status, VisitorRun
from space.view_publish import what_happens
from space.visitors import Visitor, new_token, visitor_of
from tests.conftest import CHEAP

pytestmark = pytest.mark.xdist_group("publish")

PATIENCE = 90
WORDS = (
    "Pump finder",
    "Finds <b>pumps</b>.",
    "For technicians.",
    "- Nothing in French",
    "ada@example.org",
    "Pump data.",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """A run that a pipeline made to the end of export."""
    folder = tmp_path_factory.mktemp("made")
    corpus = write_beir(folder / "units", some_documents(60))
    return run_until(folder / "run", corpus, "export", *CHEAP, "train.strength=0.5", base=tiny_model)[0]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HFEMBED_SPACE_BASES", str(tiny_model))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalHub, HfApi]]:
    """A live Hub that this process and those it starts speak to; nobody is logged in on this machine."""
    with serve_hub(tmp_path / "hub", monkeypatch) as (server, api):
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield server, api


@pytest.fixture
def stranger() -> Visitor:
    """Somebody who has not signed in."""
    return visitor_of(new_token(), None)


@pytest.fixture
def demo(served: tuple[LocalHub, HfApi], stranger: Visitor) -> Visitor:
    """Somebody who has signed in."""
    return replace(stranger, name="demo", hub_token=str(served[1].token))


def launched(visitor: Visitor, made: Run) -> VisitorRun:
    """A run of a visitor that came to its end."""
    folder = runs.new_folder(visitor)
    shutil.copytree(made.folder, folder / runs.RUN)
    found = runs.prepare(replace(visitor, hub_token=None), folder, made.recipe(), Place.parse("local"), "export")
    launch = begun(begin(found.order, found.chosen, LauncherName.LOCAL, this_machine(), None), "999999999")
    run = Run(folder / runs.RUN)
    write_link(run, launch)
    outcome = Outcome(
        attempt=1, error=None, seconds=1, stages={}, verdict=None, published=[], machine="here", finished=now()
    )
    write_atomically(run.path(LAYOUT.outcome), outcome.to_text())
    return VisitorRun(launch, folder)


def wait_for(visitor: Visitor, one: VisitorRun) -> None:
    deadline = time.monotonic() + PATIENCE
    while not runs.status(visitor, one).is_over:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_visitor_without_an_account_sees_all_that_would_be_written_and_publishes_nothing(
    stranger: Visitor, made: Run
):
    one = launched(stranger, made)
    assert [entry.id for entry in publishable(stranger)] == [one.id]
    wish = first_wish(stranger, one)
    assert (wish.model_repo, wish.dataset_repo, wish.public) == ("you/units-model", "you/units-triplets", False)
    found = look(stranger, one, wish)
    model, dataset = found.of("model"), found.of("dataset")
    assert model is not None and dataset is not None
    assert "SentenceTransformer(" in model.text and model.metadata["library_name"] == "sentence-transformers"
    sizes = {entry.path: entry.size for entry in model.state.changes}
    assert sizes["model.safetensors"] == (one.run.path(LAYOUT.model) / "model.safetensors").stat().st_size
    assert {entry.change for entry in dataset.state.changes} == {Change.NEW}
    assert any("licence of the" in sentence for sentence in found.warnings)
    with pytest.raises(InputError, match="Sign in"):
        push(stranger, one, wish)


def test_a_push_writes_what_the_preview_shows_once_and_with_the_visitors_own_key(
    demo: Visitor, served: tuple[LocalHub, HfApi], made: Run
):
    api = served[1]
    one = launched(demo, made)
    wish = first_wish(demo, one)
    assert wish.model_repo == "demo/units-model"
    wish = replace(
        wish,
        **dict(
            zip(("title", "summary", "intended_use", "limitations", "contact", "dataset_summary"), WORDS, strict=True)
        ),
    )
    shown = look(demo, one, wish)
    model, dataset = shown.of("model"), shown.of("dataset")
    assert model is not None and dataset is not None
    assert what_happens(model.state, False).startswith("will be created, with ")
    assert model.text.startswith("# Pump finder\n\nFinds \\<b\\>pumps\\</b\\>.") and "<ada@example.org>" in dataset.text
    weights = (one.run.path(LAYOUT.model) / "model.safetensors").read_bytes()
    corpus = Path(str(made.recipe().corpus)) / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + '{"_id": "new", "text": "A document that came later."}\n')
    pushed = push(demo, one, wish)
    with pytest.raises(HfembedError):
        push(demo, pushed, wish)  # while it is under way
    wait_for(demo, pushed)
    ended = runs.outcome(demo, pushed)
    assert runs.status(demo, pushed) is Status.FINISHED, (ended, one.run.path(LAYOUT.launch_log).read_text())
    # What was looked at is what is published, though the corpus has changed since.
    assert (one.run.path(LAYOUT.model) / "model.safetensors").read_bytes() == weights
    assert {event.stage for event in read_events(one.run.path(LAYOUT.events)) if event.kind == "done"} >= {"push"}
    assert [event.stage for event in read_events(one.run.path(LAYOUT.events)) if event.kind == "start"].count(
        "pull"
    ) == 1
    assert api.model_info("demo/units-model").private and api.dataset_info("demo/units-triplets").private
    for entry, kind in ((model, "model"), (dataset, "dataset")):
        card = Path(hf_hub_download(entry.repo, "README.md", repo_type=kind, token=str(api.token))).read_text()
        assert card == entry.card
    again = look(demo, pushed, wish)
    assert not any(entry.changes_something() for entry in again.repos)
    changed = look(demo, pushed, replace(wish, summary="Other words.")).of("model")
    assert changed is not None
    assert {entry.path for entry in changed.state.changes if entry.change is not Change.SAME} == {
        "README.md",
        "recipe.yaml",
    }
    assert what_happens(changed.state, False) == "will be updated: 2 files change"
    kept = "".join(file.read_text(errors="replace") for file in one.folder.rglob("*") if file.is_file())
    assert str(api.token) not in kept


def test_what_cannot_be_published_is_refused_in_words_before_anything_is_started(
    demo: Visitor, served: tuple[LocalHub, HfApi], made: Run
):
    one = launched(demo, made)
    wish = first_wish(demo, one)
    with pytest.raises(RecipeError, match=r"'push\.model_repo' is 'no repo', but must be of the form ORG/NAME"):
        look(demo, one, replace(wish, model_repo="no repo"))
    with pytest.raises(HubError, match="neither yours nor an organisation's of yours: you are demo"):
        push(demo, one, replace(wish, model_repo="somebody/units"))
    with pytest.raises(InputError, match="No repo"):
        push(demo, one, replace(wish, model_repo=" ", dataset_repo=""))
    with pytest.raises(RecipeError, match="at most 2,000 characters long"):
        look(demo, one, replace(wish, summary="long " * 500))
    other = HfApi(endpoint=served[0].url, token=served[0].add_user("somebody"))
    other.create_repo("somebody/units")
    asked = look(demo, one, replace(wish, model_repo="somebody/units", pull_request=True)).of("model")
    assert asked is not None and asked.pull_request
    assert what_happens(asked.state, True).startswith("gets a pull request that changes ")
    assert [entry.launch.until for entry in publishable(demo)] == ["export"]


def test_a_push_that_failed_says_why_and_can_be_tried_again(
    demo: Visitor, served: tuple[LocalHub, HfApi], made: Run, monkeypatch: pytest.MonkeyPatch
):
    one = launched(demo, made)
    monkeypatch.setattr("space.publish_page.visitor_of", lambda token, request: demo)
    opened = open_page("", one.id, "", None)
    values = opened[5:15]
    assert values[:2] == ("demo/units-model", "demo/units-triplets")
    file = one.run.path(LAYOUT.launch)
    launch = one.launch.model_copy(update={"until": "push"})
    write_link(one.run, launch)
    error = {"type": "HubError", "message": "The Hub refuses the model.", "hint": "hf auth whoami"}
    outcome = json.loads(one.run.path(LAYOUT.outcome).read_text()) | {"error": error}
    one.run.path(LAYOUT.outcome).write_text(json.dumps(outcome))
    assert file.is_file() and [entry.id for entry in publishable(demo)] == [one.id]
    shown = show_push("", one.id, None, *values)
    assert shown[4].value == "Try again" and shown[4].interactive
    assert "The Hub refuses the model." in shown[6] and not shown[7].active


def test_the_page_keeps_what_was_written_and_shows_why_the_button_is_closed(
    stranger: Visitor, made: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("space.publish_page.visitor_of", lambda token, request: stranger)
    assert "Nothing to publish yet" in open_page("", "", "", None, *[""] * 10)[2]
    one = launched(stranger, made)
    opened = open_page("", "", "", None, *[""] * 10)
    assert opened[0].value == one.id and "hf-verdict" in opened[2] and "Sign in with Hugging Face" in opened[20]
    assert not opened[19].interactive
    values = ["me/other", *opened[6:15]]
    kept = open_page("", one.id, opened[1], None, *values)
    assert all("__type__" in value for value in kept[5:15] if isinstance(value, dict))
    assert "other" in kept[15]
    wrong = show_preview("", one.id, None, "no repo", *opened[6:15])
    assert "must be of the form ORG/NAME" in wrong[5] and not wrong[4].interactive
    refused = push_run("", one.id, None, *opened[5:15])
    assert NO_ACCOUNT in refused[3]


def test_the_model_goes_home_as_one_file_that_loads(stranger: Visitor, made: Run, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    one, told = launched(stranger, made), []
    file = zip_model(one, told.append)
    assert file.name == "units-model.zip" and told[-1] == 1 and told == sorted(told)
    assert zip_model(one) == file
    with zipfile.ZipFile(file) as archive:
        assert not [name for name in archive.namelist() if "manifest" in name]
        archive.extractall(tmp_path / "home")
    assert SentenceTransformer(str(tmp_path / "home" / "model"), device="cpu").encode(["a"]).shape == (1, 32)


def test_a_model_trained_elsewhere_is_measured_and_published_with_its_scores(
    demo: Visitor, served: tuple[LocalHub, HfApi], made: Run, tiny_model: Path
):
    api, one = served[1], launched(demo, made)
    api.create_repo("demo/stranger")
    api.upload_folder(folder_path=tiny_model, repo_id="demo/stranger")
    readme = b"---\nlicense: mit\n---\n\n# Mine\n\nWords of mine.\n"
    api.upload_file(path_or_fileobj=readme, path_in_repo="README.md", repo_id="demo/stranger")
    measured = measure_here(demo, "demo/stranger", one, silent())
    assert last_measured(demo) == measured and measured.found["difference"]["verdict"] == "no difference"
    html = measured_html(measured)
    assert "The model ranks" in html and "demo/stranger against" in html and "model + BM25" in html
    target = Target("demo/stranger", public=False, pull_request=True)
    shown, missing = preview_measured(demo, target)
    assert "Words of mine." in shown.text and "## Measured by hfembed" in shown.text
    assert shown.metadata["model-index"][0]["results"][0]["metrics"][0]["type"] == "ndcg_at_10"
    assert not any("measured" in sentence for sentence in missing)
    done = push_measured(demo, target, silent())
    assert done.published.pull_request == 1
    card = hf_hub_download("demo/stranger", "README.md", revision="refs/pr/1", token=str(api.token))
    assert Path(card).read_text(encoding="utf-8") == shown.card
    assert b"Measured" not in Path(hf_hub_download("demo/stranger", "README.md", token=str(api.token))).read_bytes()


@pytest.mark.parametrize("name", ["", "/etc", "../up/model", "tests/space", "no-slash", "org/name/../../etc"])
def test_only_a_hub_id_names_a_model_trained_elsewhere(name: str):
    with pytest.raises(ModelError):
        hub_id(name)
