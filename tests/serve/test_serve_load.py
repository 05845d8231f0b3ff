"""The endpoint under load: every answer belongs to its question, too much is refused, nothing accepted is lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from builders import FAULTS, PARTS
from serving import NAME, client_of, start_gated, vectors_of

from hfembed.serve.batcher import cut

WORDS = [*PARTS, *FAULTS]


def some_texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of very different lengths."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.choice([1, 3, 8, 20, 60, 200]))) for _ in range(count)]


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_belong_to_their_questions_under_64_threads(endpoint: Any, reference: Any):
    texts = some_texts(120)
    expected = reference.encode(texts)
    client = client_of(endpoint)

    def ask(seed: int) -> float:
        draw = random.Random(seed)
        worst = 0.0
        for _ in range(3):
            rows = draw.sample(range(len(texts)), draw.choice([1, 1, 2, 5]))
            answer = client.embeddings.create(model=NAME, input=[texts[row] for row in rows])
            worst = max(worst, float(np.abs(vectors_of(answer) - expected[rows]).max()))
        return worst

    with ThreadPoolExecutor(64) as threads:
        assert max(threads.map(ask, range(64))) < 1e-5


def test_a_question_does_not_wait_for_a_whole_corpus(served_run: Path):
    running, gate = start_gated(served_run, {})
    computed: list[int] = []
    compute = gate.compute
    gate.compute = lambda texts: (computed.append(len(texts)), compute(texts))[1]  # type: ignore[method-assign]
    with running, ThreadPoolExecutor(2) as threads:
        client = client_of(running)
        gate.open.clear()
        corpus = threads.submit(client.embeddings.create, model=NAME, input=["word " * 100] * 400)
        wait_until(lambda: running.service.batcher.waiting_texts == 400)
        question = threads.submit(client.embeddings.create, model=NAME, input="pump")
        wait_until(lambda: running.service.batcher.waiting_texts == 401)
        gate.open.set()
        question.result()
        assert sum(computed) < 100
        assert len(corpus.result().data) == 400 and sum(computed) == 401


def test_what_is_too_much_to_wait_is_refused_with_when_to_come_again(served_run: Path, reference: Any):
    running, gate = start_gated(served_run, {"waiting_texts": 4})
    with running, ThreadPoolExecutor(4) as threads:
        client = client_of(running)
        gate.open.clear()
        accepted = [threads.submit(client.embeddings.create, model=NAME, input=["pump", "hinge"]) for _ in range(2)]
        wait_until(lambda: running.service.batcher.waiting_texts == 4)
        with pytest.raises(openai.RateLimitError) as refused:
            client.embeddings.create(model=NAME, input="valve")
        assert int(refused.value.response.headers["retry-after"]) >= 1
        assert refused.value.code == "rate_limit_exceeded"
        gate.open.set()
        for answer in accepted:
            np.testing.assert_allclose(vectors_of(answer.result()), reference.encode(["pump", "hinge"]), atol=1e-5)
        # A request that is larger than what may wait is taken where nobody waits.
        assert len(client.embeddings.create(model=NAME, input=["fuse"] * 9).data) == 9


def test_stopping_finishes_what_was_accepted_and_refuses_the_rest(served_run: Path, reference: Any):
    running, gate = start_gated(served_run, {})
    with running, ThreadPoolExecutor(8) as threads:
        client = client_of(running)
        gate.open.clear()
        accepted = [threads.submit(client.embeddings.create, model=NAME, input=f"pump {n}") for n in range(8)]
        wait_until(lambda: running.service.batcher.waiting_texts == 8)
        running.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: running.service.stopping)
        with pytest.raises(openai.InternalServerError) as refused:
            client.embeddings.create(model=NAME, input="valve")
        assert refused.value.status_code == 503 and refused.value.code == "shutting_down"
        assert httpx.get(f"{running.url}/v1/health/ready").status_code == 503
        assert httpx.get(f"{running.url}/health").status_code == 200
        gate.open.set()
        expected = reference.encode([f"pump {n}" for n in range(8)])
        found = np.concatenate([vectors_of(answer.result()) for answer in accepted])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_failing_batch_fails_its_requests_and_no_other(served_run: Path):
    running, gate = start_gated(served_run, {})
    compute = gate.compute

    def fails_on_long(texts: Any) -> Any:
        if max(len(text.ids) for text in texts) > 50:
            raise MemoryError
        return compute(texts)

    gate.compute = fails_on_long  # type: ignore[method-assign]
    with running:
        client = client_of(running)
        with pytest.raises(openai.InternalServerError):
            client.embeddings.create(model=NAME, input=["pump " * 100, "pump"])
        assert client.embeddings.create(model=NAME, input="pump").data
        assert running.service.idle


def test_batches_are_cut_where_padding_would_cost_more_than_another_batch():
    assert cut([], 100, 8) == []
    assert cut([5, 5, 5, 6, 30, 31], 100, 8) == [(0, 4), (4, 6)]
    assert cut([50, 50, 50], 100, 8) == [(0, 2), (2, 3)]
    assert cut([500], 100, 8) == [(0, 1)]


def test_sigterm_loses_no_accepted_request(served_run: Path, reference: Any):
    command = [sys.executable, "-m", "hfembed", "serve", str(served_run), "--port", "0", "--format", "json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stderr is not None
    shown = json.loads(server.stdout.readline())
    client = openai.OpenAI(base_url=shown["url"], api_key="none", max_retries=0)
    texts = some_texts(40, seed=1)
    expected = reference.encode(texts)

    def ask(shift: int) -> float:
        rows = [(at + shift) % len(texts) for at in range(200)]
        answer = client.embeddings.create(model=shown["model"], input=[texts[row] for row in rows])
        return float(np.abs(vectors_of(answer) - expected[rows]).max())

    def accepted() -> float:
        lines = httpx.get(shown["url"].replace("/v1", "/metrics")).text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return float(values["hfembed_waiting_texts"]) + float(values["hfembed_texts_total"])

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, shift) for shift in range(8)]
        wait_until(lambda: accepted() >= 8 * 200)
        server.send_signal(signal.SIGTERM)
        assert max(one.result() for one in asked) < 1e-5
    assert server.wait(20) == 0
    assert server.stderr.read() == ""
