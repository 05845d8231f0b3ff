"""A visitor's whole way through the Space, in a real browser."""

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

pytestmark = pytest.mark.slow
PHONE = 390
RUN_MS = 110_000


def state(page: Page, wanted: str, timeout: float = 60_000) -> None:
    page.locator(f"[data-status={wanted}]").wait_for(timeout=timeout)


def no_sideways_scrolling(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_visitor_uploads_launches_reloads_and_compares(
    served: Served, context: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    visitor = context()
    page = open_space(visitor, served)
    page.get_by_label("Upload files").check()
    page.get_by_text("No file is uploaded yet.").wait_for()
    expect(page.get_by_role("button", name="Launch")).to_be_disabled()
    hostile = tmp_path / "<img src=x onerror=alert(1)>.jsonl"
    lines = (sample_folder() / "corpus.jsonl").read_text(encoding="utf-8")
    hostile.write_text(lines, encoding="utf-8")
    page.locator("input[type=file]").set_input_files(hostile)
    page.get_by_text("Ready to launch.").wait_for()
    page.get_by_role("button", name="Launch").click()
    state(page, "working")
    expect(page.get_by_role("button", name="Launch")).to_be_disabled()

    page.reload()  # in the middle of the run
    state(page, "working")
    page.get_by_role("listitem", name="pull: done").wait_for()

    stranger = open_space(context(), served)
    expect(stranger.get_by_text("No run yet")).to_be_visible()
    expect(stranger.locator("[data-status]")).to_have_count(0)

    state(page, "finished", RUN_MS)
    expect(page.locator("#run img")).to_have_count(0)
    expect(page.locator(".hf-scores tbody tr")).to_have_count(4)
    expect(page.locator(".hf-verdict p")).to_contain_text("held-out queries")
    with page.expect_download() as download:
        page.locator("#download").click()
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert {"model/modules.json", "model/model.safetensors", "model/onnx/model.onnx"} <= set(names)

    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Query").fill("battery low")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hf-column")).to_have_count(2)
    expect(page.locator(".hf-column").nth(1).locator(".hf-hits > li")).to_have_count(10)
    expect(page.locator(".hf-column").nth(1).locator(".hf-mark")).to_have_count(10)

    page.set_viewport_size({"width": PHONE, "height": 844})
    assert no_sideways_scrolling(page)
    page.get_by_role("tab", name="Build").click()
    assert no_sideways_scrolling(page)

    stranger.reload()
    stranger.get_by_text("Ready to launch.").wait_for()
    expect(stranger.get_by_text("No run yet")).to_be_visible()
    stranger.get_by_role("tab", name="Compare").click()
    expect(stranger.get_by_text("Nothing to compare yet")).to_be_visible()
    assert_not_served(served)


def assert_not_served(served: Served) -> None:
    """Even somebody who knows the path of another's run gets no file of it."""
    recipe = next(served.root.rglob("run/recipe.yaml"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{served.url}/gradio_api/file={recipe}", timeout=30)
    assert refused.value.code == 403


def test_a_run_can_be_cancelled_and_continued(page: Page) -> None:
    page.get_by_role("button", name="Launch").click()
    state(page, "working")
    page.get_by_role("button", name="Cancel").click()
    state(page, "cancelled")
    expect(page.get_by_text("Finished stages are kept")).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    state(page, "working")
    page.get_by_role("button", name="Cancel").click()
    state(page, "cancelled")


def test_a_corpus_that_is_too_small_is_answered_in_the_words_of_the_command_line(page: Page, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.jsonl"
    lonely.write_text(json.dumps({"text": "The only document of this corpus."}) + "\n", encoding="utf-8")
    page.get_by_label("Upload files").check()
    page.locator("input[type=file]").set_input_files(lonely)
    page.get_by_text("Ready to launch.").wait_for()
    page.get_by_role("button", name="Launch").click()
    state(page, "failed")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Error:")
    expect(alert).to_contain_text("document")
    assert "Traceback" not in page.content()


def test_a_path_of_the_machine_is_no_dataset_and_no_base(page: Page) -> None:
    page.get_by_label("Hub dataset").first.check()
    page.get_by_placeholder("org/name").fill("/etc/passwd")
    page.get_by_text("'/etc/passwd' is not a Hub dataset id.").wait_for()
    expect(page.get_by_role("button", name="Launch")).to_be_disabled()
    page.get_by_placeholder("org/name").fill("org/name")
    page.get_by_text("Ready to launch.").wait_for()
    page.get_by_label("Base model").fill("../secrets")
    page.get_by_label("Base model").press("Enter")
    page.get_by_text("'../secrets' is not a Hub model id.").wait_for()


def test_every_page_fits_a_phone(served: Served, context: Callable[..., BrowserContext]) -> None:
    page = open_space(context(PHONE, 844), served)
    for label in ("Sample corpus", "Upload files", "Hub dataset"):
        page.get_by_label(label).first.check()
        assert no_sideways_scrolling(page)
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_text("Nothing to compare yet")).to_be_visible()
    assert no_sideways_scrolling(page)
