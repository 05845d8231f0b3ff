"""Prompts: text files that a user can read and replace, filled in for each request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from hfembed.errors import RecipeError, choices, nearest
from hfembed.resources import local_path

FOLDER = Path(__file__).parent.parent / "prompts"
SUFFIX = ".txt"
# Before this line stands what is said to the model once and for all, after it what is asked of it.
DIVIDER = "\n---\n"


def prompts_folder() -> Path:
    """Return the folder of the prompts that ship with hfembed."""
    return FOLDER


class Prompts:
    """Every prompt by the name of its task, with a user's own in place of the shipped ones."""

    def __init__(self, folder: str | None = None) -> None:
        """Read the shipped prompts, and those in `folder` that replace some of them."""
        self._files = {file.stem: file for file in sorted(FOLDER.glob(f"*{SUFFIX}"))}
        self._files |= _own_files(folder, self._files) if folder else {}
        # No template of a user may reach beyond what it is given, and none may leave a gap in silence.
        self._templates = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        self._texts = {name: _read(file) for name, file in self._files.items()}

    def texts(self) -> dict[str, str]:
        """Return every prompt as it stands in its file."""
        return dict(self._texts)

    def messages(self, task: str, values: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
        """Return the messages of one request."""
        try:
            parts = [self._templates.from_string(part).render(values).strip() for part in self._parts(task)]
        except TemplateError as error:
            raise RecipeError(
                f"The prompt '{self._files[task]}' cannot be filled in: {error}. Known names: {choices(sorted(values))}.",
                f"Compare it with the shipped one: {FOLDER / f'{task}{SUFFIX}'}",
            ) from error
        roles = ("system", "user") if len(parts) == 2 else ("user",)
        return tuple({"role": role, "content": part} for role, part in zip(roles, parts, strict=True) if part)

    def _parts(self, task: str) -> list[str]:
        system, found, user = self._texts[task].partition(DIVIDER)
        return [system, user] if found else [system]


def _own_files(folder: str, known: Mapping[str, Path]) -> dict[str, Path]:
    path = local_path(folder)
    if path is None or not path.is_dir():
        raise RecipeError(
            f"generate.llm.prompts is '{folder}', which is no folder.",
            f"Copy the prompts in '{FOLDER}' and change them.",
        )
    found = {file.stem: file for file in sorted(path.glob(f"*{SUFFIX}"))}
    for name in found:
        if name not in known:
            raise RecipeError(
                f"'{found[name]}' is no prompt that hfembed knows; allowed: {choices(known)}. {nearest(name, known)}".strip(),
                f"Copy the prompts in '{FOLDER}' and change them.",
            )
    if not found:
        raise RecipeError(
            f"'{path}' holds no prompt: no file such as {next(iter(known))}{SUFFIX}.",
            f"Copy the prompts in '{FOLDER}' and change them.",
        )
    return found


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The prompt '{file}' cannot be read: {error}") from error
