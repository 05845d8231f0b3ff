"""A part of training: phases of one form in a row, from the model that enters them to the one that leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hfembed.compatible import write_compatible
from hfembed.embed import Role, prompt_of
from hfembed.hub import ModelSource
from hfembed.recipe import Phase, TrainMethod, Tuning
from hfembed.run import LAYOUT, hash_json
from hfembed.stage import Job

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# A run that is driven outside the pipeline has no inputs to be known by.
UNNAMED = "unnamed"
# How much of what is learned is kept; auto: what dev says.
Strength = float | Literal["auto"]


@dataclass(frozen=True)
class Part:
    """What one part is given.

    source: the model that enters. out: where the model that leaves is written. strength: how much of what is learned
    is kept.
    """

    job: Job
    number: int
    source: ModelSource
    phases: Sequence[Phase | Tuning]
    out: Path
    strength: Strength = "auto"

    def checkpoints(self, phase: int) -> Path:
        """Return where a phase keeps what it goes on from after it was killed."""
        return checkpoints(self.job) / f"part-{self.number}" / f"phase-{phase}"


def split_parts(phases: Sequence[Phase | Tuning]) -> Iterator[list[Phase | Tuning]]:
    """Yield phases that follow one another and are of one form; qlora reads its model from a folder, so each alone."""
    forms = [(type(phase), at if _may_quantize(phase) else -1) for at, phase in enumerate(phases)]
    for _, found in groupby(range(len(phases)), key=forms.__getitem__):
        yield [phases[at] for at in found]


def _may_quantize(phase: Phase | Tuning) -> bool:
    return phase.method is TrainMethod.QLORA or (isinstance(phase, Tuning) and bool(phase.lora.quantize))


def checkpoints(job: Job) -> Path:
    """Return the folder of checkpoints that belong to the stage's inputs, and to no others."""
    return job.run.path(LAYOUT.checkpoints) / (job.inputs[:16] or UNNAMED)


def describe_prompts(model: SentenceTransformer) -> dict[str, str]:
    """Return what stands before the texts of each role, and a hash to compare it by."""
    prompts = {str(role): prompt_of(model, role) for role in Role}
    return {**prompts, "hash": hash_json(prompts)[:16]}


def write_model(model: SentenceTransformer, folder: Path) -> None:
    """Save a model as one plain sentence-transformers folder that every engine reads."""
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    write_compatible(folder, model)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for the owner's eyes only
