"""Where a generator goes: a folder that appears once it is whole, and beside it, until then, what a killed process left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hfembed.errors import RunBusyError, RunError, StageError
from hfembed.generate.llm import trained
from hfembed.generate.llm.trained import Asking
from hfembed.resources import PACKAGE
from hfembed.run import GENERATOR_LAYOUT, hold, make_folder, write_json
from hfembed.stage import explain, hash_code, library_versions

INPUTS = "inputs"


@dataclass(frozen=True)
class Work:
    """A training under way. finished: what there is to say of one that was done before."""

    folder: Path
    partial: Path
    inputs: str
    finished: dict[str, Any] | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps what a killed process goes on from."""
        return self.partial / GENERATOR_LAYOUT.checkpoints

    @property
    def result(self) -> Path:
        """Where the generator is put together."""
        return self.partial / GENERATOR_LAYOUT.result

    def path(self, relative: str) -> Path:
        """Return the place of one entry of GENERATOR_LAYOUT in the result, with its folder made."""
        file = self.result / relative
        make_folder(file.parent)
        return file

    def finish(self, asking: Asking, training: dict[str, Any]) -> dict[str, Any]:
        """Put the result in its place, all at once; return what there is to say of it."""
        versions = {**library_versions(), "trl": version("trl")}
        training = {**training, "versions": versions}
        about = {"asking": asking.model_dump(mode="json"), "training": training, INPUTS: self.inputs}
        write_json(self.path(GENERATOR_LAYOUT.about), about)
        self.result.rename(self.folder)
        return training


@contextmanager
def begin(folder: Path, inputs: str) -> Iterator[Work]:
    """Hold the place of a generator for this process; `inputs` stands for all that decides what it becomes."""
    partial = folder.parent / GENERATOR_LAYOUT.partial.format(name=folder.name)
    finished = _finished(folder, inputs)
    if finished is not None:
        yield Work(folder, partial, inputs, finished)
        return
    busy = RunBusyError(f"Another process is training '{folder}'.", "Wait for it, or name another one with --out.")
    with hold(partial / GENERATOR_LAYOUT.lock, busy):
        _forget_others(partial, inputs)
        work = Work(folder, partial, inputs)
        try:
            yield work
        except BaseException as error:
            failure = _explain(error, partial)
            if failure is error:
                raise
            raise failure from error
    if folder.exists():
        shutil.rmtree(partial, ignore_errors=True)


def code_of_training() -> str:
    """Return a hash of the code that asks and trains."""
    return hash_code([*sorted((PACKAGE / "generator").glob("*.py")), Path(trained.__file__)])


def _finished(folder: Path, inputs: str) -> dict[str, Any] | None:
    """Return what there is to say of a generator that stands there already; refuse to replace anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        about = json.loads((folder / GENERATOR_LAYOUT.about).read_text(encoding="utf-8"))
        known, training = about[INPUTS], about["training"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            f"'{folder}' is where the generator would go, but it holds something else.", "Name another one with --out."
        ) from None
    if known != inputs:
        raise RunError(
            f"'{folder}' holds a generator that was trained on something else, or otherwise.",
            "Name another one with --out, or move that one away.",
        )
    return dict(training)


def _forget_others(partial: Path, inputs: str) -> None:
    """Drop what was begun with other inputs, and what a killed process left of a result."""
    file = partial / INPUTS
    if not file.is_file() or file.read_text(encoding="utf-8") != inputs:
        shutil.rmtree(partial / GENERATOR_LAYOUT.checkpoints, ignore_errors=True)
        file.write_text(inputs, encoding="utf-8")
    shutil.rmtree(partial / GENERATOR_LAYOUT.result, ignore_errors=True)


def _explain(error: BaseException, partial: Path) -> BaseException:
    if type(error).__name__ == "OutOfMemoryError":  # torch's own, which is loaded by then
        return StageError("The GPU ran out of memory.", "--set batch_size=4, or shorter passages: --set max_length=512")
    return explain(error, "the training", partial)
