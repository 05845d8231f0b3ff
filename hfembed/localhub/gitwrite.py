"""Writing git: new repositories, commits, branches, tags, merges."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from dulwich.object_store import commit_tree_changes
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from hfembed.localhub.durable import flush_objects, flush_path, open_repository
from hfembed.localhub.errors import RefusalError, bad_request, revision_not_found
from hfembed.localhub.gitread import find_entry, get_commit, list_entries

_FILE_MODE = 0o100644
_FORBIDDEN_PARTS = {"", ".", "..", ".git", ".huggingface"}


@dataclass
class Changes:
    """What one commit does to the tree; the blobs are already in the object store."""

    files: dict[str, bytes] = field(default_factory=dict)
    deleted_files: list[str] = field(default_factory=list)
    deleted_folders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Authorship:
    """Who makes a commit, and what they say about it."""

    author: str
    summary: str
    description: str = ""

    @property
    def message(self) -> bytes:
        """Return the whole commit message."""
        return (self.summary + (f"\n\n{self.description}" if self.description else "")).encode()

    @property
    def identity(self) -> bytes:
        """Return the author line; no real address is known or shown."""
        return f"{self.author} <{self.author}@users.noreply.localhub>".encode()


def check_path(path: str) -> str:
    """Refuse a path that no repository may hold, and return it as it was."""
    parts = path.split("/")
    if any(part in _FORBIDDEN_PARTS for part in parts) or "\\" in path or not path.isprintable():
        raise bad_request(f"Invalid path in repo: {path!r}")
    return path


def create_repository(folder: Path, files: Mapping[str, bytes], authorship: Authorship) -> None:
    """Make a bare repository whose main branch holds one commit with these files."""
    Repo.init_bare(folder, mkdir=True, default_branch=b"main").close()
    repo = open_repository(folder)
    try:
        changes = Changes(files={path: add_blob(repo, content) for path, content in files.items()})
        empty = Tree()
        repo.object_store.add_object(empty)
        tree = _changed_tree(repo, empty.id, changes)
        move_ref(repo, b"refs/heads/main", None, _write_commit(repo, tree, [], authorship))
        flush_path(folder)
        flush_path(folder.parent)
    finally:
        repo.close()


def add_blob(repo: Repo, content: bytes) -> bytes:
    """Store bytes as a blob and return its git id."""
    blob = Blob.from_string(content)
    repo.object_store.add_object(blob)
    return blob.id


def commit_changes(repo: Repo, ref: bytes, changes: Changes, authorship: Authorship, parent: str | None = None) -> str:
    """Add one commit to a branch and return its id; the caller holds the repository's lock.

    Changes speak of paths, so they apply to whatever the branch holds now. Where `parent` is named and the
    branch has moved past it, the commit is refused with 412.
    """
    try:
        head = repo.refs[Ref(ref)]
    except KeyError:
        raise revision_not_found(ref.decode()) from None
    if parent is not None and parent != head.decode():
        raise RefusalError(412, "A commit has happened since. Please refresh and try again.", "PreconditionFailed")
    before = get_commit(repo, head.decode()).tree
    _check_changes(repo, head.decode(), changes)
    tree = _changed_tree(repo, before, changes)
    if tree == before:
        # Nothing changed: a repeated request must not leave an empty commit behind.
        return head.decode()
    commit = _write_commit(repo, tree, [head], authorship)
    move_ref(repo, ref, head, commit)
    return commit.decode()


def move_ref(repo: Repo, ref: bytes, old: bytes | None, new: bytes) -> None:
    """Point a reference at a commit, only where it still points at `old` (None: does not exist)."""
    flush_objects(repo)
    if old is None:
        done = repo.refs.add_if_new(Ref(ref), ObjectID(new))
    else:
        done = repo.refs.set_if_equals(Ref(ref), ObjectID(old), ObjectID(new))
    if not done:
        raise RefusalError(412, "The branch moved at the same moment. Please try again.", "PreconditionFailed")
    # The file was flushed before it got its name; now the name is as well.
    flush_path((Path(repo.path) / ref.decode()).parent)


def _check_changes(repo: Repo, head: str, changes: Changes) -> None:
    for path in [*changes.files, *changes.deleted_files, *changes.deleted_folders]:
        check_path(path.rstrip("/"))
    for path in changes.deleted_files:
        entry = find_entry(repo, head, path)
        if entry is None or entry.is_folder:
            raise RefusalError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    for path in changes.deleted_folders:
        entry = find_entry(repo, head, path)
        if entry is None or not entry.is_folder:
            raise RefusalError(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")


def _changed_tree(repo: Repo, tree_id: bytes, changes: Changes) -> bytes:
    """Return the id of the tree after the deletions, then the additions, of a commit."""
    deletions = [(path.encode(), None, None) for path in dict.fromkeys(changes.deleted_files)]
    root = tree_id
    for folder in changes.deleted_folders:
        root = _without(repo, root, folder.strip("/").split("/"))
    if deletions:
        root = commit_tree_changes(repo.object_store, ObjectID(root), deletions)
    # Adding a file where a folder stands, or below a file, replaces what stood there.
    for path in changes.files:
        root = _make_room(repo, root, path)
    additions = [(path.encode(), _FILE_MODE, ObjectID(blob)) for path, blob in changes.files.items()]
    return commit_tree_changes(repo.object_store, ObjectID(root), additions) if additions else root


def _make_room(repo: Repo, tree_id: bytes, path: str) -> bytes:
    parts = path.split("/")
    current = repo[ObjectID(tree_id)]
    for depth, part in enumerate(parts):
        if not isinstance(current, Tree) or part.encode() not in current:
            return tree_id
        current = repo[current[part.encode()][1]]
        is_last = depth == len(parts) - 1
        if isinstance(current, Tree) == is_last:
            return _without(repo, tree_id, parts[: depth + 1])
    return tree_id


def _without(repo: Repo, tree_id: bytes, parts: list[str]) -> bytes:
    """Return the tree less what stands at a path; folders left empty go as well."""
    tree = repo[ObjectID(tree_id)]
    if not isinstance(tree, Tree) or parts[0].encode() not in tree:
        return tree_id
    changed = cast(Tree, tree.copy())
    name = parts[0].encode()
    if len(parts) == 1:
        del changed[name]
    else:
        mode, child_id = changed[name]
        child = _without(repo, child_id, parts[1:])
        rest = repo[ObjectID(child)]
        if isinstance(rest, Tree) and len(rest) == 0:
            del changed[name]
        else:
            changed[name] = (mode, ObjectID(child))
    repo.object_store.add_object(changed)
    return changed.id


def _write_commit(repo: Repo, tree: bytes, parents: Iterable[bytes], authorship: Authorship) -> bytes:
    commit = Commit()
    commit.tree = ObjectID(tree)
    commit.parents = [ObjectID(parent) for parent in parents]
    commit.author = commit.committer = authorship.identity
    commit.author_time = commit.commit_time = int(time.time())
    commit.author_timezone = commit.commit_timezone = 0
    commit.encoding = b"UTF-8"
    commit.message = authorship.message
    repo.object_store.add_object(commit)
    return commit.id


def squash_branch(repo: Repo, ref: bytes, authorship: Authorship) -> str:
    """Replace the history of a branch with one commit of its present content."""
    head = repo.refs[Ref(ref)]
    commit = _write_commit(repo, get_commit(repo, head.decode()).tree, [], authorship)
    move_ref(repo, ref, head, commit)
    return commit.decode()


def write_tag(repo: Repo, name: str, commit_id: str, authorship: Authorship | None) -> None:
    """Name a commit; with an authorship the tag carries a message."""
    target = commit_id.encode()
    if authorship is not None:
        tag = Tag()
        tag.name = name.encode()
        tag.object = (Commit, ObjectID(target))
        tag.tagger = authorship.identity
        tag.tag_time, tag.tag_timezone = int(time.time()), 0
        tag.message = authorship.message
        repo.object_store.add_object(tag)
        target = tag.id
    move_ref(repo, b"refs/tags/" + name.encode(), None, target)


def merge_branch(
    repo: Repo, base: str, source: bytes, target: bytes, authorship: Authorship | None
) -> tuple[str, list[str]]:
    """Merge a pull request into a branch by paths; return the new commit, or the paths in conflict.

    `base` is the commit that the pull request started from. A path changed on both sides, to different
    content, is a conflict. Without an authorship nothing is written.
    """
    ours_id, theirs_id = repo.refs[Ref(target)], repo.refs[Ref(source)]
    before, ours, theirs = (_paths(repo, name) for name in (base, ours_id.decode(), theirs_id.decode()))
    changes = Changes()
    conflicts = []
    for path in sorted(before.keys() | theirs.keys()):
        if theirs.get(path) == before.get(path) or theirs.get(path) == ours.get(path):
            continue
        if ours.get(path) != before.get(path):
            conflicts.append(path)
        elif path in theirs:
            changes.files[path] = theirs[path]
        else:
            changes.deleted_files.append(path)
    if conflicts or authorship is None:
        return "", conflicts
    tree = _changed_tree(repo, get_commit(repo, ours_id.decode()).tree, changes)
    commit = _write_commit(repo, tree, [ours_id, theirs_id], authorship)
    move_ref(repo, target, ours_id, commit)
    return commit.decode(), []


def _paths(repo: Repo, commit_id: str) -> dict[str, bytes]:
    tree = get_commit(repo, commit_id).tree
    return {item.path: item.git_id.encode() for item in list_entries(repo, tree) if not item.is_folder}
