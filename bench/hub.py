"""Measure what the embedded Hub and hfembed's publishing bear: faults, many writers, large files, kill -9.

    python bench/hub.py [--pushes N] [--committers N] [--commits N] [--megabytes N] [--kills N] [--python PYTHON]

Four tables; each starts the server as a process of its own on an empty folder. Ends with 1 where a repo is
wrong, a commit is lost, a file comes back changed or a branch is found half-written. `--python` names another
interpreter, with another version of the client: it drives, and the server stays in this one. What hfembed itself
publishes is left out where hfembed's own libraries are not installed there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hfembed.events import Reporter
    from hfembed.hub import Published, Upload

FAULTS = "rate=0.2,status=503,drop=0.1"
USER = "bench"
TOKEN = "hf_" + "b" * 34
SERVER = """
import sys
from pathlib import Path
from hfembed.localhub import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]), faults=sys.argv[3])
"""
# The interpreter that serves, where another one drives.
SERVER_PYTHON = "HFEMBED_BENCH_SERVER"
START_SECONDS = 60
MEGABYTE = 1024 * 1024
# Far above what four parts in flight take, far below a file held whole.
MAX_GROWTH = 0.5


@dataclass
class Server:
    """A Hub in a process of its own, always at the same address and with the same user."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return the address for clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Return the file that its words go to."""
        return self.root.with_suffix(".log")

    def tracebacks(self) -> int:
        """Return how many of its own errors it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace").count("Traceback (")

    def start(self, faults: str = "") -> None:
        """Start it and wait until it answers."""
        command = [os.environ.get(SERVER_PYTHON, sys.executable), "-c", SERVER, str(self.root), str(self.port), faults]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(self.address, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    words = self.log.read_text(encoding="utf-8", errors="replace")
                    raise SystemExit(f"The server did not start on {self.address}.\n{words}") from None
                time.sleep(0.02)

    def restart(self, faults: str = "") -> None:
        """Stop it politely and start it again on the same folder."""
        self.stop()
        self.start(faults)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it politely."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.contextmanager
def served() -> Iterator[Server]:
    """Serve an empty folder with one user."""
    from hfembed.localhub import add_user

    with tempfile.TemporaryDirectory(prefix="hfembed-bench-") as folder:
        server = Server(Path(folder) / "hub", int(os.environ["HF_ENDPOINT"].rsplit(":", 1)[1]))
        add_user(server.root, USER, token=TOKEN)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@dataclass
class Table:
    """Lines of one table, and whether all of it is as it must be."""

    title: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """Add one line."""
        self.lines.append((name, str(value)))

    def print(self) -> None:
        """Print it."""
        print(self.title)
        for name, value in [*self.lines, ("verdict", "pass" if not self.wrong else "FAIL " + "; ".join(self.wrong))]:
            print(f"  {name:38} {value}")
        print(flush=True)


def main() -> int:
    """Measure and print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pushes", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=10, help="pushes at a time")
    parser.add_argument("--committers", type=int, default=10)
    parser.add_argument("--commits", type=int, default=20, help="of each committer")
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--python", type=Path, help="the interpreter whose huggingface_hub drives")
    arguments = parser.parse_args()
    if arguments.python and SERVER_PYTHON not in os.environ:
        return drive_from(arguments.python)
    if importlib.util.find_spec("typer") is None:
        print("no table of pushes: hfembed's own libraries are not installed here\n")
        arguments.pushes = 0
    from huggingface_hub import __version__

    print(f"driven by huggingface_hub {__version__}\n")
    tables = (
        (arguments.pushes, lambda: pushes(arguments.pushes, arguments.at_once)),
        (arguments.committers, lambda: committers(arguments.committers, arguments.commits)),
        (arguments.megabytes, lambda: large_file(arguments.megabytes)),
        (arguments.kills, lambda: kills(arguments.kills)),
    )
    is_wrong = False
    for count, measure in tables:
        if count:
            table = measure()
            table.print()
            is_wrong |= bool(table.wrong)
    return int(is_wrong)


def drive_from(python: Path) -> int:
    """Run this command in another interpreter, with the server in this one, and return how it ended."""
    environment = {**os.environ, SERVER_PYTHON: sys.executable, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run([str(python), *sys.argv], env=environment, check=False).returncode


def pushes(count: int, at_once: int) -> Table:
    """Publish many repos while requests fail, then look at each without faults."""
    from hfembed.hub import Upload, publish

    table = Table(f"{count} pushes with hfembed.hub.publish, 20 % of requests answered 503, 10 % dropped")
    uploads = [
        Upload(f"{USER}/push-{at}", ("model", "dataset")[at % 2], small_files(at), "push") for at in range(count)
    ]
    tries = [0]

    def push(upload: Upload) -> Published | str:
        try:
            return publish(upload, counting_reporter(tries))
        except Exception as error:  # one that gives up is counted, whatever it raises
            return f"{type(error).__name__}: {error}".splitlines()[0]

    with served() as server:
        server.restart(FAULTS)
        started = time.perf_counter()
        # Most of the time they wait before another try.
        with ThreadPoolExecutor(at_once) as pool:
            done = list(pool.map(push, uploads))
        seconds = time.perf_counter() - started
        server.restart()
        found = [look(upload, answer) for upload, answer in zip(uploads, done, strict=True)]
        tracebacks = server.tracebacks()
    refused = [answer for answer in done if isinstance(answer, str)]
    table.add("reported as published", count - len(refused))
    table.add("correct byte for byte", sum(state.is_correct for state in found))
    table.add("half-visible (some files, not all)", sum(state.is_partial for state in found))
    table.add("commits per repo beside its creation", sorted({state.commits for state in found}))
    table.add("tries repeated by hfembed", tries[0])
    table.add("seconds", f"{seconds:.1f} ({at_once} pushes at a time)")
    table.add("errors in the server's log", tracebacks)
    if tracebacks:
        table.wrong.append("the server had errors of its own")
    if refused:
        table.wrong.append(f"{len(refused)} gave up, the first: {refused[0]}")
    if not all(state.is_correct for state in found):
        table.wrong.append("not every repo is correct")
    if {state.commits for state in found} != {1}:
        table.wrong.append("not one commit each")
    return table


def small_files(seed: int) -> list[tuple[str, Path | bytes]]:
    """Return regular files and one that goes to LFS, different for each seed."""
    random_bytes = random.Random(seed).randbytes
    return [
        ("README.md", f"---\nlicense: mit\n---\n# Push {seed}\n".encode()),
        ("config.json", f'{{"seed": {seed}}}'.encode()),
        ("model.safetensors", random_bytes(200_000)),
        ("onnx/model.onnx", random_bytes(50_000)),
        ("notes/of a push.txt", random_bytes(30).hex().encode()),
    ]


@dataclass(frozen=True)
class State:
    """What was found in one repo."""

    is_correct: bool
    is_partial: bool
    commits: int


def look(upload: Upload, published: Published | str) -> State:
    """Compare one repo with what was sent, at its branch and at the revision that was returned."""
    from huggingface_hub import hf_hub_download

    api = client()
    if not api.repo_exists(upload.repo, repo_type=upload.kind):
        return State(False, False, 0)
    names = {entry for entry in api.list_repo_files(upload.repo, repo_type=upload.kind) if entry != ".gitattributes"}
    wanted = {name for name, _ in upload.files}
    is_same = names == wanted
    head = api.repo_info(upload.repo, repo_type=upload.kind).sha
    if is_same:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in upload.files:
                copy = hf_hub_download(upload.repo, name, repo_type=upload.kind, local_dir=folder)
                is_same &= Path(copy).read_bytes() == content
    is_same &= not isinstance(published, str) and published.revision == head
    commits = len(api.list_repo_commits(upload.repo, repo_type=upload.kind)) - 1
    # A new repo holds a README or nothing before its one commit.
    return State(is_same, "config.json" in names and names != wanted, commits)


def counting_reporter(count: list[int]) -> Reporter:
    """Return a reporter that adds to a number whenever it is told something."""
    from hfembed.events import Event, Events, Reporter

    def listen(event: Event) -> None:
        count[0] += 1

    return Reporter("push", Events(listeners=[listen]))


def committers(people: int, commits: int) -> Table:
    """Let many write to one branch at once; every file that a client was told is in must be in.

    Every other committer names the commit it believes to be the last, and tries again where that has moved.
    """
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import HfHubHTTPError

    table = Table(f"{people} concurrent committers, {commits} commits each, one branch")
    repo = f"{USER}/shared"
    ids: set[str] = set()
    conflicts = 0
    lock = threading.Lock()

    def commit_all(person: int) -> None:
        nonlocal conflicts
        api = client()
        for number in range(commits):
            operation = CommitOperationAdd(f"{person}/{number}.txt", f"{person} {number}\n".encode())
            while True:
                parent = api.model_info(repo).sha if person % 2 else None
                try:
                    message = f"{person} {number}"
                    oid = api.create_commit(repo, [operation], commit_message=message, parent_commit=parent).oid
                except HfHubHTTPError as error:
                    if error.response.status_code not in (409, 412):
                        raise
                    with lock:
                        conflicts += 1
                    continue
                with lock:
                    ids.add(oid)
                break

    with served():
        api = client()
        api.create_repo(repo)
        started = time.perf_counter()
        with ThreadPoolExecutor(people) as pool:
            list(pool.map(commit_all, range(people)))
        seconds = time.perf_counter() - started
        history = api.list_repo_commits(repo)
        titles = [entry.title for entry in history]
        found = set(api.list_repo_files(repo))
    wanted = {f"{person}/{number}.txt" for person in range(people) for number in range(commits)}
    lost_commits = ids - {entry.commit_id for entry in history}
    twice = sorted({title for title in titles if titles.count(title) > 1})
    table.add("commits answered as made", len(ids))
    table.add(
        "commits found in the history", len(set(titles) & {f"{p} {n}" for p in range(people) for n in range(commits)})
    )
    table.add("explicit conflicts (412), repeated", conflicts)
    table.add("files found", f"{len(found & wanted)} of {len(wanted)}")
    table.add("seconds", f"{seconds:.1f} ({people * commits / seconds:.0f} commits a second)")
    if lost_commits or found & wanted != wanted or len(ids) != len(wanted):
        table.wrong.append(f"{len(lost_commits)} commits and {len(wanted - found)} files are lost")
    if twice:
        table.wrong.append(f"made twice: {', '.join(twice[:3])}")
    return table


def large_file(megabytes: int) -> Table:
    """Send and fetch one large file while watching the server's memory."""
    from huggingface_hub import hf_hub_download

    table = Table(f"one file of {megabytes} MB up and down; the server is a process of its own")
    repo = f"{USER}/large"
    with served() as server, tempfile.TemporaryDirectory(prefix="hfembed-bench-") as folder:
        assert server.process is not None
        api = client()
        api.create_repo(repo)
        # Warm: what any first request loads is no matter of the file's size.
        api.upload_file(path_or_fileobj=os.urandom(MEGABYTE), path_in_repo="small.safetensors", repo_id=repo)
        hf_hub_download(repo, "small.safetensors", local_dir=folder)
        file = Path(folder) / "sent.safetensors"
        digest = write_random(file, megabytes)
        with Memory(server.process.pid) as memory:
            before = memory.now()
            started = time.perf_counter()
            api.upload_file(path_or_fileobj=file, path_in_repo="large.safetensors", repo_id=repo)
            up, peak_up = time.perf_counter() - started, memory.take_peak()
            before_down, started = memory.now(), time.perf_counter()
            copy = hf_hub_download(repo, "large.safetensors", local_dir=Path(folder) / "back")
            down, peak_down = time.perf_counter() - started, memory.take_peak()
        with Path(copy).open("rb") as handle:
            is_same = hashlib.file_digest(handle, "sha256").hexdigest() == digest
    for name, seconds, start, peak in (("up", up, before, peak_up), ("down", down, before_down, peak_down)):
        table.add(f"{name}, seconds", f"{seconds:.1f} ({megabytes / seconds:.0f} MB/s)")
        table.add(f"server memory {name}: before / peak", f"{start:.0f} / {peak:.0f} MB")
        if peak - start > MAX_GROWTH * megabytes:
            table.wrong.append(f"the server grew by {peak - start:.0f} MB on the way {name}")
    table.add("came back byte for byte", "yes" if is_same else "no")
    if not is_same:
        table.wrong.append("the file came back changed")
    return table


class Memory:
    """The resident memory of a process in MB, looked at every few milliseconds."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._peak = self.now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now(self) -> float:
        """Return what it holds now."""
        return float(self._process.memory_info().rss) / MEGABYTE

    def take_peak(self) -> float:
        """Return the most it held since the last call."""
        peak, self._peak = max(self._peak, self.now()), 0.0
        return peak

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._peak = max(self._peak, self.now())

    def __enter__(self) -> Memory:
        """Start looking."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop looking."""
        self._done.set()
        self._thread.join()


def write_random(file: Path, megabytes: int) -> str:
    """Write a file that does not compress and return its sha256."""
    digest = hashlib.sha256()
    with file.open("wb") as handle:
        for _ in range(megabytes):
            block = os.urandom(MEGABYTE)
            digest.update(block)
            handle.write(block)
    return digest.hexdigest()


def kills(count: int) -> Table:
    """Kill the server in the middle of commits; afterwards a branch is at the old or at the new state, whole.

    Each commit writes the same number into three files, one of them in LFS: a half-written state would show
    as different numbers. A commit that was answered must be there.
    """
    table = Table(f"{count} times kill -9 in the middle of commits, then a restart")
    dice = random.Random(7)
    repo = f"{USER}/killed"
    answered: list[int] = [-1]
    states = {"the last answered state": 0, "the state after it": 0}
    slowest = 0.0
    with served() as server:
        client().create_repo(repo)
        for _ in range(count):
            with Writer(repo, answered) as writer:
                time.sleep(dice.uniform(0.3, 1.2))
                server.kill()
            answered[0] = writer.answered
            started = time.perf_counter()
            server.start()
            slowest = max(slowest, time.perf_counter() - started)
            numbers = read_numbers(repo)
            if numbers == {answered[0]}:
                states["the last answered state"] += 1
            elif numbers == {answered[0] + 1}:
                states["the state after it"] += 1
                answered[0] += 1
            else:
                table.wrong.append(f"found {sorted(numbers)} after {answered[0]} was answered")
        history = client().list_repo_commits(repo)
        check_git(server.root, table)
    for name, times in states.items():
        table.add(f"branch found at {name}", times)
    table.add("commits in the history / answered", f"{len(history) - 1} / {answered[0] + 1}")
    table.add("slowest restart, seconds", f"{slowest:.1f}")
    if len(history) - 1 != answered[0] + 1:
        table.wrong.append("the history does not have one commit for each number")
    return table


class Writer:
    """Commits one number after another in a process of its own, which is killed with the server.

    A client that lives on would try its last commit again for minutes, and so hide what the server kept.
    """

    def __init__(self, repo: str, answered: list[int]) -> None:
        self.answered = answered[0]
        command = [sys.executable, __file__, "--write", repo, str(self.answered + 1)]
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is read only where the writer fails
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._complaints, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.answered = int(line)

    def __enter__(self) -> Writer:
        """Wait until it has made its first commit."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._complaints.seek(0)
            raise SystemExit(f"The writer made no commit.\n{self._complaints.read()[-2000:]}")
        self.answered = int(line)
        self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._complaints.close()


def write(repo: str, first: int) -> None:
    """Commit one number after another and print each that was answered."""
    from huggingface_hub import CommitOperationAdd

    api = client()
    for number in itertools.count(first):
        files = {"a.txt": b"", "folder/b.txt": b"", "c.safetensors": os.urandom(64)}
        operations = [CommitOperationAdd(name, f"{number}\n".encode() + rest) for name, rest in files.items()]
        api.create_commit(repo, operations, commit_message=str(number))
        print(number, flush=True)


def read_numbers(repo: str) -> set[int]:
    """Return the numbers found in the files of the branch; -1 stands for a file that is not there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    numbers = set()
    for name in ("a.txt", "folder/b.txt", "c.safetensors"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                content = Path(hf_hub_download(repo, name, local_dir=folder)).read_bytes()
                numbers.add(int(content.split(b"\n")[0]))
            except EntryNotFoundError:
                numbers.add(-1)
    return numbers


def check_git(root: Path, table: Table) -> None:
    """Let git itself look for broken objects."""
    heads = [path.parent for path in root.rglob("HEAD") if (path.parent / "objects").is_dir()]
    broken = []
    for folder in heads:
        done = subprocess.run(["git", "-C", str(folder), "fsck", "--full"], capture_output=True, text=True)
        if done.returncode:
            broken.append(done.stderr.strip().splitlines()[0])
    table.add("git fsck", f"{len(heads)} repositories, {len(broken)} broken")
    table.wrong += broken


def client() -> HfApi:
    """Return the unmodified client."""
    from huggingface_hub import HfApi

    return HfApi()


def prepare() -> None:
    """Point the client at the server's address to be, before it is imported."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    # Its own words on every retry would bury the tables.
    os.environ["HF_HUB_VERBOSITY"] = "critical"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2], int(sys.argv[3]))
        sys.exit()
    prepare()
    if importlib.util.find_spec("typer"):
        from hfembed.cli import prepare_process

        prepare_process()
    sys.exit(main())
