"""What an index says of itself: its model, what is in it, how good its search is, and how its scores are joined."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hfembed.errors import InputError, RunError
from hfembed.heads import FUSED
from hfembed.recipe import Head
from hfembed.run import INDEX_LAYOUT, write_atomically, write_json

# Of another form an index is refused rather than misread.
FORM = 1


class State(StrEnum):
    """Whether a build came to its end."""

    BUILDING = "building"
    DONE = "done"


class Mode(StrEnum):
    """What is compared: vectors, words or both; by the heads of a model, weights or vectors of tokens, or all of it."""

    DENSE = "dense"
    BM25 = "bm25"
    HYBRID = "hybrid"
    SPARSE = "sparse"
    MULTI_VECTOR = "multi_vector"
    FUSED = "fused"


class Strict(BaseModel):
    """Values that are written once and read as they were written."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Approximate(Strict):
    """How nearest vectors are found without comparing all. recall: of the ten nearest, on `queries` queries.

    partitions: parts that the vectors are divided into. probes: how many of them a search looks into. refine: how many
    times as many candidates are compared exactly. rows: how many there were when the parts were made.
    """

    partitions: int
    probes: int
    refine: int
    rows: int
    recall: float
    queries: int


class Fusion(Strict):
    """How scores of vectors and words are joined. dense: the share of vectors; what words count is the rest.

    fused: the same for what all heads of the model find together. joined: which of the two is joined with words.
    queries: those of dev that chose it; none where it is the default. by_people: people asked these. gain: in nDCG@10
    over vectors alone, measured on halves of the queries that did not choose.
    """

    dense: float
    fused: float | None = None
    joined: str = str(Head.DENSE)
    queries: int = 0
    by_people: bool = False
    ndcg_dense: float | None = None
    ndcg_bm25: float | None = None
    ndcg_fused: float | None = None
    ndcg_hybrid: float | None = None
    gain: float | None = None

    @property
    def share(self) -> float:
        """How much counts what is joined with words."""
        return self.dense if self.joined != FUSED or self.fused is None else self.fused


class IndexManifest(Strict):
    """All that a search has to know of an index, and all that a later build compares with.

    heads: the heads of the model that it holds, with their weights; none where it holds one vector per text alone.
    sizes: bytes on disk by part.
    """

    form: int = FORM
    state: State
    model: dict[str, Any]
    hfembed: str = ""
    corpus: str = ""
    prompts: str = ""
    similarity: str = "cosine"
    precision: str = "fp32"
    dimensions: int = 0
    documents: int = 0
    exact_below: int = 0
    approximate: Approximate | None = None
    fusion: Fusion = Fusion(dense=0.5)
    heads: dict[str, float] = {}
    sizes: dict[str, int] = {}
    seconds: float = 0.0
    finished: str = ""
    versions: dict[str, str] = {}

    @property
    def modes(self) -> tuple[Mode, ...]:
        """What can be compared in it."""
        heads = [Mode(head) for head in self.heads if head != Head.DENSE]
        return (Mode.DENSE, Mode.BM25, Mode.HYBRID, *heads, *([Mode.FUSED] if heads else ()))

    @property
    def mode(self) -> Mode:
        """What is compared where nobody says: vectors and words; by heads these alone, unless dev finds more with words."""
        words_help = bool(self.fusion.queries) and (self.fusion.share < 1 or self.fusion.joined != FUSED)
        return Mode.HYBRID if words_help or not self.heads else Mode.FUSED

    def write(self, folder: Path) -> None:
        """Write it into an index."""
        write_atomically(folder / INDEX_LAYOUT.manifest, self.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> IndexManifest | None:
    """Return what an index says of itself; nothing where there is none."""
    file = folder / INDEX_LAYOUT.manifest
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _damaged(file) from error
    if isinstance(values, dict) and values.get("form", FORM) != FORM:
        raise InputError(
            f"'{folder}' is an index of form {values['form']}; this hfembed reads form {FORM}.",
            "Install the hfembed it was built with, or build it again: hfembed index CORPUS --out DIR --force",
        )
    try:
        return IndexManifest.model_validate(values)
    except ValidationError as error:
        raise _damaged(file) from error


def finished(folder: Path) -> IndexManifest:
    """Return what an index says of itself; refuse what is none, or not whole."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"'{folder}' is no index.", f"hfembed index CORPUS --model MODEL --out {folder} builds one.")
    if manifest.state is not State.DONE:
        raise InputError(
            f"The index in '{folder}' is not finished.",
            f"Repeat its command, hfembed index CORPUS --model MODEL --out {folder}: it goes on where it stopped.",
        )
    return manifest


def write_place(folder: Path, model: str) -> None:
    """Remember where the model of an index is on this machine."""
    write_json(folder / INDEX_LAYOUT.place, {"model": model})


def read_place(folder: Path) -> str | None:
    """Return where the model of an index was on this machine, if it was built here."""
    try:
        return str(json.loads((folder / INDEX_LAYOUT.place).read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # published and downloaded, or written elsewhere: the model's name remains


def _damaged(file: Path) -> RunError:
    return RunError(
        f"'{file}' is damaged and cannot be read.",
        f"hfembed index CORPUS --model MODEL --out {file.parent} --force builds the index again.",
    )
