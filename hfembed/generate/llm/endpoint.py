"""A language model behind an endpoint: any OpenAI-compatible server, or a provider of the Hub."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from hfembed.errors import HfembedError
from hfembed.events import Reporter
from hfembed.generate.llm.messages import NoReply, Reply, Request
from hfembed.generate.llm.refusals import Refusal, Verdict, judge_error
from hfembed.generate.llm.spend import estimate_tokens
from hfembed.hub import Chat
from hfembed.recipe import Llm

FIRST_WAIT, LONGEST_WAIT = 0.25, 60.0
# What a server may not know; the first that it objects to is left out from then on.
OPTIONAL = ("response_format", "seed", "top_p", "temperature", "max_tokens")


class Endpoint:
    """Sends requests from a few threads; a server that asks for patience is left alone by all of them."""

    def __init__(self, settings: Llm, key: str | None, report: Reporter) -> None:
        """Speak to the endpoint of `settings`; nothing is sent yet."""
        self.name, self.room, self.requests = str(settings.model), settings.concurrency, 0
        self._settings, self._report = settings, report
        self._secret = key
        self._chat = Chat(
            self.name,
            endpoint=settings.endpoint,
            provider=settings.provider,
            key=key,
            timeout=settings.patience.timeout,
        )
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="llm")
        self._flying: dict[Future[Reply | NoReply], int] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._left_out: set[str] = set()
        self._notes: list[str] = []
        self._reached = False
        self._not_before = 0.0

    def submit(self, number: int, request: Request) -> None:
        """Send a request as soon as a thread is free."""
        self._flying[self._threads.submit(self._answer, request)] = number

    def wait(self) -> None:
        """Wait for an answer."""
        wait(self._flying, return_when=FIRST_COMPLETED)

    def collect(self) -> list[tuple[int, Reply | NoReply]]:
        """Return what is answered; what no request can change, such as a wrong key, is raised."""
        done = [future for future in self._flying if future.done()]
        while self._notes:  # told from here: events are not for several threads at once
            self._report.note(self._notes.pop(0))
        failed = [future for future in done if future.exception() is not None]
        # Answers come first: they are paid. What failed is still there the next time.
        taken = [future for future in done if future not in failed] or failed[:1]
        return [(self._flying.pop(future), future.result()) for future in taken]

    def stop(self) -> None:
        """Try nothing again from here on."""
        self._stopped.set()

    def close(self) -> None:
        """End the threads once what is in flight has landed."""
        self._stopped.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _answer(self, request: Request) -> Reply | NoReply:
        refusal = Refusal("stopped")
        for attempt in range(self._settings.patience.tries):
            if not self._wait():
                break
            outcome = self._try(request)
            if isinstance(outcome, Reply):
                self._reached = True
                return outcome
            refusal = outcome
            if not refusal.passing or attempt == self._settings.patience.tries - 1:
                break
            self._rest(refusal.wait if refusal.wait is not None else FIRST_WAIT * 2**attempt, refusal.for_all)
        return NoReply(refusal.reason, refusal.passing)

    def _try(self, request: Request) -> Reply | Refusal:
        """Send once, and again as long as the server objects to something that can be left out."""
        while True:
            sent = self._optional(request)
            with self._lock:
                self.requests += 1
            try:
                return self._read(request, self._chat.complete(request.messages, sent))
            except HfembedError:
                raise
            except Exception as error:  # whatever the client and its libraries raise is told apart in one place
                verdict = judge_error(error, self._settings, reached=self._reached, secret=self._secret)
            if verdict.objection is not None and self._leave_out(verdict, sent):
                continue
            if verdict.fatal is not None:
                raise verdict.fatal
            return verdict.refusal

    def _optional(self, request: Request) -> dict[str, Any]:
        sampling = self._settings.sampling
        form = {"type": "json_schema", "json_schema": {"name": request.task, "schema": request.schema, "strict": True}}
        values = {
            "response_format": form,
            "seed": request.seed,
            "top_p": sampling.top_p,
            "temperature": sampling.temperature,
            "max_tokens": request.max_tokens,
        }
        sent = {name: value for name, value in values.items() if value is not None and name not in self._left_out}
        # Some servers know the length of an answer by its newer name only.
        return sent if "max_tokens" in sent else {**sent, "max_completion_tokens": request.max_tokens}

    def _read(self, request: Request, answer: Any) -> Reply:
        choice = answer.choices[0]
        text = choice.message.content or ""
        usage = answer.usage
        counted = usage is not None and bool(usage.prompt_tokens)
        return Reply(
            text=text,
            tokens_in=usage.prompt_tokens if counted else estimate_tokens(request.size()),
            tokens_out=usage.completion_tokens if counted else estimate_tokens(len(text.encode("utf-8", "replace"))),
            cut=choice.finish_reason == "length",
            estimated=not counted,
        )

    def _leave_out(self, verdict: Verdict, sent: dict[str, Any]) -> bool:
        """Find what the server objects to, and send it no more."""
        said = verdict.objection or ""
        named = next((name for name in OPTIONAL if name in sent and name in said), None)
        if named is None and "response_format" in sent and (not self._reached or "schema" in said):
            named = "response_format"
        if named is None:
            return any(name in self._left_out for name in sent)  # another thread was quicker
        with self._lock:
            new = named not in self._left_out
            self._left_out.add(named)
            if new:
                self._notes.append(f"the server does not take {named}: it is left out")
        return True

    def _wait(self) -> bool:
        """Wait until the server may be asked; False when nothing is to be tried any more."""
        while not self._stopped.is_set():
            left = self._not_before - time.monotonic()
            if left <= 0:
                return True
            self._stopped.wait(left)
        return False

    def _rest(self, seconds: float, for_all: bool) -> None:
        pause = min(seconds, LONGEST_WAIT) * random.uniform(1.0, 1.25)  # so that they do not all come back at once
        if for_all:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + pause)
        else:
            self._stopped.wait(pause)
