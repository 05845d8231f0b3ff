"""What a job may ask for: its command, hardware, time, labels and volumes, checked before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hfembed.localhub.access import check_files
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.checkout import write_files
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.gitread import resolve_revision
from hfembed.localhub.hardware import JOB_HARDWARE
from hfembed.localhub.records import RepoKind, RepoRecord, find_repo, may_read
from hfembed.localhub.site import Site

_DEFAULT_TIMEOUT = 30 * 60
_MOST_ATTEMPTS = 10
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LABEL_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_-]{0,100}")
_UNSUPPORTED = {"ssh": "reach it on this machine instead", "network": "all jobs share this machine's network"}


@dataclass(frozen=True)
class Volume:
    """A repository, or a folder of it, that a job finds at a path."""

    record: RepoRecord
    revision: str
    below: str
    mount_path: str


def check_spec(site: Site, user: Visitor, spec: dict[str, Any]) -> None:
    """Refuse a job that could not run here as asked."""
    command = [*(spec.get("command") or []), *(spec.get("arguments") or [])]
    if not command or not all(isinstance(part, str) for part in command):
        raise bad_request('"command" must be a list of at least one string')
    if spec.get("flavor", "cpu-basic") not in JOB_HARDWARE:
        raise bad_request(f'"flavor" must be one of [{", ".join(JOB_HARDWARE)}]; got {spec.get("flavor")!r}')
    if not spec.get("dockerImage") and not spec.get("spaceId"):
        raise bad_request('"dockerImage" or "spaceId" is required')
    for name, instead in _UNSUPPORTED.items():
        if spec.get(name):
            raise bad_request(f'"{name}" is not supported by the local Hub, whose jobs are plain processes: {instead}.')
    timeout_of(spec)
    attempts_of(spec)
    check_labels(spec.get("labels"))
    exposed_ports(spec)
    for volume in find_volumes(site, spec):
        if not may_read(volume.record, user):
            raise RefusalError(404, f"Volume source not found: {volume.record.full_name}", "RepoNotFound")
        check_files(site, volume.record, user)


def timeout_of(spec: dict[str, Any]) -> float:
    """Return after how many seconds a job is ended: a number, or a text such as 90m; 30 minutes unless told."""
    asked = spec.get("timeoutSeconds") or spec.get("timeout") or _DEFAULT_TIMEOUT
    try:
        text = str(asked)
        seconds = float(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise bad_request(f'"timeoutSeconds" must be seconds, or a number with s, m, h or d; got {asked!r}')
    return seconds


def attempts_of(spec: dict[str, Any]) -> int:
    """Return how often the command of a job is tried before it counts as failed."""
    attempts = spec.get("attempts") or 1
    if not isinstance(attempts, int) or not 1 <= attempts <= _MOST_ATTEMPTS:
        raise bad_request(f'"attempts" must be a number from 1 to {_MOST_ATTEMPTS}; got {attempts!r}')
    return attempts


def check_labels(labels: Any) -> None:
    """Refuse labels that the Hub would refuse."""
    if labels is None:
        return
    if not isinstance(labels, dict):
        raise bad_request('"labels" must be an object of texts')
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            raise bad_request(f"A label is at most 100 letters, digits, - and _; got {key!r}: {value!r}")


def exposed_ports(spec: dict[str, Any]) -> list[int]:
    """Return the ports that a job wants reached; here they are this machine's own."""
    ports = (spec.get("expose") or {}).get("ports") or []
    if not all(isinstance(port, int) and 0 < port < 65536 for port in ports):
        raise bad_request(f'"expose.ports" must be port numbers; got {ports!r}')
    return list(ports)


def find_volumes(site: Site, spec: dict[str, Any]) -> list[Volume]:
    """Return the volumes that a job asks for."""
    return [_volume(site, item) for item in spec.get("volumes") or []]


def _volume(site: Site, item: dict[str, Any]) -> Volume:
    kind, source, mount = str(item.get("type")), str(item.get("source")), str(item.get("mountPath"))
    if kind not in list(RepoKind):
        raise bad_request(f'Volumes of type "{kind}" are not supported by the local Hub; use {", ".join(RepoKind)}.')
    path = PurePosixPath(mount)
    if not path.is_absolute() or len(path.parts) < 2 or ".." in path.parts:
        raise bad_request(f'"mountPath" must be an absolute path below /; got {mount!r}')
    namespace, _, name = source.partition("/")
    record = find_repo(site.database, RepoKind(kind), namespace, name)
    if record is None:
        raise RefusalError(404, f"Volume source not found: {source}", "RepoNotFound")
    return Volume(record, str(item.get("revision") or "main"), str(item.get("path") or ""), str(path))


def bring_volumes(site: Site, volumes: list[Volume], folder: Path) -> dict[str, str]:
    """Write the files of volumes into a folder and return mount path -> where they really lie."""
    places = {}
    for number, volume in enumerate(volumes):
        place = folder / str(number) / PurePosixPath(volume.mount_path).name
        with site.open_git(volume.record) as repo:
            commit_id = resolve_revision(repo, volume.revision)
        write_files(site, volume.record, commit_id, place, below=volume.below, read_only=True)
        places[volume.mount_path] = str(place)
    return places


def with_places(text: str, places: dict[str, str]) -> str:
    """Return a text in which mount paths stand for where the files really lie.

    A job is a process of this machine and cannot have anything mounted at /data, so its command and its
    environment are told the real place instead. A path that only contains the mount path is left alone.
    """
    for mount in sorted(places, key=len, reverse=True):
        place = places[mount].replace("\\", r"\\")
        text = re.sub(rf"(?<![\w./-]){re.escape(mount)}(?![\w.-])", place, text)
    return text
