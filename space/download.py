"""The tuned model as one file to take home."""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from hfembed.pipeline import manifests
from hfembed.push import propose_repos
from hfembed.run import LAYOUT, MANIFEST

from .runs import VisitorRun

FOLDER = "hfembed-downloads"
MODEL_FOLDER = "model"
KEPT_SECONDS = 24 * 3600
BLOCK = 8 << 20

Progress = Callable[[float], object]


def zip_model(one: VisitorRun, progress: Progress = lambda share: None) -> Path:
    """Return the model of a run as a zip, made once; progress is told the share that is done.

    It stands below the system's temporary folder, the only place Gradio hands files out from; the run's own folder is
    not served to anybody. Weights do not compress, so nothing is compressed.
    """
    base = str(manifests(one.run)["train"].sources["base"]["name"])
    name = propose_repos("", one.run.recipe().corpus, base)[0].rpartition("/")[2]
    files = [file for file in sorted(one.run.path(LAYOUT.model).rglob("*")) if file.is_file() and file.name != MANIFEST]
    made = max(int(file.stat().st_mtime) for file in files)
    folder = Path(tempfile.gettempdir()) / FOLDER
    target = folder / one.folder.parent.name / f"{one.folder.name}-{made}" / f"{name}.zip"
    _forget_old(folder)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as half:
            _write(one.run.path(LAYOUT.model), files, Path(half.name), progress)
        Path(half.name).replace(target)
    return target


def _write(model: Path, files: list[Path], target: Path, progress: Progress) -> None:
    total = sum(file.stat().st_size for file in files) or 1
    done = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            name = zipfile.ZipInfo.from_file(file, Path(MODEL_FOLDER) / file.relative_to(model))
            with file.open("rb") as source, archive.open(name, "w", force_zip64=True) as packed:
                while block := source.read(BLOCK):
                    packed.write(block)
                    done += len(block)
                    progress(done / total)


def _forget_old(folder: Path) -> None:
    """Remove archives that nobody has asked for in a day; they are made anew where somebody does."""
    limit = time.time() - KEPT_SECONDS
    for visitor in folder.glob("*"):
        for run in visitor.glob("*"):
            if run.stat().st_mtime < limit:
                shutil.rmtree(run, ignore_errors=True)
