"""Inputs: what a recipe names on this machine, how it travels, and where the recipe finds it there."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.corpus import locate_corpus
from hfembed.hub.models import MODEL_FILES, MODEL_FILES_LEFT_OUT
from hfembed.launch.record import Sent
from hfembed.recipe import Recipe, apply_settings
from hfembed.run import REPO_LAYOUT, hash_file, hash_json

# More files than this go as one archive: each takes a request of its own on the way.
MOST_FILES = 100
ARCHIVE = ".tar"


@dataclass(frozen=True)
class Input:
    """A file or folder of this machine that a recipe names, and those of its files that are read."""

    key: str
    path: Path
    files: tuple[tuple[str, Path], ...]

    @property
    def sent(self) -> Sent:
        """How it goes."""
        return Sent(key=self.key, name=self.path.name, packed=len(self.files) > MOST_FILES)

    def fingerprint(self) -> list[Any]:
        """Return the names and bytes of its files, hashed."""
        return [self.path.name, [[name, hash_file(file)] for name, file in self.files]]

    def size(self) -> int:
        """Return how many bytes travel."""
        return sum(file.stat().st_size for _, file in self.files)

    def contents(self, work: Path) -> Iterator[tuple[str, Path]]:
        """Yield what is put into the repo, by its path there; archives are made in `work`."""
        if self.sent.packed:
            yield _place(self.sent) + ARCHIVE, _pack(self.files, work / f"{self.key}{ARCHIVE}")
            return
        for name, file in self.files:
            yield _place(self.sent) + (f"/{name}" if self.path.is_dir() else ""), file


def find_inputs(recipe: Recipe) -> list[Input]:
    """Return everything a recipe names by an absolute path that exists here; the command line makes them absolute."""
    return [Input(key, path, tuple(_read_files(key, path))) for key, path in _paths(recipe.model_dump(mode="json"))]


def without_inputs(recipe: Recipe, sent: Iterable[Sent]) -> Recipe:
    """Return the recipe as it stands in the repo: its inputs by their places there."""
    return _with_places(recipe, {entry.key: _place(entry) for entry in sent})


def with_inputs(recipe: Recipe, sent: Iterable[Sent], root: Path) -> Recipe:
    """Return the recipe as it is worked through below `root`, where the repo was brought to."""
    return _with_places(recipe, {entry.key: str(root / _place(entry)) for entry in sent})


def unpack(sent: Iterable[Sent], root: Path) -> None:
    """Turn archives below `root` back into folders."""
    for entry in sent:
        place = root / _place(entry)
        archive = place.with_name(place.name + ARCHIVE)
        if entry.packed and archive.is_file():
            with tarfile.open(archive) as packed:
                packed.extractall(place, filter="data")
            archive.unlink()


def hash_recipe(recipe: Recipe, inputs: Iterable[Input]) -> str:
    """Return one hash for a recipe and all it reads on this machine, wherever that stands."""
    marks = {entry.key: hash_json(entry.fingerprint()) for entry in inputs}
    return hash_json(_with_places(recipe, marks).model_dump(mode="json"))


def _with_places(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    return apply_settings(recipe.model_dump(mode="json"), options=places)


def _place(entry: Sent) -> str:
    return f"{REPO_LAYOUT.inputs}/{entry.key}/{entry.name}"


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Path]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
        elif isinstance(value, str) and value.startswith("/") and Path(value).exists():
            yield f"{prefix}{key}", Path(value)


def _read_files(key: str, path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that a stage reads, and no others: queries beside a corpus stay here, and pickled weights."""
    if path.is_file():
        yield path.name, path
    elif key == "corpus":
        for file, name in locate_corpus(str(path)).local_files():
            yield name, file
    elif (path / "config.json").is_file() or (path / "modules.json").is_file():
        left_out = {file for pattern in MODEL_FILES_LEFT_OUT for file in path.glob(pattern)}
        for file in sorted({file for pattern in MODEL_FILES for file in path.glob(pattern)} - left_out):
            yield file.relative_to(path).as_posix(), file
    else:
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            yield file.relative_to(path).as_posix(), file


def _pack(files: Iterable[tuple[str, Path]], archive: Path) -> Path:
    with tarfile.open(archive, mode="w") as packed:
        for name, file in files:
            entry = tarfile.TarInfo(name)
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                packed.addfile(entry, content)
    return archive
