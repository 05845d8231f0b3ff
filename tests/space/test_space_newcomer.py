"""A newcomer's whole way: sign in, pick a dataset, launch, watch through reload and restart, compare, publish, use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from hfembed.localhub import LocalHub
from hfembed.resources import sample_folder
from tests.conftest import CHEAP
from tests.space.conftest import Deployment

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]
PHONE = 390
RUN_MS = 180_000
SET_UP = """
import json, sys, time
from huggingface_hub import HfApi
owner, visitor, base, settings, corpus = sys.argv[1:]
theirs = HfApi(token=visitor)
theirs.create_repo("amal/field-notes", repo_type="dataset", private=True)
theirs.upload_file(path_or_fileobj=corpus, path_in_repo="corpus.jsonl", repo_id="amal/field-notes", repo_type="dataset")
api = HfApi(token=owner)
api.pause_space("acme/search")  # what is set meanwhile starts nothing
api.add_space_variable("acme/search", "HFEMBED_SPACE_BASES", base)
api.add_space_variable("acme/search", "HFEMBED_SPACE_SET", settings)
"""
RESTART = """
import sys, time
from huggingface_hub import HfApi
api = HfApi(token=sys.argv[1])
api.restart_space("acme/search")
time.sleep(0.5)
while api.get_space_runtime("acme/search").stage != "RUNNING":
    time.sleep(0.2)
"""
USE = """
import json, sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1])
print(json.dumps(model.encode(["no lights and no volts"]).shape))
"""


def on_hub(hub: LocalHub, folder: Path, code: str, *arguments: str, token: str = "") -> str:
    """Run a script against the Hub in a process of its own; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": token}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sign_in(page: Page, address: str, token: str, name: str) -> None:
    page.goto(address)
    page.locator("#sign-in", has_text="Sign in with Hugging Face").click()
    page.locator("input[name=token]").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Allow").click()
    page.locator("#sign-in", has_text=name).wait_for()


def state(page: Page, wanted: str, timeout: float = 60_000) -> None:
    page.locator(f"#run [data-status={wanted}]").wait_for(timeout=timeout)


def test_from_a_dataset_s_name_to_a_published_model(
    deployed: Deployment,
    hub_of_spaces: LocalHub,
    context: Callable[..., BrowserContext],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    amal, bea = hub_of_spaces.add_user("amal"), hub_of_spaces.add_user("bea")
    corpus = str(sample_folder() / "corpus.jsonl")
    on_hub(hub_of_spaces, tmp_path, SET_UP, deployed.token, amal, str(tiny_model), " ".join(CHEAP), corpus)
    on_hub(hub_of_spaces, tmp_path, RESTART, deployed.token)
    address = deployed.told["address"]
    page = context(1440, 900).new_page()
    sign_in(page, address, amal, "amal")

    # Build: a private dataset of theirs, found while they type
    page.get_by_text("Ready to launch.").wait_for()
    page.get_by_role("radio", name="Hub dataset").check()
    page.locator("#dataset").get_by_placeholder("org/name").click()
    page.keyboard.type("field", delay=40)
    page.locator("#found").get_by_text("amal/field-notes").click()
    expect(page.locator("#preview")).to_contain_text("120 documents")
    page.locator("#sample-queries").click()
    expect(page.locator("#queries li").first).to_be_visible()
    page.get_by_text("Do not publish yet").check()
    expect(page.get_by_text("Ready to launch.")).to_be_visible()
    page.locator("#launch").click()

    # Runs: it goes on through a reload and a restart of the Space, and nobody else sees it
    state(page, "working")
    expect(page).to_have_url(f"{address}/?tab=runs")
    page.reload()
    page.locator("#run [data-status]").wait_for()
    on_hub(hub_of_spaces, tmp_path, RESTART, deployed.token)
    page.goto(f"{address}/?tab=runs")
    state(page, "finished", RUN_MS)
    expect(page.locator("#run")).to_contain_text("field-notes")
    stranger = context(PHONE, 844).new_page()
    sign_in(stranger, address, bea, "bea")
    stranger.get_by_role("tab", name="Runs").click()
    expect(stranger.get_by_text("No run yet")).to_be_visible()
    assert stranger.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    # Compare
    page.get_by_role("button", name="Compare it with its base").click()
    expect(page.locator("#compare-corpus input")).to_have_value(re.compile("field-notes"))
    page.locator("#compare-query textarea, #compare-query input").fill("no lights and no volts")
    page.locator("#search").click()
    expect(page.locator("#comparison .hf-answer").nth(1).locator(".hf-hit")).to_have_count(10)

    # Publish, open the model's page, and load it in a process that knows nothing of hfembed
    page.get_by_role("tab", name="Publish").click()
    page.get_by_label("Model repo").last.fill("amal/field-search")
    page.get_by_label("Data repo").last.fill("amal/field-triplets")
    expect(page.locator("#push")).to_be_enabled()
    page.locator("#push").click()
    link = page.get_by_role("link", name="amal/field-search").first
    link.wait_for(timeout=RUN_MS)
    target = link.get_attribute("href")
    assert target is not None and target.startswith(hub_of_spaces.url)
    page.goto(target)
    expect(page.locator("body")).to_contain_text("field-search")
    assert json.loads(on_hub(hub_of_spaces, tmp_path, USE, "amal/field-search", token=amal)) == [1, 32]
    assert amal not in page.content()
