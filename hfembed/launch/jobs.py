"""jobs: a job on the Hub, which brings itself the code, works, and keeps what it makes in the run's repo."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from hfembed.errors import HubError
from hfembed.events import Reporter, silent
from hfembed.hardware import HARDWARE, Hardware
from hfembed.hub.jobs import Jobs, JobSpec, JobState
from hfembed.hub.runs import RunRepo
from hfembed.launch import bootstrap
from hfembed.launch.bundle import WHEEL_NAME
from hfembed.launch.contract import Offer, Order, begin, begun
from hfembed.launch.extras import processes_of
from hfembed.launch.home import home_name, note, settle
from hfembed.launch.keeper import bring_run
from hfembed.launch.log import Log
from hfembed.launch.record import Launch, LauncherName, Outcome, Standing, read_outcome, write_link
from hfembed.run import REPO_LAYOUT, Run

IMAGE = f"ghcr.io/astral-sh/uv:python{sys.version_info.major}.{sys.version_info.minor}-bookworm-slim"
LABEL = {"hfembed": "run"}
# A label holds few characters; this many of a hash tell recipes apart.
LABEL_DIGITS = 32


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
        jobs = Jobs(launch.attempt.owner, self._report)
        log = Log(
            launch.attempt.flavor,
            lambda: jobs.log(self._job(launch).id),
            lambda: self.standing(launch, run),
            self._report,
        )
        return log.follow(wait=wait)

    def cancel(self, launch: Launch, run: Run | None) -> None:
        """Tell the Hub to end the job."""
        job = self._job(launch)
        if not job.is_over:
            Jobs(job.owner, self._report).cancel(job.id)

    def delete(self, launch: Launch) -> bool:
        """Nothing is left of a job."""
        return False

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
