"""Comparing in a real browser: what is asked, voted and opened with keys, and an address that finds it again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.space.conftest import Served

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("served")]
PHONE = 390
FIRST_MS = 180_000  # the first search imports torch, which takes a while beside many others
QUERY = "no lights, no volts anywhere in the box, and full sun won't bring it back"


def open_page(visitor: BrowserContext, address: str) -> Page:
    page = visitor.new_page()
    page.goto(address)
    expect(page.locator("#compare-models")).to_contain_text("BM25")
    return page


def test_passages_votes_many_queries_and_a_map(served: Served, context: Callable[..., BrowserContext]) -> None:
    visitor = context()
    page = open_page(visitor, f"{served.url}/?tab=compare")
    page.locator("body").press("/")
    query = page.get_by_label("Query", exact=True)
    expect(query).to_be_focused()
    query.fill("<b>snow</b> on the battery")
    query.press("Enter")
    expect(page.locator("#comparison .hf-answer")).to_have_count(2, timeout=FIRST_MS)
    expect(page.locator("#comparison .hf-answer").nth(1).locator(".hf-hit mark").first).to_be_visible()
    expect(page.locator("#comparison .hf-meta b")).to_have_count(0)
    page.locator("#comparison .hf-title-link").first.click()
    expect(page.locator(".hf-whole:popover-open")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("tab=compare&corpus=sample&models=base%2Cbm25&q=.*battery"))

    page.get_by_text("Many queries", exact=True).click()
    page.get_by_role("button", name="Ask the test queries").click()
    expect(page.locator("#batch .hf-delta rect")).to_have_count(72)
    row = page.locator("#batch button[data-query]").first
    asked = row.inner_text()
    row.click()
    expect(page.locator("#comparison")).to_contain_text(asked)
    expect(page.locator("#comparison")).to_be_visible()

    page.get_by_text("Map", exact=True).click()
    expect(page.locator("#map .hf-map")).to_have_count(1)
    expect(page.locator("#map circle")).to_have_count(120)

    page.get_by_text("Blind vote", exact=True).click()
    page.get_by_role("button", name="Vote on a test query").click()
    expect(page.locator("#blind .hf-answer")).to_have_count(2)
    expect(page.locator("#blind")).not_to_contain_text("BM25")
    page.keyboard.press("1")
    expect(page.locator("#blind .hf-won")).to_have_count(1)
    expect(page.locator("#blind")).to_contain_text("BM25")
    expect(page.locator("#tally")).to_contain_text("1 vote")
    with page.expect_download() as download:
        page.locator("#preferences").click()
    rows = [json.loads(line) for line in download.value.path().read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 1 and {rows[0]["chosen"]["model"], rows[0]["rejected"]["model"]} >= {"BM25"}


def test_an_address_is_found_again_and_fits_a_phone(served: Served, context: Callable[..., BrowserContext]) -> None:
    address = f"{served.url}/?tab=compare&corpus=sample&models=bm25,base,hybrid&q={QUERY.replace(' ', '+')}"
    page = open_page(context(PHONE, 844), address)
    expect(page.locator("#comparison .hf-answer")).to_have_count(3, timeout=FIRST_MS)
    expect(page.locator("#comparison .hf-answer h3").first).to_have_text("BM25")
    expect(page.locator("#comparison .hf-answers").first).to_be_visible()
    expect(page.locator("#comparison .hf-lines").first).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    wrong = open_page(context(), f"{served.url}/?tab=compare&corpus=../etc&models=bm25&q=why")
    expect(wrong.get_by_role("alert")).to_contain_text("'../etc' is not a Hub dataset id.")
    assert "Traceback" not in wrong.content()
