"""Public tasks: what mteb measures of base and tuned, kept, compared, and told when something is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener

from hfembed.embed import text_key, unit
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.public import score_public
from hfembed.events import Events, Reporter

pytestmark = pytest.mark.xdist_group("evaluate")

PLANETS = ("mercury", "venus", "earth", "mars", "jupiter", "saturn", "uranus", "neptune")
TOPICS = 64


class Reader:
    """An embedder that knows words; one that has `forgotten` gives every text a vector of its own."""

    def __init__(self, fingerprint: str, forgotten: bool = False) -> None:
        self.source = type("Source", (), {"fingerprint": fingerprint})
        self.forgotten, self.asked = forgotten, 0

    def precision(self, texts: list[str]) -> dict[str, str]:
        return {"precision": "float32"}

    def documents(self, texts: list[str]) -> np.ndarray:
        self.asked += len(texts)
        return unit(np.stack([self._vector(text) for text in texts]).astype(np.float32))

    queries = documents

    def _vector(self, text: str) -> np.ndarray:
        if self.forgotten:
            return np.random.default_rng(text_key(text)).normal(size=TOPICS)
        return sum(np.random.default_rng(text_key(word)).normal(size=TOPICS) for word in text.split())


def retrieval() -> Any:
    from hfembed.evaluate.task import _make_task

    corpus = {f"d{at}": f"the planet {name} goes round" for at, name in enumerate(PLANETS)}
    queries = {f"q{at}": f"where is {name}" for at, name in enumerate(PLANETS)}
    return _make_task(
        Collection(
            "Planets", corpus, queries, dict.fromkeys(queries, "human"), {f"q{n}": {f"d{n}": 1} for n in range(8)}
        )
    )


def sts() -> Any:
    """Return a task that is no retrieval: how alike two sentences are."""
    from datasets import Dataset
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class Alike(AbsTaskSTS):
        metadata = TaskMetadata(
            name="Alike", description="x", dataset={"path": "hfembed/alike", "revision": "one"}, type="STS",
            category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )  # fmt: skip

        def load_data(self, **_: Any) -> None:
            words = [*PLANETS]
            rows = [
                {
                    "sentence1": " ".join(words),
                    "sentence2": " ".join(words[:kept] or ["nothing"]),
                    "score": kept * 5 / 8,
                }
                for kept in range(9)
            ]
            self.dataset = {"test": Dataset.from_list(rows)}
            self.data_loaded = True

    return Alike()


def broken() -> Any:
    task = retrieval()
    task.metadata = task.metadata.model_copy(update={"name": "Broken"})

    def load_data(**_: Any) -> None:
        raise ValueError("the file has no column 'text'\nand more")

    task.load_data = load_data
    return task


def score(
    tasks: list[Any], tmp_path: Path, base: Reader | None = None, tuned: Reader | None = None, out: str = "out"
) -> tuple[Any, Listener]:
    heard = Listener()
    embedders: Any = {"base": base or Reader("base"), "tuned": tuned or Reader("tuned")}
    report = Reporter("evaluate", Events(listeners=[heard]))
    return score_public(tasks, None, embedders, tmp_path / "cache", tmp_path / out, report), heard


def test_a_tuned_model_that_forgot_what_its_base_knew_is_told_on(tmp_path: Path):
    public, heard = score([retrieval()], tmp_path, tuned=Reader("tuned", forgotten=True))
    (found,) = public.scores
    assert found.base == 1.0 and found.bm25 == pytest.approx(1.0) and found.tuned < 0.9
    assert found.delta == found.tuned - found.base
    (warning,) = heard.messages("warning")
    assert "Planets: the tuned model loses" in warning and "ndcg_at_10" in warning and "train.strength" in warning


def test_a_tuned_model_that_kept_it_is_not(tmp_path: Path):
    public, heard = score([retrieval()], tmp_path)
    assert public.scores[0].delta == 0 and heard.messages("warning") == []


def test_tasks_other_than_retrieval_are_scored_too_and_without_bm25(tmp_path: Path):
    public, heard = score([sts()], tmp_path, tuned=Reader("tuned", forgotten=True))
    (found,) = public.scores
    assert (found.task, found.type, found.metric, found.bm25) == ("Alike", "STS", "cosine_spearman", None)
    assert found.base > 0.95 > 0.8 > found.tuned and "Alike" in heard.messages("warning")[0]
    kept = json.loads((tmp_path / "out" / "base" / "Alike.json").read_text(encoding="utf-8"))
    assert kept["scores"]["test"][0]["main_score"] == pytest.approx(found.base, abs=1e-4)
    assert not (tmp_path / "out" / "bm25").exists()


def test_a_task_that_fails_is_named_with_its_reason_and_the_rest_goes_on(tmp_path: Path):
    public, heard = score([broken(), sts()], tmp_path)
    assert [found.task for found in public.scores] == ["Alike"]
    (unscored,) = public.to_json()["unscored"]
    assert unscored == {"task": "Broken", "reason": "ValueError: the file has no column 'text'"}
    assert "Broken could not be scored: ValueError" in heard.messages("warning")[0]


def test_what_a_model_scored_before_is_not_measured_again_but_other_weights_are(tmp_path: Path):
    score([retrieval(), sts()], tmp_path)
    base, tuned = Reader("base"), Reader("other weights", forgotten=True)
    public, _ = score([retrieval(), sts()], tmp_path, base, tuned, out="again")
    assert base.asked == 0 < tuned.asked
    assert all(found.base > 0.95 > found.tuned for found in public.scores)
    assert {file.stem for file in (tmp_path / "again" / "base").iterdir()} == {"Planets", "Alike"}
