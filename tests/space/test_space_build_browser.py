"""The Build page in a real browser: by keyboard, on a phone, and with what is no name of anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import some_documents
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.space.conftest import Served, open_space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("served")]
PHONE = 390


def _preset(page: Page, name: str) -> Locator:
    return page.locator(f"#preset-cards input[value={name}]")


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_documents_are_uploaded_previewed_and_asked_about(page: Page, tmp_path: Path):
    hostile = "<img src=x onerror=alert(1)>"
    file = tmp_path / f"{hostile}.jsonl"
    rows = [{"body": f"{hostile} {row['text']}", "name": row["title"]} for row in some_documents(24)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    launch = page.get_by_role("button", name="Launch")
    page.get_by_role("radio", name="Upload files").check()
    expect(page.locator("#reason")).to_contain_text("No file is uploaded yet.")
    expect(launch).to_be_disabled()
    page.locator("#files input[type=file]").set_input_files(file)
    expect(page.locator("#preview")).to_contain_text("24 documents")
    expect(page.locator("#preview")).to_contain_text("text from “body”")
    expect(page.locator("#reason")).to_contain_text("Ready to launch.")
    expect(launch).to_be_enabled()
    page.get_by_label("Column with the text").click()
    page.get_by_role("option", name="name", exact=True).click()
    expect(page.locator("#preview")).to_contain_text("text from “name”")
    page.locator("#sample-queries").click()
    expect(page.locator("#queries article")).to_have_count(5)
    assert page.locator("#preview img, #queries img").count() == 0


def test_what_is_no_name_of_the_hub_is_refused_while_it_is_typed(page: Page):
    page.get_by_role("radio", name="Hub dataset").check()
    page.locator("#dataset").get_by_placeholder("org/name").fill("/etc/passwd")
    expect(page.locator("#reason")).to_contain_text("'/etc/passwd' is not a Hub dataset id.")
    page.locator("#dataset").get_by_placeholder("org/name").fill("tests/space")
    expect(page.locator("#reason")).to_contain_text("'tests/space' is not a Hub dataset id.")
    page.get_by_role("radio", name="Sample corpus").check()
    page.get_by_role("radio", name="Another model").check()
    page.locator("#other-base").get_by_placeholder("org/name").fill("../secrets")
    expect(page.locator("#reason")).to_contain_text("'../secrets' is not a Hub model id.")
    expect(page.get_by_role("button", name="Launch")).to_be_disabled()
    assert "Traceback" not in page.content()


def test_it_is_filled_in_by_keyboard_and_fits_a_phone(served: Served, context: Callable[..., BrowserContext]):
    page = open_space(context(PHONE, 844), served)
    _preset(page, "instant").focus()
    page.keyboard.press("ArrowDown")
    expect(_preset(page, "thorough")).to_be_checked()
    expect(_preset(page, "thorough")).to_be_focused()
    expect(page.get_by_label("Your run")).to_contain_text("thorough")
    expect(page.get_by_role("radio", name="A job on Hugging Face")).to_be_disabled()
    for name in ("Sample corpus", "Upload files", "Hub dataset"):
        page.get_by_role("radio", name=name).check()
        assert fits(page)
