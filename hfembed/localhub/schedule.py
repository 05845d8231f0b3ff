"""When a scheduled job is due: cron expressions, and the thread that starts what is due."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta

from hfembed.localhub.database import now, stamp
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.jobs import TERMINAL, find_job, start_job
from hfembed.localhub.sealing import unseal_all
from hfembed.localhub.site import Site

_NAMED = {
    "@annually": "0 0 1 1 *",
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_HORIZON = timedelta(days=4 * 366)
_TICK_SECONDS = 1.0
_log = logging.getLogger(__name__)


def _field(text: str, low: int, high: int) -> set[int]:
    """Return the numbers that one field of a cron expression allows."""
    allowed: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
        start = int(first)
        end = int(last) if last else (high if step else start)
        if not low <= start <= end <= high:
            raise ValueError(part)
        allowed |= set(range(start, end + 1, int(step or 1)))
    return allowed


def next_run(schedule: str, after: datetime) -> datetime:
    """Return the first minute after a moment that a cron expression allows, in UTC."""
    parts = _NAMED.get(schedule, schedule).split()
    try:
        if len(parts) != len(_RANGES):
            raise ValueError(schedule)
        fields = [_field(part, low, high) for part, (low, high) in zip(parts, _RANGES, strict=True)]
    except ValueError as error:
        raise bad_request(f"Invalid schedule {schedule!r}: {error}. Use five cron fields, or @daily.") from None
    minutes, hours, days, months, weekdays = fields
    moment = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = moment + _HORIZON
    while moment < end:
        if moment.month not in months or not _day_fits(moment, days, weekdays, parts):
            moment = (moment + timedelta(days=1)).replace(hour=0, minute=0)
        elif moment.hour not in hours:
            moment = (moment + timedelta(hours=1)).replace(minute=0)
        elif moment.minute not in minutes:
            moment += timedelta(minutes=1)
        else:
            return moment
    raise bad_request(f"The schedule {schedule!r} never comes.")


def _day_fits(moment: datetime, days: set[int], weekdays: set[int], parts: list[str]) -> bool:
    """Tell whether a day fits; where both kinds of day are named, either will do, as in cron."""
    by_date = moment.day in days
    by_week = moment.isoweekday() % 7 in {weekday % 7 for weekday in weekdays}
    return by_date or by_week if "*" not in (parts[2], parts[4]) else by_date and by_week


def run_now(site: Site, scheduled: str, endpoint: str) -> str | None:
    """Start a scheduled job, unless its last one still runs and it may not run twice."""
    row = site.database.row("SELECT * FROM scheduled_jobs WHERE id = ?", scheduled)
    if row is None:
        raise RefusalError(404, "Scheduled job not found")
    if row["last_job"] and not row["concurrency"]:
        last = site.database.row("SELECT id FROM jobs WHERE id = ?", row["last_job"])
        if last is not None and find_job(site, row["owner"], row["last_job"])["stage"] not in TERMINAL:
            return None
    spec = json.loads(row["spec"]) | {"secrets": unseal_all(site.root, row["secrets"])}
    initiator = {"type": "scheduled-job", "id": scheduled}
    job = start_job(site, row["owner"], spec, endpoint, initiator, scheduled)
    site.database.run("UPDATE scheduled_jobs SET last_job = ?, last_run_at = ? WHERE id = ?", job, now(), scheduled)
    return job


def _start_due(site: Site, endpoint: str) -> None:
    due = site.database.rows("SELECT id, schedule FROM scheduled_jobs WHERE NOT suspended AND next_run_at <= ?", now())
    for row in due:
        # The next time is set first: a job that cannot start is not tried again every second.
        following = stamp(next_run(row["schedule"], datetime.now(UTC)))
        site.database.run("UPDATE scheduled_jobs SET next_run_at = ? WHERE id = ?", following, row["id"])
        run_now(site, row["id"], endpoint)


class Clock(threading.Thread):
    """The thread that starts scheduled jobs when they are due, and looks after Spaces that run."""

    def __init__(self, site: Site, endpoint: str) -> None:
        super().__init__(name="hfembed-localhub-clock", daemon=True)
        self._site = site
        self._endpoint = endpoint
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look once a second for what is due and what has ended."""
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                _start_due(self._site, self._endpoint)
                if self._site.runner is not None:
                    self._site.runner.look()
            except Exception:
                # One broken job or Space must not end the clock for all others.
                _log.exception("The look at what is due failed")

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self.is_alive():
            self.join()
