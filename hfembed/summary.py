"""What a run has to show: the object of `--format json` and the words of `status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfembed.events import read_events
from hfembed.pipeline import NAMES, manifests
from hfembed.run import LAYOUT, Run


def summarize(run: Run, worked: list[str] | None = None) -> dict[str, Any]:
    """Return stages with their facts, report, verdict and ONNX of a run; what is not done yet is None.

    worked: the stages that were done just now; all others count as skipped.
    """
    done = manifests(run)
    report = _read(run.path(LAYOUT.report)) if "evaluate" in done else None
    exported = _read(run.path(LAYOUT.onnx_report)) if "export" in done else None
    files = exported["files"] if exported else []
    return {
        "run": str(run.folder),
        "model": str(run.path(LAYOUT.model)) if "train" in done else None,
        "stages": [_stage(done[name], worked) for name in NAMES if name in done],
        "report": _report(report),
        "verdict": report["verdict"] if report else None,
        "onnx": {**files[0], "file": str(run.path(LAYOUT.model) / files[0]["file"]), "files": files} if files else None,
        "published": done["push"].facts["published"] if "push" in done else [],
        "working": _working(run),
    }


def _working(run: Run) -> str | None:
    """Say what the process that holds the run is doing, if there is one."""
    if not run.is_busy():
        return None
    last = None
    for event in read_events(run.path(LAYOUT.events)):
        last = event
    if last is None:
        return "starting"
    share = f" {last.done:,} of {last.total:,} {last.unit}" if last.kind == "progress" and last.total else ""
    return f"{last.stage}: {last.message}{share}".rstrip(": ")


def _stage(manifest: Any, worked: list[str] | None) -> dict[str, Any]:
    return {
        "name": manifest.stage,
        "seconds": manifest.seconds,
        "peak_mb": manifest.peak_mb,
        "counts": manifest.counts,
        "dropped": manifest.dropped,
        "skipped": worked is not None and manifest.stage not in worked,
        "finished": manifest.finished,
        "facts": manifest.facts,
    }


def _report(report: dict[str, Any] | None) -> dict[str, Any] | None:
    if report is None:
        return None
    kept = ("sentence", "queries", "documents", "confidence", "detectable")
    kinds = {
        kind: {name: value for name, value in row.items() if name != "measures"}
        for kind, row in report["by_kind"].items()
    }
    others = {"by_kind": kinds, "public": report.get("public", {})}
    return {**report["metrics"], **{name: report[name] for name in kept}, **others}


def _read(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values
