"""The runner: many pieces of work, each asking one thing after another, through one writer and one journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.generate.llm.interrupts import Interrupts
from hfembed.generate.llm.journal import Entry, Journal
from hfembed.generate.llm.messages import Ask, NoReply, Reply, Request, UnusableError, Writer
from hfembed.generate.llm.parse import is_torn, read_json
from hfembed.generate.llm.spend import Spend
from hfembed.generate.query import Query
from hfembed.recipe import Llm
from hfembed.run import hash_json

# Failures say something about the whole only once there are a few.
MIN_RECORDS = 20

# Work yields what it wants to know and is sent the answer, or None where there is none to be had.
Work = Generator[Ask, Any, list[Query]]


@dataclass
class Talk:
    """One piece of work under way. cost: of the answers it used, also those that an earlier process paid."""

    number: int
    work: Work
    ask: Ask | None = None
    request: Request | None = None
    reserved: float = 0.0
    cost: float = 0.0
    queries: list[Query] = field(default_factory=list)

    def asked(self) -> tuple[Ask, Request | None]:
        """Return what it waits for, and the request about it if one is prepared."""
        assert self.ask is not None
        return self.ask, self.request


@dataclass
class Tally:
    """What happened, over all the work. records: requests that came to a good end. answers: those of this process."""

    records: int = 0
    answers: int = 0
    repaired: int = 0
    estimated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    unusable: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    capped: bool = False


class Runner:
    """Runs work: all of it in this thread, so that only the requests are concurrent."""

    def __init__(self, writer: Writer, journal: Journal, spend: Spend, settings: Llm, report: Reporter) -> None:
        """Ask `writer`, but never what stands in `journal`, and never beyond what `spend` allows."""
        self._writer, self._journal, self._spend = writer, journal, spend
        self._settings, self._report = settings, report
        self.tally = Tally()
        self._flying: dict[int, Talk] = {}
        self._answered = False
        self._interrupts = Interrupts()

    def run(
        self, works: Iterable[tuple[int, Work]], total: int, unit: str, doing: str = "writing queries"
    ) -> Iterator[Talk]:
        """Do all the work, yielding each piece as it is finished; what the cap leaves undone is not yielded."""
        waiting = iter(works)
        task = self._report.task(doing, total, unit)
        try:
            with self._interrupts.held():
                while True:
                    for talk in self._fill(waiting):
                        task.advance(detail=self._detail())
                        yield talk
                    if not self._flying:
                        break
                    for talk in self._land():
                        task.advance(detail=self._detail())
                        yield talk
                    self._refuse_hopeless()
        except BaseException:
            self._save_what_is_paid()
            raise
        self.tally.unfinished += sum(1 for _ in waiting)
        task.finish()

    def _fill(self, waiting: Iterator[tuple[int, Work]]) -> Iterator[Talk]:
        """Begin work while there is room; until the first answer there is room for one, should all be in vain."""
        while len(self._flying) < (self._writer.room if self._answered else 1):
            number, work = next(waiting, (None, None))
            if number is None or work is None:
                return
            talk = Talk(number, work)
            if self._resume(talk, None):
                yield talk

    def _land(self) -> Iterator[Talk]:
        with self._interrupts.let_through():
            self._writer.wait()
        landed = [(self._flying.pop(number), outcome) for number, outcome in self._writer.collect()]
        for talk, outcome in landed:  # all of them, before anything can go wrong with one
            self._book(talk, outcome)
        for talk, outcome in landed:
            if isinstance(outcome, NoReply):
                self._refuse_silence(outcome)
                self._drop(outcome.reason)
                done = self._resume(talk, None)
            else:
                self._answered = True
                found, value = self._look_up(talk)
                done = self._resume(talk, value) if found else self._send(talk)
            if done:
                yield talk

    def _resume(self, talk: Talk, value: Any) -> bool:
        """Give a piece of work what it asked for and take it as far as the journal reaches; tell if it is finished."""
        while True:
            try:
                talk.ask = talk.work.send(value)
            except StopIteration as end:
                talk.queries = end.value
                return True
            found, value = self._look_up(talk)
            if not found:
                return self._send(talk)

    def _look_up(self, talk: Talk) -> tuple[bool, Any]:
        """Return whether the journal settles what was asked, and how; otherwise prepare what is still to be sent."""
        ask, _ = talk.asked()
        request = self._request(ask)
        entries, reasons = self._journal.entries(self._key(request)), []
        for place, entry in enumerate(entries):
            try:
                value, repaired = read_json(entry.reply.text)
                value = ask.check(value, entry.reply.cut or (repaired and is_torn(entry.reply.text)))
            except UnusableError as error:
                reasons.append(str(error))
                continue
            self.tally.records += 1
            self.tally.repaired += repaired
            self._count(talk, entries[: place + 1], reasons)
            return True, value
        if len(entries) >= self._settings.patience.answers:
            self._count(talk, entries, reasons)
            self._drop(reasons[-1])
            return True, None
        longer = 2 if any(entry.reply.cut for entry in entries) else 1
        talk.request = replace(request, max_tokens=longer * request.max_tokens, seed=request.seed + len(entries))
        return False, None

    def _send(self, talk: Talk) -> bool:
        """Send what is prepared, unless the cap forbids it: then nothing more is sent, and the work stays undone."""
        _, request = talk.asked()
        assert request is not None
        reserved = None if self.tally.capped else self._spend.reserve(request)
        if reserved is None:
            self.tally.capped = True
            self.tally.unfinished += 1
            talk.work.close()
            return False
        talk.reserved = reserved
        self._flying[talk.number] = talk
        self._writer.submit(talk.number, request)
        return False

    def _book(self, talk: Talk, outcome: Reply | NoReply) -> None:
        """Write an answer down before anything is made of it."""
        ask, request = talk.asked()
        assert request is not None
        reply = outcome if isinstance(outcome, Reply) else None
        cost = self._spend.settle(request, reply, talk.reserved)
        if reply is not None:
            self.tally.answers += 1
            self._journal.append(self._key(request), ask.task, Entry(reply, cost))

    def _count(self, talk: Talk, entries: list[Entry], reasons: list[str]) -> None:
        tally = self.tally
        tally.unusable.update(reasons)
        for entry in entries:
            talk.cost += entry.cost
            tally.cost += entry.cost
            tally.tokens_in += entry.reply.tokens_in
            tally.tokens_out += entry.reply.tokens_out
            tally.estimated += entry.reply.estimated

    def _drop(self, reason: str) -> None:
        self.tally.dropped[f"no_answer_{reason}"] += 1

    def _request(self, ask: Ask) -> Request:
        seed = int(hash_json([message["content"] for message in ask.messages])[:8], 16) >> 1
        return Request(ask.task, ask.messages, ask.schema, self._settings.sampling.max_tokens, seed, ask.count)

    def _key(self, request: Request) -> str:
        sampling = self._settings.sampling
        asked = [request.task, request.messages, self._writer.name, sampling.temperature, sampling.top_p]
        return hash_json([*asked, request.count] if request.count > 1 else asked)

    def _refuse_silence(self, outcome: NoReply) -> None:
        if outcome.passing and not self._answered:
            raise StageError(
                f"'{self._writer.name}' gave no answer to the first request, however often it was sent: {outcome.reason}.",
                "Look at the server's log; generate.llm.patience sets how long and how often it is asked.",
            )

    def _refuse_hopeless(self) -> None:
        lost, records = sum(self.tally.dropped.values()), self.tally.records
        if lost + records >= MIN_RECORDS and lost > self._settings.patience.max_failures * (lost + records):
            reason, count = self.tally.dropped.most_common(1)[0]
            raise StageError(
                f"{lost:,} of the first {lost + records:,} requests to '{self._writer.name}' came to nothing, "
                f"{count:,} of them for the reason '{reason}'.",
                "What was answered is kept. Try another model, or look with hfembed generate --preview.",
            )

    def _save_what_is_paid(self) -> None:
        """Wait for what is in flight and write it down: it is paid, whatever else went wrong."""
        self._writer.stop()
        if self._flying:
            self._report.note(f"waiting for the last {len(self._flying):,} answers: they are paid")
        while self._flying:
            self._writer.wait()
            try:
                landed = self._writer.collect()
            except StageError:
                continue  # no news beside what went wrong first, which is raised once this is done
            if not landed:
                break
            for number, outcome in landed:
                self._book(self._flying.pop(number), outcome)

    def _detail(self) -> str:
        tokens = f"{self.tally.tokens_in:,} tokens sent, {self.tally.tokens_out:,} received"
        return f"{tokens}, cost {self._spend.spent:.4f}" if self._spend.priced else tokens
