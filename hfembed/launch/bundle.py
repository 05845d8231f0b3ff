"""Bundle: a wheel of exactly this hfembed, so that the code that launches is the code that runs."""

from __future__ import annotations

import base64
import email
import hashlib
import io
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from hfembed import __version__
from hfembed.errors import LaunchError
from hfembed.resources import PACKAGE, cards_folder, constraints_file

NAME = "hfembed"
INFO = f"{NAME}-{__version__}.dist-info"
WHEEL_NAME = f"{NAME}-{__version__}-py3-none-any.whl"
WHEEL = "Wheel-Version: 1.0\nGenerator: hfembed\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
# A zip file knows no earlier time; with any other the same code would make other bytes each time.
MOMENT = (1980, 1, 1, 0, 0, 0)
LEFT_OUT = "__pycache__"


def build_wheel() -> bytes:
    """Return a wheel of the hfembed that runs now, from a checkout or installed; the same code gives the same bytes."""
    contents = {name: file.read_bytes() for name, file in _files()}
    contents |= {f"{INFO}/{name}": text.encode() for name, text in _info().items()}
    record = "".join(f"{name},{_digest(content)},{len(content)}\n" for name, content in sorted(contents.items()))
    contents[f"{INFO}/RECORD"] = f"{record}{INFO}/RECORD,,\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def read_constraints() -> bytes:
    """Return the exact versions of everything that a run elsewhere is given."""
    return constraints_file().read_bytes()


def requirements(extras: Iterable[str]) -> list[str]:
    """Return what the hfembed that runs now needs with these extras, as a requirements file says it."""
    from packaging.requirements import Requirement

    described = email.message_from_string(_info()["METADATA"]).get_all("Requires-Dist") or []
    parsed = [Requirement(line) for line in described]
    wanted = [{"extra": extra} for extra in ("", *extras)]
    return [
        f"{needed.name}{needed.specifier}"
        for needed in parsed
        if needed.marker is None or any(needed.marker.evaluate(values) for values in wanted)
    ]


def _files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the package by its name in the wheel; a checkout keeps some at its root."""
    yield from _below(PACKAGE, NAME)
    if cards_folder().parent != PACKAGE:
        yield from _below(cards_folder(), f"{NAME}/cards")
        yield from _below(cards_folder().parent / "space", f"{NAME}/space")
        yield f"{NAME}/constraints.txt", constraints_file()


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for file in folder.rglob("*"):
        if file.is_file() and LEFT_OUT not in file.parts:
            yield f"{prefix}/{file.relative_to(folder).as_posix()}", file


def _info() -> dict[str, str]:
    """Return the files that describe the package: what a checkout says now, or what was installed."""
    project = PACKAGE.parent / "pyproject.toml"
    if project.is_file():  # an editable install describes the day it was made
        return {"WHEEL": WHEEL, **_described(tomllib.loads(project.read_text(encoding="utf-8"))["project"])}
    try:
        distribution = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        raise LaunchError(
            "hfembed is not installed here, so it cannot be taken elsewhere.", "pip install hfembed"
        ) from None
    kept = {name: distribution.read_text(name) or "" for name in ("METADATA", "entry_points.txt")}
    return {"WHEEL": WHEEL, **kept}


def _described(project: dict[str, Any]) -> dict[str, str]:
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {__version__}"]
    lines += [f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
    for extra, names in project["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {_only_for(extra, name)}" for name in names)]
    scripts = [f"{name} = {target}" for name, target in project["scripts"].items()]
    return {"METADATA": "\n".join(lines) + "\n", "entry_points.txt": "\n".join(["[console_scripts]", *scripts, ""])}


def _only_for(extra: str, requirement: str) -> str:
    """Return a requirement that counts with an extra, beside the condition that it has already."""
    name, _, condition = (part.strip() for part in requirement.partition(";"))
    return f'{name}; ({condition}) and extra == "{extra}"' if condition else f'{name}; extra == "{extra}"'


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"
