"""Deliver: one commit, then the way back: download what was published, load it, compare its vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hfembed.embed import Precision, Role, encode, load_model
from hfembed.errors import HubError
from hfembed.events import Reporter
from hfembed.hub import Published, Upload, local_model, publish, read_back

# How far a component of a published model's vector may be off.
MAX_DISTANCE = 1e-5


def deliver(
    upload: Upload, folder: Path, report: Reporter, model: Path | None = None, probes: Sequence[str] = ()
) -> Published:
    """Publish and read back below `folder`; a `model` must give the same vectors of `probes` from the Hub."""
    report.note(f"pushing {len(upload.files)} files to {upload.kind} {upload.repo}")
    published = publish(upload, report)
    report.note("reading back what was pushed")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".read-back-") as name:
        copy = read_back(published, upload.files, Path(name), report)
        if model is not None:
            _refuse_other_vectors(model, copy, probes)
    where = "as a pull request" if published.pull_request else "at"
    report.note(f"published {where} {published.url}")
    return published


def _refuse_other_vectors(model: Path, copy: Path, probes: Sequence[str]) -> None:
    """Load the published files as a stranger would, and compare vectors with the model they were made from."""
    ours, theirs = (
        encode(load_model(local_model("published", folder)), probes, Role.QUERY, Precision.FP32)
        for folder in (model, copy)
    )
    distance = float(np.abs(ours - theirs).max())
    if distance > MAX_DISTANCE:
        raise HubError(f"The published model gives other vectors than the one on this machine (by {distance:.1e}).")
