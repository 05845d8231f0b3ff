"""A visitor without an account, in a real browser: what they launch is theirs, survives a reload, and can be stopped."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from hfembed.resources import sample_folder
from tests.space.conftest import Served, open_space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("served")]
PHONE = 390
RUN_MS = 180_000


def state(page: Page, wanted: str, timeout: float = 60_000) -> None:
    page.locator(f"#run [data-status={wanted}]").wait_for(timeout=timeout)


def no_sideways_scrolling(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def upload(page: Page, file: Path) -> None:
    page.get_by_role("radio", name="Upload files").check()
    page.get_by_text("No file is uploaded yet.").first.wait_for()
    page.locator("#files input[type=file]").set_input_files(file)


def test_a_visitor_uploads_launches_reloads_and_takes_the_model_home(
    served: Served, context: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    page = open_space(context(), served)
    hostile = tmp_path / "<img src=x onerror=alert(1)>.jsonl"
    hostile.write_text((sample_folder() / "corpus.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    upload(page, hostile)
    page.get_by_text("Ready to launch.").wait_for()
    page.locator("#launch").click()
    state(page, "working")
    expect(page).to_have_url(f"{served.url}/?tab=runs")

    page.reload()  # in the middle of the run
    page.get_by_role("listitem", name="pull: done").wait_for()
    stranger = context(PHONE, 844).new_page()
    stranger.goto(f"{served.url}/?tab=runs")
    expect(stranger.get_by_text("No run yet")).to_be_visible()
    assert no_sideways_scrolling(stranger)

    state(page, "finished", RUN_MS)
    expect(page.locator("#run img")).to_have_count(0)
    expect(page.locator("#run .hf-verdict p")).to_contain_text("held-out queries")
    page.set_viewport_size({"width": PHONE, "height": 844})
    assert no_sideways_scrolling(page)

    page.get_by_role("button", name="Publish it").click()
    page.locator("#pack").click()
    page.locator("#archive").wait_for(state="visible")
    with page.expect_download() as download:
        page.locator("#archive").click()
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert {"model/modules.json", "model/model.safetensors", "model/onnx/model.onnx"} <= set(names)
    assert no_sideways_scrolling(page)

    stranger.reload()
    expect(stranger.get_by_text("No run yet")).to_be_visible()
    assert_not_served(served)


def assert_not_served(served: Served) -> None:
    """Even somebody who knows the path of another's run gets no file of it."""
    recipe = next(served.root.rglob("run/recipe.yaml"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{served.url}/gradio_api/file={recipe}", timeout=30)
    assert refused.value.code == 403


def test_a_run_is_cancelled_continued_duplicated_and_forgotten(page: Page) -> None:
    page.locator("#launch").click()
    state(page, "working")
    page.get_by_role("button", name="Cancel").click()
    state(page, "cancelled")
    expect(page.get_by_text("Finished stages are kept")).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    state(page, "working")
    page.get_by_role("button", name="Cancel").click()
    state(page, "cancelled")
    page.get_by_role("button", name="Duplicate with changes").click()
    expect(page.get_by_role("tab", name="Build")).to_have_attribute("aria-selected", "true")
    page.get_by_text("Ready to launch.").wait_for()
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("button", name="Remove from this list").click()
    expect(page.get_by_text("No run yet")).to_be_visible()


def test_a_corpus_that_is_too_small_is_refused_before_it_is_launched(page: Page, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.jsonl"
    lonely.write_text(json.dumps({"text": "The only document of this corpus."}) + "\n", encoding="utf-8")
    upload(page, lonely)
    expect(page.locator("#reason")).to_contain_text("document")
    expect(page.locator("#launch")).to_be_disabled()
    assert "Traceback" not in page.content()
