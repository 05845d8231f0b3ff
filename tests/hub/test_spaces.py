"""Spaces that really run, through the real client: start, fail, pause, restart, sleep, delete, log."""

import html
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hfembed.localhub import LocalHub, add_user

# A web server with the environment as its only page; it listens where a gradio app would.
APP = """
import http.server, json, os
print("the app starts", flush=True)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(os.environ, pid=os.getpid(), files=sorted(os.listdir(".")))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
address = (os.environ["GRADIO_SERVER_NAME"], int(os.environ["GRADIO_SERVER_PORT"]))
http.server.HTTPServer(address, Page).serve_forever()
"""
STARTING = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")


@pytest.fixture(scope="module")
def spaces(tmp_path_factory):
    """A server that was told to run Spaces."""
    with LocalHub(tmp_path_factory.mktemp("spaces"), run_spaces=True) as running:
        running.client = HfApi(endpoint=running.url, token=running.add_user("demo"))
        yield running


@pytest.fixture
def owner(spaces, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", spaces.url)
    return spaces.client


@pytest.fixture
def space(owner, repo_id):
    """A private Space with hardware, a variable and a secret, and nothing to run yet."""
    owner.create_repo(
        repo_id,
        repo_type="space",
        space_sdk="gradio",
        private=True,
        space_hardware="t4-small",
        space_sleep_time=3600,
        space_variables=[{"key": "A", "value": "1"}],
        space_secrets=[{"key": "S", "value": "very secret"}],
    )
    yield repo_id
    owner.delete_repo(repo_id, repo_type="space", missing_ok=True)


def _push(api, space, text, path="app.py"):
    return api.upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=space, repo_type="space")


def _settled(api, space, *also):
    deadline = time.monotonic() + 60
    while (runtime := api.get_space_runtime(space)).stage in (*STARTING, *also):
        assert time.monotonic() < deadline, runtime
        time.sleep(0.05)
    return runtime


def _headers(api):
    return {"Authorization": f"Bearer {api.token}"}


def _facts(api, space):
    """Go to the app by way of the Space's page, as a visitor does."""
    answer = requests.get(f"{api.endpoint}/spaces/{space}/app", headers=_headers(api), timeout=10)
    answer.raise_for_status()
    return answer.json()


def _events(api, space, log, **headers):
    address = f"{api.endpoint}/api/spaces/{space}/logs/{log}"
    found = []
    with requests.get(address, headers=_headers(api) | headers, stream=True, timeout=2) as answer:
        try:
            for line in answer.iter_lines():
                if line.startswith(b"data: {"):
                    found.append(json.loads(line[6:])["data"])
        except requests.ConnectionError:
            # The app still runs, so its log is not over.
            pass
    return found


def _is_alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _gone(number):
    deadline = time.monotonic() + 20
    while _is_alive(number):
        assert time.monotonic() < deadline, "the process did not end"
        time.sleep(0.05)
    return True


def test_a_space_runs_when_its_app_is_pushed_with_its_variables_and_secrets(owner, space):
    assert owner.get_space_runtime(space).stage == "NO_APP_FILE"
    _push(owner, space, APP)
    runtime = _settled(owner, space)
    assert (runtime.stage, runtime.hardware, runtime.sleep_time) == ("RUNNING", "t4-small", 3600)
    facts = _facts(owner, space)
    assert (facts["A"], facts["S"]) == ("1", "very secret")
    assert (facts["SPACE_ID"], facts["SPACE_AUTHOR_NAME"]) == (space, "demo")
    assert facts["HF_ENDPOINT"] == owner.endpoint
    assert facts["SPACE_HOST"] == f"127.0.0.1:{facts['GRADIO_SERVER_PORT']}"
    assert "app.py" in facts["files"] and "README.md" in facts["files"]
    assert owner.space_info(space).host == f"http://{facts['SPACE_HOST']}"


def test_a_space_sees_nothing_of_the_server_s_environment(owner, space, monkeypatch):
    monkeypatch.setenv("SERVER_SECRET", "x")
    _push(owner, space, APP)
    _settled(owner, space)
    assert "SERVER_SECRET" not in _facts(owner, space)


def test_the_logs_tell_the_build_and_the_run(owner, space):
    _push(owner, space, APP)
    _settled(owner, space)
    assert _events(owner, space, "run") == ["the app starts"]
    build = _events(owner, space, "build")
    assert "The app is app.py" in build[1] and "requirements.txt is not installed" in build[2]
    assert _events(owner, space, "build", **{"Last-Event-ID": "1"}) == build[2:]
    if hasattr(owner, "fetch_space_logs"):
        assert list(owner.fetch_space_logs(space, build=True)) == build
    with pytest.raises(requests.HTTPError):
        requests.get(
            f"{owner.endpoint}/api/spaces/{space}/logs/other", headers=_headers(owner), timeout=10
        ).raise_for_status()


def test_a_push_builds_again_and_ends_what_ran_before(owner, space):
    _push(owner, space, APP)
    _settled(owner, space)
    before = _facts(owner, space)
    _push(owner, space, "more", "data/more.txt")
    assert _settled(owner, space).stage == "RUNNING"
    after = _facts(owner, space)
    assert after["pid"] != before["pid"] and "data" in after["files"]
    assert _gone(before["pid"])


def test_a_push_to_another_branch_or_of_nothing_new_leaves_it_alone(owner, space):
    _push(owner, space, APP)
    _settled(owner, space)
    before = _facts(owner, space)["pid"]
    owner.create_branch(space, branch="side", repo_type="space")
    owner.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=space, repo_type="space", revision="side")
    _push(owner, space, APP)
    assert owner.get_space_runtime(space).stage == "RUNNING" and _facts(owner, space)["pid"] == before


def test_a_changed_secret_starts_it_anew_with_the_new_value(owner, space):
    _push(owner, space, APP)
    _settled(owner, space)
    owner.add_space_secret(space, "S", "newer")
    owner.add_space_variable(space, "A", "2")
    _settled(owner, space)
    facts = _facts(owner, space)
    assert (facts["S"], facts["A"]) == ("newer", "2")


def test_the_card_names_the_app_and_a_missing_one_is_said(owner, space):
    card = b"---\ntitle: x\nsdk: gradio\napp_file: src/main.py\n---\n"
    owner.create_commit(
        space,
        [CommitOperationAdd("README.md", card), CommitOperationAdd("src/main.py", APP.encode())],
        commit_message="an app elsewhere",
        repo_type="space",
    )
    assert _settled(owner, space).stage == "RUNNING"
    before = _facts(owner, space)["pid"]
    owner.create_commit(space, [CommitOperationDelete("src/main.py")], commit_message="gone", repo_type="space")
    assert _settled(owner, space).stage == "NO_APP_FILE"
    assert _gone(before)


def test_an_app_that_fails_says_with_what_words(owner, space):
    _push(owner, space, "raise RuntimeError('no such model')")
    runtime = _settled(owner, space)
    assert runtime.stage == "RUNTIME_ERROR"
    assert "Exit code: 1" in runtime.raw["errorMessage"] and "no such model" in runtime.raw["errorMessage"]
    assert any("no such model" in line for line in _events(owner, space, "run"))
    page = requests.get(f"{owner.endpoint}/spaces/{space}", headers=_headers(owner), timeout=10).text
    assert "RUNTIME_ERROR" in page and "no such model" in page


def test_an_app_that_dies_later_is_noticed(owner, space):
    _push(owner, space, APP)
    _settled(owner, space)
    os.kill(_facts(owner, space)["pid"], signal.SIGKILL)
    runtime = _settled(owner, space, "RUNNING")
    assert runtime.stage == "RUNTIME_ERROR" and runtime.hardware is None


def test_pause_ends_the_app_and_its_children_and_restart_runs_it_again(owner, space, tmp_path):
    mark = tmp_path / "child"
    child = f"import subprocess; subprocess.Popen(['sh', '-c', 'echo $$ > {mark}; sleep 60'])\n"
    _push(owner, space, child + APP)
    _settled(owner, space)
    number = int(mark.read_text())
    parent = _facts(owner, space)["pid"]
    assert owner.pause_space(space).stage == "PAUSED"
    assert _gone(parent) and _gone(number)
    _push(owner, space, "x", "x.txt")
    assert owner.get_space_runtime(space).stage == "PAUSED"
    assert owner.restart_space(space).stage in STARTING
    assert _settled(owner, space).stage == "RUNNING"


def test_a_space_can_pause_itself(owner, space):
    owner.add_space_secret(space, "HF_TOKEN", owner.token)
    _push(
        owner,
        space,
        "import os, time\nfrom huggingface_hub import HfApi\n"
        "HfApi().pause_space(os.environ['SPACE_ID'])\nprint('paused', flush=True)\ntime.sleep(60)",
    )
    assert _settled(owner, space).stage == "PAUSED"


def test_other_hardware_starts_it_there(owner, space):
    _push(owner, space, APP)
    _settled(owner, space)
    assert _facts(owner, space)["ACCELERATOR"] == "T4"
    owner.request_space_hardware(space, "a10g-small")
    assert _settled(owner, space).hardware == "a10g-small"
    assert _facts(owner, space)["ACCELERATOR"] == "A10G"


def test_a_space_that_nobody_visits_sleeps_and_a_visit_wakes_it(owner, space):
    _push(owner, space, APP)
    owner.set_space_sleep_time(space, 1)
    assert _settled(owner, space, "RUNNING").stage == "SLEEPING"
    first = requests.get(f"{owner.endpoint}/spaces/{space}/app", headers=_headers(owner), timeout=10)
    assert first.status_code == 503
    owner.set_space_sleep_time(space, -1)
    assert _settled(owner, space).stage == "RUNNING"


def test_a_deleted_space_ends_and_leaves_nothing(owner, spaces, space):
    _push(owner, space, APP)
    _settled(owner, space)
    facts = _facts(owner, space)
    work = Path(facts["HOME"])
    assert work.is_relative_to(spaces.root / "spaces") and (work / "app.py").exists()
    owner.delete_repo(space, repo_type="space")
    assert _gone(facts["pid"])
    assert not work.parent.parent.exists()


def test_secrets_lie_sealed_on_the_disk(owner, spaces, space, files_with):
    _push(owner, space, APP)
    _settled(owner, space)
    owner.pause_space(space)
    assert files_with(spaces.root, "very secret") == set()


def test_nobody_else_restarts_reads_the_log_or_visits(owner, spaces, space):
    stranger = HfApi(endpoint=spaces.url, token=spaces.add_user("stranger"))
    _push(owner, space, APP)
    _settled(owner, space)
    for call in (stranger.restart_space, stranger.pause_space, stranger.get_space_runtime):
        with pytest.raises(HfHubHTTPError):
            call(space)
    for path in (f"/api/spaces/{space}/logs/run", f"/spaces/{space}/app"):
        assert requests.get(owner.endpoint + path, headers=_headers(stranger), timeout=10).status_code == 404


def test_a_docker_space_is_declared_only_and_says_so(owner, repo_id):
    owner.create_repo(repo_id, repo_type="space", space_sdk="docker")
    _push(owner, repo_id, "FROM scratch", "Dockerfile")
    runtime = owner.restart_space(repo_id)
    assert runtime.stage == "STOPPED" and "docker Spaces are declared" in runtime.raw["errorMessage"]


def test_without_consent_no_space_runs(api, repo_id):
    api.create_repo(repo_id, repo_type="space", space_sdk="gradio")
    _push(api, repo_id, APP)
    runtime = api.restart_space(repo_id)
    assert runtime.stage == "STOPPED" and "--spaces" in runtime.raw["errorMessage"]


_SERVE = """
import sys
from pathlib import Path
from hfembed.localhub import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]), run_spaces=True)
"""


def _serve(root, port):
    process = subprocess.Popen([sys.executable, "-c", _SERVE, str(root), str(port)])
    deadline = time.monotonic() + 30
    while True:
        try:
            requests.get(f"http://127.0.0.1:{port}/api/models", timeout=5)
            return process
        except requests.ConnectionError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)


def test_a_killed_server_takes_its_spaces_along_and_says_so_when_it_is_back(tmp_path, monkeypatch):
    from huggingface_hub import constants

    token = add_user(tmp_path, "demo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    api = HfApi(endpoint=f"http://127.0.0.1:{port}", token=token)
    server = _serve(tmp_path, port)
    try:
        api.create_repo("demo/app", repo_type="space", space_sdk="gradio")
        _push(api, "demo/app", APP)
        _settled(api, "demo/app")
        number = _facts(api, "demo/app")["pid"]
        server.kill()
        server.wait()
        assert _gone(number)
        server = _serve(tmp_path, port)
        runtime = api.get_space_runtime("demo/app")
        assert runtime.stage == "STOPPED" and "has ended" in runtime.raw["errorMessage"]
        api.restart_space("demo/app")
        assert _settled(api, "demo/app").stage == "RUNNING"
        number = _facts(api, "demo/app")["pid"]
        server.terminate()
        server.wait(timeout=30)
        assert _gone(number)
    finally:
        server.kill()
        server.wait()


CARD = """---
title: x
sdk: gradio
hf_oauth: true
hf_oauth_scopes: [contribute-repos, read-repos]
hf_oauth_expiration_minutes: 30
---
"""


def _ask_to_sign_in(owner, facts, **changes):
    """Ask for consent as the app of a Space does, with what stands in its environment."""
    asked = {
        "response_type": "code",
        "client_id": facts["OAUTH_CLIENT_ID"],
        "redirect_uri": f"https://{facts['SPACE_HOST']}/login/callback?_target_url=%2F",
        "scope": facts["OAUTH_SCOPES"],
        **changes,
    }
    session = requests.Session()
    session.post(f"{owner.endpoint}/login", data={"token": owner.token}, timeout=10)
    url = f"{facts['OPENID_PROVIDER_URL']}/oauth/authorize"
    return session, url, session.get(url, params=asked, timeout=10)


def _allow(owner, facts):
    """Sign in to a Space; return where the browser is sent."""
    session, url, consent = _ask_to_sign_in(owner, facts)
    assert consent.ok, consent.text
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', consent.text)
    fields = {name: html.unescape(value) for name, value in found}
    answer = session.post(url, data={**fields, "decision": "allow"}, allow_redirects=False, timeout=10)
    return fields["redirect_uri"], answer.headers["Location"]


def _token(facts, redirect_uri, landed):
    code = parse_qs(urlsplit(landed).query)["code"][0]
    return requests.post(
        f"{facts['OPENID_PROVIDER_URL']}/oauth/token",
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri},
        auth=(facts["OAUTH_CLIENT_ID"], facts["OAUTH_CLIENT_SECRET"]),
        timeout=10,
    ).json()


def test_a_space_whose_card_asks_for_it_can_sign_visitors_in(owner, space):
    pytest.importorskip("cryptography")
    _push(owner, space, APP)
    _settled(owner, space)
    assert "OAUTH_CLIENT_ID" not in _facts(owner, space)
    _push(owner, space, CARD, "README.md")
    _settled(owner, space)
    facts = _facts(owner, space)
    assert facts["SYSTEM"] == "spaces" and facts["OPENID_PROVIDER_URL"] == owner.endpoint
    assert facts["OAUTH_SCOPES"] == "openid profile contribute-repos read-repos"
    redirect_uri, landed = _allow(owner, facts)
    assert landed.startswith(f"http://{facts['SPACE_HOST']}/login/callback?_target_url=%2F&code=")
    told = _token(facts, redirect_uri, landed)
    assert (told["expires_in"], told["scope"]) == (1800, facts["OAUTH_SCOPES"])
    visitor = HfApi(endpoint=owner.endpoint, token=told["access_token"])
    assert visitor.whoami()["name"] == "demo"
    assert _ask_to_sign_in(owner, facts, redirect_uri="https://127.0.0.1:9/login/callback")[2].status_code == 400


def test_whoever_is_signed_in_to_a_space_stays_so_through_a_restart_and_not_when_it_is_gone(owner, space):
    pytest.importorskip("cryptography")
    _push(owner, space, CARD, "README.md")
    _push(owner, space, APP)
    _settled(owner, space)
    before = _facts(owner, space)
    redirect_uri, landed = _allow(owner, before)
    token = _token(before, redirect_uri, landed)["access_token"]
    owner.restart_space(space)
    _settled(owner, space)
    after = _facts(owner, space)
    kept = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "SPACE_HOST", "TMPDIR")
    assert after["pid"] != before["pid"] and {name: after[name] for name in kept} == {n: before[n] for n in kept}

    def who():
        bearer = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{owner.endpoint}/api/whoami-v2", headers=bearer, timeout=10)

    assert who().json()["name"] == "demo"
    owner.delete_repo(space, repo_type="space")
    assert who().status_code == 401
    assert _ask_to_sign_in(owner, after)[2].status_code == 400


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("hf_oauth_scopes: [everything]", "hf_oauth_scopes has 'everything'"),
        ("hf_oauth_expiration_minutes: 0", "hf_oauth_expiration_minutes is 0"),
    ],
)
def test_a_card_that_asks_for_what_there_is_not_does_not_build(owner, space, asked, words):
    _push(owner, space, f"---\ntitle: x\nsdk: gradio\nhf_oauth: true\n{asked}\n---\n", "README.md")
    _push(owner, space, APP)
    runtime = _settled(owner, space)
    assert runtime.stage == "BUILD_ERROR" and words in runtime.raw["errorMessage"]


def test_a_real_gradio_app_runs_and_answers(owner, space):
    pytest.importorskip("gradio")
    _push(
        owner,
        space,
        "import gradio\n"
        "with gradio.Blocks() as app:\n"
        "    said = gradio.Textbox()\n"
        "    gradio.Button().click(lambda text: text.upper(), said, said, api_name='shout')\n"
        "app.launch(ssr_mode=False)\n",
    )
    assert _settled(owner, space).stage == "RUNNING"
    address = owner.space_info(space).host
    event = requests.post(f"{address}/gradio_api/call/shout", json={"data": ["hello"]}, timeout=20).json()["event_id"]
    assert "HELLO" in requests.get(f"{address}/gradio_api/call/shout/{event}", timeout=20).text
    # gradio's own server for changing the code of a running Space must not stand open on this machine.
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", 7887))
