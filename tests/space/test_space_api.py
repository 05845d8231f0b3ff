"""What programs and assistants may ask for, by the real clients: gradio's, and that of the Model Context Protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from hfembed.localhub import LocalHub
from tests.space.conftest import Served, finish, serve

pytestmark = pytest.mark.xdist_group("api")

QUERY = "radio went quiet"
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def space(hub_of_spaces: LocalHub, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Served]:
    """Serve the front end with a Hub behind it."""
    online = {"HF_ENDPOINT": hub_of_spaces.url, "HF_HUB_OFFLINE": "0"}
    with serve(tmp_path_factory.mktemp("api"), tiny_model, online) as served:
        yield served


@pytest.fixture(scope="module")
def token(hub_of_spaces: LocalHub) -> str:
    return hub_of_spaces.add_user("cleo")


def asking(space: Served, token: str | None = None) -> Ask:
    """Return a function that asks the API with a token, or as nobody."""
    client = Client(space.url, verbose=False, headers={"Authorization": f"Bearer {token}"} if token else None)
    return lambda name, **arguments: client.predict(api_name=f"/{name}", **arguments)


@pytest.fixture(scope="module")
def nobody(space: Served) -> Ask:
    return asking(space)


@pytest.fixture(scope="module")
def cleo(space: Served, token: str) -> Ask:
    return asking(space, token)


@pytest.fixture(scope="module")
def run(cleo: Ask) -> str:
    """Launch a run as a program does: by an estimate, and then with its confirmation."""
    estimate = cleo("launch", corpus="sample")
    assert not estimate["launched"] and estimate["seconds"] > 0 and estimate["dollars_at_most"] == 0
    launched = cleo("launch", corpus="sample", confirmation=estimate["confirmation"])
    assert launched["launched"] and launched["run"] in launched["next"]
    return str(launched["run"])


def in_mcp(space: Served, token: str | None, act: Callable[[Any], Any]) -> Any:
    """Do something in a session of the protocol's own client."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def session() -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"{space.url}/gradio_api/mcp/"
        async with (
            streamablehttp_client(address, headers=headers) as (read, write, _),
            ClientSession(read, write) as opened,
        ):
            await opened.initialize()
            return await act(opened)

    return finish(session())


def test_nobody_in_particular_may_search_and_compare_the_sample(nobody: Ask) -> None:
    found = nobody("search", query=QUERY, model="bm25", count=3)
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(found["hits"]) + 1))
    assert found["hits"][0]["title"] and found["hits"][0]["text"]
    compared = nobody("compare", query=QUERY, models=["base", "bm25"], count=2)
    assert [len(ranking["hits"]) for ranking in compared["rankings"]] == [2, len(found["hits"][:2])]
    assert compared["rankings"][1]["hits"][0]["id"] == found["hits"][0]["id"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("search", {"query": " "}), "The query is empty"),
        (("search", {"query": QUERY, "count": 0}), "whole number from 1 to 100"),
        (("search", {"query": QUERY, "model": "/etc"}), "is not a Hub model id"),
        (("search", {"query": QUERY, "corpus": "acme/secret"}), "needs to know who you are"),
        (("search", {"query": QUERY, "corpus": "/etc"}), "needs to know who you are"),
        (("launch", {}), "needs to know who you are"),
        (("runs", {}), "needs to know who you are"),
    ],
)
def test_what_nobody_may_ask_for_is_refused_in_words(
    nobody: Ask, asked: tuple[str, dict[str, Any]], words: str
) -> None:
    with pytest.raises(AppError, match=words):
        nobody(asked[0], **asked[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"corpus": "/etc"}, "is not a Hub dataset id"),
        ({"base": "../model"}, "is not a Hub model id"),
        ({"preset": "magic"}, "magic"),
        ({"on": "moon"}, "moon"),
        ({"confirmation": "1-abc"}, "This confirmation does not fit"),
        ({"confirmation": "x"}, "This confirmation does not fit"),
    ],
)
def test_what_cannot_be_launched_is_refused_in_words(cleo: Ask, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError, match=words):
        cleo("launch", **arguments)


def test_a_token_that_the_hub_does_not_know_is_nobodys(space: Served) -> None:
    with pytest.raises(AppError, match="does not know the token"):
        asking(space, "hf_wrong")("runs")


def test_a_confirmation_is_for_these_arguments_and_this_person(
    cleo: Ask, space: Served, hub_of_spaces: LocalHub
) -> None:
    agreed = cleo("launch", corpus="sample")["confirmation"]
    dora = asking(space, hub_of_spaces.add_user("dora"))
    for ask, arguments in ((cleo, {"preset": "thorough"}), (dora, {})):
        with pytest.raises(AppError, match="does not fit"):
            ask("launch", corpus="sample", confirmation=agreed, **arguments)
    assert dora("runs") == []


def test_a_launched_run_can_be_watched_to_its_end_and_searched_with(
    cleo: Ask, run: str, space: Served, hub_of_spaces: LocalHub
) -> None:
    deadline = time.monotonic() + 240
    while (told := cleo("status", run=run))["status"] not in ("finished", "failed", "cancelled"):
        assert time.monotonic() < deadline, told
        time.sleep(0.5)
    assert told["status"] == "finished", told
    assert [stage["name"] for stage in told["stages"]][:2] == ["pull", "generate"] and told["verdict"]
    assert str(space.root) not in json.dumps(told)
    assert [one["run"] for one in cleo("runs")] == [run]
    found = cleo("compare", query=QUERY, models=["base", f"tuned:{run}"], corpus=f"run:{run}", count=3)
    assert found["rankings"][1]["model"].startswith("tuned") and len(found["rankings"][1]["hits"]) == 3
    stranger = asking(space, hub_of_spaces.add_user("eve"))
    for name, arguments in (("status", {"run": run}), ("search", {"query": QUERY, "corpus": f"run:{run}"})):
        with pytest.raises(AppError, match="no such run of yours"):
            stranger(name, **arguments)


def test_an_assistant_is_told_what_there_is_and_what_each_argument_means(space: Served) -> None:
    async def look(session: Any) -> Any:
        return (await session.list_tools()).tools

    tools = {tool.name: tool for tool in in_mcp(space, None, look)}
    assert set(tools) == {"search", "compare", "launch", "status", "runs"}
    for tool in tools.values():
        assert tool.description
        for name, property_ in tool.inputSchema["properties"].items():
            assert name != "request" and property_.get("description"), (tool.name, name)
    assert "only answers with time, cost and a confirmation" in tools["launch"].description


def test_an_assistant_gets_answers_and_refusals_and_acts_for_whose_token_it_has(
    space: Served, token: str, run: str
) -> None:
    async def ask(session: Any) -> Any:
        found = await session.call_tool("search", {"query": QUERY, "model": "bm25", "count": 1})
        refused = await session.call_tool("search", {"query": "", "model": "bm25"})
        return found, refused, await session.call_tool("runs", {})

    found, refused, mine = in_mcp(space, token, ask)
    assert not found.isError and "'rank': 1" in found.content[0].text
    assert refused.isError and "The query is empty" in refused.content[0].text
    assert run in mine.content[0].text
    _, _, others = in_mcp(space, None, ask)
    assert others.isError and "needs to know who you are" in others.content[0].text
