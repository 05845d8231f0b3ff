"""The tuned model as one file to take home."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from hfembed.run import LAYOUT, MANIFEST

from .runner import Launch
from .uploads import safe_name
from .view_report import MODEL_FOLDER

FOLDER = "hfembed-downloads"


def zip_model(launch: Launch) -> Path:
    """Return the model folder of a finished run as a zip, made once.

    It stands below the system's temporary folder, the only place Gradio hands files out from; the launch's own
    folder is not served to anybody. Weights do not compress, so nothing is compressed.
    """
    order = launch.order
    base = order.base.rstrip("/").rpartition("/")[2]
    name = f"{safe_name(f'{base}-{order.corpus}'.replace('/', '-').replace('.', '-'))}.zip"
    target = Path(tempfile.gettempdir()) / FOLDER / launch.folder.parent.name / launch.folder.name / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as half:
            _write(launch.run / LAYOUT.model, Path(half.name))
        Path(half.name).replace(target)
    return target


def _write(model: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(model.rglob("*")):
            if file.is_file() and file.name != MANIFEST:
                archive.write(file, Path(MODEL_FOLDER) / file.relative_to(model))
