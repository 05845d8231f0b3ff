"""Rank: domains by headroom, as mteb's benchmarks group their tasks, or as the tasks say themselves."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hfembed.domains.headroom import WITHIN, Domain, measure_domain
from hfembed.domains.results import DOWNLOAD, Results
from hfembed.errors import InputError
from hfembed.evaluate.public import find_tasks
from hfembed.events import Reporter, silent

BENCHMARKS = ("MTEB(Medical, v1)", "MTEB(Law, v1)", "MTEB(Code, v1)", "ChemTEB", "BuiltBench(eng)")
# Domains in mteb's metadata that say how a text came to be, and not what it is about.
FORMS = {
    "Written", "Spoken", "Constructed", "Non-fiction", "Fiction", "Web", "Blog", "Social", "Reviews", "Subtitles",
    "Speech", "Scene", "AudioScene",
}  # fmt: skip


class By(StrEnum):
    """What groups tasks into domains."""

    BENCHMARKS = "benchmarks"
    DOMAINS = "domains"


@dataclass(frozen=True)
class Found:
    """Domains for a model of a size, those with most headroom first."""

    size: int
    by: By
    domains: tuple[Domain, ...]

    @property
    def first(self) -> Domain | None:
        """The domain with most headroom; none where nothing could be scored."""
        return next((domain for domain in self.domains if domain.headroom is not None), None)

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "size": self.size, "compared_with_models_up_to": WITHIN * self.size, "by": self.by.value,
            "domains": [domain.to_json() for domain in self.domains],
        }  # fmt: skip


def rank_domains(
    folder: Path | None, size: int, benchmarks: Sequence[str] = (), by: By | None = None, report: Reporter | None = None
) -> Found:
    """Rank domains by what a model of `size` parameters could gain; asks the network for nothing.

    folder: results in mteb's layout; mteb's own cache when not given. benchmarks: those of mteb that count as domains.
    by: when not given, benchmarks where results of theirs are at hand, else what tasks say of their domain.
    """
    report = report or silent()
    logging.getLogger("mteb").setLevel(logging.ERROR)
    results = Results(folder or _cache())
    by, groups = _groups(results, benchmarks, by)
    domains = [measure_domain(name, tasks, results.read(tasks, report), size) for name, tasks in groups.items()]
    _warn(results, report)
    ranked = sorted(domains, key=lambda domain: (-(domain.headroom or 0.0), domain.headroom is None, domain.name))
    return Found(size, by, tuple(ranked))


def _cache() -> Path:
    from mteb import ResultCache

    folder = ResultCache().cache_path
    if not any(folder.iterdir()):
        raise InputError(
            f"mteb keeps no results on this machine: '{folder}' is empty.",
            f"--results DIR names a folder of them; with a network the public ones come with: {DOWNLOAD}",
        )
    return Path(folder)


def _groups(results: Results, benchmarks: Sequence[str], by: By | None) -> tuple[By, Mapping[str, list[Any]]]:
    if by is not By.DOMAINS:
        found = {name: find_tasks([], name) for name in benchmarks or BENCHMARKS}
        if benchmarks or by is By.BENCHMARKS or any(
            task.metadata.name in results.files for tasks in found.values() for task in tasks
        ):  # fmt: skip
            return By.BENCHMARKS, found
    return By.DOMAINS, _by_domain(results)


def _by_domain(results: Results) -> Mapping[str, list[Any]]:
    import mteb

    groups: dict[str, list[Any]] = defaultdict(list)
    for name in sorted(results.files):
        try:
            task = mteb.get_task(name)
        except KeyError:  # a task of somebody's own, or of another version of mteb
            continue
        for domain in sorted(set(task.metadata.domains or ()) - FORMS):
            groups[domain].append(task)
    if not groups:
        raise InputError(
            f"'{results.folder}' has results of no task that mteb knows the domain of.",
            "--benchmark NAME names the tasks that count.",
        )
    return dict(sorted(groups.items()))


def _warn(results: Results, report: Reporter) -> None:
    if results.broken:
        name, reason = next(iter(results.broken.items()))
        report.warn(f"{len(results.broken):,} files of results cannot be read, for instance {name} ({reason}).")
    if results.partial:
        report.note(f"{len(results.partial):,} results lack a part of their task and do not count")
