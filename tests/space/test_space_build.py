"""The Build page without a browser: what it shows for a form, what it refuses, and what a launch leaves behind."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import gradio as gr
import pytest
from builders import some_documents, write_jsonl
from huggingface_hub import HfApi, constants, file_download

from hfembed.hub import search as hub_search
from hfembed.launch.contract import Place
from hfembed.launch.record import LauncherName
from hfembed.localhub import LocalHub
from space import find_dataset, runs, study
from space.build_handlers import confirm_launch, duplicate, glance, launch_or_ask, refresh, show, show_queries
from space.build_launch import find_price
from space.build_page import build_page
from space.build_show import form_updates
from space.form import FIELDS, OTHER, Form, make_form_recipe, read_form
from space.memo import Memo
from space.page import Session
from space.settings import read_settings
from space.study import quote_place
from space.view_places import duration
from space.visitors import new_token, visitor_of
from tests.conftest import CHEAP
from tests.space.conftest import finish


@dataclass
class Browser:
    """A browser's page: its secret, who is signed in, the form, and what the page shows."""

    request: Any
    token: str
    form: Form
    shown: dict[str, Any]

    def change(self, **values: Any) -> dict[str, Any]:
        """Fill in fields, and let the page come up to date."""
        self.form = replace(self.form, **values)
        return self.call(show)

    def call(self, handler: Any) -> dict[str, Any]:
        """Call a handler with the page's values; take over what it gives."""
        memo, asked = self.shown.get("memo", Memo()), self.shown.get("asked", "")
        for given in handler(self.token, memo, asked, self.request, *self.values()):
            self.shown |= given
        for name in FIELDS:
            if name in self.shown:
                value = getattr(self.shown[name], "value", self.shown[name])
                self.form = replace(self.form, **{name: value}) if isinstance(value, str) else self.form
        return self.shown

    def values(self) -> list[Any]:
        return [getattr(self.form, name) for name in FIELDS]

    @property
    def reason(self) -> str:
        return plain(self.shown["reason"])

    @property
    def visitor(self) -> Any:
        return visitor_of(self.token, self.request)

    @property
    def launched(self) -> list[runs.VisitorRun]:
        return runs.runs_here(self.visitor)

    def left_behind(self) -> list[Path]:
        """Return what stands in the visitor's folder."""
        folder = self.visitor.folder
        return list(folder.iterdir()) if folder.is_dir() else []


def plain(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def card(shown: dict[str, Any], group: str, title: str) -> str:
    """Return the markup of a card."""
    markup = (
        shown[group].constructor_args["markup"]
        if hasattr(shown[group], "constructor_args")
        else shown[group].props["markup"]
    )
    return next(part for part in str(markup).split("<label")[1:] if f"<b>{title}</b>" in part)


@pytest.fixture(autouse=True)
def page(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The owner's settings: a tiny model, cheap runs."""
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HFEMBED_SPACE_BASES", str(tiny_model))
    monkeypatch.setenv("HFEMBED_SPACE_SET", " ".join(CHEAP))
    monkeypatch.setattr(study, "_prices", {})
    return tmp_path


@pytest.fixture
def stranger() -> Browser:
    """Somebody who is not signed in."""
    browser = Browser(None, new_token(), Form(base="model"), {})
    browser.call(refresh)
    return browser


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A Hub that runs jobs."""
    with LocalHub(root=tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def demo(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """demo, who belongs to acme and is signed in."""
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    key = hub.add_user("demo", ["acme"])
    session = {"oauth_info": {"userinfo": {"preferred_username": "demo"}, "access_token": key}}
    return Browser(SimpleNamespace(session=session, session_hash="s"), new_token(), Form(base="model"), {})


@pytest.fixture
def api(hub: LocalHub, demo: Browser) -> HfApi:
    return HfApi(endpoint=hub.url, token=demo.visitor.hub_token)


def test_the_sample_is_shown_with_its_documents_times_and_what_needs_an_account(stranger: Browser):
    shown = stranger.shown
    assert stranger.reason == "Ready to launch."
    assert "120 documents" in shown["preview"] and "English" in shown["preview"] and "<svg" in shown["preview"]
    assert "the base model reads 128" in shown["preview"] and "hf-limit" in shown["preview"]
    assert re.search(r"about \d+ (seconds|minutes?) here", card(shown, "preset", "instant"))
    refused = card(shown, "preset", "llm")
    assert "disabled" in refused and "no language model is set up for this page" in refused
    job = card(shown, "place", "A job on Hugging Face")
    assert "disabled" in job and "Needs an account of the Hub" in job and "an hour" in job
    assert "disabled" not in card(shown, "place", "This Space")
    assert "nothing yet" in shown["summary"]


def test_the_owner_lets_visitors_use_a_language_model_by_naming_its_endpoint(
    monkeypatch: pytest.MonkeyPatch, stranger: Browser
):
    monkeypatch.setenv("HFEMBED_SPACE_SET", "generate.llm.endpoint=http://127.0.0.1:9/v1")
    assert "disabled" not in card(stranger.call(refresh), "preset", "llm")


def test_the_times_are_those_of_a_launch(stranger: Browser):
    settings = read_settings()
    for preset in ("instant", "thorough"):
        memo = stranger.change(preset=preset)["memo"]
        quoted = quote_place(memo.study, stranger.form, settings, LauncherName.LOCAL)
        planned = find_price(stranger.visitor, stranger.form, settings).chosen.expected
        assert quoted is not None and quoted.best is not None
        assert quoted.best.expected == planned
        assert f"about {duration(planned.seconds)}" in card(stranger.shown, "preset", preset)
    assert stranger.left_behind() == []


def test_uploads_are_looked_at_and_their_columns_can_be_chosen(stranger: Browser, tmp_path: Path):
    hostile = "<img src=x onerror=alert(1)>"
    rows = [{"note": f"{hostile} {row['text']}", "heading": row["title"]} for row in some_documents(20)]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    shown = stranger.change(choice="upload", files=(file,))
    assert stranger.reason == "Ready to launch."
    assert "20 documents" in shown["preview"] and "text from “note”" in shown["preview"]
    assert hostile not in shown["preview"] and "&lt;img" in shown["preview"]
    assert [value for _, value in shown["title"].choices] == ["", "note", "heading"]
    assert shown["title"].choices[0][0] == "heading (found by itself)"
    assert "text from “heading”" in stranger.change(text="heading")["preview"]
    assert "There is no column" in stranger.change(text="no-such")["preview"]


def test_a_table_without_a_text_column_still_offers_its_columns(stranger: Browser, tmp_path: Path):
    file = write_jsonl(tmp_path / "rows.jsonl", [{"a": n, "b": f"word{n}"} for n in range(20)])
    shown = stranger.change(choice="upload", files=(file,))
    assert "No column with text was found" in stranger.reason and "No column" in shown["preview"]
    assert [value for _, value in shown["text"].choices] == ["", "a", "b"]
    assert shown["launch"].interactive is False


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"choice": "hub", "dataset": "/etc/passwd"}, "'/etc/passwd' is not a Hub dataset id."),
        ({"choice": "hub", "dataset": "tests/space"}, "'tests/space' is not a Hub dataset id."),
        ({"choice": "hub", "dataset": "org/name"}, "The documents have not been looked at yet."),
        ({"base": OTHER, "other_base": "../secrets"}, "'../secrets' is not a Hub model id."),
        ({"choice": "upload"}, "No file is uploaded yet."),
    ],
)
def test_what_is_wrong_is_said_while_it_is_typed_and_nobody_is_asked(stranger: Browser, values: Any, words: str):
    stranger.form = replace(stranger.form, **values)
    assert words in plain(stranger.call(glance)["reason"])


def test_an_upload_that_is_too_small_is_refused_before_anything_is_launched(stranger: Browser, tmp_path: Path):
    file = write_jsonl(tmp_path / "lonely.jsonl", [{"text": "The only document of this corpus."}])
    stranger.change(choice="upload", files=(file,))
    assert "1 usable document of 1 read; at least 10 are needed" in stranger.reason
    stranger.call(launch_or_ask)
    assert "1 usable document" in stranger.shown["question"] and stranger.left_behind() == []


def test_sample_queries_are_made_from_the_visitors_documents(stranger: Browser, tmp_path: Path):
    rows = [{"text": f"<b>{row['title']}</b>. {row['text']}"} for row in some_documents(20)]
    stranger.change(choice="upload", files=(write_jsonl(tmp_path / "rows.jsonl", rows),))
    queries = stranger.call(show_queries)["queries"]
    assert queries.count("<article>") == 5 and queries.count("hf-kind") > 10
    assert "of unit" in queries and "<b>" not in queries
    assert stranger.left_behind() == []


def test_a_launch_keeps_the_uploads_starts_a_run_and_the_form_stays(stranger: Browser, tmp_path: Path):
    file = write_jsonl(tmp_path / "rows.jsonl", some_documents(20))
    stranger.change(choice="upload", files=(file,))
    shown = stranger.call(launch_or_ask)
    [one] = stranger.launched
    try:
        assert shown["chosen"] == one.id and shown["tabs"].selected == "runs"
        recipe = one.run.recipe()
        assert Path(str(recipe.corpus)).read_text() == file.read_text()
        assert Path(str(recipe.corpus)).is_relative_to(one.folder / runs.UPLOADS)
        filled = read_form([getattr(update, "value", update) for update in duplicate(stranger.token, one.id, None)])
        assert [kept.read_text() for kept in filled.files] == [file.read_text()]
        assert not filled.files[0].is_relative_to(tmp_path / "root")
        assert replace(filled, files=()) == replace(stranger.form, files=())
        with pytest.raises(gr.Error, match="no such run of yours"):
            duplicate(new_token(), one.id, None)
    finally:
        runs.cancel(stranger.visitor, one)


def test_a_launch_that_fails_leaves_nothing_behind(stranger: Browser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HFEMBED_SPACE_RUNS", "0")
    monkeypatch.setattr("space.settings.DEFAULT_RUNS", 0)
    shown = stranger.call(launch_or_ask)
    assert "as many as one visitor may have here" in shown["question"]
    assert shown["launch"].interactive is True and stranger.left_behind() == []


def test_every_update_of_the_form_is_a_value_that_its_field_takes():
    form = Form(config="c", split="s", text="t", flavor="l4x1", place="jobs", base="model")
    updates = dict(zip(FIELDS, form_updates(form), strict=True))
    for name in ("config", "split", "text", "title", "id", "flavor"):
        assert updates[name].value in [value for _, value in updates[name].choices]


def test_what_an_earlier_form_is_told_changes_nothing_of_a_later_one(stranger: Browser):
    with gr.Blocks():
        built = build_page(Session(gr.BrowserState(""), gr.Tabs(), gr.State("")))
    memo, field = Memo(), dict(zip(FIELDS, built.form_outputs, strict=True))

    def opened(form: Form) -> Iterator[Any]:
        values = [getattr(form, name) for name in FIELDS]
        return built.refresh(stranger.token, memo, "", None, *values)

    earlier = opened(Form(base="model"))
    assert field["files"] in next(earlier)  # it looks at the documents
    *_, told = opened(Form(base=OTHER))
    assert "No base model is named." in str(told)
    # A visitor may have chosen another card by the time the answer comes: it says what else there is, no choice.
    assert "markup" in told[field["base"]] and "value" not in told[field["base"]]
    assert [update for update in earlier if update != gr.skip()] == []


# Signed in


def test_a_private_dataset_of_the_visitors_is_searched_looked_at_and_named_after(demo: Browser, api: HfApi):
    rows = "\n".join(json.dumps(row) for row in some_documents(20))
    api.create_repo("demo/handbook", repo_type="dataset", private=True)
    api.upload_file(
        path_or_fileobj=rows.encode(), path_in_repo="corpus.jsonl", repo_id="demo/handbook", repo_type="dataset"
    )
    assert "demo/handbook" in finish(find_dataset.search(demo.token, "handb", demo.request))
    demo.call(refresh)
    shown = demo.change(choice="hub", dataset="demo/handbook")
    assert demo.reason == "Ready to launch." and "20 documents" in shown["preview"]
    assert (demo.form.model_repo, demo.form.dataset_repo) == ("demo/handbook-model", "demo/handbook-triplets")
    assert demo.form.visibility == "private" and "demo/handbook-model is free" in plain(shown["names_note"])
    assert "demo/handbook-model" in shown["summary"]
    stranger = Browser(None, new_token(), demo.form, {})
    stranger.call(refresh)
    assert "does not exist" in stranger.reason and stranger.form.visibility == "nobody"


def test_a_dataset_of_several_parts_asks_for_one(demo: Browser, api: HfApi):
    api.create_repo("demo/two", repo_type="dataset")
    files = {
        name: "\n".join(json.dumps({"body": f"{name} {row['text']}"}) for row in some_documents(12))
        for name in ("manuals", "tickets")
    }
    card_text = "---\nlicense: mit\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in files
    )
    for name, content in {"README.md": f"{card_text}---\n", **{f"{n}.jsonl": c for n, c in files.items()}}.items():
        api.upload_file(path_or_fileobj=content.encode(), path_in_repo=name, repo_id="demo/two", repo_type="dataset")
    demo.call(refresh)
    shown = demo.change(choice="hub", dataset="demo/two")
    assert "several configs: manuals, tickets" in demo.reason
    assert [value for _, value in shown["config"].choices] == ["", "manuals", "tickets"]
    shown = demo.change(config="tickets")
    assert demo.reason == "Ready to launch." and "tickets The pump" in shown["preview"]


def test_names_that_belong_to_others_or_are_none_are_refused(demo: Browser, api: HfApi):
    api.create_repo("demo/there-already")
    demo.call(refresh)
    demo.change(model_repo="somebody/model")
    assert "demo cannot publish as 'somebody'; allowed: demo, acme." in demo.reason
    demo.change(model_repo="no name")
    assert "must be of the form ORG/NAME" in demo.reason
    assert "is yours already" in demo.change(model_repo="demo/there-already")["names_note"]
    assert "everybody can see it" in demo.change(model_repo="acme/new", visibility="public")["names_note"]
    demo.change(base=OTHER, other_base="demo/no-such-model")
    assert "does not exist" in demo.reason


def test_what_costs_money_is_asked_for_once_more_and_only_what_was_asked_is_launched(demo: Browser, hub: LocalHub):
    demo.call(refresh)
    shown = demo.change(place="jobs", visibility="nobody")
    assert (
        demo.form.flavor == "cpu-basic" and "recommended" in dict(map(reversed, shown["flavor"].choices))["cpu-basic"]
    )
    demo.change(flavor="l4x1", max_cost="0.01")
    assert "more than --max-cost 0.01 allows" in plain(demo.call(launch_or_ask)["question"])
    demo.change(max_cost="5")
    question = plain(demo.call(launch_or_ask)["question"])
    assert re.search(r"Nvidia L4 on the account of demo: about .* for .* at most \$0\.\d\d", question)
    assert demo.shown["confirm"].visible is True and demo.launched == [] and demo.left_behind() == []
    demo.call(glance)
    assert demo.shown["confirm"].visible is True  # nothing has changed
    asked = demo.shown["asked"]
    demo.form = replace(demo.form, flavor="h200")
    demo.call(confirm_launch)
    assert demo.launched == [] and demo.shown["confirm"].visible == "hidden"
    demo.form = replace(demo.form, flavor="l4x1")
    demo.call(confirm_launch)
    assert demo.launched == []  # that was not asked any more
    demo.shown["asked"] = asked
    demo.call(confirm_launch)
    [one] = demo.launched
    runs.cancel(demo.visitor, one)
    assert (one.launch.attempt.launcher, one.launch.attempt.flavor) == ("jobs", "l4x1")
    assert one.launch.attempt.expected.seconds > 0 and demo.shown["chosen"] == one.id


def test_elsewhere_is_quoted_as_it_is_planned(demo: Browser, page: Path):
    demo.call(refresh)
    memo = demo.change(place="space", visibility="nobody")["memo"]
    settings = read_settings()
    for place in ("jobs", "space", "autotrain"):
        form = replace(demo.form, place=place, flavor="")
        quoted = quote_place(memo.study, form, settings, LauncherName(place))
        planned = runs.prepare(
            demo.visitor, page / "none", make_form_recipe(form, settings, "sample"), Place.parse(place), "export"
        ).chosen
        assert quoted is not None and quoted.best is not None
        assert (quoted.best.hardware.name, quoted.best.expected) == (planned.hardware.name, planned.expected)


# Typing


def test_only_the_newest_of_what_is_typed_is_searched_for(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(find_dataset, "search_datasets", lambda words, owner: asked.append(words) or [])
    monkeypatch.setattr(find_dataset, "PAUSE_SECONDS", 0.05)
    token, request = new_token(), SimpleNamespace(session={}, session_hash="one")

    async def typing() -> list[Any]:
        waiting = []
        for words in ("h", "ha", "han", "hand"):
            waiting.append(asyncio.create_task(find_dataset.search(token, words, request)))
            await asyncio.sleep(0.005)
        return await asyncio.gather(*waiting)

    answers = finish(typing())
    assert asked == ["hand"]
    assert [isinstance(answer, str) for answer in answers] == [False, False, False, True]


def test_an_answer_that_comes_after_a_dataset_was_chosen_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    token, request = new_token(), SimpleNamespace(session={}, session_hash="one")
    monkeypatch.setattr(find_dataset, "PAUSE_SECONDS", 0.0)
    found = [hub_search.FoundDataset("org/handbook", 1, 1, "", False, False)]

    def slowly(words: str, owner: str | None) -> list[hub_search.FoundDataset]:
        find_dataset.forget(token, request, "org/handbook")
        return found

    monkeypatch.setattr(find_dataset, "search_datasets", slowly)
    assert not isinstance(finish(find_dataset.search(token, "hand", request)), str)
    assert finish(find_dataset.search(token, "org/handbook", request)) == ""
    assert "<script>" not in find_dataset.found_html("<script>", [])
