"""Jobs that really run, through the real client."""

import contextlib
import json
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


def test_a_job_does_not_see_the_server_s_environment_but_keeps_to_its_threads(api, monkeypatch):
    monkeypatch.setenv("SERVER_SECRET", "x")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    job = _run(api, "import os; print([os.environ.get(name) for name in ('SERVER_SECRET', 'OMP_NUM_THREADS')])")
    assert _logs(api, job) == ["[None, '3']"]


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


def _post(api, path, body=None, method="POST"):
    """Ask for what one of the clients cannot ask for, in the words of the other."""
    answer = requests.request(
        method, f"{api.endpoint}/api/{path}", json=body, headers={"Authorization": f"Bearer {api.token}"}, timeout=30
    )
    answer.raise_for_status()
    return answer.json()


def _start(api, code="print('ran')", **spec):
    return _post(api, "jobs/demo", {"command": ["python", "-c", code], "dockerImage": "python:3.12", **spec})


def _end(api, job):
    deadline = time.monotonic() + 30
    while (told := _post(api, f"jobs/demo/{job['id']}", method="GET"))["status"]["stage"] in ("SCHEDULING", "RUNNING"):
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.02)
    return told


def _events(api, job, **headers):
    """Read the whole log as server-sent events: (id, text) of each."""
    answer = requests.get(
        f"{api.endpoint}/api/jobs/demo/{job['id']}/logs",
        headers={"Authorization": f"Bearer {api.token}", **headers},
        timeout=30,
    )
    blocks = [block.splitlines() for block in answer.text.split("\n\n") if block.startswith("id: ")]
    return [(int(block[0][4:]), json.loads(block[1][6:])["data"]) for block in blocks]


def test_a_job_is_scheduled_first_and_tells_how_long_it_took(api):
    job = _start(api, "import time; time.sleep(1.1)", timeoutSeconds=90)
    assert job["status"]["stage"] == "SCHEDULING" and job["initiator"]["name"] == "demo"
    done = _end(api, job)
    assert (done["timeout"], done["exitCode"], done["durations"]["runningSecs"]) == (90, 0, 1)


def test_a_job_finds_the_files_of_its_volumes_where_it_expects_them(api, other, model):
    api.upload_file(path_or_fileobj=b"a regular file", path_in_repo="data/a.txt", repo_id=model)
    api.upload_file(path_or_fileobj=b"\0" * 200_000, path_in_repo="data/deep/b.bin", repo_id=model)
    first = api.model_info(model).sha
    api.upload_file(path_or_fileobj=b"changed", path_in_repo="data/a.txt", repo_id=model)
    code = """
import os
print(open("/inputs/a.txt").read(), os.path.getsize("/inputs/deep/b.bin"), open(os.environ["NEWER"] + "/data/a.txt").read())
print("/inputs-of-another")
"""
    volumes = [
        {"type": "model", "source": model, "mountPath": "/inputs", "revision": first, "path": "data"},
        {"type": "model", "source": model, "mountPath": "/newer", "readOnly": True},
    ]
    job = _start(api, code, volumes=volumes, environment={"NEWER": "/newer"})
    done = _end(api, job)
    assert done["status"]["stage"] == "COMPLETED", _events(api, job)
    assert [text for _, text in _events(api, job)[1:]] == ["a regular file 200000 changed", "/inputs-of-another"]
    assert done["volumes"] == volumes


def test_what_a_job_writes_to_its_volumes_never_reaches_the_repository(api, model):
    api.upload_file(path_or_fileobj=b"\1" * 200_000, path_in_repo="a.bin", repo_id=model)
    code = "import os; os.chmod('/in/a.bin', 0o600); open('/in/a.bin', 'wb').write(b'spoiled')"
    done = _end(api, _start(api, code, volumes=[{"type": "model", "source": model, "mountPath": "/in"}]))
    assert done["status"]["stage"] == "COMPLETED"
    found = requests.get(f"{api.endpoint}/{model}/resolve/main/a.bin", timeout=10)
    assert found.content == b"\1" * 200_000


@pytest.mark.parametrize(
    ("volume", "status"),
    [
        ({"type": "bucket", "source": "demo/b", "mountPath": "/data"}, 400),
        ({"type": "model", "source": "demo/none", "mountPath": "/data"}, 404),
        ({"type": "model", "mountPath": "data"}, 400),
        ({"type": "model", "mountPath": "/a/../../etc"}, 400),
    ],
)
def test_a_volume_that_cannot_be_had_is_refused(api, model, volume, status):
    with pytest.raises(requests.HTTPError) as refused:
        _start(api, volumes=[{"source": model, **volume}])
    assert refused.value.response.status_code == status


def test_nobody_mounts_another_s_private_repository(api, other, repo_id):
    other.create_repo("other/private-volume", private=True, exist_ok=True)
    with pytest.raises(requests.HTTPError) as refused:
        _start(api, volumes=[{"type": "model", "source": "other/private-volume", "mountPath": "/in"}])
    assert refused.value.response.status_code == 404


def test_a_revision_that_is_gone_when_the_job_starts_is_the_job_s_error(api, model):
    volume = {"type": "model", "source": model, "mountPath": "/in", "revision": "no-such"}
    done = _end(api, _start(api, volumes=[volume]))
    assert done["status"]["stage"] == "ERROR" and "no-such" in done["status"]["message"]


def test_labels_are_checked_filtered_by_and_replaced(api, repo_id):
    mark = repo_id.split("/")[1]
    jobs = [_start(api, labels={"run": mark, "part": str(part)}) for part in range(2)]
    found = _post(api, f"jobs/demo?label=run={mark}", method="GET")
    assert {job["id"] for job in found} == {job["id"] for job in jobs}
    assert [job["id"] for job in _post(api, f"jobs/demo?label=run={mark}&label=part=1", method="GET")] == [
        jobs[1]["id"]
    ]
    _post(api, f"jobs/demo/{jobs[0]['id']}/labels", {"labels": {"run": "elsewhere"}}, "PUT")
    assert [job["id"] for job in _post(api, f"jobs/demo?label=run={mark}", method="GET")] == [jobs[1]["id"]]
    with pytest.raises(requests.HTTPError):
        _start(api, labels={"run": "a b"})
    for job in jobs:
        _end(api, job)
    assert _post(api, f"jobs/demo?label=run={mark}&stage=RUNNING", method="GET") == []


@pytest.mark.parametrize(("asked", "seconds"), [({"timeoutSeconds": 1}, 1), ({"timeout": "0.02m"}, 1.2)])
def test_a_timeout_is_seconds_or_a_number_with_a_unit(api, asked, seconds):
    started = time.monotonic()
    done = _end(api, _start(api, "import time; time.sleep(60)", **asked))
    assert done["status"]["message"] == "Job timeout" and seconds <= time.monotonic() - started < 20


@pytest.mark.parametrize("asked", ["soon", "-5", -5, "nan", "inf", "1w"])
def test_a_timeout_that_is_none_is_refused(api, asked):
    with pytest.raises(requests.HTTPError) as refused:
        _start(api, timeoutSeconds=asked)
    assert refused.value.response.status_code == 400


def test_a_log_is_gone_on_with_where_the_connection_was_lost(api):
    code = "import time\nfor n in range(6): print(n, flush=True); time.sleep(0.1)"
    job = _start(api, code)
    address = f"{api.endpoint}/api/jobs/demo/{job['id']}/logs"
    seen = []
    with requests.get(address, headers={"Authorization": f"Bearer {api.token}"}, stream=True, timeout=30) as answer:
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"id: "):
                seen.append(int(line[4:]))
            if len(seen) == 3:
                break
    rest = _events(api, job, **{"Last-Event-ID": str(seen[-1])})
    whole = _events(api, job)
    assert [number for number, _ in rest] == [3, 4, 5, 6]
    assert [text for _, text in whole[1:]] == ["0", "1", "2", "3", "4", "5"]
    assert whole[3:] == rest
    tail = requests.get(address, params={"tail": 2}, headers={"Authorization": f"Bearer {api.token}"}, timeout=10).text
    assert "Job started" in tail and '"4"' in tail and '"5"' in tail and '"3"' not in tail


def test_a_failing_job_is_tried_as_often_as_asked(api, tmp_path):
    mark = tmp_path / "tries"
    code = f"open({str(mark)!r}, 'a').write('x'); raise SystemExit(len(open({str(mark)!r}).read()) < 3)"
    done = _end(api, _start(api, code, attempts=5))
    assert (done["status"]["stage"], done["retry"], mark.read_text()) == ("COMPLETED", 4, "xxx")


def test_a_job_is_run_again_as_it_was_with_its_secrets(hub, api, files_with):
    first = _start(api, "import os; print(os.environ['S'])", secrets={"S": "kept for later"}, labels={"a": "b"})
    _end(api, first)
    again = _post(api, f"jobs/demo/{first['id']}/duplicate")
    assert again["initiator"] == {"type": "duplicated-job", "id": first["id"]} and again["labels"] == {"a": "b"}
    assert _end(api, again)["status"]["stage"] == "COMPLETED"
    assert _events(api, again)[-1][1] == "kept for later"
    assert files_with(hub.root, "kept for later") == {"log.jsonl"}  # the job printed it


def test_exposed_ports_are_told_where_they_are_reached(api):
    job = _start(api, expose={"ports": [8123]})
    assert job["status"]["exposeUrls"] == ["http://127.0.0.1:8123"]
    _end(api, job)


def test_a_job_s_page_shows_how_it_stands(api):
    done = _end(api, _start(api, "print('<b>a line of the log</b>')"))
    headers = {"Authorization": f"Bearer {api.token}"}
    shown = requests.get(f"{api.endpoint}/jobs/demo/{done['id']}", headers=headers, timeout=10).text
    assert "COMPLETED" in shown and "&lt;b&gt;a line of the log" in shown
    assert requests.get(f"{api.endpoint}/jobs/demo/{done['id']}", timeout=10).status_code == 401


def test_a_job_accepted_by_a_server_that_was_killed_is_given_up(tmp_path):
    with LocalHub(tmp_path) as hub:
        hub.add_user("demo")
        with contextlib.closing(sqlite3.connect(tmp_path / "hub.sqlite")) as database:
            database.execute(
                "INSERT INTO jobs (id, owner, stage, spec, secrets, created_at) "
                "VALUES ('a', 'demo', 'SCHEDULING', '{}', '[]', '2026-01-01T00:00:00.000Z')"
            )
            database.commit()
    with LocalHub(tmp_path) as hub:
        token = hub.add_user("demo")
        told = _post(HfApi(endpoint=hub.url, token=token), "jobs/demo/a", method="GET")
    assert told["status"]["stage"] == "ERROR" and "before the job was started" in told["status"]["message"]


def test_a_schedule_and_its_labels_are_changed(api):
    made = api.create_scheduled_job(image="python:3.12", command=["true"], schedule="@yearly")
    _post(api, f"scheduled-jobs/demo/{made.id}/schedule", {"schedule": "@hourly"})
    _post(api, f"scheduled-jobs/demo/{made.id}/labels", {"labels": {"a": "b"}}, "PUT")
    found = api.inspect_scheduled_job(scheduled_job_id=made.id)
    assert found.schedule == "@hourly"
    run = _post(api, f"scheduled-jobs/demo/{made.id}/run")
    assert run["initiator"] == {"type": "scheduled-job", "id": made.id}
    assert _end(api, run)["labels"] == {"a": "b"}
    api.delete_scheduled_job(scheduled_job_id=made.id)


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
