"""Benchmarks: what public tasks gave, as the metadata of a model repo hold it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hfembed.push.facts import Facts
from hfembed.run import LAYOUT

if TYPE_CHECKING:
    from hfembed.hub.cards import EvalResult

MTEB = "https://github.com/embeddings-benchmark/mteb"
FOLDER = ".eval_results"
TUNED = "tuned"


def eval_results(facts: Facts) -> list[EvalResult]:
    """Return the tuned model's result on each public task, split and language, for `model-index`."""
    from hfembed.hub.cards import EvalResult

    return [
        EvalResult(
            task_type=row["hub_type"],
            task_name=row["type"],
            dataset_type=row["dataset"],
            dataset_name=f"MTEB {row['task']} ({subset['hf_subset']})",
            dataset_config=subset["hf_subset"],
            dataset_split=split,
            dataset_revision=row["revision"],
            metric_type=row["metric"],
            metric_name=row["metric"],
            metric_value=round(float(subset["main_score"]), 5),
            source_name="MTEB",
            source_url=MTEB,
        )
        for row in facts.public["scores"]
        for split, subsets in _read(facts, row["task"])["scores"].items()
        for subset in subsets
    ]


def eval_result_files(facts: Facts) -> list[tuple[str, Path | bytes]]:
    """Return a file for every task whose dataset is registered as a benchmark of the Hub."""
    return [
        (f"{FOLDER}/{row['task']}.yaml", _to_yaml(row, _read(facts, row["task"])))
        for row in facts.public["scores"]
        if row["dataset"] in facts.benchmarks
    ]


def _to_yaml(row: dict[str, Any], result: dict[str, Any]) -> bytes:
    # The names of tasks are those that mteb itself writes.
    values = {
        f"{row['task']}_{subset['hf_subset']}_{split}": subset["main_score"]
        for split, subsets in result["scores"].items()
        for subset in subsets
    }
    words = f"Obtained using MTEB v{result['mteb_version']}"
    entries = [
        {
            "dataset": {"id": row["dataset"], "task_id": task, "revision": row["revision"]},
            "value": round(100 * float(value), 5),
            **_day(result.get("date")),
            "source": {"url": MTEB, "name": words},
            "notes": words,
        }
        for task, value in {**values, row["task"]: row[TUNED]}.items()
    ]
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True).encode()


def _day(seconds: float | None) -> dict[str, str]:
    """Return the day of a result as the Hub wants it, where mteb wrote one down."""
    return {"date": datetime.fromtimestamp(seconds, UTC).date().isoformat()} if seconds else {}


def _read(facts: Facts, task: str) -> dict[str, Any]:
    file = facts.run.path(LAYOUT.tasks) / TUNED / f"{task}.json"
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values
