"""autotrain: a phase that AutoTrain does on the Hub; what comes back is blended and judged as what is trained here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from hfembed.embed import Role, load_model, prompt_of
from hfembed.errors import StageError
from hfembed.hub.autotrain import (
    COLUMNS,
    CONFIG_FILE,
    DATA_FILE,
    Project,
    Training,
    find_token,
    is_address,
    model_files,
)
from hfembed.hub.models import REPO_ID, local_model
from hfembed.hub.runs import who_am_i
from hfembed.hub.spaces import GONE
from hfembed.recipe import Encoder, Tuning
from hfembed.run import hash_json
from hfembed.train.part import Part
from hfembed.train.rows import TrainingRows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.5, 20.0
# What a Space that trains no more stands at; before its files are there, it stands otherwise.
ENDED = ("PAUSED", "SLEEPING", "RUNTIME_ERROR", "BUILD_ERROR", "CONFIG_ERROR", GONE)
ID_DIGITS = 12


def train_there(
    part: Part, number: int, phase: Tuning, rows: TrainingRows, model: SentenceTransformer, max_length: int
) -> None:
    """Have AutoTrain do a phase, and give the model what it learned.

    A training that a killed run has begun, or finished, is found again by its name.
    """
    place, report = str(phase.place), part.job.report
    data = _triplets(rows, model)
    settings = {
        "lr": phase.peak(),
        "epochs": phase.epochs,
        "batch_size": phase.batch_size,
        "gradient_accumulation": phase.accumulate,
        "warmup_ratio": phase.warmup,
        "weight_decay": phase.weight_decay,
        "max_seq_length": max_length,
        "seed": part.job.recipe.seed + number,
    }
    name = f"hfembed-{hash_json([part.job.inputs, part.number, number])[:ID_DIGITS]}"
    owner = who_am_i().name
    base, files = _base(part, number, model, f"{owner}/{name}-base")
    training = Training(Project(name, owner, base, settings, find_token()), place, report)
    if not training.is_trained():
        if not _is_under_way(training):
            if files:
                training.upload(base, "model", files)
            backend = "local" if is_address(place) else f"spaces-{place}"
            config = yaml.safe_dump(training.project.config(backend), sort_keys=False).encode()
            training.upload(training.project.data, "dataset", {DATA_FILE: _to_parquet(data), CONFIG_FILE: config})
            report.note(f"AutoTrain begins {training.project.trained} on {place}")
            training.start()
        _wait(training)
    trained = load_model(local_model(name, training.download()))
    take(model, trained, training.project.trained)
    training.clear()


def _triplets(rows: TrainingRows, model: SentenceTransformer) -> dict[str, list[str]]:
    """Return the rows under AutoTrain's names; it knows no prompts, so they stand in the texts."""
    query, document = prompt_of(model, Role.QUERY), prompt_of(model, Role.DOCUMENT)
    return {
        "anchor": [query + text for text in rows.queries],
        "positive": [document + text for text in rows.positives],
        "negative": [document + texts[0] for texts in rows.negatives],
    }


def _to_parquet(data: dict[str, list[str]]) -> bytes:
    assert set(data) == set(COLUMNS.values())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(data), sink)
    return bytes(sink.getvalue().to_pybytes())


def _base(part: Part, number: int, model: SentenceTransformer, own: str) -> tuple[str, dict[str, Any]]:
    """Return the model that AutoTrain begins from by its name on the Hub, and its files where it has to be put there."""
    name = part.job.recipe.base
    as_published = part.source.encoder == Encoder() and part.source.revision
    if part.number == 0 and number == 0 and as_published and REPO_ID.match(name):
        return name, {}
    folder = part.checkpoints(number) / "entering"
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    return own, dict(model_files(folder))


def _is_under_way(training: Training) -> bool:
    state = training.state()
    return state is not None and state.stage not in ENDED


def _wait(training: Training) -> None:
    """Wait until what was trained is there; what is cancelled here does not go on costing there."""
    report, look, told = training.report, LOOK_SECONDS, ""
    try:
        while not training.is_trained():
            state = training.state()
            if state is not None and state.stage != told:
                told = state.stage
                report.note(f"AutoTrain's Space: {told.lower().replace('_', ' ')}")
            if state is not None and state.stage in ENDED and not training.is_trained():
                words = state.message or training.words()
                raise StageError(
                    f"AutoTrain ended without a model; its Space {training.project.space} is {told.lower()}: {words}",
                    "hfembed run --resume RUN begins it anew; full and lora train without AutoTrain.",
                )
            time.sleep(look)
            look = min(2 * look, LONGEST_LOOK_SECONDS)
    except BaseException:
        training.stop()
        raise


def take(model: SentenceTransformer, trained: SentenceTransformer, name: str) -> None:
    """Give the model the weights of one that was trained elsewhere, if it is the same kind of model."""
    ours, theirs = model.state_dict(), trained.state_dict()
    if {key: value.shape for key, value in ours.items()} != {key: value.shape for key, value in theirs.items()}:
        raise StageError(f"'{name}' is another model than the one that AutoTrain was given.", "Delete it there.")
    model.load_state_dict(theirs)
