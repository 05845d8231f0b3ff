"""Jobs that really run, through the real client."""

import contextlib
import sqlite3
import sys
import time
from datetime import UTC, datetime

import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hfembed.localhub import LocalHub, route_public_address
from hfembed.localhub.errors import RefusalError
from hfembed.localhub.schedule import next_run


@pytest.fixture(autouse=True)
def routed(hub):
    with route_public_address(hub.url):
        yield


def _wait(api, job, namespace="demo"):
    deadline = time.monotonic() + 30
    while (found := api.inspect_job(job_id=job.id, namespace=namespace)).status.stage in ("SCHEDULING", "RUNNING"):
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.02)
    return found


def _run(api, code, **options):
    return api.run_job(image="python:3.12", command=["python", "-c", code], **options)


def _logs(api, job):
    following = {} if hasattr(api, "duplicate_space") else {"follow": True}
    return list(api.fetch_job_logs(job_id=job.id, **following))


def test_a_job_runs_with_its_environment_and_secrets_and_its_log_is_told(hub, api):
    code = "import os; print(os.environ['A'], os.environ['S'], os.environ['HF_ENDPOINT'], os.environ['JOB_ID'])"
    job = _run(api, code, env={"A": "1"}, secrets={"S": "hidden"})
    assert _logs(api, job) == [f"1 hidden {hub.url} {job.id}"]
    done = _wait(api, job)
    assert done.status.stage == "COMPLETED" and list(done.secrets) == ["S"]
    assert job.id in [found.id for found in api.list_jobs(namespace="demo")]
    leftovers = [path for path in (hub.root / "jobs" / job.id).rglob("*") if path.is_file()]
    assert all("hidden" not in path.read_text() for path in leftovers if path.name != "log.jsonl")


def test_a_job_does_not_see_the_server_s_environment(api, monkeypatch):
    monkeypatch.setenv("SERVER_SECRET", "x")
    job = _run(api, "import os; print(sorted(name for name in os.environ if 'SECRET' in name))")
    assert _logs(api, job) == ["[]"]


def test_a_job_that_fails_says_with_what_exit_code(api):
    done = _wait(api, _run(api, "raise SystemExit(3)"))
    assert done.status.stage == "ERROR" and "3" in done.status.message


def test_a_command_that_does_not_exist_is_an_error(api):
    done = _wait(api, api.run_job(image="python:3.12", command=["no-such-command"]))
    assert done.status.stage == "ERROR" and "could not be started" in done.status.message


def test_a_job_that_takes_too_long_is_ended_with_its_children(api, tmp_path):
    mark = tmp_path / "child"
    code = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time, pathlib; time.sleep(3); pathlib.Path({str(mark)!r}).touch()"])
print("started"); time.sleep(60)
"""
    started = time.monotonic()
    done = _wait(api, _run(api, code, timeout=1))
    assert (done.status.stage, done.status.message) == ("ERROR", "Job timeout")
    assert time.monotonic() - started < 20 and not mark.exists()


def test_a_job_is_cancelled(api):
    job = _run(api, "print('up', flush=True); import time; time.sleep(60)")
    api.cancel_job(job_id=job.id)
    assert _wait(api, job).status.stage == "CANCELED"
    with pytest.raises(Exception, match=r"400|over already"):
        api.cancel_job(job_id=job.id)


def test_a_job_can_use_the_hub_it_was_started_on(api, token, model):
    code = f"""
from huggingface_hub import HfApi
HfApi().upload_file(path_or_fileobj=b"made by a job", path_in_repo="made.txt", repo_id={model!r})
"""
    done = _wait(api, _run(api, code, secrets={"HF_TOKEN": token}))
    assert done.status.stage == "COMPLETED", _logs(api, done)
    assert "made.txt" in api.list_repo_files(model)


def test_hardware_has_prices(hub, token):
    told = requests.get(f"{hub.url}/api/jobs/hardware", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    prices = {item["name"]: item["unitCostUSD"] * 60 for item in told.json()}
    assert prices["t4-small"] == pytest.approx(0.40, rel=0.01) and prices["cpu-basic"] < 0.02


@pytest.mark.parametrize("options", [{"flavor": "no-such"}, {"command": []}])
def test_a_job_that_cannot_run_is_refused(api, options):
    with pytest.raises(HfHubHTTPError) as refused:
        api.run_job(**{"image": "python:3.12", "command": ["true"], **options})
    assert refused.value.response.status_code == 400


def test_nobody_runs_or_sees_another_s_jobs(api, other):
    job = _run(api, "print('mine')")
    with pytest.raises(HfHubHTTPError):
        _run(other, "print('yours')", namespace="demo")
    with pytest.raises(Exception, match="403"):
        other.inspect_job(job_id=job.id, namespace="demo")
    _wait(api, job)


def test_jobs_can_be_turned_off(tmp_path):
    with LocalHub(tmp_path, allow_jobs=False) as closed, route_public_address(closed.url):
        client = HfApi(endpoint=closed.url, token=closed.add_user("demo"))
        with pytest.raises(HfHubHTTPError) as refused:
            client.run_job(image="x", command=["true"])
    assert refused.value.response.status_code == 403


def test_a_scheduled_job_is_made_suspended_resumed_started_when_due_and_deleted(hub, api):
    made = api.create_scheduled_job(
        image="python:3.12", command=[sys.executable, "-c", "print('tick')"], schedule="@yearly", secrets={"S": "x"}
    )
    assert made.schedule == "@yearly" and made.status.next_job_run_at is not None
    api.suspend_scheduled_job(scheduled_job_id=made.id)
    assert api.inspect_scheduled_job(scheduled_job_id=made.id).suspend is True
    api.resume_scheduled_job(scheduled_job_id=made.id)
    assert made.id in [found.id for found in api.list_scheduled_jobs()]
    with contextlib.closing(sqlite3.connect(hub.root / "hub.sqlite")) as database:
        database.execute("UPDATE scheduled_jobs SET next_run_at = '2000-01-01T00:00:00.000Z' WHERE id = ?", (made.id,))
        database.commit()
    deadline = time.monotonic() + 20
    while (last := api.inspect_scheduled_job(scheduled_job_id=made.id).status.last_job) is None:
        assert time.monotonic() < deadline, "the scheduled job was not started"
        time.sleep(0.05)
    job = api.inspect_job(job_id=last.id)
    assert _logs(api, job) == ["tick"]
    api.delete_scheduled_job(scheduled_job_id=made.id)
    assert made.id not in [found.id for found in api.list_scheduled_jobs()]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("* * * * *", "2026-03-05 10:31"),
        ("*/15 * * * *", "2026-03-05 10:45"),
        ("0 3 * * *", "2026-03-06 03:00"),
        ("@monthly", "2026-04-01 00:00"),
        ("30 9 * * 1-5", "2026-03-06 09:30"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 13 * 5", "2026-03-06 00:00"),
        ("0 0 * * 7", "2026-03-08 00:00"),
    ],
)
def test_cron_expressions_come_when_cron_says(schedule, expected):
    moment = datetime(2026, 3, 5, 10, 30, 12, tzinfo=UTC)
    assert next_run(schedule, moment).strftime("%Y-%m-%d %H:%M") == expected


@pytest.mark.parametrize("schedule", ["", "* * * *", "61 * * * *", "x * * * *", "0 0 31 2 *"])
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(RefusalError):
        next_run(schedule, datetime(2026, 3, 5, tzinfo=UTC))
