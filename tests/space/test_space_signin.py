"""Signing in to a deployed Space, in a real browser, through the OAuth of the Hub that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hfembed.localhub import LocalHub
from tests.space.conftest import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]

SETTLE = 3_000

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


def ask_to_sign_in(page: Page, deployed: Deployment, token: str) -> None:
    """Press the button of the Space, and sign in to the Hub."""
    page.goto(deployed.told["address"])
    page.locator(".hf-intro").wait_for()
    page.wait_for_timeout(SETTLE)  # gradio leaves the page only if nothing changes the address meanwhile
    page.locator("#sign-in", has_text="Sign in with Hugging Face").click()
    page.locator("input[name=token]").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_a_visitor_signs_in_sees_their_name_stays_so_and_signs_out(
    deployed: Deployment, hub_of_spaces: LocalHub, context: Callable[[], BrowserContext]
) -> None:
    visitor = context()
    page = visitor.new_page()
    ask_to_sign_in(page, deployed, hub_of_spaces.add_user("amal"))
    page.get_by_text("acme/search wants to sign you in as amal").wait_for()
    for scope in ("contribute-repos", "jobs", "read-repos"):
        assert page.get_by_role("listitem").filter(has_text=scope).count() == 1
    page.get_by_role("button", name="Allow").click()
    page.locator("#sign-in", has_text="amal").wait_for()
    assert page.url.startswith(deployed.told["address"])
    [cookie] = [cookie for cookie in visitor.cookies() if cookie["name"] == "session"]
    assert cookie["httpOnly"] and cookie["secure"]
    page.reload()
    page.locator("#sign-in", has_text="amal").click()
    page.locator("#sign-in", has_text="Sign in with Hugging Face").wait_for()


def test_a_visitor_who_says_no_is_nobody(
    deployed: Deployment, hub_of_spaces: LocalHub, context: Callable[[], BrowserContext]
) -> None:
    page = context().new_page()
    ask_to_sign_in(page, deployed, hub_of_spaces.add_user("bo"))
    page.get_by_role("button", name="Deny").click()
    page.goto(deployed.told["address"])
    page.locator("#sign-in", has_text="Sign in with Hugging Face").wait_for()
