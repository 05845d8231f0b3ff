"""hfembed evaluate RUN --endpoint: whether what is served ranks the run's test as its model does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serving import NAME, start
from typer.testing import CliRunner

from hfembed import cli
from hfembed.serve.parity import tolerance_of


def evaluate(run: Path, url: str, *options: str, code: int = 0) -> dict[str, Any]:
    words = ["evaluate", str(run), "--endpoint", url, *options, "--format", "json"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == code, (result.output, result.exception)
    value: dict[str, Any] = json.loads(result.stdout)
    return value


@contextmanager
def other_server(reference: Any, spoil: Any = None, **row: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run an OpenAI-compatible server that is not ours; it knows no prompts. spoil: changes the rows of its answers."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer({"object": "list", "data": [{"id": "theirs", **row}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            rows = [row.tolist() for row in reference.encode(body["input"])]
            rows = spoil(rows, body, len(asked)) if spoil else rows
            self.answer({"data": [{"index": at, "embedding": row} for at, row in enumerate(rows)]})

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_what_hfembed_serves_gives_what_was_tested(served_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", "a-key-of-mine")
    with start(served_run, keys=("a-key-of-mine",)) as running:
        found = evaluate(served_run, running.url, "--api-key-env", "MY_KEY")
        refused = evaluate(served_run, running.url, code=2)["error"]
    assert found["same"] and found["problems"] == [] and found["model"] == NAME
    assert found["least_cosine"] > 0.99999 and found["dimensions"] == {"checkpoint": 32, "endpoint": 32}
    assert found["queries"] == found["documents"] == 24
    assert all(row["difference"] == 0 for row in found["metrics"].values())
    assert "401" in refused["message"] and "a-key-of-mine" not in str(refused)


def test_a_server_that_knows_no_prompts_is_sent_them_with_the_texts(served_run: Path, reference: Any):
    with other_server(reference) as (url, asked):
        found = evaluate(served_run, f"{url}/v1")
    assert found["same"] and found["least_cosine"] > 0.99999
    starts = {text.partition(": ")[0] for body in asked for text in body["input"]}
    assert starts == {"unit", "part number"} and not any("input_type" in body for body in asked)


def test_another_model_behind_the_address_is_told_and_the_exit_code_says_so(served_run: Path, reference: Any):
    def shuffled(rows: Any, body: Any, _: int) -> Any:
        return [row[::-1] if body["input"][0].startswith("unit") else row for row in rows]

    with other_server(reference, shuffled) as (url, _):
        found = evaluate(served_run, url, code=1)
        text = CliRunner().invoke(cli.app, ["evaluate", str(served_run), "--endpoint", url])
    assert not found["same"] and found["problems"][0].startswith("ndcg@10 is ") and "allowed is 0.01" in text.stdout
    assert text.exit_code == 1


def test_other_dimensions_are_named(served_run: Path, reference: Any):
    with other_server(reference, lambda rows, *_: [row[:16] for row in rows]) as (url, _):
        found = evaluate(served_run, url, code=1)
    assert "16 dimensions, the checkpoint of 32" in found["problems"][0] and found["least_cosine"] is None


def test_vectors_that_are_no_numbers_are_asked_again_and_named_where_they_stay_so(served_run: Path, reference: Any):
    def sometimes(rows: Any, body: Any, number: int) -> Any:
        return [[float("nan")] * 32, *rows[1:]] if number < 4 else rows

    def always(rows: Any, body: Any, number: int) -> Any:
        broken = ["Marker word1 " in text for text in body["input"]]
        return [[None] * 32 if bad else row for row, bad in zip(rows, broken, strict=True)]

    with other_server(reference, sometimes) as (url, _):
        assert evaluate(served_run, url)["same"]
    with other_server(reference, always) as (url, asked):
        found = evaluate(served_run, url, code=1)
    assert found["problems"][0] == "1 document vectors hold something that is no number: d1."
    assert len(asked) > 32


def test_what_cannot_be_compared_is_said(served_run: Path, reference: Any, tmp_path: Path):
    with other_server(reference) as (url, _):
        assert "serves theirs, not 'mine'" in evaluate(served_run, url, "--served", "mine", code=2)["error"]["message"]
        assert "is not a run" in evaluate(tmp_path, url, code=2)["error"]["message"]
    assert "no address" in evaluate(served_run, "localhost:80", code=2)["error"]["message"]


def test_tolerances_are_wider_where_few_results_are_looked_at():
    assert [tolerance_of(name) for name in ("hit@1", "ndcg@1", "recall@5", "ndcg@10")] == [0.03, 0.03, 0.01, 0.01]
