"""The server itself: what it survives, what it refuses, and the faults it makes on demand."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
from huggingface_hub import CommitOperationAdd, HfApi

from hfembed.localhub import LocalHub, LocalHubError, add_user
from hfembed.localhub.errors import MissingLibraryError
from hfembed.localhub.site import Limits

_SERVE = """
import sys
from pathlib import Path
from hfembed.localhub import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]))
"""


class _Process:
    """A server in a process of its own, which can be killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen([sys.executable, "-c", _SERVE, str(self.root), str(self.port)], env=environment)
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{self.url}/api/models", timeout=5)
                return
            except requests.ConnectionError:
                assert time.monotonic() < deadline and self.process.poll() is None
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def process(tmp_path):
    token = add_user(tmp_path / "root", "demo")
    server = _Process(tmp_path / "root")
    server.api = HfApi(endpoint=server.url, token=token)
    yield server
    server.kill()


def test_everything_survives_kill_nine_and_a_branch_is_never_half_written(process, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", process.url)
    api, name = process.api, "demo/survivor"
    api.create_repo(name, private=True)
    api.create_commit(name, [CommitOperationAdd("first.bin", b"\0" * 50_000)], commit_message="first")
    done: list[int] = []

    def push() -> None:
        for number in range(10_000):
            files = [CommitOperationAdd(f"{number}/{part}.txt", b"%d" % part) for part in range(20)]
            try:
                api.create_commit(name, files, commit_message=f"commit {number}")
            except Exception:
                return
            done.append(number)

    pusher = threading.Thread(target=push)
    pusher.start()
    deadline = time.monotonic() + 30
    while len(done) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    pusher.join()
    process.start()
    files = set(api.list_repo_files(name))
    numbers = {int(file.split("/")[0]) for file in files if "/" in file}
    assert set(done) <= numbers
    assert files - {".gitattributes", "first.bin"} == {f"{n}/{part}.txt" for n in numbers for part in range(20)}
    assert api.model_info(name).private is True
    # and it can be written to
    api.upload_file(path_or_fileobj=b"after", path_in_repo="after.txt", repo_id=name)


def test_large_files_do_not_grow_the_server(process, tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", process.url)
    api, size = process.api, 96 << 20
    with open(tmp_path / "large.bin", "wb") as stream:
        for _ in range(size >> 20):
            stream.write(os.urandom(1 << 20))
    api.create_repo("demo/large")
    server = psutil.Process(process.process.pid)
    before, peak, over = server.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], server.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        api.upload_file(path_or_fileobj=tmp_path / "large.bin", path_in_repo="large.bin", repo_id="demo/large")
        answer = requests.get(f"{process.url}/demo/large/resolve/main/large.bin", stream=True, timeout=60)
        received = sum(len(block) for block in answer.iter_content(1 << 20))
    finally:
        over.set()
        watcher.join()
    assert received == size
    assert peak[0] - before < size / 2


def test_two_servers_cannot_have_one_folder(tmp_path):
    with LocalHub(tmp_path), pytest.raises(LocalHubError, match="Another server"):
        LocalHub(tmp_path).start()
    with LocalHub(tmp_path):
        pass


def test_a_public_address_needs_a_user(tmp_path):
    with pytest.raises(LocalHubError, match="before it has a user"):
        LocalHub(tmp_path, host="0.0.0.0").start()
    add_user(tmp_path, "demo")
    with LocalHub(tmp_path, host="0.0.0.0"):
        pass


def test_tokens_are_stored_nowhere_and_logged_nowhere(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with LocalHub(tmp_path) as hub:
        token = hub.add_user("demo")
        api = HfApi(endpoint=hub.url, token=token)
        api.create_repo("demo/a")
        api.whoami()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert token.encode() not in stored
    assert token not in caplog.text
    assert (tmp_path / "hub.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "path",
    ["/..%2f..%2fhub.sqlite", "/demo/x/resolve/main/..%2F..%2Fsecret", "/lfs/../secret", "/%2e%2e/secret"],
)
def test_nothing_outside_the_repositories_is_served(hub, token, path):
    request = requests.Request("GET", hub.url, headers={"Authorization": f"Bearer {token}"}).prepare()
    request.url = hub.url + path
    assert requests.Session().send(request, timeout=10).status_code in (400, 401, 403, 404)


def test_a_body_above_its_limit_is_refused(tmp_path):
    with LocalHub(tmp_path, limits=Limits(json_body=1000, commit_body=5000)) as hub:
        api = HfApi(endpoint=hub.url, token=hub.add_user("demo"))
        api.create_repo("demo/a")
        headers = {"Authorization": f"Bearer {api.token}"}
        for path, size in (("/api/repos/create", 2000), ("/api/models/demo/a/commit/main", 6000)):
            answer = requests.post(hub.url + path, data=b"x" * size, headers=headers, timeout=10)
            assert answer.status_code == 413
        assert list((tmp_path / "incoming").iterdir()) == []


def test_names_that_the_server_uses_cannot_be_users(tmp_path):
    for name in ("api", "datasets", "../x", "a b", ""):
        with pytest.raises(LocalHubError):
            add_user(tmp_path, name)


def test_faults_answer_with_the_status_asked_for(tmp_path):
    with LocalHub(tmp_path, faults="rate=1,status=429,retry_after=2,path=/api/models") as hub:
        answer = requests.get(f"{hub.url}/api/models", timeout=10)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
        assert requests.get(f"{hub.url}/api/datasets", timeout=10).status_code == 200
        hub.set_faults("")
        assert requests.get(f"{hub.url}/api/models", timeout=10).status_code == 200
        hub.set_faults("drop=1")
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{hub.url}/api/models", timeout=10)
        with pytest.raises(LocalHubError, match="Unknown fault"):
            hub.set_faults("nonsense=1")


def test_a_share_of_requests_fails_and_the_same_seed_fails_the_same(tmp_path):
    with LocalHub(tmp_path) as hub:
        rows = []
        for _ in range(2):
            hub.set_faults("rate=0.3,status=503,seed=5")
            rows.append([requests.get(f"{hub.url}/api/models", timeout=10).status_code for _ in range(40)])
    assert rows[0] == rows[1] and 4 < rows[0].count(503) < 24


@pytest.mark.parametrize("seed", [1, 2])
def test_dropped_connections_leave_no_word_in_the_server_s_log(tmp_path, caplog, seed):
    with LocalHub(tmp_path) as hub:
        api = HfApi(endpoint=hub.url, token=hub.add_user("demo"))
        hub.set_faults(f"drop=1,seed={seed}")
        for _ in range(6):
            with pytest.raises(requests.ConnectionError):
                requests.get(f"{hub.url}/api/models", timeout=10)
            with pytest.raises(requests.ConnectionError):
                requests.post(
                    f"{hub.url}/api/repos/create",
                    json={"name": "a"},
                    headers={"Authorization": f"Bearer {api.token}"},
                    timeout=10,
                )
    assert caplog.text == ""


def test_what_was_answered_was_flushed_to_the_disk_before(tmp_path, monkeypatch):
    from huggingface_hub import constants

    flushed, real = [], os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    with LocalHub(tmp_path / "hub", limits=Limits(regular_file=1000)) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        api = HfApi(endpoint=hub.url, token=hub.add_user("demo"))
        api.create_repo("demo/a")
        before = set((tmp_path / "hub").rglob("*"))
        monkeypatch.setattr(os, "fsync", fsync)
        files = [CommitOperationAdd("a.txt", b"small"), CommitOperationAdd("b/c.bin", os.urandom(5000))]
        api.create_commit("demo/a", files, commit_message="both")
        monkeypatch.undo()
        written = {path for path in (tmp_path / "hub").rglob("*") if path.is_file()} - before
    objects = {str(path) for path in written if "objects" in path.parts and "incoming" not in path.parts}
    # two blobs, two trees, the commit, and the large file, which has its name only after it was flushed
    assert len(objects) == 6
    large = {path for path in objects if "repos" not in Path(path).parts}
    assert objects - large <= set(flushed)
    assert {str(Path(path).parent) for path in large} <= set(flushed)
    assert any("incoming" in path for path in flushed)
    assert any(path.endswith("refs/heads") for path in flushed)


def test_slow_bytes_come_slowly_and_whole(tmp_path):
    with LocalHub(tmp_path) as hub:
        api = HfApi(endpoint=hub.url, token=hub.add_user("demo"))
        api.create_repo("demo/a")
        hub.set_faults("slow=10000")
        started = time.monotonic()
        answer = requests.get(f"{hub.url}/demo/a/resolve/main/.gitattributes", timeout=10)
        assert len(answer.content) == 1519 and time.monotonic() - started >= 0.15


def test_a_push_through_faults_leaves_the_repository_right(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with LocalHub(tmp_path) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        api = HfApi(endpoint=hub.url, token=hub.add_user("demo"))
        api.create_repo("demo/a")
        hub.set_faults("rate=0.1,status=503,drop=0.1,seed=1")
        for number in range(10):
            files = [CommitOperationAdd(f"{number}/{part}.txt", b"%d" % part) for part in range(3)]
            for _attempt in range(50):
                try:
                    api.create_commit("demo/a", files, commit_message=f"commit {number}")
                    break
                except Exception:
                    # Each client has its own errors for a broken connection; what counts is what the Hub holds.
                    continue
        hub.set_faults("")
        titles = [commit.title for commit in api.list_repo_commits("demo/a")]
        assert titles == [f"commit {number}" for number in range(9, -1, -1)] + ["initial commit"]
        assert len(api.list_repo_files("demo/a")) == 31


def test_without_its_libraries_the_server_says_what_to_install(tmp_path):
    code = """
import sys
sys.modules["dulwich"] = None
from hfembed.localhub import LocalHub
try:
    LocalHub(sys.argv[1]).start()
except ImportError as error:
    print(error)
assert "fastapi" not in sys.modules and "torch" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert 'pip install "hfembed[serve]"' in done.stdout, done.stderr
    assert issubclass(MissingLibraryError, ImportError)
