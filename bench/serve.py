"""Measure how fast embeddings are served: ours, sentence-transformers behind FastAPI, and infinity-emb.

    python bench/serve.py MODEL [--infinity VENV_PYTHON] [--seconds 10] [--clients 1,8,64] [--engine torch]
    python bench/serve.py MODEL --soak MINUTES

MODEL is a finished run or a model folder. Every server gets the same texts, one a request, from clients on this
machine that ask again as soon as they have their answer: short queries of 4 to 12 words, then passages of 200. Prints
requests a second, the times in which half, 95 and 99 of 100 were answered, and the processor time of an answer, with
ratios to infinity-emb and to the naive server. Servers run one after the other, and every eighth vector is compared with sentence-transformers' own.

infinity-emb has an environment of its own, since it holds libraries back; DIR/bin/python is named:

    python -m venv DIR && DIR/bin/pip install torch==2.13.0 && DIR/bin/pip install "infinity-emb[server,torch,optimum]"

--soak asks ours at twice what it can do, for so long: nothing may be lost or wrong, what is too much is refused with
429, and memory may not grow. --serve passes options to `hfembed serve`, as in --serve="--threads 1 --batches 2".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import psutil
from load import Question, Tally, Vectors, closed_loop, open_loop
from words import Words

from hfembed.run import LAYOUT

OURS, NAIVE, INFINITY = "hfembed", "naive", "infinity"
NAME = "bench"
KINDS = ("queries", "passages")
START_SECONDS = 180
WARM_SECONDS = 1.0
# What may wait in the soak: about as much as is computed in some seconds.
SOAK_LIMITS = "--queue-texts 500 --queue-tokens 60000"

# The server that one writes without thinking: a model, a route, and threads of the framework.
NAIVE_SERVER = """
import sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model, app = SentenceTransformer(sys.argv[1], device="cpu"), FastAPI()

class Asked(BaseModel):
    model: str
    input: list[str]

@app.get("/health")
def health():
    return {}

@app.post("/v1/embeddings")
def embeddings(asked: Asked):
    rows = model.encode(asked.input, show_progress_bar=False)
    return {"data": [{"index": at, "embedding": row.tolist()} for at, row in enumerate(rows)]}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends the servers, too
    arguments = parse()
    texts = some_texts(arguments.texts)
    folder = arguments.model / LAYOUT.model if (arguments.model / LAYOUT.recipe).is_file() else arguments.model
    vectors = expected(folder, texts)
    commands = {OURS: ours(arguments, arguments.serve)}
    if arguments.soak:
        soak(ours(arguments, f"{arguments.serve} {SOAK_LIMITS}"), texts, vectors, arguments)
        return
    commands[NAIVE] = lambda port: [sys.executable, "-c", NAIVE_SERVER, str(folder), str(port)]
    if arguments.infinity:
        commands[INFINITY] = infinity(arguments, folder)
    cells: dict[tuple[str, str, int], Tally] = {}
    for server, command in commands.items():
        with running(command) as (url, process):
            for kind in KINDS:
                questions = ask_for(url, texts[kind], vectors[kind])
                asyncio.run(closed_loop(url, questions, 8, WARM_SECONDS))
                for clients in arguments.clients:
                    print(f"{server}: {kind}, {clients} clients", file=sys.stderr)
                    before = sum(process.cpu_times()[:2])
                    tally = asyncio.run(closed_loop(url, questions, clients, arguments.seconds))
                    tally.processor = sum(process.cpu_times()[:2]) - before
                    cells[server, kind, clients] = tally
    show(cells, list(commands))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--infinity", type=Path, metavar="VENV_PYTHON", help="the Python that infinity-emb is in")
    parser.add_argument("--engine", default="torch", choices=("torch", "optimum"), help="infinity-emb's engine")
    parser.add_argument("--seconds", type=float, default=10, help="of each cell")
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 64])
    parser.add_argument("--texts", type=int, default=400, help="different ones of each kind")
    parser.add_argument("--serve", default="", help="options for hfembed serve")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="ask ours at twice its capacity for so long")
    return parser.parse_args()


def some_texts(count: int) -> dict[str, list[str]]:
    """Return so many queries and passages, all different, the same ones every time."""
    words, draw = Words(), random.Random(1)
    queries = [" ".join(words.some(draw.randint(4, 12), draw)) for _ in range(count)]
    return dict(zip(KINDS, (queries, [" ".join(words.some(200, draw)) for _ in range(count)]), strict=True))


def expected(folder: Path, texts: dict[str, list[str]]) -> dict[str, Vectors]:
    """Return the vectors by sentence-transformers, computed in a process that then gives its memory back."""
    script = (
        "import sys, json, numpy as np; from sentence_transformers import SentenceTransformer; "
        "texts = json.load(sys.stdin); model = SentenceTransformer(sys.argv[1], device='cpu'); "
        "np.savez(sys.argv[2], **{k: model.encode(v, batch_size=8) for k, v in texts.items()})"
    )
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "vectors.npz"
        command = [sys.executable, "-c", script, str(folder), str(file)]
        subprocess.run(command, input=json.dumps(texts), text=True, check=True, env=environment())
        with np.load(file) as found:
            return {kind: found[kind] for kind in texts}


def ours(arguments: argparse.Namespace, options: str) -> Callable[[int], list[str]]:
    """Return how our server is started on a port."""
    command = [sys.executable, "-m", "hfembed", "serve", str(arguments.model), "--name", NAME, *shlex.split(options)]
    return lambda port: [*command, "--port", str(port)]


def infinity(arguments: argparse.Namespace, folder: Path) -> Callable[[int], list[str]]:
    """Return how infinity-emb is started on a port."""
    program = str(arguments.infinity.parent / "infinity_emb")
    options = {
        "--model-id": str(folder), "--served-model-name": NAME, "--engine": arguments.engine, "--device": "cpu",
        "--dtype": "float32", "--host": "127.0.0.1", "--url-prefix": "/v1", "--log-level": "error",
    }  # fmt: skip
    # BetterTransformer is gone from the Optimum that its other libraries ask for.
    return lambda port: [
        program, "v2", *(word for pair in options.items() for word in pair), "--no-bettertransformer",
        "--port", str(port),
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """Return the environment of servers: no network, nothing sent anywhere, all threads that they want."""
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "TQDM_DISABLE": "1"}
    return {**os.environ, **quiet}


@contextmanager
def running(command: Callable[[int], list[str]]) -> Iterator[tuple[str, psutil.Process]]:
    """Start a server, wait until it answers, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(command(port), env=environment(), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not any(answers(f"http://127.0.0.1:{port}{path}") for path in ("/health", "/v1/health")):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"This server did not start: {shlex.join(command(port))}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(60)


def answers(url: str) -> bool:
    """Tell whether an address answers with success."""
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def ask_for(url: str, texts: list[str], vectors: Vectors) -> list[Question]:
    """Return the requests for texts."""
    return [Question(url, NAME, text, vector) for text, vector in zip(texts, vectors, strict=True)]


def show(cells: dict[tuple[str, str, int], Tally], servers: list[str]) -> None:
    """Print a row for each server and load, with ratios to the others."""
    head = f"{'texts':<9} {'clients':>7}  {'server':<9} {'req/s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'cpu ms':>8}"
    print(f"{head}  ours is (req/s, p95, cpu)")
    for kind, clients in dict.fromkeys((kind, clients) for _, kind, clients in cells):
        own = cells[OURS, kind, clients]
        for server in servers:
            cell = cells[server, kind, clients]
            times = " ".join(f"{cell.milliseconds(percent):8.1f}" for percent in (50, 95, 99))
            quick, slow = own.rate() / cell.rate(), own.milliseconds(95) / cell.milliseconds(95)
            ratio = f"{quick:.2f} x, {slow:.2f} x, {own.cost() / cell.cost():.2f} x"
            bad = {status: count for status, count in cell.statuses.items() if status != 200}
            wrong = f"  WRONG {cell.wrong}, LOST {cell.lost}, {bad}" if cell.wrong or cell.lost or bad else ""
            shown = "" if server == OURS else ratio
            print(f"{kind:<9} {clients:>7}  {server:<9} {cell.rate():8.1f} {times} {cell.cost():8.1f}  {shown}{wrong}")


def soak(
    command: Callable[[int], list[str]], texts: dict[str, list[str]], vectors: dict[str, Vectors],
    arguments: argparse.Namespace,
) -> None:  # fmt: skip
    """Ask at twice the capacity for minutes, and print what became of it."""
    with running(command) as (url, process):
        questions = [question for kind in KINDS for question in ask_for(url, texts[kind], vectors[kind])]
        random.Random(1).shuffle(questions)
        asyncio.run(closed_loop(url, questions, 64, WARM_SECONDS))
        capacity = asyncio.run(closed_loop(url, questions, 64, arguments.seconds)).rate()
        memory: list[int] = []
        tally = asyncio.run(
            open_loop(
                url, questions, 2 * capacity, 60 * arguments.soak,
                lambda _: memory.append(process.memory_info().rss),
            )
        )  # fmt: skip
    others = {status: count for status, count in tally.statuses.items() if status not in (200, 429)}
    early, late = max(memory[: max(1, len(memory) // 5)]), max(memory[-max(1, len(memory) // 5) :])
    print(f"capacity {capacity:.1f} req/s; asked at {2 * capacity:.1f} req/s for {tally.elapsed:.0f} s")
    print(f"answered {tally.statuses[200]:,}, refused with 429 {tally.statuses[429]:,}, others {others or 'none'}")
    print(f"wrong {tally.wrong}, lost {tally.lost}; answered {tally.rate() / capacity:.2f} x the capacity")
    print(
        f"p50 {tally.milliseconds(50):.0f} ms, p95 {tally.milliseconds(95):.0f} ms, p99 {tally.milliseconds(99):.0f} ms"
    )
    print(f"memory {early / 2**20:.0f} MB in the first fifth, {late / 2**20:.0f} MB in the last: {late / early:.3f} x")
    if tally.wrong or tally.lost or others:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
