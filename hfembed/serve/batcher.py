"""The batcher: what waits is computed in batches of like length, every request in turn, without waiting when idle.

A batch is a few hundred tokens. On a processor more of them at a time gain nothing, while padding costs as much as
text does, so that batches are cut where lengths differ. Requests with many texts give some of them at a time: a
question does not wait for a whole corpus.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hfembed.embed import Vectors
from hfembed.serve.engine import Engine
from hfembed.serve.refusals import busy, failed, stopping
from hfembed.serve.tokens import Text

# Batches that are planned at a time: among these, texts are sorted by length.
PLANNED = 4
MOST_SECONDS = 60

logger = logging.getLogger("hfembed.serve")


@dataclass(eq=False)
class Work:
    """One accepted request. taken: how many of its texts are planned; left: how many are not computed."""

    texts: Sequence[Text]
    done: asyncio.Future[Vectors]
    rows: list[Vectors]
    left: int
    taken: int = 0


@dataclass(frozen=True)
class Batch:
    """Texts that are computed together, and whose they are."""

    parts: list[tuple[Work, int]]

    def texts(self) -> list[Text]:
        """Return the texts, in order."""
        return [work.texts[place] for work, place in self.parts]


# Is told of every batch its texts, tokens, padding and seconds.
Listener = Callable[[int, int, int, float], None]


class Batcher:
    """The queue of one event loop, and the threads that compute what is in it."""

    def __init__(self, engine: Engine, most_tokens: int, most_texts: int, listener: Listener | None = None) -> None:
        """Let so many tokens and texts wait at most; more than that only of a request that finds nobody waiting."""
        self._engine = engine
        self._most_tokens, self._most_texts = most_tokens, most_texts
        self._listener = listener
        self._works: deque[Work] = deque()
        self._planned: deque[Batch] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._speed = 0.0  # tokens a second, of one worker
        self.waiting_tokens = 0
        self.waiting_texts = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"hfembed-serve-{number}", daemon=True)
            for number in range(engine.workers)
        ]

    def start(self) -> None:
        """Begin to compute for the event loop that calls."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def submit(self, texts: Sequence[Text]) -> asyncio.Future[Vectors]:
        """Accept a request, or refuse it while too much waits. Called in the event loop."""
        tokens = sum(len(text.ids) for text in texts)
        assert self._loop is not None
        with self._ready:
            if self._closed:
                raise stopping()
            is_full = (
                self.waiting_tokens + tokens > self._most_tokens or self.waiting_texts + len(texts) > self._most_texts
            )
            if self.waiting_texts and is_full:
                raise busy(self._seconds())
            work = Work(texts, self._loop.create_future(), [np.empty(0, np.float32)] * len(texts), len(texts))
            self._works.append(work)
            self.waiting_tokens += tokens
            self.waiting_texts += len(texts)
            self._ready.notify()
        return work.done

    def close(self) -> None:
        """Accept nothing more; what was accepted is still computed."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def join(self) -> None:
        """Wait until everything that was accepted is computed."""
        for thread in self._threads:
            thread.join()

    def _seconds(self) -> int:
        """Return in how many seconds about half of what waits will be done."""
        speed = self._speed * len(self._threads)
        return min(MOST_SECONDS, max(1, math.ceil(self.waiting_tokens / 2 / speed))) if speed else 1

    def _work(self) -> None:
        while True:
            with self._ready:
                while not self._planned and not self._works:
                    if self._closed:
                        return
                    self._ready.wait()
                if not self._planned:
                    self._plan()
                batch = self._planned.popleft()
                if self._planned or self._works:
                    self._ready.notify()
            self._compute(batch)

    def _plan(self) -> None:
        """Take some texts of every request in turn, and cut them into batches of like length."""
        taken: list[tuple[Work, int]] = []
        room = PLANNED * self._engine.batch_tokens
        while self._works and room > 0:
            work = self._works.popleft()
            share = min(room, self._engine.batch_tokens)
            while share > 0 and work.taken < len(work.texts):
                taken.append((work, work.taken))
                length = len(work.texts[work.taken].ids)
                share -= length
                room -= length
                work.taken += 1
            if work.taken < len(work.texts):
                self._works.append(work)
        lengths = [len(work.texts[place].ids) for work, place in taken]
        order = sorted(range(len(taken)), key=lengths.__getitem__)
        cuts = cut([lengths[at] for at in order], self._engine.batch_tokens, self._engine.fixed_tokens)
        self._planned.extend(Batch([taken[at] for at in order[start:end]]) for start, end in cuts)

    def _compute(self, batch: Batch) -> None:
        texts = batch.texts()
        started = time.perf_counter()
        vectors, problem = None, None
        try:
            vectors = self._engine.compute(texts)
        except Exception:  # whatever an engine raises: these requests fail, and the server goes on
            logger.exception("a batch of %d texts failed", len(texts))
            problem = failed()
        seconds = time.perf_counter() - started
        tokens = sum(len(text.ids) for text in texts)
        if self._listener is not None:
            padding = len(texts) * max(len(text.ids) for text in texts) - tokens
            self._listener(len(texts), tokens, padding, seconds)
        ended: list[Work] = []
        with self._ready:
            self.waiting_tokens -= tokens
            self.waiting_texts -= len(texts)
            self._speed += (tokens / max(seconds, 1e-6) - self._speed) * (0.1 if self._speed else 1)
            for row, (work, place) in enumerate(batch.parts):
                if vectors is not None:
                    work.rows[place] = vectors[row]
                work.left -= 1
                if problem is not None or not work.left:
                    ended.append(work)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_tell, ended, problem)


def _tell(works: list[Work], problem: Exception | None) -> None:
    """Give requests their vectors; in the event loop, once for a whole batch."""
    for work in works:
        if work.done.done():  # another batch of it failed, or nobody waits any more
            continue
        if problem is not None:
            work.done.set_exception(problem)
        else:
            work.done.set_result(np.stack(work.rows))


def cut(lengths: Sequence[int], most_tokens: int, fixed_tokens: int) -> list[tuple[int, int]]:
    """Return where sorted lengths are cut into batches.

    A batch ends where it is full, or where its padding for the next text would cost more than one more batch.
    """
    cuts: list[tuple[int, int]] = []
    start = 0
    for at, length in enumerate(lengths):
        count = at - start
        is_full = (count + 1) * length > most_tokens
        if count and (is_full or count * (length - lengths[at - 1]) > fixed_tokens):
            cuts.append((start, at))
            start = at
    return [*cuts, (start, len(lengths))] if lengths else []
