"""The operations of a Hub's user, each driven through the unmodified client of whatever Python runs this.

Not called by hand: `bench/clients.py` runs it in each interpreter, against one Hub. It needs nothing but
huggingface_hub; what stands on other libraries says when they are not installed. One JSON line for each operation.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ADDRESS = os.environ.get("HF_ENDPOINT", "")
USER = "demo"
GATED = "other/gated"
PRIVATE = "other/private"
LARGE = 300_000
OPERATIONS: list[tuple[str, Callable[[Place], None]]] = []


class MissingError(Exception):
    """What an operation stands on is not installed here."""


class Place:
    """Where the operations of one client take place: its API, its names, its folder."""

    def __init__(self, mark: str, folder: Path) -> None:
        """Name everything after `mark`, so that clients share a Hub without meeting."""
        from huggingface_hub import HfApi

        self.api: Any = HfApi()
        self.mark = mark
        self.folder = folder
        self.repo = f"{USER}/{mark}"

    def fresh(self, name: str, **options: Any) -> str:
        """Create a repository of this client and return its id."""
        return str(self.api.create_repo(f"{self.repo}-{name}", **options).repo_id)


def operation(name: str) -> Callable[[Callable[[Place], None]], Callable[[Place], None]]:
    """Put a function into the list of operations."""

    def add(function: Callable[[Place], None]) -> Callable[[Place], None]:
        OPERATIONS.append((name, function))
        return function

    return add


def check(found: object, wanted: object) -> None:
    """Fail where what was found is not what it must be."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def refused(error: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Fail unless a call is refused with the error of this name: the client's own, or one of Python's."""
    from huggingface_hub import errors

    wanted: type[Exception] = getattr(errors, error, None) or getattr(builtins, error)
    try:
        call(*arguments, **options)
    except wanted:
        return
    raise AssertionError(f"{error} was not raised")


def need(*modules: str) -> None:
    """Leave an operation out where a library is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingError(", ".join(missing))


def run(*command: str, **options: Any) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    if done.returncode:
        raise AssertionError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def ask(path: str, body: dict[str, Any] | None = None, method: str = "GET") -> Any:
    """Ask the Hub directly, for what a client has no method for."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {os.environ['HF_TOKEN']}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(ADDRESS + path, data, headers, method=method)) as answer:
        return json.loads(answer.read() or b"null")


@operation("whoami; a token that only reads is refused a write")
def tokens(place: Place) -> None:
    """Say who one is, and be refused with a token that only reads."""
    from huggingface_hub import HfApi

    check(place.api.whoami()["name"], USER)
    refused("HfHubHTTPError", HfApi(token=os.environ["READ_TOKEN"]).create_repo, place.repo + "-refused")
    refused("HfHubHTTPError", HfApi(token="hf_" + "x" * 34).model_info, PRIVATE)


@operation("create, visibility, move, delete of the three kinds; organisations")
def repositories(place: Place) -> None:
    """Create, hide, move and delete."""
    for kind in ("model", "dataset", "space"):
        options = {"space_sdk": "gradio"} if kind == "space" else {}
        name = place.fresh(f"made-{kind}", repo_type=kind, **options)
        place.api.update_repo_settings(name, repo_type=kind, private=True)
        check(place.api.repo_info(name, repo_type=kind).private, True)
        place.api.move_repo(name, name + "-moved", repo_type=kind)
        check(place.api.repo_info(name, repo_type=kind).id, name + "-moved")
        place.api.delete_repo(name + "-moved", repo_type=kind)
        check(place.api.repo_exists(name + "-moved", repo_type=kind), False)
    check(place.api.create_repo(f"acme/{place.mark}").repo_id, f"acme/{place.mark}")


@operation("commit: regular, large (LFS or Xet), multipart, copy, delete")
def commits(place: Place) -> None:
    """Make commits of every kind."""
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, hf_hub_download

    name, large = place.fresh("commits"), os.urandom(LARGE)
    files = [("a/small.txt", b"small"), ("large.bin", large), ("parts.bin", large * 2)]

    def adds() -> list[CommitOperationAdd]:
        return [CommitOperationAdd(path, content) for path, content in files]

    first = place.api.create_commit(name, adds(), commit_message="add").oid
    copies = [CommitOperationCopy("large.bin", "copy/large.bin"), CommitOperationDelete("a/", is_folder=True)]
    place.api.create_commit(name, copies, commit_message="copy", parent_commit=first)
    check(set(place.api.list_repo_files(name)), {".gitattributes", "large.bin", "parts.bin", "copy/large.bin"})
    check(Path(hf_hub_download(name, "copy/large.bin")).read_bytes(), large)
    check(Path(hf_hub_download(name, "parts.bin")).read_bytes(), large * 2)
    refused("HfHubHTTPError", place.api.create_commit, name, adds(), commit_message="late", parent_commit=first)
    place.api.super_squash_history(name)
    check(len(place.api.list_repo_commits(name)), 1)


@operation("branches, tags, refs, revisions")
def references(place: Place) -> None:
    """Name commits and find them by every name."""
    name = place.fresh("refs")
    commit = place.api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=name).oid
    place.api.create_branch(name, branch="side/way")
    place.api.create_tag(name, tag="v1")
    place.api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=name)
    refs = place.api.list_repo_refs(name)
    check(({item.name for item in refs.branches}, {item.name for item in refs.tags}), ({"main", "side/way"}, {"v1"}))
    for revision in ("side/way", "v1", commit, commit[:8]):
        check(place.api.model_info(name, revision=revision).sha, commit)
    place.api.delete_branch(name, branch="side/way")
    place.api.delete_tag(name, tag="v1")
    refused("RevisionNotFoundError", place.api.model_info, name, revision="v1")


@operation("pull request, discussion, comment, merge")
def pulls(place: Place) -> None:
    """Propose, discuss and merge."""
    name = place.fresh("pulls")
    made = place.api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=name, create_pr=True)
    place.api.comment_discussion(name, made.pr_num, "please")
    check("x.txt" in place.api.list_repo_files(name, revision=f"refs/pr/{made.pr_num}"), True)
    place.api.merge_pull_request(name, made.pr_num)
    check("x.txt" in place.api.list_repo_files(name), True)
    talk = place.api.create_discussion(name, title="A question")
    place.api.change_discussion_status(name, talk.num, new_status="closed")
    check(place.api.get_discussion_details(name, talk.num).status, "closed")


@operation("tree, paths, metadata, HEAD, GET, range")
def files(place: Place) -> None:
    """Look at files in every way."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    name, large = place.fresh("files"), os.urandom(LARGE)
    for path, content in (("d/a.txt", b"hello"), ("d/b.bin", large)):
        place.api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=name)
    check([entry.path for entry in place.api.list_repo_tree(name, "d", expand=True)], ["d/a.txt", "d/b.bin"])
    check([entry.size for entry in place.api.get_paths_info(name, ["d/a.txt", "d/b.bin"])], [5, LARGE])
    facts = get_hf_file_metadata(hf_hub_url(name, "d/b.bin"))
    check((facts.size, facts.commit_hash), (LARGE, place.api.model_info(name).sha))
    check(Path(hf_hub_download(name, "d/b.bin")).read_bytes(), large)
    request = urllib.request.Request(f"{ADDRESS}/{name}/resolve/main/d/b.bin", headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request) as answer:
        check((answer.status, answer.read()), (206, large[10:20]))
    refused("EntryNotFoundError", hf_hub_download, name, "none.txt")


@operation("list, search, sort, pages")
def listing(place: Place) -> None:
    """Find repositories."""
    names = {place.fresh(f"listed-{number}") for number in range(3)}
    card = b"---\nlicense: mit\ntags: [marked]\n---\n"
    place.api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=min(names))
    found = place.api.list_models(author=USER, search=f"{place.mark}-listed", limit=2)
    check(len(list(found)), 2)
    check({item.id for item in place.api.list_models(search=f"{place.mark}-listed")}, names)
    check([item.id for item in place.api.list_models(search=place.mark, filter="marked")], [min(names)])
    for number in range(55):
        content = str(number).encode()
        place.api.upload_file(path_or_fileobj=content, path_in_repo="n.txt", repo_id=min(names), commit_message="n")
    check(len(place.api.list_repo_commits(min(names))), 57)


@operation("gated and private: the right errors")
def errors(place: Place) -> None:
    """Be refused in the client's own words."""
    from huggingface_hub import hf_hub_download

    refused("GatedRepoError", hf_hub_download, GATED, "secret.txt")
    refused("RepositoryNotFoundError", place.api.model_info, PRIVATE)
    refused("RepositoryNotFoundError", place.api.model_info, f"{USER}/none")
    bad = b"---\nlicense: [1, 2\n---\n"
    refused(
        "ValueError",
        place.api.upload_file,
        path_or_fileobj=bad,
        path_in_repo="README.md",
        repo_id=place.fresh("bad"),
    )


@operation("collections")
def collections(place: Place) -> None:
    """Group repositories."""
    shelf = place.api.create_collection(f"Shelf {place.mark}", namespace=USER)
    place.api.add_collection_item(shelf.slug, place.fresh("shelved"), "model", note="this one")
    check([item.note for item in place.api.get_collection(shelf.slug).items], ["this one"])
    place.api.delete_collection(shelf.slug)


APP = b"""
import http.server, os
print("up", os.environ["V"], os.environ["S"], flush=True)
address = (os.environ["GRADIO_SERVER_NAME"], int(os.environ["GRADIO_SERVER_PORT"]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@operation("Space: settings, hardware, sleep, run, log, pause, restart, delete")
def space(place: Place) -> None:
    """Run a private Space."""
    options = {"space_sdk": "gradio", "private": True, "space_hardware": "t4-small", "space_sleep_time": 3600}
    settings = {"space_variables": [{"key": "V", "value": "1"}], "space_secrets": [{"key": "S", "value": "2"}]}
    name = place.fresh("space", repo_type="space", **options, **settings)
    place.api.upload_file(path_or_fileobj=APP, path_in_repo="app.py", repo_id=name, repo_type="space")
    runtime = settled(place, name)
    check((runtime.stage, runtime.hardware, runtime.sleep_time), ("RUNNING", "t4-small", 3600))
    if hasattr(place.api, "fetch_space_logs"):
        check(next(iter(place.api.fetch_space_logs(name))), "up 1 2")
    check(place.api.pause_space(name).stage, "PAUSED")
    place.api.restart_space(name)
    check(settled(place, name).stage, "RUNNING")
    place.api.delete_repo(name, repo_type="space")


def settled(place: Place, name: str) -> Any:
    """Wait for a Space, with the client's own method where it has one."""
    if hasattr(place.api, "wait_for_space"):
        return place.api.wait_for_space(name, timeout=60)
    deadline = time.monotonic() + 60
    while (runtime := place.api.get_space_runtime(name)).stage in ("BUILDING", "RUNNING_BUILDING", "APP_STARTING"):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {runtime.stage}")
        time.sleep(0.1)
    return runtime


@operation("Job: run, secrets, log, inspect, list, hardware")
def job(place: Place) -> None:
    """Run a command."""
    code = "import os; print('ran', os.environ['V'], os.environ['S'])"
    made = run_job(place, code, env={"V": "1"}, secrets={"S": "2"})
    check(ended(place, made.id).status.stage, "COMPLETED")
    check(list(place.api.fetch_job_logs(job_id=made.id)), ["ran 1 2"])
    check(made.id in [item.id for item in place.api.list_jobs()], True)
    check({item["name"] for item in ask("/api/jobs/hardware")} >= {"cpu-basic", "l4x1"}, True)


@operation("Job: failure, timeout, cancel")
def broken_jobs(place: Place) -> None:
    """Run commands that do not end well."""
    check("3" in ended(place, run_job(place, "raise SystemExit(3)").id).status.message, True)
    late = run_job(place, "import time; time.sleep(60)", timeout="1s")
    check(ended(place, late.id).status.message, "Job timeout")
    stopped = run_job(place, "import time; time.sleep(60)")
    place.api.cancel_job(job_id=stopped.id)
    check(ended(place, stopped.id).status.stage, "CANCELED")


@operation("Job: labels, volumes, run again")
def rich_job(place: Place) -> None:
    """Run a command with what the newer clients can ask for."""
    name = place.fresh("volume")
    place.api.upload_file(path_or_fileobj=b"inside", path_in_repo="a.txt", repo_id=name)
    volume = {"type": "model", "source": name, "mountPath": "/in"}
    code = "print(open('/in/a.txt').read())"
    if hasattr(place.api, "rerun_job"):
        from huggingface_hub import Volume

        made = run_job(place, code, labels={"of": place.mark}, volumes=[Volume(**volume)])
        ended(place, made.id)
        check([item.id for item in place.api.list_jobs(labels={"of": place.mark})], [made.id])
        again = place.api.rerun_job(job_id=made.id).id
    else:
        # 0.x has no words for it, so a launcher asks for it itself.
        spec = {"command": ["python", "-c", code], "dockerImage": "x", "labels": {"of": place.mark}}
        made_id = ask(f"/api/jobs/{USER}", {**spec, "volumes": [volume]}, "POST")["id"]
        ended(place, made_id)
        check([item["id"] for item in ask(f"/api/jobs/{USER}?label=of={place.mark}")], [made_id])
        again = ask(f"/api/jobs/{USER}/{made_id}/duplicate", {}, "POST")["id"]
    ended(place, again)
    check(list(place.api.fetch_job_logs(job_id=again)), ["inside"])


@operation("scheduled job: create, suspend, resume, delete")
def scheduled(place: Place) -> None:
    """Schedule a command."""
    made = place.api.create_scheduled_job(image="x", command=["true"], schedule="@daily")
    place.api.suspend_scheduled_job(scheduled_job_id=made.id)
    check(place.api.inspect_scheduled_job(scheduled_job_id=made.id).suspend, True)
    place.api.resume_scheduled_job(scheduled_job_id=made.id)
    check(made.id in [item.id for item in place.api.list_scheduled_jobs()], True)
    place.api.delete_scheduled_job(scheduled_job_id=made.id)


def run_job(place: Place, code: str, **options: Any) -> Any:
    """Start a job that runs some Python."""
    return place.api.run_job(image="python:3.12", command=["python", "-c", code], **options)


def ended(place: Place, job_id: str) -> Any:
    """Wait for the end of a job."""
    deadline = time.monotonic() + 60
    while (found := place.api.inspect_job(job_id=job_id)).status.stage in ("SCHEDULING", "RUNNING"):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found.status.stage}")
        time.sleep(0.1)
    return found


@operation("snapshot_download, upload_folder")
def snapshot(place: Place) -> None:
    """Send a folder and fetch it back."""
    from huggingface_hub import snapshot_download

    name, folder = place.fresh("folder"), place.folder / "up"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.bin").write_bytes(os.urandom(LARGE))
    (folder / "b.txt").write_text("b")
    place.api.upload_folder(repo_id=name, folder_path=folder)
    copy = Path(snapshot_download(name))
    check((copy / "deep/a.bin").read_bytes(), (folder / "deep/a.bin").read_bytes())


@operation("HfFileSystem")
def file_system(place: Place) -> None:
    """Use the Hub as a file system."""
    from huggingface_hub import HfFileSystem

    name, system = place.fresh("system"), HfFileSystem(skip_instance_cache=True)
    with system.open(f"{name}/a.txt", "w") as stream:
        stream.write("hello")
    system.invalidate_cache()
    check(system.glob(f"{name}/*.txt"), [f"{name}/a.txt"])
    check(system.read_text(f"{name}/a.txt"), "hello")
    system.rm(f"{name}/a.txt")


@operation("the hf command")
def command(place: Place) -> None:
    """Use the command line."""
    hf, name = str(Path(sys.executable).with_name("hf")), place.fresh("command")
    check(USER in run(hf, "auth", "whoami"), True)
    (place.folder / "up.txt").write_text("by command")
    run(hf, "upload", name, str(place.folder / "up.txt"), "up.txt")
    run(hf, "download", name, "--local-dir", str(place.folder / "down"))
    check((place.folder / "down/up.txt").read_text(), "by command")


@operation("git clone with LFS")
def git(place: Place) -> None:
    """Clone with git and git-lfs."""
    if shutil.which("git") is None or shutil.which("git-lfs") is None:
        raise MissingError("git-lfs")
    name, large = place.fresh("git"), os.urandom(LARGE)
    place.api.upload_file(path_or_fileobj=large, path_in_repo="large.bin", repo_id=name)
    environment = {**os.environ, "GIT_LFS_SKIP_SMUDGE": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    run("git", "clone", f"{ADDRESS}/{name}", str(place.folder / "clone"), env=environment)
    run("git", "lfs", "pull", cwd=place.folder / "clone", env={**environment, "GIT_LFS_SKIP_SMUDGE": "0"})
    check((place.folder / "clone/large.bin").read_bytes(), large)


@operation("datasets: push, load, stream")
def dataset(place: Place) -> None:
    """Push a dataset and load it."""
    need("datasets")
    from datasets import Dataset, load_dataset

    name = f"{place.repo}-rows"
    Dataset.from_dict({"text": [f"row {number}" for number in range(50)]}).push_to_hub(name, config_name="corpus")
    check(load_dataset(name, "corpus", split="train")[49]["text"], "row 49")
    check(next(iter(load_dataset(name, "corpus", split="train", streaming=True)))["text"], "row 0")


@operation("sentence-transformers and transformers: push, load")
def model(place: Place) -> None:
    """Push a tiny model and load it."""
    need("sentence_transformers", "transformers")
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel

    made = tiny_model(place.folder)
    made.push_to_hub(f"{place.repo}-tiny")
    loaded = SentenceTransformer(f"{place.repo}-tiny")
    check(float(abs(made.encode("hello") - loaded.encode("hello")).max()), 0.0)
    AutoModel.from_pretrained(f"{place.repo}-tiny")


@operation("mteb.get_model")
def mteb_model(place: Place) -> None:
    """Load a model by way of mteb."""
    need("sentence_transformers", "mteb")
    import mteb

    tiny_model(place.folder / "mteb").push_to_hub(f"{place.repo}-mteb")
    check(mteb.get_model(f"{place.repo}-mteb").model.encode("hello").shape, (16,))


def tiny_model(folder: Path) -> Any:
    """Return a model of a few thousand weights."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertModel(BertConfig(len(words), 16, 1, 2, 32)).save_pretrained(folder / "plain")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "plain")
    return SentenceTransformer(modules=[models.Transformer(str(folder / "plain")), models.Pooling(16)])


def main() -> None:
    """Drive every operation and print how each went."""
    import huggingface_hub

    out = sys.stdout
    sys.stdout = io.StringIO()  # libraries print what they like
    print(json.dumps({"version": huggingface_hub.__version__}), file=out, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        place = Place(sys.argv[1], Path(folder))
        for name, function in OPERATIONS:
            started = time.perf_counter()
            try:
                function(place)
                result = "ok"
            except MissingError as error:
                result = f"not installed: {error}"
            except Exception as error:  # whatever a client raises is this operation's result
                result = f"FAILED {type(error).__name__}: {error}".splitlines()[0][:200]
            seconds = round(time.perf_counter() - started, 1)
            print(json.dumps({"operation": name, "result": result, "seconds": seconds}), file=out, flush=True)


if __name__ == "__main__":
    main()
