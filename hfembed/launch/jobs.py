"""jobs: a job on the Hub, which brings itself the code, works, and keeps what it makes in the run's repo."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hfembed.errors import HubError
from hfembed.events import Reporter, silent
from hfembed.hardware import HARDWARE, Hardware
from hfembed.hub.jobs import Jobs, JobSpec, JobState, LogLine
from hfembed.hub.problems import hub_errors
from hfembed.hub.publish import seconds_to_wait
from hfembed.hub.runs import RunRepo
from hfembed.launch import bootstrap
from hfembed.launch.bundle import WHEEL_NAME
from hfembed.launch.contract import Offer, Order, begin, begun
from hfembed.launch.extras import processes_of
from hfembed.launch.home import home_name, note, settle
from hfembed.launch.keeper import bring_run
from hfembed.launch.record import Launch, LauncherName, Outcome, Standing, read_outcome, write_link
from hfembed.run import REPO_LAYOUT, Run

IMAGE = f"ghcr.io/astral-sh/uv:python{sys.version_info.major}.{sys.version_info.minor}-bookworm-slim"
LABEL = {"hfembed": "run"}
# A label holds few characters; this many of a hash tell recipes apart.
LABEL_DIGITS = 32
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.25, 10.0
# A Hub that gives no answer for so long is given up on; the job itself goes on.
PATIENCE_SECONDS = 900.0


class HubJobs:
    """Runs jobs of a namespace."""

    def __init__(self, report: Reporter | None = None) -> None:
        """Tell `report` of a Hub that does not answer."""
        self._report = report or silent()

    def hardware(self) -> list[Hardware]:
        """Ask the Hub what there is and what it costs; where it does not say, tell what it was."""
        try:
            return Jobs("", self._report).hardware()
        except HubError as error:
            self._report.note(f"prices are those that hfembed knows of: {error.message}")
            return list(HARDWARE)

    def twin(self, order: Order) -> str | None:
        """Look for a live job with the same recipe's hash among its labels."""
        jobs = Jobs(str(order.owner), self._report).find({**LABEL, "recipe": order.recipe_hash[:LABEL_DIGITS]})
        return next((str(job.labels.get("run", job.id)) for job in jobs if not job.is_over), None)

    def submit(self, order: Order, offer: Offer) -> Launch:
        """Fill the run's repo, start the job, and write down which it is."""
        owner = str(order.owner)
        launch = begin(order, offer, LauncherName.JOBS, owner, home_name(owner, order.id))
        repo = RunRepo(str(launch.repo), self._report)
        repo.create()
        settle(repo, order, launch)
        try:
            job = Jobs(owner, self._report).start(_spec(order, offer, launch))
        except HubError:
            if order.again is None:
                repo.delete()  # nothing was begun that anyone could go on with
            raise
        launch = begun(launch, job.id)
        note(repo, launch)
        write_link(order.run, launch)
        return launch

    def standing(self, launch: Launch, run: Run | None) -> Standing:
        """Ask for the job."""
        job = self._job(launch)
        return Standing(
            stage=job.stage, is_over=job.is_over, is_waiting=job.is_waiting, message=job.message, url=job.url
        )

    def follow(self, launch: Launch, run: Run | None, *, wait: bool = True) -> Iterator[str]:
        """Yield its log; a connection that is lost is made anew, and goes on where it was."""
        jobs, place = Jobs(launch.attempt.owner, self._report), _Place()
        look, lost, told = LOOK_SECONDS, None, ""
        while True:
            job = self._job(launch)
            if job.is_waiting and job.stage != told:
                self._report.note(f"waiting for {launch.attempt.flavor}: {job.stage.lower()}")
                told = job.stage
            if not (job.is_waiting and wait):
                try:
                    yield from place.after(self._lines(jobs, job, wait=wait))
                    lost = None
                except Exception as error:
                    lost = lost or time.monotonic()
                    self._wait_out(error, launch, lost)
                    continue
            if job.is_over or not wait:
                return
            time.sleep(look)
            look = min(2 * look, LONGEST_LOOK_SECONDS)

    def _lines(self, jobs: Jobs, job: JobState, *, wait: bool) -> Iterator[LogLine]:
        """Yield a log until it ends; while nothing comes, look whether anything still can."""
        for line in jobs.log(job.id):
            if line is not None:
                yield line
            elif not wait or jobs.inspect(job.id).is_over:
                return

    def _wait_out(self, error: Exception, launch: Launch, since: float) -> None:
        seconds = seconds_to_wait(error, 2)
        if seconds is None or time.monotonic() - since > PATIENCE_SECONDS:
            with hub_errors(f"log of job {launch.attempt.job}"):
                raise error
        self._report.note(f"the log was cut off ({type(error).__name__}); asking again in {seconds:.0f} s")
        time.sleep(seconds)

    def cancel(self, launch: Launch, run: Run | None) -> None:
        """Tell the Hub to end the job."""
        job = self._job(launch)
        if not job.is_over:
            Jobs(job.owner, self._report).cancel(job.id)

    def outcome(self, launch: Launch, run: Run | None) -> Outcome | None:
        """Read it in the run's repo."""
        content = RunRepo(str(launch.repo), self._report).read(REPO_LAYOUT.outcome)
        return read_outcome(content, f"{launch.repo}/{REPO_LAYOUT.outcome}", launch.attempt.number)

    def bring(self, launch: Launch, run: Run) -> None:
        """Bring what the job kept."""
        bring_run(RunRepo(str(launch.repo), self._report), run)

    def _job(self, launch: Launch) -> JobState:
        attempt = launch.attempt
        jobs = Jobs(attempt.owner, self._report)
        if attempt.job:
            return jobs.inspect(attempt.job)
        # Whoever started it was cut off before its id was written down; its labels tell.
        found = jobs.find(_labels(launch))
        if not found:
            raise HubError(f"The job of {launch.id} was never started.", f"hfembed run --resume {launch.id}")
        return found[0]


class _Place:
    """How far a log was read. Lines have times, and a log that is sent again begins anew or a little later."""

    def __init__(self) -> None:
        self._time, self._count = "", 0

    def after(self, lines: Iterator[LogLine]) -> Iterator[str]:
        """Yield the lines that were not read yet."""
        known = self._count
        for line in lines:
            if line.timestamp < self._time:
                continue
            if line.timestamp == self._time and known:
                known -= 1
                continue
            self._count = self._count + 1 if line.timestamp == self._time else 1
            self._time = line.timestamp
            yield line.text


def _labels(launch: Launch) -> dict[str, str]:
    recipe = launch.recipe_hash[:LABEL_DIGITS]
    return {**LABEL, "run": launch.id, "attempt": str(launch.attempt.number), "recipe": recipe}


def _spec(order: Order, offer: Offer, launch: Launch) -> JobSpec:
    text = Path(bootstrap.__file__).read_text(encoding="utf-8")
    processes = processes_of(order.recipe, offer.hardware)
    sent = [str(launch.repo), REPO_LAYOUT.bundle, WHEEL_NAME, REPO_LAYOUT.constraints]
    sent += [",".join(launch.extras), str(processes)]
    return JobSpec(
        image=IMAGE,
        command=["python", "-c", text, *sent],
        flavor=offer.hardware.name,
        seconds=int(order.seconds or 0),
        labels=_labels(launch),
        environment={"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        secrets=dict(order.secrets),
    )
