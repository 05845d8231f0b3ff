"""What several test files build: small corpora, small recipes and runs made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings

from hfembed import pipeline
from hfembed.corpus import DOCUMENTS, Documents
from hfembed.events import Event, Reporter, silent
from hfembed.recipe import Recipe, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Job, Sources

# The same examples every time, however busy the machine is, and no folder left behind.
settings.register_profile(
    "steady", derandomize=True, database=None, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck)
)
settings.load_profile("steady")

PARTS = ("pump", "valve", "hinge", "battery", "gearbox", "antenna", "fuse", "ladder", "turbine", "lens")
FAULTS = ("leaks", "rattles", "overheats", "corrodes", "sticks", "vibrates", "flickers")


def some_documents(count: int = 24) -> list[dict[str, str]]:
    """Return documents that differ from one another, in BEIR's columns."""
    return [
        {
            "_id": f"d{number}",
            "title": f"{PARTS[number % 10].title()} of unit {number}",
            "text": (
                f"The {PARTS[number % 10]} of unit {number} {FAULTS[number % 7]} after {number + 3} hours of work. "
                f"Technicians replace part number code{number * 7 + 1000} before the next flight begins. "
                f"Marker word{number} and token{number * 3} stand on the label of this device."
            ),
        }
        for number in range(count)
    ]


def write_jsonl(file: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write rows as JSON lines; a string is written as it stands."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return file


def write_beir(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a BEIR folder without queries."""
    write_jsonl(folder / "corpus.jsonl", rows)
    return folder


def recipe_for(corpus: Path | str, *settings: str, base: Path | str | None = None) -> Recipe:
    """Return a recipe over a corpus."""
    return make_recipe(settings=settings, options={"corpus": str(corpus), "base": str(base) if base else None})


def run_until(
    folder: Path, corpus: Path, until: str, *settings: str, base: Path | None = None, **options: Any
) -> tuple[Run, list[str]]:
    """Run the real pipeline in this process; return the run and the stages that worked."""
    run = Run(folder)
    return run, pipeline.run(recipe_for(corpus, *settings, base=base), run, until=until, **options)


def read_documents(run: Run) -> list[dict[str, str]]:
    """Return what pull kept, row by row."""
    rows: list[dict[str, str]] = pq.read_table(run.path(LAYOUT.documents)).to_pylist()
    return rows


def keep_documents(run: Run, rows: Iterable[Mapping[str, str]]) -> Documents:
    """Write documents into a run as pull would; a group is the id unless it is given."""
    filled = [{"title": "", "document": row["id"], **row, "group": row.get("group", row["id"])} for row in rows]
    file = run.path(LAYOUT.documents)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(filled, schema=DOCUMENTS), file)
    return Documents.read(file)


def job_for(run: Run, recipe: Recipe, stage: str, report: Reporter | None = None) -> Job:
    """Return what a stage is given, outside the pipeline."""
    return Job(run, recipe, run.begin(stage), report or silent(), Sources(recipe))


class Listener(list[Event]):
    """Keeps every event it hears."""

    def __call__(self, event: Event) -> None:
        """Hear one event."""
        self.append(event)

    def messages(self, kind: str) -> list[str]:
        """Return the messages of one kind."""
        return [event.message for event in self if event.kind == kind]


def make_telling(model: Path, folder: Path) -> Path:
    """Write a model of random weights whose vectors say which words a text has: to other such models all are alike."""
    from sentence_transformers import SentenceTransformer

    made = SentenceTransformer(str(model), device="cpu")
    words = made[0].auto_model.embeddings.word_embeddings.weight
    words.data *= 50
    words.data -= words.data.mean(0)
    made.save_pretrained(str(folder), create_model_card=False)
    return folder
