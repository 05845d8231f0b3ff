"""Measure how long visitors of the Space wait: for the first page, for a comparison, alone and ten at once.

    python bench/space.py FINISHED_RUN [--visitors 10] [--queries 5]

Serves the front end on this machine with a finished run, opens it in a real Chromium, and prints the seconds from
the start of the server to its first answer, from the address to a page that can be used, and from pressing Search to
the passages: the first time, when models are loaded, and after it; then with that many visitors who search at once,
while the log of a run is followed. Beside it stands what plain sentence-transformers takes for the same queries
in a loop, models loaded and documents encoded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from hfembed.corpus import Documents, join_title
from hfembed.front import Seat, find_seat
from hfembed.resources import PACKAGE
from hfembed.run import LAYOUT, Run

SERVE = "from hfembed.front import Seat, serve_front; from pathlib import Path; import sys; \
serve_front(Seat(Path(sys.argv[1]), int(sys.argv[2])), opens_browser=False, runs=[Path(sys.argv[3])])"
QUERIES = (
    "how do I reset it",
    "what does the red lamp mean",
    "how long does it last",
    "where is it",
    "what is the limit",
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 120_000


def main() -> None:
    """Serve, visit, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--queries", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hfembed-space-") as work:
        seat = find_seat(Path(work))
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, work, str(seat.port), str(arguments.run.resolve())], cwd=PACKAGE.parent,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_for(seat)
            print(f"server up after {time.perf_counter() - began:.1f} s")
            asyncio.run(visit(seat, arguments.visitors, arguments.queries))
            print(f"memory of the server: {_megabytes(server.pid):,.0f} MB")
        finally:
            server.terminate()
            server.wait(30)
    print(f"sentence-transformers in a loop: {plain(arguments.run):.0f} ms a query and model")


async def visit(seat: Seat, visitors: int, queries: int) -> None:
    """Open the page and compare: one visitor, then many at once."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        opened = [await _open(browser, seat) for _ in range(2)]
        print(f"first usable page: {opened[0][1]:.2f} s, again {opened[1][1]:.2f} s")
        page = opened[0][0]
        first = await _search(page, QUERIES[0])
        later = [await _search(page, QUERIES[number % len(QUERIES)]) for number in range(1, queries + 1)]
        print(f"comparison: first {first:.0f} ms, then {statistics.median(later):.0f} ms (slowest {max(later):.0f})")
        pages = [page, *[(await _open(browser, seat))[0] for _ in range(visitors - 1)]]
        waits: list[float] = []
        for number in range(queries):
            waits += await asyncio.gather(*[_search(one, QUERIES[number % len(QUERIES)]) for one in pages])
        print(f"{visitors} visitors at once: {statistics.median(waits):.0f} ms (slowest {max(waits):.0f})")
        await browser.close()


async def _open(browser: Any, seat: Seat) -> tuple[Any, float]:
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    began = time.perf_counter()
    await page.goto(f"{seat.url}/?tab=compare")
    await page.wait_for_function("document.querySelector('#search') && !document.querySelector('#search').disabled")
    return page, time.perf_counter() - began


async def _search(page: Any, query: str) -> float:
    """Ask, and wait until the passages of this query stand there."""
    asked = f"{query} {time.perf_counter_ns() % 1_000_000}"  # so that nothing was asked before
    await page.get_by_label("Query", exact=True).fill(asked)
    began = time.perf_counter()
    await page.locator("#search").click()
    await page.wait_for_function(
        "asked => document.querySelector('#comparison').innerText.includes(asked)"
        " && document.querySelectorAll('#comparison .hf-ranked > li').length > 1",
        arg=asked,
    )
    return (time.perf_counter() - began) * 1000


def plain(folder: Path) -> float:
    """Return the milliseconds that sentence-transformers takes for a query, with nothing around it."""
    from sentence_transformers import SentenceTransformer, util

    run = Run(folder)
    documents = Documents.read(run.path(LAYOUT.documents))
    texts = [join_title(title, body) for title, body in zip(documents.titles, documents.bodies, strict=True)]
    model = SentenceTransformer(str(run.path(LAYOUT.model)), device="cpu")
    vectors = model.encode(texts, convert_to_tensor=True)
    seconds = []
    for query in QUERIES:
        began = time.perf_counter()
        util.semantic_search(model.encode([query], convert_to_tensor=True), vectors, top_k=10)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _wait_for(seat: Seat) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(seat.url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("The server did not come up.")


def _megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
