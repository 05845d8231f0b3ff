"""Reading git: revisions, trees, blobs and large-file pointers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from stat import S_ISDIR
from typing import cast

from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from hfembed.localhub.errors import revision_not_found

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>\d+)\n?"
)
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
BRANCHES = b"refs/heads/"
TAGS = b"refs/tags/"
PULL_REQUESTS = b"refs/pr/"
CONVERSIONS = b"refs/convert/"


@dataclass(frozen=True)
class LargePointer:
    """What a large-file pointer points at."""

    oid: str
    size: int
    pointer_size: int


@dataclass(frozen=True)
class Entry:
    """One path of a tree: a folder, a file, or a large file behind its pointer."""

    path: str
    git_id: str
    is_folder: bool
    size: int = 0
    large: LargePointer | None = None


_facts: dict[str, tuple[int, LargePointer | None]] = {}


def parse_pointer(content: bytes) -> LargePointer | None:
    """Return what the bytes point at where they are a large-file pointer."""
    match = _POINTER.fullmatch(content) if len(content) < 300 else None
    if match is None:
        return None
    return LargePointer(match["oid"].decode(), int(match["size"]), len(content))


def make_pointer(oid: str, size: int) -> bytes:
    """Return the pointer file for a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


def get_commit(repo: Repo, commit_id: str) -> Commit:
    """Return the commit object with this full id."""
    return cast(Commit, repo[ObjectID(commit_id.encode())])


def resolve_ref(revision: str, repo: Repo) -> bytes | None:
    """Return the full name of the branch, pull request or tag that a revision names."""
    name = revision.encode()
    candidates = [name] if name.startswith(b"refs/") else [BRANCHES + name, TAGS + name]
    for candidate in candidates:
        if Ref(candidate) in repo.refs:
            return candidate
    return None


def resolve_revision(repo: Repo, revision: str) -> str:
    """Return the full commit id that a branch, tag, reference, or full or short commit id stands for."""
    ref = resolve_ref(revision, repo)
    if ref is not None:
        return peel(repo, repo.refs[Ref(ref)]).id.decode()
    if _COMMIT.fullmatch(revision):
        matches = set(repo.object_store.iter_prefix(revision.encode()))
        commits = [match for match in matches if isinstance(repo[match], Commit)]
        if len(commits) == 1:
            return commits[0].decode()
    raise revision_not_found(revision)


def peel(repo: Repo, object_id: ObjectID) -> Commit:
    """Follow annotated tags down to the commit."""
    found = repo[object_id]
    while isinstance(found, Tag):
        found = repo[found.object[1]]
    return cast(Commit, found)


def read_blob(repo: Repo, git_id: str) -> bytes:
    """Return the bytes of a blob."""
    return cast(Blob, repo[ObjectID(git_id.encode())]).data


def _entry(repo: Repo, path: str, mode: int, git_id: bytes) -> Entry:
    name = git_id.decode()
    if S_ISDIR(mode):
        return Entry(path, name, True)
    facts = _facts.get(name)
    if facts is None:
        content = read_blob(repo, name)
        pointer = parse_pointer(content)
        facts = (pointer.size if pointer else len(content), pointer)
        if len(_facts) > 200_000:
            _facts.clear()
        # A blob id stands for its content in every repository, so this never goes stale.
        _facts[name] = facts
    return Entry(path, name, False, facts[0], facts[1])


def list_entries(repo: Repo, tree_id: bytes, prefix: str = "", *, recursive: bool = True) -> Iterator[Entry]:
    """Yield what stands in a tree, folders before what is inside them."""
    tree = cast(Tree, repo[ObjectID(tree_id)])
    for item in tree.iteritems(name_order=True):
        entry = _entry(repo, prefix + item.path.decode("utf-8", "replace"), item.mode, item.sha)
        yield entry
        if recursive and entry.is_folder:
            yield from list_entries(repo, item.sha, entry.path + "/")


def list_files(repo: Repo, commit_id: str) -> list[Entry]:
    """Return every file of a commit."""
    tree = get_commit(repo, commit_id).tree
    return [entry for entry in list_entries(repo, tree) if not entry.is_folder]


def find_entry(repo: Repo, commit_id: str, path: str) -> Entry | None:
    """Return what stands at a path of a commit."""
    tree_id: bytes = get_commit(repo, commit_id).tree
    mode = 0o040000
    for part in path.strip("/").split("/"):
        tree = repo[ObjectID(tree_id)] if S_ISDIR(mode) else None
        if not isinstance(tree, Tree) or part.encode() not in tree:
            return None
        mode, tree_id = tree[part.encode()]
    return _entry(repo, path.strip("/"), mode, tree_id)


def read_file(repo: Repo, commit_id: str, path: str) -> bytes | None:
    """Return the content of a regular file, or None where there is none."""
    entry = find_entry(repo, commit_id, path)
    return None if entry is None or entry.is_folder or entry.large else read_blob(repo, entry.git_id)


def list_refs(repo: Repo, prefix: bytes) -> dict[str, str]:
    """Return reference name under a prefix -> commit id."""
    found = {}
    for ref in repo.refs.allkeys():
        if ref.startswith(prefix):
            found[ref[len(prefix) :].decode()] = peel(repo, repo.refs[ref]).id.decode()
    return dict(sorted(found.items()))


def walk_commits(repo: Repo, commit_id: str) -> Iterator[Commit]:
    """Yield a commit and those before it, newest first."""
    for step in repo.get_walker(include=[ObjectID(commit_id.encode())]):
        yield step.commit


def commit_time(commit: Commit) -> datetime:
    """Return when a commit was made."""
    return datetime.fromtimestamp(commit.commit_time, UTC)


def last_commits(repo: Repo, commit_id: str, entries: list[Entry]) -> dict[str, Commit]:
    """Return, for each path, the newest commit that changed it."""
    waiting = {entry.path: entry.git_id for entry in entries}
    found: dict[str, Commit] = {}
    commit = get_commit(repo, commit_id)
    while waiting:
        parent = get_commit(repo, commit.parents[0].decode()) if commit.parents else None
        for path, git_id in list(waiting.items()):
            before = find_entry(repo, parent.id.decode(), path) if parent else None
            if before is None or before.git_id != git_id:
                found[path] = commit
                del waiting[path]
        if parent is None:
            break
        commit = parent
    return found
