"""The entry of a Space that `hfembed space deploy` made: hfembed travels with it, as the wheel beside this file.

A Space installs requirements.txt before its other files are there, so pip cannot be given the wheel: it is unpacked here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path

WHEELS = "wheel"


def unpack(wheel: Path) -> Path:
    """Return the folder in which the code of a wheel stands; unpacked once, whole or not at all."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"hfembed-{os.getuid()}-{digest}"
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(prefix="hfembed-"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(fresh)
        with contextlib.suppress(OSError):  # another process was quicker
            fresh.rename(folder)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise SystemExit(f"{folder} belongs to somebody else; hfembed runs no code from there.")
    return folder


def main() -> None:
    """Serve hfembed."""
    [wheel] = (Path(__file__).resolve().parent / WHEELS).glob("*.whl")
    code = str(unpack(wheel))
    sys.path.insert(0, code)
    # Runs are processes of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
    from hfembed.resources import space_module

    space_module().launch()


if __name__ == "__main__":
    main()
